// SPDX-License-Identifier: GPL-2.0-or-later
//! The ledger: each clause of the documents that concern us, and what proves it.
//!
//! It is data, one file a document, and part of the binary: a run can be held against it anywhere. What a file may say is
//! read strictly, so that no clause is without either a test or the reason why it has none.

mod basis;
mod coverage;
mod log;
mod print;
mod ran;
mod read;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use basis::{Basis, bases, is_read, level_told};
pub use coverage::{Missed, Share, Shares, missed, promised};
pub use log::Log;
pub use print::{explain, left_out, listed, named, table};
pub use ran::{Ran, results};
pub use read::{Flaw, extras, read};
pub(crate) use read::{line, syntax};

/// The files, by the names that they have in `requirements`.
pub const FILES: &[(&str, &str)] = &[
    ("rfc9300.toml", include_str!("../../requirements/rfc9300.toml")),
    ("rfc9301.toml", include_str!("../../requirements/rfc9301.toml")),
    ("rfc9302.toml", include_str!("../../requirements/rfc9302.toml")),
    ("rfc9303.toml", include_str!("../../requirements/rfc9303.toml")),
    ("rfc9304.toml", include_str!("../../requirements/rfc9304.toml")),
    ("rfc9305.toml", include_str!("../../requirements/rfc9305.toml")),
    ("rfc9306.toml", include_str!("../../requirements/rfc9306.toml")),
    ("rfc6832.toml", include_str!("../../requirements/rfc6832.toml")),
    ("rfc8060.toml", include_str!("../../requirements/rfc8060.toml")),
    ("rfc8111.toml", include_str!("../../requirements/rfc8111.toml")),
    ("rfc9437.toml", include_str!("../../requirements/rfc9437.toml")),
    ("rfc9735.toml", include_str!("../../requirements/rfc9735.toml")),
    ("rfc8378.toml", include_str!("../../requirements/rfc8378.toml")),
    ("rfc8061.toml", include_str!("../../requirements/rfc8061.toml")),
    ("rfc6040.toml", include_str!("../../requirements/rfc6040.toml")),
    ("rfc6438.toml", include_str!("../../requirements/rfc6438.toml")),
    ("rfc6936.toml", include_str!("../../requirements/rfc6936.toml")),
    ("lisp-nat-traversal.toml", include_str!("../../requirements/lisp-nat-traversal.toml")),
    ("draft-cgeid.toml", include_str!("../../requirements/draft-cgeid.toml")),
    ("draft-signed-dht.toml", include_str!("../../requirements/draft-signed-dht.toml")),
    ("ours.toml", include_str!("../../requirements/ours.toml")),
];

/// Checks that no clause names, and why they are there.
pub const EXTRA: (&str, &str) = ("extra.toml", include_str!("../../requirements/extra.toml"));

/// How much a clause asks for (BCP 14; RECOMMENDED is SHOULD, and REQUIRED and SHALL are MUST).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// It must be so.
    #[serde(rename = "MUST")]
    Must,
    /// It must not be so.
    #[serde(rename = "MUST NOT")]
    MustNot,
    /// It is so but for good reasons.
    #[serde(rename = "SHOULD")]
    Should,
    /// It is not so but for good reasons.
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    /// It may be so.
    #[serde(rename = "MAY")]
    May,
}

impl Level {
    /// As documents write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
        }
    }
}

/// What proves a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// A check of a suite, by its identifier.
    Check(String),
    /// A Rust test of the workspace.
    Function {
        /// Its file, from the root of the workspace.
        path: String,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(id) => formatter.write_str(id),
            Self::Function { path, name } => write!(formatter, "{path}::{name}"),
        }
    }
}

/// How a clause stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// These prove it; at least one.
    Tests(Vec<Test>),
    /// It concerns us and nothing proves it, for this reason.
    Untested(String),
    /// It concerns nothing that this project builds, for this reason.
    NotOurs(String),
}

/// One statement of a document.
#[derive(Debug, Clone)]
pub struct Clause {
    /// Unique among all documents.
    pub id: String,
    /// What it asks for.
    pub level: Level,
    /// Whether the document itself says so in a word of BCP 14; otherwise the level is our reading.
    pub is_stated: bool,
    /// Where the document says it.
    pub section: String,
    /// What it says, in a line of ours.
    pub text: String,
    /// What would go wrong without it, where that is not plain.
    pub why: Option<String>,
    /// What proves it, or why nothing does.
    pub proof: Proof,
}

impl Clause {
    /// The tests that prove it.
    pub fn tests(&self) -> &[Test] {
        match &self.proof {
            Proof::Tests(tests) => tests,
            Proof::Untested(_) | Proof::NotOurs(_) => &[],
        }
    }

    /// The checks among its tests.
    pub fn checks(&self) -> impl Iterator<Item = &str> {
        self.tests().iter().filter_map(|test| match test {
            Test::Check(id) => Some(id.as_str()),
            Test::Function { .. } => None,
        })
    }
}

/// Who wrote a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Others: RFCs and Internet-Drafts.
    Others,
    /// We.
    Ours,
}

impl Group {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Others, Self::Ours];

    /// As the ledger is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Others => "the RFCs and drafts of others",
            Self::Ours => "our own documents",
        }
    }

    /// By the name of the file: `ours.toml`, and `draft-` with the name of ours.
    fn of(file: &str) -> Self {
        if file == "ours.toml" || file.starts_with("draft-") { Self::Ours } else { Self::Others }
    }

    /// The clauses of its documents.
    pub fn clauses(self, documents: &[Document]) -> impl Iterator<Item = &Clause> {
        documents.iter().filter(move |document| document.group == self).flat_map(|document| &document.clauses)
    }
}

/// One document and its clauses.
#[derive(Debug, Clone)]
pub struct Document {
    /// Who wrote it.
    pub group: Group,
    /// How it is cited: `RFC 9301`.
    pub name: String,
    /// What it is called.
    pub title: String,
    /// Its clauses, in the order of the file.
    pub clauses: Vec<Clause>,
}

/// Checks that no clause names, and why.
#[derive(Debug, Clone)]
pub struct Extra {
    /// Identifiers of checks, or the name of a suite for all of its.
    pub checks: Vec<String>,
    /// Why no clause of a document names them.
    pub why: String,
}

/// All documents.
///
/// # Errors
/// When a file says what it may not, with its line, or two clauses have one identifier.
pub fn all() -> Result<Vec<Document>, Flaw> {
    let mut seen = BTreeSet::new();
    FILES.iter().map(|(file, text)| read(file, text, &mut seen)).collect()
}
