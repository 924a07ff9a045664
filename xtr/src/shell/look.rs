// SPDX-License-Identifier: GPL-2.0-or-later
//! A look at the interfaces of the machine, beside the loop that waits for it.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Failure;
use super::interfaces::{Machine, Wanted};
use super::netlink::Netlink;

/// How long a look may take: a full BGP table is read within seconds.
pub const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// A look at the machine that is under way.
pub type Look = oneshot::Receiver<Result<Machine, Failure>>;

/// Begins to read what there is, in the network namespace of the thread. A router may have a million routes: they are read by a
/// thread of their own, and over a connection of their own, so that nothing waits for it and one that has ended does no harm.
///
/// # Errors
/// If there is no thread for it.
pub fn look(wanted: &Wanted) -> Result<Look, Failure> {
    let (sender, look) = oneshot::channel();
    let wanted = wanted.clone();
    let read = move || {
        // Nobody waits for it when the node has ended.
        let _ = sender.send(read_alone(&wanted));
    };
    let thread = std::thread::Builder::new().name("interfaces".into()).spawn(read);
    thread.map_err(|error| Failure::Machine(format!("a thread to read the interfaces: {error}")))?;
    Ok(look)
}

fn read_alone(wanted: &Wanted) -> Result<Machine, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Machine(format!("reading the interfaces: {error}")))?;
    runtime.block_on(async {
        let netlink = Netlink::connect()?;
        let read = tokio::time::timeout(LONGEST_LOOK, Machine::read(&netlink, wanted));
        read.await
            .unwrap_or_else(|_| Err(Failure::Machine("the kernel did not say in time what interfaces it has".into())))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::database::OwnLocator;

    #[tokio::test]
    async fn the_machine_is_read_beside_the_loop() {
        let given = OwnLocator::new("192.0.2.1".parse().unwrap(), 1, 100);
        for wanted in [Wanted::default(), Wanted { given: vec![given], ..Wanted::default() }] {
            let machine = look(&wanted).unwrap().await.unwrap().unwrap();
            let machine = format!("{machine:?}");
            assert!(machine.contains("name: \"lo\""), "{machine}");
            assert!(wanted.follows_the_routes() || machine.contains("defaults: []"), "{machine}");
        }
    }
}
