// SPDX-License-Identifier: GPL-2.0-or-later
//! What a machine does to a map system: a disk that is full, and a clock that is set. Nothing that was acknowledged is lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::control::auth::{self, Algorithm, AuthKey, TagForm};
use wire::control::{ControlMessage, MapRegister, Nonce, XtrIdentity};

use super::{OTHER, RLOC};
use crate::suite::mapsys::{
    Came, Disk, MapSystem, Room, Xtr, host, key, prefix, record, register, request, rlocs, sealed, sentinel_site, told,
};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

const DISK: &str = "9301 5.6, OPERATION disk";
const OPEN: &str = "9301 8.4, OPERATION listen";
const CLOCK: &str = "9301 5.6, OPERATION clock";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("FC-096.1", DISK, "a full disk, kill -9, a restart with room again", full_and_killed),
    must("FC-096.2", DISK, "a full disk that has room again while it runs, then kill -9", full_and_freed),
    must("FC-098.1", OPEN, "questions and registrations at several addresses of one that listens on all of them", open),
    must(
        "FC-097.2",
        CLOCK,
        "restarts with a clock that is set an hour ahead, an hour back, and two hours ahead: nonces of a legacy site",
        legacy_clocks,
    ),
    must(
        "FC-097.3",
        CLOCK,
        "a clock that is set an hour ahead, three hours back, and three ahead while it runs, then kill -9 and a restart",
        set_clocks,
    ),
];

const SITE: &str = "2001:db8:9::/48";
/// Of a site that registers before the disk is full, and not again.
const BEFORE: &str = "2001:db8:b::/48";
const BEFORE_HOST: &str = "2001:db8:b::2";
/// An acknowledgement that must come comes in less, also where the processors have other work: a commit to memory takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(8);
/// One that has not come by then is not expected any more; should it come late, it is taken up when it does.
const NEVER: Duration = Duration::from_millis(700);
/// An answer of a map system that has since answered others is there by then.
const GRACE: Duration = Duration::from_millis(40);
/// What it says when its disk is full.
const FULL: &str = "nothing is confirmed or published until this is mended";
/// The first clock, in seconds; the node's certificate begins by it, so that no later one may be slower.
const FIRST: &str = "-7200";
/// Set an hour ahead, an hour back, and two ahead.
const LATER: [&str; 3] = ["-3600", "-7200", "0"];
/// Set while it runs, in seconds: an hour ahead, three hours back, three ahead.
const SET: [i64; 3] = [3600, -7200, 3600];
/// What is confirmed although the disk is full goes into what its file has already: no more than this.
const MOST: u64 = 2000;

fn site() -> String {
    sentinel_site()
        + "[[site]]\nname = \"nine\"\neid-prefix = [\"2001:db8:9::/48\"]\nnotify-port = \"source\"\n\
           key = [{ key-id = 1, secret = \"nine\" }]\n\
           [[site]]\nname = \"before\"\neid-prefix = [\"2001:db8:b::/48\"]\nnotify-port = \"source\"\n\
           key = [{ key-id = 1, secret = \"before\" }]\n\
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
    /// Nonces that are not acknowledged, or not yet, and the message that is older than each.
    waiting: Vec<(Nonce, Vec<u8>)>,
}

impl Older {
    /// Registers as another xTR; whether that is acknowledged in time.
    fn register(&mut self, room: &Room, xtr: &Xtr, server: &MapSystem, patience: Duration) -> Result<bool, Fault> {
        let number = (self.messages.len() + self.waiting.len()) as u64;
        let older = sealed(&of_xtr(number, room.nonce(), OTHER)?, &nine())?;
        let nonce = room.nonce();
        xtr.send(server.first()?, &sealed(&of_xtr(number, nonce, RLOC)?, &nine())?)?;
        self.waiting.push((nonce, older));
        self.hears(nonce, xtr, patience)
    }

    /// Takes up what comes until this nonce is acknowledged; whether it is in time.
    fn hears(&mut self, nonce: Nonce, xtr: &Xtr, patience: Duration) -> Result<bool, Fault> {
        let begun = Instant::now();
        while self.waiting.iter().any(|(waiting, _)| *waiting == nonce) {
            let left = patience.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
            let Some(left) = left else { return Ok(false) };
            match xtr.hear(left)? {
                Some(came) => self.take(&came)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// An acknowledgement of what waits for one, however late. That another xTR has the EID-prefix now is said under a nonce of the map
    /// system's own; anything else should not have come.
    fn take(&mut self, came: &Came) -> Result<(), Fault> {
        let Ok(ControlMessage::MapNotify(notify)) = ControlMessage::decode(&came.bytes) else {
            return Err(broken(format!("an older nonce is answered with {}", told(&came.bytes))));
        };
        if let Some(place) = self.waiting.iter().position(|(nonce, _)| *nonce == notify.nonce) {
            self.messages.push(self.waiting.swap_remove(place).1);
            return Ok(());
        }
        let of_older = |message: &&Vec<u8>| message.get(4..12) == Some(&notify.nonce.0.to_be_bytes()[..]);
        match self.messages.iter().chain(self.waiting.iter().map(|(_, older)| older)).find(of_older) {
            Some(_) => Err(broken(format!("an older nonce is answered with {}", told(&came.bytes)))),
            None => Ok(()),
        }
    }

    /// What lies in the socket is from before.
    fn take_late(&mut self, xtr: &Xtr) -> Result<(), Fault> {
        while let Some(came) = xtr.hear(GRACE)? {
            self.take(&came)?;
        }
        Ok(())
    }

    /// All of them are dropped, and the map system goes on.
    fn are_dropped(&mut self, room: &Room, xtr: &Xtr, server: &MapSystem) -> Result<usize, Fault> {
        self.take_late(xtr)?;
        let count = self.messages.len();
        for (number, message) in (1..).zip(&self.messages) {
            xtr.send(server.first()?, message)?;
            if number % 32 == 0 {
                room.works_at(server)?;
            }
        }
        room.works_at(server)?;
        self.take_late(xtr)?;
        Ok(count)
    }
}

/// What was registered and acknowledged before the disk was full is answered for as then, by one that was killed since.
fn is_kept(room: &Room, server: &MapSystem) -> Result<(), Fault> {
    let itr = room.xtr()?;
    let asked = request(room.nonce(), &[host(BEFORE_HOST)?], &[itr.address.ip()]);
    let came = rlocs(&itr.asks(server.first()?, &asked)?.records);
    if came == [OTHER] {
        Ok(())
    } else {
        Err(broken(format!("what was acknowledged before is answered with {came:?}")))
    }
}

/// Some are acknowledged, then the disk is full, until one is not; what is known is served all the same.
fn until_full(room: &Room, disk: &Disk, server: &MapSystem, name: &str) -> Result<(Xtr, Older), Fault> {
    let (xtr, mut older) = (room.xtr_elsewhere()?, Older::default());
    for _ in 0..10 {
        if !older.register(room, &xtr, server, PATIENCE)? {
            return Err(broken("not acknowledged, with room on the disk"));
        }
    }
    let before = register(room.nonce(), vec![record(prefix(BEFORE)?, &[OTHER])]);
    room.xtr_elsewhere()?.registers(server.first()?, &before, &key(1, Algorithm::HmacSha256, "before"))?;
    disk.fill()?;
    for count in 0.. {
        if count > MOST {
            return Err(broken(format!("{count} Map-Registers acknowledged with a full disk")));
        }
        if !older.register(room, &xtr, server, NEVER)? && is_full(room, &mut older, &xtr, name)? {
            break;
        }
    }
    // What was registered last is not acknowledged, and served: nobody loses a packet for a full disk.
    let itr = room.xtr()?;
    let asked = request(room.nonce(), &[host("2001:db8:9::2")?], &[itr.address.ip()]);
    let came = rlocs(&itr.asks(server.first()?, &asked)?.records);
    if came != [RLOC] {
        return Err(broken(format!("with a full disk it answers {came:?}")));
    }
    Ok((xtr, older))
}

/// Whether an acknowledgement does not come because the disk is full, as the map system says, or is only late.
fn is_full(room: &Room, older: &mut Older, xtr: &Xtr, name: &str) -> Result<bool, Fault> {
    let Some((nonce, _)) = older.waiting.last() else { return Ok(false) };
    let nonce = *nonce;
    let is_told = || room.log(name).contains(FULL);
    if is_told() {
        return Ok(true);
    }
    if older.hears(nonce, xtr, PATIENCE)? {
        return Ok(false);
    }
    if is_told() { Ok(true) } else { Err(broken(format!("to say that nothing is confirmed: {}", room.log(name)))) }
}

fn full_and_killed(room: &Room) -> Judgement {
    let disk = room.disk("full")?;
    let server = room.start_on(&disk, "full", &site())?;
    let (xtr, mut older) = until_full(room, &disk, &server, "full")?;
    server.kill();
    disk.clear()?;
    let server = room.start_on(&disk, "full", &site())?;
    is_kept(room, &server)?;
    let count = older.are_dropped(room, &xtr, &server)?;
    let again = older.register(room, &xtr, &server, PATIENCE)?;
    expect(
        again,
        format!(
            "told, served, not acknowledged; after it what was registered before is answered, all {count} acknowledged nonces are known; then acknowledged again: {again}"
        ),
    )
}

fn full_and_freed(room: &Room) -> Judgement {
    let disk = room.disk("freed")?;
    let server = room.start_on(&disk, "freed", &site())?;
    let (xtr, mut older) = until_full(room, &disk, &server, "freed")?;
    disk.clear()?;
    if !older.register(room, &xtr, &server, PATIENCE)? {
        return Err(broken(format!("not acknowledged, with room again: {}", room.log("freed"))));
    }
    server.kill();
    let server = room.start_on(&disk, "freed", &site())?;
    is_kept(room, &server)?;
    let count = older.are_dropped(room, &xtr, &server)?;
    Ok(format!(
        "acknowledged again as soon as there was room; after kill -9 all {count} acknowledged nonces known, and what was registered before"
    ))
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
            if xtr.hear(PATIENCE)?.is_none() {
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
        if let Some(came) = xtr.hear(GRACE)? {
            return Err(broken(format!("{offset} s: a replay is answered with {}", told(&came.bytes))));
        }
    }
    Ok(format!("{} replays dropped by each clock", taken.len() - 1))
}

/// One Map-Register of the legacy site, and its nonce.
fn old_register(nonce: u64, rloc: &str) -> Result<Vec<u8>, Fault> {
    let message = register(Nonce(nonce), vec![record(prefix("2001:db8:a::/48")?, &[rloc])]).into();
    auth::seal(&message, &key(0, Algorithm::HmacSha1, "old"), TagForm::Untruncated).map_err(broken)
}

/// Lifetimes and the memory of nonces go by a clock that nobody sets: whatever the other one says, what is registered stays, what was
/// recorded stays a replay, and a newer Map-Register is taken.
fn set_clocks(room: &Room) -> Judgement {
    const NAME: &str = "set-clocks";
    room.set_clock(NAME, 0, None)?;
    let server = room.start_settable(NAME, &site())?;
    let (xtr, itr) = (room.xtr_elsewhere()?, room.xtr()?);
    let strict = sealed(&register(room.nonce(), vec![record(prefix(SITE)?, &[RLOC])]), &nine())?;
    let newer = sealed(&register(room.nonce(), vec![record(prefix(SITE)?, &[RLOC])]), &nine())?;
    let mut taken = Vec::new();
    for message in [strict, newer, old_register(1000, RLOC)?] {
        xtr.send(server.first()?, &message)?;
        xtr.hear(PATIENCE)?.ok_or_else(|| broken("a Map-Register is not acknowledged"))?;
        taken.push(message);
    }
    for (number, seconds) in (0..).zip(SET) {
        room.set_clock(NAME, seconds, Some(PATIENCE))?;
        let asked = request(room.nonce(), &[host("2001:db8:9::2")?], &[itr.address.ip()]);
        let came = rlocs(&itr.asks(server.first()?, &asked)?.records);
        if came != [RLOC] {
            return Err(broken(format!("{seconds} s: what is registered is answered with {came:?}")));
        }
        let fresh = old_register(900 - number, RLOC)?;
        xtr.send(server.first()?, &fresh)?;
        if xtr.hear(PATIENCE)?.is_none() {
            return Err(broken(format!("{seconds} s: a fresh nonce is not acknowledged")));
        }
        are_replays(room, &xtr, &server, &[&taken[..1], &taken[2..]].concat(), seconds)?;
        taken.push(fresh);
    }
    server.kill();
    room.set_clock(NAME, 0, None)?;
    let server = room.start_settable(NAME, &site())?;
    // The last ones of each are retransmissions, which are acknowledged again.
    let older = [&taken[..1], &taken[2..taken.len() - 1]].concat();
    are_replays(room, &xtr, &server, &older, 0)?;
    Ok(format!(
        "answered and registered by each clock, {} replays dropped after the last one and a restart",
        older.len()
    ))
}

fn are_replays(room: &Room, xtr: &Xtr, server: &MapSystem, old: &[Vec<u8>], seconds: i64) -> Result<(), Fault> {
    for message in old {
        xtr.send(server.first()?, message)?;
    }
    room.works_at(server)?;
    match xtr.hear(GRACE)? {
        Some(came) => Err(broken(format!("{seconds} s: a replay is answered with {}", told(&came.bytes)))),
        None => Ok(()),
    }
}
