// SPDX-License-Identifier: GPL-2.0-or-later
//! A `lisp-xtr` that a test has started in its namespace, and what it says.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::namespace::{Node, wait_for};
use serde_json::Value;

pub(crate) const RLOC: &str = "192.0.2.1";

pub(crate) const TUN: &str = "lispt";

pub(crate) const CAP_NET_ADMIN: u64 = 1 << 12;

impl Node {
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        let node = Self(command(directory, arguments).spawn().unwrap());
        wait_for("answer", || show(directory, &["show", "locators"]));
        node
    }

    /// The values of a line of the status of each thread.
    pub(crate) fn threads(&self, line: &str) -> Vec<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
        let value = |status: String| {
            let found = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':').map(str::to_owned));
            u64::from_str_radix(found.unwrap().trim(), 16).unwrap()
        };
        tasks.filter_map(|task| status(task.unwrap())).map(value).collect()
    }
}

pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
    command.args(["--rloc", RLOC, "--state-dir"]).arg(directory.join("state")).args(arguments);
    if !arguments.contains(&"--tun") {
        command.args(["--tun", TUN]);
    }
    command.stdout(Stdio::null());
    command
}

/// A node whose map system is elsewhere, and silent.
pub(crate) const PLAIN: &[&str] = &["--eid-prefix", "2001:db8:a::/48", "--map-resolver", "127.0.0.1"];

pub(crate) fn show(directory: &Path, verb: &[&str]) -> Option<Value> {
    let output = ask(directory, &[verb, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).ok()
}

pub(crate) fn ask(directory: &Path, verb: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
    command.args(verb).arg("--state-dir").arg(directory.join("state")).output().unwrap()
}

/// What `ip` of iproute2 says.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Rules, routes and addresses that bear our number or lie in the network of the CGEIDs.
pub(crate) fn ours() -> Vec<String> {
    let ours = |line: &&str| {
        ["4341", "4342", "4343", "4344", "4345", "4346"].iter().any(|rule| line.starts_with(&format!("{rule}:")))
    };
    let mut found: Vec<String> = ["-4", "-6"]
        .iter()
        .flat_map(|family| {
            let rules = ip(&format!("{family} rule show"));
            rules.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let routes = ip("-6 route show table all") + &ip("-4 route show table all");
    found.extend(
        routes.lines().filter(|line| line.contains("table 4341") || line.contains("table 4342")).map(str::to_owned),
    );
    let addresses = ip("-6 -o addr show");
    found.extend(addresses.lines().filter(|line| line.contains("3fff:ce1:")).map(str::to_owned));
    found
}
