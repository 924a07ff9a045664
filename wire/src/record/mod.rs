// SPDX-License-Identifier: GPL-2.0-or-later
//! EID-records and locator-records, which most messages share (RFC 9301, section 5.4).

mod codec;

use std::fmt;
use std::time::Duration;

use crate::address::{Address, Eid};

pub(crate) use codec::{Head, read_locators, read_records, write_locators};

/// Record TTL, in minutes on the wire (RFC 9301, section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ttl(pub u32);

impl Ttl {
    /// Remove from the cache at once.
    pub const WITHDRAWN: Self = Self(0);
    /// The receiver decides.
    pub const LOCAL: Self = Self(u32::MAX);
    /// The default of RFC 9301: 24 hours.
    pub const DEFAULT: Self = Self(1440);

    /// How long a receiver keeps the record: values with the top bit set, which some send for seconds, are capped at 24 h.
    pub fn lifetime(self) -> Duration {
        let minutes = if self.0 & 0x8000_0000 != 0 { Self::DEFAULT.0 } else { self.0 };
        Duration::from_secs(u64::from(minutes) * 60)
    }
}

/// What an ITR does with packets for a prefix without locators: ACT (RFC 9301, section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Action {
    /// 0: no action.
    #[default]
    NoAction = 0,
    /// 1: forward without encapsulation.
    NativelyForward = 1,
    /// 2: ask again when a packet comes.
    SendMapRequest = 2,
    /// 3: drop, no reason given.
    DropNoReason = 3,
    /// 4: drop, denied by policy.
    DropPolicyDenied = 4,
    /// 5: drop, authentication failed.
    DropAuthFailure = 5,
    /// 6: unassigned; treated as a drop without reason.
    Unassigned6 = 6,
    /// 7: unassigned; treated as a drop without reason.
    Unassigned7 = 7,
}

impl Action {
    /// The low three bits of `bits`.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x07 {
            0 => Self::NoAction,
            1 => Self::NativelyForward,
            2 => Self::SendMapRequest,
            3 => Self::DropNoReason,
            4 => Self::DropPolicyDenied,
            5 => Self::DropAuthFailure,
            6 => Self::Unassigned6,
            _ => Self::Unassigned7,
        }
    }
}

/// Map-Version number, 12 bits; 0 = none (RFC 9302).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MapVersion(pub u16);

impl MapVersion {
    /// The largest, as the field has 12 bits.
    pub const MAX: u16 = 0x0fff;

    /// Whether it comes before `other` on the circle of 12 bits (RFC 9302, section 6). No version is neither older nor newer.
    pub const fn is_older_than(self, other: Self) -> bool {
        const HALF: u16 = 1 << 11;
        let ahead = other.0.wrapping_sub(self.0) & Self::MAX;
        self.0 != 0 && other.0 != 0 && ahead != 0 && (ahead < HALF || ahead == HALF && other.0 > self.0)
    }

    /// The version of the mapping after a change: 1 comes after the last one, since 0 is none (RFC 9302, section 6.1). A mapping
    /// without a version gets none.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0 {
            0 => Self(0),
            version if version >= Self::MAX => Self(1),
            version => Self(version + 1),
        }
    }

    /// The newer of two; the one that is a version, if only one is.
    #[must_use]
    pub const fn newer(self, other: Self) -> Self {
        if self.0 == 0 || self.is_older_than(other) { other } else { self }
    }
}

/// An EID-to-RLOC mapping record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingRecord {
    /// How long it may be kept.
    pub ttl: Ttl,
    /// Meaningful without locators only.
    pub action: Action,
    /// A: the sender is an ETR of the site.
    pub authoritative: bool,
    /// Version of the mapping.
    pub map_version: MapVersion,
    /// The EID-prefix.
    pub eid: Eid,
    /// The locators, in the order of the wire (locator-status-bit ordinals follow it).
    pub locators: Vec<LocatorRecord>,
}

/// One locator of a mapping record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatorRecord {
    /// Unicast priority: lower is better, 255 = never for forwarding.
    pub priority: u8,
    /// Share of the flows among locators of one priority.
    pub weight: u8,
    /// Multicast priority.
    pub mpriority: u8,
    /// Multicast weight.
    pub mweight: u8,
    /// L: the locator is the sender's own.
    pub local: bool,
    /// p: this is the locator that was probed.
    pub probed: bool,
    /// R: the locator is reachable from its owner's point of view.
    pub reachable: bool,
    /// The locator; [`Address::Lcaf`] of an unknown type is to be ignored by users (RFC 9306, section 3).
    pub rloc: Address,
}

impl LocatorRecord {
    /// Priority of a locator that must not be used for forwarding (RFC 9300, section 9).
    pub const UNUSABLE: u8 = 255;

    /// A reachable unicast locator: never for multicast, neither local nor probed.
    pub fn new(rloc: impl Into<Address>, priority: u8, weight: u8) -> Self {
        Self {
            priority,
            weight,
            mpriority: Self::UNUSABLE,
            mweight: 0,
            local: false,
            probed: false,
            reachable: true,
            rloc: rloc.into(),
        }
    }

    /// L.
    #[must_use]
    pub fn with_local(self, local: bool) -> Self {
        Self { local, ..self }
    }
}

impl MappingRecord {
    /// A record that the site's own ETR sends about itself: authoritative, without a map version.
    pub fn new(eid: impl Into<Eid>, ttl: Ttl, locators: Vec<LocatorRecord>) -> Self {
        Self {
            ttl,
            action: Action::NoAction,
            authoritative: true,
            map_version: MapVersion::default(),
            eid: eid.into(),
            locators,
        }
    }

    /// A negative record: no locators, only what to do with packets.
    pub fn negative(eid: impl Into<Eid>, ttl: Ttl, action: Action) -> Self {
        Self { action, authoritative: false, ..Self::new(eid, ttl, Vec::new()) }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LOCAL => f.write_str("local"),
            Self(minutes) => write!(f, "{minutes} min"),
        }
    }
}

impl fmt::Display for MappingRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ttl {}", self.eid, self.ttl)?;
        if self.authoritative {
            f.write_str(" A")?;
        }
        if self.locators.is_empty() {
            write!(f, " {:?}", self.action)?;
        }
        self.locators.iter().try_for_each(|locator| write!(f, " {locator}"))
    }
}

impl fmt::Display for LocatorRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.rloc, self.priority, self.weight)?;
        let bits = [(self.local, ",L"), (self.probed, ",p"), (self.reachable, ",R")];
        bits.iter().filter(|(set, _)| *set).try_for_each(|(_, name)| f.write_str(name))
    }
}
