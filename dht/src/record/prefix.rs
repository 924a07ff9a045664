// SPDX-License-Identifier: GPL-2.0-or-later
//! PREFIX: the mapping of an EID-prefix, as the registrar that authenticated the site says.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wire::EncodeError;
use wire::address::EidPrefix;

use super::mapping::{Mapping, once};
use super::reader::{Reader, write_address, write_prefix};
use super::tlv::Tlv;
use crate::error::Malformed;
use crate::limits;

/// TLV types of PREFIX.
mod kind {
    pub(super) const PREFIX: u16 = 0x0601;
    pub(super) const SITE: u16 = 0x0602;
    pub(super) const MAP_SERVER: u16 = 0x0603;
}

/// Which site registered: TLV 0602.
///
/// ```text
/// +-------------+-+-------------------------+----------------------------+
/// |    rsvd     |P|  Site-ID, 8 octets      | xTR-IDs, 16 octets each .. |
/// +-------------+-+-------------------------+----------------------------+
/// ```
/// P: the map-server answers Map-Requests in the site's place. xTR-IDs ascend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Site {
    /// P: the registrar answers for the site (RFC 9301, section 5.6).
    pub proxy: bool,
    /// Site-ID; 0 = none (RFC 9301, section 5.6).
    pub site_id: u64,
    /// xTR-IDs of the border nodes that registered.
    pub xtr_ids: BTreeSet<[u8; 16]>,
}

impl Site {
    const PROXY: u8 = 1;

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.proxy { Self::PROXY } else { 0 }];
        out.extend_from_slice(&self.site_id.to_be_bytes());
        out.extend(self.xtr_ids.iter().flatten());
        out
    }

    fn decode(value: &[u8]) -> Result<Self, Malformed> {
        const FIELD: &str = "site";
        let mut reader = Reader(value);
        let proxy = match reader.u8(FIELD)? {
            0 => false,
            Self::PROXY => true,
            other => return Err(Malformed::Value("site flags", other.into())),
        };
        let site_id = reader.u64(FIELD)?;
        let mut xtr_ids = BTreeSet::new();
        while !reader.is_empty() {
            xtr_ids.insert(reader.array("xTR-ID")?);
        }
        if xtr_ids.len() > limits::XTR_IDS {
            return Err(Malformed::TooMany("xTR-ID"));
        }
        Ok(Self { proxy, site_id, xtr_ids })
    }
}

/// The body of a PREFIX section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix: TLV 0601, written as in the key.
    pub prefix: EidPrefix,
    /// The mapping.
    pub mapping: Mapping,
    /// Who registered it.
    pub site: Site,
    /// Where Map-Requests for a site without proxy are forwarded to: TLV 0603 {AFI 2, address}, one of each family.
    pub map_servers: BTreeSet<IpAddr>,
}

impl Prefix {
    /// Nothing known of the prefix: the body of a withdrawal.
    pub(crate) fn none(prefix: EidPrefix) -> Self {
        Self { prefix, mapping: Mapping::none(), site: Site::default(), map_servers: BTreeSet::new() }
    }

    pub(crate) fn tlvs(&self) -> Result<Vec<Tlv>, EncodeError> {
        let bound = |field, count, limit| if count > limit { Err(EncodeError { field, count, limit }) } else { Ok(()) };
        bound("xTR-IDs", self.site.xtr_ids.len(), limits::XTR_IDS)?;
        bound("map-servers", self.map_servers.len(), limits::MAP_SERVERS)?;
        let mut prefix = Vec::new();
        write_prefix(&mut prefix, &self.prefix);
        let mut tlvs = self.mapping.tlvs()?;
        tlvs.push(Tlv::new(kind::PREFIX, prefix));
        tlvs.push(Tlv::new(kind::SITE, self.site.encode()));
        for server in &self.map_servers {
            let mut value = Vec::new();
            write_address(&mut value, *server);
            tlvs.push(Tlv::new(kind::MAP_SERVER, value));
        }
        Ok(tlvs)
    }

    pub(crate) fn from_tlvs(tlvs: Vec<Tlv>) -> Result<Self, Malformed> {
        let (mut prefix, mut site) = (None, None);
        let mut map_servers = BTreeSet::new();
        let mut rest = Vec::new();
        for tlv in tlvs {
            let mut reader = Reader(&tlv.value);
            match tlv.kind {
                kind::PREFIX => {
                    once(&mut prefix, "prefix", reader.prefix("prefix")?)?;
                    reader.finish("prefix")?;
                }
                kind::SITE => once(&mut site, "site", Site::decode(&tlv.value)?)?,
                kind::MAP_SERVER => {
                    map_servers.insert(reader.address("map-server")?);
                    reader.finish("map-server")?;
                }
                _ => rest.push(tlv),
            }
        }
        if map_servers.len() > limits::MAP_SERVERS || is_one_family_twice(&map_servers) {
            return Err(Malformed::TooMany("map-server"));
        }
        Ok(Self {
            prefix: prefix.ok_or(Malformed::Missing("prefix"))?,
            mapping: Mapping::from_tlvs(rest)?,
            site: site.ok_or(Malformed::Missing("site"))?,
            map_servers,
        })
    }
}

/// Whether there are two addresses of one family: who forwards a Map-Request has one of each to choose from.
fn is_one_family_twice(addresses: &BTreeSet<IpAddr>) -> bool {
    let ipv4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    ipv4 > 1 || addresses.len() - ipv4 > 1
}
