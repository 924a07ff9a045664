// SPDX-License-Identifier: GPL-2.0-or-later
//! DER elements, read and written as they come: a suite must also make what no honest library would.

/// One element, its length in the shortest form.
pub fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut out = vec![tag];
    if length >= 0x80 {
        let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|&digit| digit == 0).collect();
        out.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
        out.extend(digits);
    } else {
        out.push(u8::try_from(length).unwrap_or(0));
    }
    out.extend(body);
    out
}

/// The elements that `body` consists of, each whole; as far as they can be told apart.
pub fn elements(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((header, length)) = header(body) {
        let Some(element) = body.get(..header + length) else { break };
        found.push(element.to_vec());
        body = &body[header + length..];
    }
    found
}

/// What is inside an element; nothing if it is none.
pub fn inside(element: &[u8]) -> &[u8] {
    header(element).and_then(|(header, length)| element.get(header..header + length)).unwrap_or_default()
}

/// Octets of the tag and length of the first element, and of what is inside it.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    Some(match *bytes.get(1)? {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(*bytes.get(2)?)),
        0x82 => (4, usize::from(*bytes.get(2)?) << 8 | usize::from(*bytes.get(3)?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 5000] {
            let body = vec![7; length];
            let element = tlv(0x04, &body);
            assert_eq!(inside(&element), body);
            assert_eq!(elements(&[&element[..], &element].concat()), [element.clone(), element]);
        }
        assert!(elements(&[0x30, 0x05, 0x00]).is_empty() && inside(&[]).is_empty());
    }
}
