// SPDX-License-Identifier: GPL-2.0-or-later
//! How much of a bucket may belong to one party. Who came first stays: a newcomer displaces nobody of its own block.

use std::net::IpAddr;

use crate::block::Block;
use crate::limits;

/// Whose share of a bucket is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// The block's.
    #[error("{limit} nodes of one block are in this bucket already", limit = limits::BUCKET_PER_BLOCK)]
    Block,
    /// The provider's.
    #[error("{limit} nodes of one provider are in this bucket already", limit = limits::BUCKET_PER_PROVIDER)]
    Provider,
}

/// Whether a bucket with these members has room for one more, each at the address at which it is seen.
///
/// # Errors
/// Whose share is used up.
pub fn room(newcomer: IpAddr, members: impl Iterator<Item = IpAddr>) -> Result<(), Crowded> {
    let (block, provider) = (Block::of(newcomer), Block::provider_of(newcomer));
    let (mut of_block, mut of_provider) = (0, 0);
    for member in members {
        of_block += usize::from(Block::of(member) == block);
        of_provider += usize::from(provider.is_some() && Block::provider_of(member) == provider);
    }
    if of_block >= limits::BUCKET_PER_BLOCK {
        return Err(Crowded::Block);
    }
    if of_provider >= limits::BUCKET_PER_PROVIDER {
        return Err(Crowded::Provider);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn has_room(newcomer: &str, members: &[String]) -> Result<(), Crowded> {
        room(newcomer.parse().unwrap(), members.iter().map(|member| member.parse().unwrap()))
    }

    fn texts(members: &[&str]) -> Vec<String> {
        members.iter().map(|&member| member.to_owned()).collect()
    }

    #[test]
    fn two_of_a_block_are_enough() {
        let members = texts(&["198.51.100.1", "198.51.100.2", "203.0.113.1", "2001:db8:a::1", "2001:db8:a:b::2"]);
        assert_eq!(has_room("198.51.100.3", &members), Err(Crowded::Block));
        assert_eq!(has_room("::ffff:198.51.100.3", &members), Err(Crowded::Block));
        assert_eq!(has_room("203.0.113.2", &members), Ok(()));
        assert_eq!(has_room("2001:db8:a:c::3", &members), Err(Crowded::Block));
        assert_eq!(has_room("2001:db8:b::3", &members), Ok(()));
    }

    #[test]
    fn eight_of_a_provider_are_enough() {
        let members: Vec<String> = (0..8).map(|site| format!("2001:db8:{site}::1")).collect();
        assert_eq!(has_room("2001:db8:99::1", &members), Err(Crowded::Provider));
        assert_eq!(has_room("2001:db8:99::1", &members[1..]), Ok(()));
        assert_eq!(has_room("2001:db9::1", &members), Ok(()));
    }

    #[test]
    fn the_nodes_of_a_site_are_parties_of_their_own() {
        let members: Vec<String> = (1..20).map(|host| format!("10.0.0.{host}")).collect();
        assert_eq!(has_room("10.0.0.99", &members), Ok(()));
    }
}
