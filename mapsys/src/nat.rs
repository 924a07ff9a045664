// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Server's part in NAT traversal (draft-ermagan-lisp-nat-traversal-19, section 5.2): it tells a site's xTR how it is seen and by
//! which RTRs it can be reached, and takes Map-Registers that an RTR relays.
//!
//! An RTR has no key of any site. What it relays is judged as if it had come straight; the Map-Notify goes back with a tag under the
//! key that the RTR shares with this Map-Server, so that it knows whom to believe about where an xTR is. What such an xTR is told of its
//! own accord goes there in the same way, and the Map-Notify-Ack comes back as a Map-Register does.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use wire::control::auth::{self, Accept, AuthKey, TagForm};
use wire::control::rtr::RtrAd;
use wire::control::{ControlMessage, Ecm, Info, message_type};

use crate::limit::bounded::Bounded;
use crate::limits::{AMPLIFICATION, INFO_RATE, INFO_RTRS, INFO_TRACKED, INFO_WINDOW, RELAYS};
use crate::refusal::Refusal;
use crate::register::site::SiteTable;

/// An RTR.
#[derive(Debug, Clone)]
pub struct Rtr {
    /// Its addresses: where xTRs reach it, and where it relays from.
    pub addresses: Vec<IpAddr>,
    /// The key that it shares with this Map-Server.
    pub key: AuthKey,
}

/// The way through an RTR: what the inner headers of a relayed Map-Register say, by which it finds its xTR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// The RTR.
    pub rtr: IpAddr,
    /// The address of the xTR behind its NAT.
    pub xtr: IpAddr,
    /// Ours, as the xTR knows it.
    pub server: SocketAddr,
    /// Ours, as the RTR knows it: from any other it takes nothing.
    pub local: SocketAddr,
}

impl Relay {
    /// That of a Map-Register in this ECM, which came from there to `local`.
    pub(crate) fn of(register: &Ecm, rtr: IpAddr, local: SocketAddr) -> Self {
        Self { rtr, xtr: register.source.ip(), server: register.destination, local }
    }
}

/// The ways to one xTR behind a NAT, by each of its RTRs, the last one first: each is to hear what has moved, as each has a binding and
/// senders of its own. One that the xTR has left knows none of its bindings any more, and refuses what is told by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relays([Option<Relay>; RELAYS]);

impl Relays {
    /// Those, if there are any.
    pub fn iter(&self) -> impl Iterator<Item = Relay> + '_ {
        self.0.iter().flatten().copied()
    }

    /// This one before all others.
    #[must_use]
    pub(crate) fn led_by(self, last: Relay) -> Self {
        let others = self.iter().filter(|other| other.rtr != last.rtr).collect::<Vec<_>>();
        let mut all = [last].into_iter().chain(others);
        Self(std::array::from_fn(|_| all.next()))
    }

    /// The others, without that of this RTR.
    #[must_use]
    pub(crate) fn without(self, rtr: IpAddr) -> Self {
        let mut others = self.iter().filter(|other| other.rtr != rtr);
        Self(std::array::from_fn(|_| others.next()))
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<Relay> {
        self.0[0]
    }
}

/// The RTRs, and who has asked for them.
#[derive(Debug)]
pub(crate) struct Rtrs {
    all: Vec<Rtr>,
    asked: Bounded<IpAddr, (Instant, u32)>,
}

impl Default for Rtrs {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Rtrs {
    pub(crate) fn new(all: Vec<Rtr>) -> Self {
        Self { all, asked: Bounded::new(INFO_TRACKED) }
    }

    /// The Info-Reply, if a site asks: under its key, with what is seen of it and the RTRs. Nothing is remembered.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        (local, remote): (SocketAddr, SocketAddr),
        bytes: &[u8],
        request: &Info,
        sites: &SiteTable,
    ) -> Result<Vec<u8>, Refusal> {
        if request.reply {
            return Err(Refusal::NotForMapSystem);
        }
        if self.all.is_empty() {
            return Err(Refusal::InfoNoRtr);
        }
        let grant = request.eid.ip_prefix().and_then(|prefix| sites.find(&prefix)).ok_or(Refusal::InfoUnknownSite)?;
        let key = sites.get(grant.site).key(request.auth.key_id, request.auth.algorithm)?;
        let whole = Accept { untruncated: true, narrow_coverage: false };
        auth::verify(bytes, &key, whole).map_err(|_| Refusal::InfoBadTag)?;
        // Not before: what anybody can send in the name of a NAT must not use up what the sites behind it have.
        self.spend(now, remote.ip())?;
        let is_truncated = request.auth.tag.len() == key.algorithm.tag_length(TagForm::Truncated);
        let form = if is_truncated { TagForm::Truncated } else { TagForm::Untruncated };
        let rtrs = self.for_one_at(remote.ip());
        for count in (1..=rtrs.len()).rev() {
            let reply = request.answer(remote, local, &rtrs[..count]);
            let reply = auth::seal(&ControlMessage::from(reply), &key, form).map_err(|_| Refusal::NotEncodable)?;
            if reply.len() as u64 <= bytes.len() as u64 * AMPLIFICATION {
                return Ok(reply);
            }
        }
        Err(Refusal::ReplyAmplification)
    }

    /// The key shared with the RTR at this address.
    pub(crate) fn key_of(&self, address: IpAddr) -> Option<&AuthKey> {
        self.all.iter().find(|rtr| rtr.addresses.contains(&address)).map(|rtr| &rtr.key)
    }

    /// Addresses of RTRs, those of the asker's family first.
    fn for_one_at(&self, asker: IpAddr) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.all.iter().flat_map(|rtr| rtr.addresses.iter().copied()).collect();
        addresses.sort_by_key(|address| address.is_ipv4() != asker.is_ipv4());
        addresses.truncate(INFO_RTRS);
        addresses
    }

    fn spend(&mut self, now: Instant, asker: IpAddr) -> Result<(), Refusal> {
        let (since, count) = self.asked.entry(asker, || (now, 0));
        if now.saturating_duration_since(*since) >= INFO_WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count > INFO_RATE { Err(Refusal::InfoRate) } else { Ok(()) }
    }
}

/// A Map-Notify on its way through the RTR that relayed the Map-Register of its xTR, shown to be ours by `key`: R and S of the ECM are
/// set, and the inner headers are those of the Map-Register, turned round (section 4.4).
pub(crate) fn to_rtr(relay: Relay, notify: Vec<u8>, key: &AuthKey) -> Result<Vec<u8>, Refusal> {
    let security = RtrAd::seal(&notify, key).and_then(|ad| ad.encode()).map_err(|_| Refusal::NotEncodable)?;
    let to = SocketAddr::new(relay.xtr, wire::CONTROL_PORT);
    let ecm = Ecm { for_rtr: true, security: Some(security), ..Ecm::wrap(relay.server, to, notify) };
    ecm.encode().map_err(|_| Refusal::NotEncodable)
}

/// Whether it is what [`to_rtr`] makes: it vouches as the Map-Notify does that is in it.
#[cfg_attr(not(feature = "shell"), allow(dead_code, reason = "the journal asks"))]
pub(crate) fn is_to_rtr(bytes: &[u8]) -> bool {
    /// R, in the first octet.
    const FOR_RTR: u8 = 0x02;
    message_type(bytes) == Some(Ecm::TYPE) && bytes.first().is_some_and(|first| first & FOR_RTR != 0)
}
