// SPDX-License-Identifier: GPL-2.0-or-later
//! Which locator of a mapping a flow goes to: priority, then weight (RFC 9300, section 9).

use std::net::IpAddr;

use super::Locator;

/// The address families that we have RLOCs of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    fn has(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        }
    }
}

/// The locators of the best priority, each with its share of the flows.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Locator, and the sum of the weights up to and with it.
    shares: Box<[(IpAddr, u32)]>,
    total: u32,
}

impl Pool {
    pub(super) fn new(locators: &[Locator], families: Families) -> Self {
        let ours = || locators.iter().filter(|locator| families.has(locator.address));
        let Some(best) = ours().map(|locator| locator.priority).min() else { return Self::default() };
        let chosen = || ours().filter(|locator| locator.priority == best);
        let all_zero = chosen().all(|locator| locator.weight == 0);
        let mut total = 0;
        let shares = chosen()
            .filter(|locator| all_zero || locator.weight > 0)
            .map(|locator| {
                total += if all_zero { 1 } else { u32::from(locator.weight) };
                (locator.address, total)
            })
            .collect();
        Self { shares, total }
    }

    /// The locator for a flow; the same for the same hash while the mapping stays.
    pub(super) fn choose(&self, hash: u64) -> Option<IpAddr> {
        // The upper half of the hash, scaled to the sum of the weights: the lower half has chosen the source port.
        let point = ((hash >> 32) * u64::from(self.total)) >> 32;
        self.shares.iter().find(|(_, bound)| point < u64::from(*bound)).map(|(address, _)| *address)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashMap;
    use wire::data::FlowKey;

    const BOTH: Families = Families { v4: true, v6: true };

    fn locator(address: &str, priority: u8, weight: u8) -> Locator {
        Locator { address: address.parse().unwrap(), priority, weight }
    }

    /// Shares of 10,000 flows that differ in a port, by the last octet of the locator.
    fn shares(locators: &[Locator]) -> HashMap<String, f64> {
        let pool = Pool::new(locators, BOTH);
        let mut shares = HashMap::new();
        for port in 0..10_000 {
            let ports = Some((17, port, 53));
            let key = FlowKey { source: [10, 0, 0, 1].into(), destination: [10, 1, 0, 1].into(), ports };
            *shares.entry(pool.choose(key.hash()).unwrap().to_string()).or_insert(0.0) += 0.01;
        }
        shares
    }

    #[test]
    fn weights_split_flows_within_five_percent() {
        let locators: Vec<_> =
            [30, 20, 20, 10].iter().zip(1..).map(|(weight, n)| locator(&format!("192.0.2.{n}"), 1, *weight)).collect();
        let shares = shares(&locators);
        for (address, expected) in [("192.0.2.1", 37.5), ("192.0.2.2", 25.0), ("192.0.2.3", 25.0), ("192.0.2.4", 12.5)]
        {
            let share = shares[address];
            assert!((share - expected).abs() < 2.0, "{address}: {share} instead of {expected} %");
        }
    }

    #[test]
    fn weights_that_are_all_zero_split_evenly() {
        let shares = shares(&[locator("192.0.2.1", 1, 0), locator("2001:db8::1", 1, 0)]);
        assert!((shares["192.0.2.1"] - 50.0).abs() < 2.0, "{shares:?}");
    }

    #[test]
    fn weight_zero_beside_others_gets_nothing() {
        let shares = shares(&[locator("192.0.2.1", 1, 0), locator("192.0.2.2", 1, 7)]);
        assert_eq!(shares.len(), 1);
    }

    #[test]
    fn the_lowest_priority_value_of_a_family_we_have_wins() {
        let locators = [locator("2001:db8::1", 1, 1), locator("192.0.2.1", 2, 1), locator("192.0.2.2", 3, 1)];
        assert_eq!(Pool::new(&locators, BOTH).choose(7), Some(locators[0].address));
        let v4 = Families { v4: true, v6: false };
        assert_eq!(Pool::new(&locators, v4).choose(u64::MAX), Some(locators[1].address));
        assert_eq!(Pool::new(&locators, Families::default()).choose(7), None);
    }
}
