// SPDX-License-Identifier: GPL-2.0-or-later
//! Echo-nonce (RFC 9300, section 10.1).

use std::time::Instant;

use wire::control::{ControlMessage, EidRequest, MapReply, MapRequest, Nonce};
use wire::data::{LispHeader, OuterHeader, TrafficClass};
use wire::record::{LocatorRecord, MappingRecord, Ttl};
use xtr::counters::Count;
use xtr::database::OwnLocator;
use xtr::engine::Input;
use xtr::reach::EchoState;
use xtr::trust::Trust;

use super::lab::{Lab, Xtr, inner};
use super::{SITES, STEP, ip, own, trust};
use crate::double::{prefix, secs};

#[test]
fn both_ends_ask_and_both_hear_their_echoes() {
    let mut lab = Lab::echoing();
    lab.run(secs(120));
    for site in &lab.sites {
        let counts = site.node.control.counts();
        // The other locator, which no packets go to, is asked for nothing.
        assert!((18..=30).contains(&counts.echoes_received), "{counts:?}");
        assert_eq!((counts.echoes_missed, counts.locators_lost), (0, 0), "{counts:?}");
        let asked = site.sent.iter().filter(|(_, outer)| outer.lisp().echo).count();
        assert!(asked < site.sent.len() / 20, "{asked} of {}: an echo takes a round trip", site.sent.len());
    }
    let nonces = |site: usize| lab.sites[site].sent.iter().filter(|(_, outer)| outer.lisp().echo);
    assert!(nonces(0).all(|(_, asked)| nonces(1).all(|(_, other)| other.lisp().nonce != asked.lisp().nonce)));
}

/// Neither probes, nor the packets that come, nor those that are missing show this but the echo.
#[test]
fn a_locator_that_packets_do_not_reach_is_left_though_its_own_arrive() {
    let mut lab = Lab::echoing();
    let [first, second] = SITES[1].2.map(ip);
    lab.run(secs(40));
    assert_eq!(lab.sites[0].last().destination, first);
    (lab.dead, lab.loses_far_probes) = (Some(first), true);
    let killed = lab.now();
    lab.run(secs(30));
    let near = &lab.sites[0];
    let last =
        near.sent_since(killed).filter(|(_, outer)| outer.destination == first).map(|(at, _)| *at).max().unwrap();
    // Up to five seconds to the next request, and as much for it; where the peer asks too it begins once more, a second later.
    assert!(last - killed < secs(5 + 5 + 1 + 5), "{:?}", last - killed);
    assert_eq!((near.last().destination, near.node.control.counts().echoes_missed), (second, 1));
    assert_eq!(near.node.control.echo_state(first), Some(EchoState::Unanswered));
    let back = lab.now();
    lab.dead = None;
    lab.run(secs(35));
    let first_again = lab.sites[0].sent_since(back).find(|(_, outer)| outer.destination == first).unwrap().0;
    assert!(first_again - back <= secs(31), "a probe brings it back: {:?}", first_again - back);
    assert_eq!(lab.sites[0].last().destination, first);
}

#[test]
fn the_answer_of_a_probe_counts_more_than_a_missing_echo_and_for_a_minute() {
    let mut lab = Lab::echoing();
    let first = ip(SITES[1].2[0]);
    lab.run(secs(10));
    lab.deaf = Some(first);
    let killed = lab.now();
    lab.run(secs(50));
    let near = &lab.sites[0];
    let elsewhere = near.sent_since(killed).filter(|(_, outer)| outer.destination != first).count();
    assert_eq!(near.node.control.counts().echoes_missed, 1);
    assert!(elsewhere < 10, "{elsewhere} packets went elsewhere until the probe was answered");
}

/// The echo comes in a packet to the locator that asks (RFC 9300, section 10.1): of a peer whose packets all go to another one of ours
/// nothing can be said.
#[test]
fn a_peer_whose_packets_go_to_another_locator_than_the_one_that_asks_is_not_lost() {
    let mut lab = Lab::echoing();
    let [asking, other] = SITES[0].2.map(ip);
    let locators = [(asking, 1), (other, 100)].map(|(rloc, weight)| OwnLocator::new(rloc, 1, weight));
    lab.sites[0].node.input(Input::Locators(locators.to_vec()));
    lab.run(secs(10));
    let start = lab.now();
    lab.run(secs(200));
    let [near, far] = &lab.sites;
    assert!(near.sent_since(start).all(|(_, outer)| outer.source == asking));
    assert!(far.sent_since(start).all(|(_, outer)| outer.destination == other));
    let asked = near.sent_since(start).filter(|(_, outer)| outer.lisp().echo).count();
    assert!(asked > 1000, "{asked}");
    for site in &lab.sites {
        let counts = site.node.control.counts();
        assert_eq!((counts.echoes_missed, counts.locators_lost), (0, 0), "{counts:?}");
    }
}

/// Where no other locator is left packets go on to the one that is said to be dead: an echo shows that it is not.
#[test]
fn a_late_echo_brings_the_only_locator_back() {
    let mut lab = Lab::echoing();
    let first = ip(SITES[1].2[0]);
    lab.sites[1].node.input(Input::Locators(vec![own(SITES[1].2[0], 1)]));
    lab.run(secs(10));
    lab.dead = Some(first);
    lab.run(secs(20));
    assert!(!lab.sites[0].node.control.is_usable(first));
    assert_eq!(lab.sites[0].last().destination, first);
    // Packets arrive again, probes do not.
    let Lab { dead, .. } = &mut lab;
    *dead = None;
    let before = lab.now();
    while !lab.sites[0].node.control.is_usable(first) && lab.now() - before < secs(120) {
        lab.sites[0].node.probes.clear();
        lab.run(STEP);
    }
    assert!(lab.sites[0].node.control.is_usable(first));
}

#[test]
fn without_packets_from_there_a_missing_echo_proves_nothing() {
    let mut lab = Lab::echoing();
    lab.run(secs(10));
    lab.sites[1].sends = false;
    let start = lab.now();
    lab.run(secs(60));
    assert!(lab.sites[0].sent_since(start).any(|(_, outer)| outer.lisp().echo), "it asks");
    assert_eq!(lab.sites[0].node.control.counts().echoes_missed, 0);
    assert!(lab.sites[0].node.control.is_usable(ip(SITES[1].2[0])));
}

#[test]
fn who_does_not_say_that_it_echoes_is_never_asked() {
    for far in [trust(), Trust::default().with_echo_nonce(true)] {
        let mut lab = Lab::new([trust().with_echo_nonce(true), far], [0, 0]);
        lab.run(secs(60));
        for site in &lab.sites {
            assert!(site.sent.iter().all(|(_, outer)| outer.lisp == [0; LispHeader::LENGTH]));
        }
        let state = lab.sites[0].node.control.echo_state(ip(SITES[1].2[0]));
        assert_eq!(state, Some(EchoState::Incapable));
    }
}

#[test]
fn who_does_not_trust_answers_no_nonce() {
    let mut lab = Lab::new([trust().with_echo_nonce(true), Trust::default()], [0, 0]);
    let asking = LispHeader { nonce: Some(7), echo: true, ..LispHeader::default() };
    let (_, source, rlocs) = SITES[0];
    let outer = OuterHeader {
        source: ip(rlocs[0]),
        destination: ip(SITES[1].2[0]),
        source_port: 50_000,
        destination_port: wire::DATA_PORT,
        ttl: 60,
        class: TrafficClass(0),
        flow_label: 0,
        dont_fragment: true,
        lisp: asking.emit(),
    };
    lab.sites[1].receive(&outer, &inner(source, SITES[1].1));
    lab.run(secs(2));
    assert!(lab.sites[1].sent.iter().all(|(_, outer)| outer.lisp == [0; LispHeader::LENGTH]));
    assert_eq!(lab.sites[1].counters.get(Count::FlagsIgnored), 1);
}

#[test]
fn a_map_reply_says_that_the_site_echoes_to_trusted_peers_alone() {
    for (trust, expected) in [
        (trust().with_echo_nonce(true), true),
        (trust(), false),
        (Trust::of(&["203.0.113.0/24".parse().unwrap()]).with_echo_nonce(true), false),
    ] {
        let mut xtr = Xtr::new(Instant::now(), 0, &trust, 0);
        let request = MapRequest {
            nonce: Nonce(5),
            itr_rlocs: vec![ip(SITES[1].2[0]).into()],
            records: vec![EidRequest { notify: false, eid: prefix(SITES[0].0).into() }],
            ..MapRequest::default()
        };
        xtr.node.datagram("198.51.100.1:4342", &ControlMessage::from(request));
        assert_eq!(xtr.node.reply_sent().1.echo_nonce, expected);
    }
}

/// Whoever has a mapping may write the locators of others into it: only the answer to a probe of a locator speaks for that.
#[test]
fn the_e_bit_of_a_map_reply_that_lists_a_locator_changes_nothing() {
    let mut lab = Lab::echoing();
    lab.run(secs(10));
    let near = &mut lab.sites[0].node;
    let peer = ip(SITES[1].2[0]);
    let before = near.control.echo_state(peer);
    assert_ne!(before, Some(EchoState::Incapable));
    let locators = vec![LocatorRecord::new(peer, 1, 100)];
    let strangers = ["2001:db8:77::/48", "2001:db8:78::/48"];
    for (stranger, echo_nonce) in strangers.iter().zip([false, true]) {
        let (_, request) = near.miss(&stranger.replace("/48", "1/128"));
        let record = MappingRecord::new(prefix(stranger), Ttl::DEFAULT, locators.clone());
        let record = MappingRecord { authoritative: true, ..record };
        near.reply(&MapReply { echo_nonce, nonce: request.nonce, records: vec![record], ..MapReply::default() });
        assert_eq!(near.control.echo_state(peer), before, "E {echo_nonce}");
    }
    // Nor does it make one be asked that has not said so itself.
    let mut xtr = Xtr::new(Instant::now(), 0, &trust().with_echo_nonce(true), 0);
    let (_, request) = xtr.node.miss("2001:db8:b::1/128");
    let records = vec![MappingRecord::new(prefix(SITES[1].0), Ttl::DEFAULT, locators)];
    xtr.node.reply(&MapReply { echo_nonce: true, nonce: request.nonce, records, ..MapReply::default() });
    xtr.node.advance(secs(1));
    assert_eq!(xtr.node.control.echo_state(peer), Some(EchoState::Incapable));
}
