// SPDX-License-Identifier: GPL-2.0-or-later
//! Revocation of keys (RFC 8111, section 10.2.1).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mapsys::ddt::keys::{self, SigningKey, VerifyingKey};
use mapsys::ddt::{Config as Ddt, DdtError, Kind};
use mapsys::engine::{Config, ConfigError, Engine, Memory, Output, Reconfiguration};
use mapsys::refusal::Refusal;
use mapsys::transport::Now;
use wire::address::{Address, Lcaf};
use wire::control::{
    ControlMessage, MapReferral, MapRequest, Nonce, Referral, ReferralAction, ReferralSignature, SignatureTime,
};

use super::signed::*;
use super::world::*;
use crate::common::*;

/// The same with keys that it revokes.
fn revoking(mut config: Config, names: &[&str]) -> Config {
    config.ddt.signing.revoked = names.iter().map(|name| private(name)).collect();
    config
}

fn at(address: &str, config: Config) -> Bench {
    Bench::new(Config { sockets: vec![format!("{address}:4342").parse().unwrap()], ..config })
}

/// The node of the second level with these keys.
fn second(keys: &[&str], revoked: &[&str]) -> Config {
    let delegation = to("2001:db8:100::/40", Kind::MapServer, MS1, &["server"]);
    revoking(with(node(&["2001:db8::/32"], vec![delegation]), keys), revoked)
}

/// A root that names these keys of the node.
fn root(named: &[&str]) -> Config {
    with(node(&["::/0"], vec![to("2001:db8::/32", Kind::Node, NODE1, named)]), &["root"])
}

fn newer(config: Config) -> Reconfiguration {
    let Config { sites, trust_anchors, clients, foreign, subscribers, pubsub, ddt, lisp_sec, .. } = config;
    Reconfiguration { sites, trust_anchors, clients, foreign, subscribers, pubsub, ddt, lisp_sec }
}

/// What a node says to a Map-Resolver that asks for an EID, with its octets.
fn said(bench: &mut Bench, eid: &str) -> (MapReferral, Vec<u8>) {
    let question = ddt(&request(9, &[host(eid)], &[RLOC]));
    let outputs = bench.datagram(&format!("{MR}:4342"), &question);
    let found = outputs.into_iter().find_map(|output| match output {
        Output::Send { bytes, .. } => match ControlMessage::decode(&bytes).unwrap() {
            ControlMessage::MapReferral(message) => Some((message, bytes)),
            _ => None,
        },
        _ => None,
    });
    found.expect("a Map-Referral")
}

/// The key that a record revokes, and whose.
fn revoked(record: &Referral) -> Option<(Vec<u8>, Address)> {
    let [locator] = &record.locators[..] else { return None };
    let Address::Lcaf(lcaf) = &locator.rloc else { return None };
    match lcaf.as_ref() {
        Lcaf::SecurityKey { revoked: true, keys, address, .. } if locator.priority == 255 && keys.len() == 1 => {
            Some((keys[0].clone(), address.clone()))
        }
        _ => None,
    }
}

fn holds(message: &MapReferral, bytes: &[u8], index: usize, key: VerifyingKey, bench: &Bench) -> bool {
    let octets = MapReferral::record_octets(bytes).unwrap()[index];
    keys::verify(&message.records[index], octets, &[key], bench.now.wall).is_ok()
}

#[test]
fn a_revocation_is_told_beside_each_answer_for_as_long_as_it_is_configured() {
    let mut bench = at(NODE1, second(&["node-new"], &["node", "stranger"]));
    // When it is new, after the TTL of what named the key, when its first signature would have expired, and after a reload.
    for hours in [0, 25, 200, 1] {
        bench.now.wall += Duration::from_secs(hours * 3600);
        bench.now.monotonic += Duration::from_secs(hours * 3600);
        if hours == 1 {
            bench.engine.reconfigure(bench.now, newer(second(&["node-new"], &["node", "stranger"]))).unwrap();
        }
        for (eid, action) in [(EID, ReferralAction::MsReferral), ("2001:db8:200::1", ReferralAction::DelegationHole)] {
            let (message, bytes) = said(&mut bench, eid);
            let actions: Vec<_> = message.records.iter().map(|record| record.action).collect();
            assert_eq!(actions, [action, ReferralAction::NodeReferral, ReferralAction::NodeReferral], "{hours}");
            assert!(holds(&message, &bytes, 0, public("node-new"), &bench), "{hours}");
            for (index, name) in [(1, "node"), (2, "stranger")] {
                let record = &message.records[index];
                assert_eq!(record.eid, prefix("2001:db8::/32").into(), "what the key was for");
                let of_ours = (public(name).material().to_vec(), address(SERVER).ip().into());
                assert_eq!(revoked(record), Some(of_ours), "{hours}");
                assert!(holds(&message, &bytes, index, public(name), &bench), "{hours}: it signs that itself");
                assert_eq!(record.signatures.len(), 1, "and no other key does");
                assert!(record.signatures[0].is_timely(SignatureTime::of(bench.now.wall)));
            }
        }
    }
    // What is not ours is not said in the name of a key.
    assert_eq!(said(&mut bench, "2001:db9::1").0.records.len(), 1);
    bench.engine.reconfigure(bench.now, newer(second(&["node-new"], &[]))).unwrap();
    assert_eq!(said(&mut bench, EID).0.records.len(), 1, "until it is configured no more");
}

#[test]
fn whoever_cannot_be_told_of_a_revocation_is_answered_all_the_same() {
    let told = |bench: &mut Bench, eids: &[String]| -> Vec<usize> {
        eids.iter().map(|eid| said(bench, eid).0.records.len()).collect()
    };
    let of_sites: Vec<String> = (0..100).map(|n| format!("2001:db8:{n:x}::1")).collect();
    let sites = (0..100).map(|n| format!("2001:db8:{n:x}::/48"));
    let sites = sites.map(|text| site(&text, 1, "secret", &[prefix(&text)])).collect();
    let clients = vec!["0.0.0.0/0".parse().unwrap()];
    // A key revokes itself for each site, more often than there are signatures at once.
    let mut bench = at(MS1, revoking(Config { sites, clients: clients.clone(), ..config(vec![]) }, &["node"]));
    assert_eq!(told(&mut bench, &of_sites), [vec![2; 64], vec![1; 36]].concat());
    assert_eq!(bench.only_refused(Refusal::SigningBudget), 36);
    // Those of delegations are others.
    let authoritative: Vec<String> = (0..60).map(|n| format!("2001:db8:{n:x}::/48")).collect();
    let authoritative: Vec<&str> = authoritative.iter().map(String::as_str).collect();
    let delegations = (0..60).map(|n| to(&format!("2001:db8:{n:x}::/56"), Kind::Node, NODE1, &["server"])).collect();
    let config = Config { clients, ..with(node(&authoritative, delegations), &["node-new"]) };
    let mut bench = at(NODE1, revoking(config, &["node"]));
    assert_eq!(told(&mut bench, &of_sites[..60]), vec![2; 60]);
    // A stranger has no more octets of signatures.
    let delegation = to("2001:db8::/33", Kind::Node, NODE1, &[]);
    let mut bench = at(NODE1, revoking(node(&["2001:db8::/32"], vec![delegation]), &["node"]));
    let records = [told(&mut bench, &of_sites), told(&mut bench, &of_sites)].concat();
    let whole = records.iter().filter(|records| **records == 2).count();
    assert!((90..150).contains(&whole), "{records:?}");
    assert_eq!(records, [vec![2; whole], vec![1; 200 - whole]].concat());
    assert_eq!(bench.only_refused(Refusal::ReplyAmplification), 200 - u64::try_from(whole).unwrap());
}

#[test]
fn of_long_keys_that_are_revoked_as_many_are_told_with_each_answer_as_fit_in_turn() {
    let mut bench = at(NODE1, second(&["node-new"], &["long", "node", "long-new"]));
    let mut told = Vec::new();
    for _ in 0..3 {
        let (message, bytes) = said(&mut bench, EID);
        assert!(bytes.len() < 8192 && message.records.len() < 4, "{}", message.records.len());
        told.extend(message.records[1..].iter().map(|record| revoked(record).unwrap().0));
    }
    let of = |name| told.iter().filter(|material| **material == public(name).material()).count();
    assert_eq!((of("long"), of("node"), of("long-new")), (1, 3, 2));
}

#[test]
fn a_map_server_revokes_its_key_for_what_was_delegated_to_it_or_for_its_site() {
    let whole = vec![prefix("2001:db8:100::/40")];
    // Also one that has no good key any more.
    for (authoritative, of, keys) in [
        (whole.clone(), "2001:db8:100::/40", &["server"][..]),
        (whole, "2001:db8:100::/40", &[]),
        (vec![], "2001:db8:103::/48", &["server"]),
    ] {
        let mut config = map_server("2001:db8:100::/40", &["2001:db8:103::/48"]);
        config.ddt.authoritative = authoritative;
        let mut bench = at(MS1, revoking(with(config, keys), &["stranger"]));
        let (message, bytes) = said(&mut bench, EID);
        assert_eq!(message.records[0].action, ReferralAction::MsNotRegistered);
        assert_eq!(message.records[0].signatures.len(), keys.len());
        assert_eq!(message.records[1].eid, prefix(of).into());
        assert!(revoked(&message.records[1]).is_some() && holds(&message, &bytes, 1, public("stranger"), &bench));
    }
}

#[test]
fn revocations_count_against_the_allowance_of_signatures() {
    let answered = |revoked: &[&str]| {
        let mut bench = at(NODE1, second(&["node-new"], revoked));
        let questions = (0..150u16).map(|n| ddt(&request(n.into(), &[host(&format!("2001:db8:100::{n:x}"))], &[RLOC])));
        let octets =
            questions.flat_map(|question| bench.datagram(&format!("{MR}:4342"), &question)).filter_map(|output| {
                match output {
                    Output::Send { bytes, .. } => Some(bytes.len()),
                    _ => None,
                }
            });
        octets.fold((0, 0), |(count, sum), octets| (count + 1, sum + octets))
    };
    let ((plain, octets), (beside, more)) = (answered(&[]), answered(&["node", "stranger"]));
    assert!(plain > beside && beside > 20, "{plain} {beside}");
    assert!(more <= octets + 2048, "no more octets than before: {octets} {more}");
}

#[test]
fn what_a_revoked_key_had_proven_is_forgotten_and_it_proves_nothing_again() {
    let mut world = tree(&["node", "node-new"], &["node"], &["server"]);
    assert_eq!(world.ask(1, host(EID)).len(), 1);
    *world.bench(NODE1) = at(NODE1, second(&["node-new"], &["node"]));
    assert_eq!(world.ask(2, host("2001:db8:200::1")).len(), 1, "a hole, with the new key");
    assert_eq!(world.bench(MR).engine.ddt().revoked, 1);
    assert_eq!(world.bench(MR).engine.tally().total(), 0);
    world.log.clear();
    assert_eq!(world.ask(3, host("2001:db8:103::3")).len(), 1);
    assert_eq!(world.asked(), [ROOT, NODE1, MS1], "all that the old key had proven is asked for anew");

    // Who has the old key, and what the root said when that was good.
    *world.bench(NODE1) = at(NODE1, second(&["node"], &[]));
    for (nonce, named, refusal) in
        [(4, &["node", "node-new"][..], Refusal::ReferralRevokedKey), (5, &["node"], Refusal::ReferralNoKeys)]
    {
        *world.bench(ROOT) = at(ROOT, root(named));
        // It survives that the settings are read again, which empties the cache.
        let now = world.now;
        world.bench(MR).engine.reconfigure(now, newer(anchored())).unwrap();
        assert_eq!(world.bench(MR).engine.ddt().revoked, 1);
        world.ask(nonce, host(&format!("2001:db8:103::{nonce}")));
        world.pass(Duration::from_secs(30));
        assert!(refused(&mut world, refusal) >= 1, "{refusal:?}");
        assert!(world.outside.is_empty(), "{refusal:?}: nobody is told anything");
        assert!(!world.asked().contains(&MS1.to_owned()), "{refusal:?}");
    }
}

#[test]
fn a_search_that_a_revoked_key_has_led_begins_anew() {
    let mut world = tree(&["node", "node-new"], &["node"], &["server"]);
    // One search waits for the Map-Server that the old key named.
    world.loses = Box::new(|carried| carried.to.ip().to_string() == MS1);
    world.ask(1, host(EID));
    *world.bench(NODE1) = at(NODE1, second(&["node-new"], &["node"]));
    // The cache leads to the node, since nothing else is known of this.
    world.log.clear();
    world.loses = Box::new(|_| false);
    assert_eq!(
        world.ask(2, host("2001:db8:200::1")).len(),
        2,
        "a hole for one, and the ETR of the other has its request"
    );
    assert_eq!(world.asked(), [NODE1, ROOT, NODE1, MS1]);
    assert_eq!(world.bench(MR).engine.ddt().searches, 0);
}

#[test]
fn what_a_map_server_says_to_the_request_of_an_itr_is_heard_too() {
    let mut world = tree(&["node"], &["node"], &["server"]);
    assert_eq!(world.ask(1, host(EID)).len(), 1);
    // Its parent names both keys, and it has told the site nothing.
    let both = with(
        node(&["2001:db8::/32"], vec![to("2001:db8:100::/40", Kind::MapServer, MS1, &["server", "stranger"])]),
        &["node"],
    );
    *world.bench(NODE1) = at(NODE1, both);
    let now = world.now;
    world.bench(MR).engine.reconfigure(now, newer(anchored())).unwrap();
    let config = map_server("2001:db8:100::/40", &["2001:db8:103::/48"]);
    *world.bench(MS1) = at(MS1, revoking(with(config, &["stranger"]), &["server"]));
    world.register(MS1, "2001:db8:103::/48", "203.0.113.1", false);
    world.log.clear();
    assert_eq!(world.ask(2, host("2001:db8:103::2")).len(), 1);
    assert_eq!(world.asked(), [ROOT, NODE1, MS1], "nothing but the request of the ITR");
    assert_eq!(world.bench(MR).engine.ddt().revoked, 1);
    assert_eq!(world.bench(MR).engine.tally().total(), 0);
}

#[test]
fn a_root_revokes_a_trust_anchor() {
    let anchors = || {
        let config = resolver(&[ROOT]);
        Config { ddt: Ddt { anchors: vec![public("root"), public("stranger")], ..config.ddt }, ..config }
    };
    let mut world = tree(&["node"], &["node"], &["server"]);
    *world.bench(MR) = at(MR, anchors());
    assert_eq!(world.ask(1, host(EID)).len(), 1);
    let delegation = || to("2001:db8::/32", Kind::Node, NODE1, &["node"]);
    let newer_root = revoking(with(node(&["::/0"], vec![delegation()]), &["stranger"]), &["root"]);
    *world.bench(ROOT) = at(ROOT, newer_root);
    world.ask(2, host("2001:db9::1"));
    assert_eq!(world.bench(MR).engine.ddt().revoked, 1);
    world.log.clear();
    world.ask(3, host("2001:db8:103::3"));
    assert_eq!(world.asked(), [ROOT, NODE1, MS1], "the whole tree is asked for anew");
    *world.bench(ROOT) = at(ROOT, root(&["node"]));
    let now = world.now;
    world.bench(MR).engine.reconfigure(now, newer(anchors())).unwrap();
    world.ask(4, host("2001:db8:103::4"));
    world.pass(Duration::from_secs(30));
    assert!(refused(&mut world, Refusal::ReferralRevokedKey) >= 1);
    assert!(world.outside.is_empty());
}

/// What revokes the key of the node, signed with the key `by` at `wall`.
fn revocation(nonce: Nonce, by: &str, wall: SystemTime) -> Referral {
    let mut record = answer(nonce, ReferralAction::NodeReferral, "2001:db8::/32", 1440, &[NODE1]).records.remove(0);
    let (algorithm, address) = (ReferralSignature::RSA_SHA256, record.locators[0].rloc.clone());
    let keys = vec![public("node").material().to_vec()];
    record.locators[0].rloc = Lcaf::SecurityKey { algorithm, revoked: true, keys, address }.into();
    keys::sign(record, &[private(by)], wall, WEEK).unwrap()
}

#[test]
fn a_key_revokes_itself_and_no_other() {
    let later = Duration::from_secs(8 * 24 * 3600);
    for (by, age, is_first, is_revoked) in [
        ("node", Duration::ZERO, false, true),
        ("node", Duration::ZERO, true, true),
        ("node", later, false, false),
        ("node-new", Duration::ZERO, false, false),
        ("root", Duration::ZERO, false, false),
        ("stranger", Duration::ZERO, false, false),
    ] {
        let mut world = tree(&["node", "node-new"], &["node"], &["server"]);
        world.loses = Box::new(|carried| carried.to.ip().to_string() == NODE1);
        world.ask(1, host(EID));
        let asked = world.log.iter().rev().find(|carried| carried.to.ip().to_string() == NODE1).unwrap();
        let MapRequest { nonce, .. } = inside(&asked.bytes);
        let wall = world.now.wall;
        let hole = answer(nonce, ReferralAction::DelegationHole, "2001:db8::/32", 15, &[]).records.remove(0);
        let says = |world: &mut World, name: &str| {
            let hole = keys::sign(hole.clone(), &[private(name)], wall, WEEK).unwrap();
            let mut records = vec![hole, revocation(nonce, by, wall - age)];
            if is_first {
                records.reverse();
            }
            let bytes = MapReferral { nonce, records }.encode().unwrap();
            world.send(&format!("{NODE1}:4342"), MR, &bytes);
            world.outside.len()
        };
        assert_eq!(says(&mut world, "node"), usize::from(!is_revoked), "{by} {age:?}");
        assert_eq!(refused(&mut world, Refusal::ReferralRevokedKey), u64::from(is_revoked), "{by} {age:?}");
        assert_eq!(world.bench(MR).engine.ddt().revoked, usize::from(is_revoked), "{by} {age:?}");
        assert_eq!(says(&mut world, "node-new"), 1, "{by}: the other key counts");
    }
}

#[test]
fn without_trust_anchors_nobody_hears_of_keys() {
    let mut world = tree(&["node"], &["node-new"], &["server"]);
    *world.bench(NODE1) = at(NODE1, second(&["node-new"], &["node"]));
    *world.bench(MR) = at(MR, resolver(&[ROOT]));
    assert_eq!(world.ask(1, host(EID)).len(), 1, "and the revocation is taken for no answer");
    assert_eq!(world.asked(), [ROOT, NODE1, MS1]);
    assert_eq!(world.ask(2, host("2001:db8:200::1")).len(), 1);
    assert_eq!(world.bench(MR).engine.ddt().revoked, 0);
}

/// A key that is for this prefix alone.
fn only_for(name: &str, text: &str) -> Arc<SigningKey> {
    Arc::new(Arc::into_inner(private(name)).unwrap().with_prefixes(vec![prefix(text)]))
}

/// A node with a key of its own for each of two prefixes, and none for a third one.
fn of_three() -> Config {
    let delegations = vec![
        to("2001:db8:100::/40", Kind::MapServer, MS1, &["server"]),
        to("2001:db9:100::/40", Kind::MapServer, MS1, &["server"]),
        to("2001:dba:100::/40", Kind::MapServer, MS1, &[]),
    ];
    let mut config = node(&["2001:db8::/32", "2001:db9::/32", "2001:dba::/32"], delegations);
    config.ddt.signing.keys = vec![only_for("node", "2001:db8::/32"), only_for("node-new", "2001:db9::/32")];
    config.ddt.signing.revoked = vec![only_for("stranger", "2001:db9::/32")];
    config
}

#[test]
fn a_key_signs_what_it_is_for_and_is_revoked_for_that_alone() {
    let mut bench = at(NODE1, of_three());
    let cases =
        [("2001:db8:103::1", Some("node"), 0), ("2001:db9:103::1", Some("node-new"), 1), ("2001:dba:103::1", None, 0)];
    for (eid, by, revocations) in cases {
        let (message, bytes) = said(&mut bench, eid);
        let [referral, others @ ..] = &message.records[..] else { panic!("{message:?}") };
        assert_eq!((others.len(), others.iter().filter_map(revoked).count()), (revocations, revocations), "{eid}");
        assert_eq!(referral.signatures.len(), usize::from(by.is_some()), "{eid}");
        for name in ["node", "node-new"] {
            assert_eq!(holds(&message, &bytes, 0, public(name), &bench), by == Some(name), "{eid}, {name}");
        }
        // Of whom it refers to no keys are named that nothing vouches for.
        let names_keys = matches!(referral.locators[0].rloc, Address::Lcaf(_));
        assert_eq!(names_keys, by.is_some(), "{eid}");
    }
}

#[test]
fn a_key_for_what_was_not_delegated_and_too_many_for_one_prefix_are_named() {
    let error = |config: Config| match Engine::new(now(), config, Memory::default()) {
        Err(ConfigError::Ddt(error)) => error,
        other => panic!("{:?}", other.map(drop)),
    };
    let with = |more: Vec<Arc<SigningKey>>| {
        let mut config = of_three();
        config.ddt.signing.keys.extend(more);
        config
    };
    let strange = with(vec![only_for("root", "2001:db8:100::/40")]);
    assert_eq!(error(strange), DdtError::KeyPrefix { tag: 1, prefix: prefix("2001:db8:100::/40") });
    let three = || ["root", "server", "long"].map(|name| only_for(name, "2001:db8::/32")).to_vec();
    assert_eq!(error(with(three())), DdtError::TooManySigningKeys(4));
    // Five that never sign together are not too many.
    let five = with([three()[..2].to_vec(), vec![only_for("long", "2001:db9::/32")]].concat());
    assert!(Engine::new(now(), five, Memory::default()).is_ok());
    // Where one signs, whoever is referred to needs keys.
    let unnamed = with(vec![only_for("root", "2001:dba::/32")]);
    assert!(matches!(error(unnamed), DdtError::Keys { count: 0, .. }));
}

fn now() -> Now {
    Now { monotonic: Instant::now(), wall: SystemTime::now() }
}

#[test]
fn what_cannot_be_revoked_is_named() {
    let now = now();
    let error = |config: Config| match Engine::new(now, config, Memory::default()) {
        Err(ConfigError::Ddt(error)) => error,
        other => panic!("{:?}", other.map(drop)),
    };
    assert_eq!(error(second(&["node", "node-new"], &["node"])), DdtError::RevokedKeySigns(2));
    let four = ["root", "server", "stranger", "node-new"];
    assert_eq!(error(second(&["node"], &four)), DdtError::TooManyRevokedKeys(4));
    let delegation = || to("2001:db8:100::/40", Kind::MapServer, MS1, &["server"]);
    let alone = || revoking(with(node(&[], vec![delegation()]), &["node-new"]), &["node"]);
    assert_eq!(error(alone()), DdtError::RevokedKeyUntold);
    let sites = vec![site("a", 1, "secret", &[prefix("2001:db8:103::/48")])];
    assert!(Engine::new(now, Config { sites, ..alone() }, Memory::default()).is_ok(), "it is said of the site");
}
