// SPDX-License-Identifier: GPL-2.0-or-later
//! Every byte-exact vector, judged as far as the codec and the authenticator reach: `conformance/vectors/layers.json`
//! says for each who judges it. What an engine judges must at least decode here.

use std::sync::LazyLock;

use crate::support::{Layer, LayerName, Vector, Vectors};
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, Ecm};
use wire::data::{IpPacket, LispHeader};

/// Vectors that we take but do not send like that, so that they encode to other bytes.
const ENCODED_OTHERWISE: &[(&str, &str)] = &[("M29", "octets behind the last record")];

#[test]
fn every_vector_has_a_judge_and_every_judgement_a_vector() {
    let vectors: Vec<_> = crate::support::vectors().vectors.into_iter().map(|vector| vector.id).collect();
    assert_eq!(vectors.len(), 99);
    let mut sorted = vectors.clone();
    sorted.sort();
    let judged: Vec<_> = crate::support::layers().into_keys().collect();
    assert_eq!(sorted, judged);
}

/// The table of malformed control messages that the vectors are made of has M01 to M29 and M40 to M47.
#[test]
fn every_malformed_control_message_of_the_table_has_its_vector() {
    let table: Vec<_> = (1..=29).chain(40..=47).map(|number| format!("M{number:02}")).collect();
    let vectors = control_vectors().into_iter().filter(|vector| vector.id.starts_with('M'));
    let vectors: Vec<_> = vectors.map(|vector| (vector.id, vector.malformed)).collect();
    assert_eq!(vectors, table.into_iter().map(|id| (id, true)).collect::<Vec<_>>());
}

#[test]
fn the_codec_takes_and_refuses_what_the_table_says() {
    let layers = crate::support::layers();
    for vector in control_vectors() {
        let layer = &layers[&vector.id];
        let expected = (layer.layer != LayerName::Authenticator).then_some(layer.refused.as_deref()).flatten();
        match (ControlMessage::decode(&vector.lisp()), expected) {
            (Ok(message), None) => judge_accepted(&vector, layer, &message),
            (Err(error), Some(field)) => assert_eq!(error.field, field, "{}: {error}", vector.id),
            (Ok(message), Some(field)) => panic!("{} taken, {field} is wrong: {message}", vector.id),
            (Err(error), None) => panic!("{} ({}) refused: {error}", vector.id, vector.title),
        }
    }
}

fn judge_accepted(vector: &Vector, layer: &Layer, message: &ControlMessage) {
    let encoded = message.encode().unwrap();
    let otherwise = ENCODED_OTHERWISE.iter().any(|(id, _)| *id == vector.id);
    assert_eq!(encoded != vector.lisp(), otherwise, "{}: {message}", vector.id);
    assert_eq!(ControlMessage::decode(&encoded).as_ref(), Ok(message), "{}", vector.id);
    if let ControlMessage::Ecm(ecm) = message {
        let inner = ControlMessage::decode(&ecm.message);
        assert_eq!(inner.err().map(|error| error.field), layer.inner_refused.as_deref(), "{}", vector.id);
    }
}

#[test]
fn the_data_header_and_the_packet_in_it_are_what_the_table_says() {
    let layers = crate::support::layers();
    let (mut taken, mut refused) = (0, 0);
    for vector in crate::support::vectors().vectors.into_iter().filter(Vector::is_data) {
        let payload = vector.lisp();
        let parsed = LispHeader::parse(&payload).and_then(|(header, inner)| {
            (header.key_id == 0).then(|| IpPacket::parse(inner)).transpose().map(|_| header)
        });
        match (parsed, layers[&vector.id].refused.as_deref()) {
            (Ok(header), None) => {
                assert_eq!(header.emit(), payload[..LispHeader::LENGTH], "{}", vector.id);
                taken += 1;
            }
            (Err(error), Some(field)) => {
                assert_eq!(error.field, field, "{}", vector.id);
                refused += 1;
            }
            (verdict, expected) => panic!("{}: {verdict:?}, expected {expected:?}", vector.id),
        }
    }
    assert_eq!((taken, refused), (11, 3));
}

#[test]
fn the_authenticator_takes_and_refuses_what_the_table_says() {
    let layers = crate::support::layers();
    let (mut taken, mut refused) = (0, 0);
    for vector in control_vectors().into_iter().filter(|vector| layers[&vector.id].layer == LayerName::Authenticator) {
        let key = key_for(&vector.lisp());
        match (auth::verify(&vector.lisp(), &key, Accept::INTEROP), &layers[&vector.id].refused) {
            (Ok(()), None) => taken += 1,
            (Err(error), Some(start)) if error.to_string().starts_with(start.as_str()) => refused += 1,
            (verdict, expected) => panic!("{}: {verdict:?}, expected {expected:?}", vector.id),
        }
    }
    assert_eq!((taken, refused), (11, 6));
}

#[test]
fn the_strict_form_refuses_untruncated_tags_and_narrow_coverage() {
    for vector in control_vectors() {
        let strict = auth::verify(&vector.lisp(), &key_for(&vector.lisp()), Accept::STRICT);
        let narrow_only = Accept { untruncated: false, narrow_coverage: true };
        match vector.id.as_str() {
            "R02" => assert_eq!(strict, Err(auth::AuthError::TagLength(20))),
            "R06" => {
                assert_eq!(strict, Err(auth::AuthError::Tag));
                assert_eq!(auth::verify(&vector.lisp(), &key_for(&vector.lisp()), narrow_only), Ok(()));
            }
            "R01" | "R03" | "R05" | "R07" | "R08" | "N01" | "N02" | "N03" | "N04" | "M41" | "M46" => {
                assert_eq!(strict, Ok(()), "{}", vector.id);
            }
            _ => assert!(strict.is_err(), "{}", vector.id),
        }
    }
}

#[test]
fn sealing_gives_the_tags_of_the_vectors() {
    let mut sealed = 0;
    for vector in control_vectors() {
        let form = match vector.id.as_str() {
            "R02" => TagForm::Untruncated,
            "R01" | "R03" | "R05" | "R07" | "R08" | "N01" | "N02" | "N03" | "N04" => TagForm::Truncated,
            _ => continue,
        };
        let message = ControlMessage::decode(&vector.lisp()).unwrap();
        let payload = auth::seal(&message, &key_for(&vector.lisp()), form).unwrap();
        assert_eq!(payload, vector.lisp(), "{}", vector.id);
        sealed += 1;
    }
    assert_eq!(sealed, 10);
}

#[test]
fn an_inner_packet_is_encoded_as_it_was() {
    for id in ["C02", "C03", "C10", "S01", "S02"] {
        let vector = control_vectors().into_iter().find(|vector| vector.id == id).unwrap();
        let ecm = Ecm::decode(&vector.lisp()).unwrap();
        let rewrapped = Ecm {
            ddt: ecm.ddt,
            security: ecm.security.clone(),
            header: ecm.header,
            ttl: ecm.ttl,
            ..Ecm::wrap(ecm.source, ecm.destination, ecm.message.clone())
        };
        assert_eq!(rewrapped, ecm, "{id}");
        assert_eq!(rewrapped.encode().unwrap(), vector.lisp(), "{id}");
    }
}

fn control_vectors() -> Vec<Vector> {
    crate::support::vectors().vectors.into_iter().filter(|vector| !vector.is_data()).collect()
}

/// The vectors' key, for the algorithm that the message names: which algorithms are allowed is the engine's policy.
fn key_for(payload: &[u8]) -> AuthKey {
    static FILE: LazyLock<Vectors> = LazyLock::new(crate::support::vectors);
    let message = ControlMessage::decode(payload).ok();
    let named = message.as_ref().and_then(ControlMessage::authentication).map(|auth| auth.algorithm);
    let algorithm = named.and_then(Algorithm::from_id).unwrap_or(Algorithm::HmacSha256);
    AuthKey { id: FILE.key_id, algorithm, secret: Secret::new(crate::support::from_hex(&FILE.psk)) }
}
