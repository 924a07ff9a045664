// SPDX-License-Identifier: GPL-2.0-or-later
//! The target of a run: what is judged, described in a small TOML file.
//!
//! A file names the target, says what it claims to support ([`Claim`]), and has a table for each role that it plays, which tells how
//! it is started or where it runs. Programs are named by environment variables, never by paths. A wrong file is refused with its line.

mod cgeid_issuer;
mod claims;
mod dht_node;
mod dictated;
mod error;
mod given;
mod map_system;
mod stance;
mod start;
pub mod template;
mod tunnel_router;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use serde::Deserialize;
use toml::Spanned;

pub use cgeid_issuer::{Asked, CgeidIssuer};
pub use claims::Claim;
pub use dht_node::DhtNode;
pub(crate) use dht_node::is_multiaddr;
pub use dictated::{Dictated, Lack};
pub use error::TargetError;
pub(crate) use given::REQUIRES_LISP_SEC;
pub use given::{Given, ItrKey, Subscribers};
pub use map_system::{Key, MapSystem, Means, Site};
pub use stance::Stance;
pub use start::{File, Start};
pub use tunnel_router::{Started, TunnelRouter};

use error::Wrong;

/// The target that is judged where none is named: ours.
const OURS: &str = include_str!("../../targets/ipv6mesh.toml");
/// What it is called; no other may be called so unless it takes our configurations.
pub(crate) const OUR_NAME: &str = "ipv6mesh";
/// Octets of a target file; those that ship have three thousand.
const MOST: usize = 1 << 20;

/// An implementation, as its file describes it.
#[derive(Debug, Clone)]
pub struct Target {
    /// What it is called in reports.
    pub name: String,
    /// What it says that it supports.
    pub claims: BTreeSet<Claim>,
    /// Its Map-Server and Map-Resolver, if it has one.
    pub map_system: Option<MapSystem>,
    /// Its ITR and ETR, if it has them.
    pub tunnel_router: Option<TunnelRouter>,
    /// Its DDT node, if it has one that is started for it.
    pub ddt_node: Option<Dictated>,
    /// Its DDT Map-Resolver, if it has one that is started for it.
    pub ddt_map_resolver: Option<Dictated>,
    /// Its Map-Server and Map-Resolver with LISP-SEC, if it is started for it.
    pub lisp_sec: Option<Dictated>,
    /// Its Map-Server with subscribers, if it is started for it.
    pub pubsub: Option<Dictated>,
    /// Its issuer and verifier of CGEIDs, if it has one.
    pub cgeid_issuer: Option<CgeidIssuer>,
    /// Its DHT node, if it has one.
    pub dht_node: Option<DhtNode>,
}

/// A file as it stands. Tables have no spans: one that is named by its parts alone is nowhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: Spanned<String>,
    claims: Vec<Spanned<String>>,
    map_system: Option<map_system::Written>,
    tunnel_router: Option<tunnel_router::Written>,
    ddt_node: Option<dictated::Written>,
    ddt_map_resolver: Option<dictated::Written>,
    lisp_sec: Option<dictated::Written>,
    pubsub: Option<dictated::Written>,
    cgeid_issuer: Option<cgeid_issuer::Written>,
    dht_node: Option<dht_node::Written>,
}

static JUDGED: OnceLock<Target> = OnceLock::new();

/// Says which target this process judges; once, before any suite runs.
pub fn judge(target: Target) {
    // A second one would be a mistake of the caller; the first stands, as the suites may have looked at it.
    let _ = JUDGED.set(target);
}

/// The target that this process judges: ours, unless another was named.
pub fn judged() -> &'static Target {
    JUDGED.get_or_init(Target::ours)
}

impl Target {
    /// Ours.
    pub fn ours() -> Self {
        // A test reads it; a file that shipped broken would judge nothing.
        Self::parse(OURS, Path::new("ipv6mesh.toml")).unwrap_or_else(|_| Self {
            name: OUR_NAME.into(),
            claims: Claim::ALL.iter().map(|(claim, ..)| *claim).collect(),
            map_system: None,
            tunnel_router: None,
            ddt_node: None,
            ddt_map_resolver: None,
            lisp_sec: None,
            pubsub: None,
            cgeid_issuer: None,
            dht_node: None,
        })
    }

    /// Reads a target file.
    ///
    /// # Errors
    /// Names the file, the line, and what is wrong.
    pub fn read(path: &Path) -> Result<Self, TargetError> {
        let text = program::files::read_text(path, MOST).map_err(|error| TargetError::unreadable(path, &error))?;
        Self::parse(&text, path)
    }

    /// Reads the text of a target file; `path` is for messages.
    ///
    /// # Errors
    /// Names the file, the line, and what is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, TargetError> {
        let written: Written = toml::from_str(text).map_err(|error| Wrong::from(error).of(text, path))?;
        written.checked(text).map_err(|wrong| wrong.of(text, path))
    }

    /// Whether it says that it supports this.
    pub fn claims(&self, claim: Claim) -> bool {
        self.claims.contains(&claim)
    }

    /// Whether it is this implementation, which all suites judge.
    pub fn is_ours(&self) -> bool {
        self.name == OUR_NAME
    }

    /// What its file gives of a map system that runs elsewhere.
    pub fn given(&self) -> Option<&Given> {
        match &self.map_system.as_ref()?.means {
            Means::Elsewhere { given, .. } => Some(given),
            Means::Configured | Means::Started(_) => None,
        }
    }

    /// Whether the suites write the configurations of its map system, as they do for ours.
    pub fn is_configured_by_suites(&self) -> bool {
        self.map_system.as_ref().is_none_or(|map_system| matches!(map_system.means, Means::Configured))
    }
}

impl Written {
    fn checked(self, text: &str) -> Result<Target, Wrong> {
        if self.name.get_ref().trim().is_empty() {
            return Err(Wrong::at(self.name.span().start, "name: empty"));
        }
        let claims = claims::checked(&self.claims)?;
        // Where a table is said to be wrong as a whole.
        let table = |name: &str| text.find(&format!("[{name}")).unwrap_or_default();
        let map_system = self.map_system.map(|written| written.checked(table("map-system"))).transpose()?;
        let tunnel_router = self.tunnel_router.map(|written| written.checked(table("tunnel-router"))).transpose()?;
        let dictated = |written: Option<dictated::Written>, places| written.map(|it| it.checked(places)).transpose();
        let ddt_node = dictated(self.ddt_node, dictated::OF_DDT)?;
        let ddt_map_resolver = dictated(self.ddt_map_resolver, dictated::OF_DDT)?;
        let lisp_sec = dictated(self.lisp_sec, dictated::OF_LISP_SEC)?;
        let pubsub = dictated(self.pubsub, dictated::OF_PUBSUB)?;
        let cgeid_issuer = self.cgeid_issuer.map(|written| written.checked(table("cgeid-issuer"))).transpose()?;
        let dht_node = self.dht_node.map(|written| written.checked(table("dht-node"))).transpose()?;
        let is_dictated = [&ddt_node, &ddt_map_resolver, &lisp_sec, &pubsub].into_iter().any(Option::is_some);
        let has_other_roles = is_dictated || cgeid_issuer.is_some() || dht_node.is_some();
        if map_system.is_none() && tunnel_router.is_none() && !has_other_roles {
            let problem = "no role: there is none of [map-system], [tunnel-router], [cgeid-issuer] and [dht-node], so there is nothing to judge";
            return Err(Wrong::at(self.name.span().start, problem));
        }
        if self.name.get_ref() == OUR_NAME && !matches!(&map_system, Some(MapSystem { means: Means::Configured, .. })) {
            return Err(Wrong::at(
                self.name.span().start,
                format!("name: {OUR_NAME} is what this implementation is called"),
            ));
        }
        let name = self.name.into_inner();
        Ok(Target {
            name,
            claims,
            map_system,
            tunnel_router,
            ddt_node,
            ddt_map_resolver,
            lisp_sec,
            pubsub,
            cgeid_issuer,
            dht_node,
        })
    }
}

#[cfg(test)]
mod tests;
