// SPDX-License-Identifier: GPL-2.0-or-later
//! What a lookup in the DHT found, and what askers are told of it (DESIGN 4, "Negatives").

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::address::EidPrefix;
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

use crate::limits::CACHE_POSITIVE;

/// TTL of what is proven: a hole, a prefix that nobody was delegated.
const PROVEN: Ttl = Ttl(15);
/// TTL of what may change any moment.
const SHORT: Ttl = Ttl(1);

/// The end of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A verified mapping: shared, for each answer out of the cache.
    Mapping(Arc<Mapping>),
    /// A signed page proves that nobody was delegated this prefix, or no anchor covers it.
    Hole(EidPrefix),
    /// Delegated, and nothing is registered.
    Unregistered(EidPrefix),
    /// No record of this CGEID was found, which proves nothing.
    CgeidAbsent(EidPrefix),
    /// Revoked, in conflict, or only records with bad signatures.
    Refused(EidPrefix),
    /// The DHT gave no answer that proves anything.
    Unknown(EidPrefix),
}

/// A verified mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// What the answer is valid for.
    pub prefix: EidPrefix,
    /// What was registered: `prefix`, or what is around it where there are more-specifics.
    pub registered: EidPrefix,
    /// Its locators, ascending.
    pub locators: Vec<LocatorRecord>,
    /// TTL as registered.
    pub ttl: Ttl,
    /// Its version.
    pub map_version: MapVersion,
    /// Whether a Map-Resolver may answer; otherwise the Map-Request goes to one of `map_servers`.
    pub proxy: bool,
    /// Addresses of the Map-Server that published it.
    pub map_servers: Vec<IpAddr>,
    /// When its signature ends.
    pub expires: Instant,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The node's own xTR, which asks again with a growing pause.
    Pipe,
    /// Anybody else.
    Network,
}

impl Found {
    /// What it speaks of.
    pub fn prefix(&self) -> EidPrefix {
        match self {
            Self::Mapping(mapping) => mapping.prefix,
            Self::Hole(prefix)
            | Self::Unregistered(prefix)
            | Self::CgeidAbsent(prefix)
            | Self::Refused(prefix)
            | Self::Unknown(prefix) => *prefix,
        }
    }

    /// What was registered; of what is no mapping, what it speaks of.
    pub fn registered(&self) -> EidPrefix {
        match self {
            Self::Mapping(mapping) => mapping.registered,
            _ => self.prefix(),
        }
    }

    /// The same for a minute only, because it is old.
    #[must_use]
    pub fn for_a_minute(self) -> Self {
        match self {
            Self::Mapping(mapping) => Self::Mapping(Arc::new(Mapping { ttl: SHORT, ..Mapping::clone(&mapping) })),
            found => found,
        }
    }

    /// Whether who was told `said` before is to ask again because of this. No answer is no news, nor is a later end of the signature.
    pub fn is_news_after(&self, said: &Self) -> bool {
        match (self, said) {
            (Self::Unknown(_), _) => false,
            (Self::Mapping(new), Self::Mapping(old)) => {
                let places = |of: &Mapping| (of.prefix, of.map_version, of.proxy);
                places(new) != places(old) || new.locators != old.locators || new.map_servers != old.map_servers
            }
            _ => self != said,
        }
    }

    /// How long it may be served from a cache.
    pub fn lifetime(&self, now: Instant) -> Duration {
        match self {
            Self::Mapping(mapping) => {
                let signed = mapping.expires.saturating_duration_since(now);
                mapping.ttl.lifetime().min(signed).min(CACHE_POSITIVE)
            }
            Self::Hole(_) => PROVEN.lifetime(),
            Self::Unregistered(_) | Self::CgeidAbsent(_) | Self::Refused(_) => SHORT.lifetime(),
            Self::Unknown(_) => Duration::ZERO,
        }
    }

    /// The record that says it.
    pub fn record(&self, now: Instant, audience: Audience) -> MappingRecord {
        match self {
            Self::Mapping(mapping) => mapping.record(now),
            Self::Hole(prefix) => negative(*prefix, Action::NativelyForward, PROVEN),
            Self::Unregistered(prefix) => negative(*prefix, Action::NativelyForward, SHORT),
            // Forwarding natively would leak; in the own process start order must not matter.
            Self::CgeidAbsent(prefix) => match audience {
                Audience::Network => negative(*prefix, Action::DropNoReason, SHORT),
                Audience::Pipe => negative(*prefix, Action::SendMapRequest, SHORT),
            },
            Self::Refused(prefix) => negative(*prefix, Action::DropAuthFailure, SHORT),
            Self::Unknown(prefix) => negative(*prefix, Action::SendMapRequest, SHORT),
        }
    }
}

impl Mapping {
    /// A proxied record: A and L clear, TTL no longer than the signature lives and at least a minute.
    fn record(&self, now: Instant) -> MappingRecord {
        let minutes = self.expires.saturating_duration_since(now).as_secs() / 60;
        let ttl = self.ttl.min(Ttl(u32::try_from(minutes).unwrap_or(u32::MAX))).max(SHORT);
        positive(self.prefix, ttl, self.map_version, self.locators.clone())
    }
}

/// A record with locators that we answer on behalf of a site.
pub fn positive(prefix: EidPrefix, ttl: Ttl, map_version: MapVersion, locators: Vec<LocatorRecord>) -> MappingRecord {
    MappingRecord { ttl, action: Action::NoAction, authoritative: false, map_version, eid: prefix.into(), locators }
}

/// A record without locators.
pub fn negative(prefix: EidPrefix, action: Action, ttl: Ttl) -> MappingRecord {
    let map_version = MapVersion::default();
    MappingRecord { ttl, action, authoritative: false, map_version, eid: prefix.into(), locators: Vec::new() }
}

/// The record for an EID whose lookup takes longer than an asker should wait, or that may be registered any moment.
pub fn ask_again(prefix: EidPrefix) -> MappingRecord {
    negative(prefix, Action::SendMapRequest, SHORT)
}
