#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A machine that systemd has booted, with a network of its own: what this one has installed, below a layer that is forgotten. It runs
# inside.sh and is switched off. To be run in a mount namespace of its own.
#
#   machine.sh SCRATCH SOURCES PROGRAMS SECONDS
#
# It is on for no more than these seconds. SCRATCH is an empty folder; what inside.sh finds is left in SCRATCH/report.
set -euo pipefail
scratch=$1 sources=$2 programs=$3 limit=$4
here=$(realpath "$(dirname "$0")")

# What the machine makes of control groups is in one that is removed; so is what a run has left that was killed.
groups=()
leave() {
    for group in "${groups[@]}"; do
        echo 0 >"${group%/*}/cgroup.procs" || true
        rmdir_all "$group"
    done
}
trap leave EXIT
rmdir_all() { find "$@" -depth -type d -exec rmdir {} + 2>/dev/null || true; }
for mounted in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -e "$mounted/cgroup.procs" ] || continue
    # Older than any machine is on.
    find "$mounted" -maxdepth 1 -name 'ipv6mesh-booted-*' -mmin +15 -print0 | while IFS= read -r -d '' former; do rmdir_all "$former"; done
    group=$mounted/ipv6mesh-booted-${scratch##*/}
    mkdir "$group"
    echo 0 >"$group/cgroup.procs"
    groups+=("$group")
done

mkdir "$scratch/layer" "$scratch/root" "$scratch/report"
mount -t tmpfs layer "$scratch/layer"
mkdir "$scratch/layer/upper" "$scratch/layer/work"
mount -t overlay -o "lowerdir=/,upperdir=$scratch/layer/upper,workdir=$scratch/layer/work" root "$scratch/root"
# What nspawn itself leaves in /run.
mount -t tmpfs run /run
# As udev makes it; the device of this machine may be closed.
mknod "$scratch/layer/tun" c 10 200
chmod 0666 "$scratch/layer/tun"

# Nothing of these services that this machine may have, and nothing that waits for a network or for hours.
rm -rf "$scratch/root"/{etc,var/lib}/lisp-{xtr,mapsys} "$scratch/root"/etc/systemd/system/lisp-{xtr,mapsys}.service*
mkdir -p "$scratch/root/etc/systemd/system"
for unit in timers.target systemd-networkd-wait-online.service NetworkManager-wait-online.service; do
    ln -sf /dev/null "$scratch/root/etc/systemd/system/$unit"
done
cat >"$scratch/root/etc/systemd/system/inside.service" <<'UNIT'
[Service]
Type=oneshot
ExecStart=/scripts/inside.sh
ExecStopPost=systemctl poweroff
UNIT
timeout --kill-after=5 "$limit" systemd-nspawn --quiet --register=no --keep-unit --private-network --machine=booted \
    --directory="$scratch/root" --bind="$scratch/layer/tun:/dev/net/tun" --bind="$scratch/report:/report" \
    --bind-ro="$sources:/sources" --bind-ro="$programs:/programs" --bind-ro="$here:/scripts" --console=pipe --boot systemd.unit=inside.service
