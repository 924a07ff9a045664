// SPDX-License-Identifier: GPL-2.0-or-later
//! The sockets of discovery: one for each link and family, which hears only what was said to the group on that link.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Instant;

use cgeid::Network;
use ipnet::IpNet;
use libp2p::{Multiaddr, PeerId};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::{Hello, Link, Neighbour, Talk, announced};
use crate::shell::limits;
use crate::shell::node::addresses::socket;

/// A link with its sockets.
struct Channel {
    link: Link,
    talk: Talk,
    sockets: Vec<Arc<UdpSocket>>,
}

/// Something that was heard on a link.
struct Heard {
    link: u32,
    source: IpAddr,
    bytes: Vec<u8>,
}

/// Who discovers.
pub(in crate::shell::node) struct Seeker {
    pub(in crate::shell::node) network: Network,
    pub(in crate::shell::node) own: PeerId,
    /// Where the node listens, which changes as interfaces come and go.
    pub(in crate::shell::node) listening: watch::Receiver<Vec<Multiaddr>>,
    /// Where neighbours go.
    pub(in crate::shell::node) found: mpsc::Sender<Neighbour>,
}

/// Speaks and listens on all links until the node has gone.
pub(in crate::shell::node) async fn run(seeker: Seeker) {
    let (heard_tx, mut heard) = mpsc::channel::<Heard>(limits::HELLOS_WAITING);
    let mut channels: Vec<Channel> = Vec::new();
    let mut look_again = Instant::now();
    loop {
        let now = Instant::now();
        if look_again <= now {
            look_again = now + limits::LINKS_INTERVAL;
            refresh(&seeker, &mut channels, &heard_tx, now);
        }
        channels.iter_mut().for_each(|channel| speak(&seeker, channel, now));
        let next = channels.iter().map(|channel| channel.talk.next_deadline()).chain([look_again]).min();
        let until = tokio::time::Instant::from_std(next.unwrap_or(look_again));
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = seeker.found.closed() => return,
            Some(heard) = heard.recv() => listen(&seeker, &mut channels, &heard),
        }
    }
}

fn speak(seeker: &Seeker, channel: &mut Channel, now: Instant) {
    let Some(asks) = channel.talk.due(now, rand::random()) else { return };
    let places: Vec<(IpAddr, u16)> = seeker.listening.borrow().iter().filter_map(socket).collect();
    let Some(&(_, port)) = places.first() else { return };
    let own: Vec<IpAddr> = places.iter().map(|(address, _)| *address).collect();
    let addresses = announced(&channel.link, &own);
    if addresses.is_empty() {
        return;
    }
    let bytes = Hello { asks, network: seeker.network, peer: seeker.own, port, addresses }.encode();
    for socket in &channel.sockets {
        let group = match socket.local_addr() {
            Ok(SocketAddr::V4(_)) => SocketAddr::from((limits::HELLO_GROUP_V4, limits::HELLO_PORT)),
            _ => SocketAddrV6::new(limits::HELLO_GROUP_V6, limits::HELLO_PORT, 0, channel.link.index).into(),
        };
        // A full buffer or a link that is going down: the next Hello comes soon enough.
        if let Err(error) = socket.try_send_to(&bytes, group) {
            tracing::trace!(link = channel.link.name, %error, "no Hello");
        }
    }
}

fn listen(seeker: &Seeker, channels: &mut [Channel], heard: &Heard) {
    let Some(channel) = channels.iter_mut().find(|channel| channel.link.index == heard.link) else { return };
    let Some(hello) = Hello::decode(&heard.bytes) else { return };
    let neighbour = channel.talk.hear(Instant::now(), rand::random(), &channel.link, heard.source, &hello);
    if let Some(neighbour) = neighbour {
        // A node that has so many waiting has no need of one more.
        let _ = seeker.found.try_send(neighbour);
    }
}

/// Opens sockets on links that have come, closes those of links that have gone.
fn refresh(seeker: &Seeker, channels: &mut Vec<Channel>, heard: &mpsc::Sender<Heard>, now: Instant) {
    let links = match links() {
        Ok(links) => links,
        Err(error) => {
            tracing::warn!(%error, "the interfaces cannot be listed");
            return;
        }
    };
    channels.retain(|channel| links.contains(&channel.link));
    for link in links {
        if channels.len() >= limits::LINKS || channels.iter().any(|channel| channel.link == link) {
            continue;
        }
        let sockets: Vec<_> = [open_v4(&link), open_v6(&link)]
            .into_iter()
            .filter_map(|opened| {
                opened.inspect_err(|error| tracing::debug!(link = link.name, %error, "no discovery")).ok().flatten()
            })
            .collect();
        for socket in &sockets {
            tokio::spawn(hear(Arc::downgrade(socket), link.index, heard.clone()));
        }
        if !sockets.is_empty() {
            tracing::debug!(link = link.name, sockets = sockets.len(), "neighbours are looked for");
        }
        let talk = Talk::new(seeker.network, seeker.own, now);
        channels.push(Channel { link, talk, sockets });
    }
}

/// Links that speak multicast and are up, with their addresses; loopback has no neighbours.
fn links() -> io::Result<Vec<Link>> {
    let mut links: Vec<Link> = Vec::new();
    for found in getifaddrs()? {
        let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING | InterfaceFlags::IFF_MULTICAST;
        if !found.flags.contains(wanted) || found.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let Some(net) = net(found.address.as_ref(), found.netmask.as_ref()) else { continue };
        if let Some(link) = links.iter_mut().find(|link| link.name == found.interface_name) {
            link.nets.push(net);
            continue;
        }
        let index = if_nametoindex(found.interface_name.as_str())?;
        links.push(Link { name: found.interface_name, index, nets: vec![net] });
    }
    Ok(links)
}

fn net(address: Option<&SockaddrStorage>, mask: Option<&SockaddrStorage>) -> Option<IpNet> {
    let (address, mask) = (address?, mask?);
    let (address, mask): (IpAddr, IpAddr) = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => (v4.ip().into(), mask.as_sockaddr_in()?.ip().into()),
        (_, Some(v6)) => (v6.ip().into(), mask.as_sockaddr_in6()?.ip().into()),
        _ => return None,
    };
    IpNet::with_netmask(address, mask).ok()
}

fn open_v4(link: &Link) -> io::Result<Option<Arc<UdpSocket>>> {
    let own = link.nets.iter().find_map(|net| match net.addr() {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    let Some(own): Option<Ipv4Addr> = own else { return Ok(None) };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_if_v4(&own)?;
    socket.set_multicast_ttl_v4(limits::HELLO_HOPS)?;
    setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
    // Bound to the group, it never hears what was sent to the machine from afar.
    socket.bind(&SocketAddr::from((limits::HELLO_GROUP_V4, limits::HELLO_PORT)).into())?;
    socket.join_multicast_v4_n(&limits::HELLO_GROUP_V4, &InterfaceIndexOrAddress::Index(link.index))?;
    adopt(socket)
}

fn open_v6(link: &Link) -> io::Result<Option<Arc<UdpSocket>>> {
    if !link.nets.iter().any(|net| net.addr().is_ipv6()) {
        return Ok(None);
    }
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.set_reuse_address(true)?;
    socket.set_multicast_all_v6(false)?;
    socket.set_multicast_if_v6(link.index)?;
    socket.set_multicast_hops_v6(limits::HELLO_HOPS)?;
    socket.set_recv_hoplimit_v6(true)?;
    let group = SocketAddrV6::new(limits::HELLO_GROUP_V6, limits::HELLO_PORT, 0, link.index);
    socket.bind(&SocketAddr::from(group).into())?;
    socket.join_multicast_v6(&limits::HELLO_GROUP_V6, link.index)?;
    adopt(socket)
}

fn adopt(socket: Socket) -> io::Result<Option<Arc<UdpSocket>>> {
    socket.set_nonblocking(true)?;
    Ok(Some(Arc::new(UdpSocket::from_std(socket.into())?)))
}

/// Hands on what comes to one socket, not faster than a link can have to say; ends with the socket.
async fn hear(socket: std::sync::Weak<UdpSocket>, link: u32, heard: mpsc::Sender<Heard>) {
    loop {
        let Some(socket) = socket.upgrade() else { return };
        // Looks from time to time whether the socket is still wanted.
        match tokio::time::timeout(limits::LINKS_INTERVAL, socket.readable()).await {
            Err(_) => continue,
            Ok(Err(_)) => return,
            Ok(Ok(())) => {}
        }
        match socket.try_io(Interest::READABLE, || receive(&socket)) {
            Ok(Some((source, bytes))) => {
                if heard.send(Heard { link, source, bytes }).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                tracing::debug!(%error, "discovery socket");
                tokio::time::sleep(limits::HELLO_PAUSE).await;
            }
        }
        // Between two Hellos others have their turn: a flood is dropped by the kernel.
        tokio::time::sleep(limits::HELLO_READ).await;
    }
}

/// One message and where it came from; `None` if it was not sent on this link: a router would have counted a hop.
fn receive(socket: &UdpSocket) -> io::Result<Option<(IpAddr, Vec<u8>)>> {
    let mut bytes = [0; limits::HELLO_SIZE + 1];
    let mut control = nix::cmsg_space!(i32, i32);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let hops = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => u32::try_from(hops).ok(),
        _ => None,
    });
    let source = message.address.and_then(|address| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
        (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
        _ => None,
    });
    let length = message.bytes;
    let (Some(source), true) = (source, hops == Some(limits::HELLO_HOPS) && length <= limits::HELLO_SIZE) else {
        return Ok(None);
    };
    Ok(Some((source, bytes[..length].to_vec())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_may_have_passed_a_router_is_not_heard() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        setsockopt(&socket, sockopt::Ipv4RecvTtl, &true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let at = socket.local_addr().unwrap();
        let socket = UdpSocket::from_std(socket).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for (hops, is_heard) in [(limits::HELLO_HOPS, true), (254, false), (64, false), (1, false)] {
            sender.set_ttl(hops).unwrap();
            sender.send_to(b"hello", at).unwrap();
            socket.readable().await.unwrap();
            let heard = socket.try_io(Interest::READABLE, || receive(&socket)).unwrap();
            assert_eq!(heard.is_some(), is_heard, "{hops} hops");
        }
    }
}
