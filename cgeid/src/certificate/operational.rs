// SPDX-License-Identifier: GPL-2.0-or-later
//! The certificate by which an identity key lets an Ed25519 key speak for it, for about a month.

use std::sync::Arc;
use std::time::SystemTime;

use der::Decode;

use super::frame::{self, Draft, Parsed};
use super::{IdentityCertificate, profile};
use crate::cn::Cn;
use crate::error::{CertificateError, SignatureError};
use crate::key::{PrivateKey, PublicKey, SignatureAlgorithm};
use crate::limits::OPERATIONAL_LIFETIME;

/// A verified operational certificate. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct OperationalCertificate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    der: Vec<u8>,
    cn: Cn,
    key: PublicKey,
    epoch: u32,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl OperationalCertificate {
    /// Verifies a certificate, from wherever it came, as the word of `identity` that its key speaks for it at `now`.
    ///
    /// # Errors
    /// [`CertificateError`] names the first rule that is broken.
    pub fn verify(
        der: &[u8],
        identity: &IdentityCertificate,
        now: SystemTime,
    ) -> Result<OperationalCertificate, CertificateError> {
        OperationalCertificate::check(der, identity, Some(now))
    }

    /// [`OperationalCertificate::verify`] but for the dates, which need only make sense: to tell what a key says that is
    /// for another month.
    ///
    /// # Errors
    /// As there.
    pub fn verify_undated(
        der: &[u8],
        identity: &IdentityCertificate,
    ) -> Result<OperationalCertificate, CertificateError> {
        OperationalCertificate::check(der, identity, None)
    }

    /// Without a time the dates do not matter.
    pub(crate) fn check(
        der: &[u8],
        identity: &IdentityCertificate,
        now: Option<SystemTime>,
    ) -> Result<OperationalCertificate, CertificateError> {
        let parsed = frame::parse(der)?;
        for found in [parsed.subject, parsed.issuer] {
            if found != identity.cn() {
                return Err(CertificateError::OtherIdentity { expected: identity.cn(), found });
            }
        }
        if parsed.key.signature_algorithm() != SignatureAlgorithm::Ed25519 {
            return Err(CertificateError::OperationalAlgorithm);
        }
        if parsed.key.spki() == identity.key().spki() {
            return Err(CertificateError::OperationalIsIdentity);
        }
        let epoch = read_epoch(&parsed)?;
        let mut extensions = profile::operational(&parsed.key, identity.key())?;
        extensions.push((profile::EPOCH_NAME, profile::epoch(epoch)?));
        parsed.check_extensions(&extensions)?;
        if let Some(now) = now {
            // An identity that was verified long ago may have expired since.
            identity.check_dates(now)?;
        }
        // Its own first second lies in its life, unless the dates make no sense.
        parsed.check_dates(now.unwrap_or(parsed.not_before))?;
        let life = parsed.not_after.duration_since(parsed.not_before).map_err(|_| CertificateError::Dates)?;
        if life > OPERATIONAL_LIFETIME {
            return Err(CertificateError::LivesTooLong);
        }
        if parsed.not_after > identity.not_after() {
            return Err(CertificateError::OutlivesIdentity);
        }
        parsed.check_signature(identity.key())?;
        let (not_before, not_after) = (parsed.not_before, parsed.not_after);
        let inner = Inner { der: der.to_vec(), cn: parsed.subject, key: parsed.key, epoch, not_before, not_after };
        Ok(OperationalCertificate { inner: Arc::new(inner) })
    }

    /// The identity for which the key speaks.
    pub fn cn(&self) -> Cn {
        self.inner.cn
    }

    /// The certificate's octets.
    pub fn der(&self) -> &[u8] {
        &self.inner.der
    }

    /// The operational key.
    pub fn key(&self) -> &PublicKey {
        &self.inner.key
    }

    /// The epoch: a higher one supersedes all lower ones of the same identity.
    pub fn epoch(&self) -> u32 {
        self.inner.epoch
    }

    /// First second of its life.
    pub fn not_before(&self) -> SystemTime {
        self.inner.not_before
    }

    /// Last second of its life.
    pub fn not_after(&self) -> SystemTime {
        self.inner.not_after
    }

    /// Checks the dates alone, for a certificate that was verified earlier.
    ///
    /// # Errors
    /// [`CertificateError::NotYetValid`], [`CertificateError::Expired`].
    pub fn check_dates(&self, now: SystemTime) -> Result<(), CertificateError> {
        frame::check_dates(self.inner.not_before, self.inner.not_after, now)
    }

    /// Checks a signature of the operational key.
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

impl PartialEq for OperationalCertificate {
    fn eq(&self, other: &OperationalCertificate) -> bool {
        self.inner.der == other.inner.der
    }
}

impl Eq for OperationalCertificate {}

fn read_epoch(parsed: &Parsed<'_>) -> Result<u32, CertificateError> {
    let name = profile::EPOCH_NAME;
    let extension = parsed.extension(&profile::epoch_id()?).ok_or(CertificateError::MissingExtension { name })?;
    u32::from_der(extension.value.as_bytes()).map_err(|_| CertificateError::Extension { name })
}

/// What an operational certificate is to say.
pub(crate) struct Delegation {
    pub(crate) issued: SystemTime,
    pub(crate) not_before: SystemTime,
    pub(crate) epoch: u32,
}

/// Issues a certificate for the operational key `key`, which ends with the identity's own if that is sooner. It is
/// verified as of its first second.
pub(crate) fn issue(
    key: &PrivateKey,
    identity: &IdentityCertificate,
    issuer: &PrivateKey,
    delegation: &Delegation,
) -> Result<OperationalCertificate, CertificateError> {
    let public = key.public_key()?;
    let mut extensions = profile::operational(&public, identity.key())?;
    extensions.push((profile::EPOCH_NAME, profile::epoch(delegation.epoch)?));
    // Beyond the identity's own end the key would speak for nobody.
    let month = delegation.not_before.checked_add(OPERATIONAL_LIFETIME).ok_or(CertificateError::Dates)?;
    let draft = Draft {
        cn: identity.cn(),
        spki: public.spki().to_vec(),
        issued: delegation.issued,
        not_before: delegation.not_before,
        not_after: Some(month.min(identity.not_after())),
        extensions,
    };
    let der = frame::issue(draft, issuer, identity.algorithm())?;
    OperationalCertificate::verify(&der, identity, delegation.not_before)
}
