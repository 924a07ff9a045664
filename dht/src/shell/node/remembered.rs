// SPDX-License-Identifier: GPL-2.0-or-later
//! The peers of the last run: bootstrap addresses at the next start, beside those that are configured. Knows no clock and no
//! file but for [`MemoryFile`].

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use libp2p::{Multiaddr, PeerId};

use super::addresses::{ip, parse_bootstrap, split_peer, with_peer};
use crate::block::Block;
use crate::shell::files::replace;
use crate::shell::limits;

/// First line of the file; another one is of another version.
const HEAD: &str = "lisp-dht peers 1";

/// A peer that was in the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    peer: PeerId,
    /// Where it was reached, without identity.
    address: Multiaddr,
    /// Seconds since 1970 when it was first and last seen.
    first: u64,
    last: u64,
}

impl Known {
    fn life(&self) -> u64 {
        self.last.saturating_sub(self.first)
    }
}

/// What is wrong with a file of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not as it was written")]
pub(super) struct Damaged(usize);

/// The peers worth asking at the next start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Remembered {
    known: Vec<Known>,
}

impl Remembered {
    /// Reads what [`Remembered::to_text`] wrote.
    ///
    /// # Errors
    /// With the first line that is not as it was written.
    pub(super) fn parse(text: &str) -> Result<Self, Damaged> {
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, head)| head != HEAD) {
            return Err(Damaged(1));
        }
        let mut known = Vec::new();
        for (number, line) in lines {
            let damaged = Damaged(number + 1);
            if known.len() == limits::KEPT_PEERS {
                return Err(damaged);
            }
            known.push(parse_line(line).ok_or(damaged)?);
        }
        let read = Self { known };
        // A file that was cut at the end of a number would read as another number.
        if read.to_text() == text { Ok(read) } else { Err(Damaged(read.known.len() + 1)) }
    }

    /// One peer a line: where and who, first and last seen.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for known in &self.known {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} {} {}", with_peer(&known.address, known.peer), known.first, known.last);
        }
        text
    }

    /// Where to ask at the start: the longest-lived first. Whoever is there now is welcome, because peer IDs change each month.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (PeerId, &Multiaddr)> {
        self.known.iter().map(|known| (known.peer, &known.address))
    }

    /// Takes note of the peers that are in the routing table now. What has not been seen for long is dropped; of the others the
    /// longest-lived are kept, few of one block of addresses.
    pub(super) fn see(&mut self, now: u64, present: impl IntoIterator<Item = (PeerId, Multiaddr)>) {
        let mut places: HashMap<PeerId, Multiaddr> = present.into_iter().collect();
        for known in &mut self.known {
            if let Some(address) = places.remove(&known.peer) {
                (known.address, known.last) = (address, now);
            }
        }
        let new = places.into_iter().map(|(peer, address)| Known { peer, address, first: now, last: now });
        self.known.extend(new);
        self.known.retain(|known| known.last.saturating_add(limits::KEPT_FOR.as_secs()) >= now);
        self.known.sort_by(|one, other| {
            other.life().cmp(&one.life()).then(other.last.cmp(&one.last)).then(one.peer.cmp(&other.peer))
        });
        let mut blocks: HashMap<Block, usize> = HashMap::new();
        self.known.retain(|known| {
            let Some(block) = ip(&known.address).map(Block::of) else { return false };
            let of_block = blocks.entry(block).or_default();
            *of_block += 1;
            *of_block <= limits::KEPT_PER_BLOCK
        });
        self.known.truncate(limits::KEPT_PEERS);
    }
}

fn parse_line(line: &str) -> Option<Known> {
    let mut words = line.split(' ');
    let place = parse_bootstrap(words.next()?).ok()?;
    let (address, peer) = split_peer(&place);
    let first = words.next()?.parse().ok()?;
    let last = words.next()?.parse().ok()?;
    let known = Known { peer: peer?, address, first, last };
    (words.next().is_none() && first <= last).then_some(known)
}

/// Seconds since 1970.
pub(super) fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The file of one node.
#[derive(Debug, Clone)]
pub(super) struct MemoryFile {
    path: PathBuf,
}

impl MemoryFile {
    /// Reads the file; one that is not there is an empty memory, and one that is damaged is moved aside: peers can be found
    /// again, and whoever wants to know what happened finds it.
    pub(super) fn open(path: &Path) -> (Self, Remembered) {
        let file = Self { path: path.to_owned() };
        let remembered = match read(path) {
            Ok(None) => Remembered::default(),
            Ok(Some(text)) => Remembered::parse(&text).unwrap_or_else(|error| {
                file.move_aside(&error.to_string());
                Remembered::default()
            }),
            Err(error) => {
                file.move_aside(&error.to_string());
                Remembered::default()
            }
        };
        (file, remembered)
    }

    /// Replaces the file as a whole. One that cannot be written costs the next start some time and nothing else.
    pub(super) fn save(&self, text: &str) {
        if let Err(error) = replace(&self.path, text.as_bytes()) {
            tracing::warn!(file = %self.path.display(), %error, "peers are not remembered");
        }
    }

    fn move_aside(&self, why: &str) {
        let aside = self.path.with_extension("damaged");
        let moved = std::fs::rename(&self.path, &aside);
        tracing::warn!(file = %self.path.display(), aside = %aside.display(), why, ?moved, "damaged memory of peers");
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(limits::KEPT_FILE).read_to_string(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn peer(block: u8, last: u8) -> (PeerId, Multiaddr) {
        (PeerId::random(), format!("/ip4/198.51.{block}.{last}/udp/43420/quic-v1").parse().unwrap())
    }

    #[test]
    fn the_longest_lived_of_different_blocks_are_kept() {
        let mut memory = Remembered::default();
        let old: Vec<_> = (0..10).map(|block| peer(block, 1)).collect();
        memory.see(1000, old.clone());
        let crowd: Vec<_> = (0..200).map(|last| peer(77, last)).collect();
        let many: Vec<_> = (100..200).map(|block| peer(block, 1)).collect();
        memory.see(2000, old.iter().cloned().chain(crowd).chain(many));
        let kept: Vec<_> = memory.addresses().collect();
        assert_eq!(kept.len(), limits::KEPT_PEERS);
        for (peer, address) in &old {
            assert!(kept[..10].contains(&(*peer, address)), "{address}");
        }
        let of_crowd = kept.iter().filter(|(_, address)| address.to_string().contains("198.51.77.")).count();
        assert!(of_crowd <= limits::KEPT_PER_BLOCK);
    }

    #[test]
    fn what_was_not_seen_for_long_is_forgotten() {
        let mut memory = Remembered::default();
        memory.see(1000, [peer(1, 1)]);
        memory.see(1000 + limits::KEPT_FOR.as_secs(), []);
        assert_eq!(memory.addresses().count(), 1);
        memory.see(1001 + limits::KEPT_FOR.as_secs(), []);
        assert_eq!(memory.addresses().count(), 0);
    }

    #[test]
    fn a_peer_that_has_moved_keeps_its_age() {
        let mut memory = Remembered::default();
        let (id, old) = peer(1, 1);
        memory.see(1000, [(id, old)]);
        let (_, new) = peer(2, 2);
        memory.see(5000, [(id, new.clone())]);
        assert_eq!(memory.known, [Known { peer: id, address: new, first: 1000, last: 5000 }]);
    }

    #[test]
    fn a_file_reads_as_it_was_written_and_no_other_way() {
        let mut memory = Remembered::default();
        memory.see(1000, (0..5).map(|block| peer(block, 1)));
        let text = memory.to_text();
        assert_eq!(Remembered::parse(&text).unwrap(), memory);
        for end in 0..text.len() {
            if let Ok(read) = Remembered::parse(&text[..end]) {
                assert!(text[..end].ends_with('\n') && read.known.len() < 5, "cut at {end}");
            }
        }
        for (wrong, line) in [("", 1), ("lisp-dht peers 2\n", 1), ("lisp-dht peers 1\nnonsense\n", 2)] {
            assert_eq!(Remembered::parse(wrong), Err(Damaged(line)), "{wrong}");
        }
        let padded = text.replace(" 1000", " 01000");
        assert!(Remembered::parse(&padded).is_err());
        let many = format!("{HEAD}\n{}", "x\n".repeat(1000));
        assert!(Remembered::parse(&many).is_err());
    }

    #[test]
    fn a_damaged_file_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.peers");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        let (file, memory) = MemoryFile::open(&path);
        assert_eq!(memory, Remembered::default());
        assert!(!path.exists() && folder.path().join("node.damaged").exists());
        file.save(HEAD);
        std::fs::write(&path, format!("{HEAD}\n/ip4/192.0.2.1/udp/1/quic-v1 1 2\n")).unwrap();
        assert_eq!(MemoryFile::open(&path).1, Remembered::default(), "an address without identity");
        assert!(!path.exists());
    }
}
