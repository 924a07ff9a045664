// SPDX-License-Identifier: GPL-2.0-or-later
//! PEM (RFC 7468): blocks of Base64 with labels, with any prose before, between and after them.

use der::pem::{self, LineEnding};
use zeroize::Zeroizing;

use super::{Form, Item, decode_der, malformed};
use crate::certificate::{self, IdentityCertificate, Kind};
use crate::container::KeyFile;
use crate::error::ExchangeError;
use crate::limits::MAX_BAGS;

const CERTIFICATE: &str = "CERTIFICATE";
const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// One block with the certificate.
pub fn encode(certificate: &IdentityCertificate) -> String {
    encode_block(CERTIFICATE, certificate.der())
}

fn encode_block(label: &str, der: &[u8]) -> String {
    pem::encode_string(label, LineEnding::LF, der).expect("a certificate of bounded length has a PEM form")
}

/// The one identity certificate of a text; operational ones beside it are left out.
///
/// # Errors
/// [`ExchangeError`], also for a text with a private key.
pub fn decode(text: &str) -> Result<Vec<u8>, ExchangeError> {
    match read(text)? {
        Item::Certificate { der, .. } => Ok(der),
        _ => Err(malformed(Form::Pem, "a private key where a certificate was expected")),
    }
}

/// A private key with the certificates beside it, or the one identity certificate.
pub(super) fn read(text: &str) -> Result<Item, ExchangeError> {
    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    for (label, der) in blocks(text)? {
        match label {
            CERTIFICATE => certificates.push(decode_der(&der)?),
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
                keys.push(KeyFile::from_der(&der).ok_or_else(|| malformed(Form::Pem, format!("damaged {label}")))?);
            }
            other => return Err(malformed(Form::Pem, format!("a block of kind {other} is not used here"))),
        }
    }
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(Item::Key(key.with_certificates(certificates))),
        (Some(_), _) => Err(ExchangeError::Several { form: Form::Pem, what: "private keys" }),
        (None, _) => Ok(Item::Certificate { form: Form::Pem, der: only(certificates)? }),
    }
}

/// The one that is not an operational certificate.
fn only(mut certificates: Vec<Vec<u8>>) -> Result<Vec<u8>, ExchangeError> {
    if certificates.len() > 1 {
        certificates.retain(|der| !matches!(certificate::kind(der), Ok(Kind::Operational(_))));
    }
    match (certificates.pop(), certificates.len()) {
        (Some(der), 0) => Ok(der),
        (Some(_), _) => Err(ExchangeError::Several { form: Form::Pem, what: "certificates" }),
        (None, _) => Err(ExchangeError::Missing { form: Form::Pem }),
    }
}

type Block<'a> = (&'a str, Zeroizing<Vec<u8>>);

fn blocks(text: &str) -> Result<Vec<Block<'_>>, ExchangeError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        rest = &rest[begin..];
        let label = &rest[BEGIN.len()..];
        let label = &label[..label.find(DASHES).ok_or_else(|| malformed(Form::Pem, "a line without its end"))?];
        let end = format!("-----END {label}-----");
        let length = rest.find(&end).ok_or_else(|| malformed(Form::Pem, format!("cut within a {label}")))? + end.len();
        let block = &rest[..length];
        if block.contains("Proc-Type:") {
            return Err(malformed(Form::Pem, "encrypted in the old way of OpenSSL (`openssl pkcs8 -topk8` renews it)"));
        }
        let (_, der) = pem::decode_vec(block.as_bytes()).map_err(|error| malformed(Form::Pem, error))?;
        found.push((label, Zeroizing::new(der)));
        if found.len() > MAX_BAGS {
            return Err(malformed(Form::Pem, format!("more than {MAX_BAGS} blocks")));
        }
        rest = &rest[length..];
    }
    Ok(found)
}
