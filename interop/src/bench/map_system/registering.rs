// SPDX-License-Identifier: GPL-2.0-or-later
//! Very many sites that register once a minute each: what that takes of a processor, and how soon it is acknowledged.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::questions::{Sites, Within};
use super::stage::{SECRET, Stage};
use super::{cpu, quantile};
use crate::bench::register::{confirmed, record, sealed};
use crate::interrupt;

/// Where these sites are.
pub(super) const MANY: Within = Within::Group(0xdba);
/// Map-Registers a second at the beginning, when all sites are new.
const FIRST_RATE: f64 = 2000.0;
/// How long the first registrations may need until they are in the DHT.
const PUBLISHED: Duration = Duration::from_secs(120);
/// How often it is asked whether they are.
const WATCH: Duration = Duration::from_secs(1);
/// How often it is looked for Map-Notifies.
const TICK: Duration = Duration::from_millis(1);
/// After the last Map-Register, so long for Map-Notifies.
const PATIENCE: Duration = Duration::from_secs(1);
/// Rounds until all are registered.
const ROUNDS: u64 = 10;

/// What it takes.
#[derive(Debug, Clone, Serialize)]
pub struct Registering {
    /// Sites that are registered.
    pub sites: u32,
    /// Map-Registers a second: those of so many sites each minute.
    pub registers_per_s: f64,
    /// For so long.
    pub seconds: f64,
    /// Median time to the Map-Notify, which comes after the commit.
    pub p50_us: f64,
    /// 99th percentile of it.
    pub p99_us: f64,
    /// Map-Registers without a Map-Notify.
    pub lost: usize,
    /// Cores that the map system took, its DHT node among it.
    pub cores: f64,
}

/// Lets `count` sites register, waits until that is published, and then goes on at the pace of one a minute and site for `time`.
pub(super) fn measure(stage: &mut Stage, count: u32, time: Duration) -> anyhow::Result<Registering> {
    let sites = Sites { within: MANY, count };
    let (mut process, socket) = stage.start_many(sites)?;
    socket.set_read_timeout(Some(TICK))?;
    let mut new: Vec<u32> = (0..count).collect();
    for round in 1..=ROUNDS {
        new = play(&socket, sites, &new, FIRST_RATE, round)?.unconfirmed;
        process.check()?;
        if new.is_empty() {
            break;
        }
    }
    ensure!(new.is_empty(), "{} of {count} sites are not confirmed", new.len());
    await_published(stage)?;
    let rate = f64::from(count) / 60.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of sites")]
    let turns = (rate * time.as_secs_f64()).ceil() as u32;
    let these: Vec<u32> = (0..turns).map(|turn| turn % count).collect();
    let (begun, before) = (Instant::now(), cpu(process.id())?);
    let played = play(&socket, sites, &these, rate, ROUNDS + 1)?;
    let (spent, taken) = (begun.elapsed().as_secs_f64(), cpu(process.id())?.saturating_sub(before));
    process.check()?;
    let micros = |share| quantile(&played.times, share).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
    Ok(Registering {
        sites: count,
        registers_per_s: these.len() as f64 / spent,
        seconds: spent,
        p50_us: micros(0.5),
        p99_us: micros(0.99),
        lost: played.unconfirmed.len(),
        cores: taken.as_secs_f64() / spent,
    })
}

#[derive(Debug, Default)]
struct Played {
    times: Vec<Duration>,
    unconfirmed: Vec<u32>,
}

/// Sends a Map-Register for each of these sites, so many a second. The nonces of a site rise with the round, and with its turns.
fn play(socket: &UdpSocket, sites: Sites, turns: &[u32], rate: f64, round: u64) -> anyhow::Result<Played> {
    let (mut sent, mut times) = (HashMap::new(), Vec::new());
    let (begun, mut next, mut last) = (Instant::now(), 0, Instant::now());
    let mut buffer = [0; 2048];
    while next < turns.len() || (!sent.is_empty() && last.elapsed() < PATIENCE) {
        interrupt::sleep(Duration::ZERO)?;
        while next < turns.len() && (next as f64) < begun.elapsed().as_secs_f64() * rate {
            let nonce = round << 32 | next as u64;
            let message = sealed(SECRET, nonce, vec![record(sites.prefix(turns[next]))])?;
            last = Instant::now();
            socket.send(&message)?;
            sent.insert(nonce, (turns[next], last));
            next += 1;
        }
        if let Ok(length) = socket.recv(&mut buffer)
            && let Some((_, at)) = confirmed(&buffer[..length]).and_then(|nonce| sent.remove(&nonce))
        {
            times.push(at.elapsed());
        }
    }
    Ok(Played { times, unconfirmed: sent.into_values().map(|(site, _)| site).collect() })
}

/// Waits until all that is registered can be read in the DHT.
fn await_published(stage: &Stage) -> anyhow::Result<()> {
    let deadline = Instant::now() + PUBLISHED;
    loop {
        let registrations = stage.show_many("registrations")?;
        let rows = registrations.as_array().context("no list of registrations")?;
        let missing = rows.iter().filter(|row| row["published"] != true).count();
        if missing == 0 {
            return interrupt::sleep(WATCH).map_err(Into::into);
        }
        ensure!(Instant::now() < deadline, "{missing} of {} are not published within {PUBLISHED:?}", rows.len());
        interrupt::sleep(WATCH)?;
    }
}
