// SPDX-License-Identifier: GPL-2.0-or-later
//! Lookups through a node: GETs that stop when enough is known, and whole resolutions.

use std::time::{Duration, SystemTime};

use cgeid::Network;
use futures::future::try_join_all;
use wire::address::EidPrefix;

use super::limits;
use super::node::{Node, NodeError};
use crate::record::{CertificateCache, RecordKey, Verified, verify};
use crate::resolve::{Outcome, Resolution, Resolver};

/// Valid copies of a record after which no more are waited for: of three nodes' copies, the newest is the newest.
const COPIES: usize = 3;
/// How long further copies are waited for, once one is valid: a node that has died must not hold up what others have said.
const FURTHER: Duration = Duration::from_millis(100);

/// The values under a key, until three of them are valid or one is a REVOCATION, no more come, or the others are late. They
/// are to be verified still.
///
/// # Errors
/// As [`Node::values`].
pub async fn get(node: &Node, network: Network, key: &RecordKey) -> Result<Vec<Vec<u8>>, NodeError> {
    let mut cache = CertificateCache::new();
    let mut values = node.values(key.encode(), limits::GET).await?;
    let mut seen = Vec::new();
    let mut valid = 0;
    while valid < COPIES && seen.len() < limits::VALUES {
        let patience = if valid == 0 { limits::GET + limits::FIRST_PEER } else { FURTHER };
        let Ok(Some(value)) = tokio::time::timeout(patience, values.next()).await else { break };
        let verified = verify(network, key, &value, SystemTime::now(), &mut cache);
        let is_last_word = verified.as_ref().is_ok_and(Verified::is_revoked);
        valid += usize::from(verified.is_ok());
        seen.push(value);
        if is_last_word {
            break;
        }
    }
    Ok(seen)
}

/// Resolves an EID; the number says how many GETs it took.
///
/// # Errors
/// As [`Node::get`].
pub async fn resolve(node: &Node, resolver: &mut Resolver, eid: EidPrefix) -> Result<(Outcome, usize), NodeError> {
    let resolution = walk(node, resolver, eid).await?;
    Ok((resolution.outcome().cloned().unwrap_or(Outcome::NotFound), resolution.gets()))
}

/// [`resolve`], with the way that led to the outcome.
///
/// # Errors
/// As [`Node::get`].
pub async fn walk(node: &Node, resolver: &mut Resolver, eid: EidPrefix) -> Result<Resolution, NodeError> {
    let network = resolver.network;
    let mut resolution = Resolution::new(resolver, eid, SystemTime::now());
    loop {
        if resolution.outcome().is_some() {
            return Ok(resolution);
        }
        let keys: Vec<RecordKey> = std::iter::from_fn(|| resolution.poll()).collect();
        if keys.is_empty() {
            // Cannot be: a resolution without outcome waits for a key that it has asked for.
            return Ok(resolution);
        }
        let found = try_join_all(keys.iter().map(|key| get(node, network, key))).await?;
        for (key, values) in keys.iter().zip(found) {
            resolution.handle(resolver, SystemTime::now(), key, &values);
        }
    }
}
