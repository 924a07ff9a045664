// SPDX-License-Identifier: GPL-2.0-or-later
//! From the thread towards the site to the one towards the core: packets that an RTR encapsulates again. A pair of sockets that takes
//! what a TUN device does, so that super-packets cross as they are, no rule of the kernel is in the way, and neither thread waits.

use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Socket, Type};

use super::ancillary::set_option;
use super::device::SuperDevice;
use super::tun::SuperTun;

/// Octets on their way: some dozens of the longest packets, which are what a thread reads at a time.
const BUFFER: usize = 4 * 1024 * 1024;

/// One end.
#[derive(Debug)]
pub struct RelayEnd(Socket);

/// Two ends: what is sent into the first comes out of the second.
///
/// # Errors
/// If the kernel has no sockets for us.
pub fn relay() -> io::Result<(RelayEnd, RelayEnd)> {
    let (one, other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
    for end in [&one, &other] {
        end.set_nonblocking(true)?;
        let buffer = libc::c_int::try_from(BUFFER).unwrap_or(libc::c_int::MAX);
        if set_option(end, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, buffer).is_err() {
            end.set_send_buffer_size(BUFFER)?;
        }
    }
    Ok((RelayEnd(one), RelayEnd(other)))
}

impl SuperDevice for RelayEnd {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.0).read(buffer) {
            Ok(0) => Ok(None),
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.0.send_vectored(parts).map(drop)
    }
}

/// The device towards the site, and what an RTR encapsulates again beside it.
#[derive(Debug)]
pub struct RelayedTun {
    tun: SuperTun,
    relay: Option<RelayEnd>,
    /// Who has the next turn, so that neither takes it all.
    relay_next: bool,
}

impl RelayedTun {
    /// The device alone, or with the end of a relay.
    pub fn new(tun: SuperTun, relay: Option<RelayEnd>) -> Self {
        Self { tun, relay, relay_next: false }
    }

    /// What to wait on.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [self.tun.as_fd()].into_iter().chain(self.relay.as_ref().map(|relay| relay.0.as_fd()))
    }
}

impl SuperDevice for RelayedTun {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(relay) = &mut self.relay else { return self.tun.recv(buffer) };
        self.relay_next = !self.relay_next;
        if self.relay_next
            && let Some(length) = relay.recv(buffer)?
        {
            return Ok(Some(length));
        }
        match self.tun.recv(buffer)? {
            Some(length) => Ok(Some(length)),
            None => relay.recv(buffer),
        }
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.tun.send(parts)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packets_come_out_whole_and_in_order() {
        let (mut one, mut other) = relay().unwrap();
        let longest = vec![7; 65_545];
        one.send(&[IoSlice::new(&[1, 2]), IoSlice::new(&[3])]).unwrap();
        one.send(&[IoSlice::new(&longest)]).unwrap();
        let mut buffer = vec![0; 70_000];
        assert_eq!(other.recv(&mut buffer).unwrap(), Some(3));
        assert_eq!(buffer[..3], [1, 2, 3]);
        assert_eq!(other.recv(&mut buffer).unwrap(), Some(longest.len()));
        assert_eq!(other.recv(&mut buffer).unwrap(), None);
    }

    #[test]
    fn a_full_relay_refuses_and_does_not_wait() {
        let (mut one, _other) = relay().unwrap();
        let packet = vec![0; 65_000];
        let refused = (0..1000).find_map(|_| one.send(&[IoSlice::new(&packet)]).err());
        assert_eq!(refused.unwrap().kind(), ErrorKind::WouldBlock);
    }
}
