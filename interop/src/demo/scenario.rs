// SPDX-License-Identifier: GPL-2.0-or-later
//! The story itself.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::binaries::Binaries;
use super::identities::Identities;
use super::network::{self, A_HOST_V4, BOOT, CAPTURED, MS, SITE_HOST_V4, SITE_HOST_V6, UNDERLAY, XA, XB, XC, XS};
use super::nodes::Stage;
use super::report::{Idle, PingLine, Report};
use super::story::{Seen, Story};
use super::{Controls, Options};
use crate::lab::privilege::Privilege;
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, LabError, process};
use crate::limits::WHOLE_WAIT;
use crate::probe::capture::Capture;
use crate::probe::ping::{Ping, ping};
use crate::probe::tcp::{Bulk, bulk};

/// Pings of a series; the reach of the first eight is what is promised.
const PINGS: u16 = 8;
/// Time between two.
const PING_INTERVAL: Duration = Duration::from_millis(200);
/// How soon the first ping of a cold cache has to be there. A debug build promises that it arrives, in the order of the queue,
/// before the queue gives up; only a release build promises milliseconds.
const FIRST_WITHIN: Duration = Duration::from_millis(if cfg!(debug_assertions) { 3000 } else { 50 });
/// Octets of the bulk transfer, and the time after which it ends anyway.
const BULK: (u64, Duration) = (64 << 20, Duration::from_secs(4));
/// How long an idle node is watched.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// What an idle node may take: MiB resident, percent of a core.
const IDLE_LIMITS: (f64, f64) = (40.0, 1.0);

/// A host and one of its addresses.
type End = (&'static str, IpAddr);

/// Plays the scenes on a fresh network, then takes it down.
pub(super) fn play(
    options: &Options,
    mut story: Story,
    binaries: &Binaries,
    privilege: Privilege,
    mut workspace: Workspace,
) -> anyhow::Result<Report> {
    let prepared = prepare(&mut story, binaries, privilege, &workspace);
    let (identities, lab) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return story.stop(error, &[]),
    };
    let captures = start_captures(options, &lab)?;
    let mut stage = Stage { lab: &lab, binaries, identities: &identities, workspace: &workspace, running: vec![] };
    let outcome = scenes(options, &mut story, &mut stage);
    let last_words = outcome.as_ref().err().map(|error| stage.last_words(error)).unwrap_or_default();
    process::end_all(stage.running);
    for capture in captures {
        let path = capture.path().to_path_buf();
        let frames = capture.stop().with_context(|| format!("capture {}", path.display()))?;
        story.say(&format!("captured {frames:>6} frames in {}", path.display()));
    }
    match outcome {
        Ok(()) => Ok(story.end(true)),
        Err(error) => {
            let interrupted = error.is::<crate::interrupt::Interrupted>();
            if !interrupted {
                story.say(&format!("Logs are kept in {}.", workspace.keep_logs()?.display()));
            }
            story.stop(error, &last_words)
        }
    }
}

/// Plays until the nodes have registered, then lets `keep` decide how long they stay.
pub(super) fn hold(
    mut story: Story,
    binaries: &Binaries,
    privilege: Privilege,
    workspace: &Workspace,
    keep: impl FnOnce(&Lab, Controls, &mut dyn FnMut() -> Result<(), LabError>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (identities, lab) = prepare(&mut story, binaries, privilege, workspace)?;
    let mut stage = Stage { lab: &lab, binaries, identities: &identities, workspace, running: vec![] };
    let outcome = nodes_up(&mut story, &mut stage).and_then(|()| {
        let controls: anyhow::Result<Controls> =
            [XA, XB, XS].into_iter().map(|node| Ok((node.name.to_owned(), stage.control(node)?))).collect();
        story.say("The border nodes answer: interop exec xA -- lisp-xtr show map-cache");
        keep(&lab, controls?, &mut || stage.check())
    });
    for (name, lines) in outcome.as_ref().err().map(|error| stage.last_words(error)).unwrap_or_default() {
        story.say(&format!("The last lines of {name}:\n  {}", lines.join("\n  ")));
    }
    process::end_all(stage.running);
    outcome
}

fn prepare(
    story: &mut Story,
    binaries: &Binaries,
    privilege: Privilege,
    workspace: &Workspace,
) -> anyhow::Result<(Identities, Lab)> {
    let identities = story.step("identities", "Keys, from which addresses follow; made offline", || {
        Identities::make(binaries, &workspace.folder("keys")?)
    })?;
    let lab = story.step("network", "A network of namespaces", || {
        let lab = Lab::build(&network::describe(&identities))?;
        let how = match privilege {
            Privilege::Root => "as root",
            Privilege::UserNamespace => "in a user namespace: root in there, nobody outside",
        };
        Ok(Seen::new(lab, vec![how.to_owned()]))
    })?;
    Ok((identities, lab))
}

fn start_captures(options: &Options, lab: &Lab) -> anyhow::Result<Vec<Capture>> {
    let Some(folder) = &options.pcap else { return Ok(vec![]) };
    let start = |node: network::Underlay| {
        let file = folder.join(format!("{}.pcap", node.name));
        Ok(Capture::start(lab.namespace(node.name)?, UNDERLAY, &file)?)
    };
    CAPTURED.into_iter().map(start).collect()
}

fn scenes(options: &Options, story: &mut Story, stage: &mut Stage) -> anyhow::Result<()> {
    nodes_up(story, stage)?;
    records(story, stage)?;
    let (a, b, c) = (&stage.identities.a, &stage.identities.b, &stage.identities.c);
    let (a, b, c) = (a.each_ref().map(|one| one.address.into()), b.each_ref().map(|one| one.address.into()), c.address);
    let (a, b, c) = (a.map(|address| ("hA", address)), b.map(|address| ("hB", address)), ("hC", IpAddr::from(c)));
    let site = ("hS", SITE_HOST_V6.parse()?);

    // A second address at each end makes the way back of the second half as cold as the way there of the first.
    let pairs = [(a[0], b[0]), (a[0], site), (b[0], site), (b[1], a[1]), (site, a[1]), (site, b[1])];
    pings(story, stage, "pings", "8 pings in every direction, no mapping in any cache yet", &pairs)?;
    let (a4, site4) =
        (A_HOST_V4.map(|text| text.parse().map(|address| ("hA", address))), ("hS", SITE_HOST_V4.parse()?));
    let [a4, a4_other] = a4;
    pings(story, stage, "pings-ipv4", "The same between IPv4 prefixes", &[(a4?, site4), (site4, a4_other?)])?;
    transfer(story, stage, a[0], b[0])?;

    story.step("bootstrap-killed", "The node that everyone started from is killed", || {
        stage.take(BOOT)?.kill()?;
        Ok(Seen::new((), vec![]))
    })?;
    newcomer(story, stage)?;
    let pairs = [(b[0], c), (site, c), (c, a[0])];
    pings(story, stage, "pings-newcomer", "8 pings to and from the newcomer, caches cold again", &pairs)?;
    if options.measure {
        measure(story, stage)?;
    }
    Ok(())
}

fn nodes_up(story: &mut Story, stage: &mut Stage) -> anyhow::Result<()> {
    story.step("nodes", "DHT node, map-server, three border nodes start", || {
        stage.start_boot()?;
        stage.start_map_server()?;
        stage.start_a()?;
        stage.start_b()?;
        stage.start_site()?;
        stage.check()?;
        Ok(Seen::new((), vec![]))
    })?;
    story.step("registrations", "The border nodes register what is behind them", || {
        let mut notes = vec![];
        for (node, count) in [(XA, 4), (XB, 2), (XS, 2)] {
            notes.push(format!("{}: {}", node.name, stage.await_registered(node, count)?.join(", ")));
        }
        let anchor = format!("--trust-anchor {}={}", network::SITE_PREFIXES[0], stage.identities.server.cn);
        stage.await_printed(MS, &anchor)?;
        notes.push(format!("ms vouches for the site, others are told so: {anchor}"));
        Ok(Seen::new((), notes))
    })
}

fn records(story: &mut Story, stage: &mut Stage) -> anyhow::Result<()> {
    story.step("records", "The signed records are in the DHT, and verify", || {
        let addresses: Vec<_> =
            stage.identities.a.iter().chain(&stage.identities.b).map(|one| one.address.to_string()).collect();
        let mut notes = vec![];
        for address in addresses {
            let answer = stage.await_record(&address, BOOT)?;
            notes.push(format!("{address}: {}", found(&answer)));
        }
        let answer = stage.await_resolved(SITE_HOST_V6, BOOT)?;
        notes.push(format!("{SITE_HOST_V6}: {}", found(&answer)));
        Ok(Seen::new((), notes))
    })?;
    story.step("lookup", "lig asks the map-resolver, as any LISP program could", || {
        let answer = stage.await_lookup(SITE_HOST_V6)?;
        Ok(Seen::new((), vec![located(SITE_HOST_V6, &answer)]))
    })
}

/// What `lisp-dht` found, in a few words.
fn found(answer: &Value) -> String {
    let number = |key: &str| answer[key].as_u64().unwrap_or(0);
    format!("signature good ({} lookups, {:.1} ms)", number("lookups"), milliseconds(number("elapsed_us")))
}

/// What `lig` found, in a few words.
fn located(eid: &str, answer: &Value) -> String {
    let locators = answer["locators"].as_array().map(Vec::as_slice).unwrap_or_default();
    let addresses: Vec<_> = locators.iter().filter_map(|locator| locator["address"].as_str()).collect();
    let prefix = answer["prefix"].as_str().unwrap_or("?");
    let time = milliseconds(answer["rtt_us"].as_u64().unwrap_or(0));
    format!("{eid} is in {prefix}, behind {} (answered in {time:.1} ms)", addresses.join(" and "))
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}

fn newcomer(story: &mut Story, stage: &mut Stage) -> anyhow::Result<()> {
    story.step("newcomer", "A new border node joins by xA and publishes a new mapping", || {
        stage.start_c()?;
        let mut notes = vec![format!("xC: {}", stage.await_registered(XC, 1)?.join(", "))];
        let address = stage.identities.c.address.to_string();
        let answer = stage.await_record(&address, XB)?;
        notes.push(format!("{address}: {}", found(&answer)));
        let answer = stage.await_lookup(&address)?;
        notes.push(located(&address, &answer));
        Ok(Seen::new((), notes))
    })
}

fn pings(
    story: &mut Story,
    stage: &mut Stage,
    name: &'static str,
    words: &str,
    pairs: &[(End, End)],
) -> anyhow::Result<()> {
    let mut lines = vec![];
    let outcome = story.step(name, words, || {
        let mut failures = vec![];
        for &((from, source), (to, destination)) in pairs {
            stage.check()?;
            let series = Ping { source, destination, count: PINGS, interval: PING_INTERVAL, wait: WHOLE_WAIT };
            let report = ping(stage.lab.namespace(from)?, stage.lab.namespace(to)?, series)?;
            let family = if source.is_ipv4() { "IPv4" } else { "IPv6" };
            let in_time = report.first_delivered().is_some_and(|time| time <= FIRST_WITHIN);
            if report.received() < usize::from(PINGS) || !in_time {
                let first = report.first_delivered().map_or("never".into(), |time| format!("after {time:.1?}"));
                let received = report.received();
                failures.push(format!(
                    "{from} to {to} ({family}): {received} of {PINGS} answered, the first was there {first}"
                ));
            }
            lines.push(PingLine::new(from, to, family, &report));
        }
        ensure!(failures.is_empty(), "{}", failures.join("; "));
        Ok(Seen::new((), vec![]))
    });
    story.pings(lines);
    outcome
}

fn transfer(story: &mut Story, stage: &mut Stage, from: End, to: End) -> anyhow::Result<()> {
    let report = story.step("bulk", "A bulk transfer by TCP from hA to hB", || {
        let (octets, time) = BULK;
        let transfer = Bulk { source: from.1, destination: to.1, octets, time };
        let report = bulk(stage.lab.namespace(from.0)?, stage.lab.namespace(to.0)?, transfer)?;
        let note = format!("{} MiB, every octet arrived: {:.0} Mbit/s", report.octets >> 20, report.mbit_s());
        Ok(Seen::new(report, vec![note]))
    })?;
    story.report.tcp_mbit_s = Some((report.mbit_s() * 10.0).round() / 10.0);
    Ok(())
}

fn measure(story: &mut Story, stage: &mut Stage) -> anyhow::Result<()> {
    let idle = story.step("idle", "What an idle border node takes, watched for a minute", || {
        let id = stage.id_of(XA)?;
        let before = processor_time(id)?;
        crate::interrupt::sleep(IDLE_TIME)?;
        let used = processor_time(id)? - before;
        let idle = Idle { resident_mib: resident(id)?, cpu_percent: used * 100.0 / IDLE_TIME.as_secs_f64() };
        Ok(Seen::new(idle, vec![]))
    })?;
    story.report.idle = Some(idle);
    let (memory, processor) = IDLE_LIMITS;
    ensure!(
        idle.resident_mib < memory && idle.cpu_percent < processor,
        "an idle node takes {:.1} MiB and {:.2} % of a core; {memory} MiB and {processor} % are allowed",
        idle.resident_mib,
        idle.cpu_percent
    );
    Ok(())
}

/// Resident memory of a process, MiB.
fn resident(id: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// Processor time that a process has used, seconds.
fn processor_time(id: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name, in brackets, may hold anything; the fields after it are numbered from 3 (proc(5)).
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3).context("/proc/PID/stat")?.parse::<f64>().context("ticks");
    Ok((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND)
}

/// USER_HZ, which is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
