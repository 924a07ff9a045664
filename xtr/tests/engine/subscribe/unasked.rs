// SPDX-License-Identifier: GPL-2.0-or-later
//! What is told without a Map-Request: what the operators of both ends have made, and what a Map-Server says of its own accord (RFC
//! 9437, section 5).

use wire::control::Nonce;
use wire::control::auth::{AuthKey, Secret};
use wire::record::{Action, MappingRecord};
use xtr::engine::Input;
use xtr::map_cache::Event;
use xtr::refusal::Refusal;
use xtr::subscribe::{Association, Config, Configured, Security, State, limits};
use xtr::transport::MapSystem;

use super::node::*;
use crate::double::{Node, RESOLVER, prefix, reply_to, secs};
use crate::log::logged;

#[test]
fn a_configured_subscription_takes_what_is_above_its_first_nonce_and_asks_for_nothing() {
    let mut node = with(configured(40));
    assert_eq!(state(&node), Some(State::Configured));
    for old in [39, 40] {
        tell(&mut node, &notify(old, vec![record(SITE, &[FIRST])]));
    }
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.sent.len()), (2, 0));
    tell(&mut node, &notify(41, vec![record(SITE, &[FIRST])]));
    assert_eq!((acknowledged(&mut node), led_to(&node, "2001:db8:b::2")), (vec![41], vec![FIRST.to_owned()]));
    tell(&mut node, &notify(42, vec![record(SITE, &[SECOND]), record(PART, &[FIRST])]));
    assert_eq!((acknowledged(&mut node), led_to(&node, "2001:db8:b::2")), (vec![42], vec![SECOND.to_owned()]));
    tell(&mut node, &notify(42, vec![record(SITE, &[SECOND]), record(PART, &[FIRST])]));
    assert_eq!(acknowledged(&mut node), [42], "the Map-Server has not heard the acknowledgement");
    let forged = AuthKey { secret: Secret::new("a guess"), ..shared() };
    node.bytes(SERVER, &sealed(&notify(43, vec![record(SITE, &[FIRST])]), &forged));
    tell(&mut node, &notify(43, vec![record("2001:db8:c::/48", &[FIRST])]));
    assert_eq!((node.refused(Refusal::NotifyBadTag), led_to(&node, "2001:db8:b::2")), (1, vec![SECOND.to_owned()]));
    assert_eq!(led_to(&node, "2001:db8:c::2"), Vec::<String>::new());
    node.advance(limits::RENEW * 10);
    assert_eq!((asked(&mut node), state(&node)), (vec![], Some(State::Configured)), "neither renewed nor given back");
}

#[test]
fn a_mapping_of_a_configured_subscription_is_asked_for_as_any_other_and_never_with_the_n_bit() {
    let mut node = with(configured(40));
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert_eq!((requests(&mut node), state(&node)), (vec![], Some(State::Configured)));
    node.advance(secs(5));
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let polled = requests(&mut node);
    assert_eq!((polled.len(), polled[0].records[0].notify), (1, false));
}

#[test]
fn the_last_nonce_of_a_configured_subscription_outlives_a_restart_and_never_falls_under_one_key() {
    let mut node = with(configured(40));
    tell(&mut node, &notify(41, vec![record(SITE, &[FIRST])]));
    assert!(!node.told.is_empty());
    for (first, next) in [(40, 42), (7, 42), (1000, 1001)] {
        let mut later = again(&node, configured(first));
        tell(&mut later, &notify(next - 1, vec![record(SITE, &[SECOND])]));
        assert_eq!((later.refused(Refusal::NotifyReplayed), later.updates()), (1, vec![]), "{first}");
        tell(&mut later, &notify(next, vec![record(SITE, &[SECOND])]));
        assert_eq!(led_to(&later, "2001:db8:b::2"), [SECOND], "{first}");
    }
    let other = AuthKey { id: 6, ..shared() };
    let renewed = Config {
        associations: vec![Association { security: Security::Shared(other.clone()), ..association(RESOLVER) }],
        ..configured(7)
    };
    let mut later = again(&node, renewed);
    later.bytes(SERVER, &sealed(&notify(8, vec![record(SITE, &[SECOND])]), &other));
    assert_eq!(led_to(&later, "2001:db8:b::2"), [SECOND], "under another key nonces begin anew");
}

#[test]
fn when_a_configured_subscription_rests_its_mapping_is_asked_for_once() {
    let mut node = with(configured(40));
    tell(&mut node, &notify(41, vec![record(SITE, &[FIRST])]));
    node.advance(secs(5));
    node.sent.clear();
    for _ in 0..3 {
        tell(&mut node, &farewell(41));
    }
    let polled = requests(&mut node);
    assert_eq!((polled.len(), polled[0].records[0].notify, state(&node)), (1, false, Some(State::Configured)));
    assert_eq!(node.refused(Refusal::NotifyReplayed), 2);
    tell(&mut node, &notify(42, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND], "it is heard again");
}

#[test]
fn a_second_end_with_a_higher_nonce_is_no_replay() {
    let mut node = with(configured(40));
    tell(&mut node, &notify(41, vec![record(SITE, &[FIRST])]));
    // Under the second one is asked for again: what was told in between did not come.
    for (nonce, polls, replays) in [(41, 1, false), (43, 1, false), (43, 0, true), (42, 0, true)] {
        node.advance(secs(60));
        node.sent.clear();
        let lines = logged(|| tell(&mut node, &farewell(nonce)));
        let replayed = lines.iter().any(|line| line.contains("replayed"));
        let polled = requests(&mut node);
        assert_eq!((polled.len(), replayed), (polls, replays), "{nonce}");
        polled.iter().for_each(|request| node.reply(&reply_to(request, &[(SITE, 1440)])));
    }
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.control.subscription_counts().ended), (2, 2));
    let mut later = again(&node, configured(40));
    tell(&mut later, &notify(43, vec![record(SITE, &[SECOND])]));
    assert_eq!(later.refused(Refusal::NotifyReplayed), 1, "its nonce is remembered");
}

/// As a reload has it.
#[test]
fn what_the_operator_subscribes_to_while_the_node_runs_begins_and_what_he_takes_back_ends() {
    let made = |nonce| configured(nonce).configured;
    let mut node = with(config());
    let told = |nonce, rloc: &str| notify(nonce, vec![record(SITE, &[rloc])]);
    tell(&mut node, &told(41, FIRST));
    assert_eq!((node.refused(Refusal::NotifyUnasked), state(&node)), (1, None));
    node.control.set_unasked(node.now, made(40), false);
    tell(&mut node, &told(41, FIRST));
    assert_eq!((acknowledged(&mut node), state(&node)), (vec![41], Some(State::Configured)));
    node.updates();
    // What is as before goes on where it was, and so does one that begins anew under the same key.
    for nonce in [40, 7] {
        node.control.set_unasked(node.now, made(nonce), false);
        tell(&mut node, &told(40, SECOND));
        assert_eq!((node.updates(), acknowledged(&mut node)), (vec![], vec![]), "{nonce}");
    }
    node.control.set_unasked(node.now, made(60), false);
    tell(&mut node, &told(60, SECOND));
    assert_eq!(node.updates(), [], "up to its first nonce");
    tell(&mut node, &told(61, SECOND));
    assert_eq!((acknowledged(&mut node), led_to(&node, "2001:db8:b::2")), (vec![61], vec![SECOND.to_owned()]));
    node.advance(secs(5));
    node.sent.clear();
    node.control.set_unasked(node.now, vec![], false);
    node.control.handle_timeout(node.now);
    node.collect();
    let polled = requests(&mut node);
    assert_eq!((polled.len(), state(&node)), (1, None), "its mapping is in use, and nobody tells of changes");
    tell(&mut node, &told(62, FIRST));
    assert_eq!((acknowledged(&mut node), led_to(&node, "2001:db8:b::2")), (vec![], vec![SECOND.to_owned()]));
    node.control.set_unasked(node.now, vec![], true);
    tell(&mut node, &told(61, FIRST));
    assert!(acknowledged(&mut node).is_empty(), "it was heard");
    tell(&mut node, &told(62, FIRST));
    assert_eq!((acknowledged(&mut node), state(&node)), (vec![62], Some(State::Unasked)));
    node.control.set_unasked(node.now, vec![], false);
    assert_eq!(state(&node), None);
}

#[test]
fn what_was_asked_for_and_is_then_configured_is_told_only() {
    let (mut node, last) = subscribed();
    node.control.set_unasked(node.now, configured(last + 10).configured, false);
    assert_eq!(state(&node), Some(State::Configured));
    tell(&mut node, &notify(last + 10, vec![record(SITE, &[SECOND])]));
    assert!(acknowledged(&mut node).is_empty());
    tell(&mut node, &notify(last + 11, vec![record(SITE, &[SECOND])]));
    assert_eq!(acknowledged(&mut node), [last + 11]);
    node.sent.clear();
    node.advance(limits::RENEW * 2);
    assert_eq!(asked(&mut node), vec![], "nothing of what was asked for is renewed");
}

#[test]
fn what_was_asked_for_and_is_then_configured_goes_on_under_the_nonce_that_there_is() {
    let (mut node, last) = subscribed();
    tell(&mut node, &notify(last + 1, vec![record(SITE, &[SECOND])]));
    node.control.set_unasked(node.now, configured(40).configured, false);
    node.control.handle_timeout(node.now);
    node.collect();
    node.sent.clear();
    let mut later = again(&node, Config { nonce_floor: Nonce(2000), ..configured(40) });
    tell(&mut later, &notify(last + 2, vec![record(SITE, &[SECOND])]));
    assert_eq!(acknowledged(&mut later), [last + 2], "after another start too");
    for old in [41, last] {
        tell(&mut node, &notify(old, vec![record(SITE, &[FIRST])]));
        assert_eq!(
            (acknowledged(&mut node), led_to(&node, "2001:db8:b::2")),
            (vec![], vec![SECOND.to_owned()]),
            "{old}"
        );
    }
    tell(&mut node, &notify(last + 2, vec![record(SITE, &[FIRST])]));
    assert_eq!((acknowledged(&mut node), led_to(&node, "2001:db8:b::2")), (vec![last + 2], vec![FIRST.to_owned()]));
}

/// As one reload has it that changes the Key ID too: the nonces of another key say nothing of its own.
#[test]
fn what_was_asked_for_under_a_former_key_id_is_configured_with_its_first_nonce() {
    let (mut node, last) = subscribed();
    tell(&mut node, &notify(last + 1, vec![record(SITE, &[SECOND])]));
    let other = AuthKey { id: 6, ..shared() };
    let subscriptions = vec![Association { security: Security::Shared(other.clone()), ..association(RESOLVER) }];
    let resolvers = vec![MapSystem::Node(RESOLVER.parse().unwrap())];
    node.input(Input::MapSystems { servers: vec![], resolvers, subscriptions });
    node.control.set_unasked(node.now, configured(40).configured, false);
    node.sent.clear();
    for (nonce, is_heard) in [(40, false), (41, true)] {
        node.bytes(SERVER, &sealed(&notify(nonce, vec![record(SITE, &[FIRST])]), &other));
        let led = if is_heard { FIRST } else { SECOND };
        assert_eq!(led_to(&node, "2001:db8:b::2"), [led], "{nonce}");
    }
}

#[test]
fn what_the_subscription_around_is_told_of_a_part_does_not_come_by_the_configured_one_of_that_part() {
    let (mut node, last) = subscribed();
    let part = "2001:db8:b:1::/64";
    let of_part = configured(40).configured.into_iter().map(|one| Configured { prefix: prefix(part), ..one });
    node.control.set_unasked(node.now, of_part.collect(), false);
    node.sent.clear();
    tell(&mut node, &notify(41, vec![record(part, &[FIRST])]));
    assert_eq!(acknowledged(&mut node), [41]);
    tell(&mut node, &notify(last + 1, vec![record(part, &[SECOND])]));
    assert_eq!(acknowledged(&mut node), [last + 1]);
    assert_eq!(led_to(&node, "2001:db8:b:1::2"), [SECOND]);
}

#[test]
fn what_a_subscription_that_has_ended_may_have_said_is_not_taken_by_a_configured_one() {
    let old = (1 << 62) + 5;
    let mut node = with(configured(40));
    tell(&mut node, &notify(old, vec![record(SITE, &[SECOND])]));
    tell(&mut node, &farewell(old));
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.updates(), acknowledged(&mut node)), (2, vec![], vec![]));
    tell(&mut node, &notify(41, vec![record(SITE, &[FIRST])]));
    assert_eq!(acknowledged(&mut node), [41]);
    let mut node = with(configured(old - 1));
    tell(&mut node, &notify(old, vec![record(SITE, &[FIRST])]));
    assert_eq!(acknowledged(&mut node), [old], "the operator has said from where on");
}

#[test]
fn what_is_no_longer_told_is_asked_for_also_when_its_nonce_or_its_key_was_changed() {
    let polls = |node: &mut Node| {
        node.control.handle_timeout(node.now);
        node.collect();
        requests(node).len()
    };
    let told = notify(41, vec![record(SITE, &[FIRST])]);
    let mut node = with(configured(40));
    tell(&mut node, &told);
    node.advance(secs(5));
    node.sent.clear();
    node.control.set_unasked(node.now, configured(60).configured, false);
    assert_eq!(polls(&mut node), 0, "it goes on");
    node.control.set_unasked(node.now, vec![], false);
    assert_eq!((polls(&mut node), state(&node)), (1, None));

    let mut node = with(taking());
    tell(&mut node, &told);
    node.advance(secs(5));
    node.sent.clear();
    let other = AuthKey { id: 6, ..shared() };
    let subscriptions = vec![Association { security: Security::Shared(other), ..association(RESOLVER) }];
    let resolvers = vec![MapSystem::Node(RESOLVER.parse().unwrap())];
    node.input(Input::MapSystems { servers: vec![], resolvers, subscriptions });
    assert_eq!((polls(&mut node), state(&node)), (1, None), "under another key it begins anew");
}

#[test]
fn what_is_not_subscribed_to_is_taken_only_where_that_is_set() {
    let told = notify(7, vec![record(SITE, &[FIRST])]);
    let mut node = with(config());
    tell(&mut node, &told);
    assert_eq!((state(&node), led_to(&node, "2001:db8:b::2"), node.sent.len()), (None, vec![], 0));
    assert_eq!(node.refused(Refusal::NotifyUnasked), 1);
    let mut node = with(taking());
    tell(&mut node, &told);
    assert_eq!((acknowledged(&mut node), state(&node)), (vec![7], Some(State::Unasked)));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [FIRST]);
    node.updates();
    tell(&mut node, &notify(6, vec![record(SITE, &[SECOND])]));
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.updates()), (1, vec![]));
    // Under no key of ours, and about what is ours.
    let guess = AuthKey { secret: Secret::new("a guess"), ..shared() };
    node.bytes(SERVER, &sealed(&notify(8, vec![record("2001:db8:c::/48", &[FIRST])]), &guess));
    assert_eq!(node.refused(Refusal::NotifyBadTag), 1);
    tell(&mut node, &notify(9, vec![record("2001:db8::/32", &[FIRST])]));
    assert_eq!(node.refused(Refusal::NotifyNotSubscribed), 1);
    assert_eq!((node.updates(), node.sent.len()), (vec![], 0));
}

#[test]
fn what_was_taken_unasked_is_no_news_after_a_restart() {
    let mut node = with(taking());
    tell(&mut node, &notify(7, vec![record(SITE, &[FIRST])]));
    // Also when it was not taken in between, and something else written.
    let other = Configured { prefix: prefix("2001:db8:c::/48"), nonce: 1, association: 0 };
    let mut between = again(&node, Config { configured: vec![other], ..config() });
    assert_eq!(state(&between), None);
    tell(&mut between, &notify(2, vec![record("2001:db8:c::/48", &[FIRST])]));
    assert_eq!(between.told.len(), 2);
    let mut later = again(&between, taking());
    tell(&mut later, &notify(7, vec![record(SITE, &[SECOND])]));
    tell(&mut later, &notify(6, vec![record(PART, &[SECOND])]));
    assert_eq!((later.refused(Refusal::NotifyReplayed), later.updates()), (2, vec![]));
    tell(&mut later, &notify(8, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&later, "2001:db8:b::2"), [SECOND]);
}

#[test]
fn what_a_subscription_that_was_asked_for_may_have_said_is_not_taken_unasked() {
    let mut node = with(taking());
    tell(&mut node, &notify((1 << 62) + 5, vec![record(SITE, &[FIRST])]));
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.updates(), state(&node)), (1, vec![], None));
}

#[test]
fn what_is_taken_unasked_is_bounded() {
    let mut node = with(taking());
    for n in 0..=limits::TOLD_ONLY {
        let eid = format!("2001:db8:{:x}::/48", 0x1000 + n);
        tell(&mut node, &notify(7, vec![record(&eid, &[FIRST])]));
    }
    assert_eq!(node.refused(Refusal::SubscriptionTableFull), 1);
    assert_eq!(node.told.len(), limits::TOLD_ONLY);
}

fn nth(n: usize) -> String {
    format!("2001:db8:{:x}::/48", 0x1000 + n)
}

fn is_heard(node: &Node, n: usize) -> bool {
    node.control.subscription(&prefix(&nth(n))).is_some()
}

#[test]
fn what_was_told_unasked_and_has_ended_gives_its_place_up_the_oldest_first() {
    let mut node = with(taking());
    for n in 0..limits::TOLD_ONLY {
        tell(&mut node, &notify(7, vec![record(&nth(n), &[FIRST])]));
    }
    for ended in [5, 3] {
        node.advance(secs(1));
        tell(&mut node, &notify(7, vec![MappingRecord { action: Action::DropAuthFailure, ..gone(&nth(ended)) }]));
    }
    let mut newer = limits::TOLD_ONLY..;
    let mut one_more = |node: &mut Node| {
        let n = newer.next().unwrap();
        tell(node, &notify(7, vec![record(&nth(n), &[FIRST])]));
        is_heard(node, n)
    };
    assert!(one_more(&mut node) && !is_heard(&node, 5) && is_heard(&node, 3));
    assert!(one_more(&mut node) && !is_heard(&node, 3));
    assert!(!one_more(&mut node) && node.refused(Refusal::SubscriptionTableFull) == 1, "the others have not ended");
    // What was said of one that has given its place up is no news: it takes no other's.
    tell(&mut node, &notify(7, vec![record(&nth(5), &[SECOND])]));
    assert!(!is_heard(&node, 5) && node.refused(Refusal::NotifyReplayed) == 1);
    // Mappings that nobody has told again for longer than they live have ended too.
    node.advance(secs(1441 * 60));
    assert!(one_more(&mut node) && !is_heard(&node, 0) && is_heard(&node, 1));
}

#[test]
fn each_map_server_has_its_share_of_what_is_taken_unasked() {
    let other = AuthKey { id: 6, secret: Secret::new("of the other"), ..shared() };
    let both = vec![
        association(RESOLVER),
        Association { security: Security::Shared(other.clone()), ..association("198.51.100.54") },
    ];
    let mut node = with(Config { associations: both, ..taking() });
    for n in 0..limits::TOLD_ONLY {
        tell(&mut node, &notify(7, vec![record(&nth(n), &[FIRST])]));
    }
    let half = limits::TOLD_ONLY / 2;
    assert_eq!(node.refused(Refusal::SubscriptionTableFull), u64::try_from(half).unwrap());
    let told = notify(7, vec![record(&nth(half), &[FIRST])]);
    node.bytes("198.51.100.54:4342", &sealed(&told, &other));
    assert!(is_heard(&node, half) && is_heard(&node, 0));
}
