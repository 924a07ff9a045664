// SPDX-License-Identifier: GPL-2.0-or-later
//! `conformance` as a user runs it.

use std::process::{Command, Output};

fn conformance(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn the_wire_suite_closes_with_its_count() {
    let report = format!("--json={}", crate::common::report_of("wire").display());
    let output = conformance(&["run", "--suite", "wire", &report]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert_eq!(printed.lines().last(), Some("99 passed, 0 failed, 0 skipped"));
}

#[test]
fn one_check_by_its_name() {
    let output = conformance(&["run", "--id", "M43", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["passed"].as_u64(), report["checks"][0]["id"].as_str()), (Some(1), Some("M43")));
}

#[test]
fn a_report_goes_to_a_file_and_the_count_to_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.xml");
    let output = conformance(&["run", "--suite", "wire", "--format", "junit", "-o", path.to_str().unwrap()]);
    assert_eq!(text(&output.stdout), "99 passed, 0 failed, 0 skipped\n");
    assert!(std::fs::read_to_string(path).unwrap().contains("tests=\"99\" failures=\"0\""));
}

#[test]
fn json_goes_to_standard_output_or_beside_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let beside = conformance(&["run", "--suite", "wire", &format!("--json={}", path.display())]);
    assert!(text(&beside.stdout).ends_with("99 passed, 0 failed, 0 skipped\n"));
    let alone = conformance(&["run", "--suite", "wire", "--json"]);
    // No two runs take the same time.
    let timeless = |report: &str| -> Vec<String> {
        report.lines().filter(|line| !line.contains("_ms\": ")).map(str::to_owned).collect()
    };
    assert_eq!(timeless(&text(&alone.stdout)), timeless(&std::fs::read_to_string(path).unwrap()));
    let listed: serde_json::Value = serde_json::from_slice(&conformance(&["list", "--json"]).stdout).unwrap();
    let of_wire = listed.as_array().unwrap().iter().filter(|check| check["suite"] == "wire");
    assert_eq!(of_wire.count(), 99);
    // RFC 9301 states no level for what C01 asks; that of R03 it does.
    let named = |id: &str| listed.as_array().unwrap().iter().find(|check| check["id"] == id).unwrap();
    let (read, stated) = (named("C01"), named("R03"));
    assert_eq!((&read["stated"], &stated["stated"]), (&false.into(), &true.into()), "{read} {stated}");
    assert_eq!(stated["clauses"], serde_json::json!(["CP-085", "CP-089"]));
}

#[test]
fn a_check_tells_what_was_given_expected_and_found_and_how_sure_it_is() {
    let output = conformance(&["run", "--id", "R03", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let check = &report["checks"][0];
    for key in ["asks", "expected", "came"] {
        assert!(check[key].as_str().is_some_and(|text| text.len() > 10), "{key}: {check:#}");
    }
    // Where a suite does not say what it expects, the clauses of the ledger do.
    let output = conformance(&["run", "--id", "RC-03.8,RC-12", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["expected"].is_string()), "{report:#}");
    let given = &check["exchange"][0];
    assert_eq!((&check["sure"], &given["direction"]), (&"inside".into(), &"given".into()));
    assert!(given["decoded"].as_str().unwrap().starts_with("Map-Register nonce"), "{given:#}");
    assert!(given["hex"].as_str().unwrap().starts_with("4500"), "{given:#}");
    // Also how sure the reading of the clause is.
    assert_eq!((&check["clauses"][0]["id"], &check["clauses"][0]["stated"]), (&"CP-085".into(), &true.into()));
    let printed = text(&conformance(&["run", "--id", "C01,R03"]).stdout);
    let of = |id: &str| printed.lines().find(|line| line.contains(&format!(" {id} "))).unwrap().to_owned();
    assert!(of("C01").contains(" MUST, our reading ") && !of("R03").contains("our reading"), "{printed}");
}

#[test]
fn names_and_beginnings_of_names_choose_checks() {
    let closing = |ids: &str| text(&conformance(&["run", "--id", ids]).stdout).lines().last().unwrap().to_owned();
    assert_eq!(closing("R03,M43"), "2 passed, 0 failed, 0 skipped");
    assert_eq!(closing("RC-03.8,R03"), "2 passed, 0 failed, 0 skipped");
    assert_eq!(closing("RC-03"), conformance_listed("RC-03."));
    let output = conformance(&["run", "--id", "R03,RC-0"]);
    assert_eq!((output.status.code(), text(&output.stderr).contains("--id RC-0:")), (Some(2), true));
}

/// What a run of all checks that begin so closes with.
fn conformance_listed(start: &str) -> String {
    let listed: serde_json::Value = serde_json::from_slice(&conformance(&["list", "--json"]).stdout).unwrap();
    let ids = listed.as_array().unwrap().iter().filter(|check| check["id"].as_str().unwrap().starts_with(start));
    format!("{} passed, 0 failed, 0 skipped", ids.count())
}

#[test]
fn progress_is_told_on_standard_error_alone_and_only_if_asked_for() {
    let (silent, told) =
        (conformance(&["run", "--suite", "wire"]), conformance(&["run", "--suite", "wire", "--progress"]));
    assert_eq!(text(&silent.stderr), "");
    assert_eq!(text(&told.stdout), text(&silent.stdout));
    assert!(text(&told.stderr).starts_with("wire: 0 of 99, none failed, 0 s\n"), "{}", text(&told.stderr));
}

#[test]
fn junit_and_tap_carry_the_clause_and_the_exchange() {
    let junit = text(&conformance(&["run", "--id", "R03", "--format", "junit"]).stdout);
    assert!(
        junit.contains("<property name=\"clause\" value=\"RFC 9301 5.6") && junit.contains("0000  45 00"),
        "{junit}"
    );
    let tap = text(&conformance(&["run", "--id", "R03", "--format", "tap"]).stdout);
    assert!(tap.contains("  clause: \"RFC 9301 5.6") && tap.contains("0000  45 00"), "{tap}");
}

#[test]
fn diff_tells_what_is_broken_and_exits_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, two, wrong) = (path("one.json"), path("two.json"), path("wrong.json"));
    let run = text(&conformance(&["run", "--suite", "wire", "--json"]).stdout);
    std::fs::write(&one, &run).unwrap();
    let other = run.replacen("\"result\": \"pass\"", "\"result\": \"fail\"", 1);
    let other = other.replace("\"passed\": 99", "\"passed\": 98").replace("\"failed\": 0", "\"failed\": 1");
    std::fs::write(&two, &other).unwrap();
    std::fs::write(&wrong, run.replacen("\"pass\"", "\"well\"", 1)).unwrap();
    let broken = conformance(&["diff", &one, &two]);
    let printed = text(&broken.stdout);
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        printed.contains("pass  fail") && printed.ends_with("1 broken, 0 gone, 0 fixed, 0 new, 0 other, 98 equal\n")
    );
    let fixed = conformance(&["diff", &two, &one, "--format", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&fixed.stdout).unwrap();
    assert_eq!((fixed.status.code(), &found["counts"]["fixed"]), (Some(0), &1.into()));
    assert_eq!(found["checks"][0]["results"], serde_json::json!(["fail", "pass"]));
    let refused = conformance(&["diff", &one, &wrong]);
    let told = text(&refused.stderr);
    assert!(told.contains("wrong.json") && told.contains("`well`") && told.contains("line "), "{told}");
    assert_eq!(refused.status.code(), Some(2));
}

/// A report of a target with these checks, each with its suite, result and evidence.
fn report_of(target: &str, checks: &[(&str, &str, &str, &str)]) -> String {
    let count = |result: &str| checks.iter().filter(|check| check.2 == result).count();
    let check = |(suite, id, result, evidence): &(&str, &str, &str, &str)| serde_json::json!({"id": id, "clause": "9301 8", "level": "MUST", "suite": suite, "result": result, "evidence": evidence});
    let checks: Vec<_> = checks.iter().map(check).collect();
    let (passed, failed, skipped) = (count("pass"), count("fail"), count("skip"));
    serde_json::json!({"target": target, "passed": passed, "failed": failed, "skipped": skipped, "checks": checks})
        .to_string()
}

#[test]
fn findings_tell_which_check_sees_them_and_which_target_shows_them() {
    let alone = conformance(&["findings"]);
    let printed = text(&alone.stdout);
    assert_eq!(alone.status.code(), Some(0));
    assert!(printed.contains("\nends-two-records        FC-90.1 (facade), LI-021.1 (lisp)\n"), "{printed}");
    assert!(printed.contains("no check: ") && printed.ends_with("of them seen by no check\n"), "{printed}");

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, two) = (path("one.json"), path("two.json"));
    let ended = "nothing came; this check ended the target (SIGSEGV)";
    let of_one = [("facade", "FC-90.1", "fail", ended), ("facade", "FC-91.4", "pass", "dropped")];
    let of_two = [("facade", "FC-90.1", "fail", "nothing came"), ("facade", "FC-91.4", "skip", "not run")];
    std::fs::write(&one, report_of("One", &of_one)).unwrap();
    std::fs::write(&two, report_of("Two", &of_two)).unwrap();
    let both = conformance(&["findings", &one, &two]);
    let printed = text(&both.stdout);
    assert_eq!(both.status.code(), Some(1), "One shows one");
    assert!(printed.starts_with("(1) One: 1 passed, 1 failed, 0 skipped\n(2) Two: "), "{printed}");
    assert!(printed.contains("\nends-two-records        yes   other FC-90.1"), "{printed}");
    assert!(printed.contains("\nreplayed-register       no    -     FC-91.4"), "{printed}");

    let json = conformance(&["findings", &one, &two, "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let of = |id: &str| found["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == id).unwrap();
    assert_eq!(of("ends-two-records")["results"], serde_json::json!(["shown", "fails_otherwise"]));
    assert_eq!(of("replayed-register")["results"], serde_json::json!(["not_shown", "not_judged"]));
    assert_eq!(of("replayed-register")["checks"][0], serde_json::json!({"suite": "facade", "id": "FC-91.4"}));
    assert_eq!((&found["runs"][0]["name"], &found["runs"][0]["shown"]), (&"One".into(), &1.into()));
    assert_eq!(conformance(&["findings", &two]).status.code(), Some(0), "Two shows none");

    let over = conformance(&["findings", &one, &format!("--json={one}")]);
    assert_eq!(over.status.code(), Some(2), "no report takes the place of one that is read");
    assert_eq!(std::fs::read_to_string(&one).unwrap(), report_of("One", &of_one));
}

#[test]
fn explain_shows_the_clause_and_the_bytes() {
    let printed = text(&conformance(&["explain", "R03"]).stdout);
    assert!(
        printed.contains("RFC 9301 5.6") && printed.contains("by the authenticator") && printed.contains("0000  45 00")
    );
}

#[test]
fn diff_explain_and_claims_have_their_json() {
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&conformance(arguments).stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    };
    let check = json(&["explain", "C01", "--json"]);
    assert_eq!((&check["clauses"][0]["id"], &check["clauses"][0]["stated"]), (&"CP-041".into(), &false.into()));
    assert!(check["check"].as_str().unwrap().contains("RFC 9301"), "{check}");
    let clause = json(&["explain", "CP-085", "--json"]);
    assert_eq!((clause["clauses"].as_array().unwrap().len(), &clause["check"]), (1, &serde_json::Value::Null));
    let claims = json(&["claims", "--json"]);
    assert!(claims["claims"].as_array().unwrap().iter().any(|claim| claim["claim"] == "lisp-sec"), "{claims}");
    assert!(claims["tables"].as_str().unwrap().contains("[map-system]"), "{claims}");

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (run, beside) = (path("run.json"), path("diff.json"));
    std::fs::write(&run, conformance(&["run", "--id", "M43,R03", "--json"]).stdout).unwrap();
    let alone = json(&["diff", &run, &run, "--json"]);
    assert_eq!(alone["counts"]["equal"], 2);
    let printed = text(&conformance(&["diff", &run, &run, &format!("--json={beside}")]).stdout);
    assert!(printed.ends_with("2 equal\n"), "{printed}");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&std::fs::read(beside).unwrap()).unwrap(), alone);
    let over = conformance(&["diff", &run, &run, &format!("--json={run}")]);
    assert_eq!(over.status.code(), Some(2), "no report takes the place of one that is read");
}

#[test]
fn what_the_machine_lacks_exits_with_3_and_is_named() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
        let output =
            command.args(arguments).env("CONFORMANCE_LISP_MAPSYS", "/nonexistent/lisp-mapsys").env("CI", "false");
        output.output().unwrap()
    };
    let output = run(&["run", "--id", "FC-105.1"]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(3) && told.contains("/nonexistent/lisp-mapsys does not run"), "{told}");
    let output = run(&["run", "--id", "R03", "-o", "/dev/full"]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(3) && told.contains("--output /dev/full"), "{told}");
    assert_eq!(run(&["run", "--id", "R03", "-o", "/nonexistent/r"]).status.code(), Some(2));
}

#[test]
fn decode_prints_an_object_a_message_and_fails_if_one_is_refused() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/vectors.json");
    let output = conformance(&["decode", vectors]);
    assert_eq!(output.status.code(), Some(1), "the vectors hold malformed ones");
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 99);
    assert!(lines.iter().any(|line| line["ok"] == false && line["error"].is_string()));
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/oor-smr.pcap");
    assert_eq!(conformance(&["decode", capture]).status.code(), Some(0));
}

#[test]
fn what_a_suite_lacks_fails_its_checks_and_the_others_run() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command.args(["run", "--suite", "wire,dht,lispsec", "--format", "json"]).env("TMPDIR", "/nonexistent");
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), String::new()));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&conformance(&["list", "--json"]).stdout).unwrap();
    for (suite, result) in [("wire", "pass"), ("dht", "fail"), ("lispsec", "fail")] {
        let of_it =
            |checks: &[serde_json::Value]| checks.iter().filter(|check| check["suite"] == suite).cloned().collect();
        let (all, judged): (Vec<_>, Vec<_>) = (of_it(&listed), of_it(report["checks"].as_array().unwrap()));
        assert!(!all.is_empty() && judged.len() == all.len(), "{suite}: {} of {}", judged.len(), all.len());
        for check in judged {
            let told = check["came"].as_str().unwrap();
            let is_told = told.contains(&format!("suite {suite} could not go on: a folder for the files of the suite"));
            assert_eq!((&check["result"], is_told), (&result.into(), result == "fail"), "{check:#}");
        }
    }
}

#[test]
fn claims_name_the_table_that_each_suite_of_a_map_system_needs() {
    let told = text(&conformance(&["claims"]).stdout);
    for table in ["[map-system]", "[lisp-sec.start]", "[pubsub.start]", "[ddt-node.start]", "[ddt-map-resolver.start]"]
    {
        assert!(told.contains(table), "{told}");
    }
    for of_a_role in ["[cgeid-issuer]", "make-ed25519", "[dht-node]", "[dht-node.start]"] {
        assert!(told.contains(of_a_role), "{told}");
    }
    for of_one_that_runs in
        ["`data-plane = false`", "itr-key ", "protected-path ", "[map-system.subscribers]", "\"requires lisp-sec\""]
    {
        assert!(told.contains(of_one_that_runs), "{told}");
    }
}

#[test]
fn the_example_of_a_target_file_is_pointed_at() {
    const EXAMPLE: &str = "targets/example.toml";
    assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE).is_file());
    for told in [&["run", "--help"][..], &["claims"]] {
        let told = text(&conformance(told).stdout);
        assert!(told.split_whitespace().collect::<String>().contains("example.toml"), "{told}");
    }
    assert!(include_str!("../../../README.md").contains(&format!("`conformance/{EXAMPLE}`")));
}

#[test]
fn wrong_usage_is_told_and_exits_with_2() {
    for (arguments, named) in [
        (&["run", "--suite", "nonsense"][..], "nonsense"),
        (&["run"][..], "--all"),
        (&["run", "--id", "Z99"][..], "Z99"),
        (&["explain", "Z99"][..], "Z99"),
        (&["decode", "/nonexistent"][..], "/nonexistent"),
        (&["diff", "/nonexistent", "/nonexistent"][..], "/nonexistent"),
        (&["findings", "/nonexistent"][..], "/nonexistent"),
        (&["run", "--suite", "wire", "-o", "/nonexistent/report"][..], "/nonexistent/report"),
        (&["frobnicate"][..], "frobnicate"),
    ] {
        let output = conformance(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{arguments:?}: {}", text(&output.stderr));
    }
}
