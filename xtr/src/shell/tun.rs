// SPDX-License-Identifier: GPL-2.0-or-later
//! The TUN device: one packet a read, or super-packets behind vnet headers.
#![allow(unsafe_code, reason = "the device is made by ioctls, which no safe call covers")]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use super::device::{SiteDevice, SuperDevice};
use crate::offload::VnetHeader;

const DEVICE: &str = "/dev/net/tun";
/// What may be left to us with a vnet header: checksums, and the cutting of TCP.
const OFFLOAD_TCP: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
/// And of UDP (Linux 6.2): TUN_F_USO4 and TUN_F_USO6.
const OFFLOAD_UDP: libc::c_uint = 0x20 | 0x40;
/// Packets that wait for us in the kernel. There is no other back-pressure: what is beyond is lost.
const QUEUE_LENGTH: libc::c_int = 1000;

/// Why there is no TUN device, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The kernel offers none.
    #[error("{DEVICE} is missing: load the module with `modprobe tun`, or give the container --device {DEVICE}")]
    Missing,
    /// We may not open what makes them.
    #[error(
        "no permission to open {DEVICE}: give it mode 0666, as udev does (a capability is needed all the same), or run as root"
    )]
    Closed,
    /// We may not.
    #[error(
        "no permission for TUN device {0}: run as root, or give the program CAP_NET_ADMIN (`setcap cap_net_admin+ep`)"
    )]
    Permission(String),
    /// It belongs to somebody else.
    #[error("TUN device {0} is in use by another program: stop it, or choose another name with --tun")]
    Busy(String),
    /// Not a name of an interface.
    #[error("{0:?} is no name for a network interface: 1 to 15 octets, without '/', ':' and blanks")]
    Name(String),
    /// It exists and is no TUN device, or one with several queues.
    #[error(
        "an interface {0} exists that is no TUN device, or one with several queues (`multi_queue`): choose another name with --tun, or make it without"
    )]
    OtherKind(String),
    /// It puts no vnet header in front of packets.
    #[error("the kernel gives TUN device {0} no vnet headers: {1}")]
    VnetHeader(String, #[source] io::Error),
    /// Anything else.
    #[error("TUN device {0}: {1}")]
    Other(String, #[source] io::Error),
}

/// A TUN device. It is gone when this is dropped, unless it was made persistent by others.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
}

impl Tun {
    /// Makes the device, or attaches to one that waits. It is down and has the kernel's default MTU.
    ///
    /// # Errors
    /// What the machine lacks, and what to do.
    pub fn open(name: &str) -> Result<Self, TunError> {
        // IFF_NO_PI: nothing in front of the packet.
        let tun = Self::open_with(name, libc::IFF_TUN | libc::IFF_NO_PI)?;
        // A device that others have made keeps what was left to the last who had it, and without a vnet header nobody could tell. A kernel that
        // does not know the call leaves nothing to us.
        tun.offload(0);
        Ok(tun)
    }

    /// Makes the device as [`Self::open`] does, but with a vnet header in front of each packet, and says how much the kernel leaves
    /// to us.
    ///
    /// # Errors
    /// What the machine lacks, and what to do.
    pub fn open_offloaded(name: &str) -> Result<(Self, Offload), TunError> {
        let tun = Self::open_with(name, libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR)?;
        let length = libc::c_int::try_from(VnetHeader::LENGTH).unwrap_or_default();
        // SAFETY: TUNSETVNETHDRSZ reads one int, and `length` is one that outlives the call.
        let result = unsafe { libc::ioctl(tun.file.as_raw_fd(), libc::TUNSETVNETHDRSZ, std::ptr::from_ref(&length)) };
        if result != 0 {
            return Err(TunError::VnetHeader(name.to_owned(), io::Error::last_os_error()));
        }
        let offload = if tun.offload(OFFLOAD_TCP | OFFLOAD_UDP) {
            Offload { tcp: true, udp: true }
        } else {
            Offload { tcp: tun.offload(OFFLOAD_TCP), udp: false }
        };
        Ok((tun, offload))
    }

    /// The device for one of two threads: what it reads and writes.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn super_tun(&self) -> Result<SuperTun, TunError> {
        self.file.try_clone().map(SuperTun).map_err(|error| explain(&self.name, error))
    }

    /// Lets so many packets wait for us in the kernel that a burst finds room.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lengthen_queue(&self) -> Result<(), TunError> {
        let explained = |error| explain(&self.name, error);
        let socket = control_socket().map_err(explained)?;
        let mut request = request(&self.name)?;
        request.ifr_ifru.ifru_metric = QUEUE_LENGTH;
        ioctl(socket.as_fd(), libc::SIOCSIFTXQLEN, &mut request).map_err(explained)
    }

    fn open_with(name: &str, flags: libc::c_int) -> Result<Self, TunError> {
        let mut request = request(name)?;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE);
        let file = opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound => TunError::Missing,
            ErrorKind::PermissionDenied => TunError::Closed,
            _ => explain(name, error),
        })?;
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or_default();
        ioctl(file.as_fd(), libc::TUNSETIFF, &mut request).map_err(|error| explain(name, error))?;
        Ok(Self { file, name: name.to_owned() })
    }

    /// Whether the kernel leaves these to us.
    fn offload(&self, features: libc::c_uint) -> bool {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) };
        result == 0
    }

    /// Name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets the MTU, in octets, and brings the interface up: before that the kernel takes no packet from us.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bring_up(&self, mtu: u16) -> Result<(), TunError> {
        let explained = |error| explain(&self.name, error);
        let socket = control_socket().map_err(explained)?;
        let mut request = request(&self.name)?;
        request.ifr_ifru.ifru_mtu = mtu.into();
        ioctl(socket.as_fd(), libc::SIOCSIFMTU, &mut request).map_err(explained)?;
        ioctl(socket.as_fd(), libc::SIOCGIFFLAGS, &mut request).map_err(explained)?;
        let up = libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
        // SAFETY: SIOCGIFFLAGS has just filled this member of the union, and any bits are a value of it.
        request.ifr_ifru.ifru_flags = unsafe { request.ifr_ifru.ifru_flags } | up;
        ioctl(socket.as_fd(), libc::SIOCSIFFLAGS, &mut request).map_err(explained)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl SiteDevice for Tun {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.file.read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        self.file.write(packet).map(drop)
    }
}

/// What the kernel leaves to who reads from the device, and takes in the same form from who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offload {
    /// Cutting TCP into segments, and all checksums.
    pub tcp: bool,
    /// Cutting UDP into datagrams.
    pub udp: bool,
}

/// The device as one thread has it: packets behind vnet headers.
#[derive(Debug)]
pub struct SuperTun(File);

impl AsFd for SuperTun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl SuperDevice for SuperTun {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.0.write_vectored(parts).map(drop)
    }
}

fn request(name: &str) -> Result<libc::ifreq, TunError> {
    let forbidden = |octet: u8| octet == b'/' || octet == b':' || octet.is_ascii_whitespace() || octet == 0;
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(forbidden) || name == "." || name == ".." {
        return Err(TunError::Name(name.to_owned()));
    }
    // SAFETY: ifreq is plain data, for which all zero octets are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

fn explain(name: &str, error: io::Error) -> TunError {
    let name = name.to_owned();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TunError::Permission(name),
        Some(libc::EBUSY) => TunError::Busy(name),
        Some(libc::EINVAL) => TunError::OtherKind(name),
        Some(libc::ENXIO | libc::ENODEV) => TunError::Missing,
        _ => TunError::Other(name, error),
    }
}

fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket() takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn ioctl(fd: BorrowedFd<'_>, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the calls made here (TUNSETIFF, SIOC[GS]IF*) read and write one ifreq, which the reference guarantees.
    match unsafe { libc::ioctl(fd.as_raw_fd(), number, std::ptr::from_mut(request)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_that_no_interface_can_have_are_refused() {
        for name in ["", "a-name-of-16-oct", "a/b", "a b", ".."] {
            assert!(matches!(Tun::open(name), Err(TunError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let text = |errno| explain("lisp0", io::Error::from_raw_os_error(errno)).to_string();
        assert!(text(libc::EPERM).contains("CAP_NET_ADMIN"));
        assert!(text(libc::EBUSY).contains("--tun"));
        assert!(text(libc::ENODEV).contains("modprobe tun"));
        assert!(text(libc::EINVAL).contains("multi_queue"));
    }
}
