// SPDX-License-Identifier: GPL-2.0-or-later
//! A table by label with longest match, in the way of [`crate::table`]: in the order of the labels the longest match of one is
//! its predecessor, or covers that too.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Kind, Label};

/// Values by label.
#[derive(Debug, Clone)]
pub struct LabelTable<T> {
    map: BTreeMap<Label, T>,
}

impl<T> Default for LabelTable<T> {
    fn default() -> Self {
        Self { map: BTreeMap::new() }
    }
}

impl<T> LabelTable<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The value of exactly this label.
    pub fn get(&self, label: &Label) -> Option<&T> {
        self.map.get(label)
    }

    /// The value of exactly this label.
    pub fn get_mut(&mut self, label: &Label) -> Option<&mut T> {
        self.map.get_mut(label)
    }

    /// The value of exactly this label, made by `make` if there is none.
    pub fn entry(&mut self, label: Label, make: impl FnOnce() -> T) -> &mut T {
        self.map.entry(label).or_insert_with(make)
    }

    /// Takes a value out.
    pub fn remove(&mut self, label: &Label) -> Option<T> {
        self.map.remove(label)
    }

    /// The longest label that covers this one (RFC 9735, section 4).
    pub fn longest(&self, label: &Label) -> Option<(Label, &T)> {
        let mut sought = *label;
        loop {
            let (key, value) = self.map.range(..=sought).next_back()?;
            if key.covers(&sought) {
                return Some((*key, value));
            }
            if !key.is_beside(&sought) || sought.bits == 0 {
                return None;
            }
            sought = sought.truncated(key.shared(&sought).min(sought.bits - 1));
        }
    }

    /// The labels that cover this one, itself included, the longest first.
    pub fn covering(&self, label: &Label) -> impl Iterator<Item = (Label, &T)> + '_ {
        let mut sought = Some(*label);
        std::iter::from_fn(move || {
            let (key, value) = self.longest(&sought?)?;
            sought = key.bits.checked_sub(1).map(|bits| key.truncated(bits));
            Some((key, value))
        })
    }

    /// The labels inside this one, itself included.
    pub fn inside<'a>(&'a self, label: &Label) -> impl Iterator<Item = (Label, &'a T)> + use<'a, T> {
        self.map.range(*label..=label.end()).map(|(key, value)| (*key, value))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Label, &T)> + '_ {
        self.map.iter().map(|(label, value)| (*label, value))
    }

    /// All of them, in order, to change their values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Label, &mut T)> + '_ {
        self.map.iter_mut().map(|(label, value)| (*label, value))
    }

    /// All that come after this one in the order; all of them after none.
    pub fn after<'a>(&'a self, label: Option<&Label>) -> impl Iterator<Item = (Label, &'a T)> + use<'a, T> {
        let start = label.map_or(Bound::Unbounded, |label| Bound::Excluded(*label));
        self.map.range((start, Bound::Unbounded)).map(|(label, value)| (*label, value))
    }

    /// The least-specific part of `within` that contains `sought` and overlaps none of the labels strictly inside `within`;
    /// `None` if one of these covers `sought`, or `within` does not. Of names that part is `within` whole, or the one name.
    pub fn hole(&self, within: &Label, sought: &Label) -> Option<Label> {
        if !within.covers(sought) {
            return None;
        }
        if self.longest(sought).is_some_and(|(key, _)| key != *within && within.covers(&key)) {
            return None;
        }
        let before = self.map.range(*within..=*sought).next_back().filter(|(key, _)| *key != within);
        let after = self.map.range((Bound::Excluded(*sought), Bound::Included(within.end()))).next();
        let neighbours = [before, after].into_iter().flatten().map(|(key, _)| key.shared(sought) + 1);
        let bits = neighbours.fold(within.bits, u8::max);
        Some(match sought.kind {
            Kind::Name if bits > within.bits => *sought,
            _ => sought.truncated(bits.min(sought.bits)),
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
            covering.sort_by_key(|label| std::cmp::Reverse(label.bits));
            covering.dedup();
            prop_assert_eq!(table.longest(&sought).map(|(label, ())| label), covering.first().copied());
            prop_assert_eq!(table.covering(&sought).map(|(label, ())| label).collect::<Vec<_>>(), covering);
            let inside: std::collections::BTreeSet<_> = known.iter().copied().filter(|k| sought.covers(k)).collect();
            let found: Vec<_> = table.inside(&sought).map(|(label, ())| label).collect();
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
