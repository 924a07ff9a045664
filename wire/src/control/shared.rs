// SPDX-License-Identifier: GPL-2.0-or-later
//! Shared Extension Message, type 15 (RFC 9304).

use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;
use crate::writer::Writer;

/// An extension message of a registered sub-type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SharedExtension {
    /// Sub-type, 12 bits.
    pub subtype: u16,
    /// What follows the first word's first 16 bits.
    pub body: Vec<u8>,
}

/// Sub-type: the 12 bits behind the message type.
const SUBTYPE: u16 = 0x0fff;

impl SharedExtension {
    /// Message type.
    pub const TYPE: u8 = 15;

    /// Decodes a UDP payload.
    ///
    /// # Errors
    /// When it is shorter than its header or of another type.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let head = reader.u16("message header")?;
        if head >> 12 != u16::from(Self::TYPE) {
            return Err(reader.error_behind("message type", 2, Problem::Value((head >> 12).into())));
        }
        Ok(Self { subtype: head & SUBTYPE, body: reader.rest().to_vec() })
    }

    /// Encodes to a UDP payload.
    ///
    /// # Errors
    /// When the sub-type has more than 12 bits.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if self.subtype > SUBTYPE {
            return Err(EncodeError { field: "Sub-type", count: self.subtype.into(), limit: SUBTYPE.into() });
        }
        let mut writer = Writer::new();
        writer.u16(u16::from(Self::TYPE) << 12 | self.subtype);
        writer.put(&self.body);
        Ok(writer.finish())
    }
}
