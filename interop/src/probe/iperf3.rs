// SPDX-License-Identifier: GPL-2.0-or-later
//! TCP flows that iperf3 sends and takes: a witness of our own loads ([`super::load`]).

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::load::{Delivered, Ends, Times};
use crate::interrupt;
use crate::lab::process::{self, Process};
use crate::limits::{COMMAND_TIME, POLL};

/// The name of the program.
const PROGRAM: &str = "iperf3";

/// Which version of the program is here: from 3.16 on it has a thread for each flow.
///
/// # Errors
/// When it is missing.
pub fn version() -> anyhow::Result<String> {
    let output = Command::new(PROGRAM).arg("--version").output().context("cannot run iperf3; is it installed?")?;
    ensure!(output.status.success(), "iperf3 --version: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// Sends over `flows` TCP connections as fast as they take it; octets. Times are whole seconds, rounded up.
///
/// # Errors
/// When it cannot be started, has nothing to say, or we are interrupted.
pub fn tcp(ends: Ends<'_>, flows: usize, times: Times) -> anyhow::Result<Delivered> {
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(PROGRAM);
    command.args(["--server", "--one-off", "--forceflush", "--bind", &ends.destination.to_string()]);
    let mut server = Process::start(ends.to, PROGRAM, command, log.path())?;
    let deadline = Instant::now() + COMMAND_TIME;
    while !server.has_printed("Server listening") {
        server.check()?;
        ensure!(Instant::now() < deadline, "iperf3 does not listen after {COMMAND_TIME:?}");
        interrupt::sleep(POLL)?;
    }
    let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let (omit, time) = (seconds(times.warm_up), seconds(times.measured));
    let mut command = Command::new(PROGRAM);
    command.args(["--json", "--interval", "0", "--client", &ends.destination.to_string()]);
    command.args(["--bind", &ends.source.to_string(), "--parallel", &flows.to_string()]);
    command.args(["--omit", &omit.to_string(), "--time", &time.to_string()]);
    let limit = Duration::from_secs(omit + time) + COMMAND_TIME;
    let output = process::output(ends.from, command, limit)?;
    let report: Value = serde_json::from_str(&output.stdout).with_context(|| format!("iperf3: {}", output.stderr))?;
    delivered(&report)
}

/// What its report says of the receiver.
fn delivered(report: &Value) -> anyhow::Result<Delivered> {
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let received = &report["end"]["sum_received"];
    let figures = (received["bytes"].as_u64(), received["seconds"].as_f64());
    let (Some(amount), Some(seconds)) = figures else { bail!("iperf3 says nothing of what was received") };
    let time = Duration::try_from_secs_f64(seconds).context("iperf3")?;
    Ok(Delivered { amount, time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_iperf3_reports_is_read_and_an_error_of_it_is_one() {
        let of = |text| delivered(&serde_json::from_str(text).unwrap_or_default());
        let good = of(r#"{"end": {"sum_received": {"seconds": 2.5, "bytes": 1000, "bits_per_second": 3200.0}}}"#);
        assert!(good.is_ok_and(|it| (it.amount, it.time) == (1000, Duration::from_millis(2500))));
        for (text, why) in [
            (r#"{"error": "unable to connect"}"#, "unable to connect"),
            ("{}", "says nothing"),
            (r#"{"end": {"sum_received": {"seconds": -1, "bytes": 1}}}"#, "iperf3"),
        ] {
            assert!(of(text).is_err_and(|error| error.to_string().contains(why)), "{text}");
        }
    }
}
