#!/usr/bin/env bash
# Tests of the tuning scripts: no root, no change to this machine, a few seconds. Prints a line a story; exit 1 if one fails.
# Stories are called by their names, and some conditions are kept as text to be evaluated there:
# shellcheck disable=SC1091,SC2016,SC2034,SC2154,SC2317,SC2329
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# story NAME FUNCTION: runs it in a subshell; anything but success is a failure, and what it said is shown.
story() {
    local name=${1//_/ }
    if ("$1") >"$work/said" 2>&1; then
        echo "ok    $name"
    else
        echo "FAIL  $name"
        sed 's/^/      /' "$work/said"
        failed=1
    fi
}

expect() {
    "$@" || {
        echo "not so: $*"
        exit 1
    }
}

# code N COMMAND...
code() {
    local want=$1 got=0
    shift
    "$@" || got=$?
    [ "$got" = "$want" ] || {
        echo "exit $got, not $want: $*"
        exit 1
    }
}

# ---- a machine of files ----------------------------------------------------------------------------------------

file() {
    mkdir -p "${root:?}/${1%/*}"
    printf '%s\n' "$2" >"$root/$1"
}

make_machine() {
    root=$work/machine-$RANDOM-$RANDOM
    export BLIPMQ_TUNING_ROOT=$root
    file proc/sys/kernel/random/boot_id first-boot
    file proc/sys/kernel/io_uring_disabled 2
    file proc/sys/net/core/somaxconn 128
    file proc/sys/net/core/rmem_max 99999999999999999999
    file proc/sys/net/ipv4/tcp_rmem "4096	87380	6291456"
    file proc/sys/net/ipv4/tcp_wmem "8192	16384	4194304"
    file proc/sys/vm/swappiness 60
    file sys/kernel/mm/transparent_hugepage/enabled "always"
    file sys/devices/system/cpu/online 0-3
    file sys/devices/system/cpu/cpufreq/policy0/scaling_governor powersave
    file sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors "performance powersave"
    file sys/devices/system/cpu/cpufreq/policy1/scaling_governor ondemand
    file sys/devices/system/cpu/cpufreq/policy1/scaling_available_governors "ondemand powersave"
    file sys/devices/system/cpu/cpu0/cpuidle/state0/latency 2
    file sys/devices/system/cpu/cpu0/cpuidle/state0/disable 0
    file sys/devices/system/cpu/cpu0/cpuidle/state1/latency 200
    file sys/devices/system/cpu/cpu0/cpuidle/state1/disable 0
    file proc/net/route "Iface Destination Gateway"
    printf 'eth9 00000000 0102A8C0\n' >>"$root/proc/net/route"
    mkdir -p "$root/sys/class/net/eth9/device/msi_irqs"
    local irq
    for irq in 9 10 11; do
        touch "$root/sys/class/net/eth9/device/msi_irqs/$irq"
        file "proc/irq/$irq/smp_affinity_list" 0
        printf ' %s:  1  2  3  4  PCI-MSIX 1-edge  eth9-rx-%s\n' "$irq" "$irq" >>"$root/proc/interrupts"
    done
}

# All that a profile may write, in one piece of text.
picture() {
    find "$root/proc/sys" "$root/proc/irq" "$root/sys" -type f -exec grep -H . {} + | sort
}

has() {
    [ "$(cat "$root/$1")" = "$2" ]
}

apply() {
    "$here/apply.sh" --data-dir /proc "$@"
}

# ---- stories ---------------------------------------------------------------------------------------------------

every_profile_names_a_rule_and_a_reason() {
    . "$here/lib.sh"
    local profile knob
    for profile in $(profiles); do
        KNOBS=() RULE=() REASON=()
        load_profile "$profile"
        expect [ ${#KNOBS[@]} -gt 20 ]
        for knob in "${KNOBS[@]}"; do
            case ${RULE[$knob]} in '>= '* | '<= '* | '= '* | 'in '* | spread | keep) ;; *) expect false "$profile: $knob" ;; esac
            expect [ -n "${REASON[$knob]}" ]
        done
    done
}

rules_judge_numbers_versions_and_words() {
    . "$here/lib.sh"
    expect satisfies "4096 131072 6291456" ">= 4096 87380 6291456"
    expect eval '! satisfies "4096 65536 99999999" ">= 4096 87380 6291456"'
    expect satisfies 99999999999999999999 ">= 1048576"
    expect satisfies unlimited ">= 65536"
    expect satisfies 6.1 ">= 5.15"
    expect eval '! satisfies 5.4 ">= 5.15"'
    expect satisfies 6 "<= 10"
    expect eval '! satisfies 60 "<= 10"'
    expect satisfies madvise "in madvise,never"
    expect eval '! satisfies always "in madvise,never"'
    expect [ "$(target "8192 1 7" ">= 4096 2 3")" = "8192 2 7" ]
    expect [ "$(target always "in madvise,never")" = madvise ]
    expect [ "$(expand_list 0-2,5,7-8)" = "0 1 2 5 7 8" ]
}

a_profile_is_applied_and_put_back_to_the_letter() {
    make_machine
    local before
    before=$(picture)
    code 0 apply --profile low-latency
    expect has proc/sys/net/core/somaxconn 16384
    expect has proc/sys/net/core/rmem_max 99999999999999999999
    expect has proc/sys/net/ipv4/tcp_rmem "4096 131072 16777216"
    expect has proc/sys/net/ipv4/tcp_wmem "8192 16384 16777216"
    expect has proc/sys/kernel/io_uring_disabled 0
    expect has sys/devices/system/cpu/cpufreq/policy0/scaling_governor performance
    expect has sys/devices/system/cpu/cpufreq/policy1/scaling_governor ondemand
    expect has sys/devices/system/cpu/cpu0/cpuidle/state0/disable 0
    expect has sys/devices/system/cpu/cpu0/cpuidle/state1/disable 1
    expect has proc/irq/9/smp_affinity_list 0
    expect has proc/irq/10/smp_affinity_list 1
    expect has proc/irq/11/smp_affinity_list 2
    code 0 apply --revert
    # The kernel separates these three by tabs, whatever is written.
    expect [ "$(picture | tr '\t' ' ')" = "$(tr '\t' ' ' <<<"$before")" ]
    expect [ ! -e "$root/var/lib/blipmq-tuning/state" ]
    code 0 apply --revert
}

a_dry_run_changes_nothing() {
    make_machine
    local before
    before=$(picture)
    code 0 apply --dry-run
    code 0 apply --dry-run --revert
    expect [ "$(picture)" = "$before" ]
    expect [ ! -e "$root/var" ]
}

another_profile_takes_the_first_one_back() {
    make_machine
    local before
    before=$(picture)
    code 0 apply --profile throughput
    expect has proc/sys/vm/swappiness 1
    code 0 apply --profile laptop
    expect has proc/sys/vm/swappiness 60
    expect has proc/sys/net/core/somaxconn 1024
    code 0 apply --profile laptop
    code 0 apply --revert
    expect [ "$(picture | tr '\t' ' ')" = "$(tr '\t' ' ' <<<"$before")" ]
}

what_somebody_else_changed_since_is_left_alone() {
    make_machine
    code 0 apply --profile throughput
    file proc/sys/vm/swappiness 10
    code 1 apply --revert
    expect has proc/sys/vm/swappiness 10
    expect has proc/sys/net/core/somaxconn 128
    code 0 apply --revert --force
    expect has proc/sys/vm/swappiness 60
}

a_run_that_was_cut_off_before_a_write_is_reverted_all_the_same() {
    make_machine
    mkdir -p "$root/var/lib/blipmq-tuning"
    printf 'boot\tfirst-boot\nprofile\tthroughput\n%s\t60\t1\n%s\t128\t16384\n' "$root/proc/sys/vm/swappiness" \
        "$root/proc/sys/net/core/somaxconn" >"$root/var/lib/blipmq-tuning/state"
    file proc/sys/vm/swappiness 1
    code 0 apply --revert
    expect has proc/sys/vm/swappiness 60
    expect has proc/sys/net/core/somaxconn 128
}

the_first_value_survives_a_second_run() {
    make_machine
    code 0 apply --profile throughput
    file proc/sys/vm/swappiness 30
    code 0 apply --profile throughput
    expect has proc/sys/vm/swappiness 1
    code 0 apply --revert
    expect has proc/sys/vm/swappiness 60
}

a_record_from_before_a_restart_is_set_aside() {
    make_machine
    code 0 apply --profile throughput
    file proc/sys/kernel/random/boot_id second-boot
    file proc/sys/vm/swappiness 40
    code 0 apply --profile throughput
    code 0 apply --revert
    expect has proc/sys/vm/swappiness 40
}

a_value_that_the_kernel_refuses_is_said_and_not_recorded() {
    make_machine
    chmod a-w "$root/proc/sys/vm/swappiness"
    # Root writes where it likes: nothing to see.
    [ -w "$root/proc/sys/vm/swappiness" ] && exit 0
    code 1 apply --profile throughput >"$root/said"
    expect grep -q "REFUSED" "$root/said"
    expect eval '! grep -q swappiness "$root/var/lib/blipmq-tuning/state"'
}

interrupts_go_where_they_are_sent_and_come_back() {
    make_machine
    code 0 "$here/irq.sh" --cpus 2-3 --data-dir /proc
    expect has proc/irq/9/smp_affinity_list 2
    expect has proc/irq/10/smp_affinity_list 3
    expect has proc/irq/11/smp_affinity_list 2
    code 0 "$here/irq.sh" --revert
    expect has proc/irq/10/smp_affinity_list 0
}

the_check_judges_what_it_reads() {
    make_machine
    "$here/check.sh" --data-dir "$work" >"$root/said"
    expect grep -q '^change   kernel.io_uring_disabled' "$root/said"
    expect grep -q '^change   net.core.somaxconn' "$root/said"
    expect grep -q '^ok       net.core.rmem_max' "$root/said"
    expect grep -q '^change   mm:thp ' "$root/said"
    expect grep -q '^change   irq:nic' "$root/said"
    expect grep -q '^unknown  vm\|^unknown  kernel.numa_balancing' "$root/said"
    code 1 "$here/check.sh" --strict --data-dir "$work"
    code 0 "$here/check.sh" --data-dir "$work/not/yet/there"
}

the_check_reads_this_machine_in_each_profile_as_text_and_json() {
    local profile
    for profile in throughput low-latency laptop; do
        code 0 "$here/check.sh" --profile "$profile" --data-dir "$work" >/dev/null
        code 0 "$here/check.sh" --profile "$profile" --data-dir "$work" --json >"$work/json"
        expect grep -q "\"profile\":\"$profile\"" "$work/json"
        if command -v python3 >/dev/null; then expect python3 -m json.tool "$work/json" /dev/null; fi
    done
    expect [ -z "$(find "$work" -name '.blipmq*')" ]
}

wrong_arguments_are_a_usage_error() {
    local script
    for script in check apply irq nvme install capacity; do
        code 2 "$here/$script.sh" --nonsense
        code 0 "$here/$script.sh" --help
    done
    code 2 "$here/check.sh" --profile nonsense
    code 2 "$here/check.sh" --profile ../../etc/passwd
    code 2 "$here/check.sh" --profile
    code 2 "$here/capacity.sh" --rate x --size 1
    code 2 "$here/capacity.sh" --rate 1
}

only_root_may_apply() {
    [ "$(id -u)" != 0 ] || exit 0
    code 3 "$here/apply.sh"
    code 3 "$here/irq.sh"
    code 3 "$here/install.sh"
}

the_sysctl_file_is_the_throughput_profile() {
    . "$here/lib.sh"
    load_profile throughput
    local knob name value conf=$here/sysctl.d/90-blipmq.conf
    for knob in "${KNOBS[@]}"; do
        [ "${RULE[$knob]}" != keep ] || continue
        case $knob in
            sysctl:fs.*) ;;
            sysctl:*)
                name=${knob#sysctl:}
                value=$(sed -n "s/^$name = //p" "$conf")
                expect [ -n "$value" ]
                expect satisfies "$value" "${RULE[$knob]}"
                ;;
        esac
    done
    while IFS='=' read -r name value; do
        case $name in '' | '#'*) continue ;; esac
        expect [ -n "${RULE[sysctl:$(trim "$name")]:-}" ]
    done <"$conf"
}

an_install_into_a_folder_and_an_uninstall_leave_data_keys_and_configuration() {
    local into=$work/into from=$work/built said
    mkdir -p "$from"
    printf 'old\n' >"$from/blipmqd"
    printf 'old\n' >"$from/blipmq"
    chmod +x "$from"/*
    code 0 "$here/install.sh" --dry-run --destdir "$into" --from "$from"
    expect [ ! -e "$into" ]
    code 0 "$here/install.sh" --destdir "$into" --from "$from" --prefix /opt/blipmq
    expect [ "$(cat "$into/opt/blipmq/bin/blipmqd")" = old ]
    expect [ "$(stat -c %a "$into/etc/blipmq/api-keys.toml")" = 600 ]
    expect [ "$(stat -c %a "$into/var/lib/blipmq")" = 700 ]
    expect grep -q '^ExecStart=/opt/blipmq/bin/blipmqd ' "$into/etc/systemd/system/blipmqd.service"
    expect [ -x "$into/opt/blipmq/share/blipmq/tuning/apply.sh" ]
    code 0 "$into/opt/blipmq/share/blipmq/tuning/check.sh" --data-dir "$work" >/dev/null
    # An upgrade.
    local key
    key=$(cat "$into/etc/blipmq/api-keys.toml")
    expect grep -qE 'bmq_[A-Za-z0-9_-]{43}' <<<"$key"
    printf 'mine\n' >"$into/etc/blipmq/blipmqd.toml"
    printf 'log\n' >"$into/var/lib/blipmq/record"
    printf 'new\n' >"$from/blipmqd"
    printf 'new\n' >"$from/blipmq"
    said=$("$here/install.sh" --destdir "$into" --from "$from" --prefix /opt/blipmq)
    expect [ "$(cat "$into/opt/blipmq/bin/blipmqd")" = new ]
    expect [ "$(cat "$into/etc/blipmq/blipmqd.toml")" = mine ]
    expect [ -e "$into/etc/blipmq/blipmqd.toml.new" ]
    expect [ "$(cat "$into/etc/blipmq/api-keys.toml")" = "$key" ]
    expect eval '! grep -qF "$key" <<<"$said"'
    code 0 "$here/install.sh" --destdir "$into" --prefix /opt/blipmq --rollback
    expect [ "$(cat "$into/opt/blipmq/bin/blipmqd")" = old ]
    code 0 "$here/install.sh" --destdir "$into" --prefix /opt/blipmq --uninstall
    expect [ ! -e "$into/opt/blipmq/bin/blipmqd" ]
    expect [ ! -e "$into/etc/systemd/system/blipmqd.service" ]
    expect [ "$(cat "$into/var/lib/blipmq/record")" = log ]
    expect [ "$(cat "$into/etc/blipmq/api-keys.toml")" = "$key" ]
    expect [ "$(cat "$into/etc/blipmq/blipmqd.toml")" = mine ]
}

an_install_without_programs_says_so() {
    code 1 "$here/install.sh" --destdir "$work/none" --from "$work/nowhere"
    expect [ ! -e "$work/none" ]
}

the_units_are_valid_and_closed() {
    command -v systemd-analyze >/dev/null || exit 0
    local unit exposure
    mkdir -p "$work/units"
    for unit in blipmqd blipmq-tuning; do
        sed 's|=/usr/local/[^ ]*|=/bin/true|' "$here/systemd/$unit.service" >"$work/units/$unit.service"
    done
    expect systemd-analyze verify "$work/units/blipmqd.service" "$work/units/blipmq-tuning.service"
    exposure=$(systemd-analyze security --offline=true "$work/units/blipmqd.service" 2>/dev/null |
        sed -n 's/.*Overall exposure level[^:]*: \([0-9]*\)\..*/\1/p')
    [ -n "$exposure" ] || exit 0
    expect [ "$exposure" -le 1 ]
}

the_worked_examples_of_the_hardware_page_are_what_the_calculator_says() {
    local page=$here/../HARDWARE.md command
    [ -e "$page" ] || exit 0
    sed -n 's/^\$ tuning\/\(capacity.sh .*\)$/\1/p' "$page" >"$work/commands"
    expect [ -s "$work/commands" ]
    while IFS= read -r command; do
        # shellcheck disable=SC2086 # the words of the command line
        "$here"/$command | sed 's/ *$//' >"$work/example"
        sed -n "/^\\\$ tuning\/$(printf '%s' "$command" | sed 's/[][\.*^$/]/\\&/g')\$/,/^\`\`\`/p" "$page" | sed '1d;$d' |
            sed 's/ *$//' | diff - "$work/example" || exit 1
    done <"$work/commands"
}

the_scripts_are_clean() {
    command -v shellcheck >/dev/null || exit 0
    cd "$here/.." && expect shellcheck -x tuning/*.sh
}

for name in $(declare -F | sed -n 's/^declare -f //p'); do
    case $name in *_*_*_*) story "$name" ;; esac
done
exit "$failed"
