// SPDX-License-Identifier: GPL-2.0-or-later
//! `eid-name`, `eid-mac`, `eid-multicast` and `eid-source-dest` of a site.

use std::net::IpAddr;

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use wire::address::InstanceId;

use super::SiteSetting;
use crate::limits::NAME_OCTETS;
use crate::register::label::grants::LabelRule;
use crate::register::label::pair::Pair;
use crate::register::label::{Kind, Label};

/// The rules of a site.
pub(super) fn rules(site: &SiteSetting) -> anyhow::Result<Vec<LabelRule>> {
    let iid = InstanceId(site.iid);
    let names = site.eid_name.iter().map(|text| name(iid, text).with_context(|| format!("eid-name {text:?}")));
    let macs = site.eid_mac.iter().map(|text| mac(iid, text).with_context(|| format!("eid-mac {text:?}")));
    let groups = site.eid_multicast.iter();
    let groups = groups.map(|text| pair(iid, text, Kind::Multicast).with_context(|| format!("eid-multicast {text:?}")));
    let flows = site.eid_source_dest.iter();
    let flows =
        flows.map(|text| pair(iid, text, Kind::SourceDest).with_context(|| format!("eid-source-dest {text:?}")));
    names.chain(macs).chain(groups).chain(flows).collect()
}

/// `printer`, or `host-*` for all names that begin with `host-`.
fn name(iid: InstanceId, text: &str) -> anyhow::Result<LabelRule> {
    let (stem, is_open) = text.strip_suffix('*').map_or((text, false), |stem| (stem, true));
    if stem.is_empty() && !is_open {
        bail!("is empty");
    }
    if stem.contains('*') {
        bail!("has a * that is not its end");
    }
    let label = Label::name(iid, stem.as_bytes());
    let label = label.with_context(|| format!("has a NUL, or more than {NAME_OCTETS} octets"))?;
    Ok(LabelRule { label, is_open })
}

/// An address, or a block of them.
fn mac(iid: InstanceId, text: &str) -> anyhow::Result<LabelRule> {
    parse_mac(iid, text).map(LabelRule::block)
}

/// `02:00:5e:00:00:01`, or `02:00:5e:00:00:00/24` for all that begin with these bits.
///
/// # Errors
/// When it is neither.
pub fn parse_mac(iid: InstanceId, text: &str) -> anyhow::Result<Label> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse().with_context(|| format!("{bits:?} is no length"))?),
        None => (text, 48),
    };
    let octet = |part: &str| {
        let is_octet = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_octet.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    };
    let octets: Option<Vec<u8>> = address.split([':', '-']).map(octet).collect();
    let octets = octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok());
    let octets = octets.context("is no MAC address (write 02:00:5e:00:00:01)")?;
    let label = Label::mac(iid, octets, bits).context("a MAC address has 48 bits")?;
    if Label::mac(iid, octets, 48) != Some(label.host()) {
        bail!("has bits behind its length: write {label}");
    }
    Ok(label)
}

/// A pair, and all that are inside it.
fn pair(iid: InstanceId, text: &str, kind: Kind) -> anyhow::Result<LabelRule> {
    let pair = parse_pair(iid, text)?;
    match (pair.kind() == kind, kind) {
        (true, _) => Ok(LabelRule::block(Label::Pair(pair))),
        (false, Kind::Multicast) => bail!("write (SOURCE, GROUP)"),
        (false, _) => bail!("write SOURCE -> DESTINATION"),
    }
}

/// `(192.0.2.1, 232.1.1.1)` for a source and a group, `10.1.0.0/24 -> 10.2.0.0/24` for a source and a destination; `*` is every source.
///
/// # Errors
/// When it is neither.
pub fn parse_pair(iid: InstanceId, text: &str) -> anyhow::Result<Pair> {
    let group = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).and_then(|inner| inner.split_once(','));
    let (source, destination) = group.or_else(|| text.split_once("->")).context(
        "is no pair (write (192.0.2.1, 232.1.1.1) for a source and a group, 10.1.0.0/24 -> 10.2.0.0/24 for a source and a destination)",
    )?;
    let destination = parse_net(destination.trim())?;
    let source = match source.trim() {
        "*" => IpNet::new(destination.addr(), 0)?.trunc(),
        source => parse_net(source)?,
    };
    if source.addr().is_ipv4() != destination.addr().is_ipv4() {
        bail!("{source} and {destination} are of two address families");
    }
    match group {
        Some(_) => Pair::multicast(iid, source, destination)
            .with_context(|| format!("{destination} is neither in 224.0.0.0/4 or ff00::/8 nor 255.255.255.255")),
        None => Pair::source_dest(iid, source, destination).context("is no pair"),
    }
}

/// An address, or a prefix without host bits.
fn parse_net(text: &str) -> anyhow::Result<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let net: IpNet = text.parse().with_context(|| format!("{text:?} is neither an address nor a prefix"))?;
    if net.trunc() != net {
        bail!("{net} has host bits: write {}", net.trunc());
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(names: &[&str], macs: &[&str]) -> anyhow::Result<String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let site = SiteSetting { iid: 5, eid_name: owned(names), eid_mac: owned(macs), ..SiteSetting::default() };
        let rules = rules(&site)?;
        Ok(rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_name_is_exact_or_ends_with_a_star_and_a_mac_address_is_one_or_a_block() {
        assert_eq!(rule(&["printer", "host-*", "*"], &[]).unwrap(), r#"[5]"printer" [5]"host-"* [5]""*"#);
        let macs = ["02:00:5e:00:00:01", "02-00-5E-00-00-00/24"];
        assert_eq!(rule(&[], &macs).unwrap(), "[5]02:00:5e:00:00:01/48 [5]02:00:5e:00:00:00/24");
    }

    fn pair_rule(groups: &[&str], flows: &[&str]) -> anyhow::Result<String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let pairs =
            SiteSetting { eid_multicast: owned(groups), eid_source_dest: owned(flows), ..SiteSetting::default() };
        Ok(rules(&pairs)?.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_pair_is_shown_as_it_is_written() {
        let groups = ["(192.0.2.0/24, 239.1.0.0/16)", "(*, ff3e::/32)", "(*, 255.255.255.255/32)"];
        let flows = ["10.1.0.0/24 -> 10.2.0.0/24", "* -> ::/0"];
        assert_eq!(pair_rule(&groups, &flows).unwrap(), [&groups[..], &flows[..]].concat().join(" "));
        assert_eq!(
            pair_rule(&["(192.0.2.1,232.1.1.1)"], &["*->::1"]).unwrap(),
            "(192.0.2.1/32, 232.1.1.1/32) * -> ::1/128"
        );
    }

    #[test]
    fn what_is_no_pair_is_refused_and_named() {
        for text in
            ["", "(*, 10.0.0.0/8)", "(*, 0.0.0.0/0)", "(*, *)", "(::/0, 232.1.1.1)", "(192.0.2.1/24, 232.1.1.1)"]
        {
            assert!(format!("{:#}", pair_rule(&[text], &[]).unwrap_err()).contains("eid-multicast"), "{text:?}");
        }
        for text in ["10.0.0.0/8", "10.0.0.0/8 -> ::/0", "10.0.0.0/33 -> 10.0.0.0/8", "(*, 232.1.1.1)"] {
            assert!(format!("{:#}", pair_rule(&[], &[text]).unwrap_err()).contains("eid-source-dest"), "{text:?}");
        }
        assert!(pair_rule(&["* -> 232.1.1.1"], &[]).unwrap_err().root_cause().to_string().contains("(SOURCE, GROUP)"));
    }

    #[test]
    fn what_is_neither_is_refused_and_named() {
        let long = "x".repeat(NAME_OCTETS + 1);
        for name in ["", "a*b", "**", "a\0b", &long] {
            assert!(format!("{:#}", rule(&[name], &[]).unwrap_err()).contains("eid-name"), "{name:?}");
        }
        let macs =
            ["", "02:00:5e:00:00", "02:00:5e:00:00:01:02", "02:00:5e:00:00:0g", "2:0:5e:0:0:1", "+2:00:5e:00:00:01"];
        for mac in macs.into_iter().chain(["02:00:5e:00:00:01/24", "02:00:5e:00:00:01/49", "02:00:5e:00:00:01/x"]) {
            assert!(format!("{:#}", rule(&[], &[mac]).unwrap_err()).contains("eid-mac"), "{mac:?}");
        }
    }
}
