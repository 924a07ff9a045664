// SPDX-License-Identifier: GPL-2.0-or-later
//! Who may fill how much of a store, and what a full one gives up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::SystemTime;

use crate::common::{LAB, mapping, seconds, start};
use cgeid::{Identity, OperationalKey};
use dht::Refusal;
use dht::block::Block;
use dht::publish::{self, Publication, Sequence};
use dht::record::RecordKey;
use dht::store::{Admission, Change, Origin, Store};
use proptest::prelude::*;

/// The operational keys of all who publish here: of two keys of one month, only the later one counts.
static KEYS: Mutex<BTreeMap<u32, OperationalKey>> = Mutex::new(BTreeMap::new());

fn publish(number: u32, now: SystemTime) -> Publication {
    let seed = std::array::from_fn(|at| if at == 0 { 1 } else { number.to_be_bytes()[at % 4] });
    let mut keys = KEYS.lock().unwrap();
    let key = keys
        .entry(number)
        .or_insert_with(|| Identity::from_seed(&seed, LAB, start()).unwrap().delegate(start(), 0).unwrap());
    publish::mapping(key, LAB, mapping(1), now, &mut Sequence::default()).unwrap()
}

fn from(text: &str) -> Origin {
    Origin::Peer(text.parse().unwrap())
}

fn put(store: &mut Store, now: SystemTime, origin: Origin, one: &Publication) -> Result<Admission, Refusal> {
    store.put(now, origin, &one.key.encode(), &one.value)
}

/// A store after a restart: what the first wants written, the second takes back.
fn restarted(first: &mut Store, capacity: usize, now: SystemTime) -> Store {
    let mut second = Store::with_capacity(LAB, [0; 32], capacity);
    for change in first.changes() {
        second.restore(now, &change.key, change.record.as_deref(), change.marks.as_deref()).unwrap();
    }
    second
}

fn distance_of(key: &RecordKey) -> [u8; 32] {
    key.point()
}

#[test]
fn a_block_fills_its_share_and_no_more() {
    let mut store = Store::with_capacity(LAB, [0; 32], 300);
    for number in 0..3 {
        assert_eq!(put(&mut store, start(), from("198.51.100.7"), &publish(number, start())), Ok(Admission::Stored));
    }
    let fourth = publish(3, start());
    // Neither from there nor from a neighbour in the same /24:
    for address in ["198.51.100.7", "198.51.100.200", "::ffff:198.51.100.9"] {
        assert_eq!(put(&mut store, start(), from(address), &fourth), Err(Refusal::Share));
    }
    assert_eq!(store.counters().refused.get("share"), Some(&3));
    // A renewal is welcome, and so are others.
    let later = start() + seconds(20);
    assert_eq!(put(&mut store, later, from("198.51.100.7"), &publish(2, later)), Ok(Admission::Stored));
    assert_eq!(put(&mut store, later, from("198.51.101.7"), &fourth), Ok(Admission::Stored));
    assert_eq!(put(&mut store, later, Origin::Own, &publish(5, start())), Ok(Admission::Stored));
    assert_eq!(store.charged_to("198.51.100.1".parse().unwrap()), 3);
    // A restart does not forget who it was.
    let mut again = restarted(&mut store, 300, later);
    assert_eq!(put(&mut again, later, from("198.51.100.8"), &publish(6, start())), Err(Refusal::Share));
    // What has expired is room again.
    let month = start() + seconds(36 * 86_400);
    again.expire(month);
    assert_eq!(again.charged_to("198.51.100.1".parse().unwrap()), 0);
}

#[test]
fn a_provider_fills_four_shares() {
    let mut store = Store::with_capacity(LAB, [0; 32], 100);
    let site = |number: u16| Origin::Peer(IpAddr::from([0x2001, 0xdb8, number, 0, 0, 0, 0, 1]));
    for number in 0..4 {
        assert_eq!(put(&mut store, start(), site(number), &publish(number.into(), start())), Ok(Admission::Stored));
    }
    assert_eq!(put(&mut store, start(), site(4), &publish(4, start())), Err(Refusal::Share));
    assert_eq!(put(&mut store, start(), from("2001:db9::1"), &publish(4, start())), Ok(Admission::Stored));
}

#[test]
fn renewing_through_others_empties_no_share() {
    let mut store = Store::with_capacity(LAB, [0; 32], 100);
    let (one, two) = (publish(1, start()), publish(2, start()));
    put(&mut store, start(), from("198.51.100.1"), &one).unwrap();
    put(&mut store, start(), from("203.0.113.1"), &two).unwrap();
    let later = start() + seconds(60);
    // The second block's share is full: the first stays charged, however often the second renews for it.
    put(&mut store, later, from("203.0.113.1"), &publish(1, later)).unwrap();
    assert_eq!(put(&mut store, later, from("198.51.100.1"), &publish(3, start())), Err(Refusal::Share));
    // One that has room takes it over: the owner has moved.
    let later = later + seconds(60);
    put(&mut store, later, from("192.0.2.1"), &publish(1, later)).unwrap();
    assert_eq!(store.charged_to("192.0.2.9".parse().unwrap()), 1);
    assert_eq!(put(&mut store, later, from("198.51.100.1"), &publish(3, start())), Ok(Admission::Stored));
}

#[test]
fn what_is_outside_the_region_is_refused_unless_it_is_held() {
    let mut all: Vec<Publication> = (0..6).map(|number| publish(number, start())).collect();
    all.sort_by_key(|one| distance_of(&one.key));
    let mut store = Store::with_capacity(LAB, [0; 32], 100);
    put(&mut store, start(), from("192.0.2.1"), &all[5]).unwrap();
    store.set_region(Some(distance_of(&all[2].key)));
    assert_eq!(put(&mut store, start(), from("198.51.100.1"), &all[2]), Ok(Admission::Stored));
    assert_eq!(put(&mut store, start(), from("198.51.101.1"), &all[3]), Err(Refusal::NotNear));
    assert_eq!(put(&mut store, start(), Origin::Own, &all[4]), Ok(Admission::Stored), "what is our own we keep");
    assert_eq!(put(&mut store, start(), from("192.0.2.1"), &all[5]), Ok(Admission::Refreshed));
    // Fewer peers than keep a record: all is ours.
    store.set_region(None);
    assert_eq!(put(&mut store, start(), from("198.51.101.1"), &all[3]), Ok(Admission::Stored));
}

#[test]
fn a_full_store_gives_up_the_outside_then_the_latest_of_the_heaviest_then_the_farthest() {
    let mut all: Vec<Publication> = (0..205).map(|number| publish(number, start())).collect();
    all.sort_by_key(|one| distance_of(&one.key));
    let spare: Vec<Publication> = all.drain(100..105).collect();
    let mut store = Store::with_capacity(LAB, [0; 32], 200);
    // Two of one block, the nearer one first, and 198 of nobody's.
    put(&mut store, start(), from("198.51.100.1"), &all[0]).unwrap();
    put(&mut store, start() + seconds(1), from("198.51.100.1"), &all[1]).unwrap();
    for one in &all[2..] {
        put(&mut store, start(), Origin::Unknown, one).unwrap();
    }
    let now = start() + seconds(10);
    let has = |store: &Store, one: &Publication| store.get(now, &one.key.encode()).is_some();
    store.set_region(Some(distance_of(&all[198].key)));
    put(&mut store, now, from("192.0.2.1"), &spare[0]).unwrap();
    assert!(!has(&store, &all[199]) && has(&store, &all[198]) && has(&store, &all[1]), "the outside first");
    put(&mut store, now, from("192.0.3.1"), &spare[1]).unwrap();
    assert!(!has(&store, &all[1]) && has(&store, &all[0]) && has(&store, &all[198]), "then the latest of the heaviest");
    put(&mut store, now, from("192.0.4.1"), &spare[2]).unwrap();
    assert!(!has(&store, &all[198]) && has(&store, &all[0]) && has(&store, &spare[0]), "then the farthest");
    assert_eq!(put(&mut store, now, from("192.0.6.1"), &all[198]), Err(Refusal::Full));
    // Nor is a renewal refused.
    let later = now + seconds(20);
    let renewal = (0..205).map(|number| publish(number, later)).find(|next| next.key == all[197].key).unwrap();
    assert_eq!(put(&mut store, later, from("198.51.100.1"), &renewal), Ok(Admission::Stored));
    assert_eq!((store.len(), store.counters().evicted), (200, 3));
}

#[test]
fn good_records_survive_floods_from_sixteen_networks() {
    let capacity = 400;
    let mut store = Store::with_capacity(LAB, [0; 32], capacity);
    let good: Vec<Publication> = (0..200).map(|number| publish(number, start())).collect();
    for (number, one) in (0u8..).zip(&good) {
        let origin = Origin::Peer(Ipv4Addr::new(80, 0, number, 1).into());
        assert_eq!(put(&mut store, start(), origin, one), Ok(Admission::Stored));
    }
    let hostile: Vec<Publication> = (1000..1400).map(|number| publish(number, start())).collect();
    for round in 0..5u8 {
        for (number, one) in (0u8..=255).cycle().zip(&hostile) {
            let origin = Origin::Peer(Ipv4Addr::new(45, 0, (number.wrapping_add(round)) % 16, number).into());
            _ = put(&mut store, start(), origin, one);
        }
    }
    assert!(good.iter().all(|one| store.get(start(), &one.key.encode()).is_some()));
    assert_eq!(store.len(), 200 + 16 * capacity / 100);
    assert!(store.counters().refused["share"] > 1500);
}

fn member(text: &str) -> Origin {
    Origin::Member(text.parse().unwrap())
}

#[test]
fn a_member_may_hand_on_what_a_whole_hand_over_has() {
    const {
        assert!(dht::limits::STORE_BUNDLES / dht::limits::MEMBERS_PART >= dht::limits::HANDOVER_RECORDS);
    }
    let mut store = Store::with_capacity(LAB, [0; 32], 120);
    // Strangers of the block have used their share up; that is not the members'.
    put(&mut store, start(), from("198.51.100.1"), &publish(100, start())).unwrap();
    assert_eq!(put(&mut store, start(), from("198.51.100.1"), &publish(101, start())), Err(Refusal::Share));
    for number in 0..10 {
        assert_eq!(put(&mut store, start(), member("198.51.100.7"), &publish(number, start())), Ok(Admission::Stored));
    }
    assert_eq!(put(&mut store, start(), member("198.51.100.8"), &publish(10, start())), Err(Refusal::Share));
    assert_eq!(store.charged_to("198.51.100.1".parse().unwrap()), 11);
    // A restart knows the two accounts from each other.
    let mut again = restarted(&mut store, 120, start());
    assert_eq!(again.charged_to("198.51.100.1".parse().unwrap()), 11);
    assert_eq!(put(&mut again, start(), member("198.51.100.8"), &publish(10, start())), Err(Refusal::Share));
    // Owners take over what is theirs, and the member may hand on more.
    let later = start() + seconds(60);
    put(&mut again, later, from("203.0.113.1"), &publish(3, later)).unwrap();
    assert_eq!(again.charged_to("203.0.113.1".parse().unwrap()), 1);
    assert_eq!(put(&mut again, later, member("198.51.100.8"), &publish(10, start())), Ok(Admission::Stored));
}

#[test]
fn what_strangers_put_stays_theirs_when_members_hand_it_on() {
    let mut store = Store::with_capacity(LAB, [0; 32], 120);
    put(&mut store, start(), from("198.51.100.1"), &publish(1, start())).unwrap();
    let later = start() + seconds(60);
    put(&mut store, later, member("203.0.113.1"), &publish(1, later)).unwrap();
    assert_eq!(put(&mut store, later, from("198.51.100.1"), &publish(2, start())), Err(Refusal::Share));
}

#[test]
fn a_full_store_takes_from_members_who_have_most_before_it_takes_from_others() {
    let mut store = Store::with_capacity(LAB, [0; 32], 48);
    for number in 0..24u8 {
        let origin = Origin::Peer(Ipv4Addr::new(80, 0, number, 1).into());
        put(&mut store, start(), origin, &publish(number.into(), start())).unwrap();
    }
    for number in 0..100u8 {
        let origin = Origin::Member(Ipv4Addr::new(45, 0, number % 16, 1).into());
        _ = put(&mut store, start(), origin, &publish(1000 + u32::from(number), start()));
    }
    assert_eq!(store.len(), 48);
    assert!((0..24).all(|number| store.get(start(), &publish(number, start()).key.encode()).is_some()));
}

#[derive(Debug, Clone)]
enum Step {
    Put { who: u32, block: u8, time: u64 },
    Expire { time: u64 },
    Region { bits: u8 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u32..24, 0u8..6, 0u64..4000).prop_map(|(who, block, time)| Step::Put { who, block, time }),
        1 => (0u64..8000).prop_map(|time| Step::Expire { time }),
        1 => any::<u8>().prop_map(|bits| Step::Region { bits }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

fn address(block: u8) -> IpAddr {
    match block {
        0..4 => Ipv4Addr::new(198, 51, block, 1).into(),
        _ => IpAddr::from([0x2001, 0xdb8, block.into(), 0, 0, 0, 0, 1]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is put, expires, is given up and comes back from disk: nobody has more than its share, and what is charged is
    /// what is held.
    #[test]
    fn the_counts_are_right_after_any_sequence(steps in steps(), capacity in 4usize..20) {
        let mut store = Store::with_capacity(LAB, [0; 32], capacity);
        let mut disk = BTreeMap::new();
        let mut clock = 0;
        for step in steps {
            match step {
                Step::Put { who, block, time } => {
                    let now = start() + seconds(clock.max(time));
                    let origin = if block == 5 { Origin::Own } else { Origin::Peer(address(block)) };
                    _ = put(&mut store, now, origin, &publish(who, start() + seconds(time)));
                }
                Step::Expire { time } => {
                    clock = clock.max(time);
                    store.expire(start() + seconds(clock));
                }
                Step::Region { bits } => store.set_region((bits > 40).then_some([bits; 32])),
                Step::Restart => {
                    for change in store.changes() {
                        disk.insert(change.key.clone(), change);
                    }
                    let now = start() + seconds(clock.max(4000));
                    let before = store.len();
                    store.expire(now);
                    let live = store.len();
                    store = Store::with_capacity(LAB, [0; 32], capacity);
                    for change in disk.values() {
                        let Change { key, record, marks } = change;
                        store.restore(now, key, record.as_deref(), marks.as_deref()).unwrap();
                    }
                    prop_assert!(store.len() == live && live <= before);
                }
            }
            prop_assert!(store.len() <= capacity);
            let share = (capacity / 100).max(1);
            let charged: usize = (0..6).map(|block| store.charged_to(address(block))).sum();
            prop_assert!((0..6).all(|block| store.charged_to(address(block)) <= share));
            prop_assert!(charged <= store.len());
            let now = start() + seconds(clock);
            let octets: usize = store.keys().filter_map(|key| store.get(now, &key.encode())).map(|value| value.len()).sum();
            prop_assert!(octets <= store.size());
        }
        prop_assert_eq!(Block::of(address(4)).first(), "2001:db8:4::".parse::<IpAddr>().unwrap());
    }
}
