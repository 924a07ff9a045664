// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Registers and Map-Notifies (RFC 9301, sections 5.6 and 5.7), against a Map-Server that fits in this file.

use crate::double::{Node, RLOC, SERVER, key, prefix, secs};
use wire::address::EidPrefix;
use wire::control::auth::{self, Algorithm, TagForm};
use wire::control::{MapNotify, Nonce};
use wire::record::Ttl;
use xtr::database::OwnLocator;
use xtr::engine::Input;
use xtr::refusal::Refusal;
use xtr::register::limits;

#[test]
fn registers_are_repeated_until_confirmed_then_every_minute() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let start = node.now;
    let mut times = Vec::new();
    let mut last = Nonce(0);
    for _ in 0..8 {
        let register = node.register();
        assert!(register.1.nonce > last, "each has a greater nonce");
        last = register.1.nonce;
        times.push((node.now - start).as_secs());
        node.run_to_deadline();
    }
    assert_eq!(times, [0, 1, 3, 7, 15, 31, 63, 123]);
    let (_, register) = node.register();
    let confirmed = node.now;
    node.notify(&register, |notify| notify);
    node.run_to_deadline();
    assert_eq!(node.now - confirmed, secs(60));
    assert_eq!(node.register().1.records.len(), 2);
}

#[test]
fn each_algorithm_verifies_at_the_server() {
    let cases = [
        (Algorithm::HkdfSha256, TagForm::Truncated, 16),
        (Algorithm::HmacSha256, TagForm::Truncated, 16),
        (Algorithm::HmacSha256, TagForm::Untruncated, 32),
        (Algorithm::HmacSha1, TagForm::Untruncated, 20),
    ];
    for (algorithm, form, length) in cases {
        let mut node = Node::registering(algorithm, form);
        let (payload, register) = node.register();
        assert_eq!(register.auth.tag.len(), length);
        let accept = auth::Accept { untruncated: true, narrow_coverage: false };
        assert_eq!(auth::verify(&payload, &key(algorithm), accept), Ok(()));
        assert!(register.want_notify);
    }
}

#[test]
fn forged_and_foreign_notifies_change_nothing() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| MapNotify { nonce: Nonce(0), ..notify });
    assert_eq!(node.refused(Refusal::NotifyUnasked), 1);
    node.notify_with(
        &register,
        &auth::AuthKey { secret: auth::Secret::new("wrongkey"), ..key(Algorithm::HmacSha256) },
        |n| n,
    );
    assert_eq!(node.refused(Refusal::NotifyBadTag), 1);
    node.notify(&register, |notify| MapNotify { records: notify.records[..1].to_vec(), ..notify });
    assert_eq!(node.refused(Refusal::NotifyIncomplete), 1);
    node.advance(secs(1));
    assert_eq!(node.registers().len(), 1, "it goes on trying");
    node.notify(&register, |notify| notify);
    node.advance(secs(59));
    assert!(node.registers().is_empty(), "the answer to the first try confirms too");
    node.notify(&register, |notify| notify);
    assert_eq!(node.refused(Refusal::NotifyUnasked), 2, "once");
}

/// A Map-Server that takes longer than a second answers each of two Map-Registers, and one that has changed meanwhile.
#[test]
fn answers_that_come_late_are_not_taken_for_unasked_ones_and_each_counts_once() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Truncated);
    let (_, first) = node.register();
    node.advance(secs(1));
    let (_, second) = node.register();
    let count = |node: &Node| [Refusal::NotifyLate, Refusal::NotifyUnasked].map(|refusal| node.refused(refusal));
    node.notify(&first, |notify| notify);
    assert_eq!(count(&node), [0, 0]);
    node.notify_with(
        &second,
        &auth::AuthKey { secret: auth::Secret::new("wrongkey"), ..key(Algorithm::HmacSha256) },
        |n| n,
    );
    assert_eq!(count(&node), [0, 1], "anybody says so");
    node.notify(&second, |notify| notify);
    assert_eq!(count(&node), [1, 1]);
    node.notify(&second, |notify| notify);
    node.notify(&first, |notify| notify);
    assert_eq!(count(&node), [1, 3], "somebody says it again");
    node.advance(secs(60));
    let (_, before) = node.register();
    let locators = vec![OwnLocator::new("192.0.2.77".parse().unwrap(), 1, 100)];
    node.input(Input::Locators(locators));
    let (_, after) = node.register();
    node.notify(&before, |notify| notify);
    assert_eq!(count(&node), [2, 3]);
    let is_confirmed = |node: &Node| node.control.registrations(node.now).all(|row| row.unanswered == 0);
    assert!(!is_confirmed(&node), "that of the former locators");
    node.notify(&after, |notify| notify);
    assert!(is_confirmed(&node) && node.sent.is_empty(), "late ones are not acknowledged");
}

#[test]
fn an_answer_that_lacks_an_eid_prefix_is_an_answer_and_is_not_late_when_it_comes_again() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Truncated);
    let count = |node: &Node| [Refusal::NotifyLate, Refusal::NotifyUnasked].map(|refusal| node.refused(refusal));
    let (_, first) = node.register();
    node.notify(&first, |notify| MapNotify { records: notify.records[..1].to_vec(), ..notify });
    assert_eq!(node.refused(Refusal::NotifyIncomplete), 1);
    node.advance(limits::FIRST_RETRY);
    let (_, second) = node.register();
    node.notify(&second, |notify| notify);
    node.notify(&first, |notify| notify);
    assert_eq!(count(&node), [0, 1]);
}

#[test]
fn what_is_added_to_a_registration_is_unconfirmed_until_the_map_server_has_confirmed_it() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    // Whether each is confirmed, and whether it is changing.
    let rows = |node: &Node| -> Vec<(Vec<String>, bool, bool)> {
        let names = |prefixes: &[EidPrefix]| prefixes.iter().map(ToString::to_string).collect();
        let rows = node.control.registrations(node.now);
        rows.map(|row| (names(&row.prefixes), row.confirmed_ago.is_some(), row.changing)).collect()
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let before = names(&["2001:db8:a::/48", "10.1.0.0/16"]);
    assert_eq!(rows(&node), [(before, true, false)]);
    node.input(Input::AddEid(prefix("10.9.0.0/16")));
    let (held, added) = (names(&["10.1.0.0/16", "2001:db8:a::/48"]), names(&["10.9.0.0/16"]));
    assert_eq!(rows(&node), [(held.clone(), true, false), (added.clone(), false, false)]);
    let (_, register) = node.register();
    assert_eq!(register.records.len(), 3, "one message");
    node.input(Input::Locators(vec![OwnLocator::new("192.0.2.77".parse().unwrap(), 1, 100)]));
    assert_eq!(rows(&node), [(held, true, true), (added, false, false)], "what it has it has with another locator");
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    assert_eq!(rows(&node), [(names(&["10.1.0.0/16", "10.9.0.0/16", "2001:db8:a::/48"]), true, false)]);
}

#[test]
fn a_nonce_is_on_disk_before_it_is_used() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let mut bound = node.persisted.pop().unwrap();
    for _ in 0..600 {
        for (_, register) in node.registers() {
            assert!(register.nonce <= bound);
        }
        node.run_to_deadline();
        bound = node.persisted.pop().unwrap_or(bound);
    }
}

#[test]
fn a_clean_shutdown_takes_the_registration_back() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    node.input(Input::Shutdown);
    let (_, withdrawal) = node.register();
    assert!(withdrawal.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN && record.locators.is_empty()));
    assert!(!node.control.is_withdrawn());
    node.notify(&withdrawal, |notify| notify);
    assert!(node.control.is_withdrawn());
    node.advance(secs(300));
    assert!(node.registers().is_empty());
}

#[test]
fn a_change_of_locators_is_registered_at_once() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    let moved = xtr::database::OwnLocator::new("192.0.2.77".parse().unwrap(), 1, 100);
    node.input(Input::Locators(vec![moved]));
    let (_, register) = node.register();
    assert_eq!(register.records[0].locators[0].rloc.ip(), Some(moved.address));
}

#[test]
fn what_a_map_server_has_confirmed_otherwise_than_it_is_now_is_said_to_be_changing() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let changing = |node: &Node| {
        let row = node.control.registrations(node.now).next().unwrap();
        row.confirmed_ago.map(|_| row.changing)
    };
    assert_eq!(changing(&node), None, "there is nothing that could change");
    let confirms = |node: &mut Node| {
        let (_, register) = node.register();
        node.notify(&register, |notify| notify);
    };
    confirms(&mut node);
    assert_eq!(changing(&node), Some(false));
    let another = OwnLocator::new("192.0.2.77".parse().unwrap(), 1, 100);
    node.input(Input::Locators(vec![another]));
    assert_eq!(changing(&node), Some(true));
    let (_, register) = node.register();
    node.notify(&register, |notify| MapNotify { records: notify.records[..1].to_vec(), ..notify });
    assert_eq!(changing(&node), Some(true), "not all of it");
    node.advance(limits::FIRST_RETRY);
    confirms(&mut node);
    assert_eq!(changing(&node), Some(false));
    node.advance(limits::REFRESH);
    assert_eq!(changing(&node), Some(false), "a Map-Register that is to be confirmed again says nothing new");
}

#[test]
fn many_prefixes_are_split_over_packets_of_576_octets() {
    let prefixes: Vec<String> = (0..50).map(|n| format!("10.{n}.0.0/16")).collect();
    let mut node = Node::registering_prefixes(&prefixes.iter().map(String::as_str).collect::<Vec<_>>());
    let registers = node.registers();
    assert!(registers.len() > 1);
    assert!(registers.iter().all(|(payload, _)| payload.len() + 28 <= 576));
    let mut seen: Vec<_> =
        registers.iter().flat_map(|(_, register)| &register.records).filter_map(|r| r.eid.ip_prefix()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 50);
}

#[test]
fn what_no_longer_fits_a_packet_with_more_locators_goes_on_as_several_messages() {
    let prefixes: Vec<String> = (0..18).map(|n| format!("10.{n}.0.0/16")).collect();
    let mut node = Node::registering_prefixes(&prefixes.iter().map(String::as_str).collect::<Vec<_>>());
    let (payload, register) = node.register();
    assert!(payload.len() + 28 <= 576 && register.records.len() == 18, "{}", payload.len());
    node.notify(&register, |notify| notify);
    let locators = ["192.0.2.1", "192.0.2.129", "2001:db8::1", "2001:db8::2"];
    let locators = locators.map(|text| OwnLocator::new(text.parse().unwrap(), 1, 100));
    node.input(Input::Locators(locators.to_vec()));
    for round in 0..2 {
        let registers = node.registers();
        assert!(registers.iter().all(|(payload, _)| payload.len() + 28 <= 576), "{round}");
        let records = || registers.iter().flat_map(|(_, register)| &register.records);
        assert!(records().all(|record| record.locators.len() == locators.len()));
        let mut seen: Vec<_> = records().filter_map(|record| record.eid.ip_prefix()).collect();
        seen.sort_unstable();
        assert_eq!(seen, node.control.database().prefixes(), "{round}");
        registers.iter().for_each(|(_, register)| node.notify(register, |notify| notify));
        node.advance(limits::REFRESH);
    }
    assert!(node.control.registrations(node.now).all(|row| row.confirmed_ago.is_some()));
}

#[test]
fn cgeids_are_never_registered_elsewhere() {
    let mut node = Node::registering_prefixes(&["2001:db8:a::/48", "3fff:ce1::5/128"]);
    let records: Vec<_> = node.register().1.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    assert_eq!(records, [prefix("2001:db8:a::/48")]);
}

#[test]
fn the_server_is_spoken_to_from_and_to_the_control_port() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    node.collect();
    let (local, remote, _) = node.sent.remove(0);
    assert_eq!(local, RLOC.parse::<std::net::IpAddr>().unwrap());
    assert_eq!(remote, format!("{SERVER}:4342").parse().unwrap());
}
