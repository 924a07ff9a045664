// SPDX-License-Identifier: GPL-2.0-or-later
//! What the packet half counts. No packet disappears without a [`DropReason`], and each has a counter.
//!
//! What is counted for every packet has one thread that writes it. Any thread may read, and sees each counter as it was a
//! moment ago, not all at one moment.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::Instant;

use wire::address::EidPrefix;

use crate::heard::Heard;
use crate::senders::{BoundSenders, Senders};

/// An enumeration, the key of each value (a contract with those who read `show counters`), and the list of all.
macro_rules! table {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $doc:literal])+ $value:ident = $key:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $doc])+ $value,)+ }

        impl $name {
            /// All values, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The name that operators and scripts know it by.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$value => $key),+ }
            }
        }
    };
}

table! {
    /// Why a packet went no further.
    DropReason {
        /// From the site: the queue of the TUN device had no room. Looked up when counters are asked for.
        SiteQueue = "site-queue",
        /// From the site: no IP packet, or lengths that disagree.
        SiteMalformed = "site-malformed",
        /// From the site: source or destination is no unicast address beyond the link.
        SiteNotUnicast = "site-not-unicast",
        /// From the site: to an EID of ours, which the site itself does not know.
        SiteOwnEid = "site-own-eid",
        /// To an EID of ours that another xTR has now, and the mapping leads back to this node, or to the RTR that it came by, or says that nobody has
        /// it.
        MovedNowhere = "moved-nowhere",
        /// From the site: no hops left.
        SiteTtl = "site-ttl",
        /// The mapping is negative with "no action": it waits for nothing and goes nowhere.
        NoAction = "no-action",
        /// To a prefix that this node is PITR for, and the mapping says that there is no site: forwarded as it is, it would come back.
        PitrNoSite = "pitr-no-site",
        /// The mapping is negative with "drop", without reason.
        NegativeDrop = "negative-drop",
        /// The mapping is negative with "drop", denied by policy.
        NegativePolicy = "negative-policy-denied",
        /// The mapping is negative with "drop", authentication failed.
        NegativeAuth = "negative-auth-failure",
        /// From behind a NAT through this RTR, to what is no EID: it is no way out for others, unless it is their PETR.
        RelayNative = "relay-native",
        /// The mapping has no locator of a family that we have an RLOC of.
        NoLocator = "no-locator",
        /// Too long for the way to the locator; its source has been told, unless told too often.
        TooBig = "too-big",
        /// An IPv6 packet of up to 1280 octets, for which the interface that it would leave by is too narrow.
        PathTooNarrow = "path-too-narrow",
        /// Waited for a mapping, and newer packets needed the room.
        QueueFull = "queue-full",
        /// Waited for a mapping longer than packets are kept.
        QueueTimeout = "queue-timeout",
        /// Waited for a mapping that resolution did not find.
        Unresolved = "unresolved",
        /// The kernel did not take the encapsulated packet.
        CoreSend = "core-send",
        /// From the core: the receive buffer of the socket had no room, or the outer UDP checksum was wrong. Looked up when counters are asked for.
        CoreReceiveBuffer = "core-receive-buffer",
        /// From the core: shorter than a LISP header, or nothing behind it.
        CoreShort = "core-short",
        /// From the core: encrypted (KK not 0), and no key is agreed.
        CoreEncrypted = "core-encrypted",
        /// From the core: the GPE next protocol is neither IPv4 nor IPv6, or not that of the inner packet.
        CoreNextProtocol = "core-next-protocol",
        /// From the core: the inner packet is neither IPv4 nor IPv6.
        CoreVersion = "core-inner-version",
        /// From the core: lengths of the inner packet do not fit what came.
        CoreLength = "core-inner-length",
        /// From the core: an instance in which we have no EID.
        CoreInstance = "core-instance",
        /// From the core: the inner destination is no EID of ours in this instance.
        CoreNotOurs = "core-not-our-eid",
        /// From the core: to no EID of ours, and its inner source is of no site that may use this PETR.
        CorePetrSource = "core-petr-source",
        /// From the core: to be forwarded natively, and its inner destination is no unicast address beyond the link.
        CorePetrDestination = "core-petr-destination",
        /// From the core: the inner source is no unicast address.
        CoreSource = "core-inner-source",
        /// From the core: the inner source is an EID that maps to other RLOCs than the one it came from.
        CoreSourceElsewhere = "core-source-elsewhere",
        /// From the core: the inner source is no EID, and it came from no PITR that we know.
        CoreSourceUnmapped = "core-source-unmapped",
        /// From the core: whether the inner source maps to where it came from was not known in time, and has to be.
        CoreSourceUnknown = "core-source-unknown",
        /// From the core: the inner source is unknown, and too many were asked about, or nobody has answered of late.
        CoreSourceRate = "core-source-rate",
        /// From a trusted peer: map-versions, and our mapping has none (RFC 9302, section 6.1).
        CoreVersionUnused = "core-version-unused",
        /// From a trusted peer: no version of our mapping beside that of its own, which is forbidden (RFC 9302, section 7.1).
        CoreVersionNull = "core-version-null",
        /// From a trusted peer: a version of our mapping that is yet to come (RFC 9302, section 7.1, case 2).
        CoreVersionNewer = "core-version-newer",
        /// From a trusted peer: an old version of our mapping, after it was told so ten times (RFC 9302, section 7.1, case 3).
        CoreVersionStale = "core-version-stale",
        /// From a trusted peer: a version of our mapping that has expired everywhere (RFC 9302, section 7.1).
        CoreVersionExpired = "core-version-expired",
        /// From a trusted peer: an older version of its mapping than is cached (RFC 9302, section 7.2, case 3).
        CoreSourceVersion = "core-source-version-older",
        /// From the core: congestion experienced, and the inner packet cannot say so (RFC 6040).
        CoreEcn = "core-ecn",
        /// From the core: no hops left.
        CoreTtl = "core-ttl",
        /// To be encapsulated again by this RTR: the thread that does so has not kept up.
        RelayQueue = "relay-queue",
        /// The kernel did not take the packet for the site.
        SiteSend = "site-send",
    }
}

table! {
    /// What else is counted.
    Count {
        /// Packets encapsulated, fragments each for itself.
        Encapsulated = "encapsulated-packets",
        /// Their octets, without the headers put in front.
        EncapsulatedBytes = "encapsulated-bytes",
        /// Packets decapsulated.
        Decapsulated = "decapsulated-packets",
        /// Their octets, without the headers taken off.
        DecapsulatedBytes = "decapsulated-bytes",
        /// Of the decapsulated packets those to no EID of ours, which this node forwards as a PETR.
        Petr = "petr-packets",
        /// Packets given back to the kernel, to be forwarded without encapsulation.
        Native = "native-packets",
        /// Packets that waited, or wait, for a mapping.
        Queued = "queued-packets",
        /// Packets that left the queue because the mapping came.
        Flushed = "flushed-packets",
        /// IPv4 packets that were split before encapsulation.
        Fragmented = "fragmented-packets",
        /// ICMP errors sent to the site.
        IcmpSent = "icmp-sent",
        /// ICMP errors not sent: over the rate, or without an address to send from.
        IcmpSuppressed = "icmp-suppressed",
        /// Path MTUs learned.
        PathMtu = "path-mtu-changes",
        /// Reports of a path MTU that fit nothing we send, or over IPv6 of less than every link takes.
        PathMtuRefused = "path-mtu-refused",
        /// Reports of a path MTU to a locator that a long probe has lately shown to be greater: probes decide.
        PathMtuDoubted = "path-mtu-doubted",
        /// Reports of the underlay that a locator of ours cannot be reached.
        Unreachable = "core-unreachable",
        /// The same about what we do not send, or too often.
        UnreachableRefused = "core-unreachable-refused",
        /// Map-cache entries removed to make room.
        Evicted = "map-cache-evictions",
        /// Packets from the core with a nonce, locator-status-bits or map-versions: taken, and those ignored.
        FlagsIgnored = "core-flags-ignored",
        /// Packets from the core with N and V, or E without N, which nobody may send: taken, by the rule for receivers.
        FlagsForbidden = "core-flags-forbidden",
        /// Packets from the core with an outer ECT(0) round an inner Not-ECT, which nobody should make (RFC 6040, section 4.2).
        EcnEct0OverNotEct = "core-ecn-ect0-over-not-ect",
        /// The same with an outer ECT(1); those with CE are dropped.
        EcnEct1OverNotEct = "core-ecn-ect1-over-not-ect",
        /// The same with an outer ECT(0) round an inner ECT(1).
        EcnEct0OverEct1 = "core-ecn-ect0-over-ect1",
        /// The same with an outer ECT(1) round an inner CE.
        EcnEct1OverCe = "core-ecn-ect1-over-ce",
        /// Packets of trusted peers that told an old version of our mapping and were taken (RFC 9302, section 7.1).
        VersionOld = "core-version-old",
        /// Packets of trusted peers that told a newer version of their mapping than is cached (RFC 9302, section 7.2).
        SourceVersionNewer = "core-source-version-newer",
        /// Packets of trusted peers with a nonce that nobody asked them to echo.
        NonceUnasked = "core-nonce-unasked",
        /// Packets of trusted peers with locator-status-bits that do not go with the version of the mapping that is cached.
        StatusBitsUncoupled = "core-status-bits-uncoupled",
        /// Packets of trusted peers with locator-status-bits of a mapping that they are no locator of.
        StatusBitsForeign = "core-status-bits-foreign",
        /// Packets from the core that waited, or wait, for a verdict on their source.
        SourceWaited = "source-waited-packets",
        /// Pairs of source and RLOC whose packets entered for a second unasked, as there were too many to ask about.
        SourceUnasked = "source-unasked",
        /// Events that control had no room for; they are said again.
        EventLost = "events-lost",
        /// Packets decapsulated and encapsulated again, from or to an xTR behind a NAT.
        Relayed = "relayed-packets",
        /// Calls that were to receive from the core, and failed.
        ReceiveFailed = "core-receive-failures",
        /// Control messages that came to the data port, from RTRs.
        ControlMessages = "core-control-messages",
    }
}

/// What is known of a locator that packets go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocatorCount {
    /// The RLOC.
    pub address: IpAddr,
    /// Whether packets may be sent there.
    pub reachable: bool,
    /// The longest packet that is sent there, octets, with all its headers.
    pub path_mtu: usize,
    /// Whether packets go there in the compatibility mode of ECN (RFC 6040, section 4.3).
    pub ecn_compatible: bool,
    /// Packets sent there.
    pub packets: u64,
    /// Their octets, without the headers put in front.
    pub octets: u64,
}

/// A counter with a cache line to itself: two threads that count do not take it from each other for every packet.
#[derive(Debug)]
#[repr(align(64))]
struct Alone(AtomicU64);

/// The counters, and what else one half of the router notes for the others.
#[derive(Debug)]
pub struct Counters {
    drops: [AtomicU64; DropReason::ALL.len()],
    counts: [Alone; Count::ALL.len()],
    /// What was told of each of those at most: what is taken back must not make one fall. Written by who reads, and so never for a packet.
    told: [AtomicU64; Count::ALL.len()],
    locators: Mutex<Vec<LocatorCount>>,
    heard: Heard,
    senders: Senders,
    bound_senders: BoundSenders,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            drops: [const { AtomicU64::new(0) }; _],
            counts: [const { Alone(AtomicU64::new(0)) }; _],
            told: [const { AtomicU64::new(0) }; _],
            locators: Mutex::default(),
            heard: Heard::default(),
            senders: Senders::default(),
            bound_senders: BoundSenders::default(),
        }
    }
}

impl Counters {
    /// Counts one packet that went no further.
    pub fn count_drop(&self, reason: DropReason) {
        self.add_drops(reason, 1);
    }

    /// Counts several.
    pub fn add_drops(&self, reason: DropReason, amount: usize) {
        self.drops[reason as usize].fetch_add(amount as u64, Ordering::Relaxed);
    }

    /// Adds to a counter.
    pub fn add(&self, count: Count, amount: usize) {
        self.counts[count as usize].0.fetch_add(amount as u64, Ordering::Relaxed);
    }

    /// Adds to a counter that no other thread adds to, as those of every packet are: without the locked instruction.
    pub(crate) fn add_alone(&self, count: Count, amount: usize) {
        let counter = &self.counts[count as usize].0;
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount as u64), Ordering::Relaxed);
    }

    /// Takes back what was added alone, a moment ago. Who has been told of it meanwhile is told nothing less later.
    pub(crate) fn take_back_alone(&self, count: Count, amount: usize) {
        let counter = &self.counts[count as usize].0;
        counter.store(counter.load(Ordering::Relaxed).saturating_sub(amount as u64), Ordering::Relaxed);
    }

    /// What was sent to each locator, as it was within the last second of traffic.
    pub fn locators(&self) -> Vec<LocatorCount> {
        match self.locators.lock() {
            Ok(locators) => locators.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Replaces what [`Self::locators`] tells, unless somebody is reading it: the packet thread does not wait.
    pub(crate) fn publish(&self, counts: impl Iterator<Item = LocatorCount>) {
        let mut locators = match self.locators.try_lock() {
            Ok(locators) => locators,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        locators.clear();
        locators.extend(counts);
    }

    /// From which RLOCs packets have come.
    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Where the ETR writes down who sends.
    pub(crate) fn senders(&self) -> &Senders {
        &self.senders
    }

    /// Where the ETR of an RTR writes down who sends to what is behind NATs.
    pub(crate) fn bound_senders(&self) -> &BoundSenders {
        &self.bound_senders
    }

    /// The RLOCs that have sent to an EID-prefix behind a NAT within the last minute, and how often each is to hear about it
    /// or a part of it. If about all of it they are forgotten by that.
    pub fn senders_to(&self, now: Instant, bound: &EidPrefix, about: &EidPrefix) -> Vec<(IpAddr, usize)> {
        self.bound_senders.to_hear(now, bound, about)
    }

    /// The RLOCs that packets have come from within the last minute, and when they last came, to a second.
    pub fn senders_lately(&self, now: Instant) -> Vec<(IpAddr, Instant)> {
        self.senders.lately(now)
    }

    /// Packets dropped for this reason so far.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }

    /// A counter. It never falls: while something is taken back of what was told it stands still.
    pub fn get(&self, count: Count) -> u64 {
        let value = self.counts[count as usize].0.load(Ordering::Relaxed);
        self.told[count as usize].fetch_max(value, Ordering::Relaxed).max(value)
    }

    /// All counters by their keys; those of drops begin with "drop-".
    pub fn snapshot(&self) -> Vec<(String, u64)> {
        let counts = Count::ALL.iter().map(|count| (count.key().to_owned(), self.get(*count)));
        let drops = DropReason::ALL.iter().map(|reason| (format!("drop-{}", reason.key()), self.dropped(*reason)));
        counts.chain(drops).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_not_taken_back() {
        let (counters, count) = (Counters::default(), Count::Encapsulated);
        counters.add_alone(count, 3);
        assert_eq!(counters.get(count), 3);
        counters.take_back_alone(count, 2);
        assert_eq!((counters.get(count), counters.snapshot()[count as usize].1), (3, 3));
        counters.add_alone(count, 1);
        assert_eq!(counters.get(count), 3, "no packet is counted twice");
        counters.add_alone(count, 2);
        assert_eq!(counters.get(count), 4);
        counters.take_back_alone(count, 1);
        counters.add_alone(count, 3);
        assert_eq!(counters.get(count), 6);
    }

    #[test]
    fn each_reason_has_a_counter_and_a_key_of_its_own() {
        let counters = Counters::default();
        for reason in DropReason::ALL {
            assert_eq!(counters.dropped(*reason), 0);
            counters.count_drop(*reason);
            assert_eq!(counters.dropped(*reason), 1);
        }
        let mut keys: Vec<String> = counters.snapshot().into_iter().map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), DropReason::ALL.len() + Count::ALL.len());
    }
}
