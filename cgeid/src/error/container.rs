// SPDX-License-Identifier: GPL-2.0-or-later
//! Key containers.

use super::{CertificateError, KeyError};
use crate::cn::Cn;

/// A PKCS#12 file that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// Longer than [`crate::limits::MAX_CONTAINER`].
    #[error("file of {length} octets is too long for a key container")]
    TooLong {
        /// Octets given.
        length: usize,
    },
    /// No PKCS#12.
    #[error("not a PKCS#12 file, or a damaged one: {detail}")]
    Malformed {
        /// What the parser met.
        detail: String,
    },
    /// The file has no MAC, so nothing says whether it was changed.
    #[error("the file has no password integrity (MAC)")]
    NoMac,
    /// It asks for more key-derivation rounds than [`crate::limits::MAX_ROUNDS`].
    #[error("the file asks for {rounds} key-derivation rounds, more than any honest one")]
    Rounds {
        /// Rounds asked for.
        rounds: u64,
    },
    /// The MAC does not fit: a wrong password, or a changed file.
    #[error("wrong password (or the file was changed after it was written)")]
    Password,
    /// PKCS#12 writes passwords in the characters of UCS-2 (RFC 7292 B.1), and this one has another.
    #[error("the password has a character that PKCS#12 files cannot hold (an emoji, for one); choose another password")]
    PasswordCharacter,
    /// Encrypted by an algorithm that is not PBES2 with AES.
    #[error("the file is encrypted in a way that is not accepted ({detail}); export it again with PBES2 and AES-256")]
    Encryption {
        /// What the parser met.
        detail: String,
    },
    /// Protected by something that was good enough once.
    #[error(
        "the file is protected by {what}, which is too weak today; `cgeid import --legacy` reads it and writes it \
         again under AES-256"
    )]
    Legacy {
        /// The scheme.
        what: String,
    },
    /// The private key lies in an encrypted part, so how it is itself encrypted cannot be judged before it is used.
    #[error(
        "the private key lies inside an encrypted part, where its own protection does not show; \
         `cgeid import --legacy` reads it"
    )]
    HiddenKey,
    /// Not exactly one private key.
    #[error("the file holds {found} private keys, it must hold exactly one")]
    Keys {
        /// Keys found.
        found: usize,
    },
    /// Not the certificates that the kind of file needs.
    #[error("the file holds {found} certificates, it must hold {expected}")]
    Certificates {
        /// Certificates found.
        found: usize,
        /// Certificates needed.
        expected: usize,
    },
    /// No certificate is for the key.
    #[error("no certificate in the file belongs to its private key")]
    KeyMismatch,
    /// It is an identity key where an operational key was asked for.
    #[error(
        "this file holds the identity key of {cn}; daemons take the operational key ({cn}.op.p12), \
         keep the identity key offline"
    )]
    IsIdentity {
        /// Whose.
        cn: Cn,
    },
    /// It is an operational key where an identity key was asked for.
    #[error("this file holds an operational key of {cn}; the identity key ({cn}.p12) is needed")]
    IsOperational {
        /// Whose.
        cn: Cn,
    },
    /// The private key breaks a rule.
    #[error("private key: {0}")]
    Key(KeyError),
    /// A certificate breaks a rule.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The file could not be composed.
    #[error("the container could not be written: {detail}")]
    Write {
        /// What the writer met.
        detail: String,
    },
}

impl From<KeyError> for ContainerError {
    fn from(error: KeyError) -> ContainerError {
        ContainerError::Key(error)
    }
}
