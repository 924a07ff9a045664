// SPDX-License-Identifier: GPL-2.0-or-later
//! The Kademlia protocol for who asks or answers otherwise than libp2p's own code does: a crawl, and the liars of a bench.
//!
//! A message is a varint of its length and a protobuf: 1 type, 2 key, 3 record {1 key, 2 value}, 8 nearer peers
//! {1 id, 2 address}.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{Multiaddr, PeerId, StreamProtocol, request_response};

/// Octets of a message, as of libp2p's Kademlia.
const LONGEST: usize = 16 * 1024;
/// Octets of a varint of 64 bits.
const VARINT: usize = 10;

/// What a message asks for or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shell) enum Kind {
    Put,
    Get,
    FindNode,
}

impl Kind {
    fn number(self) -> u64 {
        match self {
            Self::Put => 0,
            Self::Get => 1,
            Self::FindNode => 4,
        }
    }
}

/// A message, question or answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::shell) struct Message {
    pub(in crate::shell) kind: Kind,
    pub(in crate::shell) key: Vec<u8>,
    pub(in crate::shell) value: Option<Vec<u8>>,
    pub(in crate::shell) nearer: Vec<(PeerId, Multiaddr)>,
}

impl Message {
    pub(in crate::shell) fn put(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { kind: Kind::Put, key, value: Some(value), nearer: Vec::new() }
    }

    /// Asks for the nodes nearest to a key.
    pub(in crate::shell) fn find(key: Vec<u8>) -> Self {
        Self { kind: Kind::FindNode, key, value: None, nearer: Vec::new() }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_varint(&mut out, 1 << 3);
        write_varint(&mut out, self.kind.number());
        write_field(&mut out, 2, &self.key);
        if let Some(value) = &self.value {
            let mut record = Vec::new();
            write_field(&mut record, 1, &self.key);
            write_field(&mut record, 2, value);
            write_field(&mut out, 3, &record);
        }
        for (peer, address) in &self.nearer {
            let mut entry = Vec::new();
            write_field(&mut entry, 1, &peer.to_bytes());
            write_field(&mut entry, 2, &address.to_vec());
            write_field(&mut out, 8, &entry);
        }
        out
    }

    /// Reads a question or an answer. A peer that cannot be read is left out, as libp2p does.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut message = Self { kind: Kind::Put, key: Vec::new(), value: None, nearer: Vec::new() };
        let mut rest = bytes;
        while !rest.is_empty() {
            match read_field(&mut rest)? {
                (1, Field::Number(number)) => {
                    message.kind =
                        [Kind::Put, Kind::Get, Kind::FindNode].into_iter().find(|kind| kind.number() == number)?;
                }
                (2, Field::Octets(key)) => message.key = key.to_vec(),
                (3, Field::Octets(record)) => message.value = value_of(record)?,
                (8, Field::Octets(entry)) => message.nearer.extend(peer_of(entry)?),
                _ => {}
            }
        }
        Some(message)
    }
}

fn value_of(mut record: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut value = None;
    while !record.is_empty() {
        if let (2, Field::Octets(octets)) = read_field(&mut record)? {
            value = Some(octets.to_vec());
        }
    }
    Some(value)
}

/// A peer and its addresses, one pair for each.
fn peer_of(mut entry: &[u8]) -> Option<Vec<(PeerId, Multiaddr)>> {
    let (mut peer, mut addresses) = (None, Vec::new());
    while !entry.is_empty() {
        match read_field(&mut entry)? {
            (1, Field::Octets(id)) => peer = PeerId::from_bytes(id).ok(),
            (2, Field::Octets(address)) => addresses.extend(Multiaddr::try_from(address.to_vec()).ok()),
            _ => {}
        }
    }
    Some(peer.map_or_else(Vec::new, |peer| addresses.into_iter().map(|address| (peer, address)).collect()))
}

enum Field<'a> {
    Number(u64),
    Octets(&'a [u8]),
}

fn read_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = read_varint(rest)?;
    let field = match tag & 7 {
        0 => Field::Number(read_varint(rest)?),
        2 => {
            let length = usize::try_from(read_varint(rest)?).ok()?;
            let (octets, after) = rest.split_at_checked(length)?;
            *rest = after;
            Field::Octets(octets)
        }
        _ => return None,
    };
    Some((tag >> 3, field))
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for index in 0..VARINT {
        let (&octet, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(octet & 0x7f).checked_shl(u32::try_from(7 * index).ok()?)?;
        if octet & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

fn write_field(out: &mut Vec<u8>, field: u64, octets: &[u8]) {
    write_varint(out, field << 3 | 2);
    write_varint(out, octets.len() as u64);
    out.extend_from_slice(octets);
}

/// The protocol on a stream: one message each way.
#[derive(Debug, Clone, Default)]
pub(in crate::shell) struct Codec;

impl Codec {
    async fn read<T: AsyncRead + Unpin + Send>(stream: &mut T) -> io::Result<Message> {
        let wrong = || io::Error::from(io::ErrorKind::InvalidData);
        let mut head = Vec::new();
        while head.last().is_none_or(|octet| octet & 0x80 != 0) {
            let mut octet = [0];
            stream.read_exact(&mut octet).await?;
            head.push(octet[0]);
            if head.len() > VARINT {
                return Err(wrong());
            }
        }
        let length = read_varint(&mut head.as_slice()).and_then(|length| usize::try_from(length).ok());
        let mut bytes = vec![0; length.filter(|&length| length <= LONGEST).ok_or_else(wrong)?];
        stream.read_exact(&mut bytes).await?;
        Message::decode(&bytes).ok_or_else(wrong)
    }

    async fn write<T: AsyncWrite + Unpin + Send>(stream: &mut T, message: &Message) -> io::Result<()> {
        let bytes = message.encode();
        let mut framed = Vec::with_capacity(bytes.len() + VARINT);
        write_varint(&mut framed, bytes.len() as u64);
        framed.extend_from_slice(&bytes);
        stream.write_all(&framed).await?;
        stream.flush().await
    }
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Message;
    type Response = Message;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Message> {
        Self::read(stream).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Message> {
        Self::read(stream).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        request: Message,
    ) -> io::Result<()> {
        Self::write(stream, &request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        response: Message,
    ) -> io::Result<()> {
        Self::write(stream, &response).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let put = Message::put(vec![1; 40], vec![2; 3000]);
        assert_eq!(Message::decode(&put.encode()), Some(put.clone()));
        let find = Message { kind: Kind::FindNode, value: None, ..put };
        assert_eq!(Message::decode(&find.encode()), Some(find));
    }

    #[test]
    fn messages_of_the_draft_are_read() {
        let read = |id: &str| {
            let octets = crate::shell::node::drafted::value(id);
            futures::executor::block_on(Codec::read(&mut futures::io::Cursor::new(octets))).unwrap()
        };
        let key = crate::shell::node::drafted::value("KEY.C");
        let value = crate::shell::node::drafted::value("REC.R.REVOCATION");
        let put = Message::put(key.clone(), value);
        for id in ["KAD.put", "KAD.handover"] {
            assert_eq!(read(id), put, "{id}");
        }
        let get = Message { kind: Kind::Get, ..Message::find(key) };
        assert_eq!(read("KAD.get"), get);
        assert_eq!(read("KAD.refused"), Message::find(Vec::new()));
        assert_eq!(read("KAD.no-tokens"), Message { key: Vec::new(), ..get });
    }

    #[test]
    fn an_answer_names_peers_and_their_addresses() {
        let peers: Vec<(PeerId, Multiaddr)> = (1..4)
            .map(|port| (PeerId::random(), format!("/ip4/192.0.2.1/udp/{port}/quic-v1").parse().unwrap()))
            .collect();
        let answer = Message { nearer: peers.clone(), ..Message::find(vec![7; 32]) };
        assert_eq!(Message::decode(&answer.encode()).unwrap().nearer, peers);
        let mut strange = Vec::new();
        write_field(&mut strange, 1, b"nobody");
        write_field(&mut strange, 2, &peers[0].1.to_vec());
        assert_eq!(peer_of(&strange), Some(Vec::new()));
    }

    #[test]
    fn what_is_cut_short_is_no_message() {
        let bytes = Message::put(vec![1; 40], vec![2; 300]).encode();
        for length in 3..bytes.len() {
            let cut = Message::decode(&bytes[..length]);
            assert!(cut.is_none_or(|message| message.value.is_none()), "{length}");
        }
    }
}
