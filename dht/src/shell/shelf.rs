// SPDX-License-Identifier: GPL-2.0-or-later
//! The store with its disk and its clock: what a node is given as its [`Records`].

use std::path::Path;
use std::time::{Duration, SystemTime};

use cgeid::{Cn, Network};

use super::database::{Database, DatabaseError, Loaded};
use super::node::{Held, MARK_AHEAD, Node, NodeConfig, NodeError, Reason, Records, Role};
use crate::error::Refusal;
use crate::limits;
use crate::record::RecordKey;
use crate::store::{Admission, Change, Origin, Standing, Store};

/// Name of the database in the state folder.
pub const FILE: &str = "records.redb";
/// Name of the file with the peers of the last run in the state folder.
pub const PEERS: &str = "node.peers";
/// Records from disk that are proven at each housekeeping, about 20 ms of it: what is asked for before does not wait.
const PROOFS: usize = 100;
/// Conflicts that are listed: enough to look into one.
const CONFLICTS: usize = 100;

/// Why a node with a store does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store's file.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Starts a node that keeps its records in `state_dir`, or only in memory.
///
/// # Errors
/// When the database cannot be used, or the node cannot listen.
pub fn start_node(config: NodeConfig, network: Network, state_dir: Option<&Path>) -> Result<Node, StartError> {
    let mut config = config;
    config.rules.network = network;
    let here = config.place();
    let mut config = config;
    if config.role == Role::Server && config.remember.is_none() {
        config.remember = state_dir.map(|folder| folder.join(PEERS));
    }
    let empty = Shelf::with_capacity(network, here, config.store_bundles);
    let shelf = match state_dir {
        Some(folder) => empty.backed_by(&folder.join(FILE), config.clock.now())?,
        None => empty,
    };
    Ok(Node::start(config, Box::new(shelf))?)
}

/// A store, and the file that makes it outlive the process.
#[derive(Debug)]
pub struct Shelf {
    store: Store,
    database: Option<Database>,
    /// Changes that the database has not taken yet.
    pending: Vec<Change>,
}

impl Shelf {
    /// A store that is lost with the process. `here` is the node's place in the Kademlia space.
    pub fn in_memory(network: Network, here: [u8; 32]) -> Self {
        Self::with_capacity(network, here, limits::STORE_BUNDLES)
    }

    /// The same, for at most so many bundles.
    pub fn with_capacity(network: Network, here: [u8; 32], bundles: usize) -> Self {
        Self { store: Store::with_capacity(network, here, bundles), database: None, pending: Vec::new() }
    }

    /// A store with what the file holds; signatures are checked before a record is first of use.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(network: Network, here: [u8; 32], file: &Path) -> Result<Self, DatabaseError> {
        Self::in_memory(network, here).backed_by(file, SystemTime::now())
    }

    /// Takes what the file holds into an empty store, which it outlives from now on.
    fn backed_by(self, file: &Path, now: SystemTime) -> Result<Self, DatabaseError> {
        let mut shelf = self;
        let (mut kept, mut refused) = (0, 0);
        let (database, loaded) =
            Database::open(file, |(key, record, marks)| match shelf.store.restore(now, key, record, marks) {
                Ok(()) => kept += usize::from(record.is_some()),
                Err(reason) => {
                    refused += 1;
                    tracing::debug!(%reason, "stored record not taken back");
                }
            })?;
        if loaded == Loaded::Damaged {
            shelf.store.rewrite();
        }
        let waiting = shelf.store.waiting();
        tracing::info!(file = %file.display(), kept, refused, waiting, "records taken back");
        if waiting > 0 {
            tracing::warn!(
                waiting,
                "stored records are from the future: kept, and of no use until the clock says otherwise"
            );
        }
        shelf.database = Some(database);
        Ok(shelf)
    }

    /// Gives the database what has changed. One that is busy or fails gets it later: until then the store knows the keys, which
    /// takes less than what is under them.
    fn save(&mut self) {
        let Some(database) = &self.database else {
            self.store.changes();
            return;
        };
        if database.is_failing() {
            return;
        }
        if self.pending.is_empty() {
            self.pending = self.store.changes();
        }
        if !self.pending.is_empty() {
            self.pending = database.write(std::mem::take(&mut self.pending));
        }
    }
}

impl Records for Shelf {
    fn get(&self, now: SystemTime, key: &[u8]) -> Option<Vec<u8>> {
        self.store.get(now, key)
    }

    fn put(&mut self, now: SystemTime, origin: Origin, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        told(now, self.store.put(now, origin, key, value))
    }

    fn take_over(
        &mut self,
        now: SystemTime,
        origin: Origin,
        key: &[u8],
        value: &[u8],
        left: Duration,
    ) -> Result<(), Reason> {
        told(now, self.store.take_over(now, origin, key, value, left))
    }

    fn left(&self, now: SystemTime, key: &[u8]) -> Option<Duration> {
        self.store.left(now, key)
    }

    fn housekeep(&mut self, now: SystemTime) {
        self.store.expire_next(now, limits::EXPIRY_LOOK, limits::EXPIRY_DROPS);
        self.store.prove(now, PROOFS);
        self.save();
    }

    fn nearest(&self, limit: usize) -> Vec<Vec<u8>> {
        self.store.keys().take(limit).map(RecordKey::encode).collect()
    }

    fn held(&self) -> Held {
        Held {
            records: self.store.len() - self.store.waiting(),
            waiting: self.store.waiting(),
            bytes: self.store.size(),
            refused: self.store.counters().refused.clone(),
            conflicts: self.store.conflicts().take(CONFLICTS).map(ToString::to_string).collect(),
            store: self.store.counters().clone(),
            region_bits: self.store.region().map(leading_zeros),
            heaviest: self.store.heaviest(),
            is_failing: self.database.as_ref().is_some_and(Database::is_failing),
        }
    }

    fn move_to(&mut self, here: [u8; 32]) {
        self.store.move_to(here);
    }

    fn clock_is_right(&mut self, now: SystemTime) {
        let dropped = self.store.drop_ahead(now, PROOFS);
        if dropped > 0 {
            tracing::warn!(dropped, "stored records from the future deleted: the clock is right, they are not");
        }
    }

    fn set_region(&mut self, region: Option<[u8; 32]>) {
        self.store.set_region(region);
    }

    fn standing(&self, cn: Cn) -> Standing {
        self.store.standing(cn)
    }
}

fn told(now: SystemTime, outcome: Result<Admission, Refusal>) -> Result<(), Reason> {
    let latest = now + crate::limits::CLOCK_SKEW;
    outcome.map(drop).map_err(|refusal| {
        let is_ahead = matches!(&refusal, Refusal::OldSequence { known, .. } if known.signed_at() > latest);
        Reason { name: if is_ahead { MARK_AHEAD } else { refusal.name() }, text: refusal.to_string() }
    })
}

/// Zero bits at the beginning of a distance.
fn leading_zeros(distance: [u8; 32]) -> u32 {
    let zeros = distance.iter().take_while(|octet| **octet == 0).count();
    let first = distance.get(zeros).map_or(0, |octet| octet.leading_zeros());
    u32::try_from(zeros * 8).unwrap_or(u32::MAX).saturating_add(first)
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.pending.extend(self.store.changes());
        if let Some(database) = &self.database {
            database.write_last(std::mem::take(&mut self.pending));
        }
    }
}
