// SPDX-License-Identifier: GPL-2.0-or-later
//! Signed statements.

use std::time::SystemTime;

use super::{ArmourError, CertificateError, KeyError, date};
use crate::cn::{Cn, Network};

/// Who signs a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The one identity that speaks.
    Identity,
    /// The first of two.
    Static,
    /// The second of two.
    Temporary,
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Signer::Identity => "the identity",
            Signer::Static => "the static identity",
            Signer::Temporary => "the temporary identity",
        })
    }
}

/// A signed statement (a revocation or a link proof) that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Longer than [`crate::limits::MAX_STATEMENT`].
    #[error("statement of {length} octets is longer than any of ours")]
    TooLong {
        /// Octets given.
        length: usize,
    },
    /// It does not begin as a statement of this kind does.
    #[error("not a statement of this kind")]
    Magic,
    /// Another version of the encoding.
    #[error("statement of version {found}, only version 1 is known")]
    Version {
        /// Version found.
        found: u8,
    },
    /// It ends before, or within, a field.
    #[error("the statement ends within its {field}")]
    Truncated {
        /// Name of the field.
        field: &'static str,
    },
    /// Octets follow after its end.
    #[error("{length} octets follow after the end of the statement")]
    Trailing {
        /// Octets left.
        length: usize,
    },
    /// The issue time is before 1970, or beyond what the clock can tell.
    #[error("the issue time cannot be represented")]
    Time,
    /// It says that it was issued later than now.
    #[error("the statement says that it was issued at {} (check this machine's clock)", date(*.issued))]
    FromTheFuture {
        /// When, by its own word.
        issued: SystemTime,
    },
    /// The audience is no text, has control characters, or is longer than [`crate::limits::MAX_AUDIENCE`].
    #[error("an audience is a text of at most {} octets without control characters", crate::limits::MAX_AUDIENCE)]
    Audience,
    /// It was made for another reader.
    #[error("the proof is made for {}, not for {}", reader(found), reader(expected))]
    OtherAudience {
        /// For whom it was made.
        found: String,
        /// Who reads it.
        expected: String,
    },
    /// Two identities are needed.
    #[error("both identities are {cn}; a link has two different ones")]
    SameIdentity {
        /// The CN of both.
        cn: Cn,
    },
    /// The identities belong to different networks.
    #[error("the identities belong to different networks, {first} and {second}")]
    OtherNetwork {
        /// The network of the static identity.
        first: Network,
        /// The network of the temporary identity.
        second: Network,
    },
    /// A certificate in it is refused.
    #[error("certificate of {signer}: {reason}")]
    Certificate {
        /// Whose.
        signer: Signer,
        /// Why.
        reason: CertificateError,
    },
    /// A signature is not valid.
    #[error("the signature of {signer} is not valid")]
    Signature {
        /// Whose.
        signer: Signer,
    },
    /// A key could not sign.
    #[error("{0}")]
    Key(KeyError),
    /// The text round it is damaged.
    #[error("{0}")]
    Armour(ArmourError),
}

impl From<KeyError> for StatementError {
    fn from(error: KeyError) -> StatementError {
        StatementError::Key(error)
    }
}

impl From<ArmourError> for StatementError {
    fn from(error: ArmourError) -> StatementError {
        StatementError::Armour(error)
    }
}

/// An audience as a part of a sentence.
fn reader(audience: &str) -> String {
    if audience.is_empty() { "no particular reader".to_owned() } else { format!("{audience:?}") }
}
