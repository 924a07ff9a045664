// SPDX-License-Identifier: GPL-2.0-or-later
//! Binary statements and certificates as text (RFC 7468) that can be mailed, printed, and typed again.

use der::pem::{self, LineEnding};

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
    pub(crate) bytes: Vec<u8>,
}

/// Writes one block.
pub(crate) fn encode(label: &str, bytes: &[u8]) -> Result<String, ArmourError> {
    pem::encode_string(label, LineEnding::LF, bytes)
        .map_err(|error| ArmourError::Damaged { label: label.to_owned(), detail: error.to_string() })
}

/// The one block with this label.
pub(crate) fn decode(text: &str, label: &str) -> Result<Vec<u8>, ArmourError> {
    let mut found = blocks(text, &[label])?;
    match (found.pop(), found.len()) {
        (Some(block), 0) => Ok(block.bytes),
        (Some(_), others) => Err(ArmourError::Several { label: label.to_owned(), found: others + 1 }),
        (None, _) => Err(ArmourError::Missing { label: label.to_owned() }),
    }
}

/// The blocks with one of these labels; what stands before, between and after them is passed over (RFC 7468 5.2).
pub(crate) fn blocks<'a>(text: &'a str, labels: &[&str]) -> Result<Vec<Block<'a>>, ArmourError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        rest = after;
        let Some((label, after)) = rest.split_once(DASHES) else { break };
        if !labels.contains(&label) {
            continue;
        }
        let end = format!("-----END {label}-----");
        let unfinished = || ArmourError::Unfinished { label: label.to_owned() };
        let (body, after) = after.split_once(&end).ok_or_else(unfinished)?;
        let (_, bytes) = pem::decode_vec(rewrap(label, body).as_bytes())
            .map_err(|error| ArmourError::Damaged { label: label.to_owned(), detail: error.to_string() })?;
        found.push(Block { label, bytes });
        if found.len() > MAX_PEM_BLOCKS {
            return Err(ArmourError::TooMany);
        }
        rest = after;
    }
    Ok(found)
}

/// The block with lines as the library wants them: whoever types one from paper breaks lines elsewhere.
fn rewrap(label: &str, body: &str) -> String {
    let mut block = format!("-----BEGIN {label}-----");
    for (index, character) in body.chars().filter(|character| !character.is_whitespace()).enumerate() {
        if index % WIDTH == 0 {
            block.push('\n');
        }
        block.push(character);
    }
    block + &format!("\n-----END {label}-----\n")
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
        assert_eq!(decode(&typed, "THING").unwrap(), bytes);
    }

    #[test]
    fn only_wanted_blocks_are_read() {
        let text = [encode("A", &[1]).unwrap(), "-----BEGIN C-----\n?".to_owned(), encode("B", &[2]).unwrap()].concat();
        let labels: Vec<_> = blocks(&text, &["A", "B"]).unwrap().into_iter().map(|block| block.label).collect();
        assert_eq!(labels, ["A", "B"]);
        let error = |label: &str| decode(&text, label).unwrap_err();
        assert_eq!(error("C"), ArmourError::Unfinished { label: "C".to_owned() });
        assert_eq!(error("D"), ArmourError::Missing { label: "D".to_owned() });
        let twice = text.repeat(2);
        assert_eq!(decode(&twice, "A"), Err(ArmourError::Several { label: "A".to_owned(), found: 2 }));
        assert_eq!(blocks(&text.repeat(40), &["A"]), Err(ArmourError::TooMany));
    }
}
