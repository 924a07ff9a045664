// SPDX-License-Identifier: GPL-2.0-or-later
//! Which records of a Map-Reply may enter the map-cache.
//!
//! A matching nonce proves that somebody on the way saw the request, not that he may speak for whole networks. So: one
//! record has to cover what was asked, others count only inside it (RFC 9301, section 5.5). A cached prefix that was asked about again
//! may have become several: then all lie inside it, and it ends. Nothing may cover our own
//! prefixes, or more of the CGEID network than one address; a hole may not bury mappings that we know to be there; and
//! what no signed delegation proves holds for the address asked only.
//!
//! No locator may be an address whose packets we lead into the tunnel: what we send there would be encapsulated again.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};
use wire::control::MapReply;
use wire::record::{Action, LocatorRecord, MappingRecord, Ttl};

use super::limits;
use super::mirror::Installed;
use crate::map_cache::is_unicast;
use crate::refusal::{Refusal, Tally};

/// What must not be covered by a mapping from outside.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Our own EID-prefixes.
    pub own: Vec<EidPrefix>,
    /// Those of them, and the parts of them, that another xTR has now.
    pub moved: Vec<EidPrefix>,
    /// The network in which each address belongs to one key: there only host mappings are taken.
    pub cgeid_network: Option<IpNet>,
    /// EID-prefixes that this node is PITR for (RFC 6832), if it is one.
    pub pitr_for: Option<Vec<EidPrefix>>,
}

/// A Map-Reply, and what it answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    /// The EID-prefix of the request.
    pub(super) asked: EidPrefix,
    /// The message.
    pub(super) reply: &'a MapReply,
    /// As far as its records may be believed; none = as far as they say: that was proven, or checked against signed delegations by
    /// the map system in this process, or there is nothing better. It covers what was asked.
    pub(super) within: Option<EidPrefix>,
    /// Whether there is a mapping of what was asked, so that it may have become several.
    pub(super) is_cached: bool,
}

/// A record that may be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepted<'a> {
    /// Where: the record's prefix, or what it was narrowed to.
    pub(super) prefix: EidPrefix,
    /// The record.
    pub(super) record: &'a MappingRecord,
    /// Those of its locators that can be sent to, in the order received.
    pub(super) locators: Vec<(IpAddr, &'a LocatorRecord)>,
    /// How long it may be kept; zero = remove.
    pub(super) lifetime: Duration,
    /// What becomes of packets if it has no locators.
    pub(super) action: Action,
}

impl Accepted<'_> {
    /// Without locators, an entry says what to do instead of encapsulating.
    pub(super) fn is_negative(&self) -> bool {
        self.locators.is_empty()
    }
}

impl Policy {
    /// Whether `prefix` is one address of the CGEID network.
    pub(super) fn is_cgeid(&self, prefix: &EidPrefix) -> bool {
        let inside = self.network().is_some_and(|network| network.covers(prefix));
        inside && prefix.net.prefix_len() == prefix.net.max_prefix_len()
    }

    /// The records of an answer that may be installed: one covers what was asked, or all are inside that. `buries` says whether a prefix
    /// contains positive mappings that are cached.
    pub(super) fn accept<'a>(
        &self,
        answer: Answer<'a>,
        buries: impl Fn(&EidPrefix) -> bool,
        tally: &mut Tally,
    ) -> Result<Vec<Accepted<'a>>, Refusal> {
        let mut records = Vec::with_capacity(answer.reply.records.len());
        for record in &answer.reply.records {
            match record.eid.ip_prefix() {
                Some(prefix) => records.push((prefix, record)),
                None => tally.count(Refusal::RecordNotIp),
            }
        }
        let covering = || records.iter().map(|(prefix, _)| *prefix).filter(|prefix| prefix.covers(&answer.asked));
        let widest = covering().min_by_key(|prefix| prefix.net.prefix_len());
        // Where nothing is registered for a prefix any more, what is inside it is all that the answer can have (RFC 9301, section 5.5).
        let of_parts = || answer.is_cached.then_some(answer.asked);
        let around = widest.or_else(of_parts).ok_or(Refusal::ReplyNotCovering)?;
        let best = covering().max_by_key(|prefix| prefix.net.prefix_len());
        let mut accepted = Vec::with_capacity(records.len());
        for (prefix, record) in records {
            if !around.covers(&prefix) {
                tally.count(Refusal::RecordOutsideAnswer);
                continue;
            }
            let locators = self.usable_locators(record, tally);
            let negative = locators.is_empty();
            let may_hold = |prefix: &EidPrefix| {
                let is_beyond = answer.within.is_some_and(|within| !within.covers(prefix));
                !(is_beyond || self.is_too_wide(prefix) || negative && buries(prefix))
            };
            // The best match may be right for what is believed, or for the address that was asked for, though it says too much.
            let may_narrow = Some(prefix) == best && (negative || !self.is_in_cgeid_network(&answer.asked));
            let narrowed = || answer.within.filter(|within| prefix.covers(within) && may_hold(within));
            let holds = match may_hold(&prefix) {
                true => Some(prefix),
                false => may_narrow.then(|| narrowed().unwrap_or(answer.asked)),
            };
            match holds {
                Some(prefix) => {
                    let (lifetime, action) = (lifetime(record.ttl, negative), self.action(&prefix, record));
                    accepted.push(Accepted { prefix, record, locators, lifetime, action });
                }
                None => tally.count(Refusal::RecordOverclaims),
            }
        }
        let answers = |entry: &Accepted<'_>| widest.is_none() || entry.prefix.covers(&answer.asked);
        if accepted.iter().any(answers) { Ok(accepted) } else { Err(Refusal::ReplyNotCovering) }
    }

    /// The action counts only in records that came without locators (RFC 9301, section 5.4). Nobody's word leads packets for a
    /// CGEID out of the tunnel: that nobody has it cannot be proven, and natively they would leak.
    fn action(&self, prefix: &EidPrefix, record: &MappingRecord) -> Action {
        match record.action {
            _ if !record.locators.is_empty() => Action::NoAction,
            Action::NativelyForward if self.is_in_cgeid_network(prefix) => Action::DropNoReason,
            action => action,
        }
    }

    /// Whether a record has the locators of a mapping, with the same priorities and weights, also of multicast, and R bits. Whose locators
    /// they are (L) and which was probed (p) depends on who says so.
    pub(super) fn says_the_same(&self, record: &MappingRecord, installed: &Installed) -> bool {
        let essence = |(address, locator): (IpAddr, &LocatorRecord)| {
            let multicast = (locator.mpriority, locator.mweight);
            (address, locator.priority, locator.weight, multicast, locator.reachable)
        };
        let mut said: Vec<_> = self.usable_locators(record, &mut Tally::default()).into_iter().map(essence).collect();
        let known = installed.locators.iter().map(|(address, locator)| (*address, locator));
        let mut known: Vec<_> = known.map(essence).collect();
        said.sort_unstable();
        known.sort_unstable();
        said == known
    }

    pub(super) fn is_too_wide(&self, prefix: &EidPrefix) -> bool {
        let overlaps = |other: &EidPrefix| other.covers(prefix) || prefix.covers(other);
        let more_than_a_cgeid = self.network().is_some_and(|network| overlaps(&network)) && !self.is_cgeid(prefix);
        more_than_a_cgeid || self.own.iter().any(overlaps) && !self.has_moved(prefix)
    }

    /// Whether this is ours, and here.
    pub(super) fn is_own(&self, prefix: &EidPrefix) -> bool {
        self.own.iter().any(|own| own.covers(prefix)) && !self.has_moved(prefix)
    }

    /// Whether another xTR has it now.
    pub(super) fn has_moved(&self, prefix: &EidPrefix) -> bool {
        self.moved.iter().any(|moved| moved.covers(prefix))
    }

    fn is_in_cgeid_network(&self, prefix: &EidPrefix) -> bool {
        self.network().is_some_and(|network| network.covers(prefix))
    }

    /// Locators keep the order received, by which the locator-status-bits are numbered. One that cannot be used is left
    /// out; a record all of whose locators are unusable counts as one without (RFC 9306, section 3).
    fn usable_locators<'a>(&self, record: &'a MappingRecord, tally: &mut Tally) -> Vec<(IpAddr, &'a LocatorRecord)> {
        let mut usable = Vec::with_capacity(record.locators.len().min(limits::LOCATORS));
        for locator in &record.locators {
            let address = locator.rloc.ip().filter(|address| is_unicast(*address) && !self.is_tunnelled(*address));
            match address {
                Some(address) if usable.len() < limits::LOCATORS => usable.push((address, locator)),
                _ => tally.count(Refusal::LocatorUnusable),
            }
        }
        usable
    }

    /// Whether packets to `address` enter the tunnel, or the site.
    fn is_tunnelled(&self, address: IpAddr) -> bool {
        let own = self.own.iter().any(|own| own.net.contains(&address));
        let pitr_for = self.pitr_for.iter().flatten().any(|prefix| prefix.net.contains(&address));
        own || pitr_for || self.cgeid_network.is_some_and(|network| network.contains(&address))
    }

    /// Whether a Map-Request for a packet from `source` is a PITR's: the node is one, and the packet is not from a host of ours.
    pub(super) fn asks_as_pitr(&self, source: Option<IpAddr>) -> bool {
        let is_ours = |source| self.own.iter().any(|own| own.net.contains(&source));
        self.pitr_for.is_some() && !source.is_some_and(is_ours)
    }

    fn network(&self) -> Option<EidPrefix> {
        self.cgeid_network.map(|net| EidPrefix { iid: InstanceId(0), net })
    }
}

fn lifetime(ttl: Ttl, negative: bool) -> Duration {
    let longest = if negative { limits::NEGATIVE_TTL } else { limits::POSITIVE_TTL };
    ttl.lifetime().min(longest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::database::{Database, OwnLocator, RecordForm};

    fn prefix(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    fn positive(text: &str) -> MappingRecord {
        let locators = vec![OwnLocator::new("192.0.2.9".parse().unwrap(), 1, 100)];
        let form = RecordForm { authoritative: true, probed: None };
        Database::new(vec![], locators, Ttl::DEFAULT).record(prefix(text), form)
    }

    fn negative(text: &str, minutes: u32) -> MappingRecord {
        MappingRecord { ttl: Ttl(minutes), action: Action::NativelyForward, locators: vec![], ..positive(text) }
    }

    fn reply(records: Vec<MappingRecord>) -> MapReply {
        MapReply { records, ..MapReply::default() }
    }

    fn policy() -> Policy {
        let cgeid_network = Some("3fff:ce1::/32".parse().unwrap());
        let (own, pitr_for) = (vec![prefix("2001:db8:a::/48")], Some(vec![prefix("2001:db8:c::/48")]));
        Policy { own, moved: vec![], cgeid_network, pitr_for }
    }

    fn accept(asked: &str, records: Vec<MappingRecord>, cached: &[&str]) -> (Result<Vec<String>, Refusal>, Tally) {
        let mut tally = Tally::default();
        let reply = reply(records);
        let buries = |wide: &EidPrefix| cached.iter().any(|known| wide.covers(&prefix(known)));
        let answer = Answer { asked: prefix(asked), reply: &reply, within: None, is_cached: false };
        let accepted = policy().accept(answer, buries, &mut tally);
        (accepted.map(|entries| entries.iter().map(|entry| entry.prefix.to_string()).collect()), tally)
    }

    fn names(names: &[&str]) -> Result<Vec<String>, Refusal> {
        Ok(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn more_specifics_count_only_inside_the_answer() {
        let records = vec![positive("2001:db8:b::/48"), positive("2001:db8:b:1::/64"), positive("2001:beef::/32")];
        let (accepted, tally) = accept("2001:db8:b::2/128", records, &[]);
        assert_eq!(accepted, names(&["2001:db8:b::/48", "2001:db8:b:1::/64"]));
        assert_eq!(tally.get(Refusal::RecordOutsideAnswer), 1);
    }

    #[test]
    fn a_reply_that_does_not_cover_the_question_is_refused() {
        let (accepted, _) = accept("2001:db8:77::2/128", vec![negative("2001:db8:140::/42", 15)], &[]);
        assert_eq!(accepted, Err(Refusal::ReplyNotCovering));
    }

    /// RFC 9301, section 5.5.
    #[test]
    fn parts_answer_for_a_cached_prefix_that_has_become_several() {
        let accept = |is_cached, records| {
            let (reply, mut tally) = (reply(records), Tally::default());
            let asked = prefix("2001:db8:b::/48");
            let answer = Answer { asked, reply: &reply, within: Some(asked), is_cached };
            let accepted = policy().accept(answer, |wide| wide.covers(&prefix("2001:db8:b:f::/64")), &mut tally);
            (accepted.map(|entries| entries.iter().map(|entry| entry.prefix.to_string()).collect()), tally)
        };
        let parts =
            || vec![positive("2001:db8:b:1::/64"), positive("2001:beef::/32"), negative("2001:db8:b:2::/64", 15)];
        let (accepted, tally) = accept(true, parts());
        assert_eq!(accepted, names(&["2001:db8:b:1::/64", "2001:db8:b:2::/64"]));
        assert_eq!(tally.get(Refusal::RecordOutsideAnswer), 1);
        assert_eq!(accept(false, parts()).0, Err(Refusal::ReplyNotCovering), "nothing is replaced by them");
        for nothing in [vec![], vec![positive("2001:db8:c::/64")], vec![negative("2001:db8:b::/56", 15)]] {
            assert_eq!(accept(true, nothing).0, Err(Refusal::ReplyNotCovering));
        }
    }

    #[test]
    fn in_the_cgeid_network_only_host_mappings_are_taken() {
        let cgeid = "3fff:ce1::5/128";
        assert_eq!(accept(cgeid, vec![positive(cgeid)], &[]).0, names(&[cgeid]));
        let (accepted, tally) = accept(cgeid, vec![positive("3fff:ce1::/64")], &[]);
        assert_eq!(accepted, Err(Refusal::ReplyNotCovering));
        assert_eq!(tally.get(Refusal::RecordOverclaims), 1);
        assert_eq!(accept(cgeid, vec![negative("3fff::/16", 15)], &[]).0, names(&[cgeid]));
        let wider = accept("3fff:2::1/128", vec![positive("3fff::/16")], &[]).0;
        assert_eq!(wider, names(&["3fff:2::1/128"]), "a mapping round the network holds for the address asked");
    }

    #[test]
    fn no_answer_leads_packets_for_a_cgeid_out_of_the_tunnel() {
        let action = |asked: &str, record: MappingRecord| {
            let reply = reply(vec![record]);
            let answer = Answer { asked: prefix(asked), reply: &reply, within: None, is_cached: false };
            policy().accept(answer, |_| false, &mut Tally::default()).unwrap()[0].action
        };
        let cgeid = "3fff:ce1::5/128";
        for said in [cgeid, "3fff:ce1::/32", "3fff::/16", "::/0"] {
            assert_eq!(action(cgeid, negative(said, 15)), Action::DropNoReason, "{said}");
            let denied = MappingRecord { action: Action::DropPolicyDenied, ..negative(said, 15) };
            assert_eq!(action(cgeid, denied), Action::DropPolicyDenied, "{said}: any other word counts");
        }
        assert_eq!(action("3fff:2::1/128", negative("3fff::/16", 15)), Action::NativelyForward, "it is no CGEID");
        assert_eq!(action("2001:db8:b::2/128", negative("2001:db8:b::/48", 15)), Action::NativelyForward);
    }

    #[test]
    fn nobody_maps_our_own_prefixes() {
        let (accepted, tally) =
            accept("2001:db8:b::2/128", vec![positive("2001:db8::/32"), positive("2001:db8:a:1::/64")], &[]);
        assert_eq!(accepted, names(&["2001:db8:b::2/128"]));
        assert_eq!(tally.get(Refusal::RecordOverclaims), 1);
    }

    #[test]
    fn a_hole_does_not_bury_what_is_cached_and_lives_a_quarter_of_an_hour_at_most() {
        let hole = || vec![negative("10.100.0.0/16", 900)];
        assert_eq!(accept("10.100.77.2/32", hole(), &["10.100.1.0/24"]).0, names(&["10.100.77.2/32"]));
        assert_eq!(accept("10.100.77.2/32", hole(), &["10.1.1.0/24"]).0, names(&["10.100.0.0/16"]));
        let reply = reply(hole());
        let answer = Answer { asked: prefix("10.100.77.2/32"), reply: &reply, within: None, is_cached: false };
        let accepted = policy().accept(answer, |_| false, &mut Tally::default()).unwrap();
        assert_eq!(accepted[0].lifetime, Duration::from_secs(900));
    }

    #[test]
    fn an_answer_for_another_instance_is_none() {
        let asked = EidPrefix { iid: InstanceId(5), ..prefix("10.2.2.2/32") };
        let reply = reply(vec![positive("10.2.2.0/24")]);
        let refused = policy().accept(
            Answer { asked, reply: &reply, within: None, is_cached: false },
            |_| false,
            &mut Tally::default(),
        );
        assert_eq!(refused, Err(Refusal::ReplyNotCovering));
    }

    #[test]
    fn what_nobody_vouches_for_holds_for_the_address_asked() {
        let reply = reply(vec![positive("10.0.0.0/8"), positive("10.2.0.0/16"), positive("10.2.2.0/24")]);
        let accepted = |asked: &str| {
            let answer = Answer { asked: prefix(asked), reply: &reply, within: Some(prefix(asked)), is_cached: false };
            let accepted = policy().accept(answer, |_| false, &mut Tally::default()).unwrap();
            accepted.iter().map(|entry| (entry.prefix.to_string(), entry.record.eid.to_string())).collect::<Vec<_>>()
        };
        let best = |prefix: &str, of: &str| vec![(prefix.to_owned(), of.to_owned())];
        assert_eq!(accepted("10.2.7.2/32"), best("10.2.7.2/32", "10.2.0.0/16"), "the longest match, not the widest");
        let asked = "10.2.0.0/16";
        let own_coverage = [best(asked, asked), best("10.2.2.0/24", "10.2.2.0/24")].concat();
        assert_eq!(accepted(asked), own_coverage, "a refresh keeps the coverage that was believed before");
    }

    #[test]
    fn what_is_vouched_for_as_far_as_there_holds_no_further() {
        let within = |asked: &str, within: &str, claimed: &[&str]| {
            let reply = reply(claimed.iter().map(|claimed| positive(claimed)).collect());
            let answer = Answer { asked: prefix(asked), reply: &reply, within: Some(prefix(within)), is_cached: false };
            let accepted = policy().accept(answer, |_| false, &mut Tally::default()).unwrap();
            accepted.iter().map(|entry| entry.prefix.to_string()).collect::<Vec<_>>()
        };
        let claimed = ["10.64.0.0/10", "10.65.0.0/16", "10.66.128.0/17"];
        assert_eq!(within("10.66.0.1/32", "10.66.0.0/16", &claimed), ["10.66.0.0/16", "10.66.128.0/17"]);
        assert_eq!(within("10.66.0.1/32", "10.0.0.0/8", &claimed), claimed);
        let own = ["2001:db8::/32"];
        assert_eq!(within("2001:db8:b::2/128", "2001:db8::/40", &own), ["2001:db8:b::2/128"], "ours is in there");
    }

    #[test]
    fn a_locator_that_leads_into_the_tunnel_is_none() {
        let record = |rloc: &str| {
            let mut record = positive("2001:db8:b::/48");
            record.locators[0].rloc = rloc.parse::<IpAddr>().unwrap().into();
            record
        };
        for rloc in ["2001:db8:a::1", "2001:db8:c::1", "3fff:ce1::1", "ff02::1", "127.0.0.1"] {
            let reply = reply(vec![record(rloc)]);
            let mut tally = Tally::default();
            let answer = Answer { asked: prefix("2001:db8:b::2/128"), reply: &reply, within: None, is_cached: false };
            let accepted = policy().accept(answer, |_| false, &mut tally).unwrap();
            assert!(accepted[0].is_negative(), "{rloc}");
            assert_eq!(tally.get(Refusal::LocatorUnusable), 1, "{rloc}");
        }
    }
}
