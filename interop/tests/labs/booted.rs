// SPDX-License-Identifier: GPL-2.0-or-later
//! Both services under systemd itself, on a machine that it has booted in namespaces (systemd-nspawn): installed as their units say, with
//! all that the units forbid them.

use std::path::Path;
use std::process::{Command, Stdio};

use interop::lab::process::end_with_us;
use nix::sys::signal::Signal;

use crate::support;

/// How long the machine may be on: it takes half a minute.
const LIMIT: &str = "300";

/// Whether there is what makes machines. Where everything must run, there has to be.
fn can_boot() -> bool {
    if !support::root_or_skip() {
        return false;
    }
    let here = Command::new("systemd-nspawn").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !here {
        assert!(std::env::var_os("CI").is_none(), "in CI systemd-nspawn must be installed (systemd-container)");
        println!("SKIP: systemd-nspawn is not installed (package systemd-container)");
    }
    here
}

#[test]
fn systemd_starts_reloads_watches_restarts_and_stops_both_services_as_their_units_say() {
    if !can_boot() {
        return;
    }
    let _beside_others = support::beside_others();
    let scratch = tempfile::tempdir().unwrap();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    // With the process that began it all others end, and with the namespace all mounts.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(package.join("tests/labs/booted/machine.sh")).arg(scratch.path());
    command.arg(package.parent().unwrap()).arg(support::built_programs()).arg(LIMIT).stdin(Stdio::null());
    end_with_us(&mut command, Signal::SIGKILL);
    let output = command.output().unwrap();
    let report = scratch.path().join("report");
    let found = |name: &str| std::fs::read_to_string(report.join(name)).unwrap_or_default();
    let said = || format!("{output:?}\n{}\n{}", found("log"), found("journal"));
    if std::env::var_os("CI").is_none() && !report.join("log").exists() {
        println!("SKIP: no machine can be booted here: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    assert!(report.join("end").exists(), "{}", said());

    for (service, capabilities) in [("xtr", "0000000000001000"), ("mapsys", "0000000000000000")] {
        let user = found(&format!("{service}-user"));
        let user = user.trim();
        let expected = [
            "CapAmb:\t0000000000000000".to_owned(),
            format!("CapEff:\t{capabilities}"),
            "NoNewPrivs:\t1".to_owned(),
            "Seccomp:\t2".to_owned(),
            format!("Uid:\t{user}\t{user}\t{user}\t{user}"),
        ];
        let status = found(&format!("{service}-status"));
        assert_eq!(status.lines().collect::<Vec<_>>(), expected, "each thread of {service}");
        assert_eq!(found(&format!("{service}-result")), "success\n", "{}", said());
    }
    for (service, why) in [("lisp-xtr", "mtu: cannot change while the node runs"), ("lisp-mapsys", "of-nothing")] {
        assert_eq!(found(&format!("{service}-refused")), "exit-code\nactive\n", "{}", said());
        assert!(found(&format!("{service}-shown")).contains(why), "{}", said());
    }
    assert_eq!(found("rules-after"), found("rules-before"), "the next start repairs");
    assert!(found("rules-before").contains("4343:") && !found("rules-stopped").contains("434"), "{}", said());
    assert!(found("locators").contains("2001:db8:b::/48"), "what is read is what the file has now");
    assert!(found("kept").contains("2001:db8:b::/48") && !found("withdrawn").contains("2001:db8"), "{}", said());
    assert_eq!(found("late-result"), "success\n", "{}", said());
}
