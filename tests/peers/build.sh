#!/bin/sh
# Builds the test peers once, into a cache outside the source tree, and prints the directory that holds the binary
# `peers` (and nothing else) on stdout. Safe to call concurrently: the directory appears whole or not at all.
set -eu

cache=${EXTERNAL_CA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/external-ca-operator}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOWORK=off

hash=$( { go version; cat go.mod go.sum ./*.go build.sh; } | sha256sum | cut -c1-16)
directory=$cache/peers-$hash

if [ ! -d "$directory" ] && command -v flock >/dev/null; then
	exec 9>"$cache/.peers.lock"
	flock 9
fi
if [ ! -d "$directory" ]; then
	echo "building the test peers into $directory" >&2
	building=$(mktemp -d "$cache/.peers.XXXXXX")
	trap 'rm -rf "$building"' EXIT
	trap 'exit 130' INT TERM HUP
	chmod 755 "$building"
	go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$building/peers" . >&2
	# Where another build has put the directory there meanwhile, mv nests ours in it, and it goes again.
	mv "$building" "$directory"
	rm -rf "$directory/${building##*/}"
fi
echo "$directory"
