// SPDX-License-Identifier: GPL-2.0-or-later
//! What the service manager is told (sd_notify): when the process is ready, reads its settings again, stops, and that it lives.
//! Without one, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Serves from now on.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Reads its settings again, until the next [`ready`].
pub fn reloading() {
    // Type=notify-reload wants to know when that began.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Says goodbye to the network.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Half of the time in which the manager wants a sign of life, if it wants any.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// A sign of life.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
