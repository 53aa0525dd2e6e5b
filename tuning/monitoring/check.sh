#!/usr/bin/env bash
# What is in this folder, and what a broker exposes, held against the real tools: promtool reads the rules, their tests,
# the configuration and a live scrape; a real Prometheus scrapes a broker under load, and what it then knows has to
# move as the traffic did. Leaves nothing running. Without the tools it says so and ends with 0.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<END
Usage: check.sh [--bin DIR] [--seconds N]

  --bin DIR      where blipmqd and blipmq are (default: target/release of this checkout)
  --seconds N    how long Prometheus watches the load (default: 60)
Exit code: 0 all is well, or a tool is not installed; 1 something is not; 2 usage.
END
}

bin=$here/../../target/release
seconds=60
while [ $# -gt 0 ]; do
    case $1 in
        --bin) bin=${2:?--bin needs a value} && shift ;;
        --seconds) seconds=${2:?--seconds needs a value} && shift ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done

if ! command -v promtool >/dev/null; then
    echo "SKIPPED: promtool is not installed (Debian: apt-get install prometheus): rules, metrics and graphs were not checked"
    exit 0
fi

work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
running=()
finish() {
    for process in "${running[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT

say() { printf '==> %s\n' "$*"; }

# need WHAT VALUE CONDITION: an awk condition on v.
need() {
    if awk -v v="$2" "BEGIN { exit !($3) }"; then
        printf 'ok    %s: %s\n' "$1" "$2"
    else
        printf 'FAIL  %s: %s, and not %s\n' "$1" "${2:-nothing}" "$3"
        exit 1
    fi
}

say "rules, their tests, configuration"
(cd "$here" && promtool check rules blipmq-alerts.yaml && promtool test rules blipmq-alerts.test.yaml && promtool check config prometheus.yml)

say "a broker under load"
export BLIPMQ_ALLOWED_API_KEYS=monitoring BLIPMQ_API_KEY=monitoring
"$bin/blipmqd" --port 0 --metrics-port 0 --cores 1 --wal-path "$work/data" --set metrics_per_topic=10 >"$work/said" 2>"$work/log" &
running+=($!)
for _ in $(seq 300); do
    address=$(sed -n 's/^listening on //p' "$work/said")
    metrics=$(sed -n 's|^metrics *http://\(.*\)/metrics|\1|p' "$work/said")
    [ -n "$metrics" ] && break
    sleep 0.1
done
[ -n "$metrics" ] || { cat "$work/said" "$work/log" && exit 1; }
rate=2000
"$bin/blipmq" bench durable --addr "$address" --rate "$rate" --duration "$((seconds + 15))s" --no-pin >"$work/bench" 2>&1 &
load=$!
running+=("$load")

# scrape: over bash's own sockets, so that no other program is needed.
scrape() {
    exec 3<>"/dev/tcp/${metrics%:*}/${metrics##*:}"
    printf 'GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n' "$metrics" >&3
    sed '1,/^\r$/d' <&3
    exec 3>&-
}

sleep 3
scrape >"$work/scrape"
code=0
promtool check metrics <"$work/scrape" >"$work/lint" 2>&1 || code=$?
# 3: it can be read, and a name is not to promtool's taste. The seven bare names of the original have to be as they are.
if [ "$code" != 0 ] && { [ "$code" != 3 ] || grep -qE '^blipmq_|^process_' "$work/lint"; }; then
    cat "$work/lint"
    exit 1
fi
printf 'ok    promtool check metrics: %s series\n' "$(grep -vc '^#' "$work/scrape")"

if ! command -v prometheus >/dev/null; then
    echo "SKIPPED: prometheus is not installed: nothing was scraped over time"
    exit 0
fi

say "Prometheus watches for $seconds s"
cat >"$work/prometheus.yml" <<END
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files:
  - $here/blipmq-alerts.yaml
scrape_configs:
  - job_name: blipmq
    static_configs:
      - targets: ["$metrics"]
END
# A port that was free a moment ago; another try if somebody takes it.
for _ in 1 2 3; do
    port=$((20000 + RANDOM % 20000))
    prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address="127.0.0.1:$port" \
        >"$work/prometheus.log" 2>&1 &
    watcher=$!
    sleep 2
    kill -0 "$watcher" 2>/dev/null && break
done
running+=("$watcher")
sleep "$seconds"

# ask QUERY: its first value.
ask() {
    promtool query instant "http://127.0.0.1:$port" "$1" | sed -n 's/.* => \([^ ]*\) @.*/\1/p' | head -1
}

need "it scrapes the broker" "$(ask 'up{job="blipmq"}')" "v == 1"
need "messages published a second" "$(ask 'rate(blipmq_messages_published_total[10s])')" "v > $rate * 0.5 && v < $rate * 1.5"
need "messages delivered a second" "$(ask 'rate(blipmq_messages_delivered_total[10s])')" "v > $rate * 0.5 && v < $rate * 1.5"
need "by topic" "$(ask 'sum(rate(blipmq_topic_messages_published_total[10s]))')" "v > $rate * 0.5"
need "the bare name of the same" "$(ask 'rate(messages_published_total[10s])')" "v > $rate * 0.5"
need "bytes in a second" "$(ask 'rate(blipmq_network_received_bytes_total[10s])')" "v > $rate * 64"
need "bytes out a second" "$(ask 'rate(blipmq_network_sent_bytes_total[10s])')" "v > $rate * 64"
need "bytes into the log a second" "$(ask 'rate(blipmq_wal_bytes_total[10s])')" "v > $rate * 64"
need "syncs a second" "$(ask 'rate(blipmq_wal_syncs_total[10s])')" "v > 0"
# Some writes have only what was acknowledged by subscribers.
need "messages in one write" "$(ask 'rate(blipmq_wal_records_total[10s]) / rate(blipmq_wal_groups_total[10s])')" "v > 0.5"
need "publish to acknowledgement, p99 in s" "$(ask 'histogram_quantile(0.99, sum by (le) (rate(blipmq_publish_ack_seconds_bucket[10s])))')" "v > 0 && v < 10"
need "publish to delivery, p99 in s" "$(ask 'histogram_quantile(0.99, sum by (le) (rate(blipmq_publish_deliver_seconds_bucket[10s])))')" "v > 0 && v < 10"
need "connections open" "$(ask 'blipmq_connections{state="open"}')" "v >= 2"
need "share of the loop that is work" "$(ask 'rate(blipmq_shard_busy_seconds_total[10s])')" "v > 0 && v <= 1.05"
need "alerts that fire" "$(ask 'count(ALERTS{alertstate="firing"}) or vector(0)')" "v == 0"

say "the load ends"
kill "$load" 2>/dev/null || true
wait "$load" 2>/dev/null || true
sleep 8
need "messages published a second" "$(ask 'rate(blipmq_messages_published_total[5s])')" "v == 0"
need "connections open" "$(ask 'blipmq_connections{state="open"}')" "v == 0"
say "values move as the traffic does"
