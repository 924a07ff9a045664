// SPDX-License-Identifier: GPL-2.0-or-later
//! A CERT record (RFC 4398) in the presentation format of zone files.

use base64ct::{Base64, Encoding};

use super::{Form, base64, decode_der, malformed};
use crate::certificate::IdentityCertificate;
use crate::error::ExchangeError;
use crate::key::{PublicKey, SignatureAlgorithm};

/// Certificate type: X.509 (RFC 4398 2.1), by name and by number.
const PKIX: [&str; 2] = ["PKIX", "1"];
/// Algorithm numbers of DNSSEC (RFC 5702, RFC 8080).
const RSASHA512: u8 = 10;
const ED25519: u8 = 15;
/// Before the key in a DNSKEY: a zone key, protocol 3 (RFC 4034 2.1).
const DNSKEY: [u8; 3] = [0x01, 0x00, 0x03];
/// Exponent of our RSA keys with its length, as RFC 3110 2 wants it before the modulus.
const EXPONENT: [u8; 4] = [3, 1, 0, 1];
/// Octets of an RSA modulus.
const MODULUS: usize = 512;
/// Octets of an RSA exponent's element, which ends our keys.
const EXPONENT_ELEMENT: usize = 5;

/// A line for a zone file. Its owner is a name as the file wants it: relative, or with a dot at its end.
///
/// Algorithm and key tag are those that the key would have as a DNSKEY, as RFC 4398 2 asks for keys that DNSSEC can
/// express; readers may take them as a hint, and ours does not look at them.
///
/// # Errors
/// [`ExchangeError::Malformed`] if the owner is no name.
pub fn encode(certificate: &IdentityCertificate, owner: &str) -> Result<String, ExchangeError> {
    check_owner(owner)?;
    let (algorithm, tag) = hint(certificate.key());
    Ok(format!("{owner} IN CERT PKIX {tag} {algorithm} {}\n", Base64::encode_string(certificate.der())))
}

/// A name of letters, digits, hyphens and underscores: nothing that a zone file could take for more than a name.
fn check_owner(owner: &str) -> Result<(), ExchangeError> {
    const MAX_NAME: usize = 253;
    const MAX_LABEL: usize = 63;
    let fits = |label: &str| {
        let known = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        !label.is_empty() && label.len() <= MAX_LABEL && label.bytes().all(known)
    };
    let name = owner.strip_suffix('.').unwrap_or(owner);
    if owner == "@" || name.len() <= MAX_NAME && name.split('.').all(fits) {
        Ok(())
    } else {
        Err(malformed(Form::Dns, "the owner (--owner) must be a name of letters, digits, '-' and '_'"))
    }
}

/// Algorithm number and key tag (RFC 4034 B).
fn hint(key: &PublicKey) -> (u8, u16) {
    let spki = key.spki();
    let (algorithm, public) = match key.signature_algorithm() {
        SignatureAlgorithm::Ed25519 => (ED25519, spki[spki.len() - 32..].to_vec()),
        SignatureAlgorithm::RsaPkcs1Sha512 => {
            let end = spki.len() - EXPONENT_ELEMENT;
            (RSASHA512, [&EXPONENT[..], &spki[end - MODULUS..end]].concat())
        }
    };
    let data = [&DNSKEY[..], &[algorithm], &public].concat();
    let sum = data
        .chunks(2)
        .fold(0u32, |sum, pair| sum + u32::from(pair[0]) * 256 + pair.get(1).copied().map_or(0, u32::from));
    let folded = (sum + (sum >> 16)) & 0xffff;
    (algorithm, u16::try_from(folded).unwrap_or_default())
}

/// Whether the text looks like the answer of a resolver or a line of a zone file.
pub(super) fn is_record(text: &str) -> bool {
    let words = words(text);
    words.iter().any(|word| word.eq_ignore_ascii_case("CERT")) || words.first().is_some_and(|word| is_pkix(word))
}

/// The certificate in a zone-file line, or in what `dig` prints, with or without `+short` or `+multiline`.
///
/// # Errors
/// [`ExchangeError`] for text without such a record, or with two.
pub fn decode(text: &str) -> Result<Vec<u8>, ExchangeError> {
    let words = words(text);
    let cert = |word: &&str| word.eq_ignore_ascii_case("CERT");
    let data = match words.iter().position(cert) {
        // Without an owner this is what `+short` prints.
        None => &words[..],
        Some(at) => &words[at + 1..],
    };
    let count =
        words.iter().filter(|word| cert(word)).count().max(data.iter().filter(|word| **word == PKIX[0]).count());
    if count > 1 {
        return Err(ExchangeError::Several { form: Form::Dns, what: "CERT records" });
    }
    let [kind, tag, _algorithm, data @ ..] = data else {
        return Err(malformed(Form::Dns, "a CERT record has a type, a key tag, an algorithm and data"));
    };
    if !is_pkix(kind) {
        return Err(malformed(Form::Dns, format!("CERT record of type {kind}, not PKIX")));
    }
    if tag.parse::<u16>().is_err() {
        return Err(malformed(Form::Dns, "the key tag is no number below 65,536"));
    }
    let der = base64(Form::Dns, data.iter().flat_map(|word| word.chars()))?;
    decode_der(&der)
}

fn is_pkix(word: &str) -> bool {
    PKIX.iter().any(|name| word.eq_ignore_ascii_case(name))
}

/// Words without comments, directives and the parentheses that join lines (RFC 1035 5.1).
fn words(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('$'));
    let lines = lines.map(|line| line.split(';').next().unwrap_or_default());
    lines.flat_map(str::split_whitespace).filter(|word| !matches!(*word, "(" | ")")).collect()
}
