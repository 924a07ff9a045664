// SPDX-License-Identifier: GPL-2.0-or-later
//! Signed Map-Referrals, and a Map-Resolver with trust anchors (RFC 8111, section 10).

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mapsys::ddt::keys::{self, KeyError, SigningKey, VerifyingKey};
use mapsys::ddt::signer::Signing;
use mapsys::ddt::{Config as Ddt, Delegation, Kind};
use mapsys::engine::{Config, Output, Reconfiguration};
use mapsys::refusal::Refusal;
use wire::address::{Address, Lcaf};
use wire::control::{MapReferral, Nonce, Referral, ReferralAction, ReferralSignature, SignatureTime};

use super::world::*;
use crate::common::*;

pub(crate) const EID: &str = "2001:db8:103::1";
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("../../data/ddt/", $name, ".pem"))
    };
}

/// Keys that openssl made.
pub(crate) fn private(name: &str) -> Arc<SigningKey> {
    let (pem, tag) = match name {
        "root" => (pem!("root"), 1),
        "node" => (pem!("node"), 2),
        "node-new" => (pem!("node-new"), 3),
        "server" => (pem!("server"), 4),
        // Of 4,096 bits.
        "long" => (pem!("long"), 5),
        "long-new" => (pem!("long-new"), 6),
        _ => (pem!("stranger"), 2),
    };
    Arc::new(SigningKey::from_pem(pem, tag).unwrap())
}

pub(crate) fn public(name: &str) -> VerifyingKey {
    private(name).public().clone()
}

fn signing(names: &[&str]) -> Signing {
    Signing { keys: names.iter().map(|name| private(name)).collect(), life: WEEK, ..Signing::default() }
}

pub(crate) fn to(text: &str, kind: Kind, server: &str, keys: &[&str]) -> Delegation {
    let mut delegation = delegation(text, kind, &[server]);
    delegation.servers[0].keys = keys.iter().map(|name| public(name)).collect();
    delegation
}

pub(crate) fn with(config: Config, names: &[&str]) -> Config {
    Config { ddt: Ddt { signing: signing(names), ..config.ddt }, ..config }
}

pub(crate) fn anchored() -> Config {
    let config = resolver(&[ROOT]);
    Config { ddt: Ddt { anchors: vec![public("root")], ..config.ddt }, ..config }
}

/// Root, node and Map-Server that sign with these keys; the root names `named` as those of the node.
pub(crate) fn tree(named: &[&str], node_keys: &[&str], server_keys: &[&str]) -> World {
    let root = node(&["::/0"], vec![to("2001:db8::/32", Kind::Node, NODE1, named)]);
    let second = node(&["2001:db8::/32"], vec![to("2001:db8:100::/40", Kind::MapServer, MS1, &["server"])]);
    let mut world = World::new(vec![
        (ROOT, with(root, &["root"])),
        (NODE1, with(second, node_keys)),
        (MS1, with(map_server("2001:db8:100::/40", &["2001:db8:103::/48"]), server_keys)),
        (MR, anchored()),
    ]);
    world.register(MS1, "2001:db8:103::/48", "203.0.113.1", false);
    world.log.clear();
    world
}

pub(crate) fn refused(world: &mut World, refusal: Refusal) -> u64 {
    world.bench(MR).engine.tally().get(refusal)
}

#[test]
fn a_chain_of_keys_leads_from_the_trust_anchor_to_the_map_server() {
    let mut world = tree(&["node"], &["node"], &["server"]);
    let came = world.ask(1, host(EID));
    assert_eq!(came.iter().map(|carried| carried.to.ip().to_string()).collect::<Vec<_>>(), ["203.0.113.1"]);
    assert_eq!(world.asked(), [ROOT, NODE1, MS1]);
    assert_eq!(world.bench(MR).engine.tally().total(), 0);
    assert_eq!(world.bench(MR).engine.ddt().searches, 0, "the signed MS-ACK has ended it");
    // From the cache, whose keys are still known.
    world.ask(2, host("2001:db8:103::2"));
    assert_eq!(world.asked(), [MS1]);
    assert_eq!(world.bench(MR).engine.ddt().searches, 0);
}

#[test]
fn a_root_that_is_the_map_server_itself_vouches_for_what_it_acknowledges() {
    let root = with(map_server("::/0", &["2001:db8:103::/48"]), &["root"]);
    let mut world = World::new(vec![(ROOT, root), (MR, anchored())]);
    world.register(ROOT, "2001:db8:103::/48", "203.0.113.1", false);
    world.log.clear();
    for n in 1..=4u16 {
        world.ask(n.into(), host(&format!("2001:db8:103::{n:x}")));
        world.pass(Duration::from_secs(30));
        assert_eq!(world.bench(MR).engine.tally().total(), 0, "{n}");
        assert_eq!(world.bench(MR).engine.ddt().searches, 0, "{n}");
        // Asked first, and sent the request of the ITR; then from the cache.
        assert_eq!(world.asked().len(), if n == 1 { 2 } else { 1 }, "{n}");
    }
}

#[test]
fn while_a_key_changes_either_is_enough() {
    for (named, signs) in [(vec!["node", "node-new"], vec!["node"]), (vec!["node"], vec!["node-new", "node"])] {
        let mut world = tree(&named, &signs, &["server"]);
        assert_eq!(world.ask(1, host(EID)).len(), 1, "{named:?} {signs:?}");
        assert_eq!(world.bench(MR).engine.tally().total(), 0, "{named:?} {signs:?}");
    }
}

#[test]
fn a_node_that_signs_with_another_key_or_not_at_all_leads_nowhere() {
    for (keys, refusal) in [(&["stranger"][..], Refusal::ReferralBadSignature), (&[], Refusal::ReferralUnsigned)] {
        let mut world = tree(&["node"], keys, &["server"]);
        assert!(world.ask(1, host(EID)).is_empty());
        world.pass(Duration::from_secs(30));
        assert!(!world.asked().contains(&MS1.to_owned()), "{refusal:?}");
        assert!(refused(&mut world, refusal) >= 1, "{refusal:?}");
        assert_eq!(world.bench(MR).engine.ddt().searches, 0, "it ends");
        assert!(world.outside.is_empty(), "nobody is told anything");
    }
}

#[test]
fn a_map_server_that_does_not_sign_its_denial_denies_nothing() {
    let mut world = tree(&["node"], &["node"], &[]);
    world.ask(1, host("2001:db8:1ff::1"));
    world.pass(Duration::from_secs(30));
    assert!(refused(&mut world, Refusal::ReferralUnsigned) >= 1);
    assert!(world.outside.is_empty());
}

#[test]
fn without_trust_anchors_a_signed_tree_is_as_any_other() {
    let mut world = tree(&["node"], &["stranger"], &[]);
    *world.bench(MR) = Bench::new(Config { sockets: vec![address(&format!("{MR}:4342"))], ..resolver(&[ROOT]) });
    assert_eq!(world.ask(1, host(EID)).len(), 1);
}

/// A Map-Resolver with trust anchors, whose root the test plays: what it does with the answer.
fn played(change: impl FnOnce(&mut Referral, &mut Bench)) -> (Vec<Output>, Bench) {
    let mut bench = Bench::new(anchored());
    let outputs = bench.datagram(ITR, &ecm(&request(1, &[host(EID)], &[RLOC])));
    let nonce = outputs.iter().find_map(|output| match output {
        Output::Send { bytes, .. } => Some(inside(bytes).nonce),
        _ => None,
    });
    let mut message = signed(&bench, nonce.unwrap());
    change(&mut message.records[0], &mut bench);
    let bytes = message.encode().unwrap();
    (bench.datagram(&format!("{ROOT}:4342"), &bytes), bench)
}

fn signed(bench: &Bench, nonce: Nonce) -> MapReferral {
    let mut message = answer(nonce, ReferralAction::NodeReferral, "2001:db8::/32", 1440, &[NODE1]);
    let address: Address = message.records[0].locators[0].rloc.clone();
    let keys = vec![public("node").material().to_vec()];
    let algorithm = ReferralSignature::RSA_SHA256;
    message.records[0].locators[0].rloc = Lcaf::SecurityKey { algorithm, revoked: false, keys, address }.into();
    let record = message.records.remove(0);
    message.records.push(keys::sign(record, &[private("root")], bench.now.wall, WEEK).unwrap());
    message
}

#[test]
fn a_referral_counts_as_it_was_signed_and_while_its_signature_holds() {
    let (followed, bench) = played(|_, _| {});
    assert_eq!((followed.len(), bench.engine.tally().total()), (1, 0));
    let (followed, _) = played(|record, _| record.ttl = wire::record::Ttl(5));
    assert_eq!(followed.len(), 1, "the TTL may be lower on its way");

    type Change = fn(&mut Referral, &mut Bench);
    let cases: [(Change, Refusal); 7] = [
        (|record, _| record.locators[0].priority += 1, Refusal::ReferralBadSignature),
        (|record, _| record.signatures[0].octets[7] ^= 1, Refusal::ReferralBadSignature),
        (|record, _| record.signatures[0].expiration.0 += 1, Refusal::ReferralBadSignature),
        (|record, _| record.signatures[0].algorithm = ReferralSignature::RSA_SHA1, Refusal::ReferralUnsigned),
        (|record, _| record.signatures.clear(), Refusal::ReferralUnsigned),
        (|_, bench| bench.now.wall += WEEK + Duration::from_secs(2), Refusal::ReferralSignatureUntimely),
        (|_, bench| bench.now.wall -= Duration::from_secs(400), Refusal::ReferralSignatureUntimely),
    ];
    for (index, (change, refusal)) in cases.into_iter().enumerate() {
        let (followed, bench) = played(change);
        assert!(followed.is_empty(), "{index}: {followed:?}");
        assert_eq!(bench.engine.tally().get(refusal), 1, "{index}");
        assert_eq!((bench.engine.ddt().cached, bench.engine.ddt().searches), (0, 1), "{index}: it waits for better");
    }
}

#[test]
fn a_denial_is_kept_no_longer_than_its_signature_holds() {
    for (action, life, kept) in [
        (ReferralAction::DelegationHole, WEEK, true),
        (ReferralAction::DelegationHole, Duration::from_secs(125), false),
        (ReferralAction::MsNotRegistered, WEEK, true),
        (ReferralAction::MsNotRegistered, Duration::from_secs(30), false),
    ] {
        let (_, mut bench) = played(|record, bench| {
            let denial = answer(Nonce(1), action, "2001:db8::/32", 15, &[]).records.remove(0);
            *record = keys::sign(denial, &[private("root")], bench.now.wall, life).unwrap();
        });
        bench.now.monotonic +=
            if action == ReferralAction::DelegationHole { Duration::from_secs(125) } else { Duration::from_secs(31) };
        bench.now.wall += Duration::from_secs(125);
        bench.datagram(ITR, &ecm(&request(2, &[host("2001:db8:103::2")], &[RLOC])));
        assert_eq!(bench.engine.ddt().searches == 0, kept, "{action:?} {life:?}");
    }
}

#[test]
fn a_signed_referral_without_keys_or_with_revoked_ones_is_not_followed() {
    for is_revoked in [false, true] {
        let (followed, bench) = played(|record, bench| {
            let address: Address = NODE1.parse::<std::net::IpAddr>().unwrap().into();
            let keys = vec![public("node").material().to_vec()];
            let algorithm = ReferralSignature::RSA_SHA256;
            let revoked = Lcaf::SecurityKey { algorithm, revoked: true, keys, address: address.clone() };
            record.locators[0].rloc = if is_revoked { revoked.into() } else { address };
            *record = keys::sign(record.clone(), &[private("root")], bench.now.wall, WEEK).unwrap();
        });
        assert!(followed.is_empty(), "{is_revoked}");
        assert_eq!(bench.engine.tally().get(Refusal::ReferralNoKeys), 1, "{is_revoked}");
    }
}

#[test]
fn a_key_has_no_say_outside_of_what_its_node_was_delegated() {
    let mut world = tree(&["node"], &["node"], &["server"]);
    world.loses = Box::new(|carried| carried.to.ip().to_string() == NODE1);
    world.ask(1, host(EID));
    let asked = world.log.iter().rev().find(|carried| carried.to.ip().to_string() == NODE1).unwrap();
    let nonce = inside(&asked.bytes).nonce;
    let wall = world.now.wall;
    let wider = answer(nonce, ReferralAction::DelegationHole, "2001::/16", 15, &[]).records.remove(0);
    let record = keys::sign(wider, &[private("node")], wall, WEEK).unwrap();
    let bytes = MapReferral { nonce, records: vec![record] }.encode().unwrap();
    world.send(&format!("{NODE1}:4342"), MR, &bytes);
    assert_eq!(refused(&mut world, Refusal::ReferralBadSignature), 1);
    assert!(world.outside.is_empty(), "nothing is denied");
}

/// A Map-Resolver that has its ITR among the clients and has the site in its cache; what goes to the Map-Server is lost.
fn deaf() -> World {
    let mut world = tree(&["node"], &["node"], &["server"]);
    let (sockets, clients) = (vec![address(&format!("{MR}:4342"))], vec!["198.51.100.0/24".parse().unwrap()]);
    *world.bench(MR) = Bench::new(Config { sockets, clients, ..anchored() });
    world.ask(1, host(EID));
    world.log.clear();
    world.loses = Box::new(|carried| carried.to.ip().to_string() == MS1);
    world
}

#[test]
fn an_itr_has_few_eids_wait_with_one_nonce() {
    let mut world = deaf();
    for n in 0..40u16 {
        world.ask(7, host(&format!("2001:db8:103::1:{n:x}")));
    }
    assert_eq!(world.bench(MR).engine.ddt().searches, 16);
    assert_eq!(world.bench(MR).only_refused(Refusal::RequestTableFull), 24);
}

#[test]
fn what_an_itr_may_have_made_up_is_verified_so_often_and_no_more() {
    let mut world = deaf();
    for n in 0..320u16 {
        world.ask((n / 16).into(), host(&format!("2001:db8:103::1:{n:x}")));
    }
    let says = |world: &mut World, nonce: u64| {
        let told = answer(Nonce(nonce), ReferralAction::MsAck, "2001:db8:103::/48", 1440, &[MS1]);
        world.send(&format!("{MS1}:4342"), MR, &told.encode().unwrap());
        (refused(world, Refusal::ReferralUnsigned), refused(world, Refusal::ReceiptBudget))
    };
    // Of 16 EIDs each, and each counts once.
    for nonce in 0..19 {
        says(&mut world, nonce);
    }
    assert_eq!(says(&mut world, 19), (12, 8), "200 of 320");
    world.now.monotonic += Duration::from_secs(1);
    assert_eq!(says(&mut world, 19), (13, 8));
}

#[test]
fn an_answer_that_an_itr_may_have_made_up_makes_the_client_ask_and_forget_nothing() {
    let mut world = deaf();
    let cached = world.bench(MR).engine.ddt().cached;
    world.ask(2, host("2001:db8:103::2"));
    assert_eq!(world.asked(), [MS1]);
    let told = answer(Nonce(2), ReferralAction::MsNotRegistered, "2001:db8:103::/48", 1, &[MS1]);
    world.send(&format!("{MS1}:4342"), MR, &told.encode().unwrap());
    assert_eq!(world.bench(MR).only_refused(Refusal::ReferralUnsigned), 1);
    let probe = world.log.iter().rev().find(|carried| carried.to.ip().to_string() == MS1).unwrap().clone();
    assert_ne!(inside(&probe.bytes).nonce, Nonce(2), "in its own name");
    world.loses = Box::new(|_| false);
    world.pass(Duration::from_secs(1));
    assert!(world.asked().iter().all(|asked| asked == MS1), "neither the root nor the node");
    assert_eq!(
        (world.bench(MR).engine.ddt().cached, world.bench(MR).engine.ddt().searches),
        (cached + 1, 0),
        "the site, too"
    );
}

#[test]
fn behind_an_answer_that_does_not_verify_a_sibling_is_asked_before_the_cache_is_forgotten() {
    // The first of two nodes has another key than it had; the second has not, or has one as well.
    for sibling in [&["node"][..], &["stranger"]] {
        let mut both = to("2001:db8::/32", Kind::Node, NODE1, &["node"]);
        both.servers.extend(to("2001:db8::/32", Kind::Node, NODE3, &["node"]).servers);
        both.servers[1].priority = 2;
        let second = || node(&["2001:db8::/32"], vec![to("2001:db8:100::/40", Kind::MapServer, MS1, &["server"])]);
        let mut world = World::new(vec![
            (ROOT, with(node(&["::/0"], vec![both]), &["root"])),
            (NODE1, with(second(), &["node"])),
            (NODE3, with(second(), sibling)),
            (MS1, with(map_server("2001:db8:100::/40", &["2001:db8:103::/48"]), &["server"])),
            (MR, anchored()),
        ]);
        world.register(MS1, "2001:db8:103::/48", "203.0.113.1", false);
        world.loses = Box::new(|carried| carried.to.ip().to_string() == MS1);
        // The cache knows both then, and not the Map-Server.
        world.ask(1, host("2001:db8:200::1"));
        world.pass(Duration::from_secs(30));
        world.loses = Box::new(|_| false);
        let config = Config { sockets: vec![address(&format!("{NODE1}:4342"))], ..with(second(), &["stranger"]) };
        *world.bench(NODE1) = Bench::new(config);
        world.log.clear();
        world.ask(2, host(EID));
        world.pass(Duration::from_secs(3));
        let asked = world.asked();
        if sibling == ["node"] {
            assert_eq!(asked, [NODE1, NODE3, MS1]);
            assert_eq!(world.outside.len(), 1, "its ETR has the request");
        } else {
            assert_eq!(asked[..3], [NODE1, NODE3, ROOT], "then the root is");
        }
    }
}

#[test]
fn a_record_is_signed_once_and_again_when_half_of_its_time_is_gone() {
    let root = with(node(&["::/0"], vec![to("2001:db8::/32", Kind::Node, NODE1, &["node"])]), &["root"]);
    let mut bench = Bench::new(root);
    let ask = |bench: &mut Bench| {
        let question = ddt(&request(9, &[host(EID)], &[RLOC]));
        referral(&bench.datagram(&format!("{MR}:4342"), &question)).1
    };
    let first = ask(&mut bench);
    let [signature] = &first.signatures[..] else { panic!("{first:?}") };
    assert_eq!((signature.algorithm, signature.key_tag), (ReferralSignature::RSA_SHA256, 1));
    assert_eq!((signature.original_ttl, signature.octets.len()), (first.ttl, 256));
    assert_eq!(signature.expiration, SignatureTime::of(bench.now.wall + WEEK));
    let Address::Lcaf(lcaf) = &first.locators[0].rloc else { panic!("{first:?}") };
    let Lcaf::SecurityKey { keys, .. } = lcaf.as_ref() else { panic!("{lcaf:?}") };
    assert_eq!(keys[..], [public("node").material().to_vec()], "the keys of the child (section 10.1)");
    for (hours, same) in [(24, true), (80, false)] {
        bench.now.wall += Duration::from_secs(hours * 3600);
        bench.now.monotonic += Duration::from_secs(hours * 3600);
        assert_eq!(ask(&mut bench).signatures == first.signatures, same, "{hours}");
    }
}

#[test]
fn however_many_prefixes_are_asked_for_a_node_signs_what_it_has_a_say_in() {
    let config =
        with(node(&["2001:db8::/32"], vec![to("2001:db8:100::/40", Kind::MapServer, MS1, &["server"])]), &["node"]);
    let mut bench = Bench::new(config);
    let ask = |bench: &mut Bench, n: u16, text: &str| {
        let question = ddt(&request(n.into(), &[host(text)], &[RLOC]));
        bench.datagram(&format!("198.51.100.{}:4342", n % 250), &question)
    };
    for n in 0..500 {
        let (_, elsewhere) = referral(&ask(&mut bench, n, &format!("2001:db9:{n:x}::1")));
        assert_eq!((elsewhere.action, elsewhere.signatures.len()), (ReferralAction::NotAuthoritative, 0));
    }
    // None of them took anything from what is left for this.
    let (_, ours) = referral(&ask(&mut bench, 1, EID));
    assert_eq!((ours.action, ours.signatures.len()), (ReferralAction::MsReferral, 1));
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn new_signatures_have_a_budget_of_which_delegations_have_their_own() {
    let mut delegations: Vec<_> =
        (0..80).map(|n| to(&format!("2001:db8:{n:x}::/48"), Kind::Node, NODE1, &["node"])).collect();
    delegations.push(to("2001:db8:8000::/34", Kind::Node, NODE1, &["node"]));
    // Between two delegations there is a hole each.
    delegations.extend((0..80).map(|n| to(&format!("2001:db9:{:x}::/48", 2 * n), Kind::Node, NODE1, &["node"])));
    let mut bench = Bench::new(Config {
        clients: vec!["0.0.0.0/0".parse().unwrap()],
        ..with(node(&["::/0"], delegations), &["root"])
    });
    let answered = |bench: &mut Bench, texts: Vec<String>| {
        let questions = texts.iter().map(|text| ddt(&request(9, &[host(text)], &[RLOC])));
        questions.filter(|question| !bench.datagram(&format!("{MR}:4342"), question).is_empty()).count()
    };
    let holes = |n: u32| (0..n).map(|n| format!("2001:db9:{:x}::1", 2 * n + 1)).collect::<Vec<_>>();
    assert_eq!(answered(&mut bench, holes(70)), 64, "of a client, too");
    assert_eq!(bench.engine.tally().get(Refusal::SigningBudget), 6);
    let configured = |n: u32| (0..n).map(|n| format!("2001:db8:{n:x}::1")).collect::<Vec<_>>();
    assert_eq!(answered(&mut bench, configured(60)), 60, "they have a budget of their own");
    bench.now.monotonic += Duration::from_secs(1);
    assert_eq!(answered(&mut bench, holes(70)), 70, "the first are signed already");
}

#[test]
fn what_the_limits_of_replies_refuse_is_not_signed() {
    let mut bench = Bench::new(with(map_server("2001:db8:100::/40", &["2001:db8:103::/48"]), &["server"]));
    let question = ddt(&request(9, &[host("2001:db8:1ff::1")], &[RLOC]));
    let sent = (0..300).filter(|_| !bench.datagram(&format!("{MR}:4342"), &question).is_empty()).count();
    assert_eq!((sent, bench.engine.tally().get(Refusal::ReplyRate)), (4, 296));
    // Had they been counted as octets of signatures, the next would be refused.
    let other = ddt(&request(9, &[host("2001:db8:103::1")], &[RLOC]));
    assert_eq!(referral(&bench.datagram(&format!("{MR}:4342"), &other)).1.signatures.len(), 1);
}

#[test]
fn signatures_survive_a_reload_with_the_same_keys() {
    let root = |names: &[&str]| with(node(&["::/0"], vec![to("2001:db8::/32", Kind::Node, NODE1, &["node"])]), names);
    for (names, same) in [(&["root"][..], true), (&["root", "node"], false)] {
        let mut bench = Bench::new(root(&["root"]));
        let ask = |bench: &mut Bench| {
            let question = ddt(&request(9, &[host(EID)], &[RLOC]));
            referral(&bench.datagram(&format!("{MR}:4342"), &question)).1.signatures
        };
        let first = ask(&mut bench);
        let Config { sites, trust_anchors, clients, foreign, subscribers, pubsub, ddt, lisp_sec, .. } = root(names);
        let newer = Reconfiguration { sites, trust_anchors, clients, foreign, subscribers, pubsub, ddt, lisp_sec };
        bench.now.wall += Duration::from_secs(10);
        bench.engine.reconfigure(bench.now, newer).unwrap();
        assert_eq!(ask(&mut bench) == first, same, "{names:?}");
    }
}

#[test]
fn openssl_verifies_what_a_node_signs() {
    let folder = tempfile::tempdir().unwrap();
    let record = answer(Nonce(1), ReferralAction::DelegationHole, "2001:db8::/32", 15, &[]).records.remove(0);
    let signed = keys::sign(record, &[private("root")], std::time::SystemTime::now(), WEEK).unwrap();
    let covered = signed.covered(&signed.encode().unwrap(), &signed.signatures[0]);
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("record"), &covered).unwrap();
    std::fs::write(at("signature"), &signed.signatures[0].octets).unwrap();
    std::fs::write(at("key"), pem!("root.pub")).unwrap();
    let output = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(at("key"))
        .arg("-signature")
        .args([at("signature"), at("record")])
        .output()
        .expect("openssl is there");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_wrong_key_file_is_named_for_what_it_is() {
    assert_eq!(VerifyingKey::from_pem(pem!("root.pub")).unwrap(), public("root"));
    let told = |error: KeyError| error.to_string();
    let private_there = told(VerifyingKey::from_pem(pem!("root")).unwrap_err());
    assert!(private_there.contains("\"PRIVATE KEY\"") && private_there.contains("pubout"), "{private_there}");
    let public_there = told(SigningKey::from_pem(pem!("root.pub"), 1).unwrap_err());
    assert!(public_there.contains("public half"), "{public_there}");
    assert_eq!(SigningKey::from_pem("no key", 1).unwrap_err(), KeyError::NotPem);
    let other = pem!("root").replace("MII", "MIA");
    assert!(matches!(SigningKey::from_pem(&other, 1), Err(KeyError::NotRsa | KeyError::NotPem)));
}
