// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors by culprit: the bytes ([`Malformed`]), who sent them ([`Refusal`]), our caller ([`PublishError`]).

use std::time::{Duration, SystemTime};

use cgeid::{CertificateError, Cn};

use crate::record::{Class, Version};

/// The bytes are not a canonical key, section or bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the field does.
    #[error("{0}: truncated")]
    Truncated(&'static str),
    /// A value that the format does not allow.
    #[error("{0}: value {1} not allowed")]
    Value(&'static str, u64),
    /// A length that the format does not allow.
    #[error("{0}: length {1} not allowed")]
    Length(&'static str, usize),
    /// Something follows where the bytes should end.
    #[error("{0}: trailing bytes")]
    Trailing(&'static str),
    /// A part that must be there is not.
    #[error("{0} missing")]
    Missing(&'static str),
    /// A part occurs more often than it may.
    #[error("{0}: too many")]
    TooMany(&'static str),
    /// A TLV that must be understood, and is not.
    #[error("critical TLV {0:#06x} not known")]
    CriticalTlv(u16),
    /// The same value has another encoding, which is the one to use.
    #[error("{0}: not in canonical form")]
    NotCanonical(&'static str),
}

/// Why a bundle is not taken: by a store that is asked to keep it, or by a reader that is given it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More octets than a bundle may have.
    #[error("{0} octets are more than a bundle may have")]
    TooLarge(usize),
    /// The DHT key is not one of ours.
    #[error("key: {0}")]
    Key(Malformed),
    /// The key belongs to another network prefix.
    #[error("key of another network")]
    OtherNetwork,
    /// The value is not a canonical bundle.
    #[error("bundle: {0}")]
    Malformed(#[from] Malformed),
    /// A section of this class has no place under this key.
    #[error("{0:?} section under a key that has none")]
    MisplacedClass(Class),
    /// A section larger than its class may be.
    #[error("{0:?} section of {1} octets")]
    SectionTooLarge(Class, usize),
    /// Flags or a signature algorithm that this class does not allow.
    #[error("{0:?} section: flags or algorithm not allowed")]
    Flags(Class),
    /// The section speaks of another prefix than the key.
    #[error("{0:?} section speaks of another prefix than its key")]
    OtherPrefix(Class),
    /// Signed too far in the future.
    #[error("{0:?} section signed in the future, at {1:?}")]
    FromTheFuture(Class, SystemTime),
    /// Past its lifetime.
    #[error("{0:?} section expired at {1:?}")]
    Expired(Class, SystemTime),
    /// A lifetime above the limit of the class.
    #[error("{0:?} section: lifetime {1:?} above the limit")]
    Lifetime(Class, Duration),
    /// The section names another owner than the key.
    #[error("{0:?} section of {1}, who is not the key's owner")]
    OtherOwner(Class, Cn),
    /// The identity certificate belongs to another CN than the key.
    #[error("identity certificate of {0}, who is not the key's owner")]
    OtherIdentity(Cn),
    /// The identity certificate does not hold.
    #[error("identity certificate: {0}")]
    IdentityCertificate(CertificateError),
    /// An operational certificate does not hold.
    #[error("operational certificate: {0}")]
    OperationalCertificate(CertificateError),
    /// The section's epoch is that of no operational certificate beside it.
    #[error("{0:?} section of epoch {1}, for which there is no certificate")]
    Epoch(Class, u32),
    /// Too many changes of this key.
    #[error("too many changes of this key")]
    Quota,
    /// The store is full and all it holds belongs here more.
    #[error("store full")]
    Full,
    /// The block of addresses that puts it fills its share already.
    #[error("whoever puts this has filled its share of the store")]
    Share,
    /// The node is not among those that shall keep this.
    #[error("other nodes are nearer")]
    NotNear,
    /// On disk, and not under the version that its mark has: it was not written by us.
    #[error("{0:?} section that its mark does not know")]
    Unmarked(Class),
    /// Older than what was stored before, even if that has expired since.
    #[error("{class:?} section {offered:?} is older than {known:?}")]
    OldSequence {
        /// The class.
        class: Class,
        /// What was put.
        offered: Version,
        /// What was seen before.
        known: Version,
    },
    /// Signed by an operational key that a later epoch has replaced.
    #[error("{0:?} section of a superseded epoch")]
    Superseded(Class),
    /// Another public key under the same CN was stored before: a conflict of its owner's making.
    #[error("a second public key for one CN")]
    SecondIdentity,
    /// The owner has revoked its identity: nothing of it is kept but that.
    #[error("the identity is revoked")]
    Revoked,
    /// A signature does not fit the section, the key or the network.
    #[error("{0:?} section: signature does not hold")]
    Signature(Class),
}

impl Refusal {
    /// The name under which the refusal is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too-large",
            Self::Key(_) => "key-syntax",
            Self::OtherNetwork => "other-network",
            Self::Malformed(_) => "malformed",
            Self::MisplacedClass(_) => "misplaced-class",
            Self::SectionTooLarge(..) => "section-too-large",
            Self::Flags(_) => "flags",
            Self::OtherPrefix(_) => "other-prefix",
            Self::FromTheFuture(..) => "from-the-future",
            Self::Expired(..) => "expired",
            Self::Lifetime(..) => "lifetime",
            Self::OtherOwner(..) => "other-owner",
            Self::OtherIdentity(_) => "other-identity",
            Self::IdentityCertificate(_) => "identity-certificate",
            Self::OperationalCertificate(_) => "operational-certificate",
            Self::Epoch(..) => "epoch",
            Self::Quota => "quota",
            Self::Full => "full",
            Self::Share => "share",
            Self::NotNear => "not-near",
            Self::Unmarked(_) => "unmarked",
            Self::OldSequence { .. } => "old-sequence",
            Self::Superseded(_) => "superseded",
            Self::SecondIdentity => "second-identity",
            Self::Revoked => "revoked",
            Self::Signature(_) => "signature",
        }
    }
}

/// What our caller asks to publish cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It does not fit the format.
    #[error(transparent)]
    Encode(#[from] wire::EncodeError),
    /// More than the class or a bundle may hold.
    #[error("{0:?} section of {1} octets is more than its class may have")]
    TooLarge(Class, usize),
    /// The sequence is ahead of the clock by more than anybody accepts: the clock went back, or the state is not ours.
    #[error(
        "the clock was {} s ahead of now when something was signed last, or is behind now: \
         nothing is signed before that time is over or peers say that the clock is right",
        .0.as_secs()
    )]
    ClockBehind(Duration),
    /// The operational certificate is not valid at this time.
    #[error("the operational certificate has expired; delegate a new one")]
    CertificateExpired,
    /// What a node says of itself is at least one, and one of each, of MAPPING, TOPOLOGY and SERVICE.
    #[error("{0:?} is not what a node says of itself: at least one, and one of each, of mapping, topology and service")]
    NotOfNode(Vec<Class>),
}
