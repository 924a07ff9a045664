// SPDX-License-Identifier: GPL-2.0-or-later
//! Which part of the Kademlia space is ours: as far as the nearest peers reach that keep what we keep.

use libp2p::kad::KBucketKey;

use super::driver::Driver;
use crate::shell::limits;

impl Driver {
    /// The distance of the last of the [`limits::REGION`] nearest known peers; `None` if there are fewer: then all is ours.
    pub(super) fn region(&mut self) -> Option<[u8; 32]> {
        let here = KBucketKey::from(*self.swarm.local_peer_id());
        let mut distances: Vec<[u8; 32]> = Vec::new();
        for bucket in self.kad().kbuckets() {
            distances.extend(bucket.iter().map(|entry| distance(here.hashed_bytes(), entry.node.key.hashed_bytes())));
        }
        distances.sort_unstable();
        distances.get(limits::REGION - 1).copied()
    }
}

fn distance(one: &[u8], other: &[u8]) -> [u8; 32] {
    let mut distance = [0; 32];
    for (octet, (one, other)) in distance.iter_mut().zip(one.iter().zip(other)) {
        *octet = one ^ other;
    }
    distance
}
