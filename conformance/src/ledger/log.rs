// SPDX-License-Identifier: GPL-2.0-or-later
//! What `cargo test --workspace` printed: which Rust tests ran, and how they came out.
//!
//! Cargo names each test program before its tests, and sorts them by package, of which the library comes first; where not all of a
//! package runs, a runner says whose program it is (`package NAME`, as `.ci/runner` does). With `-q` cargo names neither programs nor tests. What other programs print meanwhile may stand between a test and its result; then the
//! last line of the test program says whether all held.

use anyhow::{bail, ensure};

/// The tests of a log.
#[derive(Debug, Default)]
pub struct Log {
    ran: Vec<Ran>,
}

/// A test that ran.
#[derive(Debug)]
struct Ran {
    package: String,
    /// The file that its program begins with, from the package's folder.
    root: String,
    /// With its modules.
    name: String,
    outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Ignored,
    Failed,
}

impl Log {
    /// Reads a log, or several behind each other.
    ///
    /// # Errors
    /// When it names no tests, or breaks off within those of a program.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        let (mut log, mut package) = (Self::default(), String::new());
        // The root of the program that runs, and its first test.
        let mut open: Option<(String, usize)> = None;
        for line in text.lines() {
            if let Some((root, program)) = begun(line) {
                ensure!(open.is_none(), "{root} begins before the program before it has ended");
                if root == "src/lib.rs" {
                    package = program.to_owned();
                }
                open = Some((root.to_owned(), log.ran.len()));
            } else if let Some(name) = line.strip_prefix("package ").filter(|_| open.is_some()) {
                name.trim_end().clone_into(&mut package);
            } else if let Some((root, first)) = open.take_if(|_| line.contains("test result: ")) {
                let all_held = line.contains("test result: ok. ") && line.contains(" 0 failed; 0 ignored;");
                let unclear = log.ran[first..].iter_mut().filter(|ran| ran.outcome.is_none());
                unclear.for_each(|ran| ran.outcome = Some(if all_held { Outcome::Passed } else { Outcome::Failed }));
                ensure!(!package.is_empty(), "{root} belongs to no package");
            } else if let Some(((root, _), (name, outcome))) = open.as_ref().zip(test(line)) {
                let (package, root, name) = (package.clone(), root.clone(), name.to_owned());
                log.ran.push(Ran { package, root, name, outcome });
            }
        }
        if let Some((root, _)) = open {
            bail!("it breaks off within the tests of {root}");
        }
        ensure!(!log.ran.is_empty(), "no test is named; this is to be what `cargo test --workspace` prints without -q");
        Ok(log)
    }

    /// How a test came out, by its file from the root of the workspace and its name: `pass`, `skip`, `fail` or `absent`; the worst
    /// where it ran several times.
    pub fn result(&self, path: &str, name: &str) -> &'static str {
        let own = self.ran.iter().filter(|ran| ran.is(path, name));
        match own.map(|ran| ran.outcome).max_by_key(|outcome| outcome.map_or(3, |outcome| outcome as u8)) {
            None => "absent",
            Some(Some(Outcome::Passed)) => "pass",
            Some(Some(Outcome::Ignored)) => "skip",
            Some(Some(Outcome::Failed) | None) => "fail",
        }
    }
}

impl Ran {
    /// Whether it is the test of that name in that file: in the modules of the file, or in one that the file itself has.
    fn is(&self, path: &str, name: &str) -> bool {
        let Some(file) = path.strip_prefix(&self.package).and_then(|rest| rest.strip_prefix('/')) else { return false };
        let modules = if file == self.root { String::new() } else { self.modules(file) };
        self.name.strip_prefix(&modules).is_some_and(|rest| rest == name || rest.ends_with(&format!("::{name}")))
    }

    /// How names of tests begin that stand in that file, if it is a module of the program.
    fn modules(&self, file: &str) -> String {
        let around = self.root.rsplit_once('/').map_or("", |(folder, _)| folder);
        let inside = file.strip_prefix(around).and_then(|rest| rest.strip_prefix('/')).unwrap_or(file);
        let inside = inside.strip_suffix(".rs").unwrap_or(inside);
        inside.strip_suffix("/mod").unwrap_or(inside).replace('/', "::") + "::"
    }
}

/// The root of a test program that begins, and what it is called: `Running unittests src/lib.rs (target/debug/deps/wire-0123456789abcdef)`.
fn begun(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(" Running ")?;
    let (root, program) = rest.trim_end().strip_suffix(')')?.split_once(" (")?;
    let file = program.rsplit(['/', '\\']).next()?;
    Some((root.strip_prefix("unittests ").unwrap_or(root), file.rsplit_once('-')?.0))
}

/// A test and its result, if that stands behind it: `test module::name ... ok`.
fn test(line: &str) -> Option<(&str, Option<Outcome>)> {
    let (before, result) = line.split_once(" ... ")?;
    let name = before.rsplit_once("test ")?.1.split(' ').next()?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':'));
    let outcome = match result.trim_end() {
        "ok" => Some(Outcome::Passed),
        "FAILED" => Some(Outcome::Failed),
        result if result.starts_with("ignored") => Some(Outcome::Ignored),
        _ => None,
    };
    is_name.then_some((name, outcome))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LOG: &str = "   Compiling a v0.1.0
     Running unittests src/lib.rs (target/debug/deps/a-0123456789abcdef)

running 3 tests
test map::tests::one ... ok
test map::deep::tests::one has been running for over 60 seconds
test map::deep::two ... ok
test map::three - should panic ... ok

test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running tests/cli.rs (/t/debug/deps/cli-0123456789abcdef)
SKIP: no namestest one ... ok
test other ... ignored, slow
test common::shared ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running unittests src/lib.rs (target/debug/deps/b-0123456789abcdef)
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running tests/cli.rs (target/debug/deps/cli-fedcba9876543210)
test one ...    Compiling b v0.1.0
ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running tests/suite/main.rs (target/debug/deps/suite-fedcba9876543210)
test rules::tier_zero::both ... ok
test rules::tier_one::both ... FAILED
test rules::unclear ... nothing
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

   Doc-tests b
test b/src/lib.rs - f (line 3) ... ok
";

    #[test]
    fn a_test_is_found_by_its_file_and_its_name() {
        let log = Log::read(LOG).unwrap();
        for (path, name, result) in [
            ("a/src/map.rs", "one", "pass"),
            ("a/src/map/mod.rs", "three", "pass"),
            ("a/src/map/deep.rs", "two", "pass"),
            ("a/src/map/deep.rs", "one", "absent"),
            ("a/src/lib.rs", "wo", "absent"),
            ("b/src/map.rs", "one", "absent"),
            ("a/tests/cli.rs", "one", "pass"),
            ("a/tests/cli.rs", "other", "skip"),
            ("b/tests/cli.rs", "other", "absent"),
            ("a/tests/common/mod.rs", "shared", "pass"),
            ("b/tests/suite/rules.rs", "both", "fail"),
            ("b/tests/suite/rules.rs", "unclear", "fail"),
            ("b/src/lib.rs", "f", "absent"),
        ] {
            assert_eq!(log.result(path, name), result, "{path} {name}");
        }
    }

    #[test]
    fn what_stands_between_a_test_and_its_result_hides_no_test() {
        assert_eq!(Log::read(LOG).unwrap().result("b/tests/cli.rs", "one"), "pass");
        let failed = LOG.replace("ok. 1 passed; 0 failed", "FAILED. 0 passed; 1 failed");
        assert_eq!(Log::read(&failed).unwrap().result("b/tests/cli.rs", "one"), "fail");
    }

    #[test]
    fn a_runner_names_the_package_where_its_library_does_not_run() {
        let part = "     Running tests/cli.rs (target/debug/deps/cli-0123456789abcdef)\npackage c\ntest one ... ok\n\
                    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        for text in [part.to_owned(), format!("{LOG}{part}"), format!("{part}{LOG}")] {
            let log = Log::read(&text).unwrap();
            assert_eq!((log.result("c/tests/cli.rs", "one"), log.result("d/tests/cli.rs", "one")), ("pass", "absent"));
        }
        assert!(Log::read(&part.replace("package c\n", "")).is_err());
    }

    #[test]
    fn a_log_that_breaks_off_or_names_no_test_is_none() {
        let quiet =
            "running 3 tests\n...\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        for (text, told) in [
            (quiet.to_owned(), "no test is named"),
            (LOG[..LOG.find("test other").unwrap()].to_owned(), "breaks off within the tests of tests/cli.rs"),
            (LOG.replacen("test result: ok. 3", "", 1), "begins before"),
            (LOG.replace("src/lib.rs (", "src/main.rs ("), "belongs to no package"),
        ] {
            let error = Log::read(&text).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
