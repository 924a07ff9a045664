// SPDX-License-Identifier: GPL-2.0-or-later
//! Two nodes in two network namespaces, joined by a cable. Needs root and `/dev/net/tun`; without, a test fails where `CI` is set,
//! and else says so and passes.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use rtnetlink::packet_core::{
    DefaultNla, ErrorMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use socket2::{Domain, Protocol, Socket, Type};
use wire::address::{EidPrefix, InstanceId};
use xtr::config::Tier;
use xtr::counters::Count;
use xtr::ecn::EcnCompatibility;
use xtr::etr::EtrConfig;
use xtr::itr::ItrConfig;
use xtr::map_cache::{Binding, Entry, Event, Forwarding, FromPort, Locator, Update};
use xtr::shell::data_plane::{DataPlane, Options};

use crate::namespace::cable::{CABLE, on_cable};
pub(crate) use crate::namespace::{PATIENCE, netlink};
use crate::namespace::{add_address, await_address, index};

pub(crate) const TUN: &str = "lisp0";

/// One of the two sites.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub(crate) rlocs: [&'static str; 2],
    /// Its host is this machine itself.
    pub(crate) hosts: [&'static str; 2],
    pub(crate) prefixes: [&'static str; 2],
}

pub(crate) const NEAR: Site = Site {
    rlocs: ["192.0.2.1", "2001:db8:c::1"],
    hosts: ["10.0.0.1", "2001:db8:a::1"],
    prefixes: ["10.0.0.0/24", "2001:db8:a::/48"],
};
pub(crate) const FAR: Site = Site {
    rlocs: ["192.0.2.2", "2001:db8:c::2"],
    hosts: ["10.0.1.1", "2001:db8:b::1"],
    prefixes: ["10.0.1.0/24", "2001:db8:b::/48"],
};

/// A running packet thread, and what it says.
pub(crate) struct Node {
    pub(crate) plane: DataPlane,
    pub(crate) events: tokio::sync::mpsc::Receiver<Event>,
}

impl Node {
    pub(crate) fn start(site: Site, core_mtu: usize, tier: Tier) -> Self {
        Self::start_with(site, core_mtu, tier, EtrConfig::default())
    }

    pub(crate) fn start_with(site: Site, core_mtu: usize, tier: Tier, etr: EtrConfig) -> Self {
        let (sender, events) = tokio::sync::mpsc::channel(64);
        let rlocs: Vec<IpAddr> = site.rlocs.map(ip).to_vec();
        let itr = ItrConfig { iid: InstanceId(0), icmp_sources: vec![ip(site.hosts[1])], core_mtu, gpe_peers: vec![] };
        let options = Options {
            tier,
            tun: TUN.into(),
            mtu: 1500,
            itr,
            ecn: EcnCompatibility::default(),
            etr,
            rlocs: rlocs.clone(),
        };
        let plane = DataPlane::start(options, sender).unwrap();
        assert!(tier == Tier::Auto || plane.tier() == tier);
        plane.update(Update::LocalRlocs(rlocs));
        plane.update(Update::LocalEids(site.prefixes.map(prefix).to_vec()));
        Self { plane, events }
    }

    pub(crate) fn map(&self, net: &str, rloc: &str) {
        let locators = vec![Locator { address: ip(rloc), priority: 1, weight: 1 }];
        self.forward(net, Forwarding::Locators(locators));
    }

    /// Packets go to this RTR, as of a node of [`NEAR`] behind a NAT.
    pub(crate) fn map_through_nat(&self, net: &str, rtr: &str) {
        let (address, port, from) = (ip(rtr), wire::DATA_PORT, FromPort::Data);
        let source = ip(NEAR.rlocs[usize::from(address.is_ipv6())]);
        self.forward(net, Forwarding::Binding(Binding { address, port, from, source }));
    }

    fn forward(&self, net: &str, forwarding: Forwarding) {
        let expires = Instant::now() + Duration::from_secs(60);
        self.plane.update(Update::Upsert { prefix: prefix(net), entry: Entry { forwarding, expires } });
    }

    pub(crate) fn event(&mut self) -> Event {
        let started = Instant::now();
        loop {
            if let Ok(event) = self.events.try_recv() {
                return event;
            }
            assert!(started.elapsed() < PATIENCE, "no event: {:?}", self.plane.counters().snapshot());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn count(&self, count: Count) -> u64 {
        self.plane.counters().get(count)
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

/// Runs both ends, each in a namespace that ends with its thread. `far` says when it is ready, `near` runs, `far` is let go.
pub(crate) fn in_two_namespaces(
    near: impl FnOnce() + Send + 'static,
    far: impl FnOnce(&mpsc::Sender<()>, &mpsc::Receiver<()>) + Send + 'static,
) {
    let (ready, is_ready) = mpsc::channel::<()>();
    let (done, is_done) = mpsc::channel::<()>();
    let near = move || {
        take_from_anywhere();
        is_ready.recv().unwrap();
        near();
        done.send(()).unwrap();
    };
    let far = move || {
        take_from_anywhere();
        far(&ready, &is_done);
    };
    on_cable((&NEAR.rlocs, near), (&FAR.rlocs, far));
}

/// Packets out of the tunnel may come from anywhere.
fn take_from_anywhere() {
    for interfaces in ["all", "default", CABLE] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{interfaces}/rp_filter"), "0").unwrap();
    }
}

/// Gives the TUN device the addresses of the site's host, and leads packets for the other site into it.
pub(crate) fn lead_into_tunnel(site: Site, other: Site) {
    netlink(async |handle| {
        let tun = index(handle, TUN).await;
        for host in site.hosts {
            let length = if ip(host).is_ipv4() { 32 } else { 128 };
            add_address(handle, TUN, ip(host), length).await;
        }
        for net in other.prefixes {
            let route = match net.parse().unwrap() {
                IpNet::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(net.addr(), net.prefix_len())
                    .output_interface(tun)
                    .build(),
                IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(net.addr(), net.prefix_len())
                    .output_interface(tun)
                    .build(),
            };
            handle.route().add(route).execute().await.unwrap();
        }
    });
    site.hosts.into_iter().for_each(await_address);
}

pub(crate) fn set_cable_mtu(mtu: u32) {
    netlink(async |handle| {
        let cable = index(handle, CABLE).await;
        handle.link().set(LinkUnspec::new_with_index(cable).mtu(mtu).build()).execute().await.unwrap();
    });
}

/// The queue of the cable has no room any more: what is sent is dropped there.
pub(crate) fn clog_cable() {
    /// Of linux/rtnetlink.h: of a pfifo how many packets it holds.
    const TCA_OPTIONS: u16 = 2;
    netlink(async |handle| {
        let mut message = TcMessage::with_index(index(handle, CABLE).await.try_into().unwrap());
        message.header.parent = TcHandle::ROOT;
        let room = DefaultNla::new(TCA_OPTIONS, 0u32.to_ne_bytes().to_vec());
        message.attributes = vec![TcAttribute::Kind("pfifo".into()), TcAttribute::Other(room)];
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let mut answers = handle.clone().request(request).unwrap();
        while let Some(answer) = answers.next().await {
            assert!(!matches!(answer.payload, NetlinkPayload::Error(ErrorMessage { code: Some(_), .. })), "{answer:?}");
        }
    });
}

/// Gives the loopback interface an address of a host, too.
pub(crate) fn host_of_loopback(address: &str) {
    netlink(async |handle| add_address(handle, "lo", ip(address), 128).await);
    await_address(address);
}

pub(crate) fn bind(address: &str, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((ip(address), port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends back what comes, until it is told to stop.
pub(crate) fn echo(hosts: [&'static str; 2], ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>) {
    let sockets = hosts.map(|host| bind(host, 7));
    sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
    ready.send(()).unwrap();
    let mut buffer = [0; 4000];
    while stop.try_recv() == Err(mpsc::TryRecvError::Empty) {
        for socket in &sockets {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => drop(socket.send_to(&buffer[..length], from)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What a raw socket sees of the IPv4 or IPv6 packets that come over the cable, from the IP header on.
pub(crate) fn eavesdrop(protocol: libc::c_int) -> Socket {
    let wanted = i32::from(u16::try_from(protocol).unwrap().to_be());
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(wanted))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The outer headers of a LISP packet that both tiers must agree on: class, flow label, TTL, DF, addresses, destination port and
/// the LISP header; and the inner packet, but for an IPv4 identification, which the sender's kernel counts up.
pub(crate) fn comparable(packet: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (ip, fields) = match packet[0] >> 4 {
        4 => (20, [&packet[..2], &packet[6..7], &packet[8..9], &packet[12..20]].concat()),
        _ => (40, [&packet[..4], &packet[7..40]].concat()),
    };
    let udp = packet.get(ip..ip + 8)?;
    let is_data = packet[if ip == 20 { 9 } else { 6 }] == 17 && udp[2..4] == wire::DATA_PORT.to_be_bytes();
    let mut inner = packet.get(ip + 16..)?.to_vec();
    if inner[0] >> 4 == 4 {
        inner[4..6].fill(0);
        inner[10..12].fill(0);
    }
    is_data.then(|| ([&fields, &udp[2..6], &packet[ip + 8..ip + 16]].concat(), inner))
}
