// SPDX-License-Identifier: GPL-2.0-or-later
//! The xTRs that asked for merging are told when others change what they have in common (RFC 9301, section 5.6, a-bit).

use std::net::SocketAddr;
use std::time::{Instant, UNIX_EPOCH};

use wire::control::auth;
use wire::control::{ControlMessage, MapNotify, Nonce, XtrIdentity};
use wire::record::{Action, MappingRecord};

use super::MapServer;
use super::label::AnyEid;
use super::named;
use super::notifier::{Notification, Reach, Telling};
use super::registration::{Merged, Part};
use super::site::SiteId;
use crate::engine::Mark;
use crate::refusal::{Refusal, Tally};
use crate::transport::{Now, Way};

impl MapServer {
    /// Tells the xTRs that merge what `eid` has become; `by` has had its own answer, which says all if it is alone.
    pub(super) fn tell(&mut self, now: Now, eid: AnyEid, by: Option<[u8; 16]>, tally: &mut Tally) {
        let of_eid = (eid, [0; 16])..=(eid, [u8::MAX; 16]);
        let entry = match &eid {
            AnyEid::Prefix(prefix) => self.registrations.get(prefix),
            AnyEid::Label(label) => self.labels.get(label),
        };
        let Some(entry) = entry else {
            return self.notifier.retain(of_eid, |_| false);
        };
        let merges = |xtr_id: &[u8; 16]| entry.part(xtr_id).is_some_and(|part| part.reach.is_some());
        let displaced = &self.displaced;
        let had_it = |xtr_id: &[u8; 16]| eid.prefix().is_some_and(|prefix| displaced.contains(prefix, xtr_id));
        self.notifier.retain(of_eid, |(_, xtr_id)| merges(xtr_id) || had_it(xtr_id));
        let is_alone = entry.parts().count() == 1;
        let Merged { locators, ttl, map_version, .. } = entry.merged();
        let record = MappingRecord {
            ttl,
            action: Action::NoAction,
            authoritative: false,
            map_version,
            eid: eid.into(),
            locators,
        };
        let site = entry.site;
        let others = entry.parts().filter(|part| !(is_alone && by == Some(part.xtr_id())));
        // By each of its RTRs, not by the last alone.
        let relays = |part: &Part| part.relays.as_deref().copied().unwrap_or_default();
        let reach = |part: &Part| Some(Reach { relays: relays(part), ..*part.reach.as_deref()? });
        let told = |part: &Part| reach(part).map(|reach| (part.xtr_identity(), named::ways(part, &reach), reach));
        let others: Vec<_> = others.filter_map(told).collect();
        for (xtr, named, reach) in others {
            let record = MappingRecord { eid: eid.spelled(reach.spelling), ..record.clone() };
            match self.tell_one((now, now.monotonic), (eid, xtr), site, &reach, record) {
                Ok(()) => self.notifier.tell_too(&(eid, xtr.xtr_id), named),
                Err(refusal) => tally.count(refusal),
            }
        }
    }

    /// Tells one receiver of what has become of an EID, not before the second of the times. RTRs are named the xTR too, under their tag: two of
    /// them may have one address behind two NATs, and no answer to a Map-Register has that.
    pub(super) fn tell_one(
        &mut self,
        (now, earliest): (Now, Instant),
        (eid, xtr): (AnyEid, XtrIdentity),
        site: SiteId,
        reach: &Reach,
        record: MappingRecord,
    ) -> Result<(), Refusal> {
        let key = self.sites.get(site).key(reach.key_id, reach.algorithm.id())?;
        let (receiver, nonce) = ((eid, xtr.xtr_id), self.next_notify_nonce(now));
        let xtr_identity = reach.relays.last().map(|_| xtr);
        let message = MapNotify { nonce: Nonce(nonce), records: vec![record], xtr_identity, ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::MapNotify(message), &key, reach.form);
        let bytes = bytes.map_err(|_| Refusal::NotEncodable)?;
        let ways = vec![Way { local: reach.local, remote: reach.remote }];
        let (owner, relays, allowance) = (site.index(), reach.relays, None);
        let notification = Notification { owner, nonce, key, ways, relays, bytes, allowance };
        // Others can make it change as fast as they like: the receiver hears the last state of each interval.
        let due = self.notifier.rests_until(&receiver).map_or(earliest, |at| at.max(earliest));
        self.notifier.tell(due, receiver, notification)
    }

    /// Rises over restarts too, as the receiver wants it, and when the clock is set back: it is the clock in microseconds, or
    /// one more than the last, which is on disk.
    fn next_notify_nonce(&mut self, now: Now) -> u64 {
        let clock = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        self.notify_nonce = u64::try_from(clock).unwrap_or(u64::MAX).max(self.notify_nonce.saturating_add(1));
        self.marks.push(Mark::NotifyNonce(self.notify_nonce));
        self.notify_nonce
    }

    /// What must be on disk before what [`Self::poll_telling`] gives is sent.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }

    /// Takes a Map-Notify-Ack; `bytes` is the whole message.
    ///
    /// # Errors
    /// As [`Notifier::acknowledge`].
    pub fn acknowledge(&mut self, from: SocketAddr, message: &MapNotify, bytes: &[u8]) -> Result<(), Refusal> {
        // Nonces of one Map-Server's own making are never equal.
        self.notifier.acknowledge(from.ip(), message, bytes, |_| true).map(drop)
    }

    /// The next unsolicited Map-Notify to send.
    pub fn poll_telling(&mut self, now: Instant, tally: &mut Tally) -> Option<Telling> {
        if let Some(telling) = self.notifier.poll() {
            return Some(telling);
        }
        while let Some((site, telling)) = self.notifier.poll_named() {
            match self.named.spend(now, site, telling.remote.ip(), telling.bytes.len()) {
                Ok(()) => return Some(telling),
                Err(refusal) => tally.count(refusal),
            }
        }
        None
    }
}
