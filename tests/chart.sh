#!/bin/sh
# tests/chart.sh
#
# Checks what is shipped: the chart with several values, what its schema refuses, what its Roles permit, how its pod
# runs, the kustomizations, and the GitOps samples. Says each thing that is wrong; fails if there is one.
set -eu
cd "$(dirname "$0")/.."

. tests/checks.sh
kustomize=$(tests/tools.sh kustomize)/kustomize
glua=$(tests/tools.sh glua)/glua
chart=charts/external-ca-operator
template() { # file arguments…
	output=$1
	shift
	"$helm" template external-ca-operator "$chart" --namespace external-ca-system "$@" >"$output" 2>"$work/errors" ||
		{ wrong "helm template $*: $(cat "$work/errors")"; return 1; }
}
has() { # file what pattern
	grep -Eq -e "$3" "$1" || wrong "$2: nothing matches $3"
}
has_not() { # file what pattern
	! grep -En -e "$3" "$1" >&2 || wrong "$2: $3"
}

# Every rule of a rendered chart on one line: the kind it stands in, then the rule.
rules() {
	awk '
		function out() { if (rule != "") print kind " " rule; rule = "" }
		/^---/ { out(); inside = 0 }
		/^kind: / { kind = $2 }
		/^rules:/ { inside = kind ~ /Role$/; next }
		/^[a-z]/ { out(); inside = 0 }
		!inside || /^#/ { next }
		/^- / { out() }
		{ line = $0; gsub(/^ +/, " ", line); rule = rule line }
		END { out() }
	' "$1"
}

echo "values" >&2
for values in "" "$chart"/ci/*-values.yaml; do
	name=${values##*/}
	name=${name:-defaults}
	rendered=$work/$name.rendered
	set --
	[ -z "$values" ] || set -- --values "$values"
	"$helm" lint --strict --quiet "$chart" "$@" >"$work/lint" 2>&1 || wrong "$name: helm lint: $(cat "$work/lint")"
	template "$rendered" "$@" || continue

	# What is permitted, whatever the values.
	rules "$rendered" >"$work/rules"
	has "$work/rules" "$name" '^Role .*secrets'
	has_not "$work/rules" "$name: a rule allows everything" '\*'
	has_not "$work/rules" "$name: nothing may be deleted" 'delete'
	has_not "$work/rules" "$name: no power over permissions" 'escalate|impersonate|rolebindings|serviceaccounts|bind[],]'
	grep -E ' (resources: \[[^]]*(secrets|configmaps))' "$work/rules" >"$work/named" || true
	has_not "$work/named" "$name: Secrets and ConfigMaps in a ClusterRole" '^ClusterRole '
	if grep -Ev 'resourceNames: - [a-z0-9]' "$work/named" >&2; then
		wrong "$name: Secrets or ConfigMaps without names"
	fi

	# The restricted Pod Security Standard, and a root filesystem that nobody writes to.
	for field in 'runAsNonRoot: true' 'runAsUser: 65532' 'type: RuntimeDefault' 'allowPrivilegeEscalation: false' \
		'readOnlyRootFilesystem: true' 'drop: \[ALL\]'; do
		has "$rendered" "$name" "^ +$field\$"
	done
	has_not "$rendered" "$name" 'hostNetwork|hostPID|hostPath|hostPort|privileged|add: \['
	has_not "$rendered" "$name: a budget that can block a drain" '^ +minAvailable:'
done

everything=$work/everything-values.yaml.rendered
has "$work/defaults.rendered" "CRD kept by default" 'helm.sh/resource-policy: keep'
has "$everything" "the served namespace that is created" '^kind: Namespace$'
has "$everything" "the namespaces kept" 'helm.sh/resource-policy: keep'
has "$everything" "namespaces passed on" '--namespaces=openchoreo-control-plane,plane-eu-1$'
has "$everything" "plane namespaces passed on" '--plane-namespaces=default,plane-eu-1,team-a$'
has "$work/defaults.rendered" "the names of leaves passed on" '--leaf-secrets=cluster-gateway-tls,cluster-agent-tls$'
has "$work/defaults.rendered" "the names of bundles passed on" '--trust-names=cluster-gateway-ca$'
has "$everything" "digest" 'image: registry.example.com:5000/pki/external-ca-operator@sha256:0123'
for kind in Deployment ServiceAccount Service PodDisruptionBudget NetworkPolicy ServiceMonitor PrometheusRule ConfigMap CustomResourceDefinition; do
	has "$everything" everything "^kind: $kind\$"
done
has_not "$work/least-values.yaml.rendered" least '^kind: (CustomResourceDefinition|PodDisruptionBudget|NetworkPolicy|ServiceMonitor|PrometheusRule|ConfigMap|Namespace)$'
has "$everything" "series keep the namespace of their issuance" 'honorLabels: true$'
has "$everything" "the dashboard's label" 'grafana_dashboard: "1"$'
[ "$(grep -c '^kind: Role$' "$everything")" = 6 ] ||
	wrong "everything: a Role for 2 served namespaces, 2 with planes only, for the Lease and for cert-manager's; got $(grep -c '^kind: Role$' "$everything")"

echo "schema" >&2
refused() { # arguments…
	if "$helm" template external-ca-operator "$chart" "$@" >/dev/null 2>"$work/errors"; then
		wrong "the schema lets through: $*"
	elif ! grep -q "don't meet the specifications of the schema" "$work/errors"; then
		wrong "refused, but not by the schema: $*: $(cat "$work/errors")"
	fi
}
refused --set unknown=1
refused --set namespaces.server=x
refused --set image.tga=1
refused --set-json 'namespaces.serve=[]'
refused --set namespaces.serve=openchoreo-control-plane
refused --set 'namespaces.serve[0]=*'
refused --set 'namespaces.serve[0]=Upper'
refused --set-json 'namespaces.serve=["a","a"]'
refused --set-string namespaces.create=yes
refused --set-json 'secrets.ca=[]'
refused --set-json 'secrets.ca=[""]'
refused --set-json 'secrets.leaves=[]'
refused --set-json 'secrets.leaves=null'
refused --set-json 'secrets.leaves=["*"]'
refused --set-json 'trust.names=[]'
refused --set-json 'trust.anchorConfigMaps=["A B"]'
refused --set replicas=two
refused --set replicas=-1
refused --set image.repository=
refused --set image.digest=latest
refused --set image.pullPolicy=Sometimes
refused --set log.format=xml
refused --set log.level=
refused --set 'log.level=info --namespaces=kube-system'
refused --set resources.limits.memory=lots
refused --set networkPolicy.apiServerPorts[0]=70000
refused --set serviceMonitor.interval=often
refused --set prometheusRule.standstill=soon
refused --set prometheusRule.runbooks=docs
refused --set prometheusRule.enable=true
refused --set-json 'grafanaDashboard.labels={"a":1}'
refused --set fullnameOverride=Not_A_Name

echo "names that are a CA's and a leaf's" >&2
if "$helm" template external-ca-operator "$chart" --set 'secrets.ca={a,b}' --set 'secrets.leaves={c,b}' >"$work/both" 2>&1; then
	wrong "a name stands in secrets.ca and in secrets.leaves, and the chart takes it"
fi
has "$work/both" "a name in both" 'b stands in secrets.ca and in secrets.leaves'

echo "versions" >&2
version=$(sed -n '/^\[workspace\.package\]/,/^\[profile/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
for field in version appVersion; do
	has "$chart/Chart.yaml" "$chart/Chart.yaml, the workspace is $version" "^$field: $version\$"
done
for sample in deploy/gitops/argocd/application.yaml deploy/gitops/flux/operator.yaml; do
	has "$sample" "$sample, the workspace is $version" ": v$version\$"
done

echo "kustomize" >&2
for directory in config/default config/samples; do
	"$kustomize" build "$directory" >"$work/kustomized" || wrong "kustomize build $directory"
	[ -s "$work/kustomized" ] || wrong "kustomize build $directory: empty"
done
for sample in config/samples/*.yaml; do
	name=${sample##*/}
	[ "$name" = kustomization.yaml ] || has config/samples/kustomization.yaml config/samples "^- $name\$"
done

echo "gitops" >&2
(cd deploy/gitops/argocd && "$glua" health_test.lua >"$work/lua" 2>&1) || wrong "health.lua: $(cat "$work/lua")"
has "$work/lua" "health.lua" '^health.lua: all as wanted$'
# Each sample is YAML at least: kustomize reads it.
for sample in deploy/install.yaml deploy/gitops/argocd/application.yaml deploy/gitops/flux/*.yaml; do
	directory=$work/parse-${sample##*/}
	mkdir "$directory"
	cp "$sample" "$directory/sample.yaml"
	printf 'resources: [sample.yaml]\n' >"$directory/kustomization.yaml"
	"$kustomize" build "$directory" >/dev/null || wrong "$sample"
done

[ "$failures" = 0 ] || { echo "tests/chart.sh: $failures wrong" >&2; exit 1; }
echo "chart, kustomizations and samples: all as wanted" >&2
