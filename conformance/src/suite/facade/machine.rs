// SPDX-License-Identifier: GPL-2.0-or-later
//! What a machine does to a map system: a disk that is full, and a clock that is set. Nothing that was acknowledged is lost.

use std::net::SocketAddr;
use std::time::Duration;

use wire::control::auth::{self, Algorithm, AuthKey, TagForm};
use wire::control::{ControlMessage, MapRegister, Nonce, XtrIdentity};

use super::{OTHER, RLOC};
use crate::suite::mapsys::{
    Disk, MapSystem, Room, Xtr, host, key, prefix, record, register, request, rlocs, sealed, sentinel_site, told,
};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

const DISK: &str = "9301 5.6, OPERATION disk";
const OPEN: &str = "9301 8.4, OPERATION listen";
const CLOCK: &str = "9301 5.6, OPERATION clock";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("FC-096.1", DISK, "a full disk, kill -9, a restart with room again", full_and_killed),
    must("FC-096.2", DISK, "a full disk that has room again while it runs, then kill -9", full_and_freed),
    must(
        "FC-097.1",
        CLOCK,
        "restarts with a clock that is set an hour ahead, an hour back, and two hours ahead: rising nonces",
        clocks,
    ),
    must("FC-098.1", OPEN, "questions and registrations at several addresses of one that listens on all of them", open),
    must("FC-097.2", CLOCK, "the same for nonces of a legacy site, which do not rise", legacy_clocks),
];

const SITE: &str = "2001:db8:9::/48";
/// An acknowledgement of this machine comes in less: a commit to memory takes milliseconds.
const NEVER: Duration = Duration::from_millis(700);
/// The first clock, in seconds; the node's certificate begins by it, so that no later one may be slower.
const FIRST: &str = "-7200";
/// Set an hour ahead, an hour back, and two ahead.
const LATER: [&str; 3] = ["-3600", "-7200", "0"];
/// What is confirmed although the disk is full goes into what its file has already: no more than this.
const MOST: u64 = 2000;

fn site() -> String {
    sentinel_site()
        + "[[site]]\nname = \"nine\"\neid-prefix = [\"2001:db8:9::/48\"]\nnotify-port = \"source\"\n\
           key = [{ key-id = 1, secret = \"nine\" }]\n\
           [[site]]\nname = \"old\"\neid-prefix = [\"2001:db8:a::/48\"]\nlegacy = true\n\
           key = [{ key-id = 0, algorithm = \"hmac-sha1\", secret = \"old\" }]\n"
}

fn nine() -> AuthKey {
    key(1, Algorithm::HmacSha256, "nine")
}

/// A Map-Register of an xTR that has told nothing before: the file has to grow for its nonce.
fn of_xtr(number: u64, nonce: Nonce, rloc: &str) -> Result<MapRegister, Fault> {
    let mut xtr_id = [7; 16];
    xtr_id[8..].copy_from_slice(&number.to_be_bytes());
    let xtr_identity = Some(XtrIdentity { xtr_id, site_id: 0 });
    Ok(MapRegister { xtr_identity, ..register(nonce, vec![record(prefix(SITE)?, &[rloc])]) })
}

/// Map-Registers that were older than acknowledged ones; none of them may be taken any more.
#[derive(Default)]
struct Older {
    messages: Vec<Vec<u8>>,
}

impl Older {
    /// Registers as another xTR; whether that is acknowledged.
    fn register(&mut self, room: &Room, xtr: &Xtr, server: &MapSystem, patience: Duration) -> Result<bool, Fault> {
        let number = self.messages.len() as u64;
        let older = sealed(&of_xtr(number, room.nonce(), OTHER)?, &nine())?;
        xtr.send(server.first()?, &sealed(&of_xtr(number, room.nonce(), RLOC)?, &nine())?)?;
        let is_acknowledged = xtr.hear(patience)?.is_some();
        if is_acknowledged {
            self.messages.push(older);
        }
        Ok(is_acknowledged)
    }

    /// All of them are dropped, and the map system goes on.
    fn are_dropped(&self, room: &Room, xtr: &Xtr, server: &MapSystem) -> Result<usize, Fault> {
        for (number, message) in (1..).zip(&self.messages) {
            xtr.send(server.first()?, message)?;
            if number % 32 == 0 {
                room.works_at(server)?;
            }
        }
        room.works_at(server)?;
        match xtr.hear(Duration::from_millis(40))? {
            Some(came) => Err(broken(format!("an older nonce is answered with {}", told(&came.bytes)))),
            None => Ok(self.messages.len()),
        }
    }
}

/// Some are acknowledged, then the disk is full, until one is not; what is known is served all the same.
fn until_full(room: &Room, disk: &Disk, server: &MapSystem, name: &str) -> Result<(Xtr, Older), Fault> {
    let (xtr, mut older) = (room.xtr_elsewhere()?, Older::default());
    for _ in 0..10 {
        if !older.register(room, &xtr, server, NEVER)? {
            return Err(broken("not acknowledged, with room on the disk"));
        }
    }
    disk.fill()?;
    let mut count = 0;
    while older.register(room, &xtr, server, NEVER)? {
        count += 1;
        if count > MOST {
            return Err(broken(format!("{count} Map-Registers acknowledged with a full disk")));
        }
    }
    // What was registered last is not acknowledged, and served: nobody loses a packet for a full disk.
    let itr = room.xtr()?;
    let asked = request(room.nonce(), &[host("2001:db8:9::2")?], &[itr.address.ip()]);
    let came = rlocs(&itr.asks(server.first()?, &asked)?.records);
    if came != [RLOC] {
        return Err(broken(format!("with a full disk it answers {came:?}")));
    }
    if !room.log(name).contains("nothing is confirmed or published until this is mended") {
        return Err(broken(format!("to say that nothing is confirmed: {}", room.log(name))));
    }
    Ok((xtr, older))
}

fn full_and_killed(room: &Room) -> Judgement {
    let disk = room.disk("full")?;
    let server = room.start_on(&disk, "full", &site())?;
    let (xtr, mut older) = until_full(room, &disk, &server, "full")?;
    server.kill();
    disk.clear()?;
    let server = room.start_on(&disk, "full", &site())?;
    let count = older.are_dropped(room, &xtr, &server)?;
    let again = older.register(room, &xtr, &server, NEVER)?;
    expect(
        again,
        format!(
            "told, served, not acknowledged; all {count} acknowledged nonces known after it; then acknowledged again: {again}"
        ),
    )
}

fn full_and_freed(room: &Room) -> Judgement {
    let disk = room.disk("freed")?;
    let server = room.start_on(&disk, "freed", &site())?;
    let (xtr, mut older) = until_full(room, &disk, &server, "freed")?;
    disk.clear()?;
    if !older.register(room, &xtr, &server, NEVER)? {
        return Err(broken(format!("not acknowledged, with room again: {}", room.log("freed"))));
    }
    server.kill();
    let server = room.start_on(&disk, "freed", &site())?;
    let count = older.are_dropped(room, &xtr, &server)?;
    Ok(format!("acknowledged again as soon as there was room; all {count} acknowledged nonces known after kill -9"))
}

/// Each answer comes from where it was asked: an ITR behind a NAT, or a careful one, takes no other.
fn open(room: &Room) -> Judgement {
    let server = room.start_open("open", &site())?;
    let port = |v4: bool| {
        let of_family = server.addresses.iter().find(|address| address.is_ipv4() == v4);
        of_family.map(|address| address.port()).ok_or_else(|| broken("it does not listen in both families"))
    };
    let (v4, v6) = (port(true)?, port(false)?);
    let faces = ["127.77.0.1", "127.78.0.2", "127.0.0.1"].map(|face| (face, v4));
    for (face, port) in faces.into_iter().chain([("::1", v6)]) {
        let at = SocketAddr::new(face.parse().map_err(broken)?, port);
        let xtr = if at.is_ipv4() { room.xtr_elsewhere()? } else { room.xtr6()? };
        let message = register(room.nonce(), vec![record(prefix(SITE)?, &[RLOC])]);
        xtr.send(at, &sealed(&message, &nine())?)?;
        let asked = request(room.nonce(), &[host("2001:db8:9::2")?], &[xtr.address.ip()]);
        xtr.send(at, &xtr.ecm(&asked)?)?;
        for _ in 0..2 {
            let (from, came) = xtr.message()?;
            let is_answer = matches!(came, ControlMessage::MapNotify(_) | ControlMessage::MapReply(_));
            if from != at || !is_answer {
                return Err(broken(format!("asked at {at}, from {from} came {came:?}")));
            }
        }
    }
    Ok("Map-Notifies and Map-Replies come from each of four addresses that was asked".into())
}

fn clocks(room: &Room) -> Judgement {
    let mut older = Older::default();
    let mut server = room.start_at(FIRST, "clocks", &site())?;
    let xtr = room.xtr_elsewhere()?;
    for offset in LATER {
        if !older.register(room, &xtr, &server, NEVER)? {
            return Err(broken(format!("not acknowledged before the clock is set to {offset} s")));
        }
        server.kill();
        server = room.start_at(offset, "clocks", &site())?;
        older.are_dropped(room, &xtr, &server)?;
    }
    Ok(format!("{} older nonces dropped by each clock", older.messages.len()))
}

fn legacy_clocks(room: &Room) -> Judgement {
    let key = key(0, Algorithm::HmacSha1, "old");
    let xtr = room.xtr_elsewhere()?;
    let mut server = room.start_at(FIRST, "legacy-clocks", &site())?;
    let mut taken = Vec::new();
    for offset in LATER {
        // Nonces that fall: only that each is remembered tells a replay.
        for _ in 0..2 {
            let nonce = Nonce(1000 - taken.len() as u64);
            let message = register(nonce, vec![record(prefix("2001:db8:a::/48")?, &[RLOC])]).into();
            let bytes = auth::seal(&message, &key, TagForm::Untruncated).map_err(broken)?;
            xtr.send(server.first()?, &bytes)?;
            if xtr.hear(NEVER)?.is_none() {
                return Err(broken(format!("{nonce:?} is not acknowledged")));
            }
            taken.push(bytes);
        }
        server.kill();
        server = room.start_at(offset, "legacy-clocks", &site())?;
        // The very last one is a retransmission, which is acknowledged again.
        for old in &taken[..taken.len() - 1] {
            xtr.send(server.first()?, old)?;
        }
        room.works_at(&server)?;
        if let Some(came) = xtr.hear(Duration::from_millis(40))? {
            return Err(broken(format!("{offset} s: a replay is answered with {}", told(&came.bytes))));
        }
    }
    Ok(format!("{} replays dropped by each clock", taken.len() - 1))
}
