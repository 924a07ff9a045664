// SPDX-License-Identifier: GPL-2.0-or-later
//! Which suites judge a target, by its roles and claims.

use super::{Claim, Target};

/// What a suite is to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stance {
    /// It judges it.
    Run,
    /// It judges its role, but none of its checks can be made; why.
    Skip(String),
    /// It judges something else.
    NotItsRole,
}

/// Suites of map systems, and the claim without which there is nothing to judge.
const OF_MAP_SYSTEMS: [(&str, Option<Claim>); 6] = [
    ("lisp", None),
    ("facade", None),
    ("lispsec", Some(Claim::LispSec)),
    ("pubsub", Some(Claim::PubSub)),
    ("ddt", Some(Claim::Ddt)),
    ("nat", Some(Claim::Nat)),
];

/// Suites of tunnel routers.
const OF_TUNNEL_ROUTERS: [&str; 2] = ["data-plane", "mobility"];

impl Target {
    /// What the suite of this name is to it.
    pub fn stance(&self, suite: &str) -> Stance {
        if self.is_ours() {
            return Stance::Run;
        }
        if OF_TUNNEL_ROUTERS.contains(&suite) {
            return if self.tunnel_router.is_some() { Stance::Run } else { Stance::NotItsRole };
        }
        match suite {
            "ddt" if self.ddt_node.is_some() || self.ddt_map_resolver.is_some() => return self.claiming(Claim::Ddt),
            "lispsec" if self.lisp_sec.is_some() => return self.claiming(Claim::LispSec),
            "pubsub" if self.pubsub.is_some() => return self.claiming(Claim::PubSub),
            // The table says what there is, and the suite skips what there is not.
            "cgeid" if self.cgeid_issuer.is_some() => return Stance::Run,
            "dht" | "adversary" if self.dht_node.is_some() => return Stance::Run,
            _ => {}
        }
        let of_map_systems = OF_MAP_SYSTEMS.iter().find(|(name, _)| *name == suite);
        match (of_map_systems, &self.map_system) {
            (Some((_, Some(claim))), Some(_)) if !self.claims(*claim) => self.claiming(*claim),
            (Some(("ddt", _)), Some(_)) => Stance::Run,
            // What it was told is in its file, as far as that says it.
            (Some(("lispsec" | "pubsub", _)), Some(_)) if self.given().is_some() => Stance::Run,
            (Some((name, Some(_))), Some(_)) if !self.is_configured_by_suites() => {
                Stance::Skip(format!("this suite dictates a configuration, {}", wanted_table(name)))
            }
            (Some(_), Some(_)) => Stance::Run,
            _ => Stance::NotItsRole,
        }
    }

    /// It is judged if it claims this.
    fn claiming(&self, claim: Claim) -> Stance {
        if self.claims(claim) { Stance::Run } else { Stance::Skip(format!("{} does not claim {claim}", self.name)) }
    }
}

/// What a target file would have to have for the suite of this name to run.
fn wanted_table(suite: &str) -> &'static str {
    match suite {
        "lispsec" => "which the target file would spell in [lisp-sec.start]",
        "pubsub" => "which the target file would spell in [pubsub.start] and pubsub.subscriber",
        _ => "which no table of a target file spells",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_foreign_target_is_judged_by_the_suites_of_its_roles_alone() {
        let openlisp = include_str!("../../targets/openlisp.toml");
        let openlisp = Target::parse(openlisp, Path::new("openlisp.toml")).unwrap();
        assert_eq!(openlisp.stance("lisp"), Stance::Run);
        assert_eq!(openlisp.stance("pubsub"), Stance::Skip("OpenLISP does not claim pubsub".into()));
        assert_eq!((openlisp.stance("wire"), openlisp.stance("dht")), (Stance::NotItsRole, Stance::NotItsRole));
        let claims = openlisp.claims.iter().copied().chain([Claim::PubSub]).collect();
        let claiming = Target { claims, ..openlisp };
        assert!(matches!(claiming.stance("pubsub"), Stance::Skip(why) if why.contains("[pubsub.start]")));
        for suite in crate::suite::SUITES {
            assert_eq!(Target::ours().stance(suite.name), Stance::Run, "{}", suite.name);
        }
    }
}
