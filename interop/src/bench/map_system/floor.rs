// SPDX-License-Identifier: GPL-2.0-or-later
//! What no map system can do without: one thread that receives a request and sends an answer of the same length, with nothing
//! around the system calls and nothing decided.

use std::net::{SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::batch::{OCTETS, raw, receive_one, send_one};
use super::questions::{Fields, Sample};
use crate::lab::Namespace;

/// How often it looks whether it is to end, with nothing to do.
const NAP: Duration = Duration::from_millis(100);

/// A reflector that answers until it is dropped.
#[derive(Debug)]
pub(super) struct Floor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Floor {
    /// Starts it at an address of the namespace; its answers are this one, with the nonce and the EID-prefix of the question.
    pub(super) fn start(namespace: &Namespace, at: SocketAddrV4, sample: Sample) -> anyhow::Result<Self> {
        let socket = namespace.run(move || UdpSocket::bind(at))?.context("the floor's socket")?;
        socket.set_read_timeout(Some(NAP))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = namespace.start(move || reflect(&socket, sample, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| bail!("the floor panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn reflect(socket: &UdpSocket, sample: Sample, stop: &AtomicBool) -> anyhow::Result<()> {
    let Sample { request: Fields { nonce, prefix }, reply: answer, mut bytes } = sample;
    let (mut buffer, mut from) = ([0; OCTETS], raw(SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0)));
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = receive_one(socket, &mut buffer, &mut from) else { continue };
        let request = &buffer[..length];
        let (Some(asked), Some(about)) = (nonce.of(request), prefix.of(request)) else { bail!("a short request") };
        answer.nonce.put(&mut bytes, asked);
        answer.prefix.put(&mut bytes, about);
        // What finds no room is lost, and is counted by who waits for it.
        let _ = send_one(socket, &bytes, &from);
    }
    Ok(())
}
