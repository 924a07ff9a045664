// SPDX-License-Identifier: GPL-2.0-or-later
//! NAT traversal in virtual time: an RTR that believes nobody but its Map-Servers, and an xTR that believes nobody but who it asked.

mod behind;
mod relay;
mod told;
mod uplinks;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::rtr::{RtrAd, decode_data_map_notify, encode_data_map_notify};
use wire::control::{ControlMessage, Ecm, Info, MapNotify, MapRegister, MapReply, MapRequest, Nonce, XtrIdentity};
use wire::data::{FlowKey, OuterHeader};
use wire::record::{Action, Ttl};
use xtr::counters::DropReason;
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
    let locator = |text: &&str| OwnLocator::new(ip(text), 1, 100);
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
        Self::natted_at(mode, rtrs, database(&[XTR], &[EID]))
    }

    fn natted_at(mode: Mode, rtrs: &[&str], database: Database) -> Self {
        let server = Server { prefixes: database.prefixes().to_vec(), ..server(SERVER, "of the site") };
        Self::new(|now| {
            let config = natted::Config {
                mode,
                rtrs: rtrs.iter().map(|text| ip(text)).collect(),
                servers: vec![natted::Server { address: ip(SERVER), key: key("of the site"), tag: TagForm::Truncated }],
                eid: prefix(EID),
            };
            let control = Control::new(now, plain(database, vec![server]));
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
                Output::WantAllSenders => self.control.handle(self.now, Input::PacketsFrom(&[])),
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
        self.come_to_data_port_of(ip(XTR), from, bytes)
    }

    fn come_to_data_port_of(&mut self, to: IpAddr, from: SocketAddr, bytes: Vec<u8>) -> Done {
        self.control.handle(self.now, Input::Event(Event::Control { from, to, bytes }));
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

/// Where the way ends of a packet that `lisp-xtr trace` is asked about, and whether it enters the tunnel at all.
fn traced(node: &Node, source: &str, destination: &str) -> (End, bool) {
    let flow = FlowKey { source: ip(source), destination: ip(destination), ports: None };
    let itr = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    let packet = Packet { iid: InstanceId(0), flow };
    (packet.trace(node.now, &node.control, &itr, &[]).end, packet.is_led(&node.control, None))
}

/// The header that `lisp-xtr trace` shows: none of what it takes for led past the tunnel.
fn trace(node: &Node, source: &str, destination: &str) -> OuterHeader {
    match traced(node, source, destination) {
        (End::Encapsulated(outer), true) => outer,
        other => panic!("{other:?}"),
    }
}

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

trait Remote {
    fn remote(&self) -> SocketAddr;
}

impl Remote for Destination {
    fn remote(&self) -> SocketAddr {
        match self {
            Self::Socket { remote, .. } | Self::Unfragmented { remote, .. } | Self::DataPort { remote, .. } => *remote,
            Self::Pipe => panic!("the pipe"),
        }
    }
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

fn at_rlocs(eid: &str, rlocs: &[&str]) -> wire::record::MappingRecord {
    database(rlocs, &[]).record(prefix(eid), RecordForm { authoritative: false, probed: None })
}
