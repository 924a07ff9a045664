// SPDX-License-Identifier: GPL-2.0-or-later
//! The LISP header of packets to trusted peers (RFC 9300, section 5.3).

use std::net::IpAddr;

use wire::address::InstanceId;
use wire::data::{LispHeader, MapVersions};
use wire::record::MapVersion;

use crate::map_cache::{MapCache, OwnMapping, PeerIndex, SetIndex};

/// A nonce if there is one to send, else the versions of both mappings if both are known: N and V exclude each other. A source that is
/// not of ours, as a PITR has them, has no mapping that could be told of. The packet leaves `from` this locator of ours.
pub(super) fn header(
    cache: &mut MapCache,
    (own, is_ours): (&OwnMapping, bool),
    iid: InstanceId,
    (peer, set, from): (PeerIndex, SetIndex, IpAddr),
) -> LispHeader {
    let mut header = LispHeader::plain(iid);
    let now = cache.tick();
    match cache.locators_mut().next_nonce(now, peer, from) {
        Some((nonce, echo)) => (header.nonce, header.echo) = (Some(nonce), echo),
        None => header.versions = versions((own.version, is_ours), cache.version(set)),
    }
    // Bits go with the version of the mapping whose locators they count, if there are versions (RFC 9300, section 10).
    let is_coupled = header.versions.is_some() || own.version == MapVersion(0);
    header.status_bits = own.status_bits.filter(|_| is_ours && is_coupled);
    header
}

/// Packets to a mapping without a version carry none (RFC 9302, section 6.1); those of a source that is not of ours the null one in the
/// place of ours (appendix A.2.1).
fn versions((own, is_ours): (MapVersion, bool), destination: MapVersion) -> Option<MapVersions> {
    let are_known = own != MapVersion(0) && destination != MapVersion(0);
    let source = if is_ours { own } else { MapVersion(0) };
    are_known.then_some(MapVersions { source, destination })
}
