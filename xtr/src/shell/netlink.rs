// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel's routing: which packets go into the TUN device, and which must not.
//!
//! Rules for each family that is used, of a routing protocol number of our own so that a later run finds what a killed
//! one left:
//!
//! | priority | packets | go to |
//! |---|---|---|
//! | 4338 | to an EID of ours that another xTR has now | table 4341 |
//! | 4339 | out of the TUN device (decapsulated, or forwarded natively) | main table, its default route apart |
//! | 4340 | the same, and to an EID of ours | nowhere, by table 4343: as they are they must not leave |
//! | 4341 | the same | main table |
//! | 4342 | to an EID of ours | main table, its default route apart |
//! | 4343 | from an EID of ours | table 4341 |
//! | 4344 | to the network of the CGEIDs | table 4341 |
//! | 4345 | all, if this node is a PITR | table 4342, where nothing is found the main table |
//! | 4346 | to the network of the CGEIDs, if the device is gone or down | nowhere: as they are they must not leave |
//!
//! Table 4341 has a default route into the TUN device, table 4342 a route for each EID-prefix of others that the node is PITR for: there
//! may be a thousand, and the kernel walks rules one by one. So may there be EID-prefixes of ours, for which table 4343 has a route. No routing daemon reads these tables unless it is told to. There is room for one node: a second in the same network namespace is
//! refused.
//!
//! Others may take that away while a node runs: a service that owns all rules is started again, the device goes down and up. [`Lost`] hears of
//! it, and [`Netlink::lead`] sets up what is lacking; then temporary CGEIDs are put on the device again by those who keep them.
//!
//! A killed node leaves its rules, and where somebody else keeps the TUN device, its route and addresses too. All of it bears our
//! number, and the next start removes it before it sets up its own, whatever device or prefixes the killed one had.

mod addresses;
mod lost;
mod routes;
mod rules;
mod settings;

use std::net::{IpAddr, Ipv6Addr};

use futures::TryStreamExt as _;
use ipnet::{IpNet, Ipv6Net};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::route::{RouteAttribute, RouteProtocol};
use rtnetlink::Handle;

pub(super) use self::lost::Lost;
pub(super) use self::routes::host_of;
use self::routes::{PITR_TABLE, default_route, leads, no_site_route};
use self::rules::rules;
pub use self::settings::reverse_path_check;
use self::settings::{allow_ipv6, loosen_source_check};
use super::Failure;

/// Our routing table.
const TABLE: u32 = 4341;
/// Our routing protocol number: not assigned to any daemon (`/etc/iproute2/rt_protos`).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(143);
/// Errors of a kernel that was built or started without an address family.
const NO_SUCH_FAMILY: [i32; 2] = [-libc::EAFNOSUPPORT, -libc::EOPNOTSUPP];

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
        for route in self.our_routes().await?.into_iter().filter(leads) {
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
        for prefix in &plan.site {
            is_new = either(is_new, self.add_route(no_site_route(*prefix)?).await);
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

    /// Leads the packets of one more EID-prefix, which may be the first of its address family. May be done twice.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub async fn add_site(&self, tun: &str, prefix: IpNet) -> Result<(), Failure> {
        let (own_cgeids, others) = (Vec::new(), Vec::new());
        let plan = Plan { tun: tun.to_owned(), site: vec![prefix], cgeid_network: None, own_cgeids, others };
        self.lead(&plan).await.map(drop)
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
}

fn family(prefix: &IpNet) -> AddressFamily {
    match prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
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

pub(super) fn refused(what: &'static str) -> impl Fn(rtnetlink::Error) -> Failure {
    move |error| {
        let denied = format!("{error:?}").contains("code: Some(-1)");
        let advice = if denied { " (CAP_NET_ADMIN is needed: run as root)" } else { "" };
        Failure::Machine(format!("the kernel refused {what}: {error}{advice}"))
    }
}
