// SPDX-License-Identifier: GPL-2.0-or-later
//! A peer that asks without end on one connection: it is served as often as its block of addresses may ask, refused, and closed on,
//! and others notice nothing. Real QUIC on loopback.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod mesh;
mod stranger;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::{LAB, Person, key_of};
use dht::shell::limits;
use dht::shell::node::{Multiaddr, Node, NodeConfig};
use dht::shell::shelf;
use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::kad::{self, Quorum};
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, Swarm};
use mesh::put_until;
use stranger::{Speaks, SpeaksEvent};

const LIMIT: Duration = Duration::from_secs(120);
/// PUTs that the stranger has under way: as many as libp2p takes from one connection at once.
const AT_ONCE: usize = 32;
/// Lookups of which the middle one is looked at.
const LOOKUPS: usize = 21;

fn listen(number: u8) -> Vec<IpAddr> {
    vec![IpAddr::V4(Ipv4Addr::new(127, 78, number, 1))]
}

/// PUTs without end, until the connection is closed; how many were answered.
async fn flood(mut swarm: Swarm<Speaks>, victim: PeerId, address: Multiaddr) -> usize {
    swarm.listen_on(stranger::at("127.78.3.1")).unwrap();
    swarm.behaviour_mut().kad.add_address(&victim, address.clone());
    swarm.dial(address).unwrap();
    while !swarm.is_connected(&victim) {
        swarm.select_next_some().await;
    }
    let (mut number, mut under_way) = (0_usize, 0);
    loop {
        while under_way < AT_ONCE {
            let record = kad::Record::new(number.to_be_bytes().to_vec(), vec![7; 8192]);
            swarm.behaviour_mut().kad.put_record_to(record, std::iter::once(victim), Quorum::One);
            (number, under_way) = (number + 1, under_way + 1);
        }
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(SpeaksEvent::Kad(kad::Event::OutboundQueryProgressed { step, .. })) => {
                under_way -= usize::from(step.last);
            }
            SwarmEvent::ConnectionClosed { .. } => return number - under_way,
            _ => {}
        }
    }
}

/// How long a lookup takes: that of the middle one of some.
async fn latency(client: &Node, key: &[u8]) -> Duration {
    let mut all = Vec::new();
    for _ in 0..LOOKUPS {
        let begun = Instant::now();
        let found = client.get(key.to_vec(), |_| true).await.unwrap();
        all.push(begun.elapsed());
        assert_eq!(found.len(), 1, "a lookup brings nothing");
    }
    all.sort();
    all[LOOKUPS / 2]
}

/// Octets of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_without_end_is_closed_on_and_others_notice_nothing() {
    let config = NodeConfig { listen: listen(1), port: 0, ..NodeConfig::server(&key_of([78; 32])) };
    let victim = shelf::start_node(config, LAB, None).unwrap();
    let address = victim.listen_addrs()[0].clone();
    let config = NodeConfig { listen: listen(2), bootstrap: vec![address.clone()], ..NodeConfig::ephemeral() };
    let client = shelf::start_node(config, LAB, None).unwrap();
    let revocation = Person::new(78).revoke(cgeid::Reason::UNSPECIFIED, 0);
    let key = revocation.key.encode();
    // Two others, of whom nobody asks anything else: what the machine does slows them down as well.
    let config = NodeConfig { listen: listen(4), port: 0, ..NodeConfig::server(&key_of([79; 32])) };
    let aside = shelf::start_node(config, LAB, None).unwrap();
    let config = NodeConfig { listen: listen(5), bootstrap: aside.listen_addrs(), ..NodeConfig::ephemeral() };
    let reader = shelf::start_node(config, LAB, None).unwrap();
    for client in [&client, &reader] {
        put_until(client, &key, &revocation.value, (false, 1, 0)).await;
    }
    let small = resident();

    let begun = Instant::now();
    let flood = tokio::spawn(flood(stranger::stranger(Keypair::generate_ed25519()), victim.id(), address));
    let (mut during, mut elsewhere) = (Vec::new(), Vec::new());
    while !flood.is_finished() {
        assert!(begun.elapsed() < LIMIT, "nothing ends it: {:?}", victim.stats().await.unwrap().counters);
        during.push(latency(&client, &key).await);
        elsewhere.push(latency(&reader, &key).await);
    }
    let (answered, took) = (flood.await.unwrap(), begun.elapsed());
    let counters = victim.stats().await.unwrap().counters;
    println!("{answered} PUTs in {took:?}; a lookup took {during:?}, elsewhere {elsewhere:?}; {counters:?}");
    // It is not let in again at once.
    let mut again = stranger::stranger(Keypair::generate_ed25519());
    again.listen_on(stranger::at("127.78.3.1")).unwrap();
    again.dial(victim.listen_addrs()[0].clone()).unwrap();
    while victim.stats().await.unwrap().counters.rate_closed == counters.rate_closed {
        let since = begun.elapsed() - took;
        assert!(since < limits::REQUESTS_SHUT, "it is not kept out: {:?}", victim.stats().await.unwrap().counters);
        assert!(!stranger::run_for(&mut again, victim.id(), Duration::from_millis(50)).await, "it is let in");
    }

    assert!(counters.rate_closed >= 1 && counters.rate_refused >= u64::from(limits::REQUESTS_REFUSED));
    // What a block may ask, with what is saved up; all of it was refused by the store, which looked at no more.
    let tokens =
        f64::from(limits::REQUESTS_OF_BLOCK + limits::REQUESTS_OF_ALL) * (took + limits::REQUESTS_SAVED).as_secs_f64();
    let looked_at = counters.puts_refused as f64;
    assert!(looked_at * f64::from(limits::PUT_TOKENS) <= tokens, "{looked_at} PUTs were looked at, {tokens} tokens");
    let worst = |of: &[Duration]| of.iter().max().copied().unwrap();
    let (worst, without) = (worst(&during), worst(&elsewhere));
    assert!(worst < without * 3 + Duration::from_millis(100), "a lookup took {worst:?}, and {without:?} elsewhere");
    let grown = resident().saturating_sub(small);
    assert!(grown < 32 << 20, "{grown} octets");
    // Others are let in.
    latency(&client, &key).await;
}
