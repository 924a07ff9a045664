// SPDX-License-Identifier: GPL-2.0-or-later
//! QUIC Initials that a server must take for the beginning of a handshake: RFC 9000, and RFC 9001 section 5 for their
//! protection, whose keys follow from the packet itself.

use aws_lc_rs::aead::quic::{AES_128 as HEADER_AES_128, HeaderProtectionKey};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

/// RFC 9001 section 5.2.
const INITIAL_SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f,
    0x0a,
];
/// Octets of a datagram that carries an Initial, at least (RFC 9000 section 14.1).
const DATAGRAM: usize = 1200;
/// Octets of a connection ID here.
const CID: usize = 8;
/// The same, as it is written.
const CID_LENGTH: u8 = 8;
/// Octets of the packet number here.
const NUMBER: usize = 4;
/// Octets of the authentication tag.
const TAG: usize = 16;

/// An Initial of a client that has just chosen these connection IDs, in a datagram of its own.
///
/// # Errors
/// When the cryptography fails, which it has no reason to.
pub fn initial(destination: [u8; CID], source: [u8; CID], random: [u8; 32]) -> Result<Vec<u8>, Unspecified> {
    // Long header, Initial, a packet number of NUMBER octets; version 1.
    let mut packet = vec![0xc3, 0, 0, 0, 1];
    packet.push(CID_LENGTH);
    packet.extend(destination);
    packet.push(CID_LENGTH);
    packet.extend(source);
    // No token; then the length of number, payload and tag, in two octets.
    packet.push(0);
    let length = DATAGRAM - packet.len() - 2;
    packet.extend((0x4000 | u16::try_from(length).map_err(|_| Unspecified)?).to_be_bytes());
    let number_at = packet.len();
    packet.extend([0; NUMBER]);
    let header = packet.clone();

    let hello = client_hello(source, random);
    let mut payload = vec![0x06, 0];
    payload.extend((0x4000 | u16::try_from(hello.len()).map_err(|_| Unspecified)?).to_be_bytes());
    payload.extend(hello);
    payload.resize(length - NUMBER - TAG, 0);

    let keys = Keys::of_client(&destination)?;
    // Packet number 0 leaves the IV as it is.
    let nonce = Nonce::assume_unique_for_key(keys.iv);
    keys.packet.seal_in_place_append_tag(nonce, Aad::from(header), &mut payload)?;
    packet.extend(payload);
    let sample = packet[number_at + 4..number_at + 20].to_vec();
    let mask = keys.header.new_mask(&sample)?;
    packet[0] ^= mask[0] & 0x0f;
    for (octet, mask) in packet[number_at..number_at + NUMBER].iter_mut().zip(&mask[1..]) {
        *octet ^= mask;
    }
    Ok(packet)
}

/// What protects a client's Initials.
struct Keys {
    packet: LessSafeKey,
    header: HeaderProtectionKey,
    iv: [u8; 12],
}

impl Keys {
    fn of_client(destination: &[u8]) -> Result<Self, Unspecified> {
        let initial = Salt::new(HKDF_SHA256, &INITIAL_SALT).extract(destination);
        let client = Prk::new_less_safe(HKDF_SHA256, &expand::<32>(&initial, "client in")?);
        let key = expand::<16>(&client, "quic key")?;
        Ok(Self {
            packet: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?),
            header: HeaderProtectionKey::new(&HEADER_AES_128, &expand::<16>(&client, "quic hp")?)?,
            iv: expand(&client, "quic iv")?,
        })
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label of RFC 8446 section 7.1, without context.
fn expand<const N: usize>(secret: &Prk, label: &str) -> Result<[u8; N], Unspecified> {
    let label = format!("tls13 {label}");
    let length = u16::try_from(N).map_err(|_| Unspecified)?.to_be_bytes();
    let label_length = [u8::try_from(label.len()).map_err(|_| Unspecified)?];
    let mut out = [0; N];
    secret.expand(&[&length, &label_length, label.as_bytes(), &[0]], Length(N))?.fill(&mut out)?;
    Ok(out)
}

/// A ClientHello of TLS 1.3 that a server of libp2p answers with its certificate and a signature.
fn client_hello(source: [u8; CID], random: [u8; 32]) -> Vec<u8> {
    let extensions = [
        // supported_versions: TLS 1.3; supported_groups: X25519.
        extension(43, &[2, 3, 4]),
        extension(10, &[0, 2, 0, 0x1d]),
        // signature_algorithms: ECDSA with P-256, Ed25519.
        extension(13, &[0, 4, 4, 3, 8, 7]),
        // key_share: any 32 octets are a key of X25519.
        extension(51, &[&[0, 36, 0, 0x1d, 0, 32][..], &random].concat()),
        extension(16, b"\x00\x07\x06libp2p"),
        // quic_transport_parameters: initial_source_connection_id, 16 streams of 64 kB.
        extension(0x39, &[&[0x0f, CID_LENGTH][..], &source, &[8, 1, 16, 4, 4, 0x80, 1, 0, 0]].concat()),
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend(random);
    // No session; TLS_AES_128_GCM_SHA256; no compression.
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(with_length(&extensions));
    let mut message = vec![1, 0];
    message.extend(with_length(&body));
    message
}

fn extension(number: u16, body: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &with_length(body)].concat()
}

/// A body of less than 64 KiB after its length.
fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The keys of RFC 9001, appendix A.1.
    #[test]
    fn keys_are_those_of_the_rfc() {
        let destination = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        let initial = Salt::new(HKDF_SHA256, &INITIAL_SALT).extract(&destination);
        let client = expand::<32>(&initial, "client in").unwrap();
        assert_eq!(client[..4], [0xc0, 0x0c, 0xf1, 0x51]);
        let client = Prk::new_less_safe(HKDF_SHA256, &client);
        assert_eq!(expand::<16>(&client, "quic key").unwrap()[..4], [0x1f, 0x36, 0x96, 0x13]);
        assert_eq!(expand::<12>(&client, "quic iv").unwrap()[..4], [0xfa, 0x04, 0x4b, 0x2f]);
        assert_eq!(expand::<16>(&client, "quic hp").unwrap()[..4], [0x9f, 0x50, 0x44, 0x9e]);
    }

    #[test]
    fn an_initial_fills_a_datagram_and_each_is_another() {
        let one = initial([1; CID], [2; CID], [3; 32]).unwrap();
        let other = initial([9; CID], [2; CID], [3; 32]).unwrap();
        assert_eq!((one.len(), other.len()), (DATAGRAM, DATAGRAM));
        assert_ne!(one[30..], other[30..]);
    }
}
