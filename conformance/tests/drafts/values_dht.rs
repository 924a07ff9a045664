// SPDX-License-Identifier: GPL-2.0-or-later
//! The draft of the mapping system and the code agree: each table of the draft, row by row, and each value that its text names. The
//! values of Map-Servers and tunnel routers are held against theirs in `mapsys` and `xtr`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::draft::{Draft, Row, counts, lasts, octets, time};
use cgeid::{Cn, Network, SignatureAlgorithm};
use dht::admit::judge;
use dht::limits;
use dht::record::{Class, Entry, Index, Medium, RecordKey, Rloc, RlocFlags, Roles, Source, Target};
use dht::shell::limits as node;
use dht::shell::names;
use wire::address::{EidPrefix, InstanceId};

fn row<const N: usize>(cells: [&str; N]) -> Row {
    cells.iter().map(ToString::to_string).collect()
}

fn prefix(text: &str) -> EidPrefix {
    let (address, length) = text.split_once('/').unwrap();
    EidPrefix::new(InstanceId(0), address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

fn hold(anchor: &str, expected: &[Row]) {
    let draft = Draft::signed_dht();
    let table = draft.table(anchor);
    for (said, coded) in table.iter().zip(expected) {
        assert_eq!(said, coded, "table {anchor}: the draft's row, and the code's");
    }
    assert_eq!(table.len(), expected.len(), "rows of table {anchor}");
}

#[test]
fn the_types_of_keys_are_those_of_the_code() {
    let (cn, whole) = (Cn([7; 12]), prefix("2001:db8::/32"));
    let keys = [
        ("C", RecordKey::node(Network::LAB, cn)),
        ("P", RecordKey::prefix(Network::LAB, cn, whole)),
        ("I", RecordKey::index(Network::LAB, cn, whole)),
    ];
    let table = Draft::signed_dht().table("keys");
    assert_eq!(table.len(), keys.len());
    for ((letter, key), row) in keys.iter().zip(&table) {
        let octet = key.encode()[4];
        assert_eq!((row[0].as_str(), row[1].clone()), (*letter, format!("0x{octet:02x}")));
        assert_eq!(char::from(octet).to_string(), *letter);
    }
}

#[test]
fn classes_have_the_sizes_and_lifetimes_of_the_code() {
    let keys = |class| match class {
        Class::Identity => "C, P, I",
        Class::Prefix => "P",
        Class::Index => "I",
        _ => "C",
    };
    let of = |class: Class| {
        let name = format!("{class:?}").to_uppercase();
        let [lifetime, _] = time(class.max_lifetime());
        vec![class.number().to_string(), name, class.max_size().to_string(), lifetime, keys(class).to_owned()]
    };
    hold("classes", &Class::ALL.map(of));
}

#[test]
fn signature_algorithms_are_those_of_the_code() {
    let table = Draft::signed_dht().table("algorithms");
    let numbers: Vec<SignatureAlgorithm> = (0..=u16::MAX).filter_map(SignatureAlgorithm::from_number).collect();
    let said: Vec<_> = table.iter().map(|row| (row[0].clone(), row[2].clone())).collect();
    let coded: Vec<_> =
        numbers.iter().map(|known| (known.number().to_string(), known.signature_length().to_string())).collect();
    assert_eq!(said, coded);
}

#[test]
fn flags_of_a_locator_have_the_bits_of_the_code() {
    let none = RlocFlags::default();
    let coded = [
        ("L", RlocFlags { local: true, ..none }),
        ("R", RlocFlags { reachable: true, ..none }),
        ("D", RlocFlags { direct: true, ..none }),
        ("N", RlocFlags { nat: true, ..none }),
        ("T", RlocFlags { rtr: true, ..none }),
    ];
    let table = Draft::signed_dht().table("rloc");
    assert_eq!(table.len(), coded.len());
    for ((name, flags), row) in coded.into_iter().zip(&table) {
        let rloc = Rloc {
            priority: 1,
            weight: 2,
            mpriority: 3,
            mweight: 4,
            flags,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
        };
        let mapping = dht::record::Mapping::new([rloc], wire::record::Ttl(60));
        let body = body(dht::record::Body::Mapping(mapping));
        // Type, length, four octets, flags.
        assert_eq!(body[..2], [2, 1]);
        let bits = u16::from_be_bytes([body[8], body[9]]);
        assert_eq!((row[0].clone(), row[1].as_str()), (format!("{bits:#06x}"), name));
    }
}

/// The body of a section that nobody signed.
fn body(of: dht::record::Body) -> Vec<u8> {
    let section = dht::record::Section {
        flags: dht::record::Flags::default(),
        cn: Cn([0; 12]),
        version: dht::record::Version::default(),
        lifetime: std::time::Duration::ZERO,
        body: of,
        algorithm: SignatureAlgorithm::Ed25519,
        signature: Box::default(),
    };
    let octets = section.encode().unwrap();
    // Forty octets of header before it, two of the signature's length behind it.
    octets[40..octets.len() - 2].to_vec()
}

#[test]
fn roles_have_the_bits_of_the_code() {
    let table = Draft::signed_dht().table("roles");
    let bits: Vec<String> = Roles::NAMES.iter().map(|(_, role)| format!("{:#06x}", role.0)).collect();
    assert_eq!(table.iter().map(|row| row[0].clone()).collect::<Vec<_>>(), bits);
    let words =
        ["bootstrap node", "Map-Resolver", "Map-Server", "Proxy-ITR", "Proxy-ETR", "RTR", "onion relay", "DNS server"];
    assert_eq!(table.iter().map(|row| row[1].as_str()).collect::<Vec<_>>(), words);
}

#[test]
fn media_and_sources_have_the_numbers_of_the_code() {
    let media = [Medium::UNKNOWN, Medium::WIRE, Medium::FIBRE, Medium::RADIO, Medium::LASER, Medium::TUNNEL];
    let sources = [Source::UNKNOWN, Source::CONFIGURED, Source::GNSS];
    let coded: Vec<_> = (media.iter().map(|medium| ("Medium", medium.0)))
        .chain(sources.iter().map(|source| ("Source", source.0)))
        .map(|(field, number)| (field.to_owned(), number.to_string()))
        .collect();
    let table = Draft::signed_dht().table("media");
    assert_eq!(table.iter().map(|row| (row[0].clone(), row[1].clone())).collect::<Vec<_>>(), coded);
}

#[test]
fn kinds_of_index_entries_have_the_numbers_of_the_code() {
    let site = Target::Site { registrars: [Cn([1; 12])].into(), max_plen: 48 };
    let targets = [
        ("SITE", site),
        ("DELEG", Target::Delegation { child: Cn([1; 12]), lowest: 1 }),
        ("PAGE", Target::Page { lowest: 1 }),
    ];
    let table = Draft::signed_dht().table("kinds");
    assert_eq!(table.len(), targets.len());
    for ((name, target), row) in targets.into_iter().zip(&table) {
        let names = match &target {
            Target::Page { .. } => 0,
            _ => 12,
        };
        let page =
            Index::new(prefix("2001:db8::/32"), vec![Entry { prefix: prefix("2001:db8:a::/48"), target }]).unwrap();
        let body = body(dht::record::Body::Index(page));
        // The element of the covering prefix, the head of the next, the count of CNs, and the CNs.
        let head = body[4 + 11 + 4 + 1 + names];
        assert_eq!((row[0].clone(), row[1].as_str()), ((head >> 6).to_string(), name));
    }
}

#[test]
fn answers_to_presentations_have_the_codes_and_names_of_the_code() {
    let known: Vec<_> = (0..=u8::MAX).filter(|code| judge::name(*code) != "unknown").collect();
    let table = Draft::signed_dht().table("admit");
    let said: Vec<_> = table.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let coded: Vec<_> = known.iter().map(|code| (code.to_string(), judge::name(*code).to_owned())).collect();
    assert_eq!(said, coded);
}

#[test]
fn names_ports_and_groups_are_those_of_the_code() {
    hold(
        "names",
        &[
            row(["Kademlia protocol", names::KADEMLIA]),
            row(["admission protocol", names::ADMISSION]),
            row(["protocol version in identify", names::IDENTIFY]),
            row(["UDP port of the DHT", &node::PORT.to_string()]),
            row(["UDP port of Hellos", &node::HELLO_PORT.to_string()]),
            row(["IPv4 group of Hellos", &IpAddr::from(node::HELLO_GROUP_V4).to_string()]),
            row(["IPv6 group of Hellos", &IpAddr::from(node::HELLO_GROUP_V6).to_string()]),
        ],
    );
}

#[test]
fn values_of_the_format_are_those_of_the_code() {
    assert_eq!(cgeid::limits::CLOCK_SKEW, limits::CLOCK_SKEW, "one value in all crates");
    hold(
        "records",
        &[
            octets("BUNDLE_SIZE", limits::BUNDLE_SIZE),
            lasts("CLOCK_SKEW", limits::CLOCK_SKEW),
            lasts("REVOCATION_LIFETIME", limits::REVOCATION_LIFETIME),
            counts("LOCATORS", limits::LOCATORS),
            counts("XTR_IDS", limits::XTR_IDS),
            counts("MAP_SERVERS", limits::MAP_SERVERS),
            counts("OPERATIONAL_CERTIFICATES", limits::OPERATIONAL_CERTIFICATES),
            counts("REGISTRARS", limits::REGISTRARS),
            counts("PAGE_DEPTH", limits::PAGE_DEPTH),
            counts("NEIGHBOURS", limits::NEIGHBOURS),
            counts("TERMINALS", limits::TERMINALS),
            counts("PUBLIC_ADDRESSES", limits::PUBLIC_ADDRESSES),
            counts("ALTERNATES", limits::ALTERNATES),
            counts("PREF64", limits::PREF64),
            octets("PRESENTATION", limits::PRESENTATION),
        ],
    );
}

#[test]
fn values_of_stores_are_those_of_the_code() {
    hold(
        "store",
        &[
            lasts("MARK_RETENTION", limits::MARK_RETENTION),
            counts("QUOTA_BURST", limits::QUOTA_BURST),
            lasts("QUOTA_PERIOD", limits::QUOTA_PERIOD),
            counts("STORE_BUNDLES", limits::STORE_BUNDLES),
            octets("BUNDLE_SHARE", limits::BUNDLE_SHARE),
            counts("BLOCK_PART", limits::BLOCK_PART),
            counts("PROVIDER_PART", limits::PROVIDER_PART),
            counts("MEMBERS_PART", limits::MEMBERS_PART),
            counts("MEMBERS_PROVIDER_PART", limits::MEMBERS_PROVIDER_PART),
            counts("REGION", node::REGION),
        ],
    );
}

#[test]
fn values_of_readers_are_those_of_the_code() {
    hold(
        "readers",
        &[
            counts("VALUES", limits::VALUES),
            counts("ANCHORS_OF_ONE", limits::ANCHORS_OF_ONE),
            counts("WITHDRAWN_CANDIDATES", limits::WITHDRAWN_CANDIDATES),
            lasts("PAGE_LIFE", limits::PAGE_LIFE),
            lasts("LIVE_PAGE_LIFE", limits::LIVE_PAGE_LIFE),
            counts("PAGE_MARKS", limits::PAGE_MARKS),
            lasts("PIN_REST", cgeid::limits::PIN_REST),
            lasts("LIVE_INDEX_LIFETIME", limits::LIVE_INDEX_LIFETIME),
            lasts("INDEX_RENEWAL", limits::INDEX_RENEWAL),
            lasts("RETIREMENT", limits::RETIREMENT),
        ],
    );
}

#[test]
fn values_of_publishing_places_and_hand_over_are_those_of_the_code() {
    hold(
        "engines",
        &[
            lasts("ANNOUNCE_INTERVAL", limits::ANNOUNCE_INTERVAL),
            lasts("ANNOUNCE_PAUSE", limits::ANNOUNCE_PAUSE),
            lasts("ANNOUNCE_RETRY", limits::ANNOUNCE_RETRY),
            lasts("RESIGN_TOPOLOGY", limits::RESIGN_TOPOLOGY),
            lasts("RESIGN_SERVICE", limits::RESIGN_SERVICE),
            counts("CLOCK_BLOCKS", limits::CLOCK_BLOCKS),
            lasts("CLOCK_ANSWER", limits::CLOCK_ANSWER),
            lasts("CLOCK_GONE", limits::CLOCK_GONE),
            lasts("CLOCK_AGE", limits::CLOCK_AGE),
            counts("BUCKET_PER_BLOCK", limits::BUCKET_PER_BLOCK),
            counts("BUCKET_PER_PROVIDER", limits::BUCKET_PER_PROVIDER),
            counts("WITNESSES", limits::WITNESSES),
            counts("REPLICAS", limits::REPLICAS),
            counts("REGION_NODES", limits::REGION_NODES),
            counts("PER_BLOCK", limits::PER_BLOCK),
            counts("PER_PROVIDER", limits::PER_PROVIDER),
            counts("SIZE_SAMPLES", limits::SIZE_SAMPLES),
            counts("SIZE_SAMPLES_LEAST", limits::SIZE_SAMPLES_LEAST),
            counts("HANDOVER_RECORDS", limits::HANDOVER_RECORDS),
            counts("HANDOVER_SENDERS", limits::HANDOVER_SENDERS),
            lasts("HANDOVER_WAIT", limits::HANDOVER_WAIT),
            lasts("HANDOVER_RETRY", limits::HANDOVER_RETRY),
            counts("HANDOVER_ATTEMPTS", limits::HANDOVER_ATTEMPTS),
            counts("HANDOVER_BUSY", limits::HANDOVER_BUSY),
            lasts("HANDOVER_WITHIN", limits::HANDOVER_WITHIN),
            counts("HANDOVER_RATE_LEAST", limits::HANDOVER_RATE_LEAST),
            counts("HANDOVER_RATE_MOST", limits::HANDOVER_RATE_MOST),
            counts("HANDOVER_IN_FLIGHT", limits::HANDOVER_IN_FLIGHT),
            lasts("REPAIR_INTERVAL", limits::REPAIR_INTERVAL),
            lasts("REPAIR_LASTING", limits::REPAIR_LASTING),
            lasts("MEETING", limits::MEETING),
            lasts("MEETING_WAIT", limits::MEETING_WAIT),
            counts("RIM", limits::RIM),
        ],
    );
}

#[test]
fn values_of_nodes_are_those_of_the_code() {
    hold(
        "node",
        &[
            counts("PATHS", node::PATHS),
            lasts("GET", node::GET),
            counts("UNREACHABLE_BLOCKS", node::UNREACHABLE_BLOCKS),
            counts("UNPROVEN_HANDSHAKES", node::UNPROVEN_HANDSHAKES),
            lasts("PRESENTATION_TIME", node::PRESENTATION_TIME),
            counts("PRESENTATIONS", node::PRESENTATIONS),
            counts("CONNECTIONS", node::CONNECTIONS),
            counts("CONNECTIONS_INCOMING", node::CONNECTIONS_INCOMING),
            counts("INCOMING_PER_BLOCK", node::INCOMING_PER_BLOCK),
            counts("PENDING_INCOMING", node::PENDING_INCOMING),
            counts("PENDING_PER_BLOCK", node::PENDING_PER_BLOCK),
            counts("NEAREST", node::NEAREST),
            lasts("CONNECTION_UNUSED", node::CONNECTION_UNUSED),
            counts("PUT_TOKENS", node::PUT_TOKENS),
            counts("REQUESTS_OF_BLOCK", node::REQUESTS_OF_BLOCK),
            counts("REQUESTS_OF_PROVIDER", node::REQUESTS_OF_PROVIDER),
            counts("REQUESTS_OF_ALL", node::REQUESTS_OF_ALL),
            lasts("REQUESTS_SAVED", node::REQUESTS_SAVED),
            counts("REQUESTS_REFUSED", node::REQUESTS_REFUSED),
            lasts("REQUESTS_SHUT", node::REQUESTS_SHUT),
            counts("KEPT_PEERS", node::KEPT_PEERS),
            lasts("REDIAL_FIRST", node::REDIAL_FIRST),
            lasts("REDIAL_LAST", node::REDIAL_LAST),
            counts("HELLO_ADDRESSES", node::HELLO_ADDRESSES),
            lasts("HELLO_INTERVAL", node::HELLO_INTERVAL),
            lasts("HELLO_ANSWER", node::HELLO_ANSWER),
            lasts("HELLO_PAUSE", node::HELLO_PAUSE),
            counts("HELLO_DIALS", node::HELLO_DIALS),
            lasts("HELLO_DIALS_TIME", node::HELLO_DIALS_TIME),
        ],
    );
}

/// The tables that some test holds against code: here, with the vectors, in `mapsys`, in `xtr`, or of others' numbers.
const HELD: [&str; 20] = [
    "admit",
    "algorithms",
    "classes",
    "contexts",
    "engines",
    "keys",
    "kinds",
    "mapsys",
    "media",
    "names",
    "negative",
    "node",
    "readers",
    "records",
    "rloc",
    "roles",
    "store",
    "threats",
    "tlv",
    "xtr",
];

#[test]
fn no_table_is_held_against_nothing() {
    let tables = Draft::signed_dht().tables();
    let unknown: Vec<_> = tables.keys().filter(|anchor| !HELD.contains(&anchor.as_str())).collect();
    assert_eq!(unknown, [] as [&String; 0]);
}

#[test]
fn the_text_names_values_as_the_tables_have_them() {
    let draft = Draft::signed_dht();
    let flat = draft.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut named = BTreeSet::new();
    for (name, value) in draft.values() {
        for (at, _) in flat.match_indices(&format!("{name} (")) {
            // Not the end of a longer name.
            if flat[..at].ends_with(|letter: char| letter.is_ascii_uppercase() || letter == '_') {
                continue;
            }
            let written = flat[at + name.len() + 2..].split(')').next().unwrap_or_default();
            if written.starts_with(|letter: char| letter.is_ascii_digit()) {
                assert_eq!(written, value, "{name} in the text, and in its table");
                named.insert(name.clone());
            }
        }
    }
    assert!(named.len() > 60, "the text names {} values", named.len());
}

#[test]
fn the_sections_that_suites_cite_are_there() {
    let draft = Draft::signed_dht();
    let sections = draft.sections();
    let mut cited = 0;
    for listed in conformance::suite::SUITES.iter().flat_map(|suite| (suite.list)().unwrap()) {
        if let Some(section) = listed.clause.strip_prefix("lisp-signed-dht ") {
            assert!(sections.contains(section), "{}: there is no section {section}", listed.id);
            cited += 1;
        }
    }
    assert!(cited > 200, "{cited} checks cite the draft");
}
