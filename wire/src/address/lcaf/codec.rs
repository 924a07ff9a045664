// SPDX-License-Identifier: GPL-2.0-or-later
//! LCAFs on the wire.

use super::{Lcaf, NatTraversal, PathHop, Replication, kind};
use crate::address::{Address, GeoCoordinates, InstanceId};
use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;
use crate::writer::{Writer, to_u8};

/// B of a JSON LCAF, in its Rsvd2 octet: the text is binary JSON (RFC 8060, section 5.4).
const JSON_BINARY: u8 = 0x01;
/// R of a Security Key LCAF: the key is revoked (RFC 8060, section 4.7).
const KEY_REVOKED: u8 = 0x01;

impl Lcaf {
    /// Reads what follows the AFI.
    pub(in crate::address) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
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
        // It stands in the header, in front of the Length.
        let bad_mask_len = body.error_behind("IID mask-len", 3, Problem::Value(iid_mask_len.into()));
        let iid = InstanceId(body.u32("Instance ID")?);
        let address = Address::read(body)?;
        if address == Address::None && iid_mask_len > 32 {
            return Err(bad_mask_len);
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
    pub(in crate::address) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
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
                keys.iter().try_for_each(|key| writer.counted_octets("Key Length", key))?;
                address.write(writer)
            }
            Self::SourceDestKey { source_mask_len, dest_mask_len, source, dest } => {
                writer.put(&[0, 0, *source_mask_len, *dest_mask_len]);
                source.write_prefix("Source-ML", writer, *source_mask_len)?;
                dest.write_prefix("Dest-ML", writer, *dest_mask_len)
            }
            Self::ReplicationList(entries) => entries.iter().try_for_each(|entry| entry.write(writer)),
            Self::Json { text, address, .. } => {
                writer.counted_octets("JSON length", text)?;
                address.write(writer)
            }
            Self::Opaque { body, .. } => {
                writer.put(body);
                Ok(())
            }
        }
    }
}

/// Two reserved octets and two mask lengths, as types 9 and 12 have them.
fn read_mask_lens(body: &mut Reader<'_>) -> Result<(u8, u8), DecodeError> {
    let [_, _, first, second] = body.array("mask lengths")?;
    Ok((first, second))
}

/// Elements until the body ends; each takes at least one octet, so the body bounds their number.
pub(super) fn read_until_end<T>(
    body: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut elements = Vec::new();
    while !body.is_empty() {
        elements.push(read(body)?);
    }
    Ok(elements)
}
