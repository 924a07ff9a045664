// SPDX-License-Identifier: GPL-2.0-or-later
//! What is published: of a node, by `put` and by `node`, and of prefixes, by `index`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{FileFlags, IdentityFlags, NetworkFlags, StateFlags};

/// Where a CGEID is reached: MAPPING.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) struct MappingFlags {
    /// A locator of the identity's CGEID; may be repeated
    #[arg(long, value_name = "ADDR[,priority=1,weight=100]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rloc: Vec<String>,
    /// Minutes that map-caches keep the mapping [default: 60]
    #[arg(long, value_name = "MINUTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
}

/// What a node does for others: SERVICE.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) struct ServiceFlags {
    /// An address at which the identity serves others, and its roles there: boot, mr, ms, pitr, petr, rtr, relay, dns; may
    /// be repeated
    #[arg(long, value_name = "ADDR[:PORT],ROLE,...")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    service: Vec<String>,
    /// Another CGEID of the same owner, which takes over if it names this one too; may be repeated
    #[arg(long, value_name = "CGEID")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alternate: Vec<String>,
    /// A prefix under which the identity reaches IPv4 (NAT64); may be repeated
    #[arg(long, value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pref64: Vec<String>,
    /// The name that reverse DNS gives for the CGEID
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ptr: Option<String>,
}

impl ServiceFlags {
    fn is_given(&self) -> bool {
        let lists = [&self.service, &self.alternate, &self.pref64];
        self.ptr.is_some() || lists.iter().any(|list| !list.is_empty())
    }
}

/// Who the neighbours are, and where: TOPOLOGY.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) struct TopologyFlags {
    /// A neighbour, and how good the link to it is (medium: wire, fibre, radio, laser, tunnel; loss in percent, rate in
    /// kbit/s); may be repeated
    #[arg(long, value_name = "CGEID[,metric=96][,medium=M][,loss=0][,rate=N]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    neighbour: Vec<String>,
    /// Where the node is, in degrees, and metres above the ellipsoid: told only if this is given, and then blurred by 100 m at
    /// least unless `blur` says otherwise (0: told as it is)
    #[arg(long, value_name = "LAT,LON[,ALT][,blur=100][,error=0][,source=gnss]", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// A terminal that others point at, told exactly where it is (frequency in GHz or wavelength in nm; azimuth,
    /// elevation and reach in degrees); may be repeated
    #[arg(long, value_name = "LAT,LON,ALT,medium=laser[,wavelength=1550][,azimuth=D,elevation=D,reach=D]")]
    #[arg(allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    terminal: Vec<String>,
}

impl TopologyFlags {
    fn is_given(&self) -> bool {
        self.position.is_some() || [&self.neighbour, &self.terminal].iter().any(|list| !list.is_empty())
    }
}

/// What can be withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum Withdrawn {
    /// Where the CGEID is reached
    Mapping,
    /// What the node does for others
    Service,
    /// Who the neighbours are, and where the node is
    Topology,
}

/// `lisp-dht put`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) struct PutFlags {
    #[command(flatten)]
    #[serde(flatten)]
    identity: IdentityFlags,
    #[command(flatten)]
    #[serde(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    #[serde(flatten)]
    service: ServiceFlags,
    #[command(flatten)]
    #[serde(flatten)]
    topology: TopologyFlags,
    /// Publish that there is no mapping any more, or no service or topology
    #[arg(long, value_name = "CLASS,...", num_args = 0..=1, require_equals = true, default_missing_value = "mapping")]
    #[arg(value_delimiter = ',')]
    #[serde(skip)]
    pub(in super::super) withdraw: Vec<Withdrawn>,
    /// Publish the revocation of an identity instead, <CN>.revoke; that cannot be taken back
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rloc", "ttl", "withdraw", "ServiceFlags", "TopologyFlags"])]
    #[serde(skip)]
    pub(in super::super) revocation: Option<PathBuf>,
    /// Publish the revocation without asking
    #[arg(long, requires = "revocation")]
    #[serde(skip)]
    pub(in super::super) yes: bool,
    /// Publish a bundle that was signed elsewhere
    #[arg(long, value_name = "FILE", conflicts_with_all = ["revocation", "rloc", "ttl", "withdraw", "ServiceFlags", "TopologyFlags"])]
    #[serde(skip)]
    pub(in super::super) bundle: Option<PathBuf>,
    /// The DHT key of the bundle in hexadecimal [default: the one that follows from it]
    #[arg(long, value_name = "HEX", requires = "bundle")]
    #[serde(skip)]
    pub(in super::super) key: Option<String>,
    /// Send the bundle without checking it, to see that nodes refuse it
    #[arg(long, requires = "bundle")]
    #[serde(skip)]
    pub(in super::super) unchecked: bool,
    /// Send the bundle to the nodes of --bootstrap themselves, wherever its key belongs; their addresses end in /p2p/ and the identity
    #[arg(long, requires = "bundle")]
    #[serde(skip)]
    pub(in super::super) direct: bool,
    #[command(flatten)]
    #[serde(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    #[serde(flatten)]
    state: StateFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub(in super::super) file: FileFlags,
}

impl PutFlags {
    /// A flag that says something, and is to be withdrawn by another. What stands in a file gives way.
    pub(in super::super) fn contradiction(&self) -> Option<&'static str> {
        let said = |class: &Withdrawn| match class {
            Withdrawn::Mapping => (!self.mapping.rloc.is_empty()).then_some("--withdraw=mapping and --rloc"),
            Withdrawn::Service => {
                self.service.is_given().then_some("--withdraw=service, and flags that tell of services")
            }
            Withdrawn::Topology => {
                self.topology.is_given().then_some("--withdraw=topology, and flags that tell of neighbours or places")
            }
        };
        self.withdraw.iter().find_map(said)
    }
}

/// `lisp-dht index`
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) struct IndexFlags {
    /// The prefix that the page is about: what others name in --trust-anchor
    #[arg(value_name = "COVERING-PREFIX")]
    #[serde(skip)]
    pub(in super::super) covering: String,
    #[command(flatten)]
    #[serde(flatten)]
    identity: IdentityFlags,
    /// A site and its registrars (`max-plen`: longest more-specific taken from them), or with `,child` the writer of further
    /// pages; may be repeated
    #[arg(long, value_name = "PREFIX=CN[+CN..][,max-plen=N][,child]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    delegate: Vec<String>,
    /// File with a delegation a line
    #[arg(long, value_name = "F")]
    #[serde(skip_serializing_if = "Option::is_none")]
    delegations: Option<PathBuf>,
    /// Instance ID of all prefixes that name none [default: 0]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    iid: Option<u32>,
    /// Go on: renew the pages so often, and at once what changed in --delegations on SIGHUP [6 hours: 21600]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "21600")]
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<u64>,
    /// Print the pages, and publish nothing
    #[arg(long)]
    #[serde(skip)]
    pub(in super::super) dry_run: bool,
    /// Sign and put all pages, also those that have not changed
    #[arg(long, conflicts_with_all = ["every", "dry_run"])]
    #[serde(skip)]
    pub(in super::super) renew: bool,
    #[command(flatten)]
    #[serde(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    #[serde(flatten)]
    state: StateFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub(in super::super) file: FileFlags,
}
