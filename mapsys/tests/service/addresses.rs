// SPDX-License-Identifier: GPL-2.0-or-later
//! The built program at all addresses of a machine, whose addresses come and go: in a network namespace of the test's own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::*;
use nix::sched::{CloneFlags, unshare};
use wire::control::{ControlMessage, Ecm};

/// Addresses are looked at a second after one has changed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(command: &str) {
    assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success(), "ip {command}");
}

/// One with the settings of the folder, if it has any, that listens at this port of all addresses.
fn start(folder: &Path, port: u16) -> Running {
    let listen = format!("0.0.0.0:{port}");
    let settings = folder.join("mapsys.toml");
    let config = settings.exists().then(|| ["--config".into(), settings.into_os_string()]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
        .args(config.into_iter().flatten())
        .args(["--listen", &listen, "--dht-listen", "127.0.0.1", "--dht-port", "0", "--state-dir"])
        .arg(folder.join("state"))
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = Running(child);
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "it serves");
    running
}

/// Runs in a network namespace of this thread, which goes with it.
fn apart(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let run = || {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no network namespace: {error}");
                println!("SKIP: no network namespace: {error}");
                return;
            }
            ip("link set lo up");
            run();
        };
        scope.spawn(run).join().unwrap();
    });
}

#[test]
fn others_are_told_of_the_addresses_that_the_machine_has_now() {
    apart(|| {
        let folder = tempfile::tempdir().unwrap();
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
        let is_told =
            |address: &str| log().lines().any(|line| line.contains("others are told") && line.contains(address));
        let _running = start(folder.path(), 0);
        for (before, now) in [(None, "192.0.2.53"), (Some("192.0.2.53"), "198.51.100.7")] {
            assert!(!is_told(now));
            ip(&format!("address add {now}/32 dev lo"));
            before.into_iter().for_each(|before| ip(&format!("address del {before}/32 dev lo")));
            let begun = Instant::now();
            while !is_told(now) {
                assert!(begun.elapsed() < PATIENCE, "{now}: {}", log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
}

#[test]
fn a_ddt_map_request_leaves_from_the_address_that_leads_to_its_receiver_and_names_it() {
    const ROOT: &str = "10.2.0.9";
    const PORT: u16 = 5342;
    apart(|| {
        for own in ["10.1.0.1", "10.2.0.1", ROOT] {
            ip(&format!("address add {own}/32 dev lo"));
        }
        // As over a link of that network: of an address of its own the system would take that itself.
        ip(&format!("route change local {ROOT} dev lo table local src 10.2.0.1"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mapsys.toml"), format!("[ddt]\nroots = [\"{ROOT}\"]\n")).unwrap();
        let root = UdpSocket::bind((ROOT, 4342)).unwrap();
        root.set_read_timeout(Some(PATIENCE)).unwrap();
        let _running = start(folder.path(), PORT);
        let itr = UdpSocket::bind("10.1.0.1:0").unwrap();
        itr.send_to(&ecm(&request(9, &[host("192.0.2.7")], &["10.1.0.1"])), ("10.1.0.1", PORT)).unwrap();
        let mut buffer = [0; 2048];
        let (length, from) = root.recv_from(&mut buffer).expect("the root is asked");
        assert_eq!(from, address(&format!("10.2.0.1:{PORT}")));
        let ControlMessage::Ecm(Ecm { ddt: true, message, .. }) = ControlMessage::decode(&buffer[..length]).unwrap()
        else {
            panic!("no DDT Map-Request")
        };
        let ControlMessage::MapRequest(asked) = ControlMessage::decode(&message).unwrap() else {
            panic!("{message:?}")
        };
        assert_eq!(asked.itr_rlocs, [from.ip().into()]);
    });
}
