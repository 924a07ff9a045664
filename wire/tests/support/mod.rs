// SPDX-License-Identifier: GPL-2.0-or-later
//! The vectors and the captures, which live with the conformance suite.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

pub(crate) mod arbitrary;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use serde::Deserialize;
use wire::control::ControlMessage;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret};

#[derive(Deserialize)]
pub(crate) struct Vectors {
    pub(crate) psk: String,
    /// What ITR and Map-Resolver share.
    pub(crate) psk_itr_mr: String,
    pub(crate) key_id: u8,
    pub(crate) vectors: Vec<Vector>,
}

#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) malformed: bool,
    packet: String,
    lisp: String,
}

/// Who judges a vector, and what they must find.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) layer: LayerName,
    /// Codec: the field of the error. Authenticator: how the error begins.
    pub(crate) refused: Option<String>,
    /// The field of the error in the message of an ECM, which itself is taken.
    pub(crate) inner_refused: Option<String>,
    /// Engine: the file of the test that gives the verdict.
    pub(crate) judge: Option<String>,
}

#[derive(Deserialize, PartialEq, Debug, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LayerName {
    Codec,
    Authenticator,
    Engine,
}

impl Vector {
    /// The UDP payload.
    pub(crate) fn lisp(&self) -> Vec<u8> {
        from_hex(&self.lisp)
    }

    /// The whole IP packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        from_hex(&self.packet)
    }

    pub(crate) fn is_data(&self) -> bool {
        self.id.starts_with('D')
    }
}

pub(crate) fn vectors() -> Vectors {
    serde_json::from_reader(File::open(conformance("vectors/vectors.json")).unwrap()).unwrap()
}

pub(crate) fn layers() -> BTreeMap<String, Layer> {
    serde_json::from_reader(File::open(conformance("vectors/layers.json")).unwrap()).unwrap()
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A UDP datagram out of a capture.
#[derive(Clone)]
pub(crate) struct Datagram {
    pub(crate) file: String,
    /// Frame number, from one.
    pub(crate) frame: usize,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) payload: Vec<u8>,
}

impl Datagram {
    pub(crate) fn is_control(&self) -> bool {
        [self.source_port, self.destination_port].contains(&wire::CONTROL_PORT)
    }

    pub(crate) fn name(&self) -> String {
        format!("{} frame {}", self.file, self.frame)
    }
}

/// Names of all captures, sorted.
pub(crate) fn capture_names() -> Vec<String> {
    let entries = conformance("captures").read_dir().unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".pcap"));
    names.sort();
    names
}

/// All UDP datagrams of all captures.
pub(crate) fn captured() -> Vec<Datagram> {
    capture_names().iter().flat_map(|name| capture(name)).collect()
}

/// The UDP datagrams of a capture. Every frame must hold one: the captures were filtered to LISP's ports.
fn capture(name: &str) -> Vec<Datagram> {
    let mut reader = PcapReader::new(File::open(conformance("captures").join(name)).unwrap()).unwrap();
    let link_header = match reader.header().datalink {
        DataLink::ETHERNET => 14,
        DataLink::LINUX_SLL2 => 20,
        other => panic!("{name}: link type {other:?}"),
    };
    let mut datagrams = Vec::new();
    while let Some(frame) = reader.next_packet() {
        let frame = frame.unwrap();
        let number = datagrams.len() + 1;
        let udp = udp_of(&frame.data[link_header..]).unwrap_or_else(|| panic!("{name} frame {number}: no UDP"));
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        datagrams.push(Datagram {
            file: name.to_owned(),
            frame: number,
            source_port: port(0),
            destination_port: port(2),
            payload: udp[8..].to_vec(),
        });
    }
    datagrams
}

/// The UDP datagram of an unfragmented IP packet, link padding cut off.
fn udp_of(packet: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let (protocol, udp) = match packet.first()? >> 4 {
        4 => {
            assert_eq!(word(6) & 0x3fff, 0, "a fragment");
            (packet[9], packet.get(usize::from(packet[0] & 0x0f) * 4..word(2))?)
        }
        6 => (packet[6], packet.get(40..40 + word(4))?),
        _ => return None,
    };
    (protocol == 17 && udp.len() >= 8).then_some(udp)
}

fn conformance(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance")).join(path)
}

/// Puts any bytes through the codec and the authenticator: nothing may panic, and what decodes must encode to bytes that
/// decode to the same. Returns whether they decoded.
pub(crate) fn exercise(bytes: &[u8]) -> bool {
    let key = AuthKey { id: 0, algorithm: Algorithm::HmacSha1, secret: Secret::new("secretkey") };
    let authentic = auth::verify(bytes, &key, Accept::INTEROP);
    let Ok(message) = ControlMessage::decode(bytes) else {
        assert!(authentic.is_err());
        return false;
    };
    assert!(!message.to_string().is_empty());
    let encoded = message.encode().unwrap_or_else(|error| panic!("{error}: {message:?} of {bytes:02x?}"));
    assert_eq!(ControlMessage::decode(&encoded), Ok(message));
    true
}
