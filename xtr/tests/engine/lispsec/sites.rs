// SPDX-License-Identifier: GPL-2.0-or-later
//! A PITR finds the sites of an aggregate (RFC 6832, section 5.1) under LISP-SEC as it resolves them.

use wire::address::{EidPrefix, InstanceId};
use wire::control::ControlMessage;
use wire::record::Action;
use xtr::interwork::Interworking;
use xtr::refusal::Refusal;
use xtr::resolve::Demand;
use xtr::transport::MapSystem;

use super::itr::{Question, Seal, from_resolver, protection, questions};
use crate::double::{Node, RESOLVER, RLOC, WithNegative as _, prefix, reply_to, secs};

/// Signs its answers, and answers no other question.
const SIGNING: &str = "198.18.4.0/24";
/// Cannot sign.
const OPEN: &str = "198.19.0.0/16";

fn pitr(demand: Demand) -> Node {
    let mut node = Node::new(&[], &[RLOC], vec![], vec![MapSystem::Node(RESOLVER.parse().unwrap())]);
    let roles = Interworking { pitr_in: vec![prefix("198.18.0.0/15")], ..Interworking::default() };
    let (now, plain) = (node.now, Node::new(&[], &[RLOC], vec![], vec![]).control);
    let control = std::mem::replace(&mut node.control, plain).interworking(now, roles, [3; 32]);
    node.control = control.secured(protection(demand));
    node
}

/// The hole or site at an address, and its answer, as a map system with both has it.
fn answer(question: &Question) -> Option<Vec<u8>> {
    let host = question.request.records[0].eid.ip_prefix().unwrap();
    let at = |site: &str| prefix(site).covers(&host);
    let plain = |message| Some(ControlMessage::from(message).encode().unwrap());
    match (&question.ad, at(SIGNING), at(OPEN)) {
        (Some(_), true, _) => Some(question.answer(&[SIGNING], &[(SIGNING, 60)])),
        (None, true, _) => None,
        (Some(_), _, true) => Some(question.nobody_signs_for(OPEN)),
        // Whoever is on the way says that it is all.
        (None, _, true) => plain(reply_to(&question.request, &[("198.18.0.0/15", 60)])),
        (ad, ..) => {
            let all = (0..=32).filter_map(|length| EidPrefix::new(InstanceId(0), host.net.addr(), length));
            let is_hole = |hole: &EidPrefix| ![SIGNING, OPEN].iter().any(|site| hole.covers(&prefix(site)));
            let hole = all.into_iter().find(is_hole).unwrap().net.to_string();
            let negative = reply_to(&question.request, &[]).with_negative(&hole, Action::NativelyForward, 15);
            match ad {
                Some(_) => Some(Seal::default().of(question, &[&hole], &negative)),
                None => plain(negative),
            }
        }
    }
}

fn walk(node: &mut Node, answer: impl Fn(&Question) -> Option<Vec<u8>>) -> Vec<String> {
    for _ in 0..300 {
        node.advance(secs(1) / 10);
        for question in questions(node) {
            answer(&question).iter().for_each(|bytes| from_resolver(node, bytes));
        }
    }
    node.control.aggregates()[0].sites.iter().map(ToString::to_string).collect()
}

#[test]
fn a_site_that_signs_is_found_by_who_asks_so_and_one_that_cannot_only_where_that_is_allowed() {
    assert_eq!(walk(&mut pitr(Demand::Off), answer), ["198.18.0.0/15"], "whatever anybody says");
    assert_eq!(walk(&mut pitr(Demand::Prefer), answer), [SIGNING, OPEN]);
    assert_eq!(walk(&mut pitr(Demand::Require), answer), [SIGNING]);
}

#[test]
fn what_does_not_prove_itself_is_no_answer() {
    let mut node = pitr(Demand::Require);
    let stripped = |question: &Question| {
        let reply = reply_to(&question.request, &[("198.18.0.0/15", 60)]);
        Some(ControlMessage::from(reply).encode().unwrap())
    };
    assert_eq!(walk(&mut node, stripped), Vec::<String>::new());
    assert!(node.refused(Refusal::SecReplyUnprotected) > 0);
    let is_found = (0..6).any(|_| walk(&mut node, answer) == [SIGNING]);
    assert!(is_found, "the next walk begins within two minutes");
}
