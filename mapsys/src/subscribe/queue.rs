// SPDX-License-Identifier: GPL-2.0-or-later
//! Publications that wait for their turn (RFC 9437, section 5: the pace of Map-Notifies).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wire::address::{EidPrefix, InstanceId};
use wire::record::MappingRecord;

use super::subscription::SubscriptionKey;
use crate::limits::QUEUED_PUBLICATIONS;

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
}

impl Queue {
    /// Puts something in the place of what was to be said to this receiver; not later than that was. `false` if there is no room.
    pub fn push(&mut self, at: Instant, receiver: Receiver, content: Content) -> bool {
        if self.items.len() >= QUEUED_PUBLICATIONS && !self.items.contains_key(&receiver) {
            return false;
        }
        let at = self.remove(&receiver).map_or(at, |(earlier, _)| earlier.min(at));
        self.order.insert((at, receiver));
        self.items.insert(receiver, (at, content));
        true
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

    /// Forgets all that a subscription was to be told.
    pub fn clear(&mut self, key: SubscriptionKey) {
        let gone: Vec<Receiver> = self.items.range(Receiver::all(key)).map(|(receiver, _)| *receiver).collect();
        for receiver in gone {
            self.remove(&receiver);
        }
    }

    fn remove(&mut self, receiver: &Receiver) -> Option<(Instant, Content)> {
        let (at, content) = self.items.remove(receiver)?;
        self.order.remove(&(at, *receiver));
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
