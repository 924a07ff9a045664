// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions are repeated, renewed, refused and given back (RFC 9437, section 5).

use wire::address::Address;
use wire::control::auth::{Algorithm, AuthKey, Secret};
use wire::control::{MapReply, MapRequest, Nonce};
use wire::record::{Action, MappingRecord, Ttl};
use xtr::database::OwnLocator;
use xtr::engine::Input;
use xtr::map_cache::Event;
use xtr::refusal::Refusal;
use xtr::subscribe::{Association, Security, State, limits};
use xtr::transport::MapSystem;

use super::node::*;
use crate::double::{Node, RESOLVER, WithNegative as _, key, prefix, reply_to, secs};

#[test]
fn a_request_is_repeated_with_rising_nonces_and_then_the_mapping_is_polled() {
    let (mut node, first) = asking();
    let mut nonces = vec![first.nonce.0];
    node.advance(secs(60));
    nonces.extend(asked(&mut node).iter().map(|request| request.nonce.0));
    assert_eq!(nonces.len(), limits::TRIES as usize);
    assert!(nonces.is_sorted_by(|a, b| a < b), "{nonces:?}");
    assert_eq!(state(&node), Some(State::Unanswered));
    tell(&mut node, &notify(nonces[1], vec![record(SITE, &[SECOND])]));
    assert_eq!(node.refused(Refusal::NotifyNotSubscribed), 1, "too late");
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let polled = requests(&mut node);
    assert_eq!((polled.len(), polled[0].records[0].notify), (1, false));
    node.advance(limits::FIRST_PAUSE);
    assert_eq!(asked(&mut node)[0].nonce.0, nonces.last().unwrap() + 1, "one more than the last (RFC 9437, section 5)");
}

#[test]
fn a_late_confirmation_of_an_earlier_try_counts() {
    let (mut node, first) = asking();
    node.advance(secs(2));
    assert!(!asked(&mut node).is_empty());
    tell(&mut node, &notify(first.nonce.0, vec![record(SITE, &[SECOND])]));
    assert_eq!((state(&node), led_to(&node, "2001:db8:b::2")), (Some(State::Subscribed), vec![SECOND.to_owned()]));
}

#[test]
fn resolvers_take_turns_and_one_answers_under_its_own_association() {
    let other = AuthKey { id: 6, ..key(Algorithm::HmacSha256) };
    let second = Association { security: Security::Shared(other.clone()), ..association("203.0.113.54") };
    let mut node = subscribing(1000, vec![association(RESOLVER), second]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    node.sent.clear();
    node.advance(secs(1));
    let (_, to, _) = node.sent[0].clone();
    assert_eq!(to.ip().to_string(), "203.0.113.54");
    let again = asked(&mut node).remove(0);
    let confirmation = notify(again.nonce.0, vec![record(SITE, &[SECOND])]);
    tell(&mut node, &confirmation);
    assert_eq!((node.refused(Refusal::NotifyBadTag), state(&node)), (1, Some(State::Asked)));
    node.bytes("203.0.113.54:4342", &sealed(&confirmation, &other));
    assert_eq!(state(&node), Some(State::Subscribed));
}

/// A node that subscribes behind two Map-Resolvers, the key of the second, and the first two Map-Requests.
fn asking_both() -> (Node, AuthKey, [MapRequest; 2]) {
    let other = AuthKey { id: 6, ..key(Algorithm::HmacSha256) };
    let second = Association { security: Security::Shared(other.clone()), ..association("203.0.113.54") };
    let mut node = subscribing(1000, vec![association(RESOLVER), second]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    let first = asked(&mut node).remove(0);
    node.advance(secs(1));
    let second = asked(&mut node).remove(0);
    (node, other, [first, second])
}

#[test]
fn a_late_answer_is_held_against_the_key_of_who_was_asked() {
    let (mut node, other, [first, _]) = asking_both();
    let confirmation = notify(first.nonce.0, vec![record(SITE, &[FIRST])]);
    node.bytes(SERVER, &sealed(&confirmation, &other));
    assert_eq!((node.refused(Refusal::NotifyBadTag), state(&node)), (1, Some(State::Asked)));
    tell(&mut node, &confirmation);
    assert_eq!((acknowledged(&mut node), state(&node)), (vec![first.nonce.0], Some(State::Subscribed)));
    tell(&mut node, &notify(first.nonce.0 + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND], "it is this one that tells");
}

#[test]
fn who_tells_of_changes_is_asked_to_go_on_and_heard_meanwhile() {
    let (mut node, other, [_, second]) = asking_both();
    let teller = "203.0.113.54:4342";
    node.bytes(teller, &sealed(&notify(second.nonce.0, vec![record(SITE, &[FIRST])]), &other));
    node.sent.clear();
    node.event(Event::Refresh { prefix: prefix(SITE) });
    node.advance(secs(2));
    let to: Vec<String> = node.sent.iter().map(|(_, to, _)| to.to_string()).collect();
    assert!(to.len() > 1 && to.iter().all(|to| to == teller), "{to:?}");
    node.bytes(teller, &sealed(&notify(second.nonce.0 + 1, vec![record(SITE, &[SECOND])]), &other));
    assert_eq!((node.refused(Refusal::NotifyBadTag), led_to(&node, "2001:db8:b::2")), (0, vec![SECOND.to_owned()]));
}

#[test]
fn a_map_reply_instead_means_that_the_mapping_is_polled() {
    for (action, becomes) in [(Action::NoAction, State::Refused), (Action::DropPolicyDenied, State::Denied)] {
        let (mut node, asked_for) = asking();
        let reply = MapReply { nonce: asked_for.nonce, ..MapReply::default() };
        node.reply(&reply.with_negative(SITE, action, 1));
        assert_eq!((state(&node), node.updates()), (Some(becomes), vec![]));
        assert_eq!(led_to(&node, "2001:db8:b::2"), [FIRST], "an answer to that is none to a question");
        node.event(Event::Refresh { prefix: prefix(SITE) });
        assert!(!requests(&mut node)[0].records[0].notify);
        let mut times = Vec::new();
        for minute in 0..60 {
            node.advance(secs(60));
            for again in asked(&mut node) {
                times.push(minute);
                let reply = MapReply { nonce: again.nonce, ..MapReply::default() };
                node.reply(&reply.with_negative(SITE, action, 1));
            }
        }
        assert_eq!(times, [4, 14, 34], "it is tried again, ever more seldom");
    }
}

#[test]
fn a_subscription_that_its_server_has_ended_is_asked_for_again_and_polled_meanwhile() {
    let (mut node, nonce) = subscribed();
    tell(&mut node, &farewell(nonce));
    let polled = requests(&mut node);
    assert_eq!((polled.len(), polled[0].records[0].notify), (1, false));
    assert_eq!(state(&node), Some(State::Asked));
    tell(&mut node, &farewell(nonce));
    assert_eq!(node.refused(Refusal::NotifyNotSubscribed), 1, "it has said so");
    node.advance(secs(1));
    let again = asked(&mut node).remove(0);
    assert_eq!(again.nonce.0, nonce + 1);
    tell(&mut node, &notify(again.nonce.0, vec![record(SITE, &[FIRST])]));
    tell(&mut node, &farewell(nonce));
    assert_eq!(state(&node), Some(State::Subscribed), "an old end ends nothing");
    assert_eq!(node.control.subscription_counts().ended, 1);
    let mut last = again.nonce.0;
    let mut waits = Vec::new();
    for _ in 0..4 {
        tell(&mut node, &farewell(last));
        node.sent.clear();
        let ended = node.now;
        let again = loop {
            node.run_to_deadline();
            if let Some(again) = asked(&mut node).pop() {
                break again;
            }
        };
        waits.push((node.now - ended).as_secs());
        last = again.nonce.0;
        tell(&mut node, &notify(last, vec![record(SITE, &[FIRST])]));
    }
    assert_eq!(waits, [2, 4, 8, 16], "one that goes on to end it is not asked ever faster");
}

/// The node, subscribed to this EID-prefix too, and the nonce of that.
fn subscribed_to(node: &mut Node, host: &str, eid: &str) -> u64 {
    let (_, request) = node.miss(host);
    node.reply(&reply_to(&request, &[(eid, 1440)]));
    let nonce = asked(node)[0].nonce.0;
    tell(node, &notify(nonce, vec![record(eid, &[FIRST])]));
    assert_eq!(acknowledged(node), [nonce]);
    nonce
}

#[test]
fn a_change_inside_two_subscriptions_may_come_under_the_nonces_of_the_later_one() {
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    let part = subscribed_to(&mut node, "2001:db8:b:1::2/128", PART);
    let site = subscribed_to(&mut node, "2001:db8:b::2/128", SITE);
    let nonce = site + 1;
    assert!(nonce > part + Nonce::SUBSCRIPTION, "it is above all that the other takes");
    let heard = |node: &mut Node| (acknowledged(node), led_to(node, "2001:db8:b:1::2"));
    tell(&mut node, &notify(nonce, vec![record(PART, &[SECOND])]));
    assert_eq!(heard(&mut node), (vec![nonce], vec![SECOND.to_owned()]));
    // What was said before, or is too far ahead of both, is nothing.
    tell(&mut node, &notify(nonce - 1, vec![record(PART, &[FIRST])]));
    tell(&mut node, &notify(nonce + Nonce::SUBSCRIPTION + 1, vec![record(PART, &[FIRST])]));
    assert_eq!(heard(&mut node), (vec![], vec![SECOND.to_owned()]));
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.refused(Refusal::NotifyNonceAhead)), (1, 1));
    // Its own goes on.
    tell(&mut node, &notify(part + 1, vec![record(PART, &[FIRST])]));
    assert_eq!(heard(&mut node), (vec![part + 1], vec![FIRST.to_owned()]));
    tell(&mut node, &notify(part, vec![record(PART, &[SECOND])]));
    assert_eq!(heard(&mut node), (vec![], vec![FIRST.to_owned()]));
}

#[test]
fn a_change_inside_two_subscriptions_comes_by_the_one_of_the_map_server_that_tells_of_it() {
    let teller = "203.0.113.54:4342";
    for other in [AuthKey { id: 6, ..key(Algorithm::HmacSha256) }, shared()] {
        let second = Association { security: Security::Shared(other.clone()), ..association("203.0.113.54") };
        let mut node = subscribing(1000, vec![association(RESOLVER), second]);
        subscribed_to(&mut node, "2001:db8:b:1::2/128", PART);
        let (_, request) = node.miss("2001:db8:b::2/128");
        node.reply(&reply_to(&request, &[(SITE, 1440)]));
        node.sent.clear();
        node.advance(secs(1));
        let site = asked(&mut node).remove(0).nonce.0;
        node.bytes(teller, &sealed(&notify(site, vec![record(SITE, &[FIRST])]), &other));
        // The other one has the higher nonces after a renewal that was lost.
        node.event(Event::Refresh { prefix: prefix(PART) });
        node.advance(secs(1));
        let part = asked(&mut node).pop().unwrap().nonce.0;
        tell(&mut node, &notify(part, vec![record(PART, &[FIRST])]));
        assert!(part > site + 1 && acknowledged(&mut node) == [part]);
        node.bytes(teller, &sealed(&notify(site + 1, vec![record(PART, &[SECOND])]), &other));
        assert_eq!((node.sent.len(), led_to(&node, "2001:db8:b:1::2")), (1, vec![SECOND.to_owned()]));
        tell(&mut node, &notify(part + 1, vec![record(PART, &[FIRST])]));
        assert_eq!(led_to(&node, "2001:db8:b:1::2"), [FIRST], "its own goes on");
    }
}

#[test]
fn what_is_too_far_ahead_does_not_come_by_what_is_told_unasked_around_it() {
    let mut node = with(taking());
    subscribed_to(&mut node, "2001:db8:b:1::2/128", PART);
    tell(&mut node, &notify(1 << 63, vec![record(SITE, &[FIRST])]));
    assert_eq!((acknowledged(&mut node), state(&node)), (vec![1 << 63], Some(State::Unasked)));
    tell(&mut node, &notify((1 << 63) + 1, vec![record(PART, &[SECOND])]));
    assert_eq!((acknowledged(&mut node), node.refused(Refusal::NotifyNonceAhead)), (vec![], 1));
    assert_eq!(led_to(&node, "2001:db8:b:1::2"), [FIRST]);
}

#[test]
fn a_silent_subscription_is_renewed_and_one_that_is_gone_polled() {
    let (mut node, nonce) = subscribed();
    node.advance(limits::RENEW * 9 / 10 - secs(1));
    assert_eq!(asked(&mut node), []);
    node.advance(limits::RENEW / 5 + secs(1));
    let renewal = asked(&mut node);
    assert_eq!(renewal[0].nonce.0, nonce + 1);
    node.advance(secs(60));
    let polled = requests(&mut node).into_iter().filter(|request| !request.records[0].notify).count();
    assert!(polled > 0 && state(&node) == Some(State::Unanswered));
}

/// The node has asked for its subscription again, in vain, as often as it does.
fn unanswered(node: &mut Node) {
    while state(node) != Some(State::Unanswered) {
        node.run_to_deadline();
    }
    node.sent.clear();
}

#[test]
fn a_renewal_that_nobody_answers_is_asked_for_again_and_what_is_told_meanwhile_is_taken() {
    let (mut node, nonce) = subscribed();
    unanswered(&mut node);
    let since = node.now;
    tell(&mut node, &notify(nonce, vec![record(SITE, &[SECOND])]));
    assert_eq!((node.refused(Refusal::NotifyReplayed), led_to(&node, "2001:db8:b::2")), (1, vec![FIRST.to_owned()]));
    let again = loop {
        node.run_to_deadline();
        if let Some(again) = asked(&mut node).pop() {
            break again;
        }
    };
    assert_eq!(node.now - since, secs(60));
    assert!(again.nonce.0 > nonce + u64::from(limits::TRIES), "each try had its own");
    unanswered(&mut node);
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!((acknowledged(&mut node), led_to(&node, "2001:db8:b::2")), (vec![nonce + 1], vec![SECOND.to_owned()]));
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &[FIRST])]));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND], "it counts once");
}

#[test]
fn who_is_silent_is_still_heard_while_another_is_asked() {
    let (mut node, _, [first, _]) = asking_both();
    tell(&mut node, &notify(first.nonce.0, vec![record(SITE, &[FIRST])]));
    unanswered(&mut node);
    node.advance(secs(62));
    let to: Vec<String> = node.sent.iter().map(|(_, to, _)| to.ip().to_string()).collect();
    assert!(to.iter().any(|to| to == "203.0.113.54"), "{to:?}");
    node.sent.clear();
    tell(&mut node, &notify(first.nonce.0 + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!(acknowledged(&mut node), [first.nonce.0 + 1]);
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND]);
}

#[test]
fn a_subscription_outlives_the_loss_of_all_locators() {
    for (lost_for, since) in [(secs(30), "a moment"), (limits::RENEW * 2, "longer than until its renewal")] {
        let (mut node, nonce) = subscribed();
        let own = node.control.database().locators().to_vec();
        node.input(Input::Locators(vec![]));
        node.advance(lost_for);
        assert_eq!(asked(&mut node), [], "{since}");
        node.input(Input::Locators(own));
        let again = asked(&mut node);
        assert_eq!(again.iter().map(|again| again.nonce.0).collect::<Vec<_>>(), [nonce + 1], "{since}");
        tell(&mut node, &notify(nonce + 2, vec![record(SITE, &[SECOND])]));
        assert_eq!(
            (acknowledged(&mut node), led_to(&node, "2001:db8:b::2")),
            (vec![nonce + 2], vec![SECOND.to_owned()])
        );
    }
}

#[test]
fn who_was_never_asked_for_want_of_a_locator_is_asked_when_there_is_one() {
    let (mut node, _) = asking();
    let own = node.control.database().locators().to_vec();
    node.input(Input::Locators(vec![]));
    node.advance(secs(60));
    assert_eq!(asked(&mut node), []);
    node.input(Input::Locators(own));
    assert_eq!((asked(&mut node).len(), state(&node)), (1, Some(State::Asked)));
}

#[test]
fn a_resolver_to_which_there_is_no_way_is_passed_over() {
    let mut node = subscribing(1000, vec![association("2001:db8:53::1"), association(RESOLVER)]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert_eq!(asked(&mut node).len(), 1);
}

#[test]
fn a_mapping_in_use_is_renewed_by_its_subscription_and_not_polled() {
    let (mut node, nonce) = subscribed();
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let renewal = requests(&mut node);
    assert_eq!((renewal.len(), renewal[0].records[0].notify, renewal[0].nonce.0), (1, true, nonce + 1));
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &[SECOND])]));
    let (_, entry) = node.upsert();
    assert!(entry.expires >= node.now + secs(86_400));
}

#[test]
fn one_that_nobody_uses_is_given_back() {
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 2)]));
    let subscription = asked(&mut node).remove(0);
    let short = MappingRecord { ttl: Ttl(2), ..record(SITE, &[FIRST]) };
    tell(&mut node, &notify(subscription.nonce.0, vec![short]));
    node.sent.clear();
    node.advance(secs(121));
    let leaving = asked(&mut node).remove(0);
    assert_eq!((leaving.itr_rlocs.as_slice(), leaving.nonce.0), ([Address::None].as_slice(), subscription.nonce.0 + 1));
    assert_eq!((leaving.xtr_identity, state(&node)), (Some(identity()), Some(State::Leaving)));
    tell(&mut node, &notify(leaving.nonce.0, vec![gone(SITE)]));
    assert_eq!((acknowledged(&mut node), state(&node)), (vec![leaving.nonce.0], None));
    node.advance(secs(600));
    assert_eq!(asked(&mut node), []);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 2)]));
    assert!(asked(&mut node)[0].nonce.0 > leaving.nonce.0, "a Map-Server remembers the last one");
}

#[test]
fn renewals_alone_keep_no_mapping_that_nobody_uses() {
    let (mut node, _) = subscribed();
    let (start, mut left) = (node.now, None);
    while node.control.next_deadline().is_some_and(|deadline| deadline < start + secs(3 * 86_400)) {
        node.run_to_deadline();
        for request in asked(&mut node) {
            if request.itr_rlocs == [Address::None] {
                left = left.or(Some(node.now - start));
            }
            tell(&mut node, &notify(request.nonce.0, vec![record(SITE, &[FIRST])]));
        }
    }
    assert_eq!(left.map(|left| left.as_secs()), Some(86_400));
    assert!(node.control.subscription_counts().confirmed > 90, "asked for again every quarter of an hour");
    assert_eq!((state(&node), led_to(&node, "2001:db8:b::2")), (None, vec![]));
}

#[test]
fn a_renewal_that_says_something_else_is_installed() {
    let (mut node, _) = subscribed();
    let renewal = loop {
        node.run_to_deadline();
        if let Some(renewal) = asked(&mut node).pop() {
            break renewal;
        }
    };
    tell(&mut node, &notify(renewal.nonce.0, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND], "a Map-Notify was lost");
}

#[test]
fn who_does_not_confirm_an_end_is_left_all_the_same() {
    let (mut node, nonce) = subscribed();
    tell(&mut node, &notify(nonce + 1, vec![gone(SITE)]));
    node.advance(limits::TEMPORARY * 2);
    let ends = asked(&mut node).into_iter().filter(|request| request.itr_rlocs == [Address::None]).count();
    assert_eq!((ends, state(&node)), (limits::LEAVING_TRIES as usize, None));
}

#[test]
fn the_map_server_hears_of_new_locators() {
    let (mut node, nonce) = subscribed();
    let moved = OwnLocator::new("192.0.2.77".parse().unwrap(), 1, 100);
    node.input(Input::Locators(vec![moved]));
    let request = asked(&mut node).remove(0);
    assert_eq!((request.itr_rlocs, request.nonce.0), (vec![Address::from(moved.address)], nonce + 1));
}

#[test]
fn another_key_is_taken_over_and_who_was_not_understood_is_asked_anew() {
    let newer = AuthKey { id: 6, secret: Secret::new("renewed"), ..shared() };
    let take = |node: &mut Node| {
        let subscriptions = vec![Association { security: Security::Shared(newer.clone()), ..association(RESOLVER) }];
        let resolvers = vec![MapSystem::Node(RESOLVER.parse().unwrap())];
        node.input(Input::MapSystems { servers: vec![], resolvers, subscriptions });
    };
    let (mut node, nonce) = subscribed();
    take(&mut node);
    assert_eq!(asked(&mut node), [], "a subscription goes on");
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!((node.refused(Refusal::NotifyBadTag), led_to(&node, "2001:db8:b::2")), (1, vec![FIRST.to_owned()]));
    node.bytes(SERVER, &sealed(&notify(nonce + 1, vec![record(SITE, &[SECOND])]), &newer));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND]);

    let (mut node, _) = asking();
    node.advance(secs(60));
    node.sent.clear();
    assert_eq!(state(&node), Some(State::Unanswered));
    take(&mut node);
    let again = asked(&mut node).remove(0);
    node.bytes(SERVER, &sealed(&notify(again.nonce.0, vec![record(SITE, &[SECOND])]), &newer));
    assert_eq!(state(&node), Some(State::Subscribed));
}

/// What a Map-Server told in the sleep was not acknowledged, so that it has ended the subscription (RFC 9437, section 6).
#[test]
fn after_a_sleep_what_is_subscribed_to_is_asked_for_at_once() {
    let (mut node, last) = subscribed();
    node.advance(secs(300));
    node.sent.clear();
    node.input(Input::Slept);
    let asked: Vec<_> = asked(&mut node).iter().map(|request| request.nonce.0).collect();
    assert_eq!(asked, [last + 1]);
    tell(&mut node, &notify(last + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!((state(&node), led_to(&node, "2001:db8:b::2")), (Some(State::Subscribed), vec![SECOND.to_owned()]));
}
