// SPDX-License-Identifier: GPL-2.0-or-later
//! The sockets towards the core.
//!
//! Sending: a raw socket a family, with the outer IP header from us. So each packet has the source port of its flow, the
//! TTL, DSCP and ECN of its inner packet and no UDP checksum (RFC 9300, section 5.3), and the payload is gathered by the
//! kernel, not copied by us. They receive nothing but errors. Their packets may be as long as the interface takes
//! (PMTUDISC_PROBE), whatever ICMP the kernel itself believes, which is any about a raw socket: path MTUs are ours to learn.
//! Packets to peers that take LISP-GPE do have a checksum (RFC 9305, section 4.3.1).
//!
//! Receiving: a UDP socket on port 4341 of each RLOC. The kernel verifies a checksum that is not zero, and takes zero ones
//! over IPv6 too.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use wire::data::checksum::Sum;
use wire::data::{LispHeader, OuterHeader, UdpHeader, protocol};

use super::ancillary::{Control, QUOTED_LENGTH, receive, set_option};
use super::device::{CoreSockets, SendError, TooBig};
use super::fixed_ports::FixedPorts;
use super::send_many::send_from;
use crate::etr::OuterInfo;
use crate::limits;

/// Socket option of udp(7) that takes IPv6 datagrams without checksum; libc has it for Android only.
const UDP_NO_CHECK6_RX: libc::c_int = 102;
/// Where the checksum is in a UDP header (RFC 768).
const UDP_CHECKSUM: Range<usize> = 6..8;
/// Octets that wait in the kernel for the packet thread: a millisecond of 10 Gbit/s, several times over.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// How often a packet is tried again when a socket says an error that nobody is known to have reported, which may be one of this packet.
pub(super) const TRIES: usize = 3;
/// And in the place of one that a router or host has reported: anybody can send these, and more come while they are read.
pub(super) const TRIES_AMONG_REPORTS: usize = 256;
/// Errors read from one socket before packets have their turn.
pub(super) const ERRORS_AT_A_TIME: usize = 4 * limits::BATCH;
/// Of a packet whose socket did not tell: no limit to the inner one.
pub(super) const TTL_UNKNOWN: u8 = u8::MAX;

/// Why there are no sockets, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Raw sockets are forbidden.
    #[error(
        "no permission for raw sockets: run as root, or give the program CAP_NET_RAW (`setcap cap_net_admin,cap_net_raw+ep`)"
    )]
    Permission,
    /// The port is taken.
    #[error("UDP port 4341 of {0} is in use: stop the other LISP router on this machine")]
    Busy(IpAddr),
    /// The address is not ours.
    #[error("{0} is not an address of this machine: see --rloc")]
    NotLocal(IpAddr),
    /// Anything else.
    #[error("data socket: {0}")]
    Other(#[from] io::Error),
}

/// All sockets towards the core.
#[derive(Debug)]
pub struct DataSockets {
    v4: Socket,
    /// `None` on a machine without IPv6.
    v6: Option<Socket>,
    receivers: Vec<Receiver>,
    /// Which receiver has the next turn.
    turn: usize,
    /// Datagrams that it has had in a row.
    streak: usize,
    reports: VecDeque<TooBig>,
    unreachable: VecDeque<Vec<u8>>,
    /// Who may send from our ports.
    lent: FixedPorts,
}

/// What the error queue of a sender had.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    /// The MTU of our own refusal, octets.
    pub(super) refused: Option<usize>,
    /// Whether routers or hosts have reported anything.
    pub(super) reports: bool,
}

impl Heard {
    /// Whether the error that a socket said is of an earlier packet: it says it once for each report, in the place of sending.
    pub(super) fn is_of_earlier(self, error: &io::Error) -> bool {
        // These come from nowhere else.
        let only_reported = [libc::ECONNREFUSED, libc::ENOPROTOOPT, libc::EPROTO, libc::EHOSTDOWN];
        self.reports || error.raw_os_error().is_some_and(|errno| only_reported.contains(&errno))
    }
}

#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) rloc: IpAddr,
    pub(super) socket: Socket,
}

impl DataSockets {
    /// Opens the sockets and receives on these RLOCs.
    ///
    /// # Errors
    /// What the machine lacks, and what to do.
    pub fn open(rlocs: &[IpAddr]) -> Result<Self, SocketError> {
        let v4 = sender(Domain::IPV4)?;
        let v6 = match sender(Domain::IPV6) {
            Ok(socket) => Some(socket),
            Err(SocketError::Other(error)) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        let receivers = rlocs.iter().map(|rloc| receiver(*rloc)).collect::<Result<_, _>>()?;
        let (reports, unreachable, lent) = (VecDeque::new(), VecDeque::new(), FixedPorts::default());
        Ok(Self { v4, v6, receivers, turn: 0, streak: 0, reports, unreachable, lent })
    }

    /// Lends the receivers to whoever sends from port 4341.
    pub(super) fn lend_to(&mut self, ports: &FixedPorts) {
        self.lent = ports.clone();
        lend(ports, &self.receivers);
    }

    /// What to wait on: datagrams.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.receivers.iter().map(|receiver| receiver.socket.as_fd())
    }

    /// What has errors for us, and nothing else.
    pub fn senders(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [self.v4.as_fd()].into_iter().chain(self.v6.as_ref().map(|socket| socket.as_fd()))
    }

    /// Reads the error queue of a sender: reports of routers are kept.
    fn read_errors_of(&mut self, is_v6: bool) -> Heard {
        let mut heard = Heard::default();
        let socket = if is_v6 { self.v6.as_ref() } else { Some(&self.v4) };
        let Some(socket) = socket else { return heard };
        let (mut quoted, mut control) = ([0; QUOTED_LENGTH], Control::EMPTY);
        // What a flood of ICMP leaves in the queue wakes us again.
        for _ in 0..ERRORS_AT_A_TIME {
            let Ok(received) = receive(socket.as_fd(), &mut quoted, &mut control, libc::MSG_ERRQUEUE) else {
                break;
            };
            let Some(error) = received.extended_error() else { continue };
            let is_too_big = error.errno == libc::EMSGSIZE.unsigned_abs();
            let mtu = usize::try_from(error.info).unwrap_or(usize::MAX);
            heard.reports |= error.origin != libc::SO_EE_ORIGIN_LOCAL;
            if is_too_big && error.origin == libc::SO_EE_ORIGIN_LOCAL {
                heard.refused = Some(mtu);
            } else if is_too_big && self.reports.len() < limits::BATCH {
                let quoted = quoted[..received.length].to_vec();
                self.reports.push_back(TooBig { quoted, mtu });
            } else if error.is_unreachable() && self.unreachable.len() < limits::BATCH {
                self.unreachable.push_back(quoted[..received.length].to_vec());
            }
        }
        // An error that the queue had no room for would wake up poll(2) for ever.
        let _ = socket.take_error();
        heard
    }

    fn next_turn(&mut self) {
        (self.turn, self.streak) = (self.turn.wrapping_add(1), 0);
    }

    fn send_once(&self, header: &OuterHeader, inner: &[u8]) -> Result<(), SendError> {
        let mut buffer = [0; OuterHeader::LONGEST];
        let length = header.emit(inner.len(), &mut buffer).ok_or(SendError::NoHeader)?.len();
        let outer = &mut buffer[..length];
        // What the core may fragment can be put together wrongly (RFC 6864, section 5): its checksum shows that.
        if LispHeader::has_bit_5(&header.lisp) || !header.dont_fragment {
            write_checksum(header, outer, inner);
        }
        let socket = match header.destination {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref().ok_or(SendError::NoHeader)?,
        };
        // Port 0: a raw IPv6 socket takes the protocol from there, and 0 means its own.
        let destination = SockAddr::from(SocketAddr::new(header.destination, 0));
        send_from(socket, header.source, &destination, &[IoSlice::new(outer), IoSlice::new(inner)])?;
        Ok(())
    }
}

impl CoreSockets for DataSockets {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<(OuterInfo, usize)>> {
        for _ in 0..self.receivers.len() {
            let Some(receiver) = self.receivers.get(self.turn % self.receivers.len()) else { break };
            let rloc = receiver.rloc;
            let mut control = Control::EMPTY;
            match receive(receiver.socket.as_fd(), buffer, &mut control, 0) {
                Ok(received) => {
                    self.streak += 1;
                    if self.streak >= limits::BATCH {
                        // A flood to one RLOC leaves the others their turn.
                        self.next_turn();
                    }
                    let Some(from) = received.from else { continue };
                    let outer = OuterInfo {
                        source: from.ip(),
                        destination: rloc,
                        source_port: from.port(),
                        ttl: received.ttl().unwrap_or(TTL_UNKNOWN),
                        class: received.traffic_class().unwrap_or_default(),
                    };
                    return Ok(Some((outer, received.length)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.next_turn(),
                Err(error) => {
                    self.next_turn();
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    fn send(&mut self, header: &OuterHeader, inner: &[u8]) -> Result<(), SendError> {
        for tried in 0.. {
            let Err(error) = self.send_once(header, inner) else { break };
            let SendError::Io(cause) = &error else { return Err(error) };
            let heard = self.read_errors_of(header.destination.is_ipv6());
            match (cause.raw_os_error(), heard.refused) {
                (Some(libc::EMSGSIZE), Some(mtu)) if mtu < inner.len() + wire::data::overhead(header.destination) => {
                    return Err(SendError::TooBig(mtu));
                }
                // No room now: the wire is slower than we are, and the packet is late already.
                (Some(libc::EAGAIN | libc::ENOBUFS), _) => return Err(error),
                _ if tried < if heard.is_of_earlier(cause) { TRIES_AMONG_REPORTS } else { TRIES } => {}
                _ => return Err(error),
            }
        }
        Ok(())
    }

    fn read_errors(&mut self) {
        for is_v6 in [false, true] {
            self.read_errors_of(is_v6);
        }
    }

    fn report(&mut self) -> Option<TooBig> {
        self.reports.pop_front()
    }

    fn unreachable(&mut self) -> Option<Vec<u8>> {
        self.unreachable.pop_front()
    }

    fn set_rlocs(&mut self, rlocs: &[IpAddr]) {
        self.receivers.retain(|receiver| rlocs.contains(&receiver.rloc));
        for rloc in rlocs {
            if self.receivers.iter().any(|receiver| receiver.rloc == *rloc) {
                continue;
            }
            match receiver(*rloc) {
                Ok(receiver) => self.receivers.push(receiver),
                Err(error) => tracing::warn!(%rloc, %error, "nothing will be received here"),
            }
        }
        lend(&self.lent, &self.receivers);
    }
}

/// Lends receivers to whoever sends from their port.
pub(super) fn lend(ports: &FixedPorts, receivers: &[Receiver]) {
    let sockets = receivers.iter().map(|receiver| (receiver.rloc, receiver.socket.as_fd()));
    ports.lend(wire::DATA_PORT, sockets);
}

/// The UDP checksum of a packet, which has none yet (RFC 768: what sums to zero is written as all ones).
fn write_checksum(header: &OuterHeader, outer: &mut [u8], inner: &[u8]) {
    let segment = outer.len() - LispHeader::LENGTH - UdpHeader::LENGTH;
    let size = outer.len() - segment + inner.len();
    let sum = Sum::default().pseudo_header(header.source, header.destination, protocol::UDP, size);
    let sum = match sum.plus(&outer[segment..]).plus(inner).finish() {
        0 => u16::MAX,
        sum => sum,
    };
    outer[segment..][UDP_CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}

fn sender(domain: Domain) -> Result<Socket, SocketError> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::UDP)).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => SocketError::Permission,
        _ => SocketError::Other(error),
    })?;
    socket.set_nonblocking(true)?;
    // A raw socket gets a copy of each UDP packet of the machine: a program of one instruction refuses them all.
    let refuse = SockFilter::new(FILTER_RETURN, 0, 0, 0);
    socket.attach_filter(&[refuse])?;
    if domain == Domain::IPV4 {
        socket.set_header_included_v4(true)?;
        set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    } else {
        socket.set_header_included_v6(true)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
    }
    Ok(socket)
}

/// Lets so many octets wait, more than the administrator lets everybody have; without the capability what everybody has must do.
pub(super) fn set_receive_buffer(socket: &Socket, octets: usize) -> io::Result<()> {
    let size = libc::c_int::try_from(octets).unwrap_or(libc::c_int::MAX);
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size).or_else(|_| socket.set_recv_buffer_size(octets))
}

/// BPF_RET | BPF_K of classic BPF.
pub(super) const FILTER_RETURN: u16 = 0x06;

pub(super) fn receiver(rloc: IpAddr) -> Result<Receiver, SocketError> {
    let address = SocketAddr::new(rloc, wire::DATA_PORT);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    set_receive_buffer(&socket, RECEIVE_BUFFER)?;
    if rloc.is_ipv4() {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
        set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
    } else {
        socket.set_only_v6(true)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
        set_option(&socket, libc::SOL_UDP, UDP_NO_CHECK6_RX, 1)?;
    }
    socket.bind(&address.into()).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => SocketError::Busy(rloc),
        ErrorKind::AddrNotAvailable => SocketError::NotLocal(rloc),
        _ => SocketError::Other(error),
    })?;
    Ok(Receiver { rloc, socket })
}
