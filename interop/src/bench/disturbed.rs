// SPDX-License-Identifier: GPL-2.0-or-later
//! Turns in which a hypervisor gave the processors to others: they say something of those, and are played again.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::interrupt;

/// Of the time of all processors, what others may have in a turn that counts. Programs that hand each other packets wait for whichever
/// processor is taken.
const MOST: f64 = 0.02;
/// The shortest turn that is told to be disturbed.
const SHORTEST: Duration = Duration::from_millis(500);
/// Others are seldom done at once.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of turns that were disturbed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Disturbed {
    /// How many were played again.
    pub again: usize,
    /// How many count all the same: there was no end of it.
    pub counted: usize,
}

impl Disturbed {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { again: self.again + other.again, counted: self.counted + other.counted }
    }

    /// In words, if there is something to say of these.
    pub(super) fn line(self, of: &str) -> Option<String> {
        let Self { again, counted } = self;
        (again + counted > 0).then(|| {
            let most = MOST * 100.0;
            format!("{again} {of} were played again, since others had more than {most} % of the processors; {counted} such count")
        })
    }
}

/// Plays turns, and those that were disturbed again, up to a number of times in all.
#[derive(Debug)]
pub(super) struct Undisturbed {
    patience: usize,
    seen: Disturbed,
}

impl Undisturbed {
    /// Plays so many turns of this length a second time, in all. The kernel counts in ticks of 10 ms: of short ones it says too little.
    pub(super) fn new(patience: usize, turn: Duration) -> Self {
        let patience = if turn < SHORTEST { 0 } else { patience };
        Self { patience, seen: Disturbed::default() }
    }

    /// What a turn leads to that nobody disturbed, or the last one.
    ///
    /// # Errors
    /// Those of the turn.
    pub(super) fn play<T>(&mut self, turn: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
        self.play_by(Processors::now, PAUSE, turn)
    }

    /// The same by another look at the processors.
    fn play_by<T>(
        &mut self,
        mut processors: impl FnMut() -> anyhow::Result<Processors>,
        pause: Duration,
        mut turn: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        loop {
            let before = processors()?;
            let outcome = turn()?;
            if processors()?.taken_since(before) <= MOST {
                return Ok(outcome);
            }
            if self.seen.again == self.patience {
                self.seen.counted += 1;
                return Ok(outcome);
            }
            self.seen.again += 1;
            interrupt::sleep(pause)?;
        }
    }

    /// What became of those that were disturbed.
    pub(super) fn seen(&self) -> Disturbed {
        self.seen
    }
}

/// What all processors together have done until now, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Processors {
    all: u64,
    taken: u64,
}

impl Processors {
    fn now() -> anyhow::Result<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat")?).context("/proc/stat")
    }

    /// Of the first line of /proc/stat (proc(5)): user, nice, system, idle, iowait, irq, softirq and steal.
    fn parse(stat: &str) -> Option<Self> {
        let fields = stat.strip_prefix("cpu ")?.lines().next()?.split_whitespace();
        let ticks: Vec<u64> = fields.take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
        Some(Self { all: ticks.iter().sum(), taken: *ticks.get(7)? })
    }

    #[allow(clippy::cast_precision_loss, reason = "a share")]
    fn taken_since(self, before: Self) -> f64 {
        self.taken.saturating_sub(before.taken) as f64 / self.all.saturating_sub(before.all).max(1) as f64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hypervisor_took_is_a_share_of_all_time() {
        let before = Processors::parse("cpu  100 10 20 300 5 0 5 60 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n").unwrap();
        assert_eq!(before, Processors { all: 500, taken: 60 });
        let after = Processors::parse("cpu  150 10 20 340 5 0 5 70 0 0\n").unwrap();
        assert_eq!((after.taken_since(before), before.taken_since(after)), (0.1, 0.0));
        for other in ["", "cpu0 1 1 1 1 1 1 1 1", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7 x"] {
            assert_eq!(Processors::parse(other), None, "{other}");
        }
        assert!(Processors::now().unwrap().all > 0);
    }

    #[test]
    fn what_was_disturbed_is_told() {
        assert_eq!(Disturbed::default().line("turns"), None);
        let line = Disturbed { again: 7, counted: 1 }.line("turns").unwrap();
        assert_eq!(line, "7 turns were played again, since others had more than 2 % of the processors; 1 such count");
    }

    /// What the turn returns that counts, and what was seen, where these parts of all time are taken in one turn after the other.
    fn played(patience: usize, turn: Duration, taken: &[u64]) -> (usize, Disturbed) {
        let (mut turns, mut now, mut number) = (Undisturbed::new(patience, turn), Processors { all: 0, taken: 0 }, 0);
        let mut looks = 0;
        let processors = || {
            // Before a turn, and behind it.
            if looks % 2 == 1 {
                now = Processors { all: now.all + 100, taken: now.taken + taken[looks / 2] };
            }
            looks += 1;
            Ok(now)
        };
        let outcome = turns.play_by(processors, Duration::ZERO, || {
            number += 1;
            Ok(number)
        });
        (outcome.unwrap(), turns.seen())
    }

    #[test]
    fn a_turn_that_is_disturbed_is_played_again_until_patience_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(played(9, second, &[2]), (1, Disturbed::default()));
        assert_eq!(played(9, second, &[3, 50, 0]), (3, Disturbed { again: 2, counted: 0 }));
        assert_eq!(played(1, second, &[3, 50, 0]), (2, Disturbed { again: 1, counted: 1 }));
        assert_eq!(played(9, second / 10, &[50, 0]), (1, Disturbed { again: 0, counted: 1 }), "too short to say");
        let mut turns = Undisturbed::new(9, second);
        assert!(turns.play(|| -> anyhow::Result<()> { anyhow::bail!("no") }).is_err());
    }
}
