// SPDX-License-Identifier: GPL-2.0-or-later
//! Why nothing was printed or written.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// What stood in the way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A page was asked for of a verb that there is not.
    #[error("there is no verb {0}")]
    NoVerb(String),
    /// A file stands where a page is to go.
    #[error("{} exists and is not overwritten without --force", .0.display())]
    Exists(PathBuf),
    /// A link stands where a page is to go: what it leads to is none.
    #[error("{} is a symbolic link and is not written through; remove it", .0.display())]
    Link(PathBuf),
    /// A page cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// What stands where a report is to go is none.
    #[error("--json={}: the file exists, is no earlier report, and is not overwritten; choose another", .0.display())]
    NoReport(PathBuf),
    /// A link stands where a report is to go.
    #[error("--json={}: a symbolic link is not written through; choose another", .0.display())]
    ReportLink(PathBuf),
    /// The report would take the place of what the program reads.
    #[error("--json={}: this file is read, and is not overwritten; choose another", .0.display())]
    Input(PathBuf),
    /// A report cannot be written.
    #[error("--json={}: {cause}", path.display())]
    Report {
        /// Where.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A report cannot be put into JSON.
    #[error("cannot make the report: {0}")]
    Json(serde_json::Error),
    /// Standard output takes nothing.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

impl Error {
    /// The exit status of a program that ends by it: 1 if something is in the way, 2 if it was asked wrongly, 3 if the machine
    /// lacks something.
    pub fn status(&self) -> u8 {
        match self {
            Self::Exists(_) | Self::Link(_) | Self::NoReport(_) | Self::ReportLink(_) => 1,
            Self::NoVerb(_) | Self::Input(_) => 2,
            Self::Write { cause, .. } | Self::Report { cause, .. } if is_a_wrong_place(cause) => 2,
            Self::Write { .. } | Self::Report { .. } | Self::Json(_) | Self::Output(_) => 3,
        }
    }
}

fn is_a_wrong_place(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}
