// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernel settings of a namespace. /proc/sys/net shows whoever looks the settings of the namespace it is in.

use std::io;

use super::error::LabError;
use super::namespace::Namespace;

/// Before any port exists: no duplicate address detection, which would keep addresses unusable for a second; no
/// autoconfiguration from routers; and no check of the reverse path, which tunnels fail by design.
const QUIET: [(&str, &str); 6] = [
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// Forwarding, IPv4 and IPv6.
const FORWARDING: [(&str, &str); 2] = [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")];

/// Sets what every node of a lab needs, and forwarding if asked.
///
/// # Errors
/// When /proc/sys cannot be written.
pub(super) fn prepare(namespace: &Namespace, forwarding: bool) -> Result<(), LabError> {
    let wanted = if forwarding { &FORWARDING[..] } else { &[] };
    let settings: Vec<_> = QUIET.iter().chain(wanted).copied().collect();
    let outcome = namespace.run(move || {
        settings.into_iter().try_for_each(|(key, value)| write(key, value).map_err(|cause| (key, cause)))
    })?;
    outcome.map_err(|(key, cause)| LabError::Refused {
        what: format!("writing /proc/sys/{key}"),
        cause,
        help: "In a container, /proc/sys must be writable (for instance docker run --privileged).",
    })
}

fn write(key: &str, value: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/sys/{key}"), value)
}
