// SPDX-License-Identifier: GPL-2.0-or-later
//! RLOC-probing, what follows from it, and solicit-map-requests, in virtual time.

mod answering;
mod failover;
mod lab;
mod mutual;
mod path_mtu;
mod probing;
mod soliciting;
mod uplinks;

use std::net::IpAddr;
use std::time::Duration;

use crate::double::{Node, prefix, reply_to, secs};
use wire::control::{ControlMessage, EidRequest, MapReply, MapRequest, Nonce};
use wire::record::LocatorRecord;
use xtr::database::OwnLocator;

/// The locator of [`reply_to`].
const PEER: &str = "198.51.100.1";
const SITE: &str = "2001:db8:b::/48";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn map(node: &mut Node, eid: &str, site: &str) {
    let (_, request) = node.miss(eid);
    node.reply(&reply_to(&request, &[(site, 1440)]));
    node.updates();
}

/// So many sites with a locator each.
fn map_sites(node: &mut Node, sites: usize) {
    for site in 0..sites {
        let (host, net) = (u8::try_from(site / 250).unwrap(), u8::try_from(site % 250).unwrap());
        let (_, request) = node.miss(&format!("10.{}.{net}.1/32", 100 + host));
        let mut reply = reply_to(&request, &[(&format!("10.{}.{net}.0/24", 100 + host), 1440)]);
        reply.records[0].locators[0] = LocatorRecord::new(IpAddr::from([198, 18, host, net + 1]), 1, 1);
        node.reply(&reply);
        if site % 1000 == 999 {
            node.advance(secs(2));
            node.requests();
        }
    }
}

fn probe(node: &mut Node) -> MapRequest {
    assert_eq!(node.probes.len(), 1, "{:?}", node.probes);
    node.probes.remove(0).2
}

fn next_probe(node: &mut Node) -> MapRequest {
    while node.probes.is_empty() {
        node.run_to_deadline();
    }
    probe(node)
}

fn answer_from(node: &mut Node, from: &str, reply: MapReply) {
    node.datagram(&format!("{from}:4342"), &ControlMessage::from(reply));
}

/// A probe of [`PEER`]'s.
fn probe_about(eid: &str) -> MapRequest {
    MapRequest {
        probe: true,
        nonce: Nonce(7),
        itr_rlocs: vec![ip(PEER).into()],
        records: vec![EidRequest { notify: false, eid: prefix(eid).into() }],
        ..MapRequest::default()
    }
}

fn own(text: &str) -> OwnLocator {
    OwnLocator::new(ip(text), 1, 100)
}

fn ask(node: &mut Node, itr: &str, eid: &str) {
    let request = MapRequest {
        itr_rlocs: vec![ip(itr).into()],
        records: vec![EidRequest { notify: false, eid: prefix(eid).into() }],
        ..MapRequest::default()
    };
    node.datagram(&format!("{itr}:4342"), &request.into());
}
