// SPDX-License-Identifier: GPL-2.0-or-later
//! What is wrong with a target file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// A target file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; none if the file cannot be read.
    pub line: Option<usize>,
    /// What is wrong there.
    pub problem: String,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.problem.trim_end())
    }
}

impl std::error::Error for TargetError {}

impl TargetError {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self { file: path.into(), line: None, problem: error.to_string() }
    }
}

/// A mistake, and the octet where it begins.
#[derive(Debug)]
pub(super) struct Wrong {
    at: usize,
    problem: String,
}

impl Wrong {
    pub(super) fn at(at: usize, problem: impl Into<String>) -> Self {
        Self { at, problem: problem.into() }
    }

    pub(super) fn of(self, text: &str, path: &Path) -> TargetError {
        let before = text.as_bytes().iter().take(self.at);
        let line = 1 + before.filter(|octet| **octet == b'\n').count();
        TargetError { file: path.into(), line: Some(line), problem: self.problem }
    }
}

impl From<toml::de::Error> for Wrong {
    fn from(error: toml::de::Error) -> Self {
        Self { at: error.span().map_or(0, |span| span.start), problem: error.message().to_owned() }
    }
}
