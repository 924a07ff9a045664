// SPDX-License-Identifier: GPL-2.0-or-later
//! Who runs the nodes of a bench: identities of Ed25519, made in no time.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::SystemTime;

use cgeid::{CertificateError, Identity, Network, OperationalKey};
use ipnet::Ipv6Net;
use rand::Rng;
use wire::address::{EidPrefix, InstanceId};
use wire::record::Ttl;

use crate::error::PublishError;
use crate::publish::{self, Publication, Sequence};
use crate::record::{Mapping, Prefix, Rloc, RlocFlags, Site};

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

    /// Its mapping to one locator; newer than the one before.
    pub(super) fn mapping(&mut self, locator: IpAddr) -> Result<Publication, PublishError> {
        let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
        let (priority, weight, mpriority, mweight) = (1, 100, u8::MAX, 0);
        let locator = Rloc { priority, weight, mpriority, mweight, flags, address: locator, port: 0 };
        let mapping = Mapping::new([locator], TTL);
        publish::mapping(&self.key, self.network, mapping, SystemTime::now(), &mut self.sequence)
    }

    /// The mapping of a prefix that nobody has delegated to it.
    pub(super) fn prefix(&mut self, number: u8) -> Result<Publication, PublishError> {
        let net = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 0), 48);
        let body = Prefix {
            prefix: EidPrefix { iid: InstanceId(0), net: net.into() },
            mapping: Mapping::none(),
            site: Site { proxy: true, site_id: 0, xtr_ids: BTreeSet::new() },
            map_servers: BTreeSet::new(),
        };
        publish::prefix(&self.key, self.network, body, SystemTime::now(), &mut self.sequence)
    }
}
