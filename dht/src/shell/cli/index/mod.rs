// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht index`: what an anchor, or somebody below it, delegates.

mod delegations;
mod put;
mod report;
mod state;

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use cgeid::{Cn, Network, OperationalKey};
use program::Json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wire::address::EidPrefix;

#[cfg(test)]
pub(super) use self::delegations::read as delegations;
use self::put::Press;
use self::state::State;
use super::flags::IndexFlags;
use super::publish::sequence_path;
use super::settings::Settings;
use super::{Failure, Outcome, identity, output, query};
use crate::index::{Ledger, Plan, Round};
use crate::shell::node::Node;
use crate::shell::{limits, shelf};

/// Publishes the pages of a prefix: once, or from now on.
pub(super) async fn run(settings: Settings, flags: &IndexFlags) -> Result<Outcome, Failure> {
    let network = settings.network()?;
    let covering = delegations::prefix(&flags.covering, settings.instance()?)?;
    let json = &flags.file.json;
    let every = every(settings.every)?;
    if flags.dry_run {
        let key = settings.identity.is_some().then(|| identity::load(&settings, network)).transpose()?;
        let nobody = Cn([0; Cn::LENGTH]);
        let plan = plan(&settings, key.map_or(nobody, |key| key.cn()), covering)?;
        let (value, lines) = report::plan(&covering, &plan);
        output::show(json, &value, &lines)?;
        return Ok(Outcome::Held);
    }
    // What is delegated is read before any password is asked for, so that a wrong line is named at once.
    delegations::read(&settings)?;
    let key = identity::load(&settings, network)?;
    let plan = plan(&settings, key.cn(), covering)?;
    let client = settings.client()?;
    let (state, ledger) = State::open(&settings, &key, &covering)?;
    let node = shelf::start_node(client, network, None)?;
    let mut authority =
        Authority { settings: &settings, network, covering, json, node: &node, state, key, plan, ledger };
    let outcome = match every {
        Some(every) => authority.keep(every).await,
        None => authority.round(if flags.renew { Duration::ZERO } else { crate::limits::INDEX_RENEWAL }).await,
    };
    if outcome.is_ok() && !json.is_output() {
        println!("  others say --trust-anchor {covering}={}", authority.key.cn());
    }
    node.shutdown().await;
    outcome
}

/// How often pages are renewed: before they end, and not without a pause.
fn every(seconds: Option<u64>) -> anyhow::Result<Option<Duration>> {
    let life = crate::limits::INDEX_LIFETIME.as_secs();
    match seconds {
        Some(seconds) if seconds == 0 || seconds >= life => {
            bail!("--every {seconds}: from 1 to {} seconds, for pages hold for {life}", life - 1)
        }
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}

fn plan(settings: &Settings, writer: Cn, covering: EidPrefix) -> anyhow::Result<Plan> {
    let source = match &settings.delegations {
        Some(path) => format!("--delegations {}", path.display()),
        None => "--delegate".to_owned(),
    };
    Plan::new(writer, covering, delegations::read(settings)?).context(source)
}

/// An authority at work.
struct Authority<'a> {
    settings: &'a Settings,
    network: Network,
    covering: EidPrefix,
    json: &'a Json,
    node: &'a Node,
    state: State,
    key: OperationalKey,
    plan: Plan,
    ledger: Ledger,
}

impl Authority<'_> {
    /// One round, and what became of it; pages that were signed `every` ago are renewed.
    async fn round(&mut self, every: Duration) -> Result<Outcome, Failure> {
        let (plan, ledger) = (self.plan.clone(), self.ledger.clone());
        let mut round = Round::new(plan, ledger, SystemTime::now(), self.key.epoch(), every);
        let sequence = sequence_path(self.settings, &self.key)?;
        let (node, network, key, state) = (self.node, self.network, &self.key, &self.state);
        let begun = Instant::now();
        let puts = Press { node, network, key, sequence, state }.run(&mut round).await?;
        let is_reached = query::is_reached(self.node) || puts.pages.is_empty();
        let (value, lines) = report::round(&round, &puts, is_reached, begun.elapsed());
        output::show(self.json, &value, &lines)?;
        let outcome = if round.is_complete() { Outcome::Held } else { Outcome::DidNot };
        self.ledger = round.into_ledger();
        Ok(outcome)
    }

    /// Rounds until SIGINT or SIGTERM; SIGHUP has the delegations and the key read again.
    async fn keep(&mut self, every: Duration) -> Result<Outcome, Failure> {
        let catch = |kind| signal(kind).context("signals").map_err(Failure::Lacking);
        let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
        let mut hangup = catch(SignalKind::hangup())?;
        tokio::select! {
            outcome = self.rounds(every, &mut hangup) => outcome,
            _ = terminate.recv() => Ok(Outcome::Held),
            _ = interrupt.recv() => Ok(Outcome::Held),
        }
    }

    async fn rounds(&mut self, every: Duration, hangup: &mut Signal) -> Result<Outcome, Failure> {
        loop {
            let outcome = self.round(every).await?;
            let now = SystemTime::now();
            let next = self.ledger.next_deadline(every).and_then(|at| at.duration_since(now).ok()).unwrap_or_default();
            let pause = match outcome {
                Outcome::Held => next.max(limits::INDEX_PAUSE),
                Outcome::DidNot => limits::INDEX_RETRY,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = hangup.recv() => {}
            }
            if let Err(error) = self.reload() {
                tracing::warn!(error = format!("{error:#}"), "going on with what was read before");
            }
        }
    }

    /// Reads key and delegations again; a later key signs from now on.
    fn reload(&mut self) -> anyhow::Result<()> {
        let key = identity::load(self.settings, self.network)?;
        if key.cn() != self.key.cn() {
            return Err(anyhow!("--identity is another one now: {} and not {}", key.cn(), self.key.cn()));
        }
        self.key = key;
        self.plan = plan(self.settings, self.key.cn(), self.covering)?;
        Ok(())
    }
}
