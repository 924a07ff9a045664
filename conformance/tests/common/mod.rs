// SPDX-License-Identifier: GPL-2.0-or-later
//! Runs `conformance` against a program of the workspace that is built beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::time::SystemTime;

/// A program that suites judge, and the folders that it is built from, its own first.
pub(crate) struct Program {
    name: &'static str,
    packages: &'static [&'static str],
    built: Once,
}

impl Program {
    /// The program of the first of these packages.
    pub(crate) const fn new(name: &'static str, packages: &'static [&'static str]) -> Self {
        Self { name, packages, built: Once::new() }
    }

    /// Runs `conformance`; the program is built first where nobody did since its source was changed.
    pub(crate) fn conformance(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let own = Path::new(env!("CARGO_BIN_EXE_conformance"));
        self.built.call_once(|| self.build(own.parent().unwrap()));
        Command::new(own).args(arguments).envs(variables.iter().copied()).output().unwrap()
    }

    /// All checks of a suite pass; elsewhere than in CI some may be skipped for want of a program.
    pub(crate) fn holds(&self, suite: &str, least: usize) {
        let count = self.listed(&[suite]).len();
        assert!(count >= least, "{suite}: {count}");
        let report = format!("--json={}", report_of(suite).display());
        let output = self.conformance(&["run", "--suite", suite, &report], &[]);
        assert!(output.status.success(), "{}", text(&output.stdout));
        if closing_line(&output) != format!("{count} passed, 0 failed, 0 skipped") {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{}", text(&output.stdout));
            eprintln!("SKIP: {}", closing_line(&output));
        }
    }

    /// The checks of suites.
    #[allow(dead_code)] // Some programs name their checks.
    pub(crate) fn listed(&self, suites: &[&str]) -> Vec<String> {
        let listed = self.conformance(&["list", "--json"], &[]).stdout;
        let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed).unwrap();
        let of_them = listed.iter().filter(|check| suites.iter().any(|suite| check["suite"] == *suite));
        of_them.map(|check| check["id"].as_str().unwrap().to_owned()).collect()
    }

    /// As a target of others, in a namespace and by the one configuration that a file spells, no check of these suites fails, and none is
    /// skipped but for these reasons, at most so many. What rests for minutes has a test of its own.
    #[allow(dead_code)] // Not all test programs have map systems.
    pub(crate) fn holds_from_afar(&self, suites: &[&str], known: &[&str], most: usize) {
        let mut ids = self.listed(suites);
        ids.retain(|id| id != RESTS);
        let Some(printed) = self.passes_from_afar(AFAR, &ids.join(",")) else { return };
        let skipped: Vec<_> = printed.lines().filter(|line| line.starts_with("skip")).collect();
        let is_known = |line: &&str| known.iter().any(|why| line.contains(why));
        assert!(skipped.iter().all(is_known) && skipped.len() <= most, "{skipped:#?}");
    }

    /// What is printed of checks, none of which fails as those of the target of a file; nothing where there are no namespaces.
    #[allow(dead_code)] // Not all test programs have map systems.
    pub(crate) fn passes_from_afar(&self, file: &str, ids: &str) -> Option<String> {
        let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if !root || !Path::new("/dev/net/tun").exists() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI runs as root");
            eprintln!("SKIP: root is needed, for network namespaces");
            return None;
        }
        let program = Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name(self.name);
        let file = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let named = [("CONFORMANCE_LISP_MAPSYS", program.to_str().unwrap())];
        let output = self.conformance(&["run", "--target", &file, "--id", ids], &named);
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{printed}{}", text(&output.stderr));
        Some(printed)
    }

    fn build(&self, beside: &Path) {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let own =
            self.packages.iter().flat_map(|package| ["src", "Cargo.toml", "build.rs"].map(|part| (*package, part)));
        let shared = ["Cargo.toml", "Cargo.lock", "vendor"].map(|part| ("", part));
        let source = own.chain(shared).filter_map(|(package, part)| newest(&workspace.join(package).join(part))).max();
        let built = std::fs::metadata(beside.join(self.name)).and_then(|metadata| metadata.modified());
        if built.is_ok_and(|built| source.is_some_and(|source| built >= source)) {
            return;
        }
        let profile = if beside.ends_with("release") { "release" } else { "dev" };
        // Only where some test is built does cargo give others the features that tests need, and so finds them built where `cargo test` did.
        let status = interop::demo::cargo()
            .args(["build", "--locked", "--workspace", "--bin", self.name, "--test", "codec", "--profile", profile])
            .arg("--target-dir")
            .arg(beside.parent().unwrap())
            .current_dir(workspace)
            .status();
        assert!(status.unwrap().success(), "{} does not build", self.name);
    }
}

/// Our map system as a target of others.
#[allow(dead_code)] // Not all test programs have map systems.
pub(crate) const AFAR: &str = "tests/common/mapsys.toml";

/// A check that waits until a registration ends by itself, as nobody repeats it: for 200 s, in which the machine has nothing to do.
#[allow(dead_code)] // Not all test programs have map systems.
pub(crate) const RESTS: &str = "FC-082.1";

/// Where the report of a whole suite is left, so that the ledger can be held against what ran; none is there yet.
pub(crate) fn report_of(suite: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ran");
    std::fs::create_dir_all(&folder).unwrap();
    let report = folder.join(format!("{suite}.json"));
    let _ = std::fs::remove_file(&report);
    report
}

/// When the newest file under a folder was changed, or a folder that lost one; none if it is not there.
pub(crate) fn newest(path: &Path) -> Option<SystemTime> {
    let metadata = path.metadata().ok()?;
    let inside = metadata.is_dir().then(|| std::fs::read_dir(path).unwrap());
    let inside = inside.into_iter().flatten().filter_map(|entry| newest(&entry.unwrap().path()));
    inside.chain([metadata.modified().unwrap()]).max()
}

/// What a program printed.
pub(crate) fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

/// How many passed, failed and were skipped.
pub(crate) fn closing_line(output: &Output) -> String {
    text(&output.stdout).lines().last().unwrap_or_default().to_owned()
}
