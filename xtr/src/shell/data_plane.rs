// SPDX-License-Identifier: GPL-2.0-or-later
//! The packet thread: one plain thread that waits in poll(2) and takes turns. No async runtime touches a packet.
#![allow(unsafe_code, reason = "poll(2)")]

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::data_socket::{DataSockets, SocketError};
use super::packet_loop::PacketLoop;
use super::tun::{Tun, TunError};
use crate::counters::Counters;
use crate::etr::{Etr, EtrConfig};
use crate::itr::{Itr, ItrConfig};
use crate::limits;
use crate::map_cache::{Event, Update};

/// How long the thread sleeps when nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How often events are offered again that control had no room for.
const EVENT_RETRY: Duration = Duration::from_millis(10);

/// What a packet thread is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the TUN device.
    pub tun: String,
    /// Its MTU, in octets.
    pub mtu: u16,
    /// The ITR.
    pub itr: ItrConfig,
    /// The ETR.
    pub etr: EtrConfig,
    /// Addresses to receive on.
    pub rlocs: Vec<IpAddr>,
}

/// Why there is no packet thread, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No TUN device.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// No sockets.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No thread.
    #[error("packet thread: {0}")]
    Thread(#[from] io::Error),
}

/// A running packet thread. It ends, and its device with it, when this is dropped.
#[derive(Debug)]
pub struct DataPlane {
    updates: SyncSender<Update>,
    wake: UnixStream,
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl DataPlane {
    /// Opens device and sockets and starts the thread; both belong to the network namespace of the caller.
    ///
    /// # Errors
    /// What the machine lacks, and what to do. Nothing is left behind.
    pub fn start(options: Options, events: mpsc::Sender<Event>) -> Result<Self, StartError> {
        let sockets = DataSockets::open(&options.rlocs)?;
        let tun = Tun::open(&options.tun)?;
        tun.bring_up(options.mtu)?;
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (updates, received) = sync_channel(limits::UPDATES);
        let counters = Arc::new(Counters::default());
        let itr = Itr::new(Instant::now(), options.itr, counters.clone());
        let etr = Etr::new(options.etr, counters.clone());
        let packets = PacketLoop::new((itr, etr), (tun, sockets), (received, events), counters.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = stop.clone();
            std::thread::Builder::new().name("packets".into()).spawn(move || run(packets, woken, &stop))?
        };
        Ok(Self { updates, wake, stop, counters, thread: Some(thread) })
    }

    /// Tells the packet thread; waits only if it is thousands of updates behind.
    pub fn update(&self, update: Update) {
        if self.updates.send(update).is_err() {
            tracing::error!("the packet thread is gone");
        }
        self.wake_up();
    }

    /// What it has counted so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Ends the thread and removes the device.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake_up();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the packet thread panicked");
        }
    }

    fn wake_up(&self) {
        // A full buffer means that the thread has enough to wake up for.
        let _ = (&self.wake).write(&[0]);
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut packets: PacketLoop<Tun, DataSockets>, mut woken: UnixStream, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let more = packets.turn(now);
        if packets.site_is_gone() {
            tracing::error!("the TUN device was removed: no packet crosses any more until lisp-xtr is started again");
            return;
        }
        let sleep = if more { Duration::ZERO } else { sleep(&packets, now) };
        let (tun, sockets) = packets.devices();
        let descriptors: Vec<BorrowedFd<'_>> =
            [tun.as_fd(), woken.as_fd()].into_iter().chain(sockets.descriptors()).collect();
        if let Err(error) = wait(&descriptors, sleep) {
            tracing::error!(%error, "poll");
            return;
        }
        while matches!(woken.read(&mut [0; 256]), Ok(1..)) {}
    }
}

fn sleep(packets: &PacketLoop<Tun, DataSockets>, now: Instant) -> Duration {
    if packets.has_events() {
        return EVENT_RETRY;
    }
    packets.next_deadline().map_or(LONGEST_SLEEP, |deadline| deadline.saturating_duration_since(now).min(LONGEST_SLEEP))
}

/// Waits until a descriptor has something to read, or an error, or the time is over.
fn wait(descriptors: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<()> {
    let entry = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<libc::pollfd> = descriptors.iter().map(entry).collect();
    let count = libc::nfds_t::try_from(entries.len()).unwrap_or_default();
    // Rounded up: waking before a deadline would only find it not yet due.
    let milliseconds = libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX);
    // SAFETY: `entries` holds `count` pollfds and is not touched by others during the call.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), count, milliseconds) };
    match io::Error::last_os_error() {
        error if ready < 0 && error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}
