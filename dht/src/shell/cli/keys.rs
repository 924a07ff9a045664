// SPDX-License-Identifier: GPL-2.0-or-later
//! The operational key of a node that runs for months: in the file that it was given, or signed ahead and beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cgeid::{Cn, Network, OperationalKey, months};

use super::identity;
use super::settings::Settings;

/// Between two looks: a key that begins is in use within this time, and the one before it lasts five days longer.
pub(super) const PAUSE: Duration = Duration::from_secs(3600);
/// The operator is told again so often that the last key ends.
const TOLD_AGAIN: Duration = Duration::from_secs(24 * 3600);
/// Keys signed ahead that are looked at: `cgeid` makes two dozen, and as many to replace them.
const FOLDER: usize = 4096;

/// Where the key in use came from, and which one it is.
#[derive(Debug)]
pub(super) struct Keys {
    file: PathBuf,
    stamp: Option<Stamp>,
    cn: Cn,
    epoch: u32,
    told: Option<SystemTime>,
}

/// What changes when a file is replaced.
type Stamp = (SystemTime, u64);

impl Keys {
    /// The key that the settings name, or a later one beside it whose month has begun: that is all there is when the one named
    /// has ended.
    pub(super) fn open(settings: &Settings, network: Network) -> anyhow::Result<(Self, OperationalKey)> {
        let (file, now) = (identity::named(settings)?, SystemTime::now());
        let given = identity::open(file, settings, network, now);
        let named = file.file_name().and_then(|name| months::cn_in(name.to_str()?)).filter(|_| file.exists());
        let Some(cn) = given.as_ref().ok().map(OperationalKey::cn).or(named) else {
            return Err(given.err().unwrap_or_else(|| anyhow::anyhow!("no key")));
        };
        let above = given.as_ref().ok().map(OperationalKey::epoch);
        let key = first_good(file, settings, network, now, cn, above).map_or(given, Ok)?;
        let (file, stamp) = (file.to_owned(), stamp(file));
        let mut keys = Self { file, stamp, cn, epoch: key.epoch(), told: None };
        keys.tell(&key, now);
        Ok((keys, key))
    }

    /// The key that takes the place of the one in use, if there is one. Opens no file that is not needed.
    pub(super) fn look(
        &mut self,
        settings: &Settings,
        network: Network,
        in_use: &OperationalKey,
    ) -> Option<OperationalKey> {
        let now = SystemTime::now();
        let stamp = stamp(&self.file);
        let replaced = if stamp.is_some() && stamp != self.stamp {
            let read = identity::open(&self.file, settings, network, now);
            read.inspect_err(|error| tracing::warn!("the new key is not taken: {error:#}")).ok()
        } else {
            None
        };
        self.stamp = stamp;
        let later = first_good(&self.file, settings, network, now, self.cn, Some(self.epoch));
        let found = [replaced, later].into_iter().flatten();
        let found =
            found.filter(|key| key.cn() == self.cn && key.epoch() > self.epoch).max_by_key(OperationalKey::epoch);
        match &found {
            Some(key) => (self.epoch, self.told) = (key.epoch(), None),
            None => self.tell(in_use, now),
        }
        found
    }

    /// Another key is in use than that of the file, which is looked at again.
    pub(super) fn goes_on_from(&mut self, in_use: &OperationalKey) {
        (self.epoch, self.stamp) = (in_use.epoch(), None);
    }

    fn tell(&mut self, key: &OperationalKey, now: SystemTime) {
        let is_told = self.told.is_some_and(|told| now.duration_since(told).is_ok_and(|since| since < TOLD_AGAIN));
        if is_told {
            return;
        }
        let epochs: Vec<u32> = beside(&self.file, self.cn).into_keys().collect();
        let end = months::covered(self.cn, key.epoch(), key.certificate().not_after(), &epochs);
        if identity::warn_of_end(self.cn, end, now) {
            self.told = Some(now);
        }
    }
}

/// The latest good key beside `file` whose month has begun; what is wrong with later ones is logged.
fn first_good(
    file: &Path,
    settings: &Settings,
    network: Network,
    now: SystemTime,
    cn: Cn,
    above: Option<u32>,
) -> Option<OperationalKey> {
    let mut beside = beside(file, cn);
    let epochs: Vec<u32> = beside.keys().copied().collect();
    for epoch in months::due(cn, now, above, &epochs) {
        let path = beside.remove(&epoch)?;
        match identity::open(&path, settings, network, now) {
            // An old key under a higher number would hide the right one.
            Ok(key) if (key.cn(), key.epoch()) == (cn, epoch) => return Some(key),
            Ok(_) => tracing::warn!(file = %path.display(), "the key in this file is not the one that its name says"),
            Err(error) => tracing::warn!("a later operational key cannot be used: {error:#}"),
        }
    }
    None
}

/// The keys signed ahead for `cn` in the folder of `file`, by epoch. A folder that cannot be read has none.
fn beside(file: &Path, cn: Cn) -> BTreeMap<u32, PathBuf> {
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "later operational keys cannot be looked for");
            return BTreeMap::new();
        }
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.filter_map(|path| Some((months::epoch_in(path.file_name()?.to_str()?, cn)?, path))).take(FOLDER).collect()
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
