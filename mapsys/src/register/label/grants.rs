// SPDX-License-Identifier: GPL-2.0-or-later
//! Which site may register which names, MAC addresses and pairs.

use super::single::Single;
use super::table::LabelTable;
use super::{Kind, Label};
use crate::register::site::SiteId;

/// What a site may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelRule {
    /// A name, what names begin with, a prefix of MAC addresses, or a pair.
    pub label: Label,
    /// Whether it stands for all that it covers. Of MAC addresses and pairs it does: each station in a block is one.
    pub is_open: bool,
}

impl LabelRule {
    /// All MAC addresses of a block, or all pairs inside one.
    pub fn block(label: Label) -> Self {
        Self { label, is_open: true }
    }
}

impl std::fmt::Display for LabelRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = if self.is_open && self.label.kind() == Kind::Name { "*" } else { "" };
        write!(f, "{}{all}", self.label)
    }
}

/// The rules of all sites.
#[derive(Debug, Default)]
pub struct LabelGrants {
    table: LabelTable<Owners>,
}

#[derive(Debug, Default)]
struct Owners {
    exact: Option<SiteId>,
    open: Option<SiteId>,
}

/// Who may register a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelGrant {
    /// The site.
    pub site: SiteId,
    /// What is configured of it that covers the label.
    pub configured: Label,
}

impl LabelGrants {
    /// Gives a rule to a site.
    ///
    /// # Errors
    /// The site that has it already.
    pub fn add(&mut self, rule: LabelRule, site: SiteId) -> Result<(), SiteId> {
        let owners = self.table.entry(rule.label, Owners::default);
        let owner = if rule.is_open { &mut owners.open } else { &mut owners.exact };
        match *owner {
            Some(first) => Err(first),
            None => {
                *owner = Some(site);
                Ok(())
            }
        }
    }

    /// The best match among the rules about a label: a name by itself goes before what it begins with.
    pub fn find(&self, label: &Label) -> Option<LabelGrant> {
        self.table.covering(label).find_map(|(configured, owners)| {
            let exact = owners.exact.filter(|_| configured == *label);
            Some(LabelGrant { site: exact.or(owners.open)?, configured })
        })
    }

    /// What is configured inside a name or a block of MAC addresses, itself included.
    pub fn inside(&self, single: &Single) -> impl Iterator<Item = Label> + '_ {
        self.table.inside(single).map(|(inner, _)| inner)
    }

    /// A part of `within` around a label in which nothing else is configured ([`LabelTable::hole`]); `None` if there is none.
    pub fn hole(&self, within: &Label, label: &Label) -> Option<Label> {
        self.table.hole(within, label)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::address::InstanceId;

    fn rule(text: &str) -> LabelRule {
        let (text, is_open) = text.strip_suffix('*').map_or((text, false), |stem| (stem, true));
        LabelRule { label: Label::name(InstanceId(0), text.as_bytes()).unwrap(), is_open }
    }

    #[test]
    fn the_most_specific_rule_counts_and_an_exact_one_before_an_open_one() {
        let mut grants = LabelGrants::default();
        let sites = [SiteId::at(0), SiteId::at(1), SiteId::at(2), SiteId::at(3)];
        for (site, text) in sites.into_iter().zip(["a*", "ab", "ab*", "x"]) {
            assert_eq!(grants.add(rule(text), site), Ok(()));
        }
        assert_eq!(grants.add(rule("ab"), sites[3]), Err(sites[1]));
        let found = |text: &str| grants.find(&rule(text).label).map(|grant| grant.site);
        assert_eq!(found("ab"), Some(sites[1]));
        assert_eq!(found("abc"), Some(sites[2]));
        assert_eq!((found("a"), found("ac")), (Some(sites[0]), Some(sites[0])));
        assert_eq!((found("x"), found("xy"), found("b")), (Some(sites[3]), None, None));
    }
}
