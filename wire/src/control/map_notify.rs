// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Notify and Map-Notify-Ack (RFC 9301, section 5.7).

use super::auth::Authentication;
use super::{Nonce, XtrIdentity, bit, first_word, open, record_count};
use crate::error::{DecodeError, EncodeError};
use crate::record::{MappingRecord, read_records};
use crate::writer::Writer;

/// Confirms a Map-Register, or tells of a changed mapping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapNotify {
    /// The Map-Register's nonce, or one of its own if unsolicited.
    pub nonce: Nonce,
    /// Key, algorithm and tag.
    pub auth: Authentication,
    /// The mappings.
    pub records: Vec<MappingRecord>,
    /// Echo of the Map-Register's tail, which deployed Map-Servers send with bit 4 set; RFC 9301 has no such bit.
    pub xtr_identity: Option<XtrIdentity>,
}

/// The bit with which deployed Map-Servers announce the tail that they echo.
const XTR_IDENTITY: u32 = 0x0800_0000;

impl MapNotify {
    /// Message type of a Map-Notify.
    pub const TYPE: u8 = 4;
    /// Message type of a Map-Notify-Ack.
    pub const ACK_TYPE: u8 = 5;

    /// Decodes a Map-Notify; the tag is not checked, [`verify`](super::auth::verify) does that.
    ///
    /// # Errors
    /// Names the first field that is not as its RFC says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_type(bytes, Self::TYPE)
    }

    /// Decodes a Map-Notify-Ack.
    ///
    /// # Errors
    /// As [`MapNotify::decode`].
    pub fn decode_ack(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_type(bytes, Self::ACK_TYPE)
    }

    /// Encodes a Map-Notify with the tag that stands in `auth`; [`seal`](super::auth::seal) computes one.
    ///
    /// # Errors
    /// When a count, a length or a value exceeds its field.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        self.encode_type(Self::TYPE)
    }

    /// Encodes a Map-Notify-Ack.
    ///
    /// # Errors
    /// As [`MapNotify::encode`].
    pub fn encode_ack(&self) -> Result<Vec<u8>, EncodeError> {
        self.encode_type(Self::ACK_TYPE)
    }

    fn decode_type(bytes: &[u8], kind: u8) -> Result<Self, DecodeError> {
        let (mut reader, word) = open(bytes, kind)?;
        let reader = &mut reader;
        let nonce = Nonce(reader.u64("Nonce")?);
        let auth = Authentication::read(reader)?;
        let records = read_records(reader, record_count(word))?;
        // To RFC 9301 the bit is reserved, so that it alone (without the octets) must not void the message.
        let echoed = word & XTR_IDENTITY != 0 && reader.remaining() >= XtrIdentity::LENGTH;
        let xtr_identity = if echoed { Some(XtrIdentity::read(reader)?) } else { None };
        Ok(Self { nonce, auth, records, xtr_identity })
    }

    fn encode_type(&self, kind: u8) -> Result<Vec<u8>, EncodeError> {
        let bits = bit(self.xtr_identity.is_some(), XTR_IDENTITY);
        let mut writer = Writer::new();
        writer.u32(first_word(kind, bits, self.records.len())?);
        writer.u64(self.nonce.0);
        self.auth.write(&mut writer)?;
        self.records.iter().try_for_each(|record| record.write(&mut writer))?;
        if let Some(identity) = &self.xtr_identity {
            identity.write(&mut writer);
        }
        Ok(writer.finish())
    }
}
