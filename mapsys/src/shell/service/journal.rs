// SPDX-License-Identifier: GPL-2.0-or-later
//! Marks on their way to the disk, and the actions that wait for them.
//!
//! What tells others something that a restart must not forget waits until it is on disk; everything else goes on
//! meanwhile. A disk may take half a second for one commit, and a first packet waits for the Map-Reply.

use std::sync::Arc;

use tokio::task::JoinHandle;
use wire::control::{MapNotify, message_type};

use crate::engine::{Mark, Output};

/// Writes marks to disk; returns when they are there.
type Write = dyn Fn(&[Mark]) -> anyhow::Result<()> + Send + Sync;

/// What is written, and what waits.
pub(super) struct Journal {
    disk: Arc<Write>,
    /// Marks that are not on disk. Those of a write that failed stay, and are written with the next ones: a Map-Register
    /// that is retransmitted meanwhile brings up no mark of its own, and must not be confirmed without.
    unwritten: Vec<Mark>,
    /// Whether the disk has been given a chance with all of them.
    tried: bool,
    waiting: Vec<Output>,
    writing: Option<Writing>,
}

/// A write in progress.
struct Writing {
    task: JoinHandle<anyhow::Result<()>>,
    waiting: Vec<Output>,
}

/// What a write leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// To be done now.
    pub(super) released: Vec<Output>,
    /// Never to be done: the disk did not take their marks.
    pub(super) lost: Vec<Output>,
}

impl Journal {
    /// An empty journal before this disk.
    pub(super) fn new(disk: impl Fn(&[Mark]) -> anyhow::Result<()> + Send + Sync + 'static) -> Self {
        Self { disk: Arc::new(disk), unwritten: Vec::new(), tried: true, waiting: Vec::new(), writing: None }
    }

    /// Takes a mark that must be on disk before what vouches after it.
    pub(super) fn note(&mut self, mark: Mark) {
        self.unwritten.retain(|older| !mark.replaces(older));
        self.unwritten.push(mark);
        self.tried = false;
    }

    /// Gives the action back if it may be done at once; otherwise it comes out of [`Self::written`].
    pub(super) fn release(&mut self, action: Output) -> Option<Output> {
        if !vouches(&action) || (self.unwritten.is_empty() && self.writing.is_none()) {
            return Some(action);
        }
        self.waiting.push(action);
        None
    }

    /// Hands the marks to the disk, unless it is still busy with earlier ones or nothing is new.
    pub(super) fn begin(&mut self) {
        if self.writing.is_some() || (self.tried && self.waiting.is_empty()) {
            return;
        }
        let (disk, marks) = (Arc::clone(&self.disk), self.unwritten.clone());
        let task = tokio::task::spawn_blocking(move || disk(&marks));
        self.tried = true;
        self.writing = Some(Writing { task, waiting: std::mem::take(&mut self.waiting) });
    }

    /// Whether something waits for the disk.
    pub(super) fn is_busy(&self) -> bool {
        self.writing.is_some()
    }

    /// Waits until the disk has answered; for ever, if it was not asked. Nothing is lost when the wait is cancelled.
    pub(super) async fn written(&mut self) -> Written {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let outcome = (&mut writing.task).await;
        let mut waiting = self.writing.take().map(|writing| writing.waiting).unwrap_or_default();
        match outcome {
            Ok(Ok(())) => {
                // No marks came meanwhile: all are on disk, for those too that began to wait during the write.
                if self.tried {
                    self.unwritten.clear();
                    waiting.append(&mut self.waiting);
                }
                return Written { released: waiting, lost: Vec::new() };
            }
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "nothing is confirmed or published until this is mended");
            }
            Err(error) => tracing::error!(%error, "the state file's writer has panicked"),
        }
        Written { released: Vec::new(), lost: waiting }
    }
}

/// Whether an action tells others something that a restart must not forget: a Map-Notify, or a signed record.
fn vouches(action: &Output) -> bool {
    match action {
        Output::DhtPut { .. } => true,
        Output::Send { bytes, .. } => message_type(bytes) == Some(MapNotify::TYPE),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{self, Receiver};

    use cgeid::{Cn, Network};
    use dht::publish::Sequence;
    use dht::record::RecordKey;

    use super::*;

    fn put() -> Output {
        Output::DhtPut { key: RecordKey::node(Network::LAB, Cn([1; 12])), bytes: vec![1] }
    }

    fn reply() -> Output {
        Output::Pipe { bytes: vec![0x20] }
    }

    fn mark(sequence: u64) -> Mark {
        Mark::Sequence(Cn([1; 12]), Sequence(sequence))
    }

    /// A disk that takes its time: each write ends with what the test sends it.
    fn slow(answers: Receiver<bool>) -> (Journal, Arc<Mutex<Vec<Vec<Mark>>>>) {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (seen, answers) = (Arc::clone(&written), Mutex::new(answers));
        let journal = Journal::new(move |marks| {
            seen.lock().unwrap().push(marks.to_vec());
            let good = answers.lock().unwrap().recv().unwrap();
            if good { Ok(()) } else { Err(anyhow::anyhow!("the disk is full")) }
        });
        (journal, written)
    }

    #[tokio::test]
    async fn an_answer_does_not_wait_for_the_disk_and_a_record_does() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, _) = slow(answers);
        journal.note(mark(1));
        journal.note(Mark::Pin([7; 64], std::time::UNIX_EPOCH));
        assert_eq!(journal.release(put()), None);
        assert_eq!(journal.release(reply()), Some(reply()));
        journal.begin();
        assert!(journal.is_busy());
        answer.send(true).unwrap();
        assert_eq!(journal.written().await, Written { released: vec![put()], lost: Vec::new() });
        assert_eq!(journal.release(put()), Some(put()), "the disk owes nothing any more");
    }

    #[tokio::test]
    async fn marks_that_come_during_a_write_are_in_the_next() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        journal.note(mark(1));
        journal.begin();
        journal.note(mark(2));
        assert_eq!(journal.release(put()), None);
        journal.begin();
        answer.send(true).unwrap();
        assert_eq!(journal.written().await, Written::default());
        assert!(!journal.is_busy());
        journal.begin();
        answer.send(true).unwrap();
        assert_eq!(journal.written().await.released, [put()]);
        assert_eq!(*written.lock().unwrap(), [vec![mark(1)], vec![mark(2)]]);
    }

    #[tokio::test]
    async fn a_record_signed_during_a_write_that_covers_it_needs_no_write_of_its_own() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        journal.note(mark(1));
        journal.begin();
        assert_eq!(journal.release(put()), None);
        answer.send(true).unwrap();
        assert_eq!(journal.written().await.released, [put()]);
        assert_eq!(written.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_the_disk_refused_is_not_done_and_its_marks_are_written_before_anything_vouches_again() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        journal.note(mark(1));
        assert_eq!(journal.release(put()), None);
        journal.begin();
        answer.send(false).unwrap();
        assert_eq!(journal.written().await, Written { released: Vec::new(), lost: vec![put()] });
        journal.begin();
        assert!(!journal.is_busy(), "a disk that refused is not asked again for nothing");
        assert_eq!(journal.release(put()), None);
        journal.begin();
        answer.send(true).unwrap();
        assert_eq!(journal.written().await.released, [put()]);
        assert_eq!(*written.lock().unwrap(), [vec![mark(1)], vec![mark(1)]]);
    }
}
