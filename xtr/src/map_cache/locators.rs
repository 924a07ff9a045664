// SPDX-License-Identifier: GPL-2.0-or-later
//! What is known of each RLOC, once, however many mappings have it: reachability (RFC 9300, section 6.3), the MTU of the way
//! there (section 7.2), whether it takes GPE, in which mode of ECN packets go there, and what was sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use wire::address::{InstanceId, Keys};
use wire::data::{MINIMUM_MTU, overhead};

use super::clock::Tick;
use super::past::{Past, Sent};
use super::peers::{PeerIndex, Peers};
use super::shards::Shards;
use super::slab::Slab;
use super::{Binding, Families, FromPort};
use crate::counters::LocatorCount;
use crate::ecn::EcnCompatibility;
use crate::heard::Heard;
use crate::limits;
use crate::trust::Trust;

/// Which locator of the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LocatorIndex(pub(super) u32);

/// What came of a report of a path MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Learned {
    /// This lower MTU is believed from now on, in octets.
    Changed(u16),
    /// It is no news.
    Known,
    /// No mapping has this RLOC.
    Stranger,
}

/// What LISP header packets to an RLOC have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The instance, and nothing else.
    Plain,
    /// LISP-GPE (RFC 9305).
    Gpe,
    /// Nonces, locator-status-bits and map-versions: it belongs to a trusted peer.
    Peer(PeerIndex),
}

/// One RLOC, in no more than a cache line.
#[derive(Debug)]
pub(crate) struct RlocState {
    address: IpAddr,
    reachable: bool,
    /// Packets there have an outer ECN field of 00.
    ecn_compatible: bool,
    /// From which locator of ours packets go there, by the numbers of the ITR; 0 = from the preferred one.
    from: u8,
    special: Option<Box<Special>>,
    /// Locator-sets that it is in, and mappings that it is alone in.
    references: u32,
    /// A path MTU that was learned, and until when it holds.
    mtu: u16,
    mtu_until: Tick,
    /// When the first packet went there after which nothing has come back; `NONE` if there is none.
    waits_since: Tick,
    /// When the last packet went there.
    last_sent: Tick,
    sent: Sent,
}

/// What few have. To all others packets go to the data port, from a port of their flow, with no more than the instance in their LISP
/// header.
#[derive(Debug)]
enum Special {
    /// It takes LISP-GPE.
    Gpe,
    /// It belongs to a trusted peer.
    Peer(PeerIndex),
    /// There is a NAT on the way, which this UDP port belongs to.
    Nat(u16, Through),
}

/// All RLOCs of the map-cache.
#[derive(Debug)]
pub(crate) struct Locators {
    states: Slab<RlocState>,
    by_address: Shards<LocatorIndex>,
    keys: Keys,
    /// Where no other path MTU is known, octets.
    usual_mtu: usize,
    interfaces: InterfaceMtus,
    gpe_peers: Vec<IpAddr>,
    ecn: EcnCompatibility,
    peers: Peers,
    families: Families,
    /// Rises when some locator can or cannot be used any more: then shares are weighed anew.
    epoch: u32,
    /// Who waits for something to come back, and since when.
    waiting: BTreeSet<(Tick, LocatorIndex)>,
    /// Locators in no set that are known not to be reachable.
    lingering: VecDeque<LocatorIndex>,
    /// Those that packets go to from another locator of ours than the preferred one.
    from_others: BTreeSet<LocatorIndex>,
    /// Ways through NATs, by the address of the NAT.
    through_nats: BTreeMap<IpAddr, BTreeSet<LocatorIndex>>,
    /// Of addresses that there is no state of.
    past: Past,
}

/// What the interfaces take that packets leave by, in octets: [`u16::MAX`] where they do not say.
#[derive(Debug)]
pub(crate) struct InterfaceMtus {
    /// Of the preferred locator of each family.
    pub(crate) v4: u16,
    pub(crate) v6: u16,
    /// Of the others, by the numbers of the ITR, which begin at 1.
    pub(crate) others: Vec<u16>,
    /// Of all, for the ways through NATs.
    pub(crate) all: BTreeMap<IpAddr, u16>,
}

impl Default for InterfaceMtus {
    fn default() -> Self {
        Self { v4: u16::MAX, v6: u16::MAX, others: Vec::new(), all: BTreeMap::new() }
    }
}

impl InterfaceMtus {
    #[inline]
    fn of(&self, state: &RlocState) -> u16 {
        let preferred = if state.address.is_ipv4() { self.v4 } else { self.v6 };
        if (state.from == 0) & state.special.is_none() { preferred } else { self.of_other(state).unwrap_or(preferred) }
    }

    #[cold]
    fn of_other(&self, state: &RlocState) -> Option<u16> {
        match state.through() {
            Some(through) => self.all.get(&through.source).copied(),
            None => self.others.get(usize::from(state.from).checked_sub(1)?).copied(),
        }
    }
}

/// What tells locators apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    address: IpAddr,
    port: u16,
    through: Option<Through>,
}

/// Where packets leave from through a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Through {
    /// The port.
    pub(crate) port: FromPort,
    /// The locator of ours.
    pub(crate) source: IpAddr,
}

impl Place {
    /// Of an ordinary locator.
    fn of(address: IpAddr) -> Self {
        Self { address, port: wire::DATA_PORT, through: None }
    }

    fn through(binding: Binding) -> Self {
        let Binding { address, port, from, source } = binding;
        Self { address, port, through: Some(Through { port: from, source }) }
    }

    /// The port stands in the place of the instance.
    fn hash(&self, keys: &Keys) -> u64 {
        keys.hash(InstanceId(self.port.into()), self.address)
    }
}

impl RlocState {
    fn place(&self) -> Place {
        Place { address: self.address, port: self.port(), through: self.through() }
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether packets there have no more than the instance in their LISP header, the ECN field of the inner one in the outer, and leave
    /// from a port of their flow and from our preferred locator.
    #[inline]
    pub(crate) fn is_ordinary(&self) -> bool {
        // One branch, not three.
        self.special.is_none() & (self.from == 0) & !self.ecn_compatible
    }

    /// Whether packets go there in the compatibility mode of ECN (RFC 6040, section 4.3).
    pub(crate) fn is_ecn_compatible(&self) -> bool {
        self.ecn_compatible
    }

    pub(crate) fn form(&self) -> Form {
        match self.special.as_deref() {
            Some(Special::Gpe) => Form::Gpe,
            Some(Special::Peer(peer)) => Form::Peer(*peer),
            Some(Special::Nat(..)) | None => Form::Plain,
        }
    }

    pub(crate) fn from(&self) -> u8 {
        self.from
    }

    /// The UDP port there.
    pub(crate) fn port(&self) -> u16 {
        if let Some(Special::Nat(port, _)) = self.special.as_deref() { *port } else { wire::DATA_PORT }
    }

    /// Where all packets leave from, if there is a NAT on the way.
    pub(crate) fn through(&self) -> Option<Through> {
        if let Some(Special::Nat(_, through)) = self.special.as_deref() { Some(*through) } else { None }
    }
}

impl Locators {
    pub(super) fn new(usual_mtu: usize, gpe_peers: Vec<IpAddr>) -> Self {
        Self {
            states: Slab::default(),
            by_address: Shards::default(),
            keys: Keys::default(),
            usual_mtu,
            interfaces: InterfaceMtus::default(),
            gpe_peers,
            ecn: EcnCompatibility::default(),
            peers: Peers::default(),
            families: Families::default(),
            epoch: 0,
            waiting: BTreeSet::new(),
            lingering: VecDeque::new(),
            from_others: BTreeSet::new(),
            through_nats: BTreeMap::new(),
            past: Past::default(),
        }
    }

    /// What is known of trusted peers is for these; before there is any locator.
    pub(crate) fn trust(&mut self, trust: Trust) {
        self.peers = Peers::new(trust);
    }

    /// Where packets go in which mode of ECN; before there is any locator.
    pub(crate) fn set_ecn(&mut self, ecn: EcnCompatibility) {
        self.ecn = ecn;
    }

    /// The nonce of the next packet to a trusted peer, which leaves from this locator of ours, and whether it is to be echoed.
    #[inline]
    pub(crate) fn next_nonce(&mut self, now: Tick, peer: PeerIndex, from: IpAddr) -> Option<(u32, bool)> {
        self.peers.get_mut(peer).next(now, from)
    }

    /// The next packet to this RLOC answers with this nonce, if it is in some mapping and trusted.
    pub(crate) fn answer_nonce(&mut self, rloc: IpAddr, nonce: u32) {
        if let Some(peer) = self.peer(rloc) {
            self.peers.get_mut(peer).answers(nonce);
        }
    }

    /// Packets to this RLOC ask for this nonce from now on, or for none.
    pub(crate) fn ask_nonce(&mut self, rloc: IpAddr, nonce: Option<u32>) {
        if let Some(peer) = self.peer(rloc) {
            self.peers.get_mut(peer).asks(nonce);
        }
    }

    /// They ask no longer; whether it is proven that none gets there.
    pub(crate) fn end_nonce(&mut self, rloc: IpAddr, heard: &Heard) -> bool {
        self.peer(rloc).is_some_and(|peer| self.peers.get_mut(peer).ends(rloc, heard))
    }

    fn peer(&self, rloc: IpAddr) -> Option<PeerIndex> {
        match self.get(self.find(rloc)?).form() {
            Form::Peer(peer) => Some(peer),
            Form::Plain | Form::Gpe => None,
        }
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(super) fn set_families(&mut self, families: Families) {
        self.families = families;
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Whether we have an RLOC of its family.
    #[inline]
    pub(super) fn is_of_our_family(&self, index: LocatorIndex) -> bool {
        self.families.has(self.get(index).address)
    }

    /// Whether packets may be sent there.
    pub(super) fn is_usable(&self, index: LocatorIndex) -> bool {
        self.get(index).reachable && self.is_of_our_family(index)
    }

    #[inline]
    pub(crate) fn get(&self, index: LocatorIndex) -> &RlocState {
        &self.states[index.0]
    }

    /// The locator of one more set, or mapping; `None` if the table is full.
    pub(super) fn acquire(&mut self, address: IpAddr) -> Option<LocatorIndex> {
        self.acquire_at(Place::of(address))
    }

    /// The same of a way through a NAT. Many xTRs may be behind one address, so each is a locator of its own.
    pub(super) fn acquire_binding(&mut self, binding: Binding) -> Option<LocatorIndex> {
        self.acquire_at(Place::through(binding))
    }

    fn acquire_at(&mut self, place: Place) -> Option<LocatorIndex> {
        let index = match self.find_at(place) {
            Some(index) => index,
            None => self.add(place)?,
        };
        self.hold(index);
        Some(index)
    }

    /// The same of a locator that is there.
    pub(super) fn hold(&mut self, index: LocatorIndex) {
        let state = &mut self.states[index.0];
        state.references += 1;
        if state.references == 1 && !state.reachable {
            self.lingering.retain(|other| *other != index);
        }
    }

    /// A set, or a mapping, has this locator no longer. One that cannot be reached is remembered without any: it may come back with the next
    /// mapping, and a packet a mapping would be lost to it.
    pub(super) fn release(&mut self, index: LocatorIndex) {
        let state = &mut self.states[index.0];
        state.references -= 1;
        match (state.references, state.reachable) {
            (0, true) => self.forget(index),
            (0, false) => self.linger(index),
            _ => {}
        }
    }

    /// Takes what probing has found (RFC 9301, section 7.1).
    pub(super) fn set_reachable(&mut self, address: IpAddr, reachable: bool) {
        let found = self.find(address);
        let add = |locators: &mut Self| if reachable { None } else { locators.add(Place::of(address)) };
        let Some(index) = found.or_else(|| add(self)) else { return };
        let state = &mut self.states[index.0];
        let (changed, referenced) = (state.reachable != reachable, state.references > 0);
        state.reachable = reachable;
        match (changed, referenced, reachable) {
            (true, true, _) => self.epoch = self.epoch.wrapping_add(1),
            (true, false, true) => {
                self.lingering.retain(|other| *other != index);
                self.forget(index);
            }
            (true, false, false) => self.linger(index),
            (false, ..) => {}
        }
    }

    /// From now on packets go there from the locator of ours with this number.
    pub(crate) fn set_from(&mut self, address: IpAddr, from: u8) {
        let Some(index) = self.find(address) else { return };
        self.states[index.0].from = from;
        if from == 0 {
            self.from_others.remove(&index);
        } else {
            self.from_others.insert(index);
        }
    }

    /// From now on packets go from the preferred one where they went from those of ours with these numbers.
    pub(crate) fn leave(&mut self, gone: &[u8]) {
        let states = &mut self.states;
        self.from_others.retain(|index| {
            let from = &mut states[index.0].from;
            let stays = !gone.contains(from);
            *from = if stays { *from } else { 0 };
            stays
        });
    }

    /// The longest inner packet that fits on the way there: S of RFC 9300, section 7.1.
    #[inline]
    pub(crate) fn room(&self, now: Tick, index: LocatorIndex) -> usize {
        let state = self.get(index);
        self.mtu(now, state).saturating_sub(overhead(state.address))
    }

    /// What was found, or what is usual; never more than the interface takes that packets leave by.
    #[inline]
    fn mtu(&self, now: Tick, state: &RlocState) -> usize {
        let known = if state.mtu_until > now { state.mtu.into() } else { self.usual_mtu };
        known.min(self.interfaces.of(state).into())
    }

    /// Whether an inner packet of so many octets leaves at all, whatever the way behind the interface takes.
    pub(crate) fn leaves(&self, index: LocatorIndex, inner: usize) -> bool {
        let state = self.get(index);
        inner + overhead(state.address) <= usize::from(self.interfaces.of(state))
    }

    /// What the interfaces take that packets leave by.
    pub(crate) fn set_interface_mtus(&mut self, interfaces: InterfaceMtus) {
        self.interfaces = interfaces;
    }

    /// Whether some mapping has it.
    pub(super) fn is_in_use(&self, address: IpAddr) -> bool {
        self.is_place_in_use(Place::of(address))
    }

    /// The same of a way through a NAT.
    pub(super) fn is_binding_in_use(&self, binding: Binding) -> bool {
        self.is_place_in_use(Place::through(binding))
    }

    fn is_place_in_use(&self, place: Place) -> bool {
        self.find_at(place).is_some_and(|index| self.get(index).references > 0)
    }

    /// Believes a lower MTU for a while, but none below what the family guarantees.
    pub(super) fn learn(&mut self, now: Tick, address: IpAddr, mtu: usize) -> Learned {
        self.learn_at(now, Place::of(address), mtu)
    }

    /// The same of a way through a NAT.
    pub(super) fn learn_binding(&mut self, now: Tick, binding: Binding, mtu: usize) -> Learned {
        self.learn_at(now, Place::through(binding), mtu)
    }

    /// Takes what probing has found of the way to an RLOC (RFC 8899); none = nothing. Whether that is another path MTU than before.
    pub(super) fn set_path_mtu(&mut self, now: Tick, address: IpAddr, mtu: Option<u16>) -> bool {
        let Some(index) = self.find(address) else { return false };
        let before = self.mtu(now, self.get(index));
        let state = &mut self.states[index.0];
        (state.mtu, state.mtu_until) = match mtu {
            Some(mtu) => (mtu.max(smallest_path_mtu(address)), now.plus(limits::PATH_MTU_TIME)),
            None => (0, Tick::NONE),
        };
        self.mtu(now, self.get(index)) != before
    }

    fn learn_at(&mut self, now: Tick, place: Place, mtu: usize) -> Learned {
        let referenced = self.find_at(place).filter(|index| self.get(*index).references > 0);
        let Some(index) = referenced else { return Learned::Stranger };
        let believed = u16::try_from(mtu).unwrap_or(u16::MAX).max(smallest_path_mtu(place.address));
        if usize::from(believed) >= self.mtu(now, self.get(index)) {
            return Learned::Known;
        }
        let state = &mut self.states[index.0];
        (state.mtu, state.mtu_until) = (believed, now.plus(limits::PATH_MTU_TIME));
        Learned::Changed(believed)
    }

    /// Counts packets that go there.
    #[inline]
    pub(crate) fn sent(&mut self, now: Tick, index: LocatorIndex, packets: usize, octets: usize) {
        let state = &mut self.states[index.0];
        state.sent.packets += packets as u64;
        state.sent.octets += octets as u64;
        state.last_sent = now;
        if state.waits_since == Tick::NONE {
            state.waits_since = now;
            self.waiting.insert((now, index));
        }
    }

    /// Takes packets back that were counted a moment ago, and have not left.
    pub(crate) fn not_sent(&mut self, address: IpAddr, packets: usize, octets: usize) {
        self.not_sent_to(Place::of(address), packets, octets);
    }

    /// The same of a way through a NAT.
    pub(crate) fn not_sent_through(&mut self, binding: Binding, packets: usize, octets: usize) {
        self.not_sent_to(Place::through(binding), packets, octets);
    }

    fn not_sent_to(&mut self, place: Place, packets: usize, octets: usize) {
        let Some(index) = self.find_at(place) else { return };
        let state = &mut self.states[index.0];
        state.sent.packets = state.sent.packets.saturating_sub(packets as u64);
        state.sent.octets = state.sent.octets.saturating_sub(octets as u64);
    }

    /// The next locator from which nothing has come back in all the time that [`limits::SILENT_AFTER`] is, since it was last heard or
    /// since packets began to go there. It is said again when packets have gone there for as long again.
    pub(crate) fn next_silent(&mut self, now: Tick, heard: &Heard) -> Option<IpAddr> {
        while let Some((since, index)) = self.waiting.first().copied()
            && since.plus(limits::SILENT_AFTER) <= now
        {
            self.waiting.pop_first();
            let state = &mut self.states[index.0];
            if state.waits_since != since {
                // The number has got another locator meanwhile.
                continue;
            }
            state.waits_since = Tick::NONE;
            let last = heard.last(state.address);
            if last < since {
                return Some(state.address);
            }
            if state.last_sent > last {
                let since = Tick(last.0.saturating_add(1));
                state.waits_since = since;
                self.waiting.insert((since, index));
            }
        }
        None
    }

    /// When [`Self::next_silent`] has something to look at.
    pub(crate) fn next_check(&self) -> Option<Tick> {
        self.waiting.first().map(|(since, _)| since.plus(limits::SILENT_AFTER))
    }

    /// What was sent to each, of the first [`limits::LOCATORS_SHOWN`]. What was sent to one address in all never becomes less, whichever of its
    /// ways come and go.
    pub(crate) fn counts(&self, now: Tick) -> impl Iterator<Item = LocatorCount> + '_ {
        let in_use = self.states.iter().take(limits::LOCATORS_SHOWN).filter(|state| state.references > 0);
        in_use.map(move |state| LocatorCount {
            address: state.address,
            reachable: state.reachable,
            path_mtu: self.mtu(now, state),
            ecn_compatible: state.ecn_compatible,
            packets: state.sent.packets,
            octets: state.sent.octets,
        })
    }

    /// Locators that are remembered.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    fn find(&self, address: IpAddr) -> Option<LocatorIndex> {
        self.find_at(Place::of(address))
    }

    fn find_at(&self, place: Place) -> Option<LocatorIndex> {
        self.by_address.get(place.hash(&self.keys), |index| self.get(*index).place() == place).copied()
    }

    fn add(&mut self, place: Place) -> Option<LocatorIndex> {
        if self.len() >= limits::RLOCS {
            return None;
        }
        let Place { address, port, through } = place;
        let sent = self.take_unshown(place);
        let special = match (through, self.gpe_peers.contains(&address)) {
            (Some(through), _) => Some(Special::Nat(port, through)),
            (None, true) => Some(Special::Gpe),
            (None, false) => self.peers.add(address).map(Special::Peer),
        };
        let state = RlocState {
            address,
            special: special.map(Box::new),
            reachable: true,
            ecn_compatible: self.ecn.is_for(address),
            from: 0,
            references: 0,
            mtu: 0,
            mtu_until: Tick::NONE,
            waits_since: Tick::NONE,
            last_sent: Tick::NONE,
            sent,
        };
        let index = LocatorIndex(self.states.insert(state));
        let (keys, states) = (self.keys, &self.states);
        let hash_of = |index: &LocatorIndex| states[index.0].place().hash(&keys);
        self.by_address.insert(place.hash(&keys), index, hash_of);
        if through.is_some() {
            self.through_nats.entry(address).or_default().insert(index);
        }
        Some(index)
    }

    /// What was sent to the address of a way that begins, if no other way shows it.
    fn take_unshown(&mut self, place: Place) -> Sent {
        let other = if place.through.is_some() { self.find(place.address) } else { None };
        match other {
            Some(other) if self.get(other).references == 0 => std::mem::take(&mut self.states[other.0].sent),
            _ => self.past.take(place.address),
        }
    }

    /// What was sent by a way that is no longer shown is counted on by another one to the same address.
    fn bequeath(&mut self, index: LocatorIndex) {
        let address = self.get(index).address;
        let through_nat = self.through_nats.get(&address).and_then(|ways| ways.first().copied());
        let heir = through_nat.or_else(|| self.find(address)).filter(|heir| *heir != index);
        if let Some(heir) = heir {
            let sent = std::mem::take(&mut self.states[index.0].sent);
            self.states[heir.0].sent.add(sent);
        }
    }

    fn linger(&mut self, index: LocatorIndex) {
        self.bequeath(index);
        self.lingering.push_back(index);
        if self.lingering.len() > limits::UNREACHABLE_RLOCS
            && let Some(oldest) = self.lingering.pop_front()
        {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, index: LocatorIndex) {
        let place = self.get(index).place();
        self.by_address.remove(place.hash(&self.keys), |other| *other == index);
        if place.through.is_some() {
            self.leave_nat(place.address, index);
        }
        self.from_others.remove(&index);
        self.bequeath(index);
        let state = &mut self.states[index.0];
        self.past.keep(place.address, std::mem::take(&mut state.sent));
        (state.references, state.waits_since) = (0, Tick::NONE);
        if let Some(Special::Peer(peer)) = state.special.take().as_deref() {
            self.peers.remove(*peer);
        }
        self.states.free(index.0);
    }

    fn leave_nat(&mut self, address: IpAddr, index: LocatorIndex) {
        let Some(ways) = self.through_nats.get_mut(&address) else { return };
        ways.remove(&index);
        if ways.is_empty() {
            self.through_nats.remove(&address);
        }
    }
}

/// The least path MTU that is believed.
pub(crate) fn smallest_path_mtu(address: IpAddr) -> u16 {
    let smallest = match address {
        IpAddr::V4(_) => limits::SMALLEST_PATH_MTU_V4,
        IpAddr::V6(_) => MINIMUM_MTU,
    };
    u16::try_from(smallest).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
