// SPDX-License-Identifier: GPL-2.0-or-later
//! `interop bench dht`: real DHT nodes in a network with distance: how long lookups take, what a node costs, and what is left
//! when half of them die at once.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use serde_json::Value;

use super::mesh::Mesh;
use super::{Line, Teller, quantile};
use crate::delaybox::Delay;
use crate::delaybox::bridge::Counters;
use crate::demo::binaries::Binaries;
use crate::interrupt;
use crate::lab::privilege;
use crate::lab::workspace::Workspace;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// DHT nodes.
    pub nodes: usize,
    /// What the network does to every frame.
    pub delay: Delay,
    /// Share of the nodes that die at once.
    pub kill: f64,
    /// Lookups before that, and after it.
    pub lookups: usize,
    /// How long idle traffic is counted.
    pub idle: Duration,
    /// How long the living are left alone after the death of the others.
    pub settle: Duration,
    /// What the dice begin with.
    pub seed: u64,
    /// Where our built programs are; none = build them.
    pub bin_dir: Option<PathBuf>,
    /// Work in a user namespace even as root.
    pub user_namespace: bool,
}

/// What it came to. The first seven keys are those of `lisp-dht lab`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// DHT nodes.
    pub nodes: usize,
    /// Those that were killed.
    pub killed: usize,
    /// Lookups after the death of those.
    pub lookups: usize,
    /// Those of them that found the newest mapping.
    pub correct: usize,
    /// Median of the lookups while all lived, microseconds.
    pub p50_us: u64,
    /// 99th percentile of the same.
    pub p99_us: u64,
    /// Resident memory of a node, mean, octets.
    pub rss_bytes_per_node: u64,
    /// Of that, what it does not share with the others.
    pub private_bytes_per_node: u64,
    /// Round-trip time of the network, microseconds.
    pub rtt_us: u64,
    /// Lookups while all lived, and those of them that were right.
    pub lookups_before: usize,
    /// See there.
    pub correct_before: usize,
    /// Most sequential round trips of a lookup, as the asking node counted them.
    pub rounds_max: Option<u64>,
    /// From the start of a program that knows one node until it has a verified mapping, milliseconds, median of five.
    pub first_mapping_ms: u64,
    /// From the start of all nodes until each knows half of the others, milliseconds.
    pub join_ms: u64,
    /// Idle traffic of a node, sent and received, with IP, UDP and QUIC headers, mean, kbit/s.
    pub idle_kbit_s: f64,
    /// What the dice began with.
    pub seed: u64,
    /// Promises.
    pub promises: Vec<Line>,
}

impl Report {
    /// Whether all promises were kept.
    pub fn ok(&self) -> bool {
        self.promises.iter().all(|line| line.ok)
    }
}

/// Runs it. The process must have one thread when this is called, and should end after it.
///
/// # Errors
/// What was refused, or that we were interrupted. A promise that was not kept is in the report.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    privilege::check_tun()?;
    let binaries = Binaries::find_or_build(options.bin_dir.as_deref())?;
    privilege::acquire(options.user_namespace)?;
    interrupt::watch()?;
    let teller = Teller::new();
    let workspace = Workspace::create(None)?;
    teller.say(&format!("{} identities and namespaces", options.nodes));
    let mut mesh = Mesh::build(options.nodes, options.delay, binaries, workspace)?;
    let outcome = measure(options, &teller, &mut mesh);
    if outcome.is_err() {
        teller.say(&format!("the logs are kept in {}", mesh.keep_logs()?.display()));
    }
    outcome
}

fn measure(options: &Options, teller: &Teller, mesh: &mut Mesh) -> anyhow::Result<Report> {
    let mut dice = SmallRng::seed_from_u64(options.seed);
    let mut report = Report { nodes: options.nodes, seed: options.seed, ..Report::default() };
    report.rtt_us = micros(options.delay.one_way * 2);
    join(teller, mesh, &mut report)?;
    let written = publish(teller, mesh)?;
    idle(options, teller, mesh, &mut report)?;
    cold(teller, mesh, &written, &mut report)?;
    let before = look_up(options.lookups, mesh, &written, &mut dice)?;
    (report.lookups_before, report.correct_before) = (before.times.len(), before.correct);
    report.p50_us = micros(quantile(&before.times, 0.5).unwrap_or_default());
    report.p99_us = micros(quantile(&before.times, 0.99).unwrap_or_default());
    report.rounds_max = before.rounds;
    teller.say(&format!("{} of {} lookups right", before.correct, before.times.len()));
    memory(mesh, &mut report)?;
    die(options, teller, mesh, &mut dice, &mut report)?;
    let after = look_up(options.lookups, mesh, &written, &mut dice)?;
    (report.lookups, report.correct) = (after.times.len(), after.correct);
    teller.say(&format!("{} of {} lookups right", after.correct, after.times.len()));
    report.promises = promises(options, &report);
    Ok(report)
}

fn join(teller: &Teller, mesh: &mut Mesh, report: &mut Report) -> anyhow::Result<()> {
    mesh.start(0, &[])?;
    for number in 1..mesh.members.len() {
        mesh.start(number, &[0])?;
    }
    let known = mesh.members.len() / 2;
    let took = mesh.await_peers(known, JOIN_TIME)?;
    report.join_ms = u64::try_from(took.as_millis())?;
    teller.say(&format!("each node knows {known} others after {} ms", report.join_ms));
    Ok(())
}

/// Puts a mapping for each node; returns the locators.
fn publish(teller: &Teller, mesh: &mut Mesh) -> anyhow::Result<Vec<IpAddr>> {
    let mut written = Vec::new();
    for number in 0..mesh.members.len() {
        mesh.check()?;
        let locator = mesh.members[number].address;
        let by = (number + 1) % mesh.members.len();
        let answer = mesh.put(number, locator, by).with_context(|| format!("put {number}"))?;
        if number == 0 {
            teller.say(&format!("the first of {} records is stored by {} nodes", mesh.members.len(), answer["stored"]));
        }
        written.push(locator);
    }
    Ok(written)
}

fn idle(options: &Options, teller: &Teller, mesh: &mut Mesh, report: &mut Report) -> anyhow::Result<()> {
    interrupt::sleep(CALM)?;
    teller.say(&format!("counting idle traffic for {} s", options.idle.as_secs()));
    let before = mesh.passed();
    interrupt::sleep(options.idle)?;
    let after = mesh.passed();
    mesh.check()?;
    let octets = |counters: &[Counters]| -> u64 {
        let of =
            |port: &Counters| port.octets_in + port.octets_out - ETHERNET_HEADER * (port.frames_in + port.frames_out);
        counters.iter().map(of).sum()
    };
    #[allow(clippy::cast_precision_loss, reason = "an octet of a million is no matter")]
    let bits = (octets(&after) - octets(&before)) as f64 * 8.0;
    #[allow(clippy::cast_precision_loss, reason = "some tens of nodes")]
    let nodes = mesh.members.len() as f64;
    report.idle_kbit_s = (bits / options.idle.as_secs_f64().max(1.0) / nodes / 100.0).round() / 10.0;
    teller.say(&format!("{} kbit/s a node", report.idle_kbit_s));
    Ok(())
}

fn cold(teller: &Teller, mesh: &Mesh, written: &[IpAddr], report: &mut Report) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for number in 0..5.min(mesh.members.len()) {
        let of = mesh.members.len() - 1 - number;
        let (answer, took) = mesh.get_cold(number, of, (number + 2) % mesh.members.len())?;
        anyhow::ensure!(is_right(&answer, written[of]), "a cold lookup found {answer}");
        times.push(took);
    }
    report.first_mapping_ms = micros(quantile(&times, 0.5).unwrap_or_default()) / 1000;
    teller.say(&format!("a program that was just started has a mapping after {} ms", report.first_mapping_ms));
    Ok(())
}

/// Lookups, and what became of them.
#[derive(Default)]
struct Lookups {
    times: Vec<Duration>,
    correct: usize,
    rounds: Option<u64>,
}

fn look_up(count: usize, mesh: &Mesh, written: &[IpAddr], dice: &mut SmallRng) -> anyhow::Result<Lookups> {
    let running = mesh.running();
    let mut all = Lookups::default();
    for _ in 0..count {
        interrupt::check()?;
        let asker = running[dice.random_range(0..running.len())];
        let of = dice.random_range(0..written.len());
        let answer = mesh.resolve(asker, of)?;
        all.correct += usize::from(is_right(&answer, written[of]));
        all.times.push(Duration::from_micros(answer["elapsed_us"].as_u64().unwrap_or(u64::MAX)));
        all.rounds = all.rounds.max(answer["rounds"].as_u64());
    }
    Ok(all)
}

/// Whether an answer is the mapping that was put, verified.
pub(super) fn is_right(answer: &Value, locator: IpAddr) -> bool {
    let sections = answer.pointer("/record/sections").and_then(Value::as_array);
    let mut found = sections.into_iter().flatten().filter_map(|section| section.pointer("/body/locators/0/address"));
    let locator = locator.to_string();
    answer["result"] == "mapping"
        && answer["verified"] == true
        && found.next_back().is_some_and(|found| *found == locator)
}

fn memory(mesh: &Mesh, report: &mut Report) -> anyhow::Result<()> {
    let running = mesh.running();
    let (mut resident, mut private) = (0, 0);
    for number in &running {
        let (all, own) = mesh.memory(*number)?;
        resident += all;
        private += own;
    }
    let nodes = u64::try_from(running.len())?.max(1);
    (report.rss_bytes_per_node, report.private_bytes_per_node) = (resident / nodes, private / nodes);
    Ok(())
}

fn die(
    options: &Options,
    teller: &Teller,
    mesh: &mut Mesh,
    dice: &mut SmallRng,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut doomed = mesh.running();
    doomed.shuffle(dice);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    doomed.truncate((doomed.len() as f64 * options.kill.clamp(0.0, 1.0)).round() as usize);
    for number in &doomed {
        mesh.kill(*number)?;
    }
    report.killed = doomed.len();
    teller.say(&format!("{} nodes are dead; {} s of silence", doomed.len(), options.settle.as_secs()));
    interrupt::sleep(options.settle)?;
    mesh.check()
}

fn promises(options: &Options, report: &Report) -> Vec<Line> {
    let line = |name, ok, measured: String, promised| Line { name, ok, measured, promised };
    let limit = report.rtt_us * 3 + 5000;
    let kib = |octets: u64| format!("{:.1} MB", octets as f64 / 1e6);
    let mut lines = vec![
        line(
            "lookups",
            report.correct_before == report.lookups_before,
            format!("{} of {}", report.correct_before, report.lookups_before),
            "all right",
        ),
        line(
            "rounds",
            report.rounds_max.is_some_and(|rounds| rounds <= 3),
            format!("{:?}", report.rounds_max),
            "at most 3",
        ),
        line(
            "p50",
            report.p50_us <= limit,
            format!("{} us, RTT {} us", report.p50_us, report.rtt_us),
            "at most 3 RTT + 5 ms",
        ),
        line(
            "first mapping",
            report.first_mapping_ms < 1000,
            format!("{} ms", report.first_mapping_ms),
            "under 1 s from a cold start",
        ),
        line(
            "memory",
            report.private_bytes_per_node < 12_000_000,
            format!(
                "{} resident, {} of it the node's own",
                kib(report.rss_bytes_per_node),
                kib(report.private_bytes_per_node)
            ),
            "under 12 MB a node",
        ),
        line(
            "idle traffic",
            report.idle_kbit_s < 12.0,
            format!("{} kbit/s", report.idle_kbit_s),
            "under 12 kbit/s a node",
        ),
    ];
    if options.kill > 0.0 {
        lines.push(line(
            "after the death",
            report.correct == report.lookups,
            format!("{} of {} with {} of {} dead", report.correct, report.lookups, report.killed, report.nodes),
            "all right",
        ));
    }
    lines
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How long nodes may take to find each other.
const JOIN_TIME: Duration = Duration::from_secs(60);
/// How long nodes are left alone before idle traffic is counted.
const CALM: Duration = Duration::from_secs(10);
/// Octets of a frame before its IP packet.
const ETHERNET_HEADER: u64 = 14;
