// SPDX-License-Identifier: GPL-2.0-or-later
//! Identity certificates: what ours say, and every rule that a forged one breaks.

use std::time::{Duration, UNIX_EPOCH};

use cgeid::{CertificateError, CnError, Identity, IdentityCertificate, KeyError, Network, SignatureAlgorithm};

use crate::common::{
    ED25519, RSA, STRANGER, at, days, edit_extensions, elements, forge, hex, inside, name, now, rsa_spki, tlv,
};

fn verify(der: &[u8]) -> Result<IdentityCertificate, CertificateError> {
    IdentityCertificate::verify(der, Network::LAB, now())
}

fn refusal(edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> CertificateError {
    verify(&forge(ED25519.certificate().der(), &ED25519, edit)).unwrap_err()
}

#[test]
fn both_kinds_of_key_make_certificates_that_verify() {
    for identity in [&*RSA, &*ED25519] {
        let certificate = verify(identity.certificate().der()).unwrap();
        assert_eq!(certificate, *identity.certificate());
        assert_eq!(certificate.address(), identity.cn().address(Network::LAB));
        assert_eq!(Network::LAB.cn_of(certificate.address()), Some(identity.cn()));
        let message = b"a message";
        let signature = identity.sign(message).unwrap();
        certificate.verify_signature(certificate.algorithm(), message, &signature).unwrap();
        assert_eq!(signature.len(), certificate.algorithm().signature_length());
        assert!(certificate.verify_signature(certificate.algorithm(), b"another", &signature).is_err());
    }
}

#[test]
fn a_new_rsa_identity_has_the_profile() {
    let identity = Identity::generate_rsa4096(Network::LAB, now()).unwrap();
    verify(identity.certificate().der()).unwrap();
    assert_eq!(identity.certificate().algorithm(), SignatureAlgorithm::RsaPkcs1Sha512);
}

#[test]
fn dates_are_the_hour_before_and_the_end_of_time() {
    let certificate = ED25519.certificate();
    assert_eq!(certificate.not_before(), UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let validity = inside(&elements(inside(&elements(inside(certificate.der()))[0]))[at::VALIDITY]).to_vec();
    assert!(validity.ends_with(b"\x18\x0f99991231235959Z"));
}

#[test]
fn the_same_bytes_prove_nothing_in_another_network() {
    let elsewhere = Network([0x20, 0x01, 0x0d, 0xb8]);
    let error = IdentityCertificate::verify(ED25519.certificate().der(), elsewhere, now()).unwrap_err();
    assert_eq!(error, CertificateError::Extension { name: "subjectAltName" });
}

#[test]
fn the_name_is_computed_before_any_signature_is_checked() {
    let foreign = STRANGER.cn().to_string();
    let edit = |fields: &mut Vec<Vec<u8>>| {
        fields[at::ISSUER] = name(0x0c, &[&foreign]);
        fields[at::SUBJECT] = name(0x0c, &[&foreign]);
    };
    let expected = CertificateError::CnMismatch { named: STRANGER.cn(), computed: ED25519.cn() };
    assert_eq!(refusal(edit), expected);
    // Signed by somebody else as well: the name is still the first thing found out.
    assert_eq!(verify(&forge(ED25519.certificate().der(), &STRANGER, edit)).unwrap_err(), expected);
}

#[test]
fn a_name_has_one_form() {
    let cn = ED25519.cn().to_string();
    let subject = |value: Vec<u8>| refusal(move |fields| fields[at::SUBJECT] = value);
    let upper = cn.to_uppercase();
    assert!(matches!(
        subject(name(0x0c, &[&upper])),
        CertificateError::CommonName { which: "subject", reason: CnError::Digit { .. } }
    ));
    assert!(matches!(subject(name(0x0c, &["x"])), CertificateError::CommonName { .. }));
    for wrong in [name(0x0c, &[&cn, &cn]), name(0x0c, &[]), name(0x13, &[&cn])] {
        assert_eq!(subject(wrong), CertificateError::Name { which: "subject" });
    }
    let both = [tlv(0x06, &[0x55, 4, 3]), tlv(0x0c, cn.as_bytes())].concat();
    let organisation = [tlv(0x06, &[0x55, 4, 10]), tlv(0x0c, b"x")].concat();
    let multi_valued = tlv(0x30, &tlv(0x31, &[tlv(0x30, &organisation), tlv(0x30, &both)].concat()));
    assert_eq!(subject(multi_valued), CertificateError::Name { which: "subject" });
    let other = STRANGER.cn();
    assert_eq!(
        refusal(|fields| fields[at::ISSUER] = name(0x0c, &[&other.to_string()])),
        CertificateError::IssuerDiffers { issuer: other, subject: ED25519.cn() }
    );
}

#[test]
fn weak_keys_are_refused_in_certificates_too() {
    let modulus = [&[0][..], &[0xc5; 256]].concat();
    assert_eq!(
        refusal(|fields| fields[at::KEY] = rsa_spki(&modulus, &[1, 0, 1])),
        CertificateError::Key(KeyError::Bits { found: 2048 })
    );
    let modulus = [&[0][..], &[0xc5; 512]].concat();
    assert_eq!(refusal(|fields| fields[at::KEY] = rsa_spki(&modulus, &[3])), CertificateError::Key(KeyError::Exponent));
}

#[test]
fn extensions_have_the_profiles_value_once() {
    let names = ["basicConstraints", "keyUsage", "subjectKeyIdentifier", "subjectAltName"];
    for (index, name) in names.into_iter().enumerate() {
        let missing = refusal(|fields| {
            edit_extensions(fields, |extensions| {
                extensions.remove(index);
            });
        });
        assert_eq!(missing, CertificateError::MissingExtension { name });
        let changed = refusal(|fields| {
            edit_extensions(fields, |extensions| *extensions[index].last_mut().unwrap() ^= 1);
        });
        assert_eq!(changed, CertificateError::Extension { name });
        let twice = refusal(|fields| edit_extensions(fields, |extensions| extensions.push(extensions[index].clone())));
        assert_eq!(twice, CertificateError::DuplicateExtension);
    }
    assert_eq!(refusal(|fields| drop(fields.pop())), CertificateError::MissingExtension { name: names[0] });
}

#[test]
fn an_unknown_extension_is_refused_if_critical_and_ignored_if_not() {
    let unknown = |critical: &[u8]| {
        let body = [hex("060355ee01"), critical.to_vec(), hex("04020500")].concat();
        tlv(0x30, &body)
    };
    let with = |critical: &'static [u8]| {
        move |fields: &mut Vec<Vec<u8>>| edit_extensions(fields, |extensions| extensions.push(unknown(critical)))
    };
    let error = refusal(with(&[0x01, 0x01, 0xff]));
    assert_eq!(error, CertificateError::UnknownCritical { oid: "55ee01".to_owned() });
    verify(&forge(ED25519.certificate().der(), &ED25519, with(&[]))).unwrap();
}

#[test]
fn a_serial_number_is_positive_and_short() {
    let serial = |value: &[u8]| {
        let element = tlv(0x02, value);
        verify(&forge(ED25519.certificate().der(), &ED25519, |fields| fields[at::SERIAL] = element))
    };
    let longest = [&[0x7f][..], &[0; 19]].concat();
    serial(&longest).unwrap();
    for wrong in [&[0][..], &[0xff], &[&[0x7f][..], &[0; 20]].concat()] {
        assert_eq!(serial(wrong).unwrap_err(), CertificateError::Serial, "{wrong:02x?}");
    }
}

#[test]
fn an_extension_has_an_object_identifier() {
    for id in ["0500", "0600", "06038055 01", "060255ee", "300455ee0101"] {
        let extension = tlv(0x30, &[hex(&id.replace(' ', "")), hex("04020500")].concat());
        let error = refusal(|fields| edit_extensions(fields, |extensions| extensions.push(extension)));
        assert!(matches!(error, CertificateError::Malformed { .. }), "{id}: {error}");
    }
}

#[test]
fn the_key_decides_the_signature_algorithm() {
    let sha512_rsa = hex("300d06092a864886f70d01010d0500");
    assert_eq!(refusal(|fields| fields[at::ALGORITHM] = sha512_rsa.clone()), CertificateError::SignatureAlgorithm);
    let mut parts = elements(inside(ED25519.certificate().der()));
    parts[1] = sha512_rsa;
    assert_eq!(verify(&tlv(0x30, &parts.concat())).unwrap_err(), CertificateError::SignatureAlgorithm);
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let forged = forge(ED25519.certificate().der(), &STRANGER, |_| ());
    assert_eq!(verify(&forged).unwrap_err(), CertificateError::Signature);
}

#[test]
fn dates_are_checked() {
    let dates = |from: &[u8], to: &[u8]| tlv(0x30, &[tlv(0x17, from), tlv(0x17, to)].concat());
    let expired = refusal(|fields| fields[at::VALIDITY] = dates(b"260101000000Z", b"260201000000Z"));
    assert!(matches!(expired, CertificateError::Expired { .. }));
    let future = refusal(|fields| fields[at::VALIDITY] = dates(b"280101000000Z", b"280201000000Z"));
    assert!(matches!(future, CertificateError::NotYetValid { .. }));
    let reversed = refusal(|fields| fields[at::VALIDITY] = dates(b"280201000000Z", b"260101000000Z"));
    assert_eq!(reversed, CertificateError::Dates);
    assert!(ED25519.certificate().check_dates(now() - days(1)).is_err());
    // A clock that is two minutes late still takes it.
    assert!(ED25519.certificate().check_dates(ED25519.certificate().not_before() - Duration::from_secs(120)).is_ok());
}

#[test]
fn only_version_3_in_canonical_der() {
    let old = refusal(|fields| fields[at::VERSION] = hex("a003020101"));
    assert_eq!(old, CertificateError::Version);
    let none = refusal(|fields| drop(fields.remove(at::VERSION)));
    assert_eq!(none, CertificateError::Version);
    // GeneralizedTime for a year that UTCTime can say.
    let time = refusal(|fields| {
        fields[at::VALIDITY] = tlv(0x30, &[tlv(0x18, b"20270101000000Z"), tlv(0x18, b"99991231235959Z")].concat());
    });
    assert_eq!(time, CertificateError::NotCanonical);
    let unique_identifier = refusal(|fields| fields.insert(at::EXTENSIONS, hex("81020001")));
    assert!(matches!(unique_identifier, CertificateError::Malformed { .. }));
    let trailing = [ED25519.certificate().der(), &[0]].concat();
    assert!(matches!(verify(&trailing).unwrap_err(), CertificateError::Malformed { .. }));
    assert_eq!(verify(&[0x30; 5000]).unwrap_err(), CertificateError::TooLong { length: 5000 });
}
