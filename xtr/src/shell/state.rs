// SPDX-License-Identifier: GPL-2.0-or-later
//! What outlives a run: the xTR-ID, and the bound below which no nonce may be used again.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use wire::control::Nonce;

use super::Failure;

/// Octets that a state file may have: far more than it has.
const LARGEST: usize = 4096;

/// The file's name in the state directory.
const NAME: &str = "xtr.state";
/// Locked while a node runs: two with one xTR-ID would take each other's registrations for their own.
const LOCK: &str = "lock";

/// The contents of the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Unique among the xTRs of a site.
    pub xtr_id: [u8; 16],
    /// Nonces up to here may have been used.
    pub nonce: u64,
}

/// The state, and where it is kept.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    state: State,
    /// Held, and let go by the kernel however the process ends.
    _lock: std::fs::File,
}

impl StateFile {
    /// Reads the state, or begins one. Nonces start from the clock if that is ahead, so that they are above those of a run
    /// whose file was lost, restored from a backup, or not written because the disk was full.
    ///
    /// # Errors
    /// If the directory cannot be made or written, another node uses it, or the file is damaged.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        make_private_directory(directory)?;
        let lock = lock(directory)?;
        let path = directory.join(NAME);
        let mut state = match std::fs::read(&path) {
            Ok(bytes) => decode(&bytes).ok_or_else(|| {
                let advice = "damaged; remove it to begin anew (Map-Servers that lag behind our clock may then wait)";
                Failure::Machine(format!("{}: {advice}", path.display()))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State { xtr_id: random()?, nonce: 0 },
            Err(error) => return Err(unusable(&path, &error)),
        };
        state.nonce = state.nonce.max(clock());
        let file = Self { path, state, _lock: lock };
        file.write()?;
        Ok(file)
    }

    /// What is in it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Notes that nonces up to `bound` may be used from now on; on disk when it returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn persist_nonce(&mut self, bound: Nonce) -> Result<(), Failure> {
        self.state.nonce = self.state.nonce.max(bound.0);
        self.write()
    }

    /// Written beside and renamed, so that a crash leaves the old state or the new one; the directory too is on disk when
    /// this returns, without which the old one could come back.
    fn write(&self) -> Result<(), Failure> {
        let beside = self.path.with_extension("new");
        let write = || {
            let mut file = std::fs::File::create(&beside)?;
            file.write_all(&encode(&self.state)?)?;
            file.sync_all()?;
            std::fs::rename(&beside, &self.path)?;
            self.path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
        };
        write().map_err(|error| unusable(&self.path, &error))
    }
}

fn lock(directory: &Path) -> Result<std::fs::File, Failure> {
    let path = directory.join(LOCK);
    let file = std::fs::File::create(&path).map_err(|error| unusable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            let advice = "another lisp-xtr uses it: each node needs a directory of its own";
            Err(Failure::Machine(format!("--state-dir {}: {advice}", directory.display())))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}

/// Makes a directory that only its owner reads.
///
/// # Errors
/// If it cannot be made.
pub fn make_private_directory(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| Failure::Machine(format!("--state-dir {}: {error}", directory.display())))
}

/// Octets from the system's entropy.
///
/// # Errors
/// If the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    random_of(&mut SysRng)
}

fn random_of<const N: usize>(source: &mut impl TryRng) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    let filled = source.try_fill_bytes(&mut bytes);
    filled.map_err(|error| Failure::Machine(format!("no entropy from the system: {error}")))?;
    Ok(bytes)
}

/// The only use of bincode: big-endian, fixed width, and bounded, since a forged length would otherwise be allocated.
fn bounded() -> impl bincode::config::Config {
    bincode::config::standard().with_big_endian().with_fixed_int_encoding().with_limit::<LARGEST>()
}

fn encode(state: &State) -> std::io::Result<Vec<u8>> {
    bincode::serde::encode_to_vec(state, bounded()).map_err(std::io::Error::other)
}

/// Trailing octets are damage too.
fn decode(bytes: &[u8]) -> Option<State> {
    let (state, read) = bincode::serde::decode_from_slice(bytes, bounded()).ok()?;
    (read == bytes.len()).then_some(state)
}

fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2)
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Machine(format!("{}: {error} (--state-dir names the directory)", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nonces_rise_over_restarts_and_the_xtr_id_stays() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = StateFile::open(directory.path()).unwrap();
        let xtr_id = first.state().xtr_id;
        let bound = Nonce(first.state().nonce + 1_000_000);
        first.persist_nonce(bound).unwrap();
        first.persist_nonce(Nonce(1)).unwrap();
        drop(first);
        let second = StateFile::open(directory.path()).unwrap();
        assert_eq!(second.state(), &State { xtr_id, nonce: bound.0 });
    }

    /// A source without entropy, that says so with the last octet.
    struct Dry;

    impl TryRng for Dry {
        type Error = std::io::Error;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Err(std::io::Error::other("dry"))
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Err(std::io::Error::other("dry"))
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            bytes.split_last_mut().into_iter().for_each(|(_, all_but_one)| all_but_one.fill(0x55));
            Err(std::io::Error::other("dry"))
        }
    }

    /// RFC 9303, section 7.2: no seed is better than a weak one.
    #[test]
    fn without_entropy_there_is_an_error_and_no_seed() {
        let error = random_of::<32>(&mut Dry).unwrap_err();
        assert!(matches!(&error, Failure::Machine(text) if text == "no entropy from the system: dry"), "{error}");
        let mut drawn: Vec<[u8; 32]> = (0..4).map(|_| random().unwrap()).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 4);
    }

    #[test]
    fn two_nodes_do_not_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateFile::open(directory.path()).unwrap();
        let error = StateFile::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("--state-dir"), "{error}");
        drop(first);
        StateFile::open(directory.path()).unwrap();
    }

    #[test]
    fn nonces_that_were_used_and_not_written_are_below_the_clock() {
        let directory = tempfile::tempdir().unwrap();
        let old = State { xtr_id: [7; 16], nonce: 5 };
        std::fs::write(directory.path().join(NAME), encode(&old).unwrap()).unwrap();
        let before = clock();
        let file = StateFile::open(directory.path()).unwrap();
        assert!(file.state().nonce >= before && file.state().xtr_id == old.xtr_id);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = StateFile::open(&file.path().join("state")).unwrap_err();
        assert!(error.to_string().contains("--state-dir"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_named_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        StateFile::open(directory.path()).unwrap();
        let path = directory.path().join(NAME);
        let good = std::fs::read(&path).unwrap();
        for bad in [&good[..good.len() - 1], &[good.as_slice(), &[0]].concat(), &[0xff; 30]] {
            std::fs::write(&path, bad).unwrap();
            let error = StateFile::open(directory.path()).unwrap_err();
            assert!(error.to_string().contains(NAME), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
    }
}
