// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-versions (RFC 9302).

use std::time::Duration;

use wire::control::auth::{Algorithm, TagForm};
use wire::control::{MapReply, MapRequest, Nonce};
use wire::data::LispHeader;
use wire::record::{MapVersion, Ttl};
use xtr::counters::{Count, DropReason};
use xtr::database::Database;
use xtr::engine::{Config, Input};
use xtr::map_cache::Event;
use xtr::register::Server;
use xtr::transport::MapSystem;

use super::lab::Lab;
use super::{SITES, ip, locator, node_with_two_mappings, own, own_locators, record, trust};
use crate::double::{Node, SERVER, key, prefix, secs};

#[test]
fn packets_tell_both_versions_and_the_map_cache_shows_theirs() {
    let mut lab = Lab::new([trust(), trust()], [69, 4095]);
    lab.run(secs(1));
    for (site, source, destination) in [(0, 69, 4095), (1, 4095, 69)] {
        let versions = lab.sites[site].last().lisp().versions.unwrap();
        assert_eq!((versions.source, versions.destination), (MapVersion(source), MapVersion(destination)));
    }
    let shown = lab.sites[0].node.control.map_cache(lab.now()).next().unwrap().1.map_version;
    assert_eq!(shown, MapVersion(4095));
}

#[test]
fn registers_carry_the_version_and_the_next_one_after_a_change() {
    let net = SITES[0].0;
    let server = Server {
        to: MapSystem::Node(ip(SERVER)),
        key: key(Algorithm::HkdfSha256),
        tag: TagForm::Truncated,
        narrow_coverage: false,
        proxy_reply: true,
        identity: None,
        prefixes: vec![prefix(net)],
    };
    let mut node = Node::from_config(Config {
        database: Database::new(vec![prefix(net)], own_locators(0), Ttl::DEFAULT).with_map_version(MapVersion(4095)),
        cgeid_network: None,
        servers: vec![server],
        resolvers: vec![],
        nonce_floor: Nonce(1000),
        seed: [7; 32],
    });
    assert_eq!(node.register().1.records[0].map_version, MapVersion(4095));
    node.input(Input::Locators(vec![own(SITES[0].2[0], 1)]));
    assert_eq!(node.register().1.records[0].map_version, MapVersion(1), "0 is no version");
    let mut plain = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    assert_eq!(plain.register().1.records[0].map_version, MapVersion(0));
    plain.input(Input::Locators(vec![own(SITES[0].2[1], 1)]));
    assert_eq!(plain.register().1.records[0].map_version, MapVersion(0), "none is made up");
}

#[test]
fn to_a_site_without_versions_none_is_told() {
    let mut lab = Lab::new([trust(), trust()], [69, 0]);
    lab.run(secs(5));
    for site in &lab.sites {
        assert!(site.sent.iter().all(|(_, outer)| outer.lisp == [0; LispHeader::LENGTH]));
        assert_eq!(site.counters.get(Count::Decapsulated), site.counters.get(Count::Encapsulated));
    }
}

#[test]
fn a_newer_version_of_the_source_brings_the_new_mapping_without_any_smr() {
    let mut lab = Lab::new([trust(), trust()], [69, 4095]);
    lab.loses_smrs = true;
    let [first, second] = SITES[1].2;
    lab.sites[1].node.input(Input::Locators(vec![own(first, 2), own(second, 1)]));
    lab.run(secs(2));
    assert_eq!(lab.sites[1].node.control.database().map_version(), MapVersion(1), "after 4095 comes 1");
    let said = lab.sites[0].last();
    assert_eq!((said.destination, said.lisp().versions.unwrap().destination), (ip(second), MapVersion(1)));
    assert!(lab.sites[0].counters.get(Count::SourceVersionNewer) > 0);
    assert_eq!(lab.sites[1].node.control.counts().smrs_received, 0);
}

#[test]
fn an_itr_that_keeps_an_old_mapping_is_told_then_dropped_and_heard_again_when_it_asks() {
    let mut lab = Lab::new([trust(), trust()], [69, 9]);
    // The mapping system lags behind, and packets go one way only: nothing but SMRs would tell the near site.
    lab.old = lab.registered(1, &MapRequest::default()).records.pop();
    lab.sites[1].sends = false;
    lab.loses_smrs = true;
    let [first, second] = SITES[1].2;
    lab.sites[1].node.input(Input::Locators(vec![own(first, 2), own(second, 1)]));
    lab.run(secs(27));
    assert_eq!(lab.dropped(1, DropReason::CoreVersionStale), 0);
    assert!(lab.sites[1].counters.get(Count::VersionOld) > 2000);
    lab.run(secs(13));
    let dropped = lab.dropped(1, DropReason::CoreVersionStale);
    assert!(dropped > 900, "{dropped}");
    let told = lab.sites[1].node.control.counts().smrs_sent;
    assert!((10..=14).contains(&told), "{told}");
    (lab.loses_smrs, lab.old) = (false, None);
    lab.run(secs(31));
    assert_eq!(lab.sites[0].last().lisp().versions.unwrap().destination, MapVersion(10));
    let dropped = lab.dropped(1, DropReason::CoreVersionStale);
    lab.run(secs(10));
    assert_eq!(lab.dropped(1, DropReason::CoreVersionStale), dropped);
}

#[test]
fn who_keeps_saying_newer_costs_a_request_in_three_seconds() {
    let (mut node, _) = node_with_two_mappings();
    let mut asked = 0;
    for _ in 0..300 {
        node.event(Event::VersionNewer { prefix: prefix("2001:db8:b::/48") });
        for (_, request) in node.requests() {
            asked += 1;
            let locators = vec![locator("198.51.100.1"), locator("198.51.100.2")];
            let records = vec![record("2001:db8:b::/48", 5, locators)];
            node.reply(&MapReply { nonce: request.nonce, records, ..MapReply::default() });
        }
        node.advance(Duration::from_millis(100));
    }
    assert!((9..=11).contains(&asked), "{asked}");
    node.event(Event::VersionNewer { prefix: prefix("2001:db8:77::/48") });
    assert!(node.requests().is_empty(), "of what is not cached nothing is asked");
}
