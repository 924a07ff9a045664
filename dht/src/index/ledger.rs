// SPDX-License-Identifier: GPL-2.0-or-later
//! What an authority has published: what must outlive its process, so that only what changed is put again.
//!
//! As text, one page a line: prefix, digest of what it says, the sequence of its last change and that of its last signature,
//! epoch of the key that signed it, and for a page that is not needed any more the time since when, in ms since 1970.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::Cn;
use sha2::{Digest as _, Sha256};
use wire::address::EidPrefix;

use crate::limits;
use crate::record::{Index, Version};
use crate::resolve::parse_prefix;

/// First line of the text, before the authority's CN.
const MAGIC: &str = "index-pages 1";
/// Last line: what ends before it has lost something.
const END: &str = "end";

/// SHA-256 of a page's body.
pub(super) type Digest = [u8; 32];

/// The digest of nothing: of a page of which it is not known what others have.
const UNKNOWN: Digest = [0; 32];

/// One page that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    digest: Digest,
    /// The sequence since which it says what it says: the lowest that its parent accepts.
    pub changed: u64,
    /// Its last version.
    pub version: Version,
    /// Since when it is not needed any more.
    pub retired: Option<SystemTime>,
}

/// A text that is no ledger of this authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// It begins or ends with something else.
    #[error("no list of published pages, or not all of it")]
    Magic,
    /// It is about the pages of somebody else.
    #[error("the pages of another writer")]
    Writer,
    /// A line that cannot be read; counted from 1.
    #[error("line {0} cannot be read")]
    Line(usize),
}

/// The pages of one authority that others may hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    pages: BTreeMap<EidPrefix, Published>,
}

impl Ledger {
    /// What is known of a page.
    pub fn get(&self, covering: &EidPrefix) -> Option<&Published> {
        self.pages.get(covering)
    }

    /// All pages, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = (&EidPrefix, &Published)> {
        self.pages.iter()
    }

    /// When something is to be done: a page to be renewed, which happens each `every`, or one to be withdrawn.
    pub fn next_deadline(&self, every: Duration) -> Option<SystemTime> {
        let due = |page: &Published| match page.retired {
            Some(since) => since + limits::RETIREMENT,
            None => page.version.signed_at() + every,
        };
        self.pages.values().map(due).min()
    }

    /// Whether a page says this already.
    pub(super) fn says(&self, covering: &EidPrefix, digest: &Digest) -> bool {
        self.pages.get(covering).is_some_and(|page| page.digest == *digest)
    }

    /// A page is out.
    pub(super) fn publish(&mut self, covering: EidPrefix, digest: Digest, version: Version) {
        let same = self.pages.get(&covering).filter(|page| page.digest == digest);
        let changed = same.map_or(version.sequence, |page| page.changed);
        self.pages.insert(covering, Published { digest, changed, version, retired: None });
    }

    /// Some may have got a page, and some not: whatever is to be said next is a change.
    pub(super) fn doubt(&mut self, covering: &EidPrefix) {
        if let Some(page) = self.pages.get_mut(covering) {
            page.digest = UNKNOWN;
        }
    }

    /// A page is of use again, or not any more.
    pub(super) fn retire(&mut self, covering: &EidPrefix, since: Option<SystemTime>) {
        if let Some(page) = self.pages.get_mut(covering) {
            page.retired = since.map(|since| page.retired.unwrap_or(since));
        }
    }

    /// Nobody has a page any more.
    pub(super) fn forget(&mut self, covering: &EidPrefix) {
        self.pages.remove(covering);
    }

    /// Drops retired pages that have expired everywhere.
    pub(super) fn expire(&mut self, now: SystemTime) {
        let holds = |page: &Published| page.version.signed_at() + limits::INDEX_LIFETIME > now;
        self.pages.retain(|_, page| page.retired.is_none() || holds(page));
    }

    /// The ledger of `writer` as text.
    pub fn encode(&self, writer: Cn) -> String {
        let mut text = format!("{MAGIC} {writer}\n");
        for (prefix, page) in &self.pages {
            let digest: String = page.digest.iter().fold(String::new(), |mut hex, octet| {
                // Writing to a String cannot fail.
                let _ = write!(hex, "{octet:02x}");
                hex
            });
            let Version { epoch, sequence } = page.version;
            let _ = write!(text, "{prefix} {digest} {} {sequence} {epoch}", page.changed);
            if let Some(since) = page.retired {
                let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                let _ = write!(text, " {since}");
            }
            text.push('\n');
        }
        text.push_str(END);
        text.push('\n');
        text
    }

    /// Reads what [`Ledger::encode`] wrote.
    ///
    /// # Errors
    /// When it is another text, or another writer's.
    pub fn decode(text: &str, writer: Cn) -> Result<Self, LedgerError> {
        let text = text.strip_suffix('\n').and_then(|text| text.strip_suffix(END)).ok_or(LedgerError::Magic)?;
        let mut lines = text.lines().enumerate();
        let first = lines.next().and_then(|(_, line)| line.strip_prefix(MAGIC)).ok_or(LedgerError::Magic)?;
        if first.trim() != writer.to_string() {
            return Err(LedgerError::Writer);
        }
        let pages = lines.map(|(at, line)| read_line(line).ok_or(LedgerError::Line(at + 1)));
        Ok(Self { pages: pages.collect::<Result<_, _>>()? })
    }
}

fn read_line(line: &str) -> Option<(EidPrefix, Published)> {
    let mut words = line.split(' ');
    let prefix = parse_prefix(words.next()?).ok()?;
    let digest = read_digest(words.next()?)?;
    let changed = number(words.next())?;
    let sequence = number(words.next())?;
    let epoch = number(words.next())?;
    let retired = match words.next() {
        Some(since) => Some(UNIX_EPOCH.checked_add(Duration::from_millis(number(Some(since))?))?),
        None => None,
    };
    let page = Published { digest, changed, version: Version { epoch, sequence }, retired };
    words.next().is_none().then_some((prefix, page))
}

fn number<T: FromStr>(word: Option<&str>) -> Option<T> {
    word?.parse().ok()
}

fn read_digest(hex: &str) -> Option<Digest> {
    let mut digest = UNKNOWN;
    if hex.len() != 2 * digest.len() || !hex.is_ascii() {
        return None;
    }
    for (octet, at) in digest.iter_mut().zip((0..hex.len()).step_by(2)) {
        *octet = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// The digest of a page; of one that has no encoding that of nothing, so that it counts as changed.
pub(super) fn digest(page: &Index) -> Digest {
    page.octets().map_or(UNKNOWN, |octets| Sha256::digest(octets).into())
}
