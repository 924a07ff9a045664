// SPDX-License-Identifier: GPL-2.0-or-later
//! Two nodes in two network namespaces, joined by a cable: real TUN devices, real sockets, and a kernel that judges what they
//! send; in both tiers. Needs root and `/dev/net/tun`; without, it fails where `CI` is set, and else says so and passes.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]
#![allow(unsafe_code, reason = "a flow label is reserved by an option that no safe call covers")]

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{LinkAttribute, State};
use netlink_packet_route::route::RouteType;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv4Header, Ipv6Header, LispHeader, OuterHeader, TrafficClass, UdpHeader, checksum};
use wire::record::MapVersion;
use xtr::config::Tier;
use xtr::counters::{Count, DropReason};
use xtr::etr::EtrConfig;
use xtr::itr::ItrConfig;
use xtr::map_cache::{Entry, Event, Forwarding, Locator, OwnMapping, Update};
use xtr::offload::Message;
use xtr::shell::data_plane::{DataPlane, Options};
use xtr::shell::device::{GroupSockets as _, SendError};
use xtr::shell::port_pool::PortPool;
use xtr::trust::Trust;

const CABLE: &str = "core";
const TUN: &str = "lisp0";
const PATIENCE: Duration = Duration::from_secs(10);

/// One of the two sites.
#[derive(Debug, Clone, Copy)]
struct Site {
    rlocs: [&'static str; 2],
    /// Its host is this machine itself.
    hosts: [&'static str; 2],
    prefixes: [&'static str; 2],
}

const NEAR: Site = Site {
    rlocs: ["192.0.2.1", "2001:db8:c::1"],
    hosts: ["10.0.0.1", "2001:db8:a::1"],
    prefixes: ["10.0.0.0/24", "2001:db8:a::/48"],
};
const FAR: Site = Site {
    rlocs: ["192.0.2.2", "2001:db8:c::2"],
    hosts: ["10.0.1.1", "2001:db8:b::1"],
    prefixes: ["10.0.1.0/24", "2001:db8:b::/48"],
};

/// A running packet thread, and what it says.
struct Node {
    plane: DataPlane,
    events: tokio::sync::mpsc::Receiver<Event>,
}

impl Node {
    fn start(site: Site, core_mtu: usize, tier: Tier) -> Self {
        Self::start_with(site, core_mtu, tier, EtrConfig::default())
    }

    fn start_with(site: Site, core_mtu: usize, tier: Tier, etr: EtrConfig) -> Self {
        let (sender, events) = tokio::sync::mpsc::channel(64);
        let rlocs: Vec<IpAddr> = site.rlocs.map(ip).to_vec();
        let itr = ItrConfig { iid: InstanceId(0), icmp_sources: vec![ip(site.hosts[1])], core_mtu, gpe_peers: vec![] };
        let options = Options { tier, tun: TUN.into(), mtu: 1500, itr, etr, rlocs: rlocs.clone() };
        let plane = DataPlane::start(options, sender).unwrap();
        assert_eq!(plane.tier(), tier);
        plane.update(Update::LocalRlocs(rlocs));
        plane.update(Update::LocalEids(site.prefixes.map(prefix).to_vec()));
        Self { plane, events }
    }

    fn map(&self, net: &str, rloc: &str) {
        let locators = vec![Locator { address: ip(rloc), priority: 1, weight: 1 }];
        let expires = Instant::now() + Duration::from_secs(60);
        let entry = Entry { forwarding: Forwarding::Locators(locators), expires };
        self.plane.update(Update::Upsert { prefix: prefix(net), entry });
    }

    fn event(&mut self) -> Event {
        let started = Instant::now();
        loop {
            if let Ok(event) = self.events.try_recv() {
                return event;
            }
            assert!(started.elapsed() < PATIENCE, "no event: {:?}", self.plane.counters().snapshot());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn count(&self, count: Count) -> u64 {
        self.plane.counters().get(count)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

/// Runs both ends, each in a namespace that ends with its thread. `far` says when it is ready, `near` runs, `far` is let go.
fn in_two_namespaces(
    near: impl FnOnce() + Send + 'static,
    far: impl FnOnce(&mpsc::Sender<()>, &mpsc::Receiver<()>) + Send + 'static,
) {
    if !Uid::effective().is_root() || !Path::new("/dev/net/tun").exists() {
        assert!(std::env::var_os("CI").is_none(), "CI is set, and this machine lacks root or /dev/net/tun");
        eprintln!("skipped: needs root and /dev/net/tun");
        return;
    }
    let (namespace, of_far) = mpsc::channel::<File>();
    let (plugged, is_plugged) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel::<()>();
    let (done, is_done) = mpsc::channel::<()>();
    let far = std::thread::spawn(move || {
        new_namespace();
        namespace.send(File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
        is_plugged.recv().unwrap();
        configure(FAR);
        await_carrier();
        FAR.rlocs.into_iter().for_each(await_address);
        far(&ready, &is_done);
    });
    let near = std::thread::spawn(move || {
        new_namespace();
        lay_cable(of_far.recv().unwrap().as_raw_fd());
        plugged.send(()).unwrap();
        configure(NEAR);
        await_carrier();
        NEAR.rlocs.into_iter().for_each(await_address);
        is_ready.recv().unwrap();
        near();
        done.send(()).unwrap();
    });
    near.join().unwrap();
    far.join().unwrap();
}

fn new_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    // Packets out of the tunnel may come from anywhere.
    for interfaces in ["all", "default"] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{interfaces}/rp_filter"), "0").unwrap();
    }
}

fn netlink<T>(work: impl AsyncFnOnce(&Handle) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        let task = tokio::spawn(connection);
        let result = work(&handle).await;
        task.abort();
        result
    })
}

async fn index(handle: &Handle, name: &str) -> u32 {
    let mut links = handle.link().get().match_name(name).execute();
    links.try_next().await.unwrap().unwrap().header.index
}

/// Adds an address that is of use at once: nobody looks for duplicates.
async fn add_address(handle: &Handle, link: u32, address: &str, length: u8) {
    let mut request = handle.address().add(link, ip(address), length);
    request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    request.execute().await.unwrap();
}

fn lay_cable(far: RawFd) {
    netlink(async |handle| {
        handle.link().add(LinkVeth::new(CABLE, "far").build()).execute().await.unwrap();
        let end = index(handle, "far").await;
        let moved = LinkUnspec::new_with_index(end).name(CABLE).setns_by_fd(far).build();
        handle.link().set(moved).execute().await.unwrap();
    });
}

fn configure(site: Site) {
    netlink(async |handle| {
        for name in ["lo", CABLE] {
            let link = index(handle, name).await;
            handle.link().set(LinkUnspec::new_with_index(link).up().build()).execute().await.unwrap();
        }
        let cable = index(handle, CABLE).await;
        for (rloc, length) in site.rlocs.into_iter().zip([24, 64]) {
            add_address(handle, cable, rloc, length).await;
        }
    });
}

/// Waits until the cable carries packets: before that the kernel drops them.
fn await_carrier() {
    let is_up = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::OperState(State::Up));
    let started = Instant::now();
    netlink(async |handle| {
        loop {
            let mut links = handle.link().get().match_name(CABLE).execute();
            if links.try_next().await.unwrap().unwrap().attributes.iter().any(is_up) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "the cable has no carrier");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// Gives the TUN device the addresses of the site's host, and leads packets for the other site into it.
fn lead_into_tunnel(site: Site, other: Site) {
    netlink(async |handle| {
        let tun = index(handle, TUN).await;
        for host in site.hosts {
            let length = if ip(host).is_ipv4() { 32 } else { 128 };
            add_address(handle, tun, host, length).await;
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

/// Waits until the kernel delivers packets to an address of ours: the local route of an IPv6 one is added in background.
fn await_address(address: &str) {
    let socket = UdpSocket::bind((ip(address), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let itself = socket.local_addr().unwrap();
    let started = Instant::now();
    while socket.send_to(&[0], itself).is_err() || socket.recv(&mut [0]).is_err() {
        assert!(started.elapsed() < PATIENCE, "{address} is not reached");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn set_cable_mtu(mtu: u32) {
    netlink(async |handle| {
        let cable = index(handle, CABLE).await;
        handle.link().set(LinkUnspec::new_with_index(cable).mtu(mtu).build()).execute().await.unwrap();
    });
}

fn bind(address: &str, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((ip(address), port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends back what comes, until it is told to stop.
fn echo(hosts: [&'static str; 2], ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>) {
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

#[test]
fn the_first_packets_of_a_cold_cache_arrive_in_order_over_each_pair_of_families() {
    for (tier, tier_of_far) in [(Tier::Zero, Tier::Zero), (Tier::One, Tier::One), (Tier::One, Tier::Zero)] {
        first_packets_arrive(tier, tier_of_far);
    }
}

fn first_packets_arrive(tier: Tier, tier_of_far: Tier) {
    let near = move || {
        for rloc in FAR.rlocs {
            let mut node = Node::start(NEAR, 1500, tier);
            lead_into_tunnel(NEAR, FAR);
            for (index, eid) in FAR.hosts.into_iter().enumerate() {
                let socket = bind(NEAR.hosts[index], 0);
                socket.connect((ip(eid), 7)).unwrap();
                for number in 0..8 {
                    socket.send(&[number]).unwrap();
                }
                let source = ip(NEAR.hosts[index]);
                assert_eq!(node.event(), Event::Miss { eid: EidPrefix::host(InstanceId(0), ip(eid)), source });
                node.map(FAR.prefixes[index], rloc);
                for number in 0..8 {
                    let mut answer = [0; 9];
                    let length = socket.recv(&mut answer).unwrap_or_else(|e| {
                        panic!("{rloc} {eid} {number}: {e}, {:?}", node.plane.counters().snapshot())
                    });
                    assert_eq!(answer[..length], [number], "over {rloc} to {eid}");
                }
            }
            assert_eq!((node.count(Count::Encapsulated), node.count(Count::Decapsulated)), (16, 16));
            assert_eq!(node.plane.counters().dropped(DropReason::CoreSend), 0);
        }
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, tier_of_far);
        NEAR.prefixes.iter().for_each(|net| node.map(net, NEAR.rlocs[0]));
        lead_into_tunnel(FAR, NEAR);
        echo(FAR.hosts, ready, stop);
    };
    in_two_namespaces(near, far);
}

#[test]
fn a_nonce_crosses_the_cable_and_comes_back_and_versions_cross_it_too() {
    for (tier, tier_of_far) in [(Tier::Zero, Tier::One), (Tier::One, Tier::Zero), (Tier::One, Tier::One)] {
        nonce_comes_back(tier, tier_of_far);
    }
}

/// Both trust each other; our version is 5, theirs 6.
fn trusting(site: Site, other: Site, tier: Tier, versions: (u16, u16)) -> Node {
    let networks = ["192.0.2.0/24", "2001:db8:c::/64"].map(|net| net.parse().unwrap());
    let trust = Trust::of(&networks).with_echo_nonce(true);
    let node = Node::start_with(site, 1500, tier, EtrConfig { trust, ..EtrConfig::default() });
    node.plane.update(Update::Own(OwnMapping { version: MapVersion(versions.0), status_bits: None, others_end: None }));
    for (net, rloc) in other.prefixes.into_iter().zip(other.rlocs) {
        node.map(net, rloc);
        let (version, expires) = (MapVersion(versions.1), Instant::now() + Duration::from_secs(60));
        node.plane.update(Update::Peer { prefix: prefix(net), version, rlocs: [ip(rloc)].into(), expires });
    }
    lead_into_tunnel(site, other);
    node
}

fn nonce_comes_back(tier: Tier, tier_of_far: Tier) {
    let near = move || {
        let mut node = trusting(NEAR, FAR, tier, (5, 6));
        for (index, rloc) in FAR.rlocs.map(ip).into_iter().enumerate() {
            let nonce = 0x12_3450 + u32::try_from(index).unwrap();
            node.plane.update(Update::EchoRequest { rloc, nonce: Some(nonce), suspended: false });
            let socket = bind(NEAR.hosts[index], 0);
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            socket.connect((ip(FAR.hosts[index]), 7)).unwrap();
            let started = Instant::now();
            let mut answers = 0;
            let echoed = loop {
                socket.send(&[7; 100]).unwrap();
                answers += usize::from(socket.recv(&mut [0; 200]).is_ok());
                match node.events.try_recv() {
                    Ok(Event::Silent { .. }) | Err(_) => {}
                    Ok(event) => break event,
                }
                assert!(started.elapsed() < PATIENCE, "{:?}", node.plane.counters().snapshot());
            };
            assert_eq!(echoed, Event::Echoed { rloc, nonce });
            assert!(answers > 0);
            node.plane.update(Update::EchoRequest { rloc, nonce: None, suspended: false });
            assert_eq!(node.event(), Event::EchoEnded { rloc, is_proven: false });
        }
        // From now on packets carry versions, and that of the far mapping becomes old.
        let (version, expires) = (MapVersion(7), Instant::now() + Duration::from_secs(60));
        let rlocs = [ip(FAR.rlocs[0])].into();
        node.plane.update(Update::Peer { prefix: prefix(FAR.prefixes[0]), version, rlocs, expires });
        let socket = bind(NEAR.hosts[0], 0);
        socket.connect((ip(FAR.hosts[0]), 7)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.send(&[7; 100]).unwrap();
        assert!(socket.recv(&mut [0; 200]).is_err(), "a version that is yet to come is dropped");
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let mut node = trusting(FAR, NEAR, tier_of_far, (6, 5));
        let (done, is_done) = mpsc::channel();
        std::thread::scope(|scope| {
            // Plays the control half.
            let asked = scope.spawn(move || {
                let mut asked = Vec::new();
                while is_done.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    match node.events.try_recv() {
                        Ok(Event::EchoAsked { rloc, nonce }) => {
                            asked.push(rloc);
                            node.plane.update(Update::EchoAnswer { rloc, nonce });
                        }
                        _ => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
                (asked, node.plane.counters().dropped(DropReason::CoreVersionNewer))
            });
            echo(FAR.hosts, ready, stop);
            done.send(()).unwrap();
            let (asked, dropped) = asked.join().unwrap();
            assert!(NEAR.rlocs.iter().all(|rloc| asked.contains(&ip(rloc))), "{asked:?}");
            assert_eq!(dropped, 1);
        });
    };
    in_two_namespaces(near, far);
}

#[test]
fn a_narrow_cable_teaches_the_path_mtu_and_the_source_hears_of_it() {
    [Tier::Zero, Tier::One].into_iter().for_each(narrow_cable_teaches);
}

fn narrow_cable_teaches(tier: Tier) {
    let near = move || {
        let node = Node::start(NEAR, 1500, tier);
        lead_into_tunnel(NEAR, FAR);
        FAR.prefixes.iter().for_each(|net| node.map(net, FAR.rlocs[1]));
        set_cable_mtu(1400);
        for (host, eid) in NEAR.hosts.into_iter().zip(FAR.hosts) {
            let socket = bind(host, 0);
            socket.connect((ip(eid), 7)).unwrap();
            let big = [0x55; 1400];
            let mut answer = [0; 4000];
            let started = Instant::now();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            // The first is lost to the discovery, and pays for it: the next ones are fragmented by their source.
            let arrived = loop {
                let _ = socket.send(&big);
                if let Ok(length) = socket.recv(&mut answer) {
                    break length;
                }
                assert!(started.elapsed() < PATIENCE, "{eid}: no big packet arrived");
            };
            assert_eq!(arrived, big.len());
        }
        assert_eq!(node.count(Count::PathMtu), 1);
        assert!(node.count(Count::IcmpSent) >= 1);
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        set_cable_mtu(1400);
        let node = Node::start(FAR, 1400, tier);
        NEAR.prefixes.iter().for_each(|net| node.map(net, NEAR.rlocs[0]));
        lead_into_tunnel(FAR, NEAR);
        echo(FAR.hosts, ready, stop);
    };
    in_two_namespaces(near, far);
}

/// A packet of `near` in a LISP packet to `far`, with this UDP checksum, or the right one.
fn data_packet(outer_checksum: Option<u16>) -> Vec<u8> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip(NEAR.hosts[1]), ip(FAR.hosts[1])) else { panic!() };
    let class = TrafficClass(0);
    let inner_udp = UdpHeader { source: 9, destination: 99, checksum: 0xffff }.emit(0).unwrap();
    let inner = Ipv6Header { source, destination, next_header: 17, hop_limit: 9, class, flow_label: 0 };
    let payload = [&[0; 8], inner.emit(8).unwrap().as_slice(), &inner_udp].concat();
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (ip(NEAR.rlocs[0]), ip(FAR.rlocs[0])) else { panic!() };
    let mut udp = UdpHeader { source: 50_000, destination: wire::DATA_PORT, checksum: 0 };
    let segment = [udp.emit(payload.len()).unwrap().as_slice(), &payload].concat();
    udp.checksum = outer_checksum.unwrap_or_else(|| checksum::udp(source.into(), destination.into(), &segment));
    let ip = Ipv4Header { source, destination, protocol: 17, ttl: 9, class, dont_fragment: true };
    [ip.emit(segment.len()).unwrap().as_slice(), &udp.emit(payload.len()).unwrap(), &payload].concat()
}

/// D21 of the vectors: of three packets the kernel lets two pass, one with a right and one with no checksum.
#[test]
fn d21_a_wrong_udp_checksum_is_dropped_by_the_kernel() {
    [Tier::Zero, Tier::One].into_iter().for_each(d21_is_dropped);
}

fn d21_is_dropped(tier: Tier) {
    let (sent, was_sent) = mpsc::channel::<()>();
    let near = move || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).unwrap();
        raw.set_header_included_v4(true).unwrap();
        let to = SockAddr::from(SocketAddr::new(ip(FAR.rlocs[0]), 0));
        for checksum in [Some(0x5cfc), None, Some(0)] {
            raw.send_to(&data_packet(checksum), &to).unwrap();
        }
        sent.send(()).unwrap();
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, tier);
        ready.send(()).unwrap();
        was_sent.recv_timeout(PATIENCE).unwrap();
        let started = Instant::now();
        while node.count(Count::Decapsulated) < 2 && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(node.count(Count::Decapsulated), 2);
        let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let udp: Vec<&str> = snmp.lines().filter(|line| line.starts_with("Udp:")).collect();
        let column = udp[0].split_whitespace().position(|name| name == "InCsumErrors").unwrap();
        assert_eq!(udp[1].split_whitespace().nth(column), Some("1"));
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

#[test]
fn a_taken_port_and_a_foreign_address_say_what_to_do() {
    [Tier::Zero, Tier::Auto].into_iter().for_each(what_is_taken_is_said);
}

fn what_is_taken_is_said(tier: Tier) {
    let near = move || {
        let (events, _) = tokio::sync::mpsc::channel(1);
        let itr = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
        let options = |rloc: &str| Options {
            tier,
            tun: TUN.into(),
            mtu: 1400,
            itr: itr.clone(),
            etr: EtrConfig::default(),
            rlocs: vec![ip(rloc)],
        };
        let _taken = UdpSocket::bind((ip(NEAR.rlocs[0]), wire::DATA_PORT)).unwrap();
        let error = DataPlane::start(options(NEAR.rlocs[0]), events.clone()).unwrap_err().to_string();
        assert!(error.contains("4341") && error.contains("in use"), "{error}");
        let error = DataPlane::start(options("198.51.100.9"), events.clone()).unwrap_err().to_string();
        assert!(error.contains("--rloc"), "{error}");
        let running = DataPlane::start(options(NEAR.rlocs[1]), events.clone()).unwrap();
        let mut other = options(FAR.rlocs[1]);
        other.rlocs.clear();
        let error = DataPlane::start(other, events).unwrap_err().to_string();
        assert!(error.contains("--tun"), "{error}");
        drop(running);
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        ready.send(()).unwrap();
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

/// What a raw socket sees of the IPv4 or IPv6 packets that come over the cable, from the IP header on.
fn eavesdrop(protocol: libc::c_int) -> Socket {
    let wanted = i32::from(u16::try_from(protocol).unwrap().to_be());
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(wanted))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The LISP packets that come as one: a group of them crosses this cable uncut.
fn comparables(packet: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Some((outer, inner)) = comparable(packet) else { return Vec::new() };
    let length = match inner[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([inner[2], inner[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([inner[4], inner[5]])),
    };
    let (headers, payload) = packet.split_at(if packet[0] >> 4 == 4 { 20 + 8 } else { 40 + 8 });
    if payload.len() <= 8 + length {
        return vec![(outer, inner)];
    }
    let alone = |one: &[u8]| {
        let udp_length = u16::try_from(8 + one.len()).unwrap();
        let without_length = &headers[..headers.len() - 4];
        comparable(&[without_length, &udp_length.to_be_bytes(), &headers[headers.len() - 2..], one].concat()).unwrap()
    };
    payload.chunks(8 + length).map(alone).collect()
}

/// The outer headers of a LISP packet that both tiers must agree on: class, flow label, TTL, DF, addresses, destination port and
/// the LISP header; and the inner packet, but for an IPv4 identification, which the sender's kernel counts up.
fn comparable(packet: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
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

/// TTL, DSCP and ECN of the inner packet, and the flow label of its flow, are on the wire whatever the tier: by our own hand in
/// tier 0, by ancillary data in tier 1, also beside UDP_SEGMENT.
#[test]
fn both_tiers_put_the_same_headers_on_the_wire() {
    const OF_EACH: usize = 2 * (6 + BURST);
    const PACKETS: usize = 2 * OF_EACH;
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let near = move || {
        for tier in [Tier::Zero, Tier::One] {
            for rloc in FAR.rlocs {
                let node = Node::start(NEAR, 1500, tier);
                lead_into_tunnel(NEAR, FAR);
                FAR.prefixes.iter().for_each(|net| node.map(net, rloc));
                send_with_many_hops_and_classes(tier);
                let started = Instant::now();
                while node.count(Count::Encapsulated) < OF_EACH as u64 {
                    assert!(started.elapsed() < PATIENCE, "{:?}", node.plane.counters().snapshot());
                    std::thread::sleep(Duration::from_millis(1));
                }
                assert_eq!(node.plane.counters().dropped(DropReason::CoreSend), 0);
            }
            may_go_on.recv_timeout(PATIENCE).unwrap();
        }
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let sockets = [eavesdrop(libc::ETH_P_IP), eavesdrop(libc::ETH_P_IPV6)];
        ready.send(()).unwrap();
        let (mut seen, mut longest) = (Vec::new(), [0, 0]);
        for longest in &mut longest {
            let mut packets = Vec::new();
            for socket in &sockets {
                let before = packets.len();
                while packets.len() - before < PACKETS / 2 {
                    let mut octets = [0; 4000];
                    let length = (&mut &*socket).read(&mut octets).unwrap();
                    let came = comparables(&octets[..length]);
                    *longest = came.len().max(*longest);
                    packets.extend(came);
                }
            }
            packets.sort();
            seen.push(packets);
            go_on.send(()).unwrap();
        }
        for (of_zero, of_one) in seen[0].iter().zip(&seen[1]) {
            assert_eq!(of_zero, of_one);
        }
        assert_eq!(longest, [1, BURST], "tier 1 sends groups");
        let hops: Vec<u8> = seen[1].iter().filter(|(outer, _)| outer[0] >> 4 == 4).map(|(outer, _)| outer[3]).collect();
        assert!([3, 43, 83, 123, 163, 203, BURST_HOPS].iter().all(|ttl| hops.contains(ttl)), "{hops:?}");
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

/// Equal datagrams that a tier with offload gets as one super-packet, with this TTL and class, in which all bits of DSCP and ECN
/// count.
const BURST: usize = 8;
const BURST_HOPS: u8 = 77;
const BURST_CLASS: u32 = 0b1011_1001;

/// Six datagrams from each host of the near site to the far one, and a burst.
fn send_with_many_hops_and_classes(tier: Tier) {
    for (host, to) in NEAR.hosts.into_iter().zip(FAR.hosts) {
        let from = SocketAddr::new(ip(host), 7777);
        let socket = Socket::new(Domain::for_address(from), Type::DGRAM, None).unwrap();
        socket.bind(&from.into()).unwrap();
        for round in 0..6u8 {
            let (ttl, class) = (u32::from(round) * 40 + 3, u32::from(round) * 41 + 2);
            if from.is_ipv4() {
                socket.set_ttl_v4(ttl).unwrap();
                socket.set_tos_v4(class).unwrap();
            } else {
                socket.set_unicast_hops_v6(ttl).unwrap();
                socket.set_tclass_v6(class).unwrap();
            }
            socket.send_to(&[round; 33], &SocketAddr::new(ip(to), 99).into()).unwrap();
        }
        if from.is_ipv4() {
            socket.set_ttl_v4(BURST_HOPS.into()).unwrap();
            socket.set_tos_v4(BURST_CLASS).unwrap();
        } else {
            socket.set_unicast_hops_v6(BURST_HOPS.into()).unwrap();
            socket.set_tclass_v6(BURST_CLASS).unwrap();
        }
        let (datagram, to) = ([0x77; 40], SockAddr::from(SocketAddr::new(ip(to), 99)));
        if tier == Tier::One {
            segment_at(&socket, datagram.len());
            socket.send_to(&datagram.repeat(BURST), &to).unwrap();
        } else {
            (0..BURST).for_each(|_| assert_eq!(socket.send_to(&datagram, &to).unwrap(), datagram.len()));
        }
    }
}

/// From now on the kernel cuts what is sent into datagrams of this size.
fn segment_at(socket: &Socket, size: usize) {
    let size = libc::c_int::try_from(size).unwrap();
    let length = libc::socklen_t::try_from(size_of_val(&size)).unwrap();
    let value = std::ptr::from_ref(&size).cast();
    // SAFETY: the option reads one int, and `size` is one that outlives the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, value, length) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// An ICMP error about an outer packet: that a link of this MTU is on its way.
fn too_big(outer: &[u8], mtu: u16) -> Vec<u8> {
    let [high, low] = mtu.to_be_bytes();
    if outer[0] >> 4 == 6 {
        // The kernel computes the checksum of ICMPv6 (RFC 3542, section 3.1).
        return [&[2, 0, 0, 0, 0, 0, high, low], outer].concat();
    }
    let mut message = [&[3, 4, 0, 0, 0, 0, high, low], &outer[..28]].concat();
    let sum = checksum::internet(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

#[test]
fn a_router_on_the_way_teaches_the_path_mtu() {
    [Tier::Zero, Tier::One].into_iter().for_each(router_teaches);
}

fn router_teaches(tier: Tier) {
    let near = move || {
        for rloc in FAR.rlocs {
            let node = Node::start(NEAR, 1500, tier);
            lead_into_tunnel(NEAR, FAR);
            FAR.prefixes.iter().for_each(|net| node.map(net, rloc));
            let socket = bind(NEAR.hosts[0], 0);
            socket.send_to(&[7; 1200], (ip(FAR.hosts[0]), 9)).unwrap();
            let started = Instant::now();
            while node.count(Count::PathMtu) == 0 {
                assert!(started.elapsed() < PATIENCE, "{tier:?} {rloc}: {:?}", node.plane.counters().snapshot());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let families = [
            (libc::ETH_P_IP, Domain::IPV4, Protocol::ICMPV4, NEAR.rlocs[0]),
            (libc::ETH_P_IPV6, Domain::IPV6, Protocol::ICMPV6, NEAR.rlocs[1]),
        ];
        let ears = families.map(|(kind, domain, protocol, to)| {
            (eavesdrop(kind), Socket::new(domain, Type::RAW, Some(protocol)).unwrap(), SocketAddr::new(ip(to), 0))
        });
        ready.send(()).unwrap();
        for (ear, icmp, to) in &ears {
            let outer = loop {
                let mut octets = [0; 4000];
                let length = (&mut &*ear).read(&mut octets).unwrap();
                if comparable(&octets[..length]).is_some() {
                    break octets[..length.min(1000)].to_vec();
                }
            };
            icmp.send_to(&too_big(&outer, 1300), &SockAddr::from(*to)).unwrap();
        }
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

#[test]
fn a_locator_where_nobody_takes_lisp_is_a_hint_to_probe_it() {
    // The other kernel says nothing about a UDP datagram without checksum over IPv6, which tier 0 sends.
    for (tier, rloc) in [(Tier::Zero, FAR.rlocs[0]), (Tier::One, FAR.rlocs[0]), (Tier::One, FAR.rlocs[1])] {
        let near = move || {
            let mut node = Node::start(NEAR, 1500, tier);
            lead_into_tunnel(NEAR, FAR);
            FAR.prefixes.iter().for_each(|net| node.map(net, rloc));
            let socket = bind(NEAR.hosts[0], 0);
            socket.send_to(&[7; 100], (ip(FAR.hosts[0]), 9)).unwrap();
            assert_eq!(node.event(), Event::Silent { rloc: ip(rloc) });
            assert_eq!(node.count(Count::Unreachable), 1, "{tier:?} {rloc}: said by the kernel, not by a timer");
        };
        let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
            ready.send(()).unwrap();
            stop.recv().unwrap();
        };
        in_two_namespaces(near, far);
    }
}

/// The header of a packet of the near node to an RLOC.
fn outer_to(rloc: &str) -> OuterHeader {
    let destination = ip(rloc);
    let source = ip(NEAR.rlocs[usize::from(destination.is_ipv6())]);
    let (class, lisp) = (TrafficClass(0), LispHeader::default());
    let (source_port, destination_port) = (50_000, wire::DATA_PORT);
    OuterHeader { source, destination, source_port, destination_port, ttl: 9, class, flow_label: 0x1_2345, lisp }
}

/// What the pool says about one packet, all of the same port.
fn send_one(pool: &mut PortPool, rloc: &str) -> Option<SendError> {
    let outer = outer_to(rloc);
    let payload = [0; 108];
    let parts = [IoSlice::new(&payload)];
    let message = Message { outer: &outer, parts: &parts, size: payload.len(), count: 1 };
    let mut failures = Vec::new();
    pool.send(&[message], &mut failures);
    failures.pop().map(|(_, error)| error)
}

#[test]
fn what_a_router_finds_too_big_costs_no_packet_of_others() {
    let (reported, is_reported) = mpsc::channel::<()>();
    let near = move || {
        let mut pool = PortPool::open(&NEAR.rlocs.map(ip)).unwrap();
        for rloc in FAR.rlocs {
            assert!(send_one(&mut pool, rloc).is_none());
            is_reported.recv_timeout(PATIENCE).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            let error = send_one(&mut pool, rloc);
            assert!(error.is_none(), "{rloc}: {error:?}");
            assert_eq!(pool.report().map(|report| report.mtu), Some(1300), "{rloc}: the router was heard meanwhile");
        }
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let families = [
            (libc::ETH_P_IP, Domain::IPV4, Protocol::ICMPV4, NEAR.rlocs[0]),
            (libc::ETH_P_IPV6, Domain::IPV6, Protocol::ICMPV6, NEAR.rlocs[1]),
        ];
        let ears = families.map(|(kind, ..)| eavesdrop(kind));
        // So that nothing but the report comes back.
        let _receivers = FAR.rlocs.map(|rloc| bind(rloc, wire::DATA_PORT));
        ready.send(()).unwrap();
        for (ear, (_, domain, protocol, to)) in ears.iter().zip(families) {
            let outer = loop {
                let mut octets = [0; 4000];
                let length = (&mut &*ear).read(&mut octets).unwrap();
                let is_data =
                    length > 100 && octets[..length].windows(2).any(|two| two == wire::DATA_PORT.to_be_bytes());
                if is_data {
                    break octets[..length].to_vec();
                }
            };
            let icmp = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
            icmp.send_to(&too_big(&outer, 1300), &SockAddr::from(SocketAddr::new(ip(to), 0))).unwrap();
            reported.send(()).unwrap();
        }
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

/// A blackhole route says EINVAL, as a flow label does that another program has reserved.
#[test]
fn an_rloc_without_a_way_is_said_to_be_one_and_costs_no_flow_labels() {
    let near = || {
        let mut pool = PortPool::open(&NEAR.rlocs.map(ip)).unwrap();
        netlink(async |handle| {
            let mut route = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix("2001:db8:dead::".parse().unwrap(), 48)
                .build();
            route.header.kind = RouteType::BlackHole;
            handle.route().add(route).execute().await.unwrap();
        });
        for (rloc, errno) in [("203.0.113.1", libc::ENETUNREACH), ("2001:db8:dead::1", libc::EINVAL)] {
            let error = send_one(&mut pool, rloc);
            let said = matches!(&error, Some(SendError::Io(error)) if error.raw_os_error() == Some(errno));
            assert!(said && pool.has_flow_label(), "{rloc}: {error:?}");
        }
        let _reserved = reserve_flow_label();
        assert!(send_one(&mut pool, FAR.rlocs[1]).is_none());
        // The label of the packet is the very one that is reserved: without any it leaves.
        assert!(!pool.has_flow_label());
        pool.set_rlocs(&NEAR.rlocs.map(ip));
        assert!(pool.has_flow_label(), "other interfaces, other luck");
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        ready.send(()).unwrap();
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

/// Another program may reserve a flow label of IPv6 for itself; from then on the kernel refuses labels that nobody reserved.
#[test]
fn without_flow_labels_of_our_own_packets_leave_all_the_same() {
    let near = || {
        let reserved = reserve_flow_label();
        let node = Node::start(NEAR, 1500, Tier::One);
        lead_into_tunnel(NEAR, FAR);
        FAR.prefixes.iter().for_each(|net| node.map(net, FAR.rlocs[1]));
        let socket = bind(NEAR.hosts[0], 0);
        socket.connect((ip(FAR.hosts[0]), 7)).unwrap();
        for number in 0..8 {
            socket.send(&[number]).unwrap();
        }
        for number in 0..8 {
            let mut answer = [0; 9];
            assert_eq!((socket.recv(&mut answer).unwrap(), answer[0]), (1, number));
        }
        assert_eq!(node.plane.counters().dropped(DropReason::CoreSend), 0);
        drop(reserved);
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, Tier::One);
        NEAR.prefixes.iter().for_each(|net| node.map(net, NEAR.rlocs[1]));
        lead_into_tunnel(FAR, NEAR);
        echo(FAR.hosts, ready, stop);
    };
    in_two_namespaces(near, far);
}

/// The socket that has a flow label for itself (in6_flowlabel_req of linux/in6.h).
fn reserve_flow_label() -> Socket {
    const IPV6_FLOWLABEL_MGR: libc::c_int = 32;
    const EXCLUSIVE: u8 = 1;
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
    let IpAddr::V6(to) = ip(FAR.rlocs[1]) else { panic!() };
    let mut request = [0u8; 32];
    request[..16].copy_from_slice(&to.octets());
    request[16..20].copy_from_slice(&0x1_2345u32.to_be_bytes());
    // Get, create, for this socket alone.
    (request[20], request[21]) = (0, EXCLUSIVE);
    request[22..24].copy_from_slice(&1u16.to_ne_bytes());
    let option = (libc::IPPROTO_IPV6, IPV6_FLOWLABEL_MGR);
    let length = libc::socklen_t::try_from(request.len()).unwrap();
    // SAFETY: the option reads one in6_flowlabel_req, of the 32 octets that `request` has.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), option.0, option.1, request.as_ptr().cast(), length) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    socket
}

/// Much data over one TCP connection, inner and outer of both families, through super-packets: all arrives, nothing has a wrong
/// checksum, and far fewer packets cross the TUN devices than segments are encapsulated.
#[test]
fn a_tcp_stream_crosses_in_super_packets_without_a_wrong_checksum() {
    const OCTETS: usize = 20_000_000;
    let near = || {
        let node = Node::start(NEAR, 1500, Tier::One);
        lead_into_tunnel(NEAR, FAR);
        for rloc in FAR.rlocs {
            for (net, host) in FAR.prefixes.iter().zip(FAR.hosts) {
                node.map(net, rloc);
                let mut stream = TcpStream::connect((ip(host), 8080)).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(&vec![0x42; OCTETS]).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut answer = [0; 8];
                stream
                    .read_exact(&mut answer)
                    .unwrap_or_else(|error| panic!("{rloc} {host}: {error}, {:?}", node.plane.counters().snapshot()));
                assert_eq!(usize::from_be_bytes(answer), OCTETS);
            }
        }
        // Groups that are too long for the cable all at once: the connection finds the new size, and goes on.
        set_cable_mtu(1400);
        let mut stream = TcpStream::connect((ip(FAR.hosts[0]), 8080)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&vec![0x42; OCTETS]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        assert_eq!(node.count(Count::PathMtu), 1);
        let encapsulated = node.count(Count::Encapsulated);
        assert!(encapsulated > 4 * 20_000_000 / 1500, "{encapsulated}");
        assert_eq!(checksum_errors(), 0);
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, Tier::One);
        NEAR.prefixes.iter().for_each(|net| node.map(net, NEAR.rlocs[0]));
        lead_into_tunnel(FAR, NEAR);
        let listeners = FAR.hosts.map(|host| TcpListener::bind((ip(host), 8080)).unwrap());
        ready.send(()).unwrap();
        for listener in [&listeners[0], &listeners[1], &listeners[0], &listeners[1], &listeners[0]] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut octets = Vec::new();
            stream.read_to_end(&mut octets).unwrap();
            assert!(octets.iter().all(|octet| *octet == 0x42));
            stream.write_all(&octets.len().to_be_bytes()).unwrap();
        }
        stop.recv().unwrap();
        assert_eq!(checksum_errors(), 0);
        let written = packets_from_tunnel();
        assert!(
            written * 4 < node.count(Count::Decapsulated),
            "{written} packets of {:?}",
            node.plane.counters().snapshot()
        );
    };
    in_two_namespaces(near, far);
}

/// Packets that the kernel has got from the TUN device.
fn packets_from_tunnel() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with(TUN)).unwrap();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// Segments and datagrams with a wrong checksum that the kernel of this namespace has met.
fn checksum_errors() -> u64 {
    let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let of = |protocol: &str| -> u64 {
        let lines: Vec<&str> = snmp.lines().filter(|line| line.starts_with(protocol)).collect();
        let column = lines[0].split_whitespace().position(|name| name == "InCsumErrors").unwrap();
        lines[1].split_whitespace().nth(column).unwrap().parse().unwrap()
    };
    let snmp6 = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let of_v6 = snmp6.lines().filter(|line| line.starts_with("Udp6InCsumErrors"));
    let of_v6: u64 = of_v6.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
    of("Tcp:") + of("Udp:") + of_v6
}
