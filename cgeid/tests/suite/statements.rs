// SPDX-License-Identifier: GPL-2.0-or-later
//! Revocations and link proofs: what they say, and that nothing else passes for one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::error::{ArmourError, Signer};
use cgeid::limits::MAX_AUDIENCE;
use cgeid::{
    CertificateError, Identity, IdentityCertificate, LinkProof, Network, OperationalCertificate, Reason, Revocation,
    StatementError, statement,
};
use proptest::prelude::*;

use crate::common::{ED25519, RSA, STRANGER, at, days, forge, now, tlv};

const ELSEWHERE: Network = Network([0x20, 0x01, 0x0d, 0xb8]);
const REASONS: [Reason; 4] = [Reason::UNSPECIFIED, Reason::KEY_COMPROMISE, Reason::SUPERSEDED, Reason::CESSATION];

fn revocation(identity: &Identity) -> Revocation {
    Revocation::issue(identity, Reason::KEY_COMPROMISE, now()).unwrap()
}

fn revoke(bytes: &[u8]) -> Result<Revocation, StatementError> {
    Revocation::verify(bytes, Network::LAB)
}

fn proof(audience: &str) -> LinkProof {
    LinkProof::issue(&ED25519, &STRANGER, audience, now()).unwrap()
}

fn link(bytes: &[u8], audience: &str) -> Result<LinkProof, StatementError> {
    LinkProof::verify(bytes, Network::LAB, audience, now())
}

/// An identity of `ED25519`'s key that lived for three days only.
fn brief() -> IdentityCertificate {
    let der = forge(ED25519.certificate().der(), &ED25519, |fields| {
        fields[at::VALIDITY] = tlv(0x30, &[tlv(0x17, b"270115000000Z"), tlv(0x17, b"270118000000Z")].concat());
    });
    IdentityCertificate::verify(&der, Network::LAB, now()).unwrap()
}

/// The octets after the two signing contexts.
fn signed(context: &[u8], network: Network, rest: &[&[u8]]) -> Vec<u8> {
    [context, &network.0, &rest.concat()].concat()
}

fn milliseconds(time: SystemTime) -> [u8; 8] {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap().to_be_bytes()
}

/// A hand-made revocation: what the diagram says, signed by `signer` over `message`.
fn compose(reason: u8, issued: [u8; 8], certificate: &[u8], signature: &[u8]) -> Vec<u8> {
    let length = (certificate.len() as u16).to_be_bytes();
    [b"CGER", &[1, reason][..], &length, &issued, certificate, signature].concat()
}

#[test]
fn a_revocation_comes_back_as_octets_and_as_text() {
    for identity in [&*RSA, &*ED25519] {
        for reason in REASONS {
            let made = Revocation::issue(identity, reason, now()).unwrap();
            let again = revoke(&made.encode()).unwrap();
            assert_eq!((&again, again.reason(), again.issued()), (&made, reason, now()));
            assert_eq!((again.cn(), again.address()), (identity.cn(), identity.address()));
            let text = format!("Keep this safe.\n{}", made.to_pem().unwrap());
            assert!(text.contains("-----BEGIN CGEID REVOCATION-----\n"));
            assert_eq!(Revocation::from_pem(&text, Network::LAB).unwrap(), made);
            let error = Revocation::from_pem("nothing", Network::LAB).unwrap_err();
            assert!(matches!(error, StatementError::Armour(ArmourError::Missing { .. })));
        }
    }
    assert_eq!(statement::revocation_file_name(RSA.cn()), format!("{}.revoke", RSA.cn()));
}

#[test]
fn a_revocation_is_laid_out_and_signed_as_its_diagram_says() {
    let issued = milliseconds(now());
    let message = signed(b"IPv6MESH-revoke-v1\0", Network::LAB, &[&ED25519.cn().0, &issued, &[1]]);
    let signature = ED25519.sign(&message).unwrap();
    let by_hand = compose(1, issued, ED25519.certificate().der(), &signature);
    assert_eq!(revocation(&ED25519).encode(), by_hand);
}

#[test]
fn a_revocation_covers_its_key_and_no_other() {
    let made = revocation(&ED25519);
    assert!(made.covers(ED25519.certificate()) && !made.covers(STRANGER.certificate()));
    // The certificate is its owner's to change; the key is what is revoked.
    assert!(brief() != *ED25519.certificate() && made.covers(&brief()));
    let elsewhere = Identity::from_seed(&[7; 32], ELSEWHERE, now()).unwrap();
    assert!(elsewhere.cn() == ED25519.cn() && !made.covers(elsewhere.certificate()));
}

#[test]
fn an_identity_that_expired_can_be_revoked() {
    let issued = now() + days(100);
    let message = signed(b"IPv6MESH-revoke-v1\0", Network::LAB, &[&ED25519.cn().0, &milliseconds(issued), &[5]]);
    let signature = ED25519.sign(&message).unwrap();
    let made = revoke(&compose(5, milliseconds(issued), brief().der(), &signature)).unwrap();
    assert_eq!((made.reason(), made.issued()), (Reason::CESSATION, issued));
    assert!(made.certificate().check_dates(issued).is_err());
    // What came apart can be put together again, as out of a record.
    let (certificate, signature) = (made.certificate().clone(), made.signature().to_vec());
    assert_eq!(Revocation::from_parts(certificate.clone(), issued, Reason::CESSATION, &signature).as_ref(), Ok(&made));
    let error = Revocation::from_parts(certificate, issued, Reason::SUPERSEDED, &signature).unwrap_err();
    assert_eq!(error, StatementError::Signature { signer: Signer::Identity });
    // Dates that make no sense are no certificate's, at any time.
    let reversed = forge(ED25519.certificate().der(), &ED25519, |fields| {
        fields[at::VALIDITY] = tlv(0x30, &[tlv(0x17, b"270118000000Z"), tlv(0x17, b"270115000000Z")].concat());
    });
    let error = IdentityCertificate::verify_undated(&reversed, Network::LAB).unwrap_err();
    assert_eq!(error, CertificateError::Dates);
}

#[test]
fn a_reason_that_nobody_knows_revokes_too() {
    let made = Revocation::issue(&ED25519, Reason(77), now()).unwrap();
    assert_eq!(revoke(&made.encode()).unwrap().reason().to_string(), "reason 77");
    assert_eq!(REASONS.map(|reason| reason.to_string()), ["unspecified", "key-compromise", "superseded", "cessation"]);
}

#[test]
fn statements_of_another_network_prove_nothing() {
    let error = Revocation::verify(&revocation(&ED25519).encode(), ELSEWHERE).unwrap_err();
    assert!(matches!(error, StatementError::Certificate { signer: Signer::Identity, .. }), "{error}");
    let error = LinkProof::verify(&proof("").encode(), ELSEWHERE, "", now()).unwrap_err();
    assert!(matches!(error, StatementError::Certificate { signer: Signer::Static, .. }), "{error}");
    // The key has an address there too; its word about the one is no word about the other.
    let elsewhere = Identity::from_seed(&[7; 32], ELSEWHERE, now()).unwrap();
    let forged = Revocation::from_parts(
        elsewhere.certificate().clone(),
        now(),
        Reason::KEY_COMPROMISE,
        revocation(&ED25519).signature(),
    );
    assert_eq!(forged.unwrap_err(), StatementError::Signature { signer: Signer::Identity });
}

#[test]
fn only_the_own_key_revokes() {
    let message = signed(b"IPv6MESH-revoke-v1\0", Network::LAB, &[&ED25519.cn().0, &milliseconds(now()), &[0]]);
    let forged = compose(0, milliseconds(now()), ED25519.certificate().der(), &STRANGER.sign(&message).unwrap());
    assert_eq!(revoke(&forged).unwrap_err(), StatementError::Signature { signer: Signer::Identity });
}

#[test]
fn no_signature_made_for_one_purpose_serves_another() {
    let (certificate, issued) = (ED25519.certificate(), milliseconds(now()));
    let revoked = revocation(&ED25519);
    // The same content under the other context, or under none.
    let content = signed(b"", Network::LAB, &[&ED25519.cn().0, &issued, &[1]]);
    for context in [&b"IPv6MESH-link-v1\0"[..], b"IPv6MESH-record-v1\0", b"IPv6MESH-revoke-v1", b""] {
        let signature = ED25519.sign(&[context, &content].concat()).unwrap();
        let error = revoke(&compose(1, issued, certificate.der(), &signature)).unwrap_err();
        assert_eq!(error, StatementError::Signature { signer: Signer::Identity });
    }
    // The signature of a revocation, of a link, and of a certificate, each in the place of another.
    let of_certificate = &certificate.der()[certificate.der().len() - 64..];
    let linked = proof("").encode();
    let of_link = &linked[linked.len() - 128..linked.len() - 64];
    for foreign in [of_certificate, of_link] {
        let error = revoke(&compose(1, issued, certificate.der(), foreign)).unwrap_err();
        assert_eq!(error, StatementError::Signature { signer: Signer::Identity });
        let forged = [&linked[..linked.len() - 128], revoked.signature(), &linked[linked.len() - 64..]].concat();
        assert_eq!(link(&forged, "").unwrap_err(), StatementError::Signature { signer: Signer::Static });
    }
    for foreign in [revoked.signature(), of_link] {
        let forged = [&certificate.der()[..certificate.der().len() - 64], foreign].concat();
        let error = IdentityCertificate::verify(&forged, Network::LAB, now()).unwrap_err();
        assert_eq!(error, CertificateError::Signature);
    }
    // And whole statements for each other.
    assert_eq!(revoke(&linked).unwrap_err(), StatementError::Magic);
    assert_eq!(link(&revoked.encode(), "").unwrap_err(), StatementError::Magic);
}

#[test]
fn a_link_proof_comes_back_as_octets_and_as_text() {
    for (of_static, of_temporary) in [(&*RSA, &*ED25519), (&*ED25519, &*RSA), (&*RSA, &*STRANGER)] {
        let made = LinkProof::issue(of_static, of_temporary, "Bob, challenge 4711", now()).unwrap();
        let again = link(&made.encode(), "Bob, challenge 4711").unwrap();
        assert_eq!((&again, again.issued(), again.audience()), (&made, now(), "Bob, challenge 4711"));
        assert_eq!(again.of_static(), of_static.certificate());
        assert_eq!(again.of_temporary(), of_temporary.certificate());
        let text = made.to_pem().unwrap();
        assert!(text.starts_with("-----BEGIN CGEID LINK PROOF-----\n"));
        let audience = made.audience().to_owned();
        assert_eq!(LinkProof::from_pem(&text, Network::LAB, &audience, now()).unwrap(), made);
    }
}

#[test]
fn both_keys_sign_a_link_as_its_diagram_says() {
    let issued = milliseconds(now());
    let names = [ED25519.cn().0, STRANGER.cn().0].concat();
    let message = signed(b"IPv6MESH-link-v1\0", Network::LAB, &[&names, &issued, b"Bob"]);
    let (first, second) = (ED25519.certificate().der(), STRANGER.certificate().der());
    let by_hand = [
        &b"CGEL\x01\x03"[..],
        &(first.len() as u16).to_be_bytes(),
        &(second.len() as u16).to_be_bytes(),
        &issued,
        b"Bob",
        first,
        second,
        &ED25519.sign(&message).unwrap(),
        &STRANGER.sign(&message).unwrap(),
    ]
    .concat();
    assert_eq!(proof("Bob").encode(), by_hand);
}

#[test]
fn a_link_proof_names_who_fails() {
    let whole = proof("").encode();
    let end = whole.len();
    let (first, second) = (&whole[end - 128..end - 64], &whole[end - 64..]);
    let with = |signatures: [&[u8]; 2]| link(&[&whole[..end - 128], &signatures.concat()].concat(), "").unwrap_err();
    assert_eq!(with([second, second]), StatementError::Signature { signer: Signer::Static });
    assert_eq!(with([first, first]), StatementError::Signature { signer: Signer::Temporary });
    let mut damaged = whole.clone();
    damaged[end - 130] ^= 1;
    let error = link(&damaged, "").unwrap_err();
    assert!(matches!(error, StatementError::Certificate { signer: Signer::Temporary, .. }), "{error}");
}

#[test]
fn a_link_has_two_identities_of_one_network() {
    let error = LinkProof::issue(&ED25519, &ED25519, "", now()).unwrap_err();
    assert_eq!(error, StatementError::SameIdentity { cn: ED25519.cn() });
    let elsewhere = Identity::from_seed(&[8; 32], ELSEWHERE, now()).unwrap();
    let error = LinkProof::issue(&ED25519, &elsewhere, "", now()).unwrap_err();
    assert_eq!(error, StatementError::OtherNetwork { first: Network::LAB, second: ELSEWHERE });
    // One that somebody composed is refused where it is read.
    let message =
        signed(b"IPv6MESH-link-v1\0", Network::LAB, &[&ED25519.cn().0, &ED25519.cn().0, &milliseconds(now())]);
    let (der, signature) = (ED25519.certificate().der(), ED25519.sign(&message).unwrap());
    let length = (der.len() as u16).to_be_bytes();
    let twice = [b"CGEL\x01\0", &length[..], &length, &milliseconds(now()), der, der, &signature, &signature].concat();
    assert_eq!(link(&twice, "").unwrap_err(), StatementError::SameIdentity { cn: ED25519.cn() });
}

#[test]
fn a_proof_for_one_reader_says_nothing_to_another() {
    for (made_for, reader) in [("Bob", "Carol"), ("Bob", ""), ("", "Bob"), ("Bob", "Bob ")] {
        let error = link(&proof(made_for).encode(), reader).unwrap_err();
        let (found, expected) = (made_for.to_owned(), reader.to_owned());
        assert_eq!(error, StatementError::OtherAudience { found, expected });
    }
    let longest = "é".repeat(MAX_AUDIENCE / 2) + "x";
    link(&proof(&longest).encode(), &longest).unwrap();
    for wrong in [longest + "x", "two\nlines".to_owned(), "\u{1b}[2J".to_owned()] {
        let error = LinkProof::issue(&ED25519, &STRANGER, &wrong, now()).unwrap_err();
        assert_eq!(error, StatementError::Audience);
    }
}

#[test]
fn a_link_proof_outlives_its_temporary_certificate_but_not_backwards() {
    let whole = proof("").encode();
    let verify = |now| LinkProof::verify(&whole, Network::LAB, "", now);
    verify(now() + days(1000)).unwrap();
    verify(now() - Duration::from_secs(119)).unwrap();
    assert_eq!(verify(now() - days(1)).unwrap_err(), StatementError::FromTheFuture { issued: now() });
    // Made when the certificate was over, it proves nothing.
    let late = milliseconds(now() + days(4));
    let names = [STRANGER.cn().0, ED25519.cn().0].concat();
    let message = signed(b"IPv6MESH-link-v1\0", Network::LAB, &[&names, &late]);
    let (first, second) = (STRANGER.certificate().clone(), brief());
    let forged = [
        &b"CGEL\x01\0"[..],
        &(first.der().len() as u16).to_be_bytes(),
        &(second.der().len() as u16).to_be_bytes(),
        &late,
        first.der(),
        second.der(),
        &STRANGER.sign(&message).unwrap(),
        &ED25519.sign(&message).unwrap(),
    ]
    .concat();
    let error = LinkProof::verify(&forged, Network::LAB, "", now() + days(5)).unwrap_err();
    let reason = CertificateError::Expired { not_after: second.not_after() };
    assert_eq!(error, StatementError::Certificate { signer: Signer::Temporary, reason });
}

#[test]
fn statements_have_their_length_and_version() {
    let whole = revocation(&ED25519).encode();
    assert_eq!(revoke(&[&whole[..], &[0]].concat()).unwrap_err(), StatementError::Trailing { length: 1 });
    for length in 0..whole.len() {
        assert!(revoke(&whole[..length]).is_err(), "{length}");
    }
    let mut newer = whole.clone();
    newer[4] = 2;
    assert_eq!(revoke(&newer).unwrap_err(), StatementError::Version { found: 2 });
    assert_eq!(revoke(&[0; 20_000]).unwrap_err(), StatementError::TooLong { length: 20_000 });
    let whole = proof("Bob").encode();
    assert_eq!(link(&[&whole[..], &[0]].concat(), "Bob").unwrap_err(), StatementError::Trailing { length: 1 });
    for length in 0..whole.len() {
        assert!(link(&whole[..length], "Bob").is_err(), "{length}");
    }
    let before_1970 = UNIX_EPOCH - days(1);
    assert_eq!(Revocation::issue(&ED25519, Reason::default(), before_1970).unwrap_err(), StatementError::Time);
}

#[test]
fn a_statement_with_any_bit_changed_is_refused() {
    let revoked = revocation(&ED25519).encode();
    for bit in 0..revoked.len() * 8 {
        assert!(revoke(&flipped(&revoked, bit)).is_err(), "revocation, bit {bit}");
    }
    let linked = proof("Bob").encode();
    for bit in 0..linked.len() * 8 {
        assert!(link(&flipped(&linked, bit), "Bob").is_err(), "link proof, bit {bit}");
    }
    let rsa = revocation(&RSA).encode();
    for octet in 0..rsa.len() {
        assert!(revoke(&flipped(&rsa, octet * 8 + 3)).is_err(), "RSA, octet {octet}");
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[bit / 8] ^= 1 << (bit % 8);
    changed
}

#[test]
fn an_operational_certificate_ends_with_its_identity() {
    let key = {
        // Only a container joins a key and another certificate of its own.
        let p12 = crate::containers::compose_identity(&[7; 32], brief().der());
        cgeid::container::load_identity(&p12, crate::containers::PASSWORD, Network::LAB, now()).unwrap()
    };
    let operational = key.delegate(now(), 0).unwrap();
    assert_eq!(operational.certificate().not_after(), brief().not_after());
    OperationalCertificate::verify(operational.certificate_der(), &brief(), now()).unwrap();
    let error = key.delegate(now(), 2).unwrap_err();
    assert_eq!(error, CertificateError::Expired { not_after: brief().not_after() });
}

proptest! {
    #[test]
    fn arbitrary_statements_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        for magic in [&b"CGER\x01"[..], b"CGEL\x01", b""] {
            let bytes = [magic, &bytes].concat();
            prop_assert!(revoke(&bytes).is_err() && link(&bytes, "").is_err());
        }
        for label in [Revocation::LABEL, LinkProof::LABEL] {
            let text = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
            prop_assert!(Revocation::from_pem(&text, Network::LAB).is_err());
            prop_assert!(LinkProof::from_pem(&text, Network::LAB, "", now()).is_err());
        }
    }

    #[test]
    fn a_mutated_statement_is_the_same_or_refused(
        edits in proptest::collection::vec((0..200usize, any::<u8>()), 1..6),
        keep in 0..2000usize,
    ) {
        for original in [revocation(&ED25519).encode(), proof("Bob").encode()] {
            let mut bytes = original.clone();
            for (position, value) in &edits {
                bytes[*position] = *value;
            }
            bytes.truncate(keep);
            prop_assert!(bytes == original || (revoke(&bytes).is_err() && link(&bytes, "Bob").is_err()));
        }
    }

    #[test]
    fn every_statement_comes_back(
        reason in any::<u8>(),
        issued in 1_800_000_000_123..200_000_000_000_000u64,
        audience in "\\PC{0,60}",
    ) {
        let issued = UNIX_EPOCH + Duration::from_millis(issued);
        let revoked = Revocation::issue(&ED25519, Reason(reason), issued).unwrap();
        prop_assert_eq!(revoke(&revoked.encode()), Ok(revoked));
        let linked = LinkProof::issue(&ED25519, &STRANGER, &audience, issued).unwrap();
        prop_assert_eq!(LinkProof::verify(&linked.encode(), Network::LAB, &audience, issued), Ok(linked));
    }
}
