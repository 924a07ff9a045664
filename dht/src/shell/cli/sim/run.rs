// SPDX-License-Identifier: GPL-2.0-or-later
//! Scenarios side by side, each on a thread of its own, and what is said of them meanwhile.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::sim::{self, Progress, Report, Scenario, Settings, SimError};

/// One scenario.
pub(super) type Job = (Scenario, Settings);

/// Pause between two words on scenarios that take long.
const PAUSE: Duration = Duration::from_secs(10);

/// What a thread tells of a job, by its place.
enum Told {
    Begun(usize),
    Ended(usize, Result<Report, SimError>),
}

/// Runs all of them, as many at a time as there are cores: no model knows of another. The reports come in the order of the jobs.
pub(super) fn all(jobs: &[Job]) -> Result<Vec<Report>, SimError> {
    let progress: Vec<Arc<Progress>> = jobs.iter().map(|_| Arc::default()).collect();
    let order = order(jobs);
    let (tell, told) = mpsc::channel();
    let taken = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(jobs.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            let (tell, order, taken, progress) = (tell.clone(), &order, &taken, &progress);
            scope.spawn(move || work(jobs, order, taken, progress, &tell));
        }
        drop(tell);
        listen(jobs, &progress, &told)
    })
}

/// The places of jobs, those that take longest first, so that none of them begins when all others have ended.
fn order(jobs: &[Job]) -> Vec<usize> {
    const LONGEST: [Scenario; 3] = [Scenario::Churn, Scenario::Partition, Scenario::Eclipse];
    let rank = |place: &usize| LONGEST.iter().position(|long| jobs.get(*place).is_some_and(|job| job.0 == *long));
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|place| rank(place).unwrap_or(LONGEST.len()));
    order
}

/// Takes one job after the other, until there is none.
fn work(jobs: &[Job], order: &[usize], taken: &AtomicUsize, progress: &[Arc<Progress>], tell: &Sender<Told>) {
    while let Some(place) = order.get(taken.fetch_add(1, Ordering::Relaxed)) {
        let (Some((scenario, settings)), Some(progress)) = (jobs.get(*place), progress.get(*place)) else { return };
        // Nobody listens any more after a failure.
        if tell.send(Told::Begun(*place)).is_err() {
            return;
        }
        let _ = tell.send(Told::Ended(*place, sim::watched(*scenario, settings, progress)));
    }
}

/// Says on standard error what the threads tell, until the last of them has ended.
fn listen(jobs: &[Job], progress: &[Arc<Progress>], told: &Receiver<Told>) -> Result<Vec<Report>, SimError> {
    let begun = Instant::now();
    let say = |place: usize, text: &str| {
        if let Some((scenario, _)) = jobs.get(place) {
            // That nobody hears it ends nothing.
            let _ = writeln!(std::io::stderr(), "{:7.1} s  {scenario}: {text}", begun.elapsed().as_secs_f64());
        }
    };
    let mut reports: Vec<Option<Report>> = jobs.iter().map(|_| None).collect();
    let mut at_work = Vec::new();
    let mut next = begun + PAUSE;
    loop {
        match told.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Told::Begun(place)) => {
                at_work.push(place);
                say(place, "begins");
            }
            Ok(Told::Ended(place, report)) => {
                at_work.retain(|other| *other != place);
                let report = report?;
                say(place, if report.held() { "ended" } else { "ended, with a promise missed" });
                if let Some(free) = reports.get_mut(place) {
                    *free = Some(report);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                next = Instant::now() + PAUSE;
                for place in &at_work {
                    progress.get(*place).into_iter().for_each(|progress| say(*place, &far(progress)));
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(reports.into_iter().flatten().collect()),
        }
    }
}

/// How far a scenario is, in words.
fn far(progress: &Progress) -> String {
    format!("network {}, {} s of virtual time", progress.networks(), progress.time().as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_in_the_order_of_the_jobs_and_are_those_of_one_thread() {
        let settings = Settings {
            nodes: 20,
            records: 2,
            lookups: 5,
            churn: Duration::from_secs(9),
            idle: Duration::from_secs(9),
            ..Settings::default()
        };
        let jobs = [Scenario::Idle, Scenario::Hostile, Scenario::Churn].map(|scenario| (scenario, settings));
        assert_eq!(order(&jobs), [2, 0, 1], "what takes long begins first");
        let alone = jobs.map(|(scenario, settings)| sim::run(scenario, &settings).unwrap());
        assert_eq!(all(&jobs).unwrap(), alone);
    }
}
