// SPDX-License-Identifier: GPL-2.0-or-later
//! The loop that owns the engine: the inputs that are there, then everything they lead to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dht::record::RecordKey;
use dht::shell::lookup::Read;
use dht::shell::node::{Clock, Node, NodeStats, PeerSet, PutReport};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::journal::{Journal, Release, Written};
use super::status::{self, Cursor, Part, Question};
use super::{Addresses, FromService, Request};
use crate::engine::{ConfigError, Engine, Input, Output, Reconfiguration, Reconfigured};
use crate::refusal::Served;
use crate::register::pace::PutOutcome;
use crate::shell::identity::KeyState;
use crate::shell::sockets;
use crate::shell::state::State;
use crate::transport::Now;

/// Answers of the DHT waiting for the engine: more than it has lookups.
const ANSWERS: usize = 2048;

/// Once a copy has verified, other nodes have this long to show a newer one. Nobody waits for it.
const PATIENCE: Duration = dht::shell::limits::GET;

/// The end of the process waits so long for its last PUTs.
const FAREWELL: Duration = Duration::from_secs(2);

/// Inputs that are handled before what they lead to is done: a third of a millisecond.
const AT_ONCE: usize = 64;

/// The same of strangers where there are clients, however many strangers there are: a client waits for no more than these.
const STRANGERS_AT_ONCE: usize = 4;

/// With nothing due, the loop looks this often.
const IDLE: Duration = Duration::from_secs(3600);

/// The ends of the channels that the loop holds.
pub(super) struct Ends {
    /// Of the configured clients and of this process.
    pub(super) inputs: mpsc::Receiver<Input>,
    /// Of everybody else.
    pub(super) strangers: mpsc::Receiver<Input>,
    /// Whether there are clients.
    pub(super) has_clients: bool,
    pub(super) outputs: mpsc::Sender<FromService>,
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) reconfigurations: mpsc::Receiver<Request>,
    pub(super) addresses: watch::Receiver<Addresses>,
    pub(super) key_states: watch::Receiver<Vec<KeyState>>,
    pub(super) dropped: Arc<AtomicU64>,
    /// Whether the state file cannot be written.
    pub(super) is_failing: Arc<AtomicBool>,
    pub(super) clock: Clock,
}

/// The engine and all that it acts on.
struct Running {
    engine: Engine,
    node: Node,
    journal: Journal,
    outputs: mpsc::Sender<FromService>,
    answers: mpsc::Sender<Input>,
    key_states: watch::Receiver<Vec<KeyState>>,
    dropped: Arc<AtomicU64>,
    is_failing: Arc<AtomicBool>,
    /// Map-Notifies and records that were never sent, for the disk did not take their marks or was too slow.
    lost: u64,
    clock: Clock,
    has_clients: bool,
    /// Peers of the node when everything was published.
    published_to: usize,
}

/// Runs until the inputs end.
pub(super) async fn run(engine: Engine, node: Node, state: State, mut ends: Ends) {
    let (answers, mut answered) = mpsc::channel(ANSWERS);
    let mut peers = node.subscribe();
    let mut running = Running::new(engine, node, state, answers, &ends);
    // One for all times: to make and drop one for each input costs a system call each time, with which the runtime wakes itself.
    let mut alarm = std::pin::pin!(tokio::time::sleep(IDLE));
    let (mut at_once, mut of_strangers) = (Vec::with_capacity(AT_ONCE), Vec::with_capacity(AT_ONCE));
    let mut strangers_ended = false;
    running.engine.handle_timeout(running.now());
    loop {
        running.drain();
        let strangers_at_once = if running.has_clients { STRANGERS_AT_ONCE } else { AT_ONCE };
        let deadline = running.next_deadline().into();
        // One that rings before its time does no harm.
        if alarm.is_elapsed() || deadline < alarm.deadline() {
            alarm.as_mut().reset(deadline);
        }
        tokio::select! {
            count = ends.inputs.recv_many(&mut at_once, AT_ONCE) => {
                if count == 0 {
                    break;
                }
                running.take(&mut at_once);
            }
            // Not before those that came from clients meanwhile.
            count = ends.strangers.recv_many(&mut of_strangers, strangers_at_once),
                if !strangers_ended && ends.inputs.is_empty() => {
                strangers_ended = count == 0;
                running.take(&mut of_strangers);
                running.drain();
                // What came for clients meanwhile has its turn, and what goes out.
                tokio::task::yield_now().await;
            }
            Some(input) = answered.recv() => running.engine.handle(running.now(), input),
            written = running.journal.written() => running.on_written(written),
            // Whoever asked may have gone.
            Some(Question { what, from, stats, answer }) = ends.questions.recv() => {
                let _ = answer.send(running.show(&what, from, stats));
            }
            Some((newer, answer)) = ends.reconfigurations.recv() => { let _ = answer.send(running.reconfigure(newer)); }
            Ok(()) = ends.addresses.changed() => {
                let (bound, own) = ends.addresses.borrow_and_update().clone();
                running.readdress(bound, &own);
            }
            Ok(()) = peers.changed() => {
                let set = *peers.borrow_and_update();
                running.on_peers(set);
            }
            () = &mut alarm => {
                running.engine.handle_timeout(running.now());
                // Where much is due, one part after the other: the sockets have their turn between.
                tokio::task::yield_now().await;
            }
        }
    }
    of_strangers.extend(std::iter::from_fn(|| ends.strangers.try_recv().ok()));
    running.take(&mut of_strangers);
    // Those who wait longer than this for a withdrawal find the record's lifetime at its end.
    let _ = tokio::time::timeout(FAREWELL, running.close(&mut answered)).await;
}

/// Whether the peer set has grown by a quarter since everything was published.
fn has_grown(published_to: usize, now: usize) -> bool {
    now > published_to && now * 4 >= published_to * 5
}

impl Running {
    fn new(engine: Engine, node: Node, state: State, answers: mpsc::Sender<Input>, ends: &Ends) -> Self {
        Self {
            engine,
            node,
            journal: Journal::new(move |marks| state.write(marks)),
            outputs: ends.outputs.clone(),
            answers,
            key_states: ends.key_states.clone(),
            dropped: Arc::clone(&ends.dropped),
            is_failing: Arc::clone(&ends.is_failing),
            lost: 0,
            clock: ends.clock,
            has_clients: ends.has_clients,
            published_to: 0,
        }
    }

    fn now(&self) -> Now {
        Now::at(self.clock.now())
    }

    /// When something is due, or it is looked all the same.
    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let deadlines = [self.engine.next_deadline(), self.journal.next_deadline(now)];
        deadlines.into_iter().flatten().min().unwrap_or(now + IDLE)
    }

    /// Takes inputs that came together, and does what is due.
    fn take(&mut self, inputs: &mut Vec<Input>) {
        let now = self.now();
        inputs.drain(..).for_each(|input| self.engine.take(now, input));
        self.engine.handle_timeout(now);
    }

    fn reconfigure(&mut self, newer: Reconfiguration) -> Result<Reconfigured, ConfigError> {
        let are_clients = !newer.clients.is_empty();
        let done = self.engine.reconfigure(self.now(), newer)?;
        self.has_clients = are_clients;
        Ok(done)
    }

    /// Others are connected to the node, or say something else of its clock.
    fn on_peers(&mut self, set: PeerSet) {
        self.engine.trust_clock(self.now(), set.is_clock_right);
        let (before, now) = (self.published_to, set.peers);
        if has_grown(before, now) {
            self.engine.handle(self.now(), Input::DhtChanged);
        }
        if now < before || has_grown(before, now) {
            self.published_to = now;
        }
    }

    /// The machine has other addresses, perhaps.
    fn readdress(&mut self, mut bound: Vec<SocketAddr>, own: &[IpAddr]) {
        let told = sockets::tellable(&bound, own, |address| self.engine.is_eid(address));
        bound.extend(told);
        self.engine.readdress(self.now(), bound);
    }

    /// Publishes what has changed, and waits until it is stored.
    async fn close(&mut self, answered: &mut mpsc::Receiver<Input>) {
        self.engine.handle(self.now(), Input::Closing);
        self.journal.hurry();
        self.drain();
        while self.engine.is_publishing() || self.journal.is_busy() {
            tokio::select! {
                input = answered.recv() => match input {
                    Some(input) => self.engine.handle(self.now(), input),
                    None => return,
                },
                written = self.journal.written() => self.on_written(written),
            }
            self.journal.hurry();
            self.drain();
        }
    }

    /// Does all that the engine wants; what must be on disk first waits for it, and nothing else does.
    fn drain(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Persist(mark) => self.journal.note(mark),
                action => match self.journal.release(action) {
                    Release::Now(action) => self.act(action),
                    Release::Later => {}
                    Release::Never(action) => {
                        self.dropped.fetch_add(1, Ordering::Relaxed);
                        self.give_up(action);
                    }
                },
            }
        }
        let now = Instant::now();
        self.journal.begin(now);
        self.journal.watch(now);
        self.is_failing.store(self.journal.is_failing(), Ordering::Relaxed);
    }

    /// The disk has answered.
    fn on_written(&mut self, Written { released, lost }: Written) {
        for action in released {
            self.act(action);
        }
        for action in lost {
            self.give_up(action);
        }
    }

    /// A record that is not published is tried again in its turn; a Map-Notify is asked for again by its xTR.
    fn give_up(&mut self, action: Output) {
        self.lost = self.lost.saturating_add(1);
        if let Output::DhtPut { key, .. } = action {
            self.engine.handle(self.now(), Input::DhtPutDone { key, outcome: PutOutcome::FAILED });
        }
    }

    fn act(&mut self, action: Output) {
        let counts = action.counts();
        match action {
            Output::Send { local, remote, bytes, .. } => self.emit(FromService::Send { local, remote, bytes }, counts),
            Output::SendOwn(request) => {
                // An EID is no address that this node can be reached at.
                let from = sockets::leading_to(request.remote).filter(|own| !self.engine.is_eid(*own));
                let datagram = request.leaving(from.unwrap_or(request.local.ip()));
                datagram.into_iter().for_each(|datagram| self.act(datagram));
            }
            Output::Pipe { bytes } => self.emit(FromService::Pipe(bytes), counts),
            Output::Proven { local, remote } => self.emit(FromService::Proven { local, remote }, counts),
            Output::DhtGet { key } => self.get(key),
            Output::DhtPut { key, bytes } => self.put(key, bytes),
            Output::Persist(_) => {}
        }
    }

    fn emit(&mut self, message: FromService, counts: Option<Served>) {
        if self.outputs.try_send(message).is_ok() {
            self.engine.count_left(counts);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn get(&self, key: RecordKey) {
        let (node, answers) = (self.node.clone(), self.answers.clone());
        tokio::spawn(async move {
            look_up(&node, key, &answers).await;
        });
    }

    fn put(&self, key: RecordKey, bytes: Vec<u8>) {
        let (node, answers) = (self.node.clone(), self.answers.clone());
        tokio::spawn(async move {
            let outcome = match node.put(key.encode(), bytes).await {
                Ok(report) => outcome_of(&report),
                Err(error) => {
                    tracing::warn!(%key, %error, "not published");
                    PutOutcome::FAILED
                }
            };
            tracing::debug!(%key, ?outcome, "published");
            let _ = answers.send(Input::DhtPutDone { key, outcome }).await;
        });
    }

    fn show(&self, what: &str, from: Cursor, stats: Option<NodeStats>) -> Option<Part> {
        Some(Part::whole(match what {
            "sites" => return Some(status::sites(&self.engine, Instant::now(), from)),
            "identities" => status::identities(&self.engine, &self.key_states.borrow(), self.clock.now()),
            "registrations" => return Some(status::registrations(&self.engine, Instant::now(), from)),
            "subscriptions" => return Some(status::subscriptions(&self.engine, Instant::now(), from)),
            "counters" => {
                let dht = stats.map(|stats| json!({ "node": stats.counters, "held": stats.held }));
                let mut counted = status::counters(&self.engine, self.dropped.load(Ordering::Relaxed), dht);
                counted["disk_failing"] = u8::from(self.journal.is_failing()).into();
                counted["lost_to_disk"] = self.lost.into();
                counted
            }
            "peers" => stats.map_or(Value::Null, |stats| {
                let peer = |peer: &dht::shell::node::Peer| {
                    let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
                    json!({ "id": peer.id.to_string(), "addresses": addresses, "connected": peer.connected })
                };
                Value::Array(stats.peers.iter().map(peer).collect())
            }),
            _ => return None,
        }))
    }
}

/// How a PUT ended, as far as the engine is concerned.
fn outcome_of(report: &PutReport) -> PutOutcome {
    PutOutcome { local: report.local, stored: report.stored, asked: report.asked(), busy: report.busy }
}

/// Reads a key: the first copy that verifies is handed on at once, and what changes it when it comes. A hostile node can hide a
/// record for a while, not change it. `None` if the DHT did not answer: what too few have not got may be there all the same.
async fn look_up(node: &Node, key: RecordKey, answers: &mpsc::Sender<Input>) {
    let mut read = match Read::begin(node, key.network, key).await {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(%key, %error, "lookup failed");
            // An error means that the service has ended; so below.
            let _ = answers.send(Input::DhtValues { key, values: None }).await;
            return;
        }
    };
    let is_there = read.first().await;
    let values = read.is_answered().then(|| read.values());
    let _ = answers.send(Input::DhtValues { key, values }).await;
    while is_there && read.newer(PATIENCE).await {
        if answers.send(Input::DhtNewer { key, values: read.values() }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::SystemTime;

    use cgeid::{Cn, Identity, Network};
    use dht::publish::Sequence;
    use dht::shell::node::{NodeConfig, Role};
    use dht::shell::shelf::start_node;
    use wire::control::{MapNotify, message_type};

    use super::super::{WAITING_OUT, journal};
    use super::*;
    use crate::engine::{Config, Mark, Memory};
    use crate::limit::Foreign;
    use crate::limits::{DISK_HANGS, JOURNAL_WAITING};
    use crate::subscribe::subscriber::Policy;

    #[test]
    fn a_record_that_all_others_refused_or_did_not_hear_of_is_not_stored() {
        let alone = PutReport { local: true, ..PutReport::default() };
        assert!(outcome_of(&alone).is_stored());
        for others in [PutReport { refused: 2, busy: 1, ..alone }, PutReport { unreachable: 1, ..alone }] {
            assert!(!outcome_of(&others).is_stored() && outcome_of(&PutReport { stored: 1, ..others }).is_stored());
        }
        let report = PutReport { local: true, stored: 1, refused: 4, busy: 3, unreachable: 2 };
        assert_eq!(outcome_of(&report), PutOutcome { local: true, stored: 1, asked: 7, busy: 3 });
    }

    fn engine() -> Engine {
        let now = SystemTime::now();
        let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
        let config = Config {
            network: Network::LAB,
            identities: vec![identity.delegate(now, 0).unwrap()],
            sites: vec![],
            own_prefixes: vec![],
            pipe_key: None,
            trust_anchors: vec![],
            clients: vec![],
            foreign: Foreign::Nobody,
            sockets: vec![],
            subscribers: vec![],
            pubsub: Policy::default(),
            ddt: crate::ddt::Config::default(),
            lisp_sec: vec![],
        };
        Engine::new(Now::at(now), config, Memory::default()).unwrap()
    }

    fn node() -> Node {
        let mut config = NodeConfig::ephemeral();
        config.listen = vec![IpAddr::from([127, 0, 53, 61])];
        config.port = 0;
        assert_eq!(config.role, Role::Client);
        start_node(config, Network::LAB, None).unwrap()
    }

    fn running(outputs: mpsc::Sender<FromService>, journal: Journal) -> Running {
        Running {
            engine: engine(),
            node: node(),
            journal,
            outputs,
            answers: mpsc::channel(1).0,
            key_states: watch::channel(Vec::new()).1,
            dropped: Arc::default(),
            is_failing: Arc::default(),
            lost: 0,
            clock: Clock::default(),
            has_clients: false,
            published_to: 0,
        }
    }

    #[tokio::test]
    async fn whoever_asks_for_the_health_hears_of_a_write_that_does_not_end() {
        let (answer, answers) = std::sync::mpsc::channel::<()>();
        let answers = std::sync::Mutex::new(answers);
        let journal = Journal::new(move |_| Ok(answers.lock().unwrap().recv()?));
        let mut running = running(mpsc::channel(WAITING_OUT).0, journal);
        running.drain();
        running.journal.note(Mark::Sequence(Cn([1; 12]), Sequence(1)));
        let begun = Instant::now();
        running.journal.begin(begun);
        running.drain();
        assert!(!running.is_failing.load(Ordering::Relaxed));
        assert!(running.next_deadline() <= begun + DISK_HANGS, "it is looked at in time");
        tokio::time::sleep((begun + DISK_HANGS).saturating_duration_since(Instant::now())).await;
        running.drain();
        assert!(running.is_failing.load(Ordering::Relaxed));
        answer.send(()).unwrap();
        let written = running.journal.written().await;
        running.on_written(written);
        running.drain();
        assert!(!running.is_failing.load(Ordering::Relaxed));
        running.node.shutdown().await;
    }

    #[tokio::test]
    async fn what_has_waited_for_a_slow_disk_leaves_all_at_once() {
        let (outputs, mut leaving) = mpsc::channel(WAITING_OUT);
        let mut running = running(outputs, Journal::new(|_| Ok(())));
        running.journal.note(Mark::Sequence(Cn([1; 12]), Sequence(1)));
        let any = SocketAddr::from(([192, 0, 2, 1], 4342));
        let notify = Output::Send {
            local: any,
            remote: any,
            bytes: vec![MapNotify::TYPE << 4],
            counts: Some(Served::NotifySent),
        };
        for _ in 0..JOURNAL_WAITING {
            assert_eq!(running.journal.release(notify.clone()), journal::Release::Later);
        }
        running.journal.begin(Instant::now());
        let written = running.journal.written().await;
        // Whoever sends shares the thread: nothing leaves meanwhile.
        running.on_written(written);
        let left = std::iter::from_fn(|| leaving.try_recv().ok());
        let is_notify = |message: &FromService| matches!(message, FromService::Send { bytes, .. } if message_type(bytes) == Some(MapNotify::TYPE));
        assert_eq!(left.filter(is_notify).count(), JOURNAL_WAITING);
        assert_eq!(running.dropped.load(Ordering::Relaxed), 0);
        assert_eq!(running.engine.tally().served(Served::NotifySent), JOURNAL_WAITING as u64);
        running.node.shutdown().await;
    }
}
