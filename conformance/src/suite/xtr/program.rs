// SPDX-License-Identifier: GPL-2.0-or-later
//! The router that is judged, started in a namespace: the program `lisp-xtr`, or the one of a target file. The kernel ends it when this process ends, however that does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use interop::lab::process::Process;
use interop::lab::{LabError, Namespace, privilege};
use serde_json::Value;

use super::inbox::lock;
use crate::exchange;
use crate::suite::bounded;
use crate::suite::probe::{Fault, broken, missing};

/// Names another program to judge.
const VARIABLE: &str = "CONFORMANCE_LISP_XTR";
/// It opens its devices and sockets in less, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// Lines of its log, and characters of these, that are shown: those of a panic.
const LAST_LINES: usize = 4;
const LAST_CHARACTERS: usize = 400;
/// How it is said of a router that it has ended by itself.
pub(super) const ENDED: &str = "the router is gone";
const LOOK: Duration = Duration::from_millis(20);

/// A running program; it ends when this is dropped.
pub(in crate::suite) struct Dut {
    process: Mutex<Process>,
    /// What ours can be asked, and how; others cannot.
    console: Option<Console>,
}

struct Console {
    program: PathBuf,
    state: PathBuf,
}

impl Dut {
    /// Starts ours with these arguments and waits until it answers.
    pub(in crate::suite) fn start(
        namespace: &Namespace,
        folder: &Path,
        name: &str,
        arguments: &[&str],
    ) -> Result<Self, Fault> {
        let (program, state) = (program(), folder.join(format!("{name}.state")));
        let mut command = Command::new(&program);
        command.args(arguments).args(["--tun", "lispt", "--log", "warn", "--state-dir"]).arg(&state);
        command.env_remove("LISP_XTR_CONFIG");
        let log = folder.join(format!("{name}.log"));
        let told = |error: LabError| {
            missing(format!("{} does not run ({error}); build it, or name another with {VARIABLE}", program.display()))
        };
        let process = Process::start(namespace, name, command, &log).map_err(told)?;
        let dut = Self { process: Mutex::new(process), console: Some(Console { program, state }) };
        dut.await_ready(|dut| dut.show("locators").is_ok())?;
        Ok(dut)
    }

    /// Starts the one of a target file, and waits until it has printed its word, if it has one.
    pub(super) fn start_other(
        namespace: &Namespace,
        folder: &Path,
        command: Command,
        ready: Option<&str>,
    ) -> Result<Self, Fault> {
        let process = Process::start(namespace, "router", command, &folder.join("router.log")).map_err(missing)?;
        let dut = Self { process: Mutex::new(process), console: None };
        dut.await_ready(|dut| ready.is_none_or(|word| lock(&dut.process).has_printed(word)))?;
        Ok(dut)
    }

    fn await_ready(&self, is_ready: impl Fn(&Self) -> bool) -> Result<(), Fault> {
        let begun = Instant::now();
        while !is_ready(self) {
            self.runs()?;
            if begun.elapsed() > DEADLINE {
                return Err(broken(format!("it is not ready after {DEADLINE:?}: {}", self.last_words())));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// It has not ended by itself.
    pub(in crate::suite) fn runs(&self) -> Result<(), Fault> {
        let ended = lock(&self.process).check();
        ended.map_err(|error| broken(format!("{ENDED}: {error}: {}", self.last_words())))
    }

    /// The last lines that it has printed.
    pub(super) fn last_words(&self) -> String {
        let tail = self.log();
        let words = tail[tail.len().saturating_sub(LAST_LINES)..].join(" / ");
        words.chars().take(LAST_CHARACTERS).collect()
    }

    /// The end of its log.
    pub(in crate::suite) fn log(&self) -> Vec<String> {
        lock(&self.process).log_tail()
    }

    /// What `show` says.
    pub(in crate::suite) fn show(&self, table: &str) -> Result<Value, Fault> {
        self.ask(&["show", table, "--json"])
    }

    /// What a verb says.
    pub(in crate::suite) fn ask(&self, verb: &[&str]) -> Result<Value, Fault> {
        let console = self.console.as_ref().ok_or_else(|| missing("a console: of a target there is none"))?;
        let mut command = Command::new(&console.program);
        command.args(verb).arg("--state-dir").arg(&console.state).env_remove("LISP_XTR_CONFIG");
        let output = bounded::output(command, |error| broken(format!("{verb:?}: {error}")))?;
        exchange::read(&verb.join(" "), String::from_utf8_lossy(&output.stdout));
        let told = || broken(format!("{verb:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        serde_json::from_slice(&output.stdout).map_err(|_| told())
    }

    /// A counter of packets; none of a target, which has others.
    pub(in crate::suite) fn counted(&self, name: &str) -> Result<Option<u64>, Fault> {
        if self.console.is_none() {
            return Ok(None);
        }
        let shown = self.show("counters")?;
        let count = shown["counters"]["packets"][name].as_u64();
        count.map(Some).ok_or_else(|| broken(format!("no counter {name}: {shown}")))
    }
}

/// What this machine lacks for a namespace with the program in it, if it lacks anything.
pub(in crate::suite) fn absent() -> Option<Fault> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some(missing("root is needed, for network namespaces"));
    }
    privilege::check_tun().err().map(missing)
}

/// The one named by the variable, or the one beside this program; programs of tests lie a folder deeper.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return named.into();
    }
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().unwrap_or(Path::new("."));
    let beside = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    beside.join("lisp-xtr")
}
