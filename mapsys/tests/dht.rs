// SPDX-License-Identifier: GPL-2.0-or-later
//! Map systems that meet in the DHT only: several engines on one in-memory network of stores, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use cgeid::pins::Fingerprint;
use cgeid::{Cn, Identity, Network, OperationalKey, Reason, Revocation};
use common::*;
use dht::publish::{self, PageKind, Sequence};
use dht::record::{Entry, Index, RecordKey, Subject, Target};
use dht::resolve::TrustAnchor;
use mapsys::engine::{Config, Input, Mark, Memory, Output};
use mapsys::limit::Foreign;
use mapsys::refusal::Refusal;
use mapsys::register::site::{Site, SitePrefix};
use mapsys::transport::{Now, Via};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{Algorithm, AuthKey};
use wire::control::{ControlMessage, MapRegister, MapReply};
use wire::record::{Action, MappingRecord, Ttl};

const SITE: &str = "2001:db8:a::/48";
const ETR: &str = "198.51.100.1:4342";
/// An ITR that asks from its own locator.
const ITR: &str = "192.0.2.1:5000";
const RLOC: &str = "192.0.2.1";

/// Engines, and the DHT between them.
struct World {
    dht: dht::memory::Network,
    benches: Vec<Bench>,
    now: Now,
    /// Whether GETs are answered, empty-handed, or not at all.
    mode: Mode,
    gets: Vec<RecordKey>,
    puts: Vec<RecordKey>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Answering,
    Unreachable,
    Silent,
}

impl World {
    fn new(configs: Vec<Config>) -> Self {
        let benches: Vec<_> = configs.into_iter().map(Bench::new).collect();
        let now = benches[0].now;
        let dht = dht::memory::Network::new(Network::LAB, 8, 3);
        let mut world = Self { dht, benches, now, mode: Mode::Answering, gets: vec![], puts: vec![] };
        world.pass(Duration::ZERO);
        world
    }

    /// A message from the network to one engine; what it sends in the end.
    fn datagram(&mut self, to: usize, remote: &str, bytes: &[u8]) -> Vec<Output> {
        let outputs = self.benches[to].datagram(remote, bytes);
        self.settle(to, outputs)
    }

    fn pipe(&mut self, to: usize, bytes: &[u8]) -> Vec<Output> {
        let outputs = self.benches[to].pipe(bytes);
        self.settle(to, outputs)
    }

    fn ask(&mut self, of: usize, nonce: u64, eid: EidPrefix) -> MapReply {
        let outputs = self.datagram(of, ITR, &ecm(&request(nonce, &[eid], &[RLOC])));
        reply(&outputs).1
    }

    /// Lets time pass for all.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
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
    fn settle(&mut self, of: usize, mut outputs: Vec<Output>) -> Vec<Output> {
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
                        Input::DhtPutDone { key, stored: self.mode == Mode::Answering }
                    }
                    other => {
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

    fn puts_of(&self, subject: Subject) -> usize {
        self.puts.iter().filter(|key| key.subject == subject).count()
    }
}

fn operational() -> OperationalKey {
    let now = std::time::SystemTime::now();
    Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap()
}

fn site_key() -> AuthKey {
    key(1, Algorithm::HmacSha256, "secret of a")
}

fn pipe_key() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "random at every start")
}

fn site_a() -> Site {
    site("a", 1, "secret of a", &[prefix(SITE)])
}

fn anchor(aggregate: &str, cn: Cn) -> TrustAnchor {
    TrustAnchor { aggregate: prefix(aggregate), cn }
}

fn registrar(identity: OperationalKey, sites: Vec<Site>) -> Config {
    let sockets = vec![address("203.0.113.1:4342"), address("[2001:db8:53::1]:4342")];
    Config { identities: vec![identity], pipe_key: Some(pipe_key()), sockets, ..config(sites) }
}

fn resolver(trust_anchors: Vec<TrustAnchor>) -> Config {
    Config { identities: vec![operational()], pipe_key: Some(pipe_key()), trust_anchors, ..config(vec![]) }
}

fn sealed(nonce: u64, records: Vec<MappingRecord>) -> Vec<u8> {
    seal(register(nonce, records), &site_key())
}

/// A registrar of [`SITE`] that is its own anchor, and a resolver that shares nothing with it but that anchor.
fn two(site: Site) -> World {
    let identity = operational();
    let anchor = anchor(SITE, identity.cn());
    World::new(vec![registrar(identity, vec![site]), resolver(vec![anchor])])
}

fn registered() -> World {
    let mut world = two(site_a());
    let outputs = world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])]));
    notify(&outputs);
    world
}

fn negative(reply: &MapReply) -> (EidPrefix, Action, Ttl) {
    let [record] = reply.records.as_slice() else { panic!("{reply:?}") };
    assert_eq!(record.locators, []);
    (record.eid.ip_prefix().unwrap(), record.action, record.ttl)
}

#[test]
fn what_one_map_system_registers_another_answers_for() {
    let mut world = registered();
    let reply = world.ask(1, 7, host("2001:db8:a::2"));
    let [record] = reply.records.as_slice() else { panic!("{reply:?}") };
    assert_eq!(reply.nonce.0, 7);
    assert_eq!(record.eid.ip_prefix(), Some(prefix(SITE)));
    assert_eq!(record.locators[0].rloc.ip(), Some("198.51.100.1".parse().unwrap()));
    assert!(!record.authoritative && !record.locators[0].local && record.locators[0].reachable);
    assert!(record.ttl >= Ttl(1) && record.ttl <= Ttl(60), "not past the signature: {:?}", record.ttl);
}

#[test]
fn a_self_anchored_node_says_which_trust_anchor_to_give() {
    let identity = operational();
    let cn = identity.cn();
    let world = World::new(vec![registrar(identity, vec![site_a()])]);
    assert_eq!(world.benches[0].engine.own_anchors(), [anchor(SITE, cn)]);
    let covered =
        Config { trust_anchors: vec![anchor("2001:db8::/32", cn)], ..registrar(operational(), vec![site_a()]) };
    assert_eq!(World::new(vec![covered]).benches[0].engine.own_anchors(), []);
}

#[test]
fn a_site_that_fell_silent_is_negative_for_a_minute() {
    let mut world = registered();
    world.pass(Duration::from_secs(181));
    let reply = world.ask(1, 1, host("2001:db8:a::2"));
    assert_eq!(negative(&reply), (prefix(SITE), Action::NativelyForward, Ttl(1)));
    world.pass(Duration::from_secs(61));
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.2"])]));
    world.pass(Duration::from_secs(11));
    assert_eq!(world.ask(1, 2, host("2001:db8:a::2")).records[0].locators.len(), 1, "and comes back");
}

#[test]
fn a_proven_hole_is_computed_and_lasts_fifteen_minutes() {
    let identity = operational();
    let (cn, mut sequence) = (identity.cn(), Sequence::default());
    let mut world = World::new(vec![resolver(vec![anchor("2001:db8::/32", cn)])]);
    let entry = |text: &str| Entry {
        prefix: prefix(text),
        target: Target::Site { registrars: BTreeSet::from([cn]), max_plen: 48 },
    };
    let page = Index::new(prefix("2001:db8::/32"), vec![entry("2001:db8:a::/48"), entry("2001:db8:b::/48")]).unwrap();
    let page =
        publish::index(&identity, Network::LAB, page, PageKind::Delegations, world.now.wall, &mut sequence).unwrap();
    world.dht.put(world.now.wall, &page.key, &page.value).unwrap();

    let hole = world.ask(0, 1, host("2001:db8:77::2"));
    assert_eq!(negative(&hole), (prefix("2001:db8:40::/42"), Action::NativelyForward, Ttl(15)));
    let delegated = world.ask(0, 2, host("2001:db8:a::2"));
    assert_eq!(negative(&delegated), (prefix("2001:db8:a::/48"), Action::NativelyForward, Ttl(1)));
    let (outside, action, ttl) = negative(&world.ask(0, 3, host("2001:db9::2")));
    assert_eq!((action, ttl), (Action::NativelyForward, Ttl(15)));
    assert!(outside.covers(&host("2001:db9::2")) && !outside.covers(&prefix("2001:db8::/32")), "{outside}");
}

#[test]
fn a_cgeid_is_found_by_its_own_key_and_published_through_the_pipe() {
    let identity = operational();
    let own = EidPrefix::host(InstanceId(0), identity.address().into());
    let mut world = World::new(vec![registrar(identity, vec![]), resolver(vec![])]);
    let message = seal(register(1, vec![record(own, &["198.51.100.1"])]), &pipe_key());
    let outputs = world.pipe(0, &message);
    assert!(outputs.iter().any(|output| matches!(output, Output::Pipe { .. })), "{outputs:?}");
    let reply = world.ask(1, 1, own);
    assert_eq!(reply.records[0].eid.ip_prefix(), Some(own));
    assert_eq!(reply.records[0].locators.len(), 1);
    world.pass(Duration::from_secs(3600));
    assert_eq!(negative(&world.ask(1, 2, own)).1, Action::DropNoReason, "withdrawn after three silent minutes");
}

#[test]
fn an_absent_cgeid_is_dropped_on_the_wire_and_asked_again_in_the_process() {
    let absent = EidPrefix::host(InstanceId(0), Cn([7; 12]).address(Network::LAB).into());
    let mut world = World::new(vec![resolver(vec![])]);
    assert_eq!(negative(&world.ask(0, 1, absent)), (absent, Action::DropNoReason, Ttl(1)));
    for nonce in 2..4 {
        let before = world.gets.len();
        let outputs = world.pipe(0, &ecm(&request(nonce, &[absent], &[RLOC])));
        let [Output::Pipe { bytes }] = outputs.as_slice() else { panic!("{outputs:?}") };
        let ControlMessage::MapReply(reply) = ControlMessage::decode(bytes).unwrap() else { panic!() };
        assert_eq!(negative(&reply), (absent, Action::SendMapRequest, Ttl(1)));
        assert_eq!(world.gets.len(), before + 1, "each time the DHT is asked");
    }
    let before = world.gets.len();
    world.ask(0, 9, absent);
    assert_eq!(world.gets.len(), before, "the network is answered from the cache");
}

#[test]
fn a_site_that_answers_itself_gets_the_request_through_its_map_server() {
    let mut world = two(site_a());
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.datagram(0, ETR, &seal(own_answer, &site_key()));
    let asked = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
    let outputs = world.datagram(1, ITR, &asked);
    let sends: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).collect();
    let [Output::Send { remote, bytes, .. }] = sends.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(*remote, address("203.0.113.1:4342"), "the Map-Server that published it");
    assert_eq!(*bytes, asked);
    // And that one sends it to the ETR, though the resolver is none of the ITR-RLOCs.
    let forwarded = world.datagram(0, SERVER, bytes);
    let [Output::Send { remote, bytes, local }] = forwarded.as_slice() else { panic!("{forwarded:?}") };
    assert_eq!((*remote, local.port()), (address(ETR), 4342));
    assert_eq!(*bytes, asked);
}

#[test]
fn an_etr_in_this_process_is_asked_through_the_pipe() {
    let config = Config { own_prefixes: vec![prefix(SITE)], ..registrar(operational(), vec![]) };
    let mut world = World::new(vec![config]);
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.pipe(0, &seal(own_answer, &pipe_key()));
    let asked = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
    assert_eq!(world.datagram(0, ITR, &asked), [Output::Pipe { bytes: asked }]);
}

#[test]
fn registered_more_specifics_go_with_their_best_match_or_narrow_it() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut world = two(open);
    let records = vec![
        record(prefix(SITE), &["198.51.100.1"]),
        record(prefix("2001:db8:a:1::/64"), &["198.51.100.2"]),
        record(prefix("2001:db8:a:8000::/64"), &["198.51.100.3"]),
    ];
    world.datagram(0, ETR, &sealed(1, records));
    world.pass(Duration::from_secs(11));
    let rlocs =
        |reply: &MapReply| -> Vec<_> { reply.records[0].locators.iter().map(|l| l.rloc.ip().unwrap()).collect() };

    let specific = world.ask(1, 1, host("2001:db8:a:1::5"));
    assert_eq!(specific.records[0].eid.ip_prefix(), Some(prefix("2001:db8:a:1::/64")));
    assert_eq!(rlocs(&specific), ["198.51.100.2".parse::<std::net::IpAddr>().unwrap()]);

    let rest = world.ask(1, 2, host("2001:db8:a:4000::5"));
    let told = rest.records[0].eid.ip_prefix().unwrap();
    assert_eq!(rlocs(&rest), ["198.51.100.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(!told.covers(&prefix("2001:db8:a:1::/64")) && !told.covers(&prefix("2001:db8:a:8000::/64")), "{told}");

    // At home there is room for all three in a reply (RFC 9301, section 5.5), if the request is long enough.
    world.pass(Duration::from_secs(11));
    let many: Vec<_> = (0..4).map(|n| host(&format!("2001:db8:a:4000::{n}"))).collect();
    let outputs = world.datagram(0, ITR, &ecm(&request(3, &many, &[RLOC])));
    let (_, all) = reply(&outputs);
    assert_eq!(all.records.len(), 3, "{all:?}");
    assert!(all.records.iter().all(|record| record.ttl == all.records[0].ttl));
}

#[test]
fn a_live_more_specific_that_is_withdrawn_gives_way_to_its_cover() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut world = two(open);
    let specific = prefix("2001:db8:a:1::/64");
    let both = vec![record(prefix(SITE), &["198.51.100.1"]), record(specific, &["198.51.100.2"])];
    world.datagram(0, ETR, &sealed(1, both));
    world.pass(Duration::from_secs(11));
    let gone = MappingRecord { ttl: Ttl(0), ..record(specific, &[]) };
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.1"]), gone]));
    world.pass(Duration::from_secs(11));
    let reply = world.ask(1, 1, host("2001:db8:a:1::5"));
    assert_eq!(reply.records[0].locators[0].rloc.ip(), Some("198.51.100.1".parse().unwrap()));
}

#[test]
fn a_slow_lookup_is_answered_with_ask_again_after_a_second_and_a_half() {
    let mut world = registered();
    world.mode = Mode::Silent;
    let eid = host("2001:db8:a::2");
    assert_eq!(world.datagram(1, ITR, &ecm(&request(1, &[eid], &[RLOC]))), []);
    assert_eq!(sent(&world.pass(Duration::from_millis(1499))), []);
    let (_, late) = reply(&world.pass(Duration::from_millis(2)));
    assert_eq!(negative(&late), (eid, Action::SendMapRequest, Ttl(1)));
}

#[test]
fn many_askers_share_one_lookup() {
    let mut world = registered();
    world.mode = Mode::Silent;
    let eid = host("2001:db8:a::2");
    for nonce in 0..5 {
        world.datagram(1, ITR, &ecm(&request(nonce, &[eid], &[RLOC])));
    }
    world.datagram(1, ITR, &ecm(&request(9, &[host("2001:db8:a::3")], &[RLOC])));
    assert_eq!(world.gets.len(), 1, "one page for all of them");
    world.mode = Mode::Answering;
    let key = world.gets[0];
    let values = Some(world.dht.get(world.now.wall, &key));
    world.benches[1].engine.handle(world.now, Input::DhtValues { key, values });
    let outputs = world.benches[1].drain();
    let outputs = world.settle(1, outputs);
    assert_eq!(world.gets.len(), 2, "one record for all of them");
    // Four replies about one prefix in three seconds; the others are told at their next question.
    assert_eq!(sent(&outputs).len(), 4);
    assert_eq!(world.benches[1].engine.tally().get(Refusal::ReplyRate), 2);
}

#[test]
fn a_used_answer_is_refreshed_before_it_expires() {
    let mut world = registered();
    let eid = host("2001:db8:a::2");
    world.ask(1, 1, eid);
    let before = world.gets.len();
    world.pass(Duration::from_secs(60));
    world.ask(1, 2, eid);
    assert_eq!(world.gets.len(), before, "fresh");
    // Kept alive at home, published anew every 20 minutes; the resolver's copy nears the end of its signature.
    for minute in 0..50 {
        world.datagram(0, ETR, &sealed(2 + minute, vec![record(prefix(SITE), &["198.51.100.1"])]));
        world.pass(Duration::from_secs(60));
    }
    let ttl = world.ask(1, 3, eid).records[0].ttl;
    assert!(ttl < Ttl(15), "{ttl:?}");
    assert!(world.gets.len() > before, "looked up again behind the answer");
    assert!(world.ask(1, 4, eid).records[0].ttl > Ttl(15), "the next asker gets the new one");
}

#[test]
fn an_expired_mapping_is_served_while_the_dht_is_unreachable_and_no_longer_than_ten_minutes() {
    let mut world = two(site_a());
    let short = MappingRecord { ttl: Ttl(2), ..record(prefix(SITE), &["198.51.100.1"]) };
    world.datagram(0, ETR, &sealed(1, vec![short]));
    let eid = host("2001:db8:a::2");
    world.ask(1, 1, eid);
    world.mode = Mode::Unreachable;
    world.pass(Duration::from_secs(5 * 60));
    assert_eq!(world.ask(1, 2, eid).records[0].locators.len(), 1);
    world.pass(Duration::from_secs(10 * 60));
    assert_eq!(negative(&world.ask(1, 3, eid)), (eid, Action::SendMapRequest, Ttl(1)));
}

#[test]
fn a_forged_record_is_an_authentication_failure() {
    let mut world = registered();
    let identity = world.benches[0].engine.own_anchors()[0].cn;
    let key = RecordKey::prefix(Network::LAB, identity, prefix(SITE));
    let mut value = world.dht.get(world.now.wall, &key).remove(0);
    let last = value.len() - 1;
    value[last] ^= 1;
    for node in 0..8 {
        world.dht.lie(node, &key, value.clone());
    }
    let eid = host("2001:db8:a::2");
    assert_eq!(negative(&world.ask(1, 1, eid)), (eid, Action::DropAuthFailure, Ttl(1)));
    assert_eq!(world.benches[1].engine.tally().get(Refusal::RecordRefused), 1);
}

/// The first keys that an engine wants to be remembered.
fn pins(outputs: &[Output]) -> Vec<(Fingerprint, SystemTime)> {
    let marks = outputs.iter().filter_map(|output| match output {
        Output::Persist(Mark::Pin(fingerprint, used)) => Some((*fingerprint, *used)),
        _ => None,
    });
    marks.collect()
}

#[test]
fn a_second_key_under_one_name_is_an_authentication_failure_after_a_restart_too() {
    let now = SystemTime::now();
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    let own = EidPrefix::host(InstanceId(0), identity.address().into());
    let mut world = World::new(vec![registrar(identity.delegate(now, 0).unwrap(), vec![]), resolver(vec![])]);
    world.pipe(0, &seal(register(1, vec![record(own, &["198.51.100.1"])]), &pipe_key()));
    let ask = |world: &mut World, nonce| world.datagram(1, ITR, &ecm(&request(nonce, &[own], &[RLOC])));
    let outputs = ask(&mut world, 1);
    assert_eq!(reply(&outputs).1.records[0].locators.len(), 1);
    let first = pins(&outputs);
    assert_eq!(first, [(*identity.certificate().fingerprint(), world.now.wall)]);
    let restart = |world: &mut World, pins| {
        world.benches[1] = Bench::with(resolver(vec![]), Memory { pins, ..Memory::default() });
        world.benches[1].now = world.now;
    };
    // The same key is taken, and not written for each use.
    restart(&mut world, first.clone());
    let outputs = ask(&mut world, 2);
    assert_eq!((reply(&outputs).1.records[0].locators.len(), pins(&outputs)), (1, vec![]));
    // It would take 2⁴⁸ tries to make the key that was there before: only its hash is needed here.
    let mut other = first;
    other[0].0[63] ^= 1;
    restart(&mut world, other);
    for nonce in [3, 4] {
        let outputs = ask(&mut world, nonce);
        assert_eq!(negative(&reply(&outputs).1), (own, Action::DropAuthFailure, Ttl(1)));
        assert_eq!(pins(&outputs), []);
    }
}

#[test]
fn a_revoked_identity_is_an_authentication_failure() {
    let mut world = World::new(vec![resolver(vec![]), resolver(vec![])]);
    let now = world.now.wall;
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    let eid = EidPrefix::host(InstanceId(0), identity.address().into());
    let locator = dht::record::Rloc {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        flags: dht::record::RlocFlags { reachable: true, ..Default::default() },
        address: "198.51.100.1".parse().unwrap(),
        port: 0,
    };
    let key = identity.delegate(now, 0).unwrap();
    let mapping = dht::record::Mapping::new([locator], Ttl(60));
    let mapping = publish::mapping(&key, Network::LAB, mapping, now, &mut Sequence::default()).unwrap();
    world.dht.put(now, &mapping.key, &mapping.value).unwrap();
    assert_eq!(world.ask(0, 1, eid).records[0].locators.len(), 1);

    let statement = Revocation::issue(&identity, Reason::KEY_COMPROMISE, now).unwrap();
    let revocation = publish::revocation(&statement).unwrap();
    world.dht.put(now, &revocation.key, &revocation.value).unwrap();
    assert_eq!(negative(&world.ask(1, 2, eid)), (eid, Action::DropAuthFailure, Ttl(1)));
    // Whoever had the mapping has it for its hour at most.
    world.pass(Duration::from_secs(3600));
    for of in 0..2 {
        assert_eq!(negative(&world.ask(of, 3, eid)), (eid, Action::DropAuthFailure, Ttl(1)));
    }
}

#[test]
fn the_embedded_map_system_answers_the_network_for_its_own_eids_only() {
    let identity = operational();
    let anchors = vec![anchor(SITE, identity.cn())];
    let closed = Config { foreign: Foreign::Nobody, ..resolver(anchors) };
    let mut world = World::new(vec![registrar(identity, vec![site_a()]), closed]);
    let asked = ecm(&request(1, &[host("2001:db8:a::2")], &[RLOC]));
    assert_eq!(world.datagram(1, ITR, &asked), []);
    assert_eq!(world.benches[1].only_refused(Refusal::ForeignNotServed), 1);
    let outputs = world.pipe(1, &asked);
    assert!(matches!(outputs.last(), Some(Output::Pipe { .. })), "the own ITR asks for all: {outputs:?}");
}

#[test]
fn foreign_eids_are_for_those_who_ask_from_their_own_locator() {
    let mut world = registered();
    let asked = ecm(&request(1, &[host("2001:db8:a::2")], &["203.0.113.99"]));
    assert_eq!(world.datagram(1, ITR, &asked), []);
    assert_eq!(world.benches[1].only_refused(Refusal::ForeignNotFromItr), 1);
    assert_eq!(world.gets, []);
}

#[test]
fn random_eids_cannot_walk_the_dht() {
    let mut world = World::new(vec![resolver(vec![])]);
    for n in 0..200u8 {
        let mut cn = Cn([0x55; 12]);
        cn.0[0] = n;
        let eid = EidPrefix::host(InstanceId(0), cn.address(Network::LAB).into());
        world.datagram(0, ITR, &ecm(&request(n.into(), &[eid], &[RLOC])));
    }
    let asked = world.gets.len();
    assert!(asked <= 65, "{asked} lookups for one source");
    assert_eq!(world.benches[0].engine.tally().get(Refusal::MissBudget), 200 - asked as u64);
}

#[test]
fn all_records_of_a_request_are_answered_in_one_reply_and_nine_are_too_many() {
    let mut world = registered();
    let eids = [host("2001:db8:a::2"), host("2001:db9::2"), host("10.1.1.1")];
    let outputs = world.datagram(1, ITR, &ecm(&request(1, &eids, &[RLOC])));
    assert_eq!(reply(&outputs).1.records.len(), 3);
    let nine: Vec<_> = (0..9).map(|n| host(&format!("10.0.0.{n}"))).collect();
    assert_eq!(world.datagram(1, ITR, &ecm(&request(2, &nine, &[RLOC]))), []);
    assert_eq!(world.benches[1].only_refused(Refusal::RequestTooManyRecords), 1);
}

#[test]
fn d_wants_no_map_reply_and_a_ddt_resolver_gets_no_negative_one() {
    let mut world = registered();
    let mut quiet = request(1, &[host("2001:db8:a::2")], &[RLOC]);
    quiet.dont_map_reply = true;
    assert_eq!(world.datagram(1, ITR, &ecm(&quiet)), []);
    assert_eq!(world.benches[1].only_refused(Refusal::RequestWantsNoReply), 1);
    let mut ddt = ecm(&request(2, &[host("2001:db9::2")], &[RLOC]));
    ddt[0] |= 0x04;
    assert_eq!(world.datagram(1, ITR, &ddt), []);
    assert_eq!(world.benches[1].engine.tally().get(Refusal::ReferralNotServed), 1);
}

#[test]
fn a_foreign_answer_goes_to_the_sender_even_if_it_names_another_first() {
    let mut world = registered();
    let asked = ecm(&request(1, &[host("2001:db8:a::2")], &["203.0.113.99", RLOC]));
    let (to, _) = reply(&world.datagram(1, ITR, &asked));
    assert_eq!(to.ip(), address(ITR).ip());
    // A map-server forwards for others what is for our sites: then the first counts.
    let (to, _) = reply(&world.datagram(0, "203.0.113.7:4342", &asked));
    assert_eq!(to.ip().to_string(), "203.0.113.99");
}

#[test]
fn limits_are_lifted_for_clients_that_ask_for_themselves() {
    let mut config = config(vec![]);
    config.clients = vec!["192.0.2.0/24".parse().unwrap()];
    let mut bench = Bench::new(config);
    let mut answers = |rloc: &str| {
        let asked = ecm(&request(1, &[host("2001:db8:77::2")], &[rloc]));
        (0..20).map(|_| sent(&bench.datagram("192.0.2.8:4342", &asked)).len()).sum::<usize>()
    };
    assert_eq!(answers("192.0.2.8"), 20);
    assert_eq!(answers("203.0.113.99"), 4, "a client's address as source aims at somebody else");
}

#[test]
fn a_request_goes_round_between_two_map_servers_once_and_never_back_to_the_same() {
    let own_answer = |nonce, rloc: &str| {
        let message = MapRegister { proxy_reply: false, ..register(nonce, vec![record(prefix(SITE), &[rloc])]) };
        seal(message, &site_key())
    };
    let mut bench = Bench::new(config(vec![site_a()]));
    let asked = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
    for (nonce, rloc) in [(1, "192.0.2.53"), (2, "127.0.0.1"), (3, "169.254.0.1")] {
        notify(&bench.datagram(ETR, &own_answer(nonce, rloc)));
        assert_eq!(bench.datagram(ITR, &asked), [], "{rloc}");
    }
    assert_eq!(bench.only_refused(Refusal::NextHopUnusable), 3);

    let there = "203.0.113.1:4342";
    notify(&bench.datagram(ETR, &own_answer(4, "203.0.113.1")));
    assert_eq!(sent(&bench.datagram(ITR, &asked)).len(), 1);
    assert_eq!(bench.datagram(there, &asked), [], "it came back");
    assert_eq!(bench.engine.tally().get(Refusal::ForwardLoop), 1);
    bench.pass(Duration::from_secs(1));
    assert_eq!(sent(&bench.datagram(ITR, &asked)).len(), 1, "the ITR asks again");
}

#[test]
fn forwarded_requests_are_limited_like_replies() {
    let mut bench = Bench::new(config(vec![site_a()]));
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    notify(&bench.datagram(ETR, &seal(own_answer, &site_key())));
    let mut forwarded = 0;
    for nonce in 0..100 {
        let asked = ecm(&request(nonce, &[host("2001:db8:a::2")], &["203.0.113.99"]));
        forwarded += sent(&bench.datagram("203.0.113.66:4342", &asked)).len();
    }
    assert_eq!(forwarded, 4);
    assert_eq!(bench.only_refused(Refusal::ReplyRate), 96);
}

#[test]
fn a_site_inside_another_is_neither_answered_for_nor_covered() {
    let inner = site("b", 2, "secret of b", &[prefix("2001:db8:a:8000::/56")]);
    let key_b = key(2, Algorithm::HmacSha256, "secret of b");
    let mut bench = Bench::new(config(vec![site_a(), inner]));
    notify(&bench.datagram(ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])])));
    let ask = |bench: &mut Bench, nonce, eid: &str| {
        bench.pass(Duration::from_secs(4));
        bench.datagram(ITR, &ecm(&request(nonce, &[host(eid)], &[RLOC])))
    };
    let told = |outputs: &[Output]| reply(outputs).1.records;
    // Site b is silent: what site a registered says nothing about it.
    let records = told(&ask(&mut bench, 1, "2001:db8:a::2"));
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].eid.ip_prefix(), Some(prefix("2001:db8:a::/49")));
    let records = told(&ask(&mut bench, 2, "2001:db8:a:8000::2"));
    assert_eq!(records[0].eid.ip_prefix(), Some(prefix("2001:db8:a:8000::/56")));
    assert!(records[0].locators.is_empty());
    // Site b answers for itself: its record is not ours to give.
    let message = MapRegister {
        proxy_reply: false,
        ..register(1, vec![record(prefix("2001:db8:a:8000::/56"), &["198.51.100.7"])])
    };
    notify(&bench.datagram("198.51.100.7:4342", &seal(message, &key_b)));
    assert_eq!(told(&ask(&mut bench, 3, "2001:db8:a::2")), told(&ask(&mut bench, 4, "2001:db8:a::2")));
    let records = told(&ask(&mut bench, 5, "2001:db8:a:ffff::2"));
    assert_eq!(records.len(), 1);
    assert!(!records[0].eid.ip_prefix().unwrap().covers(&prefix("2001:db8:a:8000::/56")));
    let outputs = ask(&mut bench, 6, "2001:db8:a:8000::2");
    assert_eq!(sent(&outputs)[0].0, address("198.51.100.7:4342"));
}

#[test]
fn a_request_without_a_usable_itr_rloc_is_dropped() {
    let mut world = registered();
    for rloc in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1", "ff02::1", "fe80::1"] {
        let asked = ecm(&request(1, &[host("2001:db8:a::2")], &[rloc]));
        assert_eq!(world.datagram(0, ITR, &asked), [], "{rloc}");
    }
    assert_eq!(world.benches[0].only_refused(Refusal::RequestNoItrRloc), 6);
}

#[test]
fn a_flapping_site_is_published_at_once_and_then_every_ten_seconds() {
    let mut world = two(site_a());
    let subject = Subject::Prefix(prefix(SITE));
    for second in 0..30u64 {
        let rloc = format!("198.51.100.{}", 1 + second % 2);
        world.datagram(0, ETR, &sealed(1 + second, vec![record(prefix(SITE), &[&rloc])]));
        if second == 0 {
            assert_eq!(world.puts_of(subject), 1, "the first at once");
        }
        world.pass(Duration::from_secs(1));
    }
    assert!((3..=4).contains(&world.puts_of(subject)), "{}", world.puts_of(subject));
    assert_eq!(world.ask(1, 1, host("2001:db8:a::2")).records[0].locators.len(), 1);
}

#[test]
fn a_steady_site_is_signed_again_every_twenty_minutes() {
    let mut world = two(site_a());
    for minute in 0..61 {
        world.datagram(0, ETR, &sealed(1 + minute, vec![record(prefix(SITE), &["198.51.100.1"])]));
        world.pass(Duration::from_secs(60));
    }
    assert_eq!(world.puts_of(Subject::Prefix(prefix(SITE))), 4, "at 0, 20, 40 and 60 minutes");
}

#[test]
fn what_an_earlier_run_published_and_nobody_registers_again_is_withdrawn_after_three_minutes() {
    let now = std::time::SystemTime::now();
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    // Of two keys of one month the later one counts.
    let later = now + Duration::from_secs(2);
    let (key, next_key) = (identity.delegate(now, 0).unwrap(), identity.delegate(later, 0).unwrap());
    let anchor = anchor(SITE, key.cn());
    let mut world = World::new(vec![registrar(key, vec![site_a()]), resolver(vec![anchor])]);
    world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])]));
    let sequence = Sequence(world.now.wall.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64 + 1000);
    let memory = Memory { sequences: [(next_key.cn(), sequence)].into(), ..Memory::default() };
    world.benches[0] = Bench::with(registrar(next_key, vec![site_a()]), memory);
    world.pass(Duration::from_secs(170));
    assert_eq!(world.ask(1, 1, host("2001:db8:a::2")).records[0].locators.len(), 1, "it may come back");
    world.pass(Duration::from_secs(3600));
    assert_eq!(negative(&world.ask(1, 2, host("2001:db8:a::2"))).1, Action::NativelyForward);
    assert!(world.puts_of(Subject::Prefix(prefix(SITE))) >= 2);
}

#[test]
fn a_dht_that_comes_back_gets_everything_again() {
    let mut world = registered();
    world.pass(Duration::from_secs(60));
    let before = world.puts_of(Subject::Prefix(prefix(SITE)));
    world.benches[0].engine.handle(world.now, Input::DhtChanged);
    let outputs = world.benches[0].drain();
    world.settle(0, outputs);
    assert_eq!(world.puts_of(Subject::Prefix(prefix(SITE))), before + 1);
}

#[test]
fn a_newer_record_that_comes_late_replaces_what_was_answered() {
    let key = operational();
    let cn = key.cn();
    let anchor = anchor(SITE, cn);
    let mut world = World::new(vec![registrar(key, vec![site_a()]), resolver(vec![anchor])]);
    let (page, record_key) =
        (RecordKey::index(Network::LAB, cn, prefix(SITE)), RecordKey::prefix(Network::LAB, cn, prefix(SITE)));
    world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])]));
    world.pass(Duration::from_secs(20));
    let old = world.dht.get(world.now.wall, &record_key);
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.9"])]));
    world.pass(Duration::from_secs(20));
    let pages = world.dht.get(world.now.wall, &page);
    let new = world.dht.get(world.now.wall, &record_key);
    assert!(!old.is_empty() && !new.is_empty() && old != new);

    world.mode = Mode::Silent;
    let eid = host("2001:db8:a::2");
    let said = |world: &mut World, input| {
        world.benches[1].engine.handle(world.now, input);
        let outputs = world.benches[1].drain();
        let piped = world.settle(1, outputs).into_iter().filter_map(|output| match output {
            Output::Pipe { bytes } => Some(ControlMessage::decode(&bytes).unwrap()),
            _ => None,
        });
        piped.collect::<Vec<_>>()
    };
    world.pipe(1, &ecm(&request(1, &[eid], &[RLOC])));
    said(&mut world, Input::DhtValues { key: page, values: Some(pages) });
    let first = said(&mut world, Input::DhtValues { key: record_key, values: Some(old.clone()) });
    let [ControlMessage::MapReply(reply)] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(locators(&reply.records[0]), ["198.51.100.1"], "at once");
    let before = world.gets.len();
    let late = said(&mut world, Input::DhtNewer { key: record_key, values: [old, new].concat() });
    let [ControlMessage::MapRequest(smr)] = late.as_slice() else { panic!("{late:?}") };
    assert!(smr.smr && smr.source_eid.ip() == Some(eid.net.addr()));
    let reply = world.ask(1, 2, eid);
    assert_eq!(locators(&reply.records[0]), ["198.51.100.9"]);
    assert_eq!(world.gets.len(), before, "from the cache");
    world.pass(Duration::from_secs(60));
    let nothing = said(&mut world, Input::DhtNewer { key: record_key, values: vec![b"junk".to_vec()] });
    assert_eq!(nothing, [], "it is not read on for so long");
}

#[test]
fn values_that_nobody_asked_for_are_counted() {
    let mut world = registered();
    let key = RecordKey::node(Network::LAB, Cn([1; 12]));
    world.benches[1].engine.handle(world.now, Input::DhtValues { key, values: Some(vec![b"junk".to_vec()]) });
    assert_eq!(world.benches[1].only_refused(Refusal::ValuesUnasked), 1);
}

#[test]
fn no_bytes_from_the_network_make_the_engine_panic() {
    let mut world = registered();
    let seeds =
        [sealed(9, vec![record(prefix(SITE), &["198.51.100.1"])]), ecm(&request(1, &[host("2001:db8:a::2")], &[RLOC]))];
    for seed in &seeds {
        for at in 0..seed.len() {
            for bit in 0..8 {
                let mut bytes = seed.clone();
                bytes[at] ^= 1 << bit;
                let via = Via::Socket { local: address(SERVER), remote: address(ITR) };
                world.benches[1].engine.handle(world.now, Input::Datagram { via, bytes });
            }
        }
    }
    let outputs = world.benches[1].drain();
    let outputs = world.settle(1, outputs);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Persist(mapsys::engine::Mark::Nonce(..)))));
    assert_eq!(world.benches[1].registered(), []);
}

/// The addresses of a record's locators.
fn locators(record: &MappingRecord) -> Vec<String> {
    record.locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect()
}
