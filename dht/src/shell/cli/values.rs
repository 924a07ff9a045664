// SPDX-License-Identifier: GPL-2.0-or-later
//! What flags and settings say, as values.

use std::net::IpAddr;

use anyhow::{Context as _, anyhow, bail};
use cgeid::{Cn, Network};

use crate::record::{Rloc, RlocFlags};
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
    fn a_cgeid_is_an_address_of_the_network_or_a_cn() {
        let cn: Cn = A.parse().unwrap();
        assert_eq!(cgeid(A, Network::LAB).unwrap(), cn);
        assert_eq!(cgeid(&cn.address(Network::LAB).to_string(), Network::LAB).unwrap(), cn);
        assert!(cgeid("2001:db8::1", Network::LAB).is_err());
        assert!(cgeid("192.0.2.1", Network::LAB).is_err());
    }
}
