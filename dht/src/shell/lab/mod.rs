// SPDX-License-Identifier: GPL-2.0-or-later
//! The bench: real nodes (their Kademlia, store and lookups as in a daemon) in one process, over QUIC on loopback or over
//! memory; how they are killed, and lookups judged by whether they bring the newest mapping.
//!
//! A bench measures; what it has not run it does not say anything about. Figures of more nodes are those of a model.

mod attack;
mod bench;
mod figures;
mod folder;
mod hostile;
pub mod limits;
mod lookups;
mod people;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cgeid::{CertificateError, Network};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

pub use self::figures::Report;

use self::bench::Bench;
use self::figures::micros;
use super::node::{Fabric, Transport};
use super::process;
use super::shelf::StartError;
use crate::error::PublishError;

/// What a bench is to do.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// Nodes that serve.
    pub nodes: usize,
    /// Connections within the process instead of QUIC on loopback.
    pub memory: bool,
    /// One-way delay of every connection; only within the process.
    pub delay: Duration,
    /// The part of the nodes that die at once, from 0 to 1.
    pub kill: f64,
    /// How long after that the lookups begin.
    pub settle: Duration,
    /// Lookups.
    pub lookups: usize,
    /// How long the idle network is watched before.
    pub idle: Duration,
    /// The part of the nodes that lie, from 0 to 1.
    pub hostile: f64,
    /// Further hostile nodes, aimed at one record; the lookups are of that one then.
    pub eclipse: Option<Eclipse>,
    /// PUTs of strangers before the lookups.
    pub hostile_puts: u64,
    /// What the choices and the identities follow from.
    pub seed: u64,
}

/// Ids placed nearest to the key of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eclipse {
    /// Ids.
    pub ids: usize,
    /// Blocks of addresses that they come from.
    pub networks: usize,
}

impl LabConfig {
    /// A bench of so many nodes, nobody of which dies.
    pub fn new(nodes: usize) -> Self {
        let (delay, kill, lookups, seed) = (Duration::ZERO, 0.0, 200, 1);
        let (settle, idle) = (Duration::from_secs(60), Duration::ZERO);
        let (hostile, eclipse, hostile_puts) = (0.0, None, 0);
        Self { nodes, memory: false, delay, kill, settle, lookups, idle, hostile, eclipse, hostile_puts, seed }
    }
}

/// Why a bench does not run.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A node does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// No folder for the databases.
    #[error("no folder for the databases of the nodes: {0}")]
    Folder(#[from] std::io::Error),
    /// No key could be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] CertificateError),
    /// Nothing could be signed.
    #[error("cannot sign: {0}")]
    Publish(#[from] PublishError),
}

/// Runs a bench until its end; `say` is told how it goes. Dropping the future stops the nodes, without waiting for them.
///
/// # Errors
/// When a node does not start, or no key can be made.
pub async fn run(config: &LabConfig, say: &dyn Fn(&str)) -> Result<Report, LabError> {
    let transport = if config.memory { Transport::Memory(Fabric::with_delay(config.delay)) } else { Transport::Quic };
    let mut bench = Bench::new(Network::LAB, transport)?;
    let outcome = measure(config, &mut bench, say).await;
    say("stopping");
    bench.stop().await;
    outcome
}

async fn measure(config: &LabConfig, bench: &mut Bench, say: &dyn Fn(&str)) -> Result<Report, LabError> {
    let mut random = StdRng::seed_from_u64(config.seed);
    let mut report = Report { nodes: config.nodes, ..Report::default() };
    report.note("seed", config.seed);
    report.note("transport", if config.memory { "memory" } else { "quic" });
    begin(config, bench, &mut report, &mut random, say).await?;
    watch_idle(config, bench, &mut report, say).await;
    let cold = bench.cold_start(&mut random).await?;
    report.note("cold_start_us", cold.map(micros));
    bench.start_clients(&mut random)?;
    bench.settle().await;
    let attack = attack::begin(config, bench, &mut random, say)?;
    let mut records = bench.records.clone();
    if let Some(attack) = &attack {
        tokio::time::sleep(limits::ATTACK).await;
        let put = bench.publish().await?;
        report.note("unstored_under_attack", put.unstored);
        report.note("copies_under_attack", put.copies);
        report.note("copies_refused_under_attack", put.refused + put.unreachable);
        records = if config.eclipse.is_some() { bench.records[..1].to_vec() } else { bench.records.clone() };
        attack.flood(config, bench, &mut report, say).await?;
    }
    report.killed = part(config.nodes, config.kill);
    if report.killed > 0 {
        say(&format!("{} nodes die", report.killed));
        bench.kill(report.killed, &mut random).await;
        tokio::time::sleep(config.settle).await;
    }
    let before = requests(bench).await;
    report.tally = lookups::run(bench, &records, config.lookups, &mut random, say).await;
    let asked = requests(bench).await.saturating_sub(before);
    report.note("rounds_max", report.tally.rounds_max());
    report.note("rounds_mean_milli", report.tally.rounds_mean_milli());
    report.note("requests", asked);
    // A request and its answer.
    report.note("messages", asked * 2);
    if let Some(attack) = &attack {
        attack.note(&mut report);
    }
    Ok(report)
}

/// Starts the honest nodes, lets them find each other and publish.
async fn begin(
    config: &LabConfig,
    bench: &mut Bench,
    report: &mut Report,
    random: &mut StdRng,
    say: &dyn Fn(&str),
) -> Result<(), LabError> {
    let honest = config.nodes - part(config.nodes, config.hostile);
    let (empty, begun) = (process::resident(), Instant::now());
    bench.start(honest, random)?;
    let way = bench.addresses().first().map(|address| format!("; others join by {address}")).unwrap_or_default();
    say(&format!("{honest} nodes run after {:.1?}{way}", begun.elapsed()));
    let peers = bench.settle().await;
    say(&format!("they know {peers} peers each after {:.1?}", begun.elapsed()));
    let put = bench.publish().await?;
    say(&format!("{} mappings published: {put:?}", bench.records.len()));
    let full = process::resident();
    let nodes = u64::try_from(honest.max(1)).unwrap_or(u64::MAX);
    report.note("rss_bytes_per_node", full.saturating_sub(empty) / nodes);
    report.note("rss_bytes_before", empty);
    report.note("rss_bytes", full);
    report.note("threads", process::threads());
    report.note("peers", peers);
    let (connections, refused, denied) = connections(bench).await;
    report.note("connections", connections);
    report.note("connections_refused", refused);
    report.note("dials_denied", denied);
    report.note("unstored", put.unstored);
    report.note("copies", put.copies);
    report.note("copies_refused", put.refused);
    report.note("copies_unreachable", put.unreachable);
    report.note("refusals", json!(refusals(bench).await));
    Ok(())
}

/// So many of all, rounded.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn part(all: usize, fraction: f64) -> usize {
    // Of at most a thousand nodes: exact, and neither negative nor too large for an integer.
    (all as f64 * fraction.clamp(0.0, 1.0)).round() as usize
}

/// Octets that the network sends when nobody asks anything. Over QUIC those are of the machine's whole loopback.
async fn watch_idle(config: &LabConfig, bench: &Bench, report: &mut Report, say: &dyn Fn(&str)) {
    if config.idle.is_zero() {
        return;
    }
    say(&format!("watching the idle network for {:?}", config.idle));
    let sent = || match &bench.transport {
        Transport::Memory(fabric) => Some(fabric.octets()),
        Transport::Quic => process::loopback_octets(),
    };
    let before = sent();
    let cpu = process::cpu();
    tokio::time::sleep(config.idle).await;
    let octets = sent().zip(before).map(|(after, before)| after.saturating_sub(before));
    let nodes = config.nodes.max(1) as u64;
    let seconds = config.idle.as_secs().max(1);
    report.note("idle_seconds", seconds);
    report.note("idle_bits_per_second_per_node", json!(octets.map(|octets| octets * 8 / seconds / nodes)));
    report.note("idle_cpu_us_per_second_per_node", micros(process::cpu().saturating_sub(cpu)) / seconds / nodes);
}

/// Connections of all nodes, each counted at both ends; how many were refused since the start, and how many dials found no place
/// where they began.
async fn connections(bench: &Bench) -> (usize, u64, u64) {
    let (mut all, mut refused, mut denied) = (0, 0, 0);
    for member in bench.live() {
        let stats = member.node.stats().await.unwrap_or_default();
        all += stats.connections;
        let counters = stats.counters;
        refused += counters.handshakes_refused + counters.block_refused + counters.full_refused;
        denied += counters.dials_denied;
    }
    (all, refused, denied)
}

/// What the stores of the living have refused since they started, by its name.
async fn refusals(bench: &Bench) -> BTreeMap<&'static str, u64> {
    let mut all = BTreeMap::new();
    for member in bench.live() {
        for (name, count) in member.node.stats().await.unwrap_or_default().held.refused {
            *all.entry(name).or_default() += count;
        }
    }
    all
}

/// Requests that the living have answered since they started.
async fn requests(bench: &Bench) -> u64 {
    let mut all = 0;
    for member in bench.live() {
        all += member.node.stats().await.map_or(0, |stats| stats.counters.requests_answered);
    }
    all
}
