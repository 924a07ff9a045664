// SPDX-License-Identifier: GPL-2.0-or-later
//! A node whose thread is held up, as that of a machine that is paused, hears what came meanwhile before it gives anything up.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use dht::shell::limits;
use dht::shell::node::{Held, Multiaddr, Node, NodeConfig, Reason, Records};
use dht::store::Origin;

use crate::common::key_of;

const LIMIT: Duration = Duration::from_secs(60);
/// The host of the node that is held up.
const PUBLISHER: u8 = 2;
/// Whoever asks the publisher for it holds it up.
const HOLD: &[u8] = b"hold";
/// A record that the peer takes when the test says so.
const WAITS: &[u8] = b"waits";

/// The test's ends of the channels to the stores.
struct Hands {
    /// A node is held up since now, until the moment that it is sent; when it went on comes back.
    held: Receiver<Sender<Instant>>,
    resumed: Receiver<Instant>,
    /// A record waits to be taken.
    asked: Receiver<()>,
    take: Sender<()>,
}

/// A store that keeps nothing.
struct Double {
    is_publisher: bool,
    held: Sender<Sender<Instant>>,
    resumed: Sender<Instant>,
    asked: Sender<()>,
    take: Receiver<()>,
}

impl Records for Double {
    fn get(&self, _now: SystemTime, key: &[u8]) -> Option<Vec<u8>> {
        if self.is_publisher && key == HOLD {
            let (until_tx, until) = channel();
            self.held.send(until_tx).unwrap();
            std::thread::sleep(until.recv_timeout(LIMIT).unwrap().saturating_duration_since(Instant::now()));
            self.resumed.send(Instant::now()).unwrap();
        }
        None
    }

    fn put(&mut self, _now: SystemTime, _origin: Origin, key: &[u8], _value: &[u8]) -> Result<(), Reason> {
        if !self.is_publisher && key == WAITS {
            self.asked.send(()).unwrap();
            self.take.recv_timeout(LIMIT).unwrap();
        }
        Ok(())
    }

    fn housekeep(&mut self, _now: SystemTime) {}

    fn held(&self) -> Held {
        Held::default()
    }
}

fn start(config: NodeConfig, number: u8, bootstrap: &[Multiaddr]) -> (Node, Hands) {
    let listen = vec![IpAddr::V4(Ipv4Addr::new(127, 86, number, 1))];
    let config = NodeConfig { listen, port: 0, bootstrap: bootstrap.to_vec(), ..config };
    let ((held_tx, held), (resumed_tx, resumed)) = (channel(), channel());
    let ((asked_tx, asked), (take, take_rx)) = (channel(), channel());
    let is_publisher = number == PUBLISHER;
    let store = Double { is_publisher, held: held_tx, resumed: resumed_tx, asked: asked_tx, take: take_rx };
    (Node::start(config, Box::new(store)).unwrap(), Hands { held, resumed, asked, take })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_came_while_the_node_was_held_up_counts() {
    let (peer, at_peer) = start(NodeConfig::server(&key_of([86; 32])), 1, &[]);
    let (publisher, at_publisher) = start(NodeConfig::server(&key_of([87; 32])), PUBLISHER, &peer.listen_addrs());
    let (reader, _) = start(NodeConfig::ephemeral(), 3, &publisher.listen_addrs());
    for node in [&publisher, &reader] {
        let end = Instant::now() + LIMIT;
        while node.stats().await.unwrap().peers.is_empty() {
            assert!(Instant::now() < end, "nobody is met");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for _ in 0..10 {
        // Connects who is to be connected, and finds all nodes there are.
        let found = publisher.put(b"before".to_vec(), vec![1]).await.unwrap();
        reader.get(b"before".to_vec(), |_| true).await.unwrap();
        let begun = Instant::now();
        let report = tokio::spawn({
            let publisher = publisher.clone();
            async move { publisher.put(WAITS.to_vec(), vec![1]).await.unwrap() }
        });
        at_peer.asked.recv_timeout(LIMIT).unwrap();
        // From now on it would wait for the answer for two seconds at most.
        let too_late = Instant::now() + limits::PUT_STORE;
        let read = tokio::spawn({
            let reader = reader.clone();
            async move { reader.get(HOLD.to_vec(), |_| true).await }
        });
        let until = at_publisher.held.recv_timeout(LIMIT).unwrap();
        let is_held_in_time = begun.elapsed() < limits::PUT_STORE;
        at_peer.take.send(()).unwrap();
        until.send(too_late + Duration::from_millis(200)).unwrap();
        let resumed = at_publisher.resumed.recv_timeout(LIMIT).unwrap() - begun;
        let report = report.await.unwrap();
        read.await.unwrap().unwrap();
        println!("{report:?}, held up until {resumed:?}");
        // On a machine that others use it may be held up too late, or for so long that libp2p gives the request up by its own clock.
        if found.stored == 1 && is_held_in_time && resumed < limits::REQUEST - limits::LATE {
            assert_eq!((report.stored, report.unreachable), (1, 0), "{report:?}");
            return;
        }
    }
    panic!("the machine is too slow for this");
}
