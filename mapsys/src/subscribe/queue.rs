// SPDX-License-Identifier: GPL-2.0-or-later
//! Publications that wait for their turn (RFC 9437, section 5: the pace of Map-Notifies).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wire::address::{EidPrefix, InstanceId};
use wire::control::XtrIdentity;
use wire::record::MappingRecord;

use super::subscription::SubscriptionKey;
use crate::limits::{QUEUED_PER_XTR, QUEUED_PUBLICATIONS};

/// One thing that one xTR is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receiver {
    /// By which subscription.
    pub key: SubscriptionKey,
    /// The EID-prefix of the record.
    pub about: EidPrefix,
}

impl Receiver {
    /// All of one subscription.
    pub fn all(key: SubscriptionKey) -> std::ops::RangeInclusive<Self> {
        let first = IpNet::V4(Ipv4Net::default());
        let last = IpNet::V6(Ipv6Net::from(std::net::Ipv6Addr::from(u128::MAX)));
        let about = |iid, net| Self { key, about: EidPrefix { iid: InstanceId(iid), net } };
        about(0, first)..=about(u32::MAX, last)
    }
}

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// What is registered here when its turn comes: for exactly this EID-prefix, or for one that covers it.
    Registered {
        /// Whether nothing wider counts.
        is_exact: bool,
    },
    /// What the DHT says.
    Found {
        /// The record.
        record: MappingRecord,
        /// Its digest.
        digest: u64,
    },
}

/// What waits: the latest thing to be said to each receiver.
#[derive(Debug, Default)]
pub struct Queue {
    items: BTreeMap<Receiver, (Instant, Content)>,
    order: BTreeSet<(Instant, Receiver)>,
    /// How many of each xTR.
    of_xtr: BTreeMap<XtrIdentity, usize>,
}

impl Queue {
    /// Puts something in the place of what was to be said to this receiver; not later than that was.
    ///
    /// # Errors
    /// If there is no room: a subscription of the xTR that takes it up.
    pub fn push(&mut self, at: Instant, receiver: Receiver, content: Content) -> Result<(), SubscriptionKey> {
        if !self.items.contains_key(&receiver) {
            let own = self.of_xtr.get(&receiver.key.xtr).copied().unwrap_or_default();
            if own >= QUEUED_PER_XTR {
                return Err(receiver.key);
            }
            if self.items.len() >= QUEUED_PUBLICATIONS {
                return Err(self.of_most().unwrap_or(receiver.key));
            }
        }
        let at = self.remove(&receiver).map_or(at, |(earlier, _)| earlier.min(at));
        self.insert(at, receiver, content);
        Ok(())
    }

    fn insert(&mut self, at: Instant, receiver: Receiver, content: Content) {
        *self.of_xtr.entry(receiver.key.xtr).or_default() += 1;
        self.order.insert((at, receiver));
        self.items.insert(receiver, (at, content));
    }

    /// A subscription of the xTR that most waits for.
    fn of_most(&self) -> Option<SubscriptionKey> {
        let (xtr, _) = self.of_xtr.iter().max_by_key(|(_, count)| **count)?;
        let about = EidPrefix { iid: InstanceId(0), net: IpNet::V4(Ipv4Net::default()) };
        let first = Receiver { key: SubscriptionKey { xtr: *xtr, prefix: about }, about };
        self.items.range(first..).next().map(|(receiver, _)| receiver.key)
    }

    /// Who has its turn.
    pub fn peek(&self, now: Instant) -> Option<Receiver> {
        self.order.first().filter(|(at, _)| *at <= now).map(|(_, receiver)| *receiver)
    }

    /// Lets a receiver wait until `at`.
    pub fn park(&mut self, at: Instant, receiver: &Receiver) {
        if let Some((_, content)) = self.remove(receiver) {
            self.insert(at, *receiver, content);
        }
    }

    /// When the next one has its turn.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The next one whose turn has come.
    pub fn pop(&mut self, now: Instant) -> Option<(Receiver, Content)> {
        let (_, receiver) = self.order.first().copied().filter(|(at, _)| *at <= now)?;
        let (_, content) = self.remove(&receiver)?;
        Some((receiver, content))
    }

    /// All that waits, with its time.
    pub fn into_items(self) -> impl Iterator<Item = (Instant, Receiver, Content)> {
        self.items.into_iter().map(|(receiver, (at, content))| (at, receiver, content))
    }

    /// All that a subscription is to be told.
    pub fn of(&self, key: SubscriptionKey) -> impl Iterator<Item = Receiver> + '_ {
        self.items.range(Receiver::all(key)).map(|(receiver, _)| *receiver)
    }

    /// Lets all that a subscription is to be told wait until [`Self::release`]; it goes on to take its place.
    pub fn hold(&mut self, key: SubscriptionKey) {
        for turn in self.turns(key) {
            self.order.remove(&turn);
        }
    }

    /// What was held has its turn again.
    pub fn release(&mut self, key: SubscriptionKey) {
        let turns = self.turns(key);
        self.order.extend(turns);
    }

    fn turns(&self, key: SubscriptionKey) -> Vec<(Instant, Receiver)> {
        self.items.range(Receiver::all(key)).map(|(receiver, (at, _))| (*at, *receiver)).collect()
    }

    /// Forgets all that a subscription was to be told.
    pub fn clear(&mut self, key: SubscriptionKey) {
        let gone: Vec<Receiver> = self.of(key).collect();
        for receiver in gone {
            self.remove(&receiver);
        }
    }

    fn remove(&mut self, receiver: &Receiver) -> Option<(Instant, Content)> {
        let (at, content) = self.items.remove(receiver)?;
        self.order.remove(&(at, *receiver));
        if let Some(count) = self.of_xtr.get_mut(&receiver.key.xtr) {
            *count -= 1;
            if *count == 0 {
                self.of_xtr.remove(&receiver.key.xtr);
            }
        }
        Some((at, content))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn receiver(xtr: u8, n: usize) -> Receiver {
        let address = std::net::Ipv4Addr::from(u32::try_from(n).unwrap());
        let about = EidPrefix::host(InstanceId(0), address.into());
        Receiver { key: SubscriptionKey { xtr: XtrIdentity { xtr_id: [xtr; 16], site_id: 0 }, prefix: about }, about }
    }

    fn content() -> Content {
        Content::Registered { is_exact: true }
    }

    #[test]
    fn one_xtr_has_its_share_and_when_all_is_full_the_one_with_most_makes_room() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for n in 0..QUEUED_PER_XTR {
            queue.push(now, receiver(1, n), content()).unwrap();
        }
        let further = receiver(1, QUEUED_PER_XTR);
        assert_eq!(queue.push(now, further, content()), Err(further.key));
        assert_eq!(queue.push(now, receiver(1, 0), content()), Ok(()), "the newer in the place of the older");
        let mut xtr = 2;
        while queue.len() < QUEUED_PUBLICATIONS {
            let count = (QUEUED_PUBLICATIONS - queue.len()).min(QUEUED_PER_XTR - 1);
            (0..count).for_each(|n| queue.push(now, receiver(xtr, n), content()).unwrap());
            xtr += 1;
        }
        let quiet = receiver(200, 0);
        assert_eq!(queue.push(now, quiet, content()), Err(receiver(1, 0).key));
        queue.clear(receiver(1, 0).key);
        assert_eq!(queue.push(now, quiet, content()), Ok(()));
    }

    #[test]
    fn what_is_held_has_no_turn_and_keeps_its_place() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.push(now, receiver(1, 0), content()).unwrap();
        queue.push(now, receiver(2, 0), content()).unwrap();
        queue.hold(receiver(1, 0).key);
        assert_eq!(queue.pop(now), Some((receiver(2, 0), content())));
        assert_eq!((queue.pop(now), queue.next(), queue.len()), (None, None, 1));
        queue.release(receiver(1, 0).key);
        assert_eq!(queue.pop(now), Some((receiver(1, 0), content())));
        queue.push(now, receiver(1, 0), content()).unwrap();
        queue.hold(receiver(1, 0).key);
        queue.clear(receiver(1, 0).key);
        assert!(queue.is_empty() && queue.of_xtr.is_empty() && queue.order.is_empty());
    }

    #[test]
    fn what_is_parked_lets_others_pass() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        let mut queue = Queue::default();
        queue.push(now, receiver(1, 0), content()).unwrap();
        queue.push(now, receiver(2, 0), content()).unwrap();
        queue.park(later, &receiver(1, 0));
        assert_eq!(queue.pop(now), Some((receiver(2, 0), content())));
        assert_eq!((queue.pop(now), queue.pop(later)), (None, Some((receiver(1, 0), content()))));
        assert!(queue.is_empty() && queue.of_xtr.is_empty());
    }
}
