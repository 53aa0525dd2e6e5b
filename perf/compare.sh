#!/usr/bin/env bash
# What changed between two results folders: perf/compare.sh BEFORE AFTER
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
exec "${BIN:-${CARGO_TARGET_DIR:-$root/target}/release}/perf-report" compare "$1" "$2"
