// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-xtr reload`, and SIGHUP: locators, EID-prefixes, Map-Servers, Map-Resolvers, LISP-SEC, what is told of without being asked for, and
//! the keys of all of these and of subscriptions change while packets cross. All of it is taken over, or nothing.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use program::manager;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use wire::address::EidPrefix;

use super::Failure;
use super::clock;
use super::control_plane::ControlPlane;
use super::control_socket::{Ask, ask_for};
use super::interfaces::{Machine, Wanted};
use super::look::{Look, look};
use super::map_systems;
use crate::config::{Config, Flags, Mapping, Running};
use crate::engine::Input;
use crate::limits;

/// Where the settings come from, and those that the node runs by.
pub struct Settings {
    source: Option<(Flags, Signal)>,
    running: Running,
    prefixes: Vec<EidPrefix>,
    servers: Vec<IpAddr>,
}

/// The Map-Servers elsewhere.
fn servers(config: &Config) -> Vec<IpAddr> {
    let Mapping::Elsewhere { servers, .. } = &config.mapping else { return Vec::new() };
    servers.iter().map(|server| server.address).collect()
}

impl Settings {
    /// Of a node that cannot read them again.
    pub fn fixed(config: &Config) -> Self {
        let servers = servers(config);
        Self { source: None, running: config.running(), prefixes: config.eid_prefixes.clone(), servers }
    }

    /// Of a node that was started with `flags`.
    ///
    /// # Errors
    /// When the signal cannot be had.
    pub fn of(config: &Config, flags: Flags) -> Result<Self, Failure> {
        let hangup = signal(SignalKind::hangup()).map_err(|error| Failure::Machine(format!("signals: {error}")))?;
        Ok(Self { source: Some((flags, hangup)), ..Self::fixed(config) })
    }

    /// What they are now, if the node can take that over, and a look at the machine.
    fn read_again(&self, cgeids: &[Ipv6Addr]) -> Result<(Config, Wanted, Look), Failure> {
        let Some((flags, _)) = &self.source else {
            return Err(Failure::NotHeld("this node cannot read its settings again".into()));
        };
        let newer = Config::load(flags)?;
        let fixed = self.running.needs_restart(&newer);
        if !fixed.is_empty() {
            let names = fixed.join(", ");
            return Err(Failure::Configuration(format!("{names}: cannot change while the node runs; start it again")));
        }
        let wanted = Wanted::of(&newer).having(cgeids.to_vec());
        let look = look(&wanted)?;
        Ok((newer, wanted, look))
    }

    /// Waits for SIGHUP.
    pub(super) async fn hangup(&mut self) {
        if let Some((_, hangup)) = &mut self.source
            && hangup.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

/// Settings that were read again, while the kernel says what interfaces, addresses and routes there are: the loop goes on meanwhile, as a
/// router may have a million routes.
pub struct Reloading {
    newer: Config,
    wanted: Wanted,
    look: Look,
    /// Who wants to know what came of it.
    answer: Option<oneshot::Sender<Value>>,
}

/// What the look of a reload under way has found. May be cancelled.
pub(super) async fn looked(reloading: &mut Option<Reloading>) -> Result<Machine, Failure> {
    let Some(Reloading { look, .. }) = reloading else { return std::future::pending().await };
    look.await.unwrap_or_else(|_| Err(Failure::Machine("reading the interfaces has ended".into())))
}

fn tell(answer: Option<oneshot::Sender<Value>>, came_of_it: Result<Value, Failure>) {
    let came_of_it = came_of_it.unwrap_or_else(|failure| {
        tracing::error!(error = %failure, "the configuration stays as it was");
        json!({ "error": failure.to_string() })
    });
    // Who asked may have gone.
    let _ = answer.map(|answer| answer.send(came_of_it));
}

impl ControlPlane {
    /// Reads the settings again, unless they are being read, or the node goes away. `answer` hears, in the end, of
    /// `{"eid-prefixes": {"added", "removed"}, "locators", "map-servers", "warnings"}`, or `{"error"}` and nothing has changed.
    pub(super) fn begin_reload(&mut self, answer: Option<oneshot::Sender<Value>>) {
        let refused = |problem: &str| Err(Failure::NotHeld(problem.into()));
        if self.is_leaving {
            return tell(answer, refused("this node is going away"));
        }
        // By itself it hears of SIGHUP alone.
        if answer.is_some() {
            self.key_watch.notify_one();
        }
        if self.reloading.is_some() {
            return tell(answer, refused("another reload is under way: ask again when it has ended"));
        }
        manager::reloading();
        match self.settings.read_again(&self.wanted.cgeids) {
            Ok((newer, wanted, look)) => self.reloading = Some(Reloading { newer, wanted, look, answer }),
            Err(failure) => {
                manager::ready();
                tell(answer, Err(failure));
            }
        }
    }

    /// Takes the settings over that were read, where the machine is like this.
    pub(super) async fn end_reload(&mut self, machine: Result<Machine, Failure>) {
        let Some(Reloading { newer, wanted, answer, .. }) = self.reloading.take() else { return };
        let came_of_it = match machine {
            Ok(machine) => self.take_over(newer, wanted, machine).await,
            Err(failure) => Err(failure),
        };
        manager::ready();
        tell(answer, came_of_it);
    }

    /// None is begun from now on, and one under way changes nothing.
    pub(super) fn no_more_reloads(&mut self) {
        self.is_leaving = true;
        if let Some(Reloading { answer, .. }) = self.reloading.take() {
            tell(answer, Err(Failure::NotHeld("this node is going away".into())));
        }
    }

    async fn take_over(&mut self, newer: Config, wanted: Wanted, machine: Machine) -> Result<Value, Failure> {
        self.netlink.revive();
        let found = machine.locators(&wanted, &self.locators);
        newer.check_locators(&found.all)?;
        // Addresses and interfaces come and go: what there is not yet is no reason to refuse.
        let mut warnings = machine.lacks(&wanted);
        warnings.extend(wanted.out_of_reach(&found.reachable()));
        let before = &self.settings.prefixes;
        let added: Vec<_> = newer.eid_prefixes.iter().filter(|prefix| !before.contains(prefix)).copied().collect();
        let removed: Vec<_> = before.iter().filter(|prefix| !newer.eid_prefixes.contains(prefix)).copied().collect();
        let all = self.control.database().prefixes().len() + added.len();
        if !added.is_empty() && all > limits::EID_PREFIXES {
            let room = limits::EID_PREFIXES;
            let advice = "what is new is added before the old is removed: reload first without what is to be removed";
            return Err(Failure::key("eid-prefix", format!("{all} of them; {room} at most; {advice}")));
        }
        if let Err(failure) = self.lead(&newer.tun, &added).await {
            self.lead_no_longer(&added).await;
            return Err(failure);
        }
        // New keys too: those of Map-Resolvers are to be refreshed now and then (RFC 9303, section 7.5).
        self.control.protect(newer.lisp_sec.clone());
        let map_servers = self.take_map_systems(&newer);
        // What is not believed any more leaves the packet half at once.
        self.control.handle_timeout(clock::now());
        self.drain();
        // What is new comes first: of a prefix that becomes two, both are led before the one goes.
        added.iter().for_each(|prefix| self.tell(Input::AddEid(*prefix)));
        removed.iter().for_each(|prefix| self.tell(Input::RemoveEid(*prefix)));
        self.lead_no_longer(&removed).await;
        self.wanted = wanted;
        self.plan.site.extend(added.iter().map(|prefix| prefix.net));
        self.plan.site.retain(|net| !removed.iter().any(|prefix| prefix.net == *net));
        self.settings.prefixes = newer.eid_prefixes.clone();
        self.settings.running = newer.running();
        // What has changed while the machine was read, only a look at what was wanted until now may have seen, or may be seeing.
        self.look_at_addresses();
        self.follow(Ok(machine)).await;
        let texts = |prefixes: &[EidPrefix]| prefixes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let locators: Vec<_> = self.locators.all.iter().map(|locator| locator.address).collect();
        tracing::info!(added = ?texts(&added), removed = ?texts(&removed), ?locators, "the configuration was read again");
        Ok(json!({
            "eid-prefixes": { "added": texts(&added), "removed": texts(&removed) },
            "locators": locators,
            "map-servers": map_servers,
            "warnings": warnings,
        }))
    }

    /// Speaks to other Map-Servers and Map-Resolvers from now on, under the keys that their files have now: `{"added", "removed"}`.
    fn take_map_systems(&mut self, newer: &Config) -> Value {
        if matches!(newer.mapping, Mapping::Embedded(_)) {
            return json!({ "added": [], "removed": [] });
        }
        let (before, after) = (std::mem::take(&mut self.settings.servers), servers(newer));
        let (servers, resolvers) = map_systems(newer, newer.xtr_id.unwrap_or(self.state.state().xtr_id));
        self.tell(Input::MapSystems { servers, resolvers, subscriptions: newer.subscriptions.clone() });
        self.control.set_unasked(clock::now(), newer.subscribed.clone(), newer.takes_unsubscribed);
        let beyond = |some: &[IpAddr], others: &[IpAddr]| {
            some.iter().filter(|server| !others.contains(server)).copied().collect::<Vec<_>>()
        };
        let (added, removed) = (beyond(&after, &before), beyond(&before, &after));
        self.settings.servers = after;
        json!({ "added": added, "removed": removed })
    }

    async fn lead(&self, tun: &str, prefixes: &[EidPrefix]) -> Result<(), Failure> {
        for prefix in prefixes {
            self.netlink.add_site(tun, prefix.net).await?;
        }
        Ok(())
    }

    async fn lead_no_longer(&self, prefixes: &[EidPrefix]) {
        for prefix in prefixes {
            if let Err(error) = self.netlink.remove_site(prefix.net).await {
                tracing::error!(%prefix, %error, "its packets are led as before");
            }
        }
    }
}

/// Has the node at `path` read its settings again.
///
/// # Errors
/// If no node answers, or it cannot take them over: then it runs on as it did.
pub fn ask_to_reload(path: &Path) -> Result<Value, Failure> {
    ask_for(path, &Ask::Reload)
}

/// What came of it, for people.
pub fn text(answer: &Value) -> String {
    let list = |value: &Value| {
        let items = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        let items = items.collect::<Vec<_>>().join(" ");
        if items.is_empty() { "none".to_owned() } else { items }
    };
    let prefixes = &answer["eid-prefixes"];
    let (added, removed) = (list(&prefixes["added"]), list(&prefixes["removed"]));
    let mut text = format!("EID-prefixes added: {added}; removed: {removed}; locators: {}", list(&answer["locators"]));
    let servers = &answer["map-servers"];
    let (added, removed) = (list(&servers["added"]), list(&servers["removed"]));
    if added != removed {
        // They are equal only if there are none.
        text += &format!("; Map-Servers added: {added}; removed: {removed}");
    }
    let warnings = answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    warnings.for_each(|warning| text += &format!("\nWarning: {warning}"));
    text
}
