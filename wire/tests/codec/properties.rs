// SPDX-License-Identifier: GPL-2.0-or-later
//! What holds for any bytes and any message: decoding never panics, and what is encoded decodes to itself.

use crate::support::arbitrary;
use proptest::collection::vec;
use proptest::prelude::*;
use wire::control::auth::{self, Accept, Algorithm, AuthError, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapReferral};

proptest! {
    #[test]
    fn a_message_decodes_to_what_was_encoded(message in arbitrary::message()) {
        let bytes = message.encode().unwrap();
        prop_assert_eq!(ControlMessage::decode(&bytes), Ok(message));
    }

    #[test]
    fn the_octets_of_referral_records_are_those_of_the_records(message in arbitrary::map_referral()) {
        let bytes = message.encode().unwrap();
        let records: Vec<_> = message.records.iter().map(|record| record.encode().unwrap()).collect();
        prop_assert_eq!(MapReferral::record_octets(&bytes).unwrap(), records);
    }

    #[test]
    fn a_signature_covers_every_octet_but_ttl_and_signatures(message in arbitrary::map_referral(), at in any::<prop::sample::Index>()) {
        for record in message.records {
            let Some(signature) = record.signatures.first() else { continue };
            let octets = record.encode().unwrap();
            let zeroed = record.signatures.iter().map(|s| wire::control::ReferralSignature { octets: vec![0; s.octets.len()], ..s.clone() });
            let blank = wire::control::Referral { ttl: signature.original_ttl, signatures: zeroed.collect(), ..record.clone() };
            prop_assert_eq!(record.covered(&octets, signature), blank.encode().unwrap());
            // What is reserved is covered as it came, too.
            let mut changed = octets.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1;
            let same = record.covered(&changed, signature) == record.covered(&octets, signature);
            let mut marked = record.covered(&octets, signature);
            marked[at] ^= 1;
            prop_assert!(same || record.covered(&changed, signature) == marked);
        }
    }

    #[test]
    fn octets_behind_a_message_change_nothing(message in arbitrary::message(), tail in vec(any::<u8>(), 1..40)) {
        // These keep all that is left.
        let open_ended = match &message {
            ControlMessage::Shared(_) => true,
            ControlMessage::MapReply(reply) => reply.security.as_ref().is_some_and(|security| security[0] != 1),
            _ => false,
        };
        prop_assume!(!open_ended);
        let bytes = [message.encode().unwrap(), tail].concat();
        prop_assert_eq!(ControlMessage::decode(&bytes), Ok(message));
    }

    #[test]
    fn a_message_cut_short_is_refused(message in arbitrary::message(), cut in any::<prop::sample::Index>()) {
        let whole = message.encode().unwrap();
        let cut = &whole[..cut.index(whole.len())];
        if let Ok(decoded) = ControlMessage::decode(cut) {
            let open_ended = match &message {
                ControlMessage::Shared(_) => true,
                ControlMessage::MapReply(reply) => reply.security.is_some(),
                // Without its octets the tail's bit is one of RFC 9301's reserved ones.
                ControlMessage::MapNotify(notify) | ControlMessage::MapNotifyAck(notify) => notify.xtr_identity.is_some(),
                _ => false,
            };
            prop_assert!(open_ended, "{} octets of {}: {decoded}", cut.len(), whole.len());
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        crate::support::exercise(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_likely_header_are_decoded_or_refused(
        kind in 1..9u8, head in any::<[u8; 2]>(), count in 0..4u8, body in vec(prop_oneof![Just(0u8), Just(1), Just(2), any::<u8>()], 0..200),
    ) {
        crate::support::exercise(&[&[kind << 4 | head[0] & 0x0f, head[1], 0, count], &body[..]].concat());
    }

    #[test]
    fn a_sealed_message_verifies_and_no_other_key_or_byte_does(
        message in arbitrary::message(),
        secret in vec(any::<u8>(), 1..80),
        flipped in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        for algorithm in [Algorithm::HmacSha1, Algorithm::HmacSha256, Algorithm::HkdfSha256] {
            let key = AuthKey { id: 7, algorithm, secret: Secret::new(secret.clone()) };
            let Ok(payload) = auth::seal(&message, &key, TagForm::Truncated) else {
                let info_has_no_salt = matches!(message, ControlMessage::Info(_)) && algorithm == Algorithm::HkdfSha256;
                prop_assert!(info_has_no_salt || message.authentication().is_none());
                continue;
            };
            prop_assert_eq!(auth::verify(&payload, &key, Accept::STRICT), Ok(()));
            let other = AuthKey { secret: Secret::new([&secret[..], &[1]].concat()), ..key.clone() };
            prop_assert_eq!(auth::verify(&payload, &other, Accept::INTEROP), Err(AuthError::Tag));
            let mut changed = payload.clone();
            changed[flipped.index(payload.len())] ^= 1 << bit;
            prop_assert!(auth::verify(&changed, &key, Accept::STRICT).is_err());
        }
    }
}
