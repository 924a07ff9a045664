// SPDX-License-Identifier: GPL-2.0-or-later
//! The static puzzle of S/Kademlia: an operational key is a node's place in the hash table, and a place costs work.
//!
//! A key solves the puzzle of its epoch when SHA-512(SHA-512(SubjectPublicKeyInfo ‖ epoch)) begins with enough zero bits. The
//! solution is the key pair itself: nothing is sent along with it, and it is searched where the identity key is, since each
//! try is another key. The epoch makes each month's work new.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::error::{KeyError, PuzzleError};
use crate::key::{self, PrivateKey, PublicKey};
use crate::limits::MAX_PUZZLE_BITS;

/// How many zero bits a network asks for: a parameter of the network, the same for all its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PuzzleBits(u8);

impl PuzzleBits {
    /// No work at all.
    pub const NONE: PuzzleBits = PuzzleBits(0);
    /// Of labs: 16 keys are drawn on average, which nobody notices.
    pub const LAB: PuzzleBits = PuzzleBits(4);
    /// Of public networks: 65,536 keys are drawn on average, some seconds once a month.
    pub const PUBLIC: PuzzleBits = PuzzleBits(16);

    /// So many bits; `None` above [`MAX_PUZZLE_BITS`].
    pub fn new(bits: u8) -> Option<PuzzleBits> {
        (bits <= MAX_PUZZLE_BITS).then_some(PuzzleBits(bits))
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Keys that are drawn on average until one fits.
    pub fn draws(self) -> u64 {
        1 << self.0
    }
}

impl Default for PuzzleBits {
    fn default() -> PuzzleBits {
        PuzzleBits::LAB
    }
}

impl fmt::Display for PuzzleBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PuzzleBits {
    type Err = PuzzleError;

    fn from_str(text: &str) -> Result<PuzzleBits, PuzzleError> {
        let bits = text.parse().map_err(|_| PuzzleError::Range)?;
        PuzzleBits::new(bits).ok_or(PuzzleError::Range)
    }
}

/// The zero bits that a key has in an epoch.
pub fn zero_bits(key: &PublicKey, epoch: u32) -> PuzzleBits {
    leading_zeros(key.spki(), epoch)
}

/// Whether a key solves the puzzle.
pub fn is_solved(key: &PublicKey, epoch: u32, bits: PuzzleBits) -> bool {
    zero_bits(key, epoch) >= bits
}

/// A private key that solves the puzzle of its epoch, to be certified by [`crate::Identity::delegate_mined`].
pub struct Mined {
    pub(crate) key: PrivateKey,
    pub(crate) epoch: u32,
}

impl fmt::Debug for Mined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mined(epoch {}, secret)", self.epoch)
    }
}

/// Draws one key; `None` if it does not solve the puzzle, as most do not.
///
/// # Errors
/// [`KeyError::Randomness`] if the system gives none.
pub fn draw(epoch: u32, bits: PuzzleBits) -> Result<Option<Mined>, KeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut seed[..]).map_err(|_| KeyError::Randomness)?;
    let public = Ed25519KeyPair::from_seed_unchecked(&seed[..]).map_err(|_| KeyError::Private)?;
    let spki = key::ed25519_spki(public.public_key().as_ref());
    if leading_zeros(&spki, epoch) < bits {
        return Ok(None);
    }
    Ok(Some(Mined { key: PrivateKey::from_seed(&seed)?, epoch }))
}

/// Draws keys until one solves the puzzle: [`PuzzleBits::draws`] on average, without an upper bound.
///
/// # Errors
/// As [`draw`].
pub fn mine(epoch: u32, bits: PuzzleBits) -> Result<Mined, KeyError> {
    loop {
        if let Some(mined) = draw(epoch, bits)? {
            return Ok(mined);
        }
    }
}

fn leading_zeros(spki: &[u8], epoch: u32) -> PuzzleBits {
    let inner = Sha512::new().chain_update(spki).chain_update(epoch.to_be_bytes()).finalize();
    let outer = Sha512::digest(inner);
    let octets = outer.iter().take_while(|&&octet| octet == 0).count();
    let rest = outer.get(octets).map_or(0, |octet| octet.leading_zeros());
    let bits = u32::try_from(octets).unwrap_or(u32::MAX).saturating_mul(8).saturating_add(rest);
    // More than can be asked for counts as that.
    PuzzleBits(u8::try_from(bits).unwrap_or(u8::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    #[test]
    fn a_mined_key_has_the_bits_in_its_epoch_and_hardly_in_another() {
        let bits = PuzzleBits::new(8).unwrap();
        let mined = mine(178_176, bits).unwrap();
        let public = mined.key.public_key().unwrap();
        assert!(is_solved(&public, 178_176, bits));
        let others = (178_177..178_209).filter(|epoch| is_solved(&public, *epoch, bits)).count();
        assert!(others < 8, "{others} of 32 other epochs are solved as well");
    }

    #[test]
    fn the_formula_by_hand() {
        let public = PrivateKey::from_seed(&[7; 32]).unwrap().public_key().unwrap();
        let inner = Sha512::digest([public.spki(), &[0, 0, 0, 1]].concat());
        let outer = Sha512::digest(inner);
        let zeros = outer.iter().map(|octet| format!("{octet:08b}")).collect::<String>().find('1').unwrap();
        assert_eq!(usize::from(zero_bits(&public, 1).get()), zeros);
    }

    #[test]
    fn one_key_in_sixteen_has_four_bits() {
        let hits = (0..2000).filter(|_| draw(1, PuzzleBits::LAB).unwrap().is_some()).count();
        assert!((70..190).contains(&hits), "{hits} of 2000, 125 expected");
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        assert!("33".parse::<PuzzleBits>().is_err() && "x".parse::<PuzzleBits>().is_err());
        assert_eq!("16".parse::<PuzzleBits>().unwrap(), PuzzleBits::PUBLIC);
        assert_eq!(PuzzleBits::default().get(), 4);
    }
}
