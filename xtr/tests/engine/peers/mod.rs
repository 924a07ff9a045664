// SPDX-License-Identifier: GPL-2.0-or-later
//! Echo-nonce, locator-status-bits and map-versions between two whole nodes in virtual time: control halves and packet halves, and a
//! wire that can be cut.

mod echo_nonce;
mod lab;
mod locator_status_bits;
mod map_versions;

use std::net::IpAddr;
use std::time::Duration;

use crate::double::{Node, prefix};
use wire::control::MapReply;
use wire::record::{LocatorRecord, MapVersion, MappingRecord, Ttl};
use xtr::database::OwnLocator;
use xtr::map_cache::Event;
use xtr::trust::Trust;

/// EID-prefix, host and locators of each site; the first locator is preferred.
const SITES: [(&str, &str, [&str; 2]); 2] = [
    ("2001:db8:a::/48", "2001:db8:a::1", ["192.0.2.1", "192.0.2.2"]),
    ("2001:db8:b::/48", "2001:db8:b::1", ["198.51.100.1", "198.51.100.2"]),
];
const STEP: Duration = Duration::from_millis(10);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn own(address: &str, priority: u8) -> OwnLocator {
    OwnLocator::new(ip(address), priority, 100)
}

fn own_locators(site: usize) -> Vec<OwnLocator> {
    (1..).zip(SITES[site].2).map(|(priority, rloc)| own(rloc, priority)).collect()
}

/// Both sites trust each other.
fn trust() -> Trust {
    let networks = ["192.0.2.0/24", "198.51.100.0/24"].map(|net| net.parse().unwrap());
    Trust::of(&networks)
}

fn locator(rloc: &str) -> LocatorRecord {
    LocatorRecord::new(ip(rloc), 1, 100)
}

fn record(net: &str, version: u16, locators: Vec<LocatorRecord>) -> MappingRecord {
    let record = MappingRecord::new(prefix(net), Ttl::DEFAULT, locators);
    MappingRecord { map_version: MapVersion(version), authoritative: false, ..record }
}

fn status_bits(rloc: &str, bits: u32, width: u8, version: u16) -> Event {
    let prefix = prefix("2001:db8:b::/48");
    Event::StatusBits { prefix, rloc: ip(rloc), version: MapVersion(version), bits, width }
}

fn trusting_node() -> Node {
    let mut node = Node::plain();
    node.control = node.control.trusting(node.now, trust().with_status_bits(true), [3; 32]);
    node
}

fn map(node: &mut Node, eid: &str, record: MappingRecord) {
    let (_, request) = node.miss(eid);
    node.reply(&MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() });
}

/// Two mappings with the same locators, and bits for one of them.
fn node_with_two_mappings() -> (Node, impl Fn(u32, u8, u16) -> Event) {
    let mut node = trusting_node();
    let locators = || vec![locator("198.51.100.1"), locator("198.51.100.2")];
    map(&mut node, "2001:db8:b::1/128", record("2001:db8:b::/48", 5, locators()));
    map(&mut node, "2001:db8:c::1/128", record("2001:db8:c::/48", 5, locators()));
    node.updates();
    (node, |bits, width, version| status_bits("198.51.100.2", bits, width, version))
}
