// SPDX-License-Identifier: GPL-2.0-or-later
//! What nodes have published of where they are, for those who draw and point.

use std::future::Future;
use std::time::SystemTime;

use cgeid::{Cn, Network};
use futures::stream::{self, Stream, StreamExt as _};

use crate::record::{Bundle, CertificateCache, Class, RecordKey};
use crate::resolve::{Selection, newest};
use crate::shell::node::{Node, NodeError};
use crate::shell::{limits, lookup};

/// The newest bundle with a TOPOLOGY that holds.
pub(super) fn hold(network: Network, cn: Cn, values: &[Vec<u8>], now: SystemTime) -> Option<Bundle> {
    let key = RecordKey::node(network, cn);
    match newest(network, &key, Class::Topology, values, now, &mut CertificateCache::new()) {
        Selection::Newest(verified) => Some(verified.bundle),
        _ => None,
    }
}

/// The newest bundle with a TOPOLOGY of one node, from the network.
pub(super) async fn read(node: &Node, network: Network, cn: Cn) -> Result<Option<Bundle>, NodeError> {
    let found = lookup::get(node, network, &RecordKey::node(network, cn)).await?;
    Ok(hold(network, cn, &found.values, SystemTime::now()))
}

/// Looks all of them up, [`limits::COMMAND_LOOKUPS`] at once; what is found comes in the order in which it was asked for.
pub(super) fn several<'a, F: Future + 'a>(
    cns: &'a [Cn],
    look_up: impl Fn(Cn) -> F + 'a,
) -> impl Stream<Item = F::Output> + 'a {
    stream::iter(cns).map(move |cn| look_up(*cn)).buffered(limits::COMMAND_LOOKUPS)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Lets others go first, so many times.
    async fn wait(turns: usize) {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn lookups_go_side_by_side_within_bounds_and_come_in_order() {
        let cns: Vec<Cn> = (0..40).map(|number| Cn([number; 12])).collect();
        let (now, most) = (Cell::new(0), Cell::new(0));
        // The first of a batch ends last.
        let look_up = async |cn: Cn| {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            wait(50 - usize::from(cn.0[0])).await;
            now.set(now.get() - 1);
            cn
        };
        let found: Vec<Cn> = several(&cns, look_up).collect().await;
        assert_eq!(found, cns);
        assert_eq!((most.get(), now.get()), (limits::COMMAND_LOOKUPS, 0));
    }
}
