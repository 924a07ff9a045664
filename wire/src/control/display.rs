// SPDX-License-Identifier: GPL-2.0-or-later
//! How messages look in logs: one line, the fields that tell them apart.

use std::fmt::{self, Display, Formatter, Result};

use super::auth::Authentication;
use super::{
    ControlMessage, Ecm, EidRequest, Info, MapNotify, MapReferral, MapRegister, MapReply, MapRequest, Referral,
    SharedExtension, XtrIdentity,
};

impl Display for ControlMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::MapRequest(message) => message.fmt(f),
            Self::MapReply(message) => message.fmt(f),
            Self::MapRegister(message) => message.fmt(f),
            Self::MapNotify(message) => write!(f, "Map-Notify {message}"),
            Self::MapNotifyAck(message) => write!(f, "Map-Notify-Ack {message}"),
            Self::MapReferral(message) => message.fmt(f),
            Self::Info(message) => message.fmt(f),
            Self::Ecm(message) => message.fmt(f),
            Self::Shared(message) => message.fmt(f),
        }
    }
}

impl Display for MapRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "Map-Request nonce {}", self.nonce)?;
        let bits = [
            (self.authoritative, " A"),
            (self.probe, " probe"),
            (self.smr, " SMR"),
            (self.pitr, " PITR"),
            (self.smr_invoked, " SMR-invoked"),
            (self.local_xtr, " L"),
            (self.dont_map_reply, " D"),
        ];
        flags(f, &bits)?;
        each(f, " for", &self.records)?;
        write!(f, " from {}", self.source_eid)?;
        each(f, " itr", &self.itr_rlocs)?;
        each(f, " with", &self.map_reply_record)?;
        each(f, "", &self.xtr_identity)
    }
}

impl Display for EidRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}{}", self.eid, if self.notify { ",N" } else { "" })
    }
}

impl Display for MapReply {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "Map-Reply nonce {}", self.nonce)?;
        flags(f, &[(self.probe, " probe"), (self.echo_nonce, " E"), (self.security.is_some(), " S")])?;
        each(f, ":", &self.records)
    }
}

impl Display for MapRegister {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "Map-Register nonce {}", self.nonce)?;
        let bits = [
            (self.proxy_reply, " P"),
            (self.security_capable, " S"),
            (self.eid_notify, " E"),
            (self.use_ttl, " T"),
            (self.merge, " a"),
            (self.through_rtr, " R"),
            (self.want_notify, " M"),
        ];
        flags(f, &bits)?;
        write!(f, " {}", self.auth)?;
        each(f, ":", &self.records)?;
        each(f, "", &self.xtr_identity)
    }
}

impl Display for MapNotify {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "nonce {} {}", self.nonce, self.auth)?;
        each(f, ":", &self.records)?;
        each(f, "", &self.xtr_identity)
    }
}

impl Display for MapReferral {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "Map-Referral nonce {}", self.nonce)?;
        each(f, ":", &self.records)
    }
}

impl Display for Referral {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {:?} ttl {}", self.eid, self.action, self.ttl)?;
        flags(f, &[(self.authoritative, " A"), (self.incomplete, " incomplete")])?;
        each(f, "", &self.locators)
    }
}

impl Display for Info {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let kind = if self.reply { "Info-Reply" } else { "Info-Request" };
        write!(f, "{kind} nonce {} {} for {}: {}", self.nonce, self.auth, self.eid, self.address)
    }
}

impl Display for Ecm {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "ECM {} -> {}", self.source, self.destination)?;
        flags(f, &[(self.ddt, " D"), (self.for_rtr, " R"), (self.by_rtr, " N"), (self.security.is_some(), " S")])?;
        match ControlMessage::decode(&self.message) {
            Ok(message) => write!(f, ": {message}"),
            Err(error) => write!(f, ": {} octets, {error}", self.message.len()),
        }
    }
}

impl Display for SharedExtension {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "Shared Extension sub-type {}, {} octets", self.subtype, self.body.len())
    }
}

impl Display for Authentication {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "key {} alg {}", self.key_id, self.algorithm.0)
    }
}

impl Display for XtrIdentity {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "xtr-id {:032x} site-id {:016x}", u128::from_be_bytes(self.xtr_id), self.site_id)
    }
}

fn flags(f: &mut Formatter<'_>, flags: &[(bool, &str)]) -> Result {
    flags.iter().filter(|(set, _)| *set).try_for_each(|(_, name)| f.write_str(name))
}

/// Nothing if there are no items, otherwise `name` and the items.
fn each<'a, T: Display + 'a>(f: &mut Formatter<'_>, name: &str, items: impl IntoIterator<Item = &'a T>) -> fmt::Result {
    for (index, item) in items.into_iter().enumerate() {
        write!(f, "{}{item}", if index == 0 { format!("{name} ") } else { ", ".to_owned() })?;
    }
    Ok(())
}
