// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading: which copies count, when enough were seen; and the same through nodes over real QUIC, honest ones and others.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, Ipv4Addr};

use cgeid::Reason;
use common::{LAB, Person, host, prefix, seconds, site, start, sub_page};
use dht::lookup::{News, Reading};
use dht::publish::PageKind;
use dht::record::{CertificateCache, RecordKey};
use dht::resolve::{Anchors, Outcome, Resolver, TrustAnchor};
use dht::store::Origin;

fn from(block: u8) -> Origin {
    Origin::Peer(IpAddr::V4(Ipv4Addr::new(198, 51, block, 1)))
}

#[test]
fn the_first_valid_copy_is_used_and_a_newer_one_replaces_it() {
    let mut person = Person::new(1);
    let (old, new) = (person.mapping(start(), 1), person.mapping(start() + seconds(60), 2));
    let (now, mut cache) = (start() + seconds(61), CertificateCache::new());
    let mut reading = Reading::new(LAB, old.key);
    assert_eq!(reading.take(now, from(1), b"rubbish".to_vec(), &mut cache), News::Nothing);
    assert_eq!(reading.values(), [b"rubbish".to_vec()], "the reason why there is nothing");
    assert_eq!(reading.take(now, from(2), old.value.clone(), &mut cache), News::First);
    assert_eq!(reading.take(now, from(3), old.value.clone(), &mut cache), News::Nothing);
    assert!(!reading.is_over());
    assert_eq!(reading.take(now, from(4), new.value.clone(), &mut cache), News::Newer);
    assert!(reading.is_over(), "three blocks");
    assert_eq!(reading.values(), [old.value, new.value]);
}

#[test]
fn copies_of_one_block_are_one_copy_and_what_does_not_hold_is_none() {
    let mut person = Person::new(2);
    let (old, new) = (person.mapping(start(), 1), person.mapping(start() + seconds(60), 2));
    let (now, mut cache) = (start() + seconds(61), CertificateCache::new());
    let mut reading = Reading::new(LAB, old.key);
    for _ in 0..20 {
        reading.take(now, from(1), old.value.clone(), &mut cache);
    }
    for block in 10..60 {
        assert_eq!(reading.take(now, from(block), vec![block; 3], &mut cache), News::Nothing);
    }
    assert!(!reading.is_over());
    assert_eq!(reading.take(now, Origin::Own, new.value, &mut cache), News::Newer);
    assert_eq!(reading.take(now, from(2), old.value, &mut cache), News::Nothing);
    assert!(reading.is_over(), "two blocks and this node itself");
}

#[test]
fn an_older_copy_is_no_news() {
    let mut person = Person::new(3);
    let (old, new) = (person.mapping(start(), 1), person.mapping(start() + seconds(60), 2));
    let (now, mut cache) = (start() + seconds(61), CertificateCache::new());
    let mut reading = Reading::new(LAB, old.key);
    assert_eq!(reading.take(now, from(1), new.value.clone(), &mut cache), News::First);
    assert_eq!(reading.take(now, from(2), old.value, &mut cache), News::Nothing);
    assert_eq!(reading.values(), [new.value]);
}

#[test]
fn a_revocation_that_comes_late_is_the_last_word() {
    let mut person = Person::new(4);
    let (mapping, revocation) = (person.mapping(start(), 1), person.revoke(Reason::KEY_COMPROMISE, 0));
    let (now, mut cache) = (start() + seconds(1), CertificateCache::new());
    let mut reading = Reading::new(LAB, mapping.key);
    reading.take(now, from(1), mapping.value, &mut cache);
    assert_eq!(reading.take(now, from(1), revocation.value, &mut cache), News::Newer);
    assert!(reading.is_over());
}

#[test]
fn two_statements_of_one_version_are_both_kept() {
    let mut person = Person::new(5);
    let sequence = person.sequence;
    let one = person.mapping(start(), 1);
    person.sequence = sequence;
    let other = person.mapping(start(), 2);
    let (now, mut cache) = (start() + seconds(1), CertificateCache::new());
    let mut reading = Reading::new(LAB, one.key);
    reading.take(now, from(1), one.value, &mut cache);
    assert_eq!(reading.take(now, from(2), other.value, &mut cache), News::Newer);
    assert_eq!(reading.values().len(), 2);
}

#[test]
fn a_newer_page_that_is_read_late_is_used_from_then_on() {
    let (mut anchor, mut registrar) = (Person::new(6), Person::new(7));
    let kind = PageKind::Delegations;
    let entry = site("2001:db8:a::/48", &[registrar.cn()], 48);
    let empty = anchor.page(start(), "2001:db8::/32", vec![], kind);
    let full = anchor.page(start() + seconds(60), "2001:db8::/32", vec![entry], kind);
    let said = registrar.prefix(start() + seconds(60), "2001:db8:a::/48", 9);
    let (now, eid) = (start() + seconds(120), host("2001:db8:a::1"));
    let get = |key: &RecordKey| match *key {
        key if key == empty.key => vec![empty.value.clone()],
        key if key == said.key => vec![said.value.clone()],
        _ => Vec::new(),
    };
    let anchors = Anchors::new([TrustAnchor { aggregate: prefix("2001:db8::/32"), cn: anchor.cn() }]);
    let mut resolver = Resolver::new(LAB, anchors);
    assert!(matches!(resolver.resolve(eid, now, get).0, Outcome::Hole { .. }));
    resolver.learn(now, &full.key, &[empty.value.clone(), full.value.clone()]);
    assert!(matches!(resolver.resolve(eid, now, get).0, Outcome::Mapping(_)));
    resolver.learn(now, &full.key, std::slice::from_ref(&empty.value));
    assert!(matches!(resolver.resolve(eid, now, get).0, Outcome::Mapping(_)), "an older one changes nothing");

    // Its writer turns out to contradict itself: the page is read no more.
    let sequence = anchor.sequence;
    let one = anchor.page(start() + seconds(90), "2001:db8::/32", vec![], kind);
    anchor.sequence = sequence;
    let other = anchor.page(start() + seconds(90), "2001:db8::/32", vec![sub_page("2001:db8::/40", 0)], kind);
    resolver.learn(now, &full.key, &[one.value.clone(), other.value.clone()]);
    let both = |_: &RecordKey| vec![one.value.clone(), other.value.clone()];
    assert_eq!(resolver.resolve(eid, now, both).0, Outcome::Conflict);
}

#[cfg(feature = "shell")]
mod nodes {
    use crate::common::key_of;
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr};
    use std::num::NonZeroUsize;
    use std::time::{Duration, Instant, SystemTime};

    use cgeid::{Identity, OperationalKey};
    use dht::publish::{self, Publication, Sequence};
    use dht::record::{CertificateCache, Class};
    use dht::resolve::{Selection, newest};
    use dht::shell::limits;
    use dht::shell::lookup;
    use dht::shell::node::{Held, Multiaddr, Node, NodeConfig, Paths, Reason, Records, Role};
    use dht::store::Origin;
    use zeroize::Zeroizing;

    use super::common::{LAB, mapping};

    /// What a node does that does not do as it should.
    #[derive(Clone, Default)]
    enum Manner {
        /// Stores what it is given and gives what it stores.
        #[default]
        Honest,
        /// Acknowledges, stores nothing, and gives this.
        Gives(Vec<u8>),
        /// The same, after so long.
        Slow(Duration, Vec<u8>),
    }

    #[derive(Default)]
    struct Double {
        held: HashMap<Vec<u8>, Vec<u8>>,
        manner: Manner,
    }

    impl Records for Double {
        fn get(&self, _now: SystemTime, key: &[u8]) -> Option<Vec<u8>> {
            match &self.manner {
                Manner::Honest => self.held.get(key).cloned(),
                Manner::Gives(value) => Some(value.clone()),
                Manner::Slow(wait, value) => {
                    std::thread::sleep(*wait);
                    Some(value.clone())
                }
            }
        }

        fn put(&mut self, _now: SystemTime, _origin: Origin, key: &[u8], value: &[u8]) -> Result<(), Reason> {
            self.held.insert(key.to_vec(), value.to_vec());
            Ok(())
        }

        fn housekeep(&mut self, _now: SystemTime) {}

        fn held(&self) -> Held {
            Held { records: self.held.len(), ..Held::default() }
        }
    }

    /// A node on 127.`network`.`number`.1: each in a block of its own, each test in a network of its own.
    fn node(network: u8, number: u8, role: Role, bootstrap: &[Multiaddr], manner: Manner, paths: Paths) -> Node {
        let mut seed = [number; 32];
        seed[0] = network;
        // A server has certificates, a client shows nothing.
        let config = match role {
            Role::Server => NodeConfig::server(&key_of(seed)),
            Role::Client => NodeConfig::client(Zeroizing::new(seed)),
        };
        let config = NodeConfig {
            listen: vec![IpAddr::V4(Ipv4Addr::new(127, network, number, 1))],
            port: 0,
            bootstrap: bootstrap.to_vec(),
            paths,
            ..config
        };
        Node::start(config, Box::new(Double { manner, ..Double::default() })).unwrap()
    }

    async fn mesh(network: u8, manners: Vec<Manner>, paths: Paths) -> Vec<Node> {
        let count = manners.len();
        let mut nodes: Vec<Node> = Vec::new();
        for (number, manner) in (1..).zip(manners) {
            let bootstrap = nodes.first().map_or_else(Vec::new, Node::listen_addrs);
            nodes.push(node(network, number, Role::Server, &bootstrap, manner, paths));
        }
        let begun = Instant::now();
        // Of more than that a bucket may be full.
        while nodes.iter().any(|node| node.peer_set().peers < (count - 1).min(20)) {
            assert!(begun.elapsed() < Duration::from_secs(15), "the nodes do not meet");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        nodes
    }

    fn disjoint() -> Paths {
        Paths::Disjoint(limits::PATHS)
    }

    /// Somebody whose keys hold now.
    struct Owner {
        key: OperationalKey,
        sequence: Sequence,
    }

    impl Owner {
        fn new(number: u8) -> Self {
            let since = SystemTime::now() - Duration::from_secs(3600);
            let identity = Identity::from_seed(&[number; 32], LAB, since).unwrap();
            Self { key: identity.delegate(since, 0).unwrap(), sequence: Sequence::default() }
        }

        fn says(&mut self, ago: u64, last_octet: u8) -> Publication {
            let at = SystemTime::now() - Duration::from_secs(ago);
            publish::mapping(&self.key, LAB, mapping(last_octet), at, &mut self.sequence).unwrap()
        }
    }

    fn octet(key: &dht::record::RecordKey, values: &[Vec<u8>]) -> Option<u8> {
        let mut cache = CertificateCache::new();
        match newest(LAB, key, Class::Mapping, values, SystemTime::now(), &mut cache) {
            Selection::Newest(verified) => match verified.bundle.mapping()?.locators.first()?.address {
                IpAddr::V4(v4) => Some(v4.octets()[3]),
                IpAddr::V6(_) => None,
            },
            _ => None,
        }
    }

    #[tokio::test]
    async fn half_of_the_nodes_die_and_every_record_is_found() {
        let mut nodes = mesh(61, vec![Manner::Honest; 16], disjoint()).await;
        let mut owner = Owner::new(1);
        let mut records = Vec::new();
        for number in 1..=20u8 {
            // One owner has one record; others' keys are as good for a store that looks at none.
            let said = owner.says(60, number);
            let key = [said.key.encode(), vec![number]].concat();
            let report = nodes[usize::from(number % 16)].put(key.clone(), said.value.clone()).await.unwrap();
            assert_eq!((report.local, report.stored), (true, 15), "{report:?}");
            records.push((key, said.value));
        }
        let dead = nodes.split_off(8);
        let handed_over = |stats: dht::shell::node::NodeStats| stats.counters.handed_over;
        for node in &dead {
            node.shutdown().await;
        }
        let mut slowest = Duration::ZERO;
        for (key, value) in &records {
            for node in [&nodes[0], &nodes[5]] {
                let begun = Instant::now();
                let found = node.get(key.clone(), |found| found == value).await.unwrap();
                slowest = slowest.max(begun.elapsed());
                assert_eq!(found.last(), Some(value));
            }
        }
        println!("slowest of 40 lookups: {slowest:?}");
        for node in &nodes {
            assert_eq!(handed_over(node.stats().await.unwrap()), 0, "nothing was published again");
        }
    }

    #[tokio::test]
    async fn liars_change_nothing_and_hold_nothing_up() {
        let mut owner = Owner::new(2);
        let (old, new) = (owner.says(120, 1), owner.says(60, 2));
        let silent = Manner::Slow(Duration::from_secs(6), b"late".to_vec());
        let manners = vec![
            Manner::Honest,
            Manner::Honest,
            Manner::Honest,
            Manner::Gives(b"garbage".to_vec()),
            Manner::Gives(vec![0; 12_000]),
            Manner::Gives(old.value.clone()),
            Manner::Gives(old.value.clone()),
            Manner::Slow(Duration::from_millis(700), old.value.clone()),
            silent,
        ];
        let nodes = mesh(62, manners, disjoint()).await;
        let report = nodes[0].put(new.key.encode(), new.value.clone()).await.unwrap();
        assert!(report.stored >= 6, "{report:?}");
        let reader = node(62, 99, Role::Client, &nodes[1].listen_addrs(), Manner::Honest, disjoint());
        let found = lookup::get(&reader, LAB, &new.key).await.unwrap();
        println!("{:?} until the first, {} rounds, {} requests", found.first, found.rounds, found.requests);
        assert_eq!(octet(&new.key, &found.values), Some(2), "the newest is read");
        assert!(found.first.unwrap() < limits::REQUEST, "{:?}", found.first);
        assert!((1..=3).contains(&found.rounds), "{} rounds", found.rounds);
    }

    #[tokio::test]
    async fn a_refused_record_is_known_as_such_at_once() {
        /// Takes nothing.
        struct Refusing;
        impl Records for Refusing {
            fn get(&self, _now: SystemTime, _key: &[u8]) -> Option<Vec<u8>> {
                None
            }
            fn put(&mut self, _: SystemTime, _: Origin, _: &[u8], _: &[u8]) -> Result<(), Reason> {
                Err(Reason { name: "full", text: "store full".to_owned() })
            }
            fn housekeep(&mut self, _now: SystemTime) {}
            fn held(&self) -> Held {
                Held::default()
            }
        }
        let listen = vec![IpAddr::V4(Ipv4Addr::new(127, 63, 1, 1))];
        let config = NodeConfig { listen, port: 0, ..NodeConfig::server(&key_of([63; 32])) };
        let refusing = Node::start(config, Box::new(Refusing)).unwrap();
        let publisher = node(63, 2, Role::Client, &refusing.listen_addrs(), Manner::Honest, disjoint());
        // The first PUT meets the node.
        publisher.put(b"key".to_vec(), b"value".to_vec()).await.unwrap();
        let begun = Instant::now();
        let report = publisher.put(b"key".to_vec(), b"value".to_vec()).await.unwrap();
        let took = begun.elapsed();
        println!("{report:?} in {took:?}");
        assert_eq!((report.stored, report.refused, report.unreachable), (0, 1, 0));
        assert!(took < Duration::from_millis(500), "{took:?}");
    }

    #[tokio::test]
    async fn a_record_that_lies_everywhere_takes_one_round() {
        let nodes = mesh(64, vec![Manner::Honest; 6], disjoint()).await;
        let said = Owner::new(3).says(60, 7);
        nodes[0].put(said.key.encode(), said.value.clone()).await.unwrap();
        let own = lookup::get(&nodes[1], LAB, &said.key).await.unwrap();
        assert_eq!((own.rounds, octet(&said.key, &own.values)), (0, Some(7)), "it is held here");
        let reader = node(64, 9, Role::Client, &nodes[2].listen_addrs(), Manner::Honest, disjoint());
        let first = lookup::get(&reader, LAB, &said.key).await.unwrap();
        assert_eq!((first.rounds, octet(&said.key, &first.values)), (1, Some(7)));
        assert!(first.requests >= 1);
    }

    /// What a way of looking up costs, measured: run with `--ignored --nocapture`.
    #[tokio::test]
    #[ignore = "a measurement: prints what joint and disjoint paths cost"]
    async fn paths_compared() {
        let paths = |count: usize| NonZeroUsize::new(count).unwrap();
        for (network, way) in [
            (71, Paths::Joint(paths(3))),
            (72, Paths::Joint(paths(8))),
            (73, Paths::Disjoint(paths(4))),
            (74, disjoint()),
        ] {
            for hostile in [0usize, 8] {
                let lie = Manner::Gives(b"garbage".to_vec());
                let manner = |number: usize| if number > 0 && number <= hostile { lie.clone() } else { Manner::Honest };
                let nodes = mesh(network + u8::try_from(hostile).unwrap(), (0..40).map(manner).collect(), way).await;
                let reader_at = nodes[0].listen_addrs();
                let (mut requests, mut rounds, mut right, mut time) = (0, 0, 0, Duration::ZERO);
                for number in 20..40u8 {
                    let said = Owner::new(number).says(60, 1);
                    nodes[39].put(said.key.encode(), said.value).await.unwrap();
                    let network = network + u8::try_from(hostile).unwrap();
                    let reader = node(network, 100 + number, Role::Client, &reader_at, Manner::Honest, way);
                    let found = lookup::get(&reader, LAB, &said.key).await.unwrap();
                    requests += found.requests;
                    rounds += found.rounds;
                    right += usize::from(octet(&said.key, &found.values) == Some(1));
                    time += found.first.unwrap_or_default();
                    reader.shutdown().await;
                }
                println!(
                    "{way:?}, {hostile} of 40 hostile: {right} of 20 right, {requests} requests, {rounds} rounds, {time:?}"
                );
            }
        }
    }
}
