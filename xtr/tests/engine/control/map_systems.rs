// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Servers and Map-Resolvers come, change and go.

use super::moving::{ask, eids, ip, registered, solicited};
use crate::double::{Node, RESOLVER, RLOC, SERVER, key, prefix, secs};
use std::net::IpAddr;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{MapNotify, MapRegister};
use wire::record::Ttl;
use xtr::database::OwnLocator;
use xtr::engine::Input;
use xtr::refusal::Refusal;
use xtr::register::{Server, limits};
use xtr::transport::MapSystem;

const SECOND_SERVER: &str = "203.0.113.11";

pub(super) fn server(address: &str, key: AuthKey) -> Server {
    let (to, tag) = (MapSystem::Node(ip(address)), TagForm::Truncated);
    Server { to, key, tag, narrow_coverage: false, proxy_reply: true, identity: None, prefixes: vec![] }
}

pub(super) fn ours() -> AuthKey {
    key(Algorithm::HkdfSha256)
}

fn other_key() -> AuthKey {
    AuthKey { id: 2, secret: Secret::new("another"), ..ours() }
}

pub(super) fn take(node: &mut Node, servers: Vec<Server>, resolvers: &[&str]) {
    let resolvers = resolvers.iter().map(|text| MapSystem::Node(ip(text))).collect();
    node.input(Input::MapSystems { servers, resolvers, subscriptions: vec![] });
}

/// The Map-Registers that were sent: to whom, for what, and whether they take it back.
fn sent(node: &mut Node, under: &AuthKey) -> Vec<(String, Vec<String>, bool)> {
    let register = |(_, to, bytes): (IpAddr, std::net::SocketAddr, Vec<u8>)| {
        assert_eq!(auth::verify(&bytes, under, Accept::STRICT), Ok(()));
        let register = MapRegister::decode(&bytes).unwrap();
        let is_over = register.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN && record.locators.is_empty());
        (to.ip().to_string(), eids(&register), is_over)
    };
    std::mem::take(&mut node.sent).into_iter().map(register).collect()
}

pub(super) fn both() -> Vec<String> {
    ["10.1.0.0/16", "2001:db8:a::/48"].map(str::to_owned).to_vec()
}

#[test]
fn a_map_server_that_comes_is_registered_with_and_nothing_is_sent_to_those_that_stay() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SERVER, ours()), server(SECOND_SERVER, ours())], &[RESOLVER]);
    assert_eq!(sent(&mut node, &ours()), [(SECOND_SERVER.to_owned(), both(), false)]);
    take(&mut node, vec![server(SERVER, ours()), server(SECOND_SERVER, ours())], &[RESOLVER]);
    assert_eq!(node.sent.len(), 0, "the same again is no news");
    node.input(Input::AddEid(prefix("10.9.0.0/16")));
    assert_eq!(sent(&mut node, &ours()).len(), 2, "what comes later goes to both");
}

#[test]
fn a_map_server_that_goes_gets_a_withdrawal_until_it_confirms() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SECOND_SERVER, ours())], &[RESOLVER]);
    let withdrawn = (SERVER.to_owned(), both(), true);
    let registers: Vec<(_, MapRegister)> =
        node.sent.iter().map(|(_, to, bytes)| (to.ip().to_string(), MapRegister::decode(bytes).unwrap())).collect();
    assert_eq!(sent(&mut node, &ours()), [withdrawn.clone(), (SECOND_SERVER.to_owned(), both(), false)]);
    node.advance(secs(1));
    assert!(sent(&mut node, &ours()).contains(&withdrawn), "not confirmed: once more");
    let (_, withdrawal) = registers.iter().find(|(to, _)| to == SERVER).unwrap();
    node.notify(withdrawal, |notify| notify);
    let rows: Vec<_> = node.control.registrations(node.now).collect();
    assert_eq!((rows.len(), rows[0].server), (1, MapSystem::Node(ip(SECOND_SERVER))));
    // What is learned about the one that is left is not mixed up with the one that has gone.
    let (_, register) = registers.iter().find(|(to, _)| to == SECOND_SERVER).unwrap();
    node.notify(register, |notify| notify);
    assert_eq!(node.control.registrations(node.now).next().unwrap().confirmed_ago, Some(secs(0)));
    node.advance(limits::REFRESH);
    assert_eq!(sent(&mut node, &ours()), [(SECOND_SERVER.to_owned(), both(), false)]);
}

#[test]
fn one_that_never_confirms_its_withdrawal_is_forgotten_and_one_that_comes_back_meanwhile_is_not() {
    let (mut node, _) = registered();
    take(&mut node, vec![], &[RESOLVER]);
    node.advance(secs(600));
    let withdrawals = sent(&mut node, &ours()).len();
    assert_eq!((withdrawals, node.control.registrations(node.now).count()), (limits::WITHDRAWALS as usize, 0));
    take(&mut node, vec![server(SERVER, ours())], &[RESOLVER]);
    assert_eq!(sent(&mut node, &ours()), [(SERVER.to_owned(), both(), false)]);
    take(&mut node, vec![], &[RESOLVER]);
    take(&mut node, vec![server(SERVER, ours())], &[RESOLVER]);
    assert_eq!(sent(&mut node, &ours()).pop(), Some((SERVER.to_owned(), both(), false)));
    node.advance(secs(600));
    assert!(sent(&mut node, &ours()).iter().all(|(_, _, is_over)| !is_over));
}

#[test]
fn another_key_is_taken_at_once() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SERVER, other_key())], &[RESOLVER]);
    let (_, register) = {
        let (_, _, bytes) = node.sent[0].clone();
        (0, MapRegister::decode(&bytes).unwrap())
    };
    assert_eq!(sent(&mut node, &other_key()), [(SERVER.to_owned(), both(), false)]);
    let under = |node: &mut Node, key: &AuthKey| node.notify_with(&register, key, |notify: MapNotify| notify);
    under(&mut node, &ours());
    assert_eq!(node.refused(Refusal::NotifyBadTag), 1);
    under(&mut node, &other_key());
    assert_eq!(node.control.registrations(node.now).next().unwrap().confirmed_ago, Some(secs(0)));
}

#[test]
fn other_map_resolvers_are_asked_from_then_on() {
    let mut node = Node::plain();
    take(&mut node, vec![], &["203.0.113.54"]);
    assert_eq!(node.miss("2001:db8:b::2/128").0, "203.0.113.54");
}

#[test]
fn other_map_resolvers_are_asked_about_what_rests() {
    let mut node = Node::plain();
    node.miss("2001:db8:b::2/128");
    node.advance(secs(60));
    node.sent.clear();
    take(&mut node, vec![], &[RESOLVER]);
    assert!(node.sent.is_empty(), "they are the same");
    take(&mut node, vec![], &["203.0.113.54"]);
    assert_eq!(node.requests()[0].0, "203.0.113.54");
}

const V6_SERVER: &str = "2001:db8:53::1";
const V6_RLOC: &str = "2001:db8:1::1";

/// The node has these locators from now on.
fn located(node: &mut Node, rlocs: &[&str]) {
    node.input(Input::Locators(rlocs.iter().map(|rloc| OwnLocator::new(ip(rloc), 1, 100)).collect()));
}

#[test]
fn itrs_are_told_at_once_though_a_map_server_is_of_a_family_that_the_node_lacks() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SERVER, ours()), server(V6_SERVER, ours())], &[RESOLVER]);
    ask(&mut node);
    located(&mut node, &["192.0.2.9"]);
    assert_eq!(solicited(&mut node), Vec::<String>::new(), "not before the other has confirmed it");
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    assert_eq!(solicited(&mut node), ["10.1.0.0/16"]);
    // One that is of both waits for both.
    ask(&mut node);
    located(&mut node, &["192.0.2.9", V6_RLOC]);
    let (_, register) = node.registers().remove(0);
    node.notify(&register, |notify| notify);
    assert_eq!(solicited(&mut node), Vec::<String>::new());
}

#[test]
fn a_withdrawal_that_cannot_be_sent_ends_like_one_that_nobody_answers() {
    let (mut node, _) = registered();
    located(&mut node, &[RLOC, V6_RLOC]);
    take(&mut node, vec![server(SERVER, ours()), server(V6_SERVER, ours())], &[RESOLVER]);
    located(&mut node, &[RLOC]);
    node.sent.clear();
    take(&mut node, vec![server(SERVER, ours())], &[RESOLVER]);
    let withdrawn = |node: &Node| node.control.registrations(node.now).filter(|row| row.withdrawing).count();
    assert_eq!(withdrawn(&node), 1);
    node.advance(limits::LONGEST_RETRY * (limits::WITHDRAWALS - 1));
    assert_eq!(withdrawn(&node), 1, "the node may get a locator of that family");
    node.advance(limits::LONGEST_RETRY);
    assert_eq!(withdrawn(&node), 0);
}

#[test]
fn a_node_that_goes_away_withdraws_from_those_that_are_left_and_from_those_that_go() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SECOND_SERVER, ours())], &[RESOLVER]);
    node.sent.clear();
    node.input(Input::Shutdown);
    let mut to: Vec<String> =
        sent(&mut node, &ours()).into_iter().map(|(to, _, is_over)| format!("{to} {is_over}")).collect();
    to.sort();
    assert_eq!(to, [format!("{SERVER} true"), format!("{SECOND_SERVER} true")]);
}
