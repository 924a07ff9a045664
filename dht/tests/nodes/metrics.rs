// SPDX-License-Identifier: GPL-2.0-or-later
//! What monitoring sees of a node, over real HTTP.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use cgeid::Network;
use dht::shell::http::Server;
use dht::shell::metrics::NodeFigures;
use dht::shell::node::{Node, NodeConfig, Role};
use dht::shell::shelf::start_node;
use zeroize::Zeroizing;

fn node() -> Node {
    let mut config = NodeConfig::with_seed(Zeroizing::new([7; 32]), Role::Client);
    config.listen = vec![IpAddr::from([127, 0, 0, 1])];
    config.port = 0;
    start_node(config, Network::LAB, None).unwrap()
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_and_health_are_there_until_the_node_stops() {
    let node = node();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(any, Arc::new(NodeFigures::new(node.clone(), true))).await.unwrap();
    let lonely = Server::start(any, Arc::new(NodeFigures::new(node.clone(), false))).await.unwrap();
    let ask = |address: SocketAddr, path: &'static str| tokio::task::spawn_blocking(move || get(address, path));

    let (status, text) = ask(server.address(), "/metrics").await.unwrap();
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("application/openmetrics-text"), "{text}");
    assert!(text.contains("\nlisp_dht_peers 0\n") && text.trim_end().ends_with("# EOF"), "{text}");
    assert_eq!(ask(server.address(), "/health").await.unwrap().0, 200);
    assert_eq!(ask(server.address(), "/other").await.unwrap().0, 404);

    let (status, text) = ask(lonely.address(), "/health").await.unwrap();
    assert_eq!(status, 503, "it was given others and knows none");
    assert!(text.contains("no other node is known"), "{text}");

    node.shutdown().await;
    assert_eq!(ask(server.address(), "/health").await.unwrap().0, 503);
    assert_eq!(ask(server.address(), "/metrics").await.unwrap().0, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_is_named() {
    let node = node();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let first = Server::start(any, Arc::new(NodeFigures::new(node.clone(), true))).await.unwrap();
    let error = Server::start(first.address(), Arc::new(NodeFigures::new(node.clone(), true))).await.unwrap_err();
    assert!(error.to_string().contains(&format!("--metrics {}", first.address())), "{error:#}");
    node.shutdown().await;
}
