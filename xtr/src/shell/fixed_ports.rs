// SPDX-License-Identifier: GPL-2.0-or-later
//! The sockets on ports 4341 and 4342, lent to those who send from there: NATs let in what answers a port, and nothing else.
//!
//! A port of an address has one socket, which whoever receives there opens. Others send with a duplicate of its descriptor.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::Socket;

/// The sockets that are lent, by what they are bound to.
#[derive(Debug, Clone, Default)]
pub struct FixedPorts(Arc<Mutex<Vec<(SocketAddr, Socket)>>>);

impl FixedPorts {
    /// Lends these, and no others of this port any more.
    pub(super) fn lend<'s>(&self, port: u16, sockets: impl Iterator<Item = (IpAddr, BorrowedFd<'s>)>) {
        let duplicate = |(address, fd): (IpAddr, BorrowedFd<'s>)| match fd.try_clone_to_owned() {
            Ok(fd) => Some((SocketAddr::new(address, port), Socket::from(fd))),
            Err(error) => {
                tracing::warn!(%address, port, %error, "nothing will be sent from here through NATs");
                None
            }
        };
        let lent: Vec<_> = sockets.filter_map(duplicate).collect();
        let mut all = self.all();
        all.retain(|(address, _)| address.port() != port);
        all.extend(lent);
    }

    /// The socket bound to this.
    pub(super) fn borrow(&self, address: SocketAddr) -> io::Result<Socket> {
        let all = self.all();
        let found = all.iter().find(|(bound, _)| *bound == address);
        found.map_or_else(|| Err(ErrorKind::AddrNotAvailable.into()), |(_, socket)| socket.try_clone())
    }

    /// Sends a datagram.
    pub(super) fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.borrow(from)?.send_to(bytes, &to.into()).map(drop)
    }

    fn all(&self) -> MutexGuard<'_, Vec<(SocketAddr, Socket)>> {
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
        let [owner, other] = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
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
