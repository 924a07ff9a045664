// SPDX-License-Identifier: GPL-2.0-or-later
//! The built programs on loopback: a root, a node, a Map-Server and a Map-Resolver that share nothing but DDT (RFC 8111), and
//! `lig`. What the first three say is shown to tshark.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::*;
use crate::witness::witness;
use wire::address::{Address, Lcaf};
use wire::control::auth::Algorithm;
use wire::control::{ControlMessage, MapReferral, ReferralAction};

const ROOT: &str = "127.0.57.1";
const NODE: &str = "127.0.57.2";
const MAP_SERVER: &str = "127.0.57.3";
const MAP_RESOLVER: &str = "127.0.57.4";
/// A DDT client of the test.
const CLIENT: &str = "127.0.57.9";

/// A running `lisp-mapsys`, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts one at port 4342 of `address`, where DDT looks for it, and waits until it is ready.
fn start(folder: &Path, address: &str, config: &str) -> Running {
    let home = folder.join(address);
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("mapsys.toml"), config).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
        .args(["--listen", address, "--dht-listen", address, "--dht-port", "0"])
        .arg("--config")
        .arg(home.join("mapsys.toml"))
        .arg("--state-dir")
        .arg(&home)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(home.join("log")).unwrap())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = Running(child);
    assert!(lines.map(Result::unwrap).any(|line| line == "ready"), "{address} does not start");
    running
}

fn show(folder: &Path, address: &str) -> serde_json::Value {
    let state = folder.join(address);
    let output = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
        .args(["show", "counters", "--json", "--state-dir"])
        .arg(state)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lig(resolver: &str, source: &str, eid: &str) -> (Option<i32>, serde_json::Value) {
    let resolver = format!("{resolver}:4342");
    let output = Command::new(env!("CARGO_BIN_EXE_lig"))
        .args([eid, "--map-resolver", &resolver, "--source", source, "--json"])
        .output()
        .unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// Has one read other settings.
fn reload(folder: &Path, address: &str, config: &str) {
    let home = folder.join(address);
    std::fs::write(home.join("mapsys.toml"), config).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_lisp-mapsys")).args(["reload", "--state-dir"]).arg(home).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn site(name: &str, net: &str) -> String {
    format!(
        "[[site]]\nname = \"{name}\"\neid-prefix = [\"{net}\"]\nnotify-port = \"source\"\n\
         key = [{{ key-id = 1, algorithm = \"hmac-sha256\", secret = \"secret\" }}]\n"
    )
}

/// Registers a site from `etr`; the Map-Server answers for it.
fn register_site(etr: &str, server: &str, net: &str) {
    let socket = UdpSocket::bind((etr, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let message = register(1, vec![record(prefix(net), &["203.0.113.1"])]);
    socket.send_to(&seal(message, &key(1, Algorithm::HmacSha256, "secret")), (server, 4342)).unwrap();
    socket.recv_from(&mut [0; 2048]).expect("a Map-Notify");
}

/// The file of a key that openssl made.
fn pem(name: &str) -> String {
    format!("{}/tests/data/ddt/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

/// What a server says to a DDT Map-Request, and its octets.
fn ask(server: &str, eid: &str) -> (MapReferral, Vec<u8>) {
    let socket = UdpSocket::bind((CLIENT, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = ecm(&request(9, &[host(eid)], &[CLIENT]));
    bytes[0] |= 0x04;
    socket.send_to(&bytes, (server, 4342)).unwrap();
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from, address(&format!("{server}:4342")));
    match ControlMessage::decode(&buffer[..length]).unwrap() {
        ControlMessage::MapReferral(referral) => (referral, buffer[..length].to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mapping_is_found_from_the_root_over_a_node_at_a_map_server() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let _root = start(
        home,
        ROOT,
        &format!(
            "[ddt]\nauthoritative = [\"::/0\"]\n[[ddt-delegation]]\neid-prefix = [\"2001:db8::/32\"]\nkind = \"node\"\n\
             server = [{{ address = \"{NODE}\" }}]\n"
        ),
    );
    let _node = start(
        home,
        NODE,
        &format!(
            "[ddt]\nauthoritative = [\"2001:db8::/32\"]\n[[ddt-delegation]]\neid-prefix = [\"2001:db8:a00::/40\"]\n\
             kind = \"map-server\"\nserver = [{{ address = \"{MAP_SERVER}\" }}]\n"
        ),
    );
    let sites = site("a", "2001:db8:a01::/48") + &site("silent", "2001:db8:a02::/48");
    let ddt = "[ddt]\nauthoritative = [\"2001:db8:a00::/40\"]\ncomplete = true\n";
    let _server = start(home, MAP_SERVER, &(sites + ddt));
    let _resolver = start(home, MAP_RESOLVER, &format!("[ddt]\nroots = [\"{ROOT}\"]\n"));

    register_site("127.0.57.8", MAP_SERVER, "2001:db8:a01::/48");

    let (code, answer) = lig(MAP_RESOLVER, CLIENT, "2001:db8:a01::1");
    assert_eq!(code, Some(0), "{answer}");
    assert_eq!((&answer["prefix"], &answer["from"]), (&"2001:db8:a01::/48".into(), &MAP_SERVER.into()));
    assert_eq!(answer["locators"][0]["address"], "203.0.113.1");
    let (code, answer) = lig(MAP_RESOLVER, CLIENT, "2001:db8:a02::1");
    assert_eq!((code, &answer["from"], &answer["ttl_minutes"]), (Some(1), &MAP_RESOLVER.into(), &1.into()));
    let (code, answer) = lig(MAP_RESOLVER, CLIENT, "2001:db8:aff::1");
    assert_eq!((code, &answer["from"], &answer["ttl_minutes"]), (Some(1), &MAP_RESOLVER.into(), &15.into()));

    let counters = show(home, MAP_RESOLVER);
    assert_eq!(counters["ddt_searches"], 0);
    assert!(counters["ddt_referrals_cached"].as_u64() >= Some(3), "{counters}");
    assert!(show(home, ROOT)["ddt_referrals_sent"].as_u64() >= Some(1));

    let asked = [(ROOT, "2001:db8:a01::1"), (NODE, "2001:db8:a01::1"), (MAP_SERVER, "2001:db8:a02::1")];
    let said: Vec<_> = asked.iter().map(|(server, eid)| ask(server, eid)).collect();
    let actions: Vec<_> = said.iter().map(|(referral, _)| referral.records[0].action).collect();
    let expected = [ReferralAction::NodeReferral, ReferralAction::MsReferral, ReferralAction::MsNotRegistered];
    assert_eq!(actions, expected);
    assert_eq!(said[0].0.records[0].locators[0].rloc.ip(), Some(NODE.parse::<IpAddr>().unwrap()));
    let messages: Vec<_> = asked.iter().zip(&said).map(|((server, _), (_, bytes))| (*server, bytes.clone())).collect();
    if let Some(read) = witness(home, &messages) {
        for line in [
            "EID Prefix: 2001:db8::/32, TTL: 1440, Node Referral, Authoritative",
            "EID Prefix: 2001:db8:a00::/40, TTL: 1440, Map-Server Referral, Authoritative",
            "EID Prefix: 2001:db8:a02::/48, TTL: 1, Map-Server Not Registered, Authoritative",
        ] {
            assert!(read.contains(line), "{line}: {read}");
        }
        assert!(!read.contains("Malformed"), "{read}");
    }
}

/// A node of a signed tree: its prefix, its keys, those that it revokes, and whom it delegates to with which keys.
fn signed_node(own: &str, keys: &[&str], revoked: &[&str], to: (&str, &str, &str, &[&str])) -> String {
    let files = |names: &[&str]| {
        let files: Vec<_> = names.iter().map(|name| format!("{{ key-file = \"{}\" }}", pem(name))).collect();
        files.join(", ")
    };
    let (net, kind, server, named) = to;
    let named: Vec<_> = named.iter().map(|name| format!("\"{}\"", pem(&format!("{name}.pub")))).collect();
    format!(
        "[ddt]\nauthoritative = [\"{own}\"]\nkey = [{}]\nrevoked-key = [{}]\n[[ddt-delegation]]\n\
         eid-prefix = [\"{net}\"]\nkind = \"{kind}\"\nserver = [{{ address = \"{server}\", key-file = [{}] }}]\n",
        files(keys),
        files(revoked),
        named.join(", ")
    )
}

#[test]
fn a_key_that_its_node_has_revoked_counts_for_nothing_any_more() {
    let [root, node, server, resolver, client] = ["127.0.58.1", "127.0.58.2", "127.0.58.3", "127.0.58.4", "127.0.58.9"];
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let second = |keys: &[&str], revoked: &[&str]| {
        signed_node("2001:db8::/32", keys, revoked, ("2001:db8:a00::/40", "map-server", server, &["server"]))
    };
    // The root names both keys of the node all the time: only the revocation is between them.
    let first = signed_node("::/0", &["root"], &[], ("2001:db8::/32", "node", node, &["node", "node-new"]));
    let signs = format!(
        "{}[ddt]\nauthoritative = [\"2001:db8:a00::/40\"]\nkey = [{{ key-file = \"{}\" }}]\n",
        site("a", "2001:db8:a01::/48"),
        pem("server")
    );
    let anchored = format!("[ddt]\nroots = [\"{root}\"]\ntrust-anchor-file = [\"{}\"]\n", pem("root.pub"));
    let _running = [
        start(home, root, &first),
        start(home, node, &second(&["node"], &[])),
        start(home, server, &signs),
        start(home, resolver, &anchored),
    ];
    register_site("127.0.58.8", server, "2001:db8:a01::/48");
    let finds = |eid: &str| lig(resolver, client, eid).1["locators"][0]["address"] == "203.0.113.1";
    assert!(finds("2001:db8:a01::1"));
    assert_eq!(show(home, resolver)["ddt_keys_revoked"], 0);

    reload(home, node, &second(&["node-new"], &["node"]));
    let (said, _) = ask(node, "2001:db8:a01::1");
    let [referral, revocation] = &said.records[..] else { panic!("{said:?}") };
    assert_eq!(referral.action, ReferralAction::MsReferral);
    let Address::Lcaf(lcaf) = &revocation.locators[0].rloc else { panic!("{revocation:?}") };
    assert!(matches!(lcaf.as_ref(), Lcaf::SecurityKey { revoked: true, .. }), "{revocation:?}");
    // The Map-Resolver hears it when it asks the node for something that it has not in its cache.
    let (code, hole) = lig(resolver, client, "2001:db8:b00::1");
    assert_eq!((code, &hole["ttl_minutes"]), (Some(1), &15.into()), "{hole}");
    assert_eq!(show(home, resolver)["ddt_keys_revoked"], 1);
    let log = std::fs::read_to_string(home.join(resolver).join("log")).unwrap();
    assert!(log.contains("revokes a key") && log.contains(node), "{log}");
    assert!(finds("2001:db8:a01::2"), "with the new key");

    // Whoever has the old key plays the node; the cache of the Map-Resolver is empty.
    reload(home, node, &second(&["node"], &[]));
    reload(home, resolver, &anchored);
    assert!(!finds("2001:db8:a01::3"));
    let counters = show(home, resolver);
    assert_eq!(counters["ddt_keys_revoked"], 1);
    assert!(counters["refusals"]["referral-revoked-key"].as_u64() >= Some(1), "{counters}");
}

#[test]
fn a_configuration_says_what_it_means_and_what_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let check = |config: &str| {
        let path = folder.path().join("mapsys.toml");
        std::fs::write(&path, config).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
            .args(["check", "--listen", "127.0.57.1", "--config"])
            .arg(path)
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).unwrap())
    };
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/lisp-mapsys.example.toml")).unwrap();
    let tree = example.split_once("\n[ddt]").map(|(_, tree)| format!("[ddt]{tree}")).unwrap();
    let (code, told) = check(&tree);
    assert_eq!(code, Some(0), "{told}");
    for line in [
        "answers as DDT node for 3fff:ce1::/32",
        "refers for 2001:db8:100::/40 to the DDT Map-Servers 192.0.2.101",
        "refers for [5]10.0.0.0/8 to the DDT nodes 192.0.2.201, 192.0.2.202",
        "hands requests for foreign EIDs in 198.18.0.0/15 on to 192.0.2.7:4342, 192.0.2.8:4342",
        "searches for foreign EIDs from the DDT roots 192.0.2.1:4342, [2001:db8:53::1]:4342",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let delegation = "[[ddt-delegation]]\neid-prefix = [\"10.0.0.0/8\"]\nkind = \"node\"\nserver = []\n";
    for (wrong, named) in [
        (delegation.to_owned(), "10.0.0.0/8 has 0 servers"),
        (delegation.replace("[]", "[{ address = \"192.0.2.1\", port = 5 }]"), "port"),
        (delegation.replace("node", "leaf"), "leaf"),
        ("[ddt]\nroots = [\"x\"]\n".to_owned(), "ddt.roots"),
        ("[ddt]\nauthoritative = [\"10.0.0.1/8\"]\n".to_owned(), "host bits"),
        ("[[resolver]]\neid-prefix = [\"10.0.0.0/8\"]\naddress = []\n".to_owned(), "no address"),
    ] {
        let (code, told) = check(&wrong);
        assert_eq!((code, told.contains(named)), (Some(2), true), "{wrong}: {told}");
    }
    let (private, public) = (pem("root"), pem("root.pub"));
    let roots = "[ddt]\nroots = [\"192.0.2.1\"]\n";
    let signed = delegation.replace("[]", &format!("[{{ address = \"192.0.2.1\", key-file = [\"{public}\"] }}]"));
    let signs = format!("[ddt]\nkey = [{{ key-file = \"{private}\", key-tag = 7 }}]\nsignature-hours = 48\n");
    for (right, line) in [
        (format!("{signs}{signed}"), "signs Map-Referrals with the key of tag 7, for 48 hours"),
        (
            format!("{roots}trust-anchor-file = [\"{public}\"]\n"),
            "takes only Map-Referrals that 1 trust anchors vouch for",
        ),
    ] {
        let (code, told) = check(&right);
        assert_eq!((code, told.contains(line)), (Some(0), true), "{right}: {told}");
    }
    let revokes = signs.replace("key =", "revoked-key =");
    let unsaid = format!("{revokes}{delegation}").replace("[]", "[{ address = \"192.0.2.1\" }]");
    let (code, told) = check(&unsaid.replacen("[ddt]", "[ddt]\nauthoritative = [\"10.0.0.0/8\"]", 1));
    assert_eq!((code, told.contains("says that its key of tag 7 is revoked")), (Some(0), true), "{told}");
    let unnamed = delegation.replace("[]", "[{ address = \"192.0.2.1\" }]");
    // A key for one prefix alone.
    let only = |signs: &str| signs.replace("key-tag = 7", "key-tag = 7, eid-prefix = [\"10.0.0.0/8\"]");
    let ours = |signs: &str| only(signs).replacen("[ddt]", "[ddt]\nauthoritative = [\"10.0.0.0/8\"]", 1);
    for (signs, line) in [
        (&signs, "signs Map-Referrals about 10.0.0.0/8 with the key of tag 7, for 48 hours"),
        (&revokes, "says that its key of tag 7 is revoked about 10.0.0.0/8"),
    ] {
        let (code, told) = check(&ours(signs));
        assert_eq!((code, told.contains(line)), (Some(0), true), "{line}: {told}");
    }
    for (wrong, named) in [
        (only(&signs), "the key of tag 7 is for 10.0.0.0/8, which is neither in authoritative nor a site's"),
        (ours(&signs).replace("eid-prefix = [\"10.0.0.0/8\"]", "eid-prefix = [\"10.0.0.1/8\"]"), "ddt.key: "),
        (format!("{signs}{unnamed}"), "192.0.2.1 of the delegation of 10.0.0.0/8 has 0 keys"),
        (signs.replace(&private, &public), "this is the public half"),
        (signs.replace(&private, "/nowhere/key.pem"), "ddt.key: /nowhere/key.pem cannot be read"),
        (signs.replace(&private, "/"), "ddt.key: / cannot be read"),
        (format!("[ddt]\nkey = \"{private}\"\n"), "expected a list as [{ key-file = \"ddt.pem\""),
        (format!("[ddt]\nkey = [\"{private}\"]\n"), "expected a table as { key-file = \"ddt.pem\""),
        (
            format!("{roots}trust-anchor-file = [\"/nowhere/key.pem\"]\n"),
            "ddt.trust-anchor-file: /nowhere/key.pem cannot",
        ),
        (
            signed.replace(&public, "/nowhere/key.pem"),
            "ddt-delegation: key-file of 192.0.2.1: /nowhere/key.pem cannot be read",
        ),
        (revokes.replace(&private, "/nowhere/key.pem"), "ddt.revoked-key: /nowhere/key.pem cannot be read"),
        (revokes.replace(&private, &public), "this is the public half"),
        (unsaid, "revoked-key without authoritative and without a site"),
        (format!("{signs}revoked-key = [{{ key-file = \"{private}\" }}]\n"), "tag 7 is revoked, and signs"),
        (format!("{roots}trust-anchor-file = [\"{private}\"]\n"), "openssl pkey -pubout"),
        (format!("[ddt]\ntrust-anchor-file = [\"{public}\"]\n"), "without roots"),
        (signs.replace("48", "0"), "signature-hours"),
    ] {
        let (code, told) = check(&wrong);
        assert_eq!((code, told.contains(named)), (Some(2), true), "{wrong}: {told}");
    }
    let locator = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4342);
    let (code, told) = check(&format!("[ddt]\nroots = [\"{locator}\"]\n"));
    assert_eq!((code, told.contains("127.0.0.1:4342")), (Some(0), true), "a root may have a port");
}
