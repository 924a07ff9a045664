// SPDX-License-Identifier: GPL-2.0-or-later
//! The referral cache (RFC 8111, section 7.3.1): who is to be asked about a prefix, and where there is nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::address::EidPrefix;

use crate::ddt::Kind;
use crate::ddt::ranked::Ranked;
use crate::limits::{CACHED_REFERRALS, REFERRAL_LIFE};
use crate::table::PrefixTable;

/// What is known of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// These know more.
    Servers(Kind, Vec<Ranked>),
    /// DELEGATION-HOLE: nobody was delegated it.
    Hole,
    /// MS-NOT-REGISTERED: delegated, and nothing is registered.
    Unregistered,
}

/// The cache.
#[derive(Debug, Default)]
pub struct Referrals {
    entries: PrefixTable<Entry>,
    order: VecDeque<EidPrefix>,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    expires: Instant,
}

impl Referrals {
    /// The longest match that has not expired.
    pub fn get(&mut self, now: Instant, host: &EidPrefix) -> Option<(EidPrefix, &Known)> {
        while let Some((prefix, entry)) = self.entries.longest(host) {
            if entry.expires > now {
                break;
            }
            self.entries.remove(&prefix);
        }
        self.entries.longest(host).map(|(prefix, entry)| (prefix, &entry.known))
    }

    /// Keeps an entry for `life`, a day at most.
    pub fn put(&mut self, now: Instant, prefix: EidPrefix, known: Known, life: Duration) {
        if life.is_zero() {
            return;
        }
        self.entries.insert(prefix, Entry { known, expires: now + life.min(REFERRAL_LIFE) });
        self.order.push_back(prefix);
        // A prefix put twice stands in the order twice, which only makes it go early.
        while self.entries.len() > CACHED_REFERRALS || self.order.len() > 2 * CACHED_REFERRALS {
            let Some(oldest) = self.order.pop_front() else { return };
            self.entries.remove(&oldest);
        }
    }

    /// Forgets what is said of this very prefix.
    pub fn forget(&mut self, prefix: &EidPrefix) {
        self.entries.remove(prefix);
    }

    /// Forgets what is said of the prefixes that are meant.
    pub fn forget_all(&mut self, is_meant: impl Fn(&EidPrefix) -> bool) {
        let Self { entries, order } = self;
        order.iter().filter(|prefix| is_meant(prefix)).for_each(|prefix| drop(entries.remove(prefix)));
    }

    /// The part of `prefix` round `host` of which nothing else is known here: some peers' holes cover what they delegate.
    pub fn narrowed(&self, prefix: &EidPrefix, host: &EidPrefix) -> EidPrefix {
        self.entries.hole(prefix, host).unwrap_or(*host)
    }

    /// Number of entries, expired ones among them until they are looked for.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::address::InstanceId;

    fn prefix(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    #[test]
    fn what_has_expired_gives_way_to_the_less_specific() {
        let (now, mut cache) = (Instant::now(), Referrals::default());
        cache.put(now, prefix("2001:db8::/32"), Known::Hole, Duration::from_secs(900));
        cache.put(now, prefix("2001:db8:a::/48"), Known::Unregistered, Duration::from_secs(60));
        let host = prefix("2001:db8:a::1/128");
        assert_eq!(cache.get(now, &host), Some((prefix("2001:db8:a::/48"), &Known::Unregistered)));
        let later = now + Duration::from_secs(60);
        assert_eq!(cache.get(later, &host), Some((prefix("2001:db8::/32"), &Known::Hole)));
        assert_eq!(cache.len(), 1);
        cache.forget(&host);
        assert_eq!(cache.len(), 1, "it is the prefix that is meant");
        cache.forget(&prefix("2001:db8::/32"));
        assert!(cache.is_empty());
    }

    #[test]
    fn ttl_0_is_not_kept_and_no_ttl_keeps_longer_than_a_day() {
        let (now, mut cache) = (Instant::now(), Referrals::default());
        cache.put(now, prefix("10.0.0.0/8"), Known::Hole, Duration::ZERO);
        assert!(cache.is_empty());
        cache.put(now, prefix("10.0.0.0/8"), Known::Hole, Duration::MAX);
        assert!(cache.get(now + REFERRAL_LIFE, &prefix("10.0.0.1/32")).is_none());
    }

    #[test]
    fn the_cache_is_bounded() {
        let (now, mut cache) = (Instant::now(), Referrals::default());
        for n in 0..u32::try_from(CACHED_REFERRALS).unwrap() + 10 {
            let net = ipnet::Ipv4Net::new(n.to_be_bytes().into(), 32).unwrap().into();
            cache.put(now, EidPrefix { iid: InstanceId(0), net }, Known::Hole, Duration::from_secs(1));
        }
        assert_eq!(cache.len(), CACHED_REFERRALS);
    }
}
