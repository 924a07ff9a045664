// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Server's rules, one test a rule: who may register what, replay, expiry, merging, the pipe.

use std::time::Duration;

use crate::common::*;
use cgeid::{Cn, Identity, Network, OperationalKey};
use mapsys::engine::{Config, ConfigError, Engine, Mark, Memory, Output};
use mapsys::refusal::{Refusal, Served};
use mapsys::register::label::AnyEid;
use mapsys::register::nonces::{Last, NonceOwner};
use mapsys::register::site::{NotifyPort, Site, SiteError, SitePrefix};
use wire::address::{Address, EidPrefix, InstanceId};
use wire::control::auth::{Algorithm, AuthKey, TagForm};
use wire::control::{MapRegister, Nonce, XtrIdentity};
use wire::record::{LocatorRecord, MappingRecord, Ttl};

const ETR: &str = "198.51.100.1:4342";
const OTHER: &str = "198.51.100.2:4342";
const SITE: &str = "2001:db8:a::/48";

fn site_key() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "secret of a")
}

fn site_a() -> Site {
    site("a", 1, "secret of a", &[prefix(SITE)])
}

fn bench() -> Bench {
    Bench::new(config(vec![site_a()]))
}

fn sealed(nonce: u64, rloc: &str) -> Vec<u8> {
    seal(register(nonce, vec![record(prefix(SITE), &[rloc])]), &site_key())
}

fn from_xtr(xtr: u8, message: MapRegister) -> MapRegister {
    MapRegister { xtr_identity: Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 }), ..message }
}

fn rlocs(bench: &Bench, of: &str) -> Vec<String> {
    let registration = bench.engine.server().registrations().get(&prefix(of));
    let merged = registration.map(|registration| registration.merged().locators).unwrap_or_default();
    merged.iter().map(|locator: &LocatorRecord| locator.rloc.ip().unwrap().to_string()).collect()
}

#[test]
fn the_map_notify_goes_from_4342_to_4342_unless_the_site_is_behind_a_nat() {
    let mut bench = bench();
    let (to, told) = notify(&bench.datagram("198.51.100.1:61001", &sealed(1, "198.51.100.1")));
    assert_eq!((to, told.nonce), (address(ETR), Nonce(1)));
    let nat = Site { notify: NotifyPort::Source, ..site_a() };
    let mut bench = Bench::new(config(vec![nat]));
    let (to, _) = notify(&bench.datagram("198.51.100.1:61001", &sealed(1, "198.51.100.1")));
    assert_eq!(to, address("198.51.100.1:61001"));
}

#[test]
fn nonce_and_registration_are_persisted_before_the_map_notify() {
    let outputs = bench().datagram(ETR, &sealed(1, "198.51.100.1"));
    let [Output::Persist(Mark::Nonce(owner, _)), Output::Persist(Mark::SiteKey(_)), then @ ..] = outputs.as_slice()
    else {
        panic!("{outputs:?}")
    };
    let [Output::Persist(Mark::Registration(eid, _)), Output::Send { .. }] = then else { panic!("{then:?}") };
    assert_eq!((owner.site.as_str(), *eid), ("a", AnyEid::Prefix(prefix(SITE))));
}

#[test]
fn a_retransmission_is_notified_again_and_changes_nothing() {
    let mut bench = bench();
    bench.datagram(ETR, &sealed(1, "198.51.100.1"));
    bench.pass(Duration::from_secs(100));
    let outputs = bench.datagram(ETR, &sealed(1, "198.51.100.1"));
    assert!(matches!(outputs.as_slice(), [Output::Send { .. }]), "{outputs:?}");
    bench.pass(Duration::from_secs(81));
    assert_eq!(bench.registered(), [], "it did not even keep the registration alive");
}

#[test]
fn an_older_nonce_and_another_message_with_the_same_nonce_are_replays() {
    let mut bench = bench();
    bench.datagram(ETR, &sealed(5, "198.51.100.1"));
    assert_eq!(bench.datagram(ETR, &sealed(5, "198.51.100.9")), []);
    assert_eq!(bench.datagram(ETR, &sealed(4, "198.51.100.9")), []);
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 2);
    assert_eq!(rlocs(&bench, SITE), ["198.51.100.1"]);
}

#[test]
fn a_restart_does_not_open_the_door_to_old_nonces() {
    let owner = NonceOwner { site: "a".into(), xtr_id: [0; 16], key_id: 1 };
    let memory = Memory { nonces: vec![(owner, Last { nonce: 9, digest: [0; 32] })], ..Memory::default() };
    let mut bench = Bench::with(config(vec![site_a()]), memory);
    assert_eq!(bench.datagram(ETR, &sealed(9, "198.51.100.1")), []);
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 1);
    notify(&bench.datagram(ETR, &sealed(10, "198.51.100.1")));
}

#[test]
fn a_wrong_key_a_flipped_bit_and_a_cut_message_change_nothing() {
    let good = sealed(1, "198.51.100.1");
    let forged =
        seal(register(1, vec![record(prefix(SITE), &["198.51.100.9"])]), &key(1, Algorithm::HkdfSha256, "guess"));
    let mut bench = bench();
    assert_eq!(bench.datagram(ETR, &forged), []);
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 1);
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 0x01;
        bench.datagram(ETR, &flipped);
        bench.datagram(ETR, &good[..at]);
        assert_eq!(bench.registered(), [], "octet {at}");
    }
    assert!(bench.engine.tally().get(Refusal::Malformed) > 0);
    notify(&bench.datagram(ETR, &good));
}

#[test]
fn three_hundred_zero_tags_register_nothing() {
    let mut bench = bench();
    for nonce in 0..300 {
        let mut bytes = sealed(nonce, "198.51.100.9");
        bytes[16..32].fill(0);
        assert_eq!(bench.datagram(ETR, &bytes), []);
    }
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 300);
}

#[test]
fn sha1_is_for_legacy_sites_and_no_algorithm_at_all_for_nobody() {
    let sha1 = key(1, Algorithm::HmacSha1, "secret of a");
    let message = register(1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    let bytes = wire::control::auth::seal(&message.clone().into(), &sha1, TagForm::Untruncated).unwrap();
    let mut strict = bench();
    assert_eq!(strict.datagram(ETR, &bytes), []);
    assert_eq!(strict.only_refused(Refusal::RegisterAlgorithm), 1);
    let legacy = || Bench::new(config(vec![Site { legacy: true, ..site_a() }]));
    notify(&legacy().datagram(ETR, &bytes));
    let mut none = legacy();
    let unsigned = message.encode().unwrap();
    assert_eq!(none.datagram(ETR, &unsigned), []);
    assert_eq!(none.registered(), []);
}

#[test]
fn only_configured_prefixes_are_taken_and_a_message_whole_or_not_at_all() {
    let other = site("b", 1, "secret of b", &[prefix("2001:db8:b::/48")]);
    let mut bench = Bench::new(config(vec![site_a(), other]));
    for (eid, refusal) in [
        ("2001:db8:b::/48", Refusal::RegisterEidNotConfigured),
        ("2001:db8::/32", Refusal::RegisterEidNotConfigured),
        ("192.0.2.0/24", Refusal::RegisterEidNotConfigured),
        ("2001:db8:a:1::/64", Refusal::RegisterTooSpecific),
    ] {
        let records = vec![record(prefix(SITE), &["198.51.100.1"]), record(prefix(eid), &["198.51.100.1"])];
        let before = bench.engine.tally().get(refusal);
        assert_eq!(bench.datagram(ETR, &seal(register(1, records), &site_key())), [], "{eid}");
        assert_eq!(bench.engine.tally().get(refusal), before + 1, "{eid}");
        assert_eq!(bench.registered(), [], "{eid}");
    }
}

#[test]
fn more_specifics_are_taken_up_to_the_configured_length() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut bench = Bench::new(config(vec![open]));
    let one = |nonce, eid| seal(register(nonce, vec![record(prefix(eid), &["198.51.100.1"])]), &site_key());
    notify(&bench.datagram(ETR, &one(1, "2001:db8:a:1::/64")));
    assert_eq!(bench.datagram(ETR, &one(2, "2001:db8:a:1::1/128")), []);
    assert_eq!(bench.only_refused(Refusal::RegisterTooSpecific), 1);
}

#[test]
fn too_many_records_are_refused() {
    let records = vec![record(prefix(SITE), &["198.51.100.1"]); 65];
    let mut bench = bench();
    assert_eq!(bench.datagram(ETR, &seal(register(1, records), &site_key())), []);
    assert_eq!(bench.only_refused(Refusal::RegisterTooManyRecords), 1);
    assert_eq!(bench.datagram(ETR, &seal(register(1, vec![]), &site_key())), []);
    assert_eq!(bench.engine.tally().get(Refusal::RegisterEmpty), 1);
}

#[test]
fn a_cgeid_from_the_network_is_always_refused() {
    let cgeid = EidPrefix::host(InstanceId(0), Cn([7; 12]).address(Network::LAB).into());
    let everything = prefix("2000::/3");
    for eid in [cgeid, prefix("3fff:ce1::/32"), prefix("3fff:ce1:1::/48"), everything] {
        let mut bench = bench();
        assert_eq!(bench.datagram(ETR, &seal(register(1, vec![record(eid, &["198.51.100.1"])]), &site_key())), []);
        assert_eq!(bench.only_refused(Refusal::RegisterCgeidFromNetwork), 1, "{eid}");
    }
}

#[test]
fn a_site_cannot_be_configured_over_cgeids_or_over_another_site() {
    let now = bench().now;
    let over = |prefixes: &[EidPrefix]| {
        Engine::new(now, config(vec![site_a(), site("b", 1, "x", prefixes)]), Memory::default()).map(|_| ())
    };
    assert!(matches!(over(&[prefix("::/0")]), Err(ConfigError::Site(SiteError::Cgeid { .. }))));
    assert!(matches!(over(&[prefix("3fff:ce1:2::/48")]), Err(ConfigError::Site(SiteError::Cgeid { .. }))));
    assert!(matches!(over(&[prefix(SITE)]), Err(ConfigError::Site(SiteError::PrefixTwice { .. }))));
    assert_eq!(over(&[prefix("2001:db8:a:1::/64")]), Ok(()));
}

#[test]
fn ttl_0_withdraws_and_so_does_an_empty_locator_set() {
    for withdrawal in [
        wire::record::MappingRecord { ttl: Ttl(0), ..record(prefix(SITE), &["198.51.100.1"]) },
        record(prefix(SITE), &[]),
    ] {
        let mut bench = bench();
        bench.datagram(ETR, &sealed(1, "198.51.100.1"));
        notify(&bench.datagram(ETR, &seal(register(2, vec![withdrawal]), &site_key())));
        assert_eq!(bench.registered(), []);
    }
}

#[test]
fn three_minutes_of_silence_end_a_registration_and_t_makes_it_the_ttl() {
    let mut bench = bench();
    bench.datagram(ETR, &sealed(1, "198.51.100.1"));
    bench.pass(Duration::from_secs(179));
    assert_eq!(bench.registered().len(), 1);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.registered(), []);

    let minute = wire::record::MappingRecord { ttl: Ttl(1), ..record(prefix(SITE), &["198.51.100.1"]) };
    let timed = MapRegister { use_ttl: true, ..register(2, vec![minute]) };
    bench.datagram(ETR, &seal(timed, &site_key()));
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.registered().len(), 1);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.registered(), []);
}

#[test]
fn with_a_the_xtrs_of_a_site_stand_beside_each_other_and_expire_alone() {
    let mut bench = bench();
    let merging = |nonce, xtr, rloc: &str| {
        let message = MapRegister { merge: true, ..register(nonce, vec![record(prefix(SITE), &[rloc])]) };
        seal(from_xtr(xtr, message), &site_key())
    };
    bench.datagram(ETR, &merging(1, 1, "198.51.100.1"));
    bench.pass(Duration::from_secs(60));
    // Each xTR has a nonce sequence of its own.
    assert!(!bench.datagram(OTHER, &merging(1, 2, "198.51.100.2")).is_empty());
    assert_eq!(rlocs(&bench, SITE), ["198.51.100.1", "198.51.100.2"]);
    bench.datagram(OTHER, &merging(2, 2, "198.51.100.1"));
    assert_eq!(rlocs(&bench, SITE), ["198.51.100.1"], "no duplicates");
    bench.pass(Duration::from_secs(121));
    assert_eq!(bench.registered().len(), 1, "the first fell silent, the second did not");
    let replacing = seal(from_xtr(3, register(1, vec![record(prefix(SITE), &["198.51.100.3"])])), &site_key());
    bench.datagram(OTHER, &replacing);
    assert_eq!(rlocs(&bench, SITE), ["198.51.100.3"], "without a the last one counts alone");
}

#[test]
fn locators_that_nothing_can_be_sent_to_are_left_out() {
    let mut bench = bench();
    let mut registered = record(prefix(SITE), &["198.51.100.1", "224.0.0.1", "ff02::1", "0.0.0.0", "255.255.255.255"]);
    registered.locators.push(LocatorRecord { rloc: Address::None, ..locator("198.51.100.1") });
    let (_, told) = notify(&bench.datagram(ETR, &seal(register(1, vec![registered]), &site_key())));
    assert_eq!(rlocs(&bench, SITE), ["198.51.100.1"]);
    assert_eq!(told.records[0].locators.len(), 6, "the Map-Notify says what was registered");
    assert_eq!(bench.only_refused(Refusal::LocatorUnusable), 5);
}

fn pipe_key() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "random at every start")
}

fn operational() -> OperationalKey {
    let now = std::time::SystemTime::now();
    Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap()
}

fn with_pipe(identity: OperationalKey) -> Config {
    Config {
        identities: vec![identity],
        own_prefixes: vec![prefix("2001:db8:c::/48")],
        pipe_key: Some(pipe_key()),
        ..config(vec![site_a()])
    }
}

#[test]
fn the_pipe_registers_the_nodes_own_cgeids_and_prefixes_and_nothing_else() {
    let identity = operational();
    let own = EidPrefix::host(InstanceId(0), identity.address().into());
    let mut bench = Bench::new(with_pipe(identity));
    bench.pass(Duration::ZERO);
    let records = vec![record(own, &["198.51.100.1"]), record(prefix("2001:db8:c::/48"), &["198.51.100.1"])];
    let outputs = bench.pipe(&seal(register(1, records), &pipe_key()));
    assert!(outputs.iter().any(|output| matches!(output, Output::Pipe { .. })), "the Map-Notify");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Send { .. })));
    assert_eq!(bench.registered().len(), 2);

    let foreign = EidPrefix::host(InstanceId(0), Cn([7; 12]).address(Network::LAB).into());
    for (nonce, eid, refusal) in [
        (2, foreign, Refusal::RegisterCgeidNotOurs),
        (3, prefix(SITE), Refusal::RegisterEidNotConfigured),
        (4, prefix("2001:db8:ffff::/48"), Refusal::RegisterEidNotConfigured),
    ] {
        let before = bench.engine.tally().get(refusal);
        assert_eq!(bench.pipe(&seal(register(nonce, vec![record(eid, &["198.51.100.1"])]), &pipe_key())), []);
        assert_eq!(bench.engine.tally().get(refusal), before + 1, "{eid}");
    }
}

#[test]
fn the_pipes_key_is_of_no_use_on_the_network() {
    let mut bench = Bench::new(with_pipe(operational()));
    bench.pass(Duration::ZERO);
    let records = vec![record(prefix("2001:db8:c::/48"), &["198.51.100.9"])];
    assert_eq!(bench.datagram(ETR, &seal(register(1, records), &pipe_key())), []);
    assert_eq!(bench.only_refused(Refusal::RegisterEidNotConfigured), 1);
    assert_eq!(bench.registered(), []);
}

/// A Map-Register whose tag ends with the records (RFC 9301, section 5.6), and xTR-ID and Site-ID behind it.
fn narrow(nonce: u64, xtr: u8, rloc: &str) -> Vec<u8> {
    let message = MapRegister { merge: true, ..register(nonce, vec![record(prefix(SITE), &[rloc])]) };
    let sha256 = key(1, Algorithm::HmacSha256, "secret of a");
    let mut bytes = seal(from_xtr(xtr, message), &sha256);
    bytes[16..32].fill(0);
    let tag = hmac_sha256(b"secret of a", &bytes[..bytes.len() - 24]);
    bytes[16..32].copy_from_slice(&tag[..16]);
    bytes
}

/// RFC 2104, for secrets shorter than a block.
fn hmac_sha256(secret: &[u8], message: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(secret).for_each(|(octet, secret)| *octet ^= secret);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[test]
fn an_xtr_id_that_the_tag_leaves_out_counts_for_nothing() {
    let mut strict = bench();
    assert_eq!(strict.datagram(ETR, &narrow(1, 1, "198.51.100.1")), []);
    assert_eq!(strict.only_refused(Refusal::RegisterBadTag), 1);

    let mut bench = Bench::new(config(vec![Site { legacy: true, ..site_a() }]));
    let outputs = bench.datagram(ETR, &narrow(1, 1, "198.51.100.1"));
    assert!(matches!(&outputs[0], Output::Persist(Mark::Nonce(owner, _)) if owner.xtr_id == [0; 16]), "{outputs:?}");
    // Whoever recorded it can write another xTR-ID behind the tag: no second memory, no second part.
    assert_eq!(bench.datagram(ETR, &narrow(1, 2, "198.51.100.1")), []);
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 1);
    let registration = bench.engine.server().registrations().get(&prefix(SITE)).unwrap();
    assert_eq!(registration.parts().map(|part| part.identity.as_deref()).collect::<Vec<_>>(), [None]);
    notify(&bench.datagram(ETR, &narrow(2, 2, "198.51.100.2")));
    assert_eq!(rlocs(&bench, SITE), ["198.51.100.2"], "one anonymous part");

    let whole = MapRegister { merge: true, ..register(3, vec![record(prefix(SITE), &["198.51.100.3"])]) };
    let whole = seal(from_xtr(7, whole), &key(1, Algorithm::HmacSha256, "secret of a"));
    let outputs = bench.datagram(ETR, &whole);
    assert!(matches!(&outputs[0], Output::Persist(Mark::Nonce(owner, _)) if owner.xtr_id == [7; 16]), "{outputs:?}");
    assert_eq!(rlocs(&bench, SITE), ["198.51.100.2", "198.51.100.3"]);
}

#[test]
fn more_live_more_specifics_than_a_page_holds_are_refused_whole() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut bench = Bench::new(config(vec![open]));
    let batch = |nonce: u64, from: u64, count: u64| {
        let records =
            (from..from + count).map(|n| record(prefix(&format!("2001:db8:a:{n:x}::/64")), &["198.51.100.1"]));
        seal(register(nonce, records.collect()), &site_key())
    };
    for n in 0..4 {
        notify(&bench.datagram(ETR, &batch(n + 1, n * 63, 63)));
    }
    assert_eq!(bench.datagram(ETR, &batch(9, 252, 5)), [], "252 and 5 are more than 256");
    assert_eq!(bench.only_refused(Refusal::RegisterTableFull), 1);
    assert_eq!(bench.registered().len(), 252);
    notify(&bench.datagram(ETR, &batch(9, 252, 4)));
    notify(&bench.datagram(ETR, &batch(10, 0, 63)));
}

#[test]
fn a_second_farewell_is_confirmed_as_the_first_was_also_where_there_is_no_room_for_more() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut bench = Bench::new(config(vec![open]));
    let part = |n: u64| record(prefix(&format!("2001:db8:a:{n:x}::/64")), &["198.51.100.1"]);
    let says =
        |bench: &mut Bench, nonce, records| notify(&bench.datagram(ETR, &seal(register(nonce, records), &site_key())));
    for n in 0..4 {
        says(&mut bench, n + 1, (n * 64..n * 64 + 64).map(part).collect());
    }
    let farewell = || vec![MappingRecord { ttl: Ttl(0), locators: vec![], ..part(0) }];
    says(&mut bench, 5, farewell());
    says(&mut bench, 6, vec![part(256)]);
    says(&mut bench, 7, farewell());
    assert_eq!((bench.registered().len(), bench.engine.tally().total()), (256, 0), "neither a replay nor too many");
}

#[test]
fn a_message_longer_than_any_that_we_take_is_not_read() {
    let mut bench = bench();
    let mut long = sealed(1, "198.51.100.1");
    long.resize(8193, 0);
    assert_eq!(bench.datagram(ETR, &long), []);
    assert_eq!(bench.only_refused(Refusal::TooLong), 1);
    let many: Vec<String> = (0..255).map(|n| format!("2001:db8:53::{:x}", n + 1)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut all = record(prefix(SITE), &[]);
    all.locators = many.iter().map(|rloc| locator(rloc)).collect();
    assert_eq!(bench.datagram(ETR, &seal(register(1, vec![all]), &site_key())), []);
    assert_eq!(bench.engine.tally().get(Refusal::RegisterTooManyLocators), 1, "read, and more than a mapping has");
}

#[test]
fn the_addresses_of_cgeids_are_for_nobody_in_any_instance() {
    let wide = EidPrefix { iid: InstanceId(5), ..prefix("2000::/3") };
    let open = Site { prefixes: vec![SitePrefix { prefix: wide, max_len: 128 }], ..site_a() };
    let mut bench = Bench::new(config(vec![open]));
    let cgeid = EidPrefix::host(InstanceId(5), Cn([7; 12]).address(Network::LAB).into());
    assert_eq!(bench.datagram(ETR, &seal(register(1, vec![record(cgeid, &["198.51.100.1"])]), &site_key())), []);
    assert_eq!(bench.only_refused(Refusal::RegisterCgeidFromNetwork), 1);
    notify(&bench.datagram(ETR, &seal(register(1, vec![record(wide, &["198.51.100.1"])]), &site_key())));
}

#[test]
fn a_clock_that_is_set_while_the_server_runs_makes_a_legacy_site_lose_no_nonce_at_the_restart() {
    let legacy = || config(vec![Site { legacy: true, ..site_a() }]);
    let hour = Duration::from_secs(3600);
    for is_ahead in [true, false] {
        let mut bench = Bench::new(legacy());
        let mut memory = Memory::default();
        for nonce in [5, 6, 7] {
            for output in bench.datagram(ETR, &sealed(nonce, "198.51.100.1")) {
                match output {
                    Output::Persist(Mark::Nonce(owner, last)) => memory.nonces = vec![(owner, last)],
                    Output::Persist(Mark::Seen(seen)) => memory.seen.push(seen),
                    _ => {}
                }
            }
            bench.pass(Duration::from_secs(60));
            bench.now.wall = if is_ahead { bench.now.wall + hour } else { bench.now.wall - hour };
        }
        assert_eq!(memory.seen.len(), 3);
        let mut bench = Bench::with(legacy(), memory);
        for nonce in [5, 6, 7] {
            bench.datagram(ETR, &sealed(nonce, "198.51.100.9"));
        }
        assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 3);
    }
}

#[test]
fn a_legacy_site_that_registers_often_is_open_to_no_replay_within_ten_minutes_nor_after_a_restart() {
    let legacy = || config(vec![Site { legacy: true, ..site_a() }]);
    let mut bench = Bench::new(legacy());
    let mut memory = Memory::default();
    let first = sealed(1, "198.51.100.66");
    let mut seen = Vec::new();
    let mut note = |outputs: Vec<Output>| {
        for output in outputs {
            match output {
                Output::Persist(Mark::Nonce(owner, last)) => memory.nonces = vec![(owner, last)],
                Output::Persist(Mark::Seen(one)) => seen.push(one),
                Output::Persist(Mark::ForgottenSeen(_, nonce)) => seen.retain(|one| one.nonce != nonce),
                _ => {}
            }
        }
    };
    note(bench.datagram(ETR, &first));
    // Two a second, of one owner: xTRs without xTR-ID that register each EID-prefix by itself.
    for nonce in 2..1198 {
        note(bench.pass(Duration::from_millis(500)));
        note(bench.datagram(ETR, &sealed(nonce, "198.51.100.1")));
    }
    assert_eq!(bench.datagram(OTHER, &first), [], "almost ten minutes later");
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 1);
    assert_eq!(seen.len(), 1197);
    let mut bench = Bench::with(legacy(), Memory { seen, ..memory });
    assert_eq!(bench.datagram(OTHER, &first), []);
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 1);
}

#[test]
fn nonces_of_a_legacy_xtr_that_fell_silent_leave_memory_and_disk() {
    let mut bench = Bench::new(config(vec![Site { legacy: true, ..site_a() }]));
    for nonce in [9, 5, 7] {
        bench.datagram(ETR, &sealed(nonce, "198.51.100.1"));
    }
    let forgotten = bench.pass(Duration::from_secs(3600)).into_iter().filter_map(|output| match output {
        Output::Persist(Mark::ForgottenSeen(_, nonce)) => Some(nonce),
        _ => None,
    });
    assert_eq!(forgotten.collect::<Vec<_>>(), [9, 5, 7]);
    assert_eq!(bench.engine.next_deadline(), None, "nothing is waited for any more");
    // The very last one is remembered for ever.
    bench.datagram(ETR, &seal(register(7, vec![record(prefix(SITE), &["198.51.100.9"])]), &site_key()));
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 1);
}

#[test]
fn behind_a_socket_on_all_addresses_the_one_that_an_xtr_uses_is_known_only_when_it_has_proven_itself() {
    let open = Config { sockets: vec![address("0.0.0.0:4342"), address(SERVER)], ..config(vec![site_a()]) };
    let mut bench = Bench::new(open);
    let proven = |outputs: &[Output]| {
        let proven = outputs.iter().filter(|output| matches!(output, Output::Proven { .. }));
        proven.cloned().collect::<Vec<_>>()
    };
    let forged = seal(register(1, vec![record(prefix(SITE), &["198.51.100.1"])]), &key(1, Algorithm::HkdfSha256, "?"));
    assert_eq!(proven(&bench.datagram(ETR, &forged)), []);
    let good = sealed(1, "198.51.100.1");
    let known = Output::Proven { local: address(SERVER), remote: address(ETR) };
    assert_eq!(proven(&bench.datagram(ETR, &good)), [known]);
    assert_eq!(proven(&bench.datagram(OTHER, &good)), [], "a replay from elsewhere");
}

#[test]
fn what_is_taken_answered_and_told_is_counted() {
    let mut bench = bench();
    bench.datagram(ETR, &sealed(1, "198.51.100.1"));
    bench.datagram(ETR, &sealed(1, "198.51.100.1"));
    let quiet = MapRegister { want_notify: false, ..register(2, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    bench.datagram(ETR, &seal(quiet, &site_key()));
    let ask = |bench: &mut Bench, nonce| {
        bench.datagram("192.0.2.1:5000", &ecm(&request(nonce, &[host("2001:db8:a::2")], &["192.0.2.1"])))
    };
    ask(&mut bench, 1);
    let own = MapRegister { proxy_reply: false, ..register(3, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    bench.datagram(ETR, &seal(own, &site_key()));
    ask(&mut bench, 2);
    bench.pass(Duration::from_secs(181));
    ask(&mut bench, 3);
    let served = Served::ALL.map(|served| (served.name(), bench.engine.tally().served(served)));
    let expected = [
        ("registers_taken", 3),
        ("notifies_sent", 3),
        ("requests_answered", 1),
        ("requests_answered_negative", 1),
        ("requests_forwarded", 1),
    ];
    assert_eq!(served, expected, "a retransmission is confirmed and not taken again");
}
