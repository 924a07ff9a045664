// SPDX-License-Identifier: GPL-2.0-or-later
//! The tasks of the process beside the engine. None of them ends by itself: where one does, by a panic mostly, the process has to end,
//! for it would be deaf or dumb and look well.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

/// The tasks, by what they do.
#[derive(Debug, Default)]
pub(super) struct Parts {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Parts {
    /// Starts one, which is named as in "who sends".
    pub(super) fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits until one has ended; says which.
    pub(super) async fn ended(&mut self) -> &'static str {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => std::future::pending().await,
        };
        self.names.remove(&id).unwrap_or("a task")
    }

    /// Ends them all.
    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_or_returns_is_named_and_the_others_are_not() {
        let mut parts = Parts::default();
        parts.start("who waits", std::future::pending());
        parts.start("who panics", async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            panic!("on purpose");
        });
        parts.start("who returns", tokio::time::sleep(Duration::from_millis(100)));
        assert_eq!(parts.ended().await, "who panics");
        assert_eq!(parts.ended().await, "who returns");
        let none = tokio::time::timeout(Duration::from_millis(50), parts.ended()).await;
        assert!(none.is_err(), "{none:?}");
        parts.stop().await;
    }
}
