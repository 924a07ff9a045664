// SPDX-License-Identifier: GPL-2.0-or-later
//! Pings with the time of each: when its request reached the other host, and when its answer came back.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes, checksum};
use pnet::packet::icmpv6::Icmpv6Types;
use pnet::packet::icmpv6::echo_request::MutableEchoRequestPacket as MutableEchoRequestPacketV6;
use socket2::{Domain, Protocol, Socket, Type};

use crate::interrupt;
use crate::lab::Namespace;
use crate::limits::POLL;

/// A series of pings.
#[derive(Debug, Clone, Copy)]
pub struct Ping {
    /// Address of the sender, one of its own.
    pub source: IpAddr,
    /// Address of the receiver.
    pub destination: IpAddr,
    /// How many.
    pub count: u16,
    /// Time between two.
    pub interval: Duration,
    /// How long to wait for answers when the last was sent; no longer than until all are there.
    pub wait: Duration,
}

/// What became of each ping, in the order sent.
#[derive(Debug, Clone, Default)]
pub struct PingReport {
    /// Each ping.
    pub pings: Vec<Fate>,
}

/// What became of one ping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    /// From being sent to its arrival at the receiver.
    pub delivered: Option<Duration>,
    /// From being sent to the arrival of the answer.
    pub answered: Option<Duration>,
}

impl PingReport {
    /// How many were answered.
    pub fn received(&self) -> usize {
        self.pings.iter().filter(|ping| ping.answered.is_some()).count()
    }

    /// Delivery time of the first.
    pub fn first_delivered(&self) -> Option<Duration> {
        self.pings.first().and_then(|ping| ping.delivered)
    }

    /// Round-trip time of the first.
    pub fn first_answered(&self) -> Option<Duration> {
        self.pings.first().and_then(|ping| ping.answered)
    }
}

/// Octets after the header of each echo: as many as the ping that everyone knows sends.
const PAYLOAD: usize = 56;
/// Octets of an ICMP echo header.
const HEADER: usize = 8;

/// Sends pings from one host to another and watches both ends. The clock is one, since both are on this machine.
///
/// # Errors
/// When a socket is refused, or we are interrupted. Lost pings are no error.
pub fn ping(from: &Namespace, to: &Namespace, ping: Ping) -> anyhow::Result<PingReport> {
    // Differs between series that run after one another, so that a late answer is not taken for one of this series.
    let identifier = IDENTIFIER.fetch_add(1, Ordering::Relaxed);
    let arrivals = Watch::start(to, ping.destination, Kind::Request, identifier)?;
    let answers = Watch::start(from, ping.source, Kind::Reply, identifier)?;
    let sender = from.run(move || open(ping.source))??;
    sender.connect(&SocketAddr::new(ping.destination, 0).into())?;

    let mut sent = Vec::new();
    for sequence in 0..ping.count {
        let message = request(ping.destination, identifier, sequence);
        sent.push(Instant::now());
        // Refused for lack of a route counts like a loss: later ones may find one.
        let _ = sender.send(&message);
        if sequence + 1 < ping.count {
            interrupt::sleep(ping.interval)?;
        }
    }
    for _ in 0..looks(ping.wait) {
        if answers.count() >= usize::from(ping.count) {
            break;
        }
        interrupt::sleep(POLL)?;
    }
    let (arrivals, answers) = (arrivals.stop(), answers.stop());
    let fates = sent.into_iter().zip(0..).map(|(sent, sequence): (Instant, u16)| {
        let since = |times: &Times| Some(times.get(&sequence)?.saturating_duration_since(sent));
        let (noticed, answered) = (since(&arrivals), since(&answers));
        // Whatever was answered had arrived before, even if our thread over there woke up later.
        let delivered = noticed.map(|time| answered.map_or(time, |answered| time.min(answered))).or(answered);
        Fate { delivered, answered }
    });
    Ok(PingReport { pings: fates.collect() })
}

/// Sends pings one after the other, waits for each, and tells the time to the answer of each that had one. One thread sends and waits,
/// and the far kernel answers by itself: little is measured beside the way. One that is late took long, and is not lost.
///
/// # Errors
/// When a socket is refused, or we are interrupted.
pub fn round_trips(from: &Namespace, ping: Ping) -> anyhow::Result<Vec<Duration>> {
    let identifier = IDENTIFIER.fetch_add(1, Ordering::Relaxed);
    let mut socket = from.run(move || open(ping.source))??;
    socket.connect(&SocketAddr::new(ping.destination, 0).into())?;
    let (mut times, mut buffer) = (Vec::with_capacity(ping.count.into()), [0; 2048]);
    for sequence in 0..ping.count {
        interrupt::check()?;
        let wanted = Some((Kind::Reply, identifier, sequence));
        let sent = Instant::now();
        // Refused for lack of a route counts like a loss.
        let _ = socket.send(&request(ping.destination, identifier, sequence));
        let mut looks = 0..looks(ping.wait);
        loop {
            match socket.read(&mut buffer) {
                Ok(length) if echo(ping.destination, &buffer[..length]) == wanted => {
                    times.push(sent.elapsed());
                    break;
                }
                Ok(_) => {}
                // The time-out, and ICMP errors, which are no echoes.
                Err(_) if looks.next().is_some() => {}
                Err(_) => break,
            }
        }
        std::thread::sleep(ping.interval);
    }
    Ok(times)
}

/// So often it is looked in this time, once in [`POLL`]. Looks are counted, not time: who had no processor meanwhile has looked at nothing.
fn looks(time: Duration) -> u128 {
    time.as_millis() / POLL.as_millis()
}

static IDENTIFIER: AtomicU16 = AtomicU16::new(1);

/// When the echo of each sequence number was first seen.
type Times = BTreeMap<u16, Instant>;

/// Which echoes a watcher looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Reply,
}

/// A thread in a namespace that notes when echoes arrive.
struct Watch {
    times: Arc<Mutex<Times>>,
    done: Arc<AtomicBool>,
}

impl Watch {
    /// Opens the socket before it returns, so that nothing sent later is missed.
    fn start(namespace: &Namespace, address: IpAddr, kind: Kind, identifier: u16) -> anyhow::Result<Self> {
        let mut socket = namespace.run(move || open(address))??;
        let (times, done) = (Arc::new(Mutex::new(Times::new())), Arc::new(AtomicBool::new(false)));
        let watch = Self { times: Arc::clone(&times), done: Arc::clone(&done) };
        std::thread::Builder::new().name("pings".into()).spawn(move || {
            let mut buffer = [0; 2048];
            while !done.load(Ordering::Relaxed) {
                // Errors are the time-out that lets this loop look at `done`, and ICMP errors, which are no echoes.
                let Ok(length) = socket.read(&mut buffer) else { continue };
                let now = Instant::now();
                if let Some((found, id, sequence)) = echo(address, &buffer[..length])
                    && (found, id) == (kind, identifier)
                {
                    lock(&times).entry(sequence).or_insert(now);
                }
            }
        })?;
        Ok(watch)
    }

    fn count(&self) -> usize {
        lock(&self.times).len()
    }

    fn stop(self) -> Times {
        std::mem::take(&mut *lock(&self.times))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// The map is whole at any time, so a poisoned lock is as good as another.
fn lock(times: &Mutex<Times>) -> std::sync::MutexGuard<'_, Times> {
    times.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A raw ICMP socket with `address` as its own.
fn open(address: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.bind(&SocketAddr::new(address, 0).into())?;
    socket.set_read_timeout(Some(POLL))?;
    Ok(socket)
}

fn request(destination: IpAddr, identifier: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![0; HEADER + PAYLOAD];
    match destination {
        IpAddr::V4(_) => {
            if let Some(mut echo) = MutableEchoRequestPacket::new(&mut message) {
                echo.set_icmp_type(IcmpTypes::EchoRequest);
                echo.set_identifier(identifier);
                echo.set_sequence_number(sequence);
            }
            let sum = IcmpPacket::new(&message).map_or(0, |packet| checksum(&packet));
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        // The kernel fills in the checksum of ICMPv6, which covers addresses that it chooses.
        IpAddr::V6(_) => {
            if let Some(mut echo) = MutableEchoRequestPacketV6::new(&mut message) {
                echo.set_icmpv6_type(Icmpv6Types::EchoRequest);
                echo.set_identifier(identifier);
                echo.set_sequence_number(sequence);
            }
        }
    }
    message
}

/// What echo a raw socket read; those of IPv4 deliver the IP header too.
fn echo(address: IpAddr, packet: &[u8]) -> Option<(Kind, u16, u16)> {
    let message = match address {
        IpAddr::V4(_) => packet.get(usize::from(packet.first()? & IPV4_HEADER_WORDS) * 4..)?,
        IpAddr::V6(_) => packet,
    };
    let kind = match (address, message.first()?) {
        (IpAddr::V4(_), 8) | (IpAddr::V6(_), 128) => Kind::Request,
        (IpAddr::V4(_), 0) | (IpAddr::V6(_), 129) => Kind::Reply,
        _ => return None,
    };
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    Some((kind, word(4)?, word(6)?))
}

/// The low half of the first octet of an IPv4 packet: its header's length in words of 32 bits (RFC 791, section 3.1).
const IPV4_HEADER_WORDS: u8 = 0x0f;
