// SPDX-License-Identifier: GPL-2.0-or-later
//! Bundles that are almost valid: a store takes none of them.
//!
//! `CONFORMANCE_MUTATIONS=100000` tries as many; each follows from its number.

use dht::publish::Publication;
use dht::record::{Bundle, Section};
use dht::store::{Origin, Store};

use super::{Desk, Kind};
use crate::suite::person::{LAB, Person};
use crate::suite::probe::{Fault, Judgement, Probe, broken, missing, must};

const VARIABLE: &str = "CONFORMANCE_MUTATIONS";
/// Cases where nobody asks for more: some seconds of a build for tests.
const SAMPLE: u64 = 4000;
/// Octets that a change moves at most.
const LONGEST: u64 = 64;

pub(super) const PROBES: &[Probe<Desk>] =
    &[must("RC-18.1", "lisp-signed-dht 6", "valid bundles with one change each", all)];

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or_default()
    }
}

fn all(d: &Desk) -> Judgement {
    let count = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().map_err(|_| missing(format!("{VARIABLE}={text} is no number")))?,
        Err(_) => SAMPLE,
    };
    let mut valid = Vec::new();
    for person in [&d.one, &d.two] {
        let desk = Desk { now: d.now, one: copy(person, d)?, two: copy(&d.two, d)? };
        for kind in Kind::ALL {
            valid.push(desk.publication(kind)?);
        }
    }
    for one in &valid {
        Store::new(LAB, [0; 32]).put(d.now, Origin::Unknown, &one.key.encode(), &one.value).map_err(broken)?;
    }
    let (mut refused, mut unchanged) = (0_u64, 0_u64);
    for number in 0..count {
        let mut dice = Dice(number);
        let one = &valid[dice.below(valid.len())];
        let (change, key, value) = changed(&valid, one, &mut dice);
        let mut store = Store::new(LAB, [0; 32]);
        match (store.put(d.now, Origin::Unknown, &key, &value), store.get(d.now, &key)) {
            (Err(_), None) => refused += 1,
            // What was signed under this key and stands there whole may be cut out of a bundle.
            (Ok(_), Some(held)) if is_said(&valid, &key, &held)? => unchanged += 1,
            (outcome, _) => return Err(broken(format!("case {number}, {change}: {outcome:?}"))),
        }
    }
    Ok(format!("{refused} of {count} refused, {unchanged} left what was signed as it was, none stored"))
}

fn copy(person: &Person, d: &Desk) -> Result<Person, Fault> {
    Person::of_seed(if person.key.cn() == d.one.key.cn() { 1 } else { 2 }, d.now)
}

fn sections(value: &[u8]) -> Result<Vec<Section>, Fault> {
    Ok(Bundle::decode(value).map_err(broken)?.into_sections())
}

/// Whether every section was signed under this key.
fn is_said(valid: &[Publication], key: &[u8], value: &[u8]) -> Result<bool, Fault> {
    let mut said = Vec::new();
    for one in valid.iter().filter(|one| one.key.encode() == key) {
        said.extend(sections(&one.value)?);
    }
    Ok(sections(value)?.iter().all(|section| said.contains(section)))
}

fn changed(valid: &[Publication], one: &Publication, dice: &mut Dice) -> (&'static str, Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (one.key.encode(), one.value.clone());
    let at = dice.below(value.len());
    let length = 1 + usize::try_from(dice.next() % LONGEST).unwrap_or_default();
    let end = (at + length).min(value.len());
    let name = match dice.below(8) {
        0 | 1 => {
            value[at] ^= 1 << dice.below(8);
            "a bit flipped"
        }
        2 => {
            value[at] = value[at].wrapping_add(1 + u8::try_from(dice.below(255)).unwrap_or_default());
            "an octet replaced"
        }
        3 => {
            value.truncate(at);
            "cut"
        }
        4 => {
            value.drain(at..end);
            "octets taken out"
        }
        5 => {
            let doubled = value[at..end].to_vec();
            value.splice(at..at, doubled);
            "octets doubled"
        }
        6 => {
            key = valid[dice.below(valid.len())].key.encode();
            "under another key"
        }
        _ => {
            value.extend_from_slice(&valid[dice.below(valid.len())].value);
            "two bundles in one"
        }
    };
    (name, key, value)
}
