// SPDX-License-Identifier: GPL-2.0-or-later
//! Packets quoted in ICMP errors: only what we have sent, as far as it can be told, is believed (RFC 9300, section 7.2).

use std::net::IpAddr;

use wire::address::InstanceId;
use wire::data::{Ipv4Header, Ipv6Header, LispHeader, OuterHeader, UdpHeader, protocol};

use super::engine::FIRST_SOURCE_PORT;
use crate::map_cache::{Binding, FromPort};
use crate::trust::Trust;

/// Where a quoted packet went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To an RLOC.
    Rloc(IpAddr),
    /// Through a NAT.
    Binding(Binding),
}

/// Where a quoted packet went to, if it came from an RLOC of ours and has our ports and LISP header.
pub(super) fn way(quoted: &[u8], ours: &[IpAddr], iid: InstanceId, gpe_peers: &[IpAddr], trust: &Trust) -> Option<Way> {
    let (source, destination, number, rest) = addresses(quoted)?;
    let (udp, lisp) = rest.split_at_checked(UdpHeader::LENGTH)?;
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    // ICMPv4 need not quote more than the UDP header.
    let is_gpe = |header: &LispHeader| {
        gpe_peers.contains(&destination) && header.iid == Some(iid) && header.next_protocol.is_some()
    };
    // Which nonce, versions and status bits the packet had is not remembered.
    let is_of_peer = |header: LispHeader| {
        let bare = LispHeader { nonce: None, echo: false, versions: None, status_bits: None, ..header };
        trust.is_trusted(destination) && bare == LispHeader::plain(iid)
    };
    let is_of_ours = |header: LispHeader| header == LispHeader::plain(iid) || is_gpe(&header) || is_of_peer(header);
    let is_our_header = lisp.is_empty() || LispHeader::parse(lisp).is_ok_and(|(header, _)| is_of_ours(header));
    if !ours.contains(&source) || number != protocol::UDP || !is_our_header {
        return None;
    }
    way_between((source, port(0)), (destination, port(2)))
}

/// Where a packet of ours goes with this header.
pub(super) fn way_of(header: &OuterHeader) -> Option<Way> {
    way_between((header.source, header.source_port), (header.destination, header.destination_port))
}

fn way_between((source, source_port): (IpAddr, u16), (address, port): (IpAddr, u16)) -> Option<Way> {
    let through = |from| Way::Binding(Binding { address, port, from, source });
    match source_port {
        FIRST_SOURCE_PORT.. => (port == wire::DATA_PORT).then_some(Way::Rloc(address)),
        wire::DATA_PORT => Some(through(FromPort::Data)),
        wire::CONTROL_PORT => Some(through(FromPort::Control)),
        _ => None,
    }
}

/// Addresses, protocol and payload of a packet that may be cut short anywhere behind its IP header.
fn addresses(quoted: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match quoted.first()? >> 4 {
        4 => {
            let header = quoted.get(..Ipv4Header::LENGTH)?;
            let address = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).ok().map(IpAddr::from);
            let length = usize::from(quoted[0] & 0x0f) * 4;
            Some((address(12)?, address(16)?, header[9], quoted.get(length..)?))
        }
        6 => {
            let header = quoted.get(..Ipv6Header::LENGTH)?;
            let address = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).ok().map(IpAddr::from);
            Some((address(8)?, address(24)?, header[6], quoted.get(Ipv6Header::LENGTH..)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_quotation_makes_it_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..80), v4: bool) {
            if let Some(first) = octets.first_mut() {
                *first = if v4 { 0x40 | *first & 0x0f } else { 0x60 };
            }
            let _ = way(&octets, &[[192, 0, 2, 1].into()], InstanceId(0), &[], &Trust::default());
        }
    }
}
