#!/usr/bin/env bash
# The unit with the real daemon, without a running systemd: the unit is valid and closed, an install into a folder is
# whole, and the daemon does its work as the unit lets it: as another user, with the unit's limits and umask, without a
# capability, without new privileges, with its keys as a credential, told of by sd_notify; and every system call that it
# makes is one that the unit's filter lets through. What cannot be tried here is said.
# shellcheck disable=SC2015
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<END
Usage: check.sh [--bin DIR]

  --bin DIR   where blipmqd and blipmq are (default: target/release of this checkout)
Exit code: 0 all is well, or could not be tried; 1 something is not; 2 usage.
END
}

bin=$here/../../target/release
while [ $# -gt 0 ]; do
    case $1 in
        --bin) bin=$(cd "${2:?--bin needs a value}" && pwd) && shift ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done

unit=$here/blipmqd.service
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
chmod 0711 "$work"
daemon=
finish() {
    [ -z "$daemon" ] || kill -9 "$daemon" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

ok() { printf 'ok       %s\n' "$*"; }
skipped() { printf 'SKIPPED  %s\n' "$*"; }
fail() {
    printf 'FAIL     %s\n' "$*"
    [ ! -s "$work/log" ] || sed 's/^/         /' "$work/log"
    exit 1
}
has() { command -v "$1" >/dev/null; }
# setting NAME: what the unit says of it.
setting() { sed -n "s/^$1=//p" "$unit"; }

# ---- as a file
if has systemd-analyze; then
    mkdir "$work/units"
    for name in blipmqd blipmq-tuning; do
        sed 's|=/usr/local/[^ ]*|=/bin/true|' "$here/$name.service" >"$work/units/$name.service"
    done
    systemd-analyze verify "$work/units/blipmqd.service" || fail "systemd-analyze verify"
    ok "systemd-analyze verify"
    exposure=$(systemd-analyze security --offline=true "$work/units/blipmqd.service" 2>/dev/null |
        sed -n 's/.*Overall exposure level[^:]*: \([0-9.]*\).*/\1/p' || true)
    [ -z "$exposure" ] && skipped "systemd-analyze security: too old here" || ok "systemd-analyze security: $exposure of 10"
else
    skipped "systemd-analyze is not installed: the unit was not verified"
fi

# ---- installed into a folder
"$here/../install.sh" --destdir "$work/root" --from "$bin" >"$work/install" || fail "install.sh: $(cat "$work/install")"
for file in usr/local/bin/blipmqd usr/local/bin/blipmq etc/blipmq/blipmqd.toml etc/blipmq/api-keys.toml \
    etc/systemd/system/blipmqd.service usr/local/share/blipmq/tuning/check.sh; do
    [ -e "$work/root/$file" ] || fail "install.sh left out /$file"
done
installed=$work/root/usr/local/bin
sed -e "s|^wal_path.*|wal_path = \"$work/state/log\"|" -e 's/^\(port\|metrics_port\).*/\1 = 0/' \
    "$work/root/etc/blipmq/blipmqd.toml" >"$work/blipmqd.toml"
"$installed/blipmqd" --config "$work/blipmqd.toml" --validate-config >/dev/null || fail "the installed configuration"
ok "installed into a folder, and its configuration is right"

# ---- run as the unit would
if [ "$(id -u)" != 0 ] || ! has setpriv || ! has prlimit; then
    skipped "not root, or no setpriv and prlimit: the daemon was not run under the unit's limits"
    exit 0
fi
user=65534
chmod 0755 "$work/root" "$work/root/usr" "$work/root/usr/local" "$installed"
install -d -o "$user" -g "$user" -m 0700 "$work/state" "$work/credentials"
install -o "$user" -g "$user" -m 0400 "$work/root/etc/blipmq/api-keys.toml" "$work/credentials/api_keys_file"
chmod 0644 "$work/blipmqd.toml"
limits=()
for limit in "--nofile=$(setting LimitNOFILE)" "--core=$(setting LimitCORE)" \
    "--memlock=$(setting LimitMEMLOCK | sed s/infinity/unlimited/)"; do
    if prlimit "$limit" true 2>/dev/null; then
        limits+=("$limit")
    else
        skipped "this machine does not grant $limit: what it grants was used"
    fi
done
closed=(setpriv "--reuid=$user" "--regid=$user" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all)
"${closed[@]}" true 2>/dev/null || closed=(setpriv "--reuid=$user" "--regid=$user" --clear-groups --no-new-privs)

# run WRAPPER...: starts the daemon as the unit would, under WRAPPER; sets daemon and address.
run() {
    (
        umask "$(setting UMask)"
        cd "$work/state"
        exec env -i PATH=/usr/bin:/bin "CREDENTIALS_DIRECTORY=$work/credentials" prlimit "${limits[@]}" \
            "${closed[@]}" "$@" "$installed/blipmqd" --config "$work/blipmqd.toml"
    ) >"$work/said" 2>"$work/log" &
    daemon=$!
    address=
    for _ in $(seq 300); do
        address=$(sed -n 's/^listening on //p' "$work/said")
        [ -z "$address" ] || return 0
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.1
    done
    fail "the daemon does not start as the unit runs it: $(cat "$work/said")"
}

BLIPMQ_API_KEY=$(sed -n 's/^key = "\(.*\)"/\1/p' "$work/root/etc/blipmq/api-keys.toml")
export BLIPMQ_API_KEY
# traffic: durable messages in, and out again.
traffic() {
    "$installed/blipmq" sub unit --name unit --timeout 10ms --addr "$address" || fail "subscribe"
    seq 1000 | "$installed/blipmq" pub unit --lines --addr "$address" >/dev/null || fail "publish"
    [ "$("$installed/blipmq" sub unit --name unit --count 1000 --timeout 20s --addr "$address" | tail -1)" = 1000 ] || fail "not all came"
}

# stop: as systemd does.
stop() {
    # Under a wrapper the daemon is its child.
    kill -TERM "$(cat "$work/state/log/lock")"
    local code=0
    wait "$daemon" || code=$?
    daemon=
    [ "$code" = 0 ] || fail "exit code $code"
}

run
traffic
status=/proc/$daemon/status
[ "$(awk '/^NoNewPrivs/ {print $2}' "$status")" = 1 ] || fail "new privileges"
[ "$(awk '/^CapEff/ {print $2}' "$status")" = 0000000000000000 ] || fail "capabilities: $(grep Cap "$status")"
[ "$(awk '/^Uid/ {print $2}' "$status")" = "$user" ] || fail "user"
[ -z "$(find "$work/state" -perm /077)" ] || fail "readable by others: $(find "$work/state" -perm /077)"
ok "user $user, no capability, no new privileges, ${limits[*]:-limits as they are}: 1000 durable messages in and out"
stop
ok "SIGTERM: exit code 0"

# ---- and calls nothing that the filter denies
if ! has strace || ! has systemd-analyze || ! "${closed[@]}" strace -o /dev/null true 2>/dev/null; then
    skipped "no strace, or not allowed: system calls were not held against the filter"
    exit 0
fi
# expand NAME: the calls of a set and of the sets in it.
expand() {
    systemd-analyze syscall-filter "$1" | sed -n 's/^    \([@a-z0-9_-]*\)$/\1/p' | while read -r name; do
        case $name in
            @*) expand "$name" ;;
            *) echo "$name" ;;
        esac
    done
}
words() { for word in $1; do case $word in @*) expand "$word" ;; *) echo "$word" ;; esac; done | sort -u; }
words "$(setting SystemCallFilter | grep -v '^~')" >"$work/let"
words "$(setting SystemCallFilter | sed -n 's/^~//p')" >"$work/denied"
comm -23 "$work/let" "$work/denied" >"$work/filter"
calls=$work/state/calls
run strace -f -qq -c -o "$calls"
traffic
stop
awk 'NR > 2 && $NF != "total" && !/^-/ {print $NF}' "$calls" | sort -u >"$work/made"
[ -s "$work/made" ] || fail "strace saw nothing"
outside=$(comm -23 "$work/made" "$work/filter" | tr '\n' ' ')
[ -z "$outside" ] || fail "system calls that the unit denies: $outside"
ok "$(wc -l <"$work/made") different system calls, all of them let through"
