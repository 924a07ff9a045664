// SPDX-License-Identifier: GPL-2.0-or-later
//! What the node asks of a store, and that store in the shape libp2p wants.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cgeid::Cn;
use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};

use super::handing::Arrival;
use super::{Clock, Counters};
use crate::block::Block;
use crate::shell::limits;
use crate::store::{self, Origin, Standing};

/// The names of the [`Reason`]s that something newer is held: whoever hands on something older is given that.
const NEWER: [&str; 2] = ["old-sequence", "revoked"];

/// The name of the [`Reason`] that something newer was taken while this node's clock was ahead: others may take the value all the same.
pub const MARK_AHEAD: &str = "mark-ahead";

/// Why a store does not take a value: the name it is counted under, and the sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Reason {
    /// A short name that stays the same.
    pub name: &'static str,
    /// What is wrong with the value.
    pub text: String,
}

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Held {
    /// Bundles.
    pub records: usize,
    /// Bundles from disk that are from the future by this node's clock, and of no use until it says otherwise.
    pub waiting: usize,
    /// Octets of all those bundles.
    pub bytes: usize,
    /// Values refused since the start, by the name of the [`Reason`].
    pub refused: BTreeMap<&'static str, u64>,
    /// Keys whose owners contradicted themselves, some of them if they are many.
    pub conflicts: Vec<String>,
    /// What happened in the store since the start.
    pub store: store::Counters,
    /// Leading bits that a key must share with the node's place to lie in its region; `None`: all keys do.
    pub region_bits: Option<u32>,
    /// The block of addresses that has put most of what is held, and how many bundles those are.
    #[serde(skip)]
    pub heaviest: Option<(Block, usize)>,
    /// Whether what is stored cannot be written to disk.
    pub is_failing: bool,
}

/// A store of records. It verifies before it stores: what it takes is acknowledged to the publisher.
pub trait Records: Send {
    /// The value under a key, without what has expired.
    fn get(&self, now: SystemTime, key: &[u8]) -> Option<Vec<u8>>;

    /// Verifies and takes a value.
    ///
    /// # Errors
    /// Why it is not taken.
    fn put(&mut self, now: SystemTime, origin: Origin, key: &[u8], value: &[u8]) -> std::result::Result<(), Reason>;

    /// [`Records::put`] of what a peer hands on that would keep it for `left` more.
    ///
    /// # Errors
    /// Why it is not taken.
    fn take_over(
        &mut self,
        now: SystemTime,
        origin: Origin,
        key: &[u8],
        value: &[u8],
        _left: Duration,
    ) -> std::result::Result<(), Reason> {
        self.put(now, origin, key, value)
    }

    /// For how long what is held under a key is still kept, where the value does not say so: a REVOCATION counts from its latest
    /// PUT.
    fn left(&self, _now: SystemTime, _key: &[u8]) -> Option<Duration> {
        None
    }

    /// Drops what has expired and writes what is not yet written; called about once a second and at the end.
    fn housekeep(&mut self, now: SystemTime);

    /// What is held.
    fn held(&self) -> Held;

    /// The keys under which something is held, those nearest to this node first, at most so many: what a restart leaves to be
    /// handed on. A store that does not outlive its process has none at its start.
    fn nearest(&self, _limit: usize) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// What is known of an identity; a store that knows nothing says nothing.
    fn standing(&self, _cn: Cn) -> Standing {
        Standing::default()
    }

    /// The node has another place in the Kademlia space from now on.
    fn move_to(&mut self, _here: [u8; 32]) {}

    /// The peers say that the node's clock is right: what is from the future by it is no good. Called about once a second.
    fn clock_is_right(&mut self, _now: SystemTime) {}

    /// How far the node's region reaches in the Kademlia space; `None`: everywhere. Called before each housekeeping.
    fn set_region(&mut self, _region: Option<[u8; 32]>) {}
}

/// A [`Records`] as libp2p's record store. It has no provider records, and shows no records to libp2p's replication.
pub(super) struct KadRecords {
    pub(super) records: Box<dyn Records>,
    pub(super) counters: Counters,
    /// Who is putting: from where, and which peer if it is one.
    pub(super) origin: Origin,
    pub(super) peer: Option<PeerId>,
    /// For how long that peer would still keep what it puts, if it says so.
    pub(super) left: Option<Duration>,
    /// What was put since it was last asked for, at most [`limits::ARRIVALS`].
    pub(super) arrivals: Vec<Arrival>,
    pub(super) clock: Clock,
}

impl KadRecords {
    pub(super) fn new(records: Box<dyn Records>, clock: Clock) -> Self {
        let (counters, arrivals) = (Counters::default(), Vec::new());
        Self { records, counters, origin: Origin::Own, peer: None, left: None, arrivals, clock }
    }

    /// Verifies and stores a value of ours or of somebody else.
    pub(super) fn admit(&mut self, key: &[u8], value: &[u8]) -> std::result::Result<(), Reason> {
        self.admit_from(None, key, value)
    }

    /// The same, handed on by a peer if that is named.
    fn admit_from(&mut self, handed_by: Option<PeerId>, key: &[u8], value: &[u8]) -> std::result::Result<(), Reason> {
        let now = self.clock.now();
        let outcome = match self.left.filter(|_| handed_by.is_some()) {
            Some(left) => self.records.take_over(now, self.origin, key, value, left),
            None => self.records.put(now, self.origin, key, value),
        };
        match &outcome {
            Ok(()) => {
                self.counters.puts_stored += 1;
                tracing::debug!(octets = value.len(), "record stored");
                self.note(key, value, handed_by);
            }
            Err(reason) => {
                self.counters.puts_refused += 1;
                tracing::debug!(reason = reason.name, text = %reason.text, octets = value.len(), "record refused");
                if NEWER.contains(&reason.name) && handed_by.is_some() {
                    self.note(key, value, handed_by);
                }
            }
        }
        outcome
    }
}

impl KadRecords {
    /// What is held now, be it new or only put again, may have to be handed on.
    fn note(&mut self, key: &[u8], offered: &[u8], handed_by: Option<PeerId>) {
        if self.arrivals.len() >= limits::ARRIVALS {
            return;
        }
        let now = self.clock.now();
        let Some(held) = self.records.get(now, key) else { return };
        let arrival = Arrival::new(key, &held, self.records.left(now, key).is_some());
        self.arrivals.push(arrival.offered(offered, &held, handed_by));
    }
}

impl RecordStore for KadRecords {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        let value = self.records.get(self.clock.now(), key.as_ref())?;
        Some(Cow::Owned(Record::new(key.clone(), value)))
    }

    fn put(&mut self, record: Record) -> Result<()> {
        // libp2p has no word for "not valid"; whichever error makes it reset the stream, which the publisher sees.
        // Owners name themselves; who hands a record on does not.
        let handed_by = self.peer.filter(|_| record.publisher.is_none());
        self.admit_from(handed_by, record.key.as_ref(), &record.value).map_err(|_| Error::ValueTooLarge)
    }

    fn remove(&mut self, _key: &RecordKey) {
        // Records end by their own lifetime; libp2p has no say in it.
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, _record: ProviderRecord) -> Result<()> {
        self.counters.providers_refused += 1;
        Err(Error::MaxProvidedKeys)
    }

    fn providers(&self, _key: &RecordKey) -> Vec<ProviderRecord> {
        Vec::new()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, _key: &RecordKey, _peer: &PeerId) {}
}
