// SPDX-License-Identifier: GPL-2.0-or-later
//! EIDs of a node that come and go while it runs: the control half in virtual time, and what the packet half is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::double::{Node, RLOC, SERVER, key, prefix, secs};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister, MapRequest, Nonce};
use wire::data::{Ipv6Header, LispHeader, TrafficClass};
use wire::record::Ttl;
use xtr::counters::{Counters, DropReason};
use xtr::database::{Database, OwnLocator};
use xtr::engine::{Config, Input};
use xtr::etr::{Etr, EtrConfig, OuterInfo};
use xtr::itr::{Itr, ItrConfig, Output, Verdict};
use xtr::limits::EID_PREFIXES;
use xtr::map_cache::Update;
use xtr::refusal::Refusal;
use xtr::register::Server;
use xtr::transport::{MapSystem, Via};

const STATIC: &str = "3fff:ce1::a:1/128";
const DAILY: &str = "3fff:ce1::a:2/128";

/// A node with a map system in its process and one elsewhere, and a static CGEID; what it registers at first is confirmed.
fn node() -> Node {
    let server = |to| Server {
        to,
        key: key(Algorithm::HkdfSha256),
        tag: TagForm::Truncated,
        narrow_coverage: false,
        proxy_reply: true,
        identity: None,
        prefixes: vec![prefix(STATIC)],
    };
    let locator = OwnLocator::new(RLOC.parse().unwrap(), 1, 100);
    let mut node = Node::from_config(Config {
        database: Database::new(vec![prefix(STATIC)], vec![locator], Ttl::DEFAULT),
        cgeid_network: Some("3fff:ce1::/32".parse().unwrap()),
        servers: vec![server(MapSystem::Pipe), server(MapSystem::Node(SERVER.parse().unwrap()))],
        resolvers: vec![MapSystem::Pipe],
        nonce_floor: Nonce(1000),
        seed: [7; 32],
    });
    let first = piped(&mut node);
    assert_eq!(prefixes(&first), [prefix(STATIC)]);
    confirm(&mut node, &first);
    node
}

/// The only Map-Register that went into the pipe since the last call.
fn piped(node: &mut Node) -> MapRegister {
    let sent = std::mem::take(&mut node.piped);
    let [bytes] = sent.as_slice() else { panic!("{} messages", sent.len()) };
    decoded(bytes)
}

fn decoded(bytes: &[u8]) -> MapRegister {
    match ControlMessage::decode(bytes).unwrap() {
        ControlMessage::MapRegister(register) => register,
        other => panic!("{other:?}"),
    }
}

fn prefixes(register: &MapRegister) -> Vec<EidPrefix> {
    register.records.iter().filter_map(|record| record.eid.ip_prefix()).collect()
}

fn confirm(node: &mut Node, register: &MapRegister) {
    let notify = MapNotify { nonce: register.nonce, records: register.records.clone(), ..MapNotify::default() };
    let bytes = auth::seal(&notify.into(), &key(Algorithm::HkdfSha256), TagForm::Truncated).unwrap();
    node.input(Input::Datagram { via: Via::Pipe, bytes: &bytes });
}

fn local_eids(node: &mut Node) -> Vec<Vec<EidPrefix>> {
    let eids = |update| if let Update::LocalEids(prefixes) = update { Some(prefixes) } else { None };
    node.updates().into_iter().filter_map(eids).collect()
}

#[test]
fn an_eid_that_comes_is_registered_at_once_with_those_that_are_there() {
    let mut node = node();
    node.advance(secs(10));
    node.input(Input::AddEid(prefix(DAILY)));
    let register = piped(&mut node);
    assert_eq!(prefixes(&register), [prefix(STATIC), prefix(DAILY)]);
    assert!(register.records.iter().all(|record| record.ttl == Ttl::DEFAULT && record.locators.len() == 1));
    assert_eq!(local_eids(&mut node), [[prefix(STATIC), prefix(DAILY)]]);
    confirm(&mut node, &register);
    assert_eq!(node.control.tally().total(), 0);
    node.input(Input::AddEid(prefix(DAILY)));
    assert!(node.piped.is_empty() && node.updates().is_empty(), "the same one again is no news");
    node.advance(secs(60));
    assert_eq!(prefixes(&piped(&mut node)).len(), 2, "and refreshed with them");
}

#[test]
fn a_cgeid_goes_through_the_pipe_only() {
    let mut node = node();
    node.input(Input::AddEid(prefix(DAILY)));
    node.advance(secs(3));
    assert!(node.sent.is_empty(), "the Map-Server elsewhere cannot sign it");
    let public = prefix("2001:db8:a::/48");
    node.input(Input::AddEid(public));
    assert_eq!(prefixes(&node.register().1), [public]);
}

#[test]
fn an_eid_that_goes_is_deregistered_at_once_and_its_neighbours_stay() {
    let mut node = node();
    node.input(Input::AddEid(prefix(DAILY)));
    let register = piped(&mut node);
    confirm(&mut node, &register);
    node.updates();
    node.input(Input::RemoveEid(prefix(DAILY)));
    let withdrawal = piped(&mut node);
    assert_eq!(prefixes(&withdrawal), [prefix(DAILY)]);
    assert!(withdrawal.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN && record.locators.is_empty()));
    assert!(withdrawal.nonce > register.nonce);
    assert_eq!(local_eids(&mut node), [[prefix(STATIC)]]);
    let rows: Vec<_> = node.control.registrations(node.now).map(|row| (row.prefixes, row.withdrawing)).collect();
    assert_eq!(rows, [(vec![prefix(STATIC)], false), (vec![prefix(DAILY)], true)]);
    confirm(&mut node, &withdrawal);
    assert_eq!(node.control.registrations(node.now).count(), 1);
    node.advance(secs(60));
    assert_eq!(prefixes(&piped(&mut node)), [prefix(STATIC)]);
    assert_eq!(node.control.tally().total(), 0);
}

#[test]
fn a_withdrawal_that_nobody_confirms_ends_when_the_server_has_forgotten() {
    let mut node = node();
    node.input(Input::AddEid(prefix(DAILY)));
    piped(&mut node);
    node.input(Input::RemoveEid(prefix(DAILY)));
    node.advance(Duration::from_secs(600));
    let sent = std::mem::take(&mut node.piped);
    let withdrawals = sent.iter().filter(|bytes| prefixes(&decoded(bytes)) == [prefix(DAILY)]).count();
    assert_eq!(withdrawals, 8);
    assert_eq!(node.control.registrations(node.now).count(), 1);
}

#[test]
fn one_that_comes_back_outruns_its_withdrawal() {
    let mut node = node();
    node.input(Input::AddEid(prefix(DAILY)));
    piped(&mut node);
    node.input(Input::RemoveEid(prefix(DAILY)));
    let withdrawal = piped(&mut node);
    node.input(Input::AddEid(prefix(DAILY)));
    let register = piped(&mut node);
    assert!(prefixes(&register).contains(&prefix(DAILY)) && register.nonce > withdrawal.nonce);
    node.advance(secs(10));
    for bytes in std::mem::take(&mut node.piped) {
        assert!(decoded(&bytes).records.iter().all(|record| record.ttl != Ttl::WITHDRAWN));
    }
}

#[test]
fn at_the_end_those_that_came_are_taken_back_too() {
    let mut node = node();
    node.input(Input::AddEid(prefix(DAILY)));
    let register = piped(&mut node);
    confirm(&mut node, &register);
    node.input(Input::Shutdown);
    let withdrawal = piped(&mut node);
    assert_eq!(prefixes(&withdrawal), [prefix(STATIC), prefix(DAILY)]);
    assert!(withdrawal.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN));
    confirm(&mut node, &withdrawal);
    assert!(node.control.is_withdrawn());
    node.input(Input::AddEid(prefix("3fff:ce1::a:3/128")));
    assert!(node.piped.is_empty(), "nobody registers on the way out");
}

#[test]
fn requests_are_answered_for_what_is_there_now() {
    let mut node = node();
    let asked = |node: &mut Node| {
        let request = MapRequest {
            nonce: Nonce(7),
            itr_rlocs: vec!["198.51.100.1".parse::<IpAddr>().unwrap().into()],
            records: vec![wire::control::EidRequest { notify: false, eid: prefix(DAILY).into() }],
            ..MapRequest::default()
        };
        node.datagram("198.51.100.1:4342", &request.into());
        node.replies().len()
    };
    assert_eq!(asked(&mut node), 0);
    node.input(Input::AddEid(prefix(DAILY)));
    assert_eq!(asked(&mut node), 1);
    node.input(Input::RemoveEid(prefix(DAILY)));
    assert_eq!(asked(&mut node), 0);
    assert_eq!(node.refused(Refusal::RequestNotOurs), 2);
}

#[test]
fn there_is_room_for_so_many_eids() {
    let mut node = node();
    for number in 0..EID_PREFIXES {
        node.input(Input::AddEid(prefix(&format!("3fff:ce1::b:{number:x}/128"))));
    }
    assert_eq!(node.control.database().prefixes().len(), EID_PREFIXES);
    assert_eq!(node.refused(Refusal::EidTableFull), 1);
}

// --- the packet half

fn packet(source: &str, destination: &str) -> Vec<u8> {
    let header = Ipv6Header {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        next_header: 59,
        hop_limit: 9,
        class: TrafficClass(0),
        flow_label: 0,
    };
    header.emit(0).unwrap().to_vec()
}

fn eids(texts: &[&str]) -> Update {
    Update::LocalEids(texts.iter().map(|text| prefix(text)).collect())
}

#[test]
fn the_etr_takes_packets_for_the_eids_of_now() {
    let mut etr = Etr::new(EtrConfig::default(), Arc::new(Counters::default()));
    let outer = OuterInfo {
        source: "192.0.2.9".parse().unwrap(),
        destination: RLOC.parse().unwrap(),
        source_port: 50_000,
        ttl: 64,
        class: TrafficClass(0),
    };
    let taken = |etr: &Etr| {
        let inner = packet("3fff:ce1::b:1", "3fff:ce1::a:2");
        let mut payload = [LispHeader::plain(InstanceId(0)).emit().as_slice(), &inner].concat();
        etr.handle(&outer, &mut payload).map(|_| ())
    };
    etr.update(&eids(&[STATIC]));
    assert_eq!(taken(&etr), Err(DropReason::CoreNotOurs));
    etr.update(&eids(&[STATIC, DAILY]));
    assert_eq!(taken(&etr), Ok(()));
    etr.update(&eids(&[STATIC]));
    assert_eq!(taken(&etr), Err(DropReason::CoreNotOurs));
}

#[test]
fn the_itr_speaks_for_the_eids_of_now() {
    let now = Instant::now();
    let icmp_sources = vec!["3fff:ce1::a:2".parse().unwrap()];
    let config = ItrConfig { iid: InstanceId(0), icmp_sources, core_mtu: 1500, gpe_peers: vec![] };
    let mut itr = Itr::new(now, config, Arc::new(Counters::default()));
    itr.update(now, eids(&[STATIC, DAILY]));
    // To an EID of its own: the kernel has no host for it, and the tunnel leads nowhere.
    let to_daily = packet("3fff:ce1::b:1", "3fff:ce1::a:2");
    let to_static = packet("3fff:ce1::b:1", "3fff:ce1::a:1");
    let error_from = |itr: &mut Itr| match itr.poll() {
        Some(Output::Site(message)) => message[8..24].to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(itr.handle(now, &to_daily), Verdict::Dropped(DropReason::SiteOwnEid));
    assert_eq!(error_from(&mut itr).last(), Some(&2));
    itr.update(now, eids(&[STATIC]));
    assert_eq!(itr.handle(now, &to_daily), Verdict::Later, "somebody else may have it now: it is asked for");
    assert_eq!(itr.handle(now, &to_static), Verdict::Dropped(DropReason::SiteOwnEid));
    assert_eq!(error_from(&mut itr).last(), Some(&1), "no error comes from an address that is gone");
}
