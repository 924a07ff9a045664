// SPDX-License-Identifier: GPL-2.0-or-later
//! Temporary CGEIDs. The keeper in `cgeid` decides what is used when and gives the TUN device the addresses; this node
//! publishes and registers the identities behind them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use cgeid::shell::addresses::{AddressError, Addresses};
use cgeid::shell::clock;
use cgeid::shell::temporary::{Directory, Keeper};
use cgeid::temporary::{Clock, Input};
use cgeid::{Cn, Identity, Network};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::Failure;
use super::embedded::{Status, cgeid_prefix};
use super::identities::Change;
use crate::config::Config;

/// Name of the state in the state directory; it holds private keys, and only its owner can read it.
const STATE: &str = "temporary.state";
/// Between two looks whether an identity can be found by others.
const LOOK: Duration = Duration::from_millis(200);
/// After this time without an answer of the DHT a publication counts as failed; the schedule asks again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The clocks that decide when a temporary CGEID is used.
pub trait Clocks {
    /// What they say.
    fn read(&self) -> Clock;

    /// Waits until the machine has run for `uptime`.
    fn until(&self, uptime: Duration) -> impl Future<Output = ()>;
}

/// Those of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClocks;

impl Clocks for SystemClocks {
    fn read(&self) -> Clock {
        clock::read()
    }

    async fn until(&self, uptime: Duration) {
        tokio::time::sleep(uptime.saturating_sub(self.read().uptime)).await;
    }
}

/// The temporary CGEIDs of a running node.
pub struct Temporary<C> {
    keeper: Keeper,
    clocks: C,
    publisher: Publisher,
    changes: mpsc::Sender<Change>,
    status: Status,
}

/// Turns what the keeper says into changes of the node.
struct Publisher {
    network: Network,
    now: SystemTime,
    /// Identities that the node has.
    known: Vec<Cn>,
    /// Those of which the keeper does not know yet whether they can be found, and until when that is waited for.
    awaited: Vec<(Cn, Instant)>,
    changes: VecDeque<Change>,
    /// Those that nobody will find.
    failed: VecDeque<Cn>,
}

impl<C: Clocks> Temporary<C> {
    /// Goes on where the last run ended; the TUN device has to be there, and set up.
    ///
    /// # Errors
    /// What the machine lacks.
    pub async fn start(
        config: &Config,
        network: Network,
        clocks: C,
        changes: mpsc::Sender<Change>,
        status: Status,
    ) -> Result<Self, Failure> {
        let addresses = Addresses::connect(&config.tun, network).await.map_err(|error| lacking(&error))?;
        let now = clocks.read();
        // The static CGEIDs are on the device, deprecated.
        let keeper = Keeper::start(addresses, network, &[], config.state_dir.join(STATE), now).await;
        let keeper = keeper.map_err(|error| Failure::Machine(format!("--temporary: {error}")))?;
        if let Some(reason) = keeper.discarded() {
            tracing::warn!(%reason, "temporary CGEIDs begin anew");
        }
        let publisher = Publisher::new(network, utc(now));
        Ok(Self { keeper, clocks, publisher, changes, status })
    }

    /// Runs for ever; may be broken off while it waits. Of addresses that somebody has taken off the TUN device it hears by `lost`.
    pub async fn run(&mut self, lost: &Notify) -> Infallible {
        let mut inputs = vec![Input::Tick];
        loop {
            let before = self.keeper.preferred();
            let now = self.clocks.read();
            self.publisher.now = utc(now);
            for input in inputs {
                if let Err(error) = self.keeper.turn(now, input, &mut self.publisher).await {
                    tracing::warn!(%error, "temporary CGEIDs");
                }
            }
            if let Some(address) = self.keeper.preferred().filter(|address| before != Some(*address)) {
                tracing::info!(%address, "connections to CGEIDs begin with another temporary CGEID");
            }
            while let Some(change) = self.publisher.changes.pop_front() {
                // An error means that the node ends.
                let _ = self.changes.send(change).await;
            }
            inputs = tokio::select! {
                input = self.next_input() => vec![input],
                () = lost.notified() => self.gone().await,
            };
        }
    }

    /// Those that are not on the TUN device any more.
    async fn gone(&self) -> Vec<Input> {
        let gone = self.keeper.gone().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "temporary CGEIDs");
            Vec::new()
        });
        if !gone.is_empty() {
            tracing::warn!(?gone, "temporary CGEIDs were taken off the TUN device, and are put there again");
        }
        gone.into_iter().map(|address| Input::Gone { address }).collect()
    }

    async fn next_input(&mut self) -> Input {
        if let Some(cn) = self.publisher.failed.pop_front() {
            return Input::Published { cn, done: false };
        }
        let deadline = self.keeper.next_deadline();
        loop {
            let look = async {
                match self.publisher.awaited.is_empty() {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(LOOK).await,
                }
            };
            tokio::select! {
                () = self.clocks.until(deadline) => return Input::Tick,
                () = look => {}
            }
            let registrations = self.status.show("registrations").await.unwrap_or_default();
            if let Some((cn, done)) = self.publisher.settled(Instant::now(), &registrations) {
                return Input::Published { cn, done };
            }
        }
    }

    /// Takes addresses and label away; what the next run needs stays in the state directory.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn end(self) -> Result<(), Failure> {
        self.keeper.addresses().clean_up().await.map_err(|error| lacking(&error))
    }
}

/// Takes away the label that a killed run left behind: the addresses went with its device, and this is the machine's.
pub async fn remove_leftovers(config: &Config, network: Network) {
    let removed = match Addresses::connect(&config.tun, network).await {
        Ok(addresses) => addresses.remove_label().await,
        Err(error) => Err(error),
    };
    // A kernel without IPv6 has no labels, and nobody asked for one.
    if let Err(error) = removed {
        tracing::debug!(%error, "looking for the address label of an earlier run");
    }
}

fn lacking(error: &AddressError) -> Failure {
    Failure::Machine(format!("temporary CGEIDs: {error}"))
}

fn utc(now: Clock) -> SystemTime {
    now.utc.unwrap_or_else(SystemTime::now)
}

impl Publisher {
    fn new(network: Network, now: SystemTime) -> Self {
        Self { network, now, known: Vec::new(), awaited: Vec::new(), changes: VecDeque::new(), failed: VecDeque::new() }
    }

    /// An identity of which it is known now whether others can find it: its registration is published, or nobody waits
    /// any longer.
    fn settled(&mut self, now: Instant, registrations: &Value) -> Option<(Cn, bool)> {
        let rows = registrations.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_published = |cn: Cn| {
            let prefix = cgeid_prefix(cn.address(self.network)).to_string();
            rows.iter().any(|row| row["prefix"] == prefix && row["published"] == true)
        };
        let index = self.awaited.iter().position(|(cn, until)| is_published(*cn) || *until <= now)?;
        let (cn, _) = self.awaited.remove(index);
        Some((cn, is_published(cn)))
    }
}

impl Directory for Publisher {
    fn publish(&mut self, identity: Identity) {
        let cn = identity.cn();
        if !self.known.contains(&cn) {
            match identity.delegate(self.now, 0) {
                Ok(key) => self.changes.push_back(Change::Added(key)),
                Err(error) => {
                    tracing::warn!(%cn, %error, "no operational key for a temporary CGEID");
                    self.failed.push_back(cn);
                    return;
                }
            }
            self.known.push(cn);
        }
        self.awaited.retain(|(other, _)| *other != cn);
        self.awaited.push((cn, Instant::now() + PATIENCE));
    }

    fn withdraw(&mut self, cn: Cn) {
        let address: Ipv6Addr = cn.address(self.network);
        self.known.retain(|other| *other != cn);
        self.awaited.retain(|(other, _)| *other != cn);
        self.changes.push_back(Change::Removed { cn, address });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn publisher() -> (Publisher, Cn) {
        let now = SystemTime::now();
        let mut publisher = Publisher::new(Network::LAB, now);
        let identity = Identity::generate_temporary(Network::LAB, now).unwrap();
        let cn = identity.cn();
        publisher.publish(identity);
        (publisher, cn)
    }

    #[test]
    fn an_identity_is_known_to_others_when_its_registration_is_published() {
        let (mut publisher, cn) = publisher();
        assert!(matches!(publisher.changes.pop_front(), Some(Change::Added(key)) if key.cn() == cn));
        let row = |published: bool| json!([{ "prefix": format!("{}/128", cn.address(Network::LAB)), "published": published }]);
        assert_eq!(publisher.settled(Instant::now(), &json!([])), None);
        assert_eq!(publisher.settled(Instant::now(), &row(false)), None);
        assert_eq!(publisher.settled(Instant::now(), &row(true)), Some((cn, true)));
        assert_eq!(publisher.settled(Instant::now(), &row(true)), None, "told once");
    }

    #[test]
    fn one_that_leaves_is_waited_for_no_more() {
        let (mut publisher, cn) = publisher();
        publisher.changes.clear();
        publisher.withdraw(cn);
        let [Change::Removed { cn: removed, address }] = publisher.changes.make_contiguous() else { panic!() };
        assert_eq!((*removed, *address), (cn, cn.address(Network::LAB)));
        assert!(publisher.awaited.is_empty() && publisher.known.is_empty());
    }

    #[test]
    fn after_half_a_minute_it_counts_as_not_published() {
        let (mut publisher, cn) = publisher();
        assert_eq!(publisher.settled(Instant::now() + PATIENCE, &json!([])), Some((cn, false)));
    }

    #[test]
    fn a_day_on_which_it_is_not_valid_fails_at_once() {
        let mut publisher = Publisher::new(Network::LAB, SystemTime::now());
        publisher.now += Duration::from_secs(10 * 24 * 3600);
        let identity = Identity::generate_temporary(Network::LAB, SystemTime::now()).unwrap();
        let cn = identity.cn();
        publisher.publish(identity);
        assert_eq!((publisher.failed.pop_front(), publisher.changes.len()), (Some(cn), 0));
    }
}
