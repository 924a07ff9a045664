// SPDX-License-Identifier: GPL-2.0-or-later
//! Marks on their way to the disk, and the actions that wait for them.
//!
//! What tells others something that a restart must not forget waits until it is on disk; everything else goes on
//! meanwhile. A disk may take half a second for one commit, and a first packet waits for the Map-Reply.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;
use wire::control::{MapNotify, message_type};

use crate::engine::{Mark, Output, Subject};
use crate::limits::{COMMIT_INTERVAL, DISK_HANGS, DISK_PAUSE, JOURNAL_WAITING};
use crate::nat;
use dht::pause::Pause;

/// Writes marks to disk; returns when they are there.
type Write = dyn Fn(&[Mark]) -> anyhow::Result<()> + Send + Sync;

/// What is written, and what waits.
pub(super) struct Journal {
    disk: Arc<Write>,
    /// Marks for the next write, the newest about each subject. Those of a write that failed come back: a Map-Register that is
    /// retransmitted meanwhile brings up no mark of its own, and must not be confirmed without.
    unwritten: HashMap<Subject, Mark>,
    /// Whether something among them is new since the disk failed.
    is_new: bool,
    /// What waits for the next write.
    waiting: Vec<Output>,
    writing: Option<Writing>,
    /// When the next write may begin, if not at once.
    rests_until: Option<Instant>,
    /// Whether the disk did not take the last write, or has had this one for too long.
    is_failing: bool,
    failure_logged: Pause,
}

/// A write in progress.
struct Writing {
    task: JoinHandle<anyhow::Result<()>>,
    since: Instant,
    marks: Arc<Vec<Mark>>,
    waiting: Vec<Output>,
}

/// When an action may be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// Now.
    Now(Output),
    /// It comes out of [`Journal::written`].
    Later,
    /// Never: too much waits already.
    Never(Output),
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
        let (unwritten, waiting) = (HashMap::new(), Vec::new());
        Self {
            disk: Arc::new(disk),
            unwritten,
            is_new: false,
            waiting,
            writing: None,
            rests_until: None,
            is_failing: false,
            failure_logged: Pause::default(),
        }
    }

    /// Takes a mark that must be on disk before what vouches after it.
    pub(super) fn note(&mut self, mark: Mark) {
        let subject = mark.subject();
        if let Some(most) = mark.dropped_beyond() {
            let was = self.unwritten.remove(&subject);
            if is_needless(&mark, was.as_ref()) || self.unwritten.len() >= most {
                return;
            }
        }
        self.unwritten.insert(subject, mark);
        self.is_new = true;
    }

    /// Takes back a mark that the disk did not take. What came meanwhile about the same is newer.
    fn take_back(&mut self, mark: Mark) {
        let has_room = mark.dropped_beyond().is_none_or(|most| self.unwritten.len() < most);
        match self.unwritten.entry(mark.subject()) {
            Entry::Occupied(newer) if is_needless(newer.get(), Some(&mark)) => drop(newer.remove()),
            Entry::Vacant(place) if has_room => drop(place.insert(mark)),
            _ => {}
        }
    }

    /// Says when an action may be done: what vouches waits for the write that has the marks before it.
    pub(super) fn release(&mut self, action: Output) -> Release {
        if !vouches(&action) {
            return Release::Now(action);
        }
        let waiting = match &mut self.writing {
            Some(writing) if self.unwritten.is_empty() => &mut writing.waiting,
            None if self.unwritten.is_empty() => return Release::Now(action),
            _ => &mut self.waiting,
        };
        if waiting.len() >= JOURNAL_WAITING {
            return Release::Never(action);
        }
        waiting.push(action);
        Release::Later
    }

    /// When [`Self::begin`] or [`Self::watch`] has something to do.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let hangs_at = self.writing.as_ref().map(|writing| writing.since + DISK_HANGS);
        self.next_begin(now).or(hangs_at.filter(|_| !self.is_failing))
    }

    /// When the next write begins. A disk that failed is asked again without anything new, since that is how it is known to be well
    /// again; not at the end of the process, where nothing rests.
    fn next_begin(&self, now: Instant) -> Option<Instant> {
        let is_tried_again = self.is_failing && self.rests_until.is_some();
        if self.writing.is_some() || !(self.is_new || !self.waiting.is_empty() || is_tried_again) {
            return None;
        }
        Some(self.rests_until.unwrap_or(now))
    }

    /// Takes note of a write that goes on for too long.
    pub(super) fn watch(&mut self, now: Instant) {
        let lasts = self.writing.as_ref().map(|writing| now.saturating_duration_since(writing.since));
        if lasts.is_some_and(|lasts| lasts >= DISK_HANGS) && !self.is_failing {
            self.is_failing = true;
            self.say("a write to the state file does not end");
        }
    }

    /// The process ends: the next write waits for no others, and one that fails is not tried again.
    pub(super) fn hurry(&mut self) {
        self.rests_until = None;
    }

    /// Hands all marks to the disk, unless it is still busy with earlier ones, nothing is new to one that is well, or the last ones went a moment ago.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.next_begin(now).is_none_or(|at| at > now) {
            return;
        }
        self.rests_until = Some(now + COMMIT_INTERVAL);
        let marks: Arc<Vec<Mark>> = Arc::new(std::mem::take(&mut self.unwritten).into_values().collect());
        let (disk, written) = (Arc::clone(&self.disk), Arc::clone(&marks));
        let task = tokio::task::spawn_blocking(move || disk(&written));
        self.is_new = false;
        self.writing = Some(Writing { task, since: now, marks, waiting: std::mem::take(&mut self.waiting) });
    }

    /// Whether something waits for the disk, or is about to.
    pub(super) fn is_busy(&self) -> bool {
        self.writing.is_some() || self.is_new || !self.waiting.is_empty()
    }

    /// Whether the disk did not take what it was asked to take last, or has not for too long.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Waits until the disk has answered; for ever, if it was not asked. Nothing is lost when the wait is cancelled.
    pub(super) async fn written(&mut self) -> Written {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let outcome = (&mut writing.task).await;
        let Some(Writing { marks, waiting, .. }) = self.writing.take() else { return Written::default() };
        self.is_failing = !matches!(outcome, Ok(Ok(())));
        match outcome {
            Ok(Ok(())) => return Written { released: waiting, lost: Vec::new() },
            Ok(Err(error)) => self.say(&format!("{error:#}")),
            Err(error) => self.say(&format!("the state file's writer has panicked: {error}")),
        }
        self.rests_until = Some(Instant::now() + DISK_PAUSE);
        // The writer has let go of them.
        for mark in Arc::unwrap_or_clone(marks) {
            self.take_back(mark);
        }
        Written { released: Vec::new(), lost: waiting }
    }

    fn say(&mut self, error: &str) {
        self.failure_logged.line(Instant::now(), |left_out| {
            tracing::error!(error, left_out, "nothing is confirmed or published until this is mended");
        });
    }
}

/// Whether there is nothing to forget: the nonce has not been written. Should a row of an earlier time be there, it goes at the next
/// start.
fn is_needless(forgetting: &Mark, unwritten: Option<&Mark>) -> bool {
    matches!((forgetting, unwritten), (Mark::ForgottenSeen(..), Some(Mark::Seen(_))))
}

/// Whether an action tells others something that a restart must not forget: a Map-Notify, or a signed record.
fn vouches(action: &Output) -> bool {
    match action {
        Output::DhtPut { .. } => true,
        Output::Send { bytes, .. } => message_type(bytes) == Some(MapNotify::TYPE) || nat::is_to_rtr(bytes),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    use cgeid::{Cn, Network};
    use dht::publish::Sequence;
    use dht::record::RecordKey;

    use super::*;
    use crate::limits::JOURNAL_MARKS;
    use crate::register::label::AnyEid;
    use crate::register::nonces::{Last, NonceOwner, SeenNonce};

    /// Begins the next write, whenever the last one was.
    fn begin(journal: &mut Journal) {
        journal.hurry();
        journal.begin(Instant::now());
    }

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
        assert_eq!(journal.release(put()), Release::Later);
        assert_eq!(journal.release(reply()), Release::Now(reply()));
        begin(&mut journal);
        assert!(journal.is_busy());
        answer.send(true).unwrap();
        assert_eq!(journal.written().await, Written { released: vec![put()], lost: Vec::new() });
        assert_eq!(journal.release(put()), Release::Now(put()), "the disk owes nothing any more");
    }

    #[tokio::test]
    async fn marks_that_come_during_a_write_are_in_the_next() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        journal.note(mark(1));
        begin(&mut journal);
        journal.note(mark(2));
        assert_eq!(journal.release(put()), Release::Later);
        begin(&mut journal);
        answer.send(true).unwrap();
        assert_eq!(journal.written().await, Written::default());
        assert!(journal.writing.is_none() && journal.is_busy(), "the second mark is yet to be written");
        begin(&mut journal);
        answer.send(true).unwrap();
        assert_eq!(journal.written().await.released, [put()]);
        assert_eq!(*written.lock().unwrap(), [vec![mark(1)], vec![mark(2)]]);
    }

    #[tokio::test]
    async fn a_record_signed_during_a_write_that_covers_it_needs_no_write_of_its_own() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        journal.note(mark(1));
        begin(&mut journal);
        assert_eq!(journal.release(put()), Release::Later);
        answer.send(true).unwrap();
        assert_eq!(journal.written().await.released, [put()]);
        assert_eq!(written.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_the_disk_refused_is_not_done_and_its_marks_are_written_before_anything_vouches_again() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        journal.note(mark(1));
        assert_eq!(journal.release(put()), Release::Later);
        begin(&mut journal);
        answer.send(false).unwrap();
        assert_eq!(journal.written().await, Written { released: Vec::new(), lost: vec![put()] });
        assert!(journal.is_failing());
        assert_eq!(journal.release(put()), Release::Later);
        begin(&mut journal);
        answer.send(true).unwrap();
        assert_eq!(journal.written().await.released, [put()]);
        assert!(!journal.is_failing());
        assert_eq!(*written.lock().unwrap(), [vec![mark(1)], vec![mark(1)]]);
    }

    #[tokio::test]
    async fn a_disk_that_refused_is_asked_again_in_a_moment_though_nothing_is_new_until_it_is_well_or_the_process_ends()
    {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        journal.note(mark(1));
        begin(&mut journal);
        for good in [false, false, true] {
            answer.send(good).unwrap();
            journal.written().await;
            assert_eq!(journal.is_failing(), !good);
            let now = Instant::now();
            journal.begin(now);
            assert!(journal.writing.is_none(), "not at once");
            let at = journal.next_deadline(now);
            assert_eq!(at.is_some_and(|at| at > now && at <= now + DISK_PAUSE), !good, "{at:?}");
            journal.begin(now + DISK_PAUSE);
        }
        assert!(journal.writing.is_none() && !journal.is_busy());
        assert_eq!(*written.lock().unwrap(), [vec![mark(1)], vec![mark(1)], vec![mark(1)]]);

        journal.note(mark(2));
        begin(&mut journal);
        answer.send(false).unwrap();
        journal.written().await;
        begin(&mut journal);
        assert!(journal.writing.is_none() && !journal.is_busy(), "what ends does not wait for it");
    }

    #[tokio::test]
    async fn a_write_that_does_not_end_is_one_that_fails_until_it_does() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, _) = slow(answers);
        let start = Instant::now();
        journal.note(mark(1));
        journal.begin(start);
        assert_eq!(journal.next_deadline(start), Some(start + DISK_HANGS));
        journal.watch(start + DISK_HANGS - Duration::from_millis(1));
        assert!(!journal.is_failing());
        journal.watch(start + DISK_HANGS);
        assert!(journal.is_failing());
        assert_eq!(journal.next_deadline(start + DISK_HANGS), None, "it is known");
        answer.send(true).unwrap();
        journal.written().await;
        assert!(!journal.is_failing());
    }

    #[tokio::test]
    async fn a_disk_that_refused_is_left_alone_for_a_moment() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        journal.note(mark(1));
        journal.begin(Instant::now());
        answer.send(false).unwrap();
        journal.written().await;
        let now = Instant::now();
        journal.note(mark(2));
        journal.begin(now + 2 * COMMIT_INTERVAL);
        assert!(journal.writing.is_none());
        assert!(journal.next_begin(now).unwrap() > now + 2 * COMMIT_INTERVAL);
        journal.begin(now + DISK_PAUSE);
        answer.send(true).unwrap();
        journal.written().await;
        assert_eq!(*written.lock().unwrap(), [vec![mark(1)], vec![mark(2)]]);
    }

    #[tokio::test]
    async fn a_nonce_that_is_forgotten_before_it_was_written_leaves_nothing_also_when_its_write_failed() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, _) = slow(answers);
        let owner = NonceOwner { site: "legacy".into(), xtr_id: [0; 16], key_id: 1 };
        let seen = |nonce| Mark::Seen(SeenNonce { owner: owner.clone(), nonce, at: std::time::UNIX_EPOCH });
        let window = 600;
        for nonce in 0..20 * window {
            journal.note(nonce_mark(1, nonce));
            journal.note(seen(nonce));
            if let Some(old) = nonce.checked_sub(window) {
                journal.note(Mark::ForgottenSeen(owner.clone(), old));
            }
        }
        assert_eq!(journal.unwritten.len(), 601);
        begin(&mut journal);
        journal.note(Mark::ForgottenSeen(owner.clone(), 20 * window - 1));
        answer.send(false).unwrap();
        journal.written().await;
        assert_eq!(journal.unwritten.len(), 600);
    }

    fn nonce_mark(site: u32, nonce: u64) -> Mark {
        let owner = NonceOwner { site: format!("site {site}"), xtr_id: [0; 16], key_id: 1 };
        Mark::Nonce(owner, Last { nonce, digest: [0; 32] })
    }

    /// A Map-Notify that says which Map-Register it answers.
    fn notify(site: u32, nonce: u64) -> Output {
        let address = "192.0.2.1:4342".parse().unwrap();
        let named = [&[0x40_u8][..], &site.to_be_bytes(), &nonce.to_be_bytes()].concat();
        Output::Send { local: address, remote: address, bytes: named, counts: None }
    }

    #[tokio::test]
    async fn under_constant_load_a_slow_disk_makes_nothing_grow_and_nothing_vouches_early() {
        const SITES: u32 = 50;
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        let mut released = 0;
        for round in 0..40_u64 {
            // Each write takes as long as two registrations of every site.
            for nonce in [2 * round, 2 * round + 1] {
                for site in 0..SITES {
                    journal.note(nonce_mark(site, nonce));
                    assert_eq!(journal.release(notify(site, nonce)), Release::Later);
                    begin(&mut journal);
                }
            }
            assert!(journal.unwritten.len() <= SITES as usize, "{}", journal.unwritten.len());
            assert!(journal.waiting.len() <= 2 * SITES as usize, "{}", journal.waiting.len());
            answer.send(true).unwrap();
            let now = journal.written().await.released;
            released += now.len();
            let on_disk: std::collections::HashMap<Subject, Mark> =
                written.lock().unwrap().iter().flatten().map(|mark| (mark.subject(), mark.clone())).collect();
            for notify in now {
                let Output::Send { bytes, .. } = notify else { panic!("{notify:?}") };
                let site = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
                let said = u64::from_be_bytes(bytes[5..13].try_into().unwrap());
                let Mark::Nonce(_, last) = &on_disk[&nonce_mark(site, 0).subject()] else { panic!() };
                assert!(last.nonce >= said, "site {site}: {said} is confirmed, {} is on disk", last.nonce);
            }
            begin(&mut journal);
        }
        answer.send(true).unwrap();
        released += journal.written().await.released.len();
        assert_eq!(released, 40 * 2 * SITES as usize);
        let sizes: Vec<usize> = written.lock().unwrap().iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| *size <= SITES as usize), "{sizes:?}");
        assert!(!journal.is_busy() && journal.unwritten.is_empty() && journal.waiting.is_empty());
    }

    #[tokio::test]
    async fn what_comes_soon_after_a_write_goes_with_what_comes_then_and_what_comes_later_goes_at_once() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        let start = Instant::now();
        for (site, after) in [(1, Duration::ZERO), (2, COMMIT_INTERVAL / 4), (3, COMMIT_INTERVAL / 2)] {
            journal.note(nonce_mark(site, 1));
            assert_eq!(journal.release(notify(site, 1)), Release::Later);
            journal.begin(start + after);
            if site == 1 {
                answer.send(true).unwrap();
                assert_eq!(journal.written().await.released, [notify(1, 1)], "the first did not wait");
            }
            assert_eq!(journal.next_begin(start + after), (site > 1).then_some(start + COMMIT_INTERVAL));
        }
        journal.begin(start + COMMIT_INTERVAL);
        answer.send(true).unwrap();
        assert_eq!(journal.written().await.released, [notify(2, 1), notify(3, 1)]);
        assert_eq!(written.lock().unwrap().len(), 2);
        let later = start + 3 * COMMIT_INTERVAL;
        journal.note(nonce_mark(1, 2));
        journal.begin(later);
        assert!(journal.writing.is_some());
        answer.send(true).unwrap();
        journal.written().await;
    }

    #[tokio::test]
    async fn what_a_failed_write_had_does_not_replace_what_came_during_it() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        journal.note(nonce_mark(1, 1));
        journal.note(nonce_mark(2, 1));
        begin(&mut journal);
        journal.note(nonce_mark(1, 2));
        answer.send(false).unwrap();
        assert_eq!(journal.written().await, Written::default());
        begin(&mut journal);
        answer.send(true).unwrap();
        journal.written().await;
        let second: std::collections::HashSet<String> =
            written.lock().unwrap()[1].iter().map(|mark| format!("{mark:?}")).collect();
        let wanted = [nonce_mark(1, 2), nonce_mark(2, 1)];
        assert_eq!(second, wanted.iter().map(|mark| format!("{mark:?}")).collect());
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_leaves_no_more_in_memory_than_there_is_room_for() {
        let (_answer, answers) = mpsc::channel();
        let (mut journal, _) = slow(answers);
        journal.note(mark(1));
        for _ in 0..JOURNAL_WAITING {
            assert_eq!(journal.release(put()), Release::Later);
        }
        assert_eq!(journal.release(put()), Release::Never(put()));
        assert_eq!(journal.release(reply()), Release::Now(reply()), "it did not wait for the disk");
        let owner = NonceOwner { site: "legacy".into(), xtr_id: [0; 16], key_id: 1 };
        for nonce in 0..2 * JOURNAL_MARKS as u64 {
            journal.note(Mark::ForgottenSeen(owner.clone(), nonce));
        }
        assert_eq!(journal.unwritten.len(), JOURNAL_MARKS);
        journal.note(nonce_mark(1, 1));
        assert_eq!(journal.unwritten.len(), JOURNAL_MARKS + 1, "what others are told of is never dropped");
    }

    #[tokio::test]
    async fn what_is_over_goes_from_the_disk_however_much_waits_for_it() {
        let (answer, answers) = mpsc::channel();
        let (mut journal, written) = slow(answers);
        let owner = NonceOwner { site: "a".into(), xtr_id: [0; 16], key_id: 1 };
        let eid = AnyEid::Prefix(wire::address::EidPrefix {
            iid: wire::address::InstanceId(0),
            net: "2001:db8:a::/48".parse().unwrap(),
        });
        let fill = |journal: &mut Journal| {
            let legacy = NonceOwner { site: "legacy".into(), ..owner.clone() };
            (0..JOURNAL_MARKS as u64).for_each(|nonce| journal.note(Mark::ForgottenSeen(legacy.clone(), nonce)));
        };
        let over = [Mark::ForgottenRegistration(eid), Mark::ForgottenNonce(owner.clone())];
        fill(&mut journal);
        journal.note(Mark::Registration(eid, [1].into()));
        journal.note(Mark::Nonce(owner.clone(), Last { nonce: 1, digest: [0; 32] }));
        over.iter().for_each(|mark| journal.note(mark.clone()));
        begin(&mut journal);
        // Taken back, while there is as much again.
        fill(&mut journal);
        answer.send(false).unwrap();
        journal.written().await;
        begin(&mut journal);
        answer.send(true).unwrap();
        journal.written().await;
        for marks in written.lock().unwrap().iter() {
            assert!(over.iter().all(|mark| marks.contains(mark)), "one of {over:?} is not among {}", marks.len());
        }
    }
}
