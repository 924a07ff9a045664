// SPDX-License-Identifier: GPL-2.0-or-later
//! A node that goes on under a later key, and what becomes of one that does not.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use cgeid::limits::OPERATIONAL_LIFETIME;
use cgeid::puzzle::zero_bits;
use cgeid::{Identity, Network, OperationalKey, PuzzleBits, epoch};
use dht::limits::CLOCK_SKEW;
use dht::publish::{self, Publication, Sequence};
use dht::record::{Mapping, Rloc, RlocFlags};
use dht::shell::node::{Multiaddr, Node, NodeConfig, NodeError, PeerId};
use dht::shell::shelf;
use wire::record::Ttl;

const NETWORK: Network = Network::LAB;

fn identity() -> Identity {
    Identity::generate_ed25519(NETWORK, SystemTime::now()).unwrap()
}

fn config(key: &OperationalKey, host: [u8; 2], bootstrap: &[Multiaddr]) -> NodeConfig {
    let listen = vec![IpAddr::V4(Ipv4Addr::new(127, host[0], host[1], 1))];
    NodeConfig { listen, port: 0, bootstrap: bootstrap.to_vec(), ..NodeConfig::server(key) }
}

fn start(config: NodeConfig) -> Node {
    shelf::start_node(config, NETWORK, None).unwrap()
}

fn server(host: [u8; 2], bootstrap: &[Multiaddr]) -> Node {
    start(config(&identity().delegate(SystemTime::now(), 0).unwrap(), host, bootstrap))
}

fn mapping() -> Publication {
    let now = SystemTime::now();
    let key = identity().delegate(now, 0).unwrap();
    let locator = Rloc {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        flags: RlocFlags { local: true, reachable: true, ..RlocFlags::default() },
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        port: 0,
    };
    publish::mapping(&key, NETWORK, Mapping::new([locator], Ttl(60)), now, &mut Sequence::default()).unwrap()
}

async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(9), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{what} after {:?}", begun.elapsed());
}

async fn knows(node: &Node, peer: PeerId) -> bool {
    node.stats().await.unwrap().peers.iter().any(|known| known.id == peer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_under_a_later_key_with_all_that_it_has() {
    let first = server([56, 1], &[]);
    let (owner, now) = (identity(), SystemTime::now());
    let node = start(config(&owner.delegate(now, 0).unwrap(), [56, 2], &first.listen_addrs()));
    let third = server([56, 3], &first.listen_addrs());
    wait_for("every peer", async || node.peer_set().peers == 2 && third.peer_set().peers == 2).await;
    let before = mapping();
    node.put(before.key.encode(), before.value.clone()).await.unwrap();
    let (old, sockets) = (node.id(), node.sockets());
    let counted = node.stats().await.unwrap();

    // Somebody reads through the handle all the time.
    let is_over = Arc::new(AtomicBool::new(false));
    let reads = tokio::spawn({
        let (node, key, is_over) = (node.clone(), before.key.encode(), Arc::clone(&is_over));
        async move {
            let mut read = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(node.get(key.clone(), |_| true).await.unwrap().len(), 1, "read {read}");
                read += 1;
            }
            read
        }
    });
    let begun = Instant::now();
    let new = node.renew(&owner.delegate_revision(now, 0, 1).unwrap()).await.unwrap();
    println!("renewed in {:?}", begun.elapsed());
    assert!(new != old && node.id() == new);
    assert_eq!(node.sockets(), sockets, "found where it was");
    for peer in [&first, &third] {
        wait_for("the new name, not the old one", async || knows(peer, new).await && !knows(peer, old).await).await;
    }
    wait_for("every peer again", async || node.peer_set().peers == 2).await;
    is_over.store(true, Ordering::Relaxed);
    println!("{} reads meanwhile", reads.await.unwrap());

    let stats = node.stats().await.unwrap();
    assert_eq!((stats.held.records, stats.counters.keys_renewed), (1, 1), "{stats:?}");
    assert!(stats.counters.puts_stored >= counted.counters.puts_stored && stats.counters.gets > counted.counters.gets);
    let after = mapping();
    let report = node.put(after.key.encode(), after.value).await.unwrap();
    assert_eq!((report.local, report.stored), (true, 2), "{report:?}");
    // The same once more is no news.
    let again = owner.delegate_revision(now, 0, 2).unwrap();
    assert_eq!(node.renew(&again).await.unwrap(), node.renew(&again).await.unwrap());
    assert_eq!(node.stats().await.unwrap().counters.keys_renewed, 2);
    node.shutdown().await;
    assert!(matches!(node.renew(&again).await, Err(NodeError::Stopped)));
}

#[tokio::test]
async fn a_key_that_does_not_fit_the_network_leaves_the_server_as_it_was() {
    let (owner, now) = (identity(), SystemTime::now());
    let keys = || std::iter::repeat_with(|| owner.delegate_revision(now, 0, 1).unwrap());
    let bits = |key: &OperationalKey| zero_bits(key.certificate().key(), key.epoch());
    // Half of the keys have no more than they must.
    let strong = keys().find(|key| bits(key) > PuzzleBits::LAB).unwrap();
    let weak = keys().find(|key| bits(key) < bits(&strong)).unwrap();
    let mut config = config(&strong, [57, 1], &[]);
    config.rules.puzzle = bits(&strong);
    let node = start(config);
    let id = node.id();
    assert!(matches!(node.renew(&weak).await, Err(NodeError::Unfit)));
    assert_eq!((node.id(), node.stats().await.unwrap().admission.role), (id, "server"));
}

/// A key whose certificate ends so soon, of the last month.
fn ending(within: Duration) -> (Identity, OperationalKey) {
    let now = SystemTime::now();
    let then = now + within + CLOCK_SKEW - OPERATIONAL_LIFETIME;
    loop {
        let identity = Identity::generate_ed25519(NETWORK, then).unwrap();
        // Two months back it would not be admitted at all.
        if epoch::period(identity.cn(), then) + 1 == epoch::period(identity.cn(), now) {
            let key = identity.delegate(then, 0).unwrap();
            return (identity, key);
        }
    }
}

#[tokio::test]
async fn who_renews_its_key_outlives_its_certificate_and_who_does_not_is_let_go() {
    let first = server([58, 1], &[]);
    let (_, short) = ending(Duration::from_secs(5));
    let (owner, also_short) = ending(Duration::from_secs(5));
    let ends = short.certificate().not_after();
    let lazy = start(config(&short, [58, 2], &first.listen_addrs()));
    let node = start(config(&also_short, [58, 3], &first.listen_addrs()));
    wait_for("both", async || knows(&first, lazy.id()).await && knows(&first, node.id()).await).await;
    node.renew(&owner.delegate(SystemTime::now(), 0).unwrap()).await.unwrap();
    wait_for("the end of one", async || !knows(&first, lazy.id()).await).await;
    assert!(SystemTime::now() >= ends, "not before it ends");
    let stats = first.stats().await.unwrap();
    assert_eq!(stats.admission.ended.get("expired"), Some(&1), "{:?}", stats.admission);
    wait_for("the other", async || knows(&first, node.id()).await).await;
    assert_eq!(node.stats().await.unwrap().admission.role, "server");
}
