// SPDX-License-Identifier: GPL-2.0-or-later
//! What a target may say that it supports: a closed list. What it does not claim is not held against it.

use std::collections::BTreeSet;
use std::fmt;

use toml::Spanned;

use super::error::Wrong;

/// Something that not every implementation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// `proxy-reply`
    ProxyReply,
    /// `hmac-sha-1`
    HmacSha1,
    /// `hmac-sha-256`
    HmacSha256,
    /// `hkdf`
    Hkdf,
    /// `several-keys`
    SeveralKeys,
    /// `more-specifics`
    MoreSpecifics,
    /// `merge`
    Merge,
    /// `xtr-id`
    XtrId,
    /// `ipv6`
    Ipv6,
    /// `instance-id`
    InstanceId,
    /// `names`
    Names,
    /// `mac`
    Mac,
    /// `multicast`
    Multicast,
    /// `source-dest`
    SourceDest,
    /// `lisp-sec`
    LispSec,
    /// `pubsub`
    PubSub,
    /// `ddt`
    Ddt,
    /// `nat`
    Nat,
    /// `cgeid`
    Cgeid,
    /// `ipv6-rloc`
    Ipv6Rloc,
    /// `lisp-gpe`
    LispGpe,
    /// `source-check`
    SourceCheck,
    /// `trusted-peer`
    TrustedPeer,
    /// `rloc-probing`
    RlocProbing,
    /// `smr`
    Smr,
    /// `mtu-stateless`
    MtuStateless,
    /// `mtu-stateful`
    MtuStateful,
}

impl Claim {
    /// All of them, each with its name in target files and a sentence about it.
    pub const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::ProxyReply, "proxy-reply", "the Map-Server answers for sites that ask it to (P of the Map-Register)"),
        (Self::HmacSha1, "hmac-sha-1", "authentication by HMAC-SHA-1, its tag sent whole, in 20 octets"),
        (Self::HmacSha256, "hmac-sha-256", "authentication by HMAC-SHA-256-128 (algorithm 2)"),
        (Self::Hkdf, "hkdf", "authentication by HMAC-SHA-256-128 with keys from HKDF-SHA256 (algorithm 3)"),
        (Self::SeveralKeys, "several-keys", "a site may have two keys, told apart by Key ID"),
        (Self::MoreSpecifics, "more-specifics", "a site may register EID-prefixes within its own, up to /64"),
        (Self::Merge, "merge", "registrations of several xTRs of a site are merged where they ask for it"),
        (Self::XtrId, "xtr-id", "xTR-ID and Site-ID behind a Map-Register are read, and nonces kept for each xTR-ID"),
        (Self::Ipv6, "ipv6", "it is asked, and answers, over IPv6 as well as over IPv4"),
        (Self::InstanceId, "instance-id", "EIDs in instances (LCAF type 2)"),
        (Self::Names, "names", "EIDs that are names (RFC 9735)"),
        (Self::Mac, "mac", "EIDs that are MAC addresses"),
        (Self::Multicast, "multicast", "EIDs that are sources and groups (Multicast Info)"),
        (Self::SourceDest, "source-dest", "EIDs that are sources and destinations (Source/Dest Keys)"),
        (Self::LispSec, "lisp-sec", "LISP-SEC (RFC 9303)"),
        (Self::PubSub, "pubsub", "subscriptions to mappings (RFC 9437)"),
        (Self::Ddt, "ddt", "DDT node, Map-Server and Map-Resolver (RFC 8111)"),
        (Self::Nat, "nat", "Info-Requests and relayed Map-Registers of NAT traversal"),
        (Self::Cgeid, "cgeid", "EIDs derived from public keys, which nobody registers by a shared secret"),
        (Self::Ipv6Rloc, "ipv6-rloc", "a tunnel router has a locator of each family, and tunnels over both"),
        (Self::LispGpe, "lisp-gpe", "LISP-GPE (RFC 9305) with 100.64.0.77 and 2001:db8:a:1::77, and with nobody else"),
        (Self::SourceCheck, "source-check", "an ETR holds inner sources against the locator that they come from"),
        (Self::TrustedPeer, "trusted-peer", "nonces, locator-status-bits and map-versions are used with trusted peers"),
        (Self::RlocProbing, "rloc-probing", "an ITR probes locators, within six seconds from their first use"),
        (Self::Smr, "smr", "an ITR heeds solicit-map-requests"),
        (Self::MtuStateless, "mtu-stateless", "an ITR splits or refuses what is too long (RFC 9300, section 7.1)"),
        (Self::MtuStateful, "mtu-stateful", "an ITR heeds what ICMP says of sizes (RFC 9300, section 7.2)"),
    ];

    /// The claim of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(claim, ..)| *claim)
    }

    /// Its name in target files.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(claim, ..)| *claim == self).map_or("", |(_, name, _)| name)
    }

    /// The list for people: a line each.
    pub fn listed() -> String {
        Self::ALL.iter().map(|(_, name, about)| format!("  {name:<16} {about}\n")).collect()
    }
}

/// The claims of a list, each of which stands there once.
pub(super) fn checked(written: &[Spanned<String>]) -> Result<BTreeSet<Claim>, Wrong> {
    let mut claims = BTreeSet::new();
    for written in written {
        let (name, at) = (written.get_ref(), written.span().start);
        let unknown = || Wrong::at(at, format!("claims: {name:?} is none; there is\n{}", Claim::listed()));
        if !claims.insert(Claim::named(name).ok_or_else(unknown)?) {
            return Err(Wrong::at(at, format!("claims: {name:?} stands there twice")));
        }
    }
    Ok(claims)
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Claim;

    #[test]
    fn each_claim_has_one_name() {
        let names: BTreeSet<_> = Claim::ALL.iter().map(|(_, name, _)| name).collect();
        let claims: BTreeSet<_> = Claim::ALL.iter().map(|(claim, ..)| claim).collect();
        assert_eq!((names.len(), claims.len()), (Claim::ALL.len(), Claim::ALL.len()));
        for (claim, name, about) in Claim::ALL {
            assert_eq!((Claim::named(name), claim.name()), (Some(*claim), *name));
            assert!(!about.is_empty());
        }
        assert_eq!(Claim::named("anything"), None);
    }
}
