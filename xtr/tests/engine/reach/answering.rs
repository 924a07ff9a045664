// SPDX-License-Identifier: GPL-2.0-or-later
//! What others hear of our own locators: answers to their probes, and the R-bit.

use std::net::{IpAddr, SocketAddr};

use wire::control::auth::{Algorithm, TagForm};
use wire::control::{MapRequest, Nonce};
use wire::record::MappingRecord;
use xtr::engine::Input;
use xtr::map_cache::Update;
use xtr::refusal::Refusal;

use super::{PEER, ask, ip, own, probe_about};
use crate::double::{Node, RLOC};

#[test]
fn a_probe_about_an_eid_prefix_that_has_left_is_answered_without_a_record_of_it() {
    let mut node = Node::plain();
    for _ in 0..7 {
        node.datagram("198.51.100.1:4342", &probe_about("10.99.0.0/16").into());
    }
    let replies = node.replies();
    assert_eq!(replies.len(), 6, "six in three seconds");
    assert!(replies.iter().all(|(_, reply)| reply.probe && reply.nonce == Nonce(7) && reply.records.is_empty()));
    assert_eq!(node.refused(Refusal::ProbeRateLimited), 1);
}

#[test]
fn who_names_an_itr_from_elsewhere_uses_up_nothing_of_what_it_has() {
    let mut node = Node::plain();
    for number in 0..50 {
        node.datagram(&format!("203.0.113.{}:4342", 100 + number), &probe_about("10.1.0.0/16").into());
    }
    assert_eq!(node.replies().len(), 16, "nor is it flooded");
    node.datagram("198.51.100.1:4342", &probe_about("10.1.0.0/16").into());
    assert_eq!(node.reply_sent().0, SocketAddr::new(ip(PEER), 4342));
}

#[test]
fn a_flood_of_invented_itrs_leaves_answers_for_others() {
    let mut node = Node::plain();
    for number in 0..5000u16 {
        let [high, low] = number.to_be_bytes();
        let itr = IpAddr::from([198, 18, high, low]);
        let flood = MapRequest { itr_rlocs: vec![itr.into()], ..probe_about("10.1.0.0/16") };
        node.datagram("203.0.113.66:4342", &flood.into());
    }
    node.sent.clear();
    node.datagram("198.51.100.1:4342", &probe_about("10.1.0.0/16").into());
    assert_eq!(node.reply_sent().0, SocketAddr::new(ip(PEER), 4342));
}

fn reachable_bits(records: &[MappingRecord]) -> Vec<(String, bool)> {
    records[0].locators.iter().map(|l| (l.rloc.ip().unwrap().to_string(), l.reachable)).collect()
}

#[test]
fn a_locator_out_of_reach_is_registered_and_answered_with_the_r_bit_clear() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    let locators = vec![own(RLOC), own("192.0.2.2")];
    node.input(Input::Reached { locators: locators.clone(), unreachable: vec![ip(RLOC)] });
    let (_, register) = node.register();
    let expected = [(RLOC.to_owned(), false), ("192.0.2.2".to_owned(), true)];
    assert_eq!(reachable_bits(&register.records), expected);
    assert!(node.updates().contains(&Update::LocalRlocs(vec![ip("192.0.2.2")])), "packets go out from the other");
    node.notify(&register, |notify| notify);
    ask(&mut node, PEER, "10.1.2.3/32");
    assert_eq!(reachable_bits(&node.reply_sent().1.records), expected);
    node.input(Input::Reached { locators: locators.clone(), unreachable: vec![ip(RLOC)] });
    assert!(node.registers().is_empty(), "nothing has changed");
    node.input(Input::Reached { locators, unreachable: vec![] });
    assert_eq!(reachable_bits(&node.register().1.records)[0], (RLOC.to_owned(), true));
}
