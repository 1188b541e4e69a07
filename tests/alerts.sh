#!/bin/sh
# tests/alerts.sh
#
# Checks the alerts and the dashboard as the chart renders them: promtool reads every rule and every expression, alerts fire
# when they should and only then (tests/alerts/*.yaml), and each names a section that docs/ has.
set -eu
cd "$(dirname "$0")/.."

command -v promtool >/dev/null || {
	echo "tests/alerts.sh: promtool is missing; Debian has it: apt-get install --no-install-recommends prometheus" >&2
	exit 1
}
. tests/checks.sh
checked() { # command…
	"$@" >"$work/output" 2>&1 || wrong "$*: $(cat "$work/output")"
}
render() { # template arguments…
	template=$1
	shift
	"$helm" template external-ca-operator charts/external-ca-operator --show-only "templates/$template.yaml" "$@"
}
rules() { # arguments…: the rule file in a PrometheusRule
	render prometheusrule --set prometheusRule.enabled=true "$@" | sed -e '1,/^spec:/d' -e 's/^  //'
}

rules >"$work/rules.yaml"
checked promtool check rules "$work/rules.yaml"
rules --set prometheusRule.standstill=2h --set prometheusRule.overdue=5m \
	--set prometheusRule.runbooks=https://git.example.com/docs >"$work/other.yaml"
checked promtool check rules "$work/other.yaml"
for word in RUNBOOKS STANDSTILL OVERDUE github.com '[^0-9]30m\]'; do
	! grep -n -e "$word" "$work/other.yaml" >&2 || wrong "values do not reach the rules: $word"
done

for tests in tests/alerts/*.yaml; do
	cp "$tests" "$work/"
	(cd "$work" && promtool test rules "${tests##*/}") >"$work/output" 2>&1 || wrong "$tests: $(cat "$work/output")"
done

# Every alert fires in a test, and has a section; every section is an alert's.
sed -n 's/^ *- alert: //p' "$work/rules.yaml" | sort -u >"$work/alerts"
while read -r alert; do
	grep -q "alertname=\"$alert\",alertstate=\"firing\"" tests/alerts/fires.yaml || wrong "$alert fires in no test"
	grep -q "^### $alert\$" docs/observability.md || wrong "docs/observability.md has no section $alert"
done <"$work/alerts"
sed -n 's/^### \(ExternalCA.*\)$/\1/p' docs/observability.md | sort -u >"$work/sections"
cmp -s "$work/alerts" "$work/sections" || wrong "docs/observability.md has sections of no alert: $(comm -13 "$work/alerts" "$work/sections")"
# A link that is made from a label leads to a reason word: each has a section (crates/core/tests/docs.rs).
sed -n 's|^ *runbook_url: .*/docs/|docs/|p' "$work/rules.yaml" | sort -u >"$work/runbooks"
while IFS='#' read -r page section; do
	case $section in
	*'{{'*) [ -f "$page" ] || wrong "no $page" ;;
	*) grep -q -i -x "##*  *$section" "$page" || wrong "$page has no section $section" ;;
	esac
done <"$work/runbooks"
[ -s "$work/runbooks" ] || wrong "no runbooks found"
[ "$(grep -c ' runbook_url: ' "$work/rules.yaml")" = "$(grep -c ' - alert: ' "$work/rules.yaml")" ] || wrong "an alert without a runbook"

# Every expression of the dashboard as a rule of its own. A JSON string is a YAML string too.
render dashboard --set grafanaDashboard.enabled=true >"$work/dashboard.yaml"
{
	printf 'groups:\n- name: dashboard\n  rules:\n'
	sed -n 's/^ *"expr": \(".*"\),\{0,1\}$/\1/p' "$work/dashboard.yaml" | sed 's/\$__rate_interval/5m/g' |
		awk '{ printf "  - record: dashboard:%d\n    expr: %s\n", NR, $0 }'
} >"$work/expressions.yaml"
checked promtool check rules "$work/expressions.yaml"
[ "$(grep -c ' record: ' "$work/expressions.yaml")" -ge 16 ] || wrong "too few expressions found in the dashboard"

[ "$failures" = 0 ] || { echo "tests/alerts.sh: $failures wrong" >&2; exit 1; }
echo "alerts and dashboard: all as wanted" >&2
