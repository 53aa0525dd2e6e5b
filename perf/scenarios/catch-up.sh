#!/usr/bin/env bash
# Two million messages wait in the log; subscribers catch up while 200,000 a second are still published.
source "$(dirname "$0")/../lib.sh"
scenario "catch-up" durable --backlog 2m --rate 200k --batch 100 --duration "$TIME"
