// SPDX-License-Identifier: GPL-2.0-or-later
//! The last nonces of unsolicited Map-Notifies over restarts: one that came before is not taken again (RFC 9301, section 5.7).
//!
//! The first one is on disk before it is acknowledged; of many at once, as when a site of many EID-prefixes merges with another, what a
//! second brings is written together.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId};
use wire::control::Nonce;

use super::Failure;
use super::map_version::{RETRY, write};
use crate::subscribe::Told;
use crate::transport::MapSystem;

/// Octets that are read of it: some twice what all take that are kept.
const LARGEST: u64 = 512 * 1024;
/// Between two writes.
const PAUSE: Duration = Duration::from_secs(1);
/// The map system in this process, beside the addresses of others.
const PIPE: &str = "pipe";

/// Whose last nonces are kept in a file.
pub trait Teller: Sized {
    /// The file's name in the state directory.
    const NAME: &'static str;

    /// As it stands in the file.
    fn text(&self) -> String;

    /// What stands there.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(text: &str) -> Result<Self, String>;
}

impl Teller for MapSystem {
    const NAME: &'static str = "notify-nonces.json";

    fn text(&self) -> String {
        match self {
            MapSystem::Node(address) => address.to_string(),
            MapSystem::Pipe => PIPE.to_owned(),
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            PIPE => Ok(MapSystem::Pipe),
            address => address.parse().map(MapSystem::Node).map_err(|_| format!("{text:?} is no address")),
        }
    }
}

/// `SERVER KEY-ID INSTANCE EID-PREFIX` (RFC 9437, section 6).
impl Teller for Told {
    const NAME: &'static str = "told-nonces.json";

    fn text(&self) -> String {
        let EidPrefix { iid, net } = self.prefix;
        format!("{} {} {} {net}", self.server.text(), self.key_id, iid.0)
    }

    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not SERVER KEY-ID INSTANCE EID-PREFIX");
        let parts: Vec<&str> = text.split(' ').collect();
        let [server, key_id, iid, net] = parts.as_slice() else { return Err(wrong()) };
        let iid = InstanceId(iid.parse().map_err(|_| wrong())?);
        let prefix = EidPrefix { iid, net: net.parse().map_err(|_| wrong())? };
        Ok(Self { server: MapSystem::read(server)?, key_id: key_id.parse().map_err(|_| wrong())?, prefix })
    }
}

/// What is on disk: an object with the nonce of each `K`.
#[derive(Debug)]
pub struct NotifyNonces<K> {
    path: PathBuf,
    /// What is to be written.
    pending: Option<Vec<(K, Nonce)>>,
    /// Nothing is written before that.
    rests_until: Option<Instant>,
}

impl<K: Teller> NotifyNonces<K> {
    /// Reads what the last run has left in `directory`. Nothing is written.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub fn open(directory: &Path) -> Result<(Self, Vec<(K, Nonce)>), Failure> {
        let path = directory.join(K::NAME);
        let read = read(&path).map_err(|problem| {
            let advice = "remove it to begin anew (old Map-Notifies may then be taken once more)";
            Failure::Machine(format!("{}: {problem}; {advice}", path.display()))
        })?;
        Ok((Self { path, pending: None, rests_until: None }, read))
    }

    /// Has these put on disk by the next [`Self::settle`].
    pub fn note(&mut self, heard: Vec<(K, Nonce)>) {
        self.pending = Some(heard);
    }

    /// When [`Self::settle`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.pending.as_ref().and(self.rests_until)
    }

    /// Puts on disk what is not there, if it is time to, or if it `is_last`.
    ///
    /// # Errors
    /// If the file cannot be written; it is tried again then.
    pub fn settle(&mut self, now: Instant, is_last: bool) -> Result<(), Failure> {
        if !is_last && self.due().is_some_and(|due| due > now) {
            return Ok(());
        }
        let Some(heard) = &self.pending else { return Ok(()) };
        let kept: BTreeMap<String, u64> = heard.iter().map(|(teller, nonce)| (teller.text(), nonce.0)).collect();
        if let Err(error) = write(&self.path, &kept) {
            self.rests_until = Some(now + RETRY);
            return Err(Failure::Machine(format!("{}: {error}", self.path.display())));
        }
        (self.pending, self.rests_until) = (None, Some(now + PAUSE));
        Ok(())
    }
}

fn read<K: Teller>(path: &Path) -> Result<Vec<(K, Nonce)>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let kept: BTreeMap<String, u64> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    kept.iter().map(|(text, nonce)| Ok((K::read(text)?, Nonce(*nonce)))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_heard_is_there_after_a_restart_and_damage_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let (mut file, nothing) = NotifyNonces::<MapSystem>::open(directory.path()).unwrap();
        assert_eq!(nothing, []);
        let heard = ["192.0.2.9", "2001:db8::9"].map(|text| (MapSystem::Node(text.parse().unwrap()), Nonce(u64::MAX)));
        let more = [heard.as_slice(), &[(MapSystem::Pipe, Nonce(7))]].concat();
        let on_disk = || NotifyNonces::<MapSystem>::open(directory.path()).unwrap().1;
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
            std::fs::write(directory.path().join(MapSystem::NAME), bad).unwrap();
            let error = NotifyNonces::<MapSystem>::open(directory.path()).unwrap_err().to_string();
            assert!(error.contains(MapSystem::NAME), "{error}");
        }
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let now = Instant::now();
        let (mut file, _) = NotifyNonces::<MapSystem>::open(&state).unwrap();
        let heard = vec![(MapSystem::Pipe, Nonce(7))];
        file.note(heard.clone());
        let error = file.settle(now, false).unwrap_err().to_string();
        assert!(error.contains(MapSystem::NAME), "there is no such directory: {error}");
        assert_eq!(file.due(), Some(now + RETRY));
        std::fs::create_dir(&state).unwrap();
        let on_disk = || NotifyNonces::<MapSystem>::open(&state).unwrap().1;
        file.settle(now + PAUSE, false).unwrap();
        assert_eq!(on_disk(), [], "not with each message");
        file.settle(now + RETRY, false).unwrap();
        assert_eq!((on_disk(), file.due()), (heard, None));
    }

    #[test]
    fn what_was_told_unasked_is_there_after_a_restart_by_server_key_and_prefix() {
        let directory = tempfile::tempdir().unwrap();
        let told = |server: &str, key_id, iid, net: &str| {
            let prefix = EidPrefix { iid: InstanceId(iid), net: net.parse().unwrap() };
            Told { server: MapSystem::Node(server.parse().unwrap()), key_id, prefix }
        };
        let kept = vec![
            (told("192.0.2.9", 5, 0, "10.2.0.0/16"), Nonce(41)),
            (told("2001:db8::9", 255, 7, "2001:db8:b::/48"), Nonce(u64::MAX)),
        ];
        let (mut file, _) = NotifyNonces::open(directory.path()).unwrap();
        file.note(kept.clone());
        file.settle(Instant::now(), false).unwrap();
        assert_eq!(NotifyNonces::<Told>::open(directory.path()).unwrap().1, kept);
        for bad in ["192.0.2.9 5 0", "192.0.2.9 256 0 10.2.0.0/16", "x 5 0 10.2.0.0/16", "192.0.2.9 5 0 10.2.0.0"] {
            std::fs::write(directory.path().join(Told::NAME), format!("{{\"{bad}\": 5}}")).unwrap();
            let error = NotifyNonces::<Told>::open(directory.path()).unwrap_err().to_string();
            assert!(error.contains(Told::NAME), "{bad}: {error}");
        }
    }
}
