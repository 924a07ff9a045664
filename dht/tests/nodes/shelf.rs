// SPDX-License-Identifier: GPL-2.0-or-later
//! Nodes with the real store: what they refuse, and what they remember over a restart.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::mesh::put_until;
use cgeid::{Identity, Network, OperationalKey};
use dht::publish::{self, Publication, Sequence};
use dht::record::{CertificateCache, Mapping, RecordKey, Rloc, RlocFlags, verify};
use dht::shell::node::{Clock, Multiaddr, Node, NodeConfig, NodeError};
use dht::shell::shelf;
use wire::record::Ttl;

const NETWORK: Network = Network::LAB;

fn key() -> OperationalKey {
    let now = SystemTime::now();
    Identity::generate_ed25519(NETWORK, now).unwrap().delegate(now, 0).unwrap()
}

fn mapping(key: &OperationalKey, last: u8, sequence: &mut Sequence) -> Publication {
    mapping_at(SystemTime::now(), key, last, sequence)
}

fn mapping_at(now: SystemTime, key: &OperationalKey, last: u8, sequence: &mut Sequence) -> Publication {
    let locator = Rloc {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        flags: RlocFlags { local: true, reachable: true, ..RlocFlags::default() },
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        port: 0,
    };
    publish::mapping(key, NETWORK, Mapping::new([locator], Ttl(60)), now, sequence).unwrap()
}

fn start(key: &OperationalKey, host: [u8; 2], bootstrap: &[Multiaddr], state: Option<&Path>) -> Node {
    let config = NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(127, host[0], host[1], 1))],
        port: 0,
        bootstrap: bootstrap.to_vec(),
        ..NodeConfig::server(key)
    };
    shelf::start_node(config, NETWORK, state).unwrap()
}

fn client(bootstrap: &[Multiaddr]) -> Node {
    let config = NodeConfig { bootstrap: bootstrap.to_vec(), ..NodeConfig::ephemeral() };
    shelf::start_node(config, NETWORK, None).unwrap()
}

async fn get(node: &Node, key: &RecordKey) -> Vec<Vec<u8>> {
    let mut cache = CertificateCache::new();
    let valid = |value: &[u8]| verify(NETWORK, key, value, SystemTime::now(), &mut cache).is_ok();
    tokio::time::timeout(Duration::from_secs(30), node.get(key.encode(), valid)).await.unwrap().unwrap()
}

#[tokio::test]
async fn records_and_high_water_marks_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (owner, server) = (key(), key());
    let mut sequence = Sequence::default();
    let old = mapping(&owner, 1, &mut sequence);
    let new = mapping(&owner, 2, &mut sequence);
    let node = start(&server, [21, 1], &[], Some(folder.path()));
    assert!(node.put(new.key.encode(), new.value.clone()).await.unwrap().local);
    node.shutdown().await;

    let node = start(&server, [21, 1], &[], Some(folder.path()));
    assert_eq!(get(&node, &new.key).await, std::slice::from_ref(&new.value));
    let refused = node.put(old.key.encode(), old.value.clone()).await.unwrap_err();
    assert!(matches!(&refused, NodeError::Refused(reason) if reason.name == "old-sequence"), "{refused}");
    let publisher = client(&node.listen_addrs());
    let report = publisher.put(old.key.encode(), old.value).await.unwrap();
    assert_eq!((report.stored, report.refused), (0, 1), "{report:?}");
    assert_eq!(get(&publisher, &new.key).await, [new.value]);
    assert_eq!(node.stats().await.unwrap().held.refused.get("old-sequence"), Some(&2));
}

#[tokio::test]
async fn no_flipped_bit_is_stored_anywhere() {
    let (owner, servers) = (key(), [key(), key()]);
    let first = start(&servers[0], [22, 1], &[], None);
    let second = start(&servers[1], [22, 2], &first.listen_addrs(), None);
    let publisher = client(&first.listen_addrs());
    let good = mapping(&owner, 1, &mut Sequence::default());
    for position in [0, 40, good.value.len() / 2, good.value.len() - 1] {
        let mut forged = good.value.clone();
        forged[position] ^= 1;
        let report = publisher.put(good.key.encode(), forged).await.unwrap();
        assert_eq!(report.stored, 0, "bit at {position}: {report:?}");
        assert!(report.refused > 0, "bit at {position}: {report:?}");
    }
    let stranger = RecordKey::node(NETWORK, servers[0].cn());
    assert_eq!(publisher.put(stranger.encode(), good.value.clone()).await.unwrap().stored, 0, "another owner's key");
    assert_eq!(get(&publisher, &good.key).await, Vec::<Vec<u8>>::new());
    assert!(publisher.put(good.key.encode(), good.value.clone()).await.unwrap().is_stored());
    assert_eq!(get(&second, &good.key).await, [good.value]);
}

#[tokio::test]
async fn what_a_node_does_not_take_for_what_it_took_while_its_clock_was_ahead_the_others_take() {
    const DAY: i64 = 86_400;
    let (owner, servers) = (key(), [key(), key()]);
    let (clock, hand) = Clock::settable();
    hand.set(DAY);
    let config = NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(127, 23, 1, 1))],
        port: 0,
        clock,
        ..NodeConfig::server(&servers[0])
    };
    let first = shelf::start_node(config, NETWORK, None).unwrap();
    let ahead = mapping_at(clock.now(), &owner, 1, &mut Sequence::default());
    assert!(first.put(ahead.key.encode(), ahead.value).await.unwrap().local);
    hand.set(0);
    let now = mapping(&owner, 2, &mut Sequence::default());
    let alone = first.put(now.key.encode(), now.value.clone()).await.unwrap();
    assert!(!alone.is_stored() && alone.asked() == 0, "{alone:?}");
    let second = start(&servers[1], [23, 2], &first.listen_addrs(), None);
    first.subscribe().wait_for(|set| set.peers > 0).await.unwrap();
    put_until(&first, &now.key.encode(), &now.value, (false, 1, 0)).await;
    assert_eq!(get(&second, &now.key).await, [now.value]);
}
