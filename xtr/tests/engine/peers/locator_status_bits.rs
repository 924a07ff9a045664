// SPDX-License-Identifier: GPL-2.0-or-later
//! Locator-status-bits (RFC 9300, section 10).

use std::net::IpAddr;
use std::time::Instant;

use wire::control::MapReply;
use wire::record::{LocatorRecord, MapVersion};
use xtr::engine::Input;
use xtr::map_cache::{Event, Forwarding, OwnMapping, Update};
use xtr::refusal::Refusal;

use super::lab::{Lab, Xtr};
use super::{
    SITES, ip, locator, map, node_with_two_mappings, own, own_locators, record, status_bits, trust, trusting_node,
};
use crate::double::{Node, prefix, secs};

fn with_bits(versions: [u16; 2]) -> Lab {
    Lab::new([trust().with_status_bits(true), trust().with_status_bits(true)], versions)
}

#[test]
fn a_locator_whose_bit_falls_is_not_used_until_it_rises() {
    for versions in [[0, 0], [7, 9]] {
        let mut lab = with_bits(versions);
        let [first, second] = SITES[1].2.map(ip);
        // No SMR tells it, and the version stays: the bits alone do.
        lab.loses_smrs = true;
        lab.run(secs(2));
        assert_eq!((lab.sites[0].last().destination, lab.sites[1].last().lisp().status_bits), (first, Some(0b11)));
        let locators = own_locators(1);
        lab.sites[1].node.input(Input::Reached { locators: locators.clone(), unreachable: vec![first] });
        lab.run(secs(2));
        let said = lab.sites[1].last();
        assert_eq!((said.source, said.lisp().status_bits), (second, Some(0b10)), "of the second in our record");
        assert_eq!(lab.sites[0].last().destination, second, "versions {versions:?}");
        lab.run(secs(10));
        assert_eq!(lab.sites[0].last().destination, second);
        lab.sites[1].node.input(Input::Reached { locators, unreachable: vec![] });
        lab.run(secs(2));
        assert_eq!(lab.sites[0].last().destination, first);
        assert_eq!(lab.sites[0].node.control.counts().locators_lost, 0);
    }
}

#[test]
fn bits_are_of_one_mapping_and_survive_its_refresh_but_no_new_version() {
    let (mut node, event) = node_with_two_mappings();
    let sites = |node: &mut Node| -> Vec<(String, usize)> {
        let upserts = node.updates().into_iter().filter_map(|update| match update {
            Update::Upsert { prefix, entry } => Some((prefix.to_string(), entry.forwarding)),
            _ => None,
        });
        let count = |forwarding| match forwarding {
            Forwarding::Locators(locators) => locators.len(),
            Forwarding::Negative(_) | Forwarding::Binding(_) => 0,
        };
        upserts.map(|(prefix, forwarding)| (prefix, count(forwarding))).collect()
    };
    let of = |net: &str, count| vec![(net.to_owned(), count)];
    node.event(event(0b10, 32, 5));
    assert_eq!(sites(&mut node), of("2001:db8:b::/48", 1), "the other mapping with this locator is left alone");
    let (prefix_b, installed) =
        node.control.map_cache(node.now).find(|(net, _)| **net == prefix("2001:db8:b::/48")).unwrap();
    assert_eq!(node.control.down_by_status_bits(prefix_b, installed), [ip("198.51.100.1")]);
    refresh(&mut node, 5);
    assert_eq!(sites(&mut node), of("2001:db8:b::/48", 1), "of the same version");
    refresh(&mut node, 6);
    assert_eq!(sites(&mut node), of("2001:db8:b::/48", 2), "the next may have other locators");
    node.event(event(0b10, 32, 5));
    assert_eq!((sites(&mut node), node.refused(Refusal::StatusBitsOfAnother)), (vec![], 1));
}

#[test]
fn bits_count_the_locators_of_the_record_those_that_are_not_used_among_them() {
    let mut node = trusting_node();
    let multicast = LocatorRecord::new(ip("224.0.0.1"), 1, 100);
    let locators = vec![multicast, locator("198.51.100.1"), locator("198.51.100.2")];
    map(&mut node, "2001:db8:b::1/128", record("2001:db8:b::/48", 5, locators));
    node.updates();
    node.event(status_bits("198.51.100.2", 0b101, 32, 5));
    let locators = locators_told(&mut node);
    assert_eq!(locators, [ip("198.51.100.2")]);
}

#[test]
fn bits_that_leave_no_locator_to_be_used_say_nothing() {
    let both = [ip("198.51.100.1"), ip("198.51.100.2")];
    let (mut node, event) = node_with_two_mappings();
    node.event(event(0b10, 32, 5));
    assert_eq!(locators_told(&mut node), both[1..]);
    node.event(event(0, 32, 5));
    assert_eq!(locators_told(&mut node), both, "all clear is no reason to send nothing");
    let (prefix_b, installed) =
        node.control.map_cache(node.now).find(|(net, _)| **net == prefix("2001:db8:b::/48")).unwrap();
    assert_eq!(node.control.down_by_status_bits(prefix_b, installed), Vec::<IpAddr>::new());
    node.event(event(0b1, 32, 5));
    assert_eq!(locators_told(&mut node), both[..1]);

    let mut node = trusting_node();
    let never = LocatorRecord::new(ip("198.51.100.2"), LocatorRecord::UNUSABLE, 0);
    map(&mut node, "2001:db8:b::1/128", record("2001:db8:b::/48", 5, vec![locator("198.51.100.1"), never]));
    node.updates();
    node.event(status_bits("198.51.100.1", 0b10, 32, 5));
    assert_eq!(locators_told(&mut node), both[..1], "the one that is up is for no packets");
}

#[test]
fn beside_an_instance_nothing_is_said_of_the_ninth_locator() {
    let mut node = trusting_node();
    let locators: Vec<_> = (1..=10).map(|number| locator(&format!("198.51.100.{number}"))).collect();
    map(&mut node, "2001:db8:b::1/128", record("2001:db8:b::/48", 0, locators));
    node.updates();
    node.event(status_bits("198.51.100.10", 0b1111_1110, 8, 0));
    let locators = locators_told(&mut node);
    assert_eq!(locators.len(), 9);
    assert!(!locators.contains(&ip("198.51.100.1")));
}

#[test]
fn a_peer_says_nothing_of_the_mappings_of_another() {
    let (mut node, _) = node_with_two_mappings();
    node.event(status_bits("198.51.100.77", 0, 32, 5));
    node.event(Event::StatusBits {
        prefix: prefix("2001:db8:d::/48"),
        rloc: ip("198.51.100.1"),
        version: MapVersion(5),
        bits: 0,
        width: 32,
    });
    assert_eq!((node.updates(), node.refused(Refusal::StatusBitsOfAnother)), (vec![], 2));
}

#[test]
fn after_a_locator_has_come_or_gone_no_bits_are_sent_for_five_minutes() {
    let mut xtr = Xtr::new(Instant::now(), 0, &trust().with_status_bits(true), 7);
    xtr.node.advance(secs(1));
    let said = |node: &mut Node| {
        let own = node.updates().into_iter().filter_map(|update| match update {
            Update::Own(OwnMapping { version, status_bits, .. }) => Some((version.0, status_bits)),
            _ => None,
        });
        own.collect::<Vec<_>>()
    };
    xtr.node.control.handle_timeout(xtr.node.now);
    xtr.node.collect();
    assert_eq!(said(&mut xtr.node), [(7, Some(0b11))]);
    let three = [own_locators(0), vec![own("192.0.2.9", 1)]].concat();
    xtr.node.input(Input::Locators(three.clone()));
    assert_eq!(said(&mut xtr.node), [(8, None)]);
    xtr.node.advance(secs(299));
    // A change that adds and removes none does not begin anew.
    xtr.node.input(Input::Reached { locators: three, unreachable: vec![ip("192.0.2.2")] });
    assert_eq!(said(&mut xtr.node), []);
    xtr.node.advance(secs(1));
    assert_eq!(said(&mut xtr.node), [(8, Some(0b101))]);
    assert_eq!(xtr.node.control.status_bits(), Some(0b101));
}

/// The last run had other locators: no version says that of a mapping without one.
#[test]
fn after_a_start_with_other_locators_no_bits_are_sent_for_five_minutes() {
    let mut xtr = Xtr::new(Instant::now(), 0, &trust().with_status_bits(true), 0);
    xtr.node.control.pause_status_bits(xtr.node.now);
    let bits = |xtr: &mut Xtr| {
        xtr.node.control.handle_timeout(xtr.node.now);
        (xtr.node.control.is_pausing_status_bits(), xtr.node.control.status_bits())
    };
    assert_eq!(bits(&mut xtr), (true, None));
    xtr.node.advance(secs(299));
    assert_eq!(bits(&mut xtr), (true, None));
    xtr.node.advance(secs(1));
    assert_eq!(bits(&mut xtr), (false, Some(0b11)));
    let mut other = Xtr::new(Instant::now(), 0, &trust(), 0);
    other.node.control.pause_status_bits(other.node.now);
    assert_eq!(bits(&mut other), (false, None), "there are none to pause");
}

/// The locators of the only entry that the packet half was told.
fn locators_told(node: &mut Node) -> Vec<IpAddr> {
    let updates = node.updates();
    let [Update::Upsert { entry, .. }, Update::Peer { .. }] = updates.as_slice() else { panic!("{updates:?}") };
    let Forwarding::Locators(locators) = &entry.forwarding else { panic!("{entry:?}") };
    locators.iter().map(|locator| locator.address).collect()
}

fn refresh(node: &mut Node, version: u16) {
    node.advance(secs(2));
    node.requests();
    node.event(Event::Refresh { prefix: prefix("2001:db8:b::/48") });
    let (_, request) = node.requests().remove(0);
    let locators = vec![locator("198.51.100.1"), locator("198.51.100.2")];
    let records = vec![record("2001:db8:b::/48", version, locators)];
    node.reply(&MapReply { nonce: request.nonce, records, ..MapReply::default() });
}
