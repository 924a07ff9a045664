// SPDX-License-Identifier: GPL-2.0-or-later
//! 5,000 mutated containers of 2,048 rounds, and 200 as the product writes them. What the MAC covers cannot be changed
//! without the password; what is around it must not change what is read. In some the MAC is made anew, as somebody who
//! knows the password could: what stands behind it must hold by itself.

use std::sync::LazyLock;

use cgeid::container::{self, Content};
use cgeid::{Identity, KeyAlgorithm, Network};
use hmac::{Hmac, KeyInit, Mac};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain};
use pkcs12::kdf::{Pkcs12KeyType, derive_key_utf8};
use rand::RngExt;
use rand::rngs::StdRng;
use sha2::Sha256;

use crate::common::{ED25519, RSA, RSA_KEY, elements, hex, inside, now, tlv};
use crate::tree::mutate;
use crate::{Outcome, Wrong, run};

const PASSWORD: &str = "mutation";
/// What many tools write: quick enough for thousands of files.
const FEW_ROUNDS: u32 = 2048;

/// Keys and certificates as PKCS#12 files: an identity of each kind, an operational key.
struct Files(Vec<Vec<u8>>);

/// By the library that writes ours, with few rounds.
static QUICK: LazyLock<Files> = LazyLock::new(|| {
    let seed = |seed: &[u8]| [hex("302e020100300506032b657004220420"), seed.to_vec()].concat();
    let key = ED25519.delegate(now(), 0).unwrap();
    let chain = [key.certificate_der(), key.identity_certificate_der()];
    let quick = |pkcs8: &[u8], chain: &[&[u8]]| {
        let chain = chain.iter().map(|der| Certificate::from_der(der).unwrap());
        let chain = PrivateKeyChain::new(&b"id"[..], PrivateKey::from_der(pkcs8).unwrap(), chain);
        let mut store = KeyStore::new();
        store.add_entry("mutation", KeyStoreEntry::PrivateKeyChain(chain));
        let writer = store.writer(PASSWORD).mac_algorithm(MacAlgorithm::HmacSha256);
        writer.encryption_iterations(FEW_ROUNDS).mac_iterations(FEW_ROUNDS).write().unwrap()
    };
    Files(vec![
        quick(RSA_KEY, &[RSA.certificate().der()]),
        quick(&seed(&[7; 32]), &[ED25519.certificate().der()]),
        quick(&seed(&*key.ed25519_seed()), &chain),
    ])
});

/// As the product writes them.
static OURS: LazyLock<Files> = LazyLock::new(|| {
    Files(vec![
        container::save_identity(&RSA, PASSWORD).unwrap(),
        container::save_identity(&ED25519, PASSWORD).unwrap(),
        container::save_operational(&ED25519.delegate(now(), 0).unwrap(), PASSWORD).unwrap(),
    ])
});

/// What a container gives to its reader, with the proof that its key works.
fn read(file: &[u8]) -> Option<String> {
    let message = b"whoever reads this file speaks with this key";
    Some(match container::load(file, PASSWORD, Network::LAB, now()).ok()? {
        Content::Identity(identity) => {
            let certificate = identity.certificate();
            let signature = identity.sign(message).unwrap();
            let works = certificate.verify_signature(certificate.algorithm(), message, &signature).is_ok();
            format!("identity {:02x?}, works: {works}", certificate.der())
        }
        Content::Operational(key) => {
            let (certificate, signature) = (key.certificate(), key.sign(message));
            let works = certificate.verify_signature(cgeid::SignatureAlgorithm::Ed25519, message, &signature).is_ok();
            let chain = [key.certificate_der(), key.identity_certificate_der()];
            format!("operational {chain:02x?}, works: {works}")
        }
    })
}

/// A mutated file is refused, or says exactly what the original said and `explain` knows why.
fn judge(
    change: &str,
    original: &[u8],
    file: Vec<u8>,
    explain: impl Fn(&[u8]) -> Option<&'static str>,
) -> Result<Outcome, Wrong> {
    let Some(said) = read(&file) else { return Ok(Outcome::Refused) };
    let was = read(original).unwrap();
    if said != was || !said.ends_with("works: true") {
        return Err(Wrong { why: format!("taken with {change}: {said}, not {was}"), file });
    }
    match explain(&file) {
        Some(why) => Ok(Outcome::Explained(why.to_owned())),
        None => Err(Wrong { why: format!("taken with {change}, and nothing explains it"), file }),
    }
}

/// What the MAC covers, and the MAC's own parameters.
fn parts(file: &[u8]) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let [_, safe, mac] = elements(inside(file)).try_into().ok()?;
    let covered = inside(inside(elements(inside(&safe)).get(1)?)).to_vec();
    Some((covered, elements(inside(&mac))))
}

/// The same file with other contents and a MAC that fits them.
fn seal(file: &[u8], contents: &[u8]) -> Vec<u8> {
    let (_, mac) = parts(file).unwrap();
    let key = derive_key_utf8::<Sha256>(PASSWORD, inside(&mac[1]), Pkcs12KeyType::Mac, FEW_ROUNDS as i32, 32).unwrap();
    let tag = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(contents).finalize().into_bytes();
    let algorithm = elements(inside(&mac[0]))[0].clone();
    let digest = tlv(0x30, &[algorithm, tlv(0x04, &tag)].concat());
    let mac = tlv(0x30, &[digest, mac[1].clone(), mac[2].clone()].concat());
    let safe = [hex("06092a864886f70d010701"), tlv(0xa0, &tlv(0x04, contents))].concat();
    tlv(0x30, &[hex("020103"), tlv(0x30, &safe), mac].concat())
}

fn draw(random: &mut StdRng, Files(files): &'static Files) -> (&'static [u8], &'static [u8]) {
    (&files[random.random_range(0..files.len())], &files[random.random_range(0..files.len())])
}

#[test]
fn the_originals_are_taken() {
    for file in QUICK.0.iter().chain(&OURS.0) {
        assert!(read(file).unwrap().ends_with("works: true"));
    }
    for file in &QUICK.0 {
        assert_eq!(seal(file, &parts(file).unwrap().0), *file);
    }
}

#[test]
fn no_changed_container_is_taken_for_another() {
    run("containers", 3000, |random| {
        let (original, donor) = draw(random, &QUICK);
        let (change, file) = mutate(random, original, donor);
        judge(&change, original, file, |_| None)
    });
}

#[test]
fn no_changed_container_of_ours_is_taken_for_another() {
    run("containers-of-ours", 200, |random| {
        let (original, donor) = draw(random, &OURS);
        let (change, file) = mutate(random, original, donor);
        judge(&change, original, file, |_| None)
    });
}

/// Whoever seals it has the password, and may write what he likes into attributes and labels: nothing is read from them.
#[test]
fn contents_that_are_sealed_anew_mean_the_same_or_are_refused() {
    run("containers-sealed-anew", 2000, |random| {
        let (original, donor) = draw(random, &QUICK);
        let (contents, donated) = (parts(original).unwrap().0, parts(donor).unwrap().0);
        let (change, contents) = mutate(random, &contents, &donated);
        judge(&change, original, seal(original, &contents), |_| Some("attributes and labels"))
    });
}

#[test]
fn a_changed_private_key_is_refused_or_is_another_seed() {
    let seed = [hex("302e020100300506032b657004220420"), vec![7; 32]].concat();
    run("private-keys", 4000, |random| {
        let (original, donor) = if random.random_bool(0.5) { (RSA_KEY, &seed[..]) } else { (&seed[..], RSA_KEY) };
        let (change, file) = mutate(random, original, donor);
        let Ok(identity) = Identity::from_pkcs8(&file, Network::LAB, now()) else { return Ok(Outcome::Refused) };
        let signature = identity.sign(b"a message").unwrap();
        let certificate = identity.certificate();
        let works = certificate.verify_signature(certificate.algorithm(), b"a message", &signature).is_ok();
        // Any 32 octets are a seed, with an address of its own. An RSA key is whole or none.
        let another = identity.algorithm() == KeyAlgorithm::Ed25519 && identity.cn() != ED25519.cn();
        if works && another {
            Ok(Outcome::Explained("another seed".to_owned()))
        } else {
            Err(Wrong { why: format!("taken with {change}: {identity:?}, works: {works}"), file })
        }
    });
}
