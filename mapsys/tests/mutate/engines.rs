// SPDX-License-Identifier: GPL-2.0-or-later
//! Who is configured so that every engine behind the first check is entered: a subscriber, an ITR of LISP-SEC, a tree, an RTR, an identity;
//! and what comes of them.

use std::net::IpAddr;

use cgeid::{Identity, Network};
use mapsys::ddt::{Config as Ddt, Delegation, Kind, Server};
use mapsys::engine::{Config, Output};
use mapsys::nat::Rtr;
use mapsys::register::site::NotifyPort;
use mapsys::resolve::lispsec::{Association, SecKey};
use mapsys::subscribe::subscriber::Subscriber;
use mapsys::subscribe::subscription::{Subscription, SubscriptionKey};
use rand::RngExt as _;
use wire::address::EidPrefix;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::lispsec::{EcmAd, EidAd, HmacId, KdfId, OneTimeKey};
use wire::control::{ControlMessage, Ecm, Info, MapReferral, MapRequest, Nonce, Referral, ReferralAction, XtrIdentity};
use wire::record::{LocatorRecord, MapVersion, Ttl};

use super::common::*;
use super::{MAD, Mill, mad_key};

/// The root of a tree, and whom it refers to.
const TREE: [&str; 2] = ["203.0.113.1:4342", "203.0.113.11:4342"];
pub(super) const RTR: &str = "203.0.113.2:4342";
/// Who subscribes, and asks with LISP-SEC.
pub(super) const ITR: &str = "192.0.2.1:5000";
/// What is delegated to this node, and from here.
const TREE_PREFIX: &str = "2001:dbe::/32";
const SECRET: &str = "itr and resolver";

/// What must come of a run: each shows that an engine was entered.
pub(crate) const ENTERED: [&str; 10] = [
    "subscription confirmed",
    "subscription proven",
    "association made by LISP-SEC",
    "answered with LISP-SEC",
    "searched in the tree",
    "referred to others",
    "referral kept",
    "Info-Request answered",
    "relayed Map-Register confirmed",
    "signed for the DHT",
];

pub(super) fn xtr_key() -> AuthKey {
    key(5, Algorithm::HkdfSha256, "between xTR and Map-Server")
}

fn identity() -> XtrIdentity {
    XtrIdentity { xtr_id: [7; 16], site_id: 9 }
}

/// An xTR that shares no key beforehand.
fn keyless() -> XtrIdentity {
    XtrIdentity { xtr_id: [8; 16], site_id: 9 }
}

pub(super) fn rtr() -> Rtr {
    Rtr { addresses: vec![address(RTR).ip()], key: key(3, Algorithm::HmacSha256, "of the rtr") }
}

pub(super) fn with_all(config: Config) -> Config {
    let now = std::time::SystemTime::now();
    let subscriber = Subscriber {
        name: "x".into(),
        xtr: identity(),
        key: Some(xtr_key()),
        lisp_sec: None,
        rlocs: vec!["192.0.2.0/24".parse().unwrap()],
        eids: vec![],
        port: NotifyPort::Control,
        configured: vec![],
    };
    let itrs = Association {
        name: "itrs".into(),
        peers: vec!["192.0.2.0/24".parse().unwrap()],
        keys: vec![SecKey { id: 3, secret: Secret::new(SECRET) }],
        protected_path: false,
    };
    let server = Server { address: "203.0.113.9".parse().unwrap(), priority: 1, weight: 100, keys: vec![] };
    let delegation = Delegation { prefix: prefix("2001:dbe:1::/48"), kind: Kind::Node, servers: vec![server] };
    let ddt = Ddt {
        roots: vec![address(TREE[0])],
        authoritative: vec![prefix(TREE_PREFIX)],
        delegations: vec![delegation],
        ..Ddt::default()
    };
    Config {
        identities: vec![Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap()],
        subscribers: vec![Subscriber { xtr: keyless(), key: None, ..subscriber.clone() }, subscriber],
        lisp_sec: vec![itrs],
        ddt,
        ..config
    }
}

pub(super) fn is_of_tree(remote: IpAddr) -> bool {
    TREE.iter().any(|server| address(server).ip() == remote)
}

impl Mill {
    /// A message of one of them: mutated before it is wrapped, or signed.
    pub(super) fn of_another(&mut self) -> (Vec<u8>, &'static str) {
        match self.dice.random_range(0..5) {
            0 => (self.subscription(), ITR),
            1 => (self.protected(), ITR),
            2 => (self.of_tree(), ITR),
            3 => (self.info(), "192.0.2.9:50001"),
            _ => (self.relayed(), RTR),
        }
    }

    /// Mutated, half of the time.
    fn sometimes(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if self.dice.random() { self.mutate(bytes) } else { bytes }
    }

    fn somewhere(&mut self) -> EidPrefix {
        let n: u16 = self.dice.random();
        let eids = [
            "2001:db8:a::2".to_owned(),
            format!("2001:db8:bad:{n:x}::1"),
            format!("2001:dbe:{n:x}::1"),
            format!("2001:db8:{n:x}::1"),
        ];
        host(&eids[self.dice.random_range(0..4)])
    }

    fn wrap(&self, message: Vec<u8>) -> Ecm {
        Ecm::wrap(address("192.0.2.1:61000"), address("192.0.2.2:4342"), message)
    }

    fn subscription(&mut self) -> Vec<u8> {
        self.nonce += 1;
        let mut asked =
            MapRequest { xtr_identity: Some(identity()), ..request(self.nonce, &[self.somewhere()], &["192.0.2.1"]) };
        asked.records[0].notify = true;
        let message = self.sometimes(asked.encode().unwrap());
        self.wrap(message).encode().unwrap_or_else(|_| vec![0x80])
    }

    fn protected(&mut self) -> Vec<u8> {
        self.nonce += 1;
        let otk = OneTimeKey::new(self.dice.random()).wrap(3, &Secret::new(SECRET), Nonce(self.nonce));
        let ad = EcmAd { requested_hmac: HmacId(2), otk, eid_ad: EidAd::unfilled(KdfId(2)) }.encode().unwrap();
        let eid = self.somewhere();
        let mut asked = request(self.nonce, &[eid], &["192.0.2.1"]);
        if self.dice.random() {
            asked.xtr_identity = Some(keyless());
            asked.records[0].notify = true;
        }
        let message = self.sometimes(asked.encode().unwrap());
        let security = Some(self.sometimes(ad));
        Ecm { security, ..self.wrap(message) }.encode().unwrap_or_else(|_| vec![0x88])
    }

    fn of_tree(&mut self) -> Vec<u8> {
        let n: u16 = self.dice.random_range(0..4);
        let eid = host(&format!("2001:dbe:{n:x}::{:x}", self.dice.random::<u16>()));
        let asked = request(self.dice.random(), &[eid], &["192.0.2.1"]).encode().unwrap();
        let message = self.sometimes(asked);
        let whole = Ecm { ddt: self.dice.random(), ..self.wrap(message) };
        whole.encode().unwrap_or_else(|_| vec![0x80])
    }

    fn info(&mut self) -> Vec<u8> {
        let whole =
            ControlMessage::from(Info { nonce: Nonce(self.dice.random()), eid: prefix(MAD).into(), ..Info::default() });
        let sealed = auth::seal(&whole, &mad_key(), TagForm::Truncated).unwrap();
        let mutated = self.sometimes(sealed);
        match ControlMessage::decode(&mutated) {
            Ok(message @ ControlMessage::Info(_)) => {
                auth::seal(&message, &mad_key(), TagForm::Truncated).unwrap_or(mutated)
            }
            _ => mutated,
        }
    }

    fn relayed(&mut self) -> Vec<u8> {
        let message = self.signed_by_the_mad();
        let whole = Ecm { by_rtr: true, ..Ecm::wrap(address("10.0.0.2:4342"), address(SERVER), message) };
        let whole = whole.encode().unwrap_or_else(|_| vec![0x80]);
        if self.dice.random_range(0..4) == 0 { self.mutate(whole) } else { whole }
    }

    fn enters(&mut self, what: &'static str) {
        *self.outcome.entered.entry(what).or_default() += 1;
    }

    /// Notes which engine an output is of, and plays those whom it goes to; what they answer, and from where.
    pub(super) fn answered(&mut self, output: &Output) -> Option<(String, Vec<u8>)> {
        match output {
            Output::DhtPut { .. } => self.enters("signed for the DHT"),
            Output::Send { remote, bytes, .. } if is_of_tree(remote.ip()) => {
                return self.referral(remote.to_string(), bytes);
            }
            Output::Send { remote, bytes, .. } => match ControlMessage::decode(bytes).unwrap() {
                ControlMessage::MapReply(reply) if reply.security.is_some() => self.enters("answered with LISP-SEC"),
                ControlMessage::MapReferral(_) => self.enters("referred to others"),
                ControlMessage::Info(_) => self.enters("Info-Request answered"),
                ControlMessage::Ecm(_) if *remote == address(RTR) => self.enters("relayed Map-Register confirmed"),
                ControlMessage::MapNotify(told) if auth::verify(bytes, &xtr_key(), Accept::STRICT).is_ok() => {
                    self.enters("subscription confirmed");
                    let ack = auth::seal(&ControlMessage::MapNotifyAck(told), &xtr_key(), TagForm::Truncated).unwrap();
                    return Some((remote.to_string(), self.sometimes(ack)));
                }
                _ => {}
            },
            _ => {}
        }
        None
    }

    /// What a DDT node might say to a question: the truth, a lie, or nonsense.
    fn referral(&mut self, from: String, asked: &[u8]) -> Option<(String, Vec<u8>)> {
        let Ok(ControlMessage::Ecm(ecm)) = ControlMessage::decode(asked) else { return None };
        let Ok(ControlMessage::MapRequest(asked)) = ControlMessage::decode(&ecm.message) else { return None };
        self.enters("searched in the tree");
        let mut eid = asked.records[0].eid.clone();
        eid.mask_len = [eid.mask_len, eid.mask_len / 2, eid.mask_len / 4][self.dice.random_range(0..3)];
        let action = ReferralAction::from_bits(self.dice.random_range(0..6));
        let server = address(TREE[1]).ip();
        let record = Referral {
            ttl: Ttl(15),
            action,
            authoritative: true,
            incomplete: false,
            map_version: MapVersion::default(),
            eid,
            locators: vec![LocatorRecord::new(server, 1, 100)],
            signatures: vec![],
        };
        let message = MapReferral { nonce: asked.nonce, records: vec![record] }.encode().unwrap();
        Some((from, self.sometimes(message)))
    }

    /// What the engine's tables show.
    pub(super) fn look_inside(&mut self) {
        let is_made = |(_, known): (SubscriptionKey, &Subscription)| {
            known.asked.as_ref().is_some_and(|asked| asked.key.is_some())
        };
        if self.bench.engine.subscriptions().iter().any(is_made) {
            self.enters("association made by LISP-SEC");
        }
        if self.bench.engine.subscriptions().iter().any(|(_, known)| known.proven.is_some()) {
            self.enters("subscription proven");
        }
        if self.bench.engine.ddt().cached > 0 {
            self.enters("referral kept");
        }
    }
}
