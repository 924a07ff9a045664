// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of probing and of soliciting.

use std::time::Duration;

/// Locators that are probed at once: four thousand sites with packets between us and them are more than a border has.
/// Further ones are used without being probed.
pub const TARGETS: usize = 4096;

/// Probes a second in all, and at once: a megabit a second when a whole uplink has gone and every locator is in doubt.
pub const PROBES_PER_SECOND: u32 = 1000;

/// Suspected locators that are probed before one of the others is, while both wait for [`PROBES_PER_SECOND`]: some hundreds that die together
/// are left within 4 s where we have one uplink left, whatever else is to be looked at; with more, each costs a probe more. Those that packets
/// go to for ever without an answer leave a quarter.
pub const SUSPECTED_IN_A_ROW: u32 = 3;

/// Locators a second, and at once, that the probes of others make us look after sooner: anybody can send those in the name of others, and
/// with four uplinks each costs a dozen probes, so that a fifth of [`PROBES_PER_SECOND`] goes to it at most. What is dead is found out
/// without it too.
pub const DOUBTS_PER_SECOND: u32 = 16;

/// Probes of a site that come within this time from two of its locators are of one burst, whichever way is the faster. Shorter than the
/// packet half takes to become suspicious: what dies is put in doubt by the first probe from elsewhere.
pub const AT_ONCE: Duration = Duration::from_millis(800);

/// Least time between two doubts of a locator that stands: no more probes are sent for them than in its intervals, where both xTRs of a
/// site probe us, or the way from a locator is lost for good.
pub const DOUBT_INTERVAL: Duration = INTERVAL.0;

/// Least and greatest time between probes of a locator that answers: 30 s with a jitter of a tenth (RFC 9301, section 7.1,
/// asks for jitter).
pub const INTERVAL: (Duration, Duration) = (Duration::from_secs(27), Duration::from_secs(33));

/// A locator's first probe is sent within this time after its mapping came: locators that come together are not probed
/// together.
pub const FIRST: Duration = Duration::from_secs(1);

/// Probes of a burst: at 0, 0.7 and 1.4 s. One lost packet, or two, condemn nobody.
pub const BURST: u32 = 3;

/// Between the probes of a burst.
pub const BURST_GAP: Duration = Duration::from_millis(700);

/// Wait for an answer to the last probe of a burst, which ends 2.5 s after it began: with the second that the packet half
/// takes to become suspicious this leaves a locator within 4 s.
pub const LAST_WAIT: Duration = Duration::from_millis(1100);

/// Wait after a burst for suspicion that nobody answered, before suspicion is looked into again.
pub const UNANSWERED_PAUSE: Duration = Duration::from_secs(10);

/// Wait after an answer to suspicion before suspicion is looked into again. Who receives packets and sends none back makes his
/// locator suspicious every second, and answers at most four probes in three. Longer would be too long: a locator that dies when it
/// has just answered is left after this time and a burst, which is within 4 s.
pub const ANSWERED_PAUSE: Duration = Duration::from_millis(1400);

/// Mappings that are named at once because a locator of theirs does not answer: as many as may be asked about at once.
pub const NAMED_AT_ONCE: usize = crate::resolve::limits::UNREACHED_CONVERSATIONS;

/// Mappings a second, and at once, that are named so, whatever number of locators has gone: each is looked up in the map-cache.
pub const NAMED_PER_SECOND: u32 = 1024;

/// Wait before an unusable locator is probed again; doubles up to [`LONGEST_RETRY`].
pub const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Longest wait before an unusable locator is probed again.
pub const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// How long an answer counts: satellite links of several hops are faster.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Probes of one locator that may still be answered, the newest ones.
pub const OUTSTANDING: usize = 4;

/// Least and greatest time from one echo of a locator to the next request (RFC 9300, section 10.1, leaves it open): what probes do
/// not see is found within ten seconds, or sixteen where both ask at once, at two packets
/// a second; slower flows may take longer.
pub const ECHO_INTERVAL: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(5));

/// How long packets ask for an echo that does not come: three of a flow with one a second, and behind the last of them what an echo may
/// take, in which the peer has to send too.
pub const ECHO_WAIT: Duration = Duration::from_secs(5);

/// How long an xTR that is asked itself does not ask (RFC 9300, section 10.1, the Echo-Nonce-request-state timer): the round trip
/// in which the other has its echo.
pub const ECHO_SUSPENSION: Duration = Duration::from_secs(1);

/// Wait after an echo that did not come before the next is asked for: the answer of a probe counts more, and a peer that does not
/// echo after all is not lost every ten seconds.
pub const ECHO_AFTER_VERDICT: Duration = Duration::from_secs(60);

/// How long no locator-status-bits are sent after a locator has come or gone (RFC 9300, section 13.1, recommends this).
pub const USE_STATUS_BITS: Duration = Duration::from_secs(300);

/// Locators of ours, beside the one that packets leave from, that a doubtful locator is probed from too: a site with more than four
/// uplinks of one family is rare, and each costs a probe more.
pub const OTHER_UPLINKS: usize = 3;

/// How long an ITR that has sent us packets, asked or probed hears of our changes: the minute of RFC 9301, section 6.1, and
/// half as much, so that one that probes once a minute is never forgotten.
pub const RECENT: Duration = Duration::from_secs(90);

/// ITRs that are remembered.
pub const ITRS: usize = 4096;

/// Of them, those that were merely named in a request, whatever source that came from: both are easily invented. The one heard
/// longest ago gives way, so that a flood of invented ones takes the place of each other. Who goes on to send packets, or answers a
/// probe of ours, is counted among the others before 1024 more have asked.
pub const UNPROVEN_ITRS: usize = 1024;

/// Least time between two searches of a full table for ITRs to forget.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// EID-prefixes of ours that an ITR is known to have asked for, the newest ones: it is told of them before others.
pub const PREFIXES_PER_ITR: usize = 16;

/// How often an ITR is told of a change: no answer shows that an SMR came, and one in a hundred packets is lost on a poor link.
pub const TIMES_TOLD: usize = 2;

/// Changes that wait to be told, each counted [`TIMES_TOLD`] times: all EID-prefixes of a node, and as many that have left it.
/// The oldest give way.
pub const NEWS: usize = 4 * crate::limits::EID_PREFIXES;

/// Least time between SMRs to one ITR (RFC 9301, section 6.1).
pub const SMR_INTERVAL: Duration = Duration::from_secs(3);

/// SMRs a second in all, and at once: each is answered by a Map-Request that the map system has to serve.
pub const SMRS_PER_SECOND: u32 = 500;

/// Wait for the Map-Servers to confirm a change before the ITRs are made to ask them. Who is told earlier would be given the
/// old mapping, and asks again three seconds later. As long as a Map-Register that is lost, its repetition
/// ([`crate::register::limits::FIRST_RETRY`]) and half a second for the answer to that take; where a Map-Server does not answer at all each change
/// is told so late.
pub const CONFIRMATION: Duration = Duration::from_millis(1500);

/// How long a change that not every Map-Server has confirmed is told once more when they have.
pub const LATE_CONFIRMATION: Duration = Duration::from_secs(60);

/// Least time between an answer and the next long probe of a path whose path MTU is not in doubt: as often as short ones (RFC 8899, section
/// 5.1.1, wants more than 15 s).
pub const LONG_INTERVAL: Duration = Duration::from_secs(26);

/// Probes of one length, [`BURST_GAP`] apart, until it is taken for lost (RFC 8899, section 5.1.2, MAX_PROBES).
pub const LONG_TRIES: u32 = 3;

/// Wait after an answer before a longer one is tried: ETRs do not answer any number of probes a second.
pub const SEARCH_GAP: Duration = Duration::from_millis(1500);

/// Wait before a longer one is tried once more, where nothing was answered while it was tried: what stands still for some seconds, a machine or
/// a way, goes on by then as a rule.
pub const STOOD_STILL: Duration = Duration::from_secs(15);

/// Octets between what gets there and what does not that are not worth a probe.
pub const SEARCH_STEP: u16 = 8;

/// How long a path MTU that was found is kept to before a longer one is tried (RFC 8899, section 5.1.1, PMTU_RAISE_TIMER).
pub const RAISE_AFTER: Duration = Duration::from_secs(600);

/// How long the answer to a long probe casts doubt on a report that packets of its length are too long: two intervals.
pub const PROVEN_LATELY: Duration = Duration::from_secs(60);

/// How often probes show a report to be wrong before it is believed all the same: their flow may go another way than that of packets.
pub const REFUTED: u32 = 3;

/// Least path MTU that probes find, octets: each link of IPv6 has it, and of IPv4 none with less is known that says nothing about it, whereas
/// a peer may take no control messages that are longer than they have to be. Nor is less believed of a router that speaks of a probe.
pub const LEAST_PATH_MTU: u16 = 1280;

/// Octets of long probes a second in all, and at once: packets of 1500 octets to [`TARGETS`] in their intervals, and to as many again that
/// are in doubt; 3.6 megabits. Jumbo frames of 9000 have 50 a second: so many locators are looked at every 82 s, long before what was shown
/// of them is forgotten ([`crate::limits::PATH_MTU_TIME`]).
pub const LONG_PROBE_OCTETS_PER_SECOND: u32 = 300 * 1500;

/// Long probes of one locator that may still be answered, the newest ones.
pub const LONG_OUTSTANDING: usize = 6;
