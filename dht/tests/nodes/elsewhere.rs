// SPDX-License-Identifier: GPL-2.0-or-later
//! A node that listens elsewhere than at its start, as one does whose machine has lost an uplink and got another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use dht::shell::node::{Multiaddr, Node, PeerId};
use futures::StreamExt as _;
use libp2p::Swarm;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;

use crate::mesh::put_everywhere;
use crate::renew::{config, identity, mapping, server, start, wait_for};
use crate::stranger::{self, Fate, Speaks, keypair, presentation, run_for, try_with};

fn at(host: [u8; 2]) -> IpAddr {
    Ipv4Addr::new(127, host[0], host[1], 1).into()
}

/// Where a node is known to be, and whether it is connected; nowhere if it is not known.
async fn known(node: &Node, peer: PeerId) -> (Vec<Multiaddr>, bool) {
    let peers = node.stats().await.unwrap().peers;
    peers.into_iter().find(|known| known.id == peer).map(|known| (known.addresses, known.connected)).unwrap_or_default()
}

async fn is_known_at(node: &Node, mover: &Node, host: [u8; 2]) -> bool {
    let (addresses, is_connected) = known(node, mover.id()).await;
    is_connected && addresses.iter().filter_map(ip).eq([at(host)])
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(v4) => Some(v4.into()),
        Protocol::Ip6(v6) => Some(v6.into()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_listens_elsewhere_is_found_there_and_keeps_all_that_it_has() {
    let (owner, now) = (identity(), SystemTime::now());
    let first = server([61, 1], &[]);
    let node = start(config(&owner.delegate(now, 0).unwrap(), [61, 2], &first.listen_addrs()));
    let third = server([61, 3], &first.listen_addrs());
    wait_for("every peer", async || node.peer_set().peers == 2 && third.peer_set().peers == 2).await;
    let before = mapping();
    node.put(before.key.encode(), before.value.clone()).await.unwrap();
    let (id, port) = (node.id(), node.sockets()[0].port());

    node.listen_on(vec![at([61, 4])]);
    for peer in [&first, &third] {
        wait_for("the new address, and no other", async || is_known_at(peer, &node, [61, 4]).await).await;
    }
    assert_eq!((node.id(), node.peer_set().peers), (id, 2));
    assert_eq!(node.sockets().iter().map(ToString::to_string).collect::<Vec<_>>(), [format!("{}:{port}", at([61, 4]))]);
    assert_eq!(node.stats().await.unwrap().held.records, 1);
    let after = mapping();
    put_everywhere(&node, &after.key.encode(), &after.value, 2).await;
    // Somebody who knows nobody else finds the network there, and others tell him of that address.
    let late = server([61, 5], &node.listen_addrs());
    wait_for("every peer", async || late.peer_set().peers == 3).await;
    assert_eq!(late.get(before.key.encode(), |_| true).await.unwrap().len(), 1);
    let other = server([61, 6], &first.listen_addrs());
    wait_for("the node that moved", async || is_known_at(&other, &node, [61, 4]).await).await;

    // Under a later key it is where it was last.
    node.renew(&owner.delegate_revision(now, 0, 1).unwrap()).await.unwrap();
    assert_eq!(node.sockets().iter().map(|socket| IpAddr::V4(*socket.ip())).collect::<Vec<_>>(), [at([61, 4])]);
    wait_for("the new name", async || is_known_at(&first, &node, [61, 4]).await).await;
}

#[tokio::test]
async fn what_cannot_be_listened_on_yet_is_as_soon_as_it_can() {
    let node = server([63, 1], &[]);
    let port = node.sockets()[0].port();
    let occupied = UdpSocket::bind((at([63, 2]), port)).unwrap();
    // The first is an address of nobody here.
    node.listen_on(vec!["198.51.100.1".parse().unwrap(), at([63, 2]), at([63, 3])]);
    let listens = |hosts: &[[u8; 2]]| {
        let sockets = node.sockets();
        sockets.len() == hosts.len() && hosts.iter().all(|host| sockets.iter().any(|socket| *socket.ip() == at(*host)))
    };
    wait_for("the one that can be had", async || listens(&[[63, 3]])).await;
    drop(occupied);
    wait_for("the other", async || listens(&[[63, 2], [63, 3]])).await;
    assert!(node.sockets().iter().all(|socket| socket.port() == port));
    node.listen_on(vec![at([63, 1])]);
    wait_for("where it was", async || listens(&[[63, 1]])).await;
}

/// Goes on with a stranger's swarm until something holds of a node.
async fn run_until(swarm: &mut Swarm<Speaks>, node: &Node, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} does not come");
        run_for(swarm, node.id(), Duration::from_millis(20)).await;
    }
    println!("{what} after {:?}", begun.elapsed());
}

/// A port that is free there.
fn free_port(host: [u8; 2]) -> u16 {
    UdpSocket::bind((at(host), 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn who_is_connected_over_the_other_family_loses_the_former_address_and_gets_the_new_one() {
    let key = identity().delegate(SystemTime::now(), 0).unwrap();
    let mut seen_from = config(&identity().delegate(SystemTime::now(), 0).unwrap(), [64, 1], &[]);
    seen_from.listen.insert(0, Ipv6Addr::LOCALHOST.into());
    let node = start(seen_from);
    let (former, new) = (at([64, 2]), at([64, 3]));
    let mut mover = stranger::stranger(keypair(&key));
    mover.listen_on("/ip6/::1/udp/0/quic-v1".parse().unwrap()).unwrap();
    let listener = mover.listen_on(stranger::at(&former.to_string())).unwrap();
    let id = *mover.local_peer_id();
    run_for(&mut mover, node.id(), Duration::from_millis(100)).await;
    let octets = presentation(&key, node.id()).encode();
    assert_eq!(try_with(&mut mover, &node, octets).await, Fate::Answered(0));
    let is_at = async |hosts: &[IpAddr]| {
        let (addresses, is_connected) = known(&node, id).await;
        let mut ips: Vec<IpAddr> = addresses.iter().filter_map(ip).collect();
        ips.sort();
        is_connected && ips == hosts
    };
    let there: IpAddr = Ipv6Addr::LOCALHOST.into();
    run_until(&mut mover, &node, "both addresses", async || is_at(&[former, there]).await).await;

    // It is said to be there before it is: the first look is in vain.
    mover.remove_listener(listener);
    let address: Multiaddr = format!("/ip4/{new}/udp/{}/quic-v1", free_port([64, 3])).parse().unwrap();
    mover.add_external_address(address.clone());
    run_for(&mut mover, node.id(), Duration::from_millis(100)).await;
    let before = node.stats().await.unwrap().counters;
    mover.behaviour_mut().identify.push([node.id()]);
    run_until(&mut mover, &node, "the end of the former address", async || is_at(&[there]).await).await;
    let has_looked = async || {
        let counters = node.stats().await.unwrap().counters;
        counters.claims_tried == 2 && counters.dials_failed > before.dials_failed
    };
    run_until(&mut mover, &node, "the end of the first look", has_looked).await;
    assert!(mover.is_connected(&node.id()));
    mover.listen_on(address).unwrap();
    run_until(&mut mover, &node, "the new address", async || is_at(&[new, there]).await).await;
    assert_eq!(node.stats().await.unwrap().counters.claims_tried, 3);
}

#[tokio::test]
async fn who_is_connected_over_the_other_family_is_shown_the_new_address_by_a_dial() {
    let keys = [0, 1].map(|_| identity().delegate(SystemTime::now(), 0).unwrap());
    let mut mover = config(&keys[0], [68, 1], &[]);
    mover.listen.insert(0, Ipv6Addr::LOCALHOST.into());
    let node = start(mover);
    let mut peer = stranger::stranger(keypair(&keys[1]));
    peer.listen_on("/ip6/::1/udp/0/quic-v1".parse().unwrap()).unwrap();
    peer.listen_on(stranger::at(&at([68, 2]).to_string())).unwrap();
    let id = *peer.local_peer_id();
    run_for(&mut peer, node.id(), Duration::from_millis(100)).await;
    assert_eq!(try_with(&mut peer, &node, presentation(&keys[1], node.id()).encode()).await, Fate::Answered(0));
    run_until(&mut peer, &node, "both addresses", async || known(&node, id).await.0.len() == 2).await;
    // Until the look at the second one is over, and the node has reckoned with the peer once.
    run_for(&mut peer, node.id(), Duration::from_secs(2)).await;

    node.listen_on(vec![Ipv6Addr::LOCALHOST.into(), at([68, 3])]);
    let (mut shown, begun) = (None, Instant::now());
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "no dial from the new address");
        let Ok(event) = tokio::time::timeout(Duration::from_secs(1), peer.select_next_some()).await else { continue };
        match event {
            SwarmEvent::ConnectionEstablished { endpoint, connection_id, .. }
                if ip(endpoint.get_remote_address()) == Some(at([68, 3])) =>
            {
                shown = Some(connection_id);
            }
            SwarmEvent::ConnectionClosed { connection_id, num_established, .. } if shown == Some(connection_id) => {
                assert_eq!(num_established, 1, "it is closed again, and the other one stands");
                break;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_key_waits_for_no_address_that_cannot_be_had() {
    let (owner, now) = (identity(), SystemTime::now());
    let node = start(config(&owner.delegate(now, 0).unwrap(), [67, 1], &[]));
    let port = node.sockets()[0].port();
    let occupied = UdpSocket::bind((at([67, 2]), port)).unwrap();
    node.listen_on(vec![at([67, 1]), at([67, 2])]);
    let value = mapping();
    node.put(value.key.encode(), value.value.clone()).await.unwrap();

    let begun = Instant::now();
    let renewed =
        tokio::time::timeout(Duration::from_secs(30), node.renew(&owner.delegate_revision(now, 0, 1).unwrap()));
    assert_eq!(renewed.await.expect("the new key").unwrap(), node.id());
    println!("renewed in {:?}", begun.elapsed());
    let hosts = || node.sockets().iter().map(|socket| IpAddr::V4(*socket.ip())).collect::<Vec<_>>();
    assert_eq!(hosts(), [at([67, 1])]);
    assert_eq!(node.get(value.key.encode(), |_| true).await.unwrap().len(), 1);
    drop(occupied);
    wait_for("the other address", async || hosts() == [at([67, 1]), at([67, 2])]).await;
    assert!(node.sockets().iter().all(|socket| socket.port() == port));
}
