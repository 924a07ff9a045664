// SPDX-License-Identifier: GPL-2.0-or-later
//! The draft of the mapping system has the values of this crate, and what it says of keys that are offered holds.

use std::net::IpAddr;

use crate::double::{Node, prefix};
use crate::draft::{Draft, counts, lasts};
use wire::address::{Address, Lcaf};
use wire::control::{EidRequest, MapRequest, Nonce};
use xtr::{nat, reach, register, resolve};

#[test]
fn values_of_tunnel_routers_are_those_of_the_code() {
    let coded = [
        lasts("register: REFRESH", register::limits::REFRESH),
        lasts("register: FIRST_RETRY", register::limits::FIRST_RETRY),
        lasts("register: LONGEST_RETRY", register::limits::LONGEST_RETRY),
        lasts("resolve: MIN_INTERVAL", resolve::limits::MIN_INTERVAL),
        counts("resolve: RETRANSMISSIONS", resolve::limits::RETRANSMISSIONS),
        lasts("resolve: REST", resolve::limits::REST),
        lasts("resolve: LONGEST_ASK_AGAIN", resolve::limits::LONGEST_ASK_AGAIN),
        lasts("resolve: NEGATIVE_TTL", resolve::limits::NEGATIVE_TTL),
        lasts("resolve: POSITIVE_TTL", resolve::limits::POSITIVE_TTL),
        lasts("resolve: SMR_INTERVAL", resolve::limits::SMR_INTERVAL),
        lasts("reach: SMR_INTERVAL", reach::limits::SMR_INTERVAL),
        lasts("reach: CONFIRMATION", reach::limits::CONFIRMATION),
        lasts("reach: RECENT", reach::limits::RECENT),
        lasts("nat: KEEPALIVE", nat::limits::KEEPALIVE),
        lasts("nat: KEEPALIVE_OF_SEVERAL", nat::limits::KEEPALIVE_OF_SEVERAL),
        lasts("nat: LOOK_AGAIN", nat::limits::LOOK_AGAIN),
        lasts("nat: FIRST_RETRY", nat::limits::FIRST_RETRY),
        lasts("nat: DETECTION", nat::limits::DETECTION),
        lasts("nat: BINDING", nat::limits::BINDING),
    ];
    let table = Draft::signed_dht().table("xtr");
    assert!(table.iter().all(|row| !row[3].is_empty()), "each has its meaning");
    assert_eq!(table.iter().map(|row| row[..3].to_vec()).collect::<Vec<_>>(), coded);
}

#[test]
fn a_request_that_offers_keys_is_answered_without_any() {
    let plain = Address::from("198.51.100.1".parse::<IpAddr>().unwrap());
    let offer = Lcaf::SecurityKey { algorithm: 5, revoked: false, keys: vec![vec![7; 32]], address: plain.clone() };
    let request = MapRequest {
        nonce: Nonce(1),
        itr_rlocs: vec![plain, Address::Lcaf(Box::new(offer))],
        records: vec![EidRequest { notify: false, eid: prefix("2001:db8:a::2/128").into() }],
        ..MapRequest::default()
    };
    let mut node = Node::plain();
    node.datagram("198.51.100.9:61000", &request.into());
    let (remote, reply) = node.reply_sent();
    assert_eq!(remote, "198.51.100.1:61000".parse().unwrap());
    assert!(reply.records[0].locators.iter().all(|locator| locator.rloc.ip().is_some()), "{reply:?}");
}
