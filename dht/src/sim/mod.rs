// SPDX-License-Identifier: GPL-2.0-or-later
//! A *model* of the network: thousands of nodes in one thread and in virtual time, from one seed.
//!
//! Real are the records and their owners' keys, the [store](crate::store) of every node with all its checks, merges and
//! quotas, what a reader makes of the values it finds ([`crate::record::verify`], [`crate::resolve::newest`]), and the
//! [`Block`](crate::block::Block)s of addresses. Modelled are Kademlia (its table and its lookups, after libp2p's), the
//! network between the nodes, and the people who attack. Figures of real nodes come from the bench, never from here.
//!
//! Nothing is verified less than in a real node: every store checks every signature that is news to it. Only a reader's
//! lookup checks equal octets once.
//!
//! Where to find what: `clock` time and its queue; `table`, `lookup` the modelled Kademlia; `node` a node round its store;
//! `links` latency, loss and cuts; `hostile` the attackers; `choices` the defences; `operation` GETs and PUTs; `upkeep`
//! coming, going, and handing records on; `traffic` octets; `scenario` what is asked of a network; `report` the table;
//! `progress` how far it is.
//!
//! A network settles by decree: its tables begin as those of one that has run for long. Newcomers join by lookups.

mod calls;
mod choices;
mod clock;
mod dice;
mod hostile;
pub(crate) mod limits;
mod links;
mod lookup;
mod node;
mod operation;
mod peers;
mod people;
mod progress;
mod report;
mod scenario;
mod table;
mod timing;
mod traffic;
mod upkeep;
mod world;

use std::sync::Arc;
use std::time::Duration;

pub use self::choices::Choices;
pub use self::progress::Progress;
pub use self::report::{Line, Report, Row};
pub use self::scenario::Scenario;
pub use self::timing::Timing;

use crate::error::PublishError;

/// How large a model is, and what it begins from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Nodes of the network; at most [`MAX_NODES`].
    pub nodes: usize,
    /// All chance comes from it.
    pub seed: u64,
    /// Records that are published: enough to average over, few enough that ten thousand stores fit into memory.
    pub records: usize,
    /// Lookups that are measured, each time.
    pub lookups: usize,
    /// How long nodes come and go; the first third is not measured.
    pub churn: Duration,
    /// How long the halves are parted.
    pub parted: Duration,
    /// How long idle traffic is counted.
    pub idle: Duration,
    /// The times of its nodes.
    pub timing: Timing,
}

/// Nodes of a model: 100,000 take some GB.
pub const MAX_NODES: usize = 100_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 1000,
            seed: 1,
            records: 100,
            lookups: 400,
            churn: Duration::from_secs(15 * 60),
            parted: Duration::from_secs(3600),
            idle: Duration::from_secs(3600),
            timing: Timing::PRESENT,
        }
    }
}

/// The keys of a model could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// No identity can be made.
    #[error(transparent)]
    Certificate(#[from] cgeid::CertificateError),
    /// A record cannot be signed.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Runs a scenario.
///
/// # Errors
/// When the system gives no randomness for the owners' keys.
pub fn run(scenario: Scenario, settings: &Settings) -> Result<Report, SimError> {
    watched(scenario, settings, &Arc::default())
}

/// Runs a scenario that tells how far it is.
///
/// # Errors
/// As [`run`].
pub fn watched(scenario: Scenario, settings: &Settings, progress: &Arc<Progress>) -> Result<Report, SimError> {
    let nodes = settings.nodes.clamp(2, MAX_NODES);
    let records = settings.records.max(1);
    scenario.run(&Settings { nodes, records, ..*settings }, progress)
}
