// SPDX-License-Identifier: GPL-2.0-or-later
//! The role of ITR and ETR: how it is started between a site and the core, and what it shares with the Map-Server there.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use super::error::Wrong;
use super::map_system::{Key, WrittenKey};
use super::start::{self, Start};
use super::{Claim, claims};

/// A tunnel router.
#[derive(Debug, Clone)]
pub enum TunnelRouter {
    /// The suites start it themselves, with settings of their own: `configured-as = "lisp-xtr"`; what it claims in this role
    /// beside what its target does in all.
    Configured(BTreeSet<Claim>),
    /// It is started in a namespace of its own.
    Started(Box<Started>),
}

/// One that its file tells how to start.
#[derive(Debug, Clone)]
pub struct Started {
    /// What starts it. There are two more places: `{map-server}`, which is its Map-Resolver too, and `{setting}`. Its site is the only
    /// one of `{sites}`.
    pub start: Start,
    /// The key that it shares with its Map-Server.
    pub key: Key,
    /// What it claims in this role beside what its target does in all.
    pub claims: BTreeSet<Claim>,
    /// Whether packets cross it: one that only speaks LISP to others is held against what it says.
    pub data_plane: bool,
    /// What `{setting}` stands for where sources are checked strictly, and 100.64.0.80 is a PITR.
    pub strict: String,
    /// The same where they are not checked, and 100.64.0.78 is a trusted peer.
    pub unchecked: String,
    /// The same where 100.64.0.0/16 and 2001:db8:a:1::/64 are trusted peers, and the own map-version is 7.
    pub trusted: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    configured_as: Option<Spanned<String>>,
    #[serde(default)]
    claims: Vec<Spanned<String>>,
    start: Option<start::Written>,
    key: Option<WrittenKey>,
    data_plane: Option<bool>,
    #[serde(default)]
    strict: String,
    #[serde(default)]
    unchecked: String,
    #[serde(default)]
    trusted: String,
}

/// Places that there are beside those of all targets.
const PLACES: &[&str] = &["map-server", "setting"];

impl Written {
    pub(super) fn checked(self, at: usize) -> Result<TunnelRouter, Wrong> {
        match (self.configured_as, self.start, self.key) {
            (Some(name), None, None) if name.get_ref() == "lisp-xtr" => {
                Ok(TunnelRouter::Configured(claims::checked(&self.claims)?))
            }
            (Some(name), None, None) => {
                let problem = format!("tunnel-router.configured-as: {:?}; there is \"lisp-xtr\"", name.get_ref());
                Err(Wrong::at(name.span().start, problem))
            }
            (None, Some(start), Some(key)) => Ok(TunnelRouter::Started(Box::new(Started {
                start: start.checked_with(PLACES)?,
                key: key.checked(None)?,
                claims: claims::checked(&self.claims)?,
                data_plane: self.data_plane.unwrap_or(true),
                strict: self.strict,
                unchecked: self.unchecked,
                trusted: self.trusted,
            }))),
            _ => Err(Wrong::at(at, "tunnel-router: either `start` and `key`, or `configured-as`")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::target::{Stance, Target};

    const ROUTER: &str = r#"name = "a router"
claims = []

[tunnel-router]
claims = ["smr"]
key = { algorithm = "hmac-sha-1", secret = "s" }
trusted = "trust"

[tunnel-router.start]
command = ["router", "{folder}", "{map-server}"]

[[tunnel-router.start.file]]
name = "conf"
text = "{sites}{setting}"
"#;

    fn parse(text: &str) -> Result<Target, crate::target::TargetError> {
        Target::parse(text, Path::new("t.toml"))
    }

    #[test]
    fn a_router_has_a_start_a_key_and_claims_of_its_own() {
        let target = parse(ROUTER).unwrap();
        let started = |router: &TunnelRouter| match router {
            TunnelRouter::Started(router) => Some(router.clone()),
            TunnelRouter::Configured(_) => None,
        };
        let router = target.tunnel_router.as_ref().and_then(started).unwrap();
        assert_eq!((router.trusted.as_str(), router.strict.as_str(), router.data_plane), ("trust", "", true));
        let speaks_only = parse(&ROUTER.replace("trusted =", "data-plane = false\ntrusted =")).unwrap();
        assert!(speaks_only.tunnel_router.as_ref().and_then(started).is_some_and(|router| !router.data_plane));
        assert!(router.claims.contains(&Claim::Smr) && !target.claims(Claim::Smr));
        assert_eq!((target.stance("data-plane"), target.stance("mobility")), (Stance::Run, Stance::Run));
        assert_eq!((target.stance("lisp"), target.stance("nat")), (Stance::NotItsRole, Stance::NotItsRole));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let wrong = |from: &str, to: &str| parse(&ROUTER.replace(from, to)).unwrap_err().to_string();
        assert!(wrong("{map-server}", "{map-servers}").contains("t.toml:10: {map-servers} is no placeholder"));
        assert!(wrong("\"smr\"", "\"smrs\"").contains("t.toml:5: claims: \"smrs\" is none"));
        assert!(wrong("key = {", "keys = {").starts_with("t.toml:6: "));
        let of_neither = parse("name = \"n\"\nclaims = []\n\n[tunnel-router]\n").unwrap_err().to_string();
        assert!(of_neither.starts_with("t.toml:4: tunnel-router: either"), "{of_neither}");
    }
}
