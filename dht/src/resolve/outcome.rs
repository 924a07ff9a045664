// SPDX-License-Identifier: GPL-2.0-or-later
//! What a resolution ends with.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use cgeid::Cn;
use wire::address::EidPrefix;

use crate::error::Refusal;
use crate::record::{Mapping, RecordKey, Version};

/// What is known of an EID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Where it is.
    Mapping(Box<Found>),
    /// A signed page proves that nobody has been given it.
    Hole {
        /// The least-specific prefix round the EID of which that holds.
        prefix: EidPrefix,
    },
    /// No trust anchor covers it.
    Unanchored {
        /// The least-specific prefix round the EID of which that holds.
        prefix: EidPrefix,
    },
    /// It belongs to a site, of which nothing is registered now.
    Unregistered {
        /// The least-specific prefix round the EID of which that holds.
        prefix: EidPrefix,
    },
    /// A CGEID without a mapping; silence proves nothing.
    NotFound,
    /// The owner of the record has revoked its identity.
    Revoked,
    /// The owner of the record contradicts itself.
    Conflict,
    /// No answer could be had.
    Failed(Failure),
}

/// A mapping and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The mapping.
    pub mapping: Mapping,
    /// The prefix that was registered.
    pub prefix: EidPrefix,
    /// The part of it round the EID for which nothing more specific is known; equal to `prefix` if there is nothing.
    pub covered: EidPrefix,
    /// More-specifics of `prefix` that have an answer of their own.
    pub more_specifics: Vec<EidPrefix>,
    /// Who signed.
    pub writer: Cn,
    /// Its place among the writer's statements.
    pub version: Version,
    /// How long the statement still holds.
    pub remaining: Duration,
    /// Whether anybody may answer a Map-Request from it; always so for a CGEID.
    pub proxy: bool,
    /// The registrar's addresses, to forward a Map-Request to when it is not.
    pub map_servers: Vec<IpAddr>,
    /// Alternate CGEIDs whose locators are among those of the mapping.
    pub alternates: BTreeSet<Cn>,
    /// The bundle, for whoever wants to check again.
    pub record: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An index page could not be had.
    #[error("index page {0} not found")]
    PageMissing(RecordKey),
    /// Only older versions of an index page than one that is known to exist could be had.
    #[error("index page {0} only in an outdated version")]
    PageStale(RecordKey),
    /// Delegations go on for longer than is followed.
    #[error("delegations go deeper than is followed, at {0}")]
    TooDeep(RecordKey),
    /// What was found does not hold.
    #[error("{key}: {refusal}")]
    Refused {
        /// Where.
        key: RecordKey,
        /// The first refusal.
        refusal: Refusal,
    },
}
