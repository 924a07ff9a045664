// SPDX-License-Identifier: GPL-2.0-or-later
//! Who belongs to a network, how a node finds it, and what operators see.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::{Hall, now};
use crate::suite::fleet::Start;
use crate::suite::person::Person;
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, missing, must, should};

const ADMISSION: &str = "lisp-signed-dht 9.5";
const OPERATION: &str = "lisp-signed-dht 13";

pub(super) const PROBES: &[Probe<Hall>] = &[
    must("DH-07.1", ADMISSION, "a closed network and who has not its key", closed),
    must("DH-07.2", ADMISSION, "a key that does not solve the network's puzzle", puzzle),
    must("DH-07.3", ADMISSION, "a command that puts and gets stays a client", client),
    must("DH-07.4", ADMISSION, "a node that was stopped finds its peers again without any bootstrap", remembered),
    should("DH-08.1", OPERATION, "the figures of a node", stats),
    should("DH-08.2", OPERATION, "metrics and health over HTTP", metrics),
    should("DH-08.3", OPERATION, "the health of a node that knows nobody", lonely),
];

fn closed(hall: &Hall) -> Judgement {
    let key: String = (0..32).map(|octet| format!("{octet:02x}")).collect();
    let file = hall.fleet.file("key", key.as_bytes())?;
    let closed = ["--network-key", file.as_str()];
    let node = hall.fleet.node(&Start { more: closed.to_vec(), ..Start::default() })?;
    let owner = Person::new(now())?;
    let mapping = owner.mapping(now(), 31)?;
    let stranger = hall.fleet.carry(&node, &mapping.key.encode(), &mapping.value, &[])?;
    if stranger.code != Some(1) || stranger.report["stored"] != 0 {
        return Err(stranger.came("nothing stored for a stranger"));
    }
    hall.fleet.carry(&node, &mapping.key.encode(), &mapping.value, &closed)?.held("stored")?;
    let found = hall.fleet.get(&node, &owner.eid())?;
    expect(found["result"] != "mapping", format!("a stranger puts nothing and gets {}", found["result"]))
}

fn puzzle(hall: &Hall) -> Judgement {
    let near = hall.ends()?.0.address.clone();
    let node = hall.fleet.node(&Start { bootstrap: vec![near], more: vec!["--puzzle-bits", "28"] })?;
    let role = hall.fleet.stats(&node)?["admission"]["role"].clone();
    let log = hall.fleet.log(&node);
    expect(
        role == "client" && log.contains("--puzzle-bits 28"),
        format!("role {role}, and told how to mine a key: {}", log.contains("cgeid delegate")),
    )
}

fn client(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    hall.fleet.publish(near, &owner.mapping(now(), 32)?)?;
    hall.fleet.get(far, &owner.eid())?;
    let before = hall.fleet.stats(near)?;
    let known = before["peers"].as_array().map_or(0, Vec::len);
    expect(known == 2, format!("{known} peers of a node in a network of 3, after commands; to be 2"))
}

fn remembered(hall: &Hall) -> Judgement {
    let near = hall.ends()?.0.address.clone();
    let mut node = hall.fleet.node(&Start { bootstrap: vec![near], more: Vec::new() })?;
    hall.fleet.peers(&node, 3)?;
    node.stop()?;
    let again = hall.fleet.again(&node, &Start::default())?;
    hall.fleet.peers(&again, 3)?;
    Ok("3 peers, then 3 without bootstrap".to_owned())
}

fn stats(hall: &Hall) -> Judgement {
    let stats = hall.fleet.stats(hall.ends()?.0)?;
    let keys =
        ["peer", "addresses", "peers", "records", "record_bytes", "refused", "conflicts", "counters", "admission"];
    let lacking: Vec<_> = keys.into_iter().filter(|key| stats[key].is_null()).collect();
    expect(lacking.is_empty(), format!("lacking: {lacking:?}"))
}

/// An address that nobody listens at, nor will: no other suite takes a port of it.
fn free() -> Result<SocketAddr, Fault> {
    TcpListener::bind("127.1.251.1:0").and_then(|listener| listener.local_addr()).map_err(missing)
}

fn http(address: SocketAddr, path: &str) -> Result<String, Fault> {
    let mut stream = TcpStream::connect(address).map_err(broken)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(missing)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").map_err(broken)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(broken)?;
    crate::exchange::ran(format_args!("GET http://{address}{path}"), &answer);
    Ok(answer)
}

fn metrics(hall: &Hall) -> Judgement {
    let near = hall.ends()?.0.address.clone();
    let address = free()?;
    let at = address.to_string();
    let node = hall.fleet.node(&Start { bootstrap: vec![near], more: vec!["--metrics", &at] })?;
    hall.fleet.peers(&node, 2)?;
    let (text, health) = (http(address, "/metrics")?, http(address, "/health")?);
    let holds = text.starts_with("HTTP/1.1 200") && text.contains("lisp_dht_peers ") && text.contains("# EOF");
    expect(
        holds && health.starts_with("HTTP/1.1 200"),
        format!("{} lines of metrics; health {}", text.lines().count(), first(&health)),
    )
}

fn lonely(hall: &Hall) -> Judgement {
    let address = free()?;
    let at = address.to_string();
    let nobody = vec!["127.1.250.1:9".to_owned()];
    let _node = hall.fleet.node(&Start { bootstrap: nobody, more: vec!["--metrics", &at] })?;
    let health = http(address, "/health")?;
    expect(health.starts_with("HTTP/1.1 503"), format!("503 expected; came {}", first(&health)))
}

fn first(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
