// SPDX-License-Identifier: GPL-2.0-or-later
//! How far an answer reaches: the least-specific prefix round an EID inside which nothing else is known.

use std::net::IpAddr;

use wire::address::EidPrefix;

/// The least-specific prefix inside `bound` that contains `eid` and overlaps none of `others`, which do not contain it.
pub(super) fn reach<'a>(
    eid: &EidPrefix,
    bound: &EidPrefix,
    others: impl IntoIterator<Item = &'a EidPrefix>,
) -> EidPrefix {
    let length = others
        .into_iter()
        .filter(|other| other.iid == eid.iid && !other.covers(eid))
        .filter_map(|other| common_bits(other.net.addr(), eid.net.addr()))
        .map(|common| common + 1)
        .fold(bound.net.prefix_len(), u8::max);
    EidPrefix::new(eid.iid, eid.net.addr(), length).unwrap_or(*eid)
}

/// Leading bits that two addresses of one family share.
fn common_bits(one: IpAddr, other: IpAddr) -> Option<u8> {
    let bits = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => return None,
    };
    u8::try_from(bits).ok()
}
