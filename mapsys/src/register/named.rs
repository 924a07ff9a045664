// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Notifies to locators that an xTR names, beside where it registers from.
//!
//! Whoever captures a Map-Register and is the first to deliver it does so from where he likes, and what the xTR is to be told goes there. The
//! locators in it are what its tag vouches for, and RFC 8378, section 5.3, has Map-Notifies go to registered RLOCs: told at its own ones too, the xTR
//! misses nothing. But who has the key of a site may name any address, and need not be there. So that the server is nobody's amplifier, what
//! goes to addresses that were only named is counted twice: a site has three times the octets of its Map-Registers that ask for
//! merging, and an address gets so much in a time from all sites together.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::locators::etr_of;
use super::notifier::Reach;
use super::registration::Part;
use crate::limits::{
    AMPLIFICATION, NOTIFY_NAMED, NOTIFY_NAMED_ADDRESSES, NOTIFY_NAMED_OCTETS, NOTIFY_NAMED_PER_SITE,
    NOTIFY_NAMED_WINDOW,
};
use crate::refusal::Refusal;
use crate::transport::{Way, may_send_to};

/// What may be sent to addresses that were only named.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Octets that each site has left, by its number.
    sites: HashMap<usize, usize>,
    /// When the time of each address began, and the octets that went there since.
    addresses: HashMap<IpAddr, (Instant, usize)>,
}

impl Budget {
    /// Counts an accepted Map-Register that asks for merging.
    pub(super) fn received(&mut self, site: usize, octets: usize) {
        let left = self.sites.entry(site).or_default();
        *left = left.saturating_add(octets.saturating_mul(AMPLIFICATION as usize)).min(NOTIFY_NAMED_PER_SITE);
    }

    /// Counts a Map-Notify of a site to an address, if it may be sent.
    ///
    /// # Errors
    /// [`Refusal::NotifyNamedBudget`]; then nothing is counted.
    pub(super) fn spend(&mut self, now: Instant, site: usize, to: IpAddr, octets: usize) -> Result<(), Refusal> {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= NOTIFY_NAMED_WINDOW;
        if self.addresses.len() >= NOTIFY_NAMED_ADDRESSES && !self.addresses.contains_key(&to) {
            self.addresses.retain(|_, (since, _)| !is_over(*since));
            if self.addresses.len() >= NOTIFY_NAMED_ADDRESSES {
                return Err(Refusal::NotifyNamedBudget);
            }
        }
        let before = self.addresses.get(&to).copied().filter(|(since, _)| !is_over(*since));
        let (since, sent) = before.unwrap_or((now, 0));
        let of_site = self.sites.get_mut(&site).ok_or(Refusal::NotifyNamedBudget)?;
        let left = of_site.checked_sub(octets).ok_or(Refusal::NotifyNamedBudget)?;
        if sent.saturating_add(octets) > NOTIFY_NAMED_OCTETS {
            return Err(Refusal::NotifyNamedBudget);
        }
        *of_site = left;
        self.addresses.insert(to, (since, sent + octets));
        Ok(())
    }

    /// The sites have other numbers now: what each had left is forgotten, and comes back with its next Map-Registers.
    pub(super) fn renumber(&mut self) {
        self.sites.clear();
    }
}

/// At which locators of its own an xTR is told too: none if it registers from one of them, or from behind a NAT, where its RTRs are told.
pub(super) fn ways(part: &Part, reach: &Reach) -> Vec<Way> {
    let Reach { local, remote, .. } = *reach;
    let may_hear = |address: &IpAddr| address.is_ipv4() == local.is_ipv4() && may_send_to(*address, Some(local));
    let own = part.locators.iter().filter(|locator| locator.local && locator.reachable);
    let own: BTreeSet<IpAddr> = own.filter_map(|locator| etr_of(&locator.rloc)).filter(may_hear).collect();
    if own.contains(&remote.ip()) || part.relays.is_some() {
        return Vec::new();
    }
    // RFC 9301, section 5.7: the port is that of control messages, whatever port the Map-Register came from.
    let ways = own.into_iter().map(|address| Way { local, remote: SocketAddr::new(address, wire::CONTROL_PORT) });
    ways.take(NOTIFY_NAMED).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    /// Octets that a site gets through to an address, in messages of 100.
    fn sent(budget: &mut Budget, now: Instant, site: usize, to: IpAddr) -> usize {
        (0..1000).filter(|_| budget.spend(now, site, to, 100).is_ok()).count() * 100
    }

    #[test]
    fn a_site_has_three_times_what_it_sent_and_no_more_than_a_burst() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        assert_eq!(sent(&mut budget, now, 1, address(1)), 0);
        budget.received(1, 150);
        budget.received(2, 100);
        assert_eq!(sent(&mut budget, now, 1, address(1)), 400);
        assert_eq!(sent(&mut budget, now, 2, address(1)), 300);
        (0..1000).for_each(|_| budget.received(1, 1000));
        let octets: usize = (2..20).map(|n| sent(&mut budget, now, 1, address(n))).sum();
        assert_eq!(octets, NOTIFY_NAMED_PER_SITE / 100 * 100);
        budget.received(1, 1000);
        budget.renumber();
        assert_eq!(sent(&mut budget, now, 1, address(30)), 0);
    }

    #[test]
    fn an_address_gets_so_much_in_a_time_from_all_sites_together() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        (0..100).for_each(|site| budget.received(site, 1000));
        let of_all = |budget: &mut Budget, now| (0..50).map(|site| sent(budget, now, site, address(1))).sum::<usize>();
        assert_eq!(of_all(&mut budget, now), NOTIFY_NAMED_OCTETS / 100 * 100);
        let later = now + NOTIFY_NAMED_WINDOW;
        assert_eq!(of_all(&mut budget, later - std::time::Duration::from_secs(1)), 0);
        assert_eq!(of_all(&mut budget, later), NOTIFY_NAMED_OCTETS / 100 * 100);
    }

    #[test]
    fn who_names_more_addresses_than_are_remembered_does_not_have_one_forgotten() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        for n in 0..u32::try_from(NOTIFY_NAMED_ADDRESSES).unwrap() {
            budget.received(1, 100);
            budget.spend(now, 1, address(n), 100).unwrap();
        }
        budget.received(1, 1000);
        assert!(budget.spend(now, 1, address(u32::MAX >> 8), 100).is_err());
        assert!(budget.spend(now, 1, address(0), 100).is_ok());
        let later = now + NOTIFY_NAMED_WINDOW;
        assert!(budget.spend(later, 1, address(u32::MAX >> 8), 100).is_ok() && budget.addresses.len() == 1);
    }
}
