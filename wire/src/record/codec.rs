// SPDX-License-Identifier: GPL-2.0-or-later
//! Records on the wire (RFC 9301, section 5.4; RFC 8111, section 6.4).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                          Record TTL                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Locator Count | EID mask-len  | ACT |A|I|     Reserved        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |SigCnt |  Map-Version Number   |       EID-Prefix-AFI          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                          EID-Prefix                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    Priority   |    Weight     |  M Priority   |   M Weight    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Unused Flags     |L|p|R|           Loc-AFI             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                             Locator                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//! I and SigCnt belong to Map-Referrals; in every other message they are reserved.

use std::borrow::Cow;

use super::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};
use crate::address::{Address, Eid};
use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::writer::{Writer, to_u8};

/// ACT, A and I share an octet.
const ACTION_SHIFT: u8 = 5;
const AUTHORITATIVE: u8 = 0x10;
const INCOMPLETE: u8 = 0x08;
/// SigCnt: the four bits above the map version.
const SIGNATURE_COUNT_SHIFT: u8 = 4;

const LOCAL: u16 = 0x0004;
const PROBED: u16 = 0x0002;
const REACHABLE: u16 = 0x0001;

/// A record up to its locators, as mapping records and referrals share it.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) ttl: Ttl,
    pub(crate) locator_count: usize,
    /// Three bits.
    pub(crate) action: u8,
    pub(crate) authoritative: bool,
    pub(crate) incomplete: bool,
    /// Four bits.
    pub(crate) signature_count: u8,
    pub(crate) map_version: MapVersion,
    pub(crate) eid: Cow<'a, Eid>,
}

impl Head<'_> {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let ttl = Ttl(reader.u32("Record TTL")?);
        let [locator_count, mask_len, bits, _reserved] = reader.array("record header")?;
        let [version_high, version_low] = reader.array("Map-Version Number")?;
        let version = u16::from_be_bytes([version_high, version_low]) & MapVersion::MAX;
        Ok(Self {
            ttl,
            locator_count: locator_count.into(),
            action: bits >> ACTION_SHIFT,
            authoritative: bits & AUTHORITATIVE != 0,
            incomplete: bits & INCOMPLETE != 0,
            signature_count: version_high >> SIGNATURE_COUNT_SHIFT,
            map_version: MapVersion(version),
            eid: Cow::Owned(Eid::read(reader, mask_len)?),
        })
    }

    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let MapVersion(version) = self.map_version;
        if version > MapVersion::MAX {
            let limit = MapVersion::MAX.into();
            return Err(EncodeError { field: "Map-Version Number", count: version.into(), limit });
        }
        let bit = |set, mask| if set { mask } else { 0 };
        let bits =
            self.action << ACTION_SHIFT | bit(self.authoritative, AUTHORITATIVE) | bit(self.incomplete, INCOMPLETE);
        writer.u32(self.ttl.0);
        writer.put(&[to_u8("Locator Count", self.locator_count)?, self.eid.mask_len, bits, 0]);
        writer.u16(u16::from(self.signature_count) << 12 | version);
        self.eid.write(writer)
    }
}

impl MappingRecord {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let head = Head::read(reader)?;
        Ok(Self {
            ttl: head.ttl,
            action: Action::from_bits(head.action),
            authoritative: head.authoritative,
            map_version: head.map_version,
            eid: head.eid.into_owned(),
            locators: read_locators(reader, head.locator_count)?,
        })
    }

    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let head = Head {
            ttl: self.ttl,
            locator_count: self.locators.len(),
            action: self.action as u8,
            authoritative: self.authoritative,
            incomplete: false,
            signature_count: 0,
            map_version: self.map_version,
            eid: Cow::Borrowed(&self.eid),
        };
        head.write(writer)?;
        write_locators(writer, &self.locators)
    }
}

pub(crate) fn read_records(reader: &mut Reader<'_>, count: u8) -> Result<Vec<MappingRecord>, DecodeError> {
    (0..count).map(|_| MappingRecord::read(reader)).collect()
}

pub(crate) fn read_locators(reader: &mut Reader<'_>, count: usize) -> Result<Vec<LocatorRecord>, DecodeError> {
    (0..count).map(|_| LocatorRecord::read(reader)).collect()
}

pub(crate) fn write_locators(writer: &mut Writer, locators: &[LocatorRecord]) -> Result<(), EncodeError> {
    locators.iter().try_for_each(|locator| locator.write(writer))
}

impl LocatorRecord {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [priority, weight, mpriority, mweight] = reader.array("Priority")?;
        let bits = reader.u16("locator flags")?;
        Ok(Self {
            priority,
            weight,
            mpriority,
            mweight,
            local: bits & LOCAL != 0,
            probed: bits & PROBED != 0,
            reachable: bits & REACHABLE != 0,
            rloc: Address::read(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let bit = |set, mask| if set { mask } else { 0 };
        writer.put(&[self.priority, self.weight, self.mpriority, self.mweight]);
        writer.u16(bit(self.local, LOCAL) | bit(self.probed, PROBED) | bit(self.reachable, REACHABLE));
        self.rloc.write(writer)
    }
}
