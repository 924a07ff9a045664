// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid`: make and inspect the identities of the mesh.

use std::process::ExitCode;

fn main() -> ExitCode {
    cgeid::shell::run()
}
