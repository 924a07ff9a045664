// SPDX-License-Identifier: GPL-2.0-or-later
//! Nonces over restarts, and bounds.

use proptest::prelude::*;
use wire::control::{ControlMessage, MapRequest, Nonce};
use xtr::engine::{Input, Output};
use xtr::map_cache::Event;
use xtr::refusal::Refusal;
use xtr::subscribe::{State, limits};
use xtr::transport::Destination;

use super::node::*;
use crate::double::{RESOLVER, RLOC, prefix, reply_to, secs};

#[test]
fn nonces_are_on_disk_before_they_are_used_and_rise_over_a_restart() {
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    node.persisted.clear();
    let (_, request) = node.miss("2001:db8:b::2/128");
    let reply = ControlMessage::from(reply_to(&request, &[(SITE, 1440)])).encode().unwrap();
    let via =
        xtr::transport::Via::Socket { local: format!("{RLOC}:4342").parse().unwrap(), remote: SERVER.parse().unwrap() };
    node.control.handle(node.now, Input::Datagram { via, bytes: &reply });
    let mut bound = None;
    let mut used = 0;
    while let Some(output) = node.control.poll() {
        match output {
            Output::PersistNonce(nonce) => bound = Some(nonce),
            Output::Send(outgoing) if matches!(outgoing.to, Destination::Socket { .. }) => {
                let Ok(ControlMessage::Ecm(ecm)) = ControlMessage::decode(&outgoing.bytes) else { continue };
                let request = MapRequest::decode(&ecm.message).unwrap();
                if request.records[0].notify {
                    assert!(bound.is_some(), "not yet on disk");
                    used = request.nonce.0;
                }
            }
            _ => {}
        }
    }
    // The Map-Server counts far beyond what the node has asked with, and that is noted too.
    tell(&mut node, &notify(used, vec![record(SITE, &[FIRST])]));
    let far = used + 300 * Nonce::SUBSCRIPTION;
    for step in 1..=300 {
        let nonce = used + step * Nonce::SUBSCRIPTION;
        tell(&mut node, &notify(nonce, vec![record(SITE, &[SECOND])]));
    }
    let floor = node.persisted.last().unwrap().0;
    assert!(floor > bound.unwrap().0);
    let mut later = subscribing(floor, vec![association(RESOLVER)]);
    let (_, request) = later.miss("2001:db8:b::2/128");
    later.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert!(asked(&mut later)[0].nonce.0 > far);
}

#[test]
fn what_somebody_has_subscribed_in_our_name_under_a_far_nonce_is_neither_taken_nor_acknowledged() {
    let (mut node, nonce) = subscribed();
    node.persisted.clear();
    // The highest that a Map-Server lets a subscription begin with, and the end of that one; and just too far.
    let highest = u64::MAX - Nonce::SUBSCRIPTION;
    tell(&mut node, &notify(highest, vec![record(SITE, &[SECOND])]));
    tell(&mut node, &farewell(highest));
    tell(&mut node, &notify(nonce + Nonce::SUBSCRIPTION + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!((acknowledged(&mut node), node.refused(Refusal::NotifyNonceAhead)), (vec![], 3));
    assert_eq!((node.updates(), state(&node), node.persisted.len()), (vec![], Some(State::Subscribed), 0));
    node.event(Event::Refresh { prefix: prefix(SITE) });
    assert_eq!(asked(&mut node)[0].nonce.0, nonce + 1);
    tell(&mut node, &notify(nonce + Nonce::SUBSCRIPTION, vec![record(SITE, &[SECOND])]));
    assert_eq!(acknowledged(&mut node), [nonce + Nonce::SUBSCRIPTION], "as many changes as one may miss");
}

#[test]
fn subscriptions_have_a_bound_and_a_pace_and_what_is_beyond_is_polled() {
    let beyond = limits::SUBSCRIPTIONS + 3;
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    let mut at_once = 0;
    for site in 0..beyond {
        let eid = format!("10.{}.{}.1/32", 100 + site / 250, site % 250);
        node.event(Event::Miss { eid: prefix(&eid), source: "10.1.0.2".parse().unwrap() });
        let sent = requests(&mut node);
        at_once += sent.iter().filter(|request| request.records[0].notify).count();
        let request = sent.into_iter().find(|request| !request.records[0].notify).unwrap();
        node.reply(&reply_to(&request, &[(eid.as_str(), 1440)]));
    }
    at_once += asked(&mut node).len();
    assert_eq!(at_once, limits::REQUESTS_PER_SECOND as usize);
    assert_eq!(node.refused(Refusal::SubscriptionTableFull), 3);
    assert_eq!(node.control.map_cache(node.now).count(), beyond);
    node.advance(secs(10));
    assert!(asked(&mut node).len() <= 11 * limits::REQUESTS_PER_SECOND as usize);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_octet_makes_a_map_notify_none(at: prop::sample::Index, bit in 0..8u32, length: prop::sample::Index) {
        let (mut node, nonce) = subscribed();
        let whole = sealed(&notify(nonce + 1, vec![record(SITE, &[SECOND]), record(PART, &[SECOND])]), &shared());
        let mut changed = whole.clone();
        changed[at.index(whole.len())] ^= 1 << bit;
        node.bytes(SERVER, &changed);
        node.bytes(SERVER, &whole[..length.index(whole.len())]);
        prop_assert_eq!(led_to(&node, "2001:db8:b::2"), vec![FIRST.to_owned()]);
        prop_assert_eq!((node.updates(), state(&node)), (vec![], Some(State::Subscribed)));
    }
}
