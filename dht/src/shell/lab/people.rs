// SPDX-License-Identifier: GPL-2.0-or-later
//! Who runs the nodes of a bench: identities of Ed25519, made in no time.

use std::net::IpAddr;
use std::time::SystemTime;

use cgeid::{CertificateError, Identity, Network, OperationalKey};
use rand::Rng;
use wire::record::Ttl;

use crate::error::PublishError;
use crate::publish::{self, Publication, Sequence};
use crate::record::{Mapping, RecordKey, Rloc, RlocFlags};

/// Minutes that a mapping of the bench may be cached.
const TTL: Ttl = Ttl(60);

/// Somebody with an operational key.
pub(super) struct Person {
    pub(super) key: OperationalKey,
    network: Network,
    sequence: Sequence,
}

impl Person {
    /// Somebody new. The identity follows from the seed of the bench, the operational key is a new one each time.
    pub(super) fn new(network: Network, random: &mut impl Rng) -> Result<Self, CertificateError> {
        let mut seed = [0; 32];
        random.fill_bytes(&mut seed);
        let now = SystemTime::now();
        let key = Identity::from_seed(&seed, network, now)?.delegate(now, 0)?;
        Ok(Self { key, network, sequence: Sequence::default() })
    }

    /// Where its mapping is.
    pub(super) fn record(&self) -> RecordKey {
        RecordKey::node(self.network, self.key.cn())
    }

    /// Its mapping to one locator; newer than the one before.
    pub(super) fn mapping(&mut self, locator: IpAddr) -> Result<Publication, PublishError> {
        let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
        let (priority, weight, mpriority, mweight) = (1, 100, u8::MAX, 0);
        let locator = Rloc { priority, weight, mpriority, mweight, flags, address: locator, port: 0 };
        let mapping = Mapping::new([locator], TTL);
        publish::mapping(&self.key, self.network, mapping, SystemTime::now(), &mut self.sequence)
    }
}
