// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Referral (RFC 8111, section 6).

use std::borrow::Cow;

use super::referral_signature::ReferralSignature;
use super::{Nonce, first_word, open, record_count};
use crate::address::Eid;
use crate::error::{DecodeError, EncodeError};
use crate::limits::REFERRAL_SIGNATURES;
use crate::reader::Reader;
use crate::record::{Head, LocatorRecord, MapVersion, Ttl, read_locators, write_locators};
use crate::writer::{Writer, to_u8};

/// A DDT node's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapReferral {
    /// Copied from the request.
    pub nonce: Nonce,
    /// The referrals.
    pub records: Vec<Referral>,
}

/// One referral record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    /// How long it may be kept.
    pub ttl: Ttl,
    /// What the referral says.
    pub action: ReferralAction,
    /// A.
    pub authoritative: bool,
    /// I: the referral set is incomplete.
    pub incomplete: bool,
    /// Version of the mapping.
    pub map_version: MapVersion,
    /// The EID-prefix it speaks of.
    pub eid: Eid,
    /// The referral set.
    pub locators: Vec<LocatorRecord>,
    /// Signatures, at most 15 (RFC 8111, section 6.4.1).
    pub signatures: Vec<ReferralSignature>,
}

/// ACT of a referral (RFC 8111, section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReferralAction {
    /// 0: ask these DDT nodes.
    NodeReferral = 0,
    /// 1: ask these Map-Servers.
    MsReferral = 1,
    /// 2: registered here; the request was forwarded.
    MsAck = 2,
    /// 3: configured here, not registered.
    MsNotRegistered = 3,
    /// 4: nobody is delegated this.
    DelegationHole = 4,
    /// 5: not asked the right node.
    NotAuthoritative = 5,
    /// 6: unassigned.
    Unassigned6 = 6,
    /// 7: unassigned.
    Unassigned7 = 7,
}

impl ReferralAction {
    /// The low three bits of `bits`.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x07 {
            0 => Self::NodeReferral,
            1 => Self::MsReferral,
            2 => Self::MsAck,
            3 => Self::MsNotRegistered,
            4 => Self::DelegationHole,
            5 => Self::NotAuthoritative,
            6 => Self::Unassigned6,
            _ => Self::Unassigned7,
        }
    }
}

impl MapReferral {
    /// Message type.
    pub const TYPE: u8 = 6;

    /// Decodes a UDP payload.
    ///
    /// # Errors
    /// Names the first field that is not as its RFC says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut reader, word) = open(bytes, Self::TYPE)?;
        let nonce = Nonce(reader.u64("Nonce")?);
        let records = (0..record_count(word)).map(|_| Referral::read(&mut reader)).collect::<Result<_, _>>()?;
        Ok(Self { nonce, records })
    }

    /// Encodes to a UDP payload.
    ///
    /// # Errors
    /// When a count, a length or a value exceeds its field.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new();
        writer.u32(first_word(Self::TYPE, 0, self.records.len())?);
        writer.u64(self.nonce.0);
        self.records.iter().try_for_each(|record| record.write(&mut writer))?;
        Ok(writer.finish())
    }
}

impl MapReferral {
    /// The octets of each record of a UDP payload that decodes, as they came: what signatures cover.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn record_octets(bytes: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
        let (mut reader, word) = open(bytes, Self::TYPE)?;
        reader.u64("Nonce")?;
        let one = |_| {
            let start = reader.clone();
            Referral::read(&mut reader)?;
            Ok(start.until(&reader))
        };
        (0..record_count(word)).map(one).collect()
    }
}

impl Referral {
    /// The octets of the record alone.
    ///
    /// # Errors
    /// As [`MapReferral::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new();
        self.write(&mut writer)?;
        Ok(writer.finish())
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let head = Head::read(reader)?;
        let locators = read_locators(reader, head.locator_count)?;
        let signatures =
            (0..head.signature_count).map(|_| ReferralSignature::read(reader)).collect::<Result<_, _>>()?;
        Ok(Self {
            ttl: head.ttl,
            action: ReferralAction::from_bits(head.action),
            authoritative: head.authoritative,
            incomplete: head.incomplete,
            map_version: head.map_version,
            eid: head.eid.into_owned(),
            locators,
            signatures,
        })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let count = self.signatures.len();
        if count > REFERRAL_SIGNATURES {
            return Err(EncodeError { field: "SigCnt", count, limit: REFERRAL_SIGNATURES });
        }
        let head = Head {
            ttl: self.ttl,
            locator_count: self.locators.len(),
            action: self.action as u8,
            authoritative: self.authoritative,
            incomplete: self.incomplete,
            signature_count: to_u8("SigCnt", count)?,
            map_version: self.map_version,
            eid: Cow::Borrowed(&self.eid),
        };
        head.write(writer)?;
        write_locators(writer, &self.locators)?;
        self.signatures.iter().try_for_each(|signature| signature.write(writer))
    }
}
