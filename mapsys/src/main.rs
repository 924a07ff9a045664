// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-mapsys`: Map-Server and Map-Resolver of a signed DHT.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use mapsys::shell::daemon;
use mapsys::shell::settings::{Flags, Settings};
use serde_json::json;
use tracing_subscriber::EnvFilter;

/// Map-Server and Map-Resolver (RFC 9301) on a signed DHT.
#[derive(Debug, Parser)]
#[command(
    name = "lisp-mapsys",
    version,
    after_help = "Examples:
  lisp-mapsys --listen 192.0.2.53 --bootstrap 192.0.2.10:43420 --config sites.toml
  lisp-mapsys check --config sites.toml
  lisp-mapsys show registrations --state-dir /var/lib/lisp-mapsys --json

Exit: 0 done, 1 no answer, 2 wrong usage or configuration, 3 the machine lacks something."
)]
struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve (the default).
    Run,
    /// Say what the configuration means, and change nothing.
    Check {
        /// Print JSON, or write it to FILE beside the text.
        #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
        json: Option<PathBuf>,
    },
    /// Ask the running process.
    Show {
        /// What to show.
        what: What,
        /// Print JSON, or write it to FILE beside the text.
        #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
        json: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Configured sites.
    Sites,
    /// Registered EID-prefixes.
    Registrations,
    /// Identities of this node, and how long their operational keys last.
    Identities,
    /// What was refused, by name, and the sizes of tables.
    Counters,
    /// Peers of the DHT node.
    Peers,
}

/// What is logged unless `RUST_LOG` says otherwise: that libp2p finds no peers at first is no warning of ours.
const USUAL_LOG: &str = "info,libp2p=warn,libp2p_swarm=warn,libp2p_kad=error";

const EXIT_NO_ANSWER: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_MACHINE: u8 = 3;

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr();
    let settings = match Settings::read(&args.flags) {
        Ok(settings) => settings,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    match args.verb {
        None | Some(Verb::Run) => run(&settings),
        Some(Verb::Check { json }) => check(&settings, json.as_deref()),
        Some(Verb::Show { what, json }) => {
            let name = what.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            match daemon::show(&settings, &name, json.as_deref()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(EXIT_NO_ANSWER, &error),
            }
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL_LOG));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

/// What the configuration lacks is told apart from what the machine lacks.
fn run(settings: &Settings) -> ExitCode {
    let plan = match daemon::Plan::new(settings) {
        Ok(plan) => plan,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    match daemon::run(plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_MACHINE, &error),
    }
}

/// The configuration in words; as JSON, the sentences are in `means`.
fn check(settings: &Settings, json: Option<&Path>) -> ExitCode {
    let text = match daemon::check(settings) {
        Ok(text) => text,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    let value = json!({ "ok": true, "means": text.lines().collect::<Vec<_>>() });
    match daemon::print(&value, &text, json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_MACHINE, &error),
    }
}

fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("lisp-mapsys: {error:#}");
    ExitCode::from(code)
}
