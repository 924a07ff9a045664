// SPDX-License-Identifier: GPL-2.0-or-later
//! Who the owner of a key is: one public key under one CN, and what its latest certificates prove.

use std::time::SystemTime;

use super::Store;
use super::entry::{Entry, Offer, needed};
use crate::error::{Malformed, Refusal};
use crate::record::{Chain, Class, RecordKey, check_signature};

impl Store {
    /// Two public keys with one CN: its owner has made a collision. What came first stays, and the conflict is marked.
    pub(super) fn check_identity(
        &mut self,
        key: &RecordKey,
        known: &Entry,
        chain: &Chain,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let Some(held) = known.bundle() else { return Ok(()) };
        let Ok(other) = Chain::open(self.network, key, &held, now, &mut self.certificates) else { return Ok(()) };
        self.check_fingerprints(key, other.identity.fingerprint(), chain.identity.fingerprint())
    }

    fn check_fingerprints(&mut self, key: &RecordKey, held: &[u8; 64], offered: &[u8; 64]) -> Result<(), Refusal> {
        if held == offered {
            return Ok(());
        }
        self.update(*key, |entry| {
            if let Some(mark) = entry.marks.0.get_mut(&Class::Identity) {
                mark.conflict = true;
            }
        });
        Err(Refusal::SecondIdentity)
    }

    /// Readers get a bundle whole, and refuse it whole: what the certificates of the merged IDENTITY do not prove any more
    /// goes, and is not taken. Otherwise a stranger could put an owner's later IDENTITY beside the earlier statement of
    /// another of its keys, and nobody could use either.
    pub(super) fn drop_superseded(
        &mut self,
        key: &RecordKey,
        mut merged: Entry,
        offers: &[Offer<'_>],
        now: SystemTime,
    ) -> Result<Entry, Refusal> {
        let is_taken = |offer: &Offer<'_>| {
            offer.is_news() && merged.sections.get(&offer.section.class()).is_some_and(|held| *held == offer.held)
        };
        if merged.sections.len() == offers.len() && offers.iter().all(is_taken) {
            // What was proven is all that will be held.
            return Ok(merged);
        }
        let whole = merged.bundle().ok_or(Refusal::Malformed(Malformed::Missing("IDENTITY section")))?;
        let chain = Chain::open(self.network, key, &whole, now, &mut self.certificates)?;
        // Both begin with their IDENTITY.
        let offered_body = offers.first().map(|offer| &offer.section.body);
        let same_certificates = whole.sections().first().map(|section| &section.body) == offered_body;
        // What is held under a class is the section of that class.
        let octets: Vec<Box<[u8]>> = merged.sections.values().map(|held| held.octets.clone()).collect();
        for (section, octets) in whole.sections().iter().zip(&octets) {
            let class = section.class();
            let offer = offers.iter().find(|offer| offer.section == section);
            let is_checked = same_certificates && offer.is_some_and(Offer::is_news);
            if is_checked || check_signature(key, section, octets, &chain, &mut self.certificates).is_ok() {
                continue;
            }
            if offer.is_some() || needed(key).any(|needed| needed == class) {
                return Err(Refusal::Superseded(class));
            }
            merged.sections.remove(&class);
        }
        Ok(merged)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use cgeid::{Identity, Network};

    use super::*;
    use crate::publish::{self, Sequence};
    use crate::record::Mapping;
    use crate::store::Origin;
    use wire::record::Ttl;

    /// Two keys under one CN cost 2^48 hash computations, so that only their fingerprints are made up here.
    #[test]
    fn a_second_key_under_one_cn_is_refused_and_marked() {
        let now = SystemTime::now();
        let owner = Identity::from_seed(&[9; 32], Network::LAB, now).unwrap();
        let key = owner.delegate(now, 0).unwrap();
        let said =
            publish::mapping(&key, Network::LAB, Mapping::new([], Ttl(60)), now, &mut Sequence::default()).unwrap();
        let mut store = Store::new(Network::LAB, [0; 32]);
        store.put(now, Origin::Unknown, &said.key.encode(), &said.value).unwrap();
        let held = owner.certificate().fingerprint();
        assert_eq!(store.check_fingerprints(&said.key, held, held), Ok(()));
        assert!(!store.in_conflict(&said.key));
        // They agree in the 96 bits that make the name.
        let mut other = *held;
        other[12] ^= 1;
        let refusal = store.check_fingerprints(&said.key, held, &other).unwrap_err();
        assert_eq!((refusal.name(), store.in_conflict(&said.key)), ("second-identity", true));
        assert_eq!(store.get(now, &said.key.encode()), Some(said.value), "what came first stays");
    }
}
