// SPDX-License-Identifier: GPL-2.0-or-later
//! Recorded exchanges with three other implementations (`conformance/captures/INDEX.md` tells them): every control packet
//! decodes, encodes to the same bytes, and carries a tag made with the key that the index names.

use crate::support::Datagram;
use wire::control::auth::{self, Accept, Algorithm, AuthError, AuthKey, Secret};
use wire::control::{ControlMessage, message_type};

/// Packets whose sender used `wrongkey` on purpose.
const WRONG_KEY: &[(&str, usize)] =
    &[("oor-register-wrong-key.pcap", 1), ("oor-xtr-retransmit-and-bad-notify.pcap", 4)];

/// Probes of ours that are as long as a packet: there is nothing but zeros behind the Map-Request.
const LONG: &[(&str, usize)] = &[("oor-xtr-and-our-probes.pcap", 3), ("oor-xtr-and-our-probes-ipv6.pcap", 3)];

#[test]
fn there_are_74_captures_and_539_control_packets() {
    assert_eq!(crate::support::capture_names().len(), 74);
    assert_eq!(control_packets().len(), 539);
}

#[test]
fn every_control_packet_decodes() {
    for packet in control_packets() {
        let message = decode(&packet);
        if let ControlMessage::Ecm(ecm) = &message {
            ControlMessage::decode(&ecm.message).unwrap_or_else(|error| panic!("{}: inner {error}", packet.name()));
        }
    }
}

/// No exceptions: neither implementation set a bit that is reserved to us.
#[test]
fn every_control_packet_encodes_to_the_same_bytes() {
    for packet in control_packets() {
        let message = decode(&packet);
        let encoded = message.encode().unwrap();
        let is_long = LONG.contains(&(packet.file.as_str(), packet.frame));
        let (said, behind) = packet.payload.split_at(if is_long { encoded.len() } else { packet.payload.len() });
        assert_eq!(encoded, said, "{}: {message}", packet.name());
        assert!(behind.iter().all(|octet| *octet == 0), "{}: {behind:?}", packet.name());
        if let ControlMessage::Ecm(ecm) = &message {
            let inner = ControlMessage::decode(&ecm.message).unwrap();
            assert_eq!(inner.encode().as_ref(), Ok(&ecm.message), "{}: {inner}", packet.name());
        }
    }
}

#[test]
fn every_tag_is_made_with_the_key_that_the_index_names() {
    let mut checked = 0;
    for packet in control_packets() {
        let wrong_key = WRONG_KEY.contains(&(packet.file.as_str(), packet.frame));
        match auth::verify(&packet.payload, &key_of(&packet, "secretkey"), Accept::INTEROP) {
            Err(AuthError::MessageType(_)) => continue,
            verdict if wrong_key => {
                assert_eq!(verdict, Err(AuthError::Tag), "{}", packet.name());
                assert_eq!(
                    auth::verify(&packet.payload, &key_of(&packet, "wrongkey"), Accept::INTEROP),
                    Ok(()),
                    "{}",
                    packet.name()
                );
            }
            verdict => assert_eq!(verdict, Ok(()), "{}", packet.name()),
        }
        checked += 1;
    }
    // Map-Registers and Map-Notifies; opencp and OOR know no other message with a tag.
    assert_eq!(checked, 89 + 84);
}

#[test]
fn deployed_tags_are_untruncated_and_so_refused_by_the_strict_form() {
    let registers = control_packets().into_iter().filter(|packet| message_type(&packet.payload) == Some(3));
    for packet in registers {
        let verdict = auth::verify(&packet.payload, &key_of(&packet, "secretkey"), Accept::STRICT);
        let expected = if is_between_ours(&packet) { Ok(()) } else { Err(AuthError::TagLength(20)) };
        assert_eq!(verdict, expected, "{}", packet.name());
    }
}

fn control_packets() -> Vec<Datagram> {
    crate::support::captured().into_iter().filter(Datagram::is_control).collect()
}

fn decode(packet: &Datagram) -> ControlMessage {
    ControlMessage::decode(&packet.payload).unwrap_or_else(|error| panic!("{}: {error}", packet.name()))
}

/// The key of the site: Key ID 0 is HMAC-SHA-1, as the peers have it, and 1 is HMAC-SHA-256.
fn key_of(packet: &Datagram, secret: &str) -> AuthKey {
    let (id, algorithm) = if is_between_ours(packet) { (1, Algorithm::HmacSha256) } else { (0, Algorithm::HmacSha1) };
    AuthKey { id, algorithm, secret: Secret::new(secret) }
}

/// Whether our xTR and our Map-Server share the key: their tags are truncated.
fn is_between_ours(packet: &Datagram) -> bool {
    decode(packet).authentication().is_some_and(|auth| auth.key_id == 1)
}
