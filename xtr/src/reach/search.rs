// SPDX-License-Identifier: GPL-2.0-or-later
//! The longest packet that gets to one locator, found by probes of that length (RFC 8899): where routers are not heard, a packet that is too
//! long for a link is lost without a word, and the connection that it is of hangs.

use std::time::{Duration, Instant};

use super::limits;

/// What the search wants done when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Probes of these lengths are to be sent.
    Probe {
        /// The length in question.
        length: u16,
        /// A shorter one beside it, which shows what a loss of the other means.
        beside: Option<u16>,
    },
    /// Packets of this length are lost on the way, and those of the path MTU that is believed now are not.
    BlackHole {
        /// The length.
        lost: u16,
    },
    /// Nothing shows any more that packets longer than usual get there: they are as long as usual.
    Unproven,
    /// Nothing.
    Rest,
}

/// What came of an answer or a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Another path MTU is believed from now on.
    Changed,
    /// The lower one that is believed has been confirmed.
    Confirmed,
    /// Nothing has changed.
    Nothing,
}

/// A path MTU that is less than packets could be long, and when something has last spoken for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    path_mtu: u16,
    spoken_for: Instant,
}

/// The length that is probed.
#[derive(Debug, Clone, Copy)]
struct Probing {
    length: u16,
    sent: u32,
    /// The longest of those beside it that was answered.
    beside: Option<u16>,
    /// Whether it is tried once more, as nothing at all was answered the first time.
    is_again: bool,
}

/// The search of one path. All lengths are those of whole IP packets, in octets.
#[derive(Debug)]
pub(super) struct Search {
    /// The longest packet that is ever sent.
    top: u16,
    /// Lengths that are tried beside the path MTU when that is in doubt, the longest first.
    shorter: [u16; 3],
    /// The path MTU that packets keep to.
    believed: u16,
    /// When something has last spoken for it.
    spoken_for: Instant,
    /// When a probe of this length was last answered.
    proven: Option<Instant>,
    /// The shortest length that was lost, as far as one is known.
    lost: u16,
    probing: Option<Probing>,
    /// When [`Self::step`] is to be called.
    due: Option<Instant>,
    /// No answer of a short probe is followed by a long one before.
    next_check: Instant,
    /// A longer one is not tried before.
    raise: Instant,
    /// How often in a row no long probe at all was answered.
    unanswered: u32,
    /// Whether probes look into what a router has said against them; when one last has, and how often they have shown it wrong since none has
    /// for long.
    is_doubted: bool,
    reported: Option<Instant>,
    refuted: u32,
    /// Whether no probe has shown yet that the path MTU is that of this way: it is that of another one, or of a narrower interface, or no more
    /// than the usual one where packets could be longer.
    is_assumed: bool,
}

impl Search {
    /// No packet longer than `top` is ever sent; `least` is as long as one must be that carries any packet that IPv6 has to carry. Packets are
    /// as long as usual at first: that links take longer ones probes have to show (RFC 8899, section 5.2).
    pub(super) fn new(now: Instant, top: u16, least: u16) -> Self {
        let usual = top.min(crate::limits::USUAL_MTU);
        Self {
            top,
            shorter: [crate::limits::USUAL_MTU, least, limits::LEAST_PATH_MTU],
            believed: usual,
            spoken_for: now,
            proven: None,
            lost: top.saturating_add(1),
            probing: None,
            due: None,
            next_check: now,
            raise: now,
            unanswered: 0,
            is_doubted: false,
            reported: None,
            refuted: 0,
            is_assumed: usual < top,
        }
    }

    /// That of another way to the same locator, which packets take in the place of the one of `former`; `earlier` is what was known of it when
    /// it was left. With the lower path MTU of the two it begins: a link that both have in common, or a like one, loses nothing, and of a
    /// wider one long probes tell at once.
    pub(super) fn succeeding(now: Instant, former: &Self, earlier: Option<Known>, top: u16) -> Self {
        let holds = |known: &Known| now < known.spoken_for + crate::limits::PATH_MTU_TIME;
        let known = [former.known(), earlier].into_iter().flatten().filter(holds).min_by_key(|known| known.path_mtu);
        Self::new(now, top, former.least()).beginning_with(known)
    }

    /// That of the same way, when no packet longer than `top` is sent any more, or longer ones than before. What its links have not taken is not
    /// forgotten by that, and that they take more probes have to show.
    pub(super) fn resized(&self, now: Instant, top: u16) -> Self {
        let resized = Self::new(now, top, self.least());
        let believed = self.believed.min(top);
        if believed > resized.usual() && !self.is_assumed {
            // That they take less than was proven needs no proof.
            return Self { believed, spoken_for: self.spoken_for, is_assumed: false, ..resized };
        }
        let spoken_for = if self.known().is_some() { self.spoken_for } else { now };
        resized.beginning_with(Some(Known { path_mtu: believed, spoken_for }))
    }

    fn beginning_with(self, known: Option<Known>) -> Self {
        match known.filter(|known| known.path_mtu < self.usual()) {
            Some(Known { path_mtu, spoken_for }) => Self { believed: path_mtu, spoken_for, is_assumed: true, ..self },
            None => self,
        }
    }

    /// What outlives it: that less than usual gets there.
    pub(super) fn known(&self) -> Option<Known> {
        let known = Known { path_mtu: self.believed, spoken_for: self.spoken_for };
        (self.believed < self.usual()).then_some(known)
    }

    /// The path MTU, if it is another one than packets keep to where nothing is known.
    pub(super) fn path_mtu(&self) -> Option<u16> {
        (self.believed != self.usual()).then_some(self.believed)
    }

    /// How long packets could be at all.
    pub(super) fn top(&self) -> u16 {
        self.top
    }

    fn usual(&self) -> u16 {
        self.top.min(crate::limits::USUAL_MTU)
    }

    fn least(&self) -> u16 {
        let [_, least, _] = self.shorter;
        least
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A short probe was answered: a long one follows, if it is time for one.
    pub(super) fn short_answered(&mut self, now: Instant) {
        if self.probing.is_some() || now < self.next_check {
            return;
        }
        self.next_check = now + limits::LONG_INTERVAL;
        if self.path_mtu().is_some() && now >= self.spoken_for + crate::limits::PATH_MTU_TIME {
            // The packet half has forgotten it by now.
            self.forget();
        }
        let is_to_be_shown = self.is_assumed && self.believed >= limits::LEAST_PATH_MTU;
        if self.believed < self.top && now >= self.raise && !is_to_be_shown {
            self.lost = self.top.saturating_add(1);
            self.look_higher(now, now);
        } else if self.believed >= limits::LEAST_PATH_MTU {
            self.probe(now, self.believed);
        }
    }

    /// As if nothing were known.
    fn forget(&mut self) {
        (self.believed, self.lost) = (self.usual(), self.top.saturating_add(1));
        self.is_assumed = self.believed < self.top;
    }

    /// What to do now that the time has come.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        let Some(probing) = &mut self.probing else {
            self.due = None;
            return Step::Rest;
        };
        if probing.sent >= limits::LONG_TRIES {
            let probing = *probing;
            return self.end(now, probing);
        }
        let is_check = probing.length == self.believed;
        let shorter = self.shorter.iter().copied().filter(|shorter| *shorter < probing.length);
        // The first one tells all, as a rule; the last one is where whatever gets anywhere gets.
        let tried = if probing.sent + 1 == limits::LONG_TRIES { usize::MAX } else { probing.sent as usize };
        let beside = if is_check {
            shorter.take(tried).last()
        } else {
            // What gets there shows whether anything does in that time.
            Some(self.believed).filter(|_| tried == usize::MAX)
        };
        probing.sent += 1;
        let wait = if probing.sent < limits::LONG_TRIES { limits::BURST_GAP } else { limits::LAST_WAIT };
        self.due = Some(now + wait);
        Step::Probe { length: probing.length, beside }
    }

    /// The length in question was never answered. It is lost on the way only if a shorter one was: who answers short probes alone may
    /// take no others, and a longer one that is looked for is tried once more, as the way, or the machine, may have stood still. If nothing is
    /// answered then either, it is what is believed that is in doubt, and looked at with the next short answer.
    fn end(&mut self, now: Instant, probing: Probing) -> Step {
        self.stop();
        if probing.length > self.believed {
            if probing.beside.is_none() && probing.is_again {
                (self.raise, self.next_check) = (now + limits::RAISE_AFTER, now);
                return Step::Rest;
            }
            if probing.beside.is_none() {
                self.probe(now + limits::STOOD_STILL, probing.length);
                self.probing.iter_mut().for_each(|probing| probing.is_again = true);
                return Step::Rest;
            }
            self.lost = probing.length;
            self.look_higher(now, now);
            return Step::Rest;
        }
        let Some(shorter) = probing.beside else {
            self.unanswered = self.unanswered.saturating_add(1);
            self.next_check = now + rest_after(self.unanswered);
            if self.believed <= self.usual() {
                return Step::Rest;
            }
            self.forget();
            return Step::Unproven;
        };
        (self.believed, self.spoken_for, self.lost, self.unanswered) = (shorter, now, probing.length, 0);
        self.refuted = 0;
        self.is_assumed = false;
        self.look_higher(now, now);
        Step::BlackHole { lost: probing.length }
    }

    /// A probe of this length was answered.
    pub(super) fn long_answered(&mut self, now: Instant, length: u16) -> Outcome {
        self.unanswered = 0;
        let is_in_question = self.probing.is_some_and(|probing| probing.length == length);
        if let Some(probing) = self.probing.as_mut().filter(|probing| length < probing.length) {
            probing.beside = probing.beside.max(Some(length));
        }
        if length < self.believed {
            return Outcome::Nothing;
        }
        let has_changed = length > self.believed;
        let was_assumed = std::mem::take(&mut self.is_assumed);
        (self.believed, self.spoken_for, self.proven) = (length, now, Some(now));
        self.refuted = self.refuted.saturating_add(u32::from(self.is_doubted && is_in_question));
        self.lost = self.lost.max(length.saturating_add(1));
        if is_in_question {
            self.stop();
        }
        match (has_changed, is_in_question) {
            (true, true) => self.look_higher(now, now + limits::SEARCH_GAP),
            (false, true) if was_assumed => self.look_higher(now, now),
            // An answer that came late; what is shorter need not be looked at.
            (true, false) if self.probing.is_some_and(|probing| probing.length < length) => self.stop(),
            _ => {}
        }
        match self.path_mtu() {
            _ if has_changed => Outcome::Changed,
            Some(_) => Outcome::Confirmed,
            None => Outcome::Nothing,
        }
    }

    /// A router, or our own kernel, says how long packets may be. Anybody can say that who guesses a port: where a probe has shown the
    /// opposite lately the longest is tried again at once, and not in ten minutes.
    pub(super) fn too_big(&mut self, now: Instant, mtu: u16) -> Outcome {
        if mtu >= self.believed {
            if mtu == self.believed {
                self.spoken_for = now;
            }
            return Outcome::Nothing;
        }
        self.stop();
        let is_disproven = self.proven.take().is_some_and(|at| now < at + limits::PROVEN_LATELY);
        (self.believed, self.spoken_for, self.lost) = (mtu, now, mtu.saturating_add(1));
        self.raise = if is_disproven { self.next_check } else { now + limits::RAISE_AFTER };
        Outcome::Changed
    }

    /// A router says how long packets may be, and nobody believes it yet, as a probe has lately shown that they may be longer. Probes of that
    /// length decide: a router that tells the truth drops them, and says so of them ([`Self::refused`]). Not at once after an answer, so that
    /// who goes on saying so brings no more of them about than a search does. What is said again and again for all that may be true of flows
    /// that go another way than probes: then it is believed, as far as it leaves room for any packet that IPv6 has to carry.
    pub(super) fn reported(&mut self, now: Instant, mtu: u16) -> Outcome {
        if self.reported.is_none_or(|at| now >= at + limits::RAISE_AFTER) {
            self.refuted = 0;
        }
        self.reported = Some(now);
        let proven = self.proven.filter(|at| now < *at + limits::PROVEN_LATELY);
        let least = self.least();
        match proven {
            Some(proven) if mtu < self.believed && self.refuted < limits::REFUTED => {
                if !self.is_doubted {
                    self.is_doubted = true;
                    self.probe(now.max(proven + limits::SEARCH_GAP), self.believed);
                }
                Outcome::Nothing
            }
            None if self.refuted == 0 => self.too_big(now, mtu),
            _ => self.too_big(now, mtu.max(least)),
        }
    }

    /// When a probe as long as the path MTU was last answered, unless that has been refuted since.
    pub(super) fn proven(&self) -> Option<Instant> {
        self.proven
    }

    /// A router has dropped a probe of this length, or our own kernel has not sent it, and says how long packets may be: less than that (RFC
    /// 8899, section 4.6.2). Whether it is true the next probe shows, which is as long; then there is nothing left to look for.
    pub(super) fn refused(&mut self, now: Instant, length: u16, mtu: u16) -> Outcome {
        if mtu < self.believed {
            (self.believed, self.spoken_for, self.proven) = (mtu, now, None);
            (self.is_doubted, self.refuted) = (false, 0);
            (self.lost, self.raise) = (mtu.saturating_add(1), now + limits::RAISE_AFTER);
            self.probe(now, mtu);
            return Outcome::Changed;
        }
        if self.probing.is_some_and(|probing| probing.length == length) {
            self.stop();
            self.lost = self.lost.min(mtu.saturating_add(1));
            if mtu > self.believed {
                self.probe(now, mtu);
            } else {
                self.raise = now + limits::RAISE_AFTER;
            }
        }
        Outcome::Nothing
    }

    /// Nobody answers there: what is under way says nothing any more, and the way is looked at when somebody does.
    pub(super) fn interrupt(&mut self, now: Instant) {
        self.stop();
        self.next_check = now;
    }

    fn stop(&mut self) {
        (self.probing, self.due, self.is_doubted) = (None, None, false);
    }

    /// Looks for a longer one at `at`, if it is worth it: the longest first, then halfway.
    fn look_higher(&mut self, now: Instant, at: Instant) {
        let between = self.lost - self.believed;
        if self.believed < self.top && self.lost > self.top {
            self.probe(at, self.top);
        } else if between > limits::SEARCH_STEP {
            self.probe(at, self.believed + between / 2);
        } else {
            self.raise = now + limits::RAISE_AFTER;
        }
    }

    fn probe(&mut self, at: Instant, length: u16) {
        self.probing = Some(Probing { length, sent: 0, beside: None, is_again: false });
        self.due = Some(at);
    }
}

/// 30 s, one minute, two ... ten minutes.
fn rest_after(unanswered: u32) -> Duration {
    limits::LONG_INTERVAL.saturating_mul(1 << unanswered.saturating_sub(1).min(8)).min(limits::RAISE_AFTER)
}
