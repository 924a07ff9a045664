// SPDX-License-Identifier: GPL-2.0-or-later
//! Answers about what is registered here (RFC 9301, section 8.3).

use std::net::{IpAddr, SocketAddr};

use wire::address::EidPrefix;
use wire::record::{Action, MappingRecord, Ttl};

use crate::limits::MORE_SPECIFICS;
use crate::register::MapServer;
use crate::register::registration::Registration;
use crate::resolve::found::{ask_again, negative, positive};
use crate::resolve::reply;

/// What this Map-Server knows about an EID of its sites.
#[derive(Debug, PartialEq, Eq)]
pub enum Own {
    /// Answer with these.
    Records(Vec<MappingRecord>),
    /// The site answers itself: forward the Map-Request to this ETR.
    ForwardTo(SocketAddr),
    /// The site is the node's own xTR: hand the Map-Request to it.
    ForwardToPipe,
    /// Registered, and nothing can be sent to any of its locators.
    Unreachable,
    /// One of the node's own CGEIDs, not registered yet.
    CgeidAbsent,
}

/// Looks up a host EID among the sites; `None` if it belongs to none. `octets` is what a reply may have.
pub fn find(server: &MapServer, eid: &EidPrefix, octets: usize, sendable: impl Fn(IpAddr) -> bool) -> Option<Own> {
    let grant = server.sites().find(eid)?;
    // What a wider site registered says nothing about a site configured inside it.
    let registered = server.registrations().longest(eid).filter(|(prefix, _)| grant.configured.covers(prefix));
    let length = |prefix: &EidPrefix| prefix.net.prefix_len();
    let is_longest = |lapsed: &EidPrefix| registered.is_none_or(|(prefix, _)| length(lapsed) > length(&prefix));
    let lapsed = server.lapsed().longest(eid).filter(|lapsed| grant.configured.covers(lapsed) && is_longest(lapsed));
    if let Some(lapsed) = lapsed {
        // Whether it is registered is not known: RFC 9301, section 8.3, has this answer, and this TTL, for what is so for a while.
        return Some(Own::Records(vec![ask_again(narrowed(server, &lapsed, eid))]));
    }
    let Some((prefix, registration)) = registered else {
        return Some(unregistered(server, &grant.configured, eid));
    };
    if registration.is_proxied() {
        return Some(Own::Records(records(server, prefix, registration, eid, octets)));
    }
    if registration.parts().any(|part| part.source.is_none()) {
        return Some(Own::ForwardToPipe);
    }
    Some(match registration.forward_to(sendable) {
        Some((_, address)) => Own::ForwardTo(SocketAddr::new(address, wire::CONTROL_PORT)),
        None => Own::Unreachable,
    })
}

fn unregistered(server: &MapServer, configured: &EidPrefix, eid: &EidPrefix) -> Own {
    if server.is_cgeid(eid) {
        return Own::CgeidAbsent;
    }
    let prefix = narrowed(server, configured, eid);
    Own::Records(vec![negative(prefix, Action::NativelyForward, Ttl(1))])
}

/// The best match and the more-specifics under it, with one TTL (RFC 9301, section 5.5). If they are too many, or one of
/// them is not ours to answer for, the part of the best match in which there are none.
fn records(
    server: &MapServer,
    prefix: EidPrefix,
    best: &Registration,
    eid: &EidPrefix,
    octets: usize,
) -> Vec<MappingRecord> {
    let own = server.sites().find(&prefix).map(|grant| grant.configured);
    let inside = server.registrations().inside(&prefix).filter(|(inner, _)| *inner != prefix);
    let inside: Vec<_> = inside.take(MORE_SPECIFICS + 1).collect();
    // Another site configured inside this one has its own say, registered or not; and so has what may be registered anew.
    let has_others = server.sites().inside(&prefix).any(|other| Some(other) != own && other != prefix)
        || server.lapsed().has_inside(&prefix);
    if !has_others && inside.len() <= MORE_SPECIFICS && inside.iter().all(|(_, inner)| inner.is_proxied()) {
        let merged: Vec<_> = std::iter::once((prefix, best)).chain(inside.iter().copied()).collect();
        let ttl = merged.iter().map(|(_, registration)| registration.ttl()).min().unwrap_or(Ttl(1));
        let records: Vec<_> = merged.into_iter().map(|(prefix, r)| proxied(prefix, r, ttl)).collect();
        if records.len() == 1 || reply::octets(&records) <= octets {
            return records;
        }
    }
    vec![proxied(narrowed(server, &prefix, eid), best, best.ttl())]
}

/// The part of `within` around `eid` in which nothing more specific is registered, or may be registered anew, and no other site configured.
pub(super) fn narrowed(server: &MapServer, within: &EidPrefix, eid: &EidPrefix) -> EidPrefix {
    let lapsed = server.lapsed().hole(within, eid);
    let holes = [server.registrations().hole(within, eid), server.sites().hole(within, eid), lapsed];
    holes.into_iter().map(|hole| hole.unwrap_or(*eid)).max_by_key(|hole| hole.net.prefix_len()).unwrap_or(*eid)
}

fn proxied(prefix: EidPrefix, registration: &Registration, ttl: Ttl) -> MappingRecord {
    let merged = registration.merged();
    positive(prefix, ttl.max(Ttl(1)), merged.map_version, merged.locators)
}
