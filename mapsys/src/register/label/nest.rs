// SPDX-License-Identifier: GPL-2.0-or-later
//! Keys of which one lies inside another or beside it, and the longest match among them, in the way of [`crate::table`].

use std::net::IpAddr;

use ipnet::IpNet;
use wire::address::EidPrefix;

/// A key of that kind. In their order one stands before what it covers, and this before what comes behind all of it.
pub(super) trait Nested: Copy + Ord {
    /// Whether `other` lies inside (or equals) this one.
    fn covers(&self, other: &Self) -> bool;

    /// The next shorter one around this; `None` if there is none.
    fn shorter(&self) -> Option<Self>;

    /// The longest one around this, and shorter, that what covers both this and `other` may be; `None` if nothing covers both.
    fn around(&self, other: &Self) -> Option<Self>;
}

/// Those that cover `sought`, the longest first. `before` names the last one of a set that is not behind another: that covers the
/// other, or shares with it as many bits as anything that does, so that each step leaves fewer.
pub(super) fn covering<K: Nested>(sought: K, before: impl Fn(&K) -> Option<K>) -> impl Iterator<Item = K> {
    let mut sought = Some(sought);
    std::iter::from_fn(move || {
        loop {
            let this = sought?;
            let key = before(&this)?;
            if key.covers(&this) {
                sought = key.shorter();
                return Some(key);
            }
            sought = this.around(&key);
        }
    })
}

impl Nested for IpNet {
    fn covers(&self, other: &Self) -> bool {
        self.contains(other)
    }

    fn shorter(&self) -> Option<Self> {
        self.supernet()
    }

    fn around(&self, other: &Self) -> Option<Self> {
        let shared = match (self.addr(), other.addr()) {
            (IpAddr::V4(one), IpAddr::V4(two)) => (one.to_bits() ^ two.to_bits()).leading_zeros(),
            (IpAddr::V6(one), IpAddr::V6(two)) => (one.to_bits() ^ two.to_bits()).leading_zeros(),
            _ => return None,
        };
        let shorter = self.prefix_len().checked_sub(1)?;
        let length = u8::try_from(shared).unwrap_or(u8::MAX).min(shorter).min(other.prefix_len());
        Some(Self::new(self.addr(), length).ok()?.trunc())
    }
}

impl Nested for EidPrefix {
    fn covers(&self, other: &Self) -> bool {
        self.covers(other)
    }

    fn shorter(&self) -> Option<Self> {
        Some(Self { net: self.net.shorter()?, ..*self })
    }

    fn around(&self, other: &Self) -> Option<Self> {
        if self.iid != other.iid {
            return None;
        }
        Some(Self { net: self.net.around(&other.net)?, ..*self })
    }
}
