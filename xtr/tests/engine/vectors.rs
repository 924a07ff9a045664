// SPDX-License-Identifier: GPL-2.0-or-later
//! The byte-exact vectors of the control plane that speak to an ITR or an ETR, each judged by what the engines do with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::double::{Node, prefix};
use serde_json::Value;
use wire::address::EidPrefix;
use wire::control::Nonce;
use wire::control::auth::{Algorithm, AuthKey, Secret, TagForm};
use wire::record::Action;
use xtr::database::{Database, OwnLocator};
use xtr::engine::Config;
use xtr::map_cache::{Forwarding, Update};
use xtr::reach::Standing;
use xtr::refusal::Refusal;
use xtr::register::Server;
use xtr::transport::MapSystem;

/// Vectors of these roles that are judged elsewhere, and why.
const ELSEWHERE: [(&str, &str); 5] = [
    (
        "M12",
        "the kernel drops datagrams without UDP checksum over IPv6: `kernel.rs` shows it; over IPv4 nobody is told",
    ),
    ("M13", "the kernel drops datagrams with a wrong UDP checksum before any program sees them: `kernel.rs` shows it"),
    ("S03", "one-time keys of an ITR are drawn by chance: wire judges it, and an ETR makes it of S02"),
    ("S11", "as S03, with a bit flipped"),
    ("I02", "NAT traversal: wire judges the layout; an xTR that did not ask drops it, as here"),
];

/// What an ETR of 10.2.2.0/24 has to do with a Map-Request.
enum Answer {
    /// Map-Reply to the ITR-RLOC of all vectors, from port 4342 to this one.
    Reply {
        port: u16,
        probe: bool,
    },
    Refused(Refusal),
}

#[test]
fn every_control_vector_for_an_xtr_is_judged() {
    let mut wanted: BTreeSet<String> = vectors()
        .iter()
        .filter(|(id, (role, _))| !id.starts_with('D') && ["ITR", "ETR", "any"].contains(&role.as_str()))
        .map(|(id, _)| id.clone())
        .collect();
    let judged = [&ETR[..], &ITR[..], &REFUSED_BY_ALL.map(|(id, _)| id)[..], &NOTIFIES[..]].concat();
    for id in judged.iter().copied().chain(ELSEWHERE.iter().map(|(id, _)| *id)) {
        assert!(wanted.remove(id), "{id} is judged twice, or is not for an xTR");
    }
    assert!(wanted.is_empty(), "not judged: {wanted:?}");
}

const ETR: [&str; 11] = ["C01", "C04", "C07", "M01", "M02", "M03", "M04", "M05", "M06", "M29", "S02"];

#[test]
fn etr_vectors() {
    use Answer::{Refused, Reply};
    for id in ETR {
        let expected = match id {
            "C01" | "C07" | "M29" => Reply { port: 61000, probe: false },
            "C04" => Reply { port: 61000, probe: true },
            "M04" => Refused(Refusal::RequestNoItrRloc),
            "S02" => Refused(Refusal::EcmSecurity),
            _ => Refused(Refusal::Malformed),
        };
        let mut node = etr();
        node.bytes("192.0.2.1:61000", &bytes(id));
        let replies = node.replies();
        match expected {
            Refused(refusal) => {
                assert!(replies.is_empty(), "{id}");
                let refused = node.refused(refusal) + node.refused(Refusal::RequestWithoutRecord);
                assert_eq!((refused, node.control.tally().total()), (1, 1), "{id}: {}", refusal.name());
            }
            Reply { port, probe } => {
                let [(remote, reply)] = &replies[..] else { panic!("{id}: {} replies", replies.len()) };
                assert_eq!(*remote, format!("192.0.2.1:{port}").parse().unwrap(), "{id}");
                assert_eq!((reply.nonce, reply.probe), (Nonce(0x0011_2233_4455_6677), probe), "{id}");
                let record = &reply.records[0];
                assert!(record.authoritative, "{id}");
                let probed: Vec<_> = record.locators.iter().filter(|l| l.probed).filter_map(|l| l.rloc.ip()).collect();
                assert_eq!(probed.len(), usize::from(probe), "{id}");
            }
        }
        assert_eq!(node.updates(), [], "{id}: a request changes no mapping");
    }
}

/// LISP-SEC: what an ETR makes of a protected Map-Request.
#[test]
fn s02_is_answered_by_s03_octet_for_octet() {
    let key = AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new("lisp-test-psk-01") };
    let to = MapSystem::Node("203.0.113.10".parse().unwrap());
    let locator = OwnLocator::new("198.51.100.1".parse().unwrap(), 1, 100);
    let prefixes = vec![prefix("10.2.2.0/24")];
    let mut node = Node::from_config(Config {
        database: Database::new(prefixes.clone(), vec![locator], wire::record::Ttl::DEFAULT),
        cgeid_network: None,
        servers: vec![Server {
            to,
            key,
            tag: TagForm::Truncated,
            narrow_coverage: false,
            proxy_reply: false,
            identity: None,
            prefixes,
        }],
        resolvers: vec![],
        nonce_floor: Nonce(0x100),
        seed: [7; 32],
    });
    node.sent.clear();
    node.bytes("203.0.113.113:61000", &bytes("S02"));
    assert_eq!(node.sent.remove(0).2, bytes("S03"));
}

const REFUSED_BY_ALL: [(&str, Refusal); 4] = [
    ("X01", Refusal::UnknownType),
    ("M25", Refusal::UnknownType),
    ("M26", Refusal::UnknownType),
    ("M27", Refusal::Malformed),
];

#[test]
fn messages_of_no_known_kind_are_dropped_without_an_answer() {
    for (id, refusal) in REFUSED_BY_ALL {
        let mut node = etr();
        node.bytes("192.0.2.1:61000", &bytes(id));
        assert!(node.sent.is_empty(), "{id}");
        assert_eq!(node.refused(refusal), 1, "{id}");
    }
}

#[test]
fn an_info_reply_that_nobody_asked_for_is_dropped() {
    let mut node = etr();
    node.bytes("192.0.2.1:4342", &bytes("I02"));
    assert_eq!((node.sent.len(), node.refused(Refusal::NotForXtr)), (0, 1));
}

const ITR: [&str; 31] = [
    "C05", "C20", "C21", "C22", "C24", "C25", "C26", "C27", "C28", "C31", "L01", "L02", "L03", "L04", "L05", "L06",
    "L07", "L09", "L10", "L11", "M14", "M15", "M16", "M17", "M18", "M19", "M20", "M21", "M22", "M23", "M24",
];

/// What becomes of a Map-Reply that answers a request.
enum Outcome {
    /// These prefixes are installed, each with these locators.
    Maps(&'static [&'static str], &'static [&'static str]),
    /// This prefix is installed without locators.
    Negative(&'static str, Action),
    /// Packets wait, the question is repeated.
    AsksAgain,
    /// Nothing changes.
    Refused(Refusal),
}

fn outcome(id: &str) -> Outcome {
    use Outcome::{AsksAgain, Maps, Negative, Refused};
    const SITE: &[&str] = &["10.2.2.0/24"];
    match id {
        "C20" => Maps(SITE, &["198.51.100.1", "2001:db8:b::1"]),
        "M18" => Maps(SITE, &["2001:db8:b::1", "198.51.100.1"]),
        "M20" | "M24" => Maps(SITE, &["198.51.100.1"]),
        "C31" => Maps(&["2001:db8:1::/48", "2001:db8:1:1::/64", "2001:db8:1:2::/64"], &["2001:db8:b::1"]),
        "C22" => Negative("10.2.0.0/16", Action::NativelyForward),
        "C24" => Negative("10.2.2.2/32", Action::NoAction),
        "C25" => AsksAgain,
        "C26" => Negative("10.2.2.2/32", Action::DropNoReason),
        "C27" => Negative("10.2.2.2/32", Action::DropPolicyDenied),
        "C28" => Negative("10.2.2.2/32", Action::DropAuthFailure),
        // Locators that cannot be used are left out; none left is a mapping without locators (RFC 9306, section 3).
        "M19" | "L01" | "L02" | "L03" | "L04" | "L05" | "L06" | "L07" | "L09" | "L10" => {
            Negative("10.2.2.0/24", Action::NoAction)
        }
        // M16 says more to one that has probed, as `m16` shows.
        "C21" | "M15" | "M16" => Refused(Refusal::ReplyUnasked),
        "M21" => Refused(Refusal::RecordNotIp),
        "M14" => Refused(Refusal::ReplyProbeNotAuthoritative),
        "L11" | "M17" | "M22" | "M23" => Refused(Refusal::Malformed),
        _ => panic!("{id}"),
    }
}

#[test]
fn itr_vectors() {
    for id in ITR.into_iter().filter(|id| *id != "C05") {
        let mut node = itr();
        let asked = if id == "C31" { "2001:db8:1:5::5/128" } else { "10.2.2.2/32" };
        let (_, request) = node.miss(asked);
        // M15 is wrong in nothing but its nonce.
        let reply = if id == "M15" { bytes(id) } else { with_nonce(bytes(id), request.nonce) };
        node.bytes("203.0.113.53:4342", &reply);
        let updates = node.updates();
        match outcome(id) {
            Outcome::Refused(refusal) => {
                assert_eq!((updates, node.refused(refusal)), (vec![], 1), "{id}");
            }
            Outcome::AsksAgain => {
                assert_eq!(updates, [], "{id}");
                node.advance(crate::double::secs(1));
                assert_eq!(node.requests().len(), 1, "{id}");
            }
            Outcome::Negative(expected, action) => {
                let [Update::Upsert { prefix: installed, entry }] = &updates[..] else { panic!("{id}: {updates:?}") };
                assert_eq!(*installed, prefix(expected), "{id}");
                assert_eq!(entry.forwarding, Forwarding::Negative(action), "{id}");
            }
            Outcome::Maps(prefixes, locators) => {
                assert_eq!(installed_prefixes(&updates), prefixes.iter().map(|p| prefix(p)).collect(), "{id}");
                for update in &updates {
                    let Update::Upsert { entry, .. } = update else { panic!("{id}: {update:?}") };
                    let Forwarding::Locators(to) = &entry.forwarding else { panic!("{id}: {entry:?}") };
                    let addresses: Vec<_> = to.iter().map(|locator| locator.address.to_string()).collect();
                    assert_eq!(addresses, locators, "{id}");
                }
            }
        }
    }
}

#[test]
fn c20_lives_a_day_and_c22_a_quarter_of_an_hour() {
    for (id, seconds) in [("C20", 24 * 3600), ("C22", 900), ("C24", 60)] {
        let mut node = itr();
        let (_, request) = node.miss("10.2.2.2/32");
        node.bytes("203.0.113.53:4342", &with_nonce(bytes(id), request.nonce));
        assert_eq!(node.upsert().1.expires - node.now, crate::double::secs(seconds), "{id}");
    }
}

/// Of two p-bits the first counts (RFC 9301, section 5.4): what answers from elsewhere with the second one right proves nothing.
#[test]
fn m16_proves_the_locator_of_its_first_p_bit_only() {
    let (first, second) = ("198.51.100.1", "2001:db8:b::1");
    let mut node = itr();
    let (_, request) = node.miss("10.2.2.2/32");
    node.bytes("203.0.113.53:4342", &with_nonce(bytes("C20"), request.nonce));
    while node.probes.len() < 2 {
        node.run_to_deadline();
    }
    let mut stands = |rloc: &str| {
        let probe = node.probes.iter().position(|(_, to, _)| to.ip().to_string() == rloc).unwrap();
        let nonce = node.probes.remove(probe).2.nonce;
        node.bytes("198.51.100.77:4342", &with_nonce(bytes("M16"), nonce));
        let standing = node.control.probed_locators(node.now).find(|probed| probed.address.to_string() == rloc);
        (standing.unwrap().standing, node.refused(Refusal::ReplyProbeFromElsewhere))
    };
    assert_eq!(stands(first), (Standing::Up, 0));
    assert_eq!(stands(second), (Standing::Unproven, 1));
}

#[test]
fn c05_makes_an_itr_ask_the_mapping_system_if_it_has_a_mapping() {
    let mut node = itr();
    node.bytes("198.51.100.1:4342", &bytes("C05"));
    assert_eq!((node.sent.len(), node.refused(Refusal::SmrNotCached)), (0, 1));
    let (_, request) = node.miss("10.2.2.2/32");
    node.bytes("203.0.113.53:4342", &with_nonce(bytes("C20"), request.nonce));
    node.bytes("198.51.100.1:4342", &bytes("C05"));
    let requests = node.requests();
    let [(to, request)] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((to.as_str(), request.smr_invoked), ("203.0.113.53", true));
}

#[test]
fn a_vector_whose_nonce_is_not_outstanding_changes_nothing() {
    for id in ITR.into_iter().filter(|id| *id != "C05") {
        let mut node = itr();
        node.miss("10.2.2.2/32");
        node.bytes("203.0.113.53:4342", &bytes(id));
        assert_eq!((node.updates(), node.control.tally().total()), (vec![], 1), "{id}");
    }
}

const NOTIFIES: [&str; 2] = ["N01", "N02"];

#[test]
fn a_notify_stops_the_retransmission_under_the_right_key_only() {
    let cases = [
        ("N01", Algorithm::HmacSha256, &["10.2.2.0/24"][..]),
        ("N02", Algorithm::HkdfSha256, &["10.2.2.0/24", "2001:db8:1:2::/64"][..]),
    ];
    for (id, algorithm, prefixes) in cases {
        for (secret, stops) in [("lisp-test-psk-01", true), ("lisp-test-psk-02", false)] {
            let key = AuthKey { id: 1, algorithm, secret: Secret::new(secret) };
            let to = MapSystem::Node("203.0.113.10".parse().unwrap());
            let prefixes = prefixes.iter().map(|text| prefix(text)).collect();
            let mut node = registering(Server {
                to,
                key,
                tag: TagForm::Truncated,
                narrow_coverage: false,
                proxy_reply: true,
                identity: None,
                prefixes,
            });
            node.bytes("203.0.113.10:4342", &bytes(id));
            assert_eq!(node.refused(Refusal::NotifyBadTag), u64::from(!stops), "{id}");
            node.sent.clear();
            node.advance(crate::double::secs(59));
            assert_eq!(node.sent.is_empty(), stops, "{id}");
        }
    }
}

/// HMAC-SHA-256-128 over the records of N01 and what stands before them, with the I bit set: what it announces is not covered.
const NARROW: &str = "fa737e9cb68a7d43e89a49e769d7b33f";

#[test]
fn a_tag_that_leaves_out_the_end_of_the_message_is_taken_only_where_that_is_configured() {
    for narrow_coverage in [false, true] {
        let key = AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new("lisp-test-psk-01") };
        let server = Server {
            to: MapSystem::Node("203.0.113.10".parse().unwrap()),
            key,
            tag: TagForm::Truncated,
            narrow_coverage,
            proxy_reply: true,
            identity: None,
            prefixes: vec![prefix("10.2.2.0/24")],
        };
        let mut node = registering(server);
        let mut notify = bytes("N01");
        notify[0] |= 0x08;
        notify[16..32].copy_from_slice(&unhex(NARROW));
        notify.extend([7; 24]);
        node.bytes("203.0.113.10:4342", &notify);
        assert_eq!(node.refused(Refusal::NotifyBadTag), u64::from(!narrow_coverage));
        node.sent.clear();
        node.advance(crate::double::secs(59));
        assert_eq!(node.sent.is_empty(), narrow_coverage);
    }
}

#[test]
fn n01_is_acknowledged_by_n03_when_it_answers_no_register() {
    let key = AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new("lisp-test-psk-01") };
    let to = MapSystem::Node("203.0.113.10".parse().unwrap());
    let prefixes = vec![prefix("10.2.2.0/24")];
    let mut node = Node::from_config(Config {
        database: Database::new(prefixes.clone(), vec![], wire::record::Ttl::DEFAULT),
        cgeid_network: None,
        servers: vec![Server {
            to,
            key,
            tag: TagForm::Truncated,
            narrow_coverage: false,
            proxy_reply: true,
            identity: None,
            prefixes,
        }],
        resolvers: vec![],
        nonce_floor: Nonce(0x200),
        seed: [7; 32],
    });
    let locator = OwnLocator::new("198.51.100.1".parse().unwrap(), 1, 100);
    node.input(xtr::engine::Input::Locators(vec![locator]));
    node.sent.clear();
    node.bytes("203.0.113.10:4342", &bytes("N01"));
    assert_eq!(node.sent.remove(0).2, bytes("N03"));
}

// --- the two nodes of the vectors

fn itr() -> Node {
    Node::new(&["10.1.1.0/24"], &["192.0.2.1", "2001:db8:a::1"], vec![], vec![resolver()])
}

fn etr() -> Node {
    etr_at(&["198.51.100.1", "2001:db8:b::1"], vec![])
}

/// Registers with nonces from 0x101 on, as the vectors have them, and with the locator that all of their records have.
fn registering(server: Server) -> Node {
    etr_at(&["198.51.100.1"], vec![server])
}

fn etr_at(rlocs: &[&str], servers: Vec<Server>) -> Node {
    let locator = |text: &&str| OwnLocator::new(text.parse().unwrap(), 1, 50);
    let prefixes = vec![prefix("10.2.2.0/24"), prefix("2001:db8:1:2::/64")];
    Node::from_config(Config {
        database: Database::new(prefixes, rlocs.iter().map(locator).collect(), wire::record::Ttl::DEFAULT),
        cgeid_network: None,
        servers,
        resolvers: vec![resolver()],
        nonce_floor: Nonce(0x100),
        seed: [7; 32],
    })
}

fn resolver() -> MapSystem {
    MapSystem::Node("203.0.113.53".parse().unwrap())
}

fn installed_prefixes(updates: &[Update]) -> BTreeSet<EidPrefix> {
    let prefix = |update: &Update| match update {
        Update::Upsert { prefix, .. } => *prefix,
        other => panic!("{other:?}"),
    };
    updates.iter().map(prefix).collect()
}

/// The octets after the first word of a Map-Reply are its nonce.
fn with_nonce(mut bytes: Vec<u8>, nonce: Nonce) -> Vec<u8> {
    bytes[4..12].copy_from_slice(&nonce.0.to_be_bytes());
    bytes
}

fn bytes(id: &str) -> Vec<u8> {
    vectors().remove(id).unwrap().1
}

fn vectors() -> BTreeMap<String, (String, Vec<u8>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/vectors/vectors.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let text = |vector: &Value, key: &str| vector[key].as_str().unwrap().to_owned();
    let vector = |vector: &Value| (text(vector, "id"), (text(vector, "role"), unhex(&text(vector, "lisp"))));
    all["vectors"].as_array().unwrap().iter().map(vector).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|index| u8::from_str_radix(&text[index..index + 2], 16).unwrap()).collect()
}
