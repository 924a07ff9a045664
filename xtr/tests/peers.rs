// SPDX-License-Identifier: GPL-2.0-or-later
//! Echo-nonce, locator-status-bits and map-versions between two whole nodes in virtual time: control halves and packet halves, and a
//! wire that can be cut.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod double;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use double::{Node, RESOLVER, SERVER, key, prefix, secs};
use wire::address::InstanceId;
use wire::control::auth::{Algorithm, TagForm};
use wire::control::{ControlMessage, EidRequest, MapReply, MapRequest, Nonce};
use wire::data::{Ipv6Header, LispHeader, OuterHeader, TrafficClass};
use wire::record::{LocatorRecord, MapVersion, MappingRecord, Ttl};
use xtr::counters::{Count, Counters, DropReason};
use xtr::database::{Database, OwnLocator, RecordForm};
use xtr::engine::{Config, Input};
use xtr::etr::{Arrival, Etr, EtrConfig, OuterInfo};
use xtr::itr::{Itr, ItrConfig, Output, Verdict};
use xtr::map_cache::{Event, Forwarding, OwnMapping, Update};
use xtr::reach::EchoState;
use xtr::refusal::Refusal;
use xtr::register::Server;
use xtr::transport::MapSystem;
use xtr::trust::Trust;

/// EID-prefix, host and locators of each site; the first locator is preferred.
const SITES: [(&str, &str, [&str; 2]); 2] = [
    ("2001:db8:a::/48", "2001:db8:a::1", ["192.0.2.1", "192.0.2.2"]),
    ("2001:db8:b::/48", "2001:db8:b::1", ["198.51.100.1", "198.51.100.2"]),
];
const STEP: Duration = Duration::from_millis(10);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn own(address: &str, priority: u8) -> OwnLocator {
    OwnLocator { address: ip(address), priority, weight: 100 }
}

fn own_locators(site: usize) -> Vec<OwnLocator> {
    (1..).zip(SITES[site].2).map(|(priority, rloc)| own(rloc, priority)).collect()
}

/// Both sites trust each other.
fn trust() -> Trust {
    let networks = ["192.0.2.0/24", "198.51.100.0/24"].map(|net| net.parse().unwrap());
    Trust::of(&networks)
}

struct Xtr {
    node: Node,
    itr: Itr,
    etr: Etr,
    counters: Arc<Counters>,
    /// When a packet was sent, with this header.
    sent: Vec<(Instant, OuterHeader)>,
    sends: bool,
}

impl Xtr {
    fn new(now: Instant, site: usize, trust: &Trust, version: u16) -> Self {
        let (net, _, rlocs) = SITES[site];
        let database = Database::new(vec![prefix(net)], own_locators(site), Ttl::DEFAULT);
        let mut node = Node::from_config(Config {
            database: database.with_map_version(MapVersion(version)),
            cgeid_network: None,
            servers: vec![],
            resolvers: vec![MapSystem::Node(ip(RESOLVER))],
            nonce_floor: Nonce(1000),
            seed: [u8::try_from(site).unwrap(); 32],
        });
        node.now = now;
        node.control = node.control.trusting(now, trust.clone(), [9 + u8::try_from(site).unwrap(); 32]);
        let counters = Arc::new(Counters::default());
        let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
        let mut itr = Itr::new(now, config, counters.clone()).trusting(trust.clone());
        itr.update(now, Update::LocalRlocs(rlocs.map(ip).to_vec()));
        itr.update(now, Update::LocalEids(vec![prefix(net)]));
        let mut etr = Etr::new(EtrConfig { trust: trust.clone(), ..EtrConfig::default() }, counters.clone());
        etr.set_local_eids(&[prefix(net)]);
        Self { node, itr, etr, counters, sent: vec![], sends: true }
    }

    /// What control says goes to the packet half, and the other way round.
    fn exchange(&mut self) {
        let now = self.node.now;
        self.etr.advance(now);
        self.itr.handle_timeout(now);
        loop {
            let updates = self.node.updates();
            for update in &updates {
                self.etr.update(update);
                self.itr.update(now, update.clone());
            }
            let of_itr = std::iter::from_fn(|| self.itr.poll_event()).collect::<Vec<_>>();
            let of_etr = std::iter::from_fn(|| self.etr.poll_event());
            let events: Vec<Event> = of_itr.into_iter().chain(of_etr).collect();
            if updates.is_empty() && events.is_empty() {
                return;
            }
            events.into_iter().for_each(|event| self.node.event(event));
        }
    }

    fn receive(&mut self, outer: &OuterHeader, inner: &[u8]) {
        let OuterHeader { source, destination, source_port, ttl, class, .. } = *outer;
        let outer_info = OuterInfo { source, destination, source_port, ttl, class };
        let _: Arrival<'_> = self.etr.receive(&outer_info, &mut [outer.lisp.emit().as_slice(), inner].concat());
    }

    fn sent_since(&self, since: Instant) -> impl Iterator<Item = &(Instant, OuterHeader)> {
        self.sent.iter().filter(move |(at, _)| *at >= since)
    }

    fn last(&self) -> OuterHeader {
        self.sent.last().unwrap().1
    }
}

/// The two sites: 0 is near, 1 is far.
struct Lab {
    sites: [Xtr; 2],
    /// Nothing for this locator arrives, neither packets nor probes.
    dead: Option<IpAddr>,
    /// No packets for this locator arrive.
    deaf: Option<IpAddr>,
    loses_smrs: bool,
    /// Probes of the far site get lost: one from its other locator would put this one in doubt.
    loses_far_probes: bool,
    /// The mapping system has this record of the far site still.
    old: Option<MappingRecord>,
}

impl Lab {
    fn new(trusts: [Trust; 2], versions: [u16; 2]) -> Self {
        let now = Instant::now();
        let sites = [0, 1].map(|site| Xtr::new(now, site, &trusts[site], versions[site]));
        let mut lab = Self { sites, dead: None, deaf: None, loses_smrs: false, loses_far_probes: false, old: None };
        lab.run(secs(2));
        lab.sites.iter_mut().for_each(|site| site.sent.clear());
        lab
    }

    fn echoing() -> Self {
        Self::new([trust().with_echo_nonce(true), trust().with_echo_nonce(true)], [0, 0])
    }

    /// A packet in each direction every ten milliseconds.
    fn run(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            for site in 0..2 {
                self.sites[site].node.advance(STEP);
                self.carry_control(site);
                self.sites[site].exchange();
                self.carry_control(site);
                if self.sites[site].sends {
                    self.send(site);
                }
                self.sites[site].exchange();
            }
        }
    }

    fn now(&self) -> Instant {
        self.sites[1].node.now
    }

    fn carry_control(&mut self, site: usize) {
        let probes = std::mem::take(&mut self.sites[site].node.probes);
        let smrs = std::mem::take(&mut self.sites[site].node.smrs);
        let is_lost = |remote: &SocketAddr| self.dead == Some(remote.ip()) || site == 1 && self.loses_far_probes;
        let of_probes = probes.into_iter().filter(|(_, remote, _)| !is_lost(remote));
        let requests: Vec<_> = of_probes.chain(smrs.into_iter().filter(|_| !self.loses_smrs)).collect();
        let other = &mut self.sites[1 - site].node;
        for (local, remote, request) in requests {
            let bytes = ControlMessage::from(request).encode().unwrap();
            other.bytes_at(remote, &format!("{local}:4342"), &bytes);
        }
        for (local, remote, bytes) in std::mem::take(&mut self.sites[site].node.sent) {
            match ControlMessage::decode(&bytes).unwrap() {
                // The mapping system knows what the far site says, and answers for it, without E.
                ControlMessage::Ecm(ecm) => {
                    let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else {
                        panic!()
                    };
                    let reply = self.registered(1 - site, &request);
                    self.sites[site].node.reply(&reply);
                }
                _ => self.sites[1 - site].node.bytes_at(remote, &format!("{local}:4342"), &bytes),
            }
        }
    }

    fn registered(&self, site: usize, request: &MapRequest) -> MapReply {
        let form = RecordForm { authoritative: false, probed: None };
        let record = self.sites[site].node.control.database().record(prefix(SITES[site].0), form);
        let record = self.old.clone().filter(|_| site == 1).unwrap_or(record);
        MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() }
    }

    fn send(&mut self, site: usize) {
        let [(_, source, _), (_, destination, _)] = [SITES[site], SITES[1 - site]];
        let packet = inner(source, destination);
        let now = self.sites[site].node.now;
        let mut sent = Vec::new();
        if let Verdict::Encapsulate(outer, inner) = self.sites[site].itr.handle(now, &packet) {
            sent.push((outer, inner.to_vec()));
        }
        // What has waited for a mapping.
        while let Some(output) = self.sites[site].itr.poll() {
            let Output::Core(outer, inner) = output else { panic!("{output:?}") };
            sent.push((outer, inner));
        }
        for (outer, inner) in sent {
            assert!(LispHeader::flags_agree(outer.lisp.emit()[0]), "{:?}", outer.lisp);
            self.sites[site].sent.push((now, outer));
            if self.dead != Some(outer.destination) && self.deaf != Some(outer.destination) {
                self.sites[1 - site].receive(&outer, &inner);
            }
        }
    }

    fn dropped(&self, site: usize, reason: DropReason) -> u64 {
        self.sites[site].counters.dropped(reason)
    }
}

fn inner(source: &str, destination: &str) -> Vec<u8> {
    let header = Ipv6Header {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        next_header: 59,
        hop_limit: 64,
        class: TrafficClass(0),
        flow_label: 0,
    };
    header.emit(0).unwrap().to_vec()
}

// --- echo-nonce

#[test]
fn both_ends_ask_and_both_hear_their_echoes() {
    let mut lab = Lab::echoing();
    lab.run(secs(120));
    for site in &lab.sites {
        let counts = site.node.control.counts();
        // The other locator, which no packets go to, is asked for nothing.
        assert!((18..=30).contains(&counts.echoes_received), "{counts:?}");
        assert_eq!((counts.echoes_missed, counts.locators_lost), (0, 0), "{counts:?}");
        let asked = site.sent.iter().filter(|(_, outer)| outer.lisp.echo).count();
        assert!(asked < site.sent.len() / 20, "{asked} of {}: an echo takes a round trip", site.sent.len());
    }
    let nonces = |site: usize| lab.sites[site].sent.iter().filter(|(_, outer)| outer.lisp.echo);
    assert!(nonces(0).all(|(_, asked)| nonces(1).all(|(_, other)| other.lisp.nonce != asked.lisp.nonce)));
}

/// Neither probes, nor the packets that come, nor those that are missing show this but the echo.
#[test]
fn a_locator_that_packets_do_not_reach_is_left_though_its_own_arrive() {
    let mut lab = Lab::echoing();
    let [first, second] = SITES[1].2.map(ip);
    lab.run(secs(40));
    assert_eq!(lab.sites[0].last().destination, first);
    (lab.dead, lab.loses_far_probes) = (Some(first), true);
    let killed = lab.now();
    lab.run(secs(30));
    let near = &lab.sites[0];
    let last =
        near.sent_since(killed).filter(|(_, outer)| outer.destination == first).map(|(at, _)| *at).max().unwrap();
    assert!(last - killed < secs(10), "{:?}", last - killed);
    assert_eq!((near.last().destination, near.node.control.counts().echoes_missed), (second, 1));
    assert_eq!(near.node.control.echo_state(first), Some(EchoState::Unanswered));
    let back = lab.now();
    lab.dead = None;
    lab.run(secs(35));
    let first_again = lab.sites[0].sent_since(back).find(|(_, outer)| outer.destination == first).unwrap().0;
    assert!(first_again - back <= secs(31), "a probe brings it back: {:?}", first_again - back);
    assert_eq!(lab.sites[0].last().destination, first);
}

#[test]
fn the_answer_of_a_probe_counts_more_than_a_missing_echo_and_for_a_minute() {
    let mut lab = Lab::echoing();
    let first = ip(SITES[1].2[0]);
    lab.run(secs(10));
    lab.deaf = Some(first);
    let killed = lab.now();
    lab.run(secs(50));
    let near = &lab.sites[0];
    let elsewhere = near.sent_since(killed).filter(|(_, outer)| outer.destination != first).count();
    assert_eq!(near.node.control.counts().echoes_missed, 1);
    assert!(elsewhere < 10, "{elsewhere} packets went elsewhere until the probe was answered");
}

/// Where no other locator is left packets go on to the one that is said to be dead: an echo shows that it is not.
#[test]
fn a_late_echo_brings_the_only_locator_back() {
    let mut lab = Lab::echoing();
    let first = ip(SITES[1].2[0]);
    lab.sites[1].node.input(Input::Locators(vec![own(SITES[1].2[0], 1)]));
    lab.run(secs(10));
    lab.dead = Some(first);
    lab.run(secs(20));
    assert!(!lab.sites[0].node.control.is_usable(first));
    assert_eq!(lab.sites[0].last().destination, first);
    // Packets arrive again, probes do not.
    let Lab { dead, .. } = &mut lab;
    *dead = None;
    let before = lab.now();
    while !lab.sites[0].node.control.is_usable(first) && lab.now() - before < secs(120) {
        lab.sites[0].node.probes.clear();
        lab.run(STEP);
    }
    assert!(lab.sites[0].node.control.is_usable(first));
}

#[test]
fn without_packets_from_there_a_missing_echo_proves_nothing() {
    let mut lab = Lab::echoing();
    lab.run(secs(10));
    lab.sites[1].sends = false;
    let start = lab.now();
    lab.run(secs(60));
    assert!(lab.sites[0].sent_since(start).any(|(_, outer)| outer.lisp.echo), "it asks");
    assert_eq!(lab.sites[0].node.control.counts().echoes_missed, 0);
    assert!(lab.sites[0].node.control.is_usable(ip(SITES[1].2[0])));
}

#[test]
fn who_does_not_say_that_it_echoes_is_never_asked() {
    for far in [trust(), Trust::default().with_echo_nonce(true)] {
        let mut lab = Lab::new([trust().with_echo_nonce(true), far], [0, 0]);
        lab.run(secs(60));
        for site in &lab.sites {
            assert!(site.sent.iter().all(|(_, outer)| outer.lisp == LispHeader::default()));
        }
        let state = lab.sites[0].node.control.echo_state(ip(SITES[1].2[0]));
        assert_eq!(state, Some(EchoState::Incapable));
    }
}

#[test]
fn who_does_not_trust_answers_no_nonce() {
    let mut lab = Lab::new([trust().with_echo_nonce(true), Trust::default()], [0, 0]);
    let asking = LispHeader { nonce: Some(7), echo: true, ..LispHeader::default() };
    let (_, source, rlocs) = SITES[0];
    let outer = OuterHeader {
        source: ip(rlocs[0]),
        destination: ip(SITES[1].2[0]),
        source_port: 50_000,
        destination_port: wire::DATA_PORT,
        ttl: 60,
        class: TrafficClass(0),
        flow_label: 0,
        lisp: asking,
    };
    lab.sites[1].receive(&outer, &inner(source, SITES[1].1));
    lab.run(secs(2));
    assert!(lab.sites[1].sent.iter().all(|(_, outer)| outer.lisp == LispHeader::default()));
    assert_eq!(lab.sites[1].counters.get(Count::FlagsIgnored), 1);
}

#[test]
fn a_map_reply_says_that_the_site_echoes_to_trusted_peers_alone() {
    for (trust, expected) in [
        (trust().with_echo_nonce(true), true),
        (trust(), false),
        (Trust::of(&["203.0.113.0/24".parse().unwrap()]).with_echo_nonce(true), false),
    ] {
        let mut xtr = Xtr::new(Instant::now(), 0, &trust, 0);
        let request = MapRequest {
            nonce: Nonce(5),
            itr_rlocs: vec![ip(SITES[1].2[0]).into()],
            records: vec![EidRequest { notify: false, eid: prefix(SITES[0].0).into() }],
            ..MapRequest::default()
        };
        xtr.node.datagram("198.51.100.1:4342", &ControlMessage::from(request));
        assert_eq!(xtr.node.reply_sent().1.echo_nonce, expected);
    }
}

/// Whoever has a mapping may write the locators of others into it: only the answer to a probe of a locator speaks for that.
#[test]
fn the_e_bit_of_a_map_reply_that_lists_a_locator_changes_nothing() {
    let mut lab = Lab::echoing();
    lab.run(secs(10));
    let near = &mut lab.sites[0].node;
    let peer = ip(SITES[1].2[0]);
    let before = near.control.echo_state(peer);
    assert_ne!(before, Some(EchoState::Incapable));
    let locators = vec![LocatorRecord::new(peer, 1, 100)];
    let strangers = ["2001:db8:77::/48", "2001:db8:78::/48"];
    for (stranger, echo_nonce) in strangers.iter().zip([false, true]) {
        let (_, request) = near.miss(&stranger.replace("/48", "1/128"));
        let record = MappingRecord::new(prefix(stranger), Ttl::DEFAULT, locators.clone());
        let record = MappingRecord { authoritative: true, ..record };
        near.reply(&MapReply { echo_nonce, nonce: request.nonce, records: vec![record], ..MapReply::default() });
        assert_eq!(near.control.echo_state(peer), before, "E {echo_nonce}");
    }
    // Nor does it make one be asked that has not said so itself.
    let mut xtr = Xtr::new(Instant::now(), 0, &trust().with_echo_nonce(true), 0);
    let (_, request) = xtr.node.miss("2001:db8:b::1/128");
    let records = vec![MappingRecord::new(prefix(SITES[1].0), Ttl::DEFAULT, locators)];
    xtr.node.reply(&MapReply { echo_nonce: true, nonce: request.nonce, records, ..MapReply::default() });
    xtr.node.advance(secs(1));
    assert_eq!(xtr.node.control.echo_state(peer), Some(EchoState::Incapable));
}

// --- locator-status-bits

fn with_bits(versions: [u16; 2]) -> Lab {
    Lab::new([trust().with_status_bits(true), trust().with_status_bits(true)], versions)
}

#[test]
fn a_locator_whose_bit_falls_is_not_used_until_it_rises() {
    for versions in [[0, 0], [7, 9]] {
        let mut lab = with_bits(versions);
        let [first, second] = SITES[1].2.map(ip);
        // No SMR tells it, and the version stays: the bits alone do.
        lab.loses_smrs = true;
        lab.run(secs(2));
        assert_eq!((lab.sites[0].last().destination, lab.sites[1].last().lisp.status_bits), (first, Some(0b11)));
        let locators = own_locators(1);
        lab.sites[1].node.input(Input::Reached { locators: locators.clone(), unreachable: vec![first] });
        lab.run(secs(2));
        let said = lab.sites[1].last();
        assert_eq!((said.source, said.lisp.status_bits), (second, Some(0b10)), "of the second in our record");
        assert_eq!(lab.sites[0].last().destination, second, "versions {versions:?}");
        lab.run(secs(10));
        assert_eq!(lab.sites[0].last().destination, second);
        lab.sites[1].node.input(Input::Reached { locators, unreachable: vec![] });
        lab.run(secs(2));
        assert_eq!(lab.sites[0].last().destination, first);
        assert_eq!(lab.sites[0].node.control.counts().locators_lost, 0);
    }
}

#[test]
fn bits_are_of_one_mapping_and_survive_its_refresh_but_no_new_version() {
    let (mut node, event) = node_with_two_mappings();
    let sites = |node: &mut Node| -> Vec<(String, usize)> {
        let upserts = node.updates().into_iter().filter_map(|update| match update {
            Update::Upsert { prefix, entry } => Some((prefix.to_string(), entry.forwarding)),
            _ => None,
        });
        let count = |forwarding| match forwarding {
            Forwarding::Locators(locators) => locators.len(),
            Forwarding::Negative(_) | Forwarding::Binding(_) => 0,
        };
        upserts.map(|(prefix, forwarding)| (prefix, count(forwarding))).collect()
    };
    let of = |net: &str, count| vec![(net.to_owned(), count)];
    node.event(event(0b10, 32, 5));
    assert_eq!(sites(&mut node), of("2001:db8:b::/48", 1), "the other mapping with this locator is left alone");
    let (prefix_b, installed) =
        node.control.map_cache(node.now).find(|(net, _)| **net == prefix("2001:db8:b::/48")).unwrap();
    assert_eq!(node.control.down_by_status_bits(prefix_b, installed), [ip("198.51.100.1")]);
    refresh(&mut node, 5);
    assert_eq!(sites(&mut node), of("2001:db8:b::/48", 1), "of the same version");
    refresh(&mut node, 6);
    assert_eq!(sites(&mut node), of("2001:db8:b::/48", 2), "the next may have other locators");
    node.event(event(0b10, 32, 5));
    assert_eq!((sites(&mut node), node.refused(Refusal::StatusBitsOfAnother)), (vec![], 1));
}

#[test]
fn bits_count_the_locators_of_the_record_those_that_are_not_used_among_them() {
    let mut node = trusting_node();
    let multicast = LocatorRecord::new(ip("224.0.0.1"), 1, 100);
    let locators = vec![multicast, locator("198.51.100.1"), locator("198.51.100.2")];
    map(&mut node, "2001:db8:b::1/128", record("2001:db8:b::/48", 5, locators));
    node.updates();
    node.event(status_bits("198.51.100.2", 0b101, 32, 5));
    let locators = locators_told(&mut node);
    assert_eq!(locators, [ip("198.51.100.2")]);
}

#[test]
fn bits_that_leave_no_locator_to_be_used_say_nothing() {
    let both = [ip("198.51.100.1"), ip("198.51.100.2")];
    let (mut node, event) = node_with_two_mappings();
    node.event(event(0b10, 32, 5));
    assert_eq!(locators_told(&mut node), both[1..]);
    node.event(event(0, 32, 5));
    assert_eq!(locators_told(&mut node), both, "all clear is no reason to send nothing");
    let (prefix_b, installed) =
        node.control.map_cache(node.now).find(|(net, _)| **net == prefix("2001:db8:b::/48")).unwrap();
    assert_eq!(node.control.down_by_status_bits(prefix_b, installed), Vec::<IpAddr>::new());
    node.event(event(0b1, 32, 5));
    assert_eq!(locators_told(&mut node), both[..1]);

    let mut node = trusting_node();
    let never = LocatorRecord::new(ip("198.51.100.2"), LocatorRecord::UNUSABLE, 0);
    map(&mut node, "2001:db8:b::1/128", record("2001:db8:b::/48", 5, vec![locator("198.51.100.1"), never]));
    node.updates();
    node.event(status_bits("198.51.100.1", 0b10, 32, 5));
    assert_eq!(locators_told(&mut node), both[..1], "the one that is up is for no packets");
}

#[test]
fn beside_an_instance_nothing_is_said_of_the_ninth_locator() {
    let mut node = trusting_node();
    let locators: Vec<_> = (1..=10).map(|number| locator(&format!("198.51.100.{number}"))).collect();
    map(&mut node, "2001:db8:b::1/128", record("2001:db8:b::/48", 0, locators));
    node.updates();
    node.event(status_bits("198.51.100.10", 0b1111_1110, 8, 0));
    let locators = locators_told(&mut node);
    assert_eq!(locators.len(), 9);
    assert!(!locators.contains(&ip("198.51.100.1")));
}

#[test]
fn a_peer_says_nothing_of_the_mappings_of_another() {
    let (mut node, _) = node_with_two_mappings();
    node.event(status_bits("198.51.100.77", 0, 32, 5));
    node.event(Event::StatusBits {
        prefix: prefix("2001:db8:d::/48"),
        rloc: ip("198.51.100.1"),
        version: MapVersion(5),
        bits: 0,
        width: 32,
    });
    assert_eq!((node.updates(), node.refused(Refusal::StatusBitsOfAnother)), (vec![], 2));
}

#[test]
fn after_a_locator_has_come_or_gone_no_bits_are_sent_for_five_minutes() {
    let mut xtr = Xtr::new(Instant::now(), 0, &trust().with_status_bits(true), 7);
    xtr.node.advance(secs(1));
    let said = |node: &mut Node| {
        let own = node.updates().into_iter().filter_map(|update| match update {
            Update::Own(OwnMapping { version, status_bits, .. }) => Some((version.0, status_bits)),
            _ => None,
        });
        own.collect::<Vec<_>>()
    };
    xtr.node.control.handle_timeout(xtr.node.now);
    xtr.node.collect();
    assert_eq!(said(&mut xtr.node), [(7, Some(0b11))]);
    let three = [own_locators(0), vec![own("192.0.2.9", 1)]].concat();
    xtr.node.input(Input::Locators(three.clone()));
    assert_eq!(said(&mut xtr.node), [(8, None)]);
    xtr.node.advance(secs(299));
    // A change that adds and removes none does not begin anew.
    xtr.node.input(Input::Reached { locators: three, unreachable: vec![ip("192.0.2.2")] });
    assert_eq!(said(&mut xtr.node), []);
    xtr.node.advance(secs(1));
    assert_eq!(said(&mut xtr.node), [(8, Some(0b101))]);
    assert_eq!(xtr.node.control.status_bits(), Some(0b101));
}

// --- map-versions

#[test]
fn packets_tell_both_versions_and_the_map_cache_shows_theirs() {
    let mut lab = Lab::new([trust(), trust()], [69, 4095]);
    lab.run(secs(1));
    for (site, source, destination) in [(0, 69, 4095), (1, 4095, 69)] {
        let versions = lab.sites[site].last().lisp.versions.unwrap();
        assert_eq!((versions.source, versions.destination), (MapVersion(source), MapVersion(destination)));
    }
    let shown = lab.sites[0].node.control.map_cache(lab.now()).next().unwrap().1.map_version;
    assert_eq!(shown, MapVersion(4095));
}

#[test]
fn registers_carry_the_version_and_the_next_one_after_a_change() {
    let net = SITES[0].0;
    let server = Server {
        to: MapSystem::Node(ip(SERVER)),
        key: key(Algorithm::HkdfSha256),
        tag: TagForm::Truncated,
        narrow_coverage: false,
        proxy_reply: true,
        identity: None,
        prefixes: vec![prefix(net)],
    };
    let mut node = Node::from_config(Config {
        database: Database::new(vec![prefix(net)], own_locators(0), Ttl::DEFAULT).with_map_version(MapVersion(4095)),
        cgeid_network: None,
        servers: vec![server],
        resolvers: vec![],
        nonce_floor: Nonce(1000),
        seed: [7; 32],
    });
    assert_eq!(node.register().1.records[0].map_version, MapVersion(4095));
    node.input(Input::Locators(vec![own(SITES[0].2[0], 1)]));
    assert_eq!(node.register().1.records[0].map_version, MapVersion(1), "0 is no version");
    let mut plain = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    assert_eq!(plain.register().1.records[0].map_version, MapVersion(0));
    plain.input(Input::Locators(vec![own(SITES[0].2[1], 1)]));
    assert_eq!(plain.register().1.records[0].map_version, MapVersion(0), "none is made up");
}

#[test]
fn to_a_site_without_versions_none_is_told() {
    let mut lab = Lab::new([trust(), trust()], [69, 0]);
    lab.run(secs(5));
    for site in &lab.sites {
        assert!(site.sent.iter().all(|(_, outer)| outer.lisp == LispHeader::default()));
        assert_eq!(site.counters.get(Count::Decapsulated), site.counters.get(Count::Encapsulated));
    }
}

#[test]
fn a_newer_version_of_the_source_brings_the_new_mapping_without_any_smr() {
    let mut lab = Lab::new([trust(), trust()], [69, 4095]);
    lab.loses_smrs = true;
    let [first, second] = SITES[1].2;
    lab.sites[1].node.input(Input::Locators(vec![own(first, 2), own(second, 1)]));
    lab.run(secs(2));
    assert_eq!(lab.sites[1].node.control.database().map_version(), MapVersion(1), "after 4095 comes 1");
    let said = lab.sites[0].last();
    assert_eq!((said.destination, said.lisp.versions.unwrap().destination), (ip(second), MapVersion(1)));
    assert!(lab.sites[0].counters.get(Count::SourceVersionNewer) > 0);
    assert_eq!(lab.sites[1].node.control.counts().smrs_received, 0);
}

#[test]
fn an_itr_that_keeps_an_old_mapping_is_told_then_dropped_and_heard_again_when_it_asks() {
    let mut lab = Lab::new([trust(), trust()], [69, 9]);
    // The mapping system lags behind, and packets go one way only: nothing but SMRs would tell the near site.
    lab.old = lab.registered(1, &MapRequest::default()).records.pop();
    lab.sites[1].sends = false;
    lab.loses_smrs = true;
    let [first, second] = SITES[1].2;
    lab.sites[1].node.input(Input::Locators(vec![own(first, 2), own(second, 1)]));
    lab.run(secs(27));
    assert_eq!(lab.dropped(1, DropReason::CoreVersionStale), 0);
    assert!(lab.sites[1].counters.get(Count::VersionOld) > 2000);
    lab.run(secs(13));
    let dropped = lab.dropped(1, DropReason::CoreVersionStale);
    assert!(dropped > 900, "{dropped}");
    let told = lab.sites[1].node.control.counts().smrs_sent;
    assert!((10..=14).contains(&told), "{told}");
    (lab.loses_smrs, lab.old) = (false, None);
    lab.run(secs(31));
    assert_eq!(lab.sites[0].last().lisp.versions.unwrap().destination, MapVersion(10));
    let dropped = lab.dropped(1, DropReason::CoreVersionStale);
    lab.run(secs(10));
    assert_eq!(lab.dropped(1, DropReason::CoreVersionStale), dropped);
}

#[test]
fn who_keeps_saying_newer_costs_a_request_in_three_seconds() {
    let (mut node, _) = node_with_two_mappings();
    let mut asked = 0;
    for _ in 0..300 {
        node.event(Event::VersionNewer { prefix: prefix("2001:db8:b::/48") });
        for (_, request) in node.requests() {
            asked += 1;
            let locators = vec![locator("198.51.100.1"), locator("198.51.100.2")];
            let records = vec![record("2001:db8:b::/48", 5, locators)];
            node.reply(&MapReply { nonce: request.nonce, records, ..MapReply::default() });
        }
        node.advance(Duration::from_millis(100));
    }
    assert!((9..=11).contains(&asked), "{asked}");
    node.event(Event::VersionNewer { prefix: prefix("2001:db8:77::/48") });
    assert!(node.requests().is_empty(), "of what is not cached nothing is asked");
}

// --- parts

fn locator(rloc: &str) -> LocatorRecord {
    LocatorRecord::new(ip(rloc), 1, 100)
}

fn record(net: &str, version: u16, locators: Vec<LocatorRecord>) -> MappingRecord {
    let record = MappingRecord::new(prefix(net), Ttl::DEFAULT, locators);
    MappingRecord { map_version: MapVersion(version), authoritative: false, ..record }
}

fn status_bits(rloc: &str, bits: u32, width: u8, version: u16) -> Event {
    let prefix = prefix("2001:db8:b::/48");
    Event::StatusBits { prefix, rloc: ip(rloc), version: MapVersion(version), bits, width }
}

fn trusting_node() -> Node {
    let mut node = Node::plain();
    node.control = node.control.trusting(node.now, trust().with_status_bits(true), [3; 32]);
    node
}

/// The locators of the only entry that the packet half was told.
fn locators_told(node: &mut Node) -> Vec<IpAddr> {
    let updates = node.updates();
    let [Update::Upsert { entry, .. }, Update::Peer { .. }] = updates.as_slice() else { panic!("{updates:?}") };
    let Forwarding::Locators(locators) = &entry.forwarding else { panic!("{entry:?}") };
    locators.iter().map(|locator| locator.address).collect()
}

fn map(node: &mut Node, eid: &str, record: MappingRecord) {
    let (_, request) = node.miss(eid);
    node.reply(&MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() });
}

/// Two mappings with the same locators, and bits for one of them.
fn node_with_two_mappings() -> (Node, impl Fn(u32, u8, u16) -> Event) {
    let mut node = trusting_node();
    let locators = || vec![locator("198.51.100.1"), locator("198.51.100.2")];
    map(&mut node, "2001:db8:b::1/128", record("2001:db8:b::/48", 5, locators()));
    map(&mut node, "2001:db8:c::1/128", record("2001:db8:c::/48", 5, locators()));
    node.updates();
    (node, |bits, width, version| status_bits("198.51.100.2", bits, width, version))
}

fn refresh(node: &mut Node, version: u16) {
    node.advance(secs(2));
    node.requests();
    node.event(Event::Refresh { prefix: prefix("2001:db8:b::/48") });
    let (_, request) = node.requests().remove(0);
    let locators = vec![locator("198.51.100.1"), locator("198.51.100.2")];
    let records = vec![record("2001:db8:b::/48", version, locators)];
    node.reply(&MapReply { nonce: request.nonce, records, ..MapReply::default() });
}
