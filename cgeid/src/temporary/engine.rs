// SPDX-License-Identifier: GPL-2.0-or-later
//! The schedule: when which key is made, published, used, relieved and given up.

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::clock::{BootId, Clock, Moment, Now};
use super::key::TemporaryKey;
use super::lifetimes::Lifetimes;
use super::slot::{Held, Usage};
use crate::cn::{Cn, Network};
use crate::limits::{
    CLOCK_CHECK, CONFLICT_PAUSE, CONFLICT_TRIES, LIFETIME_TOLERANCE, PUBLICATION_PATIENCE, TEMPORARY_OVERLAP,
    TEMPORARY_RETRY,
};

/// What happened.
pub enum Input {
    /// Time went on, or a clock was set.
    Tick,
    /// The system's randomness, as [`Output::Generate`] asked.
    Generated {
        /// The seed of an Ed25519 key.
        secret: Zeroizing<[u8; 32]>,
        /// Decides the random moments of this key; independent of the secret.
        chance: u32,
    },
    /// There was no randomness.
    NotGenerated,
    /// What came of [`Output::Publish`].
    Published {
        /// The identity.
        cn: Cn,
        /// Whether others can find it now.
        done: bool,
    },
    /// The address is on the interface, and no duplicate was found.
    Assigned {
        /// The address.
        address: Ipv6Addr,
    },
    /// Another node has the address, or somebody says so.
    Conflict {
        /// The address.
        address: Ipv6Addr,
    },
    /// The system did not take the address.
    NotAssigned {
        /// The address.
        address: Ipv6Addr,
    },
    /// Somebody has taken the address off the interface.
    Gone {
        /// The address.
        address: Ipv6Addr,
    },
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Keep [`Schedule::state`] where only the owner can read it, before anything that follows.
    Save,
    /// Answer with [`Input::Generated`].
    Generate,
    /// Make the identity known, and keep it so until [`Output::Withdraw`]. Answer with [`Input::Published`].
    Publish(TemporaryKey),
    /// Put an address on the interface. Answer with [`Input::Assigned`] when it is of use.
    Assign {
        /// The address, without a prefix of its own (/128).
        address: Ipv6Addr,
        /// Its lives from now on.
        lifetimes: Lifetimes,
    },
    /// Give an address on the interface other lives; a preferred life of zero deprecates it.
    Change {
        /// The address.
        address: Ipv6Addr,
        /// Its lives from now on.
        lifetimes: Lifetimes,
    },
    /// Take an address off the interface.
    Remove {
        /// The address.
        address: Ipv6Addr,
    },
    /// Speak for the identity no more; its key is gone.
    Withdraw {
        /// The identity.
        cn: Cn,
    },
}

/// What a key is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is published, and used after the next change.
    Prepared,
    /// New connections begin with it.
    Current,
    /// Its successor took its place; what began with it goes on.
    Relieved,
}

/// The temporary CGEIDs of one node. Sans-IO: clocks and randomness are arguments.
#[derive(Debug)]
pub struct Schedule {
    pub(super) network: Network,
    /// Made for the next change.
    pub(super) next: Option<Held>,
    /// In use.
    pub(super) current: Option<Held>,
    /// Relieved; flows that began with it go on.
    pub(super) previous: Option<Held>,
    /// The last look at the clocks.
    pub(super) now: Now,
    generating: bool,
    /// No key is made before.
    rest: Option<Moment>,
    conflicts: u32,
    outputs: VecDeque<Output>,
    pub(super) changed: bool,
}

impl Schedule {
    /// A node that never had a temporary CGEID. The first is made at once.
    pub fn new(network: Network, clock: Clock) -> Schedule {
        Schedule {
            network,
            next: None,
            current: None,
            previous: None,
            now: Now::of(clock),
            generating: false,
            rest: None,
            conflicts: 0,
            outputs: VecDeque::new(),
            changed: false,
        }
    }

    /// Takes note of what happened, and of the time.
    pub fn handle(&mut self, clock: Clock, input: Input) {
        self.observe(clock);
        match input {
            Input::Tick => {}
            Input::Generated { secret, chance } => self.generated(secret, chance),
            Input::NotGenerated => self.not_generated(),
            Input::Published { cn, done } => self.published(cn, done),
            Input::Assigned { address } => self.assigned(address),
            Input::Conflict { address } => self.conflict(address),
            Input::NotAssigned { address } => self.not_assigned(address),
            Input::Gone { address } => self.gone(address),
        }
        self.advance();
        if std::mem::take(&mut self.changed) {
            self.outputs.push_front(Output::Save);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The uptime at which to call [`Schedule::handle`] with [`Input::Tick`] at the latest.
    pub fn next_deadline(&self) -> Duration {
        let later = |moment: &Moment| *moment > self.now.at;
        let first = self.moments().filter(later).min();
        let check = self.now.at.after(CLOCK_CHECK);
        first.map_or(check, |first| first.min(check)).uptime()
    }

    /// The address that new connections are to begin with.
    pub fn preferred(&self) -> Option<Ipv6Addr> {
        let usage = |held: &&Held| held.usage.as_ref().is_some_and(|usage| self.now.at < usage.preferred_end());
        self.current.as_ref().filter(usage).map(|held| held.key.address())
    }

    /// The addresses that belong on the interface: all others of the kind are leftovers.
    pub fn addresses(&self) -> Vec<Ipv6Addr> {
        self.held().filter(|held| held.usage.is_some()).map(|held| held.key.address()).collect()
    }

    /// The keys that are held.
    pub fn keys(&self) -> impl Iterator<Item = (Role, &TemporaryKey)> {
        let slots = [(Role::Prepared, &self.next), (Role::Current, &self.current), (Role::Relieved, &self.previous)];
        slots.into_iter().filter_map(|(role, slot)| Some((role, &slot.as_ref()?.key)))
    }

    /// All moments at which something is to be done, among them some that were.
    fn moments(&self) -> impl Iterator<Item = Moment> {
        let held = self.held().flat_map(|held| {
            let usage = held.usage.as_ref();
            let patience = held.publication.asked.map(|asked| asked.after(PUBLICATION_PATIENCE));
            [usage.map(Usage::end), usage.and_then(|usage| usage.assign), held.publication.due, patience]
        });
        let current = self.current.as_ref();
        let switch = current.and_then(|held| held.usage.as_ref()).map(|usage| usage.switch);
        let own = [self.rest, current.and_then(Held::prepare), switch, switch.map(|at| at.after(TEMPORARY_OVERLAP))];
        held.chain(own).flatten()
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        [&self.next, &self.current, &self.previous].into_iter().flatten()
    }

    fn slots(&mut self) -> [&mut Option<Held>; 3] {
        [&mut self.next, &mut self.current, &mut self.previous]
    }

    fn observe(&mut self, clock: Clock) {
        let boot: BootId = self.now.boot;
        let now = Now::of(clock);
        // An uptime that runs backwards is a caller's mistake; time stands still then.
        self.now = Now { boot, at: now.at.max(self.now.at), utc: now.utc };
    }

    fn generated(&mut self, secret: Zeroizing<[u8; 32]>, chance: u32) {
        if !std::mem::take(&mut self.generating) || self.next.is_some() {
            return;
        }
        let key = TemporaryKey::new(secret, self.network, self.now.today());
        // One that is held already is no randomness.
        let new = key.filter(|key| self.held().all(|held| held.key.cn() != key.cn()));
        match new {
            Some(key) => {
                self.next = Some(Held::new(key, chance, self.now.at));
                self.changed = true;
            }
            None => self.rest = Some(self.now.at.after(TEMPORARY_RETRY)),
        }
    }

    fn not_generated(&mut self) {
        self.generating = false;
        self.rest = Some(self.now.at.after(TEMPORARY_RETRY));
    }

    fn published(&mut self, cn: Cn, done: bool) {
        let retry = self.now.at.after(TEMPORARY_RETRY);
        let Some(held) = self.slots().into_iter().flatten().find(|held| held.key.cn() == cn) else { return };
        let publication = &mut held.publication;
        publication.due = (!done).then_some(retry);
        publication.failed = !done;
        if done && !std::mem::replace(&mut publication.known, true) {
            self.changed = true;
        }
    }

    fn assigned(&mut self, address: Ipv6Addr) {
        let is_next = |held: &Held| held.key.address() == address && held.usage.is_some();
        if self.next.as_ref().is_some_and(is_next) {
            if let Some(mut relieved) = self.current.take() {
                let address = relieved.key.address();
                match &mut relieved.usage {
                    // The system refused to confirm it after a restart; it may be there, and preferred, all the same.
                    Some(usage) if usage.assign.is_some() => usage.assign = Some(self.now.at),
                    Some(usage) => {
                        let lifetimes = usage.lifetimes(self.now.at, false);
                        self.outputs.push_back(Output::Change { address, lifetimes });
                    }
                    None => {}
                }
                let before = self.previous.replace(relieved);
                self.drop_held(before);
            }
            self.current = self.next.take();
            self.conflicts = 0;
            self.changed = true;
        }
    }

    fn conflict(&mut self, address: Ipv6Addr) {
        let slots = self.slots().into_iter();
        let mine = |slot: &&mut Option<Held>| slot.as_ref().is_some_and(|held| held.key.address() == address);
        let Some(held) = slots.into_iter().find(mine).and_then(Option::take) else { return };
        self.drop_held(Some(held));
        self.conflicts += 1;
        if self.conflicts >= CONFLICT_TRIES {
            self.conflicts = 0;
            self.rest = Some(self.now.at.after(CONFLICT_PAUSE));
        }
    }

    fn not_assigned(&mut self, address: Ipv6Addr) {
        let retry = self.now.at.after(TEMPORARY_RETRY);
        let held = self.slots().into_iter().flatten().find(|held| held.key.address() == address);
        if let Some(usage) = held.and_then(|held| held.usage.as_mut()) {
            usage.assign = Some(retry);
        }
    }

    /// Puts it there again, with what is left of its lives. One that the system has not taken yet has its time.
    fn gone(&mut self, address: Ipv6Addr) {
        let now = self.now.at;
        let slots = [(&mut self.next, true), (&mut self.current, true), (&mut self.previous, false)];
        for (slot, preferred) in slots {
            let Some(held) = slot.as_ref().filter(|held| held.key.address() == address) else { continue };
            let Some(usage) = held.usage.as_ref().filter(|usage| usage.assign.is_none() && now < usage.end()) else {
                continue;
            };
            self.outputs.push_back(Output::Change { address, lifetimes: usage.lifetimes(now, preferred) });
        }
    }

    /// Does what is due.
    fn advance(&mut self) {
        self.expire();
        self.retime();
        self.generate();
        self.publish();
        self.use_next();
        self.assign();
        self.tell();
    }

    fn expire(&mut self) {
        let now = self.now.at;
        let over = |held: &mut Held| held.usage.as_ref().is_some_and(|usage| now >= usage.end());
        for held in self.slots().map(|slot| slot.take_if(over)) {
            self.drop_held(held);
        }
        // One that the system refused until it was to be relieved would be relieved at once: the day has its own instead.
        let missed = |usage: &Usage| usage.assign.is_some() && now >= usage.switch;
        let missed = self.next.take_if(|next| next.usage.as_ref().is_some_and(missed));
        self.drop_held(missed);
    }

    fn retime(&mut self) {
        let now = self.now;
        let usage = self.current.as_mut().and_then(|held| held.usage.as_mut());
        self.changed |= usage.is_some_and(|usage| usage.retime(&now));
    }

    fn generate(&mut self) {
        let now = self.now.at;
        let wanted = self.current.as_ref().and_then(Held::prepare).is_none_or(|prepare| now >= prepare);
        let resting = self.rest.is_some_and(|rest| now < rest);
        if self.next.is_none() && wanted && !self.generating && !resting {
            self.generating = true;
            self.rest = None;
            self.outputs.push_back(Output::Generate);
        }
    }

    fn publish(&mut self) {
        let now = self.now.at;
        let mut keys = Vec::new();
        for held in self.slots().into_iter().flatten() {
            if held.publication.due.take_if(|due| now >= *due).is_some() {
                held.publication.asked.get_or_insert(now);
                keys.push(held.key.clone());
            }
        }
        self.outputs.extend(keys.into_iter().map(Output::Publish));
    }

    /// Puts the next one to use if its time has come and it can be found; when nothing else is preferred, also if not.
    fn use_next(&mut self) {
        let now = self.now;
        let usage = self.current.as_ref().and_then(|held| held.usage.as_ref());
        let (relieved, switch) = (usage.and_then(|usage| usage.day), usage.map(|usage| usage.switch));
        let Some(next) = self.next.as_mut().filter(|next| next.usage.is_none()) else { return };
        let publication = &next.publication;
        let impatient = publication.asked.is_some_and(|asked| now.at >= asked.after(PUBLICATION_PATIENCE));
        let needed = switch.is_none_or(|switch| now.at >= switch.after(TEMPORARY_OVERLAP));
        let usable = publication.known || needed && (publication.failed || impatient);
        if !usable || switch.is_some_and(|switch| now.at < switch) {
            return;
        }
        next.begin_use(&now, relieved);
        self.changed = true;
        if switch.is_some() {
            let before = self.previous.take();
            self.drop_held(before);
        }
    }

    fn assign(&mut self) {
        let now = self.now.at;
        let mut outputs = Vec::new();
        for (slot, preferred) in self.slots().into_iter().zip([true, true, false]) {
            let Some(held) = slot else { continue };
            let Some(usage) = &mut held.usage else { continue };
            if usage.assign.take_if(|due| now >= *due).is_some() {
                usage.told = usage.preferred_end();
                let (address, lifetimes) = (held.key.address(), usage.lifetimes(now, preferred));
                outputs.push(Output::Assign { address, lifetimes });
            }
        }
        self.outputs.extend(outputs);
    }

    /// Tells the kernel when midnight moved. One that should have been relieved keeps what the kernel was told.
    fn tell(&mut self) {
        let now = self.now.at;
        let Some(held) = &mut self.current else { return };
        let Some(usage) = &mut held.usage else { return };
        let end = usage.preferred_end();
        if usage.assign.is_none() && now < usage.switch && end.distance(usage.told) >= LIFETIME_TOLERANCE {
            usage.told = end;
            let (address, lifetimes) = (held.key.address(), usage.lifetimes(now, true));
            self.outputs.push_back(Output::Change { address, lifetimes });
        }
    }

    fn drop_held(&mut self, held: Option<Held>) {
        let Some(held) = held else { return };
        if held.usage.is_some() {
            self.outputs.push_back(Output::Remove { address: held.key.address() });
        }
        self.outputs.push_back(Output::Withdraw { cn: held.key.cn() });
        self.changed = true;
    }
}
