// SPDX-License-Identifier: GPL-2.0-or-later
//! Mutated messages through a whole engine, its time and its DHT played: nothing may panic, be answered beyond its size, or stay.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod engines;

use std::collections::BTreeMap;
use std::time::Duration;

use common::*;
use dht::record::RecordKey;
pub(crate) use engines::ENTERED;
use mapsys::engine::{Config, Input, Output};
use mapsys::limits::LIVE_MORE_SPECIFICS;
use mapsys::register::label::Label;
use mapsys::register::label::grants::LabelRule;
use mapsys::register::site::{Site, SitePrefix};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use wire::address::{Address, Eid, InstanceId, Lcaf};
use wire::control::auth::{self, Algorithm, AuthKey, TagForm};
use wire::control::{ControlMessage, Ecm, EidRequest, MapRegister, MapRequest, Nonce, XtrIdentity};
use wire::record::MappingRecord;

const SITE: &str = "2001:db8:a::/48";
/// Messages as sent, all of which must stay good, come once in so many.
const GOOD_EVERY: u64 = 97;
/// Octets that may come for each that went in.
const AMPLIFICATION: u64 = 3;
/// A site whose ETR signs whatever comes to its mind.
const MAD: &str = "2001:db8:bad::/48";
/// Registrations there may be: that of the good site, and what the other may have.
const MOST_REGISTRATIONS: usize = 1 + LIVE_MORE_SPECIFICS;

/// What became of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Messages given.
    pub(crate) given: u64,
    /// Octets of them.
    pub(crate) octets_in: u64,
    /// Octets sent for them, without Map-Notifies to the site's own ETRs.
    pub(crate) octets_out: u64,
    /// Refusals by name.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// How often what is behind the first check was entered, by what shows it.
    pub(crate) entered: BTreeMap<&'static str, u64>,
    /// The most cached answers at once.
    pub(crate) cached: usize,
}

/// An engine, its messages, and the dice.
pub(crate) struct Mill {
    bench: Bench,
    seeds: Vec<Vec<u8>>,
    dice: StdRng,
    nonce: u64,
    outcome: Outcome,
}

fn own_key() -> AuthKey {
    key(1, Algorithm::HmacSha256, "secret of a")
}

fn mad_key() -> AuthKey {
    key(1, Algorithm::HmacSha256, "secret of the mad")
}

/// A site, a network of others whose anchor nobody answers for, no client, and whoever else may be configured.
fn setup() -> Config {
    let open = |net: &str| vec![SitePrefix { prefix: prefix(net), max_len: 128 }];
    let anchor = "2001:db8::/32=0f2c8a3454a468b75f32e76a".parse().unwrap();
    let good = Site { prefixes: open(SITE), ..site("a", 1, "secret of a", &[]) };
    let labels = labels().iter().map(|eid| LabelRule::block(Label::of(eid).unwrap())).collect();
    let mad = Site { prefixes: open(MAD), labels, ..site("mad", 1, "secret of the mad", &[]) };
    engines::with_all(Config { trust_anchors: vec![anchor], ..config(vec![good, mad]) })
}

/// A name and a block of MAC addresses, in an instance and in none; a source and a group; a source and a destination.
fn labels() -> [Eid; 6] {
    let plain = [(Address::Name((*b"a").into()), 16), (Address::Mac([2, 0, 0x5e, 0, 0, 0]), 24)];
    let [name, mac] = plain.map(|(address, mask_len)| Eid { address, mask_len });
    let within = |eid: &Eid| {
        let address = Lcaf::InstanceId { iid: InstanceId(5), iid_mask_len: 0, address: eid.address.clone() };
        Eid { address: address.into(), ..eid.clone() }
    };
    let any = |address: [u8; 4]| Address::from(std::net::IpAddr::from(address));
    let (source, group) = (any([0; 4]), any([239, 1, 0, 0]));
    let group = Lcaf::MulticastInfo { iid: InstanceId(5), source_mask_len: 0, group_mask_len: 16, source, group };
    let key =
        Lcaf::SourceDestKey { source_mask_len: 0, dest_mask_len: 8, source: any([0; 4]), dest: any([10, 0, 0, 0]) };
    let [group, key] = [group, key].map(|lcaf| Eid { address: lcaf.into(), mask_len: 0 });
    [within(&name), within(&mac), name, mac, group, within(&key)]
}

fn vectors() -> Vec<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/vectors/vectors.json");
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let unhex =
        |hex: &str| (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    json["vectors"].as_array().unwrap().iter().map(|vector| unhex(vector["lisp"].as_str().unwrap())).collect()
}

fn records(count: u16) -> Vec<MappingRecord> {
    (0..count).map(|n| record(prefix(&format!("2001:db8:a:{n:x}::/64")), &["198.51.100.1"])).collect()
}

/// Well-formed messages of all kinds.
fn seeds() -> Vec<Vec<u8>> {
    let merging =
        MapRegister { merge: true, xtr_identity: Some(XtrIdentity { xtr_id: [1; 16], site_id: 2 }), ..good(1) };
    let many = request(1, &[host("2001:db8:a::2"), host("10.0.0.1"), host("2001:db8:b::1")], &["192.0.2.1", "::1"]);
    let one = |eid: &str| ecm(&request(2, &[host(eid)], &["192.0.2.1"]));
    let labels = labels().map(|eid| EidRequest { notify: false, eid });
    let labels = MapRequest { records: labels.into(), ..request(3, &[host("10.0.0.1")], &["192.0.2.1"]) };
    let labels = Ecm::wrap(address("192.0.2.1:61000"), address("192.0.2.2:4342"), labels.encode().unwrap());
    let mut seeds = vec![
        labels.encode().unwrap(),
        seal(good(1), &own_key()),
        seal(merging, &own_key()),
        seal(register(1, records(40)), &own_key()),
        ecm(&many),
        one("2001:db8:a::7"),
        one("2001:db8:b::7"),
        one("10.9.9.9"),
    ];
    seeds.extend(vectors());
    seeds
}

fn good(nonce: u64) -> MapRegister {
    register(nonce, vec![record(prefix(SITE), &["198.51.100.1"])])
}

impl Mill {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = StdRng::seed_from_u64(seed);
        let bench = Bench::new(setup());
        let bench = Bench { engine: bench.engine.with_rtrs(vec![engines::rtr()]), ..bench };
        Self { bench, seeds: seeds(), dice, nonce: 1 << 32, outcome: Outcome::default() }
    }

    /// Gives so many more messages, and looks at what they left.
    pub(crate) fn grind(&mut self, count: u64) -> &Outcome {
        for number in 0..count {
            if number % GOOD_EVERY == 0 {
                self.good_turn(number);
            } else {
                self.bad_turn();
            }
            if number % 64 == 0 {
                self.pass(Duration::from_millis(50));
            }
        }
        let sizes = (self.bench.registered().len(), self.bench.engine.cached());
        assert!(sizes.0 <= MOST_REGISTRATIONS, "a forged registration: {:?}", self.bench.registered());
        self.outcome.cached = self.outcome.cached.max(sizes.1);
        self.look_inside();
        let refused = self.bench.engine.tally().iter().filter(|(_, count)| *count > 0);
        self.outcome.refused = refused.map(|(refusal, count)| (refusal.name(), count)).collect();
        let Outcome { octets_in, octets_out, .. } = self.outcome;
        assert!(octets_out <= AMPLIFICATION * octets_in, "{octets_out} octets for {octets_in}");
        &self.outcome
    }

    /// What nobody refreshes leaves a clean engine: after three minutes, or where T asked for more after a day.
    pub(crate) fn rest(&mut self) {
        (0..600).for_each(|_| self.pass(Duration::from_secs(1)));
        (0..25 * 60).for_each(|_| self.pass(Duration::from_secs(60)));
        assert_eq!(self.bench.registered(), [], "what nobody refreshes ends");
        assert!(self.bench.engine.server().labels().is_empty(), "the names among it too");
    }

    fn pass(&mut self, time: Duration) {
        let outputs = self.bench.pass(time);
        self.settle(outputs);
    }

    /// A registration, or a question about it, as its site and its neighbours send them: it works as on the first day.
    fn good_turn(&mut self, number: u64) {
        self.nonce += 1;
        let bytes = seal(good(self.nonce), &own_key());
        let outputs = self.bench.datagram("198.51.100.1:4342", &bytes);
        assert!(outputs.iter().any(|output| matches!(output, Output::Send { .. })), "no Map-Notify after {number}");
        self.outcome.given += 1;
    }

    /// Most are mutated on their way; some in an ECM whose checksum is right, some before they were signed.
    fn bad_turn(&mut self) {
        let somebody = self.remote();
        let (bytes, remote, may_be_silent) = match self.dice.random_range(0..12) {
            0 | 1 => (self.mutated_question(), somebody, true),
            2 => (self.signed_by_the_mad(), somebody, true),
            3..=6 => {
                let (bytes, remote) = self.of_another();
                (bytes, remote.to_owned(), true)
            }
            _ => (self.mutated(), somebody, false),
        };
        let before = self.bench.engine.tally().total();
        let outputs = self.bench.datagram(&remote, &bytes);
        self.outcome.given += 1;
        self.outcome.octets_in += bytes.len() as u64;
        let is_question = bytes.first().is_some_and(|first| first >> 4 == 8);
        let is_seen = !outputs.is_empty() || self.bench.engine.tally().total() > before;
        // A question may wait for a lookup that runs already, a Map-Register may want no Map-Notify.
        assert!(is_seen || is_question || may_be_silent, "it disappeared: {bytes:02x?}");
        self.settle(outputs);
    }

    /// Counts what is sent, and plays a DHT that has nothing, garbage, or no answer, and whoever else is asked something.
    fn settle(&mut self, outputs: Vec<Output>) {
        let mut keys: Vec<RecordKey> = Vec::new();
        let mut answers = Vec::new();
        for output in outputs {
            answers.extend(self.answered(&output));
            match output {
                Output::Send { remote, .. } if engines::is_of_tree(remote.ip()) => {}
                Output::Send { bytes, .. } => self.outcome.octets_out += bytes.len() as u64,
                Output::DhtGet { key } => keys.push(key),
                Output::DhtPut { key, .. } => {
                    let outcome = put_ended(true);
                    self.bench.engine.handle(self.bench.now, Input::DhtPutDone { key, outcome });
                }
                _ => {}
            }
        }
        for (from, bytes) in answers {
            self.outcome.octets_in += bytes.len() as u64;
            let more = self.bench.datagram(&from, &bytes);
            self.settle(more);
        }
        for key in keys {
            let values = match self.dice.random_range(0..4) {
                0 => continue,
                1 => None,
                2 => Some(vec![]),
                _ => Some(vec![self.seeds[self.dice.random_range(0..self.seeds.len())].clone()]),
            };
            self.bench.engine.handle(self.bench.now, Input::DhtValues { key, values });
            let more = self.bench.drain();
            self.settle(more);
        }
    }

    /// A Map-Request, mutated inside of its ECM; some of its EIDs nobody has asked for before.
    fn mutated_question(&mut self) -> Vec<u8> {
        let [a, b]: [u16; 2] = self.dice.random();
        let new = host(&format!("2001:db8:{a:x}:{b:x}::1"));
        let eids = [new, host("2001:db8:a::2"), host("2001:db8:bad::1"), host("10.9.9.9")];
        let count = self.dice.random_range(1..=eids.len());
        let asked = request(self.dice.random(), &eids[..count], &["192.0.2.1", "2001:db8:1::1"]).encode().unwrap();
        let message = self.mutate(asked);
        let whole = Ecm::wrap(address("192.0.2.1:61000"), address("192.0.2.2:4342"), message).encode();
        whole.unwrap_or_else(|_| vec![0x80])
    }

    /// A Map-Register that was mutated before it was signed.
    fn signed_by_the_mad(&mut self) -> Vec<u8> {
        self.nonce += 1;
        let net = format!("2001:db8:bad:{:x}::/64", self.dice.random::<u16>());
        let label = labels()[self.dice.random_range(0..6)].clone();
        let labelled = MappingRecord { eid: label, ..record(prefix(MAD), &["198.51.100.8"]) };
        let records = vec![record(prefix(MAD), &["198.51.100.7"]), labelled, record(prefix(&net), &["::1"])];
        let message = register(self.nonce, records);
        let mutated = self.mutate(seal(message, &mad_key()));
        match ControlMessage::decode(&mutated) {
            Ok(ControlMessage::MapRegister(message)) => {
                let nonce = Nonce(self.nonce);
                let message = MapRegister { nonce, ..message }.into();
                auth::seal(&message, &mad_key(), TagForm::Truncated).unwrap_or(mutated)
            }
            _ => mutated,
        }
    }

    fn mutated(&mut self) -> Vec<u8> {
        let seed = self.seeds[self.dice.random_range(0..self.seeds.len())].clone();
        let mut bytes = self.mutate(seed);
        // Seeds that are signed and whole stay so only by a change that changes nothing: not to be taken for a forgery.
        if self.seeds.contains(&bytes) {
            bytes[0] ^= 0xf0;
        }
        bytes
    }

    fn mutate(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let dice = &mut self.dice;
        for _ in 0..dice.random_range(1..6) {
            let at = dice.random_range(0..bytes.len());
            match dice.random_range(0..3) {
                0 => bytes[at] ^= 1 << dice.random_range(0..8),
                1 => bytes[at] = dice.random(),
                _ => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.random_range(0..5)],
            }
        }
        if dice.random_range(0..8) == 0 {
            bytes.truncate(dice.random_range(0..bytes.len()));
        }
        if dice.random_range(0..8) == 0 {
            let mut tail = vec![0; dice.random_range(0..40)];
            dice.fill_bytes(&mut tail);
            bytes.extend(tail);
        }
        bytes
    }

    fn remote(&mut self) -> String {
        match self.dice.random_range(0..4) {
            0 => "192.0.2.1:5000".to_owned(),
            1 => "[2001:db8:1::1]:4342".to_owned(),
            2 => "198.51.100.1:4342".to_owned(),
            _ => {
                let [a, b, c, port]: [u8; 4] = self.dice.random();
                format!("10.{a}.{b}.{c}:{}", 1024 + u16::from(port))
            }
        }
    }
}
