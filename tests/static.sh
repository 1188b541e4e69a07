#!/bin/sh
# tests/static.sh
#
# Builds the binary that the image ships, target/static/external-ca-operator: static, and without a path or a time of
# this machine. Then shows that it is so, and runs it in an empty root, where that is permitted.
set -eu
cd "$(dirname "$0")/.."

tree=$PWD
target=$(rustc -vV | sed -n 's/^host: //p')
directory=${CARGO_TARGET_DIR:-$tree/target}
case $directory in /*) ;; *) directory=$tree/$directory ;; esac
home=${CARGO_HOME:-$HOME/.cargo}

# Paths must not end up in the binary: Rust's own, and those of the C sources of aws-lc.
export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$directory=/target --remap-path-prefix=$tree=/src --remap-path-prefix=$home=/cargo"
export CFLAGS="-ffile-prefix-map=$directory=/target -ffile-prefix-map=$tree=/src -ffile-prefix-map=$home=/cargo"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
# With --target the flags reach the binary only, and not Cargo's build scripts and macros.
cargo build --profile dist --locked --target "$target" -p external-ca-operator

mkdir -p target/static
cp "$directory/$target/dist/external-ca-operator" target/static/external-ca-operator
binary=target/static/external-ca-operator

# A dynamic binary names its loader in its program headers.
if ldd "$binary" 2>/dev/null | grep -q '=>'; then
	echo "$binary is not static:" >&2
	ldd "$binary" >&2
	exit 1
fi
if grep -q -a -F -e "$tree/" -e "$home/" "$binary"; then
	echo "$binary holds paths of this machine: it is not reproducible" >&2
	grep -a -o -F -e "$tree/" -e "$home/" "$binary" | sort | uniq -c >&2
	exit 1
fi

# What is built for tests only has no place in a release.
if "$binary" --help | grep -q -e --test-; then
	echo "$binary has what is for tests only:" >&2
	"$binary" --help | grep -e --test- >&2
	exit 1
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cp "$binary" "$root/external-ca-operator"
if [ "$(id -u)" = 0 ] && chroot "$root" /external-ca-operator --version; then
	where="in an empty root"
elif unshare --user --map-root-user chroot "$root" /external-ca-operator --version 2>/dev/null; then
	where="in an empty root"
else
	"$binary" --version
	where="here; an empty root is not permitted"
fi
echo "$binary: static, $(($(wc -c <"$binary") / 1024)) KiB, runs $where"
