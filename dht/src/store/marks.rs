// SPDX-License-Identifier: GPL-2.0-or-later
//! High-water marks: the highest version seen of each class under a key, which outlive the section by a day.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::entry::Held;
use crate::error::Malformed;
use crate::limits;
use crate::record::{Class, Reader, Version};

/// Set in the octets of a mark whose class is in conflict.
const CONFLICT: u8 = 1;

/// The highest version seen of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) version: Version,
    /// Two different statements of this version were seen.
    pub(super) conflict: bool,
    /// When it may be forgotten.
    pub(super) forget_at: SystemTime,
}

/// The marks of one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Marks(pub(super) BTreeMap<Class, Mark>);

impl Marks {
    /// Raises the mark of a class to a section of it. A later version ends a conflict.
    pub(super) fn raise(&mut self, class: Class, held: &Held, conflict: bool) {
        let forget_at = held.expires_at + limits::MARK_RETENTION;
        self.merge(class, Mark { version: held.version, conflict, forget_at });
    }

    pub(super) fn merge(&mut self, class: Class, mark: Mark) {
        let known = self.0.entry(class).or_insert(mark);
        // An earlier statement may hold for longer than the later one: the mark must outlast both.
        let forget_at = known.forget_at.max(mark.forget_at);
        if mark.version > known.version {
            *known = mark;
        } else if mark.version == known.version {
            known.conflict |= mark.conflict;
        }
        known.forget_at = forget_at;
    }

    /// class 1 ‖ flags 1 ‖ epoch 4 ‖ sequence 8 ‖ forget at (ms since 1970) 8, for each class.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (class, mark) in &self.0 {
            let forget = mark.forget_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            out.push(class.number());
            out.push(if mark.conflict { CONFLICT } else { 0 });
            out.extend_from_slice(&mark.version.epoch.to_be_bytes());
            out.extend_from_slice(&mark.version.sequence.to_be_bytes());
            out.extend_from_slice(&u64::try_from(forget).unwrap_or(u64::MAX).to_be_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let mut marks = Self::default();
        while !reader.is_empty() {
            let number = reader.u8("mark class")?;
            let class = Class::from_number(number).ok_or(Malformed::Value("mark class", number.into()))?;
            let conflict = reader.u8("mark flags")? & CONFLICT != 0;
            let version = Version { epoch: reader.u32("mark epoch")?, sequence: reader.u64("mark sequence")? };
            let forget = Duration::from_millis(reader.u64("mark time")?);
            let forget_at = UNIX_EPOCH.checked_add(forget).ok_or(Malformed::Value("mark time", 0))?;
            marks.merge(class, Mark { version, conflict, forget_at });
        }
        Ok(marks)
    }
}
