// SPDX-License-Identifier: GPL-2.0-or-later
//! tshark as a witness: whether it can read every LISP packet that crossed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Judges captures; returns what to say about it.
///
/// # Errors
/// When a packet is malformed, tshark fails, or is missing where everything must run.
pub(super) fn judge(captures: &[PathBuf]) -> anyhow::Result<String> {
    let mut packets = 0;
    for capture in captures {
        let Some(rows) = read(capture)? else {
            ensure!(std::env::var_os("CI").is_none(), "tshark is not installed, and in CI it must be");
            return Ok("tshark is not installed, so packets were not judged".into());
        };
        let malformed: Vec<_> = rows.iter().filter(|row| row.malformed).map(|row| row.number.as_str()).collect();
        let name = capture.display();
        ensure!(malformed.is_empty(), "{name}: malformed to tshark: frames {}", malformed.join(", "));
        packets += rows.len();
    }
    ensure!(packets > 0, "no LISP packet was captured");
    Ok(format!("tshark read {packets} LISP packets, none malformed"))
}

/// A frame with a LISP packet.
struct Row {
    number: String,
    malformed: bool,
}

/// The LISP packets of a capture; none if there is no tshark.
fn read(capture: &Path) -> anyhow::Result<Option<Vec<Row>>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", "lisp || lisp-data", "-T", "fields"]);
    let output = match command.args(["-e", "frame.number", "-e", "_ws.malformed"]).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.context("tshark")?,
    };
    ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |line: &str| {
        let (number, rest) = line.split_once('\t').unwrap_or((line, ""));
        Row { number: number.into(), malformed: !rest.trim().is_empty() }
    };
    Ok(Some(text.lines().map(row).collect()))
}
