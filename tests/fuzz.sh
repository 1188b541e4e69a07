#!/bin/sh
# tests/fuzz.sh SECONDS TARGET…
#
# Runs fuzz targets (tests/fuzz), each for so many seconds. What libFuzzer finds new goes to target/fuzz/corpus, and what
# fails to target/fuzz/artifacts: put the few inputs that are worth it into tests/fuzz/corpus, which `make test` runs.
#
# Without a sanitizer cargo-fuzz needs no nightly compiler, and there is no unsafe code here for one to look at.
set -eu
cd "$(dirname "$0")/.."

seconds=$1
shift
PATH=$(tests/tools.sh cargo-fuzz):$PATH
for target in "$@"; do
	mkdir -p "target/fuzz/corpus/$target" "target/fuzz/artifacts/$target"
	cargo fuzz run --fuzz-dir tests/fuzz --target-dir "$PWD/target/fuzz" --sanitizer none --features libfuzzer "$target" \
		"target/fuzz/corpus/$target" "tests/fuzz/corpus/$target" -- \
		"-max_total_time=$seconds" "-artifact_prefix=target/fuzz/artifacts/$target/" -print_final_stats=1
done
