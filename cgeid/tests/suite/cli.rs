// SPDX-License-Identifier: GPL-2.0-or-later
//! The program: files, keys of its JSON, exit codes, and errors that say what to do.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::pem;

/// `cgeid` with these arguments, which have no spaces in them.
pub(crate) fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cgeid"));
    command.args(arguments.split(' ')).current_dir(folder);
    command.env("CGEID_PASSWORD", "secret").env("CGEID_NEW_PASSWORD", "another");
    command
}

pub(crate) fn cgeid(folder: &Path, arguments: &str) -> Output {
    command(folder, arguments).output().unwrap()
}

/// The same with something on its standard input.
pub(crate) fn given(folder: &Path, arguments: &str, input: &[u8]) -> Output {
    let mut command = command(folder, arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
    output
}

/// What it prints when all is well.
pub(crate) fn succeeds(folder: &Path, arguments: &str) -> String {
    let output = cgeid(folder, arguments);
    assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// What it reports.
pub(crate) fn json(folder: &Path, arguments: &str) -> Value {
    serde_json::from_str(&succeeds(folder, &format!("{arguments} --json"))).unwrap()
}

/// Who may do what with a file.
pub(crate) fn mode(path: impl AsRef<Path>) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn fails(folder: &Path, arguments: &str, code: i32, hint: &str) {
    let output = cgeid(folder, arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments}: {message}");
    assert!(message.contains(hint), "{arguments}: {message}");
    assert!(output.stdout.is_empty(), "{arguments}: {}", text(&output.stdout));
}

/// A folder with one identity, and what `new --json` said of it.
pub(crate) fn made() -> (TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    let value = json(folder.path(), "new --algorithm ed25519 --out keys --months 2");
    (folder, value)
}

pub(crate) fn cn(made: &Value) -> &str {
    made["cn"].as_str().unwrap()
}

#[test]
fn new_writes_files_for_their_owner_only() {
    let (folder, made) = made();
    let files = made["files"].as_array().unwrap();
    assert_eq!(files.len(), 3);
    assert_eq!(files[0], format!("keys/{}.p12", cn(&made)));
    assert_eq!(files[1], format!("keys/{}.op.p12", cn(&made)));
    for file in files.iter().chain([&made["revocation"]]) {
        assert_eq!(mode(folder.path().join(file.as_str().unwrap())), 0o600);
    }
    assert_eq!(made["revocation"], format!("keys/{}.revoke", cn(&made)));
    assert_eq!(mode(folder.path().join("keys")), 0o700);
    assert!(made["address"].as_str().unwrap().starts_with("3fff:ce1:"));
}

#[test]
fn show_has_the_agreed_keys() {
    let (folder, made) = made();
    for (file, operational) in
        [(format!("keys/{}.p12", cn(&made)), false), (format!("keys/{}.op.p12", cn(&made)), true)]
    {
        let shown = json(folder.path(), &format!("show {file}"));
        for key in ["cn", "address"] {
            assert_eq!(shown[key], made[key]);
        }
        assert_eq!(shown["algorithm"], "ed25519");
        assert!(shown["sha512"].as_str().unwrap().starts_with(cn(&made)));
        assert_eq!(shown["sha512"].as_str().unwrap().len(), 128);
        assert!(shown["not_before"].as_str().unwrap().ends_with(":00:00Z"));
        assert_eq!(shown["not_after"], "9999-12-31T23:59:59Z");
        if operational {
            assert_eq!(shown["operational"]["cn"], made["cn"]);
            assert!(shown["operational"]["epoch"].is_u64());
            assert!(shown["operational"]["not_after"].is_string());
        } else {
            assert!(shown["operational"].is_null());
        }
        let name = cgeid(folder.path(), &format!("show --cn {file}"));
        assert_eq!(text(&name.stdout), format!("{}\n", cn(&made)));
    }
}

#[test]
fn json_can_go_into_a_file_beside_the_text() {
    let (folder, made) = made();
    let output = cgeid(folder.path(), &format!("show --json=out.json keys/{}.p12", cn(&made)));
    assert!(text(&output.stdout).contains("address"));
    let shown: Value = serde_json::from_slice(&std::fs::read(folder.path().join("out.json")).unwrap()).unwrap();
    assert_eq!(shown["cn"], made["cn"]);
    // Again over the earlier one, but over nothing else.
    succeeds(folder.path(), &format!("show --json=out.json keys/{}.p12", cn(&made)));
    let key = format!("keys/{}.p12", cn(&made));
    let before = std::fs::read(folder.path().join(&key)).unwrap();
    fails(folder.path(), &format!("new --algorithm ed25519 --out more --json={key}"), 1, "no earlier report");
    assert_eq!(std::fs::read(folder.path().join(&key)).unwrap(), before);
    assert!(!folder.path().join("more").exists());
}

#[test]
fn output_that_finds_no_place_is_an_error() {
    let (folder, made) = made();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for flag in ["--cn", "--json"] {
        let arguments = format!("show {flag} keys/{}.p12", cn(&made));
        let output = command(folder.path(), &arguments).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{flag}");
        assert!(text(&output.stderr).contains("standard output"), "{flag}");
    }
}

#[test]
fn a_password_file_gives_its_first_line() {
    let (folder, made) = made();
    let path = folder.path();
    std::fs::write(path.join("right"), "secret\r\nsecond line\n").unwrap();
    std::fs::write(path.join("wrong"), "guess\n").unwrap();
    std::fs::write(path.join("empty"), "").unwrap();
    let file = format!("keys/{}.p12", cn(&made));
    assert!(cgeid(path, &format!("show --password-file right {file}")).status.success());
    fails(path, &format!("show --password-file wrong {file}"), 1, "wrong password");
    fails(path, &format!("show --password-file none {file}"), 2, "--password-file none");
    fails(path, "new --algorithm ed25519 --out other --password-file empty", 2, "empty password");
    std::fs::write(path.join("emoji"), "\u{1f511}").unwrap();
    fails(path, "new --algorithm ed25519 --out other --password-file emoji", 2, "choose another password");
    assert!(!path.join("other").exists());
}

#[test]
fn what_cannot_be_shown_is_explained() {
    let (folder, made) = made();
    let path = folder.path();
    let file = format!("keys/{}.op.p12", cn(&made));
    let bytes = std::fs::read(path.join(&file)).unwrap();
    std::fs::write(path.join("cut.p12"), &bytes[..200]).unwrap();
    std::fs::write(path.join("text"), "hello").unwrap();
    fails(path, "show missing.p12", 2, "cannot read missing.p12");
    fails(path, "show cut.p12", 1, "cut off");
    fails(path, &format!("show {}", made["revocation"].as_str().unwrap()), 1, "cgeid verify");
    fails(path, "show text", 1, "this is no form of");
    fails(path, &format!("show {file} --prefix 2001:db8::/32"), 1, "another network prefix");
    fails(path, &format!("show {file} --prefix 2001:db8::/48"), 2, "/32");
    let later = made["files"][2].as_str().unwrap();
    fails(path, &format!("show {later}"), 1, "not valid before");
    fails(path, "new --algorithm rsa2048 --out keys", 2, "rsa4096");
    fails(path, "new --algorithm ed25519", 2, "--out");
    fails(path, &format!("new --algorithm ed25519 --out {file}"), 2, "--out");
    fails(path, &format!("show {file} --password secret"), 2, "--password");
}

#[test]
fn names_of_files_do_not_control_the_terminal() {
    let (folder, made) = made();
    let path = folder.path();
    fails(path, "show x\x1b[31mred\nok", 2, "cannot read x\\u{1b}[31mred\\nok");
    let name = "x\x1b[31m\u{202e}\nholds";
    std::fs::copy(path.join(format!("keys/{}.op.p12", cn(&made))), path.join(name)).unwrap();
    let printed = succeeds(path, &format!("verify {name}"));
    assert!(printed.lines().all(|line| !line.starts_with("holds:")), "{printed}");
    assert!(!printed.contains(['\x1b', '\u{202e}']), "{printed:?}");
    assert!(printed.contains("x\\u{1b}[31m\\u{202e}\\nholds"), "{printed}");
    // A report for programs has the name itself.
    assert_eq!(json(path, &format!("verify {name}"))["findings"][0]["file"], name);
}

#[test]
fn a_crash_leaves_no_core_file() {
    let folder = tempfile::tempdir().unwrap();
    // It waits for its input meanwhile.
    let mut child = command(folder.path(), "show -").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let limits = format!("/proc/{}/limits", child.id());
    let is_set = || {
        let limits = std::fs::read_to_string(&limits).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned();
        line.split_whitespace().filter(|word| *word == "0").count() == 2
    };
    let until = Instant::now() + Duration::from_secs(10);
    let mut set = is_set();
    while !set && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
        set = is_set();
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(set);
}

#[test]
fn certificates_are_shown_without_a_password() {
    let (folder, made) = made();
    let path = folder.path();
    let key = cgeid::container::load_operational(
        &std::fs::read(path.join(format!("keys/{}.op.p12", cn(&made)))).unwrap(),
        "secret",
        cgeid::Network::LAB,
        std::time::SystemTime::now(),
    )
    .unwrap();
    std::fs::write(path.join("id.der"), key.identity_certificate_der()).unwrap();
    std::fs::write(path.join("op.der"), key.certificate_der()).unwrap();
    let both = format!("a comment\n{}{}", pem(key.certificate_der()), pem(key.identity_certificate_der()));
    std::fs::write(path.join("both.pem"), &both).unwrap();
    std::fs::write(path.join("cut.pem"), &both[..400]).unwrap();
    for file in ["id.der", "both.pem"] {
        let output = command(path, &format!("show --cn {file}")).env_remove("CGEID_PASSWORD").output().unwrap();
        assert_eq!(text(&output.stdout).trim(), cn(&made), "{}", text(&output.stderr));
    }
    let shown = json(path, "show both.pem");
    assert_eq!(shown["operational"]["epoch"], key.epoch());
    fails(path, "show op.der", 1, "proves nothing alone");
    fails(path, "show cut.pem", 1, "PEM");
}

#[test]
fn version_has_a_number() {
    let folder = tempfile::tempdir().unwrap();
    assert!(succeeds(folder.path(), "--version").starts_with("cgeid 0."));
}
