// SPDX-License-Identifier: GPL-2.0-or-later
//! The settings of interworking with hosts that know nothing of LISP (RFC 6832).
//!
//! Those that name others end as they are called there (`use-petr`, and `pitr`, whose packets are believed); those that make this node
//! one end in `-for` and `-in`, and have EID-prefixes of others.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};

use super::values::{PrefixValue, RlocValue};
use super::{ConfigError, Written};
use crate::database::OwnLocator;
use crate::interwork::{Interworking, limits};
use crate::limits::LOCATORS_PER_ENTRY;
use crate::map_cache::{Locator, is_unicast};

/// The word for all trust anchors.
const ANCHORS: &str = "anchors";
/// The priority of a locator that is not to be used (RFC 9301, section 5.4).
const UNUSABLE: u8 = 255;

/// `ADDR[,priority=1,weight=100]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PetrValue(pub OwnLocator);

impl FromStr for PetrValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.split(',').next().unwrap_or_default().trim();
        match text.parse() {
            Ok(RlocValue::Address(locator)) if locator.priority == UNUSABLE => {
                Err(format!("priority {UNUSABLE} says that it is not to be used"))
            }
            Ok(RlocValue::Address(locator)) if locator.preference().is_of_multicast() => {
                Err("mpriority and mweight are of --rloc: no multicast goes through a PETR".to_owned())
            }
            Ok(RlocValue::Address(locator)) => Ok(Self(locator)),
            Err(problem) if place.parse::<IpAddr>().is_ok() => Err(problem),
            Ok(RlocValue::Interface(_)) | Err(_) => Err(format!("{place:?} is no address")),
        }
    }
}

/// Where a PITR looks for sites: an aggregate, or those of all trust anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PitrIn {
    /// In what trust anchors are named for.
    Anchors,
    /// In this aggregate.
    Within(PrefixValue),
}

impl FromStr for PitrIn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            ANCHORS => Ok(Self::Anchors),
            _ if !text.contains('/') => Err(format!("{text:?} is neither ADDRESS/LENGTH nor {ANCHORS:?}")),
            _ => text.parse().map(Self::Within),
        }
    }
}

/// The roles that are written.
pub(super) fn roles(written: &Written, iid: InstanceId, network: IpNet) -> Result<Interworking, ConfigError> {
    let petrs: Vec<Locator> = written.use_petr.iter().map(|PetrValue(petr)| locator(*petr)).collect();
    if petrs.len() > LOCATORS_PER_ENTRY {
        return Err(ConfigError::new("use-petr", format!("{} of them; {LOCATORS_PER_ENTRY} at most", petrs.len())));
    }
    let is_given_twice = |(index, petr): (usize, &Locator)| petrs[..index].iter().any(|e| e.address == petr.address);
    if let Some((_, petr)) = petrs.iter().enumerate().find(|(index, petr)| is_given_twice((*index, petr))) {
        return Err(ConfigError::new("use-petr", format!("{} is given twice", petr.address)));
    }
    let roles = Interworking {
        petrs,
        petr_for: prefixes("petr-for", written.petr_for.iter().copied(), iid)?,
        pitr_for: prefixes("pitr-for", written.pitr_for.iter().copied(), iid)?,
        pitr_in: prefixes("pitr-in", aggregates(written)?.into_iter(), iid)?,
    };
    if roles.is_pitr() && !roles.petrs.is_empty() {
        // Packets that a PITR attracts come from no site, and no PETR takes them.
        return Err(ConfigError::new(
            "use-petr",
            "is for a node that is no PITR: leave out this, or --pitr-for and --pitr-in",
        ));
    }
    if let Some(prefix) =
        roles.pitr_in.iter().find(|prefix| prefix.net.contains(&network) || network.contains(&prefix.net))
    {
        let advice = "has CGEIDs in it, which cannot be looked through: give it to --pitr-for as a whole";
        return Err(ConfigError::new("pitr-in", format!("{} {advice}", prefix.net)));
    }
    Ok(roles)
}

fn locator(petr: OwnLocator) -> Locator {
    Locator { address: petr.address, priority: petr.priority, weight: petr.weight }
}

fn aggregates(written: &Written) -> Result<Vec<PrefixValue>, ConfigError> {
    let mut aggregates = Vec::new();
    for place in &written.pitr_in {
        match place {
            PitrIn::Within(prefix) => aggregates.push(*prefix),
            PitrIn::Anchors if written.trust_anchor.is_empty() => {
                return Err(ConfigError::new(
                    "pitr-in",
                    format!("{ANCHORS} are those of --trust-anchor, and none is given"),
                ));
            }
            PitrIn::Anchors => aggregates.extend(written.trust_anchor.iter().map(|anchor| PrefixValue(anchor.prefix))),
        }
    }
    Ok(aggregates)
}

fn prefixes(
    key: &str,
    written: impl Iterator<Item = PrefixValue>,
    iid: InstanceId,
) -> Result<Vec<EidPrefix>, ConfigError> {
    let mut prefixes = Vec::new();
    for PrefixValue(net) in written {
        // Only as a host is 0.0.0.0 or :: special.
        if !is_unicast(net.addr()) && !net.addr().is_unspecified() {
            return Err(ConfigError::new(key, format!("{net} does not contain addresses of hosts")));
        }
        prefixes.push(EidPrefix { iid, net });
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    if prefixes.len() > limits::PITR_PREFIXES {
        return Err(ConfigError::new(key, format!("{} of them; {} at most", prefixes.len(), limits::PITR_PREFIXES)));
    }
    Ok(prefixes)
}

/// The roles in plain words.
pub(super) fn explain(roles: &Interworking) -> Vec<String> {
    let mut lines = Vec::new();
    let join = |prefixes: &[EidPrefix]| join(prefixes.iter().map(|prefix| prefix.net));
    if !roles.petrs.is_empty() {
        let petr = |l: &Locator| format!("{} (priority {}, weight {})", l.address, l.priority, l.weight);
        let petrs = self::join(roles.petrs.iter().map(petr));
        lines.push(format!("Packets to what is no LISP site do not leave as they are, but through the PETRs {petrs}."));
    }
    if !roles.petr_for.is_empty() {
        let sites = join(&roles.petr_for);
        lines.push(format!("A PETR for the sites of {sites}: forwards what they send to hosts that are no LISP site."));
    }
    if !roles.pitr_for.is_empty() {
        let sites = join(&roles.pitr_for);
        lines.push(format!("A PITR for {sites}: what anybody sends there goes through the tunnel."));
    }
    if !roles.pitr_in.is_empty() {
        let aggregates = join(&roles.pitr_in);
        lines.push(format!(
            "A PITR for the sites that the mapping system has in {aggregates}, looked for again and again."
        ));
    }
    lines
}

fn join(items: impl Iterator<Item = impl fmt::Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_value_with_a_slip_in_it_is_told_what_is_expected() {
        let told = |problem: String, expected: &str| assert!(problem.contains(expected), "{problem}");
        told("1.2.3".parse::<PetrValue>().unwrap_err(), "no address");
        told("eth0".parse::<PetrValue>().unwrap_err(), "no address");
        told("192.0.2.1,weight=x".parse::<PetrValue>().unwrap_err(), "weight");
        told("abc".parse::<PitrIn>().unwrap_err(), ANCHORS);
    }

    fn check(change: impl FnOnce(&mut Written)) -> Result<Config, ConfigError> {
        let mut written = Written { map_resolver: vec!["203.0.113.53".parse().unwrap()], ..Written::default() };
        written.rloc = vec!["192.0.2.80".parse().unwrap()];
        change(&mut written);
        Config::check(written)
    }

    #[test]
    fn a_proxy_needs_no_eid_prefix_of_its_own() {
        assert_eq!(check(|_| {}).unwrap_err().key, "eid-prefix");
        let config = check(|written| {
            written.pitr_for = vec!["2001:db8::/32".parse().unwrap()];
            written.petr_for = vec!["2001:db8:a::/48".parse().unwrap()];
        });
        let roles = config.unwrap().interworking;
        let text = explain(&roles).join("\n");
        for said in ["A PETR for the sites of 2001:db8:a::/48", "A PITR for 2001:db8::/32"] {
            assert!(text.contains(said), "{said} is not in:\n{text}");
        }
    }

    #[test]
    fn cgeids_are_led_as_a_whole() {
        let network = "3fff:ce1::/32";
        let config = check(|written| written.pitr_for = vec![network.parse().unwrap()]).unwrap();
        assert_eq!(
            config.interworking.pitr_for,
            [EidPrefix { iid: Default::default(), net: network.parse().unwrap() }]
        );
        assert!(explain(&config.interworking).join("\n").contains("A PITR for 3fff:ce1::/32"));
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        type Change = fn(&mut Written);
        let site: Change = |written| written.eid_prefix = vec!["10.1.0.0/16".parse().unwrap()];
        let cases: [(&str, Change); 8] = [
            ("use-petr", |w| w.use_petr = vec!["2001:db8:9::1".parse().unwrap()]),
            ("use-petr", |w| w.use_petr = vec!["10.1.0.9".parse().unwrap()]),
            ("use-petr", |w| w.use_petr = vec!["192.0.2.7".parse().unwrap(), "192.0.2.7,priority=2".parse().unwrap()]),
            ("use-petr", |w| {
                w.use_petr = vec!["192.0.2.7".parse().unwrap()];
                w.pitr_for = vec!["10.2.0.0/16".parse().unwrap()];
            }),
            ("rloc", |w| w.pitr_for = vec!["192.0.2.0/24".parse().unwrap()]),
            ("map-resolver", |w| w.pitr_for = vec!["203.0.113.0/24".parse().unwrap()]),
            ("pitr-in", |w| w.pitr_in = vec!["anchors".parse().unwrap()]),
            ("pitr-in", |w| w.pitr_in = vec!["3fff::/16".parse().unwrap()]),
        ];
        for (key, change) in cases {
            let error = check(|written| {
                site(written);
                change(written);
            })
            .unwrap_err();
            assert_eq!(error.key, key, "{error}");
        }
        for bad in ["eth0", "192.0.2.7,priority=255", "192.0.2.7,mpriority=1", "192.0.2"] {
            assert!(bad.parse::<PetrValue>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_anchors_are_aggregates_to_look_for_sites_in() {
        let anchor = "2001:db8::/32=0123456789abcdef01234567".parse().unwrap();
        let written = Written { trust_anchor: vec![anchor], pitr_in: vec![PitrIn::Anchors], ..Written::default() };
        let config = Config::check(written).unwrap();
        assert_eq!(config.interworking.pitr_in[0].net.to_string(), "2001:db8::/32");
    }
}
