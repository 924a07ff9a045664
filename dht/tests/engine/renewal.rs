// SPDX-License-Identifier: GPL-2.0-or-later
//! What a node publishes of itself, again and again: several statements in one bundle, and an IDENTITY that stays the same.

use std::time::{Duration, SystemTime};

use crate::common::{LAB, Person, mapping, prefix, seconds, start};
use cgeid::{Cn, Identity, OperationalKey};
use dht::publish::{self, Publication, Sequence, Statement};
use dht::record::{
    Bundle, CertificateCache, Class, Loss, Medium, Neighbour, Quality, Rate, RecordKey, Roles, Section, Service,
    Topology, verify,
};
use dht::store::{Admission, Origin, Store};
use dht::{PublishError, Refusal};

const DAY: u64 = 86_400;

fn store() -> Store {
    Store::new(LAB, [0; 32])
}

fn put(store: &mut Store, now: SystemTime, publication: &Publication) -> Result<Admission, Refusal> {
    store.put(now, Origin::Unknown, &publication.key.encode(), &publication.value)
}

fn topology(metric: u16) -> Topology {
    let quality = Quality { metric, loss: Loss(0), rate: Rate(1000) };
    let neighbours = [(Neighbour { cn: Cn([9; 12]), medium: Medium::RADIO }, quality)].into();
    Topology { neighbours, ..Topology::default() }
}

fn service(port: u16) -> Service {
    Service { addresses: [(([192, 0, 2, 1].into(), port), Roles::BOOT)].into(), ..Service::default() }
}

fn identity_of(publication: &Publication) -> Section {
    Bundle::decode(&publication.value).unwrap().section(Class::Identity).cloned().unwrap()
}

fn publish(key: &OperationalKey, now: SystemTime) -> Publication {
    publish::mapping(key, LAB, mapping(1), now, &mut Sequence::default()).unwrap()
}

#[test]
fn several_statements_go_out_together_each_for_its_own_time() {
    let (mut person, mut store) = (Person::new(1), store());
    let statements = vec![
        Statement::service(service(1)),
        Statement::topology(topology(1)).lasting(seconds(600)),
        Statement::mapping(mapping(1)).lasting(seconds(7200)),
    ];
    let whole = publish::node(&person.key, LAB, statements, start(), &mut person.sequence).unwrap();
    assert_eq!(put(&mut store, start(), &whole), Ok(Admission::Stored));
    let classes = |after: u64| {
        let value = store.get(start() + seconds(after), &whole.key.encode()).unwrap();
        assert!(verify(LAB, &whole.key, &value, start() + seconds(after), &mut CertificateCache::new()).is_ok());
        Bundle::decode(&value).unwrap().sections().iter().map(Section::class).collect::<Vec<_>>()
    };
    use Class::{Identity, Mapping, Service, Topology};
    assert_eq!(classes(599), [Identity, Mapping, Topology, Service]);
    assert_eq!(classes(600), [Identity, Mapping, Service]);
    assert_eq!(classes(3600), [Identity, Service], "no statement lives longer than its class may");
    assert_eq!(classes(48 * 3600), [Identity]);
}

#[test]
fn what_is_not_said_again_stays_until_it_is_withdrawn() {
    let (mut person, mut store) = (Person::new(1), store());
    put(&mut store, start(), &person.mapping(start(), 7)).unwrap();
    let mut say = |after: u64, statement| {
        let now = start() + seconds(after);
        let said = publish::node(&person.key, LAB, vec![statement], now, &mut person.sequence).unwrap();
        put(&mut store, now, &said).unwrap();
        Bundle::decode(&store.get(now, &said.key.encode()).unwrap()).unwrap()
    };
    let held = say(1, Statement::service(service(1)));
    assert!(held.mapping().is_some() && held.service() == Some(&service(1)) && held.topology().is_none());
    let held = say(2, Statement::topology(topology(3)));
    assert!(held.mapping().is_some() && held.service().is_some() && held.topology() == Some(&topology(3)));
    let held = say(3, Statement::withdrawal(Class::Service).unwrap());
    assert!(held.mapping().is_some() && held.service().is_none() && held.topology().is_some());
}

#[test]
fn a_node_says_one_thing_of_each_class_and_only_what_is_its_own() {
    let mut person = Person::new(1);
    let mut refused = |statements| {
        let refused = publish::node(&person.key, LAB, statements, start(), &mut person.sequence);
        matches!(refused, Err(PublishError::NotOfNode(_)))
    };
    assert!(refused(Vec::new()));
    assert!(refused(vec![Statement::service(service(1)), Statement::service(service(2))]));
    assert_eq!(Statement::withdrawal(Class::Index), None);
    assert_eq!(person.sequence, Sequence::default(), "nothing was signed");
}

#[test]
fn a_renewal_costs_a_store_and_a_reader_one_signature() {
    for signer in [false, true] {
        let (mut person, mut store) = (Person::new(1), store());
        let mut cache = CertificateCache::new();
        let first = person.mapping(start(), 1);
        put(&mut store, start(), &first).unwrap();
        verify(LAB, &first.key, &first.value, start(), &mut cache).unwrap();
        assert_eq!((store.signatures(), cache.signatures()), (2, 2), "IDENTITY and MAPPING");
        for renewal in 1..=20 {
            let now = start() + seconds(1200 * renewal);
            let again = if signer {
                let statements = vec![Statement::mapping(mapping(1)), Statement::service(service(1))];
                publish::node(&person.key, LAB, statements, now, &mut person.sequence).unwrap()
            } else {
                person.mapping(now, 1)
            };
            let (before, read) = (store.signatures(), cache.signatures());
            assert_eq!(put(&mut store, now, &again), Ok(Admission::Stored));
            verify(LAB, &again.key, &again.value, now, &mut cache).unwrap();
            let news = if signer { 2 } else { 1 };
            assert_eq!((store.signatures() - before, cache.signatures() - read), (news, news));
        }
        // What is held already costs none.
        let held = store.get(start() + seconds(24_000), &first.key.encode()).unwrap();
        let before = store.signatures();
        assert_eq!(
            store.put(start() + seconds(24_000), Origin::Unknown, &first.key.encode(), &held),
            Ok(Admission::Refreshed)
        );
        assert_eq!(store.signatures(), before);
    }
}

#[test]
fn the_first_renewal_after_a_restart_proves_what_is_held_too() {
    let (mut person, mut other) = (Person::new(1), Person::new(2));
    let mut store = store();
    put(&mut store, start(), &person.mapping(start(), 1)).unwrap();
    let written = store.changes();
    // As after a restart: what comes from disk is proven when it is first of use, and every cache is cold.
    let mut again = Store::new(LAB, [0; 32]);
    for change in written {
        again.restore(start(), &change.key, change.record.as_deref(), change.marks.as_deref()).unwrap();
    }
    let before = again.signatures();
    put(&mut again, start() + seconds(60), &person.mapping(start() + seconds(60), 1)).unwrap();
    assert_eq!(again.signatures() - before, 3, "two of what is held, one of the news");
    let before = again.signatures();
    put(&mut again, start() + seconds(120), &person.mapping(start() + seconds(120), 1)).unwrap();
    assert_eq!(again.signatures() - before, 1);
    let before = again.signatures();
    put(&mut again, start() + seconds(60), &other.mapping(start() + seconds(60), 1)).unwrap();
    assert_eq!(again.signatures() - before, 2, "who is new brings an IDENTITY to be checked");
}

#[test]
fn a_forged_identity_does_not_pass_for_the_one_that_is_known() {
    let (mut person, mut store) = (Person::new(1), store());
    let mut cache = CertificateCache::new();
    let first = person.mapping(start(), 1);
    put(&mut store, start(), &first).unwrap();
    verify(LAB, &first.key, &first.value, start(), &mut cache).unwrap();
    let next = person.mapping(start() + seconds(60), 2);
    let now = start() + seconds(60);
    for at in 0..identity_of(&next).encode().unwrap().len() {
        let mut forged = next.value.clone();
        forged[at] ^= 1;
        assert!(verify(LAB, &next.key, &forged, now, &mut cache).is_err(), "octet {at}");
        // An IDENTITY that says to be older is passed over, and the statement beside it stands by itself.
        _ = store.put(now, Origin::Unknown, &next.key.encode(), &forged);
        let held = store.get(now, &next.key.encode()).unwrap();
        assert_ne!(held, forged, "octet {at}");
        assert!(verify(LAB, &next.key, &held, now, &mut CertificateCache::new()).is_ok(), "octet {at}");
    }
    // An IDENTITY that was signed for another key of the same writer does not pass for known.
    let elsewhere = person.prefix(now, "2001:db8:a::/48", 1);
    let sections = vec![identity_of(&elsewhere), Bundle::decode(&next.value).unwrap().into_sections().remove(1)];
    let moved = Bundle::new(sections).unwrap().encode().unwrap();
    verify(LAB, &elsewhere.key, &elsewhere.value, now, &mut cache).unwrap();
    let refusal = verify(LAB, &next.key, &moved, now, &mut cache).unwrap_err();
    assert_eq!(refusal, Refusal::Signature(Class::Identity));
}

#[test]
fn an_identity_section_is_a_function_of_certificates_and_key() {
    let person = Person::new(1);
    let one = publish(&person.key, start());
    let later = publish(&person.key, start() + seconds(20 * DAY));
    assert_eq!(identity_of(&one), identity_of(&later));
    let mut sequence = Sequence::default();
    let elsewhere = publish::withdraw_prefix(&person.key, LAB, prefix("2001:db8::/48"), start(), &mut sequence);
    assert_ne!(identity_of(&one).signature, identity_of(&elsewhere.unwrap()).signature);
    // It holds exactly for as long as its certificate, and a store gives the key up with it.
    let certificate = person.key.certificate();
    let section = identity_of(&one);
    let rounding = Duration::from_secs(1);
    assert!(section.version.signed_at() >= certificate.not_before());
    assert!(section.version.signed_at() < certificate.not_before() + rounding);
    assert!(section.expires_at() <= certificate.not_after());
    assert!(section.expires_at() + 2 * rounding > certificate.not_after());
    let last = certificate.not_after() - seconds(600);
    let statement = vec![Statement::service(service(1))];
    let late = publish::node(&person.key, LAB, statement, last, &mut Sequence::default()).unwrap();
    let mut store = store();
    put(&mut store, last, &late).unwrap();
    assert!(store.get(last, &late.key.encode()).is_some());
    assert_eq!(store.get(certificate.not_after(), &late.key.encode()), None, "though the SERVICE says 48 h");
    let ended = publish::mapping(&person.key, LAB, mapping(1), last + seconds(601), &mut Sequence::default());
    assert_eq!(ended, Err(PublishError::CertificateExpired));
}

#[test]
fn a_later_key_takes_the_place_of_an_earlier_one_and_not_the_other_way_round() {
    let person = Person::new(1);
    let month = person.identity.delegate(start(), 1).unwrap();
    let later = [
        ("a second key of one month", start() + seconds(5), person.identity.delegate(start() + seconds(5), 0).unwrap()),
        ("a revision", start() + seconds(5), person.identity.delegate_revision(start(), 0, 1).unwrap()),
        ("the next month", month.certificate().not_before() + seconds(DAY), month),
    ];
    for (what, now, key) in later {
        let (first, second) = (publish(&person.key, now - seconds(1)), publish(&key, now));
        let mut store = store();
        put(&mut store, now, &first).unwrap();
        assert_eq!(put(&mut store, now, &second), Ok(Admission::Stored), "{what}");
        assert_eq!(store.get(now, &first.key.encode()).as_ref(), Some(&second.value), "{what}");
        let back = publish(&person.key, now + seconds(60));
        assert!(put(&mut store, now + seconds(60), &back).is_err(), "{what}");
        assert!(!store.in_conflict(&first.key), "{what}");
    }
}

#[test]
fn the_identity_sections_of_one_key_are_never_rivals() {
    let (mut person, mut store) = (Person::new(1), store());
    for number in 0..50 {
        let now = start() + seconds(60 * number);
        put(&mut store, now, &person.mapping(now, 1)).unwrap();
        put(&mut store, now, &person.prefix(now, "2001:db8:a::/48", 1)).unwrap();
    }
    for key in store.keys().copied().collect::<Vec<RecordKey>>() {
        assert!(!store.in_conflict(&key));
    }
}

#[test]
fn a_temporary_identity_publishes_the_same_after_a_restart_and_tells_no_time() {
    let midnight = start() - seconds(1_800_000_000 % DAY);
    let identity = |number: u8, after: u64| {
        let now = midnight + seconds(after);
        let identity = Identity::temporary_from_seed(&[number; 32], LAB, now).unwrap();
        publish(&identity.delegate(now, 0).unwrap(), now)
    };
    let (before, after) = (identity(1, 3600), identity(1, 70_000));
    assert_eq!(identity_of(&before), identity_of(&after));
    let mut store = store();
    put(&mut store, midnight + seconds(3600), &before).unwrap();
    let checked = store.signatures();
    assert_eq!(put(&mut store, midnight + seconds(70_000), &after), Ok(Admission::Stored));
    assert_eq!(store.signatures() - checked, 1);
    // All of a day begin at one time: what differs is a hash of what is public anyway.
    for number in 2..10 {
        let other = identity_of(&identity(number, u64::from(number) * 1000));
        let begin = |section: &Section| section.version.sequence / 1000;
        assert_eq!(begin(&other), begin(&identity_of(&before)));
        assert_eq!(other.lifetime.as_secs().abs_diff(identity_of(&before).lifetime.as_secs()) / 2, 0);
    }
}
