// SPDX-License-Identifier: GPL-2.0-or-later
//! Two border nodes in network namespaces of their own, joined by a cable, and midnight: one has temporary CGEIDs and a
//! clock that the test moves. Needs root and `/dev/net/tun`; says so and passes without, unless `CI` is set.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::namespace::cable::on_cable;
use crate::namespace::{PATIENCE, netlink};
use cgeid::shell::clock;
use cgeid::temporary::Clock;
use futures::TryStreamExt as _;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, CacheInfo};
use netlink_packet_route::addrlabel::AddrLabelAttribute;
use rtnetlink::{Handle, IpVersion};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use xtr::config::{Config, Flags, Table};
use xtr::shell::identities::Changes;
use xtr::shell::temporary::{Clocks, SystemClocks};

const NEAR: &str = "192.0.2.1";
const FAR: &str = "192.0.2.2";
const PORT: u16 = 4711;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Runs as fast as the machine's, and shows what the test wants: noon of today at first.
#[derive(Clone)]
struct MovedClocks {
    real: Clock,
    /// 00:00 UTC of the day on which the test begins.
    midnight: SystemTime,
    moved: watch::Sender<Duration>,
}

impl MovedClocks {
    fn at_noon() -> Self {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / DAY.as_secs();
        let midnight = UNIX_EPOCH + Duration::from_secs(today * DAY.as_secs());
        Self { real: clock::read(), midnight, moved: watch::Sender::new(12 * HOUR) }
    }

    /// Moves it to so long after the first midnight.
    fn set(&self, to: Duration) {
        let passed = clock::read().uptime - self.real.uptime;
        self.moved.send_replace(to - passed);
    }
}

impl Clocks for MovedClocks {
    fn read(&self) -> Clock {
        let real = clock::read();
        let moved = *self.moved.borrow();
        let passed = real.uptime - self.real.uptime;
        Clock { uptime: real.uptime + moved, utc: Some(self.midnight + moved + passed), ..real }
    }

    async fn until(&self, uptime: Duration) {
        let mut moved = self.moved.subscribe();
        while self.read().uptime < uptime {
            let left = uptime - self.read().uptime;
            // Woken when the clock is moved.
            let _ = tokio::time::timeout(left, moved.changed()).await;
        }
    }
}

#[test]
fn at_midnight_new_connections_have_the_new_address_and_old_ones_go_on() {
    let (address, of_server) = mpsc::channel::<Ipv6Addr>();
    let (done, is_done) = oneshot::channel::<()>();
    let near = move || {
        in_lab(async |lab| lab.live_through_midnight(of_server).await);
        done.send(()).unwrap();
    };
    let far = move || in_lab(async |lab| lab.serve(&address, is_done).await);
    on_cable((&[NEAR], near), (&[FAR], far));
}

/// One node, and the kernel of its namespace.
struct Lab {
    folder: PathBuf,
    handle: Handle,
}

fn in_lab(work: impl AsyncFnOnce(&Lab)) {
    netlink(async |handle| {
        let folder = tempfile::tempdir().unwrap();
        work(&Lab { folder: folder.path().to_owned(), handle: handle.clone() }).await;
    });
}

impl Lab {
    /// The far node, and a server at its static CGEID that says who it hears and then says everything twice.
    async fn serve(&self, address: &mpsc::Sender<Ipv6Addr>, done: oneshot::Receiver<()>) {
        let flags = Flags { bootstrap: vec![format!("{NEAR}:43420")], ..self.flags(FAR) };
        let ended = async { done.await.unwrap() };
        let node = xtr::shell::run_with(Config::load(&flags).unwrap(), Changes::default(), SystemClocks, ended);
        let server = async {
            let own = self.registered(1).await[0];
            let listener = TcpListener::bind((own, PORT)).await.unwrap();
            address.send(own).unwrap();
            loop {
                let (stream, from) = listener.accept().await.unwrap();
                tokio::spawn(echo(stream, from.ip()));
            }
        };
        tokio::select! {
            ended = node => ended.unwrap(),
            () = server => {}
        }
    }

    async fn live_through_midnight(&self, server: mpsc::Receiver<Ipv6Addr>) {
        let clocks = MovedClocks::at_noon();
        let flags = Flags { temporary: Some(true), ..self.flags(NEAR) };
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { stopped.await.unwrap() };
        let node = xtr::shell::run_with(Config::load(&flags).unwrap(), Changes::default(), clocks.clone(), stopped);
        let script = async {
            let server = tokio::task::spawn_blocking(move || server.recv().unwrap()).await.unwrap();
            let first = self.preferred(None).await;
            assert_eq!(self.labels().await, 1);
            let mut old = Flow::open(server).await;
            assert_eq!((old.from, old.seen), (first, first), "not from the static CGEID");
            old.exchange(1).await;

            clocks.set(DAY - Duration::from_secs(5));
            let second = self.preferred(Some(first)).await;
            assert!(clocks.read().utc.unwrap() >= clocks.midnight + DAY, "not before midnight");
            let is_relieved = async || self.lifetimes(first).await.is_some_and(|(preferred, _)| preferred == 0);
            self.wait("relief of the old address", is_relieved).await;
            assert!(self.registered(3).await.contains(&second));
            old.exchange(2).await;
            let mut new = Flow::open(server).await;
            assert_eq!((new.from, new.seen), (second, second));
            new.exchange(3).await;
            old.exchange(4).await;

            clocks.set(2 * DAY + Duration::from_secs(1));
            self.wait("the end of the first address", async || self.lifetimes(first).await.is_none()).await;
            self.wait("its withdrawal", async || !self.prefixes().await.contains(&first)).await;
            new.exchange(5).await;
            stop.send(()).unwrap();
        };
        let (ended, ()) = tokio::join!(node, script);
        ended.unwrap();
        assert_eq!(self.labels().await, 0);
        let mode = std::fs::metadata(self.folder.join("state/temporary.state")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    }

    fn flags(&self, rloc: &str) -> Flags {
        let state_dir = Some(self.folder.join("state"));
        Flags { rloc: vec![rloc.into()], tun: Some("lispt".into()), state_dir, ..Flags::default() }
    }

    /// The CGEIDs that are registered and confirmed.
    async fn prefixes(&self) -> Vec<Ipv6Addr> {
        let path = self.folder.join("state/control.sock");
        let ask = move || xtr::shell::ask(&path, Table::Registrations).unwrap_or_default();
        let answer = tokio::task::spawn_blocking(ask).await.unwrap();
        let rows = answer["registrations"].as_array().cloned().unwrap_or_default();
        let is_up = |row: &&Value| !row["confirmed_ago"].is_null() && row["withdrawing"] == false;
        let prefixes = rows.iter().filter(is_up).flat_map(|row| row["prefixes"].as_array().unwrap().clone());
        prefixes.map(|prefix| prefix.as_str().unwrap().strip_suffix("/128").unwrap().parse().unwrap()).collect()
    }

    async fn registered(&self, count: usize) -> Vec<Ipv6Addr> {
        self.wait("registration", async || self.prefixes().await.len() == count).await;
        self.prefixes().await
    }

    /// The temporary address that new connections begin with, other than `not`.
    async fn preferred(&self, not: Option<Ipv6Addr>) -> Ipv6Addr {
        let preferred = async || {
            let addresses = self.cgeids().await;
            let is_it = |(address, (left, _)): &(Ipv6Addr, (u32, u32))| *left > 0 && Some(*address) != not;
            addresses.into_iter().find(is_it).map(|(address, _)| address)
        };
        self.wait("preferred address", async || preferred().await.is_some()).await;
        preferred().await.unwrap()
    }

    async fn lifetimes(&self, address: Ipv6Addr) -> Option<(u32, u32)> {
        self.cgeids().await.into_iter().find(|(other, _)| *other == address).map(|(_, lifetimes)| lifetimes)
    }

    /// CGEIDs of the TUN device that are of use, which an address is a moment after it came, and the seconds for which they are preferred and valid.
    async fn cgeids(&self) -> Vec<(Ipv6Addr, (u32, u32))> {
        let addresses: Vec<_> = self.handle.address().get().execute().try_collect().await.unwrap();
        let cgeid = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::Address(IpAddr::V6(address)) if address.segments()[..2] == [0x3fff, 0xce1] => {
                Some(*address)
            }
            _ => None,
        };
        let lifetimes = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::CacheInfo(CacheInfo { ifa_preferred, ifa_valid, .. }) => {
                Some((*ifa_preferred, *ifa_valid))
            }
            _ => None,
        };
        let of = |attributes: &[AddressAttribute]| {
            Some((attributes.iter().find_map(cgeid)?, attributes.iter().find_map(lifetimes)?))
        };
        let usable = addresses.iter().filter(|message| !message.header.flags.contains(AddressHeaderFlags::Tentative));
        usable.filter_map(|message| of(&message.attributes)).collect()
    }

    /// Address labels for the network of the CGEIDs.
    async fn labels(&self) -> usize {
        let labels: Vec<_> = self.handle.addrlabel().get(IpVersion::V6).execute().try_collect().await.unwrap();
        let network = AddrLabelAttribute::Address("3fff:ce1::".parse().unwrap());
        labels.iter().filter(|label| label.attributes.contains(&network)).count()
    }

    async fn wait(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !is_so().await {
            assert!(started.elapsed() < PATIENCE, "no {what}: {:?}", self.cgeids().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn echo(mut stream: TcpStream, from: IpAddr) {
    let IpAddr::V6(from) = from else { panic!("{from}") };
    stream.write_all(&from.octets()).await.unwrap();
    let mut octet = [0];
    while stream.read_exact(&mut octet).await.is_ok() && stream.write_all(&octet).await.is_ok() {}
}

/// A TCP connection.
struct Flow {
    stream: TcpStream,
    /// The address that the kernel chose for it.
    from: Ipv6Addr,
    /// The address that the server sees.
    seen: Ipv6Addr,
}

impl Flow {
    async fn open(to: Ipv6Addr) -> Self {
        let started = Instant::now();
        // Anew each second, since the pauses of TCP grow: the far node has just joined, and may not find us at once.
        let mut stream = loop {
            if let Ok(connected) = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect((to, PORT))).await {
                break connected.unwrap();
            }
            assert!(started.elapsed() < PATIENCE, "the server does not answer");
        };
        let IpAddr::V6(from) = stream.local_addr().unwrap().ip() else { panic!() };
        let mut seen = [0; 16];
        stream.read_exact(&mut seen).await.unwrap();
        Self { stream, from, seen: seen.into() }
    }

    async fn exchange(&mut self, octet: u8) {
        self.stream.write_all(&[octet]).await.unwrap();
        let mut answer = [0];
        tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut answer)).await.expect("the flow goes on").unwrap();
        assert_eq!(answer, [octet]);
    }
}
