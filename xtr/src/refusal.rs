// SPDX-License-Identifier: GPL-2.0-or-later
//! Control messages, or parts of them, that were refused: each reason has a name and a counter.

/// Why the control plane did not act on what it received or was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Refusal {
    /// Not decodable: truncated, an unknown AFI, a length that disagrees with its contents.
    Malformed,
    /// A message type that RFC 9301 does not define, or an unknown extension (RFC 9304).
    UnknownType,
    /// A message for a Map-Server, Map-Resolver or RTR.
    NotForXtr,
    /// Nothing can be sent: none of our locators has the family of the receiver.
    NoLocatorOfFamily,
    /// A value of ours had no encoding.
    NotEncodable,
    /// A Map-Reply whose nonce is not that of an outstanding request.
    ReplyUnasked,
    /// A Map-Reply none of whose records covers the EID asked for.
    ReplyNotCovering,
    /// A probe reply that is not authoritative (RFC 9301, section 5.4).
    ReplyProbeNotAuthoritative,
    /// A record wider than policy allows, for instance one that covers CGEIDs of others.
    RecordOverclaims,
    /// A record of a Map-Reply that lies outside the one that answers the request.
    RecordOutsideAnswer,
    /// A record whose EID is not an IP prefix.
    RecordNotIp,
    /// A locator that must not be sent to: multicast, of local meaning, or an LCAF that we do not know.
    LocatorUnusable,
    /// No room for another outstanding Map-Request.
    RequestTableFull,
    /// A packet missed, and its source has as many outstanding Map-Requests as there is room left for all others.
    RequestShareFull,
    /// A packet missed while its EID rests after ten unanswered requests, or after a request a moment ago.
    RequestPaused,
    /// The source of a packet from the core whose RLOC, or all of which together, have as many questions to the mapping system as they may.
    SourceRateLimited,
    /// An SMR for an EID that is not cached (RFC 9301, section 6.1).
    SmrNotCached,
    /// An SMR within three seconds of a question about the same EID-prefix that another one has already made be asked again then, or no room to
    /// note it.
    SmrRateLimited,
    /// A Map-Notify whose nonce is not that of an outstanding Map-Register.
    NotifyUnasked,
    /// The first Map-Notify of the Map-Server to a Map-Register whose repetition it has confirmed already, or that says what has changed since.
    NotifyLate,
    /// A Map-Notify whose tag does not verify.
    NotifyBadTag,
    /// A Map-Notify that does not contain every prefix that was registered, with its locators, or ours still where they were withdrawn.
    NotifyIncomplete,
    /// A Map-Notify that says that a part of an EID-prefix of ours has moved, and no room to note it.
    MovedTableFull,
    /// A Map-Request without records.
    RequestWithoutRecord,
    /// A record of a Map-Request beyond those that one request may have answered.
    RequestTooManyRecords,
    /// A Map-Request for an EID-prefix that is not ours.
    RequestNotOurs,
    /// A Map-Request without a locator to answer to.
    RequestNoItrRloc,
    /// A Map-Request that wants no answer (D bit).
    RequestWantsNoReply,
    /// A probe inside an ECM (RFC 9301, section 5.8).
    ProbeInEcm,
    /// A probe above the rate for its sender.
    ProbeRateLimited,
    /// A Map-Request above the rate for its sender and EID-prefix.
    RequestRateLimited,
    /// An ECM that contains anything but a Map-Request.
    EcmNotMapRequest,
    /// An ECM with LISP-SEC data under a Key ID that we register with at no Map-Server (RFC 9303, section 6.5).
    EcmSecurity,
    /// No room for another EID-prefix of our own.
    EidTableFull,
    /// A probe reply that neither comes from the locator that was probed nor names it by the p-bit.
    ReplyProbeFromElsewhere,
    /// No room to probe another locator; packets go there all the same.
    LocatorTableFull,
    /// No room to remember another ITR that sends to us; it does not hear of our changes.
    ItrTableFull,
    /// A Map-Notify about an EID that is not subscribed to, or for another xTR (RFC 9437).
    NotifyNotSubscribed,
    /// A Map-Notify about a subscription whose nonce is not above the last (RFC 9437, section 6).
    NotifyReplayed,
    /// A Map-Notify about a subscription whose nonce is far above all that it has had: somebody has subscribed in our name.
    NotifyNonceAhead,
    /// No room for another subscription; its mapping is polled.
    SubscriptionTableFull,
    /// No room for the version and status bits of another mapping of a trusted peer: they are not looked at.
    PeerTableFull,
    /// Locator-status-bits of a trusted peer that belong to another mapping than the cached one.
    StatusBitsOfAnother,
    /// LISP-SEC data that is not as RFC 9303, section 6, has it.
    SecMalformed,
    /// A protected Map-Request without what a Map-Server vouches for (RFC 9303, section 6.7.1).
    SecEidAdMissing,
    /// A one-time key that is wrapped in an unknown way (RFC 9303, section 8.4).
    SecUnknownWrap,
    /// An unencrypted one-time key over a path that nothing protects (RFC 9303, section 6.5).
    SecUnencrypted,
    /// A one-time key that does not unwrap: another secret, or changed on the way (RFC 9303, section 6.5).
    SecNotUnwrapped,
    /// A Map-Request without LISP-SEC, which is required (RFC 9301, section 9).
    SecRequired,
    /// A Map-Reply without LISP-SEC to a Map-Request with it (RFC 9303, section 6.9).
    SecReplyUnprotected,
    /// A Map-Reply with an HMAC that does not hold (RFC 9303, section 6.9).
    SecReplyForged,
    /// A Map-Reply with an HMAC or key derivation function that was not asked for (RFC 9303, section 6.9).
    SecReplyOtherFunction,
    /// A record of a protected Map-Reply that no Map-Server vouches for (RFC 9303, section 6.9.1).
    SecRecordOverclaims,
    /// A proven answer that nobody can sign for an EID, which is not asked about without LISP-SEC (E; RFC 9303, section 6.7).
    SecCantSign,
    /// A Map-Request that was not sent: others could read its one-time key on the way to that Map-Resolver (RFC 9303, section 6.4).
    SecNoKey,
    /// An Info-Reply that answers no Info-Request of ours, or not from the address asked, or that says nothing of a NAT.
    InfoUnasked,
    /// An Info-Reply of a Map-Server whose tag does not verify.
    InfoBadTag,
    /// An Info-Request above the rate for its sender.
    InfoRateLimited,
    /// An Info-Request so short that its answer would be more than three times as long.
    InfoAmplification,
    /// A Map-Register to be relayed to a Map-Server that this RTR does not know.
    RelayServerUnknown,
    /// A Map-Register to be relayed without records, or with others than EID-prefixes of this RTR's instance.
    RelayEid,
    /// A Map-Register to be relayed that was relayed for somebody else before.
    RelayReplayed,
    /// A Map-Register to be relayed above the rate for its sender.
    RelayRateLimited,
    /// No room for another Map-Register, or for another EID-prefix, from behind a NAT.
    RelayTableFull,
    /// A Map-Notify to be relayed that no Map-Server known to this RTR has vouched for.
    RelayNotifyBadTag,
    /// A Map-Notify to be relayed that answers no Map-Register that was, and tells nothing new to an xTR behind a NAT here.
    RelayNotifyUnasked,
    /// A Map-Notify-Ack to be relayed that answers no Map-Notify that was relayed there.
    RelayAckUnasked,
    /// A message of an RTR, at the data port, that is none that this node waits for.
    LetterUnasked,
    /// A report that a message of ours was too long for a link, which is about no probe for a path MTU: the kernel has heard it too.
    TooBigOfNoProbe,
    /// One about such a probe, of an MTU below 1280 or not below the length of the probe (RFC 8899, section 4.6.2).
    TooBigImpossible,
}

impl Refusal {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 70] = [
        Self::Malformed,
        Self::UnknownType,
        Self::NotForXtr,
        Self::NoLocatorOfFamily,
        Self::NotEncodable,
        Self::ReplyUnasked,
        Self::ReplyNotCovering,
        Self::ReplyProbeNotAuthoritative,
        Self::RecordOverclaims,
        Self::RecordOutsideAnswer,
        Self::RecordNotIp,
        Self::LocatorUnusable,
        Self::RequestTableFull,
        Self::RequestShareFull,
        Self::RequestPaused,
        Self::SourceRateLimited,
        Self::SmrNotCached,
        Self::SmrRateLimited,
        Self::NotifyUnasked,
        Self::NotifyLate,
        Self::NotifyBadTag,
        Self::NotifyIncomplete,
        Self::MovedTableFull,
        Self::RequestWithoutRecord,
        Self::RequestTooManyRecords,
        Self::RequestNotOurs,
        Self::RequestNoItrRloc,
        Self::RequestWantsNoReply,
        Self::ProbeInEcm,
        Self::ProbeRateLimited,
        Self::RequestRateLimited,
        Self::EcmNotMapRequest,
        Self::EcmSecurity,
        Self::EidTableFull,
        Self::ReplyProbeFromElsewhere,
        Self::LocatorTableFull,
        Self::ItrTableFull,
        Self::NotifyNotSubscribed,
        Self::NotifyReplayed,
        Self::NotifyNonceAhead,
        Self::SubscriptionTableFull,
        Self::PeerTableFull,
        Self::StatusBitsOfAnother,
        Self::SecMalformed,
        Self::SecEidAdMissing,
        Self::SecUnknownWrap,
        Self::SecUnencrypted,
        Self::SecNotUnwrapped,
        Self::SecRequired,
        Self::SecReplyUnprotected,
        Self::SecReplyForged,
        Self::SecReplyOtherFunction,
        Self::SecRecordOverclaims,
        Self::SecCantSign,
        Self::SecNoKey,
        Self::InfoUnasked,
        Self::InfoBadTag,
        Self::InfoRateLimited,
        Self::InfoAmplification,
        Self::RelayServerUnknown,
        Self::RelayEid,
        Self::RelayReplayed,
        Self::RelayRateLimited,
        Self::RelayTableFull,
        Self::RelayNotifyBadTag,
        Self::RelayNotifyUnasked,
        Self::RelayAckUnasked,
        Self::LetterUnasked,
        Self::TooBigOfNoProbe,
        Self::TooBigImpossible,
    ];

    /// The name under which `show counters` lists it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownType => "unknown-type",
            Self::NotForXtr => "not-for-xtr",
            Self::NoLocatorOfFamily => "no-locator-of-family",
            Self::NotEncodable => "not-encodable",
            Self::ReplyUnasked => "reply-unasked",
            Self::ReplyNotCovering => "reply-not-covering",
            Self::ReplyProbeNotAuthoritative => "reply-probe-not-authoritative",
            Self::RecordOverclaims => "record-overclaims",
            Self::RecordOutsideAnswer => "record-outside-answer",
            Self::RecordNotIp => "record-not-ip",
            Self::LocatorUnusable => "locator-unusable",
            Self::RequestTableFull => "request-table-full",
            Self::RequestShareFull => "request-share-full",
            Self::RequestPaused => "request-paused",
            Self::SourceRateLimited => "source-rate-limited",
            Self::SmrNotCached => "smr-not-cached",
            Self::SmrRateLimited => "smr-rate-limited",
            Self::NotifyUnasked => "notify-unasked",
            Self::NotifyLate => "notify-late",
            Self::NotifyBadTag => "notify-bad-tag",
            Self::NotifyIncomplete => "notify-incomplete",
            Self::MovedTableFull => "moved-table-full",
            Self::RequestWithoutRecord => "request-without-record",
            Self::RequestTooManyRecords => "request-too-many-records",
            Self::RequestNotOurs => "request-not-ours",
            Self::RequestNoItrRloc => "request-no-itr-rloc",
            Self::RequestWantsNoReply => "request-wants-no-reply",
            Self::ProbeInEcm => "probe-in-ecm",
            Self::ProbeRateLimited => "probe-rate-limited",
            Self::RequestRateLimited => "request-rate-limited",
            Self::EcmNotMapRequest => "ecm-not-map-request",
            Self::EcmSecurity => "ecm-security",
            Self::EidTableFull => "eid-table-full",
            Self::ReplyProbeFromElsewhere => "reply-probe-from-elsewhere",
            Self::LocatorTableFull => "locator-table-full",
            Self::ItrTableFull => "itr-table-full",
            Self::NotifyNotSubscribed => "notify-not-subscribed",
            Self::NotifyReplayed => "notify-replayed",
            Self::NotifyNonceAhead => "notify-nonce-ahead",
            Self::SubscriptionTableFull => "subscription-table-full",
            Self::PeerTableFull => "peer-table-full",
            Self::StatusBitsOfAnother => "status-bits-of-another",
            Self::SecMalformed => "sec-malformed",
            Self::SecEidAdMissing => "sec-eid-ad-missing",
            Self::SecUnknownWrap => "sec-unknown-wrap",
            Self::SecUnencrypted => "sec-unencrypted",
            Self::SecNotUnwrapped => "sec-not-unwrapped",
            Self::SecRequired => "sec-required",
            Self::SecReplyUnprotected => "sec-reply-unprotected",
            Self::SecReplyForged => "sec-reply-forged",
            Self::SecReplyOtherFunction => "sec-reply-other-function",
            Self::SecRecordOverclaims => "sec-record-overclaims",
            Self::SecCantSign => "sec-cant-sign",
            Self::SecNoKey => "sec-no-key",
            Self::InfoUnasked => "info-unasked",
            Self::InfoBadTag => "info-bad-tag",
            Self::InfoRateLimited => "info-rate-limited",
            Self::InfoAmplification => "info-amplification",
            Self::RelayServerUnknown => "relay-server-unknown",
            Self::RelayEid => "relay-eid",
            Self::RelayReplayed => "relay-replayed",
            Self::RelayRateLimited => "relay-rate-limited",
            Self::RelayTableFull => "relay-table-full",
            Self::RelayNotifyBadTag => "relay-notify-bad-tag",
            Self::RelayNotifyUnasked => "relay-notify-unasked",
            Self::RelayAckUnasked => "relay-ack-unasked",
            Self::LetterUnasked => "letter-unasked",
            Self::TooBigOfNoProbe => "too-big-of-no-probe",
            Self::TooBigImpossible => "too-big-impossible",
        }
    }
}

/// One counter for each [`Refusal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally([u64; Refusal::ALL.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; Refusal::ALL.len()])
    }
}

impl Tally {
    /// Counts one refusal.
    pub fn count(&mut self, refusal: Refusal) {
        tracing::trace!(refusal = refusal.name(), "refused");
        let counter = &mut self.0[refusal as usize];
        *counter = counter.saturating_add(1);
    }

    /// How often `refusal` happened.
    pub fn get(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize]
    }

    /// Sum over all refusals.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// This tally and `other` together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine = mine.saturating_add(theirs));
        self
    }

    /// Every refusal with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().map(|refusal| (refusal, self.get(refusal)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_counter() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index, "{}", refusal.name());
        }
        let mut tally = Tally::default();
        tally.count(Refusal::NotifyBadTag);
        assert_eq!(tally.clone().plus(&tally).get(Refusal::NotifyBadTag), 2);
        assert_eq!(tally.total(), 1);
    }
}
