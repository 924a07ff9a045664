// SPDX-License-Identifier: GPL-2.0-or-later
//! The bench of the data plane, small: every design carries something at every test, and nothing comes with a wrong checksum. How
//! much is for a quiet machine.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop"));
    // Programs of others are not what is tested here.
    command.args(["bench", "data-plane"]).args(arguments).env_remove("INTEROP_OOR").output().unwrap()
}

/// What of a list has this value under a key.
fn having<'a>(list: &'a Value, key: &str, value: &str) -> Vec<&'a Value> {
    list.as_array().unwrap().iter().filter(|it| it[key] == value).collect()
}

#[test]
fn every_design_carries_something_at_every_test() {
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("ratios.svg");
    let output =
        bench(&["--quick", "--json", "--plot", plot.to_str().unwrap(), "--bin-dir", support::built_programs()]);
    let said = String::from_utf8_lossy(&output.stderr);
    // What is promised need not be kept by a debug build on a busy machine.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(report["machine"].as_str().unwrap().contains("cores"), "{report}");

    let designs: Vec<&str> = ["plain", "vxlan", "bare", "tier0", "tier1"]
        .into_iter()
        .filter(|design| having(&report["skipped"], "design", design).is_empty())
        .collect();
    assert!(designs.len() >= 4, "only a lisp-xtr without tiers leaves one out: {}", report["skipped"]);
    for underlay in ["wire-like", "super-packets"] {
        for test in ["tcp1", "tcp4", "udp64"] {
            for design in &designs {
                let figures = having(&report["results"], "underlay", underlay);
                let figures = figures.iter().find(|it| it["test"] == test && it["design"] == *design).unwrap();
                assert!(figures["median"].as_f64().unwrap() > 0.0, "{figures}");
                assert_eq!(figures["runs"].as_array().unwrap().len(), 1, "{figures}");
                for ratio in ["ratio_to_plain", "ratio_to_vxlan", "ratio_to_bare"] {
                    assert!(figures[ratio].as_f64().unwrap() > 0.0, "{figures}");
                }
            }
        }
    }
    for (list, count) in [("loss", 2), ("rtt", 2), ("checksum_errors", 1)] {
        for design in &designs {
            assert_eq!(having(&report[list], "design", design).len(), count, "{list} of {design}: {report}");
        }
    }
    assert!(report["loss"].as_array().unwrap().iter().all(|it| it["sent"].as_u64() > it["lost"].as_u64()), "{report}");
    assert!(report["rtt"].as_array().unwrap().iter().all(|it| it["p50_us"].is_f64() && it["lost"] == 0), "{report}");
    assert_eq!(having(&report["idle"], "design", "tier0").len(), 2, "{report}");
    for errors in report["checksum_errors"].as_array().unwrap() {
        for node in ["host_a", "xtr_a", "xtr_b", "host_b"] {
            assert_eq!(errors[node], 0, "{errors}");
        }
    }
    for name in ["checksums", "failover", "moved"] {
        assert!(!having(&report["promises"], "name", name).is_empty(), "{report}");
    }
    assert!(std::fs::read_to_string(plot).unwrap().contains("</svg>"));
}

#[test]
fn other_families_cross_in_a_user_namespace_and_filters_hold() {
    let _alone = support::alone();
    let filters = ["--test", "udp64", "--underlay", "wire-like", "--design", "plain", "--design", "tier0"];
    let families = ["--inner", "4", "--outer", "6", "--user-namespace", "--quick", "--json"];
    let output = bench(&[&filters[..], &families, &["--bin-dir", support::built_programs()]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    if support::refused_or_not(output.status.code(), &said) {
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((&report["inner"], &report["outer"]), (&"ipv4".into(), &"ipv6".into()));
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|it| &it["design"]).collect::<Vec<_>>(), ["plain", "tier0"]);
    assert!(
        results.iter().all(|it| it["median"].as_f64().unwrap() > 0.0 && it["ratio_to_vxlan"].is_null()),
        "{report}"
    );
    assert_eq!(report["loss"].as_array().unwrap().len(), 0, "{report}");
}

#[test]
fn iperf3_sends_and_takes_tcp_where_it_is_asked_to() {
    if Command::new("iperf3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI is set, and this test needs iperf3");
        return println!("SKIP: needs iperf3");
    }
    let _alone = support::alone();
    let filters = ["--test", "tcp1", "--test", "tcp4", "--underlay", "wire-like", "--design", "plain"];
    let flags = ["--senders", "iperf3", "--user-namespace", "--quick", "--json"];
    let output = bench(&[&filters[..], &flags, &["--bin-dir", support::built_programs()]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    if support::refused_or_not(output.status.code(), &said) {
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((&report["senders"], report["results"].as_array().unwrap().len()), (&"iperf3".into(), 2), "{report}");
    // Megabits.
    assert!(report["results"].as_array().unwrap().iter().all(|it| it["median"].as_f64().unwrap() > 10.0), "{report}");
}

#[test]
fn where_no_design_of_ours_is_measured_it_is_said_that_nothing_is_seen_of_locators_that_fail() {
    let _alone = support::alone();
    // Before programs are built or looked for.
    let output = bench(&["--design=plain", "--test=convergence", "--bin-dir=/nowhere"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("--test convergence: it is of lisp-xtr"), "{said}");
    let flags = ["--design=plain", "--user-namespace", "--quick", "--json", "--bin-dir", support::built_programs()];
    let output = bench(&[&["--test=convergence", "--test=idle"], &flags[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    if support::refused_or_not(output.status.code(), &said) {
        return;
    }
    assert!(output.status.success() && said.contains("convergence is left out: it is of lisp-xtr"), "{said}");
}

/// In a user namespace, and without the designs.
#[test]
fn how_long_nothing_crosses_while_something_changes_is_measured_by_itself() {
    let _alone = support::alone();
    let output = bench(&[
        "--test=convergence",
        "--design=tier0",
        "--user-namespace",
        "--quick",
        "--json",
        "--bin-dir",
        support::built_programs(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    if support::refused_or_not(output.status.code(), &said) {
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    for change in ["provider-silent", "link-down", "eid-moved"] {
        let seen = having(&report["convergence"], "change", change);
        assert_eq!(seen.len(), 1, "{report}");
        // There was a gap, and it had an end; whether it was short enough is not asked of a debug build on a busy machine.
        assert!(seen[0]["median_s"].as_f64().is_some_and(|gap| gap > 0.0 && gap < 10.0), "{report}");
        assert_eq!(seen[0]["runs_s"].as_array().unwrap().len(), 1, "{report}");
    }
    let promises: Vec<&Value> = report["promises"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(promises, ["failover", "moved"], "{report}");
    assert!(report["results"].as_array().unwrap().is_empty(), "{report}");
}

#[test]
fn what_cannot_be_drawn_is_said_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("precious.svg");
    std::fs::write(&precious, "precious").unwrap();
    let arguments = |path: &Path| ["--quick".to_owned(), "--plot".to_owned(), path.to_str().unwrap().to_owned()];
    for path in [&precious, &folder.path().join("nowhere/ratios.svg")] {
        let output = bench(&arguments(path).each_ref().map(String::as_str));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("--plot"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "precious");
}
