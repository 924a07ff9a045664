// SPDX-License-Identifier: GPL-2.0-or-later
//! From the key to the name: the published vectors, and `openssl` as a witness.

use std::collections::BTreeMap;

use cgeid::{Cn, Identity, Network, PublicKey};
use serde::Deserialize;

use super::other::Kind;
use super::workshop::{Workshop, at, name};
use super::{Fault, Judgement, Probe};
use crate::der::{elements, inside, tlv};
use crate::vectors::from_hex;

/// The prefix of the published vectors.
const DOCUMENTATION: Network = Network([0x20, 0x01, 0x0d, 0xb8]);
/// How the vectors call what is hashed.
const HASHED: &str = "SubjectPublicKeyInfo DER (recommended)";
const RSA_SPKI: &[u8] = include_bytes!("../../../../cgeid/tests/data/rsa4096-spki.der");
const RSA_CERTIFICATE: &[u8] = include_bytes!("../../../../cgeid/tests/data/rsa4096-cert.der");
/// RFC 8032 7.1, TEST 1: the private key of a vector.
const TEST_1: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "ID-001.1", about: "the vectors' keys give their names and addresses", judge: vectors_are_taken },
    Probe { id: "ID-001.2", about: "no other part of the vectors' keys is hashed", judge: nothing_else_is_hashed },
    Probe { id: "ID-001.3", about: "an identity of the RFC 8032 test key has the vector's name", judge: rfc_8032_key },
    Probe { id: "ID-001.4", about: "openssl's SHA-512 of an RSA key begins with the name", judge: openssl_rsa },
    Probe { id: "ID-001.5", about: "openssl's SHA-512 of an Ed25519 key begins with the name", judge: openssl_ed25519 },
    Probe { id: "ID-002.1", about: "the name of another key, signed well", judge: foreign_name },
    Probe {
        id: "ID-002.2",
        about: "the name of another key, signed badly: the name is told first",
        judge: foreign_name_badly_signed,
    },
    Probe { id: "ID-003.01", about: "rsaEncryption without NULL", judge: without_null },
    Probe { id: "ID-003.02", about: "id-RSASSA-PSS", judge: pss },
    Probe { id: "ID-003.03", about: "a length that is not the shortest", judge: long_length },
    Probe { id: "ID-007.1", about: "the name is the SHA-256 of the key", judge: other_hash },
    Probe { id: "ID-007.2", about: "the name is the middle of the SHA-512, as HIP has it", judge: middle_bits },
    Probe { id: "ID-017.1", about: "addresses ending in a value below 2^16 have no owner", judge: reserved },
    Probe {
        id: "ID-004.9",
        about: "a certificate named by its address, as the vectors have it",
        judge: named_by_address,
    },
];

#[derive(Deserialize)]
struct Vector {
    spki: Option<String>,
    sha512_spki: String,
    /// Address by what was hashed for it.
    eid: BTreeMap<String, String>,
    #[serde(default)]
    must_reject: BTreeMap<String, String>,
}

fn vectors() -> Result<BTreeMap<String, Vector>, Fault> {
    let text = include_str!("../../../../cgeid/tests/data/crypto-eid.json");
    serde_json::from_str(text).map_err(|error| Fault::Missing(format!("crypto-eid.json: {error}")))
}

impl Vector {
    fn spki(&self) -> Vec<u8> {
        self.spki.as_deref().and_then(from_hex).unwrap_or_else(|| RSA_SPKI.to_vec())
    }

    fn address(&self, hashed: &str) -> Option<std::net::Ipv6Addr> {
        self.eid.get(hashed)?.parse().ok()
    }
}

fn broken(expected: impl std::fmt::Display, came: impl std::fmt::Display) -> Fault {
    Fault::Broken(format!("expected: {expected}; came: {came}"))
}

fn vectors_are_taken(_: &Workshop) -> Judgement {
    let vectors = vectors()?;
    for (title, vector) in &vectors {
        let key = PublicKey::from_spki(&vector.spki()).map_err(|error| broken(title, error))?;
        let address = key.cn().address(DOCUMENTATION);
        if Some(address) != vector.address(HASHED) || from_hex(&vector.sha512_spki) != Some(key.fingerprint().to_vec())
        {
            return Err(broken(title, address));
        }
    }
    Ok(format!("{} keys, among them {}", vectors.len(), vectors.keys().next().map_or("none", |title| title)))
}

fn nothing_else_is_hashed(_: &Workshop) -> Judgement {
    let mut told = 0;
    for (title, vector) in vectors()? {
        let address = Cn::of_spki(&vector.spki()).address(DOCUMENTATION);
        for other in vector.eid.keys().filter(|other| *other != HASHED) {
            if vector.address(other) == Some(address) {
                return Err(broken("an address of its own", format!("{title}: {other}")));
            }
            told += 1;
        }
    }
    Ok(format!("{told} other encodings give other addresses"))
}

fn rfc_8032_key(workshop: &Workshop) -> Judgement {
    let seed = from_hex(TEST_1).and_then(|seed| seed.try_into().ok()).unwrap_or([0; 32]);
    let identity =
        Identity::from_seed(&seed, DOCUMENTATION, workshop.now).map_err(|error| broken("an identity", error))?;
    let expected = vectors()?.values().find_map(|vector| {
        (vector.spki() == identity.certificate().key().spki()).then(|| vector.address(HASHED)).flatten()
    });
    let shown = workshop.certificate("rfc8032.der", identity.certificate().der(), DOCUMENTATION)?;
    shown.names(identity.cn())?;
    let address = expected.ok_or_else(|| broken("a vector", "none"))?.to_string();
    // Others print either.
    if workshop.other().is_some() || shown.text.contains(&address) {
        Ok(address)
    } else {
        Err(broken(address, shown.text))
    }
}

/// `openssl pkey -pubout | openssl dgst -sha512` of the key in a container that the program wrote.
fn openssl_derives(workshop: &Workshop, identity: &Identity, file: &str) -> Judgement {
    std::fs::write(workshop.folder().join(format!("{file}.der")), identity.certificate().der())
        .map_err(|error| Fault::Missing(error.to_string()))?;
    workshop.openssl(&format!("x509 -inform DER -in {file}.der -pubkey -noout -out {file}.pem"))?;
    workshop.openssl(&format!("pkey -pubin -in {file}.pem -pubout -outform DER -out {file}.spki"))?;
    let digest = workshop.openssl(&format!("dgst -sha512 -binary {file}.spki"))?;
    let shown = workshop.ask(&["show", "--cn", &format!("{file}.der")])?;
    let derived: String = digest.iter().take(Cn::LENGTH).map(|octet| format!("{octet:02x}")).collect();
    let named = shown.text.trim();
    if named == derived { Ok(format!("both say {derived}")) } else { Err(broken(derived, named)) }
}

fn openssl_rsa(workshop: &Workshop) -> Judgement {
    if let Some(other) = workshop.other() {
        return other.derives(workshop, Kind::Rsa);
    }
    openssl_derives(workshop, &workshop.rsa, "rsa")
}

fn openssl_ed25519(workshop: &Workshop) -> Judgement {
    if let Some(other) = workshop.other() {
        return other.derives(workshop, Kind::Ed25519);
    }
    openssl_derives(workshop, &workshop.ed25519, "ed25519")
}

/// A certificate of the Ed25519 identity that names somebody else.
fn named(workshop: &Workshop, text: &str) -> Result<Vec<u8>, Fault> {
    workshop.forge(&workshop.ed25519, |fields| {
        fields[at::ISSUER] = name(0x0c, &[text]);
        fields[at::SUBJECT] = name(0x0c, &[text]);
    })
}

const OTHER_NAME: &[&str] = &["but its key gives"];

fn foreign_name(workshop: &Workshop) -> Judgement {
    let file = named(workshop, &workshop.stranger.cn().to_string())?;
    workshop.certificate("foreign.der", &file, Network::LAB)?.refuses(OTHER_NAME)
}

fn foreign_name_badly_signed(workshop: &Workshop) -> Judgement {
    let mut file = named(workshop, &workshop.stranger.cn().to_string())?;
    if let Some(last) = file.last_mut() {
        *last ^= 1;
    }
    workshop.certificate("foreign-signature.der", &file, Network::LAB)?.refuses(OTHER_NAME)
}

/// One of the encodings that the vectors reject: it hashes to the vector's address, and is refused as a key, in the
/// certificate of the same key as well.
fn rejected(workshop: &Workshop, title: &str, spki: &[u8], words: &[&str]) -> Judgement {
    let vectors = vectors()?;
    let expected = vectors.values().find_map(|vector| vector.must_reject.get(title));
    let address = Cn::of_spki(spki).address(DOCUMENTATION).to_string();
    if expected != Some(&address) {
        return Err(broken(expected.map_or("a vector", |address| address), address));
    }
    if let (None, Ok(key)) = (workshop.other(), PublicKey::from_spki(spki)) {
        return Err(broken("a refusal", format!("taken as {}", key.cn())));
    }
    let file = workshop.forge(&workshop.rsa, |fields| fields[at::KEY] = spki.to_vec())?;
    workshop.certificate("rejected.der", &file, Network::LAB)?.refuses(words)
}

/// The vector's RSA key under another algorithm.
fn spki_with(algorithm: &[u8]) -> Vec<u8> {
    let key = elements(inside(RSA_SPKI)).pop().unwrap_or_default();
    tlv(0x30, &[tlv(0x30, algorithm), key].concat())
}

fn without_null(workshop: &Workshop) -> Judgement {
    let spki = spki_with(&from_hex("06092a864886f70d010101").unwrap_or_default());
    rejected(workshop, "SPKI without NULL parameters", &spki, &["NULL"])
}

fn pss(workshop: &Workshop) -> Judgement {
    let spki = spki_with(&from_hex("06092a864886f70d01010a").unwrap_or_default());
    rejected(workshop, "SPKI with id-RSASSA-PSS OID", &spki, &["1.2.840.113549.1.1.10"])
}

fn long_length(workshop: &Workshop) -> Judgement {
    let spki = [&[0x30, 0x83, 0x00], &RSA_SPKI[2..]].concat();
    rejected(workshop, "SPKI in non-minimal BER length", &spki, &["not a DER certificate"])
}

fn other_hash(workshop: &Workshop) -> Judgement {
    // `openssl dgst -sha256` of the key that all runs have.
    let digest = sha256_of_key(workshop)?;
    let text: String = digest.iter().take(Cn::LENGTH).map(|octet| format!("{octet:02x}")).collect();
    workshop.certificate("sha256.der", &named(workshop, &text)?, Network::LAB)?.refuses(OTHER_NAME)
}

fn sha256_of_key(workshop: &Workshop) -> Result<Vec<u8>, Fault> {
    let file = workshop.folder().join("key.spki");
    std::fs::write(file, workshop.ed25519.certificate().key().spki())
        .map_err(|error| Fault::Missing(error.to_string()))?;
    workshop.openssl("dgst -sha256 -binary key.spki")
}

fn middle_bits(workshop: &Workshop) -> Judgement {
    let middle = &workshop.ed25519.certificate().fingerprint()[26..26 + Cn::LENGTH];
    let text: String = middle.iter().map(|octet| format!("{octet:02x}")).collect();
    workshop.certificate("middle.der", &named(workshop, &text)?, Network::LAB)?.refuses(OTHER_NAME)
}

fn reserved(_: &Workshop) -> Judgement {
    for (last, owned) in [(0u16, false), (1, false), (0xffff, false)] {
        let mut octets = [0; Cn::LENGTH];
        octets[10..].copy_from_slice(&last.to_be_bytes());
        let address = Cn(octets).address(Network::LAB);
        if Network::LAB.cn_of(address).is_some() != owned {
            return Err(broken("nobody's", address));
        }
    }
    let first = Cn([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    match Network::LAB.cn_of(first.address(Network::LAB)) {
        Some(owner) if owner == first => Ok(format!("the first that can be owned is {}", first.address(Network::LAB))),
        other => Err(broken(first, format!("{other:?}"))),
    }
}

fn named_by_address(workshop: &Workshop) -> Judgement {
    workshop.certificate("by-address.der", RSA_CERTIFICATE, DOCUMENTATION)?.refuses(&["common name", "CN"])
}
