// SPDX-License-Identifier: GPL-2.0-or-later
//! Keys that another tool wrote, or that had another life before.

use std::time::SystemTime;

use der::asn1::AnyRef;
use der::{Decode, Encode, Tagged};

use super::{Accept, Content, assemble, open, work};
use crate::certificate;
use crate::cn::Network;
use crate::error::ContainerError;
use crate::identity::Identity;
use crate::key::{PrivateKey, PublicKey};

/// What an import gave.
#[derive(Debug)]
pub struct Imported {
    /// The key with its certificate, verified.
    pub content: Content,
    /// Where the certificate comes from.
    pub origin: Origin,
}

/// Where the certificate of an imported key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there and is kept.
    Kept,
    /// None was there, so one was issued.
    Bare,
    /// The one that was there says nothing about a CGEID, so another was issued.
    Foreign,
}

/// Reads a PKCS#12 file of any tool. Its one key must fit the profile; the name is computed anew. A certificate of the
/// profile is kept, and refused if it does not verify; in place of any other, or of none, one is issued.
///
/// # Errors
/// [`ContainerError`] as for [`super::load`]; [`ContainerError::KeyMismatch`] if there are certificates, but none of
/// this key.
pub fn import(
    bytes: &[u8],
    password: &str,
    accept: Accept,
    network: Network,
    now: SystemTime,
) -> Result<Imported, ContainerError> {
    let (key, certificates) = open(bytes, password, accept)?;
    adopt(key, &certificates, network, now)
}

/// A key and whatever certificates came with it.
pub(super) fn adopt(
    key: PrivateKey,
    certificates: &[Vec<u8>],
    network: Network,
    now: SystemTime,
) -> Result<Imported, ContainerError> {
    let public = key.public_key()?;
    let own: Vec<_> = certificates.iter().filter(|der| spki(der).as_deref() == Some(public.spki())).collect();
    if own.iter().any(|der| is_of_profile(der, &public)) {
        return Ok(Imported { content: assemble(key, certificates, network, Some(now))?, origin: Origin::Kept });
    }
    let origin = match (certificates, own.as_slice()) {
        ([], _) => Origin::Bare,
        (_, []) => return Err(ContainerError::KeyMismatch),
        _ => Origin::Foreign,
    };
    Ok(Imported { content: Content::Identity(Identity::of_key(key, network, now)?), origin })
}

/// Whether a certificate of this key means to be one of ours: then it is verified, not replaced.
fn is_of_profile(der: &[u8], key: &PublicKey) -> bool {
    use certificate::Kind;
    match certificate::kind(der) {
        Ok(Kind::Identity(cn)) => cn == key.cn(),
        Ok(Kind::Operational(_)) => true,
        Err(_) => false,
    }
}

/// The SubjectPublicKeyInfo in a certificate of any profile (RFC 5280 4.1).
fn spki(der: &[u8]) -> Option<Vec<u8>> {
    /// Its place after the optional version.
    const PLACE: usize = 5;
    let certificate = work::sequence(AnyRef::from_der(der).ok()?).ok()?;
    let fields = work::sequence(*certificate.first()?).ok()?;
    let version = usize::from(fields.first()?.tag().is_context_specific());
    fields.get(version + PLACE)?.to_der().ok()
}
