// SPDX-License-Identifier: GPL-2.0-or-later
//! A bulk transfer over TCP between two hosts of a lab.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};

use crate::interrupt;
use crate::lab::Namespace;
use crate::limits::{BULK_CHUNK, POLL};

/// A transfer; it ends when either bound is reached.
#[derive(Debug, Clone, Copy)]
pub struct Bulk {
    /// Address of the sender, one of its own.
    pub source: IpAddr,
    /// Address of the receiver.
    pub destination: IpAddr,
    /// Most octets sent.
    pub octets: u64,
    /// Longest time that is sent for.
    pub time: Duration,
}

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub struct BulkReport {
    /// Octets of payload that the receiver read.
    pub octets: u64,
    /// From the first octet to the last.
    pub time: Duration,
}

impl BulkReport {
    /// Rate in Mbit/s of payload.
    pub fn mbit_s(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a rate, rounded anyway")]
        let bits = self.octets as f64 * 8.0;
        bits / self.time.as_secs_f64().max(1e-6) / 1e6
    }
}

/// How long the connection may take, and how long both ends wait for the other; as long as the transfer may take, if that is longer.
const SILENCE: Duration = Duration::from_secs(30);

/// Transfers octets from one host to another.
///
/// # Errors
/// When no connection comes about, it breaks, or we are interrupted.
pub fn bulk(from: &Namespace, to: &Namespace, bulk: Bulk) -> anyhow::Result<BulkReport> {
    let listener = to.run(move || listen(bulk.destination))?.context("cannot listen")?;
    let there = listener.local_addr()?;
    let silence = SILENCE.max(bulk.time);
    let receiver = std::thread::Builder::new().name("bulk".into()).spawn(move || receive(&listener, silence))?;
    let sender = from.start(move || send(there, bulk))?;
    while !(sender.is_finished() && receiver.is_finished()) {
        interrupt::sleep(POLL)?;
    }
    let panicked = |_| io::Error::other("the thread panicked");
    let sent = sender.join().map_err(panicked)?.context("sending")?;
    let report = receiver.join().map_err(panicked)?.context("receiving")?;
    anyhow::ensure!(report.octets == sent, "{sent} octets were sent, {} arrived", report.octets);
    Ok(report)
}

fn listen(address: IpAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((address, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn receive(listener: &TcpListener, silence: Duration) -> io::Result<BulkReport> {
    let deadline = Instant::now() + SILENCE;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(silence))?;
    let started = Instant::now();
    let (mut octets, mut buffer) = (0, vec![0; BULK_CHUNK]);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(BulkReport { octets, time: started.elapsed() }),
            read => octets += read as u64,
        }
    }
}

/// Sends, and returns how many octets.
fn send(there: SocketAddr, bulk: Bulk) -> io::Result<u64> {
    let socket = Socket::new(Domain::for_address(there), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(bulk.source, 0).into())?;
    socket.connect_timeout(&there.into(), SILENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(SILENCE.max(bulk.time)))?;
    let (chunk, end, mut sent) = (vec![0x5a; BULK_CHUNK], Instant::now() + bulk.time, 0);
    while sent < bulk.octets && Instant::now() < end {
        stream.write_all(&chunk)?;
        sent += chunk.len() as u64;
    }
    Ok(sent)
}
