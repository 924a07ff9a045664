// SPDX-License-Identifier: GPL-2.0-or-later
//! The map-cache against a list of mappings that is searched, whatever happens to both.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wire::address::{EidPrefix, InstanceId};
use wire::record::MapVersion;

use super::{Binding, Entry, Families, Forwarding, FromPort, Locator, MapCache, Way};

/// Mappings that there may be, and RLOCs that they may have.
const MAPPINGS: u8 = 6;
const RLOCS: u8 = 6;

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    Insert(u8, Vec<Locator>, u64),
    Bind(u8, u16),
    Remove(u8),
    Version(u8, u16),
    Reachable(u8, bool),
    Families(Families),
    Wait(u64),
}

/// A mapping; that of a way through a NAT has the port there.
#[derive(Debug, Clone)]
struct Mapping {
    locators: Vec<Locator>,
    port: u16,
    version: u16,
    expires: u64,
}

/// What is to be.
#[derive(Debug, Default)]
struct Model {
    mappings: BTreeMap<u8, Mapping>,
    unreachable: BTreeSet<IpAddr>,
    families: Families,
    seconds: u64,
}

fn prefix(number: u8) -> EidPrefix {
    let address = IpAddr::V4([10, 0, 0, number & !1].into());
    // Of two neighbours one is a host and the other what lies around both: of 10.0.0.2 it is found where no host is.
    EidPrefix::new(InstanceId(0), address, if number.is_multiple_of(2) { 32 } else { 31 }).unwrap()
}

/// An address that only this mapping has.
fn inside(number: u8) -> IpAddr {
    IpAddr::V4([10, 0, 0, number].into())
}

fn rloc(number: u8) -> IpAddr {
    if number.is_multiple_of(3) {
        IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(number)).into())
    } else {
        [192, 0, 2, number].into()
    }
}

fn binding(number: u8, port: u16) -> Binding {
    Binding { address: rloc(number), port, from: FromPort::Control, source: [198, 51, 100, 1].into() }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let locator = (0..RLOCS, 1..3u8, prop::sample::select(vec![0, 1, 50]));
    let locator = locator.prop_map(|(number, priority, weight)| Locator { address: rloc(number), priority, weight });
    let one_or_some = prop_oneof![prop::collection::vec(locator.clone(), 1), prop::collection::vec(locator, 0..6)];
    let step = prop_oneof![
        6 => (0..MAPPINGS, one_or_some, 1..40u64).prop_map(|(number, list, life)| Step::Insert(number, list, life)),
        1 => (0..MAPPINGS, 1..3u16).prop_map(|(number, port)| Step::Bind(number, port)),
        2 => (0..MAPPINGS).prop_map(Step::Remove),
        2 => (0..MAPPINGS, 0..3u16).prop_map(|(number, version)| Step::Version(number, version)),
        3 => (0..RLOCS, any::<bool>()).prop_map(|(number, reachable)| Step::Reachable(number, reachable)),
        1 => any::<(bool, bool)>().prop_map(|(v4, v6)| Step::Families(Families { v4, v6 })),
        1 => (1..20u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..60)
}

impl Model {
    fn take(&mut self, step: &Step) {
        let seconds = self.seconds;
        match step {
            Step::Insert(number, locators, life) => {
                let mapping = Mapping { locators: locators.clone(), port: 0, version: 0, expires: seconds + life };
                self.mappings.insert(*number, mapping);
            }
            Step::Bind(number, port) => {
                let locators = vec![Locator { address: rloc(*number), priority: 1, weight: 1 }];
                let mapping = Mapping { locators, port: *port, version: 0, expires: seconds + 20 };
                self.mappings.insert(*number, mapping);
            }
            Step::Remove(number) => drop(self.mappings.remove(number)),
            Step::Version(number, version) => {
                self.mappings.entry(*number).and_modify(|mapping| mapping.version = *version);
            }
            Step::Reachable(number, true) => drop(self.unreachable.remove(&rloc(*number))),
            Step::Reachable(number, false) => drop(self.unreachable.insert(rloc(*number))),
            Step::Families(families) => self.families = *families,
            Step::Wait(time) => {
                self.seconds += time;
                self.mappings.retain(|_, mapping| mapping.expires > seconds + time);
            }
        }
    }

    /// The locators of a mapping that flows may go to, with their shares (RFC 9300, section 9).
    fn shares(&self, mapping: &Mapping) -> Vec<(Locator, u32)> {
        let has_family = |one: &Locator| if one.address.is_ipv4() { self.families.v4 } else { self.families.v6 };
        let ours: Vec<Locator> = mapping.locators.iter().filter(|one| has_family(one)).copied().collect();
        // Probes prove nothing about a NAT.
        let is_reachable = |one: &Locator| mapping.port > 0 || !self.unreachable.contains(&one.address);
        let mut left: Vec<Locator> = ours.iter().filter(|one| is_reachable(one)).copied().collect();
        if left.is_empty() {
            left = ours;
        }
        let best = left.iter().map(|one| one.priority).min();
        left.retain(|one| Some(one.priority) == best);
        let all_zero = left.iter().all(|one| one.weight == 0);
        let share = |one: &Locator| (*one, if all_zero { 1 } else { one.weight.into() });
        left.iter().map(share).filter(|(_, share)| *share > 0).collect()
    }
}

fn take(cache: &mut MapCache, start: Instant, seconds: &mut u64, step: &Step) {
    let now = start + Duration::from_secs(*seconds);
    let mut insert = |number: &u8, forwarding: Forwarding, life: u64| {
        cache.insert(now, prefix(*number), Entry { forwarding, expires: now + Duration::from_secs(life) });
    };
    match step {
        Step::Insert(number, locators, life) => insert(number, Forwarding::Locators(locators.clone()), *life),
        Step::Bind(number, port) => insert(number, Forwarding::Binding(binding(*number, *port)), 20),
        Step::Remove(number) => drop(cache.remove(&prefix(*number))),
        Step::Version(number, version) => cache.set_version(&prefix(*number), MapVersion(*version)),
        Step::Reachable(number, reachable) => cache.set_reachable(rloc(*number), *reachable),
        Step::Families(families) => cache.set_families(*families),
        Step::Wait(time) => {
            *seconds += time;
            cache.advance(start + Duration::from_secs(*seconds));
        }
    }
}

/// Where packets of some flows to this mapping go is where the model has them go.
fn compare(cache: &mut MapCache, model: &Model, number: u8) {
    let found = cache.lookup(InstanceId(0), inside(number));
    let Some(mapping) = model.mappings.get(&number) else {
        return assert!(found.is_none_or(|hit| hit.length != prefix(number).net.prefix_len()));
    };
    let Way::Locators(set) = found.unwrap().way else { panic!("{found:?}") };
    assert_eq!(cache.version(set), MapVersion(mapping.version));
    let expected = model.shares(mapping);
    for hash in (0..16).map(|part| part << 60) {
        let chosen = cache.choose(set, hash).map(|index| cache.locators().get(index));
        let is_one = |address| expected.iter().any(|(one, _)| one.address == address);
        assert!(chosen.map_or(expected.is_empty(), |state| is_one(state.address())), "{chosen:?}, {expected:?}");
        assert!(chosen.is_none_or(|state| state.through().is_some() == (mapping.port > 0)));
        assert!(chosen.is_none_or(|state| mapping.port == 0 || state.port() == mapping.port));
    }
    let mut shares = cache.shares(InstanceId(0), inside(number));
    assert_eq!(shares.len(), mapping.locators.len());
    shares.retain(|share| share.part > 0);
    let found: Vec<(IpAddr, u8)> = shares.iter().map(|share| (share.address, share.priority)).collect();
    assert_eq!(found, expected.iter().map(|(one, _)| (one.address, one.priority)).collect::<Vec<_>>());
    if let [_, _, ..] = expected[..] {
        assert!(shares.iter().zip(&expected).all(|(share, (_, expected))| share.part == *expected));
    }
}

proptest! {
    #[test]
    fn whatever_happens_flows_go_where_a_search_has_them_go_and_nothing_is_left_behind(steps in steps()) {
        let start = Instant::now();
        let (mut cache, mut model) = (MapCache::new(start, 1500, vec![]), Model::default());
        let mut seconds = 0;
        for step in &steps {
            take(&mut cache, start, &mut seconds, step);
            model.take(step);
            (0..MAPPINGS).for_each(|number| compare(&mut cache, &model, number));
        }
        for number in 0..MAPPINGS {
            cache.remove(&prefix(number));
        }
        (0..RLOCS).for_each(|number| cache.set_reachable(rloc(number), true));
        prop_assert_eq!((cache.len(), cache.sets().len(), cache.locators().len()), (0, 0, 0));
    }
}
