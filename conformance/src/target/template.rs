// SPDX-License-Identifier: GPL-2.0-or-later
//! Text with placeholders: `{name}`, and `{program:VARIABLE}` for a program whose path an environment variable holds. Any other brace
//! stands for itself, so that configurations that are full of them need no escapes.

use std::collections::BTreeMap;

/// What placeholders stand for.
pub type Values = BTreeMap<&'static str, String>;

/// What stands before the variable of a program.
const PROGRAM: &str = "program:";

/// A piece of a text: what stands for itself, or the name between braces.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// The names of the placeholders in a text.
pub fn names(text: &str) -> Vec<&str> {
    let name = |piece| match piece {
        Piece::Name(name) => Some(name),
        Piece::Text(_) => None,
    };
    pieces(text).into_iter().filter_map(name).collect()
}

/// The variables of the programs in a text.
pub fn programs(text: &str) -> Vec<&str> {
    names(text).into_iter().filter_map(|name| name.strip_prefix(PROGRAM)).collect()
}

/// The first placeholder that is neither one of these nor a program's.
pub fn unknown<'a>(text: &'a str, known: &[&str]) -> Option<&'a str> {
    names(text).into_iter().find(|name| !known.contains(name) && !name.starts_with(PROGRAM))
}

/// The text with its placeholders filled in.
///
/// # Errors
/// Which of them stands for nothing: a variable that is not set, for one.
pub fn filled(text: &str, values: &Values) -> Result<String, String> {
    let fill = |piece| match piece {
        Piece::Text(text) => Ok(text.to_owned()),
        Piece::Name(name) => match name.strip_prefix(PROGRAM) {
            Some(variable) => program(variable),
            None => values.get(name).cloned().ok_or_else(|| format!("nothing is known for {{{name}}}")),
        },
    };
    pieces(text).into_iter().map(fill).collect()
}

fn program(variable: &str) -> Result<String, String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| format!("{variable} is not set to the path of a built program"))?;
    let found = std::fs::canonicalize(&value).map_err(|error| format!("{variable}={value}: {error}"))?;
    Ok(found.to_string_lossy().into_owned())
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut all, mut rest) = (Vec::new(), text);
    while let Some((before, name, after)) = next(rest) {
        all.extend([Piece::Text(before), Piece::Name(name)]);
        rest = after;
    }
    all.push(Piece::Text(rest));
    all
}

/// What stands before the first placeholder, its name, and what stands behind it.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = text.get(from..)?.find('{') {
        let open = from + open;
        let inside = &text[open + 1..];
        if let Some(close) = inside.find('}').filter(|close| is_name(&inside[..*close])) {
            return Some((&text[..open], &inside[..close], &inside[close + 1..]));
        }
        from = open + 1;
    }
    None
}

fn is_name(text: &str) -> bool {
    let is_word = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '-')
    };
    let is_variable = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.chars().all(|each| each.is_ascii_uppercase() || each.is_ascii_digit() || each == '_')
    };
    text.strip_prefix(PROGRAM).map_or_else(|| is_word(text), is_variable)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_names_between_braces_are_placeholders() {
        let text = "map-resolver = { {address} }\nsite {\n key = {secret}\n}{}{Upper}{a b}{program:lower}{";
        assert_eq!(names(text), ["address", "secret"]);
        let values = Values::from([("address", "192.0.2.1".to_owned()), ("secret", "s".to_owned())]);
        let expected = "map-resolver = { 192.0.2.1 }\nsite {\n key = s\n}{}{Upper}{a b}{program:lower}{";
        assert_eq!(filled(text, &values).unwrap(), expected);
        assert_eq!(unknown(text, &["address"]), Some("secret"));
    }

    #[test]
    fn a_program_is_named_by_a_variable_that_is_set() {
        assert_eq!(programs("{program:SOME_PROGRAM} -f {folder}"), ["SOME_PROGRAM"]);
        assert_eq!(unknown("{program:SOME_PROGRAM}", &[]), None);
        let why = filled("{program:NOT_SET_ANYWHERE}", &Values::new()).unwrap_err();
        assert!(why.contains("NOT_SET_ANYWHERE is not set"), "{why}");
    }
}
