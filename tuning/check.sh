#!/usr/bin/env bash
# Reads what this machine is set to, and says what BlipMQ would have and why. Changes nothing.
set -u
# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<END
Usage: check.sh [--profile NAME] [--data-dir DIR] [--nic DEV] [--changes] [--json] [--strict]

  --profile NAME   $(profiles) (default: throughput)
  --data-dir DIR   where the log is, or will be (default: ./blipmq-data)
  --nic DEV        the card the clients come by (default: that of the default route)
  --changes        only what should be changed or is unknown
  --json           for programs
  --strict         exit 1 where a change is advised

Runs as any user and changes nothing. To find out whether a filesystem takes direct writes it reads the first file it
finds in DIR; where there is none, it writes one block to a file of its own there and removes it.
END
}

profile=throughput
data_dir=./blipmq-data
json=
strict=
changes=
while [ $# -gt 0 ]; do
    case $1 in
        --profile) need_value "$@" && profile=$2 && shift ;;
        --data-dir) need_value "$@" && data_dir=$2 && shift ;;
        --nic) need_value "$@" && NIC=$2 && shift ;;
        --json) json=1 ;;
        --strict) strict=1 ;;
        --changes) changes=1 ;;
        *) other_word "$1" ;;
    esac
    shift
done
load_profile "$profile"
CPUS=$(online_cpus)
[ -n "$NIC" ] || NIC=$(default_nic)
place=$(existing_dir "$data_dir")
mapfile -t DISKS < <(disks_of "$place")

# ---- one function for what is not simply a file ----------------------------------------------------------------
# Each leaves VALUE (judged), SHOWN (printed, where it says more), WANT (instead of the rule's own words) and FIX (what
# to do about it). An empty VALUE is unknown, and ABSENT says why.

read_knob() {
    local knob=$1 rule=$2
    VALUE="" SHOWN="" FIX="" WANT="" ABSENT="cannot be read here"
    case $knob in
        machine:kernel) VALUE=$(uname -r | sed 's/^\([0-9]*\.[0-9]*\).*/\1/') SHOWN=$(uname -r) FIX="a newer kernel" ;;
        machine:clock_source) read_clock ;;
        sysctl:kernel.io_uring_disabled) read_io_uring ;;
        sysctl:*) read_sysctl "${knob#sysctl:}" ;;
        limit:memlock) read_limit "Max locked memory" 1024 "LimitMEMLOCK= in the unit, or limits.d/90-blipmq.conf" ;;
        limit:nofile) read_limit "Max open files" 1 "LimitNOFILE= in the unit, or limits.d/90-blipmq.conf" ;;
        cgroup:cpu_quota) read_quota ;;
        cgroup:cpus) read_cpus ;;
        cpu:numa_nodes) read_nodes ;;
        cpu:steal_percent) read_steal ;;
        cpu:idle_latency_us) read_idle "$rule" ;;
        net:softnet_dropped) read_softnet ;;
        irq:*) read_irqs "$knob" ;;
        disk:write_cache) read_write_cache ;;
        fs:type) VALUE=$(findmnt -nro FSTYPE -T "$place" | tail -n 1) FIX="put wal_path on ext4 or xfs" ;;
        fs:options) read_options ;;
        fs:odirect) read_direct ;;
        fs:free_percent) read_free ;;
        *) read_files "$knob" "$rule" ;;
    esac
    SHOWN=${SHOWN:-$VALUE}
}

read_sysctl() {
    VALUE=$(value_of "$ROOT/proc/sys/$(tr . / <<<"$1")") || ABSENT="this kernel does not have it, or does not show it"
    FIX="apply.sh, or sysctl.d/90-blipmq.conf for good"
}

read_io_uring() {
    local file=$ROOT/proc/sys/kernel/io_uring_disabled
    FIX="sysctl kernel.io_uring_disabled=0, or add the daemon's group to kernel.io_uring_group and leave it at 1"
    if [ -e "$file" ]; then
        VALUE=$(value_of "$file")
    else
        VALUE=0 SHOWN="0 (no such switch in this kernel)"
    fi
}

read_clock() {
    VALUE=$(value_of "$ROOT/sys/devices/system/clocksource/clocksource0/current_clocksource")
    FIX="find out in the kernel's log why tsc was rejected; clocksource=tsc on its command line where it is sound"
}

# The hard limit, because the daemon raises the soft one: of the running daemon where we may look, else of this shell.
read_limit() {
    local unit=$2 pid soft hard whose
    pid=$(daemon_pid)
    FIX=$3
    if [ -n "$pid" ] && [ -r "/proc/$pid/limits" ]; then whose="blipmqd, process $pid"; else pid=self whose="this shell"; fi
    read -r soft hard < <(sed -n "s/^$1 *\([^ ]*\) *\([^ ]*\).*/\1 \2/p" "/proc/$pid/limits")
    [ "$soft" = unlimited ] || soft=$((soft / unit))
    [ "$hard" = unlimited ] || hard=$((hard / unit))
    VALUE=$hard SHOWN="$hard ($whose; soft $soft)"
}

daemon_pid() {
    local file name
    for file in /proc/[0-9]*/comm; do
        read -r name 2>/dev/null <"$file" || continue
        if [ "$name" = blipmqd ]; then
            file=${file#/proc/}
            printf '%s' "${file%/comm}"
            return
        fi
    done
}

# The tightest quota from our own group up to the root, in either version of control groups.
read_quota() {
    local path dir quota period
    FIX="remove CPUQuota= (or the container's cpu limit) and give whole processors"
    VALUE=none
    path=$(sed -n 's/^0:://p' /proc/self/cgroup)
    while [ -n "$path" ] && [ "$path" != / ]; do
        for dir in "$ROOT/sys/fs/cgroup$path" "$ROOT/sys/fs/cgroup/unified$path"; do
            if read -r quota period 2>/dev/null <"$dir/cpu.max" && [ "$quota" != max ]; then
                VALUE=limited SHOWN="$quota of every $period us ($path)"
            fi
        done
        path=${path%/*}
    done
    path=$(sed -n 's/^[0-9]*:\(.*,\)\{0,1\}cpu\(,.*\)\{0,1\}:\(.*\)/\3/p' /proc/self/cgroup | head -n 1)
    for dir in "$ROOT/sys/fs/cgroup/cpu$path" "$ROOT/sys/fs/cgroup/cpu,cpuacct$path"; do
        if quota=$(value_of "$dir/cpu.cfs_quota_us") && [ "${quota:--1}" -gt 0 ]; then
            VALUE=limited SHOWN="$quota of every $(value_of "$dir/cpu.cfs_period_us") us ($path)"
        fi
    done 2>/dev/null
}

read_cpus() {
    VALUE=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
    SHOWN="$VALUE of $CPUS"
}

read_nodes() {
    local node nodes=() disk where=
    for node in "$ROOT"/sys/devices/system/node/node[0-9]*; do
        [ -e "$node" ] && nodes+=("${node##*/}:$(value_of "$node/cpulist")")
    done
    VALUE=${#nodes[@]}
    [ "$VALUE" -gt 0 ] || VALUE=1
    [ "$VALUE" -gt 1 ] || return
    for disk in "${DISKS[@]}"; do
        where+=", $disk on $(value_of "$ROOT/sys/block/$disk/device/numa_node" || echo '?')"
    done
    SHOWN="$VALUE (${nodes[*]}; $NIC on $(value_of "$ROOT/sys/class/net/$NIC/device/numa_node" || echo '?')$where)"
    FIX="CPUAffinity= and NUMAPolicy=local in the unit: the processors of the node that has the card and the drive"
}

read_steal() {
    local user nice system idle iowait irq softirq steal total
    read -r _ user nice system idle iowait irq softirq steal _ <"$ROOT/proc/stat" 2>/dev/null || return
    total=$((user + nice + system + idle + iowait + irq + softirq + steal))
    [ "$total" -gt 0 ] || return
    VALUE=$(((steal * 100 + total / 2) / total))
    SHOWN="$VALUE ($((steal * 1000 / total)) of 1000 ticks)"
    FIX="dedicated processors from whoever runs the host"
}

read_idle() {
    local state worst=-1 latency
    ABSENT="the processor's sleep states are not shown here (a virtual machine, usually)"
    FIX="apply.sh --profile low-latency"
    for state in "$ROOT"/sys/devices/system/cpu/cpu[0-9]*/cpuidle/state[0-9]*; do
        [ "$(value_of "$state/disable" 2>/dev/null)" = 0 ] || continue
        latency=$(value_of "$state/latency") && [ "$latency" -gt "$worst" ] && worst=$latency
    done
    [ "$worst" -ge 0 ] && VALUE=$worst
}

read_softnet() {
    local dropped sum=0
    while read -r _ dropped _; do
        sum=$((sum + 0x${dropped:-0}))
    done 2>/dev/null <"$ROOT/proc/net/softnet_stat" || return
    VALUE=$sum
    FIX="raise net.core.netdev_max_backlog, spread the card's interrupts"
}

read_irqs() {
    local file irq list=()
    ABSENT="no interrupts of its own are shown for it"
    FIX="irq.sh (stop irqbalance first, it would move them back)"
    while IFS=$TAB read -r file _; do
        irq=${file%/smp_affinity_list}
        irq=${irq##*/}
        list+=("$irq $(irq_name "$irq") on $(value_of "${file%/*}/effective_affinity_list" || value_of "$file")")
    done < <(files_of "$1" spread)
    [ ${#list[@]} -gt 0 ] || return
    if is_spread "$1"; then VALUE=spread; else VALUE=gathered; fi
    SHOWN="$VALUE ($(join '; ' "${list[@]}"))"
}

read_write_cache() {
    local disk list=()
    ABSENT="no drive of this machine is under $place"
    for disk in "${DISKS[@]}"; do
        list+=("$disk: $(value_of "$ROOT/sys/block/$disk/queue/write_cache")$(drive_says "$disk")")
    done
    [ ${#list[@]} -gt 0 ] && VALUE=$(join '; ' "${list[@]}")
}

drive_says() {
    local queue=$ROOT/sys/block/$1/queue
    printf ', %s forced-unit-access, blocks of %s, %s' \
        "$([ "$(value_of "$queue/fua")" = 1 ] && echo with || echo no)" "$(value_of "$queue/logical_block_size")" \
        "$([ "$(value_of "$queue/rotational")" = 1 ] && echo "says it spins" || echo "does not spin")"
}

read_options() {
    local options option bad=()
    options=$(findmnt -nro OPTIONS -T "$place" | tail -n 1)
    [ -n "$options" ] || return
    for option in $(tr ',' ' ' <<<"$options"); do
        case $option in nobarrier | barrier=0 | sync | dirsync | data=journal | discard) bad+=("$option") ;; esac
    done
    VALUE=fine SHOWN="$options" WANT="without ${bad[*]:-}" FIX="the mount table"
    [ ${#bad[@]} -eq 0 ] || VALUE=wrong
}

read_direct() {
    local file
    ABSENT="nothing to read in $place, and this user may not write there"
    FIX="a filesystem with direct input and output: ext4 or xfs on a drive of this machine"
    file=$(find "$place" -maxdepth 2 -type f -size +7 -readable 2>/dev/null | head -n 1)
    if [ -n "$file" ]; then
        if dd if="$file" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; then VALUE=yes; else VALUE=no; fi
        return
    fi
    [ -w "$place" ] || return
    file=$place/.blipmq-direct-$$
    if dd if=/dev/zero of="$file" bs=4096 count=1 oflag=direct 2>/dev/null; then VALUE=yes; else VALUE=no; fi
    rm -f "$file"
}

read_free() {
    local size available
    read -r size available < <(df -B 1048576 --output=size,avail "$place" 2>/dev/null | tail -n 1)
    [ "${size:-0}" -gt 0 ] || return
    VALUE=$((available * 100 / size))
    SHOWN="$VALUE ($((available / 1024)) of $((size / 1024)) GiB)"
    FIX="a larger drive, or less retention"
}

# Every file of the knob has to satisfy the rule; the first that does not is the one that is shown.
read_files() {
    local file rule one shown=()
    ABSENT="this machine does not have it"
    FIX="apply.sh"
    while IFS=$TAB read -r file rule; do
        one=$(value_of "$file") || continue
        shown+=("$one")
        if [ -z "$VALUE" ] || ! satisfies "$one" "$rule"; then VALUE=$one; fi
    done < <(files_of "$1" "$2")
    [ ${#shown[@]} -gt 0 ] || return
    SHOWN=$(printf '%s\n' "${shown[@]}" | sort -u | tr '\n' ' ')
    SHOWN=$(trim "$SHOWN")
}

join() {
    local between=$1 text=$2 part
    shift 2
    for part; do text+=$between$part; done
    printf '%s' "$text"
}

# ---- saying it -------------------------------------------------------------------------------------------------

judge() {
    local rule=$1
    if [ -z "$VALUE" ]; then
        VERDICT=unknown
    elif satisfies "$VALUE" "$rule"; then
        VERDICT=ok
    else
        VERDICT=change
    fi
}

quoted() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "$(tr -d '\000-\037' <<<"$text")"
}

as_text() {
    local name=$1
    printf '%-8s %-34s %s' "$VERDICT" "${name#sysctl:}" "${SHOWN:-$ABSENT}"
    case $VERDICT in
        change) printf '  ->  %s\n' "${WANT:-$(said "${RULE[$name]}")}" ;;
        *) printf '\n' ;;
    esac
    because "${REASON[$name]}"
    [ "$VERDICT" != change ] || printf '           To change it: %s.\n' "${FIX:-apply.sh}"
}

as_json() {
    local name=$1
    printf '{"name":%s,"value":%s,"recommended":%s,"verdict":"%s","why":%s,"fix":%s}' "$(quoted "${name#sysctl:}")" \
        "$([ -n "$VALUE" ] && quoted "$SHOWN" || echo null)" "$(quoted "$(said "${RULE[$name]}")")" "$VERDICT" \
        "$(quoted "${REASON[$name]}")" "$([ "$VERDICT" = change ] && quoted "$FIX" || echo null)"
}

declare -A count=([ok]=0 [change]=0 [unknown]=0)
comma=
if [ -n "$json" ]; then
    printf '{"profile":"%s","kernel":%s,"data_dir":%s,"nic":%s,"disks":%s,"items":[' "$profile" "$(quoted "$(uname -r)")" \
        "$(quoted "$place")" "$(quoted "$NIC")" "$(quoted "${DISKS[*]:-}")"
else
    echo "Profile $profile; data in $place (drive: ${DISKS[*]:-none found}); network card: ${NIC:-none found}."
    echo
fi
for knob in "${KNOBS[@]}"; do
    read_knob "$knob" "${RULE[$knob]}"
    judge "${RULE[$knob]}"
    count[$VERDICT]=$((count[$VERDICT] + 1))
    [ -n "$changes" ] && [ "$VERDICT" = ok ] && continue
    if [ -n "$json" ]; then
        printf '%s\n' "$comma"
        as_json "$knob"
        comma=,
    else
        as_text "$knob"
    fi
done
if [ -n "$json" ]; then
    printf '\n],"ok":%d,"change":%d,"unknown":%d}\n' "${count[ok]}" "${count[change]}" "${count[unknown]}"
else
    echo
    echo "${count[ok]} as they should be, ${count[change]} to change, ${count[unknown]} unknown. Nothing was changed."
fi
[ -z "$strict" ] || [ "${count[change]}" -eq 0 ] || exit 1
