// SPDX-License-Identifier: GPL-2.0-or-later
//! Public keys that were revoked (RFC 8111, section 10.2.1).
//!
//! A key revokes itself, and nothing else does: neither another key of its node, nor one of its parent.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use sha2::{Digest as _, Sha256};
use wire::address::{Address, EidPrefix, Lcaf};
use wire::control::{Referral, ReferralSignature};

use super::keys::VerifyingKey;
use crate::limits::REVOKED_KEYS;

/// The keys that count for nothing any more, by digest. A revoked key never comes back: what named it before may be said again until
/// the last signature of that expires.
///
/// Whoever was delegated a prefix can name as many keys below it as he likes, and have them revoked. So where there are too many, one is
/// forgotten of that half of the tree which has most, and so on down from there: he pushes out his own.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    /// In the order of the tree, each with its age: the later, the greater.
    places: BTreeMap<Place, u64>,
    /// At how many places each is.
    digests: HashMap<[u8; 32], usize>,
    next: u64,
}

impl Revoked {
    /// Revokes `key`, which was for `scope`; an anchor is for everything.
    pub(super) fn put(&mut self, scope: Option<&EidPrefix>, key: &VerifyingKey) {
        self.insert(Place { path: Path::of(scope), digest: digest(key) });
    }

    /// Notes that it is said again, if it was said of this scope before.
    pub(super) fn renew(&mut self, scope: Option<&EidPrefix>, key: &VerifyingKey) -> bool {
        let place = Place { path: Path::of(scope), digest: digest(key) };
        let is_known = self.places.contains_key(&place);
        if is_known {
            self.insert(place);
        }
        is_known
    }

    /// Whether `key` counts for nothing.
    pub(super) fn has(&self, key: &VerifyingKey) -> bool {
        self.digests.contains_key(&digest(key))
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.digests.len()
    }

    fn insert(&mut self, place: Place) {
        self.next += 1;
        if self.places.insert(place, self.next).is_some() {
            return;
        }
        *self.digests.entry(place.digest).or_default() += 1;
        if self.places.len() > REVOKED_KEYS
            && let Some(place) = self.most_crowded()
        {
            self.forget(&place);
        }
    }

    /// The oldest where there are most.
    fn most_crowded(&self) -> Option<Place> {
        let all: Vec<(&Place, &u64)> = self.places.iter().collect();
        let mut crowd = all.as_slice();
        for depth in 0..=Path::BITS {
            // In this order they are sorted.
            let (own, below) = crowd.split_at(crowd.partition_point(|(place, _)| place.path.bits <= depth));
            let (left, right) = below.split_at(below.partition_point(|(place, _)| !place.path.bit(depth)));
            let larger = if left.len() > right.len() { left } else { right };
            if own.len() > larger.len() {
                crowd = own;
                break;
            }
            crowd = larger;
        }
        crowd.iter().min_by_key(|(_, age)| **age).map(|(place, _)| **place)
    }

    fn forget(&mut self, place: &Place) {
        self.places.remove(place);
        if let Some(count) = self.digests.get_mut(&place.digest) {
            *count -= 1;
            if *count == 0 {
                self.digests.remove(&place.digest);
            }
        }
    }
}

/// A revoked key, and what it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    path: Path,
    digest: [u8; 32],
}

/// The way from the root to an XEID-prefix: instance, family and address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Path {
    /// Zeros behind `bits`.
    octets: [u8; 21],
    bits: u8,
}

impl Path {
    /// The longest one.
    const BITS: u8 = 8 * 21;

    fn of(scope: Option<&EidPrefix>) -> Self {
        /// Bits before the address.
        const HEAD: u8 = 40;
        let Some(EidPrefix { iid, net }) = scope else { return Self::default() };
        let mut octets = [0; 21];
        octets[..4].copy_from_slice(&iid.0.to_be_bytes());
        match net.network() {
            IpAddr::V4(address) => octets[5..9].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => {
                octets[4] = 1;
                octets[5..].copy_from_slice(&address.octets());
            }
        }
        Self { octets, bits: HEAD + net.prefix_len() }
    }

    fn bit(&self, depth: u8) -> bool {
        let octet = self.octets.get(usize::from(depth / 8)).copied().unwrap_or_default();
        octet << (depth % 8) & 0x80 != 0
    }
}

fn digest(key: &VerifyingKey) -> [u8; 32] {
    Sha256::digest(key.material()).into()
}

/// The key material with R in a record (RFC 8060, section 4.7).
pub(super) fn named(referral: &Referral) -> impl Iterator<Item = &[u8]> {
    let lcafs = referral.locators.iter().filter_map(|locator| match &locator.rloc {
        Address::Lcaf(lcaf) => Some(lcaf.as_ref()),
        _ => None,
    });
    let revoked = lcafs.filter_map(|lcaf| match lcaf {
        Lcaf::SecurityKey { algorithm: ReferralSignature::RSA_SHA256, revoked: true, keys, .. } => Some(keys),
        _ => None,
    });
    revoked.flatten().map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scope(text: &str) -> EidPrefix {
        EidPrefix { iid: wire::address::InstanceId(0), net: text.parse().unwrap() }
    }

    /// A digest of no key, at a scope.
    fn flood(revoked: &mut Revoked, scope: &EidPrefix, n: usize) {
        revoked.insert(Place { path: Path::of(Some(scope)), digest: Sha256::digest(n.to_be_bytes()).into() });
    }

    fn pem(text: &str) -> VerifyingKey {
        VerifyingKey::from_pem(text).unwrap()
    }

    #[test]
    fn revoked_keys_are_bounded_and_of_one_prefix_the_one_that_was_last_heard_of_longest_ago_goes_first() {
        let root = pem(include_str!("../../tests/data/ddt/root.pub.pem"));
        let node = pem(include_str!("../../tests/data/ddt/node.pub.pem"));
        let (mut revoked, scope) = (Revoked::default(), scope("2001:db8::/32"));
        revoked.put(Some(&scope), &root);
        revoked.put(Some(&scope), &node);
        assert!(revoked.has(&root) && revoked.has(&node));
        (2..REVOKED_KEYS).for_each(|n| flood(&mut revoked, &scope, n));
        assert!(revoked.renew(Some(&scope), &root));
        assert!(!revoked.renew(None, &node), "it was not said there");
        flood(&mut revoked, &scope, REVOKED_KEYS);
        assert_eq!((revoked.has(&root), revoked.has(&node), revoked.len()), (true, false, REVOKED_KEYS));
    }

    #[test]
    fn whoever_revokes_keys_below_his_prefix_pushes_out_his_own() {
        let names = ["root", "node", "node-new", "server"];
        let keys = [
            include_str!("../../tests/data/ddt/root.pub.pem"),
            include_str!("../../tests/data/ddt/node.pub.pem"),
            include_str!("../../tests/data/ddt/node-new.pub.pem"),
            include_str!("../../tests/data/ddt/server.pub.pem"),
        ]
        .map(pem);
        // An anchor, whoever delegated to him, a neighbour, and one of the other family.
        let scopes = [None, Some(scope("2001:db8::/32")), Some(scope("2001:db8:2::/48")), Some(scope("10.0.0.0/8"))];
        let mut revoked = Revoked::default();
        for (key, scope) in keys.iter().zip(&scopes) {
            revoked.put(scope.as_ref(), key);
        }
        for n in 0..REVOKED_KEYS + 200 {
            flood(&mut revoked, &scope(&format!("2001:db8:1:{n:x}::/64")), n);
        }
        for (name, key) in names.iter().zip(&keys) {
            assert!(revoked.has(key), "{name}");
        }
        assert_eq!((revoked.len(), revoked.places.len()), (REVOKED_KEYS, REVOKED_KEYS));
    }
}
