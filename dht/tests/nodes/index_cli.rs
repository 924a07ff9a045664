// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht index`: pages split, signed, put, renewed and withdrawn, and `lisp-dht resolve` through them.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::SystemTime;

use cgeid::{Cn, Identity, Network, container};
use serde_json::Value;

use crate::desk::repeated;

const PASSWORD: &str = "correct horse";

/// A folder with key files, the commands run in it, and a node.
struct Desk {
    folder: tempfile::TempDir,
    node: Option<Running>,
    address: String,
}

/// A process with its output, ended with the test.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// What it tells next. On a machine that others use its node may not be reached in time, and it tries again.
    fn report(&mut self) -> Value {
        let reports = (0..10).map(|_| serde_json::from_str::<Value>(&self.line()).unwrap());
        reports.into_iter().find(|report| report["result"] != "unreachable").unwrap()
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Desk {
    /// A desk with a node at `address`, and an `anchor.op.p12`; and the CN of that.
    fn new(address: &str) -> (Self, Cn) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let mut desk = Self { folder, node: None, address: String::new() };
        desk.key("node.op.p12");
        let node = ["node", "--identity", "node.op.p12", "--listen", address, "--port", "0", "--state-dir", "node"];
        let mut node = desk.start(&[&node[..], &["--password-file", "password"]].concat());
        desk.address = node.line();
        desk.node = Some(node);
        let anchor = desk.key("anchor.op.p12");
        (desk, anchor)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self, name: &str) -> Cn {
        let now = SystemTime::now();
        let key = Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap();
        std::fs::write(
            self.path(name),
            container::save_operational_under(container::Password::Random, &key, PASSWORD).unwrap(),
        )
        .unwrap();
        key.cn()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
        command.current_dir(self.folder.path()).args(arguments).env_remove("CGEID_PASSWORD");
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        repeated(|| self.json_once(arguments))
    }

    fn json_once(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{arguments:?}: {text} {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), value)
    }

    /// `lisp-dht index 2001:db8::/32` as the anchor, with what is given besides.
    fn index<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let index = ["index", "2001:db8::/32", "--identity", "anchor.op.p12", "--password-file", "password"];
        [&index[..], &["--state-dir", "anchor", "--bootstrap", &self.address], more].concat()
    }

    fn resolve(&self, anchors: &[String], eid: &str) -> Value {
        let mut resolve = vec!["resolve", eid, "--bootstrap", &self.address];
        resolve.extend(anchors.iter().flat_map(|anchor| ["--trust-anchor", anchor]));
        self.json(&resolve).1
    }
}

/// A file of `count` sites, every one with a registrar of its own.
fn sites(count: u32) -> String {
    (0..count).fold("# sites\n".to_owned(), |mut text, number| {
        writeln!(text, "2001:db8:{number:x}::/48=ffff0000{:016x}", u64::from(number) + 1).unwrap();
        text
    })
}

fn results(report: &Value, result: &str) -> usize {
    report["pages"].as_array().unwrap().iter().filter(|page| page["result"] == result).count()
}

#[test]
fn a_long_list_is_split_published_and_resolved_through_its_pages() {
    let (desk, anchor) = Desk::new("127.71.1.1");
    std::fs::write(desk.path("sites"), sites(800)).unwrap();
    let publish = desk.index(&["--delegations", "sites"]);
    let (code, planned) = desk.json(&[&publish[..], &["--dry-run"]].concat());
    assert_eq!((code, &planned["result"]), (0, &"dry-run".into()), "{planned}");
    assert!(!desk.path("anchor").exists(), "nothing is published");
    let (code, stored) = desk.json(&publish);
    assert_eq!((code, &stored["result"], &stored["stored"]), (0, &"stored".into(), &1.into()), "{stored}");
    let pages = stored["pages"].as_array().unwrap().len();
    assert!(pages > 3 && results(&stored, "stored") == pages, "{stored}");
    assert_eq!(planned["pages"].as_array().unwrap().len(), pages);

    let trust = [format!("2001:db8::/32={anchor}")];
    let site = desk.resolve(&trust, "2001:db8:31f::1");
    assert_eq!((&site["result"], &site["prefix"]), (&"not-found".into(), &"2001:db8:31f::/48".into()), "{site}");
    let way = site["pages"].as_array().unwrap();
    assert_eq!(
        (way.len(), &way[0]["prefix"], &way[0]["writer"]),
        (2, &"2001:db8::/32".into(), &anchor.to_string().into())
    );
    let hole = desk.resolve(&trust, "2001:db8:400::1");
    assert_eq!((&hole["result"], &hole["prefix"]), (&"hole".into(), &"2001:db8:400::/38".into()), "{hole}");

    // The same once more is no news; a change is put with what points to it; the pages that are not needed stay for a while.
    let (code, again) = desk.json(&publish);
    assert_eq!((code, &again["result"], results(&again, "unchanged")), (0, &"unchanged".into(), pages), "{again}");
    let (code, all) = desk.json(&[&publish[..], &["--renew"]].concat());
    assert_eq!((code, results(&all, "stored")), (0, pages), "{all}");
    std::fs::write(desk.path("sites"), format!("{}2001:db8:31f:1::/64=ffff{:020x}\n", sites(800), 7)).unwrap();
    let (code, changed) = desk.json(&publish);
    assert_eq!((code, results(&changed, "stored"), results(&changed, "unchanged")), (0, 2, pages - 2), "{changed}");
    std::fs::write(desk.path("sites"), sites(3)).unwrap();
    let (code, fewer) = desk.json(&publish);
    assert_eq!((code, results(&fewer, "stored"), fewer["withdrawn"].as_array().unwrap().len()), (0, 1, 0), "{fewer}");
    // Half an hour later: the times of the ledger are as if.
    let state = std::fs::read_dir(desk.path("anchor")).unwrap().map(|entry| entry.unwrap().path());
    let ledger = state.into_iter().find(|path| path.to_string_lossy().ends_with("2001-db8--_32")).unwrap();
    let text = std::fs::read_to_string(&ledger).unwrap();
    let aged = text.lines().map(|line| match line.rsplit_once(' ') {
        Some((head, since)) if line.split(' ').count() == 6 => {
            format!("{head} {}\n", since.parse::<u64>().unwrap() - 1_800_000)
        }
        _ => format!("{line}\n"),
    });
    std::fs::write(&ledger, aged.collect::<String>()).unwrap();
    let (code, gone) = desk.json(&publish);
    assert_eq!((code, gone["withdrawn"].as_array().unwrap().len()), (0, pages - 1), "{gone}");
}

#[test]
fn a_page_that_is_refused_holds_back_what_points_to_it() {
    let (desk, _) = Desk::new("127.72.1.1");
    std::fs::write(desk.path("sites"), sites(800)).unwrap();
    let publish = desk.index(&["--delegations", "sites"]);
    assert_eq!(desk.json(&publish).0, 0);
    // Whoever lost its sequence signs what the node has in a later version.
    let (code, _) = desk.json(&[&publish[..], &["--renew"]].concat());
    assert_eq!(code, 0);
    // A node keeps five changes of a key and one more each ten seconds: the seventh in a row is refused, a later one if each takes seconds.
    let mut report = Value::Null;
    for _ in 0..30 {
        report = desk.json(&[&publish[..], &["--renew"]].concat()).1;
        if report["result"] == "refused" {
            break;
        }
    }
    assert_eq!(report["result"], "refused", "{report}");
    assert!(results(&report, "refused") > 0 && results(&report, "held-back") > 0, "{report}");
    assert_eq!(report["pages"][0]["result"], "held-back", "the first page points to all others: {report}");
    assert!(report["why"].as_str().unwrap().contains("held back"), "{report}");
}

#[test]
fn an_authority_that_goes_on_renews_its_pages_and_reads_its_file_again() {
    let (desk, anchor) = Desk::new("127.73.1.1");
    std::fs::write(desk.path("sites"), sites(2)).unwrap();
    // Far more than a round takes: where each is late, the next one has something to renew, and a file is never told of as unchanged.
    let mut authority = desk.start(&desk.index(&["--delegations", "sites", "--every=15", "--json"]));
    let first = authority.report();
    assert_eq!((&first["result"], &first["pages"][0]["entries"]), (&"stored".into(), &2.into()), "{first}");
    let other = desk.run(&desk.index(&["--delegations", "sites"]));
    assert_eq!(other.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&other.stderr).contains("another `lisp-dht index`"), "{other:?}");
    // A file that is wrong changes nothing. On a busy machine it is time to renew the former pages before it is read.
    std::fs::write(desk.path("sites"), "2001:db8::/48\n").unwrap();
    authority.signal("-HUP");
    let is_former = |report: &Value| report["result"] == "stored" && report["pages"][0]["entries"] == 2;
    let unchanged = (0..10).map(|_| authority.report()).find(|report| !is_former(report)).unwrap();
    assert_eq!(unchanged["result"], "unchanged", "{unchanged}");
    std::fs::write(desk.path("sites"), sites(3)).unwrap();
    authority.signal("-HUP");
    let changed = (0..10).map(|_| authority.report()).find(|report| !is_former(report)).unwrap();
    assert_eq!((&changed["result"], &changed["pages"][0]["entries"]), (&"stored".into(), &3.into()), "{changed}");
    let trust = [format!("2001:db8::/32={anchor}")];
    assert_eq!(desk.resolve(&trust, "2001:db8:2::1")["prefix"], "2001:db8:2::/48");
    let renewed = authority.report();
    assert_eq!(renewed["result"], "stored", "{renewed}");
    assert!(renewed["sequence"].as_u64() > changed["sequence"].as_u64());
    authority.signal("-TERM");
    assert_eq!(authority.child.wait().unwrap().code(), Some(0));
}

#[test]
fn instances_and_several_anchors_are_taken_from_the_command_line() {
    let (desk, anchor) = Desk::new("127.74.1.1");
    let dead = desk.key("dead.op.p12");
    let registrar = "000102030405060708090a0b";
    let site = format!("10.1.0.0/16={registrar}+{anchor}");
    let index = ["index", "10.0.0.0/8", "--iid", "7", "--identity", "anchor.op.p12", "--password-file", "password"];
    let (code, stored) = desk.json(&[&index[..], &["--delegate", &site, "--bootstrap", &desk.address]].concat());
    assert_eq!((code, &stored["eid"]), (0, &"[7]10.0.0.0/8".into()), "{stored}");
    let anchors = [format!("[7]10.0.0.0/8={dead}"), format!("[7]10.0.0.0/8={anchor}")];
    let trust: Vec<&str> = anchors.iter().flat_map(|anchor| ["--trust-anchor", anchor]).collect();
    let resolve = |eid: &str, more: &[&str]| {
        desk.json(&[&["resolve", eid, "--bootstrap", &desk.address], &trust[..], more].concat()).1
    };
    let found = resolve("10.1.2.3", &["--iid", "7"]);
    assert_eq!((&found["prefix"], &found["iid"]), (&"[7]10.1.0.0/16".into(), &7.into()), "{found}");
    assert_eq!(found["pages"][0]["writer"], anchor.to_string(), "{found}");
    let other = resolve("10.1.2.3", &[]);
    assert_eq!(
        (&other["prefix"], &other["why"]),
        (&"0.0.0.0/0".into(), &"no trust anchor covers it".into()),
        "{other}"
    );
}

#[test]
fn a_network_that_is_not_there_is_named_at_once() {
    let (mut desk, _) = Desk::new("127.75.1.1");
    desk.node = None;
    std::fs::write(desk.path("sites"), sites(3000)).unwrap();
    let begun = std::time::Instant::now();
    let (code, report) = desk.json_once(&desk.index(&["--delegations", "sites"]));
    assert_eq!((code, &report["result"]), (1, &"unreachable".into()), "{report}");
    assert_eq!(report["why"], "no node of --bootstrap answers");
    // To wait for somebody for each page would take minutes.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
