// SPDX-License-Identifier: GPL-2.0-or-later
//! sendmmsg(2) with what goes beside the octets: TTL, traffic class, flow label and the size of segments.
#![allow(unsafe_code, reason = "sendmmsg(2), which the standard library does not have")]

use std::io::{self, IoSlice};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::{MsgHdr, SockAddr, Socket};

use crate::offload::Message;

/// Messages of one sendmmsg(2).
pub(super) const AT_A_TIME: usize = 32;
/// Octets of ancillary data: four values, each with its header.
const CONTROL_LENGTH: usize = 128;
/// Socket option of ipv6(7) whose ancillary data is a flow label; libc does not have it.
const IPV6_FLOWINFO: libc::c_int = 11;

/// Ancillary data, which begins where a cmsghdr may lie.
#[repr(C, align(8))]
struct Control {
    octets: [u8; CONTROL_LENGTH],
    length: usize,
}

impl Control {
    const EMPTY: Self = Self { octets: [0; CONTROL_LENGTH], length: 0 };

    /// TTL, DSCP and ECN of the outer header, and how the kernel is to cut the message.
    fn write(&mut self, message: &Message<'_>, with_flow_label: bool) {
        let outer = message.outer;
        let (ttl, class) = (libc::c_int::from(outer.ttl), libc::c_int::from(outer.class.0));
        match outer.destination {
            IpAddr::V4(_) => {
                self.push(libc::IPPROTO_IP, libc::IP_TTL, &ttl.to_ne_bytes());
                self.push(libc::IPPROTO_IP, libc::IP_TOS, &class.to_ne_bytes());
            }
            IpAddr::V6(_) => {
                self.push(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &ttl.to_ne_bytes());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class.to_ne_bytes());
                if with_flow_label {
                    self.push(libc::IPPROTO_IPV6, IPV6_FLOWINFO, &outer.flow_label.to_be_bytes());
                }
            }
        }
        if message.count > 1 {
            let size = u16::try_from(message.size).unwrap_or(u16::MAX);
            self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
        }
    }

    /// By which of our addresses the kernel is to choose the route (ip(7), ipv6(7): in_pktinfo and in6_pktinfo, with no interface).
    fn write_source(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(source) => {
                let info = [[0; 4], source.octets(), [0; 4]].concat();
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(source) => {
                let info = [&source.octets()[..], &[0; 4]].concat();
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    /// Appends one control message (cmsg(3)).
    fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        const HEADER: usize = mem::size_of::<libc::cmsghdr>();
        const KIND: usize = mem::size_of::<usize>();
        let whole = &mut self.octets[self.length..];
        whole[..KIND].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        whole[KIND..][..4].copy_from_slice(&level.to_ne_bytes());
        whole[KIND + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
        whole[HEADER..][..data.len()].copy_from_slice(data);
        self.length += (HEADER + data.len()).next_multiple_of(mem::align_of::<libc::cmsghdr>());
    }
}

/// Sends one packet on a raw socket by the route for what comes from `source`: of the header that is in the packet the kernel looks at
/// the destination only.
///
/// # Errors
/// What the kernel says.
pub(super) fn send_from(
    socket: &Socket,
    source: IpAddr,
    destination: &SockAddr,
    parts: &[IoSlice<'_>],
) -> io::Result<usize> {
    let mut control = Control::EMPTY;
    control.write_source(source);
    let control = &control.octets[..control.length];
    socket.sendmsg(&MsgHdr::new().with_addr(destination).with_buffers(parts).with_control(control), 0)
}

/// Whether the kernel has sendmmsg(2), and lets us use it: a sandbox may not.
///
/// # Errors
/// What the kernel says instead.
pub(super) fn probe_sending(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: of no messages the kernel looks at none.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), std::ptr::null_mut(), 0, libc::MSG_DONTWAIT as _) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends the first of these messages that the kernel takes, 32 at most. How many it took, one at least.
///
/// # Errors
/// What the kernel says about the first of them.
pub(super) fn send_many<'m>(
    fd: BorrowedFd<'_>,
    messages: impl ExactSizeIterator<Item = &'m Message<'m>>,
    with_flow_label: bool,
) -> io::Result<usize> {
    // A packet that comes alone finds the cache cold: it is to touch no memory that others need.
    if messages.len() == 1 {
        send_up_to::<1>(fd, messages, with_flow_label)
    } else {
        send_up_to::<AT_A_TIME>(fd, messages, with_flow_label)
    }
}

fn send_up_to<'m, const MOST: usize>(
    fd: BorrowedFd<'_>,
    messages: impl Iterator<Item = &'m Message<'m>>,
    with_flow_label: bool,
) -> io::Result<usize> {
    let mut controls = [const { Control::EMPTY }; MOST];
    let mut names = [const { None::<SockAddr> }; MOST];
    // SAFETY: mmsghdr is plain data, for which all zero octets are a value.
    let mut headers: [libc::mmsghdr; MOST] = unsafe { mem::zeroed() };
    let mut count = 0;
    let places = headers.iter_mut().zip(&mut controls).zip(&mut names);
    for (message, ((header, control), name)) in messages.zip(places) {
        control.write(message, with_flow_label);
        let name =
            name.insert(SockAddr::from(SocketAddr::new(message.outer.destination, message.outer.destination_port)));
        header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = name.len();
        header.msg_hdr.msg_iov = message.parts.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_iovlen = message.parts.len();
        header.msg_hdr.msg_control = control.octets.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = control.length;
        count += 1;
    }
    // SAFETY: each of the first `count` headers points to a name, a control buffer and parts of the lengths beside them, which
    // outlive the call. An IoSlice is an iovec, as the standard library promises for Unix. The kernel writes to `msg_len` only.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
