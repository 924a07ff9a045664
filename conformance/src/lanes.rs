// SPDX-License-Identifier: GPL-2.0-or-later
//! Which suites of a run are judged at the same time: most wait more than they work, so that those which do not disturb each other
//! share the machine.
//!
//! The stages of a run come one after the other, the lanes of a stage run side by side, and the suites of a lane one after the other.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::progress;

/// The stages, their lanes, and the suites of those.
///
/// In the first stage are those that work hard: networks of many nodes, keys and signatures; the networks of `faults` come when those
/// of `adversary`, which it begins with, are gone. In the second are those whose verdicts
/// rest on times, and on what does not come in a time: they are not beside such work. Those of tunnel routers, in namespaces, which
/// count packets in a time, are one after the other.
const STAGES: &[&[&[&str]]] = &[
    &[&["adversary"], &["wire", "record", "cgeid"], &["dht", "faults"]],
    &[&["data-plane", "mobility", "nat"], &["lisp", "facade"], &["lispsec", "pubsub", "ddt"]],
];

/// What the first thread of a process has on Linux, which is where a suite ran before it had a lane.
const STACK: usize = 8 << 20;

/// Suites by their numbers in a list, in stages and lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(Vec<Vec<Vec<usize>>>);

impl Plan {
    /// One after the other: for a target that has one of everything, such as an address that it serves at.
    pub fn in_turn(count: usize) -> Self {
        Self(vec![vec![(0..count).collect()]])
    }

    /// Side by side, as far as they do not disturb each other.
    pub fn side_by_side(names: &[&str]) -> Self {
        let number = |name: &&str| names.iter().position(|other| other == name);
        let lane = |lane: &&[&str]| lane.iter().filter_map(number).collect::<Vec<_>>();
        let stage = |stage: &&[&[&str]]| stage.iter().map(lane).filter(|lane| !lane.is_empty()).collect::<Vec<_>>();
        let stages = STAGES.iter().map(stage).filter(|stage| !stage.is_empty());
        // What nobody has said of that it can be beside others is not.
        let is_named = |name: &str| STAGES.iter().any(|stage| stage.iter().any(|lane| lane.contains(&name)));
        let alone = (0..names.len()).filter(|number| !is_named(names[*number])).map(|number| vec![vec![number]]);
        Self(stages.chain(alone).collect())
    }

    /// Runs them, and hands out what came of each in the order of the list, whatever ended first; nothing of those that did not begin
    /// because the run was over.
    ///
    /// # Errors
    /// When the system has no thread for a lane.
    pub fn run<T: Send>(&self, one: impl Fn(usize) -> T + Sync) -> io::Result<Vec<T>> {
        let came = Mutex::new(Vec::new());
        let walk = |lane: &[usize]| {
            for number in lane.iter().copied() {
                if progress::is_over() {
                    return;
                }
                let of_it = one(number);
                came.lock().unwrap_or_else(PoisonError::into_inner).push((number, of_it));
            }
        };
        let walk = &walk;
        for stage in &self.0 {
            thread::scope(|scope| {
                stage.iter().try_for_each(|lane| {
                    let begun = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || walk(lane));
                    begun.map(drop).inspect_err(|_| progress::give_up())
                })
            })?;
        }
        let mut came = came.into_inner().unwrap_or_else(PoisonError::into_inner);
        came.sort_by_key(|(number, _)| *number);
        Ok(came.into_iter().map(|(_, of_it)| of_it).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::suite::SUITES;

    #[test]
    fn each_suite_has_one_lane() {
        let named: Vec<_> = STAGES.concat().concat();
        for suite in SUITES {
            assert_eq!(named.iter().filter(|name| **name == suite.name).count(), 1, "{}", suite.name);
        }
        assert_eq!(named.len(), SUITES.len());
    }

    #[test]
    fn what_has_no_lane_runs_alone_and_nothing_is_left_out() {
        assert_eq!(
            Plan::side_by_side(&["wire", "unheard", "dht", "cgeid", "nat"]),
            Plan(vec![vec![vec![0, 3], vec![2]], vec![vec![4]], vec![vec![1]]])
        );
        assert_eq!(Plan::in_turn(3), Plan(vec![vec![vec![0, 1, 2]]]));
    }

    #[test]
    fn lanes_run_side_by_side_and_are_handed_out_in_order() {
        // Each waits for the other: one after the other they would never end.
        let meeting = Barrier::new(2);
        let plan = Plan(vec![vec![vec![1], vec![0]]]);
        let came = plan.run(|number| {
            meeting.wait();
            std::thread::sleep(Duration::from_millis(if number == 0 { 50 } else { 0 }));
            number * 10
        });
        assert_eq!(came.unwrap(), [0, 10]);
    }

    #[test]
    fn a_stage_begins_when_the_one_before_has_ended() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let came = Plan(vec![vec![vec![2, 0]], vec![vec![1]]]).run(|number| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            running.fetch_sub(1, Ordering::SeqCst);
            number
        });
        assert_eq!((came.unwrap(), most.into_inner()), (vec![0, 1, 2], 1));
    }
}
