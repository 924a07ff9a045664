// SPDX-License-Identifier: GPL-2.0-or-later
//! Texts: a name, a prefix, a PEM block.

/// A text that is no CN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CnError {
    /// It does not have 24 digits.
    #[error("a CN has 24 hexadecimal digits, this text has {found} octets")]
    Length {
        /// Octets found.
        found: usize,
    },
    /// An octet is not one of `0-9a-f`.
    #[error("character {} of a CN must be one of 0-9 a-f (lower case)", position + 1)]
    Digit {
        /// Index from 0.
        position: usize,
    },
}

/// A text that is no network prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It does not end in `/32`.
    #[error("a network prefix ends in /32, as in 3fff:ce1::/32")]
    Length,
    /// What stands before `/32` is no IPv6 address.
    #[error("a network prefix is an IPv6 prefix, as in 3fff:ce1::/32")]
    Address,
    /// Bits after the first 32 are set.
    #[error("a network prefix has only zero bits after the first 32")]
    HostBits,
}

/// A text that is no PEM block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArmourError {
    /// It has no block of the kind.
    #[error("there is no {label} in the text")]
    Missing {
        /// Label of the block that was looked for.
        label: String,
    },
    /// It has more than one block of the kind.
    #[error("there are {found} blocks {label} in the text, there must be one")]
    Several {
        /// Label of the block that was looked for.
        label: String,
        /// Blocks found.
        found: usize,
    },
    /// It has more blocks than [`crate::limits::MAX_PEM_BLOCKS`].
    #[error("the text holds more than {} PEM blocks", crate::limits::MAX_PEM_BLOCKS)]
    TooMany,
    /// It ends before the block does.
    #[error("the text is cut within a {label}")]
    Unfinished {
        /// Label of the block.
        label: String,
    },
    /// The block is encrypted as RFC 1421 has it, by a key that one round of MD5 makes.
    #[error("{label} is encrypted in the old way of OpenSSL (`openssl pkcs8 -topk8` renews it)")]
    OldEncryption {
        /// Label of the block.
        label: String,
    },
    /// The block is no base64 of anything.
    #[error("damaged {label}: {detail}")]
    Damaged {
        /// Label of the block.
        label: String,
        /// What the parser met.
        detail: String,
    },
}
