// SPDX-License-Identifier: GPL-2.0-or-later
//! The identities of the demo: keys from which addresses follow, made offline.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::binaries::Binaries;
use super::story::Seen;
use crate::lab::{Namespace, process};
use crate::limits::COMMAND_TIME;

/// An identity: who, at which address, and the key that a daemon needs to speak for it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) cn: String,
    pub(crate) address: Ipv6Addr,
    pub(crate) operational: PathBuf,
}

/// All identities, and the file with their password.
#[derive(Debug, Clone)]
pub(super) struct Identities {
    pub(super) password: PathBuf,
    /// Of hA: the RSA one, and a second so that the other direction is cold too.
    pub(super) a: [Identity; 2],
    pub(super) b: [Identity; 2],
    pub(super) c: Identity,
    /// Of the map-server, which signs for the site.
    pub(super) server: Identity,
    /// Of the DHT node that everyone starts from.
    pub(super) boot: Identity,
}

impl Identities {
    /// Makes them, in a namespace without any network: nobody need be asked for an address.
    pub(super) fn make(binaries: &Binaries, folder: &Path) -> anyhow::Result<Seen<Self>> {
        let password = folder.join("password");
        std::fs::write(&password, "only for this demo\n").context("the password file")?;
        let offline = Namespace::create("offline")?;
        let algorithms = ["rsa4096", "ed25519", "ed25519", "ed25519", "ed25519", "ed25519", "ed25519"];
        // Side by side: an RSA key takes as long as all the others.
        let made = std::thread::scope(|scope| {
            let one = |algorithm| make(binaries, &offline, algorithm, folder, &password);
            let threads = algorithms.map(|algorithm| scope.spawn(move || one(algorithm)));
            threads.map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
        });
        let [rsa, a, b, other_b, c, server, boot] = made;
        let (a, b, c, server, boot) = ([rsa?, a?], [b?, other_b?], c?, server?, boot?);
        let all = Self { password, a, b, c, server, boot };
        let notes = vec![
            format!("hA  {}  (first 96 bits of the hash of its RSA-4096 key)", all.a[0].address),
            format!("hB  {}  (Ed25519)", all.b[0].address),
        ];
        Ok(Seen::new(all, notes))
    }
}

/// What `cgeid new --json` says.
#[derive(Deserialize)]
struct Made {
    cn: String,
    address: Ipv6Addr,
    files: Vec<PathBuf>,
}

pub(crate) fn make(
    binaries: &Binaries,
    offline: &Namespace,
    algorithm: &str,
    folder: &Path,
    password: &Path,
) -> anyhow::Result<Identity> {
    let mut command = binaries.command("cgeid");
    command.args(["new", "--json", "--algorithm", algorithm, "--out"]).arg(folder);
    command.arg("--password-file").arg(password);
    let output = process::output(offline, command, COMMAND_TIME)?;
    ensure!(output.status.is_some_and(|status| status.success()), "cgeid new: {}", output.stderr.trim());
    let made: Made = serde_json::from_str(&output.stdout).context("cgeid new --json")?;
    let operational = made.files.get(1).cloned().context("cgeid new --json names no operational key")?;
    Ok(Identity { cn: made.cn, address: made.address, operational })
}
