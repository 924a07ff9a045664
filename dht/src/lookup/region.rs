// SPDX-License-Identifier: GPL-2.0-or-later
//! Where a record belongs: on all nodes of the region round its key that is expected to hold twenty.
//!
//! Not on the twenty nearest: whoever makes identities until forty of them lie nearer to a key than any honest node would
//! otherwise have the record alone. How wide the region is follows from the size of the network, estimated from how densely
//! nodes lie at many places; forty made for one place change one of those samples, and the median is used.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::block::Block;
use crate::limits;

/// A distance in the Kademlia space, or a place in it.
pub type Distance = [u8; 32];

/// The distance of two places.
pub fn distance(one: &Distance, other: &Distance) -> Distance {
    let mut distance = *one;
    for (octet, with) in distance.iter_mut().zip(other) {
        *octet ^= with;
    }
    distance
}

/// The part of the space that a distance spans.
fn share(distance: &Distance) -> f64 {
    let [a, b, c, d, e, f, g, h, ..] = *distance;
    // 53 bits are more than the size of any network needs.
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) as f64 / u64::MAX as f64
}

/// How many nodes there are, from how near to various places the nearest ones lie.
#[derive(Debug, Default)]
pub struct NetworkSize {
    /// Place and estimate, the latest last.
    samples: VecDeque<(Distance, f64)>,
}

impl NetworkSize {
    /// Learns from the nodes found nearest to a place. One sample is kept of each place, so that looking at one place many
    /// times gives it no more weight.
    pub fn learn(&mut self, place: &Distance, nearest: &[Distance]) {
        self.samples.retain(|(known, _)| known != place);
        if self.samples.len() >= limits::SIZE_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((*place, estimate(place, nearest)));
    }

    /// Places looked at.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// The estimate: the median, the lower one of two, since storing at a few nodes too many does no harm.
    pub fn nodes(&self) -> f64 {
        let mut samples: Vec<f64> = self.samples.iter().map(|(_, nodes)| *nodes).collect();
        samples.sort_by(f64::total_cmp);
        let middle = samples.len().saturating_sub(1) / 2;
        samples.get(middle).copied().unwrap_or_default()
    }

    /// The part of the space in which twenty nodes are expected; all of it in a small network.
    pub fn radius(&self) -> f64 {
        wanted() / self.nodes().max(wanted())
    }
}

fn wanted() -> f64 {
    limits::REPLICAS as f64
}

/// Nodes in the whole space, if they lie everywhere as they do here: of nodes thrown at random the k-th nearest is at k / (n + 1).
fn estimate(place: &Distance, nearest: &[Distance]) -> f64 {
    let mut shares: Vec<f64> = nearest.iter().map(|node| share(&distance(place, node))).collect();
    shares.sort_by(f64::total_cmp);
    shares.truncate(limits::REPLICAS);
    let count = shares.len() as f64;
    match shares.last() {
        // Who finds fewer than it looks for has found all there are.
        Some(farthest) if shares.len() >= limits::REPLICAS && *farthest > 0.0 => (count - 1.0) / farthest,
        _ => count,
    }
}

/// A node that may store a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<T> {
    /// Its place in the Kademlia space.
    pub place: Distance,
    /// Its address, by our own eyes.
    pub address: Option<IpAddr>,
    /// Who it is.
    pub node: T,
}

/// Chooses the nodes that shall store what lies at `point`, the nearest first.
///
/// All within `radius`, at most [`limits::PER_BLOCK`] of a block and [`limits::PER_PROVIDER`] of a provider's /32 of IPv6. If
/// that makes fewer than [`limits::REPLICAS`], others of the same blocks fill up, then nodes farther away. Never more than
/// [`limits::REGION_NODES`].
pub fn choose<T>(point: &Distance, radius: f64, candidates: Vec<Candidate<T>>) -> Vec<T> {
    let mut ranked: Vec<(Distance, Candidate<T>)> =
        candidates.into_iter().map(|candidate| (distance(point, &candidate.place), candidate)).collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    let mut counts = Counts::default();
    let (mut chosen, mut crowded, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
    for (distance, candidate) in ranked {
        if share(&distance) > radius {
            beyond.push((distance, candidate));
        } else if counts.has_room(candidate.address) {
            counts.add(candidate.address);
            chosen.push((distance, candidate));
        } else {
            crowded.push((distance, candidate));
        }
    }
    let missing = limits::REPLICAS.saturating_sub(chosen.len());
    chosen.extend(crowded.into_iter().chain(beyond).take(missing));
    chosen.sort_by_key(|(distance, _)| *distance);
    chosen.truncate(limits::REGION_NODES);
    chosen.into_iter().map(|(_, candidate)| candidate.node).collect()
}

/// How many of each block were chosen.
#[derive(Debug, Default)]
struct Counts {
    blocks: HashMap<Block, usize>,
    providers: HashMap<Block, usize>,
}

impl Counts {
    /// A node whose address nobody knows is as good as any: it was reached, or it could not have been found.
    fn has_room(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return true };
        let full = |counts: &HashMap<Block, usize>, block, most| counts.get(&block).is_some_and(|count| *count >= most);
        let provider = Block::provider_of(address);
        !full(&self.blocks, Block::of(address), limits::PER_BLOCK)
            && !provider.is_some_and(|provider| full(&self.providers, provider, limits::PER_PROVIDER))
    }

    fn add(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        *self.blocks.entry(Block::of(address)).or_default() += 1;
        if let Some(provider) = Block::provider_of(address) {
            *self.providers.entry(provider).or_default() += 1;
        }
    }
}

/// Whether a PUT whose search had too little time is worth another one: some refused, as those do that are too far away, or fewer
/// than half of those took it who should, of so many nodes in all. Where it lies on a few only, others go on giving what it replaces.
pub fn is_worth_another_look(stored: usize, refused: usize, nodes: f64) -> bool {
    let due = nodes.clamp(1.0, wanted());
    refused > 0 || due > (2 * stored) as f64
}

/// Whether the nodes found nearest to a point may leave out others of its region: they are as many as a lookup brings, and lie
/// more densely than anywhere else. Of nodes thrown at random that is so once in three hundred lookups.
pub fn leaves_room(point: &Distance, radius: f64, found: &[Distance]) -> bool {
    let mut shares: Vec<f64> = found.iter().map(|place| share(&distance(point, place))).collect();
    shares.sort_by(f64::total_cmp);
    let twentieth = shares.get(limits::REPLICAS - 1);
    twentieth.is_some_and(|farthest| farthest.partial_cmp(&(radius / 2.0)) == Some(Ordering::Less))
}

/// Keys whose points lie in the other three quarters of the region round `point`: their lookups find nodes there, whoever crowds
/// round the point itself. Found by trying, since a point is the hash of its key.
pub fn neighbours(point: &Distance, radius: f64) -> Vec<Vec<u8>> {
    let bits = (1..=limits::REGION_BITS).take_while(|bits| 0.5f64.powi(i32::from(*bits)) >= radius).last().unwrap_or(0);
    let quarter = |place: &Distance| first_bits(place, bits + 2);
    let own = quarter(point);
    let mut found: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for number in 0..limits::REGION_TRIES {
        let key = [b"region".as_slice(), &number.to_be_bytes()].concat();
        let place = quarter(&Sha256::digest(&key).into());
        if place != own && place >> 2 == own >> 2 {
            found.entry(place).or_insert(key);
            if found.len() == 3 {
                break;
            }
        }
    }
    found.into_values().collect()
}

/// At most 32.
fn first_bits(place: &Distance, bits: u8) -> u32 {
    let [a, b, c, d, ..] = *place;
    u32::from_be_bytes([a, b, c, d]).checked_shr(32 - u32::from(bits)).unwrap_or_default()
}
