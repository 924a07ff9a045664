// SPDX-License-Identifier: GPL-2.0-or-later
//! Security associations that LISP-SEC makes (RFC 9437, section 7.1), and the one-time keys that have made one.
//!
//! Whoever has recorded a Map-Request must not bring back what it agreed on, so no one-time key makes a second association. Of each
//! that an xTR has acknowledged its nonce and a digest are remembered, over restarts; when an xTR has used too many, those of its lowest
//! nonces make room. Up to the highest nonce of these it is not known any more what was used, and nothing is taken that is not above all
//! nonces of that subscription: what was recorded never is.
//!
//! Those that nobody has acknowledged may be of anybody who writes the xTR's numbers into his Map-Requests. They make room for each other
//! only, the oldest first, and leave nothing behind: one that comes again then proves as little as it did before.

use std::collections::{BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wire::control::lispsec::{OneTimeKey, PubSubKey, WrapId};
use wire::control::{Nonce, XtrIdentity};

use super::subscriber::Wish;
use crate::limits::{UNPROVEN_KEYS_PER_XTR, USED_KEYS_PER_XTR};

/// The key of an association, as it is kept with what was agreed under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u8; 16]", into = "[u8; 16]")]
pub struct Key(pub PubSubKey);

impl From<[u8; 16]> for Key {
    fn from(octets: [u8; 16]) -> Self {
        Self(PubSubKey::from_octets(octets))
    }
}

impl From<Key> for [u8; 16] {
    fn from(Key(key): Key) -> Self {
        *key.expose()
    }
}

/// The one-time key of a Map-Request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// The key of the association that it makes.
    pub key: Key,
    /// By which the one-time key is known again.
    pub digest: u64,
    /// Which Map-Request it is: one may subscribe to several EID-prefixes.
    pub arrival: u64,
    /// Name of the `[[lisp-sec]]` whose secret has unwrapped it, or whose path is protected: whose key it is.
    pub by: Option<String>,
}

impl Brought {
    /// As it was unwrapped; `arrival` is the number of its Map-Request, not zero.
    pub fn new(otk: &OneTimeKey, wrap: WrapId, nonce: Nonce, arrival: u64) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(otk.expose()));
        let digest = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        Self { key: Key(PubSubKey::new(otk, wrap, nonce)), digest, arrival, by: None }
    }

    /// As used by what its Map-Request wishes.
    pub(super) fn used_by(&self, wish: &Wish) -> UsedKey {
        UsedKey { xtr: wish.xtr, nonce: wish.nonce, digest: self.digest }
    }
}

/// A one-time key that has made an association, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsedKey {
    /// Whose.
    pub xtr: XtrIdentity,
    /// Nonce of the Map-Request.
    pub nonce: u64,
    /// Digest of the key.
    pub digest: u64,
}

/// Nonces of an xTR up to which it is not known which one-time keys it has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyFloor {
    /// Whose.
    pub xtr: XtrIdentity,
    /// The highest of them.
    pub nonce: u64,
}

/// All that were used, as far as is remembered.
#[derive(Debug, Default)]
pub struct UsedKeys {
    /// With the number of the Map-Request of each, if it came in this run.
    digests: HashMap<u64, u64>,
    of_xtr: HashMap<XtrIdentity, BTreeSet<(u64, u64)>>,
    floors: HashMap<XtrIdentity, u64>,
    /// Those that nobody has acknowledged, the oldest first, with the number of the Map-Request of each.
    unproven: HashMap<XtrIdentity, VecDeque<(UsedKey, u64)>>,
}

impl UsedKeys {
    /// As they were kept; the order does not matter.
    pub fn restore(used: impl IntoIterator<Item = UsedKey>, floors: impl IntoIterator<Item = KeyFloor>) -> Self {
        let mut restored = Self::default();
        for UsedKey { xtr, nonce, digest } in used {
            restored.digests.insert(digest, 0);
            restored.of_xtr.entry(xtr).or_default().insert((nonce, digest));
        }
        restored.floors = floors.into_iter().map(|floor| (floor.xtr, floor.nonce)).collect();
        restored
    }

    /// Whether it is certain that no other Map-Request than this has made an association with it: two keys of one digest count as one. `last`
    /// is the highest nonce of the subscription that it is about.
    pub fn is_new(&self, key: &UsedKey, last: Option<u64>, arrival: u64) -> bool {
        let follows = || last.is_some_and(|last| key.nonce > last);
        let is_above = || self.floors.get(&key.xtr).is_none_or(|floor| key.nonce > *floor || follows());
        let by = self.digests.get(&key.digest).copied();
        by.or_else(|| self.unproven_by(key)).map_or_else(is_above, |by| by == arrival)
    }

    /// The Map-Request that has brought a key which nobody has acknowledged.
    fn unproven_by(&self, key: &UsedKey) -> Option<u64> {
        let mut of_xtr = self.unproven.get(&key.xtr)?.iter();
        of_xtr.find(|(known, _)| known.digest == key.digest).map(|(_, by)| *by)
    }

    /// Notes one that makes an association, if that is acknowledged.
    pub fn note(&mut self, key: UsedKey, arrival: u64) {
        if self.digests.contains_key(&key.digest) || self.unproven_by(&key).is_some() {
            return;
        }
        let of_xtr = self.unproven.entry(key.xtr).or_default();
        if of_xtr.len() >= UNPROVEN_KEYS_PER_XTR {
            of_xtr.pop_front();
        }
        of_xtr.push_back((key, arrival));
    }

    /// The association of this one is acknowledged; what makes room for it, with the floor that is left of that.
    pub fn prove(&mut self, key: UsedKey) -> Vec<(KeyFloor, UsedKey)> {
        let arrival = self.unproven_by(&key).unwrap_or_default();
        if let Some(of_xtr) = self.unproven.get_mut(&key.xtr) {
            of_xtr.retain(|(known, _)| known.digest != key.digest);
        }
        self.digests.entry(key.digest).or_insert(arrival);
        self.of_xtr.entry(key.xtr).or_default().insert((key.nonce, key.digest));
        self.reduce(key.xtr, USED_KEYS_PER_XTR)
    }

    /// Remembers nothing but a floor of the xTRs that make no associations any more; what is forgotten so.
    pub fn retain(&mut self, is_wanted: impl Fn(&XtrIdentity) -> bool) -> Vec<(KeyFloor, UsedKey)> {
        self.unproven.retain(|xtr, _| is_wanted(xtr));
        let gone: Vec<XtrIdentity> = self.of_xtr.keys().filter(|xtr| !is_wanted(xtr)).copied().collect();
        gone.into_iter().flat_map(|xtr| self.reduce(xtr, 0)).collect()
    }

    fn reduce(&mut self, xtr: XtrIdentity, most: usize) -> Vec<(KeyFloor, UsedKey)> {
        let mut gone = Vec::new();
        let Some(of_xtr) = self.of_xtr.get_mut(&xtr) else { return gone };
        while of_xtr.len() > most {
            let Some((nonce, digest)) = of_xtr.pop_first() else { break };
            self.digests.remove(&digest);
            let floor = self.floors.entry(xtr).or_default();
            *floor = nonce.max(*floor);
            gone.push((KeyFloor { xtr, nonce: *floor }, UsedKey { xtr, nonce, digest }));
        }
        if of_xtr.is_empty() {
            self.of_xtr.remove(&xtr);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn used(xtr: u8, nonce: u64) -> UsedKey {
        let digest = nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(xtr);
        UsedKey { xtr: XtrIdentity { xtr_id: [xtr; 16], site_id: 0 }, nonce, digest }
    }

    #[test]
    fn no_key_is_new_twice_and_what_made_room_is_not_new_either() {
        let mut keys = UsedKeys::default();
        let most = u64::try_from(USED_KEYS_PER_XTR).unwrap();
        let mut on_disk = BTreeSet::new();
        let mut floors = Vec::new();
        for nonce in 0..most + 3 {
            // In no order: 5 is coprime to the count.
            let key = used(1, nonce * 5 % (most + 3));
            assert!(
                keys.is_new(&key, None, 1) || floors.last().is_some_and(|floor: &KeyFloor| key.nonce <= floor.nonce)
            );
            keys.note(key, nonce + 1);
            on_disk.insert(key);
            for (floor, gone) in keys.prove(key) {
                assert!(on_disk.remove(&gone));
                floors.push(floor);
            }
        }
        assert_eq!((keys.digests.len(), on_disk.len(), floors.len()), (USED_KEYS_PER_XTR, USED_KEYS_PER_XTR, 3));
        let restored = UsedKeys::restore(on_disk, floors.last().copied());
        for keys in [keys, restored] {
            let is_new = |key: UsedKey| keys.is_new(&key, None, u64::MAX);
            assert!((0..most + 3).all(|nonce| !is_new(used(1, nonce))), "forgotten or not");
            assert!(is_new(used(1, most + 3)) && is_new(used(2, 0)));
            assert!(!is_new(UsedKey { nonce: u64::MAX, ..used(1, most) }), "under another nonce");
            let low = UsedKey { digest: 3, ..used(1, 1) };
            assert!(
                !is_new(low) && !keys.is_new(&low, Some(1), 9) && keys.is_new(&low, Some(0), 9),
                "the next of its own"
            );
            assert!(!is_new(UsedKey { xtr: used(2, 0).xtr, ..used(1, 9) }), "in the name of another xTR");
        }
    }

    #[test]
    fn a_map_request_may_use_its_key_for_several_eid_prefixes_and_who_is_gone_leaves_a_floor() {
        let mut keys = UsedKeys::default();
        keys.note(used(1, 5), 8);
        assert_eq!(keys.prove(used(1, 5)), []);
        let is_new = |keys: &UsedKeys, xtr, nonce, arrival| keys.is_new(&used(xtr, nonce), None, arrival);
        assert!(is_new(&keys, 1, 5, 8) && !is_new(&keys, 1, 5, 9));
        assert_eq!(keys.prove(used(2, 5)), []);
        let gone = keys.retain(|xtr| xtr.xtr_id[0] == 2);
        assert_eq!((gone, keys.digests.len()), (vec![(KeyFloor { xtr: used(1, 0).xtr, nonce: 5 }, used(1, 5))], 1));
        assert!(!is_new(&keys, 1, 5, 10) && is_new(&keys, 1, 6, 10) && !is_new(&keys, 2, 5, 10));
    }

    #[test]
    fn what_nobody_acknowledges_makes_room_for_itself_only_and_leaves_no_floor() {
        let mut keys = UsedKeys::default();
        keys.note(used(1, 1), 1);
        assert_eq!(keys.prove(used(1, 1)), []);
        let forged = |n: usize| used(1, u64::MAX - u64::try_from(n).unwrap());
        for n in 0..2 * USED_KEYS_PER_XTR {
            keys.note(forged(n), 2);
        }
        let is_new = |key: UsedKey| keys.is_new(&key, None, 3);
        assert!(!is_new(used(1, 1)) && is_new(used(1, 2)), "no floor");
        let newest = 2 * USED_KEYS_PER_XTR - UNPROVEN_KEYS_PER_XTR;
        assert!(is_new(forged(newest - 1)) && !is_new(forged(newest)), "so many are remembered");
        assert!(keys.is_new(&forged(newest), None, 2), "the same Map-Request");
        assert_eq!(keys.unproven.values().map(VecDeque::len).sum::<usize>(), UNPROVEN_KEYS_PER_XTR);
        keys.retain(|_| false);
        assert!(keys.unproven.is_empty());
    }

    #[test]
    fn a_key_is_kept_as_octets_and_never_printed() {
        let key = Key::from([7; 16]);
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key);
        assert!(!format!("{key:?}").contains('7'));
    }
}
