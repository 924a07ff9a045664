// SPDX-License-Identifier: GPL-2.0-or-later
//! A flood of QUIC Initials from addresses that are not the sender's.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::initial::initial;
use crate::lab::Namespace;

/// How often a bunch of Initials is sent.
const TICK: Duration = Duration::from_millis(2);
/// IPPROTO_RAW: the packet comes with its own IP header.
const RAW: i32 = 255;

/// A flood that goes on until it is dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Flood {
    /// Sends `rate` Initials a second to `target`, from random addresses.
    ///
    /// # Errors
    /// When no raw socket can be had there.
    pub fn start(namespace: &Namespace, target: SocketAddrV4, rate: u32) -> anyhow::Result<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (stop.clone(), sent.clone());
        let thread = namespace.start(move || run(target, rate, &stopped, &counter))?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Initials sent until now.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it could not send.
    pub fn end(mut self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|_| anyhow::bail!("the flood panicked"))?;
        }
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(target: SocketAddrV4, rate: u32, stop: &AtomicBool, sent: &AtomicU64) -> anyhow::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW))).context("a raw socket")?;
    let to = SockAddr::from(target);
    let begun = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_secs_f64() * f64::from(rate);
        while (sent.load(Ordering::Relaxed) as f64) < due {
            let packet = spoofed(target).context("an Initial")?;
            // A full queue drops it: a flood does not mind, and the count says what was tried.
            let _ = socket.send_to(&packet, &to);
            sent.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// An IPv4 packet with an Initial, from somebody out of 8.0.0.0/6, who has nothing to do with it and is not there in a lab.
fn spoofed(target: SocketAddrV4) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
    let source = Ipv4Addr::from_bits((0x08 << 24) | (rand::random::<u32>() & 0x03ff_ffff));
    let datagram = initial(rand::random(), rand::random(), rand::random())?;
    let (udp, ip) = (8 + datagram.len(), 28 + datagram.len());
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(ip).unwrap_or(u16::MAX).to_be_bytes());
    // Identification 0 and the header checksum are filled in by the kernel; time to live 64, UDP.
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.octets());
    packet.extend(target.ip().octets());
    packet.extend(rand::random_range(1024..=u16::MAX).to_be_bytes());
    packet.extend(target.port().to_be_bytes());
    packet.extend(u16::try_from(udp).unwrap_or(u16::MAX).to_be_bytes());
    // No checksum, which IPv4 allows.
    packet.extend([0, 0]);
    packet.extend(datagram);
    Ok(packet)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_says_how_long_it_is_and_comes_from_anywhere() {
        let target = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 53), 43420);
        let (one, other) = (spoofed(target).unwrap(), spoofed(target).unwrap());
        assert_eq!((one.len(), u16::from_be_bytes([one[2], one[3]])), (1228, 1228));
        assert_eq!(u16::from_be_bytes([one[24], one[25]]), 1208);
        assert_eq!(one[16..20], [192, 0, 2, 53]);
        assert_ne!(one[12..16], other[12..16]);
    }
}
