// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP Canonical Address Format (RFC 8060, RFC 9306).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           AFI = 16387         |     Rsvd1     |     Flags     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Type      |     Rsvd2     |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//! Length counts the octets after itself.

use super::{Address, GeoCoordinates, InstanceId};
use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;
use crate::writer::{Writer, to_u8};

/// LCAF types (RFC 8060, section 7; RFC 9306, section 6).
mod kind {
    pub(super) const NULL: u8 = 0;
    pub(super) const AFI_LIST: u8 = 1;
    pub(super) const INSTANCE_ID: u8 = 2;
    pub(super) const AS_NUMBER: u8 = 3;
    pub(super) const GEO_COORDINATES: u8 = 5;
    pub(super) const NAT_TRAVERSAL: u8 = 7;
    pub(super) const MULTICAST_INFO: u8 = 9;
    pub(super) const EXPLICIT_LOCATOR_PATH: u8 = 10;
    pub(super) const SECURITY_KEY: u8 = 11;
    pub(super) const SOURCE_DEST_KEY: u8 = 12;
    pub(super) const REPLICATION_LIST: u8 = 13;
    pub(super) const JSON: u8 = 14;
    pub(super) const VENDOR: u8 = 255;

    pub(super) const DECODED: [u8; 12] = [
        NULL,
        AFI_LIST,
        INSTANCE_ID,
        AS_NUMBER,
        GEO_COORDINATES,
        NAT_TRAVERSAL,
        MULTICAST_INFO,
        EXPLICIT_LOCATOR_PATH,
        SECURITY_KEY,
        SOURCE_DEST_KEY,
        REPLICATION_LIST,
        JSON,
    ];
}

/// B of a JSON LCAF, in its Rsvd2 octet: the text is binary JSON (RFC 8060, section 5.4).
const JSON_BINARY: u8 = 0x01;
/// R of a Security Key LCAF: the key is revoked (RFC 8060, section 4.7).
const KEY_REVOKED: u8 = 0x01;
/// L, P and S of a hop of an explicit locator path (RFC 8060, section 4.6).
const HOP_LOOKUP: u16 = 0x0004;
const HOP_PROBE: u16 = 0x0002;
const HOP_STRICT: u16 = 0x0001;

/// An LCAF. The types that the requirement tables name are decoded; the others are kept whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lcaf {
    /// Type 0: no address (RFC 8060, section 3).
    Null,
    /// Type 1: several addresses that belong together (RFC 8060, section 4.10).
    AfiList(Vec<Address>),
    /// Type 2: an address in an instance (RFC 8060, section 4.1).
    InstanceId {
        /// The instance.
        iid: InstanceId,
        /// Significant bits of the instance ID; only meaningful without an address.
        iid_mask_len: u8,
        /// The address in it.
        address: Address,
    },
    /// Type 3: an address and the autonomous system it belongs to (RFC 8060, section 4.2).
    AsNumber {
        /// The autonomous system.
        asn: u32,
        /// The address in it.
        address: Address,
    },
    /// Type 5: where the address is (RFC 8060, section 4.3).
    Geo {
        /// The place.
        place: GeoCoordinates,
        /// The address that is there.
        address: Address,
    },
    /// Type 7: what an xTR behind a NAT is told (RFC 8060, section 4.4).
    NatTraversal(NatTraversal),
    /// Type 9: a multicast (S, G) key (RFC 8060, section 4.5).
    MulticastInfo {
        /// The instance.
        iid: InstanceId,
        /// Significant bits of the source.
        source_mask_len: u8,
        /// Significant bits of the group.
        group_mask_len: u8,
        /// S.
        source: Address,
        /// G.
        group: Address,
    },
    /// Type 10: re-encapsulating hops, in order (RFC 8060, section 4.6).
    ExplicitLocatorPath(Vec<PathHop>),
    /// Type 11: keys of a locator (RFC 8060, section 4.7; RFC 8061, section 6).
    SecurityKey {
        /// Key Algorithm: the cipher suite in RFC 8061.
        algorithm: u8,
        /// R: the key is revoked.
        revoked: bool,
        /// The keys, at most 255.
        keys: Vec<Vec<u8>>,
        /// The locator that they belong to.
        address: Address,
    },
    /// Type 12: a key of a source and a destination prefix (RFC 8060, section 4.8).
    SourceDestKey {
        /// Significant bits of the source.
        source_mask_len: u8,
        /// Significant bits of the destination.
        dest_mask_len: u8,
        /// The source prefix.
        source: Address,
        /// The destination prefix.
        dest: Address,
    },
    /// Type 13: whom to replicate to, and at which level (RFC 8060, section 4.9).
    ReplicationList(Vec<Replication>),
    /// Type 14: a JSON text and the address it tells about (RFC 8060, section 5.4).
    Json {
        /// B: binary JSON.
        binary: bool,
        /// The text, unchecked.
        text: Vec<u8>,
        /// The address.
        address: Address,
    },
    /// A type that is not decoded further. Never one of the above, nor type 255: a vendor's LCAF of an OUI that we do
    /// not know voids the message that carries it (RFC 9306, section 4), and we know none.
    Opaque {
        /// Flags octet.
        flags: u8,
        /// Type octet.
        kind: u8,
        /// Rsvd2 octet, which several types give a meaning.
        rsvd2: u8,
        /// What follows the Length field.
        body: Box<[u8]>,
    },
}

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

impl Lcaf {
    /// The Type octet.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Null => kind::NULL,
            Self::AfiList(_) => kind::AFI_LIST,
            Self::InstanceId { .. } => kind::INSTANCE_ID,
            Self::AsNumber { .. } => kind::AS_NUMBER,
            Self::Geo { .. } => kind::GEO_COORDINATES,
            Self::NatTraversal(_) => kind::NAT_TRAVERSAL,
            Self::MulticastInfo { .. } => kind::MULTICAST_INFO,
            Self::ExplicitLocatorPath(_) => kind::EXPLICIT_LOCATOR_PATH,
            Self::SecurityKey { .. } => kind::SECURITY_KEY,
            Self::SourceDestKey { .. } => kind::SOURCE_DEST_KEY,
            Self::ReplicationList(_) => kind::REPLICATION_LIST,
            Self::Json { .. } => kind::JSON,
            Self::Opaque { kind, .. } => *kind,
        }
    }

    /// Reads what follows the AFI.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [_rsvd1, flags, kind, rsvd2] = reader.array("LCAF header")?;
        if kind == kind::VENDOR {
            return Err(reader.error_behind("LCAF Type", 2, Problem::Value(kind.into())));
        }
        let length = reader.u16("LCAF Length")?;
        let mut body = reader.lcaf_body("LCAF body", length.into())?;
        let lcaf = Self::read_body(&mut body, flags, kind, rsvd2)?;
        if body.is_empty() { Ok(lcaf) } else { Err(body.error("LCAF Length", Problem::Length(length.into()))) }
    }

    fn read_body(body: &mut Reader<'_>, flags: u8, kind: u8, rsvd2: u8) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::NULL => Self::Null,
            kind::AFI_LIST => Self::AfiList(read_until_end(body, Address::read)?),
            kind::INSTANCE_ID => Self::read_instance_id(body, rsvd2)?,
            kind::AS_NUMBER => Self::AsNumber { asn: body.u32("AS Number")?, address: Address::read(body)? },
            kind::GEO_COORDINATES => Self::Geo { place: GeoCoordinates::read(body)?, address: Address::read(body)? },
            kind::NAT_TRAVERSAL => Self::NatTraversal(NatTraversal::read(body)?),
            kind::MULTICAST_INFO => Self::read_multicast_info(body)?,
            kind::EXPLICIT_LOCATOR_PATH => Self::ExplicitLocatorPath(read_until_end(body, PathHop::read)?),
            kind::SECURITY_KEY => Self::read_security_key(body)?,
            kind::SOURCE_DEST_KEY => Self::read_source_dest_key(body)?,
            kind::REPLICATION_LIST => Self::ReplicationList(read_until_end(body, Replication::read)?),
            kind::JSON => {
                let length = body.u16("JSON length")?;
                let text = body.take("JSON text", length.into())?.to_vec();
                Self::Json { binary: rsvd2 & JSON_BINARY != 0, text, address: Address::read(body)? }
            }
            _ => Self::Opaque { flags, kind, rsvd2, body: body.rest().into() },
        })
    }

    fn read_instance_id(body: &mut Reader<'_>, iid_mask_len: u8) -> Result<Self, DecodeError> {
        let iid = InstanceId(body.u32("Instance ID")?);
        let address = Address::read(body)?;
        if address == Address::None && iid_mask_len > 32 {
            return Err(body.error("IID mask-len", Problem::Value(iid_mask_len.into())));
        }
        Ok(Self::InstanceId { iid, iid_mask_len, address })
    }

    fn read_multicast_info(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let iid = InstanceId(body.u32("Instance ID")?);
        let (source_mask_len, group_mask_len) = read_mask_lens(body)?;
        let source = Address::read_prefix("Source MaskLen", body, source_mask_len)?;
        let group = Address::read_prefix("Group MaskLen", body, group_mask_len)?;
        Ok(Self::MulticastInfo { iid, source_mask_len, group_mask_len, source, group })
    }

    fn read_security_key(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [count, _rsvd3, algorithm, rsvd4_and_r] = body.array("Security Key header")?;
        let mut keys = Vec::new();
        for _ in 0..count {
            let length = body.u16("Key Length")?;
            keys.push(body.take("Key Material", length.into())?.to_vec());
        }
        Ok(Self::SecurityKey {
            algorithm,
            revoked: rsvd4_and_r & KEY_REVOKED != 0,
            keys,
            address: Address::read(body)?,
        })
    }

    fn read_source_dest_key(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (source_mask_len, dest_mask_len) = read_mask_lens(body)?;
        let source = Address::read_prefix("Source-ML", body, source_mask_len)?;
        let dest = Address::read_prefix("Dest-ML", body, dest_mask_len)?;
        Ok(Self::SourceDestKey { source_mask_len, dest_mask_len, source, dest })
    }

    /// Writes what follows the AFI.
    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let (flags, rsvd2) = match self {
            Self::Opaque { kind, .. } if *kind == kind::VENDOR || kind::DECODED.contains(kind) => {
                return Err(EncodeError { field: "opaque LCAF Type", count: (*kind).into(), limit: 254 });
            }
            Self::Opaque { flags, rsvd2, .. } => (*flags, *rsvd2),
            Self::InstanceId { iid_mask_len, address, .. } => {
                if *address == Address::None && *iid_mask_len > 32 {
                    return Err(EncodeError { field: "IID mask-len", count: (*iid_mask_len).into(), limit: 32 });
                }
                (0, *iid_mask_len)
            }
            Self::Json { binary: true, .. } => (0, JSON_BINARY),
            _ => (0, 0),
        };
        writer.put(&[0, flags, self.kind(), rsvd2]);
        writer.lcaf_body("LCAF", |writer| self.write_body(writer))
    }

    fn write_body(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        match self {
            Self::Null => Ok(()),
            Self::AfiList(addresses) => addresses.iter().try_for_each(|address| address.write(writer)),
            Self::InstanceId { iid, address, .. } => {
                writer.u32(iid.0);
                address.write(writer)
            }
            Self::AsNumber { asn, address } => {
                writer.u32(*asn);
                address.write(writer)
            }
            Self::Geo { place, address } => {
                place.write(writer)?;
                address.write(writer)
            }
            Self::NatTraversal(nat) => nat.write(writer),
            Self::MulticastInfo { iid, source_mask_len, group_mask_len, source, group } => {
                writer.u32(iid.0);
                writer.put(&[0, 0, *source_mask_len, *group_mask_len]);
                source.write_prefix("Source MaskLen", writer, *source_mask_len)?;
                group.write_prefix("Group MaskLen", writer, *group_mask_len)
            }
            Self::ExplicitLocatorPath(hops) => hops.iter().try_for_each(|hop| hop.write(writer)),
            Self::SecurityKey { algorithm, revoked, keys, address } => {
                let revoked = if *revoked { KEY_REVOKED } else { 0 };
                writer.put(&[to_u8("Key Count", keys.len())?, 0, *algorithm, revoked]);
                for key in keys {
                    writer.counted_u16("Key Length", |writer| {
                        writer.put(key);
                        Ok(())
                    })?;
                }
                address.write(writer)
            }
            Self::SourceDestKey { source_mask_len, dest_mask_len, source, dest } => {
                writer.put(&[0, 0, *source_mask_len, *dest_mask_len]);
                source.write_prefix("Source-ML", writer, *source_mask_len)?;
                dest.write_prefix("Dest-ML", writer, *dest_mask_len)
            }
            Self::ReplicationList(entries) => entries.iter().try_for_each(|entry| entry.write(writer)),
            Self::Json { text, address, .. } => {
                writer.counted_u16("JSON length", |writer| {
                    writer.put(text);
                    Ok(())
                })?;
                address.write(writer)
            }
            Self::Opaque { body, .. } => {
                writer.put(body);
                Ok(())
            }
        }
    }
}

impl NatTraversal {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            ms_port: body.u16("MS UDP Port Number")?,
            etr_port: body.u16("ETR UDP Port Number")?,
            global_etr: Address::read(body)?,
            ms: Address::read(body)?,
            private_etr: Address::read(body)?,
            rtrs: read_until_end(body, Address::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.u16(self.ms_port);
        writer.u16(self.etr_port);
        self.global_etr.write(writer)?;
        self.ms.write(writer)?;
        self.private_etr.write(writer)?;
        self.rtrs.iter().try_for_each(|rtr| rtr.write(writer))
    }
}

impl PathHop {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bits = body.u16("hop flags")?;
        Ok(Self {
            lookup: bits & HOP_LOOKUP != 0,
            probe: bits & HOP_PROBE != 0,
            strict: bits & HOP_STRICT != 0,
            address: Address::read(body)?,
        })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let bit = |set, mask| if set { mask } else { 0 };
        writer.u16(bit(self.lookup, HOP_LOOKUP) | bit(self.probe, HOP_PROBE) | bit(self.strict, HOP_STRICT));
        self.address.write(writer)
    }
}

impl Replication {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [_, _, _, level] = body.array("Level Value")?;
        Ok(Self { level, address: Address::read(body)? })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put(&[0, 0, 0, self.level]);
        self.address.write(writer)
    }
}

/// Two reserved octets and two mask lengths, as types 9 and 12 have them.
fn read_mask_lens(body: &mut Reader<'_>) -> Result<(u8, u8), DecodeError> {
    let [_, _, first, second] = body.array("mask lengths")?;
    Ok((first, second))
}

/// Elements until the body ends; each takes at least one octet, so the body bounds their number.
fn read_until_end<T>(
    body: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut elements = Vec::new();
    while !body.is_empty() {
        elements.push(read(body)?);
    }
    Ok(elements)
}
