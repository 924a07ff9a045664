// SPDX-License-Identifier: GPL-2.0-or-later
//! The rules, in their order.

use std::net::Ipv6Addr;

use futures::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteHeader;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::IpVersion;

use super::routes::{NO_SITE_TABLE, no_site_route};
use super::{Failure, Netlink, PROTOCOL, Plan, TABLE, family, host, is_new, or_none, refused, unless};

/// Before those out of the TUN device: what comes there from others goes back into it, with one hop less.
const PRIORITY_MOVED: u32 = 4338;
const PRIORITY_INTO_SITE: u32 = 4339;
const PRIORITY_NO_SITE: u32 = 4340;
pub(super) const PRIORITY_FROM_TUN: u32 = 4341;
const PRIORITY_TO_SITE: u32 = 4342;
const PRIORITY_FROM_SITE: u32 = 4343;
const PRIORITY_TO_CGEIDS: u32 = 4344;
pub(super) const PRIORITY_PITR: u32 = 4345;
const PRIORITY_NO_WAY_OUT: u32 = 4346;

const PRIORITIES: [u32; 9] = [
    PRIORITY_MOVED,
    PRIORITY_INTO_SITE,
    PRIORITY_NO_SITE,
    PRIORITY_FROM_TUN,
    PRIORITY_TO_SITE,
    PRIORITY_FROM_SITE,
    PRIORITY_TO_CGEIDS,
    PRIORITY_PITR,
    PRIORITY_NO_WAY_OUT,
];

/// A default route is no way into the site.
const NO_DEFAULT_ROUTE: RuleAttribute = RuleAttribute::SuppressPrefixLen(0);

impl Netlink {
    /// Leads the packets of one more CGEID of this node as [`Self::set_up`] leads those of the others. May be done twice.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn add_cgeid(&self, cgeid: Ipv6Addr) -> Result<(), Failure> {
        for rule in site_rules(&host(cgeid)) {
            self.add_rule(rule).await?;
        }
        self.add_route(no_site_route(host(cgeid))?).await.map(drop)
    }

    /// Leads packets to an EID-prefix of ours, or a part of one, that another xTR has now, whether they come from the site or out of the
    /// tunnel. The address family has its route there.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn add_moved(&self, prefix: IpNet) -> Result<(), Failure> {
        self.add_rule(moved_rule(&prefix)).await.map(drop)
    }

    /// The contrary of [`Self::add_moved`].
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn remove_moved(&self, prefix: IpNet) -> Result<(), Failure> {
        let removed = self.handle.rule().del(moved_rule(&prefix)).execute().await;
        unless(-libc::ENOENT, removed).map_err(refused("removing a rule"))
    }

    /// The contrary of [`Self::add_cgeid`].
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn remove_cgeid(&self, cgeid: Ipv6Addr) -> Result<(), Failure> {
        self.remove_site(host(cgeid)).await
    }

    /// Leads the packets of an EID-prefix no longer.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn remove_site(&self, prefix: IpNet) -> Result<(), Failure> {
        for rule in site_rules(&prefix) {
            let removed = self.handle.rule().del(rule).execute().await;
            unless(-libc::ENOENT, removed).map_err(refused("removing a rule"))?;
        }
        let removed = self.handle.route().del(no_site_route(prefix)?).execute().await;
        unless(-libc::ESRCH, removed).map_err(refused("removing a route"))
    }

    pub(super) async fn remove_rules(&self) -> Result<(), Failure> {
        let mut result = Ok(());
        for version in [IpVersion::V4, IpVersion::V6] {
            let rules = self.handle.rule().get(version).execute().try_collect();
            let rules: Vec<RuleMessage> = or_none(rules.await).map_err(refused("reading the rules"))?;
            for rule in rules.into_iter().filter(is_ours) {
                let removed = unless(-libc::ENOENT, self.handle.rule().del(rule).execute().await);
                result = result.and(removed.map_err(refused("removing a rule")));
            }
        }
        result
    }

    /// Whether it was not there.
    pub(super) async fn add_rule(&self, rule: RuleMessage) -> Result<bool, Failure> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule;
        // With `replace` the kernel would have the same rule twice.
        is_new(request.execute().await).map_err(refused("a routing rule"))
    }
}

pub(super) fn rules(plan: &Plan) -> Vec<RuleMessage> {
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    let mut rules = Vec::new();
    for family in plan.families() {
        let from_tun = [RuleAttribute::Iifname(plan.tun.clone())];
        let mut into_site = rule(family, PRIORITY_INTO_SITE, main, &from_tun);
        into_site.attributes.push(NO_DEFAULT_ROUTE);
        rules.push(into_site);
        rules.push(rule(family, PRIORITY_NO_SITE, NO_SITE_TABLE, &from_tun));
        rules.push(rule(family, PRIORITY_FROM_TUN, main, &from_tun));
    }
    for prefix in &plan.site {
        rules.extend(site_rules(prefix));
    }
    if let Some(network) = plan.cgeid_network {
        let to = [RuleAttribute::Destination(network.addr().into())];
        let mut to = rule(AddressFamily::Inet6, PRIORITY_TO_CGEIDS, TABLE, &to);
        to.header.dst_len = network.prefix_len();
        let mut nowhere = to.clone();
        nowhere.header.action = RuleAction::Unreachable;
        nowhere.attributes = vec![
            RuleAttribute::Destination(network.addr().into()),
            RuleAttribute::Priority(PRIORITY_NO_WAY_OUT),
            RuleAttribute::Protocol(PROTOCOL),
        ];
        rules.extend([to, nowhere]);
    }
    rules
}

/// To and from a prefix of the site.
fn site_rules(prefix: &IpNet) -> [RuleMessage; 2] {
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    let mut to = rule(family(prefix), PRIORITY_TO_SITE, main, &[RuleAttribute::Destination(prefix.addr())]);
    to.header.dst_len = prefix.prefix_len();
    to.attributes.push(NO_DEFAULT_ROUTE);
    let mut from = rule(family(prefix), PRIORITY_FROM_SITE, TABLE, &[RuleAttribute::Source(prefix.addr())]);
    from.header.src_len = prefix.prefix_len();
    [to, from]
}

fn moved_rule(prefix: &IpNet) -> RuleMessage {
    let mut to = rule(family(prefix), PRIORITY_MOVED, TABLE, &[RuleAttribute::Destination(prefix.addr())]);
    to.header.dst_len = prefix.prefix_len();
    to
}

pub(super) fn rule(family: AddressFamily, priority: u32, table: u32, selector: &[RuleAttribute]) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = selector.to_vec();
    rule.attributes.extend([
        RuleAttribute::Priority(priority),
        RuleAttribute::Table(table),
        RuleAttribute::Protocol(PROTOCOL),
    ]);
    rule
}

pub(super) fn is_ours(rule: &RuleMessage) -> bool {
    let is_priority = |attribute: &RuleAttribute| matches!(attribute, RuleAttribute::Priority(priority) if PRIORITIES.contains(priority));
    rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL)) && rule.attributes.iter().any(is_priority)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packets_to_the_site_never_enter_the_tunnel() {
        let plan = Plan {
            tun: "lisp0".into(),
            site: vec!["2001:db8:a::/48".parse().unwrap(), "10.1.0.0/16".parse().unwrap()],
            cgeid_network: Some("3fff:ce1::/32".parse().unwrap()),
            own_cgeids: vec![],
            others: vec![],
        };
        let rules = rules(&plan);
        assert_eq!(rules.len(), 2 * 3 + 2 * 2 + 2);
        assert!(rules.iter().all(is_ours));
        let priority = |rule: &RuleMessage| {
            rule.attributes
                .iter()
                .find_map(|a| if let RuleAttribute::Priority(p) = a { Some(*p) } else { None })
                .unwrap()
        };
        let table = |rule: &RuleMessage| {
            rule.attributes.iter().find_map(|a| if let RuleAttribute::Table(t) = a { Some(*t) } else { None })
        };
        let into_tunnel = || rules.iter().filter(|rule| table(rule) == Some(TABLE)).map(priority);
        let past_it = rules.iter().filter(|rule| table(rule).is_some_and(|table| table != TABLE)).map(priority);
        assert!(past_it.max() < into_tunnel().min());
        let nowhere = rules.iter().filter(|rule| rule.header.action == RuleAction::Unreachable).map(priority);
        assert!(into_tunnel().max() < nowhere.min(), "only what found no way into the tunnel");
    }
}
