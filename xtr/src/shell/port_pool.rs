// SPDX-License-Identifier: GPL-2.0-or-later
//! Sending with offload: UDP sockets, of which the flow chooses one, because UDP_SEGMENT works on no raw socket. So there are as
//! many source ports as sockets.
//!
//! The kernel writes the outer headers. TTL, DSCP, ECN and flow label go with each message; DF is set (IP_PMTUDISC_PROBE,
//! but IP_PMTUDISC_INTERFACE for a message without DF), whatever ICMP the kernel itself believes: path MTUs are ours to
//! learn. The UDP checksum is not zero: UDP_SEGMENT wants one, and RFC 9300, section 5.3, lets an ITR send one that is right.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rand::RngExt as _;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use wire::data::{LispHeader, OuterHeader, TrafficClass, UdpHeader, overhead};

use super::ancillary::{Control, QUOTED_LENGTH, receive, set_option, with_option};
use super::data_socket::{ERRORS_AT_A_TIME, FILTER_RETURN, Heard, TRIES_AMONG_REPORTS};
use super::device::{GroupSockets, SendError, TooBig};
use super::fixed_ports::FixedPorts;
use super::lent_errors::Said;
use super::send_many::{AT_A_TIME, send_many};
use super::ungrouped::Ungrouped;
use crate::limits;
use crate::offload::Message;
use crate::offload::batch::MOST_SEGMENTS;

/// Source ports of one RLOC: enough for the queues of a network card and for the ways of the underlay between two sites.
const PORTS: usize = 16;
/// The dynamic ports, which the sockets share evenly.
pub(super) const FIRST_PORT: u16 = 49_152;
const PORTS_EACH: u16 = 1024;
/// Octets on their way through the kernel from one socket: some dozens of the largest groups.
const SEND_BUFFER: usize = 4 * 1024 * 1024;

/// The sockets of all our RLOCs. Those of one are opened when the first packet leaves from it.
#[derive(Debug)]
pub struct PortPool {
    rlocs: Vec<IpAddr>,
    sockets: Vec<PortSocket>,
    /// Socket and message, while messages are put in order.
    order: Vec<(usize, usize)>,
    reports: VecDeque<TooBig>,
    unreachable: VecDeque<Vec<u8>>,
    /// The kernel knows UDP_SEGMENT.
    has_segmentation: bool,
    ungrouped: Ungrouped,
    has_flow_label: bool,
    /// The sockets that others receive on.
    lent: FixedPorts,
    /// How often these have found reports about packets of ours, as far as it is known here.
    known_of_lent: usize,
}

#[derive(Debug)]
struct PortSocket {
    rloc: IpAddr,
    port: u16,
    /// Somebody else's, who receives on it.
    is_lent: bool,
    socket: Socket,
}

/// What to do about a message that the kernel did not take.
enum After {
    Again,
    /// Again, and if that helps no flow labels any more.
    WithoutLabel,
    GiveUp(SendError),
}

/// What was tried about a message already.
#[derive(Debug, Clone, Copy, Default)]
struct Tried {
    again: usize,
    /// Once.
    without_label: bool,
}

impl PortPool {
    /// A pool for these RLOCs.
    ///
    /// # Errors
    /// The kernel has no UDP sockets for us.
    pub fn open(rlocs: &[IpAddr]) -> io::Result<Self> {
        let probe = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        let has_segmentation = set_option(&probe, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        Ok(Self {
            rlocs: rlocs.to_vec(),
            sockets: Vec::new(),
            order: Vec::new(),
            reports: VecDeque::new(),
            unreachable: VecDeque::new(),
            has_segmentation,
            ungrouped: Ungrouped::default(),
            has_flow_label: true,
            lent: FixedPorts::default(),
            known_of_lent: 0,
        })
    }

    /// Sends from ports 4341 and 4342 with these.
    pub(super) fn borrow_from(&mut self, ports: &FixedPorts) {
        self.lent = ports.clone();
    }

    /// Whether the kernel cuts groups into packets.
    pub fn has_segmentation(&self) -> bool {
        self.has_segmentation
    }

    /// Whether the kernel takes flow labels from us, as far as is known.
    pub fn has_flow_label(&self) -> bool {
        self.has_flow_label
    }

    /// What to wait on: errors, and nothing else.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().filter(|socket| !socket.is_lent).map(|socket| socket.socket.as_fd())
    }

    /// The socket for a flow.
    fn socket(&mut self, outer: &OuterHeader) -> Result<usize, SendError> {
        if outer.source.is_ipv4() != outer.destination.is_ipv4() {
            return Err(SendError::NoHeader);
        }
        if outer.source_port < FIRST_PORT {
            return self.lent_socket(SocketAddr::new(outer.source, outer.source_port));
        }
        let is_first = |socket: &PortSocket| socket.rloc == outer.source && !socket.is_lent;
        let first = match self.sockets.iter().position(is_first) {
            Some(first) => first,
            None => self.open_sockets(outer.source)?,
        };
        Ok(first + usize::from(outer.source_port) % PORTS)
    }

    /// A socket that somebody else receives on.
    fn lent_socket(&mut self, from: SocketAddr) -> Result<usize, SendError> {
        let is_it = |socket: &PortSocket| socket.is_lent && SocketAddr::new(socket.rloc, socket.port) == from;
        if let Some(found) = self.sockets.iter().rposition(is_it) {
            return Ok(found);
        }
        let socket = self.lent.borrow(from)?;
        let buffer = libc::c_int::try_from(SEND_BUFFER).unwrap_or(libc::c_int::MAX);
        // Without the capability what everybody has must do.
        let _ = set_option(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, buffer);
        if from.port() == wire::DATA_PORT {
            // Both threads read them. Without that nothing would be said of what the queue of the interface drops, either.
            let (level, errors) = match from {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
            };
            set_option(&socket, level, errors, 1)?;
        }
        self.sockets.push(PortSocket { rloc: from.ip(), port: from.port(), is_lent: true, socket });
        Ok(self.sockets.len() - 1)
    }

    /// The first of the sockets of an RLOC, all of them opened.
    fn open_sockets(&mut self, rloc: IpAddr) -> io::Result<usize> {
        if !self.rlocs.contains(&rloc) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let first = self.sockets.len();
        for index in 0..PORTS {
            match open_socket(rloc, index) {
                Ok(socket) => self.sockets.push(socket),
                Err(error) => {
                    self.sockets.truncate(first);
                    return Err(error);
                }
            }
        }
        Ok(first)
    }

    fn send_on(
        &mut self,
        socket: usize,
        chosen: &[(usize, usize)],
        messages: &[Message<'_>],
        failures: &mut Vec<(usize, SendError)>,
    ) {
        let (mut done, mut tried) = (0, Tried::default());
        while let Some((_, first)) = chosen.get(done) {
            // What is tried in another way goes alone: that it leaves says nothing about the others.
            let most = if tried.without_label { 1 } else { AT_A_TIME };
            let rest = &chosen[done..(done + most).min(chosen.len())];
            match self.sockets[socket].send(rest, messages, self.has_flow_label && !tried.without_label) {
                Ok(sent) => {
                    self.prove(&messages[*first], tried);
                    (done, tried) = (done + sent.max(1), Tried::default());
                }
                Err(error) => match self.after(socket, &messages[*first], tried, error) {
                    After::Again => tried.again += 1,
                    After::WithoutLabel => tried.without_label = true,
                    After::GiveUp(error) => {
                        failures.push((*first, error));
                        (done, tried) = (done + 1, Tried::default());
                    }
                },
            }
        }
    }

    fn after(&mut self, socket: usize, message: &Message<'_>, tried: Tried, error: io::Error) -> After {
        let heard = self.read_errors_of(socket);
        let length = message.size - LispHeader::LENGTH + overhead(message.outer.destination);
        match (error.raw_os_error(), heard.refused) {
            (Some(libc::EMSGSIZE), Some(mtu)) if mtu < length => After::GiveUp(SendError::TooBig(mtu)),
            (Some(libc::EAGAIN | libc::ENOBUFS), _) => After::GiveUp(error.into()),
            (Some(libc::EIO), _) if message.count > 1 => {
                self.ungrouped.on_refused(message.outer.destination);
                After::GiveUp(error.into())
            }
            // Of a group, older kernels say so too where it is too long for the MTU.
            (Some(libc::EINVAL), _) if message.count > 1 => After::GiveUp(error.into()),
            // Of a label that we may not use; but a route that leads nowhere says so too.
            (Some(libc::EINVAL), _)
                if self.has_flow_label && !tried.without_label && message.outer.destination.is_ipv6() =>
            {
                After::WithoutLabel
            }
            // No error of an earlier packet is this.
            (Some(libc::EINVAL), _) => After::GiveUp(error.into()),
            // A socket says the error of an earlier packet, to whomever, once, in the place of sending this one. That of a
            // router that found it too big has left nothing in the queue of our own.
            _ if tried.again < if heard.is_of_earlier(&error) { TRIES_AMONG_REPORTS } else { 1 } => After::Again,
            _ => After::GiveUp(error.into()),
        }
    }

    /// Learns from a message that the kernel took what it does not take.
    fn prove(&mut self, message: &Message<'_>, tried: Tried) {
        if tried.without_label && self.has_flow_label {
            tracing::warn!(
                "the kernel takes no flow labels from us (another program has one for itself): it chooses them"
            );
            self.has_flow_label = false;
        }
        let locator = message.outer.destination;
        if message.count == 1 && self.ungrouped.on_taken(locator) {
            tracing::warn!(%locator, "the kernel takes no groups of packets to it: they are sent one by one for a while");
        }
    }

    /// Reads an error queue: reports of routers are kept.
    fn read_errors_of(&mut self, index: usize) -> Heard {
        let socket = &self.sockets[index];
        if socket.is_lent && socket.port != wire::DATA_PORT {
            // Control, which receives on it, reads them.
            return Heard::default();
        }
        let (mut said, is_lent) = (Vec::new(), socket.is_lent);
        let mut heard = read_errors_of(&socket.socket, SocketAddr::new(socket.rloc, socket.port), |one| said.push(one));
        said.into_iter().for_each(|one| self.keep(one));
        heard.reports |= is_lent && self.hear_of_lent();
        heard
    }

    /// Takes what the thread that receives on the data port has read of packets of ours. Whether there was anything.
    fn hear_of_lent(&mut self) -> bool {
        let said = self.lent.errors().take(&mut self.known_of_lent);
        let has_found = said.is_some();
        said.into_iter().flatten().for_each(|one| self.keep(one));
        has_found
    }

    fn keep(&mut self, said: Said) {
        match said {
            Said::TooBig(report) if self.reports.len() < limits::BATCH => self.reports.push_back(report),
            Said::Unreachable(quoted) if self.unreachable.len() < limits::BATCH => self.unreachable.push_back(quoted),
            Said::TooBig(_) | Said::Unreachable(_) => {}
        }
    }
}

/// Reads the error queue of a socket that is bound to `local`; `tell` hears what routers say.
pub(super) fn read_errors_of(socket: &Socket, local: SocketAddr, mut tell: impl FnMut(Said)) -> Heard {
    let (mut octets, mut control) = ([0; QUOTED_LENGTH], Control::EMPTY);
    let mut heard = Heard::default();
    // What a flood of ICMP leaves in the queue wakes us again.
    for _ in 0..ERRORS_AT_A_TIME {
        let Ok(received) = receive(socket.as_fd(), &mut octets, &mut control, libc::MSG_ERRQUEUE) else { break };
        let Some(error) = received.extended_error() else { continue };
        let is_ours = error.origin == libc::SO_EE_ORIGIN_LOCAL;
        heard.reports |= !is_ours;
        let is_too_big = error.errno == libc::EMSGSIZE.unsigned_abs();
        let mtu = usize::try_from(error.info).unwrap_or(usize::MAX);
        if is_ours {
            heard.refused = if is_too_big { Some(mtu) } else { heard.refused };
            continue;
        }
        if !(is_too_big || error.is_unreachable()) {
            continue;
        }
        let payload = octets.get(..received.length).unwrap_or_default();
        if let Some(quoted) = received.from.and_then(|from| quoted(local, from, payload)) {
            tell(if is_too_big { Said::TooBig(TooBig { quoted, mtu }) } else { Said::Unreachable(quoted) });
        }
    }
    // An error that the queue had no room for would wake up poll(2) for ever.
    let _ = socket.take_error();
    heard
}

impl PortSocket {
    /// Sends the first of the chosen messages, with all of them that follow and have the same DF, as far as the kernel takes them.
    fn send(&self, chosen: &[(usize, usize)], messages: &[Message<'_>], with_flow_label: bool) -> io::Result<usize> {
        let has_df = |(_, message): &(usize, usize)| messages[*message].outer.dont_fragment;
        let dont_fragment = chosen.first().is_none_or(has_df);
        let alike = chosen.iter().position(|message| has_df(message) != dont_fragment).unwrap_or(chosen.len());
        let send = || {
            let first = chosen[..alike].iter().map(|(_, message)| &messages[*message]);
            send_many(self.socket.as_fd(), first, with_flow_label)
        };
        if dont_fragment || self.is_lent {
            // What is lent is as its owner wants it.
            return send();
        }
        // No DF, and no fragments of our own: the kernel refuses what the interface does not take, as a raw socket does (ip(7)).
        with_option(&self.socket, (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_INTERFACE, send)
    }
}

/// The range in which the socket for a flow with this source port has its own.
pub(super) fn range_of(source_port: u16) -> (u16, u16) {
    let first = first_port(usize::from(source_port));
    (first, first + (PORTS_EACH - 1))
}

fn first_port(index: usize) -> u16 {
    FIRST_PORT + PORTS_EACH * u16::try_from(index % PORTS).unwrap_or_default()
}

impl GroupSockets for PortPool {
    fn longest_group(&self) -> usize {
        if self.has_segmentation && !self.ungrouped.is_full() { MOST_SEGMENTS } else { 1 }
    }

    fn ungrouped(&mut self, now: Instant) -> &[IpAddr] {
        self.ungrouped.known(now)
    }

    fn send(&mut self, messages: &[Message<'_>], failures: &mut Vec<(usize, SendError)>) {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        for (index, message) in messages.iter().enumerate() {
            match self.socket(message.outer) {
                Ok(socket) => order.push((socket, index)),
                Err(error) => failures.push((index, error)),
            }
        }
        // By socket; the messages of each stay in their order.
        order.sort_unstable();
        for chosen in order.chunk_by(|a, b| a.0 == b.0) {
            self.send_on(chosen[0].0, chosen, messages, failures);
        }
        self.order = order;
    }

    fn read_errors(&mut self) {
        for index in 0..self.sockets.len() {
            self.read_errors_of(index);
        }
    }

    fn report(&mut self) -> Option<TooBig> {
        self.hear_of_lent();
        self.reports.pop_front()
    }

    fn unreachable(&mut self) -> Option<Vec<u8>> {
        self.unreachable.pop_front()
    }

    fn set_rlocs(&mut self, rlocs: &[IpAddr]) {
        // What is lent may have been opened anew.
        self.sockets.retain(|socket| rlocs.contains(&socket.rloc) && !socket.is_lent);
        self.rlocs = rlocs.to_vec();
        // Other interfaces and routes may take what the old ones did not.
        self.ungrouped = Ungrouped::default();
        self.has_flow_label = true;
    }
}

/// The start of the outer packet that an ICMP error is about: the socket tells addresses and ports, and the UDP payload as far as
/// it was quoted. We send to port 4341 only: what is about another is made up.
fn quoted(local: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    if destination.port() != wire::DATA_PORT {
        return None;
    }
    let header = OuterHeader {
        source: local.ip(),
        destination: destination.ip(),
        source_port: local.port(),
        destination_port: destination.port(),
        ttl: 0,
        class: TrafficClass::default(),
        flow_label: 0,
        dont_fragment: true,
        lisp: [0; LispHeader::LENGTH],
    };
    let mut buffer = [0; OuterHeader::LONGEST];
    let whole = header.emit(0, &mut buffer)?;
    let (without_lisp, _) = whole.split_at(whole.len() - LispHeader::LENGTH);
    debug_assert!(without_lisp.len() > UdpHeader::LENGTH);
    // ICMPv4 need not quote more than the UDP header.
    let lisp = payload.get(..LispHeader::LENGTH).unwrap_or_default();
    Some([without_lisp, lisp].concat())
}

fn open_socket(rloc: IpAddr, index: usize) -> io::Result<PortSocket> {
    let socket = Socket::new(Domain::for_address(SocketAddr::new(rloc, 0)), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Nobody has anything to say to these ports: a program of one instruction refuses it all.
    socket.attach_filter(&[SockFilter::new(FILTER_RETURN, 0, 0, 0)])?;
    let buffer = libc::c_int::try_from(SEND_BUFFER).unwrap_or(libc::c_int::MAX);
    if set_option(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, buffer).is_err() {
        socket.set_send_buffer_size(SEND_BUFFER)?;
    }
    if rloc.is_ipv4() {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    } else {
        socket.set_only_v6(true)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
    }
    let first = first_port(index);
    let offset = rand::rng().random_range(0..PORTS_EACH);
    let ports = (0..PORTS_EACH).map(|step| first + (offset + step) % PORTS_EACH);
    for port in ports {
        match socket.bind(&SocketAddr::new(rloc, port).into()) {
            Ok(()) => return Ok(PortSocket { rloc, port, is_lent: false, socket }),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::UdpSocket;

    /// The control half looks for what routers say about its probes there.
    #[test]
    fn the_errors_of_what_is_lent_are_left_to_who_lends_it() {
        let [lent, closed] = [3, 4].map(|host| UdpSocket::bind(format!("127.43.42.{host}:0")).unwrap());
        let (from, to) = (lent.local_addr().unwrap(), closed.local_addr().unwrap());
        let lent = Socket::from(lent);
        set_option(&lent, libc::IPPROTO_IP, libc::IP_RECVERR, 1).unwrap();
        let ports = FixedPorts::default();
        ports.lend(from.port(), [(from.ip(), lent.as_fd())].into_iter());
        let mut pool = PortPool::open(&[from.ip()]).unwrap();
        pool.borrow_from(&ports);
        pool.lent_socket(from).unwrap();
        drop(closed);
        lent.send_to(&[0], &to.into()).unwrap();
        pool.read_errors();
        let (mut octets, mut control) = ([0; QUOTED_LENGTH], Control::EMPTY);
        let received = receive(lent.as_fd(), &mut octets, &mut control, libc::MSG_ERRQUEUE).unwrap();
        assert_eq!((received.from, received.length), (Some(to), 1));
    }
}
