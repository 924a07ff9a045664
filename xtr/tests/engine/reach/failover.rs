// SPDX-License-Identifier: GPL-2.0-or-later
//! A locator of another site is left for its next one.

use std::net::{IpAddr, SocketAddr};

use wire::address::Address;
use wire::control::{EidRequest, MapReply, MapRequest, Nonce};
use wire::record::LocatorRecord;
use xtr::map_cache::Update;
use xtr::reach::limits;

use super::lab::Lab;
use super::{PEER, SITE, answer_from, ip, millis, probe_about};
use crate::double::{Node, prefix, reply_to, secs};

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
    node.advance(millis(800));
    assert_eq!(node.probes.len(), 0, "it is in doubt about us, and probes from both");
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
    let spoof = |node: &mut Node, net: [u8; 3], eid: &str| {
        for number in 1..=60 {
            let from = IpAddr::from([net[0], net[1], net[2], number]);
            let probe = MapRequest { itr_rlocs: vec![from.into()], ..probe_about(eid) };
            node.datagram(&SocketAddr::new(from, 4342).to_string(), &probe.into());
        }
        node.advance(secs(1));
        std::mem::take(&mut node.probes).len()
    };
    assert_eq!(spoof(&mut node, [203, 0, 113], "10.1.0.0/16"), 0, "from the preferred ones no probe was missed");
    assert_eq!(spoof(&mut node, [198, 51, 100], "10.1.0.0/16"), 0);
    assert_eq!(spoof(&mut node, [203, 0, 113], "10.99.0.0/16"), 0, "about an EID that is not ours");
    let bursts = limits::DOUBTS_PER_SECOND as usize * 2;
    assert_eq!(spoof(&mut node, [203, 0, 113], "10.1.0.0/16"), bursts, "two probes each within a second");
}

#[test]
fn a_site_whose_xtrs_both_probe_us_is_not_probed_for_each_of_their_probes() {
    let mut node = sites_with_backups(1);
    let locators = [[198, 51, 100, 1], [203, 0, 113, 1]].map(IpAddr::from);
    let mut sent = 0;
    for turn in 0..240 {
        let from = locators[turn % 2];
        let probe = MapRequest { itr_rlocs: vec![from.into()], ..probe_about("10.1.0.0/16") };
        node.datagram(&SocketAddr::new(from, 4342).to_string(), &probe.into());
        for _ in 0..25 {
            node.advance(millis(100));
            for (_, to, probe) in std::mem::take(&mut node.probes) {
                sent += 1;
                let reply = MapReply { probe: true, nonce: probe.nonce, ..MapReply::default() };
                answer_from(&mut node, &to.ip().to_string(), reply);
            }
        }
    }
    // The routine probes of two locators, and as many doubts of the one that is preferred.
    assert!((2 * 600 / 33..=3 * (600 / 27 + 1)).contains(&sent), "{sent} in ten minutes");
}
