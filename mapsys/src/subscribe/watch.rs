// SPDX-License-Identifier: GPL-2.0-or-later
//! When the DHT is read again for what is subscribed to and not registered here: it tells nobody of changes by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use wire::address::EidPrefix;

use crate::limits::{REREAD_LONGEST, REREAD_SHORTEST, REREAD_STEPS};

/// The times, by EID-prefix. There are no more of them than subscriptions.
#[derive(Debug, Default)]
pub struct Watches {
    at: BTreeMap<EidPrefix, Instant>,
    order: BTreeSet<(Instant, EidPrefix)>,
    cursors: BTreeMap<EidPrefix, Cursor>,
    /// What is due waits for room until then.
    pause: Option<Instant>,
}

/// Where an EID-prefix is read of which more-specifics have the first EIDs.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// The EID that is read next.
    at: IpAddr,
    /// How many more-specifics were read one after the other to come there.
    steps: usize,
    /// The EID that no more-specific had when it was last read.
    own: Option<IpAddr>,
    /// From where on more-specifics are read when that has been read; else from the first EID.
    onwards: Option<IpAddr>,
}

impl Watches {
    /// Looks again at a third of `lifetime`.
    pub fn begin(&mut self, now: Instant, prefix: EidPrefix, lifetime: Duration) {
        self.set(prefix, now + (lifetime / 3).clamp(REREAD_SHORTEST, REREAD_LONGEST));
    }

    /// Looks again at once.
    pub fn hurry(&mut self, now: Instant, prefix: EidPrefix) {
        self.set(prefix, now);
    }

    /// Looks again at `at`.
    pub fn set(&mut self, prefix: EidPrefix, at: Instant) {
        if let Some(older) = self.at.insert(prefix, at) {
            self.order.remove(&(older, prefix));
        }
        self.order.insert((at, prefix));
    }

    /// The EID by which a prefix is read.
    pub fn host(&self, prefix: &EidPrefix) -> EidPrefix {
        let address = self.cursors.get(prefix).map_or(prefix.net.addr(), |cursor| cursor.at);
        EidPrefix::host(prefix.iid, address)
    }

    /// No more-specific had this EID when a prefix was last read there: it begins with that, if it is read nowhere yet.
    pub fn begin_at(&mut self, prefix: EidPrefix, own: IpAddr) {
        if own != prefix.net.addr() && prefix.net.contains(&own) {
            self.cursors.entry(prefix).or_insert(Cursor { at: own, steps: 0, own: Some(own), onwards: None });
        }
    }

    /// What is read of a prefix is that of a more-specific, `part`: soon the first EID behind that is. After [`REREAD_STEPS`] it is the EID
    /// that is known to be of the prefix itself, or there is a rest of a third of `lifetime`; then it goes on. At the end it begins anew.
    pub fn step(&mut self, now: Instant, prefix: EidPrefix, part: &EidPrefix, lifetime: Duration) {
        let first = Cursor { at: prefix.net.addr(), steps: 0, own: None, onwards: None };
        let Cursor { steps, own, onwards, .. } = self.cursors.get(&prefix).copied().unwrap_or(first);
        let own = own.filter(|own| !part.net.contains(own));
        let behind = next_address(part.net.broadcast()).filter(|next| prefix.net.contains(next));
        let (cursor, rest) = match (behind, own) {
            (None, _) => (first, lifetime),
            (Some(at), _) if steps < REREAD_STEPS => (Cursor { at, steps: steps + 1, own, onwards }, REREAD_SHORTEST),
            (Some(next), Some(at)) => (Cursor { at, steps: 0, own, onwards: Some(next) }, REREAD_SHORTEST),
            (Some(at), None) => (Cursor { at, ..first }, lifetime),
        };
        self.cursors.insert(prefix, cursor);
        self.begin(now, prefix, rest);
    }

    /// What is read of a prefix is its own: after a third of `lifetime` the more-specifics before that, which may have changed too. Where it
    /// was read, unless that is its first EID.
    pub fn seen(&mut self, now: Instant, prefix: EidPrefix, lifetime: Duration) -> Option<IpAddr> {
        let first = prefix.net.addr();
        let read = self.cursors.remove(&prefix).filter(|cursor| cursor.at != first);
        if let Some(Cursor { at, onwards, .. }) = read {
            let next = Cursor { at: onwards.unwrap_or(first), steps: 0, own: Some(at), onwards: None };
            self.cursors.insert(prefix, next);
        }
        self.begin(now, prefix, lifetime);
        read.map(|cursor| cursor.at)
    }

    /// Nobody subscribes to a prefix any more.
    pub fn forget(&mut self, prefix: &EidPrefix) {
        self.cursors.remove(prefix);
    }

    /// The next prefix to look at. Unless it is begun again, it is forgotten.
    pub fn pop(&mut self, now: Instant) -> Option<EidPrefix> {
        let (at, prefix) = self.order.first().copied().filter(|(at, _)| *at <= now)?;
        self.order.remove(&(at, prefix));
        self.at.remove(&prefix);
        Some(prefix)
    }

    /// Nobody need come back for what is due before `until`.
    pub fn pause(&mut self, until: Instant) {
        self.pause = Some(until);
    }

    /// When [`Self::pop`] has something and may be asked.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| self.pause.map_or(*at, |pause| pause.max(*at)))
    }
}

fn next_address(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}
