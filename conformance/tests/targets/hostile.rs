// SPDX-License-Identifier: GPL-2.0-or-later
//! Whole suites against targets that are silent, answer garbage, flood, or are not there: the run names it and ends in bounded time.

use std::time::Duration;

use crate::fakes::{FAKE, Fake, ROUTER, Run, has_python, is_root};

/// A box of which all is given that the suites of a map system ask for.
fn file(address: &str) -> String {
    format!(
        r#"name = "a box"
claims = ["proxy-reply", "hmac-sha-1", "more-specifics", "xtr-id", "lisp-sec", "pubsub", "ddt"]
[map-system]
address = ["{address}"]
itr-key = [{{ key-id = 9, secret = "one" }}, {{ key-id = 10, secret = "two" }}]
[map-system.subscribers]
count = 32
site-id = 3
key = {{ key-id = 2, algorithm = "hkdf", secret = "of subscribers" }}
[map-system.sites]
count = 80
eid-prefix = "2001:db8:{{number}}::/48"
key = [{{ algorithm = "hmac-sha-1", secret = "secret{{number}}" }}]
[[map-system.site]]
name = "never registered"
eid-prefix = ["2001:db8:f00::/48"]
key = [{{ algorithm = "hmac-sha-1", secret = "never" }}]
[[map-system.site]]
name = "requires lisp-sec"
eid-prefix = ["2001:db8:f01::/48"]
key = [{{ algorithm = "hmac-sha-1", secret = "strict" }}]
"#
    )
}

/// Something failed and says what came, and the run was over in time: `most` is some times what it takes, as a loaded machine is slow.
/// Nothing passed, but by one that floods: its answers come last, and may be heard.
fn is_named(run: &Run, what: &str, told: &[&str], most: Duration) {
    if !what.ends_with("flood") {
        assert_eq!(run.count("pass", ""), 0, "{what}: {}", run.report);
    }
    let named: usize = told.iter().map(|told| run.count("fail", told)).sum();
    assert!(named > 0, "{what}: {}", run.report);
    assert!(run.took < most, "{what}: {:?}", run.took);
}

#[test]
fn every_suite_of_a_map_system_names_one_that_says_nothing_of_use() {
    if !has_python() {
        return;
    }
    let fakes = ["silent", "garbage", "flood"].map(|mode| (mode, Fake::start(&[mode])));
    let boxes = fakes.iter().map(|(mode, fake)| (*mode, fake.address.as_str()));
    // Nobody listens at the port behind the last: an ICMP message says so.
    let boxes: Vec<_> = boxes.chain([("nobody", "127.0.0.1:9")]).collect();
    let told = ["nothing came", "others came", "came Shared", "no answer within", "none came"];
    let judge = |suite: &str, mode: &str, address: &str| {
        let run = Run::of(&file(address), &["--suite", suite]);
        let what = format!("{suite}, {mode}");
        is_named(&run, &what, &told, Duration::from_secs(240));
        // One that floods answers now and then, and is judged by that.
        let is_given_up = run.count("skip", "not judged: the target has never answered") > 0;
        assert!(is_given_up || mode == "flood", "{what}: {}", run.report);
    };
    let (judge, suites) = (&judge, ["lisp", "facade", "lispsec", "pubsub", "ddt"]);
    std::thread::scope(|scope| {
        for (mode, address) in boxes {
            if mode == "flood" {
                // It has work for a processor: one at a time.
                scope.spawn(move || suites.iter().for_each(|suite| judge(suite, mode, address)));
            } else {
                // Of these each run waits for what does not come.
                for suite in suites {
                    scope.spawn(move || judge(suite, mode, address));
                }
            }
        }
    });
}

#[test]
fn a_whole_suite_ends_also_against_one_that_floods_without_being_asked() {
    if !has_python() {
        return;
    }
    let fake = Fake::start(&["storm", "2000"]);
    let run = Run::of(&fake.file(), &["--suite", "lisp"]);
    // It answers, so that it is judged as others are; what comes besides is no answer.
    assert_eq!(run.check("LI-098.1").0, "pass", "{}", run.check("LI-098.1").1);
    assert!(run.report["passed"].as_u64() > Some(3), "{}", run.report);
    assert!(run.count("fail", "expected nothing; from") > 0, "{}", run.report);
    assert!(run.took < Duration::from_secs(500), "{:?}", run.took);
}

/// What starts a script as this role, with these arguments.
fn started(table: &str, more: &str, script: &str, arguments: &str) -> String {
    format!(
        "name = \"a stone\"\nclaims = [\"ddt\"]\n[{table}]\n{more}\n[{table}.start]\ncommand = [\"python3\", \"fake.py\", {arguments}]\n\
         ready = \"ready\"\n[[{table}.start.file]]\nname = \"fake.py\"\ntext = \'\'\'\n{script}\'\'\'\n"
    )
}

#[test]
fn a_ddt_node_that_says_nothing_of_use_is_named() {
    if !is_root() || !has_python() {
        return;
    }
    std::thread::scope(|scope| {
        for mode in ["silent", "garbage", "flood"] {
            scope.spawn(move || {
                let file = started("ddt-node", "", FAKE, &format!("\"{{address}}\", \"4342\", \"{mode}\""));
                let run = Run::of(&file, &["--suite", "ddt"]);
                is_named(&run, mode, &["no answer within", "none came", "came"], Duration::from_secs(240));
                assert!(run.count("skip", "did not get ready") > 10, "{mode}: {}", run.report);
            });
        }
    });
}

/// What is told of one that sends more than is kept.
const FLOOD: &str = "a flood: 100000 packets came";

/// What is told of a tunnel router in this mode: one that packets have to cross, or one that only speaks.
fn told(mode: &str, speaks_only: bool) -> &'static str {
    match (mode, speaks_only) {
        ("flood", _) => FLOOD,
        ("silent", true) => "no Map-Register comes in 30s",
        (_, true) => "no Map-Reply",
        (_, false) => "no packets cross in 30s: out false, in false",
    }
}

#[test]
fn a_tunnel_router_that_is_silent_answers_garbage_or_floods_is_named() {
    if !is_root() || !has_python() {
        return;
    }
    let judge = |mode: &str, suite: &str, speaks_only: bool| {
        let mut table = "key = { algorithm = \"hmac-sha-1\", secret = \"s\" }\n".to_owned();
        if speaks_only {
            table += "data-plane = false\nclaims = [\"ipv6-rloc\"]\n";
        }
        let file = started("tunnel-router", &table, ROUTER, &format!("\"{{map-server}}\", \"{mode}\""));
        let run = Run::of(&file, &["--suite", suite]);
        is_named(&run, &format!("{mode}, {suite}"), &[told(mode, speaks_only)], Duration::from_secs(240));
        assert!(!speaks_only || run.count("skip", "a stone has no data plane") > 10, "{}", run.report);
    };
    let (judge, runs) = (&judge, [("data-plane", false), ("mobility", false), ("mobility", true)]);
    std::thread::scope(|scope| {
        for (suite, speaks_only) in runs {
            for mode in ["silent", "garbage"] {
                scope.spawn(move || judge(mode, suite, speaks_only));
            }
        }
        // It has work for all processors.
        scope.spawn(move || runs.iter().for_each(|(suite, speaks_only)| judge("flood", suite, *speaks_only)));
    });
}

/// Suite `nat` has no role of a target file: what it judges is named by the variable of our own program.
#[test]
fn an_rtr_and_an_xtr_behind_a_nat_that_say_nothing_of_use_are_named() {
    use std::os::unix::fs::PermissionsExt as _;
    if !is_root() || !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let router = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/router.py");
    let judge = |mode: &str| {
        let program = folder.path().join(mode);
        let script =
            format!("#!/bin/sh\n[ \"$1\" = show ] && echo '{{}}' && exit\nexec python3 {router} 203.0.113.53 {mode}\n");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let ids = ["--id", "NAT-05,NAT-06,NAT-07,NAT-08,NAT-09,NAT-10"];
        let run = Run::with(&ids, &[("CONFORMANCE_LISP_XTR", program.to_str().unwrap())]);
        let told = if mode == "flood" { FLOOD } else { "no Map-Register is relayed" };
        is_named(&run, &format!("{mode}, nat"), &[told], Duration::from_secs(240));
        assert_eq!(run.count("fail", ""), run.report["checks"].as_array().unwrap().len(), "{mode}: {}", run.report);
    };
    let judge = &judge;
    std::thread::scope(|scope| {
        for mode in ["silent", "garbage", "flood"] {
            scope.spawn(move || judge(mode));
        }
    });
}
