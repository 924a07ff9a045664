// SPDX-License-Identifier: GPL-2.0-or-later
//! The locators of our mappings over restarts. Peers number them as the records had them that they have cached, so that after a change no
//! locator-status-bits are sent for a while (RFC 9300, section 13.1), also where the change came between two runs.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Failure;
use super::map_version::{RETRY, write};
use crate::database::Database;

/// The file's name in the state directory.
const NAME: &str = "status-bits.json";
/// Octets that are read of it: far more than 32 locators take.
const LARGEST: u64 = 16 * 1024;

/// What is in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The locators that the bits of the last run were of, in their order; none as long as it sent no bits because of a change.
    locators: Vec<IpAddr>,
}

/// The locators on disk.
#[derive(Debug)]
pub struct KeptLocators {
    /// None = no bits are sent.
    path: Option<PathBuf>,
    /// What is on disk: what this run begins with, and then what it has written; none = there was no earlier run.
    kept: Option<Kept>,
    /// Nothing is written before that.
    rests_until: Option<Instant>,
}

impl KeptLocators {
    /// Reads what the last run has left in `directory`, if locator-status-bits are used. Nothing is written. What cannot be read may have been
    /// anything.
    pub fn open(directory: &Path, uses_bits: bool) -> Self {
        let path = uses_bits.then(|| directory.join(NAME));
        let kept = path.as_deref().and_then(|path| match read(path) {
            Ok(kept) => Some(kept),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no locator-status-bits are sent for a while");
                Some(Kept::default())
            }
        });
        Self { path, kept, rests_until: None }
    }

    /// Whether peers may count other locators than these.
    pub fn differ_from(&self, database: &Database) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.locators != locators(database))
    }

    /// When [`Self::keep`] tries again what has failed.
    pub fn due(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Puts on disk that the bits are of these locators, or that none are sent (`is_paused`): before anybody is told. After a failure it rests,
    /// unless it `is_last`.
    ///
    /// # Errors
    /// If the file cannot be written; it is tried again then.
    pub fn keep(&mut self, now: Instant, database: &Database, is_paused: bool, is_last: bool) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        let kept = Kept { locators: if is_paused { Vec::new() } else { locators(database) } };
        if self.kept.as_ref() == Some(&kept) {
            self.rests_until = None;
            return Ok(());
        }
        if !is_last && self.due().is_some_and(|due| due > now) {
            return Ok(());
        }
        if let Err(error) = write(path, &kept) {
            self.rests_until = Some(now + RETRY);
            return Err(Failure::Machine(format!("{}: {error}", path.display())));
        }
        (self.kept, self.rests_until) = (Some(kept), None);
        Ok(())
    }
}

fn locators(database: &Database) -> Vec<IpAddr> {
    database.locators().iter().map(|own| own.address).collect()
}

fn read(path: &Path) -> std::io::Result<Kept> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::database::OwnLocator;
    use wire::record::Ttl;

    fn database(rlocs: &[&str]) -> Database {
        let locator = |text: &&str| OwnLocator::new(text.parse().unwrap(), 1, 100);
        Database::new(vec![], rlocs.iter().map(locator).collect(), Ttl::DEFAULT)
    }

    /// Whether a run that begins with these locators sends no bits at first, and goes on until those are sent, or not.
    fn run(directory: &Path, rlocs: &[&str], is_long: bool) -> bool {
        let (mut kept, database) = (KeptLocators::open(directory, true), database(rlocs));
        let is_paused = kept.differ_from(&database);
        kept.keep(Instant::now(), &database, is_paused, false).unwrap();
        if is_long {
            kept.keep(Instant::now(), &database, false, false).unwrap();
        }
        is_paused
    }

    #[test]
    fn a_run_with_other_locators_than_the_last_one_had_pauses_until_it_has_paused_for_long_enough() {
        let directory = tempfile::tempdir().unwrap();
        let run = |rlocs: &[&str], is_long| run(directory.path(), rlocs, is_long);
        let (one, two) = (["192.0.2.1"], ["192.0.2.1", "192.0.2.2"]);
        assert!(!run(&one, true), "nobody has anything of an earlier run");
        assert!(!run(&one, true), "a restart is no change");
        assert!(run(&two, false));
        assert!(run(&two, true), "it ended in its pause");
        assert!(!run(&two, true));
        assert!(run(&one, false) && run(&two, true), "back again, while others may have either");
    }

    #[test]
    fn locators_that_could_not_be_written_are_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let (now, own) = (Instant::now(), database(&["192.0.2.1"]));
        let mut kept = KeptLocators::open(&state, true);
        kept.keep(now, &own, false, false).unwrap_err();
        std::fs::create_dir(&state).unwrap();
        kept.keep(now, &own, false, false).unwrap();
        assert!(!state.join(NAME).exists(), "not with each message");
        assert_eq!(kept.due(), Some(now + RETRY));
        kept.keep(now + RETRY, &own, false, false).unwrap();
        assert_eq!((read(&state.join(NAME)).unwrap().locators, kept.due()), (locators(&own), None));
    }

    #[test]
    fn what_cannot_be_read_may_have_been_anything() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        for bad in ["", "{", r#"{"locators":["192.0.2.1"],"more":1}"#, r#"{"locators":["here"]}"#] {
            std::fs::write(&path, bad).unwrap();
            assert!(run(directory.path(), &["192.0.2.1"], true), "{bad}");
            assert!(!run(directory.path(), &["192.0.2.1"], true), "{bad}");
        }
    }

    #[test]
    fn without_status_bits_nothing_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut kept = KeptLocators::open(directory.path(), false);
        kept.keep(Instant::now(), &database(&["192.0.2.1"]), false, false).unwrap();
        assert!(!kept.differ_from(&database(&["192.0.2.2"])) && !directory.path().join(NAME).exists());
    }
}
