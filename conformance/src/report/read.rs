// SPDX-License-Identifier: GPL-2.0-or-later
//! A report that an earlier run wrote, read again. It may be any file: what is wrong with it is said, and where.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::Report;

/// The longest report that is read, in octets. One of all suites has some five million; were each of its 900 checks to show the most
/// messages (13) with the most octets (320, in hexadecimal) and words (800 characters), it would have some twenty million.
pub(crate) const LONGEST: usize = 256 << 20;

/// Reads what `run --format json` wrote.
///
/// # Errors
/// The file, and what is wrong with it where.
pub fn read(path: &Path) -> anyhow::Result<Report> {
    let text = program::files::read_text(path, LONGEST).with_context(|| path.display().to_string())?;
    parse(&text).with_context(|| format!("{}: no report of a run (`conformance run --format json`)", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Report> {
    let report: Report = serde_json::from_str(text)?;
    let mut known = BTreeSet::new();
    for (number, check) in (1..).zip(&report.checks) {
        ensure!(
            known.insert((&check.suite, &check.id)),
            "check {number}: {} of suite {} is there twice",
            check.id,
            check.suite
        );
    }
    let counted = Report::new("", report.checks.clone());
    for (name, said, is) in [
        ("passed", report.passed, counted.passed),
        ("failed", report.failed, counted.failed),
        ("skipped", report.skipped, counted.skipped),
    ] {
        ensure!(said == is, "`{name}` is {said}, and of its checks it is {is}");
    }
    Ok(report)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"target":"t","passed":1,"failed":0,"skipped":0,"checks":[
        {"id":"A","clause":"9301 5.2","level":"MUST","suite":"s","result":"pass","evidence":"e"}]}"#;

    #[test]
    fn a_report_without_exchanges_is_one() {
        assert_eq!(parse(OLD).unwrap().checks[0].sure, None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let double = OLD.replace(
            "}]}",
            "},{\"id\":\"A\",\"clause\":\"\",\"level\":\"\",\"suite\":\"s\",\"result\":\"pass\",\"evidence\":\"\"}]}",
        );
        for (text, told) in [
            ("{".to_owned(), "line 1 column 1"),
            (
                OLD.replace("\"pass\"", "\"good\""),
                "unknown variant `good`, expected one of `pass`, `fail`, `skip` at line 2",
            ),
            (OLD.replace("\"checks\"", "\"cheques\""), "missing field `checks`"),
            (OLD.replace("\"passed\":1", "\"passed\":2"), "`passed` is 2, and of its checks it is 1"),
            (double, "check 2: A of suite s is there twice"),
            ("[1]".to_owned(), "line 1"),
        ] {
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert!(error.contains(told), "{error}");
        }
    }
}
