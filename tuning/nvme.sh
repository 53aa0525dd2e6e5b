#!/usr/bin/env bash
# What the drive under a data directory is, and, when asked, what a synced write costs on it.
set -u
# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<END
Usage: nvme.sh [--data-dir DIR] [--probe]

  --data-dir DIR   where the log is, or will be (default: ./blipmq-data)
  --probe          writes a file of 32 MiB there, measures direct writes with and without a sync after each, and
                   removes it: a few seconds of load on the drive

The probe gives means of a single writer. For percentiles, and for the same through the broker's own code, use
\`blipmq bench --floor\`.
END
}

data_dir=./blipmq-data
probe=
while [ $# -gt 0 ]; do
    case $1 in
        --data-dir) need_value "$@" && data_dir=$2 && shift ;;
        --probe) probe=1 ;;
        *) other_word "$1" ;;
    esac
    shift
done
place=$(existing_dir "$data_dir")
mapfile -t DISKS < <(disks_of "$place")
[ ${#DISKS[@]} -gt 0 ] || echo "No drive of this machine is under $place ($(findmnt -nro FSTYPE -T "$place" | tail -n 1))."

fact() {
    [ -z "$2" ] || printf '  %-24s %s\n' "$1" "$2"
}

queue_fact() {
    fact "$1" "$(value_of "$ROOT/sys/block/$3/queue/$2" || true)"
}

describe() {
    local disk=$1
    echo "$disk"
    fact "model, transport" "$(trim "$(lsblk -dnro MODEL,REV,TRAN "/dev/$disk" 2>/dev/null)")"
    fact "size" "$(lsblk -dnro SIZE "/dev/$disk" 2>/dev/null)"
    queue_fact "logical block" logical_block_size "$disk"
    queue_fact "physical block" physical_block_size "$disk"
    queue_fact "write cache" write_cache "$disk"
    queue_fact "forced unit access" fua "$disk"
    queue_fact "scheduler" scheduler "$disk"
    queue_fact "requests a queue" nr_requests "$disk"
    fact "hardware queues" "$(count_of "$ROOT/sys/block/$disk/mq"/*)"
    queue_fact "spins" rotational "$disk"
    case $disk in
        nvme*)
            fact "deepest sleep, us" "$(value_of "$ROOT/sys/module/nvme_core/parameters/default_ps_max_latency_us" || true)"
            fact "node" "$(value_of "$ROOT/sys/block/$disk/device/numa_node" || true)"
            ;;
    esac
    case $(value_of "$ROOT/sys/block/$disk/queue/write_cache") in
        'write back') echo "  It has a volatile cache: each sync flushes it, and that is most of what a commit costs." ;;
        'write through') echo "  No volatile cache (or a protected one): a sync costs little more than the write itself." ;;
    esac
}

count_of() {
    [ -e "$1" ] && printf '%d' $#
}

# timed COUNT SIZE FLAGS: mean microseconds a write.
timed() {
    local before=$EPOCHREALTIME after
    dd if=/dev/zero of="$file" bs="$2" count="$1" conv=notrunc oflag="$3" 2>/dev/null || return 1
    after=$EPOCHREALTIME
    echo $(((${after/[.,]/} - ${before/[.,]/}) / $1))
}

report() {
    local name=$1 count=$2 size=$3 flags=$4 us
    us=$(timed "$count" "$size" "$flags") || {
        fact "$name" "refused: this filesystem has no direct writes"
        return
    }
    [ "$us" -gt 0 ] || us=1
    fact "$name" "$(printf '%6d us  %7d/s  %6d MB/s' "$us" $((1000000 / us)) $((size / us)))"
}

for disk in "${DISKS[@]}"; do describe "$disk"; done
[ -n "$probe" ] || exit 0
file=$place/.blipmq-probe-$$
trap 'rm -f "$file"' EXIT
dd if=/dev/zero of="$file" bs=1048576 count=32 conv=fsync 2>/dev/null || die "cannot write in $place"
echo "$place, one writer, over blocks written before, mean:"
report "4 KiB direct" 2000 4096 direct
report "4 KiB direct + sync" 2000 4096 direct,dsync
report "64 KiB direct + sync" 500 65536 direct,dsync
report "1 MiB direct + sync" 32 1048576 direct,dsync
report "1 MiB direct" 32 1048576 direct
