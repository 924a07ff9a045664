// SPDX-License-Identifier: GPL-2.0-or-later
//! A map system that ends and begins again (RFC 9301, section 5.6: the last nonce is kept on disk).

use wire::control::auth::Algorithm;

use super::{OTHER, RLOC};
use crate::suite::mapsys::{
    MapSystem, Room, host, key, prefix, record, register, request, rlocs, sealed, sentinel_site, told,
};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

const NONCE: &str = "9301 5.6";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("FC-095.1", NONCE, "killed as by a power cut right after a Map-Notify, then an older nonce", killed),
    must("FC-095.2", NONCE, "killed five times, each as soon as a Map-Register was acknowledged", killed_often),
];

const SITE: &str = "2001:db8:9::/48";

fn site() -> String {
    sentinel_site()
        + "[[site]]\nname = \"nine\"\neid-prefix = [\"2001:db8:9::/48\"]\nkey = [{ key-id = 1, secret = \"nine\" }]\n"
}

fn start(room: &Room, name: &str) -> Result<MapSystem, Fault> {
    room.start(name, &site(), 1)
}

fn killed(room: &Room) -> Judgement {
    let (xtr, key) = (room.xtr()?, key(1, Algorithm::HmacSha256, "nine"));
    let early = room.nonce();
    let late = register(room.nonce(), vec![record(prefix(SITE)?, &[RLOC])]);
    let server = start(room, "killed")?;
    xtr.registers(server.first()?, &late, &key)?;
    server.kill();
    let server = start(room, "killed")?;
    let replay = sealed(&register(early, vec![record(prefix(SITE)?, &[OTHER])]), &key)?;
    xtr.send(server.first()?, &replay)?;
    room.works_at(&server)?;
    xtr.hears_nothing(std::time::Duration::from_millis(40))?;
    xtr.registers(server.first()?, &register(room.nonce(), vec![record(prefix(SITE)?, &[RLOC])]), &key)?;
    let asked = request(room.nonce(), &[host("2001:db8:9::2")?], &[xtr.address.ip()]);
    let came = rlocs(&xtr.asks(server.first()?, &asked)?.records);
    expect(came == [RLOC], "the older nonce dropped, a higher one taken")
}

fn killed_often(room: &Room) -> Judgement {
    const TIMES: usize = 5;
    let (xtr, key) = (room.xtr()?, key(1, Algorithm::HmacSha256, "nine"));
    let mut old: Option<Vec<u8>> = None;
    for round in 0..TIMES {
        let server = start(room, "often")?;
        if let Some(old) = old.take() {
            xtr.send(server.first()?, &old)?;
            room.works_at(&server)?;
            if let Some(came) = xtr.hear(std::time::Duration::from_millis(40))? {
                return Err(broken(format!("after {round} cuts an old nonce was answered with {}", told(&came.bytes))));
            }
        }
        old = Some(sealed(&register(room.nonce(), vec![record(prefix(SITE)?, &[OTHER])]), &key)?);
        xtr.registers(server.first()?, &register(room.nonce(), vec![record(prefix(SITE)?, &[RLOC])]), &key)?;
        server.kill();
    }
    Ok(format!("{TIMES} times: what was acknowledged before the cut is remembered after it"))
}
