// SPDX-License-Identifier: GPL-2.0-or-later
//! Ways into the network that outlive a node or a place: the peers of the last run, an anycast address, and what a node behind
//! NAT does.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use cgeid::Network;
use dht::shell::limits;
use dht::shell::node::{Multiaddr, Node, NodeConfig};
use dht::shell::shelf::Shelf;
use interop::lab::{self, Topology};

use crate::common::key_of;
use crate::field::{Field, is_possible, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// A node with a store, at 127.60.`number`.1.
fn start(number: u8, bootstrap: &[Multiaddr], remember: Option<&Path>) -> Node {
    let config = NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(127, 60, number, 1))],
        port: 0,
        bootstrap: bootstrap.to_vec(),
        remember: remember.map(Path::to_path_buf),
        ..NodeConfig::server(&key_of([number; 32]))
    };
    let shelf = Shelf::in_memory(Network::LAB, config.place());
    Node::start(config, Box::new(shelf)).unwrap()
}

async fn wait_for_peers(node: &Node, peers: usize) {
    let begun = Instant::now();
    while node.peer_set().peers != peers {
        assert!(begun.elapsed() < LIMIT, "{} peers, wanted {peers}", node.peer_set().peers);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_peers_of_the_last_run_are_a_way_in() {
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("node.peers");
    let (first, second) = (start(1, &[], None), start(2, &[], None));
    let both = [first.listen_addrs(), second.listen_addrs()].concat();
    let node = start(3, &both, Some(&memory));
    wait_for_peers(&node, 2).await;
    node.shutdown().await;
    let written = std::fs::read_to_string(&memory).unwrap();
    assert_eq!(written.lines().count(), 3, "{written}");
    first.shutdown().await;
    let again = start(3, &[], Some(&memory));
    wait_for_peers(&again, 1).await;
    again.shutdown().await;
}

#[tokio::test]
async fn a_damaged_memory_is_moved_aside_and_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("node.peers");
    std::fs::write(&memory, "lisp-dht peers 1\n/ip4/127.60.1.1/udp/43").unwrap();
    let first = start(11, &[], None);
    let node = start(12, &first.listen_addrs(), Some(&memory));
    wait_for_peers(&node, 1).await;
    assert!(folder.path().join("node.damaged").exists());
    node.shutdown().await;
    assert!(std::fs::read_to_string(&memory).unwrap().contains("/127.60.11.1/"));
}

const ANYCAST: &str = "192.0.2.1";

/// Two nodes with one address, at different distances from the newcomers.
fn near_and_far() -> Topology {
    let leaf = |name, address: &str, gate: &str| {
        lab::Node::host(name).port("eth0", name, &[address]).default_route(gate, "eth0")
    };
    Topology::default()
        .with(leaf("near", "198.51.100.2/24", "198.51.100.1"))
        .with(leaf("far", "203.0.113.2/24", "203.0.113.1"))
        .with(leaf("early", "198.18.1.2/24", "198.18.1.1"))
        .with(leaf("late", "198.18.2.2/24", "198.18.2.1"))
        .with(
            lab::Node::router("core")
                .port("near", "near", &["198.51.100.1/24"])
                .port("far", "far", &["203.0.113.1/24"])
                .port("early", "early", &["198.18.1.1/24"])
                .port("late", "late", &["198.18.2.1/24"]),
        )
}

#[test]
fn an_anycast_address_outlives_its_nearest_node() {
    if !is_possible(&["ip"]) {
        return;
    }
    let field = Field::new(&near_and_far());
    for host in ["near", "far"] {
        field.system(host, &format!("ip address add {ANYCAST}/32 dev lo"));
    }
    field.system("core", &format!("ip route add {ANYCAST}/32 via 198.51.100.2 metric 10"));
    field.system("core", &format!("ip route add {ANYCAST}/32 via 203.0.113.2 metric 20"));
    let anycast = ["--anycast", ANYCAST, "--discovery", "off"];
    let near = field.node("near", &[&anycast[..], &["--bootstrap", "203.0.113.2:43420"]].concat());
    let far = field.node("far", &anycast);
    let early = field.node("early", &anycast);
    wait_for("the first newcomer knows both", LIMIT, || field.peers("early") == 2);
    for host in ["near", "far", "early"] {
        assert!(!field.known(host).contains(ANYCAST), "{host}: {}", field.known(host));
    }
    near.kill().unwrap();
    // What a routing protocol does.
    field.system("core", &format!("ip route del {ANYCAST}/32 via 198.51.100.2 metric 10"));
    let late = field.node("late", &anycast);
    wait_for("the second newcomer gets in by the other", LIMIT, || field.peers("late") >= 2);
    let known = field.known("late");
    assert!(known.contains("203.0.113.2") && known.contains("198.18.1.2") && !known.contains(ANYCAST), "{known}");
    drop(early);
    assert!(!std::fs::read_to_string(field.path("early.state/node.peers")).unwrap().contains(ANYCAST));
    drop((far, late));
}

/// Three servers of different blocks and a host behind a router.
fn behind_a_router() -> Topology {
    let blocks = ["198.51.100.1/24", "203.0.113.1/24", "192.0.2.1/24"];
    let mut topology = Topology::default().switch("core");
    let mut gate =
        lab::Node::router("gate").port("in", "site", &["10.9.0.1/24"]).port("out", "core", &["198.18.0.1/24"]);
    for (name, address) in ["a", "b", "c"].into_iter().zip(blocks) {
        let mut server = lab::Node::host(name).port("eth0", "core", &[address]).on_link("198.18.0.0/24", "eth0");
        for other in blocks.iter().filter(|other| **other != address) {
            server = server.on_link(&other.replace(".1/", ".0/"), "eth0");
        }
        gate = gate.on_link(&address.replace(".1/", ".0/"), "out");
        topology = topology.with(server);
    }
    let inner = lab::Node::host("inner").port("eth0", "site", &["10.9.0.2/24"]).default_route("10.9.0.1", "eth0");
    topology.with(gate).with(inner)
}

#[test]
fn a_node_behind_nat_is_in_nobodys_routing_table_and_serves_when_it_can_be_reached() {
    if !is_possible(&["ip", "nft"]) {
        return;
    }
    let field = Field::new(&behind_a_router());
    field.system("gate", "nft add table ip nat");
    field.system("gate", "nft add chain ip nat post { type nat hook postrouting priority 100 ; }");
    field.system("gate", "nft add rule ip nat post oifname out masquerade");
    let quiet = ["--discovery", "off"];
    let to_all =
        ["--bootstrap", "198.51.100.1:43420", "--bootstrap", "203.0.113.1:43420", "--bootstrap", "192.0.2.1:43420"];
    let mut nodes = vec![field.node("a", &quiet)];
    nodes.extend(["b", "c"].map(|host| field.node(host, &[&quiet[..], &to_all[..2]].concat())));
    let servers = ["a", "b", "c"];
    wait_for("the servers know each other", LIMIT, || servers.iter().all(|host| field.peers(host) == 2));
    nodes.push(field.node("inner", &[&quiet[..], &to_all].concat()));
    wait_for("the node behind NAT knows them", LIMIT, || field.peers("inner") == 3);
    wait_for("it knows that it cannot be reached", LIMIT, || field.stats("inner").unwrap()["reachable"] == false);
    assert!(servers.iter().all(|host| field.peers(host) == 2), "nobody hands it on: {}", field.known("a"));
    let cn = field.put("inner", "198.51.100.1:43420");
    assert!(field.finds("inner", cn, "203.0.113.1:43420"));

    field.system("gate", "nft delete table ip nat");
    for host in servers {
        field.system(host, "ip route add 10.9.0.0/24 via 198.18.0.1 dev eth0 onlink");
    }
    // On a busy machine others may have tried its address in vain a moment ago, and then once more.
    let limit = 2 * limits::TRY_AGAIN + LIMIT;
    wait_for("without NAT it serves", limit, || field.stats("inner").unwrap()["reachable"] == true);
    wait_for("and is handed on", limit, || servers.iter().all(|host| field.known(host).contains("10.9.0.2")));
}
