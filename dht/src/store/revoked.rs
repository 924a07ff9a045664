// SPDX-License-Identifier: GPL-2.0-or-later
//! The last word of an identity: once its REVOCATION is held, nothing else of it is.
//!
//! Which of an identity's REVOCATIONs comes first, or when it says that it was made, does not matter: each ends the same
//! identity, and stores agree by keeping the one with the smaller hash. None is older than what is held, and none
//! contradicts another.
//!
//! It counts from its latest PUT, which anybody may make. Who hands one on says for how long it would still keep it, so that a
//! hand-over prolongs nothing. A peer that lies about that gains what a PUT would give it as well.

use std::time::{Duration, SystemTime};

use cgeid::Cn;

use super::entry::Held;
use super::{Admission, Origin, Store};
use crate::error::Refusal;
use crate::limits;
use crate::record::{Bundle, Chain, Class, RecordKey, Section, check_signature};

impl Store {
    /// Whether a REVOCATION of this identity is held, or was until a day ago.
    pub fn is_revoked(&self, cn: Cn) -> bool {
        let entry = self.entries.get(&RecordKey::node(self.network, cn));
        entry.is_some_and(|entry| entry.marks.0.contains_key(&Class::Revocation))
    }

    /// For how long the REVOCATION under a key is still kept; none if there is none.
    pub fn left(&self, now: SystemTime, key: &[u8]) -> Option<Duration> {
        let entry = self.entries.get(&RecordKey::decode(key).ok()?)?;
        entry.sections.get(&Class::Revocation)?.expires_at.duration_since(now).ok().filter(|left| !left.is_zero())
    }

    /// Takes a REVOCATION, to be kept until `keep_until`.
    pub(super) fn admit_revocation(
        &mut self,
        (now, origin): (SystemTime, Origin),
        key: RecordKey,
        bundle: &Bundle,
        (section, octets): (&Section, &[u8]),
        keep_until: SystemTime,
    ) -> Result<Admission, Refusal> {
        let offered = Held { expires_at: keep_until, ..Held::new(section, octets) };
        let known = self.entries.get(&key).cloned().unwrap_or_default();
        let held = known.sections.get(&Class::Revocation);
        if held.is_some_and(|held| held.octets == offered.octets) {
            self.keep_revocation(key, keep_until);
            return Ok(Admission::Refreshed);
        }
        // The first one is not held back: with a stolen operational key one could use the quota up for ever.
        if held.is_some() && !known.quota.allows(now) {
            return Err(Refusal::Quota);
        }
        self.check_room(&key, &known, origin, offered.octets.len())?;
        let chain = Chain::open(self.network, &key, bundle, now, &mut self.certificates)?;
        check_signature(&key, section, octets, &chain, &mut self.certificates)?;
        self.check_identity(&key, &known, &chain, now)?;
        let kept = match held {
            Some(held) if !offered.prevails(held) => {
                self.keep_revocation(key, keep_until);
                return Ok(Admission::Refreshed);
            }
            Some(held) => Held { expires_at: held.expires_at.max(keep_until), ..offered },
            None => offered,
        };
        let mut merged = known;
        merged.marks.raise(Class::Revocation, &kept, false);
        merged.sections = [(Class::Revocation, kept)].into();
        self.commit(now, origin, key, merged);
        self.drop_statements(key);
        Ok(Admission::Stored)
    }

    /// Somebody has put it again, or keeps it for longer.
    fn keep_revocation(&mut self, key: RecordKey, keep_until: SystemTime) {
        let held = self.entries.get(&key).and_then(|entry| entry.sections.get(&Class::Revocation));
        if held.is_none_or(|held| held.expires_at + limits::REVOCATION_RENEWAL > keep_until) {
            return;
        }
        self.update(key, |entry| {
            if let Some(held) = entry.sections.get_mut(&Class::Revocation) {
                held.expires_at = keep_until;
                entry.marks.raise(Class::Revocation, held, false);
            }
        });
    }

    /// Drops what the owner of this key has said under its other keys; the marks stay.
    fn drop_statements(&mut self, key: RecordKey) {
        // Keys are in the order of their writers, a node's own before its others.
        let others = self.entries.range(key..).skip(1).take_while(|(other, _)| other.writer == key.writer);
        for key in others.map(|(other, _)| *other).collect::<Vec<_>>() {
            if self.entries.get(&key).is_some_and(|entry| !entry.sections.is_empty()) {
                self.counters.revoked += 1;
                self.update(key, |entry| entry.sections.clear());
            }
        }
    }

    /// Until when a REVOCATION that comes from disk is kept: as its mark says, however far away that is by a clock that may be
    /// behind.
    pub(super) fn kept_until(&self, key: &RecordKey, now: SystemTime) -> SystemTime {
        let mark = self.entries.get(key).and_then(|entry| entry.marks.0.get(&Class::Revocation));
        let kept = mark.and_then(|mark| mark.forget_at.checked_sub(limits::MARK_RETENTION));
        kept.unwrap_or(now + limits::REVOCATION_LIFETIME)
    }
}
