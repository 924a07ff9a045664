// SPDX-License-Identifier: GPL-2.0-or-later
//! What the xTRs of one site are told of each other, map-versions, keys that change, and nonces over a restart.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::common::*;
use mapsys::engine::{Mark, Memory, Output, Reconfiguration};
use mapsys::limit::Foreign;
use mapsys::refusal::Refusal;
use mapsys::register::site::{Publish, Site, SiteKey, SitePrefix};
use mapsys::subscribe::subscriber::Policy;
use wire::address::{Lcaf, Replication};
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister, XtrIdentity};
use wire::record::{LocatorRecord, MapVersion, MappingRecord, Ttl};

const ONE: &str = "198.51.100.1:4342";
const TWO: &str = "198.51.100.2:4342";
const SITE: &str = "2001:db8:a::/48";

fn site_key() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "secret of a")
}

fn site_a() -> Site {
    site("a", 1, "secret of a", &[prefix(SITE)])
}

fn from_xtr(xtr: u8, nonce: u64, record: MappingRecord) -> Vec<u8> {
    let identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 });
    seal(MapRegister { merge: true, xtr_identity: identity, ..register(nonce, vec![record]) }, &site_key())
}

fn one_rloc(rloc: &str) -> MappingRecord {
    record(prefix(SITE), &[rloc])
}

/// Two xTRs of one site, both told of both, and both having acknowledged it.
fn two_xtrs() -> Bench {
    let mut bench = Bench::new(config(vec![site_a()]));
    bench.datagram(ONE, &from_xtr(1, 1, one_rloc("198.51.100.1")));
    let outputs = bench.datagram(TWO, &from_xtr(2, 1, one_rloc("198.51.100.2")));
    for (to, message) in unsolicited(&outputs, 1) {
        assert_eq!(bench.datagram(&to.to_string(), &ack(&message, &site_key())), []);
    }
    bench.pass(Duration::from_secs(10));
    bench
}

/// The Map-Notifies that answer no Map-Register with this nonce.
fn unsolicited(outputs: &[Output], nonce: u64) -> Vec<(SocketAddr, MapNotify)> {
    let notifies = sent(outputs).into_iter().filter_map(|(to, message)| match message {
        ControlMessage::MapNotify(notify) if notify.nonce.0 != nonce => Some((to, notify)),
        _ => None,
    });
    notifies.collect()
}

fn ack(notify: &MapNotify, key: &AuthKey) -> Vec<u8> {
    auth::seal(&ControlMessage::MapNotifyAck(notify.clone()), key, TagForm::Truncated).unwrap()
}

fn rlocs(record: &MappingRecord) -> Vec<String> {
    record.locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect()
}

#[test]
fn a_second_xtr_makes_both_hear_of_both_and_a_first_one_hears_only_its_answer() {
    let mut bench = Bench::new(config(vec![site_a()]));
    let outputs = bench.datagram("198.51.100.1:61001", &from_xtr(1, 1, one_rloc("198.51.100.1")));
    assert_eq!(sent(&outputs).len(), 1);
    let outputs = bench.datagram(TWO, &from_xtr(2, 1, one_rloc("198.51.100.2")));
    let told = unsolicited(&outputs, 1);
    assert_eq!(told.iter().map(|(to, _)| to.to_string()).collect::<Vec<_>>(), [ONE, TWO]);
    for (_, notify) in &told {
        assert_eq!(rlocs(&notify.records[0]), ["198.51.100.1", "198.51.100.2"]);
    }
    let signed = outputs.iter().filter_map(|output| match output {
        Output::Send { bytes, local, .. } => Some((bytes, local)),
        _ => None,
    });
    for (bytes, local) in signed {
        assert_eq!(auth::verify(bytes, &site_key(), Accept::STRICT), Ok(()));
        assert_eq!(*local, address(SERVER));
    }
}

#[test]
fn without_the_merge_bit_nobody_is_told() {
    let mut bench = Bench::new(config(vec![site_a()]));
    for (nonce, from, rloc) in [(1, ONE, "198.51.100.1"), (2, TWO, "198.51.100.2")] {
        let outputs = bench.datagram(from, &seal(register(nonce, vec![one_rloc(rloc)]), &site_key()));
        assert_eq!(unsolicited(&outputs, nonce), []);
    }
    assert!(sent(&bench.pass(Duration::from_secs(120))).is_empty());
}

#[test]
fn an_unacknowledged_map_notify_comes_again_after_3_3_3_6_12_and_24_seconds_and_no_more() {
    let mut bench = two_xtrs();
    let changed = bench.datagram(TWO, &from_xtr(2, 2, one_rloc("198.51.100.3")));
    let first = unsolicited(&changed, 2);
    // The second is told at its new locator too. It acknowledges, the first does not.
    assert_eq!(first.iter().map(|(to, _)| to.to_string()).collect::<Vec<_>>(), [ONE, TWO, "198.51.100.3:4342"]);
    bench.datagram(TWO, &ack(&first[1].1, &site_key()));
    let mut at = Vec::new();
    for second in 1..=100 {
        for (to, notify) in unsolicited(&bench.pass(Duration::from_secs(1)), 2) {
            assert_eq!((to, &notify), (address(ONE), &first[0].1), "octet for octet the same");
            at.push(second);
        }
    }
    assert_eq!(at, [3, 6, 9, 15, 27, 51]);
    assert_eq!(bench.only_refused(Refusal::NotifyUnacknowledged), 1);
}

#[test]
fn only_the_receivers_own_acknowledgement_counts() {
    let mut bench = two_xtrs();
    let told = unsolicited(&bench.datagram(TWO, &from_xtr(2, 2, one_rloc("198.51.100.3"))), 2);
    let (_, notify) = &told[0];
    bench.datagram(TWO, &ack(notify, &site_key()));
    bench.datagram(ONE, &ack(&MapNotify { nonce: wire::control::Nonce(7), ..notify.clone() }, &site_key()));
    assert_eq!(bench.only_refused(Refusal::NotifyAckUnasked), 2);
    bench.datagram(ONE, &ack(notify, &key(1, Algorithm::HkdfSha256, "guess")));
    // A Map-Notify sent back is no acknowledgement: its derived key is another.
    let mirrored = auth::seal(&ControlMessage::MapNotify(notify.clone()), &site_key(), TagForm::Truncated).unwrap();
    let mut mirrored_as_ack = mirrored.clone();
    mirrored_as_ack[0] = mirrored[0] & 0x0f | 0x50;
    bench.datagram(ONE, &mirrored_as_ack);
    assert_eq!(bench.engine.tally().get(Refusal::NotifyAckBadTag), 2);
    let again = unsolicited(&bench.pass(Duration::from_secs(3)), 2);
    assert!(again.iter().any(|(to, _)| *to == address(ONE)), "still unacknowledged");
    bench.datagram(ONE, &ack(notify, &site_key()));
    let again = unsolicited(&bench.pass(Duration::from_secs(60)), 2);
    assert!(!again.is_empty() && again.iter().all(|(to, _)| *to != address(ONE)), "acknowledged");
}

#[test]
fn who_is_left_hears_of_a_withdrawal_and_of_silence() {
    let mut bench = two_xtrs();
    let gone = MappingRecord { ttl: Ttl(0), ..one_rloc("198.51.100.2") };
    let told = unsolicited(&bench.datagram(TWO, &from_xtr(2, 2, gone)), 2);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0, rlocs(&told[0].1.records[0])), (address(ONE), vec!["198.51.100.1".to_owned()]));

    let mut bench = two_xtrs();
    bench.pass(Duration::from_secs(60));
    bench.datagram(ONE, &from_xtr(1, 2, one_rloc("198.51.100.1")));
    let told = unsolicited(&bench.pass(Duration::from_secs(115)), 0);
    assert!(!told.is_empty());
    assert!(told.iter().all(|(to, notify)| *to == address(ONE) && rlocs(&notify.records[0]) == ["198.51.100.1"]));
}

#[test]
fn a_flapping_neighbour_is_told_of_once_in_three_seconds_and_with_rising_nonces() {
    let mut bench = two_xtrs();
    let mut nonces = Vec::new();
    for nonce in 2..62 {
        let rloc = format!("198.51.100.{nonce}");
        let mut outputs = bench.datagram(TWO, &from_xtr(2, nonce, one_rloc(&rloc)));
        outputs.extend(bench.pass(Duration::from_millis(500)));
        let told = unsolicited(&outputs, nonce).into_iter().filter(|(to, _)| *to == address(ONE));
        nonces.extend(told.map(|(_, notify)| notify.nonce.0));
    }
    assert!((9..=12).contains(&nonces.len()), "{}", nonces.len());
    assert!(nonces.is_sorted_by(|a, b| a < b), "{nonces:?}");
}

#[test]
fn who_acknowledges_is_told_of_a_flapping_neighbour_no_more_often() {
    let mut bench = two_xtrs();
    let mut heard = 0;
    for nonce in 2..62 {
        let mut outputs = bench.datagram(TWO, &from_xtr(2, nonce, one_rloc(&format!("198.51.100.{nonce}"))));
        outputs.extend(bench.pass(Duration::from_millis(500)));
        for (to, notify) in unsolicited(&outputs, nonce) {
            heard += usize::from(to == address(ONE));
            bench.datagram(&to.to_string(), &ack(&notify, &site_key()));
        }
    }
    assert!((9..=12).contains(&heard), "{heard}");
}

#[test]
fn a_site_that_never_acknowledges_takes_its_share_of_the_table_only() {
    let other = site("b", 1, "secret of b", &[prefix("2001:db8:b::/48")]);
    let open = Site {
        prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }],
        publish: Publish::Aggregate,
        ..site_a()
    };
    let mut bench = Bench::new(config(vec![open, other]));
    for nonce in 1..=10 {
        for xtr in [1, 2] {
            let part = |n: u64| prefix(&format!("2001:db8:a:{:x}::/64", 60 * nonce + n));
            let rloc = format!("198.51.100.{xtr}");
            let records = (0..60).map(|n| record(part(n), &[rloc.as_str()])).collect();
            let identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 });
            let message = MapRegister { merge: true, xtr_identity: identity, ..register(nonce, records) };
            bench.datagram("198.51.100.9:4342", &seal(message, &site_key()));
        }
    }
    assert!(bench.engine.tally().get(Refusal::NotifyTableFull) > 0);
    let key_b = key(1, Algorithm::HkdfSha256, "secret of b");
    let mut told = Vec::new();
    for xtr in [1, 2] {
        let identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 2 });
        let records = vec![record(prefix("2001:db8:b::/48"), &[&format!("198.51.100.{xtr}")])];
        let message = MapRegister { merge: true, xtr_identity: identity, ..register(1, records) };
        told = unsolicited(&bench.datagram(TWO, &seal(message, &key_b)), 1);
    }
    let told: BTreeSet<u64> = told.iter().map(|(_, notify)| notify.nonce.0).collect();
    assert_eq!(told.len(), 2, "there is room for another site");
}

#[test]
fn nonces_of_map_notifies_rise_when_the_clock_is_set_back_over_a_restart() {
    let mut bench = two_xtrs();
    let outputs = bench.datagram(TWO, &from_xtr(2, 2, one_rloc("198.51.100.3")));
    let before = unsolicited(&outputs, 2)[0].1.nonce.0;
    let persisted = outputs.iter().filter_map(|output| match output {
        Output::Persist(Mark::NotifyNonce(nonce)) => Some(*nonce),
        _ => None,
    });
    let notify_nonce = persisted.max().expect("it is kept on disk");
    assert!(notify_nonce >= before);
    let mut bench = Bench::with(config(vec![site_a()]), Memory { notify_nonce, ..Memory::default() });
    bench.now.wall -= Duration::from_secs(24 * 3600);
    bench.datagram(ONE, &from_xtr(1, 5, one_rloc("198.51.100.1")));
    let outputs = bench.datagram(TWO, &from_xtr(2, 5, one_rloc("198.51.100.2")));
    let after = unsolicited(&outputs, 5);
    assert!(!after.is_empty() && after.iter().all(|(_, notify)| notify.nonce.0 > notify_nonce), "{after:?}");
}

#[test]
fn a_map_version_is_served_and_never_becomes_older() {
    let mut bench = Bench::new(config(vec![site_a()]));
    let versioned = |nonce, version| {
        let record = MappingRecord { map_version: MapVersion(version), ..one_rloc("198.51.100.1") };
        seal(register(nonce, vec![record]), &site_key())
    };
    let served = |bench: &mut Bench, nonce| {
        bench.pass(Duration::from_secs(11));
        let asked = ecm(&request(nonce, &[host("2001:db8:a::2")], &["192.0.2.1"]));
        reply(&bench.datagram("192.0.2.1:5000", &asked)).1.records[0].map_version.0
    };
    notify(&bench.datagram(ONE, &versioned(1, 4000)));
    assert_eq!(served(&mut bench, 1), 4000);
    assert_eq!(bench.datagram(ONE, &versioned(2, 3999)), []);
    assert_eq!(bench.only_refused(Refusal::RegisterOldVersion), 1);
    assert_eq!(served(&mut bench, 2), 4000);
    // Half of the circle lies ahead: 5 follows 4000.
    notify(&bench.datagram(ONE, &versioned(3, 5)));
    assert_eq!(served(&mut bench, 3), 5);
    notify(&bench.datagram(ONE, &versioned(4, 0)));
    assert_eq!(served(&mut bench, 4), 0, "no version any more");
}

#[test]
fn the_version_of_a_merged_mapping_stays_when_the_xtr_with_the_newest_leaves() {
    let mut bench = Bench::new(config(vec![site_a()]));
    let versioned = |xtr, nonce, version| {
        let record = MappingRecord { map_version: MapVersion(version), ..one_rloc(&format!("198.51.100.{xtr}")) };
        from_xtr(xtr, nonce, record)
    };
    let served = |bench: &Bench| {
        let known = bench.engine.server().registrations().get(&prefix(SITE)).expect("it is registered");
        (known.merged().map_version.0, known.parts().count())
    };
    bench.datagram(ONE, &versioned(1, 1, 7));
    bench.datagram(TWO, &versioned(2, 1, 9));
    assert_eq!(served(&bench), (9, 2));
    let gone = MappingRecord { ttl: Ttl(0), ..one_rloc("198.51.100.2") };
    bench.datagram(TWO, &from_xtr(2, 2, gone));
    let told = unsolicited(&bench.pass(Duration::from_secs(4)), 2);
    assert_eq!((served(&bench), told[0].1.records[0].map_version), ((9, 1), MapVersion(9)), "it has left");
    bench.datagram(ONE, &versioned(1, 2, 8));
    assert_eq!(served(&bench), (9, 1), "8 is newer than what this xTR said, and older than what others have seen");
    bench.datagram(TWO, &versioned(2, 3, 10));
    bench.pass(Duration::from_secs(100));
    bench.datagram(ONE, &versioned(1, 3, 8));
    bench.pass(Duration::from_secs(100));
    assert_eq!(served(&bench), (10, 1), "it fell silent");
    bench.datagram(ONE, &versioned(1, 4, 11));
    assert_eq!(served(&bench), (11, 1));
    // Who takes the place of all others counts for itself: it has never heard of their versions.
    let alone = MappingRecord { map_version: MapVersion(3), ..one_rloc("198.51.100.3") };
    notify(&bench.datagram(TWO, &seal(register(1, vec![alone]), &site_key())));
    assert_eq!(served(&bench), (3, 1));
    bench.pass(Duration::from_secs(200));
    bench.datagram(ONE, &versioned(1, 5, 1));
    assert_eq!(served(&bench), (1, 1), "the registration ended, and its versions with it");
}

#[test]
fn two_keys_are_valid_together_and_each_map_notify_has_the_key_of_its_register() {
    let keys = [(1, "old"), (2, "new")].map(|(id, secret)| key(id, Algorithm::HkdfSha256, secret));
    let of_site = keys.iter().map(|key| SiteKey { id: key.id, algorithm: None, secret: key.secret.clone() });
    let mut bench = Bench::new(config(vec![Site { keys: of_site.collect(), ..site_a() }]));
    for (nonce, key) in [(7, &keys[0]), (1, &keys[1]), (8, &keys[0])] {
        let outputs = bench.datagram(ONE, &seal(register(nonce, vec![one_rloc("198.51.100.1")]), key));
        let Some(Output::Send { bytes, .. }) = outputs.last() else { panic!("{outputs:?}") };
        assert_eq!(auth::verify(bytes, key, Accept::STRICT), Ok(()), "each key has nonces of its own");
    }
    let crossed = AuthKey { id: 2, ..keys[0].clone() };
    assert_eq!(bench.datagram(ONE, &seal(register(9, vec![one_rloc("198.51.100.1")]), &crossed)), []);
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 1);
    let one_only = SiteKey { id: 1, algorithm: Some(Algorithm::HmacSha256), secret: Secret::new("old".as_bytes()) };
    let mut bench = Bench::new(config(vec![Site { keys: vec![one_only], ..site_a() }]));
    bench.datagram(ONE, &seal(register(9, vec![one_rloc("198.51.100.1")]), &keys[0]));
    assert_eq!(bench.only_refused(Refusal::RegisterAlgorithm), 1);
}

#[test]
fn a_recorded_register_of_a_legacy_site_stays_a_replay_after_a_restart() {
    let legacy = || config(vec![Site { legacy: true, ..site_a() }]);
    let mut bench = Bench::new(legacy());
    let mut memory = Memory::default();
    let registers: Vec<_> =
        [9, 3, 5].map(|nonce| seal(register(nonce, vec![one_rloc("198.51.100.1")]), &site_key())).into();
    for bytes in &registers {
        for output in bench.datagram(ONE, bytes) {
            match output {
                Output::Persist(Mark::Nonce(owner, last)) => memory.nonces = vec![(owner, last)],
                Output::Persist(Mark::Seen(seen)) => memory.seen.push(seen),
                Output::Persist(Mark::Registration(_, row)) => memory.registrations = vec![(Box::default(), row)],
                _ => {}
            }
        }
    }
    assert_eq!(memory.seen.len(), 3);
    let mut bench = Bench::with(legacy(), memory);
    for bytes in &registers[..2] {
        assert_eq!(bench.datagram(ONE, bytes), []);
    }
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 2);
    let outputs = bench.datagram(ONE, &registers[2]);
    assert!(matches!(outputs.as_slice(), [Output::Send { .. }]), "the last one again is a retransmission: {outputs:?}");
    bench.pass(Duration::from_secs(181));
    assert_eq!(bench.registered(), [], "it did not keep the registration alive");
}

/// RFC 8378, section 5: one locator of two xTRs stands in the mapping once, with the better priority.
#[test]
fn a_locator_that_two_xtrs_have_is_in_the_merged_mapping_once() {
    let mut bench = Bench::new(config(vec![site_a()]));
    for xtr in [1, 2] {
        let mut both = record(prefix(SITE), &["198.51.100.1", "198.51.100.2"]);
        both.locators[0].priority = xtr;
        bench.datagram(if xtr == 1 { ONE } else { TWO }, &from_xtr(xtr, 1, both));
    }
    let known = bench.engine.server().registrations().get(&prefix(SITE)).unwrap();
    let locators: Vec<_> =
        known.merged().locators.iter().map(|l| (l.rloc.ip().unwrap().to_string(), l.priority)).collect();
    assert_eq!(known.parts().count(), 2);
    assert_eq!(locators, [("198.51.100.1".to_owned(), 1), ("198.51.100.2".to_owned(), 1)]);
}

fn replicating(receivers: &[(u8, &str)], priority: u8, reachable: bool) -> MappingRecord {
    let receiver = |(level, rloc): &(u8, &str)| Replication {
        level: *level,
        address: rloc.parse::<std::net::IpAddr>().unwrap().into(),
    };
    let list = Lcaf::ReplicationList(receivers.iter().map(receiver).collect());
    let mut record = one_rloc("198.51.100.1");
    record.locators[0] = LocatorRecord { rloc: list.into(), priority, reachable, ..record.locators[0].clone() };
    record
}

/// RFC 8378, section 5.1.3.
#[test]
fn replication_lists_of_xtrs_that_merge_are_one_with_each_receiver_once() {
    let mut bench = Bench::new(config(vec![site_a()]));
    let mut own = replicating(&[(128, "198.51.100.3"), (128, "198.51.100.1")], 1, true);
    own.locators.push(one_rloc("198.51.100.9").locators[0].clone());
    bench.datagram(ONE, &from_xtr(1, 1, own));
    let known = |bench: &Bench| bench.engine.server().registrations().get(&prefix(SITE)).unwrap().merged().locators;
    bench.datagram(TWO, &from_xtr(2, 1, replicating(&[(128, "198.51.100.2"), (0, "198.51.100.3")], 1, true)));
    let list = |receivers| replicating(receivers, 1, true).locators[0].rloc.clone();
    let both = known(&bench);
    let all = list(&[(128, "198.51.100.1"), (128, "198.51.100.2"), (0, "198.51.100.3")]);
    let replicated = both.iter().find(|locator| locator.rloc == all).expect("the list");
    assert_eq!((replicated.priority, replicated.reachable, both.len()), (1, true, 2), "beside the address: {both:?}");
    // What an xTR says anew takes the place of what it said.
    bench.datagram(TWO, &from_xtr(2, 2, replicating(&[(128, "198.51.100.4")], 1, true)));
    let all = list(&[(128, "198.51.100.1"), (128, "198.51.100.3"), (128, "198.51.100.4")]);
    assert!(known(&bench).iter().any(|locator| locator.rloc == all), "{:?}", known(&bench));
}

#[test]
fn replication_lists_that_are_alternatives_or_are_not_to_be_used_stay_apart() {
    let lists = |ours: &[(u8, bool)]| {
        let mut bench = Bench::new(config(vec![site_a()]));
        let mut own = one_rloc("198.51.100.1");
        own.locators = (1..)
            .zip(ours)
            .map(|(n, (priority, reachable))| {
                replicating(&[(128, &format!("198.51.100.{n}"))], *priority, *reachable).locators.remove(0)
            })
            .collect();
        bench.datagram(ONE, &from_xtr(1, 1, own));
        bench.datagram(TWO, &from_xtr(2, 1, replicating(&[(128, "198.51.100.9")], 1, true)));
        bench.engine.server().registrations().get(&prefix(SITE)).unwrap().merged().locators.len()
    };
    assert_eq!(lists(&[(1, true)]), 1);
    assert_eq!(lists(&[(2, true)]), 2, "of another priority");
    assert_eq!(lists(&[(255, true)]), 2);
    assert_eq!(lists(&[(1, false)]), 2, "not reached");
    assert_eq!(lists(&[(1, true), (1, true)]), 3, "RFC 8378, section 9: an xTR that has two means either");
}

/// RFC 8378, section 5.3.
#[test]
fn whoever_delivers_a_captured_register_first_keeps_nothing_from_the_xtr() {
    const THIEF: &str = "203.0.113.66:4342";
    let mut bench = two_xtrs();
    let captured = from_xtr(1, 2, one_rloc("198.51.100.1"));
    notify(&bench.datagram(THIEF, &captured));
    notify(&bench.datagram(ONE, &captured));
    let shorter = MappingRecord { ttl: Ttl(60), ..one_rloc("198.51.100.2") };
    let changed = unsolicited(&bench.datagram(TWO, &from_xtr(2, 2, shorter)), 2);
    let told = changed.iter().map(|(to, _)| to.to_string()).collect::<Vec<_>>();
    assert_eq!(told, [THIEF, TWO, ONE]);
    for (to, notify) in &changed[1..] {
        bench.datagram(&to.to_string(), &ack(notify, &site_key()));
    }
    assert_eq!(unsolicited(&bench.pass(Duration::from_secs(60)), 2), [], "acknowledged by the xTR itself");
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn who_registers_from_another_address_is_told_there_and_a_few_times_at_its_own_locators_that_can_be_sent_to() {
    const ELSEWHERE: &str = "198.51.100.99:4342";
    let mut bench = two_xtrs();
    let rlocs = ["198.51.100.4", "2001:db8:f::1", "127.0.0.1", "198.51.100.5", "198.51.100.6"];
    let mut of_many = record(prefix(SITE), &rlocs);
    of_many.locators[3].reachable = false;
    of_many.locators[4].local = false;
    let outputs = bench.datagram("198.51.100.99:61000", &from_xtr(1, 2, of_many));
    let told: Vec<_> = unsolicited(&outputs, 2).iter().map(|(to, _)| to.to_string()).collect();
    assert_eq!(told, [ELSEWHERE, TWO, "198.51.100.4:4342"]);
    let again = unsolicited(&bench.pass(Duration::from_secs(100)), 2);
    let times = |of: &str| again.iter().filter(|(to, _)| to.to_string() == of).count();
    assert_eq!([ELSEWHERE, "198.51.100.4:4342"].map(times), [6, 2]);
}

#[test]
fn what_is_under_way_at_a_reload_is_told_at_named_locators_at_no_other_sites_expense() {
    let mut bench = two_xtrs();
    let outputs = bench.datagram("198.51.100.99:61000", &from_xtr(1, 2, record(prefix(SITE), &["198.51.100.4"])));
    let to_named = |outputs: &[Output]| {
        unsolicited(outputs, 2).iter().filter(|(to, _)| to.to_string() == "198.51.100.4:4342").count()
    };
    assert_eq!(to_named(&outputs), 1);
    let other = site("b", 1, "secret of b", &[prefix("2001:db8:b::/48")]);
    let newer = Reconfiguration {
        sites: vec![other, site_a()],
        trust_anchors: vec![],
        clients: vec![],
        foreign: Foreign::FromItrRloc,
        subscribers: vec![],
        pubsub: Policy::default(),
        ddt: mapsys::ddt::Config::default(),
        lisp_sec: vec![],
    };
    bench.engine.reconfigure(bench.now, newer).unwrap();
    // It has now the number that the first one had.
    let of_other = MapRegister {
        merge: true,
        xtr_identity: Some(XtrIdentity { xtr_id: [9; 16], site_id: 2 }),
        ..register(2, vec![record(prefix("2001:db8:b::/48"), &["198.51.100.9"])])
    };
    bench.datagram("198.51.100.9:4342", &seal(of_other, &key(1, Algorithm::HkdfSha256, "secret of b")));
    assert_eq!(to_named(&bench.pass(Duration::from_secs(100))), 0);
}

#[test]
fn who_has_the_key_of_a_site_has_no_more_than_three_times_his_octets_sent_to_whom_he_names() {
    const NAMED: [&str; 3] = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
    let mut bench = Bench::new(config(vec![site_a()]));
    let (mut came, mut went) = (0, 0);
    for nonce in 1..=200 {
        for xtr in [1, 2] {
            // Each time something else.
            let ttl = Ttl(u32::try_from(nonce).unwrap() + 60);
            let message = from_xtr(xtr, nonce, MappingRecord { ttl, ..record(prefix(SITE), &NAMED) });
            came += message.len();
            let mut outputs = bench.datagram("198.51.100.9:4342", &message);
            outputs.extend(bench.pass(Duration::from_secs(5)));
            let named = outputs.iter().filter_map(|output| match output {
                Output::Send { remote, bytes, .. } if NAMED.contains(&remote.ip().to_string().as_str()) => {
                    Some(bytes.len())
                }
                _ => None,
            });
            went += named.sum::<usize>();
        }
    }
    assert!(2 * came < went && went <= 3 * came, "{came} octets came, {went} went");
    assert!(bench.engine.tally().get(Refusal::NotifyNamedBudget) > 0);
}
