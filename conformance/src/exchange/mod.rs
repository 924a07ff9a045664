// SPDX-License-Identifier: GPL-2.0-or-later
//! What a check sends and what comes: recorded while it is judged, so that its verdict can be looked into.
//!
//! [`recorded`] opens a recorder for the thread that judges. The sockets and programs of the suites tell it what passes through
//! them, and nothing else knows of it: where none is open, nothing is kept.

mod message;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Display;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::dissect;
pub use message::{Direction, Message, Sure};

/// Messages that are kept of the beginning of a check: it is there that it asks.
const FIRST: usize = 6;
/// Messages that are kept of the end of a check: it is there that the answer comes. Some checks send thousands between.
const LAST: usize = 6;
/// Octets that are shown of a message. What LISP says lies before; a report holds some ten thousand messages.
const SHOWN: usize = 320;
/// Characters that are shown of what a message says.
const TEXT: usize = 800;

/// What was recorded.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// The messages, in order of time.
    pub exchange: Vec<Message>,
    /// What was said to be expected last.
    pub expected: String,
    /// How long it took.
    pub took: Duration,
    seen: bool,
    absent: bool,
    inside: bool,
}

impl Recording {
    /// On what a verdict of it rests.
    pub fn sure(&self) -> Sure {
        match (self.absent, self.inside, self.seen) {
            (true, ..) => Sure::Absence,
            (false, false, true) => Sure::Seen,
            _ => Sure::Inside,
        }
    }

    /// This one and that of another room, one behind the other.
    #[must_use]
    pub fn and(mut self, room: &str, other: Recording) -> Self {
        let named = other.exchange.into_iter().map(|message| Message { room: room.into(), ..message });
        self.exchange.extend(named);
        if self.expected.is_empty() {
            self.expected = other.expected;
        }
        self.took += other.took;
        self.seen |= other.seen;
        self.absent |= other.absent;
        self.inside |= other.inside;
        self
    }
}

/// A message as it is kept; what it says is read off in the end.
struct Raw {
    direction: Direction,
    at: Duration,
    from: String,
    to: String,
    text: Text,
    bytes: Vec<u8>,
}

/// What a message says.
enum Text {
    Said(String),
    /// A UDP payload between these ports.
    Payload(u16, u16),
    /// A whole IP packet.
    Packet,
    Nothing(Duration),
}

struct Recorder {
    begun: Instant,
    first: Vec<Raw>,
    last: VecDeque<Raw>,
    omitted: usize,
    recording: Recording,
}

thread_local! {
    static OPEN: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// Runs a task; what this thread sends and hears meanwhile.
pub fn recorded<T>(task: impl FnOnce() -> T) -> (T, Recording) {
    let recorder = Recorder {
        begun: Instant::now(),
        first: Vec::new(),
        last: VecDeque::new(),
        omitted: 0,
        recording: Recording::default(),
    };
    let before = OPEN.replace(Some(recorder));
    let came = task();
    let recorder = OPEN.replace(before);
    (came, recorder.map(Recorder::close).unwrap_or_default())
}

/// A datagram that a socket sent.
pub fn sent(socket: &UdpSocket, to: SocketAddr, payload: &[u8]) {
    with(|recorder| {
        let from = socket.local_addr().map_or_else(|_| String::new(), |from| from.to_string());
        let port = socket.local_addr().map_or(0, |from| from.port());
        recorder.put(Direction::Sent, from, to.to_string(), Text::Payload(port, to.port()), payload);
    });
}

/// A datagram that came to a socket.
pub fn came(socket: &UdpSocket, from: SocketAddr, payload: &[u8]) {
    with(|recorder| {
        let (to, port) = socket.local_addr().map_or((String::new(), 0), |to| (to.to_string(), to.port()));
        recorder.put(Direction::Came, from.to_string(), to, Text::Payload(from.port(), port), payload);
    });
}

/// Nothing came to a socket within a time.
pub fn silence(socket: &UdpSocket, time: Duration) {
    with(|recorder| {
        let at = socket.local_addr().map_or_else(|_| String::new(), |at| at.to_string());
        recorder.put(Direction::Silence, String::new(), at, Text::Nothing(time), &[]);
    });
}

/// A whole IP packet that was sent.
pub fn packet_sent(octets: &[u8]) {
    with(|recorder| recorder.put_packet(Direction::Sent, octets));
}

/// A whole IP packet that came.
pub fn packet_came(octets: &[u8]) {
    with(|recorder| recorder.put_packet(Direction::Came, octets));
}

/// No such packet came within a time.
pub fn no_packet(time: Duration) {
    with(|recorder| recorder.put(Direction::Silence, String::new(), String::new(), Text::Nothing(time), &[]));
}

/// Something sent before had no answer when the answer to what was sent behind it came.
pub fn absent() {
    with(|recorder| recorder.recording.absent = true);
}

/// What the implementation says of itself, such as its counters.
pub fn read(what: &str, says: impl Display) {
    with(|recorder| recorder.put(Direction::Read, what.into(), String::new(), Text::Said(says.to_string()), &[]));
}

/// A command that was run, and how it ended.
pub fn ran(command: impl Display, ended: impl Display) {
    with(|recorder| {
        recorder.put(Direction::Ran, command.to_string(), String::new(), Text::Said(ended.to_string()), &[]);
    });
}

/// A program that was run with these arguments, and what it said.
pub fn ran_to(program: &Path, arguments: &[&str], output: &Output) {
    with(|recorder| {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
        let said = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
        let told: Vec<_> =
            [said(&output.stdout), said(&output.stderr)].into_iter().filter(|told| !told.is_empty()).collect();
        let ended = format!("{}\n{}", output.status, told.join("\n"));
        let command = format!("{name} {}", arguments.join(" "));
        recorder.put(Direction::Ran, command, String::new(), Text::Said(ended.trim().into()), &[]);
    });
}

/// Octets given to a codec, a verifier or a program.
pub fn given(what: &str, bytes: &[u8]) {
    with(|recorder| {
        let says = Text::Said(format!("{} octets", bytes.len()));
        recorder.put(Direction::Given, what.into(), String::new(), says, bytes);
    });
}

/// A whole IP packet given to a codec.
pub fn packet_given(what: &str, octets: &[u8]) {
    with(|recorder| recorder.put(Direction::Given, what.into(), String::new(), Text::Packet, octets));
}

/// What must come next.
pub fn expected(what: impl Display) {
    with(|recorder| recorder.recording.expected = what.to_string());
}

fn with(put: impl FnOnce(&mut Recorder)) {
    OPEN.with_borrow_mut(|open| open.as_mut().map(put));
}

impl Recorder {
    fn put_packet(&mut self, direction: Direction, octets: &[u8]) {
        let (from, to) = dissect::ends(octets).unwrap_or_default();
        self.put(direction, from, to, Text::Packet, octets);
    }

    fn put(&mut self, direction: Direction, from: String, to: String, text: Text, bytes: &[u8]) {
        match direction {
            Direction::Came | Direction::Ran => self.recording.seen = true,
            Direction::Silence => self.recording.absent = true,
            Direction::Read => self.recording.inside = true,
            Direction::Sent | Direction::Given | Direction::Omitted => {}
        }
        let raw = Raw { direction, at: self.begun.elapsed(), from, to, text, bytes: bytes.to_vec() };
        let Some(raw) = self.repeated(raw) else { return };
        if self.first.len() < FIRST {
            self.first.push(raw);
            return;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
            self.omitted += 1;
        }
        self.last.push_back(raw);
    }

    /// A loop that asks the same until it is so is one entry: what was said last. Silences add up.
    fn repeated(&mut self, raw: Raw) -> Option<Raw> {
        let Some(last) = self.last.back_mut().or_else(|| self.first.last_mut()) else { return Some(raw) };
        let is_same = last.direction == raw.direction && last.from == raw.from && last.to == raw.to;
        match (&mut last.text, &raw.text) {
            (Text::Nothing(time), Text::Nothing(more)) if is_same => *time += *more,
            (Text::Said(_), Text::Said(_)) if is_same && raw.bytes.is_empty() => *last = raw,
            _ => return Some(raw),
        }
        None
    }

    fn close(self) -> Recording {
        let omitted = (self.omitted > 0).then(|| Message {
            direction: Direction::Omitted,
            at_ms: self.last.front().map_or(0, |next| millis(next.at)),
            from: String::new(),
            to: String::new(),
            decoded: format!("{} messages", self.omitted),
            octets: 0,
            hex: String::new(),
            room: String::new(),
        });
        let exchange = self.first.into_iter().map(Raw::told);
        let exchange = exchange.chain(omitted).chain(self.last.into_iter().map(Raw::told)).collect();
        Recording { exchange, took: self.begun.elapsed(), ..self.recording }
    }
}

impl Raw {
    fn told(self) -> Message {
        let decoded = match self.text {
            Text::Said(said) => said,
            Text::Payload(from, to) => dissect::payload((from, to), &self.bytes),
            Text::Packet => dissect::whole(&self.bytes),
            Text::Nothing(time) => format!("nothing came within {} ms", time.as_millis()),
        };
        let shown = self.bytes.iter().take(SHOWN);
        Message {
            direction: self.direction,
            at_ms: millis(self.at),
            from: bounded(self.from),
            to: self.to,
            decoded: bounded(decoded),
            octets: self.bytes.len(),
            hex: shown.map(|octet| format!("{octet:02x}")).collect(),
            room: String::new(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A text that is too long ends with a mark of that.
fn bounded(text: String) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn of_thousands_the_first_and_the_last_are_kept() {
        let (one, to) = (socket(), "127.0.0.2:4342".parse().unwrap());
        let ((), recording) = recorded(|| {
            for number in 0..5000_u16 {
                sent(&one, to, &number.to_be_bytes());
            }
        });
        let shown: Vec<_> = recording.exchange.iter().map(|message| message.hex.as_str()).collect();
        assert_eq!((shown[0], shown[FIRST], shown[FIRST + LAST]), ("0000", "", "1387"));
        assert_eq!(recording.exchange[FIRST].decoded, "4988 messages");
        assert_eq!(shown.len(), FIRST + 1 + LAST);
    }

    #[test]
    fn a_verdict_is_as_sure_as_the_weakest_observation() {
        let one = socket();
        let from = "127.0.0.2:4342".parse().unwrap();
        let heard = || came(&one, from, b"x");
        assert_eq!(recorded(heard).1.sure(), Sure::Seen);
        assert_eq!(recorded(|| (heard(), read("counters", 1))).1.sure(), Sure::Inside);
        assert_eq!(recorded(|| (heard(), silence(&one, Duration::from_millis(1)))).1.sure(), Sure::Absence);
        assert_eq!(recorded(|| given("octets", b"x")).1.sure(), Sure::Inside);
    }

    #[test]
    fn a_long_message_and_a_long_text_are_cut_and_say_so() {
        let ((), recording) = recorded(|| {
            given("octets", &[7; 100_000]);
            ran("command", "ü".repeat(10_000));
        });
        assert_eq!((recording.exchange[0].octets, recording.exchange[0].hex.len()), (100_000, 2 * SHOWN));
        assert!(recording.exchange[1].decoded.chars().count() == TEXT + 2);
    }

    #[test]
    fn silences_add_up_and_a_command_in_a_loop_is_one_entry() {
        let one = socket();
        let ((), recording) = recorded(|| {
            for count in 0..9 {
                silence(&one, Duration::from_millis(20));
                silence(&one, Duration::from_millis(30));
                read("show counters", count);
                read("show counters", count + 100);
            }
        });
        assert_eq!(recording.exchange[0].decoded, "nothing came within 50 ms");
        assert_eq!(recording.exchange[1].decoded, "100");
    }

    #[test]
    fn recordings_do_not_mix() {
        let ((), outer) = recorded(|| {
            ran("before", "");
            let ((), inner) = recorded(|| ran("inside", ""));
            assert_eq!(inner.exchange.len(), 1);
            ran("after", "");
        });
        assert_eq!(outer.exchange.len(), 2);
        ran("nobody listens", "");
    }
}
