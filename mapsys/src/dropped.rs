// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator reads of messages that were dropped for what they are (RFC 9301, section 5.1; RFC 9306, section 3): of each kind one in
//! [`LOG_PAUSE`](crate::limits::LOG_PAUSE), whoever sends them.

use std::time::Instant;

use wire::DecodeError;

use crate::refusal::Refusal;
use crate::transport::Via;
use dht::pause::Pause;

/// When a line about each kind was written last.
#[derive(Debug)]
pub(crate) struct Dropped(Vec<Pause>);

impl Default for Dropped {
    fn default() -> Self {
        Self(Refusal::ALL.iter().map(|_| Pause::default()).collect())
    }
}

impl Dropped {
    /// Names a message, or a record of one, that was refused.
    pub(crate) fn refused(&mut self, now: Instant, via: Via, refusal: Refusal) {
        if is_quiet(refusal, via) {
            return;
        }
        self.0[refusal as usize].line(now, |left_out| {
            tracing::warn!(from = %via, reason = refusal.name(), left_out, "message refused");
        });
    }

    /// Names one that cannot be decoded, with the field that is wrong. Nothing that was sent is quoted but numbers.
    pub(crate) fn malformed(&mut self, now: Instant, via: Via, error: &DecodeError) -> Refusal {
        self.0[Refusal::Malformed as usize].line(now, |left_out| {
            tracing::warn!(from = %via, %error, left_out, "message malformed");
        });
        Refusal::Malformed
    }
}

/// What has lines of its own, and what comes while nobody does anything wrong: an answer that came twice or too late, what is more than a bound
/// allows, a request that says that it wants no answer. Their counters tell.
fn is_quiet(refusal: Refusal, via: Via) -> bool {
    let has_own_line = matches!(
        refusal,
        Refusal::Malformed | Refusal::SecMalformed | Refusal::SecUnencrypted | Refusal::SubscribeReplayed
    ) || (refusal.name().starts_with("register-") && via != Via::Pipe);
    let is_ordinary = matches!(
        refusal,
        Refusal::NotifyAckUnasked
            | Refusal::ReferralUnasked
            | Refusal::RequestWantsNoReply
            | Refusal::ForwardLoop
            | Refusal::InfoRate
            | Refusal::MissBudget
            | Refusal::ReceiptBudget
            | Refusal::ReplyAmplification
            | Refusal::ReplyRate
            | Refusal::RequestTableFull
            | Refusal::SigningBudget
            | Refusal::SubscribeRate
    );
    has_own_line || is_ordinary
}
