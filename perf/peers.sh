#!/usr/bin/env bash
# The same load against other brokers, pinned to the same core: those of nats-server and redis-server that are
# installed (apt-get install nats-server redis-server; do not let them run as services), or in PEERS_PATH.
source "$(dirname "$0")/lib.sh"
PATH=${PEERS_PATH:+$PEERS_PATH:}$PATH:/usr/sbin
CPU=${CPU:-0}
data=$(mktemp -d --tmpdir=/var/tmp)
running=""
trap 'stop; rm -rf "$data"' EXIT

stop() {
    [ -z "$running" ] || { kill "$running" 2>/dev/null; wait "$running" 2>/dev/null || true; }
    running=""
}

# start PORT COMMAND...: sets `running`, and waits until the port answers.
start() {
    local port=$1
    shift
    taskset -c "$CPU" "$@" >"$data/log" 2>&1 &
    running=$!
    for _ in $(seq 100); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
        sleep 0.05
    done
    echo "no answer on port $port: $(tail -3 "$data/log")" >&2
    return 1
}

if command -v nats-server >/dev/null; then
    echo "nats: $(nats-server --version)" >>"$OUT/commands.txt"
    start 14222 nats-server --addr 127.0.0.1 --port 14222
    for size in 128 1k 4k; do
        peer_scenario "peer-nats-$size" nats 14222 "$running" qos0 --size "$size" --duration "$TIME"
    done
    peer_scenario "peer-nats-open-20k" nats 14222 "$running" qos0 --rate 20k --duration "$TIME"
    peer_scenario "peer-nats-4x4" nats 14222 "$running" qos0 --publishers 4 --subscribers 4 --topics 4 --duration "$TIME"
    peer_scenario "peer-nats-fan-out-100" nats 14222 "$running" qos0 --subscribers 100 --duration "$TIME"
    stop
else
    echo "nats-server is not installed: left out"
fi

if command -v redis-server >/dev/null; then
    echo "redis: $(redis-server --version)" >>"$OUT/commands.txt"
    start 16379 redis-server --bind 127.0.0.1 --port 16379 --save "" --dir "$data" \
        --client-output-buffer-limit "pubsub 0 0 0"
    for size in 128 1k 4k; do
        peer_scenario "peer-redis-$size" redis 16379 "$running" qos0 --size "$size" --duration "$TIME"
    done
    peer_scenario "peer-redis-open-20k" redis 16379 "$running" qos0 --rate 20k --duration "$TIME"
    peer_scenario "peer-redis-fan-out-100" redis 16379 "$running" qos0 --subscribers 100 --duration "$TIME"
    stop
    for policy in always everysec; do
        start 16379 redis-server --bind 127.0.0.1 --port 16379 --save "" --dir "$data" --appendonly yes \
            --appendfsync "$policy" --appenddirname "aof-$policy"
        for size in 128 4k; do
            peer_scenario "peer-redis-stream-$policy-$size" redis-stream 16379 "$running" qos1 --size "$size" \
                --duration "$TIME"
        done
        stop
    done
else
    echo "redis-server is not installed: left out"
fi
