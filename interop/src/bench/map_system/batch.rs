// SPDX-License-Identifier: GPL-2.0-or-later
//! Many datagrams a system call, when each came by the kernel's word, and the bare calls of the floor.

#![allow(
    unsafe_code,
    reason = "recvmmsg, sendmmsg, sched_setscheduler, and recvfrom and sendto without anything around them"
)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Datagrams in one call.
pub(super) const BATCH: usize = 64;
/// Octets of a datagram that are kept: no answer of the bench is longer.
pub(super) const OCTETS: usize = 512;
/// Octets of the ancillary data that names a source: a cmsghdr and an in_pktinfo, aligned.
const CONTROL: usize = 32;

/// A datagram to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    /// An address of this host.
    pub(super) from: Ipv4Addr,
    /// The UDP payload.
    pub(super) bytes: &'a [u8],
}

/// Ancillary data begins where a cmsghdr may lie.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Sends datagrams to one address, at most [`BATCH`]; how many were taken.
pub(super) fn send(socket: &UdpSocket, to: SocketAddrV4, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut name = raw(to);
    let mut controls = [Control([0; CONTROL]); BATCH];
    // SAFETY: iovec and mmsghdr are plain data, for which all zero octets are a value.
    let (mut parts, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) = unsafe { mem::zeroed() };
    let count = datagrams.len().min(BATCH);
    for (index, datagram) in datagrams.iter().take(BATCH).enumerate() {
        parts[index] =
            libc::iovec { iov_base: datagram.bytes.as_ptr().cast_mut().cast(), iov_len: datagram.bytes.len() };
        let header = &mut headers[index].msg_hdr;
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = length_of::<libc::sockaddr_in>();
        header.msg_iov = &raw mut parts[index];
        header.msg_iovlen = 1;
        header.msg_control = controls[index].0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL;
        name_source(header, datagram.from);
    }
    // SAFETY: the pointers in the first `count` headers are to locals and borrowed octets of the lengths beside them.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), small(count), 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Says in the ancillary data from which address a datagram leaves.
fn name_source(header: &mut libc::msghdr, from: Ipv4Addr) {
    // SAFETY: `msg_control` has room for one cmsghdr with an in_pktinfo, and begins where one may lie.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        (*control).cmsg_level = libc::IPPROTO_IP;
        (*control).cmsg_type = libc::IP_PKTINFO;
        (*control).cmsg_len = libc::CMSG_LEN(length_of::<libc::in_pktinfo>()) as usize;
        let source = libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
        let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: source };
        libc::CMSG_DATA(control).cast::<libc::in_pktinfo>().write_unaligned(info);
    }
}

/// Room for what one call receives.
#[derive(Debug)]
pub(super) struct Incoming {
    octets: Vec<[u8; OCTETS]>,
    came: Vec<(usize, Option<SystemTime>)>,
}

impl Incoming {
    /// Empty.
    pub(super) fn new() -> Self {
        Self { octets: vec![[0; OCTETS]; BATCH], came: Vec::with_capacity(BATCH) }
    }

    /// Waits for a datagram, as long as the socket says, and takes those that are there with it.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.came.clear();
        let mut controls = [Control([0; CONTROL]); BATCH];
        // SAFETY: iovec and mmsghdr are plain data, for which all zero octets are a value.
        let (mut parts, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) = unsafe { mem::zeroed() };
        for (index, octets) in self.octets.iter_mut().enumerate() {
            parts[index] = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: OCTETS };
            headers[index].msg_hdr.msg_iov = &raw mut parts[index];
            headers[index].msg_hdr.msg_iovlen = 1;
            headers[index].msg_hdr.msg_control = controls[index].0.as_mut_ptr().cast();
            headers[index].msg_hdr.msg_controllen = CONTROL;
        }
        let (fd, none) = (socket.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: the pointers in the headers are to octets of ours, of the lengths beside them.
        let count = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), small(BATCH), libc::MSG_WAITFORONE as _, none) };
        let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
        self.came.extend(headers[..count].iter().map(|it| ((it.msg_len as usize).min(OCTETS), stamp(&it.msg_hdr))));
        Ok(())
    }

    /// Whether nothing more was there than what was taken last.
    pub(super) fn has_all(&self) -> bool {
        self.came.len() < BATCH
    }

    /// What came, and when, if the socket was told to say so.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&[u8], Option<SystemTime>)> {
        self.octets.iter().zip(&self.came).map(|(octets, (length, at))| (&octets[..*length], *at))
    }
}

/// Linux turns time stamps on for the first who asks, and does so in a work item of its own: a datagram that comes before has the
/// time at which it is read.
const TURNED_ON: Duration = Duration::from_millis(20);

/// Has the kernel say when each datagram reached a socket, whenever its reader has its turn.
pub(super) fn tell_when(socket: &UdpSocket, wanted: bool) -> io::Result<()> {
    let value = libc::c_int::from(wanted);
    let (name, length) = ((&raw const value).cast(), length_of::<libc::c_int>());
    // SAFETY: the pointer is to a local of the length beside it.
    let told = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, name, length) };
    if told != 0 {
        return Err(io::Error::last_os_error());
    }
    if wanted {
        std::thread::sleep(TURNED_ON);
    }
    Ok(())
}

/// When a datagram came.
fn stamp(header: &libc::msghdr) -> Option<SystemTime> {
    // SAFETY: the kernel has filled in `msg_control`, and `msg_controllen` says how much of it.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    if (first.cmsg_level, first.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    // SAFETY: what follows a header of this type is a timespec.
    let at = unsafe { libc::CMSG_DATA(first).cast::<libc::timespec>().read_unaligned() };
    Some(UNIX_EPOCH + Duration::new(u64::try_from(at.tv_sec).ok()?, u32::try_from(at.tv_nsec).ok()?))
}

/// One recvfrom(2); the sender is left in `from`.
pub(super) fn receive_one(socket: &UdpSocket, buffer: &mut [u8], from: &mut libc::sockaddr_in) -> io::Result<usize> {
    let mut length = length_of::<libc::sockaddr_in>();
    let name = std::ptr::from_mut(from).cast();
    // SAFETY: both pointers are to borrowed values of the lengths beside them.
    let octets = unsafe {
        libc::recvfrom(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0, name, &raw mut length)
    };
    usize::try_from(octets).map_err(|_| io::Error::last_os_error())
}

/// One sendto(2).
pub(super) fn send_one(socket: &UdpSocket, bytes: &[u8], to: &libc::sockaddr_in) -> io::Result<usize> {
    let (name, length) = (std::ptr::from_ref(to).cast(), length_of::<libc::sockaddr_in>());
    // SAFETY: both pointers are to borrowed values of the lengths beside them.
    let octets = unsafe { libc::sendto(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0, name, length) };
    usize::try_from(octets).map_err(|_| io::Error::last_os_error())
}

/// Has the calling thread run only while a processor has nothing else to do (`SCHED_IDLE`).
pub(super) fn only_when_idle() -> io::Result<()> {
    // SAFETY: the structure is plain data, for which all zero octets are a value; priority 0 is the only one of this policy.
    let parameters: libc::sched_param = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a local; 0 is the calling thread.
    let told = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    if told == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An address as the system takes it.
pub(super) fn raw(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn length_of<T>() -> libc::socklen_t {
    small(mem::size_of::<T>())
}

fn small(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn bound() -> (UdpSocket, SocketAddrV4) {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    }

    #[test]
    fn a_batch_arrives_whole_and_from_the_address_that_was_named() {
        let ((sender, _), (receiver, address)) = (bound(), bound());
        let from = Ipv4Addr::new(127, 0, 0, 9);
        let datagrams = [b"one".as_slice(), b"three"].map(|bytes| Outgoing { from, bytes });
        assert_eq!(send(&sender, address, &datagrams).unwrap(), 2);
        let (mut buffer, mut source) = ([0; OCTETS], raw(address));
        assert_eq!(receive_one(&receiver, &mut buffer, &mut source).unwrap(), 3);
        assert_eq!(source.sin_addr.s_addr.to_ne_bytes(), from.octets());
        let mut incoming = Incoming::new();
        incoming.receive(&receiver).unwrap();
        assert_eq!(incoming.datagrams().collect::<Vec<_>>(), [(&b"three"[..], None)]);
    }

    #[test]
    fn the_kernel_says_when_a_datagram_came_however_late_it_is_read() {
        let ((sender, _), (receiver, address)) = (bound(), bound());
        tell_when(&receiver, true).unwrap();
        let mut incoming = Incoming::new();
        let mut told = Vec::new();
        // On a busy machine the kernel may be late to turn them on.
        for _ in 0..50 {
            let before = SystemTime::now();
            sender.send_to(b"one", address).unwrap();
            let after = SystemTime::now();
            std::thread::sleep(Duration::from_millis(20));
            incoming.receive(&receiver).unwrap();
            let at = incoming.datagrams().next().and_then(|(_, at)| at).unwrap();
            assert!(before <= at, "{before:?} {at:?}");
            if at <= after + Duration::from_millis(10) {
                return;
            }
            told.push((before, at, after));
        }
        panic!("each has the time at which it was read: {told:?}");
    }
}
