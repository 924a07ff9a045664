// SPDX-License-Identifier: GPL-2.0-or-later
//! Values by EID-prefix: a hash for host prefixes, then a trie for each instance and family.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use wire::address::{EidPrefix, InstanceId};

/// A longest-match table. Instances never see each other's prefixes (RFC 9300, section 8).
#[derive(Debug)]
pub struct PrefixTable<T> {
    hosts: HashMap<(InstanceId, IpAddr), T>,
    tries: HashMap<InstanceId, Tries<T>>,
    len: usize,
}

#[derive(Debug)]
struct Tries<T> {
    v4: PrefixMap<Ipv4Net, T>,
    v6: PrefixMap<Ipv6Net, T>,
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self { hosts: HashMap::new(), tries: HashMap::new(), len: 0 }
    }
}

impl<T> Default for Tries<T> {
    fn default() -> Self {
        Self { v4: PrefixMap::new(), v6: PrefixMap::new() }
    }
}

impl<T> PrefixTable<T> {
    /// Prefixes in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a value at exactly this prefix and returns the former one.
    pub fn insert(&mut self, prefix: EidPrefix, value: T) -> Option<T> {
        let former = if is_host(&prefix.net) {
            self.hosts.insert((prefix.iid, prefix.net.addr()), value)
        } else {
            let tries = self.tries.entry(prefix.iid).or_default();
            match prefix.net {
                IpNet::V4(net) => tries.v4.insert(net, value),
                IpNet::V6(net) => tries.v6.insert(net, value),
            }
        };
        self.len += usize::from(former.is_none());
        former
    }

    /// Removes the value at exactly this prefix.
    pub fn remove(&mut self, prefix: &EidPrefix) -> Option<T> {
        let removed = if is_host(&prefix.net) {
            self.hosts.remove(&(prefix.iid, prefix.net.addr()))
        } else {
            let tries = self.tries.get_mut(&prefix.iid)?;
            match &prefix.net {
                IpNet::V4(net) => tries.v4.remove(net),
                IpNet::V6(net) => tries.v6.remove(net),
            }
        }?;
        self.len -= 1;
        Some(removed)
    }

    /// The longest prefix that covers `address` in instance `iid`.
    pub fn longest_match(&self, iid: InstanceId, address: IpAddr) -> Option<(EidPrefix, &T)> {
        if let Some(value) = self.hosts.get(&(iid, address)) {
            return Some((EidPrefix::host(iid, address), value));
        }
        let tries = self.tries.get(&iid)?;
        let (net, value) = match address {
            IpAddr::V4(a) => tries.v4.get_lpm(&Ipv4Net::from(a)).map(|(net, value)| (IpNet::V4(net), value))?,
            IpAddr::V6(a) => tries.v6.get_lpm(&Ipv6Net::from(a)).map(|(net, value)| (IpNet::V6(net), value))?,
        };
        Some((EidPrefix { iid, net }, value))
    }

    /// Whether any prefix of this instance is in the table.
    pub fn has_instance(&self, iid: InstanceId) -> bool {
        let in_trie = |tries: &Tries<T>| !tries.v4.is_empty() || !tries.v6.is_empty();
        self.tries.get(&iid).is_some_and(in_trie) || self.hosts.keys().any(|(host, _)| *host == iid)
    }

    /// All prefixes and their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (EidPrefix, &T)> {
        let hosts = self.hosts.iter().map(|((iid, address), value)| (EidPrefix::host(*iid, *address), value));
        let tries = self.tries.iter().flat_map(|(iid, tries)| {
            let v4 = tries.v4.iter().map(|(net, value)| (IpNet::V4(net), value));
            let v6 = tries.v6.iter().map(|(net, value)| (IpNet::V6(net), value));
            v4.chain(v6).map(|(net, value)| (EidPrefix { iid: *iid, net }, value))
        });
        hosts.chain(tries)
    }

    /// All values.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let tries = self.tries.values_mut().flat_map(|tries| tries.v4.values_mut().chain(tries.v6.values_mut()));
        self.hosts.values_mut().chain(tries)
    }
}

impl FromIterator<EidPrefix> for PrefixTable<()> {
    fn from_iter<I: IntoIterator<Item = EidPrefix>>(prefixes: I) -> Self {
        let mut table = Self::default();
        for prefix in prefixes {
            table.insert(prefix, ());
        }
        table
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
        table.longest_match(InstanceId(iid), address.parse().unwrap()).map(|(_, value)| *value)
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
        assert!(table.has_instance(InstanceId(5)) && !table.has_instance(InstanceId(6)));
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
            let expected = table.iter().map(|(prefix, _)| prefix).filter(|prefix| prefix.covers(&host))
                .max_by_key(|prefix| prefix.net.prefix_len());
            prop_assert_eq!(table.longest_match(InstanceId(1), address).map(|(_, value)| *value), expected);
        }
    }
}
