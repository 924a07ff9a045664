// SPDX-License-Identifier: GPL-2.0-or-later
//! What holds for any bytes and any message: decoding never panics, and what is encoded decodes to itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use support::arbitrary;
use wire::control::ControlMessage;
use wire::control::auth::{self, Accept, Algorithm, AuthError, AuthKey, Secret, TagForm};

proptest! {
    #[test]
    fn a_message_decodes_to_what_was_encoded(message in arbitrary::message()) {
        let bytes = message.encode().unwrap();
        prop_assert_eq!(ControlMessage::decode(&bytes), Ok(message));
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
        support::exercise(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_likely_header_are_decoded_or_refused(
        kind in 1..9u8, head in any::<[u8; 2]>(), count in 0..4u8, body in vec(prop_oneof![Just(0u8), Just(1), Just(2), any::<u8>()], 0..200),
    ) {
        support::exercise(&[&[kind << 4 | head[0] & 0x0f, head[1], 0, count], &body[..]].concat());
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
