// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC: whether Map-Requests are protected, and the files with the keys shared with Map-Resolvers (RFC 9303, section 6.5).
//!
//! ```toml
//! key-id = 1                  # default 1
//! secret = "correct horse"    # or: secret-hex = "636f7272..."
//! # or, in the place of both, for a Map-Resolver behind IPsec or the like:
//! # protected-path = true
//! ```

use std::path::Path;

use clap::ValueEnum;
use figment::Figment;
use figment::providers::{Format, Toml};
use serde::{Deserialize, Serialize};
use wire::control::auth::Secret;

use super::key_file::{describe, octets};
use super::{Config, ConfigError, Mapping, Written};
use crate::resolve::{Demand, LispSec, Wrapping};
use crate::subscribe::Security;
use crate::transport::MapSystem;

/// Whether what the mapping system answers has to be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LispSecMode {
    /// Nothing is protected.
    Off,
    /// It has to be, unless a Map-Server says under protection that nobody can sign for an EID.
    Prefer,
    /// It has to be.
    Require,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ResolverKey {
    key_id: Option<u8>,
    secret: Option<String>,
    secret_hex: Option<String>,
    #[serde(default)]
    protected_path: bool,
}

/// Key ID if none is given, as of a site's key.
const KEY_ID: u8 = 1;
/// The key of the configuration that names the files.
const FILES: &str = "resolver-key-file";
/// What a file says, for whom has none yet.
const KEYS: &str = "the file of a Map-Resolver has the lines key-id = 1 and secret = \"...\", or protected-path = true";

/// What is to be protected. Each Map-Resolver elsewhere has to have a key: one without would be asked by who cuts off the others.
///
/// # Errors
/// Names the flag, and the file or key that is wrong.
pub(super) fn read(written: &Written, mapping: &Mapping) -> Result<LispSec, ConfigError> {
    let files = written.resolver_key_file.as_slice();
    let wrong = |key: &str, problem: String| Err(ConfigError::new(key, problem));
    let demand = match written.lisp_sec {
        LispSecMode::Off if files.is_empty() => return Ok(LispSec::default()),
        LispSecMode::Off => return wrong(FILES, "is for --lisp-sec prefer or require".into()),
        LispSecMode::Prefer => Demand::Prefer,
        LispSecMode::Require => Demand::Require,
    };
    let Mapping::Elsewhere { servers, resolvers } = mapping else {
        return match files {
            [] => Ok(LispSec { demand, resolvers: Vec::new() }),
            _ => wrong(
                FILES,
                "is for a --map-resolver elsewhere: what goes to the one in this process is not seen".into(),
            ),
        };
    };
    if !written.pitr_in.is_empty() {
        let problem = "looks for sites without LISP-SEC: name them with --pitr-for, or leave out --lisp-sec";
        return wrong("pitr-in", problem.into());
    }
    if files.is_empty() {
        let problem = "others on the way to the Map-Resolvers could read the one-time keys: give --resolver-key-file";
        return wrong("lisp-sec", problem.into());
    }
    if files.len() != 1 && files.len() != resolvers.len() {
        let (given, asked) = (files.len(), resolvers.len());
        return wrong(FILES, format!("{given} given for {asked} Map-Resolvers: one for all, or one for each"));
    }
    let mut wrapped = Vec::with_capacity(resolvers.len());
    for (address, file) in resolvers.iter().zip(files.iter().cycle()) {
        let wrapping = read_file(file)?;
        let is_shared = |server: &&super::ServerAddress| matches!(&wrapping, Wrapping::Secret { secret, .. } if *secret == server.key.secret);
        if let Some(server) = servers.iter().find(is_shared) {
            let rule = "an ETR that knows what ITRs wrap with could claim any EID (RFC 9303, section 6.5)";
            let problem = format!("{}: has the secret of the Map-Server {}; {rule}", file.display(), server.address);
            return wrong(FILES, problem);
        }
        wrapped.push((MapSystem::Node(*address), wrapping));
    }
    Ok(LispSec { demand, resolvers: wrapped })
}

/// What it means, a sentence a line.
pub(super) fn explain(config: &Config) -> Vec<String> {
    let lisp_sec = &config.lisp_sec;
    let taken = match lisp_sec.demand {
        Demand::Off => return Vec::new(),
        Demand::Prefer => {
            "takes none without it, but for an EID-prefix of which a Map-Server says under its protection that nobody can sign"
        }
        Demand::Require => "takes none without it, and answers no Map-Request without it",
    };
    let mut lines = vec![format!("Asks for mappings with LISP-SEC; {taken}.")];
    let answering = match &config.mapping {
        _ if lisp_sec.demand != Demand::Require => None,
        Mapping::Embedded(_) => Some(
            "The map system in this process answers others without it too, and so does who finds this node in the DHT.",
        ),
        Mapping::Elsewhere { servers, .. } if servers.is_empty() || !config.proxy_reply => None,
        Mapping::Elsewhere { .. } => {
            Some("The Map-Servers that answer for this node do so without it too, unless they require it of this site.")
        }
    };
    lines.extend(answering.map(str::to_owned));
    if config.subscriptions.iter().any(|one| matches!(one.security, Security::Shared(_))) {
        lines.push(
            "What is told of changes under a shared key is not protected by it: then it asks, with LISP-SEC.".into(),
        );
    }
    let unencrypted = lisp_sec.resolvers.iter().filter(|(_, wrapping)| *wrapping == Wrapping::ProtectedPath);
    let unencrypted: Vec<_> = unencrypted.map(|(resolver, _)| resolver.to_string()).collect();
    if !unencrypted.is_empty() {
        let to = unencrypted.join(", ");
        lines.push(format!("One-time keys go unencrypted to {to}: something else has to encrypt the way there."));
    }
    lines
}

fn read_file(path: &Path) -> Result<Wrapping, ConfigError> {
    let wrong = |problem: String| ConfigError::new(FILES, format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Wrapping, String> {
    // An error of the parser could quote the line with the secret, so only its kind and key are passed on.
    let file: ResolverKey = Figment::from(Toml::string(text)).extract().map_err(|error| describe(&error, KEYS))?;
    if file.protected_path {
        let has_key = file.key_id.is_some() || file.secret.is_some() || file.secret_hex.is_some();
        return if has_key {
            Err("protected-path: needs no key beside it".into())
        } else {
            Ok(Wrapping::ProtectedPath)
        };
    }
    let secret = Secret::new(octets(file.secret, file.secret_hex)?);
    Ok(Wrapping::Secret { key_id: file.key_id.unwrap_or(KEY_ID), secret })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Flags, explain};
    use super::*;

    const SITE: &str = "algorithm = \"hkdf-sha256\"\nsecret = \"of the site\"";

    /// Loads a configuration in which `KEY0`, `KEY1` ... stand for files with these contents.
    fn load(toml: &str, files: &[&str]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let mut toml = toml.to_owned();
        for (number, contents) in files.iter().enumerate() {
            let file = folder.path().join(format!("key{number}.toml"));
            std::fs::write(&file, contents).unwrap();
            toml = toml.replace(&format!("KEY{number}"), file.to_str().unwrap());
        }
        let config = folder.path().join("xtr.toml");
        std::fs::write(&config, toml).unwrap();
        Config::load(&Flags { config: Some(config), ..Flags::default() })
    }

    const PLAIN: &str = "eid-prefix = [\"10.1.0.0/16\"]\nmap-resolver = [\"192.0.2.1\", \"192.0.2.2\"]\n";

    #[test]
    fn a_key_for_each_resolver_or_one_for_all() {
        let one = format!("{PLAIN}lisp-sec = \"require\"\nresolver-key-file = [\"KEY0\"]");
        let config = load(&one, &["key-id = 3\nsecret = \"hidden\""]).unwrap();
        assert_eq!((config.lisp_sec.demand, config.lisp_sec.resolvers.len()), (Demand::Require, 2));
        assert!(!format!("{config:?}").contains("hidden"));
        let wrapping = Wrapping::Secret { key_id: 3, secret: Secret::new("hidden") };
        assert!(config.lisp_sec.resolvers.iter().all(|(_, known)| *known == wrapping));
        let each = format!("{PLAIN}lisp-sec = \"prefer\"\nresolver-key-file = [\"KEY0\", \"KEY1\"]");
        let config = load(&each, &["secret-hex = \"00ff\"", "protected-path = true"]).unwrap();
        assert_eq!(config.lisp_sec.resolvers[1].1, Wrapping::ProtectedPath);
        let said = explain(&config).join("\n");
        for part in ["with LISP-SEC; takes none without it, but", "unencrypted to 192.0.2.2:"] {
            assert!(said.contains(part), "{said}");
        }
        let embedded = load("eid-prefix = [\"10.1.0.0/16\"]\nlisp-sec = \"require\"", &[]).unwrap();
        assert_eq!((embedded.lisp_sec.demand, embedded.lisp_sec.resolvers.len()), (Demand::Require, 0));
        assert!(explain(&embedded).join("\n").contains("in this process answers others without it too"));
        let search = "eid-prefix = [\"10.1.0.0/16\"]\nlisp-sec = \"require\"\npitr-in = [\"10.64.0.0/10\"]";
        assert!(load(search, &[]).is_ok(), "what goes to the map system in this process is not seen");
        let server = "map-server = [\"192.0.2.1\"]\nkey-file = [\"KEY0\"]\nlisp-sec = \"require\"\nresolver-key-file = [\"KEY1\"]\n";
        let says = |more: &str| {
            let config = load(&format!("{PLAIN}{server}{more}"), &[SITE, "secret = \"hidden\""]).unwrap();
            explain(&config).join("\n").contains("unless they require it of this site")
        };
        assert!(says("") && !says("proxy-reply = false"));
        assert!(!explain(&load(PLAIN, &[]).unwrap()).join("\n").contains("LISP-SEC"));
    }

    #[test]
    fn wrong_combinations_are_named_and_no_secret_is_quoted() {
        let server = "map-server = [\"192.0.2.1\"]\nkey-file = [\"KEY0\"]\n";
        let cases: [(&str, &str, &[&str], &str); 12] = [
            ("pitr-in", "lisp-sec = \"prefer\"\npitr-in = [\"10.64.0.0/10\"]", &[], "--pitr-for"),
            ("lisp-sec", "lisp-sec = \"require\"", &[], "--resolver-key-file"),
            ("lisp-sec", "lisp-sec = \"maybe\"", &[], "prefer"),
            (FILES, "resolver-key-file = [\"KEY0\"]", &["secret = \"hidden\""], "--lisp-sec"),
            (FILES, "lisp-sec = \"prefer\"\nresolver-key-file = [\"/nonexistent\"]", &[], "/nonexistent"),
            (
                FILES,
                "lisp-sec = \"prefer\"\nresolver-key-file = [\"KEY0\", \"KEY0\", \"KEY0\"]",
                &["secret = \"hidden\""],
                "3 given for 2",
            ),
            (FILES, "lisp-sec = \"prefer\"\nresolver-key-file = [\"KEY0\"]", &["key-id = 1"], "secret-hex"),
            (FILES, "lisp-sec = \"prefer\"\nresolver-key-file = [\"KEY0\"]", &["secret = \"\""], "empty"),
            (FILES, "lisp-sec = \"prefer\"\nresolver-key-file = [\"KEY0\"]", &["secret = \"hidden\" \""], "TOML"),
            (FILES, "lisp-sec = \"prefer\"\nresolver-key-file = [\"KEY0\"]", &[SITE], "algorithm"),
            (
                FILES,
                "lisp-sec = \"prefer\"\nresolver-key-file = [\"KEY0\"]",
                &["secret = \"hidden\"\nprotected-path = true"],
                "protected-path",
            ),
            (
                FILES,
                "lisp-sec = \"prefer\"\nresolver-key-file = [\"KEY1\"]",
                &[SITE, "secret = \"of the site\""],
                "the Map-Server 192.0.2.1",
            ),
        ];
        for (key, more, files, named) in cases {
            let servers = if files.len() == 2 { server } else { "" };
            let error = load(&format!("{PLAIN}{servers}{more}"), files).unwrap_err();
            assert!(error.key == key && error.problem.contains(named), "{more}: {error}");
            assert!(!error.problem.contains("hidden") && !error.problem.contains("of the site"), "{error}");
        }
        let embedded = "lisp-sec = \"require\"\nresolver-key-file = [\"KEY0\"]";
        assert_eq!(load(embedded, &["secret = \"hidden\""]).unwrap_err().key, FILES);
    }
}
