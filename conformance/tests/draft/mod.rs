// SPDX-License-Identifier: GPL-2.0-or-later
//! A draft as data: its tables, and the values that its text names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
            if rows.first().is_some_and(|head| head.starts_with(&["Name", "Value", "Unit"].map(ToOwned::to_owned))) {
                for row in &rows[1..] {
                    let [name, value, unit, ..] = row.as_slice() else { panic!("{anchor}: {row:?}") };
                    let written = format!("{value} {unit}").trim_end().to_owned();
                    assert_eq!(values.insert(name.clone(), written), None, "{name} twice");
                }
            }
        }
        values
    }

    /// The numbers of the sections between front and back matter.
    pub(crate) fn sections(&self) -> BTreeSet<String> {
        let body =
            self.text.split("--- middle").nth(1).and_then(|rest| rest.split("--- back").next()).unwrap_or_default();
        let (mut numbers, mut sections) = (Vec::<usize>::new(), BTreeSet::new());
        for line in body.lines() {
            let depth = line.bytes().take_while(|octet| *octet == b'#').count();
            if depth > 0 {
                numbers.resize(depth, 0);
                numbers[depth - 1] += 1;
                sections.insert(numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join("."));
            }
        }
        sections
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
