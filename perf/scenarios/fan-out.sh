#!/usr/bin/env bash
# One publisher, a hundred subscribers of its topic.
source "$(dirname "$0")/../lib.sh"
scenario "fan-out-100" qos0 --subscribers 100 --duration "$TIME"
