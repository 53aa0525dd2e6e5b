#!/bin/sh
# Fuzzes each target for some minutes, one after another: tests/fuzz/run.sh [MINUTES [TARGET...]]
# Needs cargo and a C++ compiler (for libFuzzer). This is what `cargo fuzz run -s none` does, without having to install it;
# `cargo fuzz --fuzz-dir tests/fuzz` works as well. There is no address sanitizer, and none is needed: what is fuzzed is
# safe Rust, and what is looked for are panics, hangs and broken promises. PROFILE=dev builds without optimizations;
# assertions are on in both.
set -eu
cd "$(dirname "$0")"
minutes=${1:-5}
[ $# -gt 0 ] && shift
targets=${*:-session_v1 session_v2 record_batch log_entry config log_image checkpoint}
profile=${PROFILE:-release}
work=${CARGO_TARGET_DIR:-$PWD/../../target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
coverage="$coverage -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
export CARGO_TARGET_DIR="$work/build" RUSTC_BOOTSTRAP=1
RUSTFLAGS="$coverage" nice -n 15 cargo build --quiet --target "$host" --bins --profile "$profile"
programs="$work/build/$host/$(echo "$profile" | sed 's/^dev$/debug/')"
bad=0
for target in $targets; do
    mkdir -p "$work/corpus/$target" "$work/found/$target"
    nice -n 15 "$programs/$target" "$work/corpus/$target" "seeds/$target" -max_total_time=$((minutes * 60)) -timeout=20 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$work/found/$target/" >"$work/$target.log" 2>&1 || bad=1
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
    covered=$(grep -o 'cov: [0-9]*' "$work/$target.log" | tail -n 1)
    # Not what was slow once: on a busy machine that says nothing.
    crashes=$(find "$work/found/$target" -type f ! -name 'slow-unit-*' | wc -l)
    echo "$target: ${executions:-0} executions in $minutes min, ${covered:-cov: 0}, $crashes crashes (in $work/found/$target)"
done
exit $bad
