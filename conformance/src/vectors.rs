// SPDX-License-Identifier: GPL-2.0-or-later
//! The byte-exact vectors (`vectors/vectors.json`), compiled in, and vectors files of the same form.

use serde::{Deserialize, Deserializer, de};

/// A vectors file.
#[derive(Debug, Deserialize)]
pub struct VectorsFile {
    /// Pre-shared key of the authenticated vectors.
    #[serde(deserialize_with = "hex_bytes")]
    pub psk: Vec<u8>,
    /// What ITR and Map-Resolver share in those of LISP-SEC.
    #[serde(default, deserialize_with = "hex_bytes")]
    pub psk_itr_mr: Vec<u8>,
    /// Its Key ID.
    pub key_id: u8,
    /// The vectors, in order.
    pub vectors: Vec<Vector>,
}

/// One vector: a packet, and what must happen to it.
#[derive(Debug, Deserialize)]
pub struct Vector {
    /// Identifier, such as `R03`.
    pub id: String,
    /// What it is, in a line.
    pub title: String,
    /// RFC and sections that it rests on.
    #[serde(rename = "ref")]
    pub clause: String,
    /// Who receives it: ETR, ITR, MS, MR, any.
    pub role: String,
    /// Whether something about it is wrong, or hostile.
    pub malformed: bool,
    /// What the receiver must do.
    pub expect: String,
    /// The whole IP packet.
    #[serde(deserialize_with = "hex_bytes")]
    pub packet: Vec<u8>,
    /// Its UDP payload.
    #[serde(deserialize_with = "hex_bytes")]
    pub lisp: Vec<u8>,
    /// Keys and tag, where it is authenticated.
    pub auth: Option<Auth>,
}

/// How the tag of a vector was made.
#[derive(Debug, Deserialize)]
pub struct Auth {
    /// The whole HMAC, of which the message carries the beginning.
    #[serde(deserialize_with = "hex_bytes")]
    pub mac_full: Vec<u8>,
}

/// The vectors that ship with the suite.
///
/// # Errors
/// When the file in the source tree is not of this form, which a test rules out.
pub fn shipped() -> serde_json::Result<VectorsFile> {
    serde_json::from_str(include_str!("../vectors/vectors.json"))
}

fn hex_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    from_hex(&text).ok_or_else(|| de::Error::custom("not hexadecimal"))
}

/// Octets of a hexadecimal text without blanks.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
