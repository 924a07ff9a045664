// SPDX-License-Identifier: GPL-2.0-or-later
//! The house has floors: no crate links one that its layer forbids, with or without its I/O shell.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const OURS: [&str; 8] = ["wire", "cgeid", "dht", "mapsys", "xtr", "interop", "conformance", "program"];

/// Crate, and those of ours that its library may link when the I/O shell is left out.
const LAYERS: [(&str, &[&str]); 8] = [
    ("wire", &[]),
    ("cgeid", &[]),
    ("dht", &["wire", "cgeid"]),
    ("mapsys", &["wire", "cgeid", "dht"]),
    ("xtr", &["wire", "cgeid"]),
    ("interop", &["wire", "program"]),
    ("conformance", &["wire", "cgeid", "dht", "program", "interop"]),
    ("program", &[]),
];

/// What only an I/O shell may bring in.
const IO: [&str; 5] = ["tokio", "libp2p", "socket2", "rtnetlink", "redb"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A line of that format for each package.
fn tree(format: &str, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--format", format])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs: it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// Names of all packages that `package` links without default features.
fn linked(package: &str) -> BTreeSet<String> {
    let lines = tree("{p}", &["--no-default-features", "--edges", "normal", "--package", package]);
    lines.iter().filter_map(|line| line.split(' ').next()).filter(|name| *name != package).map(str::to_owned).collect()
}

/// What tests alone link brings no feature of a package that programs link too: `interop` would compile all programs a second time,
/// which takes two minutes of each fresh run of the tests.
#[test]
fn programs_link_the_same_by_themselves_as_among_the_tests() {
    let programs = ["--package", "cgeid", "--package", "dht", "--package", "mapsys", "--package", "xtr"];
    let alone = tree("{p} {f}", &[&programs[..], &["--edges", "normal,build"]].concat());
    let tested = tree("{p} {f}", &["--workspace", "--edges", "normal,build,dev"]);
    let otherwise: Vec<_> = alone.difference(&tested).collect();
    assert!(otherwise.is_empty(), "tests have more features of: {otherwise:#?}");
}

#[test]
fn a_library_links_only_what_its_layer_allows() {
    for (package, allowed) in LAYERS {
        let found: Vec<_> = linked(package).into_iter().filter(|name| OURS.contains(&name.as_str())).collect();
        let forbidden: Vec<_> = found.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(forbidden.is_empty(), "{package} links {forbidden:?}; its layer allows {allowed:?}");
    }
}

#[test]
fn a_library_without_its_shell_does_no_io() {
    for package in ["wire", "cgeid", "dht", "mapsys", "xtr"] {
        let links = linked(package);
        let io: Vec<_> = IO.iter().filter(|name| links.contains(**name)).collect();
        assert!(io.is_empty(), "{package} without its shell links {io:?}");
    }
}

/// `xtr` and `mapsys` meet on the wire: in `xtr`, only the binary's own files may name `mapsys` or `dht`.
#[test]
fn in_xtr_only_main_and_shell_name_the_map_system() {
    let source = root().join("xtr/src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 10, "the source of xtr is where this test looks for it");
    for file in files {
        let inside = file.strip_prefix(&source).unwrap();
        if inside == Path::new("main.rs") || inside.starts_with("shell") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for name in ["mapsys::", "dht::"] {
            assert!(!text.contains(name), "{} names {name}", inside.display());
        }
    }
}

/// `unsafe` stays where the house rules put it.
#[test]
fn unsafe_code_stays_in_the_shell_of_xtr_in_one_system_call_of_programs_and_in_the_lab() {
    for package in ["wire", "cgeid", "dht", "mapsys", "conformance", "xtr", "program"] {
        let source = root().join(package).join("src");
        let mut files = Vec::new();
        rust_files(&source, &mut files);
        for file in files {
            let inside = file.strip_prefix(&source).unwrap();
            if package == "xtr" && inside.starts_with("shell")
                || package == "program" && inside == Path::new("turns.rs")
            {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("unsafe {") && !text.contains("unsafe fn"), "{package}/src/{}", inside.display());
        }
    }
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
