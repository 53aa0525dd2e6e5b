#!/usr/bin/env bash
# Hours of ordinary life, and what grew: soak.sh --hours H [--out DIR] [arguments of `blipmq torture soak`...]
set -eu
cd "$(dirname "$0")/.."
BIN=${BIN:-${CARGO_TARGET_DIR:-target}/release}
hours=1 out=
rest=()
while [ $# -gt 0 ]; do
    case $1 in
        --hours) hours=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        *) rest+=("$1"); shift ;;
    esac
done
commit=$(git rev-parse --short=10 HEAD 2>/dev/null || echo unknown)
out=${out:-perf/results/$(date +%Y-%m-%d)-$(hostname)-$commit-soak}
[ -x "$BIN/blipmq" ] || { echo "no $BIN/blipmq: cargo build --release --bins" >&2; exit 1; }
exec "$BIN/blipmq" torture soak --duration "${hours}h" --out "$out" "${rest[@]}"
