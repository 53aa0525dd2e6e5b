#!/usr/bin/env bash
# QoS 1 through the log, synced before it is acknowledged: 128 B, 1 KB, 4 KB; then the other policies.
source "$(dirname "$0")/../lib.sh"
for size in 128 1k 4k; do
    scenario "durable-always-$size" durable --size "$size" --fsync always --duration "$TIME" --floor
done
for policy in every_n:64 interval_ms:10 none; do
    scenario "durable-${policy%%:*}-128" durable --fsync "$policy" --duration "$TIME"
done
