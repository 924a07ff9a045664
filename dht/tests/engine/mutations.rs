// SPDX-License-Identifier: GPL-2.0-or-later
//! 100,000 bundles that are almost valid: a store takes none of them, and none makes it panic.
//!
//! Every case is made from a seed and its own number, which a failure names: `MUTATION_SEED=.. MUTATION_CASE=.. cargo test -p dht
//! --test mutations` makes the same change again. A debug run tries a sample of them; a release run, or one with
//! `MUTATION_CASES=100000`, tries all.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::common::{LAB, Person, seconds, site, start, sub_page};
use cgeid::Reason;
use dht::publish::{PageKind, Publication};
use dht::record::{Bundle, Class, RecordKey, Section};
use dht::store::{Origin, Store};

/// The seed of a run that names no other.
const SEED: u64 = 0x00C6_E1D4;
/// All cases.
const CASES: u64 = 100_000;
/// Those of a debug run.
const SAMPLE: u64 = 6000;

/// splitmix64: a number for each number.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }
}

/// What was signed, and who can sign something else.
struct World {
    people: Vec<Person>,
    valid: Vec<Publication>,
}

impl World {
    fn new() -> Self {
        let mut people: Vec<Person> = [1, 2, 1].map(Person::new).into();
        // The same owner with a later key.
        people[2].key = people[2].identity.delegate_revision(start(), 0, 1).unwrap();
        let child = people[1].cn();
        let mut valid = Vec::new();
        for person in &mut people {
            valid.push(person.mapping(start(), 1));
            valid.push(person.mapping(start() + seconds(1), 2));
            valid.push(person.prefix(start(), "2001:db8:a::/48", 1));
            valid.push(person.withdraw(start(), "2001:db8:b::/48"));
            valid.push(person.prefix(start(), "192.0.2.0/24", 3));
            let entries = vec![site("2001:db8:a::/48", &[child], 48), sub_page("2001:db8:8000::/33", 1)];
            valid.push(person.page(start(), "2001:db8::/32", entries, PageKind::Delegations));
            valid.push(person.page(start(), "2001:db8::/33", Vec::new(), PageKind::Live));
            valid.push(person.revoke(Reason(1), 0));
        }
        Self { people, valid }
    }

    fn any<'a>(&'a self, random: &mut Random) -> &'a Publication {
        &self.valid[random.below(self.valid.len())]
    }

    /// Whether every section of the value was signed under this key, and beside which other does not matter.
    fn is_said(&self, key: &RecordKey, value: &[u8]) -> bool {
        let Ok(bundle) = Bundle::decode(value) else { return false };
        let sections = |one: &Publication| Bundle::decode(&one.value).unwrap().into_sections();
        let own = self.valid.iter().filter(|one| one.key == *key).flat_map(sections).collect::<Vec<_>>();
        bundle.sections().iter().all(|section| own.contains(section))
    }

    /// A value that is almost `one`'s, and the name of the change.
    fn change(&self, one: &Publication, random: &mut Random) -> (&'static str, RecordKey, Vec<u8>) {
        let (mut key, mut value) = (one.key, one.value.clone());
        let at = random.below(value.len());
        let length = 1 + random.below(64);
        let name = match random.below(12) {
            0 | 1 => {
                value[at] ^= 1 << random.below(8);
                "a bit flipped"
            }
            2 => {
                value[at] = random.next() as u8;
                "an octet replaced"
            }
            3 => {
                value.truncate(at);
                "cut"
            }
            4 => {
                value.drain(at..(at + length).min(one.value.len()));
                "octets taken out"
            }
            5 => {
                let doubled = one.value[at..(at + length).min(one.value.len())].to_vec();
                value.splice(at..at, doubled);
                "octets doubled"
            }
            6 => {
                let other = &self.any(random).value;
                let from = random.below(other.len());
                let rest = (from + length).min(other.len());
                value.splice(at..(at + length).min(one.value.len()), other[from..rest].iter().copied());
                "octets of another"
            }
            7 => {
                key = self.any(random).key;
                "under another key"
            }
            8 => {
                let other = Bundle::decode(&self.any(random).value).unwrap().into_sections();
                let mut sections = Bundle::decode(&value).unwrap().into_sections();
                let place = random.below(sections.len());
                sections[place] = other[random.below(other.len())].clone();
                value = joined(&sections);
                "a section of another"
            }
            9 => {
                let mut sections = Bundle::decode(&value).unwrap().into_sections();
                sections.reverse();
                sections.truncate(1 + random.below(sections.len()));
                value = joined(&sections);
                "sections in another order"
            }
            10 => {
                let other = Bundle::decode(&self.any(random).value).unwrap().into_sections();
                value.extend(joined(&other));
                "two bundles in one"
            }
            _ => {
                value = self.signed_by_another(&key, &value, random);
                "signed by another"
            }
        };
        (name, key, value)
    }

    /// A section with another version, lifetime or owner, and a signature that fits it, by a key that may not.
    fn signed_by_another(&self, key: &RecordKey, value: &[u8], random: &mut Random) -> Vec<u8> {
        let mut sections = Bundle::decode(value).unwrap().into_sections();
        let place = random.below(sections.len());
        let section = &mut sections[place];
        // The owner's own keys may sign for it: of the other people whose CN is not the key's.
        let signer = self.people.iter().find(|person| person.cn() != key.writer).unwrap();
        match random.below(4) {
            0 => section.version.sequence += 1,
            1 => section.lifetime += seconds(random.next() % 100),
            2 => section.version.epoch = signer.key.certificate().epoch(),
            _ => section.flags.withdrawn = !section.flags.withdrawn,
        }
        let message = section.signed_bytes(key).unwrap();
        section.signature = match random.below(2) {
            0 => signer.key.sign(&message).into(),
            _ => signer.identity.sign(&message).unwrap().into(),
        };
        joined(&sections)
    }
}

fn joined(sections: &[Section]) -> Vec<u8> {
    sections.iter().flat_map(|section| section.encode().unwrap()).collect()
}

fn given(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[test]
fn no_mutation_is_stored() {
    let world = World::new();
    let seed = given("MUTATION_SEED").unwrap_or(SEED);
    let cases = given("MUTATION_CASES").unwrap_or(if cfg!(debug_assertions) { SAMPLE } else { CASES });
    let (first, last) = given("MUTATION_CASE").map_or((0, cases), |only| (only, only + 1));
    let mut tried: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for number in first..last {
        let replay = format!("MUTATION_SEED={seed} MUTATION_CASE={number}");
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
        let one = world.any(&mut random);
        let (name, key, value) = world.change(one, &mut random);
        let mut store = Store::new(LAB, [0; 32]);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let outcome = store.put(start() + seconds(2), Origin::Unknown, &key.encode(), &value);
            (outcome, store.get(start() + seconds(2), &key.encode()))
        }));
        let Ok((outcome, held)) = outcome else { panic!("{replay}: {name}: it panicked") };
        let counted = tried.entry(name).or_default();
        counted.0 += 1;
        match (outcome, held) {
            (Err(_), None) => {}
            (Err(refusal), Some(_)) => panic!("{replay}: {name}: refused ({refusal}) and held"),
            (Ok(_), held) => {
                counted.1 += 1;
                let held = held.unwrap_or_default();
                assert!(world.is_said(&key, &value) && world.is_said(&key, &held), "{replay}: {name}: taken");
            }
        }
    }
    if given("MUTATION_CASE").is_none() {
        // Each kind of change was made, and those that change what is signed were never taken.
        assert_eq!(tried.len(), 11, "{tried:?}");
        let harmless =
            ["under another key", "a section of another", "sections in another order", "cut", "octets taken out"];
        let harmless =
            |name: &str| harmless.contains(&name) || ["an octet replaced", "octets of another"].contains(&name);
        assert!(tried.iter().all(|(name, (_, taken))| *taken == 0 || harmless(name)), "{tried:?}");
        println!("{tried:?}");
    }
}

#[test]
fn what_is_mutated_would_be_stored_as_it_was() {
    let world = World::new();
    for one in &world.valid {
        let mut store = Store::new(LAB, [0; 32]);
        store.put(start() + seconds(2), Origin::Unknown, &one.key.encode(), &one.value).unwrap();
        assert!(world.is_said(&one.key, &store.get(start() + seconds(2), &one.key.encode()).unwrap()));
    }
    let classes = |one: &Publication| Bundle::decode(&one.value).unwrap().into_sections();
    let seen: Vec<Class> = world.valid.iter().flat_map(classes).map(|section| section.class()).collect();
    let known = [Class::Identity, Class::Mapping, Class::Revocation, Class::Prefix, Class::Index];
    assert!(known.iter().all(|class| seen.contains(class)));
}
