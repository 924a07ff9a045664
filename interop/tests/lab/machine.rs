// SPDX-License-Identifier: GPL-2.0-or-later
//! What a machine refuses is named, with exit status 3; what the caller got wrong, with 2.

use std::path::Path;
use std::process::{Command, Output};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

fn interop(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_interop")).args(arguments).output().unwrap()
}

/// Runs the demo where `prepare` has changed the mounts, which nobody else sees.
fn demo_with_mounts(programs: &Path, arguments: &[&str], prepare: fn()) -> Output {
    let arguments = [&["demo", "--bin-dir", programs.to_str().unwrap()], arguments].concat();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
            prepare();
            interop(&arguments)
        });
        thread.join().unwrap()
    })
}

fn assert_refused(output: &Output, names: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(names), "{stderr}");
}

#[test]
fn a_missing_tun_device_is_named() {
    if !crate::support::root_or_skip() {
        return;
    }
    let hide = || mount(Some("none"), "/dev/net", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let programs = crate::support::hollow_programs();
    for arguments in [&[][..], &["--user-namespace"]] {
        assert_refused(&demo_with_mounts(programs.path(), arguments, hide), "/dev/net/tun");
    }
}

#[test]
fn settings_that_cannot_be_written_are_named() {
    if !crate::support::root_or_skip() {
        return;
    }
    let freeze = || {
        mount(Some("/proc/sys"), "/proc/sys", None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).unwrap();
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, "/proc/sys", None::<&str>, flags, None::<&str>).unwrap();
    };
    let programs = crate::support::hollow_programs();
    // A cgeid that answers, so that the demo comes as far as the network.
    let script = "#!/bin/sh\necho '{\"cn\":\"00\",\"address\":\"3fff:ce1::1\",\"files\":[\"a\",\"b\"]}'\n";
    crate::support::write_program(&programs.path().join("cgeid"), script);
    assert_refused(&demo_with_mounts(programs.path(), &[], freeze), "/proc/sys/net");
}

#[test]
fn wrong_usage_has_a_status_of_its_own() {
    for arguments in [&["demo", "--no-such-flag"][..], &["demos"], &["demo", "--json", "file"]] {
        let output = interop(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn programs_that_are_missing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = interop(&["demo", "--bin-dir", folder.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--bin-dir") && said.contains("lisp-xtr") && said.contains("cgeid"), "{said}");
}

#[test]
fn folders_that_cannot_be_written_are_named_before_anything_is_done() {
    let programs = crate::support::hollow_programs();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    // A folder that cannot be made, and one that is there but takes no files even from root.
    for target in [file.join("captures").to_str().unwrap(), "/proc/self"] {
        for flag in ["--pcap", "--keep-logs"] {
            let output = interop(&["demo", flag, target, "--bin-dir", programs.path().to_str().unwrap()]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.starts_with(&format!("interop: {flag} {target}: ")), "{said}");
            assert!(output.stdout.is_empty(), "the story had begun");
        }
    }
}

#[test]
fn help_has_examples() {
    let output = interop(&["--help"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("interop demo --pcap"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("130 = interrupted"));
}
