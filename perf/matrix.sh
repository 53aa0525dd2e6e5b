#!/usr/bin/env bash
# Runs every scenario and writes perf/results/<date>-<host>-<commit>/: JSON and HDR files of every pass, what the
# machine is, the table (README.md) and its plots. Takes about half an hour; PASSES=1 TIME=1s for a look.
source "$(dirname "$0")/lib.sh"
export OUT PASSES TIME BIN

{
    echo "# $(basename "$OUT")"
    uname -a
    git -C "$ROOT" log -1 --format='commit %H, %ad' 2>/dev/null || true
    git -C "$ROOT" status --short 2>/dev/null | sed 's/^/changed: /'
    rustc --version 2>/dev/null || true
    echo "load before: $(cat /proc/loadavg)"
    lscpu
    free -m
    df -T "$ROOT" /var/tmp
    grep -E ' (/|/var|/var/tmp) ' /proc/self/mounts || true
    for file in /sys/block/*/queue/scheduler /sys/block/*/queue/write_cache; do echo "$file: $(cat "$file")"; done
    for key in net.core.rmem_max net.core.wmem_max net.core.somaxconn net.ipv4.tcp_rmem net.ipv4.tcp_wmem \
        net.core.busy_poll vm.swappiness kernel.io_uring_disabled; do
        echo "$key = $(sysctl -n "$key" 2>/dev/null || echo unknown)"
    done
    ulimit -a
} >"$OUT/environment.txt" 2>&1

failed=""
for script in perf/scenarios/*.sh; do
    "$script" || failed="$failed $(basename "$script")"
done
if [ -n "${WITH_PEERS:-}" ]; then
    perf/peers.sh || failed="$failed peers.sh"
fi
"$BIN/perf-report" sum "$OUT"
echo "$OUT"
if [ -n "$failed" ]; then
    echo "failed:$failed" | tee "$OUT/failed.txt" >&2
    exit 1
fi
