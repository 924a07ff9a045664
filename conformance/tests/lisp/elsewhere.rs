// SPDX-License-Identifier: GPL-2.0-or-later
//! Suites of map systems against one of which only an address is known: our own program, which this test starts, and whose target file
//! says where it is, and which secrets it was given.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::{Program, text};

static PROGRAM: Program = Program::new("lisp-mapsys", &["mapsys", "dht", "cgeid", "wire", "program"]);

/// Numbered sites: those of suite `lisp`, of which each check has one.
const SITES: u16 = 80;
const SUBSCRIBERS: u8 = 32;

/// A map system that nobody of the suites has started; it ends when this is dropped.
struct Running {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// At an address of its own, with the sites, ITRs and subscribers that [`file`] tells of.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 128 | high & 0x3f, low, 251);
        std::fs::write(folder.path().join("mapsys.toml"), configuration()).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name("lisp-mapsys");
        let mut command = Command::new(program);
        command.args(["--listen", &format!("{ip}:0"), "--dht-listen", &ip.to_string(), "--dht-port", "0"]);
        command.args(["--config", "mapsys.toml", "--state-dir", "state"]).current_dir(folder.path());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut address = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            address = line.strip_prefix("listening ").map(|at| at.parse().unwrap()).or(address);
            if line == "ready" {
                break;
            }
        }
        let address = address.unwrap_or_else(|| panic!("{}", log_of(folder.path())));
        Self { child, address, folder }
    }

    /// Runs a suite against the address, and hands out its checks.
    fn judged(&self, file: &str, suite: &str) -> Vec<Value> {
        self.judged_by(file, &["--suite", suite])
    }

    /// The same of what these arguments choose.
    fn judged_by(&self, file: &str, arguments: &[&str]) -> Vec<Value> {
        let path = self.folder.path().join("target.toml");
        std::fs::write(&path, file).unwrap();
        let run = ["run", "--json", "--target", path.to_str().unwrap()];
        let output = PROGRAM.conformance(&[&run[..], arguments].concat(), &[]);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        report["checks"].as_array().unwrap().clone()
    }
}

fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// What the operator of the map system has told it.
fn configuration() -> String {
    let mut text = String::from(
        r#"
[[site]]
name = "never"
eid-prefix = ["2001:db8:f00::/48"]
key = [{ key-id = 1, secret = "never" }]
[[site]]
name = "strict"
eid-prefix = ["2001:db8:f01::/48"]
lisp-sec = "required"
key = [{ key-id = 1, secret = "strict" }]
[[site]]
name = "vectors"
eid-prefix = ["10.2.2.0/24"]
notify-port = "source"
key = [{ key-id = 1, secret = "lisp-test-psk-01" }]
[[lisp-sec]]
name = "itrs"
peers = ["127.0.0.0/8"]
key = [{ key-id = 9, secret = "of ITRs" }, { key-id = 10, secret = "of ITRs too" }, { key-id = 1, secret = "itr-mr-psk-00001" }]
[[subscriber]]
name = "limited"
xtr-id = "c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8"
site-id = 3
notify-port = "source"
key = { key-id = 2, secret = "of subscribers" }
rloc = ["127.0.0.0/8"]
eid-prefix = ["2001:db8:f00::/48"]
[[subscriber]]
name = "elsewhere"
xtr-id = "c9c9c9c9c9c9c9c9c9c9c9c9c9c9c9c9"
site-id = 3
notify-port = "source"
key = { key-id = 2, secret = "of subscribers" }
rloc = ["192.0.2.0/24"]
"#,
    );
    for number in 1..=SITES {
        write!(
            text,
            "[[site]]\nname = \"{number}\"\neid-prefix = [\"2001:db8:{number:x}::/48\"]\naccept-more-specifics = 64\n\
             lisp-sec = \"optional\"\nkey = [{{ key-id = 7, secret = \"secret {number}\" }}]\n"
        )
        .unwrap();
    }
    for number in 1..=SUBSCRIBERS {
        write!(
            text,
            "[[subscriber]]\nname = \"x{number}\"\nxtr-id = \"{}\"\nsite-id = 3\nnotify-port = \"source\"\n\
             key = {{ key-id = 2, secret = \"of subscribers\" }}\nrloc = [\"127.0.0.0/8\"]\n",
            format!("{number:02x}").repeat(16)
        )
        .unwrap();
    }
    text
}

/// The target file: the address, and nothing that starts anything. `given` stands in `[map-system]`.
fn file(address: SocketAddr, given: &str) -> String {
    format!(
        r#"name = "a box"
claims = ["proxy-reply", "hmac-sha-256", "more-specifics", "merge", "xtr-id", "lisp-sec", "pubsub", "ddt"]
[map-system]
address = ["{address}"]
{given}
[map-system.sites]
count = {SITES}
eid-prefix = "2001:db8:{{number}}::/48"
key = [{{ key-id = 7, algorithm = "hmac-sha-256", secret = "secret {{number}}" }}]
[[map-system.site]]
name = "never registered"
eid-prefix = ["2001:db8:f00::/48"]
key = [{{ key-id = 1, algorithm = "hmac-sha-256", secret = "never" }}]
[[map-system.site]]
name = "requires lisp-sec"
eid-prefix = ["2001:db8:f01::/48"]
key = [{{ key-id = 1, algorithm = "hmac-sha-256", secret = "strict" }}]
[[map-system.site]]
name = "vectors"
eid-prefix = ["10.2.2.0/24"]
key = [{{ key-id = 1, algorithm = "hmac-sha-256", secret = "lisp-test-psk-01" }}]
"#
    )
}

const GIVEN: &str = r#"itr-key = [{ key-id = 9, secret = "of ITRs" }, { key-id = 10, secret = "of ITRs too" }, { key-id = 1, secret = "itr-mr-psk-00001" }]
[map-system.subscribers]
count = 32
site-id = 3
key = { key-id = 2, algorithm = "hkdf", secret = "of subscribers" }
limits = true"#;

/// None fails, so many pass, and the others are skipped for these reasons.
fn holds(checks: &[Value], least: usize, known: &[&str]) {
    let of = |result: &str| checks.iter().filter(|check| check["result"] == result).collect::<Vec<_>>();
    let told = |check: &&Value| format!("{}: {}", check["id"], check["came"].as_str().unwrap_or_default());
    assert!(of("fail").is_empty(), "{:#?}", of("fail").iter().map(told).collect::<Vec<_>>());
    let skipped: Vec<_> = of("skip").iter().map(told).collect();
    let is_known = |line: &String| known.iter().any(|why| line.contains(why));
    assert!(skipped.iter().all(is_known), "{skipped:#?}");
    assert!(of("pass").len() >= least, "{} passed; {skipped:#?}", of("pass").len());
}

#[test]
fn lisp_sec_and_ddt_hold_where_only_an_address_is_known() {
    let running = Running::start();
    let file = file(running.address, GIVEN);
    let lisp_sec = || holds(&running.judged(&file, "lispsec"), 32, &["lisp-mapsys", "`protected-path`"]);
    lisp_sec();
    holds(&running.judged(&file, "ddt"), 6, &["has no [ddt-node]", "has no [ddt-map-resolver]"]);
    // What another suite has left there, and nonces of the first time, are in nobody's way.
    lisp_sec();
}

#[test]
fn subscriptions_hold_where_only_an_address_is_known_and_another_time() {
    let running = Running::start();
    let file = file(running.address, GIVEN);
    // Subscriptions and registrations of the first time are there still.
    for _ in 0..2 {
        holds(&running.judged(&file, "pubsub"), 27, &["lisp-mapsys"]);
    }
    holds(&running.judged(&file, "lispsec"), 32, &["lisp-mapsys", "`protected-path`"]);
}

#[test]
fn what_its_file_does_not_give_is_skipped_and_named_and_the_rest_is_judged() {
    let running = Running::start();
    let file = file(running.address, "");
    let checks = running.judged(&file, "lispsec");
    holds(&checks, 2, &["gives no `itr-key`", "gives no second", "`protected-path`", "lisp-mapsys"]);
    let checks = running.judged(&file, "pubsub");
    holds(&checks, 0, &["gives no [map-system.subscribers]", "`limits` in [map-system.subscribers]", "lisp-mapsys"]);
}

#[test]
fn another_secret_than_the_targets_is_seen() {
    let running = Running::start();
    let wrong = GIVEN.replacen("of ITRs", "of nobody", 1).replacen("of subscribers", "of nobody", 1);
    // One check of each suite says it: with a wrong secret nothing is answered, and each of the others waits for that in vain.
    let results = |file: &str| -> Vec<Value> {
        let checks = running.judged_by(file, &["--id", "LS-01.1,PS-01.03"]);
        checks.iter().map(|check| check["result"].clone()).collect()
    };
    assert_eq!(results(&file(running.address, GIVEN)), ["pass", "pass"]);
    assert_eq!(results(&file(running.address, &wrong)), ["fail", "fail"]);
}
