// SPDX-License-Identifier: GPL-2.0-or-later
//! The rules of the source check.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv6Header, TrafficClass};

use super::{Arrival, Etr, EtrConfig, OuterInfo, SourceMode, SourcePolicy};
use crate::counters::{Count, Counters, DropReason};
use crate::limits;
use crate::map_cache::{Event, SourceVerdict, Update};

const PEER: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";
const SITE: &str = "2001:db8:a::/48";
const CGEID: &str = "3fff:ce1::5";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    Entered,
    Waits,
    Dropped(DropReason),
}

struct Bench {
    etr: Etr,
    counters: Arc<Counters>,
    now: Instant,
}

impl Bench {
    fn new(mode: SourceMode) -> Self {
        let (now, counters) = (Instant::now(), Arc::new(Counters::default()));
        let network = Some("3fff:ce1::/32".parse().unwrap());
        let sources = SourcePolicy { mode, cgeid_network: network, pitrs: vec![ip("192.0.2.80")] };
        let mut etr = Etr::new(EtrConfig { sources, ..EtrConfig::default() }, counters.clone());
        etr.set_local_eids(&[prefix("2001:db8:b::/48")]);
        etr.advance(now);
        Self { etr, counters, now }
    }

    fn come(&mut self, source: &str, rloc: &str) -> Became {
        self.come_with(0, source, rloc)
    }

    fn come_with(&mut self, flags: u8, source: &str, rloc: &str) -> Became {
        let header = Ipv6Header {
            source: source.parse().unwrap(),
            destination: "2001:db8:b::1".parse().unwrap(),
            next_header: 17,
            hop_limit: 9,
            class: TrafficClass(0),
            flow_label: 0,
        };
        let mut payload = [&[flags, 1, 2, 3, 0, 0, 0, 0], header.emit(4).unwrap().as_slice(), &[1, 2, 3, 4]].concat();
        let outer = OuterInfo {
            source: ip(rloc),
            destination: ip("198.51.100.1"),
            source_port: 50_000,
            ttl: 9,
            class: TrafficClass(0),
        };
        match self.etr.receive(&outer, &mut payload) {
            Arrival::Enters(_) => Became::Entered,
            Arrival::Later => Became::Waits,
            Arrival::Dropped(reason) => Became::Dropped(reason),
            other => panic!("{other:?}"),
        }
    }

    fn questions(&mut self) -> Vec<(String, String)> {
        let event = |event| match event {
            Event::Source { eid, rloc, .. } => (eid.to_string(), rloc.to_string()),
            other => (format!("{other:?}"), String::new()),
        };
        std::iter::from_fn(|| self.etr.poll_event()).map(event).collect()
    }

    fn say(&mut self, net: &str, rloc: &str, verdict: SourceVerdict) {
        self.say_of(net, net, rloc, verdict);
    }

    /// The answer about a source, for all sources in a prefix.
    fn say_of(&mut self, eid: &str, net: &str, rloc: &str, verdict: SourceVerdict) {
        let life = if verdict == SourceVerdict::Here { limits::SOURCE_HERE } else { limits::SOURCE_NOT_HERE };
        let (eid, prefix, rloc, ask) = (prefix(eid), prefix(net), ip(rloc), self.now + life);
        self.etr.update(&Update::Source { eid, prefix, rloc, verdict, ask });
    }

    /// For a second.
    fn put_off(&mut self, eid: &str, rloc: &str) {
        let ask = self.now + limits::SOURCES_WINDOW;
        self.etr.update(&Update::SourcePutOff { eid: prefix(eid), rloc: ip(rloc), ask });
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.etr.advance(self.now);
    }

    fn released(&mut self) -> usize {
        std::iter::from_fn(|| self.etr.poll()).count()
    }
}

#[test]
fn who_sends_is_written_down_for_the_changes_to_come_and_nobody_who_is_dropped() {
    let mut bench = Bench::new(SourceMode::Loose);
    bench.come("2001:db8:a::1", PEER);
    bench.say(SITE, OTHER, SourceVerdict::Elsewhere);
    bench.come("2001:db8:a::1", OTHER);
    assert_eq!(bench.counters.senders_lately(bench.now), [(ip(PEER), bench.now)]);
    bench.wait(Duration::from_secs(30));
    bench.come("2001:db8:a::1", PEER);
    let last = bench.now;
    bench.wait(Duration::from_secs(59));
    assert_eq!(bench.counters.senders_lately(bench.now), [(ip(PEER), last)]);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.counters.senders_lately(bench.now), []);
}

#[test]
fn nonces_status_bits_and_versions_are_counted_and_change_nothing() {
    let mut bench = Bench::new(SourceMode::Off);
    for flags in [0x80, 0xa0, 0x40, 0x10, 0x20, 0x90, 0xf0] {
        assert_eq!(bench.come_with(flags, "2001:db8:a::1", PEER), Became::Entered, "{flags:#x}");
    }
    assert_eq!(bench.counters.get(Count::FlagsIgnored), 4);
    assert_eq!(bench.counters.get(Count::FlagsForbidden), 3);
    assert_eq!(bench.questions(), []);
}

#[test]
fn with_the_check_off_nobody_is_asked() {
    let mut bench = Bench::new(SourceMode::Off);
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
    assert_eq!(bench.come(CGEID, PEER), Became::Entered);
    assert_eq!(bench.questions(), []);
}

#[test]
fn nobody_sends_as_one_of_ours_from_elsewhere_not_once_and_nobody_is_asked() {
    const OWN: &str = "2001:db8:b:7::1";
    const PART: &str = "2001:db8:b:7::/64";
    const ELSEWHERE: Became = Became::Dropped(DropReason::CoreSourceElsewhere);
    for mode in [SourceMode::Loose, SourceMode::Strict] {
        let mut bench = Bench::new(mode);
        for rloc in [PEER, OTHER, "192.0.2.80"] {
            assert_eq!(bench.come(OWN, rloc), ELSEWHERE, "{rloc}");
        }
        assert_eq!(bench.questions(), []);
        bench.etr.update(&Update::Moved(vec![prefix(PART)]));
        assert_ne!(bench.come(OWN, PEER), ELSEWHERE, "another xTR has it now");
        assert_eq!(bench.questions().len(), 1);
        bench.say(PART, PEER, SourceVerdict::Here);
        assert_eq!(bench.come(OWN, PEER), Became::Entered);
        assert_eq!(bench.come("2001:db8:b:8::1", PEER), ELSEWHERE, "the rest is here");
        bench.etr.update(&Update::Moved(vec![]));
        assert_eq!(bench.come(OWN, PEER), ELSEWHERE, "it is back, whatever was known of it before");
        bench.say(SITE, PEER, SourceVerdict::Here);
        assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
        bench.etr.set_local_eids(&[prefix("2001:db8:b::/48"), prefix(SITE)]);
        assert_eq!(bench.come("2001:db8:a::1", PEER), ELSEWHERE, "it has come to be ours");
    }
    assert_eq!(Bench::new(SourceMode::Off).come(OWN, PEER), Became::Entered);
}

#[test]
fn loose_lets_enter_what_is_not_known_and_asks_once() {
    let mut bench = Bench::new(SourceMode::Loose);
    for _ in 0..3 {
        assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
    }
    assert_eq!(bench.questions(), [("2001:db8:a::1/128".to_owned(), PEER.to_owned())]);
    bench.say(SITE, PEER, SourceVerdict::Here);
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
    assert_eq!(bench.come("2001:db8:a:7::9", PEER), Became::Entered, "the whole prefix is there");
    assert_eq!(bench.questions(), []);
    assert_eq!(bench.come("2001:db8:a::1", OTHER), Became::Entered);
    assert_eq!(bench.questions().len(), 1, "another RLOC is another question");
}

#[test]
fn what_maps_elsewhere_or_nowhere_is_dropped_and_counted() {
    for mode in [SourceMode::Loose, SourceMode::Strict] {
        let mut bench = Bench::new(mode);
        bench.come("2001:db8:a::1", OTHER);
        bench.say(SITE, OTHER, SourceVerdict::Elsewhere);
        bench.say("2001:db9::/32", OTHER, SourceVerdict::Unmapped);
        assert_eq!(bench.come("2001:db8:a::1", OTHER), Became::Dropped(DropReason::CoreSourceElsewhere));
        assert_eq!(bench.come("2001:db9::1", OTHER), Became::Dropped(DropReason::CoreSourceUnmapped));
        let waited = usize::from(mode == SourceMode::Strict);
        assert_eq!(bench.counters.dropped(DropReason::CoreSourceElsewhere), 1 + waited as u64);
    }
}

#[test]
fn the_verdict_on_a_more_specific_prefix_wins() {
    let mut bench = Bench::new(SourceMode::Strict);
    bench.say(SITE, PEER, SourceVerdict::Here);
    assert_eq!(bench.come("2001:db8:a:1::1", PEER), Became::Entered);
    bench.say("2001:db8:a:1::/64", PEER, SourceVerdict::Elsewhere);
    assert_eq!(bench.come("2001:db8:a:1::1", PEER), Became::Dropped(DropReason::CoreSourceElsewhere));
    assert_eq!(bench.come("2001:db8:a:2::1", PEER), Became::Entered);
}

#[test]
fn strict_keeps_eight_packets_until_the_answer_comes_in_order() {
    let mut bench = Bench::new(SourceMode::Strict);
    for _ in 0..limits::SOURCE_PACKETS {
        assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Waits);
    }
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Dropped(DropReason::CoreSourceUnknown));
    assert_eq!(bench.counters.get(Count::Decapsulated), 0);
    bench.say(SITE, PEER, SourceVerdict::Here);
    assert_eq!((bench.released(), bench.counters.get(Count::Decapsulated)), (8, 8));
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
}

#[test]
fn strict_drops_what_nobody_answers_for_and_asks_again() {
    let mut bench = Bench::new(SourceMode::Strict);
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Waits);
    assert_eq!(bench.questions().len(), 1);
    assert_eq!(bench.etr.next_deadline(), Some(bench.now + limits::SOURCE_PATIENCE));
    bench.wait(limits::SOURCE_PATIENCE);
    assert_eq!((bench.released(), bench.counters.dropped(DropReason::CoreSourceUnknown)), (0, 1));
    assert_eq!(bench.etr.next_deadline(), None);
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Waits);
    assert_eq!(bench.questions().len(), 1);
}

#[test]
fn cgeids_are_strict_although_others_are_not_even_from_a_pitr() {
    let mut bench = Bench::new(SourceMode::Loose);
    assert_eq!(bench.come(CGEID, PEER), Became::Waits);
    assert_eq!(bench.come(CGEID, "192.0.2.80"), Became::Waits);
    bench.say(&format!("{CGEID}/128"), PEER, SourceVerdict::Here);
    bench.say(&format!("{CGEID}/128"), "192.0.2.80", SourceVerdict::Elsewhere);
    assert_eq!(bench.released(), 1);
    assert_eq!(bench.come(CGEID, "192.0.2.80"), Became::Dropped(DropReason::CoreSourceElsewhere));
}

#[test]
fn a_pitr_need_not_send_from_eids_and_costs_no_questions() {
    let mut bench = Bench::new(SourceMode::Strict);
    for host in 0..1000 {
        assert_eq!(bench.come(&format!("2001:db9::{host:x}"), "192.0.2.80"), Became::Entered);
    }
    assert_eq!(bench.questions(), []);
}

#[test]
fn an_rloc_costs_a_share_of_the_questions_a_second_to_control_and_loose_lets_enter_what_is_not_asked_about() {
    for (mode, dropped, unasked) in [(SourceMode::Strict, 100, 0), (SourceMode::Loose, 0, 100)] {
        let mut bench = Bench::new(mode);
        bench.say(SITE, PEER, SourceVerdict::Here);
        let (mut asked, each) = (0, limits::SOURCES_NAMED_EACH as usize);
        for host in 0..each + 100 {
            let became = bench.come(&format!("2001:db9::{host:x}"), OTHER);
            assert_eq!(became == Became::Entered, mode == SourceMode::Loose, "{became:?}");
            asked += bench.questions().len();
        }
        assert_eq!(asked, each);
        assert_eq!(bench.counters.dropped(DropReason::CoreSourceRate), dropped);
        assert_eq!(bench.counters.get(Count::SourceUnasked), unasked);
        all_together(&mut bench, asked);
    }
}

/// Behind those about one RLOC.
fn all_together(bench: &mut Bench, mut asked: usize) {
    for number in 0..3000 {
        let rloc = number % 1000;
        bench.come(&format!("2001:db9::{}", number / 1000), &format!("198.18.{}.{}", rloc / 250, rloc % 250 + 1));
        asked += bench.questions().len();
    }
    assert_eq!(asked, limits::SOURCES_NAMED as usize);
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered, "who is known does not feel it");
    bench.wait(Duration::from_secs(1));
    bench.come(&format!("2001:db9::{:x}", limits::SOURCES_NAMED_EACH + 99), OTHER);
    assert_eq!(bench.questions().len(), 1, "what was not asked about is");
}

/// Control says so where the mapping system would have to be asked about too many.
#[test]
fn what_control_puts_off_waits_for_nothing_and_is_asked_about_again_when_it_may_be() {
    for (mode, dropped) in [(SourceMode::Strict, 2), (SourceMode::Loose, 0)] {
        let mut bench = Bench::new(mode);
        let is_strict = mode == SourceMode::Strict;
        let meanwhile = if is_strict { Became::Dropped(DropReason::CoreSourceRate) } else { Became::Entered };
        (0..2).for_each(|_| drop(bench.come("2001:db8:a::1", PEER)));
        assert_eq!(bench.questions().len(), 1);
        bench.put_off("2001:db8:a::1/128", PEER);
        assert_eq!((bench.released(), bench.counters.dropped(DropReason::CoreSourceRate)), (0, dropped));
        assert_eq!(bench.counters.get(Count::SourceUnasked), u64::from(!is_strict));
        assert_eq!(bench.come("2001:db8:a::1", PEER), meanwhile);
        assert_eq!(bench.questions(), []);
        bench.wait(limits::SOURCES_WINDOW);
        assert_eq!(bench.come("2001:db8:a::1", PEER) == Became::Waits, is_strict);
        assert_eq!(bench.questions().len(), 1);
        bench.say(SITE, PEER, SourceVerdict::Here);
        assert_eq!(bench.released(), usize::from(is_strict));
        assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
    }
}

#[test]
fn a_verdict_that_is_asked_about_again_and_put_off_stands_and_is_asked_about_when_it_may_be() {
    let mut bench = Bench::new(SourceMode::Strict);
    bench.say(SITE, OTHER, SourceVerdict::Elsewhere);
    bench.wait(limits::SOURCE_NOT_HERE_FIRST);
    for _ in 0..3 {
        assert_eq!(bench.come("2001:db8:a::1", OTHER), Became::Dropped(DropReason::CoreSourceElsewhere));
        assert_eq!(bench.questions().len(), 1);
        bench.put_off("2001:db8:a::1/128", OTHER);
        assert_eq!(bench.come("2001:db8:a::1", OTHER), Became::Dropped(DropReason::CoreSourceElsewhere));
        assert_eq!(bench.questions(), []);
        bench.wait(limits::SOURCES_WINDOW);
    }
}

/// More than there are in a group of four digits.
fn numbered(number: usize) -> String {
    format!("2001:db9::{:x}:{:x}/128", number >> 16, number & 0xffff)
}

#[test]
fn what_a_full_table_has_no_room_for_enters_unless_it_is_to_be_checked_strictly() {
    let mut bench = Bench::new(SourceMode::Loose);
    for number in 0..limits::SOURCE_VERDICTS {
        bench.say(&numbered(number), OTHER, SourceVerdict::Here);
    }
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
    assert_eq!(bench.come(CGEID, PEER), Became::Dropped(DropReason::CoreSourceRate));
    assert_eq!((bench.questions().len(), bench.counters.get(Count::SourceUnasked)), (0, 1));
}

#[test]
fn a_verdict_stands_while_it_is_asked_about_again() {
    let mut bench = Bench::new(SourceMode::Strict);
    bench.say(SITE, PEER, SourceVerdict::Here);
    bench.say(SITE, OTHER, SourceVerdict::Elsewhere);
    bench.wait(limits::SOURCE_NOT_HERE);
    for _ in 0..3 {
        assert_eq!(bench.come("2001:db8:a::1", OTHER), Became::Dropped(DropReason::CoreSourceElsewhere));
    }
    assert_eq!(bench.questions().len(), 1);
    bench.say(SITE, OTHER, SourceVerdict::Here);
    assert_eq!(bench.come("2001:db8:a::1", OTHER), Became::Entered, "the EID has moved");
    bench.wait(limits::SOURCE_HERE);
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
    assert_eq!(bench.questions().len(), 1);
}

#[test]
fn a_locator_that_the_mapping_system_does_not_know_yet_is_asked_about_again_after_a_second_and_then_every_two() {
    for mode in [SourceMode::Loose, SourceMode::Strict] {
        let mut bench = Bench::new(mode);
        bench.say(SITE, PEER, SourceVerdict::Here);
        bench.come("2001:db8:a::1", OTHER);
        let mut asked = Vec::new();
        for tenth in 0..80 {
            if !bench.questions().is_empty() {
                asked.push(tenth);
                bench.say(SITE, OTHER, SourceVerdict::Elsewhere);
            }
            assert_eq!(bench.come("2001:db8:a::1", OTHER), Became::Dropped(DropReason::CoreSourceElsewhere), "{tenth}");
            bench.wait(Duration::from_millis(100));
        }
        assert_eq!(asked, [0, 11, 32, 53, 74], "{mode:?}");
    }
}

#[test]
fn who_may_send_goes_on_for_five_minutes_while_nobody_answers_and_is_asked_about_every_three_seconds() {
    for source in ["2001:db8:a::1", CGEID] {
        let mut bench = Bench::new(SourceMode::Strict);
        bench.say(&format!("{source}/128"), PEER, SourceVerdict::Here);
        bench.wait(limits::SOURCE_HERE);
        for second in 0..300 {
            assert_eq!(bench.come(source, PEER), Became::Entered, "{second}");
            bench.wait(Duration::from_secs(1));
        }
        assert_eq!(bench.questions().len(), 100);
        assert_eq!(bench.come(source, PEER), Became::Waits, "nobody has answered for long");
    }
}

#[test]
fn an_answer_that_says_no_leaves_no_old_yes_round_it() {
    let host = "2001:db8:a:1::1/128";
    // The answer is of a shorter prefix, as that of the source is registered no more; or of the one address, beside a part that has moved.
    for (old, answered) in [("2001:db8:a:1::/64", SITE), (SITE, host)] {
        let mut bench = Bench::new(SourceMode::Strict);
        bench.say(old, PEER, SourceVerdict::Here);
        bench.wait(limits::SOURCE_HERE);
        assert_eq!(bench.come("2001:db8:a:1::1", PEER), Became::Entered);
        bench.say_of(host, answered, PEER, SourceVerdict::Elsewhere);
        bench.wait(limits::SOURCE_PATIENCE + limits::SOURCE_STALE);
        for source in ["2001:db8:a:1::1", "2001:db8:a:1::2"] {
            let became = bench.come(source, PEER);
            assert!(matches!(became, Became::Waits | Became::Dropped(_)), "{old}, {answered}, {source}: {became:?}");
        }
    }
}

#[test]
fn what_nobody_sends_as_any_more_makes_room_before_who_sends_is_asked_about_in_vain() {
    let mut bench = Bench::new(SourceMode::Strict);
    bench.say(SITE, PEER, SourceVerdict::Here);
    for number in 1..limits::SOURCE_VERDICTS {
        bench.say(&numbered(number), OTHER, SourceVerdict::Here);
    }
    bench.wait(limits::SOURCE_HERE + limits::SOURCE_STALE - Duration::from_secs(1));
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
    assert_eq!(bench.come("2001:dba::1", PEER), Became::Dropped(DropReason::CoreSourceRate), "there is no room");
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.come("2001:dba::1", PEER), Became::Waits);
    assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered, "it has asked again");
    assert_eq!(bench.come("2001:db9::1", OTHER), Became::Waits);
}

#[test]
fn a_flood_of_strangers_does_not_make_who_is_known_a_stranger() {
    let mut bench = Bench::new(SourceMode::Loose);
    bench.say(SITE, PEER, SourceVerdict::Here);
    let mut renewed = 0;
    for _ in 0..200 {
        for host in 0..300 {
            bench.come("2001:db9::1", &format!("198.18.{}.{}", host / 250, host % 250 + 1));
        }
        assert_eq!(bench.come("2001:db8:a::1", PEER), Became::Entered);
        if bench.questions().iter().any(|(_, rloc)| rloc == PEER) {
            bench.say(SITE, PEER, SourceVerdict::Here);
            renewed += 1;
        }
        bench.wait(Duration::from_secs(1));
    }
    assert_eq!(renewed, 3);
}

#[test]
fn a_question_that_control_had_no_room_for_is_asked_later() {
    let mut bench = Bench::new(SourceMode::Strict);
    bench.come("2001:db8:a::1", PEER);
    let event = bench.etr.poll_event().unwrap();
    bench.etr.event_lost(event);
    assert!(bench.etr.has_events());
    assert_eq!(bench.questions().len(), 1);
}
