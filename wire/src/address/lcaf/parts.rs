// SPDX-License-Identifier: GPL-2.0-or-later
//! What some LCAFs hold several of.

use super::codec::read_until_end;
use crate::address::Address;
use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::writer::Writer;

/// L, P and S of a hop of an explicit locator path (RFC 8060, section 4.6).
const HOP_LOOKUP: u16 = 0x0004;
const HOP_PROBE: u16 = 0x0002;
const HOP_STRICT: u16 = 0x0001;

/// The addresses of a NAT-Traversal LCAF (RFC 8060, section 4.4).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NatTraversal {
    /// UDP port of the Map-Server.
    pub ms_port: u16,
    /// UDP source port of the xTR as seen behind the NAT.
    pub etr_port: u16,
    /// Address of the xTR as seen behind the NAT.
    pub global_etr: Address,
    /// Address of the Map-Server.
    pub ms: Address,
    /// Address of the xTR before the NAT.
    pub private_etr: Address,
    /// Re-encapsulating tunnel routers.
    pub rtrs: Vec<Address>,
}

/// One hop of an explicit locator path (RFC 8060, section 4.6).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PathHop {
    /// L: look the address up rather than encapsulate to it.
    pub lookup: bool,
    /// P: the hop may be probed.
    pub probe: bool,
    /// S: the hop must not be skipped.
    pub strict: bool,
    /// The hop.
    pub address: Address,
}

/// One entry of a replication list (RFC 8060, section 4.9).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Replication {
    /// Level in the distribution tree, 0 next to the ITR.
    pub level: u8,
    /// The RTR or ETR.
    pub address: Address,
}

impl NatTraversal {
    pub(super) fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            ms_port: body.u16("MS UDP Port Number")?,
            etr_port: body.u16("ETR UDP Port Number")?,
            global_etr: Address::read(body)?,
            ms: Address::read(body)?,
            private_etr: Address::read(body)?,
            rtrs: read_until_end(body, Address::read)?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.u16(self.ms_port);
        writer.u16(self.etr_port);
        self.global_etr.write(writer)?;
        self.ms.write(writer)?;
        self.private_etr.write(writer)?;
        self.rtrs.iter().try_for_each(|rtr| rtr.write(writer))
    }
}

impl PathHop {
    pub(super) fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bits = body.u16("hop flags")?;
        Ok(Self {
            lookup: bits & HOP_LOOKUP != 0,
            probe: bits & HOP_PROBE != 0,
            strict: bits & HOP_STRICT != 0,
            address: Address::read(body)?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let bit = |set, mask| if set { mask } else { 0 };
        writer.u16(bit(self.lookup, HOP_LOOKUP) | bit(self.probe, HOP_PROBE) | bit(self.strict, HOP_STRICT));
        self.address.write(writer)
    }
}

impl Replication {
    pub(super) fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [_, _, _, level] = body.array("Level Value")?;
        Ok(Self { level, address: Address::read(body)? })
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put(&[0, 0, 0, self.level]);
        self.address.write(writer)
    }
}
