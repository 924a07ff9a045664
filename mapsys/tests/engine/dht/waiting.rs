// SPDX-License-Identifier: GPL-2.0-or-later
//! Lookups that take their time, bring something later, or nothing.

use std::time::Duration;

use cgeid::{Cn, Network};
use dht::record::RecordKey;
use mapsys::engine::{Input, Output};
use mapsys::limits::LOG_PAUSE;
use mapsys::refusal::Refusal;
use wire::control::{ControlMessage, MapRequest};
use wire::record::{Action, MappingRecord, Ttl};

use super::world::*;
use crate::common::*;
use crate::log::logged;

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
fn who_asks_before_the_end_of_a_window_of_the_limits_is_answered_after_it() {
    let mut world = registered();
    world.mode = Mode::Silent;
    let asks = |nonce, eid: &str| ecm(&request(nonce, &[host(eid)], &[RLOC]));
    world.datagram(1, ITR, &asks(1, "2001:db8:a::1"));
    world.pass(Duration::from_millis(9500));
    world.datagram(1, ITR, &asks(2, "2001:db8:a::2"));
    let (_, told) = reply(&world.pass(Duration::from_millis(1500)));
    assert_eq!(told.nonce.0, 2);
    assert_eq!(world.benches[1].engine.tally().total(), 0);
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
    let told = world.ask(1, 2, eid).records.remove(0);
    assert_eq!((told.locators.len(), told.ttl), (1, Ttl(1)));
    world.pass(Duration::from_secs(10 * 60));
    assert_eq!(negative(&world.ask(1, 3, eid)), (eid, Action::SendMapRequest, Ttl(1)));
}

#[test]
fn an_expired_mapping_is_served_to_who_asks_first_while_the_dht_is_silent() {
    let mut world = two(site_a());
    let short = MappingRecord { ttl: Ttl(2), ..record(prefix(SITE), &["198.51.100.1"]) };
    world.datagram(0, ETR, &sealed(1, vec![short]));
    let eid = host("2001:db8:a::2");
    world.ask(1, 1, eid);
    world.mode = Mode::Silent;
    world.pass(Duration::from_secs(5 * 60));
    let mut told = |nonce| {
        assert_eq!(sent(&world.datagram(1, ITR, &ecm(&request(nonce, &[eid], &[RLOC])))), []);
        let (_, told) = reply(&world.pass(Duration::from_millis(1500)));
        world.pass(Duration::from_secs(10 * 60));
        told
    };
    let old = told(2).records.remove(0);
    assert_eq!((locators(&old), old.ttl), (vec!["198.51.100.1".to_owned()], Ttl(1)));
    assert_eq!(negative(&told(3)), (eid, Action::SendMapRequest, Ttl(1)), "not for ever");
}

/// What the xTR in this process hears in the end that was told something old, when the site is at `rloc` by now.
fn heard_after_what_was_old(rloc: &str) -> Vec<ControlMessage> {
    let mut world = two(site_a());
    let short = |rloc: &str| MappingRecord { ttl: Ttl(2), ..record(prefix(SITE), &[rloc]) };
    world.datagram(0, ETR, &sealed(1, vec![short("198.51.100.1")]));
    let eid = host("2001:db8:a::2");
    let messages = |outputs: Vec<Output>| -> Vec<_> {
        let piped = outputs.into_iter().filter_map(|output| match output {
            Output::Pipe { bytes } => Some(ControlMessage::decode(&bytes).unwrap()),
            _ => None,
        });
        piped.collect()
    };
    world.pipe(1, &ecm(&request(1, &[eid], &[RLOC])));
    world.pass(Duration::from_secs(150));
    world.datagram(0, ETR, &sealed(2, vec![short(rloc)]));
    world.pass(Duration::from_secs(20));
    world.mode = Mode::Silent;
    let before = world.gets.len();
    world.pipe(1, &ecm(&request(2, &[eid], &[RLOC])));
    let told = messages(world.pass(Duration::from_millis(1500)));
    let [ControlMessage::MapReply(reply)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((locators(&reply.records[0]), reply.records[0].ttl), (vec!["198.51.100.1".to_owned()], Ttl(1)));
    world.mode = Mode::Answering;
    let [key] = world.gets[before..] else { panic!("{:?}", world.gets) };
    let values = Some(world.dht.get(world.now.wall, &key));
    world.benches[1].engine.handle(world.now, Input::DhtValues { key, values });
    let outputs = world.benches[1].drain();
    messages(world.settle(1, outputs))
}

#[test]
fn what_is_found_after_something_old_was_told_is_solicited_if_it_is_something_else() {
    let heard = heard_after_what_was_old("198.51.100.9");
    let [ControlMessage::MapRequest(smr)] = heard.as_slice() else { panic!("{heard:?}") };
    assert!(smr.smr && smr.source_eid.ip() == Some(host("2001:db8:a::2").net.addr()));
    assert_eq!(heard_after_what_was_old("198.51.100.1"), []);
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
fn a_map_request_that_an_smr_has_invoked_is_answered_with_what_is_published_now() {
    let mut world = registered();
    let eid = host("2001:db8:a::2");
    let mut nonce = 0;
    let mut told = |world: &mut World, smr_invoked| {
        nonce += 1;
        let message = MapRequest { smr_invoked, ..request(nonce, &[eid], &[RLOC]) };
        locators(&reply(&world.datagram(1, ITR, &ecm(&message))).1.records[0]).remove(0)
    };
    assert_eq!(told(&mut world, false), "198.51.100.1");
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.9"])]));
    world.pass(Duration::from_secs(20));
    assert_eq!(told(&mut world, false), "198.51.100.1", "from the cache");
    assert_eq!(told(&mut world, true), "198.51.100.9");
    let asked = world.gets.len();
    assert_eq!([true, false].map(|invoked| told(&mut world, invoked)), ["198.51.100.9"; 2]);
    assert_eq!(world.gets.len(), asked, "it was just looked up");
    world.mode = Mode::Unreachable;
    world.pass(Duration::from_secs(3));
    assert_eq!(told(&mut world, true), "198.51.100.9", "no answer is no news");
    assert!(world.gets.len() > asked);
}

/// A Map-Server confirms a change before it has published it.
#[test]
fn what_is_published_after_an_smr_is_solicited_and_looked_for_three_times() {
    let mut world = registered();
    let eid = host("2001:db8:a::2");
    let messages = |outputs: Vec<Output>| -> Vec<_> {
        let piped = outputs.into_iter().filter_map(|output| match output {
            Output::Pipe { bytes } => Some(ControlMessage::decode(&bytes).unwrap()),
            _ => None,
        });
        piped.collect()
    };
    let told = |heard: &[ControlMessage]| match heard {
        [ControlMessage::MapReply(reply)] => locators(&reply.records[0]).remove(0),
        _ => panic!("{heard:?}"),
    };
    let ask = |world: &mut World, smr_invoked| {
        let message = MapRequest { smr_invoked, ..request(1, &[eid], &[RLOC]) };
        messages(world.pipe(1, &ecm(&message)))
    };
    assert_eq!(told(&ask(&mut world, false)), "198.51.100.1");
    world.pass(Duration::from_secs(60));
    assert_eq!(told(&ask(&mut world, true)), "198.51.100.1", "not published yet");
    assert_eq!(messages(world.pass(Duration::from_secs(4))), []);
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.9"])]));
    let heard = messages(world.pass(Duration::from_secs(60)));
    let [ControlMessage::MapRequest(smr)] = heard.as_slice() else { panic!("{heard:?}") };
    assert!(smr.smr && smr.source_eid.ip() == Some(eid.net.addr()));
    assert_eq!(told(&ask(&mut world, true)), "198.51.100.9");

    let asked = world.gets.len();
    assert_eq!(messages(world.pass(Duration::from_secs(60))), []);
    let again = world.gets.len() - asked;
    assert_eq!(messages(world.pass(Duration::from_secs(60))), []);
    assert_eq!((again, world.gets.len() - asked), (3, 3), "a forged SMR is not followed for ever");
}

/// What an engine says through the pipe when each of its questions to the DHT is answered.
fn heard_when_all_is_answered(
    world: &mut World,
    mut asked: usize,
    values: impl Fn(&World, RecordKey) -> Vec<Input>,
) -> Vec<ControlMessage> {
    let mut outputs = Vec::new();
    while let Some(key) = world.gets.get(asked).copied() {
        asked += 1;
        for input in values(world, key) {
            world.benches[1].engine.handle(world.now, input);
            let more = world.benches[1].drain();
            outputs.extend(world.settle(1, more));
        }
    }
    piped(outputs)
}

fn piped(outputs: Vec<Output>) -> Vec<ControlMessage> {
    let piped = outputs.into_iter().filter_map(|output| match output {
        Output::Pipe { bytes } => Some(ControlMessage::decode(&bytes).unwrap()),
        _ => None,
    });
    piped.collect()
}

fn invoked() -> Vec<u8> {
    ecm(&MapRequest { smr_invoked: true, ..request(1, &[host("2001:db8:a::2")], &[RLOC]) })
}

#[test]
fn somebody_else_who_waits_keeps_no_news_from_the_xtr() {
    let mut world = registered();
    world.pipe(1, &invoked());
    world.pass(Duration::from_secs(60));
    world.pipe(1, &invoked());
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.9"])]));
    world.pass(Duration::from_secs(4));
    let asked = world.gets.len();
    world.mode = Mode::Silent;
    world.pass(Duration::from_secs(2));
    assert!(world.gets.len() > asked, "it is looked up again");
    assert_eq!(world.datagram(1, ITR, &invoked()), [], "waits for that");
    let heard = heard_when_all_is_answered(&mut world, asked, |world, key| {
        vec![Input::DhtValues { key, values: Some(world.dht.get(world.now.wall, &key)) }]
    });
    assert!(matches!(heard.as_slice(), [ControlMessage::MapRequest(smr)] if smr.smr), "{heard:?}");
}

#[test]
fn first_copies_that_stay_old_have_the_xtr_asked_a_few_times_and_no_more() {
    let mut world = registered();
    world.pipe(1, &invoked());
    let record_key = *world.gets.last().unwrap();
    let old = world.dht.get(world.now.wall, &record_key);
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.9"])]));
    world.pass(Duration::from_secs(20));
    world.mode = Mode::Silent;
    let (mut asked, mut solicited, mut last, mut said) = (world.gets.len(), Vec::new(), 0, Vec::new());
    world.pipe(1, &invoked());
    for second in 0..180 {
        let mut heard = heard_when_all_is_answered(&mut world, asked, |world, key| {
            let newest = world.dht.get(world.now.wall, &key);
            if key != record_key {
                return vec![Input::DhtValues { key, values: Some(newest) }];
            }
            let first = Input::DhtValues { key, values: Some(old.clone()) };
            vec![first, Input::DhtNewer { key, values: [old.clone(), newest].concat() }]
        });
        if world.gets.len() > asked {
            (asked, last) = (world.gets.len(), second);
        }
        let is_smr = |message: &ControlMessage| matches!(message, ControlMessage::MapRequest(smr) if smr.smr);
        // As the xTR does, which takes none within three seconds of the last one.
        if heard.iter().any(is_smr) && solicited.last().is_none_or(|at| second >= at + 3) {
            solicited.push(second);
            heard.extend(piped(world.pipe(1, &invoked())));
        }
        said.extend(heard.into_iter().filter_map(|message| match message {
            ControlMessage::MapReply(reply) => Some(locators(&reply.records[0]).remove(0)),
            _ => None,
        }));
        world.pass(Duration::from_secs(1));
    }
    assert!((1..=8).contains(&solicited.len()), "{solicited:?}");
    assert!(last < 90, "nothing is looked up any more: {last}");
    assert_eq!(said.last().map(String::as_str), Some("198.51.100.9"), "{said:?}");
}

#[test]
fn a_dht_that_is_silent_about_a_thousand_eids_is_a_line_in_ten_seconds_that_says_how_many_there_were() {
    let mut world = two(site_a());
    let short = MappingRecord { ttl: Ttl(2), ..record(prefix(SITE), &["198.51.100.1"]) };
    world.datagram(0, ETR, &sealed(1, vec![short]));
    world.ask(1, 1, host("2001:db8:a::1"));
    world.mode = Mode::Unreachable;
    world.pass(Duration::from_secs(5 * 60));
    let ask = |world: &mut World, number: u64| {
        let outputs = world.pipe(1, &ecm(&request(number, &[host(&format!("2001:db8:a::{number:x}"))], &[RLOC])));
        assert!(outputs.iter().any(|output| matches!(output, Output::Pipe { .. })), "the old answer: {outputs:?}");
    };
    let lines = logged(|| {
        (1..=1000).for_each(|number| ask(&mut world, number));
        world.pass(LOG_PAUSE);
        ask(&mut world, 1001);
    });
    let lines: Vec<_> = lines.iter().filter(|line| line.starts_with("WARN the DHT does not answer")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(!lines[0].contains("left_out") && lines[1].ends_with("left_out=999"), "{lines:?}");
}
