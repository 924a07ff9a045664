// SPDX-License-Identifier: GPL-2.0-or-later
//! The keyed hash of the tables: cheap, and with a proof that EIDs which are chosen without the key do not collide but by chance.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::InstanceId;

/// The key of a strongly universal hash: multiply-shift over a vector, the upper 64 of 128 bits (Thorup, "High Speed Hashing
/// for Integers and Strings"). For any two addresses that are chosen without knowledge of the key, all pairs of hashes are equally
/// likely; `SipHash`, which costs four times as much, is made to hold also against who chooses by hashes that he has seen.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    beside: u128,
    high: u128,
    low: u128,
    sum: u128,
}

impl Default for Keys {
    /// A key from the randomness that the standard library keys its own tables with.
    fn default() -> Self {
        let state = RandomState::new();
        let word = |number: u8| u128::from(state.hash_one(number));
        let factor = |number: u8| word(2 * number) << 64 | word(2 * number + 1);
        Self { beside: factor(0), high: factor(1), low: factor(2), sum: factor(3) }
    }
}

impl Keys {
    /// The hash of an address in an instance.
    #[inline]
    pub fn hash(&self, iid: InstanceId, address: IpAddr) -> u64 {
        match address {
            IpAddr::V4(address) => self.hash_v4(iid, address),
            IpAddr::V6(address) => self.hash_v6(iid, address),
        }
    }

    /// The hash of an IPv4 address in an instance.
    #[inline]
    pub fn hash_v4(&self, iid: InstanceId, address: Ipv4Addr) -> u64 {
        self.hash_words(iid.0.into(), 0, u32::from(address).into())
    }

    /// The hash of an IPv6 address in an instance.
    #[inline]
    pub fn hash_v6(&self, iid: InstanceId, address: Ipv6Addr) -> u64 {
        let bits = address.to_bits();
        self.hash_words(iid.0.into(), upper_half(bits), upper_half(bits << 64))
    }

    /// The hash of an address in two words, and of what stands beside it: the instance, or more.
    #[inline]
    pub fn hash_words(&self, beside: u64, high: u64, low: u64) -> u64 {
        let product = |key: u128, word: u64| key.wrapping_mul(word.into());
        let sum = self.sum;
        let sum = sum.wrapping_add(product(self.beside, beside));
        let sum = sum.wrapping_add(product(self.high, high)).wrapping_add(product(self.low, low));
        // One to one, so that nothing is lost of the proof: it breaks the order in which neighbouring addresses lie.
        let hash = upper_half(sum);
        let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ hash >> 32
    }
}

#[inline]
fn upper_half(bits: u128) -> u64 {
    // No more than 64 bits are left.
    u64::try_from(bits >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn neighbours_fall_apart_in_every_part_of_the_hash() {
        let keys = Keys::default();
        let hashes: Vec<u64> = (0..4096u32).map(|n| keys.hash(InstanceId(n % 3), IpAddr::V4(n.into()))).collect();
        for shift in [0, 20, 40, 52] {
            let parts: HashSet<u64> = hashes.iter().map(|hash| hash >> shift & 0xfff).collect();
            // Of 4096 that fall at random into 4096 places 2589 places get one.
            assert!((2300..2900).contains(&parts.len()), "{} at {shift}", parts.len());
        }
    }

    #[test]
    fn every_key_gives_other_hashes() {
        let hash = || Keys::default().hash(InstanceId(0), IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_ne!(hash(), hash());
    }
}
