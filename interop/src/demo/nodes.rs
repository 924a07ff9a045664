// SPDX-License-Identifier: GPL-2.0-or-later
//! The nodes of the demo as an operator would start them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::binaries::Binaries;
use super::identities::{Identities, Identity};
use super::network::{A_PREFIXES, BOOT, MS, SITE_PREFIXES, Underlay, WATCH, XA, XB, XC, XS};
use crate::interrupt;
use crate::lab::process::{self, Output, Process};
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, LabError};
use crate::limits::{COMMAND_TIME, POLL};

/// The stage: the network, what runs in it, and the means to start more.
pub(super) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    pub(super) binaries: &'a Binaries,
    pub(super) identities: &'a Identities,
    pub(super) workspace: &'a Workspace,
    pub(super) running: Vec<Process>,
}

/// The secret that the site shares with its map-server.
const SITE_SECRET: &str = "a secret of this demo";

impl Stage<'_> {
    /// The DHT node that everyone starts from.
    pub(super) fn start_boot(&mut self) -> anyhow::Result<()> {
        let mut command = self.binaries.command("lisp-dht");
        command.arg("node").arg("--state-dir").arg(self.workspace.folder("boot")?);
        self.speak_for(&mut command, &[&self.identities.boot]);
        self.start(BOOT, command)
    }

    /// The map-server of ordinary sites.
    pub(super) fn start_map_server(&mut self) -> anyhow::Result<()> {
        let folder = self.workspace.folder("ms")?;
        let prefixes = SITE_PREFIXES.map(|prefix| format!("{prefix:?}")).join(", ");
        let config = format!(
            "[[site]]\nname = \"the ordinary site\"\neid-prefix = [{prefixes}]\n\
             key = [{{ key-id = 1, algorithm = \"hmac-sha256\", secret = {SITE_SECRET:?} }}]\n"
        );
        let file = folder.join("lisp-mapsys.toml");
        std::fs::write(&file, config).context("the configuration of ms")?;
        let mut command = self.binaries.command("lisp-mapsys");
        command.arg("--config").arg(file).arg("--state-dir").arg(folder);
        repeat(&mut command, "--listen", MS.addresses());
        self.join(&mut command, &[&self.identities.server], &BOOT.multiaddr());
        Self::trust(&mut command, A_PREFIXES, &self.identities.a[0]);
        self.start(MS, command)
    }

    /// The border node of hA; it also has IPv4 prefixes, which it is the trust anchor of.
    pub(super) fn start_a(&mut self) -> anyhow::Result<()> {
        let mut command = self.border(XA)?;
        repeat(&mut command, "--eid-prefix", A_PREFIXES);
        self.join(&mut command, &self.identities.a.each_ref(), &BOOT.multiaddr());
        Self::trust(&mut command, SITE_PREFIXES, &self.identities.server);
        self.start(XA, command)
    }

    /// The border node of hB.
    pub(super) fn start_b(&mut self) -> anyhow::Result<()> {
        let mut command = self.border(XB)?;
        self.join(&mut command, &self.identities.b.each_ref(), &BOOT.multiaddr());
        Self::trust(&mut command, SITE_PREFIXES, &self.identities.server);
        Self::trust(&mut command, A_PREFIXES, &self.identities.a[0]);
        self.start(XB, command)
    }

    /// The border node of hC, which joins by xA and has no IPv4.
    pub(super) fn start_c(&mut self) -> anyhow::Result<()> {
        let mut command = self.border(XC)?;
        self.join(&mut command, &[&self.identities.c], &XA.multiaddr_v6());
        Self::trust(&mut command, SITE_PREFIXES, &self.identities.server);
        self.start(XC, command)
    }

    /// The ordinary site: a plain LISP xTR that knows a map-server and nothing of any DHT.
    pub(super) fn start_site(&mut self) -> anyhow::Result<()> {
        let mut command = self.border(XS)?;
        let key = self.workspace.folder("xS")?.join("key.toml");
        std::fs::write(&key, format!("algorithm = \"hmac-sha256\"\nkey-id = 1\nsecret = {SITE_SECRET:?}\n"))
            .context("the key of the site")?;
        repeat(&mut command, "--eid-prefix", SITE_PREFIXES);
        let server = MS.v4.unwrap_or(MS.v6);
        command.args(["--map-server", server, "--map-resolver", server]).arg("--key-file").arg(key);
        self.start(XS, command)
    }

    /// Fails when a process has ended that should run.
    pub(super) fn check(&mut self) -> Result<(), LabError> {
        self.running.iter_mut().try_for_each(Process::check)
    }

    /// Takes a running process off the stage.
    pub(super) fn take(&mut self, node: Underlay) -> anyhow::Result<Process> {
        let at = self.running.iter().position(|process| process.name() == node.name);
        Ok(self.running.remove(at.with_context(|| format!("{} does not run", node.name))?))
    }

    /// The process id of a node.
    pub(super) fn id_of(&self, node: Underlay) -> anyhow::Result<u32> {
        let process = self.running.iter().find(|process| process.name() == node.name);
        Ok(process.with_context(|| format!("{} does not run", node.name))?.id())
    }

    /// What the processes that an error names said last; what all said, if it names none.
    pub(super) fn last_words(&self, error: &anyhow::Error) -> Vec<(String, Vec<String>)> {
        let text = format!("{error:#}");
        let named =
            |process: &&Process| text.split_whitespace().any(|word| word.trim_end_matches(':') == process.name());
        let any_named = self.running.iter().any(|process| named(&process));
        let concerned = self.running.iter().filter(|process| !any_named || named(process));
        concerned.map(|process| (process.name().to_owned(), process.log_tail())).collect()
    }

    /// Waits until the map-server of a border node has confirmed `count` prefixes; returns them.
    pub(super) fn await_registered(&mut self, node: Underlay, count: usize) -> anyhow::Result<Vec<String>> {
        self.wait(format!("{} has {count} prefixes registered", node.name), PATIENCE, |stage| {
            let mut command = stage.binaries.command("lisp-xtr");
            command.args(["show", "registrations", "--json", "--control"]).arg(stage.control(node)?);
            let output = stage.output(node, command)?;
            let Ok(answer) = serde_json::from_str::<Value>(&output.stdout) else { return Ok(Err(output.stderr)) };
            let rows = answer["registrations"].as_array().cloned().unwrap_or_default();
            let confirmed = rows.iter().filter(|row| !row["confirmed_ago"].is_null());
            let prefixes = confirmed.filter_map(|row| row["prefixes"].as_array()).flatten();
            let prefixes: Vec<_> = prefixes.filter_map(|prefix| prefix.as_str().map(str::to_owned)).collect();
            Ok(if prefixes.len() >= count { Ok(prefixes) } else { Err(answer.to_string()) })
        })
    }

    /// Waits until anybody who asks the DHT, by the node that `by` names, gets the record of a CGEID and it verifies.
    pub(super) fn await_record(&mut self, cgeid: &str, by: Underlay) -> anyhow::Result<Value> {
        self.wait(format!("the DHT has a record of {cgeid} that verifies"), PATIENCE, |stage| {
            let mut command = stage.binaries.command("lisp-dht");
            command.args(["get", cgeid, "--verify", "--json", "--bootstrap", &by.multiaddr()]);
            Ok(verified(&stage.output(WATCH, command)?))
        })
    }

    /// Waits until anybody who trusts the map-server as anchor finds the mapping of an EID of the ordinary site.
    pub(super) fn await_resolved(&mut self, eid: &str, by: Underlay) -> anyhow::Result<Value> {
        self.wait(format!("the DHT has a mapping of {eid} that verifies"), PATIENCE, |stage| {
            let mut command = stage.binaries.command("lisp-dht");
            command.args(["resolve", eid, "--json", "--bootstrap", &by.multiaddr()]);
            command.arg("--state-dir").arg(stage.workspace.folder("watch")?);
            Self::trust(&mut command, SITE_PREFIXES, &stage.identities.server);
            Ok(verified(&stage.output(WATCH, command)?))
        })
    }

    /// Waits until a node has printed `text`.
    pub(super) fn await_printed(&mut self, node: Underlay, text: &str) -> anyhow::Result<()> {
        self.wait(format!("{} prints {text}", node.name), PATIENCE, |stage| {
            let printed = stage.running.iter().any(|process| process.name() == node.name && process.has_printed(text));
            Ok(if printed { Ok(()) } else { Err("nothing of the kind".into()) })
        })
    }

    /// Waits until the map-resolver knows a mapping of `eid`, as any program that speaks LISP can ask.
    pub(super) fn await_lookup(&mut self, eid: &str) -> anyhow::Result<Value> {
        self.wait(format!("the map-resolver knows {eid}"), PATIENCE, |stage| {
            let mut command = stage.binaries.command("lig");
            command.args([eid, "--json", "--map-resolver", MS.v4.unwrap_or(MS.v6)]);
            let output = stage.output(WATCH, command)?;
            let held = output.status.is_some_and(|status| status.success());
            Ok(match serde_json::from_str::<Value>(&output.stdout) {
                Ok(answer) if held => Ok(answer),
                _ => Err(format!("{} {}", output.stdout.trim(), output.stderr.trim())),
            })
        })
    }

    /// Looks again and again until it is so; in the end tells what was seen last.
    fn wait<T>(
        &mut self,
        what: String,
        limit: Duration,
        mut look: impl FnMut(&mut Self) -> anyhow::Result<Result<T, String>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            self.check()?;
            match look(self)? {
                Ok(value) => return Ok(value),
                Err(seen) => ensure!(Instant::now() < deadline, "{what}: not within {limit:?}; last seen: {seen}"),
            }
            interrupt::sleep(POLL * 5)?;
        }
    }

    fn output(&self, node: Underlay, command: Command) -> anyhow::Result<Output> {
        process::output(self.lab.namespace(node.name)?, command, COMMAND_TIME)
    }

    fn border(&self, node: Underlay) -> anyhow::Result<Command> {
        let mut command = self.binaries.command("lisp-xtr");
        command.arg("--state-dir").arg(self.workspace.folder(node.name)?).arg("--control").arg(self.control(node)?);
        repeat(&mut command, "--rloc", node.addresses());
        Ok(command)
    }

    pub(super) fn control(&self, node: Underlay) -> anyhow::Result<PathBuf> {
        Ok(self.workspace.folder(node.name)?.join("control.sock"))
    }

    fn speak_for(&self, command: &mut Command, identities: &[&Identity]) {
        repeat(command, "--identity", identities.iter().map(|identity| &identity.operational));
        command.arg("--password-file").arg(&self.identities.password);
    }

    fn join(&self, command: &mut Command, identities: &[&Identity], bootstrap: &str) {
        self.speak_for(command, identities);
        command.args(["--bootstrap", bootstrap]);
    }

    fn trust(command: &mut Command, prefixes: [&str; 2], anchor: &Identity) {
        repeat(command, "--trust-anchor", prefixes.map(|prefix| format!("{prefix}={}", anchor.cn)));
    }

    fn start(&mut self, node: Underlay, command: Command) -> anyhow::Result<()> {
        let namespace = self.lab.namespace(node.name)?;
        self.running.push(Process::start(namespace, node.name, command, &self.workspace.log(node.name))?);
        Ok(())
    }
}

/// What `lisp-dht` found, if that is a mapping and it verified.
fn verified(output: &Output) -> Result<Value, String> {
    let held = output.status.is_some_and(|status| status.success());
    match serde_json::from_str::<Value>(&output.stdout) {
        Ok(answer) if held && answer["result"] == "mapping" && answer["verified"] == true => Ok(answer),
        _ => Err(format!("{} {}", output.stdout.trim(), output.stderr.trim())),
    }
}

/// Appends a flag once for each value.
fn repeat(command: &mut Command, flag: &str, values: impl IntoIterator<Item: AsRef<OsStr>>) {
    for value in values {
        command.arg(flag).arg(value);
    }
}

/// How long a registration may take from the start of a node, and a record from its registration until others find it. A debug build promises that
/// they come; only a release build promises how soon.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 15 });
