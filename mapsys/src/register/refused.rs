// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator sees of Map-Registers that were refused: in the log a few of them and how many more there were, in `show sites`
//! the last one of each site. Nothing of it is proven: who was refused only claims to be of the site.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tracing::field::{debug, display};
use wire::control::MapRegister;

use super::label::AnyEid;
use super::site::{SiteId, SiteTable};
use super::{MapServer, Origin};
use crate::limits::{LOG_PAUSE, NAMED_REFUSED};
use crate::refusal::Refusal;

/// A Map-Register that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// Its first EID, if that is one that can be registered.
    pub eid: Option<AnyEid>,
    /// Who sent it, or the RTR that relayed it.
    pub from: SocketAddr,
    /// The xTR behind a NAT that an RTR has relayed it for.
    pub relayed_for: Option<IpAddr>,
    /// When.
    pub at: Instant,
}

/// The last ones, and what was said of them lately.
#[derive(Debug, Default)]
pub(super) struct RefusedLog {
    last: HashMap<SiteId, Refused>,
    since: Option<Instant>,
    /// Of which sites one was named; `None` for all that are of no site.
    named: Vec<Option<SiteId>>,
    more: usize,
}

impl RefusedLog {
    /// Takes note of one; whether the log is to name it.
    fn note(&mut self, site: Option<SiteId>, refused: Refused) -> bool {
        self.handle_timeout(refused.at);
        site.map(|site| self.last.insert(site, refused));
        // Those have warnings of their own.
        if matches!(refused.refusal, Refusal::RegisterReplayed | Refusal::RegisterOldVersion) {
            return false;
        }
        self.since.get_or_insert(refused.at);
        if self.named.len() >= NAMED_REFUSED || self.named.contains(&site) {
            self.more += 1;
            return false;
        }
        self.named.push(site);
        true
    }

    /// Says how many there were that were not named.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) < LOG_PAUSE) {
            return;
        }
        if self.more > 0 {
            tracing::warn!(messages = self.more, "more Map-Registers refused");
        }
        (self.since, self.more) = (None, 0);
        self.named.clear();
    }

    /// When [`Self::handle_timeout`] has something to say.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.since.filter(|_| self.more > 0).map(|since| since + LOG_PAUSE)
    }

    /// Takes other numbers of the sites; of those that are gone nothing is kept.
    pub(super) fn renumber(&mut self, newer: &[Option<SiteId>]) {
        let last = std::mem::take(&mut self.last);
        self.last = last.into_iter().filter_map(|(id, refused)| Some(((*newer.get(id.index())?)?, refused))).collect();
        self.named.clear();
    }
}

impl MapServer {
    /// The last Map-Register of the site, or of who claims to be of it, that was refused in this run.
    pub fn last_refused(&self, site: SiteId) -> Option<&Refused> {
        self.refused.last.get(&site)
    }

    /// Takes note of a Map-Register from the network that was refused. The first EID says which site it claims to be of.
    pub(super) fn note_refused(&mut self, now: Instant, origin: Origin, message: &MapRegister, refusal: Refusal) {
        let Origin::Network { remote: from, relay, .. } = origin else { return };
        let eid = message.records.first().and_then(|record| AnyEid::of(&record.eid));
        let site = eid.and_then(|eid| site_of(&self.sites, &eid));
        let relayed_for = relay.map(|relay| relay.xtr);
        if self.refused.note(site, Refused { refusal, eid, from, relayed_for, at: now }) {
            let (site, eid) = (site.map(|site| debug(&self.sites.get(site).name)), eid.map(display));
            let (reason, relayed_for) = (refusal.name(), relayed_for.map(display));
            tracing::warn!(site, eid, %from, relayed_for, reason, "Map-Register refused");
        }
    }
}

/// Who may register what `eid` is a part of.
fn site_of(sites: &SiteTable, eid: &AnyEid) -> Option<SiteId> {
    match eid {
        AnyEid::Prefix(prefix) => sites.find(prefix).map(|grant| grant.site),
        AnyEid::Label(label) => sites.labels().find(label).map(|grant| grant.site),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number_and_hides_no_other_site() {
        let start = Instant::now();
        let from = SocketAddr::from(([192, 0, 2, 1], 4342));
        let refusal = Refusal::RegisterBadTag;
        let refused = |at| Refused { refusal, eid: None, from, relayed_for: None, at };
        let mut log = RefusedLog::default();
        let named = (0..1000).filter(|_| log.note(Some(SiteId::at(1)), refused(start))).count();
        assert_eq!((named, log.more), (1, 999));
        assert!(log.note(Some(SiteId::at(2)), refused(start)) && log.note(None, refused(start)));
        let named = (3..1000).filter(|site| log.note(Some(SiteId::at(*site)), refused(start))).count();
        assert_eq!(named, NAMED_REFUSED - 3);
        assert_eq!(log.next_deadline(), Some(start + LOG_PAUSE));
        log.handle_timeout(start + LOG_PAUSE);
        assert_eq!((log.next_deadline(), log.more), (None, 0));
        assert!(log.note(Some(SiteId::at(1)), refused(start + LOG_PAUSE)), "it is named again");
    }
}
