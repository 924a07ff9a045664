// SPDX-License-Identifier: GPL-2.0-or-later
//! A locator of ours is left for the next one: a second uplink.

use std::net::IpAddr;

use wire::control::MapReply;
use xtr::database::OwnLocator;
use xtr::engine::Input;
use xtr::map_cache::Event;
use xtr::reach::{ProbedLocator, Standing};
use xtr::transport::MapSystem;

use super::lab::Lab;
use super::{answer_from, ip, map_sites, millis, own};
use crate::double::{self, Node, secs};

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

/// The preferred locator and the backup of [`Lab::with_uplinks`], when the way from the first one has just failed and packets have left it.
fn left_for_the_backup(narrow: &str) -> Lab {
    let uplinks = ["192.0.2.1", "192.0.2.129"];
    let mut lab = Lab::with_uplinks(&uplinks).finding_path_mtus();
    lab.narrow_uplink = Some((ip(narrow), 1350));
    lab.run(secs(60));
    lab.dead_uplink = Some(ip(uplinks[0]));
    while lab.sources.last().unwrap().1 == ip(uplinks[0]) {
        lab.run(millis(10));
    }
    lab
}

#[test]
fn the_path_mtu_of_the_way_that_is_left_is_left_with_it() {
    let mut lab = left_for_the_backup("192.0.2.1");
    // What is shown is a second old.
    lab.run(millis(1100));
    assert_eq!(lab.path_mtu("198.51.100.1"), 1500);
}

#[test]
fn the_path_mtu_of_the_way_that_is_taken_is_looked_for_at_once() {
    let mut lab = left_for_the_backup("192.0.2.129");
    assert_eq!(lab.path_mtu("198.51.100.1"), 1500);
    lab.run(secs(5));
    let found = lab.path_mtu("198.51.100.1");
    assert!((1316..=1350).contains(&found), "{found}");
}

/// A link that both ways have in common, behind which nobody says how wide it is.
#[test]
fn where_both_ways_are_narrow_no_packet_is_too_long_for_the_one_that_is_taken() {
    let uplinks = ["192.0.2.1", "192.0.2.129"];
    let mut lab = Lab::with_uplinks(&uplinks).finding_path_mtus();
    lab.width = 1350;
    lab.run(secs(60));
    let found = lab.path_mtu("198.51.100.1");
    assert!((1342..=1350).contains(&found), "{found}");
    let black_holes = lab.near.control.counts().black_holes;
    lab.dead_uplink = Some(ip(uplinks[0]));
    for _ in 0..6000 {
        lab.run(millis(10));
        let (from, longest) = (lab.sources.last().unwrap().1, found - 36);
        assert!(lab.takes(longest) && !lab.takes(1350 - 36 + 1), "packets that leave from {from}");
    }
    assert_eq!(lab.sources.last().unwrap().1, ip(uplinks[1]));
    assert_eq!(lab.near.control.counts().black_holes, black_holes);
    // The way that is taken was looked at, and no longer one gets there.
    let kept = lab.path_mtu("198.51.100.1");
    assert!((1342..=1350).contains(&kept), "{kept}");
}

#[test]
fn the_path_mtu_of_a_preferred_way_is_known_when_it_is_taken_again() {
    let uplinks = ["192.0.2.1", "192.0.2.129"];
    let mut lab = left_for_the_backup(uplinks[0]);
    lab.run(secs(10));
    assert!(lab.takes(1360), "the other one is wide");
    lab.dead_uplink = None;
    let black_holes = lab.near.control.counts().black_holes;
    for _ in 0..6000 {
        lab.run(millis(10));
        assert!(lab.sources.last().unwrap().1 == ip(uplinks[1]) || !lab.takes(1350 - 36 + 1));
    }
    assert_eq!(lab.sources.last().unwrap().1, ip(uplinks[0]));
    assert_eq!(lab.near.control.counts().black_holes, black_holes);
}

#[test]
fn a_way_that_is_narrower_than_the_narrow_one_that_is_left_is_found_as_soon_as_any() {
    let mut lab = Lab::with_uplinks(&["192.0.2.1", "192.0.2.129"]).finding_path_mtus();
    (lab.width, lab.narrow_uplink) = (1380, Some((ip("192.0.2.129"), 1330)));
    lab.run(secs(60));
    lab.dead_uplink = Some(ip("192.0.2.1"));
    while lab.sources.last().unwrap().1 == ip("192.0.2.1") {
        lab.run(millis(10));
    }
    lab.run(secs(3));
    assert!(!lab.takes(1330 - 36 + 1));
    lab.run(secs(30));
    let found = lab.path_mtu("198.51.100.1");
    assert!((1322..=1330).contains(&found), "{found}");
}

#[test]
fn packets_that_leave_by_another_uplink_are_as_long_as_its_interface_takes() {
    let [first, second] = ["192.0.2.1", "192.0.2.129"];
    let mut lab = Lab::with_uplinks(&[first, second]).finding_path_mtus();
    lab.near.input(Input::InterfaceMtus([(ip(first), 1380), (ip(second), 1320)].into()));
    lab.run(secs(60));
    let takes_as_its_own = |lab: &mut Lab, mtu: usize| lab.takes(mtu - 36) && !lab.takes(mtu - 36 + 1);
    assert!(takes_as_its_own(&mut lab, 1380));
    lab.dead_uplink = Some(ip(first));
    while lab.sources.last().unwrap().1 == ip(first) {
        lab.run(millis(10));
    }
    for _ in 0..2000 {
        lab.run(millis(10));
        assert!(takes_as_its_own(&mut lab, 1320));
    }
    assert_eq!(lab.near.control.path_mtu(ip("198.51.100.1")), Some(1320));
    lab.dead_uplink = None;
    lab.run(secs(40));
    assert!(lab.sources.last().unwrap().1 == ip(first) && takes_as_its_own(&mut lab, 1380));
    assert_eq!(lab.near.control.counts().black_holes, 0);
}

#[test]
fn of_an_uplink_whose_address_goes_its_interface_leaves_no_path_mtu_to_the_next() {
    let [first, second] = ["192.0.2.1", "192.0.2.129"];
    // At once, or when no locator has been there for a while.
    for is_at_once in [true, false] {
        let mut lab = Lab::with_uplinks(&[first, second]).finding_path_mtus();
        lab.takes_padding = false;
        lab.near.input(Input::InterfaceMtus([(ip(first), 1380), (ip(second), 1500)].into()));
        lab.run(secs(60));
        assert!(lab.takes(1380 - 36) && !lab.takes(1380 - 36 + 1));
        let mut reached = |unreachable: &[&str]| {
            let is_there = |rloc: &&str| !unreachable.contains(rloc);
            let mtus = [(first, 1380), (second, 1500)].into_iter().filter(|(rloc, _)| is_there(rloc));
            lab.near.input(Input::InterfaceMtus(mtus.map(|(rloc, mtu)| (ip(rloc), mtu)).collect()));
            let locators = [first, second].into_iter().zip(1..);
            lab.near.input(Input::Reached {
                locators: locators.map(|(rloc, priority)| OwnLocator { priority, ..own(rloc) }).collect(),
                unreachable: unreachable.iter().map(|rloc| ip(rloc)).collect(),
            });
        };
        if !is_at_once {
            reached(&[first, second]);
        }
        reached(&[first]);
        lab.run(secs(3));
        assert_eq!(lab.sources.last().unwrap().1, ip(second));
        assert!(lab.takes(1360));
        assert_eq!(lab.near.control.path_mtu(ip("198.51.100.1")), Some(1500));
    }
}

/// It was a router that said how narrow the former way is, and nobody answers long probes.
#[test]
fn the_path_mtu_of_a_former_way_that_nothing_speaks_for_ends() {
    let mut lab = Lab::with_uplinks(&["192.0.2.1", "192.0.2.129"]).finding_path_mtus();
    lab.takes_padding = false;
    lab.run(secs(3));
    lab.report(1350);
    for turn in 0..80 {
        lab.dead_uplink = Some(ip(["192.0.2.1", "192.0.2.129"][turn % 2]));
        lab.run(secs(10));
    }
    assert_eq!(lab.path_mtu("198.51.100.1"), 1500);
}

#[test]
fn another_preferred_locator_has_path_mtus_of_its_own_at_once() {
    for (narrow, expected) in [("192.0.2.1", 1500..=1500), ("192.0.2.129", 1316..=1350)] {
        let mut lab = Lab::with_uplinks(&["192.0.2.1", "192.0.2.129"]).finding_path_mtus();
        lab.narrow_uplink = Some((ip(narrow), 1350));
        lab.run(secs(60));
        let turned = ["192.0.2.129", "192.0.2.1"].into_iter().zip(1..);
        lab.near.input(Input::Locators(turned.map(|(rloc, priority)| OwnLocator { priority, ..own(rloc) }).collect()));
        lab.run(secs(6));
        assert_eq!(lab.sources.last().unwrap().1, ip("192.0.2.129"));
        let found = lab.path_mtu("198.51.100.1");
        assert!(expected.contains(&found), "{found} where that of {narrow} is narrow");
    }
}

/// What they find from the uplink that is left is asked of all, as each way has a path MTU of its own.
#[test]
fn of_four_thousand_locators_those_that_are_not_reached_by_the_next_uplink_are_left_within_four_seconds() {
    let (first, second) = (own("192.0.2.1"), OwnLocator { priority: 2, ..own("192.0.2.129") });
    let mut node = Node::plain();
    node.control = node.control.finding_path_mtus(1360);
    node.input(Input::Locators(vec![first, second]));
    map_sites(&mut node, 4000);
    let carry = |node: &mut Node, time, dead: &[IpAddr]| {
        let end = node.now + time;
        while node.now < end {
            node.advance(millis(10));
            for (_, to, probe) in std::mem::take(&mut node.probes) {
                if !dead.contains(&to.ip()) {
                    answer_from(
                        node,
                        &to.ip().to_string(),
                        MapReply { probe: true, nonce: probe.nonce, ..MapReply::default() },
                    );
                }
            }
        }
    };
    carry(&mut node, secs(8), &[]);
    assert!(node.control.probed_locators(node.now).all(|shown| shown.standing == Standing::Up));
    let dead: Vec<IpAddr> = node.control.probed_locators(node.now).map(|shown| shown.address).take(100).collect();
    node.input(Input::Locators(vec![second]));
    carry(&mut node, secs(1), &dead);
    dead.iter().for_each(|rloc| node.event(Event::Silent { rloc: *rloc }));
    carry(&mut node, secs(3), &dead);
    let is_left = |rloc: &IpAddr| {
        node.control.probed_locators(node.now).any(|shown| shown.address == *rloc && shown.standing == Standing::Down)
    };
    assert_eq!(dead.iter().filter(|rloc| is_left(rloc)).count(), dead.len());
    assert_eq!(node.control.counts().locators_lost, dead.len() as u64);
    carry(&mut node, secs(2), &dead);
    let is_looked_at =
        |shown: ProbedLocator| dead.contains(&shown.address) || shown.answered_ago.is_some_and(|ago| ago < secs(6));
    assert!(node.control.probed_locators(node.now).all(is_looked_at), "none of the others waits for long");
}

/// The suspicion comes while there is none, or the next probe of its burst would.
#[test]
fn a_suspicion_that_meets_a_moment_without_a_locator_of_ours_is_looked_into_when_there_is_one_again() {
    for probes in 0..=2 {
        let mut node = Node::plain();
        map_sites(&mut node, 1);
        node.advance(secs(1));
        for (_, to, probe) in std::mem::take(&mut node.probes) {
            let reply = MapReply { probe: true, nonce: probe.nonce, ..MapReply::default() };
            answer_from(&mut node, &to.ip().to_string(), reply);
        }
        let shown = |node: &Node| node.control.probed_locators(node.now).next().unwrap();
        let rloc = shown(&node).address;
        assert_eq!(shown(&node).standing, Standing::Up);
        // It dies now.
        let locators = node.control.database().locators().to_vec();
        let is_reached = |node: &mut Node, is_there: bool| {
            let unreachable = if is_there { vec![] } else { locators.iter().map(|own| own.address).collect() };
            node.input(Input::Reached { locators: locators.clone(), unreachable });
        };
        if probes > 0 {
            node.event(Event::Silent { rloc });
            node.advance(millis(700 * (probes - 1) + 100));
            assert_eq!(node.probes.len() as u64, probes);
        }
        is_reached(&mut node, false);
        if probes == 0 {
            node.event(Event::Silent { rloc });
        }
        node.advance(secs(1));
        is_reached(&mut node, true);
        node.advance(millis(2600));
        assert_eq!(shown(&node).standing, Standing::Down, "behind {probes} probes");
    }
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
