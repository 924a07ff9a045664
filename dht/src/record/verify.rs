// SPDX-License-Identifier: GPL-2.0-or-later
//! All that a reader checks of a bundle, cheap things first, signatures last. A store asks its own questions in between.

use std::time::SystemTime;

use cgeid::{CertificateError, Cn, IdentityCertificate, Network, OperationalCertificate, SignatureAlgorithm};
use sha2::{Digest, Sha256};

use super::{Body, Bundle, Class, Form, Recent, RecordKey, Section, Subject, revocation};
use crate::error::{Malformed, Refusal};
use crate::limits;

/// A bundle whose every section was signed by the key's owner and holds now.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The bundle.
    pub bundle: Bundle,
    /// Who its owner is.
    pub identity: IdentityCertificate,
    /// Epochs of the operational keys that may sign for the owner now.
    pub epochs: Vec<u32>,
}

impl Verified {
    /// Whether the owner has revoked its identity.
    pub fn is_revoked(&self) -> bool {
        self.bundle.revocation().is_some()
    }
}

/// Checks `value`, found under `key`.
///
/// # Errors
/// The first check that fails.
pub fn verify(
    network: Network,
    key: &RecordKey,
    value: &[u8],
    now: SystemTime,
    cache: &mut CertificateCache,
) -> Result<Verified, Refusal> {
    let form = check_form(network, key, value)?;
    check_times(&form.bundle, now)?;
    let chain = Chain::open(network, key, &form.bundle, now, cache)?;
    for (section, octets) in form.sections() {
        check_signature(key, section, octets, &chain, cache)?;
    }
    let epochs = chain.operational.iter().map(OperationalCertificate::epoch).collect();
    Ok(Verified { bundle: form.bundle, identity: chain.identity, epochs })
}

/// Size, network, canonical form, and whether each section may stand under this key.
pub(crate) fn check_form<'a>(network: Network, key: &RecordKey, value: &'a [u8]) -> Result<Form<'a>, Refusal> {
    if value.len() > limits::BUNDLE_SIZE {
        return Err(Refusal::TooLarge(value.len()));
    }
    if key.network != network {
        return Err(Refusal::OtherNetwork);
    }
    let form = Form::read(value)?;
    for (section, octets) in form.sections() {
        check_place(key, section, octets.len())?;
    }
    if key.statement().is_some_and(|class| form.bundle.section(class).is_none()) {
        return Err(Refusal::Malformed(Malformed::Missing("the statement that the key is for")));
    }
    Ok(form)
}

fn check_place(key: &RecordKey, section: &Section, size: usize) -> Result<(), Refusal> {
    let class = section.class();
    let in_place = match key.subject {
        Subject::Node => !matches!(class, Class::Prefix | Class::Index),
        Subject::Prefix(_) => matches!(class, Class::Identity | Class::Prefix),
        Subject::Index(_) => matches!(class, Class::Identity | Class::Index),
    };
    if !in_place {
        return Err(Refusal::MisplacedClass(class));
    }
    if size > class.max_size() {
        return Err(Refusal::SectionTooLarge(class, size));
    }
    if class == Class::Revocation {
        revocation::check_fixed(section)?;
    }
    let flags = section.flags;
    if (flags.withdrawn && class == Class::Identity)
        || (!flags.by_identity && section.algorithm != SignatureAlgorithm::Ed25519)
    {
        return Err(Refusal::Flags(class));
    }
    let same_prefix = match (&key.subject, &section.body) {
        (Subject::Prefix(prefix), Body::Prefix(body)) => body.prefix == *prefix,
        (Subject::Index(covering), Body::Index(body)) => body.covering() == *covering,
        _ => true,
    };
    if !same_prefix {
        return Err(Refusal::OtherPrefix(class));
    }
    if section.cn != key.writer {
        return Err(Refusal::OtherOwner(class, section.cn));
    }
    Ok(())
}

/// Signed no later than the clocks' tolerance allows, not expired, no longer-lived than the class may be. Of a REVOCATION
/// no time counts: the one at which it was made is proven by nothing, and how long it is kept is its store's to know.
pub(crate) fn check_times(bundle: &Bundle, now: SystemTime) -> Result<(), Refusal> {
    for section in bundle.sections().iter().filter(|section| section.class() != Class::Revocation) {
        let (class, signed_at) = (section.class(), section.version.signed_at());
        if signed_at > now + limits::CLOCK_SKEW {
            return Err(Refusal::FromTheFuture(class, signed_at));
        }
        if section.expires_at() <= now {
            return Err(Refusal::Expired(class, section.expires_at()));
        }
        if section.lifetime > class.max_lifetime() {
            return Err(Refusal::Lifetime(class, section.lifetime));
        }
    }
    Ok(())
}

/// The certificates of a bundle, verified.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) identity: IdentityCertificate,
    operational: Vec<OperationalCertificate>,
    /// Why a certificate of the bundle is of no use now; the others may do.
    unusable: Option<CertificateError>,
}

impl Chain {
    /// The identity certificate must be the key owner's; operational certificates must be its, and one that is not
    /// valid at `now` (next month's) merely proves nothing.
    pub(crate) fn open(
        network: Network,
        key: &RecordKey,
        bundle: &Bundle,
        now: SystemTime,
        cache: &mut CertificateCache,
    ) -> Result<Self, Refusal> {
        let identity = match (bundle.identity(), bundle.revocation()) {
            (Some(body), _) => cache.identity(network, &body.certificate, Some(now)),
            (None, Some((_, body))) => cache.identity(network, &body.certificate, None),
            (None, None) => return Err(Refusal::Malformed(Malformed::Missing("IDENTITY section"))),
        };
        let identity = identity.map_err(Refusal::IdentityCertificate)?;
        if identity.cn() != key.writer {
            return Err(Refusal::OtherIdentity(identity.cn()));
        }
        let mut chain = Self { identity, operational: Vec::new(), unusable: None };
        for der in bundle.identity().iter().flat_map(|body| &body.operational) {
            match cache.operational(&chain.identity, der, now) {
                Ok(certificate) => chain.operational.push(certificate),
                Err(error @ (CertificateError::Expired { .. } | CertificateError::NotYetValid { .. })) => {
                    chain.unusable = Some(error);
                }
                Err(error) => return Err(Refusal::OperationalCertificate(error)),
            }
        }
        Ok(chain)
    }

    /// Whether every certificate beside the statements is of use now: then whatever they proved before they prove still.
    pub(crate) fn is_whole(&self) -> bool {
        self.unusable.is_none()
    }

    /// The certificates whose key may sign a section of this epoch.
    pub(crate) fn of_epoch(&self, epoch: u32) -> impl Iterator<Item = &OperationalCertificate> {
        self.operational.iter().filter(move |certificate| certificate.epoch() == epoch)
    }
}

/// The signature over this section under this key is the identity key's, or that of an operational key whose certificate has
/// the section's epoch. Given are the octets of the section too, as they were read.
pub(crate) fn check_signature(
    key: &RecordKey,
    section: &Section,
    octets: &[u8],
    chain: &Chain,
    cache: &mut CertificateCache,
) -> Result<(), Refusal> {
    let class = section.class();
    if let Body::Revocation(body) = &section.body {
        cache.signatures += 1;
        let holds = revocation::holds(section, body, &chain.identity);
        return if holds { Ok(()) } else { Err(Refusal::Signature(class)) };
    }
    let message = section.signed_of(key, octets);
    if class != Class::Identity {
        return check_signers(section, &message, chain, cache);
    }
    // The same octets under the same key with each statement, for a month; the certificates that prove them are in them.
    let hash: Hash = Sha256::new().chain_update(&message).chain_update(&section.signature).finalize().into();
    if chain.is_whole() && cache.introductions.get(&hash).is_some() {
        return Ok(());
    }
    check_signers(section, &message, chain, cache)?;
    cache.introductions.insert(hash, ());
    Ok(())
}

fn check_signers(
    section: &Section,
    message: &[u8],
    chain: &Chain,
    cache: &mut CertificateCache,
) -> Result<(), Refusal> {
    let (class, epoch) = (section.class(), section.version.epoch);
    let holds = if section.flags.by_identity {
        // The identity key needs nobody's certificate: its word outlasts the operational keys.
        cache.signatures += 1;
        Some(chain.identity.verify_signature(section.algorithm, message, &section.signature).is_ok())
    } else {
        let mut signers = chain.of_epoch(epoch).peekable();
        signers.peek().is_some().then(|| {
            signers.any(|signer| {
                cache.signatures += 1;
                signer.verify_signature(section.algorithm, message, &section.signature).is_ok()
            })
        })
    };
    match (holds, &chain.unusable) {
        (Some(true), _) => Ok(()),
        (Some(false), _) => Err(Refusal::Signature(class)),
        (None, Some(error)) => Err(Refusal::OperationalCertificate(error.clone())),
        (None, None) => Err(Refusal::Epoch(class, epoch)),
    }
}

/// What was verified before, by hash: certificates, whose dates are checked again at each use, and IDENTITY sections.
#[derive(Debug)]
pub struct CertificateCache {
    identities: Recent<Hash, IdentityCertificate>,
    operational: Recent<Hash, OperationalCertificate>,
    introductions: Recent<Hash, ()>,
    signatures: u64,
}

/// SHA-256 of all that a certificate's verification depends on.
type Hash = [u8; 32];

impl Default for CertificateCache {
    fn default() -> Self {
        Self {
            identities: Recent::new(limits::CERTIFICATES),
            operational: Recent::new(limits::CERTIFICATES),
            introductions: Recent::new(limits::CERTIFICATES),
            signatures: 0,
        }
    }
}

impl CertificateCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Signatures of sections that were checked so far: what admission costs.
    pub fn signatures(&self) -> u64 {
        self.signatures
    }

    /// Without a time its dates do not matter.
    pub(crate) fn identity(
        &mut self,
        network: Network,
        der: &[u8],
        now: Option<SystemTime>,
    ) -> Result<IdentityCertificate, CertificateError> {
        let hash: Hash = Sha256::new().chain_update(network.0).chain_update(der).finalize().into();
        if let Some(known) = self.identities.get(&hash) {
            return now.map_or(Ok(()), |now| known.check_dates(now)).map(|()| known.clone());
        }
        let certificate = match now {
            Some(now) => IdentityCertificate::verify(der, network, now)?,
            None => IdentityCertificate::verify_undated(der, network)?,
        };
        self.identities.insert(hash, certificate.clone());
        Ok(certificate)
    }

    pub(crate) fn operational(
        &mut self,
        identity: &IdentityCertificate,
        der: &[u8],
        now: SystemTime,
    ) -> Result<OperationalCertificate, CertificateError> {
        let Cn(cn) = identity.cn();
        let mut hash = Sha256::new();
        hash.update(identity.fingerprint());
        hash.update(cn);
        hash.update(der);
        let hash: Hash = hash.finalize().into();
        if let Some(known) = self.operational.get(&hash) {
            return known.check_dates(now).map(|()| known.clone());
        }
        let certificate = OperationalCertificate::verify(der, identity, now)?;
        self.operational.insert(hash, certificate.clone());
        Ok(certificate)
    }
}
