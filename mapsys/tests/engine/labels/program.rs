// SPDX-License-Identifier: GPL-2.0-or-later
//! The built program: configured in its file, asked over UDP, restarted; and what tshark reads of what it says.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output as Ended, Stdio};
use std::time::Duration;

use mapsys::register::label::Spelling;
use wire::control::ControlMessage;

use super::*;
use crate::witness::witness;

/// Where the program serves, and where the xTR of the test is.
const SERVING: &str = "127.0.59.1";
const XTR: &str = "127.0.59.2";

const CONFIG: &str = r#"
[[site]]
name = "machines"
eid-name = ["printer", "host-*"]
eid-mac = ["02:00:5e:00:00:00/24"]
eid-multicast = ["(*, 239.1.0.0/16)"]
eid-source-dest = ["10.1.0.0/16 -> 10.2.0.0/16"]
iid = 7
notify-port = "source"
key = [{ key-id = 1, algorithm = "hkdf-sha256", secret = "secret of machines" }]
"#;

/// A running `lisp-mapsys`, ended with the test.
struct Running {
    child: Child,
    listening: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mapsys(folder: &Path, arguments: &[&str]) -> Ended {
    Command::new(env!("CARGO_BIN_EXE_lisp-mapsys")).args(arguments).arg("--state-dir").arg(folder).output().unwrap()
}

fn show(folder: &Path, what: &str) -> serde_json::Value {
    let output = mapsys(folder, &["show", what, "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn start(folder: &Path, config: &Path) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
        .args(["--listen", &format!("{SERVING}:0"), "--dht-listen", SERVING, "--dht-port", "0", "--config"])
        .arg(config)
        .arg("--state-dir")
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<String> = lines.take_while(|line| line != "ready").collect();
    let listening = said.iter().find_map(|line| line.strip_prefix("listening ")).expect("it says where it listens");
    Running { listening: listening.parse().unwrap(), child }
}

/// Sends, and gives what comes, if anything does in time.
fn exchange(to: SocketAddr, bytes: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((XTR, 0)).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send_to(bytes, to).unwrap();
    let mut buffer = [0; 2048];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

/// A question from a port of the xTR, to which the answer comes.
fn question(to: SocketAddr, eid: &Eid) -> (ControlMessage, Vec<u8>) {
    let socket = UdpSocket::bind((XTR, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let itr_rlocs = vec![XTR.parse::<std::net::IpAddr>().unwrap().into()];
    let request = MapRequest { itr_rlocs, ..request_of(9, std::slice::from_ref(eid)) };
    let ecm = Ecm::wrap(socket.local_addr().unwrap(), address("192.0.2.2:4342"), request.encode().unwrap());
    socket.send_to(&ecm.encode().unwrap(), to).unwrap();
    let mut buffer = [0; 2048];
    let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
    (ControlMessage::decode(&buffer[..length]).unwrap(), buffer[..length].to_vec())
}

#[test]
fn what_a_file_configures_is_registered_shown_answered_and_read_by_tshark() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("mapsys.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let running = start(folder.path(), &config);
    let patience = Duration::from_secs(20);
    let pair = |rule: LabelRule| rule.label.eid(Spelling::default());
    let group = pair(pairs(7, true, "192.0.2.1/32", "239.1.1.1/32"));
    let flow = pair(pairs(7, false, "10.1.1.1/32", "10.2.2.2/32"));
    let eids = [within(7, name("printer")), within(7, mac("02:00:5e:00:00:01/48")), group, flow];
    let mut messages = Vec::new();
    for (nonce, eid) in (5..).zip(&eids) {
        let told = exchange(running.listening, &sealed(nonce, eid.clone(), RLOC), patience).expect("a Map-Notify");
        messages.push((SERVING, told));
    }
    for eid in eids.iter().cloned().chain([within(7, name("host-9"))]) {
        let (answered, bytes) = question(running.listening, &eid);
        let ControlMessage::MapReply(reply) = answered else { panic!("{answered:?}") };
        assert_eq!(
            (reply.records[0].eid.clone(), reply.records[0].locators.len() == 1),
            (eid.clone(), eids.contains(&eid))
        );
        messages.push((SERVING, bytes));
    }

    for (asked, prefix) in [
        (&["printer-7", "--name"][..], "[7]\"printer\""),
        (&["02:00:5e:00:00:01"], "[7]02:00:5e:00:00:01/48"),
        (&["(192.0.2.1, 239.1.1.1)"], "[7](192.0.2.1/32, 239.1.1.1/32)"),
        (&["10.1.1.1 -> 10.2.2.2"], "[7]10.1.1.1/32 -> 10.2.2.2/32"),
    ] {
        let lig = Command::new(env!("CARGO_BIN_EXE_lig"))
            .args(asked)
            .args(["--iid", "7", "--json", "--source", XTR, "--map-resolver", &running.listening.to_string()])
            .output()
            .unwrap();
        let told: serde_json::Value = serde_json::from_slice(&lig.stdout).unwrap_or_else(|_| panic!("{lig:?}"));
        assert_eq!((lig.status.code(), &told["prefix"]), (Some(0), &prefix.into()), "{told}");
    }

    let registrations = show(folder.path(), "registrations");
    let row = |place: usize, key: &str| registrations[place][key].clone();
    assert_eq!((row(0, "prefix"), row(0, "kind")), ("[7]02:00:5e:00:00:01/48".into(), "mac".into()));
    assert_eq!((row(1, "prefix"), row(1, "kind")), ("[7]\"printer\"".into(), "name".into()));
    assert_eq!((row(2, "prefix"), row(2, "kind")), ("[7]10.1.1.1/32 -> 10.2.2.2/32".into(), "source-dest".into()));
    assert_eq!((row(3, "prefix"), row(3, "kind")), ("[7](192.0.2.1/32, 239.1.1.1/32)".into(), "multicast".into()));
    assert_eq!((row(1, "published"), row(1, "site")), (false.into(), "machines".into()));
    let site = &show(folder.path(), "sites")[0];
    assert_eq!(site["names"], serde_json::json!(["[7]\"printer\"", "[7]\"host-\"*"]));
    assert!(site["last_refused"].is_null(), "{site}");
    assert_eq!((&site["macs"][0], &site["registered"]), (&"[7]02:00:5e:00:00:00/24".into(), &4.into()));
    assert_eq!(site["multicast"], serde_json::json!(["[7](*, 239.1.0.0/16)"]));
    assert_eq!(site["source_dest"], serde_json::json!(["[7]10.1.0.0/16 -> 10.2.0.0/16"]));
    let counters = show(folder.path(), "counters");
    assert_eq!(counters["registered_pairs"], 2);
    assert_eq!((&counters["registered_names_and_macs"], &counters["registrations"]), (&2.into(), &0.into()));

    drop(running);
    let running = start(folder.path(), &config);
    // What was registered is so still: by its TTL, nobody has registered it again.
    let kept = show(folder.path(), "registrations");
    assert_eq!(kept.as_array().map(Vec::len), Some(4), "{kept}");
    let again = |nonce| sealed(nonce, eids[0].clone(), RLOC);
    assert!(exchange(running.listening, &again(4), Duration::from_millis(300)).is_none(), "replayed over a restart");
    assert!(exchange(running.listening, &again(9), patience).is_some());
    assert_eq!(show(folder.path(), "counters")["refusals"]["register-replayed"], 1);
    let last = &show(folder.path(), "sites")[0]["last_refused"];
    assert_eq!((&last["reason"], &last["eid"]), (&"register-replayed".into(), &"[7]\"printer\"".into()), "{last}");
    assert!(last["from"].as_str().is_some_and(|from| from.starts_with(XTR)) && last["ago_s"].is_u64(), "{last}");

    if let Some(read) = witness(folder.path(), &messages) {
        assert!(!read.contains("Malformed"), "{read}");
        for expected in ["printer", "02:00:5e:00:00:01", "host-9", "Instance ID: 7", "239.1.1.1", "10.2.2.2"] {
            assert!(read.contains(expected), "{expected}: {read}");
        }
    }
}

#[test]
fn a_configuration_says_what_it_means_and_what_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mapsys.toml");
    let check = |config: &str, listen: &str| {
        std::fs::write(&file, config).unwrap();
        let output = mapsys(folder.path(), &["check", "--listen", listen, "--config", &file.display().to_string()]);
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).unwrap())
    };
    let (code, told) = check(CONFIG, SERVING);
    let line = "site \"machines\": [7]\"printer\", [7]\"host-\"*, [7]02:00:5e:00:00:00/24, [7](*, 239.1.0.0/16), \
                [7]10.1.0.0/16 -> 10.2.0.0/16 (1 keys";
    assert_eq!((code, told.contains(line)), (Some(0), true), "{told}");
    for (wrong, named) in [
        (CONFIG.replace("host-*", "a*b"), "eid-name"),
        (CONFIG.replace("/24", "/49"), "eid-mac"),
        (CONFIG.replace("239.1.0.0", "10.1.0.0"), "eid-multicast"),
        (CONFIG.replace("10.2.0.0/16", "ff3e::/16"), "eid-source-dest"),
        (CONFIG.replace("host-*", "printer"), "belongs to site"),
        (
            CONFIG
                .replace("eid-name = [\"printer\", \"host-*\"]", "")
                .replace("\"02:00:5e:00:00:00/24\"", "")
                .replace("\"(*, 239.1.0.0/16)\"", "")
                .replace("\"10.1.0.0/16 -> 10.2.0.0/16\"", ""),
            "eid-name, eid-mac, eid-multicast and eid-source-dest",
        ),
    ] {
        let (code, told) = check(&wrong, SERVING);
        assert_eq!((code, told.contains(named)), (Some(2), true), "{wrong}: {told}");
    }
    // Each address of a machine is an EID of the one, and the other has none that could be asked for elsewhere.
    let everywhere = ("eid-prefix = [\"0.0.0.0/1\", \"128.0.0.0/1\"]", Some(2));
    for ((eids, on_all), listen) in
        [(everywhere, "0.0.0.0"), (everywhere, SERVING), (("eid-name = [\"a\"]", Some(0)), "0.0.0.0")]
    {
        let site = format!(
            "[[site]]\nname = \"a\"\n{eids}\npublish = \"aggregate\"\nkey = [{{ key-id = 1, secret = \"x\" }}]\n"
        );
        let expected = if listen == SERVING { Some(0) } else { on_all };
        let (code, told) = check(&site, listen);
        assert_eq!((code, told.contains("aggregate")), (expected, expected == Some(2)), "{eids} {listen}: {told}");
    }
}
