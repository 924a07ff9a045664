// SPDX-License-Identifier: GPL-2.0-or-later
//! Pins: a second key for one name is an alarm. Nobody can make two keys of one whole name, so real keys are held against
//! our table with names of 16 bits, and our resolver is told of a hash that it never saw a key of.

use cgeid::limits::{PIN_REST, PINS};
use cgeid::pins::{Change, Fingerprint, Name, Sighting};
use cgeid::{Identity, Network, Pins};
use dht::publish::{self, Publication, Sequence};
use dht::resolve::{Anchors, Outcome, Resolver};
use wire::address::{EidPrefix, InstanceId};

use super::workshop::{Workshop, seconds};
use super::{Fault, Judgement, Probe};
use crate::suite::person;

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "ID-010.1", about: "two real keys of one name of 16 bits", judge: alarm },
    Probe { id: "ID-010.2", about: "the same two under whole names", judge: no_alarm },
    Probe { id: "ID-010.3", about: "a flood of other names between the two", judge: flood },
    Probe { id: "ID-010.4", about: "a restart between the two, the table kept whole or pin by pin", judge: restart },
    Probe {
        id: "ID-010.5",
        about: "a record of a writer under whose name another key was seen first",
        judge: resolver,
    },
];

/// The first 16 bits of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Short([u8; 2]);

impl Name for Short {
    fn of_fingerprint(fingerprint: &Fingerprint) -> Short {
        Short([fingerprint[0], fingerprint[1]])
    }
}

/// Keys among which two share a short name; the chance that none do is e⁻¹⁹⁰.
const KEYS: u32 = 5000;

fn broken(came: impl std::fmt::Display) -> Fault {
    Fault::Broken(came.to_string())
}

fn expect<T: PartialEq + std::fmt::Debug>(expected: &T, came: &T) -> Result<(), Fault> {
    if expected == came { Ok(()) } else { Err(broken(format!("expected: {expected:?}; came: {came:?}"))) }
}

/// Two keys with one short name, the one that was seen first, and the table that saw them.
fn twins(shop: &Workshop) -> Result<(Fingerprint, Fingerprint, Pins<Short>), Fault> {
    let mut pins = Pins::<Short>::default();
    for number in 1..=KEYS {
        let mut seed = [1; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let identity = Identity::from_seed(&seed, Network::LAB, shop.now).map_err(broken)?;
        let key = *identity.certificate().fingerprint();
        if let Sighting::Collision { pinned } = pins.see(&key, shop.now) {
            return Ok((pinned, key, pins));
        }
    }
    Err(broken(format!("no alarm among {KEYS} keys")))
}

fn alarm(shop: &Workshop) -> Judgement {
    let (first, second, mut pins) = twins(shop)?;
    if first == second || first[..2] != second[..2] {
        return Err(broken("an alarm for two keys that share no name"));
    }
    // Never an update: not the next time, and not after a long time.
    for later in [seconds(0), PIN_REST * 9] {
        expect(&Sighting::Collision { pinned: first }, &pins.see(&second, shop.now + later))?;
    }
    expect(&Sighting::Known, &pins.see(&first, shop.now))?;
    Ok(format!("an alarm at {:02x}{:02x}; the first key stays", first[0], first[1]))
}

fn no_alarm(shop: &Workshop) -> Judgement {
    let (first, second, _) = twins(shop)?;
    let mut pins: Pins = Pins::default();
    for key in [first, second] {
        expect(&Sighting::First, &pins.see(&key, shop.now))?;
        expect(&Sighting::Known, &pins.see(&key, shop.now))?;
    }
    Ok("to be taken; both pinned".into())
}

/// A table that is full of pins in use takes no newcomer in their place.
fn flood(shop: &Workshop) -> Judgement {
    let (first, second, _) = twins(shop)?;
    let mut pins = Pins::<Short>::with_limit(16);
    pins.see(&first, shop.now);
    let mut refused = 0;
    for number in 0..=u16::MAX {
        let mut hash = [0; 64];
        hash[..2].copy_from_slice(&number.to_be_bytes());
        refused += u32::from(pins.see(&hash, shop.now) == Sighting::Unpinned);
    }
    expect(&Sighting::Collision { pinned: first }, &pins.see(&second, shop.now))?;
    Ok(format!("to be kept; {refused} names found no room, and the pin stayed"))
}

fn restart(shop: &Workshop) -> Judgement {
    let (first, second, mut pins) = twins(shop)?;
    let mut whole = Pins::<Short>::decode(&pins.encode(), PINS).map_err(broken)?;
    let mut single = Pins::<Short>::default();
    for change in pins.changes() {
        if let Change::Pinned { fingerprint, used } = change {
            single.restore(&fingerprint, used);
        }
    }
    for again in [&mut whole, &mut single] {
        expect(&Sighting::Collision { pinned: first }, &again.see(&second, shop.now))?;
    }
    Ok(format!("{} pins came back", whole.len()))
}

fn mapping(shop: &Workshop) -> Result<Publication, Fault> {
    let signer = shop.ed25519.delegate(shop.now, 0).map_err(broken)?;
    publish::mapping(&signer, Network::LAB, person::mapping(1), shop.now, &mut Sequence::default()).map_err(broken)
}

fn resolver(shop: &Workshop) -> Judgement {
    let publication = mapping(shop)?;
    let eid = EidPrefix::host(InstanceId(0), shop.ed25519.address().into());
    let resolve = |resolver: &mut Resolver| resolver.resolve(eid, shop.now, |_| vec![publication.value.clone()]).0;
    let mut stranger = Resolver::new(Network::LAB, Anchors::default());
    let taken = resolve(&mut stranger);
    if !matches!(taken, Outcome::Mapping(_)) {
        return Err(broken(format!("expected: a mapping at first sight; came: {taken:?}")));
    }
    let own = *shop.ed25519.certificate().fingerprint();
    expect(&Some(&own), &stranger.pins.get(shop.ed25519.cn()))?;
    let mut other = own;
    other[63] ^= 1;
    let mut acquaintance = Resolver::new(Network::LAB, Anchors::default());
    acquaintance.pins.see(&other, shop.now);
    expect(&Outcome::Conflict, &resolve(&mut acquaintance))?;
    Ok("to be a conflict; it is".into())
}
