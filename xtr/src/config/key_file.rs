// SPDX-License-Identifier: GPL-2.0-or-later
//! The file with the key that a site shares with its Map-Server.
//!
//! ```toml
//! algorithm = "hkdf-sha256"   # or "hmac-sha256", or "hmac-sha1" for old servers
//! key-id = 1                  # default 1; "hmac-sha1" servers take 0
//! secret = "correct horse"    # or: secret-hex = "636f7272..."
//! untruncated = false         # true: whole HMACs, as deployed servers want them
//! narrow-coverage = false     # true: of a Map-Server whose tags cover the records only
//! ```

use std::net::IpAddr;
use std::path::Path;

use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;
use wire::control::auth::{Algorithm, AuthKey, Secret, TagForm};

use super::{ConfigError, ServerAddress};

/// What a key file says, for whom has none yet.
const KEYS: &str = "a key file has the lines algorithm = \"hkdf-sha256\", key-id = 1 and secret = \"...\"";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct KeyFile {
    algorithm: AlgorithmName,
    key_id: Option<u8>,
    secret: Option<String>,
    secret_hex: Option<String>,
    untruncated: Option<bool>,
    #[serde(default)]
    narrow_coverage: bool,
}

/// What a node shares with another, and what is agreed about tags.
#[derive(Debug)]
pub(super) struct Shared {
    key: AuthKey,
    tag: TagForm,
    narrow_coverage: bool,
}

impl Shared {
    /// It is shared with the node there.
    pub(super) fn at(self, address: IpAddr) -> ServerAddress {
        let Self { key, tag, narrow_coverage } = self;
        ServerAddress { address, key, tag, narrow_coverage }
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum AlgorithmName {
    HkdfSha256,
    HmacSha256,
    HmacSha1,
}

/// Reads a key file.
///
/// # Errors
/// Names the file, and the key in it that is wrong.
pub(super) fn read(path: &Path) -> Result<Shared, ConfigError> {
    let wrong = |problem: String| ConfigError::new("key-file", format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Shared, String> {
    // An error of the parser could quote the line with the secret, so only its kind and key are passed on.
    let file: KeyFile = Figment::from(Toml::string(text)).extract().map_err(|error| describe(&error, KEYS))?;
    let secret = octets(file.secret, file.secret_hex)?;
    let (algorithm, id, untruncated) = match file.algorithm {
        AlgorithmName::HkdfSha256 => (Algorithm::HkdfSha256, 1, false),
        AlgorithmName::HmacSha256 => (Algorithm::HmacSha256, 1, false),
        // Servers that know only this algorithm read both octets as one 16-bit Key ID, and take whole HMACs only.
        AlgorithmName::HmacSha1 => (Algorithm::HmacSha1, 0, true),
    };
    let tag = if file.untruncated.unwrap_or(untruncated) { TagForm::Untruncated } else { TagForm::Truncated };
    let key = AuthKey { id: file.key_id.unwrap_or(id), algorithm, secret: Secret::new(secret) };
    Ok(Shared { key, tag, narrow_coverage: file.narrow_coverage })
}

/// A secret that is written in one of the two ways.
pub(super) fn octets(text: Option<String>, hex: Option<String>) -> Result<Vec<u8>, String> {
    let secret = match (text, hex) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(hex)) => unhex(&hex).ok_or("secret-hex: not an even number of hexadecimal digits")?,
        _ => return Err("one of secret and secret-hex is needed".into()),
    };
    if secret.is_empty() { Err("secret: empty".into()) } else { Ok(secret) }
}

/// What is wrong with a file, `keys` being what belongs into it.
pub(super) fn describe(error: &figment::Error, keys: &str) -> String {
    use figment::error::Kind;
    let key = error.path.join(".");
    match &error.kind {
        Kind::MissingField(field) => format!("{field} is missing; {keys}"),
        Kind::UnknownField(field, known) => format!("unknown key {field}; known are {}", known.join(", ")),
        Kind::UnknownVariant(variant, known) => format!("{key}: {variant:?} is none of {}", known.join(", ")),
        Kind::InvalidType(_, expected) => format!("{key}: {expected} expected"),
        _ if key.is_empty() => "not a TOML file".into(),
        _ => format!("{key}: not understood"),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16)).map(|d| u8::try_from(d?).ok()).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sha1_is_sent_as_deployed_servers_take_it() {
        let Shared { key, tag, .. } = parse("algorithm = \"hmac-sha1\"\nsecret = \"secretkey\"").unwrap();
        assert_eq!((key.id, key.algorithm, tag), (0, Algorithm::HmacSha1, TagForm::Untruncated));
        assert_eq!(key.secret.expose(), b"secretkey");
    }

    #[test]
    fn tags_cover_the_whole_message_unless_it_is_written_that_they_need_not() {
        for algorithm in ["hkdf-sha256", "hmac-sha256", "hmac-sha1"] {
            let text = format!("algorithm = \"{algorithm}\"\nsecret = \"hidden\"\nuntruncated = true");
            assert!(!parse(&text).unwrap().narrow_coverage, "{algorithm}");
            assert!(parse(&format!("{text}\nnarrow-coverage = true")).unwrap().narrow_coverage, "{algorithm}");
        }
    }

    #[test]
    fn hexadecimal_secrets() {
        let Shared { key, tag, .. } =
            parse("algorithm = \"hkdf-sha256\"\nkey-id = 7\nsecret-hex = \"00fF10\"").unwrap();
        assert_eq!((key.id, tag, key.secret.expose()), (7, TagForm::Truncated, &[0, 0xff, 0x10][..]));
    }

    #[test]
    fn what_is_wrong_is_named_and_the_secret_is_not_quoted() {
        let cases = [
            ("", "key-id"),
            ("algorithm = \"hkdf-sha256\"", "secret"),
            ("algorithm = \"md5\"\nsecret = \"hidden\"", "md5"),
            ("algorithm = \"hmac-sha256\"\nsecret = \"hidden\"\nkeyid = 1", "keyid"),
            ("algorithm = \"hmac-sha256\"\nsecret-hex = \"hidden\"", "secret-hex"),
            ("secret = \"hidden\" \"", "TOML"),
        ];
        for (text, named) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(named) && !error.contains("hidden"), "{text:?}: {error}");
        }
    }
}
