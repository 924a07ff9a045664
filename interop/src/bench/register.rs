// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Registers as the sites of the benches send them.

use std::collections::VecDeque;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use wire::address::{Address, Eid, EidPrefix};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapRegister, Nonce};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

/// Octets of a Map-Notify of the benches, and room.
const OCTETS: usize = 4096;
/// After this a Map-Notify is asked for again.
const NOTIFY_TIME: Duration = Duration::from_millis(500);
/// How often before it is given up.
const TRIES: usize = 10;

/// The mapping of a site.
pub(super) fn record(prefix: EidPrefix) -> MappingRecord {
    let locator = LocatorRecord {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        local: true,
        probed: false,
        reachable: true,
        rloc: Address::from(IpAddr::from([203, 0, 113, 1])),
    };
    MappingRecord {
        ttl: Ttl(1440),
        action: Action::NoAction,
        authoritative: true,
        map_version: MapVersion::default(),
        eid: Eid::from(prefix),
        locators: vec![locator],
    }
}

/// A Map-Register that asks for a Map-Notify, signed with HMAC-SHA-256 and Key ID 1. What it registers stays for a day (T), so
/// that a bench needs no second round.
pub(super) fn sealed(secret: &str, nonce: u64, records: Vec<MappingRecord>) -> anyhow::Result<Vec<u8>> {
    let (proxy_reply, want_notify, use_ttl) = (true, true, true);
    let nonce = Nonce(nonce);
    let message = MapRegister { nonce, proxy_reply, want_notify, use_ttl, records, ..MapRegister::default() };
    let key = AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new(secret.as_bytes()) };
    Ok(auth::seal(&message.into(), &key, TagForm::Truncated)?)
}

/// The nonce of a Map-Notify.
pub(super) fn confirmed(bytes: &[u8]) -> Option<u64> {
    match ControlMessage::decode(bytes) {
        Ok(ControlMessage::MapNotify(notify)) => Some(notify.nonce.0),
        _ => None,
    }
}

/// Registers a site, and waits for the Map-Notify. The socket is connected.
pub(super) fn register_one(socket: &UdpSocket, secret: &str, prefix: EidPrefix) -> anyhow::Result<()> {
    socket.set_read_timeout(Some(NOTIFY_TIME))?;
    let sealed = sealed(secret, 1, vec![record(prefix)])?;
    let mut buffer = [0; OCTETS];
    for _ in 0..TRIES {
        socket.send(&sealed)?;
        if let Ok(length) = socket.recv(&mut buffer)
            && confirmed(&buffer[..length]).is_some()
        {
            return Ok(());
        }
    }
    bail!("the map system does not confirm {prefix}")
}

/// Map-Registers on their way at once.
const WINDOW: usize = 64;
/// Records in each: with as many locators, 1,300 octets.
const RECORDS: usize = 30;
/// Longest time without any Map-Notify.
const PATIENCE: Duration = Duration::from_secs(10);

/// Registers very many EID-prefixes of one site, several Map-Registers at a time, and waits until all are confirmed. Nonces rise
/// from `nonce`; gives the next one. The socket is connected.
pub(super) fn register_all(
    socket: &UdpSocket,
    secret: &str,
    mut nonce: u64,
    prefixes: impl Iterator<Item = EidPrefix>,
) -> anyhow::Result<u64> {
    socket.set_read_timeout(Some(NOTIFY_TIME))?;
    let mut prefixes = prefixes.peekable();
    let mut outstanding: VecDeque<(u64, Vec<EidPrefix>)> = VecDeque::new();
    let mut send = |records: &[EidPrefix], outstanding: &mut VecDeque<_>| -> anyhow::Result<()> {
        socket.send(&sealed(secret, nonce, records.iter().copied().map(record).collect())?)?;
        outstanding.push_back((nonce, records.to_vec()));
        nonce += 1;
        Ok(())
    };
    let (mut buffer, mut heard) = ([0; OCTETS], Instant::now());
    while prefixes.peek().is_some() || !outstanding.is_empty() {
        while outstanding.len() < WINDOW && prefixes.peek().is_some() {
            let records: Vec<EidPrefix> = prefixes.by_ref().take(RECORDS).collect();
            send(&records, &mut outstanding)?;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let answer = confirmed(&buffer[..length]);
                outstanding.retain(|(nonce, _)| Some(*nonce) != answer);
                heard = Instant::now();
            }
            // Those that are overtaken would count as replayed: they go out again with new nonces.
            Err(_) => {
                ensure!(
                    heard.elapsed() < PATIENCE,
                    "the map system does not confirm {} Map-Registers",
                    outstanding.len()
                );
                for (_, records) in std::mem::take(&mut outstanding) {
                    send(&records, &mut outstanding)?;
                }
            }
        }
    }
    Ok(nonce)
}
