// SPDX-License-Identifier: GPL-2.0-or-later
//! The schedule of temporary CGEIDs, obeyed: addresses go to an interface, the state into a file, and the identities to
//! whoever publishes them.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv6Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::addresses::{AddressError, Addresses, Standing};
use crate::cn::{Cn, Network};
use crate::identity::Identity;
use crate::temporary::{Clock, Input, Lifetimes, MAX_STATE, Output, Schedule, StateError};

/// How often the kernel is asked about an address whose search for duplicates goes on: it takes about a second.
const LOOK: Duration = Duration::from_millis(100);

/// Who makes identities known.
pub trait Directory {
    /// Makes an identity known and keeps it so; may be asked again for one that it has. What came of it is told to the
    /// keeper later, as [`Input::Published`].
    fn publish(&mut self, identity: Identity);

    /// Speaks for an identity no more.
    fn withdraw(&mut self, cn: Cn);
}

/// What went wrong; the schedule goes on, and what failed is tried again.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The kernel.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The file of the state.
    #[error("cannot {what} {}: {cause}", path.display())]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// No certificate can say the time of this machine.
    #[error("no certificate for {cn}: {cause}")]
    Certificate {
        /// Whose.
        cn: Cn,
        /// Why.
        cause: crate::CertificateError,
    },
}

/// Keeps the CGEIDs of one interface.
#[derive(Debug)]
pub struct Keeper {
    schedule: Schedule,
    addresses: Addresses,
    file: PathBuf,
    /// Addresses whose search for duplicates goes on.
    awaited: BTreeSet<Ipv6Addr>,
    discarded: Option<StateError>,
    last: Duration,
}

impl Keeper {
    /// Goes on from `file`, where it is (a damaged one is left behind, see [`Keeper::discarded`]); takes leftovers off the
    /// interface, puts the static CGEIDs there, deprecated, and sets the label. Call [`Keeper::turn`] next.
    ///
    /// # Errors
    /// [`KeeperError`] names what the machine lacks.
    pub async fn start(
        addresses: Addresses,
        network: Network,
        statics: &[Ipv6Addr],
        file: PathBuf,
        clock: Clock,
    ) -> Result<Keeper, KeeperError> {
        let (schedule, discarded) = match read(&file)? {
            None => (Schedule::new(network, clock), None),
            Some(bytes) => match Schedule::restore(&bytes, network, clock) {
                Ok(schedule) => (schedule, None),
                Err(error) => (Schedule::new(network, clock), Some(error)),
            },
        };
        addresses.keep_only(&[&schedule.addresses(), statics].concat()).await?;
        addresses.add_label().await?;
        for address in statics {
            addresses.assign(*address, Lifetimes::STATIC).await?;
        }
        Ok(Keeper { schedule, addresses, file, awaited: BTreeSet::new(), discarded, last: clock.uptime })
    }

    /// Tells the schedule what happened and does what it says. At every turn the kernel is asked about new addresses.
    ///
    /// # Errors
    /// The first thing that went wrong; everything else was done.
    pub async fn turn(
        &mut self,
        clock: Clock,
        input: Input,
        directory: &mut impl Directory,
    ) -> Result<(), KeeperError> {
        self.last = clock.uptime;
        let mut failure = Ok(());
        let mut inputs = VecDeque::from([input]);
        match self.look().await {
            Ok(found) => inputs.extend(found),
            Err(error) => failure = Err(error),
        }
        while let Some(input) = inputs.pop_front() {
            self.schedule.handle(clock, input);
            while let Some(output) = self.schedule.poll() {
                match self.obey(output, clock, directory, &mut inputs).await {
                    Err(error) if failure.is_ok() => failure = Err(error),
                    _ => {}
                }
            }
        }
        failure
    }

    /// Addresses that belong on the interface, and that somebody has taken away: each is an [`Input::Gone`]. One whose search for
    /// duplicates goes on is none of them.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn gone(&self) -> Result<Vec<Ipv6Addr>, KeeperError> {
        let mut gone = Vec::new();
        for address in self.schedule.addresses().into_iter().filter(|address| !self.awaited.contains(address)) {
            if self.addresses.standing(address).await? == Standing::Gone {
                gone.push(address);
            }
        }
        Ok(gone)
    }

    /// The uptime at which to call [`Keeper::turn`] with [`Input::Tick`] at the latest.
    pub fn next_deadline(&self) -> Duration {
        let deadline = self.schedule.next_deadline();
        if self.awaited.is_empty() { deadline } else { deadline.min(self.last + LOOK) }
    }

    /// The address that new connections begin with.
    pub fn preferred(&self) -> Option<Ipv6Addr> {
        self.schedule.preferred()
    }

    /// Why the state of an earlier run was not used.
    pub fn discarded(&self) -> Option<&StateError> {
        self.discarded.as_ref()
    }

    /// The addresses of the interface, to take everything away at the end. A process that only restarts leaves them: the
    /// kernel ends them in time.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    async fn look(&mut self) -> Result<Vec<Input>, KeeperError> {
        let mut found = Vec::new();
        for address in self.awaited.clone() {
            let input = match self.addresses.standing(address).await? {
                Standing::Tentative => continue,
                Standing::Ready => Input::Assigned { address },
                // An address with an end is removed by the kernel when a duplicate shows.
                Standing::Duplicate | Standing::Gone => Input::Conflict { address },
            };
            self.awaited.remove(&address);
            found.push(input);
        }
        Ok(found)
    }

    async fn obey(
        &mut self,
        output: Output,
        clock: Clock,
        directory: &mut impl Directory,
        inputs: &mut VecDeque<Input>,
    ) -> Result<(), KeeperError> {
        match output {
            Output::Save => write(&self.file, &self.schedule.state())?,
            Output::Generate => inputs.push_back(generate()),
            Output::Publish(key) => match key.identity(clock.utc.unwrap_or_else(SystemTime::now)) {
                Ok(identity) => directory.publish(identity),
                Err(cause) => {
                    inputs.push_back(Input::Published { cn: key.cn(), done: false });
                    return Err(KeeperError::Certificate { cn: key.cn(), cause });
                }
            },
            Output::Assign { address, lifetimes } => {
                if let Err(error) = self.addresses.assign(address, lifetimes).await {
                    inputs.push_back(Input::NotAssigned { address });
                    return Err(error.into());
                }
                self.awaited.insert(address);
            }
            Output::Change { address, lifetimes } => self.addresses.assign(address, lifetimes).await?,
            Output::Remove { address } => {
                self.awaited.remove(&address);
                self.addresses.remove(address).await?;
            }
            Output::Withdraw { cn } => directory.withdraw(cn),
        }
        Ok(())
    }
}

fn generate() -> Input {
    let (mut secret, mut chance) = (Zeroizing::new([0; 32]), [0; 4]);
    let filled = aws_lc_rs::rand::fill(&mut secret[..]).and_then(|()| aws_lc_rs::rand::fill(&mut chance));
    match filled {
        Ok(()) => Input::Generated { secret, chance: u32::from_be_bytes(chance) },
        Err(_) => Input::NotGenerated,
    }
}

/// The state of an earlier run, if there is one; of a longer file only so much that it is refused.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeeperError> {
    let failed = |cause| KeeperError::File { what: "read", path: path.to_owned(), cause };
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // Of a pipe nothing is waited for.
        Ok(found) if !found.is_file() => return Err(failed(io::Error::other("it is no file"))),
        found => found.map_err(failed)?,
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_STATE + 1));
    file.take(MAX_STATE as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Replaces the file in one step, readable by its owner only.
fn write(path: &Path, bytes: &[u8]) -> Result<(), KeeperError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let written = match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft),
    };
    let written = written.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    let replaced = written.and_then(|()| fs::rename(&draft, path));
    replaced.map_err(|cause| KeeperError::File { what: "write", path: path.to_owned(), cause })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_state_is_its_owners_only_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("temporary.state");
        assert!(read(&path).unwrap().is_none());
        fs::write(folder.path().join("temporary.state.new"), "what a killed run left").unwrap();
        for bytes in [&b"one"[..], b"another"] {
            write(&path, bytes).unwrap();
            assert_eq!(**read(&path).unwrap().unwrap(), *bytes);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(&path, vec![0; 10 * MAX_STATE]).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().len(), MAX_STATE + 1);
        let error = write(&folder.path().join("nowhere/state"), b"").unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
    }
}
