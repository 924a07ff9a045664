// SPDX-License-Identifier: GPL-2.0-or-later
//! How much protection is demanded, and what follows when that changes while the node runs.

use xtr::limits;
use xtr::map_cache::{Event, Update};
use xtr::refusal::Refusal;
use xtr::resolve::{Demand, LispSec};

use super::itr::{EID, SITE, ask, from_resolver, itr, mappings, miss, protection, questions};
use super::unsigned::openly;
use crate::double::{Node, RESOLVER, prefix, reply_to, secs};
use crate::log;

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
fn protection_can_be_required_while_the_node_runs() {
    let mut node = Node::plain();
    let open = ask(&mut node);
    assert!(open.ad.is_none());
    node.control.protect(protection(Demand::Require));
    node.reply(&reply_to(&open.request, &[(SITE, 1440)]));
    assert_eq!((mappings(&node), node.refused(Refusal::ReplyUnasked)), (vec![], 1), "asked before it was");
    node.advance(secs(1));
    let question = questions(&mut node).remove(0);
    from_resolver(&mut node, &question.answer(&[SITE], &[(SITE, 1440)]));
    assert_eq!(mappings(&node), [(prefix(SITE), true)]);
}

fn demand(node: &mut Node, demand: Demand) {
    node.control.protect(protection(demand));
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
