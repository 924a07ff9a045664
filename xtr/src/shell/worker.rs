// SPDX-License-Identifier: GPL-2.0-or-later
//! A packet thread: a plain thread that takes turns while there is something to do, and else waits in poll(2).
#![allow(unsafe_code, reason = "poll(2)")]

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::clock;
use super::privileges;

/// How long the thread sleeps when nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How often events are offered again that control had no room for.
const EVENT_RETRY: Duration = Duration::from_millis(10);
/// Turns in a row without a look at what poll(2) alone tells: that control wants something.
const TURNS: usize = 16;
/// How often senders are looked at for errors while packets cross: to wait on dozens of sockets takes as long as to send a packet.
const LOOK: Duration = Duration::from_millis(10);

/// What a packet thread does.
pub(super) trait Turns: Send + 'static {
    /// Takes at most a batch from each side. Whether a side may have more.
    fn turn(&mut self, now: Instant) -> bool;

    /// When a turn is needed although nothing comes.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether events wait for control to have room.
    fn has_events(&self) -> bool {
        false
    }

    /// Whether somebody has removed the device towards the site.
    fn site_is_gone(&self) -> bool {
        false
    }

    /// What to wait on.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// What has nothing but errors for us, and may have them a moment ago.
    fn senders(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Whether there are such.
    fn has_senders(&self) -> bool {
        false
    }

    /// A descriptor has an error for us.
    fn read_errors(&mut self) {}
}

/// A running packet thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    wake: UnixStream,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Ends another packet thread when this is dropped: one has no use without the other, and control hears of the end of the one that
/// sends it events.
#[derive(Debug)]
pub(super) struct Bell {
    wake: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A full buffer means that the thread has enough to wake up for.
        let _ = (&self.wake).write(&[0]);
    }
}

impl Worker {
    pub(super) fn start(name: &str, turns: impl Turns) -> io::Result<Self> {
        Self::start_with(name, turns, None)
    }

    /// Starts a thread that rings when it ends, whatever the cause.
    pub(super) fn start_with(name: &str, turns: impl Turns, bell: Option<Bell>) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = stop.clone();
            std::thread::Builder::new().name(name.into()).spawn(move || {
                let _rung_at_the_end = bell;
                run(turns, woken, &stop);
            })?
        };
        Ok(Self { wake, stop, thread: Some(thread) })
    }

    /// What ends this thread when it is dropped.
    pub(super) fn bell(&self) -> io::Result<Bell> {
        Ok(Bell { wake: self.wake.try_clone()?, stop: self.stop.clone() })
    }

    /// What wakes this thread when it is written to.
    pub(super) fn waker(&self) -> io::Result<UnixStream> {
        self.wake.try_clone()
    }

    pub(super) fn wake_up(&self) {
        // A full buffer means that the thread has enough to wake up for.
        let _ = (&self.wake).write(&[0]);
    }

    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake_up();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a packet thread panicked");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut turns: impl Turns, mut woken: UnixStream, stop: &AtomicBool) {
    privileges::keep_in_packet_thread();
    let (mut in_a_row, mut looked) = (0, clock::now());
    while !stop.load(Ordering::Relaxed) {
        let now = clock::now();
        let more = turns.turn(now);
        if turns.site_is_gone() {
            tracing::error!("the TUN device was removed: no packet crosses any more until lisp-xtr is started again");
            return;
        }
        in_a_row += 1;
        if more && in_a_row < TURNS {
            continue;
        }
        in_a_row = 0;
        let sleep = if more { Duration::ZERO } else { sleep(&turns, now) };
        // While packets cross there is a turn before this is over; otherwise senders are waited on, too.
        let until_look = turns.has_senders().then(|| LOOK.saturating_sub(now.saturating_duration_since(looked)));
        let found = match until_look {
            Some(Duration::ZERO) => wait(&woken, [turns.descriptors(), turns.senders()].concat(), sleep),
            Some(until_look) => wait(&woken, turns.descriptors(), sleep.min(until_look)),
            None => wait(&woken, turns.descriptors(), sleep),
        };
        match found {
            Ok(found) => {
                if until_look == Some(Duration::ZERO) {
                    looked = clock::now();
                }
                if found.errors {
                    turns.read_errors();
                }
                while found.woken && matches!(woken.read(&mut [0; 256]), Ok(1..)) {}
            }
            Err(error) => {
                tracing::error!(%error, "poll");
                return;
            }
        }
    }
}

fn sleep(turns: &impl Turns, now: Instant) -> Duration {
    if turns.has_events() {
        return EVENT_RETRY;
    }
    turns.next_deadline().map_or(LONGEST_SLEEP, |deadline| deadline.saturating_duration_since(now).min(LONGEST_SLEEP))
}

/// What was waited for.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Control wants something.
    woken: bool,
    /// A descriptor has an error.
    errors: bool,
}

/// Waits until a descriptor has something to read, or an error, or the time is over.
fn wait(woken: &UnixStream, descriptors: Vec<BorrowedFd<'_>>, timeout: Duration) -> io::Result<Found> {
    let entry = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<libc::pollfd> = [woken.as_fd()].into_iter().chain(descriptors).map(entry).collect();
    let count = libc::nfds_t::try_from(entries.len()).unwrap_or_default();
    // Rounded up: waking before a deadline would only find it not yet due.
    let milliseconds = libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX);
    // SAFETY: `entries` holds `count` pollfds and is not touched by others during the call.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), count, milliseconds) };
    match io::Error::last_os_error() {
        error if ready < 0 && error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(Found {
            woken: entries[0].revents != 0,
            errors: entries.iter().any(|entry| entry.revents & libc::POLLERR != 0),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

    /// Has something that others see the end of.
    struct Waits {
        _events: Sender<()>,
    }

    impl Turns for Waits {
        fn turn(&mut self, _: Instant) -> bool {
            false
        }

        fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
            Vec::new()
        }
    }

    struct Panics;

    impl Turns for Panics {
        fn turn(&mut self, _: Instant) -> bool {
            panic!("on purpose")
        }

        fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
            Vec::new()
        }
    }

    #[test]
    fn a_thread_that_dies_ends_the_one_that_control_hears_of() {
        let (sender, events) = channel();
        let first = Worker::start("first", Waits { _events: sender }).unwrap();
        assert_eq!(events.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
        let _second = Worker::start_with("second", Panics, Some(first.bell().unwrap())).unwrap();
        assert_eq!(events.recv_timeout(Duration::from_secs(60)), Err(RecvTimeoutError::Disconnected));
    }
}
