// SPDX-License-Identifier: GPL-2.0-or-later
//! The routes into the TUN device, those of what has nowhere to go, and those of the main table to hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt as _;
use futures::future::ready;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType};
use netlink_packet_route::rule::RuleAttribute;
use rtnetlink::{IpVersion, RouteMessageBuilder};

use super::rules::{PRIORITY_FROM_TUN, PRIORITY_PITR, rule};
use super::settings::allow_ipv6;
use super::{Failure, Netlink, PROTOCOL, TABLE, family, is_new, or_none, refused, unless};

/// The routing table of a PITR.
pub(super) const PITR_TABLE: u32 = 4342;
/// The routing table of what is ours, and has no way into the site.
pub(super) const NO_SITE_TABLE: u32 = 4343;

impl Netlink {
    /// Leads packets to an EID-prefix of others, whoever sends them (RFC 6832, section 5), which may be the first of its address family.
    /// May be done twice. The route is in a table of its own: nothing announces it but what is told to.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn add_pitr(&self, tun: &str, prefix: IpNet) -> Result<(), Failure> {
        if prefix.addr().is_ipv6() {
            allow_ipv6(tun);
        }
        let route = pitr_route(prefix, self.index_of(tun).await?)?;
        self.handle.route().add(route).replace().execute().await.map_err(refused("a route of a PITR"))?;
        let main = u32::from(RouteHeader::RT_TABLE_MAIN);
        let from_tun = rule(family(&prefix), PRIORITY_FROM_TUN, main, &[RuleAttribute::Iifname(tun.to_owned())]);
        self.add_rule(from_tun).await?;
        self.add_rule(rule(family(&prefix), PRIORITY_PITR, PITR_TABLE, &[])).await.map(drop)
    }

    /// The contrary of [`Self::add_pitr`]; the rules stay for the other EID-prefixes.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn remove_pitr(&self, tun: &str, prefix: IpNet) -> Result<(), Failure> {
        let route = pitr_route(prefix, self.index_of(tun).await?)?;
        let removed = self.handle.route().del(route).execute().await;
        unless(-libc::ESRCH, removed).map_err(refused("removing a route of a PITR"))
    }

    /// Those of these CGEIDs that the main table has a route of their own to, and not into the TUN device, whose own addresses are there too:
    /// then a host behind this node has each. Of all the routes, which come one by one, no others are kept.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub(in crate::shell) async fn at_hosts(&self, tun: &str, cgeids: &[Ipv6Addr]) -> Result<Vec<Ipv6Addr>, Failure> {
        if cgeids.is_empty() {
            return Ok(Vec::new());
        }
        let into_tun = RouteAttribute::Oif(self.index_of(tun).await?);
        let routes = self.handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build()).execute();
        let hosts = routes.try_fold(Vec::new(), |mut hosts, route| {
            let is_main = route.header.table == RouteHeader::RT_TABLE_MAIN;
            let host = host_of(&route).filter(|host| is_main && cgeids.contains(host));
            hosts.extend(host.filter(|host| !hosts.contains(host) && !route.attributes.contains(&into_tun)));
            ready(Ok(hosts))
        });
        or_none(hosts.await).map_err(refused("reading the routes"))
    }

    pub(super) async fn remove_routes(&self) -> Result<(), Failure> {
        let mut result = Ok(());
        for route in self.our_routes().await? {
            // With its device it goes by itself.
            let removed = unless(-libc::ESRCH, self.handle.route().del(route).execute().await);
            result = result.and(removed.map_err(refused("removing a route")));
        }
        result
    }

    pub(super) async fn our_routes(&self) -> Result<Vec<RouteMessage>, Failure> {
        let mut routes = self.routes(IpVersion::V4).await?;
        routes.extend(self.routes(IpVersion::V6).await?);
        Ok(routes.into_iter().filter(is_our_route).collect())
    }

    /// The routes of all tables.
    async fn routes(&self, version: IpVersion) -> Result<Vec<RouteMessage>, Failure> {
        let question = match version {
            IpVersion::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            IpVersion::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let routes = self.handle.route().get(question).execute().try_collect();
        or_none(routes.await).map_err(refused("reading the routes"))
    }

    /// Whether there was none such. One of somebody else in our table is replaced.
    pub(super) async fn add_route(&self, route: RouteMessage) -> Result<bool, Failure> {
        let what = "a route of ours";
        let is_new = is_new(self.handle.route().add(route.clone()).execute().await).map_err(refused(what))?;
        if !is_new {
            self.handle.route().add(route).replace().execute().await.map_err(refused(what))?;
        }
        Ok(is_new)
    }
}

pub(super) fn is_our_route(route: &RouteMessage) -> bool {
    let is_in = |table| route.attributes.contains(&RouteAttribute::Table(table));
    route.header.protocol == PROTOCOL && [TABLE, PITR_TABLE, NO_SITE_TABLE].into_iter().any(is_in)
}

/// Whether it is into a device: what has nowhere to go is so for whoever comes next, too.
pub(super) fn leads(route: &RouteMessage) -> bool {
    !route.attributes.contains(&RouteAttribute::Table(NO_SITE_TABLE))
}

pub(super) fn default_route(family: AddressFamily, interface: u32) -> RouteMessage {
    if family == AddressFamily::Inet {
        let route =
            RouteMessageBuilder::<Ipv4Addr>::new().output_interface(interface).table_id(TABLE).protocol(PROTOCOL);
        return route.scope(RouteScope::Link).build();
    }
    RouteMessageBuilder::<Ipv6Addr>::new().output_interface(interface).table_id(TABLE).protocol(PROTOCOL).build()
}

fn pitr_route(prefix: IpNet, interface: u32) -> Result<RouteMessage, Failure> {
    let route = route_to(prefix)?.output_interface(interface).table_id(PITR_TABLE);
    Ok(if prefix.addr().is_ipv4() { route.scope(RouteScope::Link).build() } else { route.build() })
}

/// Packets to an EID-prefix of ours that the site has no route for have nowhere to go.
pub(super) fn no_site_route(prefix: IpNet) -> Result<RouteMessage, Failure> {
    Ok(route_to(prefix)?.kind(RouteType::Unreachable).table_id(NO_SITE_TABLE).build())
}

/// An address family has routes of its own kind, so that no prefix is refused here.
fn route_to(prefix: IpNet) -> Result<RouteMessageBuilder<IpAddr>, Failure> {
    let builder = RouteMessageBuilder::<IpAddr>::new().destination_prefix(prefix.addr(), prefix.prefix_len());
    let builder = builder.map_err(|error| Failure::Machine(format!("a route to {prefix}: {error}")))?;
    Ok(builder.protocol(PROTOCOL))
}

/// The one address that a route leads to, if it is such a route of IPv6.
pub(in crate::shell) fn host_of(route: &RouteMessage) -> Option<Ipv6Addr> {
    let to = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(to)) => Some(*to),
        _ => None,
    };
    let is_host_route = route.header.destination_prefix_length == 128;
    route.attributes.iter().find_map(to).filter(|_| is_host_route)
}
