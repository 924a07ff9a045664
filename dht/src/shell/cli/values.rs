// SPDX-License-Identifier: GPL-2.0-or-later
//! What flags and settings say, as values.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, anyhow, bail};
use cgeid::{Cn, Network};
use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};

use crate::record::{Entry, Rloc, RlocFlags, Target};
use crate::resolve::TrustAnchor;

/// Priority of a locator that says none.
const PRIORITY: u8 = 1;
/// Weight of a locator that says none.
const WEIGHT: u8 = 100;
/// Multicast priority: not for multicast.
const NO_MULTICAST: u8 = 255;

/// `ADDR[,priority=1,weight=100]`
pub(super) fn rloc(text: &str) -> anyhow::Result<Rloc> {
    let (address, options) = split(text);
    let address: IpAddr = address.parse().with_context(|| format!("--rloc {text}: not an address"))?;
    let (mut priority, mut weight) = (PRIORITY, WEIGHT);
    for (name, value) in options {
        let number = value.and_then(|value| value.parse::<u8>().ok());
        match (name, number) {
            ("priority", Some(number)) => priority = number,
            ("weight", Some(number)) => weight = number,
            ("priority" | "weight", None) => bail!("--rloc {text}: {name} is a number from 0 to 255"),
            _ => bail!("--rloc {text}: {name:?} is not known; a locator has priority=N and weight=N"),
        }
    }
    let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
    Ok(Rloc { priority, weight, mpriority: NO_MULTICAST, mweight: 0, flags, address, port: 0 })
}

/// `PREFIX=CN`
pub(super) fn trust_anchor(text: &str) -> anyhow::Result<TrustAnchor> {
    text.parse().with_context(|| format!("--trust-anchor {text}"))
}

/// The `PREFIX=CN[,max-plen=N][,child]` of one page. Several registrars of one site become one entry.
pub(super) fn delegations(texts: &[String]) -> anyhow::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for text in texts {
        let entry = delegation(text).with_context(|| format!("--delegate {text}"))?;
        let Some(known) = entries.iter_mut().find(|known| known.prefix == entry.prefix) else {
            entries.push(entry);
            continue;
        };
        match (&mut known.target, entry.target) {
            (Target::Site { registrars, max_plen }, Target::Site { registrars: more, max_plen: longest }) => {
                registrars.extend(more);
                *max_plen = longest.max(*max_plen);
            }
            _ => bail!("--delegate {text}: the prefix is delegated twice"),
        }
    }
    Ok(entries)
}

fn delegation(text: &str) -> anyhow::Result<Entry> {
    let (head, options) = split(text);
    let TrustAnchor { aggregate: prefix, cn } = head.parse()?;
    let own = prefix.net.prefix_len();
    let (mut max_plen, mut child) = (own, false);
    for (name, value) in options {
        match (name, value) {
            ("max-plen", Some(value)) => {
                max_plen = value.parse().context("max-plen is a number")?;
                if max_plen < own || max_plen > prefix.net.max_prefix_len() {
                    bail!("max-plen is from {own} to {}", prefix.net.max_prefix_len());
                }
            }
            ("child", None) => child = true,
            _ => bail!("{name:?} is not known; a delegation has max-plen=N or child"),
        }
    }
    let target = if child {
        Target::Delegation { child: cn, lowest: 0 }
    } else {
        Target::Site { registrars: BTreeSet::from([cn]), max_plen }
    };
    Ok(Entry { prefix, target })
}

/// A prefix without host bits.
pub(super) fn prefix(text: &str) -> anyhow::Result<EidPrefix> {
    let net: IpNet = text.parse().with_context(|| format!("{text:?} is not a prefix"))?;
    if net != net.trunc() {
        bail!("{net} has host bits set; did you mean {}?", net.trunc());
    }
    Ok(EidPrefix { iid: InstanceId(0), net })
}

/// A CGEID of the network, or the digits of its CN.
pub(super) fn cgeid(text: &str, network: Network) -> anyhow::Result<Cn> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => {
            network.cn_of(address).ok_or_else(|| anyhow!("{address} is not a CGEID of {network} (see --prefix)"))
        }
        Ok(IpAddr::V4(address)) => bail!("{address} is not a CGEID: those are IPv6 addresses"),
        Err(_) => text.parse().with_context(|| format!("{text:?} is neither an address nor a CN")),
    }
}

/// `HEAD[,name[=value]]...`
pub(super) fn split(text: &str) -> (&str, Vec<(&str, Option<&str>)>) {
    let mut parts = text.split(',');
    let head = parts.next().unwrap_or_default();
    let options = parts.map(|part| part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value))));
    (head, options.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: &str = "000102030405060708090a0b";
    const B: &str = "0c0d0e0f1011121314151617";

    #[test]
    fn a_locator_has_defaults_and_options() {
        let plain = rloc("192.0.2.1").unwrap();
        assert_eq!((plain.priority, plain.weight, plain.mpriority), (1, 100, 255));
        let full = rloc("2001:db8::1,weight=7,priority=2").unwrap();
        assert_eq!((full.priority, full.weight), (2, 7));
        for text in ["", "host", "192.0.2.1,", "192.0.2.1,priority=256", "192.0.2.1,prio=1", "192.0.2.1,weight"] {
            assert!(rloc(text).is_err(), "{text}");
        }
    }

    #[test]
    fn delegations_of_one_site_are_merged() {
        let texts = [format!("2001:db8:a::/48={A}"), format!("2001:db8:a::/48={B},max-plen=64")];
        let entries = delegations(&texts).unwrap();
        let [Entry { target: Target::Site { registrars, max_plen }, .. }] = &entries[..] else { unreachable!() };
        assert_eq!((registrars.len(), *max_plen), (2, 64));
        assert!(delegations(&[texts[0].clone(), format!("2001:db8:a::/48={A},child")]).is_err());
    }

    #[test]
    fn wrong_delegations_are_refused() {
        for text in [
            "",
            "2001:db8::/32",
            &format!("2001:db8::1/32={A}"),
            "2001:db8::/32=0001",
            &format!("10.0.0.0/8={A},max-plen=33"),
        ] {
            assert!(delegations(&[text.to_owned()]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cgeid_is_an_address_of_the_network_or_a_cn() {
        let cn: Cn = A.parse().unwrap();
        assert_eq!(cgeid(A, Network::LAB).unwrap(), cn);
        assert_eq!(cgeid(&cn.address(Network::LAB).to_string(), Network::LAB).unwrap(), cn);
        assert!(cgeid("2001:db8::1", Network::LAB).is_err());
        assert!(cgeid("192.0.2.1", Network::LAB).is_err());
    }
}
