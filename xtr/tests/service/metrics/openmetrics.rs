// SPDX-License-Identifier: GPL-2.0-or-later
//! A reader of OpenMetrics text (OpenMetrics 1.0, section 4) that takes nothing but what the standard allows: of what is refused a test
//! fails with the line.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a series, by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// Of one name.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// `counter` or `gauge`.
    pub(crate) kind: String,
    /// Of the values.
    pub(crate) unit: Option<String>,
    help: bool,
    /// The values, by their labels.
    pub(crate) series: BTreeMap<Labels, f64>,
}

/// Reads a whole exposition.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("the last line says that it is the last");
    let (mut families, mut current) = (BTreeMap::<String, Family>::new(), String::new());
    for line in body.split_terminator('\n') {
        if let Some(about) = line.strip_prefix("# ") {
            let mut words = about.splitn(3, ' ');
            let [key, name, value] = std::array::from_fn(|_| words.next().unwrap_or_else(|| panic!("{line}")));
            if name != current {
                assert!(!families.contains_key(name), "a family is in one place: {line}");
                assert!(is_name(name), "{line}");
                name.clone_into(&mut current);
            }
            let family = families.entry(current.clone()).or_default();
            assert!(family.series.is_empty(), "what is said of a family comes before its values: {line}");
            describe(family, (key, name, value), line);
        } else {
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&current).unwrap_or_else(|| panic!("of no family: {line}"));
            let suffix = if family.kind == "counter" { "_total" } else { "" };
            assert_eq!(name, format!("{current}{suffix}"), "{line}");
            let is_count = value >= 0.0 && value.fract() == 0.0;
            assert!(value.is_finite() && (family.kind != "counter" || is_count), "{line}");
            assert!(family.series.insert(labels, value).is_none(), "a series twice: {line}");
        }
    }
    let names: Vec<String> = families.iter().map(|(name, family)| said_as(name, family)).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "two families say the same name");
    for (name, family) in &families {
        assert!(!family.kind.is_empty() && family.help, "{name}");
        let is_counted = name.ends_with("_total") || name.ends_with("_created");
        assert!(!is_counted, "the text says that of the values of counters: {name}");
    }
    families
}

fn said_as(name: &str, family: &Family) -> String {
    if family.kind == "counter" { format!("{name}_total") } else { name.to_owned() }
}

fn describe(family: &mut Family, (key, name, value): (&str, &str, &str), line: &str) {
    match key {
        "HELP" => {
            assert!(!family.help && !value.is_empty(), "{line}");
            unescape(value, line);
            family.help = true;
        }
        "TYPE" => {
            assert!(family.kind.is_empty(), "{line}");
            assert!(
                ["counter", "gauge"].contains(&value),
                "no other is used here, and none is of an unknown type: {line}"
            );
            value.clone_into(&mut family.kind);
        }
        "UNIT" => {
            assert!(family.unit.is_none() && name.ends_with(&format!("_{value}")), "{line}");
            family.unit = Some(value.to_owned());
        }
        _ => panic!("{line}"),
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let end = closing_quote(after).unwrap_or_else(|| panic!("{line}"));
            assert!(labels.insert(label.to_owned(), unescape(&after[..end], line)).is_none(), "{line}");
            rest = &after[end + 1..];
            assert!(rest.starts_with('}') || rest.starts_with(",") && !rest.starts_with(",}"), "{line}");
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(!value.contains(' '), "no value has a time here: {line}");
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("{line}")))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, letter)| {
        let is_end = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

fn unescape(text: &str, line: &str) -> String {
    let (mut letters, mut out) = (text.chars(), String::new());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => out.push('\n'),
                Some(quoted @ ('\\' | '"')) => out.push(quoted),
                _ => panic!("{line}"),
            },
            letter => out.push(letter),
        }
    }
    out
}

fn is_name(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == ':';
    text.starts_with(is_letter) && text.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}
