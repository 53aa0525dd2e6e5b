#!/usr/bin/env bash
# Records where the daemon's CPU time goes: perf/flamegraph.sh NAME ARGUMENTS-OF-BLIPMQ-BENCH...
#   perf/flamegraph.sh qos0 qos0          perf/flamegraph.sh durable durable --size 128
# Writes OUT/NAME.svg and OUT/NAME.folded (perf/results/flamegraphs by default). Samples by the CPU clock, so that it
# works without hardware counters. Needs perf (apt-get install linux-perf) and, to draw, inferno, which it installs
# into target/tools. With PID set, records that process instead of the broker of a benchmark.
set -eu
cd "$(dirname "$0")/.."
NAME=$1
shift
OUT=${OUT:-perf/results/flamegraphs}
SECONDS_RECORDED=${SECONDS_RECORDED:-6}
TOOLS=${TOOLS:-$PWD/target/tools}
BIN=${BIN:-${CARGO_TARGET_DIR:-$PWD/target}/release}
mkdir -p "$OUT"

command -v perf >/dev/null || { echo "perf is missing: apt-get install linux-perf" >&2; exit 1; }
if [ "$(cat /proc/sys/kernel/perf_event_paranoid)" -gt 1 ] && [ "$(id -u)" -ne 0 ]; then
    echo "note: kernel.perf_event_paranoid hides the kernel's part; as root: sysctl kernel.perf_event_paranoid=1" >&2
fi
[ -x "$TOOLS/bin/inferno-flamegraph" ] || cargo install --quiet inferno --root "$TOOLS"

bench=""
if [ -z "${PID:-}" ]; then
    "$BIN/blipmq" bench "$@" --duration "$((SECONDS_RECORDED + 3))s" --warmup 1s >"$OUT/$NAME.txt" &
    bench=$!
    for _ in $(seq 100); do
        PID=$(pgrep -P "$bench" -x blipmqd || true)
        [ -n "$PID" ] && break
        sleep 0.05
    done
    sleep 2
fi
[ -n "$PID" ] || { echo "no daemon to record" >&2; exit 1; }

data=$(mktemp --tmpdir=/var/tmp --suffix=.data)
trap 'rm -f "$data"' EXIT
# DWARF unwinding: the release build keeps no frame pointers. 499 Hz, so as not to beat with timers.
perf record --quiet --event cpu-clock --freq 499 --call-graph dwarf,16384 --pid "$PID" --output "$data" \
    -- sleep "$SECONDS_RECORDED"
[ -z "$bench" ] || wait "$bench"
perf script --input "$data" 2>/dev/null | "$TOOLS/bin/inferno-collapse-perf" >"$OUT/$NAME.folded"
"$TOOLS/bin/inferno-flamegraph" --title "$NAME: blipmq bench $*" "$OUT/$NAME.folded" >"$OUT/$NAME.svg"
echo "$OUT/$NAME.svg"
# Where the time ends: the ten functions on top.
awk '{ n = $NF; $NF = ""; k = split($0, f, ";"); sub(/ +$/, "", f[k]); t[f[k]] += n; all += n }
     END { for (i in t) printf "%5.1f %%  %s\n", 100 * t[i] / all, i }' "$OUT/$NAME.folded" | sort -rn | head -10 \
    | tee -a "$OUT/$NAME.txt"
