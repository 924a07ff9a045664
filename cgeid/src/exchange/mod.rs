// SPDX-License-Identifier: GPL-2.0-or-later
//! How people hand their certificates to each other: as a file, a picture, a tag to touch, an address-book entry, a DNS
//! record, or a number on paper. Each form has a file here with `encode` and `decode`.
//!
//! Decoding gives the octets of one certificate and believes nothing: [`IdentityCertificate::verify`] does the rest, so
//! it does not matter by which way a certificate came. A bare fingerprint carries no key; it can only be compared.

pub mod dns;
pub mod fingerprint;
mod item;
#[cfg(feature = "shell")]
mod marks;
pub mod ndef;
pub mod pem;
#[cfg(feature = "shell")]
pub mod picture;
pub mod text;
pub mod vcard;

use std::fmt;

use der::Reader;

pub use item::{Item, Part, only_certificate, recognise};

use crate::certificate::IdentityCertificate;
use crate::error::ExchangeError;
use crate::limits::MAX_CERTIFICATE;

/// The media type of a DER certificate (RFC 2585 4.1): phones and address books know it, and our certificates are
/// ordinary X.509, so none of our own is needed.
pub const MEDIA_TYPE: &str = "application/pkix-cert";

/// What a certificate is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The certificate itself.
    Der,
    /// RFC 7468.
    Pem,
    /// The text in a QR code.
    Text,
    /// A picture of a QR code.
    Picture,
    /// A message for NFC tags.
    Ndef,
    /// RFC 6350.
    VCard,
    /// RFC 4398.
    Dns,
    /// SHA-512 of the key.
    Fingerprint,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Der => "DER",
            Form::Pem => "PEM",
            Form::Text => "QR text",
            Form::Picture => "QR picture",
            Form::Ndef => "NDEF message",
            Form::VCard => "vCard",
            Form::Dns => "DNS record",
            Form::Fingerprint => "fingerprint",
        })
    }
}

/// The octets of a certificate as a file.
pub fn encode_der(certificate: &IdentityCertificate) -> Vec<u8> {
    certificate.der().to_vec()
}

/// Takes a file that is a DER certificate and nothing else.
///
/// # Errors
/// [`ExchangeError::Cut`], [`ExchangeError::Trailing`], [`ExchangeError::TooLong`], [`ExchangeError::NotDer`].
pub fn decode_der(bytes: &[u8]) -> Result<Vec<u8>, ExchangeError> {
    whole(bytes)?;
    if bytes.len() > MAX_CERTIFICATE {
        return Err(ExchangeError::TooLong { length: bytes.len() });
    }
    Ok(bytes.to_vec())
}

/// Whether the octets are one DER SEQUENCE, neither cut nor followed by anything.
fn whole(bytes: &[u8]) -> Result<(), ExchangeError> {
    let header = der::SliceReader::new(bytes).and_then(|mut reader| {
        let header = <der::Header as der::Decode>::decode(&mut reader)?;
        Ok((header, usize::try_from(reader.position())?))
    });
    let (header, start) = header.map_err(|_| ExchangeError::NotDer)?;
    if header.tag() != der::Tag::Sequence {
        return Err(ExchangeError::NotDer);
    }
    let length = usize::try_from(header.length()).map_err(|_| ExchangeError::NotDer)?;
    let (expected, found) = (start + length, bytes.len());
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Err(ExchangeError::Cut { expected, found }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(ExchangeError::Trailing { length: found - expected }),
    }
}

/// The octets of Base64 (RFC 4648 4) in which white space means nothing.
fn base64(form: Form, text: impl Iterator<Item = char>) -> Result<Vec<u8>, ExchangeError> {
    use base64ct::{Base64, Encoding};
    let packed: String = text.filter(|character| !character.is_ascii_whitespace()).collect();
    Base64::decode_vec(&packed).map_err(|_| malformed(form, "damaged or cut Base64"))
}

fn malformed(form: Form, detail: impl ToString) -> ExchangeError {
    ExchangeError::Malformed { form, detail: detail.to_string() }
}
