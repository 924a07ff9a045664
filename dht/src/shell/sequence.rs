// SPDX-License-Identifier: GPL-2.0-or-later
//! The last sequence that an identity has used, in a file: a clock that went back must not make us publish what nobody takes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::replace;
use crate::publish::Sequence;

/// The file of one identity.
#[derive(Debug)]
pub struct SequenceFile {
    path: PathBuf,
    /// The last sequence.
    pub sequence: Sequence,
}

impl SequenceFile {
    /// Reads the file; one that is not there yet counts as never used.
    ///
    /// # Errors
    /// When it is there and cannot be read as a number.
    pub fn open(path: &Path) -> io::Result<Self> {
        let sequence = match fs::read_to_string(path) {
            Ok(text) => text.trim().parse().map(Sequence).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "not a sequence number; remove the file if the clock is right",
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Sequence::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), sequence })
    }

    /// Writes the sequence, before what it signed is published. The file is replaced as a whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> io::Result<()> {
        replace(&self.path, format!("{}\n", self.sequence.0).as_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sequence");
        let mut file = SequenceFile::open(&path).unwrap();
        assert_eq!(file.sequence, Sequence(0));
        file.sequence = Sequence(77);
        file.save().unwrap();
        assert_eq!(SequenceFile::open(&path).unwrap().sequence, Sequence(77));
        fs::write(&path, "torn").unwrap();
        assert!(SequenceFile::open(&path).is_err());
    }
}
