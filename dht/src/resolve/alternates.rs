// SPDX-License-Identifier: GPL-2.0-or-later
//! Other CGEIDs of one owner: who cannot be reached by one is reached by another.
//!
//! A SERVICE section may name alternates. One counts only if its own SERVICE names the first CGEID too: otherwise anybody
//! could draw another's flows to himself, or send his own to another. The locators of all are then one mapping: the best
//! priority is used first, weights share the flows, and when the locators of one CGEID are gone those of the others are
//! left. An owner lets its spare have a higher number of priority, or the same to share the load.
//!
//! Only a SERVICE that names alternates costs GETs, one for each, all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use cgeid::Cn;
use wire::address::EidPrefix;
use wire::record::Ttl;

use super::outcome::{Found, Outcome};
use super::select::Selection;
use super::{Resolution, Resolver};
use crate::limits;
use crate::record::{Bundle, Class, Mapping, RecordKey, Rloc, RlocFlags, Verified, Version};

/// A CGEID whose alternates are asked for.
#[derive(Debug)]
pub(super) struct Alternates {
    cn: Cn,
    /// What it says itself, if it does.
    own: Option<Found>,
    /// What is known if no alternate helps.
    otherwise: Outcome,
    service: Statement,
    joined: BTreeMap<Cn, (Mapping, Duration)>,
}

/// The SERVICE section that names them.
#[derive(Debug)]
struct Statement {
    version: Version,
    remaining: Duration,
    record: Vec<u8>,
}

impl Alternates {
    /// The alternates of a CGEID, to be asked for; `None` if it names none.
    pub(super) fn of(
        resolver: &mut Resolver,
        now: SystemTime,
        key: &RecordKey,
        values: &[Vec<u8>],
        outcome: &Outcome,
    ) -> Option<(Self, BTreeSet<Cn>)> {
        // Who is revoked or contradicts itself has no say.
        let own = match outcome {
            Outcome::Mapping(found) => Some((**found).clone()),
            Outcome::NotFound => None,
            _ => return None,
        };
        if !values.iter().take(limits::VALUES).any(|value| names_any(value)) {
            return None;
        }
        let verified = service_of(resolver, now, key, values)?;
        let section = verified.bundle.section(Class::Service)?;
        let mut named = verified.bundle.service()?.alternates.clone();
        named.remove(&key.writer);
        let service = Statement {
            version: section.version,
            remaining: section.expires_at().duration_since(now).unwrap_or_default(),
            record: verified.bundle.encode().ok()?,
        };
        let (cn, otherwise) = (key.writer, outcome.clone());
        let this = Self { cn, own, otherwise, service, joined: BTreeMap::new() };
        (!named.is_empty()).then_some((this, named))
    }

    /// What was found of an alternate.
    pub(super) fn take(&mut self, resolver: &mut Resolver, now: SystemTime, key: &RecordKey, values: &[Vec<u8>]) {
        let Some(service) = service_of(resolver, now, key, values) else { return };
        if !service.bundle.service().is_some_and(|service| service.alternates.contains(&self.cn)) {
            return;
        }
        let Selection::Newest(verified) = resolver.newest(now, key, Class::Mapping, values) else { return };
        let bundle = &verified.bundle;
        let (Some(mapping), Some(section)) = (bundle.mapping(), bundle.section(Class::Mapping)) else { return };
        if !mapping.is_reachable() {
            return;
        }
        let remaining = section.expires_at().duration_since(now).unwrap_or_default();
        self.joined.insert(key.writer, (mapping.clone(), remaining));
    }

    /// All that counts, as one mapping.
    pub(super) fn finish(self, eid: EidPrefix) -> Outcome {
        if self.joined.is_empty() {
            return self.otherwise;
        }
        let mut found = self.own.unwrap_or_else(|| Found {
            mapping: Mapping::new([], Ttl(u32::MAX)),
            prefix: eid,
            covered: eid,
            more_specifics: Vec::new(),
            writer: self.cn,
            version: self.service.version,
            remaining: self.service.remaining,
            proxy: true,
            map_servers: Vec::new(),
            alternates: BTreeSet::new(),
            record: self.service.record,
        });
        // What is joined holds only for as long as each part of it does.
        found.remaining = found.remaining.min(self.service.remaining);
        for (cn, (mapping, remaining)) in self.joined {
            join(&mut found.mapping, &mapping);
            found.remaining = found.remaining.min(remaining);
            found.alternates.insert(cn);
        }
        Outcome::Mapping(Box::new(found))
    }
}

/// Adds the locators of another mapping that are not there yet, the best first, as far as there is room.
fn join(mapping: &mut Mapping, other: &Mapping) {
    mapping.ttl = Ttl(mapping.ttl.0.min(other.ttl.0));
    for locator in &other.locators {
        let known = |own: &Rloc| (own.address, own.port) == (locator.address, locator.port);
        if mapping.locators.len() < limits::LOCATORS && !mapping.locators.iter().any(known) {
            // The other CGEID may listen there for sessions of its own: this one does not.
            let flags = RlocFlags { direct: false, ..locator.flags };
            mapping.locators.insert(Rloc { flags, ..*locator });
        }
    }
}

/// The newest SERVICE under a key.
fn service_of(resolver: &mut Resolver, now: SystemTime, key: &RecordKey, values: &[Vec<u8>]) -> Option<Box<Verified>> {
    match resolver.newest(now, key, Class::Service, values) {
        Selection::Newest(verified) => Some(verified),
        _ => None,
    }
}

/// Whether a value, true or not, names alternates: most name none, and are not verified twice.
fn names_any(value: &[u8]) -> bool {
    Bundle::decode(value).is_ok_and(|bundle| bundle.service().is_some_and(|service| !service.alternates.is_empty()))
}

impl Resolution {
    /// Asks for the alternates that a CGEID names, if it does; else there is nothing more to wait for.
    pub(super) fn ask_alternates(
        &mut self,
        resolver: &mut Resolver,
        now: SystemTime,
        key: &RecordKey,
        values: &[Vec<u8>],
        outcome: Outcome,
    ) {
        match Alternates::of(resolver, now, key, values, &outcome) {
            Some((alternates, named)) => {
                for cn in named {
                    self.ask(RecordKey::node(resolver.network, cn));
                }
                self.join_alternates(alternates);
            }
            None => self.end(outcome),
        }
    }
}
