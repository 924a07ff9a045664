// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads the file of findings, strictly.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use super::{Finding, Kept, Program, Seen};
use crate::ledger::{Flaw, line, syntax};

/// The keys of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    finding: Vec<Spanned<Entry>>,
}

/// The keys of a finding.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    id: String,
    text: String,
    programs: Vec<Program>,
    #[serde(default)]
    from_source: bool,
    checks: Option<Vec<String>>,
    told: Option<String>,
    unseen: Option<String>,
    tests: Option<Vec<String>>,
    untested: Option<String>,
}

/// The findings that a file holds.
///
/// # Errors
/// When a key is unknown or missing, a program none, a name not unique, something says nothing or is named twice, or a finding has not
/// exactly one of `checks` and `unseen`, and exactly one of `tests` and `untested`.
pub fn read(file: &str, text: &str) -> Result<Vec<Finding>, Flaw> {
    let parsed: File = toml::from_str(text).map_err(|error| syntax(file, text, &error))?;
    let mut names = BTreeSet::new();
    let mut findings = Vec::with_capacity(parsed.finding.len());
    for entry in parsed.finding {
        let span = entry.span();
        let flaw = |what| Flaw { file: file.to_owned(), line: line(text, &span), what };
        let entry = entry.into_inner();
        if !names.insert(entry.id.clone()) {
            return Err(flaw(format!("the finding {} is there already", entry.id)));
        }
        findings.push(finding(entry).map_err(flaw)?);
    }
    Ok(findings)
}

fn finding(entry: Entry) -> Result<Finding, String> {
    let id = entry.id;
    let said = [
        ("id", Some(&id)),
        ("text", Some(&entry.text)),
        ("told", entry.told.as_ref()),
        ("unseen", entry.unseen.as_ref()),
        ("untested", entry.untested.as_ref()),
    ];
    for (key, value) in said {
        if value.is_some_and(|value| value.trim().is_empty()) {
            return Err(format!("{id}: {key} says nothing"));
        }
    }
    if entry.programs.is_empty() {
        return Err(format!("{id}: no program among its programs"));
    }
    if let Some(program) = twice(&entry.programs) {
        return Err(format!("{id} names {} twice", program.name()));
    }
    let seen = match (entry.checks, entry.told, entry.unseen) {
        (Some(checks), told, None) => Seen::By { checks: named(&id, "check", checks)?, told },
        (None, None, Some(why)) => Seen::Not(why),
        (None, Some(_), Some(_)) => return Err(format!("{id}: told is what a check says, and there is none")),
        _ => return Err(format!("{id} needs exactly one of checks and unseen")),
    };
    let kept = match (entry.tests, entry.untested) {
        (Some(tests), None) => Kept::By(named(&id, "test", tests)?),
        (None, Some(why)) => Kept::Not(why),
        _ => return Err(format!("{id} needs exactly one of tests and untested")),
    };
    Ok(Finding { id, text: entry.text, programs: entry.programs, is_from_source: entry.from_source, seen, kept })
}

fn named(id: &str, what: &str, all: Vec<String>) -> Result<Vec<String>, String> {
    match (all.is_empty(), twice(&all)) {
        (true, _) => Err(format!("{id}: no {what} among its {what}s")),
        (false, Some(each)) => Err(format!("{id} names {each} twice")),
        (false, None) => Ok(all),
    }
}

fn twice<T: PartialEq>(all: &[T]) -> Option<&T> {
    all.iter().enumerate().find_map(|(at, each)| all[..at].contains(each).then_some(each))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = "[[finding]]\nid = \"a\"\ntext = \"t\"\nprograms = [\"OpenLISP\"]\nchecks = [\"LI-1.1\"]\ntold = \"x\"\ntests = [\"f.rs::t\"]\n";

    fn flaw(text: &str) -> String {
        read("f.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_finding_is_read_with_its_checks_or_why_there_are_none() {
        let found = read("f.toml", GOOD).unwrap();
        assert_eq!(found[0].seen, Seen::By { checks: vec!["LI-1.1".into()], told: Some("x".into()) });
        assert_eq!((found[0].programs[0], found[0].is_from_source), (Program::OpenLisp, false));
        assert_eq!(found[0].kept, Kept::By(vec!["f.rs::t".into()]));
        let untested = read("f.toml", &GOOD.replace("tests = [\"f.rs::t\"]", "untested = \"w\"")).unwrap();
        assert_eq!(untested[0].kept, Kept::Not("w".into()));
        let unseen = GOOD.replace("checks = [\"LI-1.1\"]\ntold = \"x\"", "unseen = \"w\"\nfrom-source = true");
        let found = read("f.toml", &unseen).unwrap();
        assert_eq!((&found[0].seen, found[0].is_from_source), (&Seen::Not("w".into()), true));
    }

    #[test]
    fn what_a_file_may_not_say_is_refused_with_its_line() {
        assert_eq!(flaw(&format!("{GOOD}{GOOD}")), "f.toml, line 8: the finding a is there already");
        assert!(flaw(&GOOD.replace("checks", "check")).starts_with("f.toml, line 5: unknown field `check`"));
        assert!(flaw(&GOOD.replace("OpenLISP", "Cisco")).starts_with("f.toml, line 4: unknown variant `Cisco`"));
        assert!(flaw(&GOOD.replace("text = \"t\"\n", "")).contains("missing field `text`"));
        for (from, to, told) in [
            ("checks = [\"LI-1.1\"]\ntold = \"x\"\n", "", "a needs exactly one of checks and unseen"),
            ("told = \"x\"", "unseen = \"w\"", "a needs exactly one of checks and unseen"),
            ("checks = [\"LI-1.1\"]", "unseen = \"w\"", "a: told is what a check says, and there is none"),
            ("tests = [\"f.rs::t\"]\n", "", "a needs exactly one of tests and untested"),
            ("tests", "untested = \"w\"\ntests", "a needs exactly one of tests and untested"),
            ("[\"f.rs::t\"]", "[]", "a: no test among its tests"),
            ("[\"LI-1.1\"]", "[]", "a: no check among its checks"),
            ("[\"LI-1.1\"]", "[\"A\", \"B\", \"A\"]", "a names A twice"),
            ("[\"OpenLISP\"]", "[]", "a: no program among its programs"),
            ("[\"OpenLISP\"]", "[\"OpenLISP\", \"OpenLISP\"]", "a names OpenLISP twice"),
            ("\"t\"", "\" \"", "a: text says nothing"),
            ("\"x\"", "\"\"", "a: told says nothing"),
        ] {
            assert_eq!(flaw(&GOOD.replace(from, to)), format!("f.toml, line 1: {told}"));
        }
    }
}
