// SPDX-License-Identifier: GPL-2.0-or-later
//! The text in a QR code: `CGEID1:` and the certificate in Base45 (RFC 9285), whose characters are those of the
//! alphanumeric mode (ISO/IEC 18004 7.4.4), so that an RSA certificate fits.

use super::{Form, decode_der, malformed};
use crate::certificate::IdentityCertificate;
use crate::error::ExchangeError;

/// What the text begins with: the name of this form and its version.
pub const SCHEME: &str = "CGEID1:";
/// What scanner programs print before the text unless told not to.
const SCANNER: &str = "QR-Code:";

/// The text of a certificate.
pub fn encode(certificate: &IdentityCertificate) -> String {
    format!("{SCHEME}{}", base45::encode(certificate.der()))
}

/// Whether the text says that it is of this form.
pub(super) fn is_ours(text: &str) -> bool {
    text.strip_prefix(SCANNER).unwrap_or(text).starts_with(SCHEME)
}

/// The certificate in a text, as a scanner gives it: line ends after it do not matter. A space would, for it is a digit.
///
/// # Errors
/// [`ExchangeError::Cut`] for half a text; [`ExchangeError::Malformed`] for other characters.
pub fn decode(text: &str) -> Result<Vec<u8>, ExchangeError> {
    let text = text.strip_prefix(SCANNER).unwrap_or(text).trim_end_matches(['\r', '\n']);
    let digits = text.strip_prefix(SCHEME).ok_or_else(|| malformed(Form::Text, "it does not begin with CGEID1:"))?;
    if digits.contains(SCHEME) {
        return Err(ExchangeError::Several { form: Form::Text, what: "certificates" });
    }
    let der = base45::decode(digits).map_err(|_| malformed(Form::Text, "damaged or cut Base45"))?;
    // The library takes a last pair above 255; one certificate has one text.
    if base45::encode(&der) != digits {
        return Err(malformed(Form::Text, "damaged or cut Base45"));
    }
    decode_der(&der)
}

/// Element of an SVG picture that repeats in words what it shows.
const DESCRIPTION: [&str; 2] = ["<desc>", "</desc>"];

/// The description for an SVG picture of a text, by which the picture can be read without looking at it.
#[cfg(feature = "shell")]
pub(super) fn description(text: &str) -> String {
    DESCRIPTION.join(text)
}

/// The certificate in an SVG picture that we made.
pub(super) fn decode_svg(picture: &str) -> Result<Vec<u8>, ExchangeError> {
    let [begin, end] = DESCRIPTION;
    let foreign = || malformed(Form::Picture, "an SVG file of another program: scan it, or make it a PNG");
    let (_, rest) = picture.split_once(begin).ok_or_else(foreign)?;
    let (text, rest) = rest.split_once(end).ok_or_else(foreign)?;
    if rest.contains(begin) {
        return Err(ExchangeError::Several { form: Form::Picture, what: "descriptions" });
    }
    decode(text)
}
