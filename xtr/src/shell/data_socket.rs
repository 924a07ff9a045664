// SPDX-License-Identifier: GPL-2.0-or-later
//! The sockets towards the core.
//!
//! Sending: a raw socket a family, with the outer IP header from us. So each packet has the source port of its flow, the
//! TTL, DSCP and ECN of its inner packet and no UDP checksum (RFC 9300, section 5.3), and the payload is gathered by the
//! kernel, not copied by us. They receive nothing but errors.
//!
//! Receiving: a UDP socket on port 4341 of each RLOC. The kernel verifies a checksum that is not zero, and takes zero ones
//! over IPv6 too.
#![allow(unsafe_code, reason = "ancillary data, which the standard library does not have")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use wire::data::{OuterHeader, TrafficClass};

use super::device::{CoreSockets, SendError, TooBig};
use crate::etr::OuterInfo;
use crate::limits;

/// Socket option of udp(7) that takes IPv6 datagrams without checksum; libc has it for Android only.
const UDP_NO_CHECK6_RX: libc::c_int = 102;
/// Octets that wait in the kernel for the packet thread: a millisecond of 10 Gbit/s, several times over.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Octets of ancillary data: two values, each with its header, or one error with an address.
const CONTROL_LENGTH: usize = 256;
/// Octets of a quoted packet that matter: the longest outer IP header with options, UDP and LISP.
const QUOTED_LENGTH: usize = 128;
/// Errors read from one socket before packets have their turn.
const ERRORS_AT_A_TIME: usize = 4 * limits::BATCH;
/// Of a packet whose socket did not tell: no limit to the inner one.
const TTL_UNKNOWN: u8 = u8::MAX;

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
}

#[derive(Debug)]
struct Receiver {
    rloc: IpAddr,
    socket: Socket,
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
        Ok(Self { v4, v6, receivers, turn: 0, streak: 0, reports: VecDeque::new() })
    }

    /// What to wait on: datagrams at the receivers, errors at the senders.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let receivers = self.receivers.iter().map(|receiver| receiver.socket.as_fd());
        receivers.chain([self.v4.as_fd()]).chain(self.v6.as_ref().map(|socket| socket.as_fd()))
    }

    /// Reads the error queues: reports of routers are kept, the MTU of our own refusal is returned.
    fn read_errors(&mut self) -> Option<usize> {
        let mut refused = None;
        for socket in [Some(&self.v4), self.v6.as_ref()].into_iter().flatten() {
            let mut quoted = [0; QUOTED_LENGTH];
            // What a flood of ICMP leaves in the queue wakes us again.
            for _ in 0..ERRORS_AT_A_TIME {
                let Ok(received) = receive(socket.as_fd(), &mut quoted, libc::MSG_ERRQUEUE) else { break };
                let Some(error) = received.extended_error() else { continue };
                let is_too_big = error.errno == libc::EMSGSIZE.unsigned_abs();
                let mtu = usize::try_from(error.info).unwrap_or(usize::MAX);
                if is_too_big && error.origin == libc::SO_EE_ORIGIN_LOCAL {
                    refused = Some(mtu);
                } else if is_too_big && self.reports.len() < limits::BATCH {
                    let quoted = quoted[..received.length].to_vec();
                    self.reports.push_back(TooBig { quoted, mtu });
                }
            }
            // An error that the queue had no room for would wake up poll(2) for ever.
            let _ = socket.take_error();
        }
        refused
    }

    fn next_turn(&mut self) {
        (self.turn, self.streak) = (self.turn.wrapping_add(1), 0);
    }

    fn send_once(&self, header: &OuterHeader, inner: &[u8]) -> Result<(), SendError> {
        let mut buffer = [0; OuterHeader::LONGEST];
        let outer = header.emit(inner.len(), &mut buffer).ok_or(SendError::NoHeader)?;
        let socket = match header.destination {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref().ok_or(SendError::NoHeader)?,
        };
        // Port 0: a raw IPv6 socket takes the protocol from there, and 0 means its own.
        let destination = SockAddr::from(SocketAddr::new(header.destination, 0));
        socket.send_to_vectored(&[IoSlice::new(outer), IoSlice::new(inner)], &destination)?;
        Ok(())
    }
}

impl CoreSockets for DataSockets {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<(OuterInfo, usize)>> {
        for _ in 0..self.receivers.len() {
            let Some(receiver) = self.receivers.get(self.turn % self.receivers.len()) else { break };
            let rloc = receiver.rloc;
            match receive(receiver.socket.as_fd(), buffer, 0) {
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
        let Err(error) = self.send_once(header, inner) else { return Ok(()) };
        let SendError::Io(cause) = &error else { return Err(error) };
        let (errno, refused) = (cause.raw_os_error(), self.read_errors());
        match (errno, refused) {
            (Some(libc::EMSGSIZE), Some(mtu)) if mtu < inner.len() + wire::data::overhead(header.destination) => {
                Err(SendError::TooBig(mtu))
            }
            // No room now: the wire is slower than we are, and the packet is late already.
            (Some(libc::EAGAIN | libc::ENOBUFS), _) => Err(error),
            // A socket says the error of an earlier packet, once, in the place of sending this one.
            _ => self.send_once(header, inner),
        }
    }

    fn report(&mut self) -> Option<TooBig> {
        if self.reports.is_empty() {
            self.read_errors();
        }
        self.reports.pop_front()
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
    }
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
    } else {
        socket.set_header_included_v6(true)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
    }
    Ok(socket)
}

/// BPF_RET | BPF_K of classic BPF.
const FILTER_RETURN: u16 = 0x06;

fn receiver(rloc: IpAddr) -> Result<Receiver, SocketError> {
    let address = SocketAddr::new(rloc, wire::DATA_PORT);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
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

fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(mem::size_of_val(&value)).unwrap_or_default();
    // SAFETY: the options used here are one int, and `value` is one that outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(&value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What one recvmsg(2) brought, beside the octets.
#[derive(Debug)]
struct Received {
    length: usize,
    from: Option<SocketAddr>,
    control: [u8; CONTROL_LENGTH],
    control_length: usize,
}

/// The part of sock_extended_err (ip(7)) that we use.
#[derive(Debug)]
struct ExtendedError {
    errno: u32,
    origin: u8,
    info: u32,
}

fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Received> {
    let mut control = Control([0; CONTROL_LENGTH]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr and sockaddr_storage are plain data, for which all zero octets are a value.
    let (mut message, mut name): (libc::msghdr, libc::sockaddr_storage) = unsafe { mem::zeroed() };
    message.msg_name = std::ptr::from_mut(&mut name).cast();
    message.msg_namelen = libc::socklen_t::try_from(mem::size_of_val(&name)).unwrap_or_default();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LENGTH;
    // SAFETY: each pointer in `message` is to a local or borrowed buffer of the length beside it, which outlives the call.
    let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags | libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(length) else { return Err(io::Error::last_os_error()) };
    let control_length = message.msg_controllen.min(CONTROL_LENGTH);
    Ok(Received { length, from: socket_address(&name), control: control.0, control_length })
}

/// Ancillary data begins where a cmsghdr may lie.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LENGTH]);

fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in lies here, and the storage is larger and aligned for it.
            let v4 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(address.into(), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, with sockaddr_in6.
            let v6 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            Some(SocketAddr::new(Ipv6Addr::from(v6.sin6_addr.s6_addr).into(), u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

impl Received {
    fn ttl(&self) -> Option<u8> {
        self.value(&[(libc::IPPROTO_IP, libc::IP_TTL), (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)])
    }

    fn traffic_class(&self) -> Option<TrafficClass> {
        let kinds = [(libc::IPPROTO_IP, libc::IP_TOS), (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)];
        self.value(&kinds).map(TrafficClass)
    }

    fn extended_error(&self) -> Option<ExtendedError> {
        let kinds = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
        let data = self.messages().find(|(kind, _)| kinds.contains(kind))?.1;
        let word = |at: usize| Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?));
        Some(ExtendedError { errno: word(0)?, origin: *data.get(4)?, info: word(8)? })
    }

    /// One octet that the kernel hands over as an int, or (IP_TOS) as an octet.
    fn value(&self, kinds: &[(libc::c_int, libc::c_int)]) -> Option<u8> {
        let data = self.messages().find(|(kind, _)| kinds.contains(kind))?.1;
        match data.first_chunk::<4>() {
            Some(word) => u8::try_from(i32::from_ne_bytes(*word)).ok(),
            None => data.first().copied(),
        }
    }

    /// Level, type and data of each control message (cmsg(3)).
    fn messages(&self) -> impl Iterator<Item = ((libc::c_int, libc::c_int), &[u8])> {
        const HEADER: usize = mem::size_of::<libc::cmsghdr>();
        let mut rest = &self.control[..self.control_length];
        std::iter::from_fn(move || {
            let length = usize::from_ne_bytes(*rest.first_chunk()?);
            let level = libc::c_int::from_ne_bytes(*rest.get(mem::size_of::<usize>()..)?.first_chunk()?);
            let kind = libc::c_int::from_ne_bytes(*rest.get(mem::size_of::<usize>() + 4..)?.first_chunk()?);
            let data = rest.get(HEADER..length)?;
            rest = rest.get(length.next_multiple_of(mem::size_of::<usize>())..).unwrap_or_default();
            Some(((level, kind), data))
        })
    }
}
