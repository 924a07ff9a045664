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
pub(super) fn command(program: &Path, folder: &Path, config: &str) -> std::io::Result<Command> {
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

/// Of the xTR of a site.
pub(super) fn xtr(site: &Site, underlay: Underlay, map_resolver: &str, secret: &str) -> String {
    let (version, map_server) = (underlay.version(), underlay.map_server());
    let mapping = |eids: &Eids| {
        format!(
            "database-mapping {{\n    eid-prefix = {}\n    iid = 0\n    ttl = 10\n    rloc-iface {{\n        \
             interface = {UNDERLAY}\n        ip_version = {version}\n        priority = 1\n        weight = 100\n    }}\n}}\n",
            eids.prefix
        )
    };
    let mappings: String = site.eids.iter().map(mapping).collect();
    format!(
        "debug = 1\n\
         map-request-retries = 2\n\
         operating-mode = xTR\n\
         encapsulation = LISP\n\
         rloc-probing {{\n    rloc-probe-interval = {PROBE_INTERVAL}\n    rloc-probe-retries = 2\n    \
         rloc-probe-retries-interval = 1\n}}\n\
         map-resolver = {{ {map_resolver} }}\n\
         map-server {{\n    address = {map_server}\n    key-type = 1\n    key = {secret}\n    proxy-reply = off\n}}\n\
         {mappings}"
    )
}
