// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading the settings again, at SIGHUP and at `lisp-mapsys reload`, without losing a registration.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::daemon::Plan;
use super::settings::{Flags, Settings};
use super::{Service, manager};
use crate::engine::{Reconfiguration, Reconfigured};

/// What has been asked for and not begun: more who ask meanwhile wait for their turn.
const WAITING: usize = 8;

/// Asks for the settings to be read again.
#[derive(Debug, Clone)]
pub struct Reloads(mpsc::Sender<oneshot::Sender<Value>>);

impl Reloads {
    /// Reads them again; `{"sites", "kept", "ended", "needs_restart"}`, or `{"error"}` and nothing has changed.
    pub async fn reload(&self) -> Value {
        let (answer, answered) = oneshot::channel();
        let gone = || json!({ "error": "the process ends" });
        if self.0.send(answer).await.is_err() {
            return gone();
        }
        answered.await.unwrap_or_else(|_| gone())
    }
}

/// Where the settings come from, and which of them the process runs by.
#[derive(Debug)]
pub struct Reloader {
    flags: Flags,
    settings: Settings,
    asked: mpsc::Receiver<oneshot::Sender<Value>>,
}

impl Reloader {
    /// For a process that was started with `flags`, which gave `settings`.
    pub fn new(flags: Flags, settings: Settings) -> (Self, Reloads) {
        let (ask, asked) = mpsc::channel(WAITING);
        (Self { flags, settings, asked }, Reloads(ask))
    }

    /// Serves those who ask until there are none any more.
    pub async fn run(mut self, service: Arc<Service>) {
        while let Some(answer) = self.asked.recv().await {
            manager::reloading();
            let outcome = self.reload(&service).await;
            manager::ready();
            let value = match outcome {
                Ok((done, needs_restart)) => json!({
                    "sites": done.sites,
                    "kept": done.kept,
                    "ended": done.ended,
                    "needs_restart": needs_restart,
                }),
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "the configuration stays as it was");
                    json!({ "error": format!("{error:#}") })
                }
            };
            // Who asked may have gone.
            let _ = answer.send(value);
        }
    }

    /// What has changed, and the settings that wait for a restart.
    async fn reload(&mut self, service: &Service) -> anyhow::Result<(Reconfigured, Vec<&'static str>)> {
        let flags = self.flags.clone();
        // Files can lie on slow disks, and derived keys take their time: the engine goes on meanwhile.
        let read = tokio::task::spawn_blocking(move || -> anyhow::Result<(Settings, Reconfiguration)> {
            let settings = Settings::read(&flags)?;
            let plan = Plan::new(&settings)?;
            plan.warn();
            Ok((settings, plan.reconfiguration()))
        });
        let (settings, newer) = read.await??;
        let done = service.reconfigure(newer).await?;
        let needs_restart = needs_restart(&self.settings, &settings);
        if !needs_restart.is_empty() {
            tracing::warn!(settings = needs_restart.join(", "), "changed, and wait for a restart");
        }
        Ok((done, needs_restart))
    }
}

/// Names of the settings that differ and that a running process cannot change.
fn needs_restart(older: &Settings, newer: &Settings) -> Vec<&'static str> {
    let differs = [
        ("listen", older.listen != newer.listen),
        ("identity", older.identity != newer.identity),
        ("password-file", older.password_file != newer.password_file),
        ("bootstrap", older.bootstrap != newer.bootstrap),
        ("prefix", older.prefix != newer.prefix),
        ("puzzle-bits", older.puzzle_bits != newer.puzzle_bits),
        ("network-key", older.network_key != newer.network_key),
        ("dht-port", older.dht_port != newer.dht_port),
        ("dht-listen", older.dht_listen != newer.dht_listen),
        ("anycast", older.anycast != newer.anycast),
        ("discovery", older.discovery != newer.discovery),
        ("metrics", older.metrics != newer.metrics),
        ("workers", older.workers != newer.workers),
        ("state-dir", older.state_dir != newer.state_dir),
        ("control", older.control != newer.control),
        ("rtr", older.rtr != newer.rtr),
    ];
    differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_named() {
        let older = Settings { listen: vec!["192.0.2.1".into()], ..Settings::default() };
        let newer = Settings { dht_port: Some(5), clients: vec![], ..Settings::default() };
        assert_eq!(needs_restart(&older, &older), Vec::<&str>::new());
        assert_eq!(needs_restart(&older, &newer), ["listen", "dht-port"]);
    }

    #[test]
    fn each_setting_either_changes_at_once_or_waits_for_a_restart() {
        let all = serde_json::to_value(Settings::default()).map(|value| value.as_object().map_or(0, |map| map.len()));
        let at_once = ["trust-anchor", "clients", "foreign", "site", "subscriber", "pubsub"].len()
            + ["ddt", "ddt-delegation", "resolver", "lisp-sec"].len();
        let differing = 16;
        assert_eq!(all.ok(), Some(at_once + differing));
    }
}
