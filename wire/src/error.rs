// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors, by culprit: the bytes ([`DecodeError`]) or our caller ([`EncodeError`]).

/// The bytes are not what the RFC says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} at offset {offset}: {problem}")]
pub struct DecodeError {
    /// The field, in the RFC's words.
    pub field: &'static str,
    /// Octets from the start of the message.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The message ends before the field does.
    #[error("truncated: {needed} octets needed, {available} left")]
    Truncated {
        /// Octets the field has.
        needed: usize,
        /// Octets there are.
        available: usize,
    },
    /// A value that the RFC does not allow here.
    #[error("value {0} not allowed")]
    Value(u64),
    /// A length that disagrees with what it counts.
    #[error("length {0} does not fit its contents")]
    Length(usize),
    /// A checksum that must be present is absent or wrong.
    #[error("checksum absent or wrong")]
    Checksum,
    /// Nested deeper than allowed.
    #[error("nested too deeply")]
    Nesting,
}

/// A value that has no encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {count} cannot be encoded, the limit is {limit}")]
pub struct EncodeError {
    /// The field, in the RFC's words.
    pub field: &'static str,
    /// The number, length or value that was given.
    pub count: usize,
    /// The largest (or, where none at all is not allowed, the smallest) that has an encoding.
    pub limit: usize,
}
