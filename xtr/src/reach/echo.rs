// SPDX-License-Identifier: GPL-2.0-or-later
//! The echo-nonce algorithm (RFC 9300, section 10.1): whether packets get to a locator of a trusted peer, found out by the packets
//! themselves.
//!
//! Probes go to another port, and a locator is silent only if nothing comes from it. An echo shows what neither does: that our
//! packets do not get there while those of the peer get here.
//!
//! From time to time, while a mapping has the locator, its packets ask for the echo of a nonce of its own. Whether the peer could have
//! answered the packet half knows: it says so when asking ends. If it could and did not, the locator is out of use until a probe says
//! otherwise, or a later echo.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::address::EidPrefix;

use super::{Counts, limits};
use crate::limits as both;
use crate::map_cache::Update;
use crate::trust::Trust;

/// Nonces of the data plane have 24 bits (RFC 9300, section 5.3).
const NONCE_BITS: u32 = 24;

/// What is found out about a locator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Packets do not get there.
    Unreachable(IpAddr),
    /// They do.
    Reachable(IpAddr),
}

/// How echoes stand with a locator, for `show locators`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EchoState {
    /// Its site has not said that it echoes nonces: none is asked for.
    Incapable,
    /// The last one came, or none was asked for yet.
    Idle,
    /// It is asked for one.
    Requesting,
    /// It asks us, and is asked again later.
    Suspended,
    /// None came, though packets did.
    Unanswered,
}

/// Asks for echoes, and has those that are asked for sent.
#[derive(Debug)]
pub struct Echo {
    trust: Trust,
    random: StdRng,
    peers: BTreeMap<IpAddr, Peer>,
    schedule: BTreeSet<(Instant, IpAddr)>,
    counts: Counts,
    outputs: VecDeque<Update>,
    verdicts: VecDeque<Verdict>,
}

/// A locator of a trusted peer.
#[derive(Debug)]
struct Peer {
    /// What the E-bit of its last answer to a probe said (RFC 9301, section 5.4); before the first one, that it does not.
    is_capable: bool,
    stage: Stage,
    /// Whether the last request was not answered.
    is_unanswered: bool,
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    /// Packets ask for this nonce; once at most they have not for a while, because the peer asked too.
    Requesting {
        nonce: u32,
        was_suspended: bool,
    },
    Suspended {
        nonce: u32,
    },
    /// The packet half has been told to ask no more, and has not said what came of it.
    Ending,
}

impl Peer {
    fn nonce(&self) -> Option<u32> {
        match self.stage {
            Stage::Requesting { nonce, .. } | Stage::Suspended { nonce } => Some(nonce),
            Stage::Idle | Stage::Ending => None,
        }
    }
}

impl Echo {
    /// Nonces are drawn from `seed`, which has to come from the system's entropy.
    pub fn new(trust: Trust, seed: [u8; 32]) -> Self {
        Self {
            trust,
            random: StdRng::from_seed(seed),
            peers: BTreeMap::new(),
            schedule: BTreeSet::new(),
            counts: Counts::default(),
            outputs: VecDeque::new(),
            verdicts: VecDeque::new(),
        }
    }

    /// A mapping with this locator is in use.
    pub fn watch(&mut self, now: Instant, rloc: IpAddr) {
        let is_peer = self.trust.echo_nonce() && self.trust.is_trusted(rloc);
        if is_peer && self.peers.len() < both::PEERS && !self.peers.contains_key(&rloc) {
            let stage = Stage::Idle;
            self.peers.insert(rloc, Peer { is_capable: false, stage, is_unanswered: false, due: None });
            self.rest(rloc, Some(now + limits::ECHO_AFTER_VERDICT));
        }
    }

    /// The answer to a probe of this locator says whether its site echoes nonces (RFC 9301, section 5.4, E). No other Map-Reply does:
    /// it may be anybody's who has this locator in his mapping.
    pub fn set_capable(&mut self, now: Instant, rloc: IpAddr, is_capable: bool) {
        let Some(peer) = self.peers.get_mut(&rloc).filter(|peer| peer.is_capable != is_capable) else { return };
        peer.is_capable = is_capable;
        if is_capable {
            let due = now + self.between(Duration::ZERO, limits::FIRST);
            return self.rest(rloc, Some(due));
        }
        peer.is_unanswered = false;
        if peer.nonce().is_some() {
            self.outputs.push_back(request(rloc, None, false));
        }
        self.rest(rloc, Some(now + limits::ECHO_AFTER_VERDICT));
    }

    /// The peer asks for an echo. If we ask too, we let it have its turn first: once, or neither would ever find out.
    pub fn asked(&mut self, now: Instant, rloc: IpAddr, nonce: u32) {
        if !self.trust.echo_nonce() || !self.trust.is_trusted(rloc) {
            return;
        }
        self.counts.echoes_sent += 1;
        self.outputs.push_back(Update::EchoAnswer { rloc, nonce });
        let stage = self.peers.get(&rloc).map(|peer| peer.stage);
        if let Some(Stage::Requesting { nonce, was_suspended: false }) = stage {
            self.outputs.push_back(request(rloc, Some(nonce), true));
            self.enter(rloc, Stage::Suspended { nonce }, Some(now + limits::ECHO_SUSPENSION));
        }
    }

    /// The peer has echoed a nonce.
    pub fn echoed(&mut self, now: Instant, rloc: IpAddr, nonce: u32) {
        let Some(peer) = self.peers.get_mut(&rloc).filter(|peer| peer.nonce() == Some(nonce)) else { return };
        if std::mem::take(&mut peer.is_unanswered) {
            self.verdicts.push_back(Verdict::Reachable(rloc));
        }
        self.counts.echoes_received += 1;
        self.outputs.push_back(request(rloc, None, false));
        let later = now + self.interval();
        self.rest(rloc, Some(later));
    }

    /// Packets ask no more; whether it is proven that they do not get there.
    pub fn ended(&mut self, now: Instant, rloc: IpAddr, is_proven: bool) {
        let Some(peer) = self.peers.get_mut(&rloc).filter(|peer| peer.stage == Stage::Ending) else { return };
        let mut wait = limits::ECHO_AFTER_VERDICT;
        if is_proven {
            peer.is_unanswered = true;
            self.counts.echoes_missed += 1;
            self.verdicts.push_back(Verdict::Unreachable(rloc));
        } else {
            wait = self.interval();
        }
        self.rest(rloc, Some(now + wait));
    }

    /// Does what is due. `user` says whether some mapping has a locator, as for probes.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        mut user: impl FnMut(IpAddr, Option<EidPrefix>) -> Option<EidPrefix>,
    ) {
        while let Some((due, rloc)) = self.schedule.first().copied()
            && due <= now
        {
            self.schedule.pop_first();
            let Some(peer) = self.peers.get_mut(&rloc) else { continue };
            peer.due = None;
            let (stage, is_capable) = (peer.stage, peer.is_capable);
            if user(rloc, None).is_none() {
                self.peers.remove(&rloc);
                self.outputs.push_back(request(rloc, None, false));
                continue;
            }
            match stage {
                Stage::Idle if is_capable => self.request(now, rloc),
                // It may be one day, and is forgotten when it is used no more.
                Stage::Idle => self.rest(rloc, Some(now + limits::ECHO_AFTER_VERDICT)),
                Stage::Suspended { nonce } => {
                    self.outputs.push_back(request(rloc, Some(nonce), false));
                    let stage = Stage::Requesting { nonce, was_suspended: true };
                    self.enter(rloc, stage, Some(now + limits::ECHO_WAIT));
                }
                Stage::Requesting { .. } => {
                    self.outputs.push_back(request(rloc, None, false));
                    self.enter(rloc, Stage::Ending, Some(now + limits::ECHO_WAIT));
                }
                // The packet half had no room to say it.
                Stage::Ending => self.ended(now, rloc, false),
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.schedule.first().map(|(due, _)| *due)
    }

    /// The next thing to tell the packet half, until there is none.
    pub fn poll(&mut self) -> Option<Update> {
        self.outputs.pop_front()
    }

    /// The next thing that was found out, until there is none.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    /// How echoes stand with a locator; none if it is not that of a trusted peer, or echoes are not used.
    pub fn state(&self, rloc: IpAddr) -> Option<EchoState> {
        let peer = self.peers.get(&rloc)?;
        Some(match peer.stage {
            _ if !peer.is_capable => EchoState::Incapable,
            Stage::Idle | Stage::Ending if peer.is_unanswered => EchoState::Unanswered,
            Stage::Idle => EchoState::Idle,
            Stage::Suspended { .. } => EchoState::Suspended,
            Stage::Requesting { .. } | Stage::Ending => EchoState::Requesting,
        })
    }

    /// What was done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A nonce that no other locator has: each is asked for its own (RFC 9300, section 5.3).
    fn request(&mut self, now: Instant, rloc: IpAddr) {
        let nonce = loop {
            let nonce = self.random.next_u32() >> (u32::BITS - NONCE_BITS);
            // A few thousand of sixteen million are in use.
            if self.peers.values().all(|peer| peer.nonce() != Some(nonce)) {
                break nonce;
            }
        };
        self.counts.echoes_requested += 1;
        self.outputs.push_back(request(rloc, Some(nonce), false));
        self.enter(rloc, Stage::Requesting { nonce, was_suspended: false }, Some(now + limits::ECHO_WAIT));
    }

    fn rest(&mut self, rloc: IpAddr, due: Option<Instant>) {
        self.enter(rloc, Stage::Idle, due);
    }

    fn enter(&mut self, rloc: IpAddr, stage: Stage, due: Option<Instant>) {
        let Some(peer) = self.peers.get_mut(&rloc) else { return };
        if let Some(former) = std::mem::replace(&mut peer.due, due) {
            self.schedule.remove(&(former, rloc));
        }
        self.schedule.extend(due.map(|due| (due, rloc)));
        peer.stage = stage;
    }

    fn interval(&mut self) -> Duration {
        let (least, greatest) = limits::ECHO_INTERVAL;
        self.between(least, greatest)
    }

    fn between(&mut self, least: Duration, greatest: Duration) -> Duration {
        let range = u64::try_from((greatest - least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.random.next_u64() % range.saturating_add(1))
    }
}

fn request(rloc: IpAddr, nonce: Option<u32>, suspended: bool) -> Update {
    Update::EchoRequest { rloc, nonce, suspended }
}
