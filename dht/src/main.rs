// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht`: a node of the hash table, and commands that ask it.

use std::process::ExitCode;

fn main() -> ExitCode {
    dht::shell::cli::run()
}
