// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Reply (RFC 9301, section 5.4).

use super::security::{check_kept_whole, skip_counted};
use super::{Nonce, bit, first_word, open, record_count};
use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::record::{MappingRecord, read_records};
use crate::writer::Writer;

/// Answers a Map-Request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapReply {
    /// P: answers an RLOC-probe.
    pub probe: bool,
    /// E: the sender does echo-nonce.
    pub echo_nonce: bool,
    /// Copied from the request.
    pub nonce: Nonce,
    /// The mappings.
    pub records: Vec<MappingRecord>,
    /// S: LISP-SEC authentication data, kept whole (RFC 9303); [`MapReplyAd`](super::lispsec::MapReplyAd) is what it says.
    pub security: Option<Vec<u8>>,
}

/// P, E and S of the first word.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Type=2 |P|E|S|          Reserved               | Record Count  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
const PROBE: u32 = 0x0800_0000;
const ECHO_NONCE: u32 = 0x0400_0000;
const SECURITY: u32 = 0x0200_0000;

/// MR AD Type of LISP-SEC (RFC 9303, section 6.2).
const LISP_SEC: u8 = 1;

impl MapReply {
    /// Message type.
    pub const TYPE: u8 = 2;

    /// Decodes a UDP payload.
    ///
    /// # Errors
    /// Names the first field that is not as its RFC says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::read(bytes).map(|(reply, _)| reply)
    }

    /// Decodes, and says where the last field ends: the HMAC of LISP-SEC is over what is before (RFC 9303, section 6.2).
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (mut reader, word) = open(bytes, Self::TYPE)?;
        let nonce = Nonce(reader.u64("Nonce")?);
        let records = read_records(&mut reader, record_count(word))?;
        let security = if word & SECURITY != 0 { Some(read_security(&mut reader)?) } else { None };
        let (probe, echo_nonce) = (word & PROBE != 0, word & ECHO_NONCE != 0);
        Ok((Self { probe, echo_nonce, nonce, records, security }, reader.offset()))
    }

    /// Encodes to a UDP payload.
    ///
    /// # Errors
    /// When a count, a length or a value exceeds its field, or the security part is not as long as it says.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let bits = bit(self.probe, PROBE) | bit(self.echo_nonce, ECHO_NONCE) | bit(self.security.is_some(), SECURITY);
        let mut writer = Writer::new();
        writer.u32(first_word(Self::TYPE, bits, self.records.len())?);
        writer.u64(self.nonce.0);
        self.records.iter().try_for_each(|record| record.write(&mut writer))?;
        if let Some(security) = &self.security {
            check_kept_whole("MR AD", security, read_security)?;
            writer.put(security);
        }
        Ok(writer.finish())
    }
}

/// The authentication data: as long as its parts say; all that is left if the type is not LISP-SEC.
fn read_security<'a>(reader: &mut Reader<'a>) -> Result<Vec<u8>, DecodeError> {
    let start = reader.clone();
    let [kind, ..] = reader.array::<4>("MR AD Type")?;
    if kind != LISP_SEC {
        reader.rest();
    } else {
        skip_counted("EID-AD Length", reader)?;
        skip_counted("PKT-AD Length", reader)?;
    }
    Ok(start.until(reader).to_vec())
}
