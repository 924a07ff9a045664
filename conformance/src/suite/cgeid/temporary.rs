// SPDX-License-Identifier: GPL-2.0-or-later
//! Temporary CGEIDs: their lives, what their certificates tell of the time, and the change at midnight. Our schedule is
//! judged in virtual time, and the program is given a certificate.

use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::temporary::{Clock, Input, Lifetimes, Output, Schedule};
use cgeid::{Identity, IdentityCertificate, Network};

use super::workshop::Workshop;
use super::{Fault, Judgement, Probe};

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "CG-006.1", about: "the lives of an address that begins at midnight", judge: whole_day },
    Probe { id: "CG-006.2", about: "the lives of a first address at noon count from midnight", judge: from_noon },
    Probe { id: "CG-006.3", about: "no more than two at once, and none after its 172,800 seconds", judge: two_at_once },
    Probe { id: "CG-007.1", about: "the dates of a certificate", judge: day_granular },
    Probe { id: "CG-007.2", about: "all day the same octets, the next day others", judge: same_all_day },
    Probe { id: "CG-007.3", about: "the program takes it today, and our verifier not in four days", judge: verified },
    Probe { id: "CG-007.4", about: "openssl shows the dates", judge: openssl_shows },
    Probe {
        id: "CG-008.1",
        about: "at 00:00 UTC the next one is in use and the old one deprecated",
        judge: at_midnight,
    },
    Probe {
        id: "CG-008.2",
        about: "the next one is published in the six hours before, a minute ahead",
        judge: published,
    },
    Probe {
        id: "CG-008.3",
        about: "every day another key, and the old one is withdrawn in the end",
        judge: other_keys,
    },
    Probe { id: "CG-008.4", about: "a restart at half past three restarts no life", judge: restart },
    Probe { id: "CG-008.5", about: "the state of another network, and one that is cut off", judge: bad_state },
];

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const PREFERRED: Duration = Duration::from_secs(86_700);
const VALID: Duration = Duration::from_secs(172_800);
/// 2027-01-15 00:00:00 UTC
const START: Duration = Duration::from_secs(1_799_971_200);
const ELSEWHERE: Network = Network([0x20, 0x01, 0x0d, 0xb8]);

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}

/// What a node was told to do, and when: time since [`START`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Published(Ipv6Addr),
    Assigned(Ipv6Addr, Lifetimes),
    Changed(Ipv6Addr, Lifetimes),
    Removed(Ipv6Addr),
    Withdrawn(Ipv6Addr),
}

/// A node in virtual time that does at once what its schedule says.
struct Node {
    schedule: Schedule,
    /// Time since [`START`].
    time: Duration,
    steps: Vec<(Duration, Step)>,
    addresses: Vec<Ipv6Addr>,
    most: usize,
    saved: Vec<u8>,
    keys: u8,
}

impl Node {
    /// A node that is started at noon.
    fn at_noon() -> Node {
        let time = 12 * HOUR;
        let schedule = Schedule::new(Network::LAB, clock(time));
        let (steps, addresses, saved) = (Vec::new(), Vec::new(), Vec::new());
        let mut node = Node { schedule, time, steps, addresses, most: 0, saved, keys: 0 };
        node.handle(Input::Tick);
        node
    }

    /// The same, after some time.
    fn after(time: Duration) -> Node {
        let mut node = Node::at_noon();
        node.run(time);
        node
    }

    fn run(&mut self, time: Duration) {
        let end = self.time + time;
        loop {
            let next = self.schedule.next_deadline().saturating_sub(UPTIME);
            if next > end {
                self.time = end;
                return self.handle(Input::Tick);
            }
            self.time = next;
            self.handle(Input::Tick);
        }
    }

    fn handle(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.schedule.handle(clock(self.time), input);
            while let Some(output) = self.schedule.poll() {
                inputs.extend(self.obey(output));
            }
        }
    }

    /// Does what the schedule says; what it is told of it.
    fn obey(&mut self, output: Output) -> Option<Input> {
        let (step, input) = match output {
            Output::Save => {
                self.saved = self.schedule.state().to_vec();
                return None;
            }
            Output::Generate => {
                self.keys += 1;
                return Some(Input::Generated { secret: [self.keys; 32].into(), chance: 1 << 31 });
            }
            Output::Publish(key) => {
                (Step::Published(key.address()), Some(Input::Published { cn: key.cn(), done: true }))
            }
            Output::Assign { address, lifetimes } => {
                self.addresses.retain(|known| *known != address);
                self.addresses.push(address);
                self.most = self.most.max(self.addresses.len());
                (Step::Assigned(address, lifetimes), Some(Input::Assigned { address }))
            }
            Output::Change { address, lifetimes } => (Step::Changed(address, lifetimes), None),
            Output::Remove { address } => {
                self.addresses.retain(|known| *known != address);
                (Step::Removed(address), None)
            }
            Output::Withdraw { cn } => (Step::Withdrawn(cn.address(Network::LAB)), None),
        };
        self.steps.push((self.time, step));
        input
    }

    /// All addresses that came to the interface, with the time and their lives.
    fn assigned(&self) -> Vec<(Duration, Ipv6Addr, Lifetimes)> {
        let assigned = |(time, step): &(Duration, Step)| match step {
            Step::Assigned(address, lifetimes) => Some((*time, *address, *lifetimes)),
            _ => None,
        };
        self.steps.iter().filter_map(assigned).collect()
    }

    /// When a step was taken.
    fn when(&self, wanted: Step) -> Result<Duration, Fault> {
        let found = self.steps.iter().find(|(_, step)| *step == wanted);
        found.map(|(time, _)| *time).ok_or_else(|| broken(format!("never {wanted:?}")))
    }
}

/// What the machine was up at [`START`].
const UPTIME: Duration = Duration::from_secs(1000);

fn clock(time: Duration) -> Clock {
    Clock { boot: [1; 16], uptime: UPTIME + time, utc: Some(UNIX_EPOCH + START + time) }
}

fn expect<T: PartialEq + std::fmt::Debug>(expected: T, came: T) -> Result<(), Fault> {
    if expected == came { Ok(()) } else { Err(broken(format!("expected: {expected:?}; came: {came:?}"))) }
}

/// The address of the first day, and those that came at the midnights after; three days.
fn days() -> Result<(Node, Vec<Ipv6Addr>), Fault> {
    let node = Node::after(3 * DAY + HOUR);
    let assigned = node.assigned();
    let times: Vec<_> = assigned.iter().map(|(time, ..)| *time).collect();
    expect(vec![12 * HOUR, DAY, 2 * DAY, 3 * DAY], times)?;
    let addresses = assigned.iter().map(|(_, address, _)| *address).collect();
    Ok((node, addresses))
}

fn whole_day(_: &Workshop) -> Judgement {
    let (node, _) = days()?;
    for (_, _, lifetimes) in node.assigned().into_iter().skip(1) {
        expect(Lifetimes { preferred: PREFERRED, valid: Some(VALID) }, lifetimes)?;
    }
    Ok("86,700 s preferred, 172,800 s valid, three times".into())
}

fn from_noon(_: &Workshop) -> Judgement {
    let node = Node::after(HOUR);
    let first = node.assigned().first().map(|(_, _, lifetimes)| *lifetimes);
    expect(Some(Lifetimes { preferred: PREFERRED - 12 * HOUR, valid: Some(VALID - 12 * HOUR) }), first)?;
    Ok("43,500 s preferred, 129,600 s valid".into())
}

fn two_at_once(_: &Workshop) -> Judgement {
    let (node, addresses) = days()?;
    expect(2, node.most)?;
    for (midnight, address) in [Duration::ZERO, DAY].into_iter().zip(addresses) {
        expect(midnight + VALID, node.when(Step::Removed(address))?)?;
    }
    Ok("two at most, each removed 172,800 s after its midnight".into())
}

fn temporary(time: Duration) -> Result<Identity, Fault> {
    Identity::temporary_from_seed(&[9; 32], Network::LAB, UNIX_EPOCH + START + time).map_err(broken)
}

fn day_granular(_: &Workshop) -> Judgement {
    for time in [Duration::ZERO, Duration::from_secs(1), 13 * HOUR, DAY - Duration::from_secs(1)] {
        let identity = temporary(time)?;
        let certificate = identity.certificate();
        expect(UNIX_EPOCH + START, certificate.not_before())?;
        expect(UNIX_EPOCH + START + 3 * DAY, certificate.not_after())?;
    }
    Ok("00:00 UTC to 00:00 UTC three days later, whenever it was made".into())
}

fn same_all_day(_: &Workshop) -> Judgement {
    let of = |time| Ok(temporary(time)?.certificate().der().to_vec());
    let morning: Vec<u8> = of(HOUR)?;
    expect(true, morning == of(DAY - HOUR)?)?;
    expect(false, morning == of(DAY)?)?;
    Ok(format!("{} octets", morning.len()))
}

fn verified(shop: &Workshop) -> Judgement {
    let identity = Identity::generate_temporary(Network::LAB, shop.now).map_err(broken)?;
    shop.put("temporary.der", identity.certificate().der())?;
    let found = shop.verify(&["temporary.der"])?;
    let told = found.holds(0, "identity-certificate")?;
    for name in ["not_before", "not_after"] {
        if !told[name].as_str().is_some_and(|time| time.ends_with("T00:00:00Z")) {
            return Err(broken(format!("{name} tells more than the day: {told}")));
        }
    }
    let later: SystemTime = shop.now + 4 * DAY;
    match IdentityCertificate::verify(identity.certificate().der(), Network::LAB, later) {
        Err(error) => Ok(format!("today taken; in four days: {error}")),
        Ok(_) => Err(broken("taken in four days")),
    }
}

fn openssl_shows(shop: &Workshop) -> Judgement {
    shop.put("temporary.der", temporary(13 * HOUR)?.certificate().der())?;
    let dates = "x509 -inform DER -in temporary.der -noout -startdate -enddate -dateopt iso_8601";
    let shown = String::from_utf8(shop.openssl(dates)?).map_err(broken)?;
    expect("notBefore=2027-01-15 00:00:00Z\nnotAfter=2027-01-18 00:00:00Z\n", shown.as_str())?;
    Ok(shown.trim().replace('\n', ", "))
}

fn at_midnight(_: &Workshop) -> Judgement {
    let (node, addresses) = days()?;
    for ((midnight, old), new) in [DAY, 2 * DAY, 3 * DAY].into_iter().zip(&addresses).zip(&addresses[1..]) {
        let valid = Some(VALID - DAY);
        expect(midnight, node.when(Step::Changed(*old, Lifetimes { preferred: Duration::ZERO, valid }))?)?;
        let mut then = Node::after(midnight - 12 * HOUR - Duration::from_millis(1));
        expect(Some(*old), then.schedule.preferred())?;
        then.run(Duration::from_millis(1));
        expect(Some(*new), then.schedule.preferred())?;
    }
    Ok("to the millisecond, three times".into())
}

fn published(_: &Workshop) -> Judgement {
    let (node, addresses) = days()?;
    let mut ahead = Vec::new();
    for (midnight, address) in [DAY, 2 * DAY, 3 * DAY].into_iter().zip(&addresses[1..]) {
        let before = midnight.saturating_sub(node.when(Step::Published(*address))?);
        if before < Duration::from_secs(60) || before > 6 * HOUR {
            return Err(broken(format!("published {} s before midnight", before.as_secs())));
        }
        ahead.push(before.as_secs().to_string());
    }
    Ok(format!("{} s before midnight", ahead.join(", ")))
}

fn other_keys(_: &Workshop) -> Judgement {
    let (node, addresses) = days()?;
    let different: std::collections::BTreeSet<_> = addresses.iter().collect();
    expect(4, different.len())?;
    for address in &addresses[..2] {
        expect(node.when(Step::Removed(*address))?, node.when(Step::Withdrawn(*address))?)?;
    }
    Ok("four addresses on four days; withdrawn with the address".into())
}

fn restart(_: &Workshop) -> Judgement {
    let mut node = Node::after(3 * HOUR + HOUR / 2);
    let before = node.schedule.preferred();
    let expected = node.assigned().first().map(|(_, _, first)| first.valid.unwrap_or_default() - 3 * HOUR - HOUR / 2);
    node.schedule = Schedule::restore(&node.saved, Network::LAB, clock(node.time)).map_err(broken)?;
    node.steps.clear();
    node.handle(Input::Tick);
    expect(before, node.schedule.preferred())?;
    expect(expected, node.assigned().first().and_then(|(_, _, again)| again.valid))?;
    node.run(DAY);
    expect(Some(DAY), node.assigned().get(1).map(|(time, ..)| *time))?;
    Ok("the same address, its lives go on, and midnight stays midnight".into())
}

fn bad_state(_: &Workshop) -> Judgement {
    let node = Node::after(HOUR);
    let restore = |bytes: &[u8], network| Schedule::restore(bytes, network, clock(node.time)).map(drop);
    restore(&node.saved, Network::LAB).map_err(broken)?;
    let cut = &node.saved[..node.saved.len() - 1];
    match (restore(&node.saved, ELSEWHERE), restore(cut, Network::LAB)) {
        (Err(network), Err(length)) => Ok(format!("{network}; {length}")),
        other => Err(broken(format!("taken: {other:?}"))),
    }
}
