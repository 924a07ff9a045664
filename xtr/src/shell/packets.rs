// SPDX-License-Identifier: GPL-2.0-or-later
//! The packet half, as the control half sees it.

use serde_json::Value;
use tokio::sync::mpsc;

use super::Failure;
use crate::config::Config;
use crate::database::Database;
use crate::map_cache::{Event, Update};

/// The packet thread.
#[derive(Debug)]
pub struct Packets {
    events: mpsc::Receiver<Event>,
}

impl Packets {
    /// start
    pub fn start(_config: &Config, _database: &Database) -> Result<Self, Failure> {
        let (_s, events) = mpsc::channel(1);
        Ok(Self { events })
    }
    /// ev
    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }
    /// up
    pub fn update(&mut self, _update: Update) {}
    /// c
    pub fn counters(&self) -> Value {
        Value::Null
    }
    /// s
    pub fn stop(&mut self) {}
}
