// SPDX-License-Identifier: GPL-2.0-or-later
//! A crawl by the program, through nodes on loopback, and the map that is drawn of it.

use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, OperationalKey};
use dht::admit::{NetworkKey, Rules};
use dht::geo::{Cell, DEFAULT_BLUR, Position};
use dht::publish::{self, Sequence, Statement};
use dht::record::{Geo, Roles, Service, Source, Topology};
use dht::shell::limits;
use dht::shell::node::{Multiaddr, Node, NodeConfig, NodeStats};
use dht::shell::shelf::start_node;
use serde_json::Value;

fn key() -> OperationalKey {
    let now = SystemTime::now();
    Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap()
}

fn server(key: &OperationalKey, address: [u8; 4], bootstrap: &[Multiaddr], rules: &Rules) -> Node {
    let mut config = NodeConfig::server(key);
    config.listen = vec![IpAddr::from(address)];
    config.port = 0;
    config.bootstrap = bootstrap.to_vec();
    config.rules = rules.clone();
    start_node(config, Network::LAB, None).unwrap()
}

async fn meshed(nodes: &[&Node], peers: usize) {
    let begun = Instant::now();
    while nodes.iter().any(|node| node.peer_set().peers < peers) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the nodes do not find each other");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
    command.args(arguments);
    command
}

fn node<'a>(crawl: &'a Value, node: &Node) -> &'a Value {
    let nodes = crawl["nodes"].as_array().unwrap();
    nodes.iter().find(|each| each["peer"] == node.id().to_string().as_str()).unwrap_or_else(|| panic!("{crawl}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crawl_tells_who_serves_who_hides_and_who_died_and_a_map_is_drawn_of_it() {
    let (shown, hidden, mortal) = (key(), key(), key());
    let rules = Rules::default();
    let first = server(&shown, [127, 81, 1, 1], &[], &rules);
    let second = server(&hidden, [127, 81, 2, 1], &first.listen_addrs(), &rules);
    let third = server(&mortal, [127, 81, 3, 1], &first.listen_addrs(), &rules);
    meshed(&[&first, &second, &third], 2).await;
    let place = Cell::of(&Position::from_degrees(52.52, 13.405, None).unwrap(), DEFAULT_BLUR);
    let service = Service { addresses: [(([192, 0, 2, 1].into(), 0), Roles::BOOT)].into(), ..Service::default() };
    let topology = Topology {
        geo: Some(Geo { position: place.centre(), error: place.error(), source: Source::CONFIGURED }),
        ..Topology::default()
    };
    let said = vec![Statement::topology(topology), Statement::service(service)];
    let published = publish::node(&shown, Network::LAB, said, SystemTime::now(), &mut Sequence::default()).unwrap();
    assert!(second.put(published.key.encode(), published.value.clone()).await.unwrap().is_stored());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crawl.json");
    // The bootstrap node is not the one that publishes, and is given without its identity.
    let [a, b, c, d] = second.sockets()[0].ip().octets();
    let bootstrap = format!("{a}.{b}.{c}.{d}:{}", second.sockets()[0].port());
    let to = format!("--json={}", file.display());
    let before = third.stats().await.unwrap();
    let child = program(&["crawl", "--bootstrap", &bootstrap, "--rounds", "4", "--for", "20", &to])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It goes when the program has found and asked it, and has had time to hear of that.
    let begun = Instant::now();
    let is_asked = |now: NodeStats| {
        now.connections > before.connections && now.counters.requests_answered > before.counters.requests_answered
    };
    while !is_asked(third.stats().await.unwrap()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the crawl does not come to it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let frozen = third.freeze().await.unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{table}");
    let crawl: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(crawl["nodes"].as_array().unwrap().len(), 3, "{crawl}");
    assert_eq!(crawl["complete"], true, "{crawl}");
    assert!(crawl["requests"].as_u64().unwrap() >= 12 && crawl["seconds"].as_f64().unwrap() >= 20.0, "{crawl}");

    let shows = node(&crawl, &first);
    assert_eq!((&shows["cn"], &shows["epoch"]), (&shown.cn().to_string().into(), &shown.epoch().into()), "{crawl}");
    // On a machine that others use one answer may come too late.
    let asked_and_answered = |of: &Value| (of["asked"].as_u64().unwrap(), of["answered"].as_u64().unwrap());
    let is_reliable = |of: &Value| [(4, 3), (4, 4)].contains(&asked_and_answered(of));
    assert!(is_reliable(shows) && shows["roles"][0] == "boot", "{crawl}");
    assert_eq!((&shows["block"], &shows["refused"]), (&"127.81.1.0/24".into(), &Value::Null), "{crawl}");
    assert!(
        shows["rtt_us"].as_u64().unwrap() > 0 && shows["agent"].as_str().unwrap().starts_with("lisp-dht/"),
        "{crawl}"
    );
    assert!(!shows["addresses"].as_array().unwrap().is_empty(), "{crawl}");

    let hides = node(&crawl, &second);
    assert_eq!((&hides["cn"], &hides["record"]), (&hidden.cn().to_string().into(), &Value::Null), "{crawl}");
    assert!(is_reliable(hides) && hides["roles"] == Value::Array(Vec::new()), "{crawl}");

    let (asked, answered) = asked_and_answered(node(&crawl, &third));
    let least = asked_and_answered(shows).1.min(asked_and_answered(hides).1);
    assert!((1..least).contains(&answered) && asked == 4, "{crawl}");

    let rows: Vec<&str> = table.lines().collect();
    let tells = |row: &str, of: &Value, key: &OperationalKey| {
        let (asked, answered) = asked_and_answered(of);
        row.contains(&format!("{answered}/{asked}")) && row.contains(&key.cn().to_string())
    };
    assert!(rows[1].starts_with("boot ") && tells(rows[1], shows, &shown), "{table}");
    assert!(
        tells(rows[2], hides, &hidden) && rows[3].contains(&mortal.cn().to_string()),
        "the reliable first: {table}"
    );
    assert!(rows[4].starts_with("3 nodes, 3 of them answer;"), "{table}");

    let output = program(&["map", file.to_str().unwrap()]).output().unwrap();
    let map: Value = serde_json::from_slice(&output.stdout).unwrap();
    let features = map["features"].as_array().unwrap();
    assert_eq!((features.len(), &features[0]["properties"]["cn"]), (1, &shown.cn().to_string().into()), "{map}");
    assert_eq!(features[0]["properties"]["roles"][0], "boot", "{map}");
    drop(frozen);
    for node in [first, second, third] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_network_is_crawled_by_those_who_know_its_key() {
    let rules = Rules {
        key: Some(NetworkKey::new(std::array::from_fn(|index| if index == 0 { 1 } else { 7 })).unwrap()),
        ..Rules::default()
    };
    let (one, other) = (key(), key());
    let first = server(&one, [127, 82, 1, 1], &[], &rules);
    let second = server(&other, [127, 82, 2, 1], &first.listen_addrs(), &rules);
    meshed(&[&first, &second], 1).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("network.key");
    std::fs::write(&secret, format!("01{}", "07".repeat(31))).unwrap();
    let bootstrap = first.listen_addrs()[0].to_string();
    let crawl = ["crawl", "--bootstrap", &bootstrap, "--rounds", "1", "--for", "0", "--json"];
    let inside = program(&[&crawl[..], &["--network-key", secret.to_str().unwrap()]].concat()).output().unwrap();
    let seen: Value = serde_json::from_slice(&inside.stdout).unwrap();
    assert_eq!(seen["nodes"].as_array().unwrap().len(), 2, "{seen}");
    assert_eq!(node(&seen, &second)["cn"], other.cn().to_string(), "{seen}");

    let outside = program(&crawl).output().unwrap();
    let seen: Value = serde_json::from_slice(&outside.stdout).unwrap();
    assert_eq!(outside.status.code(), Some(1), "{seen}");
    assert_eq!((seen["nodes"].as_array().unwrap().len(), &seen["nodes"][0]["answered"]), (1, &0.into()), "{seen}");
    assert_eq!(seen["nodes"][0]["refuses"], "network-key", "{seen}");
    for node in [first, second] {
        node.shutdown().await;
    }
}

/// Somebody who was not there for the first handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_node_that_did_not_answer_is_dialled_once_more() {
    let late = key();
    // On a machine that others use the node may come too late; before the first handshake has failed it would prove nothing.
    for host in 1..6 {
        let port =
            std::net::UdpSocket::bind((IpAddr::from([127, 88, host, 1]), 0)).unwrap().local_addr().unwrap().port();
        let mut config = NodeConfig::server(&late);
        (config.listen, config.port) = (vec![IpAddr::from([127, 88, host, 1])], port);
        let bootstrap = format!("127.88.{host}.1:{port}");
        let child = program(&["crawl", "--bootstrap", &bootstrap, "--rounds", "1", "--for", "0", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tokio::time::sleep(limits::QUIC_HANDSHAKE + Duration::from_millis(200)).await;
        let node = start_node(config, Network::LAB, None).unwrap();
        let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
        node.shutdown().await;
        if output.status.success() {
            let crawl: Value = serde_json::from_slice(&output.stdout).unwrap();
            return assert_eq!(crawl["nodes"][0]["cn"], late.cn().to_string(), "{crawl}");
        }
    }
    panic!("nobody is found that comes late");
}

#[test]
fn a_network_that_is_not_there_is_said_to_be_silent() {
    let output = program(&["crawl", "--bootstrap", "127.83.1.1:9", "--rounds", "1", "--for", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("no node of --bootstrap answers"), "{text}");
    for bad in [["--rounds", "0"], ["--for", "86401"], ["--rate", "0"]] {
        let output = program(&[&["crawl", "--bootstrap", "127.83.1.1:9"][..], &bad].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
    }
}
