// SPDX-License-Identifier: GPL-2.0-or-later
//! Targets that are none, and runs against them.
#![allow(dead_code, reason = "no test needs all of it")]

use std::io::BufRead as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const FAKE: &str = include_str!("../common/fake.py");
pub(crate) const ROUTER: &str = include_str!("../common/router.py");
/// What is claimed and configured everywhere in these files.
pub(crate) const SITES: &str = r#"
[map-system.sites]
count = 64
eid-prefix = "2001:db8:{number}::/48"
key = [{ algorithm = "hmac-sha-1", secret = "secret{number}" }]
"#;

/// A fake that runs on loopback; it ends when this is dropped.
pub(crate) struct Fake {
    child: Child,
    pub(crate) address: String,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

static NEXT: AtomicU8 = AtomicU8::new(250);

impl Fake {
    pub(crate) fn start(mode: &[&str]) -> Self {
        let script = format!("{}/tests/common/fake.py", env!("CARGO_MANIFEST_DIR"));
        let [.., high, low] = std::process::id().to_be_bytes();
        // Fakes of one process are told apart by their last octet.
        let ip = Ipv4Addr::new(127, 128 | high & 0x3f, low, NEXT.fetch_sub(1, Ordering::Relaxed));
        let port = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new("python3");
        command.arg(script).args([&ip.to_string(), &port.to_string()]).args(mode).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        Self { child, address: format!("{ip}:{port}") }
    }

    pub(crate) fn file(&self) -> String {
        let address = &self.address;
        format!(
            "name = \"a fake\"\nclaims = [\"proxy-reply\", \"hmac-sha-1\"]\n[map-system]\naddress = [\"{address}\"]\n{SITES}"
        )
    }
}

/// What came of a run, and how long it took.
pub(crate) struct Run {
    pub(crate) report: Value,
    pub(crate) took: Duration,
}

impl Run {
    pub(crate) fn of(file: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target.toml");
        std::fs::write(&path, file).unwrap();
        Self::of_file(&path, arguments)
    }

    pub(crate) fn of_file(path: &Path, arguments: &[&str]) -> Self {
        Self::with(&[&["--target", path.to_str().unwrap()], arguments].concat(), &[])
    }

    /// With these variables.
    pub(crate) fn with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
        command.args(["run", "--json"]).args(arguments).envs(variables.iter().copied());
        let output = command.output().unwrap();
        let report = serde_json::from_slice(&output.stdout);
        let report = report.unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        Self { report, took: begun.elapsed() }
    }

    /// Result and evidence of a check.
    pub(crate) fn check(&self, id: &str) -> (&str, &str) {
        let check = self.report["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap();
        (check["result"].as_str().unwrap(), check["evidence"].as_str().unwrap())
    }

    pub(crate) fn count(&self, result: &str, evidence: &str) -> usize {
        let is_it =
            |check: &&Value| check["result"] == result && check["evidence"].as_str().unwrap().contains(evidence);
        self.report["checks"].as_array().unwrap().iter().filter(is_it).count()
    }
}

pub(crate) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Whether there is something to run a fake with.
pub(crate) fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI has python3");
        eprintln!("SKIP: python3 is needed");
    }
    found
}

/// Whether network namespaces can be had.
pub(crate) fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self").map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
    let root = root.unwrap_or(false) && Path::new("/dev/net/tun").exists();
    if !root {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI runs as root");
        eprintln!("SKIP: root is needed, for network namespaces");
    }
    root
}
