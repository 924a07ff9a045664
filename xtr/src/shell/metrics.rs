// SPDX-License-Identifier: GPL-2.0-or-later
//! The figures of this router for monitoring, with or without a DHT node in its process: what `show counters` shows, and what there is
//! to tell of each locator of others, by its address.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dht::shell::http::{self, Figures, Server};
use dht::shell::metrics::{NodeFigures, Shown};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use mapsys::shell::SIZES;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::control_socket::{Ask, Question};
use super::embedded::Embedded;
use super::listing;
use super::show::{REGISTRATION_STATES, registration_state};
use super::trace::state;
use super::{Failure, say};
use crate::config::{Config, Mapping};
use crate::counters::LocatorCount;
use crate::engine::Control;
use crate::limits::LOCATORS_MEASURED;
use crate::reach::{ProbedLocator, Standing};
use crate::register::limits::FORGOTTEN;

/// Prefix of the names of this router.
const PREFIX: &str = "lisp_xtr";
/// From this port on nobody needs CAP_NET_BIND_SERVICE (ip_unprivileged_port_start of ip(7)): as the administrator has set it, or else this.
const FIRST_FREE_PORT_FILE: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
const FIRST_FREE_PORT: u16 = 1024;
/// How long the router may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens at the address that the configuration names, if it names one; nobody is answered yet.
///
/// # Errors
/// When the address cannot be had.
pub(super) async fn listen(config: &Config) -> Result<Option<TcpListener>, Failure> {
    let Some(address) = config.metrics else { return Ok(None) };
    let listener = http::listen(address).await;
    listener.map(Some).map_err(|error| Failure::Machine(format!("{error:#}{}", advice(address, &error))))
}

/// Whether a node of this configuration could listen there, whoever asks; the warning that there is to read, if any. An address that is in
/// use is taken for that of the node that runs, if one does: whether another program has it is not told apart. Who may not ask whether one
/// runs is warned.
///
/// # Errors
/// When the address cannot be had.
pub fn check(config: &Config) -> Result<Option<String>, Failure> {
    let Some(address) = config.metrics else { return Ok(None) };
    let bound = match std::net::TcpListener::bind(address) {
        // Who asks may have a capability that a node gives up.
        Ok(_) if is_privileged(address) => Err(nix::errno::Errno::EACCES.into()),
        bound => bound,
    };
    let Err(error) = bound else { return Ok(None) };
    if error.kind() == io::ErrorKind::AddrInUse {
        match UnixStream::connect(&config.control).map_err(|silent| (silent.kind(), silent)) {
            Ok(_) => return Ok(None),
            Err((io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, _)) => {}
            Err((_, silent)) => {
                let control = config.control.display();
                return Ok(Some(format!(
                    "--metrics {address} is in use, by a node that runs or by another program: {control}: {silent}"
                )));
            }
        }
    }
    let error = anyhow::Error::new(error);
    Err(Failure::Machine(format!("--metrics {address}: {error:#}{}", advice(address, &error))))
}

/// Serves the figures there until what is returned is dropped.
///
/// # Errors
/// When the system does not say where that is.
pub(super) fn serve(
    listener: Option<TcpListener>,
    config: &Config,
    map_system: Option<&Embedded>,
    questions: mpsc::Sender<Question>,
) -> Result<Option<Server>, Failure> {
    let Some(listener) = listener else { return Ok(None) };
    let node = match (&config.mapping, map_system) {
        (Mapping::Embedded(embedded), Some(system)) => Some(system.figures(embedded.bootstrap.is_empty())),
        _ => None,
    };
    let server = Server::at(listener, Arc::new(RouterFigures { node, questions }));
    let server = server.map_err(|error| Failure::Machine(format!("--metrics: {error:#}")))?;
    say(&format!("Metrics at http://{}/metrics.", server.address()));
    Ok(Some(server))
}

/// Whether the kernel wants a capability for this port. Port 0 is any free one.
fn is_privileged(address: SocketAddr) -> bool {
    address.port() != 0 && address.port() < first_free_port()
}

fn first_free_port() -> u16 {
    let set = std::fs::read_to_string(FIRST_FREE_PORT_FILE).ok().and_then(|text| text.trim().parse().ok());
    set.unwrap_or(FIRST_FREE_PORT)
}

/// What else there is to say of an address that cannot be had: lower ports want a capability, which this node has dropped by now.
fn advice(address: SocketAddr, error: &anyhow::Error) -> String {
    let is_refused = |cause: &io::Error| cause.kind() == io::ErrorKind::PermissionDenied;
    let is_refused = error.chain().filter_map(|cause| cause.downcast_ref()).any(is_refused);
    if is_refused && is_privileged(address) {
        let free = first_free_port();
        format!(": a port from {free} is needed, for this node keeps no capability to serve lower ones")
    } else {
        String::new()
    }
}

/// A router whose figures are asked for, and the DHT node in its process, if there is one.
#[derive(Debug)]
struct RouterFigures {
    node: Option<NodeFigures>,
    questions: mpsc::Sender<Question>,
}

impl RouterFigures {
    async fn ask(&self, ask: Ask) -> anyhow::Result<Value> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.questions.send(Question { ask, answer }).await?;
            anyhow::Ok(answered.await?)
        };
        tokio::time::timeout(PATIENCE, asked).await?.context("the router has stopped")
    }

    /// The mappings by kind, of which the control half counts some at a time.
    async fn mappings(&self) -> anyhow::Result<Value> {
        let (mut positive, mut negative, mut after) = (0, 0, None);
        loop {
            let mut answer = self.ask(Ask::Count(after)).await?;
            positive += answer["positive"].as_u64().unwrap_or_default();
            negative += answer["negative"].as_u64().unwrap_or_default();
            after = listing::after(&mut answer);
            if after.is_none() {
                return Ok(json!({ "negative": negative, "positive": positive }));
            }
        }
    }
}

impl Figures for RouterFigures {
    fn registry(&self) -> BoxFuture<'_, anyhow::Result<Registry>> {
        async {
            let mut registry = match &self.node {
                Some(node) => node.registry().await?,
                None => Registry::default(),
            };
            let mut answer = self.ask(Ask::Metrics).await?;
            answer["present"]["map_cache"] = self.mappings().await?;
            let own = registry.sub_registry_with_prefix(PREFIX);
            own.register_collector(Box::new(Shown::new(answer["counters"].take(), SIZES)));
            own.register_collector(Box::new(Present(answer["present"].take())));
            own.register_collector(Box::new(Locators(answer)));
            Ok(registry)
        }
        .boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            match &self.node {
                Some(node) => node.health().await,
                None => fault(&self.ask(Ask::Metrics).await.map_err(|error| error.to_string())?).map_or(Ok(()), Err),
            }
        }
        .boxed()
    }
}

/// What keeps a router with its map system elsewhere from being found. One that registers nothing here is as good as any.
fn fault(answer: &Value) -> Option<String> {
    let states = answer["registrations"].as_array()?.iter().map(registration_state);
    let mut wanted = states.filter(|state| !matches!(*state, "withdrawing" | "moved")).peekable();
    let is_lost = wanted.peek().is_some() && !wanted.any(|state| matches!(state, "registered" | "changing"));
    is_lost.then(|| format!("no Map-Server has confirmed a registration within {} s", FORGOTTEN.as_secs()))
}

/// What there is now, of which `show` shows each row: `{"registrations", "own_locators", "probed_locators"}`, numbers by state, and `waiting`,
/// the packets that wait for a mapping.
pub(super) fn present(control: &Control, now: Instant, (registrations, packets): (&[Value], &Value)) -> Value {
    let mut states = BTreeMap::from(REGISTRATION_STATES.map(|state| (state, 0_u64)));
    for row in registrations {
        let prefixes = row["prefixes"].as_array().map_or(0, Vec::len);
        *states.entry(registration_state(row)).or_default() += u64::try_from(prefixes).unwrap_or_default();
    }
    let database = control.database();
    let mut own = BTreeMap::from([("down", 0_u64), ("up", 0)]);
    for locator in database.locators() {
        *own.entry(if database.is_reachable(locator.address) { "up" } else { "down" }).or_default() += 1;
    }
    let standings = [Standing::Unproven, Standing::Up, Standing::Down];
    let mut probed = BTreeMap::from(standings.map(|standing| (state(standing), 0_u64)));
    for locator in control.probed_locators(now) {
        *probed.entry(state(locator.standing)).or_default() += 1;
    }
    json!({
        "registrations": states, "own_locators": own, "probed_locators": probed, "waiting": waiting(packets),
    })
}

/// The packets that wait for a mapping: what came into the queues, and has not left them.
fn waiting(packets: &Value) -> u64 {
    let count = |key: &str| packets[key].as_u64().unwrap_or_default();
    let left = ["flushed-packets", "drop-queue-full", "drop-queue-timeout", "drop-unresolved"];
    count("queued-packets").saturating_sub(left.map(count).iter().sum())
}

/// [`present`] with `map_cache`, the mappings by kind, as families whose label has the few values that there are.
#[derive(Debug)]
struct Present(Value);

impl Collector for Present {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauge = |value: &Value| ConstGauge::new(value.as_i64().unwrap_or_default());
        for (key, (name, unit), label, help) in [
            ("map_cache", ("map_cache", Some("entries")), "kind", "Mappings in use, with locators and without"),
            (
                "registrations",
                ("registrations", None),
                "state",
                "EID-prefixes at each Map-Server, by their state there",
            ),
            ("own_locators", ("own_locators", None), "state", "Locators of this node"),
            ("probed_locators", ("probed_locators", None), "state", "Locators of others that are probed"),
        ] {
            let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for (value, number) in self.0[key].as_object().into_iter().flatten() {
                gauge(number).encode(family.encode_family(&[(label, value.as_str())])?)?;
            }
        }
        let (help, unit) = ("Packets that wait for a mapping", Unit::Other("packets".to_owned()));
        let waiting = encoder.encode_descriptor("waiting", help, Some(&unit), MetricType::Gauge)?;
        gauge(&self.0["waiting"]).encode(waiting)
    }
}

/// What is told of the locators of others: of no more than [`LOCATORS_MEASURED`], those that most was sent to.
pub(super) fn locators(control: &Control, now: Instant, sent: &[LocatorCount]) -> Value {
    told(control.probed_locators(now), sent)
}

fn told(probed: impl Iterator<Item = ProbedLocator>, sent: &[LocatorCount]) -> Value {
    let mut known: BTreeMap<IpAddr, (Option<LocatorCount>, Option<ProbedLocator>)> = BTreeMap::new();
    for count in super::show::by_address(sent).into_values() {
        known.entry(count.address).or_default().0 = Some(count);
    }
    for probed in probed {
        known.entry(probed.address).or_default().1 = Some(probed);
    }
    let mut rows: Vec<_> = known.into_iter().collect();
    let left_out = rows.len().saturating_sub(LOCATORS_MEASURED);
    if left_out > 0 {
        rows.sort_by_key(|(_, (sent, _))| std::cmp::Reverse(sent.map_or(0, |sent| sent.octets)));
        rows.truncate(LOCATORS_MEASURED);
        rows.sort_by_key(|(address, _)| *address);
    }
    let row = |(address, (sent, probed)): &(IpAddr, (Option<LocatorCount>, Option<ProbedLocator>))| {
        let is_up = |probed: &ProbedLocator| probed.standing != Standing::Down;
        json!({
            "address": address,
            "packets": sent.map_or(0, |sent| sent.packets),
            "octets": sent.map_or(0, |sent| sent.octets),
            "reachable": sent.map_or_else(|| probed.as_ref().is_some_and(is_up), |sent| sent.reachable),
            "path_mtu": sent.map(|sent| sent.path_mtu),
            "rtt_s": probed.and_then(|probed| probed.rtt).map(|rtt| rtt.as_secs_f64()),
        })
    };
    json!({ "locators": rows.iter().map(row).collect::<Vec<_>>(), "left_out": left_out })
}

/// The rows of [`locators`] in an answer, as families with the label `address`.
#[derive(Debug)]
struct Locators(Value);

impl Locators {
    /// A family of what the rows have by `key`.
    fn family<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, unit, help, kind): (&str, Option<&str>, &str, MetricType),
        (key, metric): (&str, impl Fn(&Value) -> Option<M>),
    ) -> Result<(), fmt::Error> {
        let unit = unit.map(|unit| if unit == "seconds" { Unit::Seconds } else { Unit::Other(unit.to_owned()) });
        let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for row in self.0["locators"]["locators"].as_array().into_iter().flatten() {
            if let (Some(address), Some(metric)) = (row["address"].as_str(), metric(&row[key])) {
                metric.encode(family.encode_family(&[("address", address)])?)?;
            }
        }
        Ok(())
    }
}

impl Collector for Locators {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let encoder = &mut encoder;
        let counter = |value: &Value| value.as_u64().map(ConstCounter::new);
        let gauge = |value: &Value| value.as_i64().map(ConstGauge::new);
        let (sent, octets) = ("locator_sent", Some("octets"));
        let help = "Packets sent to a locator of others";
        self.family(encoder, (sent, Some("packets"), help, MetricType::Counter), ("packets", counter))?;
        let help = "Octets of packets sent to it, without the headers put in front";
        self.family(encoder, (sent, octets, help, MetricType::Counter), ("octets", counter))?;
        let help = "1 if packets may be sent to it";
        let flag = |value: &Value| value.as_bool().map(|is_up| ConstGauge::new(i64::from(is_up)));
        self.family(encoder, ("locator_reachable", None, help, MetricType::Gauge), ("reachable", flag))?;
        let help = "The longest packet that is sent there, with all its headers";
        self.family(encoder, ("locator_path_mtu", octets, help, MetricType::Gauge), ("path_mtu", gauge))?;
        let help = "Round-trip time that probes have shown, smoothed";
        let seconds = |value: &Value| value.as_f64().map(ConstGauge::new);
        self.family(encoder, ("locator_rtt", Some("seconds"), help, MetricType::Gauge), ("rtt_s", seconds))?;
        let help = "Locators of others that have no figures here, for there are too many";
        let left_out = ConstGauge::new(self.0["locators"]["left_out"].as_i64().unwrap_or_default());
        left_out.encode(encoder.encode_descriptor("locators_left_out", help, None, MetricType::Gauge)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sent(address: [u8; 4], octets: u64) -> LocatorCount {
        let (reachable, path_mtu, packets) = (true, 1400, octets / 100);
        LocatorCount { address: address.into(), reachable, path_mtu, ecn_compatible: false, packets, octets }
    }

    fn probed(address: [u8; 4], standing: Standing) -> ProbedLocator {
        let (rtt, since) = (Some(Duration::from_micros(1500)), Duration::from_secs(4));
        let address = address.into();
        ProbedLocator { address, standing, from: None, since, rtt, probed_ago: None, answered_ago: None }
    }

    fn text(told: Value) -> String {
        let mut registry = Registry::default();
        let locators = Locators(json!({ "locators": told }));
        registry.sub_registry_with_prefix(PREFIX).register_collector(Box::new(locators));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn each_locator_has_its_figures() {
        let ways_through_one_nat = LocatorCount { reachable: false, path_mtu: 1300, ..sent([192, 0, 2, 7], 200) };
        let sent = [sent([192, 0, 2, 7], 1000), ways_through_one_nat];
        let text = text(told([probed([192, 0, 2, 9], Standing::Down)].into_iter(), &sent));
        for line in [
            "# TYPE lisp_xtr_locator_sent_packets counter",
            "lisp_xtr_locator_sent_packets_total{address=\"192.0.2.7\"} 12",
            "lisp_xtr_locator_sent_octets_total{address=\"192.0.2.7\"} 1200",
            "lisp_xtr_locator_reachable{address=\"192.0.2.7\"} 1",
            "lisp_xtr_locator_path_mtu_octets{address=\"192.0.2.7\"} 1300",
            "lisp_xtr_locator_sent_packets_total{address=\"192.0.2.9\"} 0",
            "lisp_xtr_locator_reachable{address=\"192.0.2.9\"} 0",
            "# UNIT lisp_xtr_locator_rtt_seconds seconds",
            "lisp_xtr_locator_rtt_seconds{address=\"192.0.2.9\"} 0.0015",
            "lisp_xtr_locators_left_out 0",
        ] {
            assert_eq!(text.lines().filter(|each| *each == line).count(), 1, "{line}: {text}");
        }
        assert!(!text.contains("locator_rtt_seconds{address=\"192.0.2.7\"}"), "nothing is known of that: {text}");
    }

    #[test]
    fn the_locators_that_most_is_sent_to_have_figures_and_the_others_are_counted() {
        let address = |number: usize| {
            let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
            [10, 0, high, low]
        };
        let all: Vec<_> = (0..LOCATORS_MEASURED + 3).map(|number| sent(address(number), 100 + number as u64)).collect();
        let silent = probed([192, 0, 2, 9], Standing::Up);
        let text = text(told([silent].into_iter(), &all));
        let series = text.lines().filter(|line| line.starts_with("lisp_xtr_locator_sent_octets_total{"));
        assert_eq!(series.count(), LOCATORS_MEASURED);
        assert!(text.contains("\nlisp_xtr_locators_left_out 4\n"), "{text}");
        for (address, is_there) in [("10.0.0.2", false), ("192.0.2.9", false), ("10.0.0.3", true)] {
            assert_eq!(text.contains(&format!("\"{address}\"")), is_there, "{address}");
        }
    }

    #[tokio::test]
    async fn the_mappings_are_counted_to_the_last() {
        let (questions, mut asked) = mpsc::channel::<Question>(1);
        let figures = RouterFigures { node: None, questions };
        let counted = tokio::spawn(async move { figures.mappings().await.unwrap() });
        let place = |third: u8| (0, format!("10.0.{third}.0/24"));
        for part in 0..3_u8 {
            let Question { ask, answer } = asked.recv().await.unwrap();
            let before =
                part.checked_sub(1).and_then(|before| super::listing::after(&mut json!({ "after": place(before) })));
            assert_eq!(ask, Ask::Count(before));
            let after = (part < 2).then(|| place(part));
            answer.send(json!({ "positive": 100, "negative": part, "after": after })).unwrap();
        }
        assert_eq!(counted.await.unwrap(), json!({ "positive": 300, "negative": 3 }));
    }

    #[test]
    fn packets_wait_until_they_leave_the_queue() {
        let packets = |flushed: u64| {
            json!({ "queued-packets": 20, "flushed-packets": flushed, "drop-queue-full": 1, "drop-queue-timeout": 2,
                    "drop-unresolved": 3, "drop-no-action": 9 })
        };
        assert_eq!(
            [10, 14, 15].map(|flushed| waiting(&packets(flushed))),
            [4, 0, 0],
            "counters are not read at one moment"
        );
    }

    #[test]
    fn a_router_whose_registrations_nobody_confirms_is_at_fault() {
        let row = |ago: Value| json!({ "confirmed_ago": ago, "withdrawing": false, "moved": false, "changing": false });
        let is_at_fault = |rows: &[Value]| fault(&json!({ "registrations": rows })).is_some();
        assert!(!is_at_fault(&[]), "it registers nothing");
        assert!(is_at_fault(&[row(Value::Null)]) && is_at_fault(&[row(json!(180))]));
        assert!(!is_at_fault(&[row(json!(179))]) && !is_at_fault(&[row(Value::Null), row(json!(5))]));
        let mut changing = row(json!(5));
        changing["changing"] = json!(true);
        assert!(!is_at_fault(&[changing]), "it is found as it was");
        let mut moved = row(Value::Null);
        moved["moved"] = json!(true);
        assert!(!is_at_fault(&[moved]), "another xTR has the prefix");
    }
}
