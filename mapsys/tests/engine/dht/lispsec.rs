// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC for what is found in the DHT: answered for the site, or handed to its Map-Server over a path that hides the key.

use std::time::Duration;

use mapsys::engine::{Config, Output};
use mapsys::refusal::Refusal;
use mapsys::register::site::NotifyPort;
use mapsys::resolve::lispsec::{Association, SecKey};
use mapsys::subscribe::subscriber::Subscriber;
use wire::control::auth::Secret;
use wire::control::lispsec::{Asked, EcmAd, EidAd, HmacId, KdfId, OneTimeKey, Verified, verify_reply};
use wire::control::{ControlMessage, Ecm, MapRegister, MapRequest, Nonce, ReferralAction, XtrIdentity};
use wire::record::Action;

use super::world::*;
use crate::common::*;

const ASKED: Asked = Asked { hmac: HmacId(2), kdf: KdfId(2) };
const BETWEEN: &str = "resolver and server";

fn association(peers: &str, key: Option<&str>, protected_path: bool) -> Association {
    Association {
        name: peers.into(),
        peers: vec![peers.parse().unwrap()],
        keys: key.map(|secret| SecKey { id: 1, secret: Secret::new(secret) }).into_iter().collect(),
        protected_path,
    }
}

/// A registrar and a resolver, as [`two`]; ITRs share a secret with the resolver, and it has this with the registrar.
fn with(between: Option<Association>) -> World {
    let identity = operational();
    let anchor = anchor(SITE, identity.cn());
    let back = between.clone().map(|one| Association { peers: vec!["192.0.2.53/32".parse().unwrap()], ..one });
    let lisp_sec = [association("192.0.2.0/24", Some("itr"), false)].into_iter().chain(between).collect();
    let server = Config { lisp_sec: back.into_iter().collect(), ..registrar(identity, vec![site_a()]) };
    let mut resolver = Config { lisp_sec, ..resolver(vec![anchor]) };
    resolver.ddt.authoritative = vec![prefix("2001:db8::/32")];
    World::new(vec![server, resolver])
}

fn otk() -> OneTimeKey {
    OneTimeKey::new([9; 16])
}

fn asks(nonce: u64) -> Vec<u8> {
    asks_at(nonce, RLOC)
}

fn asks_at(nonce: u64, rloc: &str) -> Vec<u8> {
    let plain = Ecm::decode(&ecm(&request(nonce, &[host("2001:db8:a::2")], &[rloc]))).unwrap();
    let otk = otk().wrap(1, &Secret::new("itr"), Nonce(nonce));
    let ad = EcmAd { requested_hmac: ASKED.hmac, otk, eid_ad: EidAd::unfilled(ASKED.kdf) };
    Ecm { security: Some(ad.encode().unwrap()), ..plain }.encode().unwrap()
}

fn register_site(world: &mut World, proxy_reply: bool) {
    let message = MapRegister {
        proxy_reply,
        security_capable: true,
        ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])])
    };
    world.datagram(0, ETR, &seal(message, &site_key()));
}

fn takes(outputs: &[Output]) -> Verified {
    let [Output::Send { bytes, .. }] = outputs else { panic!("{outputs:?}") };
    verify_reply(bytes, &otk(), ASKED).unwrap()
}

#[test]
fn who_asks_with_lisp_sec_from_behind_a_nat_has_a_protected_answer_there() {
    let mut world = with(None);
    register_site(&mut world, true);
    let mut outputs = world.datagram(1, ITR, &asks_at(5, "10.0.0.5"));
    outputs.retain(|output| matches!(output, Output::Send { .. }));
    let found = takes(&outputs);
    assert!(!found.cant_sign && found.reply.records[0].locators.len() == 1);
    assert!(matches!(outputs[0], Output::Send { remote, .. } if remote == address(ITR)));
    // The ETR of a site that answers itself would send to the private locator; nor is it said that asking otherwise might help.
    let mut world = with(None);
    register_site(&mut world, false);
    assert_eq!(sent(&world.datagram(1, ITR, &asks_at(6, "10.0.0.5"))), []);
    assert_eq!(world.benches[1].only_refused(Refusal::ForeignBehindNat), 1);
}

#[test]
fn a_verified_record_is_answered_for_the_site() {
    let mut world = with(None);
    register_site(&mut world, true);
    let sent = |outputs: Vec<Output>| -> Vec<Output> {
        outputs.into_iter().filter(|output| matches!(output, Output::Send { .. })).collect()
    };
    let found = takes(&sent(world.datagram(1, ITR, &asks(5))));
    assert!(!found.cant_sign && found.overclaimed.is_empty());
    assert_eq!(found.reply.records[0].eid.ip_prefix(), Some(prefix(SITE)));
    assert_eq!(found.reply.records[0].locators.len(), 1);
    // From the cache as well.
    assert_eq!(takes(&sent(world.datagram(1, ITR, &asks(6)))).reply.nonce, Nonce(6));
}

fn only(outputs: &[Output]) -> (std::net::SocketAddr, Vec<u8>) {
    let sends: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send { remote, bytes, .. } => Some((*remote, bytes.clone())),
            _ => None,
        })
        .collect();
    let [one] = sends.as_slice() else { panic!("{outputs:?}") };
    one.clone()
}

#[test]
fn a_site_that_answers_itself_gets_the_request_if_its_map_server_shares_a_secret_with_the_resolver() {
    for between in [association("203.0.113.1/32", Some(BETWEEN), false), association("203.0.113.1/32", None, true)] {
        let is_encrypted = !between.protected_path;
        let mut world = with(Some(between));
        register_site(&mut world, false);
        let (to, bytes) = only(&world.datagram(1, ITR, &asks(5)));
        assert_eq!(to, address("203.0.113.1:4342"));
        let ad = EcmAd::decode(&Ecm::decode(&bytes).unwrap().security.unwrap()).unwrap();
        assert_eq!(ad.eid_ad, EidAd::unfilled(ASKED.kdf));
        let read = if is_encrypted { ad.otk.unwrap(&Secret::new(BETWEEN), Nonce(5)) } else { ad.otk.open() };
        assert_eq!(read.unwrap().expose(), otk().expose());
        // The Map-Server reads it and gives the ETR a key of its own.
        let (to, bytes) = only(&world.datagram(0, SERVER, &bytes));
        assert_eq!(to, address(ETR));
        let ad = EcmAd::decode(&Ecm::decode(&bytes).unwrap().security.unwrap()).unwrap();
        let ms_otk = ad.otk.unwrap(&Secret::new("secret of a"), Nonce(5)).unwrap();
        assert_ne!(ms_otk.expose(), otk().expose());
        assert_eq!(ad.eid_ad.granted.unwrap().eids, [prefix(SITE).into()]);
    }
}

#[test]
fn a_key_does_not_go_where_others_could_read_it() {
    let mut world = with(None);
    register_site(&mut world, false);
    let outputs = world.datagram(1, ITR, &asks(5));
    let (to, bytes) = only(&outputs);
    assert_eq!(to.ip(), address(ITR).ip());
    let told = verify_reply(&bytes, &otk(), ASKED).unwrap();
    assert!(told.cant_sign, "asking without LISP-SEC might reach the site");
    assert_eq!((told.reply.records[0].action, told.reply.records[0].locators.len()), (Action::DropNoReason, 0));
    assert_eq!(world.benches[1].engine.tally().get(Refusal::SecNoPath), 1);
}

#[test]
fn who_is_told_to_ask_again_is_told_so_protected() {
    let mut world = with(None);
    register_site(&mut world, true);
    world.mode = Mode::Silent;
    let told = [world.datagram(1, ITR, &asks(5)), world.pass(Duration::from_secs(2))].concat();
    let told: Vec<_> = told.into_iter().filter(|output| matches!(output, Output::Send { .. })).collect();
    assert_eq!(takes(&told).reply.records[0].action, Action::SendMapRequest);
}

#[test]
fn who_asks_through_the_tree_hears_too_that_the_key_cannot_be_hidden() {
    let mut world = with(None);
    register_site(&mut world, false);
    let mut asked = asks(5);
    asked[0] |= 0x04;
    let outputs = world.datagram(1, ITR, &asked);
    let referrals: Vec<_> = sent(&outputs)
        .into_iter()
        .filter_map(|(_, message)| match message {
            ControlMessage::MapReferral(referral) => Some(referral.records[0].action),
            _ => None,
        })
        .collect();
    assert_eq!(referrals, [ReferralAction::MsAck], "it is registered");
    let replies = outputs.iter().filter_map(|output| match output {
        Output::Send { bytes, .. } if bytes[0] >> 4 == 2 => Some(verify_reply(bytes, &otk(), ASKED).unwrap()),
        _ => None,
    });
    assert_eq!(replies.map(|told| told.cant_sign).collect::<Vec<_>>(), [true]);
}

#[test]
fn an_n_bit_is_sent_on_only_with_the_one_time_key_of_the_xtr_that_it_names() {
    let identity = operational();
    let anchor = anchor(SITE, identity.cn());
    let itrs = [association("192.0.2.1/32", Some("itr"), false), association("192.0.2.3/32", Some("itr"), false)];
    let to_server = association("203.0.113.1/32", Some(BETWEEN), false);
    let xtr = XtrIdentity { xtr_id: [7; 16], site_id: 9 };
    let subscriber = Subscriber {
        name: "x".into(),
        xtr,
        key: None,
        lisp_sec: Some(itrs[0].name.clone()),
        rlocs: vec!["192.0.2.0/24".parse().unwrap()],
        eids: vec![],
        port: NotifyPort::Control,
        configured: vec![],
    };
    let lisp_sec = itrs.into_iter().chain([to_server]).collect();
    let resolver = Config { lisp_sec, subscribers: vec![subscriber], ..resolver(vec![anchor]) };
    let mut world = World::new(vec![registrar(identity, vec![site_a()]), resolver]);
    register_site(&mut world, false);
    world.pass(Duration::from_secs(11));
    let asks = |nonce, itr_rloc: &str| {
        let mut request =
            MapRequest { xtr_identity: Some(xtr), ..request(nonce, &[host("2001:db8:a::2")], &[itr_rloc]) };
        request.records[0].notify = true;
        let otk = otk().wrap(1, &Secret::new("itr"), Nonce(nonce));
        let ad = EcmAd { requested_hmac: ASKED.hmac, otk, eid_ad: EidAd::unfilled(ASKED.kdf) };
        Ecm { security: Some(ad.encode().unwrap()), ..Ecm::decode(&ecm(&request)).unwrap() }.encode().unwrap()
    };
    let (to, sent_on) = only(&world.datagram(1, ITR, &asks(5, RLOC)));
    assert_eq!(to, address("203.0.113.1:4342"));
    let message = ControlMessage::decode(&Ecm::decode(&sent_on).unwrap().message).unwrap();
    let ControlMessage::MapRequest(sent_on) = message else { panic!("{message:?}") };
    assert!(sent_on.records[0].notify);
    let (to, bytes) = only(&world.datagram(1, "192.0.2.3:5000", &asks(6, "192.0.2.3")));
    let told = verify_reply(&bytes, &otk(), ASKED).unwrap();
    assert_eq!((to.ip().to_string().as_str(), told.reply.records[0].action), ("192.0.2.3", Action::DropPolicyDenied));
    assert_eq!(world.benches[1].engine.tally().get(Refusal::SubscribeKeyOfOther), 1);
}
