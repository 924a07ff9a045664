// SPDX-License-Identifier: GPL-2.0-or-later
//! What the packet loop stands between: the device towards the site and the sockets towards the core. Traits, so that two
//! xTRs can be joined in memory.

use std::io;
use std::net::IpAddr;

use wire::data::OuterHeader;

use crate::etr::OuterInfo;

/// Inner packets from and to the kernel.
pub trait SiteDevice {
    /// The next packet, into `buffer`; `None` if none waits.
    ///
    /// # Errors
    /// What the device says. The loop goes on.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Hands a packet to the kernel.
    ///
    /// # Errors
    /// The packet is lost then.
    fn send(&mut self, packet: &[u8]) -> io::Result<()>;
}

/// Encapsulated packets from and to other xTRs.
pub trait CoreSockets {
    /// The next datagram to port 4341, its payload into `buffer`; `None` if none waits.
    ///
    /// # Errors
    /// What the socket says. The loop goes on.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<(OuterInfo, usize)>>;

    /// Sends an inner packet behind its outer header; neither is copied together.
    ///
    /// # Errors
    /// The packet is lost then.
    fn send(&mut self, header: &OuterHeader, inner: &[u8]) -> Result<(), SendError>;

    /// A router's report about a packet of ours, if one waits.
    fn report(&mut self) -> Option<TooBig>;

    /// Receives on these addresses and no others.
    fn set_rlocs(&mut self, rlocs: &[IpAddr]);
}

/// A packet of ours was too long for some link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooBig {
    /// The start of the packet, from its outer IP header on.
    pub quoted: Vec<u8>,
    /// What would have fit, in octets.
    pub mtu: usize,
}

/// Why the kernel did not take a packet.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The packet, its headers included, is longer than this MTU in octets.
    #[error("longer than the MTU of {0} octets")]
    TooBig(usize),
    /// It has no outer header: too long for IP, or its families differ.
    #[error("no outer header fits")]
    NoHeader,
    /// What the kernel says.
    #[error(transparent)]
    Io(#[from] io::Error),
}
