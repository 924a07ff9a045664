// SPDX-License-Identifier: GPL-2.0-or-later
//! The signature section of a referral record, and what a signature covers (RFC 8111, section 6.4.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      Original Record TTL                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      Signature Expiration                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      Signature Inception                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Key Tag            |           Sig Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Sig-Algorithm |    Reserved   |            Reserved           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                             Signature                         ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::map_referral::Referral;
use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::record::Ttl;
use crate::writer::Writer;

/// Octets of a signature section before its signature.
const HEAD_OCTETS: usize = 20;
/// Octets of Record TTL, with which a record begins.
const TTL_OCTETS: usize = 4;

/// A signature of a referral record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferralSignature {
    /// Record TTL as it was signed: that of the record may be lower on its way.
    pub original_ttl: Ttl,
    /// After this it authenticates nothing.
    pub expiration: SignatureTime,
    /// Before this it authenticates nothing.
    pub inception: SignatureTime,
    /// Which key of its signer made it.
    pub key_tag: u16,
    /// How it was made: [`Self::RSA_SHA256`].
    pub algorithm: u8,
    /// The signature.
    pub octets: Vec<u8>,
}

/// Seconds since 1970-01-01 00:00:00 UTC without leap seconds, 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SignatureTime(pub u32);

impl SignatureTime {
    /// The second that `time` is in; what is outside of the 32 bits becomes the first or the last of them.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
    }
}

impl ReferralSignature {
    /// Sig-Algorithm 1, RSA-SHA1, which is deprecated.
    pub const RSA_SHA1: u8 = 1;
    /// Sig-Algorithm 2: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2).
    pub const RSA_SHA256: u8 = 2;

    /// Whether it may be used at `now`: neither before its inception nor after its expiration.
    pub fn is_timely(&self, now: SignatureTime) -> bool {
        self.inception <= now && now <= self.expiration
    }

    /// What is reserved is ignored.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let original_ttl = Ttl(reader.u32("Original Record TTL")?);
        let expiration = SignatureTime(reader.u32("Signature Expiration")?);
        let inception = SignatureTime(reader.u32("Signature Inception")?);
        let key_tag = reader.u16("Key Tag")?;
        let length = reader.u16("Sig Length")?;
        let [algorithm, _reserved @ ..]: [u8; 4] = reader.array("Sig-Algorithm")?;
        let octets = reader.take("Signature", length.into())?.to_vec();
        Ok(Self { original_ttl, expiration, inception, key_tag, algorithm, octets })
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let length = u16::try_from(self.octets.len()).map_err(|_| EncodeError {
            field: "Sig Length",
            count: self.octets.len(),
            limit: u16::MAX.into(),
        })?;
        writer.u32(self.original_ttl.0);
        writer.u32(self.expiration.0);
        writer.u32(self.inception.0);
        writer.u16(self.key_tag);
        writer.u16(length);
        writer.put(&[self.algorithm, 0, 0, 0]);
        writer.put(&self.octets);
        Ok(())
    }
}

impl Referral {
    /// The octets that `signature`, one of this record's, covers: the record as it was received, `octets`, with its Record TTL as
    /// it was when it was signed and zeros for signatures. Of several signatures none covers another, since each would have to
    /// be there before the other.
    ///
    /// `octets` are those of [`super::MapReferral::record_octets`] for this record: what is reserved in them is signed too.
    pub fn covered(&self, octets: &[u8], signature: &ReferralSignature) -> Vec<u8> {
        let mut covered = octets.to_vec();
        if let Some(ttl) = covered.get_mut(..TTL_OCTETS) {
            ttl.copy_from_slice(&signature.original_ttl.0.to_be_bytes());
        }
        // The signature sections are at the end of the record, the last one last.
        let mut end = covered.len();
        for section in self.signatures.iter().rev() {
            let begin = end.saturating_sub(section.octets.len());
            if let Some(octets) = covered.get_mut(begin..end) {
                octets.fill(0);
            }
            end = begin.saturating_sub(HEAD_OCTETS);
        }
        covered
    }
}
