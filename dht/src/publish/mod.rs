// SPDX-License-Identifier: GPL-2.0-or-later
//! Building bundles: a statement, signed with the operational key, ready to be put under its key.
//!
//! Every bundle carries the writer's IDENTITY, signed for that key. It says nothing but what the certificates say, so it has
//! the same octets each time that it is published: a store which holds it checks one signature of a renewal, that of the
//! news. The caller keeps one [`Sequence`] for all that it publishes with an identity, across restarts.

mod schedule;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::{Network, OperationalCertificate, OperationalKey, Revocation, SignatureAlgorithm};
use sha2::{Digest, Sha256};
use wire::address::EidPrefix;

use crate::error::{Malformed, PublishError};
use crate::limits;
use crate::record::{
    self, Body, Bundle, Class, Flags, Identity, Index, Mapping, Prefix, RecordKey, Section, Service, Topology, Version,
};

pub use self::schedule::{Due, Schedule};

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

    /// Where to go on from by a clock that its peers say is right. What is ahead of it by more than anybody accepts was signed by a clock that
    /// was ahead, and nobody whose clock is right has taken it: it counts for nothing, or nothing could be published until the time has
    /// come to it.
    #[must_use]
    pub fn by_right_clock(self, now: SystemTime) -> Self {
        let mut tried = self;
        if tried.next(now).is_ok() { self } else { Self::default() }
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

/// What is to be signed: a body, or that there is none any more, and for how long that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    body: Body,
    withdrawn: bool,
    lifetime: Duration,
}

impl Statement {
    /// A statement that holds for as long as its class may.
    fn new(body: Body) -> Self {
        let lifetime = body.class().max_lifetime();
        Self { body, withdrawn: false, lifetime }
    }

    fn withdrawing(body: Body) -> Self {
        Self { withdrawn: true, ..Self::new(body) }
    }

    /// Where the writer's CGEID is reached.
    pub fn mapping(mapping: Mapping) -> Self {
        Self::new(Body::Mapping(mapping))
    }

    /// Who its neighbours are, and where it is.
    pub fn topology(topology: Topology) -> Self {
        Self::new(Body::Topology(topology))
    }

    /// What it does for others.
    pub fn service(service: Service) -> Self {
        Self::new(Body::Service(service))
    }

    /// What the writer said before in this class holds no more; `None` for classes that a node does not say of itself.
    pub fn withdrawal(class: Class) -> Option<Self> {
        match class {
            Class::Mapping => Some(Self::withdrawing(Body::Mapping(Mapping::none()))),
            Class::Topology => Some(Self::withdrawing(Body::Topology(Topology::default()))),
            Class::Service => Some(Self::withdrawing(Body::Service(Service::default()))),
            Class::Identity | Class::Revocation | Class::Prefix | Class::Index => None,
        }
    }

    /// The statement for a shorter time; a longer one than the class allows has no effect.
    #[must_use]
    pub fn lasting(self, lifetime: Duration) -> Self {
        let lifetime = lifetime.min(self.body.class().max_lifetime());
        Self { lifetime, ..self }
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.body.class()
    }

    /// What it says.
    pub fn body(&self) -> &Body {
        &self.body
    }
}

/// What a node says of itself, all in one bundle: statements of different classes, each for its own time. What stores hold of
/// a class that is not among them stays as it is.
///
/// # Errors
/// As [`mapping`]; [`PublishError::NotOfNode`] for two statements of one class, none at all, or one that has no place
/// there.
pub fn node(
    signer: &OperationalKey,
    network: Network,
    statements: Vec<Statement>,
    now: SystemTime,
    sequence: &mut Sequence,
) -> Result<Publication, PublishError> {
    let mut classes: Vec<Class> = statements.iter().map(Statement::class).collect();
    classes.sort_unstable();
    classes.dedup();
    let own = |class: &Class| Statement::withdrawal(*class).is_some();
    if classes.is_empty() || classes.len() < statements.len() || !classes.iter().all(own) {
        return Err(PublishError::NotOfNode(classes));
    }
    publish(signer, RecordKey::node(network, signer.cn()), statements, now, sequence)
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
    publish(signer, key, vec![Statement::mapping(mapping)], now, sequence)
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
    publish(signer, key, vec![Statement::withdrawing(Body::Mapping(Mapping::none()))], now, sequence)
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
    publish(signer, key, vec![Statement::new(Body::Prefix(prefix))], now, sequence)
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
    publish(signer, key, vec![Statement::withdrawing(Body::Prefix(Prefix::none(prefix)))], now, sequence)
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
    let statement = Statement::new(Body::Index(page));
    let statement = match kind {
        PageKind::Live => statement.lasting(limits::LIVE_INDEX_LIFETIME),
        PageKind::Delegations => statement,
    };
    publish(signer, key, vec![statement], now, sequence)
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
    publish(signer, key, vec![Statement::withdrawing(Body::Index(page))], now, sequence)
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

fn publish(
    signer: &OperationalKey,
    key: RecordKey,
    statements: Vec<Statement>,
    now: SystemTime,
    sequence: &mut Sequence,
) -> Result<Publication, PublishError> {
    signer.certificate().check_dates(now).map_err(|_| PublishError::CertificateExpired)?;
    let mut next = *sequence;
    let version = Version { epoch: signer.epoch(), sequence: next.next(now)? };
    let mut sections = vec![identity(signer, &key)?];
    for statement in statements {
        sections.push(sign(signer, &key, statement, version)?);
    }
    let value = Bundle::new(sections).map_err(not_bundled)?.encode()?;
    *sequence = next;
    Ok(Publication { key, value, sequence: version.sequence })
}

/// The IDENTITY section under a key: a function of the certificates and the key alone.
///
/// It holds from the first second of the operational certificate to its last, so that stores do not hold dead ones, and a key
/// that was delegated later, also in one month, takes the place of an earlier one. Two that begin in one second cannot be told
/// by that: their hashes then decide, the same way everywhere. All of a temporary identity begins at a midnight, so its
/// IDENTITY tells no more of when it was made than its certificates do.
fn identity(signer: &OperationalKey, key: &RecordKey) -> Result<Section, PublishError> {
    let certificate = signer.certificate();
    let begin = certificate.not_before().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let sequence = begin.saturating_mul(1000).saturating_add(hash_of(certificate));
    let version = Version { epoch: signer.epoch(), sequence };
    let life = certificate.not_after().duration_since(version.signed_at()).unwrap_or_default();
    let lifetime = Duration::from_secs(life.as_secs()).min(limits::IDENTITY_LIFETIME);
    let body = Body::Identity(Identity {
        certificate: signer.identity_certificate_der().into(),
        operational: vec![certificate.der().into()],
        unknown: Vec::new(),
    });
    sign(signer, key, Statement { body, withdrawn: false, lifetime }, version)
}

/// A number below 1000: the milliseconds that the times of a certificate leave open.
fn hash_of(certificate: &OperationalCertificate) -> u64 {
    let hash = Sha256::digest(certificate.der());
    u64::from(u16::from_be_bytes([hash[0], hash[1]])) % 1000
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

/// Sections of different classes with an IDENTITY first are always a bundle, and an empty page always a page.
fn not_bundled(_: Malformed) -> PublishError {
    PublishError::TooLarge(Class::Identity, usize::MAX)
}
