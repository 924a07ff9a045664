// SPDX-License-Identifier: GPL-2.0-or-later
//! A bridge in user space that holds frames back, for kernels without netem: distance, jitter and loss for labs.
//!
//! [`bridge`] is the engine, without sockets. [`Delaybox`] puts it between interfaces of a namespace: one thread reads each
//! port, one holds the frames and lets them go.

pub mod bridge;
mod port;

use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::Socket;

use self::bridge::{Bridge, Counters, patience};
use crate::lab::{LabError, Namespace};
use crate::limits::{FRAME, FRAMES_WAITING, POLL};

/// What is done to every frame.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Delay {
    /// How long it is held back at least, each way.
    pub one_way: Duration,
    /// By how much longer at most, evenly drawn for each frame; more than the time between two frames lets them overtake.
    pub jitter: Duration,
    /// Share of the frames that are lost, 0 to 1.
    pub loss: f64,
}

impl Delay {
    /// A constant delay.
    pub fn of(one_way: Duration) -> Self {
        Self { one_way, ..Self::default() }
    }
}

/// What the thread of the bridge is told.
enum Message {
    /// A frame came in by this port.
    Frame(usize, Vec<u8>),
    /// See [`Bridge::cut`].
    Cut(Vec<usize>),
}

/// A bridge between interfaces, at work until this is dropped.
#[derive(Debug)]
pub struct Delaybox {
    done: Arc<AtomicBool>,
    counters: Arc<Mutex<Vec<Counters>>>,
    messages: Option<SyncSender<Message>>,
    threads: Vec<JoinHandle<()>>,
}

impl Delaybox {
    /// Bridges these interfaces of a namespace, which are up and have no addresses.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn between(namespace: &Namespace, ports: &[String], delay: Delay, seed: u64) -> Result<Self, LabError> {
        let names = ports.to_vec();
        let opened = namespace.run(move || open_all(&names))?;
        let sockets = opened.map_err(|cause| LabError::failed(namespace.name(), "delay box", cause))?;
        Self::start(sockets, delay, seed).map_err(|cause| LabError::failed(namespace.name(), "delay box", cause))
    }

    /// Bridges these interfaces of the namespace that we are in.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn here(ports: &[String], delay: Delay, seed: u64) -> io::Result<Self> {
        Self::start(open_all(ports)?, delay, seed)
    }

    fn start(sockets: Vec<Socket>, delay: Delay, seed: u64) -> io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let counters = Arc::new(Mutex::new(vec![Counters::default(); sockets.len()]));
        let (messages, queue) = mpsc::sync_channel(FRAMES_WAITING);
        let mut this = Self { done, counters, messages: Some(messages.clone()), threads: Vec::new() };
        for (port, socket) in sockets.iter().enumerate() {
            let (socket, messages, done) = (socket.try_clone()?, messages.clone(), Arc::clone(&this.done));
            this.spawn(move || read(&socket, port, &messages, &done))?;
        }
        let (bridge, shared) = (Bridge::new(sockets.len(), delay, seed), Arc::clone(&this.counters));
        // Ends when all readers have, and we.
        this.spawn(move || forward(bridge, &queue, &sockets, &shared))?;
        Ok(this)
    }

    /// What passed each port so far, in the order in which they were named.
    pub fn counters(&self) -> Vec<Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cuts the network, or heals it: ports with the same number hear each other, those with different ones do not.
    pub fn cut(&self, sides: &[usize]) {
        if let Some(messages) = &self.messages {
            // The bridge's thread ends after us only.
            let _ = messages.send(Message::Cut(sides.to_vec()));
        }
    }

    fn spawn(&mut self, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name("delaybox".into()).spawn(body)?);
        Ok(())
    }
}

impl Drop for Delaybox {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        self.messages = None;
        for thread in self.threads.drain(..) {
            // A panic has been printed by the thread.
            let _ = thread.join();
        }
    }
}

fn open_all(names: &[String]) -> io::Result<Vec<Socket>> {
    let open = |name: &String| {
        port::open(name, POLL).map_err(|cause| io::Error::new(cause.kind(), format!("port {name}: {cause}")))
    };
    names.iter().map(open).collect()
}

fn read(socket: &Socket, port: usize, messages: &SyncSender<Message>, done: &AtomicBool) {
    let mut frame = vec![0; FRAME];
    while !done.load(Ordering::Relaxed) {
        match (&*socket).read(&mut frame) {
            Ok(length) => {
                if messages.send(Message::Frame(port, frame[..length].to_vec())).is_err() {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // The interface is down: it may come up again.
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

fn forward(mut bridge: Bridge, queue: &Receiver<Message>, sockets: &[Socket], shared: &Mutex<Vec<Counters>>) {
    loop {
        match queue.recv_timeout(patience(Instant::now(), bridge.next_departure(), POLL)) {
            Ok(Message::Frame(port, frame)) => bridge.receive(Instant::now(), port, &frame),
            Ok(Message::Cut(sides)) => bridge.cut(&sides),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(departure) = bridge.depart(Instant::now()) {
            // An interface that is down loses frames, as wires do.
            let _ = sockets[departure.port].send(&departure.frame);
        }
        shared.lock().unwrap_or_else(PoisonError::into_inner).copy_from_slice(bridge.counters());
    }
}
