// SPDX-License-Identifier: GPL-2.0-or-later
//! Nodes on loopback that admit each other, among strangers, clients and wrong clocks.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, OperationalKey, PuzzleBits, Reason, Revocation};
use dht::admit::{NetworkKey, Presentation, Rules};
use dht::publish::{self, Publication, Sequence};
use dht::record::{Mapping, Rloc, RlocFlags};
use dht::shell::node::{Clock, Multiaddr, Node, NodeConfig, NodeError};
use dht::shell::{limits, shelf};
use libp2p::PeerId;
use libp2p::identity::Keypair;
use sha2::{Digest, Sha256};
use wire::record::Ttl;

use crate::mesh::put_until;
use crate::stranger;
use crate::stranger::{Fate, at, keypair, presentation, run_for, try_with};

const NETWORK: Network = Network::LAB;
const LIMIT: Duration = Duration::from_secs(60);

fn identity() -> Identity {
    Identity::generate_ed25519(NETWORK, SystemTime::now()).unwrap()
}

fn key() -> OperationalKey {
    identity().delegate(SystemTime::now(), 0).unwrap()
}

fn config(key: &OperationalKey, host: [u8; 3], bootstrap: &[Multiaddr]) -> NodeConfig {
    let [network, block, host] = host;
    NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(127, network, block, host))],
        port: 0,
        bootstrap: bootstrap.to_vec(),
        ..NodeConfig::server(key)
    }
}

fn start(config: NodeConfig) -> Node {
    shelf::start_node(config, NETWORK, None).unwrap()
}

fn server(host: [u8; 3], bootstrap: &[Multiaddr]) -> Node {
    start(config(&key(), host, bootstrap))
}

fn client(bootstrap: &[Multiaddr], rules: &Rules) -> Node {
    start(NodeConfig { bootstrap: bootstrap.to_vec(), rules: rules.clone(), ..NodeConfig::ephemeral() })
}

fn mapping(key: &OperationalKey) -> Publication {
    let locator = Rloc {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        flags: RlocFlags { local: true, reachable: true, ..RlocFlags::default() },
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        port: 0,
    };
    let mapping = Mapping::new([locator], Ttl(60));
    publish::mapping(key, NETWORK, mapping, SystemTime::now(), &mut Sequence::default()).unwrap()
}

async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LIMIT, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{what} after {:?}", begun.elapsed());
}

async fn wait_for_peers(nodes: &[Node], peers: usize) {
    wait_for("every peer", async || nodes.iter().all(|node| node.peer_set().peers == peers)).await;
}

#[tokio::test]
async fn who_presents_nothing_is_no_peer() {
    let node = server([41, 1, 1], &[]);
    let mut silent = stranger::stranger(Keypair::generate_ed25519());
    silent.listen_on(at("127.41.2.1")).unwrap();
    stranger::connect(&mut silent, &node).await;
    assert!(run_for(&mut silent, node.id(), Duration::from_secs(1)).await, "an open network lets it ask");
    assert_eq!(node.stats().await.unwrap().peers, []);
}

#[tokio::test]
async fn the_first_message_goes_with_the_proposal_of_its_protocol() {
    const PROPOSAL: &[u8] = b"/ipv6mesh/admit/1\n";
    let mute = stranger::Mute::at("127.55.1.1").await;
    let _client = client(std::slice::from_ref(&mute.address), &Rules::default());
    let heard = tokio::time::timeout(LIMIT, mute.hears(PROPOSAL, Duration::from_secs(2))).await.expect("a proposal");
    let after = |octets: &Vec<u8>| {
        let at = octets.windows(PROPOSAL.len()).position(|part| part == PROPOSAL)?;
        Some(octets[at + PROPOSAL.len()..].to_vec())
    };
    let messages: Vec<_> = heard.iter().filter_map(after).collect();
    assert_eq!(messages.len(), 1, "{heard:?}");
    assert!(Presentation::decode(&messages[0]).is_ok(), "nothing whole before an answer: {heard:?}");
}

#[tokio::test]
async fn garbage_is_counted_and_answered() {
    let node = server([42, 1, 1], &[]);
    let mut swarm = stranger::stranger(Keypair::generate_ed25519());
    swarm.listen_on(at("127.42.2.1")).unwrap();
    let too_much = vec![1; dht::limits::PRESENTATION + 100];
    for garbage in [b"garbage".to_vec(), Vec::new(), too_much] {
        assert_eq!(try_with(&mut swarm, &node, garbage).await, Fate::Answered(11));
    }
    let stats = node.stats().await.unwrap();
    assert_eq!(stats.admission.refused.get("malformed"), Some(&3), "{:?}", stats.admission);
    assert_eq!(stats.peers, []);
}

#[tokio::test]
async fn a_peer_is_told_why_it_is_refused_and_stays_a_client() {
    let node = server([43, 1, 1], &[]);
    let victim = key();
    let mut thief = stranger::stranger(Keypair::generate_ed25519());
    thief.listen_on(at("127.43.2.1")).unwrap();
    let stolen = presentation(&victim, node.id()).encode();
    assert_eq!(try_with(&mut thief, &node, stolen.clone()).await, Fate::Answered(5));
    for _ in 1..limits::PRESENTATIONS {
        try_with(&mut thief, &node, stolen.clone()).await;
    }
    assert_eq!(try_with(&mut thief, &node, stolen).await, Fate::Answered(9));
    assert!(run_for(&mut thief, node.id(), Duration::from_millis(300)).await);
    let stats = node.stats().await.unwrap();
    assert_eq!((stats.peers.len(), stats.admission.refused.get("other-key")), (0, Some(&4)), "{:?}", stats.admission);
}

#[tokio::test]
async fn an_owner_enters_under_its_own_key() {
    let node = server([44, 1, 1], &[]);
    let owner = key();
    let mut swarm = stranger::stranger(keypair(&owner));
    swarm.listen_on(at("127.44.2.1")).unwrap();
    let presented = presentation(&owner, node.id()).encode();
    assert_eq!(try_with(&mut swarm, &node, presented).await, Fate::Answered(0));
    wait_for("it as a peer", async || {
        run_for(&mut swarm, node.id(), Duration::from_millis(100)).await;
        let stats = node.stats().await.unwrap();
        (stats.peers.len(), stats.admission.servers) == (1, 1)
    })
    .await;
}

/// Puzzle bits that no key of a lab has by chance: one in 16 million.
fn hard() -> Rules {
    Rules { puzzle: PuzzleBits::new(28).unwrap(), ..Rules::default() }
}

#[tokio::test]
async fn a_key_that_does_not_fit_makes_a_client() {
    let nodes = [server([45, 1, 1], &[])];
    let owner = key();
    let weak = NodeConfig { rules: hard(), ..config(&owner, [45, 2, 1], &nodes[0].listen_addrs()) };
    let weak = start(weak);
    let publication = mapping(&owner);
    // It admits nobody here, whose keys are as weak; the others take what it puts nevertheless.
    let mut rules = hard();
    rules.puzzle = PuzzleBits::LAB;
    let reader = client(&nodes[0].listen_addrs(), &rules);
    assert_eq!(weak.stats().await.unwrap().admission.role, "client");
    assert_eq!(nodes[0].stats().await.unwrap().admission.role, "server");
    put_until(&reader, &publication.key.encode(), &publication.value, (false, 1, 0)).await;
    let refused = async || weak.stats().await.unwrap().admission.refused.get("puzzle") == Some(&1);
    wait_for("its refusal of the other", refused).await;
    assert_eq!(nodes[0].stats().await.unwrap().peers, []);
}

fn secret(first: u8) -> Rules {
    let octets = std::array::from_fn(|index| first.wrapping_add(u8::try_from(index).unwrap()));
    Rules { key: Some(NetworkKey::new(octets).unwrap()), ..Rules::default() }
}

#[tokio::test]
async fn a_closed_network_serves_its_members() {
    let member = |block, bootstrap: &[Multiaddr]| {
        start(NodeConfig { rules: secret(1), ..config(&key(), [46, block, 1], bootstrap) })
    };
    let first = member(1, &[]);
    let bootstrap = first.listen_addrs();
    let nodes = [first, member(2, &bootstrap), member(3, &bootstrap)];
    wait_for_peers(&nodes, 2).await;
    let publication = mapping(&key());
    let reader = client(&bootstrap, &secret(1));
    let begun = Instant::now();
    put_until(&reader, &publication.key.encode(), &publication.value, (false, 3, 0)).await;
    println!("a client of a closed network puts in {:?}", begun.elapsed());
    assert_eq!(reader.get(publication.key.encode(), |_| true).await.unwrap().len(), 1);
    assert!(nodes[0].stats().await.unwrap().admission.closed);
}

#[tokio::test]
async fn strangers_get_nothing_out_of_a_closed_network_and_nothing_into_it() {
    let node = start(NodeConfig { rules: secret(1), ..config(&key(), [47, 1, 1], &[]) });
    let owner = key();
    let publication = mapping(&owner);
    let (key, value) = (publication.key.encode(), publication.value);
    node.put(key.clone(), value.clone()).await.unwrap();
    for rules in [Rules::default(), secret(2)] {
        let stranger = client(&node.listen_addrs(), &rules);
        assert_eq!(stranger.get(key.clone(), |_| true).await.unwrap(), Vec::<Vec<u8>>::new());
        let stats = stranger.stats().await.unwrap();
        assert_eq!(stats.admission.refused_by.keys().collect::<Vec<_>>(), [&"network-key"]);
    }
    let before = node.stats().await.unwrap().counters;
    let mut swarm = stranger::stranger(keypair(&owner));
    swarm.listen_on(at("127.47.2.1")).unwrap();
    stranger::connect(&mut swarm, &node).await;
    swarm.behaviour_mut().kad.add_address(&node.id(), node.listen_addrs()[0].clone());
    let other = mapping(&self::key());
    let record = libp2p::kad::Record::new(other.key.encode(), other.value);
    swarm.behaviour_mut().kad.put_record_to(record, std::iter::once(node.id()), libp2p::kad::Quorum::One);
    swarm.behaviour_mut().kad.get_record(key.into());
    run_for(&mut swarm, node.id(), limits::PRESENTATION_TIME + Duration::from_millis(1200)).await;
    let stats = node.stats().await.unwrap();
    assert_eq!(stats.held.records, 1, "a stranger has stored something");
    assert_eq!(stats.counters.values_served, before.values_served, "a stranger was given something");
    assert!(stats.admission.refused.contains_key("silent"), "{:?}", stats.admission);
    // Its Kademlia would dial again.
    swarm.behaviour_mut().kad.remove_peer(&node.id());
    let presented = presentation(&owner, node.id()).encode();
    let fate = try_with(&mut swarm, &node, presented).await;
    assert!(matches!(fate, Fate::Answered(2) | Fate::Closed), "{fate:?}");
    let begun = Instant::now();
    while run_for(&mut swarm, node.id(), Duration::from_millis(200)).await {
        assert!(begun.elapsed() < LIMIT / 2, "the connection is not closed");
    }
}

/// The bucket of a peer, seen from a node.
fn bucket(node: PeerId, peer: PeerId) -> u32 {
    let place = |id: PeerId| -> [u8; 32] { Sha256::digest(id.to_bytes()).into() };
    let pairs = place(node).into_iter().zip(place(peer));
    let distance: Vec<u8> = pairs.map(|(one, other)| one ^ other).collect();
    distance.iter().take(4).fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)).leading_zeros()
}

#[tokio::test]
async fn a_block_has_two_places_in_a_bucket() {
    let node = server([48, 1, 1], &[]);
    let bootstrap = node.listen_addrs();
    // As many as one block may have connections; three of one bucket, which eight keys by chance have not once in 44 times.
    let of_one_bucket = std::iter::repeat_with(key).filter(|key| {
        let id = keypair(key).public().to_peer_id();
        bucket(node.id(), id) == 0
    });
    let keys = of_one_bucket.take(3).chain(std::iter::repeat_with(key)).take(8);
    let crowd: Vec<Node> = (1..).zip(keys).map(|(host, key)| start(config(&key, [48, 2, host], &bootstrap))).collect();
    wait_for("all presentations", async || node.stats().await.unwrap().admission.servers >= 8).await;
    wait_for("a crowd", async || !node.stats().await.unwrap().admission.crowded.is_empty()).await;
    let far = server([48, 3, 1], &bootstrap);
    let is_known = async |id: PeerId| node.stats().await.unwrap().peers.iter().any(|peer| peer.id == id);
    wait_for("a peer of another block", async || is_known(far.id()).await).await;
    let mut buckets = std::collections::BTreeMap::<u32, usize>::new();
    for peer in node.stats().await.unwrap().peers.iter().filter(|peer| peer.id != far.id()) {
        *buckets.entry(bucket(node.id(), peer.id)).or_default() += 1;
    }
    assert!(buckets.values().all(|count| *count <= dht::limits::BUCKET_PER_BLOCK), "{buckets:?}");
    assert!(buckets.values().sum::<usize>() < crowd.len(), "{buckets:?}");
}

#[tokio::test]
async fn a_node_with_a_wrong_clock_publishes_nothing() {
    let first = server([49, 1, 1], &[]);
    let bootstrap = first.listen_addrs();
    let mut nodes = vec![first];
    nodes.extend((2..=5).map(|block| server([49, block, 1], &bootstrap)));
    wait_for_peers(&nodes, 4).await;
    let right = nodes[1].stats().await.unwrap().admission;
    assert_eq!(right.clock.state, "unknown", "four peers do not tell: {right:?}");
    for (block, seconds) in [(10, 3600), (11, -3600)] {
        let owner = key();
        let clock = Clock::shifted(seconds);
        let all: Vec<Multiaddr> = nodes.iter().flat_map(Node::listen_addrs).collect();
        let wrong = start(NodeConfig { clock, ..config(&owner, [49, block, 1], &all) });
        wait_for("a verdict", async || wrong.stats().await.unwrap().admission.clock.state == "wrong").await;
        assert!(!wrong.peer_set().is_clock_right);
        let publication = mapping(&owner);
        let error = wrong.put(publication.key.encode(), publication.value).await.unwrap_err();
        assert!(matches!(error, NodeError::Clock(behind) if (behind / 1000 + seconds).abs() < 5), "{error}");
        assert!(error.to_string().contains("set it"), "{error}");
        wrong.shutdown().await;
    }
    let late = server([49, 12, 1], &bootstrap);
    wait_for("a verdict", async || late.stats().await.unwrap().admission.clock.state == "right").await;
    wait_for("the same, for who publishes", async || late.peer_set().is_clock_right).await;
}

#[tokio::test]
async fn a_clock_behind_the_certificates_of_the_one_bootstrap_node_is_found_wrong() {
    let first = server([53, 1, 1], &[]);
    let bootstrap = first.listen_addrs();
    let mut nodes = vec![first];
    nodes.extend((2..=5).map(|block| server([53, block, 1], &bootstrap)));
    wait_for_peers(&nodes, 4).await;
    // A client, which nobody would dial by itself.
    let (owner, clock) = (key(), Clock::shifted(-3600));
    let slow = start(NodeConfig { clock, bootstrap, ..NodeConfig::ephemeral() });
    wait_for("a verdict", async || slow.stats().await.unwrap().admission.clock.state == "wrong").await;
    let stats = slow.stats().await.unwrap();
    assert_eq!(stats.peers, [], "by its clock nobody's certificate holds");
    assert!(stats.admission.refused.get("dates").is_some_and(|count| *count >= 5), "{:?}", stats.admission);
    assert!(stats.admission.clock_questions >= 1, "{:?}", stats.admission);
    let publication = mapping(&owner);
    let error = slow.put(publication.key.encode(), publication.value).await.unwrap_err();
    assert!(matches!(error, NodeError::Clock(_)), "{error}");
    wait_for("one alarm", async || slow.stats().await.unwrap().admission.clock_alarms == 1).await;
    assert_eq!(slow.stats().await.unwrap().admission.unpublished, 1);
}

#[tokio::test]
async fn a_few_liars_about_the_time_do_not_stop_a_node() {
    let node = server([54, 1, 1], &[]);
    let bootstrap = node.listen_addrs();
    // Keys of another day, and a clock that goes with them: nothing but the dates is wrong.
    let then = SystemTime::now() + Duration::from_secs(86_400);
    let liars: Vec<Node> = (2..=5)
        .map(|block| {
            let identity = Identity::generate_ed25519(NETWORK, then).unwrap();
            let clock = Clock::shifted(86_400);
            start(NodeConfig { clock, ..config(&identity.delegate(then, 0).unwrap(), [54, block, 1], &bootstrap) })
        })
        .collect();
    let refused = async || node.stats().await.unwrap().admission.refused.get("dates").copied().unwrap_or_default();
    wait_for("four liars", async || refused().await >= 4).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(node.stats().await.unwrap().admission.clock.state, "unknown", "{} liars", liars.len());
    let publication = mapping(&key());
    assert!(node.put(publication.key.encode(), publication.value).await.unwrap().local);
}

#[tokio::test]
async fn a_newer_key_of_an_owner_ends_the_older_one() {
    let node = server([50, 1, 1], &[]);
    let (owner, now) = (identity(), SystemTime::now());
    let old = start(config(&owner.delegate(now, 0).unwrap(), [50, 2, 1], &node.listen_addrs()));
    wait_for("the old node", async || node.peer_set().peers == 1).await;
    let new = start(config(&owner.delegate_revision(now, 0, 1).unwrap(), [50, 3, 1], &node.listen_addrs()));
    let has = async |id: PeerId| node.stats().await.unwrap().peers.iter().any(|peer| peer.id == id);
    wait_for("the new node alone", async || has(new.id()).await && !has(old.id()).await).await;
    assert_eq!(node.stats().await.unwrap().admission.ended.get("superseded"), Some(&1));
}

#[tokio::test]
async fn a_revocation_ends_an_admission() {
    let node = server([51, 1, 1], &[]);
    let (owner, now) = (identity(), SystemTime::now());
    let _owned = start(config(&owner.delegate(now, 0).unwrap(), [51, 2, 1], &node.listen_addrs()));
    wait_for("the peer", async || node.peer_set().peers == 1).await;
    let statement = Revocation::issue(&owner, Reason::UNSPECIFIED, now).unwrap();
    let revocation = publish::revocation(&statement).unwrap();
    node.put(revocation.key.encode(), revocation.value).await.unwrap();
    wait_for("its end", async || node.peer_set().peers == 0).await;
    assert_eq!(node.stats().await.unwrap().admission.ended.get("revoked"), Some(&1));
}

#[tokio::test]
async fn a_presentation_for_another_network_is_told_so() {
    let node = server([52, 1, 1], &[]);
    let owner = key();
    let mut swarm = stranger::stranger(keypair(&owner));
    let elsewhere = Presentation { network: Network([1; 4]), ..presentation(&owner, node.id()) };
    assert_eq!(try_with(&mut swarm, &node, elsewhere.encode()).await, Fate::Answered(1));
}
