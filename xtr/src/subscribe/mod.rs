// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions to mappings (RFC 9437): the mapping system tells of changes, instead of being asked again and again.
//!
//! A mapping is first asked for as any other, so that a resolver that knows nothing of subscriptions costs no packet anything; then
//! it is subscribed to by a Map-Request with the N-bit. Where that is refused or not answered the mapping is polled as before.
//!
//! * [`Subscriber`]: the engine; what it wants installed goes through the same checks as a Map-Reply;
//! * [`Association`]: what it shares with a Map-Server, or what LISP-SEC makes for each subscription;
//! * `subscription`: the state of one, and which nonces are news;
//! * `nonce`: nonces that rise over restarts, and that nobody off the path guesses;
//! * [`Configured`]: those that the operator makes, and what Map-Servers say of their own accord;
//! * `message`: the Map-Request that subscribes, or ends that.

mod association;
mod engine;
pub mod limits;
mod message;
mod nonce;
mod subscription;
mod table;
mod unasked;

pub use association::{Association, Security};
pub use engine::{Config, Output, Subscriber};
pub use subscription::State;
pub use unasked::{Configured, Told};

/// What was done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Map-Requests with the N-bit sent, those that end subscriptions among them.
    pub asked: u64,
    /// Map-Notifies that confirmed a subscription.
    pub confirmed: u64,
    /// Map-Notifies that told of a change.
    pub published: u64,
    /// Map-Replies in the place of a Map-Notify: there is no subscription.
    pub refused: u64,
    /// Subscriptions that the Map-Server has ended.
    pub ended: u64,
    /// Subscriptions that were given back.
    pub left: u64,
}

impl Counts {
    /// Each with the name under which `show counters` lists it.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("subscriptions-asked", self.asked),
            ("subscriptions-confirmed", self.confirmed),
            ("subscriptions-published", self.published),
            ("subscriptions-refused", self.refused),
            ("subscriptions-ended", self.ended),
            ("subscriptions-left", self.left),
        ]
    }
}
