// SPDX-License-Identifier: GPL-2.0-or-later
//! A node that goes on under a later key, and what becomes of one that does not.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use cgeid::limits::OPERATIONAL_LIFETIME;
use cgeid::puzzle::zero_bits;
use cgeid::{Identity, Network, OperationalKey, PuzzleBits, container, epoch};
use dht::limits::CLOCK_SKEW;
use dht::publish::{self, Publication, Sequence};
use dht::record::{Bundle, Class, Mapping, RecordKey, Rloc, RlocFlags};
use dht::shell::node::{Multiaddr, Node, NodeConfig, NodeError, PeerId};
use dht::shell::shelf;
use wire::record::Ttl;

use crate::mesh::put_everywhere;

const NETWORK: Network = Network::LAB;

pub(crate) fn identity() -> Identity {
    Identity::generate_ed25519(NETWORK, SystemTime::now()).unwrap()
}

pub(crate) fn config(key: &OperationalKey, host: [u8; 2], bootstrap: &[Multiaddr]) -> NodeConfig {
    let listen = vec![IpAddr::V4(Ipv4Addr::new(127, host[0], host[1], 1))];
    NodeConfig { listen, port: 0, bootstrap: bootstrap.to_vec(), ..NodeConfig::server(key) }
}

pub(crate) fn start(config: NodeConfig) -> Node {
    shelf::start_node(config, NETWORK, None).unwrap()
}

pub(crate) fn server(host: [u8; 2], bootstrap: &[Multiaddr]) -> Node {
    start(config(&identity().delegate(SystemTime::now(), 0).unwrap(), host, bootstrap))
}

pub(crate) fn mapping() -> Publication {
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

/// The name of a key in the DHT.
fn peer(key: &OperationalKey) -> PeerId {
    let node_id = dht::admit::judge::node_id(&key.certificate().key().ed25519().unwrap());
    PeerId::from_bytes(&node_id).unwrap()
}

pub(crate) async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        // On a machine that does much else, opening a key file takes seconds.
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} does not come");
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
    put_everywhere(&node, &after.key.encode(), &after.value, 2).await;
    // The same once more is no news.
    let again = owner.delegate_revision(now, 0, 2).unwrap();
    assert_eq!(node.renew(&again).await.unwrap(), node.renew(&again).await.unwrap());
    assert_eq!(node.stats().await.unwrap().counters.keys_renewed, 2);
    node.shutdown().await;
    assert!(matches!(node.renew(&again).await, Err(NodeError::Stopped)));
}

#[tokio::test]
async fn a_key_that_does_not_fit_the_network_leaves_the_server_as_it_was() {
    let (owner, now) = (&identity(), SystemTime::now());
    let keys = |revision| std::iter::repeat_with(move || owner.delegate_revision(now, 0, revision).unwrap());
    let bits = |key: &OperationalKey| zero_bits(key.certificate().key(), key.epoch());
    // Half of the keys have no more than they must.
    let strong = keys(0).find(|key| bits(key) > PuzzleBits::LAB).unwrap();
    let weak = keys(1).find(|key| bits(key) < bits(&strong)).unwrap();
    let other = identity().delegate_revision(now, 0, 2).unwrap();
    let mut config = config(&strong, [57, 1], &[]);
    config.rules.puzzle = bits(&strong);
    let node = start(config);
    let id = node.id();
    for wrong in [weak, other, keys(0).find(|key| bits(key) >= bits(&strong)).unwrap()] {
        assert!(matches!(node.renew(&wrong).await, Err(NodeError::Unfit)));
    }
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
    // Both are known long before it, on a machine that others use too.
    let (_, short) = ending(Duration::from_secs(15));
    let (owner, also_short) = ending(Duration::from_secs(15));
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

struct Daemon(Child);

impl Daemon {
    /// A daemon with the key in a file; its address.
    fn start(folder: &std::path::Path, file: &str, bootstrap: &Multiaddr) -> (Self, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
        let identity = ["node", "--identity", file, "--state-dir", "state", "--rloc", "192.0.2.1"];
        let at = ["--listen", "127.59.2.1", "--port", "0", "--discovery", "off", "--bootstrap", &bootstrap.to_string()];
        command.current_dir(folder).args(identity).args(at).env("CGEID_PASSWORD", "pw");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("/ip4/127."), "{line}");
        (Self(child), line.trim().to_owned())
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_takes_a_later_key_that_is_put_beside_its_own_and_finds_it_again_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let first = server([59, 1], &[]);
    let bootstrap = first.listen_addrs().remove(0);
    let (owner, now) = (identity(), SystemTime::now());
    let keep = |key: &OperationalKey, end: &str| {
        let name = format!("{}.op{end}.p12", key.cn());
        std::fs::write(
            folder.path().join(&name),
            container::save_operational_under(container::Password::Random, key, "pw").unwrap(),
        )
        .unwrap();
        name
    };
    let old = owner.delegate(now, 0).unwrap();
    let file = keep(&old, "");
    let (mut daemon, address) = Daemon::start(folder.path(), &file, &bootstrap);
    wait_for("the daemon", async || first.peer_set().peers == 1).await;
    let peer_of = |address: &str| address.rsplit('/').next().unwrap().parse::<PeerId>().unwrap();
    assert!(knows(&first, peer_of(&address)).await);

    let new = owner.delegate_revision(now, 0, 1).unwrap();
    keep(&new, &format!(".{}", new.epoch()));
    // A key of next month is not taken before its month.
    let ahead = owner.delegate(now, 1).unwrap();
    keep(&ahead, &format!(".{}", ahead.epoch()));
    daemon.signal("-HUP");
    let has_new = async || {
        let stats = first.stats().await.unwrap();
        stats.peers.len() == 1 && stats.peers.iter().all(|known| known.id == peer(&new))
    };
    wait_for("its new name", has_new).await;
    let record = RecordKey::node(NETWORK, owner.cn());
    let signed_by_new = async || {
        let values = first.get_within(record.encode(), Duration::from_millis(300), |_| false).await.unwrap();
        let bundles = values.iter().filter_map(|value| Bundle::decode(value).ok());
        let mappings = bundles.filter_map(|bundle| bundle.section(Class::Mapping).map(|section| section.version.epoch));
        mappings.max() == Some(new.epoch())
    };
    wait_for("its word under the new key", signed_by_new).await;
    daemon.signal("-TERM");
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    let (_daemon, address) = Daemon::start(folder.path(), &file, &bootstrap);
    assert_eq!(peer_of(&address), peer(&new));
}
