// SPDX-License-Identifier: GPL-2.0-or-later
//! The tables of the draft say what the code does: each row is held against a constant, or against what comes out.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::draft_text::{anchors, hexadecimal, octets, source, table, values};
use cgeid::exchange::{MEDIA_TYPE, dns, fingerprint, pem, text, vcard};
use cgeid::{Cn, Identity, LinkProof, Network, PuzzleBits, Reason, Revocation, SignatureAlgorithm};
use cgeid::{certificate, container, epoch, limits, months};
use dht::record::{Body, Class, Flags, RecordKey, Section, Version};

const NETWORK: Network = Network([0x20, 0x01, 0x0d, 0xb8]);
const RSA_KEY: &[u8] = include_bytes!("../../../cgeid/tests/data/rsa4096-test-key.pk8");

fn draft() -> String {
    source("draft-ipv6mesh-lisp-cgeid-00.md")
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

fn ed25519() -> Identity {
    Identity::from_seed(&[7; 32], NETWORK, now()).unwrap()
}

fn rsa() -> Identity {
    Identity::from_pkcs8(RSA_KEY, NETWORK, now()).unwrap()
}

/// Holds a table of names and numbers against the code, row for row.
fn same<const N: usize>(anchor: &str, code: [(&str, u64); N]) {
    let code: BTreeMap<_, _> = code.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
    assert_eq!(code.len(), N);
    assert_eq!(values(&draft(), anchor), code, "{anchor}");
}

fn is_in(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

/// An object identifier, dotted, as a DER element.
fn identifier(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u128> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut contents = Vec::new();
    for mut arc in [arcs[0] * 40 + arcs[1]].into_iter().chain(arcs[2..].iter().copied()) {
        let mut group = vec![u8::try_from(arc & 0x7f).unwrap()];
        while arc > 0x7f {
            arc >>= 7;
            group.push(0x80 | u8::try_from(arc & 0x7f).unwrap());
        }
        contents.extend(group.iter().rev());
    }
    [&[0x06, u8::try_from(contents.len()).unwrap()][..], &contents].concat()
}

/// The lowest power of two that a key may have as its name.
fn first_name() -> u64 {
    let cn = |value: u64| Cn([&[0; 4][..], &value.to_be_bytes()].concat().try_into().unwrap());
    let first = (0..64).map(|bit| 1 << bit).find(|value| !cn(*value).is_reserved()).unwrap();
    assert!(cn(first - 1).is_reserved());
    first
}

#[test]
fn sizes_and_numbers() {
    let [small, large] = [ed25519(), rsa()];
    let spki = large.certificate().key().spki();
    let exponent = spki.strip_suffix(&[1, 0, 1]).unwrap();
    assert!(exponent.ends_with(&[0x02, 0x03]));
    let length = |octets: &[u8]| octets.len() as u64;
    let signature = SignatureAlgorithm::RsaPkcs1Sha512.signature_length() as u64;
    // A subjectKeyIdentifier is an OCTET STRING in one, each with its length before it.
    let mark = [&identifier("2.5.29.14")[..], &[0x04]].concat();
    let der = small.certificate().der();
    let at = der.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len();
    let key_identifier = der[at + 2];
    assert_eq!(
        der[at + 3..][..usize::from(key_identifier)],
        small.certificate().fingerprint()[..usize::from(key_identifier)]
    );
    same(
        "tab-sizes",
        [
            ("prefix", length(&NETWORK.0)),
            ("name", Cn::LENGTH as u64),
            ("text of a name", Cn::DIGITS as u64),
            ("first name that is not reserved", first_name()),
            ("fingerprint", length(small.certificate().fingerprint())),
            ("SPKI, RSA", length(spki)),
            ("SPKI, Ed25519", length(small.certificate().key().spki())),
            ("modulus", 8 * signature),
            ("exponent", 0x1_0001),
            ("key identifier", key_identifier.into()),
            ("certificate, longest", limits::MAX_CERTIFICATE as u64),
            ("serial number, longest", limits::MAX_SERIAL as u64),
            ("PKCS#12 file, longest", limits::MAX_CONTAINER as u64),
            ("PKCS#12 file, most keys or certificates", limits::MAX_BAGS as u64),
            ("PBKDF2, as written", limits::ENCRYPTION_ROUNDS.into()),
            ("MAC, as written", limits::MAC_ROUNDS.into()),
            ("most that is read", limits::MAX_ROUNDS.into()),
            ("statement, longest", limits::MAX_STATEMENT as u64),
            ("audience, longest", limits::MAX_AUDIENCE as u64),
            ("version of statements", revocation().encode()[4].into()),
            ("PEM blocks, most", limits::MAX_PEM_BLOCKS as u64),
            ("NDEF records, most", limits::MAX_RECORDS as u64),
            ("operational certificates of a section, most", dht::limits::OPERATIONAL_CERTIFICATES as u64),
            ("alternates, most", dht::limits::ALTERNATES as u64),
            ("revisions of a period", epoch::REVISIONS.into()),
            ("periods ahead, most", limits::MAX_MONTHS.into()),
            ("zero bits, laboratory", PuzzleBits::LAB.get().into()),
            ("zero bits, public network", PuzzleBits::PUBLIC.get().into()),
            ("zero bits, most", limits::MAX_PUZZLE_BITS.into()),
            ("duplicates in a row", limits::CONFLICT_TRIES.into()),
            ("temporary addresses, most", limits::MAX_TEMPORARY_ADDRESSES as u64),
        ],
    );
}

#[test]
fn times() {
    assert_eq!(limits::CLOCK_SKEW, dht::limits::CLOCK_SKEW, "certificates and records have one tolerance");
    let life =
        |identity: &Identity| identity.certificate().not_after().duration_since(identity.certificate().not_before());
    let temporary = Identity::generate_temporary(NETWORK, now()).unwrap();
    assert_eq!(life(&temporary).unwrap(), limits::TEMPORARY_CERTIFICATE_LIFETIME);
    let begin = |later: u64| {
        let at = UNIX_EPOCH + Duration::from_secs(1_800_000_000 + later);
        Identity::from_seed(&[7; 32], NETWORK, at).unwrap().certificate().not_before()
    };
    assert!(begin(3599) == begin(0) && begin(3600) == begin(0) + Duration::from_secs(3600));
    same(
        "tab-timers",
        [
            ("tolerance of clocks", limits::CLOCK_SKEW.as_secs()),
            ("period", epoch::PERIOD.as_secs()),
            ("operational certificate, longest life", limits::OPERATIONAL_LIFETIME.as_secs()),
            ("granularity of notBefore, static", 3600),
            ("temporary certificate", limits::TEMPORARY_CERTIFICATE_LIFETIME.as_secs()),
            ("temporary, preferred", limits::TEMPORARY_PREFERRED.as_secs()),
            ("temporary, valid", limits::TEMPORARY_VALID.as_secs()),
            ("temporary, longest use", limits::TEMPORARY_MAX_USE.as_secs()),
            ("overlap, REGEN_ADVANCE", limits::TEMPORARY_OVERLAP.as_secs()),
            ("window of publication", limits::PUBLICATION_WINDOW.as_secs()),
            ("end of the window that stays free", limits::PUBLICATION_LEAD.as_secs()),
            ("patience with a publication", limits::PUBLICATION_PATIENCE.as_secs()),
            ("longest DESYNC_FACTOR", limits::MAX_DESYNC.as_secs()),
            ("pause after duplicates", limits::CONFLICT_PAUSE.as_secs()),
            ("IDENTITY section, longest lifetime", Class::Identity.max_lifetime().as_secs()),
            ("REVOCATION section, lifetime", Class::Revocation.max_lifetime().as_secs()),
            ("rest of a pin before it gives way", limits::PIN_REST.as_secs()),
        ],
    );
}

#[test]
fn algorithms_by_number() {
    let text = draft();
    let rows = table(&text, "tab-algorithms");
    assert_eq!(rows.len(), 2);
    for (row, identity) in rows.iter().zip([ed25519(), rsa()]) {
        let algorithm = SignatureAlgorithm::from_number(row[0].parse().unwrap()).unwrap();
        assert_eq!(algorithm, identity.certificate().algorithm(), "{}", row[1]);
        assert_eq!(algorithm.signature_length().to_string(), row[2]);
        assert!(is_in(identity.certificate().der(), &identifier(&row[3])), "{}", row[3]);
    }
    assert!((0..=u16::MAX).filter_map(SignatureAlgorithm::from_number).count() == rows.len());
}

#[test]
fn object_identifiers() {
    let code = [("operational usage", certificate::OPERATIONAL_USAGE_OID), ("epoch", certificate::EPOCH_OID)];
    let code: BTreeMap<_, _> = code.map(|(name, oid)| (name.to_owned(), oid.to_owned())).into();
    assert_eq!(values(&draft(), "tab-oids"), code);
    let key = ed25519().delegate(now(), 0).unwrap();
    for oid in code.values() {
        assert!(is_in(key.certificate_der(), &identifier(oid)), "{oid}");
    }
}

/// The identifiers of the extensions that the profile takes from RFC 5280.
const EXTENSIONS: [(&str, &str); 6] = [
    ("subjectKeyIdentifier", "2.5.29.14"),
    ("keyUsage", "2.5.29.15"),
    ("subjectAltName", "2.5.29.17"),
    ("basicConstraints", "2.5.29.19"),
    ("authorityKeyIdentifier", "2.5.29.35"),
    ("extKeyUsage", "2.5.29.37"),
];

/// Holds the extensions of a table against a certificate: the identifier, whether it is critical, and how its value begins.
fn extensions(anchor: &str, der: &[u8], rest: &dyn Fn(&str) -> Vec<u8>) {
    let text = draft();
    let rows = table(&text, anchor);
    // How many there are: each has one OCTET STRING for its value right behind identifier and criticality.
    for row in &rows {
        let known = EXTENSIONS.iter().find(|(name, _)| *name == row[0]).map(|(_, oid)| *oid);
        let critical: &[u8] = if row[1] == "yes" { &[0x01, 0x01, 0xff] } else { &[] };
        let is_octet = |word: &&str| word.len() == 2 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
        let said: Vec<_> = row[2].split([' ', ',']).take_while(is_octet).collect();
        let value = [octets(&said.concat()), rest(&row[0])].concat();
        let head = [identifier(known.unwrap_or(certificate::EPOCH_OID)), critical.to_vec()].concat();
        let element = [&[0x04, u8::try_from(value.len()).unwrap()][..], &value].concat();
        assert!(is_in(der, &[head, element].concat()), "{anchor}: {}", row[0]);
    }
    let present = EXTENSIONS.iter().map(|(_, oid)| *oid).chain([certificate::EPOCH_OID]);
    assert_eq!(present.filter(|oid| is_in(der, &identifier(oid))).count(), rows.len(), "{anchor}");
}

#[test]
fn extensions_of_both_certificates() {
    let identity = ed25519();
    let own = identity.certificate();
    extensions("tab-identity-ext", own.der(), &|name| match name {
        "subjectKeyIdentifier" => own.fingerprint()[..20].to_vec(),
        "subjectAltName" => own.address().octets().to_vec(),
        _ => Vec::new(),
    });
    let key = identity.delegate(now(), 0).unwrap();
    let epoch = key.epoch().to_be_bytes();
    let epoch = &epoch[epoch.iter().position(|octet| *octet != 0).unwrap()..];
    let usage = identifier(certificate::OPERATIONAL_USAGE_OID);
    extensions("tab-operational-ext", key.certificate_der(), &|name| match name {
        "subjectKeyIdentifier" => key.certificate().key().fingerprint()[..20].to_vec(),
        "authorityKeyIdentifier" => own.fingerprint()[..20].to_vec(),
        "extKeyUsage" => [&[0x30, u8::try_from(usage.len()).unwrap()][..], &usage].concat(),
        "epoch" => [&[0x02, u8::try_from(epoch.len()).unwrap()][..], epoch].concat(),
        _ => Vec::new(),
    });
}

fn revocation() -> Revocation {
    Revocation::issue(&ed25519(), Reason::KEY_COMPROMISE, now()).unwrap()
}

/// What the draft says is signed has the signature.
#[test]
fn contexts_of_signatures() {
    let contexts = values(&draft(), "tab-contexts");
    let context = |statement: &str| [contexts[statement].as_bytes(), &[0]].concat();
    assert_eq!(contexts.len(), 3);

    let [first, second] = [ed25519(), Identity::from_seed(&[8; 32], NETWORK, now()).unwrap()];
    let issued = 1_800_000_000_123_u64.to_be_bytes();
    let made = revocation();
    let message = [&context("revocation")[..], &NETWORK.0, &first.cn().0, &issued, &[1]].concat();
    first.certificate().verify_signature(SignatureAlgorithm::Ed25519, &message, made.signature()).unwrap();

    let proof = LinkProof::issue(&first, &second, "reader", now()).unwrap().encode();
    let message = [&context("link proof")[..], &NETWORK.0, &first.cn().0, &second.cn().0, &issued, b"reader"].concat();
    let signatures = &proof[proof.len() - 128..];
    for (party, signature) in [&first, &second].into_iter().zip(signatures.chunks(64)) {
        party.certificate().verify_signature(SignatureAlgorithm::Ed25519, &message, signature).unwrap();
    }

    let section = dht::record::Revocation::section(&made).unwrap();
    let key = RecordKey::node(NETWORK, first.cn());
    let head = [&context("record")[..], &NETWORK.0, &[17], &key.encode()].concat();
    assert!(section.signed_bytes(&key).unwrap().starts_with(&head));
}

#[test]
fn reasons() {
    same(
        "tab-reasons",
        [
            ("unspecified, made at birth", Reason::UNSPECIFIED.0.into()),
            ("keyCompromise", Reason::KEY_COMPROMISE.0.into()),
            ("superseded", Reason::SUPERSEDED.0.into()),
            ("cessationOfOperation", Reason::CESSATION.0.into()),
        ],
    );
}

/// Types and values of the elements in the body of a section: its length is told in the 38 octets before.
fn elements(section: &Section) -> Vec<(String, Vec<u8>)> {
    let octets = section.encode().unwrap();
    let length = usize::from(u16::from_be_bytes([octets[38], octets[39]]));
    let (mut rest, mut found) = (&octets[40..40 + length], Vec::new());
    while let [a, b, c, d, after @ ..] = rest {
        let (value, next) = after.split_at(usize::from(u16::from_be_bytes([*c, *d])));
        found.push((format!("TLV 0x{:02x}{:02x}", a, b), value.to_vec()));
        rest = next;
    }
    found
}

#[test]
fn the_revocation_section() {
    let text = draft();
    let rows = values(&text, "tab-revocation");
    let made = revocation();
    let section = dht::record::Revocation::section(&made).unwrap();
    assert_eq!(rows["class"], Class::Revocation.number().to_string());
    assert_eq!((&*rows["flags"], section.flags), ("I only", Flags { by_identity: true, withdrawn: false }));
    assert_eq!(rows["epoch"], section.version.epoch.to_string());
    assert_eq!((&*rows["sequence"], section.version.sequence), ("issue time", 1_800_000_000_123));
    assert_eq!(rows["lifetime"], format!("{} s", section.lifetime.as_secs()));
    assert_eq!(&*section.signature, made.signature());
    let kinds: Vec<_> = rows.keys().filter(|name| name.starts_with("TLV")).cloned().collect();
    let found = elements(&section);
    assert_eq!(found.iter().map(|(kind, _)| kind.clone()).collect::<Vec<_>>(), kinds);
    assert_eq!((&*found[0].1, &*found[1].1), (&[1][..], ed25519().certificate().der()));
}

#[test]
fn the_identity_section() {
    let text = draft();
    let rows = values(&text, "tab-identity-section");
    let identity = ed25519();
    let key = identity.delegate(now(), 0).unwrap();
    let body = dht::record::Identity {
        certificate: identity.certificate().der().into(),
        operational: vec![key.certificate_der().into()],
        unknown: Vec::new(),
    };
    let section = Section {
        flags: Flags::default(),
        cn: identity.cn(),
        version: Version { epoch: key.epoch(), sequence: 1 },
        lifetime: Class::Identity.max_lifetime(),
        body: Body::Identity(body),
        algorithm: SignatureAlgorithm::Ed25519,
        signature: Box::default(),
    };
    assert_eq!(rows["class"], Class::Identity.number().to_string());
    assert_eq!(rows["largest section"], format!("{} octets", Class::Identity.max_size()));
    assert_eq!(rows["longest lifetime"], format!("{} s", Class::Identity.max_lifetime().as_secs()));
    let kinds: Vec<_> = rows.keys().filter(|name| name.starts_with("TLV")).cloned().collect();
    let found = elements(&section);
    assert_eq!(found.iter().map(|(kind, _)| kind.clone()).collect::<Vec<_>>(), kinds);
    assert_eq!((&*found[0].1, &*found[1].1), (identity.certificate().der(), key.certificate_der()));
    assert!(rows[&kinds[0]].contains("identity certificate") && rows[&kinds[1]].contains("operational certificate"));
    // The element that names an alternate is told in a sentence.
    let service = dht::record::Service { alternates: [identity.cn()].into(), ..Default::default() };
    let [(kind, value)] = &elements(&Section { body: Body::Service(service), ..section })[..] else { panic!("one") };
    assert!(text.contains(&format!("a {kind} with the 12 octets")), "{kind}");
    assert_eq!(value, &identity.cn().0);
}

#[test]
fn marks_of_the_forms() {
    let identity = ed25519();
    let own = identity.certificate();
    let label =
        |armoured: &str| armoured.split_once("-----BEGIN ").unwrap().1.split_once("-----").unwrap().0.to_owned();
    let made = revocation();
    let proof =
        LinkProof::issue(&identity, &Identity::from_seed(&[8; 32], NETWORK, now()).unwrap(), "", now()).unwrap();
    let ascii = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    let zone = dns::encode(own, "host.example.").unwrap();
    let kind: Vec<_> = zone.split(' ').skip(2).take(2).collect();
    let code = [
        ("DER", if own.der()[0] == 0x30 { "a SEQUENCE" } else { "" }.to_owned()),
        ("PEM, certificate", label(&pem::encode(own))),
        ("PEM, revocation", label(&made.to_pem().unwrap())),
        ("PEM, link proof", label(&proof.to_pem().unwrap())),
        ("octets of a revocation", ascii(&made.encode()[..4])),
        ("octets of a link proof", ascii(&proof.encode()[..4])),
        ("QR text", text::SCHEME.to_owned()),
        ("fingerprint", fingerprint::SCHEME.to_owned()),
        ("NDEF and vCard, media type", MEDIA_TYPE.to_owned()),
        ("DNS", kind.join(", ")),
    ];
    let code: BTreeMap<_, _> = code.map(|(form, mark)| (form.to_owned(), mark)).into();
    assert_eq!(values(&draft(), "tab-marks"), code);
    assert!(text::encode(own).starts_with(text::SCHEME) && fingerprint::encode(own).starts_with(fingerprint::SCHEME));
    assert!(vcard::encode(own).contains(&format!("KEY:data:{MEDIA_TYPE};base64,")));
}

#[test]
fn names_of_files() {
    let cn = ed25519().cn();
    let text = draft();
    let names: Vec<_> =
        table(&text, "tab-files").into_iter().map(|row| row[0].replace("NAME", &cn.to_string())).collect();
    let [identity, current, later, revoke] = names.as_slice() else { panic!("{names:?}") };
    assert_eq!(*identity, container::identity_file_name(cn));
    assert_eq!(*current, container::operational_file_name(cn));
    assert_eq!(months::epoch_in(&later.replace("EPOCH", "179200"), cn), Some(179_200));
    assert_eq!(*revoke, cgeid::statement::revocation_file_name(cn));
}

/// Examples and formulas in the text, which no table has.
#[test]
fn figures_hold() {
    let text = draft();
    let figure = |title: &str| {
        let end = text.find(&format!("title=\"{title}\"")).unwrap_or_else(|| panic!("{title}"));
        text[..end].rsplit("~~~~").nth(1).unwrap().to_owned()
    };
    // The constant octets of both encodings, in their order.
    for (title, identity) in [("SPKI of an RSA key", rsa()), ("SPKI of an Ed25519 key", ed25519())] {
        let mut said = Vec::new();
        for line in figure(title).lines() {
            let words =
                line.split_whitespace().take_while(|word| word.len() == 2 && u8::from_str_radix(word, 16).is_ok());
            said.extend(octets(&words.collect::<String>()));
        }
        let spki = identity.certificate().key().spki();
        let tail = if spki.len() > 44 { 5 } else { 0 };
        let (head, tail) = said.split_at(said.len() - tail);
        assert!(spki.starts_with(head) && spki.ends_with(tail), "{title}: {}", hexadecimal(&said));
    }
    let periods = figure("Periods and epochs");
    assert!(periods.contains(&format!("mod {}", epoch::PERIOD.as_secs())));
    assert!(periods.contains(&format!("/ {})", epoch::PERIOD.as_secs())));
    assert!(periods.contains(&format!("period * {} + revision", epoch::REVISIONS)));
}

/// A table that is new is held against the code as well, or says nothing that the code has.
#[test]
fn every_table_is_read() {
    let read = [
        "tab-algorithms",
        "tab-attacks",
        "tab-contexts",
        "tab-files",
        "tab-identity",
        "tab-identity-ext",
        "tab-identity-section",
        "tab-marks",
        "tab-oids",
        "tab-operational",
        "tab-operational-ext",
        "tab-reasons",
        "tab-revocation",
        "tab-sizes",
        "tab-timers",
    ];
    // Who signs what, in words; what IANA is asked for.
    let words = ["tab-iana", "tab-signers"];
    let known: std::collections::BTreeSet<_> = read.into_iter().chain(words).map(ToOwned::to_owned).collect();
    assert_eq!(anchors(&draft()), known);
}
