#!/usr/bin/env bash
# QoS 0, version 2 batches, one publisher and one subscriber: 128 B, 1 KB, 4 KB, each against the bare relay.
source "$(dirname "$0")/../lib.sh"
for size in 128 1k 4k; do
    scenario "qos0-$size" qos0 --size "$size" --duration "$TIME" --floor
done
