// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-mapsys` as a black box: one process on loopback, ITRs and ETRs around it.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use wire::address::{Address, EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, Secret};
use wire::control::lispsec::{Asked, EcmAd, EidAd, HmacId, KdfId, OneTimeKey, Verified, WrappedOtk, verify_reply};
use wire::control::{ControlMessage, Ecm, EidRequest, MapRegister, MapReply, MapRequest, Nonce};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

use crate::exchange;
use crate::suite::bounded;
use crate::suite::daemon::{self, Daemon, Files, program};
use crate::suite::guest::{Elsewhere, Guest};
use crate::suite::mapsys::{form, host_in, suite_v4};
use crate::suite::probe::{Fault, broken, missing, unfit};
use crate::target::{self, Dictated, ItrKey, Key, REQUIRES_LISP_SEC, Start};

/// Where it serves.
const SERVES: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 93, 0, 53));
/// ITRs that share a secret with it, with the numbers 3 and 4.
pub(super) const ITR: Ipv4Addr = Ipv4Addr::new(127, 93, 1, 1);
/// One whose path is protected otherwise.
pub(super) const TUNNELLED: Ipv4Addr = Ipv4Addr::new(127, 93, 2, 1);
/// The ITR of the vectors, with the number 1.
pub(super) const OF_VECTORS: Ipv4Addr = Ipv4Addr::new(127, 93, 4, 1);
pub(super) const ITR_SECRET: &str = "itr and resolver";
pub(super) const NEXT_SECRET: &str = "the next one";
/// HMAC-SHA-256-128 and HKDF-SHA256.
pub(super) const ASKED: Asked = Asked { hmac: HmacId(2), kdf: KdfId(2) };
/// Sites: `2001:db8:N::/48`, the last of which requires LISP-SEC.
const SITES: u8 = 24;
pub(super) const REQUIRED: u8 = SITES;
/// A site that no check has, by which a target of others shows that it is alive.
const UNUSED: u8 = 22;
/// Sites that nobody registers; one that runs elsewhere has one of them.
const UNREGISTERED: [u8; 2] = [1, 17];
const NEVER_REGISTERED: &str = "never registered";
/// The site of the vectors, where a target file gives it.
pub(super) const VECTORS: &str = "vectors";
/// Third octet of the addresses of ETRs.
const OF_ETRS: u8 = 3;
/// Map-Notifies that are passed over.
const NOTIFIES: usize = 8;
/// What comes over loopback comes at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// The program, and a folder for it.
pub(super) struct Room {
    folder: TempDir,
    running: Result<Daemon, Fault>,
    /// The target, if it is not ours.
    pub(super) theirs: Option<Result<Guest, Fault>>,
    nonce: Cell<u64>,
}

/// A socket of an ITR or ETR.
pub(super) struct Router {
    socket: UdpSocket,
    server: SocketAddr,
    /// Its address.
    pub(super) ip: IpAddr,
    /// What is added to nonces of Map-Registers, where earlier runs are remembered.
    base: u64,
}

/// A protected request, and what belongs to it.
pub(super) struct Asking {
    pub(super) nonce: Nonce,
    pub(super) otk: OneTimeKey,
    pub(super) asked: Asked,
    pub(super) message: Vec<u8>,
}

impl Room {
    pub(super) fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the files of the suite")?;
        let (nonce, judged) = (Cell::new(0), target::judged());
        let theirs = match table() {
            Some(table) => Some(guest(&table.start)),
            None => judged.given().map(|_| Guest::elsewhere(judged)),
        };
        if theirs.is_some() {
            return Ok(Self { folder, running: Err(unfit("it is not ours")), theirs, nonce });
        }
        std::fs::write(folder.path().join("sites.toml"), configuration()?)?;
        let running = start(folder.path());
        Ok(Self { folder, running, theirs: None, nonce })
    }

    /// The target, if it is not ours.
    pub(super) fn guest(&self) -> Result<Option<&Guest>, Fault> {
        self.theirs.as_ref().map(|guest| guest.as_ref().map_err(Clone::clone)).transpose()
    }

    /// It takes a Map-Register of a site that no check has.
    pub(super) fn alive(&self, patience: Duration) -> Result<(), Fault> {
        let router = self.etr(UNUSED)?;
        router.socket.set_read_timeout(Some(patience)).map_err(missing)?;
        self.nonce.set(self.nonce.get() + 1);
        let records = vec![record(self.site_prefix(UNUSED)?, router.ip)];
        let nonce = Nonce(self.nonce.get());
        self.registers(&router, UNUSED, MapRegister { nonce, records, ..MapRegister::default() })
    }

    /// What its file gives, if the target runs elsewhere.
    pub(super) fn elsewhere(&self) -> Result<Option<&Elsewhere>, Fault> {
        Ok(self.guest()?.and_then(Guest::is_elsewhere))
    }

    /// The site number `n` that a target file gives; none for those that the suite dictates.
    fn given_site(&self, n: u8) -> Result<Option<&'static target::Site>, Fault> {
        let of = |elsewhere: &Elsewhere| match n {
            REQUIRED => elsewhere.named(REQUIRES_LISP_SEC),
            _ if UNREGISTERED.contains(&n) => elsewhere.named(NEVER_REGISTERED),
            _ => elsewhere.numbered(n.into()),
        };
        self.elsewhere()?.map(of).transpose()
    }

    /// The EID-prefix of the site number `n`.
    pub(super) fn site_prefix(&self, n: u8) -> Result<EidPrefix, Fault> {
        let Some(site) = self.given_site(n)? else { return Ok(dictated_prefix(n)) };
        let net = site.prefixes.iter().find(|net| net.addr().is_ipv6());
        let net =
            net.ok_or_else(|| unfit(format!("site {:?} of the target file has no IPv6 EID-prefix", site.name)))?;
        Ok(EidPrefix { iid: InstanceId(site.iid), net: *net })
    }

    /// A host of it.
    pub(super) fn host_of(&self, n: u8) -> Result<EidPrefix, Fault> {
        Ok(host_in(&self.site_prefix(n)?, 2))
    }

    /// A more-specific EID-prefix of it, of 64 bits.
    pub(super) fn part_of(&self, n: u8) -> Result<EidPrefix, Fault> {
        let whole = self.site_prefix(n)?;
        let IpAddr::V6(address) = whole.net.addr() else { return Err(broken("an EID-prefix that is not of IPv6")) };
        let mut octets = address.octets();
        octets[7] = 5;
        EidPrefix::new(whole.iid, IpAddr::V6(octets.into()), 64).ok_or_else(|| broken("no /64"))
    }

    /// What its ETR shares with the Map-Server.
    pub(super) fn site_key(&self, n: u8) -> Result<Key, Fault> {
        let dictated = || Key { id: 1, algorithm: Algorithm::HmacSha256, secret: site_secret(n) };
        let of = |site: &target::Site| site.keys.first().cloned().ok_or_else(|| broken("a site without a key"));
        self.given_site(n)?.map_or_else(|| Ok(dictated()), of)
    }

    /// What ITRs share with the Map-Resolver; the second one is for a change of secrets.
    pub(super) fn itr_keys(&self) -> Result<Vec<ItrKey>, Fault> {
        let dictated = || {
            [(3, ITR_SECRET), (4, NEXT_SECRET)]
                .map(|(key_id, secret)| ItrKey { key_id, secret: secret.into() })
                .to_vec()
        };
        Ok(self.elsewhere()?.map_or_else(dictated, |elsewhere| elsewhere.given.itr_keys.clone()))
    }

    /// Registers with the key of site `n`, and sees that it is acknowledged.
    pub(super) fn registers(&self, etr: &Router, n: u8, message: MapRegister) -> Result<(), Fault> {
        etr.register_with(&self.site_key(n)?, message)
    }

    /// The usual protected request, wrapped with the secret of the ITRs.
    pub(super) fn protected(&self, itr: &Router, nonce: u64, eid: EidPrefix) -> Result<Asking, Fault> {
        let keys = self.itr_keys()?;
        itr.asking(nonce, eid, ASKED, |otk, nonce| wrapped(&keys, otk, nonce))
    }

    /// Sees that nothing comes of a message: the answer to what is sent behind it is the next that comes.
    pub(super) fn nothing_of(&self, router: &Router, message: &[u8]) -> Result<(), Fault> {
        let Some(guest) = self.guest()?.filter(|guest| guest.is_elsewhere().is_some()) else {
            return router.nothing_of(message, host_in(&self.site_prefix(1)?, 3));
        };
        // Map-Replies may be limited, Map-Notifies are not.
        router.send(message)?;
        self.alive(PATIENCE)?;
        router.hears_nothing(guest.grace(Duration::ZERO))
    }

    fn server(&self) -> Result<SocketAddr, Fault> {
        if let Some(guest) = self.guest()? {
            return guest.address();
        }
        self.running.as_ref().map_err(Clone::clone)?.address()
    }

    /// A router at an address, on any port.
    pub(super) fn router(&self, at: Ipv4Addr) -> Result<Router, Fault> {
        let socket = match (self.guest()?, self.elsewhere()?) {
            (Some(guest), Some(elsewhere)) => match elsewhere.given.protected_path {
                Some(protected) if at == TUNNELLED => guest.socket_at(protected.into(), 0)?,
                // It may be slow to answer one locator as often as it asks.
                _ => guest.place.socket(true, 0)?,
            },
            _ => self.socket_at(place_of(at).into(), 0)?,
        };
        self.router_of(socket)
    }

    /// The ETR number `n`, where Map-Requests for its site are sent.
    pub(super) fn etr(&self, n: u8) -> Result<Router, Fault> {
        let at = match (self.guest()?, self.elsewhere()?) {
            (Some(guest), Some(_)) => guest.place.v4(n.into())?,
            _ => place_of(Ipv4Addr::new(127, 93, OF_ETRS, n)).into(),
        };
        self.router_of(self.socket_at(at, wire::CONTROL_PORT)?)
    }

    fn socket_at(&self, address: IpAddr, port: u16) -> Result<UdpSocket, Fault> {
        match self.guest()? {
            Some(guest) => guest.socket_at(address, port),
            None => {
                let at = SocketAddr::new(address, port);
                UdpSocket::bind(at).map_err(|error| missing(format!("{at} is not free: {error}")))
            }
        }
    }

    fn router_of(&self, socket: UdpSocket) -> Result<Router, Fault> {
        socket.set_read_timeout(Some(PATIENCE)).map_err(missing)?;
        let ip = socket.local_addr().map_err(missing)?.ip();
        let base = self.elsewhere()?.map_or(0, |elsewhere| elsewhere.base);
        Ok(Router { socket, server: self.server()?, ip, base })
    }

    /// How often the program has counted a refusal of that name.
    pub(super) fn counted(&self, name: &str) -> Result<u64, Fault> {
        self.server()?;
        daemon::counted(&self.folder.path().join("state"), name)
    }

    /// What `lisp-mapsys check` says of a configuration.
    pub(super) fn check(&self, configuration: &str) -> Result<(Option<i32>, String), Fault> {
        std::fs::write(self.folder.path().join("checked.toml"), configuration).map_err(missing)?;
        let mut check = Command::new(program());
        check.current_dir(self.folder.path()).args(["check", "--listen", &SERVES.to_string()]);
        check.args(["--state-dir", "checked", "--config", "checked.toml"]).env_remove("RUST_LOG");
        let output = bounded::output(check, missing)?;
        exchange::ran_to(&program(), &["check", "--config", "checked.toml"], &output);
        let told = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&told).trim().to_owned()))
    }
}

fn start(folder: &Path) -> Result<Daemon, Fault> {
    let [config, state, log] = ["sites.toml", "state", "log"].map(|name| folder.join(name));
    let files = Files { config: &config, state: &state, log: &log };
    Daemon::start(Command::new(program()), &files, &[SERVES], SERVES)
}

fn configuration() -> anyhow::Result<String> {
    let vectors = crate::vectors::shipped()?;
    let text = |octets: Vec<u8>| String::from_utf8(octets).context("a secret of the vectors is no text");
    let mut toml = String::from("clients = [\"127.93.0.0/16\"]\n");
    for n in 1..=SITES {
        let policy = if n == REQUIRED { "required" } else { "optional" };
        writeln!(
            toml,
            "[[site]]\nname = \"{n}\"\neid-prefix = [\"{}\"]\naccept-more-specifics = 64\nnotify-port = \"source\"\n\
             lisp-sec = \"{policy}\"\nkey = [{{ key-id = 1, secret = \"{}\" }}]",
            dictated_prefix(n).net,
            site_secret(n)
        )?;
    }
    writeln!(
        toml,
        "[[site]]\nname = \"vectors\"\neid-prefix = [\"10.2.2.0/24\"]\nnotify-port = \"source\"\n\
         key = [{{ key-id = {}, secret = \"{}\" }}]",
        vectors.key_id,
        text(vectors.psk)?
    )?;
    writeln!(
        toml,
        "[[lisp-sec]]\nname = \"itrs\"\npeers = [\"127.93.1.0/24\"]\n\
         key = [{{ key-id = 3, secret = \"{ITR_SECRET}\" }}, {{ key-id = 4, secret = \"{NEXT_SECRET}\" }}]\n\
         [[lisp-sec]]\nname = \"tunnelled\"\npeers = [\"127.93.2.0/24\"]\nprotected-path = true\n\
         [[lisp-sec]]\nname = \"vectors\"\npeers = [\"127.93.4.0/24\"]\n\
         key = [{{ key-id = {}, secret = \"{}\" }}]",
        vectors.key_id,
        text(vectors.psk_itr_mr)?
    )?;
    Ok(toml)
}

/// The table of a target that is not ours.
pub(super) fn table() -> Option<&'static Dictated> {
    target::judged().lisp_sec.as_ref()
}

/// What our own is configured with, for a target of others.
fn guest(start: &'static Start) -> Result<Guest, Fault> {
    let vectors = crate::vectors::shipped().map_err(missing)?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let site = |name: String, prefix: EidPrefix, secret: String| {
        let keys = vec![Key { id: 1, algorithm: Algorithm::HmacSha256, secret }];
        target::Site { name, prefixes: vec![prefix.net], iid: 0, keys }
    };
    let numbered = (1..REQUIRED).map(|n| site(n.to_string(), dictated_prefix(n), site_secret(n)));
    let of_vectors = site("vectors".into(), prefix_of("10.2.2.0", 24), text(&vectors.psk));
    let mut guest = Guest::new(target::judged(), start, numbered.chain([of_vectors]).collect())?;
    let values = [
        ("itr", place_of(ITR).to_string()),
        ("tunnelled", place_of(TUNNELLED).to_string()),
        ("of-vectors", place_of(OF_VECTORS).to_string()),
        ("secret-of-vectors", text(&vectors.psk_itr_mr)),
        ("key-id-of-vectors", vectors.key_id.to_string()),
    ];
    guest.values = values.into();
    Ok(guest)
}

/// An address of loopback, or the one that stands for it at the cable of a target of others: ETRs have their numbers there.
fn place_of(at: Ipv4Addr) -> Ipv4Addr {
    let [_, _, kind, number] = at.octets();
    match table() {
        None => at,
        Some(_) if kind == OF_ETRS => suite_v4(number),
        Some(_) => suite_v4(200 + kind),
    }
}

/// The EID-prefix of the site number `n`, where the suite says which it has.
fn dictated_prefix(n: u8) -> EidPrefix {
    prefix_of(&format!("2001:db8:{n:x}::"), 48)
}

pub(super) fn prefix_of(address: &str, length: u8) -> EidPrefix {
    let address = address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    EidPrefix::new(InstanceId(0), address, length).unwrap_or(EidPrefix::host(InstanceId(0), address))
}

pub(super) fn site_secret(n: u8) -> String {
    format!("secret of {n}")
}

/// A record with one locator.
pub(super) fn record(prefix: EidPrefix, rloc: IpAddr) -> MappingRecord {
    let locator = LocatorRecord {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        local: true,
        probed: false,
        reachable: true,
        rloc: Address::from(rloc),
    };
    MappingRecord {
        ttl: Ttl(1440),
        action: Action::NoAction,
        authoritative: true,
        map_version: MapVersion::default(),
        eid: prefix.into(),
        locators: vec![locator],
    }
}

impl Router {
    pub(super) fn send(&self, message: &[u8]) -> Result<(), Fault> {
        exchange::sent(&self.socket, self.server, message);
        self.socket.send_to(message, self.server).map(drop).map_err(missing)
    }

    /// What comes next.
    pub(super) fn receive(&self) -> Result<Vec<u8>, Fault> {
        let mut buffer = [0; 4096];
        let (length, from) =
            self.socket.recv_from(&mut buffer).map_err(|error| broken(format!("nothing came: {error}")))?;
        exchange::came(&self.socket, from, &buffer[..length]);
        Ok(buffer[..length].to_vec())
    }

    pub(super) fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        self.send(message)?;
        self.receive()
    }

    /// Registers with a key, and sees that it is acknowledged.
    pub(super) fn register_with(&self, key: &Key, message: MapRegister) -> Result<(), Fault> {
        let nonce = Nonce(self.base + message.nonce.0);
        let message = MapRegister { want_notify: true, nonce, ..message };
        let sealed = auth::seal(&message.into(), &key.auth(), form(key.algorithm)).map_err(broken)?;
        self.send(&sealed)?;
        for _ in 0..NOTIFIES {
            match ControlMessage::decode(&self.receive()?) {
                Ok(ControlMessage::MapNotify(notify)) if notify.nonce == nonce => return Ok(()),
                Ok(ControlMessage::MapNotify(_)) => {}
                other => return Err(broken(format!("a Map-Notify expected; came {other:?}"))),
            }
        }
        Err(broken(format!("{NOTIFIES} Map-Notifies, none of them with nonce {nonce}")))
    }

    /// What comes next to an ETR that is no Map-Notify: those come also when others register, and again as nobody acknowledges them.
    pub(super) fn receive_request(&self) -> Result<Vec<u8>, Fault> {
        for _ in 0..NOTIFIES {
            let came = self.receive()?;
            if !matches!(ControlMessage::decode(&came), Ok(ControlMessage::MapNotify(_))) {
                return Ok(came);
            }
        }
        Err(broken(format!("{NOTIFIES} Map-Notifies, and no Map-Request")))
    }

    /// A Map-Request in an ECM, to be answered here.
    pub(super) fn request(&self, nonce: Nonce, eid: EidPrefix) -> Result<Ecm, Fault> {
        let own = self.socket.local_addr().map_err(missing)?;
        let request = MapRequest {
            nonce,
            itr_rlocs: vec![own.ip().into()],
            records: vec![EidRequest { notify: false, eid: eid.into() }],
            ..MapRequest::default()
        };
        let inner = SocketAddr::new(prefix_of("2001:db8:ffff::1", 128).net.addr(), own.port());
        let to = SocketAddr::new(eid.net.addr(), wire::CONTROL_PORT);
        Ok(Ecm::wrap(inner, to, request.encode().map_err(broken)?))
    }

    /// The same with LISP-SEC and a new one-time key (RFC 9303, section 6.4).
    pub(super) fn asking(
        &self,
        nonce: u64,
        eid: EidPrefix,
        asked: Asked,
        wrap: impl FnOnce(&OneTimeKey, Nonce) -> WrappedOtk,
    ) -> Result<Asking, Fault> {
        let mut octets = [0x5a; 16];
        octets[..8].copy_from_slice(&nonce.to_be_bytes());
        let (nonce, otk) = (Nonce(nonce), OneTimeKey::new(octets));
        let otk_ad = wrap(&otk, nonce);
        let ad = EcmAd { requested_hmac: asked.hmac, otk: otk_ad, eid_ad: EidAd::unfilled(asked.kdf) };
        let security = Some(ad.encode().map_err(broken)?);
        let message = Ecm { security, ..self.request(nonce, eid)? }.encode().map_err(broken)?;
        Ok(Asking { nonce, otk, asked, message })
    }

    /// Asks, and checks the answer as an ITR does.
    pub(super) fn verified(&self, asking: &Asking) -> Result<Verified, Fault> {
        asking.verify(&self.exchange(&asking.message)?)
    }

    /// Sees that nothing comes of a message: the answer to a plain request for an EID behind it is the next that comes.
    fn nothing_of(&self, message: &[u8], eid: EidPrefix) -> Result<(), Fault> {
        const BEHIND: Nonce = Nonce(0xbe41_0d00);
        self.send(message)?;
        let plain = self.request(BEHIND, eid)?.encode().map_err(broken)?;
        let came = self.exchange(&plain)?;
        match MapReply::decode(&came) {
            Ok(reply) if reply.nonce == BEHIND => {
                exchange::absent();
                Ok(())
            }
            Ok(reply) => Err(broken(format!("nothing expected; came a Map-Reply with nonce {}", reply.nonce))),
            Err(error) => Err(broken(format!("nothing expected; came {} octets ({error})", came.len()))),
        }
    }

    /// Nothing comes within a time.
    fn hears_nothing(&self, time: Duration) -> Result<(), Fault> {
        self.socket.set_read_timeout(Some(time)).map_err(missing)?;
        let came = self.receive();
        self.socket.set_read_timeout(Some(PATIENCE)).map_err(missing)?;
        match came {
            Err(_) => {
                exchange::silence(&self.socket, time);
                Ok(())
            }
            Ok(came) => Err(broken(format!("nothing expected; came {} octets", came.len()))),
        }
    }
}

/// As ITRs do.
pub(super) fn wrapped(keys: &[ItrKey], otk: &OneTimeKey, nonce: Nonce) -> WrappedOtk {
    wrapped_with(keys.first(), otk, nonce)
}

/// With a certain secret; without any, with one that nobody has.
pub(super) fn wrapped_with(key: Option<&ItrKey>, otk: &OneTimeKey, nonce: Nonce) -> WrappedOtk {
    let (key_id, secret) = key.map_or((0, "nobody's"), |key| (key.key_id, &key.secret));
    otk.wrap(key_id, &Secret::new(secret), nonce)
}

impl Asking {
    pub(super) fn verify(&self, came: &[u8]) -> Result<Verified, Fault> {
        let verified = verify_reply(came, &self.otk, self.asked);
        let verified = verified.map_err(|error| broken(format!("a protected Map-Reply expected; {error}")))?;
        if verified.reply.nonce == self.nonce { Ok(verified) } else { Err(broken("a Map-Reply with another nonce")) }
    }
}

/// The EID-prefixes of a reply's records.
pub(super) fn eids(verified: &Verified) -> Vec<EidPrefix> {
    verified.reply.records.iter().filter_map(|record| record.eid.ip_prefix()).collect()
}

/// The same in a line.
pub(super) fn named(verified: &Verified) -> String {
    eids(verified).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
