// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-xtr trace`: the way that a packet would take through a running node, in JSON and for a terminal.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv6Net};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wire::address::{EidPrefix, InstanceId};
use wire::data::{FlowKey, OuterHeader, overhead};
use wire::record::LocatorRecord;

use super::control_socket::{Ask, ask_for};
use super::packets::Packets;
use super::show::{columns, ecn_mode};
use super::{Failure, port_pool};
use crate::config::{Tier, TraceFlags};
use crate::database::Database;
use crate::engine::Control;
use crate::map_cache::Event;
use crate::reach;
use crate::trace::{End, Packet, Standing, Trace};
use crate::transport::Via;

/// How long the mapping system may take to answer `--resolve`: the packet itself would not wait so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(100);
/// Largest instance that the data header carries (RFC 9300, section 5.3).
const LARGEST_IID: u32 = 0x00ff_ffff;

/// What is asked over the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    destination: IpAddr,
    from: Option<IpAddr>,
    iid: Option<u32>,
    ports: Option<(u8, u16, u16)>,
    /// Ask the mapping system if there is no mapping.
    resolve: bool,
}

/// What of a node decides on the way of a packet.
pub struct Node<'a> {
    /// The control half.
    pub control: &'a Control,
    /// The packet half.
    pub packets: &'a Packets,
    /// The network whose addresses are led into the tunnel whatever their source.
    pub cgeid_network: Option<Ipv6Net>,
}

impl TraceRequest {
    /// What the flags say; `iid` is the flag of that name.
    pub fn new(flags: &TraceFlags, iid: Option<u32>) -> Self {
        let TraceFlags { destination, from, flow, resolve } = *flags;
        Self { destination, from, iid, ports: flow.map(|ports| ports.0), resolve }
    }

    /// Asks the node at `path`, again until the mapping system has answered, if that is wanted.
    ///
    /// # Errors
    /// If no node answers, or the question makes no sense to it.
    pub fn ask(mut self, path: &Path) -> Result<Value, Failure> {
        let (begun, waits) = (Instant::now(), self.resolve);
        loop {
            let answer = ask_for(path, &Ask::Trace(self.clone()))?;
            if !waits || answer["trace"]["result"] != "miss" {
                return Ok(answer);
            }
            if begun.elapsed() >= PATIENCE {
                return Ok(unanswered(answer));
            }
            // The node has begun to ask; what follows only looks.
            self.resolve = false;
            std::thread::sleep(LOOK);
        }
    }

    /// What the node has to do beside answering: a packet that finds no mapping makes it ask for one.
    pub(super) fn event(&self, answer: &Value, node_iid: InstanceId) -> Option<Event> {
        let is_wanted = self.resolve && answer["trace"]["result"] == "miss";
        let source = answer["trace"]["source"].as_str().and_then(|source| source.parse().ok())?;
        let eid = EidPrefix::host(self.instance(node_iid), self.destination);
        is_wanted.then_some(Event::Miss { eid, source })
    }

    /// The way of the packet through this node, or `{"error"}`.
    pub(super) fn answer(&self, now: Instant, node: &Node<'_>) -> Value {
        match self.packet(node) {
            Ok(packet) => json!({ "trace": way(now, &packet, node) }),
            Err(error) => json!({ "error": error }),
        }
    }

    fn instance(&self, node_iid: InstanceId) -> InstanceId {
        self.iid.map_or(node_iid, InstanceId)
    }

    fn packet(&self, node: &Node<'_>) -> Result<Packet, String> {
        let iid = self.instance(node.packets.itr().iid);
        if iid.0 > LARGEST_IID {
            return Err(format!("--iid: {} has more than 24 bits", iid.0));
        }
        let source = match self.from {
            Some(source) if source.is_ipv4() != self.destination.is_ipv4() => {
                return Err(format!("--from: {source} is not of the address family of {}", self.destination));
            }
            Some(source) => source,
            None => own_host(node, iid, self.destination)
                .ok_or("--from: needed, for this node has no EID-prefix of this address family and instance")?,
        };
        Ok(Packet { iid, flow: FlowKey { source, destination: self.destination, ports: self.ports } })
    }
}

/// The same, of a packet that has waited for a mapping in vain.
fn unanswered(mut answer: Value) -> Value {
    let resolvers = answer["trace"]["map_resolvers"].as_array().into_iter().flatten().map(word);
    let resolvers = resolvers.collect::<Vec<_>>().join(", ");
    let seconds = PATIENCE.as_secs();
    answer["trace"]["reason"] = match resolvers.as_str() {
        "" => "no Map-Resolver is configured that could be asked".into(),
        resolvers => format!("no mapping has come within {seconds} s from {resolvers}").into(),
    };
    answer
}

/// A host of ours that a packet to `destination` may come from; to a CGEID it is as a rule a CGEID.
fn own_host(node: &Node<'_>, iid: InstanceId, destination: IpAddr) -> Option<IpAddr> {
    let database: &Database = node.control.database();
    let fits = |prefix: &&EidPrefix| prefix.iid == iid && prefix.net.addr().is_ipv4() == destination.is_ipv4();
    let is_cgeid = |address: IpAddr| node.cgeid_network.is_some_and(|network| IpNet::from(network).contains(&address));
    let fitting = || database.prefixes().iter().filter(fits);
    let alike = fitting().find(|prefix| is_cgeid(prefix.net.addr()) == is_cgeid(destination));
    // The first address of a network is nobody's.
    let hosts = alike.or_else(|| fitting().next())?.net.hosts();
    let (first, second) = {
        let mut two = hosts.take(2);
        (two.next(), two.next())
    };
    second.or(first)
}

fn way(now: Instant, packet: &Packet, node: &Node<'_>) -> Value {
    let Packet { iid, flow } = packet;
    let trace = packet.trace(now, node.control, node.packets.itr(), node.packets.petr_for());
    let is_led = packet.is_led(node.control, node.cgeid_network);
    let (result, reason) = match is_here(packet, node) {
        true => ("local", format!("{} is an address of this machine: its kernel keeps the packet", flow.destination)),
        false => result(&trace, is_led),
    };
    // What stays here, or goes past the tunnel, has no header in front of it.
    let outer = match &trace.end {
        End::Encapsulated(outer) if result == "encapsulate" => self::outer(outer, node),
        _ => Value::Null,
    };
    json!({
        "destination": flow.destination, "source": flow.source, "iid": iid.0,
        "ports": flow.ports, "flow_hash": format!("{:016x}", flow.hash()),
        "led": is_led, "result": result, "reason": reason,
        "map_resolvers": node.control.map_resolvers().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "entry": entry(now, &trace, node.control),
        "binding": trace.binding.map(|(prefix, binding)| {
            json!({ "prefix": prefix.to_string(), "address": binding.address, "port": binding.port })
        }),
        "outer": outer,
    })
}

/// Whether it is to an address of this machine: its table `local` comes before our rules. What an EID of ours says of it is more.
fn is_here(packet: &Packet, node: &Node<'_>) -> bool {
    let destination = packet.flow.destination;
    let is_eid = !node.control.database().answer(&EidPrefix::host(packet.iid, destination)).is_empty();
    let addresses = getifaddrs().into_iter().flatten().filter_map(|found| found.address);
    let ip = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    !is_eid && addresses.filter_map(ip).any(|address| address == destination)
}

fn result(trace: &Trace<'_>, is_led: bool) -> (&'static str, String) {
    match &trace.end {
        End::Local(prefix) => ("local", format!("to {prefix}, a prefix of this node")),
        _ if !is_led => (
            "past-tunnel",
            "neither from an EID of this node, nor to a CGEID, to what it is PITR for, or to an EID of its own that has moved, nor relayed by \
             it as an RTR: by the routes of the kernel"
                .into(),
        ),
        End::Encapsulated(outer) if trace.uses_petr => {
            ("encapsulate", format!("to {}, a PETR: the mapping says that it is no LISP site", outer.destination))
        }
        End::Encapsulated(outer) => match &trace.binding {
            Some((prefix, _)) => {
                ("encapsulate", format!("to {}, the way of {prefix} through a NAT", outer.destination))
            }
            None => ("encapsulate", format!("to {}", outer.destination)),
        },
        End::Native => ("natively-forward", "the mapping says that it is no LISP site".into()),
        End::Miss => match trace.entry {
            Some(_) => ("miss", "the mapping says: ask again".into()),
            None => ("miss", "no mapping is known: the packet waits while the mapping system is asked".into()),
        },
        End::Dropped(reason) => ("drop", reason.key().into()),
    }
}

fn entry(now: Instant, trace: &Trace<'_>, control: &Control) -> Value {
    let Some((prefix, installed)) = trace.entry else { return Value::Null };
    let locators = trace.locators.iter().enumerate();
    let locators: Vec<Value> =
        locators.map(|(index, (address, record))| locator(now, (trace, control), index, *address, record)).collect();
    let from = match installed.from {
        Via::Pipe => "this process".to_owned(),
        Via::Socket { remote, .. } => remote.ip().to_string(),
    };
    json!({
        "prefix": prefix.to_string(),
        "action": control.petrs_for(&prefix).action_of(installed),
        "from": from,
        "age": now.saturating_duration_since(installed.since).as_secs(),
        "expires": installed.expires.saturating_duration_since(now).as_secs(),
        "secured": installed.secured,
        "locators": locators,
    })
}

fn locator(
    now: Instant,
    (trace, control): (&Trace<'_>, &Control),
    index: usize,
    address: IpAddr,
    record: &LocatorRecord,
) -> Value {
    let (standing, share) = trace.locator(control, index);
    let probed = control.probed_locators(now).find(|probed| probed.address == address);
    let rtt = probed.and_then(|probed| probed.rtt).map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX));
    json!({
        "address": address, "priority": record.priority, "weight": record.weight,
        "mpriority": record.mpriority, "mweight": record.mweight, "reachable": record.reachable,
        "usable": record.reachable && control.is_usable(address),
        "state": probed.map_or("unproven", |probed| state(probed.standing)),
        "rtt_us": rtt,
        "share_percent": share.map(|(part, whole)| f64::from(part) * 100.0 / f64::from(whole.max(1))),
        "chosen": standing == Standing::Chosen,
        "why": standing.words(),
    })
}

pub(super) fn state(standing: reach::Standing) -> &'static str {
    match standing {
        reach::Standing::Unproven => "unproven",
        reach::Standing::Up => "up",
        reach::Standing::Down => "down",
    }
}

/// The header that would be put in front, and what fits behind it. In tier 1 the flow chooses one of a few sockets; which port of
/// its range that one has is drawn when it is opened.
fn outer(outer: &OuterHeader, node: &Node<'_>) -> Value {
    let ports = match node.packets.tier() {
        _ if outer.source_port < port_pool::FIRST_PORT => (outer.source_port, outer.source_port),
        Tier::Zero => (outer.source_port, outer.source_port),
        Tier::One | Tier::Auto => port_pool::range_of(outer.source_port),
    };
    let known = node.packets.locators().into_iter().find(|count| count.address == outer.destination);
    let sent = known.map_or(node.packets.itr().core_mtu, |count| count.path_mtu);
    let path_mtu = node.control.path_mtu(outer.destination).map_or(sent, usize::from);
    let headers = overhead(outer.destination);
    json!({
        "source": outer.source, "destination": outer.destination,
        "source_ports": [ports.0, ports.1], "destination_port": outer.destination_port,
        "iid": outer.lisp().iid.unwrap_or_default().0,
        "gpe": outer.lisp().next_protocol.is_some(),
        "ecn": ecn_mode(node.packets.ecn().is_for(outer.destination)),
        "headers": headers,
        "path_mtu": path_mtu,
        "tun_mtu": node.packets.tun_mtu(),
        "fits": path_mtu.saturating_sub(headers).min(node.packets.tun_mtu().into()),
    })
}

/// Whether the packet would leave, or the reason why not.
///
/// # Errors
/// It would not.
pub fn leaves(answer: &Value) -> Result<(), Failure> {
    let trace = &answer["trace"];
    match trace["result"].as_str() {
        Some("drop" | "miss") => {
            let (destination, reason) = (word(&trace["destination"]), word(&trace["reason"]));
            Err(Failure::NotHeld(format!("a packet to {destination} would not leave: {reason}")))
        }
        _ => Ok(()),
    }
}

/// An answer for people.
pub fn text(answer: &Value) -> String {
    let trace = &answer["trace"];
    let [destination, source, iid, result, reason] =
        ["destination", "source", "iid", "result", "reason"].map(|name| word(&trace[name]));
    let mut lines = vec![format!("packet   {source} -> {destination}, instance {iid}, {}", flow(trace))];
    lines.push(format!("result   {result}: {reason}"));
    let entry = &trace["entry"];
    if !entry.is_null() {
        let [prefix, action, from, age, expires] =
            ["prefix", "action", "from", "age", "expires"].map(|name| word(&entry[name]));
        let secured = if entry["secured"] == true { ", proven by LISP-SEC" } else { "" };
        lines.push(format!("entry    {prefix}: {action}; from {from} {age} s ago{secured}, expires in {expires} s"));
        let locators = entry["locators"].as_array().filter(|locators| !locators.is_empty());
        lines.extend(locators.map(|locators| self::locators(locators)));
    }
    let outer = &trace["outer"];
    if !outer.is_null() {
        let [source, destination, iid, headers, path_mtu, tun_mtu, fits] =
            ["source", "destination", "iid", "headers", "path_mtu", "tun_mtu", "fits"].map(|name| word(&outer[name]));
        let format = if outer["gpe"] == true { "LISP-GPE" } else { "LISP" };
        let port = match (&outer["source_ports"][0], &outer["source_ports"][1]) {
            (first, last) if first == last => format!("port {first}"),
            (first, last) => format!("a port from {first} to {last}"),
        };
        lines.push(format!(
            "outer    {source}, {port} -> {destination}, port {}; {format}, instance {iid}{}",
            word(&outer["destination_port"]),
            if outer["ecn"] == ecn_mode(true) { ", ECN 00 (compatibility mode)" } else { "" }
        ));
        lines.push(format!("fits     {fits} octets (path {path_mtu}, headers {headers}, TUN device {tun_mtu})"));
    }
    lines.join("\n")
}

fn flow(trace: &Value) -> String {
    let hash = word(&trace["flow_hash"]);
    match trace["ports"].as_array().map(Vec::as_slice) {
        Some([protocol, source, destination]) => {
            format!("protocol {protocol}, ports {source} -> {destination}, hash {hash}")
        }
        _ => format!("echo request, hash {hash}"),
    }
}

fn locators(locators: &[Value]) -> String {
    let row = |locator: &Value| {
        let share = locator["share_percent"].as_f64().map_or("-".to_owned(), |share| format!("{share:.1} %"));
        json!({
            "locator": locator["address"], "priority": locator["priority"], "weight": locator["weight"], "share": share,
            "state": locator["state"], "rtt_us": word(&locator["rtt_us"]),
            "why": format!("{} {}", if locator["chosen"] == true { "*" } else { " " }, word(&locator["why"])),
        })
    };
    let rows = locators.iter().map(row).collect();
    columns(&["locator", "priority", "weight", "share", "state", "rtt_us", "why"], Some(&rows))
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_which_locator_and_why() {
        let locator = |address: &str, chosen: bool, why: &str| {
            json!({ "address": address, "priority": 1, "weight": 50, "share_percent": 50.0, "state": "up", "rtt_us": 812,
                    "chosen": chosen, "why": why })
        };
        let answer = json!({ "trace": {
            "destination": "10.2.0.9", "source": "10.1.0.2", "iid": 0, "ports": [6, 50000, 443], "flow_hash": "00ff",
            "led": true, "result": "encapsulate", "reason": "to 198.51.100.1",
            "entry": { "prefix": "10.2.0.0/16", "action": "encapsulate", "from": "203.0.113.53", "age": 4, "expires": 56, "secured": true,
                       "locators": [locator("198.51.100.1", true, "x"), locator("198.51.100.2", false, "y")] },
            "outer": { "source": "192.0.2.1", "destination": "198.51.100.1", "source_ports": [50176, 51199],
                       "destination_port": 4341, "iid": 0, "gpe": false, "ecn": "compatibility", "headers": 36, "path_mtu": 1400, "tun_mtu": 1360,
                       "fits": 1360 },
        } });
        let text = text(&answer);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 8, "{text}");
        assert!(lines[2].contains("4 s ago, proven by LISP-SEC, expires"), "{text}");
        assert!(lines[0].ends_with("protocol 6, ports 50000 -> 443, hash 00ff"), "{text}");
        assert!(lines[4].contains("50.0 %") && lines[4].ends_with("* x") && lines[5].ends_with("  y"), "{text}");
        assert!(lines[6].contains("a port from 50176 to 51199 -> 198.51.100.1, port 4341"), "{text}");
        assert!(lines[6].ends_with("ECN 00 (compatibility mode)"), "{text}");
        assert!(leaves(&answer).is_ok());
        let lost = json!({ "trace": { "destination": "10.2.0.9", "result": "miss", "reason": "none" } });
        assert!(leaves(&lost).is_err_and(|failure| failure.status() == 1));
    }
}
