// SPDX-License-Identifier: GPL-2.0-or-later
//! What monitoring sees of a running `lisp-mapsys`.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        "lisp_mapsys_dropped_busy 0",
        "lisp_mapsys_registers_taken 0",
        "lisp_mapsys_requests_answered 0",
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
