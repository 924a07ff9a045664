// SPDX-License-Identifier: GPL-2.0-or-later
//! A mutant: a fault that an implementer might make, as a change of one place of our own source.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::limits;

/// Where the files of mutants lie in the tree.
pub(super) const FOLDER: &str = "conformance/mutants";

/// A file of mutants of one suite.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MutantsFile {
    suite: String,
    mutant: Vec<Mutant>,
}

/// One fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// Unique among all.
    pub id: String,
    /// The suite that must catch it: that of its file.
    #[serde(skip)]
    pub suite: String,
    /// The source file, from the top of the tree.
    pub file: PathBuf,
    /// Text that occurs once in the file and holds the original; the whole file, if it is left out.
    pub within: Option<String>,
    /// The statement or expression that is replaced; it occurs once.
    pub original: String,
    /// What takes its place.
    pub replacement: String,
    /// What is wrong then, in a line.
    pub wrong: String,
    /// The check that is run before the whole suite, as it caught the mutant before.
    pub first: Option<String>,
    /// Whether the codec that `conformance` itself links is judged, so that the mutant must be in it.
    #[serde(default)]
    pub linked: bool,
    /// Whether it is one of the dozen of a short run.
    #[serde(default)]
    pub ci: bool,
}

/// All mutants of a tree, by file and as written there.
///
/// # Errors
/// When a file cannot be read or is no such file, or an identifier is used twice.
pub fn read(tree: &Path) -> anyhow::Result<Vec<Mutant>> {
    let folder = tree.join(FOLDER);
    let listed = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut paths = listed.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let mut all: Vec<Mutant> = Vec::new();
    for path in paths {
        let mut text = String::new();
        let file = File::open(&path).and_then(|file| file.take(limits::FILE_OCTETS).read_to_string(&mut text));
        file.with_context(|| path.display().to_string())?;
        let MutantsFile { suite, mutant } = toml::from_str(&text).with_context(|| path.display().to_string())?;
        for mutant in mutant {
            ensure!(all.iter().all(|known| known.id != mutant.id), "{}: {} is there twice", path.display(), mutant.id);
            all.push(Mutant { suite: suite.clone(), ..mutant });
        }
    }
    Ok(all)
}

impl Mutant {
    /// Where the original lies in the text of its file.
    ///
    /// # Errors
    /// When it is not there, or more than once.
    pub fn place(&self, text: &str) -> anyhow::Result<std::ops::Range<usize>> {
        let (from, within) = match &self.within {
            Some(within) => (self.only(text, within)?, within.as_str()),
            None => (0, text),
        };
        let start = from + self.only(within, &self.original)?;
        Ok(start..start + self.original.len())
    }

    fn only(&self, text: &str, part: &str) -> anyhow::Result<usize> {
        let mut places = text.match_indices(part).map(|(at, _)| at);
        match (places.next(), places.next()) {
            (Some(at), None) => Ok(at),
            (None, _) => bail!("{}: {} does not hold {part:?}", self.id, self.file.display()),
            (Some(_), Some(_)) => bail!("{}: {} holds {part:?} more than once", self.id, self.file.display()),
        }
    }

    /// The original and its replacement, of which a variable of the environment chooses one.
    fn switch(&self) -> String {
        let Self { id, original, replacement, .. } = self;
        let chosen = format!("if crate::mutant::is(\"{id}\") {{ {replacement} }} else {{ {original} }}");
        // A statement stands as it is; an expression may have something before and behind it.
        if original.ends_with([';', '}']) { chosen } else { format!("({chosen})") }
    }
}

/// The text of a file with all its mutants, each behind its switch.
///
/// # Errors
/// When an original is not there once, or two overlap.
pub fn apply(text: &str, mutants: &[&Mutant]) -> anyhow::Result<String> {
    let place = |mutant: &&Mutant| Ok((mutant.place(text)?, mutant.switch()));
    let mut places = mutants.iter().map(place).collect::<anyhow::Result<Vec<_>>>()?;
    places.sort_by_key(|(place, _)| place.start);
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for (place, switch) in places {
        let Some(kept) = text.get(at..place.start) else { bail!("two mutants change one place: {switch}") };
        out.push_str(kept);
        out.push_str(&switch);
        at = place.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mutant(id: &str, within: Option<&str>, original: &str, replacement: &str) -> Mutant {
        let text = format!(
            "id = {id:?}\nfile = 'a.rs'\noriginal = {original:?}\nreplacement = {replacement:?}\nwrong = 'all'\n"
        );
        Mutant { within: within.map(str::to_owned), ..toml::from_str(&text).unwrap() }
    }

    #[test]
    fn an_expression_is_enclosed_and_a_statement_is_not() {
        let text = "let a = b + 1; check(a)?; c(1)";
        let one = mutant("X-1", Some("b + 1"), "1", "2");
        let two = mutant("X-2", None, "check(a)?;", "");
        let expected = "let a = b + (if crate::mutant::is(\"X-1\") { 2 } else { 1 }); \
                        if crate::mutant::is(\"X-2\") {  } else { check(a)?; } c(1)";
        assert_eq!(apply(text, &[&two, &one]).unwrap(), expected);
    }

    #[test]
    fn what_is_not_there_once_is_refused() {
        let told = |mutant: &Mutant| apply("a b a", &[mutant]).unwrap_err().to_string();
        assert_eq!(told(&mutant("X-1", None, "a", "c")), "X-1: a.rs holds \"a\" more than once");
        assert_eq!(told(&mutant("X-1", Some("b c"), "b", "c")), "X-1: a.rs does not hold \"b c\"");
    }

    #[test]
    fn mutants_do_not_overlap() {
        let (one, two) = (mutant("X-1", None, "a b", "c"), mutant("X-2", None, "b c", "a"));
        assert!(apply("a b c", &[&one, &two]).unwrap_err().to_string().starts_with("two mutants change one place"));
    }
}
