// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-dht`: a daemon that stores, and commands that ask.

mod announce;
mod bundle;
mod crawl;
mod describe;
mod describe_node;
mod flags;
mod geojson;
mod identity;
mod index;
mod keys;
mod lab;
mod map;
mod node;
mod output;
mod point;
mod publish;
mod query;
mod revoke;
mod settings;
mod sim;
mod stats;
mod values;
mod values_node;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

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
#[command(name = "lisp-dht", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  lisp-dht node --identity CN.op.p12 --password-file pw --state-dir /var/lib/lisp-dht
  lisp-dht put --identity CN.op.p12 --rloc 192.0.2.1 --rloc 2001:db8::1,priority=2 --bootstrap 192.0.2.9:43420
  lisp-dht put --revocation CN.revoke --bootstrap 192.0.2.9:43420
  lisp-dht get 3fff:ce1:1234:5678:9abc:def0:1234:5678 --verify --bootstrap 192.0.2.9:43420
  lisp-dht index 2001:db8::/32 --identity ANCHOR.op.p12 --delegate 2001:db8:a::/48=CN,max-plen=64 --bootstrap 192.0.2.9:43420
  lisp-dht index 2001:db8::/32 --identity ANCHOR.op.p12 --delegations sites.txt --every --bootstrap 192.0.2.9:43420
  lisp-dht resolve 2001:db8:a::1 --trust-anchor 2001:db8::/32=CN --bootstrap 192.0.2.9:43420 --json
  lisp-dht point 52.5200,13.4050,34 48.1374,11.5755,519
  lisp-dht map 000102030405060708090a0b 0c0d0e0f1011121314151617 --bootstrap 192.0.2.9:43420
  lisp-dht crawl --bootstrap 192.0.2.9:43420 --rounds 5 --for 60 --json=crawl.json
  lisp-dht stats --state-dir /var/lib/lisp-dht
  lisp-dht lab --nodes 24 --kill 0.5
  lisp-dht sim hostile churn --nodes 1000 --seed 7

Every flag, but for those of `sim`, has a key of the same name in the file given by --config, and a variable LISP_DHT_<NAME>: flags win over \
the environment, which wins over the file. Several values in a variable: [\"A\",\"B\"].

Exit codes: 0 what was asked held, 1 it did not, 2 wrong usage or configuration, 3 the machine lacks something.";

const PUTTING: &str = "\
Examples:
  lisp-dht put --identity CN.op.p12 --rloc 192.0.2.1 --service 192.0.2.1:43420,boot,mr --ptr host.example.net --bootstrap 192.0.2.9:43420
  lisp-dht put --identity CN.op.p12 --alternate 3fff:ce1:1234:5678:9abc:def0:1234:5678 --pref64 2001:db8:64::/96 --bootstrap 192.0.2.9:43420
  lisp-dht put --identity CN.op.p12 --position 52.5200,13.4050 --neighbour 000102030405060708090a0b,medium=radio,metric=256,loss=0.5,rate=54000 --bootstrap 192.0.2.9:43420
  lisp-dht put --identity CN.op.p12 --terminal 52.5201,13.4051,61.5,medium=laser,wavelength=1550,azimuth=271.5,elevation=0.4,reach=15 --bootstrap 192.0.2.9:43420
  lisp-dht put --identity CN.op.p12 --withdraw=topology,service --bootstrap 192.0.2.9:43420

A mapping holds for an hour, neighbours and places (TOPOLOGY) for two, services, alternates, NAT64 and names (SERVICE) for two \
days. Each of the three is published whole: what was said before in it and is not said again is gone. A position is the \
centre of a cell of about 300 m, the same one for everybody in it; a terminal tells exactly where it is.

Revocation:
  lisp-dht put --revocation CN.revoke --bootstrap 192.0.2.9:43420

The file was written by `cgeid new` or `cgeid revoke`; no key is needed, and anybody who has the file can publish it. It \
cannot be taken back. Nodes keep it for 30 days after it was last put and do not put it again by themselves: put it again \
each month.

Bundle:
  lisp-dht put --bundle mapping.bundle --bootstrap 192.0.2.9:43420
  lisp-dht put --bundle forged.bundle --unchecked --bootstrap 192.0.2.9:43420

A bundle was signed elsewhere, and anybody may carry it. It is checked first; --unchecked sends what stores must refuse.";

const DELEGATING: &str = "\
Delegations:
  2001:db8:a::/48=CN               a site, and the CN of its registrar, who signs where it is reached
  2001:db8:b::/48=CN+CN            a site with several registrars, up to four: the newest word of them counts
  2001:db8:c::/48=CN,max-plen=64   the registrar may list more-specifics of the site, down to /64
  2001:db8:8000::/33=CN,child      another writer delegates inside of this prefix, with pages of its own

The file of --delegations has one of them a line; # begins a comment. What does not fit one page is split into sub-pages. Only \
what changed is put, and what is due for renewal: what is published is remembered in --state-dir, or beside the identity.";

const POINTING: &str = "\
Examples:
  lisp-dht point 52.5200,13.4050,34 48.1374,11.5755,519
  lisp-dht point 000102030405060708090a0b#1 3fff:ce1:1234:5678:9abc:def0:1234:5678 --bootstrap 192.0.2.9:43420 --json

Degrees are those of WGS84, altitudes metres above its ellipsoid; an altitude that is not known counts as 0. Of a CGEID the \
terminal with the lowest number is taken, or the one after #, or else its position, which is usually blurred.";

const MAPPING: &str = "\
Examples:
  lisp-dht map 000102030405060708090a0b 0c0d0e0f1011121314151617 --format geojson --bootstrap 192.0.2.9:43420
  lisp-dht map crawl.json --json=map.geojson

A file has the form {\"nodes\":[{\"cn\":CN,\"record\":HEX}]}, with \"at\" (seconds since 1970) if it is to be judged by the time at \
which it was made. Records whose signatures do not hold, or that have expired, are left out.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs a node that stores records for others, until SIGINT or SIGTERM; prints its addresses
    #[command(after_help = node::WAYS)]
    Node(NodeFlags),
    /// Publishes what an identity says of itself, once: where its CGEID is reached, what it does for others, who its neighbours
    /// are and where it is; or the revocation of an identity, for ever
    #[command(after_help = PUTTING)]
    Put(PutFlags),
    /// Looks up the record of a CGEID
    Get(GetFlags),
    /// Finds the mapping of an EID, or the proof that there is none, from the trust anchors down
    Resolve(ResolveFlags),
    /// Publishes the index pages of a prefix: what its anchor delegates to whom; they hold for a day
    #[command(after_help = DELEGATING)]
    Index(IndexFlags),
    /// Tells in which direction one place, CGEID or terminal lies from another, and how far
    #[command(after_help = POINTING)]
    Point(PointFlags),
    /// Draws the nodes that have published where they are, and the links that both ends name
    #[command(after_help = MAPPING)]
    Map(MapFlags),
    /// Walks the whole network, and lists its nodes: what they do for others, and how reliable they were
    #[command(after_help = crawl::ABOUT)]
    Crawl(CrawlFlags),
    /// Shows the figures of the node that runs with this --state-dir
    Stats(StatsFlags),
    /// Runs many nodes in this process, kills some, and says how many lookups are right
    #[command(after_help = lab::ABOUT)]
    Lab(LabFlags),
    /// Models thousands of nodes in virtual time, with churn, cuts and attackers; prints its figures
    Sim(SimFlags),
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
    /// Nobody answered.
    NoAnswer(anyhow::Error),
    /// The machine lacks something.
    Lacking(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Usage(error)
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
    log_to_stderr(match cli.verb {
        Verb::Node(_) => DAEMON_LOG,
        Verb::Lab(_) => LAB_LOG,
        _ => COMMAND_LOG,
    });
    let outcome = match cli.verb {
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
    };
    match outcome {
        Ok(Outcome::Held) => ExitCode::SUCCESS,
        Ok(Outcome::DidNot) => ExitCode::from(1),
        Err(Failure::NoAnswer(error)) => failed(1, &error),
        Err(Failure::Usage(error)) => failed(2, &error),
        Err(Failure::Lacking(error)) => failed(3, &error),
    }
}

fn failed(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("lisp-dht: {error:#}");
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

fn log_to_stderr(usual: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LISP_DHT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("{usual},{LIBP2P_LOG}")));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

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
        let all = [EXAMPLES, PUTTING, POINTING, MAPPING, crawl::ABOUT];
        let lines = all.into_iter().flat_map(str::lines);
        let examples: Vec<&str> = lines.filter(|line| line.starts_with("  lisp-dht ")).collect();
        assert!(examples.len() >= 20, "{examples:?}");
        for example in examples {
            Cli::try_parse_from(example.split_whitespace()).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }
}
