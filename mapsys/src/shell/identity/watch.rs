// SPDX-License-Identifier: GPL-2.0-or-later
//! Looks for later operational keys at the start, each hour, on SIGHUP, and when it is told to.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use cgeid::OperationalKey;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::{KeyFiles, KeyState};

/// Between two looks: a key that begins is in use within this time, and the one before it lasts five days longer.
const PAUSE: Duration = Duration::from_secs(3600);
/// Keys found and not taken yet; the watcher waits beyond that.
const FOUND: usize = 1;

/// A watcher at work. It ends when this is dropped.
#[derive(Debug)]
pub struct KeyWatch {
    found: mpsc::Receiver<OperationalKey>,
    states: watch::Receiver<Vec<KeyState>>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KeyWatch {
    /// Starts on the current tokio runtime.
    ///
    /// # Errors
    /// When the signal cannot be had.
    pub fn start(files: KeyFiles) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("signals")?;
        let (sender, found) = mpsc::channel(FOUND);
        let (said, states) = watch::channel(files.states());
        let wake = Arc::new(Notify::new());
        let task = tokio::spawn(run(files, (hangup, Arc::clone(&wake)), sender, said));
        Ok(Self { found, states, wake, task })
    }

    /// The next key that takes the place of the one in use; `None` when the watcher has ended.
    pub async fn found(&mut self) -> Option<OperationalKey> {
        self.found.recv().await
    }

    /// Has it look at once, as SIGHUP does.
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// What is known of the keys, now and later.
    pub fn states(&self) -> watch::Receiver<Vec<KeyState>> {
        self.states.clone()
    }
}

async fn run(
    mut files: KeyFiles,
    (mut hangup, wake): (Signal, Arc<Notify>),
    found: mpsc::Sender<OperationalKey>,
    said: watch::Sender<Vec<KeyState>>,
) {
    let mut timer = tokio::time::interval(PAUSE);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            _ = hangup.recv() => tracing::info!("looking for later operational keys"),
            () = wake.notified() => tracing::info!("looking for later operational keys"),
        }
        // Opening a file takes a third of a second of computing.
        let look = tokio::task::spawn_blocking(move || {
            let keys = files.look(SystemTime::now());
            (files, keys)
        });
        let Ok((looked, keys)) = look.await else {
            tracing::error!("looking for later operational keys has panicked: none will be found");
            return;
        };
        files = looked;
        said.send_replace(files.states());
        for key in keys {
            if found.send(key).await.is_err() {
                return;
            }
        }
    }
}
