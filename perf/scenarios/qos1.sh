#!/usr/bin/env bash
# QoS 1 with acknowledgements on both sides, no log: 128 B, 1 KB, 4 KB.
source "$(dirname "$0")/../lib.sh"
for size in 128 1k 4k; do
    scenario "qos1-$size" qos1 --size "$size" --duration "$TIME"
done
