// SPDX-License-Identifier: GPL-2.0-or-later
//! The least that carries packets from one site to the other through a TUN device: of each packet one read and one send, on a socket that
//! is connected, and nothing of it is looked at. It is no router.
//!
//! What it reaches is what the machine leaves to whoever moves one packet a system call, and the time that it adds is that of the kernel
//! on the way and of waking two programs: what tier 0 is to be compared with.
#![allow(unsafe_code, reason = "the device is made by an ioctl, and poll(2) has no safe wrapper here")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::lab::topology::Route;
use crate::lab::{LabError, Namespace, netlink};

/// Name of the device.
const TUN: &str = "bare0";
/// Octets in front of an inner packet, as many as LISP has (RFC 9300, section 5.3); all zero.
const HEADER: usize = 8;
/// Octets of the longest packet.
const LONGEST_PACKET: usize = 65_535;
/// Packets of one side before the other has its turn.
const BATCH: usize = 64;
/// How often it looks whether it is to end, milliseconds.
const NAP: libc::c_int = 50;

/// One end of the tunnel. It is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Bare {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Where an end is.
#[derive(Debug)]
pub(super) struct End {
    /// The locator of this end.
    pub(super) local: IpAddr,
    /// That of the other.
    pub(super) remote: IpAddr,
    /// What is behind the other.
    pub(super) prefixes: [&'static str; 2],
    /// Octets of the longest inner packet.
    pub(super) mtu: u16,
}

impl Bare {
    /// Starts an end in a namespace.
    ///
    /// # Errors
    /// When the device, the socket or a route is refused.
    pub(super) fn start(namespace: &Namespace, end: &End) -> anyhow::Result<Self> {
        let (local, remote) = (end.local, end.remote);
        let (tun, socket) = namespace.run(move || Ok::<_, io::Error>((open()?, connect(local, remote)?)))??;
        netlink::set_mtu(namespace, TUN, end.mtu)?;
        netlink::up(namespace, TUN)?;
        for prefix in end.prefixes {
            let to = prefix.parse()?;
            netlink::route(namespace, &Route { to, via: None, port: TUN.into() })?;
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = Some(namespace.start(move || forward(tun, &socket, &until))?);
        Ok(Self { is_over, thread })
    }

    /// Fails when it has ended.
    pub(super) fn check(&self) -> Result<(), LabError> {
        match &self.thread {
            Some(thread) if !thread.is_finished() => Ok(()),
            _ => Err(LabError::failed(TUN, "carrying packets", io::Error::other("it has ended"))),
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it says was noticed by `check`.
            let _ = thread.join();
        }
    }
}

fn open() -> io::Result<File> {
    let tun = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(TUN.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap_or_default();
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: TUNSETIFF reads and writes one ifreq, which the reference leads to; its name is ended by zero.
    match unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(tun),
        _ => Err(io::Error::last_os_error()),
    }
}

fn connect(local: IpAddr, remote: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((local, wire::DATA_PORT))?;
    socket.connect((remote, wire::DATA_PORT))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn forward(mut tun: File, socket: &UdpSocket, is_over: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; HEADER + LONGEST_PACKET];
    while !is_over.load(Ordering::Relaxed) {
        wait(&tun, socket)?;
        for _ in 0..BATCH {
            let Ok(length) = socket.recv(&mut buffer) else { break };
            // What the kernel does not take is lost, here and below.
            let _ = tun.write(buffer[..length].get(HEADER..).unwrap_or_default());
        }
        for _ in 0..BATCH {
            let Ok(length) = tun.read(&mut buffer[HEADER..]) else { break };
            buffer[..HEADER].fill(0);
            let _ = socket.send(&buffer[..HEADER + length]);
        }
    }
    Ok(())
}

fn wait(tun: &File, socket: &UdpSocket) -> io::Result<()> {
    let mut entries =
        [tun.as_raw_fd(), socket.as_raw_fd()].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: there are two pollfds, which nobody else touches during the call.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), 2, NAP) };
    match io::Error::last_os_error() {
        error if ready < 0 && error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}
