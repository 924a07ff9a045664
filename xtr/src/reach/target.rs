// SPDX-License-Identifier: GPL-2.0-or-later
//! One locator that is probed: how it stands, and when it is probed next.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::address::EidPrefix;
use wire::control::Nonce;

use super::limits;

/// How a locator stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not answered a probe yet. Packets go there: nothing speaks against it.
    Unproven,
    /// It has answered, and since then never been silent.
    Up,
    /// It is silent: as if its priority were 255 (RFC 9301, section 7).
    Down,
}

/// What a target wants done when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A probe is to be sent; [`Target::sent`] then.
    Probe,
    /// Nobody answered: packets must not go there.
    GoneDown,
    /// Only probes from another locator of ours were answered, the first one about this EID-prefix: packets must leave from there.
    Moved(EidPrefix),
    /// Nothing: nobody answered, and that proves nothing.
    Rest,
}

/// A probe that may still be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outstanding {
    pub(super) nonce: Nonce,
    pub(super) sent: Instant,
    /// What it asked about.
    pub(super) prefix: EidPrefix,
    /// From which locator of ours.
    pub(super) local: IpAddr,
}

/// What came of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    /// The locator was out of use, and is in use again.
    pub(super) is_back: bool,
    /// Packets leave from another locator of ours from now on.
    pub(super) has_moved: bool,
}

/// A burst of probes in progress. A routine probe is the first of a burst that as a rule ends with its answer.
#[derive(Debug, Clone, Copy, Default)]
struct Burst {
    sent: u32,
    /// The packet half is suspicious.
    suspected: bool,
}

/// One locator.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) standing: Standing,
    /// Since when it stands so.
    pub(super) since: Instant,
    /// When [`Self::step`] is to be called.
    pub(super) due: Instant,
    pub(super) rtt: Option<Duration>,
    pub(super) probed: Option<Instant>,
    pub(super) answered: Option<Instant>,
    /// The EID-prefix of the last probe.
    pub(super) asked: Option<EidPrefix>,
    /// The EID-prefix of the last mapping that was named because this one does not answer.
    pub(super) named: Option<EidPrefix>,
    burst: Option<Burst>,
    /// Whether it is down although packets come from it, for no echo does.
    is_mute: bool,
    /// Until when suspicion has to wait.
    paused: Option<Instant>,
    /// When it last probed us.
    probed_us: Option<Instant>,
    /// When a probe from another locator of its site last put it in doubt, if it has stood since.
    doubted: Option<Instant>,
    /// Probes since it went down.
    retries: u32,
    outstanding: VecDeque<Outstanding>,
    /// Probes from locators of ours beside the one that packets leave from.
    beside: VecDeque<Outstanding>,
    /// From which locator of ours packets go there, if that was found not to be the preferred one.
    pub(super) from: Option<IpAddr>,
    /// One from which it was reached in the burst that goes on, when it was not from the one that packets leave from, and about what.
    reached_from: Option<(IpAddr, EidPrefix)>,
}

impl Target {
    pub(super) fn new(now: Instant, due: Instant) -> Self {
        Self {
            standing: Standing::Unproven,
            since: now,
            due,
            rtt: None,
            probed: None,
            answered: None,
            asked: None,
            named: None,
            burst: None,
            is_mute: false,
            paused: None,
            probed_us: None,
            doubted: None,
            retries: 0,
            outstanding: VecDeque::new(),
            beside: VecDeque::new(),
            from: None,
            reached_from: None,
        }
    }

    /// Whether a suspicion is being looked into, or waits for that.
    pub(super) fn is_suspected(&self) -> bool {
        self.burst.is_some_and(|burst| burst.suspected)
    }

    /// Whether it is to be probed from other locators of ours too: it is doubtful, or packets leave from one that is not preferred.
    pub(super) fn wants_others(&self) -> bool {
        self.standing == Standing::Down || self.from.is_some() || self.is_suspected()
    }

    /// A probe was sent from another locator of ours. The one that can no longer be answered because of it, if there is one.
    pub(super) fn sent_beside(&mut self, probe: Outstanding) -> Option<Outstanding> {
        self.beside.push_back(probe);
        let most = limits::OUTSTANDING * limits::OTHER_UPLINKS;
        if self.beside.len() > most { self.beside.pop_front() } else { None }
    }

    /// Packets go there, and nothing comes back: a probe is due now, if that is not known and not being looked into. Suspicion in
    /// a pause is not forgotten: it is looked into at the end of the pause.
    pub(super) fn suspect(&mut self, now: Instant) {
        match &mut self.burst {
            _ if self.standing == Standing::Down => {}
            Some(burst) => burst.suspected = true,
            None => {
                self.burst = Some(Burst { sent: 0, suspected: true });
                self.due = self.due.min(self.paused.map_or(now, |until| until.max(now)));
            }
        }
    }

    /// Our locators are others: what is out of use is probed at once. A burst for suspicion goes on as it would have, if there was no locator
    /// of ours to probe from.
    pub(super) fn resume(&mut self, now: Instant) {
        let due = match self.burst {
            _ if self.standing == Standing::Down => now,
            Some(Burst { sent, suspected: true }) if sent > 0 => self.probed.map_or(now, |at| at + wait_after(sent)),
            Some(Burst { suspected: true, .. }) => self.paused.unwrap_or(now),
            _ => return,
        };
        self.due = self.due.min(due.max(now));
    }

    /// Another locator of its site probes us. Whether that speaks against this one: it has probed us too, and does not now. Who is in doubt
    /// about us probes from all his locators at once, and is in no doubt about himself; from one that he never probes from nothing is missed.
    /// Two sites that went by less would doubt each other for ever, each for the probe that the doubt of the other is.
    pub(super) fn is_doubtful(&self, now: Instant) -> bool {
        let has_ceased = self.probed_us.is_some_and(|at| now >= at + limits::AT_ONCE);
        let is_again = self.doubted.is_some_and(|at| now < at + limits::DOUBT_INTERVAL);
        self.standing == Standing::Up && has_ceased && !is_again
    }

    /// As suspicion.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.doubted = Some(now);
        self.suspect(now);
    }

    /// A probe came from there.
    pub(super) fn heard_probe(&mut self, now: Instant) {
        self.probed_us = Some(now);
    }

    /// A probe, or packets, came from there: if it is unusable the next probe is due, but no more than one in
    /// [`limits::FIRST_RETRY`].
    pub(super) fn heard(&mut self, now: Instant) {
        if self.standing == Standing::Down {
            let earliest = self.probed.map_or(now, |at| now.max(at + limits::FIRST_RETRY));
            self.due = self.due.min(earliest);
        }
    }

    /// Something is to be found out there: a probe is due by then, unless one is under way.
    pub(super) fn hasten(&mut self, due: Instant) {
        if self.burst.is_none() {
            self.due = self.due.min(due);
        }
    }

    /// Packets came from there, last at `at`. Whether that brings the locator back: who has never answered a probe can show in no other
    /// way that he lives. What came before it was left shows nothing.
    pub(super) fn heard_data(&mut self, now: Instant, at: Instant) -> bool {
        if at <= self.since {
            return false;
        }
        self.heard(now);
        let is_back = self.standing == Standing::Down && self.answered.is_none() && !self.is_mute;
        if is_back {
            self.stand(now, Standing::Unproven);
        }
        is_back
    }

    /// No echo comes from there, though packets do. Whether that takes it out of use; it is probed at once then.
    pub(super) fn condemn(&mut self, now: Instant) -> bool {
        if self.standing == Standing::Down {
            return false;
        }
        (self.burst, self.is_mute, self.retries) = (None, true, 0);
        self.stand(now, Standing::Down);
        self.due = now;
        true
    }

    /// An echo came after all. Whether that brings it back.
    pub(super) fn acquit(&mut self, now: Instant, interval: Duration) -> bool {
        let is_back = std::mem::take(&mut self.is_mute) && self.standing == Standing::Down;
        if is_back {
            self.stand(now, if self.answered.is_some() { Standing::Up } else { Standing::Unproven });
            self.due = now + interval;
        }
        is_back
    }

    /// What to do now that the time has come. `interval` is the time to the next routine probe; one that `is_spared` stays in use
    /// whoever suspects it.
    pub(super) fn step(&mut self, now: Instant, interval: Duration, is_spared: bool) -> Step {
        match self.burst {
            Some(burst) if burst.sent >= limits::BURST => self.end_burst(now, burst, interval, is_spared),
            _ => Step::Probe,
        }
    }

    /// A burst went unanswered. Who has never answered may simply not do probes, and answers of who has may be lost, or held
    /// back: only if no packets come from there either is a locator taken for dead.
    fn end_burst(&mut self, now: Instant, burst: Burst, interval: Duration, is_spared: bool) -> Step {
        self.burst = None;
        let reached_from = self.reached_from.take();
        if !burst.suspected {
            self.due = now + interval;
            return Step::Rest;
        }
        if let Some((local, prefix)) = reached_from {
            self.from = Some(local);
            self.paused = Some(now + limits::ANSWERED_PAUSE);
            self.due = now + interval;
            return Step::Moved(prefix);
        }
        self.paused = Some(now + limits::UNANSWERED_PAUSE);
        if is_spared {
            self.due = now + interval;
            return Step::Rest;
        }
        self.stand(now, Standing::Down);
        self.retries = 0;
        self.due = now + limits::FIRST_RETRY;
        Step::GoneDown
    }

    /// A probe was sent. The one that can no longer be answered because of it, if there is one.
    pub(super) fn sent(&mut self, probe: Outstanding) -> Option<Outstanding> {
        let now = probe.sent;
        self.probed = Some(now);
        self.asked = Some(probe.prefix);
        if self.standing == Standing::Down {
            self.retries = self.retries.saturating_add(1);
            self.due = now + retry_after(self.retries);
        } else {
            let burst = self.burst.get_or_insert_default();
            burst.sent += 1;
            self.due = now + wait_after(burst.sent);
        }
        self.outstanding.push_back(probe);
        if self.outstanding.len() > limits::OUTSTANDING { self.outstanding.pop_front() } else { None }
    }

    /// The probe of this nonce, if it may still be answered; it is answered once. Those that are too old have to be taken out
    /// by [`Self::take_lost`] before.
    pub(super) fn take(&mut self, nonce: Nonce) -> Option<Outstanding> {
        let take = |probes: &mut VecDeque<Outstanding>| {
            let index = probes.iter().position(|probe| probe.nonce == nonce)?;
            probes.remove(index)
        };
        take(&mut self.outstanding).or_else(|| take(&mut self.beside))
    }

    /// What the probe of this nonce asked about, if it may still be answered.
    pub(super) fn asked_with(&self, nonce: Nonce) -> Option<EidPrefix> {
        let mut probes = self.outstanding.iter().chain(&self.beside);
        probes.find(|probe| probe.nonce == nonce).map(|probe| probe.prefix)
    }

    /// The oldest probe, if it is too old to be answered, or if `all` are to go.
    pub(super) fn take_lost(&mut self, now: Instant, all: bool) -> Option<Outstanding> {
        let is_old = |probe: &Outstanding| now.saturating_duration_since(probe.sent) >= limits::ANSWER_TIME;
        let take = |probes: &mut VecDeque<Outstanding>| {
            probes.front().filter(|probe| all || is_old(probe))?;
            probes.pop_front()
        };
        take(&mut self.outstanding).or_else(|| take(&mut self.beside))
    }

    /// A probe was answered; packets leave from `current`, and should from `preferred`. The way of another locator of ours counts when
    /// it is the preferred one, or when the locator is out of use; in a burst it waits until that has ended in vain.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        probe: &Outstanding,
        (current, preferred): (Option<IpAddr>, Option<IpAddr>),
        interval: Duration,
    ) -> Answered {
        let is_beside = current.is_some_and(|current| current != probe.local);
        if is_beside && Some(probe.local) != preferred && self.standing != Standing::Down {
            if self.burst.is_some() {
                self.reached_from.get_or_insert((probe.local, probe.prefix));
            }
            return Answered { is_back: false, has_moved: false };
        }
        if is_beside {
            self.from = (Some(probe.local) != preferred).then_some(probe.local);
        }
        Answered { is_back: self.answer_here(now, probe, interval), has_moved: is_beside }
    }

    /// Whether that brings the locator back.
    fn answer_here(&mut self, now: Instant, probe: &Outstanding, interval: Duration) -> bool {
        self.reached_from = None;
        let sample = now.saturating_duration_since(probe.sent);
        // As TCP smooths it (RFC 6298, section 2); each probe has its own nonce, so that no sample is in doubt.
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        self.answered = Some(now);
        let is_back = self.standing == Standing::Down;
        if is_back || self.is_suspected() {
            self.paused = Some(now + limits::ANSWERED_PAUSE);
        }
        (self.burst, self.is_mute) = (None, false);
        self.due = now + interval;
        if self.standing != Standing::Up {
            self.stand(now, Standing::Up);
        }
        is_back
    }

    fn stand(&mut self, now: Instant, standing: Standing) {
        (self.standing, self.since) = (standing, now);
        if standing == Standing::Down {
            self.doubted = None;
        }
    }
}

/// From a probe of a burst, of which so many were sent, to what comes next.
fn wait_after(sent: u32) -> Duration {
    if sent < limits::BURST { limits::BURST_GAP } else { limits::LAST_WAIT }
}

/// 2, 4, 8, 16, 30, 30 ... seconds after the first one.
fn retry_after(retries: u32) -> Duration {
    limits::FIRST_RETRY.saturating_mul(1 << retries.min(5)).min(limits::LONGEST_RETRY)
}
