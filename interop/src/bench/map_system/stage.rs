// SPDX-License-Identifier: GPL-2.0-or-later
//! The lab of the bench: who asks on one cable, a second map system on another.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use wire::address::{Address, Eid, EidPrefix};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapRegister, Nonce};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

use super::questions::Sites;
use crate::demo::binaries::Binaries;
use crate::lab::process::Process;
use crate::lab::{Lab, Node, Topology, netlink};
use crate::limits::{COMMAND_TIME, POLL};

/// The map system that is measured.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// Its one configured client.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The map system of the foreign sites.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 54);
/// The measured one towards it.
const BACK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);
/// Addresses without privilege, all at the client: the 4,096 after this. Loopback devices have every address of their prefixes
/// but the first and the last.
pub(super) const CROWD: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 0);
const CROWD_NET: &str = "10.9.0.1/19";
const SECRET: &str = "a secret of the bench";
const DHT_PORT: &str = "43420";
/// After this a Map-Notify is asked for again.
const NOTIFY_TIME: Duration = Duration::from_millis(500);

/// The lab, and both map systems.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) server: Process,
    far: Process,
    pub(super) lab: Lab,
}

impl Stage {
    /// Builds the lab, starts both map systems and registers the sites: `own` at the measured one, `foreign` at the other.
    pub(super) fn build(binaries: &Binaries, folder: &Path, own: Sites, foreign: Sites) -> anyhow::Result<Self> {
        let lab = Lab::build(&topology())?;
        netlink::add_address(lab.namespace("client")?, "lo", CROWD_NET.parse()?)?;
        let far = start(&lab, binaries, "far", foreign, &folder.join("far"), FAR, FAR, &[])?;
        let introduced = introductions(&folder.join("far.log"))?;
        let server = start(&lab, binaries, "server", own, &folder.join("server"), SERVER, BACK, &introduced)?;
        let mut stage = Self { server, far, lab };
        register(&stage.lab, "client", CLIENT, SERVER, own)?;
        register(&stage.lab, "far", FAR, FAR, foreign)?;
        stage.check()?;
        Ok(stage)
    }

    /// Fails when a map system has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        for process in [&mut self.server, &mut self.far] {
            process.check().with_context(|| process.log_tail().join("\n"))?;
        }
        Ok(())
    }

    /// A socket of the client, for all of its addresses.
    pub(super) fn socket(&self) -> anyhow::Result<UdpSocket> {
        Ok(self.lab.namespace("client")?.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??)
    }
}

fn topology() -> Topology {
    Topology::default()
        .with(
            Node::host("server")
                .port("eth0", "front", &["192.0.2.53/24"])
                .port("eth1", "back", &["198.51.100.53/24"])
                .default_route("192.0.2.2", "eth0"),
        )
        .with(Node::host("client").port("eth0", "front", &["192.0.2.2/24"]))
        .with(Node::host("far").port("eth0", "back", &["198.51.100.54/24"]))
}

#[allow(clippy::too_many_arguments, reason = "the two map systems differ in all of these")]
fn start(
    lab: &Lab,
    binaries: &Binaries,
    name: &str,
    sites: Sites,
    folder: &Path,
    listen: Ipv4Addr,
    dht: Ipv4Addr,
    more: &[String],
) -> anyhow::Result<Process> {
    std::fs::create_dir_all(folder)?;
    let config = folder.join("mapsys.toml");
    std::fs::write(&config, configuration(sites))?;
    let mut command = binaries.command("lisp-mapsys");
    command.args(["--listen", &listen.to_string(), "--dht-listen", &dht.to_string(), "--dht-port", DHT_PORT]);
    command.arg("--config").arg(&config).arg("--state-dir").arg(folder.join("state")).args(more);
    let mut process = Process::start(lab.namespace(name)?, name, command, &folder.with_extension("log"))?;
    let deadline = Instant::now() + COMMAND_TIME;
    while !process.has_printed("ready") {
        process.check().with_context(|| process.log_tail().join("\n"))?;
        ensure!(Instant::now() < deadline, "lisp-mapsys is not ready: {}", process.log_tail().join("\n"));
        std::thread::sleep(POLL);
    }
    Ok(process)
}

/// One site a prefix, and one client.
fn configuration(sites: Sites) -> String {
    let site = |prefix: EidPrefix| {
        let net = prefix.net;
        format!(
            "[[site]]\nname = \"{net}\"\neid-prefix = [\"{net}\"]\nnotify-port = \"source\"\n\
             key = [{{ key-id = 1, algorithm = \"hmac-sha256\", secret = \"{SECRET}\" }}]\n"
        )
    };
    let sites: String = sites.prefixes().map(site).collect();
    format!("clients = [\"{CLIENT}/32\"]\n{sites}")
}

/// The flags that lead others to a map system and make them trust it, as it prints them.
fn introductions(log: &PathBuf) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(log)?;
    let flags = text.lines().filter(|line| line.starts_with("--bootstrap ") || line.starts_with("--trust-anchor "));
    Ok(flags.flat_map(str::split_whitespace).map(str::to_owned).collect())
}

/// The mapping of a site of the bench.
pub(super) fn record(prefix: EidPrefix) -> MappingRecord {
    let locator = LocatorRecord {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        local: true,
        probed: false,
        reachable: true,
        rloc: Address::from(IpAddr::from([203, 0, 113, 1])),
    };
    MappingRecord {
        ttl: Ttl(1440),
        action: Action::NoAction,
        authoritative: true,
        map_version: MapVersion::default(),
        eid: Eid::from(prefix),
        locators: vec![locator],
    }
}

/// Registers sites, and waits for each Map-Notify. They stay for a day (T), so that the bench needs no second round.
fn register(lab: &Lab, host: &str, from: Ipv4Addr, server: Ipv4Addr, sites: Sites) -> anyhow::Result<()> {
    let socket = lab.namespace(host)?.run(move || UdpSocket::bind((from, 0)))??;
    socket.connect(SocketAddr::from(SocketAddrV4::new(server, wire::CONTROL_PORT)))?;
    socket.set_read_timeout(Some(NOTIFY_TIME))?;
    sites.prefixes().try_for_each(|prefix| register_one(&socket, prefix))
}

fn register_one(socket: &UdpSocket, prefix: EidPrefix) -> anyhow::Result<()> {
    let (proxy_reply, want_notify, use_ttl) = (true, true, true);
    let records = vec![record(prefix)];
    let message = MapRegister { nonce: Nonce(1), proxy_reply, want_notify, use_ttl, records, ..MapRegister::default() };
    let key = AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new(SECRET.as_bytes()) };
    let sealed = auth::seal(&message.into(), &key, TagForm::Truncated)?;
    let mut buffer = [0; 2048];
    for _ in 0..10 {
        socket.send(&sealed)?;
        if let Ok(length) = socket.recv(&mut buffer)
            && matches!(ControlMessage::decode(&buffer[..length]), Ok(ControlMessage::MapNotify(_)))
        {
            return Ok(());
        }
    }
    bail!("the map system does not confirm {prefix}")
}
