// SPDX-License-Identifier: GPL-2.0-or-later
//! What outlives the process. Big-endian, fixed length an entry:
//!
//! ```text
//! magic 4 | version 1 | network 4 | boot 16 | uptime ms 8 | utc? 1 | utc ms 8 | entries 1
//! entry: role 1 | secret 32 | chance 4 | made? 1 | made day 8 | known 1
//!        | day? 1 | day 8 | since 8 | started 8 | switch 8         (zero in one that is prepared)
//! ```

use zeroize::Zeroizing;

use super::clock::{Clock, Moment, Now};
use super::engine::Schedule;
use super::key::TemporaryKey;
use super::slot::{Held, Publication, Usage};
use crate::cn::Network;
use crate::limits::MAX_TEMPORARY_KEYS;

const MAGIC: [u8; 4] = *b"CGTS";
const VERSION: u8 = 1;
const HEADER: usize = 43;
const ENTRY: usize = 80;

/// Longest state, in octets.
pub const MAX_STATE: usize = HEADER + MAX_TEMPORARY_KEYS * ENTRY;

/// Furthest moment in a state, in milliseconds from its own start: no clock shows such a time, and sums of some of them
/// still fit.
const FURTHEST: i64 = 1 << 50;

const PREPARED: u8 = 0;
const BEGINNING: u8 = 1;
const CURRENT: u8 = 2;
const PREVIOUS: u8 = 3;

/// A state that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Longer than [`MAX_STATE`], or not as long as its entries are.
    #[error("a state of temporary CGEIDs of {found} octets is cut off or damaged")]
    Length {
        /// Octets given.
        found: usize,
    },
    /// Another file, or one of a later program.
    #[error("not the state of temporary CGEIDs that this version writes")]
    Magic,
    /// Of another network.
    #[error("the state of temporary CGEIDs belongs to network {found}")]
    Network {
        /// Whose it is.
        found: Network,
    },
    /// A field has a value that is never written.
    #[error("the state of temporary CGEIDs is damaged at octet {offset}")]
    Damaged {
        /// Where the field begins.
        offset: usize,
    },
}

impl Schedule {
    /// What [`Schedule::restore`] needs. It holds private keys: keep it where only the owner can read it.
    pub fn state(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(MAX_STATE));
        out.extend(MAGIC);
        out.push(VERSION);
        out.extend(self.network.0);
        out.extend(self.now.boot);
        put(&mut out, self.now.at.0);
        put_optional(&mut out, self.now.utc);
        let next = self.next.as_ref().map(|held| (if held.usage.is_some() { BEGINNING } else { PREPARED }, held));
        let entries =
            [next, self.current.as_ref().map(|h| (CURRENT, h)), self.previous.as_ref().map(|h| (PREVIOUS, h))];
        let count = u8::try_from(entries.iter().flatten().count()).expect("three entries at most");
        out.push(count);
        for (role, held) in entries.into_iter().flatten() {
            out.push(role);
            out.extend(held.key.secret());
            out.extend(held.chance.to_be_bytes());
            put_optional(&mut out, held.key.made());
            out.push(u8::from(held.publication.known));
            let usage = held.usage.as_ref();
            put_optional(&mut out, usage.and_then(|usage| usage.day));
            let moment = |of: fn(&Usage) -> Moment| usage.map_or(0, |usage| of(usage).0);
            put(&mut out, moment(|usage| usage.since));
            put(&mut out, moment(|usage| usage.started));
            put(&mut out, moment(|usage| usage.switch));
        }
        out
    }

    /// Whether the octets begin as a state does, whatever follows.
    pub fn is_state(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// A state as it was when it was written, for one who only looks at it: no clock makes a difference.
    ///
    /// # Errors
    /// As for [`Schedule::restore`].
    pub fn look(bytes: &[u8], network: Network) -> Result<Schedule, StateError> {
        let then = header(&mut Reader { bytes, offset: 0 }, network)?;
        Schedule::restore(bytes, network, Clock { boot: then.boot, uptime: then.at.uptime(), utc: None })
    }

    /// Goes on where a process ended. Lives go on too: what passed meanwhile is uptime, or UTC after a restart of the
    /// machine. If neither tells how much that was, all begins anew: an address of unknown age could be used for weeks.
    ///
    /// # Errors
    /// [`StateError`] if the octets are not such a state.
    pub fn restore(bytes: &[u8], network: Network, clock: Clock) -> Result<Schedule, StateError> {
        let mut reader = Reader { bytes, offset: 0 };
        let then = header(&mut reader, network)?;
        let mut schedule = Schedule::new(network, clock);
        let shift = shift(&then, &schedule.now);
        while reader.offset < bytes.len() {
            let offset = reader.offset;
            let (role, held) = reader.entry(network, then.at, schedule.now.at, shift.unwrap_or(0))?;
            if schedule.held().any(|other| other.key.cn() == held.key.cn()) {
                return Err(StateError::Damaged { offset });
            }
            let slot = match role {
                PREPARED | BEGINNING => &mut schedule.next,
                CURRENT => &mut schedule.current,
                _ => &mut schedule.previous,
            };
            if slot.replace(held).is_some() {
                return Err(StateError::Damaged { offset });
            }
        }
        // Written again soon, for what the clocks say now may be all that another restart has to go by.
        schedule.changed = true;
        Ok(if shift.is_some() { schedule } else { Schedule::new(network, clock) })
    }
}

/// What stands before the entries, and whether there are as many as it says.
fn header(reader: &mut Reader<'_>, network: Network) -> Result<Now, StateError> {
    let octets = reader.bytes.len();
    let length = StateError::Length { found: octets };
    if !(HEADER..=MAX_STATE).contains(&octets) || !(octets - HEADER).is_multiple_of(ENTRY) {
        return Err(length);
    }
    if reader.take::<4>()? != MAGIC || reader.take::<1>()? != [VERSION] {
        return Err(StateError::Magic);
    }
    let found = Network(reader.take()?);
    if found != network {
        return Err(StateError::Network { found });
    }
    let then = Now { boot: reader.take()?, at: reader.moment()?, utc: reader.optional()? };
    let [entries] = reader.take()?;
    (usize::from(entries) == (octets - HEADER) / ENTRY).then_some(then).ok_or(length)
}

/// By how much moments of the state lie off the uptime of now.
fn shift(then: &Now, now: &Now) -> Option<i64> {
    if then.boot == now.boot {
        return (now.at >= then.at).then_some(0);
    }
    let passed = now.utc?.checked_sub(then.utc?).filter(|passed| *passed >= 0)?;
    Some(now.at.0.saturating_sub(passed).saturating_sub(then.at.0))
}

fn put(out: &mut Vec<u8>, number: i64) {
    out.extend(number.clamp(-FURTHEST, FURTHEST).to_be_bytes());
}

fn put_optional(out: &mut Vec<u8>, number: Option<i64>) {
    out.push(u8::from(number.is_some()));
    put(out, number.unwrap_or(0));
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let taken = rest.first_chunk::<N>().ok_or(StateError::Length { found: self.bytes.len() })?;
        self.offset += N;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<i64, StateError> {
        let offset = self.offset;
        let number = i64::from_be_bytes(self.take()?);
        (-FURTHEST..=FURTHEST).contains(&number).then_some(number).ok_or(StateError::Damaged { offset })
    }

    fn moment(&mut self) -> Result<Moment, StateError> {
        self.number().map(Moment)
    }

    fn flag(&mut self) -> Result<bool, StateError> {
        let offset = self.offset;
        match self.take::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(StateError::Damaged { offset }),
        }
    }

    fn optional(&mut self) -> Result<Option<i64>, StateError> {
        let (is_there, offset) = (self.flag()?, self.offset);
        match (is_there, self.number()?) {
            (true, number) if number >= 0 => Ok(Some(number)),
            (false, 0) => Ok(None),
            _ => Err(StateError::Damaged { offset }),
        }
    }

    fn entry(&mut self, network: Network, then: Moment, now: Moment, shift: i64) -> Result<(u8, Held), StateError> {
        let damaged = StateError::Damaged { offset: self.offset };
        let [role] = self.take()?;
        if role > PREVIOUS {
            return Err(damaged);
        }
        let secret = Zeroizing::new(self.take()?);
        let chance = u32::from_be_bytes(self.take()?);
        let key = TemporaryKey::new(secret, network, self.optional()?).ok_or(damaged.clone())?;
        let known = self.flag()?;
        let day = self.optional()?;
        let [since, started, switch] = [self.moment()?, self.moment()?, self.moment()?];
        let publication = Publication { known, due: Some(now), ..Publication::default() };
        let usage = if role == PREPARED {
            if day.is_some() || [since, started, switch] != [Moment(0); 3] {
                return Err(damaged);
            }
            None
        } else {
            // A clock that was set forward may have put the change before anything else.
            // What began after it was written would never end.
            if since > started || started > then {
                return Err(damaged);
            }
            let [since, started, switch] = [since, started, switch].map(|moment| moment.shifted(shift));
            Some(Usage { day, since, started, switch, assign: Some(now), told: switch })
        };
        Ok((role, Held { key, chance, publication, usage }))
    }
}
