// SPDX-License-Identifier: GPL-2.0-or-later
//! Who is let in: the messages, the rules against what a peer presents, and nodes on loopback among strangers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::{LAB, Person, seconds, start};
use cgeid::{Cn, Network, OperationalKey, PuzzleBits};
use dht::admit::judge::{node_id, node_key};
use dht::admit::message::Millis;
use dht::admit::{Admitted, Answer, Credentials, Ends, Kind, NetworkKey, Presentation, Refused, Rules, judge, present};
use dht::record::CertificateCache;
use dht::store::{Origin, Standing, Store};
use dht::{Malformed, limits};
use proptest::prelude::*;

/// The node that judges.
const JUDGE: [u8; 38] = [7; 38];

fn id(key: &OperationalKey) -> [u8; 38] {
    node_id(&key.certificate().key().ed25519().unwrap())
}

fn presented(rules: &Rules, key: &OperationalKey, now: SystemTime) -> Presentation {
    present(rules, Kind::Server, Some(Credentials::of(key)), Ends { from: &id(key), to: &JUDGE }, now)
}

/// What becomes of a presentation by the node `from`.
fn verdict_on(
    rules: &Rules,
    from: &[u8],
    presentation: &Presentation,
    now: SystemTime,
    standing: Standing,
) -> Result<Admitted, Refused> {
    let ends = Ends { from, to: &JUDGE };
    judge(rules, ends, presentation, now, &mut CertificateCache::new(), |_| standing)
}

fn verdict(rules: &Rules, key: &OperationalKey, now: SystemTime, standing: Standing) -> Result<Admitted, Refused> {
    verdict_on(rules, &id(key), &presented(rules, key, now), now, standing)
}

fn network_key(first: u8) -> NetworkKey {
    NetworkKey::new(std::array::from_fn(|index| first.wrapping_add(u8::try_from(index).unwrap()))).unwrap()
}

#[test]
fn a_server_is_admitted_for_as_long_as_its_certificates_hold() {
    let person = Person::new(1);
    let Ok(Admitted::Server(member)) = verdict(&Rules::default(), &person.key, start(), Standing::default()) else {
        panic!("not admitted")
    };
    assert_eq!((member.cn, member.epoch), (person.cn(), person.key.epoch()));
    assert_eq!(member.until, person.key.certificate().not_after());
}

#[test]
fn a_client_has_nothing_to_show() {
    let ends = Ends { from: &[1; 38], to: &JUDGE };
    let client = present(&Rules::default(), Kind::Client, None, ends, start());
    let verdict = verdict_on(&Rules::default(), ends.from, &client, start(), Standing::default());
    assert_eq!(verdict, Ok(Admitted::Client));
}

#[test]
fn certificates_are_for_the_key_of_the_connection_and_no_other() {
    let (person, thief) = (Person::new(1), Person::new(2));
    let stolen = presented(&Rules::default(), &person.key, start());
    let verdict = verdict_on(&Rules::default(), &id(&thief.key), &stolen, start(), Standing::default());
    assert_eq!(verdict, Err(Refused::OtherKey));
    let not_ed25519 = verdict_on(&Rules::default(), b"another kind of id", &stolen, start(), Standing::default());
    assert_eq!(not_ed25519, Err(Refused::OtherKey));
    assert_eq!(node_key(&id(&person.key)), person.key.certificate().key().ed25519());
}

#[test]
fn another_network_is_another_network() {
    let person = Person::new(1);
    let rules = Rules { network: Network([0x20, 1, 0xd, 0xb8]), ..Rules::default() };
    let here = presented(&Rules::default(), &person.key, start());
    assert_eq!(
        verdict_on(&rules, &id(&person.key), &here, start(), Standing::default()),
        Err(Refused::OtherNetwork(LAB))
    );
    let claimed = Presentation { network: rules.network, ..here };
    let verdict = verdict_on(&rules, &id(&person.key), &claimed, start(), Standing::default());
    assert!(matches!(verdict, Err(Refused::Certificate(_))), "{verdict:?}");
}

#[test]
fn a_key_needs_the_bits_that_the_network_asks_for() {
    let person = Person::new(1);
    let mut bits = PuzzleBits::LAB;
    let key = loop {
        // A key of the lab that has no more than it must.
        let key = person.identity.delegate(start(), 0).unwrap();
        bits = bits.max(cgeid::puzzle::zero_bits(key.certificate().key(), key.epoch()));
        if bits == PuzzleBits::LAB {
            break key;
        }
        bits = PuzzleBits::LAB;
    };
    let strict = Rules { puzzle: PuzzleBits::new(5).unwrap(), ..Rules::default() };
    assert!(verdict(&Rules::default(), &key, start(), Standing::default()).is_ok());
    let refused = verdict(&strict, &key, start(), Standing::default()).unwrap_err();
    assert_eq!(refused, Refused::Puzzle { found: bits, asked: strict.puzzle });
}

#[test]
fn a_key_is_admitted_in_its_month_and_for_some_days_of_the_next() {
    let person = Person::new(1);
    let old = person.identity.delegate(start(), 0).unwrap();
    let ahead = person.identity.delegate(start(), 3).unwrap();
    let now = ahead.certificate().not_before() + seconds(3600);
    assert!(verdict(&Rules::default(), &ahead, now, Standing::default()).is_ok());
    let verdict = verdict(&Rules::default(), &old, now, Standing::default());
    assert!(matches!(verdict, Err(Refused::Certificate(_) | Refused::Dates(_))), "{verdict:?}");
    let next_month = old.certificate().not_after() - seconds(60);
    assert!(next_month > start() + cgeid::epoch::PERIOD);
    assert!(
        self::verdict(&Rules::default(), &old, next_month, Standing::default()).is_ok(),
        "some days of the next month"
    );
}

#[test]
fn a_certificate_that_holds_by_the_peers_clock_says_that_a_clock_is_wrong() {
    let person = Person::new(1);
    let honest = presented(&Rules::default(), &person.key, start());
    for ours in [start() - seconds(86_400), start() + seconds(86_400 * 60)] {
        let verdict = verdict_on(&Rules::default(), &id(&person.key), &honest, ours, Standing::default());
        assert!(matches!(verdict, Err(Refused::Dates(_))), "{verdict:?}");
    }
    let also_old = Presentation { time: Millis::of(start() + seconds(86_400 * 61)), ..honest };
    let now = start() + seconds(86_400 * 60);
    let verdict = verdict_on(&Rules::default(), &id(&person.key), &also_old, now, Standing::default());
    assert!(matches!(verdict, Err(Refused::Certificate(_))), "{verdict:?}");
}

#[test]
fn a_revoked_identity_and_a_replaced_key_are_not_admitted() {
    let person = Person::new(1);
    let (rules, epoch) = (Rules::default(), person.key.epoch());
    let revoked = Standing { is_revoked: true, epoch: None };
    assert_eq!(verdict(&rules, &person.key, start(), revoked), Err(Refused::Revoked(person.cn())));
    let replaced = Standing { is_revoked: false, epoch: Some(epoch + 1) };
    let refused = Refused::Superseded { found: epoch, known: epoch + 1 };
    assert_eq!(verdict(&rules, &person.key, start(), replaced), Err(refused));
    let next_month = Standing { is_revoked: false, epoch: Some(epoch + 256) };
    assert!(verdict(&rules, &person.key, start(), next_month).is_ok(), "it stays until its certificate ends");
    let same = Standing { is_revoked: false, epoch: Some(epoch) };
    assert!(verdict(&rules, &person.key, start(), same).is_ok());
}

#[test]
fn a_store_knows_what_stands_against_an_identity() {
    let mut person = Person::new(1);
    let mut store = Store::new(LAB, [0; 32]);
    assert_eq!(store.standing(person.cn()), Standing::default());
    let mapping = person.mapping(start(), 1);
    store.put(start(), Origin::Unknown, &mapping.key.encode(), &mapping.value).unwrap();
    let known = Standing { is_revoked: false, epoch: Some(person.key.epoch()) };
    assert_eq!(store.standing(person.cn()), known);
    let revocation = person.revoke(cgeid::Reason::UNSPECIFIED, 1);
    store.put(start() + seconds(20), Origin::Unknown, &revocation.key.encode(), &revocation.value).unwrap();
    assert!(store.standing(person.cn()).is_revoked);
    assert_eq!(store.standing(Cn([9; 12])), Standing::default());
}

#[test]
fn a_closed_network_takes_nobody_without_its_key() {
    let person = Person::new(1);
    let closed = Rules { key: Some(network_key(1)), ..Rules::default() };
    let other = Rules { key: Some(network_key(2)), ..Rules::default() };
    let from = id(&person.key);
    assert!(verdict(&closed, &person.key, start(), Standing::default()).is_ok());
    for stranger in [&Rules::default(), &other] {
        let shown = presented(stranger, &person.key, start());
        let verdict = verdict_on(&closed, &from, &shown, start(), Standing::default());
        assert_eq!(verdict, Err(Refused::NetworkKey));
    }
    let ends = Ends { from: &from, to: &JUDGE };
    let client = present(&Rules::default(), Kind::Client, None, ends, start());
    assert_eq!(verdict_on(&closed, &from, &client, start(), Standing::default()), Err(Refused::NetworkKey));
    // What a member has shown to another is of no use to who hears it.
    let overheard = presented(&closed, &person.key, start());
    let elsewhere = Ends { from: &from, to: &[8; 38] };
    let verdict = judge(&closed, elsewhere, &overheard, start(), &mut CertificateCache::new(), |_| Standing::default());
    assert_eq!(verdict, Err(Refused::NetworkKey));
    let reflected = verdict_on(&closed, &JUDGE, &overheard, start(), Standing::default());
    assert_eq!(reflected, Err(Refused::NetworkKey));
}

#[test]
fn every_reason_has_a_code_and_a_name_of_its_own() {
    let epoch = |found, known| Refused::Superseded { found, known };
    let error = cgeid::CertificateError::Dates;
    let all = [
        Refused::OtherNetwork(LAB),
        Refused::NetworkKey,
        Refused::Certificate(error.clone()),
        Refused::Dates(error),
        Refused::OtherKey,
        Refused::Puzzle { found: PuzzleBits::NONE, asked: PuzzleBits::LAB },
        Refused::Revoked(Cn([1; 12])),
        epoch(1, 2),
        Refused::Epoch { found: 1 },
        Refused::TooOften,
        Refused::Malformed(Malformed::Missing("all of it")),
    ];
    let codes: std::collections::BTreeSet<u8> = all.iter().map(Refused::code).collect();
    let names: std::collections::BTreeSet<&str> = all.iter().map(Refused::name).collect();
    assert_eq!((codes.len(), names.len()), (all.len(), all.len()));
    assert!(!codes.contains(&Answer::WELCOME) && !names.contains("unknown"));
}

#[test]
fn a_presentation_has_one_encoding_and_a_bound() {
    let person = Person::new(1);
    let good = presented(&Rules { key: Some(network_key(1)), ..Rules::default() }, &person.key, start());
    let octets = good.encode();
    assert_eq!(Presentation::decode(&octets), Ok(good.clone()));
    assert!(octets.len() < 2000, "{} octets", octets.len());
    let longer = [&octets[..], &[0]].concat();
    assert_eq!(Presentation::decode(&longer), Err(Malformed::Trailing("presentation")));
    let huge = vec![1; limits::PRESENTATION + 1];
    assert_eq!(Presentation::decode(&huge), Err(Malformed::Length("presentation", huge.len())));
    for length in 0..octets.len() {
        assert!(Presentation::decode(&octets[..length]).is_err(), "{length} octets of it");
    }
    let nobody = Presentation { credentials: None, ..good };
    assert!(matches!(Presentation::decode(&nobody.encode()), Err(Malformed::Missing(_))), "a server has certificates");
}

/// No chance makes a changed presentation into one that is admitted: signatures, hash and the proof of the key see to it.
#[test]
fn no_changed_octet_is_admitted() {
    let person = Person::new(3);
    let rules = Rules { key: Some(network_key(1)), ..Rules::default() };
    let octets = presented(&rules, &person.key, start()).encode();
    let time = 5..13;
    for index in (0..octets.len()).filter(|index| !time.contains(index)) {
        let mut changed = octets.clone();
        changed[index] ^= 1 << (index % 8);
        let Ok(decoded) = Presentation::decode(&changed) else { continue };
        let verdict = verdict_on(&rules, &id(&person.key), &decoded, start(), Standing::default());
        assert!(!matches!(verdict, Ok(Admitted::Server(_))), "octet {index}");
    }
}

fn any_presentation() -> impl Strategy<Value = Presentation> {
    let certificate = || proptest::collection::vec(any::<u8>(), 1..300).prop_map(Into::into);
    let credentials =
        (certificate(), certificate()).prop_map(|(identity, operational)| Credentials { identity, operational });
    let mac = proptest::option::of(any::<[u8; 32]>());
    (proptest::option::of(credentials), mac, any::<[u8; 4]>(), any::<u64>(), any::<bool>()).prop_map(
        |(credentials, mac, network, time, server)| Presentation {
            kind: if server && credentials.is_some() { Kind::Server } else { Kind::Client },
            network: Network(network),
            time: Millis(time),
            mac: mac
                .map(|octets| Rules { key: Some(network_key(octets[0])), ..Rules::default() })
                .and_then(|rules| present(&rules, Kind::Client, None, Ends { from: &[1], to: &[2] }, UNIX_EPOCH).mac),
            credentials,
        },
    )
}

proptest! {
    #[test]
    fn presentations_come_back_as_they_went(presentation in any_presentation()) {
        prop_assert_eq!(Presentation::decode(&presentation.encode()), Ok(presentation));
    }

    #[test]
    fn whatever_is_decoded_is_canonical(octets in proptest::collection::vec(any::<u8>(), 0..200), kind in 1_u8..3) {
        let mut octets = octets;
        if let Some(first) = octets.first_mut() { *first = kind; }
        if let Some(length) = octets.get_mut(13) { *length &= 32; }
        if let Ok(decoded) = Presentation::decode(&octets) {
            prop_assert_eq!(decoded.encode(), octets);
            // Whatever it is, judging it ends.
            let rules = Rules { network: decoded.network, ..Rules::default() };
            let admitted = verdict_on(&rules, &[1; 38], &decoded, start(), Standing::default());
            prop_assert!(!matches!(admitted, Ok(Admitted::Server(_))));
        }
    }

    #[test]
    fn answers_come_back_as_they_went(code in any::<u8>(), time in any::<u64>(), more in any::<u8>()) {
        let answer = Answer { code, time: Millis(time) };
        let octets = answer.encode();
        prop_assert_eq!(Answer::decode(&octets), Ok(answer));
        prop_assert!(Answer::decode(&octets[1..]).is_err());
        prop_assert!(Answer::decode(&[&octets[..], &[more]].concat()).is_err());
    }
}

#[test]
fn no_time_is_beyond_the_messages() {
    assert_eq!(Millis::of(UNIX_EPOCH - Duration::from_secs(1)), Millis(0));
    let _ = Millis(u64::MAX).time();
}
