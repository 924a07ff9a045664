// SPDX-License-Identifier: GPL-2.0-or-later
//! `[[lisp-sec]]` of the settings: with whom one-time keys can be exchanged (RFC 9303).

use anyhow::bail;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::settings::KeySetting;
use crate::register::site::LispSec;
use crate::resolve::lispsec::{Association, SecKey};

/// Peers and the secrets that they share with this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AssociationSetting {
    /// Its name.
    pub name: String,
    /// Addresses of ITRs and Map-Resolvers that ask here, and of Map-Servers that are asked from here.
    pub peers: Vec<IpNet>,
    /// Something else encrypts the path to them.
    #[serde(default)]
    pub protected_path: bool,
    /// The secrets.
    #[serde(default)]
    pub key: Vec<KeySetting>,
}

/// Whether a site is answered for without LISP-SEC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LispSecSetting {
    /// As it is asked for.
    #[default]
    Optional,
    /// With LISP-SEC only.
    Required,
}

impl AssociationSetting {
    /// The association, its key files read.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn build(&self) -> anyhow::Result<Association> {
        if self.peers.is_empty() {
            bail!("peers is empty");
        }
        if let Some(net) = self.peers.iter().find(|net| net.trunc() != **net) {
            bail!("peers {net} has host bits: write {}", net.trunc());
        }
        let keys = self.key.iter().map(secret).collect::<anyhow::Result<_>>()?;
        let (name, peers) = (self.name.clone(), self.peers.clone());
        Ok(Association { name, peers, keys, protected_path: self.protected_path })
    }
}

fn secret(key: &KeySetting) -> anyhow::Result<SecKey> {
    if key.algorithm.is_some() {
        bail!("key {}: algorithm is for keys of sites; the message says how a one-time key is wrapped", key.key_id);
    }
    Ok(SecKey { id: key.key_id, secret: key.secret()? })
}

impl From<LispSecSetting> for LispSec {
    fn from(setting: LispSecSetting) -> Self {
        match setting {
            LispSecSetting::Optional => Self::Optional,
            LispSecSetting::Required => Self::Required,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::settings::{Flags, Settings};

    #[test]
    fn contradictions_are_refused() {
        let read = |more: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), format!("[[lisp-sec]]\nname = \"a\"\n{more}")).unwrap();
            let settings = Settings::read(&Flags { config: Some(file.path().into()), ..Flags::default() })?;
            settings.lisp_sec()
        };
        let good = read("peers = [\"192.0.2.0/24\"]\nkey = [{ key-id = 3, secret = \"x\" }]").unwrap();
        assert_eq!((good[0].keys[0].id, good[0].protected_path), (3, false));
        assert!(read("peers = [\"192.0.2.1/32\"]\nprotected-path = true").unwrap()[0].keys.is_empty());
        for wrong in [
            "peers = []\nkey = [{ secret = \"x\" }]",
            "peers = [\"192.0.2.1/24\"]\nkey = [{ secret = \"x\" }]",
            "peers = [\"192.0.2.0/24\"]\nkey = [{ secret = \"x\", algorithm = \"hmac-sha256\" }]",
            "peers = [\"192.0.2.0/24\"]\nkey = [{ secret = \"\" }]",
            "peers = [\"192.0.2.0/24\"]\nkeys = []",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
