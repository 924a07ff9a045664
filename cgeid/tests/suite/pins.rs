// SPDX-License-Identifier: GPL-2.0-or-later
//! Pins: the first key under a name stays, a second one is an alarm, and nobody flushes them.

use std::time::Duration;

use cgeid::error::PinsError;
use cgeid::limits::{PIN_REST, PIN_SAVE};
use cgeid::pins::{Change, Fingerprint, Name, Sighting};
use cgeid::{Cn, Identity, Network, Pins};
use proptest::prelude::*;

use crate::common::{ED25519, RSA, days, now};

/// A name of 16 bits, so that two real keys of one name can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Short([u8; 2]);

impl Name for Short {
    fn of_fingerprint(fingerprint: &Fingerprint) -> Short {
        Short([fingerprint[0], fingerprint[1]])
    }
}

/// A hash that begins with a number, as if of a key.
fn hash(number: u32) -> Fingerprint {
    let mut hash = [0xaa; 64];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    hash
}

#[test]
fn two_real_keys_of_one_short_name_are_an_alarm() {
    let mut pins = Pins::<Short>::default();
    let keys = (0..5000u32).map(|number| {
        let mut seed = [1; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        *Identity::from_seed(&seed, Network::LAB, now()).unwrap().certificate().fingerprint()
    });
    let mut second = None;
    for key in keys {
        if let Sighting::Collision { pinned } = pins.see(&key, now()) {
            second = Some((pinned, key));
            break;
        }
    }
    let (pinned, key) = second.expect("among 5000 keys two share 16 bits");
    assert!(pinned != key && pinned[..2] == key[..2]);
    // The alarm goes on, and the first key stays the one.
    assert_eq!(pins.see(&key, now() + days(400)), Sighting::Collision { pinned });
    assert_eq!(pins.see(&pinned, now()), Sighting::Known);
    assert_eq!(pins.get(Short::of_fingerprint(&key)), Some(&pinned));
    // With 96 bits the same two are strangers.
    let mut whole = Pins::<Cn>::default();
    assert_eq!((whole.see(&pinned, now()), whole.see(&key, now())), (Sighting::First, Sighting::First));
}

#[test]
fn a_key_is_pinned_at_first_sight() {
    let mut pins = Pins::<Cn>::default();
    for identity in [&*RSA, &*ED25519] {
        let fingerprint = identity.certificate().fingerprint();
        assert_eq!(pins.get(identity.cn()), None);
        assert_eq!(pins.see(fingerprint, now()), Sighting::First);
        assert_eq!(pins.see(fingerprint, now()), Sighting::Known);
        assert_eq!(pins.get(identity.cn()), Some(fingerprint));
    }
    assert_eq!(pins.len(), 2);
}

#[test]
fn a_flood_of_names_flushes_no_pin_in_use() {
    let mut pins = Pins::<Cn>::with_limit(3);
    for number in 0..3 {
        assert_eq!(pins.see(&hash(number), now()), Sighting::First);
    }
    assert_eq!(pins.see(&hash(3), now()), Sighting::Unpinned);
    // Two stay in use; the third has rested long enough only at the end of its rest.
    let used = now() + days(20);
    assert_eq!((pins.see(&hash(0), used), pins.see(&hash(2), used)), (Sighting::Known, Sighting::Known));
    let rested = now() + PIN_REST;
    assert_eq!(pins.see(&hash(4), rested - Duration::from_secs(1)), Sighting::Unpinned);
    assert_eq!(pins.see(&hash(5), rested), Sighting::First);
    assert_eq!(pins.get(Cn::of_fingerprint(&hash(1))), None);
    for number in 6..1000 {
        assert_eq!(pins.see(&hash(number), rested), Sighting::Unpinned);
    }
    assert_eq!(pins.len(), 3);
    // A collision is no use: it must not keep a pin from resting, nor is a clock that went back a long rest.
    assert_eq!(pins.see(&hash(7), now() - days(400)), Sighting::Unpinned);
    let mut twin = hash(0);
    twin[63] ^= 1;
    assert!(matches!(pins.see(&twin, used + days(29)), Sighting::Collision { .. }));
    assert_eq!(pins.see(&hash(8), used + PIN_REST), Sighting::First);
}

#[test]
fn a_table_comes_back_after_a_restart() {
    let mut pins = Pins::<Cn>::with_limit(9);
    for number in [5, 1, 3] {
        pins.see(&hash(number), now() + days(number.into()));
    }
    let bytes = pins.encode();
    let again = Pins::decode(&bytes, 9).unwrap();
    assert_eq!(again, pins);
    assert_eq!(again.encode(), bytes);
    let refusal = |bytes: &[u8], limit| Pins::<Cn>::decode(bytes, limit).unwrap_err();
    assert_eq!(refusal(&bytes, 2), PinsError::TooMany { found: 3, limit: 2 });
    assert_eq!(refusal(&bytes[1..], 9), PinsError::Magic);
    assert_eq!(refusal(&bytes[..bytes.len() - 1], 9), PinsError::Length);
    assert_eq!(refusal(&[&bytes[..], &[0; 72]].concat(), 9), PinsError::Length);
    assert_eq!(refusal(&[&bytes[..], &[0]].concat(), 9), PinsError::Length);
    let entry = |index: usize| &bytes[13 + index * 72..][..72];
    for order in [[1, 0, 2], [0, 0, 1], [0, 2, 1]] {
        let wrong = [&bytes[..13], &order.map(entry).concat()].concat();
        assert_eq!(refusal(&wrong, 9), PinsError::Order);
    }
    let endless = [&bytes[..bytes.len() - 8], &[0xff; 8]].concat();
    assert_eq!(refusal(&endless, 9), PinsError::Time);
}

#[test]
fn a_pin_is_written_at_first_sight_and_then_once_a_day_of_use() {
    let mut pins = Pins::<Cn>::with_limit(9);
    let written = |fingerprint, used| vec![Change::Pinned { fingerprint, used }];
    pins.see(&hash(1), now());
    assert_eq!(pins.changes(), written(hash(1), now()));
    let mut twin = hash(1);
    twin[63] ^= 1;
    for (key, at) in [(hash(1), now() + PIN_SAVE / 2), (hash(1), now() - days(3)), (twin, now() + days(3))] {
        pins.see(&key, at);
        assert_eq!(pins.changes(), []);
    }
    pins.see(&hash(1), now() + PIN_SAVE);
    assert_eq!(pins.changes(), written(hash(1), now() + PIN_SAVE));
    pins.see(&hash(1), now() + PIN_SAVE + PIN_SAVE / 2);
    assert_eq!(pins.changes(), []);
}

#[test]
fn a_table_kept_pin_by_pin_comes_back_and_is_no_longer_than_its_limit() {
    let mut pins = Pins::<Cn>::with_limit(3);
    for number in 0..3 {
        pins.see(&hash(number), now() + days(number.into()));
    }
    let mut disk = std::collections::BTreeMap::new();
    let mut write = |changes| {
        for change in changes {
            match change {
                Change::Pinned { fingerprint, used } => {
                    _ = disk.insert(Cn::of_fingerprint(&fingerprint), (fingerprint, used))
                }
                Change::Forgotten(cn) => assert!(disk.remove(&cn).is_some()),
            }
        }
        disk.clone()
    };
    write(pins.changes());
    // One gives way, on disk as well.
    assert_eq!(pins.see(&hash(7), now() + PIN_REST), Sighting::First);
    let kept = write(pins.changes());
    let restored = |limit| {
        let mut pins = Pins::<Cn>::with_limit(limit);
        kept.values().for_each(|(fingerprint, used)| pins.restore(fingerprint, *used));
        pins
    };
    assert_eq!((restored(3), restored(3).changes()), (pins, vec![]));
    // Of too many the longest unused is forgotten.
    let mut fewer = restored(2);
    assert_eq!(fewer.changes(), [Change::Forgotten(Cn::of_fingerprint(&hash(1)))]);
    assert_eq!(fewer.len(), 2);
    let mut twin = hash(7);
    twin[63] ^= 1;
    fewer.restore(&twin, now() + days(99));
    assert_eq!(fewer.see(&twin, now()), Sighting::Collision { pinned: hash(7) });
}

#[test]
fn changes_that_nobody_asks_for_do_not_grow() {
    let mut pins = Pins::<Cn>::with_limit(2);
    for number in 0..100 {
        pins.see(&hash(number), now() + PIN_REST * number);
    }
    assert!(pins.changes().len() <= 3);
}

proptest! {
    #[test]
    fn any_bytes_are_a_table_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Pins::<Cn>::decode(&bytes, 8).is_err(), "no magic number comes by chance");
        let body = [&b"CGEP\x01"[..], &bytes].concat();
        if let Ok(pins) = Pins::<Cn>::decode(&body, 8) {
            prop_assert_eq!(pins.encode(), body);
        }
    }

    #[test]
    fn what_is_kept_comes_back(sightings in proptest::collection::vec((0..40u32, 0..100u64), 0..60)) {
        let mut pins = Pins::<Cn>::with_limit(20);
        for (number, day) in sightings {
            pins.see(&hash(number), now() + days(day));
        }
        prop_assert_eq!(Pins::decode(&pins.encode(), 20), Ok(pins));
    }
}
