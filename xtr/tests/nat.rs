// SPDX-License-Identifier: GPL-2.0-or-later
//! NAT traversal in virtual time: an RTR that believes nobody but its Map-Servers, and an xTR that believes nobody but who it asked.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::rtr::{RtrAd, decode_data_map_notify, encode_data_map_notify};
use wire::control::{ControlMessage, Ecm, Info, MapNotify, MapRegister, MapReply, MapRequest, Nonce, XtrIdentity};
use wire::data::{FlowKey, OuterHeader};
use wire::record::Ttl;
use xtr::database::{Database, OwnLocator, RecordForm, withdrawal};
use xtr::engine::{Config, Control, Input, Output};
use xtr::itr::ItrConfig;
use xtr::map_cache::{Binding, Event, Forwarding, FromPort, Update};
use xtr::nat::natted::{self, Mode, Standing};
use xtr::nat::{limits, rtr};
use xtr::refusal::Refusal;
use xtr::register::Server;
use xtr::trace::{End, Packet};
use xtr::transport::{Destination, MapSystem, Via};

const XTR: &str = "10.0.0.2";
const NAT: &str = "192.0.2.2";
const RTR: &str = "203.0.113.2";
const SERVER: &str = "203.0.113.53";
const FAR_RLOC: &str = "192.0.2.80";
const EID: &str = "198.18.1.0/24";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

fn prefix(text: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
}

fn key(secret: &str) -> AuthKey {
    AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: Secret::new(secret) }
}

fn database(rlocs: &[&str], prefixes: &[&str]) -> Database {
    let locator = |text: &&str| OwnLocator { address: ip(text), priority: 1, weight: 100 };
    let prefixes = prefixes.iter().map(|text| prefix(text)).collect();
    Database::new(prefixes, rlocs.iter().map(locator).collect(), Ttl::DEFAULT)
}

/// What a node has sent, from and to, and told its packet half.
#[derive(Debug, Default)]
struct Done {
    sent: Vec<(Destination, Vec<u8>)>,
    updates: Vec<Update>,
    /// Of which binding the senders are to be named, and what they are to hear of.
    wanted: Vec<(EidPrefix, EidPrefix)>,
}

struct Node {
    control: Control,
    now: Instant,
}

impl Node {
    fn new(control: impl FnOnce(Instant) -> Control) -> Self {
        let now = Instant::now();
        Self { control: control(now), now }
    }

    fn rtr() -> Self {
        let mut node = Self::new(|now| {
            let config = rtr::Config {
                servers: vec![rtr::Server { address: ip(SERVER), key: key("of the rtr") }],
                iid: InstanceId(0),
            };
            Control::new(now, plain(database(&[RTR], &[]), vec![])).as_rtr(config)
        });
        node.done();
        node
    }

    fn natted(mode: Mode, rtrs: &[&str]) -> Self {
        let server = server(SERVER, "of the site");
        Self::new(|now| {
            let config = natted::Config {
                mode,
                rtrs: rtrs.iter().map(|text| ip(text)).collect(),
                servers: vec![natted::Server { address: ip(SERVER), key: key("of the site"), tag: TagForm::Truncated }],
                eid: prefix(EID),
            };
            let control = Control::new(now, plain(database(&[XTR], &[EID]), vec![server]));
            control.behind_nat(now, config, InstanceId(0), [3; 32])
        })
    }

    fn done(&mut self) -> Done {
        self.control.handle_timeout(self.now);
        let mut done = Done::default();
        while let Some(output) = self.control.poll() {
            match output {
                Output::Send(outgoing) => done.sent.push((outgoing.to, outgoing.bytes)),
                Output::Update(update) => done.updates.push(update),
                Output::WantSenders { bound, about } => done.wanted.push((bound, about)),
                Output::PersistNonce(_) | Output::PersistHeard(_) | Output::PersistTold(_) => {}
            }
        }
        done
    }

    fn wait(&mut self, time: Duration) -> Done {
        let (end, mut all) = (self.now + time, self.done());
        while let Some(deadline) = self.control.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            let done = self.done();
            all.sent.extend(done.sent);
            all.updates.extend(done.updates);
            all.wanted.extend(done.wanted);
        }
        self.now = end;
        all
    }

    fn come(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) -> Done {
        self.control.handle(self.now, Input::Datagram { via: Via::Socket { local, remote }, bytes });
        self.done()
    }

    fn come_to_data_port(&mut self, from: SocketAddr, bytes: Vec<u8>) -> Done {
        self.control.handle(self.now, Input::Event(Event::Control { from, to: ip(XTR), bytes }));
        self.done()
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.control.tally().get(refusal)
    }

    fn bound(&self) -> Vec<(EidPrefix, SocketAddr)> {
        self.control.rtr().unwrap().bound().map(|bound| (bound.prefix, bound.at)).collect()
    }
}

fn plain(database: Database, servers: Vec<Server>) -> Config {
    let resolvers = vec![MapSystem::Node(ip(SERVER))];
    Config { database, cgeid_network: None, servers, resolvers, nonce_floor: Nonce(9), seed: [7; 32] }
}

/// The header that `lisp-xtr trace` shows.
fn trace(node: &Node, source: &str, destination: &str) -> OuterHeader {
    let flow = FlowKey { source: ip(source), destination: ip(destination), ports: None };
    let itr = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    let trace = Packet { iid: InstanceId(0), flow }.trace(node.now, &node.control, &itr);
    match trace.end {
        End::Encapsulated(outer) if trace.binding.is_some() => outer,
        other => panic!("{other:?}"),
    }
}

// --- the RTR

fn register(nonce: u64, records: Vec<wire::record::MappingRecord>) -> Vec<u8> {
    let message = MapRegister { want_notify: true, nonce: Nonce(nonce), records, ..MapRegister::default() };
    auth::seal(&ControlMessage::from(message), &key("of the site"), TagForm::Truncated).unwrap()
}

fn record(text: &str) -> wire::record::MappingRecord {
    database(&[RTR], &[]).record(prefix(text), RecordForm { authoritative: false, probed: None })
}

/// A Map-Register as an xTR behind the NAT sends it.
fn to_rtr(server: &str, message: Vec<u8>) -> Vec<u8> {
    let ecm = Ecm { for_rtr: true, ..Ecm::wrap(at(XTR, 4342), at(server, 4342), message) };
    ecm.encode().unwrap()
}

/// The Map-Notify of a Map-Server, under this key.
fn notify(nonce: u64, records: Vec<wire::record::MappingRecord>, secret: &str) -> Vec<u8> {
    let message = MapNotify { nonce: Nonce(nonce), records, ..MapNotify::default() };
    let message = auth::seal(&ControlMessage::from(message), &key("of the site"), TagForm::Truncated).unwrap();
    let security = Some(RtrAd::seal(&message, &key(secret)).unwrap().encode().unwrap());
    let ecm = Ecm { for_rtr: true, security, ..Ecm::wrap(at(SERVER, 4342), at(XTR, 4342), message) };
    ecm.encode().unwrap()
}

impl Node {
    fn relays(&mut self, from: SocketAddr, nonce: u64, records: Vec<wire::record::MappingRecord>) -> Done {
        let done = self.come(at(RTR, 4342), from, &to_rtr(SERVER, register(nonce, records.clone())));
        assert_eq!(done.sent.len(), 1, "{done:?}");
        self.come(at(RTR, 4342), at(SERVER, 4342), &notify(nonce, records, "of the rtr"))
    }
}

#[test]
fn a_map_register_is_relayed_and_binds_when_its_map_server_has_accepted_it() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    let message = register(5, vec![record(EID)]);
    let done = node.come(at(RTR, 4342), nat, &to_rtr(SERVER, message.clone()));
    let [(Destination::Socket { local, remote }, bytes)] = done.sent.as_slice() else { panic!("{done:?}") };
    assert_eq!((*local, *remote), (ip(RTR), at(SERVER, 4342)));
    let relayed = Ecm::decode(bytes).unwrap();
    assert!(relayed.by_rtr && !relayed.for_rtr && relayed.message == message, "as it came: {relayed:?}");
    assert!(done.updates.is_empty() && node.bound().is_empty(), "nothing yet");

    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &notify(5, vec![record(EID)], "of the rtr"));
    let [(Destination::Socket { local, remote }, bytes)] = done.sent.as_slice() else { panic!("{done:?}") };
    assert_eq!((*local, *remote), (ip(RTR), nat), "through the binding");
    let handed_back = decode_data_map_notify(bytes).unwrap();
    assert_eq!((handed_back.source, handed_back.destination), (at(SERVER, 4342), at(XTR, 4342)));
    assert_eq!(MapNotify::decode(&handed_back.message).unwrap().nonce, Nonce(5));
    let binding = Binding { address: ip(NAT), port: 50_001, from: FromPort::Control, source: ip(RTR) };
    assert_eq!(done.updates[0], Update::Relayed { prefix: prefix(EID), nat: Some(ip(NAT)) });
    assert!(
        matches!(&done.updates[1], Update::Upsert { prefix: at, entry }
            if *at == prefix(EID) && entry.forwarding == Forwarding::Binding(binding)),
        "{done:?}"
    );
    assert_eq!(node.bound(), [(prefix(EID), nat)]);
}

#[test]
fn a_binding_follows_the_nat_and_ends_with_the_registrations() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    node.wait(Duration::from_secs(100));
    let done = node.relays(at(NAT, 50_777), 6, vec![record(EID)]);
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_777))]);
    assert_eq!(done.updates.len(), 2);
    assert!(node.wait(Duration::from_secs(179)).updates.is_empty(), "since the second one");
    let done = node.wait(Duration::from_secs(1));
    let ended = [Update::Remove { prefix: prefix(EID) }, Update::Relayed { prefix: prefix(EID), nat: None }];
    assert_eq!((done.updates.as_slice(), node.bound().len()), (&ended[..], 0));
    node.relays(at(NAT, 50_001), 7, vec![record(EID)]);
    let done = node.relays(at(NAT, 50_001), 8, vec![withdrawal(prefix(EID))]);
    assert_eq!((done.updates.as_slice(), node.bound().len()), (&ended[..], 0), "taken back");
}

#[test]
fn what_no_map_server_vouches_for_moves_nothing() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    let thief = at("192.0.2.66", 4341);
    node.come(at(RTR, 4342), thief, &to_rtr(SERVER, register(66, vec![record(EID)])));
    // He knows the nonce, and can write whatever source he likes.
    let forged = notify(66, vec![record(EID)], "of the site");
    let bare = Ecm { security: None, ..Ecm::decode(&forged).unwrap() }.encode().unwrap();
    for (from, bytes) in
        [(SERVER, &forged), (SERVER, &bare), ("192.0.2.66", &notify(66, vec![record(EID)], "of the rtr"))]
    {
        assert!(node.come(at(RTR, 4342), at(from, 4342), bytes).updates.is_empty());
    }
    assert_eq!(node.refused(Refusal::RelayNotifyBadTag), 3);
    // A Map-Server of his own.
    assert!(node.come(at(RTR, 4342), thief, &to_rtr("192.0.2.66", register(67, vec![record(EID)]))).sent.is_empty());
    assert_eq!(node.refused(Refusal::RelayServerUnknown), 1);
    // The last Map-Register of the xTR, as he has seen it go by.
    assert!(node.come(at(RTR, 4342), thief, &to_rtr(SERVER, register(5, vec![record(EID)]))).sent.is_empty());
    assert_eq!(node.refused(Refusal::RelayReplayed), 1);
    // A Map-Notify once more, or for other prefixes than were registered.
    node.come(at(RTR, 4342), at(SERVER, 4342), &notify(5, vec![record(EID)], "of the rtr"));
    assert_eq!(node.refused(Refusal::RelayNotifyUnasked), 1);
    node.come(at(RTR, 4342), thief, &to_rtr(SERVER, register(68, vec![record(EID)])));
    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &notify(68, vec![record("198.18.9.0/24")], "of the rtr"));
    assert!(done.updates.is_empty());
    // Another site's xTR may have the same nonce at the same time.
    let other = at(NAT, 50_002);
    node.relays(other, 68, vec![record("198.18.9.0/24")]);
    assert_eq!(node.bound().last(), Some(&(prefix("198.18.9.0/24"), other)));
    node.relays(other, 69, vec![withdrawal(prefix("198.18.9.0/24"))]);
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_001))]);
}

#[test]
fn a_flood_of_map_registers_pushes_out_itself() {
    let mut node = Node::rtr();
    for nonce in 0..20_000u32 {
        let from = SocketAddr::new(IpAddr::from((0x0a00_0000 + nonce / 40).to_be_bytes()), 4341);
        let bytes = to_rtr(SERVER, register(u64::from(nonce) + 100, vec![record("198.18.9.0/24")]));
        node.come(at(RTR, 4342), from, &bytes);
    }
    assert!(node.refused(Refusal::RelayTableFull) > 0);
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_001))]);
}

#[test]
fn an_info_request_is_answered_with_what_was_seen_and_leaves_nothing() {
    let mut node = Node::rtr();
    let request = Info { nonce: Nonce(77), ..Info::default() };
    let mut bytes = request.encode().unwrap();
    bytes.resize(64, 0);
    let done = node.come(at(RTR, 4342), at(NAT, 50_001), &bytes);
    let [(Destination::Socket { remote, .. }, reply)] = done.sent.as_slice() else { panic!("{done:?}") };
    assert_eq!(*remote, at(NAT, 50_001));
    assert!(reply.len() <= 3 * bytes.len());
    let reply = Info::decode(reply).unwrap();
    let nat = reply.nat().unwrap();
    assert!(reply.reply && reply.nonce == Nonce(77));
    assert_eq!((nat.global_etr.ip(), nat.etr_port), (Some(ip(NAT)), 50_001));
    assert_eq!((nat.ms.ip(), nat.ms_port), (Some(ip(RTR)), 4342));
    assert_eq!(nat.rtrs, [ip(RTR).into()]);
    assert!(done.updates.is_empty() && node.bound().is_empty());

    let flood = (0..1000).filter(|_| !node.come(at(RTR, 4342), at(NAT, 50_001), &bytes).sent.is_empty()).count();
    assert!(flood < 1 + limits::INFO_REQUESTS as usize, "{flood}");
    assert!(node.refused(Refusal::InfoRateLimited) > 800);
    node.come(at(RTR, 4342), at(NAT, 50_001), &Info { reply: true, ..request }.encode().unwrap());
    assert_eq!(node.refused(Refusal::InfoUnasked), 1);
}

#[test]
fn what_the_mapping_system_says_of_a_bound_prefix_does_not_replace_the_binding() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    let done = |node: &mut Node, event| {
        node.control.handle(node.now, Input::Event(event));
        node.done()
    };
    assert!(done(&mut node, Event::Refresh { prefix: prefix(EID) }).sent.is_empty());
    let eid = prefix("198.18.1.9/32");
    let asked = done(&mut node, Event::Source { eid, rloc: ip("192.0.2.66") });
    let request = Ecm::decode(&asked.sent[0].1).unwrap();
    let ControlMessage::MapRequest(request) = ControlMessage::decode(&request.message).unwrap() else { panic!() };
    let reply = wire::control::MapReply { nonce: request.nonce, records: vec![record(EID)], ..Default::default() };
    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &reply.encode().unwrap());
    assert!(!done.updates.iter().any(|update| matches!(update, Update::Upsert { .. })), "{done:?}");
}

/// An ITR with a mapping of [`EID`] behind the RTR, whose probe of that locator is returned.
fn itr_that_probes(mapping: &wire::record::MappingRecord) -> (Node, Vec<u8>) {
    let mut itr = Node::new(|now| Control::new(now, plain(database(&[FAR_RLOC], &["198.18.2.0/24"]), vec![])));
    itr.control.handle(itr.now, Input::Event(Event::Miss { eid: prefix("198.18.1.9/32"), source: ip("198.18.2.2") }));
    let asked = itr.done().sent.remove(0).1;
    let message = Ecm::decode(&asked).unwrap().message;
    let ControlMessage::MapRequest(request) = ControlMessage::decode(&message).unwrap() else { panic!() };
    let reply = MapReply { nonce: request.nonce, records: vec![mapping.clone()], ..MapReply::default() };
    itr.come(at(FAR_RLOC, 4342), at(SERVER, 4342), &reply.encode().unwrap());
    let to_rtr = |to: &Destination| matches!(to, Destination::Socket { remote, .. } if *remote == at(RTR, 4342));
    let sent = itr.wait(Duration::from_secs(2)).sent;
    let probe = sent.into_iter().rfind(|(to, _)| to_rtr(to)).unwrap().1;
    assert!(MapRequest::decode(&probe).unwrap().probe);
    (itr, probe)
}

#[test]
fn a_probe_about_what_is_behind_a_nat_is_answered_with_its_mapping_and_nobody_asks_the_mapping_system() {
    // Another RTR has a binding too: the Map-Server knows the whole mapping.
    let mut mapping =
        database(&[RTR, "203.0.113.3"], &[]).record(prefix(EID), RecordForm { authoritative: false, probed: None });
    mapping.locators.iter_mut().for_each(|locator| locator.local = false);
    let mut rtr = Node::rtr();
    rtr.relays(at(NAT, 50_001), 5, vec![mapping.clone()]);
    let (mut itr, probe) = itr_that_probes(&mapping);
    let answer = rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &probe).sent.remove(0).1;
    let reply = MapReply::decode(&answer).unwrap();
    let [said] = reply.records.as_slice() else { panic!("{reply:?}") };
    assert!(reply.probe && said.authoritative && said.eid.ip_prefix() == Some(prefix(EID)), "{said:?}");
    let bits: Vec<_> = said.locators.iter().map(|one| (one.rloc.ip().unwrap(), one.probed, one.local)).collect();
    assert_eq!(bits, [(ip(RTR), true, true), (ip("203.0.113.3"), false, false)]);
    let asked = |done: &Done| done.sent.iter().filter(|(_, bytes)| Ecm::decode(bytes).is_ok()).count();
    let asks = |itr: &mut Node, answer: &[u8]| {
        let at_once = asked(&itr.come(at(FAR_RLOC, 4342), at(RTR, 4342), answer));
        at_once + asked(&itr.wait(Duration::from_secs(5)))
    };
    assert_eq!(asks(&mut itr, &answer), 0, "it agrees");
    assert_eq!(itr.control.counts().probes_answered, 1);

    // What is registered otherwise meanwhile is what it hears, and is looked after; what has left is in no answer.
    let (mut other, probe) = itr_that_probes(&mapping);
    rtr.relays(at(NAT, 50_001), 6, vec![record(EID)]);
    let answer = rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &probe).sent.remove(0).1;
    assert_eq!(MapReply::decode(&answer).unwrap().records[0].locators.len(), 1);
    assert!(asks(&mut other, &answer) > 0, "it disagrees");
    let says_nothing = |rtr: &mut Node| {
        let answer = rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &probe).sent.remove(0).1;
        assert_eq!(MapReply::decode(&answer).unwrap().records, []);
    };
    rtr.wait(limits::VOUCHED);
    assert_eq!(rtr.bound().len(), 1, "packets still go there");
    says_nothing(&mut rtr);
    rtr.wait(limits::BINDING - limits::VOUCHED);
    says_nothing(&mut rtr);
    // What is a part of a mapping only is no answer.
    let mut merging = MapRegister::decode(&register(8, vec![record(EID)])).unwrap();
    merging.merge = true;
    for (nonce, records, message) in
        [(8, vec![record(EID)], merging.encode().unwrap()), (9, vec![long_record()], register(9, vec![long_record()]))]
    {
        rtr.come(at(RTR, 4342), at(NAT, 50_001), &to_rtr(SERVER, message));
        rtr.come(at(RTR, 4342), at(SERVER, 4342), &notify(nonce, records, "of the rtr"));
        assert_eq!(rtr.bound().len(), 1);
        says_nothing(&mut rtr);
    }
    // More records than a sender may probe with at a time are no reason to say nothing of the others (RFC 9301, section 5.2).
    rtr.wait(Duration::from_secs(10));
    rtr.relays(at(NAT, 50_001), 10, vec![record(EID)]);
    let mut many = MapRequest::decode(&probe).unwrap();
    many.records.resize(6, many.records[0].clone());
    let answer = rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &many.encode().unwrap()).sent.remove(0).1;
    assert_eq!(MapReply::decode(&answer).unwrap().records.len(), 1);
    // Map-Requests that are no probes are the mapping system's to answer.
    let request = MapRequest { probe: false, ..MapRequest::decode(&probe).unwrap() };
    rtr.relays(at(NAT, 50_001), 11, vec![record(EID)]);
    assert!(rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &request.encode().unwrap()).sent.is_empty());
}

/// With more locators than an RTR keeps.
fn long_record() -> wire::record::MappingRecord {
    let mut long = record(EID);
    long.locators.resize(limits::LOCATORS + 1, long.locators[0].clone());
    long
}

#[test]
fn what_was_registered_through_this_rtr_and_is_no_longer_does_not_go_round() {
    let mut node = Node::rtr();
    let eid = prefix("198.18.1.9/32");
    node.control.handle(node.now, Input::Event(Event::Miss { eid, source: ip("198.18.2.2") }));
    let asked = node.done();
    let ControlMessage::MapRequest(request) =
        ControlMessage::decode(&Ecm::decode(&asked.sent[0].1).unwrap().message).unwrap()
    else {
        panic!("{asked:?}")
    };
    let both =
        database(&[RTR, "203.0.113.9"], &[]).record(prefix(EID), RecordForm { authoritative: false, probed: None });
    let reply = wire::control::MapReply { nonce: request.nonce, records: vec![both], ..Default::default() };
    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &reply.encode().unwrap());
    let [Update::Upsert { entry, .. }] = done.updates.as_slice() else { panic!("{done:?}") };
    let Forwarding::Locators(locators) = &entry.forwarding else { panic!("{entry:?}") };
    assert_eq!(locators.iter().map(|locator| locator.address).collect::<Vec<_>>(), [ip("203.0.113.9")]);
}

fn server(address: &str, secret: &str) -> Server {
    Server {
        to: MapSystem::Node(ip(address)),
        key: key(secret),
        tag: TagForm::Truncated,
        narrow_coverage: false,
        proxy_reply: false,
        identity: Some(XtrIdentity { xtr_id: [7; 16], site_id: 0 }),
        prefixes: vec![prefix(EID)],
    }
}

impl Node {
    fn take(&mut self, servers: Vec<Server>) -> Done {
        let resolvers = vec![MapSystem::Node(ip(SERVER))];
        self.control.handle(self.now, Input::MapSystems { servers, resolvers, subscriptions: vec![] });
        self.done()
    }
}

#[test]
fn an_rtr_takes_over_the_key_that_it_shares_and_other_map_servers() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    node.take(vec![server(SERVER, "renewed"), server("203.0.113.54", "renewed")]);
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_001))], "what is bound stays");
    let sent = node.come(at(RTR, 4342), at(NAT, 50_777), &to_rtr(SERVER, register(6, vec![record(EID)]))).sent;
    assert!(!sent.is_empty());
    node.come(at(RTR, 4342), at(SERVER, 4342), &notify(6, vec![record(EID)], "of the rtr"));
    assert_eq!(node.refused(Refusal::RelayNotifyBadTag), 1);
    node.come(at(RTR, 4342), at(SERVER, 4342), &notify(6, vec![record(EID)], "renewed"));
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_777))]);
    let to_other = to_rtr("203.0.113.54", register(7, vec![record(EID)]));
    assert_eq!(node.come(at(RTR, 4342), at(NAT, 50_777), &to_other).sent[0].0.remote(), at("203.0.113.54", 4342));
}

trait Remote {
    fn remote(&self) -> SocketAddr;
}

impl Remote for Destination {
    fn remote(&self) -> SocketAddr {
        match self {
            Self::Socket { remote, .. } | Self::DataPort { remote, .. } => *remote,
            Self::Pipe => panic!("the pipe"),
        }
    }
}

#[test]
fn who_writes_the_address_of_a_nat_uses_up_nothing_of_the_bindings_behind_it() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    node.relays(nat, 5, vec![record(EID)]);
    let request = Info { nonce: Nonce(77), ..Info::default() };
    let mut info = request.encode().unwrap();
    info.resize(64, 0);
    for port in 10_000..11_000 {
        node.come(at(RTR, 4342), at(NAT, port), &info);
        let message = register(u64::from(port), vec![record("198.18.9.0/24")]);
        node.come(at(RTR, 4342), at(NAT, port), &to_rtr(SERVER, message));
    }
    assert!(node.refused(Refusal::InfoRateLimited) > 0 && node.refused(Refusal::RelayRateLimited) > 0);
    assert_eq!(node.come(at(RTR, 4342), nat, &info).sent.len(), 1);
    node.relays(nat, 6, vec![record(EID)]);
    // What is relayed to nobody is not counted at all.
    let mut node = Node::rtr();
    for nonce in 0..1000 {
        node.come(at(RTR, 4342), nat, &to_rtr("192.0.2.66", register(nonce, vec![record(EID)])));
    }
    node.relays(nat, 5, vec![record(EID)]);
    // Of one binding there is a rate too.
    let sent = (100..1100).filter(|nonce| {
        !node.come(at(RTR, 4342), nat, &to_rtr(SERVER, register(*nonce, vec![record(EID)]))).sent.is_empty()
    });
    assert!(sent.count() <= limits::REGISTERS as usize);
}

#[test]
fn a_binding_is_reached_from_the_address_that_its_map_register_came_to() {
    const OTHER: &str = "203.0.113.3";
    let mut node = Node::rtr();
    let locator = |text| OwnLocator { address: ip(text), priority: 1, weight: 100 };
    node.control.handle(node.now, Input::Locators(vec![locator(RTR), locator(OTHER)]));
    node.done();
    let nat = at(NAT, 50_001);
    node.come(at(OTHER, 4342), nat, &to_rtr(SERVER, register(5, vec![record(EID)])));
    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &notify(5, vec![record(EID)], "of the rtr"));
    let binding = Binding { address: ip(NAT), port: 50_001, from: FromPort::Control, source: ip(OTHER) };
    assert!(
        matches!(&done.updates[1], Update::Upsert { entry, .. } if entry.forwarding == Forwarding::Binding(binding)),
        "{done:?}"
    );
    assert_eq!(done.sent[0].0, Destination::Socket { local: ip(OTHER), remote: nat });
    assert_eq!(node.control.binding_for(InstanceId(0), ip("198.18.1.9")), Some((prefix(EID), binding)));
    assert_eq!(node.control.binding_for(InstanceId(0), ip("198.18.2.9")), None);
    let traced = trace(&node, "198.18.2.9", "198.18.1.9");
    assert_eq!((traced.source, traced.destination_port), (ip(OTHER), 50_001));
}

#[test]
fn a_part_of_a_bound_prefix_that_is_somebody_elses_goes_to_him() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    let part = "198.18.1.128/25";
    let of =
        |rlocs: &[&str]| database(rlocs, &[]).record(prefix(part), RecordForm { authoritative: false, probed: None });
    let mut said = |rlocs: &[&str]| {
        node.wait(Duration::from_secs(2));
        let eid = prefix("198.18.1.129/32");
        node.control.handle(node.now, Input::Event(Event::Source { eid, rloc: ip("192.0.2.66") }));
        let asked = node.done();
        let request = Ecm::decode(&asked.sent[0].1).unwrap();
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&request.message).unwrap() else { panic!() };
        let reply = wire::control::MapReply { nonce: request.nonce, records: vec![of(rlocs)], ..Default::default() };
        let done = node.come(at(RTR, 4342), at(SERVER, 4342), &reply.encode().unwrap());
        done.updates.into_iter().any(|update| matches!(update, Update::Upsert { prefix: at, .. } if at == prefix(part)))
    };
    assert!(!said(&[RTR]), "it goes round");
    assert!(said(&["203.0.113.9"]));
}

// --- the xTR behind a NAT

#[test]
fn other_map_servers_are_asked_for_their_rtrs_under_their_keys() {
    const OTHER: &str = "203.0.113.54";
    let mut node = Node::natted(Mode::Auto, &[]);
    assert!(asked(&node.done(), at(SERVER, 4342)).is_some());
    let done = node.take(vec![server(OTHER, "of the other")]);
    let nonce = asked(&done, at(OTHER, 4342)).unwrap();
    let reply = Info { nonce, ..Info::default() }.answer(at(NAT, 50_001), at(OTHER, 4342), &[ip(RTR)]);
    let sealed = |secret: &str| auth::seal(&reply.clone().into(), &key(secret), TagForm::Truncated).unwrap();
    node.come(at(XTR, 4342), at(OTHER, 4342), &sealed("of the site"));
    assert_eq!(node.refused(Refusal::InfoBadTag), 1);
    let done = node.take(vec![server(OTHER, "of the other")]);
    assert_eq!(asked(&done, at(OTHER, 4342)), None, "the same again is no news");
    let done = node.come(at(XTR, 4342), at(OTHER, 4342), &sealed("of the other"));
    assert!(asked(&done, at(RTR, 4342)).is_some(), "{done:?}");
    assert_eq!(asked(&node.wait(Duration::from_secs(60)), at(SERVER, 4342)), None);
}

/// The nonce of the Info-Request that was sent to there, if one was.
fn asked(done: &Done, remote: SocketAddr) -> Option<Nonce> {
    let requests = done.sent.iter().filter_map(|(to, bytes)| match (to, ControlMessage::decode(bytes)) {
        (
            Destination::DataPort { remote, local } | Destination::Socket { remote, local },
            Ok(ControlMessage::Info(info)),
        ) => {
            assert_eq!(*local, ip(XTR));
            Some((*remote, info.nonce))
        }
        _ => None,
    });
    requests.filter(|(to, _)| *to == remote).map(|(_, nonce)| nonce).next_back()
}

fn seen(nonce: Nonce, address: &str, port: u16) -> Vec<u8> {
    Info { nonce, ..Info::default() }.answer(at(address, port), at(RTR, 4342), &[ip(RTR)]).encode().unwrap()
}

/// What was sent in ECMs to the control port of this address of an RTR, from the data port.
fn to_address<'d>(done: &'d Done, rtr: &str) -> Vec<(&'d [u8], MapRegister)> {
    let remote = at(rtr, 4342);
    let there = done.sent.iter().filter(|(to, _)| *to == Destination::DataPort { local: ip(XTR), remote });
    let register = |bytes: &'d [u8]| Some((bytes, MapRegister::decode(&Ecm::decode(bytes).ok()?.message).ok()?));
    there.filter_map(|(_, bytes)| register(bytes)).collect()
}

/// An xTR that both addresses of its RTR see behind a NAT, and what it has sent to them.
fn behind_two_addresses(addresses: [&str; 2]) -> (Node, Done) {
    let mut node = Node::natted(Mode::On, &addresses);
    let begun = node.done();
    let mut sent = Done::default();
    for (address, port) in addresses.into_iter().zip([50_001, 50_002]) {
        let nonce = asked(&begun, at(address, 4342)).unwrap();
        sent = node.come_to_data_port(at(address, 4342), seen(nonce, NAT, port));
    }
    (node, sent)
}

#[test]
fn two_addresses_of_one_rtr_take_a_map_register_each_behind_a_nat_that_shows_two_ports() {
    let addresses = [RTR, "203.0.113.3"];
    let (_, sent) = behind_two_addresses(addresses);
    let mut rtr = Node::rtr();
    let locator = |text| OwnLocator { address: ip(text), priority: 1, weight: 100 };
    rtr.control.handle(rtr.now, Input::Locators(addresses.map(locator).to_vec()));
    rtr.done();
    let mut nonces = Vec::new();
    for (address, port) in addresses.into_iter().zip([50_001, 50_002]) {
        let registers = to_address(&sent, address);
        let [(bytes, message)] = registers.as_slice() else { panic!("{address}: {sent:?}") };
        let relayed = rtr.come(at(address, 4342), at(NAT, port), bytes);
        assert_eq!(relayed.sent.len(), 1, "{address}: {relayed:?}");
        rtr.come(at(RTR, 4342), at(SERVER, 4342), &notify(message.nonce.0, message.records.clone(), "of the rtr"));
        assert_eq!(rtr.bound(), [(prefix(EID), at(NAT, port))]);
        nonces.push(message.nonce);
    }
    assert!(nonces.is_sorted() && nonces[0] != nonces[1], "{nonces:?}");
    assert_eq!(rtr.refused(Refusal::RelayReplayed), 0);
}

#[test]
fn an_rtr_whose_map_register_was_not_confirmed_gets_another_one_and_the_others_do_not() {
    let addresses = [RTR, "203.0.113.3"];
    let (mut node, sent) = behind_two_addresses(addresses);
    let confirm = |node: &mut Node, from: &str, message: &MapRegister| {
        let notify = MapNotify { nonce: message.nonce, records: message.records.clone(), ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::from(notify), &key("of the site"), TagForm::Truncated).unwrap();
        let ecm = Ecm::wrap(at(SERVER, 4342), at(XTR, 4342), bytes);
        node.come_to_data_port(at(from, 4342), encode_data_map_notify(&ecm).unwrap());
    };
    // The first one comes behind the second: a Map-Server that wants rising nonces refuses it.
    let second = to_address(&sent, addresses[1]).remove(0).1;
    confirm(&mut node, addresses[1], &second);
    assert!(node.control.registrations(node.now).next().unwrap().confirmed_ago.is_some());
    let mut again = node.wait(Duration::from_secs(1));
    assert_eq!(to_address(&again, addresses[1]).len(), 0, "{again:?}");
    let first = to_address(&again, addresses[0]).remove(0).1;
    assert!(first.nonce > second.nonce);
    confirm(&mut node, addresses[0], &first);
    // Those who see us are asked all the while.
    let mut registered = Vec::new();
    for _ in 0..70 {
        again = node.wait(Duration::from_secs(1));
        let mut messages: Vec<_> = addresses
            .iter()
            .flat_map(|address| to_address(&again, address).into_iter().map(|(_, message)| (message.nonce, *address)))
            .collect();
        messages.sort();
        registered.extend(messages.into_iter().map(|(_, address)| address));
        for address in addresses {
            if let Some(nonce) = asked(&again, at(address, 4342)) {
                let port = if address == RTR { 50_001 } else { 50_002 };
                node.come_to_data_port(at(address, 4342), seen(nonce, NAT, port));
            }
        }
    }
    assert_eq!(registered[..2], [addresses[1], addresses[0]], "a minute later, the one that was behind as the last");
}

/// The Map-Registers that were sent through an RTR.
fn registers(done: &Done) -> Vec<(Ecm, MapRegister)> {
    let relayed = done.sent.iter().filter_map(|(to, bytes)| {
        let ecm = Ecm::decode(bytes).ok()?;
        assert_eq!(*to, Destination::DataPort { local: ip(XTR), remote: at(RTR, 4342) }, "from the data port");
        let message = MapRegister::decode(&ecm.message).ok()?;
        Some((ecm, message))
    });
    relayed.collect()
}

#[test]
fn behind_a_nat_everything_goes_through_the_rtr() {
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let begun = node.done();
    assert_eq!(begun.sent.len(), 1, "nothing is registered before it is known how: {begun:?}");
    assert!(begun.updates.contains(&Update::Rtrs(vec![ip(RTR)])));
    let nonce = asked(&begun, at(RTR, 4342)).unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    let found = registers(&done);
    let [(ecm, message)] = found.as_slice() else { panic!("{done:?}") };
    assert!(ecm.for_rtr && message.through_rtr && message.proxy_reply && message.want_notify);
    assert_eq!((ecm.source, ecm.destination), (at(XTR, 4342), at(SERVER, 4342)));
    assert!(message.xtr_identity.is_some());
    let locator = &message.records[0].locators[0];
    assert_eq!((locator.rloc.ip(), locator.local, locator.reachable), (Some(ip(RTR)), false, true));
    let way = Forwarding::Binding(Binding { address: ip(RTR), port: 4341, from: FromPort::Data, source: ip(XTR) });
    for whole in ["0.0.0.0/0", "::/0"] {
        let leads = |update: &Update| matches!(update, Update::Upsert { prefix: at, entry } if *at == prefix(whole) && entry.forwarding == way);
        assert!(done.updates.iter().any(leads), "{whole}: {done:?}");
    }

    let traced = trace(&node, "198.18.1.2", "198.18.2.2");
    assert_eq!((traced.source_port, traced.destination, traced.destination_port), (4341, ip(RTR), 4341));
    let confirmed = |node: &Node| node.control.registrations(node.now).next().unwrap().confirmed_ago.is_some();
    let notify = |secret: &str| {
        let records = message.records.clone();
        let notify = MapNotify { nonce: message.nonce, records, ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::from(notify), &key(secret), TagForm::Truncated).unwrap();
        encode_data_map_notify(&Ecm::wrap(at(SERVER, 4342), at(XTR, 4342), bytes)).unwrap()
    };
    node.come_to_data_port(at("192.0.2.66", 4342), notify("of the site"));
    node.come_to_data_port(at(RTR, 4342), notify("of the rtr"));
    assert!(!confirmed(&node), "of a stranger, or of an RTR that made it up");
    node.come_to_data_port(at(RTR, 4342), notify("of the site"));
    assert!(confirmed(&node));

    let eid = prefix("198.18.2.2/32");
    node.control.handle(node.now, Input::Event(Event::Miss { eid, source: ip("198.18.1.2") }));
    assert!(node.done().sent.is_empty(), "no answer to a Map-Request would get in");
}

/// The Map-Request that was sent to the mapping system.
fn question(done: &Done) -> Option<wire::control::MapRequest> {
    done.sent.iter().find_map(|(_, bytes)| {
        let ControlMessage::Ecm(ecm) = ControlMessage::decode(bytes).ok()? else { return None };
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).ok()? else { return None };
        Some(request)
    })
}

#[test]
fn what_the_mapping_system_says_leads_nobody_past_the_rtr_of_a_node_that_has_come_behind_a_nat() {
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let standing = |node: &Node| node.control.natted().unwrap().standing().clone();
    let miss = |node: &mut Node, eid: &str| {
        let event = Event::Miss { eid: prefix(eid), source: ip("198.18.1.2") };
        node.control.handle(node.now, Input::Event(event));
        question(&node.done())
    };
    let answer = |node: &mut Node, request: wire::control::MapRequest, eid: &str| {
        let reply = wire::control::MapReply { nonce: request.nonce, records: vec![record(eid)], ..Default::default() };
        node.come(at(XTR, 4342), at(SERVER, 4342), &reply.encode().unwrap()).updates
    };
    let leads = |updates: &[Update]| updates.iter().any(|update| matches!(update, Update::Upsert { .. }));
    let nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    node.come_to_data_port(at(RTR, 4342), seen(nonce, XTR, 4341));
    assert_eq!(standing(&node), Standing::Direct);
    let request = miss(&mut node, "198.18.9.2/32").unwrap();
    assert!(leads(&answer(&mut node, request, "198.18.9.0/24")));

    let nonce = asked(&node.wait(limits::LOOK_AGAIN), at(RTR, 4342)).unwrap();
    let under_way = miss(&mut node, "198.18.8.2/32").unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    assert!(matches!(standing(&node), Standing::Behind(_)));
    assert!(done.updates.contains(&Update::Remove { prefix: prefix("198.18.9.0/24") }));
    let updates = answer(&mut node, under_way, "198.18.8.0/24");
    assert!(!leads(&updates), "{updates:?}");
    assert_eq!(node.control.map_cache(node.now).count(), 0, "nothing is shown that is not so");

    let nonce = asked(&node.wait(limits::KEEPALIVE), at(RTR, 4342)).unwrap();
    node.come_to_data_port(at(RTR, 4342), seen(nonce, XTR, 4341));
    assert_eq!(standing(&node), Standing::Direct);
    let request = miss(&mut node, "198.18.8.2/32").unwrap();
    assert!(leads(&answer(&mut node, request, "198.18.8.0/24")), "it is asked for anew");
}

#[test]
fn an_info_reply_counts_for_its_nonce_from_the_address_asked_and_once() {
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    let standing = |node: &Node| node.control.natted().unwrap().standing().clone();
    node.come_to_data_port(at(RTR, 4342), seen(Nonce(nonce.0 ^ 1), NAT, 50_001));
    node.come_to_data_port(at("192.0.2.66", 4342), seen(nonce, NAT, 50_001));
    node.come_to_data_port(at(RTR, 4341), seen(nonce, NAT, 50_001));
    let request = Info { nonce, ..Info::default() }.encode().unwrap();
    node.come_to_data_port(at(RTR, 4342), request);
    assert_eq!(standing(&node), Standing::Unknown);
    assert_eq!((node.refused(Refusal::InfoUnasked), node.refused(Refusal::LetterUnasked)), (2, 2));
    node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    assert!(matches!(standing(&node), Standing::Behind(_)));
    node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_002));
    assert_eq!(node.refused(Refusal::InfoUnasked), 3, "it is answered once");
}

#[test]
fn the_binding_is_kept_open_and_a_new_one_is_registered_at_once() {
    let mut node = Node::natted(Mode::On, &[RTR]);
    let mut nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    for _ in 0..3 {
        assert_eq!(asked(&node.wait(Duration::from_millis(19_999)), at(RTR, 4342)), None);
        nonce = asked(&node.wait(Duration::from_millis(1)), at(RTR, 4342)).unwrap();
        let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
        assert!(registers(&done).is_empty(), "nothing has changed");
    }
    nonce = asked(&node.wait(Duration::from_secs(20)), at(RTR, 4342)).unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 61_234));
    assert_eq!(registers(&done).len(), 1, "the NAT has forgotten the old one");
}

#[test]
fn an_rtr_that_falls_silent_is_not_used_and_another_one_is() {
    const OTHER: &str = "203.0.113.9";
    let mut node = Node::natted(Mode::Auto, &[RTR, OTHER]);
    let begun = node.done();
    for rtr in [RTR, OTHER] {
        let nonce = asked(&begun, at(rtr, 4342)).unwrap();
        node.come_to_data_port(at(rtr, 4342), seen(nonce, NAT, 50_001));
    }
    let ways = |node: &Node| match node.control.natted().unwrap().standing() {
        Standing::Behind(ways) => ways.iter().map(|way| way.rtr.to_string()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ways(&node), [RTR, OTHER]);
    let mut leads = Vec::new();
    for _ in 0..60 {
        let done = node.wait(Duration::from_millis(500));
        let answer = asked(&done, at(OTHER, 4342))
            .map(|nonce| node.come_to_data_port(at(OTHER, 4342), seen(nonce, NAT, 50_001)));
        let updates = done.updates.into_iter().chain(answer.into_iter().flat_map(|done| done.updates));
        leads.extend(updates.filter_map(|update| match update {
            Update::Upsert { entry, .. } => match entry.forwarding {
                Forwarding::Binding(binding) => Some(binding.address),
                _ => None,
            },
            _ => None,
        }));
    }
    assert_eq!(ways(&node), [OTHER]);
    assert_eq!(leads.last(), Some(&ip(OTHER)));
}

#[test]
fn what_one_who_is_silent_now_saw_once_keeps_nobody_behind_a_nat() {
    const OTHER: &str = "203.0.113.9";
    let mut node = Node::natted(Mode::Auto, &[RTR, OTHER]);
    let begun = node.done();
    let nonce = asked(&begun, at(RTR, 4342)).unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    assert!(done.updates.contains(&Update::Behind(true)), "{done:?}");
    // The node has another access: the first RTR is not reached from there, and the other one sees no NAT.
    let mut updates = Vec::new();
    for _ in 0..120 {
        let done = node.wait(Duration::from_millis(500));
        let answer =
            asked(&done, at(OTHER, 4342)).map(|nonce| node.come_to_data_port(at(OTHER, 4342), seen(nonce, XTR, 4341)));
        updates.extend(done.updates.into_iter().chain(answer.into_iter().flat_map(|done| done.updates)));
    }
    assert_eq!(node.control.natted().unwrap().standing(), &Standing::Direct);
    assert!(updates.contains(&Update::Behind(false)));
}

#[test]
fn without_a_nat_registration_goes_straight_also_where_nobody_answers() {
    let straight = |done: &Done| {
        let is_register = |(to, bytes): &(Destination, Vec<u8>)| {
            *to == Destination::Socket { local: ip(XTR), remote: at(SERVER, 4342) }
                && MapRegister::decode(bytes).is_ok()
        };
        done.sent.iter().filter(|sent| is_register(sent)).count()
    };
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, XTR, 4341));
    assert_eq!((straight(&done), node.control.natted().unwrap().standing()), (1, &Standing::Direct));

    let mut node = Node::natted(Mode::Auto, &[]);
    assert_eq!(straight(&node.wait(limits::DETECTION - Duration::from_millis(1))), 0);
    assert_eq!(straight(&node.wait(Duration::from_millis(1))), 1);
}

#[test]
fn a_map_server_names_rtrs_under_the_key_of_the_site() {
    let mut node = Node::natted(Mode::Auto, &[]);
    let begun = node.done();
    let (to, bytes) = &begun.sent[0];
    assert_eq!(*to, Destination::Socket { local: ip(XTR), remote: at(SERVER, 4342) });
    assert_eq!(auth::verify(bytes, &key("of the site"), auth::Accept::STRICT), Ok(()));
    let request = Info::decode(bytes).unwrap();
    assert_eq!(request.eid.ip_prefix(), Some(prefix(EID)));
    let reply = ControlMessage::from(request.answer(at(NAT, 40_000), at(SERVER, 4342), &[ip(RTR), ip("127.0.0.1")]));
    let sealed = |secret| auth::seal(&reply, &key(secret), TagForm::Truncated).unwrap();
    node.come(at(XTR, 4342), at(SERVER, 4342), &sealed("of somebody"));
    assert_eq!(node.refused(Refusal::InfoBadTag), 1);
    let done = node.come(at(XTR, 4342), at(SERVER, 4342), &sealed("of the site"));
    assert!(done.updates.contains(&Update::Rtrs(vec![ip(RTR)])), "{done:?}");
    assert!(asked(&done, at(RTR, 4342)).is_some() && registers(&done).is_empty());
}

proptest! {
    #[test]
    fn no_message_to_either_makes_it_panic_or_bind(
        kind in prop::sample::select(vec![0x70u8, 0x78, 0x82, 0x8a, 0x92]),
        rest in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let bytes = [&[kind], rest.as_slice()].concat();
        let mut node = Node::rtr();
        let mut real = to_rtr(SERVER, register(5, vec![record(EID)]));
        for (index, octet) in rest.iter().enumerate() {
            let at = (usize::from(*octet) * 7 + index) % real.len();
            real[at] ^= octet;
        }
        for bytes in [&bytes, &real] {
            prop_assert!(node.come(at(RTR, 4342), at(NAT, 50_001), bytes).updates.is_empty());
        }
        let mut node = Node::natted(Mode::Auto, &[RTR]);
        node.done();
        node.come_to_data_port(at(RTR, 4342), bytes);
        prop_assert!(!matches!(node.control.natted().unwrap().standing(), Standing::Behind(_)));
    }
}

// --- what a Map-Server tells an xTR behind a NAT of its own accord

const OTHER_NAT: &str = "192.0.2.3";
const ELSEWHERE: &str = "198.51.100.2";
const OTHER_SERVER: &str = "203.0.113.54";

/// A Map-Register of this xTR, whose address behind its NAT is `private`, that the RTR relays and the Map-Server accepts.
fn registers_as(node: &mut Node, xtr: u8, (from, private): (SocketAddr, &str), nonce: u64, merge: bool) {
    let records = vec![record(EID)];
    let xtr_identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 0 });
    let message =
        MapRegister { merge, xtr_identity, ..MapRegister::decode(&register(nonce, records.clone())).unwrap() };
    let ecm = Ecm::wrap(at(private, 4342), at(SERVER, 4342), message.encode().unwrap());
    let relayed = node.come(at(RTR, 4342), from, &Ecm { for_rtr: true, ..ecm }.encode().unwrap());
    assert_eq!(relayed.sent.len(), 1, "{relayed:?}");
    node.come(at(RTR, 4342), at(SERVER, 4342), &notify(nonce, records, "of the rtr"));
}

fn at_rlocs(eid: &str, rlocs: &[&str]) -> wire::record::MappingRecord {
    database(rlocs, &[]).record(prefix(eid), RecordForm { authoritative: false, probed: None })
}

/// What the Map-Server says to the xTR with this address behind its NAT, with a nonce of its own.
fn says(node: &mut Node, private: &str, nonce: u64, record: wire::record::MappingRecord) -> Done {
    let ecm = Ecm::decode(&notify((1 << 50) + nonce, vec![record], "of the rtr")).unwrap();
    let ecm = Ecm { destination: at(private, 4342), ..ecm };
    node.come(at(RTR, 4342), at(SERVER, 4342), &ecm.encode().unwrap())
}

/// Where a Data-Map-Notify went, if one did.
fn handed(done: &Done) -> Option<SocketAddr> {
    done.sent.iter().find_map(|(to, bytes)| decode_data_map_notify(bytes).ok().map(|_| to.remote()))
}

/// A Map-Notify-Ack from behind the NAT, and whether it was relayed.
fn acknowledges(node: &mut Node, from: SocketAddr, nonce: u64, record: wire::record::MappingRecord) -> bool {
    let ack = MapNotify { nonce: Nonce((1 << 50) + nonce), records: vec![record], ..MapNotify::default() };
    let ack = auth::seal(&ControlMessage::MapNotifyAck(ack), &key("of the site"), TagForm::Truncated).unwrap();
    let done = node.come(at(RTR, 4342), from, &to_rtr(SERVER, ack.clone()));
    let [(Destination::Socket { remote, .. }, bytes)] = done.sent.as_slice() else { return false };
    let ecm = Ecm::decode(bytes).unwrap();
    assert!(ecm.by_rtr && !ecm.for_rtr && ecm.message == ack && *remote == at(SERVER, 4342), "as it came: {ecm:?}");
    true
}

/// The SMRs among what was sent, to whom.
fn solicited(done: &Done) -> Vec<(IpAddr, EidPrefix)> {
    let smr = |(to, bytes): &(Destination, Vec<u8>)| {
        let message = MapRequest::decode(bytes).ok().filter(|message| message.smr)?;
        Some((to.remote().ip(), message.records[0].eid.ip_prefix()?))
    };
    done.sent.iter().filter_map(smr).collect()
}

#[test]
fn what_has_moved_is_told_by_the_binding_and_led_to_its_next_xtr() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers_as(&mut node, 1, (nat, XTR), 5, false);
    let moved = at_rlocs(EID, &[ELSEWHERE]);
    let done = says(&mut node, XTR, 1, moved.clone());
    assert_eq!(handed(&done), Some(nat));
    assert_eq!(
        done.updates[..2],
        [Update::Remove { prefix: prefix(EID) }, Update::Relayed { prefix: prefix(EID), nat: None }]
    );
    let leads = |update: &Update| {
        matches!(update, Update::Upsert { prefix: at, entry } if *at == prefix(EID)
            && matches!(&entry.forwarding, Forwarding::Locators(list) if list[0].address == ip(ELSEWHERE)))
    };
    assert!(done.updates.iter().any(leads), "nothing waits for a question: {done:?}");
    assert_eq!((node.bound().len(), done.wanted.as_slice()), (0, [(prefix(EID), prefix(EID))].as_slice()));
    // Once more is heard once more, and changes nothing more; what is older is not heard.
    let again = says(&mut node, XTR, 1, moved.clone());
    assert_eq!((handed(&again), again.updates.len(), again.wanted.len()), (Some(nat), 0, 0));
    assert_eq!(handed(&says(&mut node, XTR, 0, moved.clone())), None);
    assert_eq!(node.refused(Refusal::RelayNotifyUnasked), 1);

    // Another Map-Server has nonces of its own.
    node.take(vec![server(SERVER, "of the rtr"), server(OTHER_SERVER, "of the rtr")]);
    let ecm = notify((1 << 50) - 1, vec![moved.clone()], "of the rtr");
    assert_eq!(handed(&node.come(at(RTR, 4342), at(OTHER_SERVER, 4342), &ecm)), Some(nat));

    assert!(acknowledges(&mut node, nat, 1, moved.clone()));
    assert!(!acknowledges(&mut node, nat, 0, moved.clone()), "of what was never told");
    assert!(!acknowledges(&mut node, at(NAT, 50_002), 1, moved), "of somebody else behind that NAT");
    assert_eq!(node.refused(Refusal::RelayAckUnasked), 2);
}

#[test]
fn who_sends_to_what_has_moved_is_solicited_as_often_as_he_was_heard_and_twice_at_most() {
    let mut node = Node::rtr();
    registers_as(&mut node, 1, (at(NAT, 50_001), XTR), 5, false);
    says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]));
    let senders = [(ip(FAR_RLOC), 1), (ip("192.0.2.81"), 60)];
    node.control.handle(node.now, Input::Senders { about: prefix(EID), senders: &senders });
    let mut told = solicited(&node.done());
    told.sort();
    assert_eq!(told, [(ip(FAR_RLOC), prefix(EID)), (ip("192.0.2.81"), prefix(EID))], "at once");
    assert_eq!(solicited(&node.wait(Duration::from_millis(2999))), []);
    assert_eq!(solicited(&node.wait(Duration::from_secs(60))), [(ip("192.0.2.81"), prefix(EID))]);
}

#[test]
fn the_former_xtr_hears_that_nobody_has_it_any_more_as_long_as_it_keeps_its_binding_open() {
    let nat = at(NAT, 50_001);
    for is_open in [true, false] {
        let mut node = Node::rtr();
        registers_as(&mut node, 1, (nat, XTR), 5, false);
        says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]));
        for _ in 0..20 {
            node.wait(limits::KEEPALIVE);
            let mut info = Info { nonce: Nonce(77), ..Info::default() }.encode().unwrap();
            info.resize(64, 0);
            let from = if is_open { nat } else { at(NAT, 50_002) };
            assert_eq!(node.come(at(RTR, 4342), from, &info).sent.len(), 1);
        }
        let free = withdrawal(prefix(EID));
        let done = says(&mut node, XTR, 2, free.clone());
        assert_eq!((handed(&done), done.wanted.len()), (is_open.then_some(nat), 0));
        assert_eq!(acknowledges(&mut node, nat, 2, free), is_open);
        registers_as(&mut node, 1, (nat, XTR), 6, false);
        assert_eq!(node.bound(), [(prefix(EID), nat)], "it is reached again");
        // What was said long ago is old, whether its binding was forgotten meanwhile or not.
        assert_eq!(handed(&says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]))), None);
        assert_eq!(node.bound(), [(prefix(EID), nat)]);
    }
}

#[test]
fn a_part_that_moves_is_led_to_its_next_xtr_and_the_rest_stays_bound() {
    const PART: &str = "198.18.1.128/25";
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers_as(&mut node, 1, (nat, XTR), 5, false);
    let done = says(&mut node, XTR, 1, at_rlocs(PART, &[ELSEWHERE]));
    assert_eq!((handed(&done), node.bound()), (Some(nat), vec![(prefix(EID), nat)]));
    assert!(matches!(&done.updates[..], [Update::Upsert { prefix: at, .. }] if *at == prefix(PART)), "{done:?}");
    assert_eq!(done.wanted, [(prefix(EID), prefix(PART))], "those who send to the whole hear of the part");
    let done = says(&mut node, XTR, 2, withdrawal(prefix(PART)));
    assert_eq!((handed(&done), done.wanted.len()), (Some(nat), 0));
    assert_eq!(done.updates, [Update::Remove { prefix: prefix(PART) }], "the binding serves it again");
}

#[test]
fn a_move_between_two_nats_is_told_unless_both_xtrs_could_be_meant() {
    let (one, other) = (at(NAT, 50_001), at(OTHER_NAT, 50_002));
    for (private, is_told) in [("10.0.0.9", true), (XTR, false)] {
        let mut node = Node::rtr();
        registers_as(&mut node, 1, (one, XTR), 5, false);
        // It may come before the Map-Server's answer to the other.
        assert_eq!(handed(&says(&mut node, XTR, 1, record(EID))), None);
        registers_as(&mut node, 2, (other, private), 6, false);
        let done = says(&mut node, XTR, 1, record(EID));
        assert_eq!((handed(&done), done.updates.len()), (is_told.then_some(one), 0), "{private}");
        assert_eq!(node.refused(Refusal::RelayNotifyAmbiguous), if is_told { 1 } else { 2 });
        assert_eq!(node.bound(), [(prefix(EID), other)], "who has it is told nothing, and keeps it");
        assert_eq!(acknowledges(&mut node, one, 1, record(EID)), is_told);
        // What the former had under way, and takes back.
        let message = MapRegister {
            xtr_identity: Some(XtrIdentity { xtr_id: [1; 16], site_id: 0 }),
            ..MapRegister::decode(&register(7, vec![withdrawal(prefix(EID))])).unwrap()
        };
        node.come(at(RTR, 4342), one, &to_rtr(SERVER, message.encode().unwrap()));
        node.come(at(RTR, 4342), at(SERVER, 4342), &notify(7, vec![withdrawal(prefix(EID))], "of the rtr"));
        assert_eq!(node.bound(), [(prefix(EID), other)], "it ends nothing of the other's");
    }
}

#[test]
fn what_all_that_merge_have_together_is_told_to_them() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers_as(&mut node, 1, (nat, XTR), 5, true);
    let done = says(&mut node, XTR, 1, at_rlocs(EID, &[RTR, ELSEWHERE]));
    assert_eq!((handed(&done), done.updates.len(), node.bound().len()), (Some(nat), 0, 1));
}

#[test]
fn nothing_is_told_that_is_not_for_whom_this_rtr_reaches_and_of_its_map_server() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers_as(&mut node, 1, (nat, XTR), 5, false);
    let moved = || at_rlocs(EID, &[ELSEWHERE]);
    assert_eq!(handed(&says(&mut node, "10.0.0.9", 1, moved())), None, "another xTR behind a NAT");
    assert_eq!(handed(&says(&mut node, XTR, 1, at_rlocs("198.18.9.0/24", &[ELSEWHERE]))), None, "nothing of its");
    let two = notify((1 << 50) + 1, vec![moved(), moved()], "of the rtr");
    assert_eq!(handed(&node.come(at(RTR, 4342), at(SERVER, 4342), &two)), None);
    // The answer to its Map-Register once more, within the time for answers and later.
    for seconds in [0, 60] {
        node.wait(Duration::from_secs(seconds));
        let answer = notify(5, vec![record(EID)], "of the rtr");
        assert_eq!(handed(&node.come(at(RTR, 4342), at(SERVER, 4342), &answer)), None);
    }
    assert_eq!((node.refused(Refusal::RelayNotifyUnasked), node.refused(Refusal::RelayNotifyAmbiguous)), (5, 0));
    let forged = notify((1 << 50) + 1, vec![moved()], "of the site");
    assert_eq!(handed(&node.come(at(RTR, 4342), at(SERVER, 4342), &forged)), None);
    assert_eq!(node.refused(Refusal::RelayNotifyBadTag), 1);
    assert_eq!(node.bound(), [(prefix(EID), nat)]);
    let told = (0..200).filter(|_| handed(&says(&mut node, XTR, 9, moved())).is_some());
    assert!(told.count() <= limits::REGISTERS as usize, "however often it comes");
}

#[test]
fn an_xtr_behind_a_nat_leaves_what_has_moved_and_acknowledges_by_its_rtr() {
    let mut node = Node::natted(Mode::On, &[RTR, "203.0.113.3"]);
    let begun = node.done();
    for rtr in [RTR, "203.0.113.3"] {
        let nonce = asked(&begun, at(rtr, 4342)).unwrap();
        node.come_to_data_port(at(rtr, 4342), seen(nonce, NAT, 50_001));
    }
    let tell = |nonce: u64, record| {
        let message = MapNotify { nonce: Nonce((1 << 60) + nonce), records: vec![record], ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::from(message), &key("of the site"), TagForm::Truncated).unwrap();
        encode_data_map_notify(&Ecm::wrap(at(SERVER, 4342), at(XTR, 4342), bytes)).unwrap()
    };
    let acked = |done: &Done| {
        let ack = |(to, bytes): &(Destination, Vec<u8>)| {
            let ecm = Ecm::decode(bytes).ok()?;
            let ack = MapNotify::decode_ack(&ecm.message).ok()?;
            assert!(ecm.for_rtr && ecm.destination == at(SERVER, 4342), "{ecm:?}");
            assert_eq!(auth::verify(&ecm.message, &key("of the site"), auth::Accept::STRICT), Ok(()));
            Some((*to, ack.nonce.0 - (1 << 60)))
        };
        done.sent.iter().filter_map(ack).collect::<Vec<_>>()
    };
    let by = Destination::DataPort { local: ip(XTR), remote: at("203.0.113.3", 4342) };
    let done = node.come_to_data_port(at("203.0.113.3", 4342), tell(1, at_rlocs(EID, &[ELSEWHERE])));
    assert_eq!(acked(&done), [(by, 1)], "by the RTR that it came by");
    let moved = |node: &Node| node.control.registrations(node.now).filter(|row| row.moved).count();
    assert_eq!(moved(&node), 1);
    let done = node.come_to_data_port(at("203.0.113.3", 4342), tell(2, withdrawal(prefix(EID))));
    assert_eq!((acked(&done), moved(&node)), (vec![(by, 2)], 0));
    assert_eq!(registers_through(&done, RTR), 1, "it has it again");
}

/// Map-Registers through this RTR that register something.
fn registers_through(done: &Done, rtr: &str) -> usize {
    to_address(done, rtr).iter().filter(|(_, message)| !message.records[0].locators.is_empty()).count()
}
