#!/usr/bin/env bash
# Four topics on one core, then on two, the load wherever the system puts it.
source "$(dirname "$0")/../lib.sh"
: >"$OUT/scaled-1.jsonl"
: >"$OUT/scaled-2.jsonl"
echo "scaled: blipmq bench scaled" >>"$OUT/commands.txt"
for pass in $(seq "$PASSES"); do
    "$BIN/blipmq" --json bench scaled --name scaled --duration "$TIME" --hdr "$OUT/hdr/scaled-pass-$pass" >"$OUT/scaled.tmp"
    sed -n 1p "$OUT/scaled.tmp" >>"$OUT/scaled-1.jsonl"
    sed -n 2p "$OUT/scaled.tmp" >>"$OUT/scaled-2.jsonl"
done
rm -f "$OUT/scaled.tmp"
[ -s "$OUT/scaled-2.jsonl" ] || rm -f "$OUT/scaled-2.jsonl"
