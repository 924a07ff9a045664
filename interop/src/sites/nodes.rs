// SPDX-License-Identifier: GPL-2.0-or-later
//! The programs of the two sites, as an operator would start them: a map system in the core, an xTR for each site.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::network::{CORE, Family, SITES, Site};
use crate::demo::binaries::Binaries;
use crate::interrupt;
use crate::lab::process::{self, Process};
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, LabError, netlink};
use crate::limits::{COMMAND_TIME, POLL, READY_TIME};

/// The secret that both sites share with the map system.
pub(crate) const SECRET: &str = "secretkey";
/// Key ID and algorithm between programs of ours.
const OUR_KEY: (u8, &str) = (1, "hmac-sha256");

/// A network, and where the programs in it are and put their files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The network.
    pub(crate) lab: &'a Lab,
    /// Where the programs are.
    pub(crate) binaries: &'a Binaries,
    /// Where their files go.
    pub(crate) workspace: &'a Workspace,
    /// What tells them from those of other networks; short, as the path of a Unix socket has 107 octets.
    pub(crate) name: &'a str,
}

impl Place<'_> {
    /// The folder of a node.
    pub(crate) fn folder(&self, node: &str) -> std::io::Result<PathBuf> {
        self.workspace.folder(&format!("{}/{node}", self.name))
    }

    /// The control socket of the xTR of a site.
    pub(crate) fn control(&self, site: &Site) -> std::io::Result<PathBuf> {
        Ok(self.folder(site.xtr)?.join("control.sock"))
    }

    fn log(&self, node: &str) -> PathBuf {
        self.workspace.log(&format!("{}-{node}", self.name))
    }
}

/// The programs that run.
#[derive(Debug, Default)]
pub(crate) struct Routers {
    /// In the order of their start: the map system first.
    pub(crate) running: Vec<Process>,
}

impl Routers {
    /// Starts a map system in the core and waits until it serves. Legacy sites have what deployed xTRs send: HMAC-SHA-1 with Key
    /// ID 0, and nonces in any order.
    pub(crate) fn start_map_system(&mut self, place: &Place<'_>, outer: Family, legacy: bool) -> anyhow::Result<()> {
        let address = outer.map_system();
        let length = if outer == Family::V4 { 32 } else { 128 };
        netlink::add_address(place.lab.namespace(CORE)?, "lo", format!("{address}/{length}").parse()?)?;
        let (id, algorithm) = if legacy { (0, "hmac-sha1") } else { OUR_KEY };
        let site = |site: &Site| {
            format!(
                "[[site]]\nname = {:?}\neid-prefix = {:?}\nlegacy = {legacy}\n\
                 key = [{{ key-id = {id}, algorithm = {algorithm:?}, secret = {SECRET:?} }}]\n",
                site.xtr, site.prefixes
            )
        };
        let folder = place.folder(CORE)?;
        let config = folder.join("lisp-mapsys.toml");
        std::fs::write(&config, SITES.iter().map(site).collect::<String>())
            .context("the map system's configuration")?;
        let mut command = place.binaries.command("lisp-mapsys");
        command.args(["--listen", address]).arg("--config").arg(config).arg("--state-dir").arg(folder);
        self.start_in(place, CORE, command)?;
        let deadline = Instant::now() + READY_TIME;
        while !self.running.iter().all(|process| process.has_printed("ready")) {
            self.check()?;
            ensure!(Instant::now() < deadline, "lisp-mapsys does not serve after {READY_TIME:?}");
            interrupt::sleep(POLL)?;
        }
        Ok(())
    }

    /// Starts our xTR of a site with locators of these families, the map system being reached by the first.
    pub(crate) fn start(
        &mut self,
        place: &Place<'_>,
        site: &Site,
        outer: &[Family],
        more: &[String],
    ) -> anyhow::Result<()> {
        let prefixes = site.prefixes.into_iter().flat_map(|prefix| ["--eid-prefix", prefix]);
        let rlocs = outer.iter().flat_map(|family| ["--rloc", site.rloc(*family)]);
        let servers = outer.iter().take(1).flat_map(|family| server(*family));
        let flags = prefixes.chain(rlocs).chain(servers).chain(more.iter().map(String::as_str));
        self.start_xtr(place, site.xtr, &flags.collect::<Vec<_>>())
    }

    /// Starts an xTR of ours with these flags, and the key that it shares with the map system.
    pub(crate) fn start_xtr(&mut self, place: &Place<'_>, xtr: &str, flags: &[&str]) -> anyhow::Result<()> {
        let folder = place.folder(xtr)?;
        let key = folder.join("key.toml");
        let (id, algorithm) = OUR_KEY;
        std::fs::write(&key, format!("algorithm = {algorithm:?}\nkey-id = {id}\nsecret = {SECRET:?}\n"))
            .with_context(|| format!("the key of {xtr}"))?;
        let mut command = place.binaries.command("lisp-xtr");
        command.arg("--key-file").arg(key).arg("--state-dir").arg(folder).args(flags);
        self.start_in(place, xtr, command)
    }

    /// Starts a program in the namespace of a node.
    pub(crate) fn start_in(&mut self, place: &Place<'_>, node: &str, command: Command) -> anyhow::Result<()> {
        self.running.push(Process::start(place.lab.namespace(node)?, node, command, &place.log(node))?);
        Ok(())
    }

    /// Waits until the map system leads to both sites, by locators of the first of these families.
    pub(crate) fn await_mapped(&mut self, place: &Place<'_>, outer: &[Family]) -> anyhow::Result<()> {
        SITES.iter().try_for_each(|site| self.await_site(place, site, outer))
    }

    /// Waits until the map system leads to a site, by locators of the first of these families.
    pub(crate) fn await_site(&mut self, place: &Place<'_>, site: &Site, outer: &[Family]) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIME;
        let resolver = outer.first().context("no family")?.map_system();
        for (prefix, host) in site.prefixes.iter().zip(site.hosts) {
            loop {
                self.check()?;
                let mut command = place.binaries.command("lig");
                command.args([host, "--json", "--map-resolver", resolver]);
                let output = process::output(place.lab.namespace(CORE)?, command, COMMAND_TIME)?;
                let answer = serde_json::from_str::<Value>(&output.stdout).unwrap_or_default();
                let led = answer["locators"].as_array().is_some_and(|locators| !locators.is_empty());
                if led && answer["prefix"] == *prefix {
                    break;
                }
                let seen = format!("{} {}", output.stdout.trim(), output.stderr.trim());
                ensure!(Instant::now() < deadline, "{host} is not known after {READY_TIME:?}; last seen: {seen}");
                interrupt::sleep(POLL * 5)?;
            }
        }
        Ok(())
    }

    /// Starts our xTR of a site with these locators, and what else is to be said to it.
    pub(crate) fn start_site(
        &mut self,
        place: &Place<'_>,
        site: &Site,
        rlocs: &[&str],
        more: &[&str],
    ) -> anyhow::Result<()> {
        let rlocs = rlocs.iter().flat_map(|rloc| ["--rloc", rloc]);
        let more = server(Family::V4).into_iter().chain(rlocs).chain(more.iter().copied());
        self.start(place, site, &[], &more.map(str::to_owned).collect::<Vec<_>>())
    }

    /// Waits until a program has said something.
    pub(crate) fn await_word(&mut self, node: &str, word: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIME;
        while !self.of(node).is_some_and(|process| process.has_printed(word)) {
            self.check()?;
            ensure!(Instant::now() < deadline, "{node} does not say {word:?} after {READY_TIME:?}");
            interrupt::sleep(POLL)?;
        }
        Ok(())
    }

    /// The process in a node, by the order of their start.
    pub(crate) fn of(&self, node: &str) -> Option<&Process> {
        self.running.iter().find(|process| process.name() == node)
    }

    /// Fails when a program has ended that should run.
    pub(crate) fn check(&mut self) -> Result<(), LabError> {
        self.running.iter_mut().try_for_each(Process::check)
    }

    /// What each program said last.
    pub(crate) fn last_words(&self) -> Vec<String> {
        let words =
            |process: &Process| format!("The last lines of {}:\n  {}", process.name(), process.log_tail().join("\n  "));
        self.running.iter().map(words).collect()
    }
}

/// The flags of an xTR whose map system is reached by that family.
pub(super) fn server(family: Family) -> [&'static str; 4] {
    ["--map-server", family.map_system(), "--map-resolver", family.map_system()]
}
