// SPDX-License-Identifier: GPL-2.0-or-later
//! Between the control half and the packet half: what that wants, and what it is told to do.

use std::net::IpAddr;
use std::time::Instant;

use wire::record::Action;

use super::{Control, Output};
use crate::map_cache::{Event, Forwarding, Update};
use crate::reach::Bits;
use crate::register;
use crate::resolve;

impl Control {
    pub(super) fn on_event(&mut self, now: Instant, event: Event) {
        let Some(event) = self.without_nat(now, event) else { return };
        match event {
            // Nobody else sends one.
            Event::Control { .. } => {}
            Event::Miss { eid, source } => self.resolver.handle(now, resolve::Input::Miss { eid, source }),
            Event::Refresh { prefix } if self.subscriber.refresh(now, &prefix) => {}
            Event::Refresh { prefix } => self.resolver.handle(now, resolve::Input::Refresh { prefix }),
            Event::Silent { rloc } => self.prober.suspect(now, rloc),
            Event::PathMtu { rloc, mtu } => self.prober.learned_mtu(now, rloc, mtu),
            Event::MtuReported { rloc, mtu } => self.prober.reported_mtu(now, rloc, mtu),
            Event::Source { eid, rloc, is_known } => {
                self.resolver.handle(now, resolve::Input::Source { eid, rloc, is_known });
            }
            Event::EchoAsked { rloc, nonce } => self.echo.asked(now, rloc, nonce),
            Event::Echoed { rloc, nonce } => self.echo.echoed(now, rloc, nonce),
            Event::EchoEnded { rloc, is_proven } => self.echo.ended(now, rloc, is_proven),
            Event::StatusBits { prefix, rloc, version, bits, width } => {
                let heard = self.status_bits.heard(&prefix, rloc, version, Bits { bits, width });
                self.on_status_bits(now, prefix, heard);
            }
            Event::VersionNewer { prefix } => self.resolver.handle(now, resolve::Input::Newer { prefix }),
            Event::VersionStale { prefix, rloc } => self.solicitor.remind(now, rloc, prefix),
            Event::UnusedEcn { rloc, inner, outer, packets } => self.on_unused_ecn(rloc, (inner, outer), packets),
        }
    }

    /// What the packet half is told to use is probed.
    pub(super) fn on_update(&mut self, now: Instant, update: Update) {
        let Some(update) = self.beside_bindings(update) else { return };
        self.tell_subscriber(now, &update);
        if let Update::Upsert { prefix, entry } = &update
            && let Forwarding::Negative(Action::NativelyForward) = &entry.forwarding
        {
            // Drop does not say so: it is also what a Map-Server answers of an EID that is registered, and for which nobody can sign.
            self.registrar.handle(now, register::Input::Nobodys(*prefix));
        }
        let mut update = match update {
            Update::Upsert { prefix, entry } => Update::Upsert { prefix, entry: self.petrs_for(&prefix).lead(entry) },
            other => other,
        };
        let mut locators = Vec::new();
        if let Update::Upsert { prefix, entry } = &update
            && let Forwarding::Locators(list) = &entry.forwarding
        {
            locators.extend(list.iter().map(|locator| locator.address));
            if locators.iter().any(|rloc| self.database.rlocs().contains(rloc)) {
                self.registrar.handle(now, register::Input::Here(*prefix));
            }
            locators.iter().for_each(|rloc| self.prober.watch(now, *rloc));
            locators.iter().for_each(|rloc| self.echo.watch(now, *rloc));
        }
        let of_peer = if self.trust.is_on() { self.of_peer(now, &mut update) } else { None };
        self.outputs.push_back(Output::Update(update));
        self.outputs.extend(of_peer.map(Output::Update));
        // The packet half forgets what is in no mapping.
        let prober = &self.prober;
        let from = |rloc: &IpAddr| Some(Update::From { rloc: *rloc, source: prober.source(*rloc)? });
        let mtu = |rloc: &IpAddr| Some(Update::PathMtu { rloc: *rloc, mtu: Some(prober.path_mtu(*rloc)?) });
        let known = locators.iter().flat_map(|rloc| [from(rloc), mtu(rloc)]).flatten();
        self.outputs.extend(known.map(Output::Update));
    }
}
