// SPDX-License-Identifier: GPL-2.0-or-later
//! Settings: file < environment < flags. What is wrong is told with its key and where it stands.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{files, limits};

/// Where the settings of a program come from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The TOML file, if one is named.
    pub file: Option<&'a Path>,
    /// What the names of environment variables begin with, such as `LISP_DHT_`.
    pub environment: &'a str,
    /// Names after it that are no settings, in small letters.
    pub apart: &'a [&'a str],
}

/// Settings that cannot be used.
#[derive(Debug)]
pub enum SettingsError {
    /// The file cannot be read.
    File(PathBuf, std::io::Error),
    /// Some of them are wrong, one at least.
    Wrong(Vec<Wrong>),
}

/// A wrong setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wrong {
    /// Its name; empty if the file is no TOML.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
    /// The file and its line, or the variable; `None` for a flag.
    pub place: Option<String>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "--config {}: {error}", path.display()),
            Self::Wrong(wrong) => {
                let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                f.write_str(&all.join("; "))
            }
        }
    }
}

impl std::error::Error for SettingsError {}

impl Sources<'_> {
    /// Reads file, environment and flags, the later ones winning.
    ///
    /// # Errors
    /// Which file, or which settings.
    pub fn read<T: DeserializeOwned>(&self, flags: &impl Serialize) -> Result<T, SettingsError> {
        let mut text = String::new();
        let mut figment = Figment::new();
        if let Some(path) = self.file {
            let read = files::read_text(path, limits::SETTINGS_FILE);
            text = read.map_err(|error| SettingsError::File(path.to_owned(), error))?;
            figment = figment.merge(Toml::string(&text));
        }
        let variables = Env::prefixed(self.environment).ignore(self.apart);
        let variables = variables.map(|key| key.as_str().replace('_', "-").into());
        let all = figment.merge(Variables(variables)).merge(Serialized::defaults(flags));
        all.extract()
            .map_err(|error| SettingsError::Wrong(error.into_iter().map(|one| self.explain(&one, &text)).collect()))
    }

    fn explain(&self, error: &figment::Error, text: &str) -> Wrong {
        let mut path = error.path.clone();
        let problem = match &error.kind {
            Kind::UnknownField(key, known) => {
                if path.last() != Some(key) {
                    path.push(key.clone());
                }
                format!("unknown key; known are {}", known.join(", "))
            }
            other => shortened(other.to_string().trim_end()),
        };
        let from = error.metadata.as_ref().map(|metadata| metadata.name.to_string()).unwrap_or_default();
        let key = path.join(".");
        let place = match self.file {
            Some(file) if from.contains("TOML") => Some(match line_of(text, &path) {
                Some(line) => format!("{}, line {line}", file.display()),
                None => file.display().to_string(),
            }),
            _ if from.contains("environment") => {
                Some(format!("{}{}", self.environment, key.replace('-', "_").to_uppercase()))
            }
            _ => None,
        };
        Wrong { key, problem, place }
    }
}

/// Environment variables. What has more digits than any number here is no number: zeros that an identifier begins with count.
struct Variables(Env);

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut data = self.0.data()?;
        for (key, text) in self.0.iter().filter(|(_, text)| text.trim().len() > limits::NUMBER) {
            for found in data.values_mut().filter_map(|settings| settings.get_mut(key.as_str())) {
                if matches!(found, Value::Num(..)) {
                    *found = text.trim().into();
                }
            }
        }
        Ok(data)
    }
}

/// The beginning of an explanation that quotes a long line.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(limits::EXPLANATION) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The line that sets a key: at the top, or, if its path is `table.N...`, under the header of that table.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let is_header = |line: &str| line.trim_start().starts_with('[');
    let mut lines = text.lines().enumerate();
    if let [table, index, _, ..] = path {
        let header = format!("[[{table}]]");
        lines.by_ref().filter(|(_, line)| line.trim().starts_with(&header)).nth(index.parse().ok()?)?;
    }
    let body: Vec<_> = lines.take_while(|(_, line)| !is_header(line)).collect();
    let sets = |line: &str, key: &str| {
        let rest = line.trim_start().trim_start_matches('"').strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start_matches('"').trim_start().starts_with('='))
    };
    let line_with = |key: &String| body.iter().find(|(_, line)| sets(line, key)).map(|(index, _)| index + 1);
    path.iter().rev().find_map(line_with)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    struct Settings {
        dht_port: Option<u16>,
        site: Vec<Site>,
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Site {
        name: String,
    }

    #[derive(Serialize)]
    struct NoFlags {}

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.toml");
        std::fs::write(&file, text).unwrap();
        let sources = Sources { file: Some(&file), environment: "NOBODY_SETS_THIS_", apart: &[] };
        let inside = format!("{}/", folder.path().display());
        sources.read(&NoFlags {}).map_err(|error| error.to_string().replace(&inside, ""))
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(read("dht-port = 5").unwrap().dht_port, Some(5));
        let known = "unknown key; known are dht-port, site";
        assert_eq!(read("\nport = 5").unwrap_err(), format!("f.toml, line 2: port: {known}"));
        let error = read("dht-port = \"x\"\n").unwrap_err();
        assert!(error.starts_with("f.toml, line 1: dht-port: "), "{error}");
        let site = "[[site]]\nname = \"a\"\n";
        let error = read(&format!("{site}{site}nme = 1\n")).unwrap_err();
        assert!(error.starts_with("f.toml, line 5: site.1.nme: unknown key"), "{error}");
    }

    #[test]
    fn a_file_that_is_none_is_named_and_not_repeated() {
        let error = read(&"x".repeat(100_000)).unwrap_err();
        assert!(error.starts_with("f.toml: ") && error.len() < 1000, "{error}");
        let sources = Sources { file: Some(Path::new("/dev/zero")), environment: "NOBODY_SETS_THIS_", apart: &[] };
        let error = sources.read::<Settings>(&NoFlags {}).unwrap_err().to_string();
        assert!(error.starts_with("--config /dev/zero: longer than "), "{error}");
    }
}
