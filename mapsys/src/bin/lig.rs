// SPDX-License-Identifier: GPL-2.0-or-later
//! `lig`: asks a Map-Resolver for one mapping and shows what comes back (RFC 6835).

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use ipnet::IpNet;
use mapsys::register::label::{AnyEid, Label};
use mapsys::shell::settings::{parse_mac, parse_pair};
use program::Json;
use serde_json::json;
use wire::address::{Address, Eid, EidPrefix, InstanceId};
use wire::control::{ControlMessage, Ecm, EidRequest, MapRequest, Nonce};
use wire::record::{Action, MappingRecord};

/// Ask a Map-Resolver for the mapping of an EID.
#[derive(Debug, Parser)]
#[command(
    name = "lig",
    version,
    after_help = "Examples:
  lig 2001:db8:a::1 --map-resolver 192.0.2.53
  lig 10.1.2.0/24 --map-resolver 192.0.2.53 --iid 5 --json
  lig 3fff:ce1:e7ed:b637:a52:80a4:a6ae:83c3 --map-resolver 127.0.0.1:14342
  lig 02:00:5e:00:00:01 --map-resolver 192.0.2.53
  lig printer-7 --name --map-resolver 192.0.2.53
  lig '(192.0.2.1, 232.1.1.1)' --map-resolver 192.0.2.53
  lig '10.1.0.1 -> 10.2.0.1' --map-resolver 192.0.2.53

Exit: 0 a mapping with locators, 1 a negative answer or none, 2 wrong usage, 3 no way to send."
)]
struct Args {
    /// Address or prefix to ask for; a MAC address too, a source and a multicast group, (S, G), or a source and a destination, S -> D.
    eid: String,
    /// The EID is a name (RFC 9735).
    #[arg(long)]
    name: bool,
    /// Map-Resolver to ask; the port is 4342 unless given.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_resolver)]
    map_resolver: SocketAddr,
    /// Instance that the EID is in.
    #[arg(long, default_value_t = 0)]
    iid: u32,
    /// Requests to send before giving up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10))]
    count: u32,
    /// Seconds to wait for each answer.
    #[arg(long, default_value_t = 2.0)]
    timeout: f64,
    /// Address to ask from; the default is what the system chooses.
    #[arg(long)]
    source: Option<IpAddr>,
    #[command(flatten)]
    json: Json,
}

/// A verified answer.
struct Answer {
    record: MappingRecord,
    prefix: AnyEid,
    rtt: Duration,
    from: SocketAddr,
}

const EXIT_NO_MAPPING: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_MACHINE: u8 = 3;

/// Longest UDP payload.
const DATAGRAM: usize = 65_535;

/// A sender must not ask for one EID more often than once a second (RFC 9301, section 5.3).
const BETWEEN_REQUESTS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = Args::parse();
    let iid = InstanceId(args.iid);
    let eid = if args.name { parse_name(&args.eid, iid) } else { parse_eid(&args.eid, iid) };
    let Some(eid) = eid else {
        let expected =
            if args.name { "no name of at most 30 octets" } else { "neither an address nor a prefix nor a pair" };
        eprintln!("lig: {:?} is {expected}", args.eid);
        return ExitCode::from(EXIT_USAGE);
    };
    if !(args.timeout > 0.0 && args.timeout <= 3600.0) {
        eprintln!("lig: --timeout must be more than 0 and at most 3600 seconds");
        return ExitCode::from(EXIT_USAGE);
    }
    if let Err(error) = args.json.check() {
        return fail(error.status(), &error.into());
    }
    match ask(&args, eid) {
        Ok(answer) => match report(&args, eid, answer.as_ref()) {
            Ok(()) if answer.is_some_and(|answer| !answer.record.locators.is_empty()) => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(EXIT_NO_MAPPING),
            Err(error) => fail(error.status(), &error.into()),
        },
        Err(error) => fail(EXIT_MACHINE, &error),
    }
}

fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("lig: {error:#}");
    ExitCode::from(code)
}

fn parse_resolver(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, wire::CONTROL_PORT));
    }
    text.parse().map_err(|_| format!("{text:?} is no address (write [2001:db8::1]:4342 for IPv6 with a port)"))
}

fn parse_eid(text: &str, iid: InstanceId) -> Option<AnyEid> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(EidPrefix::host(iid, address).into());
    }
    if let Ok(mac) = parse_mac(iid, text) {
        return Some(mac.into());
    }
    if let Ok(pair) = parse_pair(iid, text) {
        return Some(Label::Pair(pair).into());
    }
    let net: IpNet = text.parse().ok()?;
    Some(EidPrefix { iid, net: net.trunc() }.into())
}

fn parse_name(text: &str, iid: InstanceId) -> Option<AnyEid> {
    Label::name(iid, text.as_bytes()).map(AnyEid::from)
}

/// Sends up to `--count` requests, each with a nonce of its own, and takes the first answer that fits one of them.
fn ask(args: &Args, eid: AnyEid) -> anyhow::Result<Option<Answer>> {
    let socket = bind(args).context("cannot open a UDP socket")?;
    let local = local_address(args, &socket).context("no route to the Map-Resolver")?;
    let mut outstanding: Vec<(Nonce, Instant)> = Vec::new();
    let mut unsettled = None;
    for attempt in 0..args.count {
        let nonce = Nonce(rand::random());
        let message = request(eid, nonce, local)?;
        if !args.json.is_output() && attempt == 0 {
            println!("Send map-request to {} for {eid} ...", args.map_resolver);
        }
        let sent = Instant::now();
        socket.send_to(&message, args.map_resolver).context("cannot send to the Map-Resolver")?;
        outstanding.push((nonce, sent));
        let deadline = sent + Duration::from_secs_f64(args.timeout);
        match wait(&socket, eid, &outstanding, deadline)? {
            // "Send-Map-Request": the resolver is still looking.
            Some(answer) if is_unsettled(&answer.record) => unsettled = Some(answer),
            Some(answer) => return Ok(Some(answer)),
            None => {}
        }
        if attempt + 1 < args.count {
            std::thread::sleep(BETWEEN_REQUESTS.saturating_sub(sent.elapsed()));
        }
    }
    Ok(unsettled)
}

fn bind(args: &Args) -> std::io::Result<UdpSocket> {
    let any = if args.map_resolver.is_ipv4() { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([0u16; 8]) };
    UdpSocket::bind((args.source.unwrap_or(any), 0))
}

/// The address and port that answers must come to: a connected socket says which address the system would use.
fn local_address(args: &Args, socket: &UdpSocket) -> std::io::Result<SocketAddr> {
    let port = socket.local_addr()?.port();
    if let Some(source) = args.source {
        return Ok(SocketAddr::new(source, port));
    }
    let probe = bind(args)?;
    probe.connect(args.map_resolver)?;
    Ok(SocketAddr::new(probe.local_addr()?.ip(), port))
}

fn request(eid: AnyEid, nonce: Nonce, local: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let request = MapRequest {
        nonce,
        source_eid: Address::None,
        itr_rlocs: vec![local.ip().into()],
        records: vec![EidRequest { notify: false, eid: Eid::from(eid) }],
        ..MapRequest::default()
    };
    // Where the EID is no IP address, the inner header has none either.
    let unspecified = || if local.is_ipv4() { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([0u16; 8]) };
    let destination = eid.prefix().map_or_else(unspecified, |prefix| prefix.net.addr());
    let destination = SocketAddr::new(destination, wire::CONTROL_PORT);
    // Both inner addresses are of the EID's family; the answer follows the ITR-RLOC, only the inner port matters.
    let inner = match (destination, local.ip()) {
        (SocketAddr::V6(_), IpAddr::V4(address)) => address.to_ipv6_mapped().into(),
        (SocketAddr::V4(_), IpAddr::V6(_)) => IpAddr::from([0, 0, 0, 0]),
        (_, same) => same,
    };
    let source = SocketAddr::new(inner, local.port());
    let message = ControlMessage::MapRequest(request).encode()?;
    Ok(Ecm::wrap(source, destination, message).encode()?)
}

fn wait(
    socket: &UdpSocket,
    eid: AnyEid,
    outstanding: &[(Nonce, Instant)],
    deadline: Instant,
) -> anyhow::Result<Option<Answer>> {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left)).context("cannot set a timeout")?;
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                if let Some(answer) = accept(&buffer[..length], from, eid, outstanding) {
                    return Ok(Some(answer));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            // An ICMP error for an earlier request.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
}

/// A Map-Reply counts only with the nonce of one of our requests and a record that covers the EID: of a block of MAC addresses, or a pair of
/// prefixes, its first one, which the answer is about.
fn accept(bytes: &[u8], from: SocketAddr, eid: AnyEid, outstanding: &[(Nonce, Instant)]) -> Option<Answer> {
    let Ok(ControlMessage::MapReply(reply)) = ControlMessage::decode(bytes) else { return None };
    let eid = match eid {
        AnyEid::Label(label) => label.host().into(),
        AnyEid::Prefix(_) => eid,
    };
    let (_, sent) = outstanding.iter().find(|(nonce, _)| *nonce == reply.nonce)?;
    let covering = reply.records.into_iter().filter_map(|record| Some((AnyEid::of(&record.eid)?, record)));
    let (prefix, record) =
        covering.filter(|(prefix, _)| prefix.covers(&eid)).max_by_key(|(prefix, _)| prefix.length())?;
    Some(Answer { record, prefix, rtt: sent.elapsed(), from })
}

fn is_unsettled(record: &MappingRecord) -> bool {
    record.locators.is_empty() && record.action == Action::SendMapRequest
}

fn report(args: &Args, eid: AnyEid, answer: Option<&Answer>) -> Result<(), program::Error> {
    args.json.show(&as_json(eid, answer), text(args, answer))
}

fn as_json(eid: AnyEid, answer: Option<&Answer>) -> serde_json::Value {
    let record = answer.map(|answer| &answer.record);
    let locators: Vec<_> = record
        .into_iter()
        .flat_map(|record| &record.locators)
        .map(|locator| {
            json!({
                "address": address_text(&locator.rloc),
                "priority": locator.priority,
                "weight": locator.weight,
                "reachable": locator.reachable,
            })
        })
        .collect();
    json!({
        "eid": eid.to_string(),
        "prefix": answer.map(|answer| answer.prefix.to_string()),
        "ttl_minutes": record.map(|record| record.ttl.0),
        "action": record.map(|record| action_name(record.action)),
        "authoritative": record.map(|record| record.authoritative),
        "locators": locators,
        "rtt_us": answer.map(|answer| u64::try_from(answer.rtt.as_micros()).unwrap_or(u64::MAX)),
        "from": answer.map(|answer| answer.from.ip().to_string()),
    })
}

fn text(args: &Args, answer: Option<&Answer>) -> String {
    let Some(Answer { record, prefix, rtt, from }) = answer else {
        return format!("No map-reply after {} requests. Is {} a Map-Resolver?\n", args.count, args.map_resolver);
    };
    let mut lines = vec![format!("Received map-reply from {} with rtt {:.6} secs\n", from.ip(), rtt.as_secs_f64())];
    let authority = if record.authoritative { ", auth" } else { "" };
    lines.push(format!("{prefix}, expires in {} min, via map-reply{authority}", record.ttl.0));
    if record.locators.is_empty() {
        lines.push(format!("  no locators, action {}", action_name(record.action)));
    } else {
        lines.push(format!("  {:<40} {:<6} Priority/Weight", "Locator", "State"));
    }
    for locator in &record.locators {
        let state = if locator.reachable { "up" } else { "down" };
        let address = address_text(&locator.rloc);
        lines.push(format!("  {address:<40} {state:<6} {}/{}", locator.priority, locator.weight));
    }
    lines.join("\n") + "\n"
}

fn address_text(address: &Address) -> String {
    address.ip().map_or_else(|| format!("{address:?}"), |ip| ip.to_string())
}

/// The names of RFC 9301, section 5.4.
fn action_name(action: Action) -> &'static str {
    match action {
        Action::NoAction => "no-action",
        Action::NativelyForward => "natively-forward",
        Action::SendMapRequest => "send-map-request",
        Action::DropNoReason => "drop/no-reason",
        Action::DropPolicyDenied => "drop/policy-denied",
        Action::DropAuthFailure => "drop/auth-failure",
        Action::Unassigned6 | Action::Unassigned7 => "unassigned",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use wire::control::MapReply;
    use wire::record::{MapVersion, Ttl};

    fn reply(nonce: u64, prefix: &str) -> Vec<u8> {
        let prefix = parse_eid(prefix, InstanceId(0)).unwrap();
        let record = MappingRecord {
            ttl: Ttl(15),
            action: Action::NativelyForward,
            authoritative: false,
            map_version: MapVersion::default(),
            eid: prefix.into(),
            locators: vec![],
        };
        MapReply { nonce: Nonce(nonce), records: vec![record], ..MapReply::default() }.encode().unwrap()
    }

    #[test]
    fn only_an_answer_to_our_nonce_that_covers_the_eid_counts() {
        let eid = parse_eid("2001:db8:a::1", InstanceId(0)).unwrap();
        let outstanding = [(Nonce(7), Instant::now())];
        let from = "192.0.2.1:4342".parse().unwrap();
        assert!(accept(&reply(7, "2001:db8:a::/48"), from, eid, &outstanding).is_some());
        assert!(accept(&reply(8, "2001:db8:a::/48"), from, eid, &outstanding).is_none());
        assert!(accept(&reply(7, "2001:db8:b::/48"), from, eid, &outstanding).is_none());
        assert!(accept(b"junk", from, eid, &outstanding).is_none());
    }

    #[test]
    fn the_request_is_an_ecm_that_our_codec_takes_in_every_mix_of_families() {
        for (eid, local) in
            [("2001:db8::1", "192.0.2.1:5000"), ("10.0.0.0/8", "[2001:db8::9]:5000"), ("10.0.0.1", "192.0.2.1:5000")]
        {
            let eid = parse_eid(eid, InstanceId(5)).unwrap();
            assert!(eid.prefix().is_some());
            let bytes = request(eid, Nonce(1), local.parse().unwrap()).unwrap();
            let ControlMessage::Ecm(ecm) = ControlMessage::decode(&bytes).unwrap() else { panic!("no ECM") };
            assert_eq!(ecm.source.port(), 5000);
            let ControlMessage::MapRequest(inner) = ControlMessage::decode(&ecm.message).unwrap() else { panic!() };
            assert_eq!(AnyEid::of(&inner.records[0].eid), Some(eid));
        }
    }

    #[test]
    fn a_mac_address_is_one_and_a_name_is_said_to_be_one() {
        let iid = InstanceId(5);
        let mac = parse_eid("02:00:5e:00:00:01", iid).unwrap();
        assert_eq!((mac.to_string().as_str(), parse_eid("printer", iid)), ("[5]02:00:5e:00:00:01/48", None));
        let name = parse_name("10.0.0.1", iid).unwrap();
        assert_eq!(name.to_string(), "[5]\"10.0.0.1\"");
        assert_eq!(parse_name(&"x".repeat(31), iid), None);
        // All bits of it are asked for, those of its NUL too (RFC 9735, section 4).
        for (eid, mask_len) in [(mac, 48), (name, 72), (parse_name("", iid).unwrap(), 8)] {
            let bytes = request(eid, Nonce(1), "[2001:db8::9]:5000".parse().unwrap()).unwrap();
            let ControlMessage::Ecm(ecm) = ControlMessage::decode(&bytes).unwrap() else { panic!("no ECM") };
            let ControlMessage::MapRequest(inner) = ControlMessage::decode(&ecm.message).unwrap() else { panic!() };
            let asked = &inner.records[0].eid;
            assert_eq!((AnyEid::of(asked), asked.mask_len), (Some(eid), mask_len));
        }
    }

    /// A question with prefixes is answered for its first pair, by the one around it or by that pair alone.
    #[test]
    fn the_answer_about_all_sources_may_be_about_the_first_one() {
        let asked = parse_eid("(*, 239.1.1.1)", InstanceId(0)).unwrap();
        let outstanding = [(Nonce(7), Instant::now())];
        let answer =
            |eid: &str| accept(&reply(7, eid), "192.0.2.1:4342".parse().unwrap(), asked, &outstanding).is_some();
        assert!(answer("(*, 239.1.1.1)") && answer("(0.0.0.0, 239.1.1.1)"));
        assert!(!answer("(192.0.2.1, 239.1.1.1)"));
    }

    #[test]
    fn a_resolver_may_have_a_port() {
        assert_eq!(parse_resolver("192.0.2.1").unwrap().port(), 4342);
        assert_eq!(parse_resolver("[2001:db8::1]:99").unwrap().port(), 99);
        assert_eq!(parse_resolver("2001:db8::1").unwrap().port(), 4342);
        assert!(parse_resolver("example").is_err());
    }
}
