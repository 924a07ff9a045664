// SPDX-License-Identifier: GPL-2.0-or-later
//! The built program at all addresses of a machine, whose addresses come and go: in a network namespace of the test's own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

/// Addresses are looked at a second after one has changed.
const PATIENCE: Duration = Duration::from_secs(20);

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

fn start(folder: &Path) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
        .args(["--listen", "0.0.0.0:0", "--dht-listen", "127.0.0.1", "--dht-port", "0", "--state-dir"])
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

#[test]
fn others_are_told_of_the_addresses_that_the_machine_has_now() {
    let run = || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no network namespace: {error}");
            println!("SKIP: no network namespace: {error}");
            return;
        }
        ip("link set lo up");
        let folder = tempfile::tempdir().unwrap();
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
        let is_told =
            |address: &str| log().lines().any(|line| line.contains("others are told") && line.contains(address));
        let _running = start(folder.path());
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
    };
    // The namespace is of one thread, and goes with it.
    std::thread::spawn(run).join().unwrap();
}
