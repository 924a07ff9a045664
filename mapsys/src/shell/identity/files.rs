// SPDX-License-Identifier: GPL-2.0-or-later
//! The operational keys of a daemon as files: those it was given, and the later ones beside them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use cgeid::limits::MAX_CONTAINER;
use cgeid::{CertificateError, Cn, ContainerError, Network, OperationalKey, PuzzleBits, container, epoch, months};

use super::{own, password};

/// A day.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long before the last key ends the operator is told: a week, to fetch the identity key from where it is kept.
const WARNED_BEFORE: Duration = DAY.saturating_mul(7);
/// The operator is told again so often.
const WARNED_AGAIN: Duration = DAY;
/// Keys signed ahead for one identity that are looked at: `cgeid` makes two dozen, and as many to replace them.
const FOLDER: usize = 4096;

/// The keys in use, where they came from, and how long what lies beside them lasts.
#[derive(Debug, Default)]
pub struct KeyFiles {
    network: Option<Network>,
    puzzle: PuzzleBits,
    password_file: Option<PathBuf>,
    keys: Vec<Watched>,
}

/// What is known of the keys of one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// The identity.
    pub cn: Cn,
    /// Epoch of the key in use.
    pub epoch: u32,
    /// When the last key that can be found ends; `None` = the node makes its keys itself.
    pub covered: Option<SystemTime>,
}

/// How much longer there is a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// Long enough.
    Enough,
    /// The operator should make new ones.
    EndsSoon,
    /// There is none any more: nothing is published.
    Ended,
}

#[derive(Debug)]
struct Watched {
    source: Source,
    state: KeyState,
    told: Option<SystemTime>,
}

#[derive(Debug)]
enum Source {
    /// Given as `--identity`; opened again when it is another file than it was.
    Given(PathBuf, Option<Stamp>),
    /// Made by this node, in this folder.
    Own(PathBuf),
}

/// What changes when a file is replaced.
type Stamp = (SystemTime, u64);

impl KeyState {
    /// How much longer there is a key.
    pub fn remaining(&self, now: SystemTime) -> Remaining {
        match self.covered {
            Some(end) if end <= now => Remaining::Ended,
            Some(end) if end <= now + WARNED_BEFORE => Remaining::EndsSoon,
            _ => Remaining::Enough,
        }
    }
}

impl Remaining {
    /// As `show identities` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enough => "ok",
            Self::EndsSoon => "ends-soon",
            Self::Ended => "ended",
        }
    }
}

impl KeyFiles {
    /// Opens the operational keys of `files`. Where one has ended, or a later one in its folder has begun, that is used.
    ///
    /// # Errors
    /// Names the file and what to do; an identity key is refused.
    pub fn open(
        files: &[PathBuf],
        password_file: Option<&Path>,
        network: Network,
        now: SystemTime,
    ) -> anyhow::Result<(Self, Vec<OperationalKey>)> {
        let mut this =
            Self { network: Some(network), password_file: password_file.map(Path::to_owned), ..Self::default() };
        if files.is_empty() {
            return Ok((this, Vec::new()));
        }
        let password = password(password_file)?;
        let mut keys = Vec::new();
        for file in files {
            let key = newest(file, &password, network, now)?;
            this.watch(Source::Given(file.clone(), stamp(file)), &key);
            keys.push(key);
        }
        Ok((this, keys))
    }

    /// The identity that this node made for itself, as [`own`] has it.
    ///
    /// # Errors
    /// As there.
    pub fn own(
        folder: &Path,
        network: Network,
        puzzle: PuzzleBits,
        now: SystemTime,
    ) -> anyhow::Result<(Self, OperationalKey, bool)> {
        let (key, made) = own(folder, network, puzzle, now)?;
        let mut this = Self { network: Some(network), puzzle, ..Self::default() };
        this.watch(Source::Own(folder.to_owned()), &key);
        Ok((this, key, made))
    }

    fn watch(&mut self, source: Source, key: &OperationalKey) {
        let covered = source.covered(key.cn(), key.epoch(), key.certificate().not_after());
        let state = KeyState { cn: key.cn(), epoch: key.epoch(), covered };
        self.keys.push(Watched { source, state, told: None });
    }

    /// What is known.
    pub fn states(&self) -> Vec<KeyState> {
        self.keys.iter().map(|key| key.state.clone()).collect()
    }

    /// How much longer there are keys, a sentence an identity, for `check`.
    pub fn explain(&self, now: SystemTime) -> Vec<String> {
        let sentence = |state: &KeyState| {
            let days = state.covered?.duration_since(now).unwrap_or_default().as_secs() / DAY.as_secs();
            Some(format!("the operational keys of {} that can be found last {days} more days", state.cn))
        };
        self.keys.iter().filter_map(|key| sentence(&key.state)).collect()
    }

    /// The keys that take the place of those in use at `now`. Opens no file that is not needed. What an operator has to
    /// know about files and keys is logged: once a day, if it stays so.
    pub fn look(&mut self, now: SystemTime) -> Vec<OperationalKey> {
        let Some(network) = self.network else { return Vec::new() };
        let mut found = Vec::new();
        for watched in &mut self.keys {
            match watched.next(self.password_file.as_deref(), network, self.puzzle, now) {
                Ok(key) => found.extend(key),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "a later operational key cannot be used"),
            }
            watched.tell(now);
        }
        found
    }
}

impl Source {
    fn covered(&self, cn: Cn, epoch: u32, end: SystemTime) -> Option<SystemTime> {
        match self {
            Self::Given(file, _) => Some(months::covered(cn, epoch, end, &epochs_beside(file, cn))),
            Self::Own(_) => None,
        }
    }
}

impl Watched {
    fn next(
        &mut self,
        password_file: Option<&Path>,
        network: Network,
        puzzle: PuzzleBits,
        now: SystemTime,
    ) -> anyhow::Result<Option<OperationalKey>> {
        let KeyState { cn, epoch: in_use, .. } = self.state;
        let found = match &mut self.source {
            Source::Own(folder) if epoch::period(cn, now) > in_use / epoch::REVISIONS => {
                Some(own(folder, network, puzzle, now)?.0)
            }
            Source::Own(_) => None,
            Source::Given(file, known) => {
                let later = later(file, cn, Some(in_use), now);
                let stamp = stamp(file);
                let is_replaced = stamp.is_some() && stamp != *known;
                if later.is_empty() && !is_replaced {
                    None
                } else {
                    let password = password(password_file)?;
                    let replaced = if is_replaced { replaced(file, &password, network, now, cn) } else { None };
                    *known = stamp;
                    let later = first_good(&later, &password, network, now, cn);
                    [later, replaced].into_iter().flatten().max_by_key(OperationalKey::epoch)
                }
            }
        };
        let found = found.filter(|key| key.epoch() > in_use);
        match &found {
            Some(key) => {
                let covered = self.source.covered(cn, key.epoch(), key.certificate().not_after());
                self.state = KeyState { cn, epoch: key.epoch(), covered };
                self.told = None;
            }
            None => self.state.covered = self.state.covered.and_then(|end| self.source.covered(cn, in_use, end)),
        }
        Ok(found)
    }

    fn tell(&mut self, now: SystemTime) {
        let remaining = self.state.remaining(now);
        let is_told = |told: SystemTime| now.duration_since(told).is_ok_and(|since| since < WARNED_AGAIN);
        if remaining == Remaining::Enough || self.told.is_some_and(is_told) {
            return;
        }
        self.told = Some(now);
        let cn = self.state.cn;
        let left = self.state.covered.and_then(|end| end.duration_since(now).ok()).unwrap_or_default();
        if remaining == Remaining::Ended {
            tracing::error!(%cn, "no operational key is valid any more: nothing of this identity is published until \
                `cgeid delegate` has made new ones and they lie beside the last");
        } else {
            let days = left.as_secs() / DAY.as_secs();
            tracing::warn!(%cn, days, "the last operational key ends soon: make new ones with `cgeid delegate`");
        }
    }
}

/// The best key for now: that of `file`, or one signed ahead that lies beside it.
fn newest(file: &Path, password: &str, network: Network, now: SystemTime) -> anyhow::Result<OperationalKey> {
    let given = open(file, password, network, now);
    let (cn, epoch) = match &given {
        Ok(key) => (Some(key.cn()), Some(key.epoch())),
        // A month has passed since it was given: a later one may have begun.
        Err(error) if has_wrong_date(error) => (file_name(file).and_then(months::cn_in), None),
        Err(_) => return given,
    };
    let Some(cn) = cn else { return given };
    match first_good(&later(file, cn, epoch, now), password, network, now, cn) {
        Some(key) => Ok(key),
        None => given,
    }
}

fn has_wrong_date(error: &anyhow::Error) -> bool {
    use CertificateError::{Expired, NotYetValid};
    let reason = error.downcast_ref::<ContainerError>();
    matches!(reason, Some(ContainerError::Certificate(Expired { .. } | NotYetValid { .. })))
}

/// The key in a file that is another than it was. One that is bad keeps no later key from being found.
fn replaced(file: &Path, password: &str, network: Network, now: SystemTime, cn: Cn) -> Option<OperationalKey> {
    match open(file, password, network, now) {
        Ok(key) if key.cn() == cn => return Some(key),
        Ok(_) => tracing::warn!(file = %file.display(), "the file was replaced by a key of another identity"),
        Err(error) => tracing::warn!(error = format!("{error:#}"), "the file was replaced by one that cannot be used"),
    }
    None
}

/// The first of `files` that holds the key of `cn` which its name says; what is wrong with those before it is logged.
fn first_good(files: &[PathBuf], password: &str, network: Network, now: SystemTime, cn: Cn) -> Option<OperationalKey> {
    for file in files {
        let named = file_name(file).and_then(|name| months::epoch_in(name, cn));
        match open(file, password, network, now) {
            // An old key under a higher number would hide the right one, or take its place.
            Ok(key) if key.cn() == cn && Some(key.epoch()) == named => return Some(key),
            Ok(_) => tracing::warn!(file = %file.display(), "the key in this file is not the one that its name says"),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "a later operational key cannot be used"),
        }
    }
    None
}

/// The files beside `file` whose month has begun, the highest epoch first.
fn later(file: &Path, cn: Cn, above: Option<u32>, now: SystemTime) -> Vec<PathBuf> {
    let mut beside = beside(file, cn);
    let epochs: Vec<u32> = beside.keys().copied().collect();
    months::due(cn, now, above, &epochs).iter().filter_map(|epoch| beside.remove(epoch)).collect()
}

fn epochs_beside(file: &Path, cn: Cn) -> Vec<u32> {
    beside(file, cn).into_keys().collect()
}

/// The keys signed ahead for `cn` in the folder of `file`, by epoch. A folder that cannot be read has none.
fn beside(file: &Path, cn: Cn) -> BTreeMap<u32, PathBuf> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "later operational keys cannot be looked for");
            return BTreeMap::new();
        }
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    // Other files do not count: a folder of many must not hide the key of next month.
    paths.filter_map(|path| Some((months::epoch_in(file_name(&path)?, cn)?, path))).take(FOLDER).collect()
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The octets of a file, one more at most than a container can have. Of a pipe nothing is waited for.
fn bounded(file: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(file)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_CONTAINER as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads one operational key.
pub(super) fn open(file: &Path, password: &str, network: Network, now: SystemTime) -> anyhow::Result<OperationalKey> {
    let bytes = bounded(file).with_context(|| format!("cannot read identity {}", file.display()))?;
    container::load_operational(&bytes, password, network, now).with_context(|| format!("identity {}", file.display()))
}

#[cfg(test)]
mod tests;
