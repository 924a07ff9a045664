// SPDX-License-Identifier: GPL-2.0-or-later
//! Locators that follow the interfaces of the machine: an address comes or goes, a link goes down or up.
//!
//! The kernel says over netlink that something has changed; what is so then is read anew, a moment later, since changes come in
//! flocks. Which locators follow from it is a function of what was read, and of what has come and gone lately.

mod damping;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::future::ready;
use futures::{StreamExt as _, TryStreamExt as _};
use ipnet::{IpNet, Ipv6Net};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{Handle, IpVersion, MulticastGroup, RouteMessageBuilder, sys};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Failure;
use super::netlink::{Lost, Netlink, host_of, or_none, refused};
use crate::config::{Config, InterfaceLocator};
use crate::database::OwnLocator;
use crate::map_cache::{is_unicast, smallest_path_mtu};

pub use damping::Damper;

/// From the first change to the look at what there is then.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Before the next try when the kernel's messages end.
const PAUSE: Duration = Duration::from_secs(1);
/// Before the next look when a socket cannot be opened yet: each look says so in the log.
const RETRY: Duration = Duration::from_secs(5);

/// What the kernel is asked to tell.
const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// What the operator said about locators. Nothing = the addresses of the default routes' interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Addresses.
    pub given: Vec<OwnLocator>,
    /// Interfaces whose addresses are locators.
    pub interfaces: Vec<InterfaceLocator>,
    /// Networks whose packets go through the tunnel: no address in them is found to be a locator.
    pub tunnelled: Vec<IpNet>,
    /// Whom this node sends to from them, each with its key.
    pub spoken_to: Vec<(&'static str, IpAddr)>,
    /// CGEIDs of this node, each of which is a host's behind it where a route leads to it.
    pub cgeids: Vec<Ipv6Addr>,
    /// The TUN device, on which they are where none does.
    pub tun: String,
}

/// The locators of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Locators {
    /// All of them.
    pub all: Vec<OwnLocator>,
    /// The addresses of those that cannot be reached now.
    pub unreachable: Vec<IpAddr>,
    /// The MTUs of the interfaces that have their addresses, octets; those that say nothing of the links that packets leave by have none here.
    pub mtus: BTreeMap<IpAddr, u16>,
}

/// Interfaces, addresses and default routes of the machine, as they were read.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    interfaces: BTreeMap<u32, Interface>,
    addresses: Vec<Address>,
    defaults: Vec<DefaultRoute>,
    /// CGEIDs that hosts behind this node have.
    at_hosts: Vec<Ipv6Addr>,
}

#[derive(Debug, Clone)]
struct Interface {
    name: String,
    is_running: bool,
    /// None = it says nothing of the links that packets leave by, as that of the loopback interface.
    mtu: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Address {
    address: IpAddr,
    interface: u32,
    /// Of global scope, and not temporary.
    is_lasting: bool,
    /// To be used only where there is no other (RFC 4862, section 5.5.4).
    is_deprecated: bool,
    is_duplicate: bool,
    /// Nobody knows yet whether it is a duplicate (RFC 4862, section 5.4).
    is_tentative: bool,
}

#[derive(Debug, Clone, Copy)]
struct DefaultRoute {
    is_v4: bool,
    metric: u32,
    interface: u32,
}

impl Wanted {
    /// What `config` says.
    pub fn of(config: &Config) -> Self {
        let site = config.eid_prefixes.iter().map(|prefix| prefix.net);
        let of_others = config.interworking.pitr_for.iter().map(|prefix| prefix.net);
        let tunnelled = site.chain(of_others).chain([IpNet::V6(config.cgeid_network)]).collect();
        let (given, interfaces) = (config.rlocs.clone(), config.rloc_interfaces.clone());
        let (spoken_to, tun) = (config.spoken_to(), config.tun.clone());
        Self { given, interfaces, tunnelled, spoken_to, cgeids: Vec::new(), tun }
    }

    /// With these CGEIDs of this node, which the configuration does not say.
    #[must_use]
    pub fn having(self, cgeids: Vec<Ipv6Addr>) -> Self {
        Self { cgeids, ..self }
    }

    /// Who cannot be sent to from the locators that can be reached now, a sentence for each family of addresses.
    pub fn out_of_reach(&self, reachable: &[IpAddr]) -> Vec<String> {
        let families = [(true, "IPv4"), (false, "IPv6")].into_iter();
        let lacking = families.filter(|(is_v4, _)| !reachable.iter().any(|rloc| rloc.is_ipv4() == *is_v4));
        let sentence = |(is_v4, family): (bool, &str)| {
            let mut named: Vec<(&str, IpAddr)> = Vec::new();
            for (key, address) in self.spoken_to.iter().filter(|(_, address)| address.is_ipv4() == is_v4) {
                // Who is no Map-Resolver by a word of the operator's is named as what he is.
                if !named.iter().any(|(_, other)| other == address) {
                    named.push((key, *address));
                }
            }
            let named: Vec<_> = named.iter().map(|(key, address)| format!("--{key} {address}")).collect();
            let all = named.join(", ");
            (!named.is_empty()).then(|| {
                format!("no {family} address is a locator of this node now; until one is, nothing is sent to {all}.")
            })
        };
        lacking.filter_map(sentence).collect()
    }

    /// Whether the default routes say which addresses are locators.
    pub(super) fn follows_the_routes(&self) -> bool {
        self.given.is_empty() && self.interfaces.is_empty()
    }
}

impl Locators {
    /// The addresses at which this node can be reached.
    pub fn reachable(&self) -> Vec<IpAddr> {
        let addresses = self.all.iter().map(|locator| locator.address);
        addresses.filter(|address| !self.unreachable.contains(address)).collect()
    }
}

impl Machine {
    /// Asks the kernel; for its routes only if they matter.
    ///
    /// # Errors
    /// If it does not say.
    pub async fn read(netlink: &Netlink, wanted: &Wanted) -> Result<Self, Failure> {
        let handle = netlink.handle();
        let addresses = handle.address().get().execute().try_collect();
        let addresses: Vec<_> = addresses.await.map_err(refused("reading the addresses"))?;
        let mut defaults = Vec::new();
        for version in [IpVersion::V4, IpVersion::V6].into_iter().filter(|_| wanted.follows_the_routes()) {
            defaults.extend(read_default_routes(handle, version).await?);
        }
        let at_hosts = netlink.at_hosts(&wanted.tun, &wanted.cgeids).await?;
        // A connection that ends cuts answers short: the last one then fails, or lacks even the loopback interface.
        let links: Vec<_> = handle.link().get().execute().try_collect().await.map_err(refused("reading the links"))?;
        if links.is_empty() {
            return Err(Failure::Machine("netlink: the connection has ended".into()));
        }
        // The kernel's own order, where metrics are equal.
        defaults.sort_by_key(|route| route.metric);
        Ok(Self {
            interfaces: links.iter().map(|link| (link.header.index, interface(link))).collect(),
            addresses: addresses.iter().filter_map(address).collect(),
            defaults,
            at_hosts,
        })
    }

    /// Those of the CGEIDs that hosts behind this node have.
    pub fn at_hosts(&self) -> &[Ipv6Addr] {
        &self.at_hosts
    }

    /// Takes links for running that may come up in a moment, and addresses for settled that are still looked at for duplicates: at
    /// the start, when there may be no others.
    #[must_use]
    pub fn hopeful(mut self) -> Self {
        self.interfaces.values_mut().for_each(|interface| interface.is_running = true);
        self.addresses.iter_mut().for_each(|address| address.is_tentative = false);
        self
    }

    /// The addresses that are looked at for duplicates (RFC 4862, section 5.4), and may be of use in a moment.
    pub fn settling(&self) -> Vec<IpAddr> {
        let addresses = self.addresses.iter().filter(|own| own.is_tentative && !own.is_duplicate);
        addresses.map(|own| own.address).collect()
    }

    /// As if these addresses were not there.
    fn set_aside(&mut self, addresses: &[IpAddr]) {
        self.addresses.retain(|own| !addresses.contains(&own.address));
    }

    /// The locators of this node, which had those of `before`. An address that serves is not given up for another one of its
    /// interface; when nothing is left, the last ones are, out of reach.
    pub fn locators(&self, wanted: &Wanted, before: &Locators) -> Locators {
        let found = self.addresses_of(wanted, before);
        let mtus = found.all.iter().filter_map(|locator| Some((locator.address, self.mtu(locator.address)?)));
        Locators { mtus: mtus.collect(), ..found }
    }

    /// Which interface a packet leaves by the kernel's routing knows; as a rule it is one that has its source.
    fn mtu(&self, address: IpAddr) -> Option<u16> {
        let of_address = self.addresses.iter().filter(|own| own.address == address);
        let mtus = of_address.filter_map(|own| self.interfaces.get(&own.interface)?.mtu);
        mtus.min().map(|mtu| mtu.max(smallest_path_mtu(address)))
    }

    fn addresses_of(&self, wanted: &Wanted, before: &Locators) -> Locators {
        let mut found = Locators { all: wanted.given.clone(), ..Locators::default() };
        let is_gone = |locator: &&OwnLocator| !self.is_reachable(locator.address);
        found.unreachable = wanted.given.iter().filter(is_gone).map(|locator| locator.address).collect();
        for interface in &wanted.interfaces {
            let index = self.interfaces.iter().find(|(_, known)| known.name == interface.name).map(|(index, _)| *index);
            let addresses = [true, false].map(|is_v4| self.best_address(&[index?], is_v4, wanted, before));
            found.add(addresses.into_iter().flatten().map(|address| interface.preference.at(address)));
        }
        if wanted.follows_the_routes() {
            let addresses = [true, false].map(|is_v4| {
                let ways = self.defaults.iter().filter(|route| route.is_v4 == is_v4);
                let ways: Vec<u32> = ways.map(|route| route.interface).collect();
                self.best_address(&ways, is_v4, wanted, before)
            });
            found.add(addresses.into_iter().flatten().map(|address| OwnLocator::new(address, 1, 100)));
            // Who sets the routes is being started anew, and will set the same ones.
            if !self.defaults.iter().any(|route| self.is_running(route.interface)) {
                found.add(before.all.iter().filter(|locator| self.is_reachable(locator.address)).copied());
            }
        }
        if found.all.is_empty() {
            let unreachable = before.all.iter().map(|locator| locator.address).collect();
            return Locators { all: before.all.clone(), unreachable, ..Locators::default() };
        }
        found
    }

    /// What of that this machine does not have now, a sentence each.
    pub fn lacks(&self, wanted: &Wanted) -> Vec<String> {
        let has_address = |locator: &&OwnLocator| self.addresses.iter().any(|own| own.address == locator.address);
        let addresses = wanted.given.iter().filter(|locator| !has_address(locator));
        let addresses = addresses.map(|locator| {
            format!("{} is no address of this machine now; it is no locator until then.", locator.address)
        });
        addresses
            .chain(wanted.interfaces.iter().filter_map(|interface| self.lack_of(&interface.name, wanted)))
            .collect()
    }

    /// Why an interface has no locator, if it has none.
    fn lack_of(&self, name: &str, wanted: &Wanted) -> Option<String> {
        let Some((index, _)) = self.interfaces.iter().find(|(_, own)| own.name == name) else {
            return Some(no_interface(name));
        };
        if !self.is_running(*index) {
            return Some(format!("the interface {name} is down; it has no locator until it is up."));
        }
        let before = Locators::default();
        let has_one = [true, false].iter().any(|is_v4| self.best_address(&[*index], *is_v4, wanted, &before).is_some());
        let problem =
            || format!("the interface {name} has no lasting global address now; it has no locator until then.");
        (!has_one).then(problem)
    }

    fn is_running(&self, interface: u32) -> bool {
        self.interfaces.get(&interface).is_some_and(|interface| interface.is_running)
    }

    /// Whether packets to an address get here.
    pub(super) fn is_reachable(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address && self.is_usable(own))
    }

    fn is_usable(&self, address: &Address) -> bool {
        !address.is_duplicate && !address.is_tentative && self.is_running(address.interface)
    }

    /// Of the first of these interfaces that has one. One that is deprecated gives way to those of all; a unique local one (RFC 4193), which
    /// other networks may not reach, to a global one of the same interface; and one that serves to none of its kind.
    fn best_address(&self, ways: &[u32], is_v4: bool, wanted: &Wanted, before: &Locators) -> Option<IpAddr> {
        let may_be_one = |address: IpAddr| {
            address.is_ipv4() == is_v4
                && is_unicast(address)
                && !wanted.tunnelled.iter().any(|network| network.contains(&address))
        };
        let candidates = self.addresses.iter().filter_map(|own| {
            let way = ways.iter().position(|way| *way == own.interface)?;
            (own.is_lasting && self.is_usable(own) && may_be_one(own.address)).then_some((way, own))
        });
        let serves = |address: IpAddr| before.all.iter().any(|locator| locator.address == address);
        let rank = |(way, own): &(usize, &Address)| {
            (own.is_deprecated, *way, is_unique_local(own.address), !serves(own.address))
        };
        candidates.min_by_key(rank).map(|(_, own)| own.address)
    }
}

fn is_unique_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unique_local())
}

/// What is said of an interface that is to have locators, and is not there.
pub fn no_interface(name: &str) -> String {
    format!("this machine has no interface {name} now; it has no locator until then.")
}

impl Locators {
    /// What is said first holds.
    fn add(&mut self, locators: impl Iterator<Item = OwnLocator>) {
        for locator in locators {
            if !self.all.iter().any(|known| known.address == locator.address) {
                self.all.push(locator);
            }
        }
    }
}

/// Hears from the kernel that something has changed.
#[derive(Debug)]
pub struct Watch {
    task: JoinHandle<()>,
    news: Arc<Notify>,
    /// What this node has told the kernel about packets may not be so any more.
    has_lost: Arc<AtomicBool>,
    /// News are to be looked at then.
    due: Option<Instant>,
    /// Without any news the next look is then.
    retry: Option<Instant>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Listens, in the network namespace of the thread, also for the loss of what leads packets into this TUN device, and for routes to
    /// single CGEIDs.
    ///
    /// # Errors
    /// If the kernel has no netlink for us.
    pub fn start(tun: &str, cgeids: Option<Ipv6Net>) -> Result<Self, Failure> {
        let listener = Listener::open().map_err(|error| Failure::Machine(format!("netlink: {error}")))?;
        let (news, has_lost) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let lost = Lost { tun: tun.to_owned() };
        let task = tokio::spawn(listen(listener, news.clone(), (lost, has_lost.clone()), cgeids));
        Ok(Self { task, news, has_lost, due: None, retry: None })
    }

    /// Whether what leads packets may have been lost since it was asked last.
    pub fn take_lost(&self) -> bool {
        self.has_lost.swap(false, Ordering::Relaxed)
    }

    /// It is lost still: asks for another look in a while.
    pub fn still_lost(&mut self) {
        self.has_lost.store(true, Ordering::Relaxed);
        self.again();
    }

    /// Waits for a change, and for those that come with it, or for the time of another look. May be cancelled.
    pub async fn changed(&mut self) {
        let due = match self.due {
            Some(due) => due,
            None => {
                tokio::select! {
                    () = self.news.notified() => *self.due.insert(Instant::now() + DEBOUNCE),
                    () = sleep_until(self.retry) => Instant::now(),
                }
            }
        };
        tokio::time::sleep_until(due).await;
        (self.due, self.retry) = (None, None);
    }

    /// Asks for another look in a while, if there are no news before.
    pub fn again(&mut self) {
        self.again_in(RETRY);
    }

    /// The same in this time.
    pub fn again_in(&mut self, time: Duration) {
        let then = Instant::now() + time;
        self.retry = Some(self.retry.map_or(then, |retry| retry.min(then)));
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A connection that only listens.
struct Listener {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, sys::SocketAddr)>,
    connection: JoinHandle<()>,
    /// Without one the connection would end.
    _handle: Handle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Listener {
    fn open() -> std::io::Result<Self> {
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
        Ok(Self { messages, connection: tokio::spawn(connection), _handle: handle })
    }
}

/// Takes the messages as they come, so that none waits in memory, and says whether any matters.
async fn listen(
    mut listener: Listener,
    news: Arc<Notify>,
    (lost, has_lost): (Lost, Arc<AtomicBool>),
    cgeids: Option<Ipv6Net>,
) {
    loop {
        while let Some((message, _)) = listener.messages.next().await {
            let is_lost = tells_of_loss(&message.payload, &lost);
            has_lost.fetch_or(is_lost, Ordering::Relaxed);
            if is_lost || matters(&message.payload, cgeids) {
                news.notify_one();
            }
        }
        // The connection has ended: what was said meanwhile is lost, and may have mattered.
        has_lost.store(true, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
        match Listener::open() {
            Ok(next) => listener = next,
            Err(error) => tracing::warn!(%error, "netlink: changes of addresses are not heard of"),
        }
        news.notify_one();
    }
}

/// Whether rules, routes or addresses of this node may be gone. Where the kernel had more to say than the socket holds, nobody knows.
fn tells_of_loss(payload: &NetlinkPayload<RouteNetlinkMessage>, lost: &Lost) -> bool {
    match payload {
        NetlinkPayload::InnerMessage(message) => lost.is_told_by(message),
        NetlinkPayload::Overrun(_) => true,
        _ => false,
    }
}

/// Of the routes only default ones matter, and those to single CGEIDs: a router may have, and change, a million others.
fn matters(payload: &NetlinkPayload<RouteNetlinkMessage>, cgeids: Option<Ipv6Net>) -> bool {
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)) => {
            let is_default = || route.header.destination_prefix_length == 0;
            let is_of_cgeid = || host_of(route).is_some_and(|host| cgeids.is_some_and(|net| net.contains(&host)));
            route.header.table == RouteHeader::RT_TABLE_MAIN && (is_default() || is_of_cgeid())
        }
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewLink(_)
            | RouteNetlinkMessage::DelLink(_)
            | RouteNetlinkMessage::NewAddress(_)
            | RouteNetlinkMessage::DelAddress(_),
        )
        | NetlinkPayload::Overrun(_) => true,
        _ => false,
    }
}

fn interface(link: &LinkMessage) -> Interface {
    let name = |attribute: &LinkAttribute| {
        if let LinkAttribute::IfName(name) = attribute { Some(name.clone()) } else { None }
    };
    let mtu = |attribute: &LinkAttribute| if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None };
    let mtu = link.attributes.iter().find_map(mtu).filter(|_| !link.header.flags.contains(LinkFlags::Loopback));
    Interface {
        mtu: mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX)),
        name: link.attributes.iter().find_map(name).unwrap_or_default(),
        // Switched on by the operator, and able to carry packets.
        is_running: link.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
    }
}

fn address(message: &AddressMessage) -> Option<Address> {
    let local = |attribute: &AddressAttribute| {
        if let AddressAttribute::Local(address) = attribute { Some(*address) } else { None }
    };
    // On a point-to-point link this is the peer's, if there is a local one too.
    let other = |attribute: &AddressAttribute| {
        if let AddressAttribute::Address(address) = attribute { Some(*address) } else { None }
    };
    let found = message.attributes.iter().find_map(local).or_else(|| message.attributes.iter().find_map(other))?;
    let flags = message.header.flags;
    // Of IPv6 addresses the flag of secondary ones means temporary ones; of IPv4 ones, that it is not the interface's first.
    let is_temporary = flags.contains(AddressHeaderFlags::Secondary);
    Some(Address {
        address: found,
        interface: message.header.index,
        is_lasting: message.header.scope == AddressScope::Universe && !is_temporary,
        is_deprecated: flags.contains(AddressHeaderFlags::Deprecated),
        is_duplicate: flags.contains(AddressHeaderFlags::Dadfailed),
        is_tentative: flags.contains(AddressHeaderFlags::Tentative) && !flags.contains(AddressHeaderFlags::Optimistic),
    })
}

/// Of all the routes, which come one by one, only the default ones of the main table are kept.
async fn read_default_routes(handle: &Handle, version: IpVersion) -> Result<Vec<DefaultRoute>, Failure> {
    let is_v4 = version == IpVersion::V4;
    let question = match version {
        IpVersion::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpVersion::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    let routes = handle.route().get(question).execute();
    let defaults = routes.try_fold(Vec::new(), |mut defaults, route| {
        defaults.extend(default_routes(&route, is_v4));
        ready(Ok(defaults))
    });
    or_none(defaults.await).map_err(refused("reading the routes"))
}

/// One for each interface that the route leads to: it has one, or next hops each with theirs.
fn default_routes(route: &RouteMessage, is_v4: bool) -> Vec<DefaultRoute> {
    let is_default = route.header.destination_prefix_length == 0 && route.header.table == RouteHeader::RT_TABLE_MAIN;
    if !is_default {
        return Vec::new();
    }
    let metric = |attribute: &RouteAttribute| {
        if let RouteAttribute::Priority(metric) = attribute { Some(*metric) } else { None }
    };
    let metric = route.attributes.iter().find_map(metric).unwrap_or(0);
    let interfaces = route.attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    });
    interfaces.map(|interface| DefaultRoute { is_v4, metric, interface }).collect()
}

#[cfg(test)]
mod tests;
