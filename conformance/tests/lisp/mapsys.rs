// SPDX-License-Identifier: GPL-2.0-or-later
//! Suites `lisp`, `facade` and `pubsub`, and what they say of programs that are none.

use crate::common::{Program, closing_line, text};

static PROGRAM: Program = Program::new("lisp-mapsys", &["mapsys", "dht", "cgeid", "wire", "program"]);

#[test]
fn the_messages_hold() {
    PROGRAM.holds("lisp", 55);
}

#[test]
fn the_facade_holds() {
    PROGRAM.holds("facade", 30);
}

#[test]
fn subscriptions_hold() {
    PROGRAM.holds("pubsub", 36);
}

#[test]
fn suites_that_run_side_by_side_are_reported_in_their_order_each_with_its_own_exchange() {
    let output = PROGRAM.conformance(&["run", "--id", "PS-01.01,LS-05.4,LI-098.1,R03", "--json"], &[]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let came: Vec<_> = checks.iter().map(|check| (check["suite"].as_str(), check["result"].as_str())).collect();
    let expected = ["wire", "lisp", "lispsec", "pubsub"].map(|suite| (Some(suite), Some("pass")));
    assert_eq!(came, expected, "{report:#}");
    for check in checks {
        let exchange = check["exchange"].as_array().unwrap();
        let ends = exchange.iter().flat_map(|message| [&message["from"], &message["to"]]);
        let is_of_lispsec = |end: &serde_json::Value| end.as_str().is_some_and(|end| end.starts_with("127.93."));
        assert_eq!(ends.filter(|end| is_of_lispsec(end)).count() > 0, check["suite"] == "lispsec", "{check:#}");
    }
}

/// What a target file says of our own program is judged as that of any other: in a namespace, by one configuration.
#[test]
fn our_own_program_holds_as_a_target_of_others() {
    PROGRAM.holds_from_afar(
        &["lisp", "facade"],
        &["configuration of its own", "our own promise", "does not claim", "names no site", "lisp-mapsys shows"],
        46,
    );
}

#[test]
fn our_own_subscriptions_hold_as_those_of_others() {
    let known = ["what lisp-mapsys shows", "lisp-mapsys promises", "what that has kept", "without a shared key"];
    PROGRAM.holds_from_afar(&["pubsub"], &known, 7);
}

#[test]
fn a_program_that_says_nothing_fails() {
    for id in ["LI-098.1", "FC-064.1", "PS-01.01"] {
        let output = PROGRAM.conformance(&["run", "--id", id], &[("CONFORMANCE_LISP_MAPSYS", "true")]);
        let came = (output.status.code(), closing_line(&output));
        assert_eq!(came, (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()));
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let nowhere = [("CONFORMANCE_LISP_MAPSYS", "/nonexistent"), ("CI", "false")];
    let output = PROGRAM.conformance(&["run", "--id", "LI-098.1"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_section_and_what_is_given() {
    let explained = |id: &str| text(&PROGRAM.conformance(&["explain", id], &[]).stdout);
    assert!(explained("LI-095").contains("9301 5.6") && explained("LI-095").contains("LI-095.3"));
    assert!(explained("PS-04.01").contains("AFI 0") && explained("PS-03").contains("PS-03.06"));
    assert!(explained("FC-90.1").contains("two records"));
}
