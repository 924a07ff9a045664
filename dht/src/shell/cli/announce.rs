// SPDX-License-Identifier: GPL-2.0-or-later
//! What a running node says of itself: signed and put again for as long as it runs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use cgeid::{Network, OperationalKey};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::flags::NodeFlags;
use super::keys::{self, Keys};
use super::settings::Settings;
use super::{Failure, publish as putting};
use crate::publish::{Due, Publication, Schedule, Sequence, Statement};
use crate::record::Class;
use crate::shell::node::Node;

/// How long a withdrawal at the end may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// Publishes what the settings say of the node.
pub(super) struct Announcer<'a> {
    node: Node,
    network: Network,
    flags: &'a NodeFlags,
    settings: Settings,
    keys: Keys,
    key: OperationalKey,
    /// What was said since the start, and is to be withdrawn where the settings do not say it any more.
    said: BTreeSet<Class>,
    schedule: Schedule,
    publication: Option<Publication>,
}

impl<'a> Announcer<'a> {
    pub(super) fn new(
        node: Node,
        network: Network,
        flags: &'a NodeFlags,
        settings: Settings,
        (keys, key): (Keys, OperationalKey),
    ) -> Result<Self, Failure> {
        let (said, schedule, publication) = (BTreeSet::new(), Schedule::default(), None);
        let mut announcer = Self { node, network, flags, settings, keys, key, said, schedule, publication };
        announcer.plan()?;
        Ok(announcer)
    }

    /// Works until it is dropped; SIGHUP has the settings read again.
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP").map_err(Failure::Lacking)?;
        let mut peers = self.node.subscribe();
        let mut look = tokio::time::interval(keys::PAUSE);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let known = peers.borrow_and_update().peers;
            if let Some(due) = self.schedule.due(Instant::now(), known) {
                self.publish(due, known).await;
            }
            let wake = self.schedule.next_deadline(known);
            tokio::select! {
                () = sleep_until(wake) => {}
                changed = peers.changed() => if changed.is_err() {
                    // The node has stopped, which its owner sees elsewhere.
                    std::future::pending::<()>().await;
                },
                _ = hangup.recv() => {
                    self.reload();
                    self.look().await;
                }
                _ = look.tick() => self.look().await,
            }
        }
    }

    /// What there is to say, and when.
    fn plan(&mut self) -> anyhow::Result<()> {
        let told = putting::told(&self.settings, &self.key);
        let said: Vec<Class> = putting::statements(&self.settings, &[], self.network, told.as_ref())?
            .iter()
            .map(Statement::class)
            .collect();
        self.said.extend(said);
        self.schedule = Schedule::new(self.said.iter().copied());
        Ok(())
    }

    /// Looks for a later key. It signs from now on, and the node goes on under it.
    async fn look(&mut self) {
        let Some(key) = self.keys.look(&self.settings, self.network, &self.key) else { return };
        self.key = key;
        match self.node.renew(&self.key).await {
            Ok(peer) => tracing::info!(%peer, epoch = self.key.epoch(), "the node has its new key"),
            Err(error) => tracing::warn!(%error, "the node has not taken the new key"),
        }
        if let Err(error) = self.plan() {
            tracing::warn!("{error:#}");
        }
        self.publication = None;
    }

    /// Reads the settings again; what is wrong with them, or with the key that they name, leaves all as it was.
    fn reload(&mut self) {
        let read = Settings::read(self.flags).and_then(|settings| {
            let (mut keys, key) = Keys::open(&settings, self.network)?;
            putting::statements(&settings, &[], self.network, None)?;
            // A later key is found by the look that follows.
            keys.goes_on_from(&self.key);
            Ok((settings, keys, key))
        });
        match read {
            Ok((settings, keys, key)) if key.cn() == self.key.cn() => {
                tracing::info!("settings read again");
                (self.settings, self.keys) = (settings, keys);
                if let Err(error) = self.plan() {
                    tracing::warn!("{error:#}");
                }
            }
            Ok(_) => {
                tracing::warn!("the identity is another one: it is taken at the next start, and nothing until then")
            }
            Err(error) => tracing::warn!("the settings stay as they were: {error:#}"),
        }
    }

    /// All that is to be said now: what is not in the settings any more is withdrawn.
    fn statements(&self) -> anyhow::Result<Vec<Statement>> {
        let told = putting::told(&self.settings, &self.key);
        let mut statements = putting::statements(&self.settings, &[], self.network, told.as_ref())?;
        let missing = self.said.iter().filter(|class| statements.iter().all(|said| said.class() != **class));
        let gone: Vec<Statement> = missing.filter_map(|class| Statement::withdrawal(*class)).collect();
        statements.extend(gone);
        Ok(statements)
    }

    fn sign(&self, statements: Vec<Statement>) -> Result<Publication, Failure> {
        let is_clock_right = self.node.peer_set().is_clock_right;
        putting::sign_node(&self.settings, &self.key, self.network, statements, is_clock_right)
    }

    async fn publish(&mut self, due: Due, peers: usize) {
        if self.node.peer_set().is_clock_right {
            // What is ahead of a clock that is right nobody takes.
            let now = SystemTime::now();
            self.publication.take_if(|known| Sequence(known.sequence).by_right_clock(now).0 != known.sequence);
        }
        if due == Due::Sign || self.publication.is_none() {
            let signed = self.statements().map_err(Failure::Usage).and_then(|statements| self.sign(statements));
            match signed {
                Ok(publication) => {
                    self.publication = Some(publication);
                    self.schedule.signed(Instant::now());
                }
                Err(Failure::Usage(error) | Failure::NoAnswer(error) | Failure::Lacking(error)) => {
                    tracing::warn!("this node's own record is not published: {error:#}");
                    return self.schedule.put(Instant::now(), peers, false);
                }
            }
        }
        let Some(publication) = self.publication.clone() else { return };
        let taken = match self.node.put(publication.key.encode(), publication.value).await {
            Ok(report) if report.is_stored() => {
                tracing::info!(
                    local = report.local,
                    stored = report.stored,
                    refused = report.refused,
                    "own record put"
                );
                true
            }
            Ok(report) => {
                tracing::warn!(
                    refused = report.refused,
                    unreachable = report.unreachable,
                    "own record taken by nobody"
                );
                false
            }
            Err(error) => {
                tracing::warn!(%error, "own record not put");
                false
            }
        };
        self.schedule.put(Instant::now(), peers, taken);
    }

    /// Withdraws what was said, if that is asked for: otherwise it ends by itself, and a restart is not noticed.
    pub(super) async fn end(&self) {
        if self.settings.withdraw_at_stop != Some(true) || self.publication.is_none() {
            return;
        }
        let gone: Vec<Statement> = self.said.iter().filter_map(|class| Statement::withdrawal(*class)).collect();
        match self.sign(gone) {
            Ok(publication) => {
                let put = self.node.put(publication.key.encode(), publication.value);
                match tokio::time::timeout(GOODBYE, put).await {
                    Ok(Ok(report)) => tracing::info!(stored = report.stored, "own record withdrawn"),
                    Ok(Err(error)) => tracing::warn!(%error, "own record not withdrawn"),
                    Err(_) => tracing::warn!("own record not withdrawn in time"),
                }
            }
            Err(Failure::Usage(error) | Failure::NoAnswer(error) | Failure::Lacking(error)) => {
                tracing::warn!("own record not withdrawn: {error:#}");
            }
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
