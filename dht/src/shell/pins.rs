// SPDX-License-Identifier: GPL-2.0-or-later
//! The first keys that a resolver has seen, in a file: a second key under one name is noticed after a restart too.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cgeid::Pins;
use cgeid::limits::PINS;

use super::files::replace;

/// Longest file that is read, in octets: a full table has 72 a pin, and a longer file is none.
const LONGEST: u64 = 80 * PINS as u64;

/// The file of one resolver; no two processes may share one.
#[derive(Debug)]
pub struct PinsFile {
    path: PathBuf,
}

impl PinsFile {
    /// Reads the file; one that is not there yet is an empty table.
    ///
    /// # Errors
    /// When it is there and is no table of pins: nobody may get rid of the pins by damaging it.
    pub fn open(path: &Path) -> io::Result<(Self, Pins)> {
        let mut bytes = Vec::new();
        let pins = match File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)) {
            Ok(_) => Pins::decode(&bytes, PINS).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{error}; remove the file to trust all keys anew"))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Pins::default(),
            Err(error) => return Err(error),
        };
        Ok((Self { path: path.to_owned() }, pins))
    }

    /// Writes the table, if anything of it is not written down yet.
    ///
    /// # Errors
    /// When it cannot be written; names the file.
    pub fn save(&self, pins: &mut Pins) -> io::Result<()> {
        if pins.changes().is_empty() {
            return Ok(());
        }
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
        replace(&self.path, &pins.encode()).map_err(named)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::UNIX_EPOCH;

    use cgeid::pins::Sighting;

    use super::*;

    #[test]
    fn a_pin_outlives_the_process_and_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pins");
        let (file, mut pins) = PinsFile::open(&path).unwrap();
        file.save(&mut pins).unwrap();
        assert!(!path.exists(), "an empty table needs no file");
        pins.see(&[7; 64], UNIX_EPOCH);
        file.save(&mut pins).unwrap();
        let (file, mut pins) = PinsFile::open(&path).unwrap();
        let mut second = [7; 64];
        second[63] = 8;
        assert_eq!(pins.see(&second, UNIX_EPOCH), Sighting::Collision { pinned: [7; 64] });
        std::fs::remove_file(&path).unwrap();
        pins.see(&[7; 64], UNIX_EPOCH);
        file.save(&mut pins).unwrap();
        assert!(!path.exists(), "nothing has changed");
        std::fs::write(&path, "torn").unwrap();
        assert!(PinsFile::open(&path).unwrap_err().to_string().contains("remove the file"));
    }
}
