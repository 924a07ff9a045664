// SPDX-License-Identifier: GPL-2.0-or-later
//! Names (RFC 9735), MAC addresses, and pairs of a source and a group or destination (RFC 8060) as EIDs: registered, answered for, and in nobody's way.

mod answering;
mod apart;
mod hostile;
mod pairs;
#[cfg(feature = "shell")]
mod program;
mod registering;

use crate::common::*;
use mapsys::engine::Output;
use mapsys::register::label::Label;
use mapsys::register::label::grants::LabelRule;
use mapsys::register::label::pair::Pair;
use mapsys::register::site::Site;
use wire::address::{Address, Eid, InstanceId, Lcaf};
use wire::control::auth::{Algorithm, AuthKey};
use wire::control::{Ecm, EidRequest, MapRegister, MapRequest, Nonce, XtrIdentity};
use wire::record::MappingRecord;

const ETR: &str = "198.51.100.1:4342";
const OTHER: &str = "198.51.100.2:4342";
/// An ITR that asks from its own locator.
const ITR: &str = "192.0.2.1:5000";
const RLOC: &str = "198.51.100.1";
/// An IP prefix of the site.
const SITE: &str = "2001:db8:a::/48";

/// A name as RFC 9735, section 3, has it: its mask-len counts the NUL.
fn name(text: &str) -> Eid {
    Eid { address: Address::Name(text.as_bytes().into()), mask_len: u8::try_from(text.len() * 8 + 8).unwrap() }
}

/// `02:00:5e:00:00:01/48`.
fn mac(text: &str) -> Eid {
    let (address, mask_len) = text.split_once('/').unwrap();
    let octets: Vec<u8> = address.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    Eid { address: Address::Mac(octets.try_into().unwrap()), mask_len: mask_len.parse().unwrap() }
}

fn within(iid: u32, eid: Eid) -> Eid {
    let address = Lcaf::InstanceId { iid: InstanceId(iid), iid_mask_len: 0, address: eid.address };
    Eid { address: address.into(), ..eid }
}

/// All names that begin with `stem`, in an instance.
fn stem(iid: u32, stem: &str) -> LabelRule {
    LabelRule { label: Label::name(InstanceId(iid), stem.as_bytes()).unwrap(), is_open: true }
}

fn exact(text: &str) -> LabelRule {
    LabelRule { is_open: false, ..stem(0, text) }
}

fn block(text: &str) -> LabelRule {
    LabelRule::block(Label::of(&mac(text)).unwrap())
}

/// All pairs inside one: a source and a group, or a source and a destination.
fn pairs(iid: u32, is_group: bool, source: &str, destination: &str) -> LabelRule {
    let (iid, source, destination) = (InstanceId(iid), source.parse().unwrap(), destination.parse().unwrap());
    let make = if is_group { Pair::multicast } else { Pair::source_dest };
    LabelRule::block(Label::Pair(make(iid, source, destination).unwrap()))
}

/// A site with an IP prefix, two names, what begins with `ietf`, a block of MAC addresses, all names of instance 5, and pairs.
fn machines() -> Site {
    let names = [exact("printer"), exact("x"), stem(0, "ietf"), block("02:00:5e:00:00:00/24"), stem(5, "")];
    let pairs = [
        pairs(0, true, "0.0.0.0/0", "239.1.0.0/16"),
        pairs(5, true, "0.0.0.0/0", "232.0.0.0/8"),
        pairs(5, true, "::/0", "ff3e::/32"),
        pairs(0, false, "10.1.0.0/16", "10.2.0.0/16"),
        pairs(5, false, "::/0", "2001:db8::/32"),
    ];
    let labels = names.into_iter().chain(pairs).collect();
    Site { labels, ..site("machines", 1, "secret of machines", &[prefix(SITE)]) }
}

fn site_key() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "secret of machines")
}

fn bench() -> Bench {
    Bench::new(config(vec![machines()]))
}

fn record_of(eid: Eid, locators: &[&str]) -> MappingRecord {
    MappingRecord { eid, ..record(prefix(SITE), locators) }
}

/// A Map-Register of one EID with P and M.
fn sealed(nonce: u64, eid: Eid, rloc: &str) -> Vec<u8> {
    seal(register(nonce, vec![record_of(eid, &[rloc])]), &site_key())
}

/// The same of an xTR that merges.
fn merging(nonce: u64, xtr: u8, record: MappingRecord) -> Vec<u8> {
    let identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 });
    seal(MapRegister { merge: true, xtr_identity: identity, ..register(nonce, vec![record]) }, &site_key())
}

fn request_of(nonce: u64, eids: &[Eid]) -> MapRequest {
    MapRequest {
        nonce: Nonce(nonce),
        itr_rlocs: vec!["192.0.2.1".parse::<std::net::IpAddr>().unwrap().into()],
        records: eids.iter().map(|eid| EidRequest { notify: false, eid: eid.clone() }).collect(),
        ..MapRequest::default()
    }
}

/// A request in an ECM, from the ITR's port 61000.
fn wrapped(request: &MapRequest) -> Vec<u8> {
    wrapped_octets(request.encode().unwrap())
}

fn wrapped_octets(message: Vec<u8>) -> Vec<u8> {
    Ecm::wrap(address("192.0.2.1:61000"), address("192.0.2.2:4342"), message).encode().unwrap()
}

fn asks(bench: &mut Bench, nonce: u64, eid: &Eid) -> Vec<Output> {
    bench.datagram(ITR, &wrapped(&request_of(nonce, std::slice::from_ref(eid))))
}

/// The records of the only answer.
fn answer(bench: &mut Bench, nonce: u64, eid: &Eid) -> Vec<MappingRecord> {
    bench.pass(std::time::Duration::from_secs(11));
    let (to, reply) = reply(&asks(bench, nonce, eid));
    assert_eq!((to, reply.nonce), (address("192.0.2.1:61000"), Nonce(nonce)));
    reply.records
}

fn rlocs(record: &MappingRecord) -> Vec<String> {
    record.locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect()
}

/// What is registered of names, MAC addresses and pairs.
fn labels(bench: &Bench) -> Vec<String> {
    bench.engine.server().labels().after(None).map(|(label, _)| label.to_string()).collect()
}
