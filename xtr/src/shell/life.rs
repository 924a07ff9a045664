// SPDX-License-Identifier: GPL-2.0-or-later
//! Signs of life for the service manager: as long as the control loop answers, and no longer.

use program::manager;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::control_socket::{Ask, Question};
use crate::config::Table;

/// Shows signs of life, until it is dropped.
#[derive(Debug)]
pub struct Life(Option<JoinHandle<()>>);

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Life {
    /// Asks the loop at the other end of `questions` twice in the time in which the manager wants a sign of life; nothing is done if
    /// it wants none.
    pub fn show(questions: mpsc::Sender<Question>) -> Self {
        let Some(pause) = manager::watchdog() else { return Self(None) };
        Self(Some(tokio::spawn(async move {
            while answers(&questions).await {
                manager::alive();
                tokio::time::sleep(pause).await;
            }
        })))
    }
}

async fn answers(questions: &mpsc::Sender<Question>) -> bool {
    let (answer, answered) = oneshot::channel();
    questions.send(Question { ask: Ask::Show(Table::Registrations), answer }).await.is_ok() && answered.await.is_ok()
}
