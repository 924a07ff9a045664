// SPDX-License-Identifier: GPL-2.0-or-later
//! Operational identities: read from files, or made at the first start; and the keys of later months, which take their
//! place while the daemon runs.

mod files;
mod watch;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use cgeid::container::{self, Password};
use cgeid::{Identity, Network, OperationalKey, PuzzleBits, epoch};
use zeroize::Zeroizing;

pub use files::{KeyFiles, KeyState, Remaining};
pub use watch::KeyWatch;

/// Environment variable with the password of identity files.
const PASSWORD_VARIABLE: &str = "CGEID_PASSWORD";
/// Files, in the state folder, of the identity that we make when none is given.
const OWN_IDENTITY: &str = "identity.p12";
const OWN_OPERATIONAL: &str = "identity.op.p12";
const OWN_PASSWORD: &str = "identity.password";

/// The identity that this node made for itself, from an earlier start or now: Ed25519, its files in `state_dir`. Says
/// with the second value whether it was made just now. A new operational key is made in each month, and when the one there
/// is does not solve the network's puzzle: the search takes some seconds in a public network.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn own(
    state_dir: &Path,
    network: Network,
    puzzle: PuzzleBits,
    now: SystemTime,
) -> anyhow::Result<(OperationalKey, bool)> {
    let path = |name| state_dir.join(name);
    let made = !path(OWN_IDENTITY).exists();
    if made {
        let password: String = (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
        let password = Zeroizing::new(password);
        let identity = Identity::generate_ed25519(network, now).context("cannot make an identity")?;
        write_secret(&path(OWN_PASSWORD), password.as_bytes())?;
        write_secret(&path(OWN_IDENTITY), &container::save_identity_under(Password::Random, &identity, &password)?)?;
    }
    let password = password(Some(&path(OWN_PASSWORD)))?;
    let kept = files::open(&path(OWN_OPERATIONAL), &password, network, now);
    let mut revision = 0;
    if let Ok(key) = kept.as_ref()
        && key.epoch() / epoch::REVISIONS >= epoch::period(key.cn(), now)
    {
        if cgeid::puzzle::is_solved(key.certificate().key(), key.epoch(), puzzle) {
            return Ok((kept?, made));
        }
        // A key that replaces another of its month has a higher number.
        revision = u8::try_from(key.epoch() % epoch::REVISIONS).unwrap_or(u8::MAX).saturating_add(1);
    }
    let file = path(OWN_IDENTITY);
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read identity {}", file.display()))?;
    let identity = container::load_identity(&bytes, &password, network, now);
    let identity = identity.with_context(|| format!("identity {}", file.display()))?;
    let mined = cgeid::puzzle::mine(identity.epoch_ahead(now, 0, revision)?, puzzle)?;
    let key = identity.delegate_mined(now, mined)?;
    write_secret(&path(OWN_OPERATIONAL), &container::save_operational_under(kind(&password), &key, &password)?)?;
    Ok((key, made))
}

/// Whether a password is one that we made; an operator may have put files of another one in their place.
fn kind(password: &str) -> Password {
    let is_ours = password.len() == 64 && password.bytes().all(|octet| octet.is_ascii_hexdigit());
    if is_ours { Password::Random } else { Password::Chosen }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_secret(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let new = path.with_extension("new");
        // What a killed run left may be open to others, or lead elsewhere.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The first line of a file, as for `cgeid`, or the variable.
fn password(file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    if let Some(file) = file {
        let line = File::open(file).and_then(|file| program::files::first_line(file, program::limits::PASSWORD));
        return line.with_context(|| format!("cannot read password file {}", file.display()));
    }
    match std::env::var(PASSWORD_VARIABLE) {
        Ok(password) => Ok(Zeroizing::new(password)),
        Err(_) => bail!("an identity needs a password: give --password-file or {PASSWORD_VARIABLE}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let (first, made) = own(folder.path(), Network::LAB, PuzzleBits::LAB, now).unwrap();
        assert!(made);
        let (second, made) = own(folder.path(), Network::LAB, PuzzleBits::LAB, now).unwrap();
        assert!(!made);
        assert_eq!(first.cn(), second.cn());
        assert_eq!(first.certificate_der(), second.certificate_der());
        for file in [OWN_IDENTITY, OWN_OPERATIONAL, OWN_PASSWORD] {
            let mode = folder.path().join(file).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file} is for its owner only");
        }
    }

    #[test]
    fn only_under_a_password_of_ours_a_file_asks_for_little() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        // INTEGER 1000, and the 600,000 and the million of a password of a person.
        let rounds = |name| {
            let bytes = std::fs::read(path(name)).unwrap();
            let of = |octets: &[u8]| bytes.windows(octets.len()).filter(|window| *window == octets).count();
            (of(&[2, 2, 3, 0xe8]), of(&[2, 3, 9, 0x27, 0xc0]) + of(&[2, 3, 15, 0x42, 0x40]))
        };
        let made = || drop(own(folder.path(), Network::LAB, PuzzleBits::LAB, SystemTime::now()).unwrap());
        made();
        assert_eq!((rounds(OWN_IDENTITY), rounds(OWN_OPERATIONAL)), ((3, 0), (3, 0)));
        let identity = Identity::generate_ed25519(Network::LAB, SystemTime::now()).unwrap();
        std::fs::write(path(OWN_IDENTITY), container::save_identity(&identity, "chosen").unwrap()).unwrap();
        std::fs::write(path(OWN_PASSWORD), "chosen").unwrap();
        made();
        assert_eq!((rounds(OWN_IDENTITY), rounds(OWN_OPERATIONAL)), ((0, 3), (0, 3)));
    }

    #[test]
    fn a_wrong_password_and_a_missing_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        own(folder.path(), Network::LAB, PuzzleBits::LAB, SystemTime::now()).unwrap();
        let wrong = folder.path().join("wrong");
        std::fs::write(&wrong, "wrong").unwrap();
        let file = folder.path().join(OWN_OPERATIONAL);
        let load = |file| KeyFiles::open(&[file], Some(&wrong), Network::LAB, SystemTime::now()).unwrap_err();
        let error = load(file);
        assert!(format!("{error:#}").contains(OWN_OPERATIONAL), "{error:#}");
        let missing = folder.path().join("none.op.p12");
        let error = load(missing);
        assert!(format!("{error:#}").contains("none.op.p12"), "{error:#}");
    }

    #[test]
    fn a_secret_file_is_its_owners_whatever_a_killed_run_left() {
        let folder = tempfile::tempdir().unwrap();
        let (path, left) = (folder.path().join("identity.p12"), folder.path().join("identity.new"));
        std::fs::write(&left, "left").unwrap();
        std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o666)).unwrap();
        write_secret(&path, b"secret").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "precious").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &left).unwrap();
        write_secret(&path, b"secret").unwrap();
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "precious");
    }

    #[test]
    fn the_password_is_the_first_line_as_it_is_for_cgeid() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pw");
        for text in ["pässwort", "pässwort\n", "pässwort\r\n", "pässwort\nwhat it is for\n"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(*password(Some(&file)).unwrap(), "pässwort", "{text:?}");
        }
    }
}
