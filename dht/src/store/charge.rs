// SPDX-License-Identifier: GPL-2.0-or-later
//! To whom a bundle is charged: the block of addresses that put it, and since when it is here.
//!
//! It is on disk beside the marks, so that a restart forgets neither who fills the store nor what came last.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Origin;
use crate::block::Block;
use crate::error::Malformed;
use crate::record::Reader;

/// In the place of a class among the marks; no class has this number.
const KIND: u8 = 0;
/// Flag: charged to nobody.
const NOBODY: u8 = 0;
/// Flag: charged to the block of the address.
const PARTY: u8 = 1;

/// Who put a bundle, and when it was new here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Charge {
    /// None: this node itself, or nobody knows.
    pub(super) party: Option<Party>,
    /// Seconds since 1970.
    pub(super) since: u32,
}

/// A block of addresses, and its provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) block: Block,
    pub(super) provider: Option<Block>,
}

impl Party {
    pub(super) fn of(origin: Origin) -> Option<Self> {
        match origin {
            Origin::Peer(address) => Some(Self::at(address)),
            Origin::Own | Origin::Unknown => None,
        }
    }

    fn at(address: IpAddr) -> Self {
        Self { block: Block::of(address), provider: Block::provider_of(address) }
    }
}

impl Charge {
    pub(super) fn new(party: Option<Party>, now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { party, since: u32::try_from(since).unwrap_or(u32::MAX) }
    }

    /// 0 ‖ flag 1 ‖ first address of the block 16 (IPv4: mapped) ‖ since 4.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let address = self.party.map(|party| match party.block.first() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        });
        out.extend_from_slice(&[KIND, if address.is_some() { PARTY } else { NOBODY }]);
        out.extend_from_slice(&address.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
        out.extend_from_slice(&self.since.to_be_bytes());
    }

    /// Takes it off the front of the marks, if it is there. One from the future is as new as can be.
    pub(super) fn read(reader: &mut Reader<'_>, now: SystemTime) -> Result<Self, Malformed> {
        if reader.0.first() != Some(&KIND) {
            return Ok(Self::new(None, now));
        }
        reader.u8("charge")?;
        let flag = reader.u8("charge flag")?;
        let address = Ipv6Addr::from(reader.array::<16>("charge address")?);
        let since = reader.u32("charge time")?;
        let party = match flag {
            NOBODY => None,
            PARTY => Some(Party::at(IpAddr::V6(address).to_canonical())),
            other => return Err(Malformed::Value("charge flag", other.into())),
        };
        let then = UNIX_EPOCH + Duration::from_secs(since.into());
        Ok(Self::new(party, then.min(now)))
    }
}
