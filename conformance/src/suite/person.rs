// SPDX-License-Identifier: GPL-2.0-or-later
//! Somebody with keys, and what is published with them.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use cgeid::{Identity, Network, OperationalKey, Reason, Revocation};
use dht::publish::{self, PageKind, Publication, Sequence, Statement};
use dht::record::{Entry, Index, Mapping, Prefix, RecordKey, Rloc, RlocFlags, Section, Site, Target};
use wire::address::{EidPrefix, InstanceId};
use wire::record::Ttl;

use super::probe::{Fault, broken};

/// The network of all suites.
pub(super) const LAB: Network = Network::LAB;
/// Octets of a section before its body.
const HEADER: usize = 40;
/// What every signed record begins with.
pub(super) const CONTEXT: &[u8] = b"IPv6MESH-record-v1\0";

/// Somebody with keys.
pub(super) struct Person {
    pub(super) identity: Identity,
    pub(super) key: OperationalKey,
}

impl Person {
    /// One whom nobody has met.
    pub(super) fn new(now: SystemTime) -> Result<Self, Fault> {
        let identity = Identity::generate_ed25519(LAB, now).map_err(broken)?;
        let key = identity.delegate(now, 0).map_err(broken)?;
        Ok(Self { identity, key })
    }

    /// The one of a number.
    pub(super) fn of_seed(number: u8, now: SystemTime) -> Result<Self, Fault> {
        let identity = Identity::from_seed(&[number; 32], LAB, now).map_err(broken)?;
        let key = identity.delegate(now, 0).map_err(broken)?;
        Ok(Self { identity, key })
    }

    pub(super) fn eid(&self) -> String {
        self.key.address().to_string()
    }

    pub(super) fn node_key(&self) -> RecordKey {
        RecordKey::node(LAB, self.key.cn())
    }

    pub(super) fn mapping(&self, now: SystemTime, last: u8) -> Result<Publication, Fault> {
        self.node(now, vec![Statement::mapping(mapping(last))])
    }

    pub(super) fn withdraw(&self, now: SystemTime) -> Result<Publication, Fault> {
        publish::withdraw_mapping(&self.key, LAB, now, &mut Sequence::default()).map_err(broken)
    }

    pub(super) fn node(&self, now: SystemTime, statements: Vec<Statement>) -> Result<Publication, Fault> {
        publish::node(&self.key, LAB, statements, now, &mut Sequence::default()).map_err(broken)
    }

    pub(super) fn prefix(&self, now: SystemTime, prefix: EidPrefix, last: u8) -> Result<Publication, Fault> {
        let site = Site { proxy: true, site_id: 7, xtr_ids: [[9; 16]].into() };
        let map_servers = [Ipv4Addr::new(192, 0, 2, 53).into()].into();
        let body = Prefix { prefix, mapping: mapping(last), site, map_servers };
        publish::prefix(&self.key, LAB, body, now, &mut Sequence::default()).map_err(broken)
    }

    pub(super) fn withdraw_prefix(&self, now: SystemTime, prefix: EidPrefix) -> Result<Publication, Fault> {
        publish::withdraw_prefix(&self.key, LAB, prefix, now, &mut Sequence::default()).map_err(broken)
    }

    pub(super) fn page(&self, now: SystemTime, covering: EidPrefix, entries: Vec<Entry>) -> Result<Publication, Fault> {
        let page = Index::new(covering, entries).map_err(broken)?;
        publish::index(&self.key, LAB, page, PageKind::Delegations, now, &mut Sequence::default()).map_err(broken)
    }

    pub(super) fn revocation(&self, now: SystemTime) -> Result<Publication, Fault> {
        let statement = Revocation::issue(&self.identity, Reason::KEY_COMPROMISE, now).map_err(broken)?;
        publish::revocation(&statement).map_err(broken)
    }

    /// A publication of this one with its sections changed and signed again, so that only the change is wrong with it.
    pub(super) fn changed(
        &self,
        publication: &Publication,
        edit: impl FnOnce(&mut Vec<Raw>),
    ) -> Result<Vec<u8>, Fault> {
        let mut sections = split(&publication.value)?;
        edit(&mut sections);
        Ok(sections.iter().flat_map(|section| section.signed(&self.key, &publication.key)).collect())
    }
}

pub(super) fn rloc(last: u8) -> Rloc {
    let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
    let address = Ipv4Addr::new(192, 0, 2, last).into();
    Rloc { priority: 1, weight: 100, mpriority: 255, mweight: 0, flags, address, port: 0 }
}

pub(super) fn mapping(last: u8) -> Mapping {
    Mapping::new([rloc(last)], Ttl(60))
}

/// The prefix of a text in an instance.
pub(super) fn prefix_in(iid: u32, text: &str) -> Result<EidPrefix, Fault> {
    let (address, length) = text.split_once('/').ok_or_else(|| broken(text))?;
    let (address, length) = (address.parse().map_err(broken)?, length.parse().map_err(broken)?);
    EidPrefix::new(InstanceId(iid), address, length).ok_or_else(|| broken(text))
}

pub(super) fn prefix(text: &str) -> Result<EidPrefix, Fault> {
    prefix_in(0, text)
}

pub(super) fn site(prefix: EidPrefix, registrars: &[&Person], max_plen: u8) -> Entry {
    let registrars = registrars.iter().map(|person| person.key.cn()).collect();
    Entry { prefix, target: Target::Site { registrars, max_plen } }
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A section as its fields, which may be such as no codec writes.
#[derive(Clone)]
pub(super) struct Raw {
    pub(super) head: [u8; HEADER - 2],
    pub(super) tlvs: Vec<(u16, Vec<u8>)>,
    /// Octets of the body after its elements.
    pub(super) rest: Vec<u8>,
    /// The signature, if it is not to be made anew.
    pub(super) signature: Option<Vec<u8>>,
    /// What is signed before the section, in place of context, network and key.
    pub(super) context: Option<Vec<u8>>,
}

/// Offsets in a section's header.
pub(super) mod at {
    pub(in crate::suite) const VERSION: usize = 4;
    pub(in crate::suite) const CLASS: usize = 5;
    pub(in crate::suite) const FLAGS: usize = 6;
    pub(in crate::suite) const CN: usize = 8;
    pub(in crate::suite) const EPOCH: usize = 20;
    pub(in crate::suite) const SEQUENCE: usize = 24;
    pub(in crate::suite) const LIFETIME: usize = 32;
    pub(in crate::suite) const ALGORITHM: usize = 36;
}

impl Raw {
    pub(super) fn put(&mut self, at: usize, octets: &[u8]) {
        self.head[at..at + octets.len()].copy_from_slice(octets);
    }

    /// The value of the first element of a type.
    pub(super) fn value(&mut self, kind: u16) -> &mut Vec<u8> {
        if !self.tlvs.iter().any(|(found, _)| *found == kind) {
            self.tlvs.push((kind, Vec::new()));
        }
        let place = self.tlvs.iter().position(|(found, _)| *found == kind).unwrap_or_default();
        &mut self.tlvs[place].1
    }

    /// One element more, in order.
    pub(super) fn add(&mut self, kind: u16, value: &[u8]) {
        self.tlvs.push((kind, value.to_vec()));
        self.tlvs.sort();
    }

    pub(super) fn remove(&mut self, kind: u16) {
        self.tlvs.retain(|(found, _)| *found != kind);
    }

    /// The octets, signed by `signer` for `key` unless the signature is given.
    pub(super) fn signed(&self, signer: &OperationalKey, key: &RecordKey) -> Vec<u8> {
        let short = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes();
        let mut body = Vec::new();
        for (kind, value) in &self.tlvs {
            body.extend([&kind.to_be_bytes()[..], &short(value.len()), value].concat());
        }
        body.extend_from_slice(&self.rest);
        let section = [&self.head[..], &short(body.len()), &body].concat();
        let signature = self.signature.clone().unwrap_or_else(|| {
            let name = key.encode();
            let before = [CONTEXT, &key.network.0, &[u8::try_from(name.len()).unwrap_or(u8::MAX)], &name].concat();
            signer.sign(&[self.context.as_ref().unwrap_or(&before), &section[..]].concat()).to_vec()
        });
        [&section[..], &short(signature.len()), &signature].concat()
    }
}

/// The sections of a value. A REVOCATION keeps its signature: that is its statement's.
pub(super) fn split(value: &[u8]) -> Result<Vec<Raw>, Fault> {
    let mut sections = Vec::new();
    let mut left = value;
    let length = |octets: &[u8]| usize::from(octets[0]) << 8 | usize::from(octets[1]);
    while left.len() > HEADER {
        let end = HEADER + length(&left[HEADER - 2..]);
        let whole = end + 2 + length(&left[end..]);
        Section::decode(&left[..whole]).map_err(broken)?;
        let mut head = [0; HEADER - 2];
        head.copy_from_slice(&left[..HEADER - 2]);
        let (mut tlvs, mut body) = (Vec::new(), &left[HEADER..end]);
        while body.len() >= 4 {
            let after = 4 + length(&body[2..]);
            tlvs.push((u16::from_be_bytes([body[0], body[1]]), body[4..after].to_vec()));
            body = &body[after..];
        }
        let signature = (head[at::CLASS] == 5).then(|| left[end + 2..whole].to_vec());
        sections.push(Raw { head, tlvs, rest: Vec::new(), signature, context: None });
        left = &left[whole..];
    }
    Ok(sections)
}
