// SPDX-License-Identifier: GPL-2.0-or-later
//! Processes that are killed: this program again, with what it shall do as its arguments.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Fills a store.
pub(crate) const FILL: &str = "child:fill";
/// Opens it again, and answers.
pub(crate) const SERVE: &str = "child:serve";
/// Lets a day pass.
pub(crate) const DAY: &str = "child:day";

/// A child and the lines that it prints.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) fn line(&mut self) -> String {
        self.lines.next().expect("the child ends after its last line").unwrap()
    }

    /// Prints its lines up to one that begins with `word`, and returns the numbers after that.
    pub(crate) fn numbers_after(&mut self, name: &str, word: &str) -> Vec<f64> {
        loop {
            let line = self.line();
            match line.strip_prefix(word) {
                Some(numbers) => return numbers.split_whitespace().map(|text| text.parse().unwrap()).collect(),
                None => println!("  {name}  {line}"),
            }
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

/// Prints a line at once: the one who reads it measures.
pub(crate) fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// Octets that a file takes on disk.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn on_disk(file: &Path) -> f64 {
    (std::fs::metadata(file).unwrap().blocks() * 512) as f64
}

/// kB of memory that this process has.
pub(crate) fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map(|rest| rest.trim_end_matches("kB").trim().to_owned()).unwrap_or_default()
}
