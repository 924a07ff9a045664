// SPDX-License-Identifier: GPL-2.0-or-later
//! What changes by itself: certificates end, keys are replaced, strangers say nothing.

use std::time::Instant;

use libp2p::PeerId;

use super::clocks::uptime;
use super::known::Known;
use crate::admit::Member;
use crate::admit::judge::check_standing;
use crate::shell::limits;
use crate::shell::node::driver::Driver;

impl Driver {
    /// Looks after what changes by itself: certificates end, keys are replaced, strangers say nothing, clocks are set.
    pub(in crate::shell::node) fn review(&mut self, now: Instant) {
        self.turn_strangers_away(now);
        self.look_at_clock(now);
        if std::mem::take(&mut self.admission.has_vacancy) {
            let waiting = self.admission.peers.iter().filter(|(_, known)| known.is_connected && known.member.is_some());
            for peer in waiting.map(|(peer, _)| *peer).collect::<Vec<_>>() {
                if self.addresses_of(&peer).is_empty() {
                    self.place(peer);
                }
            }
        }
        if now < self.admission.review_at {
            return;
        }
        self.admission.review_at = now + limits::REVIEW;
        for (peer, why) in self.ended() {
            self.end(peer, why);
        }
        self.forget_absent();
    }

    /// Members whose certificates have ended, or against whom something has become known.
    fn ended(&mut self) -> Vec<(PeerId, &'static str)> {
        let now = self.admission.clock.now();
        let records = &self.swarm.behaviour_mut().kad.store_mut().records;
        let why = |member: &Member| {
            if member.until < now {
                return Some("expired");
            }
            check_standing(member.cn, member.epoch, records.standing(member.cn)).err().map(|refused| refused.name())
        };
        let members = self.admission.peers.iter().filter_map(|(peer, known)| Some((*peer, known.member.as_ref()?)));
        members.filter_map(|(peer, member)| Some((peer, why(member)?))).collect()
    }

    /// Forgets who is neither connected nor in the routing table.
    fn forget_absent(&mut self) {
        let away = self.admission.peers.iter().filter(|(_, known)| !known.is_connected);
        for peer in away.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            if self.addresses_of(&peer).is_empty() {
                self.admission.peers.remove(&peer);
                self.admission.clocks.part(&peer, uptime());
            }
        }
    }

    /// In a closed network a connection is for those who know its key.
    fn turn_strangers_away(&mut self, now: Instant) {
        if !self.admission.is_closed() {
            return;
        }
        let is_stranger = |known: &Known| {
            let told = known.turned_away_at.map(|at| at + limits::TURNED_AWAY);
            let until = told.unwrap_or(known.since + limits::PRESENTATION_TIME);
            known.is_connected && !known.is_proven && now >= until
        };
        let strangers = self.admission.peers.iter().filter(|(_, known)| is_stranger(known));
        for peer in strangers.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            if self.admission.peers.get(&peer).is_some_and(|known| known.turned_away_at.is_none()) {
                *self.admission.stats.refused.entry("silent").or_default() += 1;
            }
            // An error says that it has gone by itself.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }
}
