// SPDX-License-Identifier: GPL-2.0-or-later
//! A node in virtual time: a schedule, the shell that obeys it, and a kernel that counts lives. Every step checks what
//! must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::Network;
use cgeid::temporary::{Clock, Input, Lifetimes, Output, Schedule};

pub(super) const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

/// 2027-01-15 00:00:00 UTC in milliseconds.
pub(super) const START: u64 = 1_799_971_200_000;

/// Longest time without a preferred address while nothing fails: a wait to try again after something did, patience, the
/// search for duplicates, and some.
const GAP: u64 = 30 * SECOND;
/// Longest use of one address, with the kernel's overlap.
const LONGEST_USE: u64 = 42 * HOUR + 5 * MINUTE + 2 * SECOND;

/// An address in the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    pub(super) preferred_end: u64,
    pub(super) valid_end: u64,
    /// The search for duplicates goes on.
    pub(super) tentative: bool,
    assigned: u64,
    preferred_for: u64,
    /// The midnight from which its lives count.
    since: i64,
}

/// A change that a midnight brought.
#[derive(Debug)]
struct Switch {
    address: Ipv6Addr,
    /// Furthest that the clock was set forward in all, then or since.
    ahead: i64,
}

/// What a test wants to know afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Published(u64),
    InUse(Ipv6Addr, u64),
    Deprecated(Ipv6Addr, u64),
    Removed(Ipv6Addr, u64),
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Faults {
    pub(super) generate: bool,
    pub(super) publish: bool,
    pub(super) assign: bool,
    pub(super) silence: bool,
    pub(super) conflicts: u32,
}

pub(super) struct Node {
    pub(super) schedule: Schedule,
    pub(super) kernel: BTreeMap<Ipv6Addr, Address>,
    /// Addresses that somebody has taken off the interface.
    lost: BTreeMap<Ipv6Addr, Address>,
    pub(super) events: Vec<Event>,
    pub(super) faults: Faults,
    pub(super) saved: Vec<u8>,
    /// UTC that is in it.
    saved_at: Option<u64>,
    /// Milliseconds since the machine started.
    pub(super) uptime: u64,
    /// What UTC is ahead of uptime.
    pub(super) offset: i64,
    pub(super) trusted: bool,
    /// By how much the clock was set forward in all.
    set: i64,
    boot: u8,
    chance: u64,
    pending: Vec<(u64, Input)>,
    offered: BTreeSet<Ipv6Addr>,
    /// The day for which each address came if the clock was believed, and the midnight from which its lives count: the system may have refused it
    /// then, and taken it after the clock was set.
    begun: BTreeMap<Ipv6Addr, (Option<u64>, i64)>,
    /// Midnights, and what each brought, as long as that must not come again.
    switched: BTreeMap<u64, Switch>,
    /// Whatever was published, by this process or one before it.
    known: BTreeSet<Ipv6Addr>,
    /// Duplicates in a row, and until when their number excuses that nothing is done.
    duplicates: u32,
    resting: u64,
    /// Since when there was no preferred address though nothing failed.
    missing: Option<u64>,
}

impl Node {
    pub(super) fn new(seed: u64, start: u64, trusted: bool) -> Node {
        let clock = clock(1, 0, trusted.then_some(start));
        let mut node = Node {
            schedule: Schedule::new(Network::LAB, clock),
            kernel: BTreeMap::new(),
            lost: BTreeMap::new(),
            events: Vec::new(),
            faults: Faults::default(),
            saved: Vec::new(),
            saved_at: None,
            uptime: 0,
            offset: start as i64,
            trusted,
            set: 0,
            boot: 1,
            chance: seed,
            pending: Vec::new(),
            offered: BTreeSet::new(),
            begun: BTreeMap::new(),
            switched: BTreeMap::new(),
            known: BTreeSet::new(),
            duplicates: 0,
            resting: 0,
            missing: None,
        };
        node.handle(Input::Tick);
        node
    }

    pub(super) fn utc(&self) -> u64 {
        self.uptime.saturating_add_signed(self.offset)
    }

    pub(super) fn clock(&self) -> Clock {
        clock(self.boot, self.uptime, self.trusted.then_some(self.utc()))
    }

    /// The addresses that new connections would begin with.
    pub(super) fn preferred(&self) -> Vec<Ipv6Addr> {
        let preferred = |address: &Address| !address.tentative && address.preferred_end > self.uptime;
        self.kernel.iter().filter(|(_, address)| preferred(address)).map(|(address, _)| *address).collect()
    }

    /// Awake for a time.
    pub(super) fn run(&mut self, time: u64) {
        let end = self.uptime + time;
        loop {
            let answer = self.pending.iter().map(|(due, _)| *due).min().unwrap_or(u64::MAX);
            let deadline = self.schedule.next_deadline().as_millis() as u64;
            assert!(deadline > self.uptime, "a deadline lies ahead");
            let next = answer.min(deadline).min(end).max(self.uptime);
            self.pass(next - self.uptime);
            if answer <= next {
                let first = self.pending.iter().position(|(due, _)| *due == answer).unwrap();
                let (_, input) = self.pending.remove(first);
                self.handle(input);
            } else {
                self.handle(Input::Tick);
            }
            if self.uptime >= end {
                return;
            }
        }
    }

    /// Asleep for a time: clocks run, programs do not.
    pub(super) fn sleep(&mut self, time: u64) {
        self.pass(time);
        self.missing = None;
        self.handle(Input::Tick);
    }

    /// Somebody sets the clock.
    pub(super) fn step(&mut self, by: i64) {
        self.offset += by;
        self.set += by;
        self.missing = None;
        self.handle(Input::Tick);
    }

    /// Somebody takes all addresses off the interface.
    pub(super) fn lose(&mut self) {
        self.lost = std::mem::take(&mut self.kernel);
        for address in self.schedule.addresses() {
            self.handle(Input::Gone { address });
        }
        self.lost.clear();
    }

    /// The process ends and comes back.
    pub(super) fn restart(&mut self) {
        self.pending.clear();
        self.offered.clear();
        self.missing = None;
        self.schedule = if self.saved.is_empty() {
            Schedule::new(Network::LAB, self.clock())
        } else {
            Schedule::restore(&self.saved, Network::LAB, self.clock()).unwrap()
        };
        let ours: BTreeSet<_> = self.schedule.addresses().into_iter().collect();
        let kernel: BTreeSet<_> = self.kernel.keys().copied().collect();
        assert!(kernel.is_subset(&ours), "what was put on the interface had been saved before");
        self.handle(Input::Tick);
    }

    /// The machine ends and comes back after a time.
    pub(super) fn reboot(&mut self, off: u64) {
        let utc = self.utc() + off;
        self.boot += 1;
        let before = self.uptime + off;
        self.uptime = 5 * SECOND;
        self.begun.values_mut().for_each(|(_, since)| *since -= before as i64 - self.uptime as i64);
        self.resting = 0;
        self.offset = utc as i64 - self.uptime as i64;
        self.kernel.clear();
        if !self.trusted || self.saved_at.is_none_or(|saved| utc < saved) {
            // No clock tells how old the keys are: they are thrown away, and what is known of midnights with them.
            self.switched.clear();
        }
        self.restart();
    }

    pub(super) fn handle(&mut self, input: Input) {
        if self.trusted {
            // A change may come again once the clock was set back by a day or more, whether or not another was made
            // meanwhile: the midnight before that may have passed while the machine was off.
            let set = self.set;
            self.switched.values_mut().for_each(|switch| switch.ahead = switch.ahead.max(set));
            self.switched.retain(|_, switch| switch.ahead - set < DAY as i64);
        }
        if let Input::Assigned { address } = &input
            && let Some(entry) = self.kernel.get_mut(address)
        {
            entry.tentative = false;
            self.duplicates = 0;
        }
        if let Input::Conflict { address } = &input {
            self.kernel.remove(address);
            self.switched.retain(|_, switch| switch.address != *address);
            self.duplicates += 1;
            if self.duplicates.is_multiple_of(3) {
                self.resting = self.uptime + HOUR + MINUTE;
            }
        }
        let assigned = if let Input::Assigned { address } = input { Some(address) } else { None };
        let before = self.preferred_now();
        self.schedule.handle(self.clock(), input);
        while let Some(output) = self.schedule.poll() {
            self.obey(output);
        }
        if let Some(address) = assigned
            && before != Some(address)
            && self.schedule.preferred() == Some(address)
        {
            self.events.push(Event::InUse(address, self.utc()));
        }
        self.check();
    }

    fn preferred_now(&self) -> Option<Ipv6Addr> {
        self.schedule.preferred()
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Save => {
                self.saved = self.schedule.state().to_vec();
                self.saved_at = self.trusted.then(|| self.utc());
            }
            Output::Generate => {
                let input = if self.faults.generate {
                    Input::NotGenerated
                } else {
                    let mut secret = [0; 32];
                    secret[..8].copy_from_slice(&self.random().to_be_bytes());
                    Input::Generated { secret: secret.into(), chance: self.random() as u32 }
                };
                self.pending.push((self.uptime, input));
            }
            Output::Publish(key) => {
                self.offered.insert(key.address());
                self.known.insert(key.address());
                assert!(self.offered.len() <= 3, "three identities at most: {:?}", self.offered);
                let identity = key.identity(UNIX_EPOCH + Duration::from_millis(self.utc())).unwrap();
                assert_eq!(identity.address(), key.address());
                if !self.faults.silence {
                    let due = self.uptime + SECOND + self.random() % (6 * SECOND);
                    self.pending.push((due, Input::Published { cn: key.cn(), done: !self.faults.publish }));
                }
                self.events.push(Event::Published(self.utc()));
            }
            Output::Assign { address, lifetimes } => self.assign(address, lifetimes),
            Output::Change { address, lifetimes } => {
                if lifetimes.preferred.is_zero() {
                    self.events.push(Event::Deprecated(address, self.utc()));
                }
                let (preferred_end, valid_end) = self.ends(lifetimes);
                if let Some(entry) = self.lost.remove(&address) {
                    self.kernel.insert(address, entry);
                }
                match self.kernel.get_mut(&address) {
                    Some(entry) => (entry.preferred_end, entry.valid_end) = (preferred_end, valid_end),
                    // The system's refusal is on its way.
                    None => assert!(self.faults.assign, "only addresses on the interface change"),
                }
            }
            Output::Remove { address } => {
                self.events.push(Event::Removed(address, self.utc()));
                self.kernel.remove(&address);
            }
            Output::Withdraw { cn } => {
                let address = cn.address(Network::LAB);
                self.offered.remove(&address);
                assert!(self.known.contains(&address), "only what was published is withdrawn");
            }
        }
        assert!(self.kernel.len() <= 2, "two addresses at most: {:?}", self.kernel);
    }

    fn assign(&mut self, address: Ipv6Addr, lifetimes: Lifetimes) {
        assert!(self.offered.contains(&address), "an address is published before it is used");
        let begun = (self.trusted.then(|| self.utc() / DAY), self.uptime as i64 - (self.utc() % DAY) as i64);
        let (midnight, since) = *self.begun.entry(address).or_insert(begun);
        if self.faults.assign {
            self.pending.push((self.uptime, Input::NotAssigned { address }));
            return;
        }
        let (preferred_end, valid_end) = self.ends(lifetimes);
        let known = self.kernel.get(&address).copied();
        if let Some(midnight) = midnight.filter(|_| known.is_none() && self.switching()) {
            let switch = Switch { address, ahead: self.set };
            assert!(self.switched.insert(midnight, switch).is_none(), "midnight {midnight} has one change");
        }
        let fresh =
            Address { preferred_end, valid_end, tentative: true, assigned: self.uptime, preferred_for: 0, since };
        let entry = self.kernel.entry(address).or_insert(fresh);
        (entry.preferred_end, entry.valid_end) = (preferred_end, valid_end);
        let wait = if known.is_none_or(|known| known.tentative) { SECOND } else { 0 };
        let conflict = wait > 0 && self.faults.conflicts > 0;
        self.faults.conflicts -= u32::from(conflict);
        let input = if conflict { Input::Conflict { address } } else { Input::Assigned { address } };
        self.pending.push((self.uptime + wait, input));
    }

    /// Whether a new address relieves another because of the date, not because the other was used for 42 hours.
    fn switching(&self) -> bool {
        let old = self.kernel.values().filter(|address| address.preferred_for > 0);
        let latest = old.max_by_key(|address| address.assigned);
        self.trusted && latest.is_some_and(|address| self.uptime as i64 - address.since < 41 * HOUR as i64)
    }

    fn ends(&self, lifetimes: Lifetimes) -> (u64, u64) {
        let valid = lifetimes.valid.expect("a temporary address ends");
        assert!(lifetimes.preferred <= valid);
        assert!(valid <= Duration::from_secs(172_800), "{valid:?}");
        (self.uptime + lifetimes.preferred.as_millis() as u64, self.uptime + valid.as_millis() as u64)
    }

    fn pass(&mut self, time: u64) {
        for entry in self.kernel.values_mut().filter(|entry| !entry.tentative) {
            entry.preferred_for += entry.preferred_end.saturating_sub(self.uptime).min(time);
        }
        self.uptime += time;
    }

    /// What holds at every moment at which the node is awake.
    fn check(&mut self) {
        let now = self.uptime;
        let answering = self.pending.iter().any(|(due, _)| *due <= now);
        for (address, entry) in &self.kernel {
            assert!(now <= entry.valid_end, "{address} outlived its life");
            assert!(now - entry.assigned <= 2 * DAY, "{address} stayed too long");
            assert!(entry.preferred_for <= LONGEST_USE, "{address} was used for too long");
        }
        let preferred = self.preferred();
        assert!(preferred.len() <= 1, "one preferred address: {preferred:?}");
        let excused = self.faults.generate || self.faults.assign || self.faults.conflicts > 0;
        let excused = excused || answering || now < self.resting;
        if !preferred.is_empty() || excused {
            self.missing = None;
        } else {
            let since = *self.missing.get_or_insert(now);
            assert!(now - since <= GAP, "no preferred address for {} ms", now - since);
        }
    }

    /// SplitMix64: small, and the same everywhere.
    pub(super) fn random(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.chance;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}

fn clock(boot: u8, uptime: u64, utc: Option<u64>) -> Clock {
    let utc = utc.map(|utc| SystemTime::UNIX_EPOCH + Duration::from_millis(utc));
    Clock { boot: [boot; 16], uptime: Duration::from_millis(uptime), utc }
}
