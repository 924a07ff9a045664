// SPDX-License-Identifier: GPL-2.0-or-later
//! `eid-name` and `eid-mac` of a site.

use anyhow::{Context as _, bail};
use wire::address::InstanceId;

use crate::limits::NAME_OCTETS;
use crate::register::label::Label;
use crate::register::label::grants::LabelRule;

/// The rules that these texts are, in one instance.
pub(super) fn rules(iid: InstanceId, names: &[String], macs: &[String]) -> anyhow::Result<Vec<LabelRule>> {
    let names = names.iter().map(|text| name(iid, text).with_context(|| format!("eid-name {text:?}")));
    let macs = macs.iter().map(|text| mac(iid, text).with_context(|| format!("eid-mac {text:?}")));
    names.chain(macs).collect()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(names: &[&str], macs: &[&str]) -> anyhow::Result<String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let rules = rules(InstanceId(5), &owned(names), &owned(macs))?;
        Ok(rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_name_is_exact_or_ends_with_a_star_and_a_mac_address_is_one_or_a_block() {
        assert_eq!(rule(&["printer", "host-*", "*"], &[]).unwrap(), r#"[5]"printer" [5]"host-"* [5]""*"#);
        let macs = ["02:00:5e:00:00:01", "02-00-5E-00-00-00/24"];
        assert_eq!(rule(&[], &macs).unwrap(), "[5]02:00:5e:00:00:01/48 [5]02:00:5e:00:00:00/24");
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
