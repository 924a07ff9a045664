// SPDX-License-Identifier: GPL-2.0-or-later
//! What packets to trusted peers carry, and those to others do not.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv4Header, LispHeader, MapVersions, OuterHeader, TrafficClass};
use wire::record::MapVersion;

use super::{Itr, ItrConfig, Verdict};
use crate::counters::{Count, Counters};
use crate::limits;
use crate::map_cache::{Entry, Event, Forwarding, Locator, OwnMapping, Update};
use crate::trust::Trust;

const PEER: &str = "192.0.2.9";
const OTHER_PEER: &str = "192.0.2.10";
const STRANGER: &str = "198.51.100.1";
const OURS: &str = "203.0.113.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

fn packet(destination: &str) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (ip("10.0.0.1"), ip(destination)) else { unreachable!() };
    let header = Ipv4Header { source, destination, protocol: 17, ttl: 9, class: TrafficClass(0), dont_fragment: true };
    [header.emit(4).unwrap().as_slice(), &[1, 2, 3, 4]].concat()
}

struct Bench {
    itr: Itr,
    counters: Arc<Counters>,
    now: Instant,
    iid: InstanceId,
}

impl Bench {
    /// An ITR with 10.1.0.0/24 behind a trusted peer, 10.2.0.0/24 behind another, and 10.3.0.0/24 behind a stranger.
    fn new(iid: u32) -> Self {
        Self::with(iid, Trust::of(&["192.0.2.0/24".parse().unwrap()]).with_echo_nonce(true).with_status_bits(true))
    }

    fn with(iid: u32, trust: Trust) -> Self {
        let (counters, now, iid) = (Arc::new(Counters::default()), Instant::now(), InstanceId(iid));
        let config = ItrConfig { iid, icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
        let mut itr = Itr::new(now, config, counters.clone()).trusting(trust);
        itr.update(now, Update::LocalRlocs(vec![ip(OURS)]));
        let mut bench = Self { itr, counters, now, iid };
        let ours = bench.prefix("10.0.0.0/24");
        bench.tell(Update::LocalEids(vec![ours]));
        for (net, rloc) in [("10.1.0.0/24", PEER), ("10.2.0.0/24", OTHER_PEER), ("10.3.0.0/24", STRANGER)] {
            bench.map(net, rloc);
        }
        bench
    }

    fn map(&mut self, net: &str, rloc: &str) {
        let locators = vec![Locator { address: ip(rloc), priority: 1, weight: 1 }];
        let expires = self.now + Duration::from_secs(600);
        let entry = Entry { forwarding: Forwarding::Locators(locators), expires };
        self.tell(Update::Upsert { prefix: self.prefix(net), entry });
    }

    fn prefix(&self, net: &str) -> EidPrefix {
        EidPrefix { iid: self.iid, ..prefix(net) }
    }

    fn tell(&mut self, update: Update) {
        self.itr.update(self.now, update);
    }

    fn own(&mut self, version: u16, status_bits: Option<u32>) {
        self.tell(Update::Own(OwnMapping { version: MapVersion(version), status_bits, others_end: None }));
    }

    fn version_of(&mut self, net: &str, version: u16) {
        let (prefix, expires) = (self.prefix(net), self.now + Duration::from_secs(600));
        self.tell(Update::Peer { prefix, version: MapVersion(version), rlocs: Arc::default(), expires });
    }

    fn ask(&mut self, rloc: &str, nonce: Option<u32>) {
        self.tell(Update::EchoRequest { rloc: ip(rloc), nonce, suspended: false });
    }

    fn answer(&mut self, rloc: &str, nonce: u32) {
        self.tell(Update::EchoAnswer { rloc: ip(rloc), nonce });
    }

    fn outer(&mut self, destination: &str) -> OuterHeader {
        match self.itr.handle(self.now, &packet(destination)) {
            Verdict::Encapsulate(header, _) => header,
            other => panic!("{other:?}"),
        }
    }

    fn sent(&mut self, destination: &str) -> LispHeader {
        let header = self.outer(destination).lisp();
        assert!(LispHeader::flags_agree(header.emit()[0]), "{header:?}");
        header
    }

    /// First word of the header.
    fn word(&mut self, destination: &str) -> u32 {
        let octets = self.sent(destination).emit();
        u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]])
    }

    /// The peer sends a packet that is decapsulated.
    fn heard(&self, rloc: &str) {
        self.heard_at(rloc, OURS);
    }

    /// The same to another locator of ours.
    fn heard_at(&self, rloc: &str, ours: &str) {
        self.counters.heard().note(ip(rloc));
        self.counters.heard().note_peer(ip(rloc), ip(ours));
    }

    fn advance(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.itr.handle_timeout(self.now);
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.itr.poll_event()).filter(|event| !matches!(event, Event::Silent { .. })).collect()
    }
}

#[test]
fn to_strangers_nothing_is_said_whatever_control_says() {
    for trust in [Trust::default(), Trust::of(&["192.0.2.0/24".parse().unwrap()])] {
        let mut bench = Bench::with(0, trust);
        bench.own(7, Some(3));
        bench.version_of("10.3.0.0/24", 9);
        bench.ask(STRANGER, Some(1));
        bench.answer(STRANGER, 2);
        assert_eq!(bench.sent("10.3.0.1").emit(), [0; 8]);
    }
}

#[test]
fn with_nothing_to_say_a_packet_to_a_peer_is_plain() {
    let mut bench = Bench::new(0);
    assert_eq!(bench.sent("10.1.0.1").emit(), [0; 8]);
    let mut bench = Bench::new(0xab_cdef);
    assert_eq!(bench.sent("10.1.0.1").emit(), [8, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
}

#[test]
fn every_packet_asks_while_an_echo_is_asked_for_and_each_locator_for_its_own() {
    let mut bench = Bench::new(0);
    bench.ask(PEER, Some(0x12_3456));
    bench.ask(OTHER_PEER, Some(0x65_4321));
    for _ in 0..3 {
        assert_eq!(bench.word("10.1.0.1"), 0xa012_3456);
        assert_eq!(bench.word("10.2.0.1"), 0xa065_4321);
    }
    bench.ask(PEER, None);
    assert_eq!((bench.word("10.1.0.1"), bench.word("10.2.0.1")), (0, 0xa065_4321));
    let suspended = Update::EchoRequest { rloc: ip(OTHER_PEER), nonce: Some(0x65_4321), suspended: true };
    bench.tell(suspended);
    assert_eq!(bench.word("10.2.0.1"), 0);
}

#[test]
fn the_next_packet_answers_and_those_behind_it_do_not() {
    let mut bench = Bench::new(0);
    bench.answer(PEER, 0xab_cdef);
    assert_eq!(bench.word("10.2.0.1"), 0, "it is another's");
    assert_eq!((bench.word("10.1.0.1"), bench.word("10.1.0.1")), (0x80ab_cdef, 0));
    // An answer goes before a request of our own.
    bench.ask(PEER, Some(7));
    bench.answer(PEER, 8);
    assert_eq!([(); 3].map(|()| bench.word("10.1.0.1")), [0x8000_0008, 0xa000_0007, 0xa000_0007]);
}

#[test]
fn versions_are_told_when_both_are_known_and_no_nonce_is_to_be() {
    let mut bench = Bench::new(0);
    bench.own(0x123, None);
    assert_eq!(bench.word("10.1.0.1"), 0, "that of the destination is not known");
    bench.version_of("10.1.0.0/24", 0x456);
    bench.version_of("10.2.0.0/24", 0x789);
    let expected = MapVersions { source: MapVersion(0x123), destination: MapVersion(0x456) };
    assert_eq!(bench.sent("10.1.0.1").versions, Some(expected));
    assert_eq!((bench.word("10.1.0.1"), bench.word("10.2.0.1")), (0x1012_3456, 0x1012_3789));
    bench.ask(PEER, Some(0xff_ffff));
    assert_eq!(bench.word("10.1.0.1"), 0xa0ff_ffff);
    bench.ask(PEER, None);
    bench.own(0, None);
    assert_eq!(bench.word("10.1.0.1"), 0, "ours has none");
    bench.own(0x124, None);
    bench.version_of("10.1.0.0/24", 0);
    assert_eq!((bench.word("10.1.0.1"), bench.word("10.2.0.1")), (0, 0x1012_4789));
}

#[test]
fn of_a_source_that_is_not_ours_neither_a_version_nor_bits_are_told() {
    let mut bench = Bench::new(0);
    bench.own(0x123, Some(1));
    bench.version_of("10.1.0.0/24", 0x456);
    assert_eq!(bench.sent("10.1.0.1").emit(), [0x50, 0x12, 0x34, 0x56, 0, 0, 0, 1]);
    bench.tell(Update::LocalEids(vec![prefix("10.9.0.0/24")]));
    assert_eq!(bench.sent("10.1.0.1").emit(), [0x10, 0, 0x04, 0x56, 0, 0, 0, 0], "as a PITR does");
}

#[test]
fn a_mapping_that_is_replaced_has_no_version_until_it_is_said() {
    let mut bench = Bench::new(0);
    bench.own(1, None);
    bench.version_of("10.1.0.0/24", 2);
    bench.map("10.1.0.0/24", PEER);
    assert_eq!(bench.word("10.1.0.1"), 0);
    bench.version_of("10.1.0.0/24", 3);
    assert_eq!(bench.word("10.1.0.1"), 0x1000_1003);
    // Two mappings behind one locator have each its own.
    bench.map("10.1.1.0/24", PEER);
    bench.version_of("10.1.1.0/24", 4);
    assert_eq!((bench.word("10.1.0.1"), bench.word("10.1.1.1")), (0x1000_1003, 0x1000_1004));
}

#[test]
fn status_bits_fill_the_field_and_eight_bits_beside_an_instance() {
    let mut bench = Bench::new(0);
    bench.own(0, Some(0x8000_0103));
    assert_eq!(bench.sent("10.1.0.1").emit(), [0x40, 0, 0, 0, 0x80, 0, 1, 3]);
    bench.ask(PEER, Some(1));
    assert_eq!(bench.sent("10.1.0.1").emit(), [0xe0, 0, 0, 1, 0x80, 0, 1, 3]);
    let mut bench = Bench::new(7);
    bench.own(0, Some(0x103));
    assert_eq!(bench.sent("10.1.0.1").emit(), [0x48, 0, 0, 0, 0, 0, 7, 3]);
    bench.own(0, None);
    assert_eq!(bench.sent("10.1.0.1").emit(), [0x08, 0, 0, 0, 0, 0, 7, 0]);
}

#[test]
fn status_bits_go_with_the_version_where_there_is_one() {
    let mut bench = Bench::new(0);
    bench.own(5, Some(1));
    assert_eq!(bench.sent("10.1.0.1").status_bits, None);
    bench.version_of("10.1.0.0/24", 6);
    assert_eq!(bench.sent("10.1.0.1").emit(), [0x50, 0, 0x50, 6, 0, 0, 0, 1]);
    bench.ask(PEER, Some(1));
    assert_eq!(bench.sent("10.1.0.1").status_bits, None, "a nonce is in the place of the versions");
}

#[test]
fn a_locator_that_answers_while_it_does_not_echo_proves_that_packets_do_not_get_there() {
    let ended = |is_proven| vec![Event::EchoEnded { rloc: ip(PEER), is_proven }];
    let run = |packets: u32, heard_after: Option<u64>| {
        let mut bench = Bench::new(0);
        bench.ask(PEER, Some(1));
        bench.advance(500);
        (0..packets).for_each(|_| {
            let _ = bench.sent("10.1.0.1");
        });
        if let Some(after) = heard_after {
            bench.advance(after);
            bench.heard(PEER);
            bench.advance(3000 - after);
        }
        bench.ask(PEER, None);
        bench.events()
    };
    let late = u64::try_from(limits::ECHO_ROUND.as_millis()).unwrap();
    assert_eq!(run(limits::ECHO_PACKETS, Some(late)), ended(true));
    assert_eq!(run(limits::ECHO_PACKETS - 1, Some(late)), ended(false), "a lost packet or two prove nothing");
    assert_eq!(run(limits::ECHO_PACKETS, Some(late - 200)), ended(false), "that packet may be older than the request");
    assert_eq!(run(limits::ECHO_PACKETS, None), ended(false), "nor does the lack of return traffic");
    assert_eq!(run(0, Some(late)), ended(false));
}

#[test]
fn the_last_packet_that_is_wanted_for_the_proof_has_to_be_older_than_a_round_trip() {
    let missing = |heard_after: u64| {
        let mut bench = Bench::new(0);
        bench.ask(PEER, Some(1));
        // The first two may be lost.
        for _ in 0..limits::ECHO_PACKETS {
            bench.advance(900);
            assert_eq!(bench.word("10.1.0.1"), 0xa000_0001);
        }
        bench.advance(heard_after);
        bench.heard(PEER);
        bench.ask(PEER, None);
        bench.events() == [Event::EchoEnded { rloc: ip(PEER), is_proven: true }]
    };
    let round = u64::try_from(limits::ECHO_ROUND.as_millis()).unwrap();
    assert_eq!([round - 1000, round - 200, round].map(missing), [false, false, true]);
}

#[test]
fn what_a_peer_sends_to_another_locator_than_the_one_that_asked_proves_nothing() {
    const OTHER: &str = "203.0.113.2";
    for (moves, packets_behind, at, expected) in [
        (false, 0, OURS, true),
        (false, 0, OTHER, false),
        (true, 1, OTHER, false),
        (true, 9, OTHER, true),
        (true, 9, OURS, false),
    ] {
        let mut bench = Bench::new(0);
        bench.tell(Update::LocalRlocs(vec![ip(OURS), ip(OTHER)]));
        bench.ask(PEER, Some(1));
        (0..9).for_each(|_| assert_eq!(bench.outer("10.1.0.1").source, ip(OURS)));
        if moves {
            bench.tell(Update::From { rloc: ip(PEER), source: ip(OTHER) });
        }
        (0..packets_behind).for_each(|_| assert_eq!(bench.outer("10.1.0.1").source, ip(OTHER)));
        bench.advance(3000);
        bench.heard_at(PEER, at);
        bench.ask(PEER, None);
        let ended = Event::EchoEnded { rloc: ip(PEER), is_proven: expected };
        assert_eq!(bench.events(), [ended], "{moves} {packets_behind} {at}");
    }
}

#[test]
fn a_request_that_was_suspended_begins_again() {
    let mut bench = Bench::new(0);
    bench.ask(PEER, Some(1));
    (0..9).for_each(|_| {
        let _ = bench.sent("10.1.0.1");
    });
    bench.advance(3000);
    bench.heard(PEER);
    bench.ask(PEER, Some(1));
    bench.ask(PEER, None);
    assert_eq!(bench.events(), [Event::EchoEnded { rloc: ip(PEER), is_proven: false }]);
}

#[test]
fn of_the_segments_of_a_super_packet_the_first_answers_and_all_ask() {
    let mut bench = Bench::new(0);
    let octets = packet("10.1.0.1");
    let words = |bench: &mut Bench, count: usize| {
        let others = (count - 1, (count - 1) * 100);
        let Verdict::Encapsulate(header, _) = bench.itr.handle_first(bench.now, &octets, others) else { panic!() };
        let word = |lisp: [u8; 8]| u32::from_be_bytes([lisp[0], lisp[1], lisp[2], lisp[3]]);
        (word(header.lisp), bench.itr.take_lisp_behind().map(word))
    };
    bench.answer(PEER, 9);
    assert_eq!(words(&mut bench, 4), (0x8000_0009, Some(0)));
    assert_eq!(bench.counters.get(Count::Encapsulated), 4);
    assert_eq!(words(&mut bench, 4), (0, None));
    bench.ask(PEER, Some(7));
    bench.answer(PEER, 8);
    assert_eq!(words(&mut bench, 4), (0x8000_0008, Some(0xa000_0007)));
    assert_eq!(words(&mut bench, 4), (0xa000_0007, None));
    bench.answer(PEER, 8);
    assert_eq!(words(&mut bench, 1), (0x8000_0008, None), "there is none behind it");
    assert_eq!(bench.word("10.1.0.1"), 0xa000_0007);
}

#[test]
fn a_router_that_quotes_a_packet_with_a_nonce_is_believed_about_a_peer_only() {
    let mut bench = Bench::new(0);
    bench.own(5, Some(1));
    bench.version_of("10.1.0.0/24", 6);
    let mut lengths = Vec::new();
    for (destination, request) in [("10.1.0.1", Some(1)), ("10.1.0.1", None)] {
        bench.ask(PEER, request);
        let header = bench.outer(destination);
        let mut buffer = [0; OuterHeader::LONGEST];
        let quoted = header.emit(100, &mut buffer).unwrap().to_vec();
        lengths.push(bench.counters.get(Count::PathMtu));
        bench.itr.handle_too_big(bench.now, &quoted, 1400 - 100 * lengths.len());
        // The same to a stranger was never sent.
        let header = OuterHeader { destination: ip(STRANGER), ..header };
        let quoted = header.emit(100, &mut buffer).unwrap().to_vec();
        bench.itr.handle_too_big(bench.now, &quoted, 1300);
    }
    assert_eq!(bench.counters.get(Count::PathMtu), 2);
    assert_eq!(bench.counters.get(Count::PathMtuRefused), 2);
}

#[test]
fn a_place_of_a_peer_that_is_gone_is_used_again_and_has_forgotten() {
    let mut bench = Bench::new(0);
    bench.ask(PEER, Some(1));
    let remove = Update::Remove { prefix: bench.prefix("10.1.0.0/24") };
    bench.tell(remove);
    for number in 0..2 * limits::PEERS {
        let [.., high, low] = u32::try_from(number).unwrap().to_be_bytes();
        let rloc = format!("192.0.2.{}", 20 + number % 200);
        bench.map(&format!("10.{}.{high}.{low}/32", 4 + number % 2), &rloc);
        let gone = Update::Remove { prefix: bench.prefix(&format!("10.{}.{high}.{low}/32", 4 + number % 2)) };
        bench.tell(gone);
    }
    bench.map("10.1.0.0/24", PEER);
    assert_eq!(bench.word("10.1.0.1"), 0);
    bench.ask(PEER, Some(2));
    assert_eq!(bench.word("10.1.0.1"), 0xa000_0002);
}
