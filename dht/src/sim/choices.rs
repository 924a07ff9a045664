// SPDX-License-Identifier: GPL-2.0-or-later
//! What a node may do against hostile nodes: one function each, so that a model can run with and without it.

use super::limits;
use super::peers::{Peer, Peers, Point};

/// The defences of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choices {
    /// Disjoint paths of a lookup; 1 is plain Kademlia.
    pub paths: usize,
    /// At most two peers of a Block and eight of a provider in a bucket and among those chosen for a PUT.
    pub diversity: bool,
    /// The same among the peers that a lookup asks.
    pub diverse_lookup: bool,
    /// A PUT goes to all nodes within the radius expected to hold twenty, not to the twenty nearest.
    pub region_put: bool,
    /// A GET that has found nothing goes on to more nodes round the key.
    pub wide_get: bool,
}

impl Choices {
    /// Plain Kademlia.
    pub const NONE: Self =
        Self { paths: 1, diversity: false, diverse_lookup: false, region_put: false, wide_get: false };
    /// All defences.
    pub const ALL: Self = Self { paths: 8, diversity: true, diverse_lookup: true, region_put: true, wide_get: true };

    /// Requests in flight on one path. libp2p has as many paths as this, each with as many requests.
    pub(super) fn parallelism(&self) -> usize {
        self.paths.max(limits::ALPHA)
    }
}

/// Diversity: whether one more peer may stand beside those chosen already.
pub(super) fn is_diverse(peers: &Peers, chosen: &[Peer], peer: Peer) -> bool {
    let (block, provider) = (peers.block(peer), peers.provider(peer));
    let same_block = chosen.iter().filter(|other| peers.block(**other) == block).count();
    let same_provider = chosen.iter().filter(|other| provider.is_some() && peers.provider(**other) == provider).count();
    same_block < limits::PER_BLOCK && same_provider < limits::PER_PROVIDER
}

/// Region PUT: the radius expected to hold [`limits::K`] nodes, from how near the own neighbours are.
pub(super) fn radius(peers: &Peers, own: Point, neighbours: &[Peer]) -> u128 {
    let farthest = neighbours.iter().map(|peer| peers.point(*peer).distance(own)).max();
    match (farthest, u128::try_from(neighbours.len())) {
        (Some(farthest), Ok(count)) if count >= limits::K as u128 => farthest / count * (limits::K as u128),
        // Fewer nodes than twenty: all of them.
        _ => u128::MAX,
    }
}

/// The nodes that shall store a record, among those found, nearest first.
pub(super) fn chosen_for_put(
    choices: &Choices,
    peers: &Peers,
    key: Point,
    radius: u128,
    found: impl IntoIterator<Item = Peer>,
) -> Vec<Peer> {
    let mut chosen: Vec<Peer> = Vec::new();
    for peer in found {
        let is_far = chosen.len() >= limits::K && peers.point(peer).distance(key) > radius;
        let is_beyond = !choices.region_put && chosen.len() >= limits::K;
        if is_far || is_beyond {
            break;
        }
        if !choices.diversity || is_diverse(peers, &chosen, peer) {
            chosen.push(peer);
        }
    }
    chosen
}
