// SPDX-License-Identifier: GPL-2.0-or-later
//! Processes in a namespace. They end with us, whatever ends us.

#![allow(unsafe_code, reason = "what a child does between fork and exec has no safe form")]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};
use program::files;

use super::error::LabError;
use super::namespace::Namespace;
use crate::interrupt;
use crate::limits::{COMMAND_OUTPUT, LOG_OCTETS, LOG_TAIL, POLL, TERM_GRACE};

/// A process that runs until it is dropped; its output goes to a log file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What a one-shot command did.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended; none if it took too long and was killed.
    pub status: Option<ExitStatus>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Process {
    /// Starts `command` in the namespace, with its output going to `log`, which begins anew.
    ///
    /// # Errors
    /// When the log cannot be written or the program not be started.
    pub fn start(namespace: &Namespace, name: &str, mut command: Command, log: &Path) -> Result<Self, LabError> {
        let program = command.get_program().display().to_string();
        let failed = |cause| LabError::failed(name, format!("cannot start {program}"), cause);
        let file = File::create(log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(file);
        let child = spawn(namespace, command)?.map_err(failed)?;
        Ok(Self { name: name.into(), child, log: log.into() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails when the process has ended by itself.
    ///
    /// # Errors
    /// Says how it ended.
    pub fn check(&mut self) -> Result<(), LabError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(LabError::failed(&self.name, "ended by itself", io::Error::other(status.to_string())))
            }
            Err(cause) => Err(LabError::failed(&self.name, "cannot be watched", cause)),
        }
    }

    /// Whether `text` is in its log.
    pub fn has_printed(&self, text: &str) -> bool {
        // It says so early; one that goes on printing must not hide it, nor have us read all of it again and again.
        let begun = files::head(&self.log, LOG_OCTETS).unwrap_or_default();
        String::from_utf8_lossy(&begun).contains(text) || self.end_of_log().contains(text)
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> Vec<String> {
        let lines: Vec<_> = self.end_of_log().lines().map(str::to_owned).collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].to_vec()
    }

    fn end_of_log(&self) -> String {
        String::from_utf8_lossy(&files::tail(&self.log, LOG_OCTETS).unwrap_or_default()).into_owned()
    }

    /// Kills it without warning, as a power cut would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> Result<(), LabError> {
        let outcome = self.child.kill().and_then(|()| self.child.wait());
        outcome.map(drop).map_err(|cause| LabError::failed(&self.name, "cannot be killed", cause))
    }

    /// Asks it to end, then kills it, and reaps it.
    pub(crate) fn end(&mut self) {
        let Ok(None) = self.child.try_wait() else { return };
        terminate(&self.child);
        let deadline = Instant::now() + TERM_GRACE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        // Both fail only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends many at once, so that their times to end do not add up.
pub fn end_all(processes: Vec<Process>) {
    for process in &processes {
        terminate(&process.child);
    }
    drop(processes);
}

/// Runs `command` in the namespace to its end, but not longer than `limit`; what it said on standard error ends with that then.
///
/// # Errors
/// When it cannot be started, or we are interrupted.
pub fn output(namespace: &Namespace, mut command: Command, limit: Duration) -> anyhow::Result<Output> {
    let program = command.get_program().display().to_string();
    let failed = |cause| LabError::failed(namespace.name(), format!("cannot run {program}"), cause);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(namespace, command)?.map_err(failed)?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let ended = wait(&mut child, limit);
    if !matches!(ended, Ok(Some(_))) {
        child.kill().and_then(|()| child.wait()).map_err(failed)?;
    }
    // The readers end with the child, which has no children of its own to keep the pipes open.
    let text = |reader: std::thread::JoinHandle<String>| reader.join().unwrap_or_default();
    let (status, stdout, mut stderr) = (ended?, text(stdout), text(stderr));
    if status.is_none() {
        stderr += &format!("{program} did not end within {limit:?}");
    }
    Ok(Output { status, stdout, stderr })
}

fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        interrupt::sleep(POLL / 4)?;
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that fails ends like one that closes.
            let _ = pipe.by_ref().take(COMMAND_OUTPUT).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn terminate(child: &Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // The child is not reaped yet, so its id is still its own; if it is a zombie nothing happens.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
}

/// Starts a child from the thread of the namespace. The kernel ends the child when that thread ends.
fn spawn(namespace: &Namespace, mut command: Command) -> Result<io::Result<Child>, LabError> {
    end_with_us(&mut command, Signal::SIGKILL);
    namespace.run(move || command.spawn())
}

/// Puts a child into a group of its own, as ctrl-C is for us and we end our children in order; and has the kernel send it this signal
/// when the thread that starts it ends, however that does.
pub fn end_with_us(command: &mut Command, signal: Signal) {
    let parent = getpid();
    command.process_group(0);
    // SAFETY: between fork and exec only the system calls prctl and getppid are made; both are safe after a fork of a
    // process with many threads, and no memory is allocated (an error is an integer).
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(signal)?;
            // If the parent died before the line above, no signal will ever come.
            if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
        });
    }
}
