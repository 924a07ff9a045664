// SPDX-License-Identifier: GPL-2.0-or-later
//! `interop bench clouds`: two clouds that have never met write on their own, one of them also about a node that the other
//! has written about; then one link joins them, and every node is to find the newest of everything.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::dht::is_right;
use super::mesh::Mesh;
use super::{Line, Teller};
use crate::delaybox::Delay;
use crate::demo::binaries::Binaries;
use crate::interrupt;
use crate::lab::privilege;
use crate::lab::workspace::Workspace;
use crate::limits::POLL;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nodes of both clouds together.
    pub nodes: usize,
    /// What the network does to every frame.
    pub delay: Delay,
    /// Where our built programs are; none = build them.
    pub bin_dir: Option<PathBuf>,
    /// Work in a user namespace even as root.
    pub user_namespace: bool,
}

/// What it came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Nodes of both clouds together.
    pub nodes: usize,
    /// Records that were written in either.
    pub records: usize,
    /// Records of the other cloud that a node of one could find before the link, which must be none.
    pub found_before: usize,
    /// Pairs of node and record that were right in the end, and all of them.
    pub right: usize,
    /// See there.
    pub pairs: usize,
    /// Seconds from the link until all were right.
    pub merged_s: f64,
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
    anyhow::ensure!(options.nodes >= 4, "two clouds of two nodes at least: --nodes 4");
    privilege::check_tun()?;
    let binaries = Binaries::find_or_build(options.bin_dir.as_deref())?;
    privilege::acquire(options.user_namespace)?;
    interrupt::watch()?;
    let teller = Teller::new();
    let workspace = Workspace::create(None)?;
    teller.say(&format!("{} identities and namespaces", options.nodes));
    let mut mesh = Mesh::build(options.nodes, options.delay, binaries, workspace)?;
    let outcome = merge(options, &teller, &mut mesh);
    if outcome.is_err() {
        teller.say(&format!("the logs are kept in {}", mesh.keep_logs()?.display()));
    }
    outcome
}

fn merge(options: &Options, teller: &Teller, mesh: &mut Mesh) -> anyhow::Result<Report> {
    let (nodes, half) = (options.nodes, options.nodes / 2);
    let side = |number: usize| usize::from(number >= half);
    mesh.cut(&(0..nodes).map(side).collect::<Vec<_>>());
    begin(mesh, half)?;
    teller.say("two clouds stand, and cannot hear each other");
    let mut expected = Vec::new();
    for number in 0..nodes {
        let by = half * side(number) + (number + 1) % if side(number) == 0 { half } else { nodes - half };
        let locator = mesh.members[number].address;
        mesh.put(number, locator, by)?;
        expected.push(locator);
    }
    // The first node is written about in the other cloud too, later: that is what must win everywhere.
    let moved = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    mesh.put(0, moved, half)?;
    expected[0] = moved;
    let mut report = Report { nodes, records: nodes, ..Report::default() };
    report.found_before = usize::from(is_right(&mesh.resolve(0, half)?, expected[half]))
        + usize::from(is_right(&mesh.resolve(half, 1)?, expected[1]));
    teller.say(&format!("{nodes} records are written, one of them in both clouds; now they are linked"));
    mesh.cut(&vec![0; nodes]);
    settle(mesh, &expected, &mut report)?;
    teller.say(&format!("{} of {} right after {:.1} s", report.right, report.pairs, report.merged_s));
    report.promises = promises(&report);
    Ok(report)
}

/// Starts both clouds. One node of the second knows an address in the first, which it cannot reach yet.
fn begin(mesh: &mut Mesh, half: usize) -> anyhow::Result<()> {
    mesh.start(0, &[])?;
    mesh.start(half, &[])?;
    for number in 1..mesh.members.len() {
        match number {
            _ if number < half => mesh.start(number, &[0])?,
            _ if number == half => {}
            _ if number == half + 1 => mesh.start(number, &[half, 0])?,
            _ => mesh.start(number, &[half])?,
        }
    }
    mesh.await_peers(1, JOIN_TIME)?;
    Ok(())
}

/// Asks every node for every record, until all are right or the time is up.
fn settle(mesh: &mut Mesh, expected: &[IpAddr], report: &mut Report) -> anyhow::Result<()> {
    let linked = Instant::now();
    let mut open: Vec<(usize, usize)> = Vec::new();
    for asker in mesh.running() {
        open.extend((0..expected.len()).map(|of| (asker, of)));
    }
    report.pairs = open.len();
    while !open.is_empty() && linked.elapsed() < MERGE_TIME {
        mesh.check()?;
        let mut wrong = Vec::new();
        for (asker, of) in open {
            if !is_right(&mesh.resolve(asker, of)?, expected[of]) {
                wrong.push((asker, of));
            }
        }
        open = wrong;
        interrupt::sleep(POLL * 10)?;
    }
    report.right = report.pairs - open.len();
    report.merged_s = (linked.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    Ok(())
}

fn promises(report: &Report) -> Vec<Line> {
    vec![
        Line {
            name: "apart",
            ok: report.found_before == 0,
            measured: format!("{} records of the other cloud found", report.found_before),
            promised: "none before the link",
        },
        Line {
            name: "merged",
            ok: report.right == report.pairs && report.merged_s <= MERGE_TIME.as_secs_f64(),
            measured: format!("{} of {} right after {} s", report.right, report.pairs, report.merged_s),
            promised: "all within 60 s, the newest everywhere",
        },
    ]
}

/// How long nodes of one cloud may take to find each other.
const JOIN_TIME: Duration = Duration::from_secs(30);
/// How long two clouds may take to become one.
const MERGE_TIME: Duration = Duration::from_secs(60);
