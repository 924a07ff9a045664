// SPDX-License-Identifier: GPL-2.0-or-later
//! The loop that drives the control half: datagrams, the packet half's events, the map system in this process, questions
//! over the control socket, and time.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use cgeid::{Cn, OperationalKey};
use ipnet::Ipv6Net;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};
use wire::control::Nonce;

use super::Failure;
use super::clock::{self, Alarm, Sleep};
use super::control_socket::{Ask, Question};
use super::control_sockets::{ControlSockets, Received};
use super::embedded::{Embedded, FromMapSystem, cgeid_prefix};
use super::former::Former;
use super::identities::{Change, Changes};
use super::interfaces::{Damper, Locators, Machine, Wanted, Watch};
use super::kept_locators::KeptLocators;
use super::lacking::Lacking;
use super::led::Led;
use super::listing::{self, Portion};
use super::look::{Look, look};
use super::map_version::KeptVersion;
use super::metrics;
use super::netlink;
use super::netlink::{Netlink, Plan};
use super::notify_nonces::NotifyNonces;
use super::packets::Packets;
use super::reload::{Reloading, Settings, looked};
use super::show;
use super::state::StateFile;
use super::trace::{self, TraceRequest};
use crate::config::Table;
use crate::counters::LocatorCount;
use crate::engine::{Control, Input, Output};
use crate::limits;
use crate::map_cache::Update;
use crate::subscribe::Told;
use crate::transport::{Destination, MapSystem, Outgoing, Via};

/// How long a node that goes away waits for its withdrawals to be confirmed.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Everything the control half touches.
pub struct ControlPlane {
    /// The engines.
    pub control: Control,
    /// UDP port 4342.
    pub sockets: ControlSockets,
    /// What comes in there.
    pub received: mpsc::Receiver<Received>,
    /// The packet half.
    pub packets: Packets,
    /// The map system in this process, if there is one.
    pub map_system: Option<Embedded>,
    /// What outlives the run.
    pub state: StateFile,
    /// The version of our mappings over restarts.
    pub map_version: KeptVersion,
    /// The locators that locator-status-bits are of, over restarts.
    pub kept_locators: KeptLocators,
    /// Of Map-Servers over restarts.
    pub notify_nonces: NotifyNonces<MapSystem>,
    /// Of what is told unasked over restarts.
    pub told_nonces: NotifyNonces<Told>,
    /// From the control socket.
    pub questions: mpsc::Receiver<Question>,
    /// The network whose addresses are led into the tunnel, if this node takes part in it.
    pub cgeid_network: Option<Ipv6Net>,
    /// Of the identities of this node.
    pub changes: Changes,
    /// Has the keys of later months looked for.
    pub key_watch: Arc<Notify>,
    /// The kernel's routing.
    pub netlink: Netlink,
    /// What it is to do.
    pub plan: Plan,
    /// Says that addresses or links may have changed.
    pub watch: Watch,
    /// The look at them that is under way.
    pub look: Option<Look>,
    /// What the operator said about locators.
    pub wanted: Wanted,
    /// The locators as they are.
    pub locators: Locators,
    /// What of that the machine lacks.
    pub lacking: Lacking,
    /// Which of them have gone lately.
    pub damper: Damper,
    /// Those that they were a moment ago.
    pub former: Former,
    /// What the operator said.
    pub settings: Settings,
    /// The reload that is under way.
    pub reloading: Option<Reloading>,
    /// Whether it takes its registrations back.
    pub is_leaving: bool,
    /// Of a PITR.
    pub pitr: Led,
    /// Of ours that other xTRs have now.
    pub moved: Led,
    /// Of what is due next.
    pub alarm: Alarm,
    /// Of this machine.
    pub sleep: Sleep,
    /// Says that all may have been lost, and is led again: what others keep on the TUN device may be lacking.
    pub led_again: Arc<Notify>,
}

/// What a step leaves to be done.
enum Step {
    /// Nothing.
    Done,
    /// This, which must not be broken off.
    Change(Change),
    /// A look at the addresses of this machine.
    Look,
    /// What was seen.
    Seen(Result<Machine, Failure>),
    /// What was seen for a reload.
    Reload(Result<Machine, Failure>),
}

impl ControlPlane {
    /// Runs until `stop`, then takes the registrations back.
    ///
    /// # Errors
    /// If a part of the node ends by itself. The registrations are taken back then too: a site that stays registered with a
    /// node that moves no packets cannot be reached by another way either.
    pub async fn run(&mut self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        self.tell(Input::InterfaceMtus(self.locators.mtus.clone()));
        let result = self.go_on(stop, |_| false).await;
        program::manager::stopping();
        self.farewell().await;
        self.settle(true);
        self.keep(true);
        result
    }

    async fn farewell(&mut self) {
        self.no_more_reloads();
        self.tell(Input::Shutdown);
        let end = tokio::time::sleep(FAREWELL);
        if self.go_on(end, Control::is_withdrawn).await.is_err() || !self.control.is_withdrawn() {
            tracing::warn!("not every registration was taken back; the others expire within three minutes");
        }
    }

    /// Takes what comes until `stop`, or until it is done.
    async fn go_on(&mut self, stop: impl Future<Output = ()>, is_done: fn(&Control) -> bool) -> Result<(), Failure> {
        tokio::pin!(stop);
        while !is_done(&self.control) {
            // Else what is due here would be due for ever.
            self.pitr.apply(&mut self.netlink).await;
            self.moved.apply(&mut self.netlink).await;
            let step = tokio::select! {
                biased;
                () = &mut stop => break,
                step = self.step() => step?,
            };
            self.finish(step).await;
        }
        Ok(())
    }

    /// Does what a step has left.
    async fn finish(&mut self, step: Step) {
        match step {
            Step::Done => {}
            Step::Change(change) => self.on_change(change).await,
            Step::Look => {
                self.look_at_addresses();
                self.lead_again().await;
            }
            Step::Seen(machine) => self.follow(machine).await,
            Step::Reload(machine) => self.end_reload(machine).await,
        }
    }

    /// Takes one input, and does what follows. Cancelled only while it waits.
    async fn step(&mut self) -> Result<Step, Failure> {
        let ended = |part: &str| Failure::Machine(format!("{part} has ended: the log says why"));
        let deadlines = [
            self.control.next_deadline(),
            self.notify_nonces.due(),
            self.told_nonces.due(),
            self.map_version.due(),
            self.kept_locators.due(),
            self.pitr.due(),
            self.moved.due(),
        ];
        let timer = self.alarm.until(deadlines.into_iter().flatten().min());
        tokio::select! {
            Some(received) = self.received.recv() => self.on_received(received),
            address = self.sockets.ended() => return Err(ended(&format!("who receives control messages at {address}"))),
            event = self.packets.event() => match event {
                Some(event) => self.control.handle(clock::now(), Input::Event(event)),
                None => return Err(ended("the packet thread")),
            },
            message = next_of(&mut self.map_system) => match message {
                Some(message) => self.on_map_system(message),
                None => return Err(ended("the map system")),
            },
            Some(Question { ask, answer }) = self.questions.recv() => match ask {
                Ask::Show(table) => self.show(table, answer),
                Ask::Metrics => self.measure(answer),
                Ask::Count(after) => {
                    // Who asked may have gone.
                    let _ = answer.send(listing::count(&self.control, (after, listing::COUNTED), clock::now()));
                }
                Ask::Trace(request) => self.trace(&request, answer),
                Ask::Portion(portion) => self.portion(&portion, answer),
                Ask::Reload => self.begin_reload(Some(answer)),
            },
            () = self.settings.hangup(), if self.reloading.is_none() && !self.is_leaving => self.begin_reload(None),
            machine = looked(&mut self.reloading) => return Ok(Step::Reload(machine)),
            Some(change) = self.changes.next() => return Ok(Step::Change(change)),
            () = self.watch.changed(), if self.look.is_none() => return Ok(Step::Look),
            machine = seen(&mut self.look) => return Ok(Step::Seen(machine)),
            () = timer => self.control.handle_timeout(clock::now()),
        }
        if self.sleep.has_been() {
            self.control.handle(clock::now(), Input::Slept);
        }
        self.drain();
        Ok(Step::Done)
    }

    async fn on_change(&mut self, change: Change) {
        self.netlink.revive();
        let led = match change {
            Change::Renewed(key) => {
                self.add_identity(key).await;
                Ok(())
            }
            Change::Added(key) => {
                let address = key.address();
                // The map system takes no registration of an identity that it has not heard of.
                self.add_identity(key).await;
                let prefix = cgeid_prefix(address);
                self.control.handle(clock::now(), Input::AddEid(prefix));
                if !self.control.database().prefixes().contains(&prefix) {
                    let most = limits::EID_PREFIXES;
                    tracing::warn!(%address, "nobody is told of this identity: the node has {most} EID-prefixes, the most that it can have");
                }
                self.drain();
                self.plan.site.push(netlink::host(address));
                self.netlink.add_cgeid(address).await
            }
            Change::Removed { cn, address } => {
                self.name_senders();
                self.control.handle(clock::now(), Input::RemoveEid(cgeid_prefix(address)));
                self.drain();
                self.remove_identity(cn).await;
                self.plan.site.retain(|prefix| *prefix != netlink::host(address));
                self.netlink.remove_cgeid(address).await
            }
        };
        if let Err(error) = led {
            tracing::error!(%error, "packets of an identity that has come or gone are led as before");
        }
    }

    /// Where somebody has taken away what leads packets into the tunnel, it is set up again: until then they leave as they are.
    async fn lead_again(&mut self) {
        if !self.watch.take_lost() {
            return;
        }
        self.netlink.revive();
        self.pitr.again();
        self.moved.again();
        match self.netlink.lead(&self.plan).await {
            Ok(true) => tracing::warn!("rules, routes or addresses of this node were taken away, and are there again"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "packets of the site are not led into the tunnel");
                return self.watch.still_lost();
            }
        }
        self.led_again.notify_one();
    }

    pub(super) fn look_at_addresses(&mut self) {
        match look(&self.wanted) {
            Ok(look) => self.look = Some(look),
            Err(error) => self.on_seen(Err(error)),
        }
    }

    /// CGEIDs and locators follow the routes, addresses and links of the machine.
    pub(super) async fn follow(&mut self, machine: Result<Machine, Failure>) {
        if let Ok(machine) = &machine {
            self.seat_cgeids(machine.at_hosts()).await;
        }
        self.on_seen(machine);
    }

    /// A CGEID is at this router while no route leads to a host that has it.
    async fn seat_cgeids(&mut self, at_hosts: &[Ipv6Addr]) {
        for cgeid in self.wanted.cgeids.clone() {
            let (is_here, is_at_host) = (self.plan.own_cgeids.contains(&cgeid), at_hosts.contains(&cgeid));
            if is_here != is_at_host {
                continue;
            }
            self.netlink.revive();
            let tun = &self.plan.tun;
            let moved = match is_at_host {
                true => self.netlink.remove_own_cgeid(tun, cgeid).await,
                false => self.netlink.add_own_cgeid(tun, cgeid).await,
            };
            if let Err(error) = moved {
                tracing::error!(%cgeid, %error, "packets to it are led as before");
                // What has changed is not said again.
                self.watch.again();
                continue;
            }
            tracing::debug!(%cgeid, is_at_host, "a route to it has come or gone");
            self.plan.own_cgeids.retain(|own| *own != cgeid);
            self.plan.own_cgeids.extend((!is_at_host).then_some(cgeid));
        }
    }

    /// The locators follow the addresses and links of the machine.
    fn on_seen(&mut self, machine: Result<Machine, Failure>) {
        let machine = match machine {
            Ok(machine) => machine,
            Err(error) => {
                tracing::warn!(%error, "the locators stay as they are");
                // What has changed is not said again.
                return self.watch.again();
            }
        };
        let now = clock::now();
        let mut lacking = machine.lacks(&self.wanted);
        let mut found = self.damper.locators(now, machine.clone(), &self.wanted, &self.locators);
        if let Some(due) = self.damper.due() {
            self.watch.again_in(due.saturating_duration_since(now));
        }
        let served = self.locators.reachable();
        let former = self.former.addresses();
        let is_heard = |rloc: &IpAddr| served.contains(rloc) || former.contains(rloc) || Packets::can_receive(*rloc);
        // Who answers probes where no packet is taken is a black hole.
        let (heard, mut missing): (Vec<_>, Vec<_>) = found.reachable().into_iter().partition(is_heard);
        let is_telling = self.control.is_soliciting();
        if self.former.follow(now, (&served, &heard), is_telling, |address| machine.is_reachable(address)) {
            self.packets.update(Update::FormerRlocs(self.former.addresses()));
        }
        missing.extend(self.sockets.set(&heard, &self.former.addresses()));
        self.packets.lend_control_port(&self.sockets);
        if !self.former.addresses().is_empty() {
            self.watch.again();
        }
        if !missing.is_empty() {
            found.unreachable.extend(missing);
            self.watch.again();
        }
        lacking.extend(self.wanted.out_of_reach(&found.reachable()));
        self.lacking.take(now, lacking).iter().for_each(|lack| tracing::warn!("{lack}"));
        if found.mtus != self.locators.mtus {
            tracing::info!(mtus = ?found.mtus, "the MTUs of interfaces have changed");
            self.locators.mtus = found.mtus.clone();
            self.tell(Input::InterfaceMtus(found.mtus.clone()));
        }
        if found == self.locators {
            return;
        }
        tracing::info!(all = ?addresses(&found), unreachable = ?found.unreachable, "the locators have changed");
        self.locators = found.clone();
        let Locators { all: locators, unreachable, mtus: _ } = found;
        self.name_senders();
        self.control.handle(clock::now(), Input::Reached { locators, unreachable });
        if let Some(system) = &self.map_system {
            system.readdress(&self.control.database().preferred_rlocs());
        }
        self.drain();
    }

    /// Takes an input, and does what follows at once.
    pub(super) fn tell(&mut self, input: Input<'_>) {
        self.control.handle(clock::now(), input);
        self.drain();
    }

    async fn add_identity(&self, key: OperationalKey) {
        if let Some(system) = &self.map_system {
            system.add_identity(key).await;
        }
    }

    async fn remove_identity(&self, cn: Cn) {
        if let Some(system) = &self.map_system {
            system.remove_identity(cn).await;
        }
    }

    fn on_received(&mut self, received: Received) {
        match (received, &self.map_system) {
            (Received::Message { local, remote, bytes }, Some(system)) if system.takes(&bytes) => {
                system.datagram(local, remote, bytes);
            }
            (Received::Message { local, remote, bytes }, _) => self.datagram(Via::Socket { local, remote }, &bytes),
            (Received::TooBig { quoted, mtu }, _) => {
                self.control.handle(clock::now(), Input::TooBig { quoted: &quoted, mtu });
            }
        }
    }

    fn on_map_system(&mut self, message: FromMapSystem) {
        match message {
            FromMapSystem::Send { local, remote, bytes } => self.sockets.send(local.ip(), remote, &bytes),
            FromMapSystem::Pipe(bytes) => self.datagram(Via::Pipe, &bytes),
            // Each of our sockets has one address: there is nothing to choose.
            FromMapSystem::Proven { .. } => {}
        }
    }

    /// Whoever has sent to us lately hears of the change that is to be told next (RFC 9301, section 6.1).
    fn name_senders(&mut self) {
        let now = clock::now();
        let senders = self.packets.senders(now);
        self.control.handle(now, Input::PacketsFrom(&senders));
    }

    fn datagram(&mut self, via: Via, bytes: &[u8]) {
        self.control.handle(clock::now(), Input::Datagram { via, bytes });
    }

    fn trace(&mut self, request: &TraceRequest, answer: oneshot::Sender<Value>) {
        let now = clock::now();
        let node = trace::Node { control: &self.control, packets: &self.packets, cgeid_network: self.cgeid_network };
        let way = request.answer(now, &node);
        if let Some(event) = request.event(&way, self.packets.itr().iid) {
            self.control.handle(now, Input::Event(event));
        }
        if answer.send(way).is_err() {
            tracing::debug!("the client did not wait for its answer");
        }
    }

    fn show(&self, table: Table, to: oneshot::Sender<Value>) {
        let counters: Value = self.packets.counters();
        let mut answer = show::answer(table, &self.control, clock::now(), &counters);
        show::add_sent(table, &mut answer, &self.locators());
        if table == Table::Locators {
            answer["lacking"] = self.lacking.now().into();
        }
        self.answer(table, answer, to);
    }

    fn portion(&self, portion: &Portion, to: oneshot::Sender<Value>) {
        let answer = portion.answer(&self.control, self.packets.itr().iid, clock::now());
        if portion.after.is_none() {
            return self.answer(portion.table, answer, to);
        }
        if to.send(answer).is_err() {
            tracing::debug!("the client did not wait for its answer");
        }
    }

    /// What was sent to each locator, and the path MTUs that are known.
    fn locators(&self) -> Vec<LocatorCount> {
        let mut sent = self.packets.locators();
        for count in &mut sent {
            // The packet half publishes its own when packets go there.
            count.path_mtu = self.control.path_mtu(count.address).map_or(count.path_mtu, usize::from);
        }
        sent
    }

    /// As `show counters` and `show registrations`, and what there is to tell of each locator of others.
    fn measure(&self, to: oneshot::Sender<Value>) {
        let (now, counters) = (clock::now(), self.packets.counters());
        let mut answer = show::answer(Table::Counters, &self.control, now, &counters);
        let registrations = show::registrations(&self.control, now);
        answer["present"] = metrics::present(&self.control, now, (&registrations, &counters));
        answer["registrations"] = registrations.into();
        answer["locators"] = metrics::locators(&self.control, now, &self.locators());
        self.answer(Table::Counters, answer, to);
    }

    fn answer(&self, table: Table, mut answer: Value, to: oneshot::Sender<Value>) {
        let status = self.map_system.as_ref().map(Embedded::status);
        // The map system answers when it comes to it; the loop does not wait.
        tokio::spawn(async move {
            if let Some(status) = status {
                show::add_map_system(table, &mut answer, &status).await;
            }
            if to.send(answer).is_err() {
                tracing::debug!("the client did not wait for its answer");
            }
        });
    }

    /// Puts on disk what Map-Servers have said last, if it is time to.
    fn settle(&mut self, is_last: bool) {
        let now = clock::now();
        let settled = [self.notify_nonces.settle(now, is_last), self.told_nonces.settle(now, is_last)];
        for error in settled.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "after a restart an old Map-Notify may be taken for a new one");
        }
    }

    /// Puts on disk what peers are told of our mappings, if it is not there.
    fn keep(&mut self, is_last: bool) {
        let (now, database) = (clock::now(), self.control.database());
        if let Err(error) = self.map_version.keep(now, database, is_last) {
            tracing::error!(%error, "the map-version is not on disk: a restart would go on with an older one");
        }
        let is_paused = self.control.is_pausing_status_bits();
        if let Err(error) = self.kept_locators.keep(now, database, is_paused, is_last) {
            tracing::error!(%error, "the locators are not on disk: a restart would send locator-status-bits too early");
        }
    }

    pub(super) fn drain(&mut self) {
        self.settle(false);
        self.keep(false);
        while let Some(output) = self.control.poll() {
            match output {
                Output::PersistNonce(bound) => self.persist(bound),
                Output::PersistHeard(heard) => {
                    self.notify_nonces.note(heard);
                    self.settle(false);
                }
                Output::PersistTold(told) => {
                    self.told_nonces.note(told);
                    self.settle(false);
                }
                Output::Update(update) => {
                    match &update {
                        Update::PitrFor(prefixes) => self.pitr.want(prefixes),
                        Update::Moved(prefixes) => self.moved.want(prefixes),
                        _ => {}
                    }
                    self.packets.update(update);
                }
                Output::Send(outgoing) => self.send(outgoing),
                Output::WantAllSenders => self.name_senders(),
                Output::WantSenders { bound, about } => {
                    let now = clock::now();
                    let senders = self.packets.senders_to(now, &bound, &about);
                    self.control.handle(now, Input::Senders { about, senders: &senders });
                }
            }
        }
    }

    /// A full disk must not cut a site off: its registrations go on, and after a crash the clock is above the nonces used.
    fn persist(&mut self, bound: Nonce) {
        if let Err(error) = self.state.persist_nonce(bound) {
            tracing::error!(%error, "nonces are not on disk: after a restart Map-Servers may refuse us for some minutes");
        }
    }

    fn send(&mut self, outgoing: Outgoing) {
        match (outgoing.to, &self.map_system) {
            (Destination::Socket { local, remote }, _) => self.sockets.send(local, remote, &outgoing.bytes),
            (Destination::Unfragmented { local, remote }, _) => {
                if let Some(mtu) = self.sockets.send_unfragmented(local, remote, &outgoing.bytes) {
                    self.control.handle(clock::now(), Input::TooBig { quoted: &outgoing.bytes, mtu });
                }
            }
            (Destination::DataPort { local, remote }, _) => {
                self.packets.send_from_data_port(local, remote, &outgoing.bytes);
            }
            (Destination::Pipe, Some(system)) => system.pipe(outgoing.bytes),
            (Destination::Pipe, None) => tracing::debug!("no map system at the other end of the pipe"),
        }
    }
}

fn addresses(locators: &Locators) -> Vec<IpAddr> {
    locators.all.iter().map(|locator| locator.address).collect()
}

/// What the look has found. May be cancelled.
async fn seen(look: &mut Option<Look>) -> Result<Machine, Failure> {
    let Some(under_way) = look else { return std::future::pending().await };
    let machine = under_way.await;
    *look = None;
    machine.unwrap_or_else(|_| Err(Failure::Machine("reading the interfaces has ended".into())))
}

async fn next_of(map_system: &mut Option<Embedded>) -> Option<FromMapSystem> {
    match map_system {
        Some(system) => system.next().await,
        None => std::future::pending().await,
    }
}
