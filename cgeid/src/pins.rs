// SPDX-License-Identifier: GPL-2.0-or-later
//! The full hash of every key met, so that a second key under one name is noticed.
//!
//! A name is 96 bits of the 512: somebody with time can make two keys that share it, and say one thing with the one and
//! another with the other. The first valid key seen under a name is remembered; another one is an alarm, never an
//! update. (A fingerprint that a person was given and relies on is [`crate::exchange::fingerprint`], a text of its own.)
//!
//! The table is bounded. When it is full, the pin that was not used for longest gives way, but only if it has rested for
//! [`crate::limits::PIN_REST`]; while all are in use, newcomers are not remembered. So nobody flushes the pin of a
//! name in use by making many others.
//!
//! A table outlives the process in one of two ways: whole, by [`Pins::encode`] and [`Pins::decode`], or pin by pin, by
//! [`Pins::changes`] and [`Pins::restore`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cn::Cn;
use crate::error::PinsError;
use crate::limits::{PIN_REST, PIN_SAVE, PINS};

/// A name that is a part of the full hash of a key. The product has one, [`Cn`]; a shorter one shows in a test what
/// nobody can afford to show with 96 bits.
pub trait Name: Copy + Debug + Ord {
    /// The name inside the full hash.
    fn of_fingerprint(fingerprint: &Fingerprint) -> Self;
}

impl Name for Cn {
    fn of_fingerprint(fingerprint: &Fingerprint) -> Cn {
        Cn::of_fingerprint(fingerprint)
    }
}

/// SHA-512 of a SubjectPublicKeyInfo, as [`crate::PublicKey::fingerprint`] gives it.
pub type Fingerprint = [u8; 64];

/// What a key is to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// The first key seen under its name; it is remembered from now on.
    First,
    /// The key that is remembered.
    Known,
    /// The alarm: another key is remembered under its name, and stays so.
    Collision {
        /// The key that was seen first.
        pinned: Fingerprint,
    },
    /// No other key is remembered, but neither is this one: the table is full of pins in use.
    Unpinned,
}

/// What is to be written down of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<N = Cn> {
    /// This pin, in the place of an older entry of its name.
    Pinned {
        /// The key.
        fingerprint: Fingerprint,
        /// Its last use, up to [`crate::limits::PIN_SAVE`] ago.
        used: SystemTime,
    },
    /// The entry of this name is to be deleted.
    Forgotten(N),
}

/// The table of the keys that a resolver met.
#[derive(Clone, Debug)]
pub struct Pins<N = Cn> {
    limit: usize,
    pins: BTreeMap<N, Pin>,
    /// Names by last use, the longest ago first.
    by_use: BTreeSet<(SystemTime, N)>,
    /// What is not written down yet, the oldest first.
    changed: VecDeque<Change<N>>,
}

/// Equal tables hold the same pins, whatever of them is written down.
impl<N: Name> PartialEq for Pins<N> {
    fn eq(&self, other: &Pins<N>) -> bool {
        let pins = |table: &Pins<N>| table.pins.iter().map(|(name, pin)| (*name, pin.fingerprint, pin.used)).collect();
        let (own, others): (Vec<_>, Vec<_>) = (pins(self), pins(other));
        (self.limit, own) == (other.limit, others)
    }
}

impl<N: Name> Eq for Pins<N> {}

#[derive(Clone, Copy, Debug)]
struct Pin {
    fingerprint: Fingerprint,
    /// Last use, in whole seconds.
    used: SystemTime,
    /// The last use that is written down, or given out to be.
    saved: SystemTime,
}

impl<N: Name> Default for Pins<N> {
    fn default() -> Pins<N> {
        Pins::with_limit(PINS)
    }
}

impl<N: Name> Pins<N> {
    /// An empty table of another size than [`crate::limits::PINS`].
    pub fn with_limit(limit: usize) -> Pins<N> {
        Pins { limit, pins: BTreeMap::new(), by_use: BTreeSet::new(), changed: VecDeque::new() }
    }

    /// Takes note of a key that was verified. Only verified ones count: otherwise anybody could pin a name that is not
    /// theirs.
    pub fn see(&mut self, fingerprint: &Fingerprint, now: SystemTime) -> Sighting {
        let name = N::of_fingerprint(fingerprint);
        let known = self.pins.get(&name).copied();
        let sighting = match known {
            Some(Pin { fingerprint: pinned, .. }) if pinned != *fingerprint => return Sighting::Collision { pinned },
            Some(_) => Sighting::Known,
            None if !self.make_room(now) => return Sighting::Unpinned,
            None => Sighting::First,
        };
        // A clock that went back writes nothing.
        let fresh = |pin: &Pin| now.duration_since(pin.saved).map_or(true, |age| age < PIN_SAVE);
        let saved = known.filter(fresh).map(|pin| pin.saved);
        self.pin(name, fingerprint, now, saved.unwrap_or(now));
        if saved.is_none() {
            self.note(Change::Pinned { fingerprint: *fingerprint, used: now });
        }
        sighting
    }

    /// The key that is remembered under a name.
    pub fn get(&self, name: N) -> Option<&Fingerprint> {
        self.pins.get(&name).map(|pin| &pin.fingerprint)
    }

    /// How many names are remembered.
    pub fn len(&self) -> usize {
        self.pins.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty()
    }

    /// What changed since the last call, to be written down in this order: new pins, those that gave way, and those whose
    /// last use rose by [`crate::limits::PIN_SAVE`] since it was written. What is written for each use would wear a disk.
    pub fn changes(&mut self) -> Vec<Change<N>> {
        std::mem::take(&mut self.changed).into()
    }

    /// Takes back a pin that was written down, before any key is seen. Of too many the longest unused give way, and of two
    /// for one name the first stays.
    pub fn restore(&mut self, fingerprint: &Fingerprint, used: SystemTime) {
        let name = N::of_fingerprint(fingerprint);
        if self.pins.contains_key(&name) {
            return;
        }
        self.pin(name, fingerprint, used, used);
        if self.pins.len() > self.limit {
            self.forget_first();
        }
    }

    /// Pins a name, or renews its pin; `saved` is the last use that is written down.
    fn pin(&mut self, name: N, fingerprint: &Fingerprint, now: SystemTime, saved: SystemTime) {
        let used = UNIX_EPOCH + Duration::from_secs(seconds(now));
        if let Some(before) = self.pins.insert(name, Pin { fingerprint: *fingerprint, used, saved }) {
            self.by_use.remove(&(before.used, name));
        }
        self.by_use.insert((used, name));
    }

    fn forget_first(&mut self) {
        if let Some((_, name)) = self.by_use.pop_first() {
            self.pins.remove(&name);
            self.note(Change::Forgotten(name));
        }
    }

    /// Nobody may ever ask for the changes, so that they are bounded too; the oldest go first.
    fn note(&mut self, change: Change<N>) {
        if self.changed.len() > self.limit {
            self.changed.pop_front();
        }
        self.changed.push_back(change);
    }

    /// Whether one more fits, if need be in the place of the pin that rested for longest.
    fn make_room(&mut self, now: SystemTime) -> bool {
        if self.pins.len() < self.limit {
            return true;
        }
        let Some(&(used, _)) = self.by_use.first() else { return false };
        // A clock that went back makes no pin older.
        let rested = now.duration_since(used).is_ok_and(|rest| rest >= PIN_REST);
        if rested {
            self.forget_first();
        }
        rested
    }

    /// The table as octets, to be kept over a restart: a magic number, how many pins, and of each the full hash and the
    /// last use in seconds since 1970 (8 octets), ascending by name.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(u64::try_from(self.pins.len()).unwrap_or(u64::MAX).to_be_bytes());
        for pin in self.pins.values() {
            out.extend(pin.fingerprint);
            out.extend(seconds(pin.used).to_be_bytes());
        }
        out
    }

    /// Reads what [`Pins::encode`] wrote, into a table of at most `limit` pins.
    ///
    /// # Errors
    /// [`PinsError`] if it is anything else, whole or in part.
    pub fn decode(bytes: &[u8], limit: usize) -> Result<Pins<N>, PinsError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(PinsError::Magic)?;
        let (count, rest) = rest.split_first_chunk::<8>().ok_or(PinsError::Length)?;
        let (entries, left_over) = rest.as_chunks::<ENTRY>();
        if !left_over.is_empty() || usize::try_from(u64::from_be_bytes(*count)) != Ok(entries.len()) {
            return Err(PinsError::Length);
        }
        if entries.len() > limit {
            return Err(PinsError::TooMany { found: entries.len(), limit });
        }
        let mut pins = Pins::with_limit(limit);
        let mut last = None;
        for entry in entries {
            let (fingerprint, used) = split(entry);
            let used = UNIX_EPOCH.checked_add(Duration::from_secs(used)).ok_or(PinsError::Time)?;
            let name = N::of_fingerprint(fingerprint);
            if last.replace(name).is_some_and(|last| last >= name) {
                return Err(PinsError::Order);
            }
            pins.pin(name, fingerprint, used, used);
        }
        Ok(pins)
    }
}

/// What the octets begin with; the last one is the version.
const MAGIC: &[u8] = b"CGEP\x01";
/// Octets of one pin.
const ENTRY: usize = 64 + 8;

/// The hash, and the last use in seconds.
fn split(entry: &[u8; ENTRY]) -> (&Fingerprint, u64) {
    let proof = "64 and 8 octets are the whole entry";
    let (fingerprint, used) = entry.split_first_chunk::<64>().expect(proof);
    (fingerprint, u64::from_be_bytes(*used.first_chunk::<8>().expect(proof)))
}

/// Whole seconds since 1970; none for times before.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
