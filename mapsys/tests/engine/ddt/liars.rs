// SPDX-License-Identifier: GPL-2.0-or-later
//! DDT nodes that lie, loop, or say too much; and others who pretend to be them.

use std::net::IpAddr;
use std::time::Duration;

use mapsys::engine::Output;
use mapsys::refusal::Refusal;
use wire::control::{MapReferral, Nonce, ReferralAction, ReferralSignature, SignatureTime};
use wire::record::Ttl;

use super::world::*;
use crate::common::*;

const EID: &str = "2001:db8:103::1";

/// A Map-Resolver alone, whose nodes the test plays.
struct Played {
    bench: Bench,
}

/// What the Map-Resolver asked: whom, and with which nonce.
type Question = (String, Nonce);

impl Played {
    fn new(roots: &[&str]) -> (Self, Vec<Question>) {
        let mut bench = Bench::new(resolver(roots));
        let outputs = bench.datagram(ITR, &ecm(&request(1, &[host(EID)], &[RLOC])));
        (Self { bench }, questions(&outputs))
    }

    fn says(&mut self, from: &str, message: &MapReferral) -> Vec<Question> {
        questions(&self.bench.datagram(&format!("{from}:4342"), &message.encode().unwrap()))
    }

    fn searches(&self) -> usize {
        self.bench.engine.ddt().searches
    }

    fn cached(&self) -> usize {
        self.bench.engine.ddt().cached
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.bench.engine.tally().get(refusal)
    }
}

fn questions(outputs: &[Output]) -> Vec<Question> {
    let sends = outputs.iter().filter_map(|output| match output {
        Output::Send { remote, bytes, .. } if remote.ip() != RLOC.parse::<IpAddr>().unwrap() => Some((remote, bytes)),
        _ => None,
    });
    sends.map(|(remote, bytes)| (remote.ip().to_string(), inside(bytes).nonce)).collect()
}

/// The only question.
fn one(questions: &[Question]) -> Question {
    let [question] = questions else { panic!("{questions:?}") };
    question.clone()
}

const NODE: ReferralAction = ReferralAction::NodeReferral;

#[test]
fn a_referral_to_the_same_or_a_less_specific_prefix_is_a_loop() {
    for second in ["2001:db8::/32", "2001::/16", "2001:db9::/32"] {
        let (mut played, asked) = Played::new(&[ROOT]);
        let (_, nonce) = one(&asked);
        let (to, nonce) = one(&played.says(ROOT, &answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1])));
        assert_eq!(to, NODE1);
        let after = played.says(NODE1, &answer(nonce, NODE, second, 1440, &[ROOT]));
        assert_eq!(after, [], "{second}: it has been at the root");
        let expected = if second == "2001:db9::/32" { Refusal::ReferralAstray } else { Refusal::ReferralLoop };
        assert_eq!(played.refused(expected), 1, "{second}");
        assert_eq!(played.cached(), 1, "{second}: what made the loop is not kept");
    }
}

#[test]
fn what_is_reserved_in_a_signature_changes_nothing() {
    let signature = ReferralSignature {
        original_ttl: Ttl(0),
        expiration: SignatureTime(0),
        inception: SignatureTime(0),
        key_tag: 0,
        algorithm: ReferralSignature::RSA_SHA1,
        octets: b"sign".to_vec(),
    };
    let followed = [0, 0xff].map(|reserved| {
        let (mut played, asked) = Played::new(&[ROOT]);
        let (_, nonce) = one(&asked);
        let mut referral = answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1]);
        referral.records[0].signatures = vec![signature.clone()];
        let mut bytes = referral.encode().unwrap();
        // Behind the algorithm, before the signature of four octets.
        let end = bytes.len();
        bytes[end - 7..end - 4].fill(reserved);
        let (to, _) = one(&questions(&played.bench.datagram(&format!("{ROOT}:4342"), &bytes)));
        (to, played.cached(), played.bench.engine.tally().total())
    });
    assert_eq!(followed, [(); 2].map(|()| (NODE1.to_owned(), 1, 0)));
}

#[test]
fn a_loop_between_two_nodes_ends() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let (_, nonce) = one(&played.says(ROOT, &answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1])));
    let (_, nonce) = one(&played.says(NODE1, &answer(nonce, NODE, "2001:db8:100::/40", 1440, &[NODE3])));
    assert_eq!(played.says(NODE3, &answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1])), []);
    assert_eq!(played.searches(), 0);
    assert_eq!(played.bench.only_refused(Refusal::ReferralLoop), 1);
}

#[test]
fn a_chain_of_ever_more_specific_referrals_ends_at_its_bound() {
    let (mut played, mut asked) = Played::new(&[ROOT]);
    let eid: IpAddr = EID.parse().unwrap();
    let (mut from, mut steps) = (ROOT.to_owned(), 0);
    for length in 1..=128 {
        let Some((to, nonce)) = asked.first().cloned() else { break };
        assert_eq!(to, from);
        steps += 1;
        let text = ipnet::IpNet::new(eid, length).unwrap().trunc().to_string();
        from = format!("192.0.2.{}", 10 + length % 2);
        asked = played.says(&to, &answer(nonce, NODE, &text, 1440, &[&from]));
    }
    assert_eq!(steps, 33);
    assert_eq!(played.refused(Refusal::ReferralTooDeep), 1);
    assert_eq!(played.searches(), 0);
}

#[test]
fn a_node_that_refers_to_itself_or_to_the_resolver_or_nowhere_is_not_followed() {
    for servers in [&[SELF][..], &["224.0.0.1"], &["127.0.0.1"], &["0.0.0.0"], &[]] {
        let (mut played, asked) = Played::new(&[ROOT]);
        let (_, nonce) = one(&asked);
        assert_eq!(played.says(ROOT, &answer(nonce, NODE, "2001:db8::/32", 1440, servers)), [], "{servers:?}");
        assert_eq!(played.bench.only_refused(Refusal::ReferralAstray), 1, "{servers:?}");
        assert_eq!((played.searches(), played.cached()), (0, 0));
    }
}

/// The Map-Resolver of these tests.
const SELF: &str = "192.0.2.53";

#[test]
fn of_a_huge_set_eight_are_asked() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let many: Vec<String> = (0..250).map(|n| format!("203.0.113.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut asked = played.says(ROOT, &answer(nonce, NODE, "2001:db8::/32", 1440, &many));
    asked.extend(questions(&played.bench.pass(Duration::from_secs(60))));
    let whom: std::collections::BTreeSet<_> = asked.iter().map(|(to, _)| to.clone()).collect();
    assert_eq!(whom.len(), 8, "{whom:?}");
    assert!(asked.len() <= 24 && played.searches() == 0);
}

#[test]
fn a_wrong_nonce_or_another_sender_changes_nothing() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let lie = |nonce| answer(nonce, NODE, "2001:db8::/32", 1440, &["203.0.113.66"]);
    assert_eq!(played.says(ROOT, &lie(Nonce(nonce.0 ^ 1))), []);
    assert_eq!(played.says("203.0.113.66", &lie(nonce)), []);
    assert_eq!(played.bench.only_refused(Refusal::ReferralUnasked), 2);
    assert_eq!((played.searches(), played.cached()), (1, 0));
    assert_eq!(one(&played.says(ROOT, &answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1]))).0, NODE1);
}

#[test]
fn a_referral_that_does_not_speak_of_the_eid_is_ignored_and_so_are_its_other_records() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let mut astray = answer(nonce, NODE, "2001:db9::/32", 1440, &["203.0.113.66"]);
    assert_eq!(played.says(ROOT, &astray), []);
    assert_eq!(played.bench.only_refused(Refusal::ReferralAstray), 1);
    astray.records.extend(answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1]).records);
    assert_eq!(one(&played.says(ROOT, &astray)).0, NODE1);
    assert_eq!(played.cached(), 1, "only what was asked for");
}

#[test]
fn the_itr_that_knows_the_nonce_of_its_request_can_forge_no_denial() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    assert_ne!(nonce, Nonce(1), "the root is asked in our own name");
    let ms = ReferralAction::MsReferral;
    let delivered = played.says(ROOT, &answer(nonce, ms, "2001:db8:100::/40", 1440, &[MS1]));
    assert_eq!(delivered, [(MS1.to_owned(), Nonce(1))], "the Map-Server gets what the ITR sent");
    for forged in [ReferralAction::DelegationHole, ReferralAction::MsNotRegistered, ReferralAction::NotAuthoritative] {
        let (mut played, asked) = Played::new(&[ROOT]);
        let (_, nonce) = one(&asked);
        played.says(ROOT, &answer(nonce, ms, "2001:db8:100::/40", 1440, &[MS1]));
        let (to, again) = one(&played.says(MS1, &answer(Nonce(1), forged, "2001:db8:100::/40", 15, &[])));
        assert_eq!(
            (to.as_str(), again == Nonce(1)),
            (MS1, false),
            "asked again with a nonce that the ITR does not know"
        );
        assert_eq!(played.cached(), 1, "nothing new is kept");
        let ack = answer(again, ReferralAction::MsAck, "2001:db8:103::/48", 1440, &[MS1]);
        assert_eq!(played.says(MS1, &ack), [(MS1.to_owned(), Nonce(1))], "and delivered again");
        let ack = answer(Nonce(1), ReferralAction::MsAck, "2001:db8:103::/48", 1440, &[MS1]);
        assert_eq!(played.says(MS1, &ack), []);
        assert_eq!(played.searches(), 0);
    }
}

#[test]
fn a_map_server_found_by_a_node_referral_gets_the_request_of_the_itr_after_its_ms_ack() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let ack = answer(nonce, ReferralAction::MsAck, "2001:db8:103::/48", 1440, &["203.0.113.1"]);
    assert_eq!(played.says(ROOT, &ack), [(ROOT.to_owned(), Nonce(1))], "not to the ETR that it names");
    assert_eq!(played.cached(), 1);
    played.says(ROOT, &MapReferral { nonce: Nonce(1), ..ack });
    let asked = played.bench.datagram(ITR, &ecm(&request(2, &[host("2001:db8:103::2")], &[RLOC])));
    assert_eq!(questions(&asked), [(ROOT.to_owned(), Nonce(2))], "straight to the Map-Server");
}

#[test]
fn a_map_server_that_answers_our_own_request_with_a_map_reply_gets_that_of_the_itr() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let reply = wire::control::MapReply {
        nonce,
        records: vec![record(prefix("2001:db8:103::/48"), &["203.0.113.1"])],
        ..wire::control::MapReply::default()
    };
    let outputs = played.bench.datagram("192.0.2.1:4342", &reply.encode().unwrap());
    assert_eq!(questions(&outputs), [(ROOT.to_owned(), Nonce(1))]);
    let outputs = played.bench.datagram("203.0.113.66:4342", &reply.encode().unwrap());
    assert_eq!(outputs, []);
    assert_eq!(played.bench.only_refused(Refusal::NotForMapSystem), 1);
}

#[test]
fn what_led_to_the_wrong_node_is_forgotten_and_the_root_asked_once() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let (_, nonce) = one(&played.says(ROOT, &answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1])));
    let hole = answer(nonce, ReferralAction::DelegationHole, "2001:db8:103::/48", 15, &[]);
    played.says(NODE1, &hole);
    assert_eq!(played.cached(), 2);
    let other = played.bench.datagram(ITR, &ecm(&request(2, &[host("2001:db8:104::1")], &[RLOC])));
    let (to, nonce) = one(&questions(&other));
    assert_eq!(to, NODE1, "from the cache");
    let wrong = |nonce| answer(nonce, ReferralAction::NotAuthoritative, "2001:db8:104::1/128", 0, &[]);
    let (to, nonce) = one(&played.says(NODE1, &wrong(nonce)));
    assert_eq!((to.as_str(), played.cached()), (ROOT, 1), "begun anew");
    assert_eq!(played.says(ROOT, &wrong(nonce)), []);
    assert_eq!(played.bench.only_refused(Refusal::ReferralNotAuthoritative), 2);
    assert_eq!(played.searches(), 0);
}

#[test]
fn a_hole_wider_than_what_its_sender_was_referred_to_for_is_refused() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let (_, nonce) = one(&played.says(ROOT, &answer(nonce, NODE, "2001:db8:100::/40", 1440, &[NODE1])));
    let wide = answer(nonce, ReferralAction::DelegationHole, "2001:db8::/32", 15, &[]);
    assert_eq!(played.bench.datagram("192.0.2.11:4342", &wide.encode().unwrap()), []);
    assert_eq!(played.bench.only_refused(Refusal::ReferralLoop), 1);
    assert_eq!(played.cached(), 1);
}

#[test]
fn an_incomplete_referral_is_followed_and_not_kept() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let mut incomplete = answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1]);
    incomplete.records[0].incomplete = true;
    let (to, nonce) = one(&played.says(ROOT, &incomplete));
    assert_eq!((to.as_str(), played.cached()), (NODE1, 0));
    let mut gone = answer(nonce, ReferralAction::MsNotRegistered, "2001:db8:103::/48", 1, &[]);
    gone.records[0].incomplete = true;
    let outputs = played.bench.datagram("192.0.2.11:4342", &gone.encode().unwrap());
    assert_eq!(reply(&outputs).1.records[0].ttl.0, 1);
    assert_eq!(played.cached(), 0);
}

#[test]
fn all_map_servers_are_asked_before_one_counts_as_not_registered() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let (first, _) =
        one(&played.says(ROOT, &answer(nonce, ReferralAction::MsReferral, "2001:db8:100::/40", 1440, &[MS1, MS2])));
    let gone = |nonce| answer(nonce, ReferralAction::MsNotRegistered, "2001:db8:103::/48", 1, &[]);
    let (same, nonce) = one(&played.says(&first, &gone(Nonce(1))));
    assert_eq!(first, same);
    let (second, nonce) = one(&played.says(&first, &gone(nonce)));
    assert!([(MS1, MS2), (MS2, MS1)].contains(&(first.as_str(), second.as_str())), "{first}, {second}");
    let outputs = played.bench.datagram(&format!("{second}:4342"), &gone(nonce).encode().unwrap());
    assert_eq!(reply(&outputs).1.records[0].ttl.0, 1);
    assert_eq!(played.bench.engine.tally().total(), 0);
}

#[test]
fn the_first_of_two_priorities_is_asked_first_and_255_never() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let mut set = answer(nonce, NODE, "2001:db8::/32", 1440, &["203.0.113.1", "203.0.113.2", "203.0.113.3"]);
    for (locator, priority) in set.records[0].locators.iter_mut().zip([255, 9, 2]) {
        locator.priority = priority;
    }
    let mut asked = played.says(ROOT, &set);
    asked.extend(questions(&played.bench.pass(Duration::from_secs(1))));
    let whom: Vec<_> = asked.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(whom, ["203.0.113.3", "203.0.113.2"]);
}

#[test]
fn among_servers_of_one_priority_each_is_asked_first_as_often_as_its_weight_says() {
    // Also out of the cache, where the second search begins.
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let mut set = answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1, "203.0.113.2", "203.0.113.3"]);
    for (locator, (priority, weight)) in set.records[0].locators.iter_mut().zip([(1, 90), (1, 10), (2, 100)]) {
        (locator.priority, locator.weight) = (priority, weight);
    }
    let mut first = vec![one(&played.says(ROOT, &set)).0];
    for n in 1..100 {
        let asked = ecm(&request(1000 + n, &[host(&format!("2001:db8:{n:x}::1"))], &[RLOC]));
        first.push(one(&questions(&played.bench.datagram(ITR, &asked))).0);
        // Less than they are waited for: when nobody answers, the set is forgotten.
        played.bench.pass(Duration::from_millis(100));
    }
    let count = |of: &str| first.iter().filter(|to| *to == of).count();
    let (heavy, light) = (count(NODE1), count("203.0.113.2"));
    assert!((80..98).contains(&heavy) && heavy + light == 100, "{first:?}");
}

#[test]
fn keys_that_come_with_a_locator_are_passed_over() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let mut set = answer(nonce, NODE, "2001:db8::/32", 1440, &[NODE1]);
    let address = set.records[0].locators[0].rloc.clone();
    set.records[0].locators[0].rloc =
        wire::address::Lcaf::SecurityKey { algorithm: 0, revoked: false, keys: vec![vec![1; 32]], address }.into();
    assert_eq!(one(&played.says(ROOT, &set)).0, NODE1);
}

#[test]
fn a_set_of_silent_servers_is_forgotten_though_not_each_has_had_its_rounds() {
    let (mut played, asked) = Played::new(&[ROOT]);
    let (_, nonce) = one(&asked);
    let silent = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"];
    played.says(ROOT, &answer(nonce, NODE, "2001:db8::/32", 1440, &silent));
    let mut asked = |nonce, eid: &str| {
        let outputs = played.bench.datagram(ITR, &ecm(&request(nonce, &[host(eid)], &[RLOC])));
        let (to, _) = one(&questions(&outputs));
        played.bench.pass(Duration::from_secs(60));
        (to, played.searches(), played.cached())
    };
    let (to, searches, cached) = asked(2, "2001:db8:104::1");
    assert!(silent.contains(&to.as_str()), "{to}");
    assert_eq!((searches, cached), (0, 0));
    assert_eq!(asked(3, "2001:db8:105::1").0, ROOT);
}
