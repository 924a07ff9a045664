// SPDX-License-Identifier: GPL-2.0-or-later
//! A line a check, then the count; and what a check exchanged, in some lines.

use std::fmt::Write as _;

use super::Report;
use crate::check::{Check, Verdict, cited};
use crate::exchange::{Direction, Message};

/// Octets of a line of a hex dump.
const ROW: usize = 16;

/// What a line begins with.
pub(super) fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "ok  ",
        Verdict::Fail => "FAIL",
        Verdict::Skip => "skip",
    }
}

pub(super) fn report(report: &Report) -> String {
    let mut out = String::new();
    let widest = |length: fn(&Check) -> usize| report.checks.iter().map(length).max().unwrap_or(0);
    let (width, wide) = (widest(|check| check.id.len()), widest(|check| check.level_told().len()));
    for check in &report.checks {
        let (mark, clause, level) = (mark(check.result), cited(&check.clause), shown(&check.level_told()));
        let (id, evidence) = (shown(&check.id), shown(&check.evidence));
        let _ = writeln!(out, "{mark} {id:<width$} {clause:<26} {level:<wide$} {evidence}");
    }
    let interrupted = if report.interrupted { ", interrupted" } else { "" };
    let _ = writeln!(out, "{}{interrupted}", report.closing_line());
    out
}

/// A text of others in a line of ours: a terminal obeys control characters, so they are written as escapes.
pub(crate) fn shown(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, each| {
        if each.is_control() {
            out.extend(each.escape_default());
        } else {
            out.push(each);
        }
        out
    })
}

/// The same of a text in several lines, which stay such.
fn shown_lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

/// The clause and all that is known of how the verdict came about.
pub(super) fn evidence(check: &Check) -> String {
    let mut out = format!("clause: {} ({})\n", cited(&check.clause), check.level_told());
    let told = [("given", &check.asks), ("expected", &check.expected), ("came", &check.came)];
    for (name, text) in told.into_iter().filter(|(_, text)| !text.is_empty()) {
        let _ = writeln!(out, "{name}: {}", shown_lines(text));
    }
    for line in check.sure_told() {
        let _ = writeln!(out, "{}", shown(&line));
    }
    for message in &check.exchange {
        let _ = writeln!(out, "{}", line(message));
        if !message.hex.is_empty() {
            out += &dump(message);
        }
    }
    out
}

/// A message without its octets.
fn line(message: &Message) -> String {
    let room = if message.room.is_empty() { String::new() } else { format!("[{}] ", message.room) };
    format!(
        "{room}{} ms {} {}: {}",
        message.at_ms,
        message.direction.name(),
        shown(&ends(message)),
        shown_lines(&message.decoded)
    )
}

/// From where to where.
pub(super) fn ends(message: &Message) -> String {
    match (message.from.as_str(), message.to.as_str()) {
        ("", "") => String::new(),
        (from, "") => from.to_owned(),
        ("", to) if message.direction == Direction::Silence => format!("at {to}"),
        (from, to) => format!("{from} to {to}"),
    }
}

/// A hex dump: offset, octets, and those of them that are letters. Says how much of the message is left out.
pub(super) fn dump(message: &Message) -> String {
    let octets = crate::vectors::from_hex(&message.hex).unwrap_or_default();
    let mut out = String::new();
    for (at, row) in (0..).step_by(ROW).zip(octets.chunks(ROW)) {
        let hex: Vec<_> = row.iter().map(|octet| format!("{octet:02x}")).collect();
        let letter = |octet: &u8| if octet.is_ascii_graphic() { char::from(*octet) } else { '.' };
        let letters: String = row.iter().map(letter).collect();
        let _ = writeln!(out, "{at:04x}  {:<47}  {letters}", hex.join(" "));
    }
    if message.octets > octets.len() {
        let _ = writeln!(out, "… {} octets more", message.octets - octets.len());
    }
    out
}
