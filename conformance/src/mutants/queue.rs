// SPDX-License-Identifier: GPL-2.0-or-later
//! Runs of suites, two at a time where they do not disturb each other.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use super::limits;

/// Suites that measure time, each of them in namespaces with many programs: nothing runs beside them.
const ALONE: [&str; 3] = ["data-plane", "mobility", "faults"];

struct State {
    waiting: Vec<usize>,
    running: BTreeSet<String>,
}

impl State {
    /// The next job that may begin: no suite runs twice at once, as both would want the same addresses.
    fn next(&mut self, suite: impl Fn(usize) -> String) -> Option<usize> {
        let is_alone = |name: &str| ALONE.contains(&name);
        if self.running.iter().any(|running| is_alone(running)) {
            return None;
        }
        let may = |name: &str| !self.running.contains(name) && (self.running.is_empty() || !is_alone(name));
        let at = self.waiting.iter().position(|job| may(&suite(*job)))?;
        let job = self.waiting.remove(at);
        self.running.insert(suite(job));
        Some(job)
    }
}

/// Does what is to be done with each job; what came of them, in their order.
///
/// # Errors
/// The first that one ends with; those that run are waited for, and none begins.
pub(super) fn each<J: Sync, R: Send>(
    jobs: &[J],
    suite: impl Fn(&J) -> &String + Sync,
    act: impl Fn(&J) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let state = Mutex::new(State { waiting: (0..jobs.len()).collect(), running: BTreeSet::new() });
    let (ended, done) = (Condvar::new(), Mutex::new(Vec::new()));
    let suite_of = |job: usize| suite(&jobs[job]).clone();
    let work = || {
        let mut held = state.lock().unwrap_or_else(PoisonError::into_inner);
        while !held.waiting.is_empty() {
            let Some(job) = held.next(suite_of) else {
                held = ended.wait(held).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(held);
            let outcome = act(&jobs[job]);
            let has_failed = outcome.is_err();
            done.lock().unwrap_or_else(PoisonError::into_inner).push((job, outcome));
            held = state.lock().unwrap_or_else(PoisonError::into_inner);
            held.running.remove(&suite_of(job));
            if has_failed {
                held.waiting.clear();
            }
            ended.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..limits::AT_ONCE {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(job, _)| *job);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_suite_runs_twice_at_once_and_one_that_measures_time_runs_alone() {
        let jobs = ["lisp", "lisp", "mobility", "wire", "lisp", "faults", "nat"].map(str::to_owned);
        let running = Mutex::new(Vec::new());
        let most = Mutex::new(0);
        let order = each(
            &jobs,
            |job| job,
            |job| {
                let mut now = running.lock().unwrap();
                now.push(job.clone());
                assert!(now.iter().filter(|other| *other == job).count() == 1);
                assert!(now.len() == 1 || now.iter().all(|one| !ALONE.contains(&one.as_str())), "{now:?}");
                let (count, mut most) = (now.len(), most.lock().unwrap());
                *most = count.max(*most);
                drop((now, most));
                std::thread::sleep(Duration::from_millis(20));
                running.lock().unwrap().retain(|other| other != job);
                Ok(job.clone())
            },
        );
        assert_eq!(order.unwrap(), jobs);
        assert_eq!(most.into_inner().unwrap(), 2, "they do run side by side");
    }

    #[test]
    fn nothing_begins_after_an_error() {
        let jobs = ["a", "a", "a"].map(str::to_owned);
        let begun = Mutex::new(0);
        let outcome: anyhow::Result<Vec<()>> = each(
            &jobs,
            |job| job,
            |_| {
                *begun.lock().unwrap() += 1;
                anyhow::bail!("no")
            },
        );
        assert!(outcome.is_err());
        assert_eq!(*begun.lock().unwrap(), 1);
    }
}
