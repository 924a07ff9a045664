// SPDX-License-Identifier: GPL-2.0-or-later
//! The sockets on ports 4341 and 4342, lent to those who send from there: NATs let in what answers a port, and nothing else.
//!
//! A port of an address has one socket, which whoever receives there opens. Others send with a duplicate of its descriptor.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::Socket;

use super::ancillary::drops;

/// The sockets that are lent, by what they are bound to.
#[derive(Debug, Clone, Default)]
pub struct FixedPorts(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    lent: Vec<Lent>,
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
    }

    /// Datagrams to this port that its sockets have dropped since this was asked last: there was no room, or the UDP checksum was wrong.
    pub(super) fn take_drops(&self, port: u16) -> usize {
        let mut all = self.all();
        let gone = all.gone.remove(&port).unwrap_or_default();
        let of_port = all.lent.iter_mut().filter(|lent| lent.address.port() == port);
        gone + of_port.map(Lent::take_drops).sum::<usize>()
    }

    /// The socket bound to this.
    pub(super) fn borrow(&self, address: SocketAddr) -> io::Result<Socket> {
        let all = self.all();
        let found = all.lent.iter().find(|lent| lent.address == address);
        found.map_or_else(|| Err(ErrorKind::AddrNotAvailable.into()), |lent| lent.socket.try_clone())
    }

    /// Sends a datagram.
    pub(super) fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.borrow(from)?.send_to(bytes, &to.into()).map(drop)
    }

    fn all(&self) -> MutexGuard<'_, Shared> {
        // Nothing that holds the lock leaves half a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    #[test]
    fn what_is_lent_sends_from_its_port_until_it_is_taken_back() {
        // An address of its own: no other test takes the port when it is free.
        let [owner, other] = [0; 2].map(|_| UdpSocket::bind("127.43.42.5:0").unwrap());
        let (from, to) = (owner.local_addr().unwrap(), other.local_addr().unwrap());
        let ports = FixedPorts::default();
        assert!(ports.send(from, to, &[1]).is_err());
        ports.lend(from.port(), [(from.ip(), owner.as_fd())].into_iter());
        ports.send(from, to, &[2]).unwrap();
        let mut octet = [0];
        assert_eq!((other.recv_from(&mut octet).unwrap(), octet), ((1, from), [2]));
        ports.lend(from.port(), std::iter::empty());
        assert!(ports.send(from, to, &[3]).is_err());
        drop(owner);
        assert!(UdpSocket::bind(from).is_ok(), "the port is free again");
    }
}
