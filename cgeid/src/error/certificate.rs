// SPDX-License-Identifier: GPL-2.0-or-later
//! Certificates.

use std::time::SystemTime;

use super::{CnError, KeyError, date};
use crate::cn::Cn;

/// A certificate that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Longer than [`crate::limits::MAX_CERTIFICATE`].
    #[error("certificate of {length} octets is longer than any of ours")]
    TooLong {
        /// Octets given.
        length: usize,
    },
    /// No DER certificate.
    #[error("not a DER certificate: {detail}")]
    Malformed {
        /// What the parser met.
        detail: String,
    },
    /// It parses, but encodes to other octets.
    #[error("the certificate is not in canonical DER")]
    NotCanonical,
    /// Not X.509 version 3.
    #[error("the certificate is not of version 3")]
    Version,
    /// The serial number is not positive, or longer than [`crate::limits::MAX_SERIAL`].
    #[error("the serial number must be positive and have at most 20 octets")]
    Serial,
    /// Issuer and subject must be one `CN=` of 24 digits each.
    #[error("the {which} must be exactly one relative name with one common name (UTF8String)")]
    Name {
        /// `subject` or `issuer`.
        which: &'static str,
    },
    /// The common name is no CN.
    #[error("common name of the {which}: {reason}")]
    CommonName {
        /// `subject` or `issuer`.
        which: &'static str,
        /// Why.
        reason: CnError,
    },
    /// Issuer and subject differ.
    #[error("issuer {issuer} and subject {subject} differ")]
    IssuerDiffers {
        /// CN of the issuer.
        issuer: Cn,
        /// CN of the subject.
        subject: Cn,
    },
    /// The key breaks a rule.
    #[error("key of the certificate: {0}")]
    Key(KeyError),
    /// The CN is not the hash of the key.
    #[error("the certificate names {named}, but its key gives {computed}")]
    CnMismatch {
        /// CN in the subject.
        named: Cn,
        /// CN of the key.
        computed: Cn,
    },
    /// The CN is one of the reserved values below 2^16.
    #[error("{cn} is reserved for anycast services")]
    Reserved {
        /// The CN.
        cn: Cn,
    },
    /// The signature algorithm is not the one that the issuer's key decides.
    #[error("the signature algorithm does not belong to the issuer's key")]
    SignatureAlgorithm,
    /// An extension that the profile asks for is missing.
    #[error("the extension {name} is missing")]
    MissingExtension {
        /// Name in RFC 5280.
        name: &'static str,
    },
    /// An extension of the profile has another value or criticality than the profile says.
    #[error("the extension {name} has not the value or criticality that the profile asks for{}", hint(name))]
    Extension {
        /// Name in RFC 5280.
        name: &'static str,
    },
    /// Two extensions of one kind.
    #[error("an extension appears twice")]
    DuplicateExtension,
    /// A critical extension that we do not know.
    #[error("unknown critical extension (object identifier {oid}, hexadecimal)")]
    UnknownCritical {
        /// Content octets of its object identifier in hexadecimal.
        oid: String,
    },
    /// The signature of the issuer is not valid.
    #[error("the certificate's signature is not valid")]
    Signature,
    /// An operational certificate of another identity.
    #[error("operational certificate of {found}, not of {expected}")]
    OtherIdentity {
        /// The identity that was to have signed.
        expected: Cn,
        /// The name in the certificate.
        found: Cn,
    },
    /// The operational key must be Ed25519.
    #[error("an operational key must be Ed25519")]
    OperationalAlgorithm,
    /// The operational key is the identity key.
    #[error("an operational key must differ from the identity key")]
    OperationalIsIdentity,
    /// An operational certificate must not outlive [`crate::limits::OPERATIONAL_LIFETIME`].
    #[error("the operational certificate lives longer than 35 days")]
    LivesTooLong,
    /// An operational certificate must not end after the certificate of its identity.
    #[error("the operational certificate ends after that of its identity")]
    OutlivesIdentity,
    /// It begins after it ends, or a date cannot be represented.
    #[error("the certificate's dates make no sense")]
    Dates,
    /// Not valid yet.
    #[error("the certificate is not valid before {} (check this machine's clock)", date(*.not_before))]
    NotYetValid {
        /// When it begins.
        not_before: SystemTime,
    },
    /// No longer valid.
    #[error("the certificate expired at {} (make a new one with the identity key, or check the clock)", date(*.not_after))]
    Expired {
        /// When it ended.
        not_after: SystemTime,
    },
}

// Written out, not derived: the text of the key's error is in ours, so it must not be its source as well, or programs
// that print the chain say it twice.
impl From<KeyError> for CertificateError {
    fn from(error: KeyError) -> CertificateError {
        CertificateError::Key(error)
    }
}

/// What an owner most likely did when this extension differs.
fn hint(name: &str) -> &'static str {
    match name {
        "subjectAltName" => " (was it made for another network prefix?)",
        _ => "",
    }
}
