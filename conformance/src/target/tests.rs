// SPDX-License-Identifier: GPL-2.0-or-later
#![allow(clippy::panic, clippy::unwrap_used)]

use std::path::Path;

use wire::control::auth::Algorithm;

use super::*;

const SHIPPED: [(&str, &str); 3] = [
    ("ipv6mesh.toml", OURS),
    ("openlisp.toml", include_str!("../../targets/openlisp.toml")),
    ("oor.toml", include_str!("../../targets/oor.toml")),
];

const ELSEWHERE: &str = r#"name = "a box"
claims = ["proxy-reply", "hmac-sha-256"]

[map-system]
address = ["192.0.2.1", "[2001:db8::1]:4343"]
from = ["192.0.2.9"]

[map-system.sites]
count = 12
eid-prefix = "2001:db8:{number}::/48"
key = [{ key-id = 1, algorithm = "hmac-sha-256", secret = "secret {number}" }]

[[map-system.site]]
name = "ipv4"
eid-prefix = ["10.4.0.0/16"]
key = [{ algorithm = "hmac-sha-1", secret = "v4" }]
"#;

fn parse(text: &str) -> Result<Target, TargetError> {
    Target::parse(text, Path::new("t.toml"))
}

#[test]
fn the_target_files_that_ship_can_be_read() {
    for (name, text) in SHIPPED {
        let target = Target::parse(text, Path::new(name)).unwrap();
        assert!(target.map_system.is_some(), "{name}");
    }
    let ours = Target::ours();
    assert_eq!(ours.name, "ipv6mesh");
    assert!(ours.is_configured_by_suites() && Claim::ALL.iter().all(|(claim, ..)| ours.claims(*claim)));
}

/// What is copied by whoever has another program of these roles.
#[test]
fn the_example_has_the_roles_that_are_started_by_the_commands_of_others() {
    let example = parse(include_str!("../../targets/example.toml")).unwrap();
    let issuer = example.cgeid_issuer.as_ref().unwrap();
    assert!(issuer.make_ed25519.is_some() && issuer.verify.is_some() && issuer.open.is_some());
    let Some(DhtNode::Started(node)) = &example.dht_node else { panic!("{:?}", example.dht_node) };
    let Some(TunnelRouter::Started(router)) = &example.tunnel_router else { panic!("{:?}", example.tunnel_router) };
    let ddt = &example.ddt_node.as_ref().unwrap().start;
    let programs = [node.programs(), ddt.programs(), router.start.programs()].concat();
    assert_eq!(programs, ["CONFORMANCE_LISP_DHT", "CONFORMANCE_LISP_MAPSYS", "CONFORMANCE_LISP_XTR"]);
    let run = crate::suite::SUITES.iter().filter(|suite| example.stance(suite.name) == Stance::Run);
    let run: Vec<_> = run.map(|suite| suite.name).collect();
    assert_eq!(run, ["cgeid", "dht", "adversary", "ddt", "data-plane", "mobility"]);
}

#[test]
fn a_box_elsewhere_has_addresses_sites_and_keys() {
    let target = parse(ELSEWHERE).unwrap();
    assert!(target.claims(Claim::ProxyReply) && !target.claims(Claim::Ddt));
    let map_system = target.map_system.unwrap();
    let Means::Elsewhere { addresses, from, .. } = &map_system.means else { panic!("{map_system:?}") };
    let expected: Vec<std::net::SocketAddr> =
        vec!["192.0.2.1:4342".parse().unwrap(), "[2001:db8::1]:4343".parse().unwrap()];
    assert_eq!((addresses, from.len()), (&expected, 1));
    assert_eq!((map_system.numbered, map_system.sites.len()), (12, 13));
    let (twelfth, ipv4) = (&map_system.sites[11], &map_system.sites[12]);
    assert_eq!(twelfth.prefixes, ["2001:db8:c::/48".parse().unwrap()]);
    let key = Key { id: 1, algorithm: Algorithm::HmacSha256, secret: "secret 12".into() };
    assert_eq!(twelfth.keys, [key]);
    assert_eq!((ipv4.name.as_str(), ipv4.keys[0].id, ipv4.keys[0].algorithm), ("ipv4", 0, Algorithm::HmacSha1));
}

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    let cases: &[(&str, &str, usize, &str)] = &[
        ("name = \"a box\"", "name = \"\"", 1, "name: empty"),
        ("name = \"a box\"", "name = 3", 1, "string"),
        ("name = \"a box\"\n", "", 1, "name"),
        ("\"hmac-sha-256\"]", "\"telepathy\"]", 2, "telepathy"),
        ("\"hmac-sha-256\"]", "\"telepathy\"]", 2, "lisp-sec"),
        ("\"hmac-sha-256\"]", "\"proxy-reply\"]", 2, "twice"),
        ("[map-system]\n", "[map-sistem]\n", 4, "map-sistem"),
        ("address = [\"192.0.2.1\"", "adress = [\"192.0.2.1\"", 5, "adress"),
        ("\"192.0.2.1\"", "\"192.0.2.256\"", 5, "192.0.2.256"),
        ("address = [\"192.0.2.1\", \"[2001:db8::1]:4343\"]", "address = []", 5, "empty"),
        ("\"192.0.2.1\", ", "", 5, "none is of IPv4"),
        ("from = [\"192.0.2.9\"]", "configured-as = \"lisp-mapsys\"", 4, "exactly one"),
        ("from = [\"192.0.2.9\"]", "from = [\"here\"]", 6, "here"),
        ("count = 12", "count = 0", 9, "1 to"),
        ("count = 12", "count = 70000", 9, "u16"),
        ("db8:{number}::/48", "db8:1::/48", 10, "{number}"),
        ("db8:{number}::/48", "db8:{number}::1/48", 10, "not zero"),
        ("db8:{number}::/48", "db8:{number}::/64", 10, "48 bits"),
        ("\"hmac-sha-256\", secret", "\"md5\", secret", 11, "md5"),
        ("secret {number}", "", 11, "secret: empty"),
        ("10.4.0.0/16", "10.4.0.0/33", 15, "10.4.0.0/33"),
        ("10.4.0.0/16", "2001:db8:c::/48", 4, "another site's"),
        ("[{ algorithm = \"hmac-sha-1\", secret = \"v4\" }]", "[]", 16, "key: empty"),
        ("secret = \"v4\" }", "secret = \"v4\", colour = 1 }", 16, "colour"),
        ("claims = [", "claims = ", 2, ""),
    ];
    for (from, to, line, named) in cases {
        let text = ELSEWHERE.replacen(from, to, 1);
        assert_ne!(text, ELSEWHERE, "{from} is not there");
        let error = parse(&text).unwrap_err();
        assert_eq!(error.line, Some(*line), "{to}: {error}");
        assert!(error.to_string().starts_with(&format!("t.toml:{line}: ")) && error.problem.contains(named), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Target::read(Path::new("/nonexistent.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent.toml: "), "{error}");
}

#[test]
fn templates_of_sites_are_filled_in_and_unknown_placeholders_are_refused() {
    let text = r#"name = "started"
claims = []
[map-system.start]
command = ["cat", "{folder}/conf"]
[[map-system.start.file]]
name = "conf"
text = "at {address}\n{sites}end"
site = "site {name} {\n{prefixes}}\n"
prefix = "  {prefix} {secret}\n"
[map-system.sites]
count = 2
eid-prefix = "2001:db8:{number}::/48"
key = [{ algorithm = "hmac-sha-1", secret = "s{number}" }]
"#;
    let target = parse(text).unwrap();
    let map_system = target.map_system.unwrap();
    let Means::Started(start) = &map_system.means else { panic!("{map_system:?}") };
    let folder = tempfile::tempdir().unwrap();
    let values = template::Values::from([("address", "192.0.2.1".to_owned())]);
    let output = start.prepare(folder.path(), &values, &map_system.sites).unwrap().output().unwrap();
    let expected = "at 192.0.2.1\nsite 1 {\n  2001:db8:1::/48 s1\n}\nsite 2 {\n  2001:db8:2::/48 s2\n}\nend";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    for (from, to, line) in [("{folder}", "{floor}", 4), ("{address}", "{secret}", 7), ("{secret}", "{sites}", 9)] {
        let error = parse(&text.replacen(from, to, 1)).unwrap_err();
        assert!(error.line == Some(line) && error.problem.contains("no placeholder"), "{error}");
    }
    let error = parse(&text.replacen("name = \"conf\"", "name = \"../conf\"", 1)).unwrap_err();
    assert!(error.line == Some(6) && error.problem.contains("../conf"), "{error}");
}
