// SPDX-License-Identifier: GPL-2.0-or-later
//! A name server for one check: `named` on loopback, asked by `dig`.

use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Fault;
use super::workshop::Workshop;

/// How long the server may take to answer its first question.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);

/// A server of zone `example`, which ends with the check.
pub(super) struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself needs no more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn missing(error: impl std::fmt::Display) -> Fault {
    Fault::Missing(format!("there is no named to ask ({error}): install it"))
}

impl Server {
    /// Serves these records.
    pub(super) fn start(shop: &Workshop, records: &str) -> Result<Server, Fault> {
        let port = free_port()?;
        let folder = shop.folder().display();
        let configuration = format!(
            "options {{ directory \"{folder}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
             recursion no; dnssec-validation no; pid-file none; session-keyfile none; notify no; }};\n\
             controls {{ }};\nzone \"example\" {{ type primary; file \"zone\"; }};\n"
        );
        shop.put("named.conf", configuration.as_bytes())?;
        let zone = "$TTL 60\n@ IN SOA ns x 1 60 60 60 60\n@ IN NS ns\nns IN A 127.0.0.1\n";
        shop.put("zone", [zone, records].concat().as_bytes())?;
        shop.witness("named-checkzone", "-q example zone")?;
        let child = Command::new("named")
            .args(["-g", "-n", "1", "-c"])
            .arg(shop.folder().join("named.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(missing)?;
        Ok(Server { child, port })
    }

    /// What `dig` shows of the CERT records of a name.
    pub(super) fn dig(&self, shop: &Workshop, option: &str, name: &str) -> Result<Vec<u8>, Fault> {
        let arguments = format!("@127.0.0.1 -p {} +tries=1 +time=2 {option} {name} CERT", self.port);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match shop.witness("dig", &arguments) {
                // Until it listens, nobody answers.
                Err(Fault::Broken(_)) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                answer => return answer,
            }
        }
    }
}

/// A port of loopback that nothing listens on.
fn free_port() -> Result<u16, Fault> {
    for _ in 0..20 {
        let tcp = TcpListener::bind("127.0.0.1:0").map_err(missing)?;
        let port = tcp.local_addr().map_err(missing)?.port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(missing("no free port"))
}
