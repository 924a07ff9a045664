// SPDX-License-Identifier: GPL-2.0-or-later
//! Nobody takes turns while much comes: what is lost then is counted. In a network namespace; needs root and `/dev/net/tun`.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

#[path = "../../../tests/namespace/mod.rs"]
mod namespace;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rtnetlink::RouteMessageBuilder;
use socket2::{Domain, Protocol, Socket, Type};
use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv4Header, LispHeader, TrafficClass, UdpHeader};

use self::namespace::{in_namespace, netlink};
use super::*;
use crate::counters::Count;
use crate::etr::{Etr, EtrConfig};
use crate::itr::{Itr, ItrConfig};
use crate::map_cache::{Entry, Forwarding, Locator, Update};
use crate::shell::data_socket::DataSockets;
use crate::shell::decap_loop::DecapLoop;
use crate::shell::encap_loop::EncapLoop;
use crate::shell::gro_sockets::GroSockets;
use crate::shell::packet_loop::PacketLoop;
use crate::shell::port_pool::PortPool;
use crate::shell::tun::Tun;

const TUN: &str = "lisp0";
const RLOC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// On the same machine: what is sent there arrives, and nobody takes it.
const OTHER_RLOC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// Datagrams each way.
const SENT: u64 = 2000;
/// Octets of a datagram from the core: so many of these as no receive buffer of ours has room for.
const LONG: usize = 24_000;
/// Datagrams from the core with a wrong UDP checksum.
const DAMAGED: u64 = 3;

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

fn engines(now: Instant, counters: &Arc<Counters>) -> (Itr, Etr) {
    let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    let mut itr = Itr::new(now, config, counters.clone());
    let mut etr = Etr::new(EtrConfig::default(), counters.clone());
    let locators = vec![Locator { address: OTHER_RLOC.into(), priority: 1, weight: 1 }];
    let entry = Entry { forwarding: Forwarding::Locators(locators), expires: now + Duration::from_secs(600) };
    let updates = [
        Update::LocalRlocs(vec![RLOC.into()]),
        Update::LocalEids(vec![prefix("10.0.0.0/24")]),
        Update::Upsert { prefix: prefix("10.0.1.0/24"), entry },
    ];
    for update in updates {
        etr.update(&update);
        itr.update(now, update);
    }
    (itr, etr)
}

/// The device is up, and packets to the other site go there; nothing else does.
fn lead_into(tun: &Tun) {
    std::fs::write("/proc/sys/net/ipv6/conf/lisp0/disable_ipv6", "1").unwrap();
    tun.bring_up(1500).unwrap();
    tun.lengthen_queue().unwrap();
    netlink(async |handle| {
        let index = nix::net::if_::if_nametoindex(TUN).unwrap();
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::new(10, 0, 1, 0), 24)
            .output_interface(index)
            .build();
        handle.route().add(route).execute().await.unwrap();
    });
}

/// As many as nobody takes in time, each way, and some that are damaged.
fn send_much() {
    let from_site = UdpSocket::bind((HOST, 0)).unwrap();
    let from_core = UdpSocket::bind((OTHER_RLOC, 0)).unwrap();
    let inner = Ipv4Header {
        source: OTHER_HOST,
        destination: HOST,
        protocol: 17,
        ttl: 9,
        class: TrafficClass(0),
        dont_fragment: true,
    };
    let inner = inner.emit(LONG).unwrap();
    let encapsulated = [&[0; LispHeader::LENGTH], inner.as_slice(), &[0; LONG]].concat();
    for _ in 0..SENT {
        from_site.send_to(&[1; 100], (OTHER_HOST, 9)).unwrap();
        from_core.send_to(&encapsulated, (RLOC, wire::DATA_PORT)).unwrap();
    }
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).unwrap();
    let damaged = UdpHeader { source: 50_000, destination: wire::DATA_PORT, checksum: 1 }.emit(100).unwrap();
    let damaged = [damaged.as_slice(), &[0; 100]].concat();
    for _ in 0..DAMAGED {
        raw.send_to(&damaged, &SocketAddr::new(RLOC.into(), 0).into()).unwrap();
    }
}

/// Nothing was lost that no counter names.
fn assert_all_is_counted(tier: usize, losses: &Losses, counters: &Counters) {
    losses.count();
    let lost = [DropReason::SiteQueue, DropReason::CoreReceiveBuffer].map(|reason| counters.dropped(reason));
    let carried = [Count::Encapsulated, Count::Decapsulated].map(|count| counters.get(count));
    assert_eq!([carried[0] + lost[0], carried[1] + lost[1]], [SENT, SENT + DAMAGED], "tier {tier}: {lost:?}");
    assert!(lost.iter().zip(carried).all(|(lost, carried)| *lost > 100 && carried > 100), "{lost:?} {carried:?}");
    losses.count();
    let again = [DropReason::SiteQueue, DropReason::CoreReceiveBuffer].map(|reason| counters.dropped(reason));
    assert_eq!(again, lost, "each is counted once");
}

#[test]
fn what_nobody_took_in_time_is_counted_in_tier_0() {
    in_namespace(&["192.0.2.1", "192.0.2.2", "10.0.0.1"], || {
        let (now, counters, ports) = (Instant::now(), Arc::default(), FixedPorts::default());
        let mut sockets = DataSockets::open(&[RLOC.into()]).unwrap();
        sockets.lend_to(&ports);
        let tun = Tun::open(TUN).unwrap();
        lead_into(&tun);
        let (_updates, received) = sync_channel(1);
        let (events, _said) = tokio::sync::mpsc::channel(1);
        let mut packets =
            PacketLoop::new(engines(now, &counters), (tun, sockets), (received, events), counters.clone());
        send_much();
        while packets.turn(now) {}
        assert_all_is_counted(0, &Losses::new(TUN, &ports, &counters), &counters);
    });
}

#[test]
fn what_nobody_took_in_time_is_counted_in_tier_1() {
    in_namespace(&["192.0.2.1", "192.0.2.2", "10.0.0.1"], || {
        let (now, counters, ports) = (Instant::now(), Arc::default(), FixedPorts::default());
        let mut receivers = GroSockets::open(&[RLOC.into()]).unwrap();
        receivers.lend_to(&ports);
        let pool = PortPool::open(&[RLOC.into()]).unwrap();
        let (tun, offload) = Tun::open_offloaded(TUN).unwrap();
        lead_into(&tun);
        let (itr, etr) = engines(now, &counters);
        let [(_to_itr, for_itr), (_to_etr, for_etr)] = [0; 2].map(|_| sync_channel(1));
        let (events, _said) = tokio::sync::mpsc::channel(1);
        let site = tun.super_tun().unwrap();
        let mut encap = EncapLoop::new(itr, (site, pool), (for_itr, events), counters.clone());
        let site = tun.super_tun().unwrap();
        let mut decap = DecapLoop::new(etr, (site, receivers), for_etr, counters.clone(), offload.udp);
        send_much();
        while encap.turn(now) {}
        while decap.turn() {}
        let losses = Losses::new(TUN, &ports, &counters);
        assert_all_is_counted(1, &losses, &counters);
        // What a socket lost is told although it is closed.
        send_much();
        drop(losses);
        let before = counters.dropped(DropReason::CoreReceiveBuffer);
        ports.lend(wire::DATA_PORT, std::iter::empty::<(IpAddr, _)>());
        Losses::new("none", &ports, &counters).count();
        assert!(counters.dropped(DropReason::CoreReceiveBuffer) > before + 100);
    });
}
