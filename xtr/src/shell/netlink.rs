// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel's routing: which packets go into the TUN device, and which must not.
//!
//! Rules for each family that is used, of a routing protocol number of our own so that a later run finds what a killed
//! one left:
//!
//! | priority | packets | go to |
//! |---|---|---|
//! | 4340 | to an EID of ours that another xTR has now | table 4341 |
//! | 4341 | out of the TUN device (decapsulated, or forwarded natively) | main table |
//! | 4342 | to an EID of ours | main table, its default route apart |
//! | 4343 | from an EID of ours | table 4341 |
//! | 4344 | to the network of the CGEIDs | table 4341 |
//! | 4345 | all, if this node is a PITR | table 4342, where nothing is found the main table |
//! | 4346 | to the network of the CGEIDs, if the device is gone or down | nowhere: as they are they must not leave |
//!
//! Table 4341 has a default route into the TUN device, table 4342 a route for each EID-prefix of others that the node is PITR for: there
//! may be a thousand, and the kernel walks rules one by one. No routing daemon reads these tables unless it is told to. There is room for one node: a second in the same network namespace is
//! refused.
//!
//! Others may take that away while a node runs: a service that owns all rules is started again, the device goes down and up. [`Lost`] hears of
//! it, and [`Netlink::lead`] sets up what is lacking; then temporary CGEIDs are put on the device again by those who keep them.
//!
//! A killed node leaves its rules, and where somebody else keeps the TUN device, its route and addresses too. All of it bears our
//! number, and the next start removes it before it sets up its own, whatever device or prefixes the killed one had.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cgeid::shell::addresses;
use futures::TryStreamExt as _;
use futures::future::ready;
use ipnet::{IpNet, Ipv6Net};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol, CacheInfo};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};

use super::Failure;

/// Our routing table.
const TABLE: u32 = 4341;
/// That of a PITR.
const PITR_TABLE: u32 = 4342;
/// Our routing protocol number: not assigned to any daemon (`/etc/iproute2/rt_protos`).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(143);
/// The same of addresses (IFA_PROTO, Linux 5.18; an older kernel keeps none, and an address goes with its device only). Not that
/// of the temporary CGEIDs, which outlive a run and are others' to remove.
const ADDRESS_PROTOCOL: AddressProtocol = AddressProtocol::Other(144);

/// Before those out of the TUN device: what comes there from others goes back into it, with one hop less.
const PRIORITY_MOVED: u32 = 4340;
const PRIORITY_FROM_TUN: u32 = 4341;
const PRIORITY_TO_SITE: u32 = 4342;
const PRIORITY_FROM_SITE: u32 = 4343;
const PRIORITY_TO_CGEIDS: u32 = 4344;
const PRIORITY_PITR: u32 = 4345;
const PRIORITY_NO_WAY_OUT: u32 = 4346;

const PRIORITIES: [u32; 7] = [
    PRIORITY_MOVED,
    PRIORITY_FROM_TUN,
    PRIORITY_TO_SITE,
    PRIORITY_FROM_SITE,
    PRIORITY_TO_CGEIDS,
    PRIORITY_PITR,
    PRIORITY_NO_WAY_OUT,
];

/// Errors of a kernel that was built or started without an address family.
const NO_SUCH_FAMILY: [i32; 2] = [-libc::EAFNOSUPPORT, -libc::EOPNOTSUPP];

/// Addresses that are valid for ever.
const FOR_EVER: u32 = u32::MAX;

/// What the kernel is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the TUN device.
    pub tun: String,
    /// EID-prefixes behind this node, CGEIDs among them.
    pub site: Vec<IpNet>,
    /// Network of the CGEIDs.
    pub cgeid_network: Option<Ipv6Net>,
    /// CGEIDs of this node itself, which no host behind it has now.
    pub own_cgeids: Vec<Ipv6Addr>,
    /// EID-prefixes of others whose packets this node forwards as a PETR or PITR; [`Netlink::add_pitr`] leads those of a PITR.
    pub others: Vec<IpNet>,
}

impl Plan {
    /// The address families that packets of the site have.
    fn families(&self) -> impl Iterator<Item = AddressFamily> {
        let mut all = self.site.iter().chain(&self.others);
        let v6 = self.cgeid_network.is_some() || all.clone().any(|prefix| matches!(prefix, IpNet::V6(_)));
        let v4 = all.any(|prefix| matches!(prefix, IpNet::V4(_)));
        [v4.then_some(AddressFamily::Inet), v6.then_some(AddressFamily::Inet6)].into_iter().flatten()
    }
}

/// The connection to the kernel.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Netlink {
    /// Connects, in the network namespace of the thread.
    ///
    /// # Errors
    /// If the kernel has no netlink for us.
    pub fn connect() -> Result<Self, Failure> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| Failure::Machine(format!("netlink: {error}")))?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    /// Connects anew if the connection has ended, as it does after an error of its socket.
    pub(super) fn revive(&mut self) {
        if self.task.is_finished() {
            match Self::connect() {
                Ok(netlink) => *self = netlink,
                Err(error) => tracing::warn!(%error, "the kernel's routing stays as it is"),
            }
        }
    }

    /// For questions to the kernel.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Makes sure that no other node leads packets into a device of its own. The route of a killed one went with its device, or
    /// leads into one that nobody holds open.
    ///
    /// # Errors
    /// Names the device of the other node.
    pub async fn refuse_a_second_node(&self, tun: &str) -> Result<(), Failure> {
        for route in self.our_routes().await? {
            let interface = |attribute: &RouteAttribute| {
                if let RouteAttribute::Oif(index) = attribute { Some(*index) } else { None }
            };
            let Some(index) = route.attributes.iter().find_map(interface) else { continue };
            match self.held_device(index).await? {
                Some(other) if other != tun => {
                    let advice = "only one lisp-xtr can run in a network namespace";
                    let is_pitr = route.attributes.contains(&RouteAttribute::Table(PITR_TABLE));
                    let table = if is_pitr { PITR_TABLE } else { TABLE };
                    return Err(Failure::Machine(format!(
                        "routing table {table} leads into {other} already: {advice}"
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Leads packets into the TUN device, which is up; what an earlier run left behind is removed first. Of the CGEIDs the plan keeps
    /// those that no host has.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn set_up(&self, plan: &mut Plan) -> Result<(), Failure> {
        self.take_down().await?;
        loosen_source_check(&plan.tun);
        let at_hosts = self.at_hosts(&plan.tun, &plan.own_cgeids).await?;
        plan.own_cgeids.retain(|cgeid| !at_hosts.contains(cgeid));
        self.lead(plan).await.map(drop)
    }

    /// Leads packets as the plan says. Whether they were not led so before; may be done again and again. What is refused holds up nothing
    /// else: while the device is down there are no routes, and the rules keep what must not leave.
    ///
    /// # Errors
    /// Names what the kernel refused first.
    pub async fn lead(&self, plan: &Plan) -> Result<bool, Failure> {
        let mut is_new = Ok(false);
        for rule in rules(plan) {
            is_new = either(is_new, self.add_rule(rule).await);
        }
        either(is_new, self.lead_into_device(plan).await)
    }

    async fn lead_into_device(&self, plan: &Plan) -> Result<bool, Failure> {
        if plan.families().any(|family| family == AddressFamily::Inet6) {
            allow_ipv6(&plan.tun);
        }
        let index = self.index_of(&plan.tun).await?;
        let mut is_new = Ok(false);
        for cgeid in &plan.own_cgeids {
            is_new = either(is_new, self.add_own_address(index, *cgeid).await);
        }
        for route in plan.families().map(|family| default_route(family, index)) {
            is_new = either(is_new, self.add_route(route).await);
        }
        is_new
    }

    /// Those of these CGEIDs that the main table has a route of their own to, and not into the TUN device, whose own addresses are there too:
    /// then a host behind this node has each. Of all the routes, which come one by one, no others are kept.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub(super) async fn at_hosts(&self, tun: &str, cgeids: &[Ipv6Addr]) -> Result<Vec<Ipv6Addr>, Failure> {
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

    /// Puts a CGEID of this node on the TUN device, since no host has it. May be done twice.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub(super) async fn add_own_cgeid(&self, tun: &str, cgeid: Ipv6Addr) -> Result<(), Failure> {
        self.add_own_address(self.index_of(tun).await?, cgeid).await.map(drop)
    }

    /// The contrary of [`Self::add_own_cgeid`].
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub(super) async fn remove_own_cgeid(&self, tun: &str, cgeid: Ipv6Addr) -> Result<(), Failure> {
        let mut address = AddressMessage::default();
        (address.header.family, address.header.prefix_len) = (AddressFamily::Inet6, 128);
        address.header.index = self.index_of(tun).await?;
        address.attributes.push(AddressAttribute::Address(cgeid.into()));
        let removed = self.handle.address().del(address).execute().await;
        unless(-libc::EADDRNOTAVAIL, removed).map_err(refused("taking a CGEID off the TUN device"))
    }

    /// Leads the packets of one more CGEID of this node as [`Self::set_up`] leads those of the others. May be done twice.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn add_cgeid(&self, cgeid: Ipv6Addr) -> Result<(), Failure> {
        for rule in site_rules(&host(cgeid)) {
            self.add_rule(rule).await?;
        }
        Ok(())
    }

    /// Leads the packets of one more EID-prefix, which may be the first of its address family. May be done twice.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn add_site(&self, tun: &str, prefix: IpNet) -> Result<(), Failure> {
        let (own_cgeids, others) = (Vec::new(), Vec::new());
        let plan = Plan { tun: tun.to_owned(), site: vec![prefix], cgeid_network: None, own_cgeids, others };
        self.lead(&plan).await.map(drop)
    }

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
        Ok(())
    }

    /// Removes our rules, and our routes and addresses should the device outlive us. What is refused holds up nothing else.
    ///
    /// # Errors
    /// Names what the kernel refused first.
    pub async fn take_down(&self) -> Result<(), Failure> {
        let rules = self.remove_rules().await;
        let routes = self.remove_routes().await;
        rules.and(routes).and(self.remove_addresses().await)
    }

    async fn remove_rules(&self) -> Result<(), Failure> {
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

    async fn remove_routes(&self) -> Result<(), Failure> {
        let mut result = Ok(());
        for route in self.our_routes().await? {
            // With its device it goes by itself.
            let removed = unless(-libc::ESRCH, self.handle.route().del(route).execute().await);
            result = result.and(removed.map_err(refused("removing a route")));
        }
        result
    }

    async fn remove_addresses(&self) -> Result<(), Failure> {
        let addresses = self.handle.address().get().execute().try_collect();
        let addresses: Vec<AddressMessage> = or_none(addresses.await).map_err(refused("reading the addresses"))?;
        let mut result = Ok(());
        for address in addresses.into_iter().filter(is_our_address) {
            let removed = unless(-libc::EADDRNOTAVAIL, self.handle.address().del(address).execute().await);
            result = result.and(removed.map_err(refused("removing an address")));
        }
        result
    }

    /// The name of a device, if somebody holds it open: a TUN device has a carrier then, and only then.
    async fn held_device(&self, index: u32) -> Result<Option<String>, Failure> {
        let mut links = self.handle.link().get().match_index(index).execute();
        let link = links.try_next().await.map_err(refused("naming an interface"))?;
        let link = link.filter(|link| link.header.flags.contains(LinkFlags::LowerUp));
        let name =
            |attribute: LinkAttribute| if let LinkAttribute::IfName(name) = attribute { Some(name) } else { None };
        Ok(link.and_then(|link| link.attributes.into_iter().find_map(name)))
    }

    async fn index_of(&self, name: &str) -> Result<u32, Failure> {
        let mut links = self.handle.link().get().match_name(name).execute();
        let link = links.try_next().await.map_err(refused("finding the TUN device"))?;
        link.map(|link| link.header.index).ok_or_else(|| Failure::Machine(format!("no interface {name}")))
    }

    /// Whether it was not there.
    async fn add_own_address(&self, index: u32, address: Ipv6Addr) -> Result<bool, Failure> {
        let mut request = self.handle.address().add(index, address.into(), 128);
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        // Deprecated at once: answers come from it, but no connection is begun with it.
        let mut info = CacheInfo::default();
        (info.ifa_preferred, info.ifa_valid) = (0, FOR_EVER);
        message.attributes.push(AddressAttribute::CacheInfo(info));
        message.attributes.push(AddressAttribute::Protocol(ADDRESS_PROTOCOL));
        is_new(request.execute().await).map_err(refused("giving the TUN device a CGEID"))
    }

    async fn our_routes(&self) -> Result<Vec<RouteMessage>, Failure> {
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
    async fn add_route(&self, route: RouteMessage) -> Result<bool, Failure> {
        let what = "a route into the TUN device";
        let is_new = is_new(self.handle.route().add(route.clone()).execute().await).map_err(refused(what))?;
        if !is_new {
            self.handle.route().add(route).replace().execute().await.map_err(refused(what))?;
        }
        Ok(is_new)
    }

    /// Whether it was not there.
    async fn add_rule(&self, rule: RuleMessage) -> Result<bool, Failure> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule;
        // With `replace` the kernel would have the same rule twice.
        is_new(request.execute().await).map_err(refused("a routing rule"))
    }
}

/// Hears from messages of the kernel that somebody has taken away what [`Netlink::lead`] has set up, or a temporary CGEID.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    /// Name of the TUN device.
    pub(super) tun: String,
}

impl Lost {
    /// Whether this may be so. What we take away ourselves counts too: nothing is lacking then.
    pub(super) fn is_told_by(&self, message: &RouteNetlinkMessage) -> bool {
        match message {
            RouteNetlinkMessage::DelRule(rule) => is_ours(rule),
            RouteNetlinkMessage::DelRoute(route) => is_our_route(route),
            RouteNetlinkMessage::DelAddress(address) => is_our_address(address) || is_temporary(address),
            // Of a device that goes down the kernel drops IPv4 routes without a word; when it is up again, it says that.
            RouteNetlinkMessage::NewLink(link) => {
                link.header.flags.contains(LinkFlags::Up)
                    && link.attributes.contains(&LinkAttribute::IfName(self.tun.clone()))
            }
            _ => false,
        }
    }
}

fn rules(plan: &Plan) -> Vec<RuleMessage> {
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    let mut rules = Vec::new();
    for family in plan.families() {
        let from_tun = [RuleAttribute::Iifname(plan.tun.clone())];
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
    // A default route is no way into the site.
    to.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    let mut from = rule(family(prefix), PRIORITY_FROM_SITE, TABLE, &[RuleAttribute::Source(prefix.addr())]);
    from.header.src_len = prefix.prefix_len();
    [to, from]
}

fn moved_rule(prefix: &IpNet) -> RuleMessage {
    let mut to = rule(family(prefix), PRIORITY_MOVED, TABLE, &[RuleAttribute::Destination(prefix.addr())]);
    to.header.dst_len = prefix.prefix_len();
    to
}

fn rule(family: AddressFamily, priority: u32, table: u32, selector: &[RuleAttribute]) -> RuleMessage {
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

fn is_ours(rule: &RuleMessage) -> bool {
    let is_priority = |attribute: &RuleAttribute| matches!(attribute, RuleAttribute::Priority(priority) if PRIORITIES.contains(priority));
    rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL)) && rule.attributes.iter().any(is_priority)
}

fn is_our_route(route: &RouteMessage) -> bool {
    let is_in = |table| route.attributes.contains(&RouteAttribute::Table(table));
    route.header.protocol == PROTOCOL && (is_in(TABLE) || is_in(PITR_TABLE))
}

fn is_our_address(address: &AddressMessage) -> bool {
    address.attributes.contains(&AddressAttribute::Protocol(ADDRESS_PROTOCOL))
}

/// Whether it is a temporary CGEID.
fn is_temporary(address: &AddressMessage) -> bool {
    address.attributes.contains(&AddressAttribute::Protocol(AddressProtocol::Other(addresses::PROTOCOL)))
}

fn family(prefix: &IpNet) -> AddressFamily {
    match prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}

fn default_route(family: AddressFamily, interface: u32) -> RouteMessage {
    if family == AddressFamily::Inet {
        let route =
            RouteMessageBuilder::<Ipv4Addr>::new().output_interface(interface).table_id(TABLE).protocol(PROTOCOL);
        return route.scope(RouteScope::Link).build();
    }
    RouteMessageBuilder::<Ipv6Addr>::new().output_interface(interface).table_id(TABLE).protocol(PROTOCOL).build()
}

/// An address family has routes of its own kind, so that no prefix is refused here.
fn pitr_route(prefix: IpNet, interface: u32) -> Result<RouteMessage, Failure> {
    let builder = RouteMessageBuilder::<IpAddr>::new().destination_prefix(prefix.addr(), prefix.prefix_len());
    let builder = builder.map_err(|error| Failure::Machine(format!("a route to {prefix}: {error}")))?;
    let route = builder.output_interface(interface).table_id(PITR_TABLE).protocol(PROTOCOL);
    Ok(if prefix.addr().is_ipv4() { route.scope(RouteScope::Link).build() } else { route.build() })
}

/// The one address that a route leads to, if it is such a route of IPv6.
pub(super) fn host_of(route: &RouteMessage) -> Option<Ipv6Addr> {
    let to = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(to)) => Some(*to),
        _ => None,
    };
    let is_host_route = route.header.destination_prefix_length == 128;
    route.attributes.iter().find_map(to).filter(|_| is_host_route)
}

pub(super) fn host(address: Ipv6Addr) -> IpNet {
    IpNet::from(IpAddr::V6(address))
}

/// Whether anything was new, or what was refused first.
fn either(some: Result<bool, Failure>, more: Result<bool, Failure>) -> Result<bool, Failure> {
    Ok(some? | more?)
}

/// What is there already is no error, and not new.
fn is_new(added: Result<(), rtnetlink::Error>) -> Result<bool, rtnetlink::Error> {
    match added {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::EEXIST => Ok(false),
        added => added.map(|()| true),
    }
}

/// An error that says that it is so already is none.
fn unless(so_already: i32, result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == so_already => Ok(()),
        result => result,
    }
}

/// A kernel without an address family has no rules and routes of it.
pub(super) fn or_none<T>(listed: Result<Vec<T>, rtnetlink::Error>) -> Result<Vec<T>, rtnetlink::Error> {
    match listed {
        Err(rtnetlink::Error::NetlinkError(error)) if NO_SUCH_FAMILY.contains(&error.raw_code()) => Ok(Vec::new()),
        listed => listed,
    }
}

/// A setting of our own device, and of no other: packets out of it may have sources to which the way back is another one. The kernel
/// takes the greater of this one and that of all devices. Where the latter checks strictly ours makes it loose, which on a device
/// without an IPv4 address still drops what we give back to be forwarded natively; elsewhere there is no check.
/// Where `/proc/sys` is read-only the default does for most networks.
fn loosen_source_check(tun: &str) {
    let all = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter");
    let value = if all.is_ok_and(|all| all.trim() == "0") { "0" } else { "2" };
    let path = format!("/proc/sys/net/ipv4/conf/{tun}/rp_filter");
    if let Err(error) = std::fs::write(&path, value) {
        tracing::debug!(path, %error, "setting left as it is");
    }
}

/// Where IPv6 is switched off for new devices, ours has to carry it all the same: it leads to IPv6 EIDs.
fn allow_ipv6(tun: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{tun}/disable_ipv6");
    let is_off = std::fs::read_to_string(&path).is_ok_and(|value| value.trim() != "0");
    if is_off && let Err(error) = std::fs::write(&path, "0") {
        tracing::warn!(path, %error, "IPv6 is switched off on the TUN device");
    }
}

/// The setting that makes the kernel drop IPv4 packets out of our device to which the way back is another one, if it does: it counts for all
/// devices, and is not ours to change.
pub fn reverse_path_check() -> Option<&'static str> {
    let all = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter");
    all.is_ok_and(|value| value.trim() != "0").then_some("net.ipv4.conf.all.rp_filter")
}

pub(super) fn refused(what: &'static str) -> impl Fn(rtnetlink::Error) -> Failure {
    move |error| {
        let denied = format!("{error:?}").contains("code: Some(-1)");
        let advice = if denied { " (CAP_NET_ADMIN is needed: run as root)" } else { "" };
        Failure::Machine(format!("the kernel refused {what}: {error}{advice}"))
    }
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
        assert_eq!(rules.len(), 2 + 2 * 2 + 2);
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
