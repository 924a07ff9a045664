// SPDX-License-Identifier: GPL-2.0-or-later
//! The program: daemons on loopback, and the commands that ask them.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, OperationalKey, Reason, Revocation, container};
use serde_json::Value;

const PASSWORD: &str = "correct horse";

/// A folder with key files, and the commands run in it.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an identity and writes its operational key to `name`.
    fn key(&self, name: &str) -> OperationalKey {
        let now = SystemTime::now();
        let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
        let key = identity.delegate(now, 0).unwrap();
        std::fs::write(self.path(name), container::save_operational(&key, PASSWORD).unwrap()).unwrap();
        key
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
        command.current_dir(self.folder.path()).args(arguments).env_remove("CGEID_PASSWORD");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command with `--json` and returns its exit code and what it printed.
    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{arguments:?}: {text} {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), value)
    }

    /// Starts a daemon with a fresh key.
    fn node(&self, name: &str, address: &str, bootstrap: &[&str]) -> Daemon {
        self.key(&format!("{name}.op.p12"));
        self.start(name, address, bootstrap)
    }

    /// Starts a daemon that ran before.
    fn again(&self, name: &str, address: &str) -> Daemon {
        self.start(name, address, &[])
    }

    fn start(&self, name: &str, address: &str, bootstrap: &[&str]) -> Daemon {
        let key = format!("{name}.op.p12");
        let state = format!("{name}.state");
        let mut arguments = vec!["node", "--identity", &key, "--password-file", "password", "--listen", address];
        arguments.extend(["--port", "0", "--state-dir", &state]);
        arguments.extend(bootstrap.iter().flat_map(|address| ["--bootstrap", *address]));
        let mut child = self.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("/ip4/127."), "{line}");
        Daemon { child, address: line.trim().to_owned(), state }
    }
}

struct Daemon {
    child: Child,
    address: String,
    state: String,
}

impl Daemon {
    fn terminate(&mut self) -> Option<i32> {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_peers(desk: &Desk, daemon: &Daemon, peers: usize) {
    let begun = Instant::now();
    loop {
        let (_, stats) = desk.json(&["stats", "--state-dir", &daemon.state]);
        if stats["peers"].as_array().unwrap().len() == peers {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{stats}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const SIGNED: [&str; 2] = ["--password-file", "password"];

#[test]
fn a_mapping_is_put_found_verified_and_survives_the_bootstrap_node() {
    let desk = Desk::new();
    let mut first = desk.node("first", "127.31.1.1", &[]);
    let second = desk.node("second", "127.31.2.1", &[&first.address]);
    let third = desk.node("third", "127.31.3.1", &[&first.address]);
    for daemon in [&first, &second, &third] {
        wait_for_peers(&desk, daemon, 2);
    }
    let owner = desk.key("owner.op.p12");
    let eid = owner.address().to_string();
    let put = |rloc: &str, bootstrap: &str| {
        let put = ["put", "--identity", "owner.op.p12", "--rloc", rloc, "--bootstrap", bootstrap];
        desk.json(&[&put[..], &SIGNED].concat())
    };
    let (code, stored) = put("192.0.2.1,priority=2,weight=50", &first.address);
    assert_eq!((code, &stored["stored"], &stored["result"]), (0, &3.into(), &"stored".into()), "{stored}");

    let (code, found) = desk.json(&["get", &eid, "--verify", "--bootstrap", &third.address]);
    assert_eq!((code, &found["result"], &found["verified"]), (0, &"mapping".into(), &true.into()), "{found}");
    let number = |name: &str| found[name].as_u64().unwrap();
    assert_eq!((number("lookups"), number("rounds")), (1, 1), "{found}");
    assert!(number("requests") >= 1 && number("first_us") <= number("elapsed_us"), "{found}");
    let locator = &found["record"]["sections"][1]["body"]["locators"][0];
    assert_eq!(
        (&locator["address"], &locator["priority"], &locator["weight"]),
        (&"192.0.2.1".into(), &2.into(), &50.into())
    );

    // Killed, not stopped: its peers find out by silence.
    first.child.kill().unwrap();
    let begun = Instant::now();
    let (code, stored) = put("192.0.2.2", &second.address);
    assert_eq!(code, 0, "{stored}");
    println!("put after the kill: {stored} in {:?}", begun.elapsed());
    let (code, found) = desk.json(&["resolve", &eid, "--bootstrap", &third.address]);
    println!("resolve after the kill: {found}");
    assert_eq!((code, &found["result"]), (0, &"mapping".into()), "{found}");
    assert_eq!(found["record"]["sections"][1]["body"]["locators"][0]["address"], "192.0.2.2");
    wait_for_peers(&desk, &second, 1);

    let (code, gone) = desk.json(
        &[&["put", "--withdraw", "--identity", "owner.op.p12", "--bootstrap", &second.address][..], &SIGNED].concat(),
    );
    assert_eq!(code, 0, "{gone}");
    let (code, found) = desk.json(&["get", &eid, "--verify", "--bootstrap", &third.address]);
    assert_eq!((code, &found["result"]), (1, &"not-found".into()), "{found}");
}

#[test]
fn a_revocation_is_put_by_whoever_has_the_file_and_ends_the_address() {
    let desk = Desk::new();
    let mut first = desk.node("first", "127.41.1.1", &[]);
    let second = desk.node("second", "127.41.2.1", &[&first.address]);
    for daemon in [&first, &second] {
        wait_for_peers(&desk, daemon, 1);
    }
    let now = SystemTime::now();
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    let key = container::save_operational(&identity.delegate(now, 0).unwrap(), PASSWORD).unwrap();
    std::fs::write(desk.path("owner.op.p12"), key).unwrap();
    let statement = Revocation::issue(&identity, Reason::KEY_COMPROMISE, now).unwrap();
    std::fs::write(desk.path("owner.revoke"), format!("Keep it safe.\n{}", statement.to_pem().unwrap())).unwrap();
    std::fs::write(desk.path("raw.revoke"), statement.encode()).unwrap();
    let eid = identity.address().to_string();
    let bootstrap = ["--bootstrap", &second.address];
    let map = [&["put", "--identity", "owner.op.p12", "--rloc", "192.0.2.1"], &SIGNED[..], &bootstrap].concat();
    assert_eq!(desk.json(&map).0, 0);

    // Nothing goes out of a file that does not hold, nor without a word of whoever asks for it.
    let revoke = |file| [&["put", "--revocation", file], &bootstrap[..]].concat();
    let mut forged = statement.encode();
    *forged.last_mut().unwrap() ^= 1;
    std::fs::write(desk.path("forged.revoke"), forged).unwrap();
    refused(&desk, &[&revoke("forged.revoke")[..], &["--yes"]].concat(), "forged.revoke");
    refused(&desk, &[&revoke("owner.op.p12")[..], &["--yes"]].concat(), "owner.op.p12");
    refused(&desk, &[&revoke("missing.revoke")[..], &["--yes"]].concat(), "missing.revoke");
    refused(&desk, &[&revoke("owner.revoke")[..], &["--yes", "--withdraw"]].concat(), "--withdraw");
    refused(&desk, &[&revoke("owner.revoke")[..], &["--yes", "--prefix", "2001:db8::/32"]].concat(), "owner.revoke");
    let unasked = desk.command(&revoke("owner.revoke")).stdin(Stdio::null()).output().unwrap();
    assert_eq!(unasked.status.code(), Some(2));
    let said = String::from_utf8_lossy(&unasked.stderr).into_owned();
    assert!(said.contains("cannot be taken back") && said.contains("--yes is missing"), "{said}");
    assert_eq!(desk.json(&[&["get", &eid, "--verify"], &bootstrap[..]].concat()).1["result"], "mapping");

    let (code, stored) = desk.json(&[&revoke("owner.revoke")[..], &["--yes"]].concat());
    assert_eq!((code, &stored["result"], &stored["stored"]), (0, &"stored".into(), &2.into()), "{stored}");
    assert_eq!(stored["eid"], eid.as_str());
    // Again, by somebody else, in the other encoding: that is how it is kept.
    assert_eq!(desk.json(&[&revoke("raw.revoke")[..], &["--yes"]].concat()).1["stored"], 2);
    let (code, refusal) = desk.json(&map);
    assert_eq!((code, &refusal["result"], &refusal["refused"]), (1, &"refused".into(), &2.into()), "{refusal}");

    assert_eq!(first.terminate(), Some(0));
    drop(second);
    let first = desk.again("first", "127.41.1.1");
    for (asked, verified) in [("get --verify", true), ("get", false), ("resolve", true)] {
        let asked: Vec<&str> = asked.split(' ').collect();
        let (code, found) = desk.json(&[&asked[..], &[&eid, "--bootstrap", &first.address]].concat());
        assert_eq!((code, &found["result"], &found["verified"]), (1, &"revoked".into(), &verified.into()), "{found}");
        if asked[0] == "get" {
            let section = &found["record"]["sections"][0];
            assert_eq!((&section["class"], &section["expires"]), (&"revocation".into(), &Value::Null), "{found}");
            assert_eq!(section["body"]["reason"], "key-compromise", "{found}");
        }
    }
    let (_, stats) = desk.json(&["stats", "--state-dir", &first.state]);
    assert_eq!(stats["records"], 1, "{stats}");
    let words = desk.run(&["get", &eid, "--verify", "--bootstrap", &first.address]);
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(words.contains(": revoked") && words.contains("reason     key-compromise"), "{words}");
}

#[test]
fn at_a_terminal_only_yes_publishes_a_revocation() {
    let desk = Desk::new();
    let node = desk.node("first", "127.42.1.1", &[]);
    let now = SystemTime::now();
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    let statement = Revocation::issue(&identity, Reason::UNSPECIFIED, now).unwrap();
    std::fs::write(desk.path("owner.revoke"), statement.to_pem().unwrap()).unwrap();
    let put = format!("{} put --revocation owner.revoke --bootstrap {}", env!("CARGO_BIN_EXE_lisp-dht"), node.address);
    if Command::new("script").arg("--version").output().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "script (bsdutils) is missing");
        eprintln!("SKIP: script is missing, which makes a terminal");
        return;
    }
    for (answer, code, said) in [("y", 1, "Nothing was published"), ("", 1, "Nothing was"), ("yes", 0, "1 stored")] {
        let mut script = Command::new("script");
        script.args(["-qec", &put, "/dev/null"]).current_dir(desk.folder.path());
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{answer}").unwrap();
        let output = child.wait_with_output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{answer:?}: {shown}");
        assert!(shown.contains("Publish it?") && shown.contains(said), "{answer:?}: {shown}");
        let (_, stats) = desk.json(&["stats", "--state-dir", &node.state]);
        assert_eq!(stats["records"], i32::from(answer == "yes"), "{stats}");
    }
}

#[test]
fn an_anchor_delegates_and_proves_what_it_has_not_delegated() {
    let desk = Desk::new();
    let node = desk.node("first", "127.32.1.1", &[]);
    let anchor = desk.key("anchor.op.p12").cn().to_string();
    let registrar = desk.key("registrar.op.p12").cn().to_string();
    let delegation = format!("2001:db8:a::/48={registrar},max-plen=64");
    let index = ["index", "2001:db8::/32", "--identity", "anchor.op.p12", "--delegate", &delegation, "--bootstrap"];
    let (code, stored) = desk.json(&[&index[..], &[&node.address], &SIGNED].concat());
    assert_eq!(code, 0, "{stored}");
    let trust = format!("2001:db8::/32={anchor}");
    let resolve = |eid: &str| desk.json(&["resolve", eid, "--trust-anchor", &trust, "--bootstrap", &node.address]);
    let (code, hole) = resolve("2001:db8:77::2");
    assert_eq!((code, &hole["result"], &hole["verified"]), (1, &"hole".into(), &true.into()), "{hole}");
    let (code, site) = resolve("2001:db8:a::2");
    assert_eq!((code, &site["result"]), (1, &"not-found".into()), "{site}");
    let (code, other) = resolve("2001:db9::1");
    assert_eq!((code, &other["result"]), (1, &"not-found".into()), "{other}");
}

#[test]
fn a_daemon_stops_cleanly_and_has_its_records_after_a_restart() {
    let desk = Desk::new();
    let mut node = desk.node("first", "127.33.1.1", &[]);
    let owner = desk.key("owner.op.p12").address().to_string();
    let put = ["put", "--identity", "owner.op.p12", "--rloc", "2001:db8::1", "--bootstrap", &node.address];
    assert_eq!(desk.json(&[&put[..], &SIGNED].concat()).0, 0);
    assert_eq!(node.terminate(), Some(0));
    assert!(!desk.path("first.state/control.sock").exists());
    let node = desk.again("first", "127.33.1.1");
    let (code, found) = desk.json(&["get", &owner, "--verify", "--bootstrap", &node.address]);
    assert_eq!(code, 0, "{found}");
    let (_, stats) = desk.json(&["stats", "--state-dir", &node.state]);
    assert_eq!(stats["records"], 1, "{stats}");
    let (code, found) = desk.json(&["resolve", &owner, "--state-dir", &node.state]);
    assert_eq!((code, &found["result"]), (0, &"mapping".into()), "{found}");
}

#[test]
fn a_second_key_under_one_name_is_noticed_by_a_later_resolve() {
    let desk = Desk::new();
    let node = desk.node("first", "127.44.1.1", &[]);
    let owner = desk.key("owner.op.p12").address().to_string();
    let put = ["put", "--identity", "owner.op.p12", "--rloc", "2001:db8::1", "--bootstrap", &node.address];
    assert_eq!(desk.json(&[&put[..], &SIGNED].concat()).0, 0);
    let by_command = ["resolve", &owner, "--bootstrap", &node.address, "--state-dir", "mine"];
    let by_daemon = ["resolve", &owner, "--state-dir", &node.state];
    for (arguments, file) in [(&by_command[..], "mine/resolve.pins"), (&by_daemon, "first.state/node.pins")] {
        for _ in 0..2 {
            let (code, found) = desk.json(arguments);
            assert_eq!((code, &found["result"]), (0, &"mapping".into()), "{found}");
        }
        // Five octets of magic, eight of the count, and the hash of 64, of which the name does not have the last.
        let mut bytes = std::fs::read(desk.path(file)).unwrap();
        assert_eq!(bytes.len(), 5 + 8 + 72);
        bytes[5 + 8 + 63] ^= 1;
        std::fs::write(desk.path(file), bytes).unwrap();
    }
    let (code, found) = desk.json(&by_command);
    assert_eq!((code, &found["result"]), (1, &"conflict".into()), "{found}");
    std::fs::write(desk.path("mine/resolve.pins"), "torn").unwrap();
    fails(&desk, 3, &by_command, "resolve.pins");
}

/// Exit code 2, and a message that names what is wrong.
fn refused(desk: &Desk, arguments: &[&str], named: &str) {
    fails(desk, 2, arguments, named);
}

/// The exit code, and a message that names what is wrong.
fn fails(desk: &Desk, code: i32, arguments: &[&str], named: &str) {
    let output = desk.run(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(message.contains(named), "{arguments:?}: {message}");
}

#[test]
fn wrong_usage_is_named() {
    let desk = Desk::new();
    let now = SystemTime::now();
    desk.key("owner.op.p12");
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    std::fs::write(desk.path("identity.p12"), container::save_identity(&identity, PASSWORD).unwrap()).unwrap();
    std::fs::write(desk.path("wrong"), "wrong").unwrap();
    std::fs::write(desk.path("junk.p12"), "junk").unwrap();
    std::fs::write(desk.path("unknown.toml"), "port = 1\nrlok = [\"192.0.2.1\"]\n").unwrap();
    std::fs::write(desk.path("wide.toml"), "port = 99999\n").unwrap();
    let put = |identity, password| {
        [
            "put",
            "--rloc",
            "192.0.2.1",
            "--bootstrap",
            "127.0.0.1:9",
            "--identity",
            identity,
            "--password-file",
            password,
        ]
    };
    refused(&desk, &put("owner.op.p12", "wrong"), "wrong password");
    refused(&desk, &put("identity.p12", "password"), "`cgeid new` writes the operational key");
    refused(&desk, &put("junk.p12", "password"), "junk.p12");
    refused(&desk, &put("missing.p12", "password"), "missing.p12");
    refused(&desk, &put("owner.op.p12", "missing"), "--password-file");
    refused(&desk, &["put", "--identity", "owner.op.p12", "--rloc", "192.0.2.1"], "CGEID_PASSWORD");
    refused(&desk, &["put", "--config", "unknown.toml"], "unknown.toml, line 2: rlok: unknown key");
    refused(&desk, &["put", "--config", "wide.toml"], "wide.toml, line 1: port: ");
    refused(&desk, &["put", "--config", "absent.toml"], "absent.toml");
    let node = ["node", "--identity", "owner.op.p12", "--password-file", "password", "--store-bundles", "0"];
    refused(&desk, &node, "--store-bundles 0: from 1 to 1000000");
    std::fs::write(desk.path("bundle"), [7; 9]).unwrap();
    let direct = ["put", "--bundle", "bundle", "--key", "00", "--unchecked", "--direct", "--bootstrap", "127.0.0.1:9"];
    refused(&desk, &direct, "does not end in /p2p/");
    refused(&desk, &["get", "2001:db8::1", "--bootstrap", "127.0.0.1:9"], "2001:db8::1");
    refused(&desk, &["get", "000102030405060708090a0b"], "--bootstrap");
    refused(&desk, &["resolve", "2001:db8::1", "--trust-anchor", "x", "--bootstrap", "127.0.0.1:9"], "--trust-anchor");
    refused(&desk, &["stats"], "--state-dir");
    let outside = ["index", "2001:db8::/32", "--dry-run", "--delegate", "2001:db9::/48=000102030405060708090a0b"];
    refused(&desk, &outside, "2001:db9::/48 is not inside 2001:db8::/32");
    std::fs::write(desk.path("sites"), "# sites\n2001:db8:a::/48=000102030405060708090a0b,max=1\n").unwrap();
    refused(&desk, &["index", "2001:db8::/32", "--delegations", "sites"], "sites, line 2: 2001:db8:a::/48=");
    refused(&desk, &["index", "2001:db8::/32", "--delegations", "nowhere"], "--delegations nowhere");
    refused(&desk, &["node", "--port", "99999"], "--port");
}

#[test]
fn settings_come_from_file_environment_and_flags_in_that_order() {
    let desk = Desk::new();
    let node = desk.node("first", "127.34.1.1", &[]);
    let owner = desk.key("owner.op.p12").address().to_string();
    let file = format!(
        "identity = \"owner.op.p12\"\npassword-file = \"password\"\nrloc = [\"192.0.2.1\"]\nttl = 5\nbootstrap = [{:?}]\n",
        node.address
    );
    std::fs::write(desk.path("f.toml"), file).unwrap();
    let output =
        desk.command(&["put", "--config", "f.toml", "--rloc", "192.0.2.3"]).env("LISP_DHT_TTL", "7").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let one = desk.command(&["get", &owner]).env("LISP_DHT_BOOTSTRAP", &node.address).output().unwrap();
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stderr));
    let (_, found) = desk.json(&["get", &owner, "--config", "f.toml"]);
    let body = &found["record"]["sections"][1]["body"];
    assert_eq!((&body["ttl_minutes"], &body["locators"][0]["address"]), (&7.into(), &"192.0.2.3".into()), "{found}");
}

#[test]
fn a_port_that_is_taken_is_something_the_machine_lacks() {
    let desk = Desk::new();
    desk.key("owner.op.p12");
    let taken = std::net::UdpSocket::bind("127.35.1.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let node = ["node", "--identity", "owner.op.p12", "--listen", "127.35.1.1", "--port", &port];
    let output = desk.run(&[&node[..], &SIGNED].concat());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{message}");
    for part in [&format!("127.35.1.1 port {port}: "), "in use", "--port"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_network_that_does_not_answer_is_not_an_empty_one() {
    let desk = Desk::new();
    let owner = desk.key("owner.op.p12").address().to_string();
    let nobody = ["--bootstrap", "127.37.1.1:9"];
    for asked in ["get", "resolve"] {
        let (code, found) = desk.json(&[&[asked, &owner], &nobody[..]].concat());
        assert_eq!((code, &found["result"]), (1, &"not-found".into()), "{found}");
        assert_eq!(found["why"], "no node of --bootstrap answers", "{found}");
    }
    let put = ["put", "--identity", "owner.op.p12", "--rloc", "192.0.2.1"];
    let (code, put) = desk.json(&[&put[..], &SIGNED, &nobody].concat());
    assert_eq!((code, &put["result"]), (1, &"unreachable".into()), "{put}");
    assert_eq!(put["why"], "no node of --bootstrap answers", "{put}");
}

#[test]
fn a_state_folder_that_cannot_be_had_is_something_the_machine_lacks() {
    let desk = Desk::new();
    desk.key("owner.op.p12");
    // Below a file, not even root makes a folder.
    let state = [&SIGNED[..], &["--identity", "owner.op.p12", "--state-dir", "password/state"]].concat();
    fails(&desk, 3, &[&["node", "--listen", "127.39.1.1", "--port", "0"], &state[..]].concat(), "password/state");
    let put = ["put", "--rloc", "192.0.2.1", "--bootstrap", "127.39.1.1:9"];
    fails(&desk, 3, &[&put, &state[..]].concat(), "password/state");
}

#[test]
fn a_node_that_does_not_run_does_not_answer() {
    let desk = Desk::new();
    fails(&desk, 1, &["stats", "--state-dir", "nowhere"], "nowhere");
    fails(&desk, 1, &["resolve", "2001:db8::1", "--state-dir", "nowhere"], "nowhere");
    for answer in ["{\"error\": \"no table stats\"}\n", "{\"entries\": 3}\n"] {
        let _ = std::fs::remove_file(desk.path("control.sock"));
        let other = std::os::unix::net::UnixListener::bind(desk.path("control.sock")).unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = other.accept().unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        fails(&desk, 1, &["stats", "--state-dir", "."], "no lisp-dht node runs with this --state-dir");
        other.join().unwrap();
    }
}

#[test]
fn a_database_that_cannot_be_had_is_named() {
    let desk = Desk::new();
    desk.key("owner.op.p12");
    std::fs::create_dir_all(desk.path("state/records.redb")).unwrap();
    let node = ["node", "--identity", "owner.op.p12", "--listen", "127.38.1.1", "--port", "0", "--state-dir", "state"];
    let output = desk.run(&[&node[..], &SIGNED].concat());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("state/records.redb"), "{message}");
    assert!(!desk.path("state/control.sock").exists());
}

#[test]
fn json_may_go_to_a_file_beside_the_table() {
    let desk = Desk::new();
    let node = desk.node("first", "127.36.1.1", &[]);
    let output = desk.run(&["stats", "--state-dir", &node.state, "--json=stats.json"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("records"));
    let value: Value = serde_json::from_slice(&std::fs::read(Path::new(&desk.path("stats.json"))).unwrap()).unwrap();
    assert_eq!(value["records"], 0);
}
