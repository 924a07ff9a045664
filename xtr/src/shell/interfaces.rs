// SPDX-License-Identifier: GPL-2.0-or-later
//! Locators that follow the interfaces of the machine: an address comes or goes, a link goes down or up.
//!
//! The kernel says over netlink that something has changed; what is so then is read anew, a moment later, since changes come in
//! flocks. Which locators follow from it is a function of what was read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt as _, TryStreamExt as _};
use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{Handle, IpVersion, MulticastGroup, sys};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Failure;
use super::netlink::{Netlink, refused};
use crate::config::{Config, InterfaceLocator};
use crate::database::OwnLocator;
use crate::map_cache::is_unicast;

/// From the first change to the look at what there is then.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Before the next try when the kernel's messages end.
const PAUSE: Duration = Duration::from_secs(1);
/// Before the next look when a socket cannot be opened yet: each look says so in the log.
const RETRY: Duration = Duration::from_secs(5);

/// What the kernel is asked to tell.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// What the operator said about locators. Nothing = the addresses of the default routes' interfaces.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Addresses.
    pub given: Vec<OwnLocator>,
    /// Interfaces whose addresses are locators.
    pub interfaces: Vec<InterfaceLocator>,
    /// Networks whose packets go through the tunnel: no address in them is found to be a locator.
    pub tunnelled: Vec<IpNet>,
}

/// The locators of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Locators {
    /// All of them.
    pub all: Vec<OwnLocator>,
    /// The addresses of those that cannot be reached now.
    pub unreachable: Vec<IpAddr>,
}

/// Interfaces, addresses and default routes of the machine, as they were read.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    interfaces: BTreeMap<u32, Interface>,
    addresses: Vec<Address>,
    defaults: Vec<DefaultRoute>,
}

#[derive(Debug, Clone)]
struct Interface {
    name: String,
    is_running: bool,
}

#[derive(Debug, Clone, Copy)]
struct Address {
    address: IpAddr,
    interface: u32,
    /// Global, and not soon another one: neither deprecated nor temporary.
    is_lasting: bool,
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
        let tunnelled = site.chain([IpNet::V6(config.cgeid_network)]).collect();
        Self { given: config.rlocs.clone(), interfaces: config.rloc_interfaces.clone(), tunnelled }
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
    /// Asks the kernel.
    ///
    /// # Errors
    /// If it does not say.
    pub async fn read(netlink: &Netlink) -> Result<Self, Failure> {
        let handle = netlink.handle();
        let links: Vec<_> = handle.link().get().execute().try_collect().await.map_err(refused("reading the links"))?;
        let addresses = handle.address().get().execute().try_collect();
        let addresses: Vec<_> = addresses.await.map_err(refused("reading the addresses"))?;
        let mut defaults = Vec::new();
        for (version, is_v4) in [(IpVersion::V4, true), (IpVersion::V6, false)] {
            let routes = netlink.main_routes(version).await?;
            defaults.extend(routes.iter().filter_map(|route| default_route(route, is_v4)));
        }
        // The kernel's own order, where metrics are equal.
        defaults.sort_by_key(|route| route.metric);
        Ok(Self {
            interfaces: links.iter().map(|link| (link.header.index, interface(link))).collect(),
            addresses: addresses.iter().filter_map(address).collect(),
            defaults,
        })
    }

    /// Takes links for running that may come up in a moment, and addresses for settled that are still looked at for duplicates: at
    /// the start, when there may be no others.
    #[must_use]
    pub fn hopeful(mut self) -> Self {
        self.interfaces.values_mut().for_each(|interface| interface.is_running = true);
        self.addresses.iter_mut().for_each(|address| address.is_tentative = false);
        self
    }

    /// The locators of this node, which had those of `before`. An address that serves is not given up for another one of its
    /// interface; when nothing is left, the last ones are, out of reach.
    pub fn locators(&self, wanted: &Wanted, before: &Locators) -> Locators {
        let mut found = Locators { all: wanted.given.clone(), unreachable: Vec::new() };
        let is_gone = |locator: &&OwnLocator| !self.is_reachable(locator.address);
        found.unreachable = wanted.given.iter().filter(is_gone).map(|locator| locator.address).collect();
        for interface in &wanted.interfaces {
            let index = self.interfaces.iter().find(|(_, known)| known.name == interface.name).map(|(index, _)| *index);
            let addresses = [true, false].map(|is_v4| self.best_address(index?, is_v4, wanted, before));
            let locator = |address| OwnLocator { address, priority: interface.priority, weight: interface.weight };
            found.add(addresses.into_iter().flatten().map(locator));
        }
        if wanted.given.is_empty() && wanted.interfaces.is_empty() {
            let addresses = [true, false].map(|is_v4| {
                let ways = self.defaults.iter().filter(|route| route.is_v4 == is_v4);
                ways.filter(|route| self.is_running(route.interface))
                    .find_map(|route| self.best_address(route.interface, is_v4, wanted, before))
            });
            found.add(addresses.into_iter().flatten().map(|address| OwnLocator { address, priority: 1, weight: 100 }));
        }
        if found.all.is_empty() {
            let unreachable = before.all.iter().map(|locator| locator.address).collect();
            return Locators { all: before.all.clone(), unreachable };
        }
        found
    }

    fn is_running(&self, interface: u32) -> bool {
        self.interfaces.get(&interface).is_some_and(|interface| interface.is_running)
    }

    fn is_reachable(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address && self.is_usable(own))
    }

    fn is_usable(&self, address: &Address) -> bool {
        !address.is_duplicate && !address.is_tentative && self.is_running(address.interface)
    }

    fn best_address(&self, interface: u32, is_v4: bool, wanted: &Wanted, before: &Locators) -> Option<IpAddr> {
        let may_be_one = |address: IpAddr| {
            address.is_ipv4() == is_v4
                && is_unicast(address)
                && !wanted.tunnelled.iter().any(|network| network.contains(&address))
        };
        let is_candidate = |own: &&Address| {
            own.interface == interface && own.is_lasting && self.is_usable(own) && may_be_one(own.address)
        };
        let candidates = || self.addresses.iter().filter(is_candidate).map(|own| own.address);
        let serves = |address: &IpAddr| before.all.iter().any(|locator| locator.address == *address);
        candidates().find(serves).or_else(|| candidates().next())
    }
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
    due: Option<Instant>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Listens, in the network namespace of the thread.
    ///
    /// # Errors
    /// If the kernel has no netlink for us.
    pub fn start() -> Result<Self, Failure> {
        let listener = Listener::open().map_err(|error| Failure::Machine(format!("netlink: {error}")))?;
        let news = Arc::new(Notify::new());
        let task = tokio::spawn(listen(listener, news.clone()));
        Ok(Self { task, news, due: None })
    }

    /// Waits for a change, and for those that come with it. May be cancelled.
    pub async fn changed(&mut self) {
        let due = match self.due {
            Some(due) => due,
            None => {
                self.news.notified().await;
                *self.due.insert(Instant::now() + DEBOUNCE)
            }
        };
        tokio::time::sleep_until(due).await;
        self.due = None;
    }

    /// Says once more that something has changed, in a while.
    pub fn again(&mut self) {
        self.due.get_or_insert(Instant::now() + RETRY);
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
async fn listen(mut listener: Listener, news: Arc<Notify>) {
    loop {
        while let Some((message, _)) = listener.messages.next().await {
            if matters(&message.payload) {
                news.notify_one();
            }
        }
        // The kernel had more to say than the socket holds: what was said is lost, and may have mattered.
        tokio::time::sleep(PAUSE).await;
        match Listener::open() {
            Ok(next) => listener = next,
            Err(error) => tracing::warn!(%error, "netlink: changes of addresses are not heard of"),
        }
        news.notify_one();
    }
}

/// Of the routes only default ones matter: a router may have, and change, a million others.
fn matters(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)) => {
            route.header.destination_prefix_length == 0 && route.header.table == RouteHeader::RT_TABLE_MAIN
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
    Interface {
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
    let passing = AddressHeaderFlags::Deprecated | AddressHeaderFlags::Secondary;
    Some(Address {
        address: found,
        interface: message.header.index,
        is_lasting: message.header.scope == AddressScope::Universe && !flags.intersects(passing),
        is_duplicate: flags.contains(AddressHeaderFlags::Dadfailed),
        is_tentative: flags.contains(AddressHeaderFlags::Tentative) && !flags.contains(AddressHeaderFlags::Optimistic),
    })
}

fn default_route(route: &RouteMessage, is_v4: bool) -> Option<DefaultRoute> {
    let metric = |attribute: &RouteAttribute| {
        if let RouteAttribute::Priority(metric) = attribute { Some(*metric) } else { None }
    };
    let interface = |attribute: &RouteAttribute| {
        if let RouteAttribute::Oif(index) = attribute { Some(*index) } else { None }
    };
    let is_default = route.header.destination_prefix_length == 0;
    let interface = route.attributes.iter().find_map(interface).filter(|_| is_default)?;
    Some(DefaultRoute { is_v4, metric: route.attributes.iter().find_map(metric).unwrap_or(0), interface })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const UPLINK: u32 = 2;
    const BACKUP: u32 = 3;

    /// Two uplinks, the first one preferred.
    fn machine(addresses: &[(u32, &str)]) -> Machine {
        let interface = |name: &str| Interface { name: name.into(), is_running: true };
        let route = |interface, metric| DefaultRoute { is_v4: true, metric, interface };
        let v6 = DefaultRoute { is_v4: false, metric: 1024, interface: UPLINK };
        let address = |(interface, text): &(u32, &str)| Address {
            address: text.parse().unwrap(),
            interface: *interface,
            is_lasting: true,
            is_duplicate: false,
            is_tentative: false,
        };
        Machine {
            interfaces: [(UPLINK, interface("eth0")), (BACKUP, interface("wwan0"))].into(),
            addresses: addresses.iter().map(address).collect(),
            defaults: vec![route(UPLINK, 100), route(BACKUP, 600), v6],
        }
    }

    fn found(machine: &Machine, before: &Locators) -> Vec<String> {
        let found = machine.locators(&Wanted::default(), before);
        found.reachable().iter().map(ToString::to_string).collect()
    }

    const BOTH: [(u32, &str); 3] = [(UPLINK, "192.0.2.1"), (UPLINK, "2001:db8::1"), (BACKUP, "198.51.100.1")];

    #[test]
    fn without_a_word_of_the_operator_the_best_running_default_routes_count() {
        let nothing = Locators::default();
        let mut machine = machine(&BOTH);
        assert_eq!(found(&machine, &nothing), ["192.0.2.1", "2001:db8::1"]);
        machine.interfaces.get_mut(&UPLINK).unwrap().is_running = false;
        assert_eq!(found(&machine, &nothing), ["198.51.100.1"]);
        machine.defaults.retain(|route| route.interface == BACKUP);
        assert_eq!(found(&machine, &nothing), ["198.51.100.1"]);
    }

    #[test]
    fn when_nothing_is_left_the_last_locators_are_out_of_reach() {
        let before = machine(&BOTH).locators(&Wanted::default(), &Locators::default());
        let after = machine(&[]).locators(&Wanted::default(), &before);
        assert_eq!((after.all.len(), after.reachable()), (2, vec![]));
    }

    #[test]
    fn an_address_that_serves_is_kept_while_others_come_and_go_with_the_day() {
        let before = machine(&BOTH[..1]).locators(&Wanted::default(), &Locators::default());
        let mut machine = machine(&[(UPLINK, "192.0.2.9"), (UPLINK, "192.0.2.1")]);
        assert_eq!(found(&machine, &before), ["192.0.2.1"]);
        machine.addresses[1].is_lasting = false;
        assert_eq!(found(&machine, &before), ["192.0.2.9"]);
        machine.addresses[0].is_tentative = true;
        assert_eq!(found(&machine, &before), Vec::<String>::new());
        assert_eq!(found(&machine.clone().hopeful(), &before), ["192.0.2.9"]);
    }

    #[test]
    fn a_given_locator_stays_one_and_is_out_of_reach_while_its_address_is_gone() {
        let given = |text: &str| OwnLocator { address: text.parse().unwrap(), priority: 1, weight: 100 };
        let wanted =
            Wanted { given: vec![given("192.0.2.1"), given("203.0.113.1")], interfaces: vec![], ..Wanted::default() };
        let found = machine(&BOTH).locators(&wanted, &Locators::default());
        assert_eq!((found.all.len(), found.unreachable), (2, vec!["203.0.113.1".parse().unwrap()]));
    }

    #[test]
    fn the_addresses_of_a_named_interface_are_locators_with_its_priority() {
        let interface = InterfaceLocator { name: "eth0".into(), priority: 7, weight: 10 };
        let wanted = Wanted { interfaces: vec![interface], ..Wanted::default() };
        let found = machine(&BOTH).locators(&wanted, &Locators::default());
        assert_eq!(found.all.len(), 2);
        assert!(found.all.iter().all(|locator| (locator.priority, locator.weight) == (7, 10)), "{found:?}");
    }
}
