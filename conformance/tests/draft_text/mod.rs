// SPDX-License-Identifier: GPL-2.0-or-later
//! What a test reads out of a draft: its tables, and its requirements with the sections that they stand in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Key words of BCP 14, the longer ones first, and what each asks for.
const KEY_WORDS: [(&str, &str); 9] = [
    ("MUST NOT", "MUST NOT"),
    ("SHALL NOT", "MUST NOT"),
    ("SHOULD NOT", "SHOULD NOT"),
    ("NOT RECOMMENDED", "SHOULD NOT"),
    ("MUST", "MUST"),
    ("SHALL", "MUST"),
    ("SHOULD", "SHOULD"),
    ("RECOMMENDED", "SHOULD"),
    ("MAY", "MAY"),
];

/// The folder of the drafts.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("draft")
}

/// The text of a draft, with what it includes left out.
pub(crate) fn source(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

/// A requirement as a draft has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Required {
    pub(crate) id: String,
    pub(crate) level: String,
    pub(crate) section: String,
    pub(crate) sentence: String,
}

/// The requirements of a draft, in its order.
///
/// # Panics
/// If a sentence with a key word has no identifier, or an identifier no sentence with one kind of key word; also if there is a key word
/// in a table, a figure or an appendix.
pub(crate) fn requirements(text: &str) -> Vec<Required> {
    let elsewhere = text.lines().filter(|line| ["|", " ", "{: "].iter().any(|mark| line.starts_with(mark)));
    let elsewhere = elsewhere.chain(text.split_once("--- back").unwrap().1.lines());
    for line in elsewhere.filter(|line| !line.starts_with("  ") || line.starts_with("   ")) {
        assert!(levels(line).is_empty(), "a key word outside the text: {line}");
    }
    let mut found = Vec::new();
    for (section, paragraph) in paragraphs(text) {
        for sentence in sentences(&paragraph) {
            let levels = levels(&sentence);
            let ids = identifiers(&sentence);
            match (levels.as_slice(), ids.as_slice()) {
                ([], []) => {}
                ([level], [id]) => found.push(Required {
                    id: id.clone(),
                    level: (*level).to_owned(),
                    section: section.clone(),
                    sentence: sentence.clone(),
                }),
                _ => panic!("section {section}: {levels:?} with {ids:?}: {sentence}"),
            }
        }
    }
    found
}

/// Paragraphs and items of lists with the number of their section; figures, tables and attributes are left out.
fn paragraphs(text: &str) -> Vec<(String, String)> {
    let body = text.split_once("--- middle").unwrap().1.split_once("--- back").unwrap().0;
    let (mut numbers, mut found) = (Vec::<usize>::new(), Vec::<(String, String)>::new());
    let (mut is_figure, mut is_open) = (false, false);
    for line in body.lines() {
        is_figure ^= line.starts_with("~~~~");
        let depth = line.bytes().take_while(|octet| *octet == b'#').count();
        if is_figure || depth > 0 || line.is_empty() || ["~~~~", "|", "{:"].iter().any(|mark| line.starts_with(mark)) {
            is_open = false;
            if depth > 0 && !is_figure {
                numbers.resize(depth, 0);
                numbers[depth - 1] += 1;
            }
            continue;
        }
        let item = line.strip_prefix("* ").or_else(|| line.strip_prefix(": "));
        let words = item.unwrap_or(line).trim();
        match found.last_mut().filter(|_| is_open && item.is_none()) {
            Some((_, paragraph)) => *paragraph = format!("{paragraph} {words}"),
            None => {
                let section = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
                found.push((section, words.to_owned()));
            }
        }
        is_open = true;
    }
    found
}

fn sentences(paragraph: &str) -> Vec<String> {
    let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    words.split(". ").map(ToOwned::to_owned).collect()
}

/// What a sentence asks for, each kind once.
fn levels(sentence: &str) -> Vec<&'static str> {
    let mut rest = sentence.to_owned();
    let mut found = Vec::new();
    for (word, level) in KEY_WORDS {
        if rest.contains(word) {
            rest = rest.replace(word, "");
            found.push(level);
        }
    }
    found.dedup();
    found
}

/// Identifiers in parentheses: two letters, a hyphen, three digits.
fn identifiers(sentence: &str) -> Vec<String> {
    let is_identifier = |text: &&str| {
        let octets = text.as_bytes();
        octets.len() == 6
            && octets[..2].iter().all(u8::is_ascii_uppercase)
            && octets[2] == b'-'
            && octets[3..].iter().all(u8::is_ascii_digit)
    };
    let parts = sentence.split('(').skip(1).filter_map(|rest| rest.split(')').next());
    parts.filter(is_identifier).map(ToOwned::to_owned).collect()
}

/// The rows of the table with this anchor, without its head. A backslash before a character is left out.
///
/// # Panics
/// If there is no such table.
pub(crate) fn table(text: &str, anchor: &str) -> Vec<Vec<String>> {
    let end = text.find(&format!("{{: #{anchor} ")).unwrap_or_else(|| panic!("there is no table {anchor}"));
    let lines: Vec<_> = text[..end].lines().rev().take_while(|line| line.starts_with('|')).collect();
    let cells = |line: &&str| {
        let inside = line.trim_matches('|').replace('\\', "");
        inside.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let rows: Vec<_> = lines.iter().rev().skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "{anchor} has no rows");
    rows
}

/// The anchors of all tables; none is without.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let heads = text.lines().filter(|line| line.starts_with("|---")).count();
    let marks = text.split("{: #").skip(1).filter_map(|rest| rest.split(' ').next());
    let found: BTreeSet<_> = marks.filter(|anchor| anchor.starts_with("tab-")).map(ToOwned::to_owned).collect();
    assert_eq!(found.len(), heads, "a table has no anchor");
    found
}

/// A table of two columns or more as values by name.
pub(crate) fn values(text: &str, anchor: &str) -> BTreeMap<String, String> {
    let rows = table(text, anchor);
    let values: BTreeMap<_, _> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(values.len(), rows.len(), "{anchor} has a name twice");
    values
}

/// The octets of hexadecimal digits, with or without spaces.
pub(crate) fn octets(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Octets as hexadecimal digits.
pub(crate) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
