// SPDX-License-Identifier: GPL-2.0-or-later
//! Packets at a steady pace to a host that sends them back, and how long none comes while something changes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

use crate::interrupt;
use crate::lab::Namespace;
use crate::limits::{COMMAND_TIME, POLL};

/// The UDP port of hosts that send back what they get.
pub const ECHO: u16 = 7;
/// Between two packets that cross.
const PACE: Duration = Duration::from_millis(10);
/// Packets cross if one has come back within this time.
pub const SOON: Duration = Duration::from_millis(300);

/// Sends back what comes to [`ECHO`] of a host, until it is dropped.
#[derive(Debug)]
pub struct Echo {
    _done: Done,
}

impl Echo {
    /// Waits until the host has that address, which a new one of IPv6 is not at once.
    ///
    /// # Errors
    /// When it does not have it in time, or no thread can be had.
    pub fn start(namespace: &Namespace, host: IpAddr) -> anyhow::Result<Self> {
        let deadline = Instant::now() + COMMAND_TIME;
        let socket = loop {
            match namespace.run(move || UdpSocket::bind((host, ECHO)))? {
                Ok(socket) => break socket,
                Err(cause) if Instant::now() > deadline => return Err(cause).with_context(|| host.to_string()),
                Err(_) => interrupt::sleep(PACE / 2)?,
            }
        };
        socket.set_read_timeout(Some(POLL))?;
        let done = Done::default();
        let is_done = Arc::clone(&done.0);
        std::thread::Builder::new().name("echo".into()).spawn(move || {
            let mut buffer = [0; 64];
            while !is_done.load(Ordering::Relaxed) {
                // What cannot be sent back is lost, as any packet may be.
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        })?;
        Ok(Self { _done: done })
    }
}

/// Set when it is dropped, also by a panic.
#[derive(Debug, Default)]
struct Done(Arc<AtomicBool>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Packets to a host that sends them back, with `change` in between: what that gave, how many came back, and the longest time
/// that none did. However long the change takes they go on for the first of these times behind it; and while none comes, for the second,
/// so that whoever has waited so long has seen a gap of that length.
///
/// # Errors
/// When the socket is refused a time-out, or we are interrupted.
pub fn crossing<T>(
    socket: &UdpSocket,
    to: SocketAddr,
    (after, longest): (Duration, Duration),
    change: impl FnOnce() -> T,
) -> anyhow::Result<(T, u32, Duration)> {
    socket.set_read_timeout(Some(PACE))?;
    let (enough, over) = (Done::default(), Done::default());
    let (is_enough, is_over) = (Arc::clone(&enough.0), Arc::clone(&over.0));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                // What the kernel does not take is lost, as any packet may be.
                let _ = socket.send_to(b"ping", to);
                std::thread::sleep(PACE);
            }
        });
        let listener = scope.spawn(move || {
            let _over = over;
            let (mut count, mut last, mut gap) = (0, Instant::now(), Duration::ZERO);
            loop {
                let came = socket.recv_from(&mut [0; 64]).is_ok();
                gap = gap.max(last.elapsed());
                if came {
                    (count, last) = (count + 1, Instant::now());
                }
                if is_enough.load(Ordering::Relaxed) && (last.elapsed() < SOON || gap > longest) {
                    return (count, gap);
                }
            }
        });
        interrupt::sleep(SOON)?;
        let changed = change();
        interrupt::sleep(after)?;
        drop(enough);
        let (count, gap) = listener.join().map_err(|_| anyhow!("the thread that listens has panicked"))?;
        Ok((changed, count, gap))
    })
}
