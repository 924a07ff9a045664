// SPDX-License-Identifier: GPL-2.0-or-later
//! All subscriptions, found by EID-prefix and by xTR.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use wire::address::EidPrefix;
use wire::control::XtrIdentity;

use super::subscription::{Mode, Subscription, SubscriptionKey};
use crate::table::PrefixTable;

/// The table.
#[derive(Debug, Default)]
pub struct Book {
    by_prefix: PrefixTable<BTreeMap<XtrIdentity, Subscription>>,
    by_xtr: HashMap<XtrIdentity, Shelf>,
    /// Those that are more than a remembered nonce.
    live: usize,
}

/// What one xTR has.
#[derive(Debug, Default)]
struct Shelf {
    live: BTreeSet<EidPrefix>,
    /// How many of these are not proven.
    unproven: usize,
    /// Remembered nonces, the oldest first.
    memories: Vec<EidPrefix>,
}

impl Book {
    /// The subscription of exactly this key.
    pub fn get(&self, key: &SubscriptionKey) -> Option<&Subscription> {
        self.by_prefix.get(&key.prefix)?.get(&key.xtr)
    }

    /// Puts a subscription, in the place of an older one.
    pub fn put(&mut self, key: SubscriptionKey, subscription: Subscription) {
        self.remove(&key);
        let shelf = self.by_xtr.entry(key.xtr).or_default();
        if subscription.is_memory() {
            shelf.memories.push(key.prefix);
        } else {
            shelf.live.insert(key.prefix);
            shelf.unproven += usize::from(subscription.asked.is_some());
            self.live += 1;
        }
        match self.by_prefix.get_mut(&key.prefix) {
            Some(of_prefix) => drop(of_prefix.insert(key.xtr, subscription)),
            None => drop(self.by_prefix.insert(key.prefix, BTreeMap::from([(key.xtr, subscription)]))),
        }
    }

    /// Takes a subscription out.
    pub fn remove(&mut self, key: &SubscriptionKey) -> Option<Subscription> {
        let of_prefix = self.by_prefix.get_mut(&key.prefix)?;
        let gone = of_prefix.remove(&key.xtr)?;
        if of_prefix.is_empty() {
            self.by_prefix.remove(&key.prefix);
        }
        if let Some(shelf) = self.by_xtr.get_mut(&key.xtr) {
            if shelf.live.remove(&key.prefix) {
                shelf.unproven -= usize::from(gone.asked.is_some());
                self.live -= 1;
            } else {
                shelf.memories.retain(|prefix| *prefix != key.prefix);
            }
            if shelf.live.is_empty() && shelf.memories.is_empty() {
                self.by_xtr.remove(&key.xtr);
            }
        }
        Some(gone)
    }

    /// Subscriptions that are more than a remembered nonce.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Those of one xTR.
    pub fn count(&self, xtr: &XtrIdentity) -> usize {
        self.by_xtr.get(xtr).map_or(0, |shelf| shelf.live.len())
    }

    /// Those of one xTR that are not proven.
    pub fn unproven(&self, xtr: &XtrIdentity) -> usize {
        self.by_xtr.get(xtr).map_or(0, |shelf| shelf.unproven)
    }

    /// The nonce of an xTR that has been remembered longest, if it has more than `most` of them.
    pub fn surplus(&self, xtr: &XtrIdentity, most: usize) -> Option<SubscriptionKey> {
        let shelf = self.by_xtr.get(xtr).filter(|shelf| shelf.memories.len() > most)?;
        Some(SubscriptionKey { xtr: *xtr, prefix: *shelf.memories.first()? })
    }

    /// The most specific subscription of an xTR that covers `prefix`, itself included.
    pub fn longest(&self, xtr: &XtrIdentity, prefix: &EidPrefix) -> Option<(SubscriptionKey, &Subscription)> {
        self.all_around(*xtr, prefix).find(|(_, known)| known.mode() != Mode::Gone)
    }

    /// The subscriptions of an xTR that cover `prefix`, the most specific first: what is proven to be one too, whatever was asked for since.
    pub fn lasting(
        &self,
        xtr: XtrIdentity,
        prefix: &EidPrefix,
    ) -> impl Iterator<Item = (SubscriptionKey, &Subscription)> + '_ {
        self.all_around(xtr, prefix).filter(|(_, known)| known.may_be(Mode::Publish) || known.may_be(Mode::Mute))
    }

    fn all_around(
        &self,
        xtr: XtrIdentity,
        prefix: &EidPrefix,
    ) -> impl Iterator<Item = (SubscriptionKey, &Subscription)> + '_ {
        self.by_prefix
            .covering(prefix)
            .filter_map(move |(prefix, of_prefix)| Some((SubscriptionKey { xtr, prefix }, of_prefix.get(&xtr)?)))
    }

    /// The subscriptions to what covers `prefix`, of all xTRs, whose mapping is registered here.
    pub fn covering(&self, prefix: &EidPrefix) -> Vec<SubscriptionKey> {
        let covering = self.by_prefix.covering(prefix).flat_map(|(prefix, of_prefix)| {
            let own = of_prefix.iter().filter(|(_, known)| known.mode() == Mode::Publish && !known.is_foreign);
            own.map(move |(xtr, _)| SubscriptionKey { xtr: *xtr, prefix })
        });
        covering.collect()
    }

    /// The muted parts of a subscription that is gone, which are parts of no other one.
    pub fn orphans(&self, gone: &SubscriptionKey) -> Vec<SubscriptionKey> {
        let inside = self.by_xtr.get(&gone.xtr).into_iter().flat_map(|shelf| &shelf.live);
        let inside = inside.filter(|prefix| gone.prefix.covers(prefix));
        let keys = inside.map(|prefix| SubscriptionKey { xtr: gone.xtr, prefix: *prefix });
        keys.filter(|key| self.is_orphan(key)).collect()
    }

    /// Whether a subscription is a muted part of none.
    pub fn is_orphan(&self, key: &SubscriptionKey) -> bool {
        let is_muted = self.get(key).is_some_and(|known| known.mode() == Mode::Mute);
        is_muted && !self.all_around(key.xtr, &key.prefix).any(|(_, known)| known.may_be(Mode::Publish))
    }

    /// The nonce that a Map-Request for `asked` must exceed which would lead to `key`. The EID-prefix of an answer changes with
    /// what is registered: what it was before counts too, where it lay inside the present one, or was asked for in the same words.
    pub fn last_nonce(&self, key: &SubscriptionKey, asked: &EidPrefix) -> Option<u64> {
        let covering = self.by_prefix.covering(asked).filter_map(|(prefix, of_prefix)| {
            let known = of_prefix.get(&key.xtr)?;
            let is_same = || known.agreement().is_some_and(|agreement| agreement.asked == asked.net);
            (key.prefix.covers(&prefix) || is_same()).then(|| known.last_nonce()).flatten()
        });
        covering.chain(self.get(key).and_then(Subscription::last_nonce)).max()
    }

    /// Who is to be told that `changed` has changed, each xTR by its most specific subscription (RFC 9437, section 6); not who
    /// has muted it. After them those inside it, which hear of it what concerns them.
    pub fn concerned(&self, changed: &EidPrefix) -> Vec<SubscriptionKey> {
        let mut concerned = self.telling(changed);
        let inside = self.by_prefix.inside(changed).filter(|(prefix, _)| prefix != changed);
        for (prefix, of_prefix) in inside {
            let publish = of_prefix.iter().filter(|(_, subscription)| subscription.mode() == Mode::Publish);
            concerned.extend(publish.map(|(xtr, _)| SubscriptionKey { xtr: *xtr, prefix }));
        }
        concerned
    }

    /// The most specific subscription of each xTR that covers `changed`; not of who has muted it.
    fn telling(&self, changed: &EidPrefix) -> Vec<SubscriptionKey> {
        let (mut telling, mut decided) = (Vec::new(), BTreeSet::new());
        for (prefix, of_prefix) in self.by_prefix.covering(changed) {
            for (xtr, subscription) in of_prefix.iter().filter(|(_, subscription)| subscription.mode() != Mode::Gone) {
                let is_first = decided.insert(*xtr);
                if is_first && subscription.mode() == Mode::Publish {
                    telling.push(SubscriptionKey { xtr: *xtr, prefix });
                }
            }
        }
        telling
    }

    /// Who is to be told of a mapping of which `part` was heard: as of that, and who has subscribed to the whole.
    pub fn concerned_by(&self, registered: &EidPrefix, part: &EidPrefix) -> BTreeSet<SubscriptionKey> {
        let whole = if registered == part { Vec::new() } else { self.telling(registered) };
        whole.into_iter().chain(self.concerned(part)).collect()
    }

    /// The subscriptions to what is wider than `changed`, and the parts of subscriptions that it is in, of which somebody has asked that
    /// nothing more is said, and has not proven that he may: they may go on.
    pub fn in_doubt(&self, changed: &EidPrefix) -> Vec<SubscriptionKey> {
        let is_in_doubt = |prefix: &EidPrefix, known: &Subscription| {
            let proven = known.proven_mode();
            match known.asked.as_ref().map(|asked| asked.mode) {
                Some(Mode::Mute) => proven != Mode::Mute,
                // What is exactly of its EID-prefix is told in any case.
                Some(Mode::Gone) => proven == Mode::Publish && prefix != changed,
                Some(Mode::Publish) | None => false,
            }
        };
        let in_doubt = self.by_prefix.covering(changed).flat_map(|(prefix, of_prefix)| {
            let of_prefix = of_prefix.iter().filter(move |(_, known)| is_in_doubt(&prefix, known));
            of_prefix.map(move |(xtr, _)| SubscriptionKey { xtr: *xtr, prefix })
        });
        in_doubt.collect()
    }

    /// Whether anybody has subscribed to exactly this prefix and gets its mapping from the DHT.
    pub fn has_foreign(&self, prefix: &EidPrefix) -> bool {
        let wants = |s: &Subscription| s.is_foreign && s.mode() == Mode::Publish;
        self.by_prefix.get(prefix).is_some_and(|of_prefix| of_prefix.values().any(wants))
    }

    /// Those after `key` in the order of prefixes, and of xTRs within one; all of them after none.
    pub fn after(&self, key: Option<SubscriptionKey>) -> impl Iterator<Item = (SubscriptionKey, &Subscription)> + '_ {
        let of_same = key.and_then(|key| Some((key, self.by_prefix.get(&key.prefix)?)));
        let of_same = of_same.into_iter().flat_map(|(key, of_prefix)| {
            let others = of_prefix.range((Bound::Excluded(key.xtr), Bound::Unbounded));
            others.map(move |(xtr, subscription)| (SubscriptionKey { xtr: *xtr, ..key }, subscription))
        });
        of_same.chain(self.by_prefix.after(key.map(|key| key.prefix).as_ref()).flat_map(|(prefix, of_prefix)| {
            of_prefix.iter().map(move |(xtr, subscription)| (SubscriptionKey { xtr: *xtr, prefix }, subscription))
        }))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (SubscriptionKey, &Subscription)> + '_ {
        self.by_prefix.iter().flat_map(|(prefix, of_prefix)| {
            of_prefix.iter().map(move |(xtr, subscription)| (SubscriptionKey { xtr: *xtr, prefix }, subscription))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use wire::address::InstanceId;

    use super::super::subscription::Agreement;
    use super::*;

    #[test]
    fn a_nonce_counts_also_when_what_is_registered_has_become_wider_or_narrower() {
        let asked = net(5, 8);
        let at = |len| SubscriptionKey { xtr: xtr(1), prefix: net(0, len) };
        let mut book = Book::default();
        let agreed = Agreement { nonce: 9, mode: Mode::Gone, asked: asked.net, ways: vec![], key: None, made_of: None };
        book.put(at(4), Subscription { proven: Some(agreed), ..Subscription::new(1) });
        for (len, other) in [(2, Some(9)), (4, Some(9)), (5, None)] {
            assert_eq!(book.last_nonce(&at(len), &asked), Some(9), "{len}");
            assert_eq!(book.last_nonce(&at(len), &net(6, 8)), other, "{len}, another EID");
        }
        let stranger = SubscriptionKey { xtr: xtr(2), ..at(4) };
        assert_eq!(book.last_nonce(&stranger, &asked), None);
    }

    #[test]
    fn of_a_mapping_of_which_a_part_is_heard_those_of_the_whole_hear_and_not_those_of_other_parts() {
        let mut book = Book::default();
        let all = [(1, net(0, 2)), (1, net(0, 6)), (2, net(0, 2)), (3, net(0, 1)), (4, net(0, 6)), (4, net(63, 8))];
        for (n, prefix) in all {
            book.put(SubscriptionKey { xtr: xtr(n), prefix }, in_mode(Mode::Publish, true));
        }
        let heard = book.concerned_by(&net(0, 2), &net(0, 4));
        let heard: Vec<_> = heard.into_iter().map(|key| (key.xtr.xtr_id[0], key.prefix)).collect();
        assert_eq!(heard, [(1, net(0, 2)), (1, net(0, 6)), (2, net(0, 2)), (3, net(0, 1)), (4, net(0, 6))]);
        // Who has subscribed to the part too hears of the whole by that.
        book.put(SubscriptionKey { xtr: xtr(2), prefix: net(0, 4) }, in_mode(Mode::Publish, true));
        let heard = book.concerned_by(&net(0, 2), &net(0, 4));
        let of_two: Vec<_> = heard.into_iter().filter(|key| key.xtr == xtr(2)).map(|key| key.prefix).collect();
        assert_eq!(of_two, [net(0, 2), net(0, 4)]);
    }

    fn net(bits: u8, len: u8) -> EidPrefix {
        EidPrefix::new(InstanceId(0), Ipv4Addr::new(10, 0, 0, bits).into(), 24 + len).unwrap()
    }

    fn xtr(n: u8) -> XtrIdentity {
        XtrIdentity { xtr_id: [n; 16], site_id: 1 }
    }

    fn in_mode(mode: Mode, is_proven: bool) -> Subscription {
        let asked = "10.0.0.0/8".parse().unwrap();
        let agreed = Some(Agreement { nonce: 1, mode, asked, ways: vec![], key: None, made_of: None });
        let (proven, asked) = if is_proven { (agreed, None) } else { (None, agreed) };
        Subscription { proven, asked, ..Subscription::new(1) }
    }

    fn modes() -> impl Strategy<Value = Mode> {
        prop_oneof![3 => Just(Mode::Publish), 1 => Just(Mode::Mute), 1 => Just(Mode::Gone)]
    }

    type Step = (u8, u8, u8, Option<(Mode, bool)>);

    /// Few xTRs and few bits, so that subscriptions nest; without a mode it is taken out.
    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let put = prop::option::weighted(0.8, (modes(), any::<bool>()));
        prop::collection::vec((0u8..3, any::<u8>(), 0u8..=8, put), 0..60)
    }

    /// A table after these steps, and what a plain list of them says is in it.
    fn both(steps: Vec<Step>) -> (Book, Vec<(SubscriptionKey, Subscription)>) {
        let (mut book, mut list) = (Book::default(), Vec::new());
        for (n, bits, len, put) in steps {
            let key = SubscriptionKey { xtr: xtr(n), prefix: net(bits, len) };
            let known = list.iter().position(|(other, _)| *other == key).map(|index| list.remove(index));
            match put {
                Some((mode, is_proven)) => {
                    let subscription = in_mode(mode, is_proven);
                    book.put(key, subscription.clone());
                    list.push((key, subscription));
                }
                None => assert_eq!(book.remove(&key), known.map(|(_, subscription)| subscription)),
            }
        }
        (book, list)
    }

    proptest! {
        #[test]
        fn what_is_put_in_is_there_and_counted(steps in steps()) {
            let (book, list) = both(steps);
            prop_assert_eq!(book.iter().count(), list.len());
            prop_assert!(list.iter().all(|(key, subscription)| book.get(key) == Some(subscription)));
            let all: Vec<_> = book.after(None).map(|(key, _)| key).collect();
            prop_assert_eq!(&all, &book.iter().map(|(key, _)| key).collect::<Vec<_>>());
            for (number, key) in (1..).zip(&all) {
                prop_assert_eq!(&all[number..], book.after(Some(*key)).map(|(key, _)| key).collect::<Vec<_>>());
            }
            let live = |n: Option<XtrIdentity>| {
                let of = list.iter().filter(|(key, _)| n.is_none_or(|n| key.xtr == n));
                of.filter(|(_, subscription)| !subscription.is_memory()).count()
            };
            prop_assert_eq!(book.len(), live(None));
            for n in 0..3 {
                prop_assert_eq!(book.count(&xtr(n)), live(Some(xtr(n))));
                let unproven = list.iter().filter(|(key, s)| key.xtr == xtr(n) && s.asked.is_some()).count();
                prop_assert_eq!(book.unproven(&xtr(n)), unproven);
                let memories = list.iter().filter(|(key, s)| key.xtr == xtr(n) && s.is_memory());
                let memories: Vec<_> = memories.map(|(key, _)| *key).collect();
                prop_assert_eq!(book.surplus(&xtr(n), 0), memories.first().copied(), "the oldest");
                prop_assert_eq!(book.surplus(&xtr(n), memories.len()), None);
            }
        }

        #[test]
        fn of_a_change_each_xtr_hears_by_its_most_specific_subscription_unless_it_muted_it(
            steps in steps(), changed in (any::<u8>(), 0u8..=8)
        ) {
            let (book, list) = both(steps);
            let changed = net(changed.0, changed.1);
            let concerned: BTreeSet<_> = book.concerned(&changed).into_iter().collect();
            prop_assert_eq!(concerned.len(), book.concerned(&changed).len(), "nobody twice");
            let mut expected = BTreeSet::new();
            for n in 0..3 {
                let live = || list.iter().filter(|(key, s)| key.xtr == xtr(n) && s.mode() != Mode::Gone);
                let covering = live().filter(|(key, _)| key.prefix.covers(&changed));
                let longest = covering.max_by_key(|(key, _)| key.prefix.net.prefix_len());
                prop_assert_eq!(book.longest(&xtr(n), &changed).map(|(key, _)| key), longest.map(|(key, _)| *key));
                let inside = live().filter(|(key, _)| changed.covers(&key.prefix) && key.prefix != changed);
                let hears = longest.into_iter().chain(inside).filter(|(_, s)| s.mode() == Mode::Publish);
                expected.extend(hears.map(|(key, _)| *key));
            }
            prop_assert_eq!(concerned, expected);
        }
    }
}
