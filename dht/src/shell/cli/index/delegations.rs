// SPDX-License-Identifier: GPL-2.0-or-later
//! What is delegated to whom, from flags and from a file.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use cgeid::Cn;
use wire::address::{EidPrefix, InstanceId};

use super::super::settings::Settings;
use super::super::values::split;
use crate::record::{Entry, Target};
use crate::resolve::parse_prefix;
use crate::shell::limits;

/// `PREFIX`, or `[IID]PREFIX`.
pub(super) fn prefix(text: &str, iid: InstanceId) -> anyhow::Result<EidPrefix> {
    let prefix = parse_prefix(text)?;
    Ok(if text.starts_with('[') { prefix } else { EidPrefix { iid, ..prefix } })
}

/// All that the settings delegate: `--delegate` and the lines of `--delegations`.
pub(in super::super) fn read(settings: &Settings) -> anyhow::Result<Vec<Entry>> {
    let iid = settings.instance()?;
    let mut list = List::default();
    for text in &settings.delegate {
        list.add(text, iid).with_context(|| format!("--delegate {text}"))?;
    }
    if let Some(path) = &settings.delegations {
        read_file(path, iid, &mut list)?;
    }
    Ok(list.0.into_values().collect())
}

/// One delegation a line, as in `--delegate`; `#` begins a comment.
fn read_file(path: &Path, iid: InstanceId, list: &mut List) -> anyhow::Result<()> {
    let named = || format!("--delegations {}", path.display());
    let file = File::open(path).with_context(named)?;
    if file.metadata().with_context(named)?.len() > limits::DELEGATIONS_FILE {
        bail!("{}: more than {} octets", named(), limits::DELEGATIONS_FILE);
    }
    for (at, line) in BufReader::new(file.take(limits::DELEGATIONS_FILE)).lines().enumerate() {
        let number = at + 1;
        let line = line.with_context(|| format!("{}, line {number}", path.display()))?;
        let text = line.split('#').next().unwrap_or_default().trim();
        if !text.is_empty() {
            list.add(text, iid).with_context(|| format!("{}, line {number}: {text}", path.display()))?;
        }
    }
    Ok(())
}

/// Delegations by prefix: several registrars of one site become one entry.
#[derive(Debug, Default)]
struct List(BTreeMap<EidPrefix, Entry>);

impl List {
    fn add(&mut self, text: &str, iid: InstanceId) -> anyhow::Result<()> {
        let entry = delegation(text, iid)?;
        let known = match self.0.entry(entry.prefix) {
            btree_map::Entry::Vacant(place) => {
                place.insert(entry);
                return Ok(());
            }
            btree_map::Entry::Occupied(known) => known.into_mut(),
        };
        match (&mut known.target, entry.target) {
            (Target::Site { registrars, max_plen }, Target::Site { registrars: more, max_plen: longest }) => {
                registrars.extend(more);
                *max_plen = longest.max(*max_plen);
                check_count(registrars.len())
            }
            _ => bail!("the prefix is delegated twice"),
        }
    }
}

/// `PREFIX=CN[+CN]...[,max-plen=N][,child]`
fn delegation(text: &str, iid: InstanceId) -> anyhow::Result<Entry> {
    let (head, options) = split(text);
    let (net, cns) = head.split_once('=').ok_or_else(|| anyhow!("a delegation is PREFIX=CN"))?;
    let prefix = prefix(net.trim(), iid)?;
    let cns = cns.split('+').map(|cn| cn.trim().parse().with_context(|| format!("CN {cn:?}")));
    let cns: Vec<Cn> = cns.collect::<anyhow::Result<_>>()?;
    check_count(cns.len())?;
    let own = prefix.net.prefix_len();
    let (mut max_plen, mut is_child) = (None, false);
    for (name, value) in options {
        match (name.trim(), value) {
            ("max-plen", Some(value)) => {
                let length: u8 = value.trim().parse().context("max-plen is a number")?;
                if length < own || length > prefix.net.max_prefix_len() {
                    bail!("max-plen is from {own} to {}", prefix.net.max_prefix_len());
                }
                max_plen = Some(length);
            }
            ("child", None) => is_child = true,
            (name, _) => bail!("{name:?} is not known; a delegation has max-plen=N or child"),
        }
    }
    let target = match (is_child, &cns[..], max_plen) {
        (true, &[child], None) => Target::Delegation { child, lowest: 0 },
        (true, _, None) => bail!("a child is one writer"),
        (true, _, Some(_)) => bail!("max-plen is of sites: a child says itself what it has"),
        (false, _, max_plen) => {
            Target::Site { registrars: cns.into_iter().collect(), max_plen: max_plen.unwrap_or(own) }
        }
    };
    Ok(Entry { prefix, target })
}

fn check_count(registrars: usize) -> anyhow::Result<()> {
    let most = crate::limits::REGISTRARS;
    if registrars > most { Err(anyhow!("a site has at most {most} registrars")) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: &str = "000102030405060708090a0b";
    const B: &str = "0c0d0e0f1011121314151617";

    fn all(texts: &[&str]) -> anyhow::Result<Vec<Entry>> {
        let mut list = List::default();
        texts.iter().try_for_each(|text| list.add(text, InstanceId(0)))?;
        Ok(list.0.into_values().collect())
    }

    #[test]
    fn delegations_of_one_site_are_merged() {
        let apart = all(&[&format!("2001:db8:a::/48={A}"), &format!("2001:db8:a::/48={B},max-plen=64")]).unwrap();
        let together = all(&[&format!("2001:db8:a::/48 = {B} + {A}, max-plen=64")]).unwrap();
        assert_eq!(apart, together);
        let [Entry { target: Target::Site { registrars, max_plen }, .. }] = &apart[..] else { unreachable!() };
        assert_eq!((registrars.len(), *max_plen), (2, 64));
        assert!(all(&[&format!("2001:db8:a::/48={A}"), &format!("2001:db8:a::/48={A},child")]).is_err());
    }

    #[test]
    fn a_delegation_may_name_its_instance() {
        let text = format!("10.0.0.0/8={A}");
        assert_eq!(delegation(&text, InstanceId(7)).unwrap().prefix.iid, InstanceId(7));
        assert_eq!(delegation(&format!("[0]{text}"), InstanceId(7)).unwrap().prefix.iid, InstanceId(0));
    }

    #[test]
    fn wrong_delegations_are_refused() {
        for text in [
            "",
            "2001:db8::/32",
            &format!("2001:db8::1/32={A}"),
            "2001:db8::/32=0001",
            &format!("10.0.0.0/8={A},max-plen=33"),
            &format!("10.0.0.0/8={A},max-plen=7"),
            &format!("10.0.0.0/8={A},child,max-plen=16"),
            &format!("10.0.0.0/8={A}+{B},child"),
            &format!("10.0.0.0/8={A}+"),
            &format!("10.0.0.0/8={}", [A; 5].join("+")),
            &format!("[x]10.0.0.0/8={A}"),
        ] {
            assert!(all(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_line_is_named_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("delegations");
        std::fs::write(&path, format!("# sites\n\n2001:db8:a::/48={A} # the first\n2001:db8:b::/48={A},plen=64\n"))
            .unwrap();
        let mut list = List::default();
        let error = format!("{:#}", read_file(&path, InstanceId(0), &mut list).unwrap_err());
        assert!(error.contains("delegations, line 4: 2001:db8:b::/48=") && error.contains("\"plen\""), "{error}");
        assert_eq!(list.0.len(), 1);
    }
}
