// SPDX-License-Identifier: GPL-2.0-or-later
//! Very many registrations of one site whose covering prefix alone is published: what they weigh, and how long after a
//! Map-Register there is a right answer.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use wire::control::{ControlMessage, Nonce};

use super::questions::{Sites, Within, encode, is_positive};
use super::stage::{SECRET, Stage};
use super::{quantile, server};
use crate::bench::register::{record, register_all, sealed};
use crate::bench::resident;

/// The most that a map system takes, less those that are registered later for [`first_answers`].
pub const MOST: u32 = 1_000_000;
/// Sites whose first answer is waited for.
const FIRST: u32 = 200;
/// A question without an answer is asked again after this.
const AGAIN: Duration = Duration::from_millis(50);
/// This long for the first right answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What very many registrations weigh.
#[derive(Debug, Clone, Serialize)]
pub struct Weight {
    /// How many.
    pub registrations: u32,
    /// How long it took until all were confirmed.
    pub seconds: f64,
    /// What the process has more in memory, for each.
    pub octets_each: f64,
    /// Its throughput in that of the case "registered", each as a share of the floor beside it.
    pub of_registered: f64,
}

/// From a Map-Register to the first right answer.
#[derive(Debug, Clone, Serialize)]
pub struct FirstAnswer {
    /// Sites that were new.
    pub sites: u32,
    /// Median.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// The longest.
    pub longest_us: f64,
}

/// Very many sites, scattered.
pub(super) fn sites(count: u32) -> Sites {
    Sites { within: Within::Scattered, count }
}

/// Registers them where none of them was registered before; how long it took, what each weighs, and the next nonce of their site.
pub(super) fn register(stage: &mut Stage, count: u32) -> anyhow::Result<(Weight, u64)> {
    stage.begin_million()?;
    let socket = connected(stage)?;
    let before = resident(stage.server.id())?;
    let begun = Instant::now();
    let next = register_all(&socket, SECRET, 1, sites(count).prefixes())?;
    let seconds = begun.elapsed().as_secs_f64();
    let grown = resident(stage.server.id())?.saturating_sub(before);
    let octets_each = grown as f64 / f64::from(count.max(1));
    Ok((Weight { registrations: count, seconds, octets_each, of_registered: f64::NAN }, next))
}

/// Registers sites beyond the first `count`, one after the other, and asks for each until it is found.
pub(super) fn first_answers(stage: &Stage, count: u32, mut nonce: u64) -> anyhow::Result<FirstAnswer> {
    let socket = connected(stage)?;
    socket.set_read_timeout(Some(AGAIN))?;
    let client = socket.local_addr()?;
    let (all, mut times) = (sites(count + FIRST), Vec::new());
    for number in count..count + FIRST {
        let prefix = all.prefix(number);
        let message = sealed(SECRET, nonce, vec![record(prefix)])?;
        nonce += 1;
        let question = encode(Nonce(rand::random()), client, all.host(number, 1))?;
        let begun = Instant::now();
        socket.send(&message)?;
        socket.send(&question)?;
        let mut buffer = [0; 2048];
        loop {
            ensure!(begun.elapsed() < PATIENCE, "{prefix} is not found within {PATIENCE:?}");
            let Ok(length) = socket.recv(&mut buffer) else {
                socket.send(&question)?;
                continue;
            };
            if is_positive(&buffer[..length], &prefix) {
                times.push(begun.elapsed());
                break;
            }
            if matches!(ControlMessage::decode(&buffer[..length]), Ok(ControlMessage::MapReply(_))) {
                socket.send(&question)?;
            }
        }
    }
    let micros = |share| quantile(&times, share).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
    Ok(FirstAnswer { sites: FIRST, p50_us: micros(0.5), p99_us: micros(0.99), longest_us: micros(1.0) })
}

fn connected(stage: &Stage) -> anyhow::Result<UdpSocket> {
    let socket = stage.client_socket()?;
    socket.connect(server()).context("the measured map system")?;
    Ok(socket)
}
