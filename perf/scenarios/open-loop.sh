#!/usr/bin/env bash
# 20,000 messages a second at fixed times, 128 B: latency from when each was to be sent.
source "$(dirname "$0")/../lib.sh"
scenario "open-20k-qos0" qos0 --rate 20k --duration "$TIME" --floor
scenario "open-20k-qos1" qos1 --rate 20k --duration "$TIME"
scenario "open-20k-durable" durable --rate 20k --duration "$TIME"
