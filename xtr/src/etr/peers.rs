// SPDX-License-Identifier: GPL-2.0-or-later
//! What LISP headers of trusted peers say, and what control is told of it. Most say what the one before said: a memo knows those.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use wire::address::{EidPrefix, InstanceId, Keys};
use wire::data::{IpPacket, LispHeader};
use wire::record::MapVersion;

use super::engine::Decapsulated;
use super::nonces::Nonces;
use super::versions::{Source, Versions};
use crate::counters::{Count, Counters, DropReason};
use crate::limits;
use crate::map_cache::{Event, PrefixTable, Update};
use crate::trust::Trust;

/// A packet of a trusted peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) rloc: IpAddr,
    pub(super) iid: InstanceId,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) lisp: LispHeader,
}

impl Said {
    pub(super) fn new(rloc: IpAddr, packet: &Decapsulated<'_>) -> Option<Self> {
        let destination = IpPacket::parse(packet.inner).ok()?.destination();
        Some(Self { rloc, iid: packet.iid, source: packet.source, destination, lisp: packet.lisp })
    }

    /// How many status bits there are (RFC 9300, section 5.3).
    fn width(&self) -> u8 {
        if self.lisp.iid.is_some() { 8 } else { 32 }
    }
}

/// A mapping of a trusted peer.
#[derive(Debug)]
struct Mapping {
    version: MapVersion,
    /// Its locators.
    rlocs: Arc<[IpAddr]>,
    expires: Instant,
    /// When control was last told that it is old.
    told_newer: Option<Instant>,
    /// The status bits that control was last told, how many, and when.
    told_bits: Option<(u32, u8, Instant)>,
}

/// A packet that said nothing new of its sender: those that say the same do not either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memo {
    iid: InstanceId,
    source: IpAddr,
    rloc: IpAddr,
    version: Option<MapVersion>,
    bits: Option<(u32, u8)>,
    generation: u32,
}

/// What is known of trusted peers.
#[derive(Debug)]
pub(super) struct Peers {
    trust: Trust,
    counters: Arc<Counters>,
    nonces: Nonces,
    versions: Versions,
    mappings: PrefixTable<Mapping>,
    /// When each of them expires.
    expiries: BTreeSet<(Instant, EidPrefix)>,
    keys: [Keys; 2],
    memos: Vec<Option<(Memo, Instant)>>,
    /// Of the memos; those of an earlier one are worth nothing.
    generation: u32,
    events: VecDeque<Event>,
    now: Option<Instant>,
}

impl Peers {
    pub(super) fn new(trust: Trust, counters: Arc<Counters>) -> Self {
        let places = if trust.is_on() { limits::PEER_MEMOS } else { 0 };
        Self {
            trust,
            nonces: Nonces::new(counters.clone()),
            versions: Versions::new(counters.clone()),
            counters,
            mappings: PrefixTable::default(),
            expiries: BTreeSet::new(),
            keys: [Keys::default(), Keys::default()],
            memos: vec![None; places],
            generation: 0,
            events: VecDeque::new(),
            now: None,
        }
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Tells the time. Until it has been told nobody is believed.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = Some(now);
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Control had no room.
    pub(super) fn event_lost(&mut self, event: Event) {
        self.events.push_front(event);
    }

    pub(super) fn set_local_eids(&mut self, prefixes: &[EidPrefix]) {
        if self.trust.is_on() {
            self.versions.set_local_eids(prefixes);
        }
    }

    pub(super) fn update(&mut self, update: &Update) {
        match update {
            Update::Own(own) => self.versions.set_own(*own),
            Update::Peer { prefix, version, rlocs, expires } => self.learn(*prefix, *version, rlocs, *expires),
            Update::EchoRequest { rloc, nonce, .. } => self.nonces.expect(*rloc, *nonce),
            _ => {}
        }
    }

    /// Status bits that were told of the same version stay told; without versions nobody can tell whether it is the same mapping.
    fn learn(&mut self, prefix: EidPrefix, version: MapVersion, rlocs: &Arc<[IpAddr]>, expires: Instant) {
        let Some(now) = self.now else { return };
        self.generation = self.generation.wrapping_add(1);
        let former = self.mappings.remove(&prefix);
        if let Some(former) = &former {
            self.expiries.remove(&(former.expires, prefix));
        }
        while let Some((_, expired)) = self.expiries.first().copied().filter(|(at, _)| *at <= now) {
            self.expiries.pop_first();
            self.mappings.remove(&expired);
        }
        if expires <= now || self.mappings.len() >= limits::PEER_MAPPINGS {
            return;
        }
        let same = former.filter(|former| version != MapVersion(0) && former.version == version);
        let told_bits = same.and_then(|former| former.told_bits);
        let rlocs = rlocs.clone();
        self.mappings.insert(prefix, Mapping { version, rlocs, expires, told_newer: None, told_bits });
        self.expiries.insert((expires, prefix));
    }

    /// Whether the versions of a packet let it go on (RFC 9302, section 7).
    pub(super) fn check(&mut self, said: &Said) -> Result<(), DropReason> {
        let (Some(now), Some(versions)) = (self.now, said.lisp.versions) else { return Ok(()) };
        let result = self.check_versions(now, said, versions.destination, versions.source);
        if let Err(reason) = result {
            self.versions.log(now, said, reason);
        }
        result
    }

    fn check_versions(
        &mut self,
        now: Instant,
        said: &Said,
        destination: MapVersion,
        source: MapVersion,
    ) -> Result<(), DropReason> {
        self.versions.check_destination(now, said, destination, &mut self.events)?;
        // The null version says nothing of the source (RFC 9302, section 6.1).
        if source == MapVersion(0) || self.is_known(now, said) {
            return Ok(());
        }
        // Nor does any while no mapping of the source is cached (RFC 9302, section 7.2).
        let Some((prefix, mapping)) = mapping_of(&mut self.mappings, now, said) else { return Ok(()) };
        match Source::of(source, mapping.version) {
            Source::Same => Ok(()),
            Source::Older => Err(DropReason::CoreSourceVersion),
            Source::Newer => {
                self.counters.add(Count::SourceVersionNewer, 1);
                let is_due =
                    mapping.told_newer.is_none_or(|at| now.saturating_duration_since(at) >= limits::VERSION_INTERVAL);
                if is_due && self.events.len() < limits::PEER_EVENTS {
                    mapping.told_newer = Some(now);
                    self.events.push_back(Event::VersionNewer { prefix });
                }
                Ok(())
            }
        }
    }

    /// Takes what a packet says that enters the site.
    pub(super) fn take(&mut self, said: &Said) {
        let Some(now) = self.now else { return };
        if let Some(nonce) = said.lisp.nonce {
            match self.trust.echo_nonce() {
                true => self.nonces.take(now, (said.rloc, nonce, said.lisp.echo), &mut self.events),
                false => self.counters.add(Count::FlagsIgnored, 1),
            }
        }
        if said.lisp.status_bits.is_some() && !self.trust.status_bits() {
            self.counters.add(Count::FlagsIgnored, 1);
        }
        if !self.is_known(now, said)
            && let Some(until) = self.take_status_bits(now, said)
        {
            let (memo, place) = (self.memo(said), self.place(said));
            self.memos[place] = Some((memo, until));
        }
    }

    /// Until when there is nothing (any more) to tell of the source, unless its mapping changes.
    fn take_status_bits(&mut self, now: Instant, said: &Said) -> Option<Instant> {
        let Some((prefix, mapping)) = mapping_of(&mut self.mappings, now, said) else {
            return Some(now + limits::PEER_MEMO_TIME);
        };
        let (until, source) = (mapping.expires, said.lisp.versions.map_or(MapVersion(0), |versions| versions.source));
        let Some(bits) = said.lisp.status_bits.filter(|_| self.trust.status_bits()) else {
            return (source == MapVersion(0) || source == mapping.version).then_some(until);
        };
        // Bits that do not go with the version count locators of another set (RFC 9300, section 10).
        if source != mapping.version {
            self.counters.add(Count::StatusBitsUncoupled, 1);
            return None;
        }
        // Another peer says nothing of this site.
        if !mapping.rlocs.contains(&said.rloc) {
            self.counters.add(Count::StatusBitsForeign, 1);
            return None;
        }
        let width = said.width();
        let told = mapping.told_bits;
        if told.is_some_and(|(told, of, _)| (told, of) == (bits, width)) {
            return Some(until);
        }
        let is_due = told.is_none_or(|(.., at)| now.saturating_duration_since(at) >= limits::STATUS_BITS_INTERVAL);
        if !is_due || self.events.len() >= limits::PEER_EVENTS {
            return None;
        }
        mapping.told_bits = Some((bits, width, now));
        // A memo of other bits would keep these from being told again when they come back.
        self.generation = self.generation.wrapping_add(1);
        let (rloc, version) = (said.rloc, mapping.version);
        self.events.push_back(Event::StatusBits { prefix, rloc, version, bits, width });
        Some(until)
    }

    fn is_known(&self, now: Instant, said: &Said) -> bool {
        match self.memos.get(self.place(said)) {
            Some(Some((memo, until))) => now < *until && *memo == self.memo(said),
            _ => false,
        }
    }

    fn memo(&self, said: &Said) -> Memo {
        Memo {
            iid: said.iid,
            source: said.source,
            rloc: said.rloc,
            version: said.lisp.versions.map(|versions| versions.source),
            bits: said.lisp.status_bits.map(|bits| (bits, said.width())),
            generation: self.generation,
        }
    }

    #[inline]
    fn place(&self, said: &Said) -> usize {
        let hash = self.keys[0].hash(said.iid, said.source) ^ self.keys[1].hash(InstanceId(0), said.rloc);
        usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() % limits::PEER_MEMOS
    }
}

/// The cached mapping of the inner source.
fn mapping_of<'m>(
    mappings: &'m mut PrefixTable<Mapping>,
    now: Instant,
    said: &Said,
) -> Option<(EidPrefix, &'m mut Mapping)> {
    let (length, _) = mappings.longest_match(said.iid, said.source, |mapping| mapping.expires > now)?;
    let prefix = EidPrefix::new(said.iid, said.source, length)?;
    Some((prefix, mappings.get_mut(&prefix)?))
}
