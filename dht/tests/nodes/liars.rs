// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading and storing through nodes over real QUIC, honest ones and others.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use dht::record::RecordKey;
use dht::shell::lookup;
use dht::shell::lookup::Read;
use dht::shell::node::{Held, Node, NodeConfig, Reason, Records, Role};
use dht::store::Origin;

use crate::common::{LAB, key_of};
use crate::mesh::{Manner, Owner, disjoint, mesh, node, octet, put_everywhere};

#[tokio::test]
async fn half_of_the_nodes_die_and_every_record_is_found() {
    let mut nodes = mesh(61, vec![Manner::Honest; 16], disjoint()).await;
    let mut owner = Owner::new(1);
    let mut records = Vec::new();
    for number in 1..=20u8 {
        // One owner has one record; others' keys are as good for a store that looks at none.
        let said = owner.says(60, number);
        let key = [said.key.encode(), vec![number]].concat();
        put_everywhere(&nodes[usize::from(number % 16)], &key, &said.value, 15).await;
        records.push((key, said.value));
    }
    let dead = nodes.split_off(8);
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
        assert_eq!(node.stats().await.unwrap().counters.handed_over, 0, "nothing was published again");
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
    // Who waits for the silent one finds nothing: it says nothing for longer than a GET takes.
    assert!(found.first.is_some_and(|took| took < Duration::from_secs(10)), "{:?}", found.first);
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
    // It is known without any time-out, so that one of some is known soon, also on a machine that others use.
    const SOON: Duration = Duration::from_millis(500);
    let mut soonest = Duration::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        let report = publisher.put(b"key".to_vec(), b"value".to_vec()).await.unwrap();
        soonest = soonest.min(begun.elapsed());
        println!("{report:?} in {:?}", begun.elapsed());
        assert_eq!((report.stored, report.refused, report.unreachable), (0, 1, 0));
        if soonest < SOON {
            break;
        }
    }
    assert!(soonest < SOON, "{soonest:?} at best");
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

#[tokio::test]
async fn silent_peers_are_no_answer() {
    async fn is_answered(node: &Node, key: RecordKey) -> bool {
        let mut read = Read::begin(node, LAB, key).await.unwrap();
        assert!(!read.first().await);
        read.is_answered()
    }
    let key = Owner::new(4).says(60, 7).key;
    let mut nodes = mesh(65, vec![Manner::Honest; 4], disjoint()).await;
    assert!(is_answered(&nodes[0], key).await, "three others have not got it");
    let frozen = [nodes[2].freeze().await.unwrap(), nodes[3].freeze().await.unwrap()];
    assert!(!is_answered(&nodes[0], key).await, "one alone says so");
    drop(frozen);
    let alone = nodes.remove(1);
    let frozen = alone.freeze().await.unwrap();
    let reader = node(65, 99, Role::Client, &alone.listen_addrs(), Manner::Honest, disjoint());
    assert!(!is_answered(&reader, key).await, "nobody is there");
    drop(frozen);

    let pair = mesh(66, vec![Manner::Honest; 2], disjoint()).await;
    assert!(is_answered(&pair[0], key).await, "all that there are");
    let alone = mesh(67, vec![Manner::Honest], disjoint()).await;
    assert!(!is_answered(&alone[0], key).await, "there is nobody to ask");
}

#[tokio::test]
async fn an_expired_copy_beside_silence_is_no_answer() {
    let old = Owner::new(5).says(3600, 7);
    let nodes = mesh(68, vec![Manner::Honest, Manner::Gives(old.value.clone()), Manner::Honest], disjoint()).await;
    let frozen = nodes[2].freeze().await.unwrap();
    let mut read = Read::begin(&nodes[0], LAB, old.key).await.unwrap();
    assert!(!read.first().await);
    assert_eq!((read.values(), read.is_answered()), (vec![old.value], false));
    drop(frozen);
}
