// SPDX-License-Identifier: GPL-2.0-or-later
//! Packets at a steady pace to a host that sends them back, and how long none comes while something changes.
//!
//! They are numbered, and the time without one is that for which packets were sent of which none came back soon: where whoever measures
//! gets no processor for a while nothing is sent, and nothing is missing.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// The most that one packet stands for: between it and the next one its sender may have had no processor.
const LONGEST_PACE: Duration = Duration::from_millis(50);
/// Packets cross if one has come back within this time; what comes later counts as lost.
pub const SOON: Duration = Duration::from_millis(300);
/// So many come back soon behind a change before it is enough, unless none does for too long.
pub const ENOUGH: u32 = 20;
/// How long it is looked which way packets go, and when none of them comes.
const LOOK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

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
/// The same, and when none came back or they went another way before, or do not go the other way behind the change: it has changed nothing.
pub fn rerouted<T>(
    socket: &UdpSocket,
    to: SocketAddr,
    times: (Duration, Duration),
    ways: Ways<'_>,
    change: impl FnOnce() -> T,
) -> anyhow::Result<(T, u32, Duration)> {
    let (before, _) = look(socket, to, ways, 0).context("before the change")?;
    ensure!(before > 0, "before the change: no packet came back");
    let (changed, count, gap) = crossing(socket, to, times, change)?;
    let (_, behind) = look(socket, to, ways, 1).context("the change has changed nothing")?;
    Ok((changed, count, gap.max(behind)))
}

/// How many came back, and the longest time that none did; fails if most of those that did have not left by this one of the ports.
fn look(socket: &UdpSocket, to: SocketAddr, ways: Ways<'_>, way: usize) -> anyhow::Result<(u32, Duration)> {
    let port = ways.ports[way];
    let sent = || counters::sent(ways.node, port);
    let before = sent()?;
    let ((), count, gap) = crossing(socket, to, LOOK, || ())?;
    let by_port = sent()?.saturating_sub(before);
    // Some may have left as one.
    let (node, is_most) = (ways.node.name(), by_port * 2 >= count.into());
    ensure!(is_most, "{count} packets came back, and {by_port} left {node} by its port {port}");
    Ok((count, gap))
}

/// Packets to a host that sends them back, with `change` in between: what that gave, how many came back, and the longest time
/// that none did. However long the change takes they go on for the first of these times behind it, as packets tell it; and until
/// [`ENOUGH`] of those have come back, or none for the second, so that whoever has waited so long has seen a gap of that length.
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
    let (over, changed, sent) = (Done::default(), Done::default(), Mutex::new(Sent::default()));
    let (is_over, is_changed) = (Arc::clone(&over.0), Arc::clone(&changed.0));
    let sent = &sent;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let number = lock(sent).next(Instant::now());
                // What the kernel does not take is lost, as any packet may be.
                let _ = socket.send_to(&number.to_be_bytes(), to);
                std::thread::sleep(PACE);
            }
        });
        let listener = scope.spawn(move || {
            let _over = over;
            let (mut count, mut last, mut gap, mut buffer) = (0, None, Duration::ZERO, [0; 64]);
            // The last packet before the change was over, and how many had come back.
            let mut behind = None;
            loop {
                let came = socket.recv_from(&mut buffer).ok();
                let number = came.and_then(|(length, _)| number(&buffer[..length]));
                let sent = lock(sent);
                let came_soon = number.filter(|number| sent.is_soon(*number));
                gap = gap.max(sent.between(last, came_soon));
                if let Some(number) = came_soon {
                    (count, last) = (count + 1, last.max(Some(number)));
                }
                if is_changed.load(Ordering::Relaxed) {
                    let (begin, before) = *behind.get_or_insert_with(|| (sent.last(), count));
                    let is_seen = count - before >= ENOUGH && sent.between(last, None) < SOON;
                    let is_enough = sent.between(begin, None) >= after && (is_seen || gap > longest);
                    if is_enough || interrupted().is_err() {
                        return (count, gap);
                    }
                }
            }
        });
        while lock(sent).between(None, None) < SOON {
            interrupted()?;
            std::thread::sleep(PACE);
        }
        let outcome = change();
        drop(changed);
        let (count, gap) = listener.join().map_err(|_| anyhow!("the thread that listens has panicked"))?;
        interrupted()?;
        Ok((outcome, count, gap))
    })
}

/// When packets were sent, by their numbers.
#[derive(Debug, Default)]
struct Sent {
    /// With the time for which packets had been sent until then.
    packets: Vec<(Instant, Duration)>,
}

impl Sent {
    /// The number of the next one.
    fn next(&mut self, now: Instant) -> u32 {
        let since = |(at, paced): (Instant, Duration)| paced + now.saturating_duration_since(at).min(LONGEST_PACE);
        let paced = self.packets.last().copied().map(since).unwrap_or_default();
        self.packets.push((now, paced));
        u32::try_from(self.packets.len() - 1).unwrap_or(u32::MAX)
    }

    fn is_soon(&self, number: u32) -> bool {
        self.packet(number).is_some_and(|(at, _)| at.elapsed() < SOON)
    }

    /// The number of the last one.
    fn last(&self) -> Option<u32> {
        u32::try_from(self.packets.len()).ok()?.checked_sub(1)
    }

    /// For how long packets were sent from this one, or the first, to that one, or the last.
    fn between(&self, from: Option<u32>, to: Option<u32>) -> Duration {
        let paced = |packet: Option<(Instant, Duration)>| packet.map(|(_, paced)| paced).unwrap_or_default();
        let to = to.map_or(self.packets.last().copied(), |number| self.packet(number));
        paced(to).saturating_sub(paced(from.and_then(|number| self.packet(number))))
    }

    fn packet(&self, number: u32) -> Option<(Instant, Duration)> {
        self.packets.get(usize::try_from(number).ok()?).copied()
    }
}

/// The list is whole at any time, so a poisoned lock is as good as another.
fn lock(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Packets to which nobody answers.
    const LOST: u32 = 40;

    #[test]
    fn time_in_which_nothing_was_sent_is_not_without_an_answer() {
        let (begin, mut sent) = (Instant::now(), Sent::default());
        let numbers = [0, 10, 20, 30, 5030, 5040].map(|ms| sent.next(begin + Duration::from_millis(ms)));
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        assert_eq!(sent.between(Some(0), Some(3)), Duration::from_millis(30));
        assert_eq!(
            sent.between(Some(2), Some(5)),
            Duration::from_millis(10) + LONGEST_PACE + Duration::from_millis(10)
        );
        assert_eq!(sent.between(Some(4), None), Duration::from_millis(10));
        assert_eq!(sent.between(Some(5), Some(3)), Duration::ZERO);
    }

    #[test]
    fn packets_that_are_lost_while_others_are_sent_are_time_without_an_answer() {
        let host = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = host.local_addr().unwrap();
        host.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (is_over, is_deaf, unheard) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU32::new(0));
        let ((), count, gap) = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 64];
                while !is_over.load(Ordering::Relaxed) {
                    let Ok((length, from)) = host.recv_from(&mut buffer) else { continue };
                    if is_deaf.load(Ordering::Relaxed) {
                        unheard.fetch_add(1, Ordering::Relaxed);
                    } else {
                        host.send_to(&buffer[..length], from).unwrap();
                    }
                }
            });
            let change = || {
                is_deaf.store(true, Ordering::Relaxed);
                while unheard.load(Ordering::Relaxed) < LOST {
                    std::thread::sleep(PACE);
                }
                is_deaf.store(false, Ordering::Relaxed);
            };
            let seen = crossing(&socket, to, (Duration::from_millis(200), Duration::from_secs(10)), change);
            is_over.store(true, Ordering::Relaxed);
            seen
        })
        .unwrap();
        assert!(count >= ENOUGH && gap >= PACE * LOST, "{count} came back, and none for {gap:?}");
    }

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
