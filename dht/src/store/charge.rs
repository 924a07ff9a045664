// SPDX-License-Identifier: GPL-2.0-or-later
//! To whom a bundle is charged: the block of addresses that put it, and since when it is here. Peers of the routing table have
//! an account of their own, beside that of the strangers of their block.
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
/// Flag: charged to the members in the block of the address.
const MEMBER: u8 = 2;

/// Who put a bundle, and when it was new here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Charge {
    /// None: this node itself, or nobody knows.
    pub(super) party: Option<Party>,
    /// Seconds since 1970.
    pub(super) since: u32,
}

/// All strangers of a block of addresses, or all members in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Account {
    pub(super) block: Block,
    pub(super) is_member: bool,
}

/// Who put something: the account, and that of its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) account: Account,
    pub(super) provider: Option<Account>,
}

impl Party {
    pub(super) fn of(origin: Origin) -> Option<Self> {
        match origin {
            Origin::Peer(address) => Some(Self::at(address, false)),
            Origin::Member(address) => Some(Self::at(address, true)),
            Origin::Own | Origin::Unknown => None,
        }
    }

    fn at(address: IpAddr, is_member: bool) -> Self {
        let account = |block| Account { block, is_member };
        Self { account: account(Block::of(address)), provider: Block::provider_of(address).map(account) }
    }

    /// Whether a bundle that is charged to `known` is charged to this one when this one renews it. Members do not take over what
    /// strangers put: what a block has others hand on would not be its own any more.
    pub(super) fn takes_over(&self, known: Option<Self>) -> bool {
        known.is_none_or(|known| known.account != self.account && (known.account.is_member || !self.account.is_member))
    }
}

impl Charge {
    pub(super) fn new(party: Option<Party>, now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { party, since: u32::try_from(since).unwrap_or(u32::MAX) }
    }

    /// 0 ‖ flag 1 ‖ first address of the block 16 (IPv4: mapped) ‖ since 4.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let address = self.party.map(|party| match party.account.block.first() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        });
        let flag = self.party.map_or(NOBODY, |party| if party.account.is_member { MEMBER } else { PARTY });
        out.extend_from_slice(&[KIND, flag]);
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
            PARTY | MEMBER => Some(Party::at(IpAddr::V6(address).to_canonical(), flag == MEMBER)),
            other => return Err(Malformed::Value("charge flag", other.into())),
        };
        let then = UNIX_EPOCH + Duration::from_secs(since.into());
        Ok(Self::new(party, then.min(now)))
    }
}
