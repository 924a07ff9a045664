// SPDX-License-Identifier: GPL-2.0-or-later
//! The extensions of both certificates. One list serves the issuer and the verifier: what we would write is what we
//! accept.

use std::net::Ipv6Addr;

use der::asn1::{Any, OctetString};
use der::oid::AssociatedOid;
use der::{Encode, Tag};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};

use super::frame::{Extension, malformed};
use crate::error::CertificateError;
use crate::key::PublicKey;

/// 2.25.12378316571689350712721627097127162826 (UUID 094ffa20-40f1-4a66-a7c0-9648366f93ca) as DER content octets: the
/// arc of this project. X.667 gives every UUID an arc of its own, without a registry.
const PROJECT_ARC: [u8; 19] =
    [0x69, 0x92, 0xcf, 0xfd, 0x88, 0x88, 0x8f, 0x8a, 0xa9, 0xcd, 0xa7, 0xe0, 0xa5, 0xc9, 0x83, 0xb3, 0xbe, 0xa7, 0x4a];
/// Child arc of the extended key usage "operational key of a CGEID".
const OPERATIONAL_USAGE: u8 = 1;
/// Child arc of the extension `epoch`, an INTEGER from 0 to 2³² - 1.
const EPOCH: u8 = 2;

/// Name of the epoch extension in errors.
pub(super) const EPOCH_NAME: &str = "epoch";

/// The object identifier of the extended key usage, dotted.
pub const OPERATIONAL_USAGE_OID: &str = "2.25.12378316571689350712721627097127162826.1";
/// The object identifier of the epoch extension, dotted.
pub const EPOCH_OID: &str = "2.25.12378316571689350712721627097127162826.2";

/// Extensions of an identity certificate: it may sign data and, directly, operational certificates.
pub(super) fn identity(key: &PublicKey, address: Ipv6Addr) -> Result<Vec<(&'static str, Extension)>, CertificateError> {
    let names = SubjectAltName(vec![GeneralName::IpAddress(octets(&address.octets())?)]);
    let constraints = BasicConstraints { ca: true, path_len_constraint: Some(0) };
    let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign);
    Ok(vec![
        standard("basicConstraints", true, &constraints)?,
        standard("keyUsage", true, &usage)?,
        standard("subjectKeyIdentifier", false, &SubjectKeyIdentifier(key_identifier(key)?))?,
        standard("subjectAltName", false, &names)?,
    ])
}

/// Extensions of an operational certificate, but for its epoch. The authority key identifier tells stock verifiers
/// that the certificate is not self-signed although issuer and subject have one name.
pub(super) fn operational(
    key: &PublicKey,
    issuer: &PublicKey,
) -> Result<Vec<(&'static str, Extension)>, CertificateError> {
    let authority = AuthorityKeyIdentifier {
        key_identifier: Some(key_identifier(issuer)?),
        authority_cert_issuer: None,
        authority_cert_serial_number: None,
    };
    let constraints = BasicConstraints { ca: false, path_len_constraint: None };
    let usage = Any::new(Tag::ObjectIdentifier, child(OPERATIONAL_USAGE)).map_err(malformed)?;
    Ok(vec![
        standard("basicConstraints", true, &constraints)?,
        standard("keyUsage", true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
        standard("subjectKeyIdentifier", false, &SubjectKeyIdentifier(key_identifier(key)?))?,
        standard("authorityKeyIdentifier", false, &authority)?,
        ("extendedKeyUsage", extension(rfc_id::<x509_cert::ext::pkix::ExtendedKeyUsage>()?, false, &vec![usage])?),
    ])
}

/// The epoch extension. Not critical: stock verifiers refuse critical extensions that they do not know.
pub(super) fn epoch(epoch: u32) -> Result<Extension, CertificateError> {
    extension(epoch_id()?, false, &epoch)
}

/// The identifier of the epoch extension.
pub(super) fn epoch_id() -> Result<Any, CertificateError> {
    Any::new(Tag::ObjectIdentifier, child(EPOCH)).map_err(malformed)
}

/// The leftmost 160 bits of the SHA-512 of the SubjectPublicKeyInfo: it begins with the CN.
fn key_identifier(key: &PublicKey) -> Result<OctetString, CertificateError> {
    octets(&key.fingerprint()[..20])
}

fn standard<T: Encode + AssociatedOid>(
    name: &'static str,
    critical: bool,
    value: &T,
) -> Result<(&'static str, Extension), CertificateError> {
    Ok((name, extension(rfc_id::<T>()?, critical, value)?))
}

fn rfc_id<T: AssociatedOid>() -> Result<Any, CertificateError> {
    Any::encode_from(&T::OID).map_err(malformed)
}

fn extension(id: Any, critical: bool, value: &impl Encode) -> Result<Extension, CertificateError> {
    Ok(Extension { id, critical, value: octets(&value.to_der().map_err(malformed)?)? })
}

fn octets(bytes: &[u8]) -> Result<OctetString, CertificateError> {
    OctetString::new(bytes).map_err(malformed)
}

fn child(arc: u8) -> Vec<u8> {
    [&PROJECT_ARC[..], &[arc]].concat()
}
