// SPDX-License-Identifier: GPL-2.0-or-later
//! The published vectors of the derivation: what is hashed, and which encodings are refused.

use std::net::Ipv6Addr;

use cgeid::{CertificateError, Cn, IdentityCertificate, KeyError, Network, PublicKey, SignatureAlgorithm};
use serde_json::Value;

use crate::common::{elements, hex, inside, now, rsa_spki, tlv};

const RSA_SPKI: &[u8] = include_bytes!("../data/rsa4096-spki.der");
/// The vectors' prefix.
const DOCUMENTATION: Network = Network([0x20, 0x01, 0x0d, 0xb8]);

fn vectors() -> Value {
    serde_json::from_str(include_str!("../data/crypto-eid.json")).unwrap()
}

fn address(value: &Value) -> Ipv6Addr {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn the_subject_public_key_info_is_what_is_hashed() {
    let vectors = vectors();
    let form = "SubjectPublicKeyInfo DER (recommended)";
    let mut checked = 0;
    for (name, vector) in vectors.as_object().unwrap() {
        let spki = vector.get("spki").map_or(RSA_SPKI.to_vec(), |spki| hex(spki.as_str().unwrap()));
        let key = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(spki.len() as u64, vector["spki_len"].as_u64().unwrap(), "{name}");
        assert_eq!(key.fingerprint()[..], hex(vector["sha512_spki"].as_str().unwrap()), "{name}");
        assert_eq!(key.cn().address(DOCUMENTATION), address(&vector["eid"][form]), "{name}");
        for (other, eid) in vector["eid"].as_object().unwrap() {
            assert_eq!(other == form, key.cn().address(DOCUMENTATION) == address(eid), "{name}: {other}");
        }
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn a_second_encoding_of_a_key_is_refused() {
    let [algorithm, key] = elements(inside(RSA_SPKI)).try_into().unwrap();
    assert_eq!(algorithm.len(), 15);
    let oid = |hexadecimal: &str| tlv(0x30, &tlv(0x06, &hex(hexadecimal)));
    let forms = [
        (
            "SPKI without NULL parameters",
            tlv(0x30, &[oid("2a864886f70d010101"), key.clone()].concat()),
            KeyError::Parameters,
        ),
        (
            "SPKI with id-RSASSA-PSS OID",
            tlv(0x30, &[oid("2a864886f70d01010a"), key].concat()),
            KeyError::Algorithm { oid: "1.2.840.113549.1.1.10".to_owned() },
        ),
        ("SPKI in non-minimal BER length", [&[0x30, 0x83, 0x00], &RSA_SPKI[2..]].concat(), KeyError::Encoding),
    ];
    let rejected = &vectors()["rsa4096"]["must_reject"];
    assert_eq!(rejected.as_object().unwrap().len(), forms.len());
    for (name, spki, error) in forms {
        // The octets are those that the vector means: they hash to its address.
        assert_eq!(Cn::of_spki(&spki).address(DOCUMENTATION), address(&rejected[name]), "{name}");
        assert_eq!(PublicKey::from_spki(&spki).unwrap_err(), error, "{name}");
    }
}

#[test]
fn rsa_has_4096_bits_and_the_exponent_65537() {
    let modulus = &RSA_SPKI[32..545];
    assert_eq!(rsa_spki(modulus, &[1, 0, 1]), RSA_SPKI);
    let refusal = |modulus: &[u8], exponent: &[u8]| PublicKey::from_spki(&rsa_spki(modulus, exponent)).unwrap_err();
    assert_eq!(refusal(modulus, &[3]), KeyError::Exponent);
    assert_eq!(refusal(modulus, &[1, 0, 3]), KeyError::Exponent);
    assert_eq!(refusal(&modulus[..257], &[1, 0, 1]), KeyError::Bits { found: 2048 });
    let mut short = modulus[1..].to_vec();
    short[0] = 0x7f;
    assert_eq!(refusal(&short, &[1, 0, 1]), KeyError::Bits { found: 4095 });
    let mut short = modulus.to_vec();
    short[1] = 0x7f;
    assert!(matches!(refusal(&short, &[1, 0, 1]), KeyError::Encoding | KeyError::Bits { found: 4095 }));
    let mut long = modulus.to_vec();
    long[0] = 1;
    assert_eq!(refusal(&long, &[1, 0, 1]), KeyError::Bits { found: 4097 });
}

#[test]
fn a_modulus_with_small_factors_is_refused() {
    let mut modulus = RSA_SPKI[32..545].to_vec();
    modulus[512] &= 0xfe;
    assert_eq!(PublicKey::from_spki(&rsa_spki(&modulus, &[1, 0, 1])).unwrap_err(), KeyError::Modulus);
    // All ones is 2^4096 - 1, which 3 divides.
    modulus[1..].fill(0xff);
    assert_eq!(PublicKey::from_spki(&rsa_spki(&modulus, &[1, 0, 1])).unwrap_err(), KeyError::Modulus);
}

#[test]
fn an_ed25519_key_is_44_octets_and_a_usable_point() {
    let spki = hex("302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let key = PublicKey::from_spki(&spki).unwrap();
    assert_eq!(key.signature_algorithm(), SignatureAlgorithm::Ed25519);
    // RFC 8032 7.1 TEST 1: the signature of the empty message.
    let signature =
        hex("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
         d25bf5f0595bbe24655141438e7a100b");
    key.verify(SignatureAlgorithm::Ed25519, b"", &signature).unwrap();
    assert!(key.verify(SignatureAlgorithm::Ed25519, b"x", &signature).is_err());
    assert!(key.verify(SignatureAlgorithm::RsaPkcs1Sha512, b"", &signature).is_err());
    assert!(key.verify(SignatureAlgorithm::Ed25519, b"", &signature[..63]).is_err());

    let with_null = [&hex("302c300706032b65700500032100")[..], &spki[12..]].concat();
    assert_eq!(PublicKey::from_spki(&with_null).unwrap_err(), KeyError::Encoding);
    let small_order = [&spki[..12], &[1], &[0; 31]].concat();
    assert_eq!(PublicKey::from_spki(&small_order).unwrap_err(), KeyError::Point);
    let not_canonical = [&spki[..12], &[0xff; 32]].concat();
    assert_eq!(PublicKey::from_spki(&not_canonical).unwrap_err(), KeyError::Point);
}

#[test]
fn a_certificate_named_by_its_address_is_of_another_profile() {
    let der = include_bytes!("../data/rsa4096-cert.der");
    let error = IdentityCertificate::verify(der, DOCUMENTATION, now()).unwrap_err();
    assert!(matches!(error, CertificateError::CommonName { .. }), "{error}");
}
