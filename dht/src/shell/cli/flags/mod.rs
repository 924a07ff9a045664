// SPDX-License-Identifier: GPL-2.0-or-later
//! The flags of each verb. What is not given is left to the environment and the file, see [`super::settings`].

mod publishing;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use program::Json;
use serde::{Deserialize, Serialize};

use crate::shell::crawl;

pub(super) use self::publishing::{IndexFlags, PutFlags, Withdrawn};
use self::publishing::{MappingFlags, ServiceFlags, TopologyFlags};

/// The flags of one verb.
pub(super) trait Flags: Serialize {
    /// The configuration file.
    fn config(&self) -> Option<&Path>;
    /// Where the report goes.
    fn json(&self) -> &Json;
}

macro_rules! flags {
    ($($name:ident),*) => {
        $(impl Flags for $name {
            fn config(&self) -> Option<&Path> {
                self.file.config.as_deref()
            }

            fn json(&self) -> &Json {
                &self.file.json
            }
        })*
    };
}

flags!(PointFlags, MapFlags, CrawlFlags, NodeFlags, PutFlags, GetFlags, ResolveFlags, IndexFlags, StatsFlags, LabFlags);

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Switch {
    On,
    Off,
}

/// Where settings come from and results go.
#[derive(Debug, Args, Serialize)]
pub(super) struct FileFlags {
    /// TOML file with settings
    #[arg(long, value_name = "F.toml", env = "LISP_DHT_CONFIG")]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) json: Json,
}

/// Which network, and how it is found.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct NetworkFlags {
    /// A node of the network: a multiaddr, or ADDRESS:PORT; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bootstrap: Vec<String>,
    /// The 32-bit prefix of the network's CGEIDs [default: 3fff:ce1::/32]
    #[arg(long, value_name = "NETWORK")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// Zero bits that the network's puzzle asks of a node's key [default: 4]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    puzzle_bits: Option<u8>,
    /// File with the key of a closed network: 32 octets in hexadecimal or Base64
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    network_key: Option<PathBuf>,
}

/// Who signs.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct IdentityFlags {
    /// The operational key, <CN>.op.p12, written by `cgeid new`
    #[arg(long, value_name = "CN.op.p12")]
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<PathBuf>,
    /// File with the password of the identity; otherwise the variable CGEID_PASSWORD
    #[arg(long, value_name = "F")]
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
}

/// Where state is kept.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct StateFlags {
    /// Folder for records, sequences and the control socket
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    state_dir: Option<PathBuf>,
    /// Control socket of the node [default: control.sock in --state-dir]
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<PathBuf>,
}

/// `lisp-dht node`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct NodeFlags {
    #[command(flatten)]
    #[serde(flatten)]
    identity: IdentityFlags,
    /// Address to listen on; may be repeated [default: all]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listen: Vec<IpAddr>,
    /// UDP port to listen on, 0 for a free one [default: 43420]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[command(flatten)]
    #[serde(flatten)]
    network: NetworkFlags,
    /// An address that several nodes have at once, of which the nearest answers: ADDRESS, ADDRESS:PORT or a multiaddr; may be
    /// repeated. Needed too by the nodes that have it, which never announce it
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    anycast: Vec<String>,
    /// Whether to look for nodes on the links of this machine, and to tell them of this one [default: on]
    #[arg(long, value_name = "on|off")]
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery: Option<Switch>,
    /// Who delegates a prefix, for `resolve` by the control socket; may be repeated
    #[arg(long, value_name = "PREFIX=CN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trust_anchor: Vec<String>,
    /// Bundles kept for the network at most, some 3 kB each in memory and up to twice that on disk [default: 200000]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store_bundles: Option<usize>,
    /// Serve /metrics (OpenMetrics) and /health over HTTP at this address
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    #[serde(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    #[serde(flatten)]
    service: ServiceFlags,
    #[command(flatten)]
    #[serde(flatten)]
    topology: TopologyFlags,
    /// Withdraw what the node says of itself when it stops; otherwise it ends by itself, and a restart is not noticed
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    withdraw_at_stop: Option<bool>,
    /// Go by a clock that is so many seconds ahead, or behind: to see what a wrong clock does
    #[arg(long, value_name = "SECONDS", hide = true, allow_negative_numbers = true)]
    #[serde(skip)]
    pub(super) clock_offset: Option<i64>,
    #[command(flatten)]
    #[serde(flatten)]
    state: StateFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) file: FileFlags,
}

/// `lisp-dht point`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PointFlags {
    /// Where to point from: a place, or a CGEID that has published one or a terminal (#N: which)
    #[arg(value_name = "LAT,LON[,ALT]|CGEID[#N]", allow_hyphen_values = true)]
    #[serde(skip)]
    pub(super) from: String,
    /// Where to point to
    #[arg(value_name = "LAT,LON[,ALT]|CGEID[#N]", allow_hyphen_values = true)]
    #[serde(skip)]
    pub(super) to: String,
    #[command(flatten)]
    #[serde(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) file: FileFlags,
}

/// `lisp-dht map`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MapFlags {
    /// CGEIDs whose records are read, or files with the JSON of `lisp-dht crawl` (-: standard input)
    #[arg(value_name = "CGEID|FILE", required = true)]
    #[serde(skip)]
    pub(super) sources: Vec<String>,
    /// What is printed
    #[arg(long, default_value = "geojson")]
    #[serde(skip)]
    pub(super) format: MapFormat,
    #[command(flatten)]
    #[serde(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) file: FileFlags,
}

/// `lisp-dht crawl`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CrawlFlags {
    /// Times that each node is asked
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(crawl::limits::ROUNDS)))]
    #[serde(skip)]
    pub(super) rounds: u32,
    /// Seconds from the first time to the last
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=crawl::limits::LONGEST.as_secs()))]
    #[serde(skip)]
    pub(super) seconds: u64,
    /// Questions a second, at most
    #[arg(long, value_name = "N", default_value_t = crawl::limits::RATE)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(crawl::limits::FASTEST)))]
    #[serde(skip)]
    pub(super) rate: u32,
    #[command(flatten)]
    #[serde(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) file: FileFlags,
}

/// Formats of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MapFormat {
    /// RFC 7946
    Geojson,
}

/// `lisp-dht get`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct GetFlags {
    /// The CGEID, or the 24 hex digits of its CN
    #[arg(value_name = "CGEID")]
    #[serde(skip)]
    pub(super) cgeid: String,
    /// Check certificates and signatures, and take nothing that does not hold
    #[arg(long)]
    #[serde(skip)]
    pub(super) verify: bool,
    #[command(flatten)]
    #[serde(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) file: FileFlags,
}

/// `lisp-dht resolve`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ResolveFlags {
    /// The EID: an IPv4 or IPv6 address
    #[arg(value_name = "EID")]
    #[serde(skip)]
    pub(super) eid: IpAddr,
    /// Instance ID of the EID [default: 0]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    iid: Option<u32>,
    /// Who delegates a prefix; may be repeated, also for one prefix
    #[arg(long, value_name = "[[IID]]PREFIX=CN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trust_anchor: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    #[serde(flatten)]
    state: StateFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) file: FileFlags,
}

/// `lisp-dht stats`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct StatsFlags {
    #[command(flatten)]
    #[serde(flatten)]
    state: StateFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) file: FileFlags,
}

/// `lisp-dht lab`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LabFlags {
    /// Nodes that serve
    #[arg(long, value_name = "N", default_value_t = 24)]
    #[serde(skip)]
    pub(super) nodes: usize,
    /// Connect them within the process, not by QUIC over loopback
    #[arg(long)]
    #[serde(skip)]
    pub(super) memory: bool,
    /// Delay of everything that is sent, in milliseconds each way
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "memory")]
    #[serde(skip)]
    pub(super) delay: u64,
    /// The part of the nodes that die at once, without goodbye
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    #[serde(skip)]
    pub(super) kill: f64,
    /// Seconds from then until the lookups begin
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[serde(skip)]
    pub(super) settle: u64,
    /// Lookups of random records by random nodes
    #[arg(long, value_name = "N", default_value_t = 200)]
    #[serde(skip)]
    pub(super) lookups: usize,
    /// The part of the nodes that lie: they name only each other, give old records or rubbish, store nothing, or are slow
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    #[serde(skip)]
    pub(super) hostile: f64,
    /// Further hostile nodes, with ids nearest to the key of one record; the lookups are of that record then
    #[arg(long, value_name = "IDS")]
    #[serde(skip)]
    pub(super) eclipse: Option<usize>,
    /// Networks (/24) that the ids of --eclipse come from
    #[arg(long, value_name = "M", default_value_t = 2, requires = "eclipse")]
    #[serde(skip)]
    pub(super) networks: usize,
    /// PUTs of signed bundles by free identities from 16 networks, before the lookups
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[serde(skip)]
    pub(super) hostile_puts: usize,
    /// Seconds for which the idle network is watched before
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    #[serde(skip)]
    pub(super) idle: u64,
    /// What all choices follow from
    #[arg(long, value_name = "S", default_value_t = 1)]
    #[serde(skip)]
    pub(super) seed: u64,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) file: FileFlags,
}
