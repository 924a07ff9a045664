// SPDX-License-Identifier: GPL-2.0-or-later
//! What an ITR asks is protected, and what comes is installed when it is proven.

use std::collections::HashSet;

use wire::address::Eid;
use wire::control::auth::{self, Algorithm, TagForm};
use wire::control::lispsec::{
    Asked, EcmAd, EidAd, HmacAlgorithm, HmacId, Kdf, KdfId, OneTimeKey, WrapId, seal_eid_ad, seal_reply,
};
use wire::control::{Ecm, EidRequest, MapNotify, MapReply, MapRequest, Nonce, XtrIdentity};
use wire::record::{LocatorRecord, MappingRecord, Ttl};
use xtr::database::{Database, OwnLocator};
use xtr::engine::Config;
use xtr::map_cache::{Event, Forwarding};
use xtr::refusal::Refusal;
use xtr::resolve::{Demand, LispSec};
use xtr::subscribe::{self, Association, Security};
use xtr::transport::MapSystem;

use super::itr::{Question, SITE, Seal, ask, from_resolver, itr, mappings, miss, protection, questions};
use crate::double::{self, Node, RESOLVER, RLOC, prefix, reply_to, secs};
use crate::log;

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

/// RFC 9303, section 7.2: the keys are of a generator that takes its whole seed, and has nothing beside it.
#[test]
fn each_bit_of_the_seed_makes_another_key() {
    let own = OwnLocator::new(RLOC.parse().unwrap(), 1, 100);
    let first_key = |seed: [u8; 32]| {
        let config = Config {
            database: Database::new(vec![prefix("2001:db8:a::/48")], vec![own], Ttl::DEFAULT),
            cgeid_network: None,
            servers: vec![],
            resolvers: vec![MapSystem::Node(RESOLVER.parse().unwrap())],
            nonce_floor: Nonce(1000),
            seed,
        };
        let mut node = Node::from_config(config);
        node.control = node.control.secured(protection(Demand::Require));
        *ask(&mut node).itr_otk().expose()
    };
    let flipped = |bit: usize| {
        let mut seed = [7; 32];
        seed[bit / 8] ^= 1 << (bit % 8);
        seed
    };
    let keys: HashSet<[u8; 16]> = (0..256).map(|bit| first_key(flipped(bit))).chain([first_key([7; 32])]).collect();
    assert_eq!(keys.len(), 257);
    assert!(keys.contains(&first_key([7; 32])), "of nothing but the seed");
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

/// RFC 9303 protects Map-Replies: a Map-Notify (RFC 9437) says who has the key, and not how far its records reach.
#[test]
fn what_a_map_notify_tells_is_not_installed_but_asked_for() {
    let shared = double::key(Algorithm::HkdfSha256);
    let mut node = itr(Demand::Require);
    let resolver = MapSystem::Node(RESOLVER.parse().unwrap());
    let associations =
        vec![Association { resolver, security: Security::Shared(shared.clone()), tag: TagForm::Truncated }];
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
    let about_told = asked(&mut node);
    let eid = |question: &Question| question.request.records[0].eid.ip_prefix().unwrap();
    let mut about: Vec<_> = about_told.iter().map(|question| (question.ad.is_some(), eid(question))).collect();
    about.sort_unstable();
    assert_eq!(about, [(true, prefix(SITE)), (true, prefix("2001:db8:b:1::/64"))]);
    // Nobody says it again: it is asked about until somebody answers.
    node.advance(secs(200));
    let about_site = asked(&mut node).into_iter().rfind(|question| eid(question) == prefix(SITE)).unwrap();
    from_resolver(&mut node, &about_site.answer(&[SITE], &[(SITE, 5)]));
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
