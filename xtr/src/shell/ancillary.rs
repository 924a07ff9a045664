// SPDX-License-Identifier: GPL-2.0-or-later
//! recvmsg(2) with what comes beside the octets: TTL, traffic class, errors of earlier packets.
#![allow(unsafe_code, reason = "ancillary data, which the standard library does not have")]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::Socket;
use wire::data::TrafficClass;

/// Octets of ancillary data: a few values, each with its header, or one error with an address.
const CONTROL_LENGTH: usize = 256;
/// Octets of a quoted packet that matter: the longest outer IP header with options, UDP and LISP.
pub(super) const QUOTED_LENGTH: usize = 128;

pub(super) fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(mem::size_of_val(&value)).unwrap_or_default();
    // SAFETY: the options used here are one int, and `value` is one that outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(&value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option of one int.
pub(super) fn option(socket: &Socket, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&value)).unwrap_or_default();
    // SAFETY: `value` is of `length` octets, both outlive the call, and an option used here writes one int at most.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, std::ptr::from_mut(&mut value).cast(), &raw mut length)
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams that a socket has dropped so far (SO_MEMINFO, Linux 4.12): for want of room, or of a right checksum. The count wraps.
pub(super) fn drops(socket: &Socket) -> io::Result<u32> {
    /// SK_MEMINFO_DROPS of linux/sock_diag.h, and the words that every kernel with it fills.
    const DROPS: usize = 8;
    let mut words = [0u32; DROPS + 1];
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&words)).unwrap_or_default();
    let (level, name) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
    // SAFETY: `words` is of `length` octets, both outlive the call, and the option writes no more than that.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, words.as_mut_ptr().cast(), &raw mut length) };
    if result == 0 { Ok(words[DROPS]) } else { Err(io::Error::last_os_error()) }
}

/// Calls `send` while this option is otherwise, and leaves it as it was.
pub(super) fn with_option(
    socket: &Socket,
    (level, name): (libc::c_int, libc::c_int),
    value: libc::c_int,
    send: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let before = option(socket, level, name)?;
    set_option(socket, level, name, value)?;
    let sent = send();
    set_option(socket, level, name, before)?;
    sent
}

/// What one recvmsg(2) brought, beside the octets.
#[derive(Debug)]
pub(super) struct Received<'c> {
    pub(super) length: usize,
    pub(super) from: Option<SocketAddr>,
    control: &'c [u8],
}

/// The part of sock_extended_err (ip(7)) that we use.
#[derive(Debug)]
pub(super) struct ExtendedError {
    pub(super) errno: u32,
    pub(super) origin: u8,
    /// The type of the ICMP error.
    pub(super) kind: u8,
    pub(super) info: u32,
}

impl ExtendedError {
    /// Whether it is "destination unreachable" of ICMPv4 (type 3) or ICMPv6 (type 1), and no matter of length. Time exceeded is none:
    /// an inner packet of few hops has it answered on the way, whether the locator is there or not.
    pub(super) fn is_unreachable(&self) -> bool {
        let kinds = [(libc::SO_EE_ORIGIN_ICMP, 3), (libc::SO_EE_ORIGIN_ICMP6, 1)];
        kinds.contains(&(self.origin, self.kind)) && self.errno != libc::EMSGSIZE.unsigned_abs()
    }
}

pub(super) fn receive<'c>(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &'c mut Control,
    flags: libc::c_int,
) -> io::Result<Received<'c>> {
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
    Ok(Received { length, from: socket_address(&name), control: &control.0[..control_length] })
}

/// Ancillary data begins where a cmsghdr may lie.
#[derive(Debug, Clone)]
#[repr(C, align(8))]
pub(super) struct Control([u8; CONTROL_LENGTH]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_LENGTH]);
}

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

impl Received<'_> {
    pub(super) fn ttl(&self) -> Option<u8> {
        self.value(&[(libc::IPPROTO_IP, libc::IP_TTL), (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)])
    }

    pub(super) fn traffic_class(&self) -> Option<TrafficClass> {
        let kinds = [(libc::IPPROTO_IP, libc::IP_TOS), (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)];
        self.value(&kinds).map(TrafficClass)
    }

    pub(super) fn extended_error(&self) -> Option<ExtendedError> {
        let kinds = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
        let data = self.messages().find(|(kind, _)| kinds.contains(kind))?.1;
        let word = |at: usize| Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?));
        Some(ExtendedError { errno: word(0)?, origin: *data.get(4)?, kind: *data.get(5)?, info: word(8)? })
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
        let mut rest = self.control;
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

/// Datagrams of one recvmmsg(2), at most.
pub(super) const PARTS: usize = 64;

/// Whether the kernel has recvmmsg(2), and lets us use it: a sandbox may not.
///
/// # Errors
/// What the kernel says instead.
pub(super) fn probe_receiving(fd: BorrowedFd<'_>) -> io::Result<()> {
    let (messages, timeout) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: of no messages the kernel looks at none, and a timeout need not be given.
    let received = unsafe { libc::recvmmsg(fd.as_raw_fd(), messages, 0, libc::MSG_DONTWAIT as _, timeout) };
    if received < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Where recvmmsg(2) puts what comes beside the octets.
pub(super) struct Inbox {
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        // SAFETY: sockaddr_storage is plain data, for which all zero octets are a value.
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self { names: vec![name; PARTS], controls: vec![Control::EMPTY; PARTS] }
    }

    /// Receives up to `most` datagrams, each into its own of 64 equal parts of `memory`; `take` is told which part, and what came
    /// with it.
    pub(super) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        memory: &mut [u8],
        most: usize,
        mut take: impl FnMut(usize, &Received<'_>),
    ) -> io::Result<usize> {
        let part_length = memory.len() / PARTS;
        // SAFETY: iovec and mmsghdr are plain data, for which all zero octets are a value.
        let (mut parts, mut messages): ([libc::iovec; PARTS], [libc::mmsghdr; PARTS]) = unsafe { mem::zeroed() };
        let memories = memory.chunks_exact_mut(part_length.max(1)).take(most);
        let places = messages.iter_mut().zip(&mut parts).zip(&mut self.names).zip(&mut self.controls);
        let mut ready: libc::c_uint = 0;
        for (octets, (((message, part), name), control)) in memories.zip(places) {
            *part = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
            // What an earlier datagram left there.
            name.ss_family = 0;
            message.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            message.msg_hdr.msg_namelen = libc::socklen_t::try_from(mem::size_of_val(name)).unwrap_or_default();
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = CONTROL_LENGTH;
            ready += 1;
        }
        let none = std::ptr::null_mut();
        // SAFETY: the first `ready` of `messages` point to buffers of the lengths beside them, which do not overlap and outlive
        // the call: parts of `memory`, locals, and what `self` owns.
        let count =
            unsafe { libc::recvmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), ready, libc::MSG_DONTWAIT as _, none) };
        let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
        let came = messages.iter().zip(&self.names).zip(&self.controls).take(count);
        for (index, ((message, name), control)) in came.enumerate() {
            let control = &control.0[..message.msg_hdr.msg_controllen.min(CONTROL_LENGTH)];
            let length = usize::try_from(message.msg_len).unwrap_or_default().min(part_length);
            take(index, &Received { length, from: socket_address(name), control });
        }
        Ok(count)
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Received<'_> {
    /// Octets of each datagram but the last, where the kernel has put several into one (UDP_GRO of udp(7)).
    pub(super) fn segment_size(&self) -> Option<usize> {
        let data = self.messages().find(|(kind, _)| *kind == (libc::SOL_UDP, libc::UDP_GRO))?.1;
        let size = usize::try_from(i32::from_ne_bytes(*data.first_chunk()?)).ok()?;
        (size > 0).then_some(size)
    }
}
