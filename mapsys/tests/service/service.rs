// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-mapsys` under a service manager: what it tells it, reloading, and the unit file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use crate::UNIT;
use crate::installed::Installed;

/// A running `lisp-mapsys` and what it tells its manager; ended with the test.
struct Service {
    child: Child,
    manager: UnixDatagram,
    config: PathBuf,
    state: PathBuf,
    /// Has the socket of the manager.
    _folder: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(config: &str, watchdog: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, state) = (folder.path().join("mapsys.toml"), folder.path().join("state"));
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"));
        command.arg("--config").arg(&file).arg("--state-dir").arg(&state);
        if let Some(limit) = watchdog {
            command.env("WATCHDOG_USEC", limit.as_micros().to_string());
        }
        Self::run(command, folder, (file, state))
    }

    fn run(mut command: Command, folder: tempfile::TempDir, (config, state): (PathBuf, PathBuf)) -> Self {
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The service may be another user.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
        command
            .args(["--listen", "127.0.0.1:0", "--dht-listen", "127.0.0.1", "--dht-port", "0"])
            .env("NOTIFY_SOCKET", &socket)
            .stdout(std::process::Stdio::null());
        Self { child: command.spawn().unwrap(), manager, config, state, _folder: folder }
    }

    /// The next message that is no sign of life.
    fn told(&self) -> String {
        loop {
            let said = self.said();
            if said != "WATCHDOG=1" {
                return said;
            }
        }
    }

    fn said(&self) -> String {
        let mut buffer = [0; 512];
        loop {
            match self.manager.recv(&mut buffer) {
                Ok(length) => return String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned(),
                // A process that was stopped for a while goes on so where there is a limit of time (signal(7)).
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("it says something within 20 s: {error}"),
            }
        }
    }

    fn configure(&self, config: &str) {
        std::fs::write(&self.config, config).unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn ask(&self, verb: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"));
        command.args(verb).arg("--state-dir").arg(&self.state).output().unwrap()
    }

    fn sites(&self) -> Vec<String> {
        let output = self.ask(&["show", "sites", "--json"]);
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        value.as_array().unwrap().iter().map(|site| site["site"].as_str().unwrap().to_owned()).collect()
    }
}

fn site(name: &str, prefix: &str) -> String {
    format!("[[site]]\nname = \"{name}\"\neid-prefix = [\"{prefix}\"]\nkey = [{{ secret = \"of {name}\" }}]\n")
}

#[test]
fn the_manager_hears_of_start_reload_and_end() {
    let mut service = Service::start(&site("a", "10.1.0.0/16"), None);
    assert_eq!(service.told(), "READY=1");
    service.signal("-HUP");
    let reloading = service.told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(service.told(), "READY=1");
    service.signal("-TERM");
    assert_eq!(service.told(), "STOPPING=1");
    assert!(service.child.wait().unwrap().success());
}

#[test]
fn the_manager_gets_signs_of_life_as_often_as_it_wants() {
    const SIGNS: u32 = 15;
    let begun = std::time::Instant::now();
    let service = Service::start("", Some(Duration::from_millis(400)));
    while service.said() != "READY=1" {}
    for _ in 0..SIGNS {
        assert_eq!(service.said(), "WATCHDOG=1");
    }
    // Some of them may have waited here; they come at half of the limit, and of so many all but the first were waited for.
    let least = Duration::from_millis(150) * (SIGNS - 1);
    assert!(begun.elapsed() >= least, "no more often than that: {:?}", begun.elapsed());
}

#[test]
fn what_is_configured_changes_by_signal_and_by_command_and_an_error_changes_nothing() {
    let service = Service::start(&site("a", "10.1.0.0/16"), None);
    assert_eq!(service.told(), "READY=1");
    service.configure(&(site("a", "10.1.0.0/16") + &site("b", "10.2.0.0/16")));
    let output = service.ask(&["reload"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 sites; 0 registered prefixes kept, 0 ended\n");
    assert_eq!(service.sites(), ["a", "b", "this node"]);

    service.configure(&(site("a", "10.1.0.0/16") + &site("c", "10.1.0.0/16")));
    let output = service.ask(&["reload"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("eid-prefix 10.1.0.0/16 belongs to site \"a\" and to site \"c\""), "{error}");
    assert_eq!(service.sites(), ["a", "b", "this node"]);

    service.configure(&format!("dht-port = 7\n{}", site("c", "10.3.0.0/16")));
    while service.told() != "READY=1" {}
    service.signal("-HUP");
    while service.sites() != ["c", "this node"] {
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = service.ask(&["reload", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value, serde_json::json!({ "sites": 1, "kept": 0, "ended": 0, "needs_restart": [] }), "flags win");
}

/// Hundredths of a second of processor that a process has used (proc(5)).
fn processor(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which may have spaces: user and system time are the 14th and 15th field of all.
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    [11, 12].map(|field| fields[field].parse::<u64>().unwrap()).iter().sum()
}

#[test]
fn who_asks_while_there_are_no_descriptors_is_answered_later_and_costs_nothing() {
    let service = Service::start(&site("a", "10.1.0.0/16"), None);
    assert_eq!(service.told(), "READY=1");
    let pid = service.child.id();
    let process = rustix::process::Pid::from_child(&service.child);
    let limit = |most| {
        let limits = rustix::process::Rlimit { current: most, maximum: Some(4096) };
        rustix::process::prlimit(Some(process), rustix::process::Resource::Nofile, limits).unwrap()
    };
    // A descriptor has the lowest number that is free: from there on there are none.
    let free = (0..).find(|number| !Path::new(&format!("/proc/{pid}/fd/{number}")).exists()).unwrap();
    limit(Some(free));
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| service.ask(&["show", "sites", "--json"]));
        std::thread::sleep(Duration::from_millis(500));
        let before = processor(pid);
        std::thread::sleep(Duration::from_secs(1));
        let used = processor(pid) - before;
        assert!(used < 25, "{used} hundredths of a second of processor in one second");
        limit(Some(1024));
        asked.join().unwrap()
    });
    assert!(asked.status.success(), "{asked:?}");
}

#[test]
fn a_file_in_the_way_of_the_control_socket_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sites.toml");
    std::fs::write(&file, "precious").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
        .args(["--listen", "127.0.0.1:0", "--dht-listen", "127.0.0.1", "--dht-port", "0"])
        .arg("--state-dir")
        .arg(folder.path().join("state"))
        .arg("--control")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--control"), "{output:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn nobody_to_reload_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
        .args(["reload", "--state-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody answers"), "{output:?}");
}

/// What the program asks the system for, of which a filter would take more than it says.
#[test]
fn the_unit_lets_threads_yield_and_have_short_turns() {
    let allowed = UNIT.lines().rev().find_map(|line| line.strip_prefix("SystemCallFilter=")).unwrap();
    assert!(["sched_setattr", "setpriority"].iter().all(|call| allowed.contains(call)), "{allowed}");
}

#[test]
fn installed_as_its_unit_says_it_starts_and_reloads_as_its_own_user_without_a_capability() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = match Installed::new("lisp-mapsys", sources, Path::new(env!("CARGO_BIN_EXE_lisp-mapsys"))) {
        Ok(installed) => installed,
        Err(needed) => return skip(&needed),
    };
    let (folder, config) = (installed.folder(), installed.folder().join("lisp-mapsys.toml"));
    let keyed = |name: &str, prefix: &str| {
        installed.put(&format!("{name}.key"), &format!("of {name}"));
        let key = folder.join(format!("{name}.key"));
        format!("[[site]]\nname = {name:?}\neid-prefix = [{prefix:?}]\nkey = [{{ key-file = {key:?} }}]\n")
    };
    let (a, b) = (keyed("a", "10.1.0.0/16"), keyed("b", "10.2.0.0/16"));
    let write = |text: &str| std::fs::write(&config, format!("listen = [\"127.0.0.1\"]\n{text}")).unwrap();
    write(&a);
    let tried = installed.tried();
    assert!(tried.status.success(), "{tried:?}");

    let socket = tempfile::tempdir().unwrap();
    let mut service = Service::run(installed.start(), socket, (config.clone(), installed.state()));
    assert_eq!(service.told(), "READY=1");
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (user, group) = installed.ids();
    assert_eq!(line("Uid:"), format!("{user}\t{user}\t{user}\t{user}"));
    assert_eq!((line("Gid:"), line("Groups:")), (format!("{group}\t{group}\t{group}\t{group}"), String::new()));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }

    let reload = || {
        service.signal("-HUP");
        assert!(service.told().starts_with("RELOADING=1"));
        assert_eq!(service.told(), "READY=1");
        service.sites()
    };
    write(&(a.clone() + &b));
    assert_eq!(reload(), ["a", "b", "this node"]);
    // With the usual group of what root makes, nothing can be read: neither at the start nor later.
    write(&a);
    for closed in [folder.clone(), config.clone(), folder.join("a.key")] {
        installed.without_group(&closed, || {
            let tried = installed.tried();
            let said = String::from_utf8_lossy(&tried.stderr);
            assert_eq!(tried.status.code(), Some(2), "{said}");
            assert!(said.contains("Permission denied") && said.contains(folder.to_str().unwrap()), "{said}");
            assert_eq!(reload(), ["a", "b", "this node"], "{}", closed.display());
            let refused = installed.reload();
            let said = String::from_utf8_lossy(&refused.stderr);
            assert!(!refused.status.success() && said.contains("Permission denied"), "{refused:?}");
            // What the service cannot read it begins to; what the command itself cannot, it is not asked to.
            if closed == folder.join("a.key") {
                assert!(service.told().starts_with("RELOADING=1") && service.told() == "READY=1");
            }
        });
    }
    let reloaded = installed.reload();
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert_eq!(service.sites(), ["a", "this node"]);
    assert!(service.told().starts_with("RELOADING=1") && service.told() == "READY=1");
    service.signal("-TERM");
    assert_eq!(service.told(), "STOPPING=1");
    assert!(service.child.wait().unwrap().success());
}

/// `systemd-analyze` as witness: every setting is one that systemd knows, and little of the machine is left exposed.
#[test]
fn systemd_takes_the_unit_and_finds_little_exposed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lisp-mapsys.service");
    // The program that the unit names is not installed here.
    std::fs::write(&file, UNIT.replace("/usr/bin/lisp-mapsys", "/bin/true")).unwrap();
    let Some(verified) = analyze(&["verify", "--man=no"], &file) else { return };
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    let Some(judged) = analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"], &file) else { return };
    assert!(judged.status.success(), "exposed more than 1.5 of 10:\n{}", String::from_utf8_lossy(&judged.stdout));
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

/// Where all tests must run (`CI` set), what the machine lacks is a failure.
fn skip(needed: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI is set, and this test needs {needed}");
    eprintln!("SKIP: needs {needed}");
}
