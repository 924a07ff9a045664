// SPDX-License-Identifier: GPL-2.0-or-later
//! What a node keeps for others: verified before it is stored, never older than before, merged commutatively.
//!
//! Per class the highest (epoch, sequence) wins. Two statements of one version by one owner are *equivocation*: every store
//! keeps the one with the smaller hash and marks the conflict, so stores that met them in different orders agree. A
//! REVOCATION ends it all: see [`Store::is_revoked`].
//!
//! The store has no disk. [`Store::changes`] says what to write, [`Store::restore`] takes it back. A disk is not more
//! trustworthy than the network: what comes from there is checked as if a stranger had brought it, the signatures when it is
//! first of use ([`Store::prove`]). Its marks can only make us stricter.
//!
//! Nobody fills it: a block of addresses has a share (see [`crate::block`]), and when all is full what goes first is what the
//! node is not near to, then the latest of whoever has most.

mod ahead;
mod charge;
mod disk;
mod entry;
mod expiry;
mod marks;
mod origin;
mod owner;
mod proof;
mod quota;
mod revoked;
mod room;
mod shares;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use cgeid::Network;
use serde::Serialize;

use self::charge::Charge;
use self::entry::{Comparison, Entry, Offer};
use self::proof::Proof;
use self::shares::Shares;
use crate::block::Block;
use crate::error::Refusal;
use crate::limits;
use crate::record::{CertificateCache, Chain, Form, RecordKey, check_form, check_signature, check_times};

pub use self::disk::Change;
pub use self::origin::Origin;
pub use self::standing::Standing;

/// What became of a bundle that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Something in it is new, and is held now.
    Stored,
    /// All of it was held already.
    Refreshed,
    /// Its owner signed something else under the same version; one of the two is held, the conflict is marked.
    Conflict,
}

/// What happened in a store since its start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Bundles that brought something new.
    pub stored: u64,
    /// Bundles that were held already.
    pub refreshed: u64,
    /// Bundles whose owner contradicts itself.
    pub conflicts: u64,
    /// Bundles given up for nearer ones.
    pub evicted: u64,
    /// Sections that reached the end of their lifetime.
    pub expired: u64,
    /// Bundles dropped because their owner's identity was revoked.
    pub revoked: u64,
    /// Bundles refused, by the name of the [`Refusal`].
    pub refused: BTreeMap<&'static str, u64>,
}

/// Distance in the Kademlia space.
type Distance = [u8; 32];

/// The records that one node keeps.
#[derive(Debug)]
pub struct Store {
    network: Network,
    here: Distance,
    capacity: usize,
    /// In the order of their writers.
    entries: BTreeMap<RecordKey, Entry>,
    /// Octets of all sections held.
    octets: usize,
    /// Keys under which something is held, by distance.
    held: BTreeSet<(Distance, RecordKey)>,
    /// Keys of which only marks are left, by distance.
    remembered: BTreeSet<(Distance, RecordKey)>,
    /// Keys whose owner contradicted itself.
    conflicts: BTreeSet<RecordKey>,
    /// How far the node's region reaches; `None`: everywhere.
    region: Option<Distance>,
    shares: Shares,
    /// Keys of what came from disk and is from the future, by when it is not any more.
    ahead: BTreeSet<(SystemTime, RecordKey)>,
    /// Keys of what came from disk, some of which may have been proven since.
    unproven: Vec<RecordKey>,
    /// The last key that was looked at for what has expired.
    looked_to: Option<RecordKey>,
    certificates: CertificateCache,
    counters: Counters,
    changed: BTreeSet<RecordKey>,
}

impl Store {
    /// An empty store of a node whose place in the Kademlia space is `here` (SHA-256 of its peer ID).
    pub fn new(network: Network, here: [u8; 32]) -> Self {
        Self::with_capacity(network, here, limits::STORE_BUNDLES)
    }

    /// A store of at most `capacity` bundles, fewer if they are long: see [`limits::BUNDLE_SHARE`].
    pub fn with_capacity(network: Network, here: [u8; 32], capacity: usize) -> Self {
        Self {
            network,
            here,
            capacity,
            entries: BTreeMap::new(),
            octets: 0,
            held: BTreeSet::new(),
            remembered: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            region: None,
            shares: Shares::of(capacity),
            ahead: BTreeSet::new(),
            unproven: Vec::new(),
            looked_to: None,
            certificates: CertificateCache::new(),
            counters: Counters::default(),
            changed: BTreeSet::new(),
        }
    }

    /// The node has another place in the Kademlia space: what it is near to is told anew.
    pub fn move_to(&mut self, here: [u8; 32]) {
        (self.here, self.region) = (here, None);
        let [held, remembered] = [&self.held, &self.remembered]
            .map(|keys| keys.iter().map(|(_, key)| (self.distance(key), *key)).collect::<BTreeSet<_>>());
        (self.held, self.remembered) = (held, remembered);
    }

    /// How far the node's region reaches; `None`: everywhere.
    pub fn region(&self) -> Option<[u8; 32]> {
        self.region
    }

    /// The block of addresses that has put most of what is held, and how many bundles those are.
    pub fn heaviest(&self) -> Option<(Block, usize)> {
        self.shares.heaviest().map(|(bundles, account)| (account.block, bundles))
    }

    /// Offers a value. The checks go from cheap to costly, signatures last.
    ///
    /// # Errors
    /// The first check that fails; nothing has changed then, but for its counter and the mark of a proven conflict.
    pub fn put(&mut self, now: SystemTime, origin: Origin, key: &[u8], value: &[u8]) -> Result<Admission, Refusal> {
        self.put_for((now, origin), key, value, limits::REVOCATION_LIFETIME)
    }

    /// Offers what a peer hands on that would keep it for `left` more. Only of a REVOCATION that is not said by the value itself:
    /// it is kept as long here, no longer than if it were put now, and no shorter than it is kept already.
    ///
    /// # Errors
    /// As of [`Store::put`].
    pub fn take_over(
        &mut self,
        now: SystemTime,
        origin: Origin,
        key: &[u8],
        value: &[u8],
        left: Duration,
    ) -> Result<Admission, Refusal> {
        self.put_for((now, origin), key, value, left.min(limits::REVOCATION_LIFETIME))
    }

    fn put_for(
        &mut self,
        by: (SystemTime, Origin),
        key: &[u8],
        value: &[u8],
        left: Duration,
    ) -> Result<Admission, Refusal> {
        let outcome = self.check(by.0, key, value).and_then(|(key, form)| self.admit(by, key, &form, left));
        match &outcome {
            Ok(Admission::Stored) => self.counters.stored += 1,
            Ok(Admission::Refreshed) => self.counters.refreshed += 1,
            Ok(Admission::Conflict) => self.counters.conflicts += 1,
            Err(refusal) => *self.counters.refused.entry(refusal.name()).or_default() += 1,
        }
        outcome
    }

    /// The value under a key, without what has expired.
    pub fn get(&self, now: SystemTime, key: &[u8]) -> Option<Vec<u8>> {
        let key = RecordKey::decode(key).ok()?;
        let entry = self.entries.get(&key)?;
        if self.is_proven(&key, entry, now) { entry.value(&key, now) } else { None }
    }

    /// Whether the owner of a key contradicted itself in what is held now.
    pub fn in_conflict(&self, key: &RecordKey) -> bool {
        self.conflicts.contains(key)
    }

    /// The keys whose owners contradicted themselves.
    pub fn conflicts(&self) -> impl ExactSizeIterator<Item = &RecordKey> {
        self.conflicts.iter()
    }

    /// What happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Signatures of sections that were checked since the start.
    pub fn signatures(&self) -> u64 {
        self.certificates.signatures()
    }

    /// Bundles held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Octets of the bundles held.
    pub fn size(&self) -> usize {
        self.octets
    }

    /// The keys under which something is held, nearest first: to hand them on.
    pub fn keys(&self) -> impl Iterator<Item = &RecordKey> {
        self.held.iter().map(|(_, key)| key)
    }

    /// Everything that can be said without knowing what is held.
    fn check<'a>(&self, now: SystemTime, key: &[u8], value: &'a [u8]) -> Result<(RecordKey, Form<'a>), Refusal> {
        if value.len() > limits::BUNDLE_SIZE {
            return Err(Refusal::TooLarge(value.len()));
        }
        let key = RecordKey::decode(key).map_err(Refusal::Key)?;
        let form = check_form(self.network, &key, value)?;
        check_times(&form.bundle, now)?;
        Ok((key, form))
    }

    fn admit(
        &mut self,
        (now, origin): (SystemTime, Origin),
        key: RecordKey,
        form: &Form<'_>,
        left: Duration,
    ) -> Result<Admission, Refusal> {
        let bundle = &form.bundle;
        self.check_beside_waiting((now, origin), &key, form)?;
        self.settle_proof(&key, now);
        if bundle.revocation().is_some()
            && let Some(section) = form.sections().next()
        {
            // It stands alone.
            return self.admit_revocation((now, origin), key, bundle, section, now + left);
        }
        if self.is_revoked(key.writer) {
            return Err(Refusal::Revoked);
        }
        let known = self.entries.get(&key).cloned().unwrap_or_default();
        let offers = compare(&known, form)?;
        if offers.iter().all(|offer| offer.comparison == Comparison::Same) {
            return Ok(Admission::Refreshed);
        }
        if !known.quota.allows(now) {
            return Err(Refusal::Quota);
        }
        self.check_room(&key, &known, origin, offers.iter().map(|offer| offer.held.octets.len()).sum())?;
        let chain = Chain::open(self.network, &key, bundle, now, &mut self.certificates)?;
        for offer in offers.iter().filter(|offer| offer.is_news()) {
            check_signature(&key, offer.section, &offer.held.octets, &chain, &mut self.certificates)?;
        }
        // Both begin with their IDENTITY.
        let is_introduced = offers.first().is_some_and(|offer| offer.comparison == Comparison::Same);
        if !is_introduced {
            self.check_identity(&key, &known, &chain, now)?;
        }
        let conflict = offers.iter().any(|offer| offer.comparison == Comparison::Rival);
        let mut merged = merge(known, &offers);
        // Beside the IDENTITY that is held already, what was proven before is proven still.
        if !is_introduced || !chain.is_whole() {
            merged = self.drop_superseded(&key, merged, &offers, now)?;
        }
        let changed =
            self.entries.get(&key).is_none_or(|old| old.marks != merged.marks || old.sections != merged.sections);
        if changed {
            self.commit(now, origin, key, merged);
        }
        Ok(if conflict { Admission::Conflict } else { Admission::Stored })
    }

    fn commit(&mut self, now: SystemTime, origin: Origin, key: RecordKey, mut merged: Entry) {
        merged.quota.take(now);
        let is_new = self.entries.get(&key).is_none_or(|known| known.sections.is_empty());
        merged.charge = self.charge(&merged.charge, is_new, origin, merged.size(), Charge::new(None, now));
        self.update(key, |entry| *entry = merged);
        self.make_room(&key);
    }

    /// The one way in which what is under a key changes: all tables follow.
    fn update(&mut self, key: RecordKey, change: impl FnOnce(&mut Entry)) {
        self.changed.insert(key);
        let place = (self.distance(&key), key);
        let mut entry = self.entries.remove(&key).unwrap_or_default();
        if let Some(at) = entry.ripe_at {
            self.ahead.remove(&(at, key));
        }
        if entry.sections.is_empty() {
            self.remembered.remove(&place);
        } else {
            self.held.remove(&place);
            self.octets -= entry.size();
            self.shares.remove(key, &entry.charge, entry.size());
        }
        change(&mut entry);
        self.conflicts.remove(&key);
        if entry.marks.0.values().any(|mark| mark.conflict) {
            self.conflicts.insert(key);
        }
        if !entry.sections.is_empty() {
            self.held.insert(place);
            self.octets += entry.size();
            self.shares.add(key, &entry.charge, entry.size());
            self.ahead.extend(entry.ripe_at.map(|at| (at, key)));
            self.entries.insert(key, entry);
        } else if !entry.marks.0.is_empty() {
            self.remembered.insert(place);
            let (charge, proof) = (Charge::default(), Proof::default());
            self.entries.insert(key, Entry { charge, proof, ripe_at: None, ..entry });
        }
        if self.remembered.len() > self.capacity
            && let Some((_, key)) = self.remembered.pop_last()
        {
            self.entries.remove(&key);
            self.conflicts.remove(&key);
            self.changed.insert(key);
        }
    }

    fn distance(&self, key: &RecordKey) -> Distance {
        let mut distance = key.point();
        for (octet, here) in distance.iter_mut().zip(self.here) {
            *octet ^= here;
        }
        distance
    }
}

/// Compares each section with what was seen.
///
/// # Errors
/// [`Refusal::OldSequence`] when something is older, and nothing in the bundle is new.
fn compare<'a>(known: &Entry, form: &'a Form<'_>) -> Result<Vec<Offer<'a>>, Refusal> {
    let offers: Vec<Offer<'a>> = form.sections().map(|(section, octets)| known.compare(section, octets)).collect();
    let news = offers.iter().any(Offer::is_news);
    let older = offers.iter().find(|offer| offer.comparison == Comparison::Older);
    match older.and_then(|offer| Some((offer.section, known.marks.0.get(&offer.section.class())?))) {
        Some((section, mark)) if !news || known.sections.is_empty() => {
            Err(Refusal::OldSequence { class: section.class(), offered: section.version, known: mark.version })
        }
        _ => Ok(offers),
    }
}

/// Per class the highest version, and of two with one version the same one everywhere.
fn merge(mut entry: Entry, offers: &[Offer<'_>]) -> Entry {
    for Offer { section, held, comparison } in offers {
        let class = section.class();
        let rival = *comparison == Comparison::Rival;
        let take = match entry.sections.get(&class) {
            Some(known) if rival => held.prevails(known),
            _ => *comparison == Comparison::Newer,
        };
        if take || rival {
            entry.marks.raise(class, held, rival);
        }
        if take {
            entry.sections.insert(class, held.clone());
        }
    }
    entry
}
