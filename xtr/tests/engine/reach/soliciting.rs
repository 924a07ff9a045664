// SPDX-License-Identifier: GPL-2.0-or-later
//! Who sends to us hears of a change of our mappings.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wire::control::auth::{self, Algorithm, TagForm};
use wire::control::{ControlMessage, MapNotify, MapReply, MapRequest, Nonce};
use xtr::database::OwnLocator;
use xtr::engine::Input;
use xtr::map_cache::{Event, Forwarding};
use xtr::reach::limits;
use xtr::refusal::Refusal;
use xtr::transport::MapSystem;

use super::lab::Lab;
use super::{PEER, SITE, answer_from, ask, ip, map, next_probe, own};
use crate::double::{self, Node, RLOC, prefix, reply_to, secs};

fn solicited(node: &mut Node) -> Vec<(String, String)> {
    let smr = |(_, remote, smr): (IpAddr, SocketAddr, MapRequest)| {
        assert_eq!(remote.port(), 4342);
        assert_eq!(smr.source_eid.ip(), smr.records[0].eid.ip_prefix().map(|prefix| prefix.net.addr()));
        (remote.ip().to_string(), smr.records[0].eid.ip_prefix().unwrap().to_string())
    };
    std::mem::take(&mut node.smrs).into_iter().map(smr).collect()
}

#[test]
fn who_asked_or_sent_lately_is_solicited_once_the_map_server_knows_the_new_locators() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    ask(&mut node, "198.51.100.7", "10.1.2.3/32");
    node.sent.clear();
    node.advance(secs(20));
    node.packets_from(&[ip("198.51.100.8"), ip("127.0.0.1")]);
    node.input(Input::Locators(vec![own("192.0.2.77")]));
    assert_eq!(solicited(&mut node), []);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    let mut told = solicited(&mut node);
    told.sort();
    let both = |prefix: &str| ["198.51.100.7", "198.51.100.8"].map(|itr| (itr.to_owned(), prefix.to_owned()));
    assert_eq!(told, both("10.1.0.0/16"));
    node.advance(secs(3));
    let mut told = solicited(&mut node);
    assert_eq!(told[0].0, "198.51.100.8", "of one that has merely asked nothing shows that it is there");
    told.sort();
    assert_eq!(told, both("2001:db8:a::/48"), "a Map-Server may have answered for it");
    node.advance(secs(100));
    assert_eq!(solicited(&mut node).len(), 4, "each is said once more");
    assert_eq!(node.control.counts().smrs_sent, 8);
}

#[test]
fn who_sent_to_an_eid_prefix_that_leaves_is_solicited() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    ask(&mut node, "198.51.100.7", "10.1.2.3/32");
    ask(&mut node, "198.51.100.8", "2001:db8:a::2/128");
    node.sent.clear();
    node.input(Input::RemoveEid(prefix("10.1.0.0/16")));
    let (_, withdrawal) = node.register();
    node.notify(&withdrawal, |notify| notify);
    let mut told = solicited(&mut node);
    told.sort();
    assert_eq!(told, ["198.51.100.7", "198.51.100.8"].map(|itr| (itr.to_owned(), "10.1.0.0/16".to_owned())));
}

/// Two xTRs, of which the EID-prefix leaves one for the other, and an ITR that sends to it.
#[test]
fn the_mapping_of_an_eid_prefix_that_has_moved_is_followed_within_two_seconds() {
    let mut old = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = old.register();
    old.notify(&register, |notify| notify);
    let mut itr = Node::new(&["10.9.0.0/16"], &["198.51.100.7"], vec![], vec![MapSystem::Node(ip(double::RESOLVER))]);
    itr.now = old.now;
    itr.event(Event::Miss { eid: prefix("10.1.2.3/32"), source: ip("10.9.0.2") });
    let (_, request) = itr.requests().remove(0);
    let mut reply = reply_to(&request, &[("10.1.0.0/16", 1440)]);
    reply.records[0].locators[0].rloc = ip(RLOC).into();
    itr.reply(&reply);
    itr.updates();
    let probe = next_probe(&mut itr);
    old.now = itr.now;
    old.datagram("198.51.100.7:4342", &probe.into());
    assert_eq!(old.reply_sent().1.records.len(), 1);

    // The Map-Server tells the former xTR, again and again until it is acknowledged.
    let moved = old.now;
    let told = |mut notify: MapNotify| {
        notify.nonce = Nonce(1 << 60);
        notify.records.retain(|record| record.eid.ip_prefix() == Some(prefix("10.1.0.0/16")));
        notify.records[0].locators[0].rloc = ip(PEER).into();
        notify
    };
    for _ in 0..2 {
        old.notify(&register, told);
        let (_, _, bytes) = old.sent.remove(0);
        let ControlMessage::MapNotifyAck(acknowledged) = ControlMessage::decode(&bytes).unwrap() else {
            panic!("{bytes:?}")
        };
        assert_eq!(acknowledged.nonce, Nonce(1 << 60));
    }
    let (_, to, smr) = old.smrs.remove(0);
    assert_eq!((to.ip(), old.smrs.len()), (ip("198.51.100.7"), 0), "it is told once");
    itr.advance(secs(1));
    itr.datagram(&format!("{RLOC}:4342"), &smr.into());
    let (_, request) = itr.requests().remove(0);
    assert!(request.smr_invoked);
    itr.reply(&reply_to(&request, &[("10.1.0.0/16", 1440)]));
    let (_, entry) = itr.upsert();
    assert!(matches!(&entry.forwarding, Forwarding::Locators(to) if to[0].address == ip(PEER)), "{entry:?}");
    assert!(itr.now - moved < secs(2));
}

#[test]
fn an_unsolicited_notify_is_taken_from_its_server_under_its_key_and_in_order() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    let with = |nonce: u64| move |notify: MapNotify| MapNotify { nonce: Nonce(nonce), ..notify };
    node.notify(&register, with(1 << 60));
    assert_eq!((node.sent.len(), node.smrs.len()), (1, 0), "acknowledged; our own locators are no news");
    node.notify(&register, with((1 << 60) - 1));
    node.notify_with(&register, &double::key(Algorithm::HmacSha256), with(1 << 61));
    assert_eq!((node.sent.len(), node.refused(Refusal::NotifyUnasked)), (1, 2));
    let notify = MapNotify { nonce: Nonce(1 << 62), records: register.records, ..MapNotify::default() };
    let bytes = auth::seal(&notify.into(), &double::key(Algorithm::HkdfSha256), TagForm::Truncated).unwrap();
    node.bytes("203.0.113.66:4342", &bytes);
    assert_eq!((node.sent.len(), node.refused(Refusal::NotifyUnasked)), (1, 3), "another address");
}

/// The first Map-Register is lost, or its answer is slow: it is sent again after a second.
#[test]
fn itrs_are_told_when_the_repetition_of_a_lost_map_register_is_confirmed_and_not_before() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    node.packets_from(&[ip("198.51.100.7")]);
    node.input(Input::Locators(vec![own("192.0.2.77")]));
    let (_, lost) = node.register();
    node.advance(secs(1));
    let (_, again) = node.register();
    assert_ne!(lost.nonce, again.nonce);
    node.advance(Duration::from_millis(400));
    assert_eq!(node.smrs.len(), 0, "they would be given the old mapping");
    node.notify(&again, |notify| notify);
    let asked: BTreeSet<_> = node.smrs.drain(..).map(|(_, to, _)| to.ip()).collect();
    assert_eq!(asked, [ip("198.51.100.7")].into(), "at once");
    // Nobody answers: they are told all the same.
    node.advance(secs(60));
    node.smrs.clear();
    node.packets_from(&[ip("198.51.100.7")]);
    node.input(Input::Locators(vec![own("192.0.2.78")]));
    node.advance(limits::CONFIRMATION - Duration::from_millis(1));
    assert_eq!(node.smrs.len(), 0);
    node.advance(Duration::from_millis(1));
    assert_eq!(node.smrs.len(), 1);
}

/// Changes our mapping, and returns to whom SMRs have gone since, and from where.
fn solicited_from(node: &mut Node) -> Vec<(IpAddr, IpAddr)> {
    node.smrs.clear();
    let locators = node.control.database().locators().to_vec();
    let weight = locators[0].weight - 1;
    node.input(Input::Locators(locators.into_iter().map(|one| OwnLocator { weight, ..one }).collect()));
    node.advance(secs(100));
    std::mem::take(&mut node.smrs).into_iter().map(|(from, to, _)| (to.ip(), from)).collect()
}

#[test]
fn an_itr_is_solicited_from_the_locator_of_ours_that_it_is_reached_from() {
    let (first, second, stranger) = (ip("192.0.2.1"), ip("192.0.2.129"), ip("198.51.100.7"));
    let mut lab = Lab::with_uplinks(&["192.0.2.1", "192.0.2.129"]);
    lab.run(secs(5));
    lab.near.packets_from(&[ip(PEER), stranger]);
    let told = solicited_from(&mut lab.near);
    let prefixes = lab.near.control.database().prefixes().len();
    let count = |told: &[(IpAddr, IpAddr)], to, from| told.iter().filter(|one| **one == (to, from)).count();
    for itr in [ip(PEER), stranger] {
        let from = [first, second].map(|from| count(&told, itr, from));
        assert_eq!(from, [prefixes, prefixes], "each once from each: nobody answers an SMR");
        assert_eq!(told.iter().find(|(to, _)| *to == itr).unwrap().1, first);
    }
    lab.dead_uplink = Some(first);
    lab.run(secs(10));
    lab.near.packets_from(&[ip(PEER), stranger]);
    let told = solicited_from(&mut lab.near);
    let from = [first, second].map(|from| count(&told, ip(PEER), from));
    assert_eq!(from, [0, 2 * prefixes], "it is reached from the second one only: {told:?}");
    assert_eq!(told.iter().find(|(to, _)| *to == stranger).unwrap().1, second, "from which others are reached");
    assert_eq!(count(&told, stranger, first), prefixes, "its way may be another");
}

/// RFC 9301, section 6.1: an ETR may send SMRs to all locators that it has in its map-cache. Who has sent to us is forgotten by then.
#[test]
fn after_a_sleep_the_locators_in_the_map_cache_that_answer_probes_hear_of_another_one_of_ours() {
    let mut node = Node::plain();
    map(&mut node, "2001:db8:b::2/128", SITE);
    let probe = next_probe(&mut node);
    answer_from(&mut node, PEER, MapReply { probe: true, ..reply_to(&probe, &[(SITE, 1440)]) });
    let (_, request) = node.miss("10.9.0.1/32");
    let mut silent = reply_to(&request, &[("10.9.0.0/24", 1440)]);
    silent.records[0].locators[0].rloc = ip("198.51.100.9").into();
    node.reply(&silent);
    node.now += secs(120);
    node.input(Input::Slept);
    node.packets_from(&[]);
    node.input(Input::Locators(vec![own("192.0.2.77")]));
    assert_eq!(node.smrs.len(), 1, "at once");
    node.advance(secs(60));
    let told: Vec<_> = node.smrs.iter().map(|(from, to, _)| (to.ip(), *from)).collect();
    assert_eq!(told, [(ip(PEER), ip("192.0.2.77")); 4], "of each of two EID-prefixes, twice");
}

/// What leaves nobody's machine has told nobody.
#[test]
fn while_there_is_no_uplink_nobody_is_told_and_all_are_at_once_when_there_is_one() {
    let mut node = Node::new(&["10.1.0.0/16"], &[RLOC], vec![], vec![]);
    node.packets_from(&[ip(PEER), ip("198.51.100.7")]);
    node.input(Input::Locators(vec![]));
    node.advance(secs(2));
    assert_eq!((node.smrs.len(), node.refused(Refusal::NoLocatorOfFamily)), (0, 0));
    node.input(Input::Locators(vec![own("192.0.2.77")]));
    assert_eq!(node.smrs.len(), 2, "at once");
    node.advance(secs(60));
    assert_eq!(node.smrs.len(), 2 * limits::TIMES_TOLD);
}

/// As long as it does the former locator is not closed.
#[test]
fn a_site_of_many_eid_prefixes_solicits_until_the_last_of_them_is_told() {
    let prefixes: Vec<String> = (1..=6).map(|site| format!("10.{site}.0.0/16")).collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let mut node = Node::new(&prefixes, &[RLOC], vec![], vec![]);
    node.packets_from(&[ip(PEER)]);
    assert!(!node.control.is_soliciting());
    node.input(Input::Locators(vec![own("192.0.2.77")]));
    let times = prefixes.len() * limits::TIMES_TOLD;
    for told in 1..times {
        assert_eq!((node.smrs.len(), node.control.is_soliciting()), (told, true));
        node.advance(limits::SMR_INTERVAL);
    }
    assert_eq!((node.smrs.len(), node.control.is_soliciting()), (times, false));
}

#[test]
fn of_an_uplink_that_is_removed_the_other_tells() {
    let mut node = Node::new(&["10.1.0.0/16"], &["192.0.2.1", "192.0.2.129"], vec![], vec![]);
    node.packets_from(&[ip("198.51.100.7")]);
    let locators = node.control.database().locators().to_vec();
    node.input(Input::Reached { locators, unreachable: vec![ip("192.0.2.1")] });
    node.advance(secs(10));
    let told: Vec<_> = node.smrs.iter().map(|(from, to, _)| (to.ip(), *from)).collect();
    assert_eq!(told, [(ip("198.51.100.7"), ip("192.0.2.129")); 2]);
}

/// Source and ITR-RLOC are the same, as of one that asks for itself, and both invented.
#[test]
fn a_flood_of_invented_itrs_keeps_none_out_that_answers_probes_or_sends_packets() {
    let mut lab = Lab::new();
    lab.run(secs(5));
    let node = &mut lab.near;
    node.packets_from(&[ip("203.0.113.7")]);
    ask(node, PEER, "10.1.2.3/32");
    for number in 0..5000u16 {
        let [high, low] = number.to_be_bytes();
        ask(node, &IpAddr::from([198, 18, high, low]).to_string(), "10.1.2.3/32");
    }
    node.packets_from(&[ip("203.0.113.8")]);
    node.smrs.clear();
    node.input(Input::Locators(vec![own("192.0.2.77")]));
    node.advance(secs(1));
    let first: Vec<IpAddr> = node.smrs.iter().take(3).map(|(_, to, _)| to.ip()).collect();
    assert_eq!(first, [PEER, "203.0.113.7", "203.0.113.8"].map(ip), "they are told, and first");
    node.advance(secs(60));
    let told: BTreeSet<IpAddr> = node.smrs.iter().map(|(_, to, _)| to.ip()).collect();
    assert!(told.contains(&ip("203.0.113.1")), "the other locator of its site, which is in the map-cache");
    assert_eq!(told.len(), 4 + limits::UNPROVEN_ITRS);
}
