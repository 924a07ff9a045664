// SPDX-License-Identifier: GPL-2.0-or-later
//! The suites of identities and of the DHT against programs of others: our own, of which a target file tells the commands or the
//! address alone, and some that lie, are silent or are not there.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Program, closing_line, text};
use crate::processors;

static ISSUER: Program = Program::new("cgeid", &["cgeid", "program"]);
static NODE: Program = Program::new("lisp-dht", &["dht", "cgeid", "wire", "program"]);

/// Our own programs, as their target file starts those of others.
const EXAMPLE: &str = include_str!("../../targets/example.toml");

/// An issuer of a shell and openssl, which names a new Ed25519 key by what this command writes of its SHA-512 in hexadecimal.
fn shell(name: &str) -> String {
    format!(
        r#"name = "a script"
claims = []
[cgeid-issuer]
make-ed25519 = ["sh", "-c", '''
openssl genpkey -algorithm ed25519 -out "$0" &&
cn=$(openssl pkey -in "$0" -pubout -outform DER | openssl dgst -sha512 -r | {name}) &&
openssl req -x509 -new -key "$0" -utf8 -subj "/CN=$cn" -days 30 -out "$1"
''', "{{key}}", "{{certificate}}"]
"#
    )
}

/// A run against a target file, and how long it took.
struct Run {
    output: Output,
    checks: Vec<Value>,
    took: Duration,
}

impl Run {
    fn of(program: &Program, file: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target.toml");
        std::fs::write(&path, file).unwrap();
        // It is built before the time is taken.
        program.conformance(&["list"], &[]);
        let named = ["cgeid", "lisp-dht"].map(|name| built(name).display().to_string());
        let variables = [("CONFORMANCE_CGEID", named[0].as_str()), ("CONFORMANCE_LISP_DHT", named[1].as_str())];
        let begun = Instant::now();
        let run = ["run", "--json", "--target", path.to_str().unwrap()];
        let output = program.conformance(&[&run[..], arguments].concat(), &variables);
        let took = begun.elapsed();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Self { checks: report["checks"].as_array().cloned().unwrap_or_default(), output, took }
    }

    /// Result and evidence of a check.
    fn check(&self, id: &str) -> (&str, &str) {
        let check = self.checks.iter().find(|check| check["id"] == id).unwrap();
        (check["result"].as_str().unwrap(), check["evidence"].as_str().unwrap())
    }

    fn came_out(&self, result: &str) -> Vec<String> {
        let told = |check: &&Value| format!("{}: {}", check["id"], check["evidence"].as_str().unwrap_or_default());
        self.checks.iter().filter(|check| check["result"] == result).map(|check| told(&check)).collect()
    }

    /// None fails, exactly so many pass, and the others are skipped for these reasons.
    fn holds(&self, passed: usize, known: &[&str]) {
        assert!(self.came_out("fail").is_empty(), "{:#?}", self.came_out("fail"));
        let is_known = |line: &String| known.iter().any(|why| line.contains(why));
        assert!(self.came_out("skip").iter().all(is_known), "{:#?}", self.came_out("skip"));
        assert_eq!(self.came_out("pass").len(), passed, "{:#?}", self.came_out("skip"));
    }

    fn fails(&self, id: &str, why: &str) {
        let (result, evidence) = self.check(id);
        assert!(result == "fail" && evidence.contains(why), "{id} {result}: {evidence}");
    }

    fn skips(&self, id: &str, why: &str) {
        let (result, evidence) = self.check(id);
        assert!(result == "skip" && evidence.contains(why), "{id} {result}: {evidence}");
    }
}

fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name(name)
}

fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI has openssl");
        eprintln!("SKIP: openssl is needed");
    }
    found
}

const OF_OURS: [&str; 3] =
    ["libraries of this implementation", "a library or a verb of this implementation", "gives no `make-rsa`"];

#[test]
fn our_own_issuer_holds_as_that_of_others() {
    if !has_openssl() {
        return;
    }
    let _alone = processors();
    let run = Run::of(&ISSUER, EXAMPLE, &["--suite", "cgeid"]);
    // All that can be put to commands, but for an RSA key.
    run.holds(45, &OF_OURS);
    run.skips("ID-016.1", "libraries of this implementation");
    run.skips("ID-014.1", "a library or a verb");
    run.skips("ID-001.4", "gives no `make-rsa`");
}

#[test]
fn an_issuer_that_names_its_key_wrongly_is_seen() {
    if !has_openssl() {
        return;
    }
    let ids = ["--id", "ID-001.5,ID-005.1,ID-005.6,ID-012.1,ID-013.1"];
    let run = Run::of(&ISSUER, &shell("cut -c1-24"), &ids);
    run.holds(2, &["gives no `verify`", "gives no `open`", "with {container}"]);
    let run = Run::of(&ISSUER, &shell("cut -c2-25"), &ids);
    run.fails("ID-001.5", "from its key; came: subject=CN=");
    let file = shell("cut -c1-24").replace("-new -key \"$0\"", "-newkey ed25519 -nodes -keyout other");
    Run::of(&ISSUER, &file, &ids).fails("ID-001.5", "it is another key's");
    let run = Run::of(&ISSUER, &shell("false"), &ids);
    run.fails("ID-001.5", "expected: an identity");
}

/// A verifier that is this command.
fn verifier(command: &str) -> String {
    format!("name = \"a verifier\"\nclaims = []\n[cgeid-issuer]\nverify = [{command}, \"{{certificate}}\"]\n")
}

#[test]
fn a_verifier_that_takes_or_refuses_everything_is_seen() {
    let ids = ["--id", "ID-004.1,ID-005.2,ID-005.4,ID-006.2"];
    let run = Run::of(&ISSUER, &verifier("\"echo\""), &ids);
    run.fails("ID-004.1", "expected: refused; it was taken");
    run.fails("ID-005.4", "expected: refused; it was taken");
    run.fails("ID-005.2", "it ended with 0 and printed");
    run.skips("ID-006.2", "`verify` with {prefix}");
    let run = Run::of(&ISSUER, &verifier("\"false\""), &ids);
    run.fails("ID-005.2", "expected: taken as");
    run.skips("ID-004.1", "it refuses this, and also what is right");
    assert_eq!(run.came_out("pass"), Vec::<String>::new());
    let run = Run::of(&ISSUER, &verifier("\"sh\", \"-c\", \"kill -9 $$\""), &ids);
    run.fails("ID-004.1", "signal");
}

#[test]
fn a_verifier_that_hangs_or_is_not_there_is_named_in_bounded_time() {
    let ids = ["--id", "ID-004,ID-005"];
    let run = Run::of(&ISSUER, &verifier("\"sh\", \"-c\", \"exec sleep 600\""), &ids);
    run.fails("ID-004.1", "not over after 20 s");
    run.fails("ID-005.1", "not waited for again");
    assert!(run.took < Duration::from_secs(180), "{:?}", run.took);
    let run = Run::of(&ISSUER, &verifier("\"{program:NOT_SET_ANYWHERE}\""), &["--id", "ID-004.1"]);
    assert!(run.check("ID-004.1").1.contains("NOT_SET_ANYWHERE is not set"), "{:?}", run.check("ID-004.1"));
}

#[test]
fn explain_says_what_is_put_to_others() {
    let explained = |id: &str| text(&ISSUER.conformance(&["explain", id], &[]).stdout);
    assert!(explained("ID-005.4").contains("[cgeid-issuer]: put to its `verify`"));
    assert!(!explained("ID-014.1").contains("[cgeid-issuer]"));
    assert!(explained("DH-05.1").contains("[dht-node]: skipped, the draft asks that marks and revocations outlive"));
    assert!(explained("DH-05.2").contains("of a target with [dht-node.start] alone"));
}

#[test]
fn a_wrong_table_is_refused_with_its_line() {
    for (file, named) in [
        (verifier("\"echo\"").replace("{certificate}", "{cert}"), "target.toml:4: {cert} is no placeholder here"),
        (verifier("\"echo\"").replace("verify", "check"), "target.toml:4: "),
        (
            "name = \"x\"\nclaims = []\n[dht-node]\naddress = \"127.0.0.1:9\"\n".to_owned(),
            "target.toml:4: dht-node.address",
        ),
    ] {
        let run = Run::of(&ISSUER, &file, &[]);
        let told = text(&run.output.stderr);
        assert!(run.output.status.code() == Some(2) && told.contains(named), "{told}");
    }
}

/// A node that nobody of the suites has started; it ends when this is dropped.
struct Running {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// With these flags more.
    fn start(more: &[&str]) -> Self {
        ISSUER.conformance(&["list"], &[]);
        NODE.conformance(&["list"], &[]);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "of nobody\n").unwrap();
        std::fs::write(folder.path().join("network"), (0..32).map(|octet| format!("{octet:02x}")).collect::<String>())
            .unwrap();
        let mut make = Command::new(built("cgeid"));
        make.stdout(Stdio::null()).args([
            "new",
            "--algorithm",
            "ed25519",
            "--out",
            "keys",
            "--password-file",
            "password",
        ]);
        assert!(make.current_dir(folder.path()).status().unwrap().success());
        let mut keys = std::fs::read_dir(folder.path().join("keys")).unwrap().map(|entry| entry.unwrap().path());
        let key = keys.find(|path| path.to_str().unwrap().ends_with(".op.p12")).unwrap();
        let mut command = Command::new(built("lisp-dht"));
        command.args(["node", "--identity", key.to_str().unwrap(), "--password-file", "password", "--port", "0"]);
        command.args(["--listen", "127.1.252.1", "--state-dir", "state", "--discovery", "off"]).args(more);
        command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned(), _folder: folder }
    }
}

fn at(address: &str) -> String {
    format!("name = \"a node\"\nclaims = []\n[dht-node]\naddress = \"{address}\"\n")
}

/// Why checks of nodes are not made of others.
const OF_OUR_NODES: [&str; 7] = [
    "our client",
    "several nodes",
    "figures of lisp-dht",
    "and not that records do",
    "not what starts it",
    "settings of the suite",
    "this implementation's own nodes",
];

#[test]
fn our_own_node_holds_where_only_its_address_is_known_and_where_a_file_starts_it() {
    let _alone = processors();
    let running = Running::start(&[]);
    let run = Run::of(&NODE, &at(&running.address), &["--suite", "dht"]);
    run.holds(20, &OF_OUR_NODES);
    let run = Run::of(&NODE, EXAMPLE, &["--suite", "adversary"]);
    run.holds(30, &OF_OUR_NODES);
    run.skips("AD-03.1", "own nodes");
}

#[test]
fn a_node_that_forgets_what_it_has_seen_when_it_is_started_again_is_seen() {
    let _alone = processors();
    let run = Run::of(&NODE, EXAMPLE, &["--id", "DH-05"]);
    run.holds(3, &OF_OUR_NODES);
    // It begins with an empty folder each time; and a shell, which ends with its group, waits for it.
    let forgets = EXAMPLE.replace(r#"exec "$0" "$@""#, r#"rm -rf state; "$0" "$@"; exit"#);
    assert_ne!(forgets, EXAMPLE);
    let run = Run::of(&NODE, &forgets, &["--id", "DH-05"]);
    for id in ["DH-05.2", "DH-05.3", "DH-05.4"] {
        run.fails(id, "expected: refused");
    }
}

#[test]
fn a_node_that_takes_nothing_fails_and_its_refusals_of_what_is_wrong_are_no_merit() {
    let _alone = processors();
    let closed = Running::start(&["--network-key", "network"]);
    let run = Run::of(&NODE, &at(&closed.address), &["--id", "DH-01.1,DH-02.2,AD-01.01,AD-02.2"]);
    run.fails("DH-01.1", "expected: stored");
    run.fails("DH-02.2", "expected: stored");
    run.fails("AD-02.2", "expected: stored");
    run.skips("AD-01.01", "it does not take what is right");
    assert!(run.took < Duration::from_secs(360), "{:?}", run.took);
}

#[test]
fn a_port_where_nobody_is_is_named_and_not_waited_for_again() {
    let nobody = "/ip4/127.1.252.2/udp/4999/quic-v1/p2p/12D3KooWHCJbJKGDfCgHSoCuK9q4STyveVveDLLvEpXrDHcXU3Wu";
    let run = Run::of(&NODE, &at(nobody), &[]);
    run.fails("DH-01.1", "nobody answers at /ip4/127.1.252.2");
    run.skips("DH-02.1", "not judged: the target has never answered");
    run.fails("AD-01.01", "nobody answers");
    assert_eq!(run.came_out("fail").len(), 2, "{:#?}", run.came_out("fail"));
    assert!(run.took < Duration::from_secs(180), "{:?}", run.took);
}

#[test]
fn a_command_that_starts_no_node_is_named() {
    let file = "name = \"a node\"\nclaims = []\n[dht-node.start]\ncommand = [\"echo\", \"no address\"]\n";
    let run = Run::of(&NODE, file, &["--suite", "dht"]);
    run.fails("DH-01.1", "the node does not start");
    run.skips("DH-01.2", "not judged: the target did not start");
    let passed = closing_line(&run.output);
    assert!(run.output.status.code() == Some(1) && run.came_out("pass").is_empty(), "{passed}");
}
