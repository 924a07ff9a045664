// SPDX-License-Identifier: GPL-2.0-or-later
//! No input panics, and no changed input passes.

use cgeid::{Cn, IdentityCertificate, Network, OperationalCertificate, PublicKey, certificate, container};
use proptest::prelude::*;

use crate::common::{ED25519, RSA, now};
use crate::containers::compose;

/// Everything that takes bytes from outside.
fn feed(bytes: &[u8]) {
    let _ = IdentityCertificate::verify(bytes, Network::LAB, now());
    let _ = OperationalCertificate::verify(bytes, ED25519.certificate(), now());
    let _ = certificate::kind(bytes);
    let _ = PublicKey::from_spki(bytes);
    let _ = container::check_form(bytes);
}

/// Some octets of `original` replaced, and some cut off.
fn mutated(original: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let (original, length) = (original.to_vec(), original.len());
    let edits = proptest::collection::vec((0..length, any::<u8>()), 0..6);
    (edits, 0..length * 4).prop_map(move |(edits, keep)| {
        let mut bytes = original.clone();
        for (at, value) in edits {
            bytes[at] = value;
        }
        bytes.truncate(keep);
        bytes
    })
}

#[test]
fn a_certificate_with_any_bit_changed_is_refused() {
    let key = ED25519.delegate(now(), 0).unwrap();
    let (identity, operational) = (ED25519.certificate().der(), key.certificate_der());
    for bit in 0..identity.len() * 8 {
        let mut changed = identity.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(IdentityCertificate::verify(&changed, Network::LAB, now()).is_err(), "bit {bit}");
    }
    for bit in 0..operational.len() * 8 {
        let mut changed = operational.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(OperationalCertificate::verify(&changed, ED25519.certificate(), now()).is_err(), "bit {bit}");
    }
    for octet in 0..RSA.certificate().der().len() {
        let mut changed = RSA.certificate().der().to_vec();
        changed[octet] ^= 0x10;
        assert!(IdentityCertificate::verify(&changed, Network::LAB, now()).is_err(), "octet {octet}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        feed(&bytes);
    }

    #[test]
    fn mutated_identity_certificates_do_not_panic(bytes in mutated(RSA.certificate().der())) {
        feed(&bytes);
    }

    #[test]
    fn mutated_operational_certificates_do_not_panic(
        bytes in mutated(ED25519.delegate(now(), 0).unwrap().certificate_der()),
    ) {
        feed(&bytes);
    }

    #[test]
    fn mutated_containers_do_not_panic(bytes in {
        let key = ED25519.delegate(now(), 0).unwrap();
        mutated(&compose(&[(&key, &[key.certificate_der(), key.identity_certificate_der()])]))
    }) {
        feed(&bytes);
        // Files that ask for much work pass too, but a mutation seldom makes one.
        let _ = container::load(&bytes, "any", Network::LAB, now());
    }

    #[test]
    fn texts_do_not_panic_and_come_back(text in ".{0,40}", cn in any::<[u8; 12]>(), network in any::<[u8; 4]>()) {
        let _ = text.parse::<Cn>();
        let _ = text.parse::<Network>();
        prop_assert_eq!(Cn(cn).to_string().parse::<Cn>(), Ok(Cn(cn)));
        prop_assert_eq!(Network(network).to_string().parse::<Network>(), Ok(Network(network)));
    }
}
