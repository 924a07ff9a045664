// SPDX-License-Identifier: GPL-2.0-or-later
//! A node that starts with a full store serves at once.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use cgeid::{Identity, Network};
use dht::limits::HANDOVER_RECORDS;
use dht::shell::node::{Held, Node, NodeConfig, Reason, Records};
use dht::store::Origin;

/// As many records as are watched, which take as long to read as signatures take to check, and how many were read.
struct Slow(Arc<AtomicUsize>);

impl Records for Slow {
    fn get(&self, _now: SystemTime, _key: &[u8]) -> Option<Vec<u8>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
        None
    }

    fn put(&mut self, _: SystemTime, _: Origin, _: &[u8], _: &[u8]) -> Result<(), Reason> {
        Ok(())
    }

    fn housekeep(&mut self, _now: SystemTime) {}

    fn held(&self) -> Held {
        Held::default()
    }

    fn nearest(&self, limit: usize) -> Vec<Vec<u8>> {
        (0..limit).map(|number| number.to_be_bytes().to_vec()).collect()
    }
}

#[tokio::test]
async fn records_from_disk_are_proven_for_hand_over_while_the_node_serves() {
    let now = SystemTime::now();
    let key = Identity::from_seed(&[77; 32], Network::LAB, now).unwrap().delegate(now, 0).unwrap();
    let listen = vec![IpAddr::V4(Ipv4Addr::new(127, 77, 1, 1))];
    let read = Arc::new(AtomicUsize::new(0));
    let config = NodeConfig { listen, port: 0, ..NodeConfig::server(&key) };
    let node = Node::start(config, Box::new(Slow(Arc::clone(&read)))).unwrap();
    node.stats().await.unwrap();
    let first = read.load(Ordering::Relaxed);
    assert!(first < HANDOVER_RECORDS, "all records were read before anything was answered");
    tokio::time::timeout(Duration::from_secs(60), async {
        while read.load(Ordering::Relaxed) < first + 50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the others are read in their turn");
    node.shutdown().await;
}
