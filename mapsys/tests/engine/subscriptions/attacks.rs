// SPDX-License-Identifier: GPL-2.0-or-later
//! Replays, forged requests and floods (RFC 9437, section 7).

use std::net::SocketAddr;

use mapsys::engine::{Input, Output};
use mapsys::limits::{
    NOTIFY_PAUSES, PUBLICATIONS_PER_XTR, REPLIES_PER_EID, SUBSCRIBE_BURST, SUBSCRIBER_WAYS, UNPROVEN_LONGEST,
    UNPROVEN_PER_XTR,
};
use mapsys::refusal::Refusal;
use mapsys::subscribe::subscription::Mode;
use mapsys::transport::Via;
use wire::address::EidPrefix;
use wire::control::auth::{self, Algorithm, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRequest, Nonce};
use wire::record::{Action, Ttl};

use super::xtr::*;
use crate::common::*;

#[test]
fn a_nonce_that_is_not_above_the_last_is_silently_dropped() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    bench.pass(seconds(5));
    let (to, notify) = told_once(&site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]));
    acknowledge(&mut bench, to, &notify);
    for nonce in [0, 9, 10, 11] {
        assert_eq!(bench.datagram(FROM_ONE, &ecm(&subscribing(nonce, &[host(EID)], &[ONE]))), [], "{nonce}");
    }
    assert_eq!(bench.only_refused(Refusal::SubscribeReplayed), 4, "11 was used by a Map-Notify");
    let asked = bench.datagram(FROM_ONE, &ecm(&subscribing(12, &[host(EID)], &[ONE])));
    assert_eq!(told_once(&asked).1.nonce.0, 12);
}

#[test]
fn a_replayed_subscription_is_logged() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    let again = ecm(&subscribing(9, &[host(EID)], &[ONE]));
    let lines = crate::log::logged(|| assert_eq!(bench.datagram(FROM_ONE, &again), []));
    assert!(lines.iter().any(|line| line.starts_with("WARN subscription replayed")), "{lines:?}");
}

#[test]
fn the_same_request_again_before_its_acknowledgement_changes_nothing() {
    let mut bench = registered();
    let asked = ecm(&subscribing(10, &[host(EID)], &[ONE]));
    told_once(&bench.datagram(FROM_ONE, &asked));
    assert_eq!(bench.datagram(FROM_ONE, &asked), []);
    assert_eq!(bench.only_refused(Refusal::SubscribeReplayed), 1);
}

#[test]
fn a_forged_request_moves_nobody_and_poisons_no_nonce() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    // Whoever writes another source into his datagrams, and does not see what goes there.
    told_once(&bench.datagram(FROM_TWO, &ecm(&subscribing(1 << 60, &[host(EID)], &[TWO]))));
    bench.pass(seconds(76));
    assert_eq!(bench.only_refused(Refusal::SubscribeUnacknowledged), 1);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    let mut outputs = site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]);
    outputs.extend(bench.pass(seconds(3)));
    let heard = told(&outputs).into_iter().find(|(_, notify)| rlocs(&notify.records[0]) == ["198.51.100.2"]);
    let (to, notify) = heard.expect("the change");
    assert_eq!(to, address("192.0.2.1:4342"), "where it was before");
    assert!(notify.nonce.0 < 20, "{notify:?}");
    acknowledge(&mut bench, to, &notify);
    subscribe(&mut bench, 20, host(EID));
}

#[test]
fn a_forged_end_ends_nothing_for_longer_than_a_minute() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    told_once(&bench.datagram(FROM_TWO, &ecm(&leaving(1 << 60, prefix(SITE)))));
    bench.pass(seconds(5));
    site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]);
    let later = told(&bench.pass(seconds(76)));
    let heard = later.iter().find(|(_, notify)| rlocs(&notify.records[0]) == ["198.51.100.2"]);
    let (to, notify) = heard.expect("what it has missed");
    assert_eq!((*to, notify.nonce.0), (address("192.0.2.1:4342"), 11));
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn an_acknowledgement_of_what_was_said_before_proves_nothing_of_a_forged_request() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    bench.pass(seconds(5));
    let specific = prefix("2001:db8:a:1::/64");
    let (to, change) = told_once(&site_says(&mut bench, 2, vec![record(specific, &["198.51.100.2"])]));
    told_once(&bench.datagram(FROM_TWO, &ecm(&subscribing(1 << 60, &[host(EID)], &[TWO]))));
    acknowledge(&mut bench, to, &change);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, false)]);
}

#[test]
fn only_the_holder_of_the_key_acknowledges() {
    let mut bench = registered();
    let (to, notify) = told_once(&bench.datagram(FROM_ONE, &ecm(&subscribing(10, &[host(EID)], &[ONE]))));
    let guess = key(5, Algorithm::HkdfSha256, "guess");
    let forged = auth::seal(&ControlMessage::MapNotifyAck(notify.clone()), &guess, TagForm::Truncated).unwrap();
    bench.datagram(&to.to_string(), &forged);
    assert_eq!(bench.only_refused(Refusal::NotifyAckBadTag), 1);
    // The Map-Notify itself, sent back with another type.
    let mirrored = auth::seal(&ControlMessage::MapNotify(notify.clone()), &xtr_key(), TagForm::Truncated).unwrap();
    let mut mirrored_as_ack = mirrored.clone();
    mirrored_as_ack[0] = mirrored[0] & 0x0f | 0x50;
    bench.datagram(&to.to_string(), &mirrored_as_ack);
    assert_eq!(bench.engine.tally().get(Refusal::NotifyAckBadTag), 2);
    let other = MapNotify { nonce: Nonce(11), ..notify.clone() };
    bench.datagram(&to.to_string(), &ack(&other));
    bench.datagram("203.0.113.9:4342", &ack(&notify));
    assert_eq!(bench.engine.tally().get(Refusal::NotifyAckUnasked), 2);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, false)]);
}

#[test]
fn who_asks_too_often_is_answered_as_without_the_n_bit() {
    let mut bench = registered();
    let ask = |bench: &mut Bench, nonce| bench.datagram(FROM_ONE, &ecm(&subscribing(nonce, &[host(EID)], &[ONE])));
    let burst = u64::from(SUBSCRIBE_BURST);
    for nonce in 1..=burst {
        ask(&mut bench, nonce);
    }
    let mut answered = 0;
    for nonce in burst + 1..=burst + 50 {
        let outputs = ask(&mut bench, nonce);
        if answered == REPLIES_PER_EID {
            assert_eq!(outputs, [], "as often as an EID is answered at once");
            continue;
        }
        answered += 1;
        let (to, reply) = reply(&outputs);
        let record = &reply.records[0];
        assert_eq!(
            (to.ip(), reply.nonce, record.eid.ip_prefix()),
            (address(FROM_ONE).ip(), Nonce(nonce), Some(prefix(SITE)))
        );
        assert_eq!((record.action, rlocs(record)), (Action::NoAction, vec!["198.51.100.1".to_owned()]));
    }
    assert_eq!(bench.engine.tally().get(Refusal::SubscribeRate), 50);
    let (to, newest) = told_once(&bench.pass(seconds(5)));
    assert_eq!(newest.nonce.0, u64::from(SUBSCRIBE_BURST), "of those that were repeated too soon");
    acknowledge(&mut bench, to, &newest);
    subscribe(&mut bench, 100_000, host(EID));
}

#[test]
fn what_is_not_proven_is_confirmed_no_oftener_than_a_change_is_told() {
    let mut bench = registered();
    let mut confirmed = 0;
    for nonce in 0..20 {
        let subscribed = ecm(&subscribing(2 * nonce, &[prefix(SITE)], &[ONE]));
        confirmed += told(&bench.datagram(FROM_ONE, &subscribed)).len();
        let left = ecm(&leaving(2 * nonce + 1, prefix(SITE)));
        confirmed += told(&bench.datagram(FROM_ONE, &left)).len();
        confirmed += told(&bench.pass(seconds(1) / 10)).len();
    }
    assert_eq!(confirmed, 1, "in two seconds");
    assert_eq!(told(&bench.pass(seconds(2))).len(), 1);
}

#[test]
fn an_itr_rloc_that_is_named_again_and_again_is_told_no_oftener() {
    let sendings = |itr_rlocs: &[&str]| {
        let mut bench = registered();
        let mut outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(1, &[host(EID)], itr_rlocs)));
        outputs.extend(bench.pass(seconds(600)));
        told(&outputs)
    };
    // Its request is longer, and so may its answer be: all seven, and the last word.
    assert_eq!(sendings(&[ONE; 31]).len(), NOTIFY_PAUSES.len() + 2);
    assert!(sendings(&[ONE]).len() < NOTIFY_PAUSES.len());
    let many: Vec<String> = (1..=31).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let reached: std::collections::BTreeSet<_> = sendings(&many).into_iter().map(|(to, _)| to).collect();
    assert_eq!(reached.len(), SUBSCRIBER_WAYS);
}

#[test]
fn an_xtr_that_acknowledges_nothing_takes_its_share_of_the_table_only() {
    let mut bench = registered();
    for n in 0..UNPROVEN_PER_XTR + 20 {
        let eid = prefix(&format!("2001:db8:a:{n:x}::/64"));
        site_says(&mut bench, 2 + n as u64, vec![record(eid, &["198.51.100.2"])]);
        bench.datagram(FROM_ONE, &ecm(&subscribing(1, &[eid], &[ONE])));
    }
    assert_eq!(bench.engine.subscriptions().waiting().1, UNPROVEN_PER_XTR);
    assert_eq!(bench.only_refused(Refusal::SubscribeUnproven), 20, "answered by Map-Replies");
    bench.pass(seconds(100));
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn changes_for_an_xtr_that_acknowledges_none_wait_and_are_not_lost() {
    let mut bench = registered();
    subscribe(&mut bench, 1, host(EID));
    bench.pass(seconds(5));
    let part = |n: usize| prefix(&format!("2001:db8:a:{n:x}::/64"));
    let count = PUBLICATIONS_PER_XTR - 10;
    let mut heard = std::collections::BTreeSet::new();
    // The second half changes while all of the first is unacknowledged.
    for (round, rloc) in ["198.51.100.2", "198.51.100.3"].into_iter().enumerate() {
        for (n, chunk) in (0..count).collect::<Vec<_>>().chunks(50).enumerate() {
            let records = chunk.iter().map(|n| record(part(*n), &[rloc])).collect();
            let nonce = 2 + (round * 100 + n) as u64;
            let outputs = site_says(&mut bench, nonce, records);
            heard.extend(told(&outputs).iter().map(|(_, notify)| (about(notify), rlocs(&notify.records[0]))));
        }
        bench.pass(seconds(1));
    }
    assert!(bench.engine.subscriptions().waiting().1 <= PUBLICATIONS_PER_XTR);
    let later = bench.pass(seconds(10));
    heard.extend(told(&later).iter().map(|(_, notify)| (about(notify), rlocs(&notify.records[0]))));
    let newest = heard.iter().filter(|(_, rlocs)| *rlocs == ["198.51.100.3"]).count();
    assert_eq!(newest, count);
}

/// Octets of all that is sent.
fn octets(outputs: &[Output]) -> usize {
    outputs.iter().map(|output| if let Output::Send { bytes, .. } = output { bytes.len() } else { 0 }).sum()
}

#[test]
fn forged_requests_bring_an_xtr_no_more_than_three_times_their_octets() {
    let mut bench = registered();
    let part = |n: usize| prefix(&format!("2001:db8:a:{n:x}::/64"));
    let rlocs: Vec<String> = (1..=8).map(|n| format!("2001:db8:1::{n}")).collect();
    let rlocs: Vec<&str> = rlocs.iter().map(String::as_str).collect();
    for n in 0..4 {
        site_says(&mut bench, 2 + n as u64, vec![record(part(n), &rlocs)]);
    }
    let (mut came, mut went) = (0, 0);
    // Long answers, short ones, several of them in one, the end of all, and changes in between.
    let wide = subscribing(1, &[prefix(SITE)], &[ONE, TWO]);
    let several = subscribing(2, &[part(0), part(1), part(9), part(10)], &[ONE]);
    for (n, request) in [wide, several, leaving(3, part(12)), subscribing(1, &[part(11)], &[ONE])].iter().enumerate() {
        let asked = ecm(request);
        came += asked.len();
        went += octets(&bench.datagram(FROM_ONE, &asked));
        went += octets(&bench.pass(seconds(2)));
        let flap = record(part(n), &[["198.51.100.7", "198.51.100.8"][n % 2]]);
        went += octets(&site_says(&mut bench, 10 + n as u64, vec![flap]));
        went += octets(&bench.pass(seconds(2)));
    }
    went += octets(&bench.pass(seconds(170)));
    assert!(went > came && went <= 3 * came, "{went} octets for {came}");
    assert_eq!(subscriptions(&bench), [], "and nothing is left of it");
}

#[test]
fn what_is_too_long_for_a_stranger_to_ask_for_is_no_subscription() {
    let mut bench = registered();
    let rlocs: Vec<String> = (1..=16).map(|n| format!("2001:db8:1::{n}")).collect();
    let rlocs: Vec<&str> = rlocs.iter().map(String::as_str).collect();
    site_says(&mut bench, 2, vec![record(prefix(SITE), &rlocs)]);
    assert_eq!(told(&bench.datagram(FROM_ONE, &ecm(&subscribing(1, &[host(EID)], &[ONE])))), []);
    assert!(bench.engine.tally().get(Refusal::ReplyAmplification) > 0);
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn what_changes_inside_while_a_forged_request_is_open_is_told_when_that_is_over() {
    what_is_told_after(&subscribing(1 << 60, &[prefix(SITE)], &[TWO]));
}

#[test]
fn what_changes_inside_while_a_forged_end_is_open_is_told_when_that_is_over() {
    what_is_told_after(&leaving(1 << 60, prefix(SITE)));
}

#[test]
fn what_is_under_way_or_waits_when_a_forged_end_comes_is_told_when_that_is_over() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    bench.pass(seconds(5));
    let (sent, waits) = (prefix("2001:db8:a:1::/64"), prefix("2001:db8:a:2::/64"));
    told_once(&site_says(&mut bench, 2, vec![record(sent, &["198.51.100.2"])]));
    let (to, other) = told_once(&site_says(&mut bench, 3, vec![record(waits, &["198.51.100.2"])]));
    acknowledge(&mut bench, to, &other);
    assert_eq!(told(&site_says(&mut bench, 4, vec![record(waits, &["198.51.100.3"])])), [], "not so soon");
    bench.datagram(FROM_TWO, &ecm(&leaving(1 << 60, prefix(SITE))));
    let later = told(&bench.pass(seconds(80)));
    let heard: std::collections::BTreeSet<_> = later.iter().map(|(_, it)| (about(it), rlocs(&it.records[0]))).collect();
    for (part, rloc) in [(sent, "198.51.100.2"), (waits, "198.51.100.3")] {
        assert!(heard.contains(&(part, vec![rloc.to_owned()])), "{part}: {heard:?}");
    }
}

#[test]
fn what_a_forged_request_was_told_of_a_more_specific_is_told_again_when_that_is_over() {
    let mut bench = registered();
    // What is asked about begins with it.
    let first = prefix("2001:db8:a::/64");
    site_says(&mut bench, 2, vec![record(first, &["198.51.100.1"])]);
    let mut outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(10, &[prefix(SITE)], &[ONE])));
    assert_eq!(about(&told_once(&outputs).1), first);
    hear_all(&mut bench, &mut outputs);
    told_once(&bench.datagram(FROM_TWO, &ecm(&subscribing(1 << 60, &[prefix(SITE)], &[TWO]))));
    assert_eq!(told(&site_says(&mut bench, 3, vec![record(first, &["198.51.100.2"])])), [], "not so soon");
    let (to, changed) = told_once(&bench.pass(seconds(4)));
    assert_eq!((to, about(&changed)), (address("192.0.2.2:4342"), first), "to whoever may have asked");
    let later = told(&bench.pass(seconds(80)));
    let own = later.iter().filter(|(to, notify)| *to == address("192.0.2.1:4342") && notify.nonce.0 < 30);
    let heard: std::collections::BTreeSet<_> = own.map(|(_, it)| (about(it), rlocs(&it.records[0]))).collect();
    assert!(heard.contains(&(first, vec!["198.51.100.2".to_owned()])), "{heard:?}");
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn what_the_xtr_was_told_of_a_more_specific_before_it_acknowledged_is_not_told_twice() {
    let mut bench = registered();
    let first = prefix("2001:db8:a::/64");
    site_says(&mut bench, 2, vec![record(first, &["198.51.100.1"])]);
    bench.datagram(FROM_ONE, &ecm(&subscribing(10, &[prefix(SITE)], &[ONE])));
    site_says(&mut bench, 3, vec![record(first, &["198.51.100.2"])]);
    let (to, changed) = told_once(&bench.pass(seconds(4)));
    assert_eq!((about(&changed), changed.nonce.0), (first, 11));
    let mut outputs = bench.datagram(&to.to_string(), &ack(&changed));
    let heard: Vec<_> = hear_all(&mut bench, &mut outputs).iter().map(about).collect();
    assert_eq!(heard, [prefix(SITE)], "and what there was no room for");
}

#[test]
fn requests_that_are_forged_again_and_again_have_a_change_wait_for_five_minutes_at_most() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    bench.pass(seconds(5));
    let part = prefix("2001:db8:a:1::/64");
    let mut heard_after = None;
    for n in 0..120 {
        bench.datagram(FROM_TWO, &ecm(&subscribing((1 << 60) + 2 * n, &[host(EID)], &[TWO])));
        let changed = [record(prefix(SITE), &["198.51.100.1"]), record(part, &["198.51.100.2"])];
        let mut outputs = site_says(&mut bench, 2 + n, changed.to_vec());
        outputs.extend(bench.pass(seconds(5)));
        let own = |(to, notify): &(SocketAddr, MapNotify)| to.ip().to_string() == ONE && about(notify) == part;
        if heard_after.is_none() && told(&outputs).iter().any(own) {
            heard_after = Some(5 * (n + 1));
        }
    }
    assert_eq!(heard_after, Some(UNPROVEN_LONGEST.as_secs()));
    assert_eq!(subscriptions(&bench).iter().map(|(_, mode, _)| *mode).collect::<Vec<_>>(), [Mode::Publish]);
}

#[test]
fn a_forged_end_that_finds_no_room_silences_nothing() {
    let mut bench = registered();
    let part = |n: usize| prefix(&format!("2001:db8:a:{n:x}::/64"));
    let own = part(0xffff);
    site_says(&mut bench, 2, vec![record(own, &["198.51.100.1"])]);
    for (nonce, eid) in [(10, own), (20, prefix(SITE))] {
        let mut outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(nonce, &[eid], &[ONE])));
        hear_all(&mut bench, &mut outputs);
    }
    // As many changes as one xTR may leave unacknowledged, and one that waits for room.
    for (n, chunk) in (0..PUBLICATIONS_PER_XTR).collect::<Vec<_>>().chunks(50).enumerate() {
        let records = chunk.iter().map(|n| record(part(*n), &["198.51.100.2"])).collect();
        site_says(&mut bench, 3 + 2 * n as u64, records);
        site_says(&mut bench, 4 + 2 * n as u64, chunk.iter().map(|n| gone(part(*n))).collect());
    }
    assert_eq!(told(&site_says(&mut bench, 100, vec![record(own, &["198.51.100.3"])])), []);
    assert_eq!(bench.engine.subscriptions().waiting().1, PUBLICATIONS_PER_XTR);
    assert_eq!(told(&bench.datagram(FROM_TWO, &ecm(&leaving(1 << 60, own)))), []);
    assert_eq!(bench.only_refused(Refusal::NotifyTableFull), 1);
    let mut outputs = bench.pass(seconds(4));
    let heard = hear_all(&mut bench, &mut outputs);
    let heard = heard.iter().find(|notify| about(notify) == own).expect("the change");
    assert_eq!(rlocs(&heard.records[0]), ["198.51.100.3"]);
}

#[test]
fn an_end_of_which_much_waits_is_confirmed_and_if_it_is_forged_all_of_that_is_told() {
    let count = PUBLICATIONS_PER_XTR + 50;
    for is_forged in [false, true] {
        let mut bench = registered();
        subscribe(&mut bench, 10, host(EID));
        bench.pass(seconds(5));
        let part = |n: usize| prefix(&format!("2001:db8:a:{n:x}::/64"));
        for (n, chunk) in (0..count).collect::<Vec<_>>().chunks(50).enumerate() {
            let records = chunk.iter().map(|n| record(part(*n), &["198.51.100.2"])).collect();
            site_says(&mut bench, 2 + 2 * n as u64, records);
            site_says(&mut bench, 3 + 2 * n as u64, chunk.iter().map(|n| gone(part(*n))).collect());
        }
        let (waiting, unacknowledged) = bench.engine.subscriptions().waiting();
        assert!(waiting + unacknowledged >= count && waiting >= 50, "{waiting} {unacknowledged}");
        let (to, ended) = told_once(&bench.datagram(FROM_TWO, &ecm(&leaving(1000, prefix(SITE)))));
        assert_eq!(bench.engine.subscriptions().waiting().1, 1, "nothing else is said meanwhile");
        if !is_forged {
            assert_eq!(told(&bench.datagram(&to.to_string(), &ack(&ended))), []);
            assert_eq!((subscriptions(&bench), bench.engine.subscriptions().waiting()), (vec![], (0, 0)));
            assert_eq!(told(&bench.pass(seconds(100))), []);
            continue;
        }
        let (mut heard, mut outputs) = (std::collections::BTreeSet::new(), Vec::new());
        for _ in 0..9 {
            heard.extend(hear_all(&mut bench, &mut outputs).iter().map(about));
        }
        assert!((0..count).all(|n| heard.contains(&part(n))), "{} of {count}", heard.len());
        assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    }
}

#[test]
fn what_waits_when_an_end_is_asked_for_and_not_confirmed_is_told_to_who_subscribes_again() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    bench.pass(seconds(5));
    let part = prefix("2001:db8:a:1::/64");
    let (to, change) = told_once(&site_says(&mut bench, 2, vec![record(part, &["198.51.100.2"])]));
    acknowledge(&mut bench, to, &change);
    assert_eq!(told(&site_says(&mut bench, 3, vec![record(part, &["198.51.100.3"])])), [], "not so soon");
    told_once(&bench.datagram(FROM_ONE, &ecm(&leaving(20, prefix(SITE)))));
    bench.pass(seconds(4));
    let mut outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(21, &[host(EID)], &[ONE])));
    outputs.extend(bench.pass(seconds(4)));
    let heard = hear_all(&mut bench, &mut outputs);
    let heard: Vec<_> = heard.iter().map(|notify| (about(notify), rlocs(&notify.records[0]))).collect();
    assert!(heard.contains(&(part, vec!["198.51.100.3".to_owned()])), "{heard:?}");
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

/// Acknowledges all that the xTR is told at its first ITR-RLOC, for ten seconds.
fn hear_all(bench: &mut Bench, outputs: &mut Vec<Output>) -> Vec<MapNotify> {
    let mut heard = Vec::new();
    for _ in 0..10 {
        for (to, notify) in told(&std::mem::take(outputs)) {
            if to == address("192.0.2.1:4342") {
                outputs.extend(bench.datagram(&to.to_string(), &ack(&notify)));
                heard.push(notify);
            }
        }
        outputs.extend(bench.pass(seconds(1)));
    }
    heard
}

#[test]
fn what_changes_in_a_part_that_a_forged_end_keeps_quiet_is_told_when_that_is_over() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    bench.pass(seconds(5));
    let (part, inside, other) = (prefix("2001:db8:a:1::/64"), prefix("2001:db8:a:9::/64"), prefix("2001:db8:a:c::/64"));
    bench.datagram(FROM_TWO, &ecm(&leaving(1 << 60, part)));
    bench.datagram(FROM_TWO, &ecm(&leaving(1 << 60, prefix("2001:db8:a:8::/62"))));
    let changed = [part, inside].map(|eid| record(eid, &["198.51.100.2"]));
    assert_eq!(told(&site_says(&mut bench, 2, changed.to_vec())), []);
    let (to, change) = told_once(&site_says(&mut bench, 3, vec![record(other, &["198.51.100.2"])]));
    acknowledge(&mut bench, to, &change);
    let later = told(&bench.pass(seconds(80)));
    let own = later.iter().filter(|(to, notify)| *to == address("192.0.2.1:4342") && notify.nonce.0 < 20);
    let heard: std::collections::BTreeSet<_> = own.map(|(_, it)| (about(it), rlocs(&it.records[0]))).collect();
    let expected = [part, inside].map(|eid| (eid, vec!["198.51.100.2".to_owned()]));
    assert_eq!(heard.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn what_changes_in_a_part_that_is_subscribed_to_by_a_forger_is_told_when_that_is_over() {
    let mut bench = registered();
    let part = prefix("2001:db8:a:1::/64");
    site_says(&mut bench, 2, vec![record(part, &["198.51.100.1"])]);
    let mut outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(10, &[prefix(SITE)], &[ONE])));
    for _ in 0..5 {
        for (to, notify) in told(&std::mem::take(&mut outputs)) {
            outputs.extend(bench.datagram(&to.to_string(), &ack(&notify)));
        }
        outputs.extend(bench.pass(seconds(1)));
    }
    told_once(&bench.datagram(FROM_TWO, &ecm(&subscribing(1 << 60, &[part], &[TWO]))));
    let mut later = site_says(&mut bench, 3, vec![record(part, &["198.51.100.2"])]);
    later.extend(bench.pass(seconds(80)));
    let own = told(&later).into_iter().filter(|(to, _)| *to == address("192.0.2.1:4342"));
    let heard: std::collections::BTreeSet<_> = own.map(|(_, it)| (about(&it), rlocs(&it.records[0]))).collect();
    assert_eq!(heard.into_iter().collect::<Vec<_>>(), [(part, vec!["198.51.100.2".to_owned()])]);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn a_temporary_subscription_whose_mapping_comes_while_a_forged_end_is_open_goes_on() {
    let mut bench = Bench::new(served());
    subscribe(&mut bench, 10, host(EID));
    let until = bench.engine.subscriptions().iter().find_map(|(_, known)| known.until).expect("nothing is there");
    bench.pass(until - bench.now.monotonic - seconds(10));
    told_once(&bench.datagram(FROM_TWO, &ecm(&leaving(1 << 60, prefix(SITE)))));
    bench.pass(seconds(2));
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    let later = told_at_one(&bench.pass(seconds(100)));
    assert!(later.contains(&(prefix(SITE), vec!["198.51.100.1".to_owned()])), "{later:?}");
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

/// Of a part that somebody forges `of_part` about, and an end of the whole a while later, its xTR hears when both are over.
fn what_is_told_of_a_part_in_two_doubts(of_part: &MapRequest) {
    for later in 0..12 {
        let mut bench = registered();
        let part = prefix(PART);
        site_says(&mut bench, 2, vec![record(part, &["198.51.100.1"])]);
        let mut outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(10, &[prefix(SITE)], &[ONE])));
        hear_all(&mut bench, &mut outputs);
        bench.datagram(FROM_TWO, &ecm(of_part));
        let mut outputs = site_says(&mut bench, 3, vec![record(part, &["198.51.100.2"])]);
        outputs.extend(bench.pass(seconds(later)));
        outputs.extend(bench.datagram("192.0.2.3:5000", &ecm(&leaving(1 << 60, prefix(SITE)))));
        outputs.extend(bench.pass(seconds(80)));
        let heard = told_at_one(&outputs);
        assert!(heard.contains(&(part, vec!["198.51.100.2".to_owned()])), "{later}: {heard:?}");
        assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    }
}

/// What the xTR is told at its first ITR-RLOC under nonces of its own.
fn told_at_one(outputs: &[Output]) -> Vec<(EidPrefix, Vec<String>)> {
    let own = told(outputs).into_iter().filter(|(to, it)| *to == address("192.0.2.1:4342") && it.nonce.0 < 1 << 50);
    own.map(|(_, it)| (about(&it), rlocs(&it.records[0]))).collect()
}

const PART: &str = "2001:db8:a:1::/64";

#[test]
fn what_changes_in_a_part_is_told_though_an_end_of_the_part_and_then_one_of_the_whole_are_forged() {
    what_is_told_of_a_part_in_two_doubts(&leaving(1 << 60, prefix(PART)));
}

#[test]
fn what_changes_in_a_part_is_told_though_somebody_subscribes_to_it_and_then_an_end_of_the_whole_is_forged() {
    what_is_told_of_a_part_in_two_doubts(&subscribing(1 << 60, &[prefix(PART)], &[TWO]));
}

#[test]
fn a_part_is_kept_quiet_though_an_end_of_the_whole_is_forged_meanwhile() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    bench.pass(seconds(5));
    bench.datagram(FROM_TWO, &ecm(&leaving(1 << 60, prefix(SITE))));
    let (to, confirmed) = told_once(&bench.datagram(FROM_ONE, &ecm(&leaving(20, prefix(PART)))));
    acknowledge(&mut bench, to, &confirmed);
    bench.pass(seconds(160));
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true), (prefix(PART), Mode::Mute, true)]);
    assert_eq!(told(&site_says(&mut bench, 2, vec![record(prefix(PART), &["198.51.100.2"])])), []);
}

fn what_is_told_after(forged: &MapRequest) {
    let mut bench = registered();
    let part = |n: usize| prefix(&format!("2001:db8:a:{n:x}::/64"));
    site_says(&mut bench, 2, (1..=12).map(|n| record(part(n), &["198.51.100.1"])).collect());
    let mut outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(10, &[prefix(SITE)], &[ONE])));
    for _ in 0..5 {
        for (to, notify) in told(&std::mem::take(&mut outputs)) {
            outputs.extend(bench.datagram(&to.to_string(), &ack(&notify)));
        }
        outputs.extend(bench.pass(seconds(1)));
    }
    assert_eq!((told(&outputs), bench.engine.subscriptions().waiting().1), (vec![], 0), "it knows all");
    bench.pass(seconds(5));
    bench.datagram(FROM_TWO, &ecm(forged));
    let mut later = site_says(&mut bench, 3, vec![gone(part(3)), record(part(4), &["198.51.100.2"])]);
    later.extend(bench.pass(seconds(80)));
    let own = told(&later).into_iter().filter(|(to, _)| *to == address("192.0.2.1:4342"));
    let heard: std::collections::BTreeSet<_> = own.map(|(_, it)| (about(&it), it.records[0].ttl)).collect();
    let heard: Vec<_> = heard.into_iter().collect();
    assert_eq!(
        heard,
        [(prefix(SITE), Ttl(1440)), (part(3), Ttl(0)), (part(4), Ttl(1440))],
        "and nothing that has not changed"
    );
}

#[test]
fn what_is_owed_is_not_forgotten_for_another_request() {
    let mut bench = registered();
    let part = prefix("2001:db8:a:7::/64");
    site_says(&mut bench, 2, vec![record(part, &["198.51.100.2"])]);
    let first = told_once(&bench.datagram(FROM_ONE, &ecm(&subscribing(10, &[prefix(SITE)], &[ONE])))).1;
    assert!(first.records.iter().any(|record| record.eid.ip_prefix() == Some(part)));
    site_says(&mut bench, 3, vec![gone(part)]);
    bench.pass(seconds(5));
    assert_eq!(told(&bench.datagram(FROM_ONE, &ecm(&subscribing(11, &[prefix(SITE)], &[ONE])))), [], "not so soon");
    let (to, second) = told_once(&bench.pass(seconds(2)));
    let mut outputs = bench.datagram(&to.to_string(), &ack(&second));
    outputs.extend(bench.pass(seconds(2)));
    let (_, change) = told_once(&outputs);
    assert_eq!((about(&change), change.records[0].ttl), (part, Ttl(0)));
}

#[test]
fn a_change_during_the_confirmation_is_told_when_it_is_proven() {
    let mut bench = registered();
    let (to, notify) = told_once(&bench.datagram(FROM_ONE, &ecm(&subscribing(10, &[host(EID)], &[ONE]))));
    let part = prefix("2001:db8:a:7::/64");
    let mut early = site_says(&mut bench, 2, vec![record(part, &["198.51.100.2"])]);
    early.extend(bench.pass(seconds(1)));
    assert_eq!(told(&early), [], "nobody has proven that he wants it");
    bench.datagram(&to.to_string(), &ack(&notify));
    let (_, change) = told_once(&bench.pass(seconds(4)));
    assert_eq!((about(&change), rlocs(&change.records[0])), (part, vec!["198.51.100.2".to_owned()]));
}

#[test]
fn the_nodes_own_xtr_does_not_subscribe_through_the_pipe() {
    let mut bench = registered();
    let bytes = ecm(&subscribing(1, &[host(EID)], &[ONE]));
    bench.engine.handle(bench.now, Input::Datagram { via: Via::Pipe, bytes });
    let outputs = bench.drain();
    assert!(matches!(outputs.as_slice(), [Output::Pipe { .. }]), "{outputs:?}");
    assert_eq!(subscriptions(&bench), []);
}
