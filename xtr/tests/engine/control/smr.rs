// SPDX-License-Identifier: GPL-2.0-or-later
//! Solicit-Map-Requests and what they have asked (RFC 9301, section 6.1).

use std::time::Duration;

use super::answering::request;
use super::resolving::scan;
use crate::double::{Node, RESOLVER, RLOC, prefix, reply_to, secs};
use wire::control::{ControlMessage, MapRequest};
use wire::record::LocatorRecord;
use xtr::map_cache::Event;
use xtr::refusal::Refusal;
use xtr::transport::MapSystem;

const EID: &str = "2001:db8:b::2/128";

pub(super) fn smr(source: &str) -> ControlMessage {
    ControlMessage::from(MapRequest {
        smr: true,
        source_eid: source.parse::<std::net::IpAddr>().unwrap().into(),
        itr_rlocs: vec!["198.51.100.1".parse::<std::net::IpAddr>().unwrap().into()],
        records: vec![wire::control::EidRequest { notify: false, eid: prefix("2001:db8:a::/48").into() }],
        ..MapRequest::default()
    })
}

#[test]
fn an_smr_only_makes_us_ask_about_what_is_cached_once_in_three_seconds() {
    let mut node = Node::plain();
    node.datagram("198.51.100.1:4342", &smr("2001:db8:b::2"));
    assert_eq!(node.refused(Refusal::SmrNotCached), 1);
    let (_, request) = node.miss(EID);
    node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
    node.updates();
    for _ in 0..10 {
        node.datagram("198.51.100.1:4342", &smr("2001:db8:b::2"));
    }
    let requests = node.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].1.smr_invoked);
    assert_eq!(requests[0].1.records[0].eid.ip_prefix(), Some(prefix("2001:db8:b::/48")));
    assert_eq!(node.refused(Refusal::SmrRateLimited), 8, "one is asked about later");
}

/// One EID of a site has moved here: what the site says of its EID-prefix holds for the addresses that were asked for, and its SMRs name the whole.
#[test]
fn an_smr_about_a_prefix_that_has_ours_in_it_is_about_what_was_narrowed_from_it() {
    // The second telling is about those that the first one had no place for, whether it comes at once or three seconds later.
    for pause in [0, 3] {
        let resolvers = vec![MapSystem::Node(RESOLVER.parse().unwrap())];
        let mut node = Node::new(&["10.1.0.7/32"], &[RLOC], vec![], resolvers);
        let narrowed: Vec<String> = (100..150).map(|host| format!("10.1.0.{host}/32")).collect();
        for host in &narrowed {
            let (_, request) = node.miss(host);
            node.reply(&reply_to(&request, &[("10.1.0.0/24", 1440)]));
            assert_eq!(node.upsert().0, prefix(host));
        }
        // What another site has registered is told of by that.
        let (_, other) = node.miss("10.1.0.9/32");
        let mut reply = reply_to(&other, &[("10.1.0.9/32", 1440)]);
        reply.records[0].locators[0] = LocatorRecord::new("198.51.100.9".parse::<std::net::IpAddr>().unwrap(), 1, 100);
        node.reply(&reply);
        node.advance(secs(5));
        let asked = |node: &mut Node| {
            let record = wire::control::EidRequest { notify: false, eid: prefix("10.1.0.0/24").into() };
            let source_eid = "10.1.0.1".parse::<std::net::IpAddr>().unwrap().into();
            let smr = MapRequest { smr: true, source_eid, records: vec![record], ..request("10.1.0.0/24") };
            node.datagram("198.51.100.1:4342", &smr.into());
            let requests: Vec<MapRequest> = node.requests().into_iter().map(|(_, request)| request).collect();
            assert!(requests.iter().all(|request| request.smr_invoked));
            // Each is answered, and narrowed again.
            requests.iter().for_each(|request| node.reply(&reply_to(request, &[("10.1.0.0/24", 1440)])));
            requests.iter().map(|request| request.records[0].eid.ip_prefix().unwrap()).collect::<Vec<_>>()
        };
        let first = asked(&mut node);
        assert_eq!(first.len(), xtr::resolve::limits::SMR_RECORDS, "{first:?}");
        node.advance(secs(pause));
        let mut all = [first, asked(&mut node)].concat();
        all.sort();
        all.dedup();
        let expected: Vec<_> = narrowed.iter().map(|host| prefix(host)).collect();
        assert_eq!(all, expected, "{pause} s later");
        assert_eq!(node.refused(Refusal::SmrNotCached), 0);
    }
}

/// A Map-Server answers with less than the EID-prefix of a site that has another one inside; the site's SMRs name the whole. Who is no locator of
/// what is cached may be anybody, and whoever names everything in the name of one that is has no more than a few asked about.
#[test]
fn an_smr_about_a_whole_is_about_the_parts_of_it_that_lead_to_who_sends_it() {
    let about = |whole: &str, rloc: &str| {
        let record = wire::control::EidRequest { notify: false, eid: prefix(whole).into() };
        let itr_rlocs = vec![rloc.parse::<std::net::IpAddr>().unwrap().into()];
        let source_eid = "10.77.0.1".parse::<std::net::IpAddr>().unwrap().into();
        ControlMessage::from(MapRequest {
            smr: true,
            source_eid,
            itr_rlocs,
            records: vec![record],
            ..MapRequest::default()
        })
    };
    let mut node = Node::plain();
    let asked = |node: &mut Node| {
        let requests: Vec<MapRequest> = node.requests().into_iter().map(|(_, request)| request).collect();
        let about: Vec<_> = requests.iter().map(|request| request.records[0].eid.ip_prefix().unwrap()).collect();
        about
            .iter()
            .zip(&requests)
            .for_each(|(about, of)| node.reply(&reply_to(of, &[(&about.net.to_string(), 1440)])));
        about
    };
    let sites: Vec<String> = (0..100).map(|site| format!("10.77.{site}.128/25")).collect();
    for site in &sites {
        let (_, request) = node.miss(&site.replace("128/25", "130/32"));
        node.reply(&reply_to(&request, &[(site, 1440)]));
        node.advance(secs(1));
    }
    node.updates();
    node.requests();
    node.datagram("198.51.100.66:4342", &about("10.77.7.0/24", "198.51.100.66"));
    assert_eq!((asked(&mut node), node.refused(Refusal::SmrNotCached)), (vec![], 1), "it is none of theirs");
    for told in 0..2 {
        node.datagram("198.51.100.1:4342", &about("10.77.7.0/24", "198.51.100.1"));
        let expected = if told == 0 { vec![prefix("10.77.7.128/25")] } else { vec![] };
        assert_eq!(asked(&mut node), expected, "once in three seconds");
    }
    node.advance(secs(3));
    assert_eq!(asked(&mut node), [prefix("10.77.7.128/25")], "what was told again is asked about later");
    assert_eq!(node.refused(Refusal::SmrNotCached), 1);
    // The second telling is of those that the first one had no place for, whether it comes at once or three seconds later.
    for pause in [0, 3] {
        node.advance(secs(10));
        node.datagram("198.51.100.1:4342", &about("0.0.0.0/0", "198.51.100.1"));
        let first = asked(&mut node);
        node.advance(secs(pause));
        node.datagram("198.51.100.1:4342", &about("0.0.0.0/0", "198.51.100.1"));
        let mut all = [first, asked(&mut node)].concat();
        assert_eq!(all.len(), 2 * xtr::resolve::limits::SMR_RECORDS, "{pause} s later");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 2 * xtr::resolve::limits::SMR_RECORDS, "{pause} s later");
    }
}

/// Sources that nobody answers for are made up at will, and each is asked about for a minute and a half. Hosts of the site may scan meanwhile.
#[test]
fn what_is_said_to_have_changed_is_asked_about_while_sources_are_that_nobody_answers_for() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
    node.advance(secs(5));
    for second in 0..20 {
        for host in 0..20 {
            let eid = prefix(&format!("2001:db8:{:x}:{host:x}::1/128", 0x100 + second));
            node.event(Event::Source { eid, rloc: "198.51.100.66".parse().unwrap(), is_known: false });
        }
        node.advance(secs(1));
    }
    node.requests();
    scan(&mut node);
    smr_about(&mut node, "2001:db8:b::2");
    node.advance(secs(5));
    let about_it = |(_, one): &(String, MapRequest)| {
        one.smr_invoked && one.records[0].eid.ip_prefix() == Some(prefix("2001:db8:b::/48"))
    };
    assert!(node.requests().iter().any(about_it));
}

/// RFC 9301, section 6.1: once in three seconds. What has changed since the first answer is heard at the end of them, and not for ever.
#[test]
fn an_smr_within_three_seconds_of_another_is_asked_about_when_they_are_over() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
    node.advance(secs(10));
    node.updates();
    let start = node.now;
    let mut asked = Vec::new();
    for tenth in 0..100 {
        // Two that come 2.9 s apart, and one more about which nobody has been asked for three seconds.
        if [0, 29, 70].contains(&tenth) {
            node.datagram("198.51.100.1:4342", &smr("2001:db8:b::2"));
        }
        for (_, request) in node.requests() {
            assert!(request.smr_invoked);
            asked.push((node.now - start).as_millis());
            node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
        }
        node.advance(Duration::from_millis(100));
    }
    assert_eq!(asked, [0, 3000, 7000]);
    assert_eq!(node.refused(Refusal::SmrRateLimited), 0);
}

/// RFC 9301, section 5.2: a receiver MUST process Map-Requests of several records.
#[test]
fn every_record_of_an_smr_is_looked_at() {
    let mut node = Node::plain();
    for site in ["2001:db8:b::/48", "2001:db8:c::/48"] {
        let (_, request) = node.miss(&site.replace("/48", "2/128"));
        node.reply(&reply_to(&request, &[(site, 1440)]));
    }
    let records = ["2001:db8:c::/48", "2001:db8:b::/48", "10.77.0.0/16"];
    let record = |eid: &&str| wire::control::EidRequest { notify: false, eid: prefix(eid).into() };
    let smr = MapRequest { smr: true, records: records.iter().map(record).collect(), ..request("10.1.0.0/16") };
    node.datagram("198.51.100.1:4342", &smr.into());
    assert_eq!(node.requests().iter().filter(|(_, request)| request.smr_invoked).count(), 2);
    assert_eq!(node.refused(Refusal::SmrNotCached), 0);
}

#[test]
fn a_flood_of_smrs_leaves_room_for_packets() {
    let mut node = Node::plain();
    let cached: Vec<String> = (0..600).map(|site| format!("10.{}.{}.0/24", 100 + site / 256, site % 256)).collect();
    for site in &cached {
        let (_, request) = node.miss(&site.replace(".0/24", ".1/32"));
        node.reply(&reply_to(&request, &[(site, 1440)]));
    }
    node.advance(secs(5));
    node.requests();
    for site in &cached {
        let source: std::net::IpAddr = site.replace(".0/24", ".9").parse().unwrap();
        let smr = MapRequest { smr: true, source_eid: source.into(), ..request("10.1.0.0/16") };
        node.datagram("198.51.100.9:4342", &smr.into());
    }
    let requests = node.requests();
    assert_eq!(requests.len(), xtr::resolve::limits::SMR_CONVERSATIONS);
    assert_eq!(node.refused(Refusal::RequestTableFull), 0, "the others wait");
    node.miss(EID);
    assert_eq!(scan(&mut node), xtr::resolve::limits::MISS_CONVERSATIONS - 1, "none less for packets");

    // As others are answered, those that wait are asked about, once each.
    let mut asked: Vec<_> = requests.iter().map(|(_, request)| request.records[0].eid.ip_prefix().unwrap()).collect();
    let mut open = requests;
    while !open.is_empty() {
        for (_, request) in std::mem::take(&mut open) {
            let prefix = request.records[0].eid.ip_prefix().unwrap();
            node.reply(&reply_to(&request, &[(&prefix.net.to_string(), 1440)]));
        }
        open = node.requests();
        assert!(open.len() <= xtr::resolve::limits::SMR_CONVERSATIONS && open.iter().all(|(_, one)| one.smr_invoked));
        asked.extend(open.iter().map(|(_, request)| request.records[0].eid.ip_prefix().unwrap()));
    }
    asked.sort();
    assert_eq!(asked, cached.iter().map(|site| prefix(site)).collect::<Vec<_>>());
}

pub(super) fn smr_about(node: &mut Node, eid: &str) {
    let smr =
        MapRequest { smr: true, source_eid: eid.parse::<std::net::IpAddr>().unwrap().into(), ..request("10.1.0.0/16") };
    node.datagram("198.51.100.9:4342", &smr.into());
}

/// The map system is silent when an SMR comes, or has been for so long that the EID-prefix rests.
#[test]
fn what_is_said_to_have_changed_is_asked_about_until_somebody_answers() {
    for is_resting in [false, true] {
        let mut node = Node::plain();
        let (_, first) = node.miss(EID);
        node.reply(&reply_to(&first, &[("2001:db8:b::/48", 1440)]));
        node.advance(secs(5));
        if is_resting {
            node.event(Event::Refresh { prefix: prefix("2001:db8:b::/48") });
            node.advance(secs(60));
        }
        node.requests();
        smr_about(&mut node, "2001:db8:b::2");
        assert_eq!(node.requests().len(), usize::from(!is_resting));
        // Eleven tries and a rest, or what is left of it.
        node.advance(secs(if is_resting { 25 } else { 85 }));
        node.requests();
        node.advance(secs(10));
        let (_, request) = node.requests().pop().expect("it is asked on");
        assert!(request.smr_invoked);
        node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
        node.advance(secs(300));
        assert_eq!(node.requests().len(), 0, "it is known now");
    }
}

/// Whoever sends packets from the core with a new source has it looked for in time.
#[test]
fn what_is_said_to_have_changed_and_nobody_answers_for_makes_room_and_is_asked_about_in_turn() {
    let mut node = Node::plain();
    let cached: Vec<String> = (0..400).map(|site| format!("10.{}.{}.0/24", 100 + site / 256, site % 256)).collect();
    for site in &cached {
        let (_, request) = node.miss(&site.replace(".0/24", ".1/32"));
        node.reply(&reply_to(&request, &[(site, 1440)]));
    }
    node.advance(secs(5));
    node.requests();
    let tell = |node: &mut Node| cached.iter().for_each(|site| smr_about(node, &site.replace(".0/24", ".9")));
    tell(&mut node);
    // All tries, and the rest.
    node.advance(secs(100));
    tell(&mut node);
    let full = node.refused(Refusal::RequestTableFull);
    let (eid, rloc) = (prefix("10.200.0.1/32"), "203.0.113.66".parse().unwrap());
    node.event(Event::Source { eid, rloc, is_known: false });
    assert_eq!(node.refused(Refusal::RequestTableFull), full);
    node.requests();
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..700 {
        node.advance(secs(1));
        let requests = node.requests();
        asked.extend(requests.iter().map(|(_, request)| request.records[0].eid.ip_prefix().unwrap()));
    }
    assert!(cached.iter().all(|site| asked.contains(&prefix(site))), "{}", asked.len());
}

/// The rate limit for Map-Requests still holds it back then, and the map system falls silent.
#[test]
fn an_smr_within_a_second_of_an_answer_is_asked_about_until_somebody_answers() {
    let mut node = Node::plain();
    let (_, first) = node.miss(EID);
    node.reply(&reply_to(&first, &[("2001:db8:b::/48", 1440)]));
    node.advance(secs(5));
    node.event(Event::Refresh { prefix: prefix("2001:db8:b::/48") });
    let (_, refresh) = node.requests().remove(0);
    node.reply(&reply_to(&refresh, &[("2001:db8:b::/48", 1440)]));
    smr_about(&mut node, "2001:db8:b::2");
    assert_eq!(node.requests().len(), 0);
    node.advance(secs(80));
    assert!(node.requests().len() > 1);
    node.advance(secs(30));
    assert!(!node.requests().is_empty(), "it is asked on");
}
