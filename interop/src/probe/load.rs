// SPDX-License-Identifier: GPL-2.0-or-later
//! Loads between two hosts of a lab, and what arrives of them: TCP flows, a flood of datagrams, datagrams at a pace.
//!
//! Only what arrives in the measured time counts, which begins when the flows are under way.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use futures::future::try_join_all;
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use super::datagrams::{self, BATCH, Counter};
use super::iperf3;
use crate::interrupt;
use crate::lab::Namespace;

/// The two ends of a load.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// Where it is sent.
    pub from: &'a Namespace,
    /// The address that it is sent from.
    pub source: IpAddr,
    /// Where it arrives.
    pub to: &'a Namespace,
    /// The address that it is sent to.
    pub destination: IpAddr,
}

/// When it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long the flows run before.
    pub warm_up: Duration,
    /// And then.
    pub measured: Duration,
}

/// What arrived in the measured time, or in that until something had.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    /// Octets of payload, or datagrams.
    pub amount: u64,
    /// The measured time, as it was.
    pub time: Duration,
}

impl Delivered {
    /// So many a second.
    pub fn per_second(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a rate, rounded anyway")]
        let amount = self.amount as f64;
        amount / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// What sends and takes TCP at the two hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Senders {
    /// One thread at each host for all flows, as iperf3 before 3.16 and many servers have it
    #[default]
    Thread,
    /// A thread at each end of each flow: hosts that take all processors that routers leave
    Threads,
    /// The program of that name, in whole seconds
    Iperf3,
}

/// Octets of one write and one read: as much as other measuring programs take.
const CHUNK: usize = 128 << 10;
/// How long a connection may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How often a thread whose flow stands still looks whether it is to end.
const NAP: Duration = Duration::from_millis(50);
/// Receive buffer of datagrams, octets: several milliseconds of any flood, so that it is the way that loses and not this end.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Sends over `flows` TCP connections as fast as they take it; octets.
///
/// # Errors
/// When no connection comes about, one breaks, or we are interrupted.
pub fn tcp(ends: Ends<'_>, flows: usize, times: Times, senders: Senders) -> anyhow::Result<Delivered> {
    if senders == Senders::Iperf3 {
        return iperf3::tcp(ends, flows, times);
    }
    let (source, destination) = (ends.source, ends.destination);
    let listener = ends.to.run(move || listen(destination))?.context("cannot listen")?;
    let there = listener.local_addr()?;
    let mut flows = (0..flows)
        .map(|_| {
            let sender = ends.from.run(move || connect(source, there))?.context("no connection")?;
            let receiver = listener.accept().context("no connection")?.0;
            sender.set_nonblocking(true)?;
            receiver.set_nonblocking(true)?;
            Ok((sender, receiver))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut load = Load::default();
    let together = if senders == Senders::Thread { flows.len().max(1) } else { 1 };
    while !flows.is_empty() {
        let (sending, receiving) = flows.drain(..together).unzip();
        load.start(move |shared| at_once(sending, |stream| push(stream, shared)))?;
        load.start(move |shared| at_once(receiving, |stream| pull(stream, shared)))?;
    }
    load.measure(times)
}

/// Sends datagrams of this payload without a pause; datagrams.
///
/// # Errors
/// When a socket is refused, or we are interrupted.
pub fn flood(ends: Ends<'_>, payload: &'static [u8], times: Times) -> anyhow::Result<Delivered> {
    let (sender, receiver) = sockets(ends)?;
    let mut load = Load::default();
    load.start(move |shared| {
        while !shared.is_over() {
            // No room is no error of a flood.
            let _ = datagrams::send(&sender, payload, BATCH);
        }
        Ok(())
    })?;
    load.start(move |shared| count(&receiver, payload, shared))?;
    load.measure(times)
}

/// What became of datagrams that were sent at a pace.
#[derive(Debug, Clone, Copy)]
pub struct Paced {
    /// How many were sent.
    pub sent: u64,
    /// How many arrived.
    pub received: u64,
    /// How long it took to send them.
    pub time: Duration,
}

impl Paced {
    /// Sent a second.
    pub fn rate(&self) -> f64 {
        Delivered { amount: self.sent, time: self.time }.per_second()
    }

    /// How many did not arrive.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// Pause between two looks at the clock. Between two bursts there is one: a sender that was held up catches up bit by bit.
const TICK: Duration = Duration::from_micros(50);
/// Nothing more is waited for when nothing has arrived for so long, on a machine where somebody had no processor.
const SILENCE: Duration = Duration::from_secs(5);

/// Sends `rate` datagrams of this payload a second for a time, then waits for the last, as long as some arrive.
///
/// # Errors
/// When a socket is refused, or we are interrupted.
pub fn paced(ends: Ends<'_>, payload: &'static [u8], rate: u32, time: Duration) -> anyhow::Result<Paced> {
    let (sender, receiver) = sockets(ends)?;
    let mut load = Load::default();
    load.start(move |shared| count(&receiver, payload, shared))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of datagrams")]
    let due = |time: Duration| (time.as_secs_f64() * f64::from(rate)) as u64;
    let (begun, all, mut sent) = (Instant::now(), due(time), 0);
    while sent < all {
        interrupt::check()?;
        let missing = usize::try_from(due(begun.elapsed()).min(all).saturating_sub(sent)).unwrap_or(BATCH);
        // What the kernel has no room for is not sent yet.
        let taken = if missing == 0 { Ok(0) } else { datagrams::send(&sender, payload, missing) };
        sent += taken.unwrap_or_default() as u64;
        std::thread::sleep(TICK);
    }
    let time = begun.elapsed();
    let (mut received, mut looks) = (load.amount(), 0);
    while received < sent && NAP * looks < SILENCE {
        interrupt::sleep(NAP)?;
        looks = if load.amount() > received { 0 } else { looks + 1 };
        received = load.amount();
    }
    load.end()?;
    Ok(Paced { sent, received, time })
}

/// What the threads of a load share.
#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    amount: AtomicU64,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn add(&self, amount: usize) {
        self.amount.fetch_add(amount as u64, Ordering::Relaxed);
    }
}

/// Threads that send and count until this is dropped.
#[derive(Debug, Default)]
struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Load {
    fn start(&mut self, work: impl FnOnce(&Shared) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.push(std::thread::Builder::new().name("load".into()).spawn(move || work(&shared))?);
        Ok(())
    }

    fn amount(&self) -> u64 {
        self.shared.amount.load(Ordering::Relaxed)
    }

    fn measure(self, times: Times) -> anyhow::Result<Delivered> {
        interrupt::sleep(times.warm_up)?;
        let (begun, before) = (Instant::now(), self.amount());
        interrupt::sleep(times.measured)?;
        // Who had no processor meanwhile is waited for.
        let mut looks = 0;
        while self.amount() == before && NAP * looks < SILENCE {
            interrupt::sleep(NAP)?;
            looks += 1;
        }
        let (time, after) = (begun.elapsed(), self.amount());
        self.end()?;
        Ok(Delivered { amount: after - before, time })
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked"))).context("a flow")?;
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

fn listen(address: IpAddr) -> io::Result<TcpListener> {
    let listener = Socket::new(Domain::for_address(SocketAddr::new(address, 0)), Type::STREAM, None)?;
    listener.bind(&SocketAddr::new(address, 0).into())?;
    listener.listen(1)?;
    // It bounds accept(2).
    listener.set_read_timeout(Some(CONNECT_TIME))?;
    Ok(listener.into())
}

fn connect(source: IpAddr, there: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(there), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&there.into(), CONNECT_TIME)?;
    // What is still to be sent in the end is thrown away, and does not run into what is measured next.
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket.into())
}

/// Whether an error is only that the time was over.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Does the same with each of these, in this thread.
fn at_once<W: Future<Output = io::Result<()>>>(
    streams: Vec<TcpStream>,
    work: impl Fn(tokio::net::TcpStream) -> W,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let streams = streams.into_iter().map(tokio::net::TcpStream::from_std).collect::<io::Result<Vec<_>>>()?;
        try_join_all(streams.into_iter().map(work)).await.map(drop)
    })
}

async fn push(stream: tokio::net::TcpStream, shared: &Shared) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    while !shared.is_over() {
        let _ = tokio::time::timeout(NAP, stream.writable()).await;
        let sent = stream.try_write(&chunk).map(drop);
        sent.or_else(|error| passes(error, shared))?;
        // Each flow has its turn.
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn pull(stream: tokio::net::TcpStream, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while !shared.is_over() {
        let _ = tokio::time::timeout(NAP, stream.readable()).await;
        let came = stream.try_read(&mut buffer).map(|octets| shared.add(octets));
        came.or_else(|error| passes(error, shared))?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// There may be nothing to do yet, and whichever end is the last to stop finds the other one gone.
fn passes(error: io::Error, shared: &Shared) -> io::Result<()> {
    if shared.is_over() || is_timeout(&error) { Ok(()) } else { Err(error) }
}

/// Two ends for datagrams, the sender's connected.
fn sockets(ends: Ends<'_>) -> anyhow::Result<(UdpSocket, UdpSocket)> {
    let (source, destination) = (ends.source, ends.destination);
    let receiver = ends.to.run(move || UdpSocket::bind((destination, 0)))??;
    receiver.set_read_timeout(Some(NAP))?;
    // In a user namespace the system's limit holds; the buffer is as large as it allows then.
    setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(&receiver, sockopt::RcvBuf, &RECEIVE_BUFFER))
        .context("a large receive buffer")?;
    let there = receiver.local_addr()?;
    let sender = ends.from.run(move || UdpSocket::bind((source, 0)))??;
    sender.connect(there)?;
    Ok((sender, receiver))
}

fn count(socket: &UdpSocket, payload: &[u8], shared: &Shared) -> io::Result<()> {
    let mut counter = Counter::default();
    while !shared.is_over() {
        match counter.receive(socket, payload) {
            Ok(datagrams) => shared.add(datagrams),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
