// SPDX-License-Identifier: GPL-2.0-or-later
//! An xTR that subscribes, a site that registers, and the Map-Server between them.

use std::net::SocketAddr;
use std::time::Duration;

use mapsys::engine::{Config, Mark, Memory, Output};
use mapsys::register::site::{Site, SitePrefix};
use mapsys::subscribe::subscription::Mode;
use wire::address::{Address, EidPrefix};
use wire::control::auth::{self, Accept, Algorithm, AuthKey, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRequest};
use wire::record::{MappingRecord, Ttl};

use crate::common::*;

pub(crate) const SITE: &str = "2001:db8:a::/48";
pub(crate) const ETR: &str = "198.51.100.1:4342";
/// The xTR's two ITR-RLOCs.
pub(crate) const ONE: &str = "192.0.2.1";
pub(crate) const TWO: &str = "192.0.2.2";
pub(crate) const FROM_ONE: &str = "192.0.2.1:5000";
pub(crate) const FROM_TWO: &str = "192.0.2.2:5000";
pub(crate) const EID: &str = "2001:db8:a::2";

pub(crate) fn site_key() -> AuthKey {
    key(1, Algorithm::HmacSha256, "secret of a")
}

/// A site that may register parts of its prefix.
pub(crate) fn site_a() -> Site {
    Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site("a", 1, "secret of a", &[]) }
}

pub(crate) fn served() -> Config {
    Config { subscribers: vec![subscriber()], ..config(vec![site_a()]) }
}

/// A Map-Server where the site is registered.
pub(crate) fn registered() -> Bench {
    let mut bench = Bench::new(served());
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    bench
}

/// A Map-Register; what comes of it but its own answer.
pub(crate) fn site_says(bench: &mut Bench, nonce: u64, records: Vec<MappingRecord>) -> Vec<Output> {
    let outputs = bench.datagram(ETR, &seal(register(nonce, records), &site_key()));
    let is_answer = |bytes: &[u8]| auth::verify(bytes, &site_key(), Accept::STRICT).is_ok();
    outputs.into_iter().filter(|o| !matches!(o, Output::Send { bytes, .. } if is_answer(bytes))).collect()
}

pub(crate) fn gone(prefix: EidPrefix) -> MappingRecord {
    MappingRecord { ttl: Ttl(0), ..record(prefix, &[]) }
}

/// A Map-Request with the N-bit.
pub(crate) fn subscribing(nonce: u64, eids: &[EidPrefix], itr_rlocs: &[&str]) -> MapRequest {
    let mut request = request(nonce, eids, itr_rlocs);
    request.records.iter_mut().for_each(|record| record.notify = true);
    MapRequest { xtr_identity: Some(identity()), ..request }
}

/// One that ends subscriptions.
pub(crate) fn leaving(nonce: u64, eid: EidPrefix) -> MapRequest {
    MapRequest { itr_rlocs: vec![Address::None], ..subscribing(nonce, &[eid], &[ONE]) }
}

/// The Map-Notifies for the xTR among outputs; their tags verify.
pub(crate) fn told(outputs: &[Output]) -> Vec<(SocketAddr, MapNotify)> {
    let told = outputs.iter().filter_map(|output| match output {
        Output::Send { remote, bytes, .. } if auth::verify(bytes, &xtr_key(), Accept::STRICT).is_ok() => {
            let Ok(ControlMessage::MapNotify(notify)) = ControlMessage::decode(bytes) else { return None };
            Some((*remote, notify))
        }
        _ => None,
    });
    told.collect()
}

/// The only one.
pub(crate) fn told_once(outputs: &[Output]) -> (SocketAddr, MapNotify) {
    let told = told(outputs);
    assert_eq!(told.len(), 1, "{told:?}");
    told[0].clone()
}

pub(crate) fn ack(notify: &MapNotify) -> Vec<u8> {
    auth::seal(&ControlMessage::MapNotifyAck(notify.clone()), &xtr_key(), TagForm::Truncated).unwrap()
}

/// Subscribes, and acknowledges what confirms it.
pub(crate) fn subscribe(bench: &mut Bench, nonce: u64, eid: EidPrefix) -> MapNotify {
    let outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(nonce, &[eid], &[ONE, TWO])));
    let (to, notify) = told_once(&outputs);
    acknowledge(bench, to, &notify);
    notify
}

pub(crate) fn acknowledge(bench: &mut Bench, to: SocketAddr, notify: &MapNotify) {
    let outputs = bench.datagram(&to.to_string(), &ack(notify));
    assert_eq!(told(&outputs), []);
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn rlocs(record: &MappingRecord) -> Vec<String> {
    record.locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect()
}

pub(crate) fn about(notify: &MapNotify) -> EidPrefix {
    notify.records[0].eid.ip_prefix().unwrap()
}

/// The live subscriptions: prefix, mode, whether proven.
pub(crate) fn subscriptions(bench: &Bench) -> Vec<(EidPrefix, Mode, bool)> {
    let all = bench.engine.subscriptions().iter().filter(|(_, known)| known.mode() != Mode::Gone);
    all.map(|(key, known)| (key.prefix, known.mode(), known.asked.is_none())).collect()
}

/// Writes what must be on disk into `memory`, as the journal and the state file do.
pub(crate) fn write(memory: &mut Memory, outputs: &[Output]) {
    for output in outputs {
        match output {
            Output::Persist(Mark::Subscription(kept)) => {
                memory.subscriptions.retain(|older| older.key() != kept.key());
                memory.subscriptions.push((**kept).clone());
            }
            Output::Persist(Mark::ForgottenSubscription(key)) => {
                memory.subscriptions.retain(|older| older.key() != *key);
            }
            Output::Persist(Mark::UsedKey(used)) => memory.used_keys.push(*used),
            Output::Persist(Mark::NotifyNonce(nonce)) => memory.notify_nonce = *nonce,
            _ => {}
        }
    }
}
