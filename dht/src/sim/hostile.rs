// SPDX-License-Identifier: GPL-2.0-or-later
//! What hostile nodes do. All of them know each other, at no cost.

use super::peers::{Peer, Peers, Point};

/// How a node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// As it should.
    Honest,
    /// Names only hostile nodes, acknowledges every PUT, stores nothing.
    Misleading,
    /// The same, but as late as it can.
    Slow,
    /// Never answers.
    Silent,
    /// Names whom it knows, acknowledges every PUT, answers with the first value that it was given.
    Stale,
}

impl Nature {
    /// The natures of nodes that want to hide a record, in equal parts.
    pub(super) const HOSTILE: [Self; 4] = [Self::Misleading, Self::Slow, Self::Silent, Self::Stale];
}

/// The hostile nodes, as one of them names them to whoever asks for a key.
pub(super) fn accomplices(peers: &Peers, hostile: &[Peer], target: Point, count: usize) -> Vec<Peer> {
    peers.nearest(hostile.to_vec(), target, count)
}
