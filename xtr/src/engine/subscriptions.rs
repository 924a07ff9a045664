// SPDX-License-Identifier: GPL-2.0-or-later
//! What joins subscriptions (RFC 9437) to the map-cache.

use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::Nonce;

use super::{Control, Output};
use crate::map_cache::{Event, Forwarding, Update};
use crate::resolve;
use crate::subscribe::{self, Configured, Counts, State, Subscriber, Told};

impl Control {
    /// Subscribes to the mappings in use.
    #[must_use]
    pub fn subscribing(mut self, now: Instant, config: subscribe::Config) -> Self {
        let (rlocs, own) = (self.database.rlocs(), self.database.prefixes().to_vec());
        self.subscriber = Subscriber::new(now, config, rlocs, own);
        self
    }

    /// Was told these last nonces unasked in the run before ([`Output::PersistTold`]).
    #[must_use]
    pub fn having_been_told(mut self, now: Instant, kept: impl IntoIterator<Item = (Told, Nonce)>) -> Self {
        self.subscriber.has_been_told(now, kept);
        self
    }

    /// The operator has made these subscriptions from now on, as [`Subscriber::set_unasked`] has it.
    pub fn set_unasked(&mut self, now: Instant, configured: Vec<Configured>, takes_unsubscribed: bool) {
        self.subscriber.set_unasked(now, configured, takes_unsubscribed);
    }

    /// Whether mappings are subscribed to at all.
    pub fn is_subscribing(&self) -> bool {
        self.subscriber.is_on()
    }

    /// How the mapping of an EID-prefix is kept up to date; `None` = it is polled.
    pub fn subscription(&self, prefix: &EidPrefix) -> Option<State> {
        self.subscriber.state(prefix)
    }

    /// What subscribing has done so far.
    pub fn subscription_counts(&self) -> Counts {
        self.subscriber.counts()
    }

    /// Does what is due about subscriptions. What they bring into the map-cache comes out of the resolver.
    pub(super) fn follow_subscriptions(&mut self, now: Instant) {
        self.subscriber.handle_timeout(now);
        while let Some(output) = self.subscriber.poll() {
            match output {
                subscribe::Output::PersistNonce(bound) => self.outputs.push_back(Output::PersistNonce(bound)),
                subscribe::Output::PersistTold(told) => self.outputs.push_back(Output::PersistTold(told)),
                subscribe::Output::Send(outgoing) => self.outputs.push_back(Output::Send(outgoing)),
                subscribe::Output::Install { via, asked, extends, proven, records } => {
                    let published = resolve::Input::Published { via, asked, extends, proven, records: &records };
                    self.resolver.handle(now, published);
                }
                subscribe::Output::Poll(prefix) => self.on_event(now, Event::Refresh { prefix }),
            }
        }
    }

    pub(super) fn tell_subscriber(&mut self, now: Instant, update: &Update) {
        match update {
            Update::Upsert { prefix, entry } => {
                let has_locators = matches!(entry.forwarding, Forwarding::Locators(_));
                self.subscriber.installed(now, *prefix, entry.expires, has_locators);
            }
            Update::Remove { prefix } => self.subscriber.removed(now, prefix),
            _ => {}
        }
    }
}
