// SPDX-License-Identifier: GPL-2.0-or-later
//! The end of a cable: IP packets out as octets, whatever they say, and in as they came.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

use interop::lab::Namespace;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use super::inbox::{InPacket, Inbox, MOST};
use super::packet::ends;
use crate::exchange;
use crate::suite::probe::{Fault, broken, missing};

/// EtherTypes of IPv4 and IPv6.
const ETHER_TYPES: [u16; 2] = [0x0800, 0x86dd];
/// Protocol number of raw sockets whose packets are whole.
const WHOLE: i32 = 255;
/// How often a thread that reads looks whether it may end.
const LOOK: Duration = Duration::from_millis(50);
/// Room for packets that no thread has read yet, octets.
const BUFFER: usize = 8 << 20;
/// Longest packet of a cable without offload.
const LONGEST: usize = 65_536;

/// Raw sockets that send whole packets, from any source.
pub(in crate::suite) struct Mouth {
    v4: Socket,
    v6: Socket,
}

impl Mouth {
    fn open() -> std::io::Result<Self> {
        let v4 = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(WHOLE)))?;
        v4.set_header_included_v4(true)?;
        let v6 = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(WHOLE)))?;
        v6.set_header_included_v6(true)?;
        Ok(Self { v4, v6 })
    }

    /// Sends a packet to the destination that it names.
    pub(in crate::suite) fn send(&self, octets: &[u8]) -> Result<(), Fault> {
        let (_, to) = ends(octets).ok_or_else(|| missing("a packet that can be sent"))?;
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let told = |error| missing(format!("sending {} octets to {to}: {error}", octets.len()));
        exchange::packet_sent(octets);
        socket.send_to(octets, &SocketAddr::new(to, 0).into()).map(drop).map_err(told)
    }
}

/// A packet that came, and when the kernel took it from the cable.
#[derive(Debug, Clone)]
pub(in crate::suite) struct Came {
    pub(in crate::suite) at: Instant,
    pub(in crate::suite) octets: Arc<[u8]>,
}

impl InPacket for Came {
    fn octets(&self) -> &Arc<[u8]> {
        &self.octets
    }
}

/// What is done with each packet as it comes.
pub(in crate::suite) type Hook = Box<dyn Fn(&Came, &Arc<Mouth>) + Send + Sync>;

/// The end of the only cable of a namespace.
pub(in crate::suite) struct Port {
    mouth: Arc<Mouth>,
    inbox: Arc<Inbox<Came>>,
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Who has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Port {
    pub(in crate::suite) fn open(namespace: &Namespace, hook: Option<Hook>) -> Result<Self, Fault> {
        let sockets = namespace.run(|| -> std::io::Result<_> {
            let ear = |kind: u16| {
                let ear = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(kind.to_be()))))?;
                ear.set_read_timeout(Some(LOOK))?;
                setsockopt(&ear, sockopt::ReceiveTimestampns, &true)?;
                // A smaller buffer than asked for is no reason to fail.
                let _ = ear.set_recv_buffer_size(BUFFER);
                Ok(ear)
            };
            Ok((Mouth::open()?, ETHER_TYPES.map(ear)))
        });
        let (mouth, ears) = sockets.map_err(missing)?.map_err(missing)?;
        let (mouth, hook) = (Arc::new(mouth), Arc::new(hook));
        let mut port = Self { mouth, inbox: Arc::default(), done: Arc::default(), threads: Vec::new() };
        for ear in ears {
            let ear = ear.map_err(|error: std::io::Error| missing(error))?;
            let (inbox, done) = (port.inbox.clone(), port.done.clone());
            let (hook, mouth) = (hook.clone(), port.mouth.clone());
            let listen = move || {
                let tell = |came: &Came| hook.iter().for_each(|hook| hook(came, &mouth));
                listen(&ear, &inbox, &done, tell);
            };
            port.threads.push(std::thread::spawn(listen));
        }
        Ok(port)
    }

    pub(in crate::suite) fn send(&self, octets: &[u8]) -> Result<(), Fault> {
        self.mouth.send(octets)
    }

    /// How many packets have come: what comes from now on has a higher number.
    pub(in crate::suite) fn mark(&self) -> usize {
        self.inbox.mark()
    }

    /// The first `count` packets from a mark on in which `read` finds something, or those that came in time.
    pub(in crate::suite) fn wait<T>(
        &self,
        mark: usize,
        count: usize,
        patience: Duration,
        read: impl FnMut(&Came) -> Option<T>,
    ) -> Vec<T> {
        self.inbox.wait(mark, count, patience, read)
    }

    /// All that came was kept.
    pub(in crate::suite) fn holds(&self) -> Result<(), Fault> {
        if self.inbox.is_full() {
            Err(broken(format!("a flood: {MOST} packets came, and no more are kept")))
        } else {
            Ok(())
        }
    }

    /// Packets between these ends that came from a mark on.
    pub(in crate::suite) fn between(&self, mark: usize, wanted: (IpAddr, IpAddr)) -> Vec<Arc<[u8]>> {
        let read = |came: &Came| (ends(&came.octets) == Some(wanted)).then(|| came.octets.clone());
        self.wait(mark, usize::MAX, Duration::ZERO, read)
    }
}

fn listen(ear: &Socket, inbox: &Inbox<Came>, done: &AtomicBool, tell: impl Fn(&Came)) {
    let mut octets = vec![0; LONGEST];
    while !done.load(Ordering::Relaxed) {
        match receive(ear, &mut octets) {
            Ok((length, at)) => {
                let packet = Came { at, octets: octets[..length].into() };
                tell(&packet);
                inbox.push(packet);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The cable is gone, or down: what else comes is heard again.
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// The next packet, its length in octets and when the kernel took it: on a busy machine the thread that reads it may do so much later.
fn receive(ear: &Socket, octets: &mut [u8]) -> nix::Result<(usize, Instant)> {
    let (mut parts, mut stamp) = ([IoSliceMut::new(octets)], cmsg_space!(TimeSpec));
    let came = recvmsg::<()>(ear.as_raw_fd(), &mut parts, Some(&mut stamp), MsgFlags::empty())?;
    let at = came.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(at) => Some(UNIX_EPOCH + Duration::from(at)),
        _ => None,
    });
    let (age, now) = (at.and_then(|at| at.elapsed().ok()).unwrap_or_default(), Instant::now());
    Ok((came.bytes, now.checked_sub(age).unwrap_or(now)))
}
