// SPDX-License-Identifier: GPL-2.0-or-later
//! A desk at which an operator sits: a folder with key files, the commands of `lisp-dht` run in it, and daemons on loopback.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "each test program uses a part")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, OperationalKey, container};
use serde_json::Value;

pub(crate) const PASSWORD: &str = "correct horse";

/// A folder with key files, and the commands run in it.
pub(crate) struct Desk {
    pub(crate) folder: tempfile::TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an identity and writes its operational key to `name`.
    pub(crate) fn key(&self, name: &str) -> OperationalKey {
        let now = SystemTime::now();
        let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
        let key = identity.delegate(now, 0).unwrap();
        std::fs::write(
            self.path(name),
            container::save_operational_under(container::Password::Random, &key, PASSWORD).unwrap(),
        )
        .unwrap();
        key
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
        command.current_dir(self.folder.path()).args(arguments).env_remove("CGEID_PASSWORD");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command with `--json` and returns its exit code and what it printed. One that met no node in time, on a machine that
    /// others use, is run again.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, Value) {
        repeated(|| self.json_once(arguments))
    }

    /// The same of a command that may meet nobody.
    pub(crate) fn json_once(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{arguments:?}: {text} {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), value)
    }

    /// Starts a daemon with a fresh key.
    pub(crate) fn node(&self, name: &str, address: &str, bootstrap: &[&str]) -> Daemon {
        self.key(&format!("{name}.op.p12"));
        self.start(name, address, bootstrap)
    }

    /// Starts a daemon that ran before.
    pub(crate) fn again(&self, name: &str, address: &str) -> Daemon {
        self.start(name, address, &[])
    }

    pub(crate) fn start(&self, name: &str, address: &str, bootstrap: &[&str]) -> Daemon {
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

/// What a command printed at last, that is run up to three times while it meets nobody.
pub(crate) fn repeated(run: impl Fn() -> (i32, Value)) -> (i32, Value) {
    let meets_nobody =
        |printed: &Value| printed["result"] == "unreachable" || printed["why"] == "no node of --bootstrap answers";
    let mut outcome = run();
    for _ in 1..3 {
        if meets_nobody(&outcome.1) {
            outcome = run();
        }
    }
    outcome
}

pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) state: String,
}

impl Daemon {
    pub(crate) fn terminate(&mut self) -> Option<i32> {
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

pub(crate) fn wait_for_peers(desk: &Desk, daemon: &Daemon, peers: usize) {
    let begun = Instant::now();
    loop {
        let (_, stats) = desk.json(&["stats", "--state-dir", &daemon.state]);
        if stats["peers"].as_array().unwrap().len() == peers {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{stats}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) const SIGNED: [&str; 2] = ["--password-file", "password"];

/// Exit code 2, and a message that names what is wrong.
pub(crate) fn refused(desk: &Desk, arguments: &[&str], named: &str) {
    fails(desk, 2, arguments, named);
}

/// The exit code, and a message that names what is wrong.
pub(crate) fn fails(desk: &Desk, code: i32, arguments: &[&str], named: &str) {
    let output = desk.run(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(message.contains(named), "{arguments:?}: {message}");
}
