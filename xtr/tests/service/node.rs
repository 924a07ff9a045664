// SPDX-License-Identifier: GPL-2.0-or-later
//! A plain `lisp-xtr` in a network namespace of its own, with a Map-Server played by the test: registration, the kernel's
//! rules, a killed run repaired by the next, and a clean end. Needs root and `/dev/net/tun`; says so and passes without,
//! unless `CI` is set.

use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::namespace::{Node, PATIENCE, in_namespace, netlink, skip, wait_for};
use crate::program::{self, key, key_file};
use futures::TryStreamExt as _;
use nix::sys::signal::Signal;
use rtnetlink::IpVersion;
use serde_json::Value;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Secret, TagForm};
use wire::control::lispsec::EcmAd;
use wire::control::{ControlMessage, MapNotify, MapRegister, MapReply, MapRequest, Nonce};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

const RLOC: &str = "192.0.2.1";
const SERVER: &str = "203.0.113.10";
const ADDRESSES: &[&str] = &[RLOC, SERVER];
/// In the site.
const HOST: &str = "2001:db8:a::1";
const RESOLVER_SECRET: &str = "another secret";
/// Rules of a node with one IPv6 prefix: three for what comes out of the TUN device, to and from the prefix.
const RULES: usize = 5;
/// Priority of a rule that is not the node's.
const FOREIGN: u32 = 5000;

#[test]
fn a_node_registers_leads_packets_into_its_tunnel_and_leaves_nothing_behind() {
    in_namespace(ADDRESSES, registers_and_leaves_nothing);
}

fn registers_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = UdpSocket::bind((SERVER, 4342)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();

    let killed = start(directory.path());
    let (_, first) = receive(&server);
    wait_for("rules", || (our_rules() == RULES).then_some(()));
    drop(killed);
    assert_eq!(our_rules(), RULES, "a killed node leaves its rules");
    // What it has sent again.
    let mut last = first.nonce;
    while is_there(&server) {
        last = receive(&server).1.nonce.max(last);
    }

    let mut node = start(directory.path());
    let (from, register) = receive(&server);
    assert!(register.nonce > last, "nonces rise over a restart");
    assert_eq!(from, format!("{RLOC}:4342"));
    let locator = &register.records[0].locators[0];
    assert_eq!([locator.priority, locator.weight, locator.mpriority, locator.mweight], [1, 100, 3, 40]);
    confirm(&server, &from, &register);
    let confirmed = wait_for("confirmation", || {
        while is_there(&server) {
            let (from, register) = receive(&server);
            confirm(&server, &from, &register);
        }
        let answer = show(directory.path(), "registrations")?;
        let row = answer["registrations"][0].clone();
        (!row["confirmed_ago"].is_null()).then_some(row)
    });
    assert_eq!((&confirmed["server"], &confirmed["prefixes"][0]), (&SERVER.into(), &"2001:db8:a::/48".into()));
    assert_eq!(our_rules(), RULES, "the rules left behind were replaced");
    for table in ["map-cache", "locators", "counters", "peers"] {
        assert!(show(directory.path(), table).is_some(), "{table}");
    }

    let shown = show(directory.path(), "locators").unwrap()["locators"][0].clone();
    assert_eq!((&shown["mpriority"], &shown["mweight"]), (&3.into(), &40.into()));

    let mut second = plain(directory.path());
    let second = second.args(["--tun", "lispu", "--state-dir"]).arg(directory.path().join("second")).output().unwrap();
    let error = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(3) && error.contains("lispt already"), "{error}");
    assert_eq!(our_rules(), RULES, "a second node that is refused leaves the first one's rules");

    node.signal(Signal::SIGTERM);
    confirm_withdrawal(&server);
    assert!(node.0.wait().unwrap().success());
    assert_eq!(our_rules(), 0);
    assert!(!directory.path().join("state/control.sock").exists());
}

/// What a PITR sends to an EID that the site does not have would come back to it by the default route, and again, until its TTL ends it.
#[test]
fn what_has_no_way_into_the_site_does_not_leave_by_the_default_route() {
    in_namespace(&[RLOC, SERVER, "198.51.100.1"], has_no_way_into_the_site);
}

fn has_no_way_into_the_site() {
    let ip = |arguments: &str| Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let does = |arguments: &str| {
        let output = ip(arguments);
        assert!(output.status.success(), "ip {arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    for (name, address) in [("provider", "192.0.2.129/25"), ("site", "10.1.1.1/24")] {
        does(&format!("link add {name} type veth peer name far-{name}"));
        does(&format!("link set {name} up"));
        does(&format!("link set far-{name} up"));
        does(&format!("address add {address} dev {name}"));
    }
    does("route add default via 192.0.2.130");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    let mut node = Node(command(directory.path()).args(["--eid-prefix", "10.1.0.0/16"]).spawn().unwrap());
    let way = |to: &str| ip(&format!("route get {to} from 10.2.0.9 iif lispt"));
    let leaves_by =
        |to: &str, device: &str| String::from_utf8(way(to).stdout).unwrap().contains(&format!("dev {device}"));
    wait_for("a way into the site", || leaves_by("10.1.1.9", "site").then_some(()));
    let nowhere = way("10.1.2.9");
    assert!(!nowhere.status.success(), "{nowhere:?}");
    assert!(leaves_by("203.0.113.99", "provider"), "what is no EID of ours is forwarded natively");
    node.signal(Signal::SIGTERM);
    node.0.wait().unwrap();
    assert_eq!(our_rules(), 0);
    assert_eq!(does("route show table all").matches("unreachable").count(), 0);
}

#[test]
fn a_log_that_cannot_be_written_ends_no_node() {
    in_namespace(ADDRESSES, logs_to_a_full_disk);
}

fn logs_to_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let server = UdpSocket::bind((SERVER, 4342)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut node = Node(command(directory.path()).args(["--log", "debug"]).stderr(full).spawn().unwrap());
    let (from, register) = receive(&server);
    confirm(&server, &from, &register);
    node.signal(Signal::SIGTERM);
    confirm_withdrawal(&server);
    assert!(node.0.wait().unwrap().success());
    assert_eq!(our_rules(), 0);
}

/// RFC 9303, section 7.2: nothing that a run leaves behind says which keys the next one has.
#[test]
fn each_start_from_one_state_draws_other_keys_and_nonces() {
    in_namespace(&[RLOC, SERVER, HOST], starts_from_one_state);
}

fn starts_from_one_state() {
    let directory = tempfile::tempdir().unwrap();
    let system = UdpSocket::bind((SERVER, 4342)).unwrap();
    system.set_read_timeout(Some(PATIENCE)).unwrap();
    let first = start(directory.path());
    receive(&system);
    drop(first);
    let kept = std::fs::read(directory.path().join("state/xtr.state")).unwrap();
    system.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let host = UdpSocket::bind((HOST, 0)).unwrap();
    let mut drawn = Vec::new();
    for _ in 0..3 {
        std::fs::remove_dir_all(directory.path().join("state")).unwrap();
        std::fs::create_dir(directory.path().join("state")).unwrap();
        std::fs::write(directory.path().join("state/xtr.state"), &kept).unwrap();
        let _node = Node(protected(directory.path()).spawn().unwrap());
        let (key, nonce) = wait_for("Map-Request", || {
            // Before there is a way into the tunnel it is lost.
            let _ = host.send_to(&[0], ("2001:db8:b::1", 9));
            question(&system)
        });
        assert!(drawn.iter().all(|(former, last)| *former != key && *last != nonce), "{drawn:?}, {key:?}, {nonce}");
        drawn.push((key, nonce));
    }
}

const ITR_RLOCS: [&str; 3] = [RLOC, "192.0.2.2", "2001:db8:c1::1"];
const SERVER_V6: &str = "2001:db8:c3::2";

/// Of several ITR-RLOCs deployed map systems choose the last of a family, or the first of all.
#[test]
fn a_map_reply_is_taken_at_each_itr_rloc_that_a_map_request_names() {
    in_namespace(&[RLOC, ITR_RLOCS[1], ITR_RLOCS[2], SERVER, SERVER_V6, HOST], is_answered_anywhere);
}

fn is_answered_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let system = UdpSocket::bind((SERVER, 4342)).unwrap();
    let of_v6 = UdpSocket::bind((SERVER_V6, 4342)).unwrap();
    system.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut command = command(directory.path());
    command.args(["--rloc", ITR_RLOCS[1], "--rloc", ITR_RLOCS[2], "--map-resolver", SERVER]);
    let _node = Node(command.spawn().unwrap());
    let host = UdpSocket::bind((HOST, 0)).unwrap();
    for (number, rloc) in ITR_RLOCS.into_iter().enumerate() {
        let eid: Ipv6Addr = format!("2001:db8:b{number}::1").parse().unwrap();
        let eid = EidPrefix::host(InstanceId(0), eid.into());
        let request = wait_for("Map-Request", || {
            let _ = host.send_to(&[0], (eid.net.addr(), 9));
            map_request(&system).filter(|request| request.records[0].eid.ip_prefix() == Some(eid))
        });
        let mut named: Vec<_> = request.itr_rlocs.iter().map(|rloc| rloc.ip().unwrap().to_string()).collect();
        named.sort_unstable();
        assert_eq!(named, ITR_RLOCS);
        let record = MappingRecord {
            ttl: Ttl(10),
            action: Action::NoAction,
            authoritative: false,
            map_version: MapVersion::default(),
            eid: eid.into(),
            locators: vec![LocatorRecord::new("198.51.100.1".parse::<IpAddr>().unwrap(), 1, 100)],
        };
        let reply = MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() };
        let from = if rloc.contains(':') { &of_v6 } else { &system };
        from.send_to(&reply.encode().unwrap(), (rloc, 4342)).unwrap();
        wait_for(rloc, || {
            let shown = show(directory.path(), "map-cache")?;
            let mut rows = shown["map-cache"].as_array()?.iter();
            rows.any(|row| row["prefix"] == eid.to_string().as_str()).then_some(())
        });
    }
}

/// The Map-Request of an ITR, if that is what comes next.
fn map_request(system: &UdpSocket) -> Option<MapRequest> {
    let mut buffer = [0; 2048];
    let (length, _) = system.recv_from(&mut buffer).ok()?;
    let Ok(ControlMessage::Ecm(ecm)) = ControlMessage::decode(&buffer[..length]) else { return None };
    Some(MapRequest::decode(&ecm.message).unwrap())
}

/// As [`command`], with all that is asked under LISP-SEC.
fn protected(directory: &Path) -> Command {
    let secret = directory.join("resolver.toml");
    std::fs::write(&secret, format!("secret = {RESOLVER_SECRET:?}\n")).unwrap();
    let mut command = command(directory);
    command.args(["--map-resolver", SERVER, "--lisp-sec", "require", "--resolver-key-file"]).arg(secret);
    command
}

/// Key and nonce of a protected Map-Request, if that is what comes next.
fn question(system: &UdpSocket) -> Option<([u8; 16], Nonce)> {
    let mut buffer = [0; 2048];
    let (length, _) = system.recv_from(&mut buffer).ok()?;
    let Ok(ControlMessage::Ecm(ecm)) = ControlMessage::decode(&buffer[..length]) else { return None };
    let nonce = MapRequest::decode(&ecm.message).unwrap().nonce;
    let ad = EcmAd::decode(&ecm.security.unwrap()).unwrap();
    Some((*ad.otk.unwrap(&Secret::new(RESOLVER_SECRET), nonce).unwrap().expose(), nonce))
}

#[test]
fn a_check_of_reverse_paths_for_all_devices_is_named() {
    in_namespace(&[], || {
        let named = ["0", "1", "2"].map(|value| {
            std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", value).unwrap();
            xtr::shell::netlink::reverse_path_check()
        });
        let sysctl = Some("net.ipv4.conf.all.rp_filter");
        assert_eq!(named, [None, sysctl, sysctl]);
    });
}

#[test]
fn without_permission_for_the_tun_device_the_machine_is_to_blame() {
    in_namespace(ADDRESSES, as_nobody);
}

fn as_nobody() {
    const NOBODY: u32 = 65534;
    let directory = tempfile::tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    // The folder that it was built in may be closed to others.
    let program = directory.path().join("lisp-xtr");
    // Copied by another process, as in `service.rs`: a child of another test would keep it open, and it would not run.
    assert!(Command::new("cp").args([Path::new(env!("CARGO_BIN_EXE_lisp-xtr")), &program]).status().unwrap().success());
    let state = directory.path().join("state");
    let mut refused = Command::new(&program);
    refused.args(plain(directory.path()).get_args()).args(["--tun", "lispt", "--state-dir"]).arg(&state);
    let output = refused.uid(NOBODY).gid(NOBODY).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.to_lowercase().contains("cap_net_admin"), "{error}");
    assert_eq!(our_rules(), 0);
    assert_nothing_is_written(&program, directory.path());
}

/// A start that the machine refuses makes no identity, and not even its directory.
fn assert_nothing_is_written(program: &Path, directory: &Path) {
    const NOBODY: u32 = 65534;
    let mut alone = Command::new(program);
    alone.args(["--eid-prefix", "2001:db8:a::/48", "--rloc", RLOC, "--tun", "lispt", "--state-dir"]);
    let output = alone.arg(directory.join("alone")).uid(NOBODY).gid(NOBODY).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!directory.join("alone").exists() && !directory.join("state").exists());
}

#[test]
fn a_node_of_its_own_makes_an_identity_and_vouches_for_its_prefix() {
    in_namespace(ADDRESSES, embedded_in_namespace);
}

fn embedded_in_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.args(["--eid-prefix", "2001:db8:a::/48", "--rloc", RLOC, "--tun", "lispt", "--state-dir"]);
        let mut node = Node(command.arg(directory.path().join("state")).stdout(Stdio::piped()).spawn().unwrap());
        let registered = wait_for("registration", || {
            let row = show(directory.path(), "registrations")?["registrations"][0].clone();
            (!row["confirmed_ago"].is_null()).then_some(row)
        });
        node.end();
        let mut said = String::new();
        node.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        (registered, said)
    };
    let (registered, said) = run();
    let cn = said.split("--trust-anchor 2001:db8:a::/48=").nth(1).unwrap().trim();
    assert!(said.contains(&format!("Made the identity {cn}")), "{said}");
    let cgeid = cn.parse::<cgeid::Cn>().unwrap().address(cgeid::Network::LAB);
    assert_eq!(registered["prefixes"], serde_json::json!(["2001:db8:a::/48", format!("{cgeid}/128")]));
    let (_, said) = run();
    assert!(said.contains(cn) && !said.contains("Made"), "the next run has the same identity: {said}");
    assert_eq!(our_rules(), 0);
}

#[test]
fn a_host_without_ipv6_carries_ipv4_and_keeps_the_rules_of_others() {
    in_namespace(ADDRESSES, without_ipv6);
}

fn without_ipv6() {
    for devices in ["all", "default"] {
        // The setting of this thread's namespace.
        if let Err(error) = std::fs::write(format!("/proc/sys/net/ipv6/conf/{devices}/disable_ipv6"), "1") {
            skip(&format!("a kernel whose IPv6 can be switched off ({error})"));
            return;
        }
    }
    add_foreign_rule();
    let directory = tempfile::tempdir().unwrap();
    let server = UdpSocket::bind((SERVER, 4342)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let node = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"))
        .args(["--eid-prefix", "10.1.0.0/16", "--rloc", RLOC, "--map-server", SERVER, "--tun", "lispt"])
        .arg("--key-file")
        .arg(key_file(directory.path()))
        .arg("--state-dir")
        .arg(directory.path().join("state"))
        .spawn();
    let mut node = Node(node.unwrap());
    let (from, register) = receive(&server);
    confirm(&server, &from, &register);
    assert_eq!(our_rules(), RULES);
    node.signal(Signal::SIGTERM);
    confirm_withdrawal(&server);
    assert!(node.0.wait().unwrap().success());
    assert_eq!(our_rules(), 0);
    assert_eq!(rules_of(|priority| priority == FOREIGN), 1, "a rule of somebody else is gone");
}

/// A rule of another program that chose the same routing protocol number.
fn add_foreign_rule() {
    netlink(async |handle| {
        let mut request = handle.rule().add().v4().priority(FOREIGN).table_id(77);
        let protocol = netlink_packet_route::rule::RuleAttribute::Protocol(143.into());
        request.message_mut().attributes.push(protocol);
        request.execute().await.unwrap();
    });
}

fn start(directory: &Path) -> Node {
    Node(command(directory).spawn().unwrap())
}

fn command(directory: &Path) -> Command {
    let mut command = plain(directory);
    command.args(["--tun", "lispt", "--state-dir"]).arg(directory.join("state"));
    command
}

/// Without a device and a directory of its own yet.
fn plain(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
    let rloc = format!("{RLOC},mpriority=3,mweight=40");
    command.args(["--eid-prefix", "2001:db8:a::/48", "--rloc", &rloc, "--map-server", SERVER]);
    command.arg("--key-file").arg(key_file(directory));
    command
}

fn show(directory: &Path, table: &str) -> Option<Value> {
    program::show(&directory.join("state"), table)
}

fn receive(server: &UdpSocket) -> (String, MapRegister) {
    let mut buffer = [0; 2048];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    auth::verify(&buffer[..length], &key(), auth::Accept::default()).unwrap();
    match ControlMessage::decode(&buffer[..length]).unwrap() {
        ControlMessage::MapRegister(register) => (from.to_string(), register),
        other => panic!("{other:?}"),
    }
}

fn confirm(server: &UdpSocket, to: &str, register: &MapRegister) {
    let notify = MapNotify { nonce: register.nonce, records: register.records.clone(), ..MapNotify::default() };
    let bytes = auth::seal(&ControlMessage::MapNotify(notify), &key(), TagForm::Truncated).unwrap();
    server.send_to(&bytes, to).unwrap();
}

/// Confirms what comes until all that is registered is taken back.
fn confirm_withdrawal(server: &UdpSocket) {
    loop {
        let (from, register) = receive(server);
        confirm(server, &from, &register);
        if register.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN) {
            return;
        }
    }
}

/// Whether something has come.
fn is_there(server: &UdpSocket) -> bool {
    server.set_nonblocking(true).unwrap();
    let is_there = server.peek(&mut [0]).is_ok();
    server.set_nonblocking(false).unwrap();
    is_there
}

fn our_rules() -> usize {
    rules_of(|priority| (4338..=4344).contains(&priority))
}

fn rules_of(wanted: impl Fn(u32) -> bool) -> usize {
    use netlink_packet_route::rule::RuleAttribute::Priority;
    netlink(async |handle| {
        let mut count = 0;
        for version in [IpVersion::V4, IpVersion::V6] {
            let rules: Vec<_> = handle.rule().get(version).execute().try_collect().await.unwrap();
            let is_wanted = |rule: &&netlink_packet_route::rule::RuleMessage| {
                rule.attributes.iter().any(|attribute| matches!(attribute, Priority(priority) if wanted(*priority)))
            };
            count += rules.iter().filter(is_wanted).count();
        }
        count
    })
}
