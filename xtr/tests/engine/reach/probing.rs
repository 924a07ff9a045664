// SPDX-License-Identifier: GPL-2.0-or-later
//! Locators of others are probed, and left when they fall silent.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wire::address::{Address, EidPrefix};
use wire::control::{MapReply, MapRequest, Nonce};
use wire::record::{Action, LocatorRecord};
use xtr::engine::Input;
use xtr::map_cache::{Event, Update};
use xtr::reach::{Standing, limits};
use xtr::refusal::Refusal;

use super::{PEER, SITE, answer_from, ip, map, map_sites, millis, next_probe, own, probe, probe_about};
use crate::double::{Node, RLOC, WithNegative, prefix, reply_to, secs};

/// A node with a mapping of a site behind [`PEER`], whose first probe waits to be answered.
fn node_with_mapping() -> (Node, MapRequest) {
    let mut node = Node::plain();
    map(&mut node, "2001:db8:b::2/128", SITE);
    let probe = next_probe(&mut node);
    (node, probe)
}

fn times(node: &mut Node, until: Duration) -> Vec<u128> {
    let start = node.now;
    let mut times = Vec::new();
    while let Some(deadline) = node.control.next_deadline().filter(|deadline| *deadline <= start + until) {
        node.advance(deadline.saturating_duration_since(node.now));
        times.extend(node.probes.drain(..).map(|_| (node.now - start).as_millis()));
    }
    node.advance((start + until).saturating_duration_since(node.now));
    times
}

/// What an ETR answers that says what the mapping system said.
fn answer(probe: &MapRequest) -> MapReply {
    MapReply { probe: true, ..reply_to(probe, &[(SITE, 1440)]) }
}

fn reachable(reachable: bool) -> Vec<Update> {
    vec![Update::Reachable { rloc: ip(PEER), reachable }]
}

fn standing(node: &Node) -> Standing {
    node.control.probed_locators(node.now).next().unwrap().standing
}

#[test]
fn a_locator_in_use_is_probed_at_itself_and_not_through_the_mapping_system() {
    let mut node = Node::plain();
    map(&mut node, "2001:db8:b::2/128", SITE);
    node.run_to_deadline();
    let (local, remote, probe) = node.probes.remove(0);
    assert_eq!((local, remote), (ip(RLOC), SocketAddr::new(ip(PEER), 4342)));
    assert!(probe.probe && !probe.smr && !probe.smr_invoked);
    assert_eq!(probe.source_eid, Address::None);
    assert_eq!(probe.itr_rlocs, [Address::from(ip(RLOC))]);
    assert_eq!(probe.records.len(), 1);
    assert_eq!(probe.records[0].eid.ip_prefix(), Some(prefix(SITE)), "the prefix of the map-cache entry");
}

#[test]
fn one_that_answers_is_probed_every_thirty_seconds_with_jitter() {
    let (mut node, mut last) = node_with_mapping();
    let mut gaps = Vec::new();
    for _ in 0..50 {
        let asked = node.now;
        node.advance(millis(20));
        answer_from(&mut node, PEER, answer(&last));
        last = next_probe(&mut node);
        gaps.push((node.now - asked).as_millis());
    }
    assert!(gaps.iter().all(|gap| (27_000..=33_100).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().max().unwrap() - gaps.iter().min().unwrap() > 1000, "{gaps:?}");
    assert_eq!(node.updates(), [], "nothing has changed");
    let shown = node.control.probed_locators(node.now).next().unwrap();
    assert_eq!((shown.standing, shown.rtt), (Standing::Up, Some(millis(20))));
    assert_eq!(node.control.counts().probes_answered, 50);
    assert!(node.control.is_usable(ip(PEER)));
}

#[test]
fn locators_are_probed_once_however_many_mappings_share_them() {
    let mut node = Node::plain();
    for site in 0..100 {
        map(&mut node, &format!("10.{}.0.1/32", 100 + site), &format!("10.{}.0.0/16", 100 + site));
    }
    assert_eq!(node.control.probed_locators(node.now).count(), 1);
    let mut asked = vec![next_probe(&mut node).records[0].eid.ip_prefix().unwrap()];
    // Nobody answers: each further probe is about another mapping, as one of them may have left the ETR.
    node.advance(millis(2400));
    asked.extend(node.probes.drain(..).map(|(.., probe)| probe.records[0].eid.ip_prefix().unwrap()));
    assert_eq!(asked.len(), 3);
    let different: BTreeSet<EidPrefix> = asked.iter().copied().collect();
    assert_eq!(different.len(), 3, "{asked:?}");
}

#[test]
fn suspicion_means_three_probes_and_silence_means_unusable_after_two_and_a_half_seconds() {
    let (mut node, first) = node_with_mapping();
    answer_from(&mut node, PEER, answer(&first));
    node.event(Event::Silent { rloc: ip(PEER) });
    assert_eq!(node.probes.len(), 1, "the first probe goes at once");
    node.probes.clear();
    assert_eq!(times(&mut node, millis(2499)), [700, 1400]);
    assert_eq!(node.updates(), []);
    node.advance(millis(1));
    assert_eq!(node.updates(), reachable(false));
    assert_eq!(standing(&node), Standing::Down);
    assert!(!node.control.is_usable(ip(PEER)));
    let retries = times(&mut node, secs(100));
    assert_eq!(retries, [1000, 3000, 7000, 15_000, 31_000, 61_000, 91_000], "it is probed on, ever more slowly");
    assert_eq!(node.updates(), []);
    node.event(Event::Silent { rloc: ip(PEER) });
    assert!(node.probes.is_empty(), "that is known");
}

#[test]
fn an_unusable_locator_comes_back_with_its_first_answer() {
    let (mut node, first) = node_with_mapping();
    answer_from(&mut node, PEER, answer(&first));
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(millis(3499));
    node.probes.clear();
    assert_eq!(node.updates(), reachable(false));
    node.advance(millis(1));
    let retry = probe(&mut node);
    node.advance(millis(300));
    answer_from(&mut node, PEER, answer(&retry));
    assert_eq!(node.updates(), reachable(true));
    assert_eq!(standing(&node), Standing::Up);
    assert_eq!(node.control.counts().locators_lost, 1);
}

#[test]
fn a_late_answer_counts_too() {
    let (mut node, first) = node_with_mapping();
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(secs(3));
    assert_eq!(node.updates(), reachable(false));
    answer_from(&mut node, PEER, answer(&first));
    assert_eq!(node.updates(), reachable(true));
}

/// Who takes packets and sends none back, as the receiver of a stream, or acknowledges late.
#[test]
fn one_that_answers_each_suspicion_is_probed_no_more_than_four_times_in_three_seconds() {
    let (mut node, first) = node_with_mapping();
    answer_from(&mut node, PEER, answer(&first));
    let start = node.now;
    let mut probed = Vec::new();
    for _ in 0..200 {
        node.event(Event::Silent { rloc: ip(PEER) });
        for (.., probe) in std::mem::take(&mut node.probes) {
            probed.push(node.now - start);
            answer_from(&mut node, PEER, answer(&probe));
        }
        node.advance(millis(100));
    }
    assert!(probed.windows(5).all(|five| five[4] - five[0] > secs(3)), "{probed:?}");
    assert_eq!((node.updates(), standing(&node)), (vec![], Standing::Up));
}

#[test]
fn one_that_dies_when_it_has_just_answered_is_left_within_four_seconds() {
    let (mut node, first) = node_with_mapping();
    answer_from(&mut node, PEER, answer(&first));
    node.event(Event::Silent { rloc: ip(PEER) });
    let probe = probe(&mut node);
    answer_from(&mut node, PEER, answer(&probe));
    for _ in 0..2 {
        node.advance(secs(1));
        node.event(Event::Silent { rloc: ip(PEER) });
    }
    node.advance(millis(1990));
    assert_eq!(node.updates(), reachable(false));
}

#[test]
fn lost_answers_condemn_nobody_whom_nobody_suspects() {
    let (mut node, first) = node_with_mapping();
    answer_from(&mut node, PEER, answer(&first));
    node.advance(secs(300));
    assert!(node.probes.len() > 20);
    assert_eq!((node.updates(), standing(&node)), (vec![], Standing::Up));
}

#[test]
fn an_answer_after_ten_seconds_counts_no_more() {
    let (mut node, first) = node_with_mapping();
    node.advance(limits::ANSWER_TIME);
    answer_from(&mut node, PEER, answer(&first));
    assert_eq!((standing(&node), node.refused(Refusal::ReplyUnasked)), (Standing::Unproven, 1));
}

#[test]
fn who_never_answers_is_used_again_when_packets_come_from_it() {
    let (mut node, _) = node_with_mapping();
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(secs(3));
    assert_eq!(node.updates(), reachable(false));
    node.packets_from(&[ip(PEER)]);
    assert_eq!((node.updates(), standing(&node)), (reachable(true), Standing::Unproven));
}

/// Whenever a Map-Server confirms something they are named, a minute long.
#[test]
fn packets_that_came_before_a_locator_was_left_do_not_bring_it_back() {
    let (mut node, _) = node_with_mapping();
    let last = node.now;
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(secs(5));
    assert_eq!(node.updates(), reachable(false));
    node.probes.clear();
    node.input(Input::PacketsFrom(&[(ip(PEER), last)]));
    assert_eq!((node.updates(), standing(&node), node.probes.len()), (vec![], Standing::Down, 0));
    node.packets_from(&[ip(PEER)]);
    assert_eq!((node.updates(), standing(&node)), (reachable(true), Standing::Unproven));
}

#[test]
fn one_out_of_use_from_which_a_probe_or_packets_come_is_probed_at_once() {
    let (mut node, first) = node_with_mapping();
    answer_from(&mut node, PEER, answer(&first));
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(secs(50));
    assert_eq!((node.updates(), standing(&node)), (reachable(false), Standing::Down));
    let request = probe_about("10.1.0.0/16");
    for packets in [false, true] {
        node.advance(secs(2));
        node.probes.clear();
        for _ in 0..5 {
            if packets {
                node.packets_from(&[ip(PEER)]);
            } else {
                node.datagram("198.51.100.1:4342", &request.clone().into());
            }
        }
        probe(&mut node);
        assert_eq!((node.updates(), standing(&node)), (vec![], Standing::Down), "it has to answer");
    }
}

/// Who never answers may speak no control protocol, and yet take packets.
#[test]
fn one_that_has_never_answered_is_left_only_on_suspicion() {
    let (mut node, _) = node_with_mapping();
    node.advance(secs(120));
    assert!(node.probes.len() > 3);
    assert_eq!((node.updates(), standing(&node)), (vec![], Standing::Unproven));
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(secs(3));
    assert_eq!(node.updates(), reachable(false));
}

#[test]
fn a_locator_that_no_mapping_has_any_more_is_no_longer_probed() {
    let mut node = Node::plain();
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 5)]));
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(secs(60));
    assert_eq!(node.updates()[1..], reachable(false));
    node.advance(secs(300));
    assert_eq!(node.control.probed_locators(node.now).count(), 0);
    assert_eq!(node.updates(), reachable(true), "should it come back, it begins anew");
    node.probes.clear();
    node.advance(secs(300));
    assert!(node.probes.is_empty());
}

#[test]
fn peers_without_a_control_protocol_are_not_probed() {
    let mut node = Node::plain();
    node.control = std::mem::replace(&mut node.control, Node::plain().control).sparing(vec![ip(PEER)]);
    map(&mut node, "2001:db8:b::2/128", SITE);
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(secs(100));
    assert!(node.probes.is_empty());
    assert_eq!(node.updates(), []);
}

#[test]
fn spoofed_answers_change_nothing() {
    let (mut node, probe) = node_with_mapping();
    let right = answer(&probe);
    let other_nonce = MapReply { nonce: Nonce(probe.nonce.0 ^ 1), ..right.clone() };
    answer_from(&mut node, PEER, other_nonce);
    assert_eq!(node.refused(Refusal::ReplyUnasked), 1);
    answer_from(&mut node, "198.51.100.66", right.clone());
    assert_eq!(node.refused(Refusal::ReplyProbeFromElsewhere), 1);
    let mut of_a_server = right.clone();
    of_a_server.records[0].authoritative = false;
    answer_from(&mut node, PEER, of_a_server);
    assert_eq!(node.refused(Refusal::ReplyProbeNotAuthoritative), 1);
    assert_eq!((standing(&node), node.updates()), (Standing::Unproven, vec![]));
    assert!(node.requests().is_empty());
    answer_from(&mut node, PEER, right.clone());
    assert_eq!(standing(&node), Standing::Up);
    answer_from(&mut node, PEER, right);
    assert_eq!(node.refused(Refusal::ReplyUnasked), 2, "each probe is answered once");
}

/// RFC 9301, section 5.4: the p-bit says which locator was probed, whatever the source of the answer.
#[test]
fn an_answer_from_another_interface_counts_for_the_locator_with_the_p_bit() {
    let (mut node, probe) = node_with_mapping();
    let mut reply = answer(&probe);
    reply.records[0].locators[0].probed = true;
    answer_from(&mut node, "198.51.100.66", reply);
    assert_eq!(standing(&node), Standing::Up);
}

/// RFC 9301, section 5.4: of several p-bits the first says it.
#[test]
fn of_several_p_bits_the_first_counts() {
    for (first, second, expected) in
        [(PEER, "198.51.100.66", Standing::Up), ("198.51.100.65", PEER, Standing::Unproven)]
    {
        let (mut node, probe) = node_with_mapping();
        let before = standing(&node);
        let mut reply = answer(&probe);
        let mut other = reply.records[0].locators[0].clone();
        reply.records[0].locators[0].rloc = ip(first).into();
        other.rloc = ip(second).into();
        reply.records[0].locators.push(other);
        reply.records[0].locators.iter_mut().for_each(|locator| locator.probed = true);
        answer_from(&mut node, "198.51.100.77", reply);
        let expected = if expected == Standing::Up { Standing::Up } else { before };
        assert_eq!(standing(&node), expected, "{first}, then {second}");
    }
}

#[test]
fn an_answer_that_disagrees_makes_us_ask_the_mapping_system_and_changes_nothing_itself() {
    let (mut node, mut probe) = node_with_mapping();
    let elsewhere = |probe: &MapRequest| {
        let mut reply = answer(probe);
        reply.records[0].locators[0].rloc = ip("198.51.100.66").into();
        reply
    };
    answer_from(&mut node, PEER, elsewhere(&probe));
    assert_eq!(node.updates(), []);
    node.advance(secs(1));
    let (_, request) = node.requests().remove(0);
    assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix(SITE)));
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    node.updates();
    // One that goes on to disagree costs a request a minute.
    let mut requests = 0;
    for _ in 0..10 {
        probe = next_probe(&mut node);
        answer_from(&mut node, PEER, elsewhere(&probe));
        for (_, request) in node.requests() {
            requests += 1;
            node.reply(&reply_to(&request, &[(SITE, 1440)]));
        }
    }
    assert!((3..=6).contains(&requests), "{requests} in five minutes");
    let nothing = MapReply { records: vec![], ..answer(&next_probe(&mut node)) };
    answer_from(&mut node, PEER, nothing);
    assert_eq!(
        node.control.probed_locators(node.now).next().unwrap().answered_ago,
        Some(secs(0)),
        "an ETR that has lost the EID-prefix is alive"
    );
}

#[test]
fn a_flood_of_mappings_is_probed_within_bounds() {
    let mut node = Node::plain();
    let sites = limits::TARGETS + 100;
    map_sites(&mut node, sites);
    assert_eq!(node.control.probed_locators(node.now).count(), limits::TARGETS);
    assert_eq!(node.refused(Refusal::LocatorTableFull), 100);
    node.advance(secs(5));
    node.probes.clear();
    for rloc in node.control.probed_locators(node.now).map(|shown| shown.address).collect::<Vec<_>>() {
        node.event(Event::Silent { rloc });
    }
    let before = node.probes.len();
    assert!(before <= limits::PROBES_PER_SECOND as usize, "{before} at once");
    node.advance(secs(10));
    let rate = node.probes.len() as u64 / 10;
    assert!(rate <= u64::from(limits::PROBES_PER_SECOND) + 100, "{rate} a second");
}

/// Of each request that was sent, the EID-prefix.
fn asked(node: &mut Node) -> Vec<EidPrefix> {
    node.requests().into_iter().map(|(_, request)| request.records[0].eid.ip_prefix().unwrap()).collect()
}

/// The site has come back at another locator, and its xTR knows of no ITR that it could solicit.
#[test]
fn the_mapping_system_is_asked_about_a_site_of_which_no_locator_answers() {
    let (mut node, first) = node_with_mapping();
    answer_from(&mut node, PEER, answer(&first));
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(millis(2400));
    assert_eq!(asked(&mut node), [], "it may only be slow");
    node.advance(millis(100));
    let (_, request) = node.requests().remove(0);
    assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix(SITE)));
    assert!(!request.smr_invoked && !request.probe);
    node.updates();
    let mut reply = reply_to(&request, &[(SITE, 1440)]);
    reply.records[0].locators[0].rloc = ip("198.51.100.66").into();
    node.reply(&reply);
    let (_, entry) = node.upsert();
    let elsewhere = |to: &[xtr::map_cache::Locator]| to.len() == 1 && to[0].address == ip("198.51.100.66");
    assert!(matches!(&entry.forwarding, xtr::map_cache::Forwarding::Locators(to) if elsewhere(to)), "{entry:?}");
    node.advance(secs(300));
    assert_eq!(asked(&mut node), [], "it has a locator that may be used");
}

#[test]
fn a_site_that_stays_silent_costs_a_request_a_minute_and_its_mapping_ends_when_it_would_have() {
    let (mut node, _) = node_with_mapping();
    let ends = |node: &Node| node.control.map_cache(node.now).next().map(|(_, entry)| entry.expires);
    let end = ends(&node);
    node.event(Event::Silent { rloc: ip(PEER) });
    let mut requests = 0;
    for _ in 0..600 {
        node.advance(secs(1));
        for (_, request) in node.requests() {
            requests += 1;
            node.reply(&reply_to(&request, &[(SITE, 1440)]));
        }
    }
    assert!((5..=10).contains(&requests), "{requests} in ten minutes");
    assert_eq!(ends(&node), end);
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let (_, request) = node.requests().remove(0);
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert!(ends(&node) > end, "packets still go there");
}

#[test]
fn a_mapping_with_a_locator_that_answers_is_not_asked_about() {
    let mut node = Node::plain();
    let (_, request) = node.miss("2001:db8:b::2/128");
    let mut reply = reply_to(&request, &[(SITE, 1440)]);
    reply.records[0].locators.push(LocatorRecord::new(ip("198.51.100.66"), 2, 1));
    node.reply(&reply);
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(secs(120));
    assert_eq!((standing(&node), asked(&mut node)), (Standing::Down, vec![]));
    node.event(Event::Silent { rloc: ip("198.51.100.66") });
    node.advance(secs(3));
    assert_eq!(asked(&mut node), [prefix(SITE)], "now none is left");
}

#[test]
fn of_thousands_of_mappings_that_share_a_silent_locator_all_are_asked_about_within_bounds() {
    let mut node = Node::plain();
    let sites = 1000;
    for site in 0..sites {
        let net = format!("10.{}.{}.", 100 + site / 250, site % 250);
        map(&mut node, &format!("{net}1/32"), &format!("{net}0/24"));
        if site % 250 == 249 {
            node.advance(secs(2));
        }
    }
    node.requests();
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(millis(2500));
    let mut times: std::collections::BTreeMap<EidPrefix, Vec<Duration>> = std::collections::BTreeMap::new();
    let start = node.now;
    for _ in 0..1200 {
        let requests = node.requests();
        assert!(requests.len() <= xtr::resolve::limits::SMR_CONVERSATIONS, "{} at once", requests.len());
        for (_, request) in requests {
            let eid = request.records[0].eid.ip_prefix().unwrap();
            times.entry(eid).or_default().push(node.now - start);
            node.reply(&reply_to(&request, &[(&eid.net.to_string(), 1440)]));
        }
        node.advance(millis(100));
    }
    assert_eq!(times.len(), sites);
    let is_slow = |times: &Vec<Duration>| times.windows(2).all(|two| two[1] - two[0] >= secs(60));
    assert!(times.values().all(is_slow), "{times:?}");
}

#[test]
fn a_suspected_locator_that_there_was_no_room_for_is_probed_when_there_is() {
    let mut node = Node::plain();
    map(&mut node, "10.99.0.1/32", "10.99.0.0/24");
    map_sites(&mut node, limits::TARGETS - 1);
    map(&mut node, "2001:db8:77::2/128", "2001:db8:77::/48");
    let (_, request) = node.miss("2001:db8:b::2/128");
    let mut reply = reply_to(&request, &[(SITE, 1440)]);
    reply.records[0].locators[0].rloc = ip("203.0.113.9").into();
    node.reply(&reply);
    assert_eq!(node.refused(Refusal::LocatorTableFull), 1);
    node.event(Event::Silent { rloc: ip("203.0.113.9") });
    let is_probed = |node: &Node| node.control.probed_locators(node.now).any(|one| one.address == ip("203.0.113.9"));
    assert!(!is_probed(&node), "there is no room");
    for own in ["10.99.0.0/24", "2001:db8:77::/48"] {
        node.event(Event::Refresh { prefix: prefix(own) });
        let (_, request) = node.requests().pop().unwrap();
        let mut reply = reply_to(&request, &[(own, 1440)]);
        reply.records[0].locators[0].rloc = ip("198.18.0.1").into();
        node.reply(&reply);
    }
    node.advance(secs(40));
    node.probes.clear();
    node.event(Event::Silent { rloc: ip("203.0.113.9") });
    assert!(is_probed(&node));
    assert!(node.probes.iter().any(|(_, to, _)| to.ip() == ip("203.0.113.9")), "at once");
    let limit = node.control.probed_locators(node.now).count();
    assert_eq!(limit, limits::TARGETS);
}

#[test]
fn a_node_without_a_locator_asks_about_nobody_and_begins_again_when_it_has_one() {
    let (mut node, _) = node_with_mapping();
    node.event(Event::Silent { rloc: ip(PEER) });
    node.advance(secs(3));
    let (_, request) = node.requests().remove(0);
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    node.input(Input::Locators(vec![]));
    node.advance(secs(200));
    assert_eq!((asked(&mut node), node.refused(Refusal::NoLocatorOfFamily)), (vec![], 0));
    node.input(Input::Locators(vec![own(RLOC)]));
    assert_eq!(asked(&mut node), [prefix(SITE)]);
}

/// Its only xTR begins anew in an orderly way: what it has registered is gone until it is back.
#[test]
fn a_site_that_was_withdrawn_is_sent_to_again_as_soon_as_its_locator_answers() {
    for hole in [SITE, "2001:db8::/33"] {
        let (mut node, first) = node_with_mapping();
        answer_from(&mut node, PEER, answer(&first));
        node.event(Event::Silent { rloc: ip(PEER) });
        node.advance(millis(2500));
        node.updates();
        let mut asked = Vec::new();
        for second in 0..100 {
            for (_, request) in node.requests() {
                asked.push(second);
                node.reply(&reply_to(&request, &[]).with_negative(hole, Action::NativelyForward, 15));
            }
            node.advance(secs(1));
        }
        assert_eq!(node.updates(), [], "its packets leave natively nowhere");
        assert!(asked.len() == 2 && asked[1] - asked[0] >= 60, "{asked:?}");
        let (.., last) = node.probes.pop().unwrap();
        answer_from(&mut node, PEER, answer(&last));
        assert_eq!((node.updates(), standing(&node)), (reachable(true), Standing::Up));
    }
}

/// The first address is another's, whose mapping is cached as it is: that answers nothing of the rest.
#[test]
fn a_site_with_a_cached_more_specific_of_another_at_its_beginning_is_asked_about_behind_that() {
    let elsewhere = "198.51.100.66";
    let mapping = |node: &Node| {
        let known = node.control.map_cache(node.now).find(|(eid, _)| **eid == prefix(SITE));
        known.map(|(_, entry)| (entry.locators[0].0, entry.expires))
    };
    for says in [Some(PEER), Some(elsewhere), None] {
        let (mut node, _) = node_with_mapping();
        let of_part = |request: &MapRequest| {
            let mut reply = reply_to(request, &[("2001:db8:b::/64", 1440)]);
            reply.records[0].locators[0].rloc = ip("198.51.100.65").into();
            reply
        };
        let (_, request) = node.miss("2001:db8:b::3/128");
        node.reply(&of_part(&request));
        let before = mapping(&node);
        node.event(Event::Silent { rloc: ip(PEER) });
        node.advance(secs(3));
        let (_, request) = node.requests().remove(0);
        assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix(SITE)));
        node.reply(&of_part(&request));
        let (_, request) = node.requests().remove(0);
        assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix("2001:db8:b:1::/128")));
        if let Some(says) = says {
            let mut reply = reply_to(&request, &[(SITE, 1440)]);
            reply.records[0].locators[0].rloc = ip(says).into();
            node.reply(&reply);
        } else {
            node.reply(&reply_to(&request, &[]).with_negative("2001:db8:b:1::/64", Action::NativelyForward, 15));
        }
        node.advance(secs(20));
        match says {
            Some(says) if says == elsewhere => assert_eq!(mapping(&node).unwrap().0, ip(elsewhere)),
            _ => assert_eq!(mapping(&node), before, "{says:?}: it lives no longer, nor shorter"),
        }
    }
}

/// So many mappings of sites behind [`PEER`], which is silent as the mapping system is.
fn node_with_silent_sites(sites: usize) -> Node {
    let mut node = Node::plain();
    for site in 0..sites {
        let net = format!("10.{}.{}.", 100 + site / 250, site % 250);
        map(&mut node, &format!("{net}1/32"), &format!("{net}0/24"));
    }
    node.advance(secs(2));
    node.requests();
    node.event(Event::Silent { rloc: ip(PEER) });
    node
}

#[test]
fn mappings_that_nobody_answers_for_leave_room_for_what_others_say() {
    let mut node = node_with_silent_sites(600);
    node.advance(secs(20));
    for last in 0..100 {
        node.advance(secs(1));
        let eid = EidPrefix::host(prefix(SITE).iid, IpAddr::from([10, 200, 0, last]));
        node.event(Event::Source { eid, rloc: ip("203.0.113.66"), is_known: false });
    }
    assert_eq!(node.refused(Refusal::RequestTableFull), 0);
}

/// Nobody rests because of a question that was asked for no packet's sake.
#[test]
fn a_mapping_that_nobody_answers_for_is_refreshed_as_any_other() {
    let mut node = node_with_silent_sites(1);
    let mut tries = 0;
    while tries <= xtr::resolve::limits::RETRANSMISSIONS {
        node.advance(millis(100));
        tries += u32::try_from(asked(&mut node).len()).unwrap();
    }
    node.advance(xtr::resolve::limits::LONGEST_RETRY);
    node.event(Event::Refresh { prefix: prefix("10.100.0.0/24") });
    node.advance(secs(1));
    assert_eq!((asked(&mut node).last(), node.refused(Refusal::RequestPaused)), (Some(&prefix("10.100.0.0/24")), 0));
}
