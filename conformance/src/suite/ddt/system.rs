// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-mapsys` as a black box.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::suite::daemon::{Daemon, Files, program};
use crate::suite::probe::{Fault, missing};

/// A running map system; it ends when it is dropped.
pub(super) struct System {
    _daemon: Daemon,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl System {
    /// Starts one at a free port of `at`, with its files in a folder of its own, and waits until it is ready.
    pub(super) fn start(folder: &Path, at: IpAddr, config: &str) -> Result<Self, Fault> {
        let home = folder.join(at.to_string());
        std::fs::create_dir_all(&home).map_err(missing)?;
        let file = home.join("mapsys.toml");
        std::fs::write(&file, config).map_err(missing)?;
        let files = Files { config: &file, state: &home, log: &home.join("log") };
        let daemon = Daemon::start(Command::new(program()), &files, &[at], at)?;
        let address = daemon.address()?;
        Ok(Self { _daemon: daemon, address })
    }
}
