// SPDX-License-Identifier: GPL-2.0-or-later
//! The test vectors of the draft: they hold, and its appendix is what the files say.
//!
//! `vectors/cgeid.json` has what the code makes of fixed seeds and a fixed time; the derivation and the rules of Ed25519 are in the
//! files that the tests of `cgeid` read. After a change, `DRAFT_VECTORS=write cargo test -p conformance --test drafts vectors_cgeid`
//! writes the vectors and the appendix again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::draft_text::{folder, hexadecimal, octets};
use cgeid::exchange::{dns, fingerprint, text};
use cgeid::{
    Identity, LinkProof, Network, OperationalCertificate, PuzzleBits, Reason, Revocation, SignatureAlgorithm, puzzle,
};
use dht::record::{Body, Class, Flags, RecordKey, Section, Version};
use serde_json::{Value, json};

const DERIVATION: &str = include_str!("../../../cgeid/tests/data/crypto-eid.json");
const RULES: &str = include_str!("../../../cgeid/tests/data/ed25519-rules.json");
const RSA_SPKI: &[u8] = include_bytes!("../../../cgeid/tests/data/rsa4096-spki.der");
const RSA_KEY: &[u8] = include_bytes!("../../../cgeid/tests/data/rsa4096-test-key.pk8");

/// The network of the examples, 2001:db8::/32.
const NETWORK: Network = Network([0x20, 0x01, 0x0d, 0xb8]);
/// When all is made: 2027-01-15 08:00:00.123 UTC, in milliseconds.
const MADE: u64 = 1_800_000_000_123;
/// The private keys of RFC 8032 7.1, TEST 1 and TEST 2.
const STATIC_SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const TEMPORARY_SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
/// For whom the link proof is made.
const AUDIENCE: &str = "reader.example";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(MADE)
}

fn vectors_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/cgeid.json")
}

fn is_written() -> bool {
    std::env::var("DRAFT_VECTORS").as_deref() == Ok("write")
}

fn seed(digits: &str) -> [u8; 32] {
    octets(digits).try_into().unwrap()
}

fn static_identity() -> Identity {
    Identity::from_seed(&seed(STATIC_SEED), NETWORK, now()).unwrap()
}

/// The operational key that was drawn once: its seed, epoch and certificate. A new one is drawn only where there is none.
fn drawn(identity: &Identity) -> (String, u32, String) {
    let kept = fs::read_to_string(vectors_file()).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    if let Some(kept) = kept.map(|kept| kept["operational"].clone()) {
        let text = |name: &str| kept[name].as_str().unwrap().to_owned();
        return (text("seed"), kept["epoch"].as_u64().unwrap().try_into().unwrap(), text("certificate"));
    }
    assert!(is_written(), "vectors/cgeid.json is missing");
    let key = identity.delegate(now(), 0).unwrap();
    (hexadecimal(&*key.ed25519_seed()), key.epoch(), hexadecimal(key.certificate_der()))
}

fn identity_vector(identity: &Identity) -> Value {
    let own = identity.certificate();
    json!({
        "cn": own.cn().to_string(),
        "address": own.address().to_string(),
        "sha512": hexadecimal(own.fingerprint()),
        "certificate": hexadecimal(own.der()),
    })
}

/// The IDENTITY section of a bundle with one operational certificate, signed by its key.
fn identity_section(identity: &Identity, seed_digits: &str, epoch: u32, certificate: &str) -> Section {
    let body = dht::record::Identity {
        certificate: identity.certificate().der().into(),
        operational: vec![octets(certificate).into()],
        unknown: Vec::new(),
    };
    let unsigned = Section {
        flags: Flags::default(),
        cn: identity.cn(),
        version: Version { epoch, sequence: MADE },
        lifetime: Class::Identity.max_lifetime(),
        body: Body::Identity(body),
        algorithm: SignatureAlgorithm::Ed25519,
        signature: Box::default(),
    };
    let message = unsigned.signed_bytes(&RecordKey::node(NETWORK, identity.cn())).unwrap();
    // A signature is the same, whatever the key is used for.
    let signer = Identity::from_seed(&seed(seed_digits), NETWORK, now()).unwrap();
    Section { signature: signer.sign(&message).unwrap().into(), ..unsigned }
}

/// All vectors, made anew but for the key that was drawn.
fn made() -> Value {
    let identity = static_identity();
    let temporary = Identity::temporary_from_seed(&seed(TEMPORARY_SEED), NETWORK, now()).unwrap();
    let rsa = Identity::from_pkcs8(RSA_KEY, NETWORK, now()).unwrap();
    let (operational_seed, epoch, certificate) = drawn(&identity);
    let brief = temporary.delegate(now(), 0).unwrap();
    let revocation = Revocation::issue(&identity, Reason::UNSPECIFIED, now()).unwrap();
    let link = LinkProof::issue(&identity, &temporary, AUDIENCE, now()).unwrap();
    let key = RecordKey::node(NETWORK, identity.cn());
    let section = identity_section(&identity, &operational_seed, epoch, &certificate);
    let revoked = dht::record::Revocation::section(&revocation).unwrap();
    let mut of_static = identity_vector(&identity);
    of_static["seed"] = STATIC_SEED.into();
    let mut of_temporary = identity_vector(&temporary);
    of_temporary["seed"] = TEMPORARY_SEED.into();
    of_temporary["operational"] = json!({
        "epoch": brief.epoch(),
        "seed": hexadecimal(&*brief.ed25519_seed()),
        "certificate": hexadecimal(brief.certificate_der()),
    });
    let mut of_rsa = identity_vector(&rsa);
    of_rsa["spki"] = hexadecimal(rsa.certificate().key().spki()).into();
    json!({
        "about": "What keys, certificates and statements of fixed seeds are. Times are in milliseconds since 1970, octets in hexadecimal digits.",
        "network": NETWORK.to_string(),
        "made": MADE,
        "static": of_static,
        "rsa4096": of_rsa,
        "temporary": of_temporary,
        "operational": { "epoch": epoch, "seed": operational_seed, "certificate": certificate },
        "revocation": { "reason": Reason::UNSPECIFIED.0, "octets": hexadecimal(&revocation.encode()) },
        "link": { "audience": AUDIENCE, "octets": hexadecimal(&link.encode()) },
        "key": hexadecimal(&key.encode()),
        "identity_section": hexadecimal(&section.encode().unwrap()),
        "revocation_section": hexadecimal(&revoked.encode().unwrap()),
        "qr": text::encode(identity.certificate()),
        "fingerprint": fingerprint::encode(identity.certificate()).trim_end(),
        "cert": dns::encode(identity.certificate(), "host.example.").unwrap().trim_end(),
    })
}

/// The vectors; made once, for a key that is drawn anew is another each time.
static KEPT: LazyLock<Value> = LazyLock::new(|| {
    let made = made();
    if is_written() {
        fs::write(vectors_file(), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&fs::read_to_string(vectors_file()).unwrap()).unwrap();
    assert_eq!(kept, made, "vectors/cgeid.json is stale");
    kept
});

#[test]
fn the_vectors_are_what_the_code_makes() {
    assert_eq!(KEPT["made"], MADE);
}

#[test]
fn the_drawn_key_speaks_for_its_identity() {
    LazyLock::force(&KEPT);
    let identity = static_identity();
    let (seed_digits, epoch, certificate) = drawn(&identity);
    let certificate = OperationalCertificate::verify(&octets(&certificate), identity.certificate(), now()).unwrap();
    let key = Identity::from_seed(&seed(&seed_digits), NETWORK, now()).unwrap();
    assert_eq!(certificate.key().spki(), key.certificate().key().spki());
    assert_eq!(
        (certificate.epoch(), epoch),
        (epoch, cgeid::epoch::epoch(cgeid::epoch::period(identity.cn(), now()), 0))
    );
    assert!(puzzle::is_solved(certificate.key(), epoch, PuzzleBits::LAB));
    let section = identity_section(&identity, &seed_digits, epoch, &hexadecimal(certificate.der()));
    let bundle = dht::record::Bundle::new(vec![section]).unwrap().encode().unwrap();
    let record = RecordKey::node(NETWORK, identity.cn());
    dht::record::verify(NETWORK, &record, &bundle, now(), &mut dht::record::CertificateCache::new()).unwrap();
}

#[test]
fn the_appendix_is_what_the_files_say() {
    let file = folder().join("generated/cgeid-vectors.md");
    let appendix = appendix(&KEPT);
    if is_written() {
        fs::write(&file, &appendix).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap();
    let line = kept.lines().zip(appendix.lines()).position(|(one, other)| one != other);
    assert!(kept == appendix, "{} is stale from line {line:?}; see the head of this test", file.display());
}

/// Octets in a line of a figure.
const LINE: usize = 32;

/// The appendix, level by level.
fn appendix(vectors: &Value) -> String {
    let mut out = "{::comment}\nSPDX-License-Identifier: GPL-2.0-or-later\nMade by conformance/tests/drafts/vectors_cgeid.rs.\n{:/comment}\n\n\
        Octets are in hexadecimal digits, 32 to a line.  The network is 2001:db8::/32.\n\n"
        .to_owned();
    derivation(&mut out);
    rules(&mut out);
    certificates(&mut out, vectors);
    statements(&mut out, vectors);
    forms(&mut out, vectors);
    out
}

fn figure(out: &mut String, lead: &str, lines: &str) {
    let _ = write!(out, "{lead}:\n\n~~~~\n{}\n~~~~\n\n", lines.trim_end());
}

fn lines(text: &str, width: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(width).map(|line| line.iter().collect::<String>() + "\n").collect()
}

fn octets_figure(out: &mut String, lead: &str, digits: &str) {
    figure(out, &format!("{lead} ({} octets)", digits.len() / 2), &lines(digits, 2 * LINE));
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn derivation(out: &mut String) {
    let vectors: Value = serde_json::from_str(DERIVATION).unwrap();
    out.push_str("## Keys and Addresses {#tv-keys}\n\nThe Ed25519 keys are those of {{Section 7.1 of RFC8032}}.\n\n");
    let names = [
        ("ed25519 (RFC 8032 7.1 TEST 1 public key)", "Ed25519, TEST 1"),
        ("ed25519 (RFC 8032 7.1 TEST 2 public key)", "Ed25519, TEST 2"),
        ("rsa4096", "RSA"),
    ];
    for (name, title) in names {
        let vector = &vectors[name];
        let spki = vector["spki"].as_str().map_or_else(|| hexadecimal(RSA_SPKI), ToOwned::to_owned);
        octets_figure(out, &format!("SPKI, {title}"), &spki);
        octets_figure(out, "SHA-512 over it", string(&vector["sha512_spki"]));
        figure(out, "CGEID", string(&vector["eid"]["SubjectPublicKeyInfo DER (recommended)"]));
    }
    let mut refused = String::new();
    for (what, address) in vectors["rsa4096"]["must_reject"].as_object().unwrap() {
        let _ = writeln!(refused, "{what}:\n   {}", string(address));
    }
    figure(out, "Encodings of the RSA key that are refused, and the addresses that would come out", &refused);
    let mut others = String::new();
    for (what, address) in vectors["rsa4096"]["eid"].as_object().unwrap() {
        if !what.starts_with("SubjectPublicKeyInfo") {
            let what = what.split(" = ").next().unwrap();
            let _ = writeln!(others, "{what}:\n   {}", string(address));
        }
    }
    figure(out, "Parts of its encoding that are not hashed, and what would come out", &others);
}

fn rules(out: &mut String) {
    let rules: Value = serde_json::from_str(RULES).unwrap();
    out.push_str("## Ed25519 {#tv-ed25519}\n\n");
    for (why, keys) in rules["keys_refused"].as_object().unwrap() {
        let keys: String = keys.as_array().unwrap().iter().map(|key| format!("{}\n", string(key))).collect();
        figure(out, &format!("Keys that are refused: {why}"), &keys);
    }
    let kinds = [
        ("taken", "signed", "Signatures that are taken: those of RFC 8032"),
        ("taken", "mixed_r", "Signatures that are taken, by the equation with the cofactor alone"),
        ("refused", "large_s", "Signatures that are refused: S is not below the order"),
        ("refused", "small_r", "Signatures that are refused: R has small order"),
    ];
    out.push_str("Signatures follow as key, message in parentheses, R and S.\n\n");
    for (verdict, name, title) in kinds {
        let mut all = String::new();
        for one in rules[verdict][name].as_array().unwrap() {
            let (r, s) = string(&one["signature"]).split_at(64);
            let _ = writeln!(all, "{}\n({})\n{r}\n{s}\n", string(&one["key"]), string(&one["message"]));
        }
        figure(out, title, &all);
    }
}

fn identity(out: &mut String, title: &str, vector: &Value) {
    if let Some(seed) = vector["seed"].as_str() {
        octets_figure(out, &format!("{title}: the private key"), seed);
    }
    if let Some(spki) = vector["spki"].as_str() {
        octets_figure(out, &format!("{title}: SPKI"), spki);
    }
    figure(
        out,
        &format!("{title}: the name and the CGEID"),
        &format!("{}\n{}", string(&vector["cn"]), string(&vector["address"])),
    );
    octets_figure(out, &format!("{title}: the identity certificate"), string(&vector["certificate"]));
}

fn operational(out: &mut String, title: &str, vector: &Value) {
    let _ = write!(out, "{title}: epoch {}.\n\n", vector["epoch"]);
    octets_figure(out, "Its private key", string(&vector["seed"]));
    octets_figure(out, "Its certificate", string(&vector["certificate"]));
}

fn certificates(out: &mut String, vectors: &Value) {
    let _ = write!(
        out,
        "## Certificates {{#tv-certificates}}\n\nAll are made at 2027-01-15 08:00:00.123 UTC, which is {} ms since 1970.\n\n",
        vectors["made"]
    );
    identity(out, "Static identity", &vectors["static"]);
    operational(out, "Operational key of the static identity", &vectors["operational"]);
    identity(out, "RSA identity", &vectors["rsa4096"]);
    identity(out, "Temporary identity", &vectors["temporary"]);
    operational(out, "Operational key of the temporary identity", &vectors["temporary"]["operational"]);
}

fn statements(out: &mut String, vectors: &Value) {
    out.push_str("## Statements {#tv-statements}\n\n");
    octets_figure(out, "Revocation of the static identity, reason 0", string(&vectors["revocation"]["octets"]));
    let link = &vectors["link"];
    let lead = format!("Link proof of both Ed25519 identities for the audience \"{}\"", string(&link["audience"]));
    octets_figure(out, &lead, string(&link["octets"]));
    octets_figure(out, "Key of the static identity's bundle", string(&vectors["key"]));
    octets_figure(
        out,
        "IDENTITY section under that key, signed by the operational key",
        string(&vectors["identity_section"]),
    );
    octets_figure(out, "REVOCATION section under that key", string(&vectors["revocation_section"]));
}

fn forms(out: &mut String, vectors: &Value) {
    out.push_str("## Forms of Exchange {#tv-forms}\n\nAll are of the static identity; lines are broken here after 64 characters.\n\n");
    for (name, title) in [("qr", "Text of a QR code"), ("fingerprint", "Fingerprint"), ("cert", "CERT record")] {
        figure(out, title, &lines(string(&vectors[name]), 2 * LINE));
    }
}
