// SPDX-License-Identifier: GPL-2.0-or-later
//! Building bundles: a statement, signed with the operational key, ready to be put under its key.
//!
//! Every bundle carries the writer's IDENTITY, signed anew for that key. The caller keeps one [`Sequence`] for all that it
//! publishes with an identity, across restarts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::{Network, OperationalKey, Revocation, SignatureAlgorithm};
use wire::address::EidPrefix;

use crate::error::{Malformed, PublishError};
use crate::limits;
use crate::record::{self, Body, Bundle, Class, Flags, Identity, Index, Mapping, Prefix, RecordKey, Section, Version};

/// The last sequence that was used, in milliseconds since 1970; to be kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The next sequence: the time, or one more than the last if that is not less.
    ///
    /// # Errors
    /// [`PublishError::ClockBehind`] if nobody would accept it now.
    pub fn next(&mut self, now: SystemTime) -> Result<u64, PublishError> {
        let now = u64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let next = self.0.saturating_add(1).max(now);
        let ahead = Duration::from_millis(next - now);
        if ahead > limits::CLOCK_SKEW {
            return Err(PublishError::ClockBehind(ahead));
        }
        self.0 = next;
        Ok(next)
    }
}

/// A bundle ready to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where.
    pub key: RecordKey,
    /// What.
    pub value: Vec<u8>,
    /// Its sequence; a page that points to this one may name it as the lowest acceptable.
    pub sequence: u64,
}

/// Which kind of index page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Delegations and sites: holds for 24 h.
    Delegations,
    /// A registrar's list of live more-specifics: holds for 1 h.
    Live,
}

/// The mapping of the key's own CGEID.
///
/// # Errors
/// When the mapping does not fit, or the clock or the certificate do not allow signing.
pub fn mapping(
    signer: &OperationalKey,
    network: Network,
    mapping: Mapping,
    now: SystemTime,
    sequence: &mut Sequence,
) -> Result<Publication, PublishError> {
    let key = RecordKey::node(network, signer.cn());
    publish(signer, key, Statement::new(Body::Mapping(mapping)), now, sequence)
}

/// There is no mapping of the key's own CGEID any more.
///
/// # Errors
/// As [`mapping`].
pub fn withdraw_mapping(
    signer: &OperationalKey,
    network: Network,
    now: SystemTime,
    sequence: &mut Sequence,
) -> Result<Publication, PublishError> {
    let key = RecordKey::node(network, signer.cn());
    publish(signer, key, Statement::withdrawing(Body::Mapping(Mapping::none())), now, sequence)
}

/// The mapping of a prefix that the key's owner is the registrar of.
///
/// # Errors
/// As [`mapping`].
pub fn prefix(
    signer: &OperationalKey,
    network: Network,
    prefix: Prefix,
    now: SystemTime,
    sequence: &mut Sequence,
) -> Result<Publication, PublishError> {
    let key = RecordKey::prefix(network, signer.cn(), prefix.prefix);
    publish(signer, key, Statement::new(Body::Prefix(prefix)), now, sequence)
}

/// The prefix is not registered with the key's owner any more.
///
/// # Errors
/// As [`mapping`].
pub fn withdraw_prefix(
    signer: &OperationalKey,
    network: Network,
    prefix: EidPrefix,
    now: SystemTime,
    sequence: &mut Sequence,
) -> Result<Publication, PublishError> {
    let key = RecordKey::prefix(network, signer.cn(), prefix);
    publish(signer, key, Statement::withdrawing(Body::Prefix(Prefix::none(prefix))), now, sequence)
}

/// An index page.
///
/// # Errors
/// As [`mapping`].
pub fn index(
    signer: &OperationalKey,
    network: Network,
    page: Index,
    kind: PageKind,
    now: SystemTime,
    sequence: &mut Sequence,
) -> Result<Publication, PublishError> {
    let key = RecordKey::index(network, signer.cn(), page.covering());
    let mut statement = Statement::new(Body::Index(page));
    if kind == PageKind::Live {
        statement.lifetime = limits::LIVE_INDEX_LIFETIME;
    }
    publish(signer, key, statement, now, sequence)
}

/// The key's owner has no index page for this prefix any more.
///
/// # Errors
/// As [`mapping`].
pub fn withdraw_index(
    signer: &OperationalKey,
    network: Network,
    covering: EidPrefix,
    now: SystemTime,
    sequence: &mut Sequence,
) -> Result<Publication, PublishError> {
    let key = RecordKey::index(network, signer.cn(), covering);
    let page = Index::new(covering, Vec::new()).map_err(not_bundled)?;
    publish(signer, key, Statement::withdrawing(Body::Index(page)), now, sequence)
}

/// A statement that revokes an identity: its owner has signed it long ago, and whoever has it can publish it.
///
/// # Errors
/// [`PublishError::TooLarge`] when its certificate is longer than a section can hold.
pub fn revocation(statement: &Revocation) -> Result<Publication, PublishError> {
    let too_large = |size| PublishError::TooLarge(Class::Revocation, size);
    let section = record::Revocation::section(statement).ok_or(too_large(usize::MAX))?;
    let size = section.encode()?.len();
    if size > Class::Revocation.max_size() {
        return Err(too_large(size));
    }
    let (key, sequence) =
        (RecordKey::node(statement.certificate().network(), statement.cn()), section.version.sequence);
    let value = Bundle::new(vec![section]).map_err(not_bundled)?.encode()?;
    Ok(Publication { key, value, sequence })
}

/// What is to be signed.
struct Statement {
    body: Body,
    withdrawn: bool,
    lifetime: Duration,
}

impl Statement {
    fn new(body: Body) -> Self {
        let lifetime = body.class().max_lifetime();
        Self { body, withdrawn: false, lifetime }
    }

    fn withdrawing(body: Body) -> Self {
        Self { withdrawn: true, ..Self::new(body) }
    }
}

fn publish(
    signer: &OperationalKey,
    key: RecordKey,
    statement: Statement,
    now: SystemTime,
    sequence: &mut Sequence,
) -> Result<Publication, PublishError> {
    let certificate = signer.certificate();
    certificate.check_dates(now).map_err(|_| PublishError::CertificateExpired)?;
    let mut next = *sequence;
    let version = Version { epoch: signer.epoch(), sequence: next.next(now)? };
    let identity = Body::Identity(Identity {
        certificate: signer.identity_certificate_der().into(),
        operational: vec![signer.certificate_der().into()],
        unknown: Vec::new(),
    });
    // The IDENTITY section ends with the certificate that it is signed under, so that stores do not hold dead ones.
    let left = certificate.not_after().duration_since(version.signed_at()).unwrap_or_default();
    let whole = Duration::from_secs(left.as_secs()).min(limits::IDENTITY_LIFETIME);
    let identity = Statement { body: identity, withdrawn: false, lifetime: whole };
    let sections = vec![sign(signer, &key, identity, version)?, sign(signer, &key, statement, version)?];
    let value = Bundle::new(sections).map_err(not_bundled)?.encode()?;
    *sequence = next;
    Ok(Publication { key, value, sequence: version.sequence })
}

fn sign(
    signer: &OperationalKey,
    key: &RecordKey,
    statement: Statement,
    version: Version,
) -> Result<Section, PublishError> {
    let class = statement.body.class();
    let mut section = Section {
        flags: Flags { by_identity: false, withdrawn: statement.withdrawn },
        cn: signer.cn(),
        version,
        lifetime: statement.lifetime,
        body: statement.body,
        algorithm: SignatureAlgorithm::Ed25519,
        signature: Box::default(),
    };
    section.signature = signer.sign(&section.signed_bytes(key)?).into();
    let size = section.encode()?.len();
    if size > class.max_size() {
        return Err(PublishError::TooLarge(class, size));
    }
    Ok(section)
}

/// Two sections of different classes with an IDENTITY first are always a bundle, and an empty page always a page.
fn not_bundled(_: Malformed) -> PublishError {
    PublishError::TooLarge(Class::Identity, usize::MAX)
}
