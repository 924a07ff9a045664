// SPDX-License-Identifier: GPL-2.0-or-later
//! One check of a suite, and how a suite lists, runs and explains its checks.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Listed;
use crate::check::{Asked, Check, Verdict, cited};
use crate::exchange::{self, Recording, recorded};
use crate::progress;

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

/// A check of what may be left out, and must be right if it is not.
pub(super) const fn may<R>(
    id: &'static str,
    clause: &'static str,
    about: &'static str,
    judge: fn(&R) -> Judgement,
) -> Probe<R> {
    Probe { id, clause, level: "MAY", about, judge }
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
    /// Why it says nothing about this target: that does not claim what it needs, or cannot be brought to it.
    Unfit(String),
}

/// Something else came than must.
pub(super) fn broken(came: impl std::fmt::Display) -> Fault {
    Fault::Broken(came.to_string())
}

/// The machine lacks something.
pub(super) fn missing(what: impl std::fmt::Display) -> Fault {
    Fault::Missing(what.to_string())
}

/// A check does not fit the target.
pub(super) fn unfit(why: impl std::fmt::Display) -> Fault {
    Fault::Unfit(why.to_string())
}

/// `found` if it holds.
pub(super) fn expect(holds: bool, found: impl std::fmt::Display) -> Judgement {
    if holds { Ok(found.to_string()) } else { Err(broken(found)) }
}

/// Something that must be as expected.
pub(super) fn equal<T: PartialEq + Debug>(what: &str, came: T, expected: T) -> Result<(), Fault> {
    exchange::expected(format_args!("{what}: {expected:?}"));
    if came == expected { Ok(()) } else { Err(broken(format!("{what}: expected {expected:?}, came {came:?}"))) }
}

/// Nothing must have come.
pub(super) fn nothing<T>(what: &str, came: &[T]) -> Result<(), Fault> {
    exchange::expected(format_args!("{what}: nothing"));
    if came.is_empty() { Ok(()) } else { Err(broken(format!("{what}: expected nothing, came {}", came.len()))) }
}

/// Names the checks.
pub(super) fn list<R>(probes: &[&Probe<R>]) -> Vec<Listed> {
    let entry =
        |probe: &&Probe<R>| Listed { id: probe.id.into(), clause: probe.clause.into(), level: probe.level.into() };
    probes.iter().map(entry).collect()
}

/// Runs the wanted checks one after the other; the room is opened only if there are any.
pub(super) fn run<R>(
    suite: &'static str,
    probes: &[&Probe<R>],
    wanted: &dyn Fn(&str) -> bool,
    open: impl FnOnce() -> anyhow::Result<R>,
) -> anyhow::Result<Vec<Check>> {
    run_as(suite, probes, wanted, open, |room, probe| (probe.judge)(room))
}

/// The same where the room `O` that is opened has to do with how a check is made.
pub(super) fn run_as<R, O>(
    suite: &'static str,
    probes: &[&Probe<R>],
    wanted: &dyn Fn(&str) -> bool,
    open: impl FnOnce() -> anyhow::Result<O>,
    judge: impl Fn(&O, &Probe<R>) -> Judgement,
) -> anyhow::Result<Vec<Check>> {
    let probes: Vec<_> = probes.iter().filter(|probe| wanted(probe.id)).collect();
    if probes.is_empty() {
        return Ok(Vec::new());
    }
    let room = open()?;
    let mut checks = Vec::new();
    for probe in probes {
        if progress::is_over() {
            break;
        }
        let judged = recorded(|| judge(&room, probe));
        // What was judged while everything ended says nothing.
        if progress::is_stopped() {
            break;
        }
        checks.push(progress::finished(checked(suite, probe, judged)));
    }
    Ok(checks)
}

/// Runs the wanted checks side by side, each in every room; one that does not pass in any does not pass.
pub(super) fn run_beside<R: Sync>(
    suite: &'static str,
    probes: &[&Probe<R>],
    wanted: &dyn Fn(&str) -> bool,
    rooms: &[(&str, R)],
) -> Vec<Check> {
    run_some_beside(AT_ONCE, suite, probes, wanted, rooms)
}

/// The same of checks that work: so many at once.
pub(super) fn run_some_beside<R: Sync>(
    at_once: usize,
    suite: &'static str,
    probes: &[&Probe<R>],
    wanted: &dyn Fn(&str) -> bool,
    rooms: &[(&str, R)],
) -> Vec<Check> {
    let probes: Vec<_> = probes.iter().filter(|probe| wanted(probe.id)).collect();
    let tasks: Vec<_> = (0..probes.len()).flat_map(|probe| (0..rooms.len()).map(move |room| (probe, room))).collect();
    let next = AtomicUsize::new(0);
    let judged: Vec<Mutex<Option<Judged>>> = tasks.iter().map(|_| Mutex::new(None)).collect();
    let left: Vec<_> = probes.iter().map(|_| AtomicUsize::new(rooms.len())).collect();
    let done: Vec<Mutex<Option<Check>>> = probes.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while !progress::is_over() {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let Some((probe, room)) = tasks.get(task).copied() else { return };
            let judgement = recorded(|| (probes[probe].judge)(&rooms[room].1));
            // What was judged while everything ended says nothing.
            if progress::is_stopped() {
                return;
            }
            *lock(&judged[task]) = Some(judgement);
            if left[probe].fetch_sub(1, Ordering::AcqRel) == 1 {
                let of_it = &judged[probe * rooms.len()..(probe + 1) * rooms.len()];
                let all: Vec<_> = of_it.iter().filter_map(|task| lock(task).take()).collect();
                let check = checked(suite, probes[probe], together(rooms, all));
                *lock(&done[probe]) = Some(progress::finished(check));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(tasks.len()) {
            scope.spawn(work);
        }
    });
    done.iter().filter_map(|check| lock(check).take()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A judgement, and what was sent and heard for it.
pub(super) type Judged = (Judgement, Recording);

/// Checks that run side by side: they wait for packets more than they work.
const AT_ONCE: usize = 16;

/// What was found in all rooms; if that is the same, once.
fn together<R>(rooms: &[(&str, R)], judged: Vec<Judged>) -> Judged {
    let (judgements, recordings): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
    let name = |room: &str| if rooms.len() > 1 { room.to_owned() } else { String::new() };
    let named = rooms.iter().zip(recordings);
    let all = named.fold(Recording::default(), |all, ((room, _), recording)| all.and(&name(room), recording));
    (found_in(rooms, &judgements), all)
}

fn found_in<R>(rooms: &[(&str, R)], judgements: &[Judgement]) -> Judgement {
    let told = |judgement: &Judgement| match judgement {
        Ok(came) | Err(Fault::Broken(came) | Fault::Missing(came) | Fault::Unfit(came)) => came.clone(),
    };
    let each: Vec<_> = judgements.iter().map(told).collect();
    let all = match each.first() {
        Some(first) if each.iter().all(|other| other == first) => first.clone(),
        _ => {
            let named = rooms.iter().zip(&each).map(|((room, _), came)| format!("{room}: {came}"));
            named.collect::<Vec<_>>().join("; ")
        }
    };
    if judgements.iter().any(|judgement| matches!(judgement, Err(Fault::Broken(_)))) {
        return Err(Fault::Broken(all));
    }
    if judgements.iter().any(|judgement| matches!(judgement, Err(Fault::Missing(_)))) {
        return Err(Fault::Missing(all));
    }
    if judgements.iter().any(Result::is_err) { Err(Fault::Unfit(all)) } else { Ok(all) }
}

fn checked<R>(suite: &'static str, probe: &Probe<R>, judged: Judged) -> Check {
    let (id, clause, level, about) = (probe.id, probe.clause, probe.level, probe.about);
    check(&Asked { suite, id, clause, level, about, expected: "" }, judged)
}

/// The check that comes of a judgement. What is missing fails where `CI=true`.
pub(super) fn check(asked: &Asked<'_>, (judgement, recording): Judged) -> Check {
    let lacks = matches!(judgement, Err(Fault::Missing(_)));
    let ci = std::env::var("CI").as_deref() == Ok("true");
    let (result, came) = match judgement {
        Ok(came) => (Verdict::Pass, came),
        Err(Fault::Broken(came)) => (Verdict::Fail, came),
        Err(Fault::Missing(what)) if ci => (Verdict::Fail, what),
        Err(Fault::Missing(what) | Fault::Unfit(what)) => (Verdict::Skip, what),
    };
    Check { lacks, ..Check::judged(asked, result, came, recording) }
}

/// A check that was not run for this reason, which is no want of this machine.
pub(super) fn skipped<R>(suite: &'static str, probe: &Probe<R>, why: &str) -> Check {
    checked(suite, probe, (Err(unfit(why)), Recording::default()))
}

/// What a check is about; all checks of a clause for its number before the dot.
pub(super) fn explain<R>(probes: &[&Probe<R>], id: &str) -> Option<String> {
    let mut out = String::new();
    for probe in probes.iter().filter(|probe| probe.id == id || probe.id.split('.').next() == Some(id)) {
        let clause = cited(probe.clause);
        let _ = writeln!(out, "{:<8} {:<6} {clause}\n         given: {}", probe.id, probe.level, probe.about);
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PROBES: [&Probe<u8>; 3] = [
        &must("A.1", "1", "same", |_| Ok("same".into())),
        &must("A.2", "1", "odd", |room| expect(room % 2 == 1, room)),
        &should("A.3", "1", "absent", |room| if *room == 1 { Err(missing("a tool")) } else { Ok("well".into()) }),
    ];

    #[test]
    fn a_check_passes_if_it_does_in_every_room() {
        let rooms = [("one", 1), ("two", 2)];
        let checks = run_beside("s", &PROBES, &|_| true, &rooms);
        let came: Vec<_> = checks.iter().map(|check| (check.result, check.evidence.as_str())).collect();
        assert_eq!(came[0], (Verdict::Pass, "same: same"));
        assert_eq!(came[1], (Verdict::Fail, "odd: one: 1; two: 2"));
        assert_eq!(came[2].1, "absent: one: a tool; two: well");
        assert_eq!(checks.iter().map(|check| check.lacks).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(came[2].0 == Verdict::Skip, std::env::var("CI").as_deref() != Ok("true"));
        assert_eq!(run_beside("s", &PROBES, &|id| id == "A.1", &rooms).len(), 1);
        assert!(run_beside("s", &PROBES, &|_| false, &rooms).is_empty());
    }
}
