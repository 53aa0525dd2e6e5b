#!/usr/bin/env bash
# One publisher, one message at a time, 256 B, synced before it is acknowledged; the device's own time in the same pass.
source "$(dirname "$0")/../lib.sh"
scenario "commit-latency" durable --size 256 --batch 1 --window 1 --fsync always --spin --duration "$TIME" --floor
