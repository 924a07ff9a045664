// SPDX-License-Identifier: GPL-2.0-or-later
//! People, prefixes and times for the tests.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::{Cn, Identity, Network, OperationalKey, Reason, Revocation};
use dht::publish::{self, PageKind, Publication, Sequence};
use dht::record::{Entry, Index, Mapping, Prefix, Rloc, RlocFlags, Site, Target};
use wire::address::{EidPrefix, InstanceId};
use wire::record::Ttl;

pub const LAB: Network = Network::LAB;

/// The time at which all tests begin.
pub fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// An operational key of this moment, of the identity with this seed: what makes a node a server.
pub fn key_of(seed: [u8; 32]) -> OperationalKey {
    let now = SystemTime::now();
    Identity::from_seed(&seed, LAB, now).unwrap().delegate(now, 0).unwrap()
}

/// Somebody with keys.
pub struct Person {
    pub identity: Identity,
    pub key: OperationalKey,
    pub sequence: Sequence,
}

impl Person {
    /// The same number is always the same CN, with another operational key each time.
    pub fn new(number: u8) -> Self {
        let identity = Identity::from_seed(&[number; 32], LAB, start()).unwrap();
        let key = identity.delegate(start(), 0).unwrap();
        Self { identity, key, sequence: Sequence::default() }
    }

    pub fn cn(&self) -> Cn {
        self.key.cn()
    }

    pub fn mapping(&mut self, now: SystemTime, last_octet: u8) -> Publication {
        publish::mapping(&self.key, LAB, mapping(last_octet), now, &mut self.sequence).unwrap()
    }

    pub fn prefix(&mut self, now: SystemTime, net: &str, last_octet: u8) -> Publication {
        let body = Prefix {
            prefix: prefix(net),
            mapping: mapping(last_octet),
            site: Site { proxy: true, site_id: 7, xtr_ids: [[9; 16]].into() },
            map_servers: ["192.0.2.53".parse().unwrap()].into(),
        };
        publish::prefix(&self.key, LAB, body, now, &mut self.sequence).unwrap()
    }

    pub fn withdraw(&mut self, now: SystemTime, net: &str) -> Publication {
        publish::withdraw_prefix(&self.key, LAB, prefix(net), now, &mut self.sequence).unwrap()
    }

    /// A revocation that says to have been made so many seconds after the start.
    pub fn revoke(&self, reason: Reason, after: u64) -> Publication {
        publish::revocation(&Revocation::issue(&self.identity, reason, start() + seconds(after)).unwrap()).unwrap()
    }

    pub fn page(&mut self, now: SystemTime, covering: &str, entries: Vec<Entry>, kind: PageKind) -> Publication {
        let page = Index::new(prefix(covering), entries).unwrap();
        publish::index(&self.key, LAB, page, kind, now, &mut self.sequence).unwrap()
    }
}

pub fn prefix(text: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
}

pub fn host(text: &str) -> EidPrefix {
    EidPrefix::host(InstanceId(0), text.parse().unwrap())
}

pub fn rloc(last_octet: u8) -> Rloc {
    Rloc {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        flags: RlocFlags { local: true, reachable: true, ..RlocFlags::default() },
        address: [192, 0, 2, last_octet].into(),
        port: 0,
    }
}

pub fn mapping(last_octet: u8) -> Mapping {
    Mapping::new([rloc(last_octet)], Ttl(60))
}

pub fn site(net: &str, registrars: &[Cn], max_plen: u8) -> Entry {
    Entry { prefix: prefix(net), target: Target::Site { registrars: registrars.iter().copied().collect(), max_plen } }
}

pub fn delegation(net: &str, child: Cn, lowest: u64) -> Entry {
    Entry { prefix: prefix(net), target: Target::Delegation { child, lowest } }
}

pub fn sub_page(net: &str, lowest: u64) -> Entry {
    Entry { prefix: prefix(net), target: Target::Page { lowest } }
}
