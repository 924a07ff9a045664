// SPDX-License-Identifier: GPL-2.0-or-later
//! Requests that wait for lookups, and who waits for which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use wire::address::EidPrefix;
use wire::record::MappingRecord;

use crate::resolve::ask::Ask;
use crate::resolve::found::Audience;

/// The requests whose answer is not complete, in the order of their deadlines: an input costs no walk through them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeMap<RequestId, Waiting>,
    /// Who waits for the lookup of a host.
    waiters: HashMap<EidPrefix, BTreeSet<RequestId>>,
    next_number: u64,
}

/// A request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestId {
    deadline: Instant,
    number: u64,
}

/// A request and what is known of its records so far.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ask: Ask,
    pub(super) slots: Vec<Slot>,
    pub(super) deadline: Instant,
}

/// What one record of a request is answered with.
#[derive(Debug)]
pub(super) enum Slot {
    /// A lookup runs for this host.
    Waiting(EidPrefix),
    /// These.
    Records(Vec<MappingRecord>),
    /// These, with E: nobody can answer for it with LISP-SEC (RFC 9303, section 6.7, rule 3).
    Unsigned(Vec<MappingRecord>),
    /// Nothing from us: forwarded, or refused.
    Silent,
}

impl Requests {
    /// Takes a request in.
    pub(super) fn insert(&mut self, waiting: Waiting) {
        self.next_number += 1;
        let id = RequestId { deadline: waiting.deadline, number: self.next_number };
        for host in waiting.hosts() {
            self.waiters.entry(host).or_default().insert(id);
        }
        self.waiting.insert(id, waiting);
    }

    /// Number of requests.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Who waited for the lookup of a host, which has ended.
    pub(super) fn waiters(&mut self, host: &EidPrefix) -> BTreeSet<RequestId> {
        self.waiters.remove(host).unwrap_or_default()
    }

    /// Who has asked, if he still waits.
    pub(super) fn audience(&self, id: RequestId) -> Option<Audience> {
        self.waiting.get(&id).map(|waiting| waiting.ask.audience())
    }

    /// Takes a request out.
    pub(super) fn take(&mut self, id: RequestId) -> Option<Waiting> {
        self.waiting.remove(&id)
    }

    /// Puts back what was taken out.
    pub(super) fn put_back(&mut self, id: RequestId, waiting: Waiting) {
        self.waiting.insert(id, waiting);
    }

    /// Takes out the first request whose time is over. Its lookups may go on for others.
    pub(super) fn pop_late(&mut self, now: Instant) -> Option<Waiting> {
        let first = self.waiting.first_entry().filter(|first| first.key().deadline <= now)?;
        let (id, waiting) = first.remove_entry();
        for host in waiting.hosts() {
            if let Some(waiters) = self.waiters.get_mut(&host) {
                waiters.remove(&id);
                if waiters.is_empty() {
                    self.waiters.remove(&host);
                }
            }
        }
        Some(waiting)
    }

    /// When the next one's time is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(id, _)| id.deadline)
    }
}

impl Waiting {
    /// Whether nothing of the answer is missing.
    pub(super) fn is_complete(&self) -> bool {
        !self.slots.iter().any(|slot| matches!(slot, Slot::Waiting(_)))
    }

    /// The hosts whose lookups it waits for.
    fn hosts(&self) -> impl Iterator<Item = EidPrefix> + '_ {
        self.slots.iter().filter_map(|slot| if let Slot::Waiting(host) = slot { Some(*host) } else { None })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use wire::address::InstanceId;
    use wire::control::Nonce;

    use super::*;
    use crate::resolve::ask::ReplyTo;
    use crate::transport::Via;

    fn host(n: u8) -> EidPrefix {
        EidPrefix::host(InstanceId(0), [10, 0, 0, n].into())
    }

    fn waiting(deadline: Instant, hosts: &[u8]) -> Waiting {
        let remote: SocketAddr = "192.0.2.1:4342".parse().unwrap();
        let (via, reply_to) = (Via::Socket { local: remote, remote }, ReplyTo::Pipe);
        let ask = Ask {
            number: 1,
            records: 1,
            via,
            reply_to,
            is_behind_nat: false,
            nonce: Nonce(1),
            ecm: vec![],
            ddt: false,
            forwarded: vec![],
            counted: vec![],
            is_searched: false,
            parts: vec![],
            wanted: vec![],
            is_leaving: false,
            about: None,
            brought: None,
            protection: None,
        };
        Waiting { ask, slots: hosts.iter().map(|n| Slot::Waiting(host(*n))).collect(), deadline }
    }

    #[test]
    fn who_has_waited_too_long_comes_out_in_the_order_of_deadlines_and_leaves_nothing_behind() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut requests = Requests::default();
        for second in [3, 1, 2] {
            requests.insert(waiting(at(second), &[1, 2]));
        }
        assert_eq!(requests.next_deadline(), Some(at(1)));
        assert!(requests.pop_late(start).is_none());
        assert_eq!(requests.pop_late(at(2)).map(|waiting| waiting.deadline), Some(at(1)));
        assert_eq!(requests.pop_late(at(2)).map(|waiting| waiting.deadline), Some(at(2)));
        assert!(requests.pop_late(at(2)).is_none());
        assert_eq!(requests.waiters(&host(1)).len(), 1);
        assert!(requests.pop_late(at(3)).is_some());
        assert!(requests.waiters.is_empty() && requests.len() == 0 && requests.next_deadline().is_none());
    }
}
