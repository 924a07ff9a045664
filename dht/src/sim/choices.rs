// SPDX-License-Identifier: GPL-2.0-or-later
//! What a node does against hostile nodes, so that a model can run with and without it.

use super::limits;

/// The defences of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choices {
    /// Disjoint paths of a lookup; 1 is plain Kademlia.
    pub paths: usize,
    /// Few peers of a Block and of a provider in a bucket and among those chosen for a PUT.
    pub diversity: bool,
    /// A PUT goes to all nodes within the radius expected to hold twenty, not to the twenty nearest.
    pub region_put: bool,
}

impl Choices {
    /// Plain Kademlia.
    pub const NONE: Self = Self { paths: 1, diversity: false, region_put: false };
    /// All that a node does.
    pub const ALL: Self = Self { paths: 8, diversity: true, region_put: true };

    /// Requests in flight on one path. libp2p has as many paths as this, each with as many requests.
    pub(super) fn parallelism(&self) -> usize {
        self.paths.max(limits::ALPHA)
    }
}
