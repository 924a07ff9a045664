// SPDX-License-Identifier: GPL-2.0-or-later
//! A page for people: the checks by document and section, each with the clauses that it proves, a column for each implementation, and the evidence behind each cell.
//!
//! It holds all that it needs, and says the same for the same runs. Without its script nothing is filtered, and everything opens.

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::text::{dump, ends};
use super::{Change, Compared, Row};
use crate::check::{Check, Verdict, cited, place};
use crate::exchange::{Direction, Message};
use crate::ledger;

/// Nothing is loaded from anywhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Rows of one section of a document.
struct Part<'a> {
    section: String,
    rows: Vec<&'a Row<'a>>,
}

/// Rows of one document.
struct Document<'a> {
    name: String,
    parts: Vec<Part<'a>>,
}

impl<'a> Document<'a> {
    fn rows(&self) -> impl Iterator<Item = &'a Row<'a>> {
        self.parts.iter().flat_map(|part| part.rows.iter().copied())
    }

    /// What links call it.
    fn anchor(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        format!("in-{}", self.name.chars().map(plain).collect::<String>())
    }
}

/// The page.
pub(super) fn page(compared: &Compared<'_>) -> String {
    let documents = documents(compared);
    let title = format!("Conformance of {}", compared.names.join(" and "));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body.single[compared.names.len() == 1] style=(format!("--columns: {}", compared.names.len())) {
                header {
                    h1 { "Conformance" }
                    (totals(compared))
                }
                (overview(compared, &documents))
                (filters(compared))
                main {
                    @for document in &documents { (of_document(compared, document)) }
                    p #nothing hidden { "No check is like that." }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string() + "\n"
}

/// Documents in order of their names, sections in order of theirs, checks in the order in which they ran.
fn documents<'a>(compared: &'a Compared<'a>) -> Vec<Document<'a>> {
    let mut documents: Vec<Document<'_>> = Vec::new();
    for row in &compared.rows {
        let (name, section) = place(&row.check.clause);
        let at = documents.iter().position(|document| document.name == name).unwrap_or_else(|| {
            documents.push(Document { name, parts: Vec::new() });
            documents.len() - 1
        });
        let parts = &mut documents[at].parts;
        let at = parts.iter().position(|part| part.section == section).unwrap_or_else(|| {
            parts.push(Part { section, rows: Vec::new() });
            parts.len() - 1
        });
        parts[at].rows.push(row);
    }
    documents.sort_by(|one, other| {
        (!one.name.starts_with("RFC"), &one.name).cmp(&(!other.name.starts_with("RFC"), &other.name))
    });
    for document in &mut documents {
        document.parts.sort_by_key(|part| (numbers(&part.section), part.section.clone()));
    }
    documents
}

/// 5.10 comes behind 5.9.
fn numbers(section: &str) -> Vec<u32> {
    section.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// How many of each verdict, of one column.
fn counts<'a>(rows: impl Iterator<Item = &'a Row<'a>>, column: usize) -> [usize; 3] {
    let mut counts = [0; 3];
    for check in rows.filter_map(|row| row.each[column]) {
        counts[check.result as usize] += 1;
    }
    counts
}

const VERDICTS: [Verdict; 3] = [Verdict::Pass, Verdict::Fail, Verdict::Skip];

/// A bar with a share for each verdict.
fn bar(counts: [usize; 3]) -> Markup {
    html! {
        span.bar aria-hidden="true" {
            @for (verdict, count) in VERDICTS.iter().zip(counts).filter(|(_, count)| *count > 0) {
                span.(verdict.name()) style=(format!("flex-grow: {count}")) {}
            }
        }
    }
}

fn totals(compared: &Compared<'_>) -> Markup {
    html! {
        @for (name, report) in compared.names.iter().zip(&compared.reports) {
            div.total {
                strong { (name) }
                (bar([report.passed, report.failed, report.skipped]))
                span.counts {
                    (report.closing_line())
                    @if report.interrupted { ", interrupted" }
                }
            }
        }
        @if compared.names.len() > 1 { p.changes { "From the first: " (compared.closing_line()) "." } }
    }
}

fn overview(compared: &Compared<'_>, documents: &[Document<'_>]) -> Markup {
    html! {
        nav aria-label="Documents" {
            table {
                thead {
                    tr {
                        th scope="col" { "Document" }
                        @for name in &compared.names { th scope="col" { (name) } }
                    }
                }
                tbody {
                    @for document in documents {
                        tr {
                            th scope="row" { a href=(format!("#{}", document.anchor())) { (document.name) } }
                            @for column in 0..compared.names.len() {
                                @let counts = counts(document.rows(), column);
                                td { (bar(counts)) (share(counts)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn share([passed, failed, skipped]: [usize; 3]) -> Markup {
    html! {
        span.share {
            (passed) "/" (passed + failed + skipped)
            @if failed > 0 { " " b.fail { (failed) " failed" } }
        }
    }
}

/// Hidden until the script is there to do what they say.
fn filters(compared: &Compared<'_>) -> Markup {
    let suites: BTreeSet<_> = compared.rows.iter().map(|row| row.check.suite.as_ref()).collect();
    let levels: BTreeSet<_> = compared.rows.iter().map(|row| row.check.level.as_str()).collect();
    let clauses: BTreeSet<_> = compared.rows.iter().flat_map(|row| clauses(row.check)).collect();
    html! {
        form #filters hidden role="search" {
            input name="text" type="search" placeholder="Search" aria-label="Text";
            @if !clauses.is_empty() {
                input name="clause" list="clauses" placeholder="Clause" aria-label="Clause" autocomplete="off";
                datalist #clauses { @for clause in &clauses { option value=(clause) {} } }
            }
            (choice("suite", "All suites", &suites))
            (choice("level", "All levels", &levels))
            @if compared.names.len() > 1 {
                (choice("change", "All changes", &Change::ALL.iter().map(|change| change.name()).collect()))
            }
            fieldset {
                legend { "Result" }
                @for verdict in VERDICTS {
                    label { input name="result" type="checkbox" value=(verdict.name()); (verdict.name()) }
                }
            }
            button type="reset" { "Show all" }
            button #open type="button" { "Open" }
            output #shown aria-live="polite" {}
        }
    }
}

/// The identifiers of the clauses that a check proves.
fn clauses(check: &Check) -> impl Iterator<Item = &str> {
    check.clauses.iter().map(|clause| clause.id.as_str())
}

fn choice(name: &str, all: &str, values: &BTreeSet<&str>) -> Markup {
    html! {
        select name=(name) aria-label=(name) {
            option value="" { (all) }
            @for value in values { option value=(value) { (value) } }
        }
    }
}

fn of_document(compared: &Compared<'_>, document: &Document<'_>) -> Markup {
    html! {
        section.document #(document.anchor()) {
            h2 { (document.name) }
            @for part in &document.parts {
                section.part {
                    div.head {
                        h3 { (part_name(part)) }
                        @if compared.names.len() > 1 {
                            @for name in &compared.names { span.column title=(name) { (name) } }
                        }
                    }
                    @for row in &part.rows { (of_check(compared, row)) }
                }
            }
        }
    }
}

fn part_name(part: &Part<'_>) -> String {
    let is_section = part.section.starts_with(|c: char| c.is_ascii_digit());
    match part.section.as_str() {
        "" => "As a whole".to_owned(),
        section if is_section => format!("Section {section}"),
        section => section.to_owned(),
    }
}

fn of_check(compared: &Compared<'_>, row: &Row<'_>) -> Markup {
    let check = row.check;
    let results: BTreeSet<_> = row.each.iter().flatten().map(|check| check.result.name()).collect();
    let results = results.into_iter().collect::<Vec<_>>().join(" ");
    let is_several = compared.names.len() > 1;
    let proves = clauses(check).collect::<Vec<_>>().join(" ");
    html! {
        details.check data-suite=(check.suite) data-level=(check.level) data-clauses=(proves) data-result=(results) data-change=(row.change.name()) {
            summary {
                code.id { (check.id) }
                (level(check))
                span.asks {
                    @if check.asks.is_empty() { (check.evidence) } @else { (check.asks) }
                    @if is_several && row.change != Change::Equal { " " span.change.(row.change.name()) { (row.change.name()) } }
                    @for clause in clauses(check) { " " code.clause { (clause) } }
                }
                @for (check, name) in row.each.iter().zip(&compared.names) { (cell(*check, name)) }
            }
            div.evidence #(check.id) {
                p.rests { "Rests on " b { (cited(&check.clause)) } ", suite " b { (check.suite) } " " a href=(format!("#{}", check.id)) { "link" } }
                (proven(check))
                @for (check, name) in row.each.iter().zip(&compared.names) {
                    @if let Some(check) = check {
                        section {
                            @if is_several { h4 { (name) } }
                            (facts(check))
                            (exchange(&check.exchange))
                        }
                    }
                }
            }
        }
    }
}

/// What the check asks for, and whose reading that is.
fn level(check: &Check) -> Markup {
    let is_read = ledger::is_read(&check.level, &check.clauses);
    html! {
        span.level {
            (check.level)
            @if is_read { " " span.reading title="the document has no word of BCP 14 there" { "our reading" } }
        }
    }
}

/// The clauses that a check proves, each with whose word its level is.
fn proven(check: &Check) -> Markup {
    html! {
        @if !check.clauses.is_empty() {
            ul.proves {
                @for clause in &check.clauses {
                    li {
                        a href=(format!("#clause={}", clause.id)) { code { (clause.id) } }
                        " " (clause.text) " " span.reading { (clause.told()) }
                    }
                }
            }
        }
    }
}

fn cell(check: Option<&Check>, name: &str) -> Markup {
    let (class, sign, word) = match check.map(|check| check.result) {
        Some(Verdict::Pass) => ("pass", "✓", "pass"),
        Some(Verdict::Fail) => ("fail", "✗", "fail"),
        Some(Verdict::Skip) => ("skip", "–", "skip"),
        None => ("none", "", "not run"),
    };
    html! { span.cell.(class) title=(name) { span aria-hidden="true" { (sign) } " " (word) } }
}

fn facts(check: &Check) -> Markup {
    let sure = check.sure_told().join("\n");
    let came = if check.came.is_empty() { &check.evidence } else { &check.came };
    let facts =
        [("Given", check.asks.as_str()), ("Expected", &check.expected), ("Came", came), ("How sure", sure.as_str())];
    html! {
        dl {
            @for (name, text) in facts.into_iter().filter(|(_, text)| !text.is_empty()) {
                dt { (name) }
                dd { (shown(text)) }
            }
            dt { "Took" }
            dd { (check.took_ms) " ms" }
        }
    }
}

fn exchange(messages: &[Message]) -> Markup {
    html! {
        @if !messages.is_empty() {
            ol.exchange {
                @for message in messages { (of_message(message)) }
            }
        }
    }
}

fn of_message(message: &Message) -> Markup {
    let sign = match message.direction {
        Direction::Sent => "→",
        Direction::Came => "←",
        Direction::Silence => "∅",
        Direction::Ran => "$",
        Direction::Read => "?",
        Direction::Given => "▸",
        Direction::Omitted => "…",
    };
    html! {
        li.(message.direction.name()) {
            p {
                span.sign aria-hidden="true" { (sign) }
                " " b { (message.direction.name()) }
                " " span.time { (message.at_ms) " ms" }
                @if !message.room.is_empty() { " " span.room { (message.room) } }
                " " code { (shown(&ends(message))) }
            }
            p.decoded { (shown(&message.decoded)) }
            @if !message.hex.is_empty() { pre tabindex="0" aria-label="octets" { (dump(message)) } }
        }
    }
}

/// Text of a peer may hold anything; a browser shows no control character as one.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
