// SPDX-License-Identifier: GPL-2.0-or-later
//! Very many sites that register once a minute each: what that takes of a processor, and how soon it is acknowledged.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;

use super::questions::{Sites, Within};
use super::stage::{SECRET, Stage};
use super::{cpu, quantile};
use crate::bench::register::{confirmed, record, sealed};
use crate::bench::threads_cpu;
use crate::interrupt;

/// Where these sites are.
pub(super) const MANY: Within = Within::Group(0xdba);
/// Map-Registers a second at the beginning, when all sites are new.
const FIRST_RATE: f64 = 2000.0;
/// How often it is looked for Map-Notifies.
const TICK: Duration = Duration::from_millis(1);
/// After the last Map-Register, so long for Map-Notifies: what is late on a busy machine is slow, and not lost.
const PATIENCE: Duration = Duration::from_secs(5);
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
    /// Cores that the map system took: sockets, engine and disk.
    pub cores: f64,
    /// Cores that its DHT node took beside that. It still publishes what was new, at 256 records a second in this DHT of three: ten thousand
    /// take twice as long as they are watched for.
    pub dht_cores: f64,
    /// Both together: what the process took.
    pub all_cores: f64,
}

/// Cores that registering may take, and publishing what is registered.
const MOST_CORES: f64 = 0.25;

impl Registering {
    /// Whether all were confirmed, and the process took no more than it may, with its DHT node.
    pub(super) fn is_kept(&self) -> bool {
        self.all_cores < MOST_CORES && self.lost == 0
    }

    /// What it took, and how much of that its DHT node did.
    pub(super) fn told(&self) -> String {
        format!(
            "{:.3} cores, {:.3} of them the DHT node's; {:.0}/s, {} lost",
            self.all_cores, self.dht_cores, self.registers_per_s, self.lost
        )
    }
}

/// Starts a map system, lets `count` sites register, and then goes on at the pace of one a minute and site for `time`.
pub(super) fn measure(stage: &Stage, count: u32, time: Duration) -> anyhow::Result<Registering> {
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
    let rate = f64::from(count) / 60.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of sites")]
    let turns = (rate * time.as_secs_f64()).ceil() as u32;
    let these: Vec<u32> = (0..turns).map(|turn| turn % count).collect();
    let (begun, before) = (Instant::now(), shares(process.id())?);
    let played = play(&socket, sites, &these, rate, ROUNDS + 1)?;
    let (spent, after) = (begun.elapsed().as_secs_f64(), shares(process.id())?);
    let [dht_cores, cores] = [0, 1].map(|of| after[of].saturating_sub(before[of]).as_secs_f64() / spent);
    process.check()?;
    let micros = |share| quantile(&played.times, share).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
    Ok(Registering {
        sites: count,
        registers_per_s: these.len() as f64 / spent,
        seconds: spent,
        p50_us: micros(0.5),
        p99_us: micros(0.99),
        lost: played.unconfirmed.len(),
        cores,
        dht_cores,
        all_cores: cores + dht_cores,
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

/// What the threads of a process have had of the processors until now: those of the DHT node, and the others.
fn shares(process: u32) -> anyhow::Result<[Duration; 2]> {
    let dht = threads_cpu(process, |name| name.starts_with("dht"))?;
    Ok([dht, cpu(process)?.saturating_sub(dht)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_the_dht_node_counts() {
        let measured = |dht_cores: f64, lost| Registering {
            sites: 10_000,
            registers_per_s: 167.0,
            seconds: 60.0,
            p50_us: 900.0,
            p99_us: 2000.0,
            lost,
            cores: 0.093,
            dht_cores,
            all_cores: 0.093 + dht_cores,
        };
        assert_eq!(measured(0.224, 0).told(), "0.317 cores, 0.224 of them the DHT node's; 167/s, 0 lost");
        let kept = [(0.1, 0), (0.224, 0), (0.1, 1)].map(|(dht_cores, lost)| measured(dht_cores, lost).is_kept());
        assert_eq!(kept, [true, false, false]);
    }
}
