// SPDX-License-Identifier: GPL-2.0-or-later
//! What the kernel and routers say of the way to an RLOC, in two network namespaces: too narrow, nobody there, no way, a flow label
//! that is another's. Needs root and `/dev/net/tun`.
#![allow(unsafe_code, reason = "a flow label is reserved by an option that no safe call covers")]

use std::io::{IoSlice, Read as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::two_nodes::{
    FAR, NEAR, Node, PATIENCE, bind, clog_cable, comparable, eavesdrop, echo, in_two_namespaces, ip, lead_into_tunnel,
    netlink, set_cable_mtu,
};
use netlink_packet_route::route::RouteType;
use rtnetlink::RouteMessageBuilder;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wire::data::{LispHeader, OuterHeader, TrafficClass, checksum};
use xtr::config::Tier;
use xtr::counters::{Count, DropReason};
use xtr::map_cache::Event;
use xtr::offload::Message;
use xtr::shell::data_socket::DataSockets;
use xtr::shell::device::{CoreSockets, GroupSockets, SendError};
use xtr::shell::port_pool::PortPool;

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
    [Tier::Zero, Tier::One].into_iter().for_each(|tier| router_teaches(tier, false));
}

#[test]
fn a_router_behind_a_nat_teaches_the_path_mtu_to_an_rtr() {
    [Tier::Zero, Tier::One].into_iter().for_each(|tier| router_teaches(tier, true));
}

fn router_teaches(tier: Tier, through_nat: bool) {
    let near = move || {
        for rloc in FAR.rlocs {
            let node = Node::start(NEAR, 1500, tier);
            lead_into_tunnel(NEAR, FAR);
            for net in FAR.prefixes {
                if through_nat { node.map_through_nat(net, rloc) } else { node.map(net, rloc) }
            }
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
fn a_forged_report_stops_no_ipv6_packet_of_1280_which_routers_may_fragment() {
    [Tier::Zero, Tier::One].into_iter().for_each(forged_report_stops_nothing);
}

fn forged_report_stops_nothing(tier: Tier) {
    let payload = 1280 - 40 - 8;
    let near = move || {
        let node = Node::start(NEAR, 1500, tier);
        lead_into_tunnel(NEAR, FAR);
        FAR.prefixes.iter().for_each(|net| node.map(net, FAR.rlocs[0]));
        let socket = bind(NEAR.hosts[1], 0);
        socket.connect((ip(FAR.hosts[1]), 7)).unwrap();
        let send = |octet| socket.send(&vec![octet; payload]).unwrap();
        send(0);
        let started = Instant::now();
        while node.count(Count::PathMtu) == 0 {
            assert!(started.elapsed() < PATIENCE, "{tier:?}: {:?}", node.plane.counters().snapshot());
            std::thread::sleep(Duration::from_millis(1));
        }
        (1..=3).for_each(|octet| assert_eq!(send(octet), payload));
        let mut answer = [0; 2000];
        for octet in 0..=3 {
            let length = socket.recv(&mut answer).unwrap_or_else(|error| panic!("{tier:?} {octet}: {error}"));
            assert_eq!((length, answer[0]), (payload, octet), "{tier:?}");
        }
        assert_eq!(node.plane.counters().dropped(DropReason::PathTooNarrow), 0);
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, tier);
        NEAR.prefixes.iter().for_each(|net| node.map(net, NEAR.rlocs[0]));
        lead_into_tunnel(FAR, NEAR);
        let ear = eavesdrop(libc::ETH_P_IP);
        let forger = std::thread::spawn(move || {
            let icmp = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
            let outer = |octets: &[u8]| (octets[0] >> 4 == 4 && octets[1316 - 1] < 4).then(|| octets.to_vec());
            let next = || loop {
                let mut octets = [0; 4000];
                let length = (&ear).read(&mut octets).unwrap();
                if length == 1316
                    && let Some(outer) = outer(&octets[..length])
                {
                    return outer;
                }
            };
            let first = next();
            assert_eq!(first[6], 0x40, "{tier:?}: DF");
            let to = SockAddr::from(SocketAddr::new(ip(NEAR.rlocs[0]), 0));
            icmp.send_to(&too_big(&first, 600), &to).unwrap();
            let others = [next(), next(), next()];
            let identifications = others.map(|outer| {
                assert_eq!(outer[6] & 0x40, 0, "{tier:?}: no DF");
                [outer[4], outer[5]]
            });
            let [one, two, three] = identifications;
            // RFC 791: what may be fragmented is told apart by it.
            assert!(one != two && two != three && three != one, "{tier:?}: {identifications:?}");
        });
        echo(FAR.hosts, ready, stop);
        forger.join().unwrap();
    };
    in_two_namespaces(near, far);
}

#[test]
fn a_locator_where_nobody_takes_lisp_is_a_hint_to_probe_it() {
    nobody_takes_lisp(|node, net, rloc| node.map(net, rloc));
}

#[test]
fn an_rtr_that_takes_no_lisp_is_a_hint_to_ask_it() {
    nobody_takes_lisp(|node, net, rloc| node.map_through_nat(net, rloc));
}

fn nobody_takes_lisp(map: fn(&Node, &str, &str)) {
    // The other kernel says nothing about a UDP datagram without checksum over IPv6, which tier 0 sends.
    for (tier, rloc) in [(Tier::Zero, FAR.rlocs[0]), (Tier::One, FAR.rlocs[0]), (Tier::One, FAR.rlocs[1])] {
        let near = move || {
            let mut node = Node::start(NEAR, 1500, tier);
            FAR.prefixes.iter().for_each(|net| map(&node, net, rloc));
            lead_into_tunnel(NEAR, FAR);
            let socket = bind(NEAR.hosts[0], 0);
            socket.send_to(&[7; 100], (ip(FAR.hosts[0]), 9)).unwrap();
            assert_eq!(node.event(), Event::Silent { rloc: ip(rloc) });
            let started = Instant::now();
            while node.count(Count::Unreachable) == 0 {
                assert!(started.elapsed() < PATIENCE, "{tier:?} {rloc}: said by a timer, not by the kernel");
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(node.count(Count::Unreachable), 1, "{tier:?} {rloc}");
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
    let (class, lisp) = (TrafficClass(0), [0; LispHeader::LENGTH]);
    let (source_port, destination_port) = (50_000, wire::DATA_PORT);
    let (flow_label, dont_fragment) = (0x1_2345, true);
    OuterHeader { source, destination, source_port, destination_port, ttl: 9, class, flow_label, dont_fragment, lisp }
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
            // The router is heard by one of the next packets, none of which is lost.
            let started = Instant::now();
            let mtu = loop {
                let error = send_one(&mut pool, rloc);
                assert!(error.is_none(), "{rloc}: {error:?}");
                if let Some(report) = pool.report() {
                    break report.mtu;
                }
                assert!(started.elapsed() < PATIENCE, "{rloc}: the router was not heard");
                std::thread::sleep(Duration::from_millis(20));
            };
            assert_eq!(mtu, 1300, "{rloc}");
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

/// The same of one packet in tier 0.
fn send_raw(sockets: &mut DataSockets, rloc: &str) -> Option<SendError> {
    let mut inner = [0; 100];
    inner[0] = 0x45;
    CoreSockets::send(sockets, &outer_to(rloc), &inner).err()
}

#[test]
fn forged_reports_in_any_number_cost_no_packet_in_tier_0() {
    forged_reports_cost_nothing(Tier::Zero);
}

#[test]
fn forged_reports_in_any_number_cost_no_packet_in_tier_1() {
    forged_reports_cost_nothing(Tier::One);
}

/// What was sent before has not left yet, on a busy machine: no report says so.
fn is_for_want_of_room(error: &SendError) -> bool {
    let SendError::Io(error) = error else { return false };
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

fn forged_reports_cost_nothing(tier: Tier) {
    const PACKETS: usize = 100_000;
    let near = move || {
        let rloc = FAR.rlocs[0];
        let (mut sockets, mut pool) = match tier {
            Tier::Zero => (Some(DataSockets::open(&[ip(NEAR.rlocs[0])]).unwrap()), None),
            _ => (None, Some(PortPool::open(&[ip(NEAR.rlocs[0])]).unwrap())),
        };
        let mut send = || match (&mut sockets, &mut pool) {
            (Some(sockets), _) => {
                let error = send_raw(sockets, rloc);
                (error, CoreSockets::unreachable(sockets).is_some())
            }
            (_, Some(pool)) => {
                let error = send_one(pool, rloc);
                (error, GroupSockets::unreachable(pool).is_some())
            }
            _ => panic!(),
        };
        let started = Instant::now();
        while !send().1 {
            assert!(started.elapsed() < PATIENCE, "{tier:?}: no report came");
            std::thread::sleep(Duration::from_millis(1));
        }
        let (mut lost, mut heard) = (Vec::new(), 0);
        let (started, mut sent) = (Instant::now(), 0);
        // Who forges them may have no processor for a while.
        while sent < PACKETS || heard <= PACKETS / 1000 {
            let (error, is_heard) = send();
            lost.extend(error.filter(|error| !is_for_want_of_room(error)));
            (sent, heard) = (sent + 1, heard + usize::from(is_heard));
            let is_enough = heard > PACKETS / 1000;
            let is_in_time = sent < PACKETS || is_enough || started.elapsed() < PATIENCE;
            assert!(is_in_time, "{tier:?}: {heard} reports beside {sent} packets");
        }
        assert!(lost.is_empty(), "{tier:?}: {} lost among {heard} reports, {:?}", lost.len(), lost.first());
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        // So that nothing but what is forged comes back.
        let _receivers = FAR.rlocs.map(|rloc| bind(rloc, wire::DATA_PORT));
        forge_reports(ready, stop);
    };
    in_two_namespaces(near, far);
}

/// Says of the first packet that comes that nobody took it, again and again.
fn forge_reports(ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>) {
    const BETWEEN: Duration = Duration::from_micros(10);
    let ear = eavesdrop(libc::ETH_P_IP);
    ready.send(()).unwrap();
    let outer = loop {
        let mut octets = [0; 4000];
        let length = (&ear).read(&mut octets).unwrap();
        if octets[..length].get(22..24) == Some(&wire::DATA_PORT.to_be_bytes()) {
            break octets[..28].to_vec();
        }
    };
    drop(ear);
    let mut report = [&[3, 3, 0, 0, 0, 0, 0, 0], outer.as_slice()].concat();
    let sum = checksum::internet(&report);
    report[2..4].copy_from_slice(&sum.to_be_bytes());
    let icmp = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    let to = SockAddr::from(SocketAddr::new(ip(NEAR.rlocs[0]), 0));
    let mut next = Instant::now();
    while stop.try_recv() == Err(mpsc::TryRecvError::Empty) {
        // What others of the machine took of the time is not made up for.
        next = Instant::now().max(next + BETWEEN);
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        let _ = icmp.send_to(&report, &to);
    }
}

/// Both packet threads have the socket on the data port, and either may read what is said of its packets.
#[test]
fn forged_reports_in_any_number_cost_no_packet_through_a_nat() {
    const PACKETS: u64 = 20_000;
    let near = move || {
        let node = Node::start(NEAR, 1500, Tier::One);
        lead_into_tunnel(NEAR, FAR);
        FAR.prefixes.iter().for_each(|net| node.map_through_nat(net, FAR.rlocs[0]));
        let socket = bind(NEAR.hosts[0], 0);
        let heard = || node.count(Count::Unreachable) + node.count(Count::UnreachableRefused);
        let started = Instant::now();
        let mut sent = 0;
        while sent < PACKETS || heard() < PACKETS / 100 {
            socket.send_to(&[7; 100], (ip(FAR.hosts[0]), 9)).unwrap();
            sent += 1;
            std::thread::sleep(Duration::from_micros(20));
            assert!(started.elapsed() < 2 * PATIENCE, "{} reports beside {sent} packets", heard());
        }
        let lost = node.plane.counters().dropped(DropReason::CoreSend);
        assert_eq!(lost, 0, "of {sent} packets among {} reports", heard());
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        // So that nothing but what is forged comes back.
        let _receivers = FAR.rlocs.map(|rloc| bind(rloc, wire::DATA_PORT));
        forge_reports(ready, stop);
    };
    in_two_namespaces(near, far);
}

#[test]
fn what_the_queue_of_the_uplink_drops_of_packets_through_a_nat_was_not_sent() {
    let (came, has_come) = mpsc::channel::<()>();
    let near = move || {
        let nodes = FAR.rlocs.map(|rloc| (rloc, FAR.prefixes[usize::from(ip(rloc).is_ipv6())]));
        let node = Node::start(NEAR, 1500, Tier::One);
        lead_into_tunnel(NEAR, FAR);
        nodes.iter().for_each(|(rloc, net)| node.map_through_nat(net, rloc));
        let send = || {
            for (host, eid) in NEAR.hosts.into_iter().zip(FAR.hosts) {
                bind(host, 0).send_to(&[7; 100], (ip(eid), 9)).unwrap();
            }
        };
        send();
        // Nobody needs to be looked for any more when there is no room.
        nodes.iter().for_each(|_| has_come.recv_timeout(PATIENCE).unwrap());
        assert_eq!(node.plane.counters().dropped(DropReason::CoreSend), 0);
        clog_cable();
        send();
        let started = Instant::now();
        while node.plane.counters().dropped(DropReason::CoreSend) < 2 {
            assert!(started.elapsed() < PATIENCE, "{:?}", node.plane.counters().snapshot());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(node.count(Count::Encapsulated), 2, "those that have left");
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let receivers = FAR.rlocs.map(|rloc| bind(rloc, wire::DATA_PORT));
        ready.send(()).unwrap();
        for receiver in receivers {
            receiver.recv(&mut [0; 200]).unwrap();
            came.send(()).unwrap();
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
