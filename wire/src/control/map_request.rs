// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Request (RFC 9301, section 5.2; RFC 9437).

use super::{Nonce, XtrIdentity, bit, first_word, open, record_count};
use crate::address::{Address, Eid};
use crate::error::{DecodeError, EncodeError, Problem};
use crate::limits::ITR_RLOCS;
use crate::reader::Reader;
use crate::record::MappingRecord;
use crate::writer::{Writer, to_u8};

/// Asks for the mapping of an EID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapRequest {
    /// A: only an authoritative answer is wanted.
    pub authoritative: bool,
    /// P: RLOC-probe.
    pub probe: bool,
    /// S: solicit-map-request.
    pub smr: bool,
    /// p: sent by a PITR.
    pub pitr: bool,
    /// s: sent because of an SMR.
    pub smr_invoked: bool,
    /// L: the sender is one of the site's locators.
    pub local_xtr: bool,
    /// D: no Map-Reply wanted.
    pub dont_map_reply: bool,
    /// Echoed by the reply.
    pub nonce: Nonce,
    /// EID of the source whose packet caused the request, or [`Address::None`].
    pub source_eid: Address,
    /// Where the reply may be sent: 1 to 32 addresses.
    pub itr_rlocs: Vec<Address>,
    /// What is asked for.
    pub records: Vec<EidRequest>,
    /// M: the sender's own mapping, not to be used unverified.
    pub map_reply_record: Option<MappingRecord>,
    /// I: identity of a subscriber (RFC 9437).
    pub xtr_identity: Option<XtrIdentity>,
}

/// One record of a Map-Request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EidRequest {
    /// N: notifications wanted (RFC 9437).
    pub notify: bool,
    /// The EID-prefix asked for.
    pub eid: Eid,
}

/// Bits of the first word.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Type=1 |A|M|P|S|p|s|R|I|  Rsvd   |L|D|   IRC   | Record Count  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
mod bits {
    pub(super) const AUTHORITATIVE: u32 = 0x0800_0000;
    pub(super) const MAP_REPLY_RECORD: u32 = 0x0400_0000;
    pub(super) const PROBE: u32 = 0x0200_0000;
    pub(super) const SMR: u32 = 0x0100_0000;
    pub(super) const PITR: u32 = 0x0080_0000;
    pub(super) const SMR_INVOKED: u32 = 0x0040_0000;
    /// RFC 9437, section 4.
    pub(super) const XTR_IDENTITY: u32 = 0x0010_0000;
    pub(super) const LOCAL_XTR: u32 = 0x0000_4000;
    pub(super) const DONT_MAP_REPLY: u32 = 0x0000_2000;
    pub(super) const IRC_SHIFT: u32 = 8;
    pub(super) const IRC: u32 = 0x1f;
}

/// N of a record, in its otherwise reserved octet (RFC 9437, section 4).
const NOTIFY: u8 = 0x80;

impl MapRequest {
    /// Message type.
    pub const TYPE: u8 = 1;

    /// Decodes a UDP payload, or the message of an ECM.
    ///
    /// # Errors
    /// Names the first field that is not as its RFC says; a request without records is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut reader, word) = open(bytes, Self::TYPE)?;
        let reader = &mut reader;
        let set = |mask: u32| word & mask != 0;
        if record_count(word) == 0 {
            return Err(reader.error_behind("Record Count", 1, Problem::Value(0)));
        }
        let nonce = Nonce(reader.u64("Nonce")?);
        let source_eid = Address::read(reader)?;
        let itr_rlocs =
            (0..=word >> bits::IRC_SHIFT & bits::IRC).map(|_| Address::read(reader)).collect::<Result<_, _>>()?;
        let records = (0..record_count(word)).map(|_| EidRequest::read(reader)).collect::<Result<_, _>>()?;
        let map_reply_record = if set(bits::MAP_REPLY_RECORD) { Some(MappingRecord::read(reader)?) } else { None };
        let xtr_identity = if set(bits::XTR_IDENTITY) { Some(XtrIdentity::read(reader)?) } else { None };
        Ok(Self {
            authoritative: set(bits::AUTHORITATIVE),
            probe: set(bits::PROBE),
            smr: set(bits::SMR),
            pitr: set(bits::PITR),
            smr_invoked: set(bits::SMR_INVOKED),
            local_xtr: set(bits::LOCAL_XTR),
            dont_map_reply: set(bits::DONT_MAP_REPLY),
            nonce,
            source_eid,
            itr_rlocs,
            records,
            map_reply_record,
            xtr_identity,
        })
    }

    /// Encodes to a UDP payload, or to the message of an ECM.
    ///
    /// # Errors
    /// When there is no ITR-RLOC or no record, or when a count, a length or a value exceeds its field.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if self.records.is_empty() {
            return Err(EncodeError { field: "Record Count", count: 0, limit: 1 });
        }
        let mut writer = Writer::new();
        writer.u32(first_word(Self::TYPE, self.bits() | self.irc()?, self.records.len())?);
        writer.u64(self.nonce.0);
        self.source_eid.write(&mut writer)?;
        self.itr_rlocs.iter().try_for_each(|rloc| rloc.write(&mut writer))?;
        self.records.iter().try_for_each(|record| record.write(&mut writer))?;
        if let Some(record) = &self.map_reply_record {
            record.write(&mut writer)?;
        }
        if let Some(identity) = &self.xtr_identity {
            identity.write(&mut writer);
        }
        Ok(writer.finish())
    }

    fn bits(&self) -> u32 {
        bit(self.authoritative, bits::AUTHORITATIVE)
            | bit(self.map_reply_record.is_some(), bits::MAP_REPLY_RECORD)
            | bit(self.probe, bits::PROBE)
            | bit(self.smr, bits::SMR)
            | bit(self.pitr, bits::PITR)
            | bit(self.smr_invoked, bits::SMR_INVOKED)
            | bit(self.xtr_identity.is_some(), bits::XTR_IDENTITY)
            | bit(self.local_xtr, bits::LOCAL_XTR)
            | bit(self.dont_map_reply, bits::DONT_MAP_REPLY)
    }

    /// IRC, which is one less than the number of ITR-RLOCs.
    fn irc(&self) -> Result<u32, EncodeError> {
        let count = self.itr_rlocs.len();
        let error = |limit| EncodeError { field: "ITR-RLOC Count", count, limit };
        let irc = count.checked_sub(1).ok_or_else(|| error(1))?;
        if count > ITR_RLOCS {
            return Err(error(ITR_RLOCS));
        }
        Ok(u32::from(to_u8("ITR-RLOC Count", irc)?) << bits::IRC_SHIFT)
    }
}

impl EidRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [reserved_and_n, mask_len] = reader.array("record header")?;
        Ok(Self { notify: reserved_and_n & NOTIFY != 0, eid: Eid::read(reader, mask_len)? })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put(&[if self.notify { NOTIFY } else { 0 }, self.eid.mask_len]);
        self.eid.write(writer)
    }
}
