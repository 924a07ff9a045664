// SPDX-License-Identifier: GPL-2.0-or-later
//! How far a run is: told on standard error while it lasts, and kept, so that one that is interrupted is still reported.
//!
//! A run is one to a process: the suites tell what is done from whatever thread they judge in.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use interop::interrupt;

use crate::check::{Check, Verdict, cited};
use crate::report::shown;

/// A line that is not rewritten in place comes no oftener.
const PACE: Duration = Duration::from_secs(5);
/// A line that is rewritten is, so often: the seconds are seen to pass.
const BEAT: Duration = Duration::from_millis(500);
/// How long a check that runs when the run is interrupted may take to end: most need less, and what waits several times for what does not
/// come needs more. What still runs then is ended without it.
pub const GRACE: Duration = Duration::from_secs(15);

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    Silent,
    /// A line that is rewritten, on a terminal.
    Rewritten,
    /// A line now and then.
    Lines,
}

impl Style {
    /// On a terminal, or if it is asked for.
    pub fn of(asked: bool) -> Self {
        match (stderr().is_terminal(), asked) {
            (true, _) => Self::Rewritten,
            (false, true) => Self::Lines,
            (false, false) => Self::Silent,
        }
    }
}

struct Run {
    style: Style,
    /// Those that are being judged.
    suites: Vec<&'static str>,
    total: usize,
    failed: BTreeSet<String>,
    done: Vec<Check>,
    begun: Instant,
    told: Option<Instant>,
}

static STOPS_AT_FAILURE: AtomicBool = AtomicBool::new(false);
static HAS_FAILED: AtomicBool = AtomicBool::new(false);
static IS_GIVEN_UP: AtomicBool = AtomicBool::new(false);

static RUN: Mutex<Option<Run>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Run>> {
    RUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins a run of so many checks.
pub fn begin(total: usize, style: Style) {
    let (failed, done, begun) = (BTreeSet::new(), Vec::new(), Instant::now());
    *lock() = Some(Run { style, suites: Vec::new(), total, failed, done, begun, told: None });
    if style == Style::Rewritten {
        // It ends with the process, or when there is no run any more.
        std::thread::spawn(|| {
            while lock().as_mut().map(Run::rewrite).is_some() {
                std::thread::sleep(BEAT);
            }
        });
    }
}

/// A suite begins.
pub fn suite(name: &'static str) {
    if let Some(run) = lock().as_mut() {
        run.suites.push(name);
        run.tell(true);
    }
}

/// A suite has ended; others may go on.
pub fn suite_ended(name: &'static str) {
    if let Some(run) = lock().as_mut() {
        run.suites.retain(|other| *other != name);
    }
}

/// From now on, no check of this process begins once one has failed.
pub fn stop_at_first_failure() {
    STOPS_AT_FAILURE.store(true, Ordering::Relaxed);
}

/// From now on, no check of this process begins: the machine lacks what the run needs, and the run says that instead.
pub fn give_up() {
    IS_GIVEN_UP.store(true, Ordering::Relaxed);
}

/// No more check is to begin: somebody wants the run to end, a check has failed and that was all to be known, or the run is given up.
pub fn is_over() -> bool {
    let is_given_up = IS_GIVEN_UP.load(Ordering::Relaxed);
    is_given_up || is_stopped() || STOPS_AT_FAILURE.load(Ordering::Relaxed) && HAS_FAILED.load(Ordering::Relaxed)
}

/// A check is done, or done once more; it is handed back.
pub fn finished(check: Check) -> Check {
    HAS_FAILED.fetch_or(check.result == Verdict::Fail, Ordering::Relaxed);
    if let Some(run) = lock().as_mut() {
        // One that is made once more stands for what it was before.
        run.done.retain(|before| (&before.suite, &before.id) != (&check.suite, &check.id));
        run.failed.remove(&check.id);
        run.done.push(check.clone());
        if check.result == Verdict::Fail {
            run.failed.insert(check.id.clone());
            run.tell_failure(&check);
        }
        run.tell(false);
    }
    check
}

/// The checks of a suite that are done, in the order in which they were.
pub fn done_of(suite: &str) -> Vec<Check> {
    let of_it = |run: &Run| run.done.iter().filter(|check| check.suite == suite).cloned().collect();
    lock().as_ref().map(of_it).unwrap_or_default()
}

/// The run is over: what is told of it goes away, and all that was done is handed out in the order in which it was.
pub fn end() -> Vec<Check> {
    let Some(mut run) = lock().take() else { return Vec::new() };
    run.clear();
    run.done
}

/// Whether somebody wants the run to end.
pub fn is_stopped() -> bool {
    interrupt::check().is_err()
}

/// Calls `late` if the run still goes on so long after it was interrupted.
pub fn watch(late: impl FnOnce(Vec<Check>) + Send + 'static) -> std::io::Result<()> {
    interrupt::watch()?;
    std::thread::Builder::new().name("interrupted".into()).spawn(move || {
        while !is_stopped() {
            std::thread::sleep(BEAT);
        }
        if let Some(run) = lock().as_mut() {
            run.clear();
            // Nobody may read standard error any more.
            let _ = writeln!(stderr(), "conformance: interrupted; what runs has {} s to end", GRACE.as_secs());
        }
        std::thread::sleep(GRACE);
        if lock().is_some() {
            late(end());
        }
    })?;
    Ok(())
}

impl Run {
    fn tell(&mut self, is_suite: bool) {
        let is_due = self.told.is_none_or(|told| told.elapsed() >= PACE);
        match self.style {
            Style::Silent => {}
            // Otherwise it is rewritten at its own pace.
            Style::Rewritten if is_suite => self.rewrite(),
            Style::Rewritten => {}
            Style::Lines if is_due || is_suite => {
                self.told = Some(Instant::now());
                let _ = writeln!(stderr(), "{}", self.line());
            }
            Style::Lines => {}
        }
    }

    fn rewrite(&mut self) {
        if self.style == Style::Rewritten && !is_stopped() {
            // The cursor goes to the first column and what is behind the text is cleared.
            let _ = write!(stderr(), "\r{}\x1b[K", self.line());
        }
    }

    fn tell_failure(&mut self, check: &Check) {
        if self.style != Style::Silent {
            self.clear();
            let _ = writeln!(stderr(), "FAIL {} {} {}", check.id, cited(&check.clause), shown(&check.evidence));
        }
    }

    fn clear(&mut self) {
        if self.style == Style::Rewritten {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    /// Suites, how many of how many, what failed, seconds.
    fn line(&self) -> String {
        let failed = match self.failed.len() {
            0 => "none failed".to_owned(),
            count => {
                let named: Vec<_> = self.failed.iter().take(NAMED).map(String::as_str).collect();
                format!("{count} failed: {}{}", named.join(" "), if count > NAMED { " …" } else { "" })
            }
        };
        let named = self.suites.iter().take(AT_ONCE).copied().collect::<Vec<_>>().join(", ");
        let suites = match self.suites.len().saturating_sub(AT_ONCE) {
            0 => named,
            more => format!("{named} +{more}"),
        };
        format!("{suites}: {} of {}, {failed}, {} s", self.done.len(), self.total, self.begun.elapsed().as_secs())
    }
}

/// Suites that the line names.
const AT_ONCE: usize = 2;
/// Failed checks that the line names: it has to fit in one.
const NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_two_of_the_suites_that_run_and_how_many_more() {
        let (failed, done, begun) = (BTreeSet::from(["FA-01.1".to_owned()]), Vec::new(), Instant::now());
        let mut run = Run { style: Style::Silent, suites: vec!["wire"], total: 9, failed, done, begun, told: None };
        assert_eq!(run.line(), "wire: 0 of 9, 1 failed: FA-01.1, 0 s");
        run.suites.extend(["dht", "faults", "adversary"]);
        assert_eq!(run.line(), "wire, dht +2: 0 of 9, 1 failed: FA-01.1, 0 s");
    }
}
