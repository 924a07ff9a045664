// SPDX-License-Identifier: GPL-2.0-or-later
//! The data plane: the LISP header (RFC 9300, RFC 9305) and the IP, UDP and ICMP headers around it.
//!
//! Views borrow the packet. `parse` checks every length that an accessor relies on, once; after that none can fail.
//! Emitters write into arrays of the caller: nothing here allocates, but for whole ICMP messages. What runs for every packet is
//! `inline`: routers are other crates, and the release profile has no link-time optimisation.

pub mod checksum;
mod flow;
mod icmp;
mod ip;
mod ipv4;
mod ipv6;
mod lisp;
mod outer;
mod udp;

pub use flow::FlowKey;
pub use icmp::{IcmpError, is_icmp_error};
pub use ip::{Ecn, IpPacket, TrafficClass, protocol};
pub use ipv4::{Fragments, Ipv4Header, Ipv4Packet, fragment};
pub use ipv6::{Ipv6Header, Ipv6Packet, MINIMUM_MTU};
pub use lisp::{LispHeader, MapVersions, NextProtocol};
pub use outer::{OuterHeader, overhead};
pub use udp::UdpHeader;
