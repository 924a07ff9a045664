// SPDX-License-Identifier: GPL-2.0-or-later
//! What crosses between two sites, by several designs of what is between them that take turns: plain routing, the kernel's VXLAN, our
//! tunnel routers, and those of others. And by the least that any program can do, which tells what of a figure is the machine's.
//!
//! All designs are there all the time, each in namespaces of its own, and every round measures every design once, so that what else
//! the machine does falls on all of them. Ratios are medians of the ratios of each round.

mod bare;
mod convergence;
mod design;
mod lane;
mod plot;
mod promises;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use super::disturbed::Undisturbed;
use super::{Teller, threads_cpu};
use crate::demo::UsageError;
use crate::demo::binaries::Binaries;
use crate::interrupt;
use crate::lab::privilege;
use crate::lab::workspace::Workspace;
use crate::probe::iperf3;
use crate::probe::load::Senders;
use crate::sites::Family;
use design::Kit;
use lane::Lane;
use report::{Idle, Seen};

pub use convergence::{Change, Convergence};
pub use design::{Design, Test, Underlay};
pub use plot::{check as check_plot, write as write_plot};
pub use report::{Figures, Report};

/// How long flows run before they are measured: TCP has found its window by then.
const WARM_UP: Duration = Duration::from_millis(300);
/// Pause after each turn, in which queues run empty.
const SETTLE: Duration = Duration::from_millis(50);
/// Datagrams a second that must cross without a loss.
const PACE: u32 = 100_000;

/// Turns that are played again since others had the processors, for each round and design; there are up to ten.
const AGAIN: usize = 10;
/// Why nothing is seen of locators that fail.
const NONE_OF_OURS: &str = "it is of lisp-xtr, which is in none of the designs that are measured";

/// What the bench is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are; otherwise they are built.
    pub bin_dir: Option<PathBuf>,
    /// Work in a user namespace, even as root.
    pub user_namespace: bool,
    /// Turns of each design at each test.
    pub rounds: usize,
    /// Measured time of a turn.
    pub turn: Duration,
    /// Pings of a turn of round-trip times.
    pub pings: u16,
    /// How long idle routers are watched.
    pub idle: Duration,
    /// Which designs; empty = all.
    pub designs: Vec<Design>,
    /// On which underlays; empty = both.
    pub underlays: Vec<Underlay>,
    /// Which tests; empty = all.
    pub tests: Vec<Test>,
    /// What sends and takes TCP.
    pub senders: Senders,
    /// Family of what the hosts send.
    pub inner: Family,
    /// Family of the tunnels.
    pub outer: Family,
}

/// All of a list of choices, or those that were chosen, in the order of the list.
fn chosen<T: Copy + PartialEq>(all: &[T], chosen: &[T]) -> Vec<T> {
    all.iter().copied().filter(|one| chosen.is_empty() || chosen.contains(one)).collect()
}

/// Runs the bench.
///
/// # Errors
/// When the lab cannot be had, a design does not carry packets at all, or nothing that is asked for can be measured.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let teller = Teller::new();
    let (designs, tests) = (chosen(&Design::ALL, &options.designs), chosen(&Test::ALL, &options.tests));
    let has_ours = designs.iter().any(|design| matches!(design, Design::Tier0 | Design::Tier1));
    if !has_ours && tests == [Test::Convergence] {
        return Err(UsageError(format!("--test {}: {NONE_OF_OURS}", Test::Convergence)).into());
    }
    if options.senders == Senders::Iperf3 {
        teller.say(&iperf3::version()?);
    }
    privilege::check_tun()?;
    let binaries = Binaries::find_or_build(options.bin_dir.as_deref())?;
    privilege::acquire(options.user_namespace)?;
    interrupt::watch()?;
    let workspace = Workspace::create(None)?;
    let (kits, skipped) = design::at_hand(designs, &binaries)?;
    skipped.iter().for_each(|skipped| teller.say(&format!("{} is left out: {}", skipped.design, skipped.why)));
    hints(&teller);
    let is_wanted = tests.contains(&Test::Convergence);
    if is_wanted && !has_ours {
        teller.say(&format!("{} is left out: {NONE_OF_OURS}", Test::Convergence));
    }
    let changes = has_ours && is_wanted;
    let mut estimate = estimate(options, kits.len(), &tests);
    if changes {
        estimate += convergence::estimate(options.rounds);
    }
    teller.say(&format!("about {:.0} s to go, in which this machine should do nothing else", estimate.as_secs_f64()));

    let mut seen = if tests == [Test::Convergence] {
        Seen::default()
    } else {
        side_by_side(options, kits, (&binaries, &workspace), &teller)?
    };
    if changes {
        seen.convergence = convergence::measure((options.rounds, options.inner), &binaries, &workspace, &teller)?;
    }
    seen.skipped = skipped;
    Ok(Report::new(machine(), options, seen))
}

/// All tests of designs, which are there side by side.
fn side_by_side(
    options: &Options,
    kits: Vec<Kit>,
    (binaries, workspace): (&Binaries, &Workspace),
    teller: &Teller,
) -> anyhow::Result<Seen> {
    let tests = chosen(&Test::ALL, &options.tests);
    let underlays = chosen(&Underlay::ALL, &options.underlays);
    let mut lanes = Vec::new();
    for kit in kits {
        lanes.push(Lane::build(kit, options, binaries, workspace)?);
    }
    teller.say("packets cross by every design");
    let mut seen = Seen::default();
    let mut undisturbed = Undisturbed::new(AGAIN * options.rounds * lanes.len(), options.turn);
    for underlay in underlays {
        lanes.iter_mut().try_for_each(|lane| lane.lay(underlay))?;
        for round in 0..options.rounds {
            for test in &tests {
                for place in 0..lanes.len() {
                    // Each round begins with another, so that none always follows the same.
                    let place = (place + round) % lanes.len();
                    let lane = &mut lanes[place];
                    match test {
                        Test::Tcp1 | Test::Tcp4 | Test::Udp64 => {
                            seen.turns.push(undisturbed.play(|| lane.turn(*test, underlay, options.turn))?)
                        }
                        Test::Loss100k => seen.losses.push(undisturbed.play(|| lane.paced(underlay, options.turn))?),
                        Test::AddedRtt => {
                            seen.round_trips.push(undisturbed.play(|| lane.round_trips(underlay, options.pings))?)
                        }
                        Test::Idle | Test::Convergence => continue,
                    }
                    interrupt::sleep(SETTLE)?;
                }
            }
            teller.say(&format!("{underlay}: round {} of {}", round + 1, options.rounds));
        }
    }
    if tests.contains(&Test::Idle) {
        seen.idle = watch_idle(&lanes, options.idle)?;
    }
    seen.disturbed = undisturbed.seen();
    seen.checksum_errors = lanes.iter().map(Lane::checksum_errors).collect::<anyhow::Result<_>>()?;
    Ok(seen)
}

/// Whatever makes figures worthless is said before they are measured.
fn hints(teller: &Teller) {
    if cfg!(debug_assertions) {
        teller.say("this is a debug build: its figures say nothing (cargo run --release ...)");
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split_whitespace().next().and_then(|minute| minute.parse().ok()).unwrap_or_default();
    if load > QUIET {
        teller.say(&format!("this machine is not quiet (load {load:.1}): figures of a busy one say little"));
    }
}

/// The load of the last minute above which others are at work.
const QUIET: f64 = 0.5;

/// How long it will take, without the changes.
fn estimate(options: &Options, designs: usize, tests: &[Test]) -> Duration {
    let underlays = chosen(&Underlay::ALL, &options.underlays).len();
    let turn = |test: &Test| match test {
        Test::Tcp1 | Test::Tcp4 | Test::Udp64 => WARM_UP.min(options.turn) + options.turn + SETTLE,
        Test::Loss100k => options.turn + SETTLE,
        Test::AddedRtt => lane::PING_INTERVAL * u32::from(options.pings) + SETTLE,
        Test::Idle | Test::Convergence => Duration::ZERO,
    };
    let turns: Duration = tests.iter().map(turn).sum();
    let times = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let idle = if tests.contains(&Test::Idle) { options.idle } else { Duration::ZERO };
    turns.saturating_mul(times(options.rounds * designs * underlays)) + idle
}

/// What all routers take together while nothing crosses, each by itself.
fn watch_idle(lanes: &[Lane], time: Duration) -> anyhow::Result<Vec<Idle>> {
    let spent = || -> anyhow::Result<Vec<Duration>> {
        lanes.iter().flat_map(Lane::routers).map(|(_, _, id)| threads_cpu(id, |_| true)).collect()
    };
    let before = spent()?;
    interrupt::sleep(time)?;
    let after = spent()?;
    let routers = lanes.iter().flat_map(Lane::routers);
    let idle = routers.zip(before.into_iter().zip(after)).map(|((design, node, _), (before, after))| {
        let percent = after.saturating_sub(before).as_secs_f64() * 100.0 / time.as_secs_f64();
        Idle { design, node, percent }
    });
    Ok(idle.collect())
}

/// This machine, for who compares figures.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']).trim();
    let kernel = read("/proc/sys/kernel/osrelease");
    [format!("{cores} cores"), model.to_owned(), format!("Linux {}", kernel.trim())]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}
