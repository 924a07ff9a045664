// SPDX-License-Identifier: GPL-2.0-or-later
//! Packets at a steady pace to a host that sends them back, and how long none comes while something changes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};

use super::counters;
use crate::interrupt::{self, Interrupted};
use crate::lab::Namespace;
use crate::limits::{COMMAND_TIME, POLL};

/// The UDP port of hosts that send back what they get.
pub const ECHO: u16 = 7;
/// Between two packets that cross.
const PACE: Duration = Duration::from_millis(10);
/// Packets cross if one has come back within this time.
pub const SOON: Duration = Duration::from_millis(300);
/// How long it is looked which way packets go, and when none of them comes.
const LOOK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

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

/// Two ports of one node: every packet that comes back has left it by the first one before a change, and by the second one behind it.
#[derive(Debug, Clone, Copy)]
pub struct Ways<'a> {
    /// The node.
    pub node: &'a Namespace,
    /// Its ports.
    pub ports: [&'a str; 2],
}

/// The same as [`crossing`] with a change that has packets go another way, which is looked at before and behind it. Where none comes
/// back any more there is nothing to see of that, and the longest time says it.
///
/// # Errors
/// The same, and when packets went another way before, or do not go the other way behind the change: it has changed nothing.
pub fn rerouted<T>(
    socket: &UdpSocket,
    to: SocketAddr,
    times: (Duration, Duration),
    ways: Ways<'_>,
    change: impl FnOnce() -> T,
) -> anyhow::Result<(T, u32, Duration)> {
    look(socket, to, ways, 0).context("before the change")?;
    let (changed, count, gap) = crossing(socket, to, times, change)?;
    let behind = look(socket, to, ways, 1).context("the change has changed nothing")?;
    Ok((changed, count, gap.max(behind)))
}

/// The longest time that none came back; fails if most of those that did have not left by this one of the ports.
fn look(socket: &UdpSocket, to: SocketAddr, ways: Ways<'_>, way: usize) -> anyhow::Result<Duration> {
    let port = ways.ports[way];
    let sent = || counters::sent(ways.node, port);
    let before = sent()?;
    let ((), count, gap) = crossing(socket, to, LOOK, || ())?;
    let by_port = sent()?.saturating_sub(before);
    // Some may have left as one.
    let (node, is_most) = (ways.node.name(), by_port * 2 >= count.into());
    ensure!(is_most, "{count} packets came back, and {by_port} left {node} by its port {port}");
    Ok(gap)
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
    times: (Duration, Duration),
    change: impl FnOnce() -> T,
) -> anyhow::Result<(T, u32, Duration)> {
    crossing_unless(&interrupt::check, socket, to, times, change)
}

fn crossing_unless<T>(
    interrupted: &(dyn Fn() -> Result<(), Interrupted> + Sync),
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
                let is_seen = last.elapsed() < SOON || gap > longest;
                if is_enough.load(Ordering::Relaxed) && (is_seen || interrupted().is_err()) {
                    return (count, gap);
                }
            }
        });
        interrupt::sleep(SOON)?;
        let changed = change();
        interrupt::sleep(after)?;
        drop(enough);
        let (count, gap) = listener.join().map_err(|_| anyhow!("the thread that listens has panicked"))?;
        interrupted()?;
        Ok((changed, count, gap))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whoever_waits_for_a_packet_that_does_not_come_can_be_interrupted() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (begun, signal) = (Instant::now(), AtomicBool::new(false));
        let check = || if signal.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) };
        let longest = Duration::from_secs(10);
        let change = || signal.store(true, Ordering::Relaxed);
        let seen = crossing_unless(&check, &socket, nobody.local_addr().unwrap(), (Duration::ZERO, longest), change);
        assert!(seen.unwrap_err().is::<Interrupted>());
        assert!(begun.elapsed() < longest / 2, "{:?}", begun.elapsed());
    }
}
