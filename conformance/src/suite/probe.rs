// SPDX-License-Identifier: GPL-2.0-or-later
//! One check of a suite of the DHT, and how a suite lists, runs and explains its checks.

use std::fmt::Write as _;

use super::Listed;
use crate::check::{Check, Verdict};

/// One check: what is given and must come, and the function that sees to it in the suite's room `R`.
pub(super) struct Probe<R> {
    /// Unique among all suites.
    pub(super) id: &'static str,
    /// The section of the draft that asks for it.
    pub(super) clause: &'static str,
    /// MUST, SHOULD, ...
    pub(super) level: &'static str,
    /// What is given.
    pub(super) about: &'static str,
    /// Sees whether what must come does.
    pub(super) judge: fn(&R) -> Judgement,
}

/// A check of what must be.
pub(super) const fn must<R>(
    id: &'static str,
    clause: &'static str,
    about: &'static str,
    judge: fn(&R) -> Judgement,
) -> Probe<R> {
    Probe { id, clause, level: "MUST", about, judge }
}

/// A check of what should be.
pub(super) const fn should<R>(
    id: &'static str,
    clause: &'static str,
    about: &'static str,
    judge: fn(&R) -> Judgement,
) -> Probe<R> {
    Probe { id, clause, level: "SHOULD", about, judge }
}

/// What was found where all is well.
pub(super) type Judgement = Result<String, Fault>;

/// Why a check did not pass.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// What came instead.
    Broken(String),
    /// What is missing to judge it.
    Missing(String),
}

/// Something else came than must.
pub(super) fn broken(came: impl std::fmt::Display) -> Fault {
    Fault::Broken(came.to_string())
}

/// The machine lacks something.
pub(super) fn missing(what: impl std::fmt::Display) -> Fault {
    Fault::Missing(what.to_string())
}

/// `found` if it holds.
pub(super) fn expect(holds: bool, found: impl std::fmt::Display) -> Judgement {
    if holds { Ok(found.to_string()) } else { Err(broken(found)) }
}

/// Names the checks.
pub(super) fn list<R>(probes: &[&Probe<R>]) -> Vec<Listed> {
    let entry =
        |probe: &&Probe<R>| Listed { id: probe.id.into(), clause: probe.clause.into(), level: probe.level.into() };
    probes.iter().map(entry).collect()
}

/// Runs the wanted checks; the room is opened only if there are any. What is missing fails where `CI=true`.
pub(super) fn run<R>(
    suite: &'static str,
    probes: &[&Probe<R>],
    wanted: &dyn Fn(&str) -> bool,
    open: impl FnOnce() -> anyhow::Result<R>,
) -> anyhow::Result<Vec<Check>> {
    let probes: Vec<_> = probes.iter().filter(|probe| wanted(probe.id)).collect();
    if probes.is_empty() {
        return Ok(Vec::new());
    }
    let room = open()?;
    let ci = std::env::var("CI").as_deref() == Ok("true");
    let check = |probe: &&&Probe<R>| {
        let (result, came) = match (probe.judge)(&room) {
            Ok(came) => (Verdict::Pass, came),
            Err(Fault::Broken(came)) => (Verdict::Fail, came),
            Err(Fault::Missing(what)) if ci => (Verdict::Fail, what),
            Err(Fault::Missing(what)) => (Verdict::Skip, what),
        };
        Check {
            id: probe.id.into(),
            clause: probe.clause.into(),
            level: probe.level.into(),
            suite,
            result,
            evidence: format!("{}: {came}", probe.about),
        }
    };
    Ok(probes.iter().map(check).collect())
}

/// What a check is about; all checks of a clause for its number before the dot.
pub(super) fn explain<R>(probes: &[&Probe<R>], id: &str) -> Option<String> {
    let mut out = String::new();
    for probe in probes.iter().filter(|probe| probe.id == id || probe.id.split('.').next() == Some(id)) {
        let _ = writeln!(out, "{:<8} {:<6} {}\n         {}", probe.id, probe.level, probe.clause, probe.about);
    }
    (!out.is_empty()).then_some(out)
}
