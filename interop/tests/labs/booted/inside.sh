#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs both services as the heads of their units say, and has systemd start, reload, watch and stop them. What is found stands in
# /report, a file each; `end` is the last of them.
set -euo pipefail
exec >/report/log 2>&1
set -x

# Waits until a command succeeds.
await() { for _ in $(seq 300); do "$@" && return; sleep 0.2; done; false; }
# The value of a property of a unit.
of() { systemctl show --property "$2" --value "$1"; }
# Commands in the head of a unit, up to the one that tries the configuration, or from it on.
head_of() { sed -n 's/^#   //p' "/sources/$2/systemd/$1.service" | sed "$3"; }

ip addr add 192.0.2.1/32 dev lo
ip addr add 192.0.2.2/32 dev lo
mkdir -p /tmp/sources/target
ln -s /sources/mapsys /sources/xtr /tmp/sources
ln -s /programs /tmp/sources/target/release
cd /tmp/sources
eval "$(head_of lisp-mapsys mapsys '/^runuser/,$d')"
eval "$(head_of lisp-xtr xtr '/^runuser/,$d')"

cat >/etc/lisp-mapsys/lisp-mapsys.toml <<'TOML'
listen = ["192.0.2.2"]
[[site]]
name = "a"
eid-prefix = ["2001:db8:a::/48", "2001:db8:b::/48"]
key = [{ key-id = 1, algorithm = "hkdf-sha256", secret = "secret of a site" }]
TOML
printf '%s\n' 'algorithm = "hkdf-sha256"' 'key-id = 1' 'secret = "secret of a site"' >key.toml
install -g lisp-xtr -m 0640 key.toml /etc/lisp-xtr/
configure() {
    cat >/etc/lisp-xtr/lisp-xtr.toml <<TOML
eid-prefix = ["$1"]
rloc = ["192.0.2.1"]
map-server = ["192.0.2.2"]
map-resolver = ["192.0.2.2"]
key-file = ["/etc/lisp-xtr/key.toml"]
TOML
}
configure 2001:db8:a::/48
# So long nobody waits here for a watchdog; and a program of tests leaves no core.
mkdir -p /etc/systemd/system/lisp-mapsys.service.d
printf '[Service]\nWatchdogSec=15\nLimitCORE=0\n' >/etc/systemd/system/lisp-mapsys.service.d/soon.conf
eval "$(head_of lisp-mapsys mapsys '/^runuser/,$!d')"
eval "$(head_of lisp-xtr xtr '/^runuser/,$!d')"

# The process of a service.
process_of() {
    local running
    running=$(of "$1" MainPID)
    [ "$running" != 0 ] && echo "$running"
}
leads() { ip -6 rule | grep -q "from $1"; }
registered() { lisp-mapsys show registrations --json | grep -q "\"$1\""; }
await registered 2001:db8:a::/48
grep -hE '^(CapEff|CapAmb|NoNewPrivs|Seccomp|Uid):' /proc/"$(of lisp-xtr MainPID)"/task/*/status | sort -u >/report/xtr-status
grep -hE '^(CapEff|CapAmb|NoNewPrivs|Seccomp|Uid):' /proc/"$(of lisp-mapsys MainPID)"/task/*/status | sort -u >/report/mapsys-status
id -u lisp-xtr >/report/xtr-user
id -u lisp-mapsys >/report/mapsys-user

configure 2001:db8:b::/48
systemctl reload lisp-xtr lisp-mapsys
await registered 2001:db8:b::/48
await leads 2001:db8:b::/48

# A reload that is refused is a failure that says why, and all goes on as it was.
refuse() {
    if systemctl reload "$1"; then false; fi
    { of "$1" ReloadResult && of "$1" ActiveState; } >"/report/$1-refused"
    systemctl status --no-pager "$1" >"/report/$1-shown" || true
}
echo 'mtu = 1400' >>/etc/lisp-xtr/lisp-xtr.toml
refuse lisp-xtr
sed -i '/^mtu/d' /etc/lisp-xtr/lisp-xtr.toml
cp /etc/lisp-mapsys/lisp-mapsys.toml /tmp/kept.toml
echo 'of-nothing = 1' >>/etc/lisp-mapsys/lisp-mapsys.toml
refuse lisp-mapsys
cat /tmp/kept.toml >/etc/lisp-mapsys/lisp-mapsys.toml
systemctl reload lisp-xtr lisp-mapsys
registered 2001:db8:b::/48

# Whoever is killed is started again, and finds what it had left.
ip -6 rule >/report/rules-before
killed=$(await process_of lisp-xtr)
kill -9 "$killed"
# Between the end of one and the start of the next there is none.
restarted() {
    local running
    running=$(process_of "$1") && [ "$running" != "$2" ] && [ "$(of "$1" ActiveState)" = active ]
}
await restarted lisp-xtr "$killed"
ip -6 rule >/report/rules-after
lisp-xtr show locators >/report/locators

# So is whoever shows no life.
silent=$(await process_of lisp-mapsys)
kill -STOP "$silent"
await restarted lisp-mapsys "$silent"
lisp-mapsys show registrations --json >/report/kept

systemctl stop lisp-xtr
of lisp-xtr Result >/report/xtr-result
ip -6 rule >/report/rules-stopped
withdrawn() { lisp-mapsys show registrations --json | tee /report/withdrawn | grep -q '^\[\]'; }
await withdrawn
systemctl stop lisp-mapsys
of lisp-mapsys Result >/report/mapsys-result

# Who starts before the machine has its address is tried again until it has.
sed -i 's/^rloc = .*/rloc = ["192.0.2.3"]/' /etc/lisp-xtr/lisp-xtr.toml
systemctl start --no-block lisp-xtr
tried() { [ "$(of lisp-xtr NRestarts)" -ge 1 ]; }
await tried
ip addr add 192.0.2.3/32 dev lo
active() { [ "$(of lisp-xtr ActiveState)" = active ]; }
await active
systemctl stop lisp-xtr
of lisp-xtr Result >/report/late-result

journalctl --no-pager --unit lisp-xtr --unit lisp-mapsys >/report/journal
touch /report/end
