// SPDX-License-Identifier: GPL-2.0-or-later
//! Links, addresses and routes, by rtnetlink inside the namespace they belong to.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder};

use super::error::{LabError, from_netlink};
use super::namespace::Namespace;
use super::topology::{Port, Route};

/// Lays a cable: a veth pair with one end in each namespace. Ends keep the names given and are down.
///
/// # Errors
/// When the kernel refuses.
pub fn cable(left: (&Namespace, &str), right: (&Namespace, &str)) -> Result<(), LabError> {
    // Made under names that no port has, since both ends are in the left namespace at first.
    let there = right.0.handle().as_raw_fd();
    let near = left.1.to_owned();
    converse(left.0, format!("cable {} to {}:{}", left.1, right.0.name(), right.1), async move |netlink| {
        netlink.link().add(LinkVeth::new("@near", "@far").build()).execute().await?;
        netlink.link().set(LinkUnspec::new_with_name("@far").setns_by_fd(there).build()).execute().await?;
        netlink.link().set(renamed(&netlink, "@near", &near).await?).execute().await
    })?;
    let far = right.1.to_owned();
    converse(right.0, format!("cable {} to {}:{}", right.1, left.0.name(), left.1), async move |netlink| {
        netlink.link().set(renamed(&netlink, "@far", &far).await?).execute().await
    })
}

/// Makes a bridge without spanning tree and without multicast snooping, which needs a querier; it is up.
///
/// # Errors
/// When the kernel refuses.
pub fn bridge(namespace: &Namespace, name: &str) -> Result<(), LabError> {
    let name = name.to_owned();
    converse(namespace, format!("bridge {name}"), async move |netlink| {
        netlink.link().add(LinkBridge::new(&name).mcast_snooping(false).up().build()).execute().await
    })
}

/// Puts a port into a bridge and switches it on.
///
/// # Errors
/// When the kernel refuses.
pub fn enslave(namespace: &Namespace, bridge: &str, port: &str) -> Result<(), LabError> {
    let (bridge, port) = (bridge.to_owned(), port.to_owned());
    converse(namespace, format!("port {port} into {bridge}"), async move |netlink| {
        let controller = index_of(&netlink, &bridge).await?;
        netlink.link().set(LinkUnspec::new_with_name(&port).controller(controller).up().build()).execute().await
    })
}

/// Makes a VXLAN device (RFC 7348) between two addresses of one family, over a port; it is up, and all else is the kernel's default.
///
/// # Errors
/// When the kernel refuses, or the families differ.
pub fn vxlan(namespace: &Namespace, name: &str, over: &str, local: IpAddr, remote: IpAddr) -> Result<(), LabError> {
    let (name, over) = (name.to_owned(), over.to_owned());
    converse(namespace, format!("VXLAN device {name}"), async move |netlink| {
        let device = LinkVxlan::new(&name, VXLAN_ID).dev(index_of(&netlink, &over).await?).port(VXLAN_PORT);
        let device = match (local, remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => device.local(local).remote(remote),
            (IpAddr::V6(local), IpAddr::V6(remote)) => device.local6(local).remote6(remote),
            _ => return Err(rtnetlink::Error::RequestFailed),
        };
        netlink.link().add(device.up().build()).execute().await
    })
}

/// VXLAN network identifier; any does.
const VXLAN_ID: u32 = 1;
/// The UDP port of RFC 7348, section 5; without it the kernel takes an older one.
const VXLAN_PORT: u16 = 4789;

/// Switches an interface on.
///
/// # Errors
/// When the kernel refuses.
pub fn up(namespace: &Namespace, port: &str) -> Result<(), LabError> {
    let port = port.to_owned();
    converse(namespace, format!("{port} up"), async move |netlink| {
        netlink.link().set(LinkUnspec::new_with_name(&port).up().build()).execute().await
    })
}

/// Gives an interface another MTU, in octets.
///
/// # Errors
/// When the kernel refuses.
pub fn set_mtu(namespace: &Namespace, port: &str, mtu: u16) -> Result<(), LabError> {
    let port = port.to_owned();
    converse(namespace, format!("MTU of {port}"), async move |netlink| {
        netlink.link().set(LinkUnspec::new_with_name(&port).mtu(mtu.into()).build()).execute().await
    })
}

/// Gives a port its addresses and switches it on.
///
/// # Errors
/// When the kernel refuses.
pub fn configure(namespace: &Namespace, port: &Port) -> Result<(), LabError> {
    let port = port.clone();
    converse(namespace, format!("addresses of {}", port.name), async move |netlink| {
        let index = index_of(&netlink, &port.name).await?;
        netlink.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
        for net in &port.addresses {
            let mut request = netlink.address().add(index, net.addr(), net.prefix_len());
            // Nobody else can have it. Without this the kernel lets it be used only a moment later, even with detection off.
            if net.addr().is_ipv6() {
                request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            }
            request.execute().await?;
        }
        Ok(())
    })
}

/// Adds a route.
///
/// # Errors
/// When the kernel refuses.
pub fn route(namespace: &Namespace, route: &Route) -> Result<(), LabError> {
    let route = route.clone();
    converse(namespace, format!("route to {}", route.to), async move |netlink| {
        let index = index_of(&netlink, &route.port).await?;
        netlink.route().add(route_message(route.to, route.via, index)?).execute().await
    })
}

/// Leads what has this source address by a gateway of its own, whatever the other routes say; in a routing table of that number.
///
/// # Errors
/// When the kernel refuses, or the families differ.
pub fn route_from(namespace: &Namespace, source: IpAddr, via: IpAddr, port: &str, table: u32) -> Result<(), LabError> {
    default_route_in(namespace, via, port, table)?;
    converse(namespace, format!("route from {source}"), async move |netlink| {
        let rule = netlink.rule().add().action(RuleAction::ToTable).table_id(table);
        match source {
            IpAddr::V4(source) => rule.v4().source_prefix(source, 32).execute().await,
            IpAddr::V6(source) => rule.v6().source_prefix(source, 128).execute().await,
        }
    })
}

/// Adds a default route to the routing table of that number.
///
/// # Errors
/// When the kernel refuses.
pub fn default_route_in(namespace: &Namespace, via: IpAddr, port: &str, table: u32) -> Result<(), LabError> {
    let port = port.to_owned();
    converse(namespace, format!("route by {via}"), async move |netlink| {
        let index = index_of(&netlink, &port).await?;
        let everywhere = if via.is_ipv4() { IpNet::V4(Default::default()) } else { IpNet::V6(Default::default()) };
        let mut route = route_message(everywhere, Some(via), index)?;
        route.attributes.push(RouteAttribute::Table(table));
        netlink.route().add(route).execute().await
    })
}

/// Takes an interface away, and with it the other end of its cable.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(namespace: &Namespace, port: &str) -> Result<(), LabError> {
    let port = port.to_owned();
    converse(namespace, format!("{port} away"), async move |netlink| {
        let index = index_of(&netlink, &port).await?;
        netlink.link().del(index).execute().await
    })
}

/// Switches an interface off.
///
/// # Errors
/// When the kernel refuses.
pub fn down(namespace: &Namespace, port: &str) -> Result<(), LabError> {
    let port = port.to_owned();
    converse(namespace, format!("{port} down"), async move |netlink| {
        netlink.link().set(LinkUnspec::new_with_name(&port).down().build()).execute().await
    })
}

/// Adds an address to a port that is configured already.
///
/// # Errors
/// When the kernel refuses.
pub fn add_address(namespace: &Namespace, port: &str, address: IpNet) -> Result<(), LabError> {
    let port = Port { name: port.into(), segment: String::new(), addresses: vec![address] };
    configure(namespace, &port)
}

/// Takes an address from a port; routes that need no address of its network stay.
///
/// # Errors
/// When the kernel refuses, or the port does not have it.
pub fn remove_address(namespace: &Namespace, port: &str, address: IpAddr) -> Result<(), LabError> {
    use futures::TryStreamExt as _;
    let port = port.to_owned();
    converse(namespace, format!("{address} away from {port}"), async move |netlink| {
        let index = index_of(&netlink, &port).await?;
        let mut found = netlink.address().get().set_link_index_filter(index).set_address_filter(address).execute();
        let message = found.try_next().await?.ok_or(rtnetlink::Error::RequestFailed)?;
        netlink.address().del(message).execute().await
    })
}

fn route_message(to: IpNet, via: Option<IpAddr>, index: u32) -> Result<RouteMessage, rtnetlink::Error> {
    let mut message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to.addr(), to.prefix_len())
        .map_err(refused)?
        .output_interface(index);
    if let Some(via) = via {
        message = message.gateway(via).map_err(refused)?;
    }
    Ok(message.build())
}

fn refused(error: impl std::error::Error) -> rtnetlink::Error {
    rtnetlink::Error::InvalidNla(error.to_string())
}

async fn renamed(
    netlink: &Handle,
    from: &str,
    to: &str,
) -> Result<rtnetlink::packet_route::link::LinkMessage, rtnetlink::Error> {
    let index = index_of(netlink, from).await?;
    Ok(LinkUnspec::new_with_index(index).name(to).build())
}

async fn index_of(netlink: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    use futures::TryStreamExt as _;
    let found = netlink.link().get().match_name(name).execute().try_next().await?;
    found.map(|link| link.header.index).ok_or(rtnetlink::Error::RequestFailed)
}

/// One netlink conversation on the thread of the namespace.
fn converse<F>(namespace: &Namespace, doing: String, talk: F) -> Result<(), LabError>
where
    F: AsyncFnOnce(Handle) -> Result<(), rtnetlink::Error> + Send + 'static,
{
    let outcome = namespace.run(move || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            let connection = tokio::spawn(connection);
            let outcome = talk(handle).await.map_err(from_netlink);
            connection.abort();
            outcome
        })
    })?;
    outcome.map_err(|cause| LabError::failed(namespace.name(), doing, cause))
}
