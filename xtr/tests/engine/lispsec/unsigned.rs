// SPDX-License-Identifier: GPL-2.0-or-later
//! Sites that cannot sign (RFC 9303, section 6.7): E is the only way to a request without protection.

use wire::control::auth::{Algorithm, TagForm};
use wire::control::{MapRegister, Nonce};
use wire::record::Action;
use xtr::map_cache::{Event, Forwarding};
use xtr::refusal::Refusal;
use xtr::register::limits;
use xtr::resolve::Demand;
use xtr::transport::MapSystem;

use super::itr::{SITE, Seal, ask, from_resolver, itr, mappings, miss, protection, questions};
use crate::double::{Node, RESOLVER, RLOC, WithNegative as _, prefix, reply_to, secs, server};

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
pub(crate) fn openly(node: &mut Node, eid: &str, site: &str, claimed: &[(&str, u32)]) {
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

/// The site has become several, and nobody signs for the first of them: that is for the packets to it to find out.
#[test]
fn what_a_site_has_become_is_asked_for_by_itself_if_nobody_signs_for_it() {
    for (demand, records) in [(Demand::Prefer, 0), (Demand::Require, 1)] {
        let mut node = itr(demand);
        let question = ask(&mut node);
        from_resolver(&mut node, &question.answer(&[SITE], &[(SITE, 1440)]));
        node.updates();
        node.advance(secs(5));
        node.event(Event::Refresh { prefix: prefix(SITE) });
        let (refresh, part) = (questions(&mut node).remove(0), "2001:db8:b::/49");
        let answer = if records == 0 { refresh.nobody_signs_for(part) } else { refresh.answer(&[part], &[(part, 9)]) };
        from_resolver(&mut node, &answer);
        let known = [part, "2001:db8:b:8000::/49"];
        if records == 1 {
            // Somebody may have registered the part alone: an address outside of it is asked about, with a key of its own.
            let rest = questions(&mut node).remove(0);
            from_resolver(&mut node, &rest.answer(&known[1..], &[(known[1], 9)]));
        }
        assert_eq!(mappings(&node), known.map(|net| (prefix(net), true))[..2 * records], "{demand:?}");
        node.advance(secs(1));
        assert!(questions(&mut node).is_empty(), "no packet is there yet");
        if records == 0 {
            miss(&mut node);
            assert_eq!(questions(&mut node).len(), 1);
        }
    }
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

/// Of a site that has moved to an xTR that cannot sign E says that it is there.
#[test]
fn what_nobody_can_sign_for_is_not_taken_back_from_another_xtr() {
    const MOVED: &str = "10.1.0.0/16";
    let map_server = server(Algorithm::HkdfSha256, TagForm::Truncated, &[MOVED]);
    let mut node = Node::new(&[MOVED], &[RLOC], vec![map_server], vec![MapSystem::Node(RESOLVER.parse().unwrap())]);
    node.control = node.control.secured(protection(Demand::Require));
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    let records = reply_to(&Default::default(), &[(MOVED, 1440)]).records;
    node.notify(&MapRegister { nonce: Nonce(1 << 60), records, ..register }, |notify| notify);
    node.sent.clear();
    node.advance(limits::MOVE_DOUBTED);
    let question = questions(&mut node).remove(0);
    from_resolver(&mut node, &question.nobody_signs_for(MOVED));
    node.advance(secs(1));
    assert_eq!((node.sent.len(), node.control.all_moved()), (0, &[prefix(MOVED)][..]), "nothing is registered");
    node.advance(limits::MOVE_DOUBTED - secs(1));
    let question = questions(&mut node).remove(0);
    let nobodys = reply_to(&question.request, &[]).with_negative(MOVED, Action::NativelyForward, 1);
    from_resolver(&mut node, &Seal::default().of(&question, &[MOVED], &nobodys));
    node.advance(secs(0));
    assert_eq!(node.register().1.records[0].eid, prefix(MOVED).into(), "nobody has it");
}
