// SPDX-License-Identifier: GPL-2.0-or-later
//! The registration engine: one conversation per Map-Server and message. A [`Batch`] is such a message with what became of it, its
//! [`Contents`] are said of our database, and [`Moves`] are what others have registered since. `prefixes` puts EID-prefixes into messages, this
//! file sends them, `notify` hears what the Map-Servers say, also of what is `moving`, and `servers` changes who they are.

mod batch;
mod contents;
mod interface;
mod moves;
mod moving;
mod notify;
mod prefixes;
mod servers;

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::Nonce;
use wire::control::auth::AuthKey;

use self::batch::Batch;
use self::contents::Contents;
pub use self::interface::{Config, Input, Output, Refused, Registration, Server};
use self::moves::Moves;
use super::heard::Heard;
use super::nonce::RisingNonce;
use super::through::Through;
use crate::refusal::{Refusal, Tally};
use crate::transport::MapSystem;

/// Registers a node's prefixes with its Map-Servers.
#[derive(Debug)]
pub struct Registrar {
    contents: Contents,
    servers: Vec<Server>,
    /// Network of the CGEIDs, which are registered through the pipe only.
    cgeids: Option<EidPrefix>,
    batches: Vec<Batch>,
    nonce: RisingNonce,
    heard: Heard,
    /// Servers that are no longer configured, until they have confirmed that or are given up.
    retired: BTreeSet<usize>,
    moves: Moves,
    withdrawing: bool,
    outputs: VecDeque<Output>,
    tally: Tally,
}

impl Registrar {
    /// Starts registering at `now`.
    pub fn new(now: Instant, config: Config) -> Self {
        let Config { database, mut servers, cgeids, nonce_floor: floor } = config;
        for server in &mut servers {
            server.prefixes.retain(|prefix| may_have(cgeids, server.to, prefix));
        }
        let mut registrar = Self {
            contents: Contents { database, through: Through::default() },
            servers,
            cgeids,
            batches: Vec::new(),
            nonce: RisingNonce::above(floor),
            heard: Heard::nothing(),
            retired: BTreeSet::new(),
            moves: Moves::default(),
            withdrawing: false,
            outputs: VecDeque::new(),
            tally: Tally::default(),
        };
        (0..registrar.servers.len()).for_each(|server| registrar.plan(now, server));
        registrar
    }

    /// Nonces of Map-Registers are not to be guessed from now on: what an RTR remembers of one is found by its nonce.
    pub fn rise_by_chance(&mut self, seed: [u8; 32]) {
        self.nonce.rise_by_chance(seed);
    }

    /// Has heard these last unsolicited Map-Notifies in the run before.
    pub fn has_heard(&mut self, kept: impl IntoIterator<Item = (MapSystem, Nonce)>) {
        self.heard.restore(kept);
    }

    /// Whether this run has sent a Map-Register with this nonce, or a former one may have.
    pub fn has_used(&self, nonce: Nonce) -> bool {
        self.nonce.has_used(nonce)
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Notify { from, by, message, payload } => match self.on_notify(now, (from, by), message, payload) {
                Ok(()) => self.outputs.push_back(Output::Verified),
                Err(refusal) => self.tally.count(refusal),
            },
            Input::Locators(database) => {
                self.contents.database = database;
                self.split(now);
                self.say_otherwise(now);
            }
            Input::Add { prefix, database } => {
                self.contents.database = database;
                self.add(now, prefix);
            }
            Input::Remove { prefix, database } => {
                self.contents.database = database;
                self.remove(now, prefix);
            }
            Input::Servers(servers) => self.set_servers(now, servers),
            Input::Way(through) => {
                self.contents.through = through;
                self.split(now);
                self.say_otherwise(now);
            }
            Input::Again => self.batches.iter_mut().for_each(|batch| batch.hurry(now)),
            Input::Here(prefix) => self.is_here(now, prefix),
            Input::Nobodys(prefix) => self.is_free(now, prefix),
            Input::Withdraw => {
                self.withdrawing = true;
                self.batches.iter_mut().for_each(|batch| batch.withdrawing = true);
                self.say_otherwise(now);
            }
        }
        self.say_moved(now);
    }

    /// Sends what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.contents.through.is_closed() {
            return;
        }
        for index in 0..self.batches.len() {
            if self.batches[index].due.is_some_and(|due| due <= now) {
                if self.batches[index].is_given_up() && !self.withdrawing {
                    self.batches[index].give_up();
                } else {
                    self.transmit(now, index);
                }
            }
        }
        self.drop_ended();
        if self.moves.may_change(now) {
            self.say_moved(now);
        }
        self.doubt_moves(now);
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.contents.through.is_closed() {
            return None;
        }
        self.batches.iter().filter_map(|batch| batch.due).chain(self.moves.deadlines()).min()
    }

    /// Whether every Map-Server that can be told has confirmed what was last to be told to it.
    pub fn is_confirmed(&self) -> bool {
        let cannot_be = |batch: &Batch| self.contents.lacks_family(self.servers[batch.server].to);
        self.batches.iter().all(|batch| batch.is_told() || cannot_be(batch))
    }

    /// Whether every withdrawal was confirmed.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawing && self.batches.iter().all(|batch| !batch.is_on_its_way() && batch.due.is_none())
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The keys that we register with, by which Map-Servers wrap one-time keys for us too (RFC 9303, section 6.5).
    pub fn keys(&self) -> impl Iterator<Item = &AuthKey> {
        self.servers.iter().map(|server| &server.key)
    }

    /// With whom it registers, or did until now.
    pub fn servers(&self) -> impl Iterator<Item = MapSystem> + '_ {
        self.servers.iter().map(|server| server.to)
    }

    /// The state of every registration.
    pub fn registrations(&self, now: Instant) -> impl Iterator<Item = Registration> + '_ {
        let registered = self.batches.iter().flat_map(move |batch| batch.rows(now, self.servers[batch.server].to));
        registered.chain(self.moved(now))
    }

    /// Makes every message due now, as each says something else.
    fn say_otherwise(&mut self, now: Instant) {
        for batch in &mut self.batches {
            batch.say_otherwise(now);
        }
    }

    /// Each message has a nonce of its own, so that a server that insists on rising nonces answers it. Of several RTRs each has to see
    /// a Map-Notify; those that have are left out until all hear of it again.
    fn transmit(&mut self, now: Instant, index: usize) {
        let (batch, contents) = (&mut self.batches[index], &self.contents);
        let server = &self.servers[batch.server];
        // Who is not answered may have no way from this locator.
        let mut paths = contents.paths(server.to, batch.unanswered());
        if paths.is_empty() {
            self.tally.count(Refusal::NoLocatorOfFamily);
            return batch.has_no_way(now);
        }
        batch.begin(now, &mut paths);
        let mut sent = Vec::new();
        for path in paths {
            let (nonce, bound) = self.nonce.next();
            self.outputs.extend(bound.map(Output::PersistNonce));
            let Some(message) = contents.sent((&batch.prefixes, batch.withdrawing), server, nonce, &path) else {
                self.tally.count(Refusal::NotEncodable);
                return batch.give_up();
            };
            self.outputs.push_back(Output::Send(message));
            sent.push((nonce, path.way()));
        }
        batch.sent(now, sent);
    }

    /// A withdrawal ends when it is confirmed or given up. Those of a node that goes away stay, for it to know when it may
    /// go.
    fn drop_ended(&mut self) {
        if !self.withdrawing {
            self.batches.retain(|batch| !batch.withdrawing || batch.due.is_some());
            self.forget_retired();
        }
    }
}

/// Whether a CGEID is told to no server that cannot sign it.
fn may_have(cgeids: Option<EidPrefix>, server: MapSystem, prefix: &EidPrefix) -> bool {
    server == MapSystem::Pipe || !cgeids.is_some_and(|network| network.covers(prefix))
}
