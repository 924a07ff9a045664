// SPDX-License-Identifier: GPL-2.0-or-later
//! The ledger as people read it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Clause, Document, Group, Missed, Proof, Ran, Share, Shares};

/// All clauses with what proves them, then the shares of each document and of all.
pub fn table(documents: &[Document]) -> String {
    let mut out = String::new();
    for document in documents {
        let _ = writeln!(out, "{}: {}", document.name, document.title);
        for clause in &document.clauses {
            let _ =
                writeln!(out, "  {:<8} {:<10} {:<8} {}", clause.id, clause.level.name(), clause.section, clause.text);
            let _ = writeln!(out, "           {}", proof(clause));
        }
    }
    let _ = writeln!(out, "{:<36} {:<22} {:<22} MAY", "", "MUST", "SHOULD");
    for document in documents {
        line(&mut out, &document.name, &Shares::of(&document.clauses));
    }
    for group in Group::ALL {
        line(&mut out, group.name(), &Shares::of(group.clauses(documents)));
        if group.clauses(documents).any(|clause| !clause.is_stated) {
            line(&mut out, "  what they say in words of BCP 14", &stated(documents, group));
        }
    }
    line(&mut out, "all", &Shares::of(documents.iter().flat_map(|document| &document.clauses)));
    out
}

/// Of the clauses of a group those whose level the document itself states.
fn stated(documents: &[Document], group: Group) -> Shares {
    Shares::of(group.clauses(documents).filter(|clause| clause.is_stated))
}

fn line(out: &mut String, name: &str, shares: &Shares) {
    let one = |share: &Share| format!("{} of {}, {} %", share.tested, share.ours, share.percent());
    let _ = writeln!(out, "{name:<36} {:<22} {:<22} {}", one(&shares.must), one(&shares.should), one(&shares.may));
}

fn proof(clause: &Clause) -> String {
    match &clause.proof {
        Proof::Tests(tests) => tests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Proof::Untested(reason) => format!("untested: {reason}"),
        Proof::NotOurs(reason) => format!("not ours: {reason}"),
    }
}

/// What the ledger says under an identifier, of a clause or of a check: clause, why, and how it is tested.
///
/// `about` tells what a check is about; `None` if the ledger does not know the identifier.
pub fn explain(documents: &[Document], id: &str, about: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    for document in documents {
        for clause in &document.clauses {
            if clause.id == id {
                whole(&mut out, document, clause, about);
            } else if clause.checks().any(|check| check == id) {
                let _ = writeln!(
                    out,
                    "proves {} ({} {}, {}): {}",
                    clause.id,
                    document.name,
                    clause.section,
                    clause.level.name(),
                    clause.text
                );
            }
        }
    }
    (!out.is_empty()).then_some(out)
}

fn whole(out: &mut String, document: &Document, clause: &Clause, about: &dyn Fn(&str) -> Option<String>) {
    let _ = writeln!(
        out,
        "{} {} ({} {})\n  {}",
        clause.id,
        clause.level.name(),
        document.name,
        clause.section,
        clause.text
    );
    if !clause.is_stated {
        let _ = writeln!(out, "  the document has no word of BCP 14 there; the level is our reading");
    }
    if let Some(why) = &clause.why {
        let _ = writeln!(out, "  why: {why}");
    }
    match &clause.proof {
        Proof::Tests(tests) => {
            let _ = writeln!(out, "  tested by:");
            for test in tests {
                let told = about(&test.to_string());
                let told = told.and_then(|told| told.lines().nth(1).map(|line| line.trim().to_owned()));
                let line = format!("    {:<10} {}", test.to_string(), told.unwrap_or_default());
                let _ = writeln!(out, "{}", line.trim_end());
            }
        }
        Proof::Untested(_) | Proof::NotOurs(_) => {
            let _ = writeln!(out, "  {}", proof(clause));
        }
    }
}

/// The ledger as JSON: `clauses`, `documents` and `groups` with their shares, and `all`.
pub fn listed(documents: &[Document]) -> Value {
    let mut clauses = Vec::new();
    for document in documents {
        clauses.extend(document.clauses.iter().map(|clause| entry(document, clause)));
    }
    let shares = |document: &Document| json!({"document": document.name, "title": document.title, "shares": Shares::of(&document.clauses)});
    let all = Shares::of(documents.iter().flat_map(|document| &document.clauses));
    let of_group = |group: Group| json!({"group": group.name(), "shares": Shares::of(group.clauses(documents)), "stated": stated(documents, group)});
    json!({
        "clauses": clauses,
        "documents": documents.iter().map(shares).collect::<Vec<_>>(),
        "groups": Group::ALL.map(of_group),
        "all": all,
    })
}

/// The clause of an identifier, or those that the check of that identifier proves, as [`listed`] has them.
pub fn named(documents: &[Document], id: &str) -> Vec<Value> {
    let is_it = |clause: &&Clause| clause.id == id || clause.checks().any(|check| check == id);
    let of = |document| move |clause| entry(document, clause);
    documents.iter().flat_map(|document| document.clauses.iter().filter(is_it).map(of(document))).collect()
}

fn entry(document: &Document, clause: &Clause) -> Value {
    let mut entry = json!({
        "id": clause.id, "document": document.name, "level": clause.level, "section": clause.section, "text": clause.text,
    });
    if !clause.is_stated {
        entry["stated"] = false.into();
    }
    if let Some(why) = &clause.why {
        entry["why"] = why.as_str().into();
    }
    match &clause.proof {
        Proof::Tests(tests) => entry["tests"] = tests.iter().map(ToString::to_string).collect(),
        Proof::Untested(reason) => entry["untested"] = reason.as_str().into(),
        Proof::NotOurs(reason) => entry["not_ours"] = reason.as_str().into(),
    }
    entry
}

/// What a run left out, a line each, and how much that is.
pub fn left_out(missed: &[Missed], ran: &Ran) -> String {
    let mut out = String::new();
    for one in missed {
        let clauses = if one.clauses.is_empty() { "extra".to_owned() } else { one.clauses.join(", ") };
        let _ = writeln!(out, "{:<10} {:<7} {clauses}", one.check, one.result);
    }
    let _ = match ran.tests {
        Some(_) => writeln!(out, "{} checks and tests of the ledger did not pass", missed.len()),
        None => {
            writeln!(out, "{} checks of the ledger did not pass; what `cargo test` printed was not given", missed.len())
        }
    };
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ledger::read;

    #[test]
    fn each_group_has_its_shares_and_those_that_are_stated() {
        let clause = |id: &str, more: &str| {
            format!("[[clause]]\nid = \"{id}\"\nlevel = \"MUST\"\nsection = \"1\"\ntext = \"t\"\n{more}\n")
        };
        let head = "document = \"D\"\ntitle = \"T\"\n";
        let (tested, owed) = ("tests = [\"X\"]", "stated = false\nuntested = \"nobody did\"");
        let files = [("rfc1.toml", clause("A", tested) + &clause("B", owed)), ("draft-x.toml", clause("C", tested))];
        let mut seen = BTreeSet::new();
        let documents: Vec<_> =
            files.iter().map(|(file, text)| read(file, &format!("{head}{text}"), &mut seen).unwrap()).collect();
        let table = table(&documents);
        let shares =
            |name: &str| table.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim()[..6].to_owned());
        assert_eq!(shares("the RFCs and drafts of others").unwrap(), "1 of 2");
        assert_eq!(shares("  what they say in words of BCP 14").unwrap(), "1 of 1");
        assert_eq!(shares("our own documents").unwrap(), "1 of 1");
        assert_eq!(table.matches("words of BCP 14").count(), 1, "ours states all");
        let listed = listed(&documents);
        assert_eq!(
            (&listed["clauses"][1]["stated"], &listed["groups"][0]["stated"]["must"]["ours"]),
            (&json!(false), &json!(1))
        );
        assert!(explain(&documents, "B", &|_| None).unwrap().contains("the level is our reading"));
    }
}
