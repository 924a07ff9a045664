// SPDX-License-Identifier: GPL-2.0-or-later
//! PKCS#12 files, ours and bad ones.

use cgeid::container::{self, Content};
use cgeid::{CertificateError, ContainerError, Identity, Network, OperationalKey};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};

use crate::common::{ED25519, RSA, STRANGER, days, hex, now};

pub(crate) const PASSWORD: &str = "correct horse, bättery";

fn load(bytes: &[u8]) -> Result<Content, ContainerError> {
    container::load(bytes, PASSWORD, Network::LAB, now())
}

fn operational() -> OperationalKey {
    ED25519.delegate(now(), 0).unwrap()
}

/// PKCS#8 of the seed of an operational key.
fn pkcs8(key: &OperationalKey) -> Vec<u8> {
    [hex("302e020100300506032b657004220420"), key.ed25519_seed().to_vec()].concat()
}

/// A container of our key with any certificates, by the library that we use too, but in a few rounds: these tests
/// are about what is inside.
pub(crate) fn compose(entries: &[(&OperationalKey, &[&[u8]])]) -> Vec<u8> {
    let mut store = KeyStore::new();
    for (index, (key, certificates)) in entries.iter().enumerate() {
        let certificates: Vec<_> = certificates.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
        let chain = PrivateKeyChain::new(vec![index as u8], PrivateKey::from_der(&pkcs8(key)).unwrap(), certificates);
        store.add_entry(&index.to_string(), KeyStoreEntry::PrivateKeyChain(chain));
    }
    store.writer(PASSWORD).encryption_iterations(2).mac_iterations(2).write().unwrap()
}

/// A container of an Ed25519 identity with a certificate of its own choice.
pub(crate) fn compose_identity(seed: &[u8; 32], certificate: &[u8]) -> Vec<u8> {
    let pkcs8 = [&hex("302e020100300506032b657004220420")[..], seed].concat();
    let chain = vec![Certificate::from_der(certificate).unwrap()];
    let chain = PrivateKeyChain::new(vec![0], PrivateKey::from_der(&pkcs8).unwrap(), chain);
    let mut store = KeyStore::new();
    store.add_entry("identity", KeyStoreEntry::PrivateKeyChain(chain));
    store.writer(PASSWORD).encryption_iterations(2).mac_iterations(2).write().unwrap()
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn an_identity_comes_back() {
    for identity in [&*RSA, &*ED25519] {
        let bytes = container::save_identity(identity, PASSWORD).unwrap();
        let again: Identity = container::load_identity(&bytes, PASSWORD, Network::LAB, now()).unwrap();
        assert_eq!(again.certificate(), identity.certificate());
        assert_eq!(again.delegate(now(), 0).unwrap().cn(), identity.cn());
        let error = container::load_operational(&bytes, PASSWORD, Network::LAB, now()).unwrap_err();
        assert_eq!(error, ContainerError::IsIdentity { cn: identity.cn() });
    }
}

#[test]
fn an_operational_key_comes_back() {
    let key = operational();
    let bytes = container::save_operational(&key, PASSWORD).unwrap();
    let again = container::load_operational(&bytes, PASSWORD, Network::LAB, now()).unwrap();
    assert_eq!(again.certificate(), key.certificate());
    assert_eq!(again.identity_certificate(), key.identity_certificate());
    assert_eq!(again.ed25519_seed(), key.ed25519_seed());
    let error = container::load_identity(&bytes, PASSWORD, Network::LAB, now()).unwrap_err();
    assert_eq!(error, ContainerError::IsOperational { cn: key.cn() });
    let error = container::load(&bytes, PASSWORD, Network::LAB, now() + days(36)).unwrap_err();
    assert!(matches!(error, ContainerError::Certificate(CertificateError::Expired { .. })));
}

#[test]
fn a_wrong_password_is_told_from_garbage() {
    let bytes = container::save_operational(&operational(), PASSWORD).unwrap();
    let with = |bytes: &[u8], password| container::load(bytes, password, Network::LAB, now()).unwrap_err();
    assert_eq!(with(&bytes, "wrong"), ContainerError::Password);
    assert_eq!(with(&bytes, ""), ContainerError::Password);
    for length in [0, 1, 10, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(with(&bytes[..length], PASSWORD), ContainerError::Malformed { .. }), "{length}");
    }
    assert!(matches!(with(b"hello", PASSWORD), ContainerError::Malformed { .. }));
    assert_eq!(with(&vec![0x30; 70_000], PASSWORD), ContainerError::TooLong { length: 70_000 });
    // Changed inside, the MAC no longer fits.
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    assert_eq!(with(&changed, PASSWORD), ContainerError::Password);
}

#[test]
fn a_password_that_the_format_cannot_hold_is_named() {
    let key = operational();
    let error = container::save_operational(&key, "🔑").unwrap_err();
    assert_eq!(error, ContainerError::PasswordCharacter);
    let bytes = compose(&[(&key, &[key.certificate_der(), key.identity_certificate_der()])]);
    let error = container::load(&bytes, "🔑", Network::LAB, now()).unwrap_err();
    assert_eq!(error, ContainerError::PasswordCharacter);
}

#[test]
fn absurd_work_is_refused_before_it_is_done() {
    let bytes = container::save_operational(&operational(), PASSWORD).unwrap();
    // Only the check that stands before all work answers with `Rounds`.
    let mac = replace(&bytes, &hex("02030f4240"), &hex("02037fffff"));
    assert_eq!(load(&mac).unwrap_err(), ContainerError::Rounds { rounds: 0x7f_ffff });
    let negative = replace(&bytes, &hex("02030f4240"), &hex("0203800000"));
    assert_eq!(load(&negative).unwrap_err(), ContainerError::Rounds { rounds: 0x80_0000 });
    let bag = replace(&bytes, &hex("02030927c0"), &hex("02037fffff"));
    assert_eq!(load(&bag).unwrap_err(), ContainerError::Rounds { rounds: 0x7f_ffff });
}

#[test]
fn ours_ask_for_the_promised_work() {
    let bytes = container::save_operational(&operational(), PASSWORD).unwrap();
    let count = |pattern: &[u8]| bytes.windows(pattern.len()).filter(|window| *window == pattern).count();
    assert_eq!(count(&hex("02030927c0")), 2, "PBKDF2 of the certificates and of the key");
    assert_eq!(count(&hex("02030f4240")), 1, "MAC");
    assert_eq!(count(&hex("060960864801650304012a")), 2, "AES-256-CBC");
}

#[test]
fn under_a_random_password_they_ask_for_little_and_are_read_all_the_same() {
    let key = operational();
    let bytes = container::save_operational_under(container::Password::Random, &key, PASSWORD).unwrap();
    let count = |pattern: &[u8]| bytes.windows(pattern.len()).filter(|window| *window == pattern).count();
    assert_eq!(count(&hex("020203e8")), 3, "the certificates, the key and the MAC");
    assert_eq!(count(&hex("060960864801650304012a")), 2, "AES-256-CBC");
    assert!(matches!(load(&bytes), Ok(Content::Operational(read)) if read.certificate() == key.certificate()));
    let wrong = container::load(&bytes, "wrong", Network::LAB, now());
    assert_eq!(wrong.unwrap_err(), ContainerError::Password);
}

#[test]
fn it_holds_one_key_and_its_certificates() {
    let (key, other) = (operational(), operational());
    let (own, identity) = (key.certificate_der(), key.identity_certificate_der());
    assert!(matches!(load(&compose(&[(&key, &[own, identity])])), Ok(Content::Operational(_))));
    // The order of the certificates is not what makes them belong.
    assert!(matches!(load(&compose(&[(&key, &[identity, own])])), Ok(Content::Operational(_))));

    let two = compose(&[(&key, &[own, identity]), (&other, &[other.certificate_der()])]);
    assert_eq!(load(&two).unwrap_err(), ContainerError::Keys { found: 2 });
    assert_eq!(load(&compose(&[])).unwrap_err(), ContainerError::Keys { found: 0 });
    let foreign = compose(&[(&other, &[own, identity])]);
    assert_eq!(load(&foreign).unwrap_err(), ContainerError::KeyMismatch);
    let alone = compose(&[(&key, &[own])]);
    assert_eq!(load(&alone).unwrap_err(), ContainerError::Certificates { found: 1, expected: 2 });
    let crowded = compose(&[(&key, &[own, identity, other.certificate_der()])]);
    assert_eq!(load(&crowded).unwrap_err(), ContainerError::Certificates { found: 3, expected: 2 });
    let bare = compose(&[(&key, &[])]);
    assert_eq!(load(&bare).unwrap_err(), ContainerError::KeyMismatch);
}

#[test]
fn the_certificates_inside_are_verified() {
    let key = operational();
    let stranger = STRANGER.certificate().der();
    let error = load(&compose(&[(&key, &[key.certificate_der(), stranger])])).unwrap_err();
    let expected = CertificateError::OtherIdentity { expected: STRANGER.cn(), found: ED25519.cn() };
    assert_eq!(error, ContainerError::Certificate(expected));
    let bytes = compose(&[(&key, &[key.certificate_der(), key.identity_certificate_der()])]);
    let error = container::load(&bytes, PASSWORD, Network([0x20, 1, 0xd, 0xb8]), now()).unwrap_err();
    assert!(matches!(error, ContainerError::Certificate(CertificateError::Extension { .. })));
}

#[test]
fn the_file_names_are_the_cn() {
    let cn = ED25519.cn();
    assert_eq!(container::identity_file_name(cn), format!("{cn}.p12"));
    assert_eq!(container::operational_file_name(cn), format!("{cn}.op.p12"));
}
