// SPDX-License-Identifier: GPL-2.0-or-later
//! How messages come in and go out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Instant, SystemTime};

/// The time of an input, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For timers and lifetimes.
    pub monotonic: Instant,
    /// For what is signed.
    pub wall: SystemTime,
}

impl Now {
    /// What both clocks say; for shells.
    pub fn read() -> Self {
        Self::at(SystemTime::now())
    }

    /// This moment, which is `wall` by the clock that is gone by.
    pub fn at(wall: SystemTime) -> Self {
        Self { monotonic: Instant::now(), wall }
    }
}

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
    /// From the node's own xTR, in this process.
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

/// From one of our sockets to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Way {
    /// Our address and port.
    pub local: SocketAddr,
    /// Theirs.
    pub remote: SocketAddr,
}

/// The UDP sockets that the shell has: what each is bound to. One that listens on all addresses of a family comes first of it, and after
/// all of them the addresses that it has.
#[derive(Debug, Clone, Default)]
pub struct Sockets(pub Vec<SocketAddr>);

impl Sockets {
    /// The socket to send to `remote` from: the one that was asked, if it has the family.
    pub fn towards(&self, remote: IpAddr, asked: Option<SocketAddr>) -> Option<SocketAddr> {
        let fits = |local: &SocketAddr| local.is_ipv4() == remote.is_ipv4();
        asked.filter(fits).or_else(|| self.0.iter().copied().find(fits))
    }

    /// Where what goes to somebody else than who asked at `local` leaves: of a socket that listens on all addresses the shell
    /// takes the one that the receiver used last, or leaves the choice to the system, which knows the way there.
    pub fn onwards(&self, local: SocketAddr) -> SocketAddr {
        let wildcard = unspecified(local);
        if self.0.contains(&wildcard) { wildcard } else { local }
    }

    /// The same as [`Self::towards`] where the message names our address: one that can be named, if it has one.
    pub fn named_towards(&self, remote: IpAddr) -> Option<SocketAddr> {
        let fits = |local: &SocketAddr| local.is_ipv4() == remote.is_ipv4() && !local.ip().is_unspecified();
        self.0.iter().copied().find(fits).or_else(|| self.towards(remote, None))
    }

    /// Whether one of them has this address.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.0.iter().any(|local| local.ip() == address)
    }
}

/// What a socket is bound to that listens on all addresses of this one's family, at its port.
pub fn unspecified(local: SocketAddr) -> SocketAddr {
    let address = match local {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(address, local.port())
}

/// Whether anything may be sent to an address that a message names. Loopback only to those who came over it.
pub fn may_send_to(address: IpAddr, asked: Option<SocketAddr>) -> bool {
    let on_loopback = asked.is_some_and(|local| local.ip().is_loopback());
    let reserved = match address {
        IpAddr::V4(a) => a.is_broadcast() || a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local() || a.to_ipv4_mapped().is_some(),
    };
    !(address.is_multicast() || address.is_unspecified() || reserved) && (on_loopback || !address.is_loopback())
}

/// Whether an address means something in some networks only (RFC 1918, RFC 4193; RFC 6598: behind the NAT of a provider).
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..]),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// Whether an address can be behind a NAT: no packet from outside is led to it. Of a provider, of one link and of one machine too, and
/// of IPv4 that is carried over IPv6 (RFC 7335).
pub fn is_behind(address: IpAddr) -> bool {
    let is_local = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || matches!(v4.octets(), [192, 0, 0, 0..=7]),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    is_local || is_private(address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sockets(all: &[&str]) -> Sockets {
        Sockets(all.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn who_asked_is_answered_from_where_it_asked_and_others_from_where_the_shell_knows() {
        let asked: SocketAddr = "192.0.2.9:4342".parse().unwrap();
        let remote = "198.51.100.1".parse().unwrap();
        let open = sockets(&["0.0.0.0:4342", "192.0.2.53:4342"]);
        assert_eq!(open.towards(remote, Some(asked)), Some(asked), "it came there, so it is ours");
        assert_eq!(open.onwards(asked), "0.0.0.0:4342".parse().unwrap());
        assert_eq!(open.named_towards(remote), Some("192.0.2.53:4342".parse().unwrap()));
        let bound = sockets(&["192.0.2.9:4342", "192.0.2.53:4342"]);
        assert_eq!(bound.onwards(asked), asked);
        assert_eq!(bound.named_towards(remote), Some(asked));
        assert_eq!(sockets(&["0.0.0.0:4342"]).named_towards(remote), Some("0.0.0.0:4342".parse().unwrap()));
        assert_eq!(bound.named_towards("2001:db8::1".parse().unwrap()), None);
    }
}
