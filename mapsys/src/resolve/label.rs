// SPDX-License-Identifier: GPL-2.0-or-later
//! Names, MAC addresses and pairs that are asked for (RFC 9735, section 4; RFC 8060, sections 4.5 and 4.8; RFC 9301, section 8.3): what is
//! registered here, and nothing else. Neither the DHT nor a DDT node knows of them.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use wire::control::{EidRequest, MapRequest};
use wire::record::{Action, MappingRecord, Ttl};

use super::ask::Ask;
use super::waiting::Slot;
use super::{Context, Resolver, reply};
use crate::limits::{MORE_SPECIFICS, PAIR_STEPS};
use crate::refusal::Refusal;
use crate::register::MapServer;
use crate::register::label::grants::LabelGrant;
use crate::register::label::single::Single;
use crate::register::label::{Kind, Label, LabelError, Spelling};
use crate::register::registration::Registration;
use crate::register::site::LispSec;
use crate::transport::Via;

/// TTL of the answer about what is configured here and not registered (RFC 9301, section 8.3).
const UNREGISTERED: Ttl = Ttl(1);
/// TTL of the answer about what is not configured here (RFC 9301, section 8.3).
const UNKNOWN: Ttl = Ttl(15);

impl Resolver {
    /// Decides a record about something else than an IP prefix.
    pub(super) fn label_slot(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        request: &MapRequest,
        record: &EidRequest,
    ) -> Result<Slot, Refusal> {
        let label = Label::of(&record.eid).map_err(|error| match error {
            LabelError::Name => Refusal::RequestName,
            LabelError::Pair => Refusal::RequestPair,
            LabelError::Other => Refusal::RequestEidNotIp,
        })?;
        if ask.ddt {
            return Err(Refusal::RequestEidNotIp);
        }
        if record.notify {
            // RFC 9437, section 5: where there can be no subscription, a Map-Reply says what is so now.
            cx.tally.count(Refusal::SubscribeEidNotIp);
            if ask.is_leaving {
                return Ok(Slot::Silent);
            }
        }
        let (host, spelling, server) = (label.host(), Spelling::of(&record.eid), cx.server);
        let grant = server.sites().labels().find(&host);
        // What a less specific label is registered for says nothing about one that is configured inside it, were it for the same site;
        // nor does a name that one site has by itself about the longer ones of another (RFC 9735, section 4, would have it cover them).
        let steps = Cell::new(PAIR_STEPS);
        let registered = match &grant {
            Some(grant) => {
                let mut inside = server.labels().covering_within(&grant.configured, &host, &steps);
                inside.find(|(_, known)| known.site == grant.site)
            }
            None if host.kind() == Kind::Name => server.labels().longest(&host),
            None => None,
        };
        let site = registered.map(|(_, known)| known.site).or(grant.map(|grant| grant.site));
        let is_required = site.is_some_and(|site| server.sites().get(site).lisp_sec == LispSec::Required);
        if is_required && ask.protection.is_none() && ask.via != Via::Pipe {
            return Err(Refusal::SecRequired);
        }
        let lapsed = lapsed(server, grant.as_ref(), registered, (&host, &steps));
        if steps.get() == 0 {
            return Err(Refusal::RequestPairsNested);
        }
        if let Some(lapsed) = lapsed {
            ask.about.get_or_insert(lapsed.into());
            return Ok(Slot::Records(vec![negative(&host, spelling, Action::SendMapRequest, UNREGISTERED)]));
        }
        match (registered, grant) {
            (Some((label, known)), _) if known.is_proxied() => {
                ask.about.get_or_insert(label.into());
                let octets = self.reply_octets(ask);
                Ok(Slot::Records(records(server, (label, known), &host, spelling, octets)))
            }
            (Some((label, known)), _) => self.forward_label(cx, ask, (label, known), &host, spelling),
            (None, Some(grant)) => {
                ask.about.get_or_insert(grant.configured.into());
                Ok(Slot::Records(vec![unregistered(server, &grant, &host, spelling)]))
            }
            (None, None) => {
                self.admit_foreign(cx, ask, request)?;
                Ok(Slot::Records(vec![negative(&host, spelling, Action::NativelyForward, UNKNOWN)]))
            }
        }
    }

    /// The site answers itself: the Map-Request goes to one of its ETRs (RFC 9301, section 8.3), a protected one to one that does
    /// LISP-SEC. Where none does, the ITR hears that asking without might do (RFC 9303, section 6.7, rule 3).
    fn forward_label(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        (label, known): (Label, &Registration),
        host: &Label,
        spelling: Spelling,
    ) -> Result<Slot, Refusal> {
        if ask.protection.is_some() {
            if let Some(slot) = self.forward_label_protected(cx, ask, (label, known), spelling)? {
                return Ok(slot);
            }
            ask.about.get_or_insert(label.into());
            let within = narrowed(cx.server, &label, host);
            return Ok(Slot::Unsigned(vec![negative(&within, spelling, Action::DropNoReason, UNREGISTERED)]));
        }
        let asked = ask.local();
        let sendable = |address: IpAddr| self.sockets.towards(address, asked).is_some();
        let (_, address) = known.forward_to(sendable).ok_or(Refusal::NoAddressOfFamily)?;
        self.forward(cx, ask, SocketAddr::new(address, wire::CONTROL_PORT), label)
    }
}

/// What ended while nobody was served, and may be registered anew, if nothing that is registered is a better match.
fn lapsed(
    server: &MapServer,
    grant: Option<&LabelGrant>,
    registered: Option<(Label, &Registration)>,
    (host, steps): (&Label, &Cell<u32>),
) -> Option<Label> {
    let lapsed = server.lapsed().longest_label(&grant?.configured, host, steps)?;
    registered.is_none_or(|(label, _)| label.length() < lapsed.length()).then_some(lapsed)
}

/// The best match: where it can, with the more-specifics under it, else the part of it in which there are none. A pair has no others with
/// it: what overlaps it would tell an ITR only in which order we look.
fn records(
    server: &MapServer,
    (label, best): (Label, &Registration),
    host: &Label,
    spelling: Spelling,
    octets: usize,
) -> Vec<MappingRecord> {
    let all = match label {
        Label::Single(single) => with_more_specifics(server, (single, best), spelling, octets),
        Label::Pair(_) => None,
    };
    all.unwrap_or_else(|| vec![proxied(&narrowed(server, &label, host), best, spelling, best.ttl())])
}

/// A name or a block of MAC addresses and the more-specifics under it, with one TTL (RFC 9301, section 5.5); `None` if they are too many, or one
/// of them is not ours to answer for, or a name of another site, which an ITR would take for all that begin with it.
fn with_more_specifics(
    server: &MapServer,
    (single, best): (Single, &Registration),
    spelling: Spelling,
    octets: usize,
) -> Option<Vec<MappingRecord>> {
    let label = Label::Single(single);
    let inside = server.labels().inside(&single).filter(|(inner, _)| *inner != label);
    let inside: Vec<_> = inside.take(MORE_SPECIFICS + 1).collect();
    let is_of_others = |inner: &Label| *inner != label && server.labels().get(inner).is_none();
    // With few registered inside, one that is configured only is soon come to.
    let has_others = || {
        server.sites().labels().inside(&single).any(|inner| is_of_others(&inner))
            || server.lapsed().has_labels_inside(&single)
    };
    let is_told = |inner: &Registration| inner.is_proxied() && (label.kind() == Kind::Mac || inner.site == best.site);
    if inside.len() > MORE_SPECIFICS || has_others() || !inside.iter().all(|(_, inner)| is_told(inner)) {
        return None;
    }
    let ttl = inside.iter().map(|(_, inner)| inner.ttl()).fold(best.ttl(), Ttl::min);
    let all = std::iter::once((label, best)).chain(inside);
    let records: Vec<_> = all.map(|(label, known)| proxied(&label, known, spelling, ttl)).collect();
    (records.len() == 1 || reply::octets(&records) <= octets).then_some(records)
}

/// Configured, and not registered. Of a name no more is said than was asked: what names begin with is none itself.
fn unregistered(server: &MapServer, grant: &LabelGrant, host: &Label, spelling: Spelling) -> MappingRecord {
    let within = match host.kind() {
        Kind::Name => *host,
        Kind::Mac | Kind::Multicast | Kind::SourceDest => narrowed(server, &grant.configured, host),
    };
    negative(&within, spelling, Action::NativelyForward, UNREGISTERED)
}

/// A part of `within` around a label in which nothing else is registered, may be registered anew, or is configured.
fn narrowed(server: &MapServer, within: &Label, host: &Label) -> Label {
    let lapsed = server.lapsed().label_hole(within, host);
    let holes = [server.labels().hole(within, host), server.sites().labels().hole(within, host), lapsed];
    let holes = holes.into_iter().map(|hole| hole.unwrap_or(*host));
    holes.reduce(|one, two| if one.covers(&two) { two } else { one }).unwrap_or(*host)
}

/// A record of what is registered; A and L clear.
fn proxied(label: &Label, known: &Registration, spelling: Spelling, ttl: Ttl) -> MappingRecord {
    let merged = known.merged();
    MappingRecord {
        ttl: ttl.max(Ttl(1)),
        action: Action::NoAction,
        authoritative: false,
        map_version: merged.map_version,
        eid: label.eid(spelling),
        locators: merged.locators,
    }
}

fn negative(label: &Label, spelling: Spelling, action: Action, ttl: Ttl) -> MappingRecord {
    MappingRecord::negative(label.eid(spelling), ttl, action)
}
