// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303) between the real programs: ITRs that believe nothing else, a Map-Server that answers nothing else, an ETR
//! that answers for itself and one that the Map-Server answers for; tshark sees S in all that has to have it (RFC 9301, section 1.1).
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "support/oracle.rs"]
mod oracle;
mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use interop::lab::process::{self, Process};
use interop::lab::{Lab, Node, Topology, netlink};
use interop::probe::capture::Capture;
use interop::probe::ping::{Ping, ping};
use serde_json::Value;

const MAP_SYSTEM: &str = "10.9.0.53";
const RESOLVER_SECRET: &str = "of the resolver";
const PATIENCE: Duration = Duration::from_secs(20);

/// A site, whose host is its xTR itself.
struct Site {
    name: &'static str,
    rloc: &'static str,
    prefix: &'static str,
    host: &'static str,
    more: &'static [&'static str],
}

const SITES: [Site; 3] = [
    Site {
        name: "asks",
        rloc: "10.9.0.1",
        prefix: "198.18.1.0/24",
        host: "198.18.1.2",
        more: &["--lisp-sec", "require"],
    },
    Site {
        name: "signs",
        rloc: "10.9.0.2",
        prefix: "198.18.2.0/24",
        host: "198.18.2.2",
        more: &["--lisp-sec", "require", "--proxy-reply", "false"],
    },
    Site {
        name: "proxied",
        rloc: "10.9.0.3",
        prefix: "198.18.3.0/24",
        host: "198.18.3.2",
        more: &["--lisp-sec", "prefer"],
    },
];

/// Programs and their folder.
struct Stage {
    lab: Lab,
    folder: tempfile::TempDir,
    running: Vec<Process>,
}

fn program(name: &str) -> Command {
    let mut command = Command::new(Path::new(support::built_programs()).join(name));
    command.env_clear();
    command
}

impl Stage {
    fn build() -> Self {
        let node = |name: &str, address: &str| Node::host(name).port("eth0", "net", &[&format!("{address}/24")]);
        let sites = SITES.iter().map(|site| node(site.name, site.rloc));
        let topology = Topology::default().switch("net").with(node("ms", MAP_SYSTEM));
        let lab = Lab::build(&sites.fold(topology, Topology::with)).unwrap();
        for site in &SITES {
            let host = format!("{}/32", site.host).parse().unwrap();
            netlink::add_address(lab.namespace(site.name).unwrap(), "lo", host).unwrap();
        }
        Self { lab, folder: tempfile::tempdir().unwrap(), running: vec![] }
    }

    fn start(&mut self, node: &str, mut command: Command) {
        let state = self.folder.path().join(node);
        command.arg("--state-dir").arg(&state);
        let log = self.folder.path().join(format!("{node}.log"));
        self.running.push(Process::start(self.lab.namespace(node).unwrap(), node, command, &log).unwrap());
    }

    fn start_map_system(&mut self) {
        let site = |site: &Site| {
            format!(
                "[[site]]\nname = {:?}\neid-prefix = [{:?}]\nlisp-sec = \"required\"\n\
                 key = [{{ key-id = 1, secret = \"secret of {}\" }}]\n",
                site.name, site.prefix, site.name
            )
        };
        let peers = format!(
            "[[lisp-sec]]\nname = \"routers\"\npeers = [\"10.9.0.0/24\"]\nkey = [{{ key-id = 3, secret = {RESOLVER_SECRET:?} }}]\n"
        );
        let config = self.folder.path().join("lisp-mapsys.toml");
        std::fs::write(&config, SITES.iter().map(site).collect::<String>() + &peers).unwrap();
        let mut command = program("lisp-mapsys");
        command.args(["--listen", MAP_SYSTEM, "--config"]).arg(config);
        self.start("ms", command);
        self.wait("the map system", |stage| stage.running[0].has_printed("ready").then_some(()));
    }

    fn start_site(&mut self, site: &Site) {
        let file = |name: &str, text: String| {
            let path = self.folder.path().join(format!("{}-{name}.toml", site.name));
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = file("site", format!("algorithm = \"hkdf-sha256\"\nsecret = \"secret of {}\"\n", site.name));
        let resolver = file("resolver", format!("key-id = 3\nsecret = {RESOLVER_SECRET:?}\n"));
        let mut command = program("lisp-xtr");
        command.args(["--eid-prefix", site.prefix, "--rloc", site.rloc, "--map-server", MAP_SYSTEM, "--key-file"]);
        command.arg(key).arg("--resolver-key-file").arg(resolver).args(site.more);
        self.start(site.name, command);
        self.wait("a registration", |stage| {
            let rows = stage.ask(site, &["show", "registrations", "--json"])?;
            rows["registrations"][0]["confirmed_ago"].is_u64().then_some(())
        });
    }

    /// What a node of a site answers.
    fn ask(&self, site: &Site, question: &[&str]) -> Option<Value> {
        let mut command = program("lisp-xtr");
        command.args(question).arg("--state-dir").arg(self.folder.path().join(site.name));
        let output = process::output(self.lab.namespace(site.name).unwrap(), command, PATIENCE).unwrap();
        serde_json::from_str(&output.stdout).ok()
    }

    fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            self.running.iter_mut().for_each(|process| process.check().unwrap());
            if let Some(seen) = look(self) {
                return seen;
            }
            let logs: Vec<_> = self.running.iter().map(Process::log_tail).collect();
            assert!(started.elapsed() < PATIENCE, "no {what}: {logs:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn sites_that_believe_nothing_else_reach_each_other() {
    if !support::root_or_skip() {
        return;
    }
    let mut stage = Stage::build();
    let pcap = stage.folder.path().join("ms.pcap");
    let capture = Capture::start(stage.lab.namespace("ms").unwrap(), "eth0", &pcap).unwrap();
    stage.start_map_system();
    SITES.iter().for_each(|site| stage.start_site(site));
    let [asks, signs, proxied] = &SITES;
    for other in [signs, proxied] {
        let [from, to] = [asks, other].map(|site| stage.lab.namespace(site.name).unwrap());
        let (source, destination) = (asks.host.parse().unwrap(), other.host.parse().unwrap());
        let pings = Ping { source, destination, count: 4, interval: Duration::from_millis(20) };
        assert_eq!(
            ping(from, to, pings).unwrap().received(),
            4,
            "{} {:?}",
            other.name,
            stage.ask(asks, &["show", "counters", "--json"])
        );
        let trace = stage.ask(asks, &["trace", other.host, "--json"]).unwrap();
        let entry = &trace["trace"]["entry"];
        assert_eq!((&entry["prefix"], &entry["secured"]), (&other.prefix.into(), &true.into()), "{trace}");
        // By whom: the ETR itself, or the Map-Server for it.
        let from = if other.name == "signs" { signs.rloc } else { MAP_SYSTEM };
        assert_eq!(entry["from"], from, "{trace}");
    }
    for site in &SITES {
        let cached = stage.ask(site, &["show", "map-cache", "--json"]).unwrap();
        let cached = cached["map-cache"].as_array().unwrap();
        assert!(!cached.is_empty() && cached.iter().all(|row| row["secured"] == true), "{cached:?}");
    }
    let counters = stage.ask(signs, &["show", "counters", "--json"]).unwrap();
    assert_eq!(counters["counters"]["control"]["sec-required"], 0, "{counters}");
    process::end_all(std::mem::take(&mut stage.running));
    capture.stop().unwrap();
    if oracle::tshark_or_skip() {
        let [requests, registers] = ["lisp.ecm.flags.sec", "lisp.mreg.flags.sec"].map(|flag| flags(&pcap, flag));
        let replies = flags(&pcap, "lisp.mrep.flags.sec");
        for (what, seen) in [("ECMs", requests), ("Map-Registers", registers), ("Map-Replies", replies)] {
            assert!(!seen.is_empty() && seen.iter().all(|flag| flag == "1"), "{what}: {seen:?}");
        }
    }
}

/// The values of a flag in a capture, as tshark reads them; probes are between xTRs only, and do not pass there.
fn flags(capture: &Path, flag: &str) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", flag, "-T", "fields", "-e", flag]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
