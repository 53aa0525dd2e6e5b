# What all scenarios share. Source it; then: scenario NAME ARGUMENTS-OF-BLIPMQ-BENCH...
#
#   OUT     results folder (made if missing)
#   PASSES  runs of each scenario, 5 by default
#   TIME    what each run measures, 5s by default
#   BIN     folder of blipmq and blipmqd

set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
PASSES=${PASSES:-5}
TIME=${TIME:-5s}
BIN=${BIN:-${CARGO_TARGET_DIR:-$ROOT/target}/release}

stamp() {
    local host commit
    host=$(hostname)
    commit=$(git -C "$ROOT" rev-parse --short=10 HEAD 2>/dev/null || echo unknown)
    echo "$(date +%Y-%m-%d)-$host-$commit"
}

OUT=${OUT:-$ROOT/perf/results/$(stamp)}
mkdir -p "$OUT/hdr"

[ -x "$BIN/blipmq" ] || { echo "no $BIN/blipmq: cargo build --release --bins" >&2; exit 1; }

# Runs one scenario PASSES times: a line of JSON for each in OUT/NAME.jsonl, histograms in OUT/hdr.
# A run that loses a message or fails says so and is kept out of nothing: the scenario fails.
scenario() {
    local name=$1 pass
    shift
    echo "$name: blipmq bench $*"
    echo "$name: blipmq bench $*" >>"$OUT/commands.txt"
    : >"$OUT/$name.jsonl"
    for pass in $(seq "$PASSES"); do
        "$BIN/blipmq" --json bench "$@" --name "$name" --hdr "$OUT/hdr/$name-$pass" >>"$OUT/$name.jsonl"
    done
}

# The same for a running peer: peer_scenario NAME KIND PORT PID ARGUMENTS...
peer_scenario() {
    local name=$1 kind=$2 port=$3 pid=$4
    shift 4
    scenario "$name" "$@" --peer "$kind" --addr "127.0.0.1:$port" --pid "$pid"
}
