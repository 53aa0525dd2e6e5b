# shellcheck shell=bash disable=SC2034
# What the tuning scripts share: reading knobs, judging them, and writing them so that they can be put back.
#
# BLIPMQ_TUNING_ROOT puts another directory in front of /proc, /sys and /var (the tests' way in, no root needed).

ROOT=${BLIPMQ_TUNING_ROOT:-}
TUNING_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE_DIR=${BLIPMQ_TUNING_STATE:-$ROOT/var/lib/blipmq-tuning}
STATE=$STATE_DIR/state
TAB=$'\t'

# What the scripts find out once and use everywhere.
NIC=
DISKS=()
CPUS=
CPUS_GIVEN=

die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 2
}

# ---- the words of the command line -----------------------------------------------------------------------------

# need_value "$@": the first word is an option, and its value has to follow.
need_value() {
    [ $# -ge 2 ] || die "$1 needs a value"
}

# other_word WORD: none of the script's own. The script's `usage` says which those are.
other_word() {
    case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        *) die "unknown argument \"$1\"; see --help" ;;
    esac
}

# ---- profiles --------------------------------------------------------------------------------------------------

declare -A RULE REASON
KNOBS=()

# load_profile NAME: fills KNOBS (in order), RULE and REASON. A later line for the same knob replaces an earlier one.
load_profile() {
    local file=$TUNING_DIR/profiles/$1.conf
    case $1 in
        common | *[!a-z-]* | '') die "no profile is called \"$1\"; there are: $(profiles)" ;;
    esac
    [ -r "$file" ] || die "no profile is called \"$1\"; there are: $(profiles)"
    load_lines "$file"
}

profiles() {
    local file names=()
    for file in "$TUNING_DIR"/profiles/*.conf; do
        file=${file##*/}
        [ "$file" = common.conf ] || names+=("${file%.conf}")
    done
    printf '%s' "${names[*]}"
}

load_lines() {
    local line knob rule reason
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
            '' | '#'*) continue ;;
            include\ *)
                load_lines "$TUNING_DIR/profiles/${line#include }"
                continue
                ;;
        esac
        IFS='|' read -r knob rule reason <<<"$line"
        knob=$(trim "$knob")
        [ -n "${RULE[$knob]:-}" ] || KNOBS+=("$knob")
        RULE[$knob]=$(trim "$rule")
        REASON[$knob]=$(trim "$reason")
    done <"$1"
}

trim() {
    local text=$1
    text=${text#"${text%%[![:space:]]*}"}
    printf '%s' "${text%"${text##*[![:space:]]}"}"
}

# ---- judging ---------------------------------------------------------------------------------------------------

# said RULE: the rule as a reader would say it.
said() {
    case $1 in
        '>= '*) printf 'at least %s' "${1#>= }" ;;
        '<= '*) printf 'at most %s' "${1#<= }" ;;
        '= '*) printf '%s' "${1#= }" ;;
        'in '*) printf '%s' "$(trim "${1#in }")" | sed 's/,/ or /g' ;;
        spread) printf 'spread over the processors' ;;
        *) printf -- '-' ;;
    esac
}

# satisfies VALUE RULE
satisfies() {
    local value=$1 rule=$2 want
    case $rule in
        '>= '*) at_least "$value" "${rule#>= }" ;;
        '<= '*) at_least "${rule#<= }" "$value" ;;
        '= '*) [ "$value" = "${rule#= }" ] ;;
        'in '*)
            for want in $(tr ',' ' ' <<<"${rule#in }"); do
                [ "$value" = "$want" ] && return 0
            done
            return 1
            ;;
        spread) [ "$value" = spread ] ;;
        *) return 0 ;;
    esac
}

# at_least HAVE WANT: number by number; versions (5.15) part by part; "unlimited" is enough for anything.
at_least() {
    local have want i
    [ "$1" = unlimited ] && return 0
    [ "$2" = unlimited ] && return 1
    if [[ "$1$2" == *.* ]]; then
        [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
        return
    fi
    read -r -a have <<<"$1"
    read -r -a want <<<"$2"
    for i in "${!want[@]}"; do
        smaller "${have[i]:-0}" "${want[i]}" && return 1
    done
    return 0
}

# smaller A B, for whole numbers of any length: some kernels show 2^64 - 1, which is more than the shell can count.
smaller() {
    local a=$1 b=$2
    if [ ${#a} -ne ${#b} ]; then
        [ ${#a} -lt ${#b} ]
    else
        [[ $a < $b ]]
    fi
}

# target VALUE RULE: what to write where VALUE does not satisfy RULE.
target() {
    local rule=$2 have want i out=()
    case $rule in
        '>= '*)
            read -r -a have <<<"$1"
            read -r -a want <<<"${rule#>= }"
            for i in "${!want[@]}"; do
                if smaller "${have[i]:-0}" "${want[i]}"; then out+=("${want[i]}"); else out+=("${have[i]}"); fi
            done
            printf '%s' "${out[*]}"
            ;;
        '<= '*) printf '%s' "${rule#<= }" ;;
        '= '*) printf '%s' "${rule#= }" ;;
        'in '*) printf '%s' "$(trim "${rule#in }")" | cut -d, -f1 | tr -d '\n' ;;
    esac
}

# ---- reading ---------------------------------------------------------------------------------------------------

# value_of FILE: one line, single spaces; of "a [b] c" the chosen b.
value_of() {
    local text
    text=$(tr -s '\t\n ' '   ' 2>/dev/null <"$1") || return 1
    text=$(trim "$text")
    case $text in
        *\[*\]*)
            text=${text#*\[}
            text=${text%%\]*}
            ;;
    esac
    printf '%s' "$text"
}

# choices_of FILE: of "a [b] c" all three; empty where the file is not such a list.
choices_of() {
    local text
    text=$(tr -s '\t\n ' '   ' 2>/dev/null <"$1") || return 0
    case $text in *\[*\]*) tr -d '[]' <<<"$text" ;; esac
}

# files_of KNOB RULE: "file TAB rule for that file", one a line; nothing where this machine has no such knob.
files_of() {
    local knob=$1 rule=$2 disk file
    case $knob in
        sysctl:*) files_with "$rule" "$ROOT/proc/sys/$(tr . / <<<"${knob#sysctl:}")" ;;
        mm:thp) files_with "$rule" "$ROOT/sys/kernel/mm/transparent_hugepage/enabled" ;;
        mm:thp_defrag) files_with "$rule" "$ROOT/sys/kernel/mm/transparent_hugepage/defrag" ;;
        cpu:governor) files_with "$rule" "$ROOT"/sys/devices/system/cpu/cpufreq/policy*/scaling_governor ;;
        cpu:energy_preference)
            files_with "$rule" "$ROOT"/sys/devices/system/cpu/cpufreq/policy*/energy_performance_preference
            ;;
        cpu:idle_latency_us) sleepy_states "${rule#<= }" ;;
        disk:scheduler)
            for disk in "${DISKS[@]}"; do
                file=$ROOT/sys/block/$disk/queue/scheduler
                if spins "$disk"; then files_with "in mq-deadline,bfq" "$file"; else files_with "$rule" "$file"; fi
            done
            ;;
        disk:rq_affinity)
            for disk in "${DISKS[@]}"; do files_with "$rule" "$ROOT/sys/block/$disk/queue/rq_affinity"; done
            ;;
        irq:nic) spread_over "$(irqs_of_nic)" ;;
        irq:disk) spread_over "$(for disk in "${DISKS[@]}"; do irqs_of_disk "$disk"; done)" ;;
    esac
}

files_with() {
    local rule=$1 file
    shift
    for file; do
        [ -e "$file" ] && printf '%s\t%s\n' "$file" "$rule"
    done
    return 0
}

# A drive with a head to move. Virtual drives often say that they spin; the host below them orders what they get.
spins() {
    case $1 in vd* | xvd* | nbd*) return 1 ;; esac
    [ "$(value_of "$ROOT/sys/block/$1/queue/rotational")" = 1 ]
}

# Sleep states of any processor that take longer than $1 microseconds to leave.
sleepy_states() {
    local state latency
    case $1 in '' | *[!0-9]*) return 0 ;; esac
    for state in "$ROOT"/sys/devices/system/cpu/cpu[0-9]*/cpuidle/state[0-9]*; do
        [ -e "$state/disable" ] || continue
        latency=$(value_of "$state/latency") || continue
        [ "$latency" -gt "$1" ] && printf '%s\t= 1\n' "$state/disable"
    done
    return 0
}

# Interrupt i goes to the i-th of the processors, round and round.
spread_over() {
    local irq i=0 cpus
    read -r -a cpus <<<"$(expand_list "$CPUS")"
    [ ${#cpus[@]} -gt 0 ] || return 0
    for irq in $1; do
        [ -e "$ROOT/proc/irq/$irq/smp_affinity_list" ] || continue
        printf '%s\t= %s\n' "$ROOT/proc/irq/$irq/smp_affinity_list" "${cpus[i % ${#cpus[@]}]}"
        i=$((i + 1))
    done
}

# is_spread KNOB: the device's interrupts already arrive on as many processors as there are interrupts or processors.
is_spread() {
    local file irqs=0 cpus
    read -r -a cpus <<<"$(expand_list "$CPUS")"
    irqs=$(files_of "$1" spread | grep -c .)
    [ "$irqs" -le "${#cpus[@]}" ] || irqs=${#cpus[@]}
    [ "$(arrives_on "$1" | sort -u | grep -c .)" -ge "$irqs" ]
}

# Where each interrupt of a device really arrives, one a line.
arrives_on() {
    local file
    while IFS=$TAB read -r file _; do
        value_of "${file%/smp_affinity_list}/effective_affinity_list" || value_of "$file"
        echo
    done < <(files_of "$1" spread)
}

# expand_list 0-2,5: "0 1 2 5"
expand_list() {
    local part out=()
    for part in $(tr ',' ' ' <<<"$1"); do
        case $part in
            *-*) mapfile -t -O ${#out[@]} out < <(seq "${part%-*}" "${part#*-}") ;;
            *) out+=("$part") ;;
        esac
    done
    printf '%s' "${out[*]}"
}

# Only the queues that carry traffic: a virtual device has a configuration interrupt as well, which hardly ever fires.
irqs_of_nic() {
    [ -n "$NIC" ] && irqs_of_device "$ROOT/sys/class/net/$NIC/device"
    return 0
}

irqs_of_disk() {
    local device=$ROOT/sys/block/$1/device
    [ -d "$device/device" ] && device=$device/device
    irqs_of_device "$device"
}

irqs_of_device() {
    local device irq name
    device=$(readlink -f "$1" 2>/dev/null) || return 0
    case ${device##*/} in virtio*) device=${device%/*} ;; esac
    [ -d "$device/msi_irqs" ] || return 0
    for irq in $(printf '%s\n' "$device"/msi_irqs/* | sed 's|.*/||' | sort -n); do
        name=$(irq_name "$irq")
        case $name in *-config | *-event | '') ;; *) echo "$irq" ;; esac
    done
}

# The last word of the interrupt's line.
irq_name() {
    sed -n "s/^ *$1:.*[[:space:]]\([^[:space:]]*\)\$/\1/p" "$ROOT/proc/interrupts" 2>/dev/null
}

# ---- finding the card and the drive ----------------------------------------------------------------------------

# The card of the default route.
default_nic() {
    local name destination rest
    while read -r name destination rest; do
        if [ "$destination" = 00000000 ]; then
            printf '%s' "$name"
            return
        fi
    done <"$ROOT/proc/net/route" 2>/dev/null
    return 0
}

# existing_dir DIR: it, or its nearest parent that is there.
existing_dir() {
    local dir=$1
    while [ ! -d "$dir" ]; do
        case $dir in */*) dir=${dir%/*} ;; *) dir=. ;; esac
        [ -n "$dir" ] || dir=/
    done
    printf '%s' "$dir"
}

# disks_of DIR: the whole drives under a directory's filesystem, through partitions, mapper and RAID.
disks_of() {
    local source
    source=$(findmnt -nro SOURCE -T "$1" 2>/dev/null | tail -n 1)
    source=${source%%\[*}
    case $source in
        /dev/*) lsblk -snro NAME,TYPE "$source" 2>/dev/null | sed -n 's/^\([^ ]*\) disk$/\1/p' | sort -u ;;
    esac
}

online_cpus() {
    value_of "$ROOT/sys/devices/system/cpu/online" || printf 0
}

# ---- writing, so that it can be put back -----------------------------------------------------------------------
#
# The state file: a line "boot TAB id", a line "profile TAB name", then one line "file TAB old TAB new" for each file
# in the order of writing. The line is there before the file is written, so that an interrupted run can be reverted.
# A second run keeps the first `old`.

boot_id() {
    value_of "$ROOT/proc/sys/kernel/random/boot_id" || printf unknown
}

state_open() {
    mkdir -p "$STATE_DIR"
    exec 9>"$STATE_DIR/lock"
    flock -w 10 9 || die "another run holds $STATE_DIR/lock"
    if [ -e "$STATE" ] && [ "$(state_field boot)" != "$(boot_id)" ]; then
        mv "$STATE" "$STATE.before-boot"
        echo "The machine was started again since the last run, which put everything back: its record is kept as" \
            "$STATE.before-boot"
    fi
    [ -e "$STATE" ] || printf 'boot\t%s\nprofile\t-\n' "$(boot_id)" >"$STATE"
}

state_field() {
    sed -n "s/^$1$TAB//p" "$STATE" 2>/dev/null | head -n 1
}

state_profile() {
    sed -i "s/^profile$TAB.*/profile$TAB$1/" "$STATE"
}

# state_lines: what was changed, last first.
state_lines() {
    grep '^/' "$STATE" 2>/dev/null | tac
}

# state_note FILE OLD NEW: before the write. A file that was written before keeps its first OLD.
state_note() {
    local first
    first=$(state_old "$1" "$2")
    state_without "$1" >"$STATE.new"
    printf '%s\t%s\t%s\n' "$1" "$first" "$3" >>"$STATE.new"
    state_replace
}

# state_drop FILE: it is as it was.
state_drop() {
    state_without "$1" >"$STATE.new"
    state_replace
}

state_without() {
    local line
    while IFS= read -r line; do
        [ "${line%%"$TAB"*}" = "$1" ] || printf '%s\n' "$line"
    done <"$STATE"
}

# state_old FILE OTHERWISE: the value that FILE had before the first change.
state_old() {
    local file old
    while IFS=$TAB read -r file old _; do
        if [ "$file" = "$1" ]; then
            printf '%s' "$old"
            return
        fi
    done <"$STATE"
    printf '%s' "$2"
}

# The new record takes the old one's place in one step, on disk before anything is written by it.
state_replace() {
    sync "$STATE.new" 2>/dev/null || true
    mv "$STATE.new" "$STATE"
}

# put FILE VALUE: writes it and reads it back. Fails where the kernel refuses, or takes something else.
put() {
    printf '%s\n' "$2" 2>/dev/null >"$1" || return 1
    [ "$(value_of "$1")" = "$2" ]
}

need_root() {
    [ -n "$ROOT" ] || [ "$(id -u)" = 0 ] && return
    printf '%s: only root may change these; see them with --dry-run, or run it with sudo\n' "${0##*/}" >&2
    exit 3
}

# named FILE: as short as it can be said.
named() {
    local file=${1#"$ROOT"}
    case $file in
        /proc/sys/*) tr / . <<<"${file#/proc/sys/}" ;;
        /sys/block/*) printf '%s' "${file#/sys/block/}" ;;
        /sys/kernel/mm/*) printf '%s' "${file#/sys/kernel/mm/}" ;;
        /sys/devices/system/cpu/*) printf '%s' "${file#/sys/devices/system/cpu/}" ;;
        /proc/irq/*) file=${file#/proc/irq/} && printf 'irq %s (%s)' "${file%%/*}" "$(irq_name "${file%%/*}")" ;;
        *) printf '%s' "$file" ;;
    esac
}

# apply_knob KNOB RULE REASON DRY: fails where the kernel refused.
apply_knob() {
    local knob=$1 rule=$2 reason=$3 dry=$4 file one found='' failed=0
    case $rule in keep) return 0 ;; esac
    case $knob in
        sysctl:* | cpu:governor | cpu:energy_preference | cpu:idle_latency_us | mm:* | disk:scheduler | \
            disk:rq_affinity | irq:*) ;;
        *) return 0 ;;
    esac
    if [[ $knob == irq:* ]] && [ -z "$CPUS_GIVEN" ] && [ -n "$(files_of "$knob" "$rule")" ] && is_spread "$knob"; then
        line "$knob" "$(arrives_on "$knob" | tr '\n' ' ')" "already so"
        return 0
    fi
    while IFS=$TAB read -r file one; do
        found=1
        apply_file "$file" "$one" "$reason" "$dry" || failed=1
    done < <(files_of "$knob" "$rule")
    [ -n "$found" ] || line "${knob#sysctl:}" "not on this machine" ""
    return "$failed"
}

apply_file() {
    local file=$1 rule=$2 reason=$3 dry=$4 old new
    if ! old=$(value_of "$file") || [ -z "$old" ]; then
        line "$(named "$file")" "cannot be read" ""
        return 0
    fi
    if satisfies "$old" "$rule"; then
        line "$(named "$file")" "$old" "already so"
        return 0
    fi
    new=$(target "$old" "$rule")
    if ! offered "$file" "$new"; then
        line "$(named "$file")" "$old" "stays: this machine does not offer $new"
        return 0
    fi
    if [ -n "$dry" ]; then
        line "$(named "$file")" "$old -> $new"
        because "$reason"
        return 0
    fi
    state_note "$file" "$old" "$new"
    if put "$file" "$new"; then
        line "$(named "$file")" "$old -> $new"
        because "$reason"
        return 0
    fi
    refused "$file" "$old" "$new"
}

# The kernel kept its own value, or took another one. Interrupts that a driver manages by itself are no failure.
refused() {
    local file=$1 old=$2 new=$3 now
    now=$(value_of "$file")
    if [ "$now" = "$old" ]; then state_drop "$file"; else put "$file" "$old" && state_drop "$file"; fi
    case $file in
        */smp_affinity_list)
            line "$(named "$file")" "$old" "stays: its driver places it"
            return 0
            ;;
    esac
    line "$(named "$file")" "$old" "REFUSED: the kernel did not take $new$([ -w "$file" ] || echo " (read-only here)")"
    return 1
}

# offered FILE VALUE: false only where the file lists its choices and VALUE is not one of them.
offered() {
    local choices=''
    case $1 in
        */scaling_governor) choices=$(value_of "${1%/*}/scaling_available_governors") ;;
        */energy_performance_preference) choices=$(value_of "${1%/*}/energy_performance_available_preferences") ;;
        *) choices=$(choices_of "$1") ;;
    esac
    [ -z "$choices" ] || grep -qwF -- "$2" <<<"$choices"
}

line() {
    local text
    text=$(printf '%-36s %-30s %s' "$1" "$2" "${3:-}")
    printf '%s\n' "$(trim "$text")"
}

because() {
    fold -s -w 100 <<<"$1" | sed 's/ *$//; s/^/           /'
}

# revert_all DRY FORCE [PREFIX]: writes back, last change first, and forgets what is back. Fails where something is not.
revert_all() {
    local dry=$1 force=$2 prefix=${3:-/} file old new now left=0 lines
    lines=$(state_lines)
    if [ -z "$lines" ]; then
        echo "Nothing to put back."
        return 0
    fi
    while IFS=$TAB read -r file old new; do
        [ "${file#"$prefix"}" != "$file" ] || continue
        now=$(value_of "$file") || now=
        if [ "$now" = "$old" ]; then
            line "$(named "$file")" "$old" "is as it was"
        elif [ "$now" != "$new" ] && [ -z "$force" ]; then
            line "$(named "$file")" "$now" "left alone: it was set to $new here and changed by somebody since (was $old)"
            left=1
            continue
        elif [ -n "$dry" ]; then
            line "$(named "$file")" "$now -> $old" "would be put back"
            continue
        elif ! put "$file" "$old"; then
            line "$(named "$file")" "${now:-gone}" "REFUSED: the kernel did not take $old back"
            left=1
            continue
        else
            line "$(named "$file")" "$now -> $old" "put back"
        fi
        [ -n "$dry" ] || state_drop "$file"
    done <<<"$lines"
    if [ -z "$dry" ] && [ -z "$(state_lines)" ]; then rm -f "$STATE"; fi
    return "$left"
}
