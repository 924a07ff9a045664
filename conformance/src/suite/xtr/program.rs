// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-xtr`, started in a namespace. The kernel ends it when this process ends, however that does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use interop::lab::process::Process;
use interop::lab::{LabError, Namespace, privilege};
use serde_json::Value;

use crate::exchange;
use crate::suite::probe::{Fault, broken, missing};

/// Names another program to judge.
const VARIABLE: &str = "CONFORMANCE_LISP_XTR";
/// It opens its devices and sockets in less, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// A running program; it ends when this is dropped.
pub(in crate::suite) struct Dut {
    process: Process,
    program: PathBuf,
    state: PathBuf,
}

impl Dut {
    /// Starts it with these arguments and waits until it answers.
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
        let mut dut = Self { process, program, state };
        let begun = Instant::now();
        while dut.show("locators").is_err() {
            dut.process.check().map_err(|error| broken(format!("{error}: {}", dut.process.log_tail().join(" / "))))?;
            if begun.elapsed() > DEADLINE {
                return Err(broken(format!("it does not answer: {}", dut.process.log_tail().join(" / "))));
            }
            std::thread::sleep(LOOK);
        }
        Ok(dut)
    }

    /// What `show` says.
    pub(in crate::suite) fn show(&self, table: &str) -> Result<Value, Fault> {
        self.ask(&["show", table, "--json"])
    }

    /// What a verb says.
    pub(in crate::suite) fn ask(&self, verb: &[&str]) -> Result<Value, Fault> {
        let output = Command::new(&self.program)
            .args(verb)
            .arg("--state-dir")
            .arg(&self.state)
            .env_remove("LISP_XTR_CONFIG")
            .output()
            .map_err(missing)?;
        exchange::read(&verb.join(" "), String::from_utf8_lossy(&output.stdout));
        let told = || broken(format!("{verb:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        serde_json::from_slice(&output.stdout).map_err(|_| told())
    }

    /// A counter of packets.
    pub(in crate::suite) fn counted(&self, name: &str) -> Result<u64, Fault> {
        let shown = self.show("counters")?;
        shown["counters"]["packets"][name].as_u64().ok_or_else(|| broken(format!("no counter {name}: {shown}")))
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
