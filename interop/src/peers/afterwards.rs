// SPDX-License-Identifier: GPL-2.0-or-later
//! What happens when packets have crossed for a while: a host sends to addresses that no site has, and a site gets another locator.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;

use super::cases::Player;
use super::network::{SITES, Site, WATCH};
use super::stage::Stage;
use crate::lab::netlink;
use crate::limits::PING_WAIT;
use crate::probe::ping::{Ping, ping};

/// Addresses that no site has: two in one hole between the sites, for each family of EIDs, and what the map-server says of the hole.
const NOBODYS: [([&str; 2], &str); 2] =
    [(["2001:db8:77::2", "2001:db8:78::2"], "2001:db8:40::/42"), (["10.100.77.2", "10.100.78.2"], "10.100.64.0/18")];
/// Pings to each, some of which an ITR without miss queue loses before it has the answer.
const PINGS: u16 = 3;
const INTERVAL: Duration = Duration::from_millis(300);

/// The host of the site whose xTR is not ours pings what no site has; its ITR says that it holds what the map-server answered.
///
/// # Errors
/// When it does not, or the machine refuses something.
pub(super) fn nobodys(stage: &mut Stage<'_>) -> anyhow::Result<String> {
    let site = theirs(stage)?;
    for (eids, (addresses, hole)) in site.eids.iter().zip(NOBODYS) {
        for address in addresses {
            let (source, destination): (IpAddr, IpAddr) = (eids.host.parse()?, address.parse()?);
            // A node that has it, where what is not sent through a tunnel could arrive if routes led there.
            netlink::add_address(stage.lab.namespace(WATCH)?, "lo", destination.into())?;
            let pings = Ping { source, destination, count: PINGS, interval: INTERVAL, wait: PING_WAIT };
            ping(stage.lab.namespace(site.host)?, stage.lab.namespace(WATCH)?, pings)?;
        }
        stage.await_said(site.xtr, &format!("Added Map Cache entry with EID prefix {hole}"))?;
    }
    let holes = NOBODYS.map(|(_, hole)| hole);
    Ok(format!("{} holds {} for no sites", site.xtr, holes.join(" and ")))
}

/// An xTR of ours asks for what no site has. This map-server's answer is too wide: it covers its sites.
///
/// # Errors
/// When it takes no answer, or the machine refuses something.
pub(super) fn nobodys_of_ours(stage: &mut Stage<'_>) -> anyhow::Result<String> {
    let ([near, far], addresses) = (&SITES, NOBODYS.map(|([address, _], _)| address));
    addresses.iter().try_for_each(|address| stage.await_native(near, address))?;
    far.eids.iter().try_for_each(|eids| stage.await_led(near, far, eids))?;
    Ok(format!("{} natively forwards {}, and to {} as before", near.xtr, addresses.join(" and "), far.xtr))
}

/// The xTR that is not ours gets another locator. Ours is told by a Solicit-Map-Request, asks the map-resolver, and sends there.
///
/// # Errors
/// When that does not come about in time, or the machine refuses something.
pub(super) fn moving(stage: &mut Stage<'_>) -> anyhow::Result<String> {
    let far = theirs(stage)?;
    let near = SITES.iter().find(|site| site.xtr != far.xtr).context("two sites")?;
    let rloc = far.renumber(stage.lab, stage.case.underlay)?.to_string();
    far.eids.iter().try_for_each(|eids| stage.await_led_to(near, eids, &rloc))?;
    Ok(format!("{} now is {rloc}, and {} has been told so", far.xtr, near.xtr))
}

/// The site whose xTR is not ours.
fn theirs(stage: &Stage<'_>) -> anyhow::Result<&'static Site> {
    let found = SITES.iter().zip(stage.case.xtrs).find(|(_, player)| *player != Player::Ours);
    Ok(found.context("both xTRs are ours")?.0)
}
