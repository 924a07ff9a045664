// SPDX-License-Identifier: GPL-2.0-or-later
//! The self-signed certificate of an identity key.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::frame::{self, Draft};
use super::profile;
use crate::cn::{Cn, Network};
use crate::error::{CertificateError, SignatureError};
use crate::key::{PrivateKey, PublicKey, SignatureAlgorithm};
use crate::limits::{DAY, TEMPORARY_CERTIFICATE_LIFETIME};

/// The last second that X.509 can say: the end of a certificate that does not expire (RFC 5280 4.1.2.5).
const NEVER: Duration = Duration::from_secs(253_402_300_799);

/// notBefore is rounded down to this, so that it tells little about when its owner sat at the machine.
const GRANULARITY: Duration = Duration::from_secs(3600);

/// A verified identity certificate. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct IdentityCertificate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    der: Vec<u8>,
    cn: Cn,
    network: Network,
    key: PublicKey,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl IdentityCertificate {
    /// Verifies a certificate, from wherever it came, as the proof that its key owns the address that it names in
    /// `network`. The name is recomputed from the key before any signature is checked.
    ///
    /// # Errors
    /// [`CertificateError`] names the first rule that is broken.
    pub fn verify(der: &[u8], network: Network, now: SystemTime) -> Result<IdentityCertificate, CertificateError> {
        IdentityCertificate::check(der, network, Some(now))
    }

    /// [`IdentityCertificate::verify`] but for the dates, which need only make sense: for statements that outlive the
    /// certificate, as a revocation does.
    ///
    /// # Errors
    /// As there.
    pub fn verify_undated(der: &[u8], network: Network) -> Result<IdentityCertificate, CertificateError> {
        IdentityCertificate::check(der, network, None)
    }

    /// Without a time the dates do not matter.
    pub(crate) fn check(
        der: &[u8],
        network: Network,
        now: Option<SystemTime>,
    ) -> Result<IdentityCertificate, CertificateError> {
        let parsed = frame::parse(der)?;
        let computed = parsed.key.cn();
        if parsed.subject != computed {
            return Err(CertificateError::CnMismatch { named: parsed.subject, computed });
        }
        if parsed.issuer != parsed.subject {
            return Err(CertificateError::IssuerDiffers { issuer: parsed.issuer, subject: parsed.subject });
        }
        if computed.is_reserved() {
            return Err(CertificateError::Reserved { cn: computed });
        }
        parsed.check_extensions(&profile::identity(&parsed.key, computed.address(network))?)?;
        // Its own first second lies in its life, unless the dates make no sense.
        parsed.check_dates(now.unwrap_or(parsed.not_before))?;
        parsed.check_signature(&parsed.key)?;
        let (not_before, not_after) = (parsed.not_before, parsed.not_after);
        let inner = Inner { der: der.to_vec(), cn: computed, network, key: parsed.key, not_before, not_after };
        Ok(IdentityCertificate { inner: Arc::new(inner) })
    }

    /// The name: the first 96 bits of the key's hash.
    pub fn cn(&self) -> Cn {
        self.inner.cn
    }

    /// The network for which it was verified.
    pub fn network(&self) -> Network {
        self.inner.network
    }

    /// The address that the key owns.
    pub fn address(&self) -> Ipv6Addr {
        self.inner.cn.address(self.inner.network)
    }

    /// The certificate's octets.
    pub fn der(&self) -> &[u8] {
        &self.inner.der
    }

    /// The identity key.
    pub fn key(&self) -> &PublicKey {
        &self.inner.key
    }

    /// What the identity key signs with.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.inner.key.signature_algorithm()
    }

    /// SHA-512 of the SubjectPublicKeyInfo, to pin: two keys with one name are a collision made by their owner.
    pub fn fingerprint(&self) -> &[u8; 64] {
        self.inner.key.fingerprint()
    }

    /// First second of its life.
    pub fn not_before(&self) -> SystemTime {
        self.inner.not_before
    }

    /// Last second of its life; the end of the year 9999 for one that does not expire.
    pub fn not_after(&self) -> SystemTime {
        self.inner.not_after
    }

    /// Whether it expires: a static identity does not.
    pub fn is_temporary(&self) -> bool {
        self.inner.not_after < UNIX_EPOCH + NEVER
    }

    /// Checks the dates alone, for a certificate that was verified earlier.
    ///
    /// # Errors
    /// [`CertificateError::NotYetValid`], [`CertificateError::Expired`].
    pub fn check_dates(&self, now: SystemTime) -> Result<(), CertificateError> {
        frame::check_dates(self.inner.not_before, self.inner.not_after, now)
    }

    /// Checks a signature of the identity key.
    ///
    /// # Errors
    /// As [`PublicKey::verify`].
    pub fn verify_signature(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        self.inner.key.verify(algorithm, message, signature)
    }
}

impl PartialEq for IdentityCertificate {
    fn eq(&self, other: &IdentityCertificate) -> bool {
        self.inner.der == other.inner.der && self.inner.network == other.inner.network
    }
}

impl Eq for IdentityCertificate {}

/// How long a certificate is to live, and how much it may tell about the time when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// For ever; the serial number is the millisecond of issue.
    Static,
    /// [`TEMPORARY_CERTIFICATE_LIFETIME`] from 00:00 UTC of the day of issue. Serial number and dates are those of that
    /// midnight, so all temporary certificates of a day look alike: a millisecond would be enough to tell which node
    /// made which, with what was published when. The key issues no second identity certificate, so its serial number
    /// need not differ from another.
    Temporary,
}

/// Issues the certificate of `key` to itself.
pub(crate) fn issue(
    key: &PrivateKey,
    network: Network,
    now: SystemTime,
    life: Life,
) -> Result<IdentityCertificate, CertificateError> {
    let public = key.public_key()?;
    let algorithm = public.signature_algorithm();
    let (issued, not_before, not_after) = match life {
        Life::Static => (now, round_down(now, GRANULARITY)?, None),
        Life::Temporary => {
            let midnight = round_down(now, DAY)?;
            let end = midnight.checked_add(TEMPORARY_CERTIFICATE_LIFETIME).ok_or(CertificateError::Dates)?;
            (midnight, midnight, Some(end))
        }
    };
    let draft = Draft {
        cn: public.cn(),
        spki: public.spki().to_vec(),
        issued,
        not_before,
        not_after,
        extensions: profile::identity(&public, public.cn().address(network))?,
    };
    IdentityCertificate::verify(&frame::issue(draft, key, algorithm)?, network, now)
}

fn round_down(time: SystemTime, unit: Duration) -> Result<SystemTime, CertificateError> {
    let since_1970 = time.duration_since(UNIX_EPOCH).map_err(|_| CertificateError::Dates)?.as_secs();
    Ok(UNIX_EPOCH + Duration::from_secs(since_1970 - since_1970 % unit.as_secs()))
}
