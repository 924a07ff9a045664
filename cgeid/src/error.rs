// SPDX-License-Identifier: GPL-2.0-or-later
//! What can be wrong, by culprit: a text, a key, a certificate, a signature, a container.

use std::time::SystemTime;

use crate::cn::{Cn, Network};
use crate::exchange::Form;
use crate::key::SignatureAlgorithm;

/// A time as people write it: RFC 3339, UTC.
pub(crate) fn date(time: SystemTime) -> String {
    der::DateTime::from_system_time(time).map_or_else(|_| "a time out of range".to_owned(), |date| date.to_string())
}

/// A text that is no CN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CnError {
    /// It does not have 24 digits.
    #[error("a CN has 24 hexadecimal digits, this text has {found} octets")]
    Length {
        /// Octets found.
        found: usize,
    },
    /// An octet is not one of `0-9a-f`.
    #[error("character {} of a CN must be one of 0-9 a-f (lower case)", position + 1)]
    Digit {
        /// Index from 0.
        position: usize,
    },
}

/// A text that is no network prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It does not end in `/32`.
    #[error("a network prefix ends in /32, as in 3fff:ce1::/32")]
    Length,
    /// What stands before `/32` is no IPv6 address.
    #[error("a network prefix is an IPv6 prefix, as in 3fff:ce1::/32")]
    Address,
    /// Bits after the first 32 are set.
    #[error("a network prefix has only zero bits after the first 32")]
    HostBits,
}

/// A key that no identity may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The octets are not the one DER encoding of such a key.
    #[error("the public key is not in the one accepted DER encoding")]
    Encoding,
    /// Another algorithm.
    #[error("keys of algorithm {oid} are not used: RSA-4096 (rsaEncryption) and Ed25519 are")]
    Algorithm {
        /// Its object identifier.
        oid: String,
    },
    /// rsaEncryption without NULL parameters.
    #[error("an RSA key must have NULL parameters")]
    Parameters,
    /// Another key length.
    #[error("an RSA key must have exactly 4096 bits, this one has {found}")]
    Bits {
        /// Bits of its modulus.
        found: usize,
    },
    /// Another exponent.
    #[error("an RSA key must have the exponent 65537")]
    Exponent,
    /// The modulus is even or has a prime factor below 54.
    #[error("the RSA modulus is not a product of two large primes")]
    Modulus,
    /// The Ed25519 key is not a point of the curve, or one of small order.
    #[error("the Ed25519 key is not a usable point of the curve")]
    Point,
    /// The private key does not parse, or contradicts itself.
    #[error("the private key is damaged")]
    Private,
    /// The system gave no randomness.
    #[error("the system gave no randomness for a new key")]
    Randomness,
    /// The library refused to sign.
    #[error("the key could not sign")]
    Sign,
}

/// A signature that proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The message claims an algorithm that the key does not have.
    #[error("signature claims {claimed:?}, but the key signs with {key:?}")]
    Algorithm {
        /// What the key decides.
        key: SignatureAlgorithm,
        /// What the message says.
        claimed: SignatureAlgorithm,
    },
    /// It is not the key's signature of these octets.
    #[error("the signature is not valid")]
    Invalid,
}

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

/// A PKCS#12 file that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// Longer than [`crate::limits::MAX_CONTAINER`].
    #[error("file of {length} octets is too long for a key container")]
    TooLong {
        /// Octets given.
        length: usize,
    },
    /// No PKCS#12.
    #[error("not a PKCS#12 file, or a damaged one: {detail}")]
    Malformed {
        /// What the parser met.
        detail: String,
    },
    /// The file has no MAC, so nothing says whether it was changed.
    #[error("the file has no password integrity (MAC)")]
    NoMac,
    /// It asks for more key-derivation rounds than [`crate::limits::MAX_ROUNDS`].
    #[error("the file asks for {rounds} key-derivation rounds, more than any honest one")]
    Rounds {
        /// Rounds asked for.
        rounds: u64,
    },
    /// The MAC does not fit: a wrong password, or a changed file.
    #[error("wrong password (or the file was changed after it was written)")]
    Password,
    /// PKCS#12 writes passwords in the characters of UCS-2 (RFC 7292 B.1), and this one has another.
    #[error("the password has a character that PKCS#12 files cannot hold (an emoji, for one); choose another password")]
    PasswordCharacter,
    /// Encrypted by an algorithm that is not PBES2 with AES.
    #[error("the file is encrypted in a way that is not accepted ({detail}); export it again with PBES2 and AES-256")]
    Encryption {
        /// What the parser met.
        detail: String,
    },
    /// Protected by something that was good enough once.
    #[error(
        "the file is protected by {what}, which is too weak today; `cgeid import --legacy` reads it and writes it \
         again under AES-256"
    )]
    Legacy {
        /// The scheme.
        what: String,
    },
    /// The private key lies in an encrypted part, so how it is itself encrypted cannot be judged before it is used.
    #[error(
        "the private key lies inside an encrypted part, where its own protection does not show; \
         `cgeid import --legacy` reads it"
    )]
    HiddenKey,
    /// Not exactly one private key.
    #[error("the file holds {found} private keys, it must hold exactly one")]
    Keys {
        /// Keys found.
        found: usize,
    },
    /// Not the certificates that the kind of file needs.
    #[error("the file holds {found} certificates, it must hold {expected}")]
    Certificates {
        /// Certificates found.
        found: usize,
        /// Certificates needed.
        expected: usize,
    },
    /// No certificate is for the key.
    #[error("no certificate in the file belongs to its private key")]
    KeyMismatch,
    /// It is an identity key where an operational key was asked for.
    #[error(
        "this file holds the identity key of {cn}; daemons take the operational key ({cn}.op.p12), \
         keep the identity key offline"
    )]
    IsIdentity {
        /// Whose.
        cn: Cn,
    },
    /// It is an operational key where an identity key was asked for.
    #[error("this file holds an operational key of {cn}; the identity key ({cn}.p12) is needed")]
    IsOperational {
        /// Whose.
        cn: Cn,
    },
    /// The private key breaks a rule.
    #[error("private key: {0}")]
    Key(KeyError),
    /// A certificate breaks a rule.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The file could not be composed.
    #[error("the container could not be written: {detail}")]
    Write {
        /// What the writer met.
        detail: String,
    },
}

impl From<KeyError> for ContainerError {
    fn from(error: KeyError) -> ContainerError {
        ContainerError::Key(error)
    }
}

/// A text that is no PEM block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArmourError {
    /// It has no block of the kind.
    #[error("there is no {label} in the text")]
    Missing {
        /// Label of the block that was looked for.
        label: String,
    },
    /// It has more than one block of the kind.
    #[error("there are {found} blocks {label} in the text, there must be one")]
    Several {
        /// Label of the block that was looked for.
        label: String,
        /// Blocks found.
        found: usize,
    },
    /// It has more blocks than [`crate::limits::MAX_PEM_BLOCKS`].
    #[error("the PEM file holds more than {} blocks", crate::limits::MAX_PEM_BLOCKS)]
    TooMany,
    /// It ends before the block does.
    #[error("the PEM file ends within a {label}")]
    Unfinished {
        /// Label of the block.
        label: String,
    },
    /// The block is no base64 of anything.
    #[error("damaged PEM ({label}): {detail}")]
    Damaged {
        /// Label of the block.
        label: String,
        /// What the parser met.
        detail: String,
    },
}

/// Who signs a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The one identity that speaks.
    Identity,
    /// The first of two.
    Static,
    /// The second of two.
    Temporary,
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Signer::Identity => "the identity",
            Signer::Static => "the static identity",
            Signer::Temporary => "the temporary identity",
        })
    }
}

/// A signed statement (a revocation or a link proof) that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Longer than [`crate::limits::MAX_STATEMENT`].
    #[error("statement of {length} octets is longer than any of ours")]
    TooLong {
        /// Octets given.
        length: usize,
    },
    /// It does not begin as a statement of this kind does.
    #[error("not a statement of this kind")]
    Magic,
    /// Another version of the encoding.
    #[error("statement of version {found}, only version 1 is known")]
    Version {
        /// Version found.
        found: u8,
    },
    /// It ends before, or within, a field.
    #[error("the statement ends within its {field}")]
    Truncated {
        /// Name of the field.
        field: &'static str,
    },
    /// Octets follow after its end.
    #[error("{length} octets follow after the end of the statement")]
    Trailing {
        /// Octets left.
        length: usize,
    },
    /// The issue time is before 1970, or beyond what the clock can tell.
    #[error("the issue time cannot be represented")]
    Time,
    /// It says that it was issued later than now.
    #[error("the statement says that it was issued at {} (check this machine's clock)", date(*.issued))]
    FromTheFuture {
        /// When, by its own word.
        issued: SystemTime,
    },
    /// The audience is no text, has control characters, or is longer than [`crate::limits::MAX_AUDIENCE`].
    #[error("an audience is a text of at most {} octets without control characters", crate::limits::MAX_AUDIENCE)]
    Audience,
    /// It was made for another reader.
    #[error("the proof is made for {}, not for {}", reader(found), reader(expected))]
    OtherAudience {
        /// For whom it was made.
        found: String,
        /// Who reads it.
        expected: String,
    },
    /// Two identities are needed.
    #[error("both identities are {cn}; a link has two different ones")]
    SameIdentity {
        /// The CN of both.
        cn: Cn,
    },
    /// The identities belong to different networks.
    #[error("the identities belong to different networks, {first} and {second}")]
    OtherNetwork {
        /// The network of the static identity.
        first: Network,
        /// The network of the temporary identity.
        second: Network,
    },
    /// A certificate in it is refused.
    #[error("certificate of {signer}: {reason}")]
    Certificate {
        /// Whose.
        signer: Signer,
        /// Why.
        reason: CertificateError,
    },
    /// A signature is not valid.
    #[error("the signature of {signer} is not valid")]
    Signature {
        /// Whose.
        signer: Signer,
    },
    /// A key could not sign.
    #[error("{0}")]
    Key(KeyError),
    /// The text round it is damaged.
    #[error("{0}")]
    Armour(ArmourError),
}

impl From<KeyError> for StatementError {
    fn from(error: KeyError) -> StatementError {
        StatementError::Key(error)
    }
}

impl From<ArmourError> for StatementError {
    fn from(error: ArmourError) -> StatementError {
        StatementError::Armour(error)
    }
}

/// An audience as a part of a sentence.
fn reader(audience: &str) -> String {
    if audience.is_empty() { "no particular reader".to_owned() } else { format!("{audience:?}") }
}

/// Octets that are no table of pins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinsError {
    /// They do not begin as a table does.
    #[error("not a table of pins, or one of another version")]
    Magic,
    /// They end too early or too late.
    #[error("the table of pins is not as long as it says")]
    Length,
    /// More pins than the table may have.
    #[error("{found} pins, more than the {limit} that the table may have")]
    TooMany {
        /// Pins found.
        found: usize,
        /// Pins allowed.
        limit: usize,
    },
    /// The names do not ascend.
    #[error("the pins are not in the order of their names, or one is there twice")]
    Order,
    /// A time is beyond what the clock can tell.
    #[error("the last use of a pin cannot be represented")]
    Time,
}

/// A text, picture or message that gives no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// None of the forms.
    #[error(
        "this is no form of a certificate, key or fingerprint that is known here (PEM, DER, PKCS#12, QR text or PNG, \
         NDEF, vCard 4.0, DNS CERT record)"
    )]
    Unknown,
    /// Longer than anything of ours.
    #[error("{length} octets are too many for any certificate or key of ours")]
    TooLong {
        /// Octets given.
        length: usize,
    },
    /// It ends too early.
    #[error("cut off: {expected} octets should be here, there are {found}")]
    Cut {
        /// Octets that were announced.
        expected: usize,
        /// Octets that are there.
        found: usize,
    },
    /// It goes on after its end.
    #[error("{length} octets too many stand behind its end")]
    Trailing {
        /// Octets after the end.
        length: usize,
    },
    /// What it carries does not begin like a certificate.
    #[error("what it carries is no certificate (no DER sequence)")]
    NotDer,
    /// It holds more than one, and which is meant is not said.
    #[error("this {form} holds several {what}; give one")]
    Several {
        /// The form.
        form: Form,
        /// Of what there are several.
        what: &'static str,
    },
    /// It holds no certificate.
    #[error("this {form} holds no certificate")]
    Missing {
        /// The form.
        form: Form,
    },
    /// It breaks the rules of its form.
    #[error("not a {form} that can be used: {detail}")]
    Malformed {
        /// The form.
        form: Form,
        /// What the parser met.
        detail: String,
    },
}
