// SPDX-License-Identifier: GPL-2.0-or-later
//! DHT nodes as operators start them: a process and a namespace each, all on one slow switch, each in a block of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::delaybox::Delay;
use crate::delaybox::bridge::Counters;
use crate::demo::binaries::Binaries;
use crate::demo::identities::{self, Identity};
use crate::interrupt;
use crate::lab::process::{self, Process};
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, Namespace, Node, Topology};
use crate::limits::{COMMAND_TIME, POLL};

/// The switch between all.
const SWITCH: &str = "far";
/// UDP port of the DHT.
const PORT: u16 = 43420;
/// Keys made at a time: making one keeps a core busy.
const KEYS_AT_ONCE: usize = 2;

/// One node.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) identity: Identity,
    pub(super) process: Option<Process>,
}

/// All nodes, and what they run in.
pub(super) struct Mesh {
    pub(super) members: Vec<Member>,
    lab: Lab,
    binaries: Binaries,
    workspace: Workspace,
    password: PathBuf,
}

impl Mesh {
    /// The network and the identities of `nodes` nodes, none of which runs.
    pub(super) fn build(nodes: usize, delay: Delay, binaries: Binaries, workspace: Workspace) -> anyhow::Result<Self> {
        ensure!((2..=MOST).contains(&nodes), "2 to {MOST} nodes");
        let mut topology = Topology::default().slow_switch(SWITCH, delay);
        for number in 0..nodes {
            topology =
                topology.with(Node::host(&name(number)).port("eth0", SWITCH, &[&format!("{}/15", address(number)?)]));
        }
        let lab = Lab::build(&topology)?;
        let folder = workspace.folder("keys")?;
        let password = folder.join("password");
        std::fs::write(&password, "only for this lab\n").context("the password file")?;
        let mut mesh = Self { members: Vec::new(), lab, binaries, workspace, password };
        for (number, identity) in mesh.make_keys(nodes)?.into_iter().enumerate() {
            let address = IpAddr::V4(address(number)?);
            mesh.members.push(Member { name: name(number), address, identity, process: None });
        }
        Ok(mesh)
    }

    fn make_keys(&self, count: usize) -> anyhow::Result<Vec<Identity>> {
        let offline = Namespace::create("offline")?;
        let folder = self.workspace.folder("keys")?;
        let mut made = Vec::new();
        while made.len() < count {
            interrupt::check()?;
            let batch = KEYS_AT_ONCE.min(count - made.len());
            let one = || identities::make(&self.binaries, &offline, "ed25519", &folder, &self.password);
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..batch).map(|_| scope.spawn(one)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
            });
            for outcome in outcomes {
                made.push(outcome?);
            }
        }
        Ok(made)
    }

    /// Starts a node that gets in by others.
    pub(super) fn start(&mut self, number: usize, by: &[usize]) -> anyhow::Result<()> {
        let mut command = self.binaries.command("lisp-dht");
        let folder = self.folder(number)?;
        command.arg("node").arg("--state-dir").arg(&folder);
        command.args(["--listen", &self.members[number].address.to_string()]);
        by.iter().for_each(|other| _ = command.args(["--bootstrap", &self.multiaddr(*other)]));
        self.sign_as(&mut command, number);
        let member = &self.members[number];
        let namespace = self.lab.namespace(&member.name)?;
        let process = Process::start(namespace, &member.name, command, &self.workspace.log(&member.name))?;
        self.members[number].process = Some(process);
        Ok(())
    }

    /// Kills a node without warning, as a power cut would.
    pub(super) fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.members[number].process.take().map_or(Ok(()), Process::kill)?;
        Ok(())
    }

    /// Puts the mapping of a node's CGEID by a command of its own, through another node; when it was stored.
    pub(super) fn put(&self, number: usize, locator: IpAddr, by: usize) -> anyhow::Result<Value> {
        let mut command = self.binaries.command("lisp-dht");
        command.args(["put", "--json", "--rloc", &locator.to_string(), "--bootstrap", &self.multiaddr(by)]);
        self.sign_as(&mut command, number);
        let answer = self.ask(by, command)?;
        ensure!(answer["result"] == "stored", "{}: {answer}", self.members[number].name);
        Ok(answer)
    }

    /// What a running node finds for the CGEID of another.
    pub(super) fn resolve(&self, asker: usize, of: usize) -> anyhow::Result<Value> {
        let mut command = self.binaries.command("lisp-dht");
        command.args(["resolve", &self.members[of].identity.address.to_string(), "--json", "--control"]);
        command.arg(self.folder(asker)?.join("control.sock"));
        self.ask(asker, command)
    }

    /// What a program that was just started finds for the CGEID of a node.
    pub(super) fn get_cold(&self, asker: usize, of: usize, by: usize) -> anyhow::Result<(Value, Duration)> {
        let mut command = self.binaries.command("lisp-dht");
        command.args(["get", &self.members[of].identity.address.to_string(), "--verify", "--json"]);
        command.args(["--bootstrap", &self.multiaddr(by)]);
        let begun = Instant::now();
        Ok((self.ask(asker, command)?, begun.elapsed()))
    }

    /// The figures of a running node.
    pub(super) fn stats(&self, number: usize) -> anyhow::Result<Value> {
        let mut command = self.binaries.command("lisp-dht");
        command.args(["stats", "--json", "--state-dir"]).arg(self.folder(number)?);
        self.ask(number, command)
    }

    /// Waits until every running node knows at least so many peers.
    pub(super) fn await_peers(&mut self, peers: usize, limit: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for number in self.running() {
            loop {
                self.check()?;
                let seen = self.stats(number).map(|stats| stats["peers"].as_array().map_or(0, Vec::len));
                match seen {
                    Ok(seen) if seen >= peers => break,
                    seen => ensure!(
                        begun.elapsed() < limit,
                        "{} knows {seen:?} of {peers} peers after {limit:?}",
                        self.members[number].name
                    ),
                }
                interrupt::sleep(POLL * 5)?;
            }
        }
        Ok(begun.elapsed())
    }

    /// Those that run.
    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|number| self.members[*number].process.is_some()).collect()
    }

    /// Fails when a process has ended that should run.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        interrupt::check()?;
        self.members.iter_mut().filter_map(|member| member.process.as_mut()).try_for_each(Process::check)?;
        Ok(())
    }

    /// Resident memory of a running node, octets: all, and what it does not share with others.
    pub(super) fn memory(&self, number: usize) -> anyhow::Result<(u64, u64)> {
        let process = self.members[number].process.as_ref().context("the node does not run")?;
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id()))?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let lines = rollup.lines().filter_map(|line| line.strip_prefix(name));
            let kib = lines.map(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>());
            Ok(kib.sum::<Result<u64, _>>()? * 1024)
        };
        Ok((field("Rss:")?, field("Private_Clean:")? + field("Private_Dirty:")?))
    }

    /// What passed the port of each node.
    pub(super) fn passed(&self) -> Vec<Counters> {
        self.lab.passed(SWITCH)
    }

    /// Cuts the network, or heals it.
    pub(super) fn cut(&self, sides: &[usize]) {
        self.lab.cut(SWITCH, sides);
    }

    /// The last lines of those whose log says something, for a failure.
    pub(super) fn keep_logs(&mut self) -> anyhow::Result<PathBuf> {
        Ok(self.workspace.keep_logs()?)
    }

    fn ask(&self, number: usize, command: Command) -> anyhow::Result<Value> {
        let namespace = self.lab.namespace(&self.members[number].name)?;
        let output = process::output(namespace, command, COMMAND_TIME)?;
        let answer = serde_json::from_str(&output.stdout);
        answer.with_context(|| format!("{}: {} {}", self.members[number].name, output.stdout, output.stderr.trim()))
    }

    fn sign_as(&self, command: &mut Command, number: usize) {
        command.arg("--identity").arg(&self.members[number].identity.operational);
        command.arg("--password-file").arg(&self.password);
    }

    fn folder(&self, number: usize) -> anyhow::Result<PathBuf> {
        Ok(self.workspace.folder(&self.members[number].name)?)
    }

    fn multiaddr(&self, number: usize) -> String {
        format!("{}:{PORT}", self.members[number].address)
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        process::end_all(self.members.iter_mut().filter_map(|member| member.process.take()).collect());
    }
}

/// Nodes that find a block of addresses each.
pub(super) const MOST: usize = 200;

fn name(number: usize) -> String {
    format!("n{number}")
}

/// Of the block for benchmarks (RFC 2544), each in a /24 of its own.
fn address(number: usize) -> anyhow::Result<Ipv4Addr> {
    Ok(Ipv4Addr::new(198, 18, u8::try_from(number)?, 1))
}
