// SPDX-License-Identifier: GPL-2.0-or-later
//! Engines at their addresses, and a network between them that may lose what it carries.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mapsys::ddt::{Config as Ddt, Delegation, Kind, Server};
use mapsys::engine::{Config, Input, Output};
use mapsys::register::site::Site;
use mapsys::transport::{Now, Via};
use wire::address::EidPrefix;
use wire::control::auth::Algorithm;
use wire::control::{ControlMessage, Ecm, MapReferral, MapRegister, MapRequest, Nonce, Referral, ReferralAction};
use wire::record::{LocatorRecord, MapVersion, Ttl};

use crate::common::*;

/// The ITR: its own locator, and the port inside its requests.
pub(crate) const ITR: &str = "198.51.100.9:61000";
pub(crate) const RLOC: &str = "198.51.100.9";

/// The addresses of the tree in RFC 8111, section 9.
pub(crate) const ROOT: &str = "192.0.2.1";
pub(crate) const NODE1: &str = "192.0.2.11";
pub(crate) const MS1: &str = "192.0.2.101";
pub(crate) const NODE3: &str = "192.0.2.201";
pub(crate) const MS2: &str = "192.0.2.211";
pub(crate) const MS3: &str = "192.0.2.221";
/// The Map-Resolver.
pub(crate) const MR: &str = "192.0.2.53";

/// A datagram that was carried.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Carried {
    pub(crate) fn message(&self) -> ControlMessage {
        ControlMessage::decode(&self.bytes).unwrap()
    }
}

/// Engines, and what is between them.
pub(crate) struct World {
    pub(crate) benches: Vec<(IpAddr, Bench)>,
    pub(crate) now: Now,
    /// All that was carried.
    pub(crate) log: Vec<Carried>,
    /// What came for somebody who is no engine.
    pub(crate) outside: Vec<Carried>,
    /// Whether a datagram is lost.
    pub(crate) loses: Box<dyn FnMut(&Carried) -> bool>,
}

impl World {
    pub(crate) fn new(engines: Vec<(&str, Config)>) -> Self {
        let benches: Vec<_> = engines
            .into_iter()
            .map(|(at, config)| {
                let sockets = vec![SocketAddr::new(at.parse().unwrap(), 4342)];
                (at.parse().unwrap(), Bench::new(Config { sockets, ..config }))
            })
            .collect();
        let now = benches[0].1.now;
        Self { benches, now, log: vec![], outside: vec![], loses: Box::new(|_| false) }
    }

    pub(crate) fn bench(&mut self, at: &str) -> &mut Bench {
        let at: IpAddr = at.parse().unwrap();
        self.benches.iter_mut().find(|(address, _)| *address == at).map(|(_, bench)| bench).unwrap()
    }

    /// Sends, and carries on until nobody has anything to say.
    pub(crate) fn send(&mut self, from: &str, to: &str, bytes: &[u8]) {
        let to = SocketAddr::new(to.parse().unwrap(), 4342);
        self.carry(vec![Carried { from: address(from), to, bytes: bytes.to_vec() }]);
    }

    fn carry(&mut self, mut queue: Vec<Carried>) {
        for _ in 0..10_000 {
            if queue.is_empty() {
                return;
            }
            let carried = queue.remove(0);
            self.log.push(carried.clone());
            if (self.loses)(&carried) {
                continue;
            }
            let Some((at, bench)) = self.benches.iter_mut().find(|(at, _)| *at == carried.to.ip()) else {
                self.outside.push(carried);
                continue;
            };
            assert_eq!(carried.to.port(), 4342, "{carried:?}");
            bench.now = self.now;
            let via = Via::Socket { local: SocketAddr::new(*at, 4342), remote: carried.from };
            bench.engine.handle(self.now, Input::Datagram { via, bytes: carried.bytes });
            queue.extend(datagrams(bench.drain()));
        }
        panic!("they talk for ever");
    }

    /// Lets time pass for all.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        loop {
            let due = self.benches.iter().filter_map(|(_, bench)| bench.engine.next_deadline()).min();
            let at = due.unwrap_or(end).clamp(self.now.monotonic, end);
            self.now.wall += at - self.now.monotonic;
            self.now.monotonic = at;
            let mut queue = Vec::new();
            for (_, bench) in &mut self.benches {
                bench.now = self.now;
                bench.engine.handle_timeout(self.now);
                queue.extend(datagrams(bench.drain()));
            }
            self.carry(queue);
            if due.is_none_or(|due| due > end) {
                return;
            }
        }
    }

    /// An ITR asks the Map-Resolver; what comes to the ITR and to ETRs.
    pub(crate) fn ask(&mut self, nonce: u64, eid: EidPrefix) -> Vec<Carried> {
        self.outside.clear();
        self.send(ITR, MR, &ecm(&request(nonce, &[eid], &[RLOC])));
        std::mem::take(&mut self.outside)
    }

    /// Who was asked with DDT Map-Requests since the last call.
    pub(crate) fn asked(&mut self) -> Vec<String> {
        let log = std::mem::take(&mut self.log);
        let of_ddt = log.iter().filter(|c| matches!(c.message(), ControlMessage::Ecm(Ecm { ddt: true, .. })));
        of_ddt.map(|carried| carried.to.ip().to_string()).collect()
    }
}

fn datagrams(outputs: Vec<Output>) -> impl Iterator<Item = Carried> {
    outputs.into_iter().filter_map(|output| match output {
        Output::Send { local, remote, bytes, .. } => Some(Carried { from: local, to: remote, bytes }),
        _ => None,
    })
}

pub(crate) fn delegation(text: &str, kind: Kind, servers: &[&str]) -> Delegation {
    let servers =
        servers.iter().map(|text| Server { address: text.parse().unwrap(), priority: 1, weight: 100, keys: vec![] });
    Delegation { prefix: prefix(text), kind, servers: servers.collect() }
}

/// A node with these delegations.
pub(crate) fn node(authoritative: &[&str], delegations: Vec<Delegation>) -> Config {
    let authoritative = authoritative.iter().map(|text| prefix(text)).collect();
    Config { ddt: Ddt { authoritative, delegations, ..Ddt::default() }, ..config(vec![]) }
}

/// A Map-Server for sites, one prefix each, with the secret `secret`.
pub(crate) fn map_server(authoritative: &str, sites: &[&str]) -> Config {
    let sites: Vec<Site> = sites.iter().map(|text| site(text, 1, "secret", &[prefix(text)])).collect();
    let ddt = Ddt { authoritative: vec![prefix(authoritative)], is_complete: true, ..Ddt::default() };
    Config { ddt, ..config(sites) }
}

/// A Map-Resolver with these roots.
pub(crate) fn resolver(roots: &[&str]) -> Config {
    let roots = roots.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 4342)).collect();
    Config { ddt: Ddt { roots, secret: [7; 32].into(), ..Ddt::default() }, ..config(vec![]) }
}

/// The tree of RFC 8111, section 9, with one root and one node of the second level, and a Map-Resolver.
pub(crate) fn example() -> World {
    example_with(resolver(&[ROOT]))
}

/// The same with this Map-Resolver.
pub(crate) fn example_with(map_resolver: Config) -> World {
    let mut world = World::new(vec![
        (ROOT, node(&["::/0"], vec![delegation("2001:db8::/32", Kind::Node, &[NODE1])])),
        (
            NODE1,
            node(
                &["2001:db8::/32"],
                vec![
                    delegation("2001:db8:100::/40", Kind::MapServer, &[MS1]),
                    delegation("2001:db8:500::/40", Kind::Node, &[NODE3]),
                ],
            ),
        ),
        (MS1, map_server("2001:db8:100::/40", &["2001:db8:103::/48", "2001:db8:104::/48"])),
        (
            NODE3,
            node(
                &["2001:db8:500::/40"],
                vec![
                    delegation("2001:db8:500::/48", Kind::MapServer, &[MS2]),
                    delegation("2001:db8:501::/48", Kind::MapServer, &[MS3]),
                ],
            ),
        ),
        (MS2, map_server("2001:db8:500::/48", &["2001:db8:500:1::/64", "2001:db8:500:2::/64"])),
        (MS3, map_server("2001:db8:501::/48", &["2001:db8:501:8::/64", "2001:db8:501:9::/64"])),
        (MR, map_resolver),
    ]);
    for (at, site, etr) in [
        (MS1, "2001:db8:103::/48", "203.0.113.1"),
        (MS1, "2001:db8:104::/48", "203.0.113.2"),
        (MS2, "2001:db8:500:2::/64", "203.0.113.4"),
        (MS3, "2001:db8:501:8::/64", "203.0.113.5"),
    ] {
        world.register(at, site, etr, false);
    }
    world.log.clear();
    world
}

impl World {
    /// Registers a site; with `proxy` its Map-Server answers.
    pub(crate) fn register(&mut self, at: &str, site: &str, etr: &str, proxy: bool) {
        let message = MapRegister { proxy_reply: proxy, ..register(1, vec![record(prefix(site), &[etr])]) };
        let sealed = seal(message, &key(1, Algorithm::HmacSha256, "secret"));
        self.send(&format!("{etr}:4342"), at, &sealed);
        assert!(self.bench(at).registered().contains(&prefix(site)));
        self.outside.clear();
    }
}

/// The request with D.
pub(crate) fn ddt(request: &MapRequest) -> Vec<u8> {
    let mut bytes = ecm(request);
    bytes[0] |= 0x04;
    bytes
}

/// The only Map-Referral among outputs, and whom it goes to.
pub(crate) fn referral(outputs: &[Output]) -> (SocketAddr, Referral) {
    let mut found = sent(outputs).into_iter().filter_map(|(to, message)| match message {
        ControlMessage::MapReferral(MapReferral { records, .. }) => Some((to, records)),
        _ => None,
    });
    let (to, mut records) = found.next().unwrap_or_else(|| panic!("no Map-Referral: {outputs:?}"));
    assert!(found.next().is_none() && records.len() == 1);
    (to, records.remove(0))
}

/// A Map-Referral as a node makes it.
pub(crate) fn answer(nonce: Nonce, action: ReferralAction, text: &str, ttl: u32, servers: &[&str]) -> MapReferral {
    let locators = servers.iter().map(|text| LocatorRecord::new(text.parse::<IpAddr>().unwrap(), 1, 100)).collect();
    let referral = Referral {
        ttl: Ttl(ttl),
        action,
        authoritative: true,
        incomplete: false,
        map_version: MapVersion::default(),
        eid: prefix(text).into(),
        locators,
        signatures: vec![],
    };
    MapReferral { nonce, records: vec![referral] }
}

/// The Map-Request inside an ECM.
pub(crate) fn inside(bytes: &[u8]) -> MapRequest {
    let ControlMessage::Ecm(ecm) = ControlMessage::decode(bytes).unwrap() else { panic!("no ECM") };
    match ControlMessage::decode(&ecm.message).unwrap() {
        ControlMessage::MapRequest(request) => request,
        other => panic!("{other:?}"),
    }
}
