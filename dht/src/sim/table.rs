// SPDX-License-Identifier: GPL-2.0-or-later
//! The routing table of the modelled Kademlia: buckets of [`limits::K`], who was there first stays.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::limits;
use super::peers::{Peer, Peers, Point};
use crate::admit;

/// The peers that one node knows.
#[derive(Debug)]
pub(super) struct Table {
    own: Point,
    /// By the leading bits shared with this node.
    buckets: BTreeMap<u32, Vec<Peer>>,
}

impl Table {
    pub(super) fn new(own: Point) -> Self {
        Self { own, buckets: BTreeMap::new() }
    }

    /// Takes a peer in, if there is room for it; whether it is new.
    pub(super) fn insert(&mut self, peers: &Peers, peer: Peer, diversity: bool) -> bool {
        let index = self.index(peers, peer);
        if index == u128::BITS {
            return false;
        }
        let bucket = self.buckets.entry(index).or_default();
        let fits = !bucket.contains(&peer)
            && bucket.len() < limits::K
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
        let Some(bucket) = self.buckets.get_mut(&index) else { return false };
        let before = bucket.len();
        bucket.retain(|known| *known != peer);
        bucket.len() < before
    }

    /// Whether it is known.
    pub(super) fn contains(&self, peers: &Peers, peer: Peer) -> bool {
        self.buckets.get(&self.index(peers, peer)).is_some_and(|bucket| bucket.contains(&peer))
    }

    /// Whether the peer belongs to the neighbourhood: no nearer to this node is any bucket that is full.
    pub(super) fn is_neighbour(&self, peers: &Peers, peer: Peer) -> bool {
        let last_full = self.buckets.iter().rev().find(|(_, bucket)| bucket.len() >= limits::K);
        last_full.is_none_or(|(index, _)| self.index(peers, peer) >= *index)
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
        let differs = move |index: &u32| between & (1 << (u128::BITS - 1 - index)) != 0;
        let towards = self.buckets.iter().filter(move |(index, _)| differs(index));
        let away = self.buckets.iter().rev().filter(move |(index, _)| !differs(index));
        towards.chain(away).map(|(_, bucket)| bucket)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Peer> {
        self.buckets.values().flatten().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.values().map(Vec::len).sum()
    }

    /// One point for each bucket beyond the neighbourhood, the farthest first: what a walk through the table looks up. As libp2p
    /// draws them, which cannot name a point: whatever was drawn last for the bucket, if none of the draws lies in it.
    pub(super) fn walk(&self, dice: &mut Dice) -> Vec<Point> {
        let last = self.buckets.iter().rev().find(|(_, bucket)| !bucket.is_empty()).map_or(0, |(index, _)| *index);
        let draw = |index: u32, dice: &mut Dice| {
            let mut drawn = Point(dice.wide());
            for _ in 0..limits::DRAWS {
                if self.own.distance(drawn).leading_zeros() == index {
                    break;
                }
                drawn = Point(dice.wide());
            }
            drawn
        };
        (0..last).map(|index| draw(index, dice)).collect()
    }

    fn index(&self, peers: &Peers, peer: Peer) -> u32 {
        self.own.distance(peers.point(peer)).leading_zeros()
    }
}

/// Fills the tables of a network that has run for long: each bucket has as many of its peers as it holds, by chance.
pub(super) fn settle(peers: &Peers, tables: &mut [Table], diversity: bool, dice: &mut Dice) {
    let mut order: Vec<(Point, Peer)> =
        (0..tables.len()).map(Peer::new).map(|peer| (peers.point(peer), peer)).collect();
    order.sort_unstable();
    for table in tables {
        for index in 0..u128::BITS {
            let bit = 1 << (u128::BITS - 1 - index);
            let first = (table.own.0 ^ bit) & !(bit - 1);
            let range = order.partition_point(|(point, _)| point.0 < first)
                ..order.partition_point(|(point, _)| point.0 <= first | (bit - 1));
            fill(peers, table, &order[range], diversity, dice);
            let own = table.own.0 & !(bit - 1);
            let left = order.partition_point(|(point, _)| point.0 <= own | (bit - 1))
                - order.partition_point(|(point, _)| point.0 < own);
            if left <= 1 {
                break;
            }
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
