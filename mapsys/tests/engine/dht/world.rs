// SPDX-License-Identifier: GPL-2.0-or-later
//! Engines, and the DHT between them.

use std::time::Duration;

use cgeid::{Cn, Identity, Network, OperationalKey};
use dht::publish::Sequence;
use dht::record::{RecordKey, Subject};
use dht::resolve::TrustAnchor;
use mapsys::engine::{Config, Engine, Input, Mark, Memory, Output};
use mapsys::register::site::Site;
use mapsys::transport::Now;
use wire::address::EidPrefix;
use wire::control::MapReply;
use wire::control::auth::{Algorithm, AuthKey};
use wire::record::{Action, MappingRecord, Ttl};

use crate::common::*;

pub(crate) const SITE: &str = "2001:db8:a::/48";
pub(crate) const ETR: &str = "198.51.100.1:4342";
/// An ITR that asks from its own locator.
pub(crate) const ITR: &str = "192.0.2.1:5000";
pub(crate) const RLOC: &str = "192.0.2.1";

/// Engines, and the DHT between them.
pub(crate) struct World {
    pub(crate) dht: dht::memory::Network,
    pub(crate) benches: Vec<Bench>,
    pub(crate) now: Now,
    /// Whether GETs are answered, empty-handed, or not at all.
    pub(crate) mode: Mode,
    pub(crate) gets: Vec<RecordKey>,
    pub(crate) puts: Vec<RecordKey>,
    /// What was to be on disk.
    pub(crate) marks: Vec<Mark>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Answering,
    Unreachable,
    Silent,
}

impl World {
    pub(crate) fn new(configs: Vec<Config>) -> Self {
        let benches: Vec<_> = configs.into_iter().map(Bench::new).collect();
        let now = benches[0].now;
        let dht = dht::memory::Network::new(Network::LAB, 8, 3);
        let mut world = Self { dht, benches, now, mode: Mode::Answering, gets: vec![], puts: vec![], marks: vec![] };
        world.pass(Duration::ZERO);
        world
    }

    /// A message from the network to one engine; what it sends in the end.
    pub(crate) fn datagram(&mut self, to: usize, remote: &str, bytes: &[u8]) -> Vec<Output> {
        let outputs = self.benches[to].datagram(remote, bytes);
        self.settle(to, outputs)
    }

    pub(crate) fn pipe(&mut self, to: usize, bytes: &[u8]) -> Vec<Output> {
        let outputs = self.benches[to].pipe(bytes);
        self.settle(to, outputs)
    }

    pub(crate) fn ask(&mut self, of: usize, nonce: u64, eid: EidPrefix) -> MapReply {
        let outputs = self.datagram(of, ITR, &ecm(&request(nonce, &[eid], &[RLOC])));
        reply(&outputs).1
    }

    /// Lets time pass for all.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now.monotonic + time;
        let mut sent = Vec::new();
        loop {
            let due = self.benches.iter().filter_map(|bench| bench.engine.next_deadline()).min();
            let at = due.unwrap_or(end).clamp(self.now.monotonic, end);
            self.now.wall += at - self.now.monotonic;
            self.now.monotonic = at;
            for index in 0..self.benches.len() {
                self.benches[index].now = self.now;
                self.benches[index].engine.handle_timeout(self.now);
                let outputs = self.benches[index].drain();
                sent.extend(self.settle(index, outputs));
            }
            if at == end && due.is_none_or(|due| due > end) || due.is_none() {
                return sent;
            }
        }
    }

    /// Acts for the DHT until an engine has nothing more to say; the rest of its outputs.
    pub(crate) fn settle(&mut self, of: usize, mut outputs: Vec<Output>) -> Vec<Output> {
        let mut sent = Vec::new();
        while !outputs.is_empty() {
            for output in std::mem::take(&mut outputs) {
                let input = match output {
                    Output::DhtGet { key } => {
                        self.gets.push(key);
                        match self.mode {
                            Mode::Answering => {
                                Input::DhtValues { key, values: Some(self.dht.get(self.now.wall, &key)) }
                            }
                            Mode::Unreachable => Input::DhtValues { key, values: None },
                            Mode::Silent => continue,
                        }
                    }
                    Output::DhtPut { key, bytes } => {
                        self.puts.push(key);
                        let stored = self.dht.put(self.now.wall, &key, &bytes);
                        assert!(stored.is_ok(), "{key}: {stored:?}");
                        Input::DhtPutDone { key, outcome: put_ended(self.mode == Mode::Answering) }
                    }
                    other => {
                        if let Output::Persist(mark) = &other {
                            self.marks.push(mark.clone());
                        }
                        sent.push(other);
                        continue;
                    }
                };
                self.benches[of].engine.handle(self.now, input);
                outputs.extend(self.benches[of].drain());
            }
        }
        sent
    }

    pub(crate) fn puts_of(&self, subject: Subject) -> usize {
        self.puts.iter().filter(|key| key.subject == subject).count()
    }

    /// One engine begins anew, with what was on disk.
    pub(crate) fn restart(&mut self, of: usize, config: Config, memory: Memory) {
        let engine = Engine::new(self.now, config, memory).unwrap();
        self.benches[of] = Bench { engine, now: self.now };
    }

    /// The registrations that were to be on disk, for one that begins anew, and the sequence of what its identity has signed last.
    pub(crate) fn remembered(&self, writer: Cn) -> Memory {
        let rows = self.marks.iter().filter_map(|mark| match mark {
            Mark::Registration(_, row) => Some((Box::default(), row.clone())),
            _ => None,
        });
        Memory { registrations: rows.collect(), sequences: [(writer, self.sequence())].into(), ..Memory::default() }
    }

    /// Of what is signed now.
    pub(crate) fn sequence(&self) -> Sequence {
        Sequence(self.now.wall.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64)
    }
}

pub(crate) fn operational() -> OperationalKey {
    keys()(0)
}

/// The keys of one identity and one month by the second of their beginning: of two of them the later one counts.
pub(crate) fn keys() -> impl Fn(u64) -> OperationalKey {
    let now = std::time::SystemTime::now();
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    move |second| identity.delegate(now + Duration::from_secs(second), 0).unwrap()
}

pub(crate) fn site_key() -> AuthKey {
    key(1, Algorithm::HmacSha256, "secret of a")
}

pub(crate) fn pipe_key() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "random at every start")
}

pub(crate) fn site_a() -> Site {
    site("a", 1, "secret of a", &[prefix(SITE)])
}

pub(crate) fn anchor(aggregate: &str, cn: Cn) -> TrustAnchor {
    TrustAnchor { aggregate: prefix(aggregate), cn }
}

pub(crate) fn registrar(identity: OperationalKey, sites: Vec<Site>) -> Config {
    let sockets = vec![address("203.0.113.1:4342"), address("[2001:db8:53::1]:4342")];
    Config { identities: vec![identity], pipe_key: Some(pipe_key()), sockets, ..config(sites) }
}

pub(crate) fn resolver(trust_anchors: Vec<TrustAnchor>) -> Config {
    Config { identities: vec![operational()], pipe_key: Some(pipe_key()), trust_anchors, ..config(vec![]) }
}

pub(crate) fn sealed(nonce: u64, records: Vec<MappingRecord>) -> Vec<u8> {
    seal(register(nonce, records), &site_key())
}

/// A registrar of [`SITE`] that is its own anchor, and a resolver that shares nothing with it but that anchor.
pub(crate) fn two(site: Site) -> World {
    let identity = operational();
    let anchor = anchor(SITE, identity.cn());
    World::new(vec![registrar(identity, vec![site]), resolver(vec![anchor])])
}

pub(crate) fn registered() -> World {
    let mut world = two(site_a());
    let outputs = world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])]));
    notify(&outputs);
    world
}

pub(crate) fn negative(reply: &MapReply) -> (EidPrefix, Action, Ttl) {
    let [record] = reply.records.as_slice() else { panic!("{reply:?}") };
    assert_eq!(record.locators, []);
    (record.eid.ip_prefix().unwrap(), record.action, record.ttl)
}

/// The addresses of a record's locators.
pub(crate) fn locators(record: &MappingRecord) -> Vec<String> {
    record.locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect()
}
