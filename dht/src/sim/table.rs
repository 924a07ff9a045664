// SPDX-License-Identifier: GPL-2.0-or-later
//! The routing table of the modelled Kademlia: buckets of [`limits::K`], who was there first stays.

use super::dice::Dice;
use super::limits;
use super::peers::{Peer, Peers, Point};
use crate::admit;

/// Bits of a point.
const BITS: usize = 128;

/// The peers that one node knows.
#[derive(Debug)]
pub(super) struct Table {
    own: Point,
    /// By the leading bits shared with this node.
    buckets: Vec<Vec<Peer>>,
}

impl Table {
    pub(super) fn new(own: Point) -> Self {
        Self { own, buckets: Vec::new() }
    }

    /// Takes a peer in, if there is room for it; whether it is new.
    pub(super) fn insert(&mut self, peers: &Peers, peer: Peer, diversity: bool) -> bool {
        let index = self.index(peers, peer);
        // Itself.
        if index >= BITS {
            return false;
        }
        if self.buckets.len() <= index {
            self.buckets.resize_with(index + 1, Vec::new);
        }
        let bucket = &mut self.buckets[index];
        let fits = bucket.len() < limits::K
            && !bucket.contains(&peer)
            && (!diversity
                || admit::diversity::room(peers.address(peer), bucket.iter().map(|known| peers.address(*known)))
                    .is_ok());
        if fits {
            bucket.push(peer);
        }
        fits
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, peers: &Peers, peer: Peer) -> bool {
        let index = self.index(peers, peer);
        let Some(bucket) = self.buckets.get_mut(index) else { return false };
        let before = bucket.len();
        bucket.retain(|known| *known != peer);
        bucket.len() < before
    }

    /// Whether it is known.
    pub(super) fn contains(&self, peers: &Peers, peer: Peer) -> bool {
        self.buckets.get(self.index(peers, peer)).is_some_and(|bucket| bucket.contains(&peer))
    }

    /// Whether the peer belongs to the neighbourhood: no nearer to this node is any bucket that is full.
    pub(super) fn is_neighbour(&self, peers: &Peers, peer: Peer) -> bool {
        let nearer = self.buckets.get(self.index(peers, peer) + 1..).unwrap_or_default();
        nearer.iter().all(|bucket| bucket.len() < limits::K)
    }

    /// The peers nearest to a point, nearest first: bucket by bucket, since all peers of one are nearer than all of the next.
    pub(super) fn nearest(&self, peers: &Peers, target: Point, count: usize) -> Vec<Peer> {
        let mut nearest: Vec<(u128, Peer)> = Vec::with_capacity(count + limits::K);
        for bucket in self.by_distance(target) {
            let begin = nearest.len();
            nearest.extend(bucket.iter().map(|peer| (peers.point(*peer).distance(target), *peer)));
            nearest[begin..].sort_unstable();
            if nearest.len() >= count {
                break;
            }
        }
        nearest.truncate(count);
        nearest.into_iter().map(|(_, peer)| peer).collect()
    }

    /// The buckets as they lie round a point, nearest first: those in whose bit it differs from us, from the highest bit to the
    /// lowest, then the others the other way round.
    fn by_distance(&self, target: Point) -> impl Iterator<Item = &Vec<Peer>> {
        let between = self.own.distance(target);
        let differs = move |index: usize| between & (1 << (BITS - 1 - index)) != 0;
        let all = self.buckets.iter().enumerate();
        let towards = all.clone().filter(move |(index, _)| differs(*index));
        let away = all.rev().filter(move |(index, _)| !differs(*index));
        towards.chain(away).map(|(_, bucket)| bucket)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Peer> {
        self.buckets.iter().flatten().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.iter().map(Vec::len).sum()
    }

    /// One point for each bucket beyond the neighbourhood, the farthest first: what a walk through the table looks up. As libp2p
    /// draws them, which cannot name a point: whatever was drawn last for the bucket, if none of the draws lies in it.
    pub(super) fn walk(&self, dice: &mut Dice) -> Vec<Point> {
        let last = self.buckets.iter().rposition(|bucket| !bucket.is_empty()).unwrap_or(0);
        let draw = |index: usize, dice: &mut Dice| {
            let mut drawn = Point(dice.wide());
            for _ in 0..limits::DRAWS {
                if shared(self.own, drawn) == index {
                    break;
                }
                drawn = Point(dice.wide());
            }
            drawn
        };
        (0..last).map(|index| draw(index, dice)).collect()
    }

    fn index(&self, peers: &Peers, peer: Peer) -> usize {
        shared(self.own, peers.point(peer))
    }
}

/// Leading bits that two points share.
fn shared(one: Point, other: Point) -> usize {
    usize::try_from(one.distance(other).leading_zeros()).unwrap_or(BITS)
}

/// Fills the tables of a network that has run for long: each bucket has as many of its peers as it holds, by chance.
pub(super) fn settle(peers: &Peers, tables: &mut [Table], diversity: bool, dice: &mut Dice) {
    let mut order: Vec<(Point, Peer)> =
        (0..tables.len()).map(Peer::new).map(|peer| (peers.point(peer), peer)).collect();
    order.sort_unstable();
    for table in tables {
        // Those that share as many bits with the node as there are buckets before: the next bit parts them.
        let mut alike = &order[..];
        for index in 0..BITS {
            let bit = 1 << (BITS - 1 - index);
            let (zeros, ones) = alike.split_at(alike.partition_point(|(point, _)| point.0 & bit == 0));
            let (own, others) = if table.own.0 & bit == 0 { (zeros, ones) } else { (ones, zeros) };
            fill(peers, table, others, diversity, dice);
            if own.len() <= 1 {
                break;
            }
            alike = own;
        }
    }
}

fn fill(peers: &Peers, table: &mut Table, candidates: &[(Point, Peer)], diversity: bool, dice: &mut Dice) {
    if candidates.len() > limits::K * 8 {
        for _ in 0..limits::K * 3 {
            let drawn = candidates[dice.below(candidates.len())].1;
            table.insert(peers, drawn, diversity);
        }
        return;
    }
    let mut all: Vec<Peer> = candidates.iter().map(|(_, peer)| *peer).collect();
    dice.shuffle(&mut all);
    for peer in all {
        table.insert(peers, peer, diversity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_of_a_table_are_those_of_all_that_are_in_it() {
        let (mut peers, mut dice) = (Peers::default(), Dice::new(5));
        let mut table = Table::new(Point(dice.wide()));
        for _ in 0..500 {
            let peer = peers.add(&mut dice);
            table.insert(&peers, peer, false);
        }
        for count in [1, 20, 40, 500] {
            for target in [table.own, Point(!table.own.0), Point(dice.wide()), Point(dice.wide())] {
                let wanted = peers.nearest(table.iter().collect(), target, count);
                assert_eq!(table.nearest(&peers, target, count), wanted, "{count}");
            }
        }
    }
}
