// SPDX-License-Identifier: GPL-2.0-or-later
//! The sockets on ports 4341 and 4342, lent to those who send from there: NATs let in what answers a port, and nothing else.
//!
//! A port of an address has one socket, which whoever receives there opens. Others send with a duplicate of its descriptor.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use socket2::Socket;

use super::ancillary::drops;
use super::clock;
use super::data_socket::TRIES;
use super::lent_errors::LentErrors;
use crate::nat::limits;

/// The sockets that are lent, by what they are bound to.
#[derive(Debug, Clone, Default)]
pub struct FixedPorts {
    shared: Arc<Mutex<Shared>>,
    errors: Arc<LentErrors>,
}

#[derive(Debug, Default)]
struct Shared {
    lent: Vec<Lent>,
    /// What is to be sent from sockets that are not lent yet, oldest first.
    waiting: VecDeque<Waiting>,
    /// Of each port: datagrams that sockets which are gone had dropped since they were asked last.
    gone: HashMap<u16, usize>,
}

#[derive(Debug)]
struct Lent {
    address: SocketAddr,
    socket: Socket,
    /// What it had dropped when it was asked last.
    dropped: u32,
}

#[derive(Debug)]
struct Waiting {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
    since: Instant,
}

impl Lent {
    /// Datagrams that it has dropped since it was asked last. The kernel's count may begin again.
    fn take_drops(&mut self) -> usize {
        let dropped = drops(&self.socket).unwrap_or(self.dropped);
        let before = std::mem::replace(&mut self.dropped, dropped);
        usize::try_from(dropped.wrapping_sub(before)).unwrap_or_default()
    }
}

impl FixedPorts {
    /// Lends these, and no others of this port any more.
    pub(super) fn lend<'s>(&self, port: u16, sockets: impl Iterator<Item = (IpAddr, BorrowedFd<'s>)>) {
        let duplicate = |(address, fd): (IpAddr, BorrowedFd<'s>)| match fd.try_clone_to_owned() {
            Ok(fd) => Some(Lent { address: SocketAddr::new(address, port), socket: Socket::from(fd), dropped: 0 }),
            Err(error) => {
                tracing::warn!(%address, port, %error, "nothing will be sent from here through NATs");
                None
            }
        };
        let mut lent: Vec<_> = sockets.filter_map(duplicate).collect();
        let mut all = self.all();
        let former: Vec<_> = all.lent.extract_if(.., |lent| lent.address.port() == port).collect();
        for mut former in former {
            match lent.iter_mut().find(|lent| lent.address == former.address) {
                Some(same) => same.dropped = former.dropped,
                None => *all.gone.entry(port).or_default() += former.take_drops(),
            }
        }
        all.lent.extend(lent);
        all.send_what_waits(clock::now());
    }

    /// Datagrams to this port that its sockets have dropped since this was asked last: there was no room, or the UDP checksum was wrong.
    pub(super) fn take_drops(&self, port: u16) -> usize {
        let mut all = self.all();
        let gone = all.gone.remove(&port).unwrap_or_default();
        let of_port = all.lent.iter_mut().filter(|lent| lent.address.port() == port);
        gone + of_port.map(Lent::take_drops).sum::<usize>()
    }

    /// What is said of packets that were sent from the data port.
    pub(super) fn errors(&self) -> &LentErrors {
        &self.errors
    }

    /// The socket bound to this.
    pub(super) fn borrow(&self, address: SocketAddr) -> io::Result<Socket> {
        self.all().lent(address).map_or_else(|| Err(ErrorKind::AddrNotAvailable.into()), Socket::try_clone)
    }

    /// Sends a datagram. From an address that control has had for a moment only it leaves as soon as a thread receives there, for which it
    /// waits no longer than until it would be sent once more.
    pub(super) fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let mut all = self.all();
        if let Some(socket) = all.lent(from) {
            return send(socket, to, bytes);
        }
        if all.waiting.len() >= limits::HELD {
            all.waiting.pop_front();
        }
        all.waiting.push_back(Waiting { from, to, bytes: bytes.to_vec(), since: clock::now() });
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, Shared> {
        // Nothing that holds the lock leaves half a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket says an ICMP error of an earlier packet once, in the place of sending the next one.
fn send(socket: &Socket, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match socket.send_to(bytes, &to.into()) {
            Err(error) if tries < TRIES && error.kind() != ErrorKind::WouldBlock => {}
            sent => return sent.map(drop),
        }
    }
}

impl Shared {
    fn lent(&self, address: SocketAddr) -> Option<&Socket> {
        self.lent.iter().find(|lent| lent.address == address).map(|lent| &lent.socket)
    }

    fn send_what_waits(&mut self, now: Instant) {
        for one in std::mem::take(&mut self.waiting) {
            if now.saturating_duration_since(one.since) >= limits::HELD_FOR {
                tracing::debug!(from = %one.from, to = %one.to, "not sent: nobody receives there");
                continue;
            }
            let Some(socket) = self.lent(one.from) else {
                self.waiting.push_back(one);
                continue;
            };
            if let Err(error) = send(socket, one.to, &one.bytes) {
                tracing::debug!(from = %one.from, to = %one.to, %error, "not sent");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    #[test]
    fn what_is_lent_sends_from_its_port_until_it_is_taken_back() {
        // An address of its own: no other test takes the port when it is free.
        let [owner, other] = [0; 2].map(|_| UdpSocket::bind("127.43.42.5:0").unwrap());
        let (from, to) = (owner.local_addr().unwrap(), other.local_addr().unwrap());
        let ports = FixedPorts::default();
        assert!(ports.borrow(from).is_err());
        ports.lend(from.port(), [(from.ip(), owner.as_fd())].into_iter());
        ports.send(from, to, &[2]).unwrap();
        let mut octet = [0];
        assert_eq!((other.recv_from(&mut octet).unwrap(), octet), ((1, from), [2]));
        ports.lend(from.port(), std::iter::empty());
        assert!(ports.borrow(from).is_err());
        drop(owner);
        assert!(UdpSocket::bind(from).is_ok(), "the port is free again");
    }

    /// The first Info-Request from an address that has come back.
    #[test]
    fn what_is_sent_before_its_socket_is_lent_leaves_when_that_is_unless_it_is_late() {
        let [owner, other, receiver] = [0; 3].map(|_| UdpSocket::bind("127.43.42.6:0").unwrap());
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let [from, beside, to] = [&owner, &other, &receiver].map(|socket| socket.local_addr().unwrap());
        let ports = FixedPorts::default();
        let lend = |socket: &UdpSocket| {
            let local = socket.local_addr().unwrap();
            ports.lend(local.port(), [(local.ip(), socket.as_fd())].into_iter());
        };
        ports.send(from, to, &[0]).unwrap();
        ports.send(beside, to, &[1]).unwrap();
        // Of too many the oldest is lost.
        (0..limits::HELD - 1).for_each(|_| ports.send(from, to, &[2]).unwrap());
        lend(&owner);
        let mut octet = [0];
        for _ in 0..limits::HELD - 1 {
            assert_eq!((receiver.recv_from(&mut octet).unwrap(), octet), ((1, from), [2]));
        }
        lend(&other);
        assert_eq!((receiver.recv_from(&mut octet).unwrap(), octet), ((1, beside), [1]));
        ports.lend(from.port(), std::iter::empty());
        ports.send(from, to, &[3]).unwrap();
        ports.all().waiting.iter_mut().for_each(|one| one.since = one.since.checked_sub(limits::HELD_FOR).unwrap());
        lend(&owner);
        ports.send(from, to, &[4]).unwrap();
        assert_eq!((receiver.recv_from(&mut octet).unwrap(), octet), ((1, from), [4]));
    }
}
