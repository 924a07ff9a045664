// SPDX-License-Identifier: GPL-2.0-or-later
//! What octets are, told by their content: one place knows all forms, for every verb and every reader.

use der::Reader;

use super::{Form, decode_der, dns, fingerprint, ndef, pem, text, vcard, whole};
use crate::armour;
use crate::certificate::{self, Kind};
use crate::container::KeyFile;
use crate::error::ExchangeError;
use crate::limits::MAX_CONTAINER;
use crate::statement::{LinkProof, Revocation};

/// What somebody was given. Nothing in it is verified.
#[derive(Debug)]
pub enum Item {
    /// What anybody may read: one thing, or those of a PEM text in their order.
    Public(Vec<Part>),
    /// SHA-512 of a SubjectPublicKeyInfo.
    Fingerprint(Box<[u8; 64]>),
    /// A private key outside a container.
    Key(KeyFile),
    /// A PKCS#12 file, if anything; [`crate::container`] reads it.
    Container,
    /// A picture (PNG): what is in it can be any text of these forms.
    Picture,
}

/// One thing that can be verified.
#[derive(Debug)]
pub enum Part {
    /// The octets of a certificate, of an identity or an operational key.
    Certificate {
        /// What it was wrapped in.
        form: Form,
        /// DER.
        der: Vec<u8>,
    },
    /// The octets of a [`Revocation`].
    Revocation(Vec<u8>),
    /// The octets of a [`LinkProof`].
    LinkProof(Vec<u8>),
}

/// The one identity certificate, and what it was wrapped in; operational ones beside it are left out.
///
/// # Errors
/// [`ExchangeError::Several`], [`ExchangeError::Missing`]; [`ExchangeError::Statement`] if a signed statement is there.
pub fn only_certificate(parts: &[Part]) -> Result<(Form, &[u8]), ExchangeError> {
    let certificate = |part| match part {
        &Part::Certificate { form, ref der } => Ok((form, der.as_slice())),
        Part::Revocation(_) => Err(ExchangeError::Statement { what: "revocation" }),
        Part::LinkProof(_) => Err(ExchangeError::Statement { what: "link proof" }),
    };
    let mut certificates = parts.iter().map(certificate).collect::<Result<Vec<_>, _>>()?;
    if certificates.len() > 1 {
        certificates.retain(|(_, der)| !matches!(certificate::kind(der), Ok(Kind::Operational(_))));
    }
    match certificates.as_slice() {
        [certificate] => Ok(*certificate),
        [] => Err(ExchangeError::Missing { form: Form::Pem }),
        [(form, _), ..] => Err(ExchangeError::Several { form: *form, what: "certificates" }),
    }
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
    if bytes.starts_with(&Revocation::MAGIC) {
        return Ok(Item::Public(vec![Part::Revocation(bytes.to_vec())]));
    }
    if bytes.starts_with(&LinkProof::MAGIC) {
        return Ok(Item::Public(vec![Part::LinkProof(bytes.to_vec())]));
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
    Ok(Item::Public(vec![Part::Certificate { form, der: der? }]))
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
    if armour::is_in(text) {
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
