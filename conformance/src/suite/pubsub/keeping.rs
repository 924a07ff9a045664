// SPDX-License-Identifier: GPL-2.0-or-later
//! What outlives the process, what is shown, and what another dissector makes of the octets.

use std::process::Command;
use std::time::{Duration, Instant};

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

use super::office::{Office, PATIENCE, host, says};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, missing, must};

pub(super) const PROBES: &[Probe<Office>] = &[
    must("PS-05.01", "9437 5", "SIGKILL after a subscription and a change", killed),
    must("PS-05.02", "9437 5", "`show subscriptions` of a running server", shown),
    must("PS-05.03", "9437 4", "Map-Request, Map-Notify and Map-Notify-Ack before tshark", witnessed),
];

fn killed(office: &Office) -> Judgement {
    let server = office.start("killed")?;
    let part = office.part()?;
    office.site.register(server.address, part, Some(1))?;
    let xtr = office.xtr_of(1, server.address)?;
    let first = xtr.send(&xtr.request(50, &[host(part)])?)?;
    let (notify, _) = xtr.notify(PATIENCE)?;
    xtr.ack(&notify)?;
    office.site.register(server.address, part, Some(2))?;
    let change = xtr.change()?;
    wait_for_proof(office, &server)?;
    server.kill();
    let again = office.start("killed")?;
    let (old, mut xtr) = (xtr.server, xtr);
    xtr.server = again.address;
    xtr.send_octets(&first)?;
    xtr.silence()?;
    office.site.register(again.address, part, Some(2))?;
    xtr.silence()?;
    office.site.register(again.address, part, Some(3))?;
    let next = xtr.change()?;
    let is_new = next.records.first().is_some_and(|record| says(record, part, 3));
    let holds = change.nonce.0 == 51 && next.nonce.0 == 52 && is_new && old != again.address;
    expect(
        holds,
        format!("nonce {} before, {} after; the replay and what was told are not told again", change.nonce, next.nonce),
    )
}

/// The last acknowledgement has been taken and written: nothing of it is on its way.
fn wait_for_proof(office: &Office, server: &super::office::Server) -> Result<(), Fault> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if office.show(server, "counters")?["publications_unacknowledged"] == 0 {
            std::thread::sleep(Duration::from_millis(300));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(broken("the acknowledgement is not taken"))
}

fn shown(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(77, host(part))?;
    let all = office.show(office.server()?, "subscriptions")?;
    let rows: Vec<_> = all.as_array().into_iter().flatten().filter(|row| row["prefix"] == part.to_string()).collect();
    let [row] = rows.as_slice() else { return Err(broken(format!("one row expected: {rows:?}"))) };
    let id: String = xtr.identity.xtr_id.iter().map(|octet| format!("{octet:02x}")).collect();
    let rloc = xtr.rloc()?.to_string();
    let holds = row["xtr_id"] == id
        && row["site_id"] == 7
        && row["nonce"] == 77
        && row["state"] == "publish"
        && row["itr_rlocs"] == serde_json::json!([rloc]);
    expect(holds, row)
}

fn witnessed(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    let request = xtr.request(0x00ab_cdef, &[host(part)])?.encode().map_err(broken)?;
    xtr.send_octets(&xtr.ecm(&request)?)?;
    let (notify, octets) = xtr.notify(PATIENCE)?;
    let ack = super::office::sealed_ack(&notify, &xtr.key)?;
    xtr.send_octets(&ack)?;
    let file = tempfile::NamedTempFile::new().map_err(missing)?;
    let header = PcapHeader { datalink: DataLink::IPV4, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(file.reopen().map_err(missing)?, header).map_err(missing)?;
    for payload in [&request, &octets, &ack] {
        let packet = datagram(payload)?;
        let length = u32::try_from(packet.len()).map_err(broken)?;
        writer.write_packet(&PcapPacket::new(Duration::ZERO, length, &packet)).map_err(missing)?;
    }
    drop(writer);
    let fields = ["-T", "fields", "-e", "lisp.type", "-e", "lisp.nonce", "-e", "_ws.malformed"];
    let output = Command::new("tshark").arg("-r").arg(file.path()).args(fields).output();
    let output = output.map_err(|error| missing(format!("tshark does not run: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let is = |row: &[&str], kind: &str| {
        row.first() == Some(&kind) && row.get(2).is_none_or(|malformed| malformed.is_empty())
    };
    // tshark 4.0 knows the nonce of the first two only.
    let sent = format!("{:x}", notify.nonce.0);
    let has_nonce = |row: &[&str]| row.get(1).is_some_and(|nonce| nonce.ends_with(&sent));
    let are = rows.len() == 3 && is(&rows[0], "1") && is(&rows[1], "4") && is(&rows[2], "5");
    let holds = are && has_nonce(&rows[0]) && has_nonce(&rows[1]);
    expect(holds, format!("types, nonces, faults: {rows:?}"))
}

/// A payload between two ports 4342, in IPv4 without checksums.
fn datagram(payload: &[u8]) -> Result<Vec<u8>, Fault> {
    let udp = u16::try_from(8 + payload.len()).map_err(broken)?;
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 53]);
    for port in [wire::CONTROL_PORT, wire::CONTROL_PORT] {
        packet.extend(port.to_be_bytes());
    }
    packet.extend(udp.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    Ok(packet)
}
