// SPDX-License-Identifier: GPL-2.0-or-later
//! The programs of a case: how each is started, and how one sees that it is ready.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::cases::{Case, Player};
use super::network::{Eids, MS, SITES, Site, WATCH};
use super::play::{Place, Programs};
use super::{Peer, kernel, oor, openlisp};
use crate::demo::binaries::Binaries;
use crate::interrupt;
use crate::lab::process::{self, Process};
use crate::lab::{Lab, LabError};
use crate::limits::{COMMAND_TIME, POLL};

/// A network, and what runs in it.
pub(super) struct Stage<'a> {
    pub(super) case: &'a Case,
    pub(super) lab: &'a Lab,
    pub(super) place: &'a Place<'a>,
    pub(super) programs: &'a Programs,
    pub(super) running: Vec<Process>,
    /// How another node of the DHT begins with the map-server's: the flags that it prints.
    pub(super) introductions: Vec<String>,
}

/// The secret that every site shares with the map-server.
const SECRET: &str = "secretkey";
/// How long a registration may take from the start of a node: peers try again after 3 s.
const REGISTRATION_TIME: Duration = Duration::from_secs(20);

impl Stage<'_> {
    /// Starts the map-server.
    pub(super) fn start_map_server(&mut self) -> anyhow::Result<()> {
        let folder = self.folder(MS)?;
        let command = match self.case.map_server {
            Player::Ours => self.our_map_server(&folder)?,
            Player::Theirs(Peer::Oor) => oor::command(self.programs.of(Peer::Oor)?, &folder, &oor::map_server(SECRET))?,
            Player::Theirs(Peer::Openlisp) => {
                openlisp::map_server(self.programs.of(Peer::Openlisp)?, &folder, SECRET, self.case.xtrs)?
            }
            Player::Theirs(Peer::Kernel) => bail!("the kernel is no map-server"),
        };
        self.start(MS, command)?;
        if self.case.through_dht { self.start_resolver() } else { Ok(()) }
    }

    /// Starts a map-resolver that knows the map-server's node and whom it may believe about the sites, as the map-server prints it,
    /// and nothing else.
    fn start_resolver(&mut self) -> anyhow::Result<()> {
        self.await_ready(0)?;
        let text = std::fs::read_to_string(self.log(MS)).context("what ms has printed")?;
        let is_introduction = |line: &&str| line.starts_with("--bootstrap ") || line.starts_with("--trust-anchor ");
        let flags = text.lines().filter(is_introduction).flat_map(str::split_whitespace);
        self.introductions = flags.map(str::to_owned).collect();
        let mut command = self.ours()?.command("lisp-mapsys");
        command.args(["--listen", self.map_resolver()]);
        command.args(&self.introductions).arg("--state-dir").arg(self.folder(WATCH)?);
        self.start(WATCH, command)?;
        self.await_ready(1)
    }

    /// Waits until a program of ours says that it serves.
    fn await_ready(&mut self, index: usize) -> anyhow::Result<()> {
        self.await_said_by(index, "ready")
    }

    /// Who is asked for mappings.
    fn map_resolver(&self) -> &'static str {
        if self.case.through_dht { self.case.underlay.watch() } else { self.case.underlay.map_server() }
    }

    /// Starts the xTR of a site.
    pub(super) fn start_xtr(&mut self, site: &Site, player: Player) -> anyhow::Result<()> {
        let folder = self.folder(site.xtr)?;
        let command = match player {
            Player::Ours => self.our_xtr(site, &folder)?,
            Player::Theirs(Peer::Oor) => oor::command(
                self.programs.of(Peer::Oor)?,
                &folder,
                &oor::xtr(site, self.case.underlay, self.map_resolver(), SECRET),
            )?,
            Player::Theirs(Peer::Openlisp) => {
                // It registers once a minute, answered or not.
                self.await_ready(0)?;
                openlisp::xtr(self.programs.of(Peer::Openlisp)?, &folder, site, self.case.underlay, SECRET)?
            }
            Player::Theirs(Peer::Kernel) => {
                let namespace = self.lab.namespace(site.xtr)?;
                return kernel::start(namespace, site, self.case.underlay, (OUR_KEY.0, SECRET));
            }
        };
        self.start(site.xtr, command)
    }

    /// A site of others gets what the others have: HMAC-SHA-1 with Key ID 0, and nonces in any order.
    fn our_map_server(&self, folder: &Path) -> anyhow::Result<Command> {
        let mut config = String::new();
        for (site, player) in SITES.iter().zip(self.case.xtrs) {
            let legacy = !matches!(player, Player::Ours | Player::Theirs(Peer::Kernel));
            let (id, algorithm) = if legacy { (0, "hmac-sha1") } else { OUR_KEY };
            config += &format!(
                "[[site]]\nname = {:?}\neid-prefix = {:?}\nlegacy = {legacy}\n\
                 key = [{{ key-id = {id}, algorithm = {algorithm:?}, secret = {SECRET:?} }}]\n",
                site.xtr,
                site.eids.each_ref().map(|eids| eids.prefix)
            );
        }
        let file = folder.join("lisp-mapsys.toml");
        std::fs::write(&file, config).context("the configuration of ms")?;
        let mut command = self.ours()?.command("lisp-mapsys");
        command
            .args(["--listen", self.case.underlay.map_server()])
            .arg("--config")
            .arg(file)
            .arg("--state-dir")
            .arg(folder);
        Ok(command)
    }

    fn our_xtr(&self, site: &Site, folder: &Path) -> anyhow::Result<Command> {
        let (id, algorithm) = if self.case.map_server == Player::Ours { OUR_KEY } else { (0, "hmac-sha1") };
        let key = folder.join("key.toml");
        std::fs::write(&key, format!("algorithm = {algorithm:?}\nkey-id = {id}\nsecret = {SECRET:?}\n"))
            .with_context(|| format!("the key of {}", site.xtr))?;
        let mut command = self.ours()?.command("lisp-xtr");
        for eids in &site.eids {
            command.args(["--eid-prefix", eids.prefix]);
        }
        let (underlay, map_server) = (self.case.underlay, self.case.underlay.map_server());
        command.args([
            "--rloc",
            site.rloc(underlay),
            "--map-server",
            map_server,
            "--map-resolver",
            self.map_resolver(),
        ]);
        for (other, player) in SITES.iter().zip(self.case.xtrs) {
            if player == Player::Theirs(Peer::Kernel) {
                command.args(["--gpe-peer", other.rloc(underlay)]);
            }
        }
        command.arg("--key-file").arg(key).arg("--state-dir").arg(folder);
        Ok(command)
    }

    /// Waits until an xTR of ours has seen its map-server's Map-Notify, by what it says itself.
    pub(super) fn await_acknowledged(&mut self, site: &Site) -> anyhow::Result<()> {
        let folder = self.folder(site.xtr)?;
        self.wait(format!("{} is registered, as it says itself", site.xtr), |stage| {
            let mut command = stage.ours()?.command("lisp-xtr");
            command.args(["show", "registrations", "--json", "--state-dir"]).arg(&folder);
            let output = process::output(stage.lab.namespace(site.xtr)?, command, COMMAND_TIME)?;
            let Ok(answer) = serde_json::from_str::<Value>(&output.stdout) else { return Ok(Err(output.stderr)) };
            let rows = answer["registrations"].as_array().map(Vec::as_slice).unwrap_or_default();
            let held = !rows.is_empty() && rows.iter().all(|row| row["confirmed_ago"].is_u64());
            Ok(if held { Ok(()) } else { Err(answer.to_string()) })
        })
    }

    /// Waits until the mapping of an EID can be read in the DHT, where it goes through that: a map-resolver that is asked earlier
    /// remembers for a minute that there is none.
    pub(super) fn await_published(&mut self, eids: &Eids) -> anyhow::Result<()> {
        if !self.case.through_dht {
            return Ok(());
        }
        self.wait(format!("{} is in the DHT", eids.host), |stage| {
            let mut command = stage.ours()?.command("lisp-dht");
            command.args(["resolve", eids.host, "--json"]).args(&stage.introductions);
            let output = process::output(stage.lab.namespace(WATCH)?, command, COMMAND_TIME)?;
            let answer = serde_json::from_str::<Value>(&output.stdout).unwrap_or_default();
            let held = answer["result"] == "mapping";
            Ok(if held { Ok(()) } else { Err(format!("{} {}", output.stdout.trim(), output.stderr.trim())) })
        })
    }

    /// Waits until the map-resolver leads to the locator of a site, as `lig` sees it.
    pub(super) fn await_mapped(&mut self, site: &Site, eids: &Eids) -> anyhow::Result<()> {
        let (rloc, resolver) = (site.rloc(self.case.underlay), self.map_resolver());
        self.wait(format!("the map-resolver knows {} behind {rloc}", eids.host), |stage| {
            let mut command = stage.ours()?.command("lig");
            command.args([eids.host, "--json", "--map-resolver", resolver]);
            let output = process::output(stage.lab.namespace(WATCH)?, command, COMMAND_TIME)?;
            let answer = serde_json::from_str::<Value>(&output.stdout).unwrap_or_default();
            let held = answer["locators"][0]["address"] == rloc && answer["prefix"] == eids.prefix;
            Ok(if held { Ok(()) } else { Err(format!("{} {}", output.stdout.trim(), output.stderr.trim())) })
        })
    }

    /// Waits until an xTR of ours would send what is for an EID to the locator of another site.
    pub(super) fn await_led(&mut self, from: &Site, to: &Site, eids: &Eids) -> anyhow::Result<()> {
        self.await_led_to(from, eids, to.rloc(self.case.underlay))
    }

    /// The same, and the locator may be another than that which the site began with.
    pub(super) fn await_led_to(&mut self, from: &Site, eids: &Eids, rloc: &str) -> anyhow::Result<()> {
        let what = format!("{} sends what is for {} to {rloc}", from.xtr, eids.host);
        self.await_traced(from, eids.host, what, |trace| trace["outer"]["destination"] == rloc)
    }

    /// Waits until an xTR of ours has been answered that an address is no EID.
    pub(super) fn await_native(&mut self, from: &Site, address: &str) -> anyhow::Result<()> {
        let what = format!("{} natively forwards what is for {address}", from.xtr);
        self.await_traced(from, address, what, |trace| trace["entry"]["action"] == "natively-forward")
    }

    /// Waits until an xTR of ours says so of the way to an address, for which it asks.
    fn await_traced(
        &mut self,
        from: &Site,
        address: &str,
        what: String,
        is_so: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let folder = self.folder(from.xtr)?;
        self.wait(what, |stage| {
            let mut command = stage.ours()?.command("lisp-xtr");
            command.args(["trace", address, "--resolve", "--json", "--state-dir"]).arg(&folder);
            let output = process::output(stage.lab.namespace(from.xtr)?, command, COMMAND_TIME)?;
            let answer = serde_json::from_str::<Value>(&output.stdout).unwrap_or_default();
            let held = is_so(&answer["trace"]);
            Ok(if held { Ok(()) } else { Err(format!("{} {}", output.stdout.trim(), output.stderr.trim())) })
        })
    }

    /// Waits until a program has written this to its log.
    pub(super) fn await_said(&mut self, node: &str, text: &str) -> anyhow::Result<()> {
        let index = self.running.iter().position(|process| process.name() == node).context("no such program runs")?;
        self.await_said_by(index, text)
    }

    fn await_said_by(&mut self, index: usize, text: &str) -> anyhow::Result<()> {
        let what = format!("{} says {text:?}", self.running[index].name());
        self.wait(what, |stage| {
            let is_said = stage.running[index].has_printed(text);
            Ok(if is_said { Ok(()) } else { Err("nothing of it in its log".to_owned()) })
        })
    }

    /// Fails when a program has ended that should run.
    pub(super) fn check(&mut self) -> Result<(), LabError> {
        self.running.iter_mut().try_for_each(Process::check)
    }

    /// Looks again and again until it is so; in the end tells what was seen last.
    fn wait(
        &mut self,
        what: String,
        mut look: impl FnMut(&mut Self) -> anyhow::Result<Result<(), String>>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + REGISTRATION_TIME;
        loop {
            self.check()?;
            let Err(seen) = look(self)? else { return Ok(()) };
            ensure!(Instant::now() < deadline, "{what}: not within {REGISTRATION_TIME:?}; last seen: {}", seen.trim());
            interrupt::sleep(POLL * 5)?;
        }
    }

    fn start(&mut self, node: &str, command: Command) -> anyhow::Result<()> {
        let log = self.log(node);
        self.running.push(Process::start(self.lab.namespace(node)?, node, command, &log)?);
        Ok(())
    }

    fn log(&self, node: &str) -> PathBuf {
        self.place.workspace.log(&format!("{}-{}-{node}", self.case.peer, self.case.name))
    }

    fn folder(&self, node: &str) -> std::io::Result<PathBuf> {
        // Short: the path of a Unix socket has 107 octets.
        self.place.workspace.folder(&format!("{}/{node}", self.place.number))
    }

    fn ours(&self) -> anyhow::Result<&Binaries> {
        self.programs.ours.as_ref().context("our programs were not looked for")
    }
}

/// Key ID and algorithm between programs of ours.
const OUR_KEY: (u8, &str) = (1, "hmac-sha256");
