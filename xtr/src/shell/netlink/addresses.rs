// SPDX-License-Identifier: GPL-2.0-or-later
//! The CGEIDs on the TUN device.

use std::net::Ipv6Addr;

use cgeid::shell::addresses;
use futures::TryStreamExt as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol, CacheInfo};

use super::{Failure, Netlink, is_new, or_none, refused, unless};

/// The same of addresses (IFA_PROTO, Linux 5.18; an older kernel keeps none, and an address goes with its device only). Not that
/// of the temporary CGEIDs, which outlive a run and are others' to remove.
const ADDRESS_PROTOCOL: AddressProtocol = AddressProtocol::Other(144);

/// Addresses that are valid for ever.
const FOR_EVER: u32 = u32::MAX;

impl Netlink {
    /// Puts a CGEID of this node on the TUN device, since no host has it. May be done twice.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub(in crate::shell) async fn add_own_cgeid(&self, tun: &str, cgeid: Ipv6Addr) -> Result<(), Failure> {
        self.add_own_address(self.index_of(tun).await?, cgeid).await.map(drop)
    }

    /// The contrary of [`Self::add_own_cgeid`].
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub(in crate::shell) async fn remove_own_cgeid(&self, tun: &str, cgeid: Ipv6Addr) -> Result<(), Failure> {
        let mut address = AddressMessage::default();
        (address.header.family, address.header.prefix_len) = (AddressFamily::Inet6, 128);
        address.header.index = self.index_of(tun).await?;
        address.attributes.push(AddressAttribute::Address(cgeid.into()));
        let removed = self.handle.address().del(address).execute().await;
        unless(-libc::EADDRNOTAVAIL, removed).map_err(refused("taking a CGEID off the TUN device"))
    }

    pub(super) async fn remove_addresses(&self) -> Result<(), Failure> {
        let addresses = self.handle.address().get().execute().try_collect();
        let addresses: Vec<AddressMessage> = or_none(addresses.await).map_err(refused("reading the addresses"))?;
        let mut result = Ok(());
        for address in addresses.into_iter().filter(is_our_address) {
            let removed = unless(-libc::EADDRNOTAVAIL, self.handle.address().del(address).execute().await);
            result = result.and(removed.map_err(refused("removing an address")));
        }
        result
    }

    /// Whether it was not there.
    pub(super) async fn add_own_address(&self, index: u32, address: Ipv6Addr) -> Result<bool, Failure> {
        let mut request = self.handle.address().add(index, address.into(), 128);
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        // Deprecated at once: answers come from it, but no connection is begun with it.
        let mut info = CacheInfo::default();
        (info.ifa_preferred, info.ifa_valid) = (0, FOR_EVER);
        message.attributes.push(AddressAttribute::CacheInfo(info));
        message.attributes.push(AddressAttribute::Protocol(ADDRESS_PROTOCOL));
        is_new(request.execute().await).map_err(refused("giving the TUN device a CGEID"))
    }
}

pub(super) fn is_our_address(address: &AddressMessage) -> bool {
    address.attributes.contains(&AddressAttribute::Protocol(ADDRESS_PROTOCOL))
}

/// Whether it is a temporary CGEID.
pub(super) fn is_temporary(address: &AddressMessage) -> bool {
    address.attributes.contains(&AddressAttribute::Protocol(AddressProtocol::Other(addresses::PROTOCOL)))
}
