#!/usr/bin/env bash
# Installs BlipMQ as a service: user, programs, configuration, key, unit, limits, kernel settings. Also an upgrade, a
# rollback to the programs before it, and an uninstall that never removes data.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<END
Usage: install.sh [--from DIR] [--prefix DIR] [--destdir DIR] [--no-sysctl] [--no-tuning] [--start] [--dry-run]
       install.sh --rollback [--dry-run]
       install.sh --uninstall [--dry-run]

  --from DIR      where blipmqd and blipmq were built (default: target/release beside this folder)
  --prefix DIR    programs go to DIR/bin, these scripts to DIR/share/blipmq/tuning (default: /usr/local)
  --destdir DIR   puts DIR in front of every path, and leaves users and services alone (for packages and tests)
  --no-sysctl     leaves /etc/sysctl.d alone
  --no-tuning     does not enable blipmq-tuning.service (drive, governor and interrupts at each start of the machine)
  --start         enables and starts, or restarts, the service
  --rollback      puts the programs of before the last install back, and restarts the service if it runs
  --uninstall     removes programs, units, limits and kernel settings; data, configuration, keys and the user stay
  --dry-run       says what it would do

Again on the same machine it is an upgrade: programs and units are replaced, the configuration and the keys are not
(a new configuration is put beside yours as blipmqd.toml.new where they differ).
Exit code: 0 done; 1 a step failed; 2 usage; 3 not root.
END
}

from=$here/../target/release
prefix=/usr/local
destdir=
what=install
sysctl=1
tuning=1
start=
dry=
while [ $# -gt 0 ]; do
    case $1 in
        --from | --prefix | --destdir)
            if [ $# -lt 2 ]; then
                echo "install.sh: $1 needs a value" >&2
                exit 2
            fi
            case $1 in
                --from) from=$2 ;;
                --prefix) prefix=$2 ;;
                --destdir) destdir=$2 ;;
            esac
            shift
            ;;
        --no-sysctl) sysctl= ;;
        --no-tuning) tuning= ;;
        --start) start=1 ;;
        --rollback) what=rollback ;;
        --uninstall) what=uninstall ;;
        --dry-run) dry=1 ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            echo "install.sh: unknown argument \"$1\"; see --help" >&2
            exit 2
            ;;
    esac
    shift
done

bin=$destdir$prefix/bin
share=$destdir$prefix/share/blipmq/tuning
etc=$destdir/etc/blipmq
units=$destdir/etc/systemd/system
data=$destdir/var/lib/blipmq
programs=(blipmqd blipmq)

# ---- steps -----------------------------------------------------------------------------------------------------

# step WHAT COMMAND...: says it, does it (or not), and stops at the first that fails.
step() {
    local said=$1
    shift
    echo "$said"
    [ -z "$dry" ] || return 0
    "$@" || {
        echo "install.sh: that failed: $*" >&2
        exit 1
    }
}

live() {
    [ -z "$destdir" ] && [ -d /run/systemd/system ]
}

# put MODE FROM TO: in one step, so that a running program or a reader never sees half a file.
put() {
    local mode=$1 file=$2 to=$3
    mkdir -p "${to%/*}" && install -m "$mode" "$file" "$to.new" && mv -f "$to.new" "$to"
}

# put_unit NAME: with the prefix that was asked for.
put_unit() {
    local made
    made=$(mktemp) && sed "s|/usr/local/|$prefix/|g" "$here/systemd/$1" >"$made" && put 0644 "$made" "$units/$1"
    local result=$?
    rm -f "$made"
    return "$result"
}

put_program() {
    local to=$bin/$1
    if [ -e "$to" ] && ! cmp -s "$from/$1" "$to"; then cp -p "$to" "$to.previous" || return 1; fi
    put 0755 "$from/$1" "$to"
}

put_scripts() {
    local file
    mkdir -p "$share/profiles" || return 1
    for file in lib check apply irq nvme capacity; do put 0755 "$here/$file.sh" "$share/$file.sh" || return 1; done
    for file in "$here"/profiles/*.conf; do put 0644 "$file" "$share/profiles/${file##*/}" || return 1; done
    put 0644 "$here/capacity.conf" "$share/capacity.conf"
}

make_user() {
    if command -v systemd-sysusers >/dev/null; then
        printf 'u blipmq - "BlipMQ message broker" /var/lib/blipmq\n' | systemd-sysusers -
    else
        useradd --system --user-group --no-create-home --home-dir /var/lib/blipmq --shell /usr/sbin/nologin blipmq
    fi
}

make_data_dir() {
    mkdir -p "$data" && chmod 0700 "$data" && { [ -n "$destdir" ] || chown blipmq:blipmq "$data"; }
}

# A first key: the daemon does not have to be asked for one, and nobody sees it on a screen.
make_key() {
    local random
    random=$(head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '=') || return 1
    mkdir -p "$etc" && (umask 077 && printf '# [[key]] tables; other forms, hashes and permissions: the manual.\n[[key]]\nname = "first"\nkey = "bmq_%s"\n' "$random" >"$etc/api-keys.toml.new") && mv "$etc/api-keys.toml.new" "$etc/api-keys.toml"
}

# ---- the three things it does ----------------------------------------------------------------------------------

do_install() {
    local name
    for name in "${programs[@]}"; do
        if [ ! -x "$from/$name" ]; then
            echo "install.sh: $from/$name is not there: build it with \`cargo build --release\`, or say --from" >&2
            [ -n "$dry" ] || exit 1
        fi
    done
    if [ -z "$destdir" ]; then
        if getent passwd blipmq >/dev/null; then echo "user blipmq: is there"; else step "user blipmq: made" make_user; fi
    fi
    for name in "${programs[@]}"; do step "$bin/$name$(kept "$name")" put_program "$name"; done
    step "$share: scripts and profiles" put_scripts
    if [ ! -e "$etc/blipmqd.toml" ]; then
        step "$etc/blipmqd.toml" put 0644 "$here/systemd/blipmqd.toml" "$etc/blipmqd.toml"
    elif cmp -s "$here/systemd/blipmqd.toml" "$etc/blipmqd.toml"; then
        echo "$etc/blipmqd.toml: is there"
    else
        step "$etc/blipmqd.toml: yours stays; the new one beside it as blipmqd.toml.new" \
            put 0644 "$here/systemd/blipmqd.toml" "$etc/blipmqd.toml.new"
    fi
    if [ -e "$etc/api-keys.toml" ]; then echo "$etc/api-keys.toml: yours stays"; else step "$etc/api-keys.toml: a random key, mode 0600" make_key; fi
    step "$data: for the log, mode 0700" make_data_dir
    step "$destdir/etc/security/limits.d/90-blipmq.conf" \
        put 0644 "$here/limits.d/90-blipmq.conf" "$destdir/etc/security/limits.d/90-blipmq.conf"
    if [ -n "$sysctl" ]; then
        step "$destdir/etc/sysctl.d/90-blipmq.conf: in force from the next start of the machine, or sysctl --system" \
            put 0644 "$here/sysctl.d/90-blipmq.conf" "$destdir/etc/sysctl.d/90-blipmq.conf"
    fi
    step "$units/blipmqd.service" put_unit blipmqd.service
    step "$units/blipmq-tuning.service" put_unit blipmq-tuning.service
    if live; then
        step "systemctl daemon-reload" systemctl daemon-reload
        [ -z "$tuning" ] || step "systemctl enable --now blipmq-tuning" systemctl enable --now blipmq-tuning.service
        if [ -n "$start" ]; then
            step "systemctl enable blipmqd" systemctl enable blipmqd.service
            step "systemctl restart blipmqd" systemctl restart blipmqd.service
        fi
    else
        echo "systemd does not run here (or --destdir): no service is enabled or started"
    fi
    echo
    echo "Next: $prefix/share/blipmq/tuning/check.sh --data-dir $data; $prefix/bin/blipmqd --config /etc/blipmq/blipmqd.toml" \
        "--validate-config; systemctl enable --now blipmqd; journalctl -u blipmqd"
}

kept() {
    if [ -e "$bin/$1" ] && ! cmp -s "$from/$1" "$bin/$1"; then printf ' (the one before it stays as %s.previous)' "$1"; fi
}

do_rollback() {
    local name
    for name in "${programs[@]}"; do
        if [ ! -e "$bin/$name.previous" ]; then
            echo "install.sh: no $bin/$name.previous: nothing to go back to" >&2
            exit 1
        fi
    done
    for name in "${programs[@]}"; do step "$bin/$name: as it was before" swap "$bin/$name"; done
    if live && systemctl is-active --quiet blipmqd.service; then
        step "systemctl restart blipmqd" systemctl restart blipmqd.service
    fi
}

# The newer one becomes the previous one, so that a second rollback undoes the first.
swap() {
    mv "$1" "$1.swap" && mv "$1.previous" "$1" && mv "$1.swap" "$1.previous"
}

do_uninstall() {
    local file
    if live; then
        for file in blipmqd blipmq-tuning; do
            if systemctl cat "$file.service" >/dev/null 2>&1; then
                step "systemctl disable --now $file" systemctl disable --now "$file.service"
            fi
        done
    fi
    for file in "$units/blipmqd.service" "$units/blipmq-tuning.service" "$bin/blipmqd" "$bin/blipmq" \
        "$bin/blipmqd.previous" "$bin/blipmq.previous" "$destdir/etc/security/limits.d/90-blipmq.conf" \
        "$destdir/etc/sysctl.d/90-blipmq.conf"; do
        [ ! -e "$file" ] || step "$file: removed" rm -f "$file"
    done
    if [ -d "$share" ]; then step "$share: removed" rm -r "$share"; fi
    ! live || step "systemctl daemon-reload" systemctl daemon-reload
    echo "Left alone: $data (the log), $etc (configuration and keys), the user blipmq. What blipmq-tuning had set is put" \
        "back; what sysctl.d had set stays until the next start of the machine."
}

if [ -z "$destdir" ] && [ -z "$dry" ] && [ "$(id -u)" != 0 ]; then
    echo "install.sh: only root may install; see the steps with --dry-run, or try --destdir" >&2
    exit 3
fi
"do_$what"
[ -z "$dry" ] || echo "Nothing was changed."
