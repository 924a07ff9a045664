// SPDX-License-Identifier: GPL-2.0-or-later
//! The `OpenLISP` control plane: its configuration files, and how it is started.

use std::path::Path;
use std::process::Command;

use super::cases::Player;
use super::network::{SITES, Site, Underlay};

/// A command that runs it as map-server and map-resolver of both sites. It looks for its files where it is started.
///
/// # Errors
/// When its files cannot be written.
pub(super) fn map_server(program: &Path, folder: &Path, secret: &str, xtrs: [Player; 2]) -> std::io::Result<Command> {
    std::fs::write(folder.join("ms.xml"), sites(secret, xtrs))?;
    std::fs::write(folder.join("mr.xml"), resolver())?;
    command(program, folder, "MS, MR")
}

/// A command that runs it as xTR of a site: it registers and answers, and no packet crosses it.
///
/// # Errors
/// When its files cannot be written.
pub(super) fn xtr(
    program: &Path,
    folder: &Path,
    site: &Site,
    underlay: Underlay,
    secret: &str,
) -> std::io::Result<Command> {
    std::fs::write(folder.join("xtr.xml"), database(site, underlay, secret))?;
    command(program, folder, "xTR")
}

fn command(program: &Path, folder: &Path, functions: &str) -> std::io::Result<Command> {
    std::fs::write(folder.join("opencp.conf"), format!("functions = {functions}\n{MAIN}"))?;
    let mut command = Command::new(program);
    command.args(["-f", "opencp.conf"]).current_dir(folder).env_clear();
    Ok(command)
}

const MAIN: &str = "\
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

/// Each Map-Register replaces all that its site has registered. Our xTR names all its prefixes in one; of `OpenOverlayRouter`, which
/// sends one for each, every prefix has to be a site.
fn sites(secret: &str, xtrs: [Player; 2]) -> String {
    let mut text =
        String::from("<db>\n<authoritative_eid_prefix>\n<eid_prefix family=\"IPv6\">2001:db8::/32</eid_prefix>\n");
    text += "<eid_prefix>10.100.0.0/16</eid_prefix>\n</authoritative_eid_prefix>\n";
    for (site, player) in SITES.iter().zip(xtrs) {
        let [v6, v4] = site.eids.each_ref().map(|eids| eids.prefix);
        let v6 = format!("<delegated_eid_prefix family=\"IPv6\">{v6}</delegated_eid_prefix>\n");
        let v4 = format!("<delegated_eid_prefix>{v4}</delegated_eid_prefix>\n");
        let parts = if player == Player::Ours { vec![v6 + &v4] } else { vec![v6, v4] };
        for (number, prefixes) in parts.iter().enumerate() {
            text += &format!(
                "<site>\n<name>{}{number}</name>\n<key>{secret}</key>\n<contact>nobody@example.org</contact>\n\
                 {prefixes}</site>\n",
                site.xtr
            );
        }
    }
    text + "</db>\n"
}

/// What an xTR has, and where it registers that.
fn database(site: &Site, underlay: Underlay, secret: &str) -> String {
    let (server, family) = (underlay.map_server(), format!("family=\"IPv{}\"", underlay.version()));
    let mut text = format!(
        "<db>\n<mapserver><ms {family} key=\"{secret}\" proxy=\"no\">{server}</ms></mapserver>\n\
         <mapresolver><mr {family}>{server}</mr></mapresolver>\n"
    );
    for prefix in site.eids.each_ref().map(|eids| eids.prefix) {
        let of_eid = if prefix.contains(':') { "family=\"IPv6\" " } else { "" };
        text += &format!(
            "<eid_prefix {of_eid}prefix=\"{prefix}\" ttl=\"60\" version=\"0\">\n\
             <rloc><address {family}>{}</address><priority>1</priority><m_priority>255</m_priority><weight>100</weight>\
             <m_weight>0</m_weight><local>true</local><reachable>true</reachable></rloc>\n</eid_prefix>\n",
            site.rloc(underlay)
        );
    }
    text + "</db>\n"
}

/// Whatever is asked, ask ourselves.
fn resolver() -> String {
    let own = Underlay::V4.map_server();
    let all = |prefix| {
        format!(
            "<eid_prefix prefix=\"{prefix}\">\n<ddt_node><address>{own}</address><priority>1</priority>\
             <weight>15</weight><reachable>true</reachable></ddt_node>\n</eid_prefix>\n"
        )
    };
    format!("<db>\n{}{}</db>\n", all("0.0.0.0/0"), all("0::/0"))
}
