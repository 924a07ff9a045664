// SPDX-License-Identifier: GPL-2.0-or-later
//! Addresses in a real kernel: two hosts in network namespaces of their own, joined by a cable, and `ip` (iproute2) as a
//! witness. Needs root and `ip`; without, it fails where `CI` is set, and else says so and passes.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cgeid::shell::addresses::{AddressError, Addresses, LABEL, Standing};
use cgeid::shell::temporary::{Directory, Keeper};
use cgeid::temporary::{Clock, Input, Lifetimes};
use cgeid::{Cn, Identity, Network};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, gettid};
use serde_json::Value;

const CABLE: &str = "cable";
const PORT: u16 = 4711;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the clock of a host shows when the test begins.
const UPTIME: Duration = Duration::from_secs(1000);
const HOUR: Duration = Duration::from_secs(3600);
/// 2027-01-15 12:00:00 UTC.
const NOON: Duration = Duration::from_secs(1_799_971_200 + 12 * 3600);

/// The host at the other end, and a host that has nothing to do with CGEIDs.
const FAR: &str = "3fff:ce1:aaaa:bbbb:cccc:dddd:eeee:ffff";
const STATIC: &str = "3fff:ce1:1111:2222:3333:4444:5555:6666";
const OTHER_NEAR: &str = "2001:db8:1::1";
const OTHER_FAR: &str = "2001:db8:1::2";

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// Whether the machine lets this test run; CI must.
fn is_possible() -> bool {
    let has_ip = Command::new("ip").arg("-V").output().is_ok_and(|output| output.status.success());
    if has_ip && Uid::effective().is_root() {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI is set, and this machine lacks root or the program ip");
    eprintln!("SKIP: needs root and the program ip (iproute2)");
    false
}

/// `ip`, in the namespace of this thread.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `ip` shows of an address on the cable.
fn shown(wanted: Ipv6Addr) -> Option<Value> {
    let links: Value = serde_json::from_str(&ip("-json -6 addr show dev cable")).unwrap();
    let addresses = links[0]["addr_info"].as_array().unwrap();
    addresses.iter().find(|shown| shown["local"] == wanted.to_string()).cloned()
}

/// Preferred and valid seconds, as `ip` shows them.
fn lives(wanted: Ipv6Addr) -> (u64, u64) {
    let shown = shown(wanted).unwrap();
    assert_eq!(shown["prefixlen"], 128);
    (shown["preferred_life_time"].as_u64().unwrap(), shown["valid_life_time"].as_u64().unwrap())
}

/// The source that the kernel would choose for a destination.
fn source(destination: &str) -> String {
    let routes: Value = serde_json::from_str(&ip(&format!("-json -6 route get {destination}"))).unwrap();
    routes[0]["prefsrc"].as_str().unwrap().to_owned()
}

/// Runs both ends, each in a namespace that ends with its thread. `far` serves until `near` is done.
fn with_two_hosts(near: impl AsyncFnOnce() + Send + 'static) {
    if !is_possible() {
        return;
    }
    let (tid, of_far) = mpsc::channel();
    let (plugged, is_plugged) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    let far = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tid.send(gettid()).unwrap();
        is_plugged.recv().unwrap();
        configure(&[&format!("{FAR}/128"), &format!("{OTHER_FAR}/64")]);
        let listener = TcpListener::bind((address(FAR), PORT)).unwrap();
        ready.send(()).unwrap();
        serve(&listener, &is_plugged);
    });
    let near = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip(&format!("link add {CABLE} type veth peer name {CABLE} netns {}", of_far.recv().unwrap()));
        plugged.send(()).unwrap();
        configure(&[&format!("{OTHER_NEAR}/64")]);
        is_ready.recv().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(near());
        // Ends the server.
        drop(plugged);
    });
    near.join().unwrap();
    far.join().unwrap();
}

fn configure(addresses: &[&str]) {
    ip("link set lo up");
    ip("link set cable up");
    for address in addresses {
        ip(&format!("-6 addr add {address} dev cable nodad"));
    }
    ip("-6 route add 3fff:ce1::/32 dev cable");
}

/// Echoes, each connection in a thread, until the other end is done.
fn serve(listener: &TcpListener, done: &mpsc::Receiver<()>) {
    listener.set_nonblocking(true).unwrap();
    while done.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
        if let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn connect() -> TcpStream {
    let begin = Instant::now();
    loop {
        // The first packets may meet a cable that has only just come up.
        match TcpStream::connect_timeout(&SocketAddr::from((address(FAR), PORT)), Duration::from_secs(3)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return stream;
            }
            Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}"),
        }
    }
}

fn echo(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    let mut buffer = vec![0; text.len()];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(buffer, text.as_bytes());
}

fn local(stream: &TcpStream) -> Ipv6Addr {
    match stream.local_addr().unwrap().ip() {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address} is no IPv6 address"),
    }
}

/// A directory that makes everything known at once, told to the keeper at the next turn.
#[derive(Default)]
struct Known {
    new: Vec<Cn>,
    published: Vec<Cn>,
    withdrawn: Vec<Cn>,
}

impl Directory for Known {
    fn publish(&mut self, identity: Identity) {
        assert!(identity.certificate().is_temporary());
        self.new.push(identity.cn());
        self.published.push(identity.cn());
    }

    fn withdraw(&mut self, cn: Cn) {
        self.withdrawn.push(cn);
    }
}

/// A host whose clocks the test moves.
struct Host {
    keeper: Keeper,
    directory: Known,
    uptime: Duration,
}

impl Host {
    async fn start(state: &std::path::Path, uptime: Duration) -> Host {
        let addresses = Addresses::connect(CABLE, Network::LAB).await.unwrap();
        let statics = [address(STATIC)];
        let keeper = Keeper::start(addresses, Network::LAB, &statics, state.to_owned(), clock(uptime));
        let mut host = Host { keeper: keeper.await.unwrap(), directory: Known::default(), uptime };
        host.turn(Input::Tick).await;
        host
    }

    async fn turn(&mut self, input: Input) {
        self.keeper.turn(clock(self.uptime), input, &mut self.directory).await.unwrap();
        while let Some(cn) = self.directory.new.pop() {
            let input = Input::Published { cn, done: true };
            self.keeper.turn(clock(self.uptime), input, &mut self.directory).await.unwrap();
        }
    }

    /// Moves the clocks on, and stops at every moment at which the keeper has something to do.
    async fn pass(&mut self, time: Duration) {
        let end = self.uptime + time;
        while self.uptime < end {
            self.uptime = self.keeper.next_deadline().min(end);
            self.turn(Input::Tick).await;
        }
    }

    /// Waits, in the time of the kernel, until another address than `old` is in use.
    async fn changed(&mut self, old: Option<Ipv6Addr>) -> Ipv6Addr {
        let begin = Instant::now();
        loop {
            match self.keeper.preferred() {
                Some(new) if Some(new) != old => return new,
                _ => assert!(begin.elapsed() < PATIENCE, "the address does not change"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.uptime += Duration::from_millis(20);
            self.turn(Input::Tick).await;
        }
    }
}

fn clock(uptime: Duration) -> Clock {
    let utc: SystemTime = UNIX_EPOCH + NOON + uptime - UPTIME;
    Clock { boot: [1; 16], uptime, utc: Some(utc) }
}

fn assert_near(found: u64, expected: u64) {
    assert!(found <= expected && found + 20 >= expected, "{found} s, expected {expected} s");
}

#[test]
fn a_flow_survives_midnight_and_new_ones_begin_with_the_new_address() {
    with_two_hosts(async || {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::start(&folder.path().join("state"), UPTIME).await;
        let first = host.changed(None).await;
        let (preferred, valid) = lives(first);
        assert_near(preferred, 12 * 3600 + 300);
        assert_near(valid, 36 * 3600);
        let forever = u64::from(u32::MAX);
        assert_eq!(lives(address(STATIC)), (0, forever));
        assert!(ip("addrlabel list").contains(&format!("prefix 3fff:ce1::/32 label {LABEL}")));
        assert_eq!(source(FAR), first.to_string());
        assert_eq!(source(OTHER_FAR), OTHER_NEAR);

        let mut flow = connect();
        assert_eq!(local(&flow), first);
        echo(&mut flow, "before midnight");

        host.pass(12 * HOUR - Duration::from_secs(1)).await;
        assert_eq!(host.keeper.preferred(), Some(first));
        assert_eq!(host.directory.published.len(), 2, "the next one was published before midnight");
        assert_eq!(local(&connect()), first);
        host.pass(Duration::from_secs(1)).await;
        let second = host.changed(Some(first)).await;

        let (preferred, valid) = lives(second);
        assert_near(preferred, 86_700);
        assert_near(valid, 172_800);
        let (preferred, valid) = lives(first);
        assert_eq!(preferred, 0);
        assert_near(valid, 24 * 3600);
        assert_eq!(shown(first).unwrap()["deprecated"], true);
        echo(&mut flow, "after midnight");
        let mut new = connect();
        assert_eq!(local(&new), second);
        echo(&mut new, "new flow");
        assert_eq!(source(FAR), second.to_string());

        // A day later the first is gone, and the second goes on like the first did.
        host.pass(24 * HOUR).await;
        let third = host.changed(Some(second)).await;
        assert!(shown(first).is_none());
        assert_eq!(host.directory.withdrawn.len(), 1);
        assert_eq!(local(&connect()), third);
        echo(&mut new, "the day after");
        host.keeper.addresses().clean_up().await.unwrap();
        assert!([third, second, address(STATIC)].into_iter().all(|address| shown(address).is_none()));
        assert!(!ip("addrlabel list").contains("3fff:ce1::"));
    });
}

#[test]
fn a_restart_changes_no_address_and_removes_what_no_one_knows() {
    with_two_hosts(async || {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut host = Host::start(&state, UPTIME).await;
        let first = host.changed(None).await;
        let mut flow = connect();
        assert_eq!(local(&flow), first);
        let leftover = address("3fff:ce1:9999::1:0:1");
        host.keeper.addresses().assign(leftover, Lifetimes::STATIC).await.unwrap();
        let uptime = host.uptime;
        drop(host);
        let mut host = Host::start(&state, uptime).await;
        assert_eq!(host.changed(None).await, first);
        assert!(shown(leftover).is_none() && shown(address(STATIC)).is_some());
        echo(&mut flow, "after a restart");
        assert!(host.keeper.discarded().is_none());
        // A state that is damaged costs the address, nothing more.
        std::fs::write(&state, "x").unwrap();
        let mut host = Host::start(&state, host.uptime).await;
        assert!(host.keeper.discarded().is_some());
        assert_ne!(host.changed(None).await, first);
        assert!(shown(first).is_none());
    });
}

#[test]
fn everything_can_be_done_twice() {
    with_two_hosts(async || {
        let addresses = Addresses::connect(CABLE, Network::LAB).await.unwrap();
        let mine = address("3fff:ce1:5::1:0:1");
        let others = address("3fff:ce1:5::1:0:2");
        ip(&format!("-6 addr add {others}/128 dev cable nodad"));
        let short = Lifetimes { preferred: Duration::from_secs(100), valid: Some(Duration::from_secs(200)) };
        for lifetimes in [short, short, Lifetimes::STATIC] {
            addresses.assign(mine, lifetimes).await.unwrap();
        }
        assert_eq!(lives(mine), (0, u64::from(u32::MAX)));
        for _ in 0..2 {
            addresses.add_label().await.unwrap();
        }
        for _ in 0..2 {
            addresses.remove(mine).await.unwrap();
            assert_eq!(addresses.standing(mine).await.unwrap(), Standing::Gone);
        }
        addresses.assign(mine, short).await.unwrap();
        for _ in 0..2 {
            addresses.clean_up().await.unwrap();
        }
        assert!(shown(mine).is_none() && shown(others).is_some(), "what others put there stays");
    });
}

#[test]
fn a_duplicate_is_noticed() {
    with_two_hosts(async || {
        let addresses = Addresses::connect(CABLE, Network::LAB).await.unwrap();
        // The cable carries packets once it answers one.
        ip(&format!("-6 addr add {STATIC}/128 dev cable nodad"));
        drop(connect());
        let lifetimes = Lifetimes { preferred: HOUR, valid: Some(2 * HOUR) };
        let begin = Instant::now();
        for (wanted, expected) in [(FAR, false), ("3fff:ce1:5::1:0:1", true)] {
            addresses.assign(address(wanted), lifetimes).await.unwrap();
            let standing = loop {
                match addresses.standing(address(wanted)).await.unwrap() {
                    Standing::Tentative => tokio::time::sleep(Duration::from_millis(20)).await,
                    standing => break standing,
                }
                assert!(begin.elapsed() < PATIENCE, "the search for duplicates does not end");
            };
            assert_eq!(standing == Standing::Ready, expected, "{wanted}: {standing:?}");
        }
    });
}

#[test]
fn errors_say_what_the_machine_lacks() {
    with_two_hosts(async || {
        let error = Addresses::connect("nowhere", Network::LAB).await.unwrap_err();
        assert!(matches!(error, AddressError::Interface { .. }), "{error}");
        let addresses = Addresses::connect(CABLE, Network::LAB).await.unwrap();
        ip("addrlabel add prefix 3fff:ce1::/32 label 77");
        let error = addresses.add_label().await.unwrap_err();
        assert!(matches!(error, AddressError::Refused { .. }), "{error}");
        std::fs::write("/proc/sys/net/ipv6/conf/cable/disable_ipv6", "1").unwrap();
        let error = addresses.assign(address(STATIC), Lifetimes::STATIC).await.unwrap_err();
        assert!(matches!(error, AddressError::NoIpv6 { .. }), "{error}");
        std::fs::write("/proc/sys/net/ipv6/conf/cable/disable_ipv6", "0").unwrap();
        // Of this thread alone, which ends with the test.
        let none = rustix::thread::CapabilitySet::empty();
        let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        let error = addresses.assign(address(STATIC), Lifetimes::STATIC).await.unwrap_err();
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    });
}
