// SPDX-License-Identifier: GPL-2.0-or-later
//! Who had which part of the processors, and who waited for one.

use std::ops::Sub;
use std::time::Duration;

use serde::Serialize;

use super::flooding::CLIENT_THREAD;
use super::load::FLOOD_THREAD;
use super::stage::Stage;

/// What threads had of a processor, in cores, and how long those who were ready waited for one, in parts of the time.
#[derive(Debug, Clone, Serialize)]
pub struct Shares {
    /// The thread of the map system that answers.
    pub answering: Share,
    /// Its DHT node and its disk.
    pub others: Share,
    /// The flood.
    pub flood: Share,
    /// The good client.
    pub client: Share,
}

/// Of some threads.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Share {
    /// Cores.
    pub cores: f64,
    /// Ready, and waiting for a core.
    pub waiting: f64,
}

/// What threads have had until now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) cores: Duration,
    pub(super) waiting: Duration,
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        let cores = self.cores.saturating_sub(before.cores);
        Self { cores, waiting: self.waiting.saturating_sub(before.waiting) }
    }
}

/// The answering thread, the others of the map system, the flood, and the good client.
pub(super) fn spent(stage: &Stage) -> anyhow::Result<[Spent; 4]> {
    let (mut all, server) = ([Spent::default(); 4], stage.server.id());
    for process in [server, std::process::id()] {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let folder = thread?.path();
            // A thread may end meanwhile.
            let read = |name: &str| std::fs::read_to_string(folder.join(name));
            let (Ok(name), Ok(line)) = (read("comm"), read("schedstat")) else { continue };
            let mut nanoseconds = line.split_whitespace().map(|field| field.parse().map(Duration::from_nanos));
            let (Some(Ok(cores)), Some(Ok(waiting))) = (nanoseconds.next(), nanoseconds.next()) else { continue };
            // The first thread of a process has its number.
            let is_first = folder.file_name().is_some_and(|name| name.to_str() == Some(&process.to_string()));
            let group = match name.trim() {
                _ if process == server => usize::from(!is_first),
                FLOOD_THREAD => 2,
                CLIENT_THREAD => 3,
                _ => continue,
            };
            let at = &mut all[group];
            (at.cores, at.waiting) = (at.cores + cores, at.waiting + waiting);
        }
    }
    Ok(all)
}
