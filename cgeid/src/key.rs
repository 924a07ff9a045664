// SPDX-License-Identifier: GPL-2.0-or-later
//! Keys and what they sign. A key has exactly one accepted encoding: any second one would give it a second address.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA512, UnparsedPublicKey,
};
use ed25519_compact as ed25519;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use rsa::pkcs8::{EncodePrivateKey, PrivateKeyInfoRef};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::cn::Cn;
use crate::error::{KeyError, SignatureError};
use crate::identity::KeyAlgorithm;

/// How a signature was made; the numbers stand in records of the hash table. The key decides, never the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum SignatureAlgorithm {
    /// Ed25519, RFC 8032; 64 octets.
    Ed25519 = 1,
    /// RSASSA-PKCS1-v1_5 with SHA-512, RFC 8017 8.2; 512 octets. Deterministic, so test vectors are exact.
    RsaPkcs1Sha512 = 2,
}

impl SignatureAlgorithm {
    /// The algorithm of a number, if there is one.
    pub fn from_number(number: u16) -> Option<SignatureAlgorithm> {
        match number {
            1 => Some(SignatureAlgorithm::Ed25519),
            2 => Some(SignatureAlgorithm::RsaPkcs1Sha512),
            _ => None,
        }
    }

    /// The number of this algorithm in records.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// Octets of a signature.
    pub fn signature_length(self) -> usize {
        match self {
            SignatureAlgorithm::Ed25519 => 64,
            SignatureAlgorithm::RsaPkcs1Sha512 => RSA_OCTETS,
        }
    }
}

/// Octets of the modulus and of a signature.
const RSA_OCTETS: usize = 512;

/// All of an RSA-4096 SubjectPublicKeyInfo before the modulus: rsaEncryption with NULL parameters (RFC 4055 1.2), the
/// lengths, and the zero octet that keeps a modulus with its top bit set positive.
const RSA_PREFIX: [u8; 33] = [
    0x30, 0x82, 0x02, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    0x03, 0x82, 0x02, 0x0f, 0x00, 0x30, 0x82, 0x02, 0x0a, 0x02, 0x82, 0x02, 0x01, 0x00,
];
/// All of it after the modulus: e = 65537. A free exponent would make a new address with every hash.
const RSA_SUFFIX: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
/// Where the PKCS#1 RSAPublicKey begins in the SubjectPublicKeyInfo.
const RSA_PKCS1: usize = 24;
/// Octets of the whole.
const RSA_SPKI: usize = RSA_PREFIX.len() + RSA_OCTETS + RSA_SUFFIX.len();

/// All of an Ed25519 SubjectPublicKeyInfo before the key (RFC 8410 4): no parameters.
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Octets of the whole.
const ED25519_SPKI: usize = ED25519_PREFIX.len() + 32;
/// y of the points of small order, in their canonical encodings: orders 1, 2, 4, and 8 twice.
const SMALL_ORDER: [[u8; 32]; 5] = [
    low(1),
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    low(0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn low(y: u8) -> [u8; 32] {
    let mut octets = [0; 32];
    octets[0] = y;
    octets
}

/// An Ed25519 PKCS#8 key before the seed (RFC 8410 7), version 1.
const ED25519_PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The odd primes up to 53 multiplied: one division finds out whether a modulus has one of them.
const SMALL_PRIMES: u64 = 3 * 5 * 7 * 11 * 13 * 17 * 19 * 23 * 29 * 31 * 37 * 41 * 43 * 47 * 53;

/// A public key that passed every rule, parsed once and ready to verify.
#[derive(Clone)]
pub struct PublicKey {
    spki: Vec<u8>,
    fingerprint: [u8; 64],
    material: PublicMaterial,
}

// Boxed, for they are large: of an Ed25519 key the point is kept, which is found once and not for each signature.
#[derive(Clone)]
enum PublicMaterial {
    Ed25519(Box<VerifyingKey>),
    Rsa(Box<ParsedPublicKey>),
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in the only accepted encoding of its algorithm: RSA with NULL parameters, exactly
    /// 4096 bits and e = 65537, or the 44 octets of Ed25519.
    ///
    /// # Errors
    /// [`KeyError`] names the rule that the key breaks.
    pub fn from_spki(spki: &[u8]) -> Result<PublicKey, KeyError> {
        let material = if spki.len() == ED25519_SPKI && spki.starts_with(&ED25519_PREFIX) {
            PublicMaterial::Ed25519(Box::new(ed25519_point(&spki[ED25519_PREFIX.len()..])?))
        } else if spki.len() == RSA_SPKI && spki.starts_with(&RSA_PREFIX) && spki.ends_with(&RSA_SUFFIX) {
            check_modulus(&spki[RSA_PREFIX.len()..RSA_PREFIX.len() + RSA_OCTETS])?;
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA512, &spki[RSA_PKCS1..]);
            PublicMaterial::Rsa(Box::new(key.parse().map_err(|_| KeyError::Modulus)?))
        } else {
            return Err(diagnose(spki));
        };
        Ok(PublicKey { spki: spki.to_vec(), fingerprint: Sha512::digest(spki).into(), material })
    }

    /// The DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-512 of the SubjectPublicKeyInfo: what a resolver pins, for 96 bits can be found twice by one owner.
    pub fn fingerprint(&self) -> &[u8; 64] {
        &self.fingerprint
    }

    /// The CN that the key gives.
    pub fn cn(&self) -> Cn {
        Cn::of_fingerprint(&self.fingerprint)
    }

    /// What the key signs with.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        match self.material {
            PublicMaterial::Ed25519(_) => SignatureAlgorithm::Ed25519,
            PublicMaterial::Rsa(_) => SignatureAlgorithm::RsaPkcs1Sha512,
        }
    }

    /// Checks a signature over `message`. Ed25519 by the cofactored equation of RFC 8032 5.1.7, with canonical S and
    /// no keys of small order.
    ///
    /// # Errors
    /// [`SignatureError::Algorithm`] if the claimed algorithm is not this key's, [`SignatureError::Invalid`] if the
    /// signature is not.
    pub fn verify(&self, claimed: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if claimed != self.signature_algorithm() {
            return Err(SignatureError::Algorithm { key: self.signature_algorithm(), claimed });
        }
        let valid = match &self.material {
            PublicMaterial::Ed25519(key) => verify_ed25519(key, message, signature),
            PublicMaterial::Rsa(key) => key.verify_sig(message, signature).is_ok(),
        };
        valid.then_some(()).ok_or(SignatureError::Invalid)
    }

    /// The 32 octets of an Ed25519 key.
    pub fn ed25519(&self) -> Option<[u8; 32]> {
        match &self.material {
            PublicMaterial::Ed25519(key) => Some(key.to_bytes()),
            PublicMaterial::Rsa(_) => None,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.signature_algorithm(), self.cn())
    }
}

/// More than twice as fast as by `ed25519-compact` alone, and the same verdict: what satisfies the equation without the cofactor
/// satisfies it with, unless R is one of the points of small order, which `ed25519-dalek` takes. What it refuses is looked at again.
fn verify_ed25519(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    let is_quick = !is_small_order(signature)
        && Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok());
    is_quick || verify_cofactored(key.as_bytes(), message, signature)
}

/// The verdict that counts.
fn verify_cofactored(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let key = ed25519::PublicKey::new(*key);
    ed25519::Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// Whether R may be a point of small order: y, the first 255 bits, is that of one of the eight. Others are the many.
fn is_small_order(signature: &[u8]) -> bool {
    let Some(r) = signature.first_chunk::<32>() else { return false };
    let mut y = *r;
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// A point in its one encoding, and not of small order. y is the remainder by 2²⁵⁵ - 19: of y + 2²⁵⁵ - 19 the library thinks as of y.
/// Where x is zero it takes either sign, and all those points are of small order.
fn ed25519_point(octets: &[u8]) -> Result<VerifyingKey, KeyError> {
    let octets: &[u8; 32] = octets.try_into().map_err(|_| KeyError::Point)?;
    let [lowest, middle @ .., highest] = octets;
    let is_canonical = *lowest < 0xed || highest & 0x7f != 0x7f || middle.iter().any(|octet| *octet != 0xff);
    let key = VerifyingKey::from_bytes(octets).map_err(|_| KeyError::Point)?;
    if is_canonical && !key.is_weak() { Ok(key) } else { Err(KeyError::Point) }
}

/// Refuses what cannot be the product of two large primes. A modulus with larger small factors harms its owner only,
/// and a longer search would cost more than the signature check that it stands before.
fn check_modulus(modulus: &[u8]) -> Result<(), KeyError> {
    let bits = bit_length(modulus);
    if bits != RSA_OCTETS * 8 {
        return Err(KeyError::Bits { found: bits });
    }
    let remainder = modulus.iter().fold(0u64, |remainder, &octet| {
        let next = (u128::from(remainder) << 8 | u128::from(octet)) % u128::from(SMALL_PRIMES);
        u64::try_from(next).expect("a remainder is below its 64-bit divisor")
    });
    let even = modulus.last().is_none_or(|octet| octet & 1 == 0);
    if even || gcd(remainder, SMALL_PRIMES) != 1 { Err(KeyError::Modulus) } else { Ok(()) }
}

fn bit_length(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|&&octet| octet == 0).count();
    number.get(zeros).map_or(0, |top| (number.len() - zeros) * 8 - top.leading_zeros() as usize)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Says what is wrong with a SubjectPublicKeyInfo that has neither accepted form, so that its owner can tell a short
/// key from a broken encoding.
fn diagnose(spki: &[u8]) -> KeyError {
    use der::{Decode, asn1::AnyRef, oid::db::rfc5912::RSA_ENCRYPTION};
    use x509_cert::spki::SubjectPublicKeyInfoRef;
    let Ok(info) = SubjectPublicKeyInfoRef::from_der(spki) else {
        return KeyError::Encoding;
    };
    let oid = info.algorithm.oid;
    if oid != RSA_ENCRYPTION {
        let known = oid == der::oid::db::rfc8410::ID_ED_25519;
        return if known { KeyError::Encoding } else { KeyError::Algorithm { oid: oid.to_string() } };
    }
    if info.algorithm.parameters != Some(AnyRef::NULL) {
        return KeyError::Parameters;
    }
    diagnose_rsa(info.subject_public_key.as_bytes().unwrap_or_default())
}

/// The same of a PKCS#1 RSAPublicKey.
fn diagnose_rsa(contents: &[u8]) -> KeyError {
    match rsa::pkcs1::RsaPublicKeyRef::try_from(contents) {
        Err(_) => KeyError::Encoding,
        Ok(key) if bit_length(key.modulus.as_bytes()) != RSA_OCTETS * 8 => {
            KeyError::Bits { found: bit_length(key.modulus.as_bytes()) }
        }
        Ok(_) => KeyError::Exponent,
    }
}

/// The SubjectPublicKeyInfo of the octets of an Ed25519 key.
pub(crate) fn ed25519_spki(point: &[u8]) -> Vec<u8> {
    [&ED25519_PREFIX[..], point].concat()
}

/// The secret half. It wipes itself when dropped and never shows itself in a log.
pub(crate) enum PrivateKey {
    Ed25519(ed25519::KeyPair),
    Rsa { pair: RsaKeyPair, pkcs8: Zeroizing<Vec<u8>> },
}

impl PrivateKey {
    /// Makes a key from the system's randomness.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
        match algorithm {
            KeyAlgorithm::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                aws_lc_rs::rand::fill(&mut seed[..]).map_err(|_| KeyError::Randomness)?;
                PrivateKey::from_seed(&seed)
            }
            KeyAlgorithm::Rsa4096 => {
                let key = rsa::PrivateKey::new(&mut rand::rng(), RSA_OCTETS * 8).map_err(|_| KeyError::Randomness)?;
                let pkcs8 = key.to_pkcs8_der().map_err(|_| KeyError::Encoding)?;
                PrivateKey::from_pkcs8(pkcs8.as_bytes())
            }
        }
    }

    /// The Ed25519 key of a seed.
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<PrivateKey, KeyError> {
        let mut seed = ed25519::Seed::new(*seed);
        let pair = ed25519::KeyPair::try_from_seed(seed);
        seed.wipe_mut();
        Ok(PrivateKey::Ed25519(pair.map_err(|_| KeyError::Private)?))
    }

    /// Reads PKCS#8 (RFC 5958), either version.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<PrivateKey, KeyError> {
        use der::oid::db::{rfc5912::RSA_ENCRYPTION, rfc8410::ID_ED_25519};
        let info = PrivateKeyInfoRef::try_from(pkcs8).map_err(|_| KeyError::Private)?;
        if info.algorithm.oid == ID_ED_25519 {
            let seed = info.private_key.as_bytes().strip_prefix(&[0x04, 0x20]).ok_or(KeyError::Private)?;
            let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| KeyError::Private)?);
            let key = PrivateKey::from_seed(&seed)?;
            // A public half beside the seed must be the seed's, and there are no parameters (RFC 8410 3).
            let own = key.public_key()?.ed25519();
            let other = info.public_key.is_some_and(|bits| bits.as_bytes() != own.as_ref().map(|key| &key[..]));
            let whole = info.algorithm.parameters.is_none() && !other;
            return if whole { Ok(key) } else { Err(KeyError::Private) };
        }
        if info.algorithm.oid != RSA_ENCRYPTION {
            return Err(KeyError::Algorithm { oid: info.algorithm.oid.to_string() });
        }
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::Private)?;
        let public = pair.public_key().as_ref();
        if public.len() != RSA_SPKI - RSA_PKCS1 {
            return Err(diagnose_rsa(public));
        }
        Ok(PrivateKey::Rsa { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()) })
    }

    /// The public half, under the same rules as one from the network.
    pub(crate) fn public_key(&self) -> Result<PublicKey, KeyError> {
        let spki = match self {
            PrivateKey::Ed25519(pair) => ed25519_spki(&pair.pk[..]),
            PrivateKey::Rsa { pair, .. } => [&RSA_PREFIX[..RSA_PKCS1], pair.public_key().as_ref()].concat(),
        };
        PublicKey::from_spki(&spki)
    }

    /// Signs; RSA takes about 2 ms.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            PrivateKey::Ed25519(pair) => Ok(pair.sk.sign(message, None).to_vec()),
            PrivateKey::Rsa { pair, .. } => {
                let mut signature = vec![0; RSA_OCTETS];
                pair.sign(&RSA_PKCS1_SHA512, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| KeyError::Sign)?;
                Ok(signature)
            }
        }
    }

    /// The key as PKCS#8 for a container.
    pub(crate) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        match self {
            PrivateKey::Ed25519(pair) => Zeroizing::new([&ED25519_PKCS8_PREFIX[..], seed(pair)].concat()),
            PrivateKey::Rsa { pkcs8, .. } => pkcs8.clone(),
        }
    }
}

/// The seed of a key pair, where it lies: the library's own accessor makes a copy that nobody wipes.
pub(crate) fn seed(pair: &ed25519::KeyPair) -> &[u8] {
    &pair.sk[..ed25519::Seed::BYTES]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(seed: [u8; 32]) -> ed25519::KeyPair {
        ed25519::KeyPair::from_seed(ed25519::Seed::new(seed))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Half of all octets are a point; those that end in ones may be a second encoding.
        #[test]
        fn what_is_a_key_is_what_the_slow_library_says(
            mut octets: [u8; 32],
            ones in any::<bool>(),
            low in 0xe0_u8..,
            sign in any::<bool>(),
        ) {
            if ones {
                octets = [0xff; 32];
                octets[0] = low;
                octets[31] = if sign { 0xff } else { 0x7f };
            }
            let slow = ed25519::PublicKey::new(octets).validate().is_ok();
            prop_assert_eq!(ed25519_point(&octets).is_ok(), slow);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_signature_holds_when_the_slow_library_says_so(
            seed in any::<[u8; 32]>().prop_map(|mut seed| { seed[0] |= 1; seed }),
            message in prop::collection::vec(any::<u8>(), 0..100),
            change in prop::option::of((0_usize..64, 1_u8..)),
        ) {
            let pair = pair(seed);
            let mut signature = pair.sk.sign(&message, None).to_vec();
            if let Some((at, bits)) = change {
                signature[at] ^= bits;
            }
            let key = ed25519_point(&pair.pk[..]).unwrap();
            let slow = verify_cofactored(&pair.pk, &message, &signature);
            prop_assert_eq!(verify_ed25519(&key, &message, &signature), slow);
            prop_assert_eq!(slow, change.is_none());
        }
    }
}
