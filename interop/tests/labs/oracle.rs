// SPDX-License-Identifier: GPL-2.0-or-later
//! tshark as a second opinion on captures: what it calls malformed, and what it reads differently from our codec.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use pcap_file::pcap::PcapReader;
use wire::address::Address;
use wire::control::{ControlMessage, Nonce};
use wire::data::{IpPacket, LispHeader, UdpHeader, protocol};
use wire::record::MappingRecord;

/// What both read of one frame: field name to its values, in the order of the wire.
type Facts = BTreeMap<&'static str, Vec<String>>;

/// The fields that are compared in control messages.
const CONTROL: [&str; 18] = [
    "lisp.type",
    "lisp.nonce",
    "lisp.irc",
    "lisp.mreq.record.prefix.length",
    "lisp.mreq.record.prefix.ipv4",
    "lisp.mreq.record.prefix.ipv6",
    "lisp.mapping.ttl",
    "lisp.mapping.loccnt",
    "lisp.mapping.eid.masklen",
    "lisp.mapping.eid.ipv4",
    "lisp.mapping.eid.ipv6",
    "lisp.mapping.act",
    "lisp.mapping.auth",
    "lisp.loc.priority",
    "lisp.loc.weight",
    "lisp.loc.locator",
    "lisp.keyid",
    "lisp.authlen",
];

/// The fields that are compared in data packets.
const DATA: [&str; 8] = [
    "lisp-data.flags.nonce",
    "lisp-data.flags.lsb",
    "lisp-data.flags.enr",
    "lisp-data.flags.mv",
    "lisp-data.flags.iid",
    "lisp-data.nonce",
    "lisp-data.iid",
    "lisp-data.lsb",
];

/// Whether tshark is here. Where everything must run, it has to be.
pub(crate) fn tshark_or_skip() -> bool {
    let here = Command::new("tshark").arg("-v").output().is_ok_and(|output| output.status.success());
    if !here {
        assert!(std::env::var_os("CI").is_none(), "in CI tshark must be installed");
        println!("SKIP: tshark is not installed, so captures are not judged by it");
    }
    here
}

/// Judges a capture; returns how many control messages and data packets were compared.
pub(crate) fn judge(capture: &Path) -> (usize, usize) {
    let malformed = tshark(capture, "(lisp || lisp-data) && _ws.malformed", &["frame.number", "_ws.col.Info"]);
    assert!(malformed.is_empty(), "{}: malformed: {malformed:?}", capture.display());
    // 0 is "Bad"; a checksum that is not computed, as LISP may (RFC 9300, section 4.1), is "Not present".
    // Linux writes ones' complement zero as 0xffff for TCP too, which is the same number; tshark calls it wrong.
    let bad = "(lisp || lisp-data) && (udp.checksum.status == 0 || ip.checksum.status == 0 \
               || (tcp.checksum.status == 0 && !(tcp.checksum == 0xffff)) \
               || icmp.checksum.status == 0 || icmpv6.checksum.status == 0)";
    let bad = tshark(capture, bad, &["frame.number", "_ws.col.Info"]);
    assert!(bad.is_empty(), "{}: wrong checksums: {bad:?}", capture.display());

    let (ours_control, ours_data) = read(capture);
    let theirs_control = facts(tshark(capture, "lisp && !icmp && !(icmpv6.type < 128)", &fields(&CONTROL)), &CONTROL);
    let theirs_data = facts(tshark(capture, "lisp-data", &fields(&DATA)), &DATA);
    compare(capture, &ours_control, &theirs_control);
    compare(capture, &ours_data, &theirs_data);
    (ours_control.len(), ours_data.len())
}

fn compare(capture: &Path, ours: &BTreeMap<u64, Facts>, theirs: &BTreeMap<u64, Facts>) {
    for (frame, facts) in ours {
        let other =
            theirs.get(frame).unwrap_or_else(|| panic!("{}: frame {frame}: not LISP to tshark", capture.display()));
        for (field, values) in facts {
            assert_eq!(other.get(field), Some(values), "{}: frame {frame}: {field}", capture.display());
        }
    }
}

fn fields(names: &[&'static str]) -> Vec<&'static str> {
    [&["frame.number"], names].concat()
}

fn tshark(capture: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", filter, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"]);
    for check in ["udp.check_checksum", "ip.check_checksum", "tcp.check_checksum"] {
        command.args(["-o", &format!("{check}:TRUE")]);
    }
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn facts(rows: Vec<Vec<String>>, names: &[&'static str]) -> BTreeMap<u64, Facts> {
    let row = |row: Vec<String>| {
        let values = row[1..].iter().map(|cell| cell.split(',').filter(|v| !v.is_empty()).map(normal).collect());
        (row[0].parse().unwrap(), names.iter().copied().zip(values).collect())
    };
    rows.into_iter().map(row).collect()
}

/// Numbers in decimal, whatever base tshark chose.
fn normal(value: &str) -> String {
    match value.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16)) {
        Some(Ok(number)) => number.to_string(),
        _ => value.to_owned(),
    }
}

/// What our codec reads: control messages and data packets by frame number.
fn read(capture: &Path) -> (BTreeMap<u64, Facts>, BTreeMap<u64, Facts>) {
    let mut reader = PcapReader::new(File::open(capture).unwrap()).unwrap();
    let (mut control, mut data) = (BTreeMap::new(), BTreeMap::new());
    for number in 1.. {
        let Some(frame) = reader.next_packet() else { break };
        let frame = frame.unwrap();
        let Some((udp, payload)) = datagram(&frame.data) else { continue };
        let ports = [udp.source, udp.destination];
        if ports.contains(&wire::CONTROL_PORT) {
            let message = ControlMessage::decode(payload);
            let message = message.unwrap_or_else(|error| panic!("{}: frame {number}: {error}", capture.display()));
            let mut facts = Facts::new();
            control_facts(&message, &mut facts);
            control.insert(number, facts);
        } else if udp.destination == wire::DATA_PORT {
            let (header, inner) = LispHeader::parse(payload).unwrap();
            IpPacket::parse(inner).unwrap_or_else(|error| panic!("{}: frame {number}: {error}", capture.display()));
            data.insert(number, data_facts(&header));
        }
    }
    (control, data)
}

/// The UDP datagram in an Ethernet frame, if it has one that is whole.
fn datagram(frame: &[u8]) -> Option<(UdpHeader, &[u8])> {
    let packet = match frame.get(12..14)? {
        [0x08, 0x00] | [0x86, 0xdd] => IpPacket::parse(&frame[14..]).ok()?,
        _ => return None,
    };
    match packet.transport()? {
        (protocol::UDP, segment) => UdpHeader::parse(segment).ok(),
        _ => None,
    }
}

fn control_facts(message: &ControlMessage, facts: &mut Facts) {
    add(facts, "lisp.type", message.kind());
    match message {
        ControlMessage::Ecm(ecm) => control_facts(&ControlMessage::decode(&ecm.message).unwrap(), facts),
        ControlMessage::MapRequest(request) => {
            nonce(facts, request.nonce);
            // The field holds one less than there are (RFC 9301, section 5.2).
            add(facts, "lisp.irc", request.itr_rlocs.len() - 1);
            for record in &request.records {
                add(facts, "lisp.mreq.record.prefix.length", record.eid.mask_len);
                prefix(facts, ["lisp.mreq.record.prefix.ipv4", "lisp.mreq.record.prefix.ipv6"], &record.eid.address);
            }
            request.map_reply_record.iter().for_each(|record| record_facts(record, facts));
        }
        ControlMessage::MapReply(reply) => {
            nonce(facts, reply.nonce);
            reply.records.iter().for_each(|record| record_facts(record, facts));
        }
        ControlMessage::MapRegister(register) => {
            nonce(facts, register.nonce);
            authentication(facts, &register.auth);
            register.records.iter().for_each(|record| record_facts(record, facts));
        }
        ControlMessage::MapNotify(notify) | ControlMessage::MapNotifyAck(notify) => {
            nonce(facts, notify.nonce);
            authentication(facts, &notify.auth);
            notify.records.iter().for_each(|record| record_facts(record, facts));
        }
        _ => {}
    }
}

fn record_facts(record: &MappingRecord, facts: &mut Facts) {
    add(facts, "lisp.mapping.ttl", record.ttl.0);
    add(facts, "lisp.mapping.loccnt", record.locators.len());
    add(facts, "lisp.mapping.eid.masklen", record.eid.mask_len);
    prefix(facts, ["lisp.mapping.eid.ipv4", "lisp.mapping.eid.ipv6"], &record.eid.address);
    add(facts, "lisp.mapping.act", record.action as u8);
    add(facts, "lisp.mapping.auth", u8::from(record.authoritative));
    for locator in &record.locators {
        add(facts, "lisp.loc.priority", locator.priority);
        add(facts, "lisp.loc.weight", locator.weight);
        add(facts, "lisp.loc.locator", &locator.rloc);
    }
}

fn data_facts(header: &LispHeader) -> Facts {
    let mut facts = Facts::new();
    add(&mut facts, "lisp-data.flags.nonce", u8::from(header.nonce.is_some()));
    add(&mut facts, "lisp-data.flags.lsb", u8::from(header.status_bits.is_some()));
    add(&mut facts, "lisp-data.flags.enr", u8::from(header.echo));
    add(&mut facts, "lisp-data.flags.mv", u8::from(header.versions.is_some()));
    add(&mut facts, "lisp-data.flags.iid", u8::from(header.iid.is_some()));
    header.nonce.iter().for_each(|nonce| add(&mut facts, "lisp-data.nonce", nonce));
    header.iid.iter().for_each(|iid| add(&mut facts, "lisp-data.iid", iid.0));
    // Beside an instance they are another field of tshark's.
    header.status_bits.iter().filter(|_| header.iid.is_none()).for_each(|bits| add(&mut facts, "lisp-data.lsb", bits));
    facts
}

/// tshark shows Key ID and Algorithm ID as the one number that they were once.
fn authentication(facts: &mut Facts, auth: &wire::control::auth::Authentication) {
    add(facts, "lisp.keyid", u16::from_be_bytes([auth.key_id, auth.algorithm.0]));
    add(facts, "lisp.authlen", auth.tag.len());
}

fn nonce(facts: &mut Facts, nonce: Nonce) {
    add(facts, "lisp.nonce", nonce.0);
}

fn prefix(facts: &mut Facts, [v4, v6]: [&'static str; 2], address: &Address) {
    match address {
        Address::V4(address) => add(facts, v4, address),
        Address::V6(address) => add(facts, v6, address),
        // Fields that only some addresses have are compared where tshark has a name for them.
        _ => {}
    }
}

fn add(facts: &mut Facts, field: &'static str, value: impl ToString) {
    facts.entry(field).or_default().push(value.to_string());
}
