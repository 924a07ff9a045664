// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `cgeid`: what an issuer and a verifier of identities must do, and what they must refuse.
//!
//! `requirements/draft-cgeid.toml` has the requirements of the draft: `ID-` those of identities at large, `CG-` those of our own
//! profile. Each check is a [`Probe`] whose identifier begins with that of a requirement; the ledger names the tests of all, which
//! may be those of a crate. Certificates and containers are given to
//! the program as files, so that another verifier can take its place; records, and keys of which nobody has the private half,
//! are given to our libraries. The commands of a target file (`other.rs`) are put what can be said by files alone. A check that needs a program which is not there is skipped, and fails where `CI=true`.

mod ahead;
mod container;
mod derivation;
mod dns;
mod exchange;
mod foreign;
mod keys;
mod link;
mod other;
mod pins;
mod profile;
mod record;
mod revocation;
mod temporary;
mod workshop;

use std::fmt::Write as _;

use anyhow::Context as _;
use serde::Deserialize;

use super::Listed;
use super::probe::{self, Fault};
use crate::check::{Asked, Check};
use crate::exchange::recorded;
use crate::progress;
use workshop::Workshop;

/// The requirements of the draft.
#[derive(Debug, Deserialize)]
struct Ledger {
    clause: Vec<Requirement>,
}

/// One requirement.
#[derive(Debug, Deserialize)]
struct Requirement {
    id: String,
    level: String,
    text: String,
    /// What would go wrong without it, where that is not plain.
    why: Option<String>,
    /// What judges it: checks of the suites, and tests of the crates.
    #[serde(default)]
    tests: Vec<String>,
    /// Why nothing does.
    #[serde(alias = "not_ours")]
    untested: Option<String>,
}

impl Requirement {
    /// The tests that are none of this suite's checks, or why nothing judges it.
    fn elsewhere(&self) -> impl Iterator<Item = &str> {
        let tests = self.tests.iter().filter(|test| !probes().iter().any(|probe| probe.id == **test));
        tests.chain(&self.untested).map(String::as_str)
    }
}

/// One check: what is given and must come, and the function that sees to it.
struct Probe {
    /// Identifier of the requirement, a dot, a number.
    id: &'static str,
    about: &'static str,
    judge: fn(&Workshop) -> Judgement,
}

/// What was found where all is well.
type Judgement = Result<String, Fault>;

/// All checks, in the order of the requirements.
fn probes() -> Vec<&'static Probe> {
    let parts = [
        derivation::PROBES,
        profile::PROBES,
        keys::PROBES,
        record::PROBES,
        pins::PROBES,
        container::PROBES,
        revocation::PROBES,
        ahead::PROBES,
        link::PROBES,
        exchange::PROBES,
        foreign::PROBES,
        temporary::PROBES,
    ];
    let mut probes: Vec<_> = parts.into_iter().flatten().collect();
    probes.sort_by_key(|probe| (!probe.id.starts_with("ID-"), probe.id));
    probes
}

fn requirements() -> anyhow::Result<Vec<Requirement>> {
    let ledger: Ledger = toml::from_str(include_str!("../../../requirements/draft-cgeid.toml"))?;
    Ok(ledger.clause)
}

fn requirement<'a>(requirements: &'a [Requirement], probe: &Probe) -> anyhow::Result<&'a Requirement> {
    let found = requirements.iter().find(|requirement| probe.id.split('.').next() == Some(&requirement.id));
    found.with_context(|| format!("{} has no requirement", probe.id))
}

/// Names the checks.
pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    let requirements = requirements()?;
    let entry = |probe: &Probe| {
        let requirement = requirement(&requirements, probe)?;
        Ok(Listed { id: probe.id.into(), clause: requirement.id.clone(), level: requirement.level.clone() })
    };
    probes().into_iter().map(entry).collect()
}

/// Runs the wanted checks.
pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    let requirements = requirements()?;
    let probes: Vec<_> = probes().into_iter().filter(|probe| wanted(probe.id)).collect();
    if probes.is_empty() {
        return Ok(Vec::new());
    }
    let workshop = Workshop::open()?;
    let mut checks = Vec::new();
    for probe in probes {
        if progress::is_over() {
            break;
        }
        let requirement = requirement(&requirements, probe)?;
        let judged = recorded(|| workshop.fits(probe).and_then(|()| (probe.judge)(&workshop)));
        if progress::is_stopped() {
            break;
        }
        let (id, clause, level, about) = (probe.id, &requirement.id, &requirement.level, probe.about);
        let asked = Asked { suite: "cgeid", id, clause, level, about, expected: &requirement.text };
        checks.push(progress::finished(probe::check(&asked, judged)));
    }
    Ok(checks)
}

/// The requirement, and what is given to see whether it is met. The requirement's own identifier shows all its checks.
pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    let requirements = requirements()?;
    let name = id.split('.').next().unwrap_or(id);
    let Some(requirement) = requirements.iter().find(|requirement| requirement.id == name) else { return Ok(None) };
    let probes: Vec<_> =
        probes().into_iter().filter(|probe| probe.id == id || probe.id.split('.').next() == Some(id)).collect();
    if probes.is_empty() && id != name {
        return Ok(None);
    }
    let mut out = format!("{} ({}): {}\n", requirement.id, requirement.level, requirement.text);
    if let Some(why) = &requirement.why {
        let _ = writeln!(out, "Why: {why}");
    }
    out.push('\n');
    for probe in probes {
        let _ = writeln!(out, "{:<10} {}", probe.id, probe.about);
        if let Some(verb) = other::verb(probe.id) {
            let _ = writeln!(out, "{:<10} of a target with [cgeid-issuer]: put to its {}", "", verb.name());
        }
    }
    for elsewhere in requirement.elsewhere() {
        let _ = writeln!(out, "{elsewhere}");
    }
    Ok(Some(out))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use cgeid::Network;

    use super::*;

    #[test]
    fn every_requirement_is_judged_or_says_why_not_and_every_check_judges_one() {
        let requirements = requirements().unwrap();
        for kind in ["ID", "CG"] {
            let of_kind = requirements.iter().filter(|one| one.id.starts_with(kind));
            let mut names: Vec<_> = of_kind.map(|one| one.id.clone()).collect();
            names.sort();
            let expected: Vec<_> = (1..=names.len()).map(|number| format!("{kind}-{number:03}")).collect();
            assert_eq!(names, expected);
        }
        for one in &requirements {
            assert_ne!(one.tests.is_empty(), one.untested.is_none(), "{}", one.id);
        }
        for probe in probes() {
            let requirement = requirement(&requirements, probe).unwrap();
            let named = requirements.iter().any(|one| one.tests.iter().any(|test| test == probe.id));
            assert!(named, "no requirement names {}, a check of {}", probe.id, requirement.id);
        }
    }

    #[test]
    fn no_identifier_is_used_twice() {
        let probes = probes();
        assert!(probes.windows(2).all(|pair| pair[0].id != pair[1].id));
    }

    #[test]
    fn what_is_missing_is_told_apart_from_what_is_broken() {
        let mut workshop = Workshop::open().unwrap();
        workshop.program = "/nonexistent/cgeid".into();
        let found = workshop.certificate("a.der", b"no certificate", Network::LAB);
        assert!(matches!(found, Err(Fault::Missing(why)) if why.contains("/nonexistent/cgeid")));
    }
}
