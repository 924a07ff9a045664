// SPDX-License-Identifier: GPL-2.0-or-later
//! A draft as data: its tables, its clauses, and the values that its text names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The words of BCP 14 that make a sentence a clause, the longer ones before their beginnings.
const WORDS: [&str; 10] =
    ["MUST NOT", "MUST", "SHALL NOT", "SHALL", "REQUIRED", "SHOULD NOT", "SHOULD", "RECOMMENDED", "MAY", "OPTIONAL"];

/// A draft in markdown.
pub(crate) struct Draft {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A row of a table, without its bars.
pub(crate) type Row = Vec<String>;

impl Draft {
    /// The one of this name, from the test of any crate of the workspace.
    pub(crate) fn named(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/draft").join(name).with_extension("md");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, text }
    }

    /// That of the mapping system.
    pub(crate) fn signed_dht() -> Self {
        Self::named("draft-ipv6mesh-lisp-signed-dht-00")
    }

    /// The tables by their anchors, each with its head first.
    pub(crate) fn tables(&self) -> BTreeMap<String, Vec<Row>> {
        let mut tables = BTreeMap::new();
        let mut rows: Vec<Row> = Vec::new();
        for line in self.text.lines() {
            if let Some(row) = line.strip_prefix('|') {
                let cells = row.trim_end().trim_end_matches('|').split('|');
                rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
                continue;
            }
            if let Some(anchor) = line.strip_prefix("{: #tab-").and_then(|rest| rest.split(' ').next()) {
                tables.insert(anchor.to_owned(), std::mem::take(&mut rows));
            }
            rows.clear();
        }
        tables
    }

    /// The rows of a table without its head.
    pub(crate) fn table(&self, anchor: &str) -> Vec<Row> {
        let rows = self.tables().remove(anchor).unwrap_or_else(|| panic!("no table {anchor}"));
        rows.into_iter().skip(1).collect()
    }

    /// What the tables of names, values and units say, as the text writes it: `120 s`, `32`.
    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for (anchor, rows) in self.tables() {
            if rows.first().is_some_and(|head| *head == ["Name", "Value", "Unit"]) {
                for row in &rows[1..] {
                    let [name, value, unit] = row.as_slice() else { panic!("{anchor}: {row:?}") };
                    let written = format!("{value} {unit}").trim_end().to_owned();
                    assert_eq!(values.insert(name.clone(), written), None, "{name} twice");
                }
            }
        }
        values
    }

    /// The clauses by their identifiers: each a sentence with words of BCP 14 that are all of one level, and one identifier. A
    /// sentence with the one and not the other is an error.
    pub(crate) fn clauses(&self, letters: &str) -> BTreeMap<String, String> {
        let mut clauses = BTreeMap::new();
        for sentence in sentences(&self.text) {
            let identifiers = identifiers(&sentence, letters);
            let mut levels = levels(&sentence);
            levels.dedup();
            match (identifiers.as_slice(), levels.as_slice()) {
                ([], []) => {}
                ([id], [level]) => {
                    assert_eq!(clauses.insert(id.clone(), (*level).to_owned()), None, "{id} twice");
                }
                _ => panic!("one identifier and one level each: {identifiers:?} {levels:?} in: {sentence}"),
            }
        }
        clauses
    }

    /// The lines after the heading with this anchor, up to the next of its rank.
    pub(crate) fn section(&self, anchor: &str) -> (usize, usize) {
        let head = format!("{{#{anchor}}}");
        let start = self.text.find(&head).unwrap_or_else(|| panic!("no section {anchor}")) + head.len();
        let end = self.text[start..].find("\n# ").map_or(self.text.len(), |at| start + at);
        (start, end)
    }
}

/// A time as tables write it.
pub(crate) fn time(duration: Duration) -> [String; 2] {
    if duration.subsec_millis() == 0 {
        [duration.as_secs().to_string(), "s".to_owned()]
    } else {
        [duration.as_millis().to_string(), "ms".to_owned()]
    }
}

/// A row of a table of names, values and units.
pub(crate) fn lasts(name: &str, duration: Duration) -> Row {
    let [value, unit] = time(duration);
    vec![name.to_owned(), value, unit]
}

/// The same of a number.
pub(crate) fn counts(name: &str, value: impl ToString) -> Row {
    vec![name.to_owned(), value.to_string(), String::new()]
}

/// The same of a number of octets.
pub(crate) fn octets(name: &str, value: impl ToString) -> Row {
    vec![name.to_owned(), value.to_string(), "octets".to_owned()]
}

/// The sentences of the text, without figures, tables and what stands before the text.
fn sentences(text: &str) -> Vec<String> {
    let body = text.split_once("--- middle").map_or(text, |(_, body)| body);
    let mut sentences = vec![String::new()];
    let mut is_figure = false;
    for line in body.lines() {
        if line.starts_with("~~~~") {
            is_figure = !is_figure;
        }
        let is_apart =
            is_figure || line.trim().is_empty() || ["|", "#", "{:", "~~~~"].iter().any(|mark| line.starts_with(mark));
        let begins = is_apart
            || [":", "*", "1.", "2.", "3.", "4.", "5.", "6.", "7.", "8.", "9."]
                .iter()
                .any(|mark| line.starts_with(mark));
        if begins {
            sentences.push(String::new());
        }
        if is_apart {
            continue;
        }
        for word in line.split_whitespace() {
            let last = sentences.last_mut().expect("there is one from the beginning");
            last.push_str(word);
            last.push(' ');
            if word.ends_with('.') && !is_short(word) {
                sentences.push(String::new());
            }
        }
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// Words whose full stop ends no sentence.
fn is_short(word: &str) -> bool {
    ["e.g.", "i.e.", "Vers."].contains(&word)
}

fn identifiers(sentence: &str, letters: &str) -> Vec<String> {
    let begin = format!("({letters}-");
    let found = sentence.match_indices(&begin).filter_map(|(at, _)| sentence[at + 1..].split(')').next());
    found.map(ToOwned::to_owned).collect()
}

fn levels(sentence: &str) -> Vec<&'static str> {
    let mut rest: String = sentence.split(|letter: char| !letter.is_alphanumeric()).collect::<Vec<_>>().join(" ");
    rest.insert(0, ' ');
    rest.push(' ');
    let mut found = Vec::new();
    for word in WORDS {
        let whole = format!(" {word} ");
        if rest.contains(&whole) {
            found.push(word);
            rest = rest.replace(&whole, " ");
        }
    }
    found
}
