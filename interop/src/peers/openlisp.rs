// SPDX-License-Identifier: GPL-2.0-or-later
//! The `OpenLISP` control plane: its configuration files, and how it is started.

use std::path::Path;
use std::process::Command;

use super::network::{MS_ADDRESS, SITES};

/// A command that runs it as map-server and map-resolver of both sites. It looks for its files where it is started.
///
/// # Errors
/// When its files cannot be written.
pub(super) fn map_server(program: &Path, folder: &Path, secret: &str) -> std::io::Result<Command> {
    std::fs::write(folder.join("opencp.conf"), MAIN)?;
    std::fs::write(folder.join("ms.xml"), sites(secret))?;
    std::fs::write(folder.join("mr.xml"), resolver())?;
    let mut command = Command::new(program);
    command.args(["-f", "opencp.conf"]).current_dir(folder).env_clear();
    Ok(command)
}

const MAIN: &str = "\
functions = MS, MR
debug_level = 0
lisp_te = No
source_ipv4 = auto
source_ipv6 = auto
srcport_rand = Yes
queue_size = default
min_thread = default
max_thread = default
linger_thread = default
xtr_configure = ./xtr.xml
ms_configure = ./ms.xml
node_configure = ./ddt.xml
mr_configure = ./mr.xml
rtr_configure = ./rtr.xml

";

fn sites(secret: &str) -> String {
    let mut text =
        String::from("<db>\n<authoritative_eid_prefix>\n<eid_prefix family=\"IPv6\">2001:db8::/32</eid_prefix>\n");
    text += "<eid_prefix>10.100.0.0/16</eid_prefix>\n</authoritative_eid_prefix>\n";
    for site in &SITES {
        text += &format!(
            "<site>\n<name>{}</name>\n<key>{secret}</key>\n<contact>nobody@example.org</contact>\n\
             <delegated_eid_prefix family=\"IPv6\">{}</delegated_eid_prefix>\n\
             <delegated_eid_prefix>{}</delegated_eid_prefix>\n</site>\n",
            site.xtr, site.eids[0].prefix, site.eids[1].prefix
        );
    }
    text + "</db>\n"
}

/// Whatever is asked, ask ourselves.
fn resolver() -> String {
    let all = |prefix| {
        format!(
            "<eid_prefix prefix=\"{prefix}\">\n<ddt_node><address>{MS_ADDRESS}</address><priority>1</priority>\
             <weight>15</weight><reachable>true</reachable></ddt_node>\n</eid_prefix>\n"
        )
    };
    format!("<db>\n{}{}</db>\n", all("0.0.0.0/0"), all("0::/0"))
}
