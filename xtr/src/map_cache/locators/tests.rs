// SPDX-License-Identifier: GPL-2.0-or-later
//! What is known of each RLOC, and for how long.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

const NOW: Tick = Tick(1);

fn locators() -> Locators {
    Locators::new(1500, vec![])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn what_is_known_of_a_locator_fills_no_more_than_a_cache_line() {
    assert_eq!(size_of::<RlocState>(), 64);
}

#[test]
fn room_is_the_mtu_without_the_headers() {
    let mut locators = locators();
    let (v4, v6) = (locators.acquire(ip("192.0.2.1")).unwrap(), locators.acquire(ip("2001:db8::1")).unwrap());
    assert_eq!((locators.room(NOW, v4), locators.room(NOW, v6)), (1464, 1444));
}

#[test]
fn a_lower_mtu_is_learned_bounded_and_forgotten() {
    let mut locators = locators();
    let (v4, v6) = (ip("192.0.2.1"), ip("2001:db8::1"));
    let (at_v4, at_v6) = (locators.acquire(v4).unwrap(), locators.acquire(v6).unwrap());
    assert_eq!(locators.learn(NOW, v4, 1400), Learned::Changed(1400));
    assert_eq!(locators.room(NOW, at_v4), 1364);
    assert_eq!(locators.learn(NOW, v4, 1450), Learned::Known, "a higher one is not news");
    assert_eq!(locators.learn(NOW, v4, 68), Learned::Changed(576));
    assert_eq!(locators.room(NOW, at_v4), 576 - 36);
    // Of our own kernel: a router that says so is not believed at all.
    assert_eq!(locators.learn(NOW, v6, 1000), Learned::Changed(1280));
    assert_eq!(locators.room(NOW, at_v6), 1280 - 56);
    assert_eq!(locators.learn(NOW, v6, 9000), Learned::Known);
    assert_eq!(locators.learn(NOW, ip("192.0.2.9"), 1300), Learned::Stranger);
    assert_eq!(locators.room(NOW.plus(Duration::from_secs(600)), at_v4), 1464);
}

#[test]
fn what_probes_find_of_a_path_goes_both_ways_is_bounded_and_forgotten() {
    let mut locators = locators();
    let (v4, v6) = (ip("192.0.2.1"), ip("2001:db8::1"));
    let (at_v4, at_v6) = (locators.acquire(v4).unwrap(), locators.acquire(v6).unwrap());
    assert!(locators.set_path_mtu(NOW, v4, Some(1316)) && locators.set_path_mtu(NOW, v6, Some(1000)));
    assert_eq!((locators.room(NOW, at_v4), locators.room(NOW, at_v6)), (1280, 1280 - 56));
    assert!(locators.set_path_mtu(NOW, v4, Some(1356)), "upwards too");
    assert!(!locators.set_path_mtu(NOW, v4, Some(1356)) && locators.set_path_mtu(NOW, v6, None));
    assert_eq!((locators.room(NOW, at_v4), locators.room(NOW, at_v6)), (1320, 1444));
    assert!(!locators.set_path_mtu(NOW, ip("192.0.2.9"), Some(1300)), "a stranger's");
    assert_eq!(locators.len(), 2);
    assert_eq!(locators.room(NOW.plus(Duration::from_secs(600)), at_v4), 1464);
}

#[test]
fn what_cannot_be_reached_is_remembered_without_a_mapping_and_bounded() {
    let mut locators = locators();
    locators.set_families(Families { v4: true, v6: true });
    let address = |number: u32| IpAddr::V4((0x0a00_0000 + number).into());
    let index = locators.acquire(address(0)).unwrap();
    locators.set_reachable(address(0), false);
    locators.release(index);
    locators.set_reachable(address(1), false);
    let [first, second] = [0, 1].map(|number| locators.acquire(address(number)).unwrap());
    assert!(!locators.is_usable(first) && !locators.is_usable(second));
    locators.release(first);
    locators.release(second);
    locators.set_reachable(address(1), true);
    assert_eq!(locators.len(), 1);
    for number in 2..10_000 {
        locators.set_reachable(address(number), false);
    }
    assert_eq!(locators.len(), limits::UNREACHABLE_RLOCS);
    let first = locators.acquire(address(0)).unwrap();
    assert!(locators.is_usable(first), "the oldest is forgotten first");
}

#[test]
fn silence_is_said_once_a_second_and_never_of_one_that_was_heard() {
    let (mut locators, heard) = (locators(), Heard::default());
    let [mute, alive] = [ip("192.0.2.1"), ip("192.0.2.2")];
    let indices = [mute, alive].map(|address| locators.acquire(address).unwrap());
    let mut said = Vec::new();
    for tick in (1..=50).map(Tick) {
        heard.set_time(tick);
        indices.iter().for_each(|index| locators.sent(tick, *index, 1, 100));
        heard.note(alive);
        said.extend(std::iter::from_fn(|| locators.next_silent(tick, &heard)).map(|address| (address, tick.0)));
    }
    assert_eq!(said, [(mute, 11), (mute, 22), (mute, 33), (mute, 44)]);
}

#[test]
fn one_that_falls_silent_is_named_a_second_after_it_was_last_heard() {
    for dies in 12..24 {
        let (mut locators, heard) = (locators(), Heard::default());
        let index = locators.acquire(ip("192.0.2.1")).unwrap();
        let said = (1..=40).map(Tick).find(|tick| {
            heard.set_time(*tick);
            locators.sent(*tick, index, 1, 100);
            if tick.0 < dies {
                heard.note(ip("192.0.2.1"));
            }
            locators.next_silent(*tick, &heard).is_some()
        });
        let after = said.unwrap().0 - dies;
        assert!((9..=11).contains(&after), "{after} ticks after it died");
    }
}

#[test]
fn xtrs_behind_one_nat_are_locators_of_their_own() {
    let mut locators = locators();
    let binding = |port| Binding { address: ip("192.0.2.1"), port, from: FromPort::Control, source: ip("192.0.2.7") };
    let plain = locators.acquire(ip("192.0.2.1")).unwrap();
    let [one, other] = [50_000, 50_001].map(|port| locators.acquire_binding(binding(port)).unwrap());
    assert!(plain != one && one != other);
    assert_eq!(locators.acquire_binding(binding(50_000)), Some(one));
    let through = Through { port: FromPort::Control, source: ip("192.0.2.7") };
    assert_eq!((locators.get(one).port(), locators.get(one).through()), (50_000, Some(through)));
    assert_eq!((locators.get(plain).port(), locators.get(plain).through()), (wire::DATA_PORT, None));
    let from_another = Binding { source: ip("192.0.2.8"), ..binding(50_000) };
    let third = locators.acquire_binding(from_another).unwrap();
    assert_ne!(third, one, "each address of ours has a hole of its own in the NAT");
    locators.release(third);
    assert_eq!(locators.learn_binding(NOW, binding(50_000), 1400), Learned::Changed(1400));
    assert_eq!((locators.room(NOW, one), locators.room(NOW, other), locators.room(NOW, plain)), (1364, 1464, 1464));
    locators.set_reachable(ip("192.0.2.1"), false);
    locators.set_families(Families { v4: true, v6: false });
    assert!(locators.is_usable(one) && !locators.is_usable(plain), "probes prove nothing about a NAT");
    for index in [one, one, other] {
        locators.release(index);
    }
    assert_eq!(locators.len(), 1);
}

#[test]
fn what_was_sent_to_an_address_never_becomes_less_whichever_of_its_ways_come_and_go() {
    let mut locators = locators();
    let address = ip("192.0.2.1");
    let binding = |port| Binding { address, port, from: FromPort::Control, source: ip("192.0.2.7") };
    let shown = |locators: &Locators| {
        let of_it = locators.counts(NOW).filter(|count| count.address == address);
        of_it.fold((0, 0), |(packets, octets), count| (packets + count.packets, octets + count.octets))
    };
    let one = locators.acquire_binding(binding(50_000)).unwrap();
    let other = locators.acquire_binding(binding(50_001)).unwrap();
    locators.sent(NOW, one, 10, 1000);
    locators.sent(NOW, other, 2, 200);
    locators.release(one);
    assert_eq!(shown(&locators), (12, 1200), "the other way shows it");
    locators.release(other);
    assert_eq!((shown(&locators), locators.len()), ((0, 0), 0), "nothing is shown of it");
    let plain = locators.acquire(address).unwrap();
    locators.sent(NOW, plain, 1, 50);
    let one = locators.acquire_binding(binding(50_002)).unwrap();
    assert_eq!(shown(&locators), (13, 1250));
    // Known, and not shown: it cannot be reached, and is in no mapping.
    locators.set_reachable(address, false);
    locators.release(plain);
    assert_eq!(shown(&locators), (13, 1250));
    locators.release(one);
    let one = locators.acquire_binding(binding(50_003)).unwrap();
    assert_eq!((shown(&locators), locators.len()), ((13, 1250), 2));
    assert_eq!(locators.acquire(address), Some(plain));
    locators.sent(NOW, plain, 1, 50);
    locators.set_reachable(address, true);
    locators.release(plain);
    locators.release(one);
    locators.acquire(address).unwrap();
    assert_eq!(shown(&locators), (14, 1300));
    let stranger = locators.acquire(ip("192.0.2.9")).unwrap();
    assert_eq!(locators.get(stranger).sent, Sent::default());
}

#[test]
fn silence_after_a_packet_is_not_that_of_the_next_owner_of_its_number() {
    let (mut locators, heard) = (locators(), Heard::default());
    let index = locators.acquire(ip("192.0.2.1")).unwrap();
    locators.sent(NOW, index, 1, 100);
    locators.release(index);
    assert_eq!(locators.acquire(ip("192.0.2.2")), Some(index));
    assert_eq!(locators.next_silent(Tick(100), &heard), None);
    assert_eq!(locators.next_check(), None);
}
