// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether the locators of others can be reached (RFC 9301, section 7), and who has to hear when ours change (section 6).
//!
//! * [`Prober`]: probes each locator of the map-cache, once for all the mappings that share it, and says which of them
//!   packets must not be sent to. Probes as long as packets are show the path MTU.
//! * [`Solicitor`]: remembers which ITRs have sent to us lately, and sends them SMRs when our mappings change.
//! * [`Echo`], [`Own`] and [`StatusBits`]: what packets of trusted peers say of it, and ours to them (RFC 9300, section 10).

mod budget;
mod echo;
pub mod limits;
mod own_mapping;
mod paths;
mod prober;
mod schedule;
mod search;
mod solicitor;
mod status_bits;
mod target;

pub(crate) use budget::Budget;
pub use echo::{Echo, EchoState, Verdict};
pub use own_mapping::Own;
pub use prober::{Output, Probed, ProbedLocator, Prober};
pub use solicitor::Solicitor;
pub use status_bits::{Bits, StatusBits};
pub use target::Standing;

/// What both have done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// RLOC-probes sent.
    pub probes_sent: u64,
    /// Those that were answered.
    pub probes_answered: u64,
    /// Those that were not answered in time.
    pub probes_lost: u64,
    /// How often a locator was found unusable.
    pub locators_lost: u64,
    /// How often packets to a locator began to leave from another one of ours.
    pub uplinks_changed: u64,
    /// Probes as long as packets are, sent to find path MTUs (RFC 8899).
    pub long_probes_sent: u64,
    /// Those that were answered.
    pub long_probes_answered: u64,
    /// Those that a router, or our own kernel, called too long, and for what.
    pub long_probes_too_big: u64,
    /// How often packets as long as the path MTU that was believed were found to be lost without a word.
    pub black_holes: u64,
    /// Solicit-map-requests sent.
    pub smrs_sent: u64,
    /// Solicit-map-requests received, those that were refused among them.
    pub smrs_received: u64,
    /// Echoes of nonces asked for (RFC 9300, section 10.1).
    pub echoes_requested: u64,
    /// Those that came.
    pub echoes_received: u64,
    /// How often none came, though packets did.
    pub echoes_missed: u64,
    /// Nonces given back.
    pub echoes_sent: u64,
}

impl Counts {
    /// These and `other` together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            probes_sent: self.probes_sent + other.probes_sent,
            probes_answered: self.probes_answered + other.probes_answered,
            probes_lost: self.probes_lost + other.probes_lost,
            locators_lost: self.locators_lost + other.locators_lost,
            uplinks_changed: self.uplinks_changed + other.uplinks_changed,
            long_probes_sent: self.long_probes_sent + other.long_probes_sent,
            long_probes_answered: self.long_probes_answered + other.long_probes_answered,
            long_probes_too_big: self.long_probes_too_big + other.long_probes_too_big,
            black_holes: self.black_holes + other.black_holes,
            smrs_sent: self.smrs_sent + other.smrs_sent,
            smrs_received: self.smrs_received + other.smrs_received,
            echoes_requested: self.echoes_requested + other.echoes_requested,
            echoes_received: self.echoes_received + other.echoes_received,
            echoes_missed: self.echoes_missed + other.echoes_missed,
            echoes_sent: self.echoes_sent + other.echoes_sent,
        }
    }

    /// Each with the name under which `show counters` lists it.
    pub fn named(&self) -> [(&'static str, u64); 15] {
        [
            ("probes-sent", self.probes_sent),
            ("probes-answered", self.probes_answered),
            ("probes-lost", self.probes_lost),
            ("locators-lost", self.locators_lost),
            ("uplinks-changed", self.uplinks_changed),
            ("long-probes-sent", self.long_probes_sent),
            ("long-probes-answered", self.long_probes_answered),
            ("long-probes-too-big", self.long_probes_too_big),
            ("black-holes", self.black_holes),
            ("smrs-sent", self.smrs_sent),
            ("smrs-received", self.smrs_received),
            ("echoes-requested", self.echoes_requested),
            ("echoes-received", self.echoes_received),
            ("echoes-missed", self.echoes_missed),
            ("echoes-sent", self.echoes_sent),
        ]
    }
}
