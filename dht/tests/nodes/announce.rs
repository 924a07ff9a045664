// SPDX-License-Identifier: GPL-2.0-or-later
//! A node that says something of itself says it by itself, and again when that changes.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, OperationalKey, container};
use dht::record::{Bundle, Class, RecordKey};
use dht::shell::node::{Node, NodeConfig};
use dht::shell::shelf::start_node;

const PASSWORD: &str = "correct horse";

fn key() -> OperationalKey {
    let now = SystemTime::now();
    Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap()
}

fn other() -> Node {
    let mut config = NodeConfig::server(&key());
    config.listen = vec![IpAddr::from([127, 84, 1, 1])];
    config.port = 0;
    start_node(config, Network::LAB, None).unwrap()
}

struct Daemon(Child);

impl Daemon {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
        command.current_dir(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("/ip4/127."), "{line}");
        Self(child)
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the bundle that the other node holds is as wanted.
async fn until(node: &Node, key: &RecordKey, wanted: impl Fn(&Bundle) -> bool) -> Bundle {
    let begun = Instant::now();
    loop {
        let values = node.get_within(key.encode(), Duration::from_millis(500), |_| false).await.unwrap();
        let bundles: Vec<Bundle> = values.iter().filter_map(|value| Bundle::decode(value).ok()).collect();
        if let Some(bundle) = bundles.iter().find(|bundle| wanted(bundle)) {
            return bundle.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{bundles:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_publishes_what_its_settings_say_reads_them_again_and_withdraws_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let key = key();
    std::fs::write(
        path("me.op.p12"),
        container::save_operational_under(container::Password::Random, &key, PASSWORD).unwrap(),
    )
    .unwrap();
    std::fs::write(path("password"), PASSWORD).unwrap();
    let said = "service = \"192.0.2.1:43420,boot\"\nptr = \"one.example.net\"\nposition = \"52.52,13.405\"\n";
    std::fs::write(path("node.toml"), said).unwrap();
    let other = other();
    let bootstrap = other.listen_addrs()[0].to_string();
    let identity = ["node", "--identity", "me.op.p12", "--password-file", "password", "--state-dir", "state"];
    let at = ["--config", "node.toml", "--listen", "127.84.2.1", "--port", "0", "--bootstrap", &bootstrap];
    let mut daemon = Daemon::start(folder.path(), &[&identity[..], &at, &["--withdraw-at-stop"]].concat());
    let record = RecordKey::node(Network::LAB, key.cn());

    let first = until(&other, &record, |bundle| bundle.service().is_some()).await;
    assert_eq!(first.service().unwrap().ptr.as_ref().unwrap().to_string(), "one.example.net.");
    assert!(first.topology().unwrap().geo.is_some() && first.mapping().is_none());

    // A mistake leaves all as it was; the next word counts.
    std::fs::write(path("node.toml"), "service = \"nonsense\"\n").unwrap();
    daemon.signal("-HUP");
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::write(path("node.toml"), "ptr = \"two.example.net\"\n").unwrap();
    daemon.signal("-HUP");
    let name = |bundle: &Bundle| bundle.service().and_then(|service| service.ptr.as_ref().map(ToString::to_string));
    let second = until(&other, &record, |bundle| name(bundle).as_deref() == Some("two.example.net.")).await;
    assert!(second.service().unwrap().addresses.is_empty());
    assert!(second.section(Class::Topology).unwrap().flags.withdrawn, "what is not said any more is withdrawn");

    daemon.signal("-TERM");
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    let last = until(&other, &record, |bundle| bundle.section(Class::Service).is_some_and(|said| said.flags.withdrawn));
    last.await;
    other.shutdown().await;
}

#[test]
fn a_log_that_cannot_be_written_ends_no_node() {
    let folder = tempfile::tempdir().unwrap();
    let key = container::save_operational_under(container::Password::Random, &key(), PASSWORD).unwrap();
    std::fs::write(folder.path().join("me.op.p12"), key).unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
    command.current_dir(folder.path()).env("CGEID_PASSWORD", PASSWORD).env("LISP_DHT_LOG", "debug");
    command.args(["node", "--identity", "me.op.p12", "--listen", "127.84.3.1", "--port", "0", "--state-dir", "state"]);
    let mut daemon = Daemon(command.stdout(Stdio::piped()).stderr(full).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(daemon.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("/ip4/127."), "{line}");
    daemon.signal("-TERM");
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
}

#[test]
fn what_a_node_cannot_say_is_refused_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("me.op.p12"),
        container::save_operational_under(container::Password::Random, &key(), PASSWORD).unwrap(),
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
    command.current_dir(folder.path()).env("CGEID_PASSWORD", PASSWORD);
    let output = command.args(["node", "--identity", "me.op.p12", "--service", "192.0.2.1,king"]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("king"), "{message}");
}
