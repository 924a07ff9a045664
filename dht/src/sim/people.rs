// SPDX-License-Identifier: GPL-2.0-or-later
//! Who owns the records of a model: real keys, real certificates, real signatures.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cgeid::{Identity, Network, OperationalKey};
use wire::record::Ttl;

use super::SimError;
use super::dice::Dice;
use super::peers::Point;
use crate::publish::{self, Sequence};
use crate::record::{Mapping, RecordKey, Rloc, RlocFlags};

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
    /// The last thing that was signed, and its sequence.
    pub(super) value: Arc<[u8]>,
    pub(super) newest: u64,
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
            value: Arc::new([]),
            newest: 0,
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
        Ok(())
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
        self.newest = one.sequence;
        self.value = one.value.into();
        Ok([self.value.clone(), other.value.into()])
    }
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
