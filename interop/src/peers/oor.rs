// SPDX-License-Identifier: GPL-2.0-or-later
//! `OpenOverlayRouter`: its configuration files, and how it is started.

use std::path::Path;
use std::process::Command;

use super::network::{Eids, SITES, Site, UNDERLAY, Underlay};
use super::private_tmp;

/// Its name in its folder.
const PROGRAM: &str = "oor";
const CONFIG: &str = "oor.conf";
/// Seconds between its probes of a locator; as short as it takes it, so that a case sees some.
pub(super) const PROBE_INTERVAL: u64 = 5;

/// A command that runs it with `config`. It makes a socket of a fixed name in /tmp, so it gets `folder` as its /tmp.
///
/// # Errors
/// When its files cannot be written.
pub(crate) fn command(program: &Path, folder: &Path, config: &str) -> std::io::Result<Command> {
    std::fs::write(folder.join(CONFIG), config)?;
    // Where it is now may be hidden by the other /tmp.
    std::fs::copy(program, folder.join(PROGRAM))?;
    let tmp = Path::new(private_tmp::TMP);
    let mut command = Command::new(tmp.join(PROGRAM));
    command.arg("-f").arg(tmp.join(CONFIG)).env_clear();
    private_tmp::give(&mut command, folder)?;
    Ok(command)
}

/// Of a map-server (and map-resolver) of both sites.
pub(super) fn map_server(secret: &str) -> String {
    let site = |eids: &Eids| {
        format!(
            "lisp-site {{\n    eid-prefix = {}\n    key-type = 1\n    key = {secret}\n    iid = 0\n    \
             accept-more-specifics = true\n    proxy-reply = false\n}}\n",
            eids.prefix
        )
    };
    let sites: String = SITES.iter().flat_map(|site| &site.eids).map(site).collect();
    format!("debug = 1\noperating-mode = MS\ncontrol-iface = {UNDERLAY}\n{sites}")
}

/// What an xTR is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Xtr<'a> {
    /// EID-prefixes.
    pub(crate) prefixes: [&'a str; 2],
    /// Name of its port on the underlay.
    pub(crate) port: &'a str,
    /// The version of IP of its locator.
    pub(crate) version: u8,
    /// Address of its map-server.
    pub(crate) map_server: &'a str,
    /// Address of its map-resolver.
    pub(crate) map_resolver: &'a str,
    /// The key.
    pub(crate) secret: &'a str,
    /// How much it logs.
    pub(crate) debug: u8,
    /// Seconds between its probes of a locator.
    pub(crate) probe_interval: u64,
}

/// Of the xTR of a site.
pub(super) fn xtr(site: &Site, underlay: Underlay, map_resolver: &str, secret: &str) -> String {
    let (prefixes, map_server) = (site.eids.each_ref().map(|eids| eids.prefix), underlay.map_server());
    let (port, version, debug, probe_interval) = (UNDERLAY, underlay.version(), 1, PROBE_INTERVAL);
    Xtr { prefixes, port, version, map_server, map_resolver, secret, debug, probe_interval }.configuration()
}

impl Xtr<'_> {
    /// Its configuration file.
    pub(crate) fn configuration(&self) -> String {
        let Self { prefixes, port, version, map_server, map_resolver, secret, debug, probe_interval } = self;
        let mapping = |prefix: &&str| {
            format!(
                "database-mapping {{\n    eid-prefix = {prefix}\n    iid = 0\n    ttl = 10\n    rloc-iface {{\n        \
                 interface = {port}\n        ip_version = {version}\n        priority = 1\n        weight = 100\n    }}\n}}\n",
            )
        };
        let mappings: String = prefixes.iter().map(mapping).collect();
        format!(
            "debug = {debug}\n\
             map-request-retries = 2\n\
             operating-mode = xTR\n\
             encapsulation = LISP\n\
             rloc-probing {{\n    rloc-probe-interval = {probe_interval}\n    rloc-probe-retries = 2\n    \
             rloc-probe-retries-interval = 1\n}}\n\
             map-resolver = {{ {map_resolver} }}\n\
             map-server {{\n    address = {map_server}\n    key-type = 1\n    key = {secret}\n    proxy-reply = off\n}}\n\
             {mappings}"
        )
    }
}
