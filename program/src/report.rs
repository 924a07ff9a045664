// SPDX-License-Identifier: GPL-2.0-or-later
//! The flag `--json`: where a report goes, and that it takes the place of nothing but an earlier one.

use std::convert::Infallible;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use serde::de::IgnoredAny;

use crate::Error;
use crate::man::to_stdout;
use crate::replace::{replace, try_replace};

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

    /// [`Json::check`] of a program that reads some files: the report takes the place of none of them, whatever they are.
    ///
    /// # Errors
    /// What is in the way.
    pub fn check_beside(&self, inputs: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<(), Error> {
        self.check()?;
        let Some(JsonTo::File(path)) = &self.to else { return Ok(()) };
        let Some(own) = path.metadata().ok().filter(Metadata::is_file) else { return Ok(()) };
        let is_own = |input: Metadata| (input.dev(), input.ino()) == (own.dev(), own.ino());
        let is_read = inputs.into_iter().any(|input| input.as_ref().metadata().is_ok_and(is_own));
        if is_read { Err(Error::Input(path.clone())) } else { Ok(()) }
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
    let is_stream = path.metadata().is_ok_and(|found| is_stream(found.file_type()));
    let written = if is_stream { fs::write(path, document) } else { replace(path, document.as_bytes()) };
    written.map_err(|cause| Error::Report { path: path.to_owned(), cause })
}

/// Nothing, an empty file, one that holds JSON as a report does, or a terminal or pipe, or such as `/dev/null`: those are written to,
/// and nothing in them is lost. On a block device there may be a file system.
fn check(path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Report { path: path.to_owned(), cause };
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return try_replace(path).map_err(failed),
        found => found.map_err(failed)?,
    };
    if found.is_symlink() {
        // What a shell calls /dev/stdout or gives as >(...) is a link to a pipe or a terminal.
        let leads_on = path.metadata().is_ok_and(|end| is_stream(end.file_type()));
        return if leads_on { Ok(()) } else { Err(Error::ReportLink(path.to_owned())) };
    }
    if found.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    if is_stream(found.file_type()) {
        return Ok(());
    }
    let is_replaced = found.is_file() && (found.len() == 0 || holds_report(path).map_err(failed)?);
    if is_replaced { try_replace(path).map_err(failed) } else { Err(Error::NoReport(path.to_owned())) }
}

fn is_stream(kind: fs::FileType) -> bool {
    kind.is_fifo() || kind.is_char_device()
}

/// Whether a file is one JSON document, an object or a list, from its first octet to its end. A table of TOML begins as a list does.
fn holds_report(path: &Path) -> io::Result<bool> {
    let mut first = [0];
    let is_begun = File::open(path)?.read(&mut first)? == 1 && matches!(first, [b'{' | b'[']);
    if !is_begun {
        return Ok(false);
    }
    match serde_json::from_reader::<_, IgnoredAny>(BufReader::new(File::open(path)?)) {
        Ok(_) => Ok(true),
        Err(error) if error.is_io() => Err(error.into()),
        Err(_) => Ok(false),
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
        for text in ["[node]\nlisten = \"::\"\n", "[1]\n[2]\n", "{\"a\":1", "{ \"a\": 1 } and more"] {
            fs::write(place("settings"), text).unwrap();
            let settings = Json { to: Some(JsonTo::File(place("settings"))) };
            assert_eq!(settings.show(&5, "").unwrap_err().status(), 1, "{text:?}");
            assert_eq!(fs::read_to_string(place("settings")).unwrap(), text);
        }
        for (path, status) in [(place("nowhere/report"), 2), (folder.path().to_owned(), 2)] {
            assert_eq!(Json { to: Some(JsonTo::File(path)) }.check().unwrap_err().status(), status);
        }
        assert!(Json { to: Some(JsonTo::File("/dev/null".into())) }.check().is_ok());
        assert!(Json::default().check().is_ok());
    }

    #[test]
    fn a_report_is_not_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::write(place("earlier"), "{}").unwrap();
        for (name, end) in [("link", place("earlier")), ("loose", place("nothing"))] {
            std::os::unix::fs::symlink(&end, place(name)).unwrap();
            let json = Json { to: Some(JsonTo::File(place(name))) };
            assert_eq!(json.check().unwrap_err().status(), 1, "{name}");
            assert!(json.show(&5, "").unwrap_err().to_string().contains("link"), "{name}");
        }
        assert_eq!(fs::read_to_string(place("earlier")).unwrap(), "{}");
        assert!(!place("nothing").exists());
        std::os::unix::fs::symlink("/dev/null", place("null")).unwrap();
        assert!(Json { to: Some(JsonTo::File(place("null"))) }.show(&5, "").is_ok());
    }

    #[test]
    fn a_place_where_no_report_can_be_made_is_refused_before_the_run() {
        // No file can be made there, by the superuser neither.
        let json = Json { to: Some(JsonTo::File("/proc/self/report".into())) };
        let error = json.check().unwrap_err();
        assert!(error.to_string().contains("/proc/self/report"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("report");
        let json = Json { to: Some(JsonTo::File(place.clone())) };
        json.check().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of the attempt");
        fs::write(&place, "{}").unwrap();
        json.check().unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "{}");
    }

    #[test]
    fn a_report_is_written_to_streams_and_to_nothing_else_that_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&place).unwrap();
        let json = Json { to: Some(JsonTo::File(place)) };
        assert_eq!(json.check().unwrap_err().status(), 1);
        let devices = fs::read_dir("/dev").unwrap().flatten();
        for device in devices.filter(|device| device.file_type().is_ok_and(|kind| kind.is_block_device())) {
            let json = Json { to: Some(JsonTo::File(device.path())) };
            assert_eq!(json.check().unwrap_err().status(), 1, "{:?}", device.path());
        }
    }

    #[test]
    fn a_report_takes_the_place_of_nothing_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::write(place("crawl"), "{}").unwrap();
        fs::hard_link(place("crawl"), place("same")).unwrap();
        std::os::unix::fs::symlink(place("crawl"), place("link")).unwrap();
        for input in ["crawl", "same", "link"] {
            let json = Json { to: Some(JsonTo::File(place("crawl"))) };
            let error = json.check_beside([place("other"), place(input)]).unwrap_err();
            assert_eq!(error.status(), 2, "{input}: {error}");
        }
        let beside = Json { to: Some(JsonTo::File(place("map"))) };
        assert!(
            beside.check_beside([place("crawl")]).is_ok() && Json::default().check_beside([place("crawl")]).is_ok()
        );
        let null = Json { to: Some(JsonTo::File("/dev/null".into())) };
        assert!(null.check_beside(["/dev/null"]).is_ok());
    }
}
