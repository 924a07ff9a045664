// SPDX-License-Identifier: GPL-2.0-or-later
//! `interop`: labs, the demo, and runs with the programs of others.

mod benches;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::Bench;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use interop::delaybox::bridge::Counters;
use interop::delaybox::{Delay, Delaybox};
use interop::demo::{self, Options, UsageError};
use interop::hold::{self, Ended, LabName, OUR_NAME, Record};
use interop::interrupt::{self, Interrupted};
use interop::lab::LabError;
use interop::peers::{self, Peer};
use program::{Completions, Json, Man, Manual};
use serde::Serialize;

/// Labs of network namespaces, the demo, and runs with the programs of others.
#[derive(Debug, Parser)]
#[command(name = "interop", version, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  The whole way of a packet, once, for real (as root, or without root in a user namespace):
      interop demo
  The same with captures of what crosses the tunnels, and the outcome for a script:
      interop demo --pcap captures --json=outcome.json
  The network of the demo to play with:
      interop up demo
      interop exec hA -- ping -c 3 <an address that interop up has shown>
      interop exec xA -- lisp-xtr show map-cache
      interop down
  What lookups in the DHT take among 24 nodes with 20 ms between them, and after the death of half of them:
      interop bench dht --json=dht.json
  Our programs together with those of others, where they are at hand:
      INTEROP_OOR=/opt/oor/oor INTEROP_OPENLISP=/opt/opencp/opencp interop run --pcap captures
  How well a map system answers while strangers flood its DHT port:
      interop bench dht-flood
  How quickly it answers, beside the least that any answer costs here:
      interop bench map-system --json=map-system.json
  How much crosses our tunnels, beside plain routing, the kernel's and those of others:
      interop bench data-plane --json=data-plane.json --plot ratios.svg
  Two sites behind tunnel routers, to play with:
      interop up two-sites
      interop exec host-a -- ping -c 3 2001:db8:b::2
  A host that knows nothing of LISP, and a site, through a PITR and PETR; a site with two providers, of which one fails:
      interop up legacy
      interop up two-providers
  A site behind a strict NAT, which is reached through an RTR:
      interop up nat
      interop exec host-b -- ping -c 3 2001:db8:a::2

Exit status: 0 = everything held, 1 = it did not, 2 = wrong usage, 3 = the machine lacks something (it is named),
130 = interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows border nodes whose mappings come from the signed DHT, with hosts that ping each other
    Demo(DemoFlags),
    /// Runs our programs together with those of others, whose paths INTEROP_OOR and INTEROP_OPENLISP name
    Run(RunFlags),
    /// Measures in a lab, judges, and prints what was promised
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
    /// Bridges interfaces and holds every frame back, in the namespace it is started in, until SIGINT or SIGTERM
    Delaybox(DelayboxFlags),
    /// Builds a lab that stays until it is taken down, or one of its programs ends: then all of it does, and `list` says why
    Up {
        /// Which
        lab: LabName,
        /// Where the programs are; default: they are built with cargo, in the profile of this one
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
        /// Work in a user namespace, even as root
        #[arg(long)]
        user_namespace: bool,
    },
    /// Takes a lab down, or all
    Down {
        /// Which; default: all
        lab: Option<LabName>,
    },
    /// Lists the labs that are up, and their hosts
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Runs a command in the namespace of a host of a lab; lisp-xtr show asks the border node there (LISP_XTR_CONTROL is set)
    Exec {
        /// The host
        host: String,
        /// The lab, if several have such a host
        #[arg(long)]
        lab: Option<LabName>,
        /// The command
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Prints what a shell needs to complete the flags
    #[command(after_help = program::completions_help!("interop"))]
    Completions(Completions),
    /// Prints or writes the manual pages
    #[command(after_help = program::man_help!("interop", "bench dht"))]
    Man(Man),
    /// Holds a lab
    #[command(name = hold::HOLD, hide = true)]
    Hold {
        /// Which
        lab: LabName,
        /// Where to say that it stands
        #[arg(long)]
        record: PathBuf,
        /// Where the programs are
        #[arg(long, default_value = ".")]
        bin_dir: PathBuf,
        /// In a user namespace
        #[arg(long)]
        user_namespace: bool,
    },
}

const MANUAL: Manual = Manual {
    status: &[
        ("0", "What was asked held."),
        ("1", "It did not."),
        ("2", "Wrong usage; the message names the flag."),
        ("3", "The machine lacks something; the message names it."),
        ("130", "Interrupted."),
    ],
    files: &[
        ("PORT.pcap", "In the folder of --pcap: what crossed a port of the underlay."),
        ("FILE.svg", "Of bench data-plane --plot: the ratios to plain routing."),
    ],
    environment: &[
        ("INTEROP_OOR", "Path of the built binary of OpenOverlayRouter; its cases are skipped without it."),
        ("INTEROP_OPENLISP", "Path of the built binary of OpenLISP's control plane; its cases are skipped without it."),
        ("CARGO", "The cargo that builds the programs, unless --bin-dir names where they are."),
        ("TMPDIR", "Where a lab has its folder."),
    ],
};

/// Whose programs run, and how.
#[derive(Debug, Args)]
struct LabFlags {
    /// Where our programs are; default: they are built with cargo, in the profile of this one
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Work in a user namespace, even as root
    #[arg(long)]
    user_namespace: bool,
}

#[derive(Debug, Args)]
struct DemoFlags {
    #[command(flatten)]
    lab: LabFlags,
    /// Write captures of each underlay port into DIR
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Keep the logs of all nodes in DIR
    #[arg(long, value_name = "DIR")]
    keep_logs: Option<PathBuf>,
    /// Watch an idle border node for a minute in the end: under 40 MiB, under 1 % of a core
    #[arg(long)]
    measure: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct DelayboxFlags {
    /// The interfaces, which are up and have no addresses; two or more
    #[arg(required = true, num_args = 2.., value_name = "INTERFACE")]
    ports: Vec<String>,
    /// Milliseconds by which a frame is held back, each way
    #[arg(long, value_name = "MS", default_value_t = 20.0, value_parser = milliseconds)]
    delay: f64,
    /// Milliseconds by which it is held back longer at most, drawn for each frame
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = milliseconds)]
    jitter: f64,
    /// Share of the frames that are lost, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    loss: f64,
    /// What the dice begin with
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    json: Json,
}

/// Milliseconds up to an hour.
fn milliseconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=3_600_000.0).contains(&value) { Ok(value) } else { Err("0 to 3600000 milliseconds".into()) }
}

/// A share of a whole.
fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("0 to 1".into()) }
}

#[derive(Debug, Args)]
struct RunFlags {
    /// Whose cases; default: all. A case whose peer is not at hand is skipped
    peer: Vec<Peer>,
    #[command(flatten)]
    lab: LabFlags,
    /// Keep the captures that are judged in DIR
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Keep the logs of all programs in DIR
    #[arg(long, value_name = "DIR")]
    keep_logs: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

/// What was asked did not hold.
const EXIT_FAILED: u8 = 1;
/// Wrong usage, as clap says it too.
const EXIT_USAGE: u8 = 2;
/// The machine lacks something.
const EXIT_MACHINE: u8 = 3;
/// Ended by a signal, as shells say it of SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

impl Command {
    /// Where its report goes, if it has one.
    fn json(&self) -> Option<&Json> {
        match self {
            Self::Demo(flags) => Some(&flags.json),
            Self::Run(flags) => Some(&flags.json),
            Self::Bench { bench } => Some(bench.json()),
            Self::Delaybox(flags) => Some(&flags.json),
            Self::List { json } => Some(json),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    // Before there is work in what could not be reported.
    if let Some(Err(error)) = command.json().map(Json::check) {
        return fail(&error.into());
    }
    match command {
        Command::Demo(flags) => run_demo(&flags),
        Command::Run(flags) => run_with_peers(flags),
        Command::Bench { bench } => bench.run(),
        Command::Delaybox(flags) => status(run_delaybox(&flags)),
        Command::Up { lab, bin_dir, user_namespace } => match hold::up(lab, user_namespace, bin_dir.as_deref()) {
            Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED)),
            Err(error) => fail(&error),
        },
        Command::Down { lab } => {
            status(hold::down(lab).map(|labs| labs.iter().for_each(|lab| println!("{lab} is down"))))
        }
        Command::List { json } => status(Record::all().and_then(|labs| list(&labs, &json))),
        Command::Exec { host, lab, command } => fail(&hold::exec(&host, lab, &command)),
        Command::Hold { lab, record, bin_dir, user_namespace } => {
            status(hold::hold(lab, user_namespace, &bin_dir, &record))
        }
        Command::Completions(completions) => told(completions.run(CommandLine::command())),
        Command::Man(man) => told(man.run(CommandLine::command(), &MANUAL)),
    }
}

/// What the program says about itself.
fn told(outcome: Result<(), program::Error>) -> ExitCode {
    outcome.map_or_else(
        |error| {
            eprintln!("{OUR_NAME}{error}");
            ExitCode::from(error.status())
        },
        |()| ExitCode::SUCCESS,
    )
}

fn list(labs: &[Record], json: &Json) -> anyhow::Result<()> {
    publish(&labs, json)?;
    if json.is_output() {
        return Ok(());
    }
    if labs.is_empty() {
        println!("no lab is up");
    }
    labs.iter().for_each(|lab| println!("{}", lab.line()));
    Ended::all()?.iter().for_each(|lab| println!("{}", lab.line()));
    Ok(())
}

fn status(outcome: anyhow::Result<()>) -> ExitCode {
    outcome.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// Says what went wrong, and whose fault it is by the status.
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("{OUR_NAME}{error:#}");
    ExitCode::from(match error.downcast_ref::<LabError>() {
        Some(LabError::Refused { .. }) => EXIT_MACHINE,
        _ if error.is::<UsageError>() => EXIT_USAGE,
        _ if error.is::<program::Error>() => error.downcast_ref().map_or(EXIT_FAILED, program::Error::status),
        _ if error.is::<Interrupted>() => EXIT_INTERRUPTED,
        _ => EXIT_FAILED,
    })
}

fn run_delaybox(flags: &DelayboxFlags) -> anyhow::Result<()> {
    interrupt::watch()?;
    let time = |milliseconds: f64| Duration::from_secs_f64(milliseconds / 1000.0);
    let delay = Delay { one_way: time(flags.delay), jitter: time(flags.jitter), loss: flags.loss };
    let delaybox = Delaybox::here(&flags.ports, delay, flags.seed).map_err(|cause| LabError::Refused {
        what: "a packet socket".into(),
        cause,
        help: "It takes CAP_NET_RAW, and interfaces that are there and up (interop exec HOST -- interop delaybox ...).",
    })?;
    eprintln!("bridging {}", flags.ports.join(", "));
    while interrupt::sleep(DELAYBOX_NAP).is_ok() {}
    let passed: BTreeMap<&String, Counters> = flags.ports.iter().zip(delaybox.counters()).collect();
    for (port, counters) in &passed {
        eprintln!("{port}: {} frames in, {} out, {} lost", counters.frames_in, counters.frames_out, counters.lost);
    }
    publish(&passed, &flags.json)
}

/// How often the delay box looks whether it is to end; signals wake it earlier.
const DELAYBOX_NAP: Duration = Duration::from_secs(1);

fn run_demo(flags: &DemoFlags) -> ExitCode {
    let options = Options {
        bin_dir: flags.lab.bin_dir.clone(),
        user_namespace: flags.lab.user_namespace,
        pcap: flags.pcap.clone(),
        keep_logs: flags.keep_logs.clone(),
        measure: flags.measure,
        quiet_stdout: flags.json.is_output(),
    };
    let outcome = demo::run(&options);
    exit_code(outcome.and_then(|report| publish(&report, &flags.json).map(|()| report.ok)))
}

fn run_with_peers(flags: RunFlags) -> ExitCode {
    let options = peers::Options {
        peers: flags.peer,
        bin_dir: flags.lab.bin_dir,
        user_namespace: flags.lab.user_namespace,
        pcap: flags.pcap,
        keep_logs: flags.keep_logs,
        quiet_stdout: flags.json.is_output(),
    };
    let outcome = peers::run(&options);
    exit_code(outcome.and_then(|report| publish(&report, &flags.json).map(|()| report.ok())))
}

fn exit_code(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => fail(&error),
    }
}

/// The JSON, where it is wanted; what people read is printed already.
fn publish(report: &impl Serialize, json: &Json) -> anyhow::Result<()> {
    Ok(json.show(report, "")?)
}
