// SPDX-License-Identifier: GPL-2.0-or-later
//! An RTR (draft-ermagan-lisp-nat-traversal), in both tiers.

use super::*;
use crate::map_cache::{Binding, FromPort};
use wire::record::Action;

for_both_tiers! {
    an_rtr_relays_from_behind_a_nat_to_other_sites_and_to_nowhere_else,
    an_rtr_treats_hops_and_congestion_as_one_who_decapsulates_and_then_encapsulates,
    an_rtr_that_is_the_last_hop_tells_the_source_and_passes_on_what_is_beside_it,
}

/// An RTR for the site that [`super::pair`] has first, behind 192.0.2.1.
fn rtr<T: Tier>(now: Instant, petr_for: Vec<EidPrefix>) -> Node<T> {
    let etr = EtrConfig { relays: true, petr_for, ..EtrConfig::default() };
    let mut rtr = Node::<T>::with_etr(now, "192.0.2.2", &[], 8, etr);
    let nats = [Some("192.0.2.1".parse().unwrap()), None];
    let (source, from) = ("192.0.2.2".parse().unwrap(), FromPort::Control);
    let binding = Binding { address: "192.0.2.1".parse().unwrap(), port: 50_001, from, source };
    rtr.install(now, "10.0.0.0/24", Forwarding::Binding(binding));
    rtr.packets.update(Update::Relayed { prefix: prefix("10.0.0.0/24"), nats });
    rtr.install(now, "0.0.0.0/0", Forwarding::Negative(Action::NativelyForward));
    rtr.map(now, "10.0.1.0/24", "192.0.2.3");
    rtr.packets.turn(now);
    rtr
}

fn an_rtr_relays_from_behind_a_nat_to_other_sites_and_to_nowhere_else<T: Tier>() {
    let now = Instant::now();
    let (mut site, _) = pair::<T>(now);
    site.map(now, "0.0.0.0/0", "192.0.2.2");
    let (mut closed, mut petr) = (rtr::<T>(now, vec![]), rtr::<T>(now, vec![prefix("10.0.0.0/24")]));
    site.packets.turn(now);
    let to = |destination: [u8; 4]| {
        let (source, class) = ([10, 0, 0, 1].into(), TrafficClass(0));
        let destination = destination.into();
        let header = Ipv4Header { source, destination, protocol: 17, ttl: 9, class, dont_fragment: true };
        [header.emit(12).unwrap().as_slice(), &[7; 12]].concat()
    };
    // To an address of the RTR, to one of its neighbours, and to another site.
    site.offer([to([192, 0, 2, 2]), to([192, 168, 0, 9]), to([10, 0, 1, 1])]);
    site.packets.turn(now);
    let carried = carry(&mut site, &mut closed);
    petr.packets.arrive(carried);
    closed.packets.turn(now);
    petr.packets.turn(now);
    let dropped = |node: &Node<T>| node.counters.dropped(DropReason::RelayNative);
    assert_eq!((closed.packets.got().len(), dropped(&closed)), (0, 2), "its kernel gets none of them");
    assert_eq!((petr.packets.got().len(), dropped(&petr)), (2, 0));
    let to_far = |sent: &Vec<u8>| sent[16..20] == [192, 0, 2, 3];
    let (sent, of_petr) = (closed.packets.take_sent(), petr.packets.take_sent());
    assert_eq!((sent.iter().filter(|sent| to_far(sent)).count(), of_petr.len()), (1, 1));
    // The two that have gone nowhere: their source is told, behind its NAT.
    let told = sent.iter().filter(|sent| sent[16..20] == [192, 0, 2, 1] && sent[22..24] == 50_001u16.to_be_bytes());
    assert_eq!(told.count(), 2);
}

fn an_rtr_treats_hops_and_congestion_as_one_who_decapsulates_and_then_encapsulates<T: Tier>() {
    let now = Instant::now();
    let (mut site, _) = pair::<T>(now);
    site.map(now, "0.0.0.0/0", "192.0.2.2");
    let mut rtr = rtr::<T>(now, vec![]);
    site.packets.turn(now);
    let packet = |class: u8| {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 1, 1].into());
        let class = TrafficClass(class);
        let header = Ipv4Header { source, destination, protocol: 17, ttl: 63, class, dont_fragment: true };
        [header.emit(12).unwrap().as_slice(), &[7; 12]].concat()
    };
    // ECN of the inner and of the outer header as they come, hops of the outer one.
    let come = [(2, 2, 63), (2, 3, 63), (0, 3, 63), (0, 0, 63), (2, 2, 7)];
    site.offer(come.map(|(ecn, ..)| packet(ecn)));
    site.packets.turn(now);
    let mut sent = site.packets.take_sent();
    for (octets, (_, ecn, hops)) in sent.iter_mut().zip(come) {
        (octets[1], octets[8]) = (octets[1] & !3 | ecn, hops);
    }
    rtr.packets.arrive(sent);
    rtr.packets.turn(now);
    let sent = rtr.packets.take_sent();
    let seen: Vec<_> = sent.iter().map(|sent| [sent[1] & 3, sent[8], sent[36 + 1] & 3, sent[36 + 8]]).collect();
    // Outside as inside; CE on what does not take it is lost.
    assert_eq!(seen, [[2, 62, 2, 62], [3, 62, 3, 62], [0, 62, 0, 62], [2, 6, 2, 6]]);
    assert!(sent.iter().all(|sent| checksum::internet(&sent[36..56]) == 0));
}

fn an_rtr_that_is_the_last_hop_tells_the_source_and_passes_on_what_is_beside_it<T: Tier>() {
    let now = Instant::now();
    let (mut site, _) = pair::<T>(now);
    site.map(now, "0.0.0.0/0", "192.0.2.2");
    let mut rtr = rtr::<T>(now, vec![]);
    site.packets.turn(now);
    let packet = |ttl: u8| {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 1, 1].into());
        let header = Ipv4Header { source, destination, protocol: 17, ttl, class: TrafficClass(0), dont_fragment: true };
        [header.emit(12).unwrap().as_slice(), &[7; 12]].concat()
    };
    // As traceroute sends them: one after the other.
    site.offer([1, 1, 2].map(packet));
    site.packets.turn(now);
    carry(&mut site, &mut rtr);
    rtr.packets.turn(now);
    let (mut told, mut passed) = (vec![], vec![]);
    for sent in rtr.packets.take_sent() {
        if sent[16..20] == [192, 0, 2, 1] { told.push(sent) } else { passed.push(sent) }
    }
    assert_eq!(passed.len(), 1);
    assert_eq!((&passed[0][16..20], passed[0][36 + 8]), ([192, 0, 2, 3].as_slice(), 1));
    assert_eq!(told.len(), 2);
    for told in told {
        assert_eq!(told[22..24], 50_001u16.to_be_bytes(), "through its NAT");
        assert_eq!((&told[36 + 16..36 + 20], told[36 + 9]), ([10, 0, 0, 1].as_slice(), 1));
        assert_eq!((&told[56..58], checksum::internet(&told[56..])), ([11, 0].as_slice(), 0));
    }
    assert_eq!(rtr.counters.dropped(DropReason::CoreTtl), 2);
}
