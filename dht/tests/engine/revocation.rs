// SPDX-License-Identifier: GPL-2.0-or-later
//! The last word of an identity: its form, and how stores obey it.

use std::time::SystemTime;

use crate::common::{LAB, Person, host, mapping, seconds, site, start};
use cgeid::{Identity, Reason, Revocation};
use dht::publish::{self, PageKind, Publication};
use dht::record::{Body, Bundle, CertificateCache, Class, RecordKey, Section, Verified, verify};
use dht::store::{Admission, Origin, Store};
use dht::{Malformed, Refusal, limits};
use proptest::prelude::*;

const DAY: u64 = 86_400;

fn store() -> Store {
    Store::new(LAB, [0; 32])
}

fn put(store: &mut Store, now: SystemTime, publication: &Publication) -> Result<Admission, Refusal> {
    store.put(now, Origin::Unknown, &publication.key.encode(), &publication.value)
}

fn check(publication: &Publication, value: &[u8]) -> Result<Verified, Refusal> {
    verify(LAB, &publication.key, value, start(), &mut CertificateCache::new())
}

/// What the owner's file says, with one thing in its section changed.
fn changed(publication: &Publication, change: impl Fn(&mut Section)) -> Vec<u8> {
    let mut sections = Bundle::decode(&publication.value).unwrap().into_sections();
    change(&mut sections[0]);
    Bundle::new(sections).unwrap().encode().unwrap()
}

/// A store that has been through a restart.
fn restarted(store: &mut Store, now: SystemTime) -> Store {
    let mut second = Store::new(LAB, [0; 32]);
    for change in store.changes() {
        second.restore(now, &change.key, change.record.as_deref(), change.marks.as_deref()).unwrap();
    }
    second
}

#[test]
fn a_statement_made_at_birth_is_a_record_for_ever() {
    let person = Person::new(1);
    let statement = Revocation::issue(&person.identity, Reason::SUPERSEDED, start()).unwrap();
    let publication = publish::revocation(&statement).unwrap();
    assert_eq!(publication.key, RecordKey::node(LAB, person.cn()));
    // Twenty years later, with every certificate past its end.
    let later = start() + seconds(20 * 365 * DAY);
    let verified = verify(LAB, &publication.key, &publication.value, later, &mut CertificateCache::new()).unwrap();
    assert!(verified.is_revoked() && verified.epochs.is_empty());
    assert_eq!(&verified.identity, person.identity.certificate());
    let (section, body) = verified.bundle.revocation().unwrap();
    assert_eq!((body.reason, &*section.signature), (Reason::SUPERSEDED, statement.signature()));
    assert_eq!(section.version.signed_at(), start());
}

#[test]
fn a_revocation_of_a_temporary_identity_counts_after_its_end() {
    let now = start();
    let identity = Identity::generate_ed25519(LAB, now).unwrap();
    let publication = publish::revocation(&Revocation::issue(&identity, Reason::CESSATION, now).unwrap()).unwrap();
    let later = now + seconds(365 * DAY);
    assert_eq!(put(&mut store(), later, &publication), Ok(Admission::Stored));
}

#[test]
fn an_rsa_certificate_fits() {
    let key = include_bytes!("../../../cgeid/tests/data/rsa4096-test-key.pk8");
    let identity = Identity::from_pkcs8(key, LAB, start()).unwrap();
    let statement = Revocation::issue(&identity, Reason::KEY_COMPROMISE, start()).unwrap();
    let publication = publish::revocation(&statement).unwrap();
    assert!(publication.value.len() > 1024 && publication.value.len() <= Class::Revocation.max_size());
    assert!(check(&publication, &publication.value).unwrap().is_revoked());
    for at in (0..publication.value.len()).step_by(17) {
        let mut forged = publication.value.clone();
        forged[at] ^= 8;
        assert!(check(&publication, &forged).is_err(), "octet {at}");
    }
}

#[test]
fn every_single_flipped_bit_is_refused() {
    let publication = Person::new(1).revoke(Reason::KEY_COMPROMISE, 0);
    let mut store = store();
    for bit in 0..publication.value.len() * 8 {
        let mut forged = publication.value.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&publication, &forged).is_err(), "bit {bit} read");
        assert!(store.put(start(), Origin::Unknown, &publication.key.encode(), &forged).is_err(), "bit {bit} taken");
    }
    assert!(store.is_empty() && store.changes().is_empty());
}

#[test]
fn what_the_statement_does_not_sign_has_one_value() {
    let publication = Person::new(1).revoke(Reason::UNSPECIFIED, 0);
    let refusal = |change: &dyn Fn(&mut Section)| check(&publication, &changed(&publication, change)).unwrap_err();
    assert_eq!(refusal(&|section| section.flags.withdrawn = true), Refusal::Flags(Class::Revocation));
    assert_eq!(refusal(&|section| section.flags.by_identity = false), Refusal::Flags(Class::Revocation));
    assert_eq!(refusal(&|section| section.version.epoch = 1), Refusal::Epoch(Class::Revocation, 1));
    for lifetime in [seconds(0), seconds(1), limits::REVOCATION_LIFETIME + seconds(1)] {
        let found = refusal(&|section| section.lifetime = lifetime);
        assert_eq!(found, Refusal::Lifetime(Class::Revocation, lifetime));
    }
    for sequence in [0, publication.sequence + 1, u64::MAX] {
        assert_eq!(refusal(&|section| section.version.sequence = sequence), Refusal::Signature(Class::Revocation));
    }
    let reason = refusal(&|section| {
        let Body::Revocation(body) = &mut section.body else { panic!("{section:?}") };
        body.reason = Reason::SUPERSEDED;
    });
    assert_eq!(reason, Refusal::Signature(Class::Revocation));
}

#[test]
fn a_revocation_signed_as_a_record_is_none() {
    let person = Person::new(1);
    let publication = person.revoke(Reason::UNSPECIFIED, 0);
    let forged = changed(&publication, |section| {
        section.signature = person.identity.sign(&section.signed_bytes(&publication.key).unwrap()).unwrap().into();
    });
    assert_eq!(check(&publication, &forged).unwrap_err(), Refusal::Signature(Class::Revocation));
    // Nor is one that the operational key has signed, whose thief would otherwise end the address.
    let forged = changed(&publication, |section| {
        section.signature = person.key.sign(&section.signed_bytes(&publication.key).unwrap()).into();
    });
    assert_eq!(check(&publication, &forged).unwrap_err(), Refusal::Signature(Class::Revocation));
}

#[test]
fn nobody_revokes_another() {
    let (one, two) = (Person::new(1).revoke(Reason::UNSPECIFIED, 0), Person::new(2).revoke(Reason::UNSPECIFIED, 0));
    let refusal = check(&one, &two.value).unwrap_err();
    assert_eq!(refusal, Refusal::OtherOwner(Class::Revocation, Person::new(2).cn()));
    let renamed = changed(&two, |section| section.cn = one.key.writer);
    assert_eq!(check(&one, &renamed).unwrap_err(), Refusal::OtherIdentity(two.key.writer));
    // A registrar's key has no place for it either.
    let elsewhere = RecordKey::index(LAB, one.key.writer, crate::common::prefix("2001:db8::/32"));
    let refusal = verify(LAB, &elsewhere, &one.value, start(), &mut CertificateCache::new()).unwrap_err();
    assert_eq!(refusal, Refusal::MisplacedClass(Class::Revocation));
}

#[test]
fn a_revocation_stands_alone() {
    let mut person = Person::new(1);
    let (mapping, revocation) = (person.mapping(start(), 1), person.revoke(Reason::UNSPECIFIED, 0));
    let section = Bundle::decode(&revocation.value).unwrap().into_sections();
    let others = Bundle::decode(&mapping.value).unwrap().into_sections();
    let both = Bundle::new([others, section].concat());
    assert_eq!(both, Err(Malformed::TooMany("section beside a REVOCATION")));
    let glued = [mapping.value, revocation.value.clone()].concat();
    assert_eq!(store().put(start(), Origin::Unknown, &revocation.key.encode(), &glued), Err(both.unwrap_err().into()));
}

#[test]
fn it_ends_all_that_the_identity_has_said_and_will_say() {
    let (mut person, mut other) = (Person::new(1), Person::new(2));
    let said = [
        person.mapping(start(), 1),
        person.prefix(start(), "2001:db8:a::/48", 1),
        person.page(start(), "2001:db8::/32", vec![site("2001:db8:a::/48", &[other.cn()], 48)], PageKind::Delegations),
    ];
    let stranger = other.prefix(start(), "2001:db8:a::/48", 2);
    let mut store = store();
    for publication in said.iter().chain([&stranger]) {
        assert_eq!(put(&mut store, start(), publication), Ok(Admission::Stored));
    }
    let revocation = person.revoke(Reason::KEY_COMPROMISE, 0);
    assert!(!store.is_revoked(person.cn()));
    assert_eq!(put(&mut store, start(), &revocation), Ok(Admission::Stored));
    assert!(store.is_revoked(person.cn()) && !store.is_revoked(other.cn()));
    assert_eq!((store.len(), store.counters().revoked), (2, 2));
    assert_eq!(store.size(), revocation.value.len() + stranger.value.len());
    assert_eq!(store.get(start(), &revocation.key.encode()), Some(revocation.value));
    assert_eq!(store.get(start(), &stranger.key.encode()), Some(stranger.value));
    // Neither what it said before, nor what it says later, nor what a new operational key of it says.
    person.key = person.identity.delegate_revision(start(), 0, 1).unwrap();
    let later = [
        person.mapping(start() + seconds(60), 2),
        person.withdraw(start() + seconds(60), "2001:db8:a::/48"),
        person.prefix(start() + seconds(60), "2001:db8:b::/48", 2),
    ];
    for publication in said.iter().chain(&later) {
        assert_eq!(put(&mut store, start() + seconds(60), publication), Err(Refusal::Revoked));
    }
    assert_eq!(store.counters().refused.get("revoked"), Some(&6));
    // The disk hears of it: what was dropped is deleted.
    let written = store.changes();
    let record = |key: &RecordKey| written.iter().find(|change| change.key == key.encode()).unwrap().record.clone();
    assert!(record(&said[1].key).is_none() && record(&revocation.key).is_some());
}

#[test]
fn it_is_kept_for_a_month_after_it_was_last_put_by_anybody() {
    let mut person = Person::new(1);
    let revocation = person.revoke(Reason::UNSPECIFIED, 0);
    let (mut store, key) = (store(), revocation.key.encode());
    put(&mut store, start(), &revocation).unwrap();
    let renewed = start() + seconds(20 * DAY);
    for _ in 0..20 {
        assert_eq!(put(&mut store, renewed, &revocation), Ok(Admission::Refreshed));
    }
    store.expire(start() + seconds(49 * DAY));
    assert!(store.get(start() + seconds(49 * DAY), &key).is_some());
    let end = renewed + limits::REVOCATION_LIFETIME;
    assert!(store.get(end, &key).is_none());
    store.expire(end);
    assert!(store.is_empty());
    // For one day more nobody takes its place.
    person.key = person.identity.delegate(end, 0).unwrap();
    assert_eq!(put(&mut store, end, &person.mapping(end, 1)), Err(Refusal::Revoked));
    let forgotten = end + limits::MARK_RETENTION;
    store.expire(forgotten);
    assert_eq!(put(&mut store, forgotten, &person.mapping(forgotten, 1)), Ok(Admission::Stored));
}

#[test]
fn what_is_handed_on_is_kept_no_longer_than_by_whoever_hands_it_on() {
    let revocation = Person::new(1).revoke(Reason::UNSPECIFIED, 0);
    let key = revocation.key.encode();
    let take_over = |store: &mut Store, now, left| store.take_over(now, Origin::Unknown, &key, &revocation.value, left);
    // Among nodes that come and go, each of which has it from the one before: it ends all the same.
    let (mut now, mut last) = (start(), store());
    put(&mut last, now, &revocation).unwrap();
    let mut hands = 0;
    while let Some(left) = last.left(now, &key) {
        let mut next = store();
        assert_eq!(take_over(&mut next, now, left), Ok(Admission::Stored));
        assert_eq!(next.left(now, &key), Some(left));
        (now, last, hands) = (now + seconds(DAY), next, hands + 1);
    }
    assert_eq!((hands, last.get(now, &key)), (30, None));
    // Who holds it keeps it for the longer of both, and nobody makes that longer than a PUT does.
    let mut store = store();
    for (left, kept) in [(10, 10), (5, 10), (20, 20), (4000, 30)] {
        take_over(&mut store, start(), seconds(left * DAY)).unwrap();
        assert_eq!(store.left(start(), &key), Some(seconds(kept * DAY)), "{left} days");
    }
    let mut again = restarted(&mut store, start() + seconds(DAY));
    assert_eq!(again.left(start() + seconds(DAY), &key), Some(seconds(29 * DAY)));
    assert!(put(&mut again, start() + seconds(DAY), &revocation).is_ok());
    assert_eq!(again.left(start() + seconds(DAY), &key), Some(limits::REVOCATION_LIFETIME));
}

#[test]
fn how_long_is_left_of_anything_else_its_value_says() {
    let (mut person, mut store) = (Person::new(1), store());
    let said = person.mapping(start(), 1);
    store.take_over(start(), Origin::Unknown, &said.key.encode(), &said.value, seconds(1)).unwrap();
    assert_eq!(store.left(start(), &said.key.encode()), None);
    assert_eq!(store.get(start() + seconds(60), &said.key.encode()), Some(said.value));
}

#[test]
fn putting_it_again_at_once_is_no_work_for_the_disk() {
    let revocation = Person::new(1).revoke(Reason::UNSPECIFIED, 0);
    let mut store = store();
    put(&mut store, start(), &revocation).unwrap();
    assert_eq!(store.changes().len(), 1);
    put(&mut store, start() + limits::REVOCATION_RENEWAL - seconds(1), &revocation).unwrap();
    assert!(store.changes().is_empty());
    put(&mut store, start() + limits::REVOCATION_RENEWAL, &revocation).unwrap();
    assert_eq!(store.changes().len(), 1);
}

#[test]
fn a_restart_neither_forgets_nor_prolongs_it() {
    let mut person = Person::new(1);
    let revocation = person.revoke(Reason::UNSPECIFIED, 0);
    let key = revocation.key.encode();
    let mut first = store();
    put(&mut first, start() + seconds(DAY), &revocation).unwrap();
    let mut second = restarted(&mut first, start() + seconds(10 * DAY));
    assert_eq!(second.get(start() + seconds(30 * DAY), &key), Some(revocation.value.clone()));
    assert_eq!(second.get(start() + seconds(31 * DAY), &key), None);
    assert!(second.changes().is_empty());
    let now = start() + seconds(10 * DAY);
    assert_eq!(put(&mut second, now, &person.mapping(now, 1)), Err(Refusal::Revoked));
    // One that ended while the node was down is not taken back; its mark holds for its day.
    let mut again = store();
    put(&mut again, start(), &revocation).unwrap();
    let end = start() + limits::REVOCATION_LIFETIME;
    let third = restarted(&mut again, end);
    assert!(third.is_empty() && third.is_revoked(person.cn()));
}

#[test]
fn an_issue_time_that_lies_ahead_is_no_excuse() {
    // Nothing proves it, and a clock that was wrong at birth must not keep an owner from revoking.
    for after in [0, 10 * 365 * DAY] {
        let revocation = Person::new(1).revoke(Reason::UNSPECIFIED, after);
        assert_eq!(put(&mut store(), start(), &revocation), Ok(Admission::Stored));
    }
}

#[test]
fn a_quota_that_is_used_up_does_not_hold_back_the_first() {
    let (mut person, mut store) = (Person::new(1), store());
    for octet in 1..=9 {
        _ = put(&mut store, start(), &person.mapping(start() + seconds(octet.into()), octet));
    }
    assert_eq!(store.counters().refused.get("quota"), Some(&4));
    assert_eq!(put(&mut store, start(), &person.revoke(Reason::UNSPECIFIED, 0)), Ok(Admission::Stored));
    // Others of the same owner are held back: they say nothing new.
    let refusals =
        (1..=9).filter(|after| put(&mut store, start(), &person.revoke(Reason::UNSPECIFIED, *after)).is_err());
    assert_eq!(refusals.count(), 9);
}

#[test]
fn a_full_store_gives_up_its_farthest_for_a_nearer_revocation_and_remembers_what_it_gave_up() {
    let mut people: Vec<Person> = (1..=6).map(Person::new).collect();
    let mut store = Store::with_capacity(LAB, [0; 32], 3);
    for person in &people {
        _ = put(&mut store, start(), &person.revoke(Reason::UNSPECIFIED, 0));
    }
    assert_eq!(store.len(), 3);
    assert!(store.counters().refused.keys().all(|name| *name == "full"));
    let given_up: u64 = store.counters().refused.values().sum::<u64>() + store.counters().evicted;
    assert_eq!(given_up, 3);
    // One that was evicted still counts.
    let revoked = people.iter_mut().filter(|person| store.is_revoked(person.cn()));
    let revoked: Vec<Publication> = revoked.map(|person| person.mapping(start(), 1)).collect();
    assert!(revoked.len() >= 3);
    for publication in revoked {
        assert_eq!(put(&mut store, start(), &publication), Err(Refusal::Revoked));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Mappings and revocations of one owner, in any two orders: both stores hold the same, and a revocation if there was one.
    #[test]
    fn stores_agree_in_whatever_order_they_hear(order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mut person = Person::new(1);
        let mut said: Vec<Publication> =
            (1..=3).map(|octet| person.mapping(start() + seconds(octet.into()), octet)).collect();
        said.extend((0..3).map(|after| person.revoke(Reason::UNSPECIFIED, after * 1000)));
        let (mut one, mut two) = (store(), store());
        // Each in a time of its own, so that no quota decides.
        for (publication, at) in said.iter().zip(0..) {
            _ = put(&mut one, start() + seconds(10 * at), publication);
        }
        for (at, place) in (0..).zip(&order) {
            _ = put(&mut two, start() + seconds(10 * at), &said[*place]);
        }
        let (now, key) = (start() + seconds(60), person.revoke(Reason::UNSPECIFIED, 0).key.encode());
        let held = one.get(now, &key).unwrap();
        prop_assert!(Bundle::decode(&held).unwrap().revocation().is_some());
        prop_assert_eq!(two.get(now, &key), Some(held));
    }

    /// Whatever is written over a revocation: it is read as itself, or refused.
    #[test]
    fn a_damaged_revocation_is_none(at in any::<prop::sample::Index>(), octets in proptest::collection::vec(any::<u8>(), 0..40)) {
        let publication = Person::new(1).revoke(Reason::UNSPECIFIED, 0);
        let mut value = publication.value.clone();
        let at = at.index(value.len());
        let end = (at + octets.len()).min(value.len());
        value.splice(at..end, octets);
        prop_assert!(value == publication.value || check(&publication, &value).is_err());
    }
}

#[test]
fn the_same_value_comes_out_of_every_node_of_a_network() {
    let mut person = Person::new(1);
    let mut network = dht::memory::Network::new(LAB, 6, 4);
    let mut resolver = dht::resolve::Resolver::new(LAB, dht::resolve::Anchors::default());
    let revocation = person.revoke(Reason::CESSATION, 0);
    let published = publish::mapping(&person.key, LAB, mapping(1), start(), &mut person.sequence).unwrap();
    network.put(start(), &published.key, &published.value).unwrap();
    network.put(start(), &revocation.key, &revocation.value).unwrap();
    assert_eq!(network.get(start(), &revocation.key), std::slice::from_ref(&revocation.value));
    assert_eq!(network.put(start(), &published.key, &published.value), Err(Refusal::Revoked));
    let (outcome, _) = network.resolve(&mut resolver, start(), host(&person.key.address().to_string()));
    assert_eq!(outcome, dht::resolve::Outcome::Revoked);
}

#[test]
fn a_slow_clock_at_the_start_does_not_end_it_when_it_is_set() {
    let revocation = Person::new(1).revoke(Reason::UNSPECIFIED, 0);
    let mut first = store();
    put(&mut first, start(), &revocation).unwrap();
    let mut second = restarted(&mut first, SystemTime::UNIX_EPOCH);
    second.expire(SystemTime::UNIX_EPOCH);
    second.expire(start());
    assert_eq!(second.get(start(), &revocation.key.encode()), Some(revocation.value));
}
