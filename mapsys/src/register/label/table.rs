// SPDX-License-Identifier: GPL-2.0-or-later
//! A table by label with longest match.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::nest;
use super::pair::PairTable;
use super::single::Single;
use super::{Kind, Label};

/// Values by label.
#[derive(Debug, Clone)]
pub struct LabelTable<T> {
    singles: BTreeMap<Single, T>,
    pairs: PairTable<T>,
}

impl<T> Default for LabelTable<T> {
    fn default() -> Self {
        Self { singles: BTreeMap::new(), pairs: PairTable::default() }
    }
}

impl<T> LabelTable<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.singles.len() + self.pairs()
    }

    /// Number of values of pairs.
    pub fn pairs(&self) -> usize {
        self.pairs.map.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of exactly this label.
    pub fn get(&self, label: &Label) -> Option<&T> {
        match label {
            Label::Single(single) => self.singles.get(single),
            Label::Pair(pair) => self.pairs.map.get(pair),
        }
    }

    /// The value of exactly this label.
    pub fn get_mut(&mut self, label: &Label) -> Option<&mut T> {
        match label {
            Label::Single(single) => self.singles.get_mut(single),
            Label::Pair(pair) => self.pairs.map.get_mut(pair),
        }
    }

    /// The value of exactly this label, made by `make` if there is none.
    pub fn entry(&mut self, label: Label, make: impl FnOnce() -> T) -> &mut T {
        match label {
            Label::Single(single) => self.singles.entry(single).or_insert_with(make),
            Label::Pair(pair) => self.pairs.map.entry(pair).or_insert_with(make),
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, label: &Label) -> Option<T> {
        match label {
            Label::Single(single) => self.singles.remove(single),
            Label::Pair(pair) => self.pairs.map.remove(pair),
        }
    }

    /// The labels that cover this one, itself included, the best match first: the longest (RFC 9735, section 4), of pairs that with the
    /// longest group or destination, and of these that with the longest source.
    pub fn covering(&self, label: &Label) -> impl Iterator<Item = (Label, &T)> + '_ {
        let (single, pair) = match *label {
            Label::Single(single) => (Some(single), None),
            Label::Pair(pair) => (None, Some(pair)),
        };
        let singles = single.into_iter().flat_map(|single| self.singles_around(single));
        let pairs = pair.into_iter().flat_map(|pair| self.pairs.covering(pair));
        let singles = singles.map(|(single, value)| (Label::Single(single), value));
        singles.chain(pairs.map(|(pair, value)| (Label::Pair(pair), value)))
    }

    /// Those of [`Self::covering`] that lie inside `within`. Of pairs as far as `steps` go, of which none are left when it ended before.
    pub fn covering_within<'a>(
        &'a self,
        within: &Label,
        label: &Label,
        steps: &'a Cell<u32>,
    ) -> impl Iterator<Item = (Label, &'a T)> + use<'a, T> {
        let (single, pair) = match (*within, *label) {
            (Label::Single(within), Label::Single(single)) => (Some((within, single)), None),
            (Label::Pair(within), Label::Pair(pair)) => (None, Some((within, pair))),
            _ => (None, None),
        };
        let singles = single
            .into_iter()
            .flat_map(|(within, single)| self.singles_around(single).filter(move |(single, _)| within.covers(single)));
        let pairs = pair.into_iter().flat_map(move |(within, pair)| self.pairs.covering_within(within, pair, steps));
        let singles = singles.map(|(single, value)| (Label::Single(single), value));
        singles.chain(pairs.map(|(pair, value)| (Label::Pair(pair), value)))
    }

    fn singles_around(&self, single: Single) -> impl Iterator<Item = (Single, &T)> + '_ {
        let before = |single: &Single| self.singles.range(..=single).next_back().map(|(last, _)| *last);
        nest::covering(single, before).filter_map(|single| Some((single, self.singles.get(&single)?)))
    }

    /// The names or MAC addresses inside this one, itself included.
    pub fn inside<'a>(&'a self, single: &Single) -> impl Iterator<Item = (Label, &'a T)> + use<'a, T> {
        self.singles.range(*single..=single.end()).map(|(key, value)| (Label::Single(*key), value))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Label, &T)> + '_ {
        self.after(None)
    }

    /// All of them, in order, to change their values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Label, &mut T)> + '_ {
        let singles = self.singles.iter_mut().map(|(single, value)| (Label::Single(*single), value));
        singles.chain(self.pairs.map.iter_mut().map(|(pair, value)| (Label::Pair(*pair), value)))
    }

    /// All that come after this one in the order; all of them after none.
    pub fn after<'a>(&'a self, label: Option<&Label>) -> impl Iterator<Item = (Label, &'a T)> + use<'a, T> {
        let (single, pair) = match label {
            None => (Some(Bound::Unbounded), Bound::Unbounded),
            Some(Label::Single(single)) => (Some(Bound::Excluded(*single)), Bound::Unbounded),
            Some(Label::Pair(pair)) => (None, Bound::Excluded(*pair)),
        };
        let singles = single.into_iter().flat_map(|start| self.singles.range((start, Bound::Unbounded)));
        let singles = singles.map(|(single, value)| (Label::Single(*single), value));
        let pairs = self.pairs.map.range((pair, Bound::Unbounded));
        singles.chain(pairs.map(|(pair, value)| (Label::Pair(*pair), value)))
    }

    /// A part of `within` that contains `sought` and overlaps none of the labels inside `within`, and no pair that does not cover it; `None`
    /// if one inside `within` covers `sought`, or `within` does not. Of MAC addresses it is the least-specific one; of names and pairs it is
    /// `within` whole, or what was sought alone.
    pub fn hole(&self, within: &Label, sought: &Label) -> Option<Label> {
        match (within, sought) {
            (Label::Single(within), Label::Single(sought)) => self.single_hole(within, sought).map(Label::Single),
            (Label::Pair(within), Label::Pair(sought)) => self.pairs.hole(within, sought).map(Label::Pair),
            _ => None,
        }
    }

    fn single_hole(&self, within: &Single, sought: &Single) -> Option<Single> {
        let best = self.singles_around(*sought).next();
        if !within.covers(sought) || best.is_some_and(|(key, _)| key != *within && within.covers(&key)) {
            return None;
        }
        let before = self.singles.range(*within..=*sought).next_back().filter(|(key, _)| *key != within);
        let after = self.singles.range((Bound::Excluded(*sought), Bound::Included(within.end()))).next();
        let neighbours = [before, after].into_iter().flatten().map(|(key, _)| key.shared(sought) + 1);
        let bits = neighbours.fold(within.bits(), u8::max);
        Some(match sought.kind() {
            Kind::Name if bits > within.bits() => *sought,
            _ => sought.truncated(bits.min(sought.bits())),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use wire::address::InstanceId;

    /// Few octets, bits and instances, so that labels nest; the two kinds beside each other.
    fn label() -> impl Strategy<Value = Label> {
        let mac = (0..2u32, any::<[bool; 4]>(), 0..=48u8).prop_map(|(iid, bits, len)| {
            let [a, b, c, d] = bits.map(u8::from);
            Label::mac(InstanceId(iid), [a << 7, b, c, 0, 0, d], len).unwrap()
        });
        let name =
            (0..2u32, vec(b'a'..=b'b', 0..5)).prop_map(|(iid, text)| Label::name(InstanceId(iid), &text).unwrap());
        prop_oneof![mac, name]
    }

    proptest! {
        #[test]
        fn longest_match_covering_and_inside_are_what_a_walk_through_all_finds(
            sought in label(), known in vec(label(), 0..24)
        ) {
            let mut table = LabelTable::default();
            known.iter().for_each(|label| *table.entry(*label, || ()) = ());
            let mut covering: Vec<_> = known.iter().copied().filter(|label| label.covers(&sought)).collect();
            covering.sort_by_key(|label| std::cmp::Reverse(label.length()));
            covering.dedup();
            prop_assert_eq!(table.covering(&sought).map(|(label, ())| label).collect::<Vec<_>>(), covering);
            let inside: std::collections::BTreeSet<_> = known.iter().copied().filter(|k| sought.covers(k)).collect();
            let Label::Single(single) = sought else { return Ok(()) };
            let found: Vec<_> = table.inside(&single).map(|(label, ())| label).collect();
            prop_assert_eq!(found, inside.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_hole_contains_what_was_sought_and_overlaps_nothing_inside(
            within in label(), sought in label(), known in vec(label(), 0..16)
        ) {
            let mut table = LabelTable::default();
            known.iter().for_each(|label| *table.entry(*label, || ()) = ());
            let inside: Vec<_> = known.into_iter().filter(|label| within.covers(label) && *label != within).collect();
            match table.hole(&within, &sought) {
                None => prop_assert!(!within.covers(&sought) || inside.iter().any(|label| label.covers(&sought))),
                Some(hole) => {
                    prop_assert!(within.covers(&hole) && hole.covers(&sought));
                    // A name that others begin with cannot be told apart from them.
                    let overlaps = |label: &Label| label.covers(&hole) || hole.covers(label) && hole != sought;
                    prop_assert!(!inside.iter().any(overlaps), "{} {:?}", hole, inside);
                }
            }
        }
    }
}
