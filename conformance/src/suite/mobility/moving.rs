// SPDX-License-Identifier: GPL-2.0-or-later
//! An EID that moves between two sites, and a site that gets another locator: who hears of it, and how long packets are lost
//! (RFC 9301, section 6.1).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::control::{ControlMessage, MapRequest};

use super::network::{FIRST, FIRST_NEW, MOVING, MOVING_HOST, Network, PEER, PEER_HOST, SECOND, SENDER};
use super::{Room, are_apart};
use crate::suite::probe::{Fault, Judgement, Probe, broken, equal, must, should};
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
/// Between two SMRs to one ITR.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long more SMRs are looked for.
const AFTER: Duration = Duration::from_secs(1);
/// Between two packets.
const PACE: Duration = Duration::from_millis(5);

fn locked(network: &Mutex<Network>) -> MutexGuard<'_, Network> {
    network.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The packets to the host that moves: when each was sent.
#[derive(Default)]
struct Sent(Vec<Instant>);

impl Sent {
    /// Sends one packet after another for a while, and until so many have come to a port from a mark on.
    fn send(
        &mut self,
        network: &Network,
        time: Duration,
        (port, mark, count): (&Port, usize, usize),
    ) -> Result<(), Fault> {
        let begun = Instant::now();
        while begun.elapsed() < time || arrivals(port, mark).len() < count {
            if begun.elapsed() > time + PATIENCE {
                return Err(broken(format!("expected {count} packets; {} came", arrivals(port, mark).len())));
            }
            let data = u32::try_from(self.0.len()).map_err(broken)?.to_be_bytes();
            self.0.push(Instant::now());
            let (from, to) = (SocketAddr::new(SENDER, 4000), SocketAddr::new(MOVING_HOST, 4001));
            network.third.port.send(&Packet::udp(from, to, &data).octets())?;
            std::thread::sleep(PACE);
        }
        Ok(())
    }

    /// The longest time from whose packets none came, behind the first that did: nobody knew the way before. While this machine was too
    /// busy to send some, none could come: that counts as four of them.
    fn lost(&self, came: &[u32]) -> Duration {
        let (mut longest, mut lost) = (Duration::ZERO, Duration::ZERO);
        let first = came.iter().min().copied().unwrap_or_default();
        for (number, two) in (0..).zip(self.0.windows(2)).skip_while(|(number, _)| *number < first) {
            lost = if came.contains(&number) { Duration::ZERO } else { lost + (two[1] - two[0]).min(4 * PACE) };
            longest = longest.max(lost);
        }
        longest
    }
}

/// The numbers of the packets that came to the host that moves, where it was then.
fn arrivals(port: &Port, mark: usize) -> Vec<u32> {
    let read = |came: &Came| {
        let number = came.octets.last_chunk().filter(|_| ends(&came.octets) == Some((SENDER, MOVING_HOST)))?;
        Some(u32::from_be_bytes(*number))
    };
    port.wait(mark, usize::MAX, Duration::ZERO, read)
}

fn moves(room: &Room) -> Judgement {
    let network = locked(room.network()?);
    let mut sent = Sent::default();
    // Of what the program does within the time it may have had no processor: then another move shows it, and if not, why the first did not.
    there_and_back(&network, &mut sent).or_else(|first| there_and_back(&network, &mut sent).map_err(|_| first))?;
    Ok("so it is".into())
}

/// Moves it to the first program's site, if it is not there, from there to the second's, and back. Numbers of packets go on from those that
/// were sent before.
fn there_and_back(network: &Network, sent: &mut Sent) -> Result<(), Fault> {
    let (first, second) = (&network.first, &network.second);
    at_first(network)?;
    network.registered(MOVING, FIRST)?;
    let (marks, begun) = ((first.port.mark(), second.port.mark()), sent.0.len());
    // An ITR asks about an SMR that soon after another only when so long has passed.
    sent.send(network, INTERVAL, (&first.port, marks.0, 20))?;
    second.reload(&["10.2.2.0/24", MOVING], SECOND)?;
    first.reload(&["10.2.1.0/24"], FIRST)?;
    sent.send(network, GAP, (&second.port, marks.1, 1))?;
    at_first(network)?;
    sent.send(network, GAP + Duration::from_millis(500), (&first.port, first.port.mark(), 1))?;
    let mut came = [arrivals(&first.port, marks.0), arrivals(&second.port, marks.1)].concat();
    // One of an earlier move may come late.
    came.retain(|number| usize::try_from(*number).is_ok_and(|number| number >= begun));
    let lost = sent.lost(&came);
    if lost < GAP { Ok(()) } else { Err(broken(format!("no packet came for {lost:?}"))) }
}

/// The first program has what moves, and the second has not.
fn at_first(network: &Network) -> Result<(), Fault> {
    network.first.reload(&["10.2.1.0/24", MOVING], FIRST)?;
    network.second.reload(&["10.2.2.0/24"], SECOND)
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
    let (mark, begun) = (network.peer.mark(), Instant::now());
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
    let times: Vec<_> = smrs.iter().map(|smr| smr.at - begun).collect();
    if times.len() < 2 || !are_apart(&times, INTERVAL) {
        return Err(broken(format!("{} SMRs, at {times:.2?}", times.len())));
    }
    Ok("the peer alone is told, once in three seconds, and the map system knows".into())
}

fn solicits(heard: &Heard) -> Option<&MapRequest> {
    match &heard.message {
        ControlMessage::MapRequest(request) if request.smr => Some(request),
        _ => None,
    }
}
