// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes are told (RFC 9437, section 6).

use std::time::Duration;

use mapsys::engine::{Config, Output};
use mapsys::limits::PUBLICATIONS_PER_XTR;
use mapsys::refusal::Refusal;
use mapsys::subscribe::subscriber::{Policy, Subscriber};
use mapsys::subscribe::subscription::Mode;
use wire::control::{MapRegister, XtrIdentity};
use wire::record::{Action, Ttl};

use super::xtr::*;
use crate::common::*;

#[test]
fn a_change_is_told_with_the_next_nonce_and_a_refresh_is_not() {
    let mut bench = registered();
    subscribe(&mut bench, 40, host(EID));
    for nonce in 2..5 {
        bench.pass(seconds(5));
        assert_eq!(told(&site_says(&mut bench, nonce, vec![record(prefix(SITE), &["198.51.100.1"])])), []);
    }
    for (nonce, rloc) in [(41, "198.51.100.2"), (42, "198.51.100.3"), (43, "198.51.100.2")] {
        bench.pass(seconds(5));
        let outputs = site_says(&mut bench, nonce, vec![record(prefix(SITE), &[rloc])]);
        let (to, notify) = told_once(&outputs);
        assert_eq!((to, notify.nonce.0), (address("192.0.2.1:4342"), nonce));
        assert_eq!((about(&notify), rlocs(&notify.records[0])), (prefix(SITE), vec![rloc.to_owned()]));
        acknowledge(&mut bench, to, &notify);
    }
}

#[test]
fn a_withdrawn_prefix_is_told_with_ttl_0_and_a_returning_one_again() {
    let mut bench = registered();
    subscribe(&mut bench, 1, host(EID));
    bench.pass(seconds(5));
    let (to, notify) = told_once(&site_says(&mut bench, 2, vec![gone(prefix(SITE))]));
    let record_0 = &notify.records[0];
    assert_eq!((notify.nonce.0, about(&notify), record_0.ttl, record_0.locators.len()), (2, prefix(SITE), Ttl(0), 0));
    acknowledge(&mut bench, to, &notify);
    bench.pass(seconds(60));
    let outputs = site_says(&mut bench, 3, vec![record(prefix(SITE), &["198.51.100.1"])]);
    assert_eq!(told_once(&outputs).1.nonce.0, 3);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

/// Of two xTRs of a site that do not merge, one says where its prefix is, or that it has it no longer.
fn says(bench: &mut Bench, xtr: u8, nonce: u64, rlocs: &[&str]) -> Vec<Output> {
    let identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 });
    let eid = if rlocs.is_empty() { gone(prefix(SITE)) } else { record(prefix(SITE), rlocs) };
    let register = MapRegister { xtr_identity: identity, ..register(nonce, vec![eid]) };
    bench.datagram(&format!("198.51.100.{xtr}:4342"), &seal(register, &site_key()))
}

#[test]
fn a_prefix_is_told_as_gone_only_if_who_had_it_before_does_not_take_it_again() {
    for is_taken in [true, false] {
        let mut bench = Bench::new(served());
        says(&mut bench, 1, 1, &["198.51.100.1"]);
        subscribe(&mut bench, 1, host(EID));
        let (to, notify) = told_once(&says(&mut bench, 2, 1, &["198.51.100.2"]));
        acknowledge(&mut bench, to, &notify);
        bench.pass(seconds(10));
        let mut heard = told(&says(&mut bench, 2, 2, &[]));
        heard.extend(told(&bench.pass(Duration::from_millis(100))));
        assert_eq!(heard, [], "the other has just been told that he may have it again");
        if is_taken {
            heard.extend(told(&says(&mut bench, 1, 2, &["198.51.100.1"])));
        }
        heard.extend(told(&bench.pass(Duration::from_millis(150))));
        let heard: Vec<_> = heard.iter().map(|(_, notify)| (about(notify), rlocs(&notify.records[0]))).collect();
        let expected = if is_taken { vec!["198.51.100.1".to_owned()] } else { vec![] };
        assert_eq!(heard, [(prefix(SITE), expected)]);
    }
}

#[test]
fn a_site_that_falls_silent_is_told_with_ttl_0_and_its_subscription_ends_after_fifteen_minutes() {
    let mut bench = registered();
    subscribe(&mut bench, 1, host(EID));
    let (to, notify) = told_once(&bench.pass(seconds(182)));
    assert_eq!((notify.nonce.0, notify.records[0].ttl), (2, Ttl(0)));
    acknowledge(&mut bench, to, &notify);
    bench.pass(seconds(880));
    assert_eq!(subscriptions(&bench).len(), 1);
    bench.pass(seconds(30));
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn a_more_specific_is_told_to_the_subscribers_of_what_covers_it() {
    let mut bench = registered();
    subscribe(&mut bench, 1, host(EID));
    bench.pass(seconds(5));
    let specific = prefix("2001:db8:a:1::/64");
    let (to, notify) = told_once(&site_says(&mut bench, 2, vec![record(specific, &["198.51.100.7"])]));
    assert_eq!(
        (notify.nonce.0, about(&notify), rlocs(&notify.records[0])),
        (2, specific, vec!["198.51.100.7".to_owned()])
    );
    acknowledge(&mut bench, to, &notify);
    bench.pass(seconds(5));
    let (_, notify) = told_once(&site_says(&mut bench, 3, vec![gone(specific)]));
    assert_eq!(
        (notify.nonce.0, about(&notify), notify.records[0].ttl),
        (3, specific, Ttl(0)),
        "what covers it still holds"
    );
}

#[test]
fn who_has_subscribed_twice_is_told_once_by_the_most_specific() {
    let mut bench = registered();
    let specific = prefix("2001:db8:a:1::/64");
    site_says(&mut bench, 2, vec![record(specific, &["198.51.100.7"])]);
    subscribe(&mut bench, 100, host("2001:db8:a:1::1"));
    let outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(500, &[prefix(SITE)], &[ONE])));
    for (to, notify) in told(&outputs) {
        acknowledge(&mut bench, to, &notify);
    }
    bench.pass(seconds(5));
    let (_, notify) = told_once(&site_says(&mut bench, 3, vec![record(specific, &["198.51.100.8"])]));
    assert_eq!((notify.nonce.0, about(&notify)), (101, specific));
}

#[test]
fn a_subscription_inside_a_prefix_that_changes_hears_its_own_part_of_it() {
    let mut bench = registered();
    // Nine more-specifics: the answer is narrowed to the part around the EID in which there are none.
    let many: Vec<_> = (1..=9).map(|n| record(prefix(&format!("2001:db8:a:{n}::/64")), &["198.51.100.7"])).collect();
    site_says(&mut bench, 2, many);
    let part = about(&subscribe(&mut bench, 1, host("2001:db8:a:8000::1")));
    assert!(prefix(SITE).covers(&part) && part != prefix(SITE), "{part}");
    bench.pass(seconds(5));
    let (_, notify) = told_once(&site_says(&mut bench, 3, vec![record(prefix(SITE), &["198.51.100.9"])]));
    assert_eq!((about(&notify), rlocs(&notify.records[0])), (part, vec!["198.51.100.9".to_owned()]));
}

#[test]
fn an_unacknowledged_change_is_repeated_and_then_sent_to_the_other_itr_rloc() {
    let mut bench = registered();
    subscribe(&mut bench, 1, host(EID));
    bench.pass(seconds(5));
    let first = told_once(&site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]));
    assert_eq!(first.0, address("192.0.2.1:4342"));
    let mut at = Vec::new();
    for second in 1..=160 {
        // The site goes on to register.
        if second % 60 == 0 {
            site_says(&mut bench, 2 + second, vec![record(prefix(SITE), &["198.51.100.2"])]);
        }
        for (to, notify) in told(&bench.pass(seconds(1))) {
            assert_eq!(notify, first.1, "octet for octet the same");
            at.push((second, to.ip().to_string()));
        }
    }
    let (one, two): (Vec<_>, Vec<_>) = at.iter().partition(|(_, to)| to == ONE);
    assert_eq!(one.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3, 6, 9, 15, 27, 51], "RFC 9301, section 5.7");
    assert_eq!(two.iter().map(|(at, _)| at - 75).collect::<Vec<_>>(), [0, 3, 6, 9, 15, 27, 51]);
    assert_eq!(bench.only_refused(Refusal::PublicationUnacknowledged), 1);
    assert_eq!(subscriptions(&bench).len(), 1, "it is told of the next change all the same");
    let (to, notify) = told_once(&site_says(&mut bench, 900, vec![record(prefix(SITE), &["198.51.100.3"])]));
    assert_eq!((to.ip().to_string().as_str(), notify.nonce.0), (ONE, 3));
}

#[test]
fn the_itr_rloc_that_answers_is_told_first_from_then_on() {
    let mut bench = registered();
    subscribe(&mut bench, 1, host(EID));
    bench.pass(seconds(5));
    site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]);
    let later = told(&bench.pass(seconds(76)));
    let (to, notify) = later.last().unwrap();
    assert_eq!(*to, address("192.0.2.2:4342"));
    acknowledge(&mut bench, *to, notify);
    bench.pass(seconds(5));
    let (to, _) = told_once(&site_says(&mut bench, 3, vec![record(prefix(SITE), &["198.51.100.3"])]));
    assert_eq!(to, address("192.0.2.2:4342"));
}

#[test]
fn a_mapping_that_flaps_is_told_once_in_three_seconds_even_to_who_acknowledges() {
    let mut bench = registered();
    subscribe(&mut bench, 1, host(EID));
    let mut nonces = Vec::new();
    for nonce in 2..62 {
        let mut outputs = site_says(&mut bench, nonce, vec![record(prefix(SITE), &[&format!("198.51.100.{nonce}")])]);
        outputs.extend(bench.pass(std::time::Duration::from_millis(500)));
        for (to, notify) in told(&outputs) {
            nonces.push(notify.nonce.0);
            acknowledge(&mut bench, to, &notify);
        }
    }
    assert!((9..=11).contains(&nonces.len()), "{nonces:?}");
    assert_eq!(nonces, (2..2 + nonces.len() as u64).collect::<Vec<_>>());
}

#[test]
fn many_subscribers_are_told_at_the_pace_that_is_set() {
    let xtr = |n: u8| XtrIdentity { xtr_id: [n; 16], site_id: 9 };
    let subscribers = (0..50).map(|n| Subscriber { xtr: xtr(n), ..subscriber() }).collect();
    let pubsub = Policy { pace: 10, ..Policy::default() };
    let mut bench = Bench::new(Config { subscribers, pubsub, ..served() });
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    for n in 0..50 {
        let asked = wire::control::MapRequest { xtr_identity: Some(xtr(n)), ..subscribing(1, &[host(EID)], &[ONE]) };
        let (to, notify) = told_once(&bench.datagram(FROM_ONE, &ecm(&asked)));
        acknowledge(&mut bench, to, &notify);
    }
    bench.pass(seconds(5));
    assert_eq!(told(&site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])])).len(), 10);
    for second in 1..=4 {
        bench.pass(seconds(1));
        assert_eq!(bench.engine.subscriptions().published(), 10 + 10 * second);
    }
    bench.pass(seconds(10));
    assert_eq!(bench.engine.subscriptions().published(), 50);
}

#[test]
fn an_xtr_that_is_gone_holds_up_nobody() {
    let live = XtrIdentity { xtr_id: [8; 16], site_id: 9 };
    let subscribers = vec![subscriber(), Subscriber { xtr: live, ..subscriber() }];
    let pubsub = Policy { pace: 20, ..Policy::default() };
    let mut bench = Bench::new(Config { subscribers, pubsub, ..served() });
    let part = |n: usize| prefix(&format!("2001:db8:a:{n:x}::/64"));
    let own = part(0xffff);
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"]), record(own, &["198.51.100.1"])]);
    subscribe(&mut bench, 1, host(EID));
    let asked = wire::control::MapRequest { xtr_identity: Some(live), ..subscribing(1, &[own], &[TWO]) };
    let (to, notify) = told_once(&bench.datagram(FROM_TWO, &ecm(&asked)));
    acknowledge(&mut bench, to, &notify);
    // More than one xTR has room for, and much more than the pace allows.
    for (n, chunk) in (0..PUBLICATIONS_PER_XTR + 200).collect::<Vec<_>>().chunks(50).enumerate() {
        let records = chunk.iter().map(|n| record(part(*n), &["198.51.100.2"])).collect();
        site_says(&mut bench, 2 + 2 * n as u64, records);
        // A site has not that many registered at once.
        site_says(&mut bench, 3 + 2 * n as u64, chunk.iter().map(|n| gone(part(*n))).collect());
    }
    bench.pass(seconds(30));
    let (waiting, unacknowledged) = bench.engine.subscriptions().waiting();
    assert!(waiting >= 150 && unacknowledged == PUBLICATIONS_PER_XTR, "{waiting} {unacknowledged}");
    let outputs = site_says(&mut bench, 100, vec![record(own, &["198.51.100.3"])]);
    let heard = told(&outputs).into_iter().filter(|(to, _)| *to == address("192.0.2.2:4342"));
    assert_eq!(heard.count(), 1, "at once");
}

#[test]
fn a_mapping_that_its_site_will_answer_itself_is_taken_away() {
    let mut bench = registered();
    subscribe(&mut bench, 1, host(EID));
    bench.pass(seconds(5));
    let own = MapRegister { proxy_reply: false, ..register(2, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    let outputs = bench.datagram(ETR, &seal(own, &site_key()));
    let (_, notify) = told_once(&outputs);
    assert_eq!((notify.records[0].ttl, notify.records[0].action), (Ttl(0), Action::NativelyForward));
}

#[test]
fn changes_that_an_xtr_never_acknowledges_are_a_few_lines_that_say_how_many_there_were() {
    let mut bench = registered();
    subscribe(&mut bench, 1, host(EID));
    bench.pass(seconds(5));
    let lines = crate::log::logged(|| {
        for number in 1..=200 {
            let part = prefix(&format!("2001:db8:a:{number:x}::/64"));
            site_says(&mut bench, 1 + number, vec![record(part, &["198.51.100.2"])]);
        }
        bench.pass(seconds(170));
        site_says(&mut bench, 900, vec![record(prefix(SITE), &["198.51.100.3"])]);
        bench.pass(seconds(170));
    });
    let unacknowledged = bench.engine.tally().get(Refusal::PublicationUnacknowledged);
    assert!(unacknowledged > 200, "{unacknowledged}");
    let lines: Vec<_> = lines.iter().filter(|line| line.starts_with("INFO change not acknowledged")).collect();
    assert!((2..=10).contains(&lines.len()), "{lines:?}");
    let said: usize = lines.iter().filter_map(|line| line.split_once("left_out=")?.1.parse::<usize>().ok()).sum();
    assert!(said >= 199, "{lines:?}");
}
