// SPDX-License-Identifier: GPL-2.0-or-later
//! The flags of each verb. What is not given is left to the environment and the file, see [`super::settings`].

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

/// The flags of one verb.
pub(super) trait Flags: Serialize {
    /// The configuration file.
    fn config(&self) -> Option<&Path>;
}

macro_rules! flags {
    ($($name:ident),*) => {
        $(impl Flags for $name {
            fn config(&self) -> Option<&Path> {
                self.file.config.as_deref()
            }
        })*
    };
}

flags!(NodeFlags, PutFlags, GetFlags, ResolveFlags, IndexFlags, StatsFlags);

/// Where settings come from and results go.
#[derive(Debug, Args, Serialize)]
pub(super) struct FileFlags {
    /// TOML file with settings
    #[arg(long, value_name = "F.toml", env = "LISP_DHT_CONFIG")]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,
    /// Print JSON to standard output, or write it to FILE beside the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    #[serde(skip)]
    pub(super) json: Option<PathBuf>,
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
    /// Who delegates a prefix, for `resolve` by the control socket; may be repeated
    #[arg(long, value_name = "PREFIX=CN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trust_anchor: Vec<String>,
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

/// `lisp-dht put`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PutFlags {
    #[command(flatten)]
    #[serde(flatten)]
    identity: IdentityFlags,
    /// A locator of the identity's CGEID; may be repeated
    #[arg(long, value_name = "ADDR[,priority=1,weight=100]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rloc: Vec<String>,
    /// Minutes that map-caches keep the mapping [default: 60]
    #[arg(long, value_name = "MINUTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    /// Publish that there is no mapping any more
    #[arg(long)]
    #[serde(skip)]
    pub(super) withdraw: bool,
    /// Publish the revocation of an identity instead, <CN>.revoke; that cannot be taken back
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rloc", "ttl", "withdraw"])]
    #[serde(skip)]
    pub(super) revocation: Option<PathBuf>,
    /// Publish the revocation without asking
    #[arg(long, requires = "revocation")]
    #[serde(skip)]
    pub(super) yes: bool,
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
    /// Who delegates a prefix; may be repeated
    #[arg(long, value_name = "PREFIX=CN")]
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

/// `lisp-dht index`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct IndexFlags {
    /// The prefix that the page is about: what others name in --trust-anchor
    #[arg(value_name = "COVERING-PREFIX")]
    #[serde(skip)]
    pub(super) covering: String,
    #[command(flatten)]
    #[serde(flatten)]
    identity: IdentityFlags,
    /// A site and its registrar (`max-plen`: longest more-specific taken from it), or with `,child` the writer of a further
    /// page; may be repeated
    #[arg(long, value_name = "PREFIX=CN[,max-plen=N][,child]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    delegate: Vec<String>,
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
