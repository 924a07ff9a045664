// SPDX-License-Identifier: GPL-2.0-or-later
//! Keys that sign Map-Referrals, and keys that these are verified with (RFC 8111, section 10).
//!
//! RSASSA-PKCS1-v1_5 with SHA-256, 2,048 to 4,096 bits. RFC 8111 leaves open what the key material of a Security Key LCAF (RFC 8060,
//! section 4.7) is: here it is a SubjectPublicKeyInfo in DER (RFC 5280, section 4.1.2.7), under the number of the algorithm in
//! signatures.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use der::{Document, SecretDocument};
use wire::address::EidPrefix;
use wire::control::{Referral, ReferralSignature, SignatureTime};

use crate::limits::{DDT_KEY_OCTETS, DDT_SIGNATURES, SIGNATURE_BACKDATED};

/// A key file that is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM at all.
    #[error("is no PEM file")]
    NotPem,
    /// Something else than what is wanted.
    #[error("has a {found:?}, and a {wanted:?} is needed{}", hint(found))]
    Label {
        /// What the PEM says it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Not an RSA key, or a broken one.
    #[error("has no RSA key of 2048 to 4096 bits")]
    NotRsa,
    /// The system has no random octets, or the key no sense.
    #[error("the key does not sign")]
    Sign,
}

/// What to do about a file of a wrong kind.
fn hint(label: &str) -> &'static str {
    match label {
        "RSA PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => ": see `openssl pkcs8 -topk8 -nocrypt`",
        "PRIVATE KEY" => ": see `openssl pkey -pubout`; a private key stays with its node",
        "PUBLIC KEY" => ": this is the public half",
        _ => "",
    }
}

/// A key of this node.
pub struct SigningKey {
    pair: KeyPair,
    tag: u16,
    public: VerifyingKey,
    /// What was delegated to this node under it; without any, all that was.
    prefixes: Vec<EidPrefix>,
}

impl SigningKey {
    /// Reads PKCS#8 in PEM (RFC 7468, section 10); `tag` names the key in signatures.
    ///
    /// # Errors
    /// Says what the file has instead.
    pub fn from_pem(pem: &str, tag: u16) -> Result<Self, KeyError> {
        let (label, document) = SecretDocument::from_pem(pem).map_err(|_| KeyError::NotPem)?;
        expect_label(label, "PRIVATE KEY")?;
        let pair = KeyPair::from_pkcs8(document.as_bytes()).map_err(|_| KeyError::NotRsa)?;
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| KeyError::NotRsa)?;
        let public = VerifyingKey::from_material(spki.as_ref()).ok_or(KeyError::NotRsa)?;
        Ok(Self { pair, tag, public, prefixes: Vec::new() })
    }

    /// The same for these prefixes alone, each of which was delegated to this node (RFC 8111, section 10); for all, without any.
    #[must_use]
    pub fn with_prefixes(self, prefixes: Vec<EidPrefix>) -> Self {
        Self { prefixes, ..self }
    }

    /// The prefixes that it is for; without any it is for all.
    pub fn prefixes(&self) -> &[EidPrefix] {
        &self.prefixes
    }

    /// Whether it signs what is said of this prefix.
    pub fn is_for(&self, prefix: &EidPrefix) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|own| own.covers(prefix))
    }

    /// Its public half.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Key Tag.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// Length of its signatures.
    pub fn signature_octets(&self) -> usize {
        self.pair.public_modulus_len()
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        (self.tag, &self.public, &self.prefixes) == (other.tag, &other.public, &other.prefixes)
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// A public key of a DDT node.
#[derive(Clone)]
pub struct VerifyingKey(Arc<(Box<[u8]>, ParsedPublicKey)>);

impl VerifyingKey {
    /// Reads a SubjectPublicKeyInfo in PEM (RFC 7468, section 13).
    ///
    /// # Errors
    /// Says what the file has instead.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let (label, document) = Document::from_pem(pem).map_err(|_| KeyError::NotPem)?;
        expect_label(label, "PUBLIC KEY")?;
        Self::from_material(document.as_bytes()).ok_or(KeyError::NotRsa)
    }

    /// The key of key material, if it is one that can be used here.
    pub fn from_material(material: &[u8]) -> Option<Self> {
        if material.len() > DDT_KEY_OCTETS {
            return None;
        }
        let parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, material).ok()?;
        Some(Self(Arc::new((material.into(), parsed))))
    }

    /// What stands in a Security Key LCAF.
    pub fn material(&self) -> &[u8] {
        &self.0.0
    }

    fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.1.verify_sig(message, signature).is_ok()
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.material() == other.material()
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({} octets)", self.material().len())
    }
}

fn expect_label(found: &str, wanted: &'static str) -> Result<(), KeyError> {
    if found == wanted { Ok(()) } else { Err(KeyError::Label { found: found.to_owned(), wanted }) }
}

/// Signs a record with all of `keys`, so that it verifies with any of them while they change; the signatures hold for `life` from now.
///
/// # Errors
/// When a key does not sign, or the record has no encoding.
pub fn sign(
    referral: Referral,
    keys: &[Arc<SigningKey>],
    now: SystemTime,
    life: Duration,
) -> Result<Referral, KeyError> {
    let blank = |key: &Arc<SigningKey>| ReferralSignature {
        original_ttl: referral.ttl,
        expiration: SignatureTime::of(now + life),
        // Clocks differ.
        inception: SignatureTime::of(now - SIGNATURE_BACKDATED),
        key_tag: key.tag,
        algorithm: ReferralSignature::RSA_SHA256,
        octets: vec![0; key.signature_octets()],
    };
    let mut signed = Referral { signatures: keys.iter().map(blank).collect(), ..referral };
    // As it is now, with zeros for signatures, is what they cover.
    let covered = signed.encode().map_err(|_| KeyError::Sign)?;
    for (key, signature) in keys.iter().zip(&mut signed.signatures) {
        key.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &covered, &mut signature.octets)
            .map_err(|_| KeyError::Sign)?;
    }
    Ok(signed)
}

/// Why a record counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    /// It has no signature that could be looked at.
    Unsigned,
    /// None of its signatures is timely.
    Untimely,
    /// None of its timely signatures was made with one of the keys.
    Wrong,
}

/// Verifies a record, whose octets came as `octets`, with any of `keys`. RFC 8111 binds no key tag to a key, so all keys are tried for
/// each of the first timely signatures (section 10.4). Returns the signature that holds.
///
/// # Errors
/// Why none does.
pub fn verify<'a>(
    referral: &'a Referral,
    octets: &[u8],
    keys: &[VerifyingKey],
    now: SystemTime,
) -> Result<&'a ReferralSignature, Unverified> {
    let now = SignatureTime::of(now);
    let of_ours = |signature: &&ReferralSignature| signature.algorithm == ReferralSignature::RSA_SHA256;
    let mut why = match referral.signatures.iter().any(|signature| of_ours(&signature)) {
        true => Unverified::Untimely,
        false => Unverified::Unsigned,
    };
    let timely = referral.signatures.iter().filter(of_ours).filter(|signature| signature.is_timely(now));
    for signature in timely.take(DDT_SIGNATURES) {
        let covered = referral.covered(octets, signature);
        if keys.iter().any(|key| key.holds(&covered, &signature.octets)) {
            return Ok(signature);
        }
        why = Unverified::Wrong;
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::address::{EidPrefix, InstanceId};
    use wire::control::ReferralAction;
    use wire::record::{MapVersion, Ttl};

    #[test]
    fn signatures_that_have_expired_do_not_take_the_place_of_one_that_holds() {
        let key = Arc::new(SigningKey::from_pem(include_str!("../../tests/data/ddt/root.pem"), 1).unwrap());
        let (now, week) = (SystemTime::now(), Duration::from_secs(7 * 24 * 3600));
        let record = Referral {
            ttl: Ttl(15),
            action: ReferralAction::DelegationHole,
            authoritative: true,
            incomplete: false,
            map_version: MapVersion::default(),
            eid: EidPrefix::host(InstanceId(0), [10, 0, 0, 1].into()).into(),
            locators: Vec::new(),
            signatures: Vec::new(),
        };
        let mut signed = sign(record, &vec![Arc::clone(&key); DDT_SIGNATURES + 1], now, week).unwrap();
        for old in &mut signed.signatures[..DDT_SIGNATURES] {
            old.expiration = SignatureTime::of(now - week);
        }
        let octets = signed.encode().unwrap();
        let covered = signed.covered(&octets, &signed.signatures[DDT_SIGNATURES]);
        let last = &mut signed.signatures[DDT_SIGNATURES].octets;
        key.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &covered, last).unwrap();
        let keys = [key.public().clone()];
        let verified = |signed: &Referral| verify(signed, &signed.encode().unwrap(), &keys, now).cloned();
        assert_eq!(verified(&signed).as_ref(), Ok(&signed.signatures[DDT_SIGNATURES]));
        // Of timely ones no more are tried.
        let mut first = sign(signed, &vec![key; DDT_SIGNATURES + 1], now, week).unwrap();
        first.signatures[..DDT_SIGNATURES].iter_mut().for_each(|signature| signature.octets[7] ^= 1);
        assert_eq!(verified(&first), Err(Unverified::Wrong));
        let _ = first.signatures.split_off(DDT_SIGNATURES);
        first.signatures.iter_mut().for_each(|signature| signature.expiration = SignatureTime::of(now - week));
        assert_eq!(verified(&first), Err(Unverified::Untimely));
    }
}
