// SPDX-License-Identifier: GPL-2.0-or-later
//! What each program says about itself: its manual pages and completions, held against its help and other programs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

/// A program: the name that people call it by, and its file.
pub(crate) struct Program<'a> {
    pub(crate) name: &'a str,
    pub(crate) file: &'a str,
}

impl Program<'_> {
    pub(crate) fn run(&self, folder: &Path, arguments: &[&str]) -> Output {
        Command::new(self.file).args(arguments).current_dir(folder).output().unwrap()
    }

    fn prints(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = self.run(folder, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// It ends with this status, and says why in these words.
    pub(crate) fn fails(&self, folder: &Path, arguments: &[&str], status: i32, why: &str) {
        let output = self.run(folder, arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(why), "{arguments:?}: {}", text(&output.stderr));
    }

    /// All verbs below some words, as the help lists them: each as the words that name it.
    fn verbs(&self, words: &[&str]) -> Vec<Vec<String>> {
        let help = self.prints(&std::env::temp_dir(), &[words, &["--help"]].concat());
        let Some((_, after)) = help.split_once("Commands:\n") else { return Vec::new() };
        let list = after.split_once("\n\n").map_or(after, |(list, _)| list);
        let lines = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        let below = names.flat_map(|name| {
            let verb = [words, &[name]].concat();
            let mut found = vec![verb.iter().map(|word| (*word).to_owned()).collect()];
            found.extend(self.verbs(&verb));
            found
        });
        below.collect()
    }

    /// There is a page for the program and for each verb, which says all that a page says, and renders without a complaint.
    pub(crate) fn has_pages_that_render(&self) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        self.prints(folder, &["man", "--out", "pages"]);
        let verbs = self.verbs(&[]);
        assert!(verbs.len() >= 3, "{verbs:?}");
        let name = |words: &Vec<String>| format!("{}-{}.1", self.name, words.join("-"));
        let names: BTreeSet<String> = verbs.iter().map(name).chain([format!("{}.1", self.name)]).collect();
        let files = std::fs::read_dir(folder.join("pages")).unwrap();
        let found: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(found, names);
        for words in &verbs {
            let arguments: Vec<&str> = ["man"].into_iter().chain(words.iter().map(String::as_str)).collect();
            let page = std::fs::read_to_string(folder.join("pages").join(name(words))).unwrap();
            assert_eq!(self.prints(folder, &arguments), page);
        }
        for name in &names {
            self.check_page(&folder.join("pages").join(name));
        }
        self.fails(folder, &["man", "--out", "pages"], 1, "--force");
        self.prints(folder, &["man", "--out", "pages", "--force"]);
        self.fails(folder, &["man", "nothing"], 2, "no verb nothing");
        self.fails(folder, &["man", "--out", "/dev/null/pages"], 2, "/dev/null/pages");
    }

    fn check_page(&self, path: &Path) {
        let page = std::fs::read_to_string(path).unwrap();
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS"] {
            let stands = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
            assert!(stands.iter().any(|line| page.contains(line)), "{}: {section}", path.display());
        }
        if !mandoc_is_present() {
            return;
        }
        let rendered = Command::new("mandoc").args(["-T", "ascii", "-W", "error"]).arg(path).output().unwrap();
        let (shown, said) = (text(&rendered.stdout), text(&rendered.stderr));
        assert!(rendered.status.success(), "{}: {shown}{said}", path.display());
        // Bold letters are struck twice.
        let letters: Vec<char> = shown.chars().collect();
        let plain: String = (0..letters.len())
            .filter(|&at| letters[at] != '\u{8}' && letters.get(at + 1) != Some(&'\u{8}'))
            .map(|at| letters[at])
            .collect();
        assert!(plain.contains("What was asked held."), "{}: {plain}", path.display());
    }

    /// The help of each verb shows how it is used.
    pub(crate) fn has_examples(&self) {
        for words in self.verbs(&[]) {
            let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
            assert!(self.prints(&std::env::temp_dir(), &arguments).contains("Examples:\n  "), "{words:?}");
        }
    }

    /// The scripts of all shells know the verbs, and a shell that is on every machine of ours takes its own.
    pub(crate) fn has_completions(&self) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let verbs = self.verbs(&[]);
        for shell in ["bash", "zsh", "fish"] {
            let script = self.prints(folder, &["completions", shell]);
            for word in verbs.iter().flatten() {
                assert!(script.contains(word), "{shell}: {word}");
            }
            std::fs::write(folder.join(shell), &script).unwrap();
        }
        let output = Command::new("bash").args(["-n", "bash"]).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        self.fails(folder, &["completions", "tcsh"], 2, "tcsh");
    }
}

fn mandoc_is_present() -> bool {
    let runs = Command::new("mandoc").args(["-T", "ascii", "/dev/null"]).output().is_ok();
    assert!(runs || std::env::var("CI").as_deref() != Ok("true"), "mandoc does not run: install it");
    if !runs {
        eprintln!("SKIP: mandoc does not run, so nothing says whether the pages render");
    }
    runs
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
