#!/bin/sh
# tests/tools.sh [helm|kustomize|kubebuilder|controller-gen|glua|cargo-deny|cargo-fuzz]   (helm, where nothing is said)
#
# Builds one tool that generating and checking need, once, into a cache outside the source tree, and prints the
# directory that holds it (and nothing else) on stdout. Safe to call concurrently: the directory appears whole or
# not at all.
set -eu

helm=v3.22.0
kustomize=v5.8.1
kubebuilder=v4.16.0
controller_gen=v0.22.0 # what that kubebuilder's Makefile asks for
glua=v1.1.2 # the Lua that Argo CD runs its health checks with
cargo_deny=0.20.2
cargo_fuzz=0.13.2

export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-buildvcs=false GOWORK=off

go_install() { # package@version [linker flags]
	GOBIN=$building go install -trimpath -ldflags "-s -w ${2:-}" "$1" >&2
}

tool=${1:-helm}
case $tool in
helm)
	version=$helm
	# As its own release sets them. Without the last ones `helm template` believes in Kubernetes 1.20.
	build() {
		go_install "helm.sh/helm/v3/cmd/helm@$version" "-X helm.sh/helm/v3/internal/version.version=$version
			-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37
			-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37"
	}
	;;
kustomize)
	version=$kustomize
	build() { go_install "sigs.k8s.io/kustomize/kustomize/v5@$version"; }
	;;
kubebuilder)
	version=$kubebuilder
	build() { go_install "sigs.k8s.io/kubebuilder/v4@$version"; }
	;;
controller-gen)
	version=$controller_gen
	build() { go_install "sigs.k8s.io/controller-tools/cmd/controller-gen@$version"; }
	;;
glua)
	version=$glua
	build() { go_install "github.com/yuin/gopher-lua/cmd/glua@$version"; }
	;;
cargo-deny | cargo-fuzz)
	case $tool in
	cargo-deny) version=$cargo_deny ;;
	*) version=$cargo_fuzz ;;
	esac
	# Out of the workspace, so that neither its lock file nor its target directory has a part in it.
	build() {
		(cd / && env -u RUSTFLAGS -u CARGO_BUILD_TARGET CARGO_TARGET_DIR="$building/target" \
			cargo install --quiet --locked --no-track --root "$building" "$tool@$version" >&2)
		mv "$building/bin/$tool" "$building/$tool"
		rm -rf "$building/bin" "$building/target"
	}
	;;
*)
	echo "usage: tests/tools.sh [helm|kustomize|kubebuilder|controller-gen|glua|cargo-deny|cargo-fuzz]" >&2
	exit 2
	;;
esac

cache=${EXTERNAL_CA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/external-ca-operator}
directory=$cache/tools-$tool-$version

if [ ! -d "$directory" ]; then
	mkdir -p "$cache"
	# Two builds at once would only slow each other down: wait for the first, where flock exists.
	if command -v flock >/dev/null; then
		exec 9>"$cache/.tools-$tool.lock"
		flock 9
	fi
fi
if [ ! -d "$directory" ]; then
	echo "building $tool $version into $directory: once, up to three minutes" >&2
	building=$(mktemp -d "$cache/.tools-$tool.XXXXXX")
	trap 'rm -rf "$building"' EXIT
	trap 'exit 130' INT TERM HUP
	chmod 755 "$building"
	build
	# Where another build has put the directory there meanwhile, mv nests ours in it, and it goes again.
	mv "$building" "$directory"
	rm -rf "$directory/${building##*/}"
fi
echo "$directory"
