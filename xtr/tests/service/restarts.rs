// SPDX-License-Identifier: GPL-2.0-or-later
//! A `lisp-xtr` that is killed and started again, in a network namespace: what it says of its locators to trusted peers. Needs root and
//! `/dev/net/tun`; says so and passes without, unless `CI` is set.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::namespace::{Node, in_namespace, wait_for};
use crate::program::key_file;
use xtr::config::Table;

const RLOC: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";
/// Nobody listens there.
const SERVER: &str = "203.0.113.10";

/// RFC 9300, section 13.1: peers may still count the locators of the last run.
#[test]
fn a_node_that_begins_with_another_locator_than_its_last_run_sends_no_status_bits_at_first() {
    in_namespace(&[RLOC, OTHER, SERVER], || {
        let folder = tempfile::tempdir().unwrap();
        let bits = [RLOC, RLOC, OTHER, OTHER].map(|rloc| status_bits(folder.path(), rloc));
        assert_eq!(bits, [Some(1), Some(1), None, None], "it was killed in its pause");
    });
}

/// Those of a run that is killed a moment after it has begun.
fn status_bits(folder: &Path, rloc: &str) -> Option<u64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
    command.args(["--eid-prefix", "10.1.0.0/16", "--rloc", rloc, "--map-server", SERVER, "--map-resolver", SERVER]);
    command.args(["--trusted-peer", "192.0.2.0/24", "--locator-status-bits", "on", "--tun", "lispt", "--key-file"]);
    command.arg(key_file(folder)).arg("--state-dir").arg(folder.join("state"));
    let _node = Node(command.spawn().unwrap());
    let socket = folder.join("state/control.sock");
    wait_for("answer", || xtr::shell::ask(&socket, Table::Locators).ok());
    std::thread::sleep(Duration::from_millis(500));
    let locators = xtr::shell::ask(&socket, Table::Locators).unwrap();
    locators["status_bits"].as_u64()
}
