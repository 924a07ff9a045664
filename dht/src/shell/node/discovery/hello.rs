// SPDX-License-Identifier: GPL-2.0-or-later
//! The Hello: what a node says on a link. It is not signed: whoever believes it dials, and QUIC proves who is there.
//!
//! ```text
//! magic "CGEH" 4 | version 1 = 1 | flags 1 (b0 asks) | prefix 4 | port 2 | idlen 1 | peer ID | count 1 | address*
//! address: family 1 (4 or 6) | 4 or 16 octets
//! ```
//!
//! All integers in network byte order; addresses strictly ascending; nothing after the last. There is one encoding only.

use std::net::IpAddr;

use cgeid::Network;
use libp2p::PeerId;

use crate::shell::limits;

const MAGIC: &[u8; 4] = b"CGEH";
const VERSION: u8 = 1;
/// The sender is new on the link, and wants to hear who is there.
const ASKS: u8 = 1;
/// Octets before the peer ID.
const HEAD: usize = 13;

/// What a node says of itself on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::shell::node) struct Hello {
    pub(in crate::shell::node) asks: bool,
    pub(in crate::shell::node) network: Network,
    pub(in crate::shell::node) peer: PeerId,
    /// UDP port of its DHT.
    pub(in crate::shell::node) port: u16,
    /// Where it can be reached, ascending.
    pub(in crate::shell::node) addresses: Vec<IpAddr>,
}

impl Hello {
    /// The message; addresses beyond the bound are left out.
    pub(in crate::shell::node) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([VERSION, if self.asks { ASKS } else { 0 }]);
        bytes.extend(self.network.0);
        bytes.extend(self.port.to_be_bytes());
        let peer = self.peer.to_bytes();
        // A multihash has at most 66 octets, and there are few addresses.
        bytes.push(u8::try_from(peer.len()).unwrap_or_default());
        bytes.extend(peer);
        let mut addresses = self.addresses.clone();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(limits::HELLO_ADDRESSES);
        bytes.push(u8::try_from(addresses.len()).unwrap_or_default());
        for address in addresses {
            match address {
                IpAddr::V4(v4) => {
                    bytes.push(4);
                    bytes.extend(v4.octets());
                }
                IpAddr::V6(v6) => {
                    bytes.push(6);
                    bytes.extend(v6.octets());
                }
            }
        }
        bytes
    }

    /// Reads a message; `None` if it is none, or not encoded as we would.
    pub(in crate::shell::node) fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD)?;
        let flags = head[5];
        if &head[..4] != MAGIC || head[4] != VERSION || flags & !ASKS != 0 {
            return None;
        }
        let network = Network([head[6], head[7], head[8], head[9]]);
        let port = u16::from_be_bytes([head[10], head[11]]);
        let (peer, rest) = bytes[HEAD..].split_at_checked(usize::from(head[12]))?;
        let peer = PeerId::from_bytes(peer).ok()?;
        let (&count, mut rest) = rest.split_first()?;
        if usize::from(count) > limits::HELLO_ADDRESSES || port == 0 {
            return None;
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            let (&family, tail) = rest.split_first()?;
            let (address, tail) = match family {
                4 => tail.split_first_chunk::<4>().map(|(octets, tail)| (IpAddr::from(*octets), tail))?,
                6 => tail.split_first_chunk::<16>().map(|(octets, tail)| (IpAddr::from(*octets), tail))?,
                _ => return None,
            };
            addresses.push(address);
            rest = tail;
        }
        let hello = Self { asks: flags == ASKS, network, peer, port, addresses };
        (hello.encode() == bytes).then_some(hello)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            asks: true,
            network: Network::LAB,
            peer: PeerId::random(),
            port: 43420,
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        }
    }

    #[test]
    fn a_hello_reads_as_it_was_said() {
        let said = hello();
        let bytes = said.encode();
        assert_eq!(Hello::decode(&bytes).unwrap(), said);
        for end in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..end]), None, "cut at {end}");
        }
        assert_eq!(Hello::decode(&[&bytes[..], &[0]].concat()), None, "more after the end");
    }

    #[test]
    fn the_hello_of_the_draft_is_read_and_would_be_said_so() {
        let octets = crate::shell::node::drafted::value("HELLO");
        let said = Hello::decode(&octets).unwrap();
        assert_eq!(said, Hello { peer: said.peer, ..hello() });
        assert_eq!(said.peer.to_bytes(), crate::shell::node::drafted::value("ADM.peer-id"));
        assert_eq!(said.encode(), octets);
    }

    #[test]
    fn there_is_one_encoding_only() {
        let bytes = hello().encode();
        for (place, value) in [(0, b'X'), (4, 2), (5, 2), (5, 0x81), (10, 0)] {
            let mut changed = bytes.clone();
            changed[place] = value;
            changed[11] = if place == 10 { 0 } else { changed[11] };
            assert_eq!(Hello::decode(&changed), None, "octet {place}");
        }
        let mut swapped = hello();
        swapped.addresses = vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let mut bytes = swapped.encode();
        let end = bytes.len();
        (bytes[end - 1], bytes[end - 6]) = (1, 2);
        assert_eq!(Hello::decode(&bytes), None, "descending");
        bytes[end - 6] = 1;
        assert_eq!(Hello::decode(&bytes), None, "twice");
    }

    proptest! {
        #[test]
        fn no_octets_are_too_strange(tail in proptest::collection::vec(any::<u8>(), 0..300), keep in 0_usize..60) {
            let mut bytes = hello().encode();
            bytes.truncate(keep);
            bytes.extend(tail);
            if let Some(read) = Hello::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }
}
