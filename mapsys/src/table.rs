// SPDX-License-Identifier: GPL-2.0-or-later
//! A table by EID-prefix with longest match, one trie an instance and family.

use std::collections::BTreeMap;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use wire::address::{EidPrefix, InstanceId};

/// Values by EID-prefix.
#[derive(Debug, Clone)]
pub struct PrefixTable<T> {
    instances: BTreeMap<InstanceId, JointPrefixMap<IpNet, T>>,
    len: usize,
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self { instances: BTreeMap::new(), len: 0 }
    }
}

impl<T> PrefixTable<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a value, and returns the one it replaces.
    pub fn insert(&mut self, prefix: EidPrefix, value: T) -> Option<T> {
        let old = self.instances.entry(prefix.iid).or_default().insert(prefix.net, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes a value out.
    pub fn remove(&mut self, prefix: &EidPrefix) -> Option<T> {
        let trie = self.instances.get_mut(&prefix.iid)?;
        let old = trie.remove(&prefix.net);
        self.len -= usize::from(old.is_some());
        if trie.is_empty() {
            self.instances.remove(&prefix.iid);
        }
        old
    }

    /// The value of exactly this prefix.
    pub fn get(&self, prefix: &EidPrefix) -> Option<&T> {
        self.instances.get(&prefix.iid)?.get(&prefix.net)
    }

    /// The value of exactly this prefix.
    pub fn get_mut(&mut self, prefix: &EidPrefix) -> Option<&mut T> {
        self.instances.get_mut(&prefix.iid)?.get_mut(&prefix.net)
    }

    /// The longest prefix that covers `prefix`.
    pub fn longest(&self, prefix: &EidPrefix) -> Option<(EidPrefix, &T)> {
        let (net, value) = self.instances.get(&prefix.iid)?.get_lpm(&prefix.net)?;
        Some((EidPrefix { iid: prefix.iid, net }, value))
    }

    /// The longest prefix that covers `prefix`.
    pub fn longest_mut(&mut self, prefix: &EidPrefix) -> Option<(EidPrefix, &mut T)> {
        let (net, value) = self.instances.get_mut(&prefix.iid)?.get_lpm_mut(&prefix.net)?;
        Some((EidPrefix { iid: prefix.iid, net }, value))
    }

    /// The prefixes inside `prefix`, itself included.
    pub fn inside<'a>(&'a self, prefix: &EidPrefix) -> impl Iterator<Item = (EidPrefix, &'a T)> + 'a {
        let iid = prefix.iid;
        let children = self.instances.get(&iid).map(|trie| trie.children(&prefix.net));
        children.into_iter().flatten().map(move |(net, value)| (EidPrefix { iid, net }, value))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (EidPrefix, &T)> + '_ {
        self.instances
            .iter()
            .flat_map(|(iid, trie)| trie.iter().map(|(net, value)| (EidPrefix { iid: *iid, net }, value)))
    }
}

/// The least-specific prefix inside `within` that contains `eid` and overlaps none of `known`: the hole of RFC 9301,
/// section 8.4. `None` if a known prefix covers `eid`, or `within` does not.
pub fn hole(within: EidPrefix, eid: EidPrefix, known: impl Iterator<Item = EidPrefix>) -> Option<EidPrefix> {
    if !within.covers(&eid) {
        return None;
    }
    let mut length = within.net.prefix_len();
    for other in known.filter(|other| other.iid == eid.iid && other.net.addr().is_ipv4() == eid.net.addr().is_ipv4()) {
        if other.covers(&eid) {
            return None;
        }
        length = length.max(common_bits(eid.net, other.net) + 1);
    }
    EidPrefix::new(eid.iid, eid.net.addr(), length.min(eid.net.prefix_len()))
}

/// Leading bits that two prefixes of one family share, at most the length of the shorter.
fn common_bits(a: IpNet, b: IpNet) -> u8 {
    let bits = |net: IpNet| match net {
        IpNet::V4(net) => u128::from(net.addr().to_bits()) << 96,
        IpNet::V6(net) => net.addr().to_bits(),
    };
    let shared = (bits(a) ^ bits(b)).leading_zeros();
    u8::try_from(shared).unwrap_or(u8::MAX).min(a.prefix_len()).min(b.prefix_len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    #[test]
    fn longest_match_keeps_instances_and_families_apart() {
        let mut table = PrefixTable::default();
        table.insert(prefix("2001:db8::/32"), 1);
        table.insert(prefix("2001:db8:a::/48"), 2);
        table.insert(EidPrefix { iid: InstanceId(5), ..prefix("2001:db8:a::/48") }, 3);
        table.insert(prefix("32.1.13.0/24"), 4);
        assert_eq!(table.longest(&prefix("2001:db8:a::1/128")).map(|(_, v)| *v), Some(2));
        assert_eq!(table.longest(&prefix("2001:db8:b::1/128")).map(|(_, v)| *v), Some(1));
        assert_eq!(table.longest(&prefix("2001:db9::1/128")), None);
        assert_eq!(table.inside(&prefix("2001:db8::/32")).count(), 2);
        assert_eq!(table.len(), 4);
        assert_eq!(table.remove(&prefix("2001:db8:a::/48")), Some(2));
        assert_eq!(table.remove(&prefix("2001:db8:a::/48")), None);
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn the_hole_of_77_is_the_one_that_two_peers_get_wrong() {
        let known = [prefix("2001:db8:a::/48"), prefix("2001:db8:b::/48")];
        let found = hole(prefix("2001:db8::/32"), prefix("2001:db8:77::2/128"), known.into_iter());
        assert_eq!(found, Some(prefix("2001:db8:40::/42")));
    }

    proptest! {
        #[test]
        fn a_hole_contains_the_eid_and_overlaps_nothing_and_is_the_largest(
            eid: u32, known in proptest::collection::vec((any::<u32>(), 1u8..=32), 0..8)
        ) {
            let net = |bits: u32, len: u8| EidPrefix::new(InstanceId(0), std::net::Ipv4Addr::from_bits(bits).into(), len).unwrap();
            let eid = net(eid, 32);
            let known: Vec<_> = known.into_iter().map(|(bits, len)| net(bits, len)).collect();
            let all = net(0, 0);
            match hole(all, eid, known.iter().copied()) {
                None => prop_assert!(known.iter().any(|k| k.covers(&eid))),
                Some(found) => {
                    prop_assert!(found.covers(&eid));
                    prop_assert!(known.iter().all(|k| !k.covers(&found) && !found.covers(k)));
                    if let Some(wider) = found.net.supernet() {
                        let wider = EidPrefix { net: wider, ..found };
                        prop_assert!(known.iter().any(|k| k.covers(&wider) || wider.covers(k)));
                    }
                }
            }
        }
    }
}
