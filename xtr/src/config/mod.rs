// SPDX-License-Identifier: GPL-2.0-or-later
//! Configuration: file, then environment, then flags; then checked as a whole.

mod check;
mod ecn;
mod explain;
mod flags;
mod interwork;
mod key_file;
mod lisp_sec;
mod mapping;
mod nat;
mod running;
mod subscribe;
mod trace;
mod trusted;
mod values;
mod written;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv6Net};
use program::settings::{SettingsError, Wrong};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{AuthKey, TagForm};

use self::written::Written;
use crate::database::OwnLocator;
use crate::ecn::EcnCompatibility;
use crate::etr::SourceMode;
use crate::interwork::Interworking;
use crate::resolve::LispSec;
use crate::subscribe::{Association, Configured};
use crate::trust::Trust;

pub use explain::{explain, warnings};
pub use flags::{Command, CommandLine, Flags, MANUAL, SourceCheck, Switch, Table, Tier, Within};
pub use interwork::{PetrValue, PitrIn};
pub use lisp_sec::LispSecMode;
pub use nat::{Nat, NatSetting};
pub use running::Running;
pub use trace::{Ports, TraceFlags};
pub use trusted::FirstVersion;
pub use values::{InterfaceLocator, PrefixValue, RlocValue, TrustAnchor};

/// The control socket's name in the state directory.
const CONTROL_SOCKET: &str = "control.sock";
/// UDP port of the DHT node, unless another is said.
const DHT_PORT: u16 = 43_420;
/// Longest name of a network interface.
const LONGEST_INTERFACE_NAME: usize = 15;

/// A configuration that cannot be run: the flag or key, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The key, which is also the flag; empty if the problem is not one key's.
    pub key: String,
    /// What to change.
    pub problem: String,
}

impl ConfigError {
    fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

impl From<SettingsError> for ConfigError {
    /// The first of them.
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::File(path, error) => Self::new("config", format!("{}: {error}", path.display())),
            SettingsError::Wrong(wrong) => {
                let Wrong { key, problem, place } = wrong.into_iter().next().unwrap_or_default();
                let place = place.map_or_else(String::new, |place| format!(" ({place})"));
                Self::new(if key.is_empty() { "config".to_owned() } else { key }, format!("{problem}{place}"))
            }
        }
    }
}

/// A configuration that can be run.
#[derive(Debug)]
pub struct Config {
    /// Prefixes behind this node, in their instance; CGEIDs are added when the identities are read.
    pub eid_prefixes: Vec<EidPrefix>,
    /// Its locators by address. Neither these nor interfaces = the addresses of the default route's interface.
    pub rlocs: Vec<OwnLocator>,
    /// Interfaces whose addresses are locators too.
    pub rloc_interfaces: Vec<InterfaceLocator>,
    /// Who maps EIDs to locators.
    pub mapping: Mapping,
    /// P bit of Map-Registers to Map-Servers elsewhere.
    pub proxy_reply: bool,
    /// What is protected on the way to the Map-Resolvers and back.
    pub lisp_sec: LispSec,
    /// Whether the node has temporary CGEIDs beside its static one.
    pub temporary: bool,
    /// Instance of the prefixes.
    pub iid: InstanceId,
    /// Locators of peers that take LISP-GPE headers only.
    pub gpe_peers: Vec<IpAddr>,
    /// Where packets go in the compatibility mode of ECN.
    pub ecn: EcnCompatibility,
    /// Whether ECN fields that nobody should make are written to the log.
    pub ecn_log: bool,
    /// Whether packets from the core are dropped whose inner source does not map to where they come from.
    pub source_check: SourceMode,
    /// Locators of PITRs, whose packets need not come from EIDs.
    pub pitrs: Vec<IpAddr>,
    /// Networks of the locators of trusted peers.
    pub trusted_peers: Vec<IpNet>,
    /// What is used with them.
    pub trust: Trust,
    /// First version of our mappings.
    pub map_version: FirstVersion,
    /// What it does for and with hosts that know nothing of LISP (RFC 6832).
    pub interworking: Interworking,
    /// What there is to do about NATs.
    pub nat: Nat,
    /// Site-ID; none = Map-Servers elsewhere are told neither it nor the xTR-ID.
    pub site_id: Option<u64>,
    /// xTR-ID; none = the one that was made at the first start.
    pub xtr_id: Option<[u8; 16]>,
    /// Map-Resolvers behind which mappings are subscribed to, each with the key of its Map-Notifies (RFC 9437).
    pub subscriptions: Vec<Association>,
    /// What the operators of both ends have subscribed this node to (RFC 9437, section 5).
    pub subscribed: Vec<Configured>,
    /// Whether is taken what those tell that it has not subscribed to.
    pub takes_unsubscribed: bool,
    /// Name of the TUN device.
    pub tun: String,
    /// Its MTU, octets.
    pub mtu: u16,
    /// How packets cross the kernel.
    pub tier: Tier,
    /// What outlives a run.
    pub state_dir: PathBuf,
    /// Control socket.
    pub control: PathBuf,
    /// Network of the CGEIDs, a /32.
    pub cgeid_network: Ipv6Net,
    /// Where /metrics and /health are served.
    pub metrics: Option<SocketAddr>,
    /// Log filter.
    pub log: String,
    /// What all of this was made from.
    written: Written,
}

/// Who maps EIDs to locators.
#[derive(Debug)]
pub enum Mapping {
    /// Map-Servers and Map-Resolvers elsewhere.
    Elsewhere {
        /// Where and with what key we register; may be empty.
        servers: Vec<ServerAddress>,
        /// Whom we ask.
        resolvers: Vec<IpAddr>,
    },
    /// A map system and a DHT node in this process.
    Embedded(Embedded),
}

/// A Map-Server elsewhere.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Its underlay address.
    pub address: IpAddr,
    /// The key shared with it.
    pub key: AuthKey,
    /// How much of an HMAC it wants.
    pub tag: TagForm,
    /// Whether its own tags may cover no more than the records.
    pub narrow_coverage: bool,
}

/// The map system in this process.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Operational keys; empty = make an identity in the state directory.
    pub identities: Vec<PathBuf>,
    /// Where their password is written.
    pub password_file: Option<PathBuf>,
    /// DHT nodes to join by.
    pub bootstrap: Vec<String>,
    /// Whom to believe about aggregates.
    pub trust_anchors: Vec<TrustAnchor>,
    /// UDP port of the DHT node.
    pub dht_port: u16,
    /// Zero bits that the network's puzzle asks of the node's key; `None` = those of a lab.
    pub puzzle_bits: Option<u8>,
    /// File with the key of a closed network.
    pub network_key: Option<PathBuf>,
    /// Addresses that several DHT nodes have at once.
    pub anycast: Vec<String>,
    /// Whether the DHT node looks for others on the links of this machine.
    pub discovery: Switch,
}

impl Config {
    /// Reads the file that the flags or the environment name, the environment and the flags.
    ///
    /// # Errors
    /// Names the key, and the line of the file if the key stands there.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::check(Written::read(flags)?)
    }

    /// Where a node of this configuration listens for `show`; the rest of it is not looked at.
    ///
    /// # Errors
    /// As [`Self::load`], for what cannot be read.
    pub fn control_socket(flags: &Flags) -> Result<PathBuf, ConfigError> {
        let written = Written::read(flags)?;
        Ok(written.control.unwrap_or_else(|| written.state_dir.join(CONTROL_SOCKET)))
    }

    /// The flag, or key, that [`Self::control`] comes from.
    pub fn control_flag(&self) -> &'static str {
        if self.written.control.is_some() { "control" } else { "state-dir" }
    }

    /// Whom this node sends to over the underlay, whatever is cached: PETRs, Map-Servers and Map-Resolvers, each with its key.
    pub fn spoken_to(&self) -> Vec<(&'static str, IpAddr)> {
        let petrs = self.interworking.petrs.iter().map(|petr| ("use-petr", petr.address));
        let Mapping::Elsewhere { servers, resolvers } = &self.mapping else { return petrs.collect() };
        let servers = servers.iter().map(|server| ("map-server", server.address));
        let resolvers = resolvers.iter().map(|address| ("map-resolver", *address));
        petrs.chain(servers).chain(resolvers).collect()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (Key ID {}, {:?})", self.address, self.key.id, self.key.algorithm)
    }
}

#[cfg(test)]
mod tests;
