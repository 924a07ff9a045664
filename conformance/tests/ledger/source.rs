// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether a Rust test that the ledger names is there and runs.

use std::fs;
use std::path::{Path, PathBuf};

/// What may keep a whole file out of a build, and does not out of `cargo test --workspace` on Linux.
const HARMLESS: [&str; 4] = [
    "#![cfg(feature = \"shell\")]",
    "#![cfg(target_os = \"linux\")]",
    "#[cfg(feature = \"shell\")]",
    "#[cfg(target_os = \"linux\")]",
];

/// Whether the workspace runs that test; the error says why not.
pub(crate) fn runs(workspace: &Path, path: &str, name: &str) -> Result<(), String> {
    let file = workspace.join(path);
    let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    is_built(workspace, &file)?;
    let kept_out = |line: &&str| line.starts_with("#![cfg") && !HARMLESS.contains(line);
    if let Some(line) = text.lines().find(kept_out) {
        return Err(format!("the file has {line}"));
    }
    is_test(&text, name)
}

/// Whether a function of that name has an attribute that makes it a test, and none that keeps it from running.
fn is_test(text: &str, name: &str) -> Result<(), String> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let heads = ["fn ", "async fn "].map(|head| format!("{head}{name}("));
    let place = lines.iter().position(|line| heads.iter().any(|head| line.starts_with(head)));
    let Some(place) = place else { return is_made_a_test(&lines, name) };
    let above = lines[..place].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let attributes: Vec<_> = above.filter(|line| line.starts_with("#[")).collect();
    let makes_a_test = |line: &&&str| **line == "#[test]" || line.starts_with("#[tokio::test");
    if !attributes.iter().any(makes_a_test) {
        return Err("it is no test".into());
    }
    let keeps =
        |line: &&&&str| line.starts_with("#[ignore") || (line.starts_with("#[cfg") && !HARMLESS.contains(**line));
    match attributes.iter().find(keeps) {
        Some(line) => Err(format!("it has {line}")),
        None => Ok(()),
    }
}

/// Whether a function that is the same for several types is among those that a macro makes tests of, or a rule among those that
/// captures are judged by.
fn is_made_a_test(lines: &[&str], name: &str) -> Result<(), String> {
    let rules = lines.iter().position(|line| *line == "judged! {");
    let rules = rules.map(|begun| lines[begun..].iter().take_while(|line| **line != "}")).into_iter().flatten();
    if rules.into_iter().any(|line| line.split_once(": ").is_some_and(|(rule, _)| rule == name)) {
        return Ok(());
    }
    let is_there = lines.iter().any(|line| line.starts_with(&format!("fn {name}<")));
    let begun = lines.iter().position(|line| *line == "for_both_tiers! {");
    let listed = begun.map(|begun| lines[begun..].iter().take_while(|line| **line != "}")).into_iter().flatten();
    match is_there && listed.into_iter().any(|line| line.strip_suffix(',') == Some(name)) {
        true => Ok(()),
        false => Err("there is no such function".into()),
    }
}

/// Whether the file is a root of a test program or of a package, or the module of one that is.
fn is_built(workspace: &Path, file: &Path) -> Result<(), String> {
    let folder = file.parent().unwrap();
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let folder_name = folder.file_name().unwrap().to_str().unwrap();
    if (folder_name == "tests" && folder.parent().unwrap().join("Cargo.toml").exists())
        || (folder_name == "bin" || ["main", "lib"].contains(&stem))
    {
        return Ok(());
    }
    let module = if stem == "mod" { folder_name } else { stem };
    let around = if stem == "mod" { folder.parent().unwrap() } else { folder };
    let beside = around.with_extension("rs");
    let parents = ["mod.rs", "main.rs", "lib.rs"].map(|name| around.join(name)).into_iter().chain([beside]);
    let declares = |parent: &PathBuf| {
        fs::read_to_string(parent).is_ok_and(|text| {
            text.lines().any(|line| {
                line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ") == format!("mod {module};")
            })
        })
    };
    match parents.filter(|parent| parent.starts_with(workspace) && *parent != file).find(declares) {
        Some(parent) => is_built(workspace, &parent),
        None => Err(format!("no file has `mod {module};`")),
    }
}

#[test]
fn a_function_that_does_not_run_is_no_proof() {
    let text = "#[test]\nfn a() {}\n/// Says.\n#[test]\n#[ignore = \"slow\"]\nfn b() {}\nfn c() {}\n#[tokio::test]\nasync fn d() {}\n\
                #[cfg(windows)]\n#[test]\nfn e() {}\n    #[test]\n    // Why.\n    fn f(x in 0..1) {}\n";
    for (name, runs) in [("a", true), ("b", false), ("c", false), ("d", true), ("e", false), ("f", true), ("g", false)]
    {
        assert_eq!(is_test(text, name).is_ok(), runs, "{name}");
    }
    let text = "for_both_tiers! {\n    a,\n}\nfn a<T: Tier>() {}\nfn b<T: Tier>() {}\n";
    assert!(is_test(text, "a").is_ok() && is_test(text, "b").is_err());
    let text = "judged! {\n    a_rule: judge = [\"b: c\"];\n}\nfn d() { let e: f = 1; }\n";
    assert!(is_test(text, "a_rule").is_ok() && is_test(text, "judge").is_err() && is_test(text, "e").is_err());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    assert!(runs(workspace, "wire/tests/codec/rules.rs", "reserved_bits_are_ignored").is_ok());
    assert!(runs(workspace, "wire/tests/no.rs", "reserved_bits_are_ignored").is_err());
}
