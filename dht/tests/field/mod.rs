// SPDX-License-Identifier: GPL-2.0-or-later
//! Nodes in a lab of network namespaces, as an operator would run them.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Cn, Identity, Network, container};
use interop::lab::process::{self, Process};
use interop::lab::{Lab, Topology};
use serde_json::Value;

const PASSWORD: &str = "correct horse";
/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(60);

/// Whether the machine lets this test run; CI must.
pub fn is_possible(programs: &[&str]) -> bool {
    let missing = |name: &&&str| Command::new(name).arg("--version").output().is_err();
    let lacking = match programs.iter().find(missing) {
        Some(program) => format!("the program {program}"),
        None if !nix::unistd::geteuid().is_root() => "root, for network namespaces".to_owned(),
        None => return true,
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI is set, and this machine lacks {lacking}");
    println!("SKIP: needs {lacking}");
    false
}

/// A lab, and the files of its nodes.
pub struct Field {
    pub lab: Lab,
    folder: tempfile::TempDir,
}

impl Field {
    pub fn new(topology: &Topology) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        Self { lab: Lab::build(topology).unwrap(), folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an identity, whose operational key goes to `NAME.op.p12`.
    pub fn identity(&self, name: &str) -> Cn {
        let now = SystemTime::now();
        let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
        let key = identity.delegate(now, 0).unwrap();
        std::fs::write(
            self.path(&format!("{name}.op.p12")),
            container::save_operational_under(container::Password::Random, &key, PASSWORD).unwrap(),
        )
        .unwrap();
        identity.cn()
    }

    fn lisp_dht(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
        command.current_dir(self.folder.path()).args(arguments).env_remove("CGEID_PASSWORD");
        command
    }

    /// Starts `lisp-dht node` on a host, with an identity of its own.
    pub fn node(&self, host: &str, arguments: &[&str]) -> Process {
        if !self.path(&format!("{host}.op.p12")).exists() {
            self.identity(host);
        }
        let (key, state) = (format!("{host}.op.p12"), format!("{host}.state"));
        let given = ["node", "--identity", &key, "--password-file", "password", "--state-dir", &state];
        let command = self.lisp_dht(&[&given[..], arguments].concat());
        Process::start(self.lab.namespace(host).unwrap(), host, command, &self.path(&format!("{host}.log"))).unwrap()
    }

    /// Runs `lisp-dht` on a host.
    pub fn run(&self, host: &str, arguments: &[&str]) -> process::Output {
        process::output(self.lab.namespace(host).unwrap(), self.lisp_dht(arguments), COMMAND).unwrap()
    }

    /// Runs any program on a host; it must succeed.
    pub fn system(&self, host: &str, line: &str) {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let output = process::output(self.lab.namespace(host).unwrap(), command, COMMAND).unwrap();
        assert!(output.status.is_some_and(|status| status.success()), "{host}: {line}: {}", output.stderr);
    }

    /// The figures of the node on a host, once it runs.
    pub fn stats(&self, host: &str) -> Option<Value> {
        let output = self.run(host, &["stats", "--state-dir", &format!("{host}.state"), "--json"]);
        serde_json::from_str(&output.stdout).ok()
    }

    /// Peers in the routing table of the node on a host.
    pub fn peers(&self, host: &str) -> usize {
        self.stats(host).and_then(|stats| stats["peers"].as_array().map(Vec::len)).unwrap_or_default()
    }

    /// All that the node on a host knows of where its peers are.
    pub fn known(&self, host: &str) -> String {
        self.stats(host).map(|stats| stats["peers"].to_string()).unwrap_or_default()
    }

    /// Publishes a mapping from a host, through a node at `by`.
    pub fn put(&self, host: &str, by: &str) -> Cn {
        let cn = self.identity("author");
        let given = ["put", "--identity", "author.op.p12", "--password-file", "password", "--rloc", "192.0.2.1"];
        let output = self.run(host, &[&given[..], &["--bootstrap", by]].concat());
        assert!(output.status.is_some_and(|status| status.success()), "{}{}", output.stdout, output.stderr);
        cn
    }

    /// Whether the mapping is found from a host, through a node at `by`.
    pub fn finds(&self, host: &str, cn: Cn, by: &str) -> bool {
        let output = self.run(host, &["get", &cn.to_string(), "--verify", "--bootstrap", by]);
        output.status.is_some_and(|status| status.success())
    }
}

/// Waits until something holds; returns how long that took.
pub fn wait_for(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{what}: {:?}", begun.elapsed());
    begun.elapsed()
}
