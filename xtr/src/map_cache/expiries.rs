// SPDX-License-Identifier: GPL-2.0-or-later
//! In which order entries end, and which of them makes room for another.

use std::collections::BTreeSet;

use wire::address::EidPrefix;

use super::clock::Tick;

/// What kind of mapping an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has locators, if only such as cannot be used now.
    Positive,
    /// It has none. Strangers can cause these, as many as they like: they never take the place of positive ones.
    Negative,
}

/// Which entry ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// One of a host prefix with this hash in the table.
    Host(u64),
    /// That of this prefix.
    Prefix(EidPrefix),
}

/// The ends of all entries.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    positive: Ends,
    negative: Ends,
}

/// The ends of the entries of one kind.
#[derive(Debug, Default)]
struct Ends {
    hosts: BTreeSet<HostEnd>,
    /// Of all prefixes that are no hosts, and of a host that another one has the hash and the end of.
    others: BTreeSet<(Tick, EidPrefix)>,
}

/// When a host prefix ends, and its hash in two halves: twelve octets, where the prefix takes more than twice as many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HostEnd {
    expires: Tick,
    hash: [u32; 2],
}

impl HostEnd {
    fn new(expires: Tick, hash: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
        Self { expires, hash: [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes) }
    }

    fn hash(self) -> u64 {
        let [high, low] = self.hash.map(u64::from);
        high << u32::BITS | low
    }
}

impl Ends {
    fn len(&self) -> usize {
        self.hosts.len() + self.others.len()
    }

    fn first(&self) -> Option<(Tick, Ending)> {
        let host = self.hosts.first().map(|end| (end.expires, Ending::Host(end.hash())));
        let other = self.others.first().map(|(expires, prefix)| (*expires, Ending::Prefix(*prefix)));
        host.into_iter().chain(other).min()
    }
}

impl Expiries {
    /// Entries of this kind.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.of(kind).len()
    }

    /// Notes the end of an entry; a host prefix comes with its hash in the table.
    pub(super) fn insert(&mut self, kind: Kind, expires: Tick, prefix: EidPrefix, hash: Option<u64>) {
        let ends = self.of_mut(kind);
        let is_noted = hash.is_some_and(|hash| ends.hosts.insert(HostEnd::new(expires, hash)));
        if !is_noted {
            ends.others.insert((expires, prefix));
        }
    }

    /// Forgets what was noted with the same arguments.
    pub(super) fn remove(&mut self, kind: Kind, expires: Tick, prefix: EidPrefix, hash: Option<u64>) {
        let ends = self.of_mut(kind);
        if ends.others.remove(&(expires, prefix)) {
            return;
        }
        if let Some(hash) = hash {
            ends.hosts.remove(&HostEnd::new(expires, hash));
        }
    }

    /// What ends first.
    pub(super) fn first(&self) -> Option<(Tick, Ending)> {
        self.positive.first().into_iter().chain(self.negative.first()).min()
    }

    /// What ends first of this kind.
    pub(super) fn first_of(&self, kind: Kind) -> Option<(Tick, Ending)> {
        self.of(kind).first()
    }

    fn of(&self, kind: Kind) -> &Ends {
        match kind {
            Kind::Positive => &self.positive,
            Kind::Negative => &self.negative,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Ends {
        match kind {
            Kind::Positive => &mut self.positive,
            Kind::Negative => &mut self.negative,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use wire::address::InstanceId;

    #[test]
    fn the_end_of_a_host_takes_twelve_octets_and_has_the_whole_hash() {
        assert_eq!(size_of::<HostEnd>(), 12);
        for hash in [0, 1, 1 << 32, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(HostEnd::new(Tick(7), hash).hash(), hash);
        }
    }

    #[test]
    fn two_hosts_with_one_hash_and_one_end_are_two() {
        let [one, other] = [1, 2].map(|last| EidPrefix::host(InstanceId(0), IpAddr::V4([10, 0, 0, last].into())));
        for [first, second] in [[one, other], [other, one]] {
            let mut expiries = Expiries::default();
            for prefix in [one, other] {
                expiries.insert(Kind::Positive, Tick(7), prefix, Some(u64::MAX - 1));
            }
            assert_eq!(expiries.count(Kind::Positive), 2);
            assert_eq!(expiries.first(), Some((Tick(7), Ending::Host(u64::MAX - 1))));
            expiries.remove(Kind::Positive, Tick(7), first, Some(u64::MAX - 1));
            assert_eq!(expiries.count(Kind::Positive), 1, "the other one is left, by whatever name");
            expiries.remove(Kind::Positive, Tick(7), second, Some(u64::MAX - 1));
            assert_eq!((expiries.count(Kind::Positive), expiries.first()), (0, None));
        }
    }
}
