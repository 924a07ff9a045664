// SPDX-License-Identifier: GPL-2.0-or-later
//! Settings: file < environment < flags. One file may serve all verbs; a key that none of them knows is refused.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use cgeid::Network;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::Deserialize;

use super::flags::Flags;
use super::values;
use crate::resolve::TrustAnchor;
use crate::shell::node::{Multiaddr, NodeConfig, parse_bootstrap};

/// Prefix of the environment variables.
const ENVIRONMENT: &str = "LISP_DHT_";

/// What is set, by whichever way. Texts are read when they are needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct Settings {
    pub(super) identity: Option<PathBuf>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) listen: Vec<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) bootstrap: Vec<String>,
    pub(super) prefix: Option<String>,
    pub(super) trust_anchor: Vec<String>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) control: Option<PathBuf>,
    pub(super) rloc: Vec<String>,
    pub(super) ttl: Option<u32>,
    pub(super) delegate: Vec<String>,
}

impl Settings {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// With the key and where it comes from.
    pub(super) fn read(flags: &impl Flags) -> anyhow::Result<Self> {
        let mut figment = Figment::new();
        if let Some(file) = flags.config() {
            if !file.is_file() {
                bail!("--config {}: no such file", file.display());
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed(ENVIRONMENT).ignore(&["config", "log"]).map(|key| dashes(key.as_str()).into());
        Ok(figment.merge(environment).merge(Serialized::defaults(flags)).extract()?)
    }

    /// The network.
    pub(super) fn network(&self) -> anyhow::Result<Network> {
        match &self.prefix {
            Some(text) => text.parse().with_context(|| format!("--prefix {text}")),
            None => Ok(Network::LAB),
        }
    }

    /// The bootstrap addresses.
    pub(super) fn bootstrap(&self) -> anyhow::Result<Vec<Multiaddr>> {
        let parse = |text: &String| parse_bootstrap(text).context("--bootstrap");
        self.bootstrap.iter().map(parse).collect()
    }

    /// A node that only asks. Its key is new each time: a node with the operational key may be running.
    pub(super) fn client(&self) -> anyhow::Result<NodeConfig> {
        let bootstrap = self.bootstrap()?;
        if bootstrap.is_empty() {
            bail!("--bootstrap is missing: name at least one node of the network");
        }
        Ok(NodeConfig { bootstrap, ..NodeConfig::ephemeral() })
    }

    /// The trust anchors.
    pub(super) fn trust_anchors(&self) -> anyhow::Result<Vec<TrustAnchor>> {
        self.trust_anchor.iter().map(|text| values::trust_anchor(text)).collect()
    }

    /// The control socket.
    pub(super) fn control(&self) -> Option<PathBuf> {
        self.control.clone().or_else(|| self.state_dir.as_ref().map(|folder| folder.join("control.sock")))
    }
}

fn dashes(key: &str) -> String {
    key.replace('_', "-")
}
