// SPDX-License-Identifier: GPL-2.0-or-later
//! The test vectors of the mapping system: `vectors/signed-dht.json` is what the code makes, it verifies, and the appendix of the draft
//! is made from it. With UPDATE=1 in the environment both are written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::draft::Draft;
use cgeid::{Identity, Network, OperationalKey, Reason, Revocation, puzzle};
use conformance::vectors::from_hex;
use dht::admit::{Answer, Ends, Kind, NetworkKey, Presentation, Rules, judge, present};
use dht::geo::Position;
use dht::publish::{self, PageKind, Publication, Sequence, Statement};
use dht::record::{
    Bundle, Centimetres, CertificateCache, Class, Entry, Geo, HostName, Index, Loss, Mapping, Medium, Neighbour,
    Pointing, Pref64, Prefix, Quality, Rate, RecordKey, Rloc, RlocFlags, Roles, Section, Service, SessionKey, Site,
    Source, Target, Terminal, Topology, verify,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{Algorithm, AuthKey, Secret, TagForm, seal};
use wire::control::{ControlMessage, message_type};
use wire::record::{MapVersion, Ttl};

/// 2027-01-15T08:00:00Z.
const NOW: u64 = 1_800_000_000;
/// Private key that was searched for: its public key solves the puzzle of public networks in the epoch of the vectors.
const SOLVED: [u8; 32] = {
    let mut seed = [0; 32];
    [seed[30], seed[31]] = 45_052_u16.to_be_bytes();
    seed
};
/// Hexadecimal digits of a line.
const LINE: usize = 64;

/// One value, and what it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Vector {
    id: String,
    about: String,
    value: String,
}

/// Vectors that belong together.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    title: String,
    vectors: Vec<Vector>,
}

struct Maker {
    now: SystemTime,
    writer: Identity,
    key: OperationalKey,
    other: Identity,
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn vector(id: &str, about: impl Into<String>, value: impl Into<String>) -> Vector {
    Vector { id: id.to_owned(), about: about.into(), value: value.into() }
}

fn prefix_in(iid: u32, text: &str) -> EidPrefix {
    let (address, length) = text.split_once('/').unwrap();
    EidPrefix::new(InstanceId(iid), address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

impl Maker {
    /// Two temporary identities, whose certificates and operational keys are functions of seed and day.
    fn new() -> Self {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let writer = Identity::temporary_from_seed(&[1; 32], Network::LAB, now).unwrap();
        let other = Identity::temporary_from_seed(&[2; 32], Network::LAB, now).unwrap();
        let key = writer.delegate(now, 0).unwrap();
        Self { now, writer, key, other }
    }

    fn mapping(&self) -> Mapping {
        let near = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
        let behind = RlocFlags { reachable: true, nat: true, ..RlocFlags::default() };
        let (v4, v6) = (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into());
        let first = Rloc { priority: 1, weight: 100, mpriority: 255, mweight: 0, flags: near, address: v4, port: 0 };
        let second =
            Rloc { priority: 2, weight: 50, mpriority: 255, mweight: 0, flags: behind, address: v6, port: 4341 };
        Mapping {
            map_version: Some(MapVersion(7)),
            session_key: Some(SessionKey { suite: 1, public: [0x58; 32] }),
            ..Mapping::new([first, second], Ttl(1440))
        }
    }

    fn topology(&self) -> Topology {
        let position = Position::new(525_200_080, 134_049_540, Some(3457)).unwrap();
        let neighbour = Neighbour { cn: self.other.cn(), medium: Medium::RADIO };
        let quality = Quality { metric: 256, loss: Loss(50), rate: Rate(54_000) };
        let pointing = Pointing::new(27_150, 40, 1500).unwrap();
        let terminal =
            Terminal { medium: Medium::LASER, position, error: Centimetres(5), frequency: 193_000_000_000, pointing };
        Topology {
            neighbours: [(neighbour, quality)].into(),
            geo: Some(Geo { position, error: Centimetres(30_000), source: Source::GNSS }),
            terminals: [(1, terminal)].into(),
            unknown: Vec::new(),
        }
    }

    fn service(&self) -> Service {
        Service {
            addresses: [((Ipv4Addr::new(192, 0, 2, 1).into(), 43420), Roles::BOOT.with(Roles::MAP_RESOLVER))].into(),
            alternates: [self.other.cn()].into(),
            pref64: [Pref64::new("2001:db8:64::/96".parse().unwrap()).unwrap()].into(),
            ptr: Some("host.example".parse::<HostName>().unwrap()),
            unknown: Vec::new(),
        }
    }

    fn prefix(&self) -> Prefix {
        let site = Site { proxy: true, site_id: 7, xtr_ids: [[9; 16]].into() };
        let map_servers = [Ipv4Addr::new(192, 0, 2, 53).into()].into();
        let mapping = Mapping { session_key: None, map_version: None, ..self.mapping() };
        Prefix { prefix: prefix_in(0, "2001:db8:a::/48"), mapping, site, map_servers }
    }

    fn page(&self) -> Index {
        let site = Target::Site { registrars: [self.key.cn(), self.other.cn()].into(), max_plen: 56 };
        let entry = |text: &str, target| Entry { prefix: prefix_in(0, text), target };
        let entries = vec![
            entry("2001:db8:a::/48", site),
            entry("2001:db8:4000::/34", Target::Delegation { child: self.other.cn(), lowest: NOW * 1000 }),
            entry("2001:db8:8000::/33", Target::Page { lowest: NOW * 1000 }),
        ];
        Index::new(prefix_in(0, "2001:db8::/32"), entries).unwrap()
    }

    fn publications(&self) -> [(&'static str, Publication); 4] {
        let (key, network, now) = (&self.key, Network::LAB, self.now);
        let mut sequence = Sequence::default();
        let own = vec![
            Statement::mapping(self.mapping()),
            Statement::topology(self.topology()),
            Statement::service(self.service()),
        ];
        let node = publish::node(key, network, own, now, &mut sequence).unwrap();
        let prefix = publish::prefix(key, network, self.prefix(), now, &mut sequence).unwrap();
        let page = publish::index(key, network, self.page(), PageKind::Delegations, now, &mut sequence).unwrap();
        let word = Revocation::issue(&self.writer, Reason::KEY_COMPROMISE, now).unwrap();
        [("C", node), ("P", prefix), ("I", page), ("R", publish::revocation(&word).unwrap())]
    }

    fn groups(&self) -> Vec<Group> {
        let titles = [
            "Identity",
            "Keys of the DHT",
            "Records",
            "Admission and the puzzle",
            "Messages of nodes",
            "Control plane",
        ];
        let all = [self.identity(), self.keys(), self.records(), self.admission(), self.messages(), control_plane()];
        titles.into_iter().zip(all).map(|(title, vectors)| Group { title: title.to_owned(), vectors }).collect()
    }

    fn identity(&self) -> Vec<Vector> {
        vec![
            vector("ID.seed", "Private Ed25519 key of the writer's identity, a temporary one", hex(&[1; 32])),
            vector("ID.cn", "Its CN", self.key.cn().to_string()),
            vector("ID.address", "Its CGEID in the network 3fff:ce1::/32", self.key.address().to_string()),
            vector("ID.certificate", "Identity certificate", hex(self.key.identity_certificate_der())),
            vector("ID.op-seed", "Private Ed25519 key of its operational key", hex(&*self.key.ed25519_seed())),
            vector("ID.op-epoch", "Epoch of the operational key", self.key.epoch().to_string()),
            vector("ID.op-certificate", "Operational certificate", hex(self.key.certificate_der())),
        ]
    }

    fn keys(&self) -> Vec<Vector> {
        let (network, cn) = (Network::LAB, self.key.cn());
        let named = [
            ("C", "the writer's own bundle", RecordKey::node(network, cn)),
            ("P", "prefix 2001:db8:a::/48", RecordKey::prefix(network, cn, prefix_in(0, "2001:db8:a::/48"))),
            ("P4", "prefix 192.0.2.0/25 in instance 7", RecordKey::prefix(network, cn, prefix_in(7, "192.0.2.0/25"))),
            ("I", "index page of 2001:db8::/32", RecordKey::index(network, cn, prefix_in(0, "2001:db8::/32"))),
        ];
        let both = |(id, about, key): (&str, &str, RecordKey)| {
            [
                vector(&format!("KEY.{id}"), format!("Key: {about}"), hex(&key.encode())),
                vector(&format!("PLACE.{id}"), "Its place", hex(&key.point())),
            ]
        };
        named.into_iter().flat_map(both).collect()
    }

    fn records(&self) -> Vec<Vector> {
        let mut vectors = Vec::new();
        let time = format!("Time at which all of these verify, in seconds since 1970: {NOW}");
        vectors.push(vector("REC.time", time, NOW.to_string()));
        for (name, publication) in self.publications() {
            let bundle = Bundle::decode(&publication.value).unwrap();
            for section in bundle.sections() {
                let class = format!("{:?}", section.class()).to_uppercase();
                let id = format!("REC.{name}.{class}");
                if section.class() == Class::Mapping {
                    let signed = section.signed_bytes(&publication.key).unwrap();
                    vectors.push(vector(
                        "REC.C.MAPPING.signed",
                        "What the signature of the next one is over",
                        hex(&signed),
                    ));
                }
                let about = format!("Section {class} under {}", shown(name));
                vectors.push(vector(&id, about, hex(&section.encode().unwrap())));
            }
        }
        vectors
    }

    fn admission(&self) -> Vec<Vector> {
        let (spki, epoch) = (self.key.certificate().key().spki().to_vec(), self.key.epoch());
        let inner = Sha512::digest([&spki[..], &epoch.to_be_bytes()].concat());
        let bits = puzzle::zero_bits(self.key.certificate().key(), epoch);
        let solver = Identity::from_seed(&SOLVED, Network::LAB, self.now).unwrap();
        let solved = [solver.certificate().key().spki(), &epoch.to_be_bytes()].concat();
        let own = judge::node_id(&self.key.certificate().key().ed25519().unwrap());
        let peer = judge::node_id(&self.other.delegate(self.now, 0).unwrap().certificate().key().ed25519().unwrap());
        let secret = [0xa5, 0x5a].repeat(16);
        let network_key = NetworkKey::new(secret.clone().try_into().unwrap()).unwrap();
        let rules = Rules { key: Some(network_key), ..Rules::default() };
        let ends = Ends { from: &own, to: &peer };
        let said = present(&rules, Kind::Client, None, ends, self.now);
        let answer = Answer { code: Answer::WELCOME, time: said.time };
        vec![
            vector("ADM.peer-id", "Peer ID of the operational key", hex(&own)),
            vector("ADM.puzzle", "SHA-512 of SHA-512 of SubjectPublicKeyInfo and epoch", hex(&Sha512::digest(inner))),
            vector("ADM.bits", "Zero bits that it begins with", bits.to_string()),
            vector(
                "ADM.solved-seed",
                "Private Ed25519 key that solves the puzzle of 16 bits in that epoch",
                hex(&SOLVED),
            ),
            vector("ADM.solved", "The same hash of its key", hex(&Sha512::digest(Sha512::digest(solved)))),
            vector("ADM.to", "Peer ID of the receiver", hex(&peer)),
            vector("ADM.secret", "Secret of a closed network", hex(&secret)),
            vector("ADM.presentation", "Presentation of a client in it", hex(&said.encode())),
            vector("ADM.answer", "Answer: welcome", hex(&answer.encode())),
        ]
    }

    /// Written by the figures of the draft, and read by the code: in `dht`, where it is.
    fn messages(&self) -> Vec<Vector> {
        let own = judge::node_id(&self.key.certificate().key().ed25519().unwrap());
        let [.., (_, revocation)] = self.publications();
        let key = revocation.key.encode();
        let put = |more: &[u8]| {
            let record = [&field(&[0x0a], &key)[..], &field(&[0x12], &revocation.value), more].concat();
            kademlia(&[&field(&[0x12], &key)[..], &field(&[0x1a], &record)].concat())
        };
        let get = kademlia(&[&[0x08, 1][..], &field(&[0x12], &key)].concat());
        let handed = put(&[&[0xc8, 0x30][..], &varint(2_591_998)].concat());
        let hello = [
            b"CGEH\x01\x01",
            &Network::LAB.0[..],
            &43420_u16.to_be_bytes(),
            &[38],
            &own,
            &[2, 4, 192, 0, 2, 1, 6],
            &Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets(),
        ]
        .concat();
        vec![
            vector("KAD.get", "GET_VALUE of KEY.C, with its length", hex(&get)),
            vector(
                "KAD.put",
                "PUT_VALUE of REC.R.REVOCATION by the owner's node",
                hex(&put(&field(&[0xd2, 0x29], &own))),
            ),
            vector("KAD.handover", "PUT_VALUE of the same as a hand-over, 2591998 s before its end", hex(&handed)),
            vector("KAD.refused", "Refusal of a PUT_VALUE", hex(&kademlia(&[0x08, 4]))),
            vector("KAD.no-tokens", "A PUT_VALUE was not looked at for want of tokens", hex(&kademlia(&[0x08, 1]))),
            vector("HELLO", "Hello that asks, of a node at 192.0.2.1 and 2001:db8::1, port 43420", hex(&hello)),
        ]
    }
}

/// A field of a protobuf: its tag, a varint of its length, and its octets.
fn field(tag: &[u8], octets: &[u8]) -> Vec<u8> {
    [tag, &varint(octets.len()), octets].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
    out
}

/// A message as it stands on a stream.
fn kademlia(message: &[u8]) -> Vec<u8> {
    [&varint(message.len())[..], message].concat()
}

/// What of the vectors of all suites settles something that the draft clarifies.
fn control_plane() -> Vec<Vector> {
    let file = conformance::vectors::shipped().unwrap();
    let of = |id: &str| file.vectors.iter().find(|vector| vector.id == id).unwrap();
    vec![
        vector("LISP.psk", "Secret of the site, Key ID 1", hex(&file.psk)),
        vector("LISP.register", "Map-Register under Algorithm ID 3 (UDP payload)", hex(&of("R05").lisp)),
        vector("LISP.notify", "Map-Notify that answers it", hex(&of("N02").lisp)),
        vector("LISP.psk-itr", "Secret of ITR and Map-Resolver", hex(&file.psk_itr_mr)),
        vector("LISP.request", "Protected Map-Request of the ITR (UDP payload)", hex(&of("S01").lisp)),
        vector("LISP.reply", "Map-Reply that answers it (UDP payload)", hex(&of("S03").lisp)),
    ]
}

fn shown(name: &str) -> &str {
    match name {
        "R" => "KEY.C, alone in its bundle",
        "C" => "KEY.C",
        "P" => "KEY.P",
        _ => "KEY.I",
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/signed-dht.json")
}

fn kept() -> Vec<Group> {
    serde_json::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap()
}

fn is_update() -> bool {
    std::env::var("UPDATE").as_deref() == Ok("1")
}

/// The appendix, in markdown.
fn appendix(groups: &[Group]) -> String {
    let mut text = String::from(
        "\n\nThese are the vectors of the file \"signed-dht.json\" of the conformance suite.\nOctets are hexadecimal.  The \
         network is 3fff:ce1::/32.\n",
    );
    for (Group { title, vectors }, number) in groups.iter().zip(1..) {
        let _ = write!(text, "\n## {title} {{#vectors-{number}}}\n");
        for Vector { id, about, value } in vectors {
            let _ = write!(text, "\n{id}:\n: {about}.\n\n~~~~\n");
            for at in (0..value.len()).step_by(LINE) {
                let _ = writeln!(text, "{}", &value[at..value.len().min(at + LINE)]);
            }
            text.push_str("~~~~\n");
        }
    }
    text
}

#[test]
fn the_file_is_what_the_code_makes_and_the_appendix_is_made_from_it() {
    let made = Maker::new().groups();
    if is_update() {
        std::fs::write(file(), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let kept = kept();
    assert_eq!(kept, made, "the file, and what the code makes");
    let draft = Draft::signed_dht();
    let (start, end) = draft.section("vectors");
    let expected = appendix(&kept);
    if is_update() {
        let text = format!("{}{expected}{}", &draft.text[..start], &draft.text[end..]);
        std::fs::write(&draft.path, text).unwrap();
        return;
    }
    assert_eq!(&draft.text[start..end], expected, "the appendix, and what the file makes of it: run with UPDATE=1");
}

fn value(id: &str) -> Vec<u8> {
    let groups = kept();
    let found = groups.iter().flat_map(|group| &group.vectors).find(|vector| vector.id == id);
    from_hex(&found.unwrap_or_else(|| panic!("no vector {id}")).value).unwrap()
}

/// The bundle of a key, as its sections stand in the file.
fn bundle(name: &str) -> (RecordKey, Vec<u8>) {
    let of = if name == "R" { "C" } else { name };
    let key = RecordKey::decode(&value(&format!("KEY.{of}"))).unwrap();
    let begin = format!("REC.{name}.");
    let sections = kept()
        .into_iter()
        .flat_map(|group| group.vectors)
        .filter(|vector| vector.id.starts_with(&begin) && !vector.id.ends_with(".signed"));
    (key, sections.flat_map(|vector| from_hex(&vector.value).unwrap()).collect())
}

#[test]
fn records_verify_and_no_changed_octet_does() {
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    for name in ["C", "P", "I", "R"] {
        let (key, octets) = bundle(name);
        verify(Network::LAB, &key, &octets, now, &mut CertificateCache::new()).unwrap();
        for at in (0..octets.len()).step_by(7) {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            assert!(
                verify(Network::LAB, &key, &changed, now, &mut CertificateCache::new()).is_err(),
                "{name}, octet {at}"
            );
        }
    }
}

#[test]
fn what_is_signed_begins_with_the_context_the_network_and_the_key() {
    let contexts = Draft::signed_dht().table("contexts");
    let of = |row: usize| [contexts[row][1].as_bytes(), &[0]].concat();
    let (key, signed) = (value("KEY.C"), value("REC.C.MAPPING.signed"));
    let head = [&of(0)[..], &Network::LAB.0, &[u8::try_from(key.len()).unwrap()], &key].concat();
    let section = value("REC.C.MAPPING");
    // Without the signature and its length.
    let unsigned = &section[..section.len() - 2 - 64];
    assert_eq!(signed, [&head[..], unsigned].concat());
    let section = Section::decode(&section).unwrap();
    let maker = Maker::new();
    let certificate = maker.key.certificate();
    assert_eq!(certificate.verify_signature(section.algorithm, &signed, &section.signature), Ok(()));
    // A revocation signs the network, the CN, the time and the reason under a context of its own.
    let (_, octets) = bundle("R");
    let section = Section::decode(&octets).unwrap();
    let own = maker.writer.certificate();
    let said = [&of(2)[..], &Network::LAB.0, &own.cn().0, &section.version.sequence.to_be_bytes(), &[1]].concat();
    assert_eq!(own.verify_signature(section.algorithm, &said, &section.signature), Ok(()));
}

/// The elements of a section.
fn elements(section: &[u8]) -> Vec<(u16, usize)> {
    let length = usize::from(u16::from_be_bytes([section[38], section[39]]));
    let (mut body, mut found) = (&section[40..40 + length], Vec::new());
    while let [high, low, long, short, rest @ ..] = body {
        let length = usize::from(u16::from_be_bytes([*long, *short]));
        found.push((u16::from_be_bytes([*high, *low]), length));
        body = &rest[length..];
    }
    found
}

#[test]
fn elements_have_the_types_and_lengths_of_the_table() {
    let mut seen: BTreeMap<u16, BTreeSet<usize>> = BTreeMap::new();
    let mut classes: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
    for name in ["C", "P", "I", "R"] {
        let (_, octets) = bundle(name);
        for section in Bundle::decode(&octets).unwrap().sections() {
            for (kind, length) in elements(&section.encode().unwrap()) {
                seen.entry(kind).or_default().insert(length);
                classes.entry(kind).or_default().insert(format!("{:?}", section.class()).to_uppercase());
            }
        }
    }
    let table = Draft::signed_dht().table("tlv");
    let said: Vec<u16> = table.iter().map(|row| u16::from_str_radix(&row[0], 16).unwrap()).collect();
    assert_eq!(said, seen.keys().copied().collect::<Vec<_>>(), "the table, and what the code writes");
    for row in &table {
        let kind = u16::from_str_radix(&row[0], 16).unwrap();
        let of: BTreeSet<String> = row[1].split(", ").map(ToOwned::to_owned).collect();
        assert!(classes[&kind].is_subset(&of), "{kind:04x}: {:?}", classes[&kind]);
        for length in &seen[&kind] {
            assert!(allows(&row[4], *length), "{kind:04x} of {length} octets: {}", row[4]);
        }
    }
    let most = |kind: &str| {
        table.iter().find(|row| row[0] == kind).unwrap()[3].rsplit('-').next().unwrap().parse::<usize>().unwrap()
    };
    let limits = [
        ("0102", dht::limits::OPERATIONAL_CERTIFICATES),
        ("0201", dht::limits::LOCATORS),
        ("0301", dht::limits::NEIGHBOURS),
        ("0303", dht::limits::TERMINALS),
        ("0401", dht::limits::PUBLIC_ADDRESSES),
        ("0402", dht::limits::ALTERNATES),
        ("0403", dht::limits::PREF64),
        ("0603", dht::limits::MAP_SERVERS),
    ];
    for (kind, limit) in limits {
        assert_eq!(most(kind), limit, "{kind}");
    }
}

/// Whether a length is one of `12, 14`, `5 to 13`, `9 + 16n`, `34` or `any`.
fn allows(said: &str, length: usize) -> bool {
    let number = |text: &str| text.trim().parse::<usize>().unwrap();
    match said {
        "any" => true,
        _ if said.contains(" to ") => {
            let (least, most) = said.split_once(" to ").unwrap();
            (number(least)..=number(most)).contains(&length)
        }
        _ if said.contains('+') => {
            let (fixed, each) = said.split_once('+').unwrap();
            let each = number(each.trim_end_matches('n'));
            length >= number(fixed) && (length - number(fixed)).is_multiple_of(each)
        }
        _ => said.split(',').any(|one| number(one) == length),
    }
}

/// HMAC-SHA-256 of a key that is no longer than a block (RFC 2104, section 2).
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let block = |mask: u8| (0..64).map(|at| key.get(at).copied().unwrap_or_default() ^ mask).collect::<Vec<u8>>();
    let inner = Sha256::digest([block(0x36), message.to_vec()].concat());
    Sha256::digest([block(0x5c), inner.to_vec()].concat()).to_vec()
}

#[test]
fn admission_and_puzzle_hold() {
    let maker = Maker::new();
    let presentation = Presentation::decode(&value("ADM.presentation")).unwrap();
    let (own, peer) = (value("ADM.peer-id"), value("ADM.to"));
    let key = NetworkKey::new(value("ADM.secret").try_into().unwrap()).unwrap();
    let mac = presentation.mac.unwrap();
    assert!(key.holds(Network::LAB, &own, &peer, &mac) && !key.holds(Network::LAB, &peer, &own, &mac));
    let context = Draft::signed_dht().table("contexts")[1][1].clone();
    let said = [context.as_bytes(), &[0], &Network::LAB.0, &[38], &own, &[38], &peer].concat();
    assert_eq!(mac.0[..], hmac_sha256(&value("ADM.secret"), &said)[..]);
    assert_eq!(Answer::decode(&value("ADM.answer")).unwrap().code, Answer::WELCOME);
    let key = maker.key.certificate().key();
    assert_eq!(judge::node_key(&own), key.ed25519());
    let digest = value("ADM.puzzle");
    let solver = Identity::from_seed(&SOLVED, Network::LAB, maker.now).unwrap();
    assert!(puzzle::zero_bits(solver.certificate().key(), maker.key.epoch()).get() >= 16);
    assert_eq!(value("ADM.solved")[..2], [0, 0]);
    let zeros = digest.iter().take_while(|octet| **octet == 0).count() * 8;
    let rest = digest.iter().find(|octet| **octet != 0).map_or(0, |octet| octet.leading_zeros());
    assert_eq!(zeros + rest as usize, usize::from(puzzle::zero_bits(key, maker.key.epoch()).get()));
}

#[test]
fn a_register_under_algorithm_3_is_sealed_to_the_same_octets() {
    let key = AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: Secret::new(value("LISP.psk")) };
    for id in ["LISP.register", "LISP.notify"] {
        let octets = value(id);
        assert!(message_type(&octets).is_some());
        let message = ControlMessage::decode(&octets).unwrap();
        assert_eq!(seal(&message, &key, TagForm::Truncated).unwrap(), octets, "{id}");
    }
}
