// SPDX-License-Identifier: GPL-2.0-or-later
//! The node over real QUIC on loopback, with a store whose rule is simple enough to see through: a value is `ok`, a
//! sequence digit and a text, and a lower digit is refused.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, OperationalKey};
use dht::shell::limits;
use dht::shell::node::{Held, Multiaddr, Node, NodeConfig, NodeError, Reason, Records, Role};
use dht::store::Origin;
use futures::StreamExt as _;
use zeroize::Zeroizing;

use crate::mesh::{put_everywhere, put_until};
use crate::stranger;

/// How long is waited for what comes of itself: some times what it takes on a machine that others use.
const LIMIT: Duration = Duration::from_secs(60);

/// A store with one rule; a lying one has none, and answers every GET with a forgery.
#[derive(Default)]
struct Double {
    held: HashMap<Vec<u8>, Vec<u8>>,
    lies: bool,
    /// Whether it is broken: it panics at its next housekeeping.
    is_broken: bool,
}

impl Records for Double {
    fn get(&self, _now: SystemTime, key: &[u8]) -> Option<Vec<u8>> {
        if self.lies { Some(b"forged".to_vec()) } else { self.held.get(key).cloned() }
    }

    fn put(&mut self, _now: SystemTime, _origin: Origin, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        let refuse = |name| Err(Reason { name, text: name.to_owned() });
        if self.lies {
            return Ok(());
        }
        if !is_valid(value) {
            return refuse("malformed");
        }
        if self.held.get(key).is_some_and(|known| known[2] > value[2]) {
            return refuse("old-sequence");
        }
        self.held.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn housekeep(&mut self, _now: SystemTime) {
        assert!(!std::mem::take(&mut self.is_broken), "broken on purpose");
    }

    fn held(&self) -> Held {
        Held { records: self.held.len(), bytes: self.held.values().map(Vec::len).sum(), ..Held::default() }
    }
}

fn is_valid(value: &[u8]) -> bool {
    value.len() > 2 && value.starts_with(b"ok")
}

fn start(network: u8, number: u8, role: Role, bootstrap: &[Multiaddr], lies: bool) -> Node {
    let address = IpAddr::V4(Ipv4Addr::new(127, network, number, 1));
    start_at((address, 0), [network, number], role, bootstrap, lies)
}

fn seed(name: [u8; 2]) -> [u8; 32] {
    let mut seed = [name[1]; 32];
    seed[0] = name[0];
    seed
}

fn operational_key(name: [u8; 2]) -> OperationalKey {
    let now = SystemTime::now();
    Identity::from_seed(&seed(name), Network::LAB, now).unwrap().delegate(now, 0).unwrap()
}

/// A server has certificates, a client shows nothing.
fn config_of(name: [u8; 2], role: Role) -> NodeConfig {
    match role {
        Role::Server => NodeConfig::server(&operational_key(name)),
        Role::Client => NodeConfig::client(Zeroizing::new(seed(name))),
    }
}

/// The `name` makes the node's identity.
fn start_at(at: (IpAddr, u16), name: [u8; 2], role: Role, bootstrap: &[Multiaddr], lies: bool) -> Node {
    let config = NodeConfig { listen: vec![at.0], port: at.1, bootstrap: bootstrap.to_vec(), ..config_of(name, role) };
    Node::start(config, Box::new(Double { lies, ..Double::default() })).unwrap()
}

/// `count` servers that bootstrap from the first; returns when each knows all others.
async fn mesh(network: u8, count: u8) -> Vec<Node> {
    let first = start(network, 1, Role::Server, &[], false);
    let bootstrap = first.listen_addrs();
    let mut nodes = vec![first];
    nodes.extend((2..=count).map(|number| start(network, number, Role::Server, &bootstrap, false)));
    wait_for_peers(&nodes, usize::from(count) - 1).await;
    nodes
}

async fn wait_for_peers(nodes: &[Node], peers: usize) {
    let begun = Instant::now();
    while nodes.iter().any(|node| node.peer_set().peers != peers) {
        let counts: Vec<usize> = nodes.iter().map(|node| node.peer_set().peers).collect();
        assert!(begun.elapsed() < LIMIT, "peers {counts:?}, wanted {peers} each");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{} nodes know {peers} peers each after {:?}", nodes.len(), begun.elapsed());
}

async fn get(node: &Node, key: &[u8]) -> Option<Vec<u8>> {
    let begun = Instant::now();
    let values = node.get(key.to_vec(), is_valid).await.unwrap();
    println!("get: {} values in {:?}", values.len(), begun.elapsed());
    assert!(begun.elapsed() < LIMIT / 2, "its own bound is {:?}", limits::GET_MOST);
    values.into_iter().rfind(|value| is_valid(value))
}

/// Records stored in a row by one node at so many others; how many requests another one has answered meanwhile, and how many PUTs had
/// to be made once more.
async fn put_many(by: &Node, at: &Node, keys: std::ops::Range<u32>, copies: usize) -> (u64, u64) {
    let before = at.stats().await.unwrap().counters.requests_answered;
    let mut again = 0;
    for key in keys {
        again += put_until(by, &key.to_be_bytes(), b"ok1 many", (true, copies, 0)).await - 1;
    }
    (at.stats().await.unwrap().counters.requests_answered - before, again)
}

#[tokio::test]
async fn nodes_that_are_few_are_looked_for_once_for_many_records_and_again_when_one_comes_or_goes() {
    const MANY: u32 = 100;
    let mut nodes = mesh(60, 3).await;
    put_many(&nodes[0], &nodes[1], 0..1, 2).await;
    let begun = Instant::now();
    let (answered, again) = put_many(&nodes[0], &nodes[1], 1..1 + MANY, 2).await;
    // The PUTs, and a lookup now and then, which asks it once or twice, one after each PUT that was not answered among them; one for
    // each PUT would be twice as many.
    let lookups = 1 + again + begun.elapsed().as_secs() / limits::WHOLE.as_secs();
    let most = u64::from(MANY) + again + 20 + 3 * lookups;
    assert!(answered < most, "{answered} of {most} in {:?}, {again} PUTs again", begun.elapsed());
    nodes.push(start(60, 4, Role::Server, &nodes[0].listen_addrs(), false));
    wait_for_peers(&nodes, 3).await;
    let (_, again) = put_many(&nodes[0], &nodes[1], 200..202, 3).await;
    assert!(again <= 3, "{again} PUTs until what was known of all nodes had ended by itself");
    nodes.pop().unwrap().shutdown().await;
    wait_for_peers(&nodes, 2).await;
    put_many(&nodes[0], &nodes[1], 300..302, 2).await;
}

#[tokio::test]
async fn what_one_puts_all_get() {
    let nodes = mesh(1, 5).await;
    let puts = put_until(&nodes[2], b"key", b"ok1 hello", (true, 4, 0)).await;
    for node in &nodes {
        assert_eq!(get(node, b"key").await.unwrap(), b"ok1 hello");
    }
    let stats = nodes[0].stats().await.unwrap();
    assert_eq!((stats.held.records, stats.peers.len()), (1, 4));
    assert!((1..=puts).contains(&stats.counters.puts_stored), "{puts} PUTs: {:?}", stats.counters);
}

#[tokio::test]
async fn a_client_puts_and_gets_without_entering_the_routing_table() {
    let nodes = mesh(2, 3).await;
    let client = start(2, 9, Role::Client, &nodes[0].listen_addrs(), false);
    put_until(&client, b"key", b"ok1 hello", (false, 3, 0)).await;
    let reader = start(2, 8, Role::Client, &nodes[1].listen_addrs(), false);
    assert_eq!(get(&reader, b"key").await.unwrap(), b"ok1 hello");
    assert_eq!(get(&reader, b"another").await, None);
    assert_eq!(nodes[0].stats().await.unwrap().peers.len(), 2);
}

#[tokio::test]
async fn a_publisher_sees_that_its_record_is_refused() {
    let nodes = mesh(3, 3).await;
    let own = nodes[0].put(b"key".to_vec(), b"nonsense".to_vec()).await;
    assert!(matches!(own, Err(NodeError::Refused(reason)) if reason.name == "malformed"));
    let client = start(3, 9, Role::Client, &nodes[0].listen_addrs(), false);
    let mut refused = put_until(&client, b"key", b"nonsense", (false, 0, 3)).await;
    put_until(&client, b"key", b"ok2 new", (false, 3, 0)).await;
    refused += put_until(&client, b"key", b"ok1 old", (false, 0, 3)).await;
    let counted = nodes[1].stats().await.unwrap().counters.puts_refused;
    assert!((2..=refused).contains(&counted), "{counted} of {refused}");
    assert_eq!(get(&nodes[1], b"key").await.unwrap(), b"ok2 new");
}

#[tokio::test]
async fn the_network_outlives_the_node_it_began_with() {
    let mut nodes = mesh(4, 5).await;
    let first = nodes.remove(0);
    first.shutdown().await;
    let begun = Instant::now();
    let puts = put_until(&nodes[0], b"late", b"ok1 after", (true, 3, 0)).await;
    println!("{puts} PUTs after the death in {:?}", begun.elapsed());
    for node in &nodes {
        assert_eq!(get(node, b"late").await.unwrap(), b"ok1 after");
    }
    wait_for_peers(&nodes, 3).await;
    assert!(first.get(b"late".to_vec(), is_valid).await.is_err(), "a stopped node says so");
}

#[tokio::test]
async fn a_bootstrap_node_without_identity_that_comes_late_is_found() {
    let free = std::net::UdpSocket::bind("127.5.1.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let address: Multiaddr = format!("/ip4/127.5.1.1/udp/{port}/quic-v1").parse().unwrap();
    let early = start(5, 2, Role::Server, std::slice::from_ref(&address), false);
    let mut changes = early.subscribe();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let config =
        NodeConfig { listen: vec![IpAddr::V4(Ipv4Addr::new(127, 5, 1, 1))], port, ..config_of([5, 1], Role::Server) };
    let late = Node::start(config, Box::<Double>::default()).unwrap();
    tokio::time::timeout(LIMIT, changes.wait_for(|set| set.peers == 1)).await.unwrap().unwrap();
    assert_eq!(late.listen_addrs().len(), 1);
}

#[tokio::test]
async fn who_only_asks_waits_for_a_first_peer_as_long_as_two_handshakes_take() {
    let host = Ipv4Addr::new(127, 87, 1, 1);
    // On a machine that others use the peer may come too late; before this time it would prove nothing.
    for number in 2..7 {
        let port = free_port(host);
        let address: Multiaddr = format!("/ip4/{host}/udp/{port}/quic-v1").parse().unwrap();
        let client = start(87, number, Role::Client, std::slice::from_ref(&address), false);
        let found = tokio::spawn(async move { get(&client, b"key").await });
        tokio::time::sleep(limits::FIRST_PEER + Duration::from_millis(200)).await;
        let late = start_at((host.into(), port), [87, 1], Role::Server, &[], false);
        assert!(late.put(b"key".to_vec(), b"ok1 late".to_vec()).await.unwrap().local);
        if let Some(value) = found.await.unwrap() {
            return assert_eq!(value, b"ok1 late");
        }
        late.shutdown().await;
    }
    panic!("nobody is found that comes late");
}

#[tokio::test]
async fn a_lying_peer_costs_time_and_nothing_else() {
    let nodes = mesh(6, 3).await;
    let liar = start(6, 9, Role::Server, &nodes[0].listen_addrs(), true);
    wait_for_peers(&nodes, 3).await;
    // The liar acknowledges as well.
    put_everywhere(&nodes[0], b"key", b"ok1 truth", 3).await;
    let reader = start(6, 8, Role::Client, &liar.listen_addrs(), false);
    assert_eq!(get(&reader, b"key").await.unwrap(), b"ok1 truth");
    assert_eq!(get(&reader, b"nothing there").await, None);
}

#[tokio::test]
async fn a_node_alone_answers_within_bounds() {
    let nobody: Multiaddr = "/ip4/127.7.7.7/udp/9/quic-v1".parse().unwrap();
    let client = start(7, 1, Role::Client, std::slice::from_ref(&nobody), false);
    assert_eq!(get(&client, b"key").await, None);
    let report = client.put(b"key".to_vec(), b"ok1".to_vec()).await.unwrap();
    assert!(!report.is_stored());
    let server = start(7, 2, Role::Server, &[], false);
    assert!(server.put(b"key".to_vec(), b"ok1 mine".to_vec()).await.unwrap().local);
    assert_eq!(get(&server, b"key").await.unwrap(), b"ok1 mine");
}

#[tokio::test]
async fn eight_nodes_that_start_at_once_find_each_other() {
    let nodes = mesh(8, 8).await;
    put_everywhere(&nodes[7], b"key", b"ok1 hello", 7).await;
    assert_eq!(get(&nodes[3], b"key").await.unwrap(), b"ok1 hello");
}

#[tokio::test]
async fn nodes_meet_over_ipv6() {
    let here = (IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
    let first = start_at(here, [9, 1], Role::Server, &[], false);
    assert!(first.listen_addrs()[0].to_string().starts_with("/ip6/::1/"), "{:?}", first.listen_addrs());
    let second = start_at(here, [9, 2], Role::Server, &first.listen_addrs(), false);
    let third = start_at(here, [9, 3], Role::Server, &first.listen_addrs(), false);
    let nodes = [first, second, third];
    wait_for_peers(&nodes, 2).await;
    put_everywhere(&nodes[1], b"key", b"ok1 hello", 2).await;
    assert_eq!(get(&nodes[2], b"key").await.unwrap(), b"ok1 hello");
}

/// A port that nobody listens on.
fn free_port(address: Ipv4Addr) -> u16 {
    std::net::UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn two_networks_become_one_by_one_bootstrap_address() {
    let gate = Ipv4Addr::new(127, 10, 20, 1);
    let port = free_port(gate);
    let gate_address: Multiaddr = format!("/ip4/{gate}/udp/{port}/quic-v1").parse().unwrap();
    let mut nodes = mesh(10, 4).await;
    let mut others = vec![start(10, 11, Role::Server, &[], false)];
    let mut bootstrap = others[0].listen_addrs();
    others.push(start(10, 12, Role::Server, &bootstrap, false));
    others.push(start(10, 13, Role::Server, &bootstrap, false));
    bootstrap.push(gate_address);
    others.push(start(10, 14, Role::Server, &bootstrap, false));
    wait_for_peers(&others, 3).await;
    nodes[1].put(b"key".to_vec(), b"ok1 here".to_vec()).await.unwrap();
    assert_eq!(get(&others[1], b"key").await, None, "they are apart");
    nodes.push(start_at((gate.into(), port), [10, 20], Role::Server, &nodes[0].listen_addrs(), false));
    nodes.append(&mut others);
    wait_for_peers(&nodes, 8).await;
    for node in &nodes {
        assert_eq!(get(node, b"key").await.unwrap(), b"ok1 here");
    }
    // Its owner does nothing; those who hold it give it to all others.
    let begun = Instant::now();
    for node in &nodes {
        while node.stats().await.unwrap().held.records == 0 {
            assert!(begun.elapsed() < LIMIT, "not handed over");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let mut handed_over = Vec::new();
    for node in &nodes {
        handed_over.push(node.stats().await.unwrap().counters.handed_over);
    }
    println!("{handed_over:?} hand-overs in {:?}", begun.elapsed());
    // Two give it to all; what is not confirmed in time is given again, on a machine that others use: each pause of who gives or takes adds one.
    let (all, givers) = (handed_over.iter().sum::<u64>(), handed_over.iter().filter(|given| **given >= 3).count());
    assert!((5..40).contains(&all) && givers < 4, "five nodes lacked it, and four had it: {handed_over:?}");
}

#[tokio::test]
async fn a_peer_that_names_ever_new_addresses_is_known_by_the_one_it_was_seen_at() {
    let victim = start(12, 1, Role::Server, &[], false);
    let key = operational_key([12, 2]);
    let mut liar = stranger::stranger(stranger::keypair(&key));
    liar.listen_on(stranger::at("127.12.2.1")).unwrap();
    let presented = stranger::presentation(&key, victim.id()).encode();
    assert_eq!(stranger::try_with(&mut liar, &victim, presented).await, stranger::Fate::Answered(0));
    let mut rounds = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while rounds < 40 {
        tokio::select! {
            _ = liar.select_next_some() => {}
            _ = pace.tick() => {
                for old in liar.external_addresses().cloned().collect::<Vec<_>>() {
                    liar.remove_external_address(&old);
                }
                for port in 1..=12 {
                    liar.add_external_address(format!("/ip4/198.51.100.{rounds}/udp/{port}/quic-v1").parse().unwrap());
                }
                liar.behaviour_mut().identify.push([victim.id()]);
                rounds += 1;
            }
        }
    }
    let stats = victim.stats().await.unwrap();
    let known = &stats.peers.iter().find(|peer| peer.id == *liar.local_peer_id()).unwrap().addresses;
    assert!(!known.is_empty() && known.iter().all(|address| address.to_string().contains("/127.12.2.1/")), "{known:?}");
    assert!(stats.counters.claims_tried <= limits::TRIES_PER_PEER as u64, "it cannot send us against others");
}

#[tokio::test]
async fn whoever_waits_for_the_end_of_a_node_hears_of_it_however_it_ends() {
    let config = |host| NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(127, 61, host, 1))],
        port: 0,
        ..config_of([61, host], Role::Server)
    };
    let [whole, broken] = [false, true].map(|is_broken| {
        Node::start(config(1 + u8::from(is_broken)), Box::new(Double { is_broken, ..Double::default() })).unwrap()
    });
    tokio::time::timeout(LIMIT, broken.ended()).await.unwrap();
    assert!(matches!(broken.stats().await, Err(NodeError::Stopped)));
    assert!(whole.stats().await.is_ok(), "the other one runs on");
    let waiting = tokio::spawn({
        let whole = whole.clone();
        async move { whole.ended().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    whole.shutdown().await;
    tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap();
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    let config = NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))],
        port: 0,
        ..NodeConfig::with_seed(Zeroizing::new([1; 32]), Role::Server)
    };
    let error = Node::start(config, Box::<Double>::default()).unwrap_err().to_string();
    assert!(error.contains("192.0.2.1"), "{error}");
}

/// Alone on IPv6, the node would not be found by those who were given its IPv4 address.
#[test]
fn a_port_that_is_taken_stops_a_node_that_listens_everywhere() {
    let taken = std::net::UdpSocket::bind("127.37.1.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = NodeConfig { port, ..NodeConfig::with_seed(Zeroizing::new([1; 32]), Role::Server) };
    let error = Node::start(config, Box::<Double>::default()).unwrap_err().to_string();
    for part in [&format!("0.0.0.0 port {port}: "), "in use", "--port", "--dht-port"] {
        assert!(error.contains(part), "{error}");
    }
}
