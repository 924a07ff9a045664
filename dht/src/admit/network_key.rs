// SPDX-License-Identifier: GPL-2.0-or-later
//! The key of a closed network, and the proof that one knows it.

use std::fmt;
use std::str::FromStr;

use cgeid::Network;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What the proof is for, so that it is good for nothing else.
const CONTEXT: &[u8] = b"IPv6MESH-admit-v1\0";
/// Octets of a key.
const KEY: usize = 32;
/// Octets of a proof.
pub(super) const MAC: usize = 32;

/// HMAC-SHA-256 of the two ends of a connection under the key of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; MAC]);

/// A key that all nodes of a closed network share. It never shows itself in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct NetworkKey(Zeroizing<[u8; KEY]>);

/// What is no key of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkKeyError {
    /// Neither hexadecimal nor Base64, or not of the length.
    #[error("not 32 octets in hexadecimal or Base64 (openssl rand -hex 32 makes them)")]
    Form,
    /// All octets are the same, as in a file that nobody has filled in.
    #[error("32 equal octets are no secret")]
    Weak,
}

impl NetworkKey {
    /// The key of these octets.
    ///
    /// # Errors
    /// [`NetworkKeyError::Weak`] if they are all the same.
    pub fn new(octets: [u8; KEY]) -> Result<Self, NetworkKeyError> {
        let octets = Zeroizing::new(octets);
        if octets.iter().all(|octet| *octet == octets[0]) {
            return Err(NetworkKeyError::Weak);
        }
        Ok(Self(octets))
    }

    /// The proof of who presents itself, for the one whom it presents itself to; both by the octets of their peer IDs.
    pub fn mac(&self, network: Network, from: &[u8], to: &[u8]) -> Mac {
        Mac(self.keyed(network, from, to).finalize().into_bytes().into())
    }

    /// Whether a proof is right; takes as long for a wrong one.
    pub fn holds(&self, network: Network, from: &[u8], to: &[u8], mac: &Mac) -> bool {
        self.keyed(network, from, to).verify_slice(&mac.0).is_ok()
    }

    fn keyed(&self, network: Network, from: &[u8], to: &[u8]) -> Hmac<Sha256> {
        // A key that is shorter than a block of the hash is followed by zeros (RFC 2104, section 2).
        let mut block = Zeroizing::new([0; 64]);
        block[..KEY].copy_from_slice(&*self.0);
        let mut mac = Hmac::<Sha256>::new(&(*block).into());
        mac.update(CONTEXT);
        mac.update(&network.0);
        for id in [from, to] {
            // Peer IDs have less than 256 octets; with its length neither can lend octets to the other.
            mac.update(&[u8::try_from(id.len()).unwrap_or(u8::MAX)]);
            mac.update(id);
        }
        mac
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkKey(secret)")
    }
}

impl FromStr for NetworkKey {
    type Err = NetworkKeyError;

    fn from_str(text: &str) -> Result<Self, NetworkKeyError> {
        let text = text.trim();
        let octets = Zeroizing::new(hexadecimal(text).or_else(|| base64(text)).ok_or(NetworkKeyError::Form)?);
        Self::new(<[u8; KEY]>::try_from(octets.as_slice()).map_err(|_| NetworkKeyError::Form)?)
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * KEY || !text.is_ascii() {
        return None;
    }
    (0..KEY).map(|index| u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()).collect()
}

/// Base64 of RFC 4648, section 4, with or without its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if digits.len() != (KEY * 8).div_ceil(6) || text.len() > digits.len() + 1 {
        return None;
    }
    let mut octets = Vec::with_capacity(KEY);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(octets)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn hexadecimal_and_base64_are_the_same_key() {
        let key: NetworkKey = HEX.parse().unwrap();
        assert_eq!(key, format!(" {BASE64}\n").parse().unwrap());
        assert_eq!(key, BASE64.trim_end_matches('=').parse().unwrap());
        assert_eq!(format!("{key:?}"), "NetworkKey(secret)");
    }

    #[test]
    fn other_texts_are_no_keys() {
        for text in ["", "00", &HEX[1..], &format!("{HEX}00"), &BASE64[1..], &format!("{BASE64}="), &"é".repeat(32)] {
            assert_eq!(text.parse::<NetworkKey>(), Err(NetworkKeyError::Form), "{text}");
        }
        assert_eq!("0".repeat(64).parse::<NetworkKey>(), Err(NetworkKeyError::Weak));
        // The last digit has bits that belong to no octet.
        assert_eq!(BASE64.replace("h8=", "h9=").parse::<NetworkKey>(), Err(NetworkKeyError::Form));
    }

    #[test]
    fn a_proof_is_for_its_two_ends_in_their_order_and_for_one_network() {
        let key: NetworkKey = HEX.parse().unwrap();
        let mac = key.mac(Network::LAB, b"alice", b"bob");
        assert!(key.holds(Network::LAB, b"alice", b"bob", &mac));
        assert!(!key.holds(Network::LAB, b"bob", b"alice", &mac), "a reflection");
        assert!(!key.holds(Network::LAB, b"aliceb", b"ob", &mac), "borrowed octets");
        assert!(!key.holds(Network([1; 4]), b"alice", b"bob", &mac));
        let other = NetworkKey::new(std::array::from_fn(|index| u8::try_from(index).unwrap() + 1)).unwrap();
        assert!(!other.holds(Network::LAB, b"alice", b"bob", &mac));
    }
}
