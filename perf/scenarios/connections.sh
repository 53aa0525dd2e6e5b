#!/usr/bin/env bash
# 10,000 idle connections: what one costs, and what they cost a working publisher and subscriber.
source "$(dirname "$0")/../lib.sh"
: >"$OUT/connect-10k.jsonl"
echo "connect-10k: blipmq bench connect" >>"$OUT/commands.txt"
for pass in $(seq "$PASSES"); do
    "$BIN/blipmq" --json bench connect --connections 10k >>"$OUT/connect-10k.jsonl"
done
scenario "qos0-beside-10k-idle" qos0 --idle 10k --duration "$TIME"
