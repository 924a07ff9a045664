// SPDX-License-Identifier: GPL-2.0-or-later
//! What subscribers are told of EIDs that are registered here.

use sha2::{Digest as _, Sha256};
use wire::address::EidPrefix;
use wire::record::{Action, MappingRecord, Ttl};

use super::subscriber::Denial;
use crate::limits::SUBSCRIBED_PREFIXES;
use crate::refusal::Refusal;
use crate::register::MapServer;
use crate::register::registration::Registration;
use crate::resolve::found::{negative, positive};
use crate::resolve::own::{self, Own};

/// What a Map-Request with the N-bit subscribes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// The EID-prefix of the subscription: what is asked for, or what the answer says is one.
    pub prefix: EidPrefix,
    /// What there is to say of it now.
    pub records: Vec<MappingRecord>,
    /// Registered more-specifics, for which there was no room.
    pub rest: Vec<EidPrefix>,
    /// Whether anything is registered there; otherwise the subscription is a temporary one.
    pub is_present: bool,
}

/// The subscription to an EID of the sites; `None` if it belongs to none. `octets` is what its records may have together.
///
/// # Errors
/// When there can be none.
pub fn target(server: &MapServer, asked: &EidPrefix, temporary: Ttl, octets: usize) -> Result<Option<Target>, Denial> {
    let host = EidPrefix::host(asked.iid, asked.net.addr());
    let mut records = match own::find(server, &host, octets, |_| true) {
        None => return Ok(None),
        Some(Own::Records(records)) => records,
        Some(Own::CgeidAbsent) => vec![negative(host, Action::DropNoReason, temporary)],
        // RFC 9437, section 3: Map-Servers are configured to proxy Map-Reply.
        Some(Own::ForwardTo(_) | Own::ForwardToPipe | Own::Unreachable) => {
            return Err(Denial::Plain(Refusal::SubscribeNotProxied));
        }
    };
    let first = records.first().and_then(|record| record.eid.ip_prefix()).unwrap_or(host);
    let prefix = if asked.covers(&first) { *asked } else { first };
    let inside = server.registrations().inside(&prefix).map(|(inner, _)| inner).take(SUBSCRIBED_PREFIXES + 1);
    let inside: Vec<EidPrefix> = inside.collect();
    if inside.len() > SUBSCRIBED_PREFIXES {
        return Err(Denial::Plain(Refusal::SubscribeTooWide));
    }
    let is_present = !inside.is_empty() || registration(server, &prefix).is_some();
    if !is_present {
        // RFC 9437, section 5: a temporary subscription and what is said of it end together.
        records.iter_mut().for_each(|record| record.ttl = temporary);
    }
    let is_told = |inner: &EidPrefix| records.iter().any(|record| record.eid.ip_prefix() == Some(*inner));
    let rest = inside.into_iter().filter(|inner| !is_told(inner)).collect();
    Ok(Some(Target { prefix, records, rest, is_present }))
}

/// Whether anything is registered that a subscription to `prefix` would hear of.
pub fn is_present(server: &MapServer, prefix: &EidPrefix) -> bool {
    registration(server, prefix).is_some() || server.registrations().inside(prefix).next().is_some()
}

/// What is registered for an EID-prefix, or for one of the same site that covers it.
fn registration<'a>(server: &'a MapServer, prefix: &EidPrefix) -> Option<(EidPrefix, &'a Registration)> {
    let configured = server.sites().find(prefix)?.configured;
    server.registrations().longest(prefix).filter(|(registered, _)| configured.covers(registered))
}

/// What there is to say of `about` now. With `is_exact` only what is registered for it and nothing wider counts. What is not
/// registered, or not ours to tell, is withdrawn: TTL 0, no locators (RFC 9437, section 5).
pub fn record(server: &MapServer, about: &EidPrefix, is_exact: bool) -> MappingRecord {
    let found = registration(server, about).filter(|(prefix, _)| !is_exact || prefix == about);
    match found.map(|(_, registration)| registration.merged()).filter(|merged| merged.proxy) {
        Some(merged) => positive(*about, merged.ttl.max(Ttl(1)), merged.map_version, merged.locators),
        None => withdrawn(*about),
    }
}

/// The record that takes a mapping away.
pub fn withdrawn(prefix: EidPrefix) -> MappingRecord {
    negative(prefix, Action::NativelyForward, Ttl::WITHDRAWN)
}

/// A number for what the first record says, so that it is not told twice. `lifetime` stands for its TTL, which of signed records
/// shrinks with time.
pub fn digest(records: &[MappingRecord], lifetime: Ttl) -> u64 {
    let mut hash = Sha256::new();
    hash.update(lifetime.0.to_be_bytes());
    for record in records.iter().take(1) {
        hash.update(format!("{:?}", MappingRecord { ttl: Ttl(0), ..record.clone() }));
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
