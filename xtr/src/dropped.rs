// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator reads of control messages that were dropped for what they are (RFC 9301, section 5.1; RFC 9306, section 3): of each kind
//! one in [`LOG_PAUSE`](crate::limits::LOG_PAUSE), whoever sends them.

use std::time::Instant;

use wire::DecodeError;
use wire::control::ControlMessage;

use crate::pause::Pause;
use crate::refusal::{Refusal, Tally};
use crate::transport::Via;

/// When a line about each kind was written last.
#[derive(Debug)]
pub(crate) struct Dropped([Pause; Refusal::ALL.len()]);

impl Default for Dropped {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Pause::default()))
    }
}

impl Dropped {
    /// Names what was refused of a message: what its tally had before and has now. Nothing that was sent is quoted but numbers.
    pub(crate) fn log(&mut self, now: Instant, via: Via, bytes: &[u8], (before, after): (&Tally, &Tally)) {
        let refused = |refusal: &Refusal| is_fault(*refusal) && after.get(*refusal) > before.get(*refusal);
        for refusal in Refusal::ALL.into_iter().filter(refused) {
            self.0[refusal as usize].line(now, |left_out| {
                let flaw = Some(refusal).filter(|refusal| *refusal == Refusal::Malformed).and_then(|_| flaw(bytes));
                let error = flaw.map(tracing::field::display);
                tracing::warn!(from = %via, reason = refusal.name(), error, left_out, "control message refused");
            });
        }
    }
}

/// The field for which a message, or the one in an ECM, cannot be decoded.
fn flaw(bytes: &[u8]) -> Option<DecodeError> {
    match ControlMessage::decode(bytes) {
        Ok(ControlMessage::Ecm(ecm)) => ControlMessage::decode(&ecm.message).err(),
        decoded => decoded.err(),
    }
}

/// Whether a message was refused for what it says, or cannot prove. The others come while nobody does anything wrong (answers that come twice
/// or too late, what is more than a bound allows, an EID that was ours), are about a part that is left out, or have lines of their own.
fn is_fault(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Malformed
            | Refusal::UnknownType
            | Refusal::NotForXtr
            | Refusal::ReplyNotCovering
            | Refusal::ReplyProbeNotAuthoritative
            | Refusal::ReplyProbeFromElsewhere
            | Refusal::RecordOverclaims
            | Refusal::RecordNotIp
            | Refusal::NotifyBadTag
            | Refusal::NotifyIncomplete
            | Refusal::NotifyNonceAhead
            | Refusal::RequestWithoutRecord
            | Refusal::RequestTooManyRecords
            | Refusal::RequestNoItrRloc
            | Refusal::ProbeInEcm
            | Refusal::EcmNotMapRequest
            | Refusal::SecRequired
            | Refusal::SecReplyUnprotected
            | Refusal::InfoBadTag
            | Refusal::InfoAmplification
            | Refusal::RelayServerUnknown
            | Refusal::RelayEid
            | Refusal::RelayNotifyBadTag
    )
}
