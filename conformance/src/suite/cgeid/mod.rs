// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `cgeid`: what an issuer and a verifier of identities must do, and what they must refuse.
//!
//! `requirements/identities.json` has the requirements: `ID-` those of identities at large, `CG-` those of our own profile. Each check is a [`Probe`] whose identifier begins with that of its
//! requirement; a requirement without one says who judges it, or why nobody does. Certificates and containers are given to
//! the program as files, so that another verifier can take its place; records, and keys of which nobody has the private half,
//! are given to our libraries. A check that needs a program which is not there is skipped, and fails where `CI=true`.

mod ahead;
mod container;
mod derivation;
mod dns;
mod exchange;
mod foreign;
mod keys;
mod link;
mod pins;
mod profile;
mod record;
mod revocation;
mod temporary;
mod workshop;

use std::fmt::Write as _;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Listed, stop};
use crate::check::{Check, Verdict};
use workshop::Workshop;

/// One requirement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    id: String,
    level: String,
    text: String,
    /// Who judges it, or why nobody does, where there is no check here.
    elsewhere: Option<String>,
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

/// Why a check did not pass.
#[derive(Debug)]
enum Fault {
    /// What came instead.
    Broken(String),
    /// What is missing to judge it.
    Missing(String),
}

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

fn requirements() -> serde_json::Result<Vec<Requirement>> {
    serde_json::from_str(include_str!("../../../requirements/identities.json"))
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
    let ci = std::env::var("CI").as_deref() == Ok("true");
    let check = |probe: &Probe| {
        let requirement = requirement(&requirements, probe)?;
        let (result, came) = match (probe.judge)(&workshop) {
            Ok(came) => (Verdict::Pass, came),
            Err(Fault::Broken(came)) => (Verdict::Fail, came),
            Err(Fault::Missing(what)) if ci => (Verdict::Fail, what),
            Err(Fault::Missing(what)) => (Verdict::Skip, what),
        };
        if result == Verdict::Fail {
            stop::failed();
        }
        Ok(Check {
            id: probe.id.into(),
            clause: requirement.id.clone(),
            level: requirement.level.clone(),
            suite: "cgeid",
            result,
            evidence: format!("{}: {came}", probe.about),
        })
    };
    probes.into_iter().map_while(|probe| (!stop::is_over()).then(|| check(probe))).collect()
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
    let mut out = format!("{} ({}): {}\n\n", requirement.id, requirement.level, requirement.text);
    for probe in probes {
        let _ = writeln!(out, "{:<10} {}", probe.id, probe.about);
    }
    if let Some(elsewhere) = &requirement.elsewhere {
        let _ = writeln!(out, "{elsewhere}");
    }
    Ok(Some(out))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_judged_or_says_who_does() {
        let requirements = requirements().unwrap();
        let names = |kind: &'static str, count| (1..=count).map(move |number| format!("{kind}-{number:03}"));
        let expected: Vec<_> = names("ID", 20).chain(names("CG", 8)).collect();
        assert_eq!(requirements.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), expected);
        for one in &requirements {
            let judged = probes().iter().any(|probe| requirement(&requirements, probe).unwrap().id == one.id);
            assert_ne!(judged, one.elsewhere.is_some(), "{}", one.id);
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
        let found = workshop.show("a.der", b"no certificate", &[]);
        assert!(matches!(found, Err(Fault::Missing(why)) if why.contains("/nonexistent/cgeid")));
    }
}
