// SPDX-License-Identifier: GPL-2.0-or-later
//! The service: what its unit gives it, what it keeps of that, and what the service manager hears.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::UNIT;
use crate::installed::Installed;
use crate::namespace::{Node, PATIENCE, in_namespace, skip, wait_for};
use crate::started::{CAP_NET_ADMIN, PLAIN, RLOC, TUN, ask, command, ours, show};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

#[test]
fn the_manager_hears_of_start_life_and_end() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let said = || {
            let mut buffer = [0; 512];
            let length = manager.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
        };
        let mut command = command(directory.path(), PLAIN);
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
        let begun = Instant::now();
        let mut node = Node(command.spawn().unwrap());
        let mut told = vec![said()];
        while told.last().unwrap() != "READY=1" {
            told.push(said());
        }
        assert!(show(directory.path(), &["show", "locators"]).is_some(), "who is ready answers");
        // Half of the time that it is given lies between two; from its start on, as what was said while this test slept waits to be heard.
        (0..10).for_each(|_| assert_eq!(said(), "WATCHDOG=1"));
        assert!(begun.elapsed() >= Duration::from_millis(9 * 150), "no more often than that");
        // A loop that does not turn shows no life.
        node.signal(Signal::SIGSTOP);
        manager.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        while manager.recv(&mut [0; 512]).is_ok() {}
        node.signal(Signal::SIGCONT);
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        node.signal(Signal::SIGTERM);
        while said() != "STOPPING=1" {}
        assert!(node.0.wait().unwrap().success());
    });
}

#[test]
fn every_thread_of_a_running_node_has_one_capability() {
    in_namespace(&[RLOC], || {
        for tier in ["0", "1"] {
            let directory = tempfile::tempdir().unwrap();
            let mut node = Node::start(directory.path(), &[PLAIN, &["--tier", tier]].concat());
            for set in ["CapEff", "CapPrm"] {
                let threads = node.threads(set);
                assert!(threads.len() >= 2, "the packets have threads of their own");
                assert!(threads.iter().all(|set| *set == CAP_NET_ADMIN), "tier {tier}, {set}: {threads:x?}");
            }
            for (set, value) in [("CapInh", 0), ("CapAmb", 0), ("CapBnd", 0), ("NoNewPrivs", 1)] {
                assert!(node.threads(set).iter().all(|found| *found == value), "tier {tier}, {set}");
            }
            node.end();
            assert_eq!(ours(), Vec::<String>::new());
        }
    });
}

/// A TUN device file that everybody may open, as udev makes it, in a mount namespace that ends with the thread.
fn open_device_file_to_all() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    for command in
        ["mount --make-rprivate /", "mount -t tmpfs -o mode=755 tmpfs /dev/net", "mknod -m 666 /dev/net/tun c 10 200"]
    {
        let words: Vec<&str> = command.split(' ').collect();
        assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success(), "{command}");
    }
}

/// Runs a node as an ordinary user with these capabilities and no others.
pub(crate) fn as_nobody(directory: &Path, capabilities: &str, arguments: &[&str]) -> Command {
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory, everybody).unwrap();
    // The folder that it was built in may be closed to others.
    let program = directory.join("lisp-xtr");
    // Copied by another process: what this one writes to, a child that another test has just begun would keep open, and what somebody
    // may write to does not run.
    assert!(Command::new("cp").args([Path::new(env!("CARGO_BIN_EXE_lisp-xtr")), &program]).status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(format!("--inh-caps=-all{capabilities}")).arg(format!("--ambient-caps=-all{capabilities}"));
    command.arg(program).args(self::command(directory, arguments).get_args()).stdout(Stdio::null());
    command
}

#[test]
fn an_ordinary_user_with_one_capability_runs_a_node() {
    in_namespace(&[RLOC], || {
        open_device_file_to_all();
        let directory = tempfile::tempdir().unwrap();
        let arguments = [PLAIN, &["--tier", "1"]].concat();
        let mut node = Node(as_nobody(directory.path(), ",+net_admin", &arguments).spawn().unwrap());
        wait_for("answer", || show(directory.path(), &["show", "locators"]));
        assert!(node.threads("CapEff").iter().all(|set| *set == CAP_NET_ADMIN));
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

#[test]
fn installed_as_its_unit_says_it_starts_and_reloads_as_its_own_user_with_the_capabilities_of_the_unit() {
    in_namespace(&[RLOC], || {
        open_device_file_to_all();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed = match Installed::new("lisp-xtr", sources, Path::new(env!("CARGO_BIN_EXE_lisp-xtr"))) {
            Ok(installed) => installed,
            Err(needed) => return skip(&needed),
        };
        let (folder, config) = (installed.folder(), installed.folder().join("lisp-xtr.toml"));
        let key = folder.join("key.toml");
        installed.put("key.toml", "algorithm = \"hkdf-sha256\"\nkey-id = 1\nsecret = \"a secret\"\n");
        let configure = |prefix: &str| {
            let at = "map-server = [\"127.0.0.1\"]\nmap-resolver = [\"127.0.0.1\"]";
            let text = format!("{at}\nkey-file = [{key:?}]\nrloc = [{RLOC:?}]\neid-prefix = [{prefix:?}]\n");
            std::fs::write(&config, text).unwrap();
        };
        configure("2001:db8:a::/48");
        let tried = installed.tried();
        assert!(tried.status.success(), "{tried:?}");

        // As the unit lets it, it makes the check of sources of its own device loose where that of all is strict.
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap();
        std::os::unix::fs::symlink(installed.state(), installed.root().join("state")).unwrap();
        let mut node =
            Node(installed.start().args(["--tun", TUN, "--tier", "0"]).stdout(Stdio::null()).spawn().unwrap());
        let has = |prefix: &str| {
            let shown = show(installed.root(), &["show", "locators"])?;
            (shown["prefixes"] == serde_json::json!([prefix])).then_some(())
        };
        wait_for("node", || has("2001:db8:a::/48"));
        assert_eq!(std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{TUN}/rp_filter")).unwrap(), "2\n");
        assert!(node.threads("CapEff").iter().all(|set| *set == CAP_NET_ADMIN));
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{}", node.0.id())).unwrap());
        assert_eq!(owner, installed.ids().0);

        configure("2001:db8:b::/48");
        let reloaded = installed.reload();
        assert!(reloaded.status.success() && has("2001:db8:b::/48").is_some(), "{reloaded:?}");
        // With the usual group of what root makes, nothing can be read: neither at the start nor later.
        configure("2001:db8:c::/48");
        for closed in [&folder, &config, &key] {
            installed.without_group(closed, || {
                let tried = installed.tried();
                let said = String::from_utf8_lossy(&tried.stderr);
                assert_eq!(tried.status.code(), Some(2), "{said}");
                assert!(said.contains("Permission denied") && said.contains(folder.to_str().unwrap()), "{said}");
                let refused = ask(installed.root(), &["reload"]);
                assert_eq!(refused.status.code(), Some(1), "{refused:?}");
                let refused = installed.reload();
                let said = String::from_utf8_lossy(&refused.stderr);
                assert!(!refused.status.success() && said.contains("Permission denied"), "{refused:?}");
                assert!(has("2001:db8:b::/48").is_some(), "nothing has changed");
            });
        }
        node.signal(Signal::SIGHUP);
        wait_for("reload", || has("2001:db8:c::/48"));
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

#[test]
fn a_missing_capability_is_named_with_the_way_to_give_it() {
    in_namespace(&[RLOC], || {
        let cases =
            [("", "1", "CAP_NET_ADMIN"), (",+net_admin", "0", "CAP_NET_RAW"), (",+net_raw", "0", "CAP_NET_ADMIN")];
        for (given, tier, missing) in cases {
            let directory = tempfile::tempdir().unwrap();
            let arguments = [PLAIN, &["--tier", tier]].concat();
            let output = as_nobody(directory.path(), given, &arguments).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{error}");
            for said in [&format!("{missing} is missing"), "lisp-xtr.service", "setcap cap_net_admin"] {
                assert!(error.contains(said), "{said}: {error}");
            }
            assert!(!directory.path().join("state").exists(), "nothing is written");
        }
    });
}

/// `systemd-analyze` as witness: every setting is one that systemd knows, and little of the machine is left exposed.
#[test]
fn systemd_takes_the_unit_and_finds_little_exposed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lisp-xtr.service");
    // The program that the unit names is not installed here.
    std::fs::write(&file, UNIT.replace("/usr/bin/lisp-xtr", "/bin/true")).unwrap();
    let Some(verified) = analyze(&["verify", "--man=no"], &file) else { return };
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    let Some(judged) = analyze(&["security", "--offline=true", "--threshold=25", "--no-pager"], &file) else { return };
    assert!(judged.status.success(), "exposed more than 2.5 of 10:\n{}", String::from_utf8_lossy(&judged.stdout));
}

fn analyze(arguments: &[&str], file: &Path) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).arg(file).output() {
        Ok(output) => Some(output),
        Err(error) => {
            skip(&format!("systemd-analyze (package systemd): {error}"));
            None
        }
    }
}
