#!/usr/bin/env bash
# Sets what a profile asks for on the running machine, and puts it back.
set -u
# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<END
Usage: apply.sh [--profile NAME] [--data-dir DIR] [--nic DEV] [--irq-cpus LIST] [--dry-run]
       apply.sh --revert [--force] [--dry-run]
       apply.sh --status

  --profile NAME    $(profiles) (default: throughput)
  --data-dir DIR    where the log is, or will be: its drive is the one that is set (default: ./blipmq-data)
  --nic DEV         the card the clients come by (default: that of the default route)
  --irq-cpus LIST   processors for interrupts, as 0-3,8 (default: all)
  --dry-run         says what it would do
  --revert          writes the former values back, last change first; a value that somebody else has changed since is
                    left alone and named, unless --force
  --status          what is changed now, and from what

What it changes lasts until --revert or until the machine is started again. For good: sysctl.d/90-blipmq.conf,
limits.d/90-blipmq.conf and systemd/blipmq-tuning.service, which install.sh puts in their places.
Former values are kept in $STATE, written down before each change.
Exit code: 0 done; 1 the kernel refused a value that it should have taken; 2 usage; 3 not root.
END
}

profile=throughput
data_dir=./blipmq-data
what=apply
dry=
force=
while [ $# -gt 0 ]; do
    case $1 in
        --profile) need_value "$@" && profile=$2 && shift ;;
        --data-dir) need_value "$@" && data_dir=$2 && shift ;;
        --nic) need_value "$@" && NIC=$2 && shift ;;
        --irq-cpus) need_value "$@" && CPUS=$2 CPUS_GIVEN=1 && shift ;;
        --dry-run) dry=1 ;;
        --revert) what=revert ;;
        --status) what=status ;;
        --force) force=1 ;;
        *) other_word "$1" ;;
    esac
    shift
done

if [ -z "$dry" ] && [ "$what" != status ]; then
    need_root
    state_open
fi

case $what in
    status)
        if [ -n "$(state_lines)" ]; then
            echo "Profile $(state_field profile):"
            state_lines | while IFS=$TAB read -r file old new; do
                printf '%s  was %s, was set to %s, is %s\n' "$(named "$file")" "$old" "$new" "$(value_of "$file")"
            done
        else
            echo "Nothing is changed."
        fi
        ;;
    revert)
        revert_all "$dry" "$force"
        exit
        ;;
    apply)
        load_profile "$profile"
        [ -n "$CPUS" ] || CPUS=$(online_cpus)
        [ -n "$NIC" ] || NIC=$(default_nic)
        mapfile -t DISKS < <(disks_of "$(existing_dir "$data_dir")")
        echo "Profile $profile; drive: ${DISKS[*]:-none found}; network card: ${NIC:-none found}; interrupts to: $CPUS."
        applied=$(state_field profile)
        case $applied in
            "$profile" | - | '') ;;
            *)
                echo "Profile $applied is applied: it is taken back first."
                revert_all "$dry" "$force" || exit
                [ -n "$dry" ] || state_open
                ;;
        esac
        [ -n "$dry" ] || state_profile "$profile"
        refused=0
        for knob in "${KNOBS[@]}"; do
            apply_knob "$knob" "${RULE[$knob]}" "${REASON[$knob]}" "$dry" || refused=$((refused + 1))
        done
        echo
        [ -z "$dry" ] || echo "Nothing was changed."
        echo "Limits (memlock, nofile), the filesystem and its mount options, control groups and the machine itself are" \
            "not set here: check.sh says what they are."
        [ "$refused" -eq 0 ] || exit 1
        ;;
esac
