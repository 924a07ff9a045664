// SPDX-License-Identifier: GPL-2.0-or-later
//! Two sites, one of them behind a strict NAT at each of its two uplinks: its xTR is reached through an RTR. A third xTR may take over
//! what either has.

pub(crate) mod network;

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::demo::Controls;
use crate::demo::binaries::Binaries;
use crate::hold::Keep;
use crate::interrupt;
use crate::lab::process::{self, Process};
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, netlink};
use crate::limits::{COMMAND_TIME, POLL, READY_TIME};

use network::ROAMING_RLOC;
pub use network::{
    FAR, MAP_SYSTEM, NAT, NEAR, ROAMING, ROAMING_PREFIX, RTR, RTR_ADDRESS, SECOND_NAT, SECOND_RLOC, SECOND_RTR,
    SECOND_RTR_ADDRESS, Site,
};

/// What the sites share with the map system, and what the RTR does.
const SITE_SECRET: &str = "secretkey";
const RTR_SECRET: &str = "secret of the rtr";

/// One that could be behind [`ROAMING`].
const ROAMING_HOST: &str = "198.18.3.2";

/// The configuration of an xTR that has these EID-prefixes, as it lies beside its control socket, to be changed and read anew.
pub fn prefixes_of(prefixes: &[&str]) -> String {
    format!("eid-prefix = {prefixes:?}\n")
}

/// The programs, and where they are.
struct Place<'a> {
    lab: &'a Lab,
    binaries: &'a Binaries,
    workspace: &'a Workspace,
    /// How many RTRs there are.
    rtrs: usize,
    running: Vec<Process>,
}

/// Builds the network with a map system, the RTR and both xTRs, and leaves the rest to `keep`; then takes it down.
///
/// # Errors
/// What was refused or did not come about.
pub fn hold(bin_dir: &Path, keep: Keep<'_>) -> anyhow::Result<()> {
    hold_with(1, bin_dir, keep)
}

/// The same with a second RTR, whom the Map-Server names behind the first.
///
/// # Errors
/// As [`hold`].
pub fn hold_with_two_rtrs(bin_dir: &Path, keep: Keep<'_>) -> anyhow::Result<()> {
    hold_with(2, bin_dir, keep)
}

fn hold_with(rtrs: usize, bin_dir: &Path, keep: Keep<'_>) -> anyhow::Result<()> {
    let binaries = Binaries::find_or_build(Some(bin_dir))?;
    let workspace = Workspace::create(None)?;
    let lab = Lab::build(&network::describe(rtrs))?;
    let mut place = Place { lab: &lab, binaries: &binaries, workspace: &workspace, rtrs, running: Vec::new() };
    let outcome = place.start().and_then(|controls| {
        println!("{}", network::PICTURE);
        for site in [&NEAR, &FAR] {
            println!("{} has {} and {}.", site.host, site.hosts[1], site.hosts[0]);
        }
        println!("Try: interop exec {} -- ping -c 3 {}", FAR.host, NEAR.hosts[1]);
        println!("     interop exec {} -- lisp-xtr show locators", NEAR.xtr);
        println!("     interop exec {RTR} -- lisp-xtr show locators");
        println!("     interop exec {NAT} -- conntrack -F        (the NAT forgets; within 5 seconds it is open again)");
        println!(
            "     interop exec {NAT} -- sysctl -w net.ipv4.ip_forward=0        (within 10 seconds {SECOND_NAT} is used)"
        );
        let running = &mut place.running;
        keep(&lab, controls, &mut || running.iter_mut().try_for_each(Process::check))
    });
    if outcome.is_err() {
        for process in &place.running {
            println!("The last lines of {}:\n  {}", process.name(), process.log_tail().join("\n  "));
        }
    }
    process::end_all(place.running);
    outcome
}

impl Place<'_> {
    fn start(&mut self) -> anyhow::Result<Controls> {
        self.close_the_nats()?;
        let (gateway, port, table) = network::SECOND_GATEWAY;
        netlink::route_from(self.lab.namespace(NEAR.xtr)?, SECOND_RLOC.parse()?, gateway.parse()?, port, table)?;
        self.start_map_system()?;
        for (rtr, address, _) in &network::RTRS[..self.rtrs] {
            let key = self.key(rtr, RTR_SECRET)?;
            let mut command = self.xtr(rtr)?;
            command.args(["--rtr", "--rloc", address, "--key-file"]).arg(key);
            self.run(rtr, command)?;
        }
        let sites = [(&NEAR, "auto"), (&FAR, "off")].map(|(site, nat)| (site.xtr, &site.prefixes[..], site.rloc, nat));
        for (xtr, prefixes, rloc, nat) in
            sites.into_iter().chain([(ROAMING, &[ROAMING_PREFIX][..], ROAMING_RLOC, "off")])
        {
            let key = self.key(xtr, SITE_SECRET)?;
            let config = self.folder(xtr)?.join("lisp-xtr.toml");
            std::fs::write(&config, prefixes_of(prefixes)).with_context(|| format!("the configuration of {xtr}"))?;
            let mut command = self.xtr(xtr)?;
            // Of those that give an xTR-ID the map system tells one when another has what was its own.
            command.args(["--rloc", rloc, "--nat", nat, "--site-id", "1", "--key-file"]).arg(key);
            command.arg("--config").arg(config);
            if xtr == NEAR.xtr {
                command.args(["--rloc", &format!("{SECOND_RLOC},priority=2")]);
            }
            self.run(xtr, command)?;
        }
        self.await_mapped(&NEAR.hosts, RTR_ADDRESS)?;
        self.await_mapped(&FAR.hosts, FAR.rloc)?;
        self.await_mapped(&[ROAMING_HOST], ROAMING_RLOC)?;
        let control = |node: &str| Ok((node.to_owned(), self.folder(node)?.join("control.sock")));
        let rtrs = network::RTRS[..self.rtrs].iter().map(|(rtr, ..)| *rtr);
        [NEAR.xtr, FAR.xtr, ROAMING].into_iter().chain(rtrs).map(control).collect()
    }

    /// Each binding of one has a port of its own, by chance, and lets in what answers from the same address and port, nothing else.
    fn close_the_nats(&self) -> anyhow::Result<()> {
        let rules = self.folder(NAT)?.join("rules.nft");
        std::fs::write(&rules, network::RULES).context("the rules of the NATs")?;
        for nat in [NAT, SECOND_NAT] {
            let mut command = Command::new("nft");
            command.arg("-f").arg(&rules);
            let output = process::output(self.lab.namespace(nat)?, command, COMMAND_TIME)?;
            ensure!(output.status.is_some_and(|status| status.success()), "nft: {}", output.stderr.trim());
        }
        Ok(())
    }

    fn start_map_system(&mut self) -> anyhow::Result<()> {
        let core = self.lab.namespace(network::CORE)?;
        netlink::add_address(core, "lo", format!("{}/32", network::MAP_SYSTEM).parse()?)?;
        let prefixes = [&NEAR.prefixes[..], &FAR.prefixes, &[ROAMING_PREFIX]].concat();
        let site = format!(
            "[[site]]\nname = \"all\"\neid-prefix = {prefixes:?}\n\
             key = [{{ key-id = 1, algorithm = \"hmac-sha256\", secret = {SITE_SECRET:?} }}]\n"
        );
        let rtr = |(_, address, _): &(&str, &str, &str)| {
            format!(
                "[[rtr]]\naddress = [{address:?}]\n\
                 key = {{ key-id = 1, algorithm = \"hmac-sha256\", secret = {RTR_SECRET:?} }}\n"
            )
        };
        let rtrs: String = network::RTRS[..self.rtrs].iter().map(rtr).collect();
        let folder = self.folder(network::CORE)?;
        let config = folder.join("lisp-mapsys.toml");
        std::fs::write(&config, [site, rtrs].concat()).context("the map system's configuration")?;
        let mut command = self.binaries.command("lisp-mapsys");
        command.args(["--listen", network::MAP_SYSTEM]).arg("--config").arg(config).arg("--state-dir").arg(folder);
        self.run(network::CORE, command)?;
        let deadline = Instant::now() + READY_TIME;
        while !self.running.iter().all(|process| process.has_printed("ready")) {
            self.running.iter_mut().try_for_each(Process::check)?;
            ensure!(Instant::now() < deadline, "lisp-mapsys does not serve after {READY_TIME:?}");
            interrupt::sleep(POLL)?;
        }
        Ok(())
    }

    /// Waits until the map system leads to these hosts by this locator.
    fn await_mapped(&mut self, hosts: &[&str], rloc: &str) -> anyhow::Result<()> {
        let (deadline, rloc) = (Instant::now() + READY_TIME, rloc.parse::<IpAddr>()?.to_string());
        for host in hosts {
            loop {
                self.running.iter_mut().try_for_each(Process::check)?;
                let mut command = self.binaries.command("lig");
                command.args([*host, "--json", "--map-resolver", network::MAP_SYSTEM]);
                let output = process::output(self.lab.namespace(network::CORE)?, command, COMMAND_TIME)?;
                let answer = serde_json::from_str::<Value>(&output.stdout).unwrap_or_default();
                if answer["locators"][0]["address"] == rloc {
                    break;
                }
                let seen = format!("{} {}", output.stdout.trim(), output.stderr.trim());
                ensure!(Instant::now() < deadline, "{host} is not at {rloc} after {READY_TIME:?}; last seen: {seen}");
                interrupt::sleep(POLL * 5)?;
            }
        }
        Ok(())
    }

    /// An xTR of this map system, with its state in the folder of its node.
    fn xtr(&self, node: &str) -> anyhow::Result<Command> {
        let mut command = self.binaries.command("lisp-xtr");
        command.args(["--map-server", network::MAP_SYSTEM, "--state-dir"]).arg(self.folder(node)?);
        Ok(command)
    }

    fn key(&self, node: &str, secret: &str) -> anyhow::Result<std::path::PathBuf> {
        let path = self.folder(node)?.join("key.toml");
        let text = format!("algorithm = \"hmac-sha256\"\nkey-id = 1\nsecret = {secret:?}\n");
        std::fs::write(&path, text).with_context(|| format!("the key of {node}"))?;
        Ok(path)
    }

    fn folder(&self, node: &str) -> std::io::Result<std::path::PathBuf> {
        self.workspace.folder(&format!("nat/{node}"))
    }

    fn run(&mut self, node: &str, command: Command) -> anyhow::Result<()> {
        let log = self.workspace.log(&format!("nat-{node}"));
        self.running.push(Process::start(self.lab.namespace(node)?, node, command, &log)?);
        Ok(())
    }
}
