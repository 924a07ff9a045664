// SPDX-License-Identifier: GPL-2.0-or-later
//! How messages come in and go out.

use std::net::{IpAddr, SocketAddr};
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
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
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

/// From one of our sockets to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Way {
    /// Our address and port.
    pub local: SocketAddr,
    /// Theirs.
    pub remote: SocketAddr,
}

/// The UDP sockets that the shell has.
#[derive(Debug, Clone, Default)]
pub struct Sockets(pub Vec<SocketAddr>);

impl Sockets {
    /// The socket to send to `remote` from: the one that was asked, if it has the family.
    pub fn towards(&self, remote: IpAddr, asked: Option<SocketAddr>) -> Option<SocketAddr> {
        let fits = |local: &SocketAddr| local.is_ipv4() == remote.is_ipv4();
        asked.filter(fits).or_else(|| self.0.iter().copied().find(fits))
    }

    /// Whether one of them has this address.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.0.iter().any(|local| local.ip() == address)
    }
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
