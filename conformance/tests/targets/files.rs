// SPDX-License-Identifier: GPL-2.0-or-later
//! `conformance run --target`: bad targets, which are named in bounded time, and deployed ones, where they are at hand.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fakes::{FAKE, Fake, Run, SITES, has_python, is_root, text};
use conformance::findings::{self, Program, Shown};
use conformance::report::Report;

#[test]
fn one_that_never_answers_is_named_and_not_waited_for_again() {
    if !has_python() {
        return;
    }
    let judge = |(mode, came)| {
        let fake = Fake::start(&[mode]);
        let run = Run::of(&fake.file(), &["--suite", "lisp"]);
        assert_eq!(run.check("LI-098.1").0, "fail", "{mode}");
        assert!(run.check("LI-098.1").1.contains(came), "{mode}: {}", run.check("LI-098.1").1);
        let skipped = run.count("skip", "not judged: the target has never answered");
        assert!(skipped > 30 && run.report["failed"] == 1, "{mode}: {}", run.report);
        // Thirty checks that each waited for an answer would take some minutes.
        assert!(run.took < Duration::from_secs(80), "{mode}: {:?}", run.took);
    };
    std::thread::scope(|scope| {
        let silent = scope.spawn(move || judge(("silent", "nothing came")));
        judge(("garbage", "others came"));
        silent.join().unwrap();
    });
}

#[test]
fn one_that_is_slow_is_not_taken_for_one_that_says_nothing() {
    if !has_python() {
        return;
    }
    let fake = Fake::start(&["slow", "300"]);
    let run = Run::of(&fake.file(), &["--id", "LI-098.1"]);
    assert_eq!(run.check("LI-098.1").0, "pass", "{}", run.check("LI-098.1").1);
    // It takes replays; its answer comes late, and is heard all the same.
    let run = Run::of(&fake.file(), &["--id", "LI-095.1"]);
    let (result, evidence) = run.check("LI-095.1");
    assert!(result == "fail" && evidence.contains("expected nothing"), "{result}: {evidence}");
}

#[test]
fn one_that_floods_is_told_so_in_bounded_time() {
    if !has_python() {
        return;
    }
    let fake = Fake::start(&["flood"]);
    let run = Run::of(&fake.file(), &["--id", "LI-098.1"]);
    let (result, evidence) = run.check("LI-098.1");
    // The flood begins with the first question, before its answer is awaited or while it is.
    let is_told = evidence.contains("others came") || evidence.contains("came Shared");
    assert!(result == "fail" && is_told, "{result}: {evidence}");
    assert!(run.took < Duration::from_secs(120), "{:?}", run.took);
}

#[test]
fn what_a_target_does_not_claim_or_cannot_be_brought_to_is_skipped() {
    if !has_python() {
        return;
    }
    let fake = Fake::start(&["honest"]);
    let run = |id: &str| {
        let run = Run::of(&fake.file(), &["--id", id]);
        assert_eq!(run.report["target"], "a fake");
        let (result, evidence) = run.check(id);
        (result.to_owned(), evidence.to_owned())
    };
    let skipped = [
        ("FC-003.1", "does not claim instance-id"),
        ("FC-096.1", "a configuration of its own"),
        ("FC-004.1", "names no site \"ipv4\""),
        ("PS-01.01", "a fake does not claim pubsub"),
        ("FC-146.3", "our own promise"),
        ("LI-095.2", "our own promise"),
        ("LI-134.1", "our own promise"),
    ];
    for (id, why) in skipped {
        let (result, evidence) = run(id);
        assert!(result == "skip" && evidence.contains(why), "{id}: {result}: {evidence}");
    }
    assert_eq!(run("FC-104.1").0, "fail", "it answers with A, as registered");
    assert_eq!(run("FC-92.2").0, "pass");
}

#[test]
fn one_that_ends_is_started_again_and_the_check_that_ended_it_says_so() {
    if !is_root() || !has_python() {
        return;
    }
    let start = r#"name = "mortal"
claims = ["proxy-reply", "hmac-sha-1"]
[map-system.start]
command = ["python3", "fake.py", "{address}", "4342", "dies", "40"]
ready = "ready"
[[map-system.start.file]]
name = "fake.py"
text = '''
"#;
    let run = Run::of(
        &format!("{start}{FAKE}'''\n{SITES}"),
        &["--suite", "facade", "--id", "FC-064,FC-066,FC-104,FC-105,FC-90,FC-91,FC-92"],
    );
    let ended = run.count("fail", "this check ended the target");
    assert!(ended >= 2 && run.count("fail", "SIGABRT") == ended, "{}", run.report);
    assert_eq!(run.count("skip", "not judged"), 0, "{}", run.report);
    assert_eq!(run.check("FC-92.2").0, "pass", "{}", run.check("FC-92.2").1);
    assert!(run.took < Duration::from_secs(240), "{:?}", run.took);
}

#[test]
fn one_that_cannot_be_started_is_named() {
    if !is_root() {
        return;
    }
    let file =
        |command: &str| format!("name = \"a stone\"\nclaims = []\n[map-system.start]\ncommand = {command}\n{SITES}");
    let run = Run::of(&file("[\"false\"]"), &["--suite", "facade"]);
    assert!(run.count("fail", "it ended before it was ready") == 1 && run.report["failed"] == 1, "{}", run.report);
    assert!(run.count("skip", "did not get ready") > 10 && run.took < Duration::from_secs(80), "{:?}", run.took);
    let run = Run::of(&file("[\"{program:NOT_SET_ANYWHERE}\"]"), &["--id", "FC-105.1"]);
    assert!(run.check("FC-105.1").1.contains("NOT_SET_ANYWHERE is not set"), "{}", run.report);
}

#[test]
fn a_wrong_target_file_is_refused_with_its_line_and_suites_of_others_are_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, "name = \"x\"\nclaims = [\"telepathy\"]\n").unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_conformance")).args(["run", "--target"]).args(arguments).output().unwrap()
    };
    let output = run(&[path.to_str().unwrap()]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("wrong.toml:2: claims: \"telepathy\""), "{told}");
    std::fs::write(&path, "claims = []\nname = \"x\"\n").unwrap();
    let told = text(&run(&[path.to_str().unwrap()]).stderr);
    assert!(told.contains("wrong.toml:2: no role"), "{told}");
    let begun = Instant::now();
    let told = text(&run(&["/dev/zero"]).stderr);
    assert!(told.contains("/dev/zero: longer than") && begun.elapsed() < Duration::from_secs(60), "{told}");
    let openlisp = concat!(env!("CARGO_MANIFEST_DIR"), "/targets/openlisp.toml");
    let told = text(&run(&[openlisp, "--id", "R03"]).stderr);
    assert!(told.contains("--id R03: no suite of the roles of OpenLISP has it"), "{told}");
    let output = run(&[openlisp, "--suite", "pubsub"]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("nothing was judged"), "{told}");
    let output = run(&[openlisp, "--suite", "wire"]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("OpenLISP has no role"), "{told}");
}

/// A run with a shipped target file, if its program is at hand; what a variable does not name is not part of the machine.
fn deployed(file: &str, variable: &str, suites: &str) -> Option<Run> {
    if std::env::var_os(variable).is_none_or(|value| value.is_empty()) {
        eprintln!("SKIP: {variable} is not set to the path of a built program");
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets").join(file);
    Some(Run::of_file(&path, &["--suite", suites]))
}

/// The table of findings has each of these of a program, and the run shows it: that nothing was judged is not enough.
fn shows(run: &Run, ids: &[&str]) {
    let report: Report = serde_json::from_value(run.report.clone()).unwrap();
    let all = findings::all().unwrap();
    for id in ids {
        let finding = all.iter().find(|finding| finding.id == *id).unwrap();
        assert_eq!(finding.shown(&report), Shown::Yes, "{id}: {:?}", finding.checks());
    }
}

/// Each check fails, and says this; and whatever the table of findings has of the program is shown, if it was judged.
fn finds(run: &Run, program: Program, failed: &[(&str, &str)]) {
    for (id, told) in failed {
        let (result, evidence) = run.check(id);
        assert!(result == "fail" && evidence.contains(told), "{id}: {result}: {evidence}");
    }
    assert_eq!(run.count("skip", "not judged"), 0, "{}", run.report);
    let report: Report = serde_json::from_value(run.report.clone()).unwrap();
    for finding in findings::all().unwrap().iter().filter(|finding| finding.programs.contains(&program)) {
        let shown = finding.shown(&report);
        assert!([Shown::Yes, Shown::Unjudged].contains(&shown), "{}: {}", finding.id, shown.name());
    }
}

const ENDED: &str = "this check ended the target";

#[test]
fn what_is_known_of_openlisp_is_found_again() {
    let Some(run) = deployed("openlisp.toml", "INTEROP_OPENLISP", "lisp,facade") else { return };
    finds(
        &run,
        Program::OpenLisp,
        &[
            ("FC-91.4", "expected nothing"),
            ("LI-115.1", "expected nothing"),
            ("LI-092.2", "expected nothing"),
            ("FC-91.1", "expected nothing"),
            ("FC-91.2", "expected nothing"),
            ("FC-92.1", "answered []"),
            ("FC-92.3", "1 records for three"),
            ("FC-064.1", "Ttl(60)"),
            ("FC-064.2", "nothing came"),
            ("FC-066.1", "2001:db8::/32"),
            ("LI-047.1", "A true"),
            ("LI-006.1", "nothing came"),
            ("LI-022.2", ENDED),
            ("FC-90.4", ENDED),
            ("FC-90.5", ENDED),
            ("LI-133.1", "probe: true"),
            // Its registrations never end.
            ("FC-082.1", "200 s after the last Map-Register it is answered [\"198.51.100.1\"]"),
        ],
    );
}

#[test]
fn what_is_known_of_openoverlayrouter_is_found_again() {
    let Some(run) = deployed("oor.toml", "INTEROP_OOR", "lisp,facade") else { return };
    finds(
        &run,
        Program::OpenOverlayRouter,
        &[
            ("FC-91.4", "expected nothing"),
            ("LI-092.2", "expected nothing"),
            ("FC-90.1", ENDED),
            ("FC-90.2", ENDED),
            ("FC-90.3", ENDED),
            ("LI-021.1", ENDED),
            ("FC-066.1", "does not contain"),
            ("LI-006.1", ENDED),
        ],
    );
}

#[test]
fn what_is_known_of_the_tunnel_router_of_openoverlayrouter_is_found_again() {
    let Some(run) = deployed("oor.toml", "INTEROP_OOR", "data-plane,mobility") else { return };
    finds(
        &run,
        Program::OpenOverlayRouter,
        &[
            ("CP-062.1", "no mapping: encapsulated: expected nothing"),
            ("DP-026.1", "1000 flows at one"),
            ("DP-093.1", "expected nothing"),
        ],
    );
    shows(&run, &["overclaimed", "one-source-port", "instance-by-l-bit"]);
    // It answers both, so that nothing was judged is not why it shows neither.
    assert_eq!((run.check("CP-028.1").0, run.check("CP-041.1").0), ("pass", "pass"));
}

#[test]
fn what_is_known_of_the_tunnel_router_of_openlisp_is_found_again() {
    let Some(run) = deployed("openlisp.toml", "INTEROP_OPENLISP", "data-plane,mobility") else { return };
    finds(&run, Program::OpenLisp, &[("CP-028.1", "no Map-Reply"), ("CP-041.1", "no Map-Reply")]);
    shows(&run, &["probe-unanswered", "bare-request-unanswered"]);
    assert!(run.count("skip", "OpenLISP has no data plane") > 100, "{}", run.report);
}

#[test]
fn what_is_known_of_the_ddt_of_openlisp_is_found_again() {
    let Some(run) = deployed("openlisp.toml", "INTEROP_OPENLISP", "ddt") else { return };
    finds(
        &run,
        Program::OpenLisp,
        &[
            ("DT-01.3", "TTL 60"),
            ("DT-02.2", "2001:db8::/43"),
            ("DT-03.1", "2001:db9::/32"),
            ("DT-04.1", "expected a Map-Referral; none came"),
            ("DT-04.6", "is in the Referral Set"),
            ("DT-10.2", "none came"),
        ],
    );
    shows(&run, &["ack-names-the-etr", "d-has-no-referral"]);
}

#[test]
fn what_is_known_of_the_ddt_of_openoverlayrouter_is_found_again() {
    let Some(run) = deployed("oor.toml", "INTEROP_OOR", "ddt") else { return };
    finds(
        &run,
        Program::OpenOverlayRouter,
        &[
            ("DT-02.1", "2001:db8:140::/42"),
            ("DT-04.3", "2001:db8:3::1/128"),
            ("DT-04.5", "TTL 15"),
            ("DT-13.2", "followed: true"),
            ("DT-13.3", "told: true"),
        ],
    );
    assert_eq!(run.check("DT-04.1").0, "pass", "a Map-Referral and a Map-Reply");
}
