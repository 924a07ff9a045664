// SPDX-License-Identifier: GPL-2.0-or-later
//! The one value that counts, among all that a GET brought.

use std::time::SystemTime;

use cgeid::Network;

use crate::error::Refusal;
use crate::limits;
use crate::record::{CertificateCache, Class, RecordKey, Section, Verified, Version, verify};

/// What the values of one key amount to.
#[derive(Debug, Clone)]
pub enum Selection {
    /// The newest valid bundle that has a section of the wanted class; the section may be a withdrawal.
    Newest(Box<Verified>),
    /// Nothing valid of that class, and nothing that should not be there.
    Absent,
    /// Nothing valid, and this is why the first value was refused.
    Refused(Refusal),
    /// The owner has revoked its identity.
    Revoked,
    /// The owner contradicts itself: two statements of one version, or two public keys with one CN.
    Conflict,
}

/// Verifies `values` (the first [`limits::VALUES`] of them) and chooses the newest statement of `class`.
///
/// A value that is refused is no reason to refuse another: whoever sends rubbish could otherwise hide the truth.
pub fn newest(
    network: Network,
    key: &RecordKey,
    class: Class,
    values: &[Vec<u8>],
    now: SystemTime,
    cache: &mut CertificateCache,
) -> Selection {
    let mut valid: Vec<Verified> = Vec::new();
    let mut refused = None;
    for value in values.iter().take(limits::VALUES) {
        match verify(network, key, value, now, cache) {
            Ok(verified) => valid.push(verified),
            // Time passes while a value travels: an expired one is no sign of foul play.
            Err(Refusal::Expired(..)) => {}
            Err(refusal) => _ = refused.get_or_insert(refusal),
        }
    }
    let Some(first) = valid.first() else {
        return refused.map_or(Selection::Absent, Selection::Refused);
    };
    let fingerprint = *first.identity.fingerprint();
    if valid.iter().any(|verified| *verified.identity.fingerprint() != fingerprint) {
        return Selection::Conflict;
    }
    if valid.iter().any(Verified::is_revoked) {
        return Selection::Revoked;
    }
    choose(valid, class)
}

fn choose(mut valid: Vec<Verified>, class: Class) -> Selection {
    let version = |verified: &Verified, class| verified.bundle.section(class).map(|section| section.version);
    // A later epoch ends the earlier ones, wherever their statements still lie.
    let epochs = valid.iter().max_by_key(|one| version(one, Class::Identity)).map(|one| one.epochs.clone());
    let epochs = epochs.unwrap_or_default();
    valid.retain(|one| {
        one.bundle
            .section(class)
            .is_some_and(|section| section.flags.by_identity || epochs.contains(&section.version.epoch))
    });
    let highest: Option<Version> = valid.iter().filter_map(|one| version(one, class)).max();
    valid.retain(|one| version(one, class) == highest);
    let section = |one: &Verified| -> Option<Section> { one.bundle.section(class).cloned() };
    let Some(chosen) = valid.pop() else { return Selection::Absent };
    if valid.iter().any(|other| section(other) != section(&chosen)) {
        return Selection::Conflict;
    }
    Selection::Newest(Box::new(chosen))
}
