// SPDX-License-Identifier: GPL-2.0-or-later
//! A node that subscribes, and the Map-Server that the test plays.

use std::net::{IpAddr, SocketAddr};

use wire::address::Address;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRequest, Nonce, XtrIdentity};
use wire::record::{Action, MappingRecord, Ttl};
use xtr::subscribe::{Association, Config, Configured, Security, State};
use xtr::transport::MapSystem;

use crate::double::{Node, RESOLVER, prefix, reply_to};

pub(crate) const SITE: &str = "2001:db8:b::/48";
pub(crate) const PART: &str = "2001:db8:b:1::/64";
pub(crate) const SERVER: &str = "203.0.113.53:4342";
pub(crate) const FIRST: &str = "198.51.100.1";
pub(crate) const SECOND: &str = "198.51.100.2";

pub(crate) fn identity() -> XtrIdentity {
    XtrIdentity { xtr_id: [7; 16], site_id: 9 }
}

pub(crate) fn shared() -> AuthKey {
    AuthKey { id: 5, algorithm: Algorithm::HkdfSha256, secret: Secret::new("between xTR and Map-Server") }
}

pub(crate) fn association(resolver: &str) -> Association {
    let (resolver, security) = (MapSystem::Node(resolver.parse().unwrap()), Security::Shared(shared()));
    Association { resolver, security, tag: TagForm::Truncated }
}

/// A node that subscribes, with these numbers behind it.
pub(crate) fn subscribing(floor: u64, associations: Vec<Association>) -> Node {
    with(Config { nonce_floor: Nonce(floor), associations, ..config() })
}

pub(crate) fn config() -> Config {
    Config {
        identity: identity(),
        associations: vec![association(RESOLVER)],
        nonce_floor: Nonce(1000),
        seed: [3; 32],
        configured: vec![],
        takes_unsubscribed: false,
    }
}

pub(crate) fn with(config: Config) -> Node {
    let mut node = Node::plain();
    let plain = std::mem::replace(&mut node.control, Node::plain().control);
    node.control = plain.subscribing(node.now, config);
    node
}

/// One that the operators have subscribed to the site after this nonce.
pub(crate) fn configured(nonce: u64) -> Config {
    Config { configured: vec![Configured { prefix: prefix(SITE), nonce, association: 0 }], ..config() }
}

/// One that takes what it has not subscribed to.
pub(crate) fn taking() -> Config {
    Config { takes_unsubscribed: true, ..config() }
}

/// The same node after a restart, with what it has put on disk.
pub(crate) fn again(node: &Node, config: Config) -> Node {
    let mut later = with(config);
    let plain = std::mem::replace(&mut later.control, Node::plain().control);
    later.control = plain.having_been_told(later.now, node.told.clone());
    later
}

/// The node, which has the mapping of a site, and the Map-Request by which it subscribes to that.
pub(crate) fn asking() -> (Node, MapRequest) {
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    let asked = asked(&mut node);
    assert_eq!(asked.len(), 1, "{asked:?}");
    node.updates();
    (node, asked[0].clone())
}

/// The node, subscribed, and its last nonce.
pub(crate) fn subscribed() -> (Node, u64) {
    let (mut node, asked) = asking();
    let confirmation = notify(asked.nonce.0, vec![record(SITE, &[FIRST])]);
    tell(&mut node, &confirmation);
    assert_eq!(acknowledged(&mut node), [asked.nonce.0]);
    node.updates();
    (node, asked.nonce.0)
}

/// The Map-Requests with the N-bit that were sent, out of their ECMs; all else that was sent is dropped.
pub(crate) fn asked(node: &mut Node) -> Vec<MapRequest> {
    requests(node).into_iter().filter(|request| request.records[0].notify).collect()
}

/// All Map-Requests that were sent.
pub(crate) fn requests(node: &mut Node) -> Vec<MapRequest> {
    let sent = std::mem::take(&mut node.sent);
    let inner = |(_, _, bytes): &(IpAddr, SocketAddr, Vec<u8>)| match ControlMessage::decode(bytes).unwrap() {
        ControlMessage::Ecm(ecm) => Some(MapRequest::decode(&ecm.message).unwrap()),
        _ => None,
    };
    sent.iter().filter_map(inner).collect()
}

/// The nonces of the Map-Notify-Acks that were sent to the Map-Server; their tags verify.
pub(crate) fn acknowledged(node: &mut Node) -> Vec<u64> {
    let sent = std::mem::take(&mut node.sent);
    let nonce = |(_, remote, bytes): &(IpAddr, SocketAddr, Vec<u8>)| match ControlMessage::decode(bytes).unwrap() {
        ControlMessage::MapNotifyAck(ack) => {
            assert_eq!(auth::verify(bytes, &shared(), Accept::STRICT), Ok(()));
            assert_eq!(remote.to_string(), SERVER);
            Some(ack.nonce.0)
        }
        _ => None,
    };
    sent.iter().filter_map(nonce).collect()
}

pub(crate) fn record(eid: &str, rlocs: &[&str]) -> MappingRecord {
    let mut record = reply_to(&MapRequest::default(), &[(eid, 1440)]).records.remove(0);
    let locator = record.locators.remove(0);
    let with = |rloc: &&str| wire::record::LocatorRecord {
        rloc: Address::from(rloc.parse::<IpAddr>().unwrap()),
        ..locator.clone()
    };
    record.locators = rlocs.iter().map(with).collect();
    record.authoritative = false;
    record
}

pub(crate) fn gone(eid: &str) -> MappingRecord {
    MappingRecord { ttl: Ttl::WITHDRAWN, action: Action::NativelyForward, ..record(eid, &[]) }
}

pub(crate) fn farewell(nonce: u64) -> MapNotify {
    notify(nonce, vec![MappingRecord { action: Action::DropAuthFailure, ttl: Ttl(1), ..record(SITE, &[]) }])
}

pub(crate) fn notify(nonce: u64, records: Vec<MappingRecord>) -> MapNotify {
    MapNotify { nonce: Nonce(nonce), records, ..MapNotify::default() }
}

pub(crate) fn sealed(message: &MapNotify, key: &AuthKey) -> Vec<u8> {
    auth::seal(&ControlMessage::MapNotify(message.clone()), key, TagForm::Truncated).unwrap()
}

pub(crate) fn tell(node: &mut Node, message: &MapNotify) {
    node.bytes(SERVER, &sealed(message, &shared()));
}

pub(crate) fn state(node: &Node) -> Option<State> {
    node.control.subscription(&prefix(SITE))
}

/// The locators that packets to a host of the site go to.
pub(crate) fn led_to(node: &Node, host: &str) -> Vec<String> {
    let found = node.control.mapping_for(node.now, prefix(SITE).iid, host.parse().unwrap());
    found.map_or(vec![], |(_, mapping)| mapping.locators.iter().map(|(address, _)| address.to_string()).collect())
}
