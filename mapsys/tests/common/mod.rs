// SPDX-License-Identifier: GPL-2.0-or-later
//! What the tests share: sites, engines, and messages as peers send them.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use cgeid::Network;
use mapsys::engine::{Config, Engine, Input, Memory, Output};
use mapsys::limit::Foreign;
use mapsys::refusal::Refusal;
use mapsys::register::pace::PutOutcome;
use mapsys::register::site::{LispSec, NotifyPort, Publish, Site, SiteKey, SitePrefix};
use mapsys::subscribe::subscriber::{Policy, Subscriber};
use mapsys::transport::{Now, Via};
use wire::address::{Address, Eid, EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{
    ControlMessage, Ecm, EidRequest, MapNotify, MapRegister, MapReply, MapRequest, Nonce, XtrIdentity,
};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

/// The Map-Server's address in these tests.
pub(crate) const SERVER: &str = "192.0.2.53:4342";

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// `2001:db8::/32`, or `5:2001:db8::/32`-like with `iid`.
pub(crate) fn prefix(text: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
}

pub(crate) fn prefix_in(iid: u32, text: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(iid), ..prefix(text) }
}

pub(crate) fn key(id: u8, algorithm: Algorithm, secret: &str) -> AuthKey {
    AuthKey { id, algorithm, secret: Secret::new(secret.as_bytes()) }
}

/// A strict site with one key for all algorithms that its policy allows.
pub(crate) fn site(name: &str, key_id: u8, secret: &str, prefixes: &[EidPrefix]) -> Site {
    Site {
        name: name.into(),
        prefixes: prefixes.iter().map(|p| SitePrefix { prefix: *p, max_len: p.net.prefix_len() }).collect(),
        labels: vec![],
        keys: vec![SiteKey { id: key_id, algorithm: None, secret: Secret::new(secret.as_bytes()) }],
        legacy: false,
        notify: NotifyPort::Control,
        publish: Publish::Each,
        lisp_sec: LispSec::Optional,
    }
}

/// What an xTR that subscribes shares with the Map-Server, or with the Map-Resolver at which it does.
pub(crate) fn xtr_key() -> AuthKey {
    key(5, Algorithm::HkdfSha256, "between xTR and Map-Server")
}

/// Who that xTR is.
pub(crate) fn identity() -> XtrIdentity {
    XtrIdentity { xtr_id: [7; 16], site_id: 9 }
}

/// That xTR, which may subscribe to all from its network.
pub(crate) fn subscriber() -> Subscriber {
    Subscriber {
        name: "x".into(),
        xtr: identity(),
        key: Some(xtr_key()),
        lisp_sec: None,
        rlocs: vec!["192.0.2.0/24".parse().unwrap()],
        eids: vec![],
        port: NotifyPort::Control,
        configured: vec![],
    }
}

pub(crate) fn config(sites: Vec<Site>) -> Config {
    Config {
        network: Network::LAB,
        identities: vec![],
        sites,
        own_prefixes: vec![],
        pipe_key: None,
        trust_anchors: vec![],
        clients: vec![],
        foreign: Foreign::FromItrRloc,
        sockets: vec![address(SERVER), address("[2001:db8:53::53]:4342")],
        subscribers: vec![],
        pubsub: Policy::default(),
        ddt: mapsys::ddt::Config::default(),
        lisp_sec: vec![],
    }
}

/// An engine and a virtual clock.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) now: Now,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        Self::with(config, Memory::default())
    }

    pub(crate) fn with(config: Config, memory: Memory) -> Self {
        let now = Now { monotonic: Instant::now(), wall: SystemTime::now() };
        Self { engine: Engine::new(now, config, memory).unwrap(), now }
    }

    /// Lets time pass, doing what becomes due on the way.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now.monotonic + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.engine.next_deadline().filter(|at| *at <= end) {
            self.set(at.max(self.now.monotonic));
            self.engine.handle_timeout(self.now);
            outputs.extend(self.drain());
        }
        self.set(end);
        self.engine.handle_timeout(self.now);
        outputs.extend(self.drain());
        outputs
    }

    fn set(&mut self, at: Instant) {
        self.now.wall += at.saturating_duration_since(self.now.monotonic);
        self.now.monotonic = at;
    }

    pub(crate) fn drain(&mut self) -> Vec<Output> {
        // All leaves at once.
        let left = std::iter::from_fn(|| self.engine.poll()).collect::<Vec<_>>();
        left.iter().for_each(|output| self.engine.count_left(output.counts()));
        left
    }

    /// A datagram from `remote` to [`SERVER`] (or its IPv6 address), and what comes of it.
    pub(crate) fn datagram(&mut self, remote: &str, bytes: &[u8]) -> Vec<Output> {
        let remote = address(remote);
        let local = if remote.is_ipv4() { SERVER } else { "[2001:db8:53::53]:4342" };
        let via = Via::Socket { local: address(local), remote };
        self.engine.handle(self.now, Input::Datagram { via, bytes: bytes.to_vec() });
        self.drain()
    }

    pub(crate) fn pipe(&mut self, bytes: &[u8]) -> Vec<Output> {
        self.engine.handle(self.now, Input::Datagram { via: Via::Pipe, bytes: bytes.to_vec() });
        self.drain()
    }

    /// How often `refusal` was counted, all others never.
    pub(crate) fn only_refused(&self, refusal: Refusal) -> u64 {
        assert_eq!(
            self.engine.tally().total(),
            self.engine.tally().get(refusal),
            "{:?}",
            self.engine.tally().iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>()
        );
        self.engine.tally().get(refusal)
    }

    pub(crate) fn registered(&self) -> Vec<EidPrefix> {
        self.engine.server().registrations().iter().map(|(prefix, _)| prefix).collect()
    }
}

/// The datagrams among outputs, with their destination.
pub(crate) fn sent(outputs: &[Output]) -> Vec<(SocketAddr, ControlMessage)> {
    let datagrams = outputs.iter().filter_map(|output| match output {
        Output::Send { remote, bytes, .. } => Some((*remote, ControlMessage::decode(bytes).unwrap())),
        _ => None,
    });
    datagrams.collect()
}

/// The only Map-Reply among outputs.
pub(crate) fn reply(outputs: &[Output]) -> (SocketAddr, MapReply) {
    let sent = sent(outputs);
    match sent.as_slice() {
        [(to, ControlMessage::MapReply(reply))] => (*to, reply.clone()),
        other => panic!("not one Map-Reply: {other:?}"),
    }
}

/// The only Map-Notify among outputs.
pub(crate) fn notify(outputs: &[Output]) -> (SocketAddr, MapNotify) {
    let sent = sent(outputs);
    match sent.as_slice() {
        [(to, ControlMessage::MapNotify(notify))] => (*to, notify.clone()),
        other => panic!("not one Map-Notify: {other:?}"),
    }
}

pub(crate) fn locator(text: &str) -> LocatorRecord {
    LocatorRecord {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        local: true,
        probed: false,
        reachable: true,
        rloc: Address::from(text.parse::<std::net::IpAddr>().unwrap()),
    }
}

/// How a PUT of few nodes ended.
pub(crate) fn put_ended(stored: bool) -> PutOutcome {
    PutOutcome { local: stored, stored: if stored { 3 } else { 0 }, asked: 3, busy: 0 }
}

pub(crate) fn record(prefix: EidPrefix, locators: &[&str]) -> MappingRecord {
    MappingRecord {
        ttl: Ttl(1440),
        action: Action::NoAction,
        authoritative: true,
        map_version: MapVersion::default(),
        eid: prefix.into(),
        locators: locators.iter().map(|text| locator(text)).collect(),
    }
}

/// A Map-Register with P and M.
pub(crate) fn register(nonce: u64, records: Vec<MappingRecord>) -> MapRegister {
    MapRegister { proxy_reply: true, want_notify: true, nonce: Nonce(nonce), records, ..MapRegister::default() }
}

pub(crate) fn seal(message: MapRegister, key: &AuthKey) -> Vec<u8> {
    auth::seal(&message.into(), key, TagForm::Truncated).unwrap()
}

pub(crate) fn request(nonce: u64, eids: &[EidPrefix], itr_rlocs: &[&str]) -> MapRequest {
    MapRequest {
        nonce: Nonce(nonce),
        itr_rlocs: itr_rlocs.iter().map(|text| text.parse::<std::net::IpAddr>().unwrap().into()).collect(),
        records: eids.iter().map(|eid| EidRequest { notify: false, eid: Eid::from(*eid) }).collect(),
        ..MapRequest::default()
    }
}

/// The request in an ECM, from an ITR whose inner port is 61000.
pub(crate) fn ecm(request: &MapRequest) -> Vec<u8> {
    let eid = request.records[0].eid.ip_prefix().unwrap().net.addr();
    let inner = if eid.is_ipv4() { "192.0.2.1:61000" } else { "[2001:db8:1::1]:61000" };
    let destination = SocketAddr::new(eid, 4342);
    Ecm::wrap(address(inner), destination, request.encode().unwrap()).encode().unwrap()
}

/// A host EID.
pub(crate) fn host(text: &str) -> EidPrefix {
    EidPrefix::host(InstanceId(0), text.parse().unwrap())
}
