// SPDX-License-Identifier: GPL-2.0-or-later
//! A REVOCATION among nodes that come and go: whoever is new in its region is given it, and nobody keeps it for longer because of
//! that. Real nodes over QUIC on loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Cn, Identity, Reason, Revocation};
use dht::limits;
use dht::publish::{self, Publication, Sequence};
use dht::shell::node::{Held, Multiaddr, Node, NodeConfig, Reason as Refused, Records};
use dht::shell::shelf::Shelf;
use dht::store::{Origin, Standing};

use crate::common::{LAB, key_of, mapping};

const DAY: Duration = Duration::from_secs(86_400);
const LIMIT: Duration = Duration::from_secs(60);

/// A store in which what somebody puts was put some time ago, and which notes what peers say is left of what they hand on.
struct Aged {
    shelf: Shelf,
    age: Duration,
    told: Arc<Mutex<Vec<Duration>>>,
}

impl Records for Aged {
    fn get(&self, now: SystemTime, key: &[u8]) -> Option<Vec<u8>> {
        self.shelf.get(now, key)
    }

    fn put(&mut self, now: SystemTime, origin: Origin, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.shelf.put(now - self.age, origin, key, value)
    }

    fn take_over(
        &mut self,
        now: SystemTime,
        origin: Origin,
        key: &[u8],
        value: &[u8],
        left: Duration,
    ) -> Result<(), Refused> {
        self.told.lock().unwrap().push(left);
        self.shelf.take_over(now, origin, key, value, left)
    }

    fn left(&self, now: SystemTime, key: &[u8]) -> Option<Duration> {
        self.shelf.left(now, key)
    }

    fn housekeep(&mut self, now: SystemTime) {
        self.shelf.housekeep(now);
    }

    fn held(&self) -> Held {
        self.shelf.held()
    }

    fn standing(&self, cn: Cn) -> Standing {
        self.shelf.standing(cn)
    }
}

/// A server, and what its peers have told it.
fn start(network: u8, number: u8, age: Duration, bootstrap: &[Multiaddr]) -> (Node, Arc<Mutex<Vec<Duration>>>) {
    let told = Arc::default();
    let (config, shelf) = empty(network, number, bootstrap);
    let node = Node::start(config, Box::new(Aged { shelf, age, told: Arc::clone(&told) })).unwrap();
    (node, told)
}

fn empty(network: u8, number: u8, bootstrap: &[Multiaddr]) -> (NodeConfig, Shelf) {
    let config = NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(127, network, number, 1))],
        port: 0,
        bootstrap: bootstrap.to_vec(),
        ..NodeConfig::server(&key_of([number; 32]))
    };
    let shelf = Shelf::in_memory(LAB, config.place());
    (config, shelf)
}

async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{what}: {:?}", begun.elapsed());
}

async fn held(node: &Node) -> usize {
    node.stats().await.unwrap().held.records
}

/// Somebody's mapping of now, and the end of it.
fn words(number: u8) -> (Publication, Publication) {
    let now = SystemTime::now();
    let identity = Identity::from_seed(&[number; 32], LAB, now).unwrap();
    let key = identity.delegate(now, 0).unwrap();
    let said = publish::mapping(&key, LAB, mapping(1), now, &mut Sequence::default()).unwrap();
    let statement = Revocation::issue(&identity, Reason::KEY_COMPROMISE, now).unwrap();
    (said, publish::revocation(&statement).unwrap())
}

#[tokio::test]
async fn a_newcomer_is_given_a_revocation_with_the_time_that_is_left_of_it() {
    let age = DAY * 10;
    let (first, _) = start(80, 1, age, &[]);
    let (_, revocation) = words(30);
    first.put(revocation.key.encode(), revocation.value).await.unwrap();
    // From one to the next, each of which has it from the one before only.
    let mut last = (first, limits::REVOCATION_LIFETIME - age);
    for number in 2..=3 {
        let (node, told) = start(80, number, Duration::ZERO, &last.0.listen_addrs());
        wait_for("it is handed over", async || held(&node).await == 1).await;
        let left = told.lock().unwrap()[0];
        assert!(left < last.1 && left + Duration::from_secs(60) > last.1, "{left:?} of {:?}", last.1);
        last.0.shutdown().await;
        last = (node, left);
    }
    last.0.shutdown().await;
}

#[tokio::test]
async fn whoever_hands_on_the_word_of_a_revoked_owner_is_given_the_revocation() {
    let (two, told) = start(81, 2, Duration::ZERO, &[]);
    let (said, revocation) = words(31);
    let key = said.key.encode();
    two.put(key.clone(), said.value).await.unwrap();
    // What was there before the start is taken for known to others: only who shows that it does not know it is given it.
    let (config, mut shelf) = empty(81, 1, &two.listen_addrs());
    shelf.put(SystemTime::now(), Origin::Unknown, &key, &revocation.value).unwrap();
    let one = Node::start(config, Box::new(shelf)).unwrap();
    wait_for("the revocation is held", async || {
        let values = two.get(key.clone(), |_| true).await.unwrap();
        values.first() == Some(&revocation.value) && told.lock().unwrap().len() == 1
    })
    .await;
    let refused = one.stats().await.unwrap().held.refused;
    assert_eq!(refused.get("revoked"), Some(&1), "{refused:?}");
    one.shutdown().await;
    two.shutdown().await;
}
