// SPDX-License-Identifier: GPL-2.0-or-later
//! One judged statement: what it says, where that is written, and how it came out.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::exchange::{Message, Recording, Sure};
use crate::ledger::{self, Basis};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What the clause asks for was seen.
    Pass,
    /// It was not.
    Fail,
    /// It could not be judged; the evidence says why.
    Skip,
}

impl Verdict {
    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// A clause as people cite it: sections of RFCs are written without that word.
pub fn cited(clause: &str) -> String {
    if clause.starts_with(|first: char| first.is_ascii_digit()) { format!("RFC {clause}") } else { clause.to_owned() }
}

/// Document and section of a clause, as [`cited`]; of one that rests on several, the first.
pub fn place(clause: &str) -> (String, String) {
    let clause = cited(clause);
    let first = clause.split([';', ',']).next().unwrap_or(&clause);
    let is_ours = clause.starts_with("lisp-") && clause.contains(", ");
    // What rests on our own designs names the program, then the text and its section.
    let (document, section) = if is_ours { clause.split_once(", ").unwrap_or((&clause, "")) } else { split(first) };
    (document.trim().to_owned(), section.trim().to_owned())
}

/// Behind the number of an RFC and behind the name of a draft comes a section; an identifier stands for a row of a table.
fn split(clause: &str) -> (&str, &str) {
    if let Some(rest) = clause.strip_prefix("RFC ") {
        let end = rest.find(' ').map_or(clause.len(), |at| at + "RFC ".len());
        return clause.split_at(end);
    }
    match (clause.split_once(' '), clause.split_once('-')) {
        (Some((document, section)), _) if section.starts_with(|first: char| first.is_ascii_digit()) => {
            (document, section)
        }
        (None, Some(("ID", _))) => ("Identities", clause),
        (None, Some(("CG", _))) => ("CGEID profile", clause),
        _ => (clause, ""),
    }
}

/// A check and its outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    /// Identifier, unique in its suite.
    pub id: String,
    /// The clause: RFC and section, or the requirement of an Internet-Draft of ours.
    pub clause: String,
    /// MUST, SHOULD, ... as the clause has it.
    pub level: String,
    /// The clauses of the ledger that it proves; a suite leaves them to the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<Basis>,
    /// The suite it belongs to.
    pub suite: Cow<'static, str>,
    /// How it came out.
    pub result: Verdict,
    /// Whether the machine lacks something to judge it, which the evidence names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lacks: bool,
    /// What was given, and what came, in a line.
    pub evidence: String,
    /// What is given, or asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asks: String,
    /// What must come of it, where that is written down.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
    /// What came, or what is missing to judge it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub came: String,
    /// On what kind of observation the verdict rests; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sure: Option<Sure>,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub took_ms: u64,
    /// What was sent and what came, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchange: Vec<Message>,
}

/// What a check is, before it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its suite.
    pub suite: &'static str,
    /// Its identifier.
    pub id: &'a str,
    /// Its clause.
    pub clause: &'a str,
    /// The level of the clause.
    pub level: &'a str,
    /// What is given.
    pub about: &'a str,
    /// What must come of it; nothing where that is not written down apart.
    pub expected: &'a str,
}

impl Check {
    /// The check with its outcome, what came, and what was recorded meanwhile.
    pub fn judged(asked: &Asked<'_>, result: Verdict, came: String, recording: Recording) -> Self {
        let expected = [asked.expected, &recording.expected].into_iter().find(|text| !text.is_empty());
        let expected = expected.map_or_else(|| wanted(&came).to_owned(), str::to_owned);
        Self {
            id: asked.id.into(),
            clause: asked.clause.into(),
            level: asked.level.into(),
            clauses: Vec::new(),
            suite: asked.suite.into(),
            result,
            lacks: false,
            evidence: format!("{}: {came}", asked.about),
            asks: asked.about.into(),
            expected,
            came,
            sure: (result != Verdict::Skip).then(|| recording.sure()),
            took_ms: u64::try_from(recording.took.as_millis()).unwrap_or(u64::MAX),
            exchange: recording.exchange,
        }
    }

    /// Its level, and that it is our reading where no document states it.
    pub fn level_told(&self) -> String {
        ledger::level_told(&self.level, &self.clauses)
    }

    /// How sure its verdict is: on what kind of observation it rests, and whose word the level of each clause is. Lines.
    pub fn sure_told(&self) -> Vec<String> {
        let observed = self.sure.map(|sure| sure.told().to_owned());
        let read = self.clauses.iter().map(|clause| format!("{}: {}", clause.id, clause.told()));
        observed.into_iter().chain(read).collect()
    }
}

/// What a finding of the form "expected A; came B" says was expected.
fn wanted(came: &str) -> &str {
    match came.split_once(';') {
        Some((wanted, _)) if wanted.starts_with("to be ") => wanted,
        Some((wanted, _)) => wanted.strip_prefix("expected").unwrap_or("").trim_start_matches([':', ' ']),
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_has_a_document_and_a_section() {
        for (clause, document, section) in [
            ("9301 5.2", "RFC 9301", "5.2"),
            ("9301 5.2 7.1", "RFC 9301", "5.2 7.1"),
            ("9301 5.6, LOCAL", "RFC 9301", "5.6"),
            ("8060; 9306", "RFC 8060", ""),
            ("6438", "RFC 6438", ""),
            ("lisp-dht, RECORD 3.2 MAPPING", "lisp-dht", "RECORD 3.2 MAPPING"),
            ("lisp-nat-traversal 5.2", "lisp-nat-traversal", "5.2"),
            ("CG-003", "CGEID profile", "CG-003"),
            ("nat drafts; 8060 4.4", "nat drafts", ""),
            ("LOCAL", "LOCAL", ""),
        ] {
            assert_eq!(place(clause), (document.to_owned(), section.to_owned()), "{clause}");
        }
    }

    #[test]
    fn a_finding_that_says_what_was_expected_is_understood() {
        assert_eq!(wanted("expected a Map-Notify; nothing came"), "a Map-Notify");
        assert_eq!(wanted("expected: stored; it ended with 1"), "stored");
        assert_eq!(wanted("to be refused; refused: no certificate"), "to be refused");
        assert_eq!(wanted("a Map-Notify; as expected"), "");
    }
}
