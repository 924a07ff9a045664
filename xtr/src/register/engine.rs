// SPDX-License-Identifier: GPL-2.0-or-later
//! The registration engine: one conversation per Map-Server and message.

mod moving;
mod servers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::address::{Address, EidPrefix};
use wire::control::auth::{self, Accept, AuthKey, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister, Nonce, XtrIdentity};
use wire::record::{MappingRecord, Ttl};

use self::moving::Moved;
use super::heard::Heard;
use super::limits;
use super::nonce::RisingNonce;
use super::through::{Path, Through};
use crate::database::{Database, RecordForm, withdrawal};
use crate::nat::natted::Way;
use crate::refusal::{Refusal, Tally};
use crate::transport::{MapSystem, Outgoing, turned};

/// A Map-Server and how we speak to it.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub to: MapSystem,
    /// The key that we share with it.
    pub key: AuthKey,
    /// Length of our tags: as the RFC says, or untruncated as deployed servers want it.
    pub tag: TagForm,
    /// Whether its tags may leave out what stands behind the records (RFC 9301, section 5.6, step 5).
    pub narrow_coverage: bool,
    /// P: the server answers Map-Requests for us.
    pub proxy_reply: bool,
    /// xTR-ID and Site-ID, for servers that are to tell the xTRs of a site apart.
    pub identity: Option<XtrIdentity>,
    /// What is registered there at the start.
    pub prefixes: Vec<EidPrefix>,
}

impl Server {
    /// Deployed Map-Servers send the whole HMAC, which is no easier to forge.
    fn accepted(&self) -> Accept {
        Accept { untruncated: true, narrow_coverage: self.narrow_coverage }
    }
}

/// What the engine is made of.
#[derive(Debug)]
pub struct Config {
    /// Our EID-prefixes and locators.
    pub database: Database,
    /// The Map-Servers.
    pub servers: Vec<Server>,
    /// Network of the CGEIDs, which are registered through the pipe only, whatever else is said.
    pub cgeids: Option<EidPrefix>,
    /// All nonces will be above this one.
    pub nonce_floor: Nonce,
}

/// What the engine is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// A Map-Notify came.
    Notify {
        /// From which Map-Server it seems to come.
        from: MapSystem,
        /// The RTR that relayed it, if one did.
        by: Option<IpAddr>,
        /// Decoded.
        message: &'a MapNotify,
        /// The UDP payload, over which the tag is computed.
        payload: &'a [u8],
    },
    /// The locators changed: register anew, at once.
    Locators(Database),
    /// Another prefix is registered, at once, with the servers that may have it.
    Add {
        /// The prefix.
        prefix: EidPrefix,
        /// What is registered from now on.
        database: Database,
    },
    /// The registration of a prefix is taken back, at once.
    Remove {
        /// The prefix.
        prefix: EidPrefix,
        /// What is registered from now on.
        database: Database,
    },
    /// Other Map-Servers, or the same with other keys: new ones are registered with, at once, and those that are no longer there
    /// get a withdrawal.
    Servers(Vec<Server>),
    /// This is the way of the messages from now on: register anew, at once.
    Way(Through),
    /// A NAT leads elsewhere than before: register anew, at once.
    Again,
    /// The mapping system says that this EID-prefix leads to us.
    Here(EidPrefix),
    /// The mapping system says that nobody has this EID-prefix.
    Nobodys(EidPrefix),
    /// The node goes away: take every registration back.
    Withdraw,
}

/// What the engine wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write the nonce to disk before anything after it is sent.
    PersistNonce(Nonce),
    /// Keep the last nonces of the unsolicited Map-Notifies of these Map-Servers on disk.
    PersistHeard(Vec<(MapSystem, Nonce)>),
    /// Send a Map-Register, or a Map-Notify-Ack.
    Send(Outgoing),
    /// A Map-Server says that an EID-prefix of ours, or a part of one, is behind others now.
    Moved(EidPrefix),
    /// A Map-Server says that nobody else has it any more.
    Returned(EidPrefix),
    /// What came was a Map-Notify of a Map-Server, as its tag proves.
    Verified,
    /// The mapping system is to be asked who has this EID-prefix of ours: a Map-Server has said that another xTR has it, which may not be so.
    Ask(EidPrefix),
    /// All that has moved and not returned has changed: parts, whatever Map-Server says so, and what no Map-Server has from us any more.
    AllMoved(Vec<EidPrefix>),
}

/// State of one registration message, for `show registrations`, or of those of its prefixes that were added to it after it was last confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The Map-Server.
    pub server: MapSystem,
    /// What the message registers.
    pub prefixes: Vec<EidPrefix>,
    /// Time since the last Map-Notify, if one ever came.
    pub confirmed_ago: Option<Duration>,
    /// Whether the message says something else of these prefixes since then: the Map-Server has other locators.
    pub changing: bool,
    /// Map-Registers sent since then.
    pub unanswered: u32,
    /// The last answer since then that confirmed nothing.
    pub last_refused: Option<Refused>,
    /// Whether the message takes the registration back.
    pub withdrawing: bool,
    /// Whether there is no such message: another xTR has registered the prefix since, and keeps it until it is withdrawn.
    pub moved: bool,
    /// Of a whole EID-prefix that no Map-Server has from us: the time until the mapping system is asked whether anybody has it.
    pub asks_in: Option<Duration>,
}

/// A Map-Notify under the nonce of a Map-Register that confirmed nothing. Who has sent it is not proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The first EID-prefix that was not told as it was registered, or taken back.
    pub prefix: Option<EidPrefix>,
    /// When.
    pub at: Instant,
}

/// Registers a node's prefixes with its Map-Servers.
#[derive(Debug)]
pub struct Registrar {
    database: Database,
    servers: Vec<Server>,
    /// Network of the CGEIDs, which are registered through the pipe only.
    cgeids: Option<EidPrefix>,
    through: Through,
    batches: Vec<Batch>,
    nonce: RisingNonce,
    heard: Heard,
    /// Servers that are no longer configured, until they have confirmed that or are given up.
    retired: BTreeSet<usize>,
    /// Prefixes that another xTR has registered with a server since we did.
    moved: BTreeMap<(usize, EidPrefix), Moved>,
    /// Parts of our prefixes that another xTR has registered with a server, and when that was last said.
    moved_parts: BTreeMap<(usize, EidPrefix), Instant>,
    /// What was last said to have moved.
    all_moved: Vec<EidPrefix>,
    /// When a Map-Server will have forgotten what has moved at another, unless it confirms that it has it.
    had_until: Option<Instant>,
    withdrawing: bool,
    outputs: VecDeque<Output>,
    tally: Tally,
}

/// The prefixes that travel in one message, and what became of it.
#[derive(Debug)]
struct Batch {
    server: usize,
    prefixes: Vec<EidPrefix>,
    /// Nonces a Map-Notify may carry, oldest first, and by which RTR each was sent, if by one.
    outstanding: VecDeque<(Nonce, Option<Way>)>,
    /// When it was last sent by all its ways; and by which of them it was confirmed since, and in the round before.
    round: Option<Instant>,
    answered: [Vec<Way>; 2],
    unanswered: u32,
    refused: Option<Refused>,
    confirmed: Option<Instant>,
    /// Those of its prefixes that came later than that.
    joined: Vec<EidPrefix>,
    /// Whether it takes back what an earlier message registered.
    withdrawing: bool,
    /// `None`: a withdrawal that was confirmed, or a message that cannot be sent.
    due: Option<Instant>,
    /// Whether it was not confirmed since it was last to be said at once.
    is_news: bool,
    /// Whether what it says of each prefix has changed since it was confirmed last, and not only which ones it has.
    is_changed: bool,
}

impl Registrar {
    /// Starts registering at `now`.
    pub fn new(now: Instant, config: Config) -> Self {
        let Config { database, mut servers, cgeids, nonce_floor: floor } = config;
        for server in &mut servers {
            server.prefixes.retain(|prefix| may_have(cgeids, server.to, prefix));
        }
        let mut registrar = Self {
            heard: Heard::nothing(),
            database,
            servers,
            retired: BTreeSet::new(),
            moved: BTreeMap::new(),
            moved_parts: BTreeMap::new(),
            all_moved: Vec::new(),
            had_until: None,
            cgeids,
            through: Through::default(),
            batches: Vec::new(),
            nonce: RisingNonce::above(floor),
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
                self.database = database;
                self.split(now);
                self.say_otherwise(now);
            }
            Input::Add { prefix, database } => {
                self.database = database;
                self.add(now, prefix);
            }
            Input::Remove { prefix, database } => {
                self.database = database;
                self.remove(now, prefix);
            }
            Input::Servers(servers) => self.set_servers(now, servers),
            Input::Way(through) => {
                self.through = through;
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
        if self.through.is_closed() {
            return;
        }
        for index in 0..self.batches.len() {
            if self.batches[index].due.is_some_and(|due| due <= now) {
                if self.batches[index].is_given_up() && !self.withdrawing {
                    self.batches[index].due = None;
                } else {
                    self.transmit(now, index);
                }
            }
        }
        self.drop_ended();
        if self.had_until.is_some_and(|until| until <= now) {
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
        if self.through.is_closed() {
            return None;
        }
        let asks = self.moved.values().map(|moved| moved.asks);
        self.batches.iter().filter_map(|batch| batch.due).chain(self.had_until).chain(asks).min()
    }

    /// Whether every Map-Server that can be told has confirmed what was last to be told to it.
    pub fn is_confirmed(&self) -> bool {
        self.batches.iter().all(|batch| !batch.is_news || batch.due.is_none() || self.lacks_family(batch))
    }

    /// Whether none of our locators has the family of the Map-Server, while there are some.
    fn lacks_family(&self, batch: &Batch) -> bool {
        let rlocs = self.database.rlocs();
        let is_open = !self.through.is_closed() && !rlocs.is_empty();
        is_open && self.through.paths(self.servers[batch.server].to, &rlocs).is_empty()
    }

    /// Whether every withdrawal was confirmed.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawing && self.batches.iter().all(|batch| batch.outstanding.is_empty() && batch.due.is_none())
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
        let registered = self.batches.iter().flat_map(move |batch| {
            let row = move |(prefixes, confirmed): (Vec<EidPrefix>, Option<Instant>)| Registration {
                server: self.servers[batch.server].to,
                prefixes,
                confirmed_ago: confirmed.map(|at| now.saturating_duration_since(at)),
                changing: confirmed.is_some() && batch.is_changed,
                unanswered: batch.unanswered,
                last_refused: batch.refused,
                withdrawing: batch.withdrawing,
                moved: false,
                asks_in: None,
            };
            batch.by_confirmation().into_iter().filter(|(prefixes, _)| !prefixes.is_empty()).map(row)
        });
        registered.chain(self.moved(now))
    }

    /// Splits each server's prefixes into messages that fit a packet: one where possible, since some servers take each
    /// Map-Register as the whole site.
    fn plan(&mut self, now: Instant, server: usize) {
        let config = &self.servers[server];
        let mut rest = config.prefixes.as_slice();
        while !rest.is_empty() {
            let (prefixes, remaining) = rest.split_at(self.count_that_fits(rest, config));
            self.batches.push(Batch::new(server, prefixes.to_vec(), now));
            rest = remaining;
        }
    }

    /// What has more or longer locators than before, or another way, may fit a packet no longer: it goes on as several messages (RFC 9301,
    /// section 5).
    pub(super) fn split(&mut self, now: Instant) {
        for index in 0..self.batches.len() {
            let Batch { server, confirmed, withdrawing, .. } = self.batches[index];
            if withdrawing {
                continue;
            }
            let joined = self.batches[index].joined.clone();
            let count = self.count_that_fits(&self.batches[index].prefixes, &self.servers[server]);
            let mut rest = self.batches[index].prefixes.split_off(count);
            while !rest.is_empty() {
                let later = rest.split_off(self.count_that_fits(&rest, &self.servers[server]));
                self.batches.push(Batch { confirmed, joined: joined.clone(), ..Batch::new(server, rest, now) });
                rest = later;
            }
        }
    }

    /// How many of these, one at least, a message to this server has room for.
    fn count_that_fits(&self, prefixes: &[EidPrefix], server: &Server) -> usize {
        if self.fits(prefixes, server) {
            return prefixes.len();
        }
        let (mut fits, mut too_many) = (1, prefixes.len());
        while too_many > fits + 1 {
            let middle = usize::midpoint(fits, too_many);
            if self.fits(&prefixes[..middle], server) {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        fits
    }

    fn fits(&self, prefixes: &[EidPrefix], server: &Server) -> bool {
        let limit = self.through.room(server.to);
        let message = ControlMessage::from(self.message(prefixes, false, server, Nonce(0)));
        auth::seal(&message, &server.key, server.tag).is_ok_and(|bytes| bytes.len() <= limit)
    }

    fn message(&self, prefixes: &[EidPrefix], withdrawing: bool, server: &Server, nonce: Nonce) -> MapRegister {
        let form = RecordForm { authoritative: false, probed: None };
        let record = |prefix: &EidPrefix| -> MappingRecord {
            if withdrawing { withdrawal(*prefix) } else { self.through.record(&self.database, *prefix, form) }
        };
        let by_rtrs = self.through.is_by_rtrs();
        MapRegister {
            proxy_reply: server.proxy_reply || by_rtrs,
            // RFC 9303, section 6.3: an ETR that can says so.
            security_capable: true,
            through_rtr: by_rtrs,
            want_notify: true,
            nonce,
            records: prefixes.iter().map(record).collect(),
            xtr_identity: server.identity,
            ..MapRegister::default()
        }
    }

    /// Into a message that has room, one for each server; what else is in that is confirmed anew with it.
    fn add(&mut self, now: Instant, prefix: EidPrefix) {
        self.is_ours_again(prefix);
        for server in 0..self.servers.len() {
            self.add_to(now, server, prefix);
        }
    }

    fn add_to(&mut self, now: Instant, server: usize, prefix: EidPrefix) {
        let is_served = !self.withdrawing && !self.retired.contains(&server);
        if is_served && may_have(self.cgeids, self.servers[server].to, &prefix) {
            // A withdrawal on its way must not have the last word.
            self.batches.retain(|batch| !(batch.server == server && batch.withdrawing && batch.prefixes == [prefix]));
            let has_room = |batch: &Batch| {
                let longer: Vec<_> = batch.prefixes.iter().copied().chain([prefix]).collect();
                batch.server == server && !batch.withdrawing && self.fits(&longer, &self.servers[server])
            };
            match self.batches.iter().rposition(has_room) {
                Some(index) => {
                    let batch = &mut self.batches[index];
                    if !batch.prefixes.contains(&prefix) {
                        batch.prefixes.push(prefix);
                        batch.prefixes.sort_unstable();
                        batch.joined.push(prefix);
                    }
                    batch.hurry(now);
                }
                None => self.batches.push(Batch::new(server, vec![prefix], now)),
            }
        }
    }

    /// A message of its own takes the prefix back; the one that it was in goes on without it.
    fn remove(&mut self, now: Instant, prefix: EidPrefix) {
        self.is_ours_again(prefix);
        let mut registered_with = Vec::new();
        for batch in self.batches.iter_mut().filter(|batch| !batch.withdrawing && batch.prefixes.contains(&prefix)) {
            batch.drop_prefix(&prefix);
            registered_with.push(batch.server);
        }
        self.batches.retain(|batch| !batch.prefixes.is_empty());
        for server in registered_with {
            self.batches.push(Batch { withdrawing: true, ..Batch::new(server, vec![prefix], now) });
        }
    }

    /// A withdrawal ends when it is confirmed or given up. Those of a node that goes away stay, for it to know when it may
    /// go.
    fn drop_ended(&mut self) {
        if !self.withdrawing {
            self.batches.retain(|batch| !batch.withdrawing || batch.due.is_some());
            self.forget_retired();
        }
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
        let server = &self.servers[self.batches[index].server];
        // Who is not answered may have no way from this locator.
        let rlocs = turned(&self.database.rlocs(), self.batches[index].unanswered as usize);
        let mut paths = self.through.paths(server.to, &rlocs);
        if paths.is_empty() {
            self.tally.count(Refusal::NoLocatorOfFamily);
            let batch = &mut self.batches[index];
            batch.due = Some(now + limits::LONGEST_RETRY);
            // It ends like one that nobody answers.
            batch.unanswered = batch.unanswered.saturating_add(u32::from(batch.withdrawing));
            return;
        }
        self.batches[index].begin(now, &mut paths);
        let mut sent = Vec::new();
        for path in paths {
            let (nonce, bound) = self.nonce.next();
            self.outputs.extend(bound.map(Output::PersistNonce));
            let server = &self.servers[self.batches[index].server];
            let Batch { prefixes, withdrawing, .. } = &self.batches[index];
            let message = self.message(prefixes, *withdrawing, server, nonce);
            let sealed = auth::seal(&ControlMessage::from(message), &server.key, server.tag);
            let Some(message) = sealed.ok().and_then(|bytes| path.message(bytes)) else {
                self.tally.count(Refusal::NotEncodable);
                self.batches[index].due = None;
                return;
            };
            self.outputs.push_back(Output::Send(message));
            sent.push((nonce, path.way()));
        }
        self.batches[index].sent(now, sent);
    }

    fn on_notify(
        &mut self,
        now: Instant,
        from: (MapSystem, Option<IpAddr>),
        message: &MapNotify,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        let asked = |batch: &Batch| batch.outstanding.iter().find(|(nonce, _)| *nonce == message.nonce).copied();
        let found = self.batches.iter().enumerate().find_map(|(index, batch)| Some((index, asked(batch)?.1)));
        let Some((index, way)) = found else { return self.on_unsolicited(now, from, message, payload) };
        if let Err((refusal, prefix)) = self.confirms(&self.batches[index], message, payload) {
            self.batches[index].refused = Some(Refused { refusal, prefix, at: now });
            if refusal == Refusal::NotifyIncomplete {
                // It comes from the Map-Server all the same, as its tag proves.
                self.nonce.answer(message.nonce);
            }
            return Err(refusal);
        }
        self.nonce.answer(message.nonce);
        // A way without a locator of ours of the server's family has taken none.
        let taken = self.through.paths(self.servers[self.batches[index].server].to, &self.database.rlocs());
        let batch = &mut self.batches[index];
        let by_all = batch.confirmed_by(way, &taken);
        batch.confirmed(now, by_all);
        self.drop_ended();
        Ok(())
    }

    /// Whether an answer is a Map-Server's, and has what was registered; else why not, and the EID-prefix that it lacks.
    fn confirms(&self, batch: &Batch, message: &MapNotify, payload: &[u8]) -> Result<(), (Refusal, Option<EidPrefix>)> {
        let server = &self.servers[batch.server];
        auth::verify(payload, &server.key, server.accepted()).map_err(|_| (Refusal::NotifyBadTag, None))?;
        let told = |prefix: &EidPrefix| message.records.iter().find(|record| record.eid.ip_prefix() == Some(*prefix));
        let has_taken =
            |prefix: &EidPrefix| told(prefix).is_some_and(|told| self.is_as_said(*prefix, batch.withdrawing, told));
        match batch.prefixes.iter().find(|prefix| !has_taken(prefix)) {
            Some(lacking) => Err((Refusal::NotifyIncomplete, Some(*lacking))),
            None => Ok(()),
        }
    }

    /// Whether what a Map-Server says of an EID-prefix is what was said to it: a Map-Notify is a copy (RFC 9301, section 5.7), which may have
    /// locators of others too where registrations are merged. The tag alone proves no registration: deployed Map-Servers sign whatever
    /// somebody sends them, also what they have refused. Who has them sign our own locators under our nonce is not seen by that.
    fn is_as_said(&self, prefix: EidPrefix, withdrawing: bool, told: &MappingRecord) -> bool {
        let has = |rloc: &Address| told.locators.iter().any(|locator| locator.rloc == *rloc);
        let form = RecordForm { authoritative: false, probed: None };
        let said = self.through.record(&self.database, prefix, form).locators;
        match withdrawing {
            true => told.ttl == Ttl::WITHDRAWN || !said.iter().any(|locator| has(&locator.rloc)),
            false => said.iter().all(|locator| has(&locator.rloc)),
        }
    }
}

impl Registrar {
    /// A Map-Notify that answers none of our Map-Registers is acknowledged until its server has heard so (RFC 9301, section
    /// 5.7). It is taken from the server's own address, under its key, and once: its nonces about an EID-prefix rise, over our restarts too. By the RTR that
    /// relayed it the acknowledgement goes back: the server waits for it from there. It confirms nothing. What it says of
    /// EID-prefixes of ours and their parts is believed, as of their move: whoever else can have the server sign may so take one from here at
    /// that server, until the server or the operator gives it back.
    fn on_unsolicited(
        &mut self,
        now: Instant,
        (from, by): (MapSystem, Option<IpAddr>),
        message: &MapNotify,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        let verifies = |server: &Server| auth::verify(payload, &server.key, server.accepted()).is_ok();
        let by_it = |server: &Server| server.to == from && verifies(server);
        let index = self.servers.iter().position(by_it).ok_or(Refusal::NotifyUnasked)?;
        if self.nonce.has_used(message.nonce) {
            let is_late = self.nonce.answer(message.nonce);
            return Err(if is_late { Refusal::NotifyLate } else { Refusal::NotifyUnasked });
        }
        let last = self.heard.last(from, &message.records);
        if message.nonce < last || message.nonce == Nonce(0) {
            return Err(Refusal::NotifyUnasked);
        }
        let server = &self.servers[index];
        let path = self.through.path_back(server.to, by, &self.database.rlocs()).ok_or(Refusal::NoLocatorOfFamily)?;
        let acknowledgement = ControlMessage::MapNotifyAck(message.clone());
        let bytes = auth::seal(&acknowledgement, &server.key, server.tag).map_err(|_| Refusal::NotEncodable)?;
        let acknowledgement = path.message(bytes).ok_or(Refusal::NotEncodable)?;
        if message.nonce > last {
            let servers = &self.servers;
            let in_use = |known: &MapSystem| servers.iter().any(|server| server.to == *known);
            let kept = self.heard.note((from, message.nonce), &message.records, in_use);
            self.outputs.push_back(Output::PersistHeard(kept));
        }
        self.outputs.push_back(Output::Send(acknowledgement));
        if message.nonce > last {
            message.records.iter().for_each(|record| self.on_changed(now, index, record));
        }
        Ok(())
    }
}

/// Whether a CGEID is told to no server that cannot sign it.
fn may_have(cgeids: Option<EidPrefix>, server: MapSystem, prefix: &EidPrefix) -> bool {
    server == MapSystem::Pipe || !cgeids.is_some_and(|network| network.covers(prefix))
}

impl Batch {
    fn new(server: usize, prefixes: Vec<EidPrefix>, due: Instant) -> Self {
        Self {
            server,
            prefixes,
            outstanding: VecDeque::new(),
            round: None,
            answered: Default::default(),
            unanswered: 0,
            refused: None,
            confirmed: None,
            joined: Vec::new(),
            withdrawing: false,
            due: Some(due),
            is_news: true,
            is_changed: false,
        }
    }

    fn drop_prefix(&mut self, prefix: &EidPrefix) {
        self.prefixes.retain(|other| other != prefix);
        self.joined.retain(|other| other != prefix);
    }

    /// The prefixes that were last confirmed at the same time: those that came after that were not.
    fn by_confirmation(&self) -> [(Vec<EidPrefix>, Option<Instant>); 2] {
        let has_joined = |prefix: &EidPrefix| self.confirmed.is_some() && self.joined.contains(prefix);
        let (joined, others) = self.prefixes.iter().copied().partition(has_joined);
        [(others, self.confirmed), (joined, None)]
    }

    /// Until when its Map-Server has an EID-prefix from us, if it has confirmed nothing since.
    fn has_until(&self, prefix: &EidPrefix) -> Option<Instant> {
        let is_in = !self.withdrawing && self.prefixes.contains(prefix) && !self.joined.contains(prefix);
        self.confirmed.filter(|_| is_in).map(|at| at + limits::FORGOTTEN)
    }

    /// Makes the message due now; what answers an earlier one of other contents no longer counts.
    fn hurry(&mut self, now: Instant) {
        self.outstanding.clear();
        self.round = None;
        (self.unanswered, self.refused) = (0, None);
        self.due = Some(now);
        self.is_news = true;
    }

    /// The same, as it says something else of each of its prefixes.
    fn say_otherwise(&mut self, now: Instant) {
        self.hurry(now);
        self.is_changed = true;
    }

    /// Whether a withdrawal was sent often enough: its server forgets the registration by itself.
    fn is_given_up(&self) -> bool {
        self.withdrawing && self.unanswered >= limits::WITHDRAWALS
    }

    /// Leaves the ways out by which it was confirmed already. After each refresh all are taken again, those that answered last, or not
    /// at all, as the last: a server that insists on rising nonces refuses what comes behind a later one, and hears that again.
    fn begin(&mut self, now: Instant, paths: &mut Vec<Path>) {
        if self.round.is_none_or(|round| round + limits::REFRESH <= now) {
            self.round = Some(now);
            let [answered, before] = &mut self.answered;
            if !answered.is_empty() {
                *before = std::mem::take(answered);
            }
        }
        let [answered, before] = &self.answered;
        let place = |way: Option<Way>| before.iter().position(|other| Some(*other) == way).unwrap_or(usize::MAX);
        paths.sort_by_key(|path| place(path.way()));
        if paths.iter().any(|path| !path.way().is_some_and(|way| answered.contains(&way))) {
            paths.retain(|path| !path.way().is_some_and(|way| answered.contains(&way)));
        }
    }

    fn sent(&mut self, now: Instant, messages: Vec<(Nonce, Option<Way>)>) {
        let doubled = limits::FIRST_RETRY.saturating_mul(1 << self.unanswered.min(6)).min(limits::LONGEST_RETRY);
        // Those that have confirmed it are not to wait for one that does not.
        let refresh = self.round.filter(|_| !self.answered[0].is_empty()).map(|round| round + limits::REFRESH);
        self.due = Some(refresh.map_or(now + doubled, |refresh| refresh.min(now + doubled)));
        self.unanswered = self.unanswered.saturating_add(1);
        let most = limits::OUTSTANDING_NONCES * messages.len();
        self.outstanding.extend(messages);
        let extra = self.outstanding.len().saturating_sub(most);
        self.outstanding.drain(..extra);
    }

    /// Notes by which way it was confirmed; whether that was the last one.
    fn confirmed_by(&mut self, way: Option<Way>, taken: &[Path]) -> bool {
        let Some(way) = way else { return true };
        let answered = &mut self.answered[0];
        if !answered.contains(&way) {
            answered.push(way);
        }
        self.outstanding.retain(|(_, other)| *other != Some(way));
        taken.iter().filter_map(Path::way).all(|way| answered.contains(&way))
    }

    /// What takes a registration back has done so when it is confirmed by one way.
    fn confirmed(&mut self, now: Instant, by_all: bool) {
        (self.unanswered, self.refused) = (0, None);
        self.confirmed = Some(now);
        self.joined.clear();
        (self.is_news, self.is_changed) = (false, false);
        if by_all || self.withdrawing {
            self.outstanding.clear();
            self.round = None;
            self.due = (!self.withdrawing).then(|| now + limits::REFRESH);
        }
    }
}
