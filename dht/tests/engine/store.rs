// SPDX-License-Identifier: GPL-2.0-or-later
//! What a store takes, refuses, forgets and remembers.

use crate::common::{LAB, Person, mapping, prefix, rloc, seconds, start};
use cgeid::Reason;
use dht::limits;
use dht::publish::{self, Publication};
use dht::record::{Body, Bundle, CertificateCache, Class, RecordKey, Tlv, verify};
use dht::store::{Admission, Origin, Store};
use dht::{PublishError, Refusal};
use proptest::prelude::*;
use std::time::SystemTime;

fn store() -> Store {
    Store::new(LAB, [0; 32])
}

fn put(store: &mut Store, now: SystemTime, publication: &Publication) -> Result<Admission, Refusal> {
    store.put(now, Origin::Unknown, &publication.key.encode(), &publication.value)
}

#[test]
fn what_was_put_is_given_back_until_it_expires() {
    let mut store = store();
    let publication = Person::new(1).mapping(start(), 1);
    assert_eq!(put(&mut store, start(), &publication), Ok(Admission::Stored));
    assert_eq!(put(&mut store, start(), &publication), Ok(Admission::Refreshed));
    let key = publication.key.encode();
    assert_eq!(store.get(start() + seconds(3599), &key), Some(publication.value));
    // The mapping is gone after its hour; who the writer is remains known for a month.
    let later = Bundle::decode(&store.get(start() + seconds(3600), &key).unwrap()).unwrap();
    assert!(later.identity().is_some() && later.mapping().is_none());
    store.expire(start() + seconds(40 * 86_400));
    assert!(store.is_empty() && store.get(start(), &key).is_none());
}

#[test]
fn what_has_expired_is_looked_for_in_turns() {
    let mut store = store();
    for number in 1..=40 {
        put(&mut store, start(), &Person::new(number).mapping(start(), 1)).unwrap();
    }
    // The mapping of each is gone after its hour. Ten keys are looked at in a turn, and none is missed.
    for turn in 1..=8 {
        store.expire_next(start() + seconds(7200), 10, usize::MAX);
        assert_eq!((store.counters().expired, store.len()), (10 * turn.min(4), 40), "turn {turn}");
    }
    // Then all of them end at once. What begins in the middle comes round.
    let later = start() + seconds(60 * 86_400);
    store.expire_next(start() + seconds(7200), 7, usize::MAX);
    for turn in 1..=14 {
        store.expire_next(later, 1000, 3);
        assert_eq!(store.len(), 40_usize.saturating_sub(3 * turn), "turn {turn}");
    }
    assert!(store.changes().iter().all(|change| change.marks.is_none()), "nor are there marks any more");
}

#[test]
fn every_single_flipped_bit_is_refused() {
    let publication = Person::new(1).mapping(start(), 1);
    let mut store = store();
    let key = publication.key.encode();
    for bit in 0..publication.value.len() * 8 {
        let mut forged = publication.value.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(store.put(start(), Origin::Unknown, &key, &forged).is_err(), "bit {bit} taken");
    }
    assert!(store.is_empty() && store.changes().is_empty());
    let refused: u64 = store.counters().refused.values().sum();
    assert_eq!(refused, u64::try_from(publication.value.len()).unwrap() * 8);
}

#[test]
fn a_lower_sequence_is_refused_even_after_expiry_and_restart() {
    let mut person = Person::new(1);
    let old = person.prefix(start(), "2001:db8:a::/48", 1);
    let new = person.prefix(start() + seconds(60), "2001:db8:a::/48", 2);
    let mut first = store();
    put(&mut first, start() + seconds(60), &new).unwrap();
    let refusal = put(&mut first, start() + seconds(61), &old).unwrap_err();
    assert!(matches!(refusal, Refusal::OldSequence { .. }));
    assert_eq!(first.counters().refused.get("old-sequence"), Some(&1));

    let written = first.changes();
    assert_eq!(written.len(), 1);
    // With the record lost, the mark alone still protects.
    for keep_record in [true, false] {
        let mut second = store();
        for change in &written {
            let record = change.record.as_deref().filter(|_| keep_record);
            second.restore(start() + seconds(70), &change.key, record, change.marks.as_deref()).unwrap();
        }
        assert_eq!(second.len(), usize::from(keep_record));
        assert!(matches!(put(&mut second, start() + seconds(71), &old), Err(Refusal::OldSequence { .. })));
        assert!(put(&mut second, start() + seconds(71), &new).is_ok());
    }
    // A day after expiry the marks go: by then the old record has long expired itself.
    first.expire(start() + seconds(60 * 86_400));
    let gone = first.changes();
    assert!(gone.iter().all(|change| change.record.is_none() && change.marks.is_none()));
}

/// A store that takes back what another one has written, by the clock of `now`.
fn taken_back(from: &mut Store, now: SystemTime) -> Store {
    let mut store = store();
    from.rewrite();
    for change in from.changes() {
        store.restore(now, &change.key, change.record.as_deref(), change.marks.as_deref()).unwrap();
    }
    store
}

#[test]
fn what_is_from_the_future_by_a_slow_clock_is_kept_and_counts_when_the_clock_is_right() {
    let mut first = store();
    let publication = Person::new(1).mapping(start(), 1);
    put(&mut first, start(), &publication).unwrap();
    let (key, slow) = (publication.key.encode(), start() - seconds(3600));
    let mut second = taken_back(&mut first, slow);
    assert_eq!((second.len(), second.waiting()), (1, 1));
    assert!(second.changes().iter().all(|change| change.record.is_some()), "nor is it deleted on disk");
    assert_eq!(second.get(slow, &key), None);
    second.expire(slow);
    assert_eq!((second.prove(slow, 10), second.waiting()), (0, 1));
    // The clock is set.
    assert_eq!(second.get(start(), &key), Some(publication.value.clone()));
    assert_eq!(second.drop_ahead(start(), 10), 0);
    assert_eq!((second.prove(start(), 10), second.waiting(), second.len()), (0, 0, 1));
    assert!(second.counters().refused.is_empty(), "{:?}", second.counters());
    // Once more: whoever brings it again is not told that it is old.
    let mut third = taken_back(&mut first, slow);
    assert!(matches!(put(&mut third, slow, &publication), Err(Refusal::FromTheFuture(..))));
    assert_eq!((third.waiting(), put(&mut third, start(), &publication)), (1, Ok(Admission::Refreshed)));
    assert_eq!((third.waiting(), third.get(start(), &key)), (0, Some(publication.value)));
}

#[test]
fn what_waits_is_not_given_up_for_what_is_old_or_forged() {
    let mut first = store();
    let mut person = Person::new(1);
    let (old, new) = (person.mapping(start(), 1), person.mapping(start() + seconds(7200), 2));
    put(&mut first, start() + seconds(7200), &new).unwrap();
    let mut second = taken_back(&mut first, start());
    assert!(matches!(put(&mut second, start(), &old), Err(Refusal::OldSequence { .. })));
    let revocation = person.revoke(Reason::UNSPECIFIED, 0);
    let mut forged = revocation.clone();
    *forged.value.last_mut().unwrap() ^= 1;
    assert!(matches!(put(&mut second, start(), &forged), Err(Refusal::Signature(_))));
    assert_eq!((second.waiting(), second.len()), (1, 1));
    assert_eq!(second.get(start() + seconds(7200), &new.key.encode()), Some(new.value));
    assert_eq!(put(&mut second, start(), &revocation), Ok(Admission::Stored));
    assert_eq!(second.get(start(), &revocation.key.encode()), Some(revocation.value));
}

#[test]
fn what_is_from_the_future_by_a_right_clock_is_deleted_and_proves_nothing_before() {
    let mut first = store();
    let mut person = Person::new(1);
    let (old, new) = (person.mapping(start(), 1), person.mapping(start() + seconds(7200), 2));
    put(&mut first, start() + seconds(7200), &new).unwrap();
    let mut second = taken_back(&mut first, start());
    assert_eq!(second.drop_ahead(start(), 10), 1);
    assert_eq!((second.waiting(), second.counters().refused.get("from-the-future")), (0, Some(&1)));
    let left = Bundle::decode(&second.get(start(), &new.key.encode()).unwrap()).unwrap();
    assert!(left.identity().is_some() && left.mapping().is_none(), "who the writer is was said before");
    assert_eq!(second.changes()[0].record.as_ref(), Some(&left.encode().unwrap()), "and on disk as well");
    // Its mark can only make us stricter.
    assert!(matches!(put(&mut second, start(), &old), Err(Refusal::OldSequence { .. })));
    // What a forger has written there is found out when its time has come.
    first.rewrite();
    let change = first.changes().remove(0);
    let mut forged = change.record.unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let mut third = store();
    third.restore(start(), &change.key, Some(&forged), change.marks.as_deref()).unwrap();
    assert_eq!((third.waiting(), third.prove(start(), 10), third.len()), (1, 0, 1));
    let later = start() + seconds(7200);
    assert_eq!(third.get(later, &change.key), None);
    assert_eq!((third.prove(later, 10), third.len()), (0, 0));
}

#[test]
fn what_is_from_the_future_gives_way_to_all_else() {
    let mut first = store();
    for number in 1..=3 {
        put(&mut first, start(), &Person::new(number).mapping(start(), number)).unwrap();
    }
    let slow = start() - seconds(3600);
    let mut second = Store::with_capacity(LAB, [0; 32], 3);
    first.rewrite();
    for change in first.changes() {
        second.restore(slow, &change.key, change.record.as_deref(), change.marks.as_deref()).unwrap();
    }
    assert_eq!(second.waiting(), 3);
    for number in 4..=6 {
        let identity = cgeid::Identity::from_seed(&[number; 32], LAB, slow).unwrap();
        let key = identity.delegate(slow, 0).unwrap();
        let publication =
            publish::mapping(&key, LAB, mapping(number), slow, &mut publish::Sequence::default()).unwrap();
        assert_eq!(put(&mut second, slow, &publication), Ok(Admission::Stored));
    }
    assert_eq!((second.waiting(), second.len()), (0, 3));
}

#[test]
fn a_store_that_moves_keeps_all_and_is_near_to_other_keys() {
    let mut moved = store();
    let publications: Vec<_> = (1..=20).map(|number| Person::new(number).mapping(start(), number)).collect();
    publications.iter().for_each(|publication| _ = put(&mut moved, start(), publication).unwrap());
    let here = publications[7].key.point();
    moved.set_region(Some([0; 32]));
    moved.changes();
    moved.move_to(here);
    assert_eq!((moved.keys().next(), moved.len(), moved.region()), (Some(&publications[7].key), 20, None));
    assert!(moved.changes().is_empty(), "nothing is to be written");
    let mut there = Store::new(LAB, here);
    publications.iter().for_each(|publication| _ = put(&mut there, start(), publication).unwrap());
    assert!(moved.keys().eq(there.keys()));
    moved.expire(start() + seconds(60 * 86_400));
    assert!(moved.is_empty());
}

#[test]
fn what_expired_while_the_node_was_down_is_not_restored() {
    let mut person = Person::new(1);
    let (node, prefix) = (person.mapping(start(), 1), person.prefix(start(), "2001:db8:a::/48", 1));
    let mut first = store();
    put(&mut first, start(), &node).unwrap();
    put(&mut first, start(), &prefix).unwrap();
    let mut second = store();
    let later = start() + seconds(7200);
    for change in first.changes() {
        second.restore(later, &change.key, change.record.as_deref(), change.marks.as_deref()).unwrap();
    }
    let node = Bundle::decode(&second.get(later, &node.key.encode()).unwrap()).unwrap();
    assert!(node.identity().is_some() && node.mapping().is_none());
    assert_eq!(second.get(later, &prefix.key.encode()), None);
    assert_eq!(second.len(), 1);
}

#[test]
fn a_disk_is_not_trusted() {
    let publication = Person::new(1).mapping(start(), 1);
    let mut first = store();
    put(&mut first, start(), &publication).unwrap();
    let change = first.changes().remove(0);
    let mut forged = change.record.unwrap();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    // Whether it is asked for first, or put again, or its turn comes: what nobody signed is not shown, and goes.
    for way in 0..3 {
        let mut second = store();
        second.restore(start(), &change.key, Some(&forged), change.marks.as_deref()).unwrap();
        if way == 0 {
            assert_eq!(second.get(start(), &change.key), None);
        }
        if way == 1 {
            assert_eq!(put(&mut second, start(), &publication), Ok(Admission::Stored));
            assert_eq!(second.get(start(), &change.key).as_ref(), Some(&publication.value));
            assert!(!second.in_conflict(&publication.key));
        } else {
            assert_eq!(second.prove(start(), 10), 0);
            assert!(second.is_empty() && second.changes()[0].record.is_none(), "the forged record is to be deleted");
        }
        assert_eq!(second.counters().refused.get("signature"), Some(&1));
    }
    // What its marks do not know was not written by us.
    for marks in [None, Some(&[][..])] {
        let mut second = store();
        let refusal = second.restore(start(), &change.key, Some(&publication.value), marks);
        assert_eq!(refusal, Err(Refusal::Unmarked(Class::Identity)));
        assert!(second.is_empty() && second.changes()[0].record.is_none());
    }
}

#[test]
fn nobody_writes_under_the_key_of_another() {
    let (mut owner, mut other) = (Person::new(1), Person::new(2));
    let (mine, theirs) = (owner.mapping(start(), 1), other.mapping(start(), 2));
    let mut store = store();
    let refusal = store.put(start(), Origin::Unknown, &mine.key.encode(), &theirs.value).unwrap_err();
    assert_eq!(refusal, Refusal::OtherOwner(Class::Identity, other.cn()));
    // Not even with the owner's name and certificates, which everybody can copy.
    let copied = Bundle::decode(&mine.value).unwrap().section(Class::Identity).cloned().unwrap();
    let mut mapping = Bundle::decode(&theirs.value).unwrap().section(Class::Mapping).cloned().unwrap();
    mapping.cn = owner.cn();
    mapping.version.epoch = copied.version.epoch;
    let forged = Bundle::new(vec![copied, mapping]).unwrap().encode().unwrap();
    assert_eq!(
        store.put(start(), Origin::Unknown, &mine.key.encode(), &forged),
        Err(Refusal::Signature(Class::Mapping))
    );
}

#[test]
fn a_record_cannot_be_moved() {
    let mut person = Person::new(1);
    let publication = person.prefix(start(), "2001:db8:a::/48", 1);
    let mut store = store();
    // To another key of the same writer:
    let key = RecordKey::prefix(LAB, person.cn(), prefix("2001:db8:b::/48"));
    let refusal = store.put(start(), Origin::Unknown, &key.encode(), &publication.value);
    assert_eq!(refusal, Err(Refusal::OtherPrefix(Class::Prefix)));
    // The IDENTITY of one key beside the statement of another:
    let node = person.mapping(start(), 1);
    let identity = Bundle::decode(&publication.value).unwrap().section(Class::Identity).cloned().unwrap();
    let mapping = Bundle::decode(&node.value).unwrap().section(Class::Mapping).cloned().unwrap();
    let mixed = Bundle::new(vec![identity, mapping]).unwrap().encode().unwrap();
    let refusal = store.put(start(), Origin::Unknown, &node.key.encode(), &mixed);
    assert_eq!(refusal, Err(Refusal::Signature(Class::Identity)));
    // To another network:
    let elsewhere = cgeid::Network([0x20, 1, 0xd, 0xb8]);
    let moved = RecordKey { network: elsewhere, ..node.key };
    assert_eq!(store.put(start(), Origin::Unknown, &moved.encode(), &node.value), Err(Refusal::OtherNetwork));
    let mut foreign = Store::new(elsewhere, [0; 32]);
    assert!(foreign.put(start(), Origin::Unknown, &moved.encode(), &node.value).is_err());
    assert!(store.is_empty() && foreign.is_empty());
}

#[test]
fn times_are_checked() {
    let mut person = Person::new(1);
    let publication = person.mapping(start(), 1);
    let mut store = store();
    let early = put(&mut store, start() - seconds(121), &publication).unwrap_err();
    assert!(matches!(early, Refusal::FromTheFuture(Class::Mapping, _)), "{early:?}");
    let late = put(&mut store, start() + seconds(3600), &publication).unwrap_err();
    assert!(matches!(late, Refusal::Expired(Class::Mapping, _)), "{late:?}");
    assert!(put(&mut store, start() - seconds(119), &publication).is_ok());

    let mut bundle = Bundle::decode(&publication.value).unwrap().into_sections();
    bundle[1].lifetime = seconds(3601);
    let key = publication.key;
    bundle[1].signature = person.key.sign(&bundle[1].signed_bytes(&key).unwrap()).into();
    let value = Bundle::new(bundle).unwrap().encode().unwrap();
    let refusal = verify(LAB, &key, &value, start(), &mut CertificateCache::new()).unwrap_err();
    assert_eq!(refusal, Refusal::Lifetime(Class::Mapping, seconds(3601)));
    // A clock that went back by more than others tolerate must not make us publish.
    let behind = publish::mapping(&person.key, LAB, mapping(1), start() - seconds(300), &mut person.sequence);
    assert!(matches!(behind, Err(PublishError::ClockBehind(_) | PublishError::CertificateExpired)));
}

#[test]
fn a_later_epoch_ends_the_earlier_one() {
    let mut person = Person::new(1);
    let stolen = person.mapping(start() + seconds(50), 66);
    let replaced = person.identity.delegate_revision(start(), 0, 1).unwrap();
    let mut sequence = publish::Sequence::default();
    let fresh = publish::mapping(&replaced, LAB, mapping(1), start(), &mut sequence).unwrap();
    for order in [[&stolen, &fresh], [&fresh, &stolen]] {
        let mut store = store();
        for publication in order {
            _ = put(&mut store, start() + seconds(60), publication);
        }
        let key = fresh.key.encode();
        assert_eq!(store.get(start() + seconds(60), &key).as_ref(), Some(&fresh.value));
    }
}

#[test]
fn equivocation_converges_in_both_orders() {
    let person = Person::new(1);
    let version = |last_octet| {
        let mut sequence = publish::Sequence::default();
        publish::mapping(&person.key, LAB, mapping(last_octet), start(), &mut sequence).unwrap()
    };
    let (one, two) = (version(1), version(2));
    let mut outcomes = Vec::new();
    for order in [[&one, &two], [&two, &one]] {
        let mut store = store();
        assert_eq!(put(&mut store, start(), order[0]), Ok(Admission::Stored));
        assert_eq!(put(&mut store, start(), order[1]), Ok(Admission::Conflict));
        assert!(store.in_conflict(&one.key));
        outcomes.push(store.get(start(), &one.key.encode()));
    }
    assert_eq!(outcomes[0], outcomes[1]);
    // The owner ends it with a later statement.
    let mut store = store();
    let mut person = person;
    put(&mut store, start(), &one).unwrap();
    put(&mut store, start(), &two).unwrap();
    let later = person.mapping(start() + seconds(1), 3);
    put(&mut store, start() + seconds(1), &later).unwrap();
    assert!(!store.in_conflict(&one.key));
}

#[test]
fn a_forged_rival_marks_no_conflict() {
    let publication = Person::new(1).mapping(start(), 1);
    let mut store = store();
    put(&mut store, start(), &publication).unwrap();
    let mut sections = Bundle::decode(&publication.value).unwrap().into_sections();
    let Body::Mapping(body) = &mut sections[1].body else { panic!("a mapping") };
    body.locators.insert(rloc(66));
    let forged = Bundle::new(sections).unwrap().encode().unwrap();
    let refusal = store.put(start(), Origin::Unknown, &publication.key.encode(), &forged);
    assert_eq!(refusal, Err(Refusal::Signature(Class::Mapping)));
    assert!(!store.in_conflict(&publication.key));
}

#[test]
fn a_key_changes_five_times_at_once_and_then_every_ten_seconds() {
    let (mut person, mut store) = (Person::new(1), store());
    let mut now = start();
    for last_octet in 1..=5 {
        now += seconds(1);
        assert!(put(&mut store, now, &person.mapping(now, last_octet)).is_ok());
    }
    let sixth = person.mapping(now, 6);
    assert_eq!(put(&mut store, now, &sixth), Err(Refusal::Quota));
    assert!(put(&mut store, now + seconds(10), &sixth).is_ok());
    // Forgeries do not use up what the owner has.
    let mut person = Person::new(2);
    let publication = person.mapping(now, 1);
    let mut forged = publication.value.clone();
    *forged.last_mut().unwrap() ^= 1;
    for _ in 0..20 {
        assert!(store.put(now, Origin::Unknown, &publication.key.encode(), &forged).is_err());
    }
    assert!(put(&mut store, now, &publication).is_ok());
}

#[test]
fn a_full_store_keeps_the_nearest_and_refuses_no_renewal() {
    let mut people: Vec<Person> = (1..=6).map(Person::new).collect();
    let mut store = Store::with_capacity(LAB, [0; 32], 3);
    for person in &mut people {
        _ = put(&mut store, start(), &person.mapping(start(), 1));
    }
    assert_eq!(store.len(), 3);
    let mut points: Vec<[u8; 32]> = people.iter().map(|one| RecordKey::node(LAB, one.cn()).point()).collect();
    points.sort();
    let held: Vec<[u8; 32]> = store.keys().map(RecordKey::point).collect();
    assert_eq!(held, points[..3]);
    let later = start() + seconds(20);
    for person in &mut people {
        let near = held.contains(&RecordKey::node(LAB, person.cn()).point());
        assert_eq!(put(&mut store, later, &person.mapping(later, 2)).is_ok(), near);
    }
}

#[test]
fn oversized_and_malformed_puts_are_refused() {
    let publication = Person::new(1).mapping(start(), 1);
    let (key, mut store) = (publication.key.encode(), store());
    let huge = vec![0; 12 * 1024 + 1];
    assert_eq!(store.put(start(), Origin::Unknown, &key, &huge), Err(Refusal::TooLarge(huge.len())));
    assert!(matches!(store.put(start(), Origin::Unknown, &key[1..], &publication.value), Err(Refusal::Key(_))));
    let prefix_record = Person::new(2).prefix(start(), "2001:db8:a::/48", 1);
    for cut in 0..prefix_record.value.len() {
        assert!(store.put(start(), Origin::Unknown, &prefix_record.key.encode(), &prefix_record.value[..cut]).is_err());
    }
    let long = [&publication.value[..], &[0]].concat();
    assert!(matches!(store.put(start(), Origin::Unknown, &key, &long), Err(Refusal::Malformed(_))));
    let mut sections = Bundle::decode(&publication.value).unwrap().into_sections();
    sections.swap(0, 1);
    let swapped: Vec<u8> = sections.iter().flat_map(|section| section.encode().unwrap()).collect();
    assert!(matches!(store.put(start(), Origin::Unknown, &key, &swapped), Err(Refusal::Malformed(_))));
    assert!(store.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the order in which two partitions hear of a writer's statements, they end with the same bundle.
    #[test]
    fn merge_does_not_depend_on_the_order(
        times in proptest::collection::vec(0u64..100, 1..5),
        order in Just((0usize..5).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let person = Person::new(3);
        let now = start() + seconds(100);
        let publications: Vec<Publication> = times
            .iter()
            .enumerate()
            .map(|(number, time)| {
                // Equal times are equivocations, which must converge too.
                let mut sequence = publish::Sequence::default();
                let last_octet = u8::try_from(number).unwrap();
                publish::mapping(&person.key, LAB, mapping(last_octet), start() + seconds(*time), &mut sequence).unwrap()
            })
            .collect();
        let (mut one, mut two) = (store(), store());
        for publication in &publications {
            _ = put(&mut one, now, publication);
        }
        for &at in order.iter().filter(|&&at| at < publications.len()) {
            _ = put(&mut two, now, &publications[at]);
        }
        let key = publications[0].key.encode();
        prop_assert_eq!(one.get(now, &key), two.get(now, &key));
    }
}

/// Signs a section again after it was changed, as its owner would.
fn resign(person: &Person, publication: &Publication, change: impl Fn(&mut dht::record::Section)) -> Vec<u8> {
    let mut sections = Bundle::decode(&publication.value).unwrap().into_sections();
    for section in &mut sections {
        change(section);
        section.signature = person.key.sign(&section.signed_bytes(&publication.key).unwrap()).into();
    }
    Bundle::new(sections).unwrap().encode().unwrap()
}

#[test]
fn even_the_owner_is_held_to_the_format() {
    let mut person = Person::new(1);
    let (node, site) = (person.mapping(start(), 1), person.prefix(start(), "2001:db8:a::/48", 1));
    let mut store = store();
    let key = node.key.encode();
    let withdrawn = resign(&person, &node, |section| section.flags.withdrawn = true);
    assert_eq!(store.put(start(), Origin::Unknown, &key, &withdrawn), Err(Refusal::Flags(Class::Identity)));
    let rsa = resign(&person, &node, |section| section.algorithm = cgeid::SignatureAlgorithm::RsaPkcs1Sha512);
    assert_eq!(store.put(start(), Origin::Unknown, &key, &rsa), Err(Refusal::Flags(Class::Identity)));
    let epoch = 12;
    let other_epoch = resign(&person, &node, |section| section.version.epoch = epoch);
    assert_eq!(store.put(start(), Origin::Unknown, &key, &other_epoch), Err(Refusal::Epoch(Class::Identity, epoch)));
    let moved = store.put(start(), Origin::Unknown, &site.key.encode(), &node.value);
    assert_eq!(moved, Err(Refusal::MisplacedClass(Class::Mapping)));
    assert!(store.is_empty());
    assert_eq!(store.counters().refused.values().sum::<u64>(), 4);
}

#[test]
fn an_operational_certificate_that_has_run_out_proves_nothing() {
    let person = Person::new(1);
    let publication = Person::new(1).mapping(start(), 1);
    // Signed long after the certificate's 35 days, by whoever has found the old key.
    let later = start() + seconds(40 * 86_400);
    let sequence = u64::try_from(later.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let mut sections = Bundle::decode(&publication.value).unwrap().into_sections();
    let Body::Identity(identity) = &mut sections[0].body else { panic!("IDENTITY comes first") };
    identity.operational = vec![person.key.certificate_der().into()];
    let own = Publication { value: Bundle::new(sections).unwrap().encode().unwrap(), ..publication };
    let stale = resign(&person, &own, |section| section.version.sequence = sequence);
    let refusal = store().put(later, Origin::Unknown, &own.key.encode(), &stale).unwrap_err();
    assert!(matches!(refusal, Refusal::OperationalCertificate(cgeid::CertificateError::Expired { .. })), "{refusal:?}");
}

/// Only the IDENTITY of what somebody published, which everybody can cut out.
fn identity_of(publication: &Publication) -> Vec<u8> {
    let section = Bundle::decode(&publication.value).unwrap().section(Class::Identity).cloned().unwrap();
    Bundle::new(vec![section]).unwrap().encode().unwrap()
}

#[test]
fn a_later_identity_alone_does_not_spoil_the_bundle() {
    // Two operational keys of one month, hence one epoch: an owner may have delegated twice, or have two machines.
    let (mut one, mut two) = (Person::new(1), Person::new(1));
    two.key = two.identity.delegate(start() + seconds(1), 0).unwrap();
    let (now, key) = (start() + seconds(60), one.mapping(start(), 1).key);
    let (first, second) = (one.mapping(start(), 1), two.mapping(start() + seconds(1), 2));
    let cut = identity_of(&second);
    let mut outcomes = Vec::new();
    for order in [[&first.value, &cut], [&cut, &first.value]] {
        let mut store = store();
        for value in order {
            _ = store.put(now, Origin::Unknown, &key.encode(), value);
        }
        let held = store.get(now, &key.encode()).unwrap();
        assert!(verify(LAB, &key, &held, now, &mut CertificateCache::new()).is_ok());
        outcomes.push(held);
        // Its own statement is welcome all the same.
        assert_eq!(put(&mut store, now, &second), Ok(Admission::Stored));
        assert_eq!(store.get(now, &key.encode()).as_ref(), Some(&second.value));
    }
    assert_eq!(outcomes[0], outcomes[1]);
    // Nor is a mixture of the two taken.
    let mut sections = Bundle::decode(&cut).unwrap().into_sections();
    sections.extend(Bundle::decode(&first.value).unwrap().section(Class::Mapping).cloned());
    let mixed = Bundle::new(sections).unwrap().encode().unwrap();
    let mut store = store();
    put(&mut store, now, &first).unwrap();
    assert_eq!(store.put(now, Origin::Unknown, &key.encode(), &mixed), Err(Refusal::Superseded(Class::Mapping)));
    assert_eq!(store.get(now, &key.encode()), Some(first.value));
}

#[test]
fn a_mark_outlasts_an_earlier_statement_that_holds_for_longer() {
    let mut person = Person::new(1);
    let old = person.mapping(start(), 1);
    let new = person.mapping(start() + seconds(1), 2);
    let short = resign(&person, &new, |section| {
        section.version.sequence = new.sequence;
        section.lifetime = seconds(60);
    });
    let (mut store, key) = (store(), old.key.encode());
    put(&mut store, start(), &old).unwrap();
    store.put(start() + seconds(1), Origin::Unknown, &key, &short).unwrap();
    // The later IDENTITY is gone, and its day is over; the earlier one has a month to go.
    let later = start() + seconds(3 * 86_400);
    store.expire(later);
    let refusal = store.put(later, Origin::Unknown, &key, &identity_of(&old)).unwrap_err();
    assert!(matches!(refusal, Refusal::OldSequence { class: Class::Identity, .. }), "{refusal:?}");
}

#[test]
fn what_is_held_already_costs_no_quota() {
    let (mut person, mut store) = (Person::new(1), store());
    let publications: Vec<Publication> = (1..=5).map(|octet| person.mapping(start(), octet)).collect();
    for publication in &publications {
        assert_eq!(put(&mut store, start(), publication), Ok(Admission::Stored));
    }
    for _ in 0..20 {
        assert_eq!(put(&mut store, start(), &publications[4]), Ok(Admission::Refreshed));
    }
    assert!(matches!(put(&mut store, start(), &publications[0]), Err(Refusal::OldSequence { .. })));
}

#[test]
fn the_size_is_that_of_the_values() {
    let mut people: Vec<Person> = (1..=6).map(Person::new).collect();
    let mut store = Store::with_capacity(LAB, [0; 32], 4);
    for round in 0..4 {
        let now = start() + seconds(round * 2000);
        for (octet, person) in (1..).zip(&mut people) {
            _ = put(&mut store, now, &person.mapping(now, octet));
            _ = put(&mut store, now, &person.prefix(now, "2001:db8:a::/48", octet));
        }
        store.expire(now);
        let keys: Vec<Vec<u8>> = store.keys().map(RecordKey::encode).collect();
        assert_eq!(store.size(), keys.iter().map(|key| store.get(now, key).unwrap().len()).sum::<usize>());
    }
    store.expire(start() + seconds(60 * 86_400));
    assert_eq!((store.size(), store.len()), (0, 0));
}

#[test]
fn what_comes_back_from_disk_unchanged_is_not_written_again() {
    let mut first = store();
    put(&mut first, start(), &Person::new(1).mapping(start(), 1)).unwrap();
    let change = first.changes().remove(0);
    let (record, marks) = (change.record.as_deref(), change.marks.as_deref());
    let mut second = store();
    second.restore(start(), &change.key, record, marks).unwrap();
    assert!(second.changes().is_empty() && second.len() == 1);
    // What the disk has garbled is deleted.
    let mut third = store();
    assert!(third.restore(start(), &change.key, record, Some(&[0xff])).is_err());
    assert_eq!((third.changes().remove(0).marks, third.len()), (None, 0));
}

#[test]
fn long_bundles_take_the_place_of_others() {
    let capacity = 8;
    let mut store = Store::with_capacity(LAB, [0; 32], capacity);
    let mut renewed = 0;
    for number in 1..=20 {
        let mut person = Person::new(number);
        // A short one first, which then grows: neither way may take more than the store has.
        _ = put(&mut store, start(), &person.mapping(start(), 1));
        let mut long = mapping(2);
        let filler = |kind| Tlv { kind, value: vec![0; 500].into() };
        long.unknown = vec![filler(0x7000)];
        let node = publish::mapping(&person.key, LAB, long, start(), &mut person.sequence).unwrap();
        let padded = resign(&person, &node, |section| {
            section.version.sequence = node.sequence;
            if let Body::Identity(identity) = &mut section.body {
                identity.unknown = (0x7000..0x7005).map(filler).collect();
            }
        });
        assert!(padded.len() > limits::BUNDLE_SHARE + 500);
        renewed += usize::from(store.put(start(), Origin::Unknown, &node.key.encode(), &padded).is_ok());
        assert!(store.size() <= capacity * limits::BUNDLE_SHARE && store.len() <= capacity);
    }
    assert!(renewed >= capacity / 2 && store.len() < capacity);
}

/// What strangers can make of published bundles: the IDENTITY of one, and perhaps the statement of another.
fn cuttings() -> impl Strategy<Value = Vec<(usize, usize, bool)>> {
    proptest::collection::vec((0usize..6, 0usize..6, any::<bool>()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the statements of an owner with several keys are cut and mixed: what is held verifies, and stores that hand
    /// each other what they hold do not contradict each other.
    #[test]
    fn mixtures_neither_spoil_nor_divide(orders in proptest::collection::vec(cuttings(), 3), rivals in any::<bool>()) {
        let now = start() + seconds(100);
        let mut people = [Person::new(1), Person::new(1), Person::new(1)];
        people[2].key = people[2].identity.delegate_revision(start(), 0, 1).unwrap();
        let bundles: Vec<Vec<dht::record::Section>> = (0..6u8)
            .map(|number| {
                let time = start() + seconds(if rivals { u64::from(number / 3) } else { number.into() });
                let publication = people[usize::from(number % 3)].mapping(time, number);
                Bundle::decode(&publication.value).unwrap().into_sections()
            })
            .collect();
        let key = RecordKey::node(LAB, people[0].cn());
        let mut stores = [store(), store(), store()];
        let verifies = |value: &[u8]| verify(LAB, &key, value, now, &mut CertificateCache::new());
        for (store, order) in stores.iter_mut().zip(&orders) {
            for (identity, statement, whole) in order {
                let mut sections = vec![bundles[*identity][0].clone()];
                sections.extend(whole.then(|| bundles[*statement][1].clone()));
                _ = store.put(now, Origin::Unknown, &key.encode(), &Bundle::new(sections).unwrap().encode().unwrap());
                let held = store.get(now, &key.encode());
                prop_assert!(held.is_none_or(|held| verifies(&held).is_ok()));
            }
        }
        let mut later = now;
        for _ in 0..3 {
            for (from, to) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                later += seconds(60);
                if let Some(value) = stores[from].get(later, &key.encode()) {
                    _ = stores[to].put(later, Origin::Unknown, &key.encode(), &value);
                }
            }
        }
        let held = stores.each_ref().map(|store| store.get(later, &key.encode()));
        prop_assert!(held.iter().flatten().all(|value| verifies(value).is_ok()));
        let known: Vec<Bundle> = held.iter().flatten().map(|value| Bundle::decode(value).unwrap()).collect();
        for class in [Class::Identity, Class::Mapping] {
            // One that met a later statement of a key that has lost its certificate holds none, until the owner's next.
            let sections: Vec<_> = known.iter().filter_map(|bundle| bundle.section(class)).collect();
            prop_assert!(sections.windows(2).all(|pair| pair[0] == pair[1]), "stores do not agree");
        }
    }
}

#[test]
fn the_ends_of_the_number_range_are_refused() {
    let mut person = Person::new(1);
    let publication = person.mapping(start(), 1);
    let (mut store, key) = (store(), publication.key.encode());
    let mut offer = |change: &dyn Fn(&mut dht::record::Section)| {
        store.put(start(), Origin::Unknown, &key, &resign(&person, &publication, change))
    };
    for sequence in [u64::MAX, u64::MAX / 1000, i64::MAX.unsigned_abs()] {
        let refusal = offer(&|section| section.version.sequence = sequence).unwrap_err();
        assert!(matches!(refusal, Refusal::FromTheFuture(Class::Identity, _)), "{refusal:?}");
    }
    let refusal = offer(&|section| section.version.sequence = 0).unwrap_err();
    assert!(matches!(refusal, Refusal::Expired(..)), "{refusal:?}");
    let refusal = offer(&|section| section.lifetime = seconds(0)).unwrap_err();
    assert!(matches!(refusal, Refusal::Expired(..)), "{refusal:?}");
    let refusal = offer(&|section| section.lifetime = seconds(u32::MAX.into())).unwrap_err();
    assert!(matches!(refusal, Refusal::Lifetime(..)), "{refusal:?}");
    let refusal = offer(&|section| section.version.epoch = u32::MAX).unwrap_err();
    assert!(matches!(refusal, Refusal::Epoch(..)), "{refusal:?}");
    assert!(store.is_empty());
}
