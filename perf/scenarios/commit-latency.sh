#!/usr/bin/env bash
# One publisher, one message at a time, 256 B, synced before it is acknowledged; the device's own time in the same pass.
# First with nobody asleep (spin_ms, as in the low-latency profile, and a load that spins), then as it comes.
source "$(dirname "$0")/../lib.sh"
one=(durable --size 256 --batch 1 --window 1 --fsync always --duration "$TIME" --floor)
scenario "commit-latency" "${one[@]}" --spin --set spin_ms=5
scenario "commit-latency-parked" "${one[@]}"
