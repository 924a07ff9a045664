// SPDX-License-Identifier: GPL-2.0-or-later
//! What `lisp-dht` says when it is asked wrongly, or lacks something: who is to blame, and an exit code that says so.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, container};
use serde_json::Value;

use crate::desk::{Desk, PASSWORD, SIGNED, fails, refused};

#[test]
fn wrong_usage_is_named() {
    let desk = Desk::new();
    let now = SystemTime::now();
    desk.key("owner.op.p12");
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    std::fs::write(
        desk.path("identity.p12"),
        container::save_identity_under(container::Password::Random, &identity, PASSWORD).unwrap(),
    )
    .unwrap();
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
    let node = ["node", "--identity", "owner.op.p12", "--password-file", "password", "--store-bundles", "0"];
    refused(&desk, &node, "--store-bundles 0: from 1 to 1000000");
    std::fs::write(desk.path("bundle"), [7; 9]).unwrap();
    let direct = ["put", "--bundle", "bundle", "--key", "00", "--unchecked", "--direct", "--bootstrap", "127.0.0.1:9"];
    refused(&desk, &direct, "does not end in /p2p/");
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
        let (code, found) = desk.json_once(&[&[asked, &owner], &nobody[..]].concat());
        assert_eq!((code, &found["result"]), (1, &"not-found".into()), "{found}");
        assert_eq!(found["why"], "no node of --bootstrap answers", "{found}");
    }
    let put = ["put", "--identity", "owner.op.p12", "--rloc", "192.0.2.1"];
    let (code, put) = desk.json_once(&[&put[..], &SIGNED, &nobody].concat());
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

#[test]
fn what_is_read_is_bounded_and_read_as_cgeid_reads_it() {
    let desk = Desk::new();
    desk.key("owner.op.p12");
    let put = ["put", "--rloc", "192.0.2.1", "--bootstrap", "127.0.0.1:9", "--identity"];
    let with =
        |identity: &'static str, password: &'static str| [&put[..], &[identity, "--password-file", password]].concat();
    let begun = Instant::now();
    refused(&desk, &with("owner.op.p12", "/dev/zero"), "--password-file /dev/zero: the first line is longer than");
    refused(&desk, &with("/dev/zero", "password"), "--identity /dev/zero: longer than");
    refused(&desk, &["put", "--config", "/dev/zero"], "--config /dev/zero: longer than");
    refused(&desk, &["sim", "--check-against", "/dev/zero"], "--check-against /dev/zero: longer than");
    assert!(begun.elapsed() < Duration::from_secs(60), "all of it is not read");
    // The first line is the password, as everywhere.
    std::fs::write(desk.path("two lines"), format!("{PASSWORD}\nof the owner's key\n")).unwrap();
    let output = desk.run(&[&put[..], &["owner.op.p12", "--password-file", "two lines"]].concat());
    assert_eq!(output.status.code(), Some(1), "only the network is missing: {output:?}");
}

#[test]
fn what_contradicts_itself_or_cannot_be_is_refused() {
    let desk = Desk::new();
    let put = ["put", "--identity", "owner.op.p12", "--bootstrap", "127.0.0.1:9"];
    let put = |more: &[&'static str]| [&put[..], more].concat();
    refused(&desk, &put(&["--withdraw", "--rloc", "192.0.2.1"]), "--withdraw=mapping and --rloc");
    refused(&desk, &put(&["--withdraw=service", "--ptr", "host.example.net"]), "--withdraw=service");
    refused(&desk, &put(&["--withdraw=mapping,topology", "--position", "1,2"]), "--withdraw=topology");
    let index = ["index", "2001:db8::/32", "--identity", "owner.op.p12", "--bootstrap", "127.0.0.1:9"];
    refused(&desk, &[&index[..], &["--every=0"]].concat(), "--every 0: from 1 to 86399 seconds");
    refused(&desk, &[&index[..], &["--every=86400"]].concat(), "--every 86400");
    refused(
        &desk,
        &[&index[..], &["--iid", "16777216", "--dry-run"]].concat(),
        "--iid 16777216: an instance ID has 24 bits",
    );
    refused(&desk, &["resolve", "2001:db8::1", "--iid", "16777216", "--bootstrap", "127.0.0.1:9"], "--iid 16777216");
    refused(&desk, &["lab", "--memory", "--delay", "1001"], "--delay 1001: at most 1000");
    refused(&desk, &["sim", "hops", "--lookups", "0"], "between 1 and");
    refused(&desk, &["point", "1,2,1e30", "3,4"], "altitude");
}

#[test]
fn a_file_that_is_no_crawl_is_named() {
    let desk = Desk::new();
    std::fs::write(desk.path("text"), "text").unwrap();
    std::fs::write(desk.path("late.json"), "{\"nodes\":[],\"at\":18446744073709551615}").unwrap();
    refused(&desk, &["map", "text"], "text: not the JSON of a crawl");
    refused(&desk, &["map", "-"], "standard input: not the JSON of a crawl");
    refused(&desk, &["map", "late.json"], "late.json: \"at\": no such time");
    refused(&desk, &["map", "."], ".: Is a directory");
    refused(&desk, &["map", "nothing"], "nothing: no such file");
}

#[test]
fn a_report_overwrites_nothing_and_what_is_in_its_way_is_said_before_there_is_work() {
    let desk = Desk::new();
    let address = desk.key("owner.op.p12").address().to_string();
    let kept = std::fs::read(desk.path("owner.op.p12")).unwrap();
    let bootstrap = std::net::UdpSocket::bind("127.92.1.1:0").unwrap();
    bootstrap.set_nonblocking(true).unwrap();
    let at = bootstrap.local_addr().unwrap().to_string();
    let get = ["get", &address, "--bootstrap", &at];
    fails(&desk, 1, &[&get[..], &["--json=owner.op.p12"]].concat(), "--json=owner.op.p12: the file exists");
    fails(&desk, 2, &[&get[..], &["--json=nowhere/report"]].concat(), "--json=nowhere/report");
    fails(&desk, 2, &[&get[..], &["--json=."]].concat(), "--json=.");
    assert!(bootstrap.recv(&mut [0]).is_err(), "nothing was looked up before");
    let begun = Instant::now();
    fails(&desk, 1, &["sim", "hops", "--nodes", "100000", "--json=owner.op.p12"], "--json=owner.op.p12");
    assert!(begun.elapsed() < Duration::from_secs(30), "no such network was modelled before");
    assert_eq!(std::fs::read(desk.path("owner.op.p12")).unwrap(), kept);
}

#[test]
fn who_reads_no_further_has_what_he_wanted_and_a_full_disk_is_something_the_machine_lacks() {
    let desk = Desk::new();
    let point = ["point", "52.5200,13.4050", "48.1374,11.5755"];
    for more in [&[][..], &["--json"]] {
        let mut child = desk.command(&[&point, more].concat()).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = desk.command(&[&point, more].concat()).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
    let output = desk.run(&[&point[..], &["--json=/dev/full"]].concat());
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn no_records_are_looked_up_where_nobody_answers() {
    let desk = Desk::new();
    let cns: Vec<String> = (1000..1400).map(|number| format!("00010203040506070809{number}")).collect();
    let arguments: Vec<&str> =
        ["map", "--bootstrap", "127.92.1.2:9"].into_iter().chain(cns.iter().map(String::as_str)).collect();
    let begun = Instant::now();
    fails(&desk, 1, &arguments, "no node of --bootstrap answers");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?} for four hundred", begun.elapsed());
}
