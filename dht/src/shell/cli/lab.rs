// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht lab`: the bench.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{SignalKind, signal};

use super::flags::LabFlags;
use super::settings::Settings;
use super::{Failure, Outcome, output};
use crate::shell::lab::{Eclipse, LabConfig, LabError, limits, run as run_lab};

/// What the help says below the flags.
pub(super) const ABOUT: &str = "\
Examples:
  lisp-dht lab --nodes 24 --kill 0.5
  lisp-dht lab --memory --nodes 300 --hostile 0.2 --json=bench.json

Real nodes, each with its Kademlia, its store and an address of its own (127.1.i.1), publish a mapping each. Then random nodes \
look up random records; right is what brings the newest mapping. What is printed is of real nodes on this machine, never of a model.

  rss_bytes_per_node  growth of this process divided by the nodes, the bench's own records in it
  cold_start_us       from no key to a first mapping, by one more node
  requests            answered by the nodes during the lookups
  stale, missing      lookups that brought an earlier mapping, or none
  idle_...            with --idle: over QUIC all octets on the machine's loopback, headers from IP on counted; over memory
                      those of noise, without any

Exit code 1: not every lookup was right.";

/// Runs the bench, until SIGINT or SIGTERM at the latest.
pub(super) async fn run(_settings: Settings, flags: &LabFlags) -> Result<Outcome, Failure> {
    let config = config(flags)?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM").map_err(Failure::Lacking)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT").map_err(Failure::Lacking)?;
    let begun = Instant::now();
    let say = |text: &str| eprintln!("{:7.1} s  {text}", begun.elapsed().as_secs_f64());
    let report = tokio::select! {
        report = run_lab(&config, &say) => report?,
        _ = terminate.recv() => return Err(Failure::NoAnswer(anyhow!("stopped by SIGTERM"))),
        _ = interrupt.recv() => return Err(Failure::NoAnswer(anyhow!("stopped by SIGINT"))),
    };
    output::show(&flags.file.json, &report.json(), &report.lines())?;
    Ok(if report.is_right() { Outcome::Held } else { Outcome::DidNot })
}

fn config(flags: &LabFlags) -> anyhow::Result<LabConfig> {
    let within = |name: &str, value: usize, least: usize, most: usize| {
        let fits = (least..=most).contains(&value);
        fits.then_some(value).ok_or_else(|| anyhow!("--{name} {value}: from {least} to {most}"))
    };
    let pause = |name: &str, seconds: u64| {
        let most = limits::PAUSE.as_secs();
        (seconds <= most)
            .then(|| Duration::from_secs(seconds))
            .ok_or_else(|| anyhow!("--{name} {seconds}: at most {most}"))
    };
    for (name, value) in [("kill", flags.kill), ("hostile", flags.hostile)] {
        if !(0.0..1.0).contains(&value) {
            return Err(anyhow!("--{name} {value}: a part of the nodes, from 0 to less than 1"));
        }
    }
    let networks = within("networks", flags.networks, 1, limits::NETWORKS)?;
    let ids = flags.eclipse.map(|ids| within("eclipse", ids, 1, limits::ECLIPSE_IDS)).transpose()?;
    Ok(LabConfig {
        memory: flags.memory,
        delay: delay(flags.delay)?,
        kill: flags.kill,
        settle: pause("settle", flags.settle)?,
        lookups: within("lookups", flags.lookups, 0, limits::LOOKUPS)?,
        idle: pause("idle", flags.idle)?,
        hostile: flags.hostile,
        eclipse: ids.map(|ids| Eclipse { ids, networks }),
        hostile_puts: within("hostile-puts", flags.hostile_puts, 0, limits::HOSTILE_PUTS)? as u64,
        seed: flags.seed,
        ..LabConfig::new(within("nodes", flags.nodes, 2, limits::NODES)?)
    })
}

/// Longer than [`limits::DELAY`] nothing would ever be answered in time.
fn delay(milliseconds: u64) -> anyhow::Result<Duration> {
    let delay = Duration::from_millis(milliseconds);
    let most = limits::DELAY;
    if delay <= most { Ok(delay) } else { Err(anyhow!("--delay {milliseconds}: at most {}", most.as_millis())) }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        match error {
            LabError::Start(error) => error.into(),
            other => Self::Lacking(other.into()),
        }
    }
}
