// SPDX-License-Identifier: GPL-2.0-or-later
//! How control messages come in and go out: over a socket, or through the pipe to the map system in the same process.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// Over UDP.
    Socket {
        /// Our address and port.
        local: SocketAddr,
        /// The sender's.
        remote: SocketAddr,
    },
    /// From the map system in this process.
    Pipe,
}

impl fmt::Display for Via {
    /// Who it came from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { remote, .. } => remote.fmt(f),
            Self::Pipe => f.write_str("this node"),
        }
    }
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Over UDP, from port 4342.
    Socket {
        /// The locator to send from.
        local: IpAddr,
        /// Address and port of the receiver.
        remote: SocketAddr,
    },
    /// Over UDP, from port 4342, in one packet that no router may fragment (DF), however long the kernel takes the way for.
    Unfragmented {
        /// The locator to send from.
        local: IpAddr,
        /// Address and port of the receiver.
        remote: SocketAddr,
    },
    /// Over UDP, from port 4341: through the NAT that this node is behind, whose binding others answer to.
    DataPort {
        /// The locator to send from.
        local: IpAddr,
        /// Address and port of the receiver.
        remote: SocketAddr,
    },
    /// To the map system in this process.
    Pipe,
}

/// A Map-Server or Map-Resolver as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MapSystem {
    /// Another node, by underlay address (never an EID: RFC 9301, section 8.1); port 4342.
    Node(IpAddr),
    /// The one in this process.
    Pipe,
}

impl MapSystem {
    /// Where to send, or `None` when none of `rlocs` has its address family.
    pub fn destination(self, rlocs: &[IpAddr]) -> Option<Destination> {
        match self {
            Self::Pipe => Some(Destination::Pipe),
            Self::Node(address) => {
                let remote = SocketAddr::new(address, wire::CONTROL_PORT);
                Some(Destination::Socket { local: same_family(rlocs, address)?, remote })
            }
        }
    }
}

impl std::fmt::Display for MapSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(address) => address.fmt(f),
            Self::Pipe => f.write_str("this process"),
        }
    }
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The receiver.
    pub to: Destination,
    /// The UDP payload.
    pub bytes: Vec<u8>,
}

/// The first of `rlocs` in the address family of `other`.
pub fn same_family(rlocs: &[IpAddr], other: IpAddr) -> Option<IpAddr> {
    rlocs.iter().copied().find(|rloc| rloc.is_ipv4() == other.is_ipv4())
}

/// The same locators with the `turn`-th of each family as its first: the next one is tried where the one before got no answer.
pub fn turned(rlocs: &[IpAddr], turn: usize) -> Vec<IpAddr> {
    let of_family = |is_v4: bool| {
        let mut family: Vec<IpAddr> = rlocs.iter().copied().filter(|rloc| rloc.is_ipv4() == is_v4).collect();
        let first = turn.checked_rem(family.len()).unwrap_or(0);
        family.rotate_left(first);
        family
    };
    [of_family(true), of_family(false)].concat()
}

/// The turn in which [`turned`] has this locator as the first of its family.
pub fn turn_of(rlocs: &[IpAddr], rloc: IpAddr) -> Option<usize> {
    rlocs.iter().filter(|other| other.is_ipv4() == rloc.is_ipv4()).position(|other| *other == rloc)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_map_system_of_a_family_without_locator_has_no_destination() {
        let rlocs = ["192.0.2.1".parse().unwrap()];
        assert_eq!(MapSystem::Node("2001:db8::1".parse().unwrap()).destination(&rlocs), None);
        assert_eq!(MapSystem::Pipe.destination(&rlocs), Some(Destination::Pipe));
    }

    #[test]
    fn each_locator_of_a_family_has_its_turn() {
        let [a, b, c] = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|text| text.parse().unwrap());
        assert_eq!(turned(&[a, b, c], 0), [a, b, c]);
        assert_eq!(turned(&[a, b, c], 1), [b, a, c]);
        assert_eq!(turned(&[a, b, c], 2), [a, b, c]);
        assert_eq!(turned(&[], 7), Vec::<IpAddr>::new());
        assert_eq!([a, b, c].map(|rloc| turn_of(&[a, b, c], rloc)), [Some(0), Some(1), Some(0)]);
        assert_eq!(turn_of(&[a, c], b), None);
    }
}
