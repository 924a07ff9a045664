// SPDX-License-Identifier: GPL-2.0-or-later
//! The program itself: what it refuses, and with which exit status and words.

use std::path::Path;
use std::process::{Command, Output};

fn lisp_xtr(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lisp-xtr")).args(arguments).env_remove("CGEID_PASSWORD").output().unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], status: i32, named: &[&str]) {
    let output = lisp_xtr(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{error}");
    for word in named {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

fn file(directory: &Path, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, contents).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn usage_errors_name_the_flag() {
    refused(&["--eid-prefixes", "10.0.0.0/8"], 2, &["--eid-prefix"]);
    refused(&["check", "--eid-prefix", "10.0.0.1/8"], 2, &["--eid-prefix", "10.0.0.0/8"]);
    refused(&["check", "--map-server", "192.0.2.1", "--eid-prefix", "10.0.0.0/8"], 2, &["--key-file"]);
}

#[test]
fn a_bootstrap_address_is_a_multiaddress_or_an_address_with_its_port() {
    let check = ["check", "--eid-prefix", "10.0.0.0/8", "--rloc", "192.0.2.1", "--bootstrap"];
    for wrong in ["192.0.2.1", "/foo", "/ip4/192.0.2.1/tcp/1"] {
        refused(&[&check[..], &[wrong]].concat(), 2, &["--bootstrap", wrong]);
    }
    for right in ["192.0.2.1:43420", "/ip4/192.0.2.1/udp/43420/quic-v1"] {
        assert!(lisp_xtr(&[&check[..], &[right]].concat()).status.success(), "{right}");
    }
}

#[test]
fn unknown_configuration_keys_are_refused_with_their_line() {
    let directory = tempfile::tempdir().unwrap();
    let config = file(directory.path(), "xtr.toml", "tun = \"lisp0\"\nrlocs = [\"192.0.2.1\"]\n");
    refused(&["check", "--config", &config], 2, &["--rlocs", "line 2", "unknown key"]);
}

#[test]
fn unknown_environment_variables_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_lisp-xtr")).arg("check").env("LISP_XTR_RLOCS", "192.0.2.1").output();
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("LISP_XTR_RLOCS"), "{error}");
}

#[test]
fn the_environment_gives_lists_with_blanks() {
    let output = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"))
        .arg("check")
        .env("LISP_XTR_EID_PREFIX", "10.1.0.0/16 2001:db8:a::/48")
        .env("LISP_XTR_MTU", "1400")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("10.1.0.0/16, 2001:db8:a::/48") && said.contains("1400"),
        "{said}"
    );
}

#[test]
fn an_xtr_id_of_decimal_digits_is_none_the_less_text() {
    let check = |id: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.args(["check", "--eid-prefix", "10.1.0.0/16", "--map-resolver", "192.0.2.9"]);
        let output = command.env("LISP_XTR_XTR_ID", id).env("LISP_XTR_MTU", "1400").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for id in ["00000000000000000000000000000001", "12345678901234567890123456789012"] {
        assert_eq!(check(id).0, Some(0), "{id}: {}", check(id).1);
    }
    // The first two are short enough to be taken for numbers.
    for id in ["7", "00000000000000000001", "1e3", "000000000000000000000000001", "0a"] {
        let (status, error) = check(id);
        assert!(status == Some(2) && error.contains("32 hexadecimal digits"), "{id}: {error}");
    }
}

#[test]
fn identities_that_cannot_be_opened_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let now = std::time::SystemTime::now();
    let identity = cgeid::Identity::generate_ed25519(cgeid::Network::LAB, now).unwrap();
    let operational = cgeid::container::save_operational_under(
        cgeid::container::Password::Random,
        &identity.delegate(now, 0).unwrap(),
        "right",
    )
    .unwrap();
    let good = file(directory.path(), "good.op.p12", &operational);
    let bad = file(directory.path(), "bad.op.p12", &operational[..operational.len() / 2]);
    let whole = file(
        directory.path(),
        "whole.p12",
        cgeid::container::save_identity_under(cgeid::container::Password::Random, &identity, "right").unwrap(),
    );
    let right = file(directory.path(), "right", "right\n");
    let wrong = file(directory.path(), "wrong", "wrong\n");
    let check =
        |identity: &str, password: &str| lisp_xtr(&["check", "--identity", identity, "--password-file", password]);
    assert!(check(&good, &right).status.success());
    refused(&["check", "--identity", &good, "--password-file", &wrong], 2, &["--identity", "good.op.p12", "password"]);
    refused(&["check", "--identity", &bad, "--password-file", &right], 2, &["bad.op.p12"]);
    refused(&["check", "--identity", &whole, "--password-file", &right], 2, &["whole.p12"]);
    refused(&["check", "--identity", "/nonexistent.op.p12", "--password-file", &right], 2, &["/nonexistent.op.p12"]);
    refused(&["check", "--identity", &good], 2, &["--password-file"]);
}

#[test]
fn check_says_which_interfaces_are_not_there() {
    let said = |rloc: &str| {
        let output = lisp_xtr(&["check", "--eid-prefix", "10.1.0.0/16", "--rloc", rloc]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(said("nosuch0").contains("no interface nosuch0 now"), "{}", said("nosuch0"));
    assert!(!said("lo").contains("Warning"), "{}", said("lo"));
}

#[test]
fn check_speaks_json() {
    let output = lisp_xtr(&["check", "--eid-prefix", "10.1.0.0/16", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["ok"], true);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("check.json");
    let output = lisp_xtr(&["check", "--eid-prefix", "10.1.0.0/16", &format!("--json={}", path.display())]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("can be run"));
    let answer: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(answer["ok"], true);
}

/// Before anything of the machine is asked for, and the file is left alone.
#[test]
fn a_run_has_no_report_for_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.json");
    let (json, state) = (format!("--json={}", path.display()), directory.path().join("state"));
    let run = ["--eid-prefix", "10.1.0.0/16", "--rloc", "192.0.2.1", "--state-dir", state.to_str().unwrap(), &json];
    refused(&run, 2, &["--json", "run.json", "no report"]);
    assert!(!path.exists() && !state.exists());
}

#[test]
fn show_without_a_running_node_says_where_it_asked() {
    refused(&["show", "map-cache", "--control", "/nonexistent.sock"], 1, &["/nonexistent.sock"]);
    refused(&["show", "everything"], 2, &["map-cache"]);
}

#[test]
fn help_has_examples() {
    let help = String::from_utf8_lossy(&lisp_xtr(&["--help"]).stdout).into_owned();
    for said in ["Examples", "--trust-anchor", "net.ipv4.ip_forward"] {
        assert!(help.contains(said), "{said}");
    }
    assert!(String::from_utf8_lossy(&lisp_xtr(&["--version"]).stdout).starts_with("lisp-xtr "));
}
