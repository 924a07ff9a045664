// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-dht`: a daemon that stores, and commands that ask.

mod announce;
mod bundle;
mod crawl;
mod describe;
mod describe_node;
mod flags;
mod geojson;
mod help;
mod identity;
mod index;
mod keys;
mod lab;
mod map;
mod node;
mod output;
mod places;
mod point;
mod publish;
mod query;
mod revoke;
mod settings;
mod sim;
mod stats;
mod values;
mod values_node;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use program::{Completions, Man};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::flags::{
    CrawlFlags, GetFlags, IndexFlags, LabFlags, MapFlags, NodeFlags, PointFlags, PutFlags, ResolveFlags, StatsFlags,
};
use self::settings::Settings;
use self::sim::SimFlags;

use super::LIBP2P_LOG;
use super::database::DatabaseError;
use super::node::NodeError;
use super::shelf::StartError;

/// Signed mappings in a distributed hash table.
#[derive(Debug, Parser)]
#[command(name = "lisp-dht", version, after_help = help::PROGRAM)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs a node that stores records for others, until SIGINT or SIGTERM; prints its addresses
    #[command(after_help = node::WAYS)]
    Node(NodeFlags),
    /// Publishes what an identity says of itself, once: where its CGEID is reached, what it does for others, who its neighbours
    /// are and where it is; or the revocation of an identity, for ever
    #[command(after_help = help::PUTTING)]
    Put(PutFlags),
    /// Looks up the record of a CGEID
    #[command(after_help = help::GETTING)]
    Get(GetFlags),
    /// Finds the mapping of an EID, or the proof that there is none, from the trust anchors down
    #[command(after_help = help::RESOLVING)]
    Resolve(ResolveFlags),
    /// Publishes the index pages of a prefix: what its anchor delegates to whom; they hold for a day
    #[command(after_help = help::DELEGATING)]
    Index(IndexFlags),
    /// Tells in which direction one place, CGEID or terminal lies from another, and how far
    #[command(after_help = help::POINTING)]
    Point(PointFlags),
    /// Draws the nodes that have published where they are, and the links that both ends name
    #[command(after_help = help::MAPPING)]
    Map(MapFlags),
    /// Walks the whole network, and lists its nodes: what they do for others, and how reliable they were
    #[command(after_help = crawl::ABOUT)]
    Crawl(CrawlFlags),
    /// Shows the figures of the node that runs with this --state-dir
    #[command(after_help = help::COUNTING)]
    Stats(StatsFlags),
    /// Runs many nodes in this process, kills some, and says how many lookups are right
    #[command(after_help = lab::ABOUT)]
    Lab(LabFlags),
    /// Models thousands of nodes in virtual time, with churn, cuts and attackers; prints its figures
    #[command(after_help = help::MODELLING)]
    Sim(SimFlags),
    /// Prints what a shell needs to complete the flags
    #[command(after_help = program::completions_help!("lisp-dht"))]
    Completions(Completions),
    /// Prints or writes the manual pages
    #[command(after_help = program::man_help!("lisp-dht", "resolve"))]
    Man(Man),
}

/// How a command ended, other than by failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// What was asked held.
    Held,
    /// It did not.
    DidNot,
}

/// Why a command failed: its exit code, and what to say.
#[derive(Debug)]
enum Failure {
    /// Wrong usage or configuration.
    Usage(anyhow::Error),
    /// It was asked, and does not hold; nobody answered, mostly.
    NoAnswer(anyhow::Error),
    /// The machine lacks something.
    Lacking(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<program::Error> for Failure {
    fn from(error: program::Error) -> Self {
        match error.status() {
            1 => Self::NoAnswer(error.into()),
            2 => Self::Usage(error.into()),
            _ => Self::Lacking(error.into()),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Node(NodeError::Listen { .. } | NodeError::Start(_))
            | StartError::Database(DatabaseError::Io { .. } | DatabaseError::InUse { .. }) => {
                Self::Lacking(error.into())
            }
            other => Self::Usage(other.into()),
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        StartError::Node(error).into()
    }
}

/// Runs the program; the exit code is that of INTERFACES: 0 held, 1 did not, 2 usage, 3 lacking.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match log_to_stderr(usual_log(&cli.verb)).and_then(|()| execute(cli.verb)) {
        Ok(Outcome::Held) => ExitCode::SUCCESS,
        Ok(Outcome::DidNot) => ExitCode::from(1),
        Err(Failure::NoAnswer(error)) => failed(1, &error),
        Err(Failure::Usage(error)) => failed(2, &error),
        Err(Failure::Lacking(error)) => failed(3, &error),
    }
}

fn execute(verb: Verb) -> Result<Outcome, Failure> {
    match verb {
        Verb::Node(flags) => with_runtime(&flags, node::run),
        Verb::Put(flags) => with_runtime(&flags, publish::put),
        Verb::Get(flags) => with_runtime(&flags, query::get),
        Verb::Resolve(flags) => with_runtime(&flags, query::resolve),
        Verb::Index(flags) => with_runtime(&flags, index::run),
        Verb::Point(flags) => with_runtime(&flags, point::run),
        Verb::Map(flags) => with_runtime(&flags, map::run),
        Verb::Crawl(flags) => with_runtime(&flags, crawl::run),
        Verb::Stats(flags) => with_runtime(&flags, stats::run),
        Verb::Lab(flags) => with_runtime(&flags, lab::run),
        Verb::Sim(flags) => sim::run(&flags),
        Verb::Completions(completions) => told(completions.run(Cli::command())),
        Verb::Man(man) => told(man.run(Cli::command(), &help::MANUAL)),
    }
}

/// What the program says about itself.
fn told(outcome: Result<(), program::Error>) -> Result<Outcome, Failure> {
    Ok(outcome.map(|()| Outcome::Held)?)
}

fn failed(code: u8, error: &anyhow::Error) -> ExitCode {
    program::log::last_words("lisp-dht", &format_args!("{error:#}"));
    ExitCode::from(code)
}

/// Makes the state folder.
fn make_state_folder(folder: &Path) -> Result<(), Failure> {
    let made = std::fs::create_dir_all(folder).with_context(|| format!("--state-dir {}", folder.display()));
    made.map_err(Failure::Lacking)
}

/// Reads the settings of a verb and runs it in a small runtime of its own.
fn with_runtime<F: flags::Flags>(
    flags: &F,
    verb: impl AsyncFnOnce(Settings, &F) -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    let settings = Settings::read(flags)?;
    flags.json().check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(Failure::Lacking)?;
    runtime.block_on(verb(settings, flags))
}

/// What a daemon logs.
const DAEMON_LOG: &str = "warn,dht=info";
/// What a command logs.
const COMMAND_LOG: &str = "warn";
/// What a bench logs: that nodes die, and others miss them, is what it is for.
const LAB_LOG: &str = "warn,yamux=error,dht::shell::node=error";

fn usual_log(verb: &Verb) -> &'static str {
    match verb {
        Verb::Node(_) => DAEMON_LOG,
        Verb::Lab(_) => LAB_LOG,
        _ => COMMAND_LOG,
    }
}

fn log_to_stderr(usual: &str) -> Result<(), Failure> {
    let wanted = std::env::var("LISP_DHT_LOG").unwrap_or_else(|_| format!("{usual},{LIBP2P_LOG}"));
    let about = || format!("LISP_DHT_LOG {wanted:?}");
    let filter = program::log::parts(&wanted).with_context(about)?.parse::<Targets>().with_context(about)?;
    program::log::to_stderr().finish().with(filter).init();
    Ok(())
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_examples_of_the_node_are_understood() {
        let examples: Vec<&str> = node::WAYS.lines().filter(|line| line.starts_with("      lisp-dht ")).collect();
        assert_eq!(examples.len(), 4);
        for example in examples {
            Cli::try_parse_from(example.split_whitespace()).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }

    #[test]
    fn the_examples_of_the_help_are_understood() {
        let own = [
            help::PROGRAM,
            help::PUTTING,
            help::GETTING,
            help::RESOLVING,
            help::DELEGATING,
            help::POINTING,
            help::MAPPING,
        ];
        let all = own.into_iter().chain([crawl::ABOUT, help::COUNTING, lab::ABOUT, help::MODELLING]);
        let lines = all.flat_map(str::lines);
        let examples: Vec<&str> = lines.filter(|line| line.starts_with("  lisp-dht ")).collect();
        assert!(examples.len() >= 34, "{examples:?}");
        for example in examples {
            Cli::try_parse_from(example.split_whitespace()).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }
}
