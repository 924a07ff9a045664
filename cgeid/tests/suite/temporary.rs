// SPDX-License-Identifier: GPL-2.0-or-later
//! Temporary identities: what their certificates say, and what they keep to themselves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::{CertificateError, Identity, IdentityCertificate, KeyAlgorithm, Network, OperationalCertificate};

use crate::common::{ED25519, at, days, elements, inside, now};

const MIDNIGHT: Duration = Duration::from_secs(1_800_000_000 - 1_800_000_000 % 86_400);

fn temporary(seed: u8, at: SystemTime) -> Identity {
    Identity::temporary_from_seed(&[seed; 32], Network::LAB, at).unwrap()
}

fn fields(der: &[u8]) -> Vec<Vec<u8>> {
    elements(inside(&elements(inside(der))[0]))
}

#[test]
fn a_temporary_identity_has_a_key_of_its_own_and_ends_after_72_hours() {
    let (one, two) =
        (Identity::generate_temporary(Network::LAB, now()), Identity::generate_temporary(Network::LAB, now()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.cn(), two.cn());
    assert_eq!(one.algorithm(), KeyAlgorithm::Ed25519);
    let certificate = one.certificate();
    assert!(certificate.is_temporary() && !ED25519.certificate().is_temporary());
    assert_eq!(certificate.not_before(), UNIX_EPOCH + MIDNIGHT);
    assert_eq!(certificate.not_after(), UNIX_EPOCH + MIDNIGHT + days(3));
    let verify = |at| IdentityCertificate::verify(certificate.der(), Network::LAB, at);
    verify(certificate.not_after()).unwrap();
    let late = certificate.not_after() + Duration::from_secs(1);
    assert!(matches!(verify(late), Err(CertificateError::Expired { .. })));
}

#[test]
fn certificates_of_one_day_differ_in_nothing_but_the_key() {
    let (morning, night) =
        (temporary(1, UNIX_EPOCH + MIDNIGHT), temporary(2, UNIX_EPOCH + MIDNIGHT + days(1) - Duration::from_millis(1)));
    let (morning, night) = (fields(morning.certificate().der()), fields(night.certificate().der()));
    for field in [at::VERSION, at::SERIAL, at::ALGORITHM, at::VALIDITY] {
        assert_eq!(morning[field], night[field]);
    }
    let (morning, night) = (temporary(1, now()), temporary(2, now() + Duration::from_secs(3600)));
    let (morning, night) =
        (morning.delegate(now(), 0).unwrap(), night.delegate(now() + Duration::from_secs(3600), 0).unwrap());
    let (morning, night) = (fields(morning.certificate_der()), fields(night.certificate_der()));
    for field in [at::VERSION, at::SERIAL, at::ALGORITHM, at::VALIDITY] {
        assert_eq!(morning[field], night[field]);
    }
}

#[test]
fn the_same_seed_gives_the_same_certificate_all_day() {
    let (first, second) =
        (temporary(3, UNIX_EPOCH + MIDNIGHT), temporary(3, UNIX_EPOCH + MIDNIGHT + days(1) - Duration::from_secs(1)));
    assert_eq!(first.certificate().der(), second.certificate().der());
    assert_ne!(first.certificate().der(), temporary(3, UNIX_EPOCH + MIDNIGHT + days(1)).certificate().der());
}

#[test]
fn its_operational_key_is_the_same_after_a_restart() {
    let delegate = |seed: u8, revision| temporary(seed, now()).delegate_revision(now(), 0, revision).unwrap();
    let (one, again) = (delegate(3, 0), delegate(3, 0));
    assert_eq!(one.certificate_der(), again.certificate_der());
    assert_eq!(one.ed25519_seed(), again.ed25519_seed());
    assert_ne!(one.ed25519_seed(), delegate(3, 1).ed25519_seed());
    assert_ne!(one.ed25519_seed(), delegate(4, 0).ed25519_seed());
    // That of an identity that stays is a new one each time.
    let stays = Identity::from_seed(&[3; 32], Network::LAB, now()).unwrap();
    let [first, second] = [0, 0].map(|months| stays.delegate(now(), months).unwrap().ed25519_seed());
    assert_ne!(first, second);
    assert_ne!(first, one.ed25519_seed());
}

#[test]
fn its_operational_key_does_not_outlive_it() {
    let identity = temporary(4, now());
    let key = identity.delegate(now(), 0).unwrap();
    assert_eq!(key.certificate().not_before(), identity.certificate().not_before());
    assert_eq!(key.certificate().not_after(), identity.certificate().not_after());
    let serials = [identity.certificate().der(), key.certificate_der()].map(|der| fields(der)[at::SERIAL].clone());
    assert!(serials[0] < serials[1]);
    OperationalCertificate::verify(key.certificate_der(), identity.certificate(), now()).unwrap();
    // After its end it vouches for nothing more, and there is no month ahead.
    for (now, months) in [(now() + days(3), 0), (now(), 1), (now() - days(2), 0)] {
        let error = identity.delegate(now, months).unwrap_err();
        assert!(matches!(error, CertificateError::Expired { .. } | CertificateError::NotYetValid { .. }), "{error}");
    }
}

#[test]
fn a_clock_at_its_end_makes_no_temporary_identity() {
    let latest = UNIX_EPOCH + Duration::new(i64::MAX as u64, 999_999_999);
    for now in [latest, UNIX_EPOCH - days(1)] {
        assert_eq!(Identity::generate_temporary(Network::LAB, now).unwrap_err(), CertificateError::Dates);
    }
}
