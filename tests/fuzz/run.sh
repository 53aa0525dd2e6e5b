#!/bin/sh
# Fuzzes each target for some minutes, one after another: tests/fuzz/run.sh [MINUTES [TARGET...]]
# Needs cargo-fuzz (`cargo install cargo-fuzz`) and a C++ compiler. On a stable toolchain there is no address sanitizer,
# and none is needed: what is fuzzed is safe Rust, and what is looked for are panics, hangs and broken promises.
# FUZZ_BUILD=--dev builds without release's optimizations; assertions are on in both.
set -eu
cd "$(dirname "$0")"
minutes=${1:-5}
[ $# -gt 0 ] && shift
targets=${*:-session_v1 session_v2 record_batch log_entry config log_image checkpoint}
work=${CARGO_TARGET_DIR:-$PWD/../../target}/fuzz
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/build"
bad=0
for target in $targets; do
    mkdir -p "$work/corpus/$target" "$work/found/$target"
    nice -n 15 cargo fuzz run --fuzz-dir . ${FUZZ_BUILD:---release} -s none "$target" "$work/corpus/$target" "seeds/$target" -- \
        -max_total_time=$((minutes * 60)) -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$work/found/$target/" >"$work/$target.log" 2>&1 || bad=1
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
    coverage=$(grep -o 'cov: [0-9]*' "$work/$target.log" | tail -n 1)
    crashes=$(find "$work/found/$target" -type f | wc -l)
    echo "$target: ${executions:-0} executions in $minutes min, ${coverage:-cov: 0}, $crashes crashes (in $work/found/$target)"
done
exit $bad
