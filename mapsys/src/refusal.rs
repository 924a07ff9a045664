// SPDX-License-Identifier: GPL-2.0-or-later
//! Messages, or parts of them, that were refused: each reason has a name and a counter. And how many were not.

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Why the map system did not act on what it received.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Refusal {
            $($(#[$doc])* $variant,)*
        }

        impl Refusal {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name under which `show counters` lists it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

refusals! {
    /// Not decodable: truncated, an unknown AFI, a length that disagrees with its contents, a bad inner checksum.
    Malformed => "malformed",
    /// Longer than any message that we take from the network.
    TooLong => "too-long",
    /// A message type that RFC 9301 does not define, or an unknown extension (RFC 9304).
    UnknownType => "unknown-type",
    /// A message for an xTR or an RTR.
    NotForMapSystem => "not-for-map-system",
    /// A bare Map-Request: the mapping system is asked inside an ECM (RFC 9301, section 5.8).
    RequestNotEncapsulated => "request-not-encapsulated",
    /// A Map-Register without records.
    RegisterEmpty => "register-empty",
    /// More records than a Map-Register may have.
    RegisterTooManyRecords => "register-too-many-records",
    /// An EID that is neither an IP prefix nor a name nor a MAC address nor a pair of a source and a group or destination.
    RegisterEidNotIp => "register-eid-not-ip",
    /// A name that is longer than an EID can be, or whose mask-len is not its length (RFC 9735, section 3).
    RegisterName => "register-name",
    /// Multicast Info or a Source/Dest Key whose addresses are no IP prefixes of one family, or whose group is none; or Multicast Info in
    /// another instance's LCAF (RFC 8060, sections 4.5 and 4.8).
    RegisterPair => "register-pair",
    /// A CGEID registered from the network: only its own key may publish it.
    RegisterCgeidFromNetwork => "register-cgeid-from-network",
    /// A CGEID through the pipe whose key this node does not hold.
    RegisterCgeidNotOurs => "register-cgeid-not-ours",
    /// An EID-prefix of no configured site, or of another site than the one that signed.
    RegisterEidNotConfigured => "register-eid-not-configured",
    /// The key of an identity whose epoch is not above that of the key in use.
    IdentityOldEpoch => "identity-old-epoch",
    /// No room for another identity.
    IdentityTableFull => "identity-table-full",
    /// An identity for a map system that started without one: it signs nothing.
    IdentityNoRegistrar => "identity-no-registrar",
    /// The removal of an identity that signs for the sites.
    IdentityIsRegistrar => "identity-is-registrar",
    /// The removal of an identity that is not there.
    IdentityUnknown => "identity-unknown",
    /// A more-specific that the site may not register.
    RegisterTooSpecific => "register-too-specific",
    /// A key number that the site does not have.
    RegisterUnknownKey => "register-unknown-key",
    /// An algorithm that the key or the policy does not allow: none at all, SHA-1 without `legacy`, an unknown one.
    RegisterAlgorithm => "register-algorithm",
    /// A tag of a length that the algorithm does not have.
    RegisterTagLength => "register-tag-length",
    /// A tag that does not verify.
    RegisterBadTag => "register-bad-tag",
    /// A nonce not above the last accepted one, or seen before at a legacy site.
    RegisterReplayed => "register-replayed",
    /// No room for another registration, xTR or nonce memory.
    RegisterTableFull => "register-table-full",
    /// A record with an older Map-Version than what the same xTR has registered (RFC 9302, section 5).
    RegisterOldVersion => "register-old-version",
    /// A record none of whose locators can be sent to: multicast, unspecified, of one link only.
    RegisterNoLocator => "register-no-locator",
    /// A record with more locators, or longer ones, than a mapping may have, alone or merged with those of other xTRs.
    RegisterTooManyLocators => "register-too-many-locators",
    /// A Map-Notify-Ack for no Map-Notify of ours, or from somebody else than was told.
    NotifyAckUnasked => "notify-ack-unasked",
    /// A Map-Notify-Ack whose tag does not verify.
    NotifyAckBadTag => "notify-ack-bad-tag",
    /// A Map-Notify to an xTR that merges, sent seven times and never acknowledged.
    NotifyUnacknowledged => "notify-unacknowledged",
    /// No room for another Map-Notify to an xTR that merges.
    NotifyTableFull => "notify-table-full",
    /// A Map-Notify to a locator that an xTR has only named, when its site, or that address, has had as much as it may.
    NotifyNamedBudget => "notify-named-budget",
    /// A subscription without xTR-ID and Site-ID (RFC 9437, section 4).
    SubscribeNoIdentity => "subscribe-no-identity",
    /// A subscription of an xTR with which there is no security association: none is configured, or LISP-SEC is to make one, and it came without.
    SubscribeUnknownXtr => "subscribe-unknown-xtr",
    /// A subscription to what the xTR may not have, with ITR-RLOCs that are not its own, or from somewhere else.
    SubscribeDenied => "subscribe-denied",
    /// A subscription with a nonce that is not above the last one.
    SubscribeReplayed => "subscribe-replayed",
    /// A subscription with a one-time key that has made a security association before, or of which that is not known any more (RFC 9437,
    /// section 7.1).
    SubscribeKeyUsed => "subscribe-key-used",
    /// A subscription with a one-time key that another `[[lisp-sec]]` has unwrapped than the one that its xTR has.
    SubscribeKeyOfOther => "subscribe-key-of-other",
    /// A subscription with a nonce that leaves no room for notifications.
    SubscribeNonceEnd => "subscribe-nonce-end",
    /// More subscriptions in a time than an xTR may ask for.
    SubscribeRate => "subscribe-rate",
    /// A subscription of an xTR that has too many others to acknowledge.
    SubscribeUnproven => "subscribe-unproven",
    /// No room for another subscription.
    SubscribeTableFull => "subscribe-table-full",
    /// A subscription that covers too many registered EID-prefixes.
    SubscribeTooWide => "subscribe-too-wide",
    /// A subscription to what a site wants to answer for itself (RFC 9437, section 3), or of which the DHT cannot say all; one that ends by that
    /// too.
    SubscribeNotProxied => "subscribe-not-proxied",
    /// A subscription to a name, a MAC address or a pair; it is answered as if it were none (RFC 9437, section 5).
    SubscribeEidNotIp => "subscribe-eid-not-ip",
    /// A Map-Notify that confirms a subscription, a change or an end of one, never acknowledged.
    SubscribeUnacknowledged => "subscribe-unacknowledged",
    /// A Map-Notify with a change, never acknowledged by its subscriber.
    PublicationUnacknowledged => "publication-unacknowledged",
    /// A subscription that ended because no further change could wait for its turn.
    PublicationQueueFull => "publication-queue-full",
    /// A subscription that ended because its xTR acknowledged nothing for too long, or its nonces came to their end.
    SubscriptionEnded => "subscription-ended",
    /// A registered locator that is left out: nothing can be sent to it (multicast, unspecified), or it is an LCAF of an unknown type.
    LocatorUnusable => "locator-unusable",
    /// An ECM that contains anything but a Map-Request.
    EcmNotMapRequest => "ecm-not-map-request",
    /// An ECM with LISP-SEC data of a peer, or under a Key ID, for which there is no key.
    EcmSecurity => "ecm-security",
    /// LISP-SEC data that is not as RFC 9303, section 6.1, has it.
    SecMalformed => "sec-malformed",
    /// An EID-AD that is filled in: only a Map-Server does that, and this is the Map-Server (RFC 9303, section 6.1).
    SecEidAdFilled => "sec-eid-ad-filled",
    /// A one-time key that is wrapped in an unknown way (RFC 9303, section 8.4).
    SecUnknownWrap => "sec-unknown-wrap",
    /// An unencrypted one-time key over a path that nothing protects (RFC 9303, section 6.5).
    SecUnencrypted => "sec-unencrypted",
    /// A one-time key that does not unwrap: another secret, or changed on the way (RFC 9303, section 6.5).
    SecNotUnwrapped => "sec-not-unwrapped",
    /// A request without LISP-SEC for a site that requires it (RFC 9301, section 9).
    SecRequired => "sec-required",
    /// A protected request for a site that answers itself, with whose Map-Server this node shares no secret; the ITR is told.
    SecNoPath => "sec-no-path",
    /// An RLOC-probe inside an ECM (RFC 9301, section 5.8).
    ProbeInEcm => "probe-in-ecm",
    /// A Map-Request without records.
    RequestEmpty => "request-empty",
    /// A Map-Request with more records than are answered.
    RequestTooManyRecords => "request-too-many-records",
    /// A Map-Request for something else than an IP prefix, a name, a MAC address or a pair; a DDT Map-Request for what is no IP prefix.
    RequestEidNotIp => "request-eid-not-ip",
    /// A Map-Request for a name that is longer than an EID can be, or whose mask-len is not its length (RFC 9735, section 4).
    RequestName => "request-name",
    /// A Map-Request for a pair that cannot be registered (`register-pair`).
    RequestPair => "request-pair",
    /// A Map-Request for a pair around which a site has nested too many to look at them all.
    RequestPairsNested => "request-pairs-nested",
    /// A Map-Request without an ITR-RLOC of a family that we can send.
    RequestNoItrRloc => "request-no-itr-rloc",
    /// A Map-Request that wants no answer (D).
    RequestWantsNoReply => "request-wants-no-reply",
    /// A DDT Map-Request (D) through the pipe, or for several EIDs at once: a Map-Referral answers for one.
    ReferralNotServed => "referral-not-served",
    /// A Map-Referral with a nonce that nobody waits for, or from somebody else than was asked.
    ReferralUnasked => "referral-unasked",
    /// A Map-Referral that does not speak of the EID asked for, has an unknown action, or refers to nobody that can be asked.
    ReferralAstray => "referral-astray",
    /// A Map-Referral that is not more specific than the one that led to its sender (RFC 8111, section 7.3.4).
    ReferralLoop => "referral-loop",
    /// A DDT node that says that it was the wrong one to ask.
    ReferralNotAuthoritative => "referral-not-authoritative",
    /// A Map-Referral without a signature of RSA-SHA256, or a Map-Reply in its place, under a signed root (RFC 8111, section 10.4).
    ReferralUnsigned => "referral-unsigned",
    /// A Map-Referral whose signatures are all past their expiration, or before their inception.
    ReferralSignatureUntimely => "referral-signature-untimely",
    /// A Map-Referral that no key verifies which its sender has and which is authoritative for its prefix.
    ReferralBadSignature => "referral-bad-signature",
    /// A signed referral without keys for anybody that it refers to (RFC 8111, section 10.1).
    ReferralNoKeys => "referral-no-keys",
    /// A Map-Referral that only a revoked key has signed (RFC 8111, section 10.2.1).
    ReferralRevokedKey => "referral-revoked-key",
    /// A search in the tree that had more answers than any tree has levels.
    ReferralTooDeep => "referral-too-deep",
    /// A Map-Referral to a request of an ITR, when as many were verified as may be in that time.
    ReceiptBudget => "receipt-budget",
    /// A DDT Map-Request whose answer would have to be signed anew, when as many were signed as may be in that time.
    SigningBudget => "signing-budget",
    /// A search in the tree that ended without an answer: no root, or nobody answered in time.
    ReferralUnanswered => "referral-unanswered",
    /// A request for an EID not registered here from whom we serve only our own.
    ForeignNotServed => "foreign-not-served",
    /// A request for an EID not registered here whose outer source is none of its ITR-RLOCs, of which one at least is public.
    ForeignNotFromItr => "foreign-not-from-itr",
    /// A request for an EID that another node answers for, from behind a NAT: that node would send to a private ITR-RLOC.
    ForeignBehindNat => "foreign-behind-nat",
    /// The source has used up its lookups in the DHT.
    MissBudget => "miss-budget",
    /// A reply or a forwarded request would be more than three times what came in the target's name.
    ReplyAmplification => "reply-amplification",
    /// More replies, or forwarded requests, about one EID-prefix for one target than allowed.
    ReplyRate => "reply-rate",
    /// The same ECM a moment after it was forwarded: it went round.
    ForwardLoop => "forward-loop",
    /// A request whose next hop is this node, or an address that nothing may be sent to.
    NextHopUnusable => "next-hop-unusable",
    /// No room for another waiting request or lookup.
    RequestTableFull => "request-table-full",
    /// A request that no socket can forward: no listening address has the family of the next hop.
    NoAddressOfFamily => "no-address-of-family",
    /// A value of ours had no encoding.
    NotEncodable => "not-encodable",
    /// DHT values for a key that nobody waits for.
    ValuesUnasked => "values-unasked",
    /// A record found in the DHT that did not verify.
    RecordRefused => "record-refused",
    /// An Info-Request, and no RTR is configured.
    InfoNoRtr => "info-no-rtr",
    /// More Info-Requests of an address in a time than are answered.
    InfoRate => "info-rate",
    /// An Info-Request for an EID of no site.
    InfoUnknownSite => "info-unknown-site",
    /// An Info-Request whose tag does not verify.
    InfoBadTag => "info-bad-tag",
    /// A relayed message of none of the RTRs.
    RelayUnknownRtr => "relay-unknown-rtr",
    /// A relayed message that is neither a Map-Register nor a Map-Notify-Ack.
    RelayNotRegister => "relay-not-register",
}

/// What the map system has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Served {
    /// A Map-Register was taken, whatever changed by it, and whether or not the disk takes it: it is answered for at once.
    RegisterTaken,
    /// A Map-Notify went to an xTR of a site, as an answer or of our own accord; repetitions too. One that waits for the disk counts when it
    /// leaves.
    NotifySent,
    /// A Map-Reply went out in which a record has locators.
    RequestAnswered,
    /// A Map-Reply went out in which none has.
    RequestAnsweredNegative,
    /// A Map-Request was sent on to an ETR, a Map-Server or a Map-Resolver.
    RequestForwarded,
}

impl Served {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 5] = [
        Self::RegisterTaken,
        Self::NotifySent,
        Self::RequestAnswered,
        Self::RequestAnsweredNegative,
        Self::RequestForwarded,
    ];

    /// The name under which `show counters` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RegisterTaken => "registers_taken",
            Self::NotifySent => "notifies_sent",
            Self::RequestAnswered => "requests_answered",
            Self::RequestAnsweredNegative => "requests_answered_negative",
            Self::RequestForwarded => "requests_forwarded",
        }
    }
}

/// One counter for each [`Refusal`], and for each [`Served`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    refused: Vec<u64>,
    served: [u64; Served::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self { refused: vec![0; Refusal::ALL.len()], served: [0; Served::ALL.len()] }
    }
}

impl Tally {
    /// Counts one refusal.
    pub fn count(&mut self, refusal: Refusal) {
        tracing::debug!(refusal = refusal.name(), "refused");
        let counter = &mut self.refused[refusal as usize];
        *counter = counter.saturating_add(1);
    }

    /// Counts what was done.
    pub fn serve(&mut self, served: Served) {
        let counter = &mut self.served[served as usize];
        *counter = counter.saturating_add(1);
    }

    /// How often it was done.
    pub fn served(&self, served: Served) -> u64 {
        self.served[served as usize]
    }

    /// How often `refusal` happened.
    pub fn get(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// Sum over all refusals.
    pub fn total(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Every refusal with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.iter().map(|refusal| (*refusal, self.get(*refusal)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_counter() {
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, index, "{}", refusal.name());
        }
        for (index, served) in Served::ALL.iter().enumerate() {
            assert_eq!(*served as usize, index, "{}", served.name());
        }
        let mut tally = Tally::default();
        tally.count(Refusal::RegisterBadTag);
        assert_eq!(tally.get(Refusal::RegisterBadTag), 1);
        assert_eq!(tally.total(), 1);
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
}
