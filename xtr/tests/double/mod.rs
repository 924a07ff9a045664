// SPDX-License-Identifier: GPL-2.0-or-later
//! A node's control half with everything round it played by the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister, MapReply, MapRequest, Nonce};
use wire::record::{Action, MappingRecord, Ttl};
use xtr::database::{Database, OwnLocator, RecordForm};
use xtr::engine::{Config, Control, Input, Output};
use xtr::map_cache::{Entry, Event, Update};
use xtr::refusal::Refusal;
use xtr::register::Server;
use xtr::subscribe::Told;
use xtr::transport::{Destination, MapSystem, Via};

pub const RLOC: &str = "192.0.2.1";
pub const SERVER: &str = "203.0.113.10";
pub const RESOLVER: &str = "203.0.113.53";

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn prefix(text: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
}

pub fn key(algorithm: Algorithm) -> AuthKey {
    AuthKey { id: 1, algorithm, secret: Secret::new("secretkey") }
}

/// A positive record for each prefix and TTL in minutes.
pub fn reply_to(request: &MapRequest, records: &[(&str, u32)]) -> MapReply {
    let locator = OwnLocator::new("198.51.100.1".parse().unwrap(), 1, 100);
    let record = |(text, minutes): &(&str, u32)| {
        let form = RecordForm { authoritative: true, probed: None };
        Database::new(vec![], vec![locator], Ttl(*minutes)).record(prefix(text), form)
    };
    MapReply { nonce: request.nonce, records: records.iter().map(record).collect(), ..MapReply::default() }
}

pub trait WithNegative {
    fn with_negative(self, prefix: &str, action: Action, minutes: u32) -> Self;
}

impl WithNegative for MapReply {
    fn with_negative(mut self, text: &str, action: Action, minutes: u32) -> Self {
        let positive = reply_to(&MapRequest::default(), &[(text, minutes)]).records.remove(0);
        self.records.push(MappingRecord { action, locators: vec![], authoritative: false, ..positive });
        self
    }
}

pub struct Node {
    pub control: Control,
    pub now: Instant,
    pub sent: Vec<(IpAddr, SocketAddr, Vec<u8>)>,
    pub piped: Vec<Vec<u8>>,
    /// RLOC-probes and SMRs, with the locators that they were sent from and to. They are not among what was sent.
    pub probes: Vec<(IpAddr, SocketAddr, MapRequest)>,
    pub smrs: Vec<(IpAddr, SocketAddr, MapRequest)>,
    /// Those that must not be fragmented, as they were sent.
    pub long_probes: Vec<(IpAddr, SocketAddr, Vec<u8>)>,
    pub persisted: Vec<Nonce>,
    /// The last nonces of unsolicited Map-Notifies, as they are on disk.
    pub heard: Vec<(MapSystem, Nonce)>,
    pub told: Vec<(Told, Nonce)>,
    /// Who has sent packets to it within the last minute, and how often it was to be told so.
    pub senders: Vec<IpAddr>,
    pub named: usize,
    updates: Vec<Update>,
    key: AuthKey,
}

impl Node {
    pub fn new(prefixes: &[&str], rlocs: &[&str], servers: Vec<Server>, resolvers: Vec<MapSystem>) -> Self {
        let locator = |text: &&str| OwnLocator::new(text.parse().unwrap(), 1, 100);
        let prefixes = prefixes.iter().map(|text| prefix(text)).collect();
        Self::from_config(Config {
            database: Database::new(prefixes, rlocs.iter().map(locator).collect(), Ttl::DEFAULT),
            cgeid_network: Some("3fff:ce1::/32".parse().unwrap()),
            servers,
            resolvers,
            nonce_floor: Nonce(1000),
            seed: [7; 32],
        })
    }

    pub fn from_config(config: Config) -> Self {
        let now = Instant::now();
        let first = config.servers.first().map(|server| server.key.clone());
        let key = first.unwrap_or_else(|| key(Algorithm::HkdfSha256));
        let control = Control::new(now, config);
        let mut node = Self {
            control,
            now,
            sent: vec![],
            piped: vec![],
            probes: vec![],
            smrs: vec![],
            long_probes: vec![],
            persisted: vec![],
            heard: vec![],
            told: vec![],
            senders: vec![],
            named: 0,
            updates: vec![],
            key,
        };
        node.control.handle_timeout(now);
        node.collect();
        node.updates.clear();
        node
    }

    pub fn plain() -> Self {
        Self::with_resolvers(&[RESOLVER])
    }

    pub fn with_resolvers(resolvers: &[&str]) -> Self {
        let resolvers = resolvers.iter().map(|text| MapSystem::Node(text.parse().unwrap())).collect();
        Self::new(&["2001:db8:a::/48", "10.1.0.0/16"], &[RLOC], vec![], resolvers)
    }

    pub fn registering(algorithm: Algorithm, tag: TagForm) -> Self {
        let prefixes = ["2001:db8:a::/48", "10.1.0.0/16"];
        Self::new(&prefixes, &[RLOC], vec![server(algorithm, tag, &prefixes)], vec![])
    }

    pub fn registering_prefixes(prefixes: &[&str]) -> Self {
        let server = server(Algorithm::HkdfSha256, TagForm::Truncated, prefixes);
        Self::new(prefixes, &[RLOC], vec![server], vec![])
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.control.handle(self.now, input);
        self.collect();
    }

    /// Packets come from these RLOCs now.
    pub fn packets_from(&mut self, rlocs: &[IpAddr]) {
        self.hears(rlocs);
        self.collect();
    }

    fn hears(&mut self, rlocs: &[IpAddr]) {
        let senders: Vec<_> = rlocs.iter().map(|rloc| (*rloc, self.now)).collect();
        self.control.handle(self.now, Input::PacketsFrom(&senders));
    }

    pub fn event(&mut self, event: Event) {
        self.input(Input::Event(event));
    }

    pub fn bytes(&mut self, remote: &str, bytes: &[u8]) {
        let local = SocketAddr::new(self.control.database().rlocs()[0], 4342);
        self.bytes_at(local, remote, bytes);
    }

    pub fn bytes_at(&mut self, local: SocketAddr, remote: &str, bytes: &[u8]) {
        self.input(Input::Datagram { via: Via::Socket { local, remote: remote.parse().unwrap() }, bytes });
    }

    pub fn datagram(&mut self, remote: &str, message: &ControlMessage) {
        self.bytes(remote, &message.encode().unwrap());
    }

    /// A packet misses; the Map-Request that follows, and to whom.
    pub fn miss(&mut self, eid: &str) -> (String, MapRequest) {
        let eid = prefix(eid);
        let source = if eid.net.addr().is_ipv4() { "10.1.0.2" } else { "2001:db8:a::2" };
        self.event(Event::Miss { eid, source: source.parse().unwrap() });
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1);
        requests.remove(0)
    }

    pub fn reply(&mut self, reply: &MapReply) {
        self.reply_from(RESOLVER, reply);
    }

    pub fn reply_from(&mut self, from: &str, reply: &MapReply) {
        self.datagram(&format!("{from}:4342"), &ControlMessage::from(reply.clone()));
    }

    /// Confirms a Map-Register, after `change`.
    pub fn notify(&mut self, register: &MapRegister, change: impl Fn(MapNotify) -> MapNotify) {
        let key = self.key.clone();
        self.notify_with(register, &key, change);
    }

    pub fn notify_with(&mut self, register: &MapRegister, key: &AuthKey, change: impl Fn(MapNotify) -> MapNotify) {
        let notify = MapNotify { nonce: register.nonce, records: register.records.clone(), ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::from(change(notify)), key, TagForm::Truncated).unwrap();
        self.bytes(&format!("{SERVER}:4342"), &bytes);
    }

    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(deadline) = self.control.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.control.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
    }

    pub fn run_to_deadline(&mut self) {
        let deadline = self.control.next_deadline().unwrap();
        self.advance(deadline.saturating_duration_since(self.now));
    }

    pub fn collect(&mut self) {
        while let Some(output) = self.control.poll() {
            match output {
                Output::PersistNonce(nonce) => self.persisted.push(nonce),
                Output::PersistHeard(heard) => self.heard = heard,
                Output::PersistTold(told) => self.told = told,
                Output::WantAllSenders => {
                    self.named += 1;
                    let senders = self.senders.clone();
                    self.hears(&senders);
                }
                Output::WantSenders { .. } => panic!("it is no RTR"),
                Output::Update(update) => self.updates.push(update),
                Output::Send(outgoing) => match outgoing.to {
                    Destination::Pipe => self.piped.push(outgoing.bytes),
                    Destination::DataPort { local, remote } => self.sent.push((local, remote, outgoing.bytes)),
                    Destination::Unfragmented { local, remote } => {
                        self.long_probes.push((local, remote, outgoing.bytes));
                    }
                    Destination::Socket { local, remote } => match ControlMessage::decode(&outgoing.bytes) {
                        Ok(ControlMessage::MapRequest(probe)) if probe.probe => {
                            self.probes.push((local, remote, probe))
                        }
                        Ok(ControlMessage::MapRequest(smr)) if smr.smr => self.smrs.push((local, remote, smr)),
                        _ => self.sent.push((local, remote, outgoing.bytes)),
                    },
                },
            }
        }
    }

    pub fn updates(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.updates)
    }

    pub fn updates_pending(&self) -> &[Update] {
        &self.updates
    }

    pub fn upsert(&mut self) -> (EidPrefix, Entry) {
        match self.updates().as_slice() {
            [Update::Upsert { prefix, entry }] => (*prefix, entry.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// The Map-Requests sent to resolvers since the last call, out of their ECMs.
    pub fn requests(&mut self) -> Vec<(String, MapRequest)> {
        let request = |(_, remote, bytes): (IpAddr, SocketAddr, Vec<u8>)| {
            let ControlMessage::Ecm(ecm) = ControlMessage::decode(&bytes).unwrap() else { panic!("not an ECM") };
            assert_eq!((ecm.source.port(), ecm.destination.port(), remote.port()), (4342, 4342, 4342));
            match ControlMessage::decode(&ecm.message).unwrap() {
                ControlMessage::MapRequest(request) => (remote.ip().to_string(), request),
                other => panic!("{other:?}"),
            }
        };
        std::mem::take(&mut self.sent).into_iter().map(request).collect()
    }

    pub fn registers(&mut self) -> Vec<(Vec<u8>, MapRegister)> {
        let register = |(_, _, bytes): (IpAddr, SocketAddr, Vec<u8>)| match ControlMessage::decode(&bytes).unwrap() {
            ControlMessage::MapRegister(register) => (bytes, register),
            other => panic!("{other:?}"),
        };
        std::mem::take(&mut self.sent).into_iter().map(register).collect()
    }

    pub fn register(&mut self) -> (Vec<u8>, MapRegister) {
        let mut registers = self.registers();
        assert_eq!(registers.len(), 1);
        registers.remove(0)
    }

    pub fn replies(&mut self) -> Vec<(SocketAddr, MapReply)> {
        let reply = |(_, remote, bytes): (IpAddr, SocketAddr, Vec<u8>)| match ControlMessage::decode(&bytes).unwrap() {
            ControlMessage::MapReply(reply) => (remote, reply),
            other => panic!("{other:?}"),
        };
        std::mem::take(&mut self.sent).into_iter().map(reply).collect()
    }

    pub fn reply_sent(&mut self) -> (SocketAddr, MapReply) {
        let mut replies = self.replies();
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }

    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.control.tally().get(refusal)
    }
}

pub fn server(algorithm: Algorithm, tag: TagForm, prefixes: &[&str]) -> Server {
    let prefixes = prefixes.iter().map(|text| prefix(text)).collect();
    Server {
        to: MapSystem::Node(SERVER.parse().unwrap()),
        key: key(algorithm),
        tag,
        narrow_coverage: false,
        proxy_reply: true,
        identity: None,
        prefixes,
    }
}
