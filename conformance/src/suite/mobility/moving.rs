// SPDX-License-Identifier: GPL-2.0-or-later
//! An EID that moves between two sites, and a site that gets another locator: who hears of it, and how long packets are lost
//! (RFC 9301, section 6.1).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::control::{ControlMessage, MapRequest};

use super::Room;
use super::network::{FIRST, FIRST_NEW, MOVING, MOVING_HOST, Network, PEER, PEER_HOST, SENDER};
use crate::suite::probe::{Fault, Judgement, Probe, broken, equal, expect, must, should};
use crate::suite::xtr::{Came, Heard, Outer, PATIENCE, Packet, Port, ends};

pub(super) const PROBES: &[Probe<Room>] = &[
    must(
        "CP-266.1",
        "LOCAL",
        "an EID-prefix moves to another xTR and back, packets cross: none for less than 2 s",
        moves,
    ),
    must(
        "CP-138.1",
        "9301 6.1",
        "a new locator: who has sent packets within the last minute is solicited, from that",
        told,
    ),
    must("CP-138.3", "9301 6.1", "an SMR: one record, of the EID-prefix that has changed; no ECM, no probe", told),
    should("CP-136.2", "9301 6.1", "two changes in a second: SMRs to one ITR, three seconds apart", told),
    must("CP-138.4", "9301 6.1", "a new locator: the map system has it, and gives no more the one before", told),
];

/// What a move may cost.
const GAP: Duration = Duration::from_secs(2);
/// How long more SMRs are looked for.
const AFTER: Duration = Duration::from_secs(1);
/// Between two packets.
const PACE: Duration = Duration::from_millis(5);

fn locked(network: &Mutex<Network>) -> MutexGuard<'_, Network> {
    network.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When packets came to the host that moves, wherever it was.
fn arrivals(port: &Port, mark: usize) -> Vec<Instant> {
    let read = |came: &Came| (ends(&came.octets) == Some((SENDER, MOVING_HOST))).then_some(came.at);
    port.wait(mark, usize::MAX, Duration::ZERO, read)
}

/// Sends packets to the host that moves for a while.
fn send_for(network: &Network, time: Duration) -> Result<(), Fault> {
    let packet = Packet::udp(SocketAddr::new(SENDER, 4000), SocketAddr::new(MOVING_HOST, 4001), b"moving").octets();
    let begun = Instant::now();
    while begun.elapsed() < time {
        network.third.port.send(&packet)?;
        std::thread::sleep(PACE);
    }
    Ok(())
}

fn moves(room: &Room) -> Judgement {
    let network = locked(room.network()?);
    let (first, second) = (&network.first, &network.second);
    network.registered(MOVING, FIRST)?;
    let marks = (first.port.mark(), second.port.mark());
    let begun = Instant::now();
    while arrivals(&first.port, marks.0).len() < 20 {
        send_for(&network, 4 * PACE)?;
        if begun.elapsed() > PATIENCE {
            return Err(broken("no packet crosses before the move"));
        }
    }
    second.reload(&["10.2.2.0/24", MOVING], "198.51.100.2")?;
    first.reload(&["10.2.1.0/24"], FIRST)?;
    send_for(&network, GAP)?;
    let there = arrivals(&second.port, marks.1);
    first.reload(&["10.2.1.0/24", MOVING], FIRST)?;
    second.reload(&["10.2.2.0/24"], "198.51.100.2")?;
    let back = first.port.mark();
    send_for(&network, GAP + Duration::from_millis(500))?;
    let again = arrivals(&first.port, back);
    let mut all = [arrivals(&first.port, marks.0), arrivals(&second.port, marks.1)].concat();
    all.push(Instant::now());
    all.sort_unstable();
    let gap = all.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default();
    if gap >= GAP || there.is_empty() || again.is_empty() {
        let counts = (there.len(), again.len());
        return Err(broken(format!("{counts:?} packets came there and back again, none for {gap:?}")));
    }
    Ok("so it is".into())
}

/// Several checks look at the same changes.
fn told(room: &Room) -> Judgement {
    let network = locked(room.network()?);
    network.told.get_or_init(|| two_changes(&network)).clone()
}

/// The SMRs of two changes of the first program's locator.
fn two_changes(network: &Network) -> Judgement {
    let first = &network.first;
    let prefixes = ["10.2.1.0/24", MOVING];
    network.registered(prefixes[0], FIRST)?;
    let host: IpAddr = "10.2.1.9".parse().map_err(broken)?;
    let inner = Packet::udp(SocketAddr::new(PEER_HOST, 1), SocketAddr::new(host, 2), b"heard").octets();
    let mark = first.port.mark();
    let outer = Outer::new(PEER, FIRST.parse().map_err(broken)?).around(&inner);
    let read = |came: &Came| (ends(&came.octets) == Some((PEER_HOST, host))).then_some(());
    // A packet may be lost where addresses of the link are not known yet.
    let comes = || {
        network.peer.port.send(&outer)?;
        Ok::<_, Fault>(!first.port.wait(mark, 1, Duration::from_millis(500), read).is_empty())
    };
    let mut came = false;
    for _ in 0..16 {
        came = came || comes()?;
    }
    equal("a packet of the peer comes", came, true)?;
    let mark = network.peer.mark();
    first.reload(&prefixes, FIRST_NEW)?;
    network.registered(prefixes[0], FIRST_NEW)?;
    let changed = network.peer.first(mark, PATIENCE, "an SMR", |heard| solicits(heard).is_some())?;
    first.reload(&prefixes, FIRST)?;
    network.registered(prefixes[0], FIRST)?;
    network.peer.wait(mark, 2, PATIENCE, |heard| solicits(heard).is_some());
    // And all that follow the second at once.
    let smrs = network.peer.wait(mark, usize::MAX, AFTER, |heard| solicits(heard).is_some());
    for smr in &smrs {
        let request = solicits(smr).ok_or_else(|| broken("no SMR"))?;
        equal("to", smr.destination, SocketAddr::new(PEER, wire::CONTROL_PORT))?;
        equal("in an ECM, P, s", (smr.enclosed, request.probe, request.smr_invoked), (false, false, false))?;
        let asked: Vec<_> = request.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
        let is_ours = asked.len() == 1 && prefixes.contains(&asked[0].net.to_string().as_str());
        equal(&format!("{asked:?} is one EID-prefix of its site"), is_ours, true)?;
        let itr_rlocs: Vec<_> = request.itr_rlocs.iter().filter_map(|rloc| rloc.ip()).collect();
        equal("its ITR-RLOC is its source", itr_rlocs, vec![smr.source.ip()])?;
    }
    equal("the first comes from", changed.source.ip().to_string().as_str(), FIRST_NEW)?;
    let gaps: Vec<_> = smrs.windows(2).map(|two| two[1].at - two[0].at).collect();
    expect(
        smrs.len() >= 2 && gaps.iter().all(|gap| *gap > Duration::from_millis(2900)),
        "the peer alone is told, once in three seconds, and the map system knows",
    )
}

fn solicits(heard: &Heard) -> Option<&MapRequest> {
    match &heard.message {
        ControlMessage::MapRequest(request) if request.smr => Some(request),
        _ => None,
    }
}
