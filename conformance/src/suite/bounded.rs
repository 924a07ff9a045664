// SPDX-License-Identifier: GPL-2.0-or-later
//! Programs that are run and read, but not for ever: what is judged may hang.

use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::probe::{Fault, broken, missing};
use crate::progress;

/// What is known already is said in less, also on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);
/// A program that was waited for so long in vain, and has never answered, is not waited for again.
const VAIN: Duration = Duration::from_secs(10);
/// What is left in a pipe when its program has ended is read in less.
const REST: Duration = Duration::from_secs(10);
/// Octets of each output of a command: a row has some hundred, and suites make some thousand of them.
const MOST: u64 = 16 << 20;
/// Octets that are passed on line by line: a program says a few hundred before it is ready.
const PREFACE: u64 = 1 << 20;
const LOOK: Duration = Duration::from_millis(5);

/// Runs a command that says what it knows to its end. `absent` says what it means that it cannot be started.
pub(super) fn output(command: Command, absent: impl FnOnce(io::Error) -> Fault) -> Result<Output, Fault> {
    output_within(ANSWER, command, absent)
}

/// The same of one that may take so long. It is ended with what it has started when the time is over, or when the run is interrupted.
pub(super) fn output_within(
    time: Duration,
    mut command: Command,
    absent: impl FnOnce(io::Error) -> Fault,
) -> Result<Output, Fault> {
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(absent)?;
    let (stdout, stderr) = (drained(child.stdout.take()), drained(child.stderr.take()));
    let Some(status) = ended_within(time, &mut child)? else {
        end_group(&mut child);
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let name = std::path::Path::new(command.get_program()).display();
        return Err(broken(format!("{name} {}: not over after {} s", arguments.join(" "), time.as_secs())));
    };
    // Who has left a child behind that holds the pipe says no more.
    let read = |pipe: Receiver<Vec<u8>>| pipe.recv_timeout(REST).unwrap_or_default();
    Ok(Output { status, stdout: read(stdout), stderr: read(stderr) })
}

/// How a child ends; none if it does not in time, or the run is interrupted.
pub(super) fn ended_within(time: Duration, child: &mut Child) -> Result<Option<ExitStatus>, Fault> {
    let begun = Instant::now();
    loop {
        match child.try_wait().map_err(missing)? {
            Some(status) => return Ok(Some(status)),
            None if begun.elapsed() > time || progress::is_stopped() => return Ok(None),
            None => std::thread::sleep(LOOK),
        }
    }
}

/// Ends a child that leads a group, and the group.
fn end_group(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // It is not reaped yet, so its number is its own.
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn drained(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (all, came) = mpsc::channel();
    std::thread::spawn(move || {
        let mut octets = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error stands; what is more than enough is read and dropped, so that the program can end.
            let _ = pipe.by_ref().take(MOST).read_to_end(&mut octets);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        all.send(octets)
    });
    came
}

/// The lines that a program says first. A thread of its own reads its output to the end: one that says more later must not fail for it.
pub(super) fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (lines, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut preface = output.by_ref().take(PREFACE);
        let mut line = Vec::new();
        while preface.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if lines.send(String::from_utf8_lossy(&line).trim().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
        drop(lines);
        let _ = io::copy(&mut output, &mut io::sink());
    });
    heard
}

/// Whether a program is worth waiting for: one that hung before it ever answered is not.
#[derive(Debug, Default)]
pub(super) struct Trust {
    has_answered: AtomicBool,
    has_hung: AtomicBool,
}

impl Trust {
    /// Does what waits for the program, unless that is vain.
    pub(super) fn lent<T>(&self, wait: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        if self.has_hung.load(Ordering::Relaxed) && !self.has_answered.load(Ordering::Relaxed) {
            return Err(broken("the program has never answered, and is not waited for again"));
        }
        let begun = Instant::now();
        let came = wait();
        match &came {
            Ok(_) => self.has_answered.store(true, Ordering::Relaxed),
            // What fails at once costs nothing.
            Err(_) => {
                self.has_hung.fetch_or(begun.elapsed() >= VAIN, Ordering::Relaxed);
            }
        }
        came
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn who_hangs_is_ended_with_what_it_started_and_is_named() {
        let begun = Instant::now();
        let fault = output_within(Duration::from_millis(200), shell("sleep 60 & sleep 60"), missing).map(drop);
        assert!(matches!(&fault, Err(Fault::Broken(why)) if why.contains("sleep 60") && why.contains("not over")));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn who_ends_is_heard_out_also_where_it_leaves_a_child() {
        let said = output(shell("seq 100000; echo no >&2; exit 3"), missing).unwrap();
        assert_eq!((said.status.code(), said.stdout.len(), &said.stderr[..]), (Some(3), 588_895, &b"no\n"[..]));
        let absent = output(Command::new("/nonexistent"), missing).map(drop);
        assert!(matches!(absent, Err(Fault::Missing(_))), "{absent:?}");
        let begun = Instant::now();
        assert!(output(shell("sleep 60 & exit 0"), missing).unwrap().status.success());
        assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    }

    #[test]
    fn who_has_never_answered_is_not_waited_for_again() {
        let trust = Trust::default();
        trust.has_hung.store(true, Ordering::Relaxed);
        assert!(trust.lent(|| Ok(())).is_err());
        let trust = Trust::default();
        trust.lent(|| Ok(())).unwrap();
        trust.has_hung.store(true, Ordering::Relaxed);
        assert!(trust.lent(|| Ok(())).is_ok());
    }
}
