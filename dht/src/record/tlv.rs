// SPDX-License-Identifier: GPL-2.0-or-later
//! Type-length-value elements of a section's body: a set, written in ascending order.

use wire::EncodeError;

use super::reader::Reader;
use crate::error::Malformed;

/// Octets of an element before its value.
const HEADER: usize = 4;

/// One element: type 2 ‖ length 2 ‖ value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tlv {
    /// Type; with [`Tlv::CRITICAL`] set, a reader that does not know it refuses the section.
    pub kind: u16,
    /// Value.
    pub value: Box<[u8]>,
}

impl Tlv {
    /// Bit 15 of the type.
    pub const CRITICAL: u16 = 0x8000;

    pub(crate) fn new(kind: u16, value: impl Into<Box<[u8]>>) -> Self {
        Self { kind, value: value.into() }
    }

    /// The element, for keeping, unless it is one that must be understood.
    pub(crate) fn kept(self) -> Result<Self, Malformed> {
        if self.kind & Self::CRITICAL != 0 { Err(Malformed::CriticalTlv(self.kind)) } else { Ok(self) }
    }
}

/// All elements of a body; any order, because the section is compared with its canonical form afterwards.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<Tlv>, Malformed> {
    let mut reader = Reader(body);
    let mut tlvs = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u16("TLV type")?;
        let length = reader.u16("TLV length")?;
        tlvs.push(Tlv::new(kind, reader.take("TLV value", length.into())?));
    }
    Ok(tlvs)
}

/// The body: strictly ascending, so equal elements are written once.
pub(crate) fn encode(mut tlvs: Vec<Tlv>) -> Result<Vec<u8>, EncodeError> {
    tlvs.sort_unstable();
    tlvs.dedup();
    let mut body = Vec::with_capacity(tlvs.iter().map(|tlv| HEADER + tlv.value.len()).sum());
    for tlv in &tlvs {
        body.extend_from_slice(&tlv.kind.to_be_bytes());
        body.extend_from_slice(&length("TLV length", tlv.value.len())?);
        body.extend_from_slice(&tlv.value);
    }
    Ok(body)
}

/// A length field of two octets.
pub(crate) fn length(field: &'static str, count: usize) -> Result<[u8; 2], EncodeError> {
    match u16::try_from(count) {
        Ok(short) => Ok(short.to_be_bytes()),
        Err(_) => Err(EncodeError { field, count, limit: u16::MAX.into() }),
    }
}
