// SPDX-License-Identifier: GPL-2.0-or-later
//! Values by EID-prefix: a hash for host prefixes, then a trie for each instance and family.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::{Prefix, PrefixMap};
use wire::address::{EidPrefix, InstanceId, Keys};

use super::shards::Shards;

/// A longest-match table. Instances never see each other's prefixes (RFC 9300, section 8).
#[derive(Debug)]
pub(crate) struct PrefixTable<T> {
    keys: Keys,
    v4: Shards<Host<Ipv4Addr, T>>,
    v6: Shards<Host<Ipv6Addr, T>>,
    instances: BTreeMap<InstanceId, Instance<T>>,
    len: usize,
}

/// The value of a host prefix. It fills half a cache line and lies in one, so that a lookup in a large table waits for memory
/// once.
#[derive(Debug)]
#[repr(align(32))]
struct Host<A, T> {
    iid: InstanceId,
    address: A,
    value: T,
}

/// What is there of one instance.
#[derive(Debug)]
struct Instance<T> {
    hosts: usize,
    v4: PrefixMap<Ipv4Net, T>,
    v6: PrefixMap<Ipv6Net, T>,
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        let (keys, instances) = (Keys::default(), BTreeMap::new());
        Self { keys, v4: Shards::default(), v6: Shards::default(), instances, len: 0 }
    }
}

impl<T> Default for Instance<T> {
    fn default() -> Self {
        Self { hosts: 0, v4: PrefixMap::new(), v6: PrefixMap::new() }
    }
}

impl<A: PartialEq, T> Host<A, T> {
    fn is(&self, iid: InstanceId, address: A) -> bool {
        self.address == address && self.iid == iid
    }
}

impl<T> Instance<T> {
    fn is_empty(&self) -> bool {
        self.hosts == 0 && self.v4.is_empty() && self.v6.is_empty()
    }

    #[inline(never)]
    fn longest_v4(&self, address: u32, is_valid: impl Fn(&T) -> bool) -> Option<(u8, &T)> {
        longest(&self.v4, 32, |length| Ipv4Net::new(Ipv4Addr::from_bits(address), length).ok(), is_valid)
    }

    #[inline(never)]
    fn longest_v6(&self, address: u128, is_valid: impl Fn(&T) -> bool) -> Option<(u8, &T)> {
        longest(&self.v6, 128, |length| Ipv6Net::new(Ipv6Addr::from_bits(address), length).ok(), is_valid)
    }
}

/// Length and value of the longest prefix with a valid value that covers `round(length)`.
fn longest<P: Prefix, T>(
    trie: &PrefixMap<P, T>,
    mut length: u8,
    round: impl Fn(u8) -> Option<P>,
    is_valid: impl Fn(&T) -> bool,
) -> Option<(u8, &T)> {
    loop {
        let (net, value) = trie.get_lpm(&round(length)?)?;
        if is_valid(value) {
            return Some((net.prefix_len(), value));
        }
        length = net.prefix_len().checked_sub(1)?;
    }
}

impl<T> PrefixTable<T> {
    /// Prefixes in the table.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a value at exactly this prefix and returns the former one.
    pub(crate) fn insert(&mut self, prefix: EidPrefix, value: T) -> Option<T> {
        if let Some(former) = self.get_mut(&prefix) {
            return Some(std::mem::replace(former, value));
        }
        let (keys, iid) = (self.keys, prefix.iid);
        let instance = self.instances.entry(iid).or_default();
        instance.hosts += usize::from(is_host(&prefix.net));
        self.len += 1;
        match prefix.net {
            IpNet::V4(net) if is_host(&prefix.net) => {
                let (host, hash) = (Host { iid, address: net.addr(), value }, keys.hash_v4(iid, net.addr()));
                self.v4.insert(hash, host, |host| keys.hash_v4(host.iid, host.address));
            }
            IpNet::V6(net) if is_host(&prefix.net) => {
                let (host, hash) = (Host { iid, address: net.addr(), value }, keys.hash_v6(iid, net.addr()));
                self.v6.insert(hash, host, |host| keys.hash_v6(host.iid, host.address));
            }
            IpNet::V4(net) => drop(instance.v4.insert(net, value)),
            IpNet::V6(net) => drop(instance.v6.insert(net, value)),
        }
        None
    }

    /// Removes the value at exactly this prefix.
    pub(crate) fn remove(&mut self, prefix: &EidPrefix) -> Option<T> {
        let (keys, iid) = (self.keys, prefix.iid);
        let instance = self.instances.get_mut(&iid)?;
        let removed = match &prefix.net {
            IpNet::V4(net) if is_host(&prefix.net) => {
                let address = net.addr();
                self.v4.remove(keys.hash_v4(iid, address), |host| host.is(iid, address)).map(|host| host.value)
            }
            IpNet::V6(net) if is_host(&prefix.net) => {
                let address = net.addr();
                self.v6.remove(keys.hash_v6(iid, address), |host| host.is(iid, address)).map(|host| host.value)
            }
            IpNet::V4(net) => instance.v4.remove(net),
            IpNet::V6(net) => instance.v6.remove(net),
        }?;
        instance.hosts -= usize::from(is_host(&prefix.net));
        if instance.is_empty() {
            self.instances.remove(&iid);
        }
        self.len -= 1;
        Some(removed)
    }

    /// The value at exactly this prefix.
    pub(crate) fn get_mut(&mut self, prefix: &EidPrefix) -> Option<&mut T> {
        let (keys, iid) = (self.keys, prefix.iid);
        match &prefix.net {
            IpNet::V4(net) if is_host(&prefix.net) => {
                let address = net.addr();
                self.v4.get_mut(keys.hash_v4(iid, address), |host| host.is(iid, address)).map(|host| &mut host.value)
            }
            IpNet::V6(net) if is_host(&prefix.net) => {
                let address = net.addr();
                self.v6.get_mut(keys.hash_v6(iid, address), |host| host.is(iid, address)).map(|host| &mut host.value)
            }
            IpNet::V4(net) => self.instances.get_mut(&iid)?.v4.get_mut(net),
            IpNet::V6(net) => self.instances.get_mut(&iid)?.v6.get_mut(net),
        }
    }

    /// The hash of a host prefix here; `None` of a shorter one.
    pub(super) fn hash_of(&self, prefix: &EidPrefix) -> Option<u64> {
        is_host(&prefix.net).then(|| self.keys.hash(prefix.iid, prefix.net.addr()))
    }

    /// A host prefix with this hash whose value `is_it`.
    pub(super) fn host(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<EidPrefix> {
        let keys = &self.keys;
        let v6 = |host: &Host<Ipv6Addr, T>| is_it(&host.value) && keys.hash_v6(host.iid, host.address) == hash;
        if let Some(host) = self.v6.get(hash, v6) {
            return Some(EidPrefix::host(host.iid, host.address.into()));
        }
        let v4 = |host: &Host<Ipv4Addr, T>| is_it(&host.value) && keys.hash_v4(host.iid, host.address) == hash;
        self.v4.get(hash, v4).map(|host| EidPrefix::host(host.iid, host.address.into()))
    }

    /// Length and value of the longest prefix with a valid value that covers `address` in instance `iid`. An address that goes
    /// through memory in pieces holds the processor up until all before it is done: so this is inline, and calls with bits.
    #[inline(always)]
    pub(crate) fn longest_match(
        &self,
        iid: InstanceId,
        address: IpAddr,
        is_valid: impl Fn(&T) -> bool,
    ) -> Option<(u8, &T)> {
        match address {
            IpAddr::V4(a) => match self.v4.get(self.keys.hash_v4(iid, a), |host| host.is(iid, a)) {
                Some(host) if is_valid(&host.value) => Some((32, &host.value)),
                _ => self.instances.get(&iid)?.longest_v4(a.to_bits(), is_valid),
            },
            IpAddr::V6(a) => match self.v6.get(self.keys.hash_v6(iid, a), |host| host.is(iid, a)) {
                Some(host) if is_valid(&host.value) => Some((128, &host.value)),
                _ => self.instances.get(&iid)?.longest_v6(a.to_bits(), is_valid),
            },
        }
    }
}

fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn prefix(iid: u32, net: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(iid), net: net.parse().unwrap() }
    }

    fn found(table: &PrefixTable<u32>, iid: u32, address: &str) -> Option<u32> {
        table.longest_match(InstanceId(iid), address.parse().unwrap(), |_| true).map(|(_, value)| *value)
    }

    #[test]
    fn the_longest_match_of_the_instance_wins() {
        let mut table = PrefixTable::default();
        table.insert(prefix(0, "0.0.0.0/0"), 0);
        table.insert(prefix(0, "10.0.0.0/24"), 24);
        table.insert(prefix(0, "10.0.0.7/32"), 32);
        table.insert(prefix(5, "10.0.0.7/32"), 5);
        table.insert(prefix(0, "2001:db8::/32"), 6);
        assert_eq!(found(&table, 0, "10.0.0.7"), Some(32));
        assert_eq!(found(&table, 0, "10.0.0.8"), Some(24));
        assert_eq!(found(&table, 0, "10.0.1.8"), Some(0));
        assert_eq!(found(&table, 5, "10.0.0.7"), Some(5));
        assert_eq!(found(&table, 5, "10.0.0.8"), None);
        assert_eq!(found(&table, 0, "2001:db8:1::1"), Some(6));
        assert_eq!(found(&table, 0, "2001:db9::1"), None);
        assert_eq!(table.len(), 5);
        assert_eq!(table.remove(&prefix(0, "10.0.0.7/32")), Some(32));
        assert_eq!(found(&table, 0, "10.0.0.7"), Some(24));
    }

    proptest! {
        #[test]
        fn lookups_agree_with_a_linear_search(
            nets in proptest::collection::vec((0..2u32, any::<u32>(), 0..=32u8), 0..40),
            address: u32,
            near in 0..40usize,
        ) {
            let mut table = PrefixTable::default();
            for (iid, bits, length) in &nets {
                let prefix = EidPrefix::new(InstanceId(*iid), IpAddr::V4((*bits).into()), *length).unwrap();
                table.insert(prefix, prefix);
            }
            // Half of the time an address inside some prefix.
            let address = IpAddr::V4(nets.get(near).map_or(address, |(_, bits, _)| *bits).into());
            let host = EidPrefix::host(InstanceId(1), address);
            let is_valid = |prefix: &EidPrefix| prefix.net.prefix_len() % 3 != 1;
            let all = nets.iter().map(|(iid, bits, length)| {
                EidPrefix::new(InstanceId(*iid), IpAddr::V4((*bits).into()), *length).unwrap()
            });
            let expected = all.filter(|prefix| prefix.covers(&host) && is_valid(prefix))
                .max_by_key(|prefix| prefix.net.prefix_len());
            let found = table.longest_match(InstanceId(1), address, is_valid);
            prop_assert_eq!(found.map(|(_, value)| *value), expected);
        }
    }
}
