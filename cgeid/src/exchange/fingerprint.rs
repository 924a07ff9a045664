// SPDX-License-Identifier: GPL-2.0-or-later
//! The SHA-512 of a key as text. It carries no key, so it proves nothing; whoever got it by a way that they trust can
//! compare it with a key that comes later. As a file, `<CN>.pin`, it is the choice of a person, which `cgeid verify --pin`
//! holds keys against; what a resolver remembers by itself of the keys that it met is another thing, the table
//! [`crate::Pins`].

use super::{Form, malformed};
use crate::certificate::IdentityCertificate;
use crate::error::ExchangeError;

/// What the text begins with: the name of this form, its version and the hash.
pub const SCHEME: &str = "CGEID1-SHA512:";
/// Hexadecimal digits of the hash.
const DIGITS: usize = 128;

/// The text of a certificate's key, a line.
pub fn encode(certificate: &IdentityCertificate) -> String {
    format_line(certificate.fingerprint())
}

/// The text of a hash, a line.
pub fn format_line(fingerprint: &[u8; 64]) -> String {
    format!("{SCHEME}{}\n", digits(fingerprint))
}

/// The digits of a hash alone.
pub fn digits(fingerprint: &[u8; 64]) -> String {
    fingerprint.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The hash in a text: with its scheme, or 128 digits alone, as `cgeid show` and `openssl dgst` print them.
///
/// # Errors
/// [`ExchangeError::Malformed`] for any other text.
pub fn decode(text: &str) -> Result<[u8; 64], ExchangeError> {
    let text = text.trim();
    let digits = text.strip_prefix(SCHEME).unwrap_or(text).as_bytes();
    if digits.len() != DIGITS {
        return Err(malformed(Form::Fingerprint, format!("it has {DIGITS} digits, this one {}", digits.len())));
    }
    let mut fingerprint = [0; 64];
    for (position, &digit) in digits.iter().enumerate() {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return Err(malformed(Form::Fingerprint, format!("digit {} is none", position + 1))),
        };
        fingerprint[position / 2] = fingerprint[position / 2] << 4 | value;
    }
    Ok(fingerprint)
}

/// The same if the text means to be one.
pub(super) fn recognise(text: &str) -> Option<Result<[u8; 64], ExchangeError>> {
    let bare = || text.trim().len() == DIGITS && text.trim().bytes().all(|octet| octet.is_ascii_hexdigit());
    (text.starts_with(SCHEME) || bare()).then(|| decode(text))
}
