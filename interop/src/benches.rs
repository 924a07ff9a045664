// SPDX-License-Identifier: GPL-2.0-or-later
//! The benches on the command line: their flags, and what is printed of them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use interop::bench::{Line, clouds, data_plane, dht, dht_flood, map_system};
use interop::delaybox::Delay;
use interop::probe::load::Senders;
use interop::sites::Family;
use program::Json;
use serde::Serialize;

use crate::{LabFlags, exit_code, fail, milliseconds, publish, share};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// DHT nodes with distance between them: lookups, memory, idle traffic, and what is left when half of them die at once
    Dht(DhtFlags),
    /// Two clouds that have never met, then one link between them: how long until every node finds the newest of everything
    Clouds(CloudsFlags),
    /// Map-Requests for a registered site with and without a flood of spoofed QUIC Initials at the DHT: p99 stays under 2 x
    DhtFlood(DhtFloodFlags),
    /// Map-Requests as many as it answers, beside a bare thread that only receives and sends: at least 0.65 of it. Then a flood of
    /// random EIDs, a million registrations, and 10,000 sites that register each minute
    MapSystem(MapSystemFlags),
    /// What crosses between two sites by plain routing, the kernel's VXLAN, lisp-xtr and OpenOverlayRouter (INTEROP_OOR), in turns:
    /// TCP, small datagrams, losses, round-trip times, idle routers; and how long nothing crosses when a locator fails or an EID moves
    #[command(after_help = DATA_PLANE_EXAMPLES)]
    DataPlane(DataPlaneFlags),
}

const DATA_PLANE_EXAMPLES: &str = "\
Examples:
  All of it, with a picture of the ratios:
      interop bench data-plane --json=data-plane.json --plot ratios.svg
  One question, quickly:
      interop bench data-plane --rounds 3 --underlay wire-like --test tcp1 --design plain --design tier0
  What TCP of another program says:
      interop bench data-plane --rounds 3 --test tcp1 --test tcp4 --senders iperf3
  Nothing but how long packets do not cross when a locator fails or an EID-prefix moves, in a minute:
      interop bench data-plane --test convergence
  Whether everything carries packets at all, in seconds; the figures say nothing:
      interop bench data-plane --quick

Both hosts, all routers and who measures share this machine: compare the ratios, on a machine that does nothing else.
wire-like cuts packets to frames before they leave a router and is the underlay to quote; super-packets leaves 64 KiB whole.
bare is no router: a read and a send for each packet, which is what the machine lets anybody do who moves them one by one.";

#[derive(Debug, Args)]
pub(crate) struct DataPlaneFlags {
    /// Rounds; each measures every design once at every test
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Measured seconds of each turn
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = turn_seconds)]
    seconds: f64,
    /// Seconds for which idle routers are watched
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle: u64,
    /// Only this design; repeats. Default: all that are at hand
    #[arg(long)]
    design: Vec<data_plane::Design>,
    /// Only this underlay; repeats
    #[arg(long)]
    underlay: Vec<data_plane::Underlay>,
    /// Only this test; repeats
    #[arg(long)]
    test: Vec<data_plane::Test>,
    /// What sends and takes TCP at the hosts
    #[arg(long, value_enum, default_value_t)]
    senders: Senders,
    /// Version of IP that the hosts send
    #[arg(long, value_name = "VERSION", default_value = "6")]
    inner: Family,
    /// Version of IP that tunnels are in
    #[arg(long, value_name = "VERSION", default_value = "4")]
    outer: Family,
    /// One round of 0.2 seconds, 20 pings, a second of idleness: whether it works, not how well
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "idle"])]
    quick: bool,
    /// Draw the ratios to plain routing into FILE, an SVG; only an earlier picture is replaced
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    lab: LabFlags,
    #[command(flatten)]
    json: Json,
}

/// Seconds of a turn.
fn turn_seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.1..=600.0).contains(&value) { Ok(value) } else { Err("0.1 to 600 seconds".into()) }
}

#[derive(Debug, Args)]
pub(crate) struct MapSystemFlags {
    /// Turns of each case
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Milliseconds of each turn
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    turn: u64,
    /// Map-Requests outstanding
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    outstanding: u16,
    /// Threads in which the measured map system serves
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    /// Sites that are registered at each of the two map systems
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    sites: u16,
    /// Addresses that ask under the usual limits
    #[arg(long, default_value_t = map_system::CROWD_SIZE, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,
    /// EID-prefixes that one site registers, whose covering prefix alone is published
    #[arg(long, default_value_t = map_system::MOST, value_parser = clap::value_parser!(u32).range(1..=map_system::MOST as i64))]
    registrations: u32,
    /// Sites that register once a minute, at a third map system
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    registering: u32,
    /// Seconds for which they are watched, at the pace of the whole minute
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    registering_time: u64,
    /// Nothing but the flood of random EIDs
    #[arg(long)]
    flood_only: bool,
    #[command(flatten)]
    lab: LabFlags,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct CloudsFlags {
    /// DHT nodes of both clouds together, each a process in a namespace of its own
    #[arg(long, default_value_t = 10)]
    nodes: usize,
    /// Milliseconds between any two of them, each way
    #[arg(long, value_name = "MS", default_value_t = 5.0, value_parser = milliseconds)]
    delay: f64,
    #[command(flatten)]
    lab: LabFlags,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct DhtFlags {
    /// DHT nodes, each a process in a namespace of its own
    #[arg(long, default_value_t = 24)]
    nodes: usize,
    /// Milliseconds between any two of them, each way
    #[arg(long, value_name = "MS", default_value_t = 20.0, value_parser = milliseconds)]
    delay: f64,
    /// Share of the nodes that are killed at once
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    kill: f64,
    /// Lookups before the killing, and again after it
    #[arg(long, default_value_t = 200)]
    lookups: usize,
    /// Seconds for which idle traffic is counted
    #[arg(long, value_name = "S", default_value_t = 60)]
    idle: u64,
    /// Seconds between the killing and the lookups after it
    #[arg(long, value_name = "S", default_value_t = 60)]
    settle: u64,
    /// What the dice begin with
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    lab: LabFlags,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct DhtFloodFlags {
    /// Spoofed Initials a second
    #[arg(long, default_value_t = 5000)]
    rate: u32,
    /// Seconds of each of the turns, three with and three without the flood
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    lab: LabFlags,
    #[command(flatten)]
    json: Json,
}

impl Bench {
    /// Where its report goes.
    pub(crate) fn json(&self) -> &Json {
        match self {
            Self::Dht(flags) => &flags.json,
            Self::Clouds(flags) => &flags.json,
            Self::DhtFlood(flags) => &flags.json,
            Self::MapSystem(flags) => &flags.json,
            Self::DataPlane(flags) => &flags.json,
        }
    }

    /// Runs it.
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Self::Dht(flags) => bench_dht(flags),
            Self::Clouds(flags) => bench_clouds(flags),
            Self::DhtFlood(flags) => run_dht_flood(&flags),
            Self::MapSystem(flags) => bench_map_system(flags),
            Self::DataPlane(flags) => bench_data_plane(flags),
        }
    }
}

fn bench_dht(flags: DhtFlags) -> ExitCode {
    let delay = Delay::of(Duration::from_secs_f64(flags.delay / 1000.0));
    let options = dht::Options {
        nodes: flags.nodes,
        delay,
        kill: flags.kill,
        lookups: flags.lookups,
        idle: Duration::from_secs(flags.idle),
        settle: Duration::from_secs(flags.settle),
        seed: flags.seed,
        bin_dir: flags.lab.bin_dir,
        user_namespace: flags.lab.user_namespace,
    };
    judge(dht::run(&options), &flags.json, |report| (&report.promises, report.ok()))
}

fn bench_clouds(flags: CloudsFlags) -> ExitCode {
    let options = clouds::Options {
        nodes: flags.nodes,
        delay: Delay::of(Duration::from_secs_f64(flags.delay / 1000.0)),
        bin_dir: flags.lab.bin_dir,
        user_namespace: flags.lab.user_namespace,
    };
    judge(clouds::run(&options), &flags.json, |report| (&report.promises, report.ok()))
}

/// Prints what was promised beside what was measured.
fn judge<R: Serialize>(outcome: anyhow::Result<R>, json: &Json, promises: impl Fn(&R) -> (&[Line], bool)) -> ExitCode {
    exit_code(outcome.and_then(|report| {
        publish(&report, json)?;
        let (lines, ok) = promises(&report);
        for line in lines.iter().filter(|_| !json.is_output()) {
            let verdict = if line.ok { "kept" } else { "NOT KEPT" };
            println!("{:<17} {verdict:<9} {:<58} promised: {}", line.name, line.measured, line.promised);
        }
        Ok(ok)
    }))
}

fn run_dht_flood(flags: &DhtFloodFlags) -> ExitCode {
    let options = dht_flood::Options {
        bin_dir: flags.lab.bin_dir.clone(),
        user_namespace: flags.lab.user_namespace,
        rate: flags.rate,
        turn: Duration::from_secs(flags.seconds),
    };
    let shown = dht_flood::run(&options).inspect(|report| {
        if !flags.json.is_output() {
            report.lines().iter().for_each(|line| println!("{line}"));
        }
    });
    exit_code(shown.and_then(|report| publish(&report, &flags.json).map(|()| report.ok)))
}

fn bench_map_system(flags: MapSystemFlags) -> ExitCode {
    let options = map_system::Options {
        bin_dir: flags.lab.bin_dir,
        user_namespace: flags.lab.user_namespace,
        rounds: flags.rounds.into(),
        turn: Duration::from_millis(flags.turn),
        outstanding: flags.outstanding.into(),
        workers: flags.workers,
        sites: flags.sites,
        crowd: flags.clients,
        registrations: flags.registrations,
        registering: flags.registering,
        registering_time: Duration::from_secs(flags.registering_time),
    };
    if flags.flood_only {
        let shown = map_system::run_flood(&options).inspect(|report| {
            if !flags.json.is_output() {
                report.lines().iter().for_each(|line| println!("{line}"));
            }
        });
        return judge(shown, &flags.json, |report| (&report.promises, report.ok));
    }
    let shown = map_system::run(&options).inspect(|report| {
        if !flags.json.is_output() {
            report.lines().iter().for_each(|line| println!("{line}"));
        }
    });
    judge(shown, &flags.json, |report| (&report.promises, report.ok))
}

/// Pings of a turn of round-trip times.
const PINGS: u16 = 500;
/// Rounds, seconds of a turn, pings, and seconds of idleness where only is asked whether it works.
const QUICK: (u16, f64, u16, u64) = (1, 0.2, 20, 1);

fn bench_data_plane(flags: DataPlaneFlags) -> ExitCode {
    // Before there is work in what could not be drawn.
    if let Some(Err(error)) = flags.plot.as_deref().map(data_plane::check_plot) {
        return fail(&error.into());
    }
    let (rounds, seconds, pings, idle) =
        if flags.quick { QUICK } else { (flags.rounds, flags.seconds, PINGS, flags.idle) };
    let options = data_plane::Options {
        bin_dir: flags.lab.bin_dir,
        user_namespace: flags.lab.user_namespace,
        rounds: rounds.into(),
        turn: Duration::from_secs_f64(seconds),
        pings,
        idle: Duration::from_secs(idle),
        designs: flags.design,
        underlays: flags.underlay,
        tests: flags.test,
        senders: flags.senders,
        inner: flags.inner,
        outer: flags.outer,
    };
    let mut drawn = Ok(());
    let shown = data_plane::run(&options).inspect(|report| {
        if !flags.json.is_output() {
            report.lines().iter().for_each(|line| println!("{line}"));
        }
        drawn = flags.plot.as_deref().map_or(Ok(()), |path| data_plane::write_plot(path, report));
    });
    // What was measured is told, whatever became of the picture.
    let status = judge(shown, &flags.json, |report| (&report.promises, report.ok));
    drawn.map_or_else(|error| fail(&error.into()), |()| status)
}
