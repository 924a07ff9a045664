// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-mapsys`: Map-Server and Map-Resolver of a signed DHT.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use dht::shell::node::Clock;
use mapsys::shell::reload::Reloader;
use mapsys::shell::settings::{Flags, Settings};
use mapsys::shell::{clock_file, daemon};
use program::{Completions, Json, Man, Manual, STATUS};
use serde_json::json;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Asks for huge pages: a million registrations are answered from at 0.8 of the rate of a few then, and at 0.65 without, which wait twice as
/// long for memory whose place the processor has to look up first.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Map-Server and Map-Resolver (RFC 9301) on a signed DHT.
#[derive(Debug, Parser)]
#[command(
    name = "lisp-mapsys",
    version,
    after_help = "Examples:
  lisp-mapsys --listen 192.0.2.53 --bootstrap 192.0.2.10:43420 --config sites.toml
  lisp-mapsys check --config sites.toml
  lisp-mapsys reload --state-dir /var/lib/lisp-mapsys
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
        #[command(flatten)]
        json: Json,
    },
    /// Ask the running process.
    Show {
        /// What to show.
        what: What,
        #[command(flatten)]
        json: Json,
    },
    /// Let the running process read its configuration again; what is registered stays.
    ///
    /// Sites, their keys, trust anchors, clients, `foreign`, subscribers and `pubsub`, DDT with its delegations and resolvers, and the
    /// peers of LISP-SEC change at once. What the process cannot change is named, and waits for a restart. A configuration that cannot be is refused, and nothing changes. SIGHUP does the same.
    Reload {
        #[command(flatten)]
        json: Json,
    },
    /// Print what a shell needs to complete the flags.
    #[command(after_help = program::completions_help!("lisp-mapsys"))]
    Completions(Completions),
    /// Print or write the manual pages.
    #[command(after_help = program::man_help!("lisp-mapsys", "show"))]
    Man(Man),
}

const MANUAL: Manual = Manual {
    status: STATUS,
    files: &[
        (
            "FILE.toml",
            "Settings, read if --config names the file: a key for each flag, the sites, and the peers of LISP-SEC.",
        ),
        ("<CN>.op.p12", "An operational key of --identity, as cgeid new and cgeid delegate write it."),
        ("control.sock", "In the folder of --state-dir: the socket that show asks, unless --control names another."),
    ],
    environment: &[
        ("LISP_MAPSYS_<NAME>", "What the flag --name would say."),
        ("RUST_LOG", "What is logged to standard error, as in mapsys=debug."),
        ("CGEID_PASSWORD", "The password of the identities, if --password-file does not name one."),
    ],
};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Configured sites.
    Sites,
    /// Registered EID-prefixes, names, MAC addresses and pairs.
    Registrations,
    /// Subscriptions to mappings (RFC 9437).
    Subscriptions,
    /// Identities of this node, and how long their operational keys last.
    Identities,
    /// What was refused, by name, how much was taken, answered, forwarded and told, and the sizes of tables.
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
    match &args.verb {
        Some(Verb::Completions(completions)) => return told(completions.run(Args::command())),
        Some(Verb::Man(man)) => return told(man.run(Args::command(), &MANUAL)),
        _ => {}
    }
    if let Err(error) = log_to_stderr() {
        return fail(EXIT_USAGE, &error);
    }
    let settings = match Settings::read(&args.flags) {
        Ok(settings) => settings,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    match args.verb {
        Some(Verb::Check { json }) => check(&settings, &json),
        Some(Verb::Reload { json }) => match daemon::reload(&settings) {
            Ok((value, text)) => told(json.show(&value, text)),
            Err(error) => fail(EXIT_NO_ANSWER, &error),
        },
        Some(Verb::Show { what, json }) => {
            let name = what.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            match daemon::show(&settings, &name) {
                Ok((value, table)) => told(json.show(&value, table)),
                Err(error) => fail(EXIT_NO_ANSWER, &error),
            }
        }
        _ => run(args.flags, settings),
    }
}

/// What was said, or why it could not be.
fn told(outcome: Result<(), program::Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.status(), &error.into()),
    }
}

fn log_to_stderr() -> anyhow::Result<()> {
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| USUAL_LOG.into());
    let about = || format!("RUST_LOG {wanted:?}");
    let filter: Targets = program::log::parts(&wanted).with_context(about)?.parse().with_context(about)?;
    program::log::to_stderr().finish().with(filter).init();
    Ok(())
}

/// What the configuration lacks is told apart from what the machine lacks.
fn run(flags: Flags, settings: Settings) -> ExitCode {
    let clock = match flags.clock_offset_file.clone() {
        Some(file) => clock_file::follow(file),
        None => Ok(Clock::shifted(flags.clock_offset.unwrap_or_default())),
    };
    let plan = match clock.and_then(|clock| Ok(daemon::Plan::new(&settings)?.by(clock))) {
        Ok(plan) => plan,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    match daemon::run(plan, Reloader::new(flags, settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_MACHINE, &error),
    }
}

/// The configuration in words; as JSON, the sentences are in `means`.
fn check(settings: &Settings, json: &Json) -> ExitCode {
    let text = match daemon::check(settings) {
        Ok(text) => text,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    let value = json!({ "ok": true, "means": text.lines().collect::<Vec<_>>() });
    told(json.show(&value, text))
}

fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    program::log::last_words("lisp-mapsys", &format_args!("{error:#}"));
    ExitCode::from(code)
}
