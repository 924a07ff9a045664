// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading: which copies count, and when enough were seen. `liars` does the same through nodes.

use std::net::{IpAddr, Ipv4Addr};

use crate::common::{LAB, Person, host, prefix, seconds, site, start, sub_page};
use cgeid::Reason;
use dht::lookup::{News, Reading};
use dht::publish::PageKind;
use dht::record::{CertificateCache, RecordKey};
use dht::resolve::{Anchors, Outcome, Resolver, TrustAnchor};
use dht::store::Origin;

fn from(block: u8) -> Origin {
    Origin::Peer(IpAddr::V4(Ipv4Addr::new(198, 51, block, 1)))
}

#[test]
fn the_first_valid_copy_is_used_and_a_newer_one_replaces_it() {
    let mut person = Person::new(1);
    let (old, new) = (person.mapping(start(), 1), person.mapping(start() + seconds(60), 2));
    let (now, mut cache) = (start() + seconds(61), CertificateCache::new());
    let mut reading = Reading::new(LAB, old.key);
    assert_eq!(reading.take(now, from(1), b"rubbish".to_vec(), &mut cache), News::Nothing);
    assert_eq!(reading.values(), [b"rubbish".to_vec()], "the reason why there is nothing");
    assert_eq!(reading.take(now, from(2), old.value.clone(), &mut cache), News::First);
    assert_eq!(reading.take(now, from(3), old.value.clone(), &mut cache), News::Nothing);
    assert!(!reading.is_over());
    assert_eq!(reading.take(now, from(4), new.value.clone(), &mut cache), News::Newer);
    assert!(reading.is_over(), "three blocks");
    assert_eq!(reading.values(), [old.value, new.value]);
}

#[test]
fn copies_of_one_block_are_one_copy_and_what_does_not_hold_is_none() {
    let mut person = Person::new(2);
    let (old, new) = (person.mapping(start(), 1), person.mapping(start() + seconds(60), 2));
    let (now, mut cache) = (start() + seconds(61), CertificateCache::new());
    let mut reading = Reading::new(LAB, old.key);
    for _ in 0..20 {
        reading.take(now, from(1), old.value.clone(), &mut cache);
    }
    for block in 10..60 {
        assert_eq!(reading.take(now, from(block), vec![block; 3], &mut cache), News::Nothing);
    }
    assert!(!reading.is_over());
    assert_eq!(reading.take(now, Origin::Own, new.value, &mut cache), News::Newer);
    assert_eq!(reading.take(now, from(2), old.value.clone(), &mut cache), News::Nothing);
    assert!(!reading.is_over(), "two blocks; the own copy is nobody's word");
    assert_eq!(reading.take(now, from(3), old.value, &mut cache), News::Nothing);
    assert!(reading.is_over(), "three blocks");
}

#[test]
fn the_own_copy_does_not_end_a_reading() {
    let mut person = Person::new(5);
    let old = person.mapping(start(), 1);
    let (now, mut cache) = (start() + seconds(1), CertificateCache::new());
    let mut reading = Reading::new(LAB, old.key);
    assert_eq!(reading.take(now, Origin::Own, old.value.clone(), &mut cache), News::First);
    assert!(reading.has_valid() && !reading.is_witnessed());
    assert_eq!(reading.take(now, from(1), old.value, &mut cache), News::Nothing);
    assert!(reading.is_witnessed() && !reading.is_over());
}

#[test]
fn an_older_copy_is_no_news() {
    let mut person = Person::new(3);
    let (old, new) = (person.mapping(start(), 1), person.mapping(start() + seconds(60), 2));
    let (now, mut cache) = (start() + seconds(61), CertificateCache::new());
    let mut reading = Reading::new(LAB, old.key);
    assert_eq!(reading.take(now, from(1), new.value.clone(), &mut cache), News::First);
    assert_eq!(reading.take(now, from(2), old.value, &mut cache), News::Nothing);
    assert_eq!(reading.values(), [new.value]);
}

#[test]
fn a_revocation_that_comes_late_is_the_last_word() {
    let mut person = Person::new(4);
    let (mapping, revocation) = (person.mapping(start(), 1), person.revoke(Reason::KEY_COMPROMISE, 0));
    let (now, mut cache) = (start() + seconds(1), CertificateCache::new());
    let mut reading = Reading::new(LAB, mapping.key);
    reading.take(now, from(1), mapping.value, &mut cache);
    assert_eq!(reading.take(now, from(1), revocation.value, &mut cache), News::Newer);
    assert!(reading.is_over());
}

#[test]
fn two_statements_of_one_version_are_both_kept() {
    let mut person = Person::new(5);
    let sequence = person.sequence;
    let one = person.mapping(start(), 1);
    person.sequence = sequence;
    let other = person.mapping(start(), 2);
    let (now, mut cache) = (start() + seconds(1), CertificateCache::new());
    let mut reading = Reading::new(LAB, one.key);
    reading.take(now, from(1), one.value, &mut cache);
    assert_eq!(reading.take(now, from(2), other.value, &mut cache), News::Newer);
    assert_eq!(reading.values().len(), 2);
}

#[test]
fn a_newer_page_that_is_read_late_is_used_from_then_on() {
    let (mut anchor, mut registrar) = (Person::new(6), Person::new(7));
    let kind = PageKind::Delegations;
    let entry = site("2001:db8:a::/48", &[registrar.cn()], 48);
    let empty = anchor.page(start(), "2001:db8::/32", vec![], kind);
    let full = anchor.page(start() + seconds(60), "2001:db8::/32", vec![entry], kind);
    let said = registrar.prefix(start() + seconds(60), "2001:db8:a::/48", 9);
    let (now, eid) = (start() + seconds(120), host("2001:db8:a::1"));
    let get = |key: &RecordKey| match *key {
        key if key == empty.key => vec![empty.value.clone()],
        key if key == said.key => vec![said.value.clone()],
        _ => Vec::new(),
    };
    let anchors = Anchors::new([TrustAnchor { aggregate: prefix("2001:db8::/32"), cn: anchor.cn() }]);
    let mut resolver = Resolver::new(LAB, anchors);
    assert!(matches!(resolver.resolve(eid, now, get).0, Outcome::Hole { .. }));
    resolver.learn(now, &full.key, &[empty.value.clone(), full.value.clone()]);
    assert!(matches!(resolver.resolve(eid, now, get).0, Outcome::Mapping(_)));
    resolver.learn(now, &full.key, std::slice::from_ref(&empty.value));
    assert!(matches!(resolver.resolve(eid, now, get).0, Outcome::Mapping(_)), "an older one changes nothing");

    // Its writer turns out to contradict itself: the page is read no more.
    let sequence = anchor.sequence;
    let one = anchor.page(start() + seconds(90), "2001:db8::/32", vec![], kind);
    anchor.sequence = sequence;
    let other = anchor.page(start() + seconds(90), "2001:db8::/32", vec![sub_page("2001:db8::/40", 0)], kind);
    resolver.learn(now, &full.key, &[one.value.clone(), other.value.clone()]);
    let both = |_: &RecordKey| vec![one.value.clone(), other.value.clone()];
    assert_eq!(resolver.resolve(eid, now, both).0, Outcome::Conflict);
}
