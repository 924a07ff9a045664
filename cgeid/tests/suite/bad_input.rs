// SPDX-License-Identifier: GPL-2.0-or-later
//! Files that must be refused, each for its reason: by the library, and by `cgeid show`.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use cgeid::container;
use cgeid::{CertificateError, CnError, ContainerError, Identity, IdentityCertificate, KeyError, Network};
use cgeid::{PublicKey, SignatureAlgorithm};
use serde_json::Value;

use crate::common::{RSA_KEY, at, edit_extensions, elements, forge, hex, inside, name, rsa_spki, tlv};
use crate::containers::compose;

/// Valid today, for the program asks the machine's clock.
static TODAY: LazyLock<Identity> =
    LazyLock::new(|| Identity::from_seed(&[7; 32], Network::LAB, SystemTime::now()).unwrap());
static RSA_TODAY: LazyLock<Identity> =
    LazyLock::new(|| Identity::from_pkcs8(RSA_KEY, Network::LAB, SystemTime::now()).unwrap());

/// What `cgeid show` says of a file: it exits with 1 and a message that has `hint` in it.
#[cfg(feature = "shell")]
fn the_program_refuses(title: &str, file: &[u8], hint: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad"), file).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_cgeid"))
        .args(["show", "bad"])
        .current_dir(folder.path())
        .env("CGEID_PASSWORD", crate::containers::PASSWORD)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{title}: {message}");
    assert!(message.contains(hint), "{title}: {message}");
    assert!(output.stdout.is_empty(), "{title}");
}

#[cfg(not(feature = "shell"))]
fn the_program_refuses(_: &str, _: &[u8], _: &str) {}

/// The certificate is refused for `expected`; as a PEM file, which is one whatever is in it.
fn refused(title: &str, der: &[u8], expected: impl Fn(&CertificateError) -> bool, hint: &str) {
    let error = IdentityCertificate::verify(der, Network::LAB, SystemTime::now()).unwrap_err();
    assert!(expected(&error), "{title}: {error:?}");
    let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap();
    the_program_refuses(title, pem.as_bytes(), hint);
}

/// Today's Ed25519 certificate with a change, signed by its owner.
fn changed(edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    forge(TODAY.certificate().der(), &TODAY, edit)
}

#[test]
fn what_is_changed_here_is_good_without_the_change() {
    for identity in [&*TODAY, &*RSA_TODAY] {
        let same = forge(identity.certificate().der(), identity, |_| ());
        assert_eq!(same, identity.certificate().der());
        IdentityCertificate::verify(&same, Network::LAB, SystemTime::now()).unwrap();
    }
}

#[test]
fn rsa_keys_outside_the_profile() {
    let good = RSA_TODAY.certificate().key().spki();
    let modulus = &good[32..545];
    assert_eq!(rsa_spki(modulus, &[1, 0, 1]), good);
    let with = |octet: usize, value: u8| {
        let mut modulus = modulus.to_vec();
        modulus[octet] = value;
        modulus
    };
    let key = elements(inside(good)).pop().unwrap();
    let under = |algorithm: &str| tlv(0x30, &[tlv(0x30, &hex(algorithm)), key.clone()].concat());
    let pss = KeyError::Algorithm { oid: "1.2.840.113549.1.1.10".to_owned() };
    let cases = [
        ("2048 bits", rsa_spki(&modulus[..257], &[1, 0, 1]), KeyError::Bits { found: 2048 }, "2048"),
        ("4095 bits", rsa_spki(&with(1, 0x7f)[1..], &[1, 0, 1]), KeyError::Bits { found: 4095 }, "4095"),
        ("4097 bits", rsa_spki(&with(0, 1), &[1, 0, 1]), KeyError::Bits { found: 4097 }, "4097"),
        ("e = 3", rsa_spki(modulus, &[3]), KeyError::Exponent, "65537"),
        ("even", rsa_spki(&with(512, 0xc4), &[1, 0, 1]), KeyError::Modulus, "modulus"),
        ("PSS", under("06092a864886f70d01010a"), pss, "1.2.840.113549.1.1.10"),
        ("no NULL", under("06092a864886f70d010101"), KeyError::Parameters, "NULL"),
    ];
    for (title, spki, expected, hint) in cases {
        let der = forge(RSA_TODAY.certificate().der(), &RSA_TODAY, |fields| fields[at::KEY] = spki);
        refused(title, &der, |error| *error == CertificateError::Key(expected.clone()), hint);
    }
}

/// Lengths that BER allows and DER does not, at every depth.
#[test]
fn lengths_that_are_not_the_shortest() {
    let good = TODAY.certificate().der();
    let longer = |element: &[u8]| match element[1] {
        short @ 0..=0x7f => [&[element[0], 0x81, short], &element[2..]].concat(),
        0x81 => [&[element[0], 0x82, 0], &element[2..]].concat(),
        _ => [&[element[0], 0x83, 0], &element[2..]].concat(),
    };
    let indefinite = [&[0x30, 0x80], inside(good), &[0, 0]].concat();
    let mut cases = vec![longer(good), indefinite];
    cases.extend((at::VERSION..=at::EXTENSIONS).map(|field| changed(|fields| fields[field] = longer(&fields[field]))));
    for (index, der) in cases.iter().enumerate() {
        let malformed = |error: &CertificateError| {
            matches!(error, CertificateError::Malformed { .. } | CertificateError::NotCanonical)
        };
        refused(&format!("length {index}"), der, malformed, "DER");
    }
}

#[test]
fn names_in_another_form() {
    let cn = TODAY.cn().to_string();
    let named = |name: Vec<u8>| {
        changed(|fields| {
            fields[at::SUBJECT] = name.clone();
            fields[at::ISSUER] = name;
        })
    };
    let second = named(name(0x0c, &[&cn, &cn]));
    refused("second", &second, |error| matches!(error, CertificateError::Name { .. }), "exactly one relative name");
    let upper = named(name(0x0c, &[&cn.to_uppercase()]));
    let digit =
        |error: &CertificateError| matches!(error, CertificateError::CommonName { reason: CnError::Digit { .. }, .. });
    refused("upper case", &upper, digit, "lower case");
}

#[test]
fn extensions_that_disagree_or_are_not_known() {
    let last = |extension: &mut Vec<u8>| *extension.last_mut().unwrap() ^= 1;
    let san = changed(|fields| edit_extensions(fields, |extensions| last(extensions.last_mut().unwrap())));
    let expected = CertificateError::Extension { name: "subjectAltName" };
    refused("subjectAltName", &san, |error| *error == expected, "subjectAltName");
    let critical = tlv(0x30, &hex("060355ee010101ff04020500"));
    let unknown = changed(|fields| edit_extensions(fields, |extensions| extensions.push(critical)));
    refused(
        "critical",
        &unknown,
        |error| matches!(error, CertificateError::UnknownCritical { .. }),
        "unknown critical",
    );
}

#[test]
fn certificates_of_another_time() {
    let dates = |from: &[u8], to: &[u8]| tlv(0x30, &[tlv(0x17, from), tlv(0x17, to)].concat());
    let expired = changed(|fields| fields[at::VALIDITY] = dates(b"200101000000Z", b"200201000000Z"));
    refused("expired", &expired, |error| matches!(error, CertificateError::Expired { .. }), "expired at 2020-02-01");
    let future = changed(|fields| fields[at::VALIDITY] = dates(b"490101000000Z", b"490201000000Z"));
    let not_yet = |error: &CertificateError| matches!(error, CertificateError::NotYetValid { .. });
    refused("future", &future, not_yet, "not valid before 2049-01-01");
}

/// A container is refused for `expected`, soon.
fn container_refused(title: &str, file: &[u8], expected: &ContainerError, hint: &str) {
    let before = Instant::now();
    let error = container::load(file, crate::containers::PASSWORD, Network::LAB, SystemTime::now()).unwrap_err();
    assert_eq!(error, *expected, "{title}");
    the_program_refuses(title, file, hint);
    assert!(before.elapsed() < BOUND, "{title}: {:?}", before.elapsed());
}

/// The work that absurd files ask for would take minutes, what is done before they are refused milliseconds. The rest is
/// for a machine that has other things to do.
const BOUND: Duration = Duration::from_secs(20);

#[test]
fn containers_that_hold_too_much_or_a_wrong_mac() {
    let [key, other] = [0, 1].map(|_| TODAY.delegate(SystemTime::now(), 0).unwrap());
    let chain = [key.certificate_der(), key.identity_certificate_der()];
    let good = compose(&[(&key, &chain)]);
    container::load(&good, crate::containers::PASSWORD, Network::LAB, SystemTime::now()).unwrap();
    let two = compose(&[(&key, &chain), (&other, &[other.certificate_der()])]);
    container_refused("two keys", &two, &ContainerError::Keys { found: 2 }, "2 private keys");
    // The MAC's value ends where salt and rounds begin: 04 08 and 02 01 02, the file's last elements.
    let mut wrong = good.clone();
    let end = good.len() - 14;
    wrong[end] ^= 1;
    container_refused("wrong MAC", &wrong, &ContainerError::Password, "wrong password");
}

#[test]
fn absurd_numbers_of_rounds_cost_no_time() {
    let key = TODAY.delegate(SystemTime::now(), 0).unwrap();
    let file = container::save_operational(&key, crate::containers::PASSWORD).unwrap();
    let (mac, bag) = (hex("02030f4240"), hex("02030927c0"));
    for (place, pattern) in [("MAC", mac), ("bag", bag)] {
        for (rounds, encoded) in [(1_000_001, "02030f4241"), (8_388_607, "02037fffff")] {
            let at = file.windows(pattern.len()).position(|window| *window == pattern).unwrap();
            let mut absurd = file.clone();
            absurd[at..at + pattern.len()].copy_from_slice(&hex(encoded));
            let title = format!("{rounds} rounds of the {place}");
            container_refused(&title, &absurd, &ContainerError::Rounds { rounds }, &rounds.to_string());
        }
    }
}

#[test]
fn rounds_that_do_not_fit_a_number_are_refused_as_well() {
    let key = TODAY.delegate(SystemTime::now(), 0).unwrap();
    let file = compose(&[(&key, &[key.certificate_der(), key.identity_certificate_der()])]);
    let mut parts = elements(inside(&file));
    let mut mac = elements(inside(&parts[2]));
    for (encoded, rounds) in
        [("0204 7fffffff", 0x7fff_ffff), ("0208 7fffffffffffffff", i64::MAX as u64), ("0201 00", 0)]
    {
        mac[2] = hex(&encoded.replace(' ', ""));
        parts[2] = tlv(0x30, &mac.concat());
        let absurd = tlv(0x30, &parts.concat());
        container_refused(encoded, &absurd, &ContainerError::Rounds { rounds }, &rounds.to_string());
    }
    mac[2] = hex("0209008000000000000000");
    parts[2] = tlv(0x30, &mac.concat());
    let absurd = tlv(0x30, &parts.concat());
    let error = container::load(&absurd, "any", Network::LAB, SystemTime::now()).unwrap_err();
    assert!(matches!(error, ContainerError::Malformed { .. }), "{error:?}");
    the_program_refuses("nine octets", &absurd, "PKCS#12");
}

/// RFC 8410 has one form for the private key: no parameters, and a public half only if it is the seed's.
#[test]
fn an_ed25519_private_key_that_contradicts_itself() {
    let read = |pkcs8: &[u8]| Identity::from_pkcs8(pkcs8, Network::LAB, SystemTime::now());
    let (version_1, version_2, algorithm) = (hex("020100"), hex("020101"), hex("300506032b6570"));
    let seed = tlv(0x04, &tlv(0x04, &[7; 32]));
    let pkcs8 = |parts: &[&[u8]]| tlv(0x30, &parts.concat());
    assert_eq!(read(&pkcs8(&[&version_1, &algorithm, &seed])).unwrap().cn(), TODAY.cn());
    let public = |octets: &[u8]| tlv(0x81, &[&[0], octets].concat());
    let own = public(&TODAY.certificate().key().ed25519().unwrap());
    assert_eq!(read(&pkcs8(&[&version_2, &algorithm, &seed, &own])).unwrap().cn(), TODAY.cn());
    let parameters = hex("300706032b65700500");
    for wrong in [
        pkcs8(&[&version_1, &parameters, &seed]),
        pkcs8(&[&version_2, &algorithm, &seed, &public(&[9; 32])]),
        pkcs8(&[&version_2, &algorithm, &seed, &public(&[])]),
        pkcs8(&[&version_1, &algorithm, &tlv(0x04, &tlv(0x04, &[7; 31]))]),
    ] {
        assert_eq!(read(&wrong).unwrap_err(), CertificateError::Key(KeyError::Private), "{wrong:02x?}");
    }
}

/// One rule set: RFC 8032 with the cofactor, canonical points and S, neither keys nor R of small order.
#[test]
fn ed25519_points_and_signatures_on_the_edge() {
    let rules: Value = serde_json::from_str(include_str!("../data/ed25519-rules.json")).unwrap();
    let spki = |point: &str| hex(&format!("302a300506032b6570032100{point}"));
    let mut seen = 0;
    for points in rules["keys_refused"].as_object().unwrap().values() {
        for point in points.as_array().unwrap() {
            let spki = spki(point.as_str().unwrap());
            assert_eq!(PublicKey::from_spki(&spki).unwrap_err(), KeyError::Point, "{point}");
            let der = changed(|fields| fields[at::KEY] = spki);
            let expected = CertificateError::Key(KeyError::Point);
            refused(point.as_str().unwrap(), &der, |error| *error == expected, "usable point");
            seen += 1;
        }
    }
    for (verdict, taken) in [("taken", true), ("refused", false)] {
        for signed in rules[verdict].as_object().unwrap().values().flat_map(|list| list.as_array().unwrap()) {
            let key = PublicKey::from_spki(&spki(signed["key"].as_str().unwrap())).unwrap();
            let (message, signature) =
                (hex(signed["message"].as_str().unwrap()), hex(signed["signature"].as_str().unwrap()));
            let holds = key.verify(SignatureAlgorithm::Ed25519, &message, &signature).is_ok();
            assert_eq!(holds, taken, "{signed}");
            seen += 1;
        }
    }
    assert_eq!(seen, 15 + 11 + 11);
}
