// SPDX-License-Identifier: GPL-2.0-or-later
#![allow(clippy::unwrap_used, clippy::panic)]
use std::path::Path;

use cgeid::limits::MAX_TEMPORARY_KEYS;

use super::*;
use crate::limits;

fn load(toml: &str, flags: Flags) -> Result<Config, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    Config::load(&Flags { config: Some(file.path().to_owned()), ..flags })
}

fn refused(toml: &str) -> ConfigError {
    load(toml, Flags::default()).unwrap_err()
}

#[test]
fn the_shipped_example_can_be_run_and_is_explained() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lisp-xtr.example.toml");
    let config = Config::load(&Flags { config: Some(path), ..Flags::default() }).unwrap();
    assert_eq!((config.eid_prefixes.len(), config.rlocs.len(), config.rlocs[1].priority), (2, 2, 2));
    let text = explain(&config).join("\n");
    for said in ["2001:db8:a::/48", "192.0.2.1", "DHT node", "its own anchor", "lisp0", "198.51.100.1"] {
        assert!(text.contains(said), "{said} is not in:\n{text}");
    }
}

#[test]
fn flags_win_over_the_file() {
    let flags = Flags { tun: Some("lisp7".into()), eid_prefix: vec!["10.2.0.0/16".into()], ..Flags::default() };
    let config = load("tun = \"lisp1\"\nmtu = 1400\neid-prefix = [\"10.1.0.0/16\"]", flags).unwrap();
    assert_eq!((config.tun.as_str(), config.mtu), ("lisp7", 1400));
    assert_eq!(config.eid_prefixes[0].to_string(), "10.2.0.0/16");
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    let error = refused("tun = \"lisp0\"\n\nmap-servers = [\"192.0.2.1\"]\n");
    assert_eq!(error.key, "map-servers");
    assert!(error.problem.contains("line 3") && error.problem.contains("map-server"), "{error}");
}

#[test]
fn wrong_values_are_named_by_their_key() {
    let cases = [
        ("eid-prefix", "eid-prefix = [\"2001:db8:a::1/48\"]"),
        ("eid-prefix", "eid-prefix = [\"3fff:ce1:1::/48\"]"),
        ("rloc", "rloc = [\"127.0.0.1\"]"),
        ("rloc", "eid-prefix = [\"10.0.0.0/8\"]\nrloc = [\"10.1.1.1\"]"),
        ("map-resolver", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"10.1.1.1\"]"),
        ("map-resolver", "map-resolver = [\"three\"]"),
        ("iid", "iid = 16777216"),
        ("source-check", "source-check = \"lax\""),
        ("pitr", "eid-prefix = [\"10.0.0.0/8\"]\npitr = [\"10.1.1.1\"]"),
        ("iid", "iid = 5\nidentity = [\"x\"]"),
        ("mtu", "mtu = 1279"),
        ("tun", "tun = \"a name that is too long\""),
        ("prefix", "prefix = \"3fff::/16\""),
        ("prefix", "prefix = \"10.0.0.0/8\""),
        ("dht-port", "dht-port = 0"),
        ("trust-anchor", "trust-anchor = [\"2001:db8::/32\"]"),
        ("eid-prefix", "eid-prefix = [\"fe80::/64\"]"),
        ("eid-prefix", "eid-prefix = [\"224.0.0.0/4\"]"),
        ("rloc", "rloc = [\"192.0.2.1\", \"192.0.2.1,priority=2\"]"),
        ("map-resolver", "eid-prefix = [\"10.0.0.0/8\"]\nrloc = [\"192.0.2.1\"]\nmap-resolver = [\"2001:db8::1\"]"),
        ("tun", "tun = \"a:b\""),
        ("tun", "tun = \"all\""),
        ("log", "log = \"=[x\""),
        ("log", "log = \"x[=1\""),
        ("key-file", "key-file = [\"k\"]"),
        ("proxy-reply", "proxy-reply = false"),
        ("proxy-reply", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\nproxy-reply = false"),
        ("key-file", "eid-prefix = [\"10.0.0.0/8\"]\nmap-server = [\"192.0.2.1\"]"),
        (
            "map-server",
            "eid-prefix = [\"10.0.0.0/8\"]\nmap-server = [\"192.0.2.1\", \"192.0.2.1\"]\nkey-file = [\"k\", \"l\"]",
        ),
        (
            "subscribe",
            "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\nsubscribe = [\"192.0.2.1\", \"192.0.2.1\"]\nsubscribe-key-file = [\"k\", \"l\"]",
        ),
        ("eid-prefix", "map-resolver = [\"192.0.2.1\"]"),
        ("iid", "iid = 5\ntemporary = true"),
        ("rtr", "rtr = true"),
        ("rtr", "rtr = true\nmap-resolver = [\"192.0.2.1\"]"),
        ("nat", "nat = \"auto\""),
        ("nat", "nat = \"maybe\""),
        ("nat", "rtr-at = [\"192.0.2.1\"]"),
        ("rtr-at", "nat = \"off\"\nrtr-at = [\"192.0.2.1\"]"),
        ("temporary", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\ntemporary = true"),
        ("metrics", "metrics = \"9434\""),
        ("discovery", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\ndiscovery = \"on\""),
        ("identity", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\nidentity = [\"x\"]"),
    ];
    for (key, toml) in cases {
        let error = refused(toml);
        assert_eq!(error.key, key, "{toml}: {error}");
    }
}

#[test]
fn what_is_for_the_map_system_in_this_process_is_refused_beside_one_elsewhere() {
    let elsewhere = "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\n";
    assert!(load(&format!("{elsewhere}dht-port = 43420"), Flags::default()).is_ok(), "as if it were not said");
    for (key, value) in
        [("password-file", "\"f\""), ("network-key", "\"f\""), ("puzzle-bits", "20"), ("dht-port", "43421")]
    {
        let error = refused(&format!("{elsewhere}{key} = {value}"));
        assert_eq!(error.key, key);
        assert!(error.problem.contains("leave out --map-server and --map-resolver"), "{error}");
    }
}

#[test]
fn a_list_of_something_else_says_what_it_should_be() {
    let error = refused("eid-prefix = 5");
    assert!(error.problem.contains("list of strings") && error.problem.contains("line 1"), "{error}");
}

#[test]
fn addresses_found_on_an_interface_are_checked_as_written_ones_are() {
    let config = load("eid-prefix = [\"10.0.0.0/8\"]", Flags::default()).unwrap();
    let found = |text: &str| [OwnLocator::new(text.parse().unwrap(), 1, 100)];
    assert_eq!(config.check_locators(&found("10.1.1.1")).unwrap_err().key, "rloc");
    assert_eq!(config.check_locators(&found("192.0.2.1")), Ok(()));
}

#[test]
fn metrics_are_served_with_a_dht_node_in_this_process_and_without() {
    for more in ["", "map-resolver = [\"192.0.2.9\"]\n"] {
        let toml = format!("{more}eid-prefix = [\"10.0.0.0/8\"]\nmetrics = \"127.0.0.1:9434\"");
        let config = load(&toml, Flags::default()).unwrap();
        assert_eq!(config.metrics, Some(([127, 0, 0, 1], 9434).into()));
        assert!(explain(&config).join("\n").contains("http://127.0.0.1:9434/metrics"));
    }
}

#[test]
fn a_prefix_given_twice_is_one() {
    let config = load("eid-prefix = [\"10.0.0.0/8\", \"10.0.0.0/8\"]", Flags::default()).unwrap();
    assert_eq!(config.eid_prefixes.len(), 1);
}

#[test]
fn there_is_room_for_so_many_prefixes_beside_the_identities() {
    let elsewhere = "map-resolver = [\"192.0.2.1\"]";
    let cases =
        [(elsewhere, 0), ("", 1), ("identity = [\"x\", \"y\"]", 2), ("temporary = true", 1 + MAX_TEMPORARY_KEYS)];
    for (more, cgeids) in cases {
        let prefix = |number: usize| format!("2001:db8:{number:x}::/48");
        let with = |count: usize| {
            let eid_prefix = (1..=count).map(prefix).collect();
            load(more, Flags { eid_prefix, ..Flags::default() })
        };
        let room = limits::EID_PREFIXES - cgeids;
        assert_eq!(with(room).unwrap().eid_prefixes.len(), room, "{more}");
        let error = with(room + 1).unwrap_err();
        assert_eq!(error.key, "eid-prefix", "{more}");
        assert!(error.problem.contains(&format!("{room} at most")), "{error}");
    }
}

#[test]
fn what_is_said_to_go_through_the_tunnel_does() {
    let said = |toml: &str| explain(&load(toml, Flags::default()).unwrap()).join("\n");
    assert!(!said("eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.9\"]").contains("3fff:ce1::/32"));
    assert!(
        said("eid-prefix = [\"10.0.0.0/8\"]").contains("10.0.0.0/8 and its CGEIDs to anywhere, and to 3fff:ce1::/32")
    );
}

#[test]
fn a_petr_that_checks_no_sources_is_warned_of() {
    let said = |more: &str| {
        let toml = format!("rloc = [\"192.0.2.80\"]\nmap-resolver = [\"192.0.2.9\"]\n{more}");
        let config = load(&toml, Flags::default()).unwrap();
        (warnings(&config), explain(&config).join("\n"))
    };
    let petr = "petr-for = [\"2001:db8:a::/48\"]\n";
    let (warned, explained) = said(&format!("{petr}source-check = \"off\""));
    assert!(
        matches!(&warned[..], [one] if one.contains("2001:db8:a::/48") && one.contains("source-check")),
        "{warned:?}"
    );
    assert!(explained.contains(&format!("Warning: {}", warned[0])), "{explained}");
    for harmless in [petr, "pitr-for = [\"10.2.0.0/16\"]\nsource-check = \"off\""] {
        let (warned, explained) = said(harmless);
        assert!(warned.is_empty() && !explained.contains("Warning"), "{warned:?}{explained}");
    }
}

#[test]
fn one_key_file_serves_all_servers_and_resolvers_default_to_servers() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "algorithm = \"hmac-sha1\"\nsecret = \"secretkey\"").unwrap();
    let toml = format!(
        "eid-prefix = [\"10.0.0.0/8\"]\nmap-server = [\"192.0.2.1\", \"192.0.2.2\"]\nkey-file = [{:?}]",
        key.path()
    );
    let config = load(&toml, Flags::default()).unwrap();
    let Mapping::Elsewhere { servers, resolvers } = &config.mapping else { panic!("{config:?}") };
    assert_eq!((servers.len(), resolvers.len()), (2, 2));
    assert!(!format!("{config:?}").contains("secretkey"));
    assert!(explain(&config).join("\n").contains("192.0.2.2"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(&Flags { config: Some("/nonexistent.toml".into()), ..Flags::default() }).unwrap_err();
    assert!(error.to_string().contains("/nonexistent.toml"), "{error}");
}
