// SPDX-License-Identifier: GPL-2.0-or-later
//! A node that asks, and the map system and ETR that answer it.

use wire::address::{Eid, EidPrefix};
use wire::control::auth::Secret;
use wire::control::lispsec::{EcmAd, HmacAlgorithm, Kdf, OneTimeKey, seal_eid_ad, seal_reply};
use wire::control::{ControlMessage, Ecm, MapReply, MapRequest};
use wire::record::Action;
use xtr::map_cache::Event;
use xtr::resolve::{Demand, LispSec, Wrapping};
use xtr::transport::MapSystem;

use crate::double::{Node, RESOLVER, WithNegative, prefix, reply_to};

pub(crate) const EID: &str = "2001:db8:b::2/128";
pub(crate) const SITE: &str = "2001:db8:b::/48";
/// Shared by the ITR and the Map-Resolver.
const SECRET: &str = "itr and resolver";

pub(crate) fn itr(demand: Demand) -> Node {
    let mut node = Node::plain();
    node.control = node.control.secured(protection(demand));
    node
}

/// With the Map-Resolver that a secret is shared with.
pub(crate) fn protection(demand: Demand) -> LispSec {
    let wrapping = Wrapping::Secret { key_id: 3, secret: Secret::new(SECRET) };
    LispSec { demand, resolvers: vec![(MapSystem::Node(RESOLVER.parse().unwrap()), wrapping)] }
}

/// A Map-Request as it came to the Map-Resolver.
pub(crate) struct Question {
    pub(crate) ad: Option<EcmAd>,
    pub(crate) request: MapRequest,
}

impl Question {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let ecm = Ecm::decode(bytes).unwrap();
        let ad = ecm.security.map(|octets| EcmAd::decode(&octets).unwrap());
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else { panic!() };
        Self { ad, request }
    }

    pub(crate) fn itr_otk(&self) -> OneTimeKey {
        self.ad.as_ref().unwrap().otk.unwrap(&Secret::new(SECRET), self.request.nonce).unwrap()
    }

    /// What the Map-Server vouches for and the ETR signs.
    pub(crate) fn answer(&self, granted: &[&str], records: &[(&str, u32)]) -> Vec<u8> {
        Seal::default().of(self, granted, &reply_to(&self.request, records))
    }

    /// That nobody can sign (RFC 9303, section 6.7, rule 3).
    pub(crate) fn nobody_signs(&self) -> Vec<u8> {
        self.nobody_signs_for(SITE)
    }

    pub(crate) fn nobody_signs_for(&self, site: &str) -> Vec<u8> {
        let reply = reply_to(&self.request, &[]).with_negative(site, Action::DropNoReason, 1);
        Seal { cant_sign: true, ..Seal::default() }.of(self, &[site], &reply)
    }
}

/// How a Map-Server and an ETR seal an answer.
pub(crate) struct Seal {
    pub(crate) kdf: Kdf,
    pub(crate) hmac: HmacAlgorithm,
    pub(crate) cant_sign: bool,
}

impl Default for Seal {
    fn default() -> Self {
        Self { kdf: Kdf::HkdfSha256, hmac: HmacAlgorithm::Sha256, cant_sign: false }
    }
}

impl Seal {
    pub(crate) fn of(&self, question: &Question, granted: &[&str], reply: &MapReply) -> Vec<u8> {
        let itr_otk = question.itr_otk();
        let granted = granted.iter().map(|text| Eid::from(prefix(text))).collect();
        let eid_ad = seal_eid_ad(&itr_otk, self.kdf, self.hmac, self.cant_sign, granted).unwrap();
        seal_reply(reply, &eid_ad, &itr_otk.derive(self.kdf), self.hmac).unwrap()
    }
}

pub(crate) fn questions(node: &mut Node) -> Vec<Question> {
    std::mem::take(&mut node.sent).iter().map(|(_, _, bytes)| Question::read(bytes)).collect()
}

pub(crate) fn miss(node: &mut Node) {
    node.event(Event::Miss { eid: prefix(EID), source: "2001:db8:a::2".parse().unwrap() });
}

pub(crate) fn ask(node: &mut Node) -> Question {
    miss(node);
    let mut questions = questions(node);
    assert_eq!(questions.len(), 1);
    questions.remove(0)
}

pub(crate) fn from_resolver(node: &mut Node, bytes: &[u8]) {
    node.bytes(&format!("{RESOLVER}:4342"), bytes);
}

/// Whether each mapping in use was proven.
pub(crate) fn mappings(node: &Node) -> Vec<(EidPrefix, bool)> {
    node.control.map_cache(node.now).map(|(prefix, installed)| (*prefix, installed.secured)).collect()
}
