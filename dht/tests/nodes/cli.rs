// SPDX-License-Identifier: GPL-2.0-or-later
//! The program: daemons on loopback, and the commands that ask them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use cgeid::{Identity, Network, Reason, Revocation, container};
use serde_json::Value;

use crate::desk::{Desk, PASSWORD, SIGNED, fails, refused, wait_for_peers};

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
    let key =
        container::save_operational_under(container::Password::Random, &identity.delegate(now, 0).unwrap(), PASSWORD)
            .unwrap();
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
