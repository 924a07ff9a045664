// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-mapsys` as a black box.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::suite::probe::{Fault, broken, missing};

/// Names another program to judge.
const VARIABLE: &str = "CONFORMANCE_LISP_MAPSYS";

/// A running map system; it ends when it is dropped.
pub(super) struct System {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl System {
    /// Starts one at a free port of `at`, with its files in a folder of its own, and waits until it is ready.
    pub(super) fn start(folder: &Path, at: IpAddr, config: &str) -> Result<Self, Fault> {
        let home = folder.join(at.to_string());
        std::fs::create_dir_all(&home).map_err(missing)?;
        let file = home.join("mapsys.toml");
        std::fs::write(&file, config).map_err(missing)?;
        let log = std::fs::File::create(home.join("log")).map_err(missing)?;
        let program = program().map_err(missing)?;
        let mut command = Command::new(&program);
        command.args(["--listen", &format!("{at}:0"), "--dht-listen", &at.to_string(), "--dht-port", "0"]);
        command.arg("--config").arg(file).arg("--state-dir").arg(&home).stdout(Stdio::piped()).stderr(log);
        let absent = |error: std::io::Error| {
            missing(format!("{} does not run ({error}); build it, or name another with {VARIABLE}", program.display()))
        };
        let mut child = command.spawn().map_err(absent)?;
        let lines = BufReader::new(child.stdout.take().ok_or_else(|| broken("no standard output"))?).lines();
        let mut address = None;
        for line in lines.map_while(Result::ok) {
            if let Some(text) = line.strip_prefix("listening ") {
                address = text.parse().ok();
            }
            if let ("ready", Some(address)) = (line.as_str(), address) {
                return Ok(Self { child, address });
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        let told = std::fs::read_to_string(home.join("log")).unwrap_or_default();
        Err(broken(format!("the map system does not start: {told}")))
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
    Ok(beside.join("lisp-mapsys"))
}
