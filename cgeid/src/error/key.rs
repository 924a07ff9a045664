// SPDX-License-Identifier: GPL-2.0-or-later
//! Keys, their signatures, and the table that remembers keys.

use crate::key::SignatureAlgorithm;

/// A key that no identity may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The octets are not the one DER encoding of such a key.
    #[error("the public key is not in the one accepted DER encoding")]
    Encoding,
    /// Another algorithm.
    #[error("keys of algorithm {oid} are not used: RSA-4096 (rsaEncryption) and Ed25519 are")]
    Algorithm {
        /// Its object identifier.
        oid: String,
    },
    /// rsaEncryption without NULL parameters.
    #[error("an RSA key must have NULL parameters")]
    Parameters,
    /// Another key length.
    #[error("an RSA key must have exactly 4096 bits, this one has {found}")]
    Bits {
        /// Bits of its modulus.
        found: usize,
    },
    /// Another exponent.
    #[error("an RSA key must have the exponent 65537")]
    Exponent,
    /// The modulus is even or has a prime factor below 54.
    #[error("the RSA modulus is not a product of two large primes")]
    Modulus,
    /// The Ed25519 key is not a point of the curve, or one of small order.
    #[error("the Ed25519 key is not a usable point of the curve")]
    Point,
    /// The private key does not parse, or contradicts itself.
    #[error("the private key is damaged")]
    Private,
    /// The system gave no randomness.
    #[error("the system gave no randomness for a new key")]
    Randomness,
    /// The library refused to sign.
    #[error("the key could not sign")]
    Sign,
}

/// A signature that proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The message claims an algorithm that the key does not have.
    #[error("signature claims {claimed:?}, but the key signs with {key:?}")]
    Algorithm {
        /// What the key decides.
        key: SignatureAlgorithm,
        /// What the message says.
        claimed: SignatureAlgorithm,
    },
    /// It is not the key's signature of these octets.
    #[error("the signature is not valid")]
    Invalid,
}

/// Octets that are no table of pins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinsError {
    /// They do not begin as a table does.
    #[error("not a table of pins, or one of another version")]
    Magic,
    /// They end too early or too late.
    #[error("the table of pins is not as long as it says")]
    Length,
    /// More pins than the table may have.
    #[error("{found} pins, more than the {limit} that the table may have")]
    TooMany {
        /// Pins found.
        found: usize,
        /// Pins allowed.
        limit: usize,
    },
    /// The names do not ascend.
    #[error("the pins are not in the order of their names, or one is there twice")]
    Order,
    /// A time is beyond what the clock can tell.
    #[error("the last use of a pin cannot be represented")]
    Time,
}

/// Not a number of zero bits that a network can ask for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PuzzleError {
    /// Not a number, or too large a one.
    #[error("the bits of the puzzle are a number from 0 to {max}", max = crate::limits::MAX_PUZZLE_BITS)]
    Range,
}
