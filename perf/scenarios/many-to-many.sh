#!/usr/bin/env bash
# Four publishers and four subscribers, a topic for each pair.
source "$(dirname "$0")/../lib.sh"
scenario "qos0-4x4" qos0 --publishers 4 --subscribers 4 --topics 4 --duration "$TIME" --floor
scenario "durable-4x4" durable --publishers 4 --subscribers 4 --topics 4 --duration "$TIME"
