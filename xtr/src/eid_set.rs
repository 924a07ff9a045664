// SPDX-License-Identifier: GPL-2.0-or-later
//! The EID-prefixes of this node, asked about each packet: whether an address is in one of them, and no more than that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};

/// A set of EID-prefixes. Instances never see each other's (RFC 9300, section 8).
#[derive(Debug, Clone, Default)]
pub(crate) struct EidSet {
    prefixes: Vec<EidPrefix>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// First and last address of each prefix that lies in no other.
#[derive(Debug, Clone)]
struct Ranges<A> {
    /// In order.
    all: Vec<(InstanceId, A, A)>,
    /// The first of the first and the last of the last, of all instances.
    hull: Option<(A, A)>,
}

impl<A> Default for Ranges<A> {
    fn default() -> Self {
        Self { all: Vec::new(), hull: None }
    }
}

impl<A: Ord + Copy> Ranges<A> {
    fn new(mut all: Vec<(InstanceId, A, A)>) -> Self {
        // Of two with the same first address the longer one comes first; the other lies in it.
        all.sort_unstable_by_key(|(iid, first, last)| (*iid, *first, std::cmp::Reverse(*last)));
        all.dedup_by(|next, kept| next.0 == kept.0 && next.1 <= kept.2);
        let lowest = all.iter().map(|(_, first, _)| *first).min();
        let hull = lowest.zip(all.iter().map(|(.., last)| *last).max());
        Self { all, hull }
    }

    #[inline]
    fn contains(&self, iid: InstanceId, address: A) -> bool {
        // Most packets go elsewhere, and as a rule what is ours lies together: then there is nothing to search.
        if self.hull.is_none_or(|(lowest, highest)| address < lowest || highest < address) {
            return false;
        }
        // A binary search by conditional moves.
        let mut rest = self.all.as_slice();
        while rest.len() > 1 {
            let (low, high) = rest.split_at(rest.len() / 2);
            rest = if (high[0].0, high[0].1) <= (iid, address) { high } else { low };
        }
        rest.first().is_some_and(|(of, first, last)| *of == iid && *first <= address && address <= *last)
    }

    fn has_instance(&self, iid: InstanceId) -> bool {
        self.all.binary_search_by_key(&iid, |(of, ..)| *of).is_ok()
    }
}

impl EidSet {
    pub(crate) fn new(prefixes: &[EidPrefix]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for EidPrefix { iid, net } in prefixes {
            match net {
                IpNet::V4(net) => v4.push((*iid, Ipv4Addr::to_bits(net.network()), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((*iid, Ipv6Addr::to_bits(net.network()), net.broadcast().to_bits())),
            }
        }
        Self { prefixes: prefixes.to_vec(), v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    /// Whether `address` is in one of the prefixes of this instance.
    #[inline]
    pub(crate) fn contains(&self, iid: InstanceId, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.v4.contains(iid, a.to_bits()),
            IpAddr::V6(a) => self.v6.contains(iid, a.to_bits()),
        }
    }

    /// Whether any prefix is of this instance.
    pub(crate) fn has_instance(&self, iid: InstanceId) -> bool {
        self.v4.has_instance(iid) || self.v6.has_instance(iid)
    }

    /// The prefixes as they were given.
    pub(crate) fn prefixes(&self) -> &[EidPrefix] {
        &self.prefixes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_is_in_the_set_if_it_is_in_one_of_the_prefixes(
            nets in proptest::collection::vec((0..3u32, any::<u32>(), 0..=32u8, any::<bool>()), 0..40),
            address: u32,
            near in 0..60usize,
            iid in 0..4u32,
        ) {
            let ip = |bits: u32, v6: bool| -> IpAddr {
                if v6 { Ipv6Addr::from(u128::from(bits) << 96 | 5).into() } else { Ipv4Addr::from(bits).into() }
            };
            let prefix = |(iid, bits, length, v6): &(u32, u32, u8, bool)| {
                EidPrefix::new(InstanceId(*iid), ip(*bits, *v6), *length).unwrap()
            };
            let prefixes: Vec<EidPrefix> = nets.iter().map(prefix).collect();
            let set = EidSet::new(&prefixes);
            for v6 in [false, true] {
                // Most of the time an address inside some prefix.
                let address = ip(nets.get(near).map_or(address, |(_, bits, ..)| *bits), v6);
                let host = EidPrefix::host(InstanceId(iid), address);
                let expected = prefixes.iter().any(|prefix| prefix.covers(&host));
                prop_assert_eq!(set.contains(InstanceId(iid), address), expected);
            }
            prop_assert_eq!(set.has_instance(InstanceId(iid)), prefixes.iter().any(|prefix| prefix.iid.0 == iid));
        }
    }
}
