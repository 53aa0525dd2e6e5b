#!/usr/bin/env bash
# Spreads the interrupts of the network card and of the log's drive over processors, and puts them back.
set -u
# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<END
Usage: irq.sh [--nic DEV] [--data-dir DIR] [--cpus LIST] [--dry-run]
       irq.sh --revert [--dry-run]

  --nic DEV        the card the clients come by (default: that of the default route)
  --data-dir DIR   where the log is, or will be (default: ./blipmq-data)
  --cpus LIST      processors that take the interrupts, as 0-3,8 (default: all)

Two ways that both make sense: as many card queues as shards and queue i interrupting core i (the default), or, where
the tail counts and there are processors to spare, all interrupts on processors that the daemon does not use
(--cpus 0-1, and CPUAffinity=2-15 in the unit). NVMe drives mostly manage their own interrupts, one for each processor:
the kernel then refuses a change, which is said and does no harm. Shares its record with apply.sh: either reverts.
END
}

data_dir=./blipmq-data
dry=
revert=
while [ $# -gt 0 ]; do
    case $1 in
        --nic) need_value "$@" && NIC=$2 && shift ;;
        --data-dir) need_value "$@" && data_dir=$2 && shift ;;
        --cpus) need_value "$@" && CPUS=$2 CPUS_GIVEN=1 && shift ;;
        --dry-run) dry=1 ;;
        --revert) revert=1 ;;
        *) other_word "$1" ;;
    esac
    shift
done
if [ -z "$dry" ]; then
    need_root
    state_open
fi
if [ -n "$revert" ]; then
    revert_all "$dry" "" "$ROOT/proc/irq/"
    exit
fi
[ -n "$CPUS" ] || CPUS=$(online_cpus)
[ -n "$NIC" ] || NIC=$(default_nic)
mapfile -t DISKS < <(disks_of "$(existing_dir "$data_dir")")
for name in "$ROOT"/proc/[0-9]*/comm; do
    if [ "$(cat "$name" 2>/dev/null)" = irqbalance ]; then
        echo "irqbalance is running and will move them again: systemctl disable --now irqbalance, or ban them there."
    fi
done
apply_knob irq:nic spread "queue i of the card interrupts processor i" "$dry"
apply_knob irq:disk spread "completions arrive on more than one processor" "$dry"
