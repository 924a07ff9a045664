// SPDX-License-Identifier: GPL-2.0-or-later
//! Where records belong: the size of the network, the region round a key, and who is chosen in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dht::limits;
use dht::lookup::{Candidate, Distance, NetworkSize, choose, distance, is_worth_another_look, leaves_room, neighbours};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn place(network: u64, number: usize) -> Distance {
    Sha256::digest(format!("{network} {number}")).into()
}

/// A place nearer to `point` than chance would have it.
fn squeezed(point: &Distance, number: u8) -> Distance {
    let mut place = *point;
    place[10] ^= number;
    place
}

fn honest(network: u64, count: usize) -> Vec<Candidate<(bool, usize)>> {
    let node = |number: usize| {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        let address = Some(IpAddr::V4(Ipv4Addr::new(10, high, low, 1).to_bits().wrapping_add(0x6000_0000).into()));
        Candidate { place: place(network, number), address, node: (true, number) }
    };
    (0..count).map(node).collect()
}

fn hostile(point: &Distance) -> Vec<Candidate<(bool, usize)>> {
    let node = |number: u8| Candidate {
        place: squeezed(point, number),
        address: Some(Ipv4Addr::new(198, 51, 100 + number % 2, number).into()),
        node: (false, number.into()),
    };
    (1..=40).map(node).collect()
}

fn nearest(point: &Distance, nodes: &[Candidate<(bool, usize)>]) -> Vec<Distance> {
    let mut places: Vec<Distance> = nodes.iter().map(|node| node.place).collect();
    places.sort_by_key(|place| distance(point, place));
    places.truncate(limits::REPLICAS);
    places
}

/// What a node has learnt that looked at so many places of a network.
fn learnt(nodes: &[Candidate<(bool, usize)>], places: usize) -> NetworkSize {
    let mut size = NetworkSize::default();
    for number in 0..places {
        let place = place(u64::MAX, number);
        size.learn(&place, &nearest(&place, nodes));
    }
    size
}

fn is_within(point: &Distance, radius: f64, place: &Distance) -> bool {
    let [a, b, c, d, ..] = distance(point, place);
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX) <= radius
}

#[test]
fn the_size_of_a_network_is_known_to_a_quarter() {
    for count in [100, 1000, 10_000] {
        let estimate = learnt(&honest(1, count), limits::SIZE_SAMPLES).nodes();
        println!("{count} nodes are taken for {estimate:.0}");
        assert!((0.75..1.34).contains(&(estimate / count as f64)), "{count} nodes, estimated {estimate}");
    }
}

#[test]
fn in_a_small_network_the_region_is_all_of_it() {
    let nodes = honest(2, 12);
    let size = learnt(&nodes, 3);
    assert!((size.radius() - 1.0).abs() < f64::EPSILON, "{}", size.radius());
    assert_eq!(choose(&place(3, 0), size.radius(), nodes).len(), 12);
}

#[test]
fn one_crowded_place_does_not_change_what_is_known_of_the_size() {
    let nodes = honest(4, 300);
    let mut size = learnt(&nodes, 4);
    let before = size.nodes();
    let point = place(5, 0);
    let crowd: Vec<Distance> = (1..=40).map(|number| squeezed(&point, number)).collect();
    for _ in 0..10 {
        size.learn(&point, &crowd);
    }
    assert!(size.nodes() <= before * 1.5, "{} after {before}", size.nodes());
}

#[test]
fn nodes_of_one_block_fill_up_where_there_are_no_others() {
    let point = place(6, 0);
    let mut nodes = honest(7, 40);
    for node in &mut nodes {
        node.address = Some(Ipv4Addr::new(198, 51, 100, 1).into());
    }
    assert_eq!(choose(&point, 1.0, nodes.clone()).len(), limits::REPLICAS);
    for node in nodes.iter_mut().skip(15) {
        let [high, low] = u16::try_from(node.node.1).unwrap().to_be_bytes();
        node.address = Some(Ipv4Addr::new(203, high, low, 1).into());
    }
    let chosen = choose(&point, 1.0, nodes);
    assert_eq!(chosen.iter().filter(|(_, number)| *number < 15).count(), limits::PER_BLOCK);
    assert_eq!(chosen.len(), 25 + limits::PER_BLOCK);
}

#[test]
fn a_provider_has_eight_places_however_many_sites_it_has() {
    let mut nodes = honest(8, 60);
    for node in nodes.iter_mut().take(30) {
        let site = u16::try_from(node.node.1).unwrap();
        node.address = Some(Ipv6Addr::new(0x2001, 0xdb8, site, 0, 0, 0, 0, 1).into());
    }
    let chosen = choose(&place(9, 0), 1.0, nodes);
    assert_eq!(chosen.iter().filter(|(_, number)| *number < 30).count(), limits::PER_PROVIDER);
}

#[test]
fn a_crowd_round_a_key_is_noticed_and_looked_behind() {
    let mut nodes = honest(10, 2000);
    let size = learnt(&nodes, 8);
    let point = place(11, 0);
    assert!(!leaves_room(&point, size.radius(), &nearest(&point, &nodes)), "honest nodes hide nobody");
    nodes.extend(hostile(&point));
    let found = nearest(&point, &nodes);
    assert!(found.iter().all(|place| place[..10] == point[..10]), "the nearest are all hostile");
    assert!(leaves_room(&point, size.radius(), &found));
    let mut seen = found;
    let keys = neighbours(&point, size.radius());
    assert_eq!(keys.len(), 3);
    for key in keys {
        let other: Distance = Sha256::digest(&key).into();
        assert!(is_within(&point, 2.0 * size.radius(), &other));
        seen.extend(nearest(&other, &nodes));
    }
    let candidates: Vec<_> = nodes.iter().filter(|node| seen.contains(&node.place)).cloned().collect();
    let chosen = choose(&point, size.radius(), candidates);
    let good = chosen.iter().filter(|(is_honest, _)| *is_honest).count();
    let bad = chosen.len() - good;
    println!("{good} honest and {bad} hostile nodes store");
    assert!(good >= 12 && bad <= 2 * limits::PER_BLOCK + 4, "{good} and {bad}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn forty_squeezed_in_displace_nobody(network: u64, count in 30usize..800, key: u64) {
        let point = place(key, usize::MAX);
        let mut nodes = honest(network, count);
        nodes.extend(hostile(&point));
        let radius = learnt(&nodes, 8).radius();
        let chosen = choose(&point, radius, nodes.clone());
        for node in nodes.iter().filter(|node| node.node.0 && is_within(&point, radius * 0.999, &node.place)) {
            prop_assert!(chosen.len() == limits::REGION_NODES || chosen.contains(&node.node), "{:?} is left out", node.node);
        }
        let bad = chosen.iter().filter(|(is_honest, _)| !is_honest).count();
        let good = chosen.len() - bad;
        prop_assert!(bad <= (2 * limits::PER_BLOCK).max(limits::REPLICAS.saturating_sub(good)));
    }

    #[test]
    fn never_fewer_than_twenty_nor_more_than_the_bound(count in 0usize..200, radius in 0.0f64..1.0, one_block: bool) {
        let mut nodes = honest(1, count);
        if one_block {
            nodes.iter_mut().for_each(|node| node.address = Some(Ipv4Addr::new(198, 51, 100, 7).into()));
        }
        let chosen = choose(&place(2, 2), radius, nodes).len();
        prop_assert!(chosen >= count.min(limits::REPLICAS) && chosen <= limits::REGION_NODES);
    }
}

#[test]
fn a_put_looks_again_where_few_of_those_took_it_who_should() {
    assert!(is_worth_another_look(9, 0, 300.0) && !is_worth_another_look(10, 0, 300.0));
    assert!(is_worth_another_look(15, 1, 300.0), "who refuses lies too far away");
    assert!(!is_worth_another_look(2, 0, 3.0), "there are not more");
    assert!(is_worth_another_look(0, 0, 0.0), "nobody has it");
}
