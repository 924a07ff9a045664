// SPDX-License-Identifier: GPL-2.0-or-later
//! The map-version of our mappings over restarts (RFC 9302, section 6): what the operator has set or has had drawn, raised with each
//! change. A start goes on with the one of the last run, and with the next if the mappings have changed in between.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wire::record::MapVersion;

use super::Failure;
use super::state::random;
use crate::config::FirstVersion;
use crate::database::Database;

/// The file's name in the state directory.
const NAME: &str = "map-version.json";
/// Octets that are read of it: far more than 32 locators take, all of them unreachable.
const LARGEST: u64 = 16 * 1024;
/// After a write that failed, here and in the other files of the state directory: each try says so in the log.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// What the operator had set, 0 if it was drawn: another number begins anew.
    configured: u16,
    /// The version.
    version: u16,
    /// The locators of the mappings of that version.
    locators: Vec<String>,
    /// Those of them that the mappings of that version say cannot be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unreachable: Vec<String>,
}

/// The version on disk.
#[derive(Debug)]
pub struct KeptVersion {
    path: PathBuf,
    /// What the operator has set, 0 if it is drawn.
    configured: MapVersion,
    /// The version without an earlier one.
    first: MapVersion,
    /// What is on disk: what this run goes on with, and then what it has written.
    kept: Option<Kept>,
    /// Nothing is written before that.
    rests_until: Option<Instant>,
}

impl KeptVersion {
    /// Reads what the last run has left in `directory`, if versions are used. Nothing is written.
    ///
    /// # Errors
    /// If the file cannot be read, or says what no version is, or the system has no entropy to draw one from.
    pub fn open(directory: &Path, first: FirstVersion) -> Result<Self, Failure> {
        let path = directory.join(NAME);
        let (configured, kept) = match first {
            FirstVersion::None => (MapVersion(0), None),
            FirstVersion::Number(number) => (number, read(&path)?.filter(|kept| kept.configured == number.0)),
            // However that began: what is drawn goes back as often as not.
            FirstVersion::Random => (MapVersion(0), read(&path)?),
        };
        let is_drawn = first == FirstVersion::Random && kept.is_none();
        let first = if is_drawn { drawn()? } else { configured };
        Ok(Self { path, configured, first, kept, rests_until: None })
    }

    /// The database with the version that its mappings have. What can be reached is part of a version unless status bits tell that.
    pub fn version(&self, database: Database, bits_tell_reachability: bool) -> Database {
        let version = match &self.kept {
            Some(kept) => {
                let version = MapVersion(kept.version);
                let is_reach = bits_tell_reachability || kept.unreachable == unreachable(&database);
                if is_reach && kept.locators == locators(&database) { version } else { version.next() }
            }
            None => self.first,
        };
        database.with_map_version(version)
    }

    /// When [`Self::keep`] tries again what has failed.
    pub fn due(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Puts the version of this database on disk, if it is not there: before anybody is told. After a failure it rests, unless it `is_last`.
    ///
    /// # Errors
    /// If the file cannot be written; it is tried again then.
    pub fn keep(&mut self, now: Instant, database: &Database, is_last: bool) -> Result<(), Failure> {
        let (version, configured) = (database.map_version(), self.configured.0);
        let is_it = |kept: &Kept| (kept.configured, kept.version) == (configured, version.0);
        if version == MapVersion(0) || self.kept.as_ref().is_some_and(is_it) {
            self.rests_until = None;
            return Ok(());
        }
        if !is_last && self.due().is_some_and(|due| due > now) {
            return Ok(());
        }
        let (locators, unreachable) = (locators(database), unreachable(database));
        let kept = Kept { configured, version: version.0, locators, unreachable };
        if let Err(error) = write(&self.path, &kept) {
            self.rests_until = Some(now + RETRY);
            return Err(Failure::Machine(format!("{}: {error}", self.path.display())));
        }
        (self.kept, self.rests_until) = (Some(kept), None);
        Ok(())
    }
}

/// Each version but 0, which is none, as likely as the others.
fn drawn() -> Result<MapVersion, Failure> {
    loop {
        let version = MapVersion(u16::from_be_bytes(random()?) & MapVersion::MAX);
        if version != MapVersion(0) {
            return Ok(version);
        }
    }
}

/// What a version is of, ...
fn locators(database: &Database) -> Vec<String> {
    let text = |own: &crate::database::OwnLocator| {
        let text = format!("{},priority={},weight={}", own.address, own.priority, own.weight);
        // Without it where there is nothing to say, as earlier runs have left it.
        if own.preference().is_of_multicast() {
            format!("{text},mpriority={},mweight={}", own.mpriority, own.mweight)
        } else {
            text
        }
    };
    database.locators().iter().map(text).collect()
}

/// ... with the R bits that its records have (RFC 9302, section 6).
fn unreachable(database: &Database) -> Vec<String> {
    let addresses = database.locators().iter().map(|own| own.address);
    addresses.filter(|address| !database.is_reachable(*address)).map(|address| address.to_string()).collect()
}

fn read(path: &Path) -> Result<Option<Kept>, Failure> {
    let damaged = |problem: String| {
        let advice = "remove it to begin with --map-version again";
        Failure::Machine(format!("{}: {problem}; {advice}", path.display()))
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(damaged(error.to_string())),
    };
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;
    let kept: Kept = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if !(1..=MapVersion::MAX).contains(&kept.version) {
        return Err(damaged(format!("{} is no map-version", kept.version)));
    }
    Ok(Some(kept))
}

/// Written beside and renamed, so that a crash leaves what was there or what is new.
pub(super) fn write(path: &Path, kept: &impl Serialize) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(serde_json::to_string(kept)?.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
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

    /// A run with these locators: the version that it begins with, and with which it ends after `changes`.
    fn run(directory: &Path, configured: u16, rlocs: &[&str], changes: usize) -> (u16, u16) {
        run_from(directory, number(configured), rlocs, changes)
    }

    fn number(configured: u16) -> FirstVersion {
        if configured == 0 { FirstVersion::None } else { FirstVersion::Number(MapVersion(configured)) }
    }

    fn run_from(directory: &Path, first: FirstVersion, rlocs: &[&str], changes: usize) -> (u16, u16) {
        let mut kept = KeptVersion::open(directory, first).unwrap();
        let mut now = kept.version(database(rlocs), false);
        kept.keep(Instant::now(), &now, false).unwrap();
        let first = now.map_version().0;
        for change in 0..changes {
            let unreachable = if change % 2 == 0 { vec!["192.0.2.1".parse().unwrap()] } else { vec![] };
            let next = now.clone().with_unreachable(unreachable);
            now = next.succeeding(&now, false);
            kept.keep(Instant::now(), &now, false).unwrap();
        }
        (first, now.map_version().0)
    }

    #[test]
    fn a_version_that_could_not_be_written_is_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let now = Instant::now();
        for is_last in [false, true] {
            let mut kept = KeptVersion::open(&state, number(69)).unwrap();
            let own = kept.version(database(&["192.0.2.1"]), false);
            let error = kept.keep(now, &own, false).unwrap_err().to_string();
            assert!(error.contains(NAME), "there is no such directory: {error}");
            std::fs::create_dir(&state).unwrap();
            kept.keep(now, &own, false).unwrap();
            assert!(!state.join(NAME).exists(), "not with each message");
            assert_eq!(kept.due(), Some(now + RETRY));
            kept.keep(if is_last { now } else { now + RETRY }, &own, is_last).unwrap();
            assert_eq!((read(&state.join(NAME)).unwrap().unwrap().version, kept.due()), (69, None));
            std::fs::remove_dir_all(&state).unwrap();
        }
    }

    #[test]
    fn a_version_is_raised_if_locators_are_for_multicast_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (own, mut kept_locators) = (OwnLocator::new("192.0.2.1".parse().unwrap(), 1, 100), Vec::new());
        for (mweight, version) in [(0, 69), (40, 70), (40, 70), (41, 71), (0, 72)] {
            let mpriority = if mweight == 0 { own.mpriority } else { 3 };
            let database = Database::new(vec![], vec![OwnLocator { mpriority, mweight, ..own }], Ttl::DEFAULT);
            let mut kept = KeptVersion::open(directory.path(), number(69)).unwrap();
            let now = kept.version(database, false);
            kept.keep(Instant::now(), &now, false).unwrap();
            assert_eq!(now.map_version().0, version);
            kept_locators.extend(locators(&now));
        }
        assert_eq!(kept_locators[0], "192.0.2.1,priority=1,weight=100", "as earlier runs have written it");
    }

    #[test]
    fn a_version_goes_on_over_restarts_and_is_raised_by_changes_only() {
        let directory = tempfile::tempdir().unwrap();
        let run = |configured, rlocs: &[&str], changes| run(directory.path(), configured, rlocs, changes);
        let one = ["192.0.2.1"];
        assert_eq!(run(69, &one, 0), (69, 69));
        (0..5).for_each(|_| assert_eq!(run(69, &one, 0), (69, 69), "a restart is no change"));
        assert_eq!(run(69, &one, 2), (69, 71));
        assert_eq!(run(69, &one, 0), (71, 71));
        assert_eq!(run(69, &["192.0.2.1", "192.0.2.2"], 0), (72, 72), "changed while it was down");
        assert_eq!(run(4095, &one, 2), (4095, 2), "the operator sets another; 0 is left out");
        assert_eq!(run(4095, &one, 0), (2, 2));
    }

    #[test]
    fn a_locator_that_can_be_reached_again_after_a_restart_makes_another_version() {
        let directory = tempfile::tempdir().unwrap();
        let one = ["192.0.2.1"];
        assert_eq!(run(directory.path(), 7, &one, 1), (7, 8), "it ends with R clear");
        let start = |bits| {
            let kept = KeptVersion::open(directory.path(), number(7)).unwrap();
            kept.version(database(&one), bits).map_version().0
        };
        assert_eq!((start(false), start(true)), (9, 8), "unless status bits tell it");
        assert_eq!(run(directory.path(), 7, &one, 0), (9, 9));
        assert_eq!(run(directory.path(), 7, &one, 0), (9, 9), "a restart is no change");
        let former = r#"{"configured":7,"version":5,"locators":["192.0.2.1,priority=1,weight=100"]}"#;
        std::fs::write(directory.path().join(NAME), former).unwrap();
        assert_eq!(run(directory.path(), 7, &one, 0), (5, 5), "a file that knows nothing of it");
    }

    /// RFC 9302, section 6: the first is one of chance, and a restart is no first.
    #[test]
    fn a_first_version_of_chance_is_drawn_once_and_goes_on_from_there() {
        let one = ["192.0.2.1"];
        let mut drawn = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let directory = tempfile::tempdir().unwrap();
            let run = |rlocs: &[&str], changes| run_from(directory.path(), FirstVersion::Random, rlocs, changes);
            let (first, _) = run(&one, 0);
            assert!((1..=MapVersion::MAX).contains(&first), "{first}");
            drawn.insert(first);
            let next = MapVersion(first).next();
            assert_eq!(run(&one, 0), (first, first), "a restart draws no other");
            assert_eq!(run(&["192.0.2.2"], 0), (next.0, next.0), "changed while it was down");
            assert_eq!(run(&["192.0.2.2"], 1), (next.0, next.next().0));
        }
        assert!(drawn.len() > 30, "{drawn:?}");
    }

    #[test]
    fn who_has_versions_drawn_from_now_on_goes_on_with_those_that_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let one = ["192.0.2.1"];
        let random = || run_from(directory.path(), FirstVersion::Random, &one, 0);
        assert_eq!(run(directory.path(), 69, &one, 2), (69, 71));
        assert_eq!((random(), random()), ((71, 71), (71, 71)));
        assert_eq!(run(directory.path(), 0, &one, 2), (0, 0), "a run without versions");
        assert_eq!(random(), (71, 71));
        assert_eq!(run(directory.path(), 4000, &one, 0), (4000, 4000), "a number begins anew");
    }

    #[test]
    fn without_versions_nothing_is_kept_and_damage_is_named() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(run(directory.path(), 0, &["192.0.2.1"], 2), (0, 0));
        assert!(!directory.path().join(NAME).exists());
        for bad in
            ["{", r#"{"configured":1,"version":0,"locators":[]}"#, r#"{"configured":1,"version":4096,"locators":[]}"#]
        {
            std::fs::write(directory.path().join(NAME), bad).unwrap();
            let error = KeptVersion::open(directory.path(), number(1)).unwrap_err().to_string();
            assert!(error.contains(NAME), "{error}");
        }
    }
}
