// SPDX-License-Identifier: GPL-2.0-or-later
//! Files that somebody names, and that may be anything: a folder, a device that never ends, another file than was meant.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a file of at most `most` octets.
///
/// # Errors
/// The system's, or that it is longer.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(one_more(most)).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("longer than {most} octets")));
    }
    Ok(bytes)
}

/// The first octets of a file, at most so many, however long it is.
///
/// # Errors
/// The system's.
pub fn head(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last octets of a file, at most so many, however long it is.
///
/// # Errors
/// The system's.
pub fn tail(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let (length, most) = (file.metadata()?.len(), u64::try_from(most).unwrap_or(u64::MAX));
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    // It may have grown meanwhile.
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a text of at most `most` octets.
///
/// # Errors
/// As [`read`], or that it is no text.
pub fn read_text(path: &Path, most: usize) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::new(ErrorKind::InvalidData, "not a text (UTF-8)"))
}

/// The first line of what may hold a secret, without its end.
///
/// # Errors
/// The system's, or that it is longer than `most` octets or no text.
pub fn first_line(source: impl Read, most: usize) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    let length = BufReader::new(source.take(one_more(most))).read_line(&mut line)?;
    if length > most {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("the first line is longer than {most} octets")));
    }
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// By what is read beyond the bound, what is longer is known.
fn one_more(most: usize) -> u64 {
    u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!((head(&path, 2).unwrap(), head(&path, 9).unwrap()), (b"12".to_vec(), b"12345".to_vec()));
        assert_eq!((tail(&path, 2).unwrap(), tail(&path, 9).unwrap()), (b"45".to_vec(), b"12345".to_vec()));
        assert_eq!(read(&path, 4).unwrap_err().to_string(), "longer than 4 octets");
        assert_eq!(read(Path::new("/dev/zero"), 1000).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, 5).unwrap_err().to_string(), "not a text (UTF-8)");
        assert!(read(folder.path(), 5).is_err());
    }

    #[test]
    fn a_password_is_the_first_line() {
        for text in ["p\u{e4}ss", "p\u{e4}ss\n", "p\u{e4}ss\r\n", "p\u{e4}ss\nwhat it is for\n"] {
            assert_eq!(*first_line(text.as_bytes(), 7).unwrap(), "p\u{e4}ss", "{text:?}");
        }
        assert_eq!(first_line(&b"12345678"[..], 7).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(*first_line(&b""[..], 6).unwrap(), "");
    }
}
