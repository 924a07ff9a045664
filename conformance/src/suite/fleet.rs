// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-dht` as a black box: nodes on loopback, and the commands that ask them.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use cgeid::container;
use dht::publish::Publication;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::bounded::{self, Trust};
use super::person::{LAB, Person};
use super::probe::{Fault, broken, missing};
use crate::{progress, target};

/// Password of all containers.
const PASSWORD: &str = "conformance";
/// Names another program to judge.
const VARIABLE: &str = "CONFORMANCE_LISP_DHT";
/// Nodes of this machine that start at once find each other in less, also on a busy one.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often who reached nobody tries again.
const AGAIN: usize = 4;
/// A node that has not said where it is, or has not ended, by then hangs, also on a busy machine.
const HANGS: Duration = Duration::from_secs(60);
/// The same of a command: the longest is a bench of sixty nodes, which has a minute to itself on two processors that do nothing else.
const COMMAND: Duration = Duration::from_secs(420);
/// Time between two looks at something that changes.
const LOOK: Duration = Duration::from_millis(50);

/// Fleets of this process: each has addresses of its own, so that what one still sends to a node that has ended never comes to another
/// fleet's that has got its port.
static FLEETS: AtomicU8 = AtomicU8::new(0);
/// Second octet of the addresses of the first fleet; those of `lisp-dht lab` begin with 127.1.
const FIRST: u8 = 2;
/// Second octets of fleets: far more than there are at once.
const BLOCKS: u8 = 32;

/// A folder, the program, and a number for each node.
pub(super) struct Fleet {
    folder: TempDir,
    program: PathBuf,
    /// Second octet of the addresses of its nodes.
    block: u8,
    nodes: AtomicU8,
    files: AtomicU32,
    trust: Trust,
}

/// How a command ended.
pub(super) struct Answer {
    pub(super) code: Option<i32>,
    /// Its report; null without one.
    pub(super) report: Value,
    /// Standard error.
    pub(super) told: String,
}

/// How a node is started.
#[derive(Clone, Default)]
pub(super) struct Start<'a> {
    pub(super) bootstrap: Vec<String>,
    pub(super) more: Vec<&'a str>,
}

impl Fleet {
    /// Why a command that reached no node found nothing.
    pub(super) const NOBODY: &str = "no node of --bootstrap answers";

    pub(super) fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the files of the suite")?;
        std::fs::write(folder.path().join("password"), PASSWORD)?;
        let block = FIRST + FLEETS.fetch_add(1, Ordering::Relaxed) % BLOCKS;
        let (nodes, files, trust) = (AtomicU8::new(0), AtomicU32::new(0), Trust::default());
        Ok(Self { folder, program: program()?, block, nodes, files, trust })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with arguments, in the folder.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path()).args(arguments).env("CGEID_PASSWORD", PASSWORD);
        command.env_remove("LISP_DHT_CONFIG").env_remove("LISP_DHT_LOG").env("TMPDIR", self.folder.path());
        command
    }

    /// The program, started by a shell script that ends with `exec \"$0\" \"$@\"`.
    pub(super) fn shell(&self, script: &str, arguments: &[String]) -> Command {
        let mut command = Command::new("sh");
        command.current_dir(self.folder.path()).arg("-c").arg(script).arg(&self.program).args(arguments);
        command.env("CGEID_PASSWORD", PASSWORD).env_remove("LISP_DHT_CONFIG").env_remove("LISP_DHT_LOG");
        command
    }

    fn absent(&self, error: &std::io::Error) -> Fault {
        let program = self.program.display();
        missing(format!("{program} does not run ({error}); build it, or name another with {VARIABLE}"))
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Answer, Fault> {
        let run = || bounded::output_within(COMMAND, self.command(arguments), |error| self.absent(&error));
        let output = self.trust.lent(run)?;
        crate::exchange::ran_to(&self.program, arguments, &output);
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(Answer {
            code: output.status.code(),
            report: serde_json::from_str(&text).unwrap_or_default(),
            told: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Writes a file under a name of its own.
    pub(super) fn file(&self, kind: &str, octets: &[u8]) -> Result<String, Fault> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number}.{kind}");
        crate::exchange::given(&name, octets);
        std::fs::write(self.path(&name), octets).map_err(missing)?;
        Ok(name)
    }

    /// Writes the operational key of a person.
    pub(super) fn keep(&self, person: &Person) -> Result<String, Fault> {
        let name = format!("{}.op.p12", person.key.cn());
        if !self.path(&name).exists() {
            let octets = container::save_operational_under(container::Password::Random, &person.key, PASSWORD)
                .map_err(broken)?;
            std::fs::write(self.path(&name), octets).map_err(missing)?;
        }
        Ok(name)
    }

    /// A new node at an address of its own, 127.2.i.1 or that of another fleet.
    pub(super) fn node(&self, start: &Start<'_>) -> Result<Node, Fault> {
        let person = Person::new(SystemTime::now())?;
        self.node_of(&person, start)
    }

    /// A new node of this person.
    pub(super) fn node_of(&self, person: &Person, start: &Start<'_>) -> Result<Node, Fault> {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed) + 1;
        let address = format!("127.{}.{number}.1", self.block);
        let identity = self.keep(person)?;
        self.launch(Node::unborn(address, identity, format!("{number}.state")), start)
    }

    /// The same node once more, with what it kept; on another port.
    pub(super) fn again(&self, node: &Node, start: &Start<'_>) -> Result<Node, Fault> {
        self.launch(Node::unborn(node.at.clone(), node.identity.clone(), node.state.clone()), start)
    }

    fn launch(&self, node: Node, start: &Start<'_>) -> Result<Node, Fault> {
        let arguments = self.arguments(&node, start);
        self.spawn(node, &mut self.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// The node of others that a target file starts, in a folder and at an address of its own.
    pub(super) fn guest(&self, start: &target::Start) -> Result<Node, Fault> {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed) + 1;
        let address = format!("127.{}.{number}.1", self.block);
        let identity = self.keep(&Person::new(SystemTime::now())?)?;
        self.launch_guest(Node::unborn(address, identity, format!("{number}.guest")), start)
    }

    /// The same node once more, in its folder and at its address; on whatever port.
    pub(super) fn guest_again(&self, node: &Node, start: &target::Start) -> Result<Node, Fault> {
        self.launch_guest(Node::unborn(node.at.clone(), node.identity.clone(), node.state.clone()), start)
    }

    fn launch_guest(&self, mut node: Node, start: &target::Start) -> Result<Node, Fault> {
        let path = |name: &str| self.path(name).display().to_string();
        let values = target::template::Values::from([
            ("address", node.at.clone()),
            ("prefix", LAB.to_string()),
            ("identity", path(&node.identity)),
            ("password-file", path("password")),
        ]);
        let folder = self.path(&node.state);
        std::fs::create_dir_all(&folder).map_err(missing)?;
        let mut command = start.prepare(&folder, &values, &[]).map_err(missing)?;
        // A shell may have started it and wait for it.
        command.process_group(0);
        node.leads_group = true;
        self.spawn(node, &mut command)
    }

    /// What a node is called with.
    pub(super) fn arguments(&self, node: &Node, start: &Start<'_>) -> Vec<String> {
        let own = ["node", "--identity", &node.identity, "--password-file", "password", "--listen", &node.at];
        let fixed = ["--port", "0", "--state-dir", &node.state, "--discovery", "off"];
        let known = start.bootstrap.iter().flat_map(|address| ["--bootstrap", address]);
        own.into_iter().chain(fixed).chain(known).chain(start.more.iter().copied()).map(str::to_owned).collect()
    }

    /// Starts a node by a command and waits for its address.
    pub(super) fn spawn(&self, node: Node, command: &mut Command) -> Result<Node, Fault> {
        self.trusted(|| self.started(node, command))
    }

    /// Does what waits for the program, unless that has hung and never answered.
    pub(super) fn trusted<T>(&self, wait: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        self.trust.lent(wait)
    }

    fn started(&self, mut node: Node, command: &mut Command) -> Result<Node, Fault> {
        let log = std::fs::File::options().create(true).append(true).open(self.path(&node.log())).map_err(missing)?;
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|error| self.absent(&error))?;
        let output = child.stdout.take();
        node.child = Some(child);
        let lines = bounded::lines(output.ok_or_else(|| broken("no standard output"))?);
        let until = Instant::now() + HANGS;
        loop {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if target::is_multiaddr(&line) => {
                    node.address = line;
                    return Ok(node);
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(broken(format!("the node says nothing in {} s: {}", HANGS.as_secs(), self.log(&node))));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(broken(format!("the node does not start: {}", self.log(&node))));
                }
            }
        }
    }

    /// What a node has logged.
    pub(super) fn log(&self, node: &Node) -> String {
        std::fs::read_to_string(self.path(&node.log())).unwrap_or_default()
    }

    /// `count` nodes that begin with the first and know each other.
    pub(super) fn cloud(&self, count: usize, more: &[&str]) -> Result<Vec<Node>, Fault> {
        let mut nodes = vec![self.node(&Start { bootstrap: Vec::new(), more: more.to_vec() })?];
        let start = Start { bootstrap: vec![nodes[0].address.clone()], more: more.to_vec() };
        for _ in 1..count {
            nodes.push(self.node(&start)?);
        }
        for node in &nodes {
            self.peers(node, count - 1)?;
        }
        Ok(nodes)
    }

    /// Waits until a node knows so many peers.
    pub(super) fn peers(&self, node: &Node, count: usize) -> Result<(), Fault> {
        let known = |stats: &Value| stats["peers"].as_array().map_or(0, Vec::len) >= count;
        self.wait(node, &format!("{count} peers"), known).map(drop)
    }

    /// Waits until the figures of a node are as they must be.
    pub(super) fn wait(&self, node: &Node, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value, Fault> {
        let begun = Instant::now();
        loop {
            let stats = self.stats(node)?;
            if holds(&stats) {
                return Ok(stats);
            }
            if begun.elapsed() > PATIENCE {
                return Err(broken(format!("expected {what} at {}; came: {stats}", node.address)));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The figures of a node.
    pub(super) fn stats(&self, node: &Node) -> Result<Value, Fault> {
        let answer = self.run(&["stats", "--state-dir", &node.state, "--json"])?;
        if answer.code == Some(0) { Ok(answer.report) } else { Err(broken(answer.told)) }
    }

    /// Sends a value under a key without any check of its own.
    pub(super) fn carry(&self, node: &Node, key: &[u8], value: &[u8], more: &[&str]) -> Result<Answer, Fault> {
        let file = self.file("bundle", value)?;
        let key: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
        let put = ["put", "--bundle", &file, "--key", &key, "--unchecked", "--bootstrap", &node.address, "--json"];
        self.reach(&[&put[..], more].concat())
    }

    /// Publishes; it must be stored.
    pub(super) fn publish(&self, node: &Node, publication: &Publication) -> Result<Value, Fault> {
        let file = self.file("bundle", &publication.value)?;
        self.reach(&["put", "--bundle", &file, "--bootstrap", &node.address, "--json"])?.held("stored")
    }

    pub(super) fn get(&self, node: &Node, eid: &str) -> Result<Value, Fault> {
        Ok(self.reach(&["get", eid, "--verify", "--bootstrap", &node.address, "--json"])?.report)
    }

    /// Who reached nobody tries again: on a busy machine a node may let a client in, or answer it, too late, and how soon it does is not what
    /// is judged.
    fn reach(&self, arguments: &[&str]) -> Result<Answer, Fault> {
        let mut answer = self.run(arguments)?;
        for _ in 0..AGAIN {
            if answer.report["why"] != Self::NOBODY && answer.report["result"] != "unreachable" {
                break;
            }
            answer = self.run(arguments)?;
        }
        Ok(answer)
    }

    pub(super) fn resolve(&self, node: &Node, anchor: &str, eid: &str, more: &[&str]) -> Result<Value, Fault> {
        let ask = ["resolve", eid, "--trust-anchor", anchor, "--bootstrap", &node.address, "--json"];
        Ok(self.reach(&[&ask[..], more].concat())?.report)
    }
}

impl Answer {
    /// What was asked held, with this result; the report.
    pub(super) fn held(self, result: &str) -> Result<Value, Fault> {
        if self.code == Some(0) && self.report["result"] == result { Ok(self.report) } else { Err(self.came(result)) }
    }

    /// All who were asked refused.
    pub(super) fn refused(&self) -> Result<u64, Fault> {
        let refused = self.report["refused"].as_u64().unwrap_or_default();
        let all = self.code == Some(1) && self.report["result"] == "refused" && self.report["stored"] == 0;
        if all && refused > 0 { Ok(refused) } else { Err(self.came("refused")) }
    }

    pub(super) fn came(&self, expected: &str) -> Fault {
        broken(format!("expected: {expected}; it ended with {:?}: {} {}", self.code, self.report, self.told))
    }
}

/// One node: a process, or what was one.
pub(super) struct Node {
    child: Option<Child>,
    /// What others are given as `--bootstrap`.
    pub(super) address: String,
    at: String,
    identity: String,
    /// Its state folder.
    pub(super) state: String,
    /// Whether its process is the first of a group, which ends with it.
    leads_group: bool,
}

impl Node {
    fn unborn(at: String, identity: String, state: String) -> Self {
        Self { child: None, address: String::new(), at, identity, state, leads_group: false }
    }

    /// A node that somebody else has started.
    pub(super) fn elsewhere(address: &str) -> Self {
        let mut node = Self::unborn(String::new(), String::new(), String::new());
        node.address = address.to_owned();
        node
    }

    /// A node that does not run yet, beside those that do.
    pub(super) fn twin(of: &Self, at: &str) -> Self {
        Self::unborn(at.to_owned(), of.identity.clone(), of.state.clone())
    }

    fn log(&self) -> String {
        format!("{}.log", self.state)
    }

    pub(super) fn database(&self) -> PathBuf {
        Path::new(&self.state).join("records.redb")
    }

    /// Ends it at once, as a power cut does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            if self.leads_group {
                let _ = group_of(&child).map(|group| killpg(group, Signal::SIGKILL));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it and its group to end, and waits for it; what does not end in time is ended all the same.
    pub(super) fn ask_to_end(&mut self) -> Result<(), Fault> {
        let Some(child) = &self.child else { return Ok(()) };
        let group = group_of(child)?;
        killpg(group, Signal::SIGTERM).map_err(missing)?;
        // It is not reaped before its group is ended, so that the number is theirs.
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let runs = || matches!(waitid(Id::Pid(group), look), Ok(WaitStatus::StillAlive));
        let begun = Instant::now();
        while runs() && begun.elapsed() < HANGS && !progress::is_stopped() {
            std::thread::sleep(LOOK);
        }
        self.kill();
        Ok(())
    }

    /// Asks it to end, and waits.
    pub(super) fn stop(&mut self) -> Result<(), Fault> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        let told = Command::new("kill").arg(child.id().to_string()).status().map_err(missing)?;
        let ended = bounded::ended_within(HANGS, child)?;
        self.kill();
        match ended {
            Some(ended) if told.success() && ended.success() => Ok(()),
            Some(ended) => Err(broken(format!("SIGTERM: ended with {ended}"))),
            None => Err(broken(format!("SIGTERM: not over after {} s", HANGS.as_secs()))),
        }
    }

    /// The number of its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the process still runs.
    pub(super) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

/// The group that a child leads.
fn group_of(child: &Child) -> Result<Pid, Fault> {
    i32::try_from(child.id()).map(Pid::from_raw).map_err(missing)
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The one named by the variable, or the one beside this program; programs of tests lie a folder deeper.
fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let own = std::env::current_exe().context("the folder of this program")?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let beside = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    Ok(beside.join("lisp-dht"))
}
