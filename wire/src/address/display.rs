// SPDX-License-Identifier: GPL-2.0-or-later
//! How addresses look in logs.

use std::fmt;

use super::{Address, Eid, Lcaf};

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
            Self::Ieee802([a, b, c, d, e, g]) | Self::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Self::Name(name) => write!(f, "\"{}\"", name.escape_ascii()),
            Self::Lcaf(lcaf) => lcaf.fmt(f),
        }
    }
}

impl fmt::Display for Lcaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::AfiList(addresses) => list(f, "list", addresses),
            Self::InstanceId { iid, address: Address::None, iid_mask_len } => write!(f, "[{iid}/{iid_mask_len}]"),
            Self::InstanceId { iid, address, .. } => write!(f, "[{iid}]{address}"),
            Self::AsNumber { asn, address } => write!(f, "AS{asn} {address}"),
            Self::Geo { place, address } => write!(f, "{place} {address}"),
            Self::NatTraversal(nat) => {
                write!(f, "nat {}:{} ms {}:{}", nat.global_etr, nat.etr_port, nat.ms, nat.ms_port)?;
                write!(f, " private {}", nat.private_etr)?;
                list(f, " rtrs", &nat.rtrs)
            }
            Self::MulticastInfo { iid, source_mask_len, group_mask_len, source, group } => {
                write!(f, "[{iid}]({source}/{source_mask_len}, {group}/{group_mask_len})")
            }
            Self::ExplicitLocatorPath(hops) => list(f, "path", hops.iter().map(|hop| &hop.address)),
            Self::SecurityKey { algorithm, keys, address, .. } => {
                write!(f, "{} keys of suite {algorithm} for {address}", keys.len())
            }
            Self::SourceDestKey { source_mask_len, dest_mask_len, source, dest } => {
                write!(f, "{source}/{source_mask_len} -> {dest}/{dest_mask_len}")
            }
            Self::ReplicationList(entries) => list(f, "replicate", entries.iter().map(|entry| &entry.address)),
            Self::Json { text, address, .. } => write!(f, "json \"{}\" {address}", text.escape_ascii()),
            Self::Opaque { kind, body, .. } => write!(f, "LCAF type {kind}, {} octets", body.len()),
        }
    }
}

impl fmt::Display for Eid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.mask_len)
    }
}

fn list<'a>(f: &mut fmt::Formatter<'_>, name: &str, addresses: impl IntoIterator<Item = &'a Address>) -> fmt::Result {
    write!(f, "{name}(")?;
    for (index, address) in addresses.into_iter().enumerate() {
        write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
    }
    f.write_str(")")
}
