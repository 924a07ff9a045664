// SPDX-License-Identifier: GPL-2.0-or-later
//! A packet socket on one interface.
#![allow(unsafe_code, reason = "addresses and options of packet sockets have no safe form")]

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::limits::CAPTURE_BUFFER;

/// Opens the interface of this name in the namespace of the calling thread: what comes in by it can be received, what is sent
/// leaves by it. A receive ends without a frame after `patience`.
///
/// # Errors
/// What the system says; CAP_NET_RAW is needed.
pub(super) fn open(name: &str, patience: Duration) -> io::Result<Socket> {
    // With protocol 0 nothing is received until it is bound, so that frames of other interfaces do not slip in.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    ignore_outgoing(&socket)?;
    socket.set_read_timeout(Some(patience))?;
    // A smaller buffer than asked for is no reason to fail.
    let _ = socket.set_recv_buffer_size(CAPTURE_BUFFER);
    socket.bind(&address(if_nametoindex(name)?)?)?;
    Ok(socket)
}

fn address(interface: u32) -> io::Result<SockAddr> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be(),
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is larger than a sockaddr_ll and aligned for every address, and a sockaddr_ll is plain data.
    unsafe { std::ptr::from_mut(&mut storage).cast::<libc::sockaddr_ll>().write(address) };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the storage holds an address of AF_PACKET of exactly this length.
    Ok(unsafe { SockAddr::new(storage, length) })
}

/// Without this we would get back what we send.
fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    let yes: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the option takes an int, which outlives the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const yes).cast(),
            length,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
