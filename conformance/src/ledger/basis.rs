// SPDX-License-Identifier: GPL-2.0-or-later
//! What checks rest on: the clauses that each of them proves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Document, Level};

/// A clause as a report carries it with each check that proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// The clause's identifier.
    pub id: String,
    /// How its document is cited: `RFC 9301`.
    pub document: String,
    /// Where the document says it.
    pub section: String,
    /// What it asks for.
    pub level: Level,
    /// Whether the document says so in a word of BCP 14; otherwise the level is our reading.
    pub stated: bool,
    /// What it says, in a line of ours.
    pub text: String,
}

impl Basis {
    /// Its level, and whose reading that is, as reports write it.
    pub fn told(&self) -> String {
        let (level, place) = (self.level.name(), format!("{} {}", self.document, self.section));
        match self.stated {
            true => format!("{level} is a word of {}", place.trim_end()),
            false => format!("{level} is our reading, {} has no word of BCP 14 there", place.trim_end()),
        }
    }
}

/// The clauses that checks prove, by the identifier of the check, in the order of the ledger.
pub fn bases(documents: &[Document]) -> BTreeMap<&str, Vec<Basis>> {
    let mut bases: BTreeMap<&str, Vec<Basis>> = BTreeMap::new();
    for document in documents {
        for clause in &document.clauses {
            let basis = || Basis {
                id: clause.id.clone(),
                document: document.name.clone(),
                section: clause.section.clone(),
                level: clause.level,
                stated: clause.is_stated,
                text: clause.text.clone(),
            };
            clause.checks().for_each(|check| bases.entry(check).or_default().push(basis()));
        }
    }
    bases
}

/// Whether the level that a check names is our reading: it proves clauses, and none of them states that level.
pub fn is_read(level: &str, bases: &[Basis]) -> bool {
    let states = |basis: &Basis| basis.stated && kind(basis.level.name()) == kind(level);
    !bases.is_empty() && !bases.iter().any(states)
}

/// The level that a check names, and `our reading` behind it where the documents do not state it.
pub fn level_told(level: &str, bases: &[Basis]) -> String {
    if is_read(level, bases) { format!("{level}, our reading") } else { level.to_owned() }
}

/// MUST of MUST NOT, and so on: a check does not say which.
fn kind(level: &str) -> &str {
    level.split_once(' ').map_or(level, |(kind, _)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basis(level: Level, stated: bool) -> Basis {
        let text = |text: &str| text.to_owned();
        Basis { id: text("X-1"), document: text("RFC 1"), section: text("2"), level, stated, text: text("t") }
    }

    #[test]
    fn a_level_that_one_clause_states_is_no_reading() {
        use Level::{Must, MustNot, Should};
        for (level, bases, told) in [
            ("MUST", &[basis(Must, false)][..], "MUST, our reading"),
            ("MUST", &[basis(MustNot, false)], "MUST, our reading"),
            ("MUST", &[basis(Must, false), basis(Must, true)], "MUST"),
            ("MUST", &[basis(Must, false), basis(Should, true)], "MUST, our reading"),
            ("SHOULD", &[basis(Must, true)], "SHOULD, our reading"),
            ("MUST", &[], "MUST"),
        ] {
            assert_eq!(level_told(level, bases), told, "{bases:?}");
        }
        assert_eq!(basis(Must, true).told(), "MUST is a word of RFC 1 2");
        assert_eq!(basis(Must, false).told(), "MUST is our reading, RFC 1 2 has no word of BCP 14 there");
    }
}
