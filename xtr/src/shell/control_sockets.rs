// SPDX-License-Identifier: GPL-2.0-or-later
//! UDP port 4342 on each locator.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wire::data::{LispHeader, overhead};

use super::Failure;
use super::ancillary::{self, QUOTED_LENGTH, set_option, with_option};
use super::data_socket::ERRORS_AT_A_TIME;
use super::device::SendError;

/// Largest datagram taken; a control message is a twentieth of it.
const LARGEST_DATAGRAM: usize = 65_535;
/// Datagrams that wait for the control half. When it is behind by more, the kernel's buffer fills and then drops.
const WAITING: usize = 256;
/// How long an address may take at the start to be usable: IPv6 checks for duplicates first.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at it.
const ADDRESS_PAUSE: Duration = Duration::from_millis(100);

/// How often a message is sent, at most, that does not leave for the errors of earlier ones.
const TRIES: usize = 3;

/// What comes in.
#[derive(Debug)]
pub enum Received {
    /// A control message.
    Message {
        /// Our address and port.
        local: SocketAddr,
        /// The sender's.
        remote: SocketAddr,
        /// The UDP payload.
        bytes: Vec<u8>,
    },
    /// A router says that a message of ours was too long for a link.
    TooBig {
        /// The start of its UDP payload, as far as it was quoted.
        quoted: Vec<u8>,
        /// The MTU of the link, in octets.
        mtu: usize,
    },
}

/// What an error queue says of a message that was sent.
#[derive(Debug)]
enum Said {
    /// It was longer than the MTU of the interface, in octets, and has not left.
    Refused(usize),
    /// [`Received::TooBig`].
    Reported(Received),
    /// That it did not get there, which time-outs show too.
    Nothing,
}

/// The sockets.
#[derive(Debug)]
pub struct ControlSockets {
    sockets: Vec<Bound>,
    sender: mpsc::Sender<Received>,
}

/// A socket, and who reads it.
#[derive(Debug)]
struct Bound {
    address: IpAddr,
    socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl ControlSockets {
    /// Binds port 4342 of each of these addresses that an interface has; what comes in goes to the receiver. Waits for those that are
    /// `settling`, and as long as there is none at all for any.
    ///
    /// # Errors
    /// If there is none, or another program has the port of one.
    pub async fn bind(addresses: &[IpAddr], settling: &[IpAddr]) -> Result<(Self, mpsc::Receiver<Received>), Failure> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut sockets = Self { sockets: Vec::new(), sender };
        let started = tokio::time::Instant::now();
        loop {
            let missing = sockets.bind_missing(addresses)?;
            let is_awaited = |address: &IpAddr| sockets.sockets.is_empty() || settling.contains(address);
            if !missing.iter().any(is_awaited) {
                return Ok((sockets, receiver));
            }
            if started.elapsed() > ADDRESS_PATIENCE {
                return match missing.first() {
                    Some(address) if sockets.sockets.is_empty() => {
                        Err(Failure::key("rloc", format!("{address}: no interface has this address")))
                    }
                    _ => Ok((sockets, receiver)),
                };
            }
            tokio::time::sleep(ADDRESS_PAUSE).await;
        }
    }

    /// Binds those that have no socket; which no interface has.
    fn bind_missing(&mut self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Failure> {
        let mut missing = Vec::new();
        for address in addresses.iter().copied() {
            if self.receives_at(address) {
                continue;
            }
            let local = SocketAddr::new(address, wire::CONTROL_PORT);
            match bind(local) {
                Ok(socket) => self.add(address, socket),
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => missing.push(address),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(Failure::Machine(format!("UDP {local}: another program has this port (a LISP node?)")));
                }
                Err(error) => return Err(Failure::Machine(format!("UDP {local}: {error}"))),
            }
        }
        Ok(missing)
    }

    /// Whether what comes to port 4342 of this address is received.
    pub fn receives_at(&self, address: IpAddr) -> bool {
        self.sockets.iter().any(|bound| bound.address == address)
    }

    /// Receives on these addresses and, if it does already, on those that were locators, and on no others. Those that could not be bound yet.
    pub fn set(&mut self, addresses: &[IpAddr], former: &[IpAddr]) -> Vec<IpAddr> {
        self.sockets.retain(|bound| addresses.contains(&bound.address) || former.contains(&bound.address));
        let mut missing = Vec::new();
        for address in addresses {
            if self.receives_at(*address) {
                continue;
            }
            match bind(SocketAddr::new(*address, wire::CONTROL_PORT)) {
                Ok(socket) => self.add(*address, socket),
                Err(error) => {
                    tracing::warn!(%address, %error, "no control messages are received there yet");
                    missing.push(*address);
                }
            }
        }
        // What a locator is sent from that has none goes by one that is a locator.
        self.sockets.sort_by_key(|bound| !addresses.contains(&bound.address));
        missing
    }

    /// Waits until who reads one of them has ended, by a panic; its address.
    pub(super) async fn ended(&mut self) -> IpAddr {
        let ended = std::future::poll_fn(|context| {
            let ended = self.sockets.iter_mut().position(|bound| Pin::new(&mut bound.reader).poll(context).is_ready());
            ended.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        self.sockets.swap_remove(ended).address
    }

    fn add(&mut self, address: IpAddr, socket: UdpSocket) {
        let (local, socket) = (SocketAddr::new(address, wire::CONTROL_PORT), Arc::new(socket));
        let reader = tokio::spawn(read(local, socket.clone(), self.sender.clone()));
        self.sockets.push(Bound { address, socket, reader });
    }

    /// The sockets, each with its address.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (IpAddr, BorrowedFd<'_>)> {
        self.sockets.iter().map(|bound| (bound.address, bound.socket.as_fd()))
    }

    /// Sends from port 4342 of `local`, or, if that address has gone, of another one of its family. A datagram that cannot be
    /// sent is lost, as any may be.
    pub fn send(&self, local: IpAddr, remote: SocketAddr, bytes: &[u8]) {
        let bound = self.sockets.iter().find(|bound| bound.address == local);
        let another = || self.sockets.iter().find(|bound| bound.address.is_ipv4() == remote.is_ipv4());
        let Some(Bound { socket, .. }) = bound.or_else(another) else {
            tracing::debug!(%local, %remote, "no socket to send from");
            return;
        };
        match self.send_on(socket, octets(remote, bytes), |socket| socket.send_to(bytes, &remote.into())) {
            Ok(()) => tracing::trace!(%local, %remote, octets = bytes.len(), "sent"),
            Err(error) => tracing::debug!(%local, %remote, %error, "not sent"),
        }
    }

    /// Sends from port 4342 of `local` in one packet that no router may fragment. The MTU of the interface, in octets, if it is too long for
    /// that; it is lost then, as on the way.
    pub fn send_unfragmented(&self, local: IpAddr, remote: SocketAddr, bytes: &[u8]) -> Option<usize> {
        let Some(Bound { socket, .. }) = self.sockets.iter().find(|bound| bound.address == local) else {
            tracing::debug!(%local, %remote, "no socket to send from");
            return None;
        };
        let sent = self.send_on(socket, octets(remote, bytes), |socket| send_unfragmented(socket, remote, bytes));
        let error = match sent {
            Ok(()) => {
                tracing::trace!(%local, %remote, octets = bytes.len(), "sent, unfragmented");
                return None;
            }
            Err(error) => error,
        };
        tracing::debug!(%local, %remote, %error, "not sent, unfragmented");
        if let SendError::TooBig(mtu) = error { Some(mtu) } else { None }
    }

    /// Not by way of the runtime, which takes a socket that it has not looked at yet for one that would block. A socket says the error of an
    /// earlier message, to whomever, in the place of sending this one, which is a packet of `length` octets: an MTU that it fits was said of
    /// that.
    fn send_on(
        &self,
        socket: &UdpSocket,
        length: usize,
        send: impl Fn(&Socket) -> io::Result<usize>,
    ) -> Result<(), SendError> {
        let by = SockRef::from(socket);
        for _ in 1..TRIES {
            let Err(error) = send(&by) else { return Ok(()) };
            match (error.raw_os_error(), self.read_errors(socket)) {
                (Some(libc::EMSGSIZE), Some(mtu)) if mtu < length => return Err(SendError::TooBig(mtu)),
                (Some(libc::EAGAIN | libc::ENOBUFS), _) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(send(&by).map(drop)?)
    }

    /// Reads an error queue: what routers report is received, the MTU of our own refusal is returned.
    fn read_errors(&self, socket: &UdpSocket) -> Option<usize> {
        let mut refused = None;
        // What a flood of ICMP leaves in the queue its reader finds.
        for _ in 0..ERRORS_AT_A_TIME {
            match next_error(socket.as_fd()) {
                Err(_) => break,
                Ok(Said::Refused(mtu)) => refused = Some(mtu),
                // Without room it is lost, as any may be.
                Ok(Said::Reported(report)) => {
                    let _ = self.sender.try_send(report);
                }
                Ok(Said::Nothing) => {}
            }
        }
        refused
    }
}

/// Length of the packet that takes a message there.
fn octets(remote: SocketAddr, bytes: &[u8]) -> usize {
    overhead(remote.ip()) - LispHeader::LENGTH + bytes.len()
}

/// The next entry of the error queue (ip(7), IP_RECVERR).
fn next_error(socket: BorrowedFd<'_>) -> io::Result<Said> {
    let (mut quoted, mut control) = ([0; QUOTED_LENGTH], ancillary::Control::EMPTY);
    let received = ancillary::receive(socket, &mut quoted, &mut control, libc::MSG_ERRQUEUE)?;
    let said = received.extended_error().filter(|error| error.errno == libc::EMSGSIZE.unsigned_abs());
    let Some(error) = said else { return Ok(Said::Nothing) };
    let mtu = usize::try_from(error.info).unwrap_or(usize::MAX);
    if error.origin == libc::SO_EE_ORIGIN_LOCAL {
        return Ok(Said::Refused(mtu));
    }
    let quoted = quoted.get(..received.length).unwrap_or(&quoted).to_vec();
    Ok(Said::Reported(Received::TooBig { quoted, mtu }))
}

/// What the kernel makes of path MTUs, for one datagram: it is not fragmented here or on the way, and what the kernel has learned of the
/// path does not matter (ip(7), IP_PMTUDISC_PROBE). The socket is then as it was: of the other messages none may be lost for its length.
fn send_unfragmented(socket: &Socket, remote: SocketAddr, bytes: &[u8]) -> std::io::Result<usize> {
    let (level, name, probe) = match remote {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
    };
    with_option(socket, (level, name), probe, || socket.send_to(bytes, &remote.into()))
}

fn bind(local: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let (level, errors) = match local {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    set_option(&socket, level, errors, 1)?;
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    UdpSocket::from_std(socket.into())
}

async fn read(local: SocketAddr, socket: Arc<UdpSocket>, sender: mpsc::Sender<Received>) {
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        let received = tokio::select! {
            message = socket.recv_from(&mut buffer) => message.map(|(length, remote)| {
                Some(Received::Message { local, remote, bytes: buffer[..length].to_vec() })
            }),
            said = socket.async_io(Interest::ERROR, || next_error(socket.as_fd())) => said.map(|said| match said {
                Said::Reported(report) => Some(report),
                Said::Refused(_) | Said::Nothing => None,
            }),
        };
        match received {
            Ok(Some(received)) => {
                if sender.send(received).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            // An ICMP error of an earlier datagram: the socket goes on.
            Err(error) => tracing::debug!(%local, %error, "receiving"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// ICMP says that nobody listens at a port; the next message to anybody would not leave for that.
    #[tokio::test]
    async fn a_message_leaves_although_an_earlier_one_came_to_nobody() {
        for address in ["127.43.42.2", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let socket = bind(SocketAddr::new(address, 0)).unwrap();
            let (sender, _receiver) = mpsc::channel(1);
            let sockets = ControlSockets { sockets: vec![], sender };
            let listener = std::net::UdpSocket::bind(SocketAddr::new(address, 0)).unwrap();
            let to = listener.local_addr().unwrap();
            let closed = {
                let closed = std::net::UdpSocket::bind(SocketAddr::new(address, 0)).unwrap();
                closed.local_addr().unwrap()
            };
            for number in 0..20 {
                SockRef::from(&socket).send_to(&[0], &closed.into()).unwrap();
                sockets.send_on(&socket, 29, |socket| socket.send_to(&[number], &to.into())).unwrap();
                let mut octet = [99];
                listener.recv_from(&mut octet).unwrap();
                assert_eq!(octet, [number]);
            }
        }
    }

    #[tokio::test]
    async fn a_socket_that_nobody_reads_any_more_is_named() {
        let (sender, _receiver) = mpsc::channel(1);
        let mut sockets = ControlSockets { sockets: vec![], sender };
        let addresses: [IpAddr; 2] = ["127.43.42.3", "127.43.42.4"].map(|address| address.parse().unwrap());
        for address in addresses {
            sockets.add(address, bind(SocketAddr::new(address, 0)).unwrap());
        }
        let all_read = tokio::time::timeout(Duration::from_millis(50), sockets.ended()).await;
        assert!(all_read.is_err(), "{all_read:?}");
        sockets.sockets[1].reader.abort();
        assert_eq!(sockets.ended().await, addresses[1]);
        let the_other = tokio::time::timeout(Duration::from_millis(50), sockets.ended()).await;
        assert!(the_other.is_err(), "{the_other:?}");
    }

    #[test]
    fn one_datagram_leaves_unfragmented_and_the_socket_is_as_before() {
        for address in ["127.43.42.1:0", "[::1]:0"] {
            let local: SocketAddr = address.parse().unwrap();
            let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP)).unwrap();
            socket.bind(&local.into()).unwrap();
            let to = socket.local_addr().unwrap().as_socket().unwrap();
            let (level, name, never) = match local {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT),
            };
            set_option(&socket, level, name, never).unwrap();
            assert_eq!(send_unfragmented(&socket, to, &[7; 9000]).unwrap(), 9000);
            // No datagram is that long.
            let too_long = send_unfragmented(&socket, to, &[7; 65_536]).unwrap_err();
            assert_eq!(too_long.raw_os_error(), Some(libc::EMSGSIZE));
            assert_eq!(ancillary::option(&socket, level, name).unwrap(), never, "whatever became of it");
        }
    }
}
