// SPDX-License-Identifier: GPL-2.0-or-later
//! The operational key: what a daemon holds to speak for an identity. It is also the key of its node in the hash table.

use std::fmt;
use std::net::Ipv6Addr;

use ed25519_compact::KeyPair;
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::certificate::{IdentityCertificate, OperationalCertificate};
use crate::cn::Cn;
use crate::error::KeyError;
use crate::key::{self, PrivateKey};

/// An Ed25519 key, its certificate, and the certificate of the identity that issued it.
pub struct OperationalKey {
    pair: KeyPair,
    /// The same key, where each record is signed: a map system signs hundreds a second, and this takes a third of the time.
    signer: SigningKey,
    certificate: OperationalCertificate,
    identity: IdentityCertificate,
}

impl OperationalKey {
    pub(crate) fn new(
        key: PrivateKey,
        certificate: OperationalCertificate,
        identity: IdentityCertificate,
    ) -> Result<OperationalKey, KeyError> {
        let PrivateKey::Ed25519(pair) = key else {
            return Err(KeyError::Private);
        };
        if certificate.key().ed25519() != Some(*pair.pk) {
            return Err(KeyError::Private);
        }
        let signer = SigningKey::try_from(key::seed(&pair)).map_err(|_| KeyError::Private)?;
        Ok(OperationalKey { pair, signer, certificate, identity })
    }

    /// The identity for which it speaks.
    pub fn cn(&self) -> Cn {
        self.certificate.cn()
    }

    /// The address of that identity.
    pub fn address(&self) -> Ipv6Addr {
        self.identity.address()
    }

    /// Its epoch.
    pub fn epoch(&self) -> u32 {
        self.certificate.epoch()
    }

    /// Signs, Ed25519.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signer.sign(message).to_bytes()
    }

    /// Its certificate.
    pub fn certificate(&self) -> &OperationalCertificate {
        &self.certificate
    }

    /// The octets of its certificate.
    pub fn certificate_der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// The certificate of the identity.
    pub fn identity_certificate(&self) -> &IdentityCertificate {
        &self.identity
    }

    /// The octets of the certificate of the identity.
    pub fn identity_certificate_der(&self) -> &[u8] {
        self.identity.der()
    }

    /// The secret seed, for a transport that takes the key as its own.
    pub fn ed25519_seed(&self) -> Zeroizing<[u8; 32]> {
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(key::seed(&self.pair));
        seed
    }

    /// The private key as PKCS#8, for a container.
    pub(crate) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        PrivateKey::Ed25519(self.pair.clone()).pkcs8()
    }
}

impl fmt::Debug for OperationalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationalKey({}, epoch {}, secret)", self.cn(), self.epoch())
    }
}
