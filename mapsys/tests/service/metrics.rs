// SPDX-License-Identifier: GPL-2.0-or-later
//! What monitoring sees of a running `lisp-mapsys`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::*;
use wire::control::auth::Algorithm;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_figures_of_the_dht_node_and_the_counters_of_the_map_system_are_served_together() {
    let state = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"));
    command.args(["--listen", "127.0.53.31:0", "--dht-listen", "127.0.53.31", "--dht-port", "0"]);
    command.args(["--metrics", "127.0.53.31:0", "--discovery", "off", "--anycast", "127.0.53.32"]);
    let mut child = command.arg("--state-dir").arg(state.path()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _running = Running(child);
    let said: Vec<String> = lines.map(Result::unwrap).take_while(|line| line != "ready").collect();
    let address = said.iter().find_map(|line| line.strip_prefix("metrics ")).unwrap();
    let text = get(address, "/metrics");
    for line in [
        "lisp_dht_peers 0",
        "lisp_dht_clock_wrong 0",
        "lisp_mapsys_registrations 0",
        "lisp_mapsys_dropped_busy_total 0",
        "lisp_mapsys_registers_taken_total 0",
        "lisp_mapsys_requests_answered_total 0",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}: {text}");
    }
    assert!(get(address, "/health").starts_with("HTTP/1.1 200"), "nobody was given to be known");
}

#[test]
fn an_anycast_address_that_is_none_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
        .args(["check", "--listen", "127.0.53.33", "--anycast", "x"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("anycast"), "{output:?}");
}

/// Asks until the answer is as wanted.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_state_file_that_cannot_be_written_is_told_and_what_has_not_left_is_not_counted() {
    let state = tempfile::tempdir().unwrap();
    let config = state.path().join("mapsys.toml");
    let site = "[[site]]\nname = \"a\"\neid-prefix = [\"2001:db8:a::/48\"]\nnotify-port = \"source\"\n\
                key = [{ key-id = 1, secret = \"secret\" }]\n";
    std::fs::write(&config, site).unwrap();
    // What is beyond a limit is refused then, and does not end the process.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_lisp-mapsys")]);
    command.args(["--listen", "127.0.53.34:0", "--dht-listen", "127.0.53.34", "--dht-port", "0", "--discovery", "off"]);
    command.args(["--metrics", "127.0.53.34:0", "--config"]).arg(&config).arg("--state-dir").arg(state.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let process = rustix::process::Pid::from_child(&child);
    let limit = |most| {
        let limits = rustix::process::Rlimit { current: most, maximum: None };
        rustix::process::prlimit(Some(process), rustix::process::Resource::Fsize, limits).unwrap();
    };
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _running = Running(child);
    let said: Vec<String> = lines.map(Result::unwrap).take_while(|line| line != "ready").collect();
    let told = |what: &str| said.iter().find_map(|line| line.strip_prefix(what)).unwrap().to_owned();
    let (metrics, serving) = (told("metrics "), told("listening "));
    let has = |line: &str| get(&metrics, "/metrics").lines().any(|each| each == line);
    wait_for("well at first", || get(&metrics, "/health").starts_with("HTTP/1.1 200"));
    assert!(has("lisp_mapsys_disk_failing 0") && has("lisp_mapsys_lost_to_disk_total 0"));

    let xtr = UdpSocket::bind("127.0.53.35:0").unwrap();
    let key = key(1, Algorithm::HkdfSha256, "secret");
    let mut nonce = 0;
    let mut is_confirmed = |patience: u64| {
        nonce += 1;
        let records = vec![record(prefix("2001:db8:a::/48"), &["127.0.53.35"])];
        xtr.send_to(&seal(register(nonce, records), &key), &serving).unwrap();
        xtr.set_read_timeout(Some(Duration::from_millis(patience))).unwrap();
        xtr.recv(&mut [0; 2048]).is_ok()
    };
    limit(Some(0));
    assert!(!is_confirmed(1000));
    wait_for("it is told", || {
        let health = get(&metrics, "/health");
        health.starts_with("HTTP/1.1 503") && health.contains("state file")
    });
    wait_for("it is counted", || has("lisp_mapsys_disk_failing 1") && !has("lisp_mapsys_lost_to_disk_total 0"));
    assert!(has("lisp_mapsys_notifies_sent_total 0") && has("lisp_mapsys_registers_taken_total 1"));
    limit(None);
    wait_for("it is well again, though no xTR registers", || has("lisp_mapsys_disk_failing 0"));
    wait_for("all is told to be well", || !get(&metrics, "/health").contains("state file"));
    // Once: each one that is confirmed counts, however late.
    assert!(is_confirmed(20_000), "it is confirmed again");
    assert!(has("lisp_mapsys_notifies_sent_total 1"), "{}", get(&metrics, "/metrics"));
    assert!(!get(&metrics, "/health").contains("state file"));
}
