// SPDX-License-Identifier: GPL-2.0-or-later
//! The demo itself, as a newcomer runs it; what it leaves behind, which is nothing; and tshark's opinion of its packets.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::Demo;
use crate::{oracle, support};

/// Runs a demo to its end and reads its report; none if the machine refuses it to who is not root.
fn report(arguments: &[&str], file: &std::path::Path) -> (Demo, Option<Value>) {
    let json = format!("--json={}", file.display());
    let mut demo = Demo::start(&[&[json.as_str()], arguments].concat());
    let status = demo.child.wait().unwrap();
    if support::refused_or_not(status.code(), &demo.said()) {
        return (demo, None);
    }
    assert!(status.success(), "{status}\n{}", demo.said());
    let report = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    (demo, Some(report))
}

fn assert_held(report: &Value) {
    assert_eq!(report["ok"], true, "{report}");
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() >= 10, "{report}");
    assert!(steps.iter().all(|step| step["ok"] == true && step["name"].is_string()), "{report}");
    // A debug build promises no time. What may take minutes, when it was never done before, is not part of it.
    let timed = steps.iter().filter(|step| step["name"] != "build").map(|step| step["seconds"].as_f64().unwrap());
    assert!(cfg!(debug_assertions) || timed.sum::<f64>() < 60.0, "{report}");
    let pings = report["pings"].as_array().unwrap();
    for (from, to) in [("hA", "hB"), ("hB", "hA"), ("hA", "hS"), ("hS", "hA"), ("hB", "hS"), ("hS", "hB"), ("hB", "hC")]
    {
        assert!(pings.iter().any(|ping| ping["from"] == from && ping["to"] == to), "{from} to {to}: {report}");
    }
    for ping in pings {
        assert_eq!((&ping["sent"], &ping["received"]), (&8.into(), &8.into()), "{ping}");
        // How soon is for the demo of a release build to judge: no test measures milliseconds.
        assert!(ping["first_ms"].is_number(), "{ping}");
    }
    assert!(report["tcp_mbit_s"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn everything_holds_and_tshark_agrees() {
    let _alone = support::alone();
    let folder = tempfile::tempdir().unwrap();
    let captures = folder.path().join("captures");
    let (demo, report) = report(&["--pcap", captures.to_str().unwrap()], &folder.path().join("report.json"));
    report.iter().for_each(assert_held);
    demo.assert_gone();
    if report.is_none() || !oracle::tshark_or_skip() {
        return;
    }
    let (mut control, mut data) = (0, 0);
    for node in ["boot", "ms", "xA", "xB", "xC", "xS"] {
        let counted = oracle::judge(&captures.join(format!("{node}.pcap")));
        println!("{node}: {counted:?} control messages and data packets, read alike");
        (control, data) = (control + counted.0, data + counted.1);
    }
    assert!(control > 20 && data > 200, "{control} control messages, {data} data packets");
}

#[test]
fn everything_holds_in_a_user_namespace() {
    let _alone = support::alone();
    let folder = tempfile::tempdir().unwrap();
    let programs = support::built_programs();
    let (demo, report) = report(&["--user-namespace", "--bin-dir", programs], &folder.path().join("report.json"));
    report.iter().for_each(assert_held);
    demo.assert_gone();
}

#[test]
fn a_demo_that_is_stopped_or_killed_leaves_nothing() {
    let _alone = support::alone();
    let programs = support::built_programs();
    for (signal, status) in [(Signal::SIGINT, Some(130)), (Signal::SIGTERM, Some(130)), (Signal::SIGKILL, None)] {
        let mut demo = Demo::start(&["--bin-dir", programs]);
        // The sweeper, boot, ms, xA, xB, xS.
        demo.await_processes(6);
        demo.signal(signal);
        assert_eq!(demo.child.wait().unwrap().code(), status, "{signal}: {}", demo.said());
        demo.assert_gone();
    }
}

#[test]
fn a_step_that_fails_is_named_and_its_logs_are_kept() {
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let programs = tempfile::tempdir().unwrap();
    for name in ["cgeid", "lisp-dht", "lisp-mapsys", "lig"] {
        let built = std::path::Path::new(support::built_programs()).join(name);
        std::os::unix::fs::symlink(built, programs.path().join(name)).unwrap();
    }
    // A border node that gives up.
    support::write_program(&programs.path().join("lisp-xtr"), "#!/bin/sh\necho nothing to route; exit 7\n");

    let logs = tempfile::tempdir().unwrap();
    let (programs, kept) = (programs.path().to_str().unwrap(), logs.path().to_str().unwrap());
    let mut demo = Demo::start(&["--bin-dir", programs, "--keep-logs", kept]);
    assert_eq!(demo.child.wait().unwrap().code(), Some(1), "{}", demo.said());
    let said = demo.said();
    assert!(said.contains("xA: ended by itself"), "{said}");
    assert!(said.contains("The last lines of xA:\n  nothing to route"), "{said}");
    assert!(said.contains(kept) && logs.path().join("xA.log").is_file(), "{said}");
    demo.assert_gone();
}
