// SPDX-License-Identifier: GPL-2.0-or-later
//! Settings of the kernel that have to do with the TUN device.

/// A setting of our own device, and of no other: packets out of it may have sources to which the way back is another one. The kernel
/// takes the greater of this one and that of all devices. Where the latter checks strictly ours makes it loose, which on a device
/// without an IPv4 address still drops what we give back to be forwarded natively; elsewhere there is no check.
/// Where `/proc/sys` is read-only the default does for most networks.
pub(super) fn loosen_source_check(tun: &str) {
    let all = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter");
    let value = if all.is_ok_and(|all| all.trim() == "0") { "0" } else { "2" };
    let path = format!("/proc/sys/net/ipv4/conf/{tun}/rp_filter");
    if let Err(error) = std::fs::write(&path, value) {
        tracing::debug!(path, %error, "setting left as it is");
    }
}

/// Where IPv6 is switched off for new devices, ours has to carry it all the same: it leads to IPv6 EIDs.
pub(super) fn allow_ipv6(tun: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{tun}/disable_ipv6");
    let is_off = std::fs::read_to_string(&path).is_ok_and(|value| value.trim() != "0");
    if is_off && let Err(error) = std::fs::write(&path, "0") {
        tracing::warn!(path, %error, "IPv6 is switched off on the TUN device");
    }
}

/// The setting that makes the kernel drop IPv4 packets out of our device to which the way back is another one, if it does: it counts for all
/// devices, and is not ours to change.
pub fn reverse_path_check() -> Option<&'static str> {
    let all = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter");
    all.is_ok_and(|value| value.trim() != "0").then_some("net.ipv4.conf.all.rp_filter")
}
