// SPDX-License-Identifier: GPL-2.0-or-later
//! Labs that stay: brought up, listed, entered, taken down; also in a user namespace, and after their holder was killed.

use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support;

fn interop(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_interop")).args(arguments).env("XDG_RUNTIME_DIR", folder).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// Whether a NAT could not be built for want of a program; says so if that is allowed.
fn lacks_nft(up: &Output) -> bool {
    let lacks = !up.status.success() && Command::new("nft").arg("--version").output().is_err();
    if lacks {
        support::assert_missing_is_allowed("nft");
        println!("SKIP: needs nft");
    }
    lacks
}

/// The addresses that a host has, as the kernel shows them.
const ADDRESSES: [&str; 2] = ["cat", "/proc/net/if_inet6"];

fn comes_and_goes(how: &[&str]) {
    let _beside_others = support::beside_others();
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| interop(folder.path(), arguments);
    let up = run(&[&["up", "two-hosts"], how].concat());
    if support::refused_or_not(up.status.code(), &text(&up)) {
        return;
    }
    assert!(up.status.success(), "{}", text(&up));
    assert!(text(&up).contains("left middle right"), "{}", text(&up));
    assert_eq!(run(&["up", "two-hosts"]).status.code(), Some(2), "up already");
    assert!(text(&run(&["list"])).contains("left middle right"));

    let inside = run(&[&["exec", "right", "--"], &ADDRESSES[..]].concat());
    assert!(text(&inside).contains("20010db8000200000000000000000002"), "{}", text(&inside));
    assert_eq!(run(&["exec", "left", "--", "sh", "-c", "exit 5"]).status.code(), Some(5));
    let unknown = run(&["exec", "nobody", "--", "true"]);
    assert!(unknown.status.code() == Some(2) && text(&unknown).contains("nobody"), "{}", text(&unknown));

    let down = run(&["down", "two-hosts"]);
    assert!(down.status.success(), "{}", text(&down));
    assert_eq!(text(&run(&["list"])), "no lab is up\n");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("ipv6mesh")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(run(&["exec", "left", "--", "true"]).status.code(), Some(2));
    assert_eq!(run(&["down", "two-hosts"]).status.code(), Some(1), "is not up");
}

#[test]
fn a_lab_comes_and_goes() {
    if support::root_or_skip() {
        comes_and_goes(&[]);
    }
}

#[test]
fn a_lab_in_a_user_namespace_comes_and_goes() {
    comes_and_goes(&["--user-namespace"]);
}

/// Whether a process is gone, or only not yet reaped.
fn is_dead(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, fields)| fields.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn a_lab_whose_holder_was_killed_is_forgotten() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    let folder = tempfile::tempdir().unwrap();
    assert!(interop(folder.path(), &["up", "two-hosts"]).status.success());
    let labs: Value = serde_json::from_slice(&interop(folder.path(), &["list", "--json"]).stdout).unwrap();
    let holder = i32::try_from(labs[0]["pid"].as_i64().unwrap()).unwrap();
    let namespace = labs[0]["nodes"]["left"].as_str().unwrap().to_owned();
    assert!(Path::new(&namespace).exists());
    kill(Pid::from_raw(holder), Signal::SIGKILL).unwrap();
    // Its threads, and with them the namespaces, go a moment before it does.
    while Path::new(&namespace).exists() || !is_dead(holder) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(text(&interop(folder.path(), &["list", "--json"])), "[]\n");
    assert!(interop(folder.path(), &["up", "two-hosts"]).status.success(), "it can come again");
    assert!(interop(folder.path(), &["down"]).status.success());
}

#[test]
fn a_border_node_of_the_demo_answers_where_it_is() {
    let _beside_others = support::beside_others();
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| interop(folder.path(), arguments);
    let programs = support::built_programs();
    let up = run(&["up", "demo", "--bin-dir", programs]);
    if support::refused_or_not(up.status.code(), &text(&up)) {
        return;
    }
    let show = Path::new(programs).join("lisp-xtr");
    let shown =
        ["xA", "xS"].map(|host| run(&["exec", host, "--", show.to_str().unwrap(), "show", "registrations", "--json"]));
    let down = run(&["down"]);
    assert!(up.status.success() && down.status.success(), "{}{}", text(&up), text(&down));
    let [xa, xs] = shown.each_ref().map(text);
    assert!(shown.iter().all(|output| output.status.success()), "{xa}{xs}");
    assert!(xs.contains("2001:db8:5::/48") && !xa.contains("2001:db8:5::/48"), "{xa}{xs}");
}

#[test]
fn of_a_lab_one_of_whose_programs_ended_it_is_said_which_and_where_its_last_words_are() {
    let _beside_others = support::beside_others();
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| interop(folder.path(), arguments);
    let up = run(&["up", "two-sites", "--bin-dir", support::built_programs()]);
    if support::refused_or_not(up.status.code(), &text(&up)) {
        return;
    }
    // The namespace of the node is that of its lisp-xtr alone.
    let own = "for p in /proc/[0-9]*; do [ $p/ns/net -ef /proc/self/ns/net ] && grep -q ^lisp-xtr $p/comm && echo ${p#/proc/}; done";
    let found = text(&run(&["exec", "xtr-a", "--", "sh", "-c", own]));
    let listed = found.trim().parse().map(|pid: i32| {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let listed = || {
            std::thread::sleep(std::time::Duration::from_millis(5));
            text(&run(&["list"]))
        };
        // Until it has ended it is up, also while what is left of it is taken down.
        (0..6000).map(|_| listed()).find(|said| !said.starts_with("two-sites (process")).unwrap_or_else(listed)
    });
    let asked = run(&["exec", "xtr-a", "--", "true"]);
    run(&["down"]);
    let gone = text(&run(&["list"]));
    assert!(up.status.success(), "{}", text(&up));
    let listed = listed.unwrap_or_else(|_| panic!("no process of xtr-a: {found:?}"));
    for said in [listed, text(&asked)] {
        assert!(
            said.contains("two-sites has ended") && said.contains("xtr-a") && said.contains("two-sites.log"),
            "{said}"
        );
    }
    assert_eq!((asked.status.code(), gone.as_str()), (Some(2), "no lab is up\n"));
}

#[test]
fn packets_cross_between_two_sites_by_hand() {
    let _beside_others = support::beside_others();
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| interop(folder.path(), arguments);
    let programs = support::built_programs();
    let up = run(&["up", "two-sites", "--bin-dir", programs]);
    if support::refused_or_not(up.status.code(), &text(&up)) {
        return;
    }
    // Nothing listens: that this is heard at once is the answer of the other host's kernel. ping need not be installed.
    let knock = |from: &str, to: &str| {
        let script = format!("LC_ALL=C timeout 60 bash -c ': < /dev/tcp/{to}/9'");
        text(&run(&["exec", from, "--", "sh", "-c", &script]))
    };
    let mut heard = vec![];
    for (from, to) in [("host-a", "2001:db8:b::2"), ("host-b", "198.18.1.2")] {
        heard.push(knock(from, to));
    }
    let show = Path::new(programs).join("lisp-xtr");
    let shown = run(&["exec", "xtr-a", "--", show.to_str().unwrap(), "show", "map-cache"]);
    let down = run(&["down"]);
    assert!(up.status.success() && down.status.success(), "{}{}", text(&up), text(&down));
    assert!(text(&up).contains("ping -c 3 2001:db8:b::2"), "{}", text(&up));
    assert!(heard.iter().all(|said| said.contains("Connection refused")), "{heard:?}");
    assert!(text(&shown).contains("2001:db8:b::/48"), "{}", text(&shown));
}

#[test]
fn a_host_without_lisp_is_reached_by_hand_both_ways() {
    let _beside_others = support::beside_others();
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| interop(folder.path(), arguments);
    let programs = support::built_programs();
    let up = run(&["up", "legacy", "--bin-dir", programs]);
    if support::refused_or_not(up.status.code(), &text(&up)) {
        return;
    }
    let knock = |from: &str, to: &str| {
        let script = format!("LC_ALL=C timeout 60 bash -c ': < /dev/tcp/{to}/9'");
        text(&run(&["exec", from, "--", "sh", "-c", &script]))
    };
    let heard: Vec<_> =
        [("legacy", "2001:db8:a::2"), ("host-a", "203.0.113.130")].map(|(from, to)| knock(from, to)).into();
    let program = Path::new(programs).join("lisp-xtr");
    let ask =
        |node: &str, verb: &[&str]| text(&run(&[&["exec", node, "--", program.to_str().unwrap()], verb].concat()));
    let cached = ask("xtr-a", &["show", "map-cache"]);
    let way = ask("xtr-a", &["trace", "203.0.113.130"]);
    let led = ask("proxy", &["show", "locators"]);
    let down = run(&["down"]);
    assert!(up.status.success() && down.status.success(), "{}{}", text(&up), text(&down));
    assert!(text(&up).contains("ping -c 3 2001:db8:a::2"), "{}", text(&up));
    assert!(heard.iter().all(|said| said.contains("Connection refused")), "{heard:?}");
    assert!(cached.contains("use-petr") && cached.contains("198.51.100.2,priority=1"), "{cached}");
    assert!(way.contains("to 198.51.100.2, a PETR"), "{way}");
    assert!(led.contains("PITR for: 198.18.0.0/15 2001:db8:a::/48"), "{led}");
}

#[test]
fn a_site_behind_a_nat_is_reached_by_hand_and_its_rtr_tells_the_way() {
    let _beside_others = support::beside_others();
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| interop(folder.path(), arguments);
    let programs = support::built_programs();
    let up = run(&["up", "nat", "--bin-dir", programs]);
    if support::refused_or_not(up.status.code(), &text(&up)) || lacks_nft(&up) {
        return;
    }
    let ends = [("host-a", "2001:db8:a::2"), ("host-b", "2001:db8:b::2")];
    let knock = |from: &str, to: &str| {
        let script = format!("LC_ALL=C timeout 60 bash -c ': < /dev/tcp/{to}/9'");
        text(&run(&["exec", from, "--", "sh", "-c", &script]))
    };
    let program = Path::new(programs).join("lisp-xtr");
    let trace = |from: &str, to: &str| {
        let arguments = ["exec", "rtr", "--", program.to_str().unwrap(), "trace", to, "--from", from, "--json"];
        serde_json::from_slice(&run(&arguments).stdout).unwrap_or(Value::Null)
    };
    let [(near, near_address), (far, far_address)] = ends;
    let heard = [knock(far, near_address), knock(near, far_address)];
    let ways: [Value; 2] = [trace(far_address, near_address), trace(near_address, far_address)];
    let down = run(&["down"]);
    assert!(up.status.success() && down.status.success(), "{}{}", text(&up), text(&down));
    assert!(heard.iter().all(|said| said.contains("Connection refused")), "{heard:?}");
    let locators = ways.each_ref().map(|way| way["trace"]["outer"]["destination"].as_str().unwrap_or_default());
    assert_eq!(locators, ["192.0.2.2", "198.51.100.2"], "the NAT, and the other xTR: {ways:?}");
}

#[test]
fn a_site_with_two_providers_is_reached_by_hand_by_the_one_that_is_left() {
    let _beside_others = support::beside_others();
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| interop(folder.path(), arguments);
    let programs = support::built_programs();
    let up = run(&["up", "two-providers", "--bin-dir", programs]);
    if support::refused_or_not(up.status.code(), &text(&up)) {
        return;
    }
    let knock = |from: &str, to: &str| {
        let script = format!("LC_ALL=C timeout 60 bash -c ': < /dev/tcp/{to}/9'");
        text(&run(&["exec", from, "--", "sh", "-c", &script]))
    };
    let mut heard = vec![knock("host-a", "2001:db8:b::2"), knock("host-b", "2001:db8:a::2")];
    let cut = run(&["exec", "isp-1", "--", "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]);
    heard.push(knock("host-b", "2001:db8:a::2"));
    let down = run(&["down"]);
    assert!(up.status.success() && down.status.success(), "{}{}", text(&up), text(&down));
    assert!(cut.status.success(), "{}", text(&cut));
    assert!(heard.iter().all(|said| said.contains("Connection refused")), "{heard:?}");
}

#[test]
fn a_record_that_others_could_have_written_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("ipv6mesh");
    std::fs::create_dir(&records).unwrap();
    std::fs::set_permissions(&records, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let list = interop(folder.path(), &["list"]);
    assert!(!list.status.success() && text(&list).contains("ipv6mesh"), "{}", text(&list));
}
