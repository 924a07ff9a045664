// SPDX-License-Identifier: GPL-2.0-or-later
//! What the program says about itself: help, manual pages, completions.

use std::process::Command;

use crate::cli::{cgeid, fails, text};
use crate::common::present;

/// The verbs, as the help of the program lists them.
fn verbs() -> Vec<String> {
    let output = cgeid(std::env::temp_dir().as_path(), "--help");
    let help = text(&output.stdout).to_owned();
    let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

#[test]
fn every_verb_has_examples_in_its_help() {
    let folder = tempfile::tempdir().unwrap();
    let verbs = verbs();
    assert!(
        ["new", "show", "import", "export", "completions", "man"].iter().all(|verb| verbs.iter().any(|v| v == verb))
    );
    for verb in verbs {
        let help = cgeid(folder.path(), &format!("{verb} --help"));
        assert!(text(&help.stdout).contains("Examples:\n  "), "{verb}");
    }
}

#[test]
fn every_verb_has_a_page_that_renders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(cgeid(path, "man --out pages").status.success());
    let mut names: Vec<_> =
        verbs().iter().map(|verb| format!("cgeid-{verb}.1")).chain(["cgeid.1".to_owned()]).collect();
    let mut found: Vec<_> = std::fs::read_dir(path.join("pages"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    found.sort();
    assert_eq!(names, found);
    fails(path, "man --out pages", 1, "--force");
    assert!(cgeid(path, "man --out pages --force").status.success());
    fails(path, "man nothing", 2, "no verb nothing");
    fails(path, "man --json", 2, "no report");
    let one = cgeid(path, "man import");
    assert_eq!(one.stdout, std::fs::read(path.join("pages/cgeid-import.1")).unwrap());
    let witness = present(&["mandoc -T utf8 /dev/null"]);
    for name in names {
        let page = std::fs::read_to_string(path.join("pages").join(&name)).unwrap();
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES"] {
            assert!(
                page.contains(&format!(".SH {section}")) || page.contains(&format!(".SH \"{section}\"")),
                "{name}: {section}"
            );
        }
        if witness {
            let rendered =
                Command::new("mandoc").args(["-T", "utf8", "-W", "error"]).arg(path.join("pages").join(&name)).output();
            let rendered = rendered.unwrap();
            assert!(rendered.status.success(), "{name}: {}{}", text(&rendered.stdout), text(&rendered.stderr));
            let shown = text(&rendered.stdout).replace("\u{8}", "");
            assert!(
                shown.contains("CGEID_PASSWORD") || shown.contains("CCGGEEIIDD__PPAASSSSWWOORRDD"),
                "{name}: {shown}"
            );
        }
    }
}

#[test]
fn completions_know_the_verbs() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = cgeid(folder.path(), &format!("completions {shell}"));
        assert!(script.status.success());
        for verb in verbs() {
            assert!(text(&script.stdout).contains(&verb), "{shell}: {verb}");
        }
        std::fs::write(folder.path().join(shell), &script.stdout).unwrap();
    }
    // A shell that is on every machine of ours takes its script.
    let script = folder.path().join("bash");
    let output = Command::new("bash").arg("-n").arg(script).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    fails(folder.path(), "completions tcsh", 2, "tcsh");
    fails(folder.path(), "completions bash --json", 2, "no report");
}
