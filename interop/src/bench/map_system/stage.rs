// SPDX-License-Identifier: GPL-2.0-or-later
//! The lab of the bench: who asks on one cable, a second map system on another.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use wire::address::EidPrefix;

use super::questions::{SCATTERED, Sites};
use crate::bench::register::register_one;
use crate::demo::binaries::Binaries;
use crate::lab::process::{self, Process};
use crate::lab::{Lab, Node, Topology, netlink};
use crate::limits::{COMMAND_TIME, POLL};

/// The map system that is measured.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// Its one configured client.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The map system of the foreign sites.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 54);
/// The map system of very many sites, beside it.
const MANY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 55);
/// The measured one towards them.
const BACK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);
/// Addresses without privilege, all at the client: the 4,096 after this. Loopback devices have every address of their prefixes
/// but the first and the last.
pub(super) const CROWD: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 0);
const CROWD_NET: &str = "10.9.0.1/19";
pub(super) const SECRET: &str = "a secret of the bench";
const DHT_PORT: &str = "43420";

/// The lab, and both map systems.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) server: Process,
    far: Process,
    pub(super) lab: Lab,
    binaries: Binaries,
    folder: PathBuf,
    /// What leads others to the DHT.
    introduced: Vec<String>,
    workers: u8,
    /// The sites that are registered at the measured map system.
    own: Sites,
    /// Whether very many more were.
    has_million: bool,
}

impl Stage {
    /// Builds the lab, starts both map systems and registers the sites: `own` at the measured one, which serves in so many threads,
    /// `foreign` at the other.
    pub(super) fn build(
        binaries: &Binaries,
        folder: &Path,
        (own, foreign): (Sites, Sites),
        workers: u8,
    ) -> anyhow::Result<Self> {
        let lab = Lab::build(&topology())?;
        netlink::add_address(lab.namespace("client")?, "lo", CROWD_NET.parse()?)?;
        let far = start(&lab, binaries, "far", &configuration(foreign), &folder.join("far"), FAR, FAR, &[])?;
        let introduced = introductions(&folder.join("far.log"))?;
        let server = start_measured(&lab, (binaries, folder), own, (&introduced, workers))?;
        let (binaries, folder) = (binaries.clone(), folder.to_path_buf());
        let mut stage = Self { server, far, lab, binaries, folder, introduced, workers, own, has_million: false };
        register(&stage.lab, "far", FAR, FAR, foreign)?;
        stage.check()?;
        Ok(stage)
    }

    /// Very many will be registered. Where they were before, the measured map system is started anew, as it was in the beginning.
    pub(super) fn begin_million(&mut self) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.has_million, true) {
            self.server.end();
            std::fs::remove_dir_all(self.folder.join("server"))?;
            let place = (&self.binaries, &*self.folder);
            self.server = start_measured(&self.lab, place, self.own, (&self.introduced, self.workers))?;
        }
        Ok(())
    }

    /// Fails when a map system has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        for process in [&mut self.server, &mut self.far] {
            process.check().with_context(|| process.log_tail().join("\n"))?;
        }
        Ok(())
    }

    /// The counters of the measured map system.
    pub(super) fn counters(&self) -> anyhow::Result<Value> {
        let mut command = self.binaries.command("lisp-mapsys");
        command.args(["show", "counters", "--json", "--state-dir"]).arg(self.folder.join("server").join("state"));
        let output = process::output(self.lab.namespace("server")?, command, COMMAND_TIME)?;
        serde_json::from_str(&output.stdout).with_context(|| output.stderr)
    }

    /// One more map system with very many sites, and a socket beside it, connected to it. Another is its trust anchor: it has no
    /// index pages to publish, only what is registered.
    pub(super) fn start_many(&self, sites: Sites) -> anyhow::Result<(Process, UdpSocket)> {
        let anchor = self.introduced.iter().find_map(|word| word.split_once('=')).context("no trust anchor")?.1;
        let around = sites.prefix(0).net.supernet().map(|_| ipnet::IpNet::new(sites.prefix(0).net.addr(), 32));
        let around = around.context("a prefix around the sites")??.trunc();
        let mut more: Vec<String> = vec!["--trust-anchor".into(), format!("{around}={anchor}")];
        more.extend(["--workers".into(), self.workers.to_string()]);
        let bootstrap = self.introduced.chunks(2).filter(|words| words[0] == "--bootstrap").flatten().cloned();
        more.extend(bootstrap);
        let folder = self.folder.join("many");
        // What an earlier one has left is not to be taken up.
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        let process = start(&self.lab, &self.binaries, "many", &configuration(sites), &folder, MANY, MANY, &more)?;
        let socket = self.lab.namespace("far")?.run(|| UdpSocket::bind((FAR, 0)))??;
        socket.connect(SocketAddrV4::new(MANY, wire::CONTROL_PORT))?;
        Ok((process, socket))
    }

    /// A socket of the configured client.
    pub(super) fn client_socket(&self) -> anyhow::Result<UdpSocket> {
        Ok(self.lab.namespace("client")?.run(|| UdpSocket::bind((CLIENT, 0)))??)
    }

    /// A socket of the client, for all of its addresses.
    pub(super) fn socket(&self) -> anyhow::Result<UdpSocket> {
        Ok(self.lab.namespace("client")?.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??)
    }
}

fn topology() -> Topology {
    Topology::default()
        .switch("back")
        .with(
            Node::host("server")
                .port("eth0", "front", &["192.0.2.53/24"])
                .port("eth1", "back", &["198.51.100.53/24"])
                .default_route("192.0.2.2", "eth0"),
        )
        .with(Node::host("client").port("eth0", "front", &["192.0.2.2/24"]))
        .with(Node::host("far").port("eth0", "back", &["198.51.100.54/24"]))
        .with(Node::host("many").port("eth0", "back", &["198.51.100.55/24"]))
}

/// The map system that is measured, where `own` is registered.
fn start_measured(
    lab: &Lab,
    (binaries, folder): (&Binaries, &Path),
    own: Sites,
    (introduced, workers): (&[String], u8),
) -> anyhow::Result<Process> {
    let sites = configuration(own) + &aggregate(SCATTERED);
    let more = [introduced, &["--workers".into(), workers.to_string()]].concat();
    let server = start(lab, binaries, "server", &sites, &folder.join("server"), SERVER, BACK, &more)?;
    register(lab, "client", CLIENT, SERVER, own)?;
    Ok(server)
}

#[allow(clippy::too_many_arguments, reason = "the two map systems differ in all of these")]
fn start(
    lab: &Lab,
    binaries: &Binaries,
    name: &str,
    sites: &str,
    folder: &Path,
    listen: Ipv4Addr,
    dht: Ipv4Addr,
    more: &[String],
) -> anyhow::Result<Process> {
    std::fs::create_dir_all(folder)?;
    let config = folder.join("mapsys.toml");
    std::fs::write(&config, sites)?;
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

/// A site that registers what it likes inside a prefix, which alone is published.
fn aggregate(within: &str) -> String {
    format!(
        "[[site]]\nname = \"many\"\neid-prefix = [\"{within}\"]\naccept-more-specifics = 48\npublish = \"aggregate\"\n\
         notify-port = \"source\"\nkey = [{{ key-id = 1, algorithm = \"hmac-sha256\", secret = \"{SECRET}\" }}]\n"
    )
}

/// The flags that lead others to a map system and make them trust it, as it prints them.
fn introductions(log: &PathBuf) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(log)?;
    let flags = text.lines().filter(|line| line.starts_with("--bootstrap ") || line.starts_with("--trust-anchor "));
    Ok(flags.flat_map(str::split_whitespace).map(str::to_owned).collect())
}

/// Registers sites, and waits for each Map-Notify. They stay for a day (T), so that the bench needs no second round.
fn register(lab: &Lab, host: &str, from: Ipv4Addr, server: Ipv4Addr, sites: Sites) -> anyhow::Result<()> {
    let socket = lab.namespace(host)?.run(move || UdpSocket::bind((from, 0)))??;
    socket.connect(SocketAddr::from(SocketAddrV4::new(server, wire::CONTROL_PORT)))?;
    sites.prefixes().try_for_each(|prefix| register_one(&socket, SECRET, prefix))
}
