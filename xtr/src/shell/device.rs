// SPDX-License-Identifier: GPL-2.0-or-later
//! What the packet loop stands between: the device towards the site and the sockets towards the core. Traits, so that two
//! xTRs can be joined in memory.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::ops::Range;
use std::time::Instant;

use wire::data::OuterHeader;

use crate::etr::OuterInfo;
use crate::offload::Message;

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

    /// Reads what routers say about packets of ours.
    fn read_errors(&mut self);

    /// One of the reports that were read.
    fn report(&mut self) -> Option<TooBig>;

    /// The start of a packet of ours that did not reach its locator, from its outer IP header on, if a report of one was read.
    fn unreachable(&mut self) -> Option<Vec<u8>>;

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

impl SendError {
    /// Whether the kernel has no way to the RLOC, rather than no liking for the one packet.
    pub(super) fn is_of_the_way(&self) -> bool {
        let Self::Io(error) = self else { return false };
        let errnos = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EPERM, libc::EACCES, libc::EINVAL, libc::EIO];
        // An address that has just left, of which the sockets may know before the kernel is asked.
        error.kind() == io::ErrorKind::AddrNotAvailable
            || error.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
    }
}

/// Super-packets from and to the kernel: each behind a vnet header.
pub trait SuperDevice {
    /// The next packet, its vnet header in front, into `buffer`; `None` if none waits.
    ///
    /// # Errors
    /// What the device says. The loop goes on.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Hands a packet to the kernel: its vnet header, and its parts.
    ///
    /// # Errors
    /// The packet is lost then.
    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<()>;
}

/// Groups of encapsulated packets to other xTRs.
pub trait GroupSockets {
    /// How many packets a group may have.
    fn longest_group(&self) -> usize;

    /// Locators to which there are no groups for now.
    fn ungrouped(&mut self, now: Instant) -> &[IpAddr];

    /// Sends groups, those of a flow in their order. Adds the number of each that the kernel did not take to `failures`.
    fn send(&mut self, messages: &[Message<'_>], failures: &mut Vec<(usize, SendError)>);

    /// Reads what routers say about packets of ours.
    fn read_errors(&mut self);

    /// One of the reports that were read.
    fn report(&mut self) -> Option<TooBig>;

    /// As of [`CoreSockets::unreachable`], of those that were read.
    fn unreachable(&mut self) -> Option<Vec<u8>>;

    /// Sends from these addresses and no others.
    fn set_rlocs(&mut self, rlocs: &[IpAddr]);
}

/// Datagrams of one sender that arrived as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagrams {
    /// The outer header that they have in common.
    pub outer: OuterInfo,
    /// Where their payloads are, one behind the other.
    pub octets: Range<usize>,
    /// Octets of each of them but the last, which may be shorter.
    pub size: usize,
}

/// Encapsulated packets from other xTRs, many at a time.
pub trait DatagramSockets {
    /// The next datagrams to port 4341, their payloads into `memory`; none if none wait. Whether there may be more.
    ///
    /// # Errors
    /// What a socket says. The loop goes on.
    fn recv(&mut self, memory: &mut [u8], received: &mut Vec<Datagrams>) -> io::Result<bool>;

    /// Reads what routers say about packets that the other thread sends from there.
    fn read_errors(&mut self) {}

    /// Receives on these addresses and no others.
    fn set_rlocs(&mut self, rlocs: &[IpAddr]);
}
