// SPDX-License-Identifier: GPL-2.0-or-later
//! RLOC-probing, what follows from it, and solicit-map-requests, in virtual time.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod double;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use double::{Node, RLOC, prefix, reply_to, secs};
use wire::address::{Address, EidPrefix};
use wire::control::auth::{self, Algorithm, TagForm};
use wire::control::{ControlMessage, EidRequest, MapNotify, MapReply, MapRequest, Nonce};
use wire::record::{LocatorRecord, MappingRecord};
use xtr::database::OwnLocator;
use xtr::engine::Input;
use xtr::map_cache::{Event, Forwarding, Update};
use xtr::reach::{Standing, limits};
use xtr::refusal::Refusal;
use xtr::transport::MapSystem;

/// The locator of [`reply_to`].
const PEER: &str = "198.51.100.1";
const SITE: &str = "2001:db8:b::/48";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A node with a mapping of a site behind [`PEER`], whose first probe waits to be answered.
fn node_with_mapping() -> (Node, MapRequest) {
    let mut node = Node::plain();
    map(&mut node, "2001:db8:b::2/128", SITE);
    let probe = next_probe(&mut node);
    (node, probe)
}

fn next_probe(node: &mut Node) -> MapRequest {
    while node.probes.is_empty() {
        node.run_to_deadline();
    }
    probe(node)
}

fn map(node: &mut Node, eid: &str, site: &str) {
    let (_, request) = node.miss(eid);
    node.reply(&reply_to(&request, &[(site, 1440)]));
    node.updates();
}

fn probe(node: &mut Node) -> MapRequest {
    assert_eq!(node.probes.len(), 1, "{:?}", node.probes);
    node.probes.remove(0).2
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

fn answer_from(node: &mut Node, from: &str, reply: MapReply) {
    node.datagram(&format!("{from}:4342"), &ControlMessage::from(reply));
}

fn reachable(reachable: bool) -> Vec<Update> {
    vec![Update::Reachable { rloc: ip(PEER), reachable }]
}

fn standing(node: &Node) -> Standing {
    node.control.probed_locators(node.now).next().unwrap().standing
}

// --- probing

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
    node.input(Input::PacketsFrom(&[ip(PEER)]));
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
                node.input(Input::PacketsFrom(&[ip(PEER)]));
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
    for site in 0..sites {
        let (host, net) = (u8::try_from(site / 250).unwrap(), u8::try_from(site % 250).unwrap());
        let (_, request) = node.miss(&format!("10.{}.{net}.1/32", 100 + host));
        let mut reply = reply_to(&request, &[(&format!("10.{}.{net}.0/24", 100 + host), 1440)]);
        reply.records[0].locators[0] = LocatorRecord::new(IpAddr::from([198, 18, host, net + 1]), 1, 1);
        node.reply(&reply);
        if site % 1000 == 999 {
            node.advance(secs(2));
            node.requests();
        }
    }
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

// --- being probed

#[test]
fn a_probe_about_an_eid_prefix_that_has_left_is_answered_without_a_record_of_it() {
    let mut node = Node::plain();
    for _ in 0..5 {
        node.datagram("198.51.100.1:4342", &probe_about("10.99.0.0/16").into());
    }
    let replies = node.replies();
    assert_eq!(replies.len(), 4, "four in three seconds");
    assert!(replies.iter().all(|(_, reply)| reply.probe && reply.nonce == Nonce(7) && reply.records.is_empty()));
    assert_eq!(node.refused(Refusal::ProbeRateLimited), 1);
}

#[test]
fn who_names_an_itr_from_elsewhere_uses_up_nothing_of_what_it_has() {
    let mut node = Node::plain();
    for number in 0..50 {
        node.datagram(&format!("203.0.113.{}:4342", 100 + number), &probe_about("10.1.0.0/16").into());
    }
    assert_eq!(node.replies().len(), 16, "nor is it flooded");
    node.datagram("198.51.100.1:4342", &probe_about("10.1.0.0/16").into());
    assert_eq!(node.reply_sent().0, SocketAddr::new(ip(PEER), 4342));
}

#[test]
fn a_flood_of_invented_itrs_leaves_answers_for_others() {
    let mut node = Node::plain();
    for number in 0..5000u16 {
        let [high, low] = number.to_be_bytes();
        let itr = IpAddr::from([198, 18, high, low]);
        let flood = MapRequest { itr_rlocs: vec![itr.into()], ..probe_about("10.1.0.0/16") };
        node.datagram("203.0.113.66:4342", &flood.into());
    }
    node.sent.clear();
    node.datagram("198.51.100.1:4342", &probe_about("10.1.0.0/16").into());
    assert_eq!(node.reply_sent().0, SocketAddr::new(ip(PEER), 4342));
}

/// A probe of [`PEER`]'s.
fn probe_about(eid: &str) -> MapRequest {
    MapRequest {
        probe: true,
        nonce: Nonce(7),
        itr_rlocs: vec![ip(PEER).into()],
        records: vec![EidRequest { notify: false, eid: prefix(eid).into() }],
        ..MapRequest::default()
    }
}

// --- our own locators

fn own(text: &str) -> OwnLocator {
    OwnLocator { address: ip(text), priority: 1, weight: 100 }
}

fn reachable_bits(records: &[MappingRecord]) -> Vec<(String, bool)> {
    records[0].locators.iter().map(|l| (l.rloc.ip().unwrap().to_string(), l.reachable)).collect()
}

#[test]
fn a_locator_out_of_reach_is_registered_and_answered_with_the_r_bit_clear() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    let locators = vec![own(RLOC), own("192.0.2.2")];
    node.input(Input::Reached { locators: locators.clone(), unreachable: vec![ip(RLOC)] });
    let (_, register) = node.register();
    let expected = [(RLOC.to_owned(), false), ("192.0.2.2".to_owned(), true)];
    assert_eq!(reachable_bits(&register.records), expected);
    assert!(node.updates().contains(&Update::LocalRlocs(vec![ip("192.0.2.2")])), "packets go out from the other");
    node.notify(&register, |notify| notify);
    ask(&mut node, PEER, "10.1.2.3/32");
    assert_eq!(reachable_bits(&node.reply_sent().1.records), expected);
    node.input(Input::Reached { locators: locators.clone(), unreachable: vec![ip(RLOC)] });
    assert!(node.registers().is_empty(), "nothing has changed");
    node.input(Input::Reached { locators, unreachable: vec![] });
    assert_eq!(reachable_bits(&node.register().1.records)[0], (RLOC.to_owned(), true));
}

// --- soliciting

fn ask(node: &mut Node, itr: &str, eid: &str) {
    let request = MapRequest {
        itr_rlocs: vec![ip(itr).into()],
        records: vec![EidRequest { notify: false, eid: prefix(eid).into() }],
        ..MapRequest::default()
    };
    node.datagram(&format!("{itr}:4342"), &request.into());
}

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
    node.input(Input::PacketsFrom(&[ip("198.51.100.8"), ip("127.0.0.1")]));
    node.input(Input::Locators(vec![own("192.0.2.77")]));
    assert_eq!(solicited(&mut node), []);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    let mut told = solicited(&mut node);
    told.sort();
    let both = |prefix: &str| ["198.51.100.7", "198.51.100.8"].map(|itr| (itr.to_owned(), prefix.to_owned()));
    assert_eq!(told, both("10.1.0.0/16"));
    node.advance(secs(3));
    assert_eq!(solicited(&mut node), both("2001:db8:a::/48"), "a Map-Server may have answered for it");
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

// --- failover

/// A site with two locators, one preferred, sends back what comes; a router on the way to the first dies, and comes back.
#[test]
fn a_killed_locator_is_left_within_four_seconds_and_taken_again_when_it_lives() {
    let mut lab = Lab::new();
    lab.run(secs(5));
    let (first, second) = (ip("198.51.100.1"), ip("203.0.113.1"));
    assert!(lab.sent.iter().all(|(_, to)| *to == first), "the preferred one");
    lab.dead = Some(first);
    let killed = lab.near.now;
    lab.run(secs(60));
    let last_lost = lab.sent.iter().filter(|(at, to)| *at >= killed && *to == first).map(|(at, _)| *at).max().unwrap();
    assert!(last_lost - killed < secs(4), "{:?}", last_lost - killed);
    assert_eq!(lab.sent.last().unwrap().1, second);
    lab.dead = None;
    lab.run(secs(40));
    assert_eq!(lab.sent.last().unwrap().1, first, "it is back");
    assert_eq!(lab.near.control.counts().locators_lost, 1);
}

struct Lab {
    near: Node,
    itr: xtr::itr::Itr,
    etr: xtr::etr::Etr,
    far: Node,
    dead: Option<IpAddr>,
    /// A locator of ours from which nothing gets anywhere.
    dead_uplink: Option<IpAddr>,
    /// When a packet was sent, and from which locator.
    sources: Vec<(Instant, IpAddr)>,
    /// When a packet was sent, and to which locator.
    sent: Vec<(Instant, IpAddr)>,
}

impl Lab {
    fn new() -> Self {
        Self::with_uplinks(&[RLOC])
    }

    /// The first is preferred.
    fn with_uplinks(uplinks: &[&str]) -> Self {
        let resolvers = vec![MapSystem::Node(ip(double::RESOLVER))];
        let mut near = Node::new(&["2001:db8:a::/48", "10.1.0.0/16"], uplinks, vec![], resolvers);
        let ranked = uplinks.iter().zip(1..).map(|(uplink, priority)| OwnLocator { priority, ..own(uplink) });
        near.input(Input::Locators(ranked.collect()));
        let config = xtr::itr::ItrConfig {
            iid: wire::address::InstanceId(0),
            icmp_sources: vec![],
            core_mtu: 1500,
            gpe_peers: vec![],
        };
        let counters = std::sync::Arc::new(xtr::counters::Counters::default());
        let mut etr = xtr::etr::Etr::new(xtr::etr::EtrConfig::default(), counters.clone());
        etr.set_local_eids(&[prefix("2001:db8:a::/48")]);
        let mut itr = xtr::itr::Itr::new(near.now, config, counters);
        let mut far = Node::new(&["2001:db8:b::/48"], &["198.51.100.1", "203.0.113.1"], vec![], vec![]);
        far.now = near.now;
        let backup = OwnLocator { priority: 2, ..own("203.0.113.1") };
        far.input(Input::Locators(vec![own("198.51.100.1"), backup]));
        itr.update(near.now, Update::LocalRlocs(uplinks.iter().map(|uplink| ip(uplink)).collect()));
        let (_, request) = near.miss("2001:db8:b::2/128");
        let form = xtr::database::RecordForm { authoritative: false, probed: None };
        let record = far.control.database().record(prefix("2001:db8:b::/48"), form);
        near.reply(&MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() });
        Self { near, itr, etr, far, dead: None, dead_uplink: None, sources: vec![], sent: vec![] }
    }

    /// A packet every ten milliseconds.
    fn run(&mut self, time: Duration) {
        let end = self.near.now + time;
        while self.near.now < end {
            self.near.advance(millis(10));
            self.far.now = self.near.now;
            self.carry();
            self.send();
        }
    }

    fn carry(&mut self) {
        for (local, remote, probe) in std::mem::take(&mut self.near.probes) {
            if self.dead != Some(remote.ip()) && self.dead_uplink != Some(local) {
                let bytes = ControlMessage::from(probe).encode().unwrap();
                self.far.bytes_at(remote, &format!("{local}:4342"), &bytes);
            }
        }
        for (local, to, bytes) in std::mem::take(&mut self.far.sent) {
            if self.dead_uplink != Some(to.ip()) {
                self.near.bytes_at(SocketAddr::new(to.ip(), 4342), &format!("{local}:4342"), &bytes);
            }
        }
        self.near.requests();
        for update in self.near.updates() {
            self.itr.update(self.near.now, update);
        }
    }

    fn send(&mut self) {
        let now = self.near.now;
        let packet = inner("2001:db8:a::1", "2001:db8:b::2");
        let xtr::itr::Verdict::Encapsulate(outer, _) = self.itr.handle(now, &packet) else {
            panic!("no locator is left");
        };
        self.sent.push((now, outer.destination));
        self.sources.push((now, outer.source));
        if self.dead != Some(outer.destination) && self.dead_uplink != Some(outer.source) {
            self.hear(outer.destination);
        }
        while let Some(event) = self.itr.poll_event() {
            self.near.event(event);
        }
    }

    /// A packet comes back.
    fn hear(&self, source: IpAddr) {
        let class = wire::data::TrafficClass(0);
        let outer = xtr::etr::OuterInfo { source, destination: ip(RLOC), source_port: 50_000, ttl: 60, class };
        let mut payload = [&[0; 8], inner("2001:db8:b::2", "2001:db8:a::1").as_slice()].concat();
        self.etr.handle(&outer, &mut payload).unwrap();
    }
}

fn inner(source: &str, destination: &str) -> Vec<u8> {
    let header = wire::data::Ipv6Header {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        next_header: 59,
        hop_limit: 64,
        class: wire::data::TrafficClass(0),
        flow_label: 0,
    };
    header.emit(0).unwrap().to_vec()
}

// --- a second uplink

/// The site of [`Lab::new`], behind two uplinks: a preferred one, which its router then cannot send by any more, and a backup.
#[test]
fn when_the_way_from_the_preferred_locator_fails_packets_leave_from_the_other_within_four_seconds() {
    let mut lab = Lab::with_uplinks(&["192.0.2.1", "192.0.2.129"]);
    let (first, second) = (ip("192.0.2.1"), ip("192.0.2.129"));
    lab.run(secs(5));
    assert!(lab.sources.iter().all(|(_, from)| *from == first), "the preferred one");
    lab.dead_uplink = Some(first);
    let cut = lab.near.now;
    lab.run(secs(60));
    let last_lost =
        lab.sources.iter().filter(|(at, from)| *at >= cut && *from == first).map(|(at, _)| *at).max().unwrap();
    assert!(last_lost - cut < secs(4), "{:?}", last_lost - cut);
    assert_eq!(lab.sources.last().unwrap().1, second);
    assert!(lab.sent.iter().all(|(_, to)| *to == ip("198.51.100.1")), "the other site is not to blame");
    let shown = lab.near.control.probed_locators(lab.near.now).next().unwrap();
    assert_eq!((shown.standing, shown.from), (Standing::Up, Some(second)));
    assert_eq!(lab.near.control.counts().locators_lost, 0);
    lab.dead_uplink = None;
    lab.run(secs(40));
    assert_eq!(lab.sources.last().unwrap().1, first, "it is back");
    assert_eq!(lab.near.control.counts().uplinks_changed, 2);
}

#[test]
fn a_locator_that_nobody_reaches_is_left_whatever_it_is_probed_from() {
    let mut lab = Lab::with_uplinks(&["192.0.2.1", "192.0.2.129"]);
    lab.run(secs(5));
    lab.dead = Some(ip("198.51.100.1"));
    let killed = lab.near.now;
    lab.run(secs(20));
    let lost =
        lab.sent.iter().filter(|(at, to)| *at >= killed && *to == ip("198.51.100.1")).map(|(at, _)| *at).max().unwrap();
    assert!(lost - killed < secs(4), "{:?}", lost - killed);
    assert_eq!(lab.near.control.counts().uplinks_changed, 0);
}

#[test]
fn an_uplink_that_goes_takes_its_choice_with_it() {
    let mut lab = Lab::with_uplinks(&["192.0.2.1", "192.0.2.129", "192.0.2.193"]);
    lab.run(secs(5));
    lab.dead_uplink = Some(ip("192.0.2.1"));
    lab.run(secs(10));
    let chosen = lab.sources.last().unwrap().1;
    assert_ne!(chosen, ip("192.0.2.1"));
    let left = ["192.0.2.1", "192.0.2.129", "192.0.2.193"].into_iter().filter(|rloc| ip(rloc) != chosen);
    let left: Vec<_> = left.zip(1..).map(|(rloc, priority)| OwnLocator { priority, ..own(rloc) }).collect();
    lab.near.input(Input::Locators(left));
    lab.run(secs(10));
    assert!(![ip("192.0.2.1"), chosen].contains(&lab.sources.last().unwrap().1), "{:?}", lab.sources.last());
}

#[test]
fn a_probe_from_another_locator_of_a_site_puts_the_preferred_one_in_doubt() {
    let mut node = Node::plain();
    let (_, request) = node.miss("2001:db8:b::2/128");
    let mut reply = reply_to(&request, &[(SITE, 1440)]);
    let backup = LocatorRecord { priority: 2, rloc: ip("203.0.113.1").into(), ..reply.records[0].locators[0].clone() };
    reply.records[0].locators.push(backup);
    node.reply(&reply);
    node.advance(secs(2));
    for (_, to, probe) in std::mem::take(&mut node.probes) {
        answer_from(
            &mut node,
            &to.ip().to_string(),
            MapReply { probe: true, nonce: probe.nonce, ..MapReply::default() },
        );
    }
    node.updates();
    let probe = |from: &str| MapRequest {
        probe: true,
        nonce: Nonce(9),
        itr_rlocs: vec![Address::from(ip(from))],
        records: vec![EidRequest { notify: false, eid: prefix("10.1.0.0/16").into() }],
        ..MapRequest::default()
    };
    node.datagram(&format!("{PEER}:4342"), &probe(PEER).into());
    node.advance(millis(10));
    assert_eq!(node.probes.len(), 0, "a routine probe from the preferred one says nothing about the backup");
    node.datagram("203.0.113.1:4342", &probe("203.0.113.1").into());
    node.advance(secs(3));
    assert!(node.probes.iter().all(|(_, to, _)| to.ip() == ip(PEER)) && node.probes.len() >= 3, "{:?}", node.probes);
    assert!(node.updates().contains(&Update::Reachable { rloc: ip(PEER), reachable: false }));
}

/// Sites with two locators each, all of which answer.
fn sites_with_backups(count: u8) -> Node {
    let mut node = Node::plain();
    for number in 1..=count {
        let (_, request) = node.miss(&format!("10.{}.0.1/32", 100 + number));
        let mut reply = reply_to(&request, &[(&format!("10.{}.0.0/16", 100 + number), 1440)]);
        let first = &mut reply.records[0].locators[0];
        first.rloc = IpAddr::from([198, 51, 100, number]).into();
        let rloc = IpAddr::from([203, 0, 113, number]).into();
        let backup = LocatorRecord { priority: 2, rloc, ..first.clone() };
        reply.records[0].locators.push(backup);
        node.reply(&reply);
    }
    node.advance(secs(2));
    for (_, to, probe) in std::mem::take(&mut node.probes) {
        let reply = MapReply { probe: true, nonce: probe.nonce, ..MapReply::default() };
        answer_from(&mut node, &to.ip().to_string(), reply);
    }
    node.updates();
    node
}

#[test]
fn probes_that_others_send_in_the_name_of_sites_make_us_send_few() {
    let mut node = sites_with_backups(60);
    let spoof = |node: &mut Node, eid: &str| {
        for number in 1..=60 {
            let from = IpAddr::from([203, 0, 113, number]);
            let probe = MapRequest { itr_rlocs: vec![from.into()], ..probe_about(eid) };
            node.datagram(&SocketAddr::new(from, 4342).to_string(), &probe.into());
        }
        node.advance(millis(20));
        std::mem::take(&mut node.probes).len()
    };
    assert_eq!(spoof(&mut node, "10.99.0.0/16"), 0, "about an EID that is not ours");
    assert_eq!(spoof(&mut node, "10.1.0.0/16"), limits::DOUBTS_PER_SECOND as usize);
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
    lab.near.input(Input::PacketsFrom(&[ip(PEER), stranger]));
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
    lab.near.input(Input::PacketsFrom(&[ip(PEER), stranger]));
    let told = solicited_from(&mut lab.near);
    let from = [first, second].map(|from| count(&told, ip(PEER), from));
    assert_eq!(from, [0, 2 * prefixes], "it is reached from the second one only: {told:?}");
    assert_eq!(told.iter().find(|(to, _)| *to == stranger).unwrap().1, second, "from which others are reached");
    assert_eq!(count(&told, stranger, first), prefixes, "its way may be another");
}

#[test]
fn of_an_uplink_that_is_removed_the_other_tells() {
    let mut node = Node::new(&["10.1.0.0/16"], &["192.0.2.1", "192.0.2.129"], vec![], vec![]);
    node.input(Input::PacketsFrom(&[ip("198.51.100.7")]));
    let locators = node.control.database().locators().to_vec();
    node.input(Input::Reached { locators, unreachable: vec![ip("192.0.2.1")] });
    node.advance(secs(10));
    let told: Vec<_> = node.smrs.iter().map(|(from, to, _)| (to.ip(), *from)).collect();
    assert_eq!(told, [(ip("198.51.100.7"), ip("192.0.2.129")); 2]);
}

#[test]
fn map_requests_and_map_registers_without_an_answer_are_sent_from_the_other_uplink() {
    let uplinks = ["192.0.2.1", "192.0.2.129"];
    let mut node = Node::new(&["10.1.0.0/16"], &uplinks, vec![], vec![MapSystem::Node(ip(double::RESOLVER))]);
    let (mut from, mut answered_at) = (Vec::new(), Vec::new());
    node.miss("2001:db8:b::2/128");
    for _ in 0..3 {
        node.advance(millis(2100));
        let (local, _, _) = node.sent[0].clone();
        let (_, request) = node.requests().remove(0);
        from.push(local);
        answered_at.push(request.itr_rlocs[0].ip().unwrap());
    }
    assert!(uplinks.iter().all(|uplink| from.contains(&ip(uplink))), "{from:?}");
    assert_eq!(from, answered_at, "the first locator named is where the answer comes to");
}
