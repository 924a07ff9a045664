// SPDX-License-Identifier: GPL-2.0-or-later
//! What others take away.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};

use super::addresses::{is_our_address, is_temporary};
use super::routes::is_our_route;
use super::rules::is_ours;

/// Hears from messages of the kernel that somebody has taken away what [`lead`](super::Netlink::lead) has set up, or a temporary CGEID.
#[derive(Debug, Clone)]
pub(in crate::shell) struct Lost {
    /// Name of the TUN device.
    pub(in crate::shell) tun: String,
}

impl Lost {
    /// Whether this may be so. What we take away ourselves counts too: nothing is lacking then.
    pub(in crate::shell) fn is_told_by(&self, message: &RouteNetlinkMessage) -> bool {
        match message {
            RouteNetlinkMessage::DelRule(rule) => is_ours(rule),
            RouteNetlinkMessage::DelRoute(route) => is_our_route(route),
            RouteNetlinkMessage::DelAddress(address) => is_our_address(address) || is_temporary(address),
            // Of a device that goes down the kernel drops IPv4 routes without a word; when it is up again, it says that.
            RouteNetlinkMessage::NewLink(link) => {
                link.header.flags.contains(LinkFlags::Up)
                    && link.attributes.contains(&LinkAttribute::IfName(self.tun.clone()))
            }
            _ => false,
        }
    }
}
