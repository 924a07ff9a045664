// SPDX-License-Identifier: GPL-2.0-or-later
//! Who is where: in the Kademlia space, and in the address space.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::dice::Dice;

/// A node of the model, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Peer(u32);

impl Peer {
    pub(super) fn new(number: usize) -> Self {
        Self(u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub(super) fn number(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A place in the Kademlia space: the first half of a SHA-256, which tells nodes apart and orders them as the whole does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point(pub(super) u128);

impl Point {
    pub(super) fn of(hash: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self(u128::from_be_bytes(half))
    }

    pub(super) fn distance(self, other: Self) -> u128 {
        self.0 ^ other.0
    }

    /// As a store wants it.
    pub(super) fn whole(self) -> [u8; 32] {
        let mut whole = [0; 32];
        whole[..16].copy_from_slice(&self.0.to_be_bytes());
        whole
    }
}

/// Where every node is, the dead ones too. Points are asked for much more often than addresses, so they lie by themselves.
#[derive(Debug, Default)]
pub(super) struct Peers {
    points: Vec<Point>,
    addresses: Vec<IpAddr>,
}

/// Providers among which IPv6 nodes are spread.
const PROVIDERS: usize = 400;

impl Peers {
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// A node at a place that nobody chooses: a hash, and an address of its own.
    pub(super) fn add(&mut self, dice: &mut Dice) -> Peer {
        let point = Point::of(&Sha256::digest(dice.octets()).into());
        let address = address(dice);
        self.add_at(point, address)
    }

    /// A node at a chosen place.
    pub(super) fn add_at(&mut self, point: Point, address: IpAddr) -> Peer {
        self.points.push(point);
        self.addresses.push(address);
        Peer::new(self.points.len() - 1)
    }

    pub(super) fn point(&self, peer: Peer) -> Point {
        self.points[peer.number()]
    }

    pub(super) fn address(&self, peer: Peer) -> IpAddr {
        self.addresses[peer.number()]
    }

    /// The nearest of some nodes, nearest first.
    pub(super) fn nearest(&self, mut among: Vec<Peer>, target: Point, count: usize) -> Vec<Peer> {
        let distance = |peer: &Peer| self.point(*peer).distance(target);
        if among.len() > count && count > 0 {
            among.select_nth_unstable_by_key(count - 1, distance);
        }
        among.truncate(count);
        among.sort_unstable_by_key(distance);
        among
    }
}

/// A public address: half of them IPv4, so that hardly two share a /24, half of them in one of the providers' /32.
fn address(dice: &mut Dice) -> IpAddr {
    let wide = dice.wide();
    if dice.chance(500) {
        // 16.0.0.0 to 111.255.255.255 has nothing private.
        let host = u32::try_from(wide & 0x00ff_ffff).unwrap_or(0);
        let net = u32::try_from(16 + dice.below(96)).unwrap_or(16);
        return IpAddr::V4(((net << 24) | host).into());
    }
    let provider = u128::try_from(dice.below(PROVIDERS)).unwrap_or(0);
    IpAddr::V6(((0x2a00 << 112) | (provider << 96) | (wide >> 32)).into())
}
