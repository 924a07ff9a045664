// SPDX-License-Identifier: GPL-2.0-or-later
//! What both tiers put on the wire, side by side, as another network namespace sees it. Needs root and `/dev/net/tun`.
#![allow(unsafe_code, reason = "super-packets are cut by an option that no safe call covers")]

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::two_nodes::{FAR, NEAR, Node, PATIENCE, comparable, eavesdrop, in_two_namespaces, ip, lead_into_tunnel};
use socket2::{Domain, SockAddr, Socket, Type};
use xtr::config::Tier;
use xtr::counters::{Count, DropReason};

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
