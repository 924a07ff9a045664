// SPDX-License-Identifier: GPL-2.0-or-later
//! What a `lisp-xtr` in a namespace shares with the Map-Server that a test plays, and what it shows.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use wire::control::auth::{Algorithm, AuthKey, Secret};

/// The key that it registers with.
pub(crate) fn key() -> AuthKey {
    AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: Secret::new("a secret") }
}

/// The same as a file in this folder, for `--key-file`.
pub(crate) fn key_file(folder: &Path) -> PathBuf {
    let path = folder.join("key.toml");
    std::fs::write(&path, "algorithm = \"hkdf-sha256\"\nsecret = \"a secret\"\n").unwrap();
    path
}

/// What the one with this folder for its state shows, if it answers.
pub(crate) fn show(state: &Path, table: &str) -> Option<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
    let output = command.args(["show", table, "--json", "--state-dir"]).arg(state).output().unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}
