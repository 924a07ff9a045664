// SPDX-License-Identifier: GPL-2.0-or-later
//! PEM (RFC 7468): blocks of Base64 with labels, with any prose before, between and after them. The one form that can
//! hold several things.

use super::{Form, Item, Part, decode_der, malformed, only_certificate};
use crate::armour;
use crate::certificate::IdentityCertificate;
use crate::container::KeyFile;
use crate::error::ExchangeError;
use crate::statement::{LinkProof, Revocation};

/// The label of a certificate (RFC 7468 5.1).
const CERTIFICATE: &str = "CERTIFICATE";

/// One block with the certificate.
pub fn encode(certificate: &IdentityCertificate) -> String {
    armour::encode(CERTIFICATE, certificate.der()).expect("a certificate of bounded length has a PEM form")
}

/// The one identity certificate of a text; operational ones beside it are left out.
///
/// # Errors
/// [`ExchangeError`], also for a text with a private key or a signed statement.
pub fn decode(text: &str) -> Result<Vec<u8>, ExchangeError> {
    match read(text)? {
        Item::Public(parts) => only_certificate(&parts).map(|(_, der)| der.to_vec()),
        _ => Err(malformed(Form::Pem, "a private key where a certificate was expected")),
    }
}

/// A private key with the certificates beside it, or what anybody may read.
pub(super) fn read(text: &str) -> Result<Item, ExchangeError> {
    let (mut keys, mut parts) = (Vec::new(), Vec::new());
    // What is not known is not passed over: it may be what the reader relies on.
    for block in armour::blocks(text, |_| true).map_err(|error| malformed(Form::Pem, error))? {
        match block.label {
            CERTIFICATE => parts.push(Part::Certificate { form: Form::Pem, der: decode_der(&block.bytes)? }),
            Revocation::LABEL => parts.push(Part::Revocation(block.bytes.to_vec())),
            LinkProof::LABEL => parts.push(Part::LinkProof(block.bytes.to_vec())),
            label @ ("PRIVATE KEY" | "RSA PRIVATE KEY" | "ENCRYPTED PRIVATE KEY") => {
                let damaged = || malformed(Form::Pem, format!("damaged {label}"));
                keys.push(KeyFile::from_der(&block.bytes).ok_or_else(damaged)?);
            }
            other => return Err(malformed(Form::Pem, format!("a block of kind {other} is not used here"))),
        }
    }
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(Item::Key(key.with_certificates(certificates(parts)?))),
        (Some(_), _) => Err(ExchangeError::Several { form: Form::Pem, what: "private keys" }),
        (None, _) if parts.is_empty() => Err(ExchangeError::Missing { form: Form::Pem }),
        (None, _) => Ok(Item::Public(parts)),
    }
}

/// What may stand beside a private key.
fn certificates(parts: Vec<Part>) -> Result<Vec<Vec<u8>>, ExchangeError> {
    let certificate = |part| match part {
        Part::Certificate { der, .. } => Ok(der),
        Part::Revocation(_) | Part::LinkProof(_) => {
            Err(malformed(Form::Pem, "a signed statement beside a private key; put them into two files"))
        }
    };
    parts.into_iter().map(certificate).collect()
}
