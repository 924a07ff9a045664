// SPDX-License-Identifier: GPL-2.0-or-later
//! The identity: the key that owns an address. It signs operational keys and little else, so it can stay offline.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use ed25519_compact::KeyPair;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::certificate::{self, Delegation, IdentityCertificate, Life};
use crate::cn::{Cn, Network};
use crate::epoch;
use crate::error::{CertificateError, ContainerError, KeyError};
use crate::key::{self, PrivateKey, SignatureAlgorithm};
use crate::limits::{CLOCK_SKEW, KEY_TRIES};
use crate::operational::OperationalKey;
use crate::puzzle::{self, Mined, PuzzleBits};

/// What kind of key an identity has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSA, 4096 bits, e = 65537: what every tool reads.
    Rsa4096,
    /// Ed25519: small and quick.
    Ed25519,
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyAlgorithm::Rsa4096 => "rsa4096",
            KeyAlgorithm::Ed25519 => "ed25519",
        })
    }
}

impl From<SignatureAlgorithm> for KeyAlgorithm {
    fn from(algorithm: SignatureAlgorithm) -> KeyAlgorithm {
        match algorithm {
            SignatureAlgorithm::Ed25519 => KeyAlgorithm::Ed25519,
            SignatureAlgorithm::RsaPkcs1Sha512 => KeyAlgorithm::Rsa4096,
        }
    }
}

/// An identity key with its certificate.
pub struct Identity {
    key: PrivateKey,
    certificate: IdentityCertificate,
}

impl Identity {
    /// Makes an identity from the system's randomness. RSA takes about a second, now and then several.
    ///
    /// # Errors
    /// [`CertificateError::Key`] if the system gives no randomness, [`CertificateError::Dates`] if `now` is before
    /// 1970.
    pub fn generate(algorithm: KeyAlgorithm, network: Network, now: SystemTime) -> Result<Identity, CertificateError> {
        Identity::fresh(algorithm, network, now, Life::Static)
    }

    /// [`Identity::generate`] with RSA-4096.
    ///
    /// # Errors
    /// As there.
    pub fn generate_rsa4096(network: Network, now: SystemTime) -> Result<Identity, CertificateError> {
        Identity::generate(KeyAlgorithm::Rsa4096, network, now)
    }

    /// [`Identity::generate`] with Ed25519.
    ///
    /// # Errors
    /// As there.
    pub fn generate_ed25519(network: Network, now: SystemTime) -> Result<Identity, CertificateError> {
        Identity::generate(KeyAlgorithm::Ed25519, network, now)
    }

    /// Makes a temporary identity: an Ed25519 key of its own, with a certificate that expires after
    /// [`crate::limits::TEMPORARY_CERTIFICATE_LIFETIME`] and tells no more about `now` than its day.
    ///
    /// # Errors
    /// As [`Identity::generate`].
    pub fn generate_temporary(network: Network, now: SystemTime) -> Result<Identity, CertificateError> {
        Identity::fresh(KeyAlgorithm::Ed25519, network, now, Life::Temporary)
    }

    /// The temporary identity of a seed. The same seed gives, all day, the same octets of certificate.
    ///
    /// # Errors
    /// As [`Identity::from_seed`].
    pub fn temporary_from_seed(
        seed: &[u8; 32],
        network: Network,
        now: SystemTime,
    ) -> Result<Identity, CertificateError> {
        Identity::certify(PrivateKey::from_seed(seed)?, network, now, Life::Temporary)
    }

    /// The Ed25519 identity of a seed: the same seed gives the same address. The seed must be secret and random.
    ///
    /// # Errors
    /// [`CertificateError`] if the seed is all zero or gives a reserved CN.
    pub fn from_seed(seed: &[u8; 32], network: Network, now: SystemTime) -> Result<Identity, CertificateError> {
        Identity::of_key(PrivateKey::from_seed(seed)?, network, now)
    }

    /// The identity of a PKCS#8 private key (RFC 5958), with a new certificate.
    ///
    /// # Errors
    /// [`CertificateError::Key`] if the key breaks the profile.
    pub fn from_pkcs8(pkcs8: &[u8], network: Network, now: SystemTime) -> Result<Identity, CertificateError> {
        Identity::of_key(PrivateKey::from_pkcs8(pkcs8)?, network, now)
    }

    fn fresh(
        algorithm: KeyAlgorithm,
        network: Network,
        now: SystemTime,
        life: Life,
    ) -> Result<Identity, CertificateError> {
        for _ in 0..KEY_TRIES {
            match Identity::certify(PrivateKey::generate(algorithm)?, network, now, life) {
                Err(CertificateError::Reserved { .. }) => continue,
                made => return made,
            }
        }
        // 320 zero bits in a row are no chance: the randomness is broken.
        Err(CertificateError::Key(KeyError::Randomness))
    }

    /// The identity of a key, with a new certificate.
    pub(crate) fn of_key(key: PrivateKey, network: Network, now: SystemTime) -> Result<Identity, CertificateError> {
        Identity::certify(key, network, now, Life::Static)
    }

    fn certify(key: PrivateKey, network: Network, now: SystemTime, life: Life) -> Result<Identity, CertificateError> {
        let certificate = certificate::issue_identity(&key, network, now, life)?;
        Ok(Identity::new(key, certificate))
    }

    /// Joins a key and the certificate that was issued for it.
    pub(crate) fn new(key: PrivateKey, certificate: IdentityCertificate) -> Identity {
        Identity { key, certificate }
    }

    /// Joins a key and its certificate out of a container.
    pub(crate) fn from_parts(key: PrivateKey, certificate: IdentityCertificate) -> Result<Identity, ContainerError> {
        if key.public_key()?.spki() != certificate.key().spki() {
            return Err(ContainerError::KeyMismatch);
        }
        Ok(Identity { key, certificate })
    }

    /// The name.
    pub fn cn(&self) -> Cn {
        self.certificate.cn()
    }

    /// The address.
    pub fn address(&self) -> Ipv6Addr {
        self.certificate.address()
    }

    /// What kind of key it has.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.certificate.algorithm().into()
    }

    /// The public half.
    pub fn certificate(&self) -> &IdentityCertificate {
        &self.certificate
    }

    /// Signs with the identity key.
    ///
    /// # Errors
    /// [`KeyError::Sign`] if the library refuses.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key.sign(message)
    }

    /// Makes an operational key for the period that lies `months_ahead` periods after the one that `now` is in; 0 is
    /// a key for now. One for later is not valid before its period begins. None outlives the identity, and that of a
    /// temporary one has its first second too, and is the same one each time: what a node publishes after a restart must
    /// not look like the word of a second node, when nothing in it may tell which came later. That of any other
    /// solves the puzzle of a lab, [`PuzzleBits::LAB`].
    ///
    /// # Errors
    /// [`CertificateError`] if the system gives no randomness or `now` is out of range.
    pub fn delegate(&self, now: SystemTime, months_ahead: u32) -> Result<OperationalKey, CertificateError> {
        self.delegate_revision(now, months_ahead, 0)
    }

    /// [`Identity::delegate`] with a revision: a key that replaces one of the same month must have a higher one.
    ///
    /// # Errors
    /// As there.
    pub fn delegate_revision(
        &self,
        now: SystemTime,
        months_ahead: u32,
        revision: u8,
    ) -> Result<OperationalKey, CertificateError> {
        let epoch = self.epoch_ahead(now, months_ahead, revision)?;
        let mined = match &self.key {
            // The node of a temporary identity is that of its static one: its own key is no place in the hash table.
            PrivateKey::Ed25519(pair) if self.certificate.is_temporary() => {
                Mined { key: operational_of(pair, epoch)?, epoch }
            }
            _ => puzzle::mine(epoch, PuzzleBits::LAB)?,
        };
        self.delegate_mined(now, mined)
    }

    /// The epoch of a key for the period `months_ahead` periods after the one that `now` is in.
    ///
    /// # Errors
    /// [`CertificateError::Dates`] if that is beyond what certificates can say.
    pub fn epoch_ahead(&self, now: SystemTime, months_ahead: u32, revision: u8) -> Result<u32, CertificateError> {
        let period = epoch::period(self.cn(), now).checked_add(months_ahead).ok_or(CertificateError::Dates)?;
        Ok(epoch::epoch(period, revision))
    }

    /// Certifies a key that was mined for its epoch, that of `now` or a later one.
    ///
    /// # Errors
    /// [`CertificateError::Dates`] if the epoch is past, or `now` is out of range.
    pub fn delegate_mined(&self, now: SystemTime, mined: Mined) -> Result<OperationalKey, CertificateError> {
        let Mined { key, epoch } = mined;
        let (period, revision) = (epoch / epoch::REVISIONS, epoch % epoch::REVISIONS);
        let months_ahead = period.checked_sub(epoch::period(self.cn(), now)).ok_or(CertificateError::Dates)?;
        let begin = if months_ahead == 0 {
            now
        } else {
            epoch::period_start(self.cn(), period).ok_or(CertificateError::Dates)?
        };
        let own = &self.certificate;
        let (not_before, made) = if own.is_temporary() && months_ahead == 0 {
            // No more about the time than the identity's certificate tells.
            own.check_dates(now)?;
            (own.not_before(), own.not_before())
        } else {
            (begin.checked_sub(CLOCK_SKEW).ok_or(CertificateError::Dates)?, now)
        };
        // Serial numbers of one issuer must differ and rise, also when many keys are made in one millisecond.
        let turn = 1 + u64::from(months_ahead) * u64::from(epoch::REVISIONS) + u64::from(revision);
        let issued = made.checked_add(Duration::from_millis(turn)).ok_or(CertificateError::Dates)?;
        let delegation = Delegation { issued, not_before, epoch };
        let certificate = certificate::issue_operational(&key, &self.certificate, &self.key, &delegation)?;
        Ok(OperationalKey::new(key, certificate, self.certificate.clone())?)
    }

    /// The private key as PKCS#8, for a container.
    pub(crate) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.key.pkcs8()
    }
}

/// What the operational key of a temporary identity is made from, and nothing else of ours.
const OPERATIONAL_CONTEXT: &[u8] = b"IPv6MESH-temporary-op-v1\0";

/// The operational key of a temporary identity for an epoch: whoever has it knows nothing of the identity's.
fn operational_of(identity: &KeyPair, epoch: u32) -> Result<PrivateKey, KeyError> {
    let mut hash = Sha512::new();
    hash.update(OPERATIONAL_CONTEXT);
    hash.update(key::seed(identity));
    hash.update(epoch.to_be_bytes());
    let whole: Zeroizing<[u8; 64]> = Zeroizing::new(hash.finalize().into());
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&whole[..32]);
    PrivateKey::from_seed(&seed)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {}, secret)", self.cn(), self.algorithm())
    }
}
