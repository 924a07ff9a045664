// SPDX-License-Identifier: GPL-2.0-or-later
//! How people hand their certificates to each other: as a file, a picture, a tag to touch, an address-book entry, a DNS
//! record, or a number on paper. Each form has a file here with `encode` and `decode`.
//!
//! Decoding gives the octets of one certificate and believes nothing: [`IdentityCertificate::verify`] does the rest, so
//! it does not matter by which way a certificate came. A bare fingerprint carries no key; it can only be compared.

pub mod dns;
pub mod fingerprint;
pub mod ndef;
pub mod pem;
#[cfg(feature = "shell")]
pub mod picture;
pub mod text;
pub mod vcard;

use std::fmt;

use der::Reader;

use crate::certificate::IdentityCertificate;
use crate::container::KeyFile;
use crate::error::ExchangeError;
use crate::limits::{MAX_CERTIFICATE, MAX_CONTAINER};

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

/// What somebody was given, told by its content. Nothing in it is verified.
#[derive(Debug)]
pub enum Item {
    /// The octets of one certificate.
    Certificate {
        /// What it was wrapped in.
        form: Form,
        /// DER.
        der: Vec<u8>,
    },
    /// SHA-512 of a SubjectPublicKeyInfo.
    Fingerprint(Box<[u8; 64]>),
    /// A private key outside a container.
    Key(KeyFile),
    /// A PKCS#12 file, if anything; [`crate::container`] reads it.
    Container,
    /// A picture (PNG): what is in it can be any text of these forms.
    Picture,
}

/// Tells what the octets are.
///
/// # Errors
/// [`ExchangeError::Unknown`] if they are none of the forms; otherwise what breaks the form that they have.
pub fn recognise(bytes: &[u8]) -> Result<Item, ExchangeError> {
    /// RFC 2083 3.1
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    /// An NDEF message begins with this bit (NDEF 3.2.1); neither DER nor any text does.
    const MESSAGE_BEGIN: u8 = 0x80;
    if bytes.starts_with(PNG) {
        return Ok(Item::Picture);
    }
    if bytes.len() > MAX_CONTAINER {
        return Err(ExchangeError::TooLong { length: bytes.len() });
    }
    match bytes.first() {
        Some(_) if is_der(bytes) => recognise_der(bytes),
        Some(_) if bytes.starts_with(UTF8_MARK) => recognise_text(bytes),
        Some(first) if first & MESSAGE_BEGIN != 0 => certificate(Form::Ndef, ndef::decode(bytes)),
        _ => recognise_text(bytes),
    }
}

/// A SEQUENCE begins like a text with the digit 0 in front; a length above 127 or a first INTEGER is in no text.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x80..=0xff, ..] | [0x30, _, 0x02, ..])
}

/// What some editors put before a text.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

fn certificate(form: Form, der: Result<Vec<u8>, ExchangeError>) -> Result<Item, ExchangeError> {
    Ok(Item::Certificate { form, der: der? })
}

fn recognise_der(bytes: &[u8]) -> Result<Item, ExchangeError> {
    /// What the first element in the outermost SEQUENCE is: the version of a key or container, or a SEQUENCE.
    const INTEGER: u8 = 0x02;
    whole(bytes)?;
    if let Some(key) = KeyFile::from_der(bytes) {
        return Ok(Item::Key(key));
    }
    let header = der::SliceReader::new(bytes).and_then(|mut reader| {
        <der::Header as der::Decode>::decode(&mut reader)?;
        reader.read_byte()
    });
    if header == Ok(INTEGER) { Ok(Item::Container) } else { certificate(Form::Der, decode_der(bytes)) }
}

fn recognise_text(bytes: &[u8]) -> Result<Item, ExchangeError> {
    let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| ExchangeError::Unknown)?;
    let begin = text.trim_start();
    if text.contains("-----BEGIN ") {
        return pem::read(text);
    }
    if let Some(fingerprint) = fingerprint::recognise(begin) {
        return Ok(Item::Fingerprint(Box::new(fingerprint?)));
    }
    if text::is_ours(begin) {
        return certificate(Form::Text, text::decode(begin));
    }
    if begin.get(..vcard::BEGIN.len()).is_some_and(|line| line.eq_ignore_ascii_case(vcard::BEGIN)) {
        return certificate(Form::VCard, vcard::decode(text));
    }
    if begin.starts_with('<') && text.contains("<svg") {
        return certificate(Form::Picture, text::decode_svg(text));
    }
    if dns::is_record(text) {
        return certificate(Form::Dns, dns::decode(text));
    }
    Err(ExchangeError::Unknown)
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
