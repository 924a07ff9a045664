// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303) between the real programs: ITRs that believe nothing else, a Map-Server that answers nothing else, an ETR
//! that answers for itself, one that the Map-Server answers for, and one that cannot sign. tshark sees S in all that has to have it
//! (RFC 9301, section 1.1).

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use interop::lab::process::{self, Process};
use interop::lab::{Lab, Node, Topology, netlink};
use interop::limits::WHOLE_WAIT;
use interop::probe::capture::Capture;
use interop::probe::ping::{Ping, ping};
use serde_json::Value;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapRegister, MapReply, MapRequest, Nonce};
use wire::record::{LocatorRecord, MappingRecord, Ttl};

use crate::{oracle, support};

const MAP_SYSTEM: &str = "10.9.0.53";
const RESOLVER_SECRET: &str = "of the resolver";
const PATIENCE: Duration = Duration::from_secs(45);

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

    fn start_map_system(&mut self, policy: &str, more: &str) {
        let site = |site: &Site| {
            format!(
                "[[site]]\nname = {:?}\neid-prefix = [{:?}]\nlisp-sec = {policy:?}\n\
                 key = [{{ key-id = 1, secret = \"secret of {}\" }}]\n",
                site.name, site.prefix, site.name
            )
        };
        let peers = format!(
            "[[lisp-sec]]\nname = \"routers\"\npeers = [\"10.9.0.0/24\"]\nkey = [{{ key-id = 3, secret = {RESOLVER_SECRET:?} }}]\n"
        );
        let config = self.folder.path().join("lisp-mapsys.toml");
        std::fs::write(&config, SITES.iter().map(site).collect::<String>() + more + &peers).unwrap();
        let mut command = program("lisp-mapsys");
        command.args(["--listen", MAP_SYSTEM, "--config"]).arg(config);
        self.start("ms", command);
        self.wait("the map system", |stage| stage.running[0].has_printed("ready").then_some(()));
    }

    fn start_site(&mut self, site: &Site, more: &[&str]) {
        let file = |name: &str, text: String| {
            let path = self.folder.path().join(format!("{}-{name}.toml", site.name));
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = file("site", format!("algorithm = \"hkdf-sha256\"\nsecret = \"secret of {}\"\n", site.name));
        let resolver = file("resolver", format!("key-id = 3\nsecret = {RESOLVER_SECRET:?}\n"));
        let mut command = program("lisp-xtr");
        command.args(["--eid-prefix", site.prefix, "--rloc", site.rloc, "--map-server", MAP_SYSTEM, "--key-file"]);
        command.arg(key).arg("--resolver-key-file").arg(resolver).args(more);
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
    let _beside_others = support::beside_others();
    let mut stage = Stage::build();
    let pcap = stage.folder.path().join("ms.pcap");
    let capture = Capture::start(stage.lab.namespace("ms").unwrap(), "eth0", &pcap).unwrap();
    stage.start_map_system("required", "");
    SITES.iter().for_each(|site| stage.start_site(site, site.more));
    let [asks, signs, proxied] = &SITES;
    for other in [signs, proxied] {
        let [from, to] = [asks, other].map(|site| stage.lab.namespace(site.name).unwrap());
        let (source, destination) = (asks.host.parse().unwrap(), other.host.parse().unwrap());
        let pings = Ping { source, destination, count: 4, interval: Duration::from_millis(20), wait: WHOLE_WAIT };
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

/// Two more EID-prefixes, of an ETR that has never heard of LISP-SEC.
const UNSIGNED: [&str; 2] = ["198.18.8.0/24", "198.18.9.0/24"];
const SECRET_OF_UNSIGNED: &str = "secret of unsigned";

/// Registers them without S and without P until that is confirmed, and answers Map-Requests until it is told to stop; they must have no S.
fn play_etr(rloc: &str, (registered, stop): (&AtomicBool, &AtomicBool)) {
    let socket = UdpSocket::bind((rloc, 4342)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let prefixes = UNSIGNED.map(|text| EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() });
    let locators = || vec![LocatorRecord::new(rloc.parse::<std::net::IpAddr>().unwrap(), 1, 100)];
    let record = |prefix: &EidPrefix| MappingRecord::new(*prefix, Ttl(10), locators());
    let records = prefixes.iter().map(record).collect();
    let mut register = MapRegister { want_notify: true, records, ..MapRegister::default() };
    let key = AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new(SECRET_OF_UNSIGNED) };
    let (mut buffer, mut sent) = ([0; 2048], None::<Instant>);
    while !stop.load(Ordering::Relaxed) {
        let is_due = sent.is_none_or(|sent| sent.elapsed() > Duration::from_secs(1));
        if is_due && !registered.load(Ordering::Relaxed) {
            register.nonce = Nonce(register.nonce.0 + 1);
            let sealed = auth::seal(&register.clone().into(), &key, TagForm::Truncated).unwrap();
            socket.send_to(&sealed, (MAP_SYSTEM, 4342)).unwrap();
            sent = Some(Instant::now());
        }
        let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
        let ecm = match ControlMessage::decode(&buffer[..length]) {
            Ok(ControlMessage::Ecm(ecm)) => ecm,
            Ok(ControlMessage::MapNotify(notify)) if notify.records.len() == UNSIGNED.len() => {
                registered.store(true, Ordering::Relaxed);
                continue;
            }
            _ => continue,
        };
        assert!(ecm.security.is_none(), "an ETR that registers without S gets no S");
        let request = MapRequest::decode(&ecm.message).unwrap();
        let asked = request.records[0].eid.ip_prefix().unwrap();
        let records = prefixes.iter().filter(|prefix| prefix.covers(&asked)).map(record).collect();
        let reply = MapReply { nonce: request.nonce, records, ..MapReply::default() };
        let itr = request.itr_rlocs[0].ip().unwrap();
        socket.send_to(&reply.encode().unwrap(), (itr, ecm.source.port())).unwrap();
    }
}

#[test]
fn an_etr_that_cannot_sign_is_asked_without_by_who_allows_that_only() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    let mut stage = Stage::build();
    let site = format!(
        "[[site]]\nname = \"unsigned\"\neid-prefix = {UNSIGNED:?}\nkey = [{{ key-id = 1, algorithm = \"hmac-sha256\", \
         secret = {SECRET_OF_UNSIGNED:?} }}]\n"
    );
    stage.start_map_system("optional", &site);
    let (rloc, [registered, stop]) = (SITES[2].rloc, [(); 2].map(|()| Arc::new(AtomicBool::new(false))));
    let flags = (Arc::clone(&registered), Arc::clone(&stop));
    let etr = stage.lab.namespace(SITES[2].name).unwrap();
    let etr = etr.start(move || play_etr(rloc, (&flags.0, &flags.1))).unwrap();
    stage.wait("registration of the ETR that cannot sign", |_| registered.load(Ordering::Relaxed).then_some(()));
    let (asks, config) = (&SITES[0], stage.folder.path().join("asks.toml"));
    std::fs::write(&config, "lisp-sec = \"prefer\"\n").unwrap();
    stage.start_site(asks, &["--config", config.to_str().unwrap()]);
    let trace = |stage: &Stage, eid: &str| stage.ask(asks, &["trace", eid, "--resolve", "--json"]).unwrap();
    // In a second request, by the Map-Server's proven word (E).
    let open = trace(&stage, "198.18.8.1");
    let entry = &open["trace"]["entry"];
    assert_eq!((&entry["prefix"], &entry["from"]), (&UNSIGNED[0].into(), &rloc.into()), "{open}");
    assert_eq!(entry["secured"], false, "{open}");

    std::fs::write(&config, "lisp-sec = \"require\"\n").unwrap();
    assert!(stage.ask(asks, &["reload", "--json"]).is_some_and(|answer| answer["error"].is_null()));
    let refused = trace(&stage, "198.18.9.1");
    assert_eq!(refused["trace"]["result"], "drop", "{refused}");
    assert_eq!(refused["trace"]["entry"]["secured"], true, "{refused}");
    let counters = stage.ask(asks, &["show", "counters", "--json"]).unwrap();
    assert_eq!(counters["counters"]["control"]["sec-cant-sign"], 1, "{counters}");
    stop.store(true, Ordering::Relaxed);
    etr.join().unwrap();
    process::end_all(std::mem::take(&mut stage.running));
}
