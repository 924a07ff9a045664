// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-mapsys`, started: it is read until it is ready, but not for ever, and is heard out afterwards; and what it shows.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bounded;
use super::probe::{Fault, broken, missing};
use crate::exchange;

/// Names another program to judge.
const VARIABLE: &str = "CONFORMANCE_LISP_MAPSYS";
/// A program that is not ready by then hangs: it makes its key and opens its files in a second, and in some on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// The files of a map system: its configuration, the folder for what it keeps, and what it says on standard error, which goes to the end.
pub(super) struct Files<'a> {
    pub(super) config: &'a Path,
    pub(super) state: &'a Path,
    pub(super) log: &'a Path,
}

/// A running program; it ends when this is dropped.
pub(super) struct Daemon {
    child: Child,
    /// Where it says that it listens, in its order; never empty.
    pub(super) addresses: Vec<SocketAddr>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Starts a command of [`program`], and waits until it is ready. It serves at ports that the system chooses, its DHT node too.
    pub(super) fn start(
        mut command: Command,
        files: &Files<'_>,
        listen: &[IpAddr],
        dht: IpAddr,
    ) -> Result<Self, Fault> {
        let at = |address: &IpAddr| ["--listen".to_owned(), SocketAddr::new(*address, 0).to_string()];
        command.arg("--config").arg(files.config).arg("--state-dir").arg(files.state).args(listen.iter().flat_map(at));
        command.args(["--dht-listen", &dht.to_string(), "--dht-port", "0"]).env_remove("RUST_LOG");
        Self::start_within(DEADLINE, command, files.log)
    }

    fn start_within(deadline: Duration, mut command: Command, log: &Path) -> Result<Self, Fault> {
        let until = Instant::now() + deadline;
        let name = Path::new(command.get_program()).display().to_string();
        let stderr = std::fs::File::options().create(true).append(true).open(log).map_err(missing)?;
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().map_err(|error| {
            missing(format!("{name} does not run ({error}); build it, or name another with {VARIABLE}"))
        })?;
        let output = child.stdout.take();
        let mut daemon = Self { child, addresses: Vec::new() };
        let output = output.ok_or_else(|| broken("no standard output"))?;
        let heard = bounded::lines(output);
        let told = || std::fs::read_to_string(log).unwrap_or_default();
        loop {
            match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line == "ready" && !daemon.addresses.is_empty() => return Ok(daemon),
                Ok(line) => daemon
                    .addresses
                    .extend(line.strip_prefix("listening ").and_then(|at| at.parse::<SocketAddr>().ok())),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(broken(format!("{name} is not ready after {} s: {}", deadline.as_secs(), told())));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(broken(format!("{name} does not start and say where it listens: {}", told())));
                }
            }
        }
    }

    /// The address that it named last.
    pub(super) fn address(&self) -> Result<SocketAddr, Fault> {
        self.addresses.last().copied().ok_or_else(|| broken("it serves nowhere"))
    }
}

/// The one named by the variable, or the one beside this program; programs of tests lie a folder deeper.
pub(super) fn program() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return named.into();
    }
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().unwrap_or(Path::new("."));
    let beside = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    beside.join("lisp-mapsys")
}

/// What the one that keeps its state in this folder shows of itself.
pub(super) fn shown(state: &Path, what: &str) -> Result<Value, Fault> {
    let mut command = Command::new(program());
    command.args(["show", what, "--json", "--state-dir"]).arg(state);
    let output = bounded::output(command, missing)?;
    exchange::read(&format!("show {what}"), String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).map_err(broken)
}

/// How often it has counted a refusal of that name.
pub(super) fn counted(state: &Path, name: &str) -> Result<u64, Fault> {
    let shown = shown(state, "counters")?;
    shown["refusals"][name].as_u64().ok_or_else(|| broken(format!("no counter {name}: {shown}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn start(seconds: u64, script: &str, folder: &Path) -> Result<Daemon, Fault> {
        let mut command = Command::new("sh");
        command.current_dir(folder).args(["-c", script]);
        Daemon::start_within(Duration::from_secs(seconds), command, &folder.join("log"))
    }

    #[test]
    fn a_program_that_is_never_ready_is_ended_at_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let script = "echo $$ > pid; echo listening 127.0.0.1:1; echo in vain >&2; exec sleep 60";
        let fault = start(2, script, folder.path()).map(drop);
        assert!(
            matches!(&fault, Err(Fault::Broken(why)) if why.contains("not ready") && why.contains("in vain")),
            "{fault:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(20));
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "it still runs");
    }

    #[test]
    fn a_program_that_ends_or_listens_nowhere_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        for script in ["echo listening 127.0.0.1:1", "echo ready", "echo listening there; echo ready"] {
            let fault = start(20, script, folder.path()).map(drop);
            assert!(matches!(&fault, Err(Fault::Broken(why)) if why.contains("does not start")), "{script}: {fault:?}");
        }
    }

    #[test]
    fn a_program_that_says_more_than_a_pipe_holds_once_it_is_ready_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let script =
            "echo listening 127.0.0.1:1; echo listening [::1]:2; echo ready; seq 100000 && echo > done; exec sleep 60";
        let daemon = start(20, script, folder.path()).unwrap();
        let said: [SocketAddr; 2] = ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()];
        assert_eq!(daemon.addresses, said);
        let begun = Instant::now();
        while !folder.path().join("done").exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it stands still");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
