// SPDX-License-Identifier: GPL-2.0-or-later
//! Tables that may be as long as the map-cache, over the control socket. Their rows come in portions: the control half never stops for
//! long, and nobody but who has asked holds them all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use wire::address::{EidPrefix, InstanceId};

use super::control_socket::{Ask, Question, answer, write};
use super::show;
use crate::config::Table;
use crate::engine::Control;

/// Mappings that the control half looks at for one portion: some milliseconds.
const PORTION: usize = 500;
/// Mappings that it counts at a time: a millisecond, where the memory of each is far away.
pub(super) const COUNTED: usize = 10_000;
/// Rows that are listed, of peers pairs of locator and EID-prefix: 16 MB where they are gathered.
const LISTED: usize = 100_000;

/// The part of a long table that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// The table.
    pub table: Table,
    /// Of mappings round it or inside it alone.
    pub within: Option<IpNet>,
    /// Behind this one.
    pub after: Option<EidPrefix>,
    /// So many mappings are looked at.
    pub size: usize,
}

impl Portion {
    /// The first one.
    pub fn first(table: Table, within: Option<IpNet>) -> Self {
        Self { table, within, after: None, size: PORTION }
    }

    /// `{"rows": [...], "after": [IID, EID-prefix]}`, where `after` is the last mapping looked at, null when there are no more. A row is one
    /// of `show map-cache`, or of peers `{"address", "prefix"}`. `iid` is the instance of [`Self::within`].
    pub fn answer(&self, control: &Control, iid: InstanceId, now: Instant) -> Value {
        let within = self.within.map(|net| EidPrefix { iid, net });
        let (mut rows, mut last) = (Vec::new(), None);
        let mut behind = control.map_cache_behind(within, self.after);
        for (prefix, installed) in behind.by_ref().take(self.size) {
            last = Some((prefix.iid.0, prefix.net));
            if installed.expires <= now {
                continue;
            }
            match self.table {
                Table::Peers => rows.extend(
                    installed
                        .locators
                        .iter()
                        .map(|(address, _)| json!({ "address": address, "prefix": prefix.to_string() })),
                ),
                _ => rows.push(show::mapping(control, now, (prefix, installed))),
            }
        }
        json!({ "rows": rows, "after": last.filter(|_| behind.next().is_some()) })
    }
}

/// Counts `size` mappings behind `after`, or from the first: `{"positive", "negative", "after"}`, the last as of [`Portion::answer`].
pub fn count(control: &Control, (after, size): (Option<EidPrefix>, usize), now: Instant) -> Value {
    let (mut kinds, mut last) = ([0_u64; 2], None);
    let mut behind = control.map_cache_behind(None, after);
    for (prefix, installed) in behind.by_ref().take(size) {
        last = Some((prefix.iid.0, prefix.net));
        kinds[usize::from(installed.locators.is_empty())] += u64::from(installed.expires > now);
    }
    json!({ "positive": kinds[0], "negative": kinds[1], "after": last.filter(|_| behind.next().is_some()) })
}

/// Behind which mapping an answer says that the next portion is.
pub(super) fn after(answer: &mut Value) -> Option<EidPrefix> {
    let after: Option<(u32, IpNet)> = serde_json::from_value(answer["after"].take()).ok().flatten();
    after.map(|(iid, net)| EidPrefix { iid: InstanceId(iid), net })
}

/// Writes a whole table as one line of JSON, portion by portion. Where it ends early, for it is too long or the node goes away, it has the
/// key `error`.
pub(super) async fn list(
    mut portion: Portion,
    questions: &mpsc::Sender<Question>,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut listing = Listing::of(portion.table);
    loop {
        let answer = answer(Ask::Portion(portion.clone()), questions).await;
        let after = listing.take(answer);
        write(writer, &listing.part()).await?;
        match after {
            Some(after) => portion.after = Some(after),
            None => break,
        }
    }
    write(writer, &listing.end()).await
}

/// What is listed so far.
struct Listing {
    table: Table,
    /// To be written.
    text: String,
    listed: usize,
    /// Of the locators, whose EID-prefixes are spread over the portions.
    peers: BTreeMap<IpAddr, BTreeSet<String>>,
    /// What the table has beside its rows.
    beside: serde_json::Map<String, Value>,
}

impl Listing {
    fn of(table: Table) -> Self {
        let text = format!("{{{}:[", json!(table.name()));
        Self { table, text, listed: 0, peers: BTreeMap::new(), beside: serde_json::Map::new() }
    }

    /// Takes a portion, and says behind which mapping the next one is.
    fn take(&mut self, mut portion: Value) -> Option<EidPrefix> {
        let rows = match portion["rows"].take() {
            Value::Array(rows) => rows,
            _ => Vec::new(),
        };
        let after = after(&mut portion);
        let beside = portion.as_object_mut().into_iter().flat_map(std::mem::take);
        self.beside.extend(beside.filter(|(_, value)| !value.is_null()));
        if self.listed + rows.len() > LISTED {
            let error = format!(
                "more than {LISTED} rows: name an EID-prefix (--within 10.0.0.0/8), or ask for one packet (lisp-xtr trace)"
            );
            self.beside.insert("error".into(), error.into());
            return None;
        }
        rows.into_iter().for_each(|row| self.add(&row));
        after
    }

    /// What is to be written now. A blank, which JSON allows there, where that is nothing: who waits for more sees that the node goes on.
    fn part(&mut self) -> String {
        if self.text.is_empty() { " ".into() } else { std::mem::take(&mut self.text) }
    }

    fn add(&mut self, row: &Value) {
        if self.table == Table::Peers {
            let address = row["address"].as_str().and_then(|address| address.parse().ok());
            if let (Some(address), Some(prefix)) = (address, row["prefix"].as_str()) {
                self.listed += usize::from(self.peers.entry(address).or_default().insert(prefix.to_owned()));
            }
        } else {
            let comma = if self.listed == 0 { "" } else { "," };
            // A String takes all that is written.
            let _ = write!(self.text, "{comma}{row}");
            self.listed += 1;
        }
    }

    /// The rest of the line.
    fn end(mut self) -> String {
        let rows = std::mem::take(&mut self.peers).into_iter();
        let rows: Vec<_> =
            rows.map(|(address, prefixes)| json!({ "address": address, "prefixes": prefixes }).to_string()).collect();
        let beside = self.beside.iter().map(|(key, value)| format!(",{}:{value}", json!(key)));
        format!("{}{}]{}}}\n", self.text, rows.join(","), beside.collect::<String>())
    }
}
