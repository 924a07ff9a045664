// SPDX-License-Identifier: GPL-2.0-or-later
//! What the ETR believes of whom: nonces, locator-status-bits and map-versions, with an exact clock.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv4Header, LispHeader, MapVersions, TrafficClass};
use wire::record::MapVersion;

use super::{Arrival, Etr, EtrConfig, OuterInfo, SourceMode, SourcePolicy};
use crate::counters::{Count, Counters, DropReason};
use crate::limits;
use crate::map_cache::{Event, OwnMapping, SourceVerdict, Update};
use crate::trust::Trust;

#[path = "../../../program/tests/support/log.rs"]
mod log;

const PEER: &str = "192.0.2.1";
const STRANGER: &str = "198.51.100.1";
const OWN: u16 = 69;
const CACHED: u16 = 4000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Bench {
    etr: Etr,
    counters: Arc<Counters>,
    now: Instant,
}

impl Bench {
    /// An ETR that trusts [`PEER`] in everything, whose own mapping has version [`OWN`], and that has one of 10.0.0.0/24 behind
    /// the peer with version [`CACHED`].
    fn new() -> Self {
        Self::with(OWN, Trust::of(&["192.0.2.0/24".parse().unwrap()]).with_echo_nonce(true).with_status_bits(true))
    }

    fn with(own: u16, trust: Trust) -> Self {
        Self::with_sources(own, trust, SourcePolicy::default())
    }

    fn with_sources(own: u16, trust: Trust, sources: SourcePolicy) -> Self {
        Self::with_config(own, EtrConfig { trust, sources, ..EtrConfig::default() })
    }

    fn with_config(own: u16, config: EtrConfig) -> Self {
        let (counters, now) = (Arc::new(Counters::default()), Instant::now());
        let mut etr = Etr::new(config, counters.clone());
        etr.set_local_eids(&[prefix("10.0.1.0/24"), prefix("10.0.2.0/24")]);
        etr.advance(now);
        let own = OwnMapping { version: MapVersion(own), status_bits: None, others_end: Some(now + secs(86_400)) };
        etr.update(&Update::Own(own));
        let mut bench = Self { etr, counters, now };
        bench.cache("10.0.0.0/24", CACHED);
        bench
    }

    fn cache(&mut self, net: &str, version: u16) {
        let (version, expires) = (MapVersion(version), self.now + secs(86_400));
        let rlocs = [PEER, "192.0.2.2"].map(ip).into();
        self.etr.update(&Update::Peer { prefix: prefix(net), version, rlocs, expires });
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.etr.advance(self.now);
    }

    fn receive(&mut self, rloc: &str, lisp: LispHeader) -> Result<(), DropReason> {
        self.receive_octets(rloc, "10.0.0.1", lisp.emit())
    }

    fn receive_octets(&mut self, rloc: &str, source: &str, lisp: [u8; 8]) -> Result<(), DropReason> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (ip(source), ip("10.0.1.1")) else { unreachable!() };
        let class = TrafficClass(0);
        let header = Ipv4Header { source, destination, protocol: 17, ttl: 9, class, dont_fragment: false };
        let mut payload = [lisp.as_slice(), &header.emit(4).unwrap(), &[1, 2, 3, 4]].concat();
        let outer = OuterInfo { source: ip(rloc), destination: ip("192.0.2.200"), source_port: 50_000, ttl: 9, class };
        match self.etr.receive(&outer, &mut payload) {
            Arrival::Enters(_) => Ok(()),
            Arrival::Dropped(reason) => Err(reason),
            Arrival::Later | Arrival::Relayed(_) | Arrival::Control => unreachable!(),
        }
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.etr.poll_event()).collect()
    }
}

fn nonce(nonce: u32, echo: bool) -> LispHeader {
    LispHeader { nonce: Some(nonce), echo, ..LispHeader::default() }
}

fn versions(source: u16, destination: u16) -> LispHeader {
    let versions = MapVersions { source: MapVersion(source), destination: MapVersion(destination) };
    LispHeader { versions: Some(versions), ..LispHeader::default() }
}

fn coupled_bits(version: u16, bits: u32) -> LispHeader {
    LispHeader { status_bits: Some(bits), ..versions(version, OWN) }
}

fn bits_event(bits: u32) -> Event {
    let (prefix, rloc) = (prefix("10.0.0.0/24"), ip(PEER));
    Event::StatusBits { prefix, rloc, version: MapVersion(CACHED), bits, width: 32 }
}

#[test]
fn of_a_stranger_nothing_changes_but_a_counter() {
    let mut bench = Bench::new();
    bench.etr.update(&Update::EchoRequest { rloc: ip(STRANGER), nonce: Some(7), suspended: false });
    let said = [nonce(7, false), nonce(8, true), versions(CACHED + 1, OWN), versions(1, OWN + 1), versions(1, 0)];
    let lying = [versions(CACHED, OWN - 1), coupled_bits(CACHED, 0)];
    for lisp in said.into_iter().chain(lying) {
        assert_eq!(bench.receive(STRANGER, lisp), Ok(()), "{lisp:?}");
    }
    assert_eq!(bench.events(), []);
    assert_eq!(bench.counters.get(Count::FlagsIgnored), 7);
    assert_eq!(bench.counters.get(Count::Decapsulated), 7);
}

#[test]
fn without_trusted_peers_all_are_strangers() {
    let mut bench = Bench::with(OWN, Trust::default().with_echo_nonce(true).with_status_bits(true));
    for lisp in [nonce(8, true), versions(1, OWN + 1), coupled_bits(CACHED, 0)] {
        assert_eq!(bench.receive(PEER, lisp), Ok(()));
    }
    assert_eq!((bench.events(), bench.counters.get(Count::FlagsIgnored)), (vec![], 3));
}

#[test]
fn what_is_not_switched_on_is_ignored_of_a_peer_too() {
    let mut bench = Bench::with(OWN, Trust::of(&["192.0.2.0/24".parse().unwrap()]));
    assert_eq!(bench.receive(PEER, nonce(8, true)), Ok(()));
    assert_eq!(bench.receive(PEER, coupled_bits(CACHED, 0)), Ok(()));
    assert_eq!((bench.events(), bench.counters.get(Count::FlagsIgnored)), (vec![], 2));
}

#[test]
fn a_nonce_to_be_echoed_is_told_once_and_again_while_it_is_asked_for() {
    let mut bench = Bench::new();
    let asked = |nonce| Event::EchoAsked { rloc: ip(PEER), nonce };
    for _ in 0..100 {
        bench.receive(PEER, nonce(0xabc, true)).unwrap();
    }
    assert_eq!(bench.events(), [asked(0xabc)]);
    bench.advance(limits::ECHO_AGAIN - Duration::from_millis(1));
    bench.receive(PEER, nonce(0xabc, true)).unwrap();
    assert_eq!(bench.events(), []);
    bench.advance(Duration::from_millis(1));
    bench.receive(PEER, nonce(0xabc, true)).unwrap();
    bench.receive(PEER, nonce(0xdef, true)).unwrap();
    bench.receive("192.0.2.2", nonce(0xabc, true)).unwrap();
    let other = Event::EchoAsked { rloc: ip("192.0.2.2"), nonce: 0xabc };
    assert_eq!(bench.events(), [asked(0xabc), asked(0xdef), other]);
    // Whoever asks for another nonce with each packet is echoed ten a second.
    bench.advance(limits::ECHO_ASKED_WINDOW);
    (0..1000).for_each(|number| bench.receive(PEER, nonce(number, true)).unwrap());
    assert_eq!(bench.events().len(), limits::ECHO_ASKED as usize);
}

#[test]
fn only_the_echo_that_is_waited_for_is_told_and_once() {
    let mut bench = Bench::new();
    let rloc = ip(PEER);
    bench.etr.update(&Update::EchoRequest { rloc, nonce: Some(0xabc), suspended: false });
    // Another nonce, a stranger, and one that asks itself.
    bench.receive(PEER, nonce(0xabd, false)).unwrap();
    bench.receive(STRANGER, nonce(0xabc, false)).unwrap();
    bench.receive(PEER, nonce(0xabc, true)).unwrap();
    assert_eq!(bench.events(), [Event::EchoAsked { rloc, nonce: 0xabc }]);
    bench.etr.update(&Update::EchoRequest { rloc, nonce: Some(0xabc), suspended: true });
    bench.receive("192.0.2.2", nonce(0xabc, false)).unwrap();
    bench.receive(PEER, nonce(0xabc, false)).unwrap();
    let echoed = [Event::Echoed { rloc, nonce: 0xabc }];
    assert_eq!(bench.events(), echoed, "whichever of its locators the router answers from");
    assert_eq!(bench.counters.get(Count::NonceUnasked), 2);
    bench.etr.update(&Update::EchoRequest { rloc, nonce: Some(5), suspended: false });
    bench.etr.update(&Update::EchoRequest { rloc, nonce: None, suspended: false });
    bench.receive(PEER, nonce(5, false)).unwrap();
    assert_eq!(bench.events(), []);
}

#[test]
fn with_n_the_field_is_a_nonce_whatever_v_says_and_e_means_nothing_without_n() {
    let mut bench = Bench::new();
    // As versions these 24 bits would be dropped.
    assert_eq!(bench.receive_octets(PEER, "10.0.0.1", [0x90, 0xff, 0xff, 0xff, 0, 0, 0, 0]), Ok(()));
    assert_eq!(bench.receive_octets(PEER, "10.0.0.1", [0x20, 0xff, 0xff, 0xff, 0, 0, 0, 0]), Ok(()));
    assert_eq!(bench.events(), []);
    assert_eq!(bench.counters.get(Count::FlagsForbidden), 2);
    assert_eq!(bench.counters.get(Count::NonceUnasked), 1);
}

#[test]
fn bit_5_takes_nothing_away_but_of_gpe_peers_which_have_no_nonces() {
    let trust = || Trust::of(&["192.0.2.0/24".parse().unwrap()]).with_echo_nonce(true);
    let with_bit_5 = |lisp: LispHeader| {
        let [flags, rest @ ..] = lisp.emit();
        [&[flags | 0x04], rest.as_slice()].concat().try_into().unwrap()
    };
    let old = with_bit_5(versions(CACHED - 1, OWN));
    for (gpe_peers, events, version) in [
        (
            vec![ip("192.0.2.2")],
            vec![Event::EchoAsked { rloc: ip(PEER), nonce: 1 }],
            Err(DropReason::CoreSourceVersion),
        ),
        (vec![ip(PEER)], vec![], Err(DropReason::CoreNextProtocol)),
    ] {
        let mut bench = Bench::with_config(OWN, EtrConfig { gpe_peers, trust: trust(), ..EtrConfig::default() });
        // As the next protocol of a GPE peer the nonce says IPv4.
        assert_eq!(bench.receive_octets(PEER, "10.0.0.1", with_bit_5(nonce(1, true))), Ok(()));
        assert_eq!(bench.events(), events);
        assert_eq!(bench.receive_octets(PEER, "10.0.0.1", old), version);
        assert_eq!(bench.counters.get(Count::FlagsForbidden), 0);
    }
    let mut bench = Bench::new();
    assert_eq!(bench.receive_octets(STRANGER, "10.0.0.1", [0x94, 0, 0, 0, 0, 0, 0, 0]), Ok(()));
    assert_eq!(bench.counters.get(Count::FlagsForbidden), 1, "N and V");
}

#[test]
fn the_version_of_our_mapping_decides_what_becomes_of_a_packet() {
    use DropReason::{CoreVersionNewer, CoreVersionNull};
    for (version, expected) in [
        (OWN, Ok(())),
        (OWN + 1, Err(CoreVersionNewer)),
        (OWN + 2048, Err(CoreVersionNewer)),
        (OWN + 2049, Ok(())),
        (4095, Ok(())),
        (1, Ok(())),
        (OWN - 1, Ok(())),
        (0, Err(CoreVersionNull)),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.receive(PEER, versions(CACHED, version)), expected, "{version}");
        let told = Event::VersionStale { prefix: prefix("10.0.1.0/24"), rloc: ip(PEER) };
        let is_old = expected.is_ok() && version != OWN;
        assert_eq!(bench.events(), if is_old { vec![told] } else { vec![] }, "{version}");
        assert_eq!(bench.counters.get(Count::VersionOld), u64::from(is_old));
    }
}

#[test]
fn a_version_that_cannot_be_is_logged() {
    let mut bench = Bench::new();
    let lines = log::logged(|| assert!(bench.receive(PEER, versions(CACHED, OWN + 1)).is_err()));
    assert!(lines.iter().any(|line| line.starts_with("WARN packets are dropped")), "{lines:?}");
}

#[test]
fn a_peer_that_tells_versions_although_our_mapping_has_none_is_not_heard() {
    let mut bench = Bench::with(0, Trust::of(&["192.0.2.0/24".parse().unwrap()]));
    for version in [0, 1, OWN] {
        assert_eq!(bench.receive(PEER, versions(CACHED, version)), Err(DropReason::CoreVersionUnused));
    }
    assert_eq!(bench.receive(PEER, LispHeader::default()), Ok(()));
    assert_eq!(bench.counters.dropped(DropReason::CoreVersionUnused), 3);
}

#[test]
fn who_has_an_old_mapping_is_told_ten_times_then_dropped_and_told_twice_a_minute() {
    let mut bench = Bench::new();
    let start = bench.now;
    let (mut told, mut dropped_from) = (Vec::new(), None);
    for tenth in 0..1500 {
        bench.now = start + Duration::from_millis(100) * tenth;
        bench.etr.advance(bench.now);
        let since = (bench.now - start).as_secs();
        match bench.receive(PEER, versions(CACHED, OWN - 1)) {
            Ok(()) => assert_eq!(dropped_from, None),
            Err(reason) => {
                assert_eq!(reason, DropReason::CoreVersionStale);
                dropped_from.get_or_insert(since);
            }
        }
        told.extend(bench.events().into_iter().map(|_| since));
    }
    assert_eq!(told, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 57, 87, 117, 147]);
    assert_eq!(dropped_from, Some(30));
    // Another peer is told for itself, and is not dropped for the sins of this one.
    assert_eq!(bench.receive("192.0.2.2", versions(0, OWN - 1)), Ok(()));
    // The new mapping is as good as any, and what was counted is forgotten.
    assert_eq!(bench.receive(PEER, versions(CACHED, OWN)), Ok(()));
    assert_eq!(bench.receive(PEER, versions(CACHED, OWN - 1)), Ok(()));
    assert_eq!(bench.events().len(), 2);
}

#[test]
fn a_new_version_of_ours_makes_everybody_be_told_anew() {
    let mut bench = Bench::new();
    assert_eq!(bench.receive(PEER, versions(CACHED, OWN - 1)), Ok(()));
    assert_eq!(bench.events().len(), 1);
    let (version, others_end) = (MapVersion(OWN + 1), Some(bench.now + secs(60)));
    bench.etr.update(&Update::Own(OwnMapping { version, status_bits: None, others_end }));
    assert_eq!(bench.receive(PEER, versions(CACHED, OWN)), Ok(()));
    assert_eq!(bench.events().len(), 1);
    bench.advance(secs(60));
    let expired = bench.receive(PEER, versions(CACHED, OWN));
    assert_eq!(expired, Err(DropReason::CoreVersionExpired), "in no cache any more");
    assert_eq!(bench.events(), []);
    assert_eq!(bench.receive(PEER, versions(CACHED, OWN + 1)), Ok(()));
}

#[test]
fn a_newer_version_of_the_source_makes_control_ask_and_an_older_one_is_dropped() {
    let mut bench = Bench::new();
    let newer = || Event::VersionNewer { prefix: prefix("10.0.0.0/24") };
    assert_eq!(bench.receive(PEER, versions(CACHED, OWN)), Ok(()));
    assert_eq!(bench.receive(PEER, versions(0, OWN)), Ok(()), "the null version is compared with nothing");
    assert_eq!(bench.events(), []);
    for _ in 0..10 {
        assert_eq!(bench.receive(PEER, versions(CACHED + 1, OWN)), Ok(()));
    }
    assert_eq!(bench.events(), [newer()]);
    bench.advance(limits::VERSION_INTERVAL);
    assert_eq!(bench.receive(PEER, versions(CACHED + 1, OWN)), Ok(()));
    assert_eq!(bench.events(), [newer()]);
    assert_eq!(bench.counters.get(Count::SourceVersionNewer), 11);
    assert_eq!(bench.receive(PEER, versions(CACHED - 1, OWN)), Err(DropReason::CoreSourceVersion));
    // On the circle of 12 bits 5 comes after 4000.
    assert_eq!(bench.receive(PEER, versions(5, OWN)), Ok(()));
    bench.cache("10.0.0.0/24", 5);
    assert_eq!(bench.receive(PEER, versions(CACHED, OWN)), Err(DropReason::CoreSourceVersion));
    assert_eq!(bench.receive(PEER, versions(5, OWN)), Ok(()));
    assert_eq!(bench.events(), []);
}

#[test]
fn of_a_source_without_a_mapping_or_whose_mapping_has_no_version_none_is_compared() {
    let mut bench = Bench::new();
    let stranger = |version| versions(version, OWN).emit();
    for version in [1, CACHED, 4095] {
        assert_eq!(bench.receive_octets(PEER, "10.0.9.1", stranger(version)), Ok(()));
    }
    bench.cache("10.0.9.0/24", 0);
    for version in [1, CACHED, 4095] {
        assert_eq!(bench.receive_octets(PEER, "10.0.9.1", stranger(version)), Ok(()));
    }
    bench.cache("10.0.9.0/24", 7);
    assert_eq!(bench.receive_octets(PEER, "10.0.9.1", stranger(6)), Err(DropReason::CoreSourceVersion));
    let (version, rlocs) = (MapVersion(0), Arc::default());
    let gone = Update::Peer { prefix: prefix("10.0.9.0/24"), version, rlocs, expires: bench.now };
    bench.etr.update(&gone);
    assert_eq!(bench.receive_octets(PEER, "10.0.9.1", stranger(6)), Ok(()));
    assert_eq!(bench.events(), []);
}

#[test]
fn an_expired_mapping_is_none() {
    let mut bench = Bench::new();
    let (prefix, version) = (prefix("10.0.0.0/24"), MapVersion(CACHED));
    let rlocs = Arc::default();
    bench.etr.update(&Update::Peer { prefix, version, rlocs, expires: bench.now + secs(10) });
    assert_eq!(bench.receive(PEER, versions(CACHED - 1, OWN)), Err(DropReason::CoreSourceVersion));
    bench.advance(secs(10));
    assert_eq!(bench.receive(PEER, versions(CACHED - 1, OWN)), Ok(()));
}

#[test]
fn status_bits_are_told_when_they_change() {
    let mut bench = Bench::new();
    for _ in 0..10 {
        bench.receive(PEER, coupled_bits(CACHED, 0b11)).unwrap();
    }
    assert_eq!(bench.events(), [bits_event(0b11)]);
    bench.advance(limits::STATUS_BITS_INTERVAL);
    bench.receive(PEER, coupled_bits(CACHED, 0b01)).unwrap();
    bench.receive(PEER, coupled_bits(CACHED, 0b11)).unwrap();
    assert_eq!(bench.events(), [bits_event(0b01)], "no more than one word a second");
    bench.advance(limits::STATUS_BITS_INTERVAL);
    for _ in 0..10 {
        bench.receive(PEER, coupled_bits(CACHED, 0b11)).unwrap();
    }
    assert_eq!(bench.events(), [bits_event(0b11)]);
}

#[test]
fn two_routers_of_a_site_that_disagree_are_heard_once_a_second() {
    let mut bench = Bench::new();
    let start = bench.now;
    for millisecond in (0..10_000).step_by(10) {
        bench.now = start + Duration::from_millis(millisecond);
        bench.etr.advance(bench.now);
        bench.receive(PEER, coupled_bits(CACHED, 0b01)).unwrap();
        bench.receive("192.0.2.2", coupled_bits(CACHED, 0b10)).unwrap();
    }
    assert!((10..=11).contains(&bench.events().len()));
}

#[test]
fn status_bits_that_do_not_go_with_the_version_that_is_cached_count_other_locators() {
    let mut bench = Bench::new();
    let alone = LispHeader { status_bits: Some(0), ..LispHeader::default() };
    let with_nonce = LispHeader { status_bits: Some(0), ..nonce(7, false) };
    for lisp in [coupled_bits(CACHED + 1, 0), coupled_bits(0, 0), alone, with_nonce] {
        bench.receive(PEER, lisp).unwrap();
    }
    assert!(!bench.events().iter().any(|event| matches!(event, Event::StatusBits { .. })));
    assert_eq!(bench.counters.get(Count::StatusBitsUncoupled), 4);
    // A mapping without a version has nothing to go with.
    bench.cache("10.0.0.0/24", 0);
    bench.receive(PEER, alone).unwrap();
    let (prefix, rloc) = (prefix("10.0.0.0/24"), ip(PEER));
    let expected = Event::StatusBits { prefix, rloc, version: MapVersion(0), bits: 0, width: 32 };
    assert_eq!(bench.events(), [expected]);
    bench.receive(PEER, coupled_bits(9, 1)).unwrap();
    assert_eq!((bench.events(), bench.counters.get(Count::StatusBitsUncoupled)), (vec![], 5));
}

#[test]
fn status_bits_of_who_is_no_locator_of_the_mapping_are_not_told() {
    let mut bench = Bench::new();
    bench.receive("192.0.2.77", coupled_bits(CACHED, 0)).unwrap();
    assert_eq!((bench.events(), bench.counters.get(Count::StatusBitsForeign)), (vec![], 1));
    bench.receive(PEER, coupled_bits(CACHED, 0)).unwrap();
    assert_eq!(bench.events(), [bits_event(0)]);
}

#[test]
fn what_was_told_stays_told_for_the_version_and_a_new_one_begins_anew() {
    let mut bench = Bench::new();
    bench.receive(PEER, coupled_bits(CACHED, 0b01)).unwrap();
    assert_eq!(bench.events().len(), 1);
    bench.cache("10.0.0.0/24", CACHED);
    bench.receive(PEER, coupled_bits(CACHED, 0b01)).unwrap();
    assert_eq!(bench.events(), []);
    bench.cache("10.0.0.0/24", CACHED + 1);
    bench.receive(PEER, coupled_bits(CACHED + 1, 0b01)).unwrap();
    assert_eq!(bench.events().len(), 1);
}

#[test]
fn a_packet_that_does_not_enter_says_nothing_of_bits_and_nonces() {
    let trust = Trust::of(&["192.0.2.0/24".parse().unwrap()]).with_echo_nonce(true).with_status_bits(true);
    let sources = SourcePolicy { mode: SourceMode::Loose, ..SourcePolicy::default() };
    let mut bench = Bench::with_sources(OWN, trust, sources);
    let (prefix, verdict, ask) = (prefix("10.0.0.0/24"), SourceVerdict::Elsewhere, bench.now + secs(60));
    bench.etr.update(&Update::Source { eid: prefix, prefix, rloc: ip(PEER), verdict, ask });
    assert_eq!(bench.receive(PEER, coupled_bits(CACHED, 0)), Err(DropReason::CoreSourceElsewhere));
    assert_eq!(bench.receive(PEER, nonce(7, true)), Err(DropReason::CoreSourceElsewhere));
    assert_eq!(bench.events(), []);
}

#[test]
fn what_control_has_no_room_for_is_kept_and_what_the_queue_has_none_for_is_said_again() {
    let mut bench = Bench::new();
    for number in 0..200_u8 {
        bench.cache(&format!("10.9.{number}.0/24"), CACHED);
    }
    let say_all = |bench: &mut Bench| {
        for number in 0..200_u8 {
            bench.receive_octets(PEER, &format!("10.9.{number}.1"), coupled_bits(CACHED, 1).emit()).unwrap();
        }
    };
    say_all(&mut bench);
    let first = bench.etr.poll_event().unwrap();
    bench.etr.event_lost(first);
    assert_eq!(bench.events().len(), limits::PEER_EVENTS);
    let mut told = limits::PEER_EVENTS;
    for _ in 0..3 {
        say_all(&mut bench);
        told += bench.events().len();
    }
    assert_eq!(told, 200, "each mapping once");
}

proptest! {
    /// Whatever comes in whatever order: each packet enters or is dropped for its version, and only peers are heard.
    #[test]
    fn no_header_makes_it_panic_or_hear_strangers(
        said in proptest::collection::vec((any::<[u8; 8]>(), 0..3usize, 0..4000u64), 1..60),
    ) {
        let mut bench = Bench::new();
        let rlocs = [PEER, "192.0.2.2", STRANGER];
        for (mut lisp, rloc, wait) in said {
            // Not encrypted, and in our instance.
            lisp[0] &= 0xf0;
            bench.advance(Duration::from_millis(wait));
            let result = bench.receive_octets(rlocs[rloc], "10.0.0.1", lisp);
            prop_assert!(result.is_ok() || rlocs[rloc] != STRANGER, "{:?}", result);
            let has_versions = lisp[0] & 0x90 == 0x10;
            prop_assert!(result.is_ok() || has_versions, "{:?}", result);
            for event in bench.events() {
                let of_stranger = match event {
                    Event::EchoAsked { rloc, .. } | Event::StatusBits { rloc, .. } | Event::VersionStale { rloc, .. } => {
                        rloc == ip(STRANGER)
                    }
                    _ => false,
                };
                prop_assert!(!of_stranger && rlocs[rloc] != STRANGER, "{:?}", event);
            }
        }
    }
}
