// SPDX-License-Identifier: GPL-2.0-or-later
//! Which locator of a mapping a flow goes to: priority, then weight (RFC 9300, section 9).
//!
//! Mappings with the same locators share one set: a site with thousands of host prefixes has its locators in memory once. One locator
//! needs no set.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU16;

use wire::record::MapVersion;

use super::locators::{LocatorIndex, Locators};
use super::shards::Shards;
use super::slab::Slab;
use super::{Binding, Locator};
use crate::limits;

/// The address families that we have RLOCs of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    pub(super) fn has(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        }
    }
}

/// What one locator of a mapping has of its flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The locator.
    pub address: IpAddr,
    /// 0 to 254, lower is better.
    pub priority: u8,
    /// Its part of the sum of all parts; 0 = it has none.
    pub part: u32,
}

/// Which set of the table. A locator that is alone in its mapping stands here itself, with its priority: where each node is a site of
/// its own a mapping has nothing but its entry and its locator, and a packet waits for memory twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetIndex(pub(super) u32);

/// All locator-sets of the map-cache, but for those of one locator.
#[derive(Debug, Default)]
pub(super) struct LocatorSets {
    sets: Slab<LocatorSet>,
    by_members: Shards<SetIndex>,
    hasher: RandomState,
}

/// One set, and how the flows are shared out.
#[derive(Debug)]
struct LocatorSet {
    members: Box<[Member]>,
    /// The version of the mappings that have it, if packets to a trusted peer tell it (RFC 9302).
    version: MapVersion,
    /// Mappings that have it.
    references: u32,
    /// The epoch of the locators that the shares are right for.
    epoch: u32,
    /// The shares, as long as nobody has to look at the members to choose.
    few: Option<Few>,
}

/// Most that [`Few`] has.
const FEW: usize = 4;

/// The shares of a few locators, beside each other. They are all looked at, and no branch depends on a flow, since no processor can
/// foresee which one comes: a search would be mispredicted for every other packet (ARCHITECTURE.md has what that costs).
#[derive(Debug, Clone, Copy)]
struct Few {
    /// Sums of the weights up to and with each but the last; what there is none of has the largest.
    bounds: [u16; FEW - 1],
    total: NonZeroU16,
    locators: [LocatorIndex; FEW],
}

/// One locator of a set.
#[derive(Debug, Clone, Copy)]
struct Member {
    locator: LocatorIndex,
    priority: u8,
    weight: u8,
    /// The sum of the weights up to and with it, of those whose turn it is: who has no share adds nothing.
    turn: u32,
    /// The same of those of them that can be reached.
    usable: u32,
}

impl SetIndex {
    /// Set in what stands for a locator: numbers of sets are far below.
    const ALONE: u32 = 1 << 31;
    /// Bits of the number of a locator; its priority stands above.
    const LOCATOR_BITS: u32 = 20;

    fn alone(locator: LocatorIndex, priority: u8) -> Self {
        const { assert!(limits::RLOCS <= 1 << Self::LOCATOR_BITS, "each locator has a number of so many bits") };
        Self(Self::ALONE | u32::from(priority) << Self::LOCATOR_BITS | locator.0)
    }

    /// The locator that stands here, if it is alone.
    #[inline]
    fn locator(self) -> Option<LocatorIndex> {
        let number = self.0 & ((1 << Self::LOCATOR_BITS) - 1);
        (self.0 & Self::ALONE != 0).then_some(LocatorIndex(number))
    }

    /// Its priority.
    fn priority(self) -> u8 {
        let above = (self.0 & !Self::ALONE) >> Self::LOCATOR_BITS;
        u8::try_from(above).unwrap_or_default()
    }
}

impl Member {
    fn new(locator: LocatorIndex, priority: u8, weight: u8) -> Self {
        Self { locator, priority, weight, turn: 0, usable: 0 }
    }
}

impl Few {
    /// `None` if there are more, or none at all. Each comes with the sum up to and with it.
    fn new(shares: impl Iterator<Item = (LocatorIndex, u32)>) -> Option<Self> {
        let mut few =
            Self { bounds: [u16::MAX; FEW - 1], total: NonZeroU16::MAX, locators: [LocatorIndex::default(); FEW] };
        let mut total = 0;
        for (index, (locator, bound)) in shares.enumerate() {
            *few.locators.get_mut(index)? = locator;
            // Weights have eight bits.
            total = u16::try_from(bound).ok()?;
            if let Some(bound) = few.bounds.get_mut(index) {
                *bound = total;
            }
        }
        Some(Self { total: NonZeroU16::new(total)?, ..few })
    }

    #[inline(always)]
    fn pick(&self, hash: u64) -> LocatorIndex {
        let point = point(hash, self.total.get().into());
        let before = self.bounds.iter().map(|bound| usize::from(u32::from(*bound) <= point)).sum::<usize>();
        self.locators[before]
    }
}

impl LocatorSets {
    /// The set of these locators, for one more mapping. Those that the table of locators has no room for are not in it.
    pub(super) fn acquire(&mut self, locators: &mut Locators, list: &[Locator]) -> SetIndex {
        let member = |locator: &Locator| {
            let index = locators.acquire(locator.address)?;
            Some(Member::new(index, locator.priority, locator.weight))
        };
        let members = list.iter().take(limits::LOCATORS_PER_ENTRY).filter_map(member).collect();
        self.acquire_members(locators, members, MapVersion::default())
    }

    /// The set of the same locators in mappings of this version, for one more of them.
    pub(super) fn with_version(&mut self, locators: &mut Locators, set: SetIndex, version: MapVersion) -> SetIndex {
        let members = match set.locator() {
            // Alone it has all flows, whatever its weight.
            Some(locator) => vec![Member::new(locator, set.priority(), 1)],
            None => self.sets[set.0].members.to_vec(),
        };
        members.iter().for_each(|member| locators.hold(member.locator));
        self.acquire_members(locators, members, version)
    }

    /// The version of the mappings that have this set; none unless it was said.
    pub(super) fn version(&self, set: SetIndex) -> MapVersion {
        if set.locator().is_some() { MapVersion::default() } else { self.sets[set.0].version }
    }

    /// The set of one way through a NAT, for one more mapping.
    pub(super) fn acquire_binding(&mut self, locators: &mut Locators, binding: Binding) -> SetIndex {
        let member = |locator| Member::new(locator, 1, 1);
        let members = locators.acquire_binding(binding).map(member).into_iter().collect();
        self.acquire_members(locators, members, MapVersion::default())
    }

    fn acquire_members(&mut self, locators: &mut Locators, members: Vec<Member>, version: MapVersion) -> SetIndex {
        if let [member] = members[..]
            && version == MapVersion::default()
        {
            return SetIndex::alone(member.locator, member.priority);
        }
        let hash = hash(&self.hasher, &members, version);
        let sets = &self.sets;
        if let Some(index) = self.by_members.get(hash, |index| sets[index.0].has_exactly(&members, version)).copied() {
            members.iter().for_each(|member| locators.release(member.locator));
            self.sets[index.0].references += 1;
            return index;
        }
        let members = members.into();
        let mut set = LocatorSet { members, version, references: 1, epoch: 0, few: None };
        set.weigh(locators);
        let index = SetIndex(self.sets.insert(set));
        let (sets, hasher) = (&self.sets, &self.hasher);
        self.by_members.insert(hash, index, |index| {
            let set = &sets[index.0];
            self::hash(hasher, &set.members, set.version)
        });
        index
    }

    /// A mapping has this set no longer.
    pub(super) fn release(&mut self, locators: &mut Locators, index: SetIndex) {
        if let Some(locator) = index.locator() {
            return locators.release(locator);
        }
        let set = &mut self.sets[index.0];
        set.references -= 1;
        if set.references > 0 {
            return;
        }
        let (members, version) = (std::mem::take(&mut set.members), set.version);
        members.iter().for_each(|member| locators.release(member.locator));
        self.by_members.remove(hash(&self.hasher, &members, version), |other| *other == index);
        self.sets.free(index.0);
    }

    /// The locator for a flow; the same for the same hash while it can be reached.
    #[inline]
    pub(super) fn choose(&mut self, locators: &Locators, index: SetIndex, hash: u64) -> Option<LocatorIndex> {
        if let Some(locator) = index.locator() {
            // That none of a mapping can be reached proves nothing.
            return locators.is_of_our_family(locator).then_some(locator);
        }
        let set = &mut self.sets[index.0];
        if set.epoch != locators.epoch() {
            set.weigh(locators);
        }
        match &set.few {
            Some(few) => Some(few.pick(hash)),
            None => set.choose(locators, hash),
        }
    }

    /// How the flows are shared out, as they were when one was last chosen.
    pub(super) fn shares(&self, locators: &Locators, index: SetIndex) -> Vec<Share> {
        if let Some(locator) = index.locator() {
            let (address, part) = (locators.get(locator).address(), locators.is_of_our_family(locator).into());
            return vec![Share { address, priority: index.priority(), part }];
        }
        let mut before = 0;
        let share = |member: &Member| {
            let part = member.usable - before;
            before = member.usable;
            Share { address: locators.get(member.locator).address(), priority: member.priority, part }
        };
        self.sets[index.0].members.iter().map(share).collect()
    }

    /// Sets in use.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }
}

impl LocatorSet {
    fn has_exactly(&self, members: &[Member], version: MapVersion) -> bool {
        let same = |(one, other): (&Member, &Member)| key(one) == key(other);
        self.version == version && self.members.len() == members.len() && self.members.iter().zip(members).all(same)
    }

    /// Shares the flows out among the locators of a family of ours with the lowest priority value of which one can be reached
    /// (RFC 9300, section 9; RFC 9301, section 6.3). When none can be reached, as far as we know, it is as if all could: what we
    /// know may be wrong, nothing is lost by trying, and packets that are answered show that it is.
    #[inline(never)]
    fn weigh(&mut self, locators: &Locators) {
        self.epoch = locators.epoch();
        let none_left = self.none_left(locators);
        let is_left = |locator| locators.is_usable(locator) || none_left && locators.is_of_our_family(locator);
        let usable = |member: &Member| is_left(member.locator);
        let best = self.members.iter().filter(|member| usable(member)).map(|member| member.priority).min();
        let has_turn = |member: &Member| Some(member.priority) == best && locators.is_of_our_family(member.locator);
        share_out(&mut self.members, has_turn, |member| &mut member.turn);
        share_out(&mut self.members, |m| has_turn(m) && usable(m), |member| &mut member.usable);
        let none_has_failed = self.members.iter().all(|member| member.turn == member.usable);
        let is_simple = none_has_failed || self.with_share().count() == 1;
        self.few = if is_simple { Few::new(self.with_share()) } else { None };
    }

    /// Who has a share of what can be reached, and the sum up to and with it.
    fn with_share(&self) -> impl Iterator<Item = (LocatorIndex, u32)> + '_ {
        let mut before = 0;
        let has_share = move |member: &&Member| std::mem::replace(&mut before, member.usable) < member.usable;
        self.members.iter().filter(has_share).map(|member| (member.locator, member.usable))
    }

    /// A flow keeps its locator when another one of the set fails: only the flows of that one are shared out again.
    #[inline(never)]
    fn choose(&self, locators: &Locators, hash: u64) -> Option<LocatorIndex> {
        let is_left = |locator: &LocatorIndex| locators.is_usable(*locator) || self.none_left(locators);
        let in_turn = pick(&self.members, |member| member.turn, hash).filter(is_left);
        in_turn.or_else(|| pick(&self.members, |member| member.usable, mix(hash)))
    }

    /// Whether no locator can be reached.
    fn none_left(&self, locators: &Locators) -> bool {
        !self.members.iter().any(|member| locators.is_usable(member.locator))
    }
}

/// Gives each member of `who` its weight, or all of them one if none has any.
fn share_out(members: &mut [Member], who: impl Fn(&Member) -> bool, share: impl Fn(&mut Member) -> &mut u32) {
    let all_zero = members.iter().filter(|member| who(member)).all(|member| member.weight == 0);
    let mut total = 0;
    for member in members {
        let weight = if all_zero { 1 } else { u32::from(member.weight) };
        total += if who(member) { weight } else { 0 };
        *share(member) = total;
    }
}

/// Who has the point of the hash in its share.
fn pick(members: &[Member], bound: impl Fn(&Member) -> u32, hash: u64) -> Option<LocatorIndex> {
    let point = point(hash, members.last().map_or(0, &bound));
    members.iter().find(|member| point < bound(member)).map(|member| member.locator)
}

/// The upper half of the hash, scaled to the sum of the weights, and so below it: the lower half has chosen the source port.
#[inline(always)]
fn point(hash: u64, total: u32) -> u32 {
    let point = ((hash >> 32) * u64::from(total)) >> 32;
    u32::try_from(point).unwrap_or_default()
}

/// A second choice that has nothing to do with the first.
fn mix(hash: u64) -> u64 {
    (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn key(member: &Member) -> (LocatorIndex, u8, u8) {
    (member.locator, member.priority, member.weight)
}

fn hash(hasher: &RandomState, members: &[Member], version: MapVersion) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut state = hasher.build_hasher();
    version.hash(&mut state);
    members.iter().for_each(|member| key(member).hash(&mut state));
    state.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use wire::data::FlowKey;

    const BOTH: Families = Families { v4: true, v6: true };

    fn locator(address: &str, priority: u8, weight: u8) -> Locator {
        Locator { address: address.parse().unwrap(), priority, weight }
    }

    /// One set and its locators.
    struct Bench {
        locators: Locators,
        sets: LocatorSets,
        set: SetIndex,
    }

    impl Bench {
        fn new(list: &[Locator], families: Families) -> Self {
            let mut locators = Locators::new(1500, vec![]);
            locators.set_families(families);
            let mut sets = LocatorSets::default();
            let set = sets.acquire(&mut locators, list);
            Self { locators, sets, set }
        }

        fn choose(&mut self, hash: u64) -> Option<IpAddr> {
            let chosen = self.sets.choose(&self.locators, self.set, hash)?;
            Some(self.locators.get(chosen).address())
        }

        fn reachable(&mut self, address: &str, reachable: bool) {
            self.locators.set_reachable(address.parse().unwrap(), reachable);
        }

        /// Where 10,000 flows that differ in a port go.
        fn flows(&mut self) -> Vec<String> {
            let key = |port| {
                let ports = Some((17, port, 53));
                FlowKey { source: [10, 0, 0, 1].into(), destination: [10, 1, 0, 1].into(), ports }
            };
            (0..10_000).map(|port| self.choose(key(port).hash()).unwrap().to_string()).collect()
        }

        /// Their shares in percent.
        fn shares(&mut self) -> HashMap<String, f64> {
            let mut shares = HashMap::new();
            self.flows().into_iter().for_each(|address| *shares.entry(address).or_insert(0.0) += 0.01);
            shares
        }
    }

    fn assert_shares(shares: &HashMap<String, f64>, expected: &[(&str, f64)]) {
        assert_eq!(shares.len(), expected.len(), "{shares:?}");
        for (address, expected) in expected {
            let share = shares[*address];
            assert!((share - expected).abs() < 2.0, "{address}: {share} instead of {expected} %");
        }
    }

    #[test]
    fn weights_split_flows_within_five_percent() {
        let locators: Vec<_> =
            [30, 20, 20, 10].iter().zip(1..).map(|(weight, n)| locator(&format!("192.0.2.{n}"), 1, *weight)).collect();
        let shares = Bench::new(&locators, BOTH).shares();
        let expected = [("192.0.2.1", 37.5), ("192.0.2.2", 25.0), ("192.0.2.3", 25.0), ("192.0.2.4", 12.5)];
        assert_shares(&shares, &expected);
    }

    #[test]
    fn weights_that_are_all_zero_split_evenly() {
        let shares = Bench::new(&[locator("192.0.2.1", 1, 0), locator("2001:db8::1", 1, 0)], BOTH).shares();
        assert_shares(&shares, &[("192.0.2.1", 50.0), ("2001:db8::1", 50.0)]);
    }

    #[test]
    fn weight_zero_beside_others_gets_nothing() {
        let shares = Bench::new(&[locator("192.0.2.1", 1, 0), locator("192.0.2.2", 1, 7)], BOTH).shares();
        assert_shares(&shares, &[("192.0.2.2", 100.0)]);
    }

    #[test]
    fn weight_zero_gets_all_when_the_only_other_one_fails() {
        let mut bench = Bench::new(&[locator("192.0.2.1", 1, 0), locator("192.0.2.2", 1, 1)], BOTH);
        bench.reachable("192.0.2.2", false);
        assert_shares(&bench.shares(), &[("192.0.2.1", 100.0)]);
    }

    #[test]
    fn the_lowest_priority_value_of_a_family_we_have_wins() {
        let locators = [locator("2001:db8::1", 1, 1), locator("192.0.2.1", 2, 1), locator("192.0.2.2", 3, 1)];
        assert_eq!(Bench::new(&locators, BOTH).choose(7), Some(locators[0].address));
        let v4 = Families { v4: true, v6: false };
        assert_eq!(Bench::new(&locators, v4).choose(u64::MAX), Some(locators[1].address));
        assert_eq!(Bench::new(&locators, Families::default()).choose(7), None);
    }

    #[test]
    fn flows_of_a_locator_that_fails_go_to_others_of_its_priority_and_no_other_flow_moves() {
        let locators = [
            locator("192.0.2.1", 1, 20),
            locator("192.0.2.2", 1, 10),
            locator("192.0.2.3", 1, 10),
            locator("192.0.2.4", 2, 1),
        ];
        let mut bench = Bench::new(&locators, BOTH);
        let before = bench.flows();
        bench.reachable("192.0.2.1", false);
        let after = bench.flows();
        let stayed = |(was, is): (&String, &String)| was == is || was == "192.0.2.1";
        assert!(before.iter().zip(&after).all(stayed));
        assert_shares(&bench.shares(), &[("192.0.2.2", 50.0), ("192.0.2.3", 50.0)]);
        bench.reachable("192.0.2.1", true);
        assert_eq!(bench.flows(), before);
    }

    #[test]
    fn the_next_priority_serves_when_none_of_the_best_can_be_reached() {
        let mut bench = Bench::new(&[locator("192.0.2.1", 1, 1), locator("192.0.2.2", 2, 1)], BOTH);
        bench.reachable("192.0.2.1", false);
        assert_eq!(bench.choose(7), Some([192, 0, 2, 2].into()));
        bench.reachable("192.0.2.2", false);
        assert_eq!(bench.choose(7), Some([192, 0, 2, 1].into()), "with none left the best is tried");
        bench.reachable("192.0.2.1", true);
        assert_eq!(bench.choose(7), Some([192, 0, 2, 1].into()));
    }

    #[test]
    fn when_none_can_be_reached_flows_go_as_if_all_could_within_our_families() {
        let locators = [
            locator("2001:db8::1", 1, 1),
            locator("192.0.2.1", 2, 3),
            locator("192.0.2.2", 2, 1),
            locator("192.0.2.3", 3, 1),
        ];
        let mut bench = Bench::new(&locators, Families { v4: true, v6: false });
        let before = bench.flows();
        locators.iter().for_each(|locator| bench.reachable(&locator.address.to_string(), false));
        assert_eq!(bench.flows(), before);
        bench.reachable("192.0.2.3", true);
        assert_shares(&bench.shares(), &[("192.0.2.3", 100.0)]);
    }

    #[test]
    fn a_locator_of_weight_zero_serves_when_those_with_weight_fail() {
        let mut bench = Bench::new(&[locator("192.0.2.1", 1, 0), locator("192.0.2.2", 1, 7)], BOTH);
        bench.reachable("192.0.2.2", false);
        assert_eq!(bench.choose(7), Some([192, 0, 2, 1].into()));
    }

    #[test]
    fn equal_sets_are_one_and_leave_nothing_behind() {
        let list = [locator("192.0.2.1", 1, 1), locator("192.0.2.2", 1, 1)];
        let mut bench = Bench::new(&list, BOTH);
        assert_eq!(bench.sets.acquire(&mut bench.locators, &list), bench.set);
        let other = bench.sets.acquire(&mut bench.locators, &[list[0], locator("192.0.2.2", 1, 2)]);
        assert_eq!((bench.sets.len(), bench.locators.len()), (2, 2));
        for set in [bench.set, other, bench.set] {
            bench.sets.release(&mut bench.locators, set);
        }
        assert_eq!((bench.sets.len(), bench.locators.len()), (0, 0));
    }

    #[test]
    fn a_locator_alone_has_no_set_and_keeps_its_priority() {
        for priority in [0, 1, 254] {
            let mut bench = Bench::new(&[locator("192.0.2.1", priority, 0)], BOTH);
            assert_eq!((bench.sets.len(), bench.locators.len()), (0, 1));
            let share = Share { address: [192, 0, 2, 1].into(), priority, part: 1 };
            assert_eq!(bench.sets.shares(&bench.locators, bench.set), [share]);
            let versioned = bench.sets.with_version(&mut bench.locators, bench.set, MapVersion(7));
            assert_eq!((bench.sets.len(), bench.sets.version(versioned)), (1, MapVersion(7)));
            assert_eq!(bench.sets.shares(&bench.locators, versioned), [share]);
            bench.sets.release(&mut bench.locators, bench.set);
            assert_eq!(bench.sets.with_version(&mut bench.locators, versioned, MapVersion(0)), bench.set);
            bench.sets.release(&mut bench.locators, versioned);
            assert_eq!((bench.sets.len(), bench.locators.len()), (0, 1));
        }
    }

    #[test]
    fn the_numbers_of_locators_and_of_sets_are_told_apart() {
        for (number, priority) in [(0, 0), (0, 254), (999_999, 0), (999_999, 254)] {
            let index = SetIndex::alone(LocatorIndex(number), priority);
            assert_eq!((index.locator(), index.priority()), (Some(LocatorIndex(number)), priority));
        }
        assert_eq!([0, 1, 999_999].map(|number| SetIndex(number).locator()), [None; 3]);
    }

    proptest! {
        #[test]
        fn what_is_chosen_without_a_search_is_what_a_search_finds(
            weights in proptest::collection::vec(prop::sample::select(vec![0, 0, 1, 2, 50, 255]), 1..8),
            hash: u64,
        ) {
            let numbered = weights.iter().zip(1..);
            let list: Vec<_> = numbered.map(|(weight, n)| locator(&format!("192.0.2.{n}"), 1, *weight)).collect();
            let mut bench = Bench::new(&list, BOTH);
            let found = match bench.set.locator() {
                Some(locator) => {
                    prop_assert_eq!((weights.len(), bench.sets.len()), (1, 0));
                    Some(locator)
                }
                None => {
                    let set = &bench.sets.sets[bench.set.0];
                    prop_assert_eq!(set.few.is_some(), set.with_share().count() <= FEW);
                    pick(&set.members, |member| member.turn, hash)
                }
            };
            prop_assert_eq!(bench.sets.choose(&bench.locators, bench.set, hash), found);
        }
    }
}
