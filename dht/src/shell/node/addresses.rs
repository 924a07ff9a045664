// SPDX-License-Identifier: GPL-2.0-or-later
//! Which addresses a node dials, hands on and believes.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::fabric::{address_of, number_of};
use super::{NodeError, Transport};
use crate::shell::limits;

/// Reads a bootstrap address: a multiaddr of QUIC with or without `/p2p/`, or `ADDRESS:PORT` in short.
///
/// # Errors
/// When it is neither, with what is wrong.
pub fn parse_bootstrap(text: &str) -> Result<Multiaddr, NodeError> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok(quic(socket.ip(), socket.port()));
    }
    let wrong = |reason| NodeError::Address { text: text.to_owned(), reason };
    let address: Multiaddr = text.parse().map_err(|_| wrong("not a multiaddr"))?;
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    match parts.as_slice() {
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(0), ..] => Err(wrong("port 0")),
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1] => Ok(address),
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1, Protocol::P2p(_)] => Ok(address),
        [Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_), ..] => Err(wrong("a name; give its address")),
        _ => Err(wrong("not QUIC over UDP")),
    }
}

/// Reads an anycast address: an IP address, on the DHT's usual port, or all that [`parse_bootstrap`] reads but an identity, because
/// whoever is nearest answers.
///
/// # Errors
/// When it is neither, with what is wrong.
pub fn parse_anycast(text: &str) -> Result<Multiaddr, NodeError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(quic(address, limits::PORT));
    }
    let address = parse_bootstrap(text)?;
    match split_peer(&address) {
        (_, Some(_)) => {
            Err(NodeError::Address { text: text.to_owned(), reason: "an anycast address is of nobody in particular" })
        }
        (bare, None) => Ok(bare),
    }
}

/// The multiaddr of QUIC at an address and UDP port.
pub(super) fn quic(address: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(address).with(Protocol::Udp(port)).with(Protocol::QuicV1)
}

/// The multiaddr at which a node listens; within a process an IPv6 address stands for nothing, and is refused there.
pub(in crate::shell) fn listening(transport: &Transport, address: IpAddr, port: u16) -> Multiaddr {
    match (transport, address) {
        (Transport::Memory(_), IpAddr::V4(v4)) => {
            Multiaddr::from(Protocol::Memory(number_of(SocketAddrV4::new(v4, port))))
        }
        _ => quic(address, port),
    }
}

/// The address with the identity of who is there.
pub(super) fn with_peer(address: &Multiaddr, peer: PeerId) -> Multiaddr {
    address.clone().with_p2p(peer).unwrap_or_else(|as_it_was| as_it_was)
}

/// The address without an identity, and the identity.
pub(super) fn split_peer(address: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut bare = address.clone();
    match bare.pop() {
        Some(Protocol::P2p(peer)) => (bare, Some(peer)),
        _ => (address.clone(), None),
    }
}

/// The identity at the end of an address.
pub(in crate::shell) fn identity_in(address: &Multiaddr) -> Option<PeerId> {
    split_peer(address).1
}

/// Whether an address that a peer claims can be its: reachable at all, and of this machine only if the peer is on it.
pub(super) fn believable(claimed: &Multiaddr, seen_at: &Multiaddr) -> bool {
    let Some((address, port)) = socket(claimed) else { return false };
    let peer_is_local = socket(seen_at).is_some_and(|(address, _)| address.is_loopback());
    let special = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        // An IPv4 address in disguise would pass by the rules for IPv4.
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    port != 0
        && is_memory(claimed) == is_memory(seen_at)
        && !address.is_unspecified()
        && !address.is_multicast()
        && !special
        && (!address.is_loopback() || peer_is_local)
}

/// Whether an address of ours is of use to others: one of a single link is none without its zone.
pub(super) fn is_shareable(address: &Multiaddr) -> bool {
    !matches!(address.iter().next(), Some(Protocol::Ip6(v6)) if v6.is_unicast_link_local())
}

/// Whether both are of IPv4, or of IPv6.
pub(super) fn is_same_family(one: &Multiaddr, other: &Multiaddr) -> bool {
    let family = |address| ip(address).map(|ip| ip.is_ipv4());
    family(one) == family(other)
}

/// Whether it is an address within one process, as only the nodes of a bench have.
fn is_memory(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Memory(_)))
}

/// The IP address of a QUIC multiaddr.
pub(in crate::shell) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    socket(address).map(|(ip, _)| ip)
}

/// The IP address and UDP port of a QUIC multiaddr, which may end in an identity and has nothing else; or those that an
/// address within a process stands for.
pub(super) fn socket(address: &Multiaddr) -> Option<(IpAddr, u16)> {
    let mut parts = address.iter();
    let (ip, port) = match parts.next()? {
        Protocol::Memory(number) => address_of(number).map(|at| (IpAddr::V4(*at.ip()), at.port()))?,
        Protocol::Ip4(v4) => (IpAddr::V4(v4), quic_port(&mut parts)?),
        Protocol::Ip6(v6) => (IpAddr::V6(v6), quic_port(&mut parts)?),
        _ => return None,
    };
    let ends = matches!((parts.next(), parts.next()), (None | Some(Protocol::P2p(_)), None));
    ends.then_some((ip, port))
}

fn quic_port<'a>(parts: &mut impl Iterator<Item = Protocol<'a>>) -> Option<u16> {
    let Protocol::Udp(port) = parts.next()? else { return None };
    matches!(parts.next()?, Protocol::QuicV1).then_some(port)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Fabric;
    use super::*;

    #[test]
    fn bootstrap_addresses_are_multiaddrs_or_sockets() {
        assert_eq!(parse_bootstrap("192.0.2.1:43420").unwrap().to_string(), "/ip4/192.0.2.1/udp/43420/quic-v1");
        assert_eq!(parse_bootstrap("[2001:db8::1]:1").unwrap().to_string(), "/ip6/2001:db8::1/udp/1/quic-v1");
        let peer = PeerId::random();
        let full = format!("/ip4/192.0.2.1/udp/43420/quic-v1/p2p/{peer}");
        assert_eq!(split_peer(&parse_bootstrap(&full).unwrap()).1, Some(peer));
    }

    #[test]
    fn an_anycast_address_is_of_nobody_in_particular() {
        assert_eq!(parse_anycast("3fff:ce1::1").unwrap().to_string(), "/ip6/3fff:ce1::1/udp/43420/quic-v1");
        assert_eq!(parse_anycast("192.0.2.1:7").unwrap().to_string(), "/ip4/192.0.2.1/udp/7/quic-v1");
        let named = format!("/ip4/192.0.2.1/udp/43420/quic-v1/p2p/{}", PeerId::random());
        assert!(parse_anycast(&named).unwrap_err().to_string().contains("nobody in particular"));
    }

    #[test]
    fn other_transports_names_and_port_zero_are_refused() {
        for text in [
            "",
            "example.org",
            "/dns/example.org/udp/1/quic-v1",
            "/ip4/192.0.2.1/tcp/1",
            "/ip4/192.0.2.1/udp/0/quic-v1",
        ] {
            assert!(parse_bootstrap(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_remote_peer_cannot_claim_our_loopback() {
        let far = quic("192.0.2.1".parse().unwrap(), 1);
        let near = quic("127.0.0.1".parse().unwrap(), 1);
        assert!(!believable(&near, &far));
        assert!(believable(&near, &near));
        assert!(believable(&quic("10.0.0.1".parse().unwrap(), 1), &far), "labs use private addresses");
        assert!(!believable(&quic("0.0.0.0".parse().unwrap(), 1), &far));
        assert!(!believable(&quic("fe80::1".parse().unwrap(), 1), &far), "a zone is missing");
        assert!(!believable(&quic("::ffff:127.0.0.1".parse().unwrap(), 1), &far), "loopback in disguise");
        assert!(!believable(&quic("255.255.255.255".parse().unwrap(), 1), &far));
    }

    #[test]
    fn an_address_within_a_process_stands_for_one_of_a_network_and_is_believed_there_only() {
        let near = listening(&Transport::Memory(Fabric::default()), "127.1.7.1".parse().unwrap(), 9);
        assert_eq!(socket(&near), Some(("127.1.7.1".parse().unwrap(), 9)));
        assert!(believable(&near, &near));
        assert!(!believable(&near, &quic("127.0.0.1".parse().unwrap(), 1)));
        assert!(!believable(&quic("127.0.0.1".parse().unwrap(), 1), &near));
    }

    #[test]
    fn an_address_with_more_in_it_is_none() {
        let base = quic("192.0.2.7".parse().unwrap(), 1);
        let relayed = base.clone().with_p2p(PeerId::random()).unwrap().with(Protocol::P2pCircuit);
        assert!(believable(&base, &base));
        assert!(believable(&base.clone().with_p2p(PeerId::random()).unwrap(), &base));
        assert!(!believable(&relayed, &base));
        assert!(!believable(&base.clone().with(Protocol::Tcp(1)), &base));
    }
}
