// SPDX-License-Identifier: GPL-2.0-or-later
//! PEM (RFC 7468): octets as text that can be mailed, printed, and typed again. Certificates, private keys and signed
//! statements share it.

use der::pem::{self, LineEnding};
use zeroize::Zeroizing;

use crate::error::ArmourError;
use crate::limits::MAX_PEM_BLOCKS;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
/// Characters of a full line (RFC 7468 2).
const WIDTH: usize = 64;

/// One block of a PEM text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    pub(crate) label: &'a str,
    /// They may be a private key, so they are wiped.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// Whether a text has the beginning of a block.
pub(crate) fn is_in(text: &str) -> bool {
    text.contains(BEGIN)
}

/// Writes one block.
pub(crate) fn encode(label: &str, bytes: &[u8]) -> Result<String, ArmourError> {
    pem::encode_string(label, LineEnding::LF, bytes)
        .map_err(|error| ArmourError::Damaged { label: label.to_owned(), detail: error.to_string() })
}

/// The one block with this label.
pub(crate) fn decode(text: &str, label: &str) -> Result<Zeroizing<Vec<u8>>, ArmourError> {
    let mut found = blocks(text, |found| found == label)?;
    match (found.pop(), found.len()) {
        (Some(block), 0) => Ok(block.bytes),
        (Some(_), others) => Err(ArmourError::Several { label: label.to_owned(), found: others + 1 }),
        (None, _) => Err(ArmourError::Missing { label: label.to_owned() }),
    }
}

/// The blocks whose labels are wanted; what stands before, between and after them is passed over (RFC 7468 5.2).
pub(crate) fn blocks(text: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<Block<'_>>, ArmourError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        rest = after;
        let Some((label, after)) = rest.split_once(DASHES) else { break };
        if !wanted(label) {
            continue;
        }
        let end = format!("-----END {label}-----");
        let unfinished = || ArmourError::Unfinished { label: label.to_owned() };
        let (body, after) = after.split_once(&end).ok_or_else(unfinished)?;
        if body.contains("Proc-Type:") {
            return Err(ArmourError::OldEncryption { label: label.to_owned() });
        }
        let (_, bytes) = pem::decode_vec(rewrap(label, body).as_bytes())
            .map_err(|error| ArmourError::Damaged { label: label.to_owned(), detail: error.to_string() })?;
        found.push(Block { label, bytes: Zeroizing::new(bytes) });
        if found.len() > MAX_PEM_BLOCKS {
            return Err(ArmourError::TooMany);
        }
        rest = after;
    }
    Ok(found)
}

/// The block with lines as the library wants them: whoever types one from paper breaks lines elsewhere.
fn rewrap(label: &str, body: &str) -> Zeroizing<String> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("\n-----END {label}-----\n"));
    // Room for all of it: text that grows leaves copies behind.
    let room = begin.len() + end.len() + body.len() + body.len() / WIDTH + 1;
    let mut block = Zeroizing::new(String::with_capacity(room));
    block.push_str(&begin);
    for (index, character) in body.chars().filter(|character| !character.is_whitespace()).enumerate() {
        if index % WIDTH == 0 {
            block.push('\n');
        }
        block.push(character);
    }
    block.push_str(&end);
    block
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_be_broken_anywhere() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = encode("THING", &bytes).unwrap();
        assert_eq!(text.lines().map(str::len).max(), Some(WIDTH));
        let (begin, body) = text.split_once('\n').unwrap();
        let (body, end) = body.split_once("-----").unwrap();
        let typed: Vec<_> = body.split_whitespace().flat_map(|line| [&line[..10], &line[10..]]).collect();
        let typed = format!("Dear reader,\n{begin}\r\n  {}\r\n-----{end} and so on", typed.join(" \r\n"));
        assert_eq!(*decode(&typed, "THING").unwrap(), bytes);
    }

    #[test]
    fn only_wanted_blocks_are_read() {
        let text = [encode("A", &[1]).unwrap(), "-----BEGIN C-----\n?".to_owned(), encode("B", &[2]).unwrap()].concat();
        let labels: Vec<_> =
            blocks(&text, |label| label != "C").unwrap().into_iter().map(|block| block.label).collect();
        assert_eq!(labels, ["A", "B"]);
        let error = |label: &str| decode(&text, label).unwrap_err();
        assert_eq!(error("C"), ArmourError::Unfinished { label: "C".to_owned() });
        assert_eq!(error("D"), ArmourError::Missing { label: "D".to_owned() });
        let twice = text.repeat(2);
        assert_eq!(decode(&twice, "A"), Err(ArmourError::Several { label: "A".to_owned(), found: 2 }));
        assert_eq!(blocks(&text.repeat(40), |label| label == "A"), Err(ArmourError::TooMany));
    }
}
