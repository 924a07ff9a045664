// SPDX-License-Identifier: GPL-2.0-or-later
//! ECN (RFC 6040) in both tiers: the compatibility mode, and fields that nobody should make.

use super::*;
use wire::data::Ecn;

for_both_tiers! {
    in_compatibility_mode_the_wire_shows_00_and_the_inner_packet_what_it_had,
    fields_that_nobody_should_make_are_counted_and_said_to_control_once,
}

fn packet(ecn: u8, net: u8) -> Vec<u8> {
    let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, net, 1].into());
    let class = TrafficClass(10 << 2 | ecn);
    let header = Ipv4Header { source, destination, protocol: 17, ttl: 63, class, dont_fragment: true };
    [header.emit(12).unwrap().as_slice(), &[7; 12]].concat()
}

fn in_compatibility_mode_the_wire_shows_00_and_the_inner_packet_what_it_had<T: Tier>() {
    let now = Instant::now();
    let (_, mut far) = pair::<T>(now);
    let compatible = EcnCompatibility::To(vec!["192.0.2.2".parse().unwrap()]);
    let mut near = Node::<T>::with_engines(now, "192.0.2.1", &["10.0.0.0/24"], 8, (EtrConfig::default(), compatible));
    near.map(now, "10.0.1.0/24", "192.0.2.2");
    near.map(now, "10.0.2.0/24", "192.0.2.3");
    near.packets.turn(now);
    far.packets.turn(now);
    for (net, copied) in [(1, false), (2, true)] {
        near.offer((0..4).map(|ecn| packet(ecn, net)));
        near.packets.turn(now);
        let sent = near.packets.take_sent();
        let mut seen: Vec<_> = sent.iter().map(|sent| [sent[1], sent[36 + 1]]).collect();
        seen.sort_unstable_by_key(|[_, inner]| *inner);
        let expected: Vec<_> = (0..4).map(|ecn| [10 << 2 | if copied { ecn } else { 0 }, 10 << 2 | ecn]).collect();
        assert_eq!(seen, expected);
        far.packets.arrive(sent);
    }
    far.packets.turn(now);
    let mut entered: Vec<_> = far.packets.got().iter().map(|octets| octets[1]).collect();
    entered.sort_unstable();
    assert_eq!(entered, (0..4).map(|ecn| 10 << 2 | ecn).collect::<Vec<_>>(), "each is let in as it left");
}

fn fields_that_nobody_should_make_are_counted_and_said_to_control_once<T: Tier>() {
    let now = Instant::now();
    let (mut near, mut far) = mapped_pair::<T>(now);
    // Inner CE, to which the way adds ECT(1); and inner Not-ECT, which it marks.
    for (inner, outer) in [(3, 1), (3, 1), (3, 1), (0, 3)] {
        near.offer([packet(inner, 1)]);
        near.packets.turn(now);
        let mut sent = near.packets.take_sent();
        sent.iter_mut().for_each(|octets| octets[1] = octets[1] & !3 | outer);
        far.packets.arrive(sent);
        far.packets.turn(now);
    }
    assert_eq!(far.packets.got().iter().map(|octets| octets[1] & 3).collect::<Vec<_>>(), [3, 3, 3]);
    assert_eq!((far.counters.get(Count::EcnEct1OverCe), far.counters.dropped(DropReason::CoreEcn)), (3, 1));
    let said: Vec<_> = std::iter::from_fn(|| far.events.try_recv().ok()).collect();
    let event = |inner, outer| Event::UnusedEcn { rloc: "192.0.2.1".parse().unwrap(), inner, outer, packets: 1 };
    assert_eq!(said, [event(Ecn::Ce, Ecn::Ect1), event(Ecn::NotEct, Ecn::Ce)]);
    let later = now + crate::limits::ECN_SAID;
    far.packets.turn(later);
    let rest = Event::UnusedEcn { rloc: "192.0.2.1".parse().unwrap(), inner: Ecn::Ce, outer: Ecn::Ect1, packets: 2 };
    assert_eq!(far.events.try_recv().ok(), Some(rest));
}
