// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303) as ITR and as ETR, against a map system that fits in this file, and whoever sits on the way to it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod double;
#[path = "../../program/tests/support/log.rs"]
mod log;

use std::collections::HashSet;
use std::net::SocketAddr;

use double::{Node, RESOLVER, RLOC, WithNegative, prefix, reply_to, secs};
use proptest::prelude::*;
use wire::address::{Eid, EidPrefix};
use wire::control::auth::{self, Algorithm, Secret, TagForm};
use wire::control::lispsec::{
    Asked, EcmAd, EidAd, HmacAlgorithm, HmacId, Kdf, KdfId, OneTimeKey, SecError, WrapId, WrappedOtk, seal_eid_ad,
    seal_reply, verify_reply,
};
use wire::control::{ControlMessage, Ecm, EidRequest, MapNotify, MapReply, MapRequest, Nonce, XtrIdentity};
use wire::record::{Action, LocatorRecord, MappingRecord, Ttl};
use xtr::engine::Input;
use xtr::limits;
use xtr::map_cache::{Event, Forwarding, Update};
use xtr::refusal::Refusal;
use xtr::resolve::{Demand, LispSec, Wrapping};
use xtr::subscribe::{self, Association};
use xtr::transport::{MapSystem, Via};

const EID: &str = "2001:db8:b::2/128";
const SITE: &str = "2001:db8:b::/48";
/// Shared by the ITR and the Map-Resolver.
const SECRET: &str = "itr and resolver";

// --- ITR

fn itr(demand: Demand) -> Node {
    let mut node = Node::plain();
    let wrapping = Wrapping::Secret { key_id: 3, secret: Secret::new(SECRET) };
    let resolver = MapSystem::Node(RESOLVER.parse().unwrap());
    node.control = node.control.secured(LispSec { demand, resolvers: vec![(resolver, wrapping)] });
    node
}

/// A Map-Request as it came to the Map-Resolver.
struct Question {
    ad: Option<EcmAd>,
    request: MapRequest,
}

impl Question {
    fn read(bytes: &[u8]) -> Self {
        let ecm = Ecm::decode(bytes).unwrap();
        let ad = ecm.security.map(|octets| EcmAd::decode(&octets).unwrap());
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else { panic!() };
        Self { ad, request }
    }

    fn itr_otk(&self) -> OneTimeKey {
        self.ad.as_ref().unwrap().otk.unwrap(&Secret::new(SECRET), self.request.nonce).unwrap()
    }

    /// What the Map-Server vouches for and the ETR signs.
    fn answer(&self, granted: &[&str], records: &[(&str, u32)]) -> Vec<u8> {
        Seal::default().of(self, granted, &reply_to(&self.request, records))
    }

    /// That nobody can sign (RFC 9303, section 6.7, rule 3).
    fn nobody_signs(&self) -> Vec<u8> {
        self.nobody_signs_for(SITE)
    }

    fn nobody_signs_for(&self, site: &str) -> Vec<u8> {
        let reply = reply_to(&self.request, &[]).with_negative(site, Action::DropNoReason, 1);
        Seal { cant_sign: true, ..Seal::default() }.of(self, &[site], &reply)
    }
}

/// How a Map-Server and an ETR seal an answer.
struct Seal {
    kdf: Kdf,
    hmac: HmacAlgorithm,
    cant_sign: bool,
}

impl Default for Seal {
    fn default() -> Self {
        Self { kdf: Kdf::HkdfSha256, hmac: HmacAlgorithm::Sha256, cant_sign: false }
    }
}

impl Seal {
    fn of(&self, question: &Question, granted: &[&str], reply: &MapReply) -> Vec<u8> {
        let itr_otk = question.itr_otk();
        let granted = granted.iter().map(|text| Eid::from(prefix(text))).collect();
        let eid_ad = seal_eid_ad(&itr_otk, self.kdf, self.hmac, self.cant_sign, granted).unwrap();
        seal_reply(reply, &eid_ad, &itr_otk.derive(self.kdf), self.hmac).unwrap()
    }
}

fn questions(node: &mut Node) -> Vec<Question> {
    std::mem::take(&mut node.sent).iter().map(|(_, _, bytes)| Question::read(bytes)).collect()
}

fn miss(node: &mut Node) {
    node.event(Event::Miss { eid: prefix(EID), source: "2001:db8:a::2".parse().unwrap() });
}

fn ask(node: &mut Node) -> Question {
    miss(node);
    let mut questions = questions(node);
    assert_eq!(questions.len(), 1);
    questions.remove(0)
}

fn from_resolver(node: &mut Node, bytes: &[u8]) {
    node.bytes(&format!("{RESOLVER}:4342"), bytes);
}

/// Whether each mapping in use was proven.
fn mappings(node: &Node) -> Vec<(EidPrefix, bool)> {
    node.control.map_cache(node.now).map(|(prefix, installed)| (*prefix, installed.secured)).collect()
}

/// Nothing came of a message but this refusal, and the right answer still counts.
fn is_discarded(node: &mut Node, question: &Question, forged: &[u8], refusal: Refusal) {
    from_resolver(node, forged);
    assert_eq!((node.updates(), node.refused(refusal)), (vec![], 1), "{}", refusal.name());
    assert!(mappings(node).is_empty());
    from_resolver(node, &question.answer(&[SITE], &[(SITE, 1440)]));
    assert_eq!(mappings(node), [(prefix(SITE), true)], "{}", refusal.name());
}

/// RFC 9303, sections 5 and 6.4.
#[test]
fn each_request_has_s_and_a_nonce_and_a_wrapped_key_of_its_own() {
    let mut node = itr(Demand::Require);
    miss(&mut node);
    node.advance(secs(60));
    let asked = questions(&mut node);
    assert_eq!(asked.len(), 11);
    for question in &asked {
        let EcmAd { requested_hmac, otk, eid_ad } = question.ad.as_ref().expect("S");
        assert_eq!((*requested_hmac, eid_ad), (HmacId(2), &EidAd::unfilled(KdfId(2))), "EID-AD Length is 4");
        assert_eq!((otk.key_id, otk.wrap, otk.octets.len()), (3, WrapId::AES_HKDF_SHA256, 24));
    }
    let keys: HashSet<[u8; 16]> = asked.iter().map(|question| *question.itr_otk().expose()).collect();
    let nonces: HashSet<Nonce> = asked.iter().map(|question| question.request.nonce).collect();
    assert_eq!((keys.len(), nonces.len()), (11, 11));
}

#[test]
fn a_proven_answer_is_installed_once_and_shown_as_such() {
    let mut node = itr(Demand::Require);
    let question = ask(&mut node);
    let answer = question.answer(&[SITE], &[(SITE, 1440)]);
    from_resolver(&mut node, &answer);
    let (installed, entry) = node.upsert();
    assert_eq!(installed, prefix(SITE));
    assert!(matches!(entry.forwarding, Forwarding::Locators(locators) if locators.len() == 1));
    assert_eq!(mappings(&node), [(prefix(SITE), true)]);
    // RFC 9303, section 7.6: the pair of nonce and key is gone.
    from_resolver(&mut node, &answer);
    assert_eq!((node.updates(), node.refused(Refusal::ReplyUnasked)), (vec![], 1));
}

#[test]
fn a_late_answer_to_an_earlier_try_counts_and_ends_the_others() {
    let mut node = itr(Demand::Require);
    let first = ask(&mut node);
    node.advance(secs(4));
    let later = questions(&mut node);
    assert_eq!(later.len(), 3);
    from_resolver(&mut node, &first.answer(&[SITE], &[(SITE, 1440)]));
    assert_eq!(mappings(&node), [(prefix(SITE), true)]);
    from_resolver(&mut node, &later[1].answer(&[SITE], &[(SITE, 1440)]));
    assert_eq!(node.refused(Refusal::ReplyUnasked), 1);
}

/// RFC 9303, section 6.9: whoever is on the way changes, strips and swaps, and has only been a nuisance.
#[test]
fn what_was_changed_on_the_way_is_discarded_and_the_right_answer_still_counts() {
    type Forge = fn(&Question) -> Vec<u8>;
    let changed: [(&str, Forge, Refusal); 8] = [
        (
            "a wider prefix",
            |q| resealed(q, |reply| reply.records[0].eid = prefix("2001:db8::/32").into()),
            Refusal::SecReplyForged,
        ),
        (
            "other locators",
            |q| {
                resealed(q, |reply| {
                    reply.records[0].locators[0].rloc = "192.0.2.66".parse::<std::net::IpAddr>().unwrap().into()
                })
            },
            Refusal::SecReplyForged,
        ),
        ("another TTL", |q| resealed(q, |reply| reply.records[0].ttl = wire::record::Ttl(1)), Refusal::SecReplyForged),
        ("S taken away", |q| resealed(q, |reply| reply.security = None), Refusal::SecReplyUnprotected),
        (
            "sealed with a key of his own",
            |q| {
                let (own, granted) = (OneTimeKey::new([7; 16]), vec![Eid::from(prefix(SITE))]);
                let eid_ad = seal_eid_ad(&own, Kdf::HkdfSha256, HmacAlgorithm::Sha256, false, granted).unwrap();
                let reply = reply_to(&q.request, &[(SITE, 1440)]);
                seal_reply(&reply, &eid_ad, &own.derive(Kdf::HkdfSha256), HmacAlgorithm::Sha256).unwrap()
            },
            Refusal::SecReplyForged,
        ),
        (
            "without what a Map-Server vouches for",
            |q| {
                let eid_ad = EidAd::unfilled(KdfId(2)).encode().unwrap();
                let ms_otk = q.itr_otk().derive(Kdf::HkdfSha256);
                seal_reply(&reply_to(&q.request, &[(SITE, 1440)]), &eid_ad, &ms_otk, HmacAlgorithm::Sha256).unwrap()
            },
            Refusal::SecReplyUnprotected,
        ),
        ("E set", |q| resealed(q, |reply| reply.security.as_mut().unwrap()[9] |= 0x80), Refusal::SecReplyForged),
        (
            "cut off",
            |q| {
                let mut whole = q.answer(&[SITE], &[(SITE, 1440)]);
                whole.truncate(whole.len() - 1);
                whole
            },
            Refusal::Malformed,
        ),
    ];
    for demand in [Demand::Prefer, Demand::Require] {
        for (what, forge, refusal) in changed {
            println!("{what}");
            let mut node = itr(demand);
            let question = ask(&mut node);
            is_discarded(&mut node, &question, &forge(&question), refusal);
        }
    }
}

/// The right answer with a change that its HMAC does not know of.
fn resealed(question: &Question, change: impl Fn(&mut MapReply)) -> Vec<u8> {
    let mut reply = MapReply::decode(&question.answer(&[SITE], &[(SITE, 1440)])).unwrap();
    change(&mut reply);
    reply.encode().unwrap()
}

#[test]
fn an_old_answer_is_none_to_a_new_question() {
    let mut node = itr(Demand::Require);
    let old = ask(&mut node);
    let answer = old.answer(&[SITE], &[(SITE, 0)]);
    from_resolver(&mut node, &answer);
    node.updates();
    node.advance(secs(1));
    let new = ask(&mut node);
    from_resolver(&mut node, &answer);
    assert_eq!(node.refused(Refusal::ReplyUnasked), 1);
    // With the new nonce put into it, its HMAC does not hold.
    let mut renamed = old.answer(&[SITE], &[(SITE, 1440)]);
    renamed[4..12].copy_from_slice(&new.request.nonce.0.to_be_bytes());
    is_discarded(&mut node, &new, &renamed, Refusal::SecReplyForged);
}

/// The example of RFC 9303, section 6.9.1, and an ETR that signs for more than its Map-Server vouches for.
#[test]
fn an_etr_is_believed_within_what_its_map_server_vouches_for() {
    let mut node = itr(Demand::Require);
    let question = ask(&mut node);
    from_resolver(&mut node, &question.answer(&[SITE], &[("2001:db8::/32", 1440)]));
    assert_eq!((node.updates(), node.refused(Refusal::SecRecordOverclaims)), (vec![], 1));
    assert_eq!(node.refused(Refusal::ReplyNotCovering), 1);
    node.advance(secs(1));
    let again = questions(&mut node).remove(0);
    let records = [("2001:db8:b::/48", 1440), ("2001:db8:b:1::/64", 1440), ("2001:db8:c::/48", 1440), ("2001::/16", 9)];
    from_resolver(&mut node, &again.answer(&[SITE, "2001:db8:203::/48"], &records));
    assert_eq!(mappings(&node), [(prefix(SITE), true), (prefix("2001:db8:b:1::/64"), true)]);
    assert_eq!(node.refused(Refusal::SecRecordOverclaims), 3);
}

/// RFC 9303, section 6.9.1: what is not proven is logged, at a pace that fills no log.
#[test]
fn what_is_discarded_is_logged() {
    let mut node = itr(Demand::Require);
    let question = ask(&mut node);
    let forged = resealed(&question, |reply| reply.records[0].ttl = Ttl(1));
    let lines = log::logged(|| (0..3).for_each(|_| from_resolver(&mut node, &forged)));
    let warned = |lines: &[String], what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!(warned(&lines, "WARN a Map-Reply to a protected Map-Request is discarded"), 1, "{lines:?}");
    let lines = log::logged(|| from_resolver(&mut node, &question.answer(&[SITE], &[("2001:db8::/32", 1440)])));
    assert_eq!(warned(&lines, "WARN an ETR claims what its Map-Server does not vouch for"), 1, "{lines:?}");
}

/// RFC 9303, section 6.9: other functions than those asked for make the ITR ask for them, as soon as the rate allows.
#[test]
fn an_answer_with_other_functions_is_discarded_and_those_are_asked_for() {
    let asked = |question: &Question| {
        let ad = question.ad.as_ref().unwrap();
        Asked { hmac: ad.requested_hmac, kdf: ad.eid_ad.kdf }
    };
    let sha1 = Seal { hmac: HmacAlgorithm::Sha1, ..Seal::default() };
    let hkdf_sha1 = Seal { kdf: Kdf::HkdfSha1, ..Seal::default() };
    for (seal, then) in
        [(sha1, Asked { hmac: HmacId(1), kdf: KdfId(2) }), (hkdf_sha1, Asked { hmac: HmacId(2), kdf: KdfId(1) })]
    {
        let mut node = itr(Demand::Require);
        let question = ask(&mut node);
        assert_eq!(asked(&question), Asked { hmac: HmacId(2), kdf: KdfId(2) });
        // The tries would be 4 seconds apart by now.
        node.advance(secs(7));
        let last = questions(&mut node).pop().unwrap();
        let reply = reply_to(&last.request, &[(SITE, 1440)]);
        from_resolver(&mut node, &seal.of(&last, &[SITE], &reply));
        assert_eq!((node.updates(), node.refused(Refusal::SecReplyOtherFunction)), (vec![], 1));
        let next = questions(&mut node).pop().expect("more than a second has passed");
        assert_eq!(asked(&next), then);
        from_resolver(&mut node, &seal.of(&next, &[SITE], &reply_to(&next.request, &[(SITE, 1440)])));
        assert_eq!(mappings(&node), [(prefix(SITE), true)]);
    }
}

#[test]
fn whoever_forges_function_numbers_makes_no_more_requests() {
    let mut node = itr(Demand::Require);
    let mut asked = vec![ask(&mut node)];
    for _ in 0..60 {
        let last = asked.last().unwrap();
        // The number of the PKT HMAC, which nothing protects before it is known: a function that nobody has, of 16 octets.
        let mut forged = last.answer(&[SITE], &[(SITE, 1440)]);
        let at = forged.len() - 17;
        forged[at] = 9;
        from_resolver(&mut node, &forged);
        node.advance(secs(1));
        asked.extend(questions(&mut node));
    }
    assert_eq!(asked.len(), 11, "as many as without him");
    assert_eq!(mappings(&node), []);
}

/// RFC 9303, section 6.7: E, proven, is the only way to a request without LISP-SEC, and only for who allows it.
#[test]
fn without_protection_is_asked_only_if_a_map_server_says_that_nobody_can_sign() {
    let mut node = itr(Demand::Prefer);
    let question = ask(&mut node);
    from_resolver(&mut node, &question.nobody_signs());
    assert_eq!(node.updates(), [], "packets go on waiting");
    assert!(questions(&mut node).is_empty(), "one request a second");
    node.advance(secs(1));
    let open = questions(&mut node).remove(0);
    assert!(open.ad.is_none() && open.request.nonce != question.request.nonce);
    node.reply(&reply_to(&open.request, &[(SITE, 1440)]));
    assert_eq!(mappings(&node), [(prefix(SITE), false)]);
    // The next conversation begins protected again.
    node.advance(secs(5));
    node.event(Event::Refresh { prefix: prefix(SITE) });
    assert!(questions(&mut node).remove(0).ad.is_some());

    let mut node = itr(Demand::Require);
    let question = ask(&mut node);
    from_resolver(&mut node, &question.nobody_signs());
    assert_eq!(node.refused(Refusal::SecCantSign), 1);
    assert_eq!(node.upsert().1.forwarding, Forwarding::Negative(Action::DropNoReason));
    node.advance(secs(60));
    assert!(node.sent.is_empty());
}

/// The mapping that comes of a request without protection, after E about `site`.
fn openly(node: &mut Node, eid: &str, site: &str, claimed: &[(&str, u32)]) {
    node.event(Event::Miss { eid: prefix(eid), source: "2001:db8:a::2".parse().unwrap() });
    let question = questions(node).remove(0);
    from_resolver(node, &question.nobody_signs_for(site));
    node.advance(secs(1));
    let open = questions(node).remove(0);
    assert!(open.ad.is_none());
    node.reply(&reply_to(&open.request, claimed));
}

#[test]
fn who_cannot_sign_takes_nothing_that_others_have_or_could_have() {
    let mut node = itr(Demand::Prefer);
    let question = ask(&mut node);
    from_resolver(&mut node, &question.answer(&[SITE], &[(SITE, 1440)]));
    // Wider than what nobody signs for, beside it, and the site that signs, as a whole, in part and removed.
    let part = "2001:db8:b:1::/64";
    let claimed =
        [("2001:db8::/40", 1440), ("2001:db8:c:1::/64", 1440), (SITE, 0), (part, 1440), ("2001:db8:d::/48", 9)];
    openly(&mut node, "2001:db8:c::2/128", "2001:db8:c::/48", &claimed);
    let held = [(prefix(SITE), true), (prefix("2001:db8:c::/48"), false), (prefix("2001:db8:c:1::/64"), false)];
    assert_eq!(mappings(&node), held);
    assert!(node.refused(Refusal::RecordOverclaims) >= 3);

    // Nor where the Map-Server has said it of more than the part that signs.
    let mut node = itr(Demand::Prefer);
    let question = ask(&mut node);
    let part = "2001:db8:b::/64";
    from_resolver(&mut node, &question.answer(&[part], &[(part, 1440)]));
    openly(&mut node, "2001:db8:b:5::2/128", SITE, &[(SITE, 1440), (part, 0), ("2001:db8:b::/65", 1440)]);
    assert_eq!(mappings(&node), [(prefix(SITE), false), (prefix(part), true)]);
}

/// The Map-Server's last word about a site is that nobody signs for it any more.
#[test]
fn a_site_that_signs_no_more_is_asked_openly_when_it_is_refreshed() {
    let mut node = itr(Demand::Prefer);
    let question = ask(&mut node);
    from_resolver(&mut node, &question.answer(&[SITE], &[(SITE, 1440)]));
    node.advance(secs(5));
    questions(&mut node);
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let refresh = questions(&mut node).remove(0);
    from_resolver(&mut node, &refresh.nobody_signs());
    node.advance(secs(1));
    let open = questions(&mut node).remove(0);
    node.reply(&reply_to(&open.request, &[(SITE, 1440)]));
    assert_eq!(mappings(&node), [(prefix(SITE), false)]);
}

#[test]
fn e_beside_an_etr_that_has_signed_changes_nothing() {
    for demand in [Demand::Prefer, Demand::Require] {
        let mut node = itr(demand);
        let question = ask(&mut node);
        let reply = reply_to(&question.request, &[(SITE, 1440)]);
        from_resolver(&mut node, &Seal { cant_sign: true, ..Seal::default() }.of(&question, &[SITE], &reply));
        assert_eq!((mappings(&node), node.refused(Refusal::SecCantSign)), (vec![(prefix(SITE), true)], 0));
    }
}

#[test]
fn neither_silence_nor_forgeries_lead_to_a_request_without_protection() {
    let mut node = itr(Demand::Prefer);
    miss(&mut node);
    let mut tries = 0;
    for _ in 0..200 {
        for question in questions(&mut node) {
            tries += 1;
            let mut forged = question.nobody_signs();
            let last = forged.len() - 1;
            forged[last] ^= 1;
            from_resolver(&mut node, &forged);
            node.reply(&reply_to(&question.request, &[(SITE, 1440)]));
            assert!(question.ad.is_some());
        }
        node.advance(secs(1));
        miss(&mut node);
    }
    assert!(tries > 20, "it goes on asking after a rest: {tries}");
    assert!(mappings(&node).is_empty());
    assert_eq!(node.refused(Refusal::SecReplyUnprotected), tries);
    assert_eq!(node.refused(Refusal::SecReplyForged), tries);
}

/// RFC 9303, section 6.9; RFC 9301, sections 6.1 and 7.1.
#[test]
fn refreshes_and_requests_after_an_smr_are_protected_and_probes_are_not() {
    let mut node = itr(Demand::Require);
    let question = ask(&mut node);
    from_resolver(&mut node, &question.answer(&[SITE], &[(SITE, 1440)]));
    node.updates();
    node.advance(secs(40));
    assert!(!node.probes.is_empty(), "bare, to the locator");
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let refresh = questions(&mut node).remove(0);
    assert!(refresh.ad.is_some());
    node.reply(&reply_to(&refresh.request, &[(SITE, 0)]));
    assert_eq!(mappings(&node), [(prefix(SITE), true)], "nobody removes it either");
    from_resolver(&mut node, &refresh.answer(&[SITE], &[(SITE, 1440)]));
    node.advance(secs(5));
    let smr = MapRequest {
        smr: true,
        source_eid: "2001:db8:b::2".parse::<std::net::IpAddr>().unwrap().into(),
        itr_rlocs: vec!["198.51.100.1".parse::<std::net::IpAddr>().unwrap().into()],
        records: vec![EidRequest { notify: false, eid: prefix("2001:db8:a::/48").into() }],
        ..MapRequest::default()
    };
    node.datagram("198.51.100.1:4342", &smr.into());
    let invoked = questions(&mut node).remove(0);
    assert!(invoked.request.smr_invoked && invoked.ad.is_some());
}

/// RFC 9303, section 6.5, step 2.
#[test]
fn a_resolver_without_a_key_is_not_asked() {
    let mut node = Node::plain();
    node.control = node.control.secured(LispSec { demand: Demand::Prefer, resolvers: vec![] });
    miss(&mut node);
    assert_eq!((node.sent.len(), node.refused(Refusal::SecNoKey)), (0, 1));
    node.advance(secs(60));
    assert_eq!((node.sent.len(), node.refused(Refusal::SecNoKey)), (0, 11));
}

/// RFC 9303, section 6.4: that a request was dropped is logged, at a pace that fills no log.
#[test]
fn that_a_resolver_without_a_key_is_not_asked_is_logged() {
    let mut node = Node::plain();
    node.control = node.control.secured(LispSec { demand: Demand::Require, resolvers: vec![] });
    let misses = |node: &mut Node, net: u8| {
        for host in 1..=20 {
            let eid = prefix(&format!("10.66.{net}.{host}/32"));
            node.event(Event::Miss { eid, source: "10.1.0.2".parse().unwrap() });
        }
    };
    let begun = log::logged(|| misses(&mut node, 1));
    let again = log::logged(|| {
        node.now += limits::LOG_PAUSE;
        misses(&mut node, 2);
    });
    for lines in [begun, again] {
        let lines: Vec<_> = lines.iter().filter(|line| line.starts_with("WARN a Map-Request is not sent")).collect();
        assert!(matches!(lines.as_slice(), [line] if line.contains(RESOLVER) && line.contains("10.66.")), "{lines:?}");
    }
    assert!(node.refused(Refusal::SecNoKey) >= 40);
}

#[test]
fn what_goes_to_the_map_system_in_this_process_is_not_encrypted_and_its_answers_vouch() {
    let mut node = Node::new(&["10.1.0.0/16"], &[RLOC], vec![], vec![MapSystem::Pipe]);
    node.control = node.control.secured(LispSec { demand: Demand::Require, resolvers: vec![] });
    node.event(Event::Miss { eid: prefix("10.66.1.1/32"), source: "10.1.0.2".parse().unwrap() });
    let question = Question::read(&node.piped.pop().unwrap());
    let itr_otk = question.ad.as_ref().unwrap().otk.open().unwrap();
    let eid_ad =
        seal_eid_ad(&itr_otk, Kdf::HkdfSha256, HmacAlgorithm::Sha256, false, vec![prefix("10.66.0.0/16").into()]);
    let reply = reply_to(&question.request, &[("10.66.0.0/16", 1440)]);
    let ms_otk = itr_otk.derive(Kdf::HkdfSha256);
    let sealed = seal_reply(&reply, &eid_ad.unwrap(), &ms_otk, HmacAlgorithm::Sha256).unwrap();
    // From an ETR: what the map system vouches for holds beyond the address that was asked for.
    node.bytes("198.51.100.66:4342", &sealed);
    assert_eq!(mappings(&node), [(prefix("10.66.0.0/16"), true)]);
}

#[test]
fn protection_can_be_required_while_the_node_runs() {
    let mut node = Node::plain();
    let open = ask(&mut node);
    assert!(open.ad.is_none());
    let wrapping = Wrapping::Secret { key_id: 3, secret: Secret::new(SECRET) };
    let resolver = MapSystem::Node(RESOLVER.parse().unwrap());
    node.control.protect(LispSec { demand: Demand::Require, resolvers: vec![(resolver, wrapping)] });
    node.reply(&reply_to(&open.request, &[(SITE, 1440)]));
    assert_eq!((mappings(&node), node.refused(Refusal::ReplyUnasked)), (vec![], 1), "asked before it was");
    node.advance(secs(1));
    let question = questions(&mut node).remove(0);
    from_resolver(&mut node, &question.answer(&[SITE], &[(SITE, 1440)]));
    assert_eq!(mappings(&node), [(prefix(SITE), true)]);
}

/// RFC 9303 protects Map-Replies: a Map-Notify (RFC 9437) says who has the key, and not how far its records reach.
#[test]
fn what_a_map_notify_tells_is_not_installed_but_asked_for() {
    let shared = double::key(Algorithm::HkdfSha256);
    let mut node = itr(Demand::Require);
    let resolver = MapSystem::Node(RESOLVER.parse().unwrap());
    let associations = vec![Association { resolver, key: shared.clone(), tag: TagForm::Truncated }];
    let identity = XtrIdentity { xtr_id: [7; 16], site_id: 9 };
    let config = subscribe::Config {
        identity,
        associations,
        nonce_floor: Nonce(1000),
        seed: [3; 32],
        configured: vec![],
        takes_unsubscribed: false,
    };
    node.control = node.control.subscribing(node.now, config);
    let tell = |node: &mut Node, nonce: u64, told: &[(&str, &str)]| {
        let record = |(eid, rloc): &(&str, &str)| {
            let locators = rloc.parse::<std::net::IpAddr>().map(|rloc| LocatorRecord::new(rloc, 1, 100));
            MappingRecord::new(prefix(eid), Ttl(1440), locators.into_iter().collect())
        };
        let records = told.iter().map(record).collect();
        let message = MapNotify { nonce: Nonce(nonce), records, ..MapNotify::default() };
        from_resolver(node, &auth::seal(&message.into(), &shared, TagForm::Truncated).unwrap());
    };
    let asked = |node: &mut Node| {
        node.sent.retain(|(_, _, bytes)| Ecm::decode(bytes).is_ok());
        questions(node)
    };
    let question = ask(&mut node);
    from_resolver(&mut node, &question.answer(&[SITE], &[(SITE, 5)]));
    let wish = asked(&mut node).remove(0).request;
    assert!(wish.records[0].notify);
    node.updates();
    let (nonce, same) = (wish.nonce.0, (SITE, "198.51.100.1"));
    tell(&mut node, nonce, &[same]);
    tell(&mut node, nonce + 1, &[same]);
    assert!(asked(&mut node).is_empty(), "nothing new, nothing to ask");
    // A change, and a part of the site.
    tell(&mut node, nonce + 2, &[(SITE, "198.51.100.66"), ("2001:db8:b:1::/64", "198.51.100.66")]);
    assert_eq!((node.updates(), mappings(&node)), (vec![], vec![(prefix(SITE), true)]));
    let mut about: Vec<_> =
        asked(&mut node).iter().map(|q| (q.ad.is_some(), q.request.records[0].eid.ip_prefix().unwrap())).collect();
    about.sort_unstable();
    assert_eq!(about, [(true, prefix(SITE)), (true, prefix("2001:db8:b:1::/64"))]);
    node.advance(secs(60));
    asked(&mut node);
    node.updates();
    // A renewal lets nothing live longer by itself.
    node.advance(secs(150));
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let renewal = asked(&mut node).remove(0).request;
    assert!(renewal.records[0].notify);
    tell(&mut node, renewal.nonce.0, &[same]);
    let proof = asked(&mut node).remove(0);
    assert_eq!((node.updates(), proof.ad.is_some()), (vec![], true));
    from_resolver(&mut node, &proof.answer(&[SITE], &[(SITE, 1440)]));
    assert_eq!((node.upsert().0, mappings(&node)), (prefix(SITE), vec![(prefix(SITE), true)]));
}

fn demand(node: &mut Node, demand: Demand) {
    let wrapping = Wrapping::Secret { key_id: 3, secret: Secret::new(SECRET) };
    let resolver = MapSystem::Node(RESOLVER.parse().unwrap());
    node.control.protect(LispSec { demand, resolvers: vec![(resolver, wrapping)] });
    node.control.handle_timeout(node.now);
    node.collect();
}

#[test]
fn when_more_is_demanded_what_is_not_proven_is_forgotten() {
    let mut node = itr(Demand::Prefer);
    let question = ask(&mut node);
    from_resolver(&mut node, &question.answer(&[SITE], &[(SITE, 1440)]));
    openly(&mut node, "2001:db8:c::2/128", "2001:db8:c::/48", &[("2001:db8:c::/48", 1440)]);
    node.updates();
    demand(&mut node, Demand::Prefer);
    demand(&mut node, Demand::Require);
    assert_eq!(node.updates(), [Update::Remove { prefix: prefix("2001:db8:c::/48") }]);
    assert_eq!(mappings(&node), [(prefix(SITE), true)]);
    demand(&mut node, Demand::Off);
    assert_eq!(mappings(&node), [(prefix(SITE), true)], "what is proven is no worse for that");
}

#[test]
fn a_request_under_a_former_demand_is_put_anew_and_its_answer_counts_no_more() {
    // What is asked openly, since nobody signs, is protected again.
    let mut node = itr(Demand::Prefer);
    let question = ask(&mut node);
    from_resolver(&mut node, &question.nobody_signs());
    node.advance(secs(1));
    let open = questions(&mut node).remove(0);
    demand(&mut node, Demand::Require);
    node.reply(&reply_to(&open.request, &[(SITE, 1440)]));
    assert_eq!((mappings(&node), node.refused(Refusal::ReplyUnasked)), (vec![], 1));
    node.advance(secs(1));
    let protected = questions(&mut node).remove(0);
    assert!(protected.ad.is_some());
    // And what is asked with a key is asked without.
    demand(&mut node, Demand::Off);
    node.advance(secs(1));
    let plain = questions(&mut node).remove(0);
    assert!(plain.ad.is_none() && plain.request.nonce != protected.request.nonce);
    node.reply(&reply_to(&plain.request, &[(SITE, 1440)]));
    assert_eq!(mappings(&node), [(prefix(SITE), false)]);
}

#[test]
fn without_the_setting_all_is_as_ever() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert_eq!(mappings(&node), [(prefix(SITE), false)]);
}

// --- ETR

const SERVER: &str = "203.0.113.10:4342";
const OURS: &str = "10.2.2.0/24";
const NONCE: Nonce = Nonce(0x77);

fn etr() -> Node {
    let mut node = Node::registering_prefixes(&[OURS, "10.2.2.128/25"]);
    node.sent.clear();
    node
}

fn itr_otk() -> OneTimeKey {
    OneTimeKey::new([0xa0; 16])
}

/// As Map-Servers wrap for us: with the key that we register with.
fn for_us(ms_otk: &OneTimeKey) -> WrappedOtk {
    ms_otk.wrap(1, &Secret::new("secretkey"), NONCE)
}

fn ad(hmac: HmacAlgorithm, wrap: impl Fn(&OneTimeKey) -> WrappedOtk) -> Vec<u8> {
    let eid_ad = seal_eid_ad(&itr_otk(), Kdf::HkdfSha256, hmac, false, vec![prefix(OURS).into()]).unwrap();
    let otk = wrap(&itr_otk().derive(Kdf::HkdfSha256));
    let ad = EcmAd { requested_hmac: hmac.id(), otk, eid_ad: EidAd::unfilled(KdfId(2)) };
    ad.with_eid_ad(&eid_ad).unwrap()
}

fn ecm(security: Option<Vec<u8>>) -> Ecm {
    let itr: std::net::IpAddr = "198.51.100.1".parse().unwrap();
    let request = MapRequest {
        nonce: NONCE,
        itr_rlocs: vec![itr.into()],
        records: vec![EidRequest { notify: false, eid: prefix("10.2.2.9/32").into() }],
        ..MapRequest::default()
    };
    let to = SocketAddr::new("10.2.2.9".parse().unwrap(), 4342);
    Ecm { security, ..Ecm::wrap(SocketAddr::new(itr, 4342), to, request.encode().unwrap()) }
}

fn answer_of(node: &mut Node, security: Option<Vec<u8>>) -> Option<Vec<u8>> {
    node.bytes(SERVER, &ecm(security).encode().unwrap());
    assert!(node.sent.len() <= 1);
    node.sent.pop().map(|(_, remote, bytes)| {
        assert_eq!(remote, "198.51.100.1:4342".parse().unwrap(), "to the ITR");
        bytes
    })
}

/// RFC 9303, sections 6.8 and 6.9.
#[test]
fn a_protected_request_is_answered_so_that_the_itr_can_prove_it() {
    for hmac in [HmacAlgorithm::Sha256, HmacAlgorithm::Sha1] {
        let mut node = etr();
        let asked = ad(hmac, for_us);
        let answer = answer_of(&mut node, Some(asked.clone())).unwrap();
        let proven = verify_reply(&answer, &itr_otk(), Asked { hmac: hmac.id(), kdf: KdfId(2) }).unwrap();
        assert_eq!((proven.reply.nonce, proven.overclaimed.len(), proven.cant_sign), (NONCE, 0, false));
        let eids: Vec<_> = proven.reply.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
        assert_eq!(eids, [prefix(OURS), prefix("10.2.2.128/25")], "best match and more-specifics, as ever");
        assert!(proven.reply.records.iter().all(|record| record.authoritative));
        let security = proven.reply.security.unwrap();
        let eid_ad = wire::control::lispsec::eid_ad_octets(&asked).unwrap();
        assert_eq!(&security[4..4 + eid_ad.len()], eid_ad, "copied, octet for octet");
        assert_eq!(node.control.tally().total(), 0);
    }
}

/// RFC 9303, sections 6.5 and 6.8.
#[test]
fn a_request_whose_data_are_not_right_is_dropped_and_counted() {
    let other_nonce = |otk: &OneTimeKey| otk.wrap(1, &Secret::new("secretkey"), Nonce(NONCE.0 + 1));
    let other_secret = |otk: &OneTimeKey| otk.wrap(1, &Secret::new("secretkez"), NONCE);
    let other_id = |otk: &OneTimeKey| otk.wrap(2, &Secret::new("secretkey"), NONCE);
    let unknown = |otk: &OneTimeKey| WrappedOtk { wrap: WrapId(9), ..for_us(otk) };
    let flipped = |otk: &OneTimeKey| {
        let mut wrapped = for_us(otk);
        wrapped.octets[23] ^= 1;
        wrapped
    };
    let sha256 = HmacAlgorithm::Sha256;
    let otk = for_us(&itr_otk().derive(Kdf::HkdfSha256));
    let of_an_itr = EcmAd { requested_hmac: HmacId(2), otk, eid_ad: EidAd::unfilled(KdfId(2)) };
    let mut lying = ad(sha256, for_us);
    // Record Count of the EID-AD: more than there are.
    lying[8 + 24 + 4] = 9;
    for (what, security, refusal) in [
        ("the nonce of another request", ad(sha256, other_nonce), Refusal::SecNotUnwrapped),
        ("another secret", ad(sha256, other_secret), Refusal::SecNotUnwrapped),
        ("a bit changed on the way", ad(sha256, flipped), Refusal::SecNotUnwrapped),
        ("a Key ID that we do not register with", ad(sha256, other_id), Refusal::EcmSecurity),
        ("an unencrypted key", ad(sha256, OneTimeKey::unencrypted), Refusal::SecUnencrypted),
        ("wrapped in an unknown way", ad(sha256, unknown), Refusal::SecUnknownWrap),
        ("nothing that a Map-Server vouches for", of_an_itr.encode().unwrap(), Refusal::SecEidAdMissing),
        ("counts that lie", lying, Refusal::SecMalformed),
    ] {
        let mut node = etr();
        assert_eq!(answer_of(&mut node, Some(security)), None, "{what}");
        assert_eq!((node.refused(refusal), node.control.tally().total()), (1, 1), "{what}");
    }
}

#[test]
fn a_request_without_s_is_answered_as_ever_unless_protection_is_required() {
    let mut node = etr();
    let answer = MapReply::decode(&answer_of(&mut node, None).unwrap()).unwrap();
    assert_eq!((answer.security, answer.records.len()), (None, 2));

    let mut node = etr();
    node.control = node.control.secured(LispSec { demand: Demand::Require, resolvers: vec![] });
    assert_eq!(answer_of(&mut node, None), None);
    assert_eq!(node.refused(Refusal::SecRequired), 1);
    assert!(answer_of(&mut node, Some(ad(HmacAlgorithm::Sha256, for_us))).is_some());
    let probe = MapRequest { probe: true, ..MapRequest::decode(&ecm(None).message).unwrap() };
    node.datagram("198.51.100.1:4342", &probe.into());
    assert!(node.reply_sent().1.probe, "an RLOC-probe has no way to be protected");
}

#[test]
fn an_unencrypted_key_is_taken_from_the_map_system_in_this_process() {
    let mut node = etr();
    let security = Some(ad(HmacAlgorithm::Sha256, OneTimeKey::unencrypted));
    node.input(Input::Datagram { via: Via::Pipe, bytes: &ecm(security).encode().unwrap() });
    let (_, _, answer) = node.sent.pop().unwrap();
    assert!(verify_reply(&answer, &itr_otk(), Asked { hmac: HmacId(2), kdf: KdfId(2) }).is_ok());
}

/// RFC 9301, section 5: no packet above 576 octets, whatever LISP-SEC adds.
#[test]
fn a_sealed_answer_fits_its_packet() {
    let many: Vec<String> = (64..128).map(|host| format!("10.2.2.{host}/32")).chain([OURS.to_owned()]).collect();
    let mut node = Node::registering_prefixes(&many.iter().map(String::as_str).collect::<Vec<_>>());
    node.sent.clear();
    let answer = answer_of(&mut node, Some(ad(HmacAlgorithm::Sha256, for_us))).unwrap();
    assert!((480..=548).contains(&answer.len()), "{}", answer.len());
    assert!(verify_reply(&answer, &itr_otk(), Asked::default()).is_ok());
}

/// RFC 9303, section 6.3.
#[test]
fn registers_say_that_we_can() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    assert!(node.register().1.security_capable);
}

// --- whoever changes octets

proptest! {
    #[test]
    fn no_octet_of_a_protected_answer_can_be_changed(at in 0..200_usize, flip in 1..=255_u8, cut in 0..40_usize) {
        let mut node = itr(Demand::Require);
        let question = ask(&mut node);
        let answer = question.answer(&[SITE], &[(SITE, 1440)]);
        let mut changed = answer.clone();
        let at = at % changed.len();
        changed[at] ^= flip;
        from_resolver(&mut node, &changed);
        from_resolver(&mut node, &answer[..answer.len() - 1 - cut]);
        prop_assert_eq!(node.updates(), []);
        prop_assert!(node.control.tally().total() >= 2);
        from_resolver(&mut node, &answer);
        prop_assert_eq!(mappings(&node), [(prefix(SITE), true)]);
    }

    #[test]
    fn changed_authentication_data_give_no_answer_that_is_believed(at in 0..80_usize, flip in 1..=255_u8) {
        let mut security = ad(HmacAlgorithm::Sha256, for_us);
        let at = at % security.len();
        security[at] ^= flip;
        let mut node = etr();
        // What cannot be encoded cannot be sent.
        if let Ok(bytes) = ecm(Some(security.clone())).encode() {
            node.bytes(SERVER, &bytes);
        }
        let asked = Asked { hmac: HmacId(2), kdf: KdfId(2) };
        for (_, _, answer) in &node.sent {
            match verify_reply(answer, &itr_otk(), asked) {
                // Octets that RFC 9303 leaves unassigned, and the low bit of a number that nobody has.
                Ok(proven) => {
                    let eids: Vec<_> = proven.reply.records.iter().filter_map(|r| r.eid.ip_prefix()).collect();
                    prop_assert_eq!(eids, [prefix(OURS), prefix("10.2.2.128/25")]);
                    prop_assert!(at < 4 && security[0] == 1, "{}", at);
                }
                Err(error) => prop_assert!(matches!(error, SecError::Hmac(_) | SecError::HmacId(_) | SecError::KdfId(_))),
            }
        }
    }

    #[test]
    fn no_authentication_data_upset_the_engine(octets in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut bytes = ecm(Some(ad(HmacAlgorithm::Sha256, for_us))).encode().unwrap();
        let end = bytes.len().min(4 + octets.len());
        bytes[4..end].copy_from_slice(&octets[..end - 4]);
        let mut node = etr();
        node.bytes(SERVER, &bytes);
        let mut asking = itr(Demand::Require);
        let question = ask(&mut asking);
        let mut answer = question.answer(&[SITE], &[(SITE, 1440)]);
        answer.truncate(12);
        answer.extend(octets);
        from_resolver(&mut asking, &answer);
        let is_installed = asking.updates().iter().any(|update| matches!(update, Update::Upsert { .. }));
        prop_assert!(!is_installed);
    }
}
