# tests/checks.sh
#
# What the scripts that check the chart share: Helm, a directory that is taken away again, and the count of what is wrong.
# To be read in (`.`) from the top of the tree.
helm=$(tests/tools.sh helm)/helm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
export HELM_CACHE_HOME="$work/helm" HELM_CONFIG_HOME="$work/helm" HELM_DATA_HOME="$work/helm"

failures=0
wrong() {
	echo "WRONG: $*" >&2
	failures=$((failures + 1))
}
