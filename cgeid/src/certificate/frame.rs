// SPDX-License-Identifier: GPL-2.0-or-later
//! The X.509 frame (RFC 5280 4.1) around the parts that `x509-cert` has. That crate's own frame cannot be used: its
//! object identifiers refuse arcs above 32 bits, and ours lie under 2.25, the arc of UUIDs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::asn1::{Any, AnyRef, BitString, OctetString};
use der::oid::db::{rfc4519::COMMON_NAME, rfc5912::SHA_512_WITH_RSA_ENCRYPTION, rfc8410::ID_ED_25519};
use der::{DateTime, Decode, Encode, Reader as _, Sequence, SliceReader, Tag, Tagged};
use x509_cert::Version;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::cn::Cn;
use crate::error::CertificateError;
use crate::key::{PrivateKey, PublicKey, SignatureAlgorithm};
use crate::limits::{CLOCK_SKEW, MAX_CERTIFICATE, MAX_SERIAL};

#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct Certificate {
    tbs: Tbs,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// What is signed. Unique identifiers (RFC 5280 4.1.2.8) have no field, so a certificate with one does not parse.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct Tbs {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: Version,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

/// An extension; the identifier is kept as it was encoded.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct Extension {
    pub(super) id: Any,
    #[asn1(default = "Default::default")]
    pub(super) critical: bool,
    pub(super) value: OctetString,
}

/// What a certificate says, parsed but believed only as far as its syntax goes.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) issuer: Cn,
    pub(super) subject: Cn,
    pub(super) key: PublicKey,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) extensions: Vec<Extension>,
    signed: &'a [u8],
    algorithm: AlgorithmIdentifierOwned,
    signature: Vec<u8>,
}

/// Reads one certificate and nothing after it.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, CertificateError> {
    if bytes.len() > MAX_CERTIFICATE {
        return Err(CertificateError::TooLong { length: bytes.len() });
    }
    let certificate = Certificate::from_der(bytes).map_err(malformed)?;
    // One value must have one encoding: what follows is judged from the parsed form.
    if certificate.to_der().map_err(malformed)? != bytes {
        return Err(CertificateError::NotCanonical);
    }
    let Certificate { tbs, signature_algorithm, signature } = certificate;
    if tbs.version != Version::V3 {
        return Err(CertificateError::Version);
    }
    if tbs.signature != signature_algorithm {
        return Err(CertificateError::SignatureAlgorithm);
    }
    let parts = Parts::of(bytes).map_err(malformed)?;
    check_serial(parts.serial)?;
    let extensions = tbs.extensions.unwrap_or_default();
    extensions.iter().try_for_each(|extension| check_identifier(&extension.id))?;
    Ok(Parsed {
        issuer: common_name(&tbs.issuer, "issuer")?,
        subject: common_name(&tbs.subject, "subject")?,
        key: PublicKey::from_spki(parts.spki)?,
        not_before: tbs.validity.not_before.to_system_time(),
        not_after: tbs.validity.not_after.to_system_time(),
        extensions,
        signed: parts.signed,
        algorithm: signature_algorithm,
        signature: signature.as_bytes().ok_or(CertificateError::Signature)?.to_vec(),
    })
}

/// Parts of a certificate of version 3 as they stand in it. The whole is as it would be encoded again, so they are too.
struct Parts<'a> {
    signed: &'a [u8],
    /// Content octets.
    serial: &'a [u8],
    spki: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(certificate: &'a [u8]) -> der::Result<Self> {
        let mut outer = inside(certificate)?;
        let signed = outer.tlv_bytes()?;
        let mut tbs = inside(signed)?;
        let [_version, serial, _signature, _issuer, _validity, _subject, spki] = elements(&mut tbs)?;
        Ok(Self { signed, serial: AnyRef::from_der(serial)?.value(), spki })
    }
}

/// What an element has inside.
fn inside(element: &[u8]) -> der::Result<SliceReader<'_>> {
    SliceReader::new(AnyRef::from_der(element)?.value())
}

/// The next elements.
fn elements<'a, const N: usize>(reader: &mut SliceReader<'a>) -> der::Result<[&'a [u8]; N]> {
    let mut elements = [&[][..]; N];
    for element in &mut elements {
        *element = reader.tlv_bytes()?;
    }
    Ok(elements)
}

impl Parsed<'_> {
    /// Checks the issuer's signature; the issuer's key decides the algorithm.
    pub(super) fn check_signature(&self, issuer: &PublicKey) -> Result<(), CertificateError> {
        let algorithm = issuer.signature_algorithm();
        if self.algorithm != algorithm_identifier(algorithm) {
            return Err(CertificateError::SignatureAlgorithm);
        }
        issuer.verify(algorithm, self.signed, &self.signature).map_err(|_| CertificateError::Signature)
    }

    /// Checks that `now` lies in the certificate's life; its beginning may be ahead of a clock that runs late.
    pub(super) fn check_dates(&self, now: SystemTime) -> Result<(), CertificateError> {
        check_dates(self.not_before, self.not_after, now)
    }

    /// Checks that every extension of the profile is there with exactly its value, none is there twice, and none that
    /// the profile does not have is critical.
    pub(super) fn check_extensions(&self, profile: &[(&'static str, Extension)]) -> Result<(), CertificateError> {
        for (index, extension) in self.extensions.iter().enumerate() {
            if self.extensions[..index].iter().any(|earlier| earlier.id == extension.id) {
                return Err(CertificateError::DuplicateExtension);
            }
            let known = profile.iter().any(|(_, expected)| expected.id == extension.id);
            if extension.critical && !known {
                let oid = extension.id.value().iter().map(|octet| format!("{octet:02x}")).collect();
                return Err(CertificateError::UnknownCritical { oid });
            }
        }
        for (name, expected) in profile {
            let found = self.extension(&expected.id).ok_or(CertificateError::MissingExtension { name })?;
            if found != expected {
                return Err(CertificateError::Extension { name });
            }
        }
        Ok(())
    }

    /// The first extension with this identifier.
    pub(super) fn extension(&self, id: &Any) -> Option<&Extension> {
        self.extensions.iter().find(|extension| extension.id == *id)
    }
}

/// Whether `now` lies between the dates.
pub(super) fn check_dates(
    not_before: SystemTime,
    not_after: SystemTime,
    now: SystemTime,
) -> Result<(), CertificateError> {
    if not_before > not_after {
        return Err(CertificateError::Dates);
    }
    if now.checked_add(CLOCK_SKEW).is_some_and(|latest| latest < not_before) {
        return Err(CertificateError::NotYetValid { not_before });
    }
    if now > not_after {
        return Err(CertificateError::Expired { not_after });
    }
    Ok(())
}

/// What goes into a new certificate.
pub(super) struct Draft {
    /// Issuer and subject.
    pub(super) cn: Cn,
    /// SubjectPublicKeyInfo of the subject.
    pub(super) spki: Vec<u8>,
    /// Its milliseconds since 1970 are the serial number.
    pub(super) issued: SystemTime,
    pub(super) not_before: SystemTime,
    /// `None` is the RFC 5280 4.1.2.5 way to say that it does not expire.
    pub(super) not_after: Option<SystemTime>,
    pub(super) extensions: Vec<(&'static str, Extension)>,
}

/// Composes and signs a certificate.
pub(super) fn issue(
    draft: Draft,
    issuer: &PrivateKey,
    algorithm: SignatureAlgorithm,
) -> Result<Vec<u8>, CertificateError> {
    let name = name_of(draft.cn)?;
    let signature = algorithm_identifier(algorithm);
    let not_after = draft.not_after.map_or(Ok(Time::INFINITY), time)?;
    let tbs = Tbs {
        version: Version::V3,
        serial_number: serial(draft.issued)?,
        signature: signature.clone(),
        issuer: name.clone(),
        validity: Validity::new(time(draft.not_before)?, not_after),
        subject: name,
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(&draft.spki).map_err(malformed)?,
        extensions: Some(draft.extensions.into_iter().map(|(_, extension)| extension).collect()),
    };
    let signed = issuer.sign(&tbs.to_der().map_err(malformed)?)?;
    let signature_value = BitString::from_bytes(&signed).map_err(malformed)?;
    let certificate = Certificate { tbs, signature_algorithm: signature, signature: signature_value };
    certificate.to_der().map_err(malformed)
}

/// A serial number is positive and has at most 20 octets (RFC 5280 4.1.2.2); its type allows more.
fn check_serial(octets: &[u8]) -> Result<(), CertificateError> {
    let positive = octets.first().is_some_and(|top| top & 0x80 == 0) && octets.iter().any(|&octet| octet != 0);
    if positive && octets.len() <= MAX_SERIAL { Ok(()) } else { Err(CertificateError::Serial) }
}

/// An identifier is kept as any element, so that it is one, and in its shortest form (X.690 8.19), is checked here.
fn check_identifier(id: &Any) -> Result<(), CertificateError> {
    let octets = id.value();
    let ends = octets.last().is_some_and(|octet| octet & 0x80 == 0);
    let padded = (0..octets.len()).any(|at| octets[at] == 0x80 && (at == 0 || octets[at - 1] & 0x80 == 0));
    if id.tag() == Tag::ObjectIdentifier && ends && !padded {
        Ok(())
    } else {
        Err(malformed("an extension has no object identifier"))
    }
}

/// The one relative name with the one common name.
fn common_name(name: &Name, which: &'static str) -> Result<Cn, CertificateError> {
    let mut attributes = name.iter();
    let (Some(attribute), None, 1) = (attributes.next(), attributes.next(), name.iter_rdn().count()) else {
        return Err(CertificateError::Name { which });
    };
    if attribute.oid != COMMON_NAME || attribute.value.tag() != Tag::Utf8String {
        return Err(CertificateError::Name { which });
    }
    let text = std::str::from_utf8(attribute.value.value()).map_err(|_| CertificateError::Name { which })?;
    text.parse().map_err(|reason| CertificateError::CommonName { which, reason })
}

fn name_of(cn: Cn) -> Result<Name, CertificateError> {
    let value = Any::new(Tag::Utf8String, cn.to_string().into_bytes()).map_err(malformed)?;
    let relative = RelativeDistinguishedName::try_from(vec![AttributeTypeAndValue { oid: COMMON_NAME, value }]);
    let mut sequence = RdnSequence::default();
    sequence.push(relative.map_err(malformed)?);
    Name::from_der(&sequence.to_der().map_err(malformed)?).map_err(malformed)
}

fn serial(issued: SystemTime) -> Result<SerialNumber, CertificateError> {
    let since_1970 = issued.duration_since(UNIX_EPOCH).map_err(|_| CertificateError::Dates)?;
    let milliseconds = u64::try_from(since_1970.as_millis()).map_err(|_| CertificateError::Dates)?;
    Ok(SerialNumber::from(milliseconds.max(1)))
}

/// Whole seconds: the encoding has no smaller ones.
fn time(time: SystemTime) -> Result<Time, CertificateError> {
    let since_1970 = time.duration_since(UNIX_EPOCH).map_err(|_| CertificateError::Dates)?;
    let whole = DateTime::from_unix_duration(Duration::from_secs(since_1970.as_secs()));
    Ok(Time::from(whole.map_err(|_| CertificateError::Dates)?))
}

fn algorithm_identifier(algorithm: SignatureAlgorithm) -> AlgorithmIdentifierOwned {
    match algorithm {
        SignatureAlgorithm::Ed25519 => AlgorithmIdentifierOwned { oid: ID_ED_25519, parameters: None },
        SignatureAlgorithm::RsaPkcs1Sha512 => {
            AlgorithmIdentifierOwned { oid: SHA_512_WITH_RSA_ENCRYPTION, parameters: Some(Any::null()) }
        }
    }
}

/// Our own encodings fail only for what the caller put in, so one variant serves both directions.
pub(super) fn malformed(error: impl ToString) -> CertificateError {
    CertificateError::Malformed { detail: error.to_string() }
}
