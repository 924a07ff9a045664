// SPDX-License-Identifier: GPL-2.0-or-later
//! One rule at a time.

use std::net::Ipv6Addr;

use super::node::{DAY, Event, Faults, HOUR, MINUTE, Node, SECOND, START};

fn only(node: &Node) -> Ipv6Addr {
    let preferred = node.preferred();
    assert_eq!(preferred.len(), 1, "{:?}", node.kernel);
    preferred[0]
}

/// A node that began at noon and has its first address.
fn at_noon() -> Node {
    let mut node = Node::new(7, START + 12 * HOUR, true);
    node.run(MINUTE);
    node
}

/// Seconds that its address is still preferred and valid.
fn lives(node: &Node) -> (u64, u64) {
    let address = node.kernel[&only(node)];
    ((address.preferred_end - node.uptime) / SECOND, (address.valid_end - node.uptime) / SECOND)
}

#[test]
fn a_whole_day_is_86700_seconds_preferred_and_172800_valid() {
    let mut node = at_noon();
    node.run(12 * HOUR - MINUTE);
    let at_midnight = |node: &Node| node.kernel.values().find(|address| address.tentative).copied().unwrap();
    let address = at_midnight(&node);
    assert_eq!((address.preferred_end - node.uptime) / SECOND, 86_700);
    assert_eq!((address.valid_end - node.uptime) / SECOND, 172_800);
}

#[test]
fn the_first_address_is_used_once_it_is_published_and_until_midnight() {
    let mut node = Node::new(7, START + 12 * HOUR, true);
    node.run(10 * SECOND);
    assert_eq!(lives(&node), (12 * 3600 + 300 - 10, 36 * 3600 - 10));
}

#[test]
fn the_first_address_is_used_unpublished_if_publishing_fails_or_takes_too_long() {
    for (faults, patience) in [
        (Faults { publish: true, ..Faults::default() }, 9 * SECOND),
        (Faults { silence: true, ..Faults::default() }, 12 * SECOND),
    ] {
        let mut node = Node::new(8, START + 12 * HOUR, true);
        node.faults = faults;
        node.run(patience);
        only(&node);
    }
}

#[test]
fn what_is_taken_off_the_interface_comes_back_with_what_is_left_of_its_lives() {
    let mut node = at_noon();
    node.run(12 * HOUR);
    let ends = |node: &Node| -> Vec<_> {
        let ends = node.kernel.iter().map(|(address, it)| (*address, it.preferred_end.max(node.uptime), it.valid_end));
        ends.collect()
    };
    let before = ends(&node);
    assert_eq!((before.len(), node.preferred().len()), (2, 1), "one of them is relieved");
    node.lose();
    assert_eq!(ends(&node), before);
    // One that is not on the interface yet has its time.
    node.handle(cgeid::temporary::Input::Gone { address: "3fff:ce1::1".parse().unwrap() });
    assert_eq!(ends(&node), before);
    node.run(2 * DAY);
}

#[test]
fn at_midnight_the_old_address_is_deprecated_and_stays_for_a_day() {
    let mut node = at_noon();
    let first = only(&node);
    node.run(12 * HOUR);
    let second = only(&node);
    assert_ne!(first, second);
    assert!(node.kernel[&first].preferred_end <= node.uptime && node.kernel[&first].valid_end > node.uptime);
    let changes: Vec<_> = node.events.iter().filter(|event| !matches!(event, Event::Published(_))).skip(1).collect();
    let midnight = START + DAY + SECOND;
    assert_eq!(changes, [&Event::Deprecated(first, midnight), &Event::InUse(second, midnight)]);
    node.run(DAY - HOUR);
    assert!(node.kernel.contains_key(&first));
    node.run(HOUR);
    assert!(!node.kernel.contains_key(&first), "its 172,800 seconds are over");
    assert!(node.events.contains(&Event::Removed(first, START + 2 * DAY)));
}

#[test]
fn an_unpublished_successor_waits_for_five_minutes_then_comes_all_the_same() {
    let mut node = at_noon();
    let first = only(&node);
    node.faults.publish = true;
    node.run(12 * HOUR);
    assert_eq!(only(&node), first);
    node.run(3 * MINUTE);
    assert_eq!(only(&node), first);
    node.run(MINUTE + 3 * SECOND);
    assert_ne!(only(&node), first);
}

#[test]
fn a_restart_restarts_no_life() {
    let mut node = at_noon();
    let (address, before) = (only(&node), lives(&node));
    node.run(3 * HOUR);
    node.restart();
    node.run(10 * SECOND);
    assert_eq!(only(&node), address);
    let passed = 3 * 3600 + 10;
    assert_eq!(lives(&node), (before.0 - passed, before.1 - passed));
    // After a restart of the machine UTC tells how much time went by.
    node.reboot(HOUR);
    node.run(10 * SECOND);
    assert_eq!(only(&node), address);
    assert_eq!(lives(&node).1, before.1 - passed - 3600 - 10);
}

#[test]
fn an_address_of_unknown_age_is_not_used_again() {
    let mut node = at_noon();
    let address = only(&node);
    node.trusted = false;
    node.reboot(HOUR);
    node.run(MINUTE);
    assert_ne!(only(&node), address);
}

#[test]
fn after_sleep_over_midnights_there_is_one_change() {
    for nights in [1, 2, 5] {
        let mut node = at_noon();
        let first = only(&node);
        node.sleep(nights * DAY);
        node.run(MINUTE);
        let second = only(&node);
        assert_ne!(first, second);
        let uses = node.events.iter().filter(|event| matches!(event, Event::InUse(..))).count();
        assert_eq!(uses, 2);
        assert_eq!(lives(&node).0, (12 * HOUR + 5 * MINUTE - 2 * MINUTE) / SECOND);
    }
}

#[test]
fn a_clock_set_back_over_midnight_makes_no_second_change() {
    let mut node = at_noon();
    node.run(13 * HOUR);
    let second = only(&node);
    node.step(-2 * HOUR as i64);
    node.run(2 * HOUR);
    assert_eq!(only(&node), second);
    node.run(DAY - HOUR);
    assert_ne!(only(&node), second);
}

#[test]
fn a_clock_set_back_for_years_is_followed() {
    let mut node = at_noon();
    let first = only(&node);
    node.step(-400 * DAY as i64);
    node.run(11 * HOUR);
    assert_eq!(only(&node), first);
    node.run(HOUR);
    assert_ne!(only(&node), first);
}

#[test]
fn a_clock_set_back_again_and_again_does_not_keep_an_address_for_ever() {
    let mut node = at_noon();
    let first = only(&node);
    for _ in 0..8 {
        node.run(6 * HOUR);
        node.step(-6 * HOUR as i64);
    }
    assert!(!node.preferred().contains(&first));
}

#[test]
fn a_clock_set_forward_over_midnight_changes_at_once() {
    let mut node = at_noon();
    let first = only(&node);
    node.step(13 * HOUR as i64);
    // Until the new one can be found, the old one goes on.
    assert_eq!(only(&node), first);
    node.run(20 * SECOND);
    assert_ne!(only(&node), first);
}

#[test]
fn without_utc_the_timers_of_rfc_8981_decide() {
    let mut spans = Vec::new();
    for seed in 0..12 {
        let mut node = Node::new(seed, START + 12 * HOUR, false);
        node.run(2 * DAY);
        let uses: Vec<_> = node
            .events
            .iter()
            .filter_map(|event| if let Event::InUse(_, utc) = event { Some(*utc) } else { None })
            .collect();
        let span = uses[1] - uses[0];
        // 86,700 s less DESYNC_FACTOR, less the five minutes of overlap, within the seconds that an answer takes.
        assert!((51_720 * SECOND..=86_410 * SECOND).contains(&span), "{span}");
        spans.push(span / HOUR);
    }
    spans.sort_unstable();
    spans.dedup();
    assert!(spans.len() > 4, "they do not change together: {spans:?}");
}

#[test]
fn utc_that_appears_late_brings_the_next_change_to_midnight() {
    let mut node = Node::new(9, START + 12 * HOUR, false);
    node.run(HOUR);
    let first = only(&node);
    node.trusted = true;
    node.run(11 * HOUR - SECOND);
    assert_eq!(only(&node), first);
    node.run(3 * SECOND);
    assert_ne!(only(&node), first);
}

#[test]
fn utc_that_goes_away_leaves_the_midnight_that_was_known() {
    let mut node = at_noon();
    let first = only(&node);
    node.trusted = false;
    node.run(12 * HOUR - MINUTE);
    assert_eq!(only(&node), first);
    node.run(3 * SECOND);
    assert_ne!(only(&node), first);
}

#[test]
fn a_duplicate_is_replaced_at_once_but_not_without_end() {
    let mut node = Node::new(10, START + 12 * HOUR, true);
    node.faults.conflicts = 2;
    node.run(40 * SECOND);
    only(&node);
    // A neighbour that claims everything drives three keys an hour.
    let mut node = Node::new(11, START + 12 * HOUR, true);
    node.faults.conflicts = 100;
    node.run(59 * MINUTE);
    assert_eq!(node.faults.conflicts, 97);
    node.faults.conflicts = 0;
    node.run(3 * MINUTE);
    only(&node);
}

#[test]
fn what_the_system_refuses_is_tried_again() {
    let mut node = Node::new(12, START + 12 * HOUR, true);
    node.faults = Faults { assign: true, generate: true, publish: true, ..Faults::default() };
    node.run(HOUR);
    assert!(node.preferred().is_empty());
    node.faults = Faults::default();
    node.run(MINUTE);
    only(&node);
}

#[test]
fn one_that_the_system_refused_past_a_midnight_is_not_used_for_a_moment() {
    let mut node = at_noon();
    let first = only(&node);
    node.faults.assign = true;
    node.run(DAY + 13 * HOUR);
    node.faults.assign = false;
    node.run(2 * MINUTE);
    let second = only(&node);
    assert_ne!(first, second);
    assert_eq!(node.kernel.keys().copied().collect::<Vec<_>>(), [second], "no other came to be deprecated at once");
    assert!(lives(&node).0 > 20 * 3600, "it is used for the day that has begun");
}

#[test]
fn the_next_key_is_not_made_before_the_window() {
    let mut node = at_noon();
    let published = |node: &Node| node.events.iter().filter(|event| matches!(event, Event::Published(_))).count();
    node.run(6 * HOUR - 2 * MINUTE);
    assert_eq!(published(&node), 1);
    node.run(6 * HOUR);
    assert_eq!(published(&node), 2);
}
