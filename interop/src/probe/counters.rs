// SPDX-License-Identifier: GPL-2.0-or-later
//! What the kernel counts in a namespace.

use std::io;

use anyhow::Context as _;

use crate::lab::{LabError, Namespace};

/// Counters of IPv4 and of TCP, by protocol: a line of names, then a line of values. /proc/net would be those of the namespace that
/// the process began in.
const SNMP: &str = "/proc/thread-self/net/snmp";
/// Counters of IPv6, one a line.
const SNMP6: &str = "/proc/thread-self/net/snmp6";
/// Those of ports, one a line: its name, eight of what has come, and eight of what was sent, octets and packets first.
const PORTS: &str = "/proc/thread-self/net/dev";

/// Packets for this namespace whose checksum was wrong, of all protocols.
///
/// # Errors
/// When the kernel does not tell.
pub fn checksum_errors(namespace: &Namespace) -> anyhow::Result<u64> {
    let (v4, v6) = (read(namespace, SNMP)?, read(namespace, SNMP6)?);
    Ok(paired(&v4, |_, name| name == "InCsumErrors") + listed(&v6, |name| name.ends_with("InCsumErrors")))
}

/// Segments that TCP of this namespace has sent again.
///
/// # Errors
/// When the kernel does not tell.
pub fn retransmissions(namespace: &Namespace) -> anyhow::Result<u64> {
    Ok(paired(&read(namespace, SNMP)?, |protocol, name| protocol == "Tcp" && name == "RetransSegs"))
}

/// Packets that a port of this namespace has sent.
///
/// # Errors
/// When it is not there, or the kernel does not tell.
pub fn sent(namespace: &Namespace, port: &str) -> anyhow::Result<u64> {
    let text = read(namespace, PORTS)?;
    sent_by(&text, port).with_context(|| format!("{}: no port {port} in {PORTS}", namespace.name()))
}

fn read(namespace: &Namespace, path: &'static str) -> anyhow::Result<String> {
    let failed = |cause: io::Error| LabError::failed(namespace.name(), format!("reading {path}"), cause);
    Ok(namespace.run(move || std::fs::read_to_string(path))?.map_err(failed)?)
}

/// Sum of the values that are wanted, where names and values are in two lines that begin with the protocol.
fn paired(text: &str, wanted: impl Fn(&str, &str) -> bool) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    let pairs =
        lines.chunks(2).filter_map(|pair| Some((pair.first()?.split_once(':')?, pair.get(1)?.split_once(':')?)));
    let values = pairs.flat_map(|((protocol, names), (_, values))| {
        names.split_whitespace().zip(values.split_whitespace()).map(move |(name, value)| (protocol, name, value))
    });
    values
        .filter(|(protocol, name, _)| wanted(protocol, name))
        .filter_map(|(_, _, value)| value.parse::<u64>().ok())
        .sum()
}

/// Sum of the values that are wanted, where each line has a name and a value.
fn listed(text: &str, wanted: impl Fn(&str) -> bool) -> u64 {
    let pairs = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    pairs.filter(|(name, _)| wanted(name)).filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum()
}

/// Packets that a port has sent, which is there.
fn sent_by(text: &str, port: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, values) = lines.find(|(name, _)| name.trim() == port)?;
    values.split_whitespace().nth(9)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_a_port_has_sent_are_those_behind_what_came_and_the_octets() {
        let text = "Inter-|   Receive | Transmit\n face |bytes packets|bytes packets\n    lo: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n  one:5 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0\n";
        assert_eq!((sent_by(text, "lo"), sent_by(text, "one"), sent_by(text, "on")), (Some(4), Some(8), None));
    }

    #[test]
    fn both_forms_of_counters_are_read() {
        let text =
            "Icmp: InMsgs InErrors InCsumErrors\nIcmp: 9 1 1\nTcp: RetransSegs MaxConn InCsumErrors\nTcp: 7 -1 2\n";
        assert_eq!(paired(text, |_, name| name == "InCsumErrors"), 3);
        assert_eq!(paired(text, |protocol, name| protocol == "Tcp" && name == "RetransSegs"), 7);
        assert_eq!(paired("Ip: Forwarding\n", |_, _| true), 0, "cut off");
        let text = "Udp6InDatagrams                 \t5\nUdp6InCsumErrors                \t4\nIcmp6InCsumErrors \t3\n";
        assert_eq!(listed(text, |name| name.ends_with("InCsumErrors")), 7);
    }
}
