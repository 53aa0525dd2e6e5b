#!/usr/bin/env bash
# From a load to cores, memory, disk and network. The formulas are in HARDWARE.md, the machine's values in capacity.conf.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<END
Usage: capacity.sh --rate N --size BYTES [--fan-out N] [--durable SHARE] [--retention-hours H] [--connections N]
                   [--fsync always|every_n|interval_ms|none] [--peak FACTOR] [--set NAME=VALUE]... [--values FILE]

  --rate N            records published per second, on average
  --size BYTES        of one record's key, value and headers
  --fan-out N         subscriptions that each record goes to (default: 1)
  --durable SHARE     of the records that are QoS 1, from 0 to 1 (default: 1)
  --retention-hours H how long records stay (default: 24)
  --connections N     (default: 1000)
  --fsync POLICY      (default: always)
  --peak FACTOR       peak rate over average rate (default: 2): cores and network are for the peak, disk space is not
  --set NAME=VALUE    instead of the value in capacity.conf
  --values FILE       instead of capacity.conf
END
}

fail() {
    echo "capacity.sh: $1" >&2
    exit 2
}

values=$here/capacity.conf
given=()
rate='' size='' fan_out=1 durable=1 hours=24 connections=1000 fsync=always peak=2
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --rate | --size | --fan-out | --durable | --retention-hours | --connections | --peak)
            [[ ${2:-} =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "$1 needs a number"
            ;;
        --fsync) case ${2:-} in always | every_n | interval_ms | none) ;; *) fail "--fsync: always, every_n, interval_ms or none" ;; esac ;;
        --set) [[ ${2:-} =~ ^[a-z_]+=[0-9]+(\.[0-9]+)?$ ]] || fail "--set needs NAME=NUMBER" ;;
        --values) [ -r "${2:-}" ] || fail "--values: no such file" ;;
        *) fail "unknown argument \"$1\"; see --help" ;;
    esac
    case $1 in
        --rate) rate=$2 ;;
        --size) size=$2 ;;
        --fan-out) fan_out=$2 ;;
        --durable) durable=$2 ;;
        --retention-hours) hours=$2 ;;
        --connections) connections=$2 ;;
        --fsync) fsync=$2 ;;
        --peak) peak=$2 ;;
        --set) given+=("${2%%=*} ${2#*=}") ;;
        --values) values=$2 ;;
    esac
    shift 2
done
if [ -z "$rate" ] || [ -z "$size" ]; then fail "--rate and --size are needed; see --help"; fi
if [ ${#given[@]} -gt 0 ]; then
    for one in "${given[@]}"; do
        grep -q "^${one%% *} " "$values" || fail "no value is called \"${one%% *}\"; they are in $values"
    done
fi

{ sed 's/|.*//; s/#.*//' "$values"; printf '%s\n' "${given[@]:-}"; } | LC_ALL=C awk -v R="$rate" -v S="$size" -v F="$fan_out" \
    -v D="$durable" -v H="$hours" -v C="$connections" -v policy="$fsync" -v peak="$peak" '
    function up(x) { return x == int(x) ? x : int(x) + 1 }
    function most(a, b) { return a > b ? a : b }
    function say(name, value, how) { printf "%-26s %-22s %s\n", name, value, how }
    NF >= 2 { v[$1] = $2 }
    END {
        P = R * peak
        commit_s = v["commit_us"] / 1e6
        ns = v["cpu_ns_in"] + S * v["cpu_ns_byte_in"] + F * (v["cpu_ns_out"] + S * v["cpu_ns_byte_out"])
        ns += D * (v["cpu_ns_log"] + S * v["cpu_ns_byte_log"])
        busy = P * ns / 1e9
        # A group is what arrives while the one before it is written and synced: no more of them than commits, nor
        # than batches.
        groups = most(up(busy / v["utilisation"]), 1) / commit_s
        if (groups > P * D / v["batch"]) groups = P * D / v["batch"]
        busy += groups * v["cpu_us_commit"] / 1e6
        cores = most(up(busy / v["utilisation"]), 1)
        record = S + v["record_overhead"] + v["batch_overhead"] / v["batch"]
        in_b = P * record * v["wire_overhead"]
        out_b = F * in_b
        log_s = P * D * record + groups * v["group_padding"]
        # Cleaning rewrites live batches: at most the part above the live bytes.
        disk_s = log_s * v["live_factor"]
        live = R * D * record * 3600 * H
        disk = live * v["live_factor"] + 2 * cores * v["segment_mib"] * 1048576
        memory = cores * (v["tail_mib"] + v["backlog_mib"] + v["ring_mib"] + v["base_mib"]) + C * v["connection_kib"] / 1024
        say("CPU per record, ns", sprintf("%.0f", ns), "in + fan-out x out + durable x log, each a part per record and one per byte")
        say("cores (shards)", cores, sprintf("%.2f busy at the peak of %.0f/s, at most %.0f %% of each used", busy, P, v["utilisation"] * 100))
        say("network in, Mbit/s", sprintf("%.0f", in_b * 8 / 1e6), "peak x bytes of a record with its share of a batch x headers")
        say("network out, Mbit/s", sprintf("%.0f", out_b * 8 / 1e6), "network in x fan-out")
        say("card, Gbit/s at least", sprintf("%.1f", most(in_b, out_b) * 8 / 1e9 / v["nic_share"]), sprintf("the larger of both, at most %.0f %% used", v["nic_share"] * 100))
        if (D > 0) {
            say("log, MB/s at the peak", sprintf("%.1f", log_s / 1e6), sprintf("records x %.1f bytes + %.0f groups/s x padding", record, groups))
            say("drive, MB/s", sprintf("%.1f", disk_s / 1e6), sprintf("log x %.1f for cleaning; %.0f %% of what this drive writes", v["live_factor"], disk_s / v["disk_mb_s"] / 1e4))
            if (disk_s > v["disk_mb_s"] * 1e6) say("", "TOO MUCH", "for one drive of this kind: several machines, or a faster drive")
            say("disk, GB", sprintf("%.0f", disk / 1e9), sprintf("%.0f GB live x %.1f + two segments a shard", live / 1e9, v["live_factor"]))
            say("drive to buy, GB", sprintf("%.0f", disk / 0.8e9), "a fifth stays free")
            say("written per day, TB", sprintf("%.2f", R * D * record * v["live_factor"] * 86400 / 1e12), "average log x cleaning: compare with the drive'"'"'s endurance")
            # Without a sync of its own, a commit is the write alone: about half.
            alone = policy == "always" ? v["commit_us"] : v["commit_us"] / 2
            latency = 1.5 * alone
            say("commit, us", sprintf("%.0f", latency), policy == "always" ? "half a group waited for, then its own write and sync" : "half a group waited for, then its own write")
            say("window for the peak", sprintf("%.0f", most(1, up(P * D * latency / 1e6))), "records on the way (rate x commit), over all publishers")
            say("one at a time, records/s", sprintf("%.0f", 1e6 / alone), "a publisher that waits for each acknowledgement, without the network")
        }
        say("memory, MiB at least", sprintf("%.0f", memory), "shards x (tail + backlog + rings + base) + connections")
        say("descriptors", C + 128 * cores + 64, "connections + 128 a shard + 64")
    }'
