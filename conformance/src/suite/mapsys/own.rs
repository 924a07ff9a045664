// SPDX-License-Identifier: GPL-2.0-or-later
//! Addresses of loopback for rooms: none that another room of this process has, nor, but for a chance, one of another run beside it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};

/// The number of the next address of this process.
static NEXT: AtomicU16 = AtomicU16::new(1);

/// Second octets of the addresses of suites `lispsec` and `nat`, which may run beside.
const TAKEN: [u8; 2] = [93, 94];

/// The next address.
pub(super) fn next() -> Ipv4Addr {
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, block(std::process::id()), high, low)
}

/// The second octet of a process.
fn block(process: u32) -> u8 {
    let free = || (64..192).filter(|block| !TAKEN.contains(block));
    free().nth(process as usize % free().count()).unwrap_or(64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_process_has_the_block_of_another_suite_and_a_hundred_have_their_own() {
        let blocks: BTreeSet<_> = (4_000..4_126).map(block).collect();
        assert_eq!(blocks.len(), 126);
        assert!(blocks.iter().all(|block| (64..192).contains(block) && !TAKEN.contains(block)));
    }

    #[test]
    fn no_address_comes_twice() {
        assert_eq!([(); 300].map(|()| next()).into_iter().collect::<BTreeSet<_>>().len(), 300);
    }
}
