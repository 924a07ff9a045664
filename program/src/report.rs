// SPDX-License-Identifier: GPL-2.0-or-later
//! The flag `--json`: where a report goes, and that it takes the place of nothing but an earlier one.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use crate::Error;
use crate::man::to_stdout;

/// Where `--json` puts the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonTo {
    /// On standard output, instead of the text.
    Output,
    /// In a file, beside the text.
    File(PathBuf),
}

impl FromStr for JsonTo {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "-" { Self::Output } else { Self::File(text.into()) })
    }
}

/// The flag `--json`, of a program or of one verb.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Json {
    /// Print JSON to standard output, or write it to FILE beside the text; only an earlier report is replaced
    #[arg(id = "json", long = "json", value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub to: Option<JsonTo>,
}

impl Json {
    /// Whether the JSON takes the place of the text.
    pub fn is_output(&self) -> bool {
        self.to == Some(JsonTo::Output)
    }

    /// Refuses a place for the report at which something else stands, before there is work in it.
    ///
    /// # Errors
    /// What is in the way.
    pub fn check(&self) -> Result<(), Error> {
        match &self.to {
            Some(JsonTo::File(path)) => check(path),
            _ => Ok(()),
        }
    }

    /// Writes the JSON to the file if there is one, then prints the text, or the JSON in its place.
    ///
    /// # Errors
    /// What is in the way, or that nothing can be written.
    pub fn show(&self, value: &impl Serialize, text: impl AsRef<str>) -> Result<(), Error> {
        let document = match &self.to {
            Some(_) => serde_json::to_string(value).map_err(Error::Json)? + "\n",
            None => String::new(),
        };
        self.show_document(&document, text)
    }

    /// [`Json::show`] of JSON that is a text already.
    ///
    /// # Errors
    /// As there.
    pub fn show_document(&self, document: &str, text: impl AsRef<str>) -> Result<(), Error> {
        match &self.to {
            Some(JsonTo::Output) => return to_stdout(document.as_bytes()),
            Some(JsonTo::File(path)) => write(path, document)?,
            None => {}
        }
        to_stdout(text.as_ref().as_bytes())
    }
}

fn write(path: &Path, document: &str) -> Result<(), Error> {
    check(path)?;
    fs::write(path, document).map_err(|cause| Error::Report { path: path.to_owned(), cause })
}

/// Nothing, an empty file, a device such as `/dev/null`, or what begins as a report does.
fn check(path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Report { path: path.to_owned(), cause };
    let found = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return folder_of(path).map_err(failed),
        found => found.map_err(failed)?,
    };
    if found.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    let mut first = Vec::new();
    if found.is_file() {
        File::open(path).and_then(|file| file.take(1).read_to_end(&mut first)).map_err(failed)?;
    }
    match first.as_slice() {
        [] | [b'{' | b'['] => Ok(()),
        _ => Err(Error::NoReport(path.to_owned())),
    }
}

/// Where there is no folder, no file can be made.
fn folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.metadata().map(|_| ()),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_report_replaces_nothing_but_a_report() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for (name, earlier) in [("new", None), ("empty", Some("")), ("object", Some("{}")), ("list", Some("[1]"))] {
            if let Some(text) = earlier {
                fs::write(place(name), text).unwrap();
            }
            let json = Json { to: Some(JsonTo::File(place(name))) };
            assert!(json.check().is_ok() && json.show(&5, "").is_ok(), "{name}");
            assert_eq!(fs::read_to_string(place(name)).unwrap(), "5\n");
            // Now it is none any more.
            assert_eq!(json.check().unwrap_err().status(), 1, "{name}");
        }
        fs::write(place("key.p12"), "precious").unwrap();
        let key = Json { to: Some(JsonTo::File(place("key.p12"))) };
        assert!(key.check().unwrap_err().to_string().contains("key.p12"));
        assert_eq!(key.show(&5, "").unwrap_err().status(), 1);
        assert_eq!(fs::read_to_string(place("key.p12")).unwrap(), "precious");
        for (path, status) in [(place("nowhere/report"), 2), (folder.path().to_owned(), 2)] {
            assert_eq!(Json { to: Some(JsonTo::File(path)) }.check().unwrap_err().status(), status);
        }
        assert!(Json { to: Some(JsonTo::File("/dev/null".into())) }.check().is_ok());
        assert!(Json::default().check().is_ok());
    }
}
