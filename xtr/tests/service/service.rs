// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-xtr` as a service, in a network namespace of its own: what it tells its manager, which capabilities it keeps, the unit
//! file, `trace` over its control socket, and what a start does about what a killed run left behind. Needs root and
//! `/dev/net/tun`; says so and passes without, unless `CI` is set.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::UNIT;
use crate::installed::Installed;
use crate::namespace::{Node, PATIENCE, in_namespace, skip, wait_for, wait_within};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::Value;
use wire::address::{EidPrefix, InstanceId};
use wire::control::{ControlMessage, MapReply};
use wire::record::Ttl;
use xtr::database::{Database, OwnLocator, RecordForm};

const RLOC: &str = "192.0.2.1";
const TUN: &str = "lispt";
const CAP_NET_ADMIN: u64 = 1 << 12;

impl Node {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let node = Self(command(directory, arguments).spawn().unwrap());
        wait_for("answer", || show(directory, &["show", "locators"]));
        node
    }

    /// The values of a line of the status of each thread.
    fn threads(&self, line: &str) -> Vec<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
        let value = |status: String| {
            let found = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':').map(str::to_owned));
            u64::from_str_radix(found.unwrap().trim(), 16).unwrap()
        };
        tasks.filter_map(|task| status(task.unwrap())).map(value).collect()
    }
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
    command.args(["--rloc", RLOC, "--state-dir"]).arg(directory.join("state")).args(arguments);
    if !arguments.contains(&"--tun") {
        command.args(["--tun", TUN]);
    }
    command.stdout(Stdio::null());
    command
}

/// A node whose map system is elsewhere, and silent.
const PLAIN: &[&str] = &["--eid-prefix", "2001:db8:a::/48", "--map-resolver", "127.0.0.1"];

fn show(directory: &Path, verb: &[&str]) -> Option<Value> {
    let output = ask(directory, &[verb, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).ok()
}

fn ask(directory: &Path, verb: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
    command.args(verb).arg("--state-dir").arg(directory.join("state")).output().unwrap()
}

/// What `ip` of iproute2 says.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Rules, routes and addresses that bear our number or lie in the network of the CGEIDs.
fn ours() -> Vec<String> {
    let ours = |line: &&str| {
        ["4341", "4342", "4343", "4344", "4345", "4346"].iter().any(|rule| line.starts_with(&format!("{rule}:")))
    };
    let mut found: Vec<String> = ["-4", "-6"]
        .iter()
        .flat_map(|family| {
            let rules = ip(&format!("{family} rule show"));
            rules.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let routes = ip("-6 route show table all") + &ip("-4 route show table all");
    found.extend(
        routes.lines().filter(|line| line.contains("table 4341") || line.contains("table 4342")).map(str::to_owned),
    );
    let addresses = ip("-6 -o addr show");
    found.extend(addresses.lines().filter(|line| line.contains("3fff:ce1:")).map(str::to_owned));
    found
}

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

#[test]
fn a_node_whose_device_is_removed_ends_and_says_so() {
    in_namespace(&[RLOC], || {
        for tier in ["0", "1"] {
            let directory = tempfile::tempdir().unwrap();
            let mut command = command(directory.path(), &[PLAIN, &["--tier", tier]].concat());
            let mut node = Node(command.stderr(Stdio::piped()).spawn().unwrap());
            wait_for("answer", || show(directory.path(), &["show", "locators"]));
            ip(&format!("link del {TUN}"));
            let status = wait_for("end", || node.0.try_wait().unwrap());
            let mut said = String::new();
            node.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert_eq!(status.code(), Some(3), "tier {tier}: {said}");
            for part in ["the TUN device was removed", "the packet thread has ended"] {
                assert_eq!(said.matches(part).count(), 1, "tier {tier}, {part}: {said}");
            }
            assert_eq!(ours(), Vec::<String>::new(), "tier {tier}");
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
fn as_nobody(directory: &Path, capabilities: &str, arguments: &[&str]) -> Command {
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

#[test]
fn what_a_killed_node_left_is_repaired_by_the_next_start() {
    in_namespace(&[RLOC], || {
        // A device that somebody else keeps outlives its node, and with it route and address.
        ip(&format!("tuntap add dev {TUN} mode tun"));
        ip("tuntap add dev other mode tun");
        let directory = tempfile::tempdir().unwrap();
        let arguments = |prefix| ["--eid-prefix", prefix];
        let mut node = Node::start(directory.path(), &arguments("2001:db8:a::/48"));
        let whole = wait_for("rules, route and address", || Some(ours()).filter(|found| found.len() == 9));
        node.0.kill().unwrap();
        node.0.wait().unwrap();
        let left = ours();
        let count = |found: &[String], text: &str| found.iter().filter(|line| line.contains(text)).count();
        assert_eq!(
            (count(&left, "2001:db8:a::"), count(&left, "table 4341 "), count(&left, "/128")),
            (2, 1, 1),
            "{left:?}"
        );

        let mut node = Node::start(directory.path(), &arguments("2001:db8:b::/48"));
        let repaired =
            wait_for("repair", || Some(ours()).filter(|found| count(found, "2001:db8:b::") == 2 && found.len() == 9));
        let renamed: Vec<String> = repaired.iter().map(|line| line.replace("2001:db8:b::", "2001:db8:a::")).collect();
        assert_eq!(renamed, whole, "each once, and none of the killed one's");
        node.0.kill().unwrap();
        node.0.wait().unwrap();

        // Another device and another identity: the route into the old one is no second node.
        let elsewhere = tempfile::tempdir().unwrap();
        let mut node =
            Node::start(elsewhere.path(), &[&arguments("2001:db8:b::/48")[..], &["--tun", "other"]].concat());
        let found = wait_for("repair", || Some(ours()).filter(|found| count(found, "other") >= 3));
        assert_eq!((found.len(), count(&found, TUN)), (9, 0), "{found:?}");
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

#[test]
fn what_others_take_away_is_there_again_and_cgeids_never_leave_as_they_are() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let prefixes = ["--eid-prefix", "2001:db8:a::/48", "--eid-prefix", "10.1.0.0/16"];
        let mut node = Node::start(directory.path(), &[&prefixes[..], &["--pitr-for", "2001:db8:99::/48"]].concat());
        // From-TUN, to and from the site, PITR of both families; three of CGEIDs and one to them, their refusal; routes and an address.
        let whole = wait_for("rules, routes and address", || {
            Some(ours()).filter(|found| {
                let count = |text: &str| found.iter().filter(|line| line.contains(text)).count();
                count("table 4341 ") == 2 && count("table 4342 ") == 1 && count("/128") == 1 && count("4346:") == 1
            })
        });
        let is_whole = || Some(ours()).filter(|found| *found == whole);
        for taken in [
            vec!["-6 rule del pref 4344".to_owned()],
            vec!["-4 rule del pref 4343".into(), "-6 rule del pref 4345".into()],
            vec!["-6 route flush table 4341".into(), "-4 route flush table 4341".into()],
            vec![format!("-6 route flush dev {TUN} table 4342")],
            vec![format!("link set {TUN} down"), format!("link set {TUN} up")],
        ] {
            taken.iter().for_each(|command| drop(ip(command)));
            wait_for(&taken.join(", "), is_whole);
        }
        // While the device is down, what must not leave does not, whoever takes the rules.
        ip(&format!("link set {TUN} down"));
        ip("-6 rule flush");
        ip("-6 rule add pref 32766 lookup main");
        wait_for("the refusal alone", || ours().iter().any(|line| line.starts_with("4346:")).then_some(()));
        ip(&format!("link set {TUN} up"));
        wait_for("the device", is_whole);
        node.0.kill().unwrap();
        node.0.wait().unwrap();
        let way = || Command::new("ip").args(["-6", "route", "get", "3fff:ce1::1"]).output().unwrap();
        // There is a default route, by which all else leaves.
        for command in
            ["link add out type veth peer in", "link set in up", "link set out up", "-6 route add default dev out"]
        {
            ip(command);
        }
        wait_for("refusal", || (!way().status.success()).then_some(()));
        ip("-6 route get 2001:db8:7::1");
        let mut node = Node::start(directory.path(), &prefixes);
        wait_for("start", || show(directory.path(), &["show", "locators"]));
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

#[test]
fn temporary_cgeids_that_others_take_away_are_there_again_with_their_lives() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut node = command(directory.path(), &["--temporary"]);
        let mut node = Node(node.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        // Each, and whether it is preferred.
        let cgeids = || -> Vec<(String, bool)> {
            // The device is not there at first.
            let told = ip("-6 -o addr show");
            let ours = told.lines().filter(|line| line.split_whitespace().nth(1) == Some(TUN));
            let ours = ours.filter(|line| line.contains("3fff:ce1:") && !line.contains(" tentative"));
            ours.map(|line| (line.split_whitespace().nth(3).unwrap().to_owned(), !line.contains(" deprecated")))
                .collect()
        };
        // Alone it is found by nobody, and used when that has failed.
        let found = || Some(cgeids()).filter(|found| found.iter().any(|(_, is_preferred)| *is_preferred));
        let mut before = wait_within(6 * PATIENCE, "temporary CGEID", found);
        before.sort();
        assert_eq!(before.len(), 2, "{before:?}");
        // Before it is known that nobody else has it, an address that is gone counts as a duplicate.
        let said = || std::fs::read_to_string(&log).unwrap();
        wait_for("temporary CGEID in use", || said().contains("begin with another temporary CGEID").then_some(()));
        let (temporary, _) = before.iter().find(|(_, is_preferred)| *is_preferred).unwrap();
        let is_whole = || {
            let mut found = cgeids();
            found.sort();
            (found == before).then_some(())
        };
        for taken in [
            vec![format!("addr del {temporary} dev {TUN}")],
            vec![format!("link set {TUN} down"), format!("link set {TUN} up")],
            vec![format!("-6 addr flush dev {TUN} scope global")],
        ] {
            taken.iter().for_each(|command| drop(ip(command)));
            wait_for(&taken.join(", "), is_whole);
        }
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

#[test]
fn a_trace_over_the_control_socket_says_what_a_packet_would_meet() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start(directory.path(), PLAIN);
        let asked = ask(directory.path(), &["trace", "2001:db8:b::1", "--json"]);
        assert_eq!(asked.status.code(), Some(1), "{asked:?}");
        let answer: Value = serde_json::from_slice(&asked.stdout).unwrap();
        let trace = &answer["trace"];
        assert_eq!((&trace["result"], &trace["led"]), (&"miss".into(), &true.into()), "{trace}");
        assert_eq!(trace["source"], "2001:db8:a::1");
        let text = ask(directory.path(), &["trace", "2001:db8:a::7", "--flow", "tcp:1:2"]);
        assert!(text.status.success(), "{text:?}");
        assert!(String::from_utf8_lossy(&text.stdout).contains("local: to 2001:db8:a::/48"), "{text:?}");
        for here in [RLOC, "127.0.0.1"] {
            let text = ask(directory.path(), &["trace", here, "--from", "10.1.0.1"]);
            assert!(text.status.success(), "{text:?}");
            let said = format!("result   local: {here} is an address of this machine");
            assert!(String::from_utf8_lossy(&text.stdout).contains(&said), "{text:?}");
        }
        let past = show(directory.path(), &["trace", "2001:db8:b::1", "--from", "2001:db8:c::1"]).unwrap();
        assert_eq!(past["trace"]["result"], "past-tunnel");
        for wrong in [&["trace", "10.2.0.9"][..], &["trace", "2001:db8:b::1", "--from", "10.1.0.1"]] {
            let refused = ask(directory.path(), wrong);
            assert!(String::from_utf8_lossy(&refused.stderr).contains("--from"), "{refused:?}");
        }
        node.end();
    });
}

#[test]
fn a_reload_takes_over_prefixes_and_locators_and_names_what_it_cannot() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("xtr.toml");
        let configure =
            |text: &str| std::fs::write(&config, format!("map-resolver = [\"127.0.0.1\"]\n{text}\n")).unwrap();
        configure("eid-prefix = [\"2001:db8:a::/48\"]\nrloc = [\"192.0.2.1\"]");
        let state = directory.path().join("state");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.args(["--tun", TUN, "--config", config.to_str().unwrap(), "--state-dir"]).arg(&state);
        let mut node = Node(command.spawn().unwrap());
        let locators = || show(directory.path(), &["show", "locators"]);
        let known = |prefixes: &[&str], rlocs: &[&str]| {
            let answer = locators().filter(|answer| answer["prefixes"] == serde_json::json!(prefixes))?;
            let rows = answer["locators"].as_array().unwrap().iter();
            (rows.map(|row| (row["address"].clone(), row["state"].clone())).collect::<Vec<_>>()
                == rlocs.iter().map(|rloc| ((*rloc).into(), "up".into())).collect::<Vec<(Value, Value)>>())
            .then_some(())
        };
        wait_for("node", || known(&["2001:db8:a::/48"], &["192.0.2.1"]));
        ip("addr add 192.0.2.9/32 dev lo");

        configure("eid-prefix = [\"2001:db8:b::/48\", \"10.1.0.0/16\"]\nrloc = [\"192.0.2.9\", \"192.0.2.1\"]");
        let output = ask(directory.path(), &["reload"]);
        assert!(output.status.success(), "{output:?}");
        let said = "EID-prefixes added: 10.1.0.0/16 2001:db8:b::/48; removed: 2001:db8:a::/48; locators: 192.0.2.9 192.0.2.1\n";
        assert_eq!(String::from_utf8_lossy(&output.stdout), said);
        wait_for("both locators", || known(&["10.1.0.0/16", "2001:db8:b::/48"], &["192.0.2.1", "192.0.2.9"]));
        let count = |text: &str| ours().iter().filter(|line| line.contains(text)).count();
        assert_eq!(
            ["2001:db8:a::", "2001:db8:b::", "10.1.0.0/16", "table 4341 "].map(count),
            [0, 2, 2, 2],
            "{:?}",
            ours()
        );
        std::net::UdpSocket::bind("192.0.2.9:4341").unwrap_err();

        configure("eid-prefix = [\"2001:db8:c::/48\"]\nrloc = [\"192.0.2.1\"]\nmtu = 1400\niid = 7");
        let refused = ask(directory.path(), &["reload"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("iid, mtu: cannot change"), "{refused:?}");
        assert!(
            known(&["10.1.0.0/16", "2001:db8:b::/48"], &["192.0.2.1", "192.0.2.9"]).is_some(),
            "nothing has changed"
        );

        configure("eid-prefix = [\"2001:db8:c::/48\"]\nrloc = [\"192.0.2.1\"]");
        node.signal(Signal::SIGHUP);
        wait_for("reload", || known(&["2001:db8:c::/48"], &["192.0.2.1"]));

        // What is not there may come: it is taken, and named.
        configure("eid-prefix = [\"2001:db8:c::/48\"]\nrloc = [\"192.0.2.1\", \"192.0.2.77\", \"typo0\"]");
        let taken = ask(directory.path(), &["reload"]);
        let said = String::from_utf8_lossy(&taken.stdout);
        assert!(taken.status.success(), "{taken:?}");
        for warning in
            ["Warning: 192.0.2.77 is no address of this machine", "Warning: this machine has no interface typo0"]
        {
            assert!(said.contains(warning), "{said}");
        }
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

#[test]
fn a_trace_that_asks_in_vain_names_who_has_not_answered() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start(directory.path(), &[PLAIN, &["--map-resolver", "192.0.2.53"]].concat());
        let asked = ask(directory.path(), &["trace", "2001:db8:b::1", "--resolve"]);
        assert_eq!(asked.status.code(), Some(1), "{asked:?}");
        for said in [&asked.stdout, &asked.stderr] {
            let said = String::from_utf8_lossy(said);
            assert!(said.contains("no mapping has come within 10 s from 127.0.0.1, 192.0.2.53"), "{said}");
        }
        node.end();
    });
}

#[test]
fn a_start_names_a_port_that_it_may_not_have() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let arguments = [PLAIN, &["--metrics", "127.0.0.1:80"]].concat();
        let output = command(directory.path(), &arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        for part in ["--metrics 127.0.0.1:80", "a port from 1024"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(ours(), Vec::<String>::new());
        // Whoever checks may have the capability.
        let check = |port: u16| {
            let metrics = format!("127.0.0.1:{port}");
            ask(directory.path(), &[PLAIN, &["check", "--rloc", RLOC, "--metrics", &metrics]].concat())
        };
        let refused = |port: u16| {
            let output = check(port);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{said}");
            said
        };
        assert_eq!(refused(80).trim_end(), said.lines().last().unwrap(), "as the start says it");
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "80").unwrap();
        assert!(check(80).status.success() && check(0).status.success());
        assert!(refused(79).contains("a port from 80 is needed"));
        Node::start(directory.path(), &arguments).end();
    });
}

#[test]
fn an_interface_without_a_locator_is_named_with_the_locators_and_once_in_the_log() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut starting = command(directory.path(), &[PLAIN, &["--rloc", "late0"]].concat());
        let mut node = Node(starting.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        let lacking = |said: &str| {
            let shown = show(directory.path(), &["show", "locators"])?;
            let all: Vec<&str> = shown["lacking"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            (all.len() == 1 && all[0].contains(said)).then_some(())
        };
        wait_for("an interface that is not there", || lacking("this machine has no interface late0"));
        let table = ask(directory.path(), &["show", "locators"]);
        assert!(String::from_utf8_lossy(&table.stdout).contains("lacking: this machine has no interface late0"));
        // Another look at the machine, a moment after something has changed, finds the same.
        ip("addr add 203.0.113.200/32 dev lo");
        std::thread::sleep(Duration::from_millis(600));
        ip("link add late0 type veth peer name late1");
        wait_for("one that is down", || lacking("late0 is down"));
        ip("link set late1 up");
        ip("link set late0 up");
        wait_for("one without an address", || lacking("late0 has no lasting global address"));
        ip("addr add 198.51.100.7/24 dev late0");
        wait_for("a locator", || {
            let shown = show(directory.path(), &["show", "locators"])?;
            let has_it = shown["locators"].as_array()?.iter().any(|own| own["address"] == "198.51.100.7");
            (has_it && shown["lacking"] == serde_json::json!([])).then_some(())
        });
        node.end();
        let said = std::fs::read_to_string(&log).unwrap();
        for once in ["no interface late0", "late0 is down", "late0 has no lasting"] {
            assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
        }
    });
}

/// The operator is told to set a route to the host that is to have the CGEID, whether the node runs by then or not.
#[test]
fn a_cgeid_is_at_the_router_while_no_host_route_leads_to_it() {
    in_namespace(&[RLOC], || {
        for command in ["link add site0 type veth peer name site1", "link set site0 up", "link set site1 up"] {
            ip(command);
        }
        let directory = tempfile::tempdir().unwrap();
        let here = || -> Vec<String> {
            // The device is not there at first.
            let told = ip("-6 -o addr show");
            let ours = told.lines().filter(|line| line.split_whitespace().nth(1) == Some(TUN));
            ours.filter(|line| line.contains("3fff:ce1:"))
                .map(|line| line.split_whitespace().nth(3).unwrap().to_owned())
                .collect()
        };
        let mut node = Node::start(directory.path(), &[]);
        let cgeid = wait_for("CGEID at the router", || here().pop());
        let way = || ip(&format!("-6 route get {}", cgeid.trim_end_matches("/128")));
        let is_here = || (here() == [cgeid.clone()]).then_some(());
        let is_at_the_host = || (here().is_empty() && way().contains("dev site0")).then_some(());
        for _ in 0..2 {
            ip(&format!("-6 route add {cgeid} dev site0 metric 64"));
            wait_for("CGEID at the host", is_at_the_host);
            // Another way to the same host.
            ip(&format!("-6 route add {cgeid} dev site0 metric 128"));
            ip(&format!("-6 route del {cgeid} dev site0 metric 64"));
            std::thread::sleep(Duration::from_millis(600));
            assert!(is_at_the_host().is_some(), "{:?}", here());
            ip(&format!("-6 route del {cgeid} dev site0 metric 128"));
            wait_for("CGEID at the router again", is_here);
        }
        ip(&format!("-6 route add {cgeid} dev site0"));
        wait_for("CGEID at the host", is_at_the_host);
        node.end();

        let mut node = Node::start(directory.path(), &[]);
        std::thread::sleep(Duration::from_millis(600));
        assert!(is_at_the_host().is_some(), "{:?}", here());
        // What was taken away of the rest is there again, and that is not.
        ip("-6 rule del pref 4344");
        wait_for("rule", || ours().iter().any(|line| line.starts_with("4344:")).then_some(()));
        assert!(is_at_the_host().is_some(), "{:?}", here());
        ip(&format!("-6 route del {cgeid} dev site0"));
        wait_for("CGEID at the router again", is_here);
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

/// Two uplinks in one: IPv6 comes later than IPv4, as by PPP, and goes while the other is there.
#[test]
fn while_a_family_of_addresses_is_out_a_node_whose_locators_are_found_starts_and_reloads_without_its_servers() {
    in_namespace(&[], || {
        for command in [
            "link add up0 type veth peer name up1",
            "link set up0 up",
            "link set up1 up",
            "-4 addr add 198.51.100.7/24 dev up0",
        ] {
            ip(command);
        }
        let registered = ["127.0.0.1", "::1"].map(|server| {
            let server = UdpSocket::bind((server, 4342)).unwrap();
            server.set_nonblocking(true).unwrap();
            move || server.recv_from(&mut [0; 2048]).ok().map(drop)
        });
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let (key, config, log) = (file("key.toml"), file("xtr.toml"), file("log"));
        std::fs::write(&key, "algorithm = \"hkdf-sha256\"\nsecret = \"a secret\"\n").unwrap();
        let configure = |rloc: &str| {
            let servers = "map-server = [\"127.0.0.1\", \"::1\"]\nuse-petr = [\"2001:db8:77::80\"]";
            let site = "eid-prefix = [\"2001:db8:a::/48\"]";
            std::fs::write(&config, format!("{servers}\nkey-file = [{key:?}]\n{site}\nrloc = [{rloc:?}]\n")).unwrap();
        };
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
            command.arg("--config").arg(&config).args(["--tun", TUN, "--state-dir"]).arg(file("state"));
            command
        };
        configure("198.51.100.7");
        let refused = command().output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "given by hand there will be no other: {refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("use-petr: 2001:db8:77::80 cannot be reached"));

        configure("up0");
        let mut node = Node(command().stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        let lacking = || {
            let shown = show(directory.path(), &["show", "locators"])?;
            let all = shown["lacking"].as_array()?.iter().filter_map(Value::as_str);
            Some(all.map(str::to_owned).collect::<Vec<_>>())
        };
        let of_v6 = "no IPv6 address is a locator of this node now; until one is, nothing is sent to --use-petr 2001:db8:77::80, --map-server ::1.";
        let of_v4 =
            "no IPv4 address is a locator of this node now; until one is, nothing is sent to --map-server 127.0.0.1.";
        let says = |said: &[&str]| lacking().filter(|lacking| lacking == said).map(drop);
        wait_for("start", || says(&[of_v6]));
        let [v4, v6] = registered;
        wait_for("registration by IPv4", &v4);
        let reload = || {
            let output = ask(directory.path(), &["reload"]);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(reload().contains(&format!("Warning: {of_v6}")));
        assert!(v6().is_none());

        ip("-6 addr add 2001:db8:77::1/64 dev up0 nodad");
        wait_for("registration by IPv6", &v6);
        wait_for("both families", || says(&[]));
        ip("-4 addr del 198.51.100.7/24 dev up0");
        wait_for("IPv6 alone", || says(&[of_v4]));
        assert!(reload().contains(&format!("Warning: {of_v4}")));
        node.end();
        let said = std::fs::read_to_string(&log).unwrap();
        for once in [of_v4, of_v6] {
            assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
        }
    });
}

#[test]
fn a_metrics_port_that_another_has_is_refused_before_anything_is_made() {
    in_namespace(&[RLOC], || {
        let other = TcpListener::bind((RLOC, 0)).unwrap();
        let metrics = other.local_addr().unwrap().to_string();
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let check = |metrics: &str| ask(directory.path(), &["check", "--rloc", RLOC, "--metrics", metrics]);
        let refused = |output: Output| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(said.contains(&format!("--metrics {metrics}")) && said.contains("in use"), "{said}");
            assert!(!state.exists(), "no identity is made: {said}");
        };
        refused(command(directory.path(), &["--metrics", &metrics]).output().unwrap());
        refused(check(&metrics));
        drop(other);
        assert!(check(&metrics).status.success());
        let mut node = Node::start(directory.path(), &["--metrics", &metrics]);
        assert!(check(&metrics).status.success(), "the node that runs has it");
        let elsewhere = tempfile::tempdir().unwrap();
        let second = command(elsewhere.path(), &["--metrics", &metrics, "--tun", "other"]).output().unwrap();
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(second.status.code() == Some(3) && said.contains("only one lisp-xtr can run"), "{said}");
        node.end();
    });
}

#[test]
fn a_control_socket_or_a_dht_port_that_cannot_be_had_is_refused_before_anything_is_made() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let refused = |output: Output, parts: [&str; 2]| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
            assert!(!state.exists(), "no identity is made: {said}");
            assert_eq!(ours(), Vec::<String>::new());
        };
        let file = directory.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let missing = directory.path().join("missing/control.sock");
        let inside = file.join("control.sock");
        for (path, part) in [(&missing, "No such file"), (&file, "is no socket"), (&inside, "Not a directory")] {
            let control = ["--control", path.to_str().unwrap()];
            refused(command(directory.path(), &control).output().unwrap(), ["--control", part]);
            refused(ask(directory.path(), &[&["check", "--rloc", RLOC], &control[..]].concat()), ["--control", part]);
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
        let long = directory.path().join("x".repeat(100));
        for output in [command(&long, &[]).output().unwrap(), ask(&long, &["check", "--rloc", RLOC])] {
            refused(output, ["--state-dir", "SUN_LEN"]);
            assert!(!long.exists());
        }
        let other = UdpSocket::bind((RLOC, 43_420)).unwrap();
        refused(command(directory.path(), &[]).output().unwrap(), ["--dht-port 43420", "in use"]);
        drop(other);
        let mut node = Node::start(directory.path(), &[]);
        assert!(ask(directory.path(), &["check", "--rloc", RLOC]).status.success(), "the node that runs has it");
        node.end();
        assert!(!state.join("control.sock").exists());
    });
}

#[test]
fn who_may_not_ask_whether_a_node_runs_is_warned_of_its_metrics_port() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let metrics = ["--metrics", "192.0.2.1:9434"];
        let mut node = Node::start(directory.path(), &[PLAIN, &metrics].concat());
        let check = || {
            let mut check = as_nobody(directory.path(), "", &[PLAIN, &metrics, &["check"]].concat());
            check.stdout(Stdio::piped()).output().unwrap()
        };
        let checked = check();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{checked:?}");
        assert!(said.contains("Warning: --metrics 192.0.2.1:9434 is in use") && said.contains("Permission"), "{said}");
        node.end();
        let checked = check();
        assert!(checked.status.success() && !String::from_utf8_lossy(&checked.stdout).contains("Warning"));
    });
}

/// A look at what was wanted before the reload sees what comes while the reload reads the machine; what is wanted now is to be looked at again.
#[test]
fn what_comes_while_a_reload_reads_the_machine_is_seen() {
    in_namespace(&[RLOC], || {
        for command in [
            "link add up0 type veth peer name up1",
            "link set up0 up",
            "link set up1 up",
            "-4 addr add 198.51.100.7/24 dev up0",
            "-4 route add default dev up0",
            "-6 route add default dev up0",
        ] {
            ip(command);
        }
        let directory = tempfile::tempdir().unwrap();
        let (config, log) = (directory.path().join("xtr.toml"), directory.path().join("log"));
        let plain = "map-resolver = [\"127.0.0.1\"]\neid-prefix = [\"2001:db8:a::/48\"]\n";
        std::fs::write(&config, format!("{plain}rloc = [\"198.51.100.7\"]\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.arg("--config").arg(&config).args(["--tun", TUN, "--state-dir"]).arg(directory.path().join("state"));
        let mut node = Node(command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        let rlocs = || {
            let shown = show(directory.path(), &["show", "locators"])?;
            Some(shown["locators"].as_array()?.iter().map(|row| row["address"].clone()).collect::<Vec<_>>())
        };
        assert_eq!(wait_for("node", rlocs), ["198.51.100.7"]);
        // To read them takes longer than to look at an address that is named, and longer than the pause before that look.
        add_routes(100_000);
        std::fs::write(&config, plain).unwrap();
        node.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(100));
        ip("-6 addr add 2001:db8:77::1/64 dev up0 nodad");
        wait_for("reload", || {
            std::fs::read_to_string(&log).unwrap().contains("the configuration was read again").then_some(())
        });
        wait_for("locator", || (rlocs()? == ["198.51.100.7", "2001:db8:77::1"]).then_some(()));
        node.end();
    });
}

fn add_routes(number: u32) {
    let route = |number: u32| format!("route add {}/32 dev up0\n", Ipv4Addr::from(0x0a80_0000 + number));
    let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    batch.stdin.take().unwrap().write_all((0..number).map(route).collect::<String>().as_bytes()).unwrap();
    assert!(batch.wait().unwrap().success());
}

#[test]
fn a_node_that_goes_away_reads_nothing_again() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let (key, config, log, notify) = (file("key.toml"), file("xtr.toml"), file("log"), file("notify"));
        std::fs::write(&key, "algorithm = \"hkdf-sha256\"\nsecret = \"a secret\"\n").unwrap();
        // It says nothing, so that the node waits for a while to be let go.
        let server = UdpSocket::bind(("127.0.0.1", 4342)).unwrap();
        let configure = |prefix: &str| {
            let text = format!("map-server = [\"127.0.0.1\"]\nkey-file = [{key:?}]\neid-prefix = [{prefix:?}]\n");
            std::fs::write(&config, text).unwrap();
        };
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        configure("2001:db8:a::/48");
        let mut command = command(directory.path(), &["--config", config.to_str().unwrap()]);
        command.env("NOTIFY_SOCKET", &notify).stderr(std::fs::File::create(&log).unwrap());
        let mut node = Node(command.spawn().unwrap());
        wait_for("answer", || show(directory.path(), &["show", "locators"]));
        let connect = || UnixStream::connect(directory.path().join("state/control.sock")).unwrap();
        // An answer that is cut off is that of a node which has ended.
        let reload = |mut stream: UnixStream| {
            let mut answer = String::new();
            let _ = stream.write_all(b"\"reload\"\n").and_then(|()| stream.read_to_string(&mut answer));
            answer
        };
        let taken_over = |times: usize| {
            let said = std::fs::read_to_string(&log).unwrap();
            assert_eq!(said.matches("the configuration was read again").count(), times, "{said}");
        };
        assert!(reload(connect()).contains("locators"));
        taken_over(1);
        configure("2001:db8:b::/48");
        let connected = connect();
        node.signal(Signal::SIGTERM);
        let mut said = [0; 512];
        while !said.starts_with(b"STOPPING=1") {
            manager.recv(&mut said).unwrap();
        }
        let refused = reload(connected);
        assert!(refused.is_empty() || refused.contains("going away"), "{refused}");
        node.signal(Signal::SIGHUP);
        assert!(node.0.wait().unwrap().success());
        taken_over(1);
        server.set_nonblocking(true).unwrap();
        let (mut registers, mut message) = (0, [0; 2048]);
        while let Ok((length, _)) = server.recv_from(&mut message) {
            registers += 1;
            let is_new = message[..length].windows(6).any(|octets| octets == [0x20, 0x01, 0x0d, 0xb8, 0, 0x0b]);
            assert!(!is_new, "it registers what is in the file now");
        }
        assert!(registers > 0);
    });
}

#[test]
fn the_map_cache_is_shown_as_a_whole_or_round_an_eid() {
    in_namespace(&[RLOC], || {
        let resolver = UdpSocket::bind(("127.0.0.1", 4342)).unwrap();
        resolver.set_read_timeout(Some(PATIENCE)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start(directory.path(), &[PLAIN, &["--tier", "0"]].concat());
        let prefixes = |verb: &[&str]| {
            let answer = show(directory.path(), &[&["show", "map-cache"], verb].concat()).unwrap();
            let rows = answer["map-cache"].as_array().unwrap();
            rows.iter().map(|row| row["prefix"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(prefixes(&[]), Vec::<String>::new());
        std::thread::scope(|scope| {
            scope.spawn(|| answer_one_request(&resolver));
            assert!(ask(directory.path(), &["trace", "2001:db8:b::1", "--resolve"]).status.success());
        });
        assert_eq!(prefixes(&[]), ["2001:db8:b::/48"]);
        for (within, found) in [("2001:db8:b::7", 1), ("2001:db8::/32", 1), ("2001:db8:c::/48", 0), ("10.0.0.0/8", 0)] {
            assert_eq!(prefixes(&["--within", within]).len(), found, "{within}");
        }
        let peers = show(directory.path(), &["show", "peers", "--within", "2001:db8:b::/48"]).unwrap();
        let all = ["198.51.100.1", "2001:db8:fff::1"];
        let row = |address: &str| serde_json::json!({ "address": address, "prefixes": ["2001:db8:b::/48"] });
        assert_eq!(peers["peers"], serde_json::json!(all.map(row)));
        let refused = ask(directory.path(), &["show", "counters", "--within", "10.0.0.0/8"]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        node.end();
    });
}

/// A Map-Resolver that puts every EID behind two locators, one of them of a family that the node has no RLOC of.
fn answer_one_request(resolver: &UdpSocket) {
    let mut buffer = [0; 2048];
    let (length, _) = resolver.recv_from(&mut buffer).unwrap();
    let ControlMessage::Ecm(ecm) = ControlMessage::decode(&buffer[..length]).unwrap() else { panic!() };
    let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else { panic!() };
    let locator = |text: &str, weight| OwnLocator::new(text.parse().unwrap(), 1, weight);
    let locators = vec![locator("198.51.100.1", 40), locator("2001:db8:fff::1", 60)];
    let form = RecordForm { authoritative: true, probed: None };
    let site = EidPrefix { iid: InstanceId(0), net: "2001:db8:b::/48".parse().unwrap() };
    let records = vec![Database::new(vec![], locators, Ttl::DEFAULT).record(site, form)];
    let reply = ControlMessage::MapReply(MapReply { nonce: request.nonce, records, ..MapReply::default() });
    resolver.send_to(&reply.encode().unwrap(), (RLOC, 4342)).unwrap();
}

#[test]
fn a_trace_that_asks_shows_the_answer_of_the_mapping_system() {
    in_namespace(&[RLOC], || {
        let resolver = UdpSocket::bind(("127.0.0.1", 4342)).unwrap();
        resolver.set_read_timeout(Some(PATIENCE)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start(directory.path(), &[PLAIN, &["--tier", "0"]].concat());
        let asked = std::thread::scope(|scope| {
            scope.spawn(|| answer_one_request(&resolver));
            ask(directory.path(), &["trace", "2001:db8:b::1", "--flow", "udp:9:53", "--resolve", "--json"])
        });
        assert!(asked.status.success(), "{asked:?}");
        let answer: Value = serde_json::from_slice(&asked.stdout).unwrap();
        let trace = &answer["trace"];
        assert_eq!((&trace["result"], &trace["entry"]["prefix"]), (&"encapsulate".into(), &"2001:db8:b::/48".into()));
        assert_eq!(trace["entry"]["from"], "127.0.0.1", "{trace}");
        let [chosen, other] = trace["entry"]["locators"].as_array().unwrap().as_slice() else { panic!("{trace}") };
        assert_eq!((&chosen["chosen"], &chosen["share_percent"]), (&true.into(), &100.0.into()), "{trace}");
        assert_eq!((&other["chosen"], &other["share_percent"]), (&false.into(), &Value::Null), "{trace}");
        let outer = &trace["outer"];
        assert_eq!((&outer["source"], &outer["destination"]), (&RLOC.into(), &"198.51.100.1".into()), "{trace}");
        assert_eq!((&outer["source_ports"][0], &outer["fits"]), (&outer["source_ports"][1], &1360.into()), "{trace}");
        let text = ask(directory.path(), &["trace", "2001:db8:b::1", "--flow", "udp:9:53"]);
        assert!(String::from_utf8_lossy(&text.stdout).contains("no RLOC of ours has its address family"), "{text:?}");
        // The same mapping, and a source that the kernel leads past the tunnel: nothing is put in front of the packet.
        let past = ["trace", "2001:db8:b::1", "--from", "2001:db8:ffff::1"];
        let trace = show(directory.path(), &past).unwrap()["trace"].take();
        assert_eq!((&trace["result"], &trace["outer"]), (&"past-tunnel".into(), &Value::Null), "{trace}");
        let text = ask(directory.path(), &past);
        assert!(!String::from_utf8_lossy(&text.stdout).contains("outer "), "{text:?}");
        node.end();
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

/// A PITR and PETR without a site of its own: its routes are in a table of their own, and nothing of it outlives it.
#[test]
fn what_a_killed_pitr_leaves_is_removed_by_the_next_start() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let proxy = ["--map-resolver", "127.0.0.1", "--pitr-for", "10.9.0.0/16", "--pitr-for", "2001:db8:9::/48"];
        let proxy = [&proxy[..], &["--petr-for", "10.9.0.0/16", "--pitr-in", "10.64.0.0/16"]].concat();
        let has = |what: &str| ours().iter().any(|line| line.contains(what));
        let led = || {
            let routes = ["10.9.0.0/16 dev", "2001:db8:9::/48 dev"].iter().all(|net| has(net));
            (routes && has("4345:")).then_some(())
        };
        let killed = Node::start(directory.path(), &proxy);
        wait_for("routes", led);
        let main = ip("-4 route show") + &ip("-6 route show");
        assert!(!main.contains("10.9.0.0") && !main.contains("2001:db8:9::"), "in no other table: {main}");
        drop(killed);
        assert!(has("4345:") && !has("10.9.0.0/16"), "the route goes with its device: {:?}", ours());
        let mut plain = Node::start(directory.path(), PLAIN);
        assert!(!has("4345:"), "{:?}", ours());
        plain.end();
        let mut again = Node::start(directory.path(), &proxy);
        wait_for("routes", led);
        let shown = show(directory.path(), &["show", "locators"]).unwrap();
        assert_eq!(shown["pitr_for"], serde_json::json!(["10.9.0.0/16", "2001:db8:9::/48"]));
        assert_eq!(shown["aggregates"][0]["prefix"], "10.64.0.0/16");
        let way = ask(directory.path(), &["trace", "10.9.0.1", "--from", "203.0.113.9"]);
        assert!(String::from_utf8_lossy(&way.stdout).contains("result   miss"), "{way:?}");
        again.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}
