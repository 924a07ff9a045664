// SPDX-License-Identifier: GPL-2.0-or-later
//! CGEIDs on an interface, through rtnetlink, and the label by which the kernel chooses them (RFC 6724).
//!
//! Every address that is put on the interface here carries the protocol number [`PROTOCOL`] (`ip addr` shows it as
//! `proto`), so that a later run finds what a killed one left. Everything may be done twice.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use futures::TryStreamExt as _;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo};
use netlink_packet_route::addrlabel::AddrLabelAttribute;
use netlink_packet_route::link::LinkAttribute;
use rtnetlink::{Handle, IpVersion};

use crate::cn::{Cn, Network};
use crate::temporary::Lifetimes;

/// Who put the address there: a number that no daemon has (`/etc/iproute2/rt_addrprotos`).
pub const PROTOCOL: u8 = 143;

/// Label of the network in the policy table of RFC 6724: any that nobody else has, so that only a CGEID goes with a CGEID.
/// In decimal, what the lab's network has in hexadecimal.
pub const LABEL: u32 = 3297;

/// How the kernel writes "for ever".
const FOR_EVER: u32 = u32::MAX;

const PERMISSION: [i32; 2] = [-1, -13];
const NO_DEVICE: i32 = -19;
const NO_ADDRESS: i32 = -99;
const EXISTS: i32 = -17;
const NOT_FOUND: [i32; 2] = [-2, -3];
const INVALID: i32 = -22;

/// What the machine lacks.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The kernel has no netlink for us.
    #[error("netlink: {0}")]
    Netlink(std::io::Error),
    /// No such interface.
    #[error("there is no interface {name}")]
    Interface {
        /// Its name.
        name: String,
    },
    /// Not allowed.
    #[error("{what} is not permitted (CAP_NET_ADMIN is needed: run as root)")]
    Permission {
        /// What was to be done.
        what: &'static str,
    },
    /// IPv6 is switched off.
    #[error("IPv6 is switched off on {name} (sysctl net.ipv6.conf.{name}.disable_ipv6)")]
    NoIpv6 {
        /// Name of the interface.
        name: String,
    },
    /// The kernel refused for another reason.
    #[error("the kernel refused {what}: {cause}")]
    Refused {
        /// What was to be done.
        what: &'static str,
        /// What it said.
        cause: rtnetlink::Error,
    },
}

/// What became of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The search for duplicates (RFC 4862 5.4) goes on.
    Tentative,
    /// It is of use.
    Ready,
    /// Another node answered for it.
    Duplicate,
    /// It is not on the interface: removed by somebody, or by the kernel when it found a duplicate.
    Gone,
}

/// The CGEIDs of one interface.
#[derive(Debug)]
pub struct Addresses {
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
    name: String,
    index: u32,
    network: Network,
}

impl Drop for Addresses {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Addresses {
    /// Connects to the kernel in the network namespace of this thread. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`AddressError::Interface`] if there is none of that name.
    pub async fn connect(name: &str, network: Network) -> Result<Addresses, AddressError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(AddressError::Netlink)?;
        let task = tokio::spawn(connection);
        let mut addresses = Addresses { handle, task, name: name.to_owned(), index: 0, network };
        addresses.index = addresses.find_interface().await?;
        Ok(addresses)
    }

    /// Puts an address on the interface as /128, or changes its lives where it is there.
    ///
    /// # Errors
    /// [`AddressError`] names what the machine lacks.
    pub async fn assign(&self, address: Ipv6Addr, lifetimes: Lifetimes) -> Result<(), AddressError> {
        let mut request = self.handle.address().add(self.index, address.into(), 128).replace();
        let attributes = &mut request.message_mut().attributes;
        let mut info = CacheInfo::default();
        (info.ifa_preferred, info.ifa_valid) = seconds(lifetimes);
        attributes.push(AddressAttribute::CacheInfo(info));
        attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
        // The route to a /128 of our own leads nowhere: what is on the link is for others to say.
        attributes.push(AddressAttribute::Flags(AddressFlags::Noprefixroute));
        request.execute().await.map_err(|cause| self.refusal("an address", cause))
    }

    /// Takes an address off the interface; one that is not there is no error.
    ///
    /// # Errors
    /// [`AddressError`] names what the machine lacks.
    pub async fn remove(&self, address: Ipv6Addr) -> Result<(), AddressError> {
        let Some((message, _)) = self.find(address).await? else { return Ok(()) };
        match self.handle.address().del(message).execute().await {
            Err(cause) if code(&cause) == Some(NO_ADDRESS) => Ok(()),
            done => done.map_err(|cause| self.refusal("removing an address", cause)),
        }
    }

    /// What became of an address.
    ///
    /// # Errors
    /// [`AddressError`] names what the machine lacks.
    pub async fn standing(&self, address: Ipv6Addr) -> Result<Standing, AddressError> {
        let Some((_, flags)) = self.find(address).await? else { return Ok(Standing::Gone) };
        Ok(if flags.contains(AddressFlags::Dadfailed) {
            Standing::Duplicate
        } else if flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic) {
            Standing::Tentative
        } else {
            Standing::Ready
        })
    }

    /// Takes all addresses off the interface that were put there by this program, but these: what a killed run left.
    ///
    /// # Errors
    /// [`AddressError`] names what the machine lacks.
    pub async fn keep_only(&self, kept: &[Ipv6Addr]) -> Result<(), AddressError> {
        let left: BTreeSet<_> = self.ours().await?.into_iter().filter(|address| !kept.contains(address)).collect();
        for address in left {
            self.remove(address).await?;
        }
        Ok(())
    }

    /// Gives the network its label, so that a CGEID is the source where a CGEID is the destination.
    ///
    /// # Errors
    /// [`AddressError::Refused`] if somebody gave the network another label.
    pub async fn add_label(&self) -> Result<(), AddressError> {
        let (prefix, length) = self.prefix();
        let request = self.handle.addrlabel().add().address(prefix).prefix_len(length).label(LABEL);
        match request.execute().await {
            Err(cause) if code(&cause) == Some(EXISTS) && self.has_label().await? => Ok(()),
            done => done.map_err(|cause| self.refusal("an address label", cause)),
        }
    }

    /// Takes the label away; where there is none that is no error.
    ///
    /// # Errors
    /// [`AddressError`] names what the machine lacks.
    pub async fn remove_label(&self) -> Result<(), AddressError> {
        if !self.has_label().await? {
            return Ok(());
        }
        let (prefix, length) = self.prefix();
        let request = self.handle.addrlabel().del().address(prefix).prefix_len(length).label(LABEL);
        match request.execute().await {
            Err(cause) if code(&cause).is_some_and(|code| NOT_FOUND.contains(&code)) => Ok(()),
            done => done.map_err(|cause| self.refusal("removing an address label", cause)),
        }
    }

    /// Removes the label and every address that this program put on the interface.
    ///
    /// # Errors
    /// [`AddressError`] names what the machine lacks.
    pub async fn clean_up(&self) -> Result<(), AddressError> {
        self.keep_only(&[]).await?;
        self.remove_label().await
    }

    fn prefix(&self) -> (IpAddr, u8) {
        (Cn([0; Cn::LENGTH]).address(self.network).into(), 32)
    }

    async fn find_interface(&self) -> Result<u32, AddressError> {
        let mut links = self.handle.link().get().execute();
        let is_it = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::IfName(name) if *name == self.name);
        while let Some(link) =
            links.try_next().await.map_err(|cause| self.refusal("a look at the interfaces", cause))?
        {
            if link.attributes.iter().any(is_it) {
                return Ok(link.header.index);
            }
        }
        Err(AddressError::Interface { name: self.name.clone() })
    }

    async fn messages(&self) -> Result<Vec<AddressMessage>, AddressError> {
        let listed = self.handle.address().get().set_link_index_filter(self.index).execute().try_collect().await;
        listed.map_err(|cause| self.refusal("a look at the addresses", cause))
    }

    async fn find(&self, address: Ipv6Addr) -> Result<Option<(AddressMessage, AddressFlags)>, AddressError> {
        let messages = self.messages().await?;
        let found = messages.into_iter().find(|message| address_of(message) == Some(address));
        Ok(found.map(|message| {
            let flags = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Flags(flags) => Some(*flags),
                _ => None,
            };
            let flags = message.attributes.iter().find_map(flags).unwrap_or(AddressFlags::empty());
            (message, flags)
        }))
    }

    /// CGEIDs on the interface that carry our protocol number.
    async fn ours(&self) -> Result<Vec<Ipv6Addr>, AddressError> {
        let mark = AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL));
        let messages = self.messages().await?;
        let marked = messages.iter().filter(|message| message.attributes.contains(&mark));
        Ok(marked.filter_map(address_of).filter(|address| self.network.cn_of(*address).is_some()).collect())
    }

    async fn has_label(&self) -> Result<bool, AddressError> {
        let (prefix, length) = self.prefix();
        let mut labels = self.handle.addrlabel().get(IpVersion::V6).execute();
        while let Some(label) = labels.try_next().await.map_err(|cause| self.refusal("a look at the labels", cause))? {
            let is_ours = label.header.prefix_len == length
                && label.attributes.contains(&AddrLabelAttribute::Address(prefix))
                && label.attributes.contains(&AddrLabelAttribute::Label(LABEL));
            if is_ours {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn refusal(&self, what: &'static str, cause: rtnetlink::Error) -> AddressError {
        match code(&cause) {
            Some(code) if PERMISSION.contains(&code) && self.ipv6_is_off() => {
                AddressError::NoIpv6 { name: self.name.clone() }
            }
            Some(code) if PERMISSION.contains(&code) => AddressError::Permission { what },
            Some(INVALID) if self.ipv6_is_off() => AddressError::NoIpv6 { name: self.name.clone() },
            Some(NO_DEVICE) => AddressError::Interface { name: self.name.clone() },
            _ => AddressError::Refused { what, cause },
        }
    }

    fn ipv6_is_off(&self) -> bool {
        let setting = std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", self.name));
        setting.is_ok_and(|value| value.trim() != "0")
    }
}

/// Preferred and valid in the kernel's seconds. What is left of a second counts as one, so that no life ends early and
/// none that is not over becomes zero; a valid life of zero would be refused.
fn seconds(lifetimes: Lifetimes) -> (u32, u32) {
    let up = |time: std::time::Duration| {
        let whole = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
        u32::try_from(whole).unwrap_or(FOR_EVER).min(FOR_EVER - 1)
    };
    let valid = lifetimes.valid.map_or(FOR_EVER, |valid| up(valid).max(1));
    (up(lifetimes.preferred).min(valid), valid)
}

fn address_of(message: &AddressMessage) -> Option<Ipv6Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V6(address)) => Some(*address),
        _ => None,
    })
}

fn code(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lives_are_whole_seconds_and_never_for_ever_by_accident() {
        assert_eq!(seconds(Lifetimes::STATIC), (0, FOR_EVER));
        let lives = |preferred: u64, valid: u64| Lifetimes {
            preferred: Duration::from_millis(preferred),
            valid: Some(Duration::from_millis(valid)),
        };
        assert_eq!(seconds(lives(86_700_000, 172_800_000)), (86_700, 172_800));
        assert_eq!(seconds(lives(1, 1)), (1, 1));
        assert_eq!(seconds(lives(0, 0)), (0, 1));
        assert_eq!(seconds(lives(u64::MAX, u64::MAX)), (FOR_EVER - 1, FOR_EVER - 1));
    }
}
