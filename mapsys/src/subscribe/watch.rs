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
    /// From where on an EID-prefix is read, and after how many steps, if a more-specific has its first EID.
    cursors: BTreeMap<EidPrefix, (IpAddr, usize)>,
    /// What is due waits for room until then.
    pause: Option<Instant>,
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
        let address = self.cursors.get(prefix).map_or(prefix.net.addr(), |(address, _)| *address);
        EidPrefix::host(prefix.iid, address)
    }

    /// What is read of a prefix is that of a more-specific, `part`: soon the first EID behind that is. After [`REREAD_STEPS`], or at its end,
    /// it begins anew, after a third of `lifetime`.
    pub fn step(&mut self, now: Instant, prefix: EidPrefix, part: &EidPrefix, lifetime: Duration) {
        let steps = self.cursors.get(&prefix).map_or(0, |(_, steps)| *steps);
        let next = next_address(part.net.broadcast()).filter(|next| steps < REREAD_STEPS && prefix.net.contains(next));
        match next {
            Some(next) => {
                self.cursors.insert(prefix, (next, steps + 1));
                self.begin(now, prefix, REREAD_SHORTEST);
            }
            None => {
                self.cursors.remove(&prefix);
                self.begin(now, prefix, lifetime);
            }
        }
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
