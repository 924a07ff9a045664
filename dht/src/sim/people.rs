// SPDX-License-Identifier: GPL-2.0-or-later
//! Who owns the records of a model: real keys, real certificates, real signatures.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cgeid::{Identity, Network, OperationalKey};
use sha2::{Digest, Sha512};
use wire::record::Ttl;

use super::SimError;
use super::dice::Dice;
use super::peers::{Peer, Point};
use crate::admit::{Credentials, Ends, Kind, Rules, present};
use crate::publish::{self, Sequence};
use crate::record::{Bundle, Class, Mapping, RecordKey, Rloc, RlocFlags};

/// The network of all models.
pub(super) const NETWORK: Network = Network::LAB;

/// The record of one owner, as it knows it.
#[derive(Debug)]
pub(super) struct Record {
    signer: OperationalKey,
    sequence: Sequence,
    pub(super) key: RecordKey,
    /// The key's octets.
    pub(super) name: Arc<[u8]>,
    pub(super) point: Point,
    /// The node that publishes it, while it lives.
    pub(super) home: Option<Peer>,
    /// The last thing that was signed, and its sequence.
    pub(super) value: Arc<[u8]>,
    pub(super) newest: u64,
    /// Whether the last thing that was signed is two things.
    pub(super) is_contradiction: bool,
    /// What was the newest before, and when that changed.
    before: u64,
    changed: SystemTime,
}

impl Record {
    /// An owner by chance, who has signed a first mapping.
    pub(super) fn new(dice: &mut Dice, now: SystemTime) -> Result<Self, SimError> {
        let signer = Identity::from_seed(&dice.octets(), NETWORK, now)?.delegate(now, 0)?;
        let key = RecordKey::node(NETWORK, signer.cn());
        let (name, point) = (key.encode().into(), Point::of(&key.point()));
        let mut record = Self {
            signer,
            sequence: Sequence::default(),
            key,
            name,
            point,
            home: None,
            value: Arc::new([]),
            newest: 0,
            is_contradiction: false,
            before: 0,
            changed: now,
        };
        record.sign(now)?;
        Ok(record)
    }

    /// Signs the mapping anew, under a higher sequence.
    pub(super) fn sign(&mut self, now: SystemTime) -> Result<(), SimError> {
        let mapping = mapping(u8::try_from(self.sequence.0 % 251).unwrap_or(0));
        let publication = publish::mapping(&self.signer, NETWORK, mapping, now, &mut self.sequence)?;
        (self.before, self.changed) = (self.newest, now);
        (self.value, self.newest) = (publication.value.into(), publication.sequence);
        self.is_contradiction = false;
        Ok(())
    }

    /// How its owner's node presents itself to others.
    pub(super) fn presentation(&self, now: SystemTime) -> Vec<u8> {
        let ends = Ends { from: &[], to: &[] };
        present(&Rules::default(), Kind::Server, Some(Credentials::of(&self.signer)), ends, now).encode()
    }

    /// The sequence that a lookup must find: the newest one whose PUT has had its time.
    pub(super) fn wanted(&self, now: SystemTime, put: Duration) -> u64 {
        if now < self.changed + put { self.before } else { self.newest }
    }

    /// Two different mappings under one sequence: what no honest owner signs.
    pub(super) fn equivocate(&mut self, now: SystemTime) -> Result<[Arc<[u8]>; 2], SimError> {
        let mut again = self.sequence;
        let one = publish::mapping(&self.signer, NETWORK, mapping(252), now, &mut self.sequence)?;
        let other = publish::mapping(&self.signer, NETWORK, mapping(253), now, &mut again)?;
        (self.before, self.changed) = (self.newest, now);
        (self.newest, self.is_contradiction) = (one.sequence, true);
        // Which one stores keep is in hashes of signatures, and with keys that are new each time a matter of chance. The one
        // that they keep comes first, so that a seed gives the same run.
        let mut both = [one.value, other.value];
        both.sort_by_cached_key(|value| rank(value));
        let both: [Arc<[u8]>; 2] = both.map(Arc::from);
        self.value = both[0].clone();
        Ok(both)
    }
}

/// Of two statements with one sequence all stores keep that of the lower rank.
fn rank(value: &[u8]) -> Vec<u8> {
    let bundle = Bundle::decode(value).ok();
    let section = bundle.as_ref().and_then(|bundle| bundle.section(Class::Mapping)?.encode().ok());
    Sha512::digest(section.unwrap_or_default()).to_vec()
}

fn mapping(last_octet: u8) -> Mapping {
    let rloc = Rloc {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        flags: RlocFlags { local: true, reachable: true, ..RlocFlags::default() },
        address: [192, 0, 2, last_octet].into(),
        port: 0,
    };
    Mapping::new([rloc], Ttl(60))
}
