// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads a file of the ledger, strictly.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::{Clause, Document, Extra, Group, Level, Proof, Test};

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, line {}: {}", self.file, self.line, self.what)
    }
}

impl std::error::Error for Flaw {}

/// The keys of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    document: String,
    title: String,
    #[serde(default)]
    clause: Vec<Spanned<Entry>>,
}

/// The keys of a clause.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    level: Level,
    section: String,
    text: String,
    why: Option<String>,
    stated: Option<bool>,
    tests: Option<Vec<String>>,
    untested: Option<String>,
    not_ours: Option<String>,
}

/// The keys of the file of checks that no clause names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extras {
    #[serde(default)]
    extra: Vec<ExtraEntry>,
}

/// The keys of one such entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraEntry {
    checks: Vec<String>,
    why: String,
}

/// The document that a file holds; its identifiers are added to those that were seen.
///
/// # Errors
/// When a key is unknown or missing, a level none, an identifier not unique, or a clause has not exactly one of `tests`,
/// `untested` and `not_ours`.
pub fn read(file: &str, text: &str, seen: &mut BTreeSet<String>) -> Result<Document, Flaw> {
    let parsed: File = toml::from_str(text).map_err(|error| syntax(file, text, &error))?;
    let mut clauses = Vec::with_capacity(parsed.clause.len());
    for entry in parsed.clause {
        let span = entry.span();
        let flaw = |what| Flaw { file: file.to_owned(), line: line(text, &span), what };
        let entry = entry.into_inner();
        if !seen.insert(entry.id.clone()) {
            return Err(flaw(format!("the clause {} is there already", entry.id)));
        }
        clauses.push(clause(entry).map_err(flaw)?);
    }
    Ok(Document { group: Group::of(file), name: parsed.document, title: parsed.title, clauses })
}

/// The checks that no clause names.
///
/// # Errors
/// When a key is unknown or missing.
pub fn extras(file: &str, text: &str) -> Result<Vec<Extra>, Flaw> {
    let parsed: Extras = toml::from_str(text).map_err(|error| syntax(file, text, &error))?;
    Ok(parsed.extra.into_iter().map(|entry| Extra { checks: entry.checks, why: entry.why }).collect())
}

fn clause(entry: Entry) -> Result<Clause, String> {
    let id = entry.id;
    for (key, value) in [("section", &entry.section), ("text", &entry.text)] {
        if value.trim().is_empty() {
            return Err(format!("{id}: {key} says nothing"));
        }
    }
    let proof = match (entry.tests, entry.untested, entry.not_ours) {
        (Some(tests), None, None) => Proof::Tests(tests_of(&id, &tests)?),
        (None, Some(reason), None) => Proof::Untested(reason),
        (None, None, Some(reason)) => Proof::NotOurs(reason),
        _ => return Err(format!("{id} needs exactly one of tests, untested and not_ours")),
    };
    if let Proof::Untested(reason) | Proof::NotOurs(reason) = &proof
        && reason.trim().is_empty()
    {
        return Err(format!("{id}: a reason that says nothing"));
    }
    let is_stated = entry.stated.unwrap_or(true);
    Ok(Clause { id, level: entry.level, is_stated, section: entry.section, text: entry.text, why: entry.why, proof })
}

fn tests_of(id: &str, written: &[String]) -> Result<Vec<Test>, String> {
    if written.is_empty() {
        return Err(format!("{id}: no test among its tests"));
    }
    let mut tests = Vec::with_capacity(written.len());
    for name in written {
        let test = match name.split_once("::") {
            Some((path, name)) => Test::Function { path: path.to_owned(), name: name.to_owned() },
            None => Test::Check(name.clone()),
        };
        if tests.contains(&test) {
            return Err(format!("{id} names {test} twice"));
        }
        tests.push(test);
    }
    Ok(tests)
}

/// What the parser of TOML refuses, with its line.
pub(crate) fn syntax(file: &str, text: &str, error: &toml::de::Error) -> Flaw {
    let line = error.span().map_or(1, |span| line(text, &span));
    Flaw { file: file.to_owned(), line, what: error.message().to_owned() }
}

/// The line, from 1, in which a span begins.
pub(crate) fn line(text: &str, span: &Range<usize>) -> usize {
    1 + text.bytes().take(span.start).filter(|octet| *octet == b'\n').count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEAD: &str = "document = \"RFC 1\"\ntitle = \"T\"\n";
    const GOOD: &str = "[[clause]]\nid = \"A-1\"\nlevel = \"MUST\"\nsection = \"1\"\ntext = \"t\"\ntests = [\"LI-1.1\", \"a/b.rs::c\"]\n";

    fn flaw(body: &str) -> String {
        read("f.toml", &format!("{HEAD}{body}"), &mut BTreeSet::new()).unwrap_err().to_string()
    }

    #[test]
    fn a_clause_is_read_with_its_tests() {
        let document = read("f.toml", &format!("{HEAD}{GOOD}"), &mut BTreeSet::new()).unwrap();
        let clause = &document.clauses[0];
        assert_eq!((document.name.as_str(), clause.level, clause.section.as_str()), ("RFC 1", Level::Must, "1"));
        let function = Test::Function { path: "a/b.rs".into(), name: "c".into() };
        assert_eq!(clause.proof, Proof::Tests(vec![Test::Check("LI-1.1".into()), function]));
    }

    #[test]
    fn what_a_file_may_not_say_is_refused_with_its_line() {
        assert_eq!(flaw(&format!("{GOOD}{GOOD}")), "f.toml, line 9: the clause A-1 is there already");
        assert!(flaw(&GOOD.replace("tests", "test")).starts_with("f.toml, line 8: unknown field `test`"));
        assert!(flaw(&GOOD.replace("MUST", "must")).starts_with("f.toml, line 5: unknown variant `must`"));
        assert!(flaw(&GOOD.replace("section = \"1\"\n", "")).contains("missing field `section`"));
        for proofs in ["", "untested = \"u\"\nnot_ours = \"n\"\n", "tests = [\"A\"]\nuntested = \"u\"\n"] {
            let body = format!("[[clause]]\nid = \"A-1\"\nlevel = \"MUST\"\nsection = \"1\"\ntext = \"t\"\n{proofs}");
            assert_eq!(flaw(&body), "f.toml, line 3: A-1 needs exactly one of tests, untested and not_ours");
        }
        let body = |proof: &str| GOOD.replace("tests = [\"LI-1.1\", \"a/b.rs::c\"]", proof);
        assert!(flaw(&body("tests = []")).ends_with("no test among its tests"));
        assert!(flaw(&body("tests = [\"A\", \"A\"]")).ends_with("A-1 names A twice"));
        assert!(flaw(&body("untested = \" \"")).ends_with("a reason that says nothing"));
        assert!(flaw(&GOOD.replace("text = \"t\"", "text = \"\"")).ends_with("text says nothing"));
    }

    #[test]
    fn one_identifier_in_two_files_is_refused_too() {
        let (mut seen, text) = (BTreeSet::new(), format!("{HEAD}{GOOD}"));
        read("f.toml", &text, &mut seen).unwrap();
        assert_eq!(read("g.toml", &text, &mut seen).unwrap_err().file, "g.toml");
    }
}
