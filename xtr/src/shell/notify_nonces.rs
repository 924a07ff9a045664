// SPDX-License-Identifier: GPL-2.0-or-later
//! The last nonces of unsolicited Map-Notifies over restarts: one that came before is not taken again (RFC 9301, section 5.7).
//!
//! The first one is on disk before it is acknowledged; of many at once, as when a site of many EID-prefixes merges with another, what a
//! second brings is written together.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wire::control::Nonce;

use super::Failure;
use super::map_version::write;
use crate::transport::MapSystem;

/// The file's name in the state directory.
const NAME: &str = "notify-nonces.json";
/// Octets that are read of it: far more than a thousand Map-Servers take.
const LARGEST: u64 = 128 * 1024;
/// Between two writes.
const PAUSE: Duration = Duration::from_secs(1);
/// The map system in this process, beside the addresses of others.
const PIPE: &str = "pipe";

/// What is on disk: an object with the nonce of each Map-Server.
#[derive(Debug)]
pub struct NotifyNonces {
    path: PathBuf,
    /// What is to be written.
    pending: Option<Vec<(MapSystem, Nonce)>>,
    /// When it was last written.
    written: Option<Instant>,
}

impl NotifyNonces {
    /// Reads what the last run has left in `directory`. Nothing is written.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub fn open(directory: &Path) -> Result<(Self, Vec<(MapSystem, Nonce)>), Failure> {
        let path = directory.join(NAME);
        let read = read(&path).map_err(|problem| {
            let advice = "remove it to begin anew (old Map-Notifies may then be taken once more)";
            Failure::Machine(format!("{}: {problem}; {advice}", path.display()))
        })?;
        Ok((Self { path, pending: None, written: None }, read))
    }

    /// Has these put on disk by the next [`Self::settle`].
    pub fn note(&mut self, heard: Vec<(MapSystem, Nonce)>) {
        self.pending = Some(heard);
    }

    /// When [`Self::settle`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.pending.as_ref().and(self.written).map(|at| at + PAUSE)
    }

    /// Puts on disk what is not there, if it is time to, or if it `is_last`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn settle(&mut self, now: Instant, is_last: bool) -> Result<(), Failure> {
        if !is_last && self.due().is_some_and(|due| due > now) {
            return Ok(());
        }
        let Some(heard) = self.pending.take() else { return Ok(()) };
        self.written = Some(now);
        let name = |system: &MapSystem| match system {
            MapSystem::Node(address) => address.to_string(),
            MapSystem::Pipe => PIPE.to_owned(),
        };
        let kept: BTreeMap<String, u64> = heard.iter().map(|(system, nonce)| (name(system), nonce.0)).collect();
        write(&self.path, &kept).map_err(|error| Failure::Machine(format!("{}: {error}", self.path.display())))
    }
}

fn read(path: &Path) -> Result<Vec<(MapSystem, Nonce)>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let kept: BTreeMap<String, u64> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let system = |name: &str| match name {
        PIPE => Ok(MapSystem::Pipe),
        address => address.parse().map(MapSystem::Node).map_err(|_| format!("{name:?} is no address")),
    };
    kept.iter().map(|(name, nonce)| Ok((system(name)?, Nonce(*nonce)))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_heard_is_there_after_a_restart_and_damage_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let (mut file, nothing) = NotifyNonces::open(directory.path()).unwrap();
        assert_eq!(nothing, []);
        let heard = ["192.0.2.9", "2001:db8::9"].map(|text| (MapSystem::Node(text.parse().unwrap()), Nonce(u64::MAX)));
        let more = [heard.as_slice(), &[(MapSystem::Pipe, Nonce(7))]].concat();
        let on_disk = || NotifyNonces::open(directory.path()).unwrap().1;
        file.note(heard.to_vec());
        file.settle(now, false).unwrap();
        assert_eq!(on_disk(), heard, "at once");
        file.note(more.clone());
        file.settle(now, false).unwrap();
        assert_eq!((on_disk(), file.due()), (heard.to_vec(), Some(now + PAUSE)));
        file.settle(now + PAUSE, false).unwrap();
        assert_eq!((on_disk(), file.due()), (more, None));
        file.note(heard.to_vec());
        file.settle(now + PAUSE, true).unwrap();
        assert_eq!(on_disk(), heard, "the node goes away");
        for bad in ["", "{\"192.0.2\": 5}", "{\"192.0.2.9\": -1}"] {
            std::fs::write(directory.path().join(NAME), bad).unwrap();
            let error = NotifyNonces::open(directory.path()).unwrap_err().to_string();
            assert!(error.contains(NAME), "{error}");
        }
    }
}
