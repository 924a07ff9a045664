// SPDX-License-Identifier: GPL-2.0-or-later
//! An address-book entry (vCard 4.0, RFC 6350) whose KEY is the certificate. The name in it is the address: who the
//! person is, its owner may add.

use base64ct::{Base64, Encoding};

use super::{Form, MEDIA_TYPE, base64, decode_der, malformed};
use crate::certificate::IdentityCertificate;
use crate::error::ExchangeError;

/// The first line.
pub(super) const BEGIN: &str = "BEGIN:VCARD";
const END: &str = "END:VCARD";
/// Octets of a line before it is folded (RFC 6350 3.2).
const LINE: usize = 75;

/// The entry of a certificate.
pub fn encode(certificate: &IdentityCertificate) -> String {
    let lines = [
        BEGIN.to_owned(),
        "VERSION:4.0".to_owned(),
        format!("FN:{}", certificate.address()),
        format!("UID;VALUE=text:{}", certificate.cn()),
        format!("KEY:data:{MEDIA_TYPE};base64,{}", Base64::encode_string(certificate.der())),
        END.to_owned(),
    ];
    lines.iter().map(|line| folded(line)).collect()
}

/// Breaks a line of ASCII; what goes on begins with a space.
fn folded(line: &str) -> String {
    let mut out = String::new();
    let mut room = LINE;
    for character in line.chars() {
        if room == 0 {
            out.push_str("\r\n ");
            room = LINE - 1;
        }
        out.push(character);
        room -= 1;
    }
    out + "\r\n"
}

/// The certificate of the one KEY of the one entry.
///
/// # Errors
/// [`ExchangeError`] for a text that is no vCard 4.0, or has no certificate, two keys or two entries.
pub fn decode(text: &str) -> Result<Vec<u8>, ExchangeError> {
    let text = text.replace("\r\n", "\n");
    // Folding can cut anywhere, so it is undone before anything is read.
    let unfolded = text.replace("\n ", "").replace("\n\t", "");
    let mut lines = unfolded.lines().filter(|line| !line.trim().is_empty()).map(property);
    let is = |line: &Property<'_>, name: &str, value: &str| line.name == name && line.value.eq_ignore_ascii_case(value);
    if !lines.next().transpose()?.is_some_and(|line| is(&line, "BEGIN", "VCARD")) {
        return Err(malformed(Form::VCard, "it does not begin with BEGIN:VCARD"));
    }
    if !lines.next().transpose()?.is_some_and(|line| is(&line, "VERSION", "4.0")) {
        return Err(malformed(Form::VCard, "VERSION:4.0 must be its second line"));
    }
    let mut key = None;
    for line in lines.by_ref() {
        let line = line?;
        if is(&line, "END", "VCARD") {
            return match lines.next() {
                None => decode_der(&certificate(key.ok_or(ExchangeError::Missing { form: Form::VCard })?)?),
                Some(_) => Err(malformed(Form::VCard, "something after its end; give one entry")),
            };
        }
        if line.name == "KEY" && key.replace(line.value).is_some() {
            return Err(ExchangeError::Several { form: Form::VCard, what: "keys" });
        }
    }
    Err(malformed(Form::VCard, "cut: it has no END:VCARD"))
}

struct Property<'a> {
    name: String,
    value: &'a str,
}

/// [group.]name[;parameters]:value (RFC 6350 3.3); a colon in a quoted parameter ends nothing.
fn property(line: &str) -> Result<Property<'_>, ExchangeError> {
    let mut quoted = false;
    let colon = line.find(|character| {
        quoted ^= character == '"';
        character == ':' && !quoted
    });
    let colon = colon.ok_or_else(|| malformed(Form::VCard, "a line without a colon"))?;
    let name = line[..colon].split(';').next().unwrap_or_default();
    let name = name.rsplit('.').next().unwrap_or_default().to_ascii_uppercase();
    Ok(Property { name, value: &line[colon + 1..] })
}

/// A data URI (RFC 2397). Some programs escape its comma as if it were text.
fn certificate(value: &str) -> Result<Vec<u8>, ExchangeError> {
    let (media, data) = value.split_once(',').ok_or_else(|| malformed(Form::VCard, "KEY is no data: URI"))?;
    let media = media.trim_end_matches('\\').to_ascii_lowercase();
    if media != format!("data:{MEDIA_TYPE};base64") {
        return Err(malformed(Form::VCard, format!("KEY must be data:{MEDIA_TYPE};base64")));
    }
    base64(Form::VCard, data.chars())
}
