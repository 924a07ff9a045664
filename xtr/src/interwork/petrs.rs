// SPDX-License-Identifier: GPL-2.0-or-later
//! The PETRs that an ITR uses (RFC 6832, section 6.1).
//!
//! For the packet half they are the locators of whatever the mapping system says is no LISP site: chosen by priority and weight,
//! left when they do not answer probes. Nothing else knows of them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wire::address::{EidPrefix, InstanceId};
use wire::record::{Action, LocatorRecord};

use crate::map_cache::{Entry, Forwarding, Locator};
use crate::resolve::Installed;
use crate::trace::action_name;

/// The PETRs in use; none = packets leave as they are.
#[derive(Debug, Default)]
pub struct Petrs {
    locators: Vec<Locator>,
    /// As a mapping would have them, for those who show mappings.
    records: Vec<(IpAddr, LocatorRecord)>,
}

/// Of what must not leave by them.
pub(crate) static NO_PETRS: Petrs = Petrs { locators: Vec::new(), records: Vec::new() };

impl Petrs {
    /// Uses these.
    pub fn new(locators: Vec<Locator>) -> Self {
        let record = |l: &Locator| (l.address, LocatorRecord::new(l.address, l.priority, l.weight));
        let records = locators.iter().map(record).collect();
        Self { locators, records }
    }

    /// Their addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.locators.iter().map(|locator| locator.address)
    }

    /// What the packet half does by an entry: "natively forward" leads to the PETRs, and nothing else does (RFC 6832, section 6.1: the
    /// packets that match a negative map-cache entry).
    pub fn lead(&self, entry: Entry) -> Entry {
        match entry.forwarding {
            Forwarding::Negative(Action::NativelyForward) if !self.locators.is_empty() => {
                Entry { forwarding: Forwarding::Locators(self.locators.clone()), ..entry }
            }
            _ => entry,
        }
    }

    /// Whether packets of a mapping go to the PETRs.
    pub fn serve(&self, installed: &Installed) -> bool {
        let is_native = installed.locators.is_empty() && installed.action == Action::NativelyForward;
        is_native && !self.locators.is_empty()
    }

    /// Where packets of a mapping go: its locators, or the PETRs in their place.
    pub fn locators_of<'a>(&'a self, installed: &'a Installed) -> &'a [(IpAddr, LocatorRecord)] {
        if self.serve(installed) { &self.records } else { &installed.locators }
    }

    /// What becomes of packets of a mapping, in the words of `show` and `trace`.
    pub fn action_of(&self, installed: &Installed) -> &'static str {
        match installed.locators.is_empty() {
            false => "encapsulate",
            true if self.serve(installed) => "use-petr",
            true => action_name(installed.action),
        }
    }

    /// What the next probe of a PETR asks about, behind `after`: all there is, in each family that the site has addresses of. A PETR
    /// has no EIDs of its own, and an answer says that it works, whatever records are in it.
    pub fn asked(&self, rloc: IpAddr, after: Option<EidPrefix>, site: &[EidPrefix]) -> Option<EidPrefix> {
        self.addresses().find(|address| *address == rloc)?;
        let is_v4 = |prefix: &EidPrefix| prefix.net.addr().is_ipv4();
        let first = site.iter().find(|prefix| Some(is_v4(prefix)) != after.as_ref().map(is_v4)).or(site.first());
        let iid = first.map_or(InstanceId(0), |prefix| prefix.iid);
        let net = match first {
            Some(prefix) if !is_v4(prefix) => IpNet::V6(Ipv6Net::default()),
            _ => IpNet::V4(Ipv4Net::default()),
        };
        Some(EidPrefix { iid, net })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Instant;

    fn petrs() -> Petrs {
        Petrs::new(vec![Locator { address: "192.0.2.80".parse().unwrap(), priority: 1, weight: 100 }])
    }

    fn prefix(net: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(7), net: net.parse().unwrap() }
    }

    #[test]
    fn only_what_is_to_be_forwarded_natively_goes_to_a_petr() {
        let expires = Instant::now();
        let leads = |petrs: &Petrs, action| {
            let entry = petrs.lead(Entry { forwarding: Forwarding::Negative(action), expires });
            matches!(entry.forwarding, Forwarding::Locators(_))
        };
        for bits in 0..8 {
            let action = Action::from_bits(bits);
            assert_eq!(leads(&petrs(), action), action == Action::NativelyForward, "{action:?}");
            assert!(!leads(&Petrs::default(), action), "without a PETR {action:?} stays what it is");
        }
        let positive = Entry { forwarding: Forwarding::Locators(vec![]), expires };
        assert_eq!(petrs().lead(positive.clone()), positive, "a site whose locators cannot be used is a site");
    }

    #[test]
    fn probes_ask_in_turn_about_the_families_of_the_site() {
        let (petrs, rloc) = (petrs(), "192.0.2.80".parse().unwrap());
        let both = [prefix("10.1.0.0/16"), prefix("2001:db8:a::/48")];
        let first = petrs.asked(rloc, None, &both);
        assert_eq!(first, Some(prefix("0.0.0.0/0")));
        assert_eq!(petrs.asked(rloc, first, &both), Some(prefix("::/0")));
        assert_eq!(petrs.asked(rloc, Some(prefix("::/0")), &both), first);
        assert_eq!(petrs.asked(rloc, Some(prefix("::/0")), &both[1..]), Some(prefix("::/0")));
        assert_eq!(petrs.asked("192.0.2.81".parse().unwrap(), None, &both), None);
    }
}
