// SPDX-License-Identifier: GPL-2.0-or-later
//! Operational keys and their certificates.

use std::time::{Duration, SystemTime};

use cgeid::{
    CertificateError, IdentityCertificate, Network, OperationalCertificate, OperationalKey, SignatureAlgorithm, epoch,
};

use crate::common::{ED25519, RSA, STRANGER, at, days, edit_extensions, elements, forge, hex, inside, name, now, tlv};

fn key() -> OperationalKey {
    ED25519.delegate(now(), 0).unwrap()
}

fn refusal(edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> CertificateError {
    let forged = forge(key().certificate_der(), &ED25519, edit);
    OperationalCertificate::verify(&forged, ED25519.certificate(), now()).unwrap_err()
}

#[test]
fn either_kind_of_identity_can_delegate() {
    for identity in [&*RSA, &*ED25519] {
        let key = identity.delegate(now(), 0).unwrap();
        let certificate = OperationalCertificate::verify(key.certificate_der(), identity.certificate(), now()).unwrap();
        assert_eq!(certificate.cn(), identity.cn());
        assert_eq!(certificate.epoch(), epoch::epoch(epoch::period(identity.cn(), now()), 0));
        let signature = key.sign(b"a record");
        certificate.verify_signature(SignatureAlgorithm::Ed25519, b"a record", &signature).unwrap();
        assert!(certificate.verify_signature(SignatureAlgorithm::Ed25519, b"another", &signature).is_err());
        let claimed = SignatureAlgorithm::RsaPkcs1Sha512;
        assert!(certificate.verify_signature(claimed, b"a record", &signature).is_err());
    }
}

#[test]
fn it_lives_35_days_from_just_before_now() {
    let key = key();
    let certificate = key.certificate();
    assert_eq!(certificate.not_after().duration_since(certificate.not_before()).unwrap(), days(35));
    let age = now().duration_since(certificate.not_before()).unwrap();
    assert!((120..122).contains(&age.as_secs()), "{age:?}");
    let late = now() + days(35);
    let error = OperationalCertificate::verify(key.certificate_der(), ED25519.certificate(), late).unwrap_err();
    assert_eq!(error, CertificateError::Expired { not_after: certificate.not_after() });
}

#[test]
fn a_later_month_has_a_higher_epoch_and_waits_for_it() {
    let later = ED25519.delegate(now(), 2).unwrap();
    assert_eq!(later.epoch(), key().epoch() + 512);
    let verify = |at| OperationalCertificate::verify(later.certificate_der(), ED25519.certificate(), at);
    assert!(matches!(verify(now()), Err(CertificateError::NotYetValid { .. })));
    let begin = epoch::period_start(ED25519.cn(), later.epoch() / 256).unwrap();
    verify(begin).unwrap();
    verify(begin + epoch::PERIOD).unwrap();
    assert_eq!(ED25519.delegate_revision(now(), 0, 9).unwrap().epoch(), key().epoch() + 9);
}

#[test]
fn keys_made_at_once_differ_in_key_and_serial() {
    let serial = |der: &[u8]| {
        let fields =
            crate::common::elements(crate::common::inside(&crate::common::elements(crate::common::inside(der))[0]));
        fields[1].clone()
    };
    let keys: Vec<_> = (0..3).map(|month| ED25519.delegate(now(), month).unwrap()).collect();
    let mut serials: Vec<_> = keys.iter().map(|key| serial(key.certificate_der())).collect();
    serials.push(serial(ED25519.certificate().der()));
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 4);
    assert_ne!(keys[0].ed25519_seed(), keys[1].ed25519_seed());
}

#[test]
fn it_speaks_for_no_other_identity() {
    let error = OperationalCertificate::verify(key().certificate_der(), STRANGER.certificate(), now()).unwrap_err();
    assert_eq!(error, CertificateError::OtherIdentity { expected: STRANGER.cn(), found: ED25519.cn() });
    // Nor does one that a stranger signed in our name.
    let forged = forge(key().certificate_der(), &STRANGER, |_| ());
    let error = OperationalCertificate::verify(&forged, ED25519.certificate(), now()).unwrap_err();
    assert_eq!(error, CertificateError::Signature);
    let issuer = name(0x0c, &[&STRANGER.cn().to_string()]);
    let error = refusal(|fields| fields[at::ISSUER] = issuer);
    assert!(matches!(error, CertificateError::OtherIdentity { .. }));
}

#[test]
fn the_identity_key_is_no_operational_key() {
    let verify = |der| OperationalCertificate::verify(der, ED25519.certificate(), now()).unwrap_err();
    assert_eq!(verify(ED25519.certificate().der()), CertificateError::OperationalIsIdentity);
    let rsa = OperationalCertificate::verify(RSA.certificate().der(), RSA.certificate(), now()).unwrap_err();
    assert_eq!(rsa, CertificateError::OperationalAlgorithm);
}

#[test]
fn an_operational_certificate_is_no_identity_certificate() {
    let key = key();
    let network = cgeid::Network::LAB;
    let error = cgeid::IdentityCertificate::verify(key.certificate_der(), network, now()).unwrap_err();
    assert!(matches!(error, CertificateError::CnMismatch { .. }));
}

#[test]
fn its_extensions_have_the_profiles_value() {
    let names =
        ["basicConstraints", "keyUsage", "subjectKeyIdentifier", "authorityKeyIdentifier", "extendedKeyUsage", "epoch"];
    for (index, name) in names.into_iter().enumerate() {
        let missing = refusal(|fields| {
            edit_extensions(fields, |extensions| {
                extensions.remove(index);
            });
        });
        assert_eq!(missing, CertificateError::MissingExtension { name });
    }
    for (index, name) in names.into_iter().enumerate().take(5) {
        let changed = refusal(|fields| {
            edit_extensions(fields, |extensions| *extensions[index].last_mut().unwrap() ^= 1);
        });
        assert_eq!(changed, CertificateError::Extension { name });
    }
    // Epochs that are no number from 0 to 2^32 - 1: negative, too large, not minimal, no INTEGER.
    for value in ["0201ff", "02050100000000", "02020001", "040101"] {
        let error = refusal(|fields| {
            edit_extensions(fields, |extensions| {
                let parts = crate::common::elements(crate::common::inside(&extensions[5]));
                extensions[5] = tlv(0x30, &[parts[0].clone(), tlv(0x04, &hex(value))].concat());
            });
        });
        assert_eq!(error, CertificateError::Extension { name: "epoch" }, "{value}");
    }
}

#[test]
fn it_must_not_live_longer() {
    let error = refusal(|fields| {
        fields[at::VALIDITY] = tlv(0x30, &[tlv(0x17, b"270115000000Z"), tlv(0x17, b"270219000001Z")].concat());
    });
    assert_eq!(error, CertificateError::LivesTooLong);
}

/// An operational certificate of 2027-01-15 that ends then.
fn until(end: &[u8]) -> Vec<u8> {
    forge(key().certificate_der(), &ED25519, |fields| {
        fields[at::VALIDITY] = tlv(0x30, &[tlv(0x17, b"270115000000Z"), tlv(0x17, end)].concat());
    })
}

#[test]
fn it_must_not_end_after_its_identity() {
    let brief = forge(ED25519.certificate().der(), &ED25519, |fields| {
        fields[at::VALIDITY] = tlv(0x30, &[tlv(0x17, b"270115000000Z"), tlv(0x17, b"270118000000Z")].concat());
    });
    let identity = IdentityCertificate::verify(&brief, Network::LAB, now()).unwrap();
    let (alike, longer) = (until(b"270118000000Z"), until(b"270118000001Z"));
    OperationalCertificate::verify(&alike, &identity, now()).unwrap();
    OperationalCertificate::verify(&longer, ED25519.certificate(), now()).unwrap();
    for verified in [
        OperationalCertificate::verify(&longer, &identity, now()),
        OperationalCertificate::verify_undated(&longer, &identity),
    ] {
        assert_eq!(verified.unwrap_err(), CertificateError::OutlivesIdentity);
    }
}

#[test]
fn an_identity_that_expired_vouches_for_nothing() {
    let brief = forge(ED25519.certificate().der(), &ED25519, |fields| {
        fields[at::VALIDITY] = tlv(0x30, &[tlv(0x17, b"270115000000Z"), tlv(0x17, b"270118000000Z")].concat());
    });
    let identity = IdentityCertificate::verify(&brief, Network::LAB, now()).unwrap();
    let operational = until(b"270118000000Z");
    let verify = |at| OperationalCertificate::verify(&operational, &identity, at);
    verify(now()).unwrap();
    assert_eq!(verify(now() + days(3)).unwrap_err(), CertificateError::Expired { not_after: identity.not_after() });
}

#[test]
fn keys_that_replace_each_other_at_once_have_rising_serials() {
    let serial = |months, revision| {
        let key = ED25519.delegate_revision(now(), months, revision).unwrap();
        elements(inside(&elements(inside(key.certificate_der()))[0]))[at::SERIAL].clone()
    };
    let serials = [serial(0, 0), serial(0, 1), serial(0, 255), serial(1, 0), serial(1, 1)];
    assert!(serials.is_sorted_by(|a, b| a < b), "{serials:02x?}");
}

#[test]
fn a_clock_at_its_end_is_an_error() {
    let latest = SystemTime::UNIX_EPOCH + Duration::new(i64::MAX as u64, 999_999_999);
    for now in [latest, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH - days(1)] {
        assert_eq!(ED25519.delegate(now, 0).unwrap_err(), CertificateError::Dates);
    }
}

#[test]
fn dates_can_be_checked_again_later() {
    let key = key();
    assert!(key.certificate().check_dates(now() + days(30)).is_ok());
    assert!(key.certificate().check_dates(now() + days(36)).is_err());
    assert!(key.certificate().check_dates(now() - Duration::from_secs(3600)).is_err());
}

#[test]
fn secrets_do_not_show_in_logs() {
    let key = key();
    let shown = format!("{key:?} {:?}", *ED25519);
    assert!(shown.contains("secret"));
    assert!(!shown.contains("07070707") && !shown.contains("7, 7, 7"));
}
