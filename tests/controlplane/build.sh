#!/bin/sh
# Builds etcd, kube-apiserver and kube-controller-manager once, into a cache outside the source tree, and prints
# the directory that holds them (and nothing else) on stdout. Usable as KUBEBUILDER_ASSETS. Safe to call
# concurrently: the directory appears whole or not at all.
set -eu

cache=${EXTERNAL_CA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/external-ca-operator}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOWORK=off

# The Kubernetes version comes from go.mod: v1.34.4.
version=$(sed -n 's/^[[:space:]]*k8s.io\/kubernetes \(v[0-9.]*\)$/\1/p' go.mod)
major=${version#v}; major=${major%%.*}
minor=${version#v*.}; minor=${minor%%.*}

hash=$( { go version; cat go.mod go.sum ./*.go build.sh; } | sha256sum | cut -c1-16)
directory=$cache/controlplane-$hash

# Two builds at once would only slow each other down: wait for the first, where flock exists.
if [ ! -d "$directory" ] && command -v flock >/dev/null; then
	exec 9>"$cache/.controlplane.lock"
	flock 9
fi
if [ ! -d "$directory" ]; then
	echo "building the control plane (Kubernetes $version) into $directory: some minutes, once" >&2
	building=$(mktemp -d "$cache/.controlplane.XXXXXX")
	trap 'rm -rf "$building"' EXIT
	trap 'exit 130' INT TERM HUP
	chmod 755 "$building"
	package=k8s.io/component-base/version
	go build -trimpath -buildvcs=false -o "$building/controlplane" \
		-ldflags "-s -w -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor" \
		. >&2
	for name in etcd kube-apiserver kube-controller-manager; do
		ln -s controlplane "$building/$name"
	done
	# Where another build has put the directory there meanwhile, mv nests ours in it, and it goes again.
	mv "$building" "$directory"
	rm -rf "$directory/${building##*/}"
fi
echo "$directory"
